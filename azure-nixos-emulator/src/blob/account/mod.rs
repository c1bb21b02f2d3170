//! Storage accounts: containers and blobs that are a client's own, beside the disks.
//!
//! Resource Manager makes an account with [`PageBlobs::create_account`]; what is in it is made over
//! the data plane, by path (`/account/container/blob`, as other emulators have it) or by host
//! (`account.blob.core.windows.net`). A blob is a [`StoredBlob`](super::stored::StoredBlob) as a
//! disk is, and reading it, writing its pages and listing them are the same code. Here is what a
//! disk does not have: who may do what (`auth`, `shared_key`, `sas`), containers, and the operations
//! that make, change, lease, copy and delete.
//!
//! # What is on disk
//! `<state>/accounts/<account>/account.json` has the keys. A directory below it is a container:
//! `container.json` is what is known of it, `<id>.json` and `<id>.pages` are a blob's record and
//! page list and `<id>.bytes` its content. `blocks/` in it has what was uploaded and not committed.
//!
//! # Where this differs from Azure
//! Copies are done when they are answered, and read from the local Azure only. A container that was
//! deleted can be made again at once. Snapshots, versions, tags, tiers of page blobs and Archive, append blobs, soft delete,
//! encryption scopes and signatures of a user's delegation are refused with 501 `NotImplemented`.

mod auth;
mod blocks;
mod container;
mod containers;
mod copy;
mod leases;
mod list;
mod properties;
mod put_blob;
mod sas;
mod serve;
mod shared_key;
mod source;
mod target;
mod xml;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use self::container::Container;
use super::PageBlobs;
use super::about::BlobKind;
use super::store::lock;
use crate::state::write_atomically;
use crate::vhd;

pub(super) use self::serve::answer;
pub(super) use self::source::put_page_from;
pub(super) use self::target::find;

/// The two keys of an account, in base64.
pub(crate) type AccountKeys = [String; 2];

/// What is on disk about an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    keys: AccountKeys,
    created: SystemTime,
    /// Whether a container of it may be open to everybody.
    public_access: bool,
    /// Whether requests may be signed with the keys.
    shared_key: bool,
}

#[derive(Debug)]
pub(super) struct Account {
    name: String,
    directory: PathBuf,
    record: Mutex<Record>,
    containers: RwLock<BTreeMap<String, Arc<Container>>>,
}

/// The accounts of a state directory.
#[derive(Debug)]
pub(super) struct Accounts {
    state_dir: PathBuf,
    durable: bool,
    all: RwLock<BTreeMap<String, Arc<Account>>>,
}

