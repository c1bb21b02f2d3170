//! What is done to containers.

use std::fmt::Write as _;
use std::sync::{Arc, PoisonError};

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::super::about::{Metadata, set};
use super::super::dates;
use super::super::lease::{Lease, Of};
use super::super::refusal::{Refusal, escape};
use super::super::serve::version_headers;
use super::auth::Level;
use super::container::{About, Container, Policy, PublicAccess};
use super::serve::{Ask, empty, versioned, xml};
use super::target::check_container_name;
use super::xml::{self, elements};

/// Stored access policies that a container can have.
const MOST_POLICIES: usize = 5;

pub(super) fn create(ask: &Ask) -> Result<Response, Refusal> {
    ask.rights.require(Level::Container, "cw")?;
    let name = ask.address.container.as_deref().unwrap_or_default();
    check_container_name(name)?;
    let account = &ask.address.account;
    let about = About {
        version: dates::ticks(ask.now),
        metadata: Metadata::of(&ask.parts.headers)?,
        public: public(ask)?,
        policies: Vec::new(),
        lease: None,
    };
    let version = about.version;
    let mut containers = account
        .containers
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    if containers.contains_key(name) {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "ContainerAlreadyExists",
            "The specified container already exists.",
        ));
    }
    let accounts = &ask.blobs.0.accounts;
    let made = Container::create(
        &accounts.state_dir,
        &account.directory,
        name,
        about,
        accounts.durable,
    )?;
    containers.insert(name.to_owned(), Arc::new(made));
    Ok(versioned(StatusCode::CREATED, version))
}

/// The public access that a request asks for.
fn public(ask: &Ask) -> Result<Option<PublicAccess>, Refusal> {
    let found = match ask.header("x-ms-blob-public-access")? {
        None => return Ok(None),
        Some("container") => PublicAccess::Container,
        Some("blob") => PublicAccess::Blob,
        Some(other) => return Err(Refusal::invalid_header("x-ms-blob-public-access", other)),
    };
    if ask.address.account.allows_public_access() {
        return Ok(Some(found));
    }
    Err(Refusal::new(
        StatusCode::CONFLICT,
        "PublicAccessNotPermitted",
        "Public access is not permitted on this storage account.",
    ))
}

/// The headers of an answer that names a container.
fn describe(headers: &mut HeaderMap, about: &About) {
    version_headers(headers, about.version);
    let public = match about.public {
        None => return,
        Some(PublicAccess::Blob) => "blob",
        Some(PublicAccess::Container) => "container",
    };
    set(headers, "x-ms-blob-public-access", public);
}

pub(super) fn properties(ask: &Ask) -> Result<Response, Refusal> {
    let about = ask.address.container()?.about();
    Lease::allows_reading(
        about.lease.as_ref(),
        Of::Container,
        ask.lease_id()?,
        ask.now,
    )?;
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    describe(headers, &about);
    about.metadata.describe(headers);
    let state = Lease::state(about.lease.as_ref(), ask.now);
    set(headers, "x-ms-lease-status", state.status());
    set(headers, "x-ms-lease-state", state.as_str());
    if let Some(lease) = about.lease.filter(|_| state.status() == "locked") {
        set(headers, "x-ms-lease-duration", lease.duration());
    }
    set(headers, "x-ms-has-immutability-policy", "false");
    set(headers, "x-ms-has-legal-hold", "false");
    Ok(response)
}

/// Changes a container, if the conditions and the lease allow it, and gives it a new version.
fn change(ask: &Ask, change: impl FnOnce(&mut About)) -> Result<Response, Refusal> {
    let conditions = ask.conditions()?;
    let lease = ask.lease_id()?;
    let version = ask.address.container()?.change(|about| {
        conditions.check_write(about.version, 0)?;
        // A container's lease stands against its deletion only; one that is named has to be it.
        Lease::allows_reading(about.lease.as_ref(), Of::Container, lease, ask.now)?;
        change(about);
        about.version = dates::ticks(ask.now).max(about.version + 1);
        Ok(about.version)
    })?;
    Ok(versioned(StatusCode::OK, version))
}

pub(super) fn set_metadata(ask: &Ask) -> Result<Response, Refusal> {
    let metadata = Metadata::of(&ask.parts.headers)?;
    change(ask, |about| about.metadata = metadata)
}

pub(super) fn delete(ask: &Ask) -> Result<Response, Refusal> {
    let container = ask.address.container()?;
    let conditions = ask.conditions()?;
    let lease = ask.lease_id()?;
    let mut containers = ask
        .address
        .account
        .containers
        .write()
        .unwrap_or_else(PoisonError::into_inner);
    container.change(|about| {
        conditions.check_write(about.version, 0)?;
        Lease::allows_writing(about.lease.as_ref(), Of::Container, lease, ask.now)
    })?;
    container.close();
    containers.remove(&container.name);
    container.remove_files()?;
    Ok(empty(StatusCode::ACCEPTED))
}

