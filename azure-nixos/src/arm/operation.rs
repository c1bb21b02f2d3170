//! Long-running operations in all the dialects that Azure's resource providers speak.
//!
//! | dialect | first answer | then | the result |
//! |---|---|---|---|
//! | Compute, disks, galleries: PUT | 200, 201 or 202, `Azure-AsyncOperation` | poll it: always 200, `status` | GET of the resource |
//! | Compute: POST, DELETE | 202, no body, `Azure-AsyncOperation` and `Location` | the same | `properties.output`, or GET of `Location` |
//! | Network: PUT | 200 or 201, `provisioningState`, `Azure-AsyncOperation` | poll it: `status` only | GET of the resource |
//! | Network: DELETE | 202, both headers | poll the first | none |
//! | resource group: DELETE | 202, `Location` only | poll it: 202 until it is 200 | none |
//! | no operation at all (identities) | 200 or 201 with the finished body, sometimes a relative `Location` | — | the body |
//! | PATCH without a header | 200, `provisioningState` not final | GET of the resource until it is | the body |
//!
//! The SDK's poller sleeps before the first status and drops the error of a failed operation;
//! hence this one.

use std::marker::PhantomData;
use std::time::Duration;

use azure_core::http::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::client::{Client, Reply};
use super::error::ServiceError;
use crate::{Error, ErrorKind, Result};

/// First wait where the service does not say: most disk operations take less than half a second.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Longest wait where the service does not say.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// `Retry-After: 0` is honoured, but not as a reason to spin.
const SHORTEST_WAIT: Duration = Duration::from_millis(20);

/// The slowest operation seen, the replication of a gallery image, took minutes; deleting a
/// resource group that hangs took for ever. Nothing here does.
const DEADLINE: Duration = Duration::from_secs(2 * 3600);

/// What the end of an operation gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The resource that the request was sent to, as it is then.
    Resource,
    /// The output of an action.
    Output,
    /// Nothing but that it is over.
    Nothing,
}

/// An operation that the service has accepted.
///
/// # Cancellation
/// Dropping it stops the polling, not the operation: Azure has no way to take one back.
#[derive(Debug)]
#[must_use = "an operation that is not waited for may still fail"]
pub struct Operation<T> {
    client: Client,
    doing: String,
    target: Url,
    finish: Finish,
    first: Reply,
    deadline: Duration,
    result: PhantomData<fn() -> T>,
}

/// Where the service says how far it is.
enum Poll {
    /// A status document.
    Status(Url),
    /// 202 until it is over.
    Location(Url),
    /// The resource itself and its `provisioningState`.
    Resource,
}

impl<T: DeserializeOwned> Operation<T> {
    pub(crate) fn new(
        client: Client,
        doing: String,
        target: Url,
        finish: Finish,
        first: Reply,
    ) -> Self {
        Self {
            client,
            doing,
            target,
            finish,
            first,
            deadline: DEADLINE,
            result: PhantomData,
        }
    }

    /// Gives up waiting after so long; the default is two hours.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Waits for the end and returns the result.
    ///
    /// # Errors
    /// What the operation failed with, with the service's code; [`ErrorKind::Timeout`] when it
    /// does not end.
    ///
    /// # Cancellation
    /// Safe to drop; the operation goes on at Azure's end.
    pub async fn wait(self) -> Result<T> {
        let Some(poll) = self.poll()? else {
            return match self.finish {
                // A deleted role assignment comes back in the answer; nobody asked for it.
                Finish::Nothing => nothing(&self.doing),
                Finish::Resource | Finish::Output => self.first.json(&self.doing),
            };
        };
        let started = Instant::now();
        let mut wait = self.first.retry_after().unwrap_or(FIRST_WAIT);
        let mut backoff = FIRST_WAIT;
        loop {
            let wait_now = wait.max(SHORTEST_WAIT);
            if started.elapsed() + wait_now > self.deadline {
                return Err(self.timed_out(started.elapsed()));
            }
            tokio::time::sleep(wait_now).await;
            let url = match &poll {
                Poll::Status(url) | Poll::Location(url) => url,
                Poll::Resource => &self.target,
            };
            let reply = self
                .client
                .send(Method::Get, url, None, &self.doing)
                .await?;
            if let Some(result) = self.look(&poll, &reply).await? {
                return Ok(result);
            }
            backoff = backoff.mul_f64(1.5).min(LONGEST_WAIT);
            wait = reply.retry_after().unwrap_or(backoff);
        }
    }

