//! Blobs: those of managed disks and those of storage accounts, and the server for both.
//!
//! [`PageBlobs`] is the whole of it for the rest of the crate. The Resource Manager side makes a
//! blob when a disk for upload is made or of a file that is there, grants and revokes access to it,
//! asks whether its footer is one Azure takes, and removes it. [`PageBlobs::router`] is the data
//! plane that clients talk to with the path that [`PageBlobs::grant`] gave out. All methods except
//! `router` do file I/O: call them on a blocking thread. Storage accounts, and what only they have,
//! are in `account`.
//!
//! # What is on disk
//! `<state>/blobs/<id>.json` is a blob's record: its file, its length, its live access (a hash of
//! the signature, never the signature). `<state>/blobs/<id>.pages` is the list of its written
//! pages. The bytes are a sparse file wherever the caller wants it. One process at a time may have
//! a state directory open; who calls [`PageBlobs::open`] sees to that.
//!
//! # What survives
//! A request that was answered survives the end of the process in any way. A crash of the machine
//! may take what was written since access was last revoked; with `durable`, revoking waits until
//! everything is on the disk.
//!
//! # Where this differs from Azure
//! Nobody outside Microsoft has written down what a managed disk answers to every operation. What
//! is known is done that way; the rest is refused: an operation that would change the blob as a
//! whole (Put Blob, Delete, metadata, properties, tier, lease, snapshot, copy) with 403
//! `AuthorizationPermissionMismatch`, an operation of another blob type with 409
//! `InvalidBlobType`. Reading the content with a write access is allowed. Put Page From URL to a
//! disk is refused; from one to an account it is not.

mod about;
mod access;
mod account;
mod checksum;
mod conditions;
mod dates;
mod diagnostics;
mod lease;
mod page_list;
mod page_log;
mod page_set;
mod put_page;
mod read;
mod refusal;
mod request;
mod serve;
mod store;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::azure_names::AzureNames;
use crate::clock::Clock;
use crate::fault::Faults;
use crate::state::Identity;
use crate::vhd;

pub(crate) use access::Access;
pub use access::SasShape;
use account::Accounts;
pub(crate) use diagnostics::DiagnosticsFile;
use store::PAGE;
use stored::{Place, StoredBlob};

/// Bytes of request bodies held in memory at once, for all connections together: 64 Put Pages of
/// the largest size. Further requests wait, and their senders with them.
const BODY_MEMORY: usize = 256 * 1024 * 1024;

/// Marks a request that came over TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secure;

/// How a store is kept and what it gives out.
#[derive(Clone, Default)]
pub(crate) struct Options {
    /// Whether ending an access waits until everything is on the disk.
    pub(crate) durable: bool,
    pub(crate) sas_shape: SasShape,
    /// The host names of accounts and disks.
    pub(crate) names: AzureNames,
    /// Whose tokens are good for accounts; without it none are.
    pub(crate) identity: Option<Identity>,
}

/// The page blobs of one state directory. Clones are the same store.
#[derive(Clone)]
pub(crate) struct PageBlobs(Arc<Inner>);

struct Inner {
    place: Place,
    sas_shape: SasShape,
    names: AzureNames,
    identity: Option<Identity>,
    accounts: Accounts,
    clock: Clock,
    faults: Faults,
    blobs: RwLock<HashMap<Uuid, Arc<StoredBlob>>>,
    /// In pages.
    body_memory: Arc<Semaphore>,
    /// Signs access to the boot diagnostics of machines.
    diagnostics_key: OnceLock<String>,
}

impl fmt::Debug for PageBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageBlobs")
            .field("state_dir", &self.0.place.state_dir)
            .finish_non_exhaustive()
    }
}

