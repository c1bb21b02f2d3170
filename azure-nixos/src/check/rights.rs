//! What the login has to be allowed to do, and whether it is.

use super::Topic;
use super::report::{CheckItem, Outcome};
use crate::arm::authorization::{Permission, allows};
use crate::{Error, ErrorKind, Result};

/// The actions of an upload: those of [`ImageBuilder`](crate::ImageBuilder), its undoing included.
pub(super) const UPLOAD: &[&str] = &[
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/disks/write",
    "Microsoft.Compute/disks/delete",
    "Microsoft.Compute/disks/beginGetAccess/action",
    "Microsoft.Compute/disks/endGetAccess/action",
    "Microsoft.Compute/images/read",
    "Microsoft.Compute/images/write",
    "Microsoft.Compute/images/delete",
];

/// The actions of a machine: those of [`VmBuilder`](crate::VmBuilder), its undoing included. To join
/// is to refer to a part of the network from another, and has an action of its own; the disk of a
/// machine is written as a disk.
pub(super) const BOOT: &[&str] = &[
    "Microsoft.Compute/images/read",
    "Microsoft.Compute/disks/write",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/virtualMachines/write",
    "Microsoft.Compute/virtualMachines/delete",
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/write",
    "Microsoft.Network/virtualNetworks/delete",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/networkSecurityGroups/read",
    "Microsoft.Network/networkSecurityGroups/write",
    "Microsoft.Network/networkSecurityGroups/delete",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/publicIPAddresses/read",
    "Microsoft.Network/publicIPAddresses/write",
    "Microsoft.Network/publicIPAddresses/delete",
    "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/write",
    "Microsoft.Network/networkInterfaces/delete",
    "Microsoft.Network/networkInterfaces/join/action",
];

/// The actions of a scale set: those of [`ScaleSetBuilder`](crate::vm::ScaleSetBuilder), its undoing
/// included. The service makes what each machine has; what of that it has left is taken away here.
pub(super) const SCALE_SET: &[&str] = &[
    "Microsoft.Compute/images/read",
    "Microsoft.Compute/virtualMachineScaleSets/read",
    "Microsoft.Compute/virtualMachineScaleSets/write",
    "Microsoft.Compute/virtualMachineScaleSets/delete",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Compute/disks/read",
    "Microsoft.Compute/disks/delete",
    "Microsoft.Network/virtualNetworks/read",
    "Microsoft.Network/virtualNetworks/write",
    "Microsoft.Network/virtualNetworks/delete",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/networkSecurityGroups/read",
    "Microsoft.Network/networkSecurityGroups/write",
    "Microsoft.Network/networkSecurityGroups/delete",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/publicIPAddresses/read",
    "Microsoft.Network/publicIPAddresses/delete",
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/delete",
];

/// Making a group.
pub(super) const MAKE_GROUP: &str = "Microsoft.Resources/subscriptions/resourceGroups/write";

/// What is said about roles wherever one is missing.
pub(super) const ASK: &str = "ask an owner for the role Contributor there; after a new assignment wait a few minutes or log in again";

/// What is known about the login's permissions in a place.
pub(super) type Known = Result<Vec<Permission>>;

/// Whether an action is allowed, as far as that is known.
pub(super) fn may(known: &Known, action: &str) -> Option<bool> {
    known.as_ref().ok().map(|roles| allows(roles, action))
}

/// The item on what some work needs, its list of actions, in a place such as `the resource group g`.
pub(super) fn check(
    topic: Topic,
    stops: bool,
    (work, needed): (&str, &[&str]),
    place: &str,
    known: &Known,
) -> CheckItem {
    let roles = match known {
        Ok(roles) => roles,
        Err(error) => return unknown(topic, place, error),
    };
    let missing: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|action| !allows(roles, action))
        .collect();
    if missing.is_empty() {
        return CheckItem::passed(
            topic,
            format!("this login may do what {work} needs in {place}"),
        );
    }
    let what = if missing.len() == needed.len() {
        format!("any of the {} actions that {work} needs", needed.len())
    } else {
        format!("{}, which {work} needs", missing.join(", "))
    };
    CheckItem::stops(
        topic,
        stops,
        format!("this login may not do {what}, in {place}"),
    )
    .with_advice(ASK)
}

fn unknown(topic: Topic, place: &str, error: &Error) -> CheckItem {
    if error.kind() == ErrorKind::Forbidden {
        return CheckItem::not_checked(
            topic,
            format!("this login may not ask what it may do in {place}"),
        )
        .with_advice("try it: an upload undoes what it made when a right is missing; with the role Contributor it could be asked");
    }
    CheckItem::from_error(topic, Outcome::NotChecked, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(actions: &[&str], not: &[&str]) -> Known {
        Ok(vec![Permission {
            actions: actions.iter().map(ToString::to_string).collect(),
            not_actions: not.iter().map(ToString::to_string).collect(),
        }])
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |known: &Known| {
            check(
                Topic::RightsUpload,
                true,
                ("an upload", UPLOAD),
                "the resource group g",
                known,
            )
        };
        assert_eq!(
            check(&roles(&["Microsoft.Compute/*"], &[])).outcome,
            Outcome::Passed
        );
        let item = check(&roles(
            &["*"],
            &["Microsoft.Compute/disks/*/action", "*/images/delete"],
        ));
        assert_eq!(item.outcome, Outcome::Failed);
        assert_eq!(
            item.found,
            "this login may not do Microsoft.Compute/disks/beginGetAccess/action, \
             Microsoft.Compute/disks/endGetAccess/action, Microsoft.Compute/images/delete, \
             which an upload needs, in the resource group g"
        );
        assert!(item.to_do.unwrap().contains("Contributor"));
        let item = check(&Ok(Vec::new()));
        assert!(
            item.found.contains("any of the 8 actions"),
            "{}",
            item.found
        );
    }

    #[test]
    fn what_is_not_known_stops_nothing() {
        let refused = Err(Error::new(ErrorKind::Forbidden, "no"));
        let item = check(
            Topic::RightsBoot,
            true,
            ("making a machine", BOOT),
            "the subscription",
            &refused,
        );
        assert_eq!(item.outcome, Outcome::NotChecked);
        assert_eq!(may(&refused, MAKE_GROUP), None);
        assert_eq!(may(&roles(&["*/write"], &[]), MAKE_GROUP), Some(true));
    }
}
