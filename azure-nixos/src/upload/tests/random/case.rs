//! What one case is: a disk, a target, settings, and all that goes wrong. Drawn by proptest, so that
//! a case that fails becomes a small one.

use std::ops::Range;
use std::time::Duration;

use super::disk::Layout;
use crate::upload::plan::PAGE;
use crate::upload::{Concurrency, UploadTarget, Verify};

const MIB: u64 = 1 << 20;

/// Zeros before a run of data, in pages.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before {
    Pages(u64),
    /// In 65536ths of the disk.
    Share(u16),
}

/// How the source says where its data is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extents {
    /// In one extent; on a large disk like `Wide`.
    Whole,
    /// Exactly, or shifted by some bytes at both ends.
    Tight(i64, i64),
    /// With so many pages of zeros on both sides.
    Wide(u64),
    /// In touching pieces of so many bytes.
    Pieces(u64),
}

#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// In pages.
    pub(super) size: u64,
    pub(super) runs: Vec<(Before, u64)>,
    /// Whether the very last page has data.
    pub(super) last_page: bool,
    pub(super) extents: Extents,
    pub(super) brings_footer: bool,
}

impl Shape {
    pub(super) fn layout(&self) -> Layout {
        let size = self.size * PAGE;
        let mut data: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        for (before, len) in &self.runs {
            at += match before {
                Before::Pages(pages) => *pages,
                Before::Share(share) => self.size / 65_536 * u64::from(*share),
            };
            let run = at * PAGE..(at + len).min(self.size) * PAGE;
            if run.is_empty() {
                break;
            }
            at += len;
            data.push(run);
        }
        let last = size - PAGE..size;
        if self.last_page && data.last().is_none_or(|run| run.end <= last.start) {
            data.push(last);
        }
        let mut extents: Vec<Range<u64>> = Vec::new();
        let mut add = |start: u64, end: u64| {
            let start = start.max(extents.last().map_or(0, |last| last.end));
            let end = end.min(size);
            if start < end {
                extents.push(start..end);
            }
        };
        let wide = |pages: u64| (pages * PAGE, pages * PAGE);
        match self.extents {
            Extents::Whole if size <= 4 * MIB => add(0, size),
            Extents::Pieces(len) => {
                for run in &data {
                    let mut at = run.start;
                    while at < run.end {
                        let end = run.end.min(at + len);
                        add(at, end);
                        at = end;
                    }
                }
            }
            Extents::Tight(at_start, at_end) => {
                for run in &data {
                    let shift = |at: u64, by: i64| at.saturating_add_signed(by);
                    add(shift(run.start, at_start), shift(run.end, at_end));
                }
            }
            Extents::Whole | Extents::Wide(_) => {
                let (before, after) = match self.extents {
                    Extents::Wide(pages) => wide(pages),
                    _ => wide(500),
                };
                for run in &data {
                    add(run.start.saturating_sub(before), run.end + after);
                }
            }
        }
        Layout::new(size, &data, extents, self.brings_footer)
    }
}

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    Head,
    Create,
    /// A page list.
    List,
    /// Content of the disk.
    Data,
    /// The footer's page before everything else, as zeros.
    Erase,
    /// The footer.
    Footer,
    Clear,
    /// Zeros in the place of a Clear that is refused.
    Zeros,
    /// Reading back.
    Get,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// An error of the service, perhaps with seconds in `Retry-After`; nothing is done.
    Status(u16, &'static str, Option<u8>),
    /// `OperationTimedOut` after half a minute, done or not.
    TimedOut(bool),
    NoConnection,
    /// The connection breaks before anything is done.
    ResetBefore,
    /// The connection breaks when it is done.
    ResetAfter,
    /// The answer breaks off.
    BrokenAnswer,
    /// No answer ever comes, though it may be done.
    Silence(bool),
    /// It takes so many milliseconds.
    Slow(u16),
    /// The connection breaks at once, and what was sent is done so many milliseconds later.
    Late(u16),
    /// From now on all accesses that were handed out are refused.
    Expire,
    /// A byte is flipped on the way.
    Damage,
    /// The service says that it is done and forgets it.
    Lost,
    /// The answer is cut off, and says that it is whole.
    Garbled,
}

