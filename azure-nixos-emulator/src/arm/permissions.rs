//! What the caller may not do, where a test says so.
//!
//! Every request is an action of Azure's access control: a type and `read`, `write`, `delete` or,
//! for a POST, the name of what is posted and `action`.

use axum::http::Method;
use serde_json::{Value, json};

use super::Context;
use super::answer::Result;
use super::error::ArmError;

/// Refuses a request whose action is denied.
pub(crate) fn check(context: &Context<'_>) -> Result<()> {
    let denied = &context.arm.settings().access.denied;
    if denied.is_empty() {
        return Ok(());
    }
    let action = action(&context.call.method, &context.call.segments);
    if !denied.iter().any(|pattern| matches(pattern, &action)) {
        return Ok(());
    }
    let caller = &context.state.identity;
    Err(ArmError::gateway(
        403,
        "AuthorizationFailed",
        format!(
            "The client '{}' with object id '{}' does not have authorization to perform action '{action}' over scope '{}' or the scope is invalid. If access was recently granted, please refresh your credentials.",
            caller.client_id, caller.object_id, context.call.path
        ),
    ))
}

/// `GET {scope}/providers/Microsoft.Authorization/permissions`: what the caller may do there, which is
/// the same everywhere.
pub(crate) fn list(context: &Context<'_>) -> Value {
    json!({
        "value": [{
            "actions": ["*"],
            "notActions": context.arm.settings().access.denied,
            "dataActions": [],
            "notDataActions": [],
        }],
    })
}

/// The action of a request.
fn action(method: &Method, segments: &[String]) -> String {
    let providers = segments
        .iter()
        .rposition(|part| part.eq_ignore_ascii_case("providers"))
        .filter(|at| at + 1 < segments.len());
    let (namespace, path): (&str, &[String]) = match providers {
        Some(at) => (&segments[at + 1], &segments[at + 2..]),
        None => ("Microsoft.Resources", segments),
    };
    let mut types: Vec<&str> = path.iter().step_by(2).map(String::as_str).collect();
    let verb = match *method {
        Method::GET | Method::HEAD => "read",
        Method::DELETE => "delete",
        Method::POST => "action",
        _ => "write",
    };
    if types.is_empty() {
        types.push("providers");
    }
    format!("{namespace}/{}/{verb}", types.join("/"))
}

/// Whether a pattern with `*` is an action, in any case.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = action.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &Method, path: &str) -> String {
        let segments: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(ToOwned::to_owned)
            .collect();
        action(method, &segments)
    }

    #[test]
    fn requests_are_actions() {
        let disk = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Compute/disks/d";
        for (method, path, expected) in [
            (Method::GET, disk.to_owned(), "Microsoft.Compute/disks/read"),
            (
                Method::POST,
                format!("{disk}/beginGetAccess"),
                "Microsoft.Compute/disks/beginGetAccess/action",
            ),
            (
                Method::PUT,
                format!("{disk}/providers/Microsoft.Authorization/roleAssignments/g"),
                "Microsoft.Authorization/roleAssignments/write",
            ),
            (
                Method::DELETE,
                "/subscriptions/s/resourcegroups/r".to_owned(),
                "Microsoft.Resources/subscriptions/resourcegroups/delete",
            ),
        ] {
            assert_eq!(of(&method, &path), expected);
        }
    }

    #[test]
    fn a_star_is_anything() {
        let action = "Microsoft.Compute/disks/write";
        for (pattern, is) in [
            ("microsoft.compute/disks/WRITE", true),
            ("*", true),
            ("*/write", true),
            ("Microsoft.Compute/*", true),
            ("Microsoft.Compute/*/write", true),
            ("Microsoft.Compute/disks", false),
            ("*/read", false),
            ("Microsoft.Compute/*/x/write", false),
        ] {
            assert_eq!(matches(pattern, action), is, "{pattern}");
        }
    }
}
