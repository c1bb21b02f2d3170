//! Tokens that are asked for at every request and fetched once.
//!
//! The SDK's credentials for `az` and `azd` start a process for every token, and those that cache
//! cannot be told that a token was refused. So the source is made by a function: forgetting a
//! token means making the source anew, with whatever it cached.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind as AzureErrorKind;
use azure_core::time::{Duration as Span, OffsetDateTime};

/// Before its end a token is renewed by this much, or by a quarter of its life if that is less.
const MARGIN: Span = Span::minutes(5);

/// The source is not asked again sooner than this, whatever it says of the end of its token: a
/// clock that is wrong must not start a process per request.
const PAUSE: Span = Span::seconds(10);

/// After a failed renewal the old token is used this long before the next.
const RETRY: Span = Span::seconds(30);

pub(super) type Source = dyn Fn() -> azure_core::Result<Arc<dyn TokenCredential>> + Send + Sync;
type Clock = dyn Fn() -> OffsetDateTime + Send + Sync;

/// A credential over another one: caches, renews, forgets.
pub(super) struct TokenCache {
    source: Box<Source>,
    limit: Duration,
    now: Box<Clock>,
    cached: Mutex<HashMap<String, Cached>>,
    /// Held while a token is fetched, so that one request fetches and the others wait for it.
    fetching: tokio::sync::Mutex<Fetching>,
    /// Counts failed fetches: who waited for one of them fails with it and does not try again.
    failures: AtomicU64,
    refused: AtomicBool,
}

struct Cached {
    token: AccessToken,
    renew_at: OffsetDateTime,
}

#[derive(Default)]
struct Fetching {
    credential: Option<Arc<dyn TokenCredential>>,
    last_failure: String,
}

impl TokenCache {
    /// `limit` bounds one fetch.
    pub(super) fn new(
        limit: Duration,
        source: impl Fn() -> azure_core::Result<Arc<dyn TokenCredential>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            source: Box::new(source),
            limit,
            now: Box::new(OffsetDateTime::now_utc),
            cached: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
            refused: AtomicBool::new(false),
        }
    }

    #[cfg(test)]
    fn with_clock(mut self, now: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Self {
        self.now = Box::new(now);
        self
    }

    /// Forgets a token that a service refused. A token that was renewed in the meantime stays: of
    /// many requests that failed with the old one, only the first makes a difference.
    pub(super) fn forget(&self, refused: &Secret) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let before = cached.len();
        cached.retain(|_, cached| cached.token.token != *refused);
        if cached.len() != before {
            self.refused.store(true, Ordering::SeqCst);
        }
    }

    fn fresh(&self, scope: &str) -> Option<AccessToken> {
        let now = (self.now)();
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached.get(scope).filter(|cached| now < cached.renew_at)?;
        Some(cached.token.clone())
    }

    /// The token that should have been renewed, while it is good.
    fn leftover(&self, scope: &str) -> Option<AccessToken> {
        let now = (self.now)();
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cached
            .get_mut(scope)
            .filter(|cached| now < cached.token.expires_on)?;
        cached.renew_at = cached.token.expires_on.min(now + RETRY);
        Some(cached.token.clone())
    }

    fn keep(&self, scope: String, token: AccessToken) {
        let now = (self.now)();
        let life = token.expires_on - now;
        if life <= Span::ZERO {
            tracing::warn!("the login gave a token that has ended: is the clock right?");
        }
        let renew_at = (token.expires_on - MARGIN.min(life / 4)).max(now + PAUSE);
        tracing::debug!(seconds = life.whole_seconds(), "a new access token");
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.insert(scope, Cached { token, renew_at });
    }

    async fn fetch(
        &self,
        fetching: &mut Fetching,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        if self.refused.swap(false, Ordering::SeqCst) {
            fetching.credential = None;
        }
        let credential = match &fetching.credential {
            Some(credential) => Arc::clone(credential),
            None => Arc::clone(fetching.credential.insert((self.source)()?)),
        };
        tokio::time::timeout(self.limit, credential.get_token(scopes, options))
            .await
            .map_err(|elapsed| {
                let message = format!("no answer within {} s", self.limit.as_secs());
                azure_core::Error::with_error(AzureErrorKind::Credential, elapsed, message)
            })?
    }
}

