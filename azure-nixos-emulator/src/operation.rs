//! The names of operations, for fault rules and for the log of requests.
//!
//! A name is Azure's own as its SDKs have it (`Disks_GrantAccess` of the published API is
//! `disks.grantAccess`), so that it says what is meant whatever the spelling of a path and the
//! version of an API. Both lists of a type, of a group and of the subscription, are `list`. Reading
//! how a long-running operation stands is `operations.get`. The data plane's are `blob`,
//! `container` and `service`.
//!
//! A name needs no more than the method, the path and the query: Put Page is `blob.putPage` when it
//! clears as well, and a copy of a blob is `blob.put`.

use std::fmt;
use std::str::FromStr;

use crate::fault::Plane;

/// One operation, such as `disks.grantAccess` or `blob.putPage`.
///
/// ```
/// use azure_nixos_emulator::Operation;
///
/// let grant: Operation = "disks.grantAccess".parse()?;
/// assert_eq!(grant.to_string(), "disks.grantAccess");
/// assert!("disks.grant".parse::<Operation>().is_err());
/// # Ok::<(), azure_nixos_emulator::UnknownOperation>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operation {
    group: &'static str,
    verb: &'static str,
}

/// A text that names no operation; it says which names there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no operation `{name}`; {allowed}")]
pub struct UnknownOperation {
    name: String,
    allowed: String,
}

/// What has a path of its own: method, path (`*` is any one part), name. In lower case.
const FIXED: [(&str, &str, Operation); 29] = [
    ("GET", "metadata/endpoints", of("login", "endpoints")),
    (
        "GET",
        "common/discovery/instance",
        of("login", "instanceDiscovery"),
    ),
    (
        "GET",
        "*/.well-known/openid-configuration",
        of("login", "openidConfiguration"),
    ),
    (
        "GET",
        "*/v2.0/.well-known/openid-configuration",
        of("login", "openidConfiguration"),
    ),
    ("POST", "*/oauth2/token", of("login", "token")),
    ("POST", "*/oauth2/v2.0/token", of("login", "token")),
    ("GET", "tenants", of("tenants", "list")),
    ("GET", "subscriptions", of("subscriptions", "list")),
    ("GET", "subscriptions/*", of("subscriptions", "get")),
    (
        "GET",
        "subscriptions/*/locations",
        of("subscriptions", "listLocations"),
    ),
    ("GET", "subscriptions/*/resources", of("resources", "list")),
    (
        "GET",
        "subscriptions/*/resourcegroups/*/resources",
        of("resources", "list"),
    ),
    (
        "GET",
        "subscriptions/*/resourcegroups",
        of("resourceGroups", "list"),
    ),
    (
        "GET",
        "subscriptions/*/resourcegroups/*",
        of("resourceGroups", "get"),
    ),
    (
        "HEAD",
        "subscriptions/*/resourcegroups/*",
        of("resourceGroups", "checkExistence"),
    ),
    (
        "PUT",
        "subscriptions/*/resourcegroups/*",
        of("resourceGroups", "createOrUpdate"),
    ),
    (
        "PATCH",
        "subscriptions/*/resourcegroups/*",
        of("resourceGroups", "update"),
    ),
    (
        "DELETE",
        "subscriptions/*/resourcegroups/*",
        of("resourceGroups", "delete"),
    ),
    (
        "GET",
        "subscriptions/*/operationresults/*",
        of("operations", "get"),
    ),
    ("GET", "subscriptions/*/providers", of("providers", "list")),
    ("GET", "subscriptions/*/providers/*", of("providers", "get")),
    (
        "POST",
        "subscriptions/*/providers/*/register",
        of("providers", "register"),
    ),
    (
        "GET",
        "subscriptions/*/providers/microsoft.compute/skus",
        of("resourceSkus", "list"),
    ),
    (
        "GET",
        "subscriptions/*/providers/microsoft.compute/locations/*/usages",
        of("usage", "list"),
    ),
    (
        "GET",
        "subscriptions/*/providers/microsoft.network/locations/*/usages",
        of("usages", "list"),
    ),
    (
        "GET",
        "subscriptions/*/providers/microsoft.authorization/permissions",
        of("permissions", "listForSubscription"),
    ),
    (
        "GET",
        "subscriptions/*/resourcegroups/*/providers/microsoft.authorization/permissions",
        of("permissions", "listForResourceGroup"),
    ),
    (
        "GET",
        "subscriptions/*/providers/microsoft.compute/locations/*/vmsizes",
        of("virtualMachineSizes", "list"),
    ),
    (
        "POST",
        "subscriptions/*/providers/microsoft.storage/checknameavailability",
        of("storageAccounts", "checkNameAvailability"),
    ),
];

