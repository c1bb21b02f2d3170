//! The functions of template expressions: those of az's templates and of simple ones by hand.

mod azure;
mod collections;
mod logic;
mod text;

use serde_json::Value;

use super::evaluate::{Evaluated, Facts, Problem};

pub(super) use self::azure::interleave;

/// What Azure has besides; a template that needs one is not wrong.
const ELSEWHERE: &[&str] = &[
    "cidrhost",
    "cidrsubnet",
    "cidrsubnets",
    "copyindex",
    "datauri",
    "datauritostring",
    "dateadd",
    "datetimefromepoch",
    "datetimetoepoch",
    "deployer",
    "filter",
    "groupby",
    "indexfromend",
    "items",
    "lambda",
    "lambdavariables",
    "managementgroup",
    "managementgroupresourceid",
    "map",
    "mapvalues",
    "objectkeys",
    "parsecidr",
    "pickzones",
    "providers",
    "reduce",
    "references",
    "shallowmerge",
    "sort",
    "toobject",
    "tryget",
];

/// A value as a string, as `concat` and `string` write it.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn invalid(why: impl Into<String>) -> Problem {
    Problem::Invalid(why.into())
}

/// The arguments of a call, each taken as what the function needs.
struct Arguments<'a> {
    name: &'a str,
    values: Vec<Value>,
}

impl Arguments<'_> {
    fn wrong(&self, at: usize, wanted: &str) -> Problem {
        invalid(format!(
            "The template language function '{}' expects its parameter {} to be {wanted}. The provided value is '{}'",
            self.name,
            at + 1,
            self.values.get(at).unwrap_or(&Value::Null)
        ))
    }

    fn get(&self, at: usize) -> Evaluated<&Value> {
        self.values.get(at).ok_or_else(|| {
            invalid(format!(
                "The template language function '{}' needs more than {} parameters",
                self.name,
                self.values.len()
            ))
        })
    }

    fn text(&self, at: usize) -> Evaluated<&str> {
        self.get(at)?
            .as_str()
            .ok_or_else(|| self.wrong(at, "a string"))
    }

    fn number(&self, at: usize) -> Evaluated<i64> {
        self.get(at)?
            .as_i64()
            .ok_or_else(|| self.wrong(at, "an integer"))
    }

    fn flag(&self, at: usize) -> Evaluated<bool> {
        self.get(at)?
            .as_bool()
            .ok_or_else(|| self.wrong(at, "a boolean"))
    }

    fn length(&self, at: usize) -> Evaluated<usize> {
        usize::try_from(self.number(at)?).map_err(|_| self.wrong(at, "not negative"))
    }

    fn array(&self, at: usize) -> Evaluated<&Vec<Value>> {
        self.get(at)?
            .as_array()
            .ok_or_else(|| self.wrong(at, "an array"))
    }

    fn texts(&self) -> Evaluated<Vec<&str>> {
        (0..self.values.len()).map(|at| self.text(at)).collect()
    }

    fn numbers(&self) -> Evaluated<Vec<i64>> {
        // `min` and `max` take an array as well.
        if let [Value::Array(values)] = &self.values[..] {
            return values
                .iter()
                .map(|value| value.as_i64().ok_or_else(|| self.wrong(0, "integers")))
                .collect();
        }
        (0..self.values.len()).map(|at| self.number(at)).collect()
    }
}

