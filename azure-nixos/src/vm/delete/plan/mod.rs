//! What goes with a machine and what stays, decided before anything is deleted.
//!
//! No request is made here.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::super::addresses::publics_of;
use super::super::info::{is_delete, is_for};
use super::super::owner::VM_TAG;
use super::roles::{Role, Roles};
use crate::arm::compute::{Existing, VIRTUAL_MACHINES};
use crate::arm::{Part, PartKind, ResourceId};

/// A thing in Azure. It prints as in a sentence: `the network interface web-1-nic`, `the role assignment
/// 4f3c… (Reader in /subscriptions/…)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Thing {
    /// Its id.
    pub id: ResourceId,
    /// What it is called in a sentence: `network interface`.
    pub what: String,
    /// What it says, where its name says nothing.
    pub detail: Option<String>,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {}", self.what, self.id.name())?;
        match &self.detail {
            Some(detail) => write!(f, " ({detail})"),
            None => Ok(()),
        }
    }
}

/// A thing that has to do with a machine and is not deleted with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stays {
    /// What stays.
    pub thing: Thing,
    /// Why, as a clause: `the network interface web-2-nic uses it`.
    pub reason: String,
}

/// A thing that is to be deleted.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) thing: Thing,
    pub(super) kind: Kind,
    /// Things of one stage do not need each other; those of earlier ones need those of later ones.
    pub(super) stage: u8,
}

/// How a thing is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ScaleSet,
    Machine,
    /// A machine that goes with its set.
    Member,
    Part(PartKind),
    RoleAssignment,
}

/// What was found in a group.
#[derive(Debug)]
pub(super) struct Found {
    /// The id that a machine of this name has.
    pub(super) id: ResourceId,
    pub(super) machine: Option<Existing>,
    /// The id of a scale set of this name and its machines, where there is one.
    pub(super) set: Option<(ResourceId, Vec<Existing>)>,
    pub(super) parts: Vec<(PartKind, Part)>,
    /// Things of other types that bear the tag.
    pub(super) strange: Vec<ResourceId>,
    /// Those of the machine's own identity.
    pub(super) roles: Roles,
}

/// The decision.
#[derive(Debug, Default)]
pub(super) struct Decision {
    pub(super) goes: Vec<Planned>,
    pub(super) stays: Vec<Stays>,
}

/// What goes, and who uses it.
type Going<'a> = HashMap<&'a ResourceId, (PartKind, Vec<String>)>;

/// What becomes of something that a machine has and that no tag says for whom it was made.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// The service deletes it with the machine.
    Goes,
    /// It belongs to the machine, unless it was made for another.
    IfOurs,
    /// The machine's maker did not want it to go.
    Stays,
}

/// What is left by the machine's own description.
const SET_TO_STAY: &str = "the machine is set to leave it";

fn thing(id: &ResourceId, what: &str) -> Thing {
    Thing {
        id: id.clone(),
        what: what.to_owned(),
        detail: None,
    }
}

/// A user of something, as in a sentence.
pub(super) fn user(id: &str) -> String {
    let Ok(id) = id.parse::<ResourceId>() else {
        return id.to_owned();
    };
    let known = PartKind::ALL
        .map(|kind| (kind.full(), kind.what()))
        .into_iter()
        .chain([(VIRTUAL_MACHINES, "machine")])
        .find(|(full, _)| id.is_kind(full));
    match known {
        Some((_, what)) => format!("the {what} {}", id.name()),
        None => id.to_string(),
    }
}

/// Machine, then what only it has, then what an interface has, then the network.
fn stage(kind: PartKind) -> u8 {
    match kind {
        PartKind::Disk | PartKind::Interface => 1,
        PartKind::PublicIp | PartKind::SecurityGroup => 2,
        PartKind::VirtualNetwork => 3,
    }
}

