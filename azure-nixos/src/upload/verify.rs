//! Comparing what the target says it holds with what was sent.

use std::ops::Range;

use super::acknowledged::Ranges;
use super::request::{List, Requester};
use super::retry::Policy;
use crate::{Error, ErrorKind, Result};

/// Lists of fragmented blobs time out on the service's side. A part of this size never has.
const SMALLEST_WINDOW: u64 = 144 << 20;

/// What the target lists.
#[derive(Debug)]
pub(crate) enum Listed {
    /// These pages were written.
    Ranges(Ranges),
    /// The target does not say; why, in a few words.
    Refused(String),
}

/// What the target answers when it is asked whether anything was ever written to it.
#[derive(Debug)]
pub(crate) enum First {
    Nothing,
    Pages,
    /// Nothing yet: the service was busy, or the list is long. It may answer later.
    NoAnswer,
    /// It does not say; why, in a few words.
    Refused(String),
}

/// Whether anything was ever written to the target.
pub(crate) async fn first(requester: &Requester, length: u64) -> Result<First> {
    let request = List {
        range: 0..length,
        marker: None,
        allowed: false,
    };
    let policy = Policy {
        tries: 3,
        ..Policy::FIRST
    };
    match requester.repeat(policy, request).await {
        Ok(part) if part.ranges.is_empty() && part.next.is_none() => Ok(First::Nothing),
        Ok(_) => Ok(First::Pages),
        Err(error) if error.is_cancelled() => Err(error),
        Err(error) => Ok(refusal(&error).map_or(First::NoAnswer, First::Refused)),
    }
}

/// All pages that were written to the target: whole where it is fast, in windows where it is not.
pub(crate) async fn list(requester: &Requester, length: u64) -> Result<Listed> {
    let mut ranges = Ranges::default();
    let mut window = length;
    let mut from = 0;
    while from < length {
        let until = length.min(from.saturating_add(window));
        match list_window(requester, from..until, window, &mut ranges).await {
            Ok(()) => {
                from = until;
                window = window.saturating_mul(2).min(length);
            }
            Err(error) if error.is_cancelled() => return Err(error),
            Err(error) => {
                if let Some(reason) = refusal(&error) {
                    return Ok(Listed::Refused(reason));
                }
                if window <= SMALLEST_WINDOW {
                    return Err(error);
                }
                window = (window / 16).max(SMALLEST_WINDOW);
                tracing::debug!(window, %error, "the page list is slow; asking for less");
            }
        }
    }
    Ok(Listed::Ranges(ranges))
}

async fn list_window(
    requester: &Requester,
    range: Range<u64>,
    window: u64,
    ranges: &mut Ranges,
) -> Result<()> {
    let policy = if window > SMALLEST_WINDOW {
        Policy {
            tries: 2,
            ..Policy::PATIENT
        }
    } else {
        Policy::PATIENT
    };
    let mut marker = None;
    loop {
        let request = List {
            range: range.clone(),
            marker: marker.clone(),
            allowed: true,
        };
        let part = requester.repeat(policy, request).await?;
        for range in part.ranges {
            ranges.insert(range);
        }
        if part.next.is_none() {
            return Ok(());
        }
        if part.next == marker {
            return Err(Error::new(
                ErrorKind::Service,
                "the target's list of pages has no end",
            ));
        }
        marker = part.next;
    }
}

/// The reason, when the answer says that this target never gives such answers.
pub(crate) fn refusal(error: &Error) -> Option<String> {
    let Some(status) = error.status() else {
        let garbled = error.kind() == ErrorKind::Service;
        return garbled.then(|| "the target's answer cannot be read".to_owned());
    };
    matches!(status, 400..=407 | 409 | 501).then(|| {
        let code = error
            .code()
            .map(|code| format!(" {code}"))
            .unwrap_or_default();
        format!("the target refuses it ({status}{code})")
    })
}

/// Fails when something that was acknowledged is not in the target's list.
pub(crate) fn nothing_missing(sent: &Ranges, listed: &Ranges, target: &str) -> Result<()> {
    let Some(missing) = sent.minus(listed).next() else {
        return Ok(());
    };
    Err(Error::new(
        ErrorKind::Integrity,
        format!(
            "{target} has acknowledged the bytes {}..{} and does not list them",
            missing.start, missing.end
        ),
    )
    .with_operation("verify")
    .with_hint("somebody else writes to the disk, or the service lost a write; upload again"))
}
