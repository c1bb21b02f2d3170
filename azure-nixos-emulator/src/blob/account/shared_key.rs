//! The authorization scheme SharedKey: an HMAC of the request with a key of the account.

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::super::dates;
use super::super::refusal::Refusal;
use super::super::request::ApiVersion;
use super::Account;
use super::auth::is_signed;

/// How far the date of a request may be from the clock.
const LEEWAY: Duration = Duration::from_secs(15 * 60);

/// Headers that are signed by position, in this order, after the method.
const SIGNED: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Refuses a request whose signature is not one of the account's keys, or is old.
/// `credentials` are `account:signature`.
pub(super) fn verify(
    account: &Account,
    parts: &Parts,
    query: &[(String, String)],
    credentials: &str,
    version: ApiVersion,
    now: SystemTime,
) -> Result<(), Refusal> {
    let malformed = || {
        Refusal::bad_request(
            "InvalidAuthenticationInfo",
            "Authentication information is not given in the correct format. Check the value of Authorization header.",
        )
    };
    let (name, signature) = credentials.split_once(':').ok_or_else(malformed)?;
    if name != account.name {
        return Err(Refusal::authentication(format!(
            "The account '{name}' of the Authorization header is not the account of the URL."
        )));
    }
    let value = |name: &str| text(&parts.headers, name);
    let date = match value("x-ms-date") {
        "" => value("date"),
        date => date,
    };
    let Some(date) = dates::parse_http_date(date) else {
        return Err(Refusal::authentication(
            "The Date header in the request is incorrect.",
        ));
    };
    let (earliest, latest) = (dates::ticks(now - LEEWAY), dates::ticks(now + LEEWAY));
    if !(earliest..=latest).contains(&date) {
        return Err(Refusal::authentication(format!(
            "Request date header too old: '{}'",
            dates::http_date(date)
        )));
    }
    let text = string_to_sign(&account.name, parts, query, version);
    if is_signed(account, &text, signature) {
        return Ok(());
    }
    // Azure says what it signed too: a client's developer sees what is different.
    Err(Refusal::authentication(format!(
        "The MAC signature found in the HTTP request '{signature}' is not the same as any computed signature. Server used following string to sign: '{text}'."
    )))
}

/// What is signed, since version 2009-09-19.
fn string_to_sign(
    account: &str,
    parts: &Parts,
    query: &[(String, String)],
    version: ApiVersion,
) -> String {
    let has_own_date = parts.headers.contains_key("x-ms-date");
    let mut signed = parts.method.as_str().to_owned();
    for name in SIGNED {
        signed.push('\n');
        signed.push_str(match (name, text(&parts.headers, name)) {
            ("date", _) if has_own_date => "",
            // Since this version no body is an empty line.
            ("content-length", "0") if version >= ApiVersion::NO_BODY_UNSIGNED => "",
            (_, value) => value,
        });
    }
    signed.push('\n');
    let mut own: Vec<&str> = parts
        .headers
        .keys()
        .map(axum::http::HeaderName::as_str)
        .filter(|name| name.starts_with("x-ms-"))
        .collect();
    own.sort_unstable();
    for name in own {
        // Folded white space is one space.
        let value: Vec<&str> = text(&parts.headers, name).split_whitespace().collect();
        let value = if text(&parts.headers, name).contains(['\r', '\n']) {
            value.join(" ")
        } else {
            text(&parts.headers, name).trim().to_owned()
        };
        signed.push_str(&format!("{name}:{value}\n"));
    }
    // The path as it was sent, escapes included.
    signed.push_str(&format!("/{account}{}", parts.uri.path()));
    let mut names: Vec<String> = query
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let mut values: Vec<&str> = query
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(&name))
            .map(|(_, value)| value.as_str())
            .collect();
        values.sort_unstable();
        signed.push_str(&format!("\n{name}:{}", values.join(",")));
    }
    signed
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    #[test]
    fn the_string_is_the_documentations() {
        // "Authorize with Shared Key" has this request and its string.
        let request = Request::get("/mycontainer?restype=container&comp=metadata&timeout=20")
            .header("x-ms-date", "Fri, 26 Jun 2015 23:39:12 GMT")
            .header("x-ms-version", "2015-02-21")
            .header("content-length", "0")
            .body(())
            .unwrap();
        let parts = request.into_parts().0;
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(parts.uri.query().unwrap().as_bytes())
                .into_owned()
                .collect();
        let new = string_to_sign("myaccount", &parts, &query, ApiVersion::NO_BODY_UNSIGNED);
        assert_eq!(
            new,
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
        let old = string_to_sign("myaccount", &parts, &query, ApiVersion("2014-02-14"));
        assert!(old.starts_with("GET\n\n\n0\n\n"), "{old}");
    }
}
