//! Fault rules as a document, for the command line and for the control interface: TOML with one
//! `[[rule]]` a rule, or the same as JSON.

mod show;

use std::time::{Duration, SystemTime};

use axum::http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::rule::{Act, Moment};
use super::{FaultRule, Faults, Plane};
use crate::operation::Operation;
use crate::span;

/// What selects requests, in the order of the documentation.
const SELECTORS: [&str; 12] = [
    "plane",
    "operation",
    "method",
    "path",
    "header",
    "after",
    "every",
    "times",
    "probability",
    "seed",
    "from",
    "until",
];

/// What is done to them; a rule has one.
const ACTIONS: [&str; 15] = [
    "count",
    "respond",
    "delay",
    "reset",
    "stall",
    "stall-body",
    "half-body",
    "endless-body",
    "cut-connection",
    "expire-access",
    "expire-token",
    "lose-update",
    "fail-operation",
    "corrupt",
    "limit",
];

/// Why a document is no list of fault rules: which rule, which key, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseFaultError {
    rule: Option<usize>,
    message: String,
}

impl ParseFaultError {
    /// The rule concerned, counted from 1; `None` when the document as a whole is wrong.
    #[must_use]
    pub fn rule(&self) -> Option<usize> {
        self.rule
    }

    fn whole(message: impl Into<String>) -> Self {
        Self {
            rule: None,
            message: message.into(),
        }
    }
}

type Result<T, E = String> = std::result::Result<T, E>;

impl FaultRule {
    /// Reads the rules of a TOML document.
    ///
    /// ```toml
    /// # The third to fifth Put Page are refused.
    /// [[rule]]
    /// operation = "blob.putPage"
    /// after = 2
    /// times = 3
    /// respond = { status = 503, code = "ServerBusy", headers = { Retry-After = "1" } }
    ///
    /// # One request in a hundred about disks loses its answer, for a minute and a half.
    /// [[rule]]
    /// plane = "arm"
    /// path = "/disks/"
    /// probability = 0.01
    /// seed = 7
    /// from = "30s"
    /// for = "90s"
    /// reset = "after"
    /// ```
    ///
    /// Which requests: `operation` (a name of [`Operation`]) or `plane` (`"arm"`, `"blob"`), and
    /// `method`, `path` (a part of path and query; `*` is any text), `header` (its name), `after`, `every`, `times`,
    /// `probability` with `seed`, `from` and `until` (a span since the rule was added, or a time
    /// such as `"2030-01-01T00:00:00Z"`), `for` (a span). What happens, one of:
    ///
    /// | key | value |
    /// |---|---|
    /// | `respond` | `{ status, code, message, headers, late }`; `late` is a span |
    /// | `delay` | a span, or two for a random time between |
    /// | `reset` | `"before"` or `"after"` the work is done, or `"during"` the body of the request |
    /// | `stall` | a span without an answer, then the connection breaks |
    /// | `stall-body` | the same after half of the body |
    /// | `half-body` | `true`: the connection breaks after half of the body |
    /// | `endless-body` | `true`: the answer's body has no end |
    /// | `cut-connection` | a number of bytes both ways; the rule is about connections then |
    /// | `expire-token` | `true`: the token of the request is expired |
    /// | `expire-access` | `true`: the access to the disk is expired |
    /// | `lose-update` | `true`: it is answered as done, and is not |
    /// | `fail-operation` | `{ code, message }`: it is accepted, and fails when it is due |
    /// | `corrupt` | `"stored"` or `"read"`: a bit is flipped |
    /// | `limit` | `{ requests-per-second, mib-per-second }` |
    /// | `count` | `true`: nothing, but it is counted |
    ///
    /// Spans are a number with a unit: `250ms`, `30s`, `7m`, `2h`, `1d`.
    ///
    /// # Errors
    /// Names the rule, the key, and what is allowed there.
    ///
    /// ```
    /// use azure_nixos_emulator::fault::FaultRule;
    ///
    /// let rules = FaultRule::from_toml("[[rule]]\nplane = 'blob'\nevery = 50\ndelay = '250ms'\n")?;
    /// assert_eq!(rules.len(), 1);
    /// let error = FaultRule::from_toml("[[rule]]\nplane = 'blob'\ndelay = 250\n").unwrap_err();
    /// assert!(error.to_string().starts_with("rule 1: `delay` is"));
    /// # Ok::<(), azure_nixos_emulator::fault::ParseFaultError>(())
    /// ```
    pub fn from_toml(text: &str) -> Result<Vec<Self>, ParseFaultError> {
        let document: Value = toml::from_str(text).map_err(|error| {
            ParseFaultError::whole(format!("the fault rules are no TOML: {error}"))
        })?;
        rules(document)
    }

