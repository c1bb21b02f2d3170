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
use azure_core::http::{AsyncRawResponse, HttpClient, Method, Request};
use futures::StreamExt as _;

/// Errors of the service are a few hundred bytes of XML. What is longer is not the service's.
const LONGEST: usize = 64 << 10;
/// A body follows its head at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client whose answers are never waited for longer than it makes sense. What a GET was answered
/// with is passed on as it is.
#[derive(Debug)]
pub(crate) struct ByHead(pub(crate) Arc<dyn HttpClient>);

#[async_trait]
impl HttpClient for ByHead {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let response = self.0.execute_request(request).await?;
        if request.method() == Method::Get && response.status().is_success() {
            return Ok(response);
        }
        let (status, headers, mut body) = response.deconstruct();
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
