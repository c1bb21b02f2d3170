//! The official OpenAPI documents: all of them in memory, with references that lead from one to
//! another followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// All documents by their paths.
#[derive(Debug)]
pub(super) struct Documents {
    by_path: BTreeMap<PathBuf, Value>,
}

/// A place in a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node<'a> {
    pub(super) file: &'a Path,
    pub(super) value: &'a Value,
}

impl Documents {
    pub(super) fn load(directory: &Path) -> Self {
        let mut by_path = BTreeMap::new();
        load(directory, &mut by_path);
        assert!(
            !by_path.is_empty(),
            "no documents in {}",
            directory.display()
        );
        Self { by_path }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Node<'_>> {
        self.by_path
            .iter()
            .map(|(file, value)| Node { file, value })
    }

    /// A definition of the document whose path ends so.
    pub(super) fn definition(&self, file: &str, name: &str) -> Node<'_> {
        let document = self.iter().find(|node| node.file.ends_with(file));
        let document = document.unwrap_or_else(|| panic!("there is no document {file}"));
        let value = &document.value["definitions"][name];
        assert!(value.is_object(), "{file} does not define {name}");
        Node { value, ..document }
    }

    /// Where a node leads to; itself when it is no reference.
    pub(super) fn resolve<'a>(&'a self, node: Node<'a>) -> Node<'a> {
        let Some(reference) = node.value["$ref"].as_str() else {
            return node;
        };
        let (path, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let target = if path.is_empty() {
            node.file.to_owned()
        } else {
            normal(&node.file.parent().unwrap_or(Path::new("")).join(path))
        };
        let (file, document) = self.by_path.get_key_value(&target).unwrap_or_else(|| {
            panic!(
                "{} refers to {reference}, which is not there",
                node.file.display()
            )
        });
        let value = document.pointer(fragment).unwrap_or_else(|| {
            panic!(
                "{} refers to {reference}, which it lacks",
                node.file.display()
            )
        });
        self.resolve(Node { file, value })
    }

    /// A part of a node, resolved.
    pub(super) fn child<'a>(&'a self, node: Node<'a>, name: &str) -> Option<Node<'a>> {
        let value = node.value.get(name)?;
        Some(self.resolve(Node { value, ..node }))
    }
}

fn load(directory: &Path, into: &mut BTreeMap<PathBuf, Value>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            load(&path, into);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = std::fs::read(&path).unwrap();
            let document = serde_json::from_slice(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            into.insert(normal(&path), document);
        }
    }
}

/// A path without `.` and `..`, by its text alone.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}
