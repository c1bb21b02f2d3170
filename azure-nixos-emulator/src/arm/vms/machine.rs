//! What a machine's power state means for the machine itself, where machines boot, and for those
//! who want to reach it.

use std::net::Ipv4Addr;

use serde_json::Value;
use uuid::Uuid;

use super::super::answer::Result;
use super::super::disks::gone;
use super::super::error::ArmError;
use super::super::id::same;
use super::super::network::{nic, open_ports, prefixes, public_ip};
use super::super::own_copy;
use super::super::sizes::Size;
use super::super::{Arm, Context};
use super::content;
use super::power::set_power;
use crate::boot::{Condition, Drive, Interface, Prepare, Provisioning, Spec, Want};
use crate::ssh_at::{Reachable, SSH};
use crate::state::{Inner, Power, Resource, State, VmInner};

const FOOTER: u64 = 512;

/// Brings the machine to the power state that an operation is about; `None` until it is there.
pub(super) fn power(
    context: &mut Context<'_>,
    operation: Uuid,
    id: &str,
    power: Power,
) -> Option<Result<()>> {
    let arm = context.arm;
    let Some(machines) = &arm.settings().machines else {
        return Some(Ok(()));
    };
    let Some((machine, vm)) = found(context.state, id) else {
        return Some(Err(gone(id)));
    };
    let key = content::vm_id(&machine.body).to_owned();
    let ordered = if power == Power::Running {
        let spec = match spec(arm, context.state, &machine) {
            Ok(spec) => spec,
            Err(error) => return Some(Err(error)),
        };
        // Before it writes anything, so that the page lists are read again however this ends.
        mark(context.state, id, true);
        let prepare = prepare(arm, &spec);
        machines.order(&key, operation, move || Want::On {
            spec: Box::new(spec),
            prepare,
            again: vm.guest.again,
        })
    } else {
        machines.order(&key, operation, || Want::Off {
            graceful: !vm.guest.cut_off,
        })
    }?;
    if power != Power::Running {
        look_again(arm, context.state, id);
    }
    Some(ordered.map_err(|problem| {
        // Azure has no word for this: its hosts have qemu's equal.
        ArmError::compute(
            500,
            "VMStartFailed",
            format!("The virtual machine did not start: {problem}."),
        )
    }))
}

/// Ends the machine at once; `None` until it has ended.
pub(super) fn pull_plug(
    context: &mut Context<'_>,
    operation: Uuid,
    id: &str,
) -> Option<Result<()>> {
    if let Some(Inner::Vm(vm)) = context.state.resource_mut(id).map(|one| &mut one.inner) {
        vm.guest.cut_off = true;
    }
    power(context, operation, id, Power::Deallocated)
}

/// Ends the machine of a resource that was removed.
pub(super) fn discard(context: &Context<'_>, machine: &Resource) {
    if let Some(machines) = &context.arm.settings().machines {
        machines.discard(content::vm_id(&machine.body));
    }
}

/// Sees to it that the power states are those of the machines, as a guest may shut itself down, and
/// a machine that was booted again may have come up or not. Says whether anything changed.
pub(crate) fn follow(context: &mut Context<'_>) -> bool {
    let arm = context.arm;
    let Some(machines) = &arm.settings().machines else {
        return false;
    };
    let settled: Vec<(String, Power)> = context
        .state
        .resources
        .values()
        .filter_map(|resource| match &resource.inner {
            Inner::Vm(vm) if matches!(vm.power, Power::Starting | Power::Running) => {
                let is_busy = context.state.operations.values().any(|operation| {
                    operation.is_running() && operation.resource.eq_ignore_ascii_case(&resource.id)
                });
                let now = match machines.condition(content::vm_id(&resource.body)) {
                    _ if is_busy => return None,
                    Condition::Changing => return None,
                    Condition::Up => Power::Running,
                    Condition::Down => Power::Stopped,
                    Condition::Failed(problem) => {
                        tracing::warn!(machine = %resource.id, problem, "it does not run");
                        Power::Stopped
                    }
                };
                (now != vm.power).then(|| (resource.id.clone(), now))
            }
            _ => None,
        })
        .collect();
    for (id, now) in &settled {
        if *now == Power::Stopped {
            look_again(arm, context.state, id);
        }
        set_power(context, id, *now);
    }
    !settled.is_empty()
}

