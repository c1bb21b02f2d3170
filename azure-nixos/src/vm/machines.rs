//! [`Machines`] and [`Machine`]: finding the machines that exist.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _};

use super::addresses::{AT_A_TIME, Addresses};
use super::change::{Action, MachineChange};
use super::delete::MachineDelete;
use super::find::the_one;
use super::info::{MachineInfo, power_state, ssh_port};
use super::login::{LoginBuilder, LoginsBuilder};
use super::serial_log::SerialLogBuilder;
use crate::arm::compute::{Existing, SCALE_SETS, ScaleSet};
use crate::arm::{Client, Named, ResourceId, nearest};
use crate::azure::Azure;
use crate::{Error, ErrorKind, Result};

/// Names that an error lists at most.
const MOST_NAMES: usize = 10;

/// The machines of a subscription, whoever made them.
///
/// ```no_run
/// use azure_nixos::Azure;
/// use azure_nixos::vm::Machines;
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// let machines = Machines::new(&azure);
/// for machine in machines.list(None).await? {
///     println!("{} {}", machine.name, machine.power_state);
/// }
/// machines.machine("vms-rg", "web-1").deallocate().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Machines {
    azure: Azure,
}

/// One machine, by its name. That it exists is known when something is asked of it.
#[derive(Clone, Debug)]
pub struct Machine {
    azure: Azure,
    group: String,
    name: String,
}

impl Machines {
    /// The machines of the subscription of this connection.
    #[must_use]
    pub fn new(azure: &Azure) -> Self {
        Self {
            azure: azure.clone(),
        }
    }

    /// The machines of a group, or of the whole subscription, by group and name.
    ///
    /// The number of requests does not grow with the number of machines: one list each of machines,
    /// states, interfaces and addresses. What those do not show is asked for one by one, a few at a
    /// time. A login that may not look at addresses or states gets the machines without them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such group; [`ErrorKind::Forbidden`] when the machines
    /// may not be listed.
    ///
    /// # Cancellation
    /// Safe to drop: nothing is changed.
    pub async fn list(&self, group: Option<&str>) -> Result<Vec<MachineInfo>> {
        if let Some(group) = group {
            Named::ResourceGroup.check(group)?;
        }
        let client = Client::new(&self.azure)?;
        let machines = client.machines(group).await?;
        let (states, addresses) = futures::try_join!(
            states(&client, group, &machines),
            Addresses::of_all(&client, group, &machines),
        )?;
        let mut found = machines
            .iter()
            .map(|machine| {
                let mut info = MachineInfo::new(machine, &addresses)?;
                if let Some(state) = states.get(&info.id) {
                    info.power_state = power_state(state);
                    info.ssh_port = ssh_port(state);
                }
                Ok(info)
            })
            .collect::<Result<Vec<_>>>()?;
        found.sort_by_cached_key(|info| {
            (
                info.resource_group.to_ascii_lowercase(),
                info.name.to_ascii_lowercase(),
            )
        });
        Ok(found)
    }

    /// One machine. Upper and lower case are the same.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], with the names that there are as the hint.
    ///
    /// # Cancellation
    /// Safe to drop: nothing is changed.
    pub async fn get(&self, group: &str, name: &str) -> Result<MachineInfo> {
        self.machine(group, name).info().await
    }

    /// The machine of this name in whichever group it is: `NAME`, or `NAME.GROUP` where two groups have the
    /// name. Upper and lower case are the same. One list of all machines is asked for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], with a name that may be meant or those that there are as the hint;
    /// [`ErrorKind::Ambiguous`], with the groups; [`ErrorKind::Forbidden`] when the machines of the
    /// subscription may not be listed, where [`machine`](Self::machine) may do.
    ///
    /// # Cancellation
    /// Safe to drop: nothing is changed.
    pub async fn find(&self, name: &str) -> Result<Machine> {
        check_name(name)?;
        let listed = Client::new(&self.azure)?.machines(None).await;
        let machines = listed.map_err(|error| match error.kind() {
            ErrorKind::Forbidden => error.with_hint("name the group of the machine too"),
            _ => error,
        })?;
        let places: Vec<(&str, &str)> = machines
            .iter()
            .filter_map(|one| Some((one.name.as_deref()?, one.id.as_ref()?.resource_group()?)))
            .collect();
        let (name, group) = the_one(&places, name)?;
        Ok(self.machine(group, name))
    }

    /// How to log into the machines of a group, or of the whole subscription, in the order of
    /// [`list`](Self::list).
    pub fn logins(&self, group: Option<&str>) -> LoginsBuilder {
        LoginsBuilder::new(self.clone(), group.map(str::to_owned))
    }

