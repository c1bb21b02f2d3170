//! Who a request comes from, and what that lets it do.

use std::time::SystemTime;

use axum::http::StatusCode;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::super::PageBlobs;
use super::super::refusal::Refusal;
use super::super::request::{self, ApiVersion, header};
use super::container::PublicAccess;
use super::target::Address;
use super::{Account, sas, shared_key};
use crate::login;

/// What a request may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Everything: whoever has a key, or a token.
    Owner,
    /// What the letters of a signature say.
    Signed { permissions: String, scope: Scope },
    /// What a container shows to everybody.
    Public(PublicAccess),
}

/// What a signature is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Blob,
    Container,
    /// An account, and of it the services and types of resources with these letters.
    Account {
        services: String,
        types: String,
    },
}

/// What an operation is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Service,
    Container,
    Object,
}

impl Rights {
    /// Refuses an operation that none of these permissions allows.
    pub(super) fn require(&self, level: Level, any_of: &str) -> Result<(), Refusal> {
        match self {
            Self::Owner => Ok(()),
            Self::Public(_) => {
                let reads = level == Level::Object && any_of.contains('r');
                let lists = level == Level::Container
                    && any_of.contains(['l', 'r'])
                    && *self == Self::Public(PublicAccess::Container);
                if reads || lists {
                    Ok(())
                } else {
                    Err(Refusal::new(
                        StatusCode::NOT_FOUND,
                        "ResourceNotFound",
                        "The specified resource does not exist.",
                    ))
                }
            }
            Self::Signed { permissions, scope } => {
                match scope {
                    Scope::Account { services, types } => {
                        let letter = match level {
                            Level::Service => 's',
                            Level::Container => 'c',
                            Level::Object => 'o',
                        };
                        if !services.contains('b') {
                            return Err(forbidden(
                                "AuthorizationServiceMismatch",
                                "This request is not authorized to perform this operation using this service.",
                            ));
                        }
                        if !types.contains(letter) {
                            return Err(forbidden(
                                "AuthorizationResourceTypeMismatch",
                                "This request is not authorized to perform this operation using this resource type.",
                            ));
                        }
                    }
                    // Of what is done to a container, its signature allows listing only.
                    Scope::Container if level == Level::Container && any_of == "l" => {}
                    Scope::Blob | Scope::Container if level == Level::Object => {}
                    Scope::Blob | Scope::Container => return Err(Refusal::permission()),
                }
                if permissions.contains(|letter| any_of.contains(letter)) {
                    Ok(())
                } else {
                    Err(Refusal::permission())
                }
            }
        }
    }
}

fn forbidden(code: &'static str, message: &'static str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, code, message)
}

/// Finds out what a request may do.
pub(super) fn authorize(
    blobs: &PageBlobs,
    address: &Address,
    parts: &Parts,
    query: &[(String, String)],
    version: ApiVersion,
) -> Result<Rights, Refusal> {
    let now = blobs.now();
    let is_signed_request = match header(&parts.headers, "authorization")? {
        None => request::query(query, "sig").is_some(),
        Some(authorization) => authorization.starts_with("SharedKey"),
    };
    if is_signed_request && !address.account.allows_shared_key() {
        return Err(forbidden(
            "KeyBasedAuthenticationNotPermitted",
            "Key based authentication is not permitted on this storage account.",
        ));
    }
    let Some(authorization) = header(&parts.headers, "authorization")? else {
        return if request::query(query, "sig").is_some() {
            sas::authorize(address, parts, query, now)
        } else {
            anonymous(blobs, address, version)
        };
    };
    match authorization.split_once(' ') {
        Some(("SharedKey", credentials)) => {
            shared_key::verify(&address.account, parts, query, credentials, version, now)?;
            Ok(Rights::Owner)
        }
        Some(("SharedKeyLite", _)) => Err(Refusal::not_implemented(
            "the authorization scheme SharedKeyLite",
        )),
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("Bearer") => {
            bearer(blobs, &address.account, token, now)?;
            Ok(Rights::Owner)
        }
        _ => Err(Refusal::bad_request(
            "InvalidAuthenticationInfo",
            "Authentication information is not given in the correct format. Check the value of Authorization header.",
        )),
    }
}

