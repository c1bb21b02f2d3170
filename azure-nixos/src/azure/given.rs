//! Logins that the caller brings: a credential of its own, or a ready token.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::time::{Duration as Span, OffsetDateTime};

use super::credential::{LIMIT, SignedIn};
use super::login::{Claims, How, Login};
use super::token_cache::TokenCache;
use crate::{Error, ErrorKind, Result};

/// A token that the caller brought.
#[derive(Debug)]
struct ReadyToken(AccessToken);

#[async_trait]
impl TokenCredential for ReadyToken {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if self.0.expires_on <= OffsetDateTime::now_utc() {
            return Err(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Credential,
                "the given access token has expired",
            ));
        }
        Ok(self.0.clone())
    }
}

/// A login with a ready token. It cannot be renewed.
pub(super) fn with_token(token: String) -> Result<SignedIn> {
    let token = token.trim().to_owned();
    let unusable = |why: &str| {
        Error::new(
            ErrorKind::Unauthenticated,
            format!("the given access token {why}"),
        )
        .with_hint("fetch one with `az account get-access-token --query accessToken -o tsv`")
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable("is not a token"));
    }
    let now = OffsetDateTime::now_utc();
    let mut login = Login::new(How::AccessToken);
    login.learn(&token);
    let end = match Claims::of(&token).exp {
        Some(end) => OffsetDateTime::from_unix_timestamp(end)
            .map_err(|error| unusable("ends at no time").with_source(error))?,
        // It does not say. Azure will, when the time has come.
        None => now + Span::days(365),
    };
    if end <= now {
        return Err(unusable("has expired"));
    }
    let ready = Arc::new(ReadyToken(AccessToken::new(Secret::new(token), end)));
    Ok(SignedIn {
        login,
        tokens: Arc::new(TokenCache::new(LIMIT, move || {
            Ok(Arc::clone(&ready) as Arc<dyn TokenCredential>)
        })),
    })
}

/// A login with a credential of the caller's.
pub(super) fn with_credential(credential: Arc<dyn TokenCredential>) -> SignedIn {
    SignedIn {
        login: Login::new(How::Credential),
        tokens: Arc::new(TokenCache::new(LIMIT, move || Ok(Arc::clone(&credential)))),
    }
}
