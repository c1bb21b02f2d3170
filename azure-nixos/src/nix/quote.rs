//! Text that ends up inside Nix: string literals, attribute paths and flake fragments.
//!
//! Every piece of user text that becomes part of an expression goes through [`string`]; nothing
//! else in this crate writes a Nix string literal.

use std::fmt::Write as _;

use crate::{Error, ErrorKind, Result};

/// A Nix string literal, quotes included.
pub(crate) fn string(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for character in text.chars() {
        match character {
            // Only `${` begins an interpolation, but a `$` may be followed by one after joining.
            '"' | '\\' | '$' => literal.extend(['\\', character]),
            // Nix reads a bare carriage return as a line feed.
            '\r' => literal.push_str("\\r"),
            '\n' => literal.push_str("\\n"),
            '\t' => literal.push_str("\\t"),
            other => literal.push(other),
        }
    }
    literal.push('"');
    literal
}

/// A Nix list of string literals.
pub(super) fn strings(texts: &[String]) -> String {
    let mut list = String::from("[ ");
    for text in texts {
        list.push_str(&string(text));
        list.push(' ');
    }
    list.push(']');
    list
}

/// An attribute path in the syntax of `-A` and of flake fragments: names joined by dots, a name
/// that is more than letters, digits, `_`, `-` and `'` in quotes.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] when a name has a quote in it: this syntax has no escapes.
pub(super) fn attribute_path(names: &[String]) -> Result<String> {
    let mut path = String::new();
    for name in names {
        if name.contains('"') {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the attribute name {name} has a quote in it, which nix cannot take"),
            ));
        }
        if !path.is_empty() {
            path.push('.');
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '\'');
        if !name.is_empty() && name.chars().all(plain) {
            path.push_str(name);
        } else {
            let _ = write!(path, "\"{name}\"");
        }
    }
    Ok(path)
}

/// Takes an attribute path apart the way nix does: dots separate, quotes protect dots.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for an unfinished quote or an empty name.
pub(super) fn parse_attribute_path(text: &str) -> Result<Vec<String>> {
    let refuse = |why: &str| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("the attribute path {text} {why}"),
        )
        .with_hint("write names with dots between them, and quote a name that has a dot in it: nixosConfigurations.\"we.ird\"")
    };
    let mut names = Vec::new();
    if text.is_empty() {
        return Ok(names);
    }
    let mut name = String::new();
    let (mut quoted, mut was_quoted) = (false, false);
    for character in text.chars() {
        match character {
            '"' => {
                quoted = !quoted;
                was_quoted = true;
            }
            '.' if !quoted => {
                if name.is_empty() && !was_quoted {
                    return Err(refuse("has an empty name in it"));
                }
                names.push(std::mem::take(&mut name));
                was_quoted = false;
            }
            other => name.push(other),
        }
    }
    if quoted {
        return Err(refuse("has a quote that does not end"));
    }
    if name.is_empty() && !was_quoted {
        return Err(refuse("ends with a dot"));
    }
    names.push(name);
    Ok(names)
}

/// The text after the `#` of a flake reference. Nix decodes percent signs there, and from 2.20 on
/// refuses characters that a URL does not allow, quotes and spaces excepted.
pub(super) fn fragment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?\" ^".contains(&byte);
        if plain {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_string_cannot_end_itself_or_interpolate() {
        assert_eq!(string(r#"a"b\c${d}$$e"#), r#""a\"b\\c\${d}\$\$e""#);
        assert_eq!(strings(&names(&["a", "b c"])), r#"[ "a" "b c" ]"#);
        assert_eq!(strings(&[]), "[ ]");
    }

    #[test]
    fn odd_host_names_are_quoted_and_read_back() {
        let path = names(&["nixosConfigurations", "we.ird", "a b", "x-1'", ""]);
        let text = attribute_path(&path).unwrap();
        assert_eq!(text, r#"nixosConfigurations."we.ird"."a b".x-1'."""#);
        assert_eq!(parse_attribute_path(&text).unwrap(), path);
        assert!(attribute_path(&names(&["a\"b"])).is_err());
    }

    #[test]
    fn broken_paths_are_refused() {
        for text in ["a.", ".a", "a..b", "a.\"b", "."] {
            let error = parse_attribute_path(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text}");
        }
        assert_eq!(parse_attribute_path("").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_fragment_survives_the_decoding() {
        assert_eq!(fragment("a.\"b c\"^out"), "a.\"b c\"^out");
        assert_eq!(fragment("50%"), "50%25");
        assert_eq!(fragment("a#ü"), "a%23%C3%BC");
    }
}
