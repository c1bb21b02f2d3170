//! The identities of machines: the one that comes and goes with the machine, and assigned ones.

use serde_json::{Map, Value, json};

use super::super::Context;
use super::super::answer::Result;
use super::super::error::ArmError;
use super::super::id::{Kind, ResourceId, same};

/// What a request makes of a machine's identities, before anything is done.
pub(crate) struct Plan {
    was_system: bool,
    is_system: bool,
    assigned: Map<String, Value>,
}

/// Checks the `identity` of a PUT (`replaces`) or of a PATCH, which adds assigned identities and
/// takes away those that it gives as `null`. `before` is the machine's, where it has one.
pub(crate) fn plan(
    context: &Context<'_>,
    machine: &str,
    before: Option<&Value>,
    given: &Value,
    replaces: bool,
) -> Result<Plan> {
    let before = before.unwrap_or(&Value::Null);
    let (was_system, _) = parts(&before["type"]);
    let (is_system, is_user) = parts(given.get("type").unwrap_or(&before["type"]));
    let refused = |message: &str| {
        Err(ArmError::compute(400, "InvalidParameter", message)
            .with_target("identity.userAssignedIdentities"))
    };
    let listed = given["userAssignedIdentities"].as_object();
    if !is_user && listed.is_some_and(|listed| listed.values().any(|value| !value.is_null())) {
        return refused(
            "The identity ids must not be given unless the identity type is UserAssigned.",
        );
    }
    let mut assigned = Map::new();
    if is_user {
        if !replaces && let Some(old) = before["userAssignedIdentities"].as_object() {
            assigned = old.clone();
        }
        for (key, value) in listed.into_iter().flatten() {
            let old = assigned.keys().find(|old| same(old, key)).cloned();
            match (value, old) {
                (Value::Null, Some(old)) => {
                    assigned.remove(&old);
                }
                (Value::Null, None) | (_, Some(_)) => {}
                (_, None) => {
                    require_identity(context, machine, key)?;
                    // Who it is is shown once the operation has ended.
                    assigned.insert(key.clone(), json!({}));
                }
            }
        }
        if replaces && assigned.is_empty() {
            return refused("The identity type 'UserAssigned' requires at least one identity id.");
        }
    }
    Ok(Plan {
        was_system,
        is_system,
        assigned,
    })
}

/// Does what was planned, to a machine's document.
pub(crate) fn apply(
    context: &mut Context<'_>,
    plan: Plan,
    machine: &str,
    name: &str,
    body: &mut Value,
) {
    let mut identity = json!({});
    if plan.is_system && plan.was_system {
        for field in ["principalId", "tenantId"] {
            identity[field] = body["identity"][field].clone();
        }
    } else if plan.is_system {
        let (principal, _) = context.mint_principal(machine, name);
        identity["principalId"] = json!(principal);
        identity["tenantId"] = json!(context.state.identity.tenant_id);
    } else if plan.was_system {
        let key = machine.to_ascii_lowercase();
        context
            .state
            .directory
            .retain(|_, principal| principal.resource != key);
    }
    identity["type"] = json!(match (plan.is_system, plan.assigned.is_empty()) {
        (true, false) => "SystemAssigned, UserAssigned",
        (true, true) => "SystemAssigned",
        (false, false) => "UserAssigned",
        (false, true) => {
            if let Some(body) = body.as_object_mut() {
                body.remove("identity");
            }
            return;
        }
    });
    if !plan.assigned.is_empty() {
        identity["userAssignedIdentities"] = Value::Object(plan.assigned);
    }
    body["identity"] = identity;
}

/// Whether a type has the machine's own identity, and assigned ones.
fn parts(kind: &Value) -> (bool, bool) {
    let kind = kind.as_str().unwrap_or_default();
    (
        kind.contains("SystemAssigned"),
        kind.contains("UserAssigned"),
    )
}

fn require_identity(context: &Context<'_>, machine: &str, id: &str) -> Result<()> {
    let is_there = ResourceId::parse(id).is_some_and(|parsed| parsed.kind == Kind::Identity)
        && context.state.resource(id).is_some();
    if is_there {
        return Ok(());
    }
    // The words of an error that is quoted in public reports; no recording has it.
    Err(ArmError::compute(
        400,
        "FailedIdentityOperation",
        format!(
            "Identity operation for resource '{machine}' failed with error 'Failed to perform resource identity operation. Status: 'BadRequest'. Response: '{{\"error\":{{\"code\":\"BadRequest\",\"message\":\"Resource '{id}' was not found.\"}}}}''."
        ),
    ))
}

/// Shows who the assigned identities are, once an operation has ended.
pub(crate) fn complete(context: &mut Context<'_>, machine: &str) {
    let Some(assigned) = context
        .state
        .resource(machine)
        .and_then(|machine| machine.body["identity"]["userAssignedIdentities"].as_object())
        .cloned()
    else {
        return;
    };
    for id in assigned.keys() {
        let who = context.state.resource(id).map(|identity| {
            json!({
                "principalId": identity.body["properties"]["principalId"],
                "clientId": identity.body["properties"]["clientId"],
            })
        });
        if let (Some(who), Some(machine)) = (who, context.state.resource_mut(machine)) {
            machine.body["identity"]["userAssignedIdentities"][id] = who;
        }
    }
}