    /// How to follow this operation; `None` when the first answer was the end of it.
    fn poll(&self) -> Result<Option<Poll>> {
        let follow = |link: &str| self.client.follow(&self.target, link, &self.doing);
        let state = if self.first.body.is_empty() {
            None
        } else {
            provisioning_state(&self.first.json::<Value>(&self.doing)?)
        };
        if let Some(failed) = state.as_deref().and_then(failure) {
            return Err(self.failed(&Value::Null, failed));
        }
        // An interface comes back finished and still carries the header of its operation.
        let finished = state.as_deref().is_some_and(is_success);
        if finished && self.finish == Finish::Resource && self.first.status != 202 {
            return Ok(None);
        }
        if let Some(link) = self.first.header("azure-asyncoperation") {
            return Ok(Some(Poll::Status(follow(link)?)));
        }
        if self.first.status == 202 {
            if let Some(link) = self.first.header("location") {
                return Ok(Some(Poll::Location(follow(link)?)));
            }
            if self.finish == Finish::Resource {
                return Ok(Some(Poll::Resource));
            }
            return Err(Error::new(
                ErrorKind::Service,
                format!(
                    "cannot {}: the service accepted it and does not say where to follow it",
                    self.doing
                ),
            ));
        }
        // A `Location` on a 200 or 201 is where the resource is, not a thing to poll.
        if self.finish == Finish::Resource && state.is_some() && !finished {
            return Ok(Some(Poll::Resource));
        }
        Ok(None)
    }

    /// The result, if this answer is the last one.
    async fn look(&self, poll: &Poll, reply: &Reply) -> Result<Option<T>> {
        match poll {
            Poll::Status(_) => {
                let document: Value = reply.json(&self.doing)?;
                let status = document
                    .get("status")
                    .and_then(Value::as_str)
                    .map(str::to_owned)
                    .or_else(|| provisioning_state(&document));
                match status.as_deref() {
                    Some(status) if is_success(status) => self.result(&document).await.map(Some),
                    // The end of an operation without a word in it is a success.
                    None if reply.status != 202 => self.result(&document).await.map(Some),
                    Some(status) => match failure(status) {
                        Some(failed) => Err(self.failed(&document, failed)),
                        None => Ok(None),
                    },
                    None => Ok(None),
                }
            }
            Poll::Location(_) => {
                if reply.status == 202 {
                    return Ok(None);
                }
                match self.finish {
                    Finish::Resource => self.resource().await.map(Some),
                    Finish::Output => reply.json(&self.doing).map(Some),
                    Finish::Nothing => nothing(&self.doing).map(Some),
                }
            }
            Poll::Resource => {
                let document: Value = reply.json(&self.doing)?;
                match provisioning_state(&document).as_deref() {
                    Some(state) if !is_success(state) => match failure(state) {
                        Some(failed) => Err(self.failed(&document, failed)),
                        None => Ok(None),
                    },
                    _ => reply.json(&self.doing).map(Some),
                }
            }
        }
    }

    /// The result of an operation whose status document says that it succeeded.
    async fn result(&self, document: &Value) -> Result<T> {
        match self.finish {
            Finish::Nothing => nothing(&self.doing),
            Finish::Resource => self.resource().await,
            Finish::Output => {
                let output = document.pointer("/properties/output");
                if let Some(output) = output.filter(|output| !output.is_null()) {
                    return super::client::decode(output.to_string().as_bytes(), &self.doing);
                }
                let Some(link) = self.first.header("location") else {
                    return Err(self.no_output());
                };
                let url = self.client.follow(&self.target, link, &self.doing)?;
                let reply = self
                    .client
                    .send(Method::Get, &url, None, &self.doing)
                    .await?;
                if reply.body.is_empty() {
                    return Err(self.no_output());
                }
                reply.json(&self.doing)
            }
        }
    }

    async fn resource(&self) -> Result<T> {
        self.client.get(self.target.clone(), &self.doing).await
    }

    fn no_output(&self) -> Error {
        Error::new(
            ErrorKind::Service,
            format!(
                "cannot {}: the service says that it is done and gives no result",
                self.doing
            ),
        )
    }

    fn timed_out(&self, after: Duration) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!(
                "cannot {}: the service still works on it after {} minutes",
                self.doing,
                after.as_secs() / 60
            ),
        )
        .with_hint("it may end by itself; look at the resource in the portal before trying again")
    }

    fn failed(&self, document: &Value, status: &str) -> Error {
        let mut error = ServiceError::from_value(200, document);
        if error.code.is_empty() && error.message.is_empty() || document.get("error").is_none() {
            error = ServiceError {
                status: 200,
                message: format!("the operation ended as {status}"),
                ..ServiceError::default()
            };
        }
        error.into_error(&self.doing)
    }
}

/// `()` and whatever else decodes from nothing.
fn nothing<T: DeserializeOwned>(doing: &str) -> Result<T> {
    super::client::decode(b"null", doing)
}

fn provisioning_state(document: &Value) -> Option<String> {
    document
        .pointer("/properties/provisioningState")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

fn is_success(status: &str) -> bool {
    status.eq_ignore_ascii_case("Succeeded")
}

/// The status, if it is a final one and not a success. Everything else means "not yet".
fn failure(status: &str) -> Option<&str> {
    ["Failed", "Canceled", "Cancelled"]
        .iter()
        .any(|bad| status.eq_ignore_ascii_case(bad))
        .then_some(status)
}
