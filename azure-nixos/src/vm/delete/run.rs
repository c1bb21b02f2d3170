//! A plan is carried out, stage by stage.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};

use super::super::patience::{Patience, is_busy, when_free};
use super::super::ssh::known_hosts;
use super::plan::{Kind, Planned, Stays, Thing, user};
use super::{DeletePlan, DeletedMachine, parts};
use crate::arm::{Client, PartKind, ResourceId};
use crate::blocking::blocking;
use crate::handle::Work;
use crate::progress::Phase;
use crate::undo::AT_A_TIME;
use crate::{Error, ErrorKind, Result};

/// Azure keeps an interface for its machine for three minutes after that is gone, and what the
/// interface uses is in use for so long.
const RESERVED: Duration = Duration::from_secs(240);

/// What is refused as used while nobody is shown to use it.
const UNEXPLAINED: Duration = Duration::from_secs(30);

/// What became of a thing.
enum Outcome {
    Gone,
    Stays(String),
}

impl DeletePlan {
    pub(super) async fn run(self, work: Work) -> Result<DeletedMachine> {
        let mut going: HashSet<ResourceId> = self.goes().map(|thing| thing.id.clone()).collect();
        let mut deleted: Vec<Thing> = Vec::new();
        let mut stays = self.stays.clone();
        let mut warnings = Vec::new();
        // What the deletion of a set has left, once that is known.
        let mut rest: Option<HashSet<ResourceId>> = None;
        for stage in self.goes.chunk_by(|a, b| a.stage == b.stage) {
            if let Err(cancelled) = work.check() {
                return Err(self.left(cancelled, &deleted, &stays));
            }
            let names: Vec<String> = stage.iter().map(|one| one.thing.to_string()).collect();
            work.progress.phase(Phase::Deleting, names.join(", "));
            let is_there = |one: &Planned| {
                one.kind == Kind::RoleAssignment
                    || rest
                        .as_ref()
                        .is_none_or(|rest| rest.contains(&one.thing.id))
            };
            let each: Vec<BoxFuture<'_, Result<Outcome>>> = stage
                .iter()
                .map(|one| -> BoxFuture<'_, _> {
                    if is_there(one) {
                        Box::pin(self.delete(one, &going, &work))
                    } else {
                        Box::pin(async { Ok(Outcome::Gone) })
                    }
                })
                .collect();
            let outcomes: Vec<Result<Outcome>> =
                stream::iter(each).buffered(AT_A_TIME).collect().await;
            let mut failed: Vec<Error> = Vec::new();
            for (planned, outcome) in stage.iter().zip(outcomes) {
                let thing = planned.thing.clone();
                match outcome {
                    Ok(Outcome::Gone) => deleted.push(thing),
                    Ok(Outcome::Stays(reason)) => {
                        going.remove(&thing.id);
                        stays.push(Stays { thing, reason });
                    }
                    Err(error) => failed.push(error),
                }
            }
            let is_gone = |one: &Planned| {
                matches!(one.kind, Kind::Machine | Kind::ScaleSet) && deleted.contains(&one.thing)
            };
            // At once: no later run knows any more what they are called in there.
            if stage.iter().any(is_gone) {
                warnings.extend(self.forget().await);
            }
            // What was refused says more than that the rest was cancelled.
            failed.sort_by_key(Error::is_cancelled);
            if let Some(error) = failed.into_iter().next() {
                return Err(self.left(error, &deleted, &stays));
            }
            if stage.iter().any(|one| one.kind == Kind::ScaleSet) {
                let left = work.interruptible(self.rest());
                match left.await {
                    Ok(left) => rest = Some(left),
                    Err(error) => return Err(self.left(error, &deleted, &stays)),
                }
            }
        }
        Ok(DeletedMachine {
            name: self.name,
            resource_group: self.group,
            deleted,
            stays,
            warnings,
        })
    }

    /// Says what became of the plan.
    fn left(&self, error: Error, deleted: &[Thing], stays: &[Stays]) -> Error {
        let names = |things: Vec<&Thing>| {
            let names: Vec<String> = things.into_iter().map(Thing::to_string).collect();
            names.join(", ")
        };
        let left = self.goes.iter().filter(|planned| {
            let thing = &planned.thing;
            !deleted.contains(thing) && !stays.iter().any(|stays| stays.thing == *thing)
        });
        let left: Vec<&Planned> = left.collect();
        // Without the machine nobody knows any more whose they were.
        let lost: Vec<&str> = left
            .iter()
            .filter(|planned| planned.kind == Kind::RoleAssignment && !deleted.is_empty())
            .map(|planned| planned.thing.id.as_str())
            .collect();
        let left = left.into_iter().map(|planned| &planned.thing).collect();
        let error = if deleted.is_empty() {
            error
        } else {
            error.with_context("deleted", names(deleted.iter().collect()))
        };
        let error = error.with_context("left", names(left));
        let error = if lost.is_empty() {
            error
        } else {
            let command = format!("az role assignment delete --ids {}", lost.join(" "));
            error.with_context("roles that no later run finds", command)
        };
        error.with_hint("run the same again to delete what is left")
    }

    async fn delete(
        &self,
        planned: &Planned,
        going: &HashSet<ResourceId>,
        work: &Work,
    ) -> Result<Outcome> {
        let (client, id) = (&self.client, &planned.thing.id);
        match planned.kind {
            Kind::ScaleSet => self.delete_set(work).await.map(|()| Outcome::Gone),
            Kind::Machine => self.delete_machine(work).await.map(|()| Outcome::Gone),
            Kind::Member => delete_member(client, id, work)
                .await
                .map(|()| Outcome::Gone),
            Kind::Part(kind) => delete_part(client, id, kind, going, work).await,
            Kind::RoleAssignment => delete_role(client, id, work).await,
        }
    }

    /// Takes the host keys of machines that are gone out of the file of those; what keeps it from that
    /// keeps nothing from being deleted.
    async fn forget(&self) -> Option<String> {
        let (file, aliases) = (self.known_hosts.clone()?, self.aliases.clone());
        let shown = file.display().to_string();
        let forgotten = blocking(move || {
            let aliases = aliases.iter().map(String::as_str).collect();
            known_hosts::forget(&file, &aliases)
        });
        match forgotten.await {
            Ok(lines) => {
                tracing::debug!(lines, "host keys taken out of {shown}");
                None
            }
            Err(error) => Some(format!("its host keys stay in {shown}: {error}")),
        }
    }

    fn check_same(&self, what: &str, vm_id: Option<&str>) -> Result<()> {
        if vm_id == self.vm_id.as_deref() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "the {what} {} is another one than the one that was to be deleted",
                self.name
            ),
        )
        .with_hint("look at it, and delete it if that is what you want"))
    }

    /// What there is of a set's in the group: its deletion takes most of it along, and a thousand
    /// machines are not asked for one by one.
    async fn rest(&self) -> Result<HashSet<ResourceId>> {
        let (parts, machines) = futures::try_join!(
            parts(&self.client, &self.group),
            self.client.machines(Some(&self.group)),
        )?;
        let parts = parts.into_iter().filter_map(|(_, part)| part.id);
        let machines = machines.into_iter().filter_map(|machine| machine.id);
        Ok(parts.chain(machines).collect())
    }

    async fn delete_set(&self, work: &Work) -> Result<()> {
        let found = self.client.scale_set(&self.group, &self.name);
        let Some(found) = work.interruptible(found).await? else {
            return Ok(());
        };
        self.check_same("scale set", found.properties.unique_id.as_deref())?;
        work.interruptible(async {
            let request = || self.client.delete_scale_set(&self.group, &self.name);
            when_free(work, request).await?.wait().await
        })
        .await
    }

    async fn delete_machine(&self, work: &Work) -> Result<()> {
        // Looked at once more: somebody may have thought about the plan for long.
        let found = self.client.machine(&self.group, &self.name);
        let Some(found) = work.interruptible(found).await? else {
            return Ok(());
        };
        self.check_same("machine", found.properties.vm_id.as_deref())?;
        // Half a deletion is finished by the next, so all of it may be dropped.
        work.interruptible(async {
            let request = || self.client.delete_virtual_machine(&self.group, &self.name);
            when_free(work, request).await?.wait().await
        })
        .await
    }
}

