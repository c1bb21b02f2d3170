//! [`MachineDelete`]: a machine is deleted with what was made for it, and nothing else is.

mod plan;
mod roles;
mod run;

use std::future::IntoFuture;
use std::path::PathBuf;

use futures::future::BoxFuture;

use self::plan::{Decision, Found, Planned};
pub use self::plan::{Stays, Thing};
use self::roles::Roles;
pub(super) use self::run::discard;
use super::keys::default_directory;
use super::login::{alias_of, known_hosts_in};
use super::machines::{check_names, not_found};
use super::owner::VM_TAG;
use crate::arm::compute::{Existing, SCALE_SETS, ScaleSet, VIRTUAL_MACHINES};
use crate::arm::{Client, Part, PartKind, ResourceId};
use crate::azure::Azure;
use crate::handle::Handle;
use crate::progress::Phase;
use crate::{Error, ErrorKind, Result};

/// The deletion of a machine, or of a scale set with its machines. Await it, [`start`](Self::start) it for
/// a handle, or ask for its [`plan`](Self::plan) first.
///
/// With the machine goes what was made for it: what bears the tag `azure-nixos-vm` with its name, and
/// what its own description says to go with it. Of that, what something else uses by now stays, and
/// the result says why. What others made stays. The resource group is never deleted. The roles of an
/// identity of its own, whoever gave them, are nobody's after it and go as well.
///
/// The keys by which [`Login`](super::Login) knows a machine that is gone are taken out of its file of
/// host keys. Nothing else on this computer is changed: private keys stay.
///
/// A scale set goes with its machines, and with what these and the set have in the same way. A single
/// machine of a set can be deleted too: what the machines share stays with the set.
///
/// It can be repeated: what is gone is gone, and the rest is found by its tag when the machine itself
/// is gone already.
///
/// # Cancellation
/// Dropping the future or cancelling the handle stops before the next thing is deleted, and the error
/// names what is left. The deletion of what is being deleted goes on at Azure's end.
#[derive(Clone, Debug)]
#[must_use = "nothing is deleted until it is awaited or started"]
pub struct MachineDelete {
    azure: Azure,
    group: String,
    name: String,
    key_directory: Option<PathBuf>,
}

/// What a deletion will delete and what it will leave. Await it or [`start`](Self::start) it to have
/// that done; drop it and nothing happens.
///
/// Nothing but what it names is deleted, whatever was made meanwhile. A machine that was made anew
/// under the name is left.
///
/// # Cancellation
/// As [`MachineDelete`].
#[derive(Debug)]
#[must_use = "a plan does nothing until it is awaited or started"]
pub struct DeletePlan {
    client: Client,
    group: String,
    name: String,
    /// Of the machine or the set, to recognise it.
    vm_id: Option<String>,
    goes: Vec<Planned>,
    stays: Vec<Stays>,
    notes: Vec<String>,
    /// The file of host keys, where there is a place for it, and what the machines are called in there.
    known_hosts: Option<PathBuf>,
    aliases: Vec<String>,
}

/// What became of a machine that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeletedMachine {
    /// Its name.
    pub name: String,
    /// The resource group that it was in.
    pub resource_group: String,
    /// What does not exist any more, in the order in which it went.
    pub deleted: Vec<Thing>,
    /// What was left, and why.
    pub stays: Vec<Stays>,
    /// What else should be known, one sentence each: that its host keys could not be forgotten.
    pub warnings: Vec<String>,
}

impl MachineDelete {
    /// The deletion of a machine of this name in this group. Upper and lower case are the same.
    pub fn new(azure: &Azure, group: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            azure: azure.clone(),
            group: group.into(),
            name: name.into(),
            key_directory: None,
        }
    }

    /// Where host keys are kept, as [`LoginBuilder::key_directory`](super::LoginBuilder::key_directory).
    /// The default is `~/.ssh/azure-nixos`.
    pub fn key_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.key_directory = Some(directory.into());
        self
    }

    /// Looks at what there is, and deletes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is neither such a machine nor anything that was made for
    /// it, with the names that there are as the hint.
    ///
    /// # Cancellation
    /// Safe to drop: nothing is changed.
    pub async fn plan(&self) -> Result<DeletePlan> {
        // Large, and polled once in a while: it lives on the heap.
        Box::pin(self.look()).await
    }

    async fn look(&self) -> Result<DeletePlan> {
        check_names(&self.group, &self.name)?;
        let client = Client::new(&self.azure)?;
        let (group, name) = (&self.group, &self.name);
        let (machine, set, parts, strange) = futures::try_join!(
            client.machine(group, name),
            scale_set(&client, group, name),
            parts(&client, group),
            strange(&client, group, name),
        )?;
        if machine.is_some() && set.is_some() {
            return Err(Error::new(
                ErrorKind::Ambiguous,
                format!("{name} is a machine and a scale set in {group}, and what was made for the one cannot be told from what was made for the other"),
            )
            .with_hint("delete the one that is meant with `az vm delete` or `az vmss delete`, and then what is left"));
        }
        let notes = machine.iter().filter_map(of_a_set).collect();
        let roles = Roles::of(&client, machine.as_ref()).await?;
        let found = Found {
            id: client.resource_id(group, VIRTUAL_MACHINES, name),
            machine,
            set: set
                .as_ref()
                .map(|(id, _, members)| (id.clone(), members.clone())),
            parts,
            strange,
            roles,
        };
        let Decision { goes, stays } = found.decide();
        if goes.is_empty() && stays.is_empty() {
            return Err(not_found(&client, group, name).await);
        }
        let aliases = found.machines().filter_map(|machine| {
            let id = machine.id.as_ref()?;
            Some(alias_of(machine.properties.vm_id.as_deref(), id))
        });
        let aliases = aliases.collect();
        // Without a home directory there is nothing to forget.
        let directory = self.key_directory.clone();
        let directory = directory.or_else(|| default_directory().ok());
        let machine = found.machine.unwrap_or_default();
        let (id, own_name, vm_id) = match set {
            Some((id, set, _)) => (Some(id), set.name, set.properties.unique_id),
            None => (machine.id, machine.name, machine.properties.vm_id),
        };
        let spelt = id.as_ref().and_then(ResourceId::resource_group);
        Ok(DeletePlan {
            group: spelt.unwrap_or(group).to_owned(),
            name: own_name.unwrap_or_else(|| name.clone()),
            vm_id,
            client,
            goes,
            stays,
            notes,
            known_hosts: directory.as_deref().map(known_hosts_in),
            aliases,
        })
    }

    /// Plans and deletes.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<DeletedMachine> {
        Handle::spawn(|work| async move {
            work.progress.phase(Phase::Checking, self.name.clone());
            let plan = work.interruptible(Box::pin(self.plan())).await?;
            Box::pin(plan.run(work)).await
        })
    }
}

