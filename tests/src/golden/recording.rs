//! The recordings, read and brought to the names of a local Azure.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::Local;
use crate::openapi::{Exchange, shared};

/// Where the recordings were made.
const HOST: &str = "https://management.azure.com";

/// One operation as it was recorded.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What the recording is called.
    pub name: String,
    /// Whether `Retry-After` is as the service sent it: some recorders take it out or change it.
    pub has_retry_after: bool,
    /// The requests, in order.
    pub interactions: Vec<Interaction>,
}

/// A request and its answer, as recorded.
#[derive(Clone, Debug)]
pub struct Interaction {
    /// `GET`, `PUT` …
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The body of the request.
    pub request: Option<Value>,
    /// The status of the answer.
    pub status: u16,
    /// The headers of the answer, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body of the answer.
    pub body: Option<Value>,
}

impl Interaction {
    fn read(recorded: &Value) -> Self {
        let text = |name: &str| recorded[name].as_str().unwrap().to_owned();
        let present = |name: &str| (!recorded[name].is_null()).then(|| recorded[name].clone());
        Self {
            method: text("method"),
            url: text("url"),
            request: present("request"),
            status: recorded["status"].as_u64().unwrap().try_into().unwrap(),
            headers: recorded["headers"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| {
                    let value = value.as_str().unwrap_or_default().to_owned();
                    (name.to_ascii_lowercase(), value)
                })
                .collect(),
            body: present("body"),
        }
    }

    /// The path without the host and the query, in its parts.
    #[must_use]
    pub fn path(&self) -> Vec<&str> {
        let path = self.url.strip_prefix(HOST).unwrap_or(&self.url);
        let path = path.split('?').next().unwrap_or_default();
        path.split('/').filter(|part| !part.is_empty()).collect()
    }

    /// The same as it is judged by the documents.
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        let path_and_query = self.url.strip_prefix(HOST).unwrap_or(&self.url).to_owned();
        let version = path_and_query
            .split(['?', '&'])
            .find_map(|part| part.strip_prefix("api-version="));
        let json = |body: &Option<Value>| {
            body.clone()
                .filter(|body| body.is_object() || body.is_array())
        };
        Exchange {
            method: self.method.clone(),
            api_version: version.map(ToOwned::to_owned),
            body: json(&self.request),
            status: self.status,
            response_headers: self.headers.clone().into_iter().collect(),
            response_body: json(&self.body),
            path_and_query,
        }
    }
}

impl Recording {
    fn read(path: &Path) -> Self {
        let recorded: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let from = recorded["path"].as_str().unwrap_or_default();
        let source = recorded["source"].as_str().unwrap_or_default();
        let interactions = recorded["interactions"].as_array().unwrap();
        Self {
            name: recorded["name"].as_str().unwrap().to_owned(),
            // The recorder of Java's tests writes 0 everywhere, that of the CLI's nothing.
            has_retry_after: source.contains("enuine") && !from.contains("src/test/resources"),
            interactions: interactions.iter().map(Interaction::read).collect(),
        }
    }

    /// The same about the subscription and at the address of a local Azure.
    #[must_use]
    pub fn at(&self, local: &Local) -> Self {
        let mut here = self.clone();
        let own = local.emulator.subscription_id();
        let subscription = match here.interactions[0].path()[..] {
            ["subscriptions", id, ..] => id.to_owned(),
            _ => own.clone(),
        };
        here.rename(HOST, local.emulator.arm_url());
        here.rename(&subscription, &own);
        here
    }

    /// Writes something else instead of a word, wherever it is.
    pub fn rename(&mut self, from: &str, to: &str) {
        for interaction in &mut self.interactions {
            interaction.url = interaction.url.replace(from, to);
            for value in interaction.headers.values_mut() {
                *value = value.replace(from, to);
            }
            for body in [&mut interaction.request, &mut interaction.body] {
                if let Some(known) = body {
                    *body = serde_json::from_str(&known.to_string().replace(from, to)).ok();
                }
            }
        }
    }

    /// A part of the path of the first request: what comes after this word.
    ///
    /// # Panics
    /// When there is no such part.
    #[must_use]
    pub fn named(&self, after: &str) -> String {
        let path = self.interactions[0].path();
        let at = path
            .iter()
            .position(|part| part.eq_ignore_ascii_case(after))
            .unwrap_or_else(|| panic!("{}: no {after} in {path:?}", self.name));
        path[at + 1].to_owned()
    }
}

/// All recordings by their names; none, said aloud, where they are not at hand.
#[must_use]
pub fn recordings() -> Vec<Recording> {
    let Some(place) = shared() else {
        return Vec::new();
    };
    let mut all: Vec<Recording> = std::fs::read_dir(place.join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| Recording::read(&path))
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// The errors that were recorded, each as a recording of one request. The name is made of the status,
/// the code, the method and the type: `404 ResourceNotFound GET Microsoft.Compute/virtualMachines`.
#[must_use]
pub fn recorded_errors() -> Vec<Recording> {
    let Some(place) = shared() else {
        return Vec::new();
    };
    let lines = std::fs::read_to_string(place.join("errors.jsonl")).unwrap();
    lines
        .lines()
        .map(|line| {
            let mut recorded: Value = serde_json::from_str(line).unwrap();
            // One was written down without its scheme.
            if let Some(rest) = recorded["url"]
                .as_str()
                .unwrap()
                .strip_prefix("/management.")
            {
                recorded["url"] = Value::from(format!("https://management.{rest}"));
            }
            let key = &recorded["key"];
            let mut code = key[1].as_str().unwrap().trim_start_matches("error ");
            // The operation failed behind a status of 200.
            let of_operation = code == "asyncFailed";
            if of_operation {
                code = key[2].as_str().unwrap();
            }
            let interaction = Interaction::read(&recorded);
            let kind = if of_operation {
                "operation"
            } else {
                key[3].as_str().unwrap()
            };
            Recording {
                name: format!(
                    "{} {code} {} {kind}",
                    interaction.status, interaction.method
                ),
                has_retry_after: false,
                interactions: vec![interaction],
            }
        })
        .collect()
}
