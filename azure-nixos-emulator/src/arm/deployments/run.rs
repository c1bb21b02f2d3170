//! The progress of deployments: each resource is put as a client would put it, once what it waits
//! for is there.
//!
//! Nothing runs by itself: a request that comes in finds what has ended and begins what is next.

use serde_json::{Value, json};

use super::super::error::ArmError;
use super::super::id::{ResourceId, same};
use super::super::lro::Status;
use super::super::{Context, inner_request};
use super::evaluate::{Environment, Evaluated, Problem};
use super::{Deployment, DeploymentState, Step, StepState, facts, parameters, template};

/// Brings every deployment forward; says whether anything happened.
pub(crate) fn advance(context: &mut Context<'_>) -> bool {
    let active: Vec<String> = context
        .state
        .deployments
        .iter()
        .filter(|(_, deployment)| deployment.is_active())
        .map(|(key, _)| key.clone())
        .collect();
    let mut progress = false;
    for key in active {
        // Out of the state while its resources are made, which change the state.
        let Some(mut deployment) = context.state.deployments.remove(&key) else {
            continue;
        };
        progress |= advance_one(context, &mut deployment);
        context.state.deployments.insert(key, deployment);
    }
    progress
}

fn advance_one(context: &mut Context<'_>, deployment: &mut Deployment) -> bool {
    let mut progress = false;
    if deployment.state == DeploymentState::Accepted {
        deployment.state = DeploymentState::Running;
        progress = true;
    }
    for at in 0..deployment.steps.len() {
        progress |= match deployment.steps[at].state {
            StepState::Running => end(context, &mut deployment.steps[at]),
            StepState::Waiting => {
                let is_ready = deployment.steps[at].depends_on.iter().all(|on| {
                    matches!(
                        deployment.steps[*on].state,
                        StepState::Done | StepState::Skipped
                    )
                });
                is_ready && begin(context, deployment, at)
            }
            _ => false,
        };
    }
    let has = |state: StepState| deployment.steps.iter().any(|step| step.state == state);
    let is_held_up = deployment
        .steps
        .iter()
        .any(|step| step.state == StepState::Waiting && step.status_code == HELD_UP);
    if progress || is_held_up || has(StepState::Running) {
        return progress;
    }
    // What waits for something that has failed never begins. What still waits when nothing has
    // failed waits for itself, by `reference()`.
    if has(StepState::Failed) {
        fail(context, deployment);
    } else if has(StepState::Waiting) {
        let error = json!({
            "code": "InvalidTemplate",
            "message": "Deployment template validation failed: 'Circular dependency detected on the resources of the template, by the function reference().'.",
        });
        finish(context, deployment, DeploymentState::Failed, Some(error));
    } else {
        succeed(context, deployment);
    }
    true
}

/// What a resource's status is while another request to the same resource is in its way.
const HELD_UP: &str = "Retrying";

/// Puts a resource. Says whether something happened.
fn begin(context: &mut Context<'_>, deployment: &mut Deployment, at: usize) -> bool {
    let document = match evaluated(context, deployment, &deployment.steps[at].document) {
        Ok(document) => document,
        Err(Problem::Waiting) => return false,
        Err(Problem::NotHere(what)) => {
            let error = ArmError::not_implemented(what);
            let now = context.now;
            ended(
                &mut deployment.steps[at],
                now,
                "NotImplemented",
                Some(error.inner()),
            );
            return true;
        }
        Err(Problem::Invalid(why)) => {
            let step = &mut deployment.steps[at];
            let error = json!({
                "code": "InvalidTemplate",
                "message": format!(
                    "Unable to process template language expressions for resource '{}' at line '1' and column '1'. '{why}.'",
                    step.id
                ),
            });
            ended(step, context.now, "BadRequest", Some(error));
            return true;
        }
    };
    let step = &mut deployment.steps[at];
    step.began.get_or_insert(context.now);
    match inner_request::put(context, &step.id, &step.api_version, &document, true) {
        Ok(answer) => {
            step.status_code = if answer.status == 201 {
                "Created"
            } else {
                "OK"
            }
            .to_owned();
            step.operation = inner_request::operation_of(&answer);
            if step.operation.is_some() {
                step.state = StepState::Running;
            } else {
                step.state = StepState::Done;
                step.ended = Some(context.now);
            }
            true
        }
        // Another request to the same resource is under way: again when that has ended.
        Err(error) if error.status == 429 || error.code == "AnotherOperationInProgress" => {
            step.status_code = HELD_UP.to_owned();
            false
        }
        Err(error) => {
            let status = status_name(error.status);
            ended(step, context.now, status, Some(error.inner()));
            true
        }
    }
}

fn ended(step: &mut Step, now: std::time::SystemTime, status: &str, error: Option<Value>) {
    step.state = if error.is_some() {
        StepState::Failed
    } else {
        StepState::Done
    };
    step.began.get_or_insert(now);
    step.ended = Some(now);
    step.status_code = status.to_owned();
    step.error = error;
}

