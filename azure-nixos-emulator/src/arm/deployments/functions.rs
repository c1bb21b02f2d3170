//! The functions of template expressions: those of az's templates and of simple ones by hand.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::evaluate::{Evaluated, Facts, Problem};

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
    if let Some(value) = about_azure(facts, &folded, &of)? {
        return Ok(value);
    }
    if let Some(value) = about_text(&folded, &of)? {
        return Ok(value);
    }
    if let Some(value) = about_collections(&folded, &of)? {
        return Ok(value);
    }
    if let Some(value) = about_logic(&folded, &of)? {
        return Ok(value);
    }
    if ELSEWHERE.contains(&folded.as_str()) || folded.starts_with("list") {
        return Err(Problem::NotHere(format!("the template function '{name}'")));
    }
    Err(invalid(format!(
        "The template function '{name}' is not valid. Please see https://aka.ms/arm-functions for usage details"
    )))
}

/// Scopes, ids and what is made of them.
fn about_azure(facts: &Facts, name: &str, of: &Arguments<'_>) -> Evaluated<Option<Value>> {
    Ok(Some(match name {
        "subscription" => facts.subscription.clone(),
        "resourcegroup" => facts.group.clone(),
        "tenant" => facts.tenant.clone(),
        "deployment" => facts.deployment.clone(),
        "environment" => facts.environment.clone(),
        "resourceid" => {
            let texts = of.texts()?;
            let at = type_at(of, &texts)?;
            let (before, rest) = texts.split_at(at);
            let subscription = facts.subscription["subscriptionId"]
                .as_str()
                .unwrap_or_default();
            let group = facts.group["name"].as_str().unwrap_or_default();
            let (subscription, group) = match before {
                [] => (subscription, group),
                [group] => (subscription, *group),
                [subscription, group] => (*subscription, *group),
                _ => return Err(of.wrong(0, "an id")),
            };
            json!(format!(
                "/subscriptions/{subscription}/resourceGroups/{group}/providers/{}",
                type_and_names(of, rest)?
            ))
        }
        "subscriptionresourceid" => {
            let texts = of.texts()?;
            let at = type_at(of, &texts)?;
            let subscription = match texts[..at] {
                [] => facts.subscription["subscriptionId"]
                    .as_str()
                    .unwrap_or_default(),
                [subscription] => subscription,
                _ => return Err(of.wrong(0, "an id")),
            };
            json!(format!(
                "/subscriptions/{subscription}/providers/{}",
                type_and_names(of, &texts[at..])?
            ))
        }
        "tenantresourceid" => {
            json!(format!("/providers/{}", type_and_names(of, &of.texts()?)?))
        }
        "extensionresourceid" => {
            let texts = of.texts()?;
            let (base, rest) = texts.split_first().ok_or_else(|| of.wrong(0, "an id"))?;
            json!(format!("{base}/providers/{}", type_and_names(of, rest)?))
        }
        "uniquestring" => json!(unique_string(&of.texts()?)),
        "guid" => json!(guid(&of.texts()?)),
        "newguid" => json!(Uuid::new_v4()),
        "utcnow" if of.values.is_empty() => json!(facts.now),
        "utcnow" => {
            return Err(Problem::NotHere(
                "the template function 'utcNow' with a format".to_owned(),
            ));
        }
        _ => return Ok(None),
    }))
}

/// Where the type is among the arguments: the first with a slash that is no id.
fn type_at(of: &Arguments<'_>, texts: &[&str]) -> Evaluated<usize> {
    texts
        .iter()
        .position(|text| text.contains('/'))
        .ok_or_else(|| of.wrong(0, "a resource type"))
}

/// `Microsoft.Network/virtualNetworks/v/subnets/s` of the type and the names.
fn type_and_names(of: &Arguments<'_>, texts: &[&str]) -> Evaluated<String> {
    let Some((full, names)) = texts.split_first() else {
        return Err(of.wrong(0, "a resource type"));
    };
    interleave(full, names).ok_or_else(|| {
        invalid(format!(
            "Unable to evaluate template language function '{}': the type '{full}' requires '{}' resource name argument(s)",
            of.name,
            full.matches('/').count()
        ))
    })
}

