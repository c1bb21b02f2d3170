//! Who answers which path.
//!
//! Segment names are compared without case, as Azure does; names of things keep the caller's.

use axum::http::Method;

use super::answer::{Answer, Result};
use super::error::ArmError;
use super::id::Kind;
use super::network::{nic, nsg, public_ip, security_rule, vnet};
use super::{
    Context, deployments, disks, gallery, groups, identities, images, permissions, providers,
    roles, scale_sets, skus, ssh_keys, storage, subscriptions, versions, vms,
};

/// Answers a request that carries a good token.
pub(crate) fn answer(context: &mut Context<'_>) -> Result {
    let call = context.call;
    let version = call.query("api-version");
    // Fixed parts are matched in lower case, names are taken from `parts`.
    let parts: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let folded: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
    let folded: Vec<&str> = folded.iter().map(String::as_str).collect();
    let method = call.method.as_str();

    match folded[..] {
        ["v1.0", ..] => return super::directory::graph(context, &parts[1..]),
        ["tenants"] => {
            versions::check("Microsoft.Resources", "subscriptions", version)?;
            require_get(&call.method)?;
            return Ok(subscriptions::tenants(context));
        }
        ["providers", "microsoft.authorization", ..] => {
            if let Some(answer) = roles::answer(context, &parts) {
                return answer;
            }
        }
        _ => {}
    }
    if folded.first() != Some(&"subscriptions") {
        return Err(ArmError::no_such_path(&call.path));
    }
    if let Some(id) = folded.get(1)
        && *id != context.state.identity.subscription_id.to_string()
    {
        return Err(ArmError::gateway(
            404,
            "SubscriptionNotFound",
            format!("The subscription '{}' could not be found.", parts[1]),
        ));
    }
    permissions::check(context)?;
    subscriptions::require_writable(context)?;
    if let Some(answer) = roles::answer(context, &parts) {
        return answer;
    }
    match folded.get(2..).unwrap_or_default() {
        [] | ["locations"] => {
            versions::check("Microsoft.Resources", "subscriptions", version)?;
            require_get(&call.method)?;
            Ok(match folded.len() {
                1 => subscriptions::list(context),
                2 => subscriptions::get(context),
                _ => subscriptions::locations(context),
            })
        }
        ["operationresults", _] => {
            versions::check("Microsoft.Resources", "resourceGroups", version)?;
            context.group_operation(parts[3])
        }
        ["resources"] => {
            versions::check("Microsoft.Resources", "resources", version)?;
            require_get(&call.method)?;
            context.list_all(None)
        }
        ["resourcegroups"] => {
            versions::check("Microsoft.Resources", "resourceGroups", version)?;
            require_get(&call.method)?;
            Ok(groups::list(context))
        }
        ["resourcegroups", _] => {
            context.api_version =
                versions::check("Microsoft.Resources", "resourceGroups", version)?;
            groups::answer(context, method, parts[3])
        }
        ["resourcegroups", _, "resources"] => {
            versions::check("Microsoft.Resources", "resources", version)?;
            require_get(&call.method)?;
            context.list_all(Some(parts[3]))
        }
        ["providers", "microsoft.resources", "deployments", ..] => Err(ArmError::not_implemented(
            "deployments to the subscription; those to a group are",
        )),
        ["providers"] => {
            versions::check("Microsoft.Resources", "providers", version)?;
            require_get(&call.method)?;
            Ok(providers::list(context))
        }
        ["providers", _] => {
            versions::check("Microsoft.Resources", "providers", version)?;
            require_get(&call.method)?;
            providers::get(context, parts[3])
        }
        ["providers", _, "register"] => {
            versions::check("Microsoft.Resources", "providers", version)?;
            require(&call.method, &Method::POST)?;
            providers::register(context, parts[3])
        }
        ["providers", namespace, "locations", location, kind, id @ ..] => {
            context.api_version = versions::check(parts[3], "locations", version)?;
            match (*namespace, *kind, id) {
                ("microsoft.compute", "diskoperations" | "operations" | "capsoperations", [_])
                | ("microsoft.network", "operations" | "operationresults", [_])
                | ("microsoft.storage", "asyncoperations", [_]) => {
                    context.provider_operation(parts[6], parts[7])
                }
                ("microsoft.compute", "usages", []) => {
                    require_get(&call.method)?;
                    skus::usages(context, location)
                }
                ("microsoft.network", "usages", []) => {
                    require_get(&call.method)?;
                    super::network::usages(context, location)
                }
                ("microsoft.compute", "vmsizes", []) => skus::sizes(location),
                _ => Err(ArmError::no_such_path(&call.path)),
            }
        }
        ["providers", "microsoft.compute", "skus"] => {
            versions::check("Microsoft.Compute", "skus", version)?;
            require_get(&call.method)?;
            skus::list(context)
        }
        ["providers", "microsoft.storage", "checknameavailability"] => {
            versions::check("Microsoft.Storage", "checkNameAvailability", version)?;
            storage::check_name(context)
        }
        ["providers", _, _] => {
            let (kind, ..) = kind(context, parts[3], &parts[4..])?;
            versions::check(kind.namespace(), kind.short(), version)?;
            require_get(&call.method)?;
            if kind == Kind::Vm {
                return vms::list_all(context);
            }
            context.list(None, kind, "")
        }
        // Lists of operations are still asked for at their old place.
        ["resourcegroups", _, "deployments", below @ ..] => {
            context.api_version = versions::check("Microsoft.Resources", "deployments", version)?;
            deployments::answer(context, parts[3], below, &parts[5..])
        }
        [
            "resourcegroups",
            _,
            "providers",
            "microsoft.resources",
            "deployments",
            below @ ..,
        ] => {
            context.api_version = versions::check("Microsoft.Resources", "deployments", version)?;
            deployments::answer(context, parts[3], below, &parts[7..])
        }
        ["resourcegroups", _, "providers", _, _, ..] => {
            let (kind, name, taken) = kind(context, parts[5], &parts[6..])?;
            context.api_version = versions::check(kind.namespace(), kind.short(), version)?;
            if method == "PUT" {
                providers::require_registered(context, kind.namespace())?;
            }
            let group = parts[3];
            if taken % 2 == 1 {
                require_get(&call.method)?;
                if kind == Kind::Vm {
                    return vms::list(context, Some(group));
                }
                return context.list(Some(group), kind, &name);
            }
            let below = 6 + taken;
            resource(
                context,
                kind,
                group,
                &name,
                &folded[below..],
                &parts[below..],
            )
        }
        _ => Err(ArmError::no_such_path(&call.path)),
    }
}

