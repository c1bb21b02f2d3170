//! User-assigned managed identities and their federated credentials.
//!
//! Everything here is done at once. A PUT answers 201 with a **relative** `Location` and the
//! finished resource: a client that polls any `Location` breaks on it, as it should.

use serde_json::{Value, json};

use super::Context;
use super::answer::{Answer, Result};
use super::error::ArmError;
use super::id::Kind;
use super::resources::{check_tags, identify};
use super::route::nothing_there;
use super::shape::{Shape, TAGS, TEXTS};
use crate::state::{Inner, Resource};

const IDENTITY: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("systemData", Shape::Any),
    (
        "properties",
        Shape::Object(&[
            ("tenantId", Shape::Text),
            ("principalId", Shape::Text),
            ("clientId", Shape::Text),
            ("isolationScope", Shape::OneOf(&["None", "Regional"])),
            ("assignmentRestrictions", Shape::Any),
        ]),
    ),
]);

const CREDENTIAL: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("systemData", Shape::Any),
    (
        "properties!",
        Shape::Object(&[
            ("issuer!", Shape::Text),
            ("subject!", Shape::Text),
            ("audiences!", TEXTS),
        ]),
    ),
]);

/// The most credentials that an identity has.
const MOST_CREDENTIALS: usize = 20;

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::Identity, name, &IDENTITY)?;
    let id = put.id.to_string();
    let mut body = json!({
        "location": put.body["location"],
        "tags": put.body.get("tags").cloned().unwrap_or_else(|| json!({})),
    });
    let status = if let Some(existing) = &put.existing {
        body["properties"] = existing.body["properties"].clone();
        200
    } else {
        let (principal, client) = context.mint_principal(&id, name);
        body["properties"] = json!({
            "tenantId": context.state.identity.tenant_id,
            "principalId": principal,
            "clientId": client,
        });
        201
    };
    if let Some(isolation) = put.body["properties"].get("isolationScope") {
        body["properties"]["isolationScope"] = isolation.clone();
    }
    identify(&mut body, &put.id);
    // The provider writes the group's segment in lower case.
    let shown = id.replacen("/resourceGroups/", "/resourcegroups/", 1);
    body["id"] = json!(shown);
    context.state.insert(Resource {
        id,
        body: body.clone(),
        inner: Inner::Plain,
    });
    let answer = Answer::json(status, body);
    Ok(if status == 201 {
        answer.with_header("location", shown)
    } else {
        answer
    })
}

pub(crate) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    IDENTITY.check(&mut body)?;
    check_tags(&body)?;
    let id = context.existing(group, Kind::Identity, name)?.id.clone();
    if let (Some(identity), Some(tags)) = (context.state.resource_mut(&id), body.get("tags")) {
        identity.body["tags"] = tags.clone();
    }
    context.get(group, Kind::Identity, name)
}

/// Role assignments of the identity stay, as they do in Azure: for nobody.
pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(identity) = context.existing(group, Kind::Identity, name) else {
        return nothing_there();
    };
    let id = identity.id.clone();
    context.state.remove(&id);
    Ok(Answer::empty(200))
}

/// `…/federatedIdentityCredentials` and what is below it. `parts` keeps the caller's case.
pub(crate) fn credentials(
    context: &mut Context<'_>,
    group: &str,
    name: &str,
    parts: &[&str],
) -> Result {
    let identity = context.existing(group, Kind::Identity, name)?;
    let base = format!(
        "{}/federatedIdentityCredentials",
        identity.body["id"].as_str().unwrap_or_default()
    );
    let inside = format!("{}/", base.to_ascii_lowercase());
    let method = context.call.method.as_str();
    let [credential] = parts else {
        if method != "GET" || !parts.is_empty() {
            return Err(ArmError::no_such_method(method));
        }
        let all: Vec<&Value> = context
            .state
            .documents
            .iter()
            .filter(|(id, _)| id.starts_with(&inside))
            .map(|(_, body)| body)
            .collect();
        return Ok(Answer::json(200, json!({ "value": all })));
    };
    let key = format!("{inside}{}", credential.to_ascii_lowercase());
    match method {
        "GET" => context
            .state
            .documents
            .get(&key)
            .map(|body| Answer::json(200, body.clone()))
            .ok_or_else(|| {
                ArmError::compute(
                    404,
                    "NotFound",
                    format!("The federated identity credential '{credential}' was not found."),
                )
            }),
        "PUT" => put_credential(context, &base, credential, &key),
        "DELETE" => Ok(Answer::empty(
            if context.state.documents.remove(&key).is_some() {
                200
            } else {
                204
            },
        )),
        _ => Err(ArmError::no_such_method(method)),
    }
}

fn put_credential(context: &mut Context<'_>, base: &str, name: &str, key: &str) -> Result {
    let mut body = context.call.json()?;
    CREDENTIAL.check(&mut body)?;
    let inside = format!("{}/", base.to_ascii_lowercase());
    let others: Vec<&Value> = context
        .state
        .documents
        .iter()
        .filter(|(id, _)| id.starts_with(&inside) && id.as_str() != key)
        .map(|(_, body)| &body["properties"])
        .collect();
    let properties = &body["properties"];
    if others.iter().any(|other| {
        other["issuer"] == properties["issuer"] && other["subject"] == properties["subject"]
    }) {
        return Err(ArmError::compute(
            409,
            "Conflict",
            "There is already a federated identity credential with this issuer and subject.",
        ));
    }
    if others.len() >= MOST_CREDENTIALS {
        return Err(ArmError::compute(
            400,
            "BadRequest",
            format!(
                "Too many federated identity credentials: an identity has at most {MOST_CREDENTIALS}."
            ),
        ));
    }
    let shown = json!({
        "id": format!("{base}/{name}"),
        "name": name,
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
        "properties": properties,
    });
    let is_new = context
        .state
        .documents
        .insert(key.to_owned(), shown.clone())
        .is_none();
    Ok(Answer::json(if is_new { 201 } else { 200 }, shown))
}
