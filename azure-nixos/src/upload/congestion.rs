//! How much may be on its way at once: a state machine without a clock of its own, and the
//! [`Gate`] that makes senders wait for it.
//!
//! Two bounds work together. The first is learnt from success: bytes in flight are kept below the
//! measured delivery rate times [`DELAY`], so that on a slow link one request has the link for
//! itself and is answered in time, and below twice the rate times the shortest answer of late: what
//! is more waits in queues and makes nothing faster. The second is learnt from trouble: any sign of
//! congestion (503, 500, 429, a reset, silence) shrinks the limit by [`SHRINK`], once per
//! [`Controller::recovery`], and it grows back a request at a time. At the start the limit doubles
//! with every round for as long as the rate grows with it.
//!
//! How much goes into one request is bounded too ([`Controller::part`]). A full range takes a link of
//! 2 Mbit/s 17 s, in which much can go wrong, and all of it would go again. So a request is what the
//! link carries in [`DELAY`], and half of that after a connection that broke.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::failure::How;
use super::plan::{LONGEST_RANGE, PAGE};

/// One full request.
const REQUEST: u64 = LONGEST_RANGE as u64;
/// The size of a request while nothing is known of the link.
const FIRST_PART: u64 = 1 << 20;
/// However slow or broken a link is, a request carries so much.
const LEAST_PART: u64 = 64 << 10;
/// So many requests have to arrive before they grow again.
const STEADY: u32 = 8;
/// In flight at the start.
const START: u64 = 2 * FIRST_PART;
/// A request costs the service at least as much as so many bytes (60 MiB and 500 requests a
/// second), and small ones fill the limit accordingly.
const LEAST_COST: u64 = 128 << 10;
/// Connections that may be open at once; beyond it nothing has been seen to gain.
const MOST_REQUESTS: usize = 64;
/// How long what is in flight may take at the measured rate.
const DELAY: Duration = Duration::from_secs(2);
/// So much may be in flight however fast the answers are: a few full requests hide each other's
/// turns.
const PLENTY: u64 = 4 * REQUEST;
/// For how long the shortest answer is remembered, at least; twice as long at most.
const MEMORY: Duration = Duration::from_secs(15);
/// What is left of the limit after congestion.
const SHRINK: f64 = 0.6;
/// The rate must grow by this factor for a doubled limit to count as a gain.
const GAIN: f64 = 1.15;
/// The slowest link that is believed in from the start. When even that was too much, the belief
/// is halved with every deadline that is missed.
const SLOWEST: f64 = 64.0 * 1024.0;
/// What an attempt may take besides sending: connecting, and the 30 s after which the service
/// itself gives up with OperationTimedOut.
const GRACE: Duration = Duration::from_secs(60);
/// Longer than this, no answer is waited for.
const LONGEST_DEADLINE: Duration = Duration::from_secs(3600);

/// How many requests to have in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Concurrency {
    /// What the network and the service can take, measured all the time. The default.
    #[default]
    Auto,
    /// Always so many, at least one, as far as memory allows.
    Fixed(usize),
}

/// The state machine. Time is passed in.
#[derive(Debug)]
pub(crate) struct Controller {
    mode: Concurrency,
    /// Bytes that may be in flight.
    limit: u64,
    most: u64,
    in_flight: u64,
    requests: usize,
    /// Acknowledged bytes per second, smoothed over rounds; 0 while unknown.
    rate: f64,
    /// The best rate of the start phase; `None` when that is over.
    best: Option<f64>,
    flat_rounds: u32,
    round_began: Option<Instant>,
    /// When the last request ended.
    idle_since: Option<Instant>,
    round_bytes: u64,
    /// Whether somebody had to wait in this round: without that, more room gains nothing.
    was_full: bool,
    shrunk_until: Option<Instant>,
    /// Nothing starts before: the service asked for it.
    quiet_until: Option<Instant>,
    /// The speed below which a link is given up on.
    slowest: f64,
    last_answer: Duration,
    fastest: Fastest,
    /// The most that a request carries, given how many of them broke.
    part: u64,
    /// How many of that size have arrived since it changed.
    steady: u32,
}

