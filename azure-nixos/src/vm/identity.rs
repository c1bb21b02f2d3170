//! Who a machine is to other services of Azure, and what it may do there.

use std::time::Duration;

use uuid::Uuid;

use super::patience::Patience;
use crate::arm::authorization::{
    RoleAssignment, RoleAssignmentProperties, allows, assignment_name,
};
use crate::arm::compute::{AssignedIdentity, MachineIdentity};
use crate::arm::{Client, IDENTITIES, ManagedIdentity, ResourceId};
use crate::handle::Work;
use crate::undo::{self, Undo};
use crate::{Error, ErrorKind, Result};

/// A new principal is seen everywhere after seconds mostly, and after minutes at the worst.
const REPLICATION: Duration = Duration::from_secs(240);

/// What gives somebody a role.
const ASSIGN: &str = "Microsoft.Authorization/roleAssignments/write";

/// Who a machine is to other services.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// An identity of its own, which comes and goes with it.
    System,
    /// A user-assigned identity, by its id.
    Id(ResourceId),
    /// A user-assigned identity, by a name that is unique in the subscription.
    Name(String),
}

impl Identity {
    /// `system`, an id when it begins with a slash, a name otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`].
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let refuse = |what: String| {
            Err(Error::new(ErrorKind::InvalidInput, what).with_hint(
                "pass system, the name of a user-assigned identity, or its id: …/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME",
            ))
        };
        if text.eq_ignore_ascii_case("system") {
            return Ok(Self::System);
        }
        if text.starts_with('/') {
            let id: ResourceId = text.parse()?;
            if !id.is_kind(IDENTITIES) {
                return refuse(format!("{id} is not the id of an identity"));
            }
            return Ok(Self::Id(id));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(3..=128).contains(&text.len()) || !text.chars().all(good) {
            return refuse(format!("{text:?} cannot be the name of an identity"));
        }
        Ok(Self::Name(text.to_owned()))
    }
}

/// A role in a scope, as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// A name, a GUID, or an id.
    pub(crate) role: String,
    pub(crate) scope: String,
}

/// A role in a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The id of the role.
    role: String,
    name: String,
    scope: String,
}

/// Who machines are to be, found and checked.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The identity that exists beside them; without it each gets one of its own.
    assigned: Option<Assigned>,
    grants: Vec<Grant>,
}

#[derive(Clone, Debug)]
struct Assigned {
    id: ResourceId,
    principal: Option<String>,
}

/// Everything that needs no look at Azure.
///
/// # Errors
/// [`ErrorKind::InvalidInput`].
pub(crate) fn check(identity: Option<&Identity>, wanted: &[Wanted]) -> Result<()> {
    if identity.is_none() && !wanted.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "a role is given to an identity, and the machine is to have none",
        )
        .with_hint("ask for one with --identity system"));
    }
    for wanted in wanted {
        scope(&wanted.scope)?;
        if wanted.role.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the role has no name")
                .with_hint("pass a name such as Reader, or the GUID of a role"));
        }
    }
    Ok(())
}

/// A scope without a slash at its end.
fn scope(text: &str) -> Result<String> {
    let id: ResourceId = text.parse().map_err(|_| {
        Error::new(
            ErrorKind::InvalidInput,
            format!("{text:?} is not a scope for a role"),
        )
        .with_hint("pass the id of a resource, of a group (/subscriptions/…/resourceGroups/NAME) or of a subscription; the smallest one that is enough")
    })?;
    Ok(id.to_string())
}

impl Plan {
    /// Finds the identity and the roles, and looks whether this login may give them.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Ambiguous`], [`ErrorKind::Forbidden`].
    pub(crate) async fn find(
        client: &Client,
        identity: Option<&Identity>,
        wanted: &[Wanted],
    ) -> Result<Option<Self>> {
        let Some(identity) = identity else {
            return Ok(None);
        };
        let assigned = match identity {
            Identity::System => None,
            Identity::Id(id) => match client.managed_identity(id).await {
                // Whoever may assign it need not be able to look at it.
                Err(error) if error.kind() == ErrorKind::Forbidden && wanted.is_empty() => {
                    Some(Assigned {
                        id: id.clone(),
                        principal: None,
                    })
                }
                found => Some(assigned(found?.ok_or_else(|| not_there(id.as_str()))?)?),
            },
            Identity::Name(name) => Some(assigned(by_name(
                name,
                client.managed_identities().await?,
            )?)?),
        };
        let mut grants = Vec::new();
        for wanted in wanted {
            grants.push(find_role(client, wanted).await?);
        }
        Ok(Some(Self { assigned, grants }))
    }

