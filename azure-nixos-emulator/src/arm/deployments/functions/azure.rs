//! Functions about where a template is deployed: scopes, ids and names made of them.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::super::evaluate::{Evaluated, Facts, Problem};
use super::{Arguments, invalid};

/// Scopes, ids and what is made of them.
pub(super) fn call(facts: &Facts, name: &str, of: &Arguments<'_>) -> Evaluated<Option<Value>> {
    Ok(Some(match name {
        "subscription" => facts.subscription.clone(),
        "resourcegroup" => facts.group.clone(),
        "tenant" => facts.tenant.clone(),
        "deployment" => facts.deployment.clone(),
        "environment" => facts.environment.clone(),
        "resourceid" => {
            let texts = of.texts()?;
            let at = type_at(of, &texts)?;
            let (before, rest) = texts.split_at(at);
            let subscription = facts.subscription["subscriptionId"]
                .as_str()
                .unwrap_or_default();
            let group = facts.group["name"].as_str().unwrap_or_default();
            let (subscription, group) = match before {
                [] => (subscription, group),
                [group] => (subscription, *group),
                [subscription, group] => (*subscription, *group),
                _ => return Err(of.wrong(0, "an id")),
            };
            json!(format!(
                "/subscriptions/{subscription}/resourceGroups/{group}/providers/{}",
                type_and_names(of, rest)?
            ))
        }
        "subscriptionresourceid" => {
            let texts = of.texts()?;
            let at = type_at(of, &texts)?;
            let subscription = match texts[..at] {
                [] => facts.subscription["subscriptionId"]
                    .as_str()
                    .unwrap_or_default(),
                [subscription] => subscription,
                _ => return Err(of.wrong(0, "an id")),
            };
            json!(format!(
                "/subscriptions/{subscription}/providers/{}",
                type_and_names(of, &texts[at..])?
            ))
        }
        "tenantresourceid" => {
            json!(format!("/providers/{}", type_and_names(of, &of.texts()?)?))
        }
        "extensionresourceid" => {
            let texts = of.texts()?;
            let (base, rest) = texts.split_first().ok_or_else(|| of.wrong(0, "an id"))?;
            json!(format!("{base}/providers/{}", type_and_names(of, rest)?))
        }
        "uniquestring" => json!(unique_string(&of.texts()?)),
        "guid" => json!(guid(&of.texts()?)),
        "newguid" => json!(Uuid::new_v4()),
        "utcnow" if of.values.is_empty() => json!(facts.now),
        "utcnow" => {
            return Err(Problem::NotHere(
                "the template function 'utcNow' with a format".to_owned(),
            ));
        }
        _ => return Ok(None),
    }))
}

/// Where the type is among the arguments: the first with a slash that is no id.
fn type_at(of: &Arguments<'_>, texts: &[&str]) -> Evaluated<usize> {
    texts
        .iter()
        .position(|text| text.contains('/'))
        .ok_or_else(|| of.wrong(0, "a resource type"))
}

/// `Microsoft.Network/virtualNetworks/v/subnets/s` of the type and the names.
fn type_and_names(of: &Arguments<'_>, texts: &[&str]) -> Evaluated<String> {
    let Some((full, names)) = texts.split_first() else {
        return Err(of.wrong(0, "a resource type"));
    };
    interleave(full, names).ok_or_else(|| {
        invalid(format!(
            "Unable to evaluate template language function '{}': the type '{full}' requires '{}' resource name argument(s)",
            of.name,
            full.matches('/').count()
        ))
    })
}

/// A type and as many names as it has parts, as a path.
pub(in super::super) fn interleave(full: &str, names: &[&str]) -> Option<String> {
    let (namespace, types) = full.split_once('/')?;
    let types: Vec<&str> = types.split('/').collect();
    if types.len() != names.len() || names.iter().any(|name| name.is_empty()) {
        return None;
    }
    let mut path = namespace.to_owned();
    for (kind, name) in types.iter().zip(names) {
        path.push('/');
        path.push_str(kind);
        path.push('/');
        path.push_str(name);
    }
    Some(path)
}

/// 13 letters and digits that are the same for the same texts. Azure's own hash is not public, so
/// that the letters are others than there.
fn unique_string(texts: &[&str]) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = Sha256::digest(texts.join("-").as_bytes());
    digest[..13]
        .iter()
        .map(|byte| char::from(DIGITS[usize::from(byte % 32)]))
        .collect()
}

/// Version 5 in a namespace of Azure's own, which several independent implementations give.
fn guid(texts: &[&str]) -> Uuid {
    const NAMESPACE: Uuid = Uuid::from_u128(0x11fb_06fb_712d_4ddd_98c7_e71b_bd58_8830);
    Uuid::new_v5(&NAMESPACE, texts.join("-").as_bytes())
}
