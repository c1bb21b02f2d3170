//! What the login service says when it refuses.
//!
//! The SDK cannot read it: it borrows the description from the answer, which fails for every
//! text with an escaped character, and Entra puts line breaks into all of them. So the answer is
//! read here, before the SDK's credential sees it.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::Error as AzureError;
use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};

use super::get::said;

/// A policy for the pipelines of credentials that talk to Entra. It stands outside the retries:
/// what comes this far is the last word.
#[derive(Debug)]
pub(super) struct Refusal;

#[allow(
    elided_lifetimes_in_paths,
    reason = "async_trait makes named lifetimes differ from those of the trait"
)]
#[async_trait]
impl Policy for Refusal {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let (policy, rest) = next.split_first().ok_or_else(|| {
            AzureError::with_message(AzureErrorKind::Other, "the pipeline has no transport")
        })?;
        let response = policy.send(ctx, request, rest).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.into_body().collect().await?;
        let (code, message) = said(&body);
        let message = message.unwrap_or_else(|| {
            format!(
                "the login service answered {} without a reason",
                u16::from(status)
            )
        });
        let kind = AzureErrorKind::HttpResponse {
            status,
            error_code: code,
            raw_response: None,
        };
        Err(AzureError::with_message(kind, message))
    }
}
