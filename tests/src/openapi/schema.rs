//! Values against schemas.
//!
//! The documents are read as Resource Manager reads them, which is stricter than OpenAPI: a field that
//! no schema names is an error, unless the schema allows further ones or names none at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::documents::{Documents, Node};
use super::finding::Rule;

/// A breach inside of a document: the rule, where, and in words.
pub(super) type Breach = (Rule, String, String);

/// What a value is checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// What a PUT or POST sends.
    Create,
    /// What a PATCH sends.
    Update,
    /// What the service answers.
    Read,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Read => "read",
        }
    }

    /// Whether a property with this schema, or with this reference to one, has a place here.
    fn has(self, own: &Value, target: &Value) -> bool {
        [own, target].into_iter().all(|schema| {
            let listed = schema["x-ms-mutability"].as_array().is_none_or(|words| {
                // What can be created can be sent with an update that does not change it.
                words
                    .iter()
                    .any(|word| word == self.word() || (self == Self::Update && word == "create"))
            });
            let sent = self != Self::Read && schema["readOnly"] == true;
            let secret = self == Self::Read && schema["x-ms-secret"] == true;
            listed && !sent && !secret
        })
    }
}

/// An object's schema with all that it inherits.
#[derive(Default)]
struct Flat<'a> {
    properties: BTreeMap<&'a str, Node<'a>>,
    required: BTreeSet<&'a str>,
    /// `None`: nothing is said. `Some(None)`: anything.
    further: Option<Option<Node<'a>>>,
    discriminator: Option<&'a str>,
}

pub(super) struct Checker<'a> {
    pub(super) documents: &'a Documents,
    pub(super) direction: Direction,
    pub(super) breaches: Vec<Breach>,
}

impl<'a> Checker<'a> {
    pub(super) fn check(&mut self, schema: Node<'a>, value: &Value, at: &str) {
        let schema = self.documents.resolve(schema);
        let kind = kind(schema.value);
        match (kind, value) {
            (_, Value::Null) if self.direction != Direction::Read => {
                // Resource Manager takes null for nothing.
            }
            (Some("string"), Value::String(text)) => self.text(schema.value, text, at),
            (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.number(schema.value, number.as_f64().unwrap_or_default(), at);
            }
            (Some("number"), Value::Number(number)) => {
                self.number(schema.value, number.as_f64().unwrap_or_default(), at);
            }
            (Some("boolean"), Value::Bool(_)) | (None, _) => {}
            (Some("array"), Value::Array(items)) => self.array(schema, items, at),
            (Some("object"), Value::Object(fields)) => self.object(schema, fields, at),
            (Some(expected), found) => self.breach(
                Rule::Type,
                at,
                format!("{} instead of {expected}", type_of(found)),
            ),
        }
    }

    fn breach(&mut self, rule: Rule, at: &str, message: String) {
        self.breaches.push((rule, at.to_owned(), message));
    }

    fn text(&mut self, schema: &Value, text: &str, at: &str) {
        if let Some(allowed) = schema["enum"].as_array() {
            let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
            if names.contains(&text) {
                return;
            }
            let list = names.join(", ");
            if names.iter().any(|name| name.eq_ignore_ascii_case(text)) {
                self.breach(Rule::EnumerationCase, at, format!("'{text}' is of {list}"));
                return;
            }
            // An open enumeration grows, so that a client has to take any answer; what we send
            // ourselves we know.
            let open = schema["x-ms-enum"]["modelAsString"] == true;
            if !(open && self.direction == Direction::Read) {
                self.breach(Rule::Enumeration, at, format!("'{text}' is none of {list}"));
            }
            return;
        }
        let length = text.chars().count() as u64;
        if schema["minLength"]
            .as_u64()
            .is_some_and(|least| length < least)
            || schema["maxLength"]
                .as_u64()
                .is_some_and(|most| length > most)
        {
            self.breach(Rule::Format, at, format!("'{text}' is {length} long"));
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            let pattern = regex::Regex::new(pattern)
                .unwrap_or_else(|error| panic!("the pattern at {at}: {error}"));
            if !pattern.is_match(text) {
                self.breach(Rule::Format, at, format!("'{text}' does not fit {pattern}"));
            }
        }
        let good = match schema["format"].as_str() {
            Some("uuid") => is_uuid(text),
            Some("date-time") => is_date_time(text),
            // `arm-id` of the control plane, and URLs.
            Some("arm-id") => text.starts_with('/'),
            Some("uri") => text.contains("://"),
            _ => true,
        };
        if !good {
            let format = &schema["format"];
            self.breach(Rule::Format, at, format!("'{text}' is no {format}"));
        }
    }

    fn number(&mut self, schema: &Value, number: f64, at: &str) {
        let beyond = |limit: &str, beyond: fn(f64, f64) -> bool| {
            schema[limit]
                .as_f64()
                .is_some_and(|limit| beyond(number, limit))
        };
        let fits = schema["format"] != "int32" || number.abs() <= f64::from(i32::MAX);
        if beyond("minimum", |number, least| number < least)
            || beyond("maximum", |number, most| number > most)
            || !fits
        {
            self.breach(Rule::Format, at, format!("{number} is out of range"));
        }
    }

