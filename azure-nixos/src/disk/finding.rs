//! What there is to say about an image: one sentence each, made once, shown by `inspect` and
//! turned into the error of whoever refuses the image.

use serde::Serialize;

use crate::{Error, ErrorKind};

/// How much a [`Finding`] matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// Taken care of on the way; nothing to do.
    Note,
    /// It can be uploaded, but may not do what is expected of it.
    Warning,
    /// It cannot be uploaded like this.
    Problem,
}

/// What a [`Finding`] is about; the part of it that programs decide on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FindingKind {
    /// A format that is recognised but not read.
    UnsupportedFormat,
    /// A disk of another format lies inside a fixed VHD, or a dynamic VHD says that it is fixed.
    WrappedFormat,
    /// A differencing disk: useless without its parent.
    NeedsParent,
    /// It uses something of its format that is not read.
    UnsupportedFeature,
    /// It holds earlier states of the disk too, which are left out.
    Snapshots,
    /// Changes wait in its log to be carried out.
    DirtyLog,
    /// The size is not a whole number of sectors.
    UnalignedSize,
    /// The size is not a whole number of MiB, or below the smallest disk.
    PaddedSize,
    /// Larger than any managed disk.
    TooLarge,
    /// Larger than a disk that a machine can boot from.
    TooLargeForOsDisk,
    /// Larger than an MBR can describe.
    BeyondMbr,
    /// Named `.vhd` but without a footer: a raw image.
    MissingFooter,
    /// A footer lies inside the file, with data after it.
    BuriedFooter,
    /// The 511-byte footer of early Virtual PC.
    OldFooter,
    /// The footer is there and damaged, or contradicts the file.
    DamagedFooter,
    /// A header or a table of the format is damaged, or contradicts itself.
    DamagedHeader,
    /// A block table points to where no block can be.
    DamagedTable,
    /// What is compressed cannot be unpacked.
    DamagedStream,
    /// It does not say how large its content is.
    UnknownSize,
    /// The disk is not of the size that the caller says.
    UnexpectedSize,
    /// The file ends before the disk does.
    Truncated,
    /// The name of the file speaks of another format than its content.
    MisleadingName,
    /// There is no partition table.
    NoPartitionTable,
    /// The partition table is damaged, or a copy of it is.
    DamagedPartitionTable,
    /// The disk or its partition table is made for 4096-byte sectors.
    SectorSize,
    /// Neither Hyper-V generation is known to boot it, or only under conditions.
    Generation,
    /// Made for a processor that Azure does not have, or has no managed images for.
    Architecture,
    /// What UEFI would start is missing, damaged, or for another processor than its name says.
    BootLoader,
}

/// One thing to say about an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// How much it matters.
    pub severity: Severity,
    /// What is the case, as a clause that names the file or the part of it.
    pub what: String,
    /// What Azure would do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<String>,
    /// What is done about it here, or what the reader can do.
    pub remedy: String,
}

impl Finding {
    pub(super) fn new(
        severity: Severity,
        kind: FindingKind,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            severity,
            what: what.into(),
            azure: None,
            remedy: remedy.into(),
        }
    }

    pub(super) fn problem(
        kind: FindingKind,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Problem, kind, what, remedy)
    }

    pub(super) fn warning(
        kind: FindingKind,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, kind, what, remedy)
    }

    pub(super) fn azure(mut self, says: impl Into<String>) -> Self {
        self.azure = Some(says.into());
        self
    }

    /// Whether it forbids the upload.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        self.severity == Severity::Problem
    }
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Self {
        let error = Self::new(ErrorKind::InvalidImage, finding.what).with_hint(finding.remedy);
        match finding.azure {
            Some(says) => error.with_context("Azure would say", says),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_the_sentence_and_the_way_out() {
        let error = Error::from(
            Finding::problem(
                FindingKind::TooLarge,
                "web.raw is too large",
                "make it smaller",
            )
            .azure("InvalidParameter"),
        );
        assert_eq!(error.to_string(), "web.raw is too large");
        assert_eq!(error.hint(), Some("make it smaller"));
        assert!(error.report().contains("InvalidParameter"));
    }
}
