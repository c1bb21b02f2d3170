//! What must hold, whatever went wrong.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::case::{Case, Fault, Lists, Phase};
use super::disk::Disk;
use super::play::Seen;
use super::service::{Service, State};
use crate::upload::plan::PAGE;
use crate::upload::{Concurrency, Integrity, UploadReport, UploadTarget, Verification, Verify};
use crate::{Error, ErrorKind, Result};

/// How a run ended.
pub(super) enum Ended {
    With(Result<UploadReport>),
    /// Dropped, at this time.
    Dropped(Instant),
    /// Cancelled, and so long after that it ended.
    Cancelled(Result<UploadReport>, Duration),
    /// It did not end.
    Never,
}

/// What is known from the runs before.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Whether the journal lost something.
    pub(super) torn: bool,
    /// Whether the service lost a write.
    lost: bool,
    /// Whether all was reported as done.
    whole: bool,
}

type Verdict = std::result::Result<(), String>;

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(otherwise()) }
}

pub(super) fn run(
    case: &Case,
    nth: usize,
    service: &Service,
    disk: &Disk,
    ended: Ended,
    judged: &mut Judged,
    seen: &mut Seen,
) -> Verdict {
    let mut state = service.state();
    let run = &state.run;
    for (_, fault) in &run.faults {
        let text = format!("{fault:?}");
        seen.note(format_args!("fault: {}", text.split('(').next().unwrap()));
        judged.lost |= *fault == Fault::Lost;
    }
    if let Some(first) = state.violations.first() {
        return Err(first.clone());
    }
    ensure(!disk.read_a_hole.load(Ordering::Relaxed), || {
        "a hole was read".to_owned()
    })?;
    let memory = case.memory.max(8 << 20);
    ensure(run.most_in_flight <= memory && run.peak <= memory, || {
        format!(
            "{} bytes in flight and {} lent of {memory}",
            run.most_in_flight, run.peak
        )
    })?;
    let most = match case.concurrency {
        Concurrency::Fixed(most) => most,
        Concurrency::Auto => 64,
    };
    ensure(run.most_requests <= most, || {
        format!("{} requests at once of {most}", run.most_requests)
    })?;
    ensure(run.expired > 0 || run.refusals == 0, || {
        format!("{} requests with an access that had ended", run.refusals)
    })?;
    let now = Instant::now();
    let (result, cancelled, at) = match ended {
        Ended::Never => return Err("it does not end".to_owned()),
        Ended::Dropped(at) => {
            seen.note("ended: dropped");
            state.forget_acknowledged(at);
            return footer_of_failure(&state);
        }
        Ended::Cancelled(result, waited) => {
            // The answer to a footer is waited for.
            ensure(run.footer || waited < Duration::from_millis(2), || {
                format!("it went on for {waited:?} after it was cancelled")
            })?;
            (result, true, now - waited)
        }
        Ended::With(result) => (result, false, now),
    };
    match result {
        Ok(report) => {
            seen.note("ended: whole");
            judged.whole = true;
            whole(case, nth, &state, disk, &report, judged, seen)
        }
        Err(error) => {
            seen.note(format_args!("ended: {}", error.kind()));
            footer_of_failure(&state)?;
            let kinds = possible(case, &state, disk, cancelled);
            state.forget_acknowledged(at);
            ensure(kinds.contains(&error.kind()), || {
                format!("only {kinds:?} can happen: {}", text(&error))
            })
        }
    }
}

fn text(error: &Error) -> String {
    format!("{}: {}", error.kind(), error.report())
}

/// When all is over and what was late has arrived.
pub(super) fn end(state: &State, judged: &Judged) -> Verdict {
    if judged.whole {
        same(state)
    } else {
        footer_of_failure(state)
    }
}

/// The target is the source, zeros, and a footer.
fn same(state: &State) -> Verdict {
    if let Some(difference) = state.difference() {
        return Err(format!("reported as whole, but {difference}"));
    }
    ensure(state.has_footer(), || {
        "reported as whole, but there is no footer".to_owned()
    })
}

