//! Role assignments. Everything is done at once.

use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Context;
use super::super::answer::{Answer, Result};
use super::super::clock_text::zulu;
use super::super::error::ArmError;
use super::super::route::nothing_there;
use super::super::shape::Shape;
use super::Scope;
use super::definitions::Role;

const ASSIGNMENT: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    (
        "properties!",
        Shape::Object(&[
            ("roleDefinitionId!", Shape::Text),
            ("principalId!", Shape::Text),
            (
                "principalType",
                Shape::OneOf(&[
                    "User",
                    "Group",
                    "ServicePrincipal",
                    "ForeignGroup",
                    "Device",
                ]),
            ),
            ("scope", Shape::Text),
            ("description", Shape::Text),
            ("condition", Shape::Text),
            ("conditionVersion", Shape::Text),
            ("delegatedManagedIdentityResourceId", Shape::Text),
            ("createdOn", Shape::Text),
            ("updatedOn", Shape::Text),
            ("createdBy", Shape::Text),
            ("updatedBy", Shape::Text),
            // Templates of old clients send it.
            ("canDelegate", Shape::Flag),
        ]),
    ),
]);

pub(super) fn put(context: &mut Context<'_>, scope: &Scope, name: &str) -> Result {
    let Ok(guid) = Uuid::parse_str(name) else {
        return Err(ArmError::compute(
            400,
            "InvalidRoleAssignmentId",
            format!(
                "The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."
            ),
        ));
    };
    if scope.id.is_empty() {
        return Err(ArmError::not_implemented("role assignments for the tenant"));
    }
    let mut body = context.call.json()?;
    ASSIGNMENT.check(&mut body)?;
    let given = &body["properties"];
    let wanted_role = given["roleDefinitionId"].as_str().unwrap_or_default();
    let role = Role::find(wanted_role).ok_or_else(|| {
        ArmError::compute(
            400,
            "RoleDefinitionDoesNotExist",
            format!(
                "The specified role definition with ID '{}' does not exist.",
                wanted_role.rsplit('/').next().unwrap_or_default()
            ),
        )
    })?;
    let wanted = given["principalId"].as_str().unwrap_or_default();
    let principal = Uuid::parse_str(wanted).map_err(|_| {
        ArmError::compute(
            400,
            "InvalidPrincipalId",
            format!(
                "A valid principal ID must be provided for role assignment; '{wanted}' is no GUID."
            ),
        )
    })?;
    let id = scope.id_of("roleAssignments", &guid.to_string());
    let key = id.to_ascii_lowercase();
    let there = context.state.documents.get(&key).cloned();
    let role_id = role.id(context);
    if let Some(there) = &there {
        let properties = &there["properties"];
        if properties["principalId"] != json!(principal)
            || properties["roleDefinitionId"] != json!(role_id)
        {
            return Err(ArmError::compute(
                409,
                "RoleAssignmentUpdateNotPermitted",
                "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.",
            ));
        }
    }
    let is_twin = context.state.documents.iter().any(|(other, body)| {
        let properties = &body["properties"];
        *other != key
            && properties["scope"]
                .as_str()
                .is_some_and(|other| other.eq_ignore_ascii_case(&scope.id))
            && properties["principalId"] == json!(principal)
            && properties["roleDefinitionId"] == json!(role_id)
    });
    if is_twin {
        return Err(ArmError::compute(
            409,
            "RoleAssignmentExists",
            "The role assignment already exists.",
        ));
    }
    if there.is_none() {
        require_known(context, principal, given["principalType"].is_string())?;
    }
    let now = zulu(context.now);
    let caller = context.state.identity.object_id;
    let (created, by) = match &there {
        Some(there) => (
            there["properties"]["createdOn"].clone(),
            there["properties"]["createdBy"].clone(),
        ),
        None => (json!(now), json!(caller)),
    };
    // There is nobody but service principals here, so that this is what an unknown type is.
    let principal_type = given
        .get("principalType")
        .cloned()
        .unwrap_or_else(|| json!("ServicePrincipal"));
    let optional = |field: &str| given.get(field).cloned().unwrap_or(Value::Null);
    let document = json!({
        "properties": {
            "roleDefinitionId": role_id,
            "principalId": principal,
            "principalType": principal_type,
            "scope": scope.id,
            "condition": optional("condition"),
            "conditionVersion": optional("conditionVersion"),
            "createdOn": created,
            "updatedOn": now,
            "createdBy": by,
            "updatedBy": caller,
            "delegatedManagedIdentityResourceId": optional("delegatedManagedIdentityResourceId"),
            "description": optional("description"),
        },
        "id": id,
        "type": "Microsoft.Authorization/roleAssignments",
        "name": guid,
    });
    context.state.documents.insert(key, document.clone());
    // The answer to a PUT does not say yet who made it.
    let mut shown = document;
    shown["properties"]["createdBy"] = Value::Null;
    Ok(Answer::json(201, shown))
}