    /// Reads the same as JSON: `{"rule": [{"operation": "disks.delete", "reset": "after"}]}`.
    ///
    /// # Errors
    /// As [`from_toml`](Self::from_toml).
    pub fn from_json(text: &str) -> Result<Vec<Self>, ParseFaultError> {
        let document: Value = serde_json::from_str(text).map_err(|error| {
            ParseFaultError::whole(format!("the fault rules are no JSON: {error}"))
        })?;
        rules(document)
    }
}

impl Faults {
    /// Adds the rules of a TOML document; see [`FaultRule::from_toml`]. Returns how many there
    /// were; a document with a mistake in it changes nothing.
    ///
    /// # Errors
    /// As [`FaultRule::from_toml`].
    pub fn add_text(&self, text: &str) -> Result<usize, ParseFaultError> {
        let rules = FaultRule::from_toml(text)?;
        let count = rules.len();
        for rule in rules {
            self.add(rule);
        }
        Ok(count)
    }
}

/// The name of a server in a document.
fn plane_name(plane: Plane) -> &'static str {
    match plane {
        Plane::Arm => "arm",
        Plane::Blob => "blob",
    }
}

fn rules(document: Value) -> Result<Vec<FaultRule>, ParseFaultError> {
    const FORM: &str = "fault rules are [[rule]] tables, in JSON {\"rule\": [ … ]}";
    let Value::Object(document) = document else {
        return Err(ParseFaultError::whole(FORM));
    };
    if let Some(key) = document.keys().find(|key| *key != "rule") {
        return Err(ParseFaultError::whole(format!(
            "`{key}` is not known here; {FORM}"
        )));
    }
    let rules = match document.get("rule") {
        None => return Ok(Vec::new()),
        Some(Value::Array(rules)) => rules,
        Some(_) => return Err(ParseFaultError::whole(FORM)),
    };
    (1..)
        .zip(rules)
        .map(|(number, rule)| {
            let read = match rule {
                Value::Object(keys) => read_rule(keys),
                _ => Err("a rule is a table of keys".to_owned()),
            };
            read.map_err(|message| ParseFaultError {
                rule: Some(number),
                message: format!("rule {number}: {message}"),
            })
        })
        .collect()
}

fn read_rule(keys: &Map<String, Value>) -> Result<FaultRule> {
    let known = |key: &&String| {
        SELECTORS.contains(&key.as_str()) || ACTIONS.contains(&key.as_str()) || *key == "for"
    };
    if let Some(key) = keys.keys().find(|key| !known(key)) {
        return Err(format!(
            "`{key}` is not known; a rule has {}, for, and one of {}",
            SELECTORS.join(", "),
            ACTIONS.join(", ")
        ));
    }
    let mut rule = base(keys)?;
    if let Some(method) = keys.get("method") {
        rule = rule.method(text("method", method)?);
    }
    if let Some(path) = keys.get("path") {
        rule = rule.path_contains(text("path", path)?);
    }
    if let Some(header) = keys.get("header") {
        let name = text("header", header)?;
        if HeaderName::try_from(name).is_err() {
            return Err(wrong("header", header, "the name of a header"));
        }
        rule = rule.with_header(name);
    }
    if let Some(after) = keys.get("after") {
        rule = rule.after(number("after", after)?);
    }
    if let Some(every) = keys.get("every") {
        rule = rule.every(positive("every", every)?.into());
    }
    if let Some(times) = keys.get("times") {
        rule = rule.times(number("times", times)?);
    }
    if let Some(seed) = keys.get("seed") {
        rule = rule.seed(number("seed", seed)?);
    }
    if let Some(probability) = keys.get("probability") {
        let read = probability.as_f64().filter(|p| (0.0..=1.0).contains(p));
        let Some(read) = read else {
            return Err(wrong("probability", probability, "a number from 0 to 1"));
        };
        let seed = rule.seed;
        rule = rule.probability(read, seed);
    }
    if let Some(from) = keys.get("from") {
        rule = rule.from(moment("from", from)?);
    }
    if let Some(until) = keys.get("until") {
        rule = rule.until(moment("until", until)?);
    }
    if let Some(lasting) = keys.get("for") {
        if rule.until.is_some() {
            return Err("`until` and `for` are two ends; a rule has one".to_owned());
        }
        rule = rule.lasting(duration("for", lasting)?);
    }
    let given: Vec<&str> = ACTIONS
        .into_iter()
        .filter(|key| keys.contains_key(*key))
        .collect();
    let (key, value) = match given.as_slice() {
        [key] => (*key, &keys[*key]),
        [] => {
            return Err(format!(
                "it says nothing to do; add one of {}",
                ACTIONS.join(", ")
            ));
        }
        more => {
            let more = more.join("` and `");
            return Err(format!("`{more}` are two actions; a rule has one"));
        }
    };
    let act = read_act(key, value)?;
    if matches!(act, Act::CutConnection(_))
        && let Some(other) = ["operation", "method", "path", "header"]
            .into_iter()
            .find(|key| keys.contains_key(*key))
    {
        return Err(format!(
            "`{key}` is about connections, which have no `{other}`"
        ));
    }
    if let Some(plane) = act.plane().filter(|plane| *plane != rule.plane) {
        let (plane, given) = (plane_name(plane), plane_name(rule.plane));
        return Err(format!(
            "`{key}` is for plane \"{plane}\", and the rule is for \"{given}\""
        ));
    }
    Ok(rule.acting(act))
}

