//! Template deployments to a resource group.
//!
//! A deployment is a list of resources, each of which is put with the handler that answers a PUT
//! by HTTP, so that what a template makes is what a client makes. Only the mode `Incremental` is
//! here: what a template does not name stays.

mod evaluate;
mod expression;
mod functions;
mod lenient;
mod parameters;
mod run;
mod template;
mod view;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use self::evaluate::{Facts, Problem};
use super::Context;
use super::answer::{Answer, Result};
use super::clock_text::{ticks, zulu};
use super::error::ArmError;
use super::pace::Timing;
use super::resources::check_tags;
use super::shape::{Shape, TAGS};

pub(crate) use self::run::advance;

const REQUEST: Shape = Shape::Object(&[
    ("location", Shape::Text),
    ("tags", TAGS),
    (
        "properties!",
        Shape::Object(&[
            ("template", Shape::Any),
            ("templateLink", Shape::Any),
            ("parameters", Shape::Any),
            ("parametersLink", Shape::Any),
            ("mode!", Shape::OneOf(&["Incremental", "Complete"])),
            ("debugSetting", Shape::Any),
            ("onErrorDeployment", Shape::Any),
            ("expressionEvaluationOptions", Shape::Any),
            ("extensionConfigs", Shape::Any),
            ("externalInputs", Shape::Any),
            ("externalInputDefinitions", Shape::Any),
            ("validationLevel", Shape::Text),
        ]),
    ),
]);

/// How many deployments a group keeps.
const MOST: usize = 800;

/// The longest that `Retry-After` asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A deployment and how far it has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deployment {
    id: String,
    name: String,
    /// The name of its group.
    group: String,
    tags: Option<Value>,
    /// What the URL of its status names.
    operation: Uuid,
    correlation: Uuid,
    template: Value,
    /// With secrets, which are never shown.
    parameters: Map<String, Value>,
    steps: Vec<Step>,
    started: SystemTime,
    ended: Option<SystemTime>,
    state: DeploymentState,
    error: Option<Value>,
    outputs: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum DeploymentState {
    Accepted,
    Running,
    Succeeded,
    Failed,
    Canceled,
}

impl DeploymentState {
    fn name(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
        }
    }
}

/// A resource of a template.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Step {
    id: String,
    kind: String,
    /// With the names of what it is inside of before it.
    name: String,
    /// Where that is known before anything is made.
    location: Option<String>,
    /// What the template calls it, where it does.
    symbol: Option<String>,
    api_version: String,
    /// The body, not evaluated yet.
    document: Value,
    /// The places of those that have to be there before.
    depends_on: Vec<usize>,
    state: StepState,
    tracking: Uuid,
    /// The operation that its PUT began.
    operation: Option<Uuid>,
    began: Option<SystemTime>,
    ended: Option<SystemTime>,
    /// As the list of operations shows it: `Created`.
    status_code: String,
    error: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum StepState {
    Waiting,
    Running,
    Done,
    Failed,
    /// Its condition is false.
    Skipped,
}

impl Step {
    /// `Microsoft.Network/virtualNetworks/v`
    fn path(&self) -> &str {
        self.id
            .rsplit_once("/providers/")
            .map_or(self.id.as_str(), |(_, path)| path)
    }
}

impl Deployment {
    fn is_active(&self) -> bool {
        matches!(
            self.state,
            DeploymentState::Accepted | DeploymentState::Running
        )
    }
}

impl From<Problem> for ArmError {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::NotHere(what) => Self::not_implemented(what),
            Problem::Invalid(why) => invalid(&why),
            Problem::Waiting => invalid("The template refers to what is not there yet"),
        }
    }
}

fn invalid(why: &str) -> ArmError {
    ArmError::gateway(
        400,
        "InvalidTemplate",
        format!("Deployment template validation failed: '{why}.'."),
    )
}