/// Checks a token. Whoever has one of this directory may do everything: roles are not looked at.
pub(super) fn bearer(
    blobs: &PageBlobs,
    account: &Account,
    token: &str,
    now: SystemTime,
) -> Result<(), Refusal> {
    let Some(identity) = &blobs.0.identity else {
        return Err(Refusal::not_implemented("tokens without a directory"));
    };
    let own = format!("https://{}.blob.core.windows.net", account.name);
    login::audience_of(identity, token, now)
        .and_then(|audience| {
            let audience = audience.trim_end_matches('/');
            if audience == "https://storage.azure.com" || audience == own {
                Ok(())
            } else {
                Err(format!(
                    "Authentication scheme Bearer: the audience '{audience}' is not 'https://storage.azure.com'."
                ))
            }
        })
        .map_err(|why| {
            Refusal::new(
                StatusCode::UNAUTHORIZED,
                "InvalidAuthenticationInfo",
                "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
            )
            .detail("AuthenticationErrorDetail", why)
            .header("www-authenticate", &challenge(blobs))
        })
}

/// A request that says nothing about who it is from.
fn anonymous(blobs: &PageBlobs, address: &Address, version: ApiVersion) -> Result<Rights, Refusal> {
    let public = address
        .container()
        .ok()
        .and_then(|container| container.about().public)
        .filter(|_| address.account.allows_public_access());
    if let Some(public) = public {
        return Ok(Rights::Public(public));
    }
    // Since this version the answer says how to get a token; before, that nothing is there.
    if version >= ApiVersion::CHALLENGE {
        Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "NoAuthenticationInformation",
            "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
        )
        .header("www-authenticate", &challenge(blobs)))
    } else if address.account.allows_public_access() {
        Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
            "The specified resource does not exist.",
        ))
    } else {
        Err(Refusal::new(
            StatusCode::CONFLICT,
            "PublicAccessNotPermitted",
            "Public access is not permitted on this storage account.",
        ))
    }
}

fn challenge(blobs: &PageBlobs) -> String {
    let tenant = blobs
        .0
        .identity
        .as_ref()
        .map(|identity| identity.tenant_id.to_string())
        .unwrap_or_default();
    format!(
        "Bearer authorization_uri=https://login.microsoftonline.com/{tenant}/oauth2/authorize resource_id=https://storage.azure.com"
    )
}

/// Whether one of the account's keys gives this signature of a text.
pub(super) fn is_signed(account: &Account, text: &str, signature: &str) -> bool {
    let Ok(signature) = STANDARD.decode(signature) else {
        return false;
    };
    account.keys().iter().any(|key| {
        let Ok(key) = STANDARD.decode(key) else {
            return false;
        };
        // Any length of key is a key.
        Hmac::<Sha256>::new_from_slice(&key).is_ok_and(|mut mac| {
            mac.update(text.as_bytes());
            mac.verify_slice(&signature).is_ok()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_allows_what_it_says_where_it_says() {
        let signed = |permissions: &str, scope| Rights::Signed {
            permissions: permissions.to_owned(),
            scope,
        };
        let account = |services: &str, types: &str| Scope::Account {
            services: services.to_owned(),
            types: types.to_owned(),
        };
        for (rights, level, any_of, code) in [
            (Rights::Owner, Level::Service, "l", "ok"),
            (signed("r", Scope::Blob), Level::Object, "r", "ok"),
            (
                signed("r", Scope::Blob),
                Level::Object,
                "w",
                "AuthorizationPermissionMismatch",
            ),
            (signed("cw", Scope::Blob), Level::Object, "wc", "ok"),
            (
                signed("l", Scope::Blob),
                Level::Container,
                "l",
                "AuthorizationPermissionMismatch",
            ),
            (signed("rl", Scope::Container), Level::Container, "l", "ok"),
            (
                signed("rwl", Scope::Container),
                Level::Container,
                "r",
                "AuthorizationPermissionMismatch",
            ),
            (
                signed("l", Scope::Container),
                Level::Service,
                "l",
                "AuthorizationPermissionMismatch",
            ),
            (signed("l", account("b", "s")), Level::Service, "l", "ok"),
            (
                signed("l", account("b", "co")),
                Level::Service,
                "l",
                "AuthorizationResourceTypeMismatch",
            ),
            (
                signed("l", account("fq", "sco")),
                Level::Container,
                "l",
                "AuthorizationServiceMismatch",
            ),
            (Rights::Public(PublicAccess::Blob), Level::Object, "r", "ok"),
            (
                Rights::Public(PublicAccess::Blob),
                Level::Container,
                "l",
                "ResourceNotFound",
            ),
            (
                Rights::Public(PublicAccess::Container),
                Level::Container,
                "l",
                "ok",
            ),
            (
                Rights::Public(PublicAccess::Container),
                Level::Object,
                "w",
                "ResourceNotFound",
            ),
        ] {
            let found = rights.require(level, any_of);
            let found = found.as_ref().map_or_else(Refusal::code, |()| "ok");
            assert_eq!(found, code, "{rights:?} {level:?} {any_of}");
        }
    }
}
