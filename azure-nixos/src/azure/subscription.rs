//! Which subscription: the one asked for, the default of `az`, or the only one there is.

use azure_core::credentials::Secret;
use serde::Deserialize;
use url::Url;
use uuid::Uuid;

use super::get::get_json;
use super::login::{How, Login, LoginMethod};
use super::profile::{Entry, Profile};
use super::{Cloud, Transport};
use crate::{Error, ErrorKind, Result};

/// Pages of a list that are followed. Azure puts about a thousand subscriptions on one; a list
/// without an end is a defect of the service.
const MAX_PAGES: usize = 100;

/// A subscription that is named in an error of several. The rest is counted.
const SHOWN: usize = 20;

/// The chosen subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    /// A GUID in lower case.
    pub(super) id: String,
    pub(super) name: Option<String>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Id(String),
    Name(String),
}

impl Wanted {
    /// Takes the text for an id where it is a GUID, else for a name.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() {
            return Err(
                Error::new(ErrorKind::InvalidInput, "the subscription is an empty text")
                    .with_hint("pass its id or its name, or leave it out"),
            );
        }
        Ok(match guid(text) {
            Some(id) => Self::Id(id),
            None => Self::Name(text.to_owned()),
        })
    }

    pub(super) fn is(&self, entry: &Entry) -> bool {
        match self {
            Self::Id(id) => entry.id.eq_ignore_ascii_case(id),
            Self::Name(name) => entry.name.eq_ignore_ascii_case(name),
        }
    }
}

/// A GUID in the only form that Azure takes in a path: 36 characters with hyphens.
fn guid(text: &str) -> Option<String> {
    if text.len() != 36 {
        return None;
    }
    let id = Uuid::try_parse(text).ok()?;
    Some(id.hyphenated().to_string())
}

/// The place to ask for subscriptions when nobody named one.
pub(super) struct Chooser<'a> {
    pub(super) cloud: &'a Cloud,
    pub(super) transport: &'a Transport,
    pub(super) login: &'a Login,
    pub(super) profile: Option<&'a Profile>,
}

impl Chooser<'_> {
    /// What can be said without asking Azure, in the order of the module's first line.
    pub(super) fn without_asking(&self, wanted: Option<&Wanted>) -> Result<Option<Subscription>> {
        let profile = self.profile.filter(|_| self.is_az());
        match wanted {
            Some(Wanted::Id(id)) => {
                let mut known = self
                    .profile
                    .iter()
                    .flat_map(|p| p.of_cloud(self.cloud.name()));
                let entry = known.find(|entry| entry.id.eq_ignore_ascii_case(id));
                Ok(Some(Subscription {
                    id: id.clone(),
                    name: entry.map(|entry| entry.name.clone()),
                }))
            }
            Some(Wanted::Name(name)) => {
                let Some(profile) = profile else {
                    return Ok(None);
                };
                let known = profile.of_cloud(self.cloud.name()).filter_map(|entry| {
                    Some(Subscription {
                        id: guid(&entry.id)?,
                        name: Some(entry.name.clone()),
                    })
                });
                by_name(known, name)
            }
            None => Ok(self.az_default()),
        }
    }

    /// Asks Azure.
    pub(super) async fn ask(
        &self,
        wanted: Option<&Wanted>,
        token: &Secret,
    ) -> Result<Subscription> {
        let all = list(self.cloud, self.transport, token).await?;
        let who = self.login;
        if let Some(Wanted::Name(name)) = wanted {
            return by_name(all.into_iter(), name)?.ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("the {who} sees no subscription called {name}"),
                )
                .with_hint("pass the id of the subscription, or log in as somebody who may use it")
            });
        }
        let mut all = all.into_iter();
        match (all.next(), all.len()) {
            (None, _) => Err(Error::new(
                ErrorKind::NotFound,
                format!("the {who} sees no subscription in {}", self.cloud),
            )
            .with_hint(
                "give it a role in a subscription, name the subscription, or log in to another \
                 tenant (`az login --tenant …`)",
            )),
            (Some(only), 0) => Ok(only),
            (Some(first), more) => {
                let listed = std::iter::once(first).chain(all);
                Err(several(
                    &format!("the {who} sees {} subscriptions", more + 1),
                    listed,
                ))
            }
        }
    }

    fn is_az(&self) -> bool {
        matches!(
            self.login.how,
            How::Method(LoginMethod::AzureCli | LoginMethod::AzureDeveloperCli)
        )
    }

    /// The default of `az`, for `az` itself and for whoever is of the same tenant: a service
    /// principal elsewhere would only be told that it may not.
    fn az_default(&self) -> Option<Subscription> {
        let default = self.profile?.default_of(self.cloud.name())?;
        let same_tenant = self
            .login
            .tenant()
            .is_some_and(|tenant| tenant.eq_ignore_ascii_case(&default.tenant_id));
        if !self.is_az() && !same_tenant {
            return None;
        }
        Some(Subscription {
            id: guid(&default.id)?,
            name: Some(default.name.clone()),
        })
    }
}

