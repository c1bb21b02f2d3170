//! What the local Azure remembers: one JSON file in the state directory.
//!
//! It is read once, at the start, and replaced as a whole after every change (a temporary file,
//! then a rename), so that a killed process leaves the state before or after a request, never a
//! mixture. Page data and images are files of their own and not in here.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::arm::deployments::Deployment;
use crate::arm::lro::Operation;
use crate::error::EmulatorError;

/// Who may log in, and what the service signs with.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) tenant_id: Uuid,
    pub(crate) subscription_id: Uuid,
    pub(crate) client_id: Uuid,
    /// The service principal's object id: the `oid` of its tokens.
    pub(crate) object_id: Uuid,
    pub(crate) client_secret: String,
    /// Signs tokens and the URLs of long-running operations; hexadecimal.
    pub(crate) signing_key: String,
}

/// A resource group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    /// As first written; lookups fold the case.
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) tags: Option<Value>,
    pub(crate) deleting: bool,
}

/// A resource: its document as a GET answers it, and what no GET shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Resource {
    /// In Azure's spelling; the key in [`State::resources`] is the same in lower case.
    pub(crate) id: String,
    pub(crate) body: Value,
    pub(crate) inner: Inner,
}

/// What no GET shows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Inner {
    /// Nothing: the document is all.
    Plain,
    Network,
    Disk(DiskInner),
    Image(ImageInner),
    Vm(VmInner),
    ScaleSet(ScaleSetInner),
}

/// What no GET shows of a disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DiskInner {
    /// The name of its page blob in the data plane.
    pub(crate) blob: Uuid,
    /// The blob's length, footer included; 0 while there is no blob.
    pub(crate) length: u64,
    /// When the access that is granted ends, while one is.
    pub(crate) access_ends: Option<SystemTime>,
}

/// What no GET shows of an image.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ImageInner {
    /// The files that were copied from the disks: the OS disk's first.
    pub(crate) files: Vec<PathBuf>,
}

/// What no GET shows of a virtual machine, save its instance view.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VmInner {
    pub(crate) power: Power,
    pub(crate) changed: SystemTime,
    /// As it was given; no GET shows it, and it cannot change.
    pub(crate) custom_data: Option<String>,
    /// What is known of it beyond its documents.
    #[serde(default)]
    pub(crate) guest: Guest,
}

/// What a virtual machine is inside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Guest {
    /// Its disks are a template: it does not start again, and images can be made of it.
    pub(crate) generalized: bool,
    /// As it was given, for the guest's provisioning; no GET shows it.
    pub(crate) admin_password: Option<String>,
    /// As it was given; a GET shows it where it is asked for by name.
    #[serde(default)]
    pub(crate) user_data: Option<String>,
    /// Where it is in its scale set, if that has more than one.
    #[serde(default)]
    pub(crate) fault_domain: Option<u64>,
    /// The operation under way is to start it from the beginning, even if it runs.
    pub(crate) again: bool,
    /// The operation under way is to stop it without a shutdown of the guest.
    pub(crate) cut_off: bool,
    /// It has run since the page lists of its disks were read from their files.
    pub(crate) wrote: bool,
}

/// What no GET shows of a scale set: its machines, which have documents of their own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ScaleSetInner {
    /// The number of the next machine; none is given twice.
    pub(crate) next: u32,
    /// How often the model changed.
    pub(crate) model: u64,
    pub(crate) instances: Vec<Instance>,
    #[serde(default)]
    pub(crate) secrets: Secrets,
}

/// What a model of machines has that no GET shows: machines that are made later need it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub(crate) admin_password: Option<String>,
    pub(crate) custom_data: Option<String>,
    pub(crate) user_data: Option<String>,
}

/// A machine of a scale set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) number: u32,
    pub(crate) vm_id: Uuid,
    pub(crate) power: Power,
    pub(crate) created: SystemTime,
    /// When its power state changed.
    pub(crate) changed: SystemTime,
    /// Which of the models it has.
    pub(crate) model: u64,
}

/// The power state of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Power {
    Starting,
    Running,
    Stopping,
    Stopped,
    Deallocating,
    Deallocated,
}

/// A service principal in the tenant's directory, other than the one that logs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Principal {
    pub(crate) name: String,
    /// The `clientId` of a managed identity.
    pub(crate) app_id: Uuid,
    /// Resource Manager hears of it only after a while.
    pub(crate) created: SystemTime,
    /// The id of the resource that it belongs to, in lower case.
    pub(crate) resource: String,
}

/// Whether the subscription may use a resource provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Registration {
    NotRegistered,
    /// Registered from this time on.
    Registering(SystemTime),
    Registered,
}

/// Whom a network interface is kept for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reservation {
    /// The id of the machine.
    pub(crate) machine: String,
    pub(crate) until: SystemTime,
}

