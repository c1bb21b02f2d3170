//! Resource ids.
//!
//! Azure compares them without case and does not keep the case of the path either: the segment
//! names come back in its own spelling, the names as they were written.

use std::fmt;

/// The types of resources there are here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Disk,
    Image,
    Vm,
    Vnet,
    Nsg,
    PublicIp,
    Nic,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Disk,
        Self::Image,
        Self::Vm,
        Self::Vnet,
        Self::Nsg,
        Self::PublicIp,
        Self::Nic,
    ];

    /// The namespace of the provider.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::Disk | Self::Image | Self::Vm => "Microsoft.Compute",
            _ => "Microsoft.Network",
        }
    }

    /// The type without the namespace.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Disk => "disks",
            Self::Image => "images",
            Self::Vm => "virtualMachines",
            Self::Vnet => "virtualNetworks",
            Self::Nsg => "networkSecurityGroups",
            Self::PublicIp => "publicIPAddresses",
            Self::Nic => "networkInterfaces",
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
}

/// The id of a resource at the top of its provider.
#[derive(Clone, Debug)]
pub(crate) struct ResourceId {
    pub(crate) subscription: String,
    pub(crate) group: String,
    pub(crate) kind: Kind,
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
            short,
            name,
        ] = parts[..]
        else {
            return None;
        };
        let shaped = subscriptions.eq_ignore_ascii_case("subscriptions")
            && groups.eq_ignore_ascii_case("resourceGroups")
            && providers.eq_ignore_ascii_case("providers");
        Some(Self {
            subscription: subscription.to_owned(),
            group: group.to_owned(),
            kind: shaped.then(|| Kind::find(namespace, short)).flatten()?,
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "/subscriptions/{}/resourceGroups/{}/providers/{}/{}/{}",
            self.subscription,
            self.group,
            self.kind.namespace(),
            self.kind.short(),
            self.name
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
}
