//! The directory of the tenant: the service principals of managed identities, and the few calls of
//! Microsoft Graph with which clients find out who a principal is.

use std::time::SystemTime;

use serde_json::{Value, json};
use uuid::Uuid;

use super::Context;
use super::answer::{Answer, Result};
use super::error::ArmError;
use crate::state::Principal;

/// A principal as it is looked up: the one that logs in is one too.
pub(crate) struct Known {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) app_id: Uuid,
    /// `None` for the one that was there before everything.
    pub(crate) created: Option<SystemTime>,
}

impl Context<'_> {
    /// Makes the principal of a resource's identity and says its object and its client id.
    pub(crate) fn mint_principal(&mut self, resource: &str, name: &str) -> (Uuid, Uuid) {
        let (id, app_id) = (Uuid::new_v4(), Uuid::new_v4());
        self.state.directory.insert(
            id,
            Principal {
                name: name.to_owned(),
                app_id,
                created: self.now,
                resource: resource.to_ascii_lowercase(),
            },
        );
        (id, app_id)
    }

    /// Everyone there is.
    pub(crate) fn principals(&self) -> impl Iterator<Item = Known> {
        let caller = &self.state.identity;
        let caller = Known {
            id: caller.object_id,
            name: "local-azure".to_owned(),
            app_id: caller.client_id,
            created: None,
        };
        std::iter::once(caller).chain(self.state.directory.iter().map(|(id, principal)| Known {
            id: *id,
            name: principal.name.clone(),
            app_id: principal.app_id,
            created: Some(principal.created),
        }))
    }
}

fn shown(principal: &Known) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.servicePrincipal",
        "id": principal.id,
        "appId": principal.app_id,
        "displayName": principal.name,
        "appDisplayName": principal.name,
        "accountEnabled": true,
        "servicePrincipalType": if principal.created.is_some() { "ManagedIdentity" } else { "Application" },
        "servicePrincipalNames": [principal.app_id],
    })
}

/// Microsoft Graph, version 1.0: `parts` is the path after the version.
pub(crate) fn graph(context: &Context<'_>, parts: &[&str]) -> Result {
    let call = context.call;
    match (call.method.as_str(), parts) {
        ("GET", ["servicePrincipals"]) => {
            let found = context.principals();
            let found: Vec<Value> = match call.query("$filter") {
                None => found.map(|principal| shown(&principal)).collect(),
                Some(filter) => {
                    let wanted = Wanted::parse(filter)?;
                    found
                        .filter(|principal| wanted.is(principal))
                        .map(|principal| shown(&principal))
                        .collect()
                }
            };
            Ok(Answer::json(200, json!({ "value": found })))
        }
        ("GET", ["servicePrincipals", id]) => context
            .principals()
            .find(|principal| principal.id.to_string().eq_ignore_ascii_case(id))
            .map(|principal| Answer::json(200, shown(&principal)))
            .ok_or_else(|| not_in_directory(id)),
        // There is nobody but service principals.
        ("GET", ["users" | "groups" | "applications"]) => {
            Ok(Answer::json(200, json!({ "value": [] })))
        }
        ("GET", ["users" | "groups" | "applications", id]) => Err(not_in_directory(id)),
        ("POST", ["directoryObjects", "getByIds"]) => {
            let body = call.json()?;
            let ids: Vec<&str> = body["ids"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            let found: Vec<Value> = context
                .principals()
                .filter(|principal| {
                    let id = principal.id.to_string();
                    ids.iter().any(|wanted| wanted.eq_ignore_ascii_case(&id))
                })
                .map(|principal| shown(&principal))
                .collect();
            Ok(Answer::json(200, json!({ "value": found })))
        }
        _ => Err(ArmError::not_implemented(format!(
            "'{} {}' of Microsoft Graph",
            call.method, call.path
        ))),
    }
}

/// What a filter asks for.
enum Wanted {
    Name(String),
    App(String),
}

impl Wanted {
    /// `servicePrincipalNames/any(c:c eq 'x')`, `appId eq 'x'`, `displayName eq 'x'`.
    fn parse(filter: &str) -> Result<Self> {
        let value = filter.split('\'').nth(1).unwrap_or_default().to_owned();
        let before = filter.split('\'').next().unwrap_or_default();
        let is_single = filter.matches('\'').count() == 2;
        let field = before.split([' ', '/']).next().unwrap_or_default();
        let is_equal = before.trim_end().ends_with(" eq");
        match field {
            "servicePrincipalNames" | "appId" if is_single && is_equal => Ok(Self::App(value)),
            "displayName" if is_single && is_equal => Ok(Self::Name(value)),
            _ => Err(ArmError::not_implemented(format!(
                "the filter \"{filter}\" of Microsoft Graph"
            ))),
        }
    }

    fn is(&self, principal: &Known) -> bool {
        match self {
            Self::Name(name) => principal.name.eq_ignore_ascii_case(name),
            Self::App(id) => principal.app_id.to_string().eq_ignore_ascii_case(id),
        }
    }
}

fn not_in_directory(id: &str) -> ArmError {
    ArmError::compute(
        404,
        "Request_ResourceNotFound",
        format!(
            "Resource '{id}' does not exist or one of its queried reference-property objects are not present."
        ),
    )
}
