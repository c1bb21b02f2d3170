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
use super::super::skus::{self, CORES, Size};
use super::devices;
use crate::state::{Inner, Resource};

/// The most that `customData` may hold, decoded.
const LARGEST_CUSTOM_DATA: usize = 65_535;

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
    fn generation(&self) -> &str {
        let (Self::Image(resource) | Self::Disk(resource)) = self;
        resource.body["properties"]["hyperVGeneration"]
            .as_str()
            .unwrap_or("V1")
    }

    /// Managed images have none: they are x64 only, and know no controller but SCSI.
    fn capability<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        let (Self::Image(resource) | Self::Disk(resource)) = self;
        resource.body["properties"]["supportedCapabilities"][name]
            .as_str()
            .unwrap_or(default)
    }
}

fn invalid(target: &str, message: impl Into<String>) -> ArmError {
    ArmError::compute(400, "InvalidParameter", message).with_target(target)
}

/// The size, as there is one and enough of it is left.
pub(super) fn size(context: &Context<'_>, body: &Value, before: u64) -> Result<&'static Size> {
    let Some(name) = body["properties"]["hardwareProfile"]["vmSize"].as_str() else {
        return Err(ArmError::missing_parameter("vmSize"));
    };
    let location = body["location"].as_str().unwrap_or_default();
    size_for(context, name, location, 1, before)
}

/// The size of so many machines, which have `before` cores so far.
pub(crate) fn size_for(
    context: &Context<'_>,
    name: &str,
    location: &str,
    machines: u64,
    before: u64,
) -> Result<&'static Size> {
    let offer = &context.arm.settings().offer;
    let Some(size) = Size::find(name).filter(|size| !offer.is_restricted(size.name)) else {
        return Err(ArmError::compute(
            409,
            "SkuNotAvailable",
            format!(
                "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: {name}' is currently not available in location '{location}'. Please try another size or deploy to a different location or different zone. See https://aka.ms/azureskunotavailable for details."
            ),
        ));
    };
    let used = skus::cores_used(context, location, None).saturating_sub(before);
    let wanted = size.cores * machines;
    let limit = offer.limit("cores", CORES);
    if used + wanted > limit {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Operation results in exceeding quota limits of Core. Maximum allowed: {limit}, Current in use: {used}, Additional requested: {wanted}."
            ),
        ));
    }
    let used = skus::cores_used(context, location, Some(size.family)).saturating_sub(before);
    let limit = offer.limit(size.family, CORES);
    if used + wanted > limit {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "Operation could not be completed as it results in exceeding approved {} Cores quota. Additional details - Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage: {used}, Additional Required: {wanted}, (Minimum) New Limit Required: {}.",
                size.family,
                used + wanted
            ),
        ));
    }
    Ok(size)
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
    check_boots(&source, size)?;
    let security = properties["securityProfile"]["securityType"].as_str();
    if let Source::Image(image) = &source
        && gallery::is_gallery_image(&image.id)
    {
        gallery::check_security(image, security)?;
    } else if let (Source::Image(_), Some("TrustedLaunch" | "ConfidentialVM")) = (&source, security)
    {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            "Managed Images are not supported for virtual machines with security type TrustedLaunch.",
        ));
    }
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

/// Whether a size boots this generation, architecture and disk controller.
fn check_boots(source: &Source, size: &Size) -> Result<()> {
    let generation = source.generation();
    if !size.generations.split(',').any(|one| one == generation) {
        let number = generation.trim_start_matches('V');
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "The selected VM size '{}' cannot boot Hypervisor Generation '{number}'. If this was a Create operation please check that the Hypervisor Generation of the Image matches the Hypervisor Generation of the selected VM Size. If this was an Update operation please select a Hypervisor Generation '{number}' VM Size. For more information, see https://aka.ms/azuregen2vm",
                size.name
            ),
        ));
    }
    let architecture = source.capability("architecture", "x64");
    if size.architecture != architecture {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "Cannot create a VM of size '{}' because this VM size only supports a CPU Architecture of '{}', but an image or disk with CPU Architecture '{architecture}' was given. Please select a VM size that supports it.",
                size.name, size.architecture
            ),
        ));
    }
    let controllers = source.capability("diskControllerTypes", "SCSI");
    let has = |list: &str, one: &str| list.split(',').any(|other| other.trim() == one);
    if !size
        .controllers
        .split(',')
        .any(|one| has(controllers, one.trim()))
    {
        return Err(ArmError::compute(
            400,
            "InvalidParameter",
            format!(
                "The VM size '{}' cannot boot with OS image or disk. Please check that disk controller types supported by the OS image or disk is one of the supported disk controller types for the VM size '{}'.",
                size.name, size.name
            ),
        )
        .with_target("vmSize"));
    }
    Ok(())
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
    if RESERVED_USERS.contains(&user.to_ascii_lowercase().as_str()) {
        return Err(invalid(
            "adminUsername",
            format!(
                "The Admin Username specified is not allowed. It is '{user}', which is reserved."
            ),
        ));
    }
    if user.len() > 64 || user.contains(|c: char| "\\/\"[]:|<>+=;,?*@#()!".contains(c)) {
        return Err(invalid(
            "adminUsername",
            "The Admin Username specified is not allowed: it has at most 64 characters and none of \\/\"[]:|<>+=;,?*@#()!.",
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
        if !is_public_key(data) {
            return Err(invalid(
                "linuxConfiguration.ssh.publicKeys.keyData",
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
            ));
        }
    }
    Ok(())
}

/// `ssh-ed25519 AAAA… comment`: a type Azure takes, and the same type inside the base64.
fn is_public_key(data: &str) -> bool {
    let mut words = data.split_whitespace();
    let (Some(kind @ ("ssh-rsa" | "ssh-ed25519")), Some(key)) = (words.next(), words.next()) else {
        return false;
    };
    STANDARD
        .decode(key)
        .is_ok_and(|key| key.get(4..4 + kind.len()) == Some(kind.as_bytes()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_say() {
        let ed25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na root@vm\n";
        assert!(is_public_key(ed25519));
        assert!(!is_public_key(&ed25519.replace("ssh-ed25519", "ssh-rsa")));
        assert!(!is_public_key("ssh-ed25519"));
        assert!(!is_public_key("-----BEGIN PUBLIC KEY-----"));
    }
}
