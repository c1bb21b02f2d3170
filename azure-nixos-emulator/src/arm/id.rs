//! Resource ids.
//!
//! Azure compares them without case and does not keep the case of the path either: the segment
//! names come back in its own spelling, the names as they were written.

use std::fmt;

/// The types of resources there are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Disk,
    Snapshot,
    Image,
    Vm,
    ScaleSet,
    SshKey,
    Gallery,
    /// An image definition.
    GalleryImage,
    /// An image version.
    GalleryVersion,
    Vnet,
    Nsg,
    PublicIp,
    Nic,
    /// A user-assigned managed identity.
    Identity,
    StorageAccount,
}

impl Kind {
    pub(crate) const ALL: [Self; 15] = [
        Self::Disk,
        Self::Snapshot,
        Self::Image,
        Self::Vm,
        Self::ScaleSet,
        Self::SshKey,
        Self::Gallery,
        Self::GalleryImage,
        Self::GalleryVersion,
        Self::Vnet,
        Self::Nsg,
        Self::PublicIp,
        Self::Nic,
        Self::Identity,
        Self::StorageAccount,
    ];

    /// The namespace of the provider.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Vnet | Self::Nsg | Self::PublicIp | Self::Nic => "Microsoft.Network",
            Self::Identity => "Microsoft.ManagedIdentity",
            Self::StorageAccount => "Microsoft.Storage",
            _ => "Microsoft.Compute",
        }
    }

    /// The type without the namespace; a type inside of another comes after it and a slash.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Disk => "disks",
            Self::Snapshot => "snapshots",
            Self::Image => "images",
            Self::Vm => "virtualMachines",
            Self::ScaleSet => "virtualMachineScaleSets",
            Self::SshKey => "sshPublicKeys",
            Self::Gallery => "galleries",
            Self::GalleryImage => "galleries/images",
            Self::GalleryVersion => "galleries/images/versions",
            Self::Vnet => "virtualNetworks",
            Self::Nsg => "networkSecurityGroups",
            Self::PublicIp => "publicIPAddresses",
            Self::Nic => "networkInterfaces",
            Self::Identity => "userAssignedIdentities",
            Self::StorageAccount => "storageAccounts",
        }
    }

    /// The full type: `Microsoft.Compute/disks`.
    pub(crate) fn full(self) -> String {
        format!("{}/{}", self.namespace(), self.short())
    }

    /// The type of a namespace and a short name in any case.
    pub(crate) fn find(namespace: &str, short: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| {
            kind.namespace().eq_ignore_ascii_case(namespace)
                && kind.short().eq_ignore_ascii_case(short)
        })
    }

    /// What a path names after its namespace, as in `galleries/g/images/d/versions`: the innermost
    /// type that there is here, the names down to it (see [`ResourceId::name`]; one less than
    /// types where all of the type are meant), and how many parts of the path those are.
    pub(crate) fn in_path(namespace: &str, parts: &[&str]) -> Option<(Self, String, usize)> {
        (1..=parts.len()).rev().find_map(|taken| {
            let short: Vec<&str> = parts[..taken].iter().step_by(2).copied().collect();
            let names: Vec<&str> = parts[..taken].iter().skip(1).step_by(2).copied().collect();
            let kind = Self::find(namespace, &short.join("/"))?;
            Some((kind, names.join("/"), taken))
        })
    }

    /// How the type and a name are written in a path: `galleries/g/images/d`.
    pub(crate) fn path(self, name: &str) -> String {
        let mut names = name.split('/');
        self.short()
            .split('/')
            .flat_map(|part| [Some(part), names.next()])
            .flatten()
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// The id of a resource in a group.
#[derive(Clone, Debug)]
pub(crate) struct ResourceId {
    pub(crate) subscription: String,
    pub(crate) group: String,
    pub(crate) kind: Kind,
    /// With the names of those it is inside of before it, as templates write it:
    /// `gallery/definition/1.0.0`.
    pub(crate) name: String,
}

impl ResourceId {
    /// Reads an id, whatever its case. `None` when it is no id, or of a type not known here.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let parts: Vec<&str> = id.strip_prefix('/')?.split('/').collect();
        let [
            subscriptions,
            subscription,
            groups,
            group,
            providers,
            namespace,
            ref path @ ..,
        ] = parts[..]
        else {
            return None;
        };
        let shaped = subscriptions.eq_ignore_ascii_case("subscriptions")
            && groups.eq_ignore_ascii_case("resourceGroups")
            && providers.eq_ignore_ascii_case("providers")
            && path.len() % 2 == 0
            && !path.contains(&"");
        let (kind, name, taken) = Kind::in_path(namespace, path).filter(|_| shaped)?;
        (taken == path.len()).then(|| Self {
            subscription: subscription.to_owned(),
            group: group.to_owned(),
            kind,
            name,
        })
    }

    /// The resource's own name.
    pub(crate) fn leaf(&self) -> &str {
        leaf(&self.name)
    }

    /// The id of what it is inside of, where it is inside of something.
    pub(crate) fn parent(&self) -> Option<Self> {
        let (name, _) = self.name.rsplit_once('/')?;
        let (short, _) = self.kind.short().rsplit_once('/')?;
        Some(Self {
            kind: Kind::find(self.kind.namespace(), short)?,
            name: name.to_owned(),
            ..self.clone()
        })
    }
}

/// The last part of a name.
pub(crate) fn leaf(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, leaf)| leaf)
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/subscriptions/{}/resourceGroups/{}/providers/{}/{}",
            self.subscription,
            self.group,
            self.kind.namespace(),
            self.kind.path(&self.name)
        )
    }
}

/// Whether two ids are the same.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_in_azures_spelling() {
        let id = ResourceId::parse(
            "/SUBSCRIPTIONS/s/resourcegroups/Rg/Providers/microsoft.compute/DISKS/Web_1",
        )
        .unwrap();
        assert_eq!(
            id.to_string(),
            "/subscriptions/s/resourceGroups/Rg/providers/Microsoft.Compute/disks/Web_1"
        );
        assert!(ResourceId::parse("/subscriptions/s/resourceGroups/rg").is_none());
        assert!(ResourceId::parse("disks/web").is_none());
    }

    #[test]
    fn a_type_inside_of_another_has_all_names() {
        let version = "/subscriptions/s/resourceGroups/Rg/providers/Microsoft.Compute/galleries/G/images/D/versions/1.0.0";
        let id = ResourceId::parse(&version.replace("/versions/", "/VERSIONS/")).unwrap();
        assert_eq!(id.to_string(), version);
        assert_eq!((id.name.as_str(), id.leaf()), ("G/D/1.0.0", "1.0.0"));
        let definition = id.parent().unwrap();
        assert_eq!(
            (definition.kind, definition.name.as_str()),
            (Kind::GalleryImage, "G/D")
        );
        assert!(definition.parent().unwrap().parent().is_none());
        assert!(ResourceId::parse(&version.replace("/1.0.0", "")).is_none());
        let subnet = "/subscriptions/s/resourceGroups/r/providers/Microsoft.Network/virtualNetworks/v/subnets/s";
        assert!(ResourceId::parse(subnet).is_none());
        assert_eq!(
            Kind::in_path("microsoft.network", &["virtualnetworks", "v", "subnets"]),
            Some((Kind::Vnet, "v".to_owned(), 2))
        );
        assert_eq!(
            Kind::in_path("Microsoft.Compute", &["galleries", "g", "images"]),
            Some((Kind::GalleryImage, "g".to_owned(), 3))
        );
    }
}