impl Found {
    /// Decides.
    ///
    /// A thing goes when its tag says that it was made for this machine, or when it goes with the
    /// machine by the machine's own description; and nothing else uses it. Of a machine that was not
    /// made by this library nothing goes that its maker did not want to go.
    pub(super) fn decide(&self) -> Decision {
        let name = self.id.name();
        let mut stays: BTreeMap<String, Stays> = BTreeMap::new();
        let mut stay = |thing: Thing, reason: String| {
            let key = thing.id.as_str().to_ascii_lowercase();
            stays.entry(key).or_insert(Stays { thing, reason });
        };
        let wishes = self.wishes();
        let mut going: Going<'_> = HashMap::new();
        for (kind, part) in &self.parts {
            let Some(id) = &part.id else { continue };
            let is_ours = is_for(&part.tags, name);
            let is_anothers =
                !is_ours && part.tags.keys().any(|tag| tag.eq_ignore_ascii_case(VM_TAG));
            let refusal = match wishes.get(id) {
                _ if is_ours => None,
                Some(Wish::IfOurs) if is_anothers => Some("it was made for another machine"),
                Some(Wish::Goes | Wish::IfOurs) => None,
                Some(Wish::Stays) => Some(SET_TO_STAY),
                None => continue,
            };
            match refusal {
                Some(reason) => stay(thing(id, kind.what()), reason.to_owned()),
                None => {
                    going.insert(id, (*kind, part.users(*kind)));
                }
            }
        }
        // What stays may itself use what would go, so it is gone through until nothing changes.
        while let Some((id, kind, by)) = self.used_by_others(&going) {
            going.remove(&id);
            stay(thing(&id, kind.what()), format!("{by} uses it"));
        }
        // What the machine uses and others made is worth a word.
        for (kind, part) in &self.parts {
            let Some(id) = &part.id else { continue };
            let mut users = part.users(*kind).into_iter();
            if !going.contains_key(id) && users.any(|user| self.is_going(&user, &going)) {
                let reason = format!("it was not made for {name}");
                stay(thing(id, kind.what()), reason);
            }
        }
        for id in &self.strange {
            if !is_below(id, &self.id) && !going.keys().any(|owner| is_below(id, owner)) {
                let reason = "things of its type are not deleted here".to_owned();
                stay(thing(id, "resource"), reason);
            }
        }
        let (roles, left) = self.roles();
        Decision {
            goes: self.ordered(&going, roles),
            stays: stays.into_values().chain(left).collect(),
        }
    }

    /// The roles of the machine: those that go with it, and what is to be said of the others.
    fn roles(&self) -> (Vec<Thing>, Vec<Stays>) {
        let left = |reason: String| Stays {
            thing: thing(&self.id, "roles of the machine"),
            reason,
        };
        let mut goes = Vec::new();
        let mut stays = Vec::new();
        match &self.roles {
            Roles::Known(roles) => {
                for Role { id, says } in roles {
                    match id.parse() {
                        Ok(id) => goes.push(Thing {
                            id,
                            what: "role assignment".to_owned(),
                            detail: Some(says.clone()),
                        }),
                        Err(_) => stays.push(left(format!(
                            "{says} is given above the subscription; az role assignment delete --ids {id} takes it away"
                        ))),
                    }
                }
            }
            Roles::Unseen(principal) => stays.push(left(format!(
                "this login may not look for them; who may finds them with az role assignment list --all --assignee {principal}"
            ))),
        }
        (goes, stays)
    }

    fn used_by_others(&self, going: &Going<'_>) -> Option<(ResourceId, PartKind, String)> {
        going.iter().find_map(|(id, (kind, users))| {
            let other = users.iter().find(|user| !self.is_going(user, going))?;
            Some(((*id).clone(), *kind, user(other)))
        })
    }

    fn is_going(&self, user: &str, going: &Going<'_>) -> bool {
        // Also when it is gone: who used something may be named a moment longer.
        user.eq_ignore_ascii_case(self.id.as_str())
            || user
                .parse::<ResourceId>()
                .is_ok_and(|user| going.contains_key(&user) || self.has_member(&user))
    }

    /// The machines that go.
    pub(super) fn machines(&self) -> impl Iterator<Item = &Existing> {
        self.machine.iter().chain(self.members())
    }

    /// Those that go with their set.
    fn members(&self) -> impl Iterator<Item = &Existing> {
        self.set.iter().flat_map(|(_, members)| members)
    }

    fn has_member(&self, id: &ResourceId) -> bool {
        self.members().any(|member| member.id.as_ref() == Some(id))
    }

