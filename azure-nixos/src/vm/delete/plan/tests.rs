use serde_json::{Value, json};

use super::*;

fn id(kind: &str, name: &str) -> String {
    format!("/subscriptions/s/resourceGroups/g/providers/{kind}/{name}")
}

fn part_id(kind: PartKind, name: &str) -> String {
    id(kind.full(), name)
}

fn machine_id(name: &str) -> String {
    id(VIRTUAL_MACHINES, name)
}

fn tag(name: &str) -> Value {
    json!({ VM_TAG: name })
}

/// Names of what goes, with the stages.
type Goes = Vec<(u8, String)>;

/// Names of what stays, with the reasons.
type Left = Vec<(String, String)>;

/// What a machine of this library has around it, the way the service shows it.
struct Group {
    machine: Option<Value>,
    parts: Vec<(PartKind, Value)>,
    strange: Vec<String>,
    roles: Roles,
    set: Option<(ResourceId, Vec<Existing>)>,
}

impl Group {
    fn of(name: &str) -> Self {
        let nic = part_id(PartKind::Interface, &format!("{name}-nic"));
        let disk = part_id(PartKind::Disk, &format!("{name}_disk1"));
        let config = json!({ "id": format!("{nic}/ipConfigurations/primary") });
        let address = part_id(PartKind::PublicIp, &format!("{name}-ip"));
        Self {
            machine: Some(json!({
                "id": machine_id(name), "name": name, "tags": tag(name),
                "properties": {
                    "storageProfile": { "osDisk": {
                        "createOption": "FromImage", "deleteOption": "Delete", "managedDisk": { "id": disk },
                    }, "dataDisks": [] },
                    "networkProfile": { "networkInterfaces": [{ "id": nic, "properties": { "deleteOption": "Delete" } }] },
                }
            })),
            parts: vec![
                (
                    PartKind::Disk,
                    json!({ "id": disk, "managedBy": machine_id(name) }),
                ),
                (
                    PartKind::Interface,
                    json!({ "id": nic, "tags": tag(name), "properties": {
                        "virtualMachine": { "id": machine_id(name) },
                        "ipConfigurations": [{ "properties": { "publicIPAddress": { "id": address } } }],
                    } }),
                ),
                (
                    PartKind::PublicIp,
                    json!({ "id": address, "tags": tag(name), "properties": { "ipConfiguration": config } }),
                ),
                (
                    PartKind::SecurityGroup,
                    json!({
                        "id": part_id(PartKind::SecurityGroup, &format!("{name}-nsg")), "tags": tag(name),
                        "properties": { "networkInterfaces": [{ "id": nic }] },
                    }),
                ),
                (
                    PartKind::VirtualNetwork,
                    json!({
                        "id": part_id(PartKind::VirtualNetwork, &format!("{name}-vnet")), "tags": tag(name),
                        "properties": { "subnets": [{ "properties": { "ipConfigurations": [config] } }] },
                    }),
                ),
            ],
            strange: Vec::new(),
            set: None,
            roles: Roles::Known(Vec::new()),
        }
    }

    fn part(&mut self, kind: PartKind) -> &mut Value {
        let found = self.parts.iter_mut().find(|(one, _)| *one == kind);
        &mut found.unwrap().1
    }

    fn machine(&mut self) -> &mut Value {
        self.machine.as_mut().unwrap()
    }

    fn decide(&self, name: &str) -> (Goes, Left) {
        let machine = self.machine.clone();
        let found = Found {
            id: machine_id(name).parse().unwrap(),
            machine: machine.map(|machine| serde_json::from_value(machine).unwrap()),
            set: self.set.clone(),
            parts: self
                .parts
                .iter()
                .map(|(kind, part)| (*kind, serde_json::from_value(part.clone()).unwrap()))
                .collect(),
            strange: self.strange.iter().map(|id| id.parse().unwrap()).collect(),
            roles: self.roles.clone(),
        };
        let Decision { goes, stays } = found.decide();
        let goes = goes
            .iter()
            .map(|one| (one.stage, one.thing.id.name().to_owned()));
        let stays = stays
            .iter()
            .map(|one| (one.thing.id.name().to_owned(), one.reason.clone()));
        (goes.collect(), stays.collect())
    }
}

