//! One attempt that failed: what is known about it, free of secrets, and the error it becomes.

use std::time::{Duration, SystemTime};

use azure_core::error::{Error as AzureError, ErrorKind as AzureErrorKind};
use azure_core::http::headers::HeaderName;

use crate::backoff;
use crate::{Error, ErrorKind, SasUrl};

/// Why a request did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) how: How,
    /// The HTTP status, when there was an answer.
    pub(crate) status: Option<u16>,
    /// The service's code (`ServerBusy`).
    pub(crate) code: Option<String>,
    /// How long the service asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    request_id: Option<String>,
    /// The error of the connection. Never that of an answer: it holds the body, and a body may
    /// repeat a signature.
    cause: Option<Box<AzureError>>,
}

/// At which point it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The service answered, and not with success.
    Answer,
    /// No connection came about; nothing was sent.
    Connect,
    /// The connection broke; what was sent may have been done.
    Broken,
    /// No answer within the time that was given.
    Deadline,
    /// The answer is not what the contract says.
    Contract,
}

impl Failure {
    pub(crate) fn deadline() -> Self {
        Self::of(How::Deadline)
    }

    pub(crate) fn contract() -> Self {
        Self::of(How::Contract)
    }

    fn of(how: How) -> Self {
        Self {
            how,
            status: None,
            code: None,
            retry_after: None,
            request_id: None,
            cause: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn answer(status: u16, code: &str) -> Self {
        Self {
            status: Some(status),
            code: Some(code.to_owned()),
            ..Self::of(How::Answer)
        }
    }

    pub(crate) fn new(error: AzureError) -> Self {
        if let AzureErrorKind::HttpResponse {
            status,
            error_code,
            raw_response,
        } = error.kind()
        {
            let header = |name: &'static str| {
                raw_response
                    .as_ref()?
                    .headers()
                    .get_optional_str(&HeaderName::from_static(name))
            };
            let body = raw_response.as_ref().map(|r| r.body().as_ref());
            return Self {
                status: Some((*status).into()),
                code: header("x-ms-error-code")
                    .map(str::to_owned)
                    .or_else(|| code_of(body?))
                    // Without either, the SDK puts its own description of the status here.
                    .or_else(|| error_code.clone().filter(|code| is_code(code)))
                    .filter(|code| is_code(code)),
                retry_after: retry_after(header),
                request_id: header("x-ms-request-id").map(str::to_owned),
                ..Self::of(How::Answer)
            };
        }
        let how = match error.kind() {
            AzureErrorKind::Connection => How::Connect,
            AzureErrorKind::DataConversion => How::Contract,
            _ => How::Broken,
        };
        Self {
            cause: Some(Box::new(error)),
            ..Self::of(how)
        }
    }

    /// The error for the caller, when nothing more is tried.
    pub(crate) fn into_error(self, doing: &'static str, target: &SasUrl, tries: u32) -> Error {
        let place = target.redacted();
        let (kind, what, hint) = self.explain();
        let mut error =
            Error::new(kind, format!("cannot {doing} {place}: {what}")).with_operation(doing);
        if let Some(hint) = hint {
            error = error.with_hint(hint);
        }
        if let Some(status) = self.status {
            error = error.with_status(status);
        }
        if let Some(code) = self.code {
            error = error.with_code(code);
        }
        if let Some(id) = self.request_id {
            error = error.with_context("request", id);
        }
        if tries > 1 {
            error = error.with_context("attempts", tries);
        }
        if let Some(cause) = self.cause {
            error = error.with_source(*cause);
        }
        error
    }

    fn explain(&self) -> (ErrorKind, String, Option<&'static str>) {
        let code = self.code.as_deref();
        let said = match (self.status, code) {
            (Some(status), Some(code)) => format!("the service answered {status} {code}"),
            (Some(status), None) => format!("the service answered {status}"),
            _ => match self.how {
                How::Connect => "no connection".to_owned(),
                How::Deadline => "no answer in time".to_owned(),
                How::Contract => "the answer is not what Azure Storage answers".to_owned(),
                How::Answer | How::Broken => "the connection broke".to_owned(),
            },
        };
        let (kind, hint) = match (self.status, self.how) {
            (Some(401 | 403), _) => (
                ErrorKind::Forbidden,
                Some(
                    "the access has expired, was revoked or does not allow this, or the disk can be \
                     reached through a private endpoint only; get a new write access, and look at \
                     the disk's network access policy",
                ),
            ),
            (Some(404 | 410), _) => (
                ErrorKind::NotFound,
                Some("the disk or blob is gone, or its access was revoked; get a new access"),
            ),
            (Some(407), _) => (
                ErrorKind::Network,
                Some("the proxy wants a login: put it into HTTPS_PROXY"),
            ),
            (Some(409), _) => (
                ErrorKind::Conflict,
                Some("the target is leased, or not in a state that takes pages"),
            ),
            (Some(412), _) => (
                ErrorKind::Conflict,
                Some("the target is leased, or somebody else writes to it; end that first"),
            ),
            (Some(413), _) => (
                ErrorKind::Service,
                Some(
                    "something between here and Azure, most likely a proxy, refuses 4 MiB requests",
                ),
            ),
            (Some(416), _) => (
                ErrorKind::Conflict,
                Some("the target became smaller than the disk image; somebody else changes it"),
            ),
            (Some(429 | 503), _) => (
                ErrorKind::Throttled,
                Some("the service is busy; try again later"),
            ),
            (Some(408 | 504), _) => (ErrorKind::Timeout, None),
            (Some(_), _) | (None, How::Answer) => (ErrorKind::Service, None),
            (None, How::Connect) => (
                ErrorKind::Network,
                Some(
                    "look at the network, at HTTPS_PROXY, and whether the disk can be reached \
                     through a private endpoint only; the host of a revoked access does not exist",
                ),
            ),
            (None, How::Broken) => (
                ErrorKind::Network,
                Some("look at the network and try again"),
            ),
            (None, How::Deadline) => (
                ErrorKind::Timeout,
                Some("the network is very slow or loses much; try again"),
            ),
            (None, How::Contract) => (
                ErrorKind::Service,
                Some("is something between here and Azure answering in its place?"),
            ),
        };
        (kind, said, hint)
    }
}

/// Whether this looks like a code of the service and not like a sentence or a page of HTML.
fn is_code(text: &str) -> bool {
    !text.is_empty() && text.len() < 80 && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The code in the XML of an error. A parser is not worth it for one element of a short text
/// which is not always well-formed.
fn code_of(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    Some(code.trim().to_owned())
}

/// The longest that the service is obeyed: more is taken for a mistake of something in between.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

fn retry_after<'a>(header: impl Fn(&'static str) -> Option<&'a str>) -> Option<Duration> {
    backoff::retry_after(header, SystemTime::now()).map(|wait| wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use azure_core::http::headers::Headers;
    use azure_core::http::{RawResponse, StatusCode};

    use super::*;

    fn target() -> SasUrl {
        "https://x.blob.core.windows.net/a/b?sig=S3CRET"
            .parse()
            .unwrap()
    }

    #[test]
    fn a_body_that_repeats_the_signature_does_not_get_into_the_error() {
        let body = "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code>\
                    <AuthenticationErrorDetail>signature S3CRET</AuthenticationErrorDetail></Error>";
        let kind = AzureErrorKind::HttpResponse {
            status: StatusCode::Forbidden,
            error_code: None,
            raw_response: Some(Box::new(RawResponse::from_bytes(
                StatusCode::Forbidden,
                Headers::new(),
                body,
            ))),
        };
        let failure = Failure::new(AzureError::with_message(kind, body.to_owned()));
        assert_eq!(failure.code.as_deref(), Some("AuthenticationFailed"));
        let error = failure.into_error("write to", &target(), 1);
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert_eq!(error.status(), Some(403));
        let text = format!("{error:?} {}", error.report());
        assert!(!text.contains("S3CRET"), "{text}");
        assert!(text.contains("private endpoint"));
    }

    #[test]
    fn the_service_is_obeyed_up_to_a_bound() {
        let read =
            |value: &'static str| retry_after(|name| (name == "retry-after").then_some(value));
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("99999"), Some(LONGEST_WAIT));
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
    }
}
