//! Waiting for what passes: a machine on which somebody else works, an interface that is kept for a
//! machine that is gone.
//!
//! This is no second retry layer. The client repeats what the service calls transient, for a minute
//! or so; what is waited for here is another operation, which takes minutes and is a refusal until
//! then.

use std::time::Duration;

use tokio::time::Instant;

use crate::handle::Work;
use crate::{Error, Result};

/// First and longest wait between two looks.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// Operations on a machine take one or two minutes; the slowest seen took two and a half.
const BUSY: Duration = Duration::from_secs(300);

/// How long something is still waited for.
#[derive(Debug)]
pub(super) struct Patience {
    ends: Instant,
    wait: Duration,
    longest: Duration,
}

impl Patience {
    pub(super) fn of(limit: Duration) -> Self {
        Self::between(limit, LONGEST)
    }

    /// The same, with so much time between two looks at most.
    pub(super) fn between(limit: Duration, longest: Duration) -> Self {
        Self {
            ends: Instant::now() + limit,
            wait: FIRST,
            longest,
        }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The refusal, when it has lasted long enough; that it was cancelled.
    pub(super) async fn wait(&mut self, work: &Work, refusal: Error) -> Result<()> {
        let wait = self.wait;
        if Instant::now() + wait > self.ends {
            return Err(refusal);
        }
        tracing::debug!(wait = wait.as_secs(), "{refusal}; looking again");
        self.wait = (wait * 2).min(self.longest);
        work.interruptible(async {
            tokio::time::sleep(wait).await;
            Ok(())
        })
        .await
    }
}

/// Makes a request, again and again while another operation on the same thing is under way.
pub(super) async fn when_free<T, F>(work: &Work, mut request: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>> + Send,
{
    let mut patience = Patience::of(BUSY);
    loop {
        match request().await {
            Err(error) if is_busy(&error) => patience.wait(work, error).await?,
            other => return other,
        }
    }
}

/// Whether another operation is in the way.
pub(super) fn is_busy(error: &Error) -> bool {
    const CODES: &[&str] = &[
        "AnotherOperationInProgress",
        "Conflict",
        "OperationPreempted",
        "RetryableErrorDueToAnotherOperation",
    ];
    // As the end of an operation the same codes mean that it lost against a later one.
    matches!(error.status(), Some(409 | 429))
        && error.code().is_some_and(|code| CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ErrorKind;

    fn busy() -> Error {
        Error::new(ErrorKind::Conflict, "busy")
            .with_status(409)
            .with_code("AnotherOperationInProgress")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_busy_is_waited_for_and_not_for_ever() {
        let tries = AtomicU32::new(0);
        let work = Work::default();
        let answered = when_free(&work, || async {
            match tries.fetch_add(1, Ordering::Relaxed) {
                5 => Ok("done"),
                _ => Err(busy()),
            }
        });
        assert_eq!(answered.await.unwrap(), "done");

        let started = Instant::now();
        let refused = when_free::<(), _>(&work, || async { Err(busy()) }).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
        let waited = started.elapsed();
        assert!(BUSY - LONGEST * 2 < waited && waited <= BUSY, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_for_good_is_not_repeated() {
        let tries = AtomicU32::new(0);
        let work = Work::default();
        let refused = when_free::<(), _>(&work, || async {
            tries.fetch_add(1, Ordering::Relaxed);
            Err(busy().with_code("OperationNotAllowed"))
        });
        refused.await.unwrap_err();
        assert_eq!(tries.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn the_wait_can_be_cancelled() {
        let work = Work::default();
        work.cancel.cancel();
        let refused = when_free::<(), _>(&work, || async { Err(busy()) }).await;
        assert!(refused.unwrap_err().is_cancelled());
    }
}
