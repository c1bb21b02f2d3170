//! How long operations take, and how soon a client is told to ask again.

use std::time::{Duration, SystemTime};

use super::id::{Kind, ResourceId};
use super::lro::{Operation, Work};
use crate::state::Power;

/// How long the long-running operations of a local Azure take, by its [`Clock`](crate::Clock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timing {
    /// All of them this long. `Retry-After` is what is left of it, 10 s at most.
    Uniform(Duration),
    /// About as long as in recordings of Azure, and with its `Retry-After`: a disk is made in a
    /// moment, a machine in 40 s, an image version is replicated in seven minutes.
    LikeAzure,
}

impl Default for Timing {
    /// Everything is finished when it is first asked for.
    fn default() -> Self {
        Self::Uniform(Duration::ZERO)
    }
}

/// Under [`Timing::Uniform`] nobody is told to wait longer than Azure's compute provider says first.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// One kind of operation, as recorded. Whole seconds of `Retry-After`; `None` where there is none.
struct Pace {
    takes: Duration,
    /// With the answer that begins it.
    at_first: Option<u64>,
    /// With the first poll.
    at_first_poll: Option<u64>,
    /// With the later ones.
    later: Option<u64>,
}

const fn pace(
    millis: u64,
    at_first: Option<u64>,
    at_first_poll: Option<u64>,
    later: Option<u64>,
) -> Pace {
    Pace {
        takes: Duration::from_millis(millis),
        at_first,
        at_first_poll,
        later,
    }
}

fn recorded(work: &Work, resource: &str) -> Pace {
    let kind = ResourceId::parse(resource).map(|id| id.kind);
    match work {
        Work::DiskCreated | Work::DiskCopied(_) | Work::DiskUpdated | Work::DiskResized(..) => {
            pace(100, Some(2), None, None)
        }
        Work::DiskGranted { .. } | Work::DiskRevoked => pace(400, None, None, None),
        Work::DiskDeleted => pace(400, None, None, None),
        Work::ImageCopied(_) | Work::ImageUpdated | Work::ImageDeleted => {
            pace(5_000, None, None, None)
        }
        Work::GalleryUpdated | Work::GalleryDeleted => pace(200, None, None, None),
        Work::VersionCopied(..) => pace(420_000, Some(60), Some(60), Some(60)),
        Work::VersionUpdated(_) => pace(120_000, Some(60), Some(60), Some(60)),
        // Such failures have the same time at their start and at their end.
        Work::VersionRefused { .. } => pace(0, Some(60), Some(60), Some(60)),
        Work::VersionDeleted => pace(90_000, Some(60), Some(60), Some(60)),
        // Of scale sets no recording shows the times: they are those of machines.
        Work::VmCreated | Work::ScaleSetUpdated => pace(40_000, Some(10), Some(50), None),
        Work::VmUpdated | Work::VmDisksChanged => pace(10_000, Some(10), None, None),
        Work::VmPower(Power::Stopped) => pace(10_000, None, None, None),
        Work::VmPower(_)
        | Work::InstancesPower(..)
        | Work::InstancesUpgraded(_)
        | Work::MachinesPowered => pace(30_000, Some(10), Some(36), None),
        Work::VmDeleted
        | Work::InstancesDeleted(_)
        | Work::ScaleSetDeleted
        | Work::MachinesDeleted => pace(40_000, Some(10), Some(30), None),
        Work::NetworkUpdated if kind == Some(Kind::PublicIp) => {
            pace(4_000, Some(1), Some(2), Some(2))
        }
        // An interface is there at once; its operation is over when it is first asked for.
        Work::NetworkUpdated if kind == Some(Kind::Nic) => pace(0, None, None, None),
        Work::NetworkUpdated | Work::SubnetUpdated(_) => pace(5_000, Some(3), Some(10), Some(10)),
        Work::NetworkDeleted if kind == Some(Kind::Nic) => pace(1_000, None, None, None),
        Work::NetworkDeleted | Work::SubnetDeleted(_) | Work::SecurityRuleDeleted(_) => {
            pace(10_000, Some(10), Some(10), Some(10))
        }
        Work::StorageCreated => pace(17_000, Some(17), Some(17), Some(17)),
        Work::GroupDeleted => pace(30_000, Some(15), Some(15), Some(15)),
        Work::Lost { seems, .. } | Work::Failing { seems, .. } => recorded(seems, resource),
    }
}

impl Timing {
    /// How long the registration of a resource provider takes.
    pub(crate) fn registration(self) -> Duration {
        match self {
            Self::Uniform(delay) => delay,
            // It is said to take minutes at times; no recording shows how many.
            Self::LikeAzure => Duration::from_secs(30),
        }
    }

    /// How long a gallery takes to see that something inside of it is gone, after the operation
    /// that deleted it. It is reported of Azure, with about this time: what was around it cannot be
    /// deleted before.
    pub(crate) fn gallery_lag(self) -> Duration {
        match self {
            Self::Uniform(_) => Duration::ZERO,
            Self::LikeAzure => Duration::from_secs(20),
        }
    }

    /// How long an operation takes.
    pub(crate) fn takes(self, work: &Work, resource: &str) -> Duration {
        match self {
            Self::Uniform(delay) => delay,
            Self::LikeAzure => recorded(work, resource).takes,
        }
    }

    /// The `Retry-After` of an answer about an operation that runs, `polls` questions after it
    /// began; `None` where Azure sends none.
    pub(crate) fn retry_after(
        self,
        operation: &Operation,
        polls: u32,
        now: SystemTime,
    ) -> Option<u64> {
        match self {
            Self::Uniform(_) => Some(match operation.due.duration_since(now) {
                Ok(left) => left.min(LONGEST_WAIT).as_secs(),
                // Overdue: a copy or an access holds it up. A moment's wait first, as copies are short.
                Err(over) => u64::from(over.duration() > Duration::from_millis(500)),
            }),
            Self::LikeAzure => {
                let pace = recorded(&operation.work, &operation.resource);
                match polls {
                    0 => pace.at_first,
                    1 => pace.at_first_poll,
                    _ => pace.later,
                }
            }
        }
    }
}
