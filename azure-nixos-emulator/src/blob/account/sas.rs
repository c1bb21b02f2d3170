//! Shared access signatures: of a blob, of a container, of the account.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use axum::http::StatusCode;
use axum::http::request::Parts;

use super::super::refusal::Refusal;
use super::super::request;
use super::super::{Secure, dates};
use super::auth::{Rights, Scope, is_signed};
use super::target::Address;

/// The values of the query that a signature covers; what is missing is empty.
struct Fields<'a>(&'a [(String, String)]);

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> &'a str {
        request::query(self.0, name).unwrap_or_default()
    }
}

/// Finds out what a signature lets a request do.
pub(super) fn authorize(
    address: &Address,
    parts: &Parts,
    query: &[(String, String)],
    now: SystemTime,
) -> Result<Rights, Refusal> {
    let fields = Fields(query);
    let version = fields.get("sv");
    if version.len() != 10 {
        return Err(Refusal::authentication("sv is mandatory. Cannot be empty"));
    }
    if version < "2015-04-05" {
        return Err(Refusal::not_implemented(format!(
            "signatures of version {version}, which is before 2015-04-05"
        )));
    }
    if !fields.get("skoid").is_empty() {
        return Err(Refusal::not_implemented(
            "signatures of a user's delegation (skoid)",
        ));
    }
    let (rights, start, expiry) = if fields.get("ss").is_empty() && fields.get("srt").is_empty() {
        of_service(address, &fields, version)?
    } else {
        of_account(address, &fields, version)?
    };
    check_time(&start, &expiry, now)?;
    check_address(fields.get("sip"))?;
    let is_secure = parts.extensions.get::<Secure>().is_some();
    match fields.get("spr") {
        "" | "https,http" => {}
        "https" if is_secure => {}
        "https" => {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "AuthorizationProtocolMismatch",
                "This request is not authorized to perform this operation using this protocol.",
            ));
        }
        other => return Err(Refusal::invalid_query("spr", other)),
    }
    Ok(rights)
}

type Found = (Rights, String, String);

fn of_service(address: &Address, fields: &Fields<'_>, version: &str) -> Result<Found, Refusal> {
    let account = &address.account;
    let Some(container) = &address.container else {
        return Err(Refusal::authentication(
            "The signature is for a blob or a container, and the request for neither.",
        ));
    };
    let (scope, resource) = match (fields.get("sr"), &address.blob) {
        ("", _) => return Err(Refusal::authentication("sr is mandatory. Cannot be empty")),
        ("c", _) => (
            Scope::Container,
            format!("/blob/{}/{container}", account.name),
        ),
        ("b", Some(blob)) => (
            Scope::Blob,
            format!("/blob/{}/{container}/{blob}", account.name),
        ),
        ("b", None) => return Err(Refusal::authentication("Signature did not match.")),
        (other, _) => {
            return Err(Refusal::not_implemented(format!(
                "signatures with sr={other}"
            )));
        }
    };
    let mut lines = vec![
        fields.get("sp"),
        fields.get("st"),
        fields.get("se"),
        &resource,
        fields.get("si"),
        fields.get("sip"),
        fields.get("spr"),
        version,
    ];
    if version >= "2018-11-09" {
        lines.extend([fields.get("sr"), fields.get("snapshot")]);
    }
    if version >= "2020-12-06" {
        lines.push(fields.get("ses"));
    }
    lines.extend(["rscc", "rscd", "rsce", "rscl", "rsct"].map(|name| fields.get(name)));
    if !is_signed(account, &lines.join("\n"), fields.get("sig")) {
        return Err(mismatch(&lines.join("\n")));
    }
    let mut terms = [fields.get("sp"), fields.get("st"), fields.get("se")].map(ToOwned::to_owned);
    if !fields.get("si").is_empty() {
        let policy = address
            .container()
            .ok()
            .and_then(|container| {
                let policies = container.about().policies;
                policies
                    .into_iter()
                    .find(|policy| policy.id == fields.get("si"))
            })
            .ok_or_else(|| {
                Refusal::authentication(
                    "SAS identifier cannot be found for specified signed identifier",
                )
            })?;
        for (said, stored) in terms
            .iter_mut()
            .zip([policy.permission, policy.start, policy.expiry])
        {
            match stored.filter(|stored| !stored.is_empty()) {
                Some(_) if !said.is_empty() => {
                    return Err(Refusal::authentication(
                        "Access policy fields can be associated with signature or SAS identifier but not both",
                    ));
                }
                Some(stored) => *said = stored,
                None => {}
            }
        }
    }
    let [permissions, start, expiry] = terms;
    for (name, value) in [("sp", &permissions), ("se", &expiry)] {
        if value.is_empty() {
            return Err(Refusal::authentication(format!(
                "{name} is mandatory. Cannot be empty"
            )));
        }
    }
    Ok((Rights::Signed { permissions, scope }, start, expiry))
}