/// Answers a path below `…/providers/Microsoft.Resources/deployments`: `below` in lower case,
/// `parts` as it was written.
pub(crate) fn answer(
    context: &mut Context<'_>,
    group: &str,
    below: &[&str],
    parts: &[&str],
) -> Result {
    let group = context.group(group)?.name.clone();
    let method = context.call.method.as_str();
    let Some(name) = parts.first() else {
        return match method {
            "GET" => Ok(list(context, &group)),
            _ => Err(ArmError::no_such_method(method)),
        };
    };
    let id = format!(
        "/subscriptions/{}/resourceGroups/{group}/providers/Microsoft.Resources/deployments/{name}",
        context.state.identity.subscription_id
    );
    let key = id.to_ascii_lowercase();
    match (method, &below[1..]) {
        ("PUT", []) => put(context, &group, name, &id),
        ("POST", ["validate"]) => {
            let deployment = read(context, &group, name, &id)?;
            Ok(Answer::json(200, view::validated(context, &deployment)))
        }
        ("GET", ["operationstatuses", operation]) => status(context, &id, operation),
        ("HEAD", []) if context.state.deployments.contains_key(&key) => Ok(Answer::empty(204)),
        // The type is that of the error which an answer to HEAD leaves out.
        ("HEAD", []) => Ok(Answer::empty(404)
            .with_header("x-ms-failure-cause", "gateway")
            .with_header("content-type", "application/json; charset=utf-8")),
        ("DELETE", []) => delete(context, &id),
        ("POST", ["whatif"]) => Err(ArmError::not_implemented("what-if of deployments")),
        _ => {
            let deployment = existing(context, &id)?.clone();
            match (method, &below[1..]) {
                ("GET", []) => Ok(Answer::json(200, view::deployment(context, &deployment))),
                ("POST", ["exporttemplate"]) => Ok(Answer::json(
                    200,
                    json!({ "template": deployment.template }),
                )),
                ("POST", ["cancel"]) => cancel(context, deployment),
                ("GET", ["operations"]) => Ok(Answer::json(
                    200,
                    json!({ "value": view::operations(context, &deployment) }),
                )),
                ("GET", ["operations", operation]) => view::operations(context, &deployment)
                    .into_iter()
                    .find(|entry| {
                        entry["operationId"]
                            .as_str()
                            .is_some_and(|id| id.eq_ignore_ascii_case(operation))
                    })
                    .map(|entry| Answer::json(200, entry))
                    .ok_or_else(|| {
                        ArmError::gateway(
                            404,
                            "DeploymentOperationNotFound",
                            format!("The deployment operation '{operation}' could not be found."),
                        )
                    }),
                (_, []) => Err(ArmError::no_such_method(method)),
                _ => Err(ArmError::no_such_path(&context.call.path)),
            }
        }
    }
}

fn existing<'a>(context: &'a Context<'_>, id: &str) -> Result<&'a Deployment> {
    context
        .state
        .deployments
        .get(&id.to_ascii_lowercase())
        .ok_or_else(|| {
            ArmError::gateway(
                404,
                "DeploymentNotFound",
                format!(
                    "Deployment '{}' could not be found.",
                    id.rsplit('/').next().unwrap_or_default()
                ),
            )
        })
}

fn list(context: &Context<'_>, group: &str) -> Answer {
    let found: Vec<Value> = context
        .state
        .deployments
        .values()
        .filter(|deployment| deployment.group.eq_ignore_ascii_case(group))
        .map(|deployment| view::deployment(context, deployment))
        .collect();
    Answer::json(200, json!({ "value": found }))
}

/// Reads a request: what it would deploy.
fn read(context: &Context<'_>, group: &str, name: &str, id: &str) -> Result<Deployment> {
    let is_name = (1..=64).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "-_.()".contains(c));
    if !is_name {
        return Err(ArmError::gateway(
            400,
            "InvalidDeploymentName",
            format!(
                "The provided deployment name '{name}' has these invalid characters or a wrong length: it has at most 64 letters, digits, '-', '_', '.', '(' and ')'."
            ),
        ));
    }
    let mut body = body(context)?;
    REQUEST.check(&mut body)?;
    check_tags(&body)?;
    if body["properties"]["mode"] == "Complete" {
        return Err(ArmError::not_implemented("deployments in mode 'Complete'"));
    }
    let mut deployment = Deployment {
        id: id.to_owned(),
        name: name.to_owned(),
        group: group.to_owned(),
        tags: body.get("tags").cloned(),
        operation: Uuid::new_v4(),
        correlation: Uuid::new_v4(),
        template: Value::Null,
        parameters: Map::new(),
        steps: Vec::new(),
        started: context.now,
        ended: None,
        state: DeploymentState::Accepted,
        error: None,
        outputs: None,
    };
    let plan = template::read(&facts(context, &deployment), &body["properties"])?;
    deployment.template = plan.template;
    deployment.parameters = plan.parameters;
    deployment.steps = plan.steps;
    Ok(deployment)
}

