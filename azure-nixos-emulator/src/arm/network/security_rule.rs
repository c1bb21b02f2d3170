//! The rules of a network security group, one by one.
//!
//! A rule is a part of its group's document: what is written here is what a GET of the group shows.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::disks::gone;
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId, same};
use super::super::lro::{Dialect, Work};
use super::super::route::nothing_there;
use super::nsg::{RULE, check_conflicts, finish_rule};
use crate::state::Resource;

/// `GET …/securityRules` and `GET …/defaultSecurityRules`; `list` is which, in Azure's spelling.
pub(crate) fn list(context: &mut Context<'_>, group: &str, nsg: &str, list: &str) -> Result {
    let nsg = context.existing(group, Kind::Nsg, nsg)?;
    Ok(Answer::json(
        200,
        json!({ "value": nsg.body["properties"][list] }),
    ))
}

/// `GET …/defaultSecurityRules/{name}`
pub(crate) fn get_default(context: &mut Context<'_>, group: &str, nsg: &str, name: &str) -> Result {
    let nsg = context.existing(group, Kind::Nsg, nsg)?.clone();
    get(&nsg, "defaultSecurityRules", name)
}

/// Everything on one rule.
pub(crate) fn answer(
    context: &mut Context<'_>,
    method: &str,
    group: &str,
    nsg: &str,
    name: &str,
) -> Result {
    let nsg = context.existing(group, Kind::Nsg, nsg)?.clone();
    match method {
        "GET" => get(&nsg, "securityRules", name),
        "PUT" => put(context, nsg, name),
        "DELETE" => {
            if find(&nsg.body, "securityRules", name).is_none() {
                return nothing_there();
            }
            let work = Work::SecurityRuleDeleted(name.to_owned());
            begin(context, 202, &nsg, work, None)
        }
        _ => Err(ArmError::no_such_method(method)),
    }
}

fn get(nsg: &Resource, list: &str, name: &str) -> Result {
    find(&nsg.body, list, name)
        .map(|rule| Answer::json(200, rule.clone()))
        .ok_or_else(|| {
            ArmError::network(
                404,
                "NotFound",
                format!("Resource {}/{list}/{name} not found.", nsg.id),
            )
        })
}

fn find<'a>(nsg: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    nsg["properties"][list]
        .as_array()?
        .iter()
        .find(|rule| same(rule["name"].as_str().unwrap_or_default(), name))
}

fn put(context: &mut Context<'_>, mut nsg: Resource, name: &str) -> Result {
    let mut rule = context.call.json()?;
    RULE.check(&mut rule)?;
    rule["name"] = json!(name);
    let id = ResourceId::parse(&nsg.id).ok_or_else(|| gone(&nsg.id))?;
    finish_rule(&id, &mut rule)?;
    context.refuse_while_busy(&nsg.id, Origin::Network)?;
    let is_new = find(&nsg.body, "securityRules", name).is_none();
    let Some(rules) = nsg.body["properties"]["securityRules"].as_array_mut() else {
        return Err(gone(&nsg.id));
    };
    rules.retain(|other| !same(other["name"].as_str().unwrap_or_default(), name));
    rules.push(rule);
    check_conflicts(rules)?;
    super::stamp(&mut nsg.body, "Updating");
    let shown = find(&nsg.body, "securityRules", name).cloned();
    context.state.insert(nsg.clone());
    let status = if is_new { 201 } else { 200 };
    begin(context, status, &nsg, Work::NetworkUpdated, shown)
}

fn begin(
    context: &mut Context<'_>,
    status: u16,
    nsg: &Resource,
    work: Work,
    body: Option<Value>,
) -> Result {
    context.refuse_while_busy(&nsg.id, Origin::Network)?;
    let location = nsg.body["location"].as_str().unwrap_or_default().to_owned();
    let operation = context.begin(Dialect::Network, &location, &nsg.id, work);
    Ok(context.accepted(status, operation, body))
}

/// The end of the deletion of a rule.
pub(crate) fn deleted(context: &mut Context<'_>, id: &str, name: &str) -> Result<Option<Value>> {
    let rules = context
        .state
        .resource_mut(id)
        .and_then(|nsg| nsg.body["properties"]["securityRules"].as_array_mut());
    if let Some(rules) = rules {
        rules.retain(|rule| !same(rule["name"].as_str().unwrap_or_default(), name));
    }
    Ok(None)
}
