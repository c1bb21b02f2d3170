//! Where two answers are different.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Something that Azure does and the local Azure does not, or the other way round.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// The recording.
    pub recording: String,
    /// The request in it, from 0.
    pub step: usize,
    /// Where: `status`, `header:etag`, `body:properties.subnets[0].name`.
    pub place: String,
    /// In words, Azure's first.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            recording,
            step,
            place,
            what,
        } = self;
        write!(f, "{recording} {step} {place} -- {what}")
    }
}

/// Differences that stay.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// The recordings; a `*` at the end stands for anything.
    pub recording: &'static str,
    /// The places; a `*` at the beginning or the end stands for anything.
    pub place: &'static str,
    /// Why they stay.
    pub why: &'static str,
}

impl Listed {
    fn covers(&self, difference: &Difference) -> bool {
        fits(self.recording, &difference.recording) && fits(self.place, &difference.place)
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), None) => text.ends_with(end),
        (None, Some(beginning)) => text.starts_with(beginning),
        (Some(_), Some(_)) => text.contains(pattern.trim_matches('*')),
        (None, None) => text == pattern,
    }
}

/// Passes when all differences are listed and all that is listed is different.
///
/// # Panics
/// With what is left, otherwise.
pub fn assert_listed(differences: &[Difference], listed: &[Listed]) {
    let mut text = String::new();
    for difference in differences {
        if !listed.iter().any(|entry| entry.covers(difference)) {
            text += &format!("  {difference}\n");
        }
    }
    for entry in listed {
        if !differences
            .iter()
            .any(|difference| entry.covers(difference))
        {
            text += &format!("  listed, but not different any more: {entry:?}\n");
        }
    }
    assert!(text.is_empty(), "not as Azure answers:\n{text}");
}

/// Compares two documents: which fields there are, of which types, and with which values, save those
/// that are another in every run.
pub(super) fn compare(azure: &Value, ours: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match (azure, ours) {
        (Value::Object(azure), Value::Object(ours)) => {
            for (name, value) in azure {
                let at = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                match ours.get(name) {
                    Some(other) => compare(value, other, &at, found),
                    None => found.push((at, format!("{}, and is absent here", brief(value)))),
                }
            }
            for (name, value) in ours {
                if !azure.contains_key(name) {
                    let at = if at.is_empty() {
                        name.clone()
                    } else {
                        format!("{at}.{name}")
                    };
                    found.push((at, format!("absent, and is {} here", brief(value))));
                }
            }
        }
        (Value::Array(azure), Value::Array(ours)) => {
            if azure.len() != ours.len() {
                let what = format!("{} entries, and {} here", azure.len(), ours.len());
                found.push((at.to_owned(), what));
            }
            for (index, (azure, ours)) in azure.iter().zip(ours).enumerate() {
                compare(azure, ours, &format!("{at}[{index}]"), found);
            }
        }
        (Value::String(one), Value::String(other)) if steady(one) == steady(other) => {}
        (one, other) if one == other => {}
        (one, other) => {
            let what = format!("{}, and {} here", brief(one), brief(other));
            found.push((at.to_owned(), what));
        }
    }
}

fn brief(value: &Value) -> String {
    value.to_string().chars().take(160).collect()
}

/// A text without what is another in every run.
pub(super) fn steady(text: &str) -> String {
    static CHANGING: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (
                r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}",
                "{id}",
            ),
            (r"[0-9a-fA-F]{32}", "{hex}"),
            (
                r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
                "{time}",
            ),
            (
                r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b(:\d+)?",
                "{address}",
            ),
            (r"^https?://[^/]*(blob|\{address\}|localhost).*$", "{url}"),
            (r"^[0-9a-z]{26}\.bx\.", "{network}.bx."),
            (r"([0-9A-F]{2}-){5}[0-9A-F]{2}", "{mac}"),
        ]
        .into_iter()
        .map(|(pattern, word)| (Regex::new(pattern).unwrap(), word))
        .collect()
    });
    // An address prefix is no address.
    if text.contains('/') && text.parse::<std::net::IpAddr>().is_err() && text.len() < 20 {
        return text.to_owned();
    }
    let mut text = text.to_owned();
    for (pattern, word) in CHANGING.iter() {
        text = pattern.replace_all(&text, *word).into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_types_and_values_are_told_apart_and_the_changing_is_not() {
        let mut found = Vec::new();
        compare(
            &json!({"a": 1, "b": "x", "c": [{"d": null}], "t": "2024-01-01T00:00:00Z", "p": "10.0.0.0/24"}),
            &json!({"a": "1", "c": [{"d": null}, 2], "t": "2025-01-01T00:00:01.5+00:00", "p": "10.0.1.0/24", "e": {}}),
            "",
            &mut found,
        );
        let places: Vec<&str> = found.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(places, ["a", "b", "c", "p", "e"]);
    }
}
