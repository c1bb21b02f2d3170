//! The control interface: what a test of another program, in whatever language, does to the local
//! Azure while it runs. No path of Azure begins with `/local/`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /local/faults` | the rules in force, with how often each matched and acted |
//! | `PUT /local/faults` | the same, after the rules of the body replaced them: JSON, or TOML |
//! | `DELETE /local/faults` | the same, after all were taken away |
//! | `GET /local/clock` | the time, and by how much it is ahead of the system's |
//! | `POST /local/clock` | the same, after `{"advance": "7m"}` |
//! | `GET /local/requests` | the requests that Resource Manager answered, one JSON object a line |
//!
//! It is on the port of Resource Manager, no fault acts on it, and it wants the id and the secret
//! of the service principal as HTTP Basic.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::arm::call::Call;
use crate::clock::Clock;
use crate::emulator::RecordedRequest;
use crate::fault::{FaultRule, Faults};
use crate::span;
use crate::state::Identity;

/// What all paths here begin with.
pub(crate) const PREFIX: &str = "/local/";

/// How far the clock may be ahead: nothing here lasts longer, and times stay what dates can show.
const FURTHEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What is controlled.
pub(crate) struct Controlled<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) clock: &'a Clock,
    pub(crate) faults: &'a Faults,
}

struct Refused {
    status: StatusCode,
    message: String,
}

type Result<T> = std::result::Result<T, Refused>;

fn refused(status: StatusCode, message: impl Into<String>) -> Refused {
    Refused {
        status,
        message: message.into(),
    }
}

/// Answers a request for a path below [`PREFIX`]. `requests` is asked for the log if that is
/// wanted, `content_type` is the request's.
pub(crate) fn answer(
    controlled: &Controlled<'_>,
    call: &Call,
    content_type: Option<&str>,
    requests: impl FnOnce() -> Vec<RecordedRequest>,
) -> Response<Body> {
    let answered = serve(controlled, call, content_type, requests);
    match answered {
        Ok(response) => response,
        Err(refused) => {
            let code = refused.status.canonical_reason().unwrap_or_default();
            let code = code.replace(' ', "");
            let body = json!({ "error": { "code": code, "message": refused.message } });
            let mut response = response("application/json", body.to_string());
            *response.status_mut() = refused.status;
            if refused.status == StatusCode::UNAUTHORIZED {
                response.headers_mut().insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Basic realm=\"local Azure\""),
                );
            }
            response
        }
    }
}

fn serve(
    controlled: &Controlled<'_>,
    call: &Call,
    content_type: Option<&str>,
    requests: impl FnOnce() -> Vec<RecordedRequest>,
) -> Result<Response<Body>> {
    authorize(controlled.identity, call.authorization.as_deref())?;
    let Controlled { clock, faults, .. } = controlled;
    let path = call.path.strip_prefix(PREFIX).unwrap_or_default();
    let document = match (&call.method, path) {
        (&Method::GET, "requests") => {
            let lines: String = requests().iter().map(line).collect();
            return Ok(response("application/x-ndjson", lines));
        }
        (&Method::GET, "faults") => faults.to_json(),
        (&Method::PUT, "faults") => {
            faults.replace(rules(call, content_type)?);
            faults.to_json()
        }
        (&Method::DELETE, "faults") => {
            faults.clear();
            faults.to_json()
        }
        (&Method::GET, "clock") => show(clock),
        (&Method::POST, "clock") => {
            advance(clock, &call.body)?;
            show(clock)
        }
        (method, "requests" | "faults" | "clock") => {
            let message = format!("{method} is nothing to do with {PREFIX}{path}");
            return Err(refused(StatusCode::METHOD_NOT_ALLOWED, message));
        }
        _ => {
            let message = format!("there are {PREFIX}faults, {PREFIX}clock and {PREFIX}requests");
            return Err(refused(StatusCode::NOT_FOUND, message));
        }
    };
    Ok(response("application/json", document.to_string()))
}

fn authorize(identity: &Identity, authorization: Option<&str>) -> Result<()> {
    let given = authorization
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let wanted = format!("{}:{}", identity.client_id, identity.client_secret);
    if given.as_deref() == Some(wanted.as_str()) {
        Ok(())
    } else {
        Err(refused(
            StatusCode::UNAUTHORIZED,
            "the id and the secret of the service principal are wanted as HTTP Basic",
        ))
    }
}

/// The rules of a body, in the form that its type says. Without one: JSON if it begins as JSON.
fn rules(call: &Call, content_type: Option<&str>) -> Result<Vec<FaultRule>> {
    let bad = |message: String| refused(StatusCode::BAD_REQUEST, message);
    let text = std::str::from_utf8(&call.body).map_err(|_| bad("it is no text".to_owned()))?;
    let named = content_type.and_then(|kind| kind.split(';').next());
    let is_json = match named.map(str::trim) {
        Some("application/json") => true,
        Some("application/toml" | "text/toml") => false,
        // What curl says of anything is as good as nothing.
        None
        | Some("text/plain" | "application/octet-stream" | "application/x-www-form-urlencoded") => {
            text.trim_start().starts_with('{')
        }
        Some(other) => {
            return Err(refused(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("rules are application/json or application/toml, not {other}"),
            ));
        }
    };
    if is_json {
        FaultRule::from_json(text)
    } else {
        FaultRule::from_toml(text)
    }
    .map_err(|error| bad(error.to_string()))
}

fn show(clock: &Clock) -> Value {
    let now = OffsetDateTime::from(clock.now()).format(&Rfc3339);
    json!({ "now": now.unwrap_or_default(), "ahead": span::show(clock.ahead()) })
}

fn advance(clock: &Clock, body: &[u8]) -> Result<()> {
    let by = serde_json::from_slice::<Value>(body)
        .ok()
        .filter(|body| body.as_object().is_some_and(|keys| keys.len() == 1))
        .and_then(|body| span::parse(body["advance"].as_str()?));
    let Some(by) = by else {
        let form = format!(
            "the body is {{\"advance\": \"7m\"}}, a span such as {}",
            span::EXAMPLES
        );
        return Err(refused(StatusCode::BAD_REQUEST, form));
    };
    if by.saturating_add(clock.ahead()) > FURTHEST {
        let message = "the clock goes no further than a hundred years ahead";
        return Err(refused(StatusCode::BAD_REQUEST, message));
    }
    clock.advance(by);
    Ok(())
}

/// A request as a line of the log.
fn line(request: &RecordedRequest) -> String {
    let headers = request.response_headers.iter();
    let headers: Map<String, Value> = headers
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    let entry = json!({
        "method": request.method,
        "operation": request.operation.map(|operation| operation.to_string()),
        "path": request.path_and_query,
        "apiVersion": request.api_version,
        "status": request.status,
        "body": request.body,
        "responseHeaders": headers,
        "responseBody": request.response_body,
    });
    format!("{entry}\n")
}

fn response(content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
