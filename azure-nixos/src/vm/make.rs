//! A plan is carried out: in the order in which one thing needs another, side by side where none
//! does, and with a note of how to take each away again.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream;

use super::booted::BootedVm;
use super::explain;
use super::identity;
use super::keys;
use super::network::{Allow, Known};
use super::patience::Patience;
use super::plan::{One, Parts, Plan};
use super::ready::{Console, Readiness};
use crate::arm::Client;
use crate::arm::ResourceId;
use crate::arm::compute::{DISKS, VIRTUAL_MACHINES, VirtualMachine};
use crate::azure::Azure;
use crate::blocking::blocking;
use crate::handle::Work;
use crate::progress::Phase;
use crate::quote::path_for_shell;
use crate::undo::{AT_A_TIME, Undo, made_nothing};
use crate::{Error, Result};

/// Azure keeps an interface for the machine that had it for three minutes after that is gone.
const RESERVED: Duration = Duration::from_secs(180);

/// What of a machine needs nothing else.
#[derive(Debug)]
struct Prepared {
    keys: Vec<String>,
    private_key: Option<PathBuf>,
    known: Known,
    disk: Option<ResourceId>,
}

/// Machines that were made, and what should be known about all of them.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) machines: Vec<BootedVm>,
    pub(crate) warnings: Vec<String>,
}

/// Work on one of several machines: what it did, and how to take that away again.
type Task<'a, T> = BoxFuture<'a, (Undo, Result<T>)>;

/// Does the work on all machines, a few at a time. When one fails, the others stop at their next
/// clean point.
async fn side_by_side<T: Send>(
    tasks: Vec<Task<'_, T>>,
    work: &Work,
    undo: &mut Undo,
) -> Result<Vec<T>> {
    let stopping = tasks.into_iter().map(|task| async {
        let (undo, result) = task.await;
        if result.is_err() {
            work.cancel.cancel();
        }
        (undo, result)
    });
    // Collected first: a stream of closures that borrow is not known to be `Send`.
    let stopping: Vec<_> = stopping.collect();
    let done: Vec<(Undo, Result<T>)> = stream::iter(stopping).buffered(AT_A_TIME).collect().await;
    let (undos, results): (Vec<Undo>, Vec<Result<T>>) = done.into_iter().unzip();
    undo.push_beside(undos);
    all(results)
}

/// All of it, or the error that made the others stop.
fn all<T>(results: Vec<Result<T>>) -> Result<Vec<T>> {
    let mut good = Vec::with_capacity(results.len());
    let mut failed: Vec<Error> = Vec::new();
    for result in results {
        match result {
            Ok(one) => good.push(one),
            Err(error) => failed.push(error),
        }
    }
    // That the rest was cancelled says less than why.
    failed.sort_by_key(Error::is_cancelled);
    failed.into_iter().next().map_or(Ok(good), Err)
}

impl Plan {
    /// Makes everything.
    ///
    /// # Errors
    /// Whatever is refused first. `undo` then knows what there is.
    pub(crate) async fn make(
        self,
        azure: &Azure,
        client: &Client,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<Made> {
        self.place.ensure(client, undo).await?;
        work.check()?;
        work.progress
            .phase(Phase::CreatingNetwork, self.name.clone());
        let prepared = self.prepare_all(client, work, undo).await?;
        work.check()?;
        if let Some(identity) = &self.identity {
            identity.grant_before(client, work, undo).await?;
        }
        let inner = work.child();
        let tasks = self
            .machines
            .iter()
            .zip(prepared)
            .map(|(one, prepared)| -> Task<'_, BootedVm> {
                let (plan, inner) = (&self, &inner);
                Box::pin(async move {
                    let mut undo = Undo::default();
                    let service = (azure, client);
                    let made = plan
                        .complete(one, prepared, service, inner, &mut undo)
                        .await;
                    (undo, made)
                })
            })
            .collect();
        let machines = side_by_side(tasks, &inner, undo).await?;
        Ok(Made {
            machines,
            warnings: self.warnings,
        })
    }