#[async_trait]
impl TokenCredential for TokenCache {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let scope = scopes.join(" ");
        if let Some(token) = self.fresh(&scope) {
            return Ok(token);
        }
        let failures = self.failures.load(Ordering::SeqCst);
        let mut fetching = self.fetching.lock().await;
        if let Some(token) = self.fresh(&scope) {
            return Ok(token);
        }
        if self.failures.load(Ordering::SeqCst) != failures {
            let message = fetching.last_failure.clone();
            return Err(azure_core::Error::with_message(
                AzureErrorKind::Credential,
                message,
            ));
        }
        match Box::pin(self.fetch(&mut fetching, scopes, options)).await {
            Ok(token) => {
                self.keep(scope, token.clone());
                Ok(token)
            }
            Err(error) => {
                let why = super::login::cause(&error);
                if let Some(token) = self.leftover(&scope) {
                    tracing::warn!(error = why, "the access token cannot be renewed yet");
                    return Ok(token);
                }
                fetching.last_failure = why;
                self.failures.fetch_add(1, Ordering::SeqCst);
                Err(error)
            }
        }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize};

    use super::*;

    /// Gives tokens of one life length, numbered; fails while told to.
    #[derive(Debug, Default)]
    struct Fake {
        given: AtomicUsize,
        failing: AtomicBool,
        clock: Arc<AtomicI64>,
        life: i64,
    }

    #[async_trait]
    impl TokenCredential for Fake {
        async fn get_token(
            &self,
            _: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let number = self.given.fetch_add(1, Ordering::SeqCst) + 1;
            if self.failing.load(Ordering::SeqCst) {
                let message = format!("failure {number}");
                return Err(azure_core::Error::with_message(
                    AzureErrorKind::Credential,
                    message,
                ));
            }
            let now = at(self.clock.load(Ordering::SeqCst));
            let end = now + Span::seconds(self.life);
            Ok(AccessToken::new(
                Secret::new(format!("token {number}")),
                end,
            ))
        }
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_700_000_000 + seconds).unwrap()
    }

    struct Setting {
        clock: Arc<AtomicI64>,
        fake: Arc<Fake>,
        made: Arc<AtomicUsize>,
        cache: Arc<TokenCache>,
    }

    fn setting(life: i64) -> Setting {
        let clock = Arc::new(AtomicI64::new(0));
        let fake = Arc::new(Fake {
            life,
            clock: Arc::clone(&clock),
            ..Fake::default()
        });
        let made = Arc::new(AtomicUsize::new(0));
        let cache = TokenCache::new(Duration::from_secs(30), {
            let (fake, made) = (Arc::clone(&fake), Arc::clone(&made));
            move || {
                made.fetch_add(1, Ordering::SeqCst);
                Ok(Arc::clone(&fake) as Arc<dyn TokenCredential>)
            }
        });
        let cache = Arc::new(cache.with_clock({
            let clock = Arc::clone(&clock);
            move || at(clock.load(Ordering::SeqCst))
        }));
        Setting {
            clock,
            fake,
            made,
            cache,
        }
    }

    impl Setting {
        async fn token_at(&self, seconds: i64) -> azure_core::Result<String> {
            self.clock.store(seconds, Ordering::SeqCst);
            let token = self.cache.get_token(&["scope"], None).await?;
            Ok(token.token.secret().to_owned())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_fetched_once_and_renewed_five_minutes_before_its_end() {
        let setting = setting(3600);
        for seconds in [0, 1, 3299] {
            assert_eq!(setting.token_at(seconds).await.unwrap(), "token 1");
        }
        assert_eq!(setting.token_at(3300).await.unwrap(), "token 2");
        assert_eq!(setting.made.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_token_is_not_fetched_for_every_request() {
        let setting = setting(120);
        for seconds in [0, 89] {
            assert_eq!(setting.token_at(seconds).await.unwrap(), "token 1");
        }
        assert_eq!(setting.token_at(90).await.unwrap(), "token 2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_does_not_ask_for_every_request() {
        let setting = setting(-7200);
        for seconds in [0, 9] {
            assert_eq!(setting.token_at(seconds).await.unwrap(), "token 1");
        }
        assert_eq!(setting.token_at(10).await.unwrap(), "token 2");
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_share_one_fetch() {
        let setting = setting(3600);
        let asked = (0..50).map(|_| {
            let cache = Arc::clone(&setting.cache);
            async move { cache.get_token(&["scope"], None).await.unwrap().token }
        });
        let tokens = futures::future::join_all(asked).await;
        assert!(tokens.iter().all(|token| token.secret() == "token 1"));
        assert_eq!(setting.fake.given.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_requests_share_one_failure_and_the_next_tries_again() {
        let setting = setting(3600);
        setting.fake.failing.store(true, Ordering::SeqCst);
        let asked = (0..50).map(|_| {
            let cache = Arc::clone(&setting.cache);
            async move { cache.get_token(&["scope"], None).await.unwrap_err() }
        });
        for error in futures::future::join_all(asked).await {
            assert_eq!(error.to_string(), "failure 1");
        }
        setting.fake.failing.store(false, Ordering::SeqCst);
        assert_eq!(setting.token_at(1).await.unwrap(), "token 2");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_renewal_uses_the_old_token_while_it_is_good() {
        let setting = setting(3600);
        setting.token_at(0).await.unwrap();
        setting.fake.failing.store(true, Ordering::SeqCst);
        for seconds in [3300, 3329, 3330, 3599] {
            assert_eq!(setting.token_at(seconds).await.unwrap(), "token 1");
        }
        // Asked at 0, 3300, 3330 and 3599; not at 3329.
        assert_eq!(setting.fake.given.load(Ordering::SeqCst), 4);
        assert!(setting.token_at(3600).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_forgotten_once_and_its_source_made_anew() {
        let setting = setting(3600);
        let first = Secret::new(setting.token_at(0).await.unwrap());
        setting.cache.forget(&first);
        assert_eq!(setting.token_at(1).await.unwrap(), "token 2");
        // A late request that failed with the first token too.
        setting.cache.forget(&first);
        assert_eq!(setting.token_at(2).await.unwrap(), "token 2");
        assert_eq!(setting.made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_fetch_leaves_the_next_one_free() {
        let setting = setting(3600);
        let fetch = setting.cache.get_token(&["scope"], None);
        let dropped = tokio::time::timeout(Duration::from_millis(500), fetch).await;
        assert!(dropped.is_err());
        assert_eq!(setting.token_at(0).await.unwrap(), "token 1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_given_up() {
        #[derive(Debug)]
        struct Hanging;
        #[async_trait]
        impl TokenCredential for Hanging {
            async fn get_token(
                &self,
                _: &[&str],
                _: Option<TokenRequestOptions<'_>>,
            ) -> azure_core::Result<AccessToken> {
                std::future::pending().await
            }
        }
        let cache = TokenCache::new(Duration::from_secs(30), || Ok(Arc::new(Hanging)));
        let error = cache.get_token(&["scope"], None).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 30 s");
    }
}