/// Calls a function by its name in any case.
pub(super) fn call(facts: &Facts, name: &str, values: Vec<Value>) -> Evaluated {
    let of = Arguments { name, values };
    let folded = name.to_ascii_lowercase();
    if let Some(value) = azure::call(facts, &folded, &of)? {
        return Ok(value);
    }
    if let Some(value) = text::call(&folded, &of)? {
        return Ok(value);
    }
    if let Some(value) = collections::call(&folded, &of)? {
        return Ok(value);
    }
    if let Some(value) = logic::call(&folded, &of)? {
        return Ok(value);
    }
    if ELSEWHERE.contains(&folded.as_str()) || folded.starts_with("list") {
        return Err(Problem::NotHere(format!("the template function '{name}'")));
    }
    Err(invalid(format!(
        "The template function '{name}' is not valid. Please see https://aka.ms/arm-functions for usage details"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};
    use uuid::Uuid;

    use super::super::evaluate::Environment;
    use super::super::evaluate::tests::facts;
    use super::*;

    fn evaluate(text: &str) -> Evaluated {
        let facts = facts();
        let none = Map::new();
        Environment::new(&facts, &none, &none).value(&json!(format!("[{text}]")))
    }

    #[test]
    fn each_function_does_what_it_says() {
        for (text, expected) in [
            (
                "resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 's')",
                json!(
                    "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
                ),
            ),
            (
                "resourceId('other', 'Microsoft.Compute/disks', 'd')",
                json!("/subscriptions/s/resourceGroups/other/providers/Microsoft.Compute/disks/d"),
            ),
            (
                "subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'g')",
                json!("/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/g"),
            ),
            (
                "extensionResourceId('/x', 'Microsoft.Authorization/roleAssignments', 'g')",
                json!("/x/providers/Microsoft.Authorization/roleAssignments/g"),
            ),
            ("concat('a', 1, true())", json!("a1True")),
            ("concat(createArray(1), createArray('b'))", json!([1, "b"])),
            ("format('{0}-{1}{{}}', 'a', 2)", json!("a-2{}")),
            ("toUpper(trim(' aB '))", json!("AB")),
            ("replace('a-b-c', '-', '')", json!("abc")),
            ("substring('abcdef', 2, 3)", json!("cde")),
            ("substring('abcdef', 4)", json!("ef")),
            ("padLeft('7', 3, '0')", json!("007")),
            (
                "split('a,b;c', createArray(',', ';'))",
                json!(["a", "b", "c"]),
            ),
            ("join(createArray('a', 'b'), '/')", json!("a/b")),
            ("base64('#cloud-config')", json!("I2Nsb3VkLWNvbmZpZw==")),
            ("base64ToString('aGVsbG8=')", json!("hello")),
            ("json('{\"a\": [1]}').a[0]", json!(1)),
            ("string(createObject('a', 1))", json!("{\"a\":1}")),
            ("int('42')", json!(42)),
            ("uriComponent('a b/c')", json!("a%20b%2Fc")),
            ("uriComponentToString('a%20b')", json!("a b")),
            ("uri('https://x/a/', 'b')", json!("https://x/a/b")),
            ("length('abc')", json!(3)),
            ("empty('')", json!(true)),
            ("contains(createArray('a'), 'a')", json!(true)),
            ("contains('abc', 'd')", json!(false)),
            ("first('abc')", json!("a")),
            ("last(createArray(1, 2))", json!(2)),
            ("skip(createArray(1, 2, 3), 1)", json!([2, 3])),
            ("take('abc', 2)", json!("ab")),
            ("indexOf('aBc', 'C')", json!(2)),
            ("startsWith('ABC', 'ab')", json!(true)),
            (
                "union(createObject('a', 1), createObject('b', 2))",
                json!({"a": 1, "b": 2}),
            ),
            (
                "intersection(createArray(1, 2), createArray(2, 3))",
                json!([2]),
            ),
            ("range(3, 2)", json!([3, 4])),
            ("if(and(true(), not(false())), 'y', 'n')", json!("y")),
            ("or(false(), equals('a', 'A'))", json!(false)),
            ("greaterOrEquals(2, 2)", json!(true)),
            ("less('a', 'b')", json!(true)),
            ("coalesce(null(), 'x')", json!("x")),
            ("add(mul(2, 3), sub(div(7, 2), mod(7, 2)))", json!(8)),
            ("max(1, 3, 2)", json!(3)),
            ("min(createArray(4, 2))", json!(2)),
            ("bool('TRUE')", json!(true)),
            (
                "environment().resourceManager",
                json!("https://localhost:1"),
            ),
        ] {
            assert_eq!(evaluate(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn made_up_names_are_stable_and_differ() {
        let of = |text: &str| evaluate(&format!("uniqueString('{text}', 'x')")).unwrap();
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert_eq!(of("a").as_str().unwrap().len(), 13);
        let guid = evaluate("guid('a', 'b')").unwrap();
        assert_eq!(
            Uuid::parse_str(guid.as_str().unwrap())
                .unwrap()
                .get_version_num(),
            5
        );
    }

    #[test]
    fn wrong_calls_are_refused_by_name() {
        for text in [
            "substring('abc', 2, 5)",
            "div(1, 0)",
            "resourceId('Microsoft.Network/virtualNetworks/subnets', 'v')",
            "toLower(1)",
            "format('{1}', 'a')",
            "createObject('a')",
        ] {
            match evaluate(text) {
                Err(Problem::Invalid(why)) => {
                    let name = text.split('(').next().unwrap();
                    assert!(why.contains(name), "{text}: {why}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        for text in [
            "listKeys('x', '2020')",
            "copyIndex()",
            "format('{0:N2}', 1)",
        ] {
            assert!(matches!(evaluate(text), Err(Problem::NotHere(_))), "{text}");
        }
    }
}
