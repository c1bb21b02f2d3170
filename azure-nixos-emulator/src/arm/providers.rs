//! Resource providers and their registration.

use serde_json::{Value, json};

use super::Context;
use super::answer::{Answer, Result};
use super::error::ArmError;
use super::id::Kind;
use super::subscriptions::display_names;
use super::versions;
use crate::state::Registration;

/// The namespaces there are here.
pub(crate) const NAMESPACES: &[&str] = &[
    "Microsoft.Authorization",
    "Microsoft.Compute",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.Resources",
    "Microsoft.Storage",
];

fn registration(context: &Context<'_>, namespace: &str) -> Registration {
    match context.state.providers.get(&namespace.to_ascii_lowercase()) {
        Some(Registration::Registering(from)) if *from <= context.now => Registration::Registered,
        Some(registration) => *registration,
        None => Registration::Registered,
    }
}

fn body(context: &Context<'_>, namespace: &str) -> Value {
    let state = match registration(context, namespace) {
        Registration::NotRegistered => "NotRegistered",
        Registration::Registering(_) => "Registering",
        Registration::Registered => "Registered",
    };
    json!({
        "id": format!("/subscriptions/{}/providers/{namespace}", context.state.identity.subscription_id),
        "namespace": namespace,
        "resourceTypes": resource_types(namespace),
        "registrationState": state,
        "registrationPolicy": "RegistrationRequired",
    })
}

/// The types of a namespace with their versions. `az resource` picks the version from here.
fn resource_types(namespace: &str) -> Vec<Value> {
    Kind::ALL
        .into_iter()
        .filter(|kind| kind.namespace() == namespace)
        .map(|kind| {
            json!({
                "resourceType": kind.short(),
                "locations": display_names().collect::<Vec<_>>(),
                "apiVersions": versions::of(namespace, kind.short()),
                "capabilities": "CrossResourceGroupResourceMove, CrossSubscriptionResourceMove, SupportsTags, SupportsLocation",
            })
        })
        .collect()
}

/// `GET /subscriptions/{id}/providers`
pub(crate) fn list(context: &Context<'_>) -> Answer {
    let all: Vec<Value> = NAMESPACES
        .iter()
        .map(|namespace| body(context, namespace))
        .collect();
    Answer::json(200, json!({ "value": all }))
}

/// `GET /subscriptions/{id}/providers/{namespace}`
pub(crate) fn get(context: &Context<'_>, namespace: &str) -> Result {
    Ok(Answer::json(200, body(context, known(namespace)?)))
}

/// `POST /subscriptions/{id}/providers/{namespace}/register`
///
/// Answers with the state before or at the beginning of the registration, as Azure does: a client
/// has to ask again.
pub(crate) fn register(context: &mut Context<'_>, namespace: &str) -> Result {
    let namespace = known(namespace)?;
    if registration(context, namespace) == Registration::NotRegistered {
        let from = context.now + context.arm.settings().timing.registration();
        context.state.providers.insert(
            namespace.to_ascii_lowercase(),
            Registration::Registering(from),
        );
        let mut answer = body(context, namespace);
        answer["registrationState"] = json!("Registering");
        return Ok(Answer::json(200, answer));
    }
    Ok(Answer::json(200, body(context, namespace)))
}

/// Refuses what an unregistered provider would create.
pub(crate) fn require_registered(context: &Context<'_>, namespace: &str) -> Result<()> {
    if registration(context, namespace) == Registration::Registered {
        return Ok(());
    }
    Err(ArmError::gateway(
        409,
        "MissingSubscriptionRegistration",
        format!(
            "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to register subscriptions."
        ),
    ))
}

fn known(namespace: &str) -> Result<&'static str> {
    NAMESPACES
        .iter()
        .copied()
        .find(|known| known.eq_ignore_ascii_case(namespace))
        .ok_or_else(|| {
            ArmError::gateway(
                404,
                "InvalidResourceNamespace",
                format!("The resource namespace '{namespace}' is invalid."),
            )
        })
}
