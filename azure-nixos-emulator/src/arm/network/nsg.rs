//! Network security groups.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId, same};
use super::super::names;
use super::super::shape::{REFERENCES, Shape, TAGS, TEXTS};
use crate::state::State;

pub(super) const RULE: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    (
        "properties",
        Shape::Object(&[
            ("description", Shape::Text),
            (
                "protocol!",
                Shape::OneOf(&["Tcp", "Udp", "Icmp", "Esp", "*", "Ah"]),
            ),
            ("sourcePortRange", Shape::Text),
            ("destinationPortRange", Shape::Text),
            ("sourceAddressPrefix", Shape::Text),
            ("sourceAddressPrefixes", TEXTS),
            ("sourceApplicationSecurityGroups", REFERENCES),
            ("destinationAddressPrefix", Shape::Text),
            ("destinationAddressPrefixes", TEXTS),
            ("destinationApplicationSecurityGroups", REFERENCES),
            ("sourcePortRanges", TEXTS),
            ("destinationPortRanges", TEXTS),
            ("access!", Shape::OneOf(&["Allow", "Deny"])),
            ("priority!", Shape::Number),
            ("direction!", Shape::OneOf(&["Inbound", "Outbound"])),
            ("provisioningState", Shape::Text),
        ]),
    ),
]);

const NSG: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("etag", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    (
        "properties",
        Shape::Object(&[
            ("flushConnection", Shape::Flag),
            ("securityRules", Shape::List(&RULE)),
            ("defaultSecurityRules", Shape::Any),
            ("networkInterfaces", REFERENCES),
            ("subnets", REFERENCES),
            ("flowLogs", REFERENCES),
            ("resourceGuid", Shape::Text),
            ("provisioningState", Shape::Text),
        ]),
    ),
]);

/// The rules every group ends with: name, description, source, destination, access, priority,
/// direction. Protocol and ports are any.
const DEFAULTS: [(&str, &str, &str, &str, &str, u32, &str); 6] = [
    (
        "AllowVnetInBound",
        "Allow inbound traffic from all VMs in VNET",
        "VirtualNetwork",
        "VirtualNetwork",
        "Allow",
        65000,
        "Inbound",
    ),
    (
        "AllowAzureLoadBalancerInBound",
        "Allow inbound traffic from azure load balancer",
        "AzureLoadBalancer",
        "*",
        "Allow",
        65001,
        "Inbound",
    ),
    (
        "DenyAllInBound",
        "Deny all inbound traffic",
        "*",
        "*",
        "Deny",
        65500,
        "Inbound",
    ),
    (
        "AllowVnetOutBound",
        "Allow outbound traffic from all VMs to all VMs in VNET",
        "VirtualNetwork",
        "VirtualNetwork",
        "Allow",
        65000,
        "Outbound",
    ),
    (
        "AllowInternetOutBound",
        "Allow outbound traffic from all VMs to Internet",
        "*",
        "Internet",
        "Allow",
        65001,
        "Outbound",
    ),
    (
        "DenyAllOutBound",
        "Deny all outbound traffic",
        "*",
        "*",
        "Deny",
        65500,
        "Outbound",
    ),
];

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::Nsg, name, &NSG)?;
    context.refuse_while_busy(&put.id.to_string(), Origin::Network)?;
    let mut body = put.body.clone();
    let mut rules = match body["properties"]["securityRules"].take() {
        Value::Array(rules) => rules,
        _ => Vec::new(),
    };
    for rule in &mut rules {
        finish_rule(&put.id, rule)?;
    }
    check_conflicts(&rules)?;
    body["properties"] = json!({
        "securityRules": rules,
        "defaultSecurityRules": default_rules(&put.id),
    });
    super::store(context, &put, body, "Updating")
}

