//! One file per command.

mod boot_vm;
mod change_vm;
mod check;
mod convert;
mod delete_vm;
#[cfg(feature = "local")]
mod demo;
#[cfg(feature = "local")]
mod emulator;
#[cfg(feature = "local")]
mod emulator_env;
mod inspect;
mod inventory;
mod list_vms;
mod serial_log;
mod show_vm;
mod ssh;
mod upload_image;
mod upload_vhd;

pub(crate) use boot_vm::boot_vm;
pub(crate) use change_vm::{resize, restart, start, stop};
pub(crate) use check::check;
pub(crate) use convert::convert;
pub(crate) use delete_vm::delete_vm;
#[cfg(feature = "local")]
pub(crate) use demo::demo;
#[cfg(feature = "local")]
pub(crate) use emulator::emulator;
pub(crate) use inspect::inspect;
pub(crate) use inventory::inventory;
pub(crate) use list_vms::list_vms;
pub(crate) use serial_log::serial_log;
pub(crate) use show_vm::show_vm;
pub(crate) use ssh::ssh;
pub(crate) use upload_image::upload_image;
pub(crate) use upload_vhd::upload_vhd;

use azure_nixos::ByteSize;
use azure_nixos::upload::UploadReport;
use serde::Serialize;

/// The part of a result that says how the bytes went; all zero when they were there already.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counts {
    bytes_logical: u64,
    bytes_sent: u64,
    bytes_resumed: u64,
    bytes_skipped: u64,
    requests: u64,
    retries: u64,
    integrity: Option<String>,
    verified: Option<String>,
}

impl From<Option<&UploadReport>> for Counts {
    fn from(report: Option<&UploadReport>) -> Self {
        report.map_or_else(Self::default, |report| Self {
            bytes_logical: report.bytes_logical,
            bytes_sent: report.bytes_sent,
            bytes_resumed: report.bytes_resumed,
            bytes_skipped: report.bytes_skipped,
            requests: report.requests,
            retries: report.retries,
            integrity: Some(report.integrity.to_string()),
            verified: Some(report.verified.to_string()),
        })
    }
}

/// How an upload went, for a person.
pub(crate) fn summary(report: &UploadReport) -> String {
    let retries = match report.retries {
        0 => String::new(),
        1 => " (1 retry)".to_owned(),
        more => format!(" ({more} retries)"),
    };
    let resumed = match report.bytes_resumed {
        0 => String::new(),
        bytes => format!(", {} had arrived before", ByteSize::bytes(bytes)),
    };
    format!(
        "sent {} of {} in {} requests{retries}{resumed}; {} were empty",
        ByteSize::bytes(report.bytes_sent),
        ByteSize::bytes(report.bytes_logical),
        report.requests,
        ByteSize::bytes(report.bytes_skipped)
    )
}
