//! Copies of whole disks, beside the requests: an image is its disk's content at one moment.
//!
//! A copy belongs to an operation, which ends after it. One that a stopped process left unfinished
//! is begun again at the next start.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use uuid::Uuid;

use super::lro::{Copying, Work};
use super::{Arm, own_copy};

/// How much is read at once. Memory is this, whatever the size of the disk.
const PIECE: usize = 1 << 20;

impl Arm {
    /// Starts the copy that an operation waits for.
    pub(crate) fn start_copy(self: &Arc<Self>, operation: Uuid, copying: &Copying) {
        if self.is_losing() {
            return;
        }
        let arm = Arc::clone(self);
        let (files, frozen) = (copying.files.clone(), copying.frozen);
        let durable = self.settings().durable;
        self.copies().spawn_blocking(move || {
            let result = files.iter().try_for_each(|(from, to)| {
                let copied = if frozen {
                    own_copy::share(from, to, durable)
                } else {
                    copy_sparse(from, to, durable)
                };
                copied.map_err(|error| format!("copying {}: {error}", from.display()))
            });
            arm.copy_ended(operation, result);
        });
    }

    /// Starts the copies again that a stopped process left unfinished.
    pub(crate) fn resume_copies(self: &Arc<Self>) {
        let unfinished: Vec<_> = self.with_state(|state| {
            state
                .operations
                .values()
                .filter(|operation| operation.is_running())
                .filter_map(|operation| {
                    let copying = operation.work.copying()?;
                    copying
                        .result
                        .is_none()
                        .then(|| (operation.id, copying.clone()))
                })
                .collect()
        });
        for (operation, copying) in unfinished {
            self.start_copy(operation, &copying);
        }
    }

    /// Waits for all copies; none can begin afterwards.
    pub(crate) async fn finish_copies(&self) {
        self.copies().close();
        self.copies().wait().await;
    }

    fn copy_ended(&self, operation: Uuid, result: Result<(), String>) {
        self.change_state(|state| {
            match state
                .operations
                .get_mut(&operation)
                .filter(|operation| operation.is_running())
                .and_then(|operation| operation.work.copying_mut())
            {
                Some(copying) => {
                    copying.result = Some(result);
                    Vec::new()
                }
                // Preempted by a deletion, which knew nothing of these files yet.
                None => match state
                    .operations
                    .get(&operation)
                    .map(|operation| operation.work.seems())
                {
                    Some(Work::ImageCopied(copying) | Work::VersionCopied(copying, _)) => {
                        copying.files.iter().map(|(_, to)| to.clone()).collect()
                    }
                    _ => Vec::new(),
                },
            }
        })
        .iter()
        .for_each(|orphan| discard(orphan));
    }
}

/// Takes away a copy that nobody needs.
pub(super) fn discard(copy: &Path) {
    if let Err(error) = remove_if_there(copy) {
        tracing::warn!(%error, path = %copy.display(), "a copy nobody needs stays");
    }
}

/// Copies what is not a hole. The target appears under its name when it is complete.
pub(crate) fn copy_sparse(from: &Path, to: &Path, durable: bool) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    let temporary = to.with_extension("part");
    remove_if_there(&temporary)?;
    copy_into(from, &temporary, durable)?;
    fs::rename(&temporary, to)
}

/// The same into a new file.
fn copy_into(from: &Path, to: &Path, durable: bool) -> io::Result<()> {
    let source = File::open(from)?;
    let length = source.metadata()?.len();
    let target = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(to)?;
    target.set_len(length)?;
    let mut buffer = vec![0_u8; PIECE];
    let mut position = 0;
    while position < length {
        let start = match seek(&source, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(errno) => return Err(errno.into()),
        };
        let end = seek(&source, SeekFrom::Hole(start))?;
        let mut at = start;
        while at < end {
            let piece = (end - at).min(PIECE as u64) as usize;
            source.read_exact_at(&mut buffer[..piece], at)?;
            target.write_all_at(&buffer[..piece], at)?;
            at += piece as u64;
        }
        position = end;
    }
    if durable {
        target.sync_all()?;
    }
    Ok(())
}

/// Deletes a file; that it is not there is as good.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn content_is_the_same_and_holes_stay_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("sub/b"));
        let source = File::create(&from).unwrap();
        source.set_len(256 << 20).unwrap();
        let block: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        source.write_all_at(&block, 77 << 20).unwrap();
        source.write_all_at(b"end", (256 << 20) - 3).unwrap();
        copy_sparse(&from, &to, false).unwrap();
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
        let taken = fs::metadata(&to).unwrap().blocks() * 512;
        assert!(taken < 8 << 20, "{taken} bytes taken");
    }
}
