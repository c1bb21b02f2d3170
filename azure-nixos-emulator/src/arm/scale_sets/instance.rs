//! A new machine of a Flexible scale set: its addresses, its interfaces, itself.

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::id::{Kind, ResourceId};
use super::super::inner_request;
use super::super::zones;
use super::flexible;
use crate::state::{Inner, Resource, Secrets};

/// The versions of the requests by which a set makes what it is made of.
const COMPUTE: &str = "2024-07-01";
const NETWORK: &str = "2024-01-01";

/// What is being made: the set, and the name that the parts of one machine share.
struct Plan<'a> {
    id: ResourceId,
    set: &'a Resource,
    /// Eight hexadecimal digits, as documented of machines and recorded of interfaces.
    suffix: String,
    zone: Option<String>,
    /// What was made for the machine, should it be refused.
    made: Vec<String>,
}

/// Makes a machine of a set, by the requests that anybody would make one by. What was made for it goes
/// again where it is refused.
pub(super) fn make(context: &mut Context<'_>, set: &Resource) -> Result<()> {
    let id = ResourceId::parse(&set.id)
        .ok_or_else(|| ArmError::internal("read the id of a scale set", &set.id))?;
    let zone = next_zone(context, set);
    let mut plan = Plan {
        suffix: suffix(context, &id),
        id,
        set,
        zone,
        made: Vec::new(),
    };
    let made = plan.make(context);
    if made.is_err() {
        for part in plan.made.iter().rev() {
            context.state.remove(part);
        }
    }
    made
}

/// The zone of the set that the fewest machines are in.
fn next_zone(context: &Context<'_>, set: &Resource) -> Option<String> {
    let zone = zones::of(&set.body).into_iter().min_by_key(|zone| {
        flexible::machines(context.state, &set.id)
            .filter(|machine| zones::one_of(&machine.body) == Some(zone))
            .count()
    });
    zone.map(ToOwned::to_owned)
}

/// Digits that no machine of the set has.
fn suffix(context: &Context<'_>, set: &ResourceId) -> String {
    loop {
        let mut digits = Uuid::new_v4().simple().to_string();
        digits.truncate(8);
        let machine = ResourceId {
            kind: Kind::Vm,
            name: format!("{}_{digits}", set.name),
            ..set.clone()
        };
        if context.state.resource(&machine.to_string()).is_none() {
            return digits;
        }
    }
}

/// Six letters or digits for a host name. Azure's are as many; which they are is not known.
fn host_suffix(suffix: &str) -> String {
    let number = u32::from_str_radix(suffix, 16).unwrap_or_default();
    super::instances::base36(number)
}

