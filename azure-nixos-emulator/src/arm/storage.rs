//! Storage accounts: their keys and their endpoints. What is in them is the data plane's.
//!
//! Making one is the only long-running operation, and has a form of its own: 202 with nothing but
//! `Location`, and then the account itself. Everything else is done when it is answered. Endpoints
//! are shown where they work here, and only the blobs' is there.

use axum::http::Method;
use serde_json::{Value, json};

use super::Context;
use super::answer::{Answer, Result};
use super::clock_text::timestamp;
use super::disks::EXTENDED_LOCATION;
use super::error::ArmError;
use super::id::{Kind, ResourceId, leaf};
use super::lro::{Dialect, Work};
use super::resources::{check_tags, identify};
use super::route::nothing_there;
use super::shape::{Shape, TAGS, TEXTS};
use crate::state::{Inner, Resource};

const SKU: Shape = Shape::Object(&[
    (
        "name!",
        Shape::OneOf(&[
            "Standard_LRS",
            "Standard_GRS",
            "Standard_RAGRS",
            "Standard_ZRS",
            "Standard_GZRS",
            "Standard_RAGZRS",
            "Premium_LRS",
            "Premium_ZRS",
            "StandardV2_LRS",
            "StandardV2_GRS",
            "StandardV2_ZRS",
            "StandardV2_GZRS",
            "PremiumV2_LRS",
            "PremiumV2_ZRS",
        ]),
    ),
    ("tier", Shape::Text),
]);

const KINDS: Shape = Shape::OneOf(&[
    "Storage",
    "StorageV2",
    "BlobStorage",
    "FileStorage",
    "BlockBlobStorage",
]);

const PROPERTIES: Shape = Shape::Object(&[
    (
        "accessTier",
        Shape::OneOf(&["Hot", "Cool", "Premium", "Cold"]),
    ),
    ("allowBlobPublicAccess", Shape::Flag),
    ("allowCrossTenantReplication", Shape::Flag),
    ("allowSharedKeyAccess", Shape::Flag),
    ("allowedCopyScope", Shape::OneOf(&["PrivateLink", "AAD"])),
    ("azureFilesIdentityBasedAuthentication", Shape::Any),
    ("customDomain", Shape::Any),
    ("defaultToOAuthAuthentication", Shape::Flag),
    (
        "dnsEndpointType",
        Shape::OneOf(&["Standard", "AzureDnsZone"]),
    ),
    ("dualStackEndpointPreference", Shape::Any),
    ("enableExtendedGroups", Shape::Flag),
    ("encryption", Shape::Any),
    ("immutableStorageWithVersioning", Shape::Any),
    ("isHnsEnabled", Shape::Flag),
    ("isLocalUserEnabled", Shape::Flag),
    ("isNfsV3Enabled", Shape::Flag),
    ("isSftpEnabled", Shape::Flag),
    ("keyPolicy", Shape::Any),
    (
        "largeFileSharesState",
        Shape::OneOf(&["Disabled", "Enabled"]),
    ),
    (
        "minimumTlsVersion",
        Shape::OneOf(&["TLS1_0", "TLS1_1", "TLS1_2", "TLS1_3"]),
    ),
    ("networkAcls", Shape::Any),
    (
        "publicNetworkAccess",
        Shape::OneOf(&["Enabled", "Disabled", "SecuredByPerimeter"]),
    ),
    ("routingPreference", Shape::Any),
    ("sasPolicy", Shape::Any),
    ("supportsHttpsTrafficOnly", Shape::Flag),
    // What only the service sets, as a document that was read before has it.
    ("creationTime", Shape::Text),
    ("keyCreationTime", Shape::Any),
    ("primaryEndpoints", Shape::Any),
    ("primaryLocation", Shape::Text),
    ("privateEndpointConnections", Shape::Any),
    ("provisioningState", Shape::Text),
    ("statusOfPrimary", Shape::Text),
]);

/// Properties that only the service sets: what a client sends for them is not kept.
const READ_ONLY: &[&str] = &[
    "creationTime",
    "keyCreationTime",
    "primaryEndpoints",
    "primaryLocation",
    "privateEndpointConnections",
    "provisioningState",
    "statusOfPrimary",
];

const ACCOUNT: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("sku!", SKU),
    ("kind!", KINDS),
    ("identity", Shape::Any),
    ("extendedLocation", EXTENDED_LOCATION),
    ("zones", TEXTS),
    ("placement", Shape::Any),
    ("properties", PROPERTIES),
]);

const ACCOUNT_PATCH: Shape = Shape::Object(&[
    ("tags", TAGS),
    ("sku", SKU),
    ("kind", KINDS),
    ("identity", Shape::Any),
    ("zones", TEXTS),
    ("placement", Shape::Any),
    ("properties", PROPERTIES),
]);