impl Arm {
    /// Boots the machines again that ran when the last process ended. Page lists of disks that
    /// were written past them are read again.
    pub(crate) fn resume_machines(self: &std::sync::Arc<Self>) {
        self.change_state(|state| {
            let all: Vec<Resource> = state
                .resources
                .values()
                .filter(|resource| matches!(resource.inner, Inner::Vm(_)))
                .cloned()
                .collect();
            for machine in all {
                look_again(self, state, &machine.id);
                let (Some(machines), Inner::Vm(vm)) = (&self.settings().machines, &machine.inner)
                else {
                    continue;
                };
                let is_busy = state.operations.values().any(|operation| {
                    operation.is_running() && operation.resource.eq_ignore_ascii_case(&machine.id)
                });
                // An operation that is not over starts it itself.
                if is_busy || !matches!(vm.power, Power::Starting | Power::Running) {
                    continue;
                }
                let spec = match spec(self, state, &machine) {
                    Ok(spec) => spec,
                    Err(error) => {
                        tracing::warn!(machine = %machine.id, problem = error.message, "it does not boot again");
                        continue;
                    }
                };
                mark(state, &machine.id, true);
                if let Some(Inner::Vm(vm)) =
                    state.resource_mut(&machine.id).map(|one| &mut one.inner)
                {
                    vm.power = Power::Starting;
                }
                let (key, prepare) = (spec.vm_id.clone(), prepare(self, &spec));
                machines.order(&key, Uuid::new_v4(), move || Want::On {
                    spec: Box::new(spec),
                    prepare,
                    again: false,
                });
            }
        });
    }
}

fn found(state: &State, id: &str) -> Option<(Resource, VmInner)> {
    let machine = state.resource(id)?;
    match &machine.inner {
        Inner::Vm(vm) => Some((machine.clone(), vm.clone())),
        _ => None,
    }
}

fn mark(state: &mut State, id: &str, wrote: bool) {
    if let Some(Inner::Vm(vm)) = state.resource_mut(id).map(|one| &mut one.inner) {
        vm.guest.wrote = wrote;
    }
}

/// Reads the page lists of the machine's disks again if it may have written to them.
fn look_again(arm: &Arm, state: &mut State, id: &str) {
    let Some((machine, vm)) = found(state, id) else {
        return;
    };
    if !vm.guest.wrote {
        return;
    }
    for (disk, _) in super::disks_of(&machine.body) {
        let disk = disk.and_then(|disk| state.resource(&disk));
        let Some(Inner::Disk(inner)) = disk.map(|disk| &disk.inner) else {
            continue;
        };
        if let Err(error) = arm.blobs().rescan(inner.blob) {
            tracing::warn!(%error, machine = %id, "the pages of a disk are not known");
        }
    }
    mark(state, id, false);
}

/// What has to be done to the disks before the machine writes to them: files that others share
/// become their own.
fn prepare(arm: &Arm, spec: &Spec) -> Prepare {
    let (blobs, durable) = (arm.blobs().clone(), arm.settings().durable);
    let drives: Vec<Drive> = std::iter::once(&spec.os_disk)
        .chain(spec.data_disks.iter().map(|(_, drive)| drive))
        .cloned()
        .collect();
    Box::new(move || {
        drives.iter().try_for_each(|drive| {
            own_copy::unshare(&drive.file, durable)?;
            // The open file may be the shared one.
            blobs.rescan(drive.blob)
        })
    })
}

