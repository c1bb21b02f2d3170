//! Leases: who alone may write to a blob, or delete a container, and until when.
//!
//! The states and what each action does in each of them are those of the service's documentation
//! ("Lease Blob"). Time is the clock's, looked at when somebody asks.

use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::refusal::Refusal;

/// A lease that was taken and not given back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Lease {
    id: String,
    /// `None` is for ever.
    seconds: Option<u64>,
    /// When it runs out, unless it is for ever.
    ends: Option<SystemTime>,
    /// When it is broken, once somebody breaks it.
    breaks: Option<SystemTime>,
}

/// Where a lease is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Available,
    Leased,
    Expired,
    Breaking,
    Broken,
}

impl State {
    /// `x-ms-lease-state`
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Breaking => "breaking",
            Self::Broken => "broken",
        }
    }

    /// `x-ms-lease-status`
    pub(super) fn status(self) -> &'static str {
        match self {
            Self::Leased | Self::Breaking => "locked",
            _ => "unlocked",
        }
    }
}

/// What is leased: the codes of refusals differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Blob,
    Container,
}

/// What a client wants with a lease.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Acquire {
        proposed: Option<String>,
        /// `None` is for ever.
        seconds: Option<u64>,
    },
    Renew {
        id: String,
    },
    Change {
        id: String,
        proposed: String,
    },
    Release {
        id: String,
    },
    Break {
        period: Option<u64>,
    },
}

/// What was done: the status, the id of the lease, the seconds until a broken one ends.
#[derive(Debug, PartialEq)]
pub(super) struct Done {
    pub(super) status: StatusCode,
    pub(super) id: Option<String>,
    pub(super) remaining: Option<u64>,
}

fn conflict(code: &'static str, message: &'static str) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, code, message)
}

fn other_id() -> Refusal {
    conflict(
        "LeaseIdMismatchWithLeaseOperation",
        "The lease ID specified did not match the lease ID for the blob/container.",
    )
}

fn not_present() -> Refusal {
    conflict(
        "LeaseNotPresentWithLeaseOperation",
        "There is currently no lease on the blob/container.",
    )
}

impl Lease {
    pub(super) fn state(lease: Option<&Self>, now: SystemTime) -> State {
        let Some(lease) = lease else {
            return State::Available;
        };
        match (lease.breaks, lease.ends) {
            (Some(breaks), _) if breaks <= now => State::Broken,
            (Some(_), _) => State::Breaking,
            (None, Some(ends)) if ends <= now => State::Expired,
            (None, _) => State::Leased,
        }
    }