/// A resource, an action on it, or a part of it: `below` in lower case, `parts` as it was written.
fn resource(
    context: &mut Context<'_>,
    kind: Kind,
    group: &str,
    name: &str,
    below: &[&str],
    parts: &[&str],
) -> Result {
    let call = context.call;
    match (kind, call.method.as_str(), below) {
        (_, "GET", []) if context.is_going(group, kind, name) => {
            Err(ArmError::resource_not_found(kind, name, group))
        }
        (Kind::Vm, "GET", []) => vms::get(context, group, name),
        (Kind::GalleryVersion, "GET", []) => gallery::versions::get(context, group, name),
        (_, "GET", []) => context.get(group, kind, name),
        (Kind::Disk | Kind::Snapshot, "PUT", []) => disks::put(context, kind, group, name),
        (Kind::Disk | Kind::Snapshot, "PATCH", []) => disks::patch(context, kind, group, name),
        (Kind::Disk | Kind::Snapshot, "DELETE", []) => disks::delete(context, kind, group, name),
        (Kind::Disk | Kind::Snapshot, "POST", ["begingetaccess"]) => {
            disks::grant(context, kind, group, name)
        }
        (Kind::Disk | Kind::Snapshot, "POST", ["endgetaccess"]) => {
            disks::revoke(context, kind, group, name)
        }
        (Kind::Image, "PUT", []) => images::put(context, group, name),
        (Kind::Image, "PATCH", []) => images::patch(context, group, name),
        (Kind::Image, "DELETE", []) => images::delete(context, group, name),
        (Kind::Gallery | Kind::GalleryImage | Kind::GalleryVersion, method, []) => {
            gallery::answer(context, kind, method, group, name)
        }
        (Kind::Gallery | Kind::GalleryImage | Kind::GalleryVersion, ..) => {
            Err(gallery::not_here(parts[0]))
        }
        (Kind::Vm, "PUT", []) => vms::put(context, group, name),
        (Kind::Vm, "PATCH", []) => vms::patch(context, group, name),
        (Kind::Vm, "DELETE", []) => vms::delete(context, group, name),
        (Kind::Vm, "GET", ["instanceview"]) => vms::instance_view(context, group, name),
        (Kind::Vm, "GET", ["vmsizes"]) => vms::available_sizes(context, group, name),
        (Kind::Vm, "GET", ["extensions"]) => vms::extensions(context, group, name),
        (Kind::Vm, _, ["extensions" | "runcommands", ..]) => Err(ArmError::not_implemented(
            "extensions and run commands of virtual machines",
        )),
        (Kind::Vm, "POST", [action]) => vms::act(context, group, name, action),
        (Kind::Identity, "PUT", []) => identities::put(context, group, name),
        (Kind::Identity, "PATCH", []) => identities::patch(context, group, name),
        (Kind::Identity, "DELETE", []) => identities::delete(context, group, name),
        (Kind::Identity, _, ["federatedidentitycredentials", ..]) => {
            identities::credentials(context, group, name, &parts[1..])
        }
        (Kind::SshKey, "PUT", []) => ssh_keys::put(context, group, name),
        (Kind::SshKey, "PATCH", []) => ssh_keys::patch(context, group, name),
        (Kind::SshKey, "DELETE", []) => ssh_keys::delete(context, group, name),
        (Kind::SshKey, "POST", ["generatekeypair"]) => ssh_keys::generate(context, group, name),
        (Kind::ScaleSet, "PUT", []) => scale_sets::put(context, group, name),
        (Kind::ScaleSet, "PATCH", []) => scale_sets::patch(context, group, name),
        (Kind::ScaleSet, "DELETE", []) => scale_sets::delete(context, group, name),
        (Kind::ScaleSet, _, [_, ..]) => scale_sets::answer(context, group, name, below, parts),
        (Kind::Vnet, "PUT", []) => vnet::put(context, group, name),
        (Kind::Vnet, "DELETE", []) => vnet::delete(context, group, name),
        (Kind::Vnet, "GET", ["subnets"]) => vnet::list_subnets(context, group, name),
        (Kind::Vnet, method, ["subnets", _]) => {
            vnet::subnet(context, method, group, name, parts[1])
        }
        (Kind::Nsg, "PUT", []) => nsg::put(context, group, name),
        (Kind::Nsg, "DELETE", []) => nsg::delete(context, group, name),
        (Kind::Nsg, "GET", ["securityrules"]) => {
            security_rule::list(context, group, name, "securityRules")
        }
        (Kind::Nsg, "GET", ["defaultsecurityrules"]) => {
            security_rule::list(context, group, name, "defaultSecurityRules")
        }
        (Kind::Nsg, "GET", ["defaultsecurityrules", _]) => {
            security_rule::get_default(context, group, name, parts[1])
        }
        (Kind::Nsg, method, ["securityrules", _]) => {
            security_rule::answer(context, method, group, name, parts[1])
        }
        (Kind::PublicIp, "PUT", []) => public_ip::put(context, group, name),
        (Kind::PublicIp, "DELETE", []) => public_ip::delete(context, group, name),
        (Kind::Nic, "PUT", []) => nic::put(context, group, name),
        (Kind::Nic, "DELETE", []) => nic::delete(context, group, name),
        (Kind::StorageAccount, "PUT", []) => storage::put(context, group, name),
        (Kind::StorageAccount, "PATCH", []) => storage::patch(context, group, name),
        (Kind::StorageAccount, "DELETE", []) => storage::delete(context, group, name),
        (Kind::StorageAccount, "POST", ["listkeys"]) => storage::list_keys(context, group, name),
        (Kind::StorageAccount, "POST", ["regeneratekey"]) => {
            storage::regenerate_key(context, group, name)
        }
        (Kind::Vnet | Kind::Nsg | Kind::PublicIp | Kind::Nic, "PATCH", []) => {
            super::network::patch_tags(context, group, kind, name)
        }
        (_, method, []) => Err(ArmError::no_such_method(method)),
        _ => Err(ArmError::no_such_path(&call.path)),
    }
}

/// The type and the names of a path, where the subscription has the namespace and the namespace the
/// type; see [`Kind::in_path`].
fn kind(context: &Context<'_>, namespace: &str, path: &[&str]) -> Result<(Kind, String, usize)> {
    Kind::in_path(namespace, path).ok_or_else(|| {
        if providers::NAMESPACES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(namespace))
        {
            ArmError::gateway(
                404,
                "InvalidResourceType",
                format!(
                    "The resource type '{}' could not be found in the namespace '{namespace}' for api version '{}'. The local Azure has no such type.",
                    path[0],
                    context.call.query("api-version").unwrap_or_default()
                ),
            )
        } else {
            ArmError::gateway(
                404,
                "InvalidResourceNamespace",
                format!("The resource namespace '{namespace}' is invalid."),
            )
        }
    })
}

fn require_get(method: &Method) -> Result<()> {
    require(method, &Method::GET)
}

fn require(method: &Method, expected: &Method) -> Result<()> {
    if method == expected {
        Ok(())
    } else {
        Err(ArmError::no_such_method(method.as_str()))
    }
}

/// What a handler answers when there was nothing to delete.
pub(crate) fn nothing_there() -> Result {
    Ok(Answer::empty(204))
}