    /// What should be said of what it gives.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        const WIDE: [&str; 4] = [
            "Owner",
            "Contributor",
            "User Access Administrator",
            "Role Based Access Control Administrator",
        ];
        self.grants
            .iter()
            // A scope without a provider is a group or a subscription, and all that is in it.
            .filter(|grant| !grant.scope.to_ascii_lowercase().contains("/providers/"))
            .filter(|grant| {
                WIDE.iter()
                    .any(|wide| wide.eq_ignore_ascii_case(&grant.name))
            })
            .map(|grant| {
                format!(
                    "whoever gets into the machine is {} of {}",
                    grant.name, grant.scope
                )
            })
    }

    /// As a machine's description has it.
    pub(crate) fn describe(&self) -> MachineIdentity {
        let mut identity = MachineIdentity::default();
        match &self.assigned {
            None => identity.kind = "SystemAssigned".to_owned(),
            Some(assigned) => {
                identity.kind = "UserAssigned".to_owned();
                identity
                    .user_assigned_identities
                    .insert(assigned.id.to_string(), AssignedIdentity::default());
            }
        }
        identity
    }

    /// Who a machine is, once it exists.
    pub(crate) fn principal(&self, machine: Option<&MachineIdentity>) -> Option<String> {
        match &self.assigned {
            Some(assigned) => assigned.principal.clone(),
            None => machine?.principal_id.clone(),
        }
    }

    /// Gives the identity that exists already its roles: before the machines boot.
    pub(crate) async fn grant_before(
        &self,
        client: &Client,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<()> {
        match self.assigned.as_ref().and_then(|it| it.principal.as_ref()) {
            Some(principal) => self.grant(client, principal, work, undo).await,
            None => Ok(()),
        }
    }

    /// Gives the identity of a machine its roles.
    pub(crate) async fn grant_after(
        &self,
        client: &Client,
        machine: Option<&MachineIdentity>,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<()> {
        if self.assigned.is_some() || self.grants.is_empty() {
            return Ok(());
        }
        let principal = self.principal(machine).ok_or_else(|| {
            Error::new(
                ErrorKind::Service,
                "the service does not say who the machine is, so it cannot be given a role",
            )
        })?;
        self.grant(client, &principal, work, undo).await
    }

    async fn grant(
        &self,
        client: &Client,
        principal: &str,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<()> {
        for grant in &self.grants {
            work.check()?;
            grant.give(client, principal, work, undo).await?;
        }
        Ok(())
    }
}

impl Grant {
    async fn give(
        &self,
        client: &Client,
        principal: &str,
        work: &Work,
        undo: &mut Undo,
    ) -> Result<()> {
        let name = assignment_name(&self.scope, &self.role, principal);
        // One that was there before is nothing to take away.
        let before = client.role_assignment(&self.scope, name);
        if work.interruptible(before).await?.is_some() {
            return Ok(());
        }
        let assignment = RoleAssignment {
            properties: RoleAssignmentProperties {
                role_definition_id: self.role.clone(),
                principal_id: principal.to_owned(),
                principal_type: Some("ServicePrincipal".to_owned()),
                ..RoleAssignmentProperties::default()
            },
            ..RoleAssignment::default()
        };
        let mut patience = Patience::of(REPLICATION);
        loop {
            let given = client
                .create_role_assignment(&self.scope, name, &assignment)
                .await;
            let Err(error) = given else {
                break;
            };
            match error.code() {
                Some("RoleAssignmentExists") => return Ok(()),
                Some("PrincipalNotFound") => patience.wait(work, error).await?,
                _ => {
                    if !undo::made_nothing(&error) {
                        self.note(client, name, undo);
                    }
                    return Err(self.explain(error));
                }
            }
        }
        self.note(client, name, undo);
        Ok(())
    }

    fn note(&self, client: &Client, name: Uuid, undo: &mut Undo) {
        let (client, scope) = (client.clone(), self.scope.clone());
        undo.push(
            format!("the role {} in {}", self.name, self.scope),
            move || async move {
                client
                    .delete_role_assignment(&scope, name)
                    .await?
                    .wait()
                    .await
            },
        );
    }

    fn explain(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Forbidden {
            return error;
        }
        may_not_assign(&self.scope, &self.name)
            .with_status(error.status().unwrap_or(403))
            .with_code(error.code().unwrap_or("AuthorizationFailed"))
            .with_source(error)
    }
}

fn may_not_assign(scope: &str, role: &str) -> Error {
    Error::new(
        ErrorKind::Forbidden,
        format!("cannot give the machine the role {role}: this login may not assign roles in {scope}"),
    )
    .with_hint("have somebody do it who is Owner or User Access Administrator there, or leave the role out and have it assigned to the machine's identity later")
}

async fn find_role(client: &Client, wanted: &Wanted) -> Result<Grant> {
    let scope = scope(&wanted.scope)?;
    let role = wanted.role.trim();
    let last = role.rsplit('/').next().unwrap_or(role);
    let found = match Uuid::parse_str(last) {
        Ok(guid) => client.role(&scope, guid).await?.into_iter().collect(),
        Err(_) => client.roles_named(&scope, role).await?,
    };
    let mut found = found.into_iter();
    let (Some(found), None) = (found.next(), found.next()) else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no one role {role:?} that can be given in {scope}"),
        )
        .with_hint("`az role definition list --query \"[].roleName\" -o tsv` lists the roles; one of a name that several have is named by its GUID"));
    };
    let name = found.properties.role_name;
    // What cannot be asked is left to the service to judge.
    match client.permissions_at(&scope).await {
        Ok(roles) if !allows(&roles, ASSIGN) => return Err(may_not_assign(&scope, &name)),
        Ok(_) => {}
        Err(error) if error.is_not_found() => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no {scope} for the machine to have a role in"),
            )
            .with_source(error));
        }
        Err(error) => tracing::debug!("whether roles may be assigned is not known: {error}"),
    }
    Ok(Grant {
        role: found.id,
        name,
        scope,
    })
}