const NAME: Shape = Shape::Object(&[("name!", Shape::Text), ("type!", Shape::Text)]);
const KEY: Shape = Shape::Object(&[("keyName!", Shape::Text)]);

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::StorageAccount, name, &ACCOUNT)?;
    let mut body = put.body;
    prepare(&mut body)?;
    if let Some(existing) = put.existing {
        return update(context, existing, body);
    }
    if taken(context, name) {
        return Err(already_taken(name));
    }
    let keys_made = timestamp(context.now).replace("+00:00", "Z");
    identify(&mut body, &put.id);
    let tier = if body["sku"]["name"]
        .as_str()
        .is_some_and(|name| name.starts_with("Premium"))
    {
        "Premium"
    } else {
        "Standard"
    };
    body["sku"]["tier"] = json!(tier);
    let location = body["location"].as_str().unwrap_or_default().to_owned();
    let encrypted = json!({ "keyType": "Account", "enabled": true, "lastEnabledTime": keys_made });
    for (name, value) in [
        (
            "keyCreationTime",
            json!({ "key1": keys_made, "key2": keys_made }),
        ),
        ("allowCrossTenantReplication", json!(false)),
        ("privateEndpointConnections", json!([])),
        ("minimumTlsVersion", json!("TLS1_0")),
        ("allowBlobPublicAccess", json!(false)),
        (
            "networkAcls",
            json!({
                "ipv6Rules": [],
                "bypass": "AzureServices",
                "virtualNetworkRules": [],
                "ipRules": [],
                "defaultAction": "Allow",
            }),
        ),
        ("supportsHttpsTrafficOnly", json!(true)),
        (
            "encryption",
            json!({
                "services": { "file": encrypted, "blob": encrypted },
                "keySource": "Microsoft.Storage",
            }),
        ),
        ("accessTier", json!("Hot")),
        ("provisioningState", json!("ResolvingDNS")),
        ("creationTime", json!(keys_made)),
        ("primaryLocation", json!(location)),
        ("statusOfPrimary", json!("available")),
    ] {
        if name == "accessTier" && body["kind"] == "Storage" {
            continue;
        }
        if body["properties"].get(name).is_none() {
            body["properties"][name] = value;
        }
    }
    let id = put.id.to_string();
    let blobs = context.arm.blobs();
    let failed = |error| ArmError::internal("make a storage account", error);
    if !context.arm.is_losing() {
        blobs.create_account(name).map_err(failed)?;
    }
    apply(context, name, &body)?;
    context.state.insert(Resource {
        id: id.clone(),
        body,
        inner: Inner::Plain,
    });
    let operation = context.begin(Dialect::Storage, &location, &id, Work::StorageCreated);
    Ok(context.accepted(202, operation, None))
}

/// Drops what is not a client's to set, and refuses what there is not here.
fn prepare(body: &mut Value) -> Result<()> {
    if body.get("properties").is_none() {
        body["properties"] = json!({});
    }
    if let Some(properties) = body["properties"].as_object_mut() {
        properties.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    }
    for (field, what) in [
        ("isHnsEnabled", "storage accounts with directories"),
        ("isNfsV3Enabled", "storage accounts with NFS"),
        ("isSftpEnabled", "storage accounts with SFTP"),
    ] {
        if body["properties"][field] == true {
            return Err(ArmError::not_implemented(what));
        }
    }
    Ok(())
}

/// Tells the data plane what it has to know.
fn apply(context: &Context<'_>, name: &str, body: &Value) -> Result<()> {
    if context.arm.is_losing() {
        return Ok(());
    }
    let properties = &body["properties"];
    context
        .arm
        .blobs()
        .set_account_access(
            name,
            properties["allowBlobPublicAccess"] == true,
            properties["allowSharedKeyAccess"] != false,
        )
        .map_err(|error| ArmError::internal("change a storage account", error))
}

/// Whether any account has the name: there is one place for them in the world.
fn taken(context: &Context<'_>, name: &str) -> bool {
    context.state.resources.values().any(|resource| {
        ResourceId::parse(&resource.id)
            .is_some_and(|id| id.kind == Kind::StorageAccount && id.name.eq_ignore_ascii_case(name))
    })
}

fn already_taken(name: &str) -> ArmError {
    ArmError::compute(
        409,
        "StorageAccountAlreadyTaken",
        format!("The storage account named {name} is already taken."),
    )
}

fn update(context: &mut Context<'_>, mut existing: Resource, body: Value) -> Result {
    let name = leaf(&existing.id).to_owned();
    let (old, new) = (&existing.body["kind"], &body["kind"]);
    if !new.is_null() && old != new && !(old == "Storage" && new == "StorageV2") {
        return Err(ArmError::property_change("kind"));
    }
    for field in ["tags", "kind", "identity"] {
        if let Some(value) = body.get(field) {
            existing.body[field] = value.clone();
        }
    }
    if let Some(sku) = body["sku"].get("name") {
        existing.body["sku"]["name"] = sku.clone();
    }
    for (field, value) in body["properties"].as_object().into_iter().flatten() {
        existing.body["properties"][field] = value.clone();
    }
    apply(context, &name, &existing.body)?;
    let shown = context.shown_resource(&existing);
    context.state.insert(existing);
    Ok(Answer::json(200, shown))
}

