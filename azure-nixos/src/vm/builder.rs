//! [`VmBuilder`]: what a machine is to be like, checked and then made.

use std::future::IntoFuture;
use std::path::PathBuf;

use futures::future::BoxFuture;

use super::image::ImageReference;
use super::keys::{self, SshKey};
use super::network::{self, Network};
use super::user;
use crate::arm::compute::{
    HardwareProfile, ImageReference as ArmImageReference, InterfaceReference, LinuxConfiguration,
    ManagedDiskParameters, NetworkProfile, OsDisk, OsProfile, SshConfiguration, SshPublicKey,
    StorageProfile, VIRTUAL_MACHINES, VirtualMachine, VirtualMachineProperties,
};
use crate::arm::{Client, Location, Named, ResourceId};
use crate::azure::Azure;
use crate::blocking::blocking;
use crate::group::{Fallback, Place};
use crate::handle::{Handle, Work};
use crate::progress::Phase;
use crate::quote::path_for_shell;
use crate::undo::Undo;
use crate::{Error, ErrorKind, Result};

/// The default size of a machine.
pub const DEFAULT_SIZE: &str = "Standard_DS1_v2";

/// The default size of the disk that a machine boots from, in GiB.
pub const DEFAULT_OS_DISK_GB: u64 = 42;

/// The largest disk that Azure boots a machine from, in GiB.
const LARGEST_OS_DISK_GB: u64 = 4095;

/// The tag on everything that is made for a machine; its value is the machine's name.
pub(crate) const VM_TAG: &str = "azure-nixos-vm";

/// The tag that tells two attempts to make the same machine apart.
pub(crate) const RUN_TAG: &str = "azure-nixos-run";

/// A machine to be made from an image.
///
/// It gets a network, a public address, a firewall that lets SSH in, and an interface of its own,
/// named after it (`web-1-vnet`, `web-1-ip`, …), and a user with a key. Await it for the simple
/// path, or [`start`](Self::start) it for a handle.
///
/// ```no_run
/// use azure_nixos::{Azure, VmBuilder, vm::SshKey};
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// let vm = VmBuilder::new(&azure, "vms-rg", "web-1", azure_nixos::vm::ImageReference::parse("nixos-web")?)
///     .size("Standard_D2s_v5")
///     .ssh_key(SshKey::file("~/.ssh/id_ed25519.pub"))
///     .await?;
/// println!("{}", vm.ssh_command.unwrap_or_default());
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
/// Dropping the future or cancelling the handle stops before the next step and takes away what was
/// made until then.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is awaited or started"]
pub struct VmBuilder {
    azure: Azure,
    group: String,
    name: String,
    image: ImageReference,
    location: Option<String>,
    size: String,
    os_disk_gb: Option<u64>,
    os_disk_sku: String,
    admin_username: Option<String>,
    ssh_keys: Vec<SshKey>,
    key_directory: Option<PathBuf>,
    allow_ssh_from: String,
}

/// A machine that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootedVm {
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its region.
    pub location: Location,
    /// Its public address.
    pub public_ip: Option<String>,
    /// The user that may log in.
    pub admin_username: String,
    /// The private key that was made for it, when no key was given.
    pub ssh_private_key: Option<PathBuf>,
    /// A command that logs in.
    pub ssh_command: Option<String>,
    /// What should be known about it.
    pub warnings: Vec<String>,
}

impl VmBuilder {
    /// A machine of this name in this group, from this image. The group is made when it does not
    /// exist.
    pub fn new(
        azure: &Azure,
        resource_group: impl Into<String>,
        name: impl Into<String>,
        image: impl Into<ImageReference>,
    ) -> Self {
        Self {
            azure: azure.clone(),
            group: resource_group.into(),
            name: name.into(),
            image: image.into(),
            location: None,
            size: DEFAULT_SIZE.to_owned(),
            os_disk_gb: None,
            os_disk_sku: "Premium_LRS".to_owned(),
            admin_username: None,
            ssh_keys: Vec::new(),
            key_directory: None,
            allow_ssh_from: "*".to_owned(),
        }
    }

