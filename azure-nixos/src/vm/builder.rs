//! [`VmBuilder`] and [`FleetBuilder`]: what machines are to be like.

use std::future::IntoFuture;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;

use super::booted::{BootedFleet, BootedVm};
use super::identity::{Identity, Wanted};
use super::image::ImageReference;
use super::keys::SshKey;
use super::machine::{MachineOptions, SecurityType, Spot};
use super::make::Made;
use super::network::NetworkOptions;
use super::provisioning::{Data, Provisioning};
use super::ready::{self, Readiness, WaitOptions};
use super::scale_set::ScaleSetBuilder;
use super::spec::{LoginOptions, Shape, Spec};
use crate::arm::Client;
use crate::azure::{self, Azure};
use crate::handle::{Handle, Work};
use crate::progress::Phase;
use crate::undo::Undo;
use crate::{Error, ErrorKind, Result};

/// A machine to be made.
///
/// It gets a network, a public address, a firewall that lets SSH in, and an interface of its own,
/// named after it (`web-1-vnet`, `web-1-ip`, …), and a user with a key. All of that goes with it when
/// it is deleted. Await it for the simple path, or [`start`](Self::start) it for a handle; for several
/// at once see [`fleet`](Self::fleet).
///
/// Before anything is made it is looked at whether it can be: that no name is taken, and that the
/// size is in the region, boots what the image is, and fits into the quota. A login that may not ask
/// for the latter leaves it to the service to judge.
///
/// ```no_run
/// use azure_nixos::{Azure, VmBuilder, vm::SshKey};
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// let vm = VmBuilder::new(&azure, "vms-rg", "web-1", azure_nixos::vm::ImageReference::parse("nixos-web")?)
///     .size("Standard_D2s_v5")
///     .ssh_key(SshKey::file("~/.ssh/id_ed25519.pub"))
///     .allow_ssh_from("me")
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
    azure: Option<Azure>,
    spec: Spec,
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
        Self::unconnected(resource_group, name, image).connect(azure)
    }

    /// The same before there is a login: to be [validated](Self::validate) and then
    /// [connected](Self::connect).
    pub fn unconnected(
        resource_group: impl Into<String>,
        name: impl Into<String>,
        image: impl Into<ImageReference>,
    ) -> Self {
        Self {
            azure: None,
            spec: Spec {
                group: resource_group.into(),
                name: name.into(),
                image: image.into(),
                location: None,
                machine: MachineOptions::default(),
                network: NetworkOptions::default(),
                login: LoginOptions::default(),
                identity: None,
                roles: Vec::new(),
                provisioning: Provisioning::default(),
                wait: WaitOptions::default(),
                shape: Shape::One,
            },
        }
    }

    /// The region. A machine lives where its image does, so that is the default and the only one that
    /// is not refused. A gallery's image may be in several: the default is then that of the group
    /// where it is there, else the one that the version was made in.
    pub fn location(mut self, location: impl Into<String>) -> Self {
        self.spec.location = Some(location.into());
        self
    }

    /// The size; the default is `Standard_DS1_v2`.
    pub fn size(mut self, size: impl Into<String>) -> Self {
        self.spec.machine.size = size.into();
        self
    }

    /// The disk that it boots from, in GiB. The default is 42, or the size of the image if that is
    /// more; less than the image is refused.
    pub fn os_disk_size_gb(mut self, gb: u64) -> Self {
        self.spec.machine.os_disk_gb = Some(gb);
        self
    }

    /// The kind of its disks. The default is `Premium_LRS`, or `StandardSSD_LRS` for a size that
    /// cannot have that.
    pub fn os_disk_sku(mut self, sku: impl Into<String>) -> Self {
        self.spec.machine.os_disk_sku = Some(sku.into());
        self
    }

    /// An empty disk beside the one that it boots from, in GiB; several may be asked for. The machine
    /// finds them by their numbers, which count from 0 and leave out those of the image's own disks:
    /// `/dev/disk/azure/scsi1/lun0`.
    pub fn data_disk_gb(mut self, gb: u64) -> Self {
        self.spec.machine.data_disks.push(gb);
        self
    }

    /// The availability zone: `1`, `2` or `3`. By default Azure chooses.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.spec.machine.zone = Some(zone.into());
        self
    }

    /// A spot machine: it costs less, and Azure takes it away when it needs the room.
    pub fn spot(mut self, spot: Spot) -> Self {
        self.spec.machine.spot = Some(spot);
        self
    }

    /// Whether its serial console is recorded, which is the default; Azure keeps the log.
    pub fn boot_diagnostics(mut self, enabled: bool) -> Self {
        self.spec.machine.boot_diagnostics = enabled;
        self
    }

    /// The security of its firmware. The default is trusted launch where image and size can, which
    /// only images of galleries and disks say of themselves, and the standard one elsewhere.
    pub fn security_type(mut self, security: SecurityType) -> Self {
        self.spec.machine.security = Some(security);
        self
    }

    /// Whether the firmware starts only what is signed. It takes trusted launch, and a boot loader
    /// that is signed: NixOS does not sign its own, so the default is no.
    pub fn secure_boot(mut self, enabled: bool) -> Self {
        self.spec.machine.secure_boot = enabled;
        self
    }

    /// The user that the agent in the image makes. The default is `$USER`, or `azureuser` where
    /// Azure would not take that. Where the image has users of its own, as whom to log in.
    pub fn admin_username(mut self, name: impl Into<String>) -> Self {
        self.spec.login.admin_username = Some(name.into());
        self
    }

    /// A key that may log in; several may be given. Without any, a new pair is made for each machine.
    pub fn ssh_key(mut self, key: SshKey) -> Self {
        self.spec.login.keys.push(key);
        self
    }

    /// No key: for images with users of their own. Azure makes no machine without a key, so it gets
    /// one of which nobody has the private half.
    pub fn without_ssh_key(mut self) -> Self {
        self.spec.login.no_key = true;
        self
    }

    /// Where a new pair is put; the default is `~/.ssh/azure-nixos`. A file that is there is never
    /// replaced.
    pub fn key_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.spec.login.key_directory = Some(directory.into());
        self
    }

    /// Who may reach port 22: `any` (or `*`) for everybody, `none`, an address, a range in CIDR
    /// notation, or `me` for the address at which the login service saw the caller, which tokens of
    /// people say. The default is `any`, with a warning.
    pub fn allow_ssh_from(mut self, source: impl Into<String>) -> Self {
        self.spec.network.allow_ssh_from = Some(source.into());
        self
    }

    /// A subnet that is there, by its id, in the place of a network of its own.
    pub fn subnet(mut self, id: impl Into<String>) -> Self {
        self.spec.network.subnet = Some(id.into());
        self
    }

    /// Whether it gets public addresses, which is the default.
    pub fn public_ip(mut self, wanted: bool) -> Self {
        self.spec.network.public_ip = wanted;
        self
    }

    /// Whether it gets addresses of IPv6 beside those of IPv4; the default is no.
    pub fn ipv6(mut self, wanted: bool) -> Self {
        self.spec.network.ipv6 = wanted;
        self
    }

    /// Whether its packets go past the host's switch. Not every size can; the default is no.
    pub fn accelerated_networking(mut self, wanted: bool) -> Self {
        self.spec.network.accelerated = wanted;
        self
    }

    /// Who it is to other services; by default nobody.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.spec.identity = Some(identity);
        self
    }

    /// A role of its identity in a scope; several may be given, and none is by default. The role is a
    /// name, a GUID or an id, the scope the id of a resource, a group or a subscription: the smallest
    /// one that is enough.
    pub fn role(mut self, role: impl Into<String>, scope: impl Into<String>) -> Self {
        self.spec.roles.push(Wanted {
            role: role.into(),
            scope: scope.into(),
        });
        self
    }

    /// Data that the machine reads at its first boot, cloud-init's configuration for one: at most
    /// 65,535 bytes. It may be secret; it is shown nowhere.
    pub fn custom_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.spec.provisioning.custom_data = Some(Data::Bytes(data.into()));
        self
    }

    /// The same, from a file.
    pub fn custom_data_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.provisioning.custom_data = Some(Data::File(path.into()));
        self
    }

    /// A variable of a shell, as custom data: NixOS images without cloud-init read
    /// `ssh_root_auth_key` and others from there. Quoted as it has to be; several may be given.
    pub fn shell_variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let value = Data::Bytes(value.into().into_bytes());
        self.spec
            .provisioning
            .shell_variables
            .push((name.into(), value));
        self
    }

    /// The same, with the value from a file: what is secret does not belong on a command line.
    pub fn shell_variable_file(
        mut self,
        name: impl Into<String>,
        path: impl Into<PathBuf>,
    ) -> Self {
        let value = Data::File(path.into());
        self.spec
            .provisioning
            .shell_variables
            .push((name.into(), value));
        self
    }

    /// Data that the machine can read as long as it lives: at most 65,535 bytes.
    pub fn user_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.spec.provisioning.user_data = Some(Data::Bytes(data.into()));
        self
    }

    /// The same, from a file.
    pub fn user_data_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.spec.provisioning.user_data = Some(Data::File(path.into()));
        self
    }

    /// Whether there is an agent in it that Azure hears from, which is the default. Without one
    /// nothing can be put into it later, and that it does not say that it is ready is no failure:
    /// Azure waits for that with generalized images, half an hour and more. A managed disk, or a
    /// specialized image of a gallery, is not waited for.
    pub fn agent(mut self, present: bool) -> Self {
        self.spec.provisioning.agent = present;
        self
    }

    /// When it counts as ready; the default is [`Readiness::Created`]. To wait longer is for who asks
    /// for it: a program that has no use for ssh, or runs where port 22 cannot be reached, would else
    /// wait for nothing.
    ///
    /// A machine that is not ready in time is an error of kind [`ErrorKind::Timeout`] with the end of
    /// its serial console in it; the machine stays, so that it can be looked at. A wait that is
    /// cancelled takes away all that was made, as any cancel does.
    ///
    /// ```no_run
    /// # async fn example(builder: azure_nixos::VmBuilder) -> azure_nixos::Result<()> {
    /// use azure_nixos::vm::Readiness;
    ///
    /// let vm = builder.wait(Readiness::Ssh).await?;
    /// println!("{}", vm.known_hosts.join("\n"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait(mut self, readiness: Readiness) -> Self {
        self.spec.wait.readiness = readiness;
        self
    }

    /// How long it is waited for at most, from the moment that Azure has made it; the default is ten
    /// minutes.
    pub fn wait_timeout(mut self, limit: Duration) -> Self {
        self.spec.wait.limit = limit;
        self
    }

    /// So many of it, named `NAME-1`, `NAME-2` and so on, in one network: 1 to
    /// [`LARGEST_FLEET`](super::LARGEST_FLEET).
    pub fn fleet(mut self, count: u32) -> FleetBuilder {
        self.spec.shape = Shape::Fleet(count);
        FleetBuilder(self)
    }

    /// Where it is made.
    pub fn connect(mut self, azure: &Azure) -> Self {
        self.azure = Some(azure.clone());
        self
    }

    /// A scale set of so many of it, 0 to [`LARGEST_SCALE_SET`](super::LARGEST_SCALE_SET): Azure makes them,
    /// names them, and can make more.
    pub fn scale_set(mut self, count: u32) -> ScaleSetBuilder {
        self.spec.shape = Shape::ScaleSet(count);
        ScaleSetBuilder::new(self.azure, self.spec)
    }

    /// Starts making it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<BootedVm> {
        Handle::spawn(|work| async move {
            let made = self.run(work).await?;
            let mut vm = made
                .machines
                .into_iter()
                .next()
                .ok_or_else(|| Error::new(ErrorKind::Internal, "no machine was made"))?;
            vm.warnings.splice(..0, made.warnings);
            Ok(vm)
        })
    }

    async fn run(self, work: Work) -> Result<Made> {
        let azure = azure::connected(self.azure)?;
        let client = Client::new(&azure)?;
        work.progress.phase(Phase::Checking, self.spec.name.clone());
        // Large, and polled once in a while: they live on the heap.
        let plan = work
            .interruptible(Box::pin(self.spec.check(&client)))
            .await?;
        let mut undo = Undo::default();
        let wait = plan.wait.clone();
        let result = Box::pin(plan.make(&azure, &client, &work, &mut undo)).await;
        let made = match result {
            Ok(made) => made,
            failed => return undo.finish(&work, failed).await,
        };
        let Made { machines, warnings } = made;
        let machines = ready::wait(&azure, &client, &wait, machines, &work);
        let machines = ready::keep(Box::pin(machines).await, undo, &work).await?;
        Ok(Made { machines, warnings })
    }

    /// Checks everything that can be checked without Azure: names, sizes, the user, the keys, files.
    ///
    /// [`start`](Self::start) does so by itself; this is for whoever has something long to do
    /// before that, the upload of the image for one, or a login. Pipes and an SSH agent are left for
    /// then: they can be read once.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], or that of a file that cannot be read.
    pub async fn validate(&self) -> Result<()> {
        self.spec.validate().await
    }
}

