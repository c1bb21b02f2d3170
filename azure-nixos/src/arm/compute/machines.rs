//! Virtual machines that exist: how they are doing, and what is done to them.
//!
//! What a machine is made from is described in `virtual_machines`. Nothing here is ever sent back,
//! so these models hold what is read and no more.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::operation::Finish;
use super::super::{Client, Operation, ResourceId};
use super::{MachineIdentity, VIRTUAL_MACHINES};
use crate::{Result, SasUrl};

const API: &str = "2024-07-01";

/// A machine as a GET or a list shows it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Existing {
    pub(crate) id: Option<ResourceId>,
    pub(crate) name: Option<String>,
    pub(crate) location: String,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) tags: BTreeMap<String, String>,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) zones: Vec<String>,
    pub(crate) identity: Option<MachineIdentity>,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) properties: Properties,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Properties {
    pub(crate) vm_id: Option<String>,
    pub(crate) provisioning_state: Option<String>,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) hardware_profile: Hardware,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) storage_profile: Storage,
    pub(crate) os_profile: Option<Os>,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) security_profile: Security,
    /// `Regular`, `Spot`, and `Low` of former times.
    pub(crate) priority: Option<String>,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) network_profile: Network,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) diagnostics_profile: Diagnostics,
    pub(crate) instance_view: Option<View>,
    /// The set of the mode Flexible that it belongs to.
    pub(crate) virtual_machine_scale_set: Option<Image>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Hardware {
    pub(crate) vm_size: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Storage {
    pub(crate) image_reference: Option<Image>,
    pub(crate) os_disk: Option<VmDisk>,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) data_disks: Vec<VmDisk>,
    /// `SCSI` or `NVMe`.
    pub(crate) disk_controller_type: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Security {
    /// `Standard`, `TrustedLaunch`, or one of several confidential ones.
    pub(crate) security_type: Option<String>,
}

/// Another resource, by its id.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Image {
    pub(crate) id: Option<ResourceId>,
}

/// A disk as its machine describes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VmDisk {
    pub(crate) name: Option<String>,
    pub(crate) create_option: Option<String>,
    pub(crate) delete_option: Option<String>,
    pub(crate) managed_disk: Option<Image>,
    #[serde(rename = "diskSizeGB")]
    pub(crate) disk_size_gb: Option<u64>,
    pub(crate) os_type: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Os {
    pub(crate) admin_username: Option<String>,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) linux_configuration: Linux,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Linux {
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) ssh: Ssh,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ssh {
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) public_keys: Vec<AuthorizedKey>,
}

/// A key that may log in, as a line of `authorized_keys`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AuthorizedKey {
    pub(crate) key_data: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Network {
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) network_interfaces: Vec<VmInterface>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct VmInterface {
    pub(crate) id: ResourceId,
    #[serde(default)]
    pub(crate) properties: Option<VmInterfaceProperties>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct VmInterfaceProperties {
    pub(crate) delete_option: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Diagnostics {
    pub(crate) boot_diagnostics: Option<BootDiagnostics>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BootDiagnostics {
    pub(crate) enabled: Option<bool>,
}

/// How a machine is doing just now.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct View {
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) statuses: Vec<Status>,
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) vm_agent: Agent,
}

/// What is known of the agent in a machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Agent {
    #[serde(deserialize_with = "super::super::null_is_default")]
    pub(crate) statuses: Vec<Status>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    pub(crate) code: Option<String>,
    pub(crate) display_status: Option<String>,
}

impl View {
    /// What follows `PowerState/`.
    pub(crate) fn power(&self) -> Option<&str> {
        self.statuses.iter().find_map(|status| {
            let (kind, state) = status.code.as_deref()?.split_once('/')?;
            kind.eq_ignore_ascii_case("PowerState").then_some(state)
        })
    }

    /// What the statuses of this code say to people, those of the agent too.
    pub(crate) fn displayed<'a>(&'a self, code: &'a str) -> impl Iterator<Item = &'a str> {
        self.statuses
            .iter()
            .chain(&self.vm_agent.statuses)
            .filter(move |status| status.code.as_deref() == Some(code))
            .map(|status| status.display_status.as_deref().unwrap_or_default())
    }
}

/// What a request may do to the power of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PowerAction {
    Start,
    Restart,
    /// The machine is off and keeps its processors, so it costs as before.
    PowerOff,
    Deallocate,
}

impl PowerAction {
    fn path(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::PowerOff => "powerOff",
            Self::Deallocate => "deallocate",
        }
    }
}

impl fmt::Display for PowerAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::PowerOff => "power off",
            Self::Deallocate => "deallocate",
        })
    }
}

