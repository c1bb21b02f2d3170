//! A plain GET for the few things that must be known before there is a Resource Manager client:
//! the endpoints of a cloud, the subscriptions of a login.
//!
//! Four kinds of error body come from Azure: `{"error":{"code","message"}}`, the same without the
//! wrapper, an HTML page, and nothing.

use std::time::Duration;

use azure_core::credentials::Secret;
use azure_core::http::headers::{ACCEPT, AUTHORIZATION};
use azure_core::http::{
    ClientOptions, Context, ExponentialRetryOptions, Method, Pipeline, PipelineSendOptions,
    Request, RetryOptions,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::Transport;
use super::login::cause;
use crate::{Error, ErrorKind, Result};

/// For the whole of it, repetitions included. These are small answers; a service that takes
/// longer is not there.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often and how long the SDK repeats a request that only fetches something.
pub(super) fn patience() -> RetryOptions {
    RetryOptions::exponential(ExponentialRetryOptions {
        initial_delay: azure_core::time::Duration::milliseconds(400),
        max_retries: 4,
        max_total_elapsed: azure_core::time::Duration::seconds(30),
        ..ExponentialRetryOptions::default()
    })
}

/// Fetches JSON. `what` says what is fetched, as the end of the sentence "cannot …".
///
/// # Errors
/// By the status of the answer; [`ErrorKind::Network`] when there was none. 401 is
/// [`ErrorKind::Unauthenticated`] and leaves it to the caller to ask for another token.
pub(super) async fn get_json<T: DeserializeOwned>(
    transport: &Transport,
    url: &Url,
    token: Option<&Secret>,
    what: &'static str,
) -> Result<T> {
    let host = url.host_str().unwrap_or_default().to_owned();
    let pipeline = Pipeline::new(
        None,
        None,
        ClientOptions {
            retry: patience(),
            ..transport.client_options()
        },
        Vec::new(),
        Vec::new(),
        None,
    );
    let mut request = Request::new(url.clone(), Method::Get);
    request.insert_header(ACCEPT, "application/json");
    if let Some(token) = token {
        request.insert_header(AUTHORIZATION, format!("Bearer {}", token.secret()));
    }
    let context = Context::new();
    let options = PipelineSendOptions {
        skip_checks: true,
        ..PipelineSendOptions::default()
    };
    let sent = Box::pin(pipeline.send(&context, &mut request, Some(options)));
    let response = tokio::time::timeout(DEADLINE, sent)
        .await
        .map_err(|_| {
            Error::new(
                ErrorKind::Timeout,
                format!("cannot {what}: {host} does not answer"),
            )
        })?
        .map_err(|error| {
            Error::new(
                ErrorKind::Network,
                format!("cannot {what} from {host}: {}", cause(&error)),
            )
            .with_hint("look at the network, the proxy (HTTPS_PROXY) and the name of the cloud")
        })?;
    let status = u16::from(response.status());
    let body: &[u8] = response.body().as_ref();
    if !(200..300).contains(&status) {
        return Err(refused(status, body, &format!("cannot {what} from {host}")));
    }
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(body)).map_err(
        |error| {
            Error::new(
                ErrorKind::Service,
                format!("cannot {what}: {host} answered something else"),
            )
            .with_source(error)
        },
    )
}

/// The error of an answer that says no.
fn refused(status: u16, body: &[u8], cannot: &str) -> Error {
    let (code, said) = said(body);
    let kind = match status {
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        429 => ErrorKind::Throttled,
        408 | 504 => ErrorKind::Timeout,
        _ => ErrorKind::Service,
    };
    let said = said.unwrap_or_else(|| format!("status {status} without a reason"));
    let error = Error::new(kind, format!("{cannot}: {said}"))
        .with_status(status)
        .with_retryable(status == 408 || status == 429 || status >= 500);
    match code {
        Some(code) => error.with_code(code),
        None => error,
    }
}

/// The code and the words of an error body, where it has them.
pub(super) fn said(body: &[u8]) -> (Option<String>, Option<String>) {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        let error = match &value["error"] {
            Value::Object(_) => &value["error"],
            _ => &value,
        };
        let field = |name: &str| error[name].as_str().map(one_line);
        // The login service has its own spelling of the same.
        let code = field("code").or_else(|| field("error"));
        let message = field("message").or_else(|| field("error_description"));
        let message = message.or_else(|| code.clone());
        return (code, message);
    }
    let title = text
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"))
        .map(|(title, _)| one_line(title));
    (None, title.filter(|title| !title.is_empty()))
}