/// The body, which Resource Manager reads less strictly than the rest of the world reads JSON.
fn body(context: &Context<'_>) -> Result<Value> {
    let refused = |why: String| {
        ArmError::gateway(
            400,
            "InvalidRequestContent",
            format!("The request content was invalid and could not be deserialized: '{why}'."),
        )
    };
    let text =
        std::str::from_utf8(&context.call.body).map_err(|error| refused(error.to_string()))?;
    match serde_json::from_str(&lenient::strict(text)) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(refused("the body is not a JSON object".to_owned())),
        Err(error) => Err(refused(error.to_string())),
    }
}

/// What expressions can ask for.
fn facts(context: &Context<'_>, deployment: &Deployment) -> Facts {
    let subscription = context.state.identity.subscription_id;
    let tenant = context.state.identity.tenant_id;
    let group = context
        .state
        .groups
        .get(&deployment.group.to_ascii_lowercase());
    let base = &context.arm.settings().arm_url;
    Facts {
        subscription: json!({
            "id": format!("/subscriptions/{subscription}"),
            "subscriptionId": subscription,
            "tenantId": tenant,
            "displayName": "Local Azure",
        }),
        group: json!({
            "id": format!("/subscriptions/{subscription}/resourceGroups/{}", deployment.group),
            "name": deployment.group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": group.map(|group| group.location.clone()),
            "tags": group.and_then(|group| group.tags.clone()).unwrap_or_else(|| json!({})),
            "properties": { "provisioningState": "Succeeded" },
        }),
        tenant: json!({ "tenantId": tenant, "displayName": "Local Azure", "countryCode": "US" }),
        deployment: json!({
            "name": deployment.name,
            "properties": { "mode": "Incremental", "provisioningState": deployment.state.name() },
        }),
        environment: json!({
            "name": "LocalAzure",
            "resourceManager": base,
            "authentication": { "loginEndpoint": base, "tenant": tenant, "identityProvider": "AAD" },
            "suffixes": { "storage": "blob.localhost", "keyvaultDns": "vault.localhost" },
        }),
        now: zulu(deployment.started)
            .split('.')
            .next()
            .unwrap_or_default()
            .replace(['-', ':'], "")
            + "Z",
    }
}

fn put(context: &mut Context<'_>, group: &str, name: &str, id: &str) -> Result {
    if context.group(group)?.deleting {
        return Err(ArmError::gateway(
            409,
            "ResourceGroupBeingDeleted",
            format!(
                "The resource group '{group}' is in deprovisioning state and cannot perform this operation."
            ),
        ));
    }
    let key = id.to_ascii_lowercase();
    let before = context.state.deployments.get(&key);
    if before.is_some_and(Deployment::is_active) {
        return Err(ArmError::gateway(
            409,
            "DeploymentActive",
            format!(
                "The deployment with resource id '{id}' cannot be saved, because this would overwrite an existing deployment which is still active. Please see https://aka.ms/arm-deploy for usage details."
            ),
        ));
    }
    let code = if before.is_some() { 200 } else { 201 };
    let deployment = read(context, group, name, id)?;
    let shown = view::deployment(context, &deployment);
    let unsigned = format!(
        "{}/operationStatuses/{}?api-version={}&t={}",
        id.replacen("/resourceGroups/", "/resourcegroups/", 1),
        deployment.operation,
        context.api_version,
        ticks(context.now)
    );
    let url = context.sign(&context.arm.settings().arm_url, &unsigned);
    context.state.deployments.insert(key, deployment);
    forget_oldest(&mut context.state.deployments, group, MOST);
    Ok(Answer::json(code, shown)
        .with_header("azure-asyncoperation", url)
        .with_header("retry-after", retry_after(context)))
}

/// Forgets the oldest deployments of a group that has more than it keeps, as Azure does by itself.
fn forget_oldest(deployments: &mut BTreeMap<String, Deployment>, group: &str, most: usize) {
    let mut ended: Vec<(SystemTime, String)> = Vec::new();
    let mut count = 0;
    for (key, deployment) in deployments.iter() {
        if deployment.group.eq_ignore_ascii_case(group) {
            count += 1;
            ended.extend(deployment.ended.map(|ended| (ended, key.clone())));
        }
    }
    ended.sort_unstable();
    for (_, key) in ended.into_iter().take(usize::saturating_sub(count, most)) {
        deployments.remove(&key);
    }
}

