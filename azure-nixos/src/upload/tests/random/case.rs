//! What one case is: a disk, a target, settings, and all that goes wrong. Drawn by proptest, so that
//! a case that fails becomes a small one.

use std::ops::Range;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

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
    size: u64,
    runs: Vec<(Before, u64)>,
    /// Whether the very last page has data.
    last_page: bool,
    extents: Extents,
    brings_footer: bool,
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
    near: bool,
    at: u16,
    by: i64,
    pages: u64,
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

fn shape() -> impl Strategy<Value = Shape> {
    let size = prop_oneof![
        6 => 1u64..80_000,
        2 => (19u64..64).prop_map(|mib| mib * MIB / PAGE),
        2 => 80_000u64..1_300_000,
        1 => (1u64..32_768).prop_map(|gib| (gib << 30) / PAGE),
    ];
    let before = prop_oneof![
        3 => (0u64..4).prop_map(Before::Pages),
        3 => (243u64..250).prop_map(Before::Pages),
        3 => (1u64..3000).prop_map(Before::Pages),
        1 => (8189u64..8196).prop_map(Before::Pages),
        1 => (131_069u64..131_076).prop_map(Before::Pages),
        2 => any::<u16>().prop_map(Before::Share),
    ];
    let len = prop_oneof![
        240 => 1u64..20,
        120 => 1u64..300,
        10 => 500u64..2000,
        2 => 8189u64..8196,
        1 => 8000u64..20_000,
    ];
    let extents = prop_oneof![
        2 => Just(Extents::Tight(0, 0)),
        2 => (-700i64..700, -700i64..700).prop_map(|(start, end)| Extents::Tight(start, end)),
        2 => (0u64..600).prop_map(Extents::Wide),
        2 => (1u64..200_000).prop_map(Extents::Pieces),
        1 => Just(Extents::Whole),
    ];
    (
        size,
        vec((before, len), 0..8),
        any::<bool>(),
        extents,
        any::<bool>(),
    )
        .prop_map(|(size, runs, last_page, extents, brings_footer)| {
            let extents = match extents {
                // A run of many pages in tiny pieces takes long and shows nothing.
                Extents::Pieces(len) => {
                    let longest = runs.iter().map(|(_, pages)| *pages).max().unwrap_or(0);
                    Extents::Pieces(len.max(longest * PAGE / 100).max(1))
                }
                other => other,
            };
            Shape {
                size,
                runs,
                last_page,
                extents,
                brings_footer,
            }
        })
}

fn service() -> impl Strategy<Value = Service> {
    let lists = prop_oneof![
        12 => Just(Lists::Given),
        1 => Just(Lists::Refused(403, "AuthorizationPermissionMismatch")),
        1 => Just(Lists::Refused(501, "NotImplemented")),
        1 => Just(Lists::Refused(400, "UnsupportedQueryParameter")),
    ];
    (
        lists,
        prop_oneof![1usize..4, 1usize..50, Just(10_000)],
        prop_oneof![6 => Just(1u64), 1 => Just(8), 1 => Just(128)].prop_map(|pages| pages * PAGE),
        prop_oneof![30 => Just(None), 1 => (144u64..800).prop_map(Some)],
        proptest::bool::weighted(0.7),
        proptest::bool::weighted(0.8),
        proptest::bool::weighted(0.92),
        proptest::bool::weighted(0.7),
        prop_oneof![4 => Just(0u64), 4 => 1u64..30, 4 => 1u64..1500, 1 => 1u64..20_000],
        any::<bool>(),
    )
        .prop_map(
            |(
                lists,
                list_part,
                list_unit,
                list_most,
                clears,
                reads,
                crc64,
                md5,
                latency,
                names_type,
            )| {
                Service {
                    lists,
                    list_part,
                    list_unit,
                    list_most,
                    clears,
                    reads,
                    crc64,
                    md5,
                    latency,
                    names_type,
                }
            },
        )
}