/// Checks a rule and adds what the service echoes.
pub(super) fn finish_rule(nsg: &ResourceId, rule: &mut Value) -> Result<()> {
    let name = rule["name"].as_str().unwrap_or_default().to_owned();
    names::check_part("security rule", &name)?;
    if rule["properties"].is_null() {
        return Err(ArmError::network(
            400,
            "SecurityRuleParameterNotSpecified",
            format!("Security rule {name} has no properties."),
        ));
    }
    let properties = &mut rule["properties"];
    let priority = properties["priority"].as_i64().unwrap_or_default();
    if !(100..=4096).contains(&priority) {
        return Err(ArmError::network(
            400,
            "SecurityRuleInvalidPriority",
            format!(
                "Security rule has invalid Priority. Value provided: {priority} Allowed range 100-4096."
            ),
        ));
    }
    for (one, many, groups) in [
        ("sourcePortRange", "sourcePortRanges", None),
        ("destinationPortRange", "destinationPortRanges", None),
        (
            "sourceAddressPrefix",
            "sourceAddressPrefixes",
            Some("sourceApplicationSecurityGroups"),
        ),
        (
            "destinationAddressPrefix",
            "destinationAddressPrefixes",
            Some("destinationApplicationSecurityGroups"),
        ),
    ] {
        let has_many = [Some(many), groups].into_iter().flatten().any(|field| {
            properties[field]
                .as_array()
                .is_some_and(|values| !values.is_empty())
        });
        let has_one = properties[one]
            .as_str()
            .is_some_and(|value| !value.is_empty());
        if !has_one && !has_many {
            return Err(ArmError::network(
                400,
                "SecurityRuleParameterNotSpecified",
                format!(
                    "Required security rule parameters are not specified for security rule with Id: {nsg}/securityRules/{name} {one}."
                ),
            ));
        }
        if one.ends_with("PortRange") {
            let mut ranges = properties[many].as_array().into_iter().flatten();
            let bad = properties[one]
                .as_str()
                .into_iter()
                .chain(ranges.by_ref().filter_map(Value::as_str))
                .find(|range| !is_port_range(range));
            if let Some(range) = bad {
                return Err(ArmError::network(
                    400,
                    "SecurityRuleInvalidPortRange",
                    format!(
                        "Security rule has invalid Port range. Value provided: {range}. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535."
                    ),
                ));
            }
        }
        if properties.get(many).is_none() {
            properties[many] = json!([]);
        }
    }
    check_addresses(&name, properties)?;
    rule["id"] = json!(format!("{nsg}/securityRules/{name}"));
    rule["type"] = json!("Microsoft.Network/networkSecurityGroups/securityRules");
    Ok(())
}

/// Addresses are `*`, an address, a prefix or the tag of a service. Those of a rule are of one
/// version of IP, as the documentation says; the code for that is a guess.
fn check_addresses(name: &str, properties: &Value) -> Result<()> {
    let mut versions = Vec::new();
    for field in [
        "sourceAddressPrefix",
        "sourceAddressPrefixes",
        "destinationAddressPrefix",
        "destinationAddressPrefixes",
    ] {
        let many = properties[field].as_array().into_iter().flatten();
        let texts = std::iter::once(&properties[field]).chain(many);
        for text in texts
            .filter_map(Value::as_str)
            .filter(|text| !text.is_empty())
        {
            let Some(address) = address_of(text) else {
                return Err(ArmError::network(
                    400,
                    "SecurityRuleInvalidAddressPrefix",
                    format!("Security rule has invalid Address prefix. Value provided: {text}"),
                ));
            };
            versions.extend(address.map(|address| address.is_ipv4()));
        }
    }
    if versions.contains(&true) && versions.contains(&false) {
        return Err(ArmError::network(
            400,
            "SecurityRuleAddressPrefixesMustBeOfSameIPVersion",
            format!("Security rule {name} has address prefixes of both IPv4 and IPv6."),
        ));
    }
    Ok(())
}

