//! What the strings of a template become.

use std::cell::Cell;

use serde_json::{Map, Value};

use super::expression::{Expression, inside, parse};
use super::functions;

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Problem {
    /// The template is wrong: a sentence without an end.
    Invalid(String),
    /// Azure can, this cannot.
    NotHere(String),
    /// What it refers to is not there yet.
    Waiting,
}

pub(super) type Evaluated<T = Value> = Result<T, Problem>;

/// Finds what `reference()` is about: an id or a name of the template, and whether all of the
/// resource is asked for and not only its properties.
pub(super) type Lookup<'a> = &'a dyn Fn(&str, bool) -> Evaluated;

/// Where and for whom a template is deployed.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) subscription: Value,
    pub(super) group: Value,
    pub(super) tenant: Value,
    pub(super) deployment: Value,
    pub(super) environment: Value,
    /// `20260101T000000Z`
    pub(super) now: String,
}

/// What an expression can see.
pub(super) struct Environment<'a> {
    pub(super) facts: &'a Facts,
    pub(super) parameters: &'a Map<String, Value>,
    /// As they are in the template.
    pub(super) variables: &'a Map<String, Value>,
    /// Parameters that are declared and have no value yet.
    pub(super) pending: &'a [String],
    /// `None` where the template may not refer to what is only known later.
    pub(super) lookup: Option<Lookup<'a>>,
    /// Whether this is the default of a parameter: only there is chance and time.
    pub(super) is_default: bool,
    depth: Cell<usize>,
}

/// How deep variables are made of variables.
const DEEPEST: usize = 64;

impl<'a> Environment<'a> {
    pub(super) fn new(
        facts: &'a Facts,
        parameters: &'a Map<String, Value>,
        variables: &'a Map<String, Value>,
    ) -> Self {
        Self {
            facts,
            parameters,
            variables,
            pending: &[],
            lookup: None,
            is_default: false,
            depth: Cell::new(0),
        }
    }

    /// A value of the template with everything in it evaluated.
    pub(super) fn value(&self, value: &Value) -> Evaluated {
        match value {
            Value::String(text) => self.text(text),
            Value::Array(values) => values
                .iter()
                .map(|value| self.value(value))
                .collect::<Evaluated<Vec<_>>>()
                .map(Value::Array),
            Value::Object(fields) => {
                let mut object = Map::new();
                for (name, value) in fields {
                    if name == "copy" && value.is_array() {
                        return Err(Problem::NotHere("copy loops in templates".to_owned()));
                    }
                    let name = match self.text(name)? {
                        Value::String(name) => name,
                        other => functions::as_text(&other),
                    };
                    object.insert(name, self.value(value)?);
                }
                Ok(Value::Object(object))
            }
            other => Ok(other.clone()),
        }
    }

    fn text(&self, text: &str) -> Evaluated {
        match inside(text) {
            Some(expression) => self.expression(&parse(expression).map_err(Problem::Invalid)?),
            None if text.starts_with("[[") => Ok(Value::from(&text[1..])),
            None => Ok(Value::from(text)),
        }
    }

    fn expression(&self, expression: &Expression) -> Evaluated {
        match expression {
            Expression::Text(text) => Ok(Value::from(text.as_str())),
            Expression::Number(number) => Ok(Value::from(*number)),
            Expression::Property(of, name) => property(&self.expression(of)?, name),
            Expression::Index(of, index) => {
                let (of, index) = (self.expression(of)?, self.expression(index)?);
                match (&of, &index) {
                    (Value::Array(values), index) => index
                        .as_u64()
                        .and_then(|index| values.get(usize::try_from(index).ok()?))
                        .cloned()
                        .ok_or_else(|| {
                            Problem::Invalid(format!(
                                "The language expression property array index '{index}' is out of bounds"
                            ))
                        }),
                    (of, Value::String(name)) => property(of, name),
                    _ => Err(Problem::Invalid(format!(
                        "The language expression property '{index}' can't be evaluated"
                    ))),
                }
            }
            Expression::Call(name, arguments) => self.call(name, arguments),
        }
    }

    /// The functions that look around, and those that need not evaluate all they are given.
    fn call(&self, name: &str, arguments: &[Expression]) -> Evaluated {
        match (name.to_ascii_lowercase().as_str(), arguments) {
            ("if", [condition, then, otherwise]) => match self.expression(condition)? {
                Value::Bool(true) => self.expression(then),
                Value::Bool(false) => self.expression(otherwise),
                _ => Err(Problem::Invalid(
                    "The template language function 'if' expects a boolean as its first parameter"
                        .to_owned(),
                )),
            },
            ("parameters", [name]) => self.parameter(&self.name(name)?),
            ("variables", [name]) => self.variable(&self.name(name)?),
            ("reference", [what, rest @ ..]) if rest.len() <= 2 => {
                let Some(lookup) = self.lookup else {
                    return Err(Problem::Invalid(
                        "The template function 'reference' is not expected at this location"
                            .to_owned(),
                    ));
                };
                let is_full = match rest.get(1) {
                    Some(full) => self.name(full)?.eq_ignore_ascii_case("Full"),
                    None => false,
                };
                lookup(&self.name(what)?, is_full)
            }
            ("newguid" | "utcnow", _) if !self.is_default => Err(Problem::Invalid(format!(
                "The template function '{name}' is not expected at this location. It can be used only in the default value of a parameter"
            ))),
            _ => {
                let arguments = arguments
                    .iter()
                    .map(|argument| self.expression(argument))
                    .collect::<Evaluated<Vec<_>>>()?;
                functions::call(self.facts, name, arguments)
            }
        }
    }

