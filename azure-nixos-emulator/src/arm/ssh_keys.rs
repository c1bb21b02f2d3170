//! Public keys as resources, and key pairs that the service makes. Everything is done at once.

use serde_json::{Value, json};
use ssh_key::public::KeyData;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};

use super::Context;
use super::answer::{Answer, Result};
use super::error::ArmError;
use super::id::Kind;
use super::resources::{check_tags, identify};
use super::route::nothing_there;
use super::shape::{Shape, TAGS};
use crate::state::{Inner, Resource};

const PROPERTIES: Shape = Shape::Object(&[("publicKey", Shape::Text)]);

const KEY: Shape = Shape::Object(&[
    ("id", Shape::Text),
    ("name", Shape::Text),
    ("type", Shape::Text),
    ("location", Shape::Text),
    ("tags", TAGS),
    ("properties", PROPERTIES),
    ("systemData", Shape::Any),
]);

const KEY_PATCH: Shape = Shape::Object(&[("tags", TAGS), ("properties", PROPERTIES)]);

const GENERATION: Shape = Shape::Object(&[("encryptionType", Shape::OneOf(&["RSA", "Ed25519"]))]);

pub(crate) fn put(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let put = context.begin_put(group, Kind::SshKey, name, &KEY)?;
    let mut body = put.body;
    check_key(&body)?;
    if let Some(existing) = &put.existing {
        let mut existing = existing.clone();
        merge(&mut existing.body, &body);
        context.state.insert(existing.clone());
        return Ok(Answer::json(200, existing.body));
    }
    if body.get("properties").is_none() {
        body["properties"] = json!({});
    }
    identify(&mut body, &put.id);
    context.state.insert(Resource {
        id: put.id.to_string(),
        body: body.clone(),
        inner: Inner::Plain,
    });
    Ok(Answer::json(201, body))
}

pub(crate) fn patch(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = context.call.json()?;
    KEY_PATCH.check(&mut body)?;
    check_tags(&body)?;
    check_key(&body)?;
    let mut key = context.existing(group, Kind::SshKey, name)?.clone();
    merge(&mut key.body, &body);
    context.state.insert(key.clone());
    Ok(Answer::json(200, key.body))
}

fn merge(existing: &mut Value, body: &Value) {
    if let Some(tags) = body.get("tags") {
        existing["tags"] = tags.clone();
    }
    if let Some(key) = body["properties"].get("publicKey") {
        existing["properties"]["publicKey"] = key.clone();
    }
}

fn check_key(body: &Value) -> Result<()> {
    let Some(key) = body["properties"]["publicKey"].as_str() else {
        return Ok(());
    };
    if is_public_key(key) {
        return Ok(());
    }
    Err(ArmError::compute(
        400,
        "InvalidParameter",
        "The value of parameter publicKey is invalid.",
    )
    .with_target("publicKey"))
}

/// The fewest bits of an RSA key, by the documentation of the property.
const LEAST_BITS: usize = 2048;

/// Whether a text is a public key as Azure takes them: Ed25519, or RSA of at least 2048 bits.
pub(crate) fn is_public_key(text: &str) -> bool {
    let Ok(key) = PublicKey::from_openssh(text.trim()) else {
        return false;
    };
    match key.key_data() {
        KeyData::Ed25519(_) => true,
        KeyData::Rsa(key) => key.n.as_positive_bytes().is_some_and(|modulus| {
            let unused = modulus.first().map_or(0, |first| first.leading_zeros());
            modulus.len() * 8 - unused as usize >= LEAST_BITS
        }),
        _ => false,
    }
}

pub(crate) fn delete(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    context.group(group)?;
    let Ok(key) = context.existing(group, Kind::SshKey, name) else {
        return nothing_there();
    };
    let id = key.id.clone();
    context.state.remove(&id);
    Ok(Answer::empty(200))
}

/// Makes a key pair, shows the private part this once and keeps the public one.
pub(crate) fn generate(context: &mut Context<'_>, group: &str, name: &str) -> Result {
    let mut body = if context.call.body.is_empty() {
        json!({})
    } else {
        context.call.json()?
    };
    GENERATION.check(&mut body)?;
    let key = context.existing(group, Kind::SshKey, name)?;
    let id = key.id.clone();
    if key.body["properties"]["publicKey"].is_string() {
        return Err(ArmError::compute(
            409,
            "OperationNotAllowed",
            format!(
                "The SSH public key '{name}' has a key already. A pair is generated only once."
            ),
        ));
    }
    if body["encryptionType"] != "Ed25519" {
        // Azure's default. Making RSA keys needs a crate with a known timing weakness.
        return Err(ArmError::not_implemented(
            "RSA key pairs; ask for the encryptionType 'Ed25519'",
        ));
    }
    let failed = |error: ssh_key::Error| ArmError::internal("make a key pair", error);
    let private = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(failed)?;
    let public = private.public_key().to_openssh().map_err(failed)?;
    let private = private.to_openssh(LineEnding::LF).map_err(failed)?;
    if let Some(key) = context.state.resource_mut(&id) {
        key.body["properties"]["publicKey"] = json!(public);
    }
    Ok(Answer::json(
        200,
        json!({ "id": id, "privateKey": private.as_str(), "publicKey": public }),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_say() {
        let ed25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na root@vm\n";
        assert!(is_public_key(ed25519));
        assert!(!is_public_key(&ed25519.replace("ssh-ed25519", "ssh-rsa")));
        assert!(!is_public_key("ssh-ed25519"));
        assert!(!is_public_key("-----BEGIN PUBLIC KEY-----"));
    }

    #[test]
    fn rsa_keys_have_enough_bits() {
        let key = |first: u8, bytes: u32| {
            let mut blob = Vec::new();
            let mut part = |part: &[u8]| {
                blob.extend(u32::try_from(part.len()).unwrap_or_default().to_be_bytes());
                blob.extend(part);
            };
            part(b"ssh-rsa");
            part(&[1, 0, 1]);
            let mut modulus = vec![0, first];
            modulus.extend((1..bytes).map(|_| 0xa5));
            // No zero is in front that is not needed to be positive.
            part(&modulus[usize::from(first < 0x80)..]);
            let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &blob);
            format!("ssh-rsa {text} somebody")
        };
        assert!(is_public_key(&key(0x80, 256)));
        assert!(!is_public_key(&key(0x7f, 256)));
        assert!(!is_public_key(&key(0x80, 128)));
        assert!(is_public_key(&key(0x01, 512)));
    }
}