    /// The region. A machine lives where its image does, so that is the default and the only one
    /// that is not refused.
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// The size; the default is `Standard_DS1_v2`.
    pub fn size(mut self, size: impl Into<String>) -> Self {
        self.size = size.into();
        self
    }

    /// The disk that it boots from, in GiB. The default is 42, or the size of the image if that is
    /// more; less than the image is refused.
    pub fn os_disk_size_gb(mut self, gb: u64) -> Self {
        self.os_disk_gb = Some(gb);
        self
    }

    /// The kind of that disk; the default is `Premium_LRS`.
    pub fn os_disk_sku(mut self, sku: impl Into<String>) -> Self {
        self.os_disk_sku = sku.into();
        self
    }

    /// The user that the agent in the image makes. The default is `$USER`, or `azureuser` where
    /// Azure would not take that.
    pub fn admin_username(mut self, name: impl Into<String>) -> Self {
        self.admin_username = Some(name.into());
        self
    }

    /// A key that may log in; several may be given. Without any, a new pair is made.
    pub fn ssh_key(mut self, key: SshKey) -> Self {
        self.ssh_keys.push(key);
        self
    }

    /// Where a new pair is put; the default is `~/.ssh/azure-nixos`.
    pub fn key_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.key_directory = Some(directory.into());
        self
    }

    /// Who may reach port 22: an address, a range in CIDR notation, or `*` for everybody, the
    /// default.
    pub fn allow_ssh_from(mut self, source: impl Into<String>) -> Self {
        self.allow_ssh_from = source.into();
        self
    }

    /// Starts making it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<BootedVm> {
        Handle::spawn(|work| self.run(work))
    }

    async fn run(self, work: Work) -> Result<BootedVm> {
        let client = Client::new(&self.azure)?;
        work.progress.phase(Phase::Checking, self.name.clone());
        // Large, and polled once in a while: they live on the heap.
        let plan = work.interruptible(Box::pin(self.check(&client))).await?;
        let mut undo = Undo::default();
        let result = Box::pin(plan.make(&client, &work, &mut undo)).await;
        undo.finish(&work, result).await
    }

    /// Checks everything that can be checked without Azure: names, sizes, the user, the keys.
    ///
    /// [`start`](Self::start) does so by itself; this is for whoever has something long to do
    /// before that, the upload of the image for one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], or that of a key file that cannot be read.
    pub async fn validate(&self) -> Result<()> {
        Named::ResourceGroup.check(&self.group)?;
        Named::VirtualMachine.check(&self.name)?;
        Network::named_after(&self.name).check()?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if self.size.is_empty() || !self.size.chars().all(plain) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{:?} is not a machine size", self.size),
            )
            .with_hint("a size looks like Standard_DS1_v2"));
        }
        if let Some(gb) = self.os_disk_gb.filter(|gb| *gb > LARGEST_OS_DISK_GB) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "an OS disk of {gb} GB is too large: Azure takes up to {LARGEST_OS_DISK_GB}"
                ),
            ));
        }
        network::check_source(&self.allow_ssh_from)?;
        if let Some(name) = &self.admin_username {
            user::check(name)?;
        }
        if let Some(location) = &self.location {
            Location::new(location)?;
        }
        if self.ssh_keys.is_empty() && self.key_directory.is_none() {
            keys::default_directory()?;
        }
        self.key_lines().await.map(drop)
    }

    async fn key_lines(&self) -> Result<Vec<String>> {
        let given = self.ssh_keys.clone();
        blocking(move || given.iter().map(SshKey::line).collect()).await
    }

    /// Everything that can be refused before anything exists.
    async fn check(self, client: &Client) -> Result<Plan> {
        self.validate().await?;
        let network = Network::named_after(&self.name);
        let (admin_username, said) = match self.admin_username.clone() {
            Some(name) => (name, None),
            None => user::default_name(std::env::var("USER").ok()),
        };
        let keys = self.key_lines().await?;
        let key_directory = match (keys.is_empty(), self.key_directory) {
            (false, _) => None,
            (true, Some(directory)) => Some(directory),
            (true, None) => Some(keys::default_directory()?),
        };

        let asked = self.location.as_deref().map(Location::new).transpose()?;
        let (image_id, image) = self.image.find(client).await?;
        let image_location = Location::new(&image.location)?;
        if let Some(asked) = asked.as_ref().filter(|asked| **asked != image_location) {
            client.check_location(asked).await?;
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("the image {} is in {image_location}; a machine in {asked} cannot be made from it", image_id.name()),
            )
            .with_hint(format!("leave the location out, or upload the image to {asked} too")));
        }
        let beside_it = Fallback::Anyway(&image_location);
        let mut place = Place::choose(client, &self.group, asked.as_ref(), beside_it).await?;
        place.location = image_location;

        let image_gb = image
            .properties
            .storage_profile
            .os_disk
            .disk_size_gb
            .unwrap_or(0);
        let os_disk_gb = match self.os_disk_gb {
            Some(gb) if gb < image_gb => {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("an OS disk of {gb} GB is too small for the image {}, which has {image_gb} GB", image_id.name()),
                )
                .with_hint(format!("pass --os-disk-size-gb {image_gb} or more")));
            }
            Some(gb) => gb,
            None => DEFAULT_OS_DISK_GB.max(image_gb),
        };
        if client
            .virtual_machine(&self.group, &self.name)
            .await?
            .is_some()
        {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("there is a machine {} in {} already", self.name, self.group),
            )
            .with_hint("choose another name, or delete it first"));
        }
        network.check_absent(client, &self.group).await?;
        Ok(Plan {
            place,
            name: self.name,
            network,
            image: image_id,
            size: self.size,
            os_disk_gb,
            os_disk_sku: self.os_disk_sku,
            admin_username,
            keys,
            key_directory,
            allow_ssh_from: self.allow_ssh_from,
            warnings: said.into_iter().collect(),
        })
    }
}

