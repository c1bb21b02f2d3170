//! From a template and its parameters to the resources to make, in which order.

use serde_json::{Map, Value, json};

use super::evaluate::{Environment, Evaluated, Facts, Problem};
use super::functions::interleave;
use super::{Step, StepState};

/// A template that can be deployed.
pub(super) struct Plan {
    pub(super) template: Value,
    /// With the defaults.
    pub(super) parameters: Map<String, Value>,
    pub(super) steps: Vec<Step>,
}

fn invalid(why: impl Into<String>) -> Problem {
    Problem::Invalid(why.into())
}

/// The object of a field; nothing stands for an empty one.
fn object<'a>(of: &'a Value, field: &str) -> Evaluated<&'a Map<String, Value>> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    match &of[field] {
        Value::Object(fields) => Ok(fields),
        Value::Null => Ok(&NONE),
        _ => Err(invalid(format!("The template's '{field}' is no object"))),
    }
}

/// The `variables` of a template that was read before.
pub(super) fn variables(template: &Value) -> Map<String, Value> {
    object(template, "variables").cloned().unwrap_or_default()
}

/// Reads the `properties` of a request. Only what is known before anything is made is evaluated.
pub(super) fn read(facts: &Facts, properties: &Value) -> Evaluated<Plan> {
    for (field, what) in [
        ("templateLink", "templates by a link"),
        ("parametersLink", "parameters by a link"),
    ] {
        if !properties[field].is_null() {
            return Err(Problem::NotHere(what.to_owned()));
        }
    }
    let template = properties["template"].clone();
    if !template.is_object() {
        return Err(invalid("The template is missing or no object"));
    }
    let schema = template["$schema"].as_str().unwrap_or_default();
    if !schema
        .to_ascii_lowercase()
        .trim_end_matches('#')
        .ends_with("/deploymenttemplate.json")
    {
        return Err(
            if schema
                .to_ascii_lowercase()
                .contains("deploymenttemplate.json")
            {
                Problem::NotHere("templates for other scopes than a group".to_owned())
            } else {
                invalid(format!(
                    "The template's $schema '{schema}' is not one of deployment templates to a group"
                ))
            },
        );
    }
    if !template["contentVersion"].is_string() {
        return Err(invalid("The template's 'contentVersion' is missing"));
    }
    for field in ["functions", "imports", "extensions"] {
        let is_used = match &template[field] {
            Value::Array(values) => !values.is_empty(),
            Value::Object(fields) => !fields.is_empty(),
            _ => false,
        };
        if is_used {
            return Err(Problem::NotHere(format!("the '{field}' of templates")));
        }
    }
    let variables = object(&template, "variables")?;
    let parameters = super::parameters::read(
        facts,
        object(&template, "parameters")?,
        object(properties, "parameters")?,
        variables,
    )?;
    let environment = Environment::new(facts, &parameters, variables);
    let steps = steps(&environment, &template["resources"])?;
    // A variable that nothing uses has to be good as well.
    for value in variables.values() {
        match environment.value(value) {
            Err(problem @ (Problem::NotHere(_) | Problem::Invalid(_))) => return Err(problem),
            Ok(_) | Err(Problem::Waiting) => {}
        }
    }
    Ok(Plan {
        template,
        parameters,
        steps,
    })
}

/// The resources of a template, and what each waits for.
fn steps(environment: &Environment<'_>, resources: &Value) -> Evaluated<Vec<Step>> {
    let mut found = Vec::new();
    let mut waits = Vec::new();
    match resources {
        Value::Null => {}
        Value::Array(resources) => {
            for resource in resources {
                collect(environment, resource, None, None, &mut found, &mut waits)?;
            }
        }
        // Newer templates name each.
        Value::Object(resources) => {
            for (symbol, resource) in resources {
                collect(
                    environment,
                    resource,
                    None,
                    Some(symbol),
                    &mut found,
                    &mut waits,
                )?;
            }
        }
        _ => return Err(invalid("The template's 'resources' is no array")),
    }
    for at in 0..found.len() {
        let twin = found[..at]
            .iter()
            .any(|other: &Step| other.id.eq_ignore_ascii_case(&found[at].id));
        if twin {
            return Err(invalid(format!(
                "The resource '{}' at line '1' and column '1' is defined multiple times in a template. Please see https://aka.ms/arm-syntax-resources for usage details",
                found[at].path()
            )));
        }
        for wanted in &waits[at] {
            let on = find(&found, wanted).ok_or_else(|| {
                invalid(format!(
                    "The resource '{wanted}' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details"
                ))
            })?;
            if !found[at].depends_on.contains(&on) {
                found[at].depends_on.push(on);
            }
        }
    }
    refuse_circles(&found)?;
    Ok(found)
}

