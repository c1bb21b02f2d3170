//! What a new virtual machine has to be: the checks of its PUT, before anything is made.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::super::Context;
use super::super::answer::Result;
use super::super::disks;
use super::super::error::{ArmError, Origin};
use super::super::gallery;
use super::super::id::{Kind, ResourceId};
use super::super::names;
use super::super::network::nic;
use super::super::sizes::Size;
use super::super::ssh_keys;
use super::super::zones;
use super::{devices, hardware, security};
use crate::state::{Inner, Resource};

/// The most that `customData` may hold, decoded.
const LARGEST_CUSTOM_DATA: usize = 65_535;

/// The same of `userData`.
const LARGEST_USER_DATA: usize = 65_536;

/// Names that Azure does not create users under.
const RESERVED_USERS: &[&str] = &[
    "administrator",
    "admin",
    "user",
    "user1",
    "test",
    "user2",
    "test1",
    "user3",
    "admin1",
    "1",
    "123",
    "a",
    "actuser",
    "adm",
    "admin2",
    "aspnet",
    "backup",
    "console",
    "david",
    "guest",
    "john",
    "owner",
    "root",
    "server",
    "sql",
    "support",
    "support_388945a0",
    "sys",
    "test2",
    "test3",
    "user4",
    "user5",
];

/// What the OS disk is made of.
pub(super) enum Source {
    Image(Box<Resource>),
    Disk(Box<Resource>),
}

impl Source {
    pub(super) fn generation(&self) -> &str {
        let (Self::Image(resource) | Self::Disk(resource)) = self;
        resource.body["properties"]["hyperVGeneration"]
            .as_str()
            .unwrap_or("V1")
    }

    /// Managed images have none: they are x64 only, and know no controller but SCSI.
    pub(super) fn capability<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        let (Self::Image(resource) | Self::Disk(resource)) = self;
        resource.body["properties"]["supportedCapabilities"][name]
            .as_str()
            .unwrap_or(default)
    }
}

fn invalid(target: &str, message: impl Into<String>) -> ArmError {
    ArmError::compute(400, "InvalidParameter", message).with_target(target)
}

/// Where the OS disk comes from, and that the size can boot it.
pub(super) fn source(context: &Context<'_>, body: &Value, size: &Size) -> Result<Source> {
    let properties = &body["properties"];
    let profile = &properties["storageProfile"];
    let disk = &profile["osDisk"];
    if disk.is_null() {
        return Err(ArmError::missing_parameter("osDisk"));
    }
    let source = match disk["createOption"].as_str() {
        Some("FromImage") => Source::Image(Box::new(image(context, body)?)),
        Some("Attach") => Source::Disk(Box::new(attached(context, body)?)),
        other => {
            return Err(invalid(
                "osDisk.createOption",
                format!(
                    "The value '{}' of parameter 'osDisk.createOption' is not allowed: an OS disk is 'FromImage' or 'Attach'.",
                    other.unwrap_or_default()
                ),
            ));
        }
    };
    if let Some(name) = disk["name"].as_str() {
        names::check(Kind::Disk, name)?;
    }
    hardware::check_boots(&source, &profile["diskControllerType"], size)?;
    security::check(properties, &source, size)?;
    Ok(source)
}

fn image(context: &Context<'_>, body: &Value) -> Result<Resource> {
    let reference = &body["properties"]["storageProfile"]["imageReference"];
    if reference.is_null() {
        return Err(ArmError::missing_parameter("imageReference"));
    }
    let Some(id) = reference["id"].as_str() else {
        return Err(ArmError::not_implemented(
            "images of the marketplace, of shared and of community galleries",
        ));
    };
    if gallery::is_gallery_image(id) {
        let location = body["location"].as_str().unwrap_or_default();
        return gallery::image(context, id, location);
    }
    let Some(image) = context
        .state
        .resource(id)
        .filter(|image| matches!(image.inner, Inner::Image(_)))
    else {
        return Err(
            ArmError::compute(404, "NotFound", format!("The image {id} is not found."))
                .with_target("imageReference"),
        );
    };
    if image.body["properties"]["provisioningState"] != "Succeeded" {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "The image {id} is in provisioning state '{}'; a virtual machine can be made of it once it is 'Succeeded'.",
                image.body["properties"]["provisioningState"]
                    .as_str()
                    .unwrap_or_default()
            ),
        ));
    }
    require_same_location(image, body, "imageReference")?;
    Ok(image.clone())
}