impl Controller {
    /// `most` is the memory for ranges.
    pub(crate) fn new(mode: Concurrency, most: u64) -> Self {
        Self {
            mode,
            limit: START,
            most: most.max(REQUEST),
            in_flight: 0,
            requests: 0,
            rate: 0.0,
            best: Some(0.0),
            flat_rounds: 0,
            round_began: None,
            idle_since: None,
            round_bytes: 0,
            was_full: false,
            shrunk_until: None,
            quiet_until: None,
            slowest: SLOWEST,
            last_answer: Duration::ZERO,
            fastest: Fastest::default(),
            part: REQUEST,
            steady: 0,
        }
    }

    /// How many bytes the next request should carry at most: a multiple of the page size.
    pub(crate) fn part(&self) -> u64 {
        let in_time = if self.rate > 0.0 {
            in_time(self.rate, DELAY)
        } else {
            FIRST_PART
        };
        (self.part.min(in_time) / PAGE * PAGE).clamp(LEAST_PART, REQUEST)
    }

    /// The limit is never less: a full request, and on a slow link two small ones, so that the
    /// second is on its way while the first is answered.
    fn least(&self) -> u64 {
        (2 * self.part()).min(REQUEST)
    }

    fn cost(bytes: u64) -> u64 {
        bytes.max(LEAST_COST)
    }

    /// Whether a request of this size may start; if so it has.
    pub(crate) fn try_start(&mut self, now: Instant, bytes: u64) -> bool {
        if self.quiet_until.is_some_and(|until| now < until) {
            return false;
        }
        let room = match self.mode {
            Concurrency::Fixed(requests) => self.requests < requests.max(1),
            Concurrency::Auto => {
                // One is always allowed: a limit may be smaller than a range.
                self.requests == 0
                    || (self.requests < MOST_REQUESTS
                        && self.in_flight + Self::cost(bytes) <= self.limit)
            }
        };
        if room {
            if self.requests == 0 {
                // Time in which there was nothing to send says nothing about the link.
                match (self.round_began, self.idle_since) {
                    (Some(began), Some(since)) => {
                        self.round_began = Some(began + now.saturating_duration_since(since));
                    }
                    _ => self.next_round(now),
                }
            }
            self.in_flight += Self::cost(bytes);
            self.requests += 1;
        } else {
            self.was_full = true;
        }
        room
    }

    /// A request is over, in whatever way.
    pub(crate) fn ended(&mut self, now: Instant, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(Self::cost(bytes));
        self.requests = self.requests.saturating_sub(1);
        self.idle_since = Some(now);
    }

    /// The service has acknowledged a range, `took` after it was begun.
    pub(crate) fn delivered(&mut self, now: Instant, bytes: u64, took: Duration) {
        self.last_answer = took;
        self.fastest.answer(now, took);
        self.round_bytes += bytes;
        if self.part < REQUEST && bytes >= self.part() {
            self.steady += 1;
            if self.steady >= STEADY {
                self.part = (self.part * 2).min(REQUEST);
                self.steady = 0;
            }
        }
        let Some(began) = self.round_began else {
            return;
        };
        let lasted = now.saturating_duration_since(began);
        // A round is over when a limit's worth has arrived. Many tiny ranges never get there.
        if self.round_bytes < self.limit && lasted < DELAY {
            return;
        }
        #[allow(clippy::cast_precision_loss, reason = "a measurement")]
        let rate = self.round_bytes as f64 / lasted.as_secs_f64().max(1e-6);
        self.rate = if self.was_full && self.rate > 0.0 {
            0.5 * self.rate + 0.5 * rate
        } else {
            // With room to spare it was the source that was slow, not the link.
            self.rate.max(rate)
        };
        let grow = self.was_full && self.shrunk_until.is_none_or(|until| now >= until);
        self.next_round(now);
        if grow {
            self.grow(rate);
        }
        self.bound();
    }

    fn next_round(&mut self, now: Instant) {
        self.round_began = Some(now);
        self.round_bytes = 0;
        self.was_full = false;
    }

    fn grow(&mut self, rate: f64) {
        match self.best {
            Some(best) if rate > best * GAIN => {
                self.best = Some(rate);
                self.flat_rounds = 0;
                self.limit *= 2;
            }
            // One flat round may be chance.
            Some(_) if self.flat_rounds == 0 => self.flat_rounds = 1,
            Some(_) => self.best = None,
            None => self.limit += REQUEST,
        }
    }