/// Types of resources, in lower case, and the group of their operations.
const TYPES: [(&str, &str, &str); 25] = [
    (
        "microsoft.authorization",
        "roleassignments",
        "roleAssignments",
    ),
    (
        "microsoft.authorization",
        "roledefinitions",
        "roleDefinitions",
    ),
    ("microsoft.compute", "disks", "disks"),
    ("microsoft.compute", "galleries", "galleries"),
    ("microsoft.compute", "galleries/images", "galleryImages"),
    (
        "microsoft.compute",
        "galleries/images/versions",
        "galleryImageVersions",
    ),
    ("microsoft.compute", "images", "images"),
    ("microsoft.compute", "snapshots", "snapshots"),
    ("microsoft.compute", "sshpublickeys", "sshPublicKeys"),
    ("microsoft.compute", "virtualmachines", "virtualMachines"),
    (
        "microsoft.compute",
        "virtualmachinescalesets",
        "virtualMachineScaleSets",
    ),
    (
        "microsoft.compute",
        "virtualmachinescalesets/virtualmachines",
        "virtualMachineScaleSetVMs",
    ),
    (
        "microsoft.compute",
        "virtualmachines/extensions",
        "virtualMachineExtensions",
    ),
    (
        "microsoft.managedidentity",
        "userassignedidentities",
        "userAssignedIdentities",
    ),
    (
        "microsoft.network",
        "networkinterfaces",
        "networkInterfaces",
    ),
    (
        "microsoft.network",
        "networksecuritygroups",
        "networkSecurityGroups",
    ),
    (
        "microsoft.network",
        "networksecuritygroups/defaultsecurityrules",
        "defaultSecurityRules",
    ),
    (
        "microsoft.network",
        "networksecuritygroups/securityrules",
        "securityRules",
    ),
    (
        "microsoft.network",
        "publicipaddresses",
        "publicIPAddresses",
    ),
    ("microsoft.network", "virtualnetworks", "virtualNetworks"),
    ("microsoft.network", "virtualnetworks/subnets", "subnets"),
    ("microsoft.resources", "deployments", "deployments"),
    (
        "microsoft.resources",
        "deployments/operations",
        "deploymentOperations",
    ),
    ("microsoft.storage", "storageaccounts", "storageAccounts"),
    (
        "microsoft.storage",
        "storageaccounts/blobservices",
        "blobServices",
    ),
];

/// What every type has: on one of it, and on all of it.
const ON_ONE: [(&str, &str); 5] = [
    ("GET", "get"),
    ("HEAD", "checkExistence"),
    ("PUT", "createOrUpdate"),
    ("PATCH", "update"),
    ("DELETE", "delete"),
];

