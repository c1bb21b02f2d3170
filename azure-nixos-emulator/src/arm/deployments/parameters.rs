//! The parameters of a template: what is given, what is left to the defaults, and the limits.

use serde_json::{Map, Value};

use super::evaluate::{Environment, Evaluated, Facts, Problem};

fn invalid(why: impl Into<String>) -> Problem {
    Problem::Invalid(why.into())
}

/// The values of the parameters, given or by default, checked against their declarations.
pub(super) fn read(
    facts: &Facts,
    declared: &Map<String, Value>,
    given: &Map<String, Value>,
    variables: &Map<String, Value>,
) -> Evaluated<Map<String, Value>> {
    let find = |of: &Map<String, Value>, name: &str| {
        of.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
    };
    let unknown: Vec<&str> = given
        .keys()
        .filter(|name| find(declared, name).is_none())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let names: Vec<&str> = declared.keys().map(String::as_str).collect();
        return Err(invalid(format!(
            "The template parameters '{}' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time. The only supported parameters for this template are '{}'. Please see https://aka.ms/arm-deploy/#parameter-file for usage details",
            unknown.join(", "),
            names.join(", ")
        )));
    }
    let mut values = Map::new();
    let mut pending: Vec<String> = Vec::new();
    for (name, declaration) in declared {
        match find(given, name) {
            Some(value) if !value["reference"].is_null() => {
                return Err(Problem::NotHere("secrets of a key vault".to_owned()));
            }
            Some(value) if value.get("value").is_some_and(|value| !value.is_null()) => {
                let value = value["value"].clone();
                check(name, declaration, &value)?;
                values.insert(name.clone(), value);
            }
            _ if declaration.get("defaultValue").is_some() => pending.push(name.clone()),
            _ if declaration["nullable"] == true => {
                values.insert(name.clone(), Value::Null);
            }
            _ => {
                return Err(invalid(format!(
                    "The value for the template parameter '{name}' at line '1' and column '1' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details"
                )));
            }
        }
    }
    // Defaults are made of other parameters, in any order.
    while !pending.is_empty() {
        let before = pending.len();
        for name in pending.clone() {
            let mut environment = Environment::new(facts, &values, variables);
            environment.pending = &pending;
            environment.is_default = true;
            let value = match environment.value(&declared[&name]["defaultValue"]) {
                Err(Problem::Waiting) => continue,
                value => value?,
            };
            check(&name, &declared[&name], &value)?;
            values.insert(name.clone(), value);
            pending.retain(|other| *other != name);
        }
        if pending.len() == before {
            return Err(invalid(format!(
                "Circular reference in the default values of the template parameters '{}'",
                pending.join(", ")
            )));
        }
    }
    Ok(values)
}

/// Whether the type of a parameter is one whose value is never shown.
pub(super) fn is_secure(kind: &str) -> bool {
    kind.to_ascii_lowercase().starts_with("secure")
}

/// Checks the value of a parameter against its type and its limits.
fn check(name: &str, declaration: &Value, value: &Value) -> Evaluated<()> {
    let kind = declaration["type"].as_str().unwrap_or_default();
    let is_of_type = match kind.to_ascii_lowercase().as_str() {
        "string" | "securestring" => value.is_string(),
        "int" => value.is_i64(),
        "bool" => value.is_boolean(),
        "object" | "secureobject" => value.is_object(),
        "array" => value.is_array(),
        _ => {
            return Err(invalid(format!(
                "The type '{kind}' of the template parameter '{name}' is not valid"
            )));
        }
    };
    if !is_of_type {
        return Err(invalid(format!(
            "Template parameter JToken type is not valid. Expected '{kind}'. Actual '{}'. The parameter is '{name}'. Please see https://aka.ms/arm-syntax-parameters for usage details",
            match value {
                Value::Null => "Null",
                Value::Bool(_) => "Boolean",
                Value::Number(_) => "Integer",
                Value::String(_) => "String",
                Value::Array(_) => "Array",
                Value::Object(_) => "Object",
            }
        )));
    }
    let refused = |why: String| {
        Err(invalid(format!(
            "The provided value for the template parameter '{name}' is not valid. {why}. Please see https://aka.ms/arm-syntax-parameters for usage details"
        )))
    };
    if let Some(allowed) = declaration["allowedValues"].as_array() {
        let is_allowed = match value {
            // An array may hold any of those.
            Value::Array(values) if !allowed.contains(value) => {
                values.iter().all(|value| allowed.contains(value))
            }
            value => allowed.contains(value),
        };
        if !is_allowed {
            let names: Vec<String> = allowed.iter().map(super::functions::as_text).collect();
            return refused(format!(
                "The value '{}' is not part of the allowed value(s): '{}'",
                super::functions::as_text(value),
                names.join(",")
            ));
        }
    }
    let length = match value {
        Value::String(text) => i64::try_from(text.chars().count()).ok(),
        Value::Array(values) => i64::try_from(values.len()).ok(),
        _ => None,
    };
    for (field, number, is_least, words) in [
        (
            "minLength",
            length,
            true,
            "Length of the value should be greater than or equal to",
        ),
        (
            "maxLength",
            length,
            false,
            "Length of the value should be less than or equal to",
        ),
        (
            "minValue",
            value.as_i64(),
            true,
            "Value should be greater than or equal to",
        ),
        (
            "maxValue",
            value.as_i64(),
            false,
            "Value should be less than or equal to",
        ),
    ] {
        if let (Some(number), Some(limit)) = (number, declaration[field].as_i64())
            && ((is_least && number < limit) || (!is_least && number > limit))
        {
            return refused(format!("{words} '{limit}'"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::evaluate::tests::facts;
    use super::*;

    #[test]
    fn parameters_have_defaults_and_limits() {
        let declared = json!({
            "nic": { "type": "string", "defaultValue": "[concat(parameters('name'), '-nic')]" },
            "name": { "type": "String", "minLength": 2 },
            "size": { "type": "int", "defaultValue": 3, "maxValue": 10 },
            "kind": { "type": "string", "defaultValue": "a", "allowedValues": ["a", "b"] },
            "id": { "type": "string", "defaultValue": "[newGuid()]" },
        });
        let with = |given: Value| {
            read(
                &facts(),
                declared.as_object().unwrap(),
                given.as_object().unwrap(),
                &Map::new(),
            )
        };
        let values = with(json!({ "Name": { "value": "web" } })).unwrap();
        assert_eq!(values["nic"], "web-nic");
        assert_eq!(values["size"], 3);
        assert_eq!(values["id"].as_str().unwrap().len(), 36);
        for (parameters, word) in [
            (json!({}), "'name' at line"),
            (
                json!({ "name": { "value": "w" } }),
                "greater than or equal to '2'",
            ),
            (
                json!({ "name": { "value": 1 } }),
                "Expected 'String'. Actual 'Integer'",
            ),
            (
                json!({ "name": { "value": "web" }, "size": { "value": 11 } }),
                "less than or equal to '10'",
            ),
            (
                json!({ "name": { "value": "web" }, "kind": { "value": "c" } }),
                "allowed value(s): 'a,b'",
            ),
            (
                json!({ "name": { "value": "web" }, "more": { "value": 1 } }),
                "'more'",
            ),
        ] {
            match with(parameters) {
                Err(Problem::Invalid(why)) => assert!(why.contains(word), "{why}"),
                other => panic!("{word}: {other:?}"),
            }
        }
    }
}