    /// A machine to do something with. Nothing is asked yet.
    #[must_use]
    pub fn machine(&self, group: impl Into<String>, name: impl Into<String>) -> Machine {
        Machine {
            azure: self.azure.clone(),
            group: group.into(),
            name: name.into(),
        }
    }
}

impl Machine {
    /// What it is like now.
    ///
    /// # Errors
    /// As [`Machines::get`].
    ///
    /// # Cancellation
    /// Safe to drop: nothing is changed.
    pub async fn info(&self) -> Result<MachineInfo> {
        check_names(&self.group, &self.name)?;
        info(&Client::new(&self.azure)?, &self.group, &self.name).await
    }

    /// Starts it.
    pub fn power_on(&self) -> MachineChange {
        self.change(Action::Start)
    }

    /// Stops it and gives its processors and memory back, so that they cost nothing. Its disks stay,
    /// and so does a static address; what is on its temporary disk is lost.
    pub fn deallocate(&self) -> MachineChange {
        self.change(Action::Deallocate)
    }

    /// Stops it and keeps everything, so that it starts again for certain and costs as if it ran.
    pub fn power_off(&self) -> MachineChange {
        self.change(Action::PowerOff)
    }

    /// Restarts it.
    pub fn restart(&self) -> MachineChange {
        self.change(Action::Restart)
    }

    /// Gives it another size. A machine that runs is restarted by that; where it runs may not have
    /// the size, and then it is deallocated and started elsewhere, which the result says.
    pub fn resize(&self, size: impl Into<String>) -> MachineChange {
        self.change(Action::Resize(size.into()))
    }

    /// Turns its boot diagnostics on, so that its serial console can be read from then on. The
    /// service keeps the log.
    pub fn enable_boot_diagnostics(&self) -> MachineChange {
        self.change(Action::EnableBootDiagnostics)
    }

    /// Deletes it and what was made for it.
    pub fn delete(&self) -> MachineDelete {
        MachineDelete::new(&self.azure, self.group.clone(), self.name.clone())
    }

    /// How to log into it.
    pub fn login(&self) -> LoginBuilder {
        LoginBuilder::new(self.clone())
    }

    /// Reads what its serial console has said.
    pub fn serial_log(&self) -> SerialLogBuilder {
        SerialLogBuilder::new(&self.azure, self.group.clone(), self.name.clone())
    }

    fn change(&self, action: Action) -> MachineChange {
        MachineChange::new(&self.azure, &self.group, &self.name, action)
    }
}

/// Refuses names that no machine has, before they become a part of a path.
pub(super) fn check_names(group: &str, name: &str) -> Result<()> {
    Named::ResourceGroup.check(group)?;
    check_name(name)
}

fn check_name(name: &str) -> Result<()> {
    // Who made it may have used characters that this library does not.
    let safe = |c: char| !c.is_whitespace() && !c.is_control() && !"/\\?#%&".contains(c);
    if name.is_empty() || name == "." || name == ".." || !name.chars().all(safe) {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{name:?} cannot be the name of a machine"),
        ));
    }
    Ok(())
}

/// A machine that has to exist.
pub(super) async fn existing(client: &Client, group: &str, name: &str) -> Result<Existing> {
    match client.machine(group, name).await? {
        Some(machine) => Ok(machine),
        None => Err(not_found(client, group, name).await),
    }
}

/// A machine that has to exist, with its addresses.
pub(super) async fn info(client: &Client, group: &str, name: &str) -> Result<MachineInfo> {
    let machine = existing(client, group, name).await?;
    // Its future is large, and in those of whoever asks.
    Box::pin(described(client, &machine)).await
}

/// What a machine is like, with its addresses.
pub(super) async fn described(client: &Client, machine: &Existing) -> Result<MachineInfo> {
    let addresses = Addresses::of_one(client, machine).await?;
    MachineInfo::new(machine, &addresses)
}

/// That there is no such machine, and which there are.
pub(super) async fn not_found(client: &Client, group: &str, name: &str) -> Error {
    let others = client.machines(Some(group)).await;
    if others.as_ref().err().and_then(Error::code) == Some("ResourceGroupNotFound") {
        return Error::new(
            ErrorKind::NotFound,
            format!("there is no machine {name}: there is no resource group {group}"),
        )
        .with_hint("`azure-nixos list-vms` lists the machines of all groups");
    }
    if let Ok(Some(set)) = client.scale_set(group, name).await {
        return is_a_set(client, group, set).await;
    }
    let error = Error::new(
        ErrorKind::NotFound,
        format!("there is no machine {name} in {group}"),
    );
    // Without the list the error is as true.
    let Ok(others) = others else {
        return error;
    };
    let names = others.iter().filter_map(|other| other.name.as_deref());
    error.with_hint(hint(name, names.collect(), "the group has"))
}

