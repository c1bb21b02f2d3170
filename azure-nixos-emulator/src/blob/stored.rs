//! One blob: its record on disk, its access, and its store, opened when it is first used.
//!
//! A managed disk and a blob of a storage account are the same here. A disk has an access and
//! nothing that a client could write on it; a blob of an account has a name, properties and perhaps
//! a lease, and who may do what with it is the account's business.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::about::About;
use super::access::{Access, Grant, SasShape, Signature};
use super::refusal::Refusal;
use super::store::{PAGE, Store, lock};

/// Where the records are and how carefully they are written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Absolute. Files below it are recorded relative to it, so that it can be moved.
    pub(super) state_dir: PathBuf,
    /// The directory of the records, which is below.
    pub(super) records: PathBuf,
    pub(super) durable: bool,
}

impl Place {
    fn record(&self, id: Uuid) -> PathBuf {
        self.records.join(format!("{id}.json"))
    }

    /// Where the list of its pages is.
    pub(super) fn log(&self, id: Uuid) -> PathBuf {
        self.records.join(format!("{id}.pages"))
    }

    /// Where the bytes of a blob are that has no place of its own.
    pub(super) fn bytes(&self, id: Uuid) -> PathBuf {
        self.records.join(format!("{id}.bytes"))
    }
}

/// What is on disk about a blob besides its bytes and its page list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    file: PathBuf,
    length: u64,
    created: SystemTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access: Option<Grant>,
    /// A blob's of an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<About>,
}

#[derive(Debug)]
pub(super) struct StoredBlob {
    id: Uuid,
    place: Place,
    pub(super) file: PathBuf,
    length: AtomicU64,
    pub(super) created: SystemTime,
    about: Mutex<About>,
    is_disk: bool,
    /// Whether it was deleted or replaced: a request that found it before must not write to it.
    gone: AtomicBool,
    /// Held while the record is written, so that the file and the memory change in one order.
    writing: Mutex<()>,
    access: Mutex<Option<Grant>>,
    store: Mutex<Option<Arc<Store>>>,
}

impl StoredBlob {
    /// Makes the files, the record last: a blob without a record does not exist.
    pub(super) fn create(
        place: &Place,
        id: Uuid,
        file: &Path,
        length: u64,
        created: SystemTime,
    ) -> io::Result<Self> {
        let version = super::dates::ticks(created);
        Store::create(file, &place.log(id), length, version)?;
        let blob = Self::new(place, id, file.to_owned(), length, created, None, None);
        blob.write_record(None)?;
        Ok(blob)
    }

    /// Makes a blob of an account. Its bytes are those of the file that [`Place::bytes`] names, and
    /// its pages those of the list beside, or zeros and none if these are not there. `version` is
    /// what its first one is at least.
    pub(super) fn create_named(
        place: &Place,
        id: Uuid,
        length: u64,
        created: SystemTime,
        version: u64,
        about: About,
    ) -> io::Result<Self> {
        let (file, log) = (place.bytes(id), place.log(id));
        if !file.exists() {
            Store::create(&file, &log, length, version)?;
        } else if !log.exists() {
            Store::list(&log, version)?;
        }
        let blob = Self::new(place, id, file, length, created, None, Some(about));
        let store = blob.store()?;
        if store.version() < version {
            store.touch(version, |_| Ok::<_, io::Error>(()))?;
        }
        blob.write_record(None)?;
        Ok(blob)
    }

    /// Makes a blob of a file that is there, with the pages that it has data in.
    pub(super) fn adopt(
        place: &Place,
        id: Uuid,
        file: &Path,
        created: SystemTime,
    ) -> io::Result<Self> {
        let length = whole_pages(file)?;
        let version = super::dates::ticks(created);
        Store::list(&place.log(id), version)?;
        let blob = Self::new(place, id, file.to_owned(), length, created, None, None);
        blob.store()?.rescan(version)?;
        blob.write_record(None)?;
        Ok(blob)
    }