/// The address of a prefix, `None` inside where it is a tag or all; `None` where it is neither.
fn address_of(text: &str) -> Option<Option<IpAddr>> {
    let is_tag = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
    if text == "*" || (is_tag && text.parse::<IpAddr>().is_err()) {
        return Some(None);
    }
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length: u32 = length.parse().ok()?;
    (length <= most).then_some(Some(address))
}

/// `*`, `22` or `8000-8100`.
fn is_port_range(range: &str) -> bool {
    let (from, to) = range.split_once('-').unwrap_or((range, range));
    range == "*"
        || matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(from), Ok(to)) if from <= to)
}

pub(super) fn check_conflicts(rules: &[Value]) -> Result<()> {
    for (index, rule) in rules.iter().enumerate() {
        for other in &rules[..index] {
            let (a, b) = (&rule["properties"], &other["properties"]);
            if a["priority"] == b["priority"] && a["direction"] == b["direction"] {
                return Err(ArmError::network(
                    400,
                    "SecurityRuleConflict",
                    format!(
                        "Security rule {} conflicts with rule {}. Rules cannot have the same Priority and Direction. To learn more, see aka.ms/nsgrules.",
                        rule["name"].as_str().unwrap_or_default(),
                        other["name"].as_str().unwrap_or_default()
                    ),
                ));
            }
        }
    }
    Ok(())
}

fn default_rules(nsg: &ResourceId) -> Vec<Value> {
    DEFAULTS
        .iter()
        .map(
            |(name, description, source, destination, access, priority, direction)| {
                json!({
                    "name": name,
                    "id": format!("{nsg}/defaultSecurityRules/{name}"),
                    "type": "Microsoft.Network/networkSecurityGroups/defaultSecurityRules",
                    "properties": {
                        "description": description,
                        "protocol": "*",
                        "sourcePortRange": "*",
                        "destinationPortRange": "*",
                        "sourceAddressPrefix": source,
                        "destinationAddressPrefix": destination,
                        "access": access,
                        "priority": priority,
                        "direction": direction,
                        "sourcePortRanges": [],
                        "destinationPortRanges": [],
                        "sourceAddressPrefixes": [],
                        "destinationAddressPrefixes": [],
                    },
                })
            },
        )
        .collect()
}

pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    super::delete(context, group, Kind::Nsg, name, |context, nsg| {
        let (interfaces, subnets) = users(context.state, &nsg.id);
        let users: Vec<String> = interfaces.into_iter().chain(subnets).collect();
        if users.is_empty() {
            return Ok(());
        }
        Err(ArmError::network(
            400,
            "InUseNetworkSecurityGroupCannotBeDeleted",
            format!(
                "Network security group {} cannot be deleted because it is in use by the following resources: {}. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg.",
                nsg.id,
                users.join(", ")
            ),
        ))
    })
}

/// The interfaces and the subnets that a group is set on.
fn users(state: &State, id: &str) -> (Vec<String>, Vec<String>) {
    let is_it = |holder: &Value| {
        same(
            holder["properties"]["networkSecurityGroup"]["id"]
                .as_str()
                .unwrap_or_default(),
            id,
        )
    };
    let name = |holder: &Value| holder["id"].as_str().unwrap_or_default().to_owned();
    let bodies = || state.resources.values().map(|resource| &resource.body);
    let interfaces = bodies().filter(|body| is_it(body)).map(name).collect();
    let subnets = bodies()
        .filter_map(|body| body["properties"]["subnets"].as_array())
        .flatten()
        .filter(|subnet| is_it(subnet))
        .map(name)
        .collect();
    (interfaces, subnets)
}

/// Adds where the group is set.
pub(crate) fn show(state: &State, id: &str, body: &mut Value) {
    let (interfaces, subnets) = users(state, id);
    for (field, users) in [("networkInterfaces", interfaces), ("subnets", subnets)] {
        if !users.is_empty() {
            let users: Vec<Value> = users.into_iter().map(|id| json!({ "id": id })).collect();
            body["properties"][field] = json!(users);
        }
    }
}