/// Refuses a principal that is not in the directory, or so new that it is not seen there yet.
///
/// With the type of the principal the directory is not asked, says the documentation. Whether a
/// principal that never was is then refused is in no recording: it is not here.
fn require_known(context: &Context<'_>, principal: Uuid, has_type: bool) -> Result<()> {
    let access = &context.arm.settings().access;
    if has_type && !access.replication_despite_type {
        return Ok(());
    }
    let is_known = context.principals().any(|known| {
        known.id == principal
            && known.created.is_none_or(|created| {
                context
                    .now
                    .duration_since(created)
                    .is_ok_and(|age| age >= access.replication)
            })
    });
    if is_known {
        return Ok(());
    }
    Err(ArmError::compute(
        400,
        "PrincipalNotFound",
        format!(
            "Principal {} does not exist in the directory {}. Check that you have the correct principal ID. If you are creating this principal and then immediately assigning a role, this error might be related to a replication delay. In this case, set the role assignment principalType property to a value, such as ServicePrincipal, User, or Group.  See https://aka.ms/docs-principaltype",
            principal.simple(),
            context.state.identity.tenant_id
        ),
    ))
}

pub(super) fn get(context: &Context<'_>, scope: &Scope, name: &str) -> Result {
    context
        .state
        .documents
        .get(&key(scope, name))
        .map(|body| Answer::json(200, body.clone()))
        .ok_or_else(|| {
            ArmError::compute(
                404,
                "RoleAssignmentNotFound",
                format!("The role assignment '{name}' is not found."),
            )
        })
}

/// Answers with what was deleted.
pub(super) fn delete(context: &mut Context<'_>, scope: &Scope, name: &str) -> Result {
    match context.state.documents.remove(&key(scope, name)) {
        Some(body) => Ok(Answer::json(200, body)),
        None => nothing_there(),
    }
}

fn key(scope: &Scope, name: &str) -> String {
    scope.id_of("roleAssignments", name).to_ascii_lowercase()
}

/// Those of the scope, of what it is inside of, and of what is inside of it.
pub(super) fn list(context: &Context<'_>, scope: &Scope) -> Result {
    let filter = Filter::parse(context.call.query("$filter"))?;
    let found: Vec<&Value> = context
        .state
        .documents
        .values()
        .filter(|body| body["type"] == "Microsoft.Authorization/roleAssignments")
        .filter(|body| {
            let other = body["properties"]["scope"].as_str().unwrap_or_default();
            let other_scope = Scope {
                id: other.to_owned(),
            };
            let principal = &body["properties"]["principalId"];
            (scope.is_at_or_below(other)
                || (!filter.at_scope && other_scope.is_at_or_below(&scope.id)))
                && filter
                    .principal
                    .is_none_or(|wanted| *principal == json!(wanted))
        })
        .collect();
    Ok(Answer::json(200, json!({ "value": found })))
}

/// What `$filter` leaves.
struct Filter {
    /// Not what is inside of the scope.
    at_scope: bool,
    principal: Option<Uuid>,
}

impl Filter {
    /// `atScope()`, `principalId eq '…'`, `assignedTo('…')`, or two of them with `and` between.
    ///
    /// Groups have no members here, so that `assignedTo` is the same as `principalId`.
    fn parse(filter: Option<&str>) -> Result<Self> {
        let mut parsed = Self {
            at_scope: false,
            principal: None,
        };
        let filter = filter.map(str::trim).filter(|filter| !filter.is_empty());
        for part in filter.into_iter().flat_map(|filter| filter.split(" and ")) {
            let part = part.trim();
            let words: String = part
                .split_whitespace()
                .collect::<String>()
                .to_ascii_lowercase();
            let value = words
                .split('\'')
                .nth(1)
                .or_else(|| words.strip_prefix("principalideq"))
                .or_else(|| words.strip_prefix("assignedto(")?.strip_suffix(')'))
                .and_then(|guid| Uuid::parse_str(guid).ok());
            let is_principal =
                words.starts_with("principalideq") || words.starts_with("assignedto(");
            match value {
                None if words == "atscope()" => parsed.at_scope = true,
                Some(principal) if is_principal => parsed.principal = Some(principal),
                _ => {
                    return Err(ArmError::compute(
                        400,
                        "InvalidFilter",
                        format!(
                            "The filter '{part}' is not supported. Supported are 'atScope()', 'principalId eq '{{value}}'' and 'assignedTo('{{value}}')'."
                        ),
                    ));
                }
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read() {
        let guid = "9994ed56-1415-4768-a6dc-470492163cc4";
        let parsed = Filter::parse(Some(&format!("atScope() and assignedTo('{guid}')"))).unwrap();
        assert!(parsed.at_scope);
        assert_eq!(parsed.principal.unwrap().to_string(), guid);
        let parsed = Filter::parse(Some(&format!("principalId eq '{guid}'"))).unwrap();
        assert!(!parsed.at_scope && parsed.principal.is_some());
        assert!(Filter::parse(Some("createdOn gt '2020'")).is_err());
        assert!(Filter::parse(Some("principalId eq 'me'")).is_err());
    }
}
