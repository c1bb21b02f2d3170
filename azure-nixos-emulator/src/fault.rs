//! Faults on demand: what real networks and the real service do now and then, by rule.
//!
//! A [`Faults`] is shared by the Resource Manager and the blob server and can be changed while
//! they run. Before a request is served, [`Faults::before`] looks for the first rule whose turn
//! it is; what it answers is carried out by the server. Rules come from tests ([`FaultRule`]) or
//! from a document, TOML or JSON ([`FaultRule::from_toml`], [`FaultRule::from_json`]).
//!
//! ```
//! use azure_nixos_emulator::fault::{FaultAction, FaultRule, Faults, Plane};
//!
//! let faults = Faults::default();
//! let busy = faults.add(
//!     FaultRule::new(Plane::Blob)
//!         .method("PUT")
//!         .path_contains("comp=page")
//!         .times(2)
//!         .respond(503, "ServerBusy"),
//! );
//! for _ in 0..5 {
//!     faults.before(Plane::Blob, "PUT", "/d/abcd?comp=page");
//! }
//! assert_eq!(faults.hits(busy), 2);
//! ```

mod carry;
mod cut;
mod document;
mod limit;
mod rule;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::http::HeaderMap;

use crate::clock::Clock;

pub(crate) use carry::{Harm, deliver, reset, reset_during, spoil};
pub(crate) use cut::Cut;
pub use document::ParseFaultError;
use limit::{Bucket, Limits};
use rule::{Act, Seen};
pub use rule::{FaultRule, Moment};

/// Bytes in the largest Put Page: a bandwidth limit lets at least one of these through at once.
const LARGEST_WRITE: f64 = 4.0 * 1024.0 * 1024.0;

/// Which of the two servers a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Plane {
    /// Resource Manager and the login endpoint.
    Arm,
    /// The page blobs of the disks.
    Blob,
}

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultAction {
    /// Nothing: it is served.
    None,
    /// It is answered with this status and error code and not served.
    Respond {
        /// The HTTP status, 400 to 599.
        status: u16,
        /// The service's error code (`ServerBusy`, `TooManyRequests`).
        code: String,
        /// The message; `None` for the one that goes with the code.
        message: Option<String>,
        /// Further headers (`Retry-After`).
        headers: Vec<(String, String)>,
        /// How long the answer takes.
        late: Duration,
    },
    /// The connection breaks before anything is done.
    ResetBefore,
    /// The connection breaks when half of the body has been read. Nothing is done.
    ResetDuring,
    /// The request is carried out, then the connection breaks instead of the answer.
    ResetAfter,
    /// Nothing is read and nothing answered for this long, then the connection breaks.
    Stall(Duration),
    /// It is carried out; the head and half of the body come, then nothing for this long, then the
    /// connection breaks.
    StallBody(Duration),
    /// It is carried out; the connection breaks after half of the body.
    HalfBody,
    /// It is carried out and answered with a body that has no end.
    EndlessBody,
    /// It is served this much later.
    Delay(Duration),
    /// The disk's access expires now, for this and every later request, until it is granted
    /// again. Means something on [`Plane::Blob`] only.
    ExpireAccess,
    /// The token of the request expires now, for this and every later request with it. Means
    /// something on [`Plane::Arm`] only.
    ExpireToken,
    /// It is answered as if it had been carried out, and is not.
    LoseUpdate,
    /// It is accepted, and the operation that it begins fails. Means something on [`Plane::Arm`]
    /// only.
    FailOperation {
        /// The error code (`AllocationFailed`).
        code: String,
        /// The message; `None` for the one that goes with the code.
        message: Option<String>,
    },
    /// What it writes is stored with this bit flipped, counted modulo the length.
    CorruptStored(u64),
    /// What it reads is answered with this bit flipped, counted modulo the length.
    CorruptRead(u64),
}

/// Names a rule that was added, to ask for its hits or take it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

#[derive(Debug)]
struct Active {
    id: FaultId,
    rule: FaultRule,
    added: SystemTime,
    matched: u64,
    hits: u64,
    /// In the bodies of the requests that it acted on.
    bytes: u64,
    random: u64,
    limits: Limits,
}