/// Adds a resource, and the resources that are written inside of it.
fn collect(
    environment: &Environment<'_>,
    resource: &Value,
    parent: Option<(&str, &str)>,
    symbol: Option<&str>,
    found: &mut Vec<Step>,
    waits: &mut Vec<Vec<String>>,
) -> Evaluated<()> {
    let mut rest = resource
        .as_object()
        .ok_or_else(|| invalid("A resource of the template is no object"))?
        .clone();
    let mut take = |field: &str| match rest.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => environment.value(&value).map(Some),
    };
    let needed = |field: &str, value: Option<Value>| match value {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        _ => Err(invalid(format!(
            "The template resource's '{field}' is missing or no string"
        ))),
    };
    let mut kind = needed("type", take("type")?)?;
    let mut name = needed("name", take("name")?)?;
    let api_version = needed("apiVersion", take("apiVersion")?)?;
    if let Some((kind_above, name_above)) = parent {
        kind = format!("{kind_above}/{kind}");
        name = format!("{name_above}/{name}");
    }
    if kind.eq_ignore_ascii_case("Microsoft.Resources/deployments") {
        return Err(Problem::NotHere(
            "deployments inside of deployments".to_owned(),
        ));
    }
    let wanted: Vec<String> = match take("dependsOn")? {
        None => Vec::new(),
        Some(Value::Array(values)) => values
            .iter()
            .map(|value| needed("dependsOn", Some(value.clone())))
            .collect::<Evaluated<_>>()?,
        Some(_) => return Err(invalid("A resource's 'dependsOn' is no array")),
    };
    let is_wanted = match take("condition")? {
        None | Some(Value::Bool(true)) => true,
        Some(Value::Bool(false)) => false,
        Some(_) => return Err(invalid("A resource's 'condition' is no boolean")),
    };
    let scope = match take("scope")? {
        None => None,
        scope => Some(needed("scope", scope)?),
    };
    for field in ["copy", "subscriptionId", "resourceGroup"] {
        if rest.get(field).is_some_and(|value| !value.is_null()) {
            return Err(Problem::NotHere(format!(
                "the '{field}' of resources in templates"
            )));
        }
    }
    if rest.remove("existing") == Some(json!(true)) {
        return Err(Problem::NotHere(
            "'existing' resources in templates".to_owned(),
        ));
    }
    for field in ["comments", "metadata"] {
        rest.remove(field);
    }
    let inside = rest.remove("resources");
    let location = rest
        .get("location")
        .and_then(|location| environment.value(location).ok())
        .and_then(|location| location.as_str().map(ToOwned::to_owned));
    let names: Vec<&str> = name.split('/').collect();
    let path = interleave(&kind, &names).ok_or_else(|| {
        invalid(format!(
            "The template resource '{name}' for type '{kind}' at line '1' and column '1' has incorrect segment lengths. A nested resource type must have identical number of segments as its resource name. A root resource type must have segment length one greater than its resource name. Please see https://aka.ms/arm-syntax-resources for usage details"
        ))
    })?;
    let group = environment.facts.group["id"].as_str().unwrap_or_default();
    let base = match scope {
        None => group.to_owned(),
        Some(scope) if scope.starts_with('/') => scope,
        Some(scope) => format!("{group}/providers/{scope}"),
    };
    found.push(Step {
        id: format!("{base}/providers/{path}"),
        kind: kind.clone(),
        name: name.clone(),
        location,
        symbol: symbol.map(ToOwned::to_owned),
        api_version,
        document: Value::Object(rest),
        depends_on: Vec::new(),
        state: if is_wanted {
            StepState::Waiting
        } else {
            StepState::Skipped
        },
        tracking: uuid::Uuid::new_v4(),
        operation: None,
        began: None,
        ended: None,
        status_code: String::new(),
        error: None,
    });
    waits.push(wanted);
    for child in inside.iter().filter_map(Value::as_array).flatten() {
        collect(environment, child, Some((&kind, &name)), None, found, waits)?;
    }
    Ok(())
}