    /// Takes the pages of what the file holds now. It is opened anew: it may be another file of
    /// the same name.
    pub(super) fn rescan(&self, now: SystemTime) -> io::Result<()> {
        let _writing = lock(&self.writing);
        let mut store = lock(&self.store);
        if let Some(old) = store.take() {
            old.settle();
        }
        let found = whole_pages(&self.file)?;
        if found != self.length() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} has {found} bytes and the page blob {}",
                    self.file.display(),
                    self.length()
                ),
            ));
        }
        let opened = Store::open(&self.file, &self.place.log(self.id), self.length())?;
        opened.rescan(super::dates::ticks(now))?;
        *store = Some(Arc::new(opened));
        Ok(())
    }

    /// Reads a record.
    pub(super) fn load(place: &Place, id: Uuid) -> io::Result<Self> {
        let path = place.record(id);
        let named = |error: &dyn std::fmt::Display| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("cannot read the record {}: {error}", path.display()),
            )
        };
        let bytes = std::fs::read(&path).map_err(|error| named(&error))?;
        let record: Record = serde_json::from_slice(&bytes).map_err(|error| named(&error))?;
        Ok(Self::new(
            place,
            id,
            place.state_dir.join(record.file),
            record.length,
            record.created,
            record.access,
            record.about,
        ))
    }

    fn new(
        place: &Place,
        id: Uuid,
        file: PathBuf,
        length: u64,
        created: SystemTime,
        access: Option<Grant>,
        about: Option<About>,
    ) -> Self {
        Self {
            id,
            place: place.clone(),
            file,
            length: AtomicU64::new(length),
            created,
            is_disk: about.is_none(),
            about: Mutex::new(about.unwrap_or_default()),
            gone: AtomicBool::new(false),
            writing: Mutex::new(()),
            access: Mutex::new(access),
            store: Mutex::new(None),
        }
    }

    /// The length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// What clients wrote on it.
    pub(super) fn about(&self) -> About {
        lock(&self.about).clone()
    }

    /// Looks at what clients wrote on it.
    pub(super) fn with_about<T>(&self, look: impl FnOnce(&About) -> T) -> T {
        look(&lock(&self.about))
    }

    /// Changes what is written on it; with an error nothing changes. The version stays.
    pub(super) fn change<T, E: From<io::Error>>(
        &self,
        change: impl FnOnce(&mut About) -> Result<T, E>,
    ) -> Result<T, E> {
        let _writing = lock(&self.writing);
        let before = self.about();
        let mut about = before.clone();
        let value = change(&mut about)?;
        if about != before {
            *lock(&self.about) = about;
            if let Err(error) = self.write_record(None) {
                *lock(&self.about) = before;
                return Err(error.into());
            }
        }
        Ok(value)
    }

    /// Gives it another length.
    pub(super) fn resize(&self, length: u64) -> io::Result<()> {
        let _writing = lock(&self.writing);
        let store = self.store()?;
        // Whichever comes second, a file that is longer than the record says is cut when it is
        // opened: that is the state before.
        if length > self.length() {
            store.resize(length)?;
            self.length.store(length, Ordering::Release);
            self.write_record(None)
        } else {
            self.length.store(length, Ordering::Release);
            self.write_record(None)?;
            store.resize(length)
        }
    }

    /// Whether it was deleted or replaced.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The path of a disk's URL.
    pub(super) fn path(&self) -> String {
        format!("/{}/abcd", self.id)
    }

    /// The open store. Opening reads the whole page list and blocks.
    pub(super) fn store(&self) -> io::Result<Arc<Store>> {
        let mut store = lock(&self.store);
        if let Some(store) = &*store {
            return Ok(Arc::clone(store));
        }
        if !self.is_disk && std::fs::metadata(&self.file)?.len() > self.length() {
            // A change of the length was not completed.
            std::fs::File::options()
                .write(true)
                .open(&self.file)?
                .set_len(self.length())?;
        }
        let opened = Store::open(&self.file, &self.place.log(self.id), self.length())?;
        Ok(Arc::clone(store.insert(Arc::new(opened))))
    }

    /// The store if it is open already.
    pub(super) fn opened(&self) -> Option<Arc<Store>> {
        // Not `lock`: while another thread opens the store this must not wait.
        self.store.try_lock().ok()?.clone()
    }

    /// Gives out a new signature; an earlier one is void from then on.
    pub(super) fn grant(
        &self,
        access: Access,
        shape: SasShape,
        now: SystemTime,
        ends: SystemTime,
    ) -> io::Result<String> {
        let _writing = lock(&self.writing);
        let (grant, query) = Grant::new(access, shape, now, ends)?;
        self.write_record(Some(&grant))?;
        *lock(&self.access) = Some(grant);
        Ok(format!("{}?{query}", self.path()))
    }

    /// Ends the access, waits for the writes under way, and flushes.
    pub(super) fn revoke(&self) -> io::Result<()> {
        let _writing = lock(&self.writing);
        lock(&self.access).take();
        let store = self.store()?;
        store.settle();
        store.flush(self.place.durable)?;
        if self.place.durable
            && let Some(directory) = self.file.parent()
        {
            std::fs::File::open(directory)?.sync_all()?;
        }
        self.write_record(None)
    }

    /// Deletes the files, the record first.
    pub(super) fn remove(&self) -> io::Result<()> {
        let _writing = lock(&self.writing);
        self.gone.store(true, Ordering::Release);
        lock(&self.access).take();
        if let Some(store) = lock(&self.store).take() {
            store.settle();
        }
        for path in [
            &self.place.record(self.id),
            &self.place.log(self.id),
            &self.file,
        ] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets the access expire now, in memory only.
    pub(super) fn expire_access(&self) {
        if let Some(grant) = &mut *lock(&self.access) {
            grant.expire();
        }
    }

    /// Checks a signature.
    pub(super) fn verify(&self, signature: &Signature, now: SystemTime) -> Result<Grant, Refusal> {
        let access = lock(&self.access);
        let grant = access.as_ref().ok_or_else(|| {
            Refusal::authentication(
                "SAS identifier cannot be found for specified signed identifier",
            )
        })?;
        grant.verify(signature, now)?;
        Ok(grant.clone())
    }

    /// Whether an access that was checked is still the one in force.
    pub(super) fn still_granted(&self, grant: &Grant) -> bool {
        lock(&self.access)
            .as_ref()
            .is_some_and(|current| current.is(grant))
    }

    fn write_record(&self, access: Option<&Grant>) -> io::Result<()> {
        let file = self
            .file
            .strip_prefix(&self.place.state_dir)
            .unwrap_or(&self.file);
        let record = Record {
            file: file.to_owned(),
            length: self.length(),
            created: self.created,
            access: access.cloned(),
            about: (!self.is_disk).then(|| self.about()),
        };
        let json = serde_json::to_vec_pretty(&record).map_err(io::Error::other)?;
        let path = self.place.record(self.id);
        let beside = path.with_extension("json.new");
        let mut written = std::fs::File::create(&beside)?;
        written.write_all(&json)?;
        if self.place.durable {
            written.sync_all()?;
        }
        std::fs::rename(&beside, &path)?;
        if self.place.durable {
            std::fs::File::open(&self.place.records)?.sync_all()?;
        }
        Ok(())
    }
}

/// The length of a file that can be a page blob.
fn whole_pages(file: &Path) -> io::Result<u64> {
    let length = std::fs::metadata(file)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))?
        .len();
    if length == 0 || !length.is_multiple_of(PAGE) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "{} has {length} bytes, which is not a whole number of pages",
                file.display()
            ),
        ));
    }
    Ok(length)
}
