//! A rule: which requests, which of them, and what happens to those.

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;

use super::Plane;
use crate::operation::Operation;

/// A moment that a rule begins or ends to act at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So long after the rule was added, by the [`Clock`](crate::Clock).
    After(Duration),
    /// This time of the [`Clock`](crate::Clock).
    At(SystemTime),
}

impl From<Duration> for Moment {
    fn from(span: Duration) -> Self {
        Self::After(span)
    }
}

impl From<SystemTime> for Moment {
    fn from(time: SystemTime) -> Self {
        Self::At(time)
    }
}

impl Moment {
    fn time(self, added: SystemTime) -> SystemTime {
        match self {
            Self::After(span) => added.checked_add(span).unwrap_or(added),
            Self::At(time) => time,
        }
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It counts.
    Count,
    Respond {
        status: u16,
        code: String,
        message: Option<String>,
        headers: Vec<(String, String)>,
        late: Duration,
    },
    ResetBefore,
    ResetDuring,
    ResetAfter,
    Stall(Duration),
    StallBody(Duration),
    HalfBody,
    EndlessBody,
    CutConnection(u64),
    /// At least, and at most.
    Delay(Duration, Duration),
    ExpireAccess,
    ExpireToken,
    LoseUpdate,
    FailOperation {
        code: String,
        message: Option<String>,
    },
    CorruptStored,
    CorruptRead,
    Limit {
        requests_per_second: Option<u32>,
        mib_per_second: Option<u32>,
    },
}

impl Act {
    /// The server that it means something on, where that is one.
    pub(super) fn plane(&self) -> Option<Plane> {
        match self {
            Self::ExpireAccess | Self::CorruptStored | Self::CorruptRead => Some(Plane::Blob),
            Self::ExpireToken | Self::FailOperation { .. } => Some(Plane::Arm),
            _ => None,
        }
    }
}

/// A rule: which requests, which of them, and what happens to those.
///
/// Without a limit it is the turn of every request that matches. A rule without an action only
/// counts: [`Faults::hits`](super::Faults::hits) then says how many requests matched.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultRule {
    pub(super) plane: Plane,
    pub(super) operation: Option<Operation>,
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) with_header: Option<String>,
    pub(super) after: u64,
    pub(super) every: u64,
    pub(super) times: u64,
    pub(super) probability: Option<f64>,
    pub(super) seed: u64,
    pub(super) from: Option<Moment>,
    pub(super) until: Option<Moment>,
    pub(super) lasting: Option<Duration>,
    pub(super) act: Act,
}

/// A request, as far as rules look at it.
pub(super) struct Seen<'a> {
    pub(super) plane: Plane,
    pub(super) method: &'a str,
    pub(super) path_and_query: &'a str,
    pub(super) headers: &'a HeaderMap,
    /// Bytes in the body, as far as the head says.
    pub(super) bytes: u64,
    pub(super) now: SystemTime,
}

impl FaultRule {
    /// A rule for every request to one server, without an action yet.
    #[must_use]
    pub fn new(plane: Plane) -> Self {
        Self {
            plane,
            operation: None,
            method: None,
            path: None,
            with_header: None,
            after: 0,
            every: 1,
            times: u64::MAX,
            probability: None,
            seed: 0,
            from: None,
            until: None,
            lasting: None,
            act: Act::Count,
        }
    }

    /// A rule for one operation, on the server that has it.
    ///
    /// ```
    /// use azure_nixos_emulator::fault::FaultRule;
    ///
    /// let rule = FaultRule::on("disks.grantAccess".parse()?).times(1).respond(409, "Conflict");
    /// # Ok::<(), azure_nixos_emulator::UnknownOperation>(())
    /// ```
    #[must_use]
    pub fn on(operation: Operation) -> Self {
        let mut rule = Self::new(operation.plane());
        rule.operation = Some(operation);
        rule
    }