impl Plan<'_> {
    fn make(&mut self, context: &mut Context<'_>) -> Result<()> {
        let profile = &self.set.body["properties"]["virtualMachineProfile"];
        let configurations = &profile["networkProfile"]["networkInterfaceConfigurations"];
        let mut interfaces = Vec::new();
        for configuration in configurations.as_array().into_iter().flatten() {
            interfaces.push(self.interface(context, configuration)?);
        }
        let machine = self.machine(profile, interfaces);
        let id = self.at(Kind::Vm, &format!("{}_{}", self.id.name, self.suffix));
        inner_request::put(context, &id, COMPUTE, &machine, false)?;
        Ok(())
    }

    /// The id of a part of the machine.
    fn at(&self, kind: Kind, name: &str) -> String {
        let id = ResourceId {
            kind,
            name: name.to_owned(),
            ..self.id.clone()
        };
        id.to_string()
    }

    /// A document with what all parts have.
    fn document(&self, properties: Value, tags: &Value) -> Value {
        let mut document = json!({
            "location": self.set.body["location"],
            "properties": properties,
        });
        // Those of a configuration are the part's own.
        let own = if tags.is_null() {
            &self.set.body["tags"]
        } else {
            tags
        };
        if !own.is_null() {
            document["tags"] = own.clone();
        }
        document
    }

    /// Makes a network resource, which is there at once: the machine is made on it.
    fn network(
        &mut self,
        context: &mut Context<'_>,
        kind: Kind,
        name: &str,
        document: &Value,
    ) -> Result<String> {
        let id = self.at(kind, &format!("{name}-{}", self.suffix));
        let answer = inner_request::put(context, &id, NETWORK, document, false)?;
        self.made.push(id.clone());
        if let Some(operation) = inner_request::operation_of(&answer) {
            context.end_now(operation);
        }
        Ok(id)
    }

    fn interface(&mut self, context: &mut Context<'_>, configuration: &Value) -> Result<Value> {
        let given = &configuration["properties"];
        let mut properties = json!({});
        for field in [
            "enableAcceleratedNetworking",
            "disableTcpStateTracking",
            "enableIPForwarding",
            "networkSecurityGroup",
            "dnsSettings",
            "dscpConfiguration",
            "auxiliaryMode",
            "auxiliarySku",
        ] {
            if let Some(value) = given.get(field) {
                properties[field] = value.clone();
            }
        }
        let mut addresses = Vec::new();
        for ip in given["ipConfigurations"].as_array().into_iter().flatten() {
            let mut own = ip["properties"].clone();
            let public = own
                .as_object_mut()
                .and_then(|own| own.remove("publicIPAddressConfiguration"));
            if let Some(public) = public.filter(|public| !public.is_null()) {
                own["publicIPAddress"] = json!({ "id": self.address(context, &public)? });
            }
            addresses.push(json!({ "name": ip["name"], "properties": own }));
        }
        properties["ipConfigurations"] = json!(addresses);
        let document = self.document(properties, &configuration["tags"]);
        let name = configuration["name"].as_str().unwrap_or_default();
        let id = self.network(context, Kind::Nic, name, &document)?;
        Ok(json!({
            "id": id,
            "properties": { "primary": given["primary"], "deleteOption": given["deleteOption"] },
        }))
    }

    /// A public address. Those of Flexible sets are of the Standard SKU where nothing else is said, which
    /// is taken from their other networks; that they go with the interface, too.
    fn address(&mut self, context: &mut Context<'_>, configuration: &Value) -> Result<String> {
        let mut properties = configuration["properties"].clone();
        if !properties.is_object() {
            properties = json!({});
        }
        for (field, value) in [
            ("deleteOption", json!("Delete")),
            ("publicIPAllocationMethod", json!("Static")),
        ] {
            if properties.get(field).is_none() {
                properties[field] = value;
            }
        }
        if let Some(label) = properties.pointer_mut("/dnsSettings/domainNameLabel") {
            let own = format!("{}-{}", label.as_str().unwrap_or_default(), self.suffix);
            *label = json!(own);
        }
        let mut document = self.document(properties, &configuration["tags"]);
        document["sku"] = match configuration.get("sku") {
            Some(sku) => sku.clone(),
            None => json!({ "name": "Standard" }),
        };
        if let Some(zone) = &self.zone {
            document["zones"] = json!([zone]);
        }
        let name = configuration["name"].as_str().unwrap_or_default();
        self.network(context, Kind::PublicIp, name, &document)
    }

    fn machine(&self, profile: &Value, interfaces: Vec<Value>) -> Value {
        let set = &self.set.body;
        let mut properties = json!({});
        for (field, value) in flexible::shared(profile) {
            properties[field] = value.clone();
        }
        properties["hardwareProfile"]["vmSize"] = set["sku"]["name"].clone();
        properties["networkProfile"] = json!({ "networkInterfaces": interfaces });
        properties["virtualMachineScaleSet"] = json!({ "id": self.set.id });
        let none = Secrets::default();
        let secrets = match &self.set.inner {
            Inner::ScaleSet(inner) => &inner.secrets,
            _ => &none,
        };
        if let Some(data) = &secrets.user_data {
            properties["userData"] = json!(data);
        }
        if let Some(os) = profile["osProfile"].as_object() {
            let mut os = os.clone();
            let prefix = os.remove("computerNamePrefix").unwrap_or_default();
            let host = format!(
                "{}{}",
                prefix.as_str().unwrap_or_default(),
                host_suffix(&self.suffix)
            );
            os.insert("computerName".to_owned(), json!(host));
            for (field, secret) in [
                ("adminPassword", &secrets.admin_password),
                ("customData", &secrets.custom_data),
            ] {
                if let Some(secret) = secret {
                    os.insert(field.to_owned(), json!(secret));
                }
            }
            properties["osProfile"] = Value::Object(os);
        }
        let mut document = self.document(properties, &Value::Null);
        document["managedBy"] = json!(self.set.id);
        if let Some(zone) = &self.zone {
            document["zones"] = json!([zone]);
        }
        if let Some(assigned) = set["identity"]["userAssignedIdentities"].as_object() {
            let assigned: serde_json::Map<String, Value> =
                assigned.keys().map(|id| (id.clone(), json!({}))).collect();
            document["identity"] =
                json!({ "type": "UserAssigned", "userAssignedIdentities": assigned });
        }
        document
    }
}
