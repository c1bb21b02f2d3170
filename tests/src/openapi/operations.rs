//! Which operation a request is, and what that operation takes and gives.

use std::path::Path;

use serde_json::Value;

use super::documents::{Documents, Node};

/// An operation of a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation<'a> {
    pub(super) id: &'a str,
    pub(super) method: &'a str,
    template: &'a str,
    /// The api-version of the document.
    pub(super) version: &'a str,
    node: Node<'a>,
    /// The parameters that all methods of the path have.
    shared: &'a Value,
}

/// A parameter, resolved.
#[derive(Clone, Copy)]
pub(super) struct Parameter<'a> {
    pub(super) name: &'a str,
    /// `query`, `path`, `header` or `body`.
    pub(super) place: &'a str,
    pub(super) required: bool,
    pub(super) node: Node<'a>,
}

/// All operations of the documents, but those that stand for any resource of any provider: whatever is
/// sent would be one of these.
pub(super) fn all(documents: &Documents) -> Vec<Operation<'_>> {
    let mut all = Vec::new();
    for document in documents.iter() {
        let version = document.value["info"]["version"].as_str().unwrap_or("");
        let paths = document.value["paths"].as_object();
        for (template, methods) in paths.into_iter().flatten() {
            let generic = template.contains("{parentResourcePath}")
                || ["/{resourceId}", "/{roleAssignmentId}", "/{roleId}"].contains(&&**template);
            if generic {
                continue;
            }
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let Some(id) = operation["operationId"].as_str() else {
                    continue;
                };
                all.push(Operation {
                    id,
                    method,
                    template,
                    version,
                    node: Node {
                        value: operation,
                        ..document
                    },
                    shared: &methods["parameters"],
                });
            }
        }
    }
    all
}

/// The operation of a method and a path: the one with the most fixed parts, of the document with this
/// version or else of the newest.
pub(super) fn find<'a>(
    all: &[Operation<'a>],
    method: &str,
    path: &[&str],
    version: Option<&str>,
) -> Option<Operation<'a>> {
    all.iter()
        .filter(|operation| operation.method.eq_ignore_ascii_case(method))
        .filter_map(|operation| Some((fixed_parts(operation.template, path)?, operation)))
        .max_by_key(|(fixed, operation)| {
            (
                *fixed,
                Some(operation.version) == version,
                operation.version,
            )
        })
        .map(|(_, operation)| *operation)
}

/// How many parts of a template are fixed, where the path fits it. `{scope}` is any number of parts.
fn fixed_parts(template: &str, path: &[&str]) -> Option<usize> {
    let template: Vec<&str> = template
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let (template, path) = match template.split_first() {
        Some((&"{scope}", rest)) => (rest, path.get(path.len().checked_sub(rest.len())?..)?),
        _ => (&template[..], path),
    };
    if template.len() != path.len() {
        return None;
    }
    let mut fixed = 0;
    for (expected, found) in template.iter().zip(path) {
        if expected.starts_with('{') {
            continue;
        }
        if !expected.eq_ignore_ascii_case(found) {
            return None;
        }
        fixed += 1;
    }
    Some(fixed)
}

impl<'a> Operation<'a> {
    pub(super) fn template(&self) -> &'a str {
        self.template
    }

    pub(super) fn file(&self) -> &'a Path {
        self.node.file
    }

    pub(super) fn parameters(&self, documents: &'a Documents) -> Vec<Parameter<'a>> {
        let own = self.node.value["parameters"].as_array();
        let shared = self.shared.as_array();
        own.into_iter()
            .flatten()
            .chain(shared.into_iter().flatten())
            .map(|value| {
                let node = documents.resolve(Node { value, ..self.node });
                Parameter {
                    name: node.value["name"].as_str().unwrap_or_default(),
                    place: node.value["in"].as_str().unwrap_or_default(),
                    required: node.value["required"] == true,
                    node,
                }
            })
            .collect()
    }

    /// The values of the path's parameters.
    pub(super) fn in_path<'p>(&self, path: &[&'p str]) -> Vec<(&'a str, &'p str)> {
        let template: Vec<&str> = self
            .template
            .split('/')
            .filter(|part| !part.is_empty() && *part != "{scope}")
            .collect();
        let from = path.len().saturating_sub(template.len());
        template
            .into_iter()
            .zip(&path[from..])
            .filter_map(|(part, value)| Some((part.strip_prefix('{')?.strip_suffix('}')?, *value)))
            .collect()
    }

    /// What is declared for a status: `None` when it is not declared, and then for a success nothing
    /// and for a failure what is declared for all others.
    pub(super) fn response(&self, documents: &'a Documents, status: u16) -> Option<Node<'a>> {
        let responses = Node {
            value: &self.node.value["responses"],
            ..self.node
        };
        let own = documents.child(responses, &status.to_string());
        if status < 400 {
            return own;
        }
        own.or_else(|| documents.child(responses, "default"))
    }
}
