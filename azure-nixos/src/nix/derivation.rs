//! What a `.drv` file says: outputs, system, required features.
//!
//! The file is a term, `Derive([("out","/nix/store/…","",""),…],[…],[…],"x86_64-linux",…)`: text, lists and
//! tuples. It is read here because the command that shows it as JSON has another name and another
//! shape in every few releases of Nix, and the term has been the same since the beginning.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Bytes of a `.drv` file that are read. Those of systems have some hundred KiB.
const LARGEST: u64 = 32 << 20;
/// Terms inside of terms; a derivation needs four levels.
const DEEPEST: usize = 16;

/// What is known of a derivation without building it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Derivation {
    /// By name; the path of an output that is named by its content is not known before it is built.
    pub(super) outputs: Vec<(String, Option<PathBuf>)>,
    /// Which system builds it, `x86_64-linux`.
    pub(super) system: String,
    /// What the builder must be able to do (`kvm`).
    pub(super) features: Vec<String>,
}

impl Derivation {
    /// Reads a file. `None` when it cannot be read or is not in the form that is known here: whoever
    /// asks does without. Blocking.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(LARGEST).read_to_end(&mut bytes).ok()?;
        let known = Self::parse(&bytes);
        if known.is_none() {
            tracing::debug!("{} has a form that is not known", path.display());
        }
        known
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let mut fields = if reader.take(b"Derive(") {
            reader.items(b')', 0)?
        } else if reader.take(b"DrvWithVersion(") {
            // The version comes first.
            let mut fields = reader.items(b')', 0)?;
            if fields.is_empty() {
                return None;
            }
            fields.remove(0);
            fields
        } else {
            return None;
        }
        .into_iter();
        let outputs = fields.next()?.list()?;
        let (_inputs, _sources) = (fields.next()?, fields.next()?);
        let system = fields.next()?.text()?;
        let (_builder, _arguments) = (fields.next()?, fields.next()?);
        let environment = fields.next()?.list()?;
        let outputs = outputs.into_iter().map(|output| {
            let mut parts = output.list()?.into_iter();
            let (name, path) = (parts.next()?.text()?, parts.next()?.text()?);
            Some((name, (!path.is_empty()).then(|| PathBuf::from(path))))
        });
        let mut features = Vec::new();
        for pair in environment {
            let mut parts = pair.list()?.into_iter();
            let (name, value) = (parts.next()?.text()?, parts.next()?.text()?);
            match name.as_str() {
                "requiredSystemFeatures" => {
                    features.extend(value.split_whitespace().map(str::to_owned));
                }
                // The attributes of a derivation that has them as a structure.
                "__json" => features.extend(structured(&value)),
                _ => {}
            }
        }
        Some(Self {
            outputs: outputs.collect::<Option<_>>()?,
            system,
            features,
        })
    }
}

fn structured(json: &str) -> Vec<String> {
    let attributes: Value = serde_json::from_str(json).unwrap_or_default();
    let features = attributes["requiredSystemFeatures"].as_array();
    let features = features.into_iter().flatten();
    features
        .filter_map(|feature| feature.as_str().map(str::to_owned))
        .collect()
}

enum Term {
    Text(String),
    /// A list or a tuple.
    List(Vec<Term>),
}

impl Term {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(_) => None,
        }
    }

    fn list(self) -> Option<Vec<Term>> {
        match self {
            Self::Text(_) => None,
            Self::List(items) => Some(items),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, expected: &[u8]) -> bool {
        let here = self.bytes.get(self.at..).unwrap_or_default();
        let found = here.starts_with(expected);
        if found {
            self.at += expected.len();
        }
        found
    }

    /// Terms up to `end`, with commas between.
    fn items(&mut self, end: u8, depth: usize) -> Option<Vec<Term>> {
        let mut items = Vec::new();
        if self.take(&[end]) {
            return Some(items);
        }
        loop {
            items.push(self.term(depth)?);
            if self.take(&[end]) {
                return Some(items);
            }
            if !self.take(b",") {
                return None;
            }
        }
    }

    fn term(&mut self, depth: usize) -> Option<Term> {
        if depth == DEEPEST {
            return None;
        }
        if self.take(b"\"") {
            return self.text().map(Term::Text);
        }
        if self.take(b"[") {
            return self.items(b']', depth + 1).map(Term::List);
        }
        if self.take(b"(") {
            return self.items(b')', depth + 1).map(Term::List);
        }
        None
    }

    /// The rest of a text, its closing quote included.
    fn text(&mut self) -> Option<String> {
        let mut text = Vec::new();
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            match byte {
                b'"' => return Some(String::from_utf8_lossy(&text).into_owned()),
                b'\\' => {
                    let escaped = *self.bytes.get(self.at)?;
                    self.at += 1;
                    text.push(match escaped {
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        other => other,
                    });
                }
                other => text.push(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derivation_says_what_it_makes_and_needs() {
        let text = br#"Derive([("doc","/s/a-doc","",""),("out","","r:sha256","")],[("/s/b.drv",["out"])],["/s/c.sh"],"aarch64-linux","/bin/sh",["-c","a \"quoted\"\n\\ word"],[("name","x"),("requiredSystemFeatures","kvm big-parallel"),("x","")])"#;
        let expected = Derivation {
            outputs: vec![
                ("doc".into(), Some("/s/a-doc".into())),
                ("out".into(), None),
            ],
            system: "aarch64-linux".into(),
            features: vec!["kvm".into(), "big-parallel".into()],
        };
        assert_eq!(Derivation::parse(text), Some(expected));
        let newer = br#"DrvWithVersion("xp-dyn-drv",[("out","/s/a","","")],[("/s/b.drv",(["out"],[]))],[],"x86_64-linux","/bin/sh",[],[("__json","{\"requiredSystemFeatures\":[\"kvm\"]}")])"#;
        let read = Derivation::parse(newer).unwrap();
        assert_eq!(read.outputs, [("out".into(), Some("/s/a".into()))]);
        assert_eq!(read.features, ["kvm"]);
    }

    #[test]
    fn what_is_none_is_not_read_and_ends() {
        let whole = br#"Derive([("out","/s/a","","")],[],[],"x","/bin/sh",[],[("a","b\"")])"#;
        assert!(Derivation::parse(whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(Derivation::parse(&whole[..end]), None, "{end}");
        }
        let deep = [b"Derive(".as_slice(), &[b'['; 100_000]].concat();
        assert_eq!(Derivation::parse(&deep), None);
        for other in [
            "",
            "Derive()",
            "Derive([],[],[])",
            "DrvWithVersion()",
            "ELF",
            "Derive(([],[]))",
        ] {
            assert_eq!(Derivation::parse(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Derivation::read(Path::new("/nowhere.drv")), None);
    }
}