    /// Keeps the limit where it makes sense.
    fn bound(&mut self) {
        let mut most = self.most;
        if self.rate > 0.0 {
            let unqueued = in_time(self.rate, 2 * self.fastest.get()).max(PLENTY);
            most = most.min(in_time(self.rate, DELAY).max(self.least()).min(unqueued));
        }
        self.limit = self.limit.clamp(self.least(), most);
    }

    /// Too much is on its way. `broke` when nothing is known of what arrived: the connection ended,
    /// or no answer came.
    pub(crate) fn congested(&mut self, now: Instant, broke: bool) {
        if self.shrunk_until.is_some_and(|until| now < until) {
            return;
        }
        if broke {
            self.part = (self.part() / 2).max(LEAST_PART);
            self.steady = 0;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a limit, bounded by memory"
        )]
        let limit = (self.limit as f64 * SHRINK) as u64;
        self.limit = limit.max(self.least());
        self.best = None;
        self.shrunk_until = Some(now + self.recovery());
        self.next_round(now);
    }

    /// What was sent before the limit shrank still fails for about as long as one answer takes.
    fn recovery(&self) -> Duration {
        self.last_answer
            .clamp(Duration::from_millis(200), Duration::from_secs(30))
    }

    /// The service asks for quiet.
    pub(crate) fn quiet(&mut self, until: Instant) {
        self.quiet_until = self.quiet_until.max(Some(until));
    }

    /// How long an attempt with this many bytes may take from now on, given all that shares the
    /// link with it.
    pub(crate) fn deadline(&self, bytes: u64) -> Duration {
        let speed = self
            .slowest
            .max(self.rate.min(1e12) / 8.0 * self.slowest / SLOWEST);
        #[allow(clippy::cast_precision_loss, reason = "a duration in seconds")]
        let seconds = self.in_flight.max(bytes) as f64 / speed.max(1.0);
        (GRACE + Duration::from_secs_f64(seconds.min(1e6))).min(LONGEST_DEADLINE)
    }

    /// A deadline was missed: the link is slower than was believed.
    pub(crate) fn missed(&mut self) {
        self.slowest = (self.slowest / 2.0).max(1024.0);
    }
}

/// The shortest time to an answer, of late: links change, and a shorter way may be gone.
#[derive(Debug, Default)]
struct Fastest {
    since: Option<Instant>,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl Fastest {
    fn answer(&mut self, now: Instant, took: Duration) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= MEMORY {
            self.before = self.now.take();
            self.since = Some(now);
        }
        self.now = Some(self.now.map_or(took, |least| least.min(took)));
    }

    fn get(&self) -> Duration {
        let least = self.now.into_iter().chain(self.before).min();
        least.unwrap_or(DELAY)
    }
}

/// What a link of so many bytes per second carries in a time.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer cast saturates"
)]
fn in_time(rate: f64, time: Duration) -> u64 {
    (rate * time.as_secs_f64()) as u64
}

/// Lets senders through as the controller allows, first come, first served.
#[derive(Debug)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    controller: Controller,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: u64,
    /// Whether it may carry less than that.
    in_parts: bool,
    granted: oneshot::Sender<Pass>,
}

/// The right to have a request in flight; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    bytes: u64,
    began: Instant,
}

impl Gate {
    pub(crate) fn new(controller: Controller) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            controller,
            waiting: VecDeque::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many requests could go if there was room for them.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// How many bytes the next request should carry at most.
    pub(crate) fn part(&self) -> usize {
        // At most LONGEST_RANGE.
        usize::try_from(self.state().controller.part()).unwrap_or(LONGEST_RANGE)
    }

    /// Waits for room for a request of this size.
    ///
    /// # Cancellation
    /// Safe: whoever leaves the queue gives up the place, and a pass that was already granted.
    pub(crate) async fn enter(self: &Arc<Self>, bytes: usize) -> Pass {
        self.queue(bytes as u64, false).await
    }

    /// Waits for room for a request of at most this size. How much of it may go is decided when its
    /// turn comes, by what is known of the link then; the pass says it.
    ///
    /// # Cancellation
    /// As for [`enter`](Self::enter).
    pub(crate) async fn enter_in_parts(self: &Arc<Self>, bytes: usize) -> Pass {
        self.queue(bytes as u64, true).await
    }

