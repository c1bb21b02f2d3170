//! Role-based access control: who has which role where.
//!
//! It is kept, shown and checked as Azure does, and has no effect: the caller may do everything
//! but what [`deny`](crate::EmulatorBuilder::deny) says. Its resources hang on any other, so that
//! they are found by the last `providers/Microsoft.Authorization` of a path and not by a group.

mod assignments;
mod definitions;

use super::answer::{Answer, Result};
use super::error::ArmError;
use super::id::Kind;
use super::{Context, permissions, versions};

/// Answers a path of this provider; `None` when it is another's.
pub(crate) fn answer(context: &mut Context<'_>, parts: &[&str]) -> Option<Result> {
    let at = parts.iter().enumerate().rposition(|(at, part)| {
        part.eq_ignore_ascii_case("providers")
            && parts
                .get(at + 1)
                .is_some_and(|next| next.eq_ignore_ascii_case("Microsoft.Authorization"))
    })?;
    // `…/providers/Microsoft.Authorization/register` is about the provider itself.
    let (kind, names) = parts.get(at + 2..)?.split_first()?;
    let (given, kind) = (*kind, kind.to_ascii_lowercase());
    if kind == "register" {
        return None;
    }
    Some(below(context, &parts[..at], given, &kind, names))
}

fn below(
    context: &mut Context<'_>,
    scope: &[&str],
    given: &str,
    kind: &str,
    names: &[&str],
) -> Result {
    versions::check(
        "Microsoft.Authorization",
        given,
        context.call.query("api-version"),
    )?;
    let method = context.call.method.as_str();
    let scope = Scope::find(context, scope)?;
    match (kind, method, names) {
        ("roledefinitions", "GET", []) => definitions::list(context, &scope),
        ("roledefinitions", "GET", [name]) => definitions::get(context, &scope, name),
        ("roledefinitions", "PUT" | "DELETE", [_]) => {
            Err(ArmError::not_implemented("roles of one's own"))
        }
        ("roleassignments", "GET", []) => assignments::list(context, &scope),
        ("roleassignments", "GET", [name]) => assignments::get(context, &scope, name),
        ("roleassignments", "PUT", [name]) => assignments::put(context, &scope, name),
        ("roleassignments", "DELETE", [name]) => assignments::delete(context, &scope, name),
        ("permissions", "GET", []) => Ok(Answer::json(200, permissions::list(context))),
        ("roledefinitions" | "roleassignments", method, [] | [_]) | ("permissions", method, []) => {
            Err(ArmError::no_such_method(method))
        }
        _ => Err(ArmError::not_implemented(format!(
            "the type '{given}' of Microsoft.Authorization"
        ))),
    }
}

/// What a role is for: a tenant, the subscription, a group, a resource or a part of one.
struct Scope {
    /// In Azure's spelling, without a slash at the end; empty for the tenant.
    id: String,
}

impl Scope {
    /// The scope of a path, which has to be there.
    fn find(context: &Context<'_>, parts: &[&str]) -> Result<Self> {
        let subscription = context.state.identity.subscription_id;
        let folded: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
        let folded: Vec<&str> = folded.iter().map(String::as_str).collect();
        let id = match folded[..] {
            [] => String::new(),
            ["subscriptions", _] => format!("/subscriptions/{subscription}"),
            ["subscriptions", _, "resourcegroups", _] => {
                let group = context.group(parts[3])?;
                format!(
                    "/subscriptions/{subscription}/resourceGroups/{}",
                    group.name
                )
            }
            [
                "subscriptions",
                _,
                "resourcegroups",
                _,
                "providers",
                _,
                _,
                ..,
            ] => {
                let (kind, name, taken) =
                    Kind::in_path(parts[5], &parts[6..]).ok_or_else(|| {
                        ArmError::not_implemented(format!(
                            "roles for resources of '{}/{}'",
                            parts[5], parts[6]
                        ))
                    })?;
                let resource = context.existing(parts[3], kind, &name)?;
                // A part, as a subnet: it is not looked for.
                let part: String = parts[6 + taken..]
                    .iter()
                    .map(|part| format!("/{part}"))
                    .collect();
                format!("{}{part}", resource.id)
            }
            ["providers", "microsoft.management", ..] => {
                return Err(ArmError::not_implemented("roles for management groups"));
            }
            _ => {
                return Err(ArmError::gateway(
                    400,
                    "InvalidRequestUri",
                    format!("The scope '/{}' is none.", parts.join("/")),
                ));
            }
        };
        Ok(Self { id })
    }

    /// Whether it is the other scope or inside of it.
    fn is_at_or_below(&self, other: &str) -> bool {
        let (id, other) = (self.id.to_ascii_lowercase(), other.to_ascii_lowercase());
        id == other || id.starts_with(&format!("{other}/"))
    }

    /// The id of one of this provider's resources in this scope.
    fn id_of(&self, kind: &str, name: &str) -> String {
        format!(
            "{}/providers/Microsoft.Authorization/{kind}/{name}",
            self.id
        )
    }
}