/// A machine that its set has left. Its name has a part that is never given again.
async fn delete_member(client: &Client, id: &ResourceId, work: &Work) -> Result<()> {
    let group = id.resource_group().unwrap_or_default();
    work.interruptible(async {
        let request = || client.delete_virtual_machine(group, id.name());
        when_free(work, request).await?.wait().await
    })
    .await
}

/// A role that this login may not take away keeps nobody from deleting the rest.
async fn delete_role(client: &Client, id: &ResourceId, work: &Work) -> Result<Outcome> {
    let deleted = async { client.delete_role_assignment_by_id(id).await?.wait().await };
    match work.interruptible(deleted).await {
        Ok(()) => Ok(Outcome::Gone),
        Err(error) if error.is_not_found() => Ok(Outcome::Gone),
        Err(error) if error.kind() == ErrorKind::Forbidden => Ok(Outcome::Stays(format!(
            "this login may not take it away; who may does so with az role assignment delete --ids {id}"
        ))),
        Err(error) => Err(error),
    }
}

/// Deletes things of one kind, a few at a time. What is kept for a machine that is gone is waited for.
///
/// # Errors
/// What cannot be deleted, with the reason.
pub(in super::super) async fn discard(
    client: &Client,
    kind: PartKind,
    ids: Vec<ResourceId>,
) -> Result<()> {
    let work = Work::default();
    let going: HashSet<ResourceId> = ids.iter().cloned().collect();
    let each: Vec<BoxFuture<'_, Result<Outcome>>> = ids
        .iter()
        .map(|id| -> BoxFuture<'_, _> { Box::pin(delete_part(client, id, kind, &going, &work)) })
        .collect();
    let outcomes: Vec<Result<Outcome>> = stream::iter(each).buffered(AT_A_TIME).collect().await;
    for (id, outcome) in ids.iter().zip(outcomes) {
        if let Outcome::Stays(reason) = outcome? {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the {} {} stays: {reason}", kind.what(), id.name()),
            ));
        }
    }
    Ok(())
}