    async fn queue(self: &Arc<Self>, bytes: u64, in_parts: bool) -> Pass {
        loop {
            let (granted, mut receiver) = oneshot::channel();
            self.state().waiting.push_back(Waiting {
                bytes,
                in_parts,
                granted,
            });
            let granted = loop {
                self.admit();
                let quiet_until = self.state().controller.quiet_until;
                let Some(until) = quiet_until.filter(|until| *until > Instant::now()) else {
                    break receiver.await;
                };
                // When the service wanted quiet of all, nobody ends a request to wake us.
                tokio::select! {
                    granted = &mut receiver => break granted,
                    () = tokio::time::sleep_until(until) => {}
                }
            };
            if let Ok(pass) = granted {
                return pass;
            }
        }
    }

    fn pass(self: &Arc<Self>, bytes: u64, began: Instant) -> Pass {
        Pass {
            gate: Arc::clone(self),
            bytes,
            began,
        }
    }

    /// Lets in those who wait, as far as there is room.
    fn admit(self: &Arc<Self>) {
        let mut refused = Vec::new();
        let mut state = self.state();
        let now = Instant::now();
        while let Some(next) = state.waiting.pop_front() {
            if next.granted.is_closed() {
                continue;
            }
            let bytes = if next.in_parts {
                next.bytes.min(state.controller.part())
            } else {
                next.bytes
            };
            if !state.controller.try_start(now, bytes) {
                state.waiting.push_front(next);
                break;
            }
            if let Err(pass) = next.granted.send(self.pass(bytes, now)) {
                // Its drop takes the lock, so not here.
                refused.push(pass);
            }
        }
        drop(state);
        drop(refused);
    }

    #[cfg(test)]
    fn requests(&self) -> usize {
        self.state().controller.requests
    }
}

impl Pass {
    /// How much may go.
    pub(crate) fn bytes(&self) -> usize {
        // It was made of one.
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// How long this attempt may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.gate.state().controller.deadline(self.bytes)
    }

    /// The range is acknowledged.
    pub(crate) fn delivered(self) {
        let now = Instant::now();
        self.gate
            .state()
            .controller
            .delivered(now, self.bytes, now - self.began);
    }

