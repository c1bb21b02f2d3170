//! What the service says of a disk by its type and size: tier, operations and throughput.

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::answer::Result;
use super::super::error::ArmError;
use super::GIB;

/// Sizes in GiB, performance tier, operations and MB per second of premium disks.
const PREMIUM: &[(u64, &str, u64, u64)] = &[
    (4, "P1", 120, 25),
    (8, "P2", 120, 25),
    (16, "P3", 120, 25),
    (32, "P4", 120, 25),
    (64, "P6", 240, 50),
    (128, "P10", 500, 100),
    (256, "P15", 1100, 125),
    (512, "P20", 2300, 150),
    (1024, "P30", 5000, 200),
    (2048, "P40", 7500, 250),
    (4096, "P50", 7500, 250),
    (8192, "P60", 16000, 500),
    (16384, "P70", 18000, 750),
    (32768, "P80", 20000, 900),
];

/// The type of disk that sets its performance itself.
fn is_chosen(sku: &str) -> bool {
    sku.starts_with("UltraSSD") || sku.starts_with("PremiumV2")
}

/// The row of a premium disk of a size, or of a tier that was asked for.
fn row(sku: &str, size: u64, tier: Option<&str>) -> Option<&'static (u64, &'static str, u64, u64)> {
    if !sku.starts_with("Premium") || is_chosen(sku) {
        return None;
    }
    match tier {
        // P1 is both the smallest and the row of the smallest sizes.
        Some(tier) => PREMIUM.iter().find(|(_, name, ..)| *name == tier),
        None => PREMIUM.iter().find(|(largest, ..)| size <= *largest),
    }
}

/// The size in GiB that a document shows, or that it will show.
fn size(body: &Value) -> u64 {
    let properties = &body["properties"];
    properties["diskSizeGB"].as_u64().unwrap_or_else(|| {
        properties["creationData"]["uploadSizeBytes"]
            .as_u64()
            .unwrap_or_default()
            .div_ceil(GIB)
    })
}

/// The properties that the service adds to any disk or snapshot.
pub(crate) fn fill_in(body: &mut Value, now: &str) {
    let is_snapshot = body["type"] == "Microsoft.Compute/snapshots";
    let sku = body["sku"]["name"]
        .as_str()
        .unwrap_or("Standard_LRS")
        .to_owned();
    body["sku"]["tier"] = json!(if sku.starts_with("Premium") {
        "Premium"
    } else if sku.starts_with("UltraSSD") {
        "Ultra"
    } else {
        "Standard"
    });
    let size = size(body);
    let properties = &mut body["properties"];
    for (name, value) in [
        (
            "encryption",
            json!({ "type": "EncryptionAtRestWithPlatformKey" }),
        ),
        ("networkAccessPolicy", json!("AllowAll")),
        ("publicNetworkAccess", json!("Enabled")),
        ("timeCreated", json!(now)),
        ("uniqueId", json!(Uuid::new_v4())),
    ] {
        if properties.get(name).is_none() {
            properties[name] = value;
        }
    }
    properties["provisioningState"] = json!("Succeeded");
    if is_snapshot {
        if properties.get("incremental").is_none() {
            properties["incremental"] = json!(false);
        }
        // Incremental snapshots of one disk are a family.
        if properties["incremental"] == true
            && properties.get("incrementalSnapshotFamilyId").is_none()
        {
            properties["incrementalSnapshotFamilyId"] =
                properties["creationData"]["sourceUniqueId"].clone();
        }
        return;
    }
    let tier = properties["tier"].as_str();
    let found = row(&sku, size, tier);
    let (iops, throughput) = found.map_or((500, 60), |(_, _, iops, mbps)| (*iops, *mbps));
    for (name, value) in [
        ("diskIOPSReadWrite", iops),
        ("diskMBpsReadWrite", throughput),
    ] {
        if properties.get(name).is_none() {
            properties[name] = json!(value);
        }
    }
    if let Some((_, tier, ..)) = found
        && properties.get("tier").is_none()
    {
        properties["tier"] = json!(tier);
    }
}

