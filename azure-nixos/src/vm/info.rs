//! [`MachineInfo`]: what is known of a machine that exists.

use std::collections::BTreeMap;
use std::fmt;

use super::addresses::Addresses;
use super::owner::VM_TAG;
use crate::arm::compute::Existing;
use crate::arm::{Location, ResourceId};
use crate::{Error, ErrorKind, Result};

/// The port of ssh.
pub(super) const SSH: u16 = 22;

/// What is said of a machine that has no such port.
pub(super) const ANSWERS_NOBODY: &str =
    "says that it answers nobody, as machines of a local Azure do that nothing boots";

/// Whether a machine runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PowerState {
    /// On its way to running.
    Starting,
    /// It runs.
    Running,
    /// On its way to being off.
    Stopping,
    /// Off, and still allocated: it costs as if it ran.
    Stopped,
    /// On its way to being off and free.
    Deallocating,
    /// Off, and its processors and memory are somebody else's: they cost nothing.
    Deallocated,
    /// The service does not say.
    #[default]
    Unknown,
    /// Anything else, in the service's own word; the service adds states.
    Other(String),
}

impl PowerState {
    /// The state in the service's own word, `unknown` where it has none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Deallocating => "deallocating",
            Self::Deallocated => "deallocated",
            Self::Unknown => "unknown",
            Self::Other(text) => text,
        }
    }

    fn from_code(code: Option<&str>) -> Self {
        let Some(code) = code else {
            return Self::Unknown;
        };
        match code.to_ascii_lowercase().as_str() {
            "starting" => Self::Starting,
            "running" => Self::Running,
            "stopping" => Self::Stopping,
            "stopped" => Self::Stopped,
            "deallocating" => Self::Deallocating,
            "deallocated" => Self::Deallocated,
            "unknown" | "" => Self::Unknown,
            _ => Self::Other(code.to_owned()),
        }
    }
}

impl fmt::Display for PowerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineDisk {
    /// Its name.
    pub name: String,
    /// Its id, once the service has made it.
    pub id: Option<ResourceId>,
    /// Whether the machine boots from it.
    pub is_os: bool,
    /// Size in GiB. The service does not always say it of a machine that is deallocated.
    pub size_gb: Option<u64>,
    /// Whether the service deletes it together with the machine.
    pub goes_with_machine: bool,
}

/// A machine that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MachineInfo {
    /// Its id.
    pub id: ResourceId,
    /// Its name, in the spelling of whoever made it.
    pub name: String,
    /// Its resource group.
    pub resource_group: String,
    /// Its region.
    pub location: Location,
    /// Its availability zone.
    pub zone: Option<String>,
    /// Its size: `Standard_DS1_v2`, …
    pub size: String,
    /// How the last operation on it ended, or that it has not: `Succeeded`, `Failed`, `Updating`, …
    pub provisioning_state: String,
    /// Whether it runs.
    pub power_state: PowerState,
    /// The addresses that the world knows. Empty also where this login may not look at them.
    pub public_ips: Vec<String>,
    /// The addresses in its own network.
    pub private_ips: Vec<String>,
    /// `Linux` or `Windows`, in the service's own word.
    pub os_type: Option<String>,
    /// The user that was made with it.
    pub admin_username: Option<String>,
    /// The keys that were given to that user, as lines of `authorized_keys`.
    pub ssh_public_keys: Vec<String>,
    /// The port of ssh at its public address: 22 on Azure. Machines of a local Azure may have it
    /// elsewhere, or nowhere, when they answer nobody: that is `None`.
    pub ssh_port: Option<u16>,
    /// The image that it was made from; `None` for one of the marketplace, or a disk.
    pub image_id: Option<ResourceId>,
    /// Its disks, the one that it boots from first.
    pub disks: Vec<MachineDisk>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether it was made by this library: it bears the tag, with its own name in it or that of its
    /// scale set.
    pub made_here: bool,
    /// The scale set that it belongs to.
    pub scale_set: Option<ResourceId>,
    /// Whether its serial console is kept where it can be read.
    pub boot_diagnostics: bool,
    /// An id that no other machine of the same name ever had.
    pub vm_id: Option<String>,
}

impl MachineInfo {
    pub(super) fn new(machine: &Existing, addresses: &Addresses) -> Result<Self> {
        let incomplete = |what: &str| {
            Error::new(
                ErrorKind::Service,
                format!("the service describes a machine without its {what}"),
            )
        };
        let id = machine.id.clone().ok_or_else(|| incomplete("id"))?;
        let group = id.resource_group().ok_or_else(|| incomplete("group"))?;
        let own = &machine.properties;
        let name = machine.name.clone().unwrap_or_else(|| id.name().to_owned());
        let storage = &own.storage_profile;
        let os_disk = storage.os_disk.iter().map(|disk| (disk, true));
        let disks = os_disk
            .chain(storage.data_disks.iter().map(|disk| (disk, false)))
            .map(|(disk, is_os)| MachineDisk {
                name: disk.name.clone().unwrap_or_default(),
                id: disk.managed_disk.as_ref().and_then(|disk| disk.id.clone()),
                is_os,
                size_gb: disk.disk_size_gb,
                goes_with_machine: is_delete(disk.delete_option.as_deref()),
            })
            .collect();
        let scale_set = own
            .virtual_machine_scale_set
            .as_ref()
            .and_then(|set| set.id.clone());
        let of_set = scale_set.as_ref().map(ResourceId::name);
        Ok(Self {
            resource_group: group.to_owned(),
            location: Location::new(&machine.location)?,
            zone: machine.zones.first().cloned(),
            size: own.hardware_profile.vm_size.clone().unwrap_or_default(),
            provisioning_state: own.provisioning_state.clone().unwrap_or_default(),
            power_state: power_state(machine),
            public_ips: addresses.public(machine),
            private_ips: addresses.private(machine),
            os_type: storage
                .os_disk
                .as_ref()
                .and_then(|disk| disk.os_type.clone()),
            admin_username: own
                .os_profile
                .as_ref()
                .and_then(|os| os.admin_username.clone()),
            ssh_public_keys: own
                .os_profile
                .iter()
                .flat_map(|os| &os.linux_configuration.ssh.public_keys)
                .filter_map(|key| key.key_data.clone())
                .collect(),
            ssh_port: ssh_port(machine),
            image_id: storage
                .image_reference
                .as_ref()
                .and_then(|image| image.id.clone()),
            disks,
            made_here: is_for(&machine.tags, &name)
                || of_set.is_some_and(|set| is_for(&machine.tags, set)),
            scale_set,
            tags: machine.tags.clone(),
            boot_diagnostics: keeps_log(machine),
            vm_id: own.vm_id.clone(),
            name,
            id,
        })
    }

