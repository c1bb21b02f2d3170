//! What a request body may look like.
//!
//! Azure's models are large and most of what a client may send is only checked and handed back, so
//! they are tables and not types: the documents stay JSON. A field that no model has, or has in
//! another case, is refused by its path, as is a value of the wrong type.

use serde_json::{Map, Value};

use super::answer::Result;
use super::error::ArmError;

/// What a value may look like. `null` stands for an absent field everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// Not looked into: settings that other services define.
    Any,
    Text,
    Number,
    Flag,
    /// One of these, in any case; it is rewritten in this one.
    OneOf(&'static [&'static str]),
    List(&'static Shape),
    /// Names that the client chooses.
    Map(&'static Shape),
    /// Fields by name; a name that ends in `!` is required.
    Object(&'static [(&'static str, Shape)]),
}

/// A reference to another resource. Azure accepts whole resources in these places, of which it
/// reads only the id.
pub(crate) const REFERENCE: Shape = Shape::Map(&Shape::Any);
pub(crate) const TAGS: Shape = Shape::Map(&Shape::Text);
pub(crate) const TEXTS: Shape = Shape::List(&Shape::Text);
pub(crate) const REFERENCES: Shape = Shape::List(&REFERENCE);

impl Shape {
    /// Checks `value`, brings enumerations into Azure's spelling and drops `null`s.
    pub(crate) fn check(&self, value: &mut Value) -> Result<()> {
        self.check_at(value, "")
    }

    /// Brings the names of fields into the model's case, as Resource Manager does with the resources
    /// of a template, and flags and numbers out of strings, which the providers do: az writes both.
    /// A name that is there in the right case as well stays as it is.
    pub(crate) fn fold(&self, value: &mut Value) {
        match (self, &mut *value) {
            (Self::Flag, Value::String(text)) => {
                if let Ok(flag) = text.to_ascii_lowercase().parse::<bool>() {
                    *value = Value::from(flag);
                }
            }
            (Self::Number, Value::String(text)) => {
                if let Ok(number) = text.parse::<i64>() {
                    *value = Value::from(number);
                }
            }
            (Self::List(item), Value::Array(values)) => {
                values.iter_mut().for_each(|value| item.fold(value));
            }
            (Self::Map(item), Value::Object(values)) => {
                values.values_mut().for_each(|value| item.fold(value));
            }
            (Self::Object(fields), Value::Object(values)) => {
                for (field, shape) in *fields {
                    let name = field.strip_suffix('!').unwrap_or(field);
                    if !values.contains_key(name)
                        && let Some(given) = values
                            .keys()
                            .find(|given| given.eq_ignore_ascii_case(name))
                            .cloned()
                        && let Some(value) = values.remove(&given)
                    {
                        values.insert(name.to_owned(), value);
                    }
                    if let Some(value) = values.get_mut(name) {
                        shape.fold(value);
                    }
                }
            }
            _ => {}
        }
    }

    fn check_at(&self, value: &mut Value, path: &str) -> Result<()> {
        match (self, &mut *value) {
            (Self::Any, _)
            | (Self::Text, Value::String(_))
            | (Self::Number, Value::Number(_))
            | (Self::Flag, Value::Bool(_)) => Ok(()),
            (Self::OneOf(allowed), Value::String(text)) => {
                match allowed.iter().find(|name| is_word(name, text)) {
                    Some(name) => {
                        *value = Value::from(*name);
                        Ok(())
                    }
                    None => Err(refused(
                        path,
                        &format!(
                            "Error converting value \"{text}\"; it has to be one of {}",
                            allowed.join(", ")
                        ),
                    )),
                }
            }
            (Self::List(item), Value::Array(values)) => values
                .iter_mut()
                .enumerate()
                .try_for_each(|(index, value)| item.check_at(value, &format!("{path}[{index}]"))),
            (Self::Map(item), Value::Object(values)) => values
                .iter_mut()
                .filter(|(_, value)| !value.is_null())
                .try_for_each(|(name, value)| item.check_at(value, &join(path, name))),
            (Self::Object(fields), Value::Object(values)) => object(fields, values, path),
            (expected, found) => Err(refused(
                path,
                &format!(
                    "Error converting value of type {}; it has to be {}",
                    type_of(found),
                    expected.in_words()
                ),
            )),
        }
    }