/// What else can be done with one of a type: group, method, the last part of the path in lower
/// case, verb.
const ACTIONS: [(&str, &str, &str, &str); 30] = [
    ("disks", "POST", "begingetaccess", "grantAccess"),
    ("disks", "POST", "endgetaccess", "revokeAccess"),
    ("snapshots", "POST", "begingetaccess", "grantAccess"),
    ("snapshots", "POST", "endgetaccess", "revokeAccess"),
    (
        "sshPublicKeys",
        "POST",
        "generatekeypair",
        "generateKeyPair",
    ),
    ("virtualMachines", "GET", "instanceview", "instanceView"),
    ("virtualMachines", "GET", "vmsizes", "listAvailableSizes"),
    (
        "virtualMachines",
        "POST",
        "attachdetachdatadisks",
        "attachDetachDataDisks",
    ),
    ("virtualMachines", "POST", "capture", "capture"),
    ("virtualMachines", "POST", "deallocate", "deallocate"),
    ("virtualMachines", "POST", "generalize", "generalize"),
    ("virtualMachines", "POST", "poweroff", "powerOff"),
    ("virtualMachines", "POST", "reapply", "reapply"),
    ("virtualMachines", "POST", "redeploy", "redeploy"),
    ("virtualMachines", "POST", "reimage", "reimage"),
    ("virtualMachines", "POST", "restart", "restart"),
    (
        "virtualMachines",
        "POST",
        "retrievebootdiagnosticsdata",
        "retrieveBootDiagnosticsData",
    ),
    ("virtualMachines", "POST", "runcommand", "runCommand"),
    ("virtualMachines", "POST", "start", "start"),
    (
        "virtualMachineScaleSets",
        "GET",
        "instanceview",
        "getInstanceView",
    ),
    (
        "virtualMachineScaleSets",
        "POST",
        "deallocate",
        "deallocate",
    ),
    ("virtualMachineScaleSets", "POST", "poweroff", "powerOff"),
    ("virtualMachineScaleSets", "POST", "restart", "restart"),
    ("virtualMachineScaleSets", "POST", "start", "start"),
    ("deployments", "POST", "validate", "validate"),
    ("deployments", "POST", "cancel", "cancel"),
    ("deployments", "POST", "whatif", "whatIf"),
    ("deployments", "POST", "exporttemplate", "exportTemplate"),
    ("storageAccounts", "POST", "listkeys", "listKeys"),
    ("storageAccounts", "POST", "regeneratekey", "regenerateKey"),
];

/// The data plane: method, `restype`, `comp`, name.
const BLOB: [(&str, &str, &str, Operation); 43] = [
    ("PUT", "", "page", Operation::PUT_PAGE),
    ("GET", "", "", Operation::GET_BLOB),
    ("HEAD", "", "", of("blob", "getProperties")),
    ("GET", "", "pagelist", of("blob", "getPageRanges")),
    ("GET", "", "metadata", of("blob", "getMetadata")),
    ("HEAD", "", "metadata", of("blob", "getMetadata")),
    ("PUT", "", "", of("blob", "put")),
    ("DELETE", "", "", of("blob", "delete")),
    ("PUT", "", "metadata", of("blob", "setMetadata")),
    ("PUT", "", "properties", of("blob", "setProperties")),
    ("PUT", "", "lease", of("blob", "lease")),
    ("PUT", "", "tier", of("blob", "setTier")),
    ("PUT", "", "snapshot", of("blob", "snapshot")),
    ("PUT", "", "copy", of("blob", "abortCopy")),
    ("PUT", "", "incrementalcopy", of("blob", "incrementalCopy")),
    ("PUT", "", "undelete", of("blob", "undelete")),
    ("PUT", "", "expiry", of("blob", "setExpiry")),
    ("GET", "", "tags", of("blob", "getTags")),
    ("PUT", "", "tags", of("blob", "setTags")),
    ("PUT", "", "block", of("blob", "putBlock")),
    ("PUT", "", "blocklist", of("blob", "putBlockList")),
    ("GET", "", "blocklist", of("blob", "getBlockList")),
    ("PUT", "", "appendblock", of("blob", "appendBlock")),
    ("PUT", "", "seal", of("blob", "seal")),
    ("GET", "container", "list", of("container", "listBlobs")),
    ("PUT", "container", "", of("container", "create")),
    ("DELETE", "container", "", of("container", "delete")),
    ("GET", "container", "", of("container", "getProperties")),
    ("HEAD", "container", "", of("container", "getProperties")),
    (
        "GET",
        "container",
        "metadata",
        of("container", "getMetadata"),
    ),
    (
        "HEAD",
        "container",
        "metadata",
        of("container", "getMetadata"),
    ),
    (
        "PUT",
        "container",
        "metadata",
        of("container", "setMetadata"),
    ),
    ("GET", "container", "acl", of("container", "getAcl")),
    ("HEAD", "container", "acl", of("container", "getAcl")),
    ("PUT", "container", "acl", of("container", "setAcl")),
    ("PUT", "container", "lease", of("container", "lease")),
    ("PUT", "container", "undelete", of("container", "restore")),
    ("GET", "", "list", of("service", "listContainers")),
    (
        "GET",
        "service",
        "properties",
        of("service", "getProperties"),
    ),
    (
        "PUT",
        "service",
        "properties",
        of("service", "setProperties"),
    ),
    ("GET", "service", "stats", of("service", "getStatistics")),
    (
        "GET",
        "account",
        "properties",
        of("service", "getAccountInfo"),
    ),
    (
        "POST",
        "service",
        "userdelegationkey",
        of("service", "getUserDelegationKey"),
    ),
];

