//! The api-versions that exist, from sources that are not the local Azure: the documents, the
//! recordings of real traffic, and what newer clients were seen to send.

use std::collections::BTreeSet;
use std::path::Path;

use super::operations::Operation;

/// Versions that are neither in the documents nor in the recordings, and that Microsoft's own clients
/// send: the Azure CLI 2.91 and the Python packages of 2026.
const SENT: &[(&str, &str)] = &[
    ("microsoft.compute/disks", "2025-01-02"),
    ("microsoft.compute/disks", "2026-03-02"),
    ("microsoft.compute/images", "2024-11-01"),
    ("microsoft.compute/images", "2026-04-01"),
    ("microsoft.compute/galleries", "2024-03-03"),
    ("microsoft.compute/galleries", "2026-03-03"),
    ("microsoft.compute/virtualmachines", "2024-11-01"),
    ("microsoft.compute/virtualmachines", "2026-04-01"),
    ("microsoft.compute/sshpublickeys", "2026-04-01"),
    (
        "microsoft.managedidentity/userassignedidentities",
        "2024-11-30",
    ),
    (
        "microsoft.managedidentity/userassignedidentities",
        "2025-05-31-preview",
    ),
    ("microsoft.compute/virtualmachines", "2025-11-01"),
    ("microsoft.network/*", "2023-11-01"),
    ("microsoft.network/*", "2024-07-01"),
    ("microsoft.network/*", "2025-07-01"),
    ("microsoft.network/*", "2025-09-01"),
    ("microsoft.network/*", "2026-03-01"),
    ("resourcegroups", "2024-11-01"),
    ("resourcegroups", "2025-04-01"),
    ("resources", "2024-11-01"),
    ("microsoft.resources/deployments", "2024-11-01"),
];

/// Pairs of a resource type and a version.
#[derive(Debug)]
pub(super) struct Versions(BTreeSet<(String, String)>);

impl Versions {
    pub(super) fn load(recordings: &Path, operations: &[Operation<'_>]) -> Self {
        let mut pairs: BTreeSet<(String, String)> = SENT
            .iter()
            .map(|(kind, version)| ((*kind).to_owned(), (*version).to_owned()))
            .collect();
        for operation in operations {
            let path: Vec<&str> = operation.template().split('/').skip(1).collect();
            pairs.insert((kind(&path), operation.version.to_owned()));
        }
        let index = recordings.join("recordings-INDEX.md");
        let text = std::fs::read_to_string(&index)
            .unwrap_or_else(|error| panic!("{}: {error}", index.display()));
        for line in text.lines() {
            let Some((before, after)) = line.split_once("api-version=") else {
                continue;
            };
            let version: String = after
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '-')
                .collect();
            // `12 GET /subscriptions/SUB ~Microsoft.Network/x?…`: the tilde stands for `/providers/`.
            let Some(at) = before.find(" /") else {
                continue;
            };
            let path = before[at + 1..].replace(" ~", "/providers/");
            let path = path.split('?').next().unwrap_or_default();
            let path: Vec<&str> = path.split('/').skip(1).collect();
            pairs.insert((kind(&path), version));
        }
        Self(pairs)
    }

    pub(super) fn has(&self, path: &[&str], version: &str) -> bool {
        let kind = kind(path);
        let namespace = kind.split('/').next().unwrap_or_default();
        [kind.clone(), format!("{namespace}/*")]
            .into_iter()
            .any(|kind| self.0.contains(&(kind, version.to_owned())))
    }
}

/// The type that a path is about, in lower case: `microsoft.compute/disks`, `resourcegroups`. Types
/// inside of another have the versions of the outer one.
fn kind(path: &[&str]) -> String {
    let provider = path
        .iter()
        .rposition(|part| part.eq_ignore_ascii_case("providers"));
    let parts = match provider.map(|at| &path[at + 1..]) {
        Some([namespace, kind, ..]) => format!("{namespace}/{kind}"),
        // The providers themselves.
        Some(_) => "providers".to_owned(),
        None if path.len() > 2 => path[2].to_owned(),
        None => "subscriptions".to_owned(),
    };
    match parts.to_ascii_lowercase().as_str() {
        // One provider with the versions of disks.
        "microsoft.compute/snapshots" => "microsoft.compute/disks".to_owned(),
        other => other.to_owned(),
    }
}
