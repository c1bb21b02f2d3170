//! How deployments and their operations are shown.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::super::Context;
use super::super::clock_text::zulu;
use super::{Deployment, DeploymentState, Step, StepState, parameters};

/// `String`, `SecureString`, `Int` …, whatever the case of the template.
pub(super) fn type_name(kind: &str) -> String {
    match kind.to_ascii_lowercase().as_str() {
        "securestring" => "SecureString".to_owned(),
        "secureobject" => "SecureObject".to_owned(),
        other => {
            let mut chars = other.chars();
            chars
                .next()
                .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
                .unwrap_or_default()
        }
    }
}

/// `PT1M24.8364966S`
fn duration(time: Duration) -> String {
    let (seconds, ticks) = (time.as_secs(), time.subsec_nanos() / 100);
    let mut text = "PT".to_owned();
    if seconds >= 3600 {
        text.push_str(&format!("{}H", seconds / 3600));
    }
    if seconds >= 60 {
        text.push_str(&format!("{}M", seconds / 60 % 60));
    }
    text.push_str(&format!("{}.{ticks:07}S", seconds % 60));
    text
}

fn since(from: SystemTime, to: SystemTime) -> String {
    duration(to.duration_since(from).unwrap_or_default())
}

/// The document of a deployment, as its GET answers.
pub(super) fn deployment(context: &Context<'_>, of: &Deployment) -> Value {
    let until = of.ended.unwrap_or(context.now);
    let mut properties = plan(of);
    properties["provisioningState"] = json!(of.state.name());
    properties["timestamp"] = json!(zulu(of.ended.unwrap_or(of.started)));
    properties["duration"] = json!(since(of.started, until));
    properties["correlationId"] = json!(of.correlation);
    if of.ended.is_some() {
        let made: Vec<Value> = of
            .steps
            .iter()
            .filter(|step| step.state == StepState::Done)
            .map(|step| json!({ "id": step.id }))
            .collect();
        properties["outputResources"] = json!(made);
    }
    if let Some(outputs) = &of.outputs {
        properties["outputs"] = outputs.clone();
    }
    if let Some(error) = &of.error {
        properties["error"] = error.clone();
    }
    let mut body = json!({
        "id": of.id,
        "name": of.name,
        "type": "Microsoft.Resources/deployments",
        "properties": properties,
    });
    if let Some(tags) = &of.tags {
        body["tags"] = tags.clone();
    }
    body
}

/// The answer to a validation: what would be made.
pub(super) fn validated(context: &Context<'_>, of: &Deployment) -> Value {
    let mut body = deployment(context, of);
    let resources: Vec<Value> = of
        .steps
        .iter()
        .filter(|step| step.state != StepState::Skipped)
        .map(|step| json!({ "id": step.id }))
        .collect();
    body["properties"]["provisioningState"] = json!(DeploymentState::Succeeded.name());
    body["properties"]["validatedResources"] = json!(resources);
    body
}

/// What is known of a deployment before it begins.
fn plan(of: &Deployment) -> Value {
    let mut parameters = Map::new();
    for (name, value) in &of.parameters {
        let kind = of.template["parameters"][name]["type"]
            .as_str()
            .unwrap_or_default();
        let mut shown = json!({ "type": type_name(kind) });
        if !parameters::is_secure(kind) {
            shown["value"] = value.clone();
        }
        parameters.insert(name.clone(), shown);
    }
    // Azure's is a number of 64 bits.
    let digest = Sha256::digest(of.template.to_string().as_bytes());
    let mut number = [0_u8; 8];
    number.copy_from_slice(&digest[..8]);
    let mut providers: Vec<(String, Vec<Value>)> = Vec::new();
    for step in &of.steps {
        let (namespace, kind) = step.kind.split_once('/').unwrap_or((&step.kind, ""));
        let at = providers
            .iter()
            .position(|(other, _)| other.eq_ignore_ascii_case(namespace))
            .unwrap_or_else(|| {
                providers.push((namespace.to_owned(), Vec::new()));
                providers.len() - 1
            });
        let entry = json!({ "resourceType": kind, "locations": [step.location] });
        if !providers[at]
            .1
            .iter()
            .any(|other| other["resourceType"] == kind)
        {
            providers[at].1.push(entry);
        }
    }
    let providers: Vec<Value> = providers
        .into_iter()
        .map(|(namespace, types)| json!({ "namespace": namespace, "resourceTypes": types }))
        .collect();
    let dependencies: Vec<Value> = of
        .steps
        .iter()
        .filter(|step| !step.depends_on.is_empty())
        .map(|step| {
            let on: Vec<Value> = step
                .depends_on
                .iter()
                .filter_map(|on| of.steps.get(*on))
                .map(target)
                .collect();
            let mut entry = target(step);
            entry["dependsOn"] = json!(on);
            entry
        })
        .collect();
    json!({
        "templateHash": u64::from_be_bytes(number).to_string(),
        "parameters": parameters,
        "mode": "Incremental",
        "providers": providers,
        "dependencies": dependencies,
    })
}

fn target(step: &Step) -> Value {
    json!({
        "id": step.id,
        "resourceType": step.kind,
        "resourceName": step.name,
    })
}

/// The operations of a deployment: one for each resource that was begun, and one for the outputs.
pub(super) fn operations(context: &Context<'_>, of: &Deployment) -> Vec<Value> {
    let mut all: Vec<Value> = of
        .steps
        .iter()
        .filter_map(|step| Some((step, step.began?)))
        .map(|(step, began)| {
            let until = step.ended.unwrap_or(context.now);
            let state = match step.state {
                StepState::Done => "Succeeded",
                StepState::Failed => "Failed",
                StepState::Waiting | StepState::Running | StepState::Skipped => "Running",
            };
            let id = step.tracking.simple().to_string()[..16].to_ascii_uppercase();
            let mut properties = json!({
                "provisioningOperation": "Create",
                "provisioningState": state,
                "timestamp": zulu(until),
                "duration": since(began, until),
                "trackingId": step.tracking,
                "statusCode": step.status_code,
                "targetResource": {
                    "id": step.id,
                    "resourceType": step.kind,
                    "resourceName": step.name,
                },
            });
            if let Some(error) = &step.error {
                properties["statusMessage"] = json!({ "error": error });
            }
            json!({
                "id": format!("{}/operations/{id}", of.id),
                "operationId": id,
                "properties": properties,
            })
        })
        .collect();
    if of.state == DeploymentState::Succeeded
        && let Some(ended) = of.ended
    {
        all.push(json!({
            "id": format!("{}/operations/08584", of.id),
            "operationId": "08584",
            "properties": {
                "provisioningOperation": "EvaluateDeploymentOutput",
                "provisioningState": "Succeeded",
                "timestamp": zulu(ended),
                "duration": since(of.started, ended),
                "trackingId": of.correlation,
                "statusCode": "OK",
            },
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_types_are_azures() {
        assert_eq!(
            duration(Duration::from_nanos(84_836_496_600)),
            "PT1M24.8364966S"
        );
        assert_eq!(duration(Duration::from_micros(565)), "PT0.0005650S");
        assert_eq!(duration(Duration::from_secs(3601)), "PT1H0M1.0000000S");
        assert_eq!(type_name("securestring"), "SecureString");
        assert_eq!(type_name("int"), "Int");
    }
}
