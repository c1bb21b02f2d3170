//! Where a local Azure that runs can be reached, for programs that know its state directory.
//!
//! It is a file beside the state, there from the moment that the ports are listened on until the
//! directory is free again. A process that was killed leaves its file; that the lock is free shows
//! that nobody stands behind it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::EmulatorError;
use crate::state::write_atomically;

const FILE: &str = "running.json";

/// A local Azure that runs, in this process or another.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Running {
    /// The id of its process.
    pub process: u32,
    /// The base URL of Resource Manager and of login.
    pub arm_url: String,
    /// The base URL of the page blobs.
    pub blob_url: String,
    /// The forward proxy for Azure's own host names, where there is one.
    #[serde(default)]
    pub proxy_url: Option<String>,
    /// The certificate to trust.
    pub ca_path: PathBuf,
    /// Where its state is.
    pub state_dir: PathBuf,
    /// The one subscription.
    pub subscription_id: String,
    /// The tenant it belongs to.
    pub tenant_id: String,
    /// The service principal that may log in and do everything.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("process", &self.process)
            .field("arm_url", &self.arm_url)
            .field("blob_url", &self.blob_url)
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// The one that runs on a state directory, if there is one. Reads two files and blocks for it.
    ///
    /// # Errors
    /// When a file in the directory cannot be read.
    pub fn find(state_dir: &Path) -> Result<Option<Self>, EmulatorError> {
        let lock = state_dir.join("lock");
        match File::open(&lock) {
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
                // Nobody holds it.
                Ok(()) => return Ok(None),
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(EmulatorError::io("lock", &lock, errno.into())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(EmulatorError::io("open", &lock, error)),
        }
        let path = state_dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| EmulatorError::io("read", &path, error.into())),
            // It is about to start, or to end.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EmulatorError::io("read", &path, error)),
        }
    }
}

/// The file, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Announcement(PathBuf);

impl Announcement {
    /// Says where it can be reached. The caller holds the lock of the directory.
    pub(crate) fn make(running: &Running) -> Result<Self, EmulatorError> {
        let path = running.state_dir.join(FILE);
        serde_json::to_vec_pretty(running)
            .map_err(io::Error::from)
            .and_then(|json| write_atomically(&path, &json, false))
            .map_err(|error| EmulatorError::io("write", &path, error))?;
        Ok(Self(path))
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "it stays, and means nothing");
        }
    }
}