impl IntoFuture for VmBuilder {
    type Output = Result<BootedVm>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

/// A machine that can be made.
#[derive(Debug)]
struct Plan {
    place: Place,
    name: String,
    network: Network,
    image: ResourceId,
    size: String,
    os_disk_gb: u64,
    os_disk_sku: String,
    admin_username: String,
    keys: Vec<String>,
    /// Where a new pair goes; `None` when there are keys.
    key_directory: Option<PathBuf>,
    allow_ssh_from: String,
    warnings: Vec<String>,
}

impl Plan {
    async fn make(self, client: &Client, work: &Work, undo: &mut Undo) -> Result<BootedVm> {
        let group = &self.place.group;
        let location = &self.place.location;
        self.place.ensure(client, undo).await?;
        work.check()?;
        work.progress
            .phase(Phase::CreatingNetwork, self.name.clone());
        let made = self
            .network
            .create(client, &self.place, &self.allow_ssh_from, work, undo)
            .await?;

        let mut keys = self.keys.clone();
        let mut ssh_private_key = None;
        if let Some(directory) = self.key_directory.clone() {
            let (name, comment) = (
                self.name.clone(),
                format!("{}@{}", self.admin_username, self.name),
            );
            let pair = blocking(move || keys::generate(&directory, &name, &comment)).await?;
            let path = pair.private.clone();
            undo.push(format!("the key {}", path.display()), move || {
                blocking(move || keys::remove(&path))
            });
            keys.push(pair.public);
            ssh_private_key = Some(pair.private);
        }
        work.check()?;

        work.progress.phase(Phase::CreatingVm, self.name.clone());
        work.interruptible(Box::pin(self.network.still_ours(client, group)))
            .await?;
        let (again, again_group, again_name) = (client.clone(), group.clone(), self.name.clone());
        let network = self.network.clone();
        undo.push(format!("the machine {}", self.name), move || async move {
            let found = again.virtual_machine(&again_group, &again_name).await?;
            let Some(found) = found else {
                return Ok(());
            };
            network.check_ours(&found.tags, "machine", &again_name)?;
            again
                .delete_virtual_machine(&again_group, &again_name)
                .await?
                .wait()
                .await
        });
        let machine = self.describe(keys, made.interface);
        let creating = client
            .create_virtual_machine(group, &self.name, &machine)
            .await
            .inspect_err(|error| undo.strike_if_refused(error))?;
        let machine = work.interruptible(creating.wait()).await?;

        let mut warnings = self.warnings;
        let public_ip = match made.public_ip {
            Some(known) => Some(known),
            // The machine runs: not to know its address is no reason to take it away.
            None => {
                work.progress.phase(Phase::Waiting, self.name.clone());
                let asked = self.network.public_ip(client, group).await;
                asked.unwrap_or_else(|error| {
                    warnings.push(format!("the address of the machine is not known: {error}"));
                    None
                })
            }
        };
        let ssh_command = public_ip.as_ref().map(|ip| {
            let key = ssh_private_key
                .as_ref()
                .map(|path| format!("-i {} ", path_for_shell(path)))
                .unwrap_or_default();
            format!("ssh {key}{}@{ip}", self.admin_username)
        });
        Ok(BootedVm {
            id: machine
                .id
                .unwrap_or_else(|| client.resource_id(group, VIRTUAL_MACHINES, &self.name)),
            resource_group: group.clone(),
            location: location.clone(),
            public_ip,
            admin_username: self.admin_username,
            ssh_private_key,
            ssh_command,
            warnings,
            name: self.name,
        })
    }