/// The rule for the operation or the server that is named.
fn base(keys: &Map<String, Value>) -> Result<FaultRule> {
    let plane = match keys.get("plane") {
        None => None,
        Some(plane) => Some(match plane.as_str() {
            Some("arm") => Plane::Arm,
            Some("blob") => Plane::Blob,
            _ => return Err(wrong("plane", plane, "\"arm\" or \"blob\"")),
        }),
    };
    let Some(operation) = keys.get("operation") else {
        return plane
            .map(FaultRule::new)
            .ok_or_else(|| "it names neither an `operation` nor a `plane`".to_owned());
    };
    let operation: Operation = text("operation", operation)?
        .parse()
        .map_err(|error| format!("`operation`: {error}"))?;
    if plane.is_some_and(|plane| plane != operation.plane()) {
        let plane = plane_name(operation.plane());
        return Err(format!(
            "`plane` of {operation} is \"{plane}\"; leave it out"
        ));
    }
    Ok(FaultRule::on(operation))
}

fn read_act(key: &str, value: &Value) -> Result<Act> {
    let choice = |options: &[(&str, Act)]| {
        let names: Vec<String> = options
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let allowed = names.join(" or ");
        let found = options.iter().find(|(name, _)| value == name);
        found
            .map(|(_, act)| act.clone())
            .ok_or_else(|| wrong(key, value, &allowed))
    };
    let switch = |act: Act| {
        if *value == Value::Bool(true) {
            Ok(act)
        } else {
            Err(wrong(key, value, "true, or left out"))
        }
    };
    match key {
        "respond" => read_respond(value),
        "delay" => match value.as_array().map(Vec::as_slice) {
            None => duration(key, value).map(|time| Act::Delay(time, time)),
            Some([least, most]) => {
                let (least, most) = (duration(key, least)?, duration(key, most)?);
                if most < least {
                    return Err("`delay` is the shortest and the longest, in this order".to_owned());
                }
                Ok(Act::Delay(least, most))
            }
            Some(_) => Err(wrong(
                key,
                value,
                "one span, or the shortest and the longest",
            )),
        },
        "reset" => choice(&[
            ("before", Act::ResetBefore),
            ("after", Act::ResetAfter),
            ("during", Act::ResetDuring),
        ]),
        "corrupt" => choice(&[("stored", Act::CorruptStored), ("read", Act::CorruptRead)]),
        "stall" => duration(key, value).map(Act::Stall),
        "stall-body" => duration(key, value).map(Act::StallBody),
        "half-body" => switch(Act::HalfBody),
        "endless-body" => switch(Act::EndlessBody),
        "cut-connection" => number(key, value).map(Act::CutConnection),
        "expire-access" => switch(Act::ExpireAccess),
        "expire-token" => switch(Act::ExpireToken),
        "lose-update" => switch(Act::LoseUpdate),
        "fail-operation" => read_failure(value),
        "limit" => read_limit(value),
        _ => switch(Act::Count),
    }
}