/// A fault for some requests of a phase.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) phase: Phase,
    /// Requests of the phase that pass before, in one run.
    pub(super) skip: u16,
    /// Requests that it is for, in a row.
    pub(super) times: u8,
    pub(super) fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lists {
    Given,
    Refused(u16, &'static str),
}

/// What the service is like.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) lists: Lists,
    /// Ranges in one part of a list.
    pub(super) list_part: usize,
    /// Lists are exact to so many bytes.
    pub(super) list_unit: u64,
    /// A list of more MiB than this times out.
    pub(super) list_most: Option<u64>,
    pub(super) clears: bool,
    pub(super) reads: bool,
    pub(super) crc64: bool,
    pub(super) md5: bool,
    /// The longest usual answer, in milliseconds.
    pub(super) latency: u64,
    /// Whether HEAD says what kind of blob it is.
    pub(super) names_type: bool,
}

/// Old data: near the start of a planned range, or anywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Old {
    pub(super) near: bool,
    pub(super) at: u16,
    pub(super) by: i64,
    pub(super) pages: u64,
}

impl Old {
    pub(super) fn range(&self, layout: &Layout, plan: &[Range<u64>]) -> Range<u64> {
        let pages = layout.disk() / PAGE;
        let anchor = match plan.len() {
            0 => pages / 65_536 * u64::from(self.at),
            _ if !self.near => pages / 65_536 * u64::from(self.at),
            n => plan[usize::from(self.at) % n].start / PAGE,
        };
        let start = anchor.saturating_add_signed(self.by).min(pages - 1);
        start * PAGE..(start + self.pages).min(pages) * PAGE
    }
}

/// How an upload is ended from outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) when: When,
    /// Cancelled, or dropped.
    pub(super) cancel: bool,
    /// Bytes that the journal loses at its end, and whether garbage takes their place.
    pub(super) torn: Option<(u8, bool)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    /// With the so-many-th request.
    Request(u16),
    Millis(u32),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub(super) renewable: bool,
    /// Seconds that one is good for; `None`: for ever, and nobody says.
    pub(super) lasts: Option<u32>,
    /// Milliseconds that getting one takes.
    pub(super) takes: u16,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) shape: Shape,
    pub(super) target: UploadTarget,
    /// Whether the blob is there before.
    pub(super) exists: bool,
    pub(super) old: Vec<Old>,
    pub(super) old_footer: bool,
    pub(super) service: Service,
    pub(super) access: Access,
    pub(super) verify: Verify,
    pub(super) concurrency: Concurrency,
    pub(super) memory: u64,
    /// Bytes per second.
    pub(super) bandwidth: Option<u64>,
    pub(super) journal: bool,
    pub(super) cuts: Vec<Cut>,
    pub(super) rules: Vec<Rule>,
    /// Requests of a thousand that fail in some way that passes.
    pub(super) noise: u64,
    /// No faults after the last cut.
    pub(super) calm_end: bool,
    pub(super) read_fails: Option<u64>,
    pub(super) changes: Option<u64>,
    /// What chance that is not drawn here depends on.
    pub(super) dice: u64,
}

impl Case {
    /// A limit that no run may reach: what it can wait for, twenty times over.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(24 * 3600)
    }

    /// Whether the list of the target shows every write that got lost.
    pub(super) fn tells_lost_writes(&self) -> bool {
        self.old.is_empty()
            && self.verify != Verify::None
            && self.service.lists == Lists::Given
            && self.service.list_unit == PAGE
            && !self.lists_may_be_denied()
    }

    /// Whether a question for a list may once be answered as if lists were not allowed.
    pub(super) fn lists_may_be_denied(&self) -> bool {
        self.rules.iter().any(|rule| {
            rule.phase == Phase::List
                && match rule.fault {
                    Fault::Garbled | Fault::Expire => true,
                    Fault::Status(status, ..) => !matches!(status, 408 | 429 | 500..),
                    _ => false,
                }
        })
    }
}
