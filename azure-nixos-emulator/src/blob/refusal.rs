//! Answers that say no, in the form of the blob service: a status, `x-ms-error-code`, and an XML
//! body that begins with a byte order mark.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

/// Why a request is not served. Never contains a signature that would be taken.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
    details: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            details: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub(super) fn bad_request(code: &'static str, message: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Azure could, the local Azure cannot.
    pub(super) fn not_implemented(what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplemented",
            format!("The local Azure does not implement {what}."),
        )
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Adds an element to the body.
    pub(super) fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Adds a header; one that HTTP cannot carry is left out.
    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (name.parse(), value.parse()) {
            self.headers.push((name, value));
        }
        self
    }

    pub(super) fn authentication(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "AuthenticationFailed",
            "Server failed to authenticate the request. Make sure the value of Authorization \
             header is formed correctly including the signature.",
        )
        .detail("AuthenticationErrorDetail", detail)
    }

    pub(super) fn permission() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "AuthorizationPermissionMismatch",
            "This request is not authorized to perform this operation using this permission.",
        )
    }

    pub(super) fn blob_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "BlobNotFound",
            "The specified blob does not exist.",
        )
    }

    pub(super) fn container_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "ContainerNotFound",
            "The specified container does not exist.",
        )
    }

    pub(super) fn blob_type() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "InvalidBlobType",
            "The blob type is invalid for this operation.",
        )
    }

    pub(super) fn invalid_md5() -> Self {
        Self::bad_request(
            "InvalidMd5",
            "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and \
             base64 encoded.",
        )
    }

    pub(super) fn missing_header(name: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "MissingRequiredHeader",
            "An HTTP header that's mandatory for this request is not specified.",
        )
        .detail("HeaderName", name)
    }

    pub(super) fn invalid_header(name: &'static str, value: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "InvalidHeaderValue",
            "The value for one of the HTTP headers is not in the correct format.",
        )
        .detail("HeaderName", name)
        .detail("HeaderValue", value)
    }

    pub(super) fn unsupported_header(name: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "UnsupportedHeader",
            "One of the HTTP headers specified in the request is not supported.",
        )
        .detail("HeaderName", name)
    }

    pub(super) fn invalid_query(name: &'static str, value: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "InvalidQueryParameterValue",
            "Value for one of the query parameters specified in the request URI is invalid.",
        )
        .detail("QueryParameterName", name)
        .detail("QueryParameterValue", value)
    }

    pub(super) fn page_range() -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "InvalidPageRange",
            "The page range specified is invalid.",
        )
    }

    pub(super) fn condition() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "ConditionNotMet",
            "The condition specified using HTTP conditional header(s) is not met.",
        )
    }

    pub(super) fn busy(message: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", message)
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "Server encountered an internal error. Please try again after some time.",
        )
    }

    /// The answer. `time` is in the form of ISO 8601.
    pub(super) fn into_response(self, request_id: &str, time: &str) -> Response {
        let mut xml = format!(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}\n\
             RequestId:{request_id}\nTime:{time}</Message>",
            escape(&self.code),
            escape(&self.message),
        );
        for (name, value) in &self.details {
            // Writing to a string cannot fail.
            let _ = write!(xml, "<{name}>{}</{name}>", escape(value));
        }
        xml.push_str("</Error>");
        // A 304 has no body.
        let body = if self.status == StatusCode::NOT_MODIFIED {
            Body::empty()
        } else {
            Body::from(xml)
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/xml"),
        );
        if let Ok(code) = HeaderValue::from_str(&self.code) {
            headers.insert("x-ms-error-code", code);
        }
        headers.extend(self.headers);
        response
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        tracing::error!(%error, "a page blob could not be read or written");
        Self::internal()
    }
}

pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(['<', '>', '&']) {
        let text = text.replace('&', "&amp;");
        Cow::Owned(text.replace('<', "&lt;").replace('>', "&gt;"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn the_body_is_the_services_xml() {
        let response = Refusal::invalid_header("x-ms-range", "<&>").into_response("r", "t");
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["x-ms-error-code"], "InvalidHeaderValue");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>InvalidHeaderValue</Code>\
             <Message>The value for one of the HTTP headers is not in the correct format.\n\
             RequestId:r\nTime:t</Message><HeaderName>x-ms-range</HeaderName>\
             <HeaderValue>&lt;&amp;&gt;</HeaderValue></Error>"
        );
    }
}