fn not_there(which: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no identity {which}")).with_hint(
        "`az identity list -o table` lists them, `az identity create` makes one; with system the machine gets one of its own",
    )
}

fn assigned(identity: ManagedIdentity) -> Result<Assigned> {
    Ok(Assigned {
        id: identity.id.ok_or_else(|| {
            Error::new(
                ErrorKind::Service,
                "the service describes an identity without its id",
            )
        })?,
        principal: identity.properties.principal_id,
    })
}

fn by_name(name: &str, all: Vec<ManagedIdentity>) -> Result<ManagedIdentity> {
    let mut found: Vec<ManagedIdentity> = all
        .into_iter()
        .filter(|one| {
            one.name
                .as_deref()
                .is_some_and(|own| own.eq_ignore_ascii_case(name))
        })
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(not_there(name)),
        (Some(last), false) => {
            found.push(last);
            let mut ids: Vec<String> = found
                .iter()
                .filter_map(|one| one.id.as_ref().map(ToString::to_string))
                .collect();
            ids.sort();
            Err(Error::new(
                ErrorKind::Ambiguous,
                format!(
                    "there are {} identities named {name}: {}",
                    ids.len(),
                    ids.join(", ")
                ),
            )
            .with_hint("pass the id of the one that is meant"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::arm::replay::{Interaction, client};

    const GROUP: &str = "/subscriptions/s/resourceGroups/g";
    const ROLE: &str = "/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7";
    const HOST: &str = "https://management.azure.com";

    fn grant() -> Grant {
        Grant {
            role: ROLE.to_owned(),
            name: "Reader".to_owned(),
            scope: GROUP.to_owned(),
        }
    }

    fn assignment() -> String {
        let name = assignment_name(GROUP, ROLE, "p");
        format!(
            "{HOST}{GROUP}/providers/Microsoft.Authorization/roleAssignments/{name}?api-version=2022-04-01"
        )
    }

    fn error(code: &str) -> Value {
        json!({ "error": { "code": code, "message": "no" } })
    }

    fn missing() -> Interaction {
        Interaction::new(
            "GET",
            &assignment(),
            404,
            &[],
            error("RoleAssignmentNotFound"),
        )
    }

    #[test]
    fn identities_are_words_names_and_ids() {
        assert_eq!(Identity::parse(" System ").unwrap(), Identity::System);
        assert_eq!(
            Identity::parse("web-id").unwrap(),
            Identity::Name("web-id".to_owned())
        );
        let id = format!("{GROUP}/providers/{IDENTITIES}/web");
        assert!(matches!(Identity::parse(&id).unwrap(), Identity::Id(_)));
        for bad in ["", "ab", "a b c", GROUP, "/x"] {
            assert!(Identity::parse(bad).unwrap_err().hint().is_some(), "{bad}");
        }
    }

    #[test]
    fn a_role_needs_somebody_and_a_place() {
        let wanted = |role: &str, scope: &str| {
            vec![Wanted {
                role: role.to_owned(),
                scope: scope.to_owned(),
            }]
        };
        let system = Some(&Identity::System);
        check(system, &wanted("Reader", GROUP)).unwrap();
        check(None, &[]).unwrap();
        for (who, what) in [
            (None, wanted("Reader", GROUP)),
            (system, wanted(" ", GROUP)),
            (system, wanted("Reader", "g")),
        ] {
            assert!(check(who, &what).unwrap_err().hint().is_some());
        }
    }

    #[test]
    fn who_may_much_is_said_aloud() {
        let warned = |name: &str, scope: &str| {
            let plan = Plan {
                assigned: None,
                grants: vec![Grant {
                    name: name.to_owned(),
                    scope: scope.to_owned(),
                    ..grant()
                }],
            };
            plan.warnings().next()
        };
        assert!(warned("Owner", GROUP).unwrap().contains(GROUP));
        assert!(warned("contributor", "/subscriptions/s").is_some());
        assert_eq!(warned("Reader", GROUP), None);
        let vault = format!("{GROUP}/providers/Microsoft.KeyVault/vaults/v");
        assert_eq!(warned("Owner", &vault), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_principal_that_is_not_seen_yet_is_waited_for() {
        let late = || Interaction::new("PUT", &assignment(), 400, &[], error("PrincipalNotFound"));
        let made = json!({ "id": "x", "properties": {} });
        let (client, replay) = client(vec![
            missing(),
            late(),
            late(),
            Interaction::new("PUT", &assignment(), 201, &[], made),
            Interaction::new("DELETE", &assignment(), 200, &[], json!({})),
        ]);
        let (work, mut undo) = (Work::default(), Undo::default());
        grant().give(&client, "p", &work, &mut undo).await.unwrap();
        assert_eq!(replay.asked().len(), 4);
        // It goes when the machine goes.
        let failed = Err::<(), _>(Error::cancelled());
        undo.finish(&work, failed).await.unwrap_err();
        assert!(replay.asked()[4].starts_with("DELETE"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_principal_that_never_comes_is_not_waited_for_for_ever() {
        let (client, _) = client(vec![
            missing(),
            Interaction::new("PUT", &assignment(), 400, &[], error("PrincipalNotFound")),
        ]);
        let started = tokio::time::Instant::now();
        let error = grant()
            .give(&client, "p", &Work::default(), &mut Undo::default())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some("PrincipalNotFound"));
        assert!(started.elapsed() <= REPLICATION);
    }

    #[tokio::test]
    async fn what_somebody_has_already_is_neither_given_nor_taken() {
        let there = json!({ "id": "x", "properties": {} });
        let conflict = || {
            Interaction::new(
                "PUT",
                &assignment(),
                409,
                &[],
                error("RoleAssignmentExists"),
            )
        };
        for (interactions, requests) in [
            (
                vec![Interaction::new("GET", &assignment(), 200, &[], there)],
                1,
            ),
            (vec![missing(), conflict()], 2),
        ] {
            let (client, replay) = client(interactions);
            let (work, mut undo) = (Work::default(), Undo::default());
            grant().give(&client, "p", &work, &mut undo).await.unwrap();
            let failed = Err::<(), _>(Error::cancelled());
            undo.finish(&work, failed).await.unwrap_err();
            assert_eq!(replay.asked().len(), requests);
        }
    }

    #[tokio::test]
    async fn roles_are_found_by_name_and_by_guid_and_may_be_given() {
        let own = json!({ "id": ROLE, "properties": { "roleName": "Reader" } });
        let roles = format!("{HOST}{GROUP}/providers/Microsoft.Authorization/roleDefinitions");
        let permissions = format!(
            "{HOST}{GROUP}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
        );
        let wanted = |role: &str| Wanted {
            role: role.to_owned(),
            scope: format!("{GROUP}/"),
        };
        let by_name = |found: Value| {
            Interaction::new(
                "GET",
                &format!("{roles}?%24filter=roleName+eq+%27Reader%27&api-version=2022-04-01"),
                200,
                &[],
                json!({ "value": found }),
            )
        };
        let may = |actions: Value| {
            Interaction::new(
                "GET",
                &permissions,
                200,
                &[],
                json!({ "value": [{ "actions": actions }] }),
            )
        };
        let guid = "acdd72a7-3385-48ef-bd42-f606fba81ae7";
        let by_guid = Interaction::new(
            "GET",
            &format!("{roles}/{guid}?api-version=2022-04-01"),
            200,
            &[],
            own.clone(),
        );
        for (wanted, answer) in [
            (wanted("Reader"), by_name(json!([own]))),
            (wanted(guid), by_guid.clone()),
            (wanted(ROLE), by_guid),
        ] {
            let (client, _) = client(vec![answer, may(json!(["*"]))]);
            assert_eq!(find_role(&client, &wanted).await.unwrap(), grant());
        }
        let (one, _) = client(vec![by_name(json!([own])), may(json!(["*/read"]))]);
        let error = find_role(&one, &wanted("Reader")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        for found in [json!([]), json!([own, own])] {
            let (client, _) = client(vec![by_name(found)]);
            let error = find_role(&client, &wanted("Reader")).await.unwrap_err();
            assert!(error.is_not_found(), "{error}");
        }
    }
}
