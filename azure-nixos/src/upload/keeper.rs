//! Keeps the access to the target good for as long as the upload lasts.
//!
//! There is one renewal at a time, whoever asks for it. Ahead of its end an access is renewed by
//! the one request that notices, while all others go on with the old one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::access::{SasAccess, SasSource};
use super::target::Target;
use crate::Result;
use crate::azure::Transport;

/// An access is renewed so long before it ends, or a tenth of its time, whichever is less.
const AHEAD: Duration = Duration::from_secs(300);
/// After a renewal that failed, the old access is used for so long before the next try.
const PAUSE: Duration = Duration::from_secs(20);

#[derive(Debug)]
pub(crate) struct Keeper {
    source: Arc<dyn SasSource>,
    transport: Transport,
    current: Mutex<Current>,
    renewing: tokio::sync::Mutex<()>,
}

/// An access in use.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) target: Arc<Target>,
    /// Counts renewals, to tell a refusal of this access from one of an older.
    pub(crate) generation: u64,
    renew_at: Option<Instant>,
    ends_at: Option<Instant>,
    /// Whether any request has succeeded with it.
    worked: Arc<AtomicBool>,
}

impl Keeper {
    /// Asks for the first access.
    pub(crate) async fn open(source: Arc<dyn SasSource>, transport: Transport) -> Result<Self> {
        let access = source.access().await?;
        Ok(Self {
            current: Mutex::new(Current::new(&access, 0, &transport, SystemTime::now())?),
            source,
            transport,
            renewing: tokio::sync::Mutex::default(),
        })
    }

    /// The access as it is, good or not.
    pub(crate) fn peek(&self) -> Current {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// An access that is good for a while yet, as far as anybody knows.
    pub(crate) async fn current(&self) -> Result<Current> {
        let current = self.peek();
        let now = Instant::now();
        if !self.source.renewable() || current.renew_at.is_none_or(|at| now < at) {
            return Ok(current);
        }
        let ended = current.ends_at.is_some_and(|at| now >= at);
        let guard = if ended {
            self.renewing.lock().await
        } else if let Ok(guard) = self.renewing.try_lock() {
            guard
        } else {
            return Ok(current);
        };
        // While we waited, somebody else may have done it.
        let current = self.peek();
        if current.renew_at.is_none_or(|at| Instant::now() < at) {
            return Ok(current);
        }
        let renewed = self.fetch(current.generation).await;
        drop(guard);
        match renewed {
            Ok(renewed) => Ok(renewed),
            Err(error) if !ended => {
                tracing::warn!(%error, "the access could not be renewed yet");
                let mut slot = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                slot.renew_at = Some(Instant::now() + PAUSE);
                Ok(slot.clone())
            }
            Err(error) => Err(error),
        }
    }

    /// Another access than that of `refused`; `None` when there is no other.
    pub(crate) async fn renew(&self, refused: &Current) -> Result<Option<Current>> {
        if !self.source.renewable() {
            return Ok(None);
        }
        let guard = self.renewing.lock().await;
        let current = self.peek();
        if current.generation > refused.generation {
            return Ok(Some(current));
        }
        let renewed = self.fetch(current.generation).await;
        drop(guard);
        renewed.map(Some)
    }

    async fn fetch(&self, generation: u64) -> Result<Current> {
        tracing::debug!(generation, "renewing the access to the target");
        let access = self.source.access().await?;
        let renewed = Current::new(&access, generation + 1, &self.transport, SystemTime::now())?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = renewed.clone();
        Ok(renewed)
    }
}

impl Current {
    /// A request has succeeded with it.
    pub(crate) fn works(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
    }