/// Takes over a change of the type, the size or the tier in a document that has it already: what
/// the service had derived from `old` is derived anew. A value that a client only read and sends
/// back is not one that it chose. The words for a tier that cannot be are a guess.
pub(super) fn update(body: &mut Value, old: &Value, change: &Value) -> Result<()> {
    let sku = body["sku"]["name"].as_str().unwrap_or_default().to_owned();
    let size = size(body);
    let asked = &change["properties"];
    let chosen = |field: &str| {
        asked
            .get(field)
            .is_some_and(|value| Some(value) != old["properties"].get(field))
    };
    let is_changed =
        body["sku"]["name"] != old["sku"]["name"] || chosen("diskSizeGB") || chosen("tier");
    if is_chosen(&sku) || !is_changed {
        return Ok(());
    }
    if chosen("tier") && sku.starts_with("Premium") {
        let tier = asked["tier"].as_str().unwrap_or_default();
        let least = row(&sku, size, None).map_or(0, |(largest, ..)| *largest);
        let Some((largest, ..)) = row(&sku, size, Some(tier)) else {
            return Err(refused(format!(
                "The value '{tier}' of parameter 'tier' is not a performance tier of disks of type '{sku}'."
            )));
        };
        if *largest < least {
            return Err(refused(format!(
                "The performance tier '{tier}' is lower than the one of a disk of {size} GB."
            )));
        }
    }
    if let Some(properties) = body["properties"].as_object_mut() {
        for field in ["tier", "diskIOPSReadWrite", "diskMBpsReadWrite"] {
            if !chosen(field) || !sku.starts_with("Premium") {
                properties.remove(field);
            }
        }
    }
    Ok(())
}

fn refused(message: String) -> ArmError {
    ArmError::compute(400, "InvalidParameter", message).with_target("tier")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of a disk, as a request makes it.
    fn changed(disk: &Value, change: &Value) -> Result<Value> {
        let mut body = disk.clone();
        if let Some(sku) = change.get("sku") {
            body["sku"] = sku.clone();
        }
        for (name, value) in change["properties"].as_object().into_iter().flatten() {
            body["properties"][name] = value.clone();
        }
        update(&mut body, disk, change)?;
        fill_in(&mut body, "later");
        Ok(body)
    }

    #[test]
    fn a_premium_disk_has_the_tier_of_its_size_until_another_is_chosen() {
        let mut disk =
            json!({ "sku": { "name": "Premium_LRS" }, "properties": { "diskSizeGB": 30 } });
        fill_in(&mut disk, "now");
        assert_eq!(disk["properties"]["tier"], "P4");
        assert_eq!(disk["properties"]["diskIOPSReadWrite"], 120);
        // As `az` sends it: all that was read, and the new size.
        let mut larger = disk.clone();
        larger["properties"]["diskSizeGB"] = json!(512);
        let disk = changed(&disk, &larger).unwrap();
        assert_eq!(disk["properties"]["tier"], "P20");
        assert_eq!(disk["properties"]["diskIOPSReadWrite"], 2300);
        let disk = changed(&disk, &json!({ "properties": { "tier": "P30" } })).unwrap();
        assert_eq!(disk["properties"]["tier"], "P30");
        assert_eq!(disk["properties"]["diskIOPSReadWrite"], 5000);
        for bad in ["P10", "E4"] {
            let refused = changed(&disk, &json!({ "properties": { "tier": bad } }));
            assert_eq!(refused.unwrap_err().code, "InvalidParameter");
        }
        let disk = changed(&disk, &json!({ "sku": { "name": "StandardSSD_LRS" } })).unwrap();
        assert!(disk["properties"].get("tier").is_none());
        assert_eq!(disk["properties"]["diskIOPSReadWrite"], 500);
        assert_eq!(
            (&disk["properties"]["timeCreated"], &disk["sku"]["tier"]),
            (&json!("now"), &json!("Standard"))
        );
    }
}
