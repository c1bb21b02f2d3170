//! Token buckets: how many requests or bytes a second the blob plane takes.

use std::time::Instant;

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
}