/// Text of a foreign program or service, fit for one line of ours. The limit is what fits on a
/// few lines of a terminal; an AADSTS message is about 300 characters.
pub(super) fn one_line(text: &str) -> String {
    const LIMIT: usize = 500;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
pub(super) mod fake {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};

    use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
    use azure_core::http::{AsyncRawResponse, Body, HttpClient};

    use super::*;

    type Answer = dyn Fn(&Request) -> (u16, String) + Send + Sync;

    /// An HTTP client that answers by a function and remembers what it was asked.
    pub(in crate::azure) struct Service {
        answer: Box<Answer>,
        pub(in crate::azure) seen: Mutex<Vec<Seen>>,
    }

    #[derive(Clone, Debug)]
    pub(in crate::azure) struct Seen {
        pub(in crate::azure) url: String,
        pub(in crate::azure) headers: HashMap<String, String>,
        pub(in crate::azure) body: String,
    }

    impl Service {
        pub(in crate::azure) fn new(
            answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static,
        ) -> Arc<Self> {
            Arc::new(Self {
                answer: Box::new(answer),
                seen: Mutex::default(),
            })
        }

        pub(in crate::azure) fn transport(self: &Arc<Self>) -> Transport {
            Transport::from_client(Arc::clone(self) as Arc<dyn HttpClient>)
        }

        pub(in crate::azure) fn urls(&self) -> Vec<String> {
            self.seen
                .lock()
                .unwrap()
                .iter()
                .map(|seen| seen.url.clone())
                .collect()
        }
    }

    impl std::fmt::Debug for Service {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Service")
        }
    }

    #[async_trait::async_trait]
    impl HttpClient for Service {
        async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
            let body = match request.body() {
                Body::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Body::SeekableStream(_) => String::from("(stream)"),
            };
            self.seen.lock().unwrap().push(Seen {
                url: request.url().to_string(),
                headers: request
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
                    .collect(),
                body,
            });
            let (status, body) = (self.answer)(request);
            let mut headers = Headers::new();
            headers.insert(
                HeaderName::from_static("content-type"),
                HeaderValue::from_static("application/json"),
            );
            Ok(AsyncRawResponse::from_bytes(
                status.into(),
                headers,
                body.into_bytes(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(status: u16, body: &str) -> Result<Value> {
        let body = body.to_owned();
        let service = fake::Service::new(move |_| (status, body.clone()));
        let url = Url::parse("https://arm.test/x").unwrap();
        get_json(&service.transport(), &url, None, "list things").await
    }

    #[tokio::test]
    async fn every_kind_of_error_body_becomes_a_sentence() {
        for (status, body, kind, code, message) in [
            (
                403,
                r#"{"error":{"code":"AuthorizationFailed","message":"no\r\nrights"}}"#,
                ErrorKind::Forbidden,
                Some("AuthorizationFailed"),
                "cannot list things from arm.test: no rights",
            ),
            (
                404,
                "\u{feff}{\"code\":\"NotFound\",\"message\":\"gone\"}",
                ErrorKind::NotFound,
                Some("NotFound"),
                "cannot list things from arm.test: gone",
            ),
            (
                404,
                "<html><head><title>404 - File or directory\n not found.</title></head>",
                ErrorKind::NotFound,
                None,
                "cannot list things from arm.test: 404 - File or directory not found.",
            ),
            (
                401,
                "",
                ErrorKind::Unauthenticated,
                None,
                "cannot list things from arm.test: status 401 without a reason",
            ),
        ] {
            let error = ask(status, body).await.unwrap_err();
            assert_eq!(
                (error.kind(), error.code(), error.to_string().as_str()),
                (kind, code, message)
            );
            assert_eq!(error.status(), Some(status));
        }
    }

    #[tokio::test]
    async fn an_answer_of_another_shape_says_where() {
        let service = fake::Service::new(|_| (200, r#"{"value":[1,"x"]}"#.to_owned()));
        let url = Url::parse("https://arm.test/x").unwrap();
        let error = get_json::<std::collections::HashMap<String, Vec<u8>>>(
            &service.transport(),
            &url,
            None,
            "list things",
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Service);
        assert!(error.report().contains("value[1]"), "{}", error.report());
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let line = one_line(&"ä ".repeat(400));
        assert_eq!(line.chars().count(), 501);
        assert!(line.ends_with('…'));
    }
}