    /// The attempt failed from too much at once; the service may have asked for quiet.
    pub(crate) fn congested(self, how: How, retry_after: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.gate.state();
        let broke = matches!(how, How::Broken | How::Deadline);
        state.controller.congested(now, broke);
        if how == How::Deadline {
            state.controller.missed();
        }
        if let Some(wait) = retry_after {
            state.controller.quiet(now + wait);
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let now = Instant::now();
        self.gate.state().controller.ended(now, self.bytes);
        self.gate.admit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: u64 = 64 << 20;

    /// Plays a link of `rate` bytes/s and `delay` against the controller for `seconds`, and
    /// returns the bytes delivered and the most that was in flight.
    fn play(controller: &mut Controller, rate: f64, delay: f64, seconds: f64) -> (u64, u64) {
        let (delivered, most, _) = play_over(controller, || rate, delay, seconds);
        (delivered, most)
    }

    /// The same with a rate that is another one for each request, and for how many seconds the link
    /// had something to carry.
    fn play_over(
        controller: &mut Controller,
        mut rate: impl FnMut() -> f64,
        delay: f64,
        seconds: f64,
    ) -> (u64, u64, f64) {
        let mut busy = 0.0;
        let zero = Instant::now();
        let at = |t: f64| zero + Duration::from_secs_f64(t);
        let (mut now, mut link_free, mut delivered, mut most) = (0.0f64, 0.0f64, 0, 0);
        let mut flights: VecDeque<(f64, f64, u64)> = VecDeque::new();
        while now < seconds {
            loop {
                let part = controller.part();
                if !controller.try_start(at(now), part) {
                    break;
                }
                let takes = part as f64 / rate();
                busy += takes;
                link_free = link_free.max(now) + takes;
                flights.push_back((now, link_free + delay, part));
                most = most.max(flights.iter().map(|(.., part)| part).sum());
            }
            let Some((began, end, part)) = flights.pop_front() else {
                panic!("nothing may start")
            };
            now = end;
            controller.ended(at(now), part);
            controller.delivered(at(now), part, Duration::from_secs_f64(now - began));
            delivered += part;
        }
        (delivered, most, busy)
    }

    #[test]
    fn a_disk_of_60_mib_a_second_is_kept_busy() {
        let rate = 60.0 * 1024.0 * 1024.0;
        let mut controller = Controller::new(Concurrency::Auto, POOL);
        let (delivered, _) = play(&mut controller, rate, 0.02, 20.0);
        assert!(delivered as f64 > 0.97 * rate * 20.0, "{delivered}");
    }

    #[test]
    fn a_slow_link_is_given_small_requests_two_at_a_time() {
        let rate = 250_000.0;
        let mut controller = Controller::new(Concurrency::Auto, POOL);
        let (delivered, most) = play(&mut controller, rate, 0.08, 600.0);
        assert!(most <= START, "{most}");
        // Two seconds' worth each.
        let part = controller.part();
        assert!((400_000..=500_000).contains(&part), "{part}");
        assert!(controller.limit <= 2 * part);
        assert!(delivered as f64 > 0.97 * rate * 600.0, "{delivered}");
    }

    #[test]
    fn a_slow_link_that_wavers_is_kept_busy() {
        let mut random = 1u64;
        let wavering = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            250_000.0 * (0.7 + 0.6 * (random % 1000) as f64 / 1000.0)
        };
        let mut controller = Controller::new(Concurrency::Auto, POOL);
        let (_, most, busy) = play_over(&mut controller, wavering, 0.16, 600.0);
        assert!(most <= START, "{most}");
        assert!(busy > 0.98 * 600.0, "{busy}");
    }

    #[test]
    fn queues_are_not_filled() {
        // 1 GiB/s and 1 ms: sixteen requests at once would wait for each other.
        let rate = 1024.0 * 1024.0 * 1024.0;
        let mut controller = Controller::new(Concurrency::Auto, 4 * POOL);
        let (delivered, most) = play(&mut controller, rate, 0.001, 20.0);
        assert!(most <= 2 * PLENTY, "{most}");
        assert!(delivered as f64 > 0.95 * rate * 20.0, "{delivered}");
    }

    #[test]
    fn a_way_that_became_longer_is_learnt() {
        let mut fastest = Fastest::default();
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        fastest.answer(at(0), Duration::from_millis(5));
        for second in 1..60 {
            fastest.answer(at(second), Duration::from_millis(500));
            let expected = if second < 30 { 5 } else { 500 };
            assert_eq!(fastest.get(), Duration::from_millis(expected), "{second}");
        }
    }

    #[test]
    fn requests_shrink_when_connections_break_and_grow_again() {
        let mut controller = Controller::new(Concurrency::Auto, POOL);
        play(&mut controller, 200.0 * 1024.0 * 1024.0, 0.1, 20.0);
        assert_eq!(controller.part(), REQUEST);
        let mut now = Instant::now() + Duration::from_secs(100);
        controller.congested(now, false);
        assert_eq!(
            controller.part(),
            REQUEST,
            "a refusal says nothing of the size"
        );
        for _ in 0..10 {
            now += Duration::from_secs(60);
            // The others that were on their way break with it.
            controller.congested(now, true);
            controller.congested(now, true);
        }
        assert_eq!(controller.part(), LEAST_PART);
        for _ in 0..STEADY {
            assert_eq!(controller.part(), LEAST_PART);
            controller.delivered(now, LEAST_PART, Duration::from_millis(100));
        }
        assert_eq!(controller.part(), 2 * LEAST_PART);
        for _ in 0..200 {
            controller.delivered(now, controller.part(), Duration::from_millis(100));
        }
        assert_eq!(controller.part(), REQUEST);
    }

    #[test]
    fn a_long_fast_link_gets_more_than_the_start() {
        // 200 MiB/s and 100 ms: 20 MiB must be in flight to fill it.
        let rate = 200.0 * 1024.0 * 1024.0;
        let mut controller = Controller::new(Concurrency::Auto, POOL);
        let (delivered, most) = play(&mut controller, rate, 0.1, 20.0);
        assert!((20 << 20..=POOL).contains(&most), "{most}");
        assert!(delivered as f64 > 0.9 * rate * 20.0, "{delivered}");
    }

    #[test]
    fn congestion_shrinks_once_per_recovery_and_never_below_one_request() {
        let mut controller = Controller::new(Concurrency::Auto, POOL);
        play(&mut controller, 200.0 * 1024.0 * 1024.0, 0.1, 20.0);
        let before = controller.limit;
        let now = Instant::now() + Duration::from_secs(100);
        for _ in 0..10 {
            controller.congested(now, false);
        }
        let expected = ((before as f64 * SHRINK) as u64).max(REQUEST);
        assert_eq!(controller.limit, expected, "from {before}");
        for i in 1..40 {
            controller.congested(now + Duration::from_secs(60 * i), false);
        }
        assert_eq!(controller.limit, REQUEST);
        while controller.requests > 0 {
            controller.ended(now, REQUEST);
        }
        assert!(controller.try_start(now + Duration::from_secs(4000), REQUEST));
        assert!(!controller.try_start(now + Duration::from_secs(4000), REQUEST));
    }

    #[test]
    fn it_grows_back() {
        let rate = 200.0 * 1024.0 * 1024.0;
        let mut controller = Controller::new(Concurrency::Auto, POOL);
        for i in 0..40 {
            controller.congested(Instant::now() + Duration::from_secs(i * 60), false);
        }
        controller.shrunk_until = None;
        let (delivered, _) = play(&mut controller, rate, 0.1, 30.0);
        assert!(controller.limit > 5 * REQUEST);
        assert!(delivered as f64 > 0.7 * rate * 30.0, "{delivered}");
    }

    #[test]
    fn a_deadline_leaves_time_for_the_slowest_link_and_learns() {
        let mut controller = Controller::new(Concurrency::Fixed(2), POOL);
        let now = Instant::now();
        assert!(controller.try_start(now, REQUEST));
        assert!(controller.try_start(now, REQUEST));
        // 8 MiB at 64 KiB/s.
        assert_eq!(
            controller.deadline(REQUEST),
            GRACE + Duration::from_secs(128)
        );
        controller.missed();
        assert_eq!(
            controller.deadline(REQUEST),
            GRACE + Duration::from_secs(256)
        );
        for _ in 0..60 {
            controller.missed();
        }
        assert_eq!(controller.deadline(REQUEST), LONGEST_DEADLINE);
    }

    #[test]
    fn small_requests_are_limited_too() {
        let mut controller = Controller::new(Concurrency::Auto, POOL);
        let now = Instant::now();
        let start = |controller: &mut Controller| {
            (0..1000).filter(|_| controller.try_start(now, 512)).count()
        };
        let first = start(&mut controller);
        assert_eq!(first as u64, START / LEAST_COST);
        // However much more could be on its way, so many connections are enough.
        controller.limit = POOL;
        assert_eq!(first + start(&mut controller), MOST_REQUESTS);
    }

    #[test]
    fn a_fixed_number_is_fixed() {
        let mut controller = Controller::new(Concurrency::Fixed(3), POOL);
        let now = Instant::now();
        assert_eq!((0..9).filter(|_| controller.try_start(now, 512)).count(), 3);
        controller.congested(now, false);
        controller.ended(now, 512);
        assert!(controller.try_start(now, REQUEST));
        assert!(!controller.try_start(now, REQUEST));
    }

    #[tokio::test(start_paused = true)]
    async fn the_gate_is_fair_and_survives_those_who_leave() {
        let gate = Gate::new(Controller::new(Concurrency::Fixed(1), POOL));
        let first = gate.enter(512).await;
        let second = Box::pin(gate.enter(512));
        let mut third = Box::pin(gate.enter(512));
        let mut second = second;
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        drop(second);
        drop(first);
        let third = third.await;
        assert_eq!(gate.requests(), 1);
        drop(third);
        assert_eq!(gate.requests(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_part_carries_is_decided_when_its_turn_comes() {
        let gate = Gate::new(Controller::new(Concurrency::Fixed(1), POOL));
        let first = gate.enter_in_parts(LONGEST_RANGE).await;
        assert_eq!(first.bytes() as u64, FIRST_PART);
        let mut second = Box::pin(gate.enter_in_parts(LONGEST_RANGE));
        let mut whole = Box::pin(gate.enter(LONGEST_RANGE));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut whole).is_pending());
        // It waits, and meanwhile the link turns out to break.
        first.congested(How::Broken, None);
        assert_eq!(second.await.bytes() as u64, FIRST_PART / 2);
        assert_eq!(whole.await.bytes(), LONGEST_RANGE);
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_is_kept() {
        let gate = Gate::new(Controller::new(Concurrency::Auto, POOL));
        let began = Instant::now();
        gate.enter(512)
            .await
            .congested(How::Answer, Some(Duration::from_secs(10)));
        drop(gate.enter(512).await);
        assert!(began.elapsed() >= Duration::from_secs(10));
    }
}
