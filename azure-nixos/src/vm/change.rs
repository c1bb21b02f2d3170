//! [`MachineChange`]: starting, stopping and resizing machines that exist.

use std::future::IntoFuture;

use futures::future::BoxFuture;

use super::fit;
use super::info::{MachineInfo, PowerState};
use super::machines::{check_names, described, existing, info};
use super::patience::when_free;
use crate::arm::Client;
use crate::arm::compute::{Existing, PowerAction};
use crate::azure::Azure;
use crate::handle::{Handle, Work};
use crate::progress::Phase;
use crate::{Error, ErrorKind, Result};

/// What is to be done to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Start,
    Restart,
    PowerOff,
    Deallocate,
    Resize(String),
    EnableBootDiagnostics,
}

/// A change of a machine that exists. Await it, or [`start`](Self::start) it for a handle.
///
/// A machine on which another operation is under way is waited for, five minutes at most. One that
/// is in the wanted state already is left alone, which the result says.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is no such machine; [`ErrorKind::InvalidInput`] with others that would
/// do when it cannot have the size; [`ErrorKind::Conflict`] when it cannot be changed in its state;
/// [`ErrorKind::Quota`] when there is no room for what is asked.
///
/// # Cancellation
/// Dropping the future or cancelling the handle stops waiting. What was asked of Azure may be done
/// all the same; the error says what that is. A machine that was deallocated to be resized is started
/// again first.
#[derive(Clone, Debug)]
#[must_use = "a change does nothing until it is awaited or started"]
pub struct MachineChange {
    azure: Azure,
    group: String,
    name: String,
    action: Action,
}

/// A machine after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedMachine {
    /// What it is like now.
    pub machine: MachineInfo,
    /// What should be known of how it came to that, one sentence each.
    pub notes: Vec<String>,
}

impl MachineChange {
    pub(super) fn new(azure: &Azure, group: &str, name: &str, action: Action) -> Self {
        Self {
            azure: azure.clone(),
            group: group.to_owned(),
            name: name.to_owned(),
            action,
        }
    }

    /// Starts it.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<ChangedMachine> {
        Handle::spawn(|work| self.run(work))
    }

    async fn run(self, work: Work) -> Result<ChangedMachine> {
        check_names(&self.group, &self.name)?;
        if let Action::Resize(size) = &self.action {
            check_size(size)?;
        }
        let client = Client::new(&self.azure)?;
        work.progress.phase(Phase::Checking, self.name.clone());
        let found = async {
            let existing = existing(&client, &self.group, &self.name).await?;
            Ok((described(&client, &existing).await?, existing))
        };
        let (machine, existing) = work.interruptible(found).await?;
        let mut change = Change {
            machine,
            existing,
            client,
            work,
            notes: Vec::new(),
        };
        Box::pin(change.make(&self.action)).await?;
        let Change {
            client,
            work,
            machine,
            notes,
            ..
        } = change;
        work.progress.phase(Phase::Waiting, machine.name.clone());
        let (group, name) = (&machine.resource_group, &machine.name);
        let machine = work.interruptible(info(&client, group, name)).await?;
        Ok(ChangedMachine { machine, notes })
    }
}