/// The subscription of that name; `az` does not mind the case, so an exact match comes first.
fn by_name(all: impl Iterator<Item = Subscription>, name: &str) -> Result<Option<Subscription>> {
    let called = |s: &Subscription| {
        s.name
            .as_deref()
            .is_some_and(|n| n.eq_ignore_ascii_case(name))
    };
    let mut found: Vec<_> = all.filter(called).collect();
    if found.iter().any(|s| s.name.as_deref() == Some(name)) {
        found.retain(|s| s.name.as_deref() == Some(name));
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        count => Err(several(
            &format!("{count} subscriptions are called {name}"),
            found.into_iter(),
        )),
    }
}

fn several(what: &str, all: impl Iterator<Item = Subscription>) -> Error {
    let mut lines: Vec<String> = all
        .map(|s| format!("{} ({})", s.name.unwrap_or_default(), s.id))
        .collect();
    lines.sort();
    let rest = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if rest > 0 {
        lines.push(format!("and {rest} more"));
    }
    Error::new(
        ErrorKind::Ambiguous,
        format!("{what}: {}", lines.join(", ")),
    )
    .with_hint("say which by its id: --subscription, AZURE_SUBSCRIPTION_ID or `az account set`")
}

/// All subscriptions that can be used.
async fn list(cloud: &Cloud, transport: &Transport, token: &Secret) -> Result<Vec<Subscription>> {
    const WHAT: &str = "list the subscriptions";
    let defect = |why: &str| Error::new(ErrorKind::Service, format!("cannot {WHAT}: {why}"));
    let first = format!(
        "{}/subscriptions?api-version=2022-12-01",
        cloud.resource_manager()
    );
    let mut url = Url::parse(&first)
        .map_err(|error| defect("the endpoint is not an address").with_source(error))?;
    let origin = url.origin();
    let mut all = Vec::new();
    for _ in 0..MAX_PAGES {
        let page: Page = get_json(transport, &url, Some(token), WHAT).await?;
        all.extend(page.value.into_iter().filter_map(Listed::usable));
        let Some(next) = page.next_link.filter(|next| !next.is_empty()) else {
            return Ok(all);
        };
        url = Url::parse(&next)
            .map_err(|error| defect("the next page has no address").with_source(error))?;
        // The token goes along, so the next page must be where the first was.
        if url.origin() != origin {
            return Err(defect("the next page is at another host"));
        }
    }
    Err(defect("the list does not end"))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    value: Vec<Listed>,
    next_link: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    subscription_id: String,
    display_name: Option<String>,
    state: Option<String>,
}

