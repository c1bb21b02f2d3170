//! What all resources have in common: finding, listing, tagging, and the checks before a PUT.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::answer::{Answer, Result};
use super::error::ArmError;
use super::id::{Kind, ResourceId, leaf, same};
use super::resource_filter::ResourceFilter;
use super::shape::Shape;
use super::{Context, network, scale_sets, storage, subscriptions, vms, zones};
use crate::assumption::Assumption;
use crate::state::{Group, Inner, Resource};

/// A PUT that has passed what every PUT has to pass.
pub(crate) struct Put {
    /// In the spelling of the existing resource, where there is one.
    pub(crate) id: ResourceId,
    /// Checked against the shape, with the location normalised.
    pub(crate) body: Value,
    /// What is there already.
    pub(crate) existing: Option<Resource>,
}

impl Context<'_> {
    /// Whether an alternative to the default is to be done.
    pub(crate) fn assumes(&self, alternative: Assumption) -> bool {
        self.arm.settings().assumed.contains(&alternative)
    }

    /// Whether a resource is not to be seen any more, as it is being deleted.
    pub(crate) fn is_going(&self, group: &str, kind: Kind, name: &str) -> bool {
        self.assumes(Assumption::DeletingIsGone)
            && self
                .existing(group, kind, name)
                .is_ok_and(|found| found.body["properties"]["provisioningState"] == "Deleting")
    }

    /// A group that has to exist. The errors are Resource Manager's.
    pub(crate) fn group(&self, name: &str) -> Result<&Group> {
        self.state
            .groups
            .get(&name.to_ascii_lowercase())
            .ok_or_else(|| ArmError::group_not_found(name))
    }

    /// The id of a resource in a group, with the group's own spelling.
    pub(crate) fn id(&self, group: &str, kind: Kind, name: &str) -> Result<ResourceId> {
        Ok(ResourceId {
            subscription: self.state.identity.subscription_id.to_string(),
            group: self.group(group)?.name.clone(),
            kind,
            name: name.to_owned(),
        })
    }

    /// A resource that has to exist.
    pub(crate) fn existing(&self, group: &str, kind: Kind, name: &str) -> Result<&Resource> {
        let id = self.id(group, kind, name)?;
        self.state
            .resource(&id.to_string())
            .ok_or_else(|| ArmError::resource_not_found(kind, name, group))
    }

    /// Checks a PUT: the group, the name, the body, the location, and that it can be where it is.
    pub(crate) fn begin_put(
        &self,
        group: &str,
        kind: Kind,
        name: &str,
        shape: &Shape,
    ) -> Result<Put> {
        let found = self.group(group)?;
        if found.deleting {
            return Err(ArmError::gateway(
                409,
                "ResourceGroupBeingDeleted",
                format!(
                    "The resource group '{group}' is in deprovisioning state and cannot perform this operation."
                ),
            ));
        }
        super::names::check(kind, leaf(name))?;
        let mut id = self.id(group, kind, name)?;
        if let Some(parent) = id.parent() {
            self.existing(group, parent.kind, &parent.name)?;
        }
        let mut body = self.call.json()?;
        if self.call.is_of_template {
            shape.fold(&mut body);
        }
        shape.check(&mut body)?;
        // A body may name what it is about, as one that was read before does.
        for (field, expected) in [("name", leaf(name).to_owned()), ("type", kind.full())] {
            if let Some(given) = body[field].as_str()
                && !given.eq_ignore_ascii_case(&expected)
            {
                return Err(ArmError::gateway(
                    400,
                    "InvalidRequestContent",
                    format!(
                        "The {field} '{given}' in the body is not the '{expected}' of the URL."
                    ),
                ));
            }
        }
        check_tags(&body)?;
        let location = subscriptions::location_of(&body, &kind.full())?;
        let existing = self.state.resource(&id.to_string()).cloned();
        if let Some(existing) = &existing {
            if let Some(spelt) = ResourceId::parse(&existing.id) {
                id = spelt;
            }
            let there = existing.body["location"].as_str().unwrap_or_default();
            if there != location {
                return Err(ArmError::gateway(
                    409,
                    "InvalidResourceLocation",
                    format!(
                        "The resource '{name}' already exists in location '{there}' in resource group '{group}'. A resource with the same name cannot be created in location '{location}'. Please select a new resource name."
                    ),
                ));
            }
        }
        body["location"] = json!(location);
        zones::check(&id, &body)?;
        Ok(Put { id, body, existing })
    }

    /// The document of a resource as a GET shows it.
    pub(crate) fn shown_resource(&self, resource: &Resource) -> Value {
        let mut body = resource.body.clone();
        if matches!(resource.inner, Inner::Network) {
            network::show(self.state, &resource.id, &mut body);
        }
        if body["type"] == "Microsoft.Storage/storageAccounts" {
            storage::show(self, &mut body);
        }
        body
    }

    /// The ids of the resources that use a resource, so that it cannot go before them.
    pub(crate) fn users_of(&self, id: &str) -> Vec<String> {
        self.state
            .resources
            .values()
            .filter(|other| match other.inner {
                Inner::Vm(_) => vms::uses(&other.body).iter().any(|used| same(used, id)),
                Inner::ScaleSet(_) => scale_sets::uses(&other.body)
                    .iter()
                    .any(|used| same(used, id)),
                Inner::Network => network::uses(&other.body).iter().any(|used| same(used, id)),
                Inner::Plain | Inner::Disk(_) | Inner::Image(_) => false,
            })
            .map(|other| other.id.clone())
            .collect()
    }

    /// GET of one resource.
    pub(crate) fn get(&self, group: &str, kind: Kind, name: &str) -> Result {
        let resource = self.existing(group, kind, name)?;
        let body = self.shown_resource(resource);
        let etag = body["etag"].as_str().map(ToOwned::to_owned);
        let answer = Answer::json(200, body);
        Ok(match etag {
            Some(etag) => answer.with_header("etag", etag),
            None => answer,
        })
    }

    /// GET of all resources of a type, of one group or of the subscription, and where the type is
    /// inside of another, of one of those.
    pub(crate) fn list(&self, group: Option<&str>, kind: Kind, inside: &str) -> Result {
        if let Some(group) = group {
            let id = self.id(group, kind, &format!("{inside}/-"))?;
            if let Some(parent) = id.parent() {
                self.existing(group, parent.kind, &parent.name)?;
            }
        }
        let found: Vec<Value> = self
            .state
            .resources
            .values()
            .filter(|resource| {
                ResourceId::parse(&resource.id).is_some_and(|id| {
                    id.kind == kind
                        && group.is_none_or(|group| id.group.eq_ignore_ascii_case(group))
                        && id
                            .parent()
                            .is_none_or(|parent| parent.name.eq_ignore_ascii_case(inside))
                })
            })
            .map(|resource| self.shown_resource(resource))
            .collect();
        Ok(Answer::json(200, json!({ "value": found })))
    }

    /// GET of the resources of any type, as Resource Manager itself lists them: without properties.
    pub(crate) fn list_all(&self, group: Option<&str>) -> Result {
        if let Some(group) = group {
            self.group(group)?;
        }
        let filter = ResourceFilter::parse(self.call.query("$filter"))?;
        let found: Vec<Value> = self
            .state
            .resources
            .values()
            .filter(|resource| {
                ResourceId::parse(&resource.id).is_some_and(|id| {
                    group.is_none_or(|group| id.group.eq_ignore_ascii_case(group))
                        && filter.leaves(&id, &resource.body)
                })
            })
            .map(|resource| {
                let mut entry = json!({});
                for field in ["id", "name", "type", "location", "tags", "sku", "managedBy"] {
                    if let Some(value) = resource.body.get(field) {
                        entry[field] = value.clone();
                    }
                }
                entry
            })
            .collect();
        Ok(Answer::json(200, json!({ "value": found })))
    }
}