/// A type and as many names as it has parts, as a path.
pub(super) fn interleave(full: &str, names: &[&str]) -> Option<String> {
    let (namespace, types) = full.split_once('/')?;
    let types: Vec<&str> = types.split('/').collect();
    if types.len() != names.len() || names.iter().any(|name| name.is_empty()) {
        return None;
    }
    let mut path = namespace.to_owned();
    for (kind, name) in types.iter().zip(names) {
        path.push('/');
        path.push_str(kind);
        path.push('/');
        path.push_str(name);
    }
    Some(path)
}

/// 13 letters and digits that are the same for the same texts. Azure's own hash is not public, so
/// that the letters are others than there.
fn unique_string(texts: &[&str]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = Sha256::digest(texts.join("-").as_bytes());
    digest[..13]
        .iter()
        .map(|byte| char::from(DIGITS[usize::from(byte % 32)]))
        .collect()
}

/// Version 5 in a namespace of Azure's own, which several independent implementations give.
fn guid(texts: &[&str]) -> Uuid {
    const NAMESPACE: Uuid = Uuid::from_u128(0x11fb_06fb_712d_4ddd_98c7_e71b_bd58_8830);
    Uuid::new_v5(&NAMESPACE, texts.join("-").as_bytes())
}

fn about_text(name: &str, of: &Arguments<'_>) -> Evaluated<Option<Value>> {
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
            json!(super::super::call::percent_decode(of.text(0)?))
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

fn about_collections(name: &str, of: &Arguments<'_>) -> Evaluated<Option<Value>> {
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

fn about_logic(name: &str, of: &Arguments<'_>) -> Evaluated<Option<Value>> {
    let overflow = || invalid(format!("The template language function '{name}' overflows"));
    Ok(Some(match name {
        "true" => json!(true),
        "false" => json!(false),
        "null" => Value::Null,
        "not" => json!(!of.flag(0)?),
        "and" => {
            let mut all = true;
            for at in 0..of.values.len() {
                all &= of.flag(at)?;
            }
            json!(all)
        }
        "or" => {
            let mut any = false;
            for at in 0..of.values.len() {
                any |= of.flag(at)?;
            }
            json!(any)
        }
        "bool" => match of.get(0)? {
            Value::String(text) if text.eq_ignore_ascii_case("true") => json!(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => json!(false),
            Value::Number(number) => json!(number.as_i64() != Some(0)),
            _ => json!(of.flag(0)?),
        },
        "equals" => json!(of.get(0)? == of.get(1)?),
        "less" | "lessorequals" | "greater" | "greaterorequals" => {
            let order = match (of.get(0)?, of.get(1)?) {
                (Value::String(a), Value::String(b)) => a.cmp(b),
                _ => of.number(0)?.cmp(&of.number(1)?),
            };
            json!(match name {
                "less" => order.is_lt(),
                "lessorequals" => order.is_le(),
                "greater" => order.is_gt(),
                _ => order.is_ge(),
            })
        }
        "coalesce" => of
            .values
            .iter()
            .find(|value| !value.is_null())
            .cloned()
            .unwrap_or(Value::Null),
        "add" => json!(
            of.number(0)?
                .checked_add(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "sub" => json!(
            of.number(0)?
                .checked_sub(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "mul" => json!(
            of.number(0)?
                .checked_mul(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "div" => json!(
            of.number(0)?
                .checked_div(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "mod" => json!(
            of.number(0)?
                .checked_rem(of.number(1)?)
                .ok_or_else(overflow)?
        ),
        "min" => json!(of.numbers()?.into_iter().min()),
        "max" => json!(of.numbers()?.into_iter().max()),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
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