    fn array(&mut self, schema: Node<'a>, items: &[Value], at: &str) {
        let count = items.len() as u64;
        if schema.value["maxItems"]
            .as_u64()
            .is_some_and(|most| count > most)
            || schema.value["minItems"]
                .as_u64()
                .is_some_and(|least| count < least)
        {
            self.breach(Rule::Format, at, format!("{count} entries"));
        }
        if let Some(item) = self.documents.child(schema, "items") {
            for value in items {
                self.check(item, value, &format!("{at}[]"));
            }
        }
    }

    fn object(&mut self, schema: Node<'a>, fields: &Map<String, Value>, at: &str) {
        let mut flat = Flat::default();
        self.flatten(schema, &mut flat);
        if let Some(name) = flat.discriminator
            && let Some(value) = fields.get(name).and_then(Value::as_str)
            && let Some(derived) = self.derived(schema, value)
        {
            self.flatten(derived, &mut flat);
        }
        for (name, value) in fields {
            let at = join(at, name);
            match (flat.properties.get(name.as_str()), flat.further) {
                (Some(property), _) => {
                    let target = self.documents.resolve(*property);
                    if !self.direction.has(property.value, target.value) && !value.is_null() {
                        let rule = if self.direction == Direction::Read {
                            Rule::UnknownField
                        } else {
                            Rule::ReadOnly
                        };
                        let message = format!("not for {}", self.direction.word());
                        self.breach(rule, &at, message);
                    }
                    self.check(*property, value, &at);
                }
                (None, Some(Some(further))) => self.check(further, value, &join_any(&at, name)),
                (None, Some(None)) => {}
                (None, None) => {
                    let near = flat
                        .properties
                        .keys()
                        .find(|known| known.eq_ignore_ascii_case(name));
                    let message = near.map_or_else(
                        || "no schema has it".to_owned(),
                        |near| format!("it is called {near}"),
                    );
                    self.breach(Rule::UnknownField, &at, message);
                }
            }
        }
        // A part that is updated need not be whole.
        if self.direction == Direction::Update {
            return;
        }
        for name in &flat.required {
            let absent = fields.get(*name).is_none_or(Value::is_null);
            let has = flat.properties.get(name).is_none_or(|property| {
                let target = self.documents.resolve(*property);
                self.direction.has(property.value, target.value)
            });
            if absent && has {
                self.breach(Rule::MissingField, &join(at, name), "required".to_owned());
            }
        }
    }

    fn flatten(&self, schema: Node<'a>, into: &mut Flat<'a>) {
        let schema = self.documents.resolve(schema);
        let value = schema.value;
        for parent in value["allOf"].as_array().into_iter().flatten() {
            self.flatten(
                Node {
                    value: parent,
                    ..schema
                },
                into,
            );
        }
        for (name, property) in value["properties"].as_object().into_iter().flatten() {
            let property = Node {
                value: property,
                ..schema
            };
            into.properties.insert(name, property);
        }
        let required = value["required"].as_array().into_iter().flatten();
        into.required.extend(required.filter_map(Value::as_str));
        match &value["additionalProperties"] {
            Value::Object(further) if further.is_empty() => into.further = Some(None),
            further @ Value::Object(_) => {
                into.further = Some(Some(Node {
                    value: further,
                    ..schema
                }));
            }
            Value::Bool(true) => into.further = Some(None),
            _ => {}
        }
        if let Some(name) = value["discriminator"].as_str() {
            into.discriminator = Some(name);
        }
        // An object of which nothing is said can be any.
        if into.properties.is_empty() && into.further.is_none() && value["allOf"].is_null() {
            into.further = Some(None);
        }
    }

    /// The schema of the same document that extends this one for a value of its discriminator.
    fn derived(&self, base: Node<'a>, value: &str) -> Option<Node<'a>> {
        let document = self.documents.iter().find(|node| node.file == base.file)?;
        let definitions = document.value["definitions"].as_object()?;
        definitions.iter().find_map(|(name, definition)| {
            let node = Node {
                value: definition,
                ..document
            };
            let extends = definition["allOf"].as_array()?.iter().any(|parent| {
                let parent = self.documents.resolve(Node {
                    value: parent,
                    ..document
                });
                std::ptr::eq(parent.value, base.value)
            });
            let called = definition["x-ms-discriminator-value"]
                .as_str()
                .unwrap_or(name);
            (extends && called == value).then_some(node)
        })
    }
}

/// The type of a schema, where it says one or has what only objects have.
fn kind(schema: &Value) -> Option<&str> {
    schema["type"].as_str().or_else(|| {
        ["properties", "allOf", "additionalProperties"]
            .iter()
            .any(|part| schema.get(*part).is_some())
            .then_some("object")
    })
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

/// The entries of a map have names of their own.
fn join_any(at: &str, name: &str) -> String {
    format!("{}{{}}", at.strip_suffix(name).unwrap_or(at))
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

fn is_uuid(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// `2023-11-06T08:48:01.2914481+00:00`, with or without the fraction, or with a `Z`.
fn is_date_time(text: &str) -> bool {
    let pattern = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$";
    regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}