fn all(name: &str) -> Goes {
    [
        (0, ""),
        (1, "_disk1"),
        (1, "-nic"),
        (2, "-ip"),
        (2, "-nsg"),
        (3, "-vnet"),
    ]
    .into_iter()
    .map(|(stage, end)| (stage, format!("{name}{end}")))
    .collect()
}

fn names(goes: &[(u8, String)]) -> Vec<&str> {
    goes.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn everything_that_was_made_for_a_machine_goes_in_azures_order() {
    let group = Group::of("web");
    assert_eq!(group.decide("web"), (all("web"), Vec::new()));
    assert_eq!(group.decide("WEB"), (all("web"), Vec::new()));
}

#[test]
fn what_is_left_of_a_machine_is_found_by_its_tag() {
    let mut group = Group::of("web");
    group.machine = None;
    group.parts.retain(|(kind, _)| *kind != PartKind::Disk);
    let (goes, stays) = group.decide("web");
    assert_eq!(names(&goes), ["web-nic", "web-ip", "web-nsg", "web-vnet"]);
    assert!(stays.is_empty());
}

#[test]
fn another_machine_loses_nothing() {
    let mut group = Group::of("web");
    let other = Group::of("web-1");
    group.parts.extend(other.parts);
    assert_eq!(group.decide("web"), (all("web"), Vec::new()));
}

#[test]
fn what_others_use_by_now_stays_with_what_that_needs() {
    let mut group = Group::of("web");
    let guest = part_id(PartKind::Interface, "guest");
    let inside = json!({ "id": format!("{guest}/ipConfigurations/x") });
    let network = group.part(PartKind::VirtualNetwork);
    network["properties"]["subnets"][0]["properties"]["ipConfigurations"]
        .as_array_mut()
        .unwrap()
        .push(inside);
    // Rules of the network's own subnet.
    let network = part_id(PartKind::VirtualNetwork, "web-vnet");
    group.part(PartKind::SecurityGroup)["properties"]["subnets"] =
        json!([{ "id": format!("{network}/subnets/default") }]);
    let (goes, stays) = group.decide("web");
    assert_eq!(names(&goes), ["web", "web_disk1", "web-nic", "web-ip"]);
    let stay = |name: &str, why: &str| (name.to_owned(), why.to_owned());
    assert_eq!(
        stays,
        [
            stay("web-nsg", "the virtual network web-vnet uses it"),
            stay("web-vnet", "the network interface guest uses it"),
        ]
    );
}

#[test]
fn rules_of_a_subnet_go_after_its_network() {
    let mut group = Group::of("web");
    let network = part_id(PartKind::VirtualNetwork, "web-vnet");
    group.part(PartKind::SecurityGroup)["properties"]["subnets"] =
        json!([{ "id": format!("{network}/subnets/default") }]);
    let (goes, _) = group.decide("web");
    assert_eq!(goes.last().unwrap(), &(4, "web-nsg".to_owned()));
}

#[test]
fn a_shared_network_is_named_and_stays() {
    let mut group = Group::of("web");
    group.part(PartKind::VirtualNetwork)["tags"] = json!({ "owner": "ops" });
    group.part(PartKind::SecurityGroup)["tags"] = tag("db");
    let (goes, stays) = group.decide("web");
    assert_eq!(names(&goes), ["web", "web_disk1", "web-nic", "web-ip"]);
    let reason = "it was not made for web".to_owned();
    assert_eq!(
        stays,
        [
            ("web-nsg".to_owned(), reason.clone()),
            ("web-vnet".to_owned(), reason)
        ]
    );
}

#[test]
fn disks_go_as_the_machine_says() {
    let mut group = Group::of("web");
    let mut disks = Vec::new();
    for (name, option, tags) in [
        ("goes", "Delete", json!({})),
        ("stays", "Detach", json!({})),
        ("made", "Detach", tag("web")),
    ] {
        let id = part_id(PartKind::Disk, name);
        disks.push(json!({ "deleteOption": option, "managedDisk": { "id": id } }));
        let part = json!({ "id": id, "managedBy": machine_id("web"), "tags": tags });
        group.parts.push((PartKind::Disk, part));
    }
    let storage = &mut group.machine()["properties"]["storageProfile"];
    storage["dataDisks"] = json!(disks);
    storage["osDisk"]["deleteOption"] = json!("Detach");
    let (goes, stays) = group.decide("web");
    assert_eq!(
        names(&goes),
        [
            "web",
            "goes",
            "made",
            "web_disk1",
            "web-nic",
            "web-ip",
            "web-nsg",
            "web-vnet"
        ]
    );
    assert_eq!(stays, [("stays".to_owned(), SET_TO_STAY.to_owned())]);

    // A disk that was there before the machine is nobody's to delete.
    group.machine()["properties"]["storageProfile"]["osDisk"]["createOption"] = json!("Attach");
    let (_, stays) = group.decide("web");
    assert!(stays.contains(&("web_disk1".to_owned(), SET_TO_STAY.to_owned())));
}

#[test]
fn of_a_machine_of_others_goes_what_its_maker_wanted() {
    let mut group = Group::of("web");
    for (_, part) in &mut group.parts {
        part["tags"] = Value::Null;
    }
    group.machine()["tags"] = Value::Null;
    let (goes, stays) = group.decide("web");
    assert_eq!(names(&goes), ["web", "web_disk1", "web-nic"]);
    assert_eq!(stays.len(), 3, "{stays:?}");

    group.part(PartKind::PublicIp)["properties"]["deleteOption"] = json!("Delete");
    let (goes, _) = group.decide("web");
    assert_eq!(names(&goes), ["web", "web_disk1", "web-nic", "web-ip"]);

    let own = &mut group.machine()["properties"];
    own["storageProfile"]["osDisk"]["deleteOption"] = Value::Null;
    own["networkProfile"]["networkInterfaces"][0]["properties"] = Value::Null;
    let (goes, stays) = group.decide("web");
    assert_eq!(names(&goes), ["web"]);
    let left = stays.iter().filter(|(_, why)| why == SET_TO_STAY);
    assert_eq!(left.count(), 2, "{stays:?}");
}

#[test]
fn an_interface_that_is_another_machines_by_now_stays() {
    let mut group = Group::of("web");
    group.machine = None;
    group.part(PartKind::Interface)["properties"]["virtualMachine"]["id"] = json!(machine_id("db"));
    let (goes, stays) = group.decide("web");
    assert!(goes.is_empty(), "{goes:?}");
    assert!(
        stays.contains(&("web-nic".to_owned(), "the machine db uses it".to_owned())),
        "{stays:?}"
    );
    // Its own disk has no tag, but says whose it is.
    assert_eq!(stays.len(), 5, "{stays:?}");
}

#[test]
fn things_of_unknown_types_are_named() {
    let mut group = Group::of("web");
    let identity = id("Microsoft.ManagedIdentity/userAssignedIdentities", "web-id");
    let extension = format!("{}/extensions/x", machine_id("WEB"));
    group.strange = vec![identity, extension];
    let (goes, stays) = group.decide("web");
    assert_eq!(goes, all("web"));
    assert_eq!(stays.len(), 1);
    assert_eq!(stays[0].0, "web-id");
}

#[test]
fn roles_of_the_machine_go_after_it() {
    let mut group = Group::of("web");
    let assignment = |scope: &str, name: &str| Role {
        id: format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"),
        says: format!("Reader in {scope}"),
    };
    group.roles = Roles::Known(vec![
        assignment("/subscriptions/s/resourceGroups/data", "one"),
        assignment("/providers/Microsoft.Management/managementGroups/m", "two"),
    ]);
    let (goes, stays) = group.decide("web");
    let mut expected = all("web");
    let after_disk_and_interface = 3;
    expected.insert(after_disk_and_interface, (1, "one".to_owned()));
    assert_eq!(goes, expected);
    let [(name, reason)] = stays.as_slice() else {
        panic!("{stays:?}");
    };
    assert_eq!(name, "web");
    assert!(
        reason.starts_with("Reader in /providers/") && reason.contains("/two "),
        "{reason}"
    );

    group.roles = Roles::Unseen("1-2-3".to_owned());
    let (goes, stays) = group.decide("web");
    assert_eq!(goes, all("web"));
    assert!(stays[0].1.contains("--assignee 1-2-3"), "{stays:?}");
}

#[test]
fn a_set_goes_before_its_machines_and_they_before_what_they_share() {
    let set = id(crate::arm::compute::SCALE_SETS, "web");
    let mut group = Group::of("web");
    // Two machines with parts of their own, and the network that they share.
    let is_shared = |(kind, _): &(PartKind, Value)| {
        matches!(kind, PartKind::SecurityGroup | PartKind::VirtualNetwork)
    };
    let mut members = Vec::new();
    let mut configs = Vec::new();
    let mut parts: Vec<_> = group.parts.clone().into_iter().filter(is_shared).collect();
    for name in ["web_1", "web_2"] {
        let mut one = Group::of(name);
        let mut machine = one.machine().clone();
        machine["tags"] = tag("web");
        machine["properties"]["virtualMachineScaleSet"] = json!({ "id": set });
        let machine: Existing = serde_json::from_value(machine).unwrap();
        members.push(machine);
        let nic = part_id(PartKind::Interface, &format!("{name}-nic"));
        configs.push(json!({ "id": format!("{nic}/ipConfigurations/primary") }));
        parts.extend(one.parts.into_iter().filter(|part| !is_shared(part)));
    }
    for (kind, part) in &mut parts {
        if part.get("tags").is_some() {
            part["tags"] = tag("web");
        }
        match kind {
            PartKind::VirtualNetwork => {
                part["properties"]["subnets"][0]["properties"]["ipConfigurations"] = json!(configs);
            }
            PartKind::SecurityGroup => part["properties"]["networkInterfaces"] = json!([]),
            PartKind::PublicIp => part["properties"]["deleteOption"] = json!("Delete"),
            _ => {}
        }
    }
    group.machine = None;
    group.parts = parts;
    group.set = Some((set.parse().unwrap(), members));
    let (goes, stays) = group.decide("web");
    let goes: Vec<(u8, &str)> = goes.iter().map(|(at, name)| (*at, name.as_str())).collect();
    assert_eq!(
        goes,
        [
            (0, "web"),
            (1, "web_1"),
            (1, "web_2"),
            (1, "web_1_disk1"),
            (1, "web_2_disk1"),
            (1, "web_1-nic"),
            (1, "web_2-nic"),
            (2, "web_1-ip"),
            (2, "web_2-ip"),
            (2, "web-nsg"),
            (3, "web-vnet"),
        ]
    );
    assert!(stays.is_empty(), "{stays:?}");

    // One of them by itself leaves what is shared.
    let member = group.set.take().unwrap().1.remove(0);
    let found = Found {
        id: machine_id("web_1").parse().unwrap(),
        machine: Some(member),
        set: None,
        parts: group
            .parts
            .iter()
            .map(|(kind, part)| (*kind, serde_json::from_value(part.clone()).unwrap()))
            .collect(),
        strange: Vec::new(),
        roles: Roles::Known(Vec::new()),
    };
    let decision = found.decide();
    let goes: Vec<&str> = decision
        .goes
        .iter()
        .map(|one| one.thing.id.name())
        .collect();
    assert_eq!(goes, ["web_1", "web_1_disk1", "web_1-nic", "web_1-ip"]);
    let stays: Vec<&str> = decision
        .stays
        .iter()
        .map(|one| one.thing.id.name())
        .collect();
    assert_eq!(stays, ["web-vnet"]);
}
