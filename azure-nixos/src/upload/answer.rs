//! Answers that are in their heads.
//!
//! What a write has come to is said by the status and the headers; a body repeats the code of an error
//! in words. The SDK reads every body to its end before it looks at the status, so that one that never
//! ends, or breaks off, would turn a write that was acknowledged into one that is sent again, and one
//! that comes without end would fill the memory. Here a body is read as far as it is worth it, which is
//! also what keeps its connection for the next request.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::{AsyncRawResponse, HttpClient, Method, Request};
use futures::StreamExt as _;

/// Errors of the service are a few hundred bytes of XML. What is longer is not the service's.
const LONGEST: usize = 64 << 10;
/// The longest document that is read: a list of as many page ranges as are ever kept.
const LONGEST_DOCUMENT: usize = 64 << 20;
/// A body follows its head at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client whose answers are never waited for longer than it makes sense. What a GET was answered
/// with is passed on as it comes, up to a length that it never has.
#[derive(Debug)]
pub(crate) struct ByHead(pub(crate) Arc<dyn HttpClient>);

#[async_trait]
impl HttpClient for ByHead {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let response = self.0.execute_request(request).await?;
        let (status, headers, mut body) = response.deconstruct();
        if request.method() == Method::Get && status.is_success() {
            let mut left = LONGEST_DOCUMENT;
            let bounded = body.map(move |piece| {
                let piece = piece?;
                match left.checked_sub(piece.len()) {
                    Some(rest) => left = rest,
                    None => {
                        return Err(Error::with_message(ErrorKind::Io, "the answer has no end"));
                    }
                }
                Ok(piece)
            });
            return Ok(AsyncRawResponse::new(status, headers, bounded.boxed()));
        }
        let mut read = Vec::new();
        let reading = async {
            while let Some(Ok(piece)) = body.next().await {
                let room = LONGEST - read.len();
                read.extend_from_slice(&piece[..piece.len().min(room)]);
                if read.len() == LONGEST {
                    break;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, reading).await.is_err() {
            tracing::debug!(?status, "the body of an answer does not end");
        }
        Ok(AsyncRawResponse::from_bytes(status, headers, read))
    }
}
