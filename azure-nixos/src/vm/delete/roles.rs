//! The roles of a machine's own identity. When the machine is gone, so is whoever had them, and what is
//! left of them is an entry of nobody that counts against the limits of the subscription.

use std::collections::HashMap;

use uuid::Uuid;

use crate::arm::Client;
use crate::arm::authorization::RoleAssignment;
use crate::arm::compute::Existing;
use crate::{ErrorKind, Result};

/// A role that the machine has somewhere.
#[derive(Clone, Debug)]
pub(super) struct Role {
    /// The id of the assignment.
    pub(super) id: String,
    /// `Reader in /subscriptions/…`.
    pub(super) says: String,
}

/// Which roles the machine has.
#[derive(Clone, Debug)]
pub(super) enum Roles {
    Known(Vec<Role>),
    /// This login may not look; the principal whose roles they are.
    Unseen(String),
}

impl Roles {
    /// Asks for them. A machine without an identity of its own has none, and nothing is asked.
    ///
    /// # Errors
    /// When they cannot be listed, other than for want of rights.
    pub(super) async fn of(client: &Client, machine: Option<&Existing>) -> Result<Self> {
        let identity = machine.and_then(|machine| machine.identity.as_ref());
        let Some(principal) = identity.and_then(|identity| identity.principal_id.as_deref()) else {
            return Ok(Self::Known(Vec::new()));
        };
        let assignments = match client.role_assignments_of(principal).await {
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                return Ok(Self::Unseen(principal.to_owned()));
            }
            assignments => assignments?,
        };
        // A filter that was not understood would give those of everybody.
        let own = |one: &RoleAssignment| {
            one.properties.principal_id.eq_ignore_ascii_case(principal) && one.id.is_some()
        };
        let assignments: Vec<RoleAssignment> = assignments.into_iter().filter(own).collect();
        let names = names(client, &assignments).await?;
        let roles = assignments.into_iter().map(|one| {
            let role = one.properties.role_definition_id;
            let name = names.get(&role).unwrap_or(&role);
            Role {
                says: format!("{name} in {}", one.properties.scope),
                id: one.id.unwrap_or_default(),
            }
        });
        Ok(Self::Known(roles.collect()))
    }
}

/// What the roles are called, by their ids.
async fn names(client: &Client, assignments: &[RoleAssignment]) -> Result<HashMap<String, String>> {
    let scope = format!("/subscriptions/{}", client.subscription_id());
    let mut names = HashMap::new();
    for assignment in assignments {
        let id = &assignment.properties.role_definition_id;
        let guid = id
            .rsplit('/')
            .next()
            .and_then(|guid| Uuid::parse_str(guid).ok());
        let (Some(guid), false) = (guid, names.contains_key(id)) else {
            continue;
        };
        match client.role(&scope, guid).await {
            Ok(Some(role)) => {
                names.insert(id.clone(), role.properties.role_name);
            }
            // Its id says which it is, too.
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::Forbidden => {}
            Err(error) => return Err(error),
        }
    }
    Ok(names)
}
