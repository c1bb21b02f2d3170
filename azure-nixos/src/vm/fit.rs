//! Whether a machine that exists can have another size.
//!
//! Azure sees most of it when it is asked for the size, and some of it only when the machine is deallocated for
//! that: a machine would be off for a while, and on again as it was.

use super::info::MachineInfo;
use super::origin::{Security, controllers, security_of};
use super::sizes::{Catalogue, Needs, is_premium};
use crate::arm::Client;
use crate::arm::compute::{Disk, Existing, VmSize};
use crate::{ErrorKind, Result};

/// Refuses a size that the machine cannot have. What this login may not look at is left to Azure.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] with the sizes that would do, or [`ErrorKind::Quota`] with what is used.
pub(super) async fn check(
    client: &Client,
    machine: &MachineInfo,
    existing: &Existing,
    size: &str,
) -> Result<()> {
    let (catalogue, disk) = futures::try_join!(
        Catalogue::read(client, &machine.location),
        os_disk(client, machine),
    )?;
    let (Some(catalogue), Some(disk)) = (catalogue, disk) else {
        return Ok(());
    };
    let Some(needs) = needs(machine, existing, &disk, catalogue.find(&machine.size)) else {
        return Ok(());
    };
    catalogue
        .without(&machine.size, needs.spot)
        .check(size, &needs)
        .map(drop)
        .map_err(|error| match error.kind() {
            ErrorKind::Quota => error.with_context("in use", "without what the machine has now"),
            _ => error,
        })
}

async fn os_disk(client: &Client, machine: &MachineInfo) -> Result<Option<Disk>> {
    let disk = machine.disks.iter().find(|disk| disk.is_os);
    let Some(id) = disk.and_then(|disk| disk.id.as_ref()) else {
        return Ok(None);
    };
    match client.disk_by_id(id).await {
        Err(error) if error.kind() == ErrorKind::Forbidden => {
            tracing::debug!("the size is not checked: {error}");
            Ok(None)
        }
        disk => disk,
    }
}

/// What the machine needs of a size; `None` where that is not all known, or it is a confidential one, which
/// sizes tell in other ways.
fn needs(
    machine: &MachineInfo,
    existing: &Existing,
    disk: &Disk,
    current: Option<&VmSize>,
) -> Option<Needs> {
    let own = &existing.properties;
    let security = security_of(own.security_profile.security_type.as_deref())?;
    let priority = own.priority.as_deref().unwrap_or_default();
    let is_spot = |word: &str| priority.eq_ignore_ascii_case(word);
    Some(Needs {
        whose: "its disk",
        location: machine.location.clone(),
        generation: disk.properties.hyper_v_generation?,
        // It runs on what it runs on, whatever is written on its disk.
        architecture: current?.architecture().to_owned(),
        controllers: controllers(own.storage_profile.disk_controller_type.as_deref()),
        zone: machine.zone.clone(),
        spot: ["Spot", "Low"].into_iter().any(is_spot),
        accelerated: false,
        data_disks: own.storage_profile.data_disks.len(),
        premium: disk.sku.as_ref().is_some_and(|sku| is_premium(&sku.name)),
        trusted_launch: security == Security::TrustedLaunch,
        count: 1,
    })
}