/// The resource of the template that something names: by its id, its type and name, the name
/// alone or its symbol.
pub(super) fn find(steps: &[Step], wanted: &str) -> Option<usize> {
    let wanted = wanted.trim_end_matches('/');
    steps.iter().position(|step| {
        let names = [
            Some(step.id.as_str()),
            Some(step.path()),
            Some(step.name.as_str()),
            step.symbol.as_deref(),
        ];
        names
            .into_iter()
            .flatten()
            .any(|name| name.eq_ignore_ascii_case(wanted))
    })
}

/// Refuses resources that wait for each other.
fn refuse_circles(steps: &[Step]) -> Evaluated<()> {
    let mut done = vec![false; steps.len()];
    loop {
        let next = (0..steps.len())
            .find(|at| !done[*at] && steps[*at].depends_on.iter().all(|on| done[*on]));
        match next {
            Some(at) => done[at] = true,
            None => break,
        }
    }
    match done.iter().position(|done| !done) {
        None => Ok(()),
        Some(at) => Err(invalid(format!(
            "Circular dependency detected on resource: '{}'. Please see https://aka.ms/arm-syntax-resources for usage details",
            steps[at].id
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::evaluate::tests::facts;
    use super::*;

    fn template(parameters: Value, resources: Value) -> Value {
        json!({
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "parameters": parameters,
            "resources": resources,
        })
    }

    fn problem(properties: Value) -> String {
        match read(&facts(), &properties).err().unwrap() {
            Problem::Invalid(why) | Problem::NotHere(why) => why,
            Problem::Waiting => "waiting".to_owned(),
        }
    }

    #[test]
    fn resources_are_found_by_any_of_their_names() {
        let resources = json!([
            { "type": "Microsoft.Network/virtualNetworks", "name": "v", "apiVersion": "2024-01-01",
              "resources": [{ "type": "subnets", "name": "s", "apiVersion": "2024-01-01",
                              "dependsOn": ["v"] }] },
            { "type": "Microsoft.Network/networkInterfaces", "name": "n", "apiVersion": "2024-01-01",
              "dependsOn": ["Microsoft.Network/virtualnetworks/V",
                            "[resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 's')]"] },
            { "type": "Microsoft.Network/networkInterfaces/providers/roleAssignments",
              "name": "n/Microsoft.Authorization/g", "apiVersion": "2022-04-01",
              "condition": "[equals(1, 2)]" },
        ]);
        let plan = read(
            &facts(),
            &json!({ "template": template(json!({}), resources) }),
        )
        .unwrap();
        let group = "/subscriptions/s/resourceGroups/rg/providers";
        let ids: Vec<&str> = plan.steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                format!("{group}/Microsoft.Network/virtualNetworks/v"),
                format!("{group}/Microsoft.Network/virtualNetworks/v/subnets/s"),
                format!("{group}/Microsoft.Network/networkInterfaces/n"),
                format!(
                    "{group}/Microsoft.Network/networkInterfaces/n/providers/Microsoft.Authorization/roleAssignments/g"
                ),
            ]
        );
        assert_eq!(plan.steps[1].depends_on, [0]);
        assert_eq!(plan.steps[2].depends_on, [0, 1]);
        assert_eq!(plan.steps[3].state, StepState::Skipped);
    }

    #[test]
    fn templates_that_cannot_be_are_refused() {
        let one = |name: &str, on: Value| json!({ "type": "Microsoft.Compute/disks", "name": name, "apiVersion": "2023-04-02", "dependsOn": on });
        for (resources, word) in [
            (
                json!([one("a", json!(["b"])), one("b", json!(["a"]))]),
                "Circular",
            ),
            (json!([one("a", json!(["c"]))]), "'c' is not defined"),
            (
                json!([one("a", json!([])), one("A", json!([]))]),
                "multiple times",
            ),
            (json!([one("a/b", json!([]))]), "segment lengths"),
            (
                json!([{ "type": "Microsoft.Compute/disks", "name": "a" }]),
                "apiVersion",
            ),
            (
                json!([{ "type": "Microsoft.Compute/disks", "name": "[reference('x')]", "apiVersion": "1" }]),
                "'reference'",
            ),
        ] {
            let why = problem(json!({ "template": template(json!({}), resources) }));
            assert!(why.contains(word), "{why}");
        }
        assert!(problem(json!({ "templateLink": { "uri": "https://x" } })).contains("by a link"));
    }
}