    /// Only requests with this method. Upper and lower case are the same.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_ascii_uppercase());
        self
    }

    /// Only requests whose path and query contain this text. Upper and lower case are the same, as
    /// in the ids of Azure, and `*` stands for any text.
    #[must_use]
    pub fn path_contains(mut self, text: &str) -> Self {
        self.path = Some(text.to_owned());
        self
    }

    /// Only requests that have a header of this name, whatever its value. Upper and lower case are
    /// the same.
    #[must_use]
    pub fn with_header(mut self, name: &str) -> Self {
        self.with_header = Some(name.to_ascii_lowercase());
        self
    }

    /// Lets the first `n` requests that match pass.
    #[must_use]
    pub fn after(mut self, n: u64) -> Self {
        self.after = n;
        self
    }

    /// Acts on one in `n` of the requests that match: the n-th, the 2n-th and so on, counted after
    /// those that [`after`](Self::after) lets pass. 0 is taken as 1.
    #[must_use]
    pub fn every(mut self, n: u64) -> Self {
        self.every = n.max(1);
        self
    }

    /// Acts at most `n` times.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = n;
        self
    }

    /// Acts with this probability (0 to 1). The same seed gives the same decisions for the same
    /// order of requests.
    #[must_use]
    pub fn probability(mut self, probability: f64, seed: u64) -> Self {
        self.probability = Some(probability);
        self.seed(seed)
    }

    /// Where the random numbers of the rule begin: those of [`probability`](Self::probability),
    /// [`delay_between`](Self::delay_between) and of the bits that are flipped. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Requests before this moment do not match: a span after the rule was added, or a time.
    #[must_use]
    pub fn from(mut self, moment: impl Into<Moment>) -> Self {
        self.from = Some(moment.into());
        self
    }

    /// Requests from this moment on do not match: a span after the rule was added, or a time.
    #[must_use]
    pub fn until(mut self, moment: impl Into<Moment>) -> Self {
        self.until = Some(moment.into());
        self
    }

    /// Requests so long after the rule begins to act do not match any more.
    #[must_use]
    pub fn lasting(mut self, span: Duration) -> Self {
        self.lasting = Some(span);
        self
    }

    /// Answers with this status and error code. A status that is no client or server error is
    /// taken as 500.
    #[must_use]
    pub fn respond(mut self, status: u16, code: &str) -> Self {
        self.act = Act::Respond {
            status: if (400..600).contains(&status) {
                status
            } else {
                500
            },
            code: code.to_owned(),
            message: None,
            headers: Vec::new(),
            late: Duration::ZERO,
        };
        self
    }

    /// Adds a header to the answer that [`respond`](Self::respond) set; call it after that.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Act::Respond { headers, .. } = &mut self.act {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// The message of the answer that [`respond`](Self::respond) set, or of the failure that
    /// [`fail_operation`](Self::fail_operation) did; call it after that.
    #[must_use]
    pub fn message(mut self, text: &str) -> Self {
        if let Act::Respond { message, .. } | Act::FailOperation { message, .. } = &mut self.act {
            *message = Some(text.to_owned());
        }
        self
    }

    /// Lets the answer that [`respond`](Self::respond) set come so much later; call it after that. A
    /// page blob that is overloaded answers 500 `OperationTimedOut` after 30 seconds.
    #[must_use]
    pub fn late(mut self, by: Duration) -> Self {
        if let Act::Respond { late, .. } = &mut self.act {
            *late = by;
        }
        self
    }

    /// Breaks the connection before the request is served.
    #[must_use]
    pub fn reset_before(self) -> Self {
        self.acting(Act::ResetBefore)
    }

    /// Breaks the connection when half of the body that the request announces has been read. Nothing
    /// is done.
    #[must_use]
    pub fn reset_during(self) -> Self {
        self.acting(Act::ResetDuring)
    }

    /// Serves the request and loses the answer.
    #[must_use]
    pub fn reset_after(self) -> Self {
        self.acting(Act::ResetAfter)
    }

    /// Serves the request later.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        self.delay_between(delay, delay)
    }

    /// Serves the request later by a random time, each between the two as likely as any other.
    #[must_use]
    pub fn delay_between(self, least: Duration, most: Duration) -> Self {
        self.acting(Act::Delay(least, most.max(least)))
    }

    /// Leaves the request without an answer for this long, then breaks the connection.
    #[must_use]
    pub fn stall(self, stall: Duration) -> Self {
        self.acting(Act::Stall(stall))
    }

    /// Serves the request and sends the head and half of the body; nothing comes for this long,
    /// then the connection breaks. An answer without a body breaks before its head.
    #[must_use]
    pub fn stall_body(self, stall: Duration) -> Self {
        self.acting(Act::StallBody(stall))
    }

    /// Serves the request and breaks the connection after half of the body that the head
    /// announces. An answer without a body breaks before its head.
    #[must_use]
    pub fn half_body(self) -> Self {
        self.acting(Act::HalfBody)
    }

    /// Serves the request and answers with a body that has no end, whatever its own would have been.
    /// It comes as fast as it is read. An answer that cannot have a body is left as it is.
    #[must_use]
    pub fn endless_body(self) -> Self {
        self.acting(Act::EndlessBody)
    }

    /// Cuts a connection when so many bytes have gone over it, both ways together, wherever that is:
    /// in the middle of the TLS handshake, of a record, of a head. What is selected, counted and
    /// drawn by lot are connections then and no requests, so that only the plane and the time can say
    /// which: a rule with a method, a path, a header or an operation matches none.
    #[must_use]
    pub fn cut_connection(self, after: u64) -> Self {
        self.acting(Act::CutConnection(after))
    }

    /// Lets the access of the disk concerned expire, on [`Plane::Blob`].
    #[must_use]
    pub fn expire_access(self) -> Self {
        self.acting(Act::ExpireAccess)
    }

    /// Lets the token of the request expire, on [`Plane::Arm`]: this and every later request with
    /// it is refused, until its sender logs in anew.
    #[must_use]
    pub fn expire_token(self) -> Self {
        self.acting(Act::ExpireToken)
    }

    /// Answers as if all had been done, and does nothing: what was put is not there, what was
    /// deleted stays. Only requests that can be lost match: Put Page on [`Plane::Blob`]; PUT, PATCH
    /// and DELETE on [`Plane::Arm`]. A lost operation succeeds when it is asked after; a lost
    /// template deployment is not known.
    #[must_use]
    pub fn lose_update(self) -> Self {
        self.acting(Act::LoseUpdate)
    }

    /// Accepts a request and lets the operation that it begins fail with this error code when it is
    /// due: `AllocationFailed`, `OSProvisioningTimedOut`. What was to be made is there and `Failed`;
    /// what was to be deleted stays. A machine whose guest is waited for in vain runs all the same: with
    /// a code that begins with `OSProvisioning` everything is done first.
    ///
    /// Only PUT, PATCH, POST and DELETE on [`Plane::Arm`] match. One that is refused, or done when it
    /// is answered, is served as ever.
    #[must_use]
    pub fn fail_operation(self, code: &str) -> Self {
        self.acting(Act::FailOperation {
            code: code.to_owned(),
            message: None,
        })
    }

    /// Stores a Put Page with one bit flipped. The answer is that of the bytes that were sent,
    /// checksum included. Only such requests match.
    #[must_use]
    pub fn corrupt_stored(self) -> Self {
        self.acting(Act::CorruptStored)
    }

    /// Answers a Get Blob with one bit flipped. A checksum in the answer is that of what is stored.
    /// Only such requests match.
    #[must_use]
    pub fn corrupt_read(self) -> Self {
        self.acting(Act::CorruptRead)
    }

    /// Refuses what is above so many requests a second, as the service does: with 503
    /// `ServerBusy` on [`Plane::Blob`], with 429 and `Retry-After` on [`Plane::Arm`]. One second's
    /// worth may come at once. Goes together with [`limit_bandwidth`](Self::limit_bandwidth).
    #[must_use]
    pub fn limit_requests(self, per_second: u32) -> Self {
        let mib_per_second = match self.act {
            Act::Limit { mib_per_second, .. } => mib_per_second,
            _ => None,
        };
        self.acting(Act::Limit {
            requests_per_second: Some(per_second),
            mib_per_second,
        })
    }

    /// The same for the MiB a second in the bodies of requests. One second's worth, and at least
    /// one Put Page of 4 MiB, may come at once.
    #[must_use]
    pub fn limit_bandwidth(self, mib_per_second: u32) -> Self {
        let requests_per_second = match self.act {
            Act::Limit {
                requests_per_second,
                ..
            } => requests_per_second,
            _ => None,
        };
        self.acting(Act::Limit {
            requests_per_second,
            mib_per_second: Some(mib_per_second),
        })
    }

    pub(super) fn acting(mut self, act: Act) -> Self {
        self.act = act;
        self
    }

    pub(super) fn matches(&self, seen: &Seen<'_>, added: SystemTime) -> bool {
        self.plane == seen.plane
            && !matches!(self.act, Act::CutConnection(_))
            && self
                .method
                .as_deref()
                .is_none_or(|m| m.eq_ignore_ascii_case(seen.method))
            && self
                .path
                .as_deref()
                .is_none_or(|text| contains(seen.path_and_query, text))
            && self
                .with_header
                .as_deref()
                .is_none_or(|name| seen.headers.contains_key(name))
            && self.is_its_time(seen.now, added)
            && self.is_its_operation(seen)
    }

    /// Whether it is about connections, and about those of this server now.
    pub(super) fn cuts(&self, plane: Plane, now: SystemTime, added: SystemTime) -> Option<u64> {
        let Act::CutConnection(after) = self.act else {
            return None;
        };
        let is_about_requests = self.operation.is_some()
            || self.method.is_some()
            || self.path.is_some()
            || self.with_header.is_some();
        (self.plane == plane && !is_about_requests && self.is_its_time(now, added)).then_some(after)
    }

    fn is_its_time(&self, now: SystemTime, added: SystemTime) -> bool {
        let from = self.from.map_or(added, |moment| moment.time(added));
        (self.from.is_none() || now >= from)
            && self.until.is_none_or(|moment| now < moment.time(added))
            && self
                .lasting
                .is_none_or(|span| from.checked_add(span).is_none_or(|end| now < end))
    }

    fn is_its_operation(&self, seen: &Seen<'_>) -> bool {
        let needed = match self.act {
            Act::LoseUpdate if seen.plane == Plane::Arm => {
                if !matches!(seen.method, "PUT" | "PATCH" | "DELETE") {
                    return false;
                }
                None
            }
            Act::LoseUpdate => Some(Operation::PUT_PAGE),
            Act::FailOperation { .. }
                if !matches!(seen.method, "PUT" | "PATCH" | "POST" | "DELETE") =>
            {
                return false;
            }
            // One that clears has no bit that could flip.
            Act::CorruptStored if seen.bytes == 0 => return false,
            Act::CorruptStored => Some(Operation::PUT_PAGE),
            Act::CorruptRead => Some(Operation::GET_BLOB),
            _ => None,
        };
        if needed.is_none() && self.operation.is_none() {
            return true;
        }
        let asked = Operation::of_request(seen.plane, seen.method, seen.path_and_query);
        needed.is_none_or(|needed| asked == Some(needed))
            && self.operation.is_none_or(|named| asked == Some(named))
    }
}

