//! One page blob: its record on disk, its access, and its store, opened when it is first used.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::access::{Access, Grant, SasShape, Signature};
use super::refusal::Refusal;
use super::store::{PAGE, Store, lock};

/// Where the records are and how carefully they are written.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Absolute. Files below it are recorded relative to it, so that it can be moved.
    pub(super) state_dir: PathBuf,
    pub(super) durable: bool,
}

impl Place {
    pub(super) fn records(&self) -> PathBuf {
        self.state_dir.join("blobs")
    }

    fn record(&self, id: Uuid) -> PathBuf {
        self.records().join(format!("{id}.json"))
    }

    fn log(&self, id: Uuid) -> PathBuf {
        self.records().join(format!("{id}.pages"))
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
}

#[derive(Debug)]
pub(super) struct PageBlob {
    id: Uuid,
    place: Place,
    pub(super) file: PathBuf,
    pub(super) length: u64,
    pub(super) created: SystemTime,
    /// Held while the record is written, so that the file and the memory change in one order.
    writing: Mutex<()>,
    access: Mutex<Option<Grant>>,
    store: Mutex<Option<Arc<Store>>>,
}

impl PageBlob {
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
        let blob = Self::new(place, id, file.to_owned(), length, created, None);
        blob.write_record(None)?;
        Ok(blob)
    }

    /// Makes a blob of a file that is there, with the pages that it has data in.
    #[allow(dead_code, reason = "for whoever makes a disk out of a file")]
    pub(super) fn adopt(
        place: &Place,
        id: Uuid,
        file: &Path,
        created: SystemTime,
    ) -> io::Result<Self> {
        let length = whole_pages(file)?;
        let version = super::dates::ticks(created);
        Store::list(&place.log(id), version)?;
        let blob = Self::new(place, id, file.to_owned(), length, created, None);
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
        if found != self.length {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} has {found} bytes and the page blob {}",
                    self.file.display(),
                    self.length
                ),
            ));
        }
        let opened = Store::open(&self.file, &self.place.log(self.id), self.length)?;
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
        ))
    }

    fn new(
        place: &Place,
        id: Uuid,
        file: PathBuf,
        length: u64,
        created: SystemTime,
        access: Option<Grant>,
    ) -> Self {
        Self {
            id,
            place: place.clone(),
            file,
            length,
            created,
            writing: Mutex::new(()),
            access: Mutex::new(access),
            store: Mutex::new(None),
        }
    }

    /// The path of the blob's URL.
    pub(super) fn path(&self) -> String {
        format!("/{}/abcd", self.id)
    }

    /// The open store. Opening reads the whole page list and blocks.
    pub(super) fn store(&self) -> io::Result<Arc<Store>> {
        let mut store = lock(&self.store);
        if let Some(store) = &*store {
            return Ok(Arc::clone(store));
        }
        let opened = Store::open(&self.file, &self.place.log(self.id), self.length)?;
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
            length: self.length,
            created: self.created,
            access: access.cloned(),
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
            std::fs::File::open(self.place.records())?.sync_all()?;
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