/// Whole seconds until it is worth asking again: half of what a resource takes, a few at most. The
/// header is in no recording of a deployment, so that it is the same at any timing.
fn retry_after(context: &Context<'_>) -> String {
    let delay = match context.arm.settings().timing {
        Timing::Uniform(delay) => delay / 2,
        Timing::LikeAzure => LONGEST_WAIT,
    };
    delay.min(LONGEST_WAIT).as_secs().to_string()
}

/// `{"status"}`: what the URL of a PUT answers.
fn status(context: &Context<'_>, id: &str, operation: &str) -> Result {
    context.require_verbatim()?;
    let deployment = existing(context, id)?;
    if deployment.operation.to_string() != operation {
        return Err(ArmError::gateway(
            404,
            "DeploymentOperationNotFound",
            format!("The deployment operation '{operation}' could not be found."),
        ));
    }
    let mut body = json!({ "status": deployment.state.name() });
    if let Some(error) = &deployment.error {
        body["error"] = error.clone();
    }
    let answer = Answer::json(200, body);
    Ok(if deployment.is_active() {
        answer.with_header("retry-after", retry_after(context))
    } else {
        answer
    })
}

/// What was begun goes on, nothing more is begun.
fn cancel(context: &mut Context<'_>, mut deployment: Deployment) -> Result {
    if !deployment.is_active() {
        return Err(ArmError::gateway(
            409,
            "DeploymentCannotBeCancelled",
            format!(
                "The deployment '{}' cannot be cancelled because it has provisioning state '{}' or it has already expired.",
                deployment.name,
                deployment.state.name()
            ),
        ));
    }
    deployment.state = DeploymentState::Canceled;
    deployment.ended = Some(context.now);
    context
        .state
        .deployments
        .insert(deployment.id.to_ascii_lowercase(), deployment);
    Ok(Answer::empty(204))
}

/// Forgets a deployment; its resources stay.
fn delete(context: &mut Context<'_>, id: &str) -> Result {
    let key = id.to_ascii_lowercase();
    match context.state.deployments.get(&key) {
        None => return Ok(Answer::empty(204)),
        Some(deployment) if deployment.is_active() => {
            return Err(ArmError::gateway(
                409,
                "DeploymentActive",
                format!(
                    "The deployment with resource id '{id}' cannot be deleted while it is active."
                ),
            ));
        }
        Some(_) => {}
    }
    context.state.deployments.remove(&key);
    // Done by then: whoever asks after the job hears so.
    let job = json!({
        "jobId": format!("DEPLOYMENTDELETIONJOB-{}", Uuid::new_v4()),
        "jobLocation": "local",
    });
    let unsigned = format!(
        "/subscriptions/{}/operationresults/{}?api-version={}&t={}",
        context.state.identity.subscription_id,
        URL_SAFE_NO_PAD.encode(job.to_string()),
        context.api_version,
        ticks(context.now)
    );
    let url = context.sign(&context.arm.settings().arm_url, &unsigned);
    Ok(Answer::empty(202)
        .with_header("location", url)
        .with_header("retry-after", "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_have_ended_are_forgotten() {
        let start = SystemTime::UNIX_EPOCH;
        let mut deployments = BTreeMap::new();
        for (number, group, ended) in [
            (1_u64, "rg", true),
            (2, "RG", false),
            (3, "rg", true),
            (4, "other", true),
            (5, "rg", true),
        ] {
            let time = start + Duration::from_secs(number);
            deployments.insert(
                number.to_string(),
                Deployment {
                    id: number.to_string(),
                    name: number.to_string(),
                    group: group.to_owned(),
                    tags: None,
                    operation: Uuid::new_v4(),
                    correlation: Uuid::new_v4(),
                    template: Value::Null,
                    parameters: Map::new(),
                    steps: Vec::new(),
                    started: time,
                    ended: ended.then_some(time),
                    state: DeploymentState::Running,
                    error: None,
                    outputs: None,
                },
            );
        }
        let mut left = |most| {
            forget_oldest(&mut deployments, "rg", most);
            deployments.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(left(4), ["1", "2", "3", "4", "5"]);
        assert_eq!(left(2), ["2", "4", "5"]);
        assert_eq!(left(0), ["2", "4"]);
    }
}
