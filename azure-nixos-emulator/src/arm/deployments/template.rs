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
    let parameters = parameters(
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

/// The values of the parameters, given or by default, checked against their declarations.
fn parameters(
    facts: &Facts,
    declared: &Map<String, Value>,
    given: &Map<String, Value>,
    variables: &Map<String, Value>,
) -> Evaluated<Map<String, Value>> {
    let find = |of: &Map<String, Value>, name: &str| {
        of.iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
    };
    let unknown: Vec<&str> = given
        .keys()
        .filter(|name| find(declared, name).is_none())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let names: Vec<&str> = declared.keys().map(String::as_str).collect();
        return Err(invalid(format!(
            "The template parameters '{}' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time. The only supported parameters for this template are '{}'. Please see https://aka.ms/arm-deploy/#parameter-file for usage details",
            unknown.join(", "),
            names.join(", ")
        )));
    }
    let mut values = Map::new();
    let mut pending: Vec<String> = Vec::new();
    for (name, declaration) in declared {
        match find(given, name) {
            Some(value) if !value["reference"].is_null() => {
                return Err(Problem::NotHere("secrets of a key vault".to_owned()));
            }
            Some(value) if value.get("value").is_some_and(|value| !value.is_null()) => {
                let value = value["value"].clone();
                check(name, declaration, &value)?;
                values.insert(name.clone(), value);
            }
            _ if declaration.get("defaultValue").is_some() => pending.push(name.clone()),
            _ if declaration["nullable"] == true => {
                values.insert(name.clone(), Value::Null);
            }
            _ => {
                return Err(invalid(format!(
                    "The value for the template parameter '{name}' at line '1' and column '1' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details"
                )));
            }
        }
    }
    // Defaults are made of other parameters, in any order.
    while !pending.is_empty() {
        let before = pending.len();
        for name in pending.clone() {
            let mut environment = Environment::new(facts, &values, variables);
            environment.pending = &pending;
            environment.is_default = true;
            let value = match environment.value(&declared[&name]["defaultValue"]) {
                Err(Problem::Waiting) => continue,
                value => value?,
            };
            check(&name, &declared[&name], &value)?;
            values.insert(name.clone(), value);
            pending.retain(|other| *other != name);
        }
        if pending.len() == before {
            return Err(invalid(format!(
                "Circular reference in the default values of the template parameters '{}'",
                pending.join(", ")
            )));
        }
    }
    Ok(values)
}

/// Whether the type of a parameter is one whose value is never shown.
pub(super) fn is_secure(kind: &str) -> bool {
    kind.to_ascii_lowercase().starts_with("secure")
}

/// Checks the value of a parameter against its type and its limits.
fn check(name: &str, declaration: &Value, value: &Value) -> Evaluated<()> {
    let kind = declaration["type"].as_str().unwrap_or_default();
    let is_of_type = match kind.to_ascii_lowercase().as_str() {
        "string" | "securestring" => value.is_string(),
        "int" => value.is_i64(),
        "bool" => value.is_boolean(),
        "object" | "secureobject" => value.is_object(),
        "array" => value.is_array(),
        _ => {
            return Err(invalid(format!(
                "The type '{kind}' of the template parameter '{name}' is not valid"
            )));
        }
    };
    if !is_of_type {
        return Err(invalid(format!(
            "Template parameter JToken type is not valid. Expected '{kind}'. Actual '{}'. The parameter is '{name}'. Please see https://aka.ms/arm-syntax-parameters for usage details",
            match value {
                Value::Null => "Null",
                Value::Bool(_) => "Boolean",
                Value::Number(_) => "Integer",
                Value::String(_) => "String",
                Value::Array(_) => "Array",
                Value::Object(_) => "Object",
            }
        )));
    }
    let refused = |why: String| {
        Err(invalid(format!(
            "The provided value for the template parameter '{name}' is not valid. {why}. Please see https://aka.ms/arm-syntax-parameters for usage details"
        )))
    };
    if let Some(allowed) = declaration["allowedValues"].as_array() {
        let is_allowed = match value {
            // An array may hold any of those.
            Value::Array(values) if !allowed.contains(value) => {
                values.iter().all(|value| allowed.contains(value))
            }
            value => allowed.contains(value),
        };
        if !is_allowed {
            let names: Vec<String> = allowed.iter().map(super::functions::as_text).collect();
            return refused(format!(
                "The value '{}' is not part of the allowed value(s): '{}'",
                super::functions::as_text(value),
                names.join(",")
            ));
        }
    }
    let length = match value {
        Value::String(text) => i64::try_from(text.chars().count()).ok(),
        Value::Array(values) => i64::try_from(values.len()).ok(),
        _ => None,
    };
    for (field, number, is_least, words) in [
        (
            "minLength",
            length,
            true,
            "Length of the value should be greater than or equal to",
        ),
        (
            "maxLength",
            length,
            false,
            "Length of the value should be less than or equal to",
        ),
        (
            "minValue",
            value.as_i64(),
            true,
            "Value should be greater than or equal to",
        ),
        (
            "maxValue",
            value.as_i64(),
            false,
            "Value should be less than or equal to",
        ),
    ] {
        if let (Some(number), Some(limit)) = (number, declaration[field].as_i64())
            && ((is_least && number < limit) || (!is_least && number > limit))
        {
            return refused(format!("{words} '{limit}'"));
        }
    }
    Ok(())
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
    fn parameters_have_defaults_and_limits() {
        let declared = json!({
            "nic": { "type": "string", "defaultValue": "[concat(parameters('name'), '-nic')]" },
            "name": { "type": "String", "minLength": 2 },
            "size": { "type": "int", "defaultValue": 3, "maxValue": 10 },
            "kind": { "type": "string", "defaultValue": "a", "allowedValues": ["a", "b"] },
            "id": { "type": "string", "defaultValue": "[newGuid()]" },
        });
        let with = |parameters: Value| json!({ "template": template(declared.clone(), json!([])), "parameters": parameters });
        let plan = read(&facts(), &with(json!({ "Name": { "value": "web" } }))).unwrap();
        assert_eq!(plan.parameters["nic"], "web-nic");
        assert_eq!(plan.parameters["size"], 3);
        assert_eq!(plan.parameters["id"].as_str().unwrap().len(), 36);
        for (parameters, word) in [
            (json!({}), "'name' at line"),
            (
                json!({ "name": { "value": "w" } }),
                "greater than or equal to '2'",
            ),
            (
                json!({ "name": { "value": 1 } }),
                "Expected 'String'. Actual 'Integer'",
            ),
            (
                json!({ "name": { "value": "web" }, "size": { "value": 11 } }),
                "less than or equal to '10'",
            ),
            (
                json!({ "name": { "value": "web" }, "kind": { "value": "c" } }),
                "allowed value(s): 'a,b'",
            ),
            (
                json!({ "name": { "value": "web" }, "more": { "value": 1 } }),
                "'more'",
            ),
        ] {
            let why = problem(with(parameters));
            assert!(why.contains(word), "{why}");
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