fn read_failure(value: &Value) -> Result<Act> {
    let keys = table("fail-operation", value, &["code", "message"])?;
    let code = keys.get("code").unwrap_or(&Value::Null);
    let message = keys
        .get("message")
        .map(|message| text("fail-operation.message", message));
    Ok(Act::FailOperation {
        code: text("fail-operation.code", code)?.to_owned(),
        message: message.transpose()?.map(str::to_owned),
    })
}

fn read_respond(value: &Value) -> Result<Act> {
    let known = ["status", "code", "message", "headers", "late"];
    let keys = table("respond", value, &known)?;
    let status = keys.get("status").unwrap_or(&Value::Null);
    let code = keys.get("code").unwrap_or(&Value::Null);
    let read = status
        .as_u64()
        .and_then(|status| u16::try_from(status).ok())
        .filter(|status| (400..600).contains(status));
    let Some(read) = read else {
        return Err(wrong("respond.status", status, "a status from 400 to 599"));
    };
    let message = match keys.get("message") {
        Some(message) => Some(text("respond.message", message)?.to_owned()),
        None => None,
    };
    let mut headers = Vec::new();
    if let Some(given) = keys.get("headers") {
        let Value::Object(given) = given else {
            return Err(wrong(
                "respond.headers",
                given,
                "a table of names and values",
            ));
        };
        for (name, value) in given {
            let shown = match value {
                Value::Number(number) => number.to_string(),
                other => text(&format!("respond.headers.{name}"), other)?.to_owned(),
            };
            if HeaderName::try_from(name).is_err() || HeaderValue::try_from(&shown).is_err() {
                return Err(format!(
                    "`respond.headers`: HTTP has no header `{name}: {shown}`"
                ));
            }
            headers.push((name.clone(), shown));
        }
    }
    Ok(Act::Respond {
        status: read,
        code: text("respond.code", code)?.to_owned(),
        message,
        headers,
        late: match keys.get("late") {
            Some(late) => duration("respond.late", late)?,
            None => Duration::ZERO,
        },
    })
}

fn read_limit(value: &Value) -> Result<Act> {
    let keys = table("limit", value, &["requests-per-second", "mib-per-second"])?;
    if keys.is_empty() {
        return Err("`limit` has requests-per-second, mib-per-second or both".to_owned());
    }
    let rate = |key: &str| {
        let value = keys.get(key)?;
        Some(positive(&format!("limit.{key}"), value))
    };
    Ok(Act::Limit {
        requests_per_second: rate("requests-per-second").transpose()?,
        mib_per_second: rate("mib-per-second").transpose()?,
    })
}

fn table<'a>(key: &str, value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>> {
    let Value::Object(keys) = value else {
        let form = format!("a table with {}", known.join(", "));
        return Err(wrong(key, value, &form));
    };
    match keys.keys().find(|given| !known.contains(&given.as_str())) {
        Some(other) => Err(format!(
            "`{key}.{other}` is not known; `{key}` has {}",
            known.join(", ")
        )),
        None => Ok(keys),
    }
}

fn wrong(key: &str, value: &Value, allowed: &str) -> String {
    match value {
        Value::Null => format!("`{key}` is missing; it is {allowed}"),
        _ => format!("`{key}` is {allowed}, not {value}"),
    }
}

fn text<'a>(key: &str, value: &'a Value) -> Result<&'a str> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| wrong(key, value, "a text that is not empty"))
}

fn number(key: &str, value: &Value) -> Result<u64> {
    value
        .as_u64()
        .ok_or_else(|| wrong(key, value, "a whole number"))
}

fn positive(key: &str, value: &Value) -> Result<u32> {
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| *number > 0)
        .ok_or_else(|| wrong(key, value, "a whole number above 0"))
}

fn duration(key: &str, value: &Value) -> Result<Duration> {
    value
        .as_str()
        .and_then(span::parse)
        .ok_or_else(|| wrong(key, value, &format!("a span such as {}", span::EXAMPLES)))
}

/// A span, or a time in the form of RFC 3339. TOML's own times arrive as a table of one text.
fn moment(key: &str, value: &Value) -> Result<Moment> {
    let own = value.as_object().and_then(|table| table.values().next());
    let text = own.unwrap_or(value).as_str().unwrap_or_default();
    if let Some(span) = span::parse(text) {
        return Ok(Moment::After(span));
    }
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(time) => Ok(Moment::At(SystemTime::from(time))),
        Err(_) => Err(wrong(
            key,
            value,
            &format!(
                "a span such as {}, or a time such as 2030-01-01T00:00:00Z",
                span::EXAMPLES
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