fn of_account(address: &Address, fields: &Fields<'_>, version: &str) -> Result<Found, Refusal> {
    for name in ["ss", "srt", "sp", "se"] {
        if fields.get(name).is_empty() {
            return Err(Refusal::authentication(format!(
                "{name} is mandatory. Cannot be empty"
            )));
        }
    }
    let account = &address.account;
    let mut lines = vec![account.name.as_str()];
    lines.extend(["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"].map(|name| fields.get(name)));
    if version >= "2020-12-06" {
        lines.push(fields.get("ses"));
    }
    // Each line ends with a line feed, the last one too.
    lines.push("");
    if !is_signed(account, &lines.join("\n"), fields.get("sig")) {
        return Err(mismatch(&lines.join("\n")));
    }
    let rights = Rights::Signed {
        permissions: fields.get("sp").to_owned(),
        scope: Scope::Account {
            services: fields.get("ss").to_owned(),
            types: fields.get("srt").to_owned(),
        },
    };
    Ok((
        rights,
        fields.get("st").to_owned(),
        fields.get("se").to_owned(),
    ))
}

fn mismatch(signed: &str) -> Refusal {
    Refusal::authentication(format!(
        "Signature did not match. String to sign used was {signed}"
    ))
}

fn check_time(start: &str, expiry: &str, now: SystemTime) -> Result<(), Refusal> {
    let now = dates::ticks(now);
    let read = |name: &str, text: &str| {
        dates::parse_iso(text).ok_or_else(|| {
            Refusal::authentication(format!("{name} '{text}' is not a time of ISO 8601"))
        })
    };
    let begin = if start.is_empty() {
        0
    } else {
        read("st", start)?
    };
    let end = read("se", expiry)?;
    if begin <= now && now < end {
        return Ok(());
    }
    let begins = if start.is_empty() {
        String::new()
    } else {
        format!("Start [{}] - ", dates::http_date(begin))
    };
    Err(Refusal::authentication(format!(
        "Signature not valid in the specified time frame: {begins}Expiry [{}] - Current [{}]",
        dates::http_date(end),
        dates::http_date(now),
    )))
}

/// Every client is on this machine.
fn check_address(allowed: &str) -> Result<(), Refusal> {
    if allowed.is_empty() {
        return Ok(());
    }
    let (first, last) = allowed.split_once('-').unwrap_or((allowed, allowed));
    let (Ok(first), Ok(last)) = (first.parse::<Ipv4Addr>(), last.parse::<Ipv4Addr>()) else {
        return Err(Refusal::invalid_query("sip", allowed));
    };
    if (first..=last).contains(&Ipv4Addr::LOCALHOST) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "AuthorizationSourceIPMismatch",
        "This request is not authorized to perform this operation using this source IP {0}.",
    )
    .detail("SourceIP", Ipv4Addr::LOCALHOST.to_string()))
}