/// Faults that pass, for any request.
fn transient() -> impl Strategy<Value = Fault> {
    let after = || prop_oneof![3 => Just(None), 1 => (0u8..40).prop_map(Some)];
    prop_oneof![
        3 => after().prop_map(|after| Fault::Status(503, "ServerBusy", after)),
        1 => after().prop_map(|after| Fault::Status(429, "TooManyRequests", after)),
        2 => Just(Fault::Status(500, "InternalError", None)),
        1 => Just(Fault::Status(408, "", None)),
        1 => Just(Fault::Status(502, "", None)),
        1 => Just(Fault::Status(504, "", None)),
        2 => any::<bool>().prop_map(Fault::TimedOut),
        2 => Just(Fault::NoConnection),
        2 => Just(Fault::ResetBefore),
        2 => Just(Fault::ResetAfter),
        2 => Just(Fault::BrokenAnswer),
        1 => any::<bool>().prop_map(Fault::Silence),
        2 => (0u16..50_000).prop_map(Fault::Slow),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let phase = prop_oneof![
        1 => Just(Phase::Head),
        1 => Just(Phase::Create),
        3 => Just(Phase::List),
        6 => Just(Phase::Data),
        1 => Just(Phase::Erase),
        3 => Just(Phase::Footer),
        2 => Just(Phase::Clear),
        1 => Just(Phase::Zeros),
        2 => Just(Phase::Get),
    ];
    let permanent = prop_oneof![
        Just(Fault::Status(404, "BlobNotFound", None)),
        Just(Fault::Status(409, "OperationNotAllowed", None)),
        Just(Fault::Status(412, "LeaseIdMissing", None)),
        Just(Fault::Status(413, "RequestBodyTooLarge", None)),
        Just(Fault::Status(416, "InvalidPageRange", None)),
        Just(Fault::Status(400, "InvalidInput", None)),
    ];
    let fault = prop_oneof![
        12 => transient(),
        2 => Just(Fault::Expire),
        2 => (1u16..60_000).prop_map(Fault::Late),
        1 => Just(Fault::Damage),
        1 => Just(Fault::Lost),
        1 => Just(Fault::Garbled),
        1 => permanent,
    ];
    let times = prop_oneof![6 => Just(1u8), 3 => 1u8..6, 1 => 1u8..40];
    (
        phase,
        prop_oneof![2 => 0u16..3, 1 => 0u16..30],
        times,
        fault,
    )
        .prop_map(|(phase, skip, times, fault)| {
            let phase = match fault {
                // Nothing finds a footer that is lost, but whoever makes a disk of it; and a blob
                // that was erased, or cleared, late is another story than what is sent twice.
                Fault::Lost | Fault::Damage | Fault::Late(_) => Phase::Data,
                Fault::Garbled => Phase::List,
                // The SDK takes 416 for an empty blob, and reads the whole of it instead.
                Fault::Status(416, ..) if phase == Phase::Get => Phase::Data,
                _ => phase,
            };
            // Each takes minutes, and minutes are ten thousand ticks of the progress.
            let most = match fault {
                Fault::Silence(_) | Fault::TimedOut(_) | Fault::Slow(_) => 3,
                Fault::Status(_, _, Some(_)) => 6,
                Fault::Expire | Fault::Lost => 2,
                _ => u8::MAX,
            };
            Rule {
                phase,
                skip,
                times: times.min(most),
                fault,
            }
        })
}

fn cut() -> impl Strategy<Value = Cut> {
    let when = prop_oneof![
        4 => (1u16..12).prop_map(When::Request),
        1 => (1u16..60).prop_map(When::Request),
        2 => (0u32..3000).prop_map(When::Millis),
        1 => (0u32..100_000).prop_map(When::Millis),
    ];
    let torn = prop_oneof![
        3 => Just(None),
        1 => (0u8..60, any::<bool>()).prop_map(Some),
    ];
    (when, any::<bool>(), torn).prop_map(|(when, cancel, torn)| Cut { when, cancel, torn })
}

fn access() -> impl Strategy<Value = Access> {
    (
        proptest::bool::weighted(0.8),
        prop_oneof![6 => Just(None), 1 => (60u32..100).prop_map(Some), 1 => (60u32..4000).prop_map(Some)],
        0u16..2000,
    )
        .prop_map(|(renewable, lasts, takes)| Access {
            renewable,
            lasts: lasts.filter(|_| renewable),
            takes,
        })
}

fn target() -> impl Strategy<Value = (UploadTarget, bool)> {
    prop_oneof![
        24 => Just((UploadTarget::ManagedDisk, true)),
        6 => Just((UploadTarget::PageBlob { create: false }, true)),
        6 => Just((UploadTarget::PageBlob { create: true }, true)),
        6 => Just((UploadTarget::PageBlob { create: true }, false)),
        1 => Just((UploadTarget::PageBlob { create: false }, false)),
    ]
}

fn old() -> impl Strategy<Value = (Vec<Old>, bool)> {
    let one =
        (any::<bool>(), any::<u16>(), -300i64..300, 1u64..300).prop_map(|(near, at, by, pages)| {
            Old {
                near,
                at,
                by,
                pages,
            }
        });
    prop_oneof![
        2 => Just((Vec::new(), false)),
        1 => (vec(one, 0..5), any::<bool>()),
    ]
}

/// The last but one: how many seconds the sending is to take at least.
fn options() -> impl Strategy<Value = (Verify, Concurrency, u64, Option<u64>, bool)> {
    (
        prop_oneof![4 => Just(Verify::Ranges), 1 => Just(Verify::None), 2 => Just(Verify::Contents)],
        prop_oneof![
            2 => Just(Concurrency::Auto),
            1 => (1usize..20).prop_map(Concurrency::Fixed),
        ],
        prop_oneof![(0u64..24).prop_map(|mib| mib * MIB), Just(64 * MIB)],
        prop_oneof![8 => Just(None), 1 => (1u64..120).prop_map(Some)],
        proptest::bool::weighted(0.7),
    )
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    let seldom =
        |one_in: u32, read: Range<u64>| prop_oneof![one_in => Just(None), 1 => read.prop_map(Some)];
    let trouble = (
        prop_oneof![2 => Just(Vec::new()), 1 => vec(cut(), 1..4)],
        prop_oneof![1 => Just(Vec::new()), 3 => vec(rule(), 0..4)],
        prop_oneof![4 => Just(0u64), 2 => 1u64..300],
        any::<bool>(),
        seldom(24, 0..40),
        seldom(12, 0..10),
        any::<u64>().no_shrink(),
    );
    (
        shape(),
        target(),
        old(),
        service(),
        access(),
        options(),
        trouble,
    )
        .prop_map(|(shape, target, old, service, access, options, trouble)| {
            let (verify, concurrency, memory, bandwidth, journal) = options;
            let (cuts, mut rules, noise, calm_end, read_fails, changes, dice) = trouble;
            let exists = target.1;
            let (old, old_footer) = match (exists, target.0, service.lists) {
                (false, ..) => (Vec::new(), false),
                // A disk for upload that does not say what it holds is believed to be empty.
                (_, UploadTarget::ManagedDisk, Lists::Refused(..)) => (Vec::new(), old.1),
                _ => old,
            };
            let layout = shape.layout();
            let mut service = service;
            if layout.disk() > 8 << 30 {
                service.list_most = None;
            }
            rules.truncate(4);
            let mut case = Case {
                shape,
                target: target.0,
                exists,
                old,
                old_footer,
                service,
                access,
                verify,
                concurrency,
                memory,
                bandwidth: bandwidth.map(|seconds| {
                    let bytes: u64 = layout
                        .plan()
                        .iter()
                        .map(|range| range.end - range.start)
                        .sum();
                    (bytes / seconds).max(512)
                }),
                journal,
                cuts,
                rules,
                noise,
                calm_end,
                read_fails,
                changes,
                dice,
            };
            // Where nothing can find a lost write, none is promised to be found.
            if !case.tells_lost_writes() {
                case.rules.retain(|rule| rule.fault != Fault::Lost);
            }
            // The same for damage where no checksum is taken: there, TLS keeps it away.
            if !(case.service.crc64 || case.service.md5) {
                case.rules.retain(|rule| rule.fault != Fault::Damage);
            }
            // A disk that does not say what it holds is believed to be empty.
            if case.target == UploadTarget::ManagedDisk && case.lists_may_be_denied() {
                case.old.clear();
            }
            case
        })
}