    fn in_words(&self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Text | Self::OneOf(_) => "a string",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::List(_) => "an array",
            Self::Map(_) | Self::Object(_) => "an object",
        }
    }
}

fn object(
    fields: &[(&'static str, Shape)],
    values: &mut Map<String, Value>,
    path: &str,
) -> Result<()> {
    values.retain(|_, value| !value.is_null());
    for (name, value) in values.iter_mut() {
        let Some((_, shape)) = fields
            .iter()
            .find(|(field, _)| field.strip_suffix('!').unwrap_or(field) == name)
        else {
            return Err(refused(
                &join(path, name),
                &format!("Could not find member '{name}' on object"),
            ));
        };
        shape.check_at(value, &join(path, name))?;
    }
    for (field, _) in fields {
        if let Some(name) = field.strip_suffix('!')
            && !values.contains_key(name)
        {
            return Err(ArmError::missing_parameter(&join(path, name)));
        }
    }
    Ok(())
}

/// Whether a text is this word of an enumeration, in any case. Words that are several, as in
/// `SystemAssigned, UserAssigned`, come with and without the space.
fn is_word(word: &str, text: &str) -> bool {
    let folded = |text: &str| text.replace(' ', "").to_ascii_lowercase();
    folded(word) == folded(text)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn refused(path: &str, why: &str) -> ArmError {
    ArmError::gateway(
        400,
        "InvalidRequestContent",
        format!(
            "The request content was invalid and could not be deserialized: '{why}. Path '{path}'.'."
        ),
    )
    .with_target(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MODEL: Shape = Shape::Object(&[
        ("location!", Shape::Text),
        ("tags", TAGS),
        (
            "disks",
            Shape::List(&Shape::Object(&[
                ("createOption!", Shape::OneOf(&["FromImage", "Attach"])),
                ("diskSizeGB", Shape::Number),
            ])),
        ),
    ]);

    fn refusal(mut body: Value) -> String {
        MODEL.check(&mut body).unwrap_err().message
    }

    #[test]
    fn fields_are_known_by_exact_name() {
        let message = refusal(
            json!({"location": "x", "disks": [{"createOption": "Attach", "diskSizeGb": 1}]}),
        );
        assert!(
            message.contains("'diskSizeGb'") && message.contains("disks[0].diskSizeGb"),
            "{message}"
        );
        assert!(
            refusal(json!({"location": "x", "disks": [{}]})).contains("'disks[0].createOption'")
        );
        assert!(refusal(json!({"tags": {}})).contains("'location'"));
        assert!(refusal(json!({"location": "x", "tags": {"a": 1}})).contains("tags.a"));
    }

    #[test]
    fn a_template_may_write_fields_in_any_case() {
        let mut body = json!({
            "Location": "x",
            "disks": [{"createoption": "Attach", "diskSizeGb": "1", "unknown": 2}],
            "tags": {"Location": "kept", "number": "1"},
        });
        MODEL.fold(&mut body);
        assert_eq!(
            body,
            json!({
                "location": "x",
                "disks": [{"createOption": "Attach", "diskSizeGB": 1, "unknown": 2}],
                "tags": {"Location": "kept", "number": "1"},
            })
        );
    }

    #[test]
    fn enumerations_are_rewritten_and_nulls_dropped() {
        let mut body = json!({"location": "x", "tags": null, "disks": [{"createOption": "fromimage", "diskSizeGB": null}]});
        MODEL.check(&mut body).unwrap();
        assert_eq!(
            body,
            json!({"location": "x", "disks": [{"createOption": "FromImage"}]})
        );
    }
}