/// That a name is that of a scale set, which of its machines there are, and what is done to all of them.
async fn is_a_set(client: &Client, group: &str, set: ScaleSet) -> Error {
    let name = set.name.clone().unwrap_or_default();
    let id = client.resource_id(group, SCALE_SETS, &name);
    let machines = if set.is_flexible() {
        client.machines_of_set(&id).await.unwrap_or_default()
    } else {
        Vec::new()
    };
    let mut names: Vec<&str> = machines
        .iter()
        .filter_map(|one| one.name.as_deref())
        .collect();
    names.sort_unstable();
    let one = if names.is_empty() {
        String::new()
    } else {
        format!("name one of its machines ({}); ", some_of(&names))
    };
    Error::new(
        ErrorKind::NotFound,
        format!("{name} is a scale set in {group}, not a machine"),
    )
    .with_hint(format!(
        "{one}for all at once there are `az vmss start`, `az vmss deallocate` and `az vmss restart`, and `az vmss scale -g {group} -n {name} --new-capacity N` for more or fewer of them"
    ))
}

/// What else may have been meant. `who` says before the names whose they are.
pub(super) fn hint(name: &str, mut names: Vec<&str>, who: &str) -> String {
    let wanted = name.to_ascii_lowercase();
    let folded: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let close = nearest(&wanted, folded.iter().map(String::as_str));
    let close = close.and_then(|close| names.iter().find(|name| name.eq_ignore_ascii_case(close)));
    if let Some(close) = close {
        return format!("did you mean {close}?");
    }
    if names.is_empty() {
        return "there is no machine in this group; `azure-nixos list-vms` lists those of all groups"
            .to_owned();
    }
    // Those that have something in common with it come first.
    names.sort_by_key(|name| {
        let name = name.to_ascii_lowercase();
        (!name.contains(&wanted) && !wanted.contains(&name), name)
    });
    format!("{who} {}", some_of(&names))
}

/// The first of the names, and how many more there are.
fn some_of(names: &[&str]) -> String {
    let shown = &names[..names.len().min(MOST_NAMES)];
    match names.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The machines again, with their power states, by their ids.
///
/// One list has the states of all machines of the subscription; there is none for a group. A machine
/// that is not in it, or a login that may not see the subscription, is asked for by itself.
async fn states(
    client: &Client,
    group: Option<&str>,
    machines: &[Existing],
) -> Result<HashMap<ResourceId, Existing>> {
    let mut states = HashMap::new();
    // For a single machine in a group the list of all others would be a waste.
    if machines.len() > 1 || (group.is_none() && !machines.is_empty()) {
        match client.machine_states().await {
            Ok(all) => {
                let known = all
                    .into_iter()
                    .filter(|one| one.properties.instance_view.is_some());
                states.extend(known.filter_map(|one| Some((one.id.clone()?, one))));
            }
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                tracing::info!("states are asked for one by one: {error}");
            }
            Err(error) => return Err(error),
        }
    }
    let missing = machines.iter().filter_map(|machine| machine.id.clone());
    let missing: Vec<ResourceId> = missing.filter(|id| !states.contains_key(id)).collect();
    let asked: Vec<Option<Existing>> = futures::stream::iter(missing)
        .map(|id| async move {
            let group = id.resource_group().unwrap_or_default();
            match client.machine(group, id.name()).await {
                Err(error) if error.kind() == ErrorKind::Forbidden => {
                    tracing::info!("a state is not shown: {error}");
                    Ok(None)
                }
                found => found,
            }
        })
        .buffer_unordered(AT_A_TIME)
        .try_collect()
        .await?;
    let asked = asked.into_iter().flatten();
    states.extend(asked.filter_map(|one| Some((one.id.clone()?, one))));
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_close_is_offered() {
        let names = || vec!["web-1", "web-2", "Database"];
        assert_eq!(hint("wbe-1", names(), "there are"), "did you mean web-1?");
        assert_eq!(
            hint("DATABSAE", names(), "there are"),
            "did you mean Database?"
        );
        assert_eq!(
            hint("base", names(), "there are"),
            "there are Database, web-1, web-2"
        );
        assert!(hint("x", Vec::new(), "there are").starts_with("there is no machine"));
        let many: Vec<String> = (0..12).map(|n| format!("machine-number-{n:02}")).collect();
        let text = hint("x", many.iter().map(String::as_str).collect(), "there are");
        assert!(text.ends_with(" and 2 more"), "{text}");
    }

    #[test]
    fn a_name_is_no_way_out_of_its_path() {
        for name in ["", "..", "a/b", "a?b", "a b", "a%2fb", "a#b"] {
            assert!(check_names("g", name).is_err(), "{name}");
        }
        check_names("g", "_old.name-1").unwrap();
        assert!(check_names("a/b", "x").is_err());
    }
}