/// What is changed of a machine. A field that is left out stays as it is.
#[derive(Clone, Debug, Default, Serialize)]
struct Update {
    properties: UpdatedProperties,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdatedProperties {
    #[serde(skip_serializing_if = "Option::is_none")]
    hardware_profile: Option<UpdatedHardware>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics_profile: Option<UpdatedDiagnostics>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdatedHardware {
    vm_size: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdatedDiagnostics {
    boot_diagnostics: EnabledDiagnostics,
}

/// Without the URL of an account: the service keeps the log by itself.
#[derive(Clone, Debug, Serialize)]
struct EnabledDiagnostics {
    enabled: bool,
}

impl Update {
    fn size(size: &str) -> Self {
        let mut update = Self::default();
        update.properties.hardware_profile = Some(UpdatedHardware {
            vm_size: size.to_owned(),
        });
        update
    }

    fn diagnostics() -> Self {
        let mut update = Self::default();
        update.properties.diagnostics_profile = Some(UpdatedDiagnostics {
            boot_diagnostics: EnabledDiagnostics { enabled: true },
        });
        update
    }
}

/// The URL of the serial log, in the answer that gives it out.
struct SerialLogUri(String);

/// By hand, because serde's own error for another shape quotes it, signature included.
impl<'de> Deserialize<'de> for SerialLogUri {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let answer = serde_json::Value::deserialize(deserializer)?;
        answer
            .get("serialConsoleLogBlobUri")
            .and_then(serde_json::Value::as_str)
            .map(|url| Self(url.to_owned()))
            .ok_or_else(|| serde::de::Error::custom("there is no serialConsoleLogBlobUri in it"))
    }
}

impl Client {
    fn machine_url(
        &self,
        group: &str,
        name: &str,
        action: &str,
        query: &[(&str, &str)],
    ) -> url::Url {
        let id = self.resource_id(group, VIRTUAL_MACHINES, name);
        self.url(&format!("{id}{action}"), API, query)
    }

    fn machine_list_url(&self, group: Option<&str>, query: &[(&str, &str)]) -> url::Url {
        self.url(&self.list_path(group, VIRTUAL_MACHINES), API, query)
    }

    /// A machine with its power state, if it exists.
    pub(crate) async fn machine(&self, group: &str, name: &str) -> Result<Option<Existing>> {
        self.find(
            self.machine_url(group, name, "", &[("$expand", "instanceView")]),
            &format!("look for the machine {name}"),
        )
        .await
    }

    /// The machines of a group or of the subscription, without their power states.
    pub(crate) async fn machines(&self, group: Option<&str>) -> Result<Vec<Existing>> {
        self.list(self.machine_list_url(group, &[]), "list the machines")
            .await
    }

    /// The power states of all machines of the subscription. Only the id and the instance view of
    /// what comes back can be relied upon. A list of a group has no such thing: its `$expand` is
    /// for scale sets.
    pub(crate) async fn machine_states(&self) -> Result<Vec<Existing>> {
        self.list(
            self.machine_list_url(None, &[("statusOnly", "true")]),
            "list the states of the machines",
        )
        .await
    }

    /// Starts, stops or restarts a machine.
    pub(crate) async fn machine_power(
        &self,
        group: &str,
        name: &str,
        action: PowerAction,
    ) -> Result<Operation<()>> {
        self.post(
            self.machine_url(group, name, &format!("/{}", action.path()), &[]),
            None,
            Finish::Nothing,
            format!("{action} the machine {name}"),
        )
        .await
    }

    /// Changes the size of a machine.
    pub(crate) async fn resize_machine(
        &self,
        group: &str,
        name: &str,
        size: &str,
    ) -> Result<Operation<Existing>> {
        self.patch(
            self.machine_url(group, name, "", &[]),
            &Update::size(size),
            format!("resize the machine {name} to {size}"),
        )
        .await
    }

    /// Turns the boot diagnostics of a machine on.
    pub(crate) async fn enable_boot_diagnostics(
        &self,
        group: &str,
        name: &str,
    ) -> Result<Operation<Existing>> {
        self.patch(
            self.machine_url(group, name, "", &[]),
            &Update::diagnostics(),
            format!("turn the boot diagnostics of the machine {name} on"),
        )
        .await
    }

    /// Where the serial log of a machine can be read, for two hours.
    pub(crate) async fn serial_log_url(&self, group: &str, name: &str) -> Result<SasUrl> {
        let url: SerialLogUri = self
            .post(
                self.machine_url(group, name, "/retrieveBootDiagnosticsData", &[]),
                None,
                Finish::Output,
                format!("get access to the serial log of the machine {name}"),
            )
            .await?
            .wait()
            .await?;
        SasUrl::parse(&url.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whatever_is_missing_or_null() {
        let machine: Existing = serde_json::from_value(serde_json::json!({
            "id": "/Subscriptions/s/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/vm",
            "location": "westus", "tags": null, "zones": null,
            "properties": {
                "hardwareProfile": {}, "storageProfile": { "dataDisks": null, "osDisk": null },
                "osProfile": null, "networkProfile": null, "diagnosticsProfile": null,
                "instanceView": { "statuses": [
                    { "code": "ProvisioningState/succeeded" }, {}, { "code": "PowerState/running" }
                ] }
            }
        }))
        .unwrap();
        let view = machine.properties.instance_view.unwrap();
        assert_eq!(view.power(), Some("running"));
        assert_eq!(View::default().power(), None);
        serde_json::from_value::<Existing>(serde_json::json!({ "properties": null })).unwrap();
    }

    #[test]
    fn an_update_has_what_is_changed_alone() {
        assert_eq!(
            serde_json::to_value(Update::size("Standard_B2s")).unwrap(),
            serde_json::json!({ "properties": { "hardwareProfile": { "vmSize": "Standard_B2s" } } })
        );
        assert_eq!(
            serde_json::to_value(Update::diagnostics()).unwrap(),
            serde_json::json!({ "properties": { "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } } } })
        );
    }

    #[test]
    fn an_access_in_another_shape_is_not_quoted() {
        for other in [
            serde_json::json!("https://h/d?sig=S3CRET"),
            serde_json::json!({ "serialConsoleLogBlobUri": ["https://h/d?sig=S3CRET"] }),
        ] {
            let text = other.to_string();
            let error = super::super::super::client::decode::<SerialLogUri>(text.as_bytes(), "ask")
                .err()
                .unwrap();
            let text = format!("{error:?} {}", error.report());
            assert!(!text.contains("S3CRET"), "{text}");
        }
    }
}
