//! Whose a thing is: the tags that say for which machine, and in which attempt, it was made.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

/// The tag on everything that is made for a machine; its value is the machine's name.
pub(crate) const VM_TAG: &str = "azure-nixos-vm";

/// The tag that tells two attempts to make the same machine apart.
const RUN_TAG: &str = "azure-nixos-run";

/// The tag on the machines of a fleet; its value is the fleet's name.
const FLEET_TAG: &str = "azure-nixos-fleet";

/// The tag that says as whom to log into a machine with users of its own, of which Azure knows none.
pub(crate) const USER_TAG: &str = "azure-nixos-user";

/// For whom something is made.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    name: String,
    /// Names this attempt. Azure takes a PUT on what exists as an update, so two attempts that begin
    /// at the same time can only tell by it who made what.
    run: String,
    fleet: Option<String>,
}

impl Owner {
    /// A machine, or what the machines of a fleet share.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            run: Uuid::new_v4().to_string(),
            fleet: None,
        }
    }

    /// A machine of this fleet, in the same attempt.
    pub(crate) fn member(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            run: self.run.clone(),
            fleet: Some(self.name.clone()),
        }
    }

    /// The machine's name, or the fleet's.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The tags of everything that is made for it.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::from([
            (VM_TAG.to_owned(), self.name.clone()),
            (RUN_TAG.to_owned(), self.run.clone()),
        ]);
        if let Some(fleet) = &self.fleet {
            tags.insert(FLEET_TAG.to_owned(), fleet.clone());
        }
        tags
    }

    /// Whether a resource is tagged with this attempt.
    pub(crate) fn made(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.get(RUN_TAG).is_some_and(|run| *run == self.run)
    }

    /// Fails when a resource is not tagged with this attempt.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`].
    pub(crate) fn check_ours(
        &self,
        tags: &BTreeMap<String, String>,
        what: &str,
        name: &str,
    ) -> Result<()> {
        if self.made(tags) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("the {what} {name} belongs to another machine of this name that is being made at the same time"),
        )
        .with_hint("choose another name, or wait for the other one"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_told_apart_and_a_fleet_is_one() {
        let (one, two) = (Owner::new("web"), Owner::new("web"));
        one.check_ours(&one.tags(), "disk", "d").unwrap();
        let error = one.check_ours(&two.tags(), "disk", "d").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        let member = one.member("web-1");
        member
            .check_ours(&one.tags(), "virtual network", "n")
            .unwrap();
        assert_eq!(member.tags()[VM_TAG], "web-1");
        assert_eq!(member.tags()[FLEET_TAG], "web");
        assert!(!one.tags().contains_key(FLEET_TAG));
    }
}
