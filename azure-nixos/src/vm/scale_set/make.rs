//! A set is made: its network, its key, itself.

use std::path::PathBuf;

use super::super::addresses::Addresses;
use super::super::booted::BootedVm;
use super::super::delete::discard;
use super::super::network::Known;
use super::super::owner::Owner;
use super::BootedSet;
use super::plan::Plan;
use crate::arm::compute::{Existing, ScaleSet, VirtualMachine};
use crate::arm::{Client, PartKind};
use crate::handle::Work;
use crate::progress::Phase;
use crate::undo::Undo;
use crate::{Error, ErrorKind, Result};

/// What a machine leaves behind that the service began to make and did not finish, the users of what
/// comes after them first.
const LEFT_OVER: [PartKind; 3] = [PartKind::Interface, PartKind::PublicIp, PartKind::Disk];

impl Plan {
    /// Makes everything.
    ///
    /// # Errors
    /// Whatever is refused first. `undo` then knows what there is.
    pub(super) async fn make(
        self,
        client: &Client,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<BootedSet> {
        let machines = &self.machines;
        let group = &machines.place.group;
        machines.place.ensure(client, undo).await?;
        work.check()?;
        work.progress
            .phase(Phase::CreatingNetwork, machines.name.clone());
        let (keys, private_key) = machines.make_keys(&machines.name, undo).await?;
        machines
            .network
            .create(client, &machines.place, undo)
            .await?;
        work.check()?;
        if let Some(identity) = &machines.identity {
            identity.grant_before(client, work, undo).await?;
        }
        work.check()?;
        work.progress
            .phase(Phase::CreatingVm, machines.name.clone());
        work.interruptible(Box::pin(machines.network.still_ours(client, group)))
            .await?;
        let made = self
            .create(&self.describe(client, keys), client, work, undo)
            .await?;
        Ok(self.booted(made, private_key, client, work).await)
    }

    /// Makes the set itself, and waits for its machines.
    async fn create(
        &self,
        described: &ScaleSet,
        client: &Client,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<ScaleSet> {
        let machines = &self.machines;
        note(&self.owner, client, &machines.place.group, undo);
        let creating = client
            .create_scale_set(&machines.place.group, &machines.name, described)
            .await
            .inspect_err(|error| undo.strike_if_refused(error));
        let made = match creating {
            Ok(creating) => work.interruptible(creating.wait()).await,
            Err(error) => Err(error),
        };
        match made {
            Err(error) => Err(machines.explain(client, error).await),
            made => made,
        }
    }

    /// What there is now. The set is made: not to know all about it is no reason to take it away.
    async fn booted(
        &self,
        set: ScaleSet,
        private_key: Option<PathBuf>,
        client: &Client,
        work: &Work,
    ) -> BootedSet {
        let plan = &self.machines;
        let id = set.id.unwrap_or_else(|| self.id(client));
        work.progress.phase(Phase::Waiting, plan.name.clone());
        let mut warnings = plan.warnings.clone();
        let members = async {
            let members = client.machines_of_set(&id).await?;
            let group = plan.place.group.as_str();
            let addresses = Addresses::of_all(client, Some(group), &members).await?;
            Ok::<_, Error>((members, addresses))
        };
        let (members, addresses) = members.await.unwrap_or_else(|error| {
            warnings.push(format!(
                "the machines of the set are not known: {error}; `azure-nixos list-vms` lists them"
            ));
            Default::default()
        });
        let mut machines: Vec<BootedVm> = members
            .iter()
            .map(|member| self.member(member, &addresses, private_key.clone(), client))
            .collect();
        machines.sort_by(|a, b| a.name.cmp(&b.name));
        BootedSet {
            principal_id: plan
                .identity
                .as_ref()
                .and_then(|identity| identity.principal(None)),
            id,
            name: plan.name.clone(),
            resource_group: plan.place.group.clone(),
            location: plan.place.location.clone(),
            size: plan.chosen.size.clone(),
            security_type: plan.security(),
            admin_username: plan.login.user.clone(),
            ssh_private_key: private_key,
            machines,
            warnings,
        }
    }

    fn member(
        &self,
        member: &Existing,
        addresses: &Addresses,
        private_key: Option<PathBuf>,
        client: &Client,
    ) -> BootedVm {
        let (six, four): (Vec<String>, Vec<String>) = addresses
            .public(member)
            .into_iter()
            .partition(|address| address.contains(':'));
        let known = Known {
            public_ip: four.into_iter().next(),
            public_ip6: six.into_iter().next(),
            private_ip: addresses
                .private(member)
                .into_iter()
                .find(|address| !address.contains(':')),
        };
        let machine = VirtualMachine {
            id: member.id.clone(),
            zones: member.zones.clone(),
            ..VirtualMachine::default()
        };
        let name = member.name.clone().unwrap_or_default();
        self.machines
            .booted(&name, machine, known, private_key, client, Vec::new())
    }
}

/// Notes how to take the set away, with its machines and what these leave behind.
fn note(owner: &Owner, client: &Client, group: &str, undo: &mut Undo) {
    let (owner, client, group) = (owner.clone(), client.clone(), group.to_owned());
    undo.push(
        format!("the scale set {}", owner.name()),
        move || async move {
            let name = owner.name();
            if let Some(found) = client.scale_set(&group, name).await? {
                owner.check_ours(&found.tags, "scale set", name)?;
                client.delete_scale_set(&group, name).await?.wait().await?;
            }
            for kind in LEFT_OVER {
                let parts = match client.parts(Some(&group), kind).await {
                    // Who may not look is told of nothing more: that there is something is rare.
                    Err(error) if error.kind() == ErrorKind::Forbidden => {
                        tracing::warn!("what {name} may have left is not looked for: {error}");
                        continue;
                    }
                    parts => parts?,
                };
                let ours = parts.into_iter().filter(|part| owner.made(&part.tags));
                discard(&client, kind, ours.filter_map(|part| part.id).collect()).await?;
            }
            Ok(())
        },
    );
}
