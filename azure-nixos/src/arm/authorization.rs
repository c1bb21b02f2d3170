//! Microsoft.Authorization: what the login may do, and who has which role where.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Client, Operation, ResourceId};
use crate::Result;

const API: &str = "2022-04-01";

/// What one role allows at a scope. A login has several of them at once; [`allows`] reads them all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Permission {
    /// What it allows: `Microsoft.Compute/disks/write`, or with `*` in the place of anything.
    #[serde(deserialize_with = "super::null_is_default")]
    pub actions: Vec<String>,
    /// What it does not allow after all.
    #[serde(deserialize_with = "super::null_is_default")]
    pub not_actions: Vec<String>,
}

impl Permission {
    /// Whether this role allows an action.
    #[must_use]
    pub fn allows(&self, action: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, action));
        any(&self.actions) && !any(&self.not_actions)
    }
}

/// Whether roles allow an action together. What one does not allow another may: `notActions` are no
/// prohibition.
#[must_use]
pub fn allows(permissions: &[Permission], action: &str) -> bool {
    permissions
        .iter()
        .any(|permission| permission.allows(action))
}

/// Whether a pattern, in which `*` is any text, is this action, in any case.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == action;
    };
    let Some(mut left) = action.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    // What follows the last star ends the action; the parts before it are taken as early as possible.
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else {
            return false;
        };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// A role: what it is called and what it is known by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RoleDefinition {
    /// Its id, which ends in a GUID.
    pub id: String,
    /// What else it is.
    #[serde(deserialize_with = "super::null_is_default")]
    pub properties: RoleProperties,
}

/// Properties of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct RoleProperties {
    /// Its name: `Reader`.
    pub role_name: String,
}

/// That somebody has a role in a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RoleAssignment {
    /// Its id, once it exists.
    #[serde(skip_serializing)]
    pub id: Option<String>,
    /// What it says.
    pub properties: RoleAssignmentProperties,
}

/// What a role assignment says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct RoleAssignmentProperties {
    /// The role, by its id.
    pub role_definition_id: String,
    /// Who has it, by a GUID of the directory.
    pub principal_id: String,
    /// Where, by an id; a request has it in its path.
    #[serde(skip_serializing)]
    pub scope: String,
    /// `ServicePrincipal`, as which an identity counts. With it the directory is not asked whether
    /// there is such a principal, which it may not know yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal_type: Option<String>,
}

/// The name of the assignment of a role to a principal in a scope: the same every time, so that a
/// request that is sent again makes no second one.
#[must_use]
pub fn assignment_name(scope: &str, role: &str, principal: &str) -> Uuid {
    let guid = role.rsplit('/').next().unwrap_or(role);
    let text = format!("{scope}|{guid}|{principal}").to_ascii_lowercase();
    Uuid::new_v5(&Uuid::NAMESPACE_URL, text.as_bytes())
}

impl Client {
    /// What the login may do in any scope: a group, a resource.
    pub(crate) async fn permissions_at(&self, scope: &str) -> Result<Vec<Permission>> {
        self.permissions(scope, scope).await
    }

