//! One recording against one local Azure.

use std::collections::BTreeSet;
use std::time::Duration;

use azure_nixos_emulator::Clock;
use serde_json::Value;

use super::difference::{Difference, compare, steady};
use super::recording::{Interaction, Recording};
use crate::Local;
use crate::openapi::Exchange;

/// Longer than any operation.
const LONG: Duration = Duration::from_secs(3600);

/// Headers that are there or not, whatever is in them.
const PRESENT: &[&str] = &[
    "azure-asyncoperation",
    "location",
    "azure-asyncnotification",
    "etag",
    "x-ms-arm-service-request-id",
];

/// Headers that have to say the same.
const SAME: &[&str] = &["x-ms-failure-cause", "content-type"];

/// How a replay went.
#[derive(Debug)]
pub enum Replayed {
    /// The differences.
    Compared(Vec<Difference>),
    /// The first request is of a kind that the local Azure does not have.
    NotThere(String),
}

/// Sends the requests of a recording and compares the answers. What they need has to be there.
pub async fn replay(local: &Local, clock: &Clock, recording: &Recording) -> Replayed {
    let mut differences = Vec::new();
    let mut begun: Option<Exchange> = None;
    for (step, recorded) in recording.interactions.iter().enumerate() {
        let url = match (poll_of(recorded), &begun) {
            (Some(header), Some(begun)) => match begun.header(header) {
                Some(url) => url.to_owned(),
                // The missing header is a difference already.
                None => continue,
            },
            _ => recorded.url.clone(),
        };
        let is_poll = url != recorded.url;
        let runs = recorded.status == 202
            || recorded
                .body
                .as_ref()
                .is_some_and(|body| body["status"] == "InProgress");
        if step > 0 && !runs {
            clock.advance(LONG);
        }
        let mut answer = local
            .exchange(&recorded.method, &url, recorded.request.as_ref())
            .await;
        // Copies of disks take time by no clock.
        for _ in 0..200 {
            let waits = is_poll && !runs && runs_still(&answer);
            if !waits {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            answer = local.exchange("GET", &url, None).await;
        }
        let body = answer.response_body.clone().unwrap_or_default();
        if step == 0 && is_not_there(answer.status, &body) {
            return Replayed::NotThere(body.to_string());
        }
        let mut found = Vec::new();
        compare_answers(recorded, &answer, recording.has_retry_after, &mut found);
        differences.extend(found.into_iter().map(|(place, what)| Difference {
            recording: recording.name.clone(),
            step,
            place,
            what,
        }));
        if step == 0 {
            begun = Some(answer);
        }
    }
    Replayed::Compared(differences)
}

/// The header of the first answer that had this URL, where it is a question after the operation.
fn poll_of(recorded: &Interaction) -> Option<&'static str> {
    let path = recorded.path();
    let kind = path.get(path.len().checked_sub(2)?)?.to_ascii_lowercase();
    let is_result = recorded.url.contains("monitor=true") || kind == "operationresults";
    match kind.as_str() {
        "operations" | "diskoperations" | "capsoperations" if !is_result => {
            Some("azure-asyncoperation")
        }
        _ if is_result => Some("location"),
        _ => None,
    }
}

fn runs_still(answer: &Exchange) -> bool {
    answer.status == 202
        || answer
            .response_body
            .as_ref()
            .is_some_and(|body| body["status"] == "InProgress")
}

/// Whether an answer says that the local Azure has nothing of the kind.
#[must_use]
pub fn is_not_there(status: u16, body: &Value) -> bool {
    let code = body.pointer("/error/code");
    // A type that is only known by name has no methods yet.
    [405, 501].contains(&status)
        || code.is_some_and(|code| {
            ["InvalidResourceType", "InvalidResourceNamespace"]
                .iter()
                .any(|known| code == known)
        })
}

fn compare_answers(
    azure: &Interaction,
    ours: &Exchange,
    has_retry_after: bool,
    found: &mut Vec<(String, String)>,
) {
    if azure.status != ours.status {
        let body = ours.response_body.clone().unwrap_or_default();
        let what = format!("{}, and {} here: {body}", azure.status, ours.status);
        found.push(("status".to_owned(), what));
        return;
    }
    let theirs = |name: &str| azure.headers.get(name).map(String::as_str);
    for name in PRESENT {
        differ(
            name,
            theirs(name).map(|_| "there"),
            ours.header(name).map(|_| "there"),
            found,
        );
    }
    for name in SAME {
        differ(name, theirs(name), ours.header(name), found);
    }
    if has_retry_after {
        let [azure, ours] = [theirs("retry-after"), ours.header("retry-after")];
        differ(
            "retry-after",
            azure.map(|_| "there"),
            ours.map(|_| "there"),
            found,
        );
    }
    let name = "x-ms-ratelimit-remaining-resource";
    differ(
        name,
        theirs(name).map(buckets).as_deref(),
        ours.header(name).map(buckets).as_deref(),
        found,
    );
    for name in ["azure-asyncoperation", "location"] {
        if let (Some(azure), Some(ours)) = (theirs(name), ours.header(name)) {
            differ(name, Some(&outline(azure)), Some(&outline(ours)), found);
        }
    }
    let is_empty = theirs("content-length") == Some("0");
    if is_empty {
        differ(
            "content-length",
            Some("0"),
            ours.header("content-length"),
            found,
        );
    }
    let mut inside = Vec::new();
    match (&azure.body, &ours.response_body) {
        (Some(azure), Some(ours)) => compare(azure, ours, "", &mut inside),
        (None, None) => {}
        (azure, ours) => {
            let word = |body: &Option<Value>| if body.is_some() { "a body" } else { "no body" };
            inside.push((
                String::new(),
                format!("{}, and {} here", word(azure), word(ours)),
            ));
        }
    }
    found.extend(
        inside
            .into_iter()
            .map(|(at, what)| (format!("body:{at}"), what)),
    );
}

fn differ(name: &str, azure: Option<&str>, ours: Option<&str>, found: &mut Vec<(String, String)>) {
    if azure != ours {
        let word = |value: Option<&str>| value.unwrap_or("absent").to_owned();
        let what = format!("{}, and {} here", word(azure), word(ours));
        found.push((format!("header:{name}"), what));
    }
}

/// The names of rate-limit buckets, without what remains in them and without how they are counted:
/// by minutes until 2023, and in most by subscription and resource since.
fn buckets(header: &str) -> String {
    let names: BTreeSet<&str> = header
        .split(',')
        .map(|bucket| bucket.split(';').next().unwrap_or_default().trim())
        .map(|name| {
            ["30Min", "3Min", "SubscriptionMaximum", "Resource"]
                .iter()
                .find_map(|count| name.strip_suffix(count))
                .unwrap_or(name)
        })
        .collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

/// A URL of an operation without its ids, its version and its signature.
fn outline(url: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    // What is between the last slash and the query is the operation; a group's is a long word.
    let (path, _) = path.rsplit_once('/').unwrap_or((path, ""));
    let parameters: Vec<&str> = query
        .split('&')
        .map(|parameter| parameter.split('=').next().unwrap_or_default())
        .filter(|name| !["t", "c", "s", "h"].contains(name))
        .collect();
    format!("{}?{}", steady(path), parameters.join("&"))
}
