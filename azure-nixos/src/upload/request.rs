//! The one loop that makes a request succeed: attempts, waits, renewals. Everything that the
//! uploader asks of its target goes through [`Requester::repeat`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::keeper::Keeper;
use super::report::Counters;
use super::retry::{self, Policy, Verdict};
use super::target::{PageListPart, Properties, Target};
use crate::{Error, Result};

/// A request that can be attempted more than once: all of them are, without harm.
pub(crate) trait Request: Send {
    type Output: Send;

    /// What it does to the target, for the sentence of an error (`write to`).
    const DOING: &'static str;

    /// Waits for its turn. The access for the attempt is asked for afterwards: in a long queue it
    /// would end.
    fn ready(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// One attempt, with a deadline of its own. The outer error ends it all.
    fn attempt(
        &mut self,
        target: &Target,
    ) -> impl Future<Output = Result<Result<Self::Output, Failure>>> + Send;

    /// Whether a checksum went with the last attempt.
    fn checked(&self) -> bool {
        false
    }

    /// Takes a checksum that the target may know; `false` when there is no other.
    fn other_checksum(&mut self) -> bool {
        false
    }

    /// Whether what succeeded was only a part of it.
    fn unfinished(&self) -> bool {
        false
    }

    /// Whether a refusal may be the fault of the access, and not of the request.
    fn renews(&self) -> bool {
        true
    }
}

/// A request that is still refused after so many accesses is not refused for their sake.
const MOST_RENEWALS: u32 = 8;

/// Sends requests to the target for as long as it makes sense.
#[derive(Debug)]
pub(crate) struct Requester {
    pub(crate) keeper: Keeper,
    pub(crate) counters: Arc<Counters>,
    /// Ends waits between attempts; an attempt on its way is not touched.
    pub(crate) stop: CancellationToken,
}

impl Requester {
    pub(crate) async fn repeat<R: Request>(
        &self,
        policy: Policy,
        mut request: R,
    ) -> Result<R::Output> {
        let mut tried = 0;
        let mut renewals = 0;
        loop {
            if self.stop.is_cancelled() {
                return Err(Error::cancelled());
            }
            request.ready().await;
            let access = self.keeper.current().await?;
            let failure = match request.attempt(&access.target).await? {
                Ok(output) => {
                    access.works();
                    if !request.unfinished() {
                        return Ok(output);
                    }
                    // The rest is attempted anew.
                    (tried, renewals) = (0, 0);
                    continue;
                }
                Err(failure) => failure,
            };
            tried += 1;
            let verdict = retry::verdict(&failure, request.checked());
            tracing::debug!(
                doing = R::DOING,
                status = failure.status,
                code = failure.code.as_deref(),
                how = ?failure.how,
                ?verdict,
                tried,
                "an attempt failed"
            );
            match verdict {
                Verdict::Again { .. } => {
                    let wait = policy.wait(tried, failure.retry_after);
                    let Some(wait) = wait else {
                        return Err(failure.into_error(R::DOING, access.target.sas(), tried));
                    };
                    self.counters.retried();
                    // Whatever refused the access before is long over.
                    renewals = 0;
                    tokio::select! {
                        () = self.stop.cancelled() => return Err(Error::cancelled()),
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                // A second access that is refused like the first will not be followed by a third; unless it
                // was good for others, and ended while this one waited for its turn.
                Verdict::Renew
                    if request.renews()
                        && (renewals == 0 || (renewals < MOST_RENEWALS && access.has_worked())) =>
                {
                    match self.keeper.renew(&access).await {
                        Ok(Some(_)) => {
                            renewals += 1;
                            self.counters.retried();
                        }
                        Ok(None) => {
                            return Err(failure.into_error(R::DOING, access.target.sas(), tried));
                        }
                        Err(error) => {
                            return Err(error.with_context("renewed because of", refusal(&failure)));
                        }
                    }
                }
                Verdict::OtherChecksum if request.other_checksum() => {
                    self.counters.retried();
                }
                _ => return Err(failure.into_error(R::DOING, access.target.sas(), tried)),
            }
        }
    }
}

fn refusal(failure: &Failure) -> String {
    let status = failure.status.unwrap_or_default();
    format!("{status} {}", failure.code.as_deref().unwrap_or_default())
}

/// For requests that carry no data: connecting, a busy service's 30 seconds, and as much again.
const SHORT: Duration = Duration::from_secs(90);
/// The service gives a page list two minutes per MiB of list.
const LIST: Duration = Duration::from_secs(180);

pub(crate) async fn within<T>(
    deadline: Duration,
    attempt: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(deadline, attempt)
        .await
        .unwrap_or_else(|_| Err(Failure::deadline()))
}

/// Asks for length and type.
pub(crate) struct Describe;

impl Request for Describe {
    type Output = Properties;
    const DOING: &'static str = "open";

    async fn attempt(&mut self, target: &Target) -> Result<Result<Properties, Failure>> {
        Ok(within(SHORT, target.properties()).await)
    }
}

/// Creates a page blob.
pub(crate) struct Create(pub(crate) u64);

impl Request for Create {
    type Output = ();
    const DOING: &'static str = "create";

    async fn attempt(&mut self, target: &Target) -> Result<Result<(), Failure>> {
        Ok(within(SHORT, target.create(self.0)).await)
    }
}

/// Lists pages that were written.
pub(crate) struct List {
    pub(crate) range: std::ops::Range<u64>,
    pub(crate) marker: Option<String>,
    /// Whether lists are known to be allowed, so that a refusal is about the access.
    pub(crate) allowed: bool,
}

impl Request for List {
    type Output = PageListPart;
    const DOING: &'static str = "list the pages of";

    async fn attempt(&mut self, target: &Target) -> Result<Result<PageListPart, Failure>> {
        let list = target.list(self.range.clone(), self.marker.clone());
        Ok(within(LIST, list).await)
    }

    fn renews(&self) -> bool {
        self.allowed
    }
}

/// Clears pages.
pub(crate) struct Clear(pub(crate) std::ops::Range<u64>);

impl Request for Clear {
    type Output = ();
    const DOING: &'static str = "clear old data of";

    async fn attempt(&mut self, target: &Target) -> Result<Result<(), Failure>> {
        Ok(within(LIST, target.clear(self.0.clone())).await)
    }

    fn renews(&self) -> bool {
        // Where this is refused zeros are written, and that request renews.
        false
    }
}