impl Listed {
    /// `Warned` and `PastDue` still work; `Disabled` and `Deleted` are read-only or gone.
    fn usable(self) -> Option<Subscription> {
        let state = self.state.as_deref().unwrap_or_default();
        if state.eq_ignore_ascii_case("disabled") || state.eq_ignore_ascii_case("deleted") {
            return None;
        }
        Some(Subscription {
            id: guid(&self.subscription_id)?,
            name: self.display_name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::get::fake::Service;
    use super::super::profile::tests::az_dir;
    use super::*;

    fn id(last: u8) -> String {
        format!("aaaaaaaa-0000-0000-0000-0000000000{last:02x}")
    }

    fn listed(last: u8, name: &str, state: &str) -> String {
        format!(
            r#"{{"id":"/subscriptions/{0}","subscriptionId":"{0}","displayName":"{name}","state":"{state}"}}"#,
            id(last)
        )
    }

    /// Two pages, chained by a link on the same host.
    fn service(first: &[String], second: &[String]) -> std::sync::Arc<Service> {
        let one = format!(
            r#"{{"value":[{}],"nextLink":"https://management.azure.com/subscriptions?api-version=2022-12-01&$skiptoken=2"}}"#,
            first.join(",")
        );
        let two = format!(r#"{{"value":[{}],"nextLink":""}}"#, second.join(","));
        Service::new(move |request| {
            let second = request
                .url()
                .query()
                .unwrap_or_default()
                .contains("skiptoken");
            (200, if second { two.clone() } else { one.clone() })
        })
    }

    async fn ask(service: &std::sync::Arc<Service>, wanted: Option<&str>) -> Result<Subscription> {
        let wanted = wanted.map(|text| Wanted::parse(text).unwrap());
        let mut login = Login::new(How::Method(LoginMethod::Environment));
        login.who = Some("app-1".into());
        let chooser = Chooser {
            cloud: &Cloud::public(),
            transport: &service.transport(),
            login: &login,
            profile: None,
        };
        chooser.ask(wanted.as_ref(), &Secret::new("S3CRET")).await
    }

    #[tokio::test]
    async fn the_only_usable_one_on_two_pages_is_taken() {
        let service = service(
            &[listed(1, "old", "Disabled")],
            &[listed(2, "new", "Enabled")],
        );
        let chosen = ask(&service, None).await.unwrap();
        assert_eq!((chosen.id, chosen.name.as_deref()), (id(2), Some("new")));
        let seen = service.seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert!(
            seen.iter()
                .all(|s| s.headers["authorization"] == "Bearer S3CRET")
        );
    }

    #[tokio::test]
    async fn several_are_listed_and_none_is_chosen() {
        let service = service(&[listed(1, "web", "Enabled")], &[listed(2, "db", "Warned")]);
        let error = ask(&service, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        assert_eq!(
            error.to_string(),
            format!(
                "the service principal app-1 sees 2 subscriptions: db ({}), web ({})",
                id(2),
                id(1)
            )
        );
        assert_eq!(ask(&service, Some("DB")).await.unwrap().id, id(2));
        let error = ask(&service, Some("none")).await.unwrap_err();
        assert!(error.is_not_found());
    }

    #[tokio::test]
    async fn one_name_for_two_is_ambiguous_unless_the_case_tells() {
        let service = service(
            &[listed(1, "web", "Enabled"), listed(2, "Web", "Enabled")],
            &[listed(3, "Web", "Enabled")],
        );
        assert_eq!(ask(&service, Some("web")).await.unwrap().id, id(1));
        let error = ask(&service, Some("Web")).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("2 subscriptions are called Web: ")
        );
    }

    #[tokio::test]
    async fn none_at_all_is_an_error() {
        let error = ask(&service(&[], &[]), None).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the service principal app-1 sees no subscription in AzureCloud"
        );
    }

    #[tokio::test]
    async fn the_token_does_not_go_to_another_host() {
        let service = Service::new(|_| {
            let body = r#"{"value":[],"nextLink":"https://evil.test/subscriptions"}"#;
            (200, body.to_owned())
        });
        let error = ask(&service, None).await.unwrap_err();
        assert!(error.to_string().contains("another host"), "{error}");
        assert_eq!(service.urls().len(), 1);
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_given_up() {
        let service = Service::new(|_| {
            let body = r#"{"value":[],"nextLink":"https://management.azure.com/subscriptions?x"}"#;
            (200, body.to_owned())
        });
        let error = ask(&service, None).await.unwrap_err();
        assert!(error.to_string().contains("does not end"), "{error}");
    }

    #[tokio::test]
    async fn the_default_of_az_is_for_az_and_for_its_tenant() {
        let dir = az_dir();
        let profile = Profile::read(dir.path()).await.unwrap().unwrap();
        let choose = |login: &Login, cloud: &Cloud, wanted: Option<&str>| {
            let wanted = wanted.map(|text| Wanted::parse(text).unwrap());
            let chooser = Chooser {
                cloud,
                transport: &Service::new(|_| (500, String::new())).transport(),
                login,
                profile: Some(&profile),
            };
            let chosen = chooser.without_asking(wanted.as_ref()).unwrap();
            chosen.and_then(|chosen| chosen.name)
        };
        let az = Login::new(How::Method(LoginMethod::AzureCli));
        let public = Cloud::public();
        assert_eq!(choose(&az, &public, None).as_deref(), Some("Second"));
        assert_eq!(
            choose(&az, &public, Some("first")).as_deref(),
            Some("First")
        );
        assert_eq!(
            choose(&az, &Cloud::us_government(), None).as_deref(),
            Some("Gov")
        );
        assert_eq!(choose(&az, &Cloud::china(), None), None);
        let mut principal = Login::new(How::Method(LoginMethod::Environment));
        principal.tenant = Some("bbbbbbbb-0000-0000-0000-000000000001".into());
        assert_eq!(choose(&principal, &public, None), None);
        principal.tenant = Some("BBBBBBBB-0000-0000-0000-000000000002".into());
        assert_eq!(choose(&principal, &public, None).as_deref(), Some("Second"));
    }

    #[test]
    fn ids_are_guids_in_lower_case_and_the_rest_are_names() {
        assert_eq!(
            Wanted::parse(" AAAAAAAA-0000-0000-0000-000000000001 ").unwrap(),
            Wanted::Id("aaaaaaaa-0000-0000-0000-000000000001".into())
        );
        for name in ["web", "aaaaaaaa000000000000000000000001", "{x}"] {
            assert_eq!(Wanted::parse(name).unwrap(), Wanted::Name(name.into()));
        }
        assert!(Wanted::parse("  ").is_err());
    }
}