fn attached(context: &Context<'_>, body: &Value) -> Result<Resource> {
    let profile = &body["properties"]["storageProfile"];
    if !profile["imageReference"].is_null() {
        return Err(invalid(
            "imageReference",
            "Parameter 'imageReference' is not allowed.",
        ));
    }
    if profile["osDisk"]["osType"].is_null() {
        return Err(ArmError::missing_parameter("osDisk.osType"));
    }
    disk_to_attach(context, &profile["osDisk"], body, "osDisk")
}

/// A disk that a machine is to have: it has to be there, complete and nobody's.
pub(super) fn disk_to_attach(
    context: &Context<'_>,
    disk: &Value,
    body: &Value,
    target: &str,
) -> Result<Resource> {
    let Some(id) = disk["managedDisk"]["id"].as_str() else {
        return Err(ArmError::missing_parameter(&format!(
            "{target}.managedDisk.id"
        )));
    };
    let Some(found) = disks::find(context, Kind::Disk, id) else {
        return Err(
            ArmError::compute(404, "NotFound", format!("Disk {id} is not found."))
                .with_target(target),
        );
    };
    require_same_location(found, body, target)?;
    zones::check_disk(found, body)?;
    if let Some(owner) = found.body["managedBy"].as_str() {
        return Err(ArmError::compute(
            409,
            "ConflictingUserInput",
            format!(
                "Disk '{}' cannot be attached as the disk is already owned by VM '{owner}'.",
                found.id
            ),
        )
        .with_target(target));
    }
    context.refuse_while_busy(&found.id, Origin::Provider)?;
    disks::refuse_active_access(context, found, "attaching the disk")?;
    if disks::state_of(found) != "Unattached" {
        return Err(disks::wrong_state(found, "attached"));
    }
    Ok(found.clone())
}

fn require_same_location(resource: &Resource, body: &Value, target: &str) -> Result<()> {
    if resource.body["location"] == body["location"] {
        return Ok(());
    }
    Err(invalid(
        target,
        format!(
            "The resource {} is in location '{}' and the virtual machine in '{}'. They must be in the same location.",
            resource.id,
            resource.body["location"].as_str().unwrap_or_default(),
            body["location"].as_str().unwrap_or_default()
        ),
    ))
}

/// The user, the keys and the data of a machine; there must be none where nothing is provisioned.
pub(super) fn os_profile(body: &Value, source: &Source) -> Result<()> {
    let profile = &body["properties"]["osProfile"];
    let is_generalized = match source {
        Source::Disk(_) => false,
        Source::Image(image) => {
            image.body["properties"]["storageProfile"]["osDisk"]["osState"] == "Generalized"
        }
    };
    if !is_generalized {
        return if profile.is_null() {
            Ok(())
        } else {
            Err(invalid(
                "osProfile",
                "Parameter 'osProfile' is not allowed.",
            ))
        };
    }
    if profile.is_null() {
        return Err(ArmError::missing_parameter("osProfile"));
    }
    for field in ["computerName", "adminUsername"] {
        if profile[field].as_str().is_none_or(str::is_empty) {
            return Err(ArmError::missing_parameter(field));
        }
    }
    let computer = profile["computerName"].as_str().unwrap_or_default();
    let is_host = computer.len() <= 64
        && !computer.contains(|c: char| "`~!@#$%^&*()=+_[]{}\\|;:'\",<>/?".contains(c))
        && !computer.ends_with(['.', '-']);
    if !is_host {
        return Err(invalid(
            "computerName",
            "Linux host name cannot exceed 64 characters in length or contain the following characters: ` ~ ! @ # $ % ^ & * ( ) = + _ [ ] { } \\ | ; : ' \" , < > / ?.",
        ));
    }
    let user = profile["adminUsername"].as_str().unwrap_or_default();
    let is_allowed = user.len() <= 64
        && !RESERVED_USERS.contains(&user.to_ascii_lowercase().as_str())
        && !user.contains(|c: char| "\\/\"[]:|<>+=;,?*@#()!".contains(c));
    if !is_allowed {
        return Err(invalid(
            "adminUsername",
            "The Admin Username specified is not allowed.",
        ));
    }
    if let Some(data) = profile["customData"].as_str() {
        let is_good = STANDARD
            .decode(data)
            .is_ok_and(|decoded| decoded.len() <= LARGEST_CUSTOM_DATA);
        if !is_good {
            return Err(invalid(
                "customData",
                "Custom data in OSProfile must be in Base64 encoding and with a maximum length of 87380 characters.",
            ));
        }
    }
    linux(profile, user)
}