    /// `wall` is what the system's clock shows.
    fn new(
        access: &SasAccess,
        generation: u64,
        transport: &Transport,
        wall: SystemTime,
    ) -> Result<Self> {
        // From here on the monotonic clock counts: the other one may be set back. An access that
        // has just been given and is over already says that it is wrong. To go by it would be to
        // renew before every request, and a renewal ends what the others are doing; so its end is
        // not known, and the service will say so.
        let left = access
            .expires
            .and_then(|end| end.duration_since(wall).ok())
            .filter(|left| !left.is_zero());
        let now = Instant::now();
        Ok(Self {
            target: Arc::new(Target::new(access.url.clone(), transport)?),
            generation,
            renew_at: left
                .and_then(|left| now.checked_add(left.saturating_sub(AHEAD.min(left / 10)))),
            ends_at: left.and_then(|left| now.checked_add(left)),
            worked: Arc::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::{Error, ErrorKind};

    #[derive(Debug, Default)]
    struct Renewable {
        asked: AtomicU64,
        fails: AtomicBool,
    }

    #[async_trait]
    impl SasSource for Arc<Renewable> {
        async fn access(&self) -> Result<SasAccess> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Service, "not now"));
            }
            let n = self.asked.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(1)).await;
            let url = format!("https://x.example/a/b?sig={n}").parse()?;
            let hour = SystemTime::now() + Duration::from_secs(3600);
            Ok(SasAccess::new(url, Some(hour)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_renewal_serves_all() {
        let source = Arc::new(Renewable::default());
        let keeper = Keeper::open(Arc::new(Arc::clone(&source)), Transport::new().unwrap())
            .await
            .unwrap();
        let old = keeper.peek();
        let all = futures::future::join_all((0..8).map(|_| keeper.renew(&old))).await;
        assert!(all.into_iter().all(|c| c.unwrap().unwrap().generation == 1));
        assert_eq!(source.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_renewed_ahead_and_nobody_else_waits() {
        let source = Arc::new(Renewable::default());
        let keeper = Keeper::open(Arc::new(Arc::clone(&source)), Transport::new().unwrap())
            .await
            .unwrap();
        tokio::time::advance(Duration::from_secs(3290)).await;
        assert_eq!(keeper.current().await.unwrap().generation, 0);
        tokio::time::advance(Duration::from_secs(20)).await;
        let mut renewing = Box::pin(keeper.current());
        assert!(futures::poll!(&mut renewing).is_pending());
        assert_eq!(keeper.current().await.unwrap().generation, 0);
        assert_eq!(renewing.await.unwrap().generation, 1);
        assert_eq!(keeper.current().await.unwrap().generation, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_renewal_matters_only_when_the_access_has_ended() {
        let source = Arc::new(Renewable::default());
        let keeper = Keeper::open(Arc::new(Arc::clone(&source)), Transport::new().unwrap())
            .await
            .unwrap();
        source.fails.store(true, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(3400)).await;
        assert_eq!(keeper.current().await.unwrap().generation, 0);
        tokio::time::advance(Duration::from_secs(300)).await;
        assert!(keeper.current().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_only_means_that_the_end_is_not_known() {
        let transport = Transport::new().unwrap();
        let now = SystemTime::now();
        let hour = Duration::from_secs(3600);
        let url = "https://x.example/a/b?sig=1".parse().unwrap();
        let access = SasAccess::new(url, Some(now + hour));
        let with = |wall| Current::new(&access, 0, &transport, wall).unwrap();
        let ends = |wall| with(wall).ends_at.map(|at| at - Instant::now());
        assert_eq!(ends(now), Some(hour));
        // Set back by a day while the access was asked for.
        assert_eq!(ends(now - 24 * hour), Some(25 * hour));
        // Ahead by more than the access lasts.
        for wall in [now + hour, now + 2 * hour] {
            assert_eq!((with(wall).renew_at, ends(wall)), (None, None));
        }
        // Set back later on: the monotonic clock does not know.
        let current = with(now);
        assert_eq!(
            current.renew_at.map(|at| at - Instant::now()),
            Some(hour - AHEAD)
        );
    }
}
