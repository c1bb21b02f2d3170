//! The options of commands that upload, and where journals are kept.

use std::path::PathBuf;

use azure_nixos::ByteSize;
use azure_nixos::upload::{Concurrency, UploadOptions, Verify};
use clap::{Args, ValueEnum};

use crate::output;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Upload options")]
pub(crate) struct Transfer {
    /// Send everything, although an earlier upload of this to the same target could be gone on with
    #[arg(long)]
    restart: bool,
    /// Where it is noted what has arrived, so that an upload that was interrupted can be gone on with
    /// [default: ~/.local/state/azure-nixos/uploads]
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Bytes per second that are not exceeded, as "10 MiB" [default: as many as the network takes]
    #[arg(long, value_name = "RATE", value_parser = size)]
    max_bandwidth: Option<ByteSize>,
    /// How many requests are on their way at once [default: as many as the network is found to take]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: Option<u16>,
    /// Memory for what is on its way, at least 8 MiB
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "64 MiB")]
    memory_limit: ByteSize,
    /// How the target is compared with the disk image before the upload counts as done
    #[arg(long, value_name = "HOW", default_value = "ranges")]
    verify: How,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum How {
    /// Not at all; every range carries a checksum all the same
    None,
    /// The target's own list of its pages has to be that of what was sent
    Ranges,
    /// Everything is read back and compared, where the access allows it
    Contents,
}

/// Clap shows one sentence, so the hint goes into it.
pub(crate) fn size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|error: azure_nixos::Error| {
        format!("{error}; {}", error.hint().unwrap_or_default())
    })
}

impl Transfer {
    /// The same for the library. Without a place for journals of its own the upload goes without, and
    /// says so.
    pub(crate) fn options(self) -> UploadOptions {
        let options = UploadOptions::default()
            .afresh(self.restart)
            .max_bandwidth(self.max_bandwidth)
            .concurrency(self.concurrency.map_or(Concurrency::Auto, |requests| {
                Concurrency::Fixed(requests.into())
            }))
            .memory_limit(self.memory_limit)
            .verify(match self.verify {
                How::None => Verify::None,
                How::Ranges => Verify::Ranges,
                How::Contents => Verify::Contents,
            });
        match self.journal.map_or_else(default_journals, Ok) {
            Ok(directory) => options.journal(directory),
            Err(why) => {
                output::warning(&format!(
                    "this upload cannot be gone on with if it is interrupted: {why}"
                ));
                options
            }
        }
    }
}

/// `name` in the directory for what programs of this user remember.
pub(crate) fn state_directory(name: &str) -> Option<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_STATE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("azure-nixos").join(name))
}

fn default_journals() -> Result<PathBuf, String> {
    let directory = state_directory("uploads").ok_or("HOME is not set")?;
    std::fs::create_dir_all(&directory)
        .map_err(|error| format!("cannot create {}: {error}", directory.display()))?;
    Ok(directory)
}