    fn describe(&self, keys: Vec<String>, interface: ResourceId) -> VirtualMachine {
        VirtualMachine {
            location: self.place.location.to_string(),
            tags: self.network.tags(),
            properties: VirtualMachineProperties {
                hardware_profile: HardwareProfile {
                    vm_size: self.size.clone(),
                },
                storage_profile: StorageProfile {
                    image_reference: Some(ArmImageReference {
                        id: Some(self.image.clone()),
                    }),
                    os_disk: OsDisk {
                        create_option: "FromImage".to_owned(),
                        caching: Some("ReadWrite".to_owned()),
                        managed_disk: Some(ManagedDiskParameters {
                            storage_account_type: Some(self.os_disk_sku.clone()),
                            ..ManagedDiskParameters::default()
                        }),
                        delete_option: Some("Delete".to_owned()),
                        disk_size_gb: Some(self.os_disk_gb),
                        ..OsDisk::default()
                    },
                },
                os_profile: Some(OsProfile {
                    computer_name: host_name(&self.name),
                    admin_username: self.admin_username.clone(),
                    linux_configuration: Some(LinuxConfiguration {
                        disable_password_authentication: true,
                        ssh: Some(SshConfiguration {
                            public_keys: keys
                                .into_iter()
                                .map(|key_data| SshPublicKey {
                                    path: format!(
                                        "/home/{}/.ssh/authorized_keys",
                                        self.admin_username
                                    ),
                                    key_data,
                                })
                                .collect(),
                        }),
                    }),
                }),
                network_profile: NetworkProfile {
                    network_interfaces: vec![InterfaceReference::primary(interface)],
                },
                ..VirtualMachineProperties::default()
            },
            ..VirtualMachine::default()
        }
    }
}

/// A machine's name may have periods in it; a host name is what stands before the first.
fn host_name(name: &str) -> String {
    name.split('.').next().unwrap_or(name).to_owned()
}