    /// A command that logs in, where the address and the user are known. Which key opens it is not.
    #[must_use]
    pub fn ssh_command(&self) -> Option<String> {
        let (address, user) = (self.public_ips.first()?, self.admin_username.as_ref()?);
        let port = self.ssh_port.filter(|port| *port != SSH);
        let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
        Some(format!("ssh {port}{user}@{address}"))
    }
}

pub(super) fn power_state(machine: &Existing) -> PowerState {
    let view = machine.properties.instance_view.as_ref();
    PowerState::from_code(view.and_then(|view| view.power()))
}

/// The port of ssh. The instance view of a machine of a local Azure says where it is not 22: this
/// host may have that port taken, or nothing may answer for the machine.
pub(super) fn ssh_port(machine: &Existing) -> Option<u16> {
    let Some(view) = &machine.properties.instance_view else {
        return Some(SSH);
    };
    if view.displayed("LocalAzure/answersNobody").next().is_some() {
        return None;
    }
    // In words: `port 22 of 127.32.0.1 is reached at 127.32.0.1:40022`.
    let moved = view.displayed("LocalAzure/portMoved").find_map(|text| {
        let (port, there) = text.strip_prefix("port ")?.split_once(' ')?;
        let there = there.rsplit_once(':')?.1;
        (port.parse() == Ok(SSH)).then(|| there.parse().ok())?
    });
    Some(moved.unwrap_or(SSH))
}

/// Whether what the serial console says is kept.
pub(super) fn keeps_log(machine: &Existing) -> bool {
    let diagnostics = &machine.properties.diagnostics_profile.boot_diagnostics;
    diagnostics
        .as_ref()
        .is_some_and(|diagnostics| diagnostics.enabled == Some(true))
}

/// Whether something goes with the machine that has it.
pub(super) fn is_delete(option: Option<&str>) -> bool {
    option.is_some_and(|option| option.eq_ignore_ascii_case("Delete"))
}

/// Whether the tag of something says that it was made for a machine of this name.
pub(super) fn is_for(tags: &BTreeMap<String, String>, name: &str) -> bool {
    // The service keeps the case of a tag's name, and ignores it.
    tags.iter()
        .any(|(tag, value)| tag.eq_ignore_ascii_case(VM_TAG) && value.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_in_any_case() {
        for (code, state) in [
            (Some("running"), PowerState::Running),
            (Some("Deallocated"), PowerState::Deallocated),
            (Some("frozen"), PowerState::Other("frozen".into())),
            (None, PowerState::Unknown),
        ] {
            assert_eq!(PowerState::from_code(code), state);
        }
    }

    #[test]
    fn the_port_of_ssh_is_where_the_machine_says() {
        let port = |statuses: serde_json::Value| {
            let view =
                serde_json::json!({ "properties": { "instanceView": { "statuses": statuses } } });
            ssh_port(&serde_json::from_value(view).unwrap())
        };
        let moved = |text: &str| {
            serde_json::json!([
                { "code": "PowerState/running", "displayStatus": "VM running" },
                { "code": "LocalAzure/portMoved", "displayStatus": "port 80 of 127.32.0.4 is reached at 127.32.0.4:8080" },
                { "code": "LocalAzure/portMoved", "displayStatus": text },
            ])
        };
        assert_eq!(port(serde_json::json!([])), Some(22));
        assert_eq!(
            port(moved(
                "port 22 of 127.32.0.4 is reached at 127.32.0.4:40022"
            )),
            Some(40022)
        );
        assert_eq!(port(moved("another port")), Some(22));
        let nobody = serde_json::json!({ "properties": { "instanceView": {
            "statuses": [{ "code": "PowerState/running" }],
            "vmAgent": { "statuses": [{ "code": "LocalAzure/answersNobody" }] },
        } } });
        assert_eq!(ssh_port(&serde_json::from_value(nobody).unwrap()), None);
        assert_eq!(ssh_port(&Existing::default()), Some(22));
    }

    #[test]
    fn a_tag_says_for_whom_something_was_made() {
        let tags = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        assert!(is_for(&tags(VM_TAG, "web-1"), "WEB-1"));
        assert!(is_for(&tags("Azure-NixOS-VM", "web-1"), "web-1"));
        assert!(!is_for(&tags(VM_TAG, "web-10"), "web-1"));
        assert!(!is_for(&tags("owner", "web-1"), "web-1"));
    }
}