impl Accounts {
    /// Reads what is there.
    pub(super) fn open(state_dir: &Path, durable: bool) -> io::Result<Self> {
        let mut all = BTreeMap::new();
        let directory = state_dir.join("accounts");
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(&directory)? {
            let directory = entry?.path();
            let Ok(bytes) = fs::read(directory.join("account.json")) else {
                // One that was being made or deleted when the process ended.
                fs::remove_dir_all(&directory)?;
                continue;
            };
            let record: Record = serde_json::from_slice(&bytes).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!(
                        "cannot read the account in {}: {error}",
                        directory.display()
                    ),
                )
            })?;
            let name = directory
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let mut containers = BTreeMap::new();
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                if path.is_dir()
                    && let Some(container) = Container::load(state_dir, &path, durable)?
                {
                    containers.insert(container.name.clone(), Arc::new(container));
                }
            }
            all.insert(
                name.clone(),
                Arc::new(Account {
                    name,
                    directory,
                    record: Mutex::new(record),
                    containers: RwLock::new(containers),
                }),
            );
        }
        Ok(Self {
            state_dir: state_dir.to_owned(),
            durable,
            all: RwLock::new(all),
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Account>> {
        self.all
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }
}

impl Account {
    fn keys(&self) -> AccountKeys {
        lock(&self.record).keys.clone()
    }

    fn allows_public_access(&self) -> bool {
        lock(&self.record).public_access
    }

    fn allows_shared_key(&self) -> bool {
        lock(&self.record).shared_key
    }

    fn container(&self, name: &str) -> Option<Arc<Container>> {
        self.containers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    fn change(&self, durable: bool, change: impl FnOnce(&mut Record)) -> io::Result<()> {
        let mut record = lock(&self.record);
        let mut changed = record.clone();
        change(&mut changed);
        write_record(&self.directory, &changed, durable)?;
        *record = changed;
        Ok(())
    }
}

/// A page blob of an account, for a disk to be made of.
#[derive(Debug)]
pub(crate) struct PageBlobFile {
    pub(crate) account: String,
    pub(crate) file: PathBuf,
    pub(crate) length: u64,
    /// Why it is no VHD that Azure takes, if it is not.
    pub(crate) footer_problem: Option<String>,
}

/// What Resource Manager does with accounts. All of these do file I/O: call them on a blocking
/// thread.
impl PageBlobs {
    /// Makes an account with two new keys, which are returned. One that exists keeps its own.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub(crate) fn create_account(&self, name: &str) -> io::Result<AccountKeys> {
        let accounts = &self.0.accounts;
        let mut all = accounts.all.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = all.get(name) {
            return Ok(account.keys());
        }
        let record = Record {
            keys: [new_key()?, new_key()?],
            created: self.now(),
            public_access: false,
            shared_key: true,
        };
        let keys = record.keys.clone();
        let directory = accounts.state_dir.join("accounts").join(name);
        fs::create_dir_all(&directory)?;
        write_record(&directory, &record, accounts.durable)?;
        all.insert(
            name.to_owned(),
            Arc::new(Account {
                name: name.to_owned(),
                directory,
                record: Mutex::new(record),
                containers: RwLock::default(),
            }),
        );
        Ok(keys)
    }

    /// The keys of an account.
    ///
    /// # Errors
    /// When there is no such account.
    pub(crate) fn account_keys(&self, name: &str) -> io::Result<AccountKeys> {
        Ok(self.account(name)?.keys())
    }

    /// Replaces one key of an account, 0 or 1: what was signed with the old one is void.
    ///
    /// # Errors
    /// When there is no such account, or its files cannot be written.
    pub(crate) fn regenerate_key(&self, name: &str, which: usize) -> io::Result<AccountKeys> {
        let account = self.account(name)?;
        let key = new_key()?;
        account.change(self.0.accounts.durable, |record| {
            if let Some(old) = record.keys.get_mut(which) {
                *old = key;
            }
        })?;
        Ok(account.keys())
    }

    /// Says whether containers of an account may be open to everybody, and whether requests may be
    /// signed with its keys.
    ///
    /// # Errors
    /// When there is no such account, or its files cannot be written.
    pub(crate) fn set_account_access(
        &self,
        name: &str,
        public_access: bool,
        shared_key: bool,
    ) -> io::Result<()> {
        self.account(name)?
            .change(self.0.accounts.durable, |record| {
                record.public_access = public_access;
                record.shared_key = shared_key;
            })
    }

    /// Deletes an account with all that is in it. One that is not there is as good.
    ///
    /// # Errors
    /// When its files cannot be deleted.
    pub(crate) fn delete_account(&self, name: &str) -> io::Result<()> {
        let accounts = &self.0.accounts;
        let mut all = accounts.all.write().unwrap_or_else(PoisonError::into_inner);
        let Some(account) = all.remove(name) else {
            return Ok(());
        };
        for container in account
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            container.close();
        }
        // The record first: without it the next start takes away what is left.
        fs::remove_file(account.directory.join("account.json"))?;
        fs::remove_dir_all(&account.directory)
    }

    /// The page blob of a URI, with the account in its host or in its path; `None` where there is
    /// none. Nobody is asked for a right to read it: whoever may make disks reads it as the service.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub(crate) fn page_blob(&self, uri: &str) -> io::Result<Option<PageBlobFile>> {
        let Ok(url) = url::Url::parse(uri) else {
            return Ok(None);
        };
        let Some(host) = url.host_str() else {
            return Ok(None);
        };
        let is_own = matches!(host, "localhost" | "127.0.0.1" | "[::1]")
            || self.0.names.service(host).is_some();
        let address = match find(self, Some(host), url.path(), false) {
            Ok(Some(address)) if is_own => address,
            _ => return Ok(None),
        };
        let blob = address
            .container()
            .ok()
            .and_then(|container| container.blob(address.blob.as_deref().unwrap_or_default()))
            .filter(|blob| blob.with_about(|about| about.kind) == BlobKind::Page);
        let Some(blob) = blob else {
            return Ok(None);
        };
        let store = blob.store()?;
        let length = store.length();
        let mut footer = [0; vhd::FOOTER_LEN];
        if let Some(at) = length.checked_sub(vhd::FOOTER_LEN as u64) {
            store.read_at(&mut footer, at)?;
        }
        Ok(Some(PageBlobFile {
            account: address.account.name.clone(),
            file: blob.file.clone(),
            length,
            footer_problem: vhd::footer_problem(&footer, length, uri),
        }))
    }

    fn account(&self, name: &str) -> io::Result<Arc<Account>> {
        self.0.accounts.get(name).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no storage account {name}"),
            )
        })
    }
}

fn write_record(directory: &Path, record: &Record, durable: bool) -> io::Result<()> {
    let json = serde_json::to_vec_pretty(record).map_err(io::Error::other)?;
    write_atomically(&directory.join("account.json"), &json, durable)
}

/// 64 random bytes, which is what Azure's keys are.
fn new_key() -> io::Result<String> {
    let mut bytes = [0; 64];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(STANDARD.encode(bytes))
}