/// Whether a text contains a pattern, without case; `*` in the pattern stands for any text.
fn contains(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    let mut rest = text.as_str();
    pattern.split('*').all(|piece| match rest.find(piece) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_and_in_any_case() {
        let path = "/subscriptions/1/resourceGroups/RG/providers/Microsoft.Compute/disks/d?a=b";
        for pattern in [
            "",
            "/DISKS/d",
            "resourcegroups/*/disks/d",
            "*?a=b",
            "/disks/*",
        ] {
            assert!(contains(path, pattern), "{pattern}");
        }
        for pattern in [
            "/images/",
            "disks/*/beginGetAccess",
            "disks/*resourceGroups",
        ] {
            assert!(!contains(path, pattern), "{pattern}");
        }
    }

    #[test]
    fn a_rule_acts_in_its_time_only() {
        let added = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let second = Duration::from_secs(1);
        let acts = |rule: &FaultRule| -> Vec<u32> {
            (0..10)
                .filter(|n| {
                    let seen = Seen {
                        plane: Plane::Arm,
                        method: "GET",
                        headers: &HeaderMap::new(),
                        path_and_query: "/",
                        bytes: 0,
                        now: added + second * *n,
                    };
                    rule.matches(&seen, added)
                })
                .collect()
        };
        let rule = || FaultRule::new(Plane::Arm);
        assert_eq!(acts(&rule().from(second * 7)), [7, 8, 9]);
        assert_eq!(acts(&rule().until(second * 2)), [0, 1]);
        assert_eq!(acts(&rule().lasting(second * 3)), [0, 1, 2]);
        assert_eq!(acts(&rule().from(second * 4).lasting(second * 2)), [4, 5]);
        assert_eq!(
            acts(&rule().from(added + second * 3).until(second * 5)),
            [3, 4]
        );
        assert_eq!(acts(&rule().until(added)), [] as [u32; 0]);
    }
}