impl Active {
    /// Whether this request is one the rule acts on. Advances the counters of matches, never
    /// those of hits: an earlier rule may act instead.
    fn is_its_turn(&mut self) -> bool {
        self.matched += 1;
        let chance = self.rule.probability.is_none_or(|probability| {
            // 53 random bits make every f64 in [0, 1) of that spacing equally likely.
            let unit = (split_mix(&mut self.random) >> 11) as f64 / (1u64 << 53) as f64;
            unit < probability
        });
        self.hits < self.rule.times
            && self.matched > self.rule.after
            && (self.matched - self.rule.after).is_multiple_of(self.rule.every)
            && chance
    }

    /// What it does to a request whose turn it is.
    fn act(&mut self, seen: &Seen<'_>) -> FaultAction {
        match &self.rule.act {
            Act::Count => FaultAction::None,
            Act::Respond {
                status,
                code,
                message,
                headers,
                late,
            } => FaultAction::Respond {
                status: *status,
                code: code.clone(),
                message: message.clone(),
                headers: headers.clone(),
                late: *late,
            },
            // It is about connections, and no request matches it.
            Act::CutConnection(_) => FaultAction::None,
            Act::ResetBefore => FaultAction::ResetBefore,
            Act::ResetDuring => FaultAction::ResetDuring,
            Act::ResetAfter => FaultAction::ResetAfter,
            Act::Stall(time) => FaultAction::Stall(*time),
            Act::StallBody(time) => FaultAction::StallBody(*time),
            Act::HalfBody => FaultAction::HalfBody,
            Act::EndlessBody => FaultAction::EndlessBody,
            Act::Delay(least, most) => {
                let spread = u64::try_from((*most - *least).as_micros()).unwrap_or(u64::MAX);
                let random = match spread {
                    0 => 0,
                    spread => split_mix(&mut self.random) % spread.saturating_add(1),
                };
                FaultAction::Delay(*least + Duration::from_micros(random))
            }
            Act::ExpireAccess => FaultAction::ExpireAccess,
            Act::ExpireToken => FaultAction::ExpireToken,
            Act::LoseUpdate => FaultAction::LoseUpdate,
            Act::FailOperation { code, message } => FaultAction::FailOperation {
                code: code.clone(),
                message: message.clone(),
            },
            Act::CorruptStored => FaultAction::CorruptStored(split_mix(&mut self.random)),
            Act::CorruptRead => FaultAction::CorruptRead(split_mix(&mut self.random)),
            Act::Limit { .. } => self
                .limits
                .refuse(seen.plane, seen.bytes, Instant::now())
                .unwrap_or(FaultAction::None),
        }
    }
}

/// SplitMix64: small, seedable, and good enough to decide on faults.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Default)]
struct State {
    clock: Clock,
    next_id: u64,
    rules: Vec<Active>,
    bandwidth: Option<Bucket>,
    requests: Option<Bucket>,
}

