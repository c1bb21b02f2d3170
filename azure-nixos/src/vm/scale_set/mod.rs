//! Scale sets: machines that the service makes of one model, names by itself, and can make more of.
//!
//! They are of the orchestration mode `Flexible`, so each machine is one like all others, with an
//! interface, addresses and disks that are resources too. What a set cannot have, or has in another way
//! than single machines, is decided here:
//!
//! - the service names the machines (`NAME_` and eight characters), their interfaces and addresses;
//! - all machines have one model, so there is one key for all of them;
//! - its own operation makes all machines, and fails when one of them does.
//!
//! What is asked for is the [`Spec`] that machines have, too. `check` says what of it no set can have,
//! `plan` describes the set, `make` makes it.

mod check;
mod make;
mod plan;

use std::future::IntoFuture;
use std::path::PathBuf;

use futures::future::BoxFuture;

pub use self::check::LARGEST_SCALE_SET;
pub(super) use self::check::check;
use super::booted::BootedVm;
use super::machine::SecurityType;
use super::ready;
use super::spec::Spec;
use crate::Result;
use crate::arm::{Client, Location, ResourceId};
use crate::azure::{self, Azure};
use crate::handle::Handle;
use crate::progress::Phase;
use crate::undo::Undo;

/// A scale set to be made: see [`VmBuilder::scale_set`](super::VmBuilder::scale_set).
///
/// Its machines share a network and its rules, which are named after it, and one key. When the set or
/// one of its machines is not made, all is taken away again.
///
/// Azure makes no set with identities of the machines' own, nor one of copies of a managed disk; and
/// without an agent its operation would fail, as it waits for every machine. These are refused before
/// anything is made.
///
/// ```no_run
/// use azure_nixos::{Azure, VmBuilder, vm::ImageReference};
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// let set = VmBuilder::new(&azure, "vms-rg", "worker", ImageReference::parse("nixos-worker")?)
///     .allow_ssh_from("me")
///     .scale_set(20)
///     .await?;
/// for vm in set.machines {
///     println!("{} {}", vm.name, vm.ssh_command.unwrap_or_default());
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
/// As [`VmBuilder`](super::VmBuilder): what the service has begun to make is taken away again.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is awaited or started"]
pub struct ScaleSetBuilder {
    azure: Option<Azure>,
    spec: Spec,
}

/// A scale set, and the machines that it had when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BootedSet {
    /// Its id.
    pub id: ResourceId,
    /// Its name.
    pub name: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its region.
    pub location: Location,
    /// The size of its machines.
    pub size: String,
    /// The security of their firmware.
    pub security_type: SecurityType,
    /// The user that may log into all of them.
    pub admin_username: Option<String>,
    /// The private key that was made for all of them, when no key was given.
    pub ssh_private_key: Option<PathBuf>,
    /// Who they are to other services: a GUID of the directory.
    pub principal_id: Option<String>,
    /// The machines, by their names.
    pub machines: Vec<BootedVm>,
    /// What should be known about all of them.
    pub warnings: Vec<String>,
}

impl ScaleSetBuilder {
    pub(super) fn new(azure: Option<Azure>, spec: Spec) -> Self {
        Self { azure, spec }
    }

    /// Starts making it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<BootedSet> {
        Handle::spawn(|work| async move {
            let azure = azure::connected(self.azure)?;
            let client = Client::new(&azure)?;
            work.progress.phase(Phase::Checking, self.spec.name.clone());
            let plan = work
                .interruptible(Box::pin(plan::Plan::check(self.spec, &client)))
                .await?;
            let mut undo = Undo::default();
            let wait = plan.machines.wait.clone();
            let result = Box::pin(plan.make(&client, &work, &mut undo)).await;
            let mut set = match result {
                Ok(set) => set,
                failed => return undo.finish(&work, failed).await,
            };
            let machines = std::mem::take(&mut set.machines);
            let machines = ready::wait(&azure, &client, &wait, machines, &work);
            set.machines = ready::keep(Box::pin(machines).await, undo, &work).await?;
            Ok(set)
        })
    }

    /// Checks everything that can be checked without Azure, as
    /// [`VmBuilder::validate`](super::VmBuilder::validate).
    ///
    /// # Errors
    /// As there.
    pub async fn validate(&self) -> Result<()> {
        self.spec.validate().await
    }
}

impl IntoFuture for ScaleSetBuilder {
    type Output = Result<BootedSet>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}
