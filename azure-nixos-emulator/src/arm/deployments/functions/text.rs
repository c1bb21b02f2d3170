//! Functions about strings, and their encodings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::evaluate::{Evaluated, Problem};
use super::{Arguments, as_text};

pub(super) fn call(name: &str, of: &Arguments<'_>) -> Evaluated<Option<Value>> {
    Ok(Some(match name {
        "concat" if of.values.first().is_some_and(Value::is_array) => {
            let mut all = Vec::new();
            for at in 0..of.values.len() {
                all.extend(of.array(at)?.iter().cloned());
            }
            json!(all)
        }
        "concat" => {
            if of
                .values
                .iter()
                .any(|value| value.is_object() || value.is_array())
            {
                return Err(of.wrong(0, "strings or arrays"));
            }
            json!(of.values.iter().map(as_text).collect::<String>())
        }
        "format" => json!(format(of)?),
        "tolower" => json!(of.text(0)?.to_lowercase()),
        "toupper" => json!(of.text(0)?.to_uppercase()),
        "trim" => json!(of.text(0)?.trim()),
        "replace" => json!(of.text(0)?.replace(of.text(1)?, of.text(2)?)),
        "startswith" => json!(fold(of.text(0)?).starts_with(&fold(of.text(1)?))),
        "endswith" => json!(fold(of.text(0)?).ends_with(&fold(of.text(1)?))),
        "indexof" if of.get(0)?.is_string() => {
            let (text, wanted) = (fold(of.text(0)?), fold(of.text(1)?));
            json!(text.find(&wanted).map_or(-1, |at| count(&text[..at])))
        }
        "lastindexof" if of.get(0)?.is_string() => {
            let (text, wanted) = (fold(of.text(0)?), fold(of.text(1)?));
            json!(text.rfind(&wanted).map_or(-1, |at| count(&text[..at])))
        }
        "substring" => {
            let (text, from) = (of.text(0)?, of.length(1)?);
            let all: Vec<char> = text.chars().collect();
            let length = if of.values.len() > 2 {
                of.length(2)?
            } else {
                all.len().saturating_sub(from)
            };
            let part = from
                .checked_add(length)
                .and_then(|to| all.get(from..to))
                .ok_or_else(|| of.wrong(1, "inside of the string"))?;
            json!(part.iter().collect::<String>())
        }
        "padleft" => {
            let (text, width) = (as_text(of.get(0)?), of.length(1)?);
            let fill = if of.values.len() > 2 {
                of.text(2)?
            } else {
                " "
            };
            let missing = width.min(16_384).saturating_sub(text.chars().count());
            json!(format!("{}{text}", fill.repeat(missing)))
        }
        "split" => {
            let text = of.text(0)?;
            let parts: Vec<&str> = match of.get(1)? {
                Value::Array(separators) => {
                    let separators: Vec<&str> =
                        separators.iter().filter_map(Value::as_str).collect();
                    split_by(text, &separators)
                }
                _ => split_by(text, &[of.text(1)?]),
            };
            json!(parts)
        }
        "join" => {
            let separator = of.text(1)?;
            let parts: Vec<String> = of.array(0)?.iter().map(as_text).collect();
            json!(parts.join(separator))
        }
        "base64" => json!(STANDARD.encode(of.text(0)?)),
        "base64tostring" => json!(decoded(of)?),
        "base64tojson" => parsed(of, &decoded(of)?)?,
        "json" => parsed(of, of.text(0)?)?,
        "string" => json!(as_text(of.get(0)?)),
        "int" => match of.get(0)? {
            Value::String(text) => json!(
                text.trim()
                    .parse::<i64>()
                    .map_err(|_| of.wrong(0, "a number"))?
            ),
            _ => json!(of.number(0)?),
        },
        "uricomponent" => json!(escaped(of.text(0)?)),
        "uricomponenttostring" => {
            json!(super::super::super::call::percent_decode(of.text(0)?))
        }
        "uri" => {
            let (base, relative) = (of.text(0)?, of.text(1)?);
            let joined = url::Url::parse(base)
                .and_then(|base| base.join(relative))
                .map_err(|_| of.wrong(0, "a URL"))?;
            json!(joined.as_str())
        }
        _ => return Ok(None),
    }))
}

fn fold(text: &str) -> String {
    text.to_lowercase()
}

fn count(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// Splits at any of the separators, which may be longer than a character.
fn split_by<'a>(text: &'a str, separators: &[&str]) -> Vec<&'a str> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let next = separators
            .iter()
            .filter(|separator| !separator.is_empty())
            .filter_map(|separator| Some((rest.find(separator)?, separator.len())))
            .min();
        match next {
            Some((at, length)) => {
                parts.push(&rest[..at]);
                rest = &rest[at + length..];
            }
            None => {
                parts.push(rest);
                return parts;
            }
        }
    }
}

fn decoded(of: &Arguments<'_>) -> Evaluated<String> {
    STANDARD
        .decode(of.text(0)?)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| of.wrong(0, "base64"))
}

fn parsed(of: &Arguments<'_>, text: &str) -> Evaluated {
    serde_json::from_str(text).map_err(|_| of.wrong(0, "JSON"))
}

/// Everything but letters, digits and `-_.!~*'()` as its bytes.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// `format('{0}-{1}', a, b)`; the number formats of .NET are not here.
fn format(of: &Arguments<'_>) -> Evaluated<String> {
    let mut out = String::new();
    let mut rest = of.text(0)?;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let doubled = rest[at..].starts_with("{{") || rest[at..].starts_with("}}");
        if doubled {
            out.push_str(&rest[at..=at]);
            rest = &rest[at + 2..];
            continue;
        }
        let end = rest[at..]
            .find('}')
            .filter(|_| rest[at..].starts_with('{'))
            .ok_or_else(|| of.wrong(0, "a format"))?;
        let index = &rest[at + 1..at + end];
        if index.contains([':', ',']) {
            return Err(Problem::NotHere(format!(
                "'{{{index}}}' in the template function 'format'"
            )));
        }
        let value = index
            .parse::<usize>()
            .ok()
            .and_then(|index| of.values.get(index.checked_add(1)?))
            .ok_or_else(|| of.wrong(0, "a format with as many values"))?;
        out.push_str(&as_text(value));
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}