impl IntoFuture for MachineChange {
    type Output = Result<ChangedMachine>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

/// A change under way.
struct Change {
    client: Client,
    work: Work,
    machine: MachineInfo,
    /// The same machine in Azure's words.
    existing: Existing,
    notes: Vec<String>,
}

impl Change {
    async fn make(&mut self, action: &Action) -> Result<()> {
        let name = self.machine.name.clone();
        let state = self.machine.power_state.clone();
        let note = match (action, state) {
            (Action::Start, PowerState::Running) => format!("{name} runs already"),
            (Action::Start, _) => return self.power(PowerAction::Start).await,
            (Action::Deallocate, PowerState::Deallocated) => {
                format!("{name} is deallocated already")
            }
            (Action::Deallocate, _) => {
                self.power(PowerAction::Deallocate).await?;
                format!(
                    "{name} is deallocated: its processors and memory cost nothing any more, its disks and a static address still do"
                )
            }
            (Action::PowerOff, PowerState::Deallocated) => {
                format!("{name} is deallocated, which is off and costs less")
            }
            (Action::PowerOff, PowerState::Stopped) => {
                format!("{name} is off already, and still allocated: it costs as if it ran")
            }
            (Action::PowerOff, _) => {
                self.power(PowerAction::PowerOff).await?;
                format!("{name} is off and still allocated: it costs as if it ran")
            }
            (Action::Restart, PowerState::Deallocated | PowerState::Stopped) => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("{name} does not run, so it cannot be restarted"),
                )
                .with_hint(self.how_to_start()));
            }
            (Action::Restart, _) => return self.power(PowerAction::Restart).await,
            (Action::Resize(size), _) => return self.resize(size).await,
            (Action::EnableBootDiagnostics, _) if self.machine.boot_diagnostics => return Ok(()),
            (Action::EnableBootDiagnostics, _) => {
                self.enable_boot_diagnostics().await?;
                format!(
                    "the boot diagnostics of {name} are on: what its console says from now on is kept"
                )
            }
        };
        self.notes.push(note);
        Ok(())
    }

    fn how_to_start(&self) -> String {
        let machine = &self.machine;
        format!(
            "start it: azure-nixos start -g {} -n {}",
            machine.resource_group, machine.name
        )
    }

    async fn power(&self, action: PowerAction) -> Result<()> {
        let phase = match action {
            PowerAction::Start | PowerAction::Restart => Phase::StartingVm,
            PowerAction::PowerOff | PowerAction::Deallocate => Phase::StoppingVm,
        };
        let (group, name) = (&self.machine.resource_group, &self.machine.name);
        self.work.progress.phase(phase, name.clone());
        let request = || self.client.machine_power(group, name, action);
        self.work
            .interruptible(async { when_free(&self.work, request).await?.wait().await })
            .await
            .map_err(|error| goes_on(error, || format!("{action} {name}")))
    }

    async fn enable_boot_diagnostics(&self) -> Result<()> {
        let (group, name) = (&self.machine.resource_group, &self.machine.name);
        self.work.progress.phase(Phase::ChangingVm, name.clone());
        let request = || self.client.enable_boot_diagnostics(group, name);
        self.work
            .interruptible(async { when_free(&self.work, request).await?.wait().await })
            .await
            .map(drop)
    }

    async fn set_size(&self, size: &str) -> Result<()> {
        let (group, name) = (&self.machine.resource_group, &self.machine.name);
        let detail = format!("{name} to {size}");
        self.work.progress.phase(Phase::ChangingVm, detail);
        let request = || self.client.resize_machine(group, name, size);
        self.work
            .interruptible(async { when_free(&self.work, request).await?.wait().await })
            .await
            .map(drop)
            .map_err(|error| goes_on(error, || format!("resize {name}")))
    }

    async fn resize(&mut self, size: &str) -> Result<()> {
        let name = self.machine.name.clone();
        if self.machine.size.eq_ignore_ascii_case(size) {
            self.notes.push(format!("{name} has this size already"));
            return Ok(());
        }
        let fits = fit::check(&self.client, &self.machine, &self.existing, size);
        Box::pin(self.work.interruptible(fits)).await?;
        let refusal = match self.set_size(size).await {
            Err(error) if needs_deallocation(&error) => error,
            other => return other,
        };
        if self.machine.power_state == PowerState::Deallocated {
            return Err(refusal);
        }
        tracing::info!("{refusal}; {name} is deallocated for it");
        let ran = matches!(
            self.machine.power_state,
            PowerState::Running | PowerState::Starting
        );
        let resized = match self.power(PowerAction::Deallocate).await {
            Ok(()) => self.set_size(size).await,
            // It may have been deallocated all the same.
            Err(error) => Err(error),
        };
        if !ran {
            resized?;
            self.notes.push(format!(
                "{name} had to be deallocated for this size, and is so now"
            ));
            return Ok(());
        }
        if let Err(error) = resized {
            return Err(self.start_again(error).await);
        }
        self.power(PowerAction::Start).await?;
        self.notes.push(format!(
            "{name} had to be deallocated for this size, and was started again"
        ));
        Ok(())
    }

    /// Starts a machine again that was deallocated in vain, whether or not the work is still wanted.
    async fn start_again(&self, error: Error) -> Error {
        let name = &self.machine.name;
        let work = Work {
            progress: self.work.progress.clone(),
            ..Work::default()
        };
        work.progress
            .phase(Phase::Undoing, format!("starting {name} again"));
        let again = Self {
            client: self.client.clone(),
            work,
            machine: self.machine.clone(),
            existing: self.existing.clone(),
            notes: Vec::new(),
        };
        match again.power(PowerAction::Start).await {
            Ok(()) => error.with_context("the machine", "it was deallocated and started again"),
            Err(failed) => error
                .with_context(
                    "the machine",
                    format!("it was deallocated, and does not start again: {failed}"),
                )
                .with_hint(self.how_to_start()),
        }
    }
}

/// Refuses what is not the name of a size, before it is asked for.
fn check_size(size: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !size.is_empty() && size.chars().all(plain) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("{size:?} is not a machine size"),
    )
    .with_hint("a size looks like Standard_DS1_v2"))
}

/// Says of a cancelled wait what may be done nevertheless.
fn goes_on(error: Error, what: impl FnOnce() -> String) -> Error {
    if error.is_cancelled() {
        error.with_context("may go on by itself", what())
    } else {
        error
    }
}

/// Whether a size is refused only because of where the machine is now.
fn needs_deallocation(error: &Error) -> bool {
    const CAPACITY: &[&str] = &[
        "AllocationFailed",
        "OverconstrainedAllocationRequest",
        "ZonalAllocationFailed",
        "OverconstrainedZonalAllocationRequest",
    ];
    // That the hardware which the machine is on lacks the size has no code of its own:
    // OperationNotAllowed is said of quotas and of much else.
    let text = error.to_string().to_ascii_lowercase();
    error.code().is_some_and(|code| CAPACITY.contains(&code))
        || text.contains("hardware cluster")
        || text.contains("deallocate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_some_refusals_of_a_size_pass_by_deallocating() {
        let refusal = |code: &str, text: &str| {
            Error::new(ErrorKind::Conflict, text.to_owned())
                .with_status(409)
                .with_code(code)
        };
        for (code, text, passes) in [
            (
                "OperationNotAllowed",
                "Unable to resize the VM 'a' because the requested size Standard_D3_v2 is not available in the current hardware cluster.",
                true,
            ),
            ("AllocationFailed", "Allocation failed.", true),
            (
                "OperationNotAllowed",
                "Operation results in exceeding quota limits of Core.",
                false,
            ),
            ("SkuNotAvailable", "not available in location", false),
            (
                "OperationNotAllowed",
                "changing from resource disk to non-resource disk VM size and vice-versa is not allowed",
                false,
            ),
        ] {
            assert_eq!(needs_deallocation(&refusal(code, text)), passes, "{text}");
        }
    }
}