/// The machine that the documents describe.
fn spec(arm: &Arm, state: &State, machine: &Resource) -> Result<Spec> {
    let Inner::Vm(vm) = &machine.inner else {
        return Err(gone(&machine.id));
    };
    let properties = &machine.body["properties"];
    let size = properties["hardwareProfile"]["vmSize"]
        .as_str()
        .and_then(Size::find)
        .ok_or_else(|| ArmError::internal("find the size of a machine", &machine.id))?;
    let storage = &properties["storageProfile"];
    let drive = |disk: &Value| -> Result<(Drive, bool)> {
        let id = disk["managedDisk"]["id"].as_str().unwrap_or_default();
        let resource = state.resource(id).ok_or_else(|| gone(id))?;
        let Inner::Disk(inner) = &resource.inner else {
            return Err(gone(id));
        };
        Ok((
            Drive {
                file: super::super::disks::file(arm.settings(), &resource.id)
                    .ok_or_else(|| gone(id))?,
                blob: inner.blob,
                size: inner.length.saturating_sub(FOOTER),
            },
            resource.body["properties"]["hyperVGeneration"] == "V2",
        ))
    };
    let (os_disk, is_uefi) = drive(&storage["osDisk"])?;
    let mut data_disks = Vec::new();
    for disk in storage["dataDisks"].as_array().into_iter().flatten() {
        let lun = disk["lun"].as_u64().unwrap_or_default();
        data_disks.push((lun, drive(disk)?.0));
    }
    let wanted = storage["diskControllerType"].as_str();
    let is_nvme = wanted.unwrap_or(size.controllers) == "NVMe";
    Ok(Spec {
        name: machine.body["name"].as_str().unwrap_or_default().to_owned(),
        vm_id: content::vm_id(&machine.body).to_owned(),
        directory: content::directory(&arm.settings().state_dir, content::vm_id(&machine.body)),
        is_uefi,
        cores: size.cores,
        memory: size.memory,
        is_nvme,
        os_disk,
        data_disks,
        interfaces: super::interfaces_of(&machine.body)
            .filter_map(|(id, _)| interface(state, &id?))
            .collect(),
        provisioning: provisioning(&properties["osProfile"], vm),
    })
}

/// The machines that run and whose security groups let everybody in at the port of ssh.
pub(crate) fn reachable(state: &State) -> Vec<Reachable> {
    let running = state
        .resources
        .values()
        .filter(|resource| matches!(&resource.inner, Inner::Vm(vm) if vm.power == Power::Running));
    running
        .flat_map(|machine| {
            super::interfaces_of(&machine.body)
                .filter_map(|(id, _)| interface(state, &id?)?.public)
                .filter(|(_, ports)| ports.contains(&SSH))
                .map(|(public, _)| Reachable {
                    id: machine.id.clone(),
                    name: machine.body["name"].as_str().unwrap_or_default().to_owned(),
                    public,
                })
        })
        .collect()
}

/// An interface with its first address; one that is gone, or has no IPv4 address, is none.
fn interface(state: &State, id: &str) -> Option<Interface> {
    let nic = state.resource(id)?;
    let properties = &nic.body["properties"];
    let all = properties["ipConfigurations"].as_array()?;
    // The first is of IPv4 always.
    let first = all
        .iter()
        .find(|ip| ip["properties"]["primary"] == true)
        .or_else(|| all.first())?;
    let ip = &first["properties"];
    let address: Ipv4Addr = ip["privateIPAddress"].as_str()?.parse().ok()?;
    let subnet = find_subnet(state, ip["subnet"]["id"].as_str()?)?;
    let (network, length) = prefixes::v4_prefix(subnet)?
        .to_string()
        .split_once('/')
        .map(|(network, length)| Some((network.parse().ok()?, length.parse().ok()?)))??;
    let public = ip["publicIPAddress"]["id"].as_str().and_then(|id| {
        let address: Ipv4Addr = public_ip::address(state, id)?.parse().ok()?;
        let groups = [properties, &subnet["properties"]]
            .into_iter()
            .filter_map(|of| of["networkSecurityGroup"]["id"].as_str())
            .filter_map(|id| Some(&state.resource(id)?.body));
        let is_basic = state.resource(id)?.body["sku"]["name"] == "Basic";
        Some((address, open_ports(groups, is_basic)))
    });
    Some(Interface {
        mac: nic::mac_address(properties),
        address,
        subnet: (network, length),
        public,
    })
}

fn find_subnet<'a>(state: &'a State, id: &str) -> Option<&'a Value> {
    state
        .resources
        .values()
        .filter_map(|resource| resource.body["properties"]["subnets"].as_array())
        .flatten()
        .find(|subnet| same(subnet["id"].as_str().unwrap_or_default(), id))
}

fn provisioning(profile: &Value, vm: &VmInner) -> Option<Provisioning> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let linux = &profile["linuxConfiguration"];
    profile.is_object().then(|| Provisioning {
        host_name: text(&profile["computerName"]),
        user_name: text(&profile["adminUsername"]),
        password: vm.guest.admin_password.clone(),
        disable_password: linux["disablePasswordAuthentication"] == true,
        ssh_keys: linux["ssh"]["publicKeys"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|key| (text(&key["path"]), text(&key["keyData"])))
            .collect(),
        custom_data: vm.custom_data.clone(),
    })
}
