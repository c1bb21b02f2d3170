//! A container: its blobs by name, and what is known of it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::about::Metadata;
use super::super::lease::Lease;
use super::super::refusal::Refusal;
use super::super::store::lock;
use super::super::stored::{Place, StoredBlob};
use crate::state::write_atomically;

/// What a container shows to everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum PublicAccess {
    /// Its blobs to whoever knows their names.
    Blob,
    /// Their names too.
    Container,
}

/// A stored access policy: what a signature that names it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Policy {
    pub(super) id: String,
    pub(super) start: Option<String>,
    pub(super) expiry: Option<String>,
    pub(super) permission: Option<String>,
}

/// What is on disk about a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    /// Ticks; its ETag and when it was last modified. What happens to its blobs is not counted.
    pub(super) version: u64,
    #[serde(default)]
    pub(super) metadata: Metadata,
    pub(super) public: Option<PublicAccess>,
    pub(super) policies: Vec<Policy>,
    pub(super) lease: Option<Lease>,
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) place: Place,
    about: Mutex<About>,
    blobs: RwLock<BTreeMap<String, Arc<StoredBlob>>>,
    gone: AtomicBool,
}

impl Container {
    /// Makes the directory of a new one.
    pub(super) fn create(
        state_dir: &Path,
        account: &Path,
        name: &str,
        about: About,
        durable: bool,
    ) -> io::Result<Self> {
        let records = account.join(name);
        fs::create_dir_all(&records)?;
        write_about(&records, &about, durable)?;
        Ok(Self {
            name: name.to_owned(),
            place: Place {
                state_dir: state_dir.to_owned(),
                records,
                durable,
            },
            about: Mutex::new(about),
            blobs: RwLock::default(),
            gone: AtomicBool::new(false),
        })
    }

