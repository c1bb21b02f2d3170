//! Real clients against the local Azure: `az`, Microsoft's SDKs for Python and AzCopy.
//!
//! They are the judges that know nothing of this project. Each test starts a local Azure of its own and
//! drives it as a user would; what was written is compared byte by byte, and what one client made
//! another uses.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this binary is a test"
)]

mod az;
mod azcopy;
mod disks;
mod galleries;
mod identities;
mod judged;
mod machines;
mod made;
mod network;
mod program;
mod scale_sets;
mod sdk;
mod storage;
