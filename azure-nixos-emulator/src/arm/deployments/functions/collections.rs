//! Functions about arrays and objects, and what strings have in common with them.

use serde_json::{Map, Value, json};

use super::super::evaluate::Evaluated;
use super::{Arguments, as_text};

pub(super) fn call(name: &str, of: &Arguments<'_>) -> Evaluated<Option<Value>> {
    Ok(Some(match name {
        "createarray" => json!(of.values),
        "array" => match of.get(0)? {
            Value::Array(_) => of.get(0)?.clone(),
            other => json!([other]),
        },
        "createobject" => {
            let mut object = Map::new();
            for pair in of.values.chunks(2) {
                let [Value::String(name), value] = pair else {
                    return Err(of.wrong(0, "pairs of a name and a value"));
                };
                object.insert(name.clone(), value.clone());
            }
            Value::Object(object)
        }
        "length" => json!(match of.get(0)? {
            Value::String(text) => text.chars().count(),
            Value::Array(values) => values.len(),
            Value::Object(fields) => fields.len(),
            _ => return Err(of.wrong(0, "an array, a string or an object")),
        }),
        "empty" => json!(match of.get(0)? {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            _ => return Err(of.wrong(0, "an array, a string or an object")),
        }),
        "contains" => json!(match of.get(0)? {
            Value::String(text) => text.contains(&as_text(of.get(1)?)),
            Value::Array(values) => values.contains(of.get(1)?),
            Value::Object(fields) => fields
                .keys()
                .any(|key| of.text(1).is_ok_and(|name| key.eq_ignore_ascii_case(name))),
            _ => return Err(of.wrong(0, "an array, a string or an object")),
        }),
        "first" => match of.get(0)? {
            Value::String(text) => json!(text.chars().next().map(String::from).unwrap_or_default()),
            _ => of.array(0)?.first().cloned().unwrap_or(Value::Null),
        },
        "last" => match of.get(0)? {
            Value::String(text) => json!(text.chars().last().map(String::from).unwrap_or_default()),
            _ => of.array(0)?.last().cloned().unwrap_or(Value::Null),
        },
        "skip" => {
            let number = of.length(1)?;
            match of.get(0)? {
                Value::String(text) => json!(text.chars().skip(number).collect::<String>()),
                _ => json!(of.array(0)?.iter().skip(number).collect::<Vec<_>>()),
            }
        }
        "take" => {
            let number = of.length(1)?;
            match of.get(0)? {
                Value::String(text) => json!(text.chars().take(number).collect::<String>()),
                _ => json!(of.array(0)?.iter().take(number).collect::<Vec<_>>()),
            }
        }
        "indexof" => json!(
            of.array(0)?
                .iter()
                .position(|value| Some(value) == of.values.get(1))
                .and_then(|at| i64::try_from(at).ok())
                .unwrap_or(-1)
        ),
        "range" => {
            let (from, number) = (of.number(0)?, of.length(1)?.min(10_000));
            json!((from..).take(number).collect::<Vec<i64>>())
        }
        "union" if of.get(0)?.is_object() => {
            let mut all = Map::new();
            for value in &of.values {
                let fields = value.as_object().ok_or_else(|| of.wrong(0, "objects"))?;
                all.extend(fields.clone());
            }
            Value::Object(all)
        }
        "union" => {
            let mut all: Vec<Value> = Vec::new();
            for at in 0..of.values.len() {
                for value in of.array(at)? {
                    if !all.contains(value) {
                        all.push(value.clone());
                    }
                }
            }
            json!(all)
        }
        "intersection" => {
            let mut common = of.array(0)?.clone();
            for at in 1..of.values.len() {
                let other = of.array(at)?;
                common.retain(|value| other.contains(value));
            }
            json!(common)
        }
        "flatten" => json!(
            of.array(0)?
                .iter()
                .flat_map(|value| value
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![value.clone()]))
                .collect::<Vec<_>>()
        ),
        _ => return Ok(None),
    }))
}