pub(crate) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    ACCOUNT_PATCH.check(&mut body)?;
    check_tags(&body)?;
    prepare(&mut body)?;
    let existing = context.existing(group, Kind::StorageAccount, name)?.clone();
    update(context, existing, body)
}

/// The end of the making of an account.
pub(crate) fn created(context: &mut Context<'_>, id: &str) -> Result<Option<Value>> {
    let Some(account) = context.state.resource_mut(id) else {
        return Err(super::disks::gone(id));
    };
    account.body["properties"]["provisioningState"] = json!("Succeeded");
    let account = account.clone();
    Ok(Some(context.shown_resource(&account)))
}

/// Adds the endpoint, which is where this start has it.
pub(crate) fn show(context: &Context<'_>, body: &mut Value) {
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    let endpoint = context.arm.settings().blob_urls.account(&name);
    body["properties"]["primaryEndpoints"] = json!({ "blob": endpoint });
}

pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(account) = context.existing(group, Kind::StorageAccount, name).cloned() else {
        return nothing_there();
    };
    context.preempt(&account.id);
    removed(context, &account)?;
    context.state.remove(&account.id);
    Ok(Answer::empty(200))
}

/// Deletes what is in an account.
pub(crate) fn removed(context: &Context<'_>, account: &Resource) -> Result<()> {
    if context.arm.is_losing() {
        return Ok(());
    }
    let name = account.body["name"].as_str().unwrap_or_default();
    context
        .arm
        .blobs()
        .delete_account(name)
        .map_err(|error| ArmError::internal("delete a storage account", error))
}

/// `POST …/listKeys`
pub(crate) fn list_keys(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let account = context.existing(group, Kind::StorageAccount, name)?;
    let keys = context
        .arm
        .blobs()
        .account_keys(account.body["name"].as_str().unwrap_or_default())
        .map_err(|error| ArmError::internal("read the keys of a storage account", error))?;
    Ok(Answer::json(200, shown_keys(account, &keys)))
}

/// `POST …/regenerateKey`
pub(crate) fn regenerate_key(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    KEY.check(&mut body)?;
    let key = body["keyName"].as_str().unwrap_or_default().to_owned();
    let which = match key.as_str() {
        "key1" => 0,
        "key2" => 1,
        _ => {
            return Err(ArmError::compute(
                400,
                "KeyNotFound",
                format!("The key '{key}' was not found: an account has 'key1' and 'key2'."),
            ));
        }
    };
    let id = context
        .existing(group, Kind::StorageAccount, name)?
        .id
        .clone();
    let now = timestamp(context.now).replace("+00:00", "Z");
    let keys = context
        .arm
        .blobs()
        .regenerate_key(name, which)
        .map_err(|error| ArmError::internal("make a new key of a storage account", error))?;
    let Some(account) = context.state.resource_mut(&id) else {
        return Err(super::disks::gone(&id));
    };
    account.body["properties"]["keyCreationTime"][&key] = json!(now);
    Ok(Answer::json(200, shown_keys(account, &keys)))
}

fn shown_keys(account: &Resource, keys: &[String; 2]) -> Value {
    let made = &account.body["properties"]["keyCreationTime"];
    let keys: Vec<Value> = ["key1", "key2"]
        .into_iter()
        .zip(keys)
        .map(|(name, value)| {
            json!({
                "creationTime": made[name],
                "keyName": name,
                "value": value,
                "permissions": "FULL",
            })
        })
        .collect();
    json!({ "keys": keys })
}

/// `POST /subscriptions/{id}/providers/Microsoft.Storage/checkNameAvailability`
pub(crate) fn check_name(context: &Context<'_>) -> Result {
    if context.call.method != Method::POST {
        return Err(ArmError::no_such_method(context.call.method.as_str()));
    }
    let mut body = context.call.json()?;
    NAME.check(&mut body)?;
    let name = body["name"].as_str().unwrap_or_default();
    let answer = if let Err(invalid) = super::names::check(Kind::StorageAccount, name) {
        json!({
            "nameAvailable": false,
            "reason": "AccountNameInvalid",
            "message": invalid.message,
        })
    } else if taken(context, name) {
        json!({
            "nameAvailable": false,
            "reason": "AlreadyExists",
            "message": already_taken(name).message,
        })
    } else {
        json!({ "nameAvailable": true })
    };
    Ok(Answer::json(200, answer))
}
