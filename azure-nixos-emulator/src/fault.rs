//! Faults on demand: what real networks and the real service do now and then, by rule.
//!
//! A [`Faults`] is shared by the Resource Manager and the blob server and can be changed while
//! they run. Before a request is served, [`Faults::before`] looks for the first rule whose turn
//! it is; what it answers is carried out by the server. Rules come from tests
//! ([`FaultRule`]) or from text, one rule a line ([`Faults::add_text`]).
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

mod limit;
mod text;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;

use limit::Bucket;

pub use text::ParseFaultError;

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
        /// Further headers (`Retry-After`).
        headers: Vec<(String, String)>,
    },
    /// The connection breaks before anything is done.
    ResetBefore,
    /// The request is carried out, then the connection breaks instead of the answer.
    ResetAfter,
    /// Nothing is read and nothing answered for this long, then the connection breaks.
    Stall(Duration),
    /// It is served this much later.
    Delay(Duration),
    /// The disk's access expires now, for this and every later request, until it is granted
    /// again. Means something on [`Plane::Blob`] only.
    ExpireAccess,
}

/// A rule: which requests, which of them, and what happens to those.
///
/// Without a limit it is the turn of every request that matches. A rule without an action only
/// counts: [`Faults::hits`] then says how many requests matched.
#[derive(Clone, Debug)]
pub struct FaultRule {
    plane: Plane,
    method: Option<String>,
    path_contains: Option<String>,
    after: u64,
    every: u64,
    times: u64,
    probability: Option<(f64, u64)>,
    action: FaultAction,
}

impl FaultRule {
    /// A rule for every request to one server, without an action yet.
    #[must_use]
    pub fn new(plane: Plane) -> Self {
        Self {
            plane,
            method: None,
            path_contains: None,
            after: 0,
            every: 1,
            times: u64::MAX,
            probability: None,
            action: FaultAction::None,
        }
    }

    /// Only requests with this method. Upper and lower case are the same.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_ascii_uppercase());
        self
    }

    /// Only requests whose path and query contain this text, literally.
    #[must_use]
    pub fn path_contains(mut self, text: &str) -> Self {
        self.path_contains = Some(text.to_owned());
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
        self.probability = Some((probability, seed));
        self
    }

    /// Answers with this status and error code. A status that is no client or server error is
    /// taken as 500.
    #[must_use]
    pub fn respond(mut self, status: u16, code: &str) -> Self {
        self.action = FaultAction::Respond {
            status: if (400..600).contains(&status) {
                status
            } else {
                500
            },
            code: code.to_owned(),
            headers: Vec::new(),
        };
        self
    }

    /// Adds a header to the answer that [`respond`](Self::respond) set; call it after that.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let FaultAction::Respond { headers, .. } = &mut self.action {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Breaks the connection before the request is served.
    #[must_use]
    pub fn reset_before(mut self) -> Self {
        self.action = FaultAction::ResetBefore;
        self
    }

    /// Serves the request and loses the answer.
    #[must_use]
    pub fn reset_after(mut self) -> Self {
        self.action = FaultAction::ResetAfter;
        self
    }

    /// Serves the request later.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.action = FaultAction::Delay(delay);
        self
    }

    /// Leaves the request without an answer for this long, then breaks the connection.
    #[must_use]
    pub fn stall(mut self, stall: Duration) -> Self {
        self.action = FaultAction::Stall(stall);
        self
    }

    /// Lets the access of the disk concerned expire.
    #[must_use]
    pub fn expire_access(mut self) -> Self {
        self.action = FaultAction::ExpireAccess;
        self
    }

    fn matches(&self, plane: Plane, method: &str, path_and_query: &str) -> bool {
        self.plane == plane
            && self
                .method
                .as_deref()
                .is_none_or(|m| m.eq_ignore_ascii_case(method))
            && self
                .path_contains
                .as_deref()
                .is_none_or(|text| path_and_query.contains(text))
    }
}

/// Names a rule that was added, to ask for its hits or take it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(u64);

#[derive(Debug)]
struct Active {
    id: FaultId,
    rule: FaultRule,
    matched: u64,
    hits: u64,
    random: u64,
}

impl Active {
    /// Whether this request is one the rule acts on. Advances the counters of matches, never
    /// those of hits: an earlier rule may act instead.
    fn is_its_turn(&mut self) -> bool {
        self.matched += 1;
        let chance = self.rule.probability.is_none_or(|(probability, _)| {
            // 53 random bits make every f64 in [0, 1) of that spacing equally likely.
            let unit = (split_mix(&mut self.random) >> 11) as f64 / (1u64 << 53) as f64;
            unit < probability
        });
        self.hits < self.rule.times
            && self.matched > self.rule.after
            && (self.matched - self.rule.after).is_multiple_of(self.rule.every)
            && chance
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

    /// Adds a rule behind those that are there. Of several rules whose turn it is, the first acts.
    pub fn add(&self, rule: FaultRule) -> FaultId {
        let mut state = self.state();
        let id = FaultId(state.next_id);
        state.next_id += 1;
        let random = rule.probability.map_or(0, |(_, seed)| seed);
        state.rules.push(Active {
            id,
            rule,
            matched: 0,
            hits: 0,
            random,
        });
        id
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
        self.state()
            .rules
            .iter()
            .find(|active| active.id == id)
            .map_or(0, |active| active.hits)
    }

    /// Caps what the blob plane takes in, in MiB/s; `None` lifts the cap. What is above is
    /// refused with Azure's 503 `ServerBusy`. One second's worth, and at least one Put Page of
    /// 4 MiB, may come at once.
    pub fn limit_bandwidth(&self, mib_per_second: Option<u32>) {
        self.state().bandwidth = mib_per_second.map(|mib| {
            Bucket::new(
                f64::from(mib) * 1024.0 * 1024.0,
                LARGEST_WRITE,
                Instant::now(),
            )
        });
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
        let mut chosen = FaultAction::None;
        for active in &mut self.state().rules {
            if !active.rule.matches(plane, method, path_and_query) {
                continue;
            }
            let turn = active.is_its_turn();
            if active.rule.action == FaultAction::None {
                active.hits += u64::from(turn);
            } else if turn && chosen == FaultAction::None {
                active.hits += 1;
                chosen = active.rule.action.clone();
            }
        }
        chosen
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

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.state().rules).finish()
    }
}

/// The connection is to break instead of an answer. hyper drops the connection when its service
/// fails with this.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is broken on purpose")]
pub(crate) struct ConnectionReset;

/// An answer that stands for a broken connection.
///
/// hyper gives up the connection when the body fails before the head has been flushed, so the
/// client sees it break without a byte of an answer. An answer to HEAD has no body that could
/// fail: the server must also pass every answer through [`deliver`].
pub(crate) fn reset() -> Response {
    let broken = futures::stream::once(async { Err::<Bytes, _>(ConnectionReset) });
    let mut response = Response::new(Body::from_stream(broken));
    response.extensions_mut().insert(ConnectionReset);
    response
}

/// What the hyper service of a server returns for an answer of the router.
pub(crate) fn deliver(response: Response) -> Result<Response, ConnectionReset> {
    match response.extensions().get::<ConnectionReset>() {
        Some(reset) => Err(*reset),
        None => Ok(response),
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
                headers: vec![("Retry-After".into(), "1".into())],
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