/// An upload that ended early leaves no footer, unless all was there and only its own answer was
/// not; or unless it had not begun.
fn footer_of_failure(state: &State) -> Verdict {
    let footer = state.footer();
    let right = if footer.iter().all(|byte| *byte == 0) {
        true
    } else if state.has_footer() {
        state.difference().is_none()
    } else {
        state.run.sent.is_empty()
    };
    ensure(right, || "a failed upload left a footer".to_owned())
}

fn whole(
    case: &Case,
    nth: usize,
    state: &State,
    disk: &Disk,
    report: &UploadReport,
    judged: &Judged,
    seen: &mut Seen,
) -> Verdict {
    let run = &state.run;
    same(state)?;
    for (what, flag) in [("failed", &disk.failed), ("changed", &disk.changed)] {
        ensure(!flag.load(Ordering::Relaxed), || {
            format!("whole, although the source {what}")
        })?;
    }
    let length = disk.layout.disk() + 512;
    let planned: u64 = state.plan.iter().map(|range| range.end - range.start).sum();
    let sums = report.bytes_logical == length
        && report.bytes_sent + report.bytes_resumed == planned + 512
        && report.bytes_sent + report.bytes_resumed + report.bytes_skipped == length
        && report.bytes_sent >= 512
        && report.requests == run.writes
        && (case.journal || report.bytes_resumed == 0);
    ensure(sums, || {
        format!(
            "{planned} bytes were to be sent, in {} requests: {report:?}",
            run.writes
        )
    })?;
    let integrity = match (case.service.crc64, case.service.md5) {
        (true, _) => Integrity::Crc64,
        (false, true) => Integrity::Md5,
        (false, false) => Integrity::None,
    };
    ensure(report.integrity == integrity, || {
        format!("protected by {integrity}: {report:?}")
    })?;
    verified(case, state, report)?;
    let clean = case.old.is_empty() && case.service.list_unit == PAGE;
    ensure(!clean || report.bytes_cleared == 0, || {
        format!("there was nothing to clear: {report:?}")
    })?;

    let quiet = run.failures.is_empty();
    let sent: u64 = run.sent.iter().map(|range| range.end - range.start).sum();
    ensure(!quiet || report.retries == 0, || {
        format!("nothing failed: {report:?}")
    })?;
    ensure(!quiet || sent == report.bytes_sent - 512, || {
        format!("{sent} bytes were sent: {report:?}")
    })?;
    if quiet {
        // With the sum above: each byte of the plan once, but for those of the time before.
        let mut order = run.sent.clone();
        order.sort_by_key(|range| range.start);
        let apart = order.windows(2).all(|two| two[0].end <= two[1].start);
        ensure(apart, || format!("sent twice: {order:?}"))?;
    }
    if quiet && case.journal && nth > 0 && !judged.torn && !judged.lost {
        nothing_again(&state.acknowledged, run.began, &run.sent)?;
        seen.note("report: nothing sent again");
    }

    for (holds, what) in [
        (report.integrity == Integrity::Md5, "md5"),
        (report.integrity == Integrity::None, "without checksum"),
        (report.bytes_resumed > 0, "resumed"),
        (report.bytes_cleared > 0, "cleared"),
        (quiet, "nothing went wrong"),
    ] {
        if holds {
            seen.note(format_args!("report: {what}"));
        }
    }
    seen.note(match &report.verified {
        Verification::NotRequested => "report: not asked to be verified",
        Verification::Ranges => "report: verified by list",
        Verification::Contents => "report: verified by contents",
        Verification::NotVerified(_) => "report: not verified",
    });
    Ok(())
}

/// What was acknowledged in an earlier run is not sent in this one.
fn nothing_again(
    acknowledged: &[(Instant, Range<u64>)],
    began: Instant,
    sent: &[Range<u64>],
) -> Verdict {
    for (_, range) in acknowledged.iter().filter(|(at, _)| *at < began) {
        let again = sent
            .iter()
            .find(|sent| sent.start < range.end && range.start < sent.end);
        ensure(again.is_none(), || {
            format!("{range:?} had been acknowledged, and {again:?} is sent")
        })?;
    }
    Ok(())
}