    fn name(&self, expression: &Expression) -> Evaluated<String> {
        match self.expression(expression)? {
            Value::String(name) => Ok(name),
            other => Err(Problem::Invalid(format!(
                "A function expects a string and not '{other}'"
            ))),
        }
    }

    fn parameter(&self, name: &str) -> Evaluated {
        let is = |other: &&String| other.eq_ignore_ascii_case(name);
        if let Some(key) = self.parameters.keys().find(is) {
            return Ok(self.parameters[key].clone());
        }
        if self.pending.iter().any(|other| is(&other)) {
            return Err(Problem::Waiting);
        }
        Err(Problem::Invalid(format!(
            "The template parameter '{name}' is not found. Please see https://aka.ms/arm-syntax-parameters for usage details"
        )))
    }

    fn variable(&self, name: &str) -> Evaluated {
        let Some((_, value)) = self
            .variables
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
        else {
            return Err(Problem::Invalid(format!(
                "The template variable '{name}' is not found. Please see https://aka.ms/arm-syntax-variables for usage details"
            )));
        };
        if self.depth.get() >= DEEPEST {
            return Err(Problem::Invalid(format!(
                "The template variable '{name}' is made of itself"
            )));
        }
        self.depth.set(self.depth.get() + 1);
        let value = self.value(value);
        self.depth.set(self.depth.get() - 1);
        value
    }
}

/// A property, its name in any case.
fn property(of: &Value, name: &str) -> Evaluated {
    let fields = of.as_object().ok_or_else(|| {
        Problem::Invalid(format!(
            "The language expression property '{name}' can't be evaluated, as what it is a property of is no object"
        ))
    })?;
    fields
        .get(name)
        .or_else(|| {
            fields
                .iter()
                .find(|(other, _)| other.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        })
        .cloned()
        .ok_or_else(|| {
            let names: Vec<&str> = fields.keys().map(String::as_str).collect();
            Problem::Invalid(format!(
                "The language expression property '{name}' doesn't exist, available properties are '{}'",
                names.join(", ")
            ))
        })
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn facts() -> Facts {
        Facts {
            subscription: json!({ "subscriptionId": "s", "id": "/subscriptions/s", "tenantId": "t" }),
            group: json!({ "name": "rg", "location": "westus2", "id": "/subscriptions/s/resourceGroups/rg" }),
            tenant: json!({ "tenantId": "t" }),
            deployment: json!({ "name": "d" }),
            environment: json!({ "resourceManager": "https://localhost:1" }),
            now: "20260101T000000Z".to_owned(),
        }
    }

    fn evaluate(text: &str) -> Evaluated {
        let facts = facts();
        let (parameters, variables) = (
            json!({ "Name": "web", "sizes": [1, 2] }),
            json!({ "nic": "[concat(parameters('name'), '-nic')]", "loop": "[variables('Loop')]" }),
        );
        Environment::new(
            &facts,
            parameters.as_object().unwrap(),
            variables.as_object().unwrap(),
        )
        .value(&json!(text))
    }

    #[test]
    fn parameters_variables_and_properties_in_any_case() {
        assert_eq!(evaluate("[variables('NIC')]").unwrap(), "web-nic");
        assert_eq!(evaluate("[resourceGroup().Location]").unwrap(), "westus2");
        assert_eq!(evaluate("[parameters('sizes')[1]]").unwrap(), 2);
        assert_eq!(evaluate("[[not one]").unwrap(), "[not one]");
        assert_eq!(evaluate("plain").unwrap(), "plain");
    }

    #[test]
    fn only_the_branch_that_is_taken_counts() {
        assert_eq!(
            evaluate("[if(equals(1, 1), 'a', parameters('none'))]").unwrap(),
            "a"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("[parameters('none')]", "'none'"),
            ("[variables('loop')]", "made of itself"),
            ("[resourceGroup().owner]", "available properties are"),
            ("[parameters('sizes')[2]]", "out of bounds"),
            ("[nothing('x')]", "'nothing' is not valid"),
            ("[reference('x')]", "'reference' is not expected"),
            ("[newGuid()]", "'newGuid' is not expected"),
            ("[concat(", "[concat("),
        ] {
            match evaluate(text) {
                Err(Problem::Invalid(why)) => assert!(why.contains(word), "{text}: {why}"),
                Ok(value) => assert_eq!(value, word),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