impl IntoFuture for VmBuilder {
    type Output = Result<BootedVm>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

/// Several machines to be made at once: see [`VmBuilder::fleet`].
///
/// They share a network and its rules, and are made side by side, a few at a time. When one of them
/// fails, all that was made is taken away again.
///
/// ```no_run
/// use azure_nixos::{Azure, VmBuilder, vm::ImageReference};
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// let fleet = VmBuilder::new(&azure, "vms-rg", "worker", ImageReference::parse("nixos-worker")?)
///     .fleet(5)
///     .await?;
/// for vm in fleet.machines {
///     println!("{} {}", vm.name, vm.public_ip.unwrap_or_default());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
/// As [`VmBuilder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is awaited or started"]
pub struct FleetBuilder(VmBuilder);

impl FleetBuilder {
    /// Starts making them.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<BootedFleet> {
        Handle::spawn(|work| async move {
            let name = self.0.spec.name.clone();
            let Made { machines, warnings } = self.0.run(work).await?;
            Ok(BootedFleet {
                name,
                machines,
                warnings,
            })
        })
    }

    /// When they count as ready, as [`VmBuilder::wait`]; all are waited for side by side.
    pub fn wait(self, readiness: Readiness) -> Self {
        Self(self.0.wait(readiness))
    }

    /// How long each is waited for at most, as [`VmBuilder::wait_timeout`].
    pub fn wait_timeout(self, limit: Duration) -> Self {
        Self(self.0.wait_timeout(limit))
    }

    /// Checks everything that can be checked without Azure, as [`VmBuilder::validate`].
    ///
    /// # Errors
    /// As there.
    pub async fn validate(&self) -> Result<()> {
        self.0.validate().await
    }
}

impl IntoFuture for FleetBuilder {
    type Output = Result<BootedFleet>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}
