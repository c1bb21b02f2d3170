//! Which account, container and blob a request names.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::HOST;

use super::super::PageBlobs;
use super::super::refusal::Refusal;
use super::Account;
use super::container::Container;
use crate::arm::call::percent_decode;
use crate::azure_names::without_port;

/// The container of blobs that a path names without one.
const ROOT: &str = "$root";

/// The longest name of a blob, in characters.
const LONGEST_NAME: usize = 1024;

/// What a request is about: an account, a container of it, a blob in that.
#[derive(Clone, Debug)]
pub(in super::super) struct Address {
    pub(super) account: Arc<Account>,
    pub(super) container: Option<String>,
    pub(super) blob: Option<String>,
}

impl Address {
    /// The container, which has to exist.
    pub(super) fn container(&self) -> Result<Arc<Container>, Refusal> {
        self.container
            .as_deref()
            .and_then(|name| self.account.container(name))
            .ok_or_else(Refusal::container_not_found)
    }
}

/// Finds the account of a request; `None` where it is about a disk.
///
/// # Errors
/// When a host names an account that does not exist. (In Azure its name does not resolve.)
pub(in super::super) fn find(
    blobs: &PageBlobs,
    host: Option<&str>,
    path: &str,
    is_container: bool,
) -> Result<Option<Address>, Refusal> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let by_host = host.and_then(|host| blobs.0.names.account(without_port(host)));
    let (account, rest) = match by_host {
        Some(name) => {
            let account = blobs.0.accounts.get(&name).ok_or_else(|| {
                Refusal::new(
                    axum::http::StatusCode::NOT_FOUND,
                    "ResourceNotFound",
                    "The specified resource does not exist.",
                )
                .detail("AccountName", name)
            })?;
            (account, path)
        }
        None => {
            let (name, rest) = path.split_once('/').unwrap_or((path, ""));
            match blobs.0.accounts.get(name) {
                Some(account) => (account, rest),
                None => return Ok(None),
            }
        }
    };
    let (first, blob) = match rest.split_once('/') {
        Some((container, blob)) => (container, (!blob.is_empty()).then_some(blob)),
        None => (rest, None),
    };
    let (container, blob) = match (first, blob) {
        ("", _) => (None, None),
        (name, None) if !is_container && name != ROOT => (Some(ROOT), Some(name)),
        (container, blob) => (Some(container), blob),
    };
    let blob = blob.map(percent_decode);
    if blob
        .as_ref()
        .is_some_and(|name| name.chars().count() > LONGEST_NAME)
    {
        return Err(Refusal::bad_request(
            "InvalidResourceName",
            "The specified resource name contains invalid characters.",
        ));
    }
    Ok(Some(Address {
        account,
        container: container.map(percent_decode),
        blob,
    }))
}

/// The host that a request came to.
pub(super) fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST)?.to_str().ok()
}

/// Refuses what no container is called: 3 to 63 lower-case letters, digits and single hyphens.
pub(super) fn check_container_name(name: &str) -> Result<(), Refusal> {
    let fits = (3..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--");
    if fits || name == ROOT {
        return Ok(());
    }
    Err(Refusal::bad_request(
        "InvalidResourceName",
        "The specified resource name contains invalid characters.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_names_that_hosts_could_have() {
        for good in ["abc", "a-b", "$root", "0123456789", &"a".repeat(63)] {
            check_container_name(good).unwrap();
        }
        for bad in [
            "",
            "ab",
            "Abc",
            "a--b",
            "-ab",
            "ab-",
            "a_b",
            "a.b",
            &"a".repeat(64),
        ] {
            check_container_name(bad).unwrap_err();
        }
    }
}
