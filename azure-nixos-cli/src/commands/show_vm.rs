//! `show-vm`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use azure_nixos::vm::{MachineDisk, MachineInfo};
use serde::Serialize;

use crate::args::{Format, Global, WhichVm};
use crate::connect::Connection;
use crate::output;
use crate::run::Failure;

/// A machine as one JSON object.
#[derive(Debug, Serialize)]
pub(crate) struct Shown<'a> {
    vm_id: &'a str,
    name: &'a str,
    resource_group: &'a str,
    location: &'a str,
    zone: Option<&'a str>,
    size: &'a str,
    provisioning_state: &'a str,
    power_state: &'a str,
    public_ips: &'a [String],
    private_ips: &'a [String],
    admin_username: Option<&'a str>,
    image_id: Option<&'a str>,
    disks: Vec<ShownDisk<'a>>,
    tags: &'a BTreeMap<String, String>,
    made_here: bool,
    scale_set_id: Option<&'a str>,
    boot_diagnostics: bool,
}

#[derive(Debug, Serialize)]
struct ShownDisk<'a> {
    name: &'a str,
    disk_id: Option<&'a str>,
    os: bool,
    size_gb: Option<u64>,
    goes_with_machine: bool,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(machine: &'a MachineInfo) -> Self {
        Self {
            vm_id: machine.id.as_str(),
            name: &machine.name,
            resource_group: &machine.resource_group,
            location: machine.location.as_str(),
            zone: machine.zone.as_deref(),
            size: &machine.size,
            provisioning_state: &machine.provisioning_state,
            power_state: machine.power_state.as_str(),
            public_ips: &machine.public_ips,
            private_ips: &machine.private_ips,
            admin_username: machine.admin_username.as_deref(),
            image_id: machine.image_id.as_ref().map(|id| id.as_str()),
            disks: machine.disks.iter().map(ShownDisk::new).collect(),
            tags: &machine.tags,
            made_here: machine.made_here,
            scale_set_id: machine.scale_set.as_ref().map(|id| id.as_str()),
            boot_diagnostics: machine.boot_diagnostics,
        }
    }
}

impl<'a> ShownDisk<'a> {
    fn new(disk: &'a MachineDisk) -> Self {
        Self {
            name: &disk.name,
            disk_id: disk.id.as_ref().map(|id| id.as_str()),
            os: disk.is_os,
            size_gb: disk.size_gb,
            goes_with_machine: disk.goes_with_machine,
        }
    }
}

pub(crate) async fn show_vm(global: &Global, vm: WhichVm) -> Result<u8, Failure> {
    let connection = Connection::open(global).await?;
    let result = info(&vm, &connection).await;
    connection.close().await;
    let machine = result?;
    match global.output {
        Format::Json => output::json(&Shown::new(&machine))?,
        Format::Text => output::result(text(&machine).trim_end())?,
    }
    Ok(0)
}

async fn info(vm: &WhichVm, connection: &Connection) -> Result<MachineInfo, Failure> {
    Ok(connection.machine(vm).await?.info().await?)
}

/// The machine as aligned lines; what is not known has none.
fn text(machine: &MachineInfo) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<13}{value}");
        }
    };
    row("name", &machine.name);
    row("id", machine.id.as_str());
    let set = machine.scale_set.as_ref();
    row("scale set", set.map(|id| id.name()).unwrap_or_default());
    row("location", machine.location.as_str());
    row("zone", machine.zone.as_deref().unwrap_or_default());
    row("size", &machine.size);
    row("state", machine.power_state.as_str());
    if machine.provisioning_state != "Succeeded" {
        row("provisioning", &machine.provisioning_state);
    }
    row("public IP", &machine.public_ips.join(", "));
    row("private IP", &machine.private_ips.join(", "));
    row("log in", &machine.ssh_command().unwrap_or_default());
    let image = machine.image_id.as_ref();
    row("image", image.map(|id| id.as_str()).unwrap_or_default());
    for disk in &machine.disks {
        let kind = if disk.is_os { "OS disk" } else { "data disk" };
        let size = disk.size_gb.map(|gb| format!(", {gb} GB"));
        let fate = if disk.goes_with_machine {
            "goes with the machine"
        } else {
            "stays when the machine goes"
        };
        let size = size.unwrap_or_default();
        row(kind, &format!("{}{size}, {fate}", disk.name));
    }
    for (name, value) in &machine.tags {
        row("tag", &format!("{name}={value}"));
    }
    row(
        "serial log",
        if machine.boot_diagnostics {
            "is kept"
        } else {
            "is not kept (azure-nixos serial-log --enable)"
        },
    );
    text
}