/// Everything.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) identity: Identity,
    /// By namespace in lower case; a namespace that is not here is registered.
    pub(crate) providers: BTreeMap<String, Registration>,
    /// By name in lower case.
    pub(crate) groups: BTreeMap<String, Group>,
    /// By id in lower case.
    pub(crate) resources: BTreeMap<String, Resource>,
    pub(crate) operations: BTreeMap<Uuid, Operation>,
    /// Whether machines are reached, so that public addresses have to be this host's.
    #[serde(skip)]
    pub(crate) has_own_addresses: bool,
    /// By object id.
    #[serde(default)]
    pub(crate) directory: BTreeMap<Uuid, Principal>,
    /// Documents that belong to something without being resources of a group: role assignments
    /// and federated credentials. By id in lower case.
    #[serde(default)]
    pub(crate) documents: BTreeMap<String, Value>,
    /// Template deployments, by id in lower case.
    #[serde(default)]
    pub(crate) deployments: BTreeMap<String, Deployment>,
    /// Network interfaces that are kept for machines that were deleted, by id in lower case.
    #[serde(default)]
    pub(crate) reserved_interfaces: BTreeMap<String, Reservation>,
}

impl State {
    fn new() -> Result<Self, EmulatorError> {
        Ok(Self {
            identity: Identity {
                tenant_id: Uuid::new_v4(),
                subscription_id: Uuid::new_v4(),
                client_id: Uuid::new_v4(),
                object_id: Uuid::new_v4(),
                client_secret: format!("local~{}", random_hex()?),
                signing_key: random_hex()?,
            },
            providers: BTreeMap::new(),
            groups: BTreeMap::new(),
            resources: BTreeMap::new(),
            operations: BTreeMap::new(),
            has_own_addresses: false,
            directory: BTreeMap::new(),
            documents: BTreeMap::new(),
            deployments: BTreeMap::new(),
            reserved_interfaces: BTreeMap::new(),
        })
    }

    /// The resource of an id in any spelling.
    pub(crate) fn resource(&self, id: &str) -> Option<&Resource> {
        self.resources.get(&id.to_ascii_lowercase())
    }

    /// The same, to change it.
    pub(crate) fn resource_mut(&mut self, id: &str) -> Option<&mut Resource> {
        self.resources.get_mut(&id.to_ascii_lowercase())
    }

    /// Adds or replaces a resource.
    pub(crate) fn insert(&mut self, resource: Resource) {
        self.resources
            .insert(resource.id.to_ascii_lowercase(), resource);
    }

    /// Takes a resource out, if it is there, and with it what belongs to it.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Resource> {
        self.forget_below(id);
        self.resources.remove(&id.to_ascii_lowercase())
    }

    /// Takes out what belongs to a resource or a group: its principals, and the documents and
    /// deployments below its id.
    pub(crate) fn forget_below(&mut self, id: &str) {
        let id = id.to_ascii_lowercase();
        let below = format!("{id}/");
        self.directory
            .retain(|_, principal| principal.resource != id);
        self.documents.retain(|id, _| !id.starts_with(&below));
        self.deployments.retain(|id, _| !id.starts_with(&below));
    }
}

/// 32 random bytes as hexadecimal.
fn random_hex() -> Result<String, EmulatorError> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|source| {
        EmulatorError::new("the system gives no random numbers").with_source(source.to_string())
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The state and the file it is kept in.
pub(crate) struct Store {
    pub(crate) state: State,
    path: PathBuf,
    durable: bool,
}

impl Store {
    /// Reads the state of a directory, or begins a new one. The caller holds the directory's lock.
    pub(crate) fn open(state_dir: &Path, durable: bool) -> Result<Self, EmulatorError> {
        let path = state_dir.join("state.json");
        let state = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| {
                EmulatorError::new(format!(
                    "the state of the local Azure in {} cannot be read; it is damaged or of another version: move the directory away to begin anew",
                    path.display()
                ))
                .with_source(source)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::new()?,
            Err(error) => return Err(EmulatorError::io("read", &path, error)),
        };
        let store = Self {
            state,
            path,
            durable,
        };
        store
            .save()
            .map_err(|source| EmulatorError::io("write", &store.path, source))?;
        Ok(store)
    }

    /// Writes the state as it is now.
    pub(crate) fn save(&self) -> io::Result<()> {
        write_atomically(&self.path, &serde_json::to_vec(&self.state)?, self.durable)
    }
}

/// Makes a directory and its parents, for its owner's eyes only: there are keys in it.
pub(crate) fn create_private_dir(path: &Path) -> Result<(), EmulatorError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| EmulatorError::io("create", path, source))
}

/// Replaces a file as a whole; whoever reads it sees the old content or the new. `durable` waits
/// until the disk has it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], durable: bool) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    if durable {
        file.sync_all()?;
    }
    drop(file);
    fs::rename(&temporary, path)?;
    if durable && let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_comes_back_and_nothing_temporary_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), false).unwrap();
        store.state.groups.insert(
            "rg".to_owned(),
            Group {
                name: "RG".to_owned(),
                location: "westus2".to_owned(),
                tags: None,
                deleting: false,
            },
        );
        store.save().unwrap();
        let again = Store::open(dir.path(), false).unwrap();
        assert_eq!(again.state.groups["rg"].name, "RG");
        assert_eq!(
            again.state.identity.client_secret,
            store.state.identity.client_secret
        );
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["state.json"]);
    }

    #[test]
    fn damaged_state_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state.json"), b"{\"identity\":").unwrap();
        let error = Store::open(dir.path(), false).err().unwrap().to_string();
        assert!(error.contains("state.json"), "{error}");
    }
}
