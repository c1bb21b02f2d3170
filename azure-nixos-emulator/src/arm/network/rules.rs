//! The rules of a security group, one at a time.

use serde_json::{Value, json};

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::disks::gone;
use super::super::error::{ArmError, Origin};
use super::super::id::{Kind, ResourceId, same};
use super::super::lro::{Dialect, Work};
use super::super::route::nothing_there;
use super::nsg;
use crate::state::Resource;

/// `…/securityRules`, `…/defaultSecurityRules` and a rule of either: `below` in lower case, `parts`
/// as it was written.
pub(crate) fn answer(
    context: &mut Context<'_>,
    group: &str,
    name: &str,
    below: &[&str],
    parts: &[&str],
) -> Result {
    let nsg = context.existing(group, Kind::Nsg, name)?.clone();
    let method = context.call.method.as_str();
    let field = match below.first() {
        Some(&"securityrules") => "securityRules",
        Some(&"defaultsecurityrules") => "defaultSecurityRules",
        _ => return Err(ArmError::no_such_path(&context.call.path)),
    };
    let rules = nsg.body["properties"][field].clone();
    match (method, parts, field) {
        ("GET", [_], _) => Ok(Answer::json(200, json!({ "value": rules }))),
        ("GET", [_, rule], _) => find(&rules, rule)
            .map(|at| Answer::json(200, rules[at].clone()))
            .ok_or_else(|| {
                ArmError::network(
                    404,
                    "NotFound",
                    format!("Resource {}/{field}/{rule} not found.", nsg.id),
                )
            }),
        ("PUT", [_, rule], "securityRules") => put(context, nsg, rule),
        ("DELETE", [_, rule], "securityRules") => {
            if find(&rules, rule).is_none() {
                return nothing_there();
            }
            let work = Work::RuleDeleted((*rule).to_owned());
            begin(context, 202, &nsg, work, None)
        }
        _ => Err(ArmError::no_such_method(method)),
    }
}

fn find(rules: &Value, name: &str) -> Option<usize> {
    rules
        .as_array()?
        .iter()
        .position(|rule| same(rule["name"].as_str().unwrap_or_default(), name))
}

fn put(context: &mut Context<'_>, mut nsg: Resource, name: &str) -> Result {
    let mut rule = context.call.json()?;
    if context.call.is_of_template {
        nsg::RULE.fold(&mut rule);
    }
    nsg::RULE.check(&mut rule)?;
    rule["name"] = json!(name);
    let id = ResourceId::parse(&nsg.id).ok_or_else(|| gone(&nsg.id))?;
    nsg::finish_rule(&id, &mut rule)?;
    let before = find(&nsg.body["properties"]["securityRules"], name);
    let Some(rules) = nsg.body["properties"]["securityRules"].as_array_mut() else {
        return Err(gone(&nsg.id));
    };
    let at = match before {
        Some(at) => {
            rules[at] = rule;
            at
        }
        None => {
            rules.push(rule);
            rules.len() - 1
        }
    };
    nsg::check_conflicts(rules)?;
    super::stamp(&mut nsg.body, "Updating");
    let shown = nsg.body["properties"]["securityRules"][at].clone();
    context.refuse_while_busy(&nsg.id, Origin::Network)?;
    context.state.insert(nsg.clone());
    let status = if before.is_some() { 200 } else { 201 };
    begin(context, status, &nsg, Work::NetworkUpdated, Some(shown))
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