/// Looks whether the operation of a resource has ended.
fn end(context: &Context<'_>, step: &mut Step) -> bool {
    let operation = step
        .operation
        .and_then(|id| context.state.operations.get(&id));
    let error = match operation.map(|operation| &operation.status) {
        Some(Status::Running) => return false,
        Some(Status::Succeeded(_)) => None,
        Some(Status::Failed { code, message, .. }) => {
            Some(json!({ "code": code, "message": message }))
        }
        // Forgotten a day after its end.
        None => None,
    };
    let status = if error.is_some() { "Conflict" } else { "OK" };
    ended(step, context.now, status, error);
    true
}

/// A part of the template with everything in it evaluated.
fn evaluated(context: &Context<'_>, deployment: &Deployment, value: &Value) -> Evaluated {
    let facts = facts(context, deployment);
    let variables = template::variables(&deployment.template);
    let lookup = |what: &str, is_full: bool| reference(context, deployment, what, is_full);
    let mut environment = Environment::new(&facts, &deployment.parameters, &variables);
    environment.lookup = Some(&lookup);
    environment.value(value)
}

/// What `reference()` gives: the properties of a resource, or all of it.
fn reference(
    context: &Context<'_>,
    deployment: &Deployment,
    what: &str,
    is_full: bool,
) -> Evaluated {
    let step = template::find(&deployment.steps, what).map(|at| &deployment.steps[at]);
    let id = match step {
        Some(step) if step.state == StepState::Done => step.id.as_str(),
        Some(step) if step.state == StepState::Skipped => {
            return Err(Problem::Invalid(format!(
                "The resource '{}' is referred to, and its condition is false",
                step.path()
            )));
        }
        Some(_) => return Err(Problem::Waiting),
        None => what,
    };
    let document = document(context, id).ok_or_else(|| {
        Problem::Invalid(format!(
            "The resource '{what}' is not defined in the template, and was not found. Please see https://aka.ms/arm-syntax for usage details"
        ))
    })?;
    if !is_full {
        return Ok(document["properties"].clone());
    }
    let mut full = document;
    full["resourceId"] = json!(id.trim_start_matches('/'));
    full["subscriptionId"] = json!(context.state.identity.subscription_id);
    full["resourceGroupName"] = json!(deployment.group);
    full["scope"] = json!("");
    Ok(full)
}

/// The document of an id, as a GET shows it: a resource, a subnet, a role assignment.
fn document(context: &Context<'_>, id: &str) -> Option<Value> {
    if let Some(resource) = context.state.resource(id) {
        return Some(context.shown_resource(resource));
    }
    if let Some(document) = context.state.documents.get(&id.to_ascii_lowercase()) {
        return Some(document.clone());
    }
    let (parent, _) = id.rsplit_once('/')?;
    let (network, _) = parent.rsplit_once('/')?;
    ResourceId::parse(network)?;
    let network = context.shown_resource(context.state.resource(network)?);
    network["properties"]["subnets"]
        .as_array()?
        .iter()
        .find(|subnet| same(subnet["id"].as_str().unwrap_or_default(), id))
        .cloned()
}

fn succeed(context: &Context<'_>, deployment: &mut Deployment) {
    match outputs(context, deployment) {
        Ok(outputs) => {
            deployment.outputs = Some(outputs);
            finish(context, deployment, DeploymentState::Succeeded, None);
        }
        Err(problem) => {
            let why = match problem {
                Problem::Invalid(why) => why,
                Problem::NotHere(what) => format!("The local Azure does not implement {what}"),
                Problem::Waiting => "An output refers to what is not there".to_owned(),
            };
            let error = json!({
                "code": "DeploymentOutputEvaluationFailed",
                "message": format!(
                    "Unable to evaluate template outputs. Please see error details and deployment operations. Please see https://aka.ms/arm-common-errors for usage details. '{why}.'"
                ),
            });
            finish(context, deployment, DeploymentState::Failed, Some(error));
        }
    }
}

/// The outputs; those of a secure type have no value.
fn outputs(context: &Context<'_>, deployment: &Deployment) -> Evaluated {
    let mut outputs = json!({});
    for (name, output) in deployment.template["outputs"]
        .as_object()
        .into_iter()
        .flatten()
    {
        if let Some(condition) = output.get("condition")
            && evaluated(context, deployment, condition)? == json!(false)
        {
            continue;
        }
        let kind = output["type"].as_str().unwrap_or_default();
        outputs[name] = json!({ "type": super::view::type_name(kind) });
        if !parameters::is_secure(kind) {
            outputs[name]["value"] = evaluated(context, deployment, &output["value"])?;
        }
    }
    Ok(outputs)
}

fn fail(context: &Context<'_>, deployment: &mut Deployment) {
    let details: Vec<Value> = deployment
        .steps
        .iter()
        .filter_map(|step| step.error.clone())
        .collect();
    let error = json!({
        "code": "DeploymentFailed",
        "target": deployment.id,
        "message": "At least one resource deployment operation failed. Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details.",
        "details": details,
    });
    finish(context, deployment, DeploymentState::Failed, Some(error));
}

fn finish(
    context: &Context<'_>,
    deployment: &mut Deployment,
    state: DeploymentState,
    error: Option<Value>,
) {
    deployment.state = state;
    deployment.error = error;
    deployment.ended = Some(context.now);
}

/// The name of a status in the list of a deployment's operations.
fn status_name(status: u16) -> &'static str {
    match status {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        501 => "NotImplemented",
        _ => "InternalServerError",
    }
}
