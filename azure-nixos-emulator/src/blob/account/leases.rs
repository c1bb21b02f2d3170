//! Lease Blob and Lease Container.

use axum::response::Response;
use uuid::Uuid;

use super::super::about::set;
use super::super::lease::{Action, Done, Lease};
use super::super::refusal::Refusal;
use super::serve::{Ask, versioned};

/// What a request wants with a lease.
fn action(ask: &Ask) -> Result<Action, Refusal> {
    let id = |name: &'static str| -> Result<Option<String>, Refusal> {
        match ask.header(name)? {
            None => Ok(None),
            Some(text) => Uuid::parse_str(text)
                .map(|id| Some(id.to_string()))
                .map_err(|_| Refusal::invalid_header(name, text)),
        }
    };
    let needed = |name: &'static str| id(name)?.ok_or_else(|| Refusal::missing_header(name));
    let Some(what) = ask.header("x-ms-lease-action")? else {
        return Err(Refusal::missing_header("x-ms-lease-action"));
    };
    match what.to_ascii_lowercase().as_str() {
        "acquire" => {
            let name = "x-ms-lease-duration";
            let Some(text) = ask.header(name)? else {
                return Err(Refusal::missing_header(name));
            };
            let seconds = match text.parse::<i64>() {
                Ok(-1) => None,
                Ok(seconds @ 15..=60) => Some(seconds.unsigned_abs()),
                _ => return Err(Refusal::invalid_header(name, text)),
            };
            Ok(Action::Acquire {
                proposed: id("x-ms-proposed-lease-id")?,
                seconds,
            })
        }
        "renew" => Ok(Action::Renew {
            id: needed("x-ms-lease-id")?,
        }),
        "change" => Ok(Action::Change {
            id: needed("x-ms-lease-id")?,
            proposed: needed("x-ms-proposed-lease-id")?,
        }),
        "release" => Ok(Action::Release {
            id: needed("x-ms-lease-id")?,
        }),
        "break" => {
            let name = "x-ms-lease-break-period";
            let period = ask
                .header(name)?
                .map(|text| {
                    text.parse::<u64>()
                        .ok()
                        .filter(|period| *period <= 60)
                        .ok_or_else(|| Refusal::invalid_header(name, text))
                })
                .transpose()?;
            Ok(Action::Break { period })
        }
        other => Err(Refusal::invalid_header("x-ms-lease-action", other)),
    }
}

fn answer(done: Done, version: u64) -> Response {
    let mut response = versioned(done.status, version);
    let headers = response.headers_mut();
    if let Some(id) = done.id {
        set(headers, "x-ms-lease-id", &id);
    }
    if let Some(seconds) = done.remaining {
        set(headers, "x-ms-lease-time", &seconds.to_string());
    }
    response
}

/// A lease changes nothing that a version counts.
pub(super) fn blob(ask: &Ask) -> Result<Response, Refusal> {
    let action = action(ask)?;
    let conditions = ask.conditions()?;
    let blob = ask.blob()?;
    let version = blob.store()?.version();
    conditions.check_write(version, 0)?;
    let done = blob.change(|about| {
        if blob.is_gone() {
            return Err(Refusal::blob_not_found());
        }
        Lease::act(&mut about.lease, action, ask.now)
    })?;
    Ok(answer(done, version))
}

pub(super) fn container(ask: &Ask) -> Result<Response, Refusal> {
    let action = action(ask)?;
    let conditions = ask.conditions()?;
    let container = ask.address.container()?;
    let (done, version) = container.change(|about| {
        conditions.check_write(about.version, 0)?;
        let done = Lease::act(&mut about.lease, action, ask.now)?;
        Ok((done, about.version))
    })?;
    Ok(answer(done, version))
}
