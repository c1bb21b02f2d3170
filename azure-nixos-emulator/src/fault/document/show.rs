//! Rules in the form in which they are read.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::plane_name;
use crate::fault::rule::{Act, Moment};
use crate::fault::{FaultRule, Faults};
use crate::span;

impl FaultRule {
    /// The rule as [`from_json`](Self::from_json) reads it.
    pub(super) fn to_json(&self) -> Value {
        let mut shown = Map::new();
        let mut set = |key: &str, value: Value| shown.insert(key.to_owned(), value);
        match self.operation {
            Some(operation) => set("operation", json!(operation.to_string())),
            None => set("plane", json!(plane_name(self.plane))),
        };
        if let Some(method) = &self.method {
            set("method", json!(method));
        }
        if let Some(path) = &self.path {
            set("path", json!(path));
        }
        if let Some(header) = &self.with_header {
            set("header", json!(header));
        }
        for (key, value, default) in [
            ("after", self.after, 0),
            ("every", self.every, 1),
            ("times", self.times, u64::MAX),
            ("seed", self.seed, 0),
        ] {
            if value != default {
                set(key, json!(value));
            }
        }
        if let Some(probability) = self.probability {
            set("probability", json!(probability));
        }
        for (key, moment) in [("from", self.from), ("until", self.until)] {
            match moment {
                Some(Moment::After(time)) => set(key, json!(span::show(time))),
                Some(Moment::At(time)) => {
                    let time = OffsetDateTime::from(time).format(&Rfc3339);
                    set(key, json!(time.unwrap_or_default()))
                }
                None => None,
            };
        }
        if let Some(time) = self.lasting {
            set("for", json!(span::show(time)));
        }
        let (key, value) = show_act(&self.act);
        set(key, value);
        Value::Object(shown)
    }
}

impl Faults {
    /// The rules in force with what they have seen: `{"rules": [{id, matched, hits, rule}]}`.
    pub(crate) fn to_json(&self) -> Value {
        let state = self.state();
        let rules = state.rules.iter().map(|active| {
            json!({
                "id": active.id.0,
                "matched": active.matched,
                "hits": active.hits,
                "bytes": active.bytes,
                "rule": active.rule.to_json(),
            })
        });
        json!({ "rules": rules.collect::<Vec<_>>() })
    }
}

fn show_act(act: &Act) -> (&'static str, Value) {
    match act {
        Act::Count => ("count", json!(true)),
        Act::Respond {
            status,
            code,
            message,
            headers,
            late,
        } => {
            let mut respond = json!({ "status": status, "code": code });
            if let Some(message) = message {
                respond["message"] = json!(message);
            }
            if !headers.is_empty() {
                let headers = headers
                    .iter()
                    .map(|(name, value)| (name.clone(), json!(value)));
                respond["headers"] = Value::Object(headers.collect());
            }
            if !late.is_zero() {
                respond["late"] = json!(span::show(*late));
            }
            ("respond", respond)
        }
        Act::Delay(least, most) if least == most => ("delay", json!(span::show(*least))),
        Act::Delay(least, most) => ("delay", json!([span::show(*least), span::show(*most)])),
        Act::ResetBefore => ("reset", json!("before")),
        Act::ResetDuring => ("reset", json!("during")),
        Act::ResetAfter => ("reset", json!("after")),
        Act::Stall(time) => ("stall", json!(span::show(*time))),
        Act::StallBody(time) => ("stall-body", json!(span::show(*time))),
        Act::HalfBody => ("half-body", json!(true)),
        Act::EndlessBody => ("endless-body", json!(true)),
        Act::CutConnection(after) => ("cut-connection", json!(after)),
        Act::ExpireAccess => ("expire-access", json!(true)),
        Act::ExpireToken => ("expire-token", json!(true)),
        Act::LoseUpdate => ("lose-update", json!(true)),
        Act::FailOperation { code, message } => {
            let mut failure = json!({ "code": code });
            if let Some(message) = message {
                failure["message"] = json!(message);
            }
            ("fail-operation", failure)
        }
        Act::CorruptStored => ("corrupt", json!("stored")),
        Act::CorruptRead => ("corrupt", json!("read")),
        Act::Limit {
            requests_per_second,
            mib_per_second,
        } => {
            let mut limit = Map::new();
            for (key, value) in [
                ("requests-per-second", requests_per_second),
                ("mib-per-second", mib_per_second),
            ] {
                if let Some(value) = value {
                    limit.insert(key.to_owned(), json!(value));
                }
            }
            ("limit", Value::Object(limit))
        }
    }
}