/// The report claims what was compared, and all is compared that can be.
fn verified(case: &Case, state: &State, report: &UploadReport) -> Verdict {
    let lists = case.service.lists == Lists::Given;
    let listed = match (lists, case.lists_may_be_denied()) {
        (true, false) => &[true][..],
        (true, true) => &[true, false],
        (false, _) => &[false],
    };
    let denied = state.run.faults.iter().any(|(phase, fault)| {
        *phase == Phase::Get && matches!(fault, Fault::Status(400..=499, ..) | Fault::Expire)
    });
    let fits = match (&report.verified, case.verify) {
        (Verification::NotRequested, Verify::None) => true,
        (Verification::Ranges, Verify::Ranges) => listed.contains(&true),
        (Verification::NotVerified(_), Verify::Ranges) => listed.contains(&false),
        (Verification::Contents, Verify::Contents) => case.service.reads,
        (Verification::NotVerified(_), Verify::Contents) => !case.service.reads || denied,
        _ => false,
    };
    // There is nothing to read back of a disk of zeros.
    let empty = state.plan.is_empty() && report.verified == Verification::Contents;
    ensure(fits || empty, || format!("compared otherwise: {report:?}"))
}

/// The errors that may come of what happened. None, when all that happened passes.
fn possible(case: &Case, state: &State, disk: &Disk, cancelled: bool) -> HashSet<ErrorKind> {
    let run = &state.run;
    let mut kinds = HashSet::new();
    if cancelled {
        kinds.insert(ErrorKind::Cancelled);
    }
    if disk.failed.load(Ordering::Relaxed) {
        kinds.insert(ErrorKind::Io);
    }
    if disk.changed.load(Ordering::Relaxed) {
        // Noticed at the end, or while it is compared.
        kinds.extend([ErrorKind::Conflict, ErrorKind::Integrity]);
    }
    if case.target == (UploadTarget::PageBlob { create: false }) && !case.exists {
        kinds.insert(ErrorKind::NotFound);
    }
    let created = run.faults.iter().any(|(phase, _)| *phase == Phase::Create);
    if matches!(case.target, UploadTarget::PageBlob { .. })
        && case.service.lists != Lists::Given
        && (run.existed || created)
    {
        kinds.insert(ErrorKind::Conflict);
    }
    // The first questions are asked six times, all others 24 times. A long list that fails is asked
    // for in parts.
    let worn_out = |phase: Phase| {
        let of_phase = run.failures.iter().filter(|((of, _), _)| *of == phase);
        let times = of_phase.map(|(_, times)| *times);
        match phase {
            Phase::Head => times.max().unwrap_or(0) >= 6,
            Phase::List => times.sum::<u32>() >= 24,
            _ => times.max().unwrap_or(0) >= 24,
        }
    };
    for (phase, fault) in &run.faults {
        let worn_out = worn_out(*phase);
        let kind = match fault {
            Fault::Status(404, ..) => Some(ErrorKind::NotFound),
            Fault::Status(409 | 412 | 416, ..) => Some(ErrorKind::Conflict),
            Fault::Status(400 | 413, ..) => Some(ErrorKind::Service),
            Fault::Garbled => Some(ErrorKind::Service),
            Fault::Lost => Some(ErrorKind::Integrity),
            Fault::Expire => {
                (run.expired > 1 || !case.access.renewable).then_some(ErrorKind::Forbidden)
            }
            _ if !worn_out => None,
            Fault::Status(429 | 503, ..) => Some(ErrorKind::Throttled),
            Fault::Status(408 | 504, ..) | Fault::Silence(_) => Some(ErrorKind::Timeout),
            Fault::Status(..) | Fault::TimedOut(_) | Fault::Damage => Some(ErrorKind::Service),
            Fault::NoConnection
            | Fault::ResetBefore
            | Fault::ResetAfter
            | Fault::BrokenAnswer
            | Fault::Late(_) => Some(ErrorKind::Network),
            Fault::Slow(_) => None,
        };
        kinds.extend(kind);
        if (*phase, kind) == (Phase::Create, Some(ErrorKind::Conflict)) {
            // It is taken for one that was created meanwhile, and looked for.
            kinds.insert(ErrorKind::NotFound);
        }
        // A list that is denied, where old data must be found.
        if *phase == Phase::List
            && matches!(
                fault,
                Fault::Garbled | Fault::Expire | Fault::Status(400..=499, ..)
            )
        {
            kinds.insert(ErrorKind::Conflict);
        }
    }
    kinds
}
