//! Token buckets: how many requests or bytes a second a server takes.

use std::time::{Duration, Instant};

use super::rule::Act;
use super::{FaultAction, LARGEST_WRITE, Plane};

/// A bucket that fills at a steady rate and holds one second's worth.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    capacity: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket. `least` is the largest single draught that must be possible: a bucket
    /// smaller than one Put Page would refuse it for ever.
    pub(super) fn new(per_second: f64, least: f64, now: Instant) -> Self {
        let capacity = per_second.max(least);
        Self {
            per_second,
            capacity,
            level: capacity,
            filled: now,
        }
    }

    /// A bucket of bytes.
    pub(super) fn of_bytes(mib_per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(mib_per_second) * 1024.0 * 1024.0;
        Self::new(per_second, LARGEST_WRITE, now)
    }

    /// Takes `amount` if it is there.
    pub(super) fn take(&mut self, amount: f64, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + seconds * self.per_second).min(self.capacity);
        self.filled = now;
        if amount <= self.level {
            self.level -= amount;
            true
        } else {
            false
        }
    }

    /// The same, but a draught larger than the bucket is taken when it is full. Otherwise how long
    /// it takes until there is enough.
    fn take_or_wait(&mut self, amount: f64, now: Instant) -> Result<(), Duration> {
        let amount = amount.min(self.capacity);
        if self.take(amount, now) {
            return Ok(());
        }
        let seconds = (amount - self.level) / self.per_second;
        Err(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// The buckets of one rule.
#[derive(Debug, Default)]
pub(super) struct Limits {
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Limits {
    /// Those of a rule; none where it sets no limit.
    pub(super) fn of(act: &Act, now: Instant) -> Self {
        let Act::Limit {
            requests_per_second,
            mib_per_second,
        } = act
        else {
            return Self::default();
        };
        Self {
            requests: requests_per_second.map(|rate| Bucket::new(f64::from(rate), 1.0, now)),
            bytes: mib_per_second.map(|mib| Bucket::of_bytes(mib, now)),
        }
    }

    /// The refusal of a request that is above a limit; `None` lets it through.
    pub(super) fn refuse(&mut self, plane: Plane, bytes: u64, now: Instant) -> Option<FaultAction> {
        let over = |bucket: &mut Option<Bucket>, amount: f64| {
            let bucket = bucket.as_mut()?;
            bucket.take_or_wait(amount, now).err()
        };
        let (wait, of) = match over(&mut self.requests, 1.0) {
            Some(wait) => (wait, "Operations per second"),
            None => (over(&mut self.bytes, bytes as f64)?, "Ingress"),
        };
        // Whole seconds, and at least one: less would be no wait.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Some(match plane {
            Plane::Blob => FaultAction::Respond {
                status: 503,
                code: "ServerBusy".to_owned(),
                message: Some(format!("{of} is over the account limit.")),
                headers: Vec::new(),
                late: Duration::ZERO,
            },
            Plane::Arm => FaultAction::Respond {
                status: 429,
                code: "SubscriptionRequestsThrottled".to_owned(),
                message: Some(format!(
                    "Number of requests for the subscription exceeded the limit. Please try again after '{seconds}' seconds."
                )),
                headers: vec![("Retry-After".to_owned(), seconds.to_string())],
                late: Duration::ZERO,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_its_rate_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 1.0, start);
        let mut taken = 0;
        // Ten seconds, a try every ten milliseconds: one second's worth at once, then the rate.
        for step in 0..1000 {
            if bucket.take(1.0, start + Duration::from_millis(step * 10)) {
                taken += 1;
            }
        }
        assert!((109..=110).contains(&taken), "{taken}");
    }

    #[test]
    fn one_draught_larger_than_a_second_is_possible() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1.0, 4.0, start);
        assert!(bucket.take(4.0, start));
        assert!(!bucket.take(4.0, start + Duration::from_secs(3)));
        assert!(bucket.take(4.0, start + Duration::from_secs(4)));
    }

    #[test]
    fn a_refusal_is_the_services_and_says_how_long_to_wait() {
        let start = Instant::now();
        let limit = |requests, mib| {
            let act = Act::Limit {
                requests_per_second: requests,
                mib_per_second: mib,
            };
            Limits::of(&act, start)
        };
        let mut limits = limit(Some(2), None);
        let arm = |limits: &mut Limits| limits.refuse(Plane::Arm, 0, start);
        assert_eq!((arm(&mut limits), arm(&mut limits)), (None, None));
        let Some(FaultAction::Respond {
            status, headers, ..
        }) = arm(&mut limits)
        else {
            panic!()
        };
        let wait = ("Retry-After".to_owned(), "1".to_owned());
        assert_eq!((status, headers), (429, vec![wait]));
        let later = start + Duration::from_secs(1);
        assert_eq!(limits.refuse(Plane::Arm, 0, later), None);

        let mut limits = limit(None, Some(8));
        // What is larger than the bucket takes all of it.
        assert_eq!(limits.refuse(Plane::Blob, 100 << 20, start), None);
        let Some(FaultAction::Respond { status, code, .. }) = limits.refuse(Plane::Blob, 1, start)
        else {
            panic!()
        };
        assert_eq!((status, code.as_str()), (503, "ServerBusy"));
    }
}
