//! Why a format's reader stopped: something is wrong with the image, or it could not be read.
//!
//! The first is a [`Finding`], which `inspect` shows and whoever opens the image gets as an error;
//! the second is an error everywhere.

use super::finding::{Finding, FindingKind};
use crate::Error;

#[derive(Debug)]
pub(super) enum Fault {
    /// The image is damaged, or of a kind that is not read.
    Found(Box<Finding>),
    /// The file failed.
    Failed(Error),
}

impl From<Finding> for Fault {
    fn from(finding: Finding) -> Self {
        Self::Found(Box::new(finding))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Found(finding) => (*finding).into(),
            Fault::Failed(error) => error,
        }
    }
}

/// What Azure says to every format but its own.
pub(super) const ONLY_FIXED: &str = "InvalidVhd: only fixed VHDs are taken";
/// What helps against most damage.
const AGAIN: &str = "build or fetch the image again";

/// What a message calls the parent of a disk that holds only differences. Its name comes from whoever made
/// the image: nothing in it reaches a terminal as it is, and no more of it than paths have.
pub(super) fn parent_called(name: Option<&str>) -> String {
    /// Characters that are shown.
    const SHOWN: usize = 260;
    match name {
        None => "its parent, which it does not name".to_owned(),
        Some(name) if name.chars().count() > SHOWN => {
            let start: String = name.chars().take(SHOWN).collect();
            format!("its parent {start:?}…")
        }
        Some(name) => format!("its parent {name:?}"),
    }
}

/// A header or a table that is damaged or contradicts itself.
pub(super) fn damaged(what: impl Into<String>) -> Finding {
    Finding::problem(FindingKind::DamagedHeader, what, AGAIN).azure(ONLY_FIXED)
}

/// A block table that points to where no block can be.
pub(super) fn astray(what: impl Into<String>) -> Finding {
    Finding::problem(FindingKind::DamagedTable, what, AGAIN).azure(ONLY_FIXED)
}

/// A file that ends before what its tables speak of.
pub(super) fn truncated(what: impl Into<String>) -> Finding {
    Finding::problem(
        FindingKind::Truncated,
        what,
        "the file was cut off: build or fetch the image again",
    )
    .azure(ONLY_FIXED)
}