    /// The network that all share, and what of each machine needs nothing else.
    async fn prepare_all(
        &self,
        client: &Client,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<Vec<Prepared>> {
        let inner = work.child();
        let mut own = Undo::default();
        let tasks = self
            .machines
            .iter()
            .map(|one| -> Task<'_, Prepared> {
                let inner = &inner;
                Box::pin(async move {
                    let mut undo = Undo::default();
                    let prepared = self.prepare(one, client, inner, &mut undo).await;
                    (undo, prepared)
                })
            })
            .collect();
        let (shared, prepared) = futures::join!(
            async {
                let made = self.network.create(client, &self.place, undo).await;
                if made.is_err() {
                    inner.cancel.cancel();
                }
                made
            },
            side_by_side(tasks, &inner, &mut own),
        );
        undo.push_beside(vec![own]);
        match (shared, prepared) {
            (Ok(()), prepared) => prepared,
            (Err(error), Err(other)) if error.is_cancelled() => Err(other),
            (Err(error), _) => Err(error),
        }
    }

    async fn prepare(
        &self,
        one: &One,
        client: &Client,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<Prepared> {
        work.check()?;
        let (keys, private_key) = self.make_keys(&one.name, undo).await?;
        let (mut of_addresses, mut of_disk) = (Undo::default(), Undo::default());
        let (known, disk) = futures::join!(
            one.connection
                .create_addresses(client, &self.place, &mut of_addresses),
            self.copy_disk(one, client, &mut of_disk),
        );
        undo.push_beside(vec![of_addresses, of_disk]);
        Ok(Prepared {
            keys,
            private_key,
            known: known?,
            disk: disk?,
        })
    }

    /// The keys that may log in: those that there are, a new pair, or one that nobody has. A new pair
    /// is named after its machine, and comes with the file of its private half.
    pub(super) async fn make_keys(
        &self,
        name: &str,
        undo: &mut Undo,
    ) -> Result<(Vec<String>, Option<PathBuf>)> {
        let mut all = self.login.keys.clone();
        let Some(user) = &self.login.provisioned else {
            return Ok((all, None));
        };
        let comment = format!("{user}@{name}");
        if let Some(directory) = self.login.new_pair.clone() {
            let name = name.to_owned();
            let pair = blocking(move || keys::generate(&directory, &name, &comment)).await?;
            let path = pair.private.clone();
            undo.push(format!("the key {}", path.display()), move || {
                blocking(move || keys::remove(&path))
            });
            all.push(pair.public);
            return Ok((all, Some(pair.private)));
        }
        if all.is_empty() {
            all.push(keys::throwaway(&comment)?);
        }
        Ok((all, None))
    }

    /// The copy of a disk to boot from, where it is one.
    async fn copy_disk(
        &self,
        one: &One,
        client: &Client,
        undo: &mut Undo,
    ) -> Result<Option<ResourceId>> {
        let Some(name) = &one.disk else {
            return Ok(None);
        };
        let group = &self.place.group;
        let (again, owner) = (client.clone(), one.owner.clone());
        let (of, called) = (group.clone(), name.clone());
        undo.push(format!("the disk {name}"), move || async move {
            let Some(found) = again.disk(&of, &called).await? else {
                return Ok(());
            };
            owner.check_ours(&found.tags, "disk", &called)?;
            again.delete_disk(&of, &called).await?.wait().await
        });
        client
            .create_disk(group, name, &self.copy(one))
            .await
            .inspect_err(|error| undo.strike_if_refused(error))?
            .wait()
            .await?;
        Ok(Some(client.resource_id(group, DISKS, name)))
    }

    /// The interface, the machine, its roles, its addresses.
    async fn complete(
        &self,
        one: &One,
        prepared: Prepared,
        (azure, client): (&Azure, &Client),
        work: &Work,
        undo: &mut Undo,
    ) -> Result<BootedVm> {
        let group = &self.place.group;
        work.check()?;
        let mut known = prepared.known;
        let interface = one
            .connection
            .create_interface(client, &self.place, &self.network, &mut known, undo)
            .await?;
        work.check()?;
        work.progress.phase(Phase::CreatingVm, one.name.clone());
        let ours = one.connection.still_ours(client, group, &self.network);
        work.interruptible(Box::pin(ours)).await?;
        let parts = Parts {
            keys: prepared.keys,
            interface,
            disk: prepared.disk,
        };
        let described = self.describe(one, parts);
        let mut warnings = Vec::new();
        let machine = self
            .create(one, &described, client, work, undo, &mut warnings)
            .await;
        let machine = match machine {
            // What it said is gone with it.
            Err(error) if explain::is_unready(&error) => {
                return Err(Console::new(azure, group, &one.name).explain(error).await);
            }
            made => made?,
        };
        if let Some(identity) = &self.identity {
            identity
                .grant_after(client, machine.identity.as_ref(), work, undo)
                .await?;
        }
        // The machine runs: not to know its address is no reason to take it away.
        if let Err(error) = one
            .connection
            .complete(client, group, work, &mut known)
            .await
        {
            warnings.push(format!("the address of the machine is not known: {error}"));
        }
        Ok(self.booted(
            &one.name,
            machine,
            known,
            prepared.private_key,
            client,
            warnings,
        ))
    }

    /// Makes the machine itself.
    async fn create(
        &self,
        one: &One,
        described: &VirtualMachine,
        client: &Client,
        work: &Work,
        undo: &mut Undo,
        warnings: &mut Vec<String>,
    ) -> Result<VirtualMachine> {
        let group = &self.place.group;
        let mut patience = Patience::of(RESERVED);
        let creating = loop {
            self.note_machine(one, client, undo);
            let error = match client
                .create_virtual_machine(group, &one.name, described)
                .await
            {
                Ok(creating) => break creating,
                Err(error) => error,
            };
            undo.strike_if_refused(&error);
            if error.code() != Some("NicReservedForAnotherVm") || !made_nothing(&error) {
                return Err(self.explain(client, error).await);
            }
            patience.wait(work, error).await?;
        };
        match work.interruptible(creating.wait()).await {
            Err(error) if !self.told.agent && explain::runs_unheard(&error) => {
                warnings.push(format!(
                    "the machine runs; it has no agent, so Azure shows it as failed: {error}"
                ));
                let found = client.virtual_machine(group, &one.name).await?;
                found.ok_or(error)
            }
            Err(error) => Err(self.explain(client, error).await),
            made => made,
        }
    }

    pub(super) async fn explain(&self, client: &Client, error: Error) -> Error {
        if error.is_cancelled() {
            return error;
        }
        let catalogue = self.catalogue.as_ref();
        let (size, agent) = (&self.chosen.size, self.told.agent);
        explain::explain(client, error, size, &self.needs, agent, catalogue).await
    }

    fn note_machine(&self, one: &One, client: &Client, undo: &mut Undo) {
        let (client, owner) = (client.clone(), one.owner.clone());
        let (group, name) = (self.place.group.clone(), one.name.clone());
        undo.push(format!("the machine {name}"), move || async move {
            let Some(found) = client.virtual_machine(&group, &name).await? else {
                return Ok(());
            };
            owner.check_ours(&found.tags, "machine", &name)?;
            client
                .delete_virtual_machine(&group, &name)
                .await?
                .wait()
                .await
        });
    }

    pub(super) fn booted(
        &self,
        name: &str,
        machine: VirtualMachine,
        known: Known,
        private_key: Option<PathBuf>,
        client: &Client,
        warnings: Vec<String>,
    ) -> BootedVm {
        let group = &self.place.group;
        let address = known.public_ip.as_ref().or(known.public_ip6.as_ref());
        // To a port that is closed there is no command.
        let open = self.network.allow != Allow::Nobody;
        let ssh_command = address.filter(|_| open).map(|address| {
            let key = private_key
                .as_ref()
                .map(|path| format!("-i {} ", path_for_shell(path)))
                .unwrap_or_default();
            let user = self
                .login
                .user
                .as_ref()
                .map(|user| format!("{user}@"))
                .unwrap_or_default();
            format!("ssh {key}{user}{address}")
        });
        BootedVm {
            principal_id: self
                .identity
                .as_ref()
                .and_then(|identity: &identity::Plan| {
                    identity.principal(machine.identity.as_ref())
                }),
            id: machine
                .id
                .unwrap_or_else(|| client.resource_id(group, VIRTUAL_MACHINES, name)),
            name: name.to_owned(),
            resource_group: group.clone(),
            location: self.place.location.clone(),
            zone: machine.zones.into_iter().next(),
            size: self.chosen.size.clone(),
            security_type: self.security(),
            public_ip: known.public_ip,
            public_ipv6: known.public_ip6,
            private_ip: known.private_ip,
            admin_username: self.login.user.clone(),
            ssh_private_key: private_key,
            ssh_command,
            ready: Readiness::Created,
            host_key_fingerprints: Vec::new(),
            known_hosts: Vec::new(),
            notes: Vec::new(),
            warnings,
        }
    }
}
