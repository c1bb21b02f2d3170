//! The one retry policy of the uploader, as pure functions: what a failure means, and how long to
//! wait. Who waits, and on which clock, is not decided here.

use std::time::Duration;

use super::failure::{Failure, How};
use super::integrity;
use crate::backoff::Backoff;

/// What is to be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Try again after a wait. `congestion` when it says that too much is on its way.
    Again {
        /// Whether the sender should slow down.
        congestion: bool,
    },
    /// The access is refused; another one may not be.
    Renew,
    /// The target does not know the checksum that was sent along.
    OtherChecksum,
    /// Trying again gives the same answer.
    GiveUp,
}

/// What a failure means for a request. `checked` when a checksum was sent along.
pub(crate) fn verdict(failure: &Failure, checked: bool) -> Verdict {
    let again = |congestion| Verdict::Again { congestion };
    match (failure.how, failure.status) {
        // A reset is what overloaded networks and services do; so is silence.
        (How::Broken | How::Deadline, _) => again(true),
        (How::Connect, _) => again(false),
        (How::Contract, _) => Verdict::GiveUp,
        (How::Answer, _) if integrity::is_mismatch(failure) => again(false),
        (How::Answer, Some(400 | 501)) if checked && integrity::is_refusal(failure) => {
            Verdict::OtherChecksum
        }
        (How::Answer, Some(401 | 403)) => Verdict::Renew,
        // OperationTimedOut is a 500 and the commonest sign of too much at once.
        (How::Answer, Some(408 | 429 | 500 | 503)) => again(true),
        (How::Answer, Some(502 | 504)) => again(true),
        (How::Answer, _) => Verdict::GiveUp,
    }
}

/// How often and how fast to try again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Attempts in all.
    pub(crate) tries: u32,
    /// No wait is longer, unless the service asks for it.
    pub(crate) backoff: Backoff,
}

impl Policy {
    /// For what is in the middle of an upload: four and a half minutes of outage on average, nine at
    /// most, are survived.
    pub(crate) const PATIENT: Self = Self {
        tries: 24,
        backoff: Backoff {
            first: Duration::from_millis(500),
            cap: Duration::from_secs(30),
        },
    };
    /// For the first question to a target: whoever mistyped a host wants to know soon.
    pub(crate) const FIRST: Self = Self {
        tries: 6,
        ..Self::PATIENT
    };

    /// The wait before the attempt after `tried` ones, `None` when it was the last.
    pub(crate) fn wait(&self, tried: u32, retry_after: Option<Duration>) -> Option<Duration> {
        if tried >= self.tries {
            return None;
        }
        let wait = self.backoff.wait(tried);
        // The service's wait is a minimum; the jitter is added so that nobody arrives in a crowd.
        // A wait of nothing is no wish to be asked as fast as possible.
        let asked = retry_after.filter(|asked| !asked.is_zero());
        Some(asked.map_or(wait, |asked| asked + wait.min(asked)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_transient_answer_is_tried_again() {
        for (status, code) in [
            (500, "InternalError"),
            (500, "OperationTimedOut"),
            (503, "ServerBusy"),
            (429, "TooManyRequests"),
            (408, ""),
            (502, ""),
            (504, ""),
        ] {
            let verdict = verdict(&Failure::answer(status, code), true);
            assert_eq!(verdict, Verdict::Again { congestion: true }, "{status}");
        }
        assert_eq!(
            verdict(&Failure::deadline(), true),
            Verdict::Again { congestion: true }
        );
    }

    #[test]
    fn damage_is_sent_again_and_is_no_congestion() {
        for code in ["Md5Mismatch", "Crc64Mismatch"] {
            let verdict = verdict(&Failure::answer(400, code), true);
            assert_eq!(verdict, Verdict::Again { congestion: false }, "{code}");
        }
    }

    #[test]
    fn permanent_answers_are_not() {
        for (status, code) in [
            (400, "InvalidPageRange"),
            (404, "BlobNotFound"),
            (409, "BlobTypeMismatch"),
            (412, "LeaseIdMissing"),
            (413, "RequestBodyTooLarge"),
            (416, "InvalidPageRange"),
            (200, ""),
        ] {
            let verdict = verdict(&Failure::answer(status, code), true);
            assert_eq!(verdict, Verdict::GiveUp, "{status} {code}");
        }
    }

    #[test]
    fn a_refused_header_is_one_only_when_it_was_sent() {
        let failure = Failure::answer(400, "InvalidHeaderValue");
        assert_eq!(verdict(&failure, true), Verdict::OtherChecksum);
        assert_eq!(verdict(&failure, false), Verdict::GiveUp);
    }

    #[test]
    fn waits_stay_within_the_backoff_and_end() {
        let policy = Policy::PATIENT;
        for tried in 1..policy.tries {
            for asked in [None, Some(Duration::ZERO)] {
                let wait = policy.wait(tried, asked).unwrap();
                assert!(wait <= policy.backoff.bound(tried), "{tried}: {wait:?}");
            }
        }
        assert_eq!(policy.wait(policy.tries, None), None);
        let longest: Duration = (1..policy.tries).map(|n| policy.backoff.bound(n)).sum();
        assert_eq!(longest.as_secs() / 60, 9, "as the policy says");
    }

    #[test]
    fn a_wait_of_nothing_is_not_obeyed() {
        let waited: Duration = (1..24)
            .filter_map(|tried| Policy::PATIENT.wait(tried, Some(Duration::ZERO)))
            .sum();
        assert!(waited > Duration::from_secs(10), "{waited:?}");
    }

    #[test]
    fn the_service_is_obeyed() {
        let asked = Duration::from_secs(45);
        for _ in 0..50 {
            let wait = Policy::PATIENT.wait(1, Some(asked)).unwrap();
            assert!(wait >= asked && wait <= asked + Duration::from_secs(1));
        }
    }
}