    fn ordered(&self, going: &Going<'_>, roles: Vec<Thing>) -> Vec<Planned> {
        let is_network = |user: &String| {
            let user = user.parse::<ResourceId>().ok();
            let kind = user
                .and_then(|user| going.get(&user))
                .map(|(kind, _)| *kind);
            kind == Some(PartKind::VirtualNetwork)
        };
        let parts = going.iter().map(|(id, (kind, users))| {
            // Rules of a subnet are free when its network is gone.
            let is_subnets = *kind == PartKind::SecurityGroup && users.iter().any(is_network);
            Planned {
                thing: thing(id, kind.what()),
                kind: Kind::Part(*kind),
                stage: if is_subnets {
                    stage(PartKind::VirtualNetwork) + 1
                } else {
                    stage(*kind)
                },
            }
        });
        let machine = self.machine.iter().map(|machine| Planned {
            thing: thing(machine.id.as_ref().unwrap_or(&self.id), "machine"),
            kind: Kind::Machine,
            stage: 0,
        });
        let set = self.set.iter().map(|(id, _)| Planned {
            thing: thing(id, "scale set"),
            kind: Kind::ScaleSet,
            stage: 0,
        });
        // They go with their set; what that leaves is deleted after it.
        let members = self.members().filter_map(|member| {
            Some(Planned {
                thing: thing(member.id.as_ref()?, "machine"),
                kind: Kind::Member,
                stage: 1,
            })
        });
        // After the machine: one that cannot be deleted goes on working.
        let roles = roles.into_iter().map(|thing| Planned {
            thing,
            kind: Kind::RoleAssignment,
            stage: 1,
        });
        let mut goes: Vec<Planned> = parts
            .chain(machine)
            .chain(set)
            .chain(members)
            .chain(roles)
            .collect();
        goes.sort_by_cached_key(|planned| {
            let id = planned.thing.id.as_str().to_ascii_lowercase();
            (planned.stage, planned.kind, id)
        });
        goes
    }

    /// What the machines' descriptions want of what they have.
    fn wishes(&self) -> HashMap<ResourceId, Wish> {
        let mut wishes = HashMap::new();
        for machine in self.machines() {
            let made_here = is_for(&machine.tags, self.id.name());
            let storage = &machine.properties.storage_profile;
            let os_disk = storage.os_disk.iter().map(|disk| (disk, true));
            for (disk, is_os) in os_disk.chain(storage.data_disks.iter().map(|disk| (disk, false)))
            {
                let Some(id) = disk.managed_disk.as_ref().and_then(|disk| disk.id.clone()) else {
                    continue;
                };
                let origin = disk.create_option.as_deref();
                let from_image = origin.is_some_and(|from| from.eq_ignore_ascii_case("FromImage"));
                let wish = if is_delete(disk.delete_option.as_deref()) {
                    Wish::Goes
                } else if is_os && from_image && made_here {
                    Wish::IfOurs
                } else {
                    Wish::Stays
                };
                wishes.insert(id, wish);
            }
            for interface in &machine.properties.network_profile.network_interfaces {
                let option = interface.properties.as_ref();
                let goes = option.is_some_and(|own| is_delete(own.delete_option.as_deref()));
                let wish = match (goes, made_here) {
                    (true, _) => Wish::Goes,
                    (false, true) => Wish::IfOurs,
                    (false, false) => Wish::Stays,
                };
                wishes.insert(interface.id.clone(), wish);
            }
        }
        // An address can be set to go with the machine whose interface has it.
        let by_id: HashMap<&ResourceId, &Part> = self
            .parts
            .iter()
            .filter_map(|(_, part)| Some((part.id.as_ref()?, part)))
            .collect();
        let part = |id: &ResourceId| by_id.get(id).copied();
        let addresses: Vec<ResourceId> = wishes
            .iter()
            .filter(|(_, wish)| matches!(wish, Wish::Goes))
            .filter_map(|(id, _)| part(id))
            .flat_map(publics_of)
            .filter(|id| {
                part(id)
                    .is_some_and(|address| is_delete(address.properties.delete_option.as_deref()))
            })
            .collect();
        wishes.extend(addresses.into_iter().map(|id| (id, Wish::Goes)));
        wishes
    }
}

/// Whether an id is that of a part of another resource.
fn is_below(id: &ResourceId, owner: &ResourceId) -> bool {
    let (id, owner) = (id.as_str(), owner.as_str());
    let start = id.get(..owner.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(owner))
        && id[owner.len()..].starts_with('/')
}