    /// Reads one; `None` for what was being made or deleted when the process ended, which is taken
    /// away.
    pub(super) fn load(
        state_dir: &Path,
        directory: &Path,
        durable: bool,
    ) -> io::Result<Option<Self>> {
        let Ok(bytes) = fs::read(directory.join("container.json")) else {
            fs::remove_dir_all(directory)?;
            return Ok(None);
        };
        let about = serde_json::from_slice(&bytes).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "cannot read the container in {}: {error}",
                    directory.display()
                ),
            )
        })?;
        let place = Place {
            state_dir: state_dir.to_owned(),
            records: directory.to_owned(),
            durable,
        };
        Ok(Some(Self {
            name: directory
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            blobs: RwLock::new(load_blobs(&place)?),
            place,
            about: Mutex::new(about),
            gone: AtomicBool::new(false),
        }))
    }

    pub(super) fn about(&self) -> About {
        lock(&self.about).clone()
    }

    /// Changes what is known of it; with an error nothing changes.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut About) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut about = lock(&self.about);
        if self.gone.load(Ordering::Acquire) {
            return Err(Refusal::container_not_found());
        }
        let mut changed = about.clone();
        let value = change(&mut changed)?;
        if changed != *about {
            write_about(&self.place.records, &changed, self.place.durable)?;
            *about = changed;
        }
        Ok(value)
    }

    pub(super) fn blob(&self, name: &str) -> Option<Arc<StoredBlob>> {
        self.blobs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// The blobs whose names come after `after` (that one included), in the order of their names,
    /// for as long as `take` wants more.
    pub(super) fn walk(&self, from: &str, mut take: impl FnMut(&str, &Arc<StoredBlob>) -> bool) {
        let blobs = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        for (name, blob) in blobs.range::<str, _>((Bound::Included(from), Bound::Unbounded)) {
            if !take(name, blob) {
                return;
            }
        }
    }

    /// Puts a blob in the place of whatever has its name. `allowed` is asked with nobody else
    /// putting or deleting one, and then `make` makes it.
    pub(super) fn put<T>(
        &self,
        name: &str,
        allowed: impl FnOnce(Option<&Arc<StoredBlob>>) -> Result<T, Refusal>,
        make: impl FnOnce(T) -> io::Result<StoredBlob>,
    ) -> Result<Arc<StoredBlob>, Refusal> {
        let mut blobs = self.blobs.write().unwrap_or_else(PoisonError::into_inner);
        if self.gone.load(Ordering::Acquire) {
            return Err(Refusal::container_not_found());
        }
        let value = allowed(blobs.get(name))?;
        let made = Arc::new(make(value)?);
        if let Some(old) = blobs.insert(name.to_owned(), Arc::clone(&made))
            && let Err(error) = old.remove()
        {
            // The next start takes the older of two records with one name away.
            tracing::warn!(%error, name, "the files of a replaced blob stay");
        }
        Ok(made)
    }

    /// Deletes a blob, if `allowed` says so with nobody else putting or deleting one.
    pub(super) fn delete(
        &self,
        name: &str,
        allowed: impl FnOnce(&Arc<StoredBlob>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut blobs = self.blobs.write().unwrap_or_else(PoisonError::into_inner);
        let blob = blobs.get(name).ok_or_else(Refusal::blob_not_found)?;
        allowed(blob)?;
        blob.remove()?;
        blobs.remove(name);
        Ok(())
    }

    /// Lets nothing more be written to it or to its blobs: it is about to be deleted.
    pub(super) fn close(&self) {
        let _about = lock(&self.about);
        self.gone.store(true, Ordering::Release);
        let mut blobs = self.blobs.write().unwrap_or_else(PoisonError::into_inner);
        for (name, blob) in std::mem::take(&mut *blobs) {
            if let Err(error) = blob.remove() {
                tracing::warn!(%error, name, "the files of a deleted blob stay");
            }
        }
    }

    /// Deletes the files of one that was closed, its own record first.
    pub(super) fn remove_files(&self) -> io::Result<()> {
        fs::remove_file(self.place.records.join("container.json"))?;
        fs::remove_dir_all(&self.place.records)
    }

    /// Where the uncommitted blocks of a blob are.
    pub(super) fn blocks(&self, blob: &str) -> PathBuf {
        use sha2::{Digest as _, Sha256};
        use std::fmt::Write as _;
        // A blob's name can be anything, and longer than a file's.
        let mut name = String::new();
        for byte in Sha256::digest(blob.as_bytes()) {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        self.place.records.join("blocks").join(name)
    }
}

fn write_about(directory: &Path, about: &About, durable: bool) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(about).map_err(io::Error::other)?;
    write_atomically(&directory.join("container.json"), &json, durable)
}

/// The blobs of a directory by name. Files without a record are of requests that were never
/// answered.
fn load_blobs(place: &Place) -> io::Result<BTreeMap<String, Arc<StoredBlob>>> {
    let mut blobs: BTreeMap<String, Arc<StoredBlob>> = BTreeMap::new();
    let mut files = Vec::new();
    for entry in fs::read_dir(&place.records)? {
        let path = entry?.path();
        let id = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| Uuid::parse_str(stem).ok());
        match (
            id,
            path.extension().and_then(|extension| extension.to_str()),
        ) {
            (Some(id), Some("json")) => {
                let blob = Arc::new(StoredBlob::load(place, id)?);
                let name = blob.with_about(|about| about.name.clone());
                // Two records with one name: the process ended while one replaced the other.
                let newer = blobs
                    .get(&name)
                    .is_none_or(|other| other.created <= blob.created);
                let older = if newer {
                    blobs.insert(name, blob)
                } else {
                    Some(blob)
                };
                if let Some(older) = older {
                    older.remove()?;
                }
            }
            (Some(id), Some("bytes" | "pages")) => files.push((id, path)),
            _ => {}
        }
    }
    for (id, path) in files {
        if !place.records.join(format!("{id}.json")).exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(blobs)
}
