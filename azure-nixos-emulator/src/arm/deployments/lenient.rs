//! JSON as Resource Manager reads it: with comments, names without quotes, commas at the end and
//! line breaks in strings. `az` relies on it and sends templates as they were written.

/// The same document as strict JSON.
pub(super) fn strict(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push('"');
                string(&mut chars, &mut out);
            }
            '/' if chars.peek() == Some(&'/') => {
                for c in chars.by_ref() {
                    if c == '\n' {
                        out.push('\n');
                        break;
                    }
                }
            }
            '/' if chars.peek() == Some(&'*') => {
                chars.next();
                let mut last = ' ';
                for c in chars.by_ref() {
                    if last == '*' && c == '/' {
                        break;
                    }
                    last = c;
                }
                out.push(' ');
            }
            '}' | ']' => {
                // Newtonsoft's reader takes a comma before it.
                let kept = out.trim_end().len();
                if out[..kept].ends_with(',') {
                    out.truncate(kept - 1);
                }
                out.push(c);
            }
            c if c.is_ascii_alphabetic() || c == '_' || c == '$' => {
                let mut word = String::from(c);
                while let Some(next) =
                    chars.next_if(|c| c.is_ascii_alphanumeric() || "_$".contains(*c))
                {
                    word.push(next);
                }
                // `true`, `false` and `null`, and the exponent of a number, are what they are.
                let is_name = !matches!(word.as_str(), "true" | "false" | "null")
                    && out.trim_end().ends_with(['{', ',']);
                if is_name {
                    out.push('"');
                    out.push_str(&word);
                    out.push('"');
                } else {
                    out.push_str(&word);
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// The rest of a string, its end included.
fn string(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                out.push('"');
                return;
            }
            '\\' => {
                out.push('\\');
                out.extend(chars.next());
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_template_as_az_sends_it() {
        let text = "{\"mode\": \"Incremental\", template:{\n // a comment, \"with quotes\"\n\
            \"a\": [1, 2e3, true, null, /* , */ ],\n \"b\": \"two\nlines // no comment \\\"x\\\"\", c_1 : {},\n}}";
        let value: Value = serde_json::from_str(&strict(text)).unwrap();
        assert_eq!(
            value,
            json!({"mode": "Incremental", "template": {
                "a": [1, 2000.0, true, null],
                "b": "two\nlines // no comment \"x\"",
                "c_1": {},
            }})
        );
    }

    #[test]
    fn strict_json_stays_what_it_is() {
        let value =
            json!({"a": ["[concat('{', \"x\", ',}')]", -1.5e-3], "b": {"c": "\\ \u{e9}\n"}});
        let again: Value = serde_json::from_str(&strict(&value.to_string())).unwrap();
        assert_eq!(again, value);
    }
}