    /// Roles of a name that can be assigned in a scope.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn roles_named(&self, scope: &str, name: &str) -> Result<Vec<RoleDefinition>> {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleDefinitions");
        // A quote in a text of a filter is written twice.
        let filter = format!("roleName eq '{}'", name.replace('\'', "''"));
        self.list(
            self.url(&path, API, &[("$filter", &filter)]),
            &format!("look for the role {name}"),
        )
        .await
    }

    /// A role by its GUID, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn role(&self, scope: &str, guid: Uuid) -> Result<Option<RoleDefinition>> {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleDefinitions/{guid}");
        self.find(
            self.url(&path, API, &[]),
            &format!("look for the role {guid}"),
        )
        .await
    }

    fn assignment_url(&self, scope: &str, name: Uuid) -> url::Url {
        let path = format!("{scope}/providers/Microsoft.Authorization/roleAssignments/{name}");
        self.url(&path, API, &[])
    }

    /// A role assignment, if it exists.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn role_assignment(&self, scope: &str, name: Uuid) -> Result<Option<RoleAssignment>> {
        self.find(
            self.assignment_url(scope, name),
            &format!("look for the role assignment {name}"),
        )
        .await
    }

    /// The role assignments of a principal in this subscription, in what is in it, and above it. Those
    /// that it has as a member of a group are not its own.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn role_assignments_of(&self, principal: &str) -> Result<Vec<RoleAssignment>> {
        let path = format!(
            "/subscriptions/{}/providers/Microsoft.Authorization/roleAssignments",
            self.subscription_id()
        );
        let filter = format!("principalId eq '{}'", principal.replace('\'', "''"));
        self.list(
            self.url(&path, API, &[("$filter", &filter)]),
            &format!("look for the roles of {principal}"),
        )
        .await
    }

    /// Gives somebody a role.
    ///
    /// # Errors
    /// When the login may not; `RoleAssignmentExists` when there is one of another name;
    /// `PrincipalNotFound` when the directory does not know the principal, or not yet.
    pub async fn create_role_assignment(
        &self,
        scope: &str,
        name: Uuid,
        assignment: &RoleAssignment,
    ) -> Result<RoleAssignment> {
        self.put(
            self.assignment_url(scope, name),
            assignment,
            format!("assign a role in {scope}"),
        )
        .await?
        .wait()
        .await
    }

    /// Takes a role away again; an assignment that does not exist is deleted already.
    ///
    /// # Errors
    /// When the login may not.
    pub async fn delete_role_assignment(&self, scope: &str, name: Uuid) -> Result<Operation<()>> {
        self.delete(
            self.assignment_url(scope, name),
            format!("take the role assignment {name} away"),
        )
        .await
    }

    /// As [`delete_role_assignment`](Self::delete_role_assignment), by the id of the assignment.
    ///
    /// # Errors
    /// As there.
    pub async fn delete_role_assignment_by_id(&self, id: &ResourceId) -> Result<Operation<()>> {
        self.delete(
            self.url(id.as_str(), API, &[]),
            format!("take the role assignment {} away", id.name()),
        )
        .await
    }

    /// What the login may do in a resource group. Prohibitions (deny assignments, policies, locks)
    /// are not part of it.
    ///
    /// # Errors
    /// When it cannot be read, or there is no such group.
    pub async fn permissions_in(&self, group: &str) -> Result<Vec<Permission>> {
        let scope = ResourceId::group(self.subscription_id(), group);
        self.permissions(scope.as_str(), &format!("the resource group {group}"))
            .await
    }

    /// What the login may do in the whole subscription. The published contract has this question
    /// for groups and resources only; the portal asks it of subscriptions too.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn permissions_in_subscription(&self) -> Result<Vec<Permission>> {
        let scope = format!("/subscriptions/{}", self.subscription_id());
        self.permissions(&scope, "the subscription").await
    }

    async fn permissions(&self, scope: &str, what: &str) -> Result<Vec<Permission>> {
        let path = format!("{scope}/providers/Microsoft.Authorization/permissions");
        self.list(
            self.url(&path, API, &[]),
            &format!("ask what this login may do in {what}"),
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::replay::{Interaction, client};
    use super::*;

    #[test]
    fn a_star_is_any_text_anywhere() {
        let action = "Microsoft.Compute/disks/beginGetAccess/action";
        for (pattern, is) in [
            ("*", true),
            ("microsoft.compute/DISKS/begingetaccess/ACTION", true),
            ("Microsoft.Compute/*", true),
            ("*/action", true),
            ("*/beginGetAccess/*", true),
            ("Microsoft.*/disks/*/action", true),
            ("Microsoft.Compute/disks/beginGetAccess/action*", true),
            ("Microsoft.Compute/disks/*/read", false),
            ("Microsoft.Compute/disks", false),
            ("*/disks", false),
            ("Microsoft.Network/*", false),
            ("Microsoft.Compute/*/disks/*", false),
            ("", false),
        ] {
            assert_eq!(matches(pattern, action), is, "{pattern}");
        }
    }

    #[test]
    fn what_one_role_leaves_out_another_allows() {
        let role = |actions: &[&str], not: &[&str]| Permission {
            actions: actions.iter().map(ToString::to_string).collect(),
            not_actions: not.iter().map(ToString::to_string).collect(),
        };
        let contributor = role(&["*"], &["Microsoft.Authorization/*/Write"]);
        let write = "Microsoft.Authorization/roleAssignments/write";
        assert!(!allows(std::slice::from_ref(&contributor), write));
        assert!(allows(
            std::slice::from_ref(&contributor),
            "Microsoft.Compute/disks/write"
        ));
        let administrator = role(&["Microsoft.Authorization/*"], &[]);
        assert!(allows(&[contributor, administrator], write));
        assert!(!allows(&[], write));
    }

    #[test]
    fn an_assignment_has_one_name() {
        let one = assignment_name("/subscriptions/S", "/x/ROLE", "p");
        assert_eq!(one, assignment_name("/Subscriptions/s", "role", "P"));
        assert_ne!(one, assignment_name("/subscriptions/s", "role", "q"));
        assert_ne!(one, assignment_name("/subscriptions/s", "other", "p"));
        assert_ne!(one, assignment_name("/subscriptions/t", "role", "p"));
        assert_eq!(one.get_version_num(), 5);
    }

    #[tokio::test]
    async fn permissions_are_asked_of_a_scope() {
        let answer = json!({ "value": [
            { "actions": ["*/read"], "notActions": null, "dataActions": [], "notDataActions": [] },
        ], "nextLink": null });
        let (client, replay) = client(vec![
            Interaction::new(
                "GET",
                "https://management.azure.com/subscriptions/s/resourceGroups/g/providers/Microsoft.Authorization/permissions?api-version=2022-04-01",
                200,
                &[],
                answer.clone(),
            ),
            Interaction::new(
                "GET",
                "https://management.azure.com/subscriptions/s/providers/Microsoft.Authorization/permissions?api-version=2022-04-01",
                200,
                &[],
                answer,
            ),
        ]);
        for permissions in [
            client.permissions_in("g").await.unwrap(),
            client.permissions_in_subscription().await.unwrap(),
        ] {
            assert!(allows(&permissions, "Microsoft.Compute/disks/read"));
            assert!(!allows(&permissions, "Microsoft.Compute/disks/write"));
        }
        assert_eq!(replay.asked().len(), 2);
    }
}