pub(super) fn acl(ask: &Ask) -> Result<Response, Refusal> {
    let about = ask.address.container()?.about();
    let mut document = "<SignedIdentifiers>".to_owned();
    for policy in &about.policies {
        // Writing to a string cannot fail.
        let _ = write!(
            document,
            "<SignedIdentifier><Id>{}</Id><AccessPolicy>",
            escape(&policy.id)
        );
        for (name, value) in [
            ("Start", &policy.start),
            ("Expiry", &policy.expiry),
            ("Permission", &policy.permission),
        ] {
            if let Some(value) = value {
                let _ = write!(document, "<{name}>{}</{name}>", escape(value));
            }
        }
        document.push_str("</AccessPolicy></SignedIdentifier>");
    }
    document.push_str("</SignedIdentifiers>");
    let mut response = xml(&document);
    describe(response.headers_mut(), &about);
    Ok(response)
}

pub(super) fn set_acl(ask: &Ask, document: &str) -> Result<Response, Refusal> {
    let policies = if document.is_empty() {
        Vec::new()
    } else {
        policies(document)?
    };
    let public = public(ask)?;
    change(ask, |about| {
        about.public = public;
        about.policies = policies;
    })
}

fn policies(document: &str) -> Result<Vec<Policy>, Refusal> {
    let mut policies: Vec<Policy> = Vec::new();
    for (path, text) in elements(document)? {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let text = Some(text).filter(|text| !text.is_empty());
        let time = |text: Option<String>| match text {
            Some(time) if dates::parse_iso(&time).is_none() => Err(xml::invalid()),
            other => Ok(other),
        };
        match path.as_slice() {
            ["SignedIdentifiers"] => {}
            ["SignedIdentifiers", "SignedIdentifier"] => policies.push(Policy::default()),
            ["SignedIdentifiers", "SignedIdentifier", rest @ ..] => {
                let policy = policies.last_mut().ok_or_else(xml::invalid)?;
                match rest {
                    ["Id"] => policy.id = text.ok_or_else(xml::invalid)?,
                    ["AccessPolicy"] => {}
                    ["AccessPolicy", "Start"] => policy.start = time(text)?,
                    ["AccessPolicy", "Expiry"] => policy.expiry = time(text)?,
                    ["AccessPolicy", "Permission"] => policy.permission = text,
                    _ => return Err(xml::invalid()),
                }
            }
            _ => return Err(xml::invalid()),
        }
    }
    let twice = policies
        .iter()
        .enumerate()
        .any(|(at, policy)| policies[..at].iter().any(|other| other.id == policy.id));
    let unnamed = policies
        .iter()
        .any(|policy| policy.id.is_empty() || policy.id.chars().count() > 64);
    if policies.len() > MOST_POLICIES || twice || unnamed {
        return Err(xml::invalid());
    }
    Ok(policies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_and_at_most_five() {
        let one = |id: usize| {
            format!(
                "<SignedIdentifier><Id>p{id}</Id><AccessPolicy><Expiry>2030-01-01</Expiry><Permission>r&#108;</Permission></AccessPolicy></SignedIdentifier>"
            )
        };
        let all = |count| {
            let inside: String = (0..count).map(one).collect();
            policies(&format!(
                "<?xml version=\"1.0\"?><SignedIdentifiers>{inside}</SignedIdentifiers>"
            ))
        };
        let found = all(2).unwrap();
        assert_eq!(found[1].id, "p1");
        assert_eq!(found[1].start, None);
        assert_eq!(found[1].expiry.as_deref(), Some("2030-01-01"));
        assert_eq!(found[1].permission.as_deref(), Some("rl"));
        assert_eq!(all(0).unwrap(), []);
        all(5).unwrap();
        all(6).unwrap_err();
        for bad in [
            "",
            "<a/>",
            "<SignedIdentifiers>",
            "<SignedIdentifiers><SignedIdentifier /></SignedIdentifiers>",
            "<SignedIdentifiers><SignedIdentifier><Id>a</Id><AccessPolicy><Start>soon</Start></AccessPolicy></SignedIdentifier></SignedIdentifiers>",
            "<SignedIdentifiers><SignedIdentifier><Id>a</Id></SignedIdentifier><SignedIdentifier><Id>a</Id></SignedIdentifier></SignedIdentifiers>",
        ] {
            policies(bad).unwrap_err();
        }
    }
}