impl IntoFuture for MachineDelete {
    type Output = Result<DeletedMachine>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

impl DeletePlan {
    /// The name of the machine or the scale set.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What will be deleted, in this order.
    pub fn goes(&self) -> impl ExactSizeIterator<Item = &Thing> {
        self.goes.iter().map(|planned| &planned.thing)
    }

    /// What will be left, and why.
    #[must_use]
    pub fn stays(&self) -> &[Stays] {
        &self.stays
    }

    /// What should be known before it is carried out, one sentence each: that a machine belongs to a
    /// scale set.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Deletes what it names.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<DeletedMachine> {
        Handle::spawn(|work| self.run(work))
    }
}

impl IntoFuture for DeletePlan {
    type Output = Result<DeletedMachine>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

/// Said in the end, with the names of what there is.
fn is_group_missing(error: &Error) -> bool {
    error.status() == Some(404)
}

/// A scale set with its id and its machines, if there is one. Those of one of the mode Uniform are no
/// machines by themselves; such a set is not made here, and not deleted.
async fn scale_set(
    client: &Client,
    group: &str,
    name: &str,
) -> Result<Option<(ResourceId, ScaleSet, Vec<Existing>)>> {
    let set = match client.scale_set(group, name).await {
        // Who may not look at sets may delete machines.
        Err(error) if error.kind() == ErrorKind::Forbidden => {
            tracing::debug!("whether {name} is a scale set is not known: {error}");
            None
        }
        Err(error) if is_group_missing(&error) => None,
        set => set?,
    };
    let Some(set) = set else { return Ok(None) };
    if !set.is_flexible() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{name} is a scale set of the mode Uniform, whose machines are no machines by themselves"),
        )
        .with_hint(format!("delete it with `az vmss delete -g {group} -n {name}`")));
    }
    let id = set
        .id
        .clone()
        .unwrap_or_else(|| client.resource_id(group, SCALE_SETS, name));
    let members = client.machines_of_set(&id).await?;
    Ok(Some((id, set, members)))
}

/// What it means that a machine belongs to a set.
fn of_a_set(machine: &Existing) -> Option<String> {
    let set = machine.properties.virtual_machine_scale_set.as_ref()?;
    let set = set.id.as_ref()?.name();
    let name = machine.name.as_deref().unwrap_or("it");
    Some(format!(
        "{name} is one of the machines of the scale set {set}, which stays with the others; whether Azure makes another in its place is up to how the set scales. To delete the set, name {set}"
    ))
}

/// Everything in the group that a machine may have.
async fn parts(client: &Client, group: &str) -> Result<Vec<(PartKind, Part)>> {
    let lists = PartKind::ALL.map(|kind| async move {
        let parts = match client.parts(Some(group), kind).await {
            Err(error) if is_group_missing(&error) => Vec::new(),
            parts => parts?,
        };
        Ok::<_, Error>(parts.into_iter().map(move |part| (kind, part)))
    });
    let lists = futures::future::try_join_all(lists).await?;
    Ok(lists.into_iter().flatten().collect())
}

/// Things that bear the tag and are of types that are not deleted here.
async fn strange(client: &Client, group: &str, name: &str) -> Result<Vec<ResourceId>> {
    let tagged = match client.tagged_in(group, VM_TAG, name).await {
        Ok(tagged) => tagged,
        Err(error) if error.kind() == ErrorKind::Forbidden || is_group_missing(&error) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let known = |id: &ResourceId| {
        id.is_kind(VIRTUAL_MACHINES)
            || id.is_kind(SCALE_SETS)
            || PartKind::ALL.iter().any(|kind| id.is_kind(kind.full()))
    };
    let ids = tagged.into_iter().map(|resource| resource.id);
    Ok(ids.filter(|id| !known(id)).collect())
}