impl PageBlobs {
    /// Opens the blobs of a state directory, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory or a record in it cannot be read. A blob's own files are opened when it
    /// is first used: one that is damaged does not keep the others from working.
    pub(crate) fn open(
        state_dir: &Path,
        clock: Clock,
        faults: Faults,
        options: Options,
    ) -> io::Result<Self> {
        let state_dir = std::path::absolute(state_dir)?;
        let place = Place {
            records: state_dir.join("blobs"),
            state_dir,
            durable: options.durable,
        };
        std::fs::create_dir_all(&place.records)?;
        let mut blobs = HashMap::new();
        for entry in std::fs::read_dir(&place.records)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let id = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .and_then(|stem| Uuid::parse_str(stem).ok())
                .ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{} is not named after a blob", path.display()),
                    )
                })?;
            blobs.insert(id, Arc::new(StoredBlob::load(&place, id)?));
        }
        Ok(Self(Arc::new(Inner {
            accounts: Accounts::open(&place.state_dir, place.durable)?,
            place,
            sas_shape: options.sas_shape,
            names: options.names,
            identity: options.identity,
            clock,
            faults,
            blobs: RwLock::new(blobs),
            body_memory: Arc::new(Semaphore::new(BODY_MEMORY / PAGE as usize)),
            diagnostics_key: OnceLock::new(),
        })))
    }

    /// Makes a page blob of zeros, as a sparse file. A file that is there and belongs to no blob
    /// is replaced.
    ///
    /// # Errors
    /// When the length is not a whole number of pages, when the id or the file is in use, or when
    /// the file cannot be made.
    pub(crate) fn create(&self, id: Uuid, file: &Path, length: u64) -> io::Result<()> {
        if length == 0 || !length.is_multiple_of(PAGE) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a page blob of {length} bytes is not a whole number of pages"),
            ));
        }
        self.insert(id, file, |file| {
            StoredBlob::create(&self.0.place, id, file, length, self.now())
        })
    }

    /// Makes a page blob of a file that is there, which keeps its content. The pages that it has
    /// data in are the written ones. A blob of this id and this file that exists is
    /// [looked at again](Self::rescan).
    ///
    /// # Errors
    /// When the file is not a whole number of pages, when the id or the file belongs to another
    /// blob, or when a file cannot be read or written.
    pub(crate) fn adopt(&self, id: Uuid, file: &Path) -> io::Result<()> {
        let absolute = std::path::absolute(file)?;
        if self.get(id).is_some_and(|blob| blob.file == absolute) {
            return self.rescan(id);
        }
        self.insert(id, &absolute, |file| {
            StoredBlob::adopt(&self.0.place, id, file, self.now())
        })
    }

    /// Looks at the blob's file again, after another program wrote it or put another in its place:
    /// the pages that it has data in are the written ones from then on. Nothing may write to the
    /// blob meanwhile.
    ///
    /// # Errors
    /// When there is no such blob, when its file has another length than before, or when a file
    /// cannot be read or written.
    pub(crate) fn rescan(&self, id: Uuid) -> io::Result<()> {
        self.find(id)?.rescan(self.now())
    }

    fn insert(
        &self,
        id: Uuid,
        file: &Path,
        make: impl FnOnce(&Path) -> io::Result<StoredBlob>,
    ) -> io::Result<()> {
        let file = std::path::absolute(file)?;
        // Held to the end, so that nobody else can take the id or the file meanwhile.
        let mut blobs = self.0.blobs.write().unwrap_or_else(PoisonError::into_inner);
        if blobs.contains_key(&id) || blobs.values().any(|blob| blob.file == file) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("a page blob {id} or its file {} exists", file.display()),
            ));
        }
        blobs.insert(id, Arc::new(make(&file)?));
        Ok(())
    }

    /// Gives out access until `ends` and returns the path and query of the URL, signature
    /// included. An access given out earlier is void.
    ///
    /// # Errors
    /// When there is no such blob, or its record cannot be written.
    pub(crate) fn grant(&self, id: Uuid, access: Access, ends: SystemTime) -> io::Result<String> {
        self.find(id)?
            .grant(access, self.0.sas_shape, self.now(), ends)
    }

    /// Ends the access, if there is one. When this returns, no write with it is under way and
    /// none can follow; with a durable store, everything is on the disk.
    ///
    /// # Errors
    /// When there is no such blob, or its files cannot be written. The access has ended all the
    /// same, until the state directory is opened again.
    pub(crate) fn revoke(&self, id: Uuid) -> io::Result<()> {
        self.find(id)?.revoke()
    }

    /// What Azure would say about the footer, for `InvalidVhd`; `None` if it would take it. The
    /// message has the path of the blob where Azure's has the URL.
    ///
    /// # Errors
    /// When there is no such blob, or it cannot be read.
    pub(crate) fn footer_problem(&self, id: Uuid) -> io::Result<Option<String>> {
        let blob = self.find(id)?;
        let mut footer = [0; vhd::FOOTER_LEN];
        blob.store()?
            .read_at(&mut footer, blob.length() - vhd::FOOTER_LEN as u64)?;
        Ok(vhd::footer_problem(&footer, blob.length(), &blob.path()))
    }

    /// Deletes the blob with its file.
    ///
    /// # Errors
    /// When there is no such blob, or a file cannot be deleted; then the blob is still there.
    pub(crate) fn remove(&self, id: Uuid) -> io::Result<()> {
        let blob = self.find(id)?;
        blob.remove()?;
        self.0
            .blobs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
        Ok(())
    }

    /// The data plane. The server passes every answer through [`crate::fault::deliver`].
    pub(crate) fn router(&self) -> axum::Router {
        serve::router(self.clone())
    }

    fn get(&self, id: Uuid) -> Option<Arc<StoredBlob>> {
        self.0
            .blobs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    fn find(&self, id: Uuid) -> io::Result<Arc<StoredBlob>> {
        self.get(id).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no page blob {id}"),
            )
        })
    }

    fn now(&self) -> SystemTime {
        self.0.clock.now()
    }
}