    /// `infinite` or `fixed`: `x-ms-lease-duration` while it is leased.
    pub(super) fn duration(&self) -> &'static str {
        if self.seconds.is_some() {
            "fixed"
        } else {
            "infinite"
        }
    }

    fn has(&self, id: &str) -> bool {
        self.id.eq_ignore_ascii_case(id)
    }

    fn start(id: String, seconds: Option<u64>, now: SystemTime) -> Self {
        Self {
            id,
            seconds,
            ends: seconds.map(|seconds| now + Duration::from_secs(seconds)),
            breaks: None,
        }
    }

    /// Does what a client wants, or says why not; then the lease is as it was.
    pub(super) fn act(
        lease: &mut Option<Self>,
        action: Action,
        now: SystemTime,
    ) -> Result<Done, Refusal> {
        let state = Self::state(lease.as_ref(), now);
        let done = |status, id| Done {
            status,
            id,
            remaining: None,
        };
        match action {
            Action::Acquire { proposed, seconds } => {
                let same = match (&proposed, &*lease) {
                    (Some(proposed), Some(lease)) => lease.has(proposed),
                    _ => false,
                };
                match state {
                    State::Leased if !same => {
                        return Err(conflict(
                            "LeaseAlreadyPresent",
                            "There is already a lease present.",
                        ));
                    }
                    State::Breaking if same => {
                        return Err(conflict(
                            "LeaseIsBreakingAndCannotBeAcquired",
                            "The lease ID matched, but the lease is currently in breaking state and cannot be acquired until it is broken.",
                        ));
                    }
                    State::Breaking => {
                        return Err(conflict(
                            "LeaseAlreadyPresent",
                            "There is already a lease present.",
                        ));
                    }
                    _ => {}
                }
                let id = proposed.unwrap_or_else(|| Uuid::new_v4().to_string());
                *lease = Some(Self::start(id.clone(), seconds, now));
                Ok(done(StatusCode::CREATED, Some(id)))
            }
            Action::Renew { id } => {
                let held = lease.as_mut().ok_or_else(other_id)?;
                if !held.has(&id) {
                    return Err(other_id());
                }
                if matches!(state, State::Breaking | State::Broken) {
                    return Err(conflict(
                        "LeaseIsBrokenAndCannotBeRenewed",
                        "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.",
                    ));
                }
                *held = Self::start(held.id.clone(), held.seconds, now);
                Ok(done(StatusCode::OK, Some(held.id.clone())))
            }
            Action::Change { id, proposed } => {
                let held = lease.as_mut().ok_or_else(not_present)?;
                match state {
                    State::Leased if held.has(&id) || held.has(&proposed) => {
                        held.id.clone_from(&proposed);
                        Ok(done(StatusCode::OK, Some(proposed)))
                    }
                    State::Leased => Err(other_id()),
                    State::Breaking if held.has(&id) || held.has(&proposed) => Err(conflict(
                        "LeaseIsBreakingAndCannotBeChanged",
                        "The lease ID matched, but the lease is currently in breaking state and cannot be changed.",
                    )),
                    State::Breaking => Err(other_id()),
                    _ => Err(not_present()),
                }
            }
            Action::Release { id } => {
                let held = lease.as_ref().ok_or_else(not_present)?;
                if !held.has(&id) {
                    return Err(other_id());
                }
                *lease = None;
                Ok(done(StatusCode::OK, None))
            }
            Action::Break { period } => {
                let held = lease.as_mut().ok_or_else(not_present)?;
                let left = |until: SystemTime| until.duration_since(now).unwrap_or_default();
                let wait = match state {
                    State::Broken | State::Expired | State::Available => Duration::ZERO,
                    State::Leased | State::Breaking => {
                        // One for ever ends at once unless a time is given; any other goes on for
                        // what is left of it and never for longer.
                        let own = match (held.breaks, held.ends) {
                            (Some(breaks), _) => Some(left(breaks)),
                            (None, ends) => ends.map(left),
                        };
                        match (own, period.map(Duration::from_secs)) {
                            (Some(own), Some(period)) => own.min(period),
                            (Some(own), None) => own,
                            (None, period) => period.unwrap_or_default(),
                        }
                    }
                };
                held.breaks = Some(now + wait);
                Ok(Done {
                    status: StatusCode::ACCEPTED,
                    id: None,
                    remaining: Some(wait.as_secs_f64().ceil() as u64),
                })
            }
        }
    }

    /// Whether a request with this lease id may read, which it may also without one.
    pub(super) fn allows_reading(
        lease: Option<&Self>,
        of: Of,
        id: Option<&str>,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        match id {
            None => Ok(()),
            Some(_) => Self::allows_writing(lease, of, id, now),
        }
    }

    /// Whether a request with this lease id may write.
    pub(super) fn allows_writing(
        lease: Option<&Self>,
        of: Of,
        id: Option<&str>,
        now: SystemTime,
    ) -> Result<(), Refusal> {
        let refused =
            |code, message| Err(Refusal::new(StatusCode::PRECONDITION_FAILED, code, message));
        let mismatch = || match of {
            Of::Blob => refused(
                "LeaseIdMismatchWithBlobOperation",
                "The lease ID specified did not match the lease ID for the blob.",
            ),
            Of::Container => refused(
                "LeaseIdMismatchWithContainerOperation",
                "The lease ID specified did not match the lease ID for the container.",
            ),
        };
        let state = Self::state(lease, now);
        match (lease, id) {
            (Some(_), None) if state.status() == "locked" => refused(
                "LeaseIdMissing",
                "There is currently a lease on the blob/container and no lease ID was specified in the request.",
            ),
            (_, None) => Ok(()),
            (Some(lease), Some(id)) => {
                if !lease.has(id) {
                    mismatch()
                } else if state.status() == "locked" {
                    Ok(())
                } else {
                    refused(
                        "LeaseLost",
                        "A lease ID was specified, but the lease for the blob/container has expired.",
                    )
                }
            }
            (None, Some(_)) => match of {
                Of::Blob => refused(
                    "LeaseNotPresentWithBlobOperation",
                    "There is currently no lease on the blob.",
                ),
                Of::Container => refused(
                    "LeaseNotPresentWithContainerOperation",
                    "There is currently no lease on the container.",
                ),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaa-0000-0000-0000-000000000000";
    const B: &str = "bbbbbbbb-0000-0000-0000-000000000000";

    fn acquire(id: &str, seconds: Option<u64>) -> Action {
        Action::Acquire {
            proposed: Some(id.to_owned()),
            seconds,
        }
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        match result {
            Ok(_) => "ok".to_owned(),
            Err(refusal) => refusal.code().to_owned(),
        }
    }

    /// A lease with id A in each state, and the time it is in it.
    fn in_state(state: State) -> (Option<Lease>, SystemTime) {
        let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let mut lease = None;
        let mut now = begun;
        if state != State::Available {
            Lease::act(&mut lease, acquire(A, Some(60)), begun).unwrap();
        }
        match state {
            State::Expired => now = begun + Duration::from_secs(60),
            State::Breaking | State::Broken => {
                let broken = Action::Break { period: Some(10) };
                let done = Lease::act(&mut lease, broken, begun).unwrap();
                assert_eq!(done.remaining, Some(10));
                if state == State::Broken {
                    now = begun + Duration::from_secs(10);
                }
            }
            State::Available | State::Leased => {}
        }
        assert_eq!(Lease::state(lease.as_ref(), now), state);
        (lease, now)
    }

    #[test]
    fn actions_do_in_each_state_what_the_documentation_says() {
        use State::{Available, Breaking, Broken, Expired, Leased};
        let renew = |id: &str| Action::Renew { id: id.to_owned() };
        let release = |id: &str| Action::Release { id: id.to_owned() };
        let change = |id: &str, to: &str| Action::Change {
            id: id.to_owned(),
            proposed: to.to_owned(),
        };
        let (present, other) = ("LeaseAlreadyPresent", "LeaseIdMismatchWithLeaseOperation");
        let none = "LeaseNotPresentWithLeaseOperation";
        let breaking = "LeaseIsBreakingAndCannotBeAcquired";
        let broken = "LeaseIsBrokenAndCannotBeRenewed";
        let changed = "LeaseIsBreakingAndCannotBeChanged";
        let states = [Available, Leased, Breaking, Broken, Expired];
        for (action, results) in [
            (acquire(A, None), ["ok", "ok", breaking, "ok", "ok"]),
            (acquire(B, None), ["ok", present, present, "ok", "ok"]),
            (renew(A), [other, "ok", broken, broken, "ok"]),
            (renew(B), [other, other, other, other, other]),
            (change(A, B), [none, "ok", changed, none, none]),
            (change(B, A), [none, "ok", changed, none, none]),
            (change(B, B), [none, other, other, none, none]),
            (release(A), [none, "ok", "ok", "ok", "ok"]),
            (release(B), [none, other, other, other, other]),
            (
                Action::Break { period: None },
                [none, "ok", "ok", "ok", "ok"],
            ),
        ] {
            for (state, expected) in states.into_iter().zip(results) {
                let (mut lease, now) = in_state(state);
                let before = lease.clone();
                let found = code(Lease::act(&mut lease, action.clone(), now));
                assert_eq!(found, expected, "{action:?} in {state:?}");
                if expected != "ok" {
                    assert_eq!(lease, before, "{action:?} in {state:?}");
                }
            }
        }
    }

    #[test]
    fn writing_takes_the_lease_that_is_there() {
        use State::{Available, Breaking, Broken, Expired, Leased};
        let (missing, lost) = ("LeaseIdMissing", "LeaseLost");
        let other = "LeaseIdMismatchWithBlobOperation";
        for (state, without, with, wrong) in [
            (
                Available,
                "ok",
                "LeaseNotPresentWithBlobOperation",
                "LeaseNotPresentWithBlobOperation",
            ),
            (Leased, missing, "ok", other),
            (Breaking, missing, "ok", other),
            (Broken, "ok", lost, other),
            (Expired, "ok", lost, other),
        ] {
            let (lease, now) = in_state(state);
            for (id, expected) in [(None, without), (Some(A), with), (Some(B), wrong)] {
                let found = Lease::allows_writing(lease.as_ref(), Of::Blob, id, now);
                assert_eq!(code(found), expected, "{id:?} in {state:?}");
                let read = Lease::allows_reading(lease.as_ref(), Of::Blob, id, now);
                let expected = if id.is_none() { "ok" } else { expected };
                assert_eq!(code(read), expected, "{id:?} in {state:?}");
            }
        }
    }

    #[test]
    fn breaking_takes_no_longer_than_the_lease() {
        let now = SystemTime::UNIX_EPOCH;
        let broken = |seconds, period| {
            let mut lease = None;
            Lease::act(&mut lease, acquire(A, seconds), now).unwrap();
            let done = Lease::act(&mut lease, Action::Break { period }, now).unwrap();
            done.remaining.unwrap()
        };
        assert_eq!(broken(Some(30), None), 30);
        assert_eq!(broken(Some(30), Some(60)), 30);
        assert_eq!(broken(Some(30), Some(5)), 5);
        assert_eq!(broken(None, None), 0);
        assert_eq!(broken(None, Some(60)), 60);
    }
}