async fn delete_part(
    client: &Client,
    id: &ResourceId,
    kind: PartKind,
    going: &HashSet<ResourceId>,
    work: &Work,
) -> Result<Outcome> {
    let mut patience = Patience::of(RESERVED);
    let mut unexplained = Patience::of(UNEXPLAINED);
    loop {
        let deleted = async { client.delete_part(id, kind).await?.wait().await };
        let refusal = match work.interruptible(deleted).await {
            Ok(()) => return Ok(Outcome::Gone),
            Err(error) if error.is_not_found() => return Ok(Outcome::Gone),
            Err(error) => error,
        };
        if is_reserved(&refusal) || is_busy(&refusal) {
            patience.wait(work, refusal).await?;
            continue;
        }
        if !is_in_use(&refusal) {
            return Err(refusal);
        }
        let Some(found) = work.interruptible(client.part(id, kind)).await? else {
            return Ok(Outcome::Gone);
        };
        let users = found.users(kind);
        let is_ours = |user: &String| {
            user.parse::<ResourceId>()
                .is_ok_and(|user| going.contains(&user))
        };
        if let Some(other) = users.iter().find(|user| !is_ours(user)) {
            return Ok(Outcome::Stays(format!("{} uses it", user(other))));
        }
        if users.is_empty() {
            let said = refusal.to_string();
            match unexplained.wait(work, refusal).await {
                Err(error) if !error.is_cancelled() => return Ok(Outcome::Stays(said)),
                waited => waited?,
            }
        } else {
            // What used it is gone, or about to be; that takes its time to be seen.
            patience.wait(work, refusal).await?;
        }
    }
}

/// An interface of a machine that is gone.
fn is_reserved(error: &Error) -> bool {
    error
        .code()
        .is_some_and(|code| code.eq_ignore_ascii_case("NicReservedForAnotherVm"))
}

fn is_in_use(error: &Error) -> bool {
    let is_attached = error.code() == Some("OperationNotAllowed")
        && error.to_string().to_ascii_lowercase().contains("attached");
    is_attached
        || error
            .code()
            .is_some_and(|code| code.contains("InUse") || code.contains("CannotBeDeleted"))
}
