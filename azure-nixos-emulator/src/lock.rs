//! One local Azure per state directory.
//!
//! The lock is an flock on a file, so it ends with the process that holds it, however that ends.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::Instant;

use crate::error::EmulatorError;
use crate::running::{Announcement, Running};

/// How often a held lock is tried again. Commands of a few hundred milliseconds follow each other.
const POLL: Duration = Duration::from_millis(25);

/// Whoever waits longer than this is told for whom.
const QUIET: Duration = Duration::from_secs(1);

/// The right to use a state directory; dropping it gives the right back.
#[derive(Debug)]
pub(crate) struct StateLock {
    /// Goes before the lock does: fields are dropped in this order.
    announcement: Option<Announcement>,
    _file: File,
}

impl StateLock {
    /// Takes the lock of `state_dir`, waiting at most `patience` for another holder to finish.
    pub(crate) async fn take(state_dir: &Path, patience: Duration) -> Result<Self, EmulatorError> {
        let path = state_dir.join("lock");
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| EmulatorError::io("open", &path, source))?;
        let started = Instant::now();
        let deadline = started + patience;
        let mut said = false;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    if !said && Instant::now() > started + QUIET {
                        said = true;
                        tracing::warn!(
                            "waiting for {}, which uses the local Azure in {}",
                            holder(&mut file),
                            state_dir.display()
                        );
                    }
                    tokio::time::sleep(POLL).await;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(EmulatorError::new(format!(
                        "the local Azure in {} is in use by {} and stayed so for {} seconds; wait for it, end it, or choose another state directory",
                        state_dir.display(),
                        holder(&mut file),
                        patience.as_secs()
                    )));
                }
                Err(errno) => return Err(EmulatorError::io("lock", &path, errno.into())),
            }
        }
        let program = std::env::args_os()
            .next()
            .map(|program| program.to_string_lossy().into_owned())
            .unwrap_or_default();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "process {} ({program})", std::process::id()))
            .map_err(|source| EmulatorError::io("write", &path, source))?;
        Ok(Self {
            announcement: None,
            _file: file,
        })
    }

    /// Says where the holder can be reached, for as long as it holds the lock.
    pub(crate) fn announce(&mut self, running: &Running) -> Result<(), EmulatorError> {
        self.announcement = Some(Announcement::make(running)?);
        Ok(())
    }
}

/// Who holds the lock, as it wrote there. That is a courtesy: a name that cannot be read must not
/// hide the lock.
fn holder(file: &mut File) -> String {
    let mut name = String::new();
    let _ = file
        .rewind()
        .and_then(|()| file.read_to_string(&mut name).map(drop));
    match name.trim() {
        "" => "another process".to_owned(),
        named => named.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_holder_waits_and_then_learns_who_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = StateLock::take(dir.path(), Duration::ZERO).await.unwrap();
        let refused = StateLock::take(dir.path(), Duration::from_millis(60))
            .await
            .unwrap_err()
            .to_string();
        let us = format!("process {}", std::process::id());
        assert!(refused.contains(&us), "{refused}");
        drop(first);
        StateLock::take(dir.path(), Duration::ZERO).await.unwrap();
    }
}