/// The `id`, `name` and `type` of a document.
pub(crate) fn identify(body: &mut Value, id: &ResourceId) {
    body["id"] = json!(id.to_string());
    body["name"] = json!(id.leaf());
    body["type"] = json!(id.kind.full());
}

/// Refuses more or longer tags than Azure keeps.
pub(crate) fn check_tags(body: &Value) -> Result<()> {
    let Some(tags) = body["tags"].as_object() else {
        return Ok(());
    };
    let refused = |message: String| Err(ArmError::gateway(400, "InvalidTagNameOrValue", message));
    if tags.len() > 50 {
        return refused("A resource has at most 50 tags.".to_owned());
    }
    let folded: BTreeMap<_, _> = tags
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    if folded.len() != tags.len() {
        return refused("Tag names are the same when their case is ignored.".to_owned());
    }
    for (name, value) in tags {
        let value = value.as_str().unwrap_or_default();
        if name.is_empty()
            || name.chars().count() > 512
            || name.contains(['<', '>', '%', '&', '\\', '?', '/'])
            || value.chars().count() > 256
        {
            return refused(format!(
                "The tag '{name}' is invalid: a name has 1 to 512 characters without <>%&\\?/, a value at most 256."
            ));
        }
    }
    Ok(())
}

/// Sets the provisioning state of a resource that may be gone by now.
pub(crate) fn set_state(resource: Option<&mut Resource>, state: &str) {
    if let Some(resource) = resource {
        resource.body["properties"]["provisioningState"] = json!(state);
    }
}