/// The data that the machine's metadata service gives out. Its limit is documented; the text of the
/// refusal is not known, and is that of custom data.
pub(super) fn user_data(properties: &Value) -> Result<()> {
    let is_good = properties["userData"].as_str().is_none_or(|data| {
        STANDARD
            .decode(data)
            .is_ok_and(|decoded| decoded.len() <= LARGEST_USER_DATA)
    });
    if is_good {
        return Ok(());
    }
    Err(invalid(
        "userData",
        "User data must be in Base64 encoding and with a maximum length of 65536 bytes.",
    ))
}

fn linux(profile: &Value, user: &str) -> Result<()> {
    let linux = &profile["linuxConfiguration"];
    let keys = linux["ssh"]["publicKeys"].as_array();
    let has_keys = keys.is_some_and(|keys| !keys.is_empty());
    let has_password = profile["adminPassword"].is_string();
    if linux["disablePasswordAuthentication"] == true {
        if !has_keys {
            return Err(invalid(
                "linuxConfiguration",
                "Authentication using either SSH or by user name and password must be enabled in Linux profile.",
            ));
        }
    } else if !has_password {
        return Err(ArmError::missing_parameter("adminPassword"));
    }
    let expected = format!("/home/{user}/.ssh/authorized_keys");
    for key in keys.into_iter().flatten() {
        if let Some(path) = key["path"].as_str()
            && path != expected
        {
            return Err(invalid(
                "linuxConfiguration.ssh.publicKeys.path",
                format!(
                    "Destination path for SSH public keys is currently limited to its default value {expected}  due to a known issue in Linux provisioning agent."
                ),
            ));
        }
        let data = key["keyData"].as_str().unwrap_or_default();
        if !ssh_keys::is_public_key(data) {
            return Err(invalid(
                "linuxConfiguration.ssh.publicKeys.keyData",
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
            ));
        }
    }
    Ok(())
}

/// The interfaces: at least one, each there, in the same location and nobody's.
pub(super) fn interfaces(context: &Context<'_>, body: &Value) -> Result<Vec<String>> {
    let profile = &body["properties"]["networkProfile"];
    if profile["networkInterfaceConfigurations"].is_array() {
        return Err(ArmError::not_implemented(
            "interfaces that are made with their virtual machine",
        ));
    }
    let given = profile["networkInterfaces"].as_array();
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Err(ArmError::missing_parameter("networkProfile"));
    };
    let mut found = Vec::new();
    let mut primaries = 0;
    for interface in given {
        let id = interface["id"].as_str().unwrap_or_default();
        let nic = context
            .state
            .resource(id)
            .filter(|nic| {
                ResourceId::parse(&nic.id).is_some_and(|id| id.kind == Kind::Nic)
                    && nic.body["location"] == body["location"]
            })
            .ok_or_else(|| {
                ArmError::compute(
                    400,
                    "InvalidResourceReference",
                    format!(
                        "Resource {id} referenced by resource {} was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.",
                        body["id"].as_str().unwrap_or_default()
                    ),
                )
            })?;
        if devices::is_anothers(context, &nic.id, body["id"].as_str().unwrap_or_default()) {
            nic::refuse_used(context.state, &nic.id)?;
        }
        nic::refuse_reserved(context, &nic.id, body["id"].as_str())?;
        nic::check_zones(context, &nic.body, body)?;
        primaries += usize::from(interface["properties"]["primary"] == true);
        found.push(nic.id.clone());
    }
    if found.len() > 1 && primaries != 1 {
        return Err(ArmError::compute(
            400,
            "VirtualMachineMustHaveOneNetworkInterfaceAsPrimary",
            "Virtual machine must have one network interface set as the primary.",
        ));
    }
    Ok(found)
}