/// The rules and limits in force. Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// No rules, no limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with the clock that the times of rules go by.
    pub(crate) fn with_clock(clock: Clock) -> Self {
        Self(Arc::new(Mutex::new(State {
            clock,
            ..State::default()
        })))
    }

    /// Adds a rule behind those that are there. Of several rules whose turn it is, the first acts.
    pub fn add(&self, rule: FaultRule) -> FaultId {
        self.state().add(rule)
    }

    /// Takes all rules away and adds these, with no request in between.
    pub fn replace(&self, rules: impl IntoIterator<Item = FaultRule>) -> Vec<FaultId> {
        let mut state = self.state();
        state.rules.clear();
        rules.into_iter().map(|rule| state.add(rule)).collect()
    }

    /// Takes a rule away. One that is gone already is fine.
    pub fn remove(&self, id: FaultId) {
        self.state().rules.retain(|active| active.id != id);
    }

    /// Takes all rules and limits away.
    pub fn clear(&self) {
        let mut state = self.state();
        state.rules.clear();
        state.bandwidth = None;
        state.requests = None;
    }

    /// How often the rule acted, or how many requests matched if it has no action. 0 for a rule
    /// that is gone.
    #[must_use]
    pub fn hits(&self, id: FaultId) -> u64 {
        self.counted(id, |active| active.hits)
    }

    /// How many bytes the requests that the rule acted on announced to have in their bodies. 0 for a
    /// rule that is gone.
    #[must_use]
    pub fn bytes(&self, id: FaultId) -> u64 {
        self.counted(id, |active| active.bytes)
    }

    fn counted(&self, id: FaultId, count: impl FnOnce(&Active) -> u64) -> u64 {
        let state = self.state();
        let found = state.rules.iter().find(|active| active.id == id);
        found.map_or(0, count)
    }

    /// Caps what the blob plane takes in, in MiB/s; `None` lifts the cap. What is above is
    /// refused with Azure's 503 `ServerBusy`. One second's worth, and at least one Put Page of
    /// 4 MiB, may come at once.
    pub fn limit_bandwidth(&self, mib_per_second: Option<u32>) {
        self.state().bandwidth = mib_per_second.map(|mib| Bucket::of_bytes(mib, Instant::now()));
    }

    /// Caps the requests a second on the blob plane; `None` lifts the cap. A standard page blob of
    /// Azure takes 500. What is above is refused with 503 `ServerBusy`.
    pub fn limit_requests(&self, per_second: Option<u32>) {
        self.state().requests =
            per_second.map(|rate| Bucket::new(f64::from(rate), 1.0, Instant::now()));
    }

    /// What happens to this request. Counts it, so each request may ask only once.
    #[must_use]
    pub fn before(&self, plane: Plane, method: &str, path_and_query: &str) -> FaultAction {
        self.before_with(plane, method, path_and_query, &HeaderMap::new(), 0)
    }

    /// The same, with the headers of the request and the bytes that its body has.
    pub(crate) fn before_with(
        &self,
        plane: Plane,
        method: &str,
        path_and_query: &str,
        headers: &HeaderMap,
        bytes: u64,
    ) -> FaultAction {
        let mut state = self.state();
        let mut chosen = FaultAction::None;
        if state.rules.is_empty() {
            return chosen;
        }
        let seen = Seen {
            plane,
            method,
            path_and_query,
            headers,
            bytes,
            now: state.clock.now(),
        };
        for active in &mut state.rules {
            if !active.rule.matches(&seen, active.added) || !active.is_its_turn() {
                continue;
            }
            let acts = if active.rule.act == Act::Count {
                true
            } else if chosen == FaultAction::None {
                chosen = active.act(&seen);
                // A limit that is not reached has done nothing.
                chosen != FaultAction::None
            } else {
                false
            };
            if acts {
                active.hits += 1;
                active.bytes += bytes;
            }
        }
        chosen
    }

    /// After how many bytes a connection that was just made is to be cut. Counts it.
    pub(crate) fn cut(&self, plane: Plane) -> Option<u64> {
        let mut state = self.state();
        let now = state.clock.now();
        for active in &mut state.rules {
            let Some(after) = active.rule.cuts(plane, now, active.added) else {
                continue;
            };
            if active.is_its_turn() {
                active.hits += 1;
                return Some(after);
            }
        }
        None
    }

    /// Whether the cap on requests lets one more through now.
    pub(crate) fn admit_request(&self) -> bool {
        self.state()
            .requests
            .as_mut()
            .is_none_or(|bucket| bucket.take(1.0, Instant::now()))
    }

    /// Whether the cap on bandwidth lets this many bytes through now.
    pub(crate) fn admit_bytes(&self, bytes: u64) -> bool {
        self.state()
            .bandwidth
            .as_mut()
            .is_none_or(|bucket| bucket.take(bytes as f64, Instant::now()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, rule: FaultRule) -> FaultId {
        let id = FaultId(self.next_id);
        self.next_id += 1;
        self.rules.push(Active {
            id,
            added: self.clock.now(),
            matched: 0,
            hits: 0,
            bytes: 0,
            random: rule.seed,
            limits: Limits::of(&rule.act, Instant::now()),
            rule,
        });
        id
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.state().rules).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: (&str, &str) = ("PUT", "/7/abcd?sv=1&comp=page");

    fn decisions(rule: FaultRule, requests: usize) -> Vec<bool> {
        let faults = Faults::new();
        faults.add(rule);
        (0..requests)
            .map(|_| faults.before(Plane::Blob, PAGE.0, PAGE.1) != FaultAction::None)
            .collect()
    }

    fn positions(of: &[bool]) -> Vec<usize> {
        (1..)
            .zip(of)
            .filter(|(_, hit)| **hit)
            .map(|p| p.0)
            .collect()
    }

    #[test]
    fn the_limits_of_a_rule_combine() {
        let rule = || FaultRule::new(Plane::Blob).reset_before();
        assert_eq!(positions(&decisions(rule(), 3)), [1, 2, 3]);
        assert_eq!(positions(&decisions(rule().times(2), 9)), [1, 2]);
        assert_eq!(positions(&decisions(rule().after(3), 5)), [4, 5]);
        assert_eq!(positions(&decisions(rule().every(3), 9)), [3, 6, 9]);
        assert_eq!(
            positions(&decisions(rule().after(1).every(2).times(2), 12)),
            [3, 5]
        );
    }

    #[test]
    fn a_rule_sees_only_what_it_names() {
        let faults = Faults::new();
        let id = faults.add(
            FaultRule::new(Plane::Blob)
                .method("put")
                .path_contains("comp=page")
                .respond(503, "ServerBusy")
                .header("Retry-After", "1"),
        );
        for (plane, method, path) in [
            (Plane::Arm, "PUT", PAGE.1),
            (Plane::Blob, "GET", PAGE.1),
            (Plane::Blob, "PUT", "/7/abcd?comp=lease"),
        ] {
            assert_eq!(faults.before(plane, method, path), FaultAction::None);
        }
        assert_eq!(
            faults.before(Plane::Blob, PAGE.0, PAGE.1),
            FaultAction::Respond {
                status: 503,
                code: "ServerBusy".into(),
                message: None,
                headers: vec![("Retry-After".into(), "1".into())],
                late: Duration::ZERO,
            }
        );
        assert_eq!(faults.hits(id), 1);
        faults.remove(id);
        assert_eq!(
            faults.before(Plane::Blob, PAGE.0, PAGE.1),
            FaultAction::None
        );
        assert_eq!(faults.hits(id), 0);
    }

    #[test]
    fn the_first_rule_acts_and_a_counter_never_shadows() {
        let faults = Faults::new();
        let counter = faults.add(FaultRule::new(Plane::Blob));
        let first = faults.add(FaultRule::new(Plane::Blob).times(1).reset_before());
        let second = faults.add(FaultRule::new(Plane::Blob).times(1).reset_after());
        let seen: Vec<_> = (0..3)
            .map(|_| faults.before(Plane::Blob, PAGE.0, PAGE.1))
            .collect();
        assert_eq!(
            seen,
            [
                FaultAction::ResetBefore,
                FaultAction::ResetAfter,
                FaultAction::None
            ]
        );
        assert_eq!(
            [counter, first, second].map(|id| faults.hits(id)),
            [3, 1, 1]
        );
    }

    #[test]
    fn chance_is_about_right_and_repeats_with_its_seed() {
        let rule = |seed| {
            FaultRule::new(Plane::Blob)
                .probability(0.25, seed)
                .reset_before()
        };
        let hits = decisions(rule(7), 10_000).iter().filter(|h| **h).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert_eq!(decisions(rule(7), 100), decisions(rule(7), 100));
        assert_ne!(decisions(rule(7), 100), decisions(rule(8), 100));
    }

    #[test]
    fn limits_are_changed_and_lifted_while_running() {
        let faults = Faults::new();
        assert!((0..1000).all(|_| faults.admit_request() && faults.admit_bytes(u64::MAX)));
        faults.limit_requests(Some(5));
        faults.limit_bandwidth(Some(1));
        assert_eq!((0..50).filter(|_| faults.admit_request()).count(), 5);
        assert!(faults.admit_bytes(4 << 20));
        assert!(!faults.admit_bytes(4 << 20));
        faults.clear();
        assert!((0..1000).all(|_| faults.admit_request() && faults.admit_bytes(u64::MAX)));
    }
}
