//! The blob that a serial console is kept in, read a range at a time.

use std::ops::Range;
use std::time::Duration;

use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{Method, Request};
use bytes::{Buf as _, Bytes, BytesMut};
use futures::StreamExt as _;
use url::Url;

use crate::azure::Transport;
use crate::backoff::Backoff;
use crate::{Error, ErrorKind, Result, SasUrl};

/// What such accesses are given out for knows this version.
const VERSION: &str = "2020-10-02";

/// Time for one answer and its body.
const ATTEMPT: Duration = Duration::from_secs(120);

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    cap: Duration::from_secs(20),
};
const MOST_TRIES: u32 = 8;

/// What a range was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is no log.
    Missing,
    /// The log is no longer than where the range begins.
    Beyond {
        /// Its length, where the service says it.
        total: Option<u64>,
    },
    Part {
        /// As much as there is of what was asked for.
        bytes: Bytes,
        /// The length of the log.
        total: u64,
    },
    /// The access is over, or was never good.
    Refused {
        /// The service's code.
        code: String,
    },
}

/// Reads a range, of which no more than its length is kept whatever comes.
///
/// # Errors
/// When the service fails or cannot be reached, more often than is worth trying.
pub(super) async fn read(transport: &Transport, sas: &SasUrl, range: Range<u64>) -> Result<Answer> {
    let mut failed = 0;
    loop {
        let attempt = tokio::time::timeout(ATTEMPT, attempt(transport, sas, range.clone())).await;
        let error = match attempt {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => Error::new(
                ErrorKind::Timeout,
                format!(
                    "cannot read the serial log: no answer within {} seconds",
                    ATTEMPT.as_secs()
                ),
            ),
        };
        failed += 1;
        if !error.is_retryable() || failed == MOST_TRIES {
            return Err(error);
        }
        let wait = BACKOFF.wait(failed);
        tracing::info!(tries = failed, "{error}; trying again");
        tokio::time::sleep(wait).await;
    }
}

async fn attempt(transport: &Transport, sas: &SasUrl, range: Range<u64>) -> Result<Answer> {
    let broken = |error: azure_core::Error| {
        Error::new(
            ErrorKind::Network,
            format!("cannot read the serial log at {}", sas.redacted()),
        )
        .with_source(error)
    };
    // The parser's error may repeat the URL, which was parsed before.
    let url = Url::parse(sas.expose()).map_err(|_| {
        Error::new(
            ErrorKind::Internal,
            format!("the address {} cannot be used", sas.redacted()),
        )
    })?;
    let mut request = Request::new(url, Method::Get);
    request.insert_header("x-ms-version", VERSION);
    let last = range.end.saturating_sub(1);
    request.insert_header("x-ms-range", format!("bytes={}-{last}", range.start));
    let client = transport.http_client();
    let response = client.execute_request(&request).await.map_err(broken)?;
    let (status, headers, mut body) = response.deconstruct();
    let status = u16::from(status);
    tracing::debug!(status, from = range.start, "serial log");
    let code = || header(&headers, "x-ms-error-code").unwrap_or_default();
    let content_range = || header(&headers, "content-range").and_then(|text| total(&text));
    // A service that takes no ranges sends all of it.
    let (mut skip, total) = match status {
        206 => (0, content_range()),
        200 => {
            let length = header(&headers, "content-length");
            (range.start, length.and_then(|text| text.parse().ok()))
        }
        404 => return Ok(Answer::Missing),
        416 => {
            return Ok(Answer::Beyond {
                total: content_range(),
            });
        }
        401 | 403 => return Ok(Answer::Refused { code: code() }),
        _ => {
            let said = format!("the service answered HTTP {status} {}", code());
            let passes = matches!(status, 408 | 429 | 500 | 502 | 503 | 504);
            return Err(Error::new(
                ErrorKind::Service,
                format!("cannot read the serial log: {}", said.trim_end()),
            )
            .with_status(status)
            .with_retryable(passes));
        }
    };
    let wanted = range.end - range.start;
    let mut bytes = BytesMut::new();
    while let Some(piece) = body.next().await {
        let mut piece = piece.map_err(broken)?;
        let before = skip.min(piece.len() as u64);
        skip -= before;
        // Neither is longer than the piece, whose length is a usize.
        piece.advance(usize::try_from(before).unwrap_or(piece.len()));
        let room = wanted - bytes.len() as u64;
        piece.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 == wanted {
            break;
        }
    }
    let total = total.unwrap_or(range.start + bytes.len() as u64);
    if bytes.is_empty() && total <= range.start {
        return Ok(Answer::Beyond { total: Some(total) });
    }
    Ok(Answer::Part {
        bytes: bytes.freeze(),
        total,
    })
}

fn header(headers: &Headers, name: &'static str) -> Option<String> {
    headers
        .get_optional_str(&HeaderName::from_static(name))
        .map(str::to_owned)
}

/// The length in `bytes 0-9/100` and in `bytes */100`.
fn total(range: &str) -> Option<u64> {
    range.rsplit_once('/')?.1.trim().parse().ok()
}