const fn of(group: &'static str, verb: &'static str) -> Operation {
    Operation { group, verb }
}

impl Operation {
    /// Put Page, whether it writes or clears.
    pub(crate) const PUT_PAGE: Self = of("blob", "putPage");
    /// Get Blob: the content, or a range of it.
    pub(crate) const GET_BLOB: Self = of("blob", "get");

    /// Every operation that has a name, some more than once, in no order that means anything.
    pub fn all() -> impl Iterator<Item = Self> {
        let fixed = FIXED.iter().map(|(_, _, name)| *name);
        let blob = BLOB.iter().map(|(_, _, _, name)| *name);
        let types = TYPES.iter().flat_map(|(_, _, group)| {
            let verbs = ON_ONE.iter().map(|(_, verb)| *verb).chain(["list"]);
            verbs.map(|verb| of(group, verb))
        });
        let actions = ACTIONS.iter().map(|(group, _, _, verb)| of(group, verb));
        fixed
            .chain(blob)
            .chain(types)
            .chain(actions)
            .chain([UNDER_WAY])
    }

    /// Which of the two servers it is asked of.
    #[must_use]
    pub fn plane(self) -> Plane {
        if matches!(self.group, "blob" | "container" | "service") {
            Plane::Blob
        } else {
            Plane::Arm
        }
    }

    /// The operation that a request asks for; `None` where there is no name for it.
    pub(crate) fn of_request(plane: Plane, method: &str, path_and_query: &str) -> Option<Self> {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        match plane {
            Plane::Blob => Self::of_blob(method, query),
            Plane::Arm => Self::of_arm(method, path),
        }
    }

    fn of_blob(method: &str, query: &str) -> Option<Self> {
        let value = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
                .unwrap_or_default()
        };
        let (restype, comp) = (value("restype"), value("comp"));
        BLOB.iter()
            .find(|entry| {
                entry.0 == method
                    && entry.1.eq_ignore_ascii_case(restype)
                    && entry.2.eq_ignore_ascii_case(comp)
            })
            .map(|entry| entry.3)
    }

    fn of_arm(method: &str, path: &str) -> Option<Self> {
        let path = path.to_ascii_lowercase();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let fixed = FIXED.iter().find(|(known, pattern, _)| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            *known == method
                && pattern.len() == parts.len()
                && pattern
                    .iter()
                    .zip(&parts)
                    .all(|(pattern, part)| *pattern == "*" || pattern == part)
        });
        if let Some((_, _, name)) = fixed {
            return Some(*name);
        }
        if method == "GET" && asks_after_an_operation(&parts) {
            return Some(UNDER_WAY);
        }
        // Deployments are asked after at their old place as well.
        if let ["subscriptions", _, "resourcegroups", _, rest @ ..] = parts.as_slice()
            && rest.first() == Some(&"deployments")
        {
            return Self::of_resource(method, "microsoft.resources", rest);
        }
        // A resource can be the scope of another: the last provider is whose the operation is.
        let provider = parts.iter().rposition(|part| *part == "providers")?;
        let (namespace, rest) = parts.get(provider + 1..)?.split_first()?;
        Self::of_resource(method, namespace, rest)
    }

    fn of_resource(method: &str, namespace: &str, rest: &[&str]) -> Option<Self> {
        let kind = |taken: usize| {
            let short: Vec<&str> = rest[..taken].iter().step_by(2).copied().collect();
            let short = short.join("/");
            let known = TYPES.iter().find(|t| t.0 == namespace && t.1 == short);
            known.map(|(_, _, group)| *group)
        };
        if let Some(group) = kind(rest.len()) {
            if rest.len() % 2 == 1 {
                return (method == "GET").then_some(of(group, "list"));
            }
            let verb = ON_ONE.iter().find(|(known, _)| *known == method);
            return verb.map(|(_, verb)| of(group, verb));
        }
        let (last, before) = rest.split_last()?;
        let group = kind(before.len())?;
        ACTIONS
            .iter()
            .find(|action| action.0 == group && action.1 == method && action.2 == *last)
            .map(|action| of(group, action.3))
    }
}

