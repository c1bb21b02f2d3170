//! An answer before it is HTTP.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use super::error::{ArmError, Origin};

/// An answer of Resource Manager: a status, headers, and perhaps a document.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

/// What a handler gives back.
pub(crate) type Result<T = Answer> = std::result::Result<T, ArmError>;

impl Answer {
    /// An answer with a document.
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Some(body),
        }
    }

    /// An answer without a body, and then without a content type.
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The HTTP, with the headers that every answer has. `remaining` is the rate-limit bucket of
    /// the method: `reads`, `writes`, `deletes`.
    pub(crate) fn into_response(self, region: &str, remaining: &str) -> Response<Body> {
        let request_id = Uuid::new_v4().to_string();
        let body = self.body.as_ref().map(ToString::to_string);
        let has_body = body.is_some();
        let mut response = Response::new(body.map_or_else(Body::empty, Body::from));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let routing = format!("{}:{}:{request_id}", region.to_ascii_uppercase(), stamp());
        let mut headers = vec![
            ("cache-control", "no-cache".to_owned()),
            ("pragma", "no-cache".to_owned()),
            ("expires", "-1".to_owned()),
            (
                "strict-transport-security",
                "max-age=31536000; includeSubDomains".to_owned(),
            ),
            ("x-content-type-options", "nosniff".to_owned()),
            ("x-ms-request-id", request_id.clone()),
            ("x-ms-correlation-request-id", request_id),
            ("x-ms-routing-request-id", routing),
        ];
        match remaining {
            "deletes" => headers.push((
                "x-ms-ratelimit-remaining-subscription-deletes",
                "199".to_owned(),
            )),
            "writes" => headers.push((
                "x-ms-ratelimit-remaining-subscription-writes",
                "199".to_owned(),
            )),
            _ => headers.push((
                "x-ms-ratelimit-remaining-subscription-reads",
                "3749".to_owned(),
            )),
        }
        if has_body {
            headers.push(("content-type", "application/json; charset=utf-8".to_owned()));
        }
        headers.extend(self.headers);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

impl From<ArmError> for Answer {
    fn from(error: ArmError) -> Self {
        let mut answer = Self::json(error.status, error.body());
        if error.origin == Origin::Gateway {
            answer = answer.with_header("x-ms-failure-cause", "gateway");
        }
        answer.headers.extend(error.headers);
        answer
    }
}

/// The time as the routing id shows it: `20220801T032359Z`. It is of no use to a client, so it is
/// the system's and not the clock's.
fn stamp() -> String {
    use time::macros::format_description;
    time::OffsetDateTime::now_utc()
        .format(format_description!(
            "[year][month][day]T[hour][minute][second]Z"
        ))
        .unwrap_or_default()
}
