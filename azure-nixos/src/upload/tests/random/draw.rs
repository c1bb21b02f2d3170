//! How cases are drawn: which values, and how often.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use super::case::{
    Access, Before, Case, Cut, Extents, Fault, Lists, Old, Phase, Rule, Service, Shape, When,
};
use crate::upload::plan::PAGE;
use crate::upload::{Concurrency, UploadTarget, Verify};

const MIB: u64 = 1 << 20;

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