/// Whether a path is one that a long-running operation gave out.
fn asks_after_an_operation(parts: &[&str]) -> bool {
    match parts {
        [.., "deployments", _, "operationstatuses", _] => true,
        [.., "locations", _, kind, _] => {
            let kinds = ["operations", "operationresults"];
            kinds.iter().any(|known| kind.ends_with(known))
        }
        _ => false,
    }
}

/// Asking how a long-running operation stands.
const UNDER_WAY: Operation = of("operations", "get");

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.group, self.verb)
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(name: &str) -> Result<Self, UnknownOperation> {
        let group = name.split('.').next().unwrap_or_default();
        let names = |list: &mut dyn Iterator<Item = &'static str>| {
            let mut names: Vec<&str> = list.collect();
            names.sort_unstable();
            names.dedup();
            names.join(", ")
        };
        if let Some(known) = Self::all().find(|known| {
            name.strip_prefix(known.group)
                .and_then(|rest| rest.strip_prefix('.'))
                == Some(known.verb)
        }) {
            return Ok(known);
        }
        let mut of_group = Self::all().filter(|known| known.group == group).peekable();
        let allowed = if of_group.peek().is_some() {
            let verbs = names(&mut of_group.map(|known| known.verb));
            format!("`{group}` has {verbs}")
        } else {
            let groups = names(&mut Self::all().map(|known| known.group));
            format!("a name is GROUP.OPERATION, and the groups are {groups}")
        };
        Err(UnknownOperation {
            name: name.to_owned(),
            allowed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: &str = "/subscriptions/0000";
    const G: &str = "/subscriptions/0000/resourceGroups/rg/providers";

    fn name(plane: Plane, method: &str, path: &str) -> String {
        Operation::of_request(plane, method, path)
            .map_or_else(|| "-".to_owned(), |operation| operation.to_string())
    }

    #[test]
    fn requests_to_resource_manager_have_the_names_of_the_sdks() {
        for (method, path, expected) in [
            (
                "GET",
                "/metadata/endpoints?api-version=1".to_owned(),
                "login.endpoints",
            ),
            ("POST", "/t/oauth2/v2.0/token".into(), "login.token"),
            (
                "GET",
                "/subscriptions?api-version=1".into(),
                "subscriptions.list",
            ),
            ("GET", S.into(), "subscriptions.get"),
            (
                "PUT",
                format!("{S}/resourcegroups/a?x"),
                "resourceGroups.createOrUpdate",
            ),
            (
                "HEAD",
                format!("{S}/resourceGroups/a"),
                "resourceGroups.checkExistence",
            ),
            (
                "POST",
                format!("{S}/providers/Microsoft.Compute/register"),
                "providers.register",
            ),
            (
                "GET",
                format!("{S}/providers/Microsoft.Compute/skus"),
                "resourceSkus.list",
            ),
            (
                "GET",
                format!("{S}/providers/Microsoft.Compute/disks"),
                "disks.list",
            ),
            ("GET", format!("{G}/Microsoft.Compute/disks"), "disks.list"),
            (
                "PUT",
                format!("{G}/microsoft.COMPUTE/Disks/d"),
                "disks.createOrUpdate",
            ),
            (
                "POST",
                format!("{G}/Microsoft.Compute/disks/d/beginGetAccess?api-version=2"),
                "disks.grantAccess",
            ),
            (
                "DELETE",
                format!("{G}/Microsoft.Compute/images/i"),
                "images.delete",
            ),
            (
                "PUT",
                format!("{G}/Microsoft.Compute/galleries/g/images/d/versions/1.0.0"),
                "galleryImageVersions.createOrUpdate",
            ),
            (
                "GET",
                format!("{G}/Microsoft.Compute/galleries/g/images"),
                "galleryImages.list",
            ),
            (
                "POST",
                format!("{G}/Microsoft.Compute/virtualMachines/v/powerOff?skipShutdown=true"),
                "virtualMachines.powerOff",
            ),
            (
                "PUT",
                format!("{G}/Microsoft.Network/virtualNetworks/v/subnets/s"),
                "subnets.createOrUpdate",
            ),
            (
                "PUT",
                format!(
                    "{G}/Microsoft.Compute/disks/d/providers/Microsoft.Authorization/roleAssignments/1"
                ),
                "roleAssignments.createOrUpdate",
            ),
            (
                "GET",
                format!("{S}/providers/Microsoft.Compute/locations/westus2/DiskOperations/1?p=2"),
                "operations.get",
            ),
            (
                "GET",
                format!("{S}/providers/Microsoft.Network/locations/westus2/operationResults/1"),
                "operations.get",
            ),
            (
                "GET",
                format!("{G}/Microsoft.Resources/deployments/d/operationStatuses/1"),
                "operations.get",
            ),
            (
                "GET",
                "/subscriptions/0/resourcegroups/rg/deployments/d/operations".into(),
                "deploymentOperations.list",
            ),
            ("POST", format!("{G}/Microsoft.Compute/disks/d/fly"), "-"),
            ("GET", format!("{G}/Microsoft.Fruit/apples/a"), "-"),
            ("GET", "/nowhere".into(), "-"),
        ] {
            assert_eq!(name(Plane::Arm, method, &path), expected, "{method} {path}");
        }
    }

    #[test]
    fn requests_to_the_data_plane_are_told_apart_by_their_query() {
        for (method, path, expected) in [
            ("PUT", "/1/abcd?sv=1&comp=page&sig=x", "blob.putPage"),
            ("GET", "/1/abcd?sv=1", "blob.get"),
            ("HEAD", "/1/abcd", "blob.getProperties"),
            ("GET", "/1/abcd?comp=pagelist", "blob.getPageRanges"),
            ("PUT", "/a/c?restype=container", "container.create"),
            (
                "GET",
                "/a/c?restype=container&comp=list",
                "container.listBlobs",
            ),
            ("GET", "/a?comp=list", "service.listContainers"),
            ("PUT", "/a/c/b?comp=fruit", "-"),
        ] {
            assert_eq!(name(Plane::Blob, method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn every_name_is_read_back_and_belongs_to_a_server() {
        for operation in Operation::all() {
            assert_eq!(operation.to_string().parse(), Ok(operation));
        }
        assert_eq!(Operation::PUT_PAGE.plane(), Plane::Blob);
        let grant: Operation = "disks.grantAccess".parse().unwrap();
        assert_eq!(grant.plane(), Plane::Arm);
    }

    #[test]
    fn a_name_that_there_is_not_says_which_there_are() {
        let error = "disks.grant".parse::<Operation>().unwrap_err().to_string();
        assert!(
            error.contains("`disks.grant`") && error.contains("grantAccess"),
            "{error}"
        );
        let error = "disk.grantAccess"
            .parse::<Operation>()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("the groups are") && error.contains("disks"),
            "{error}"
        );
    }
}
