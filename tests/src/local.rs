//! A local Azure, the library's connection to it, and an eye on it that shares code with neither.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use azure_nixos::Azure;
use azure_nixos::azure::{Cloud, LoginMethod, Transport};
use azure_nixos_emulator::{Emulator, EmulatorBuilder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::openapi::Exchange;

/// Everything that there is in a local Azure: groups, resources and who has which role, by their ids in
/// lower case, and the files with the content of disks and images by their paths. Two are equal when nothing was
/// made, changed or taken away between them.
pub type State = BTreeMap<String, String>;

/// A local Azure in a temporary directory, and the library connected to it.
#[derive(Debug)]
pub struct Local {
    /// The local Azure.
    pub emulator: Emulator,
    /// A connection to it, with a token that lasts an hour and cannot be renewed.
    pub azure: Azure,
    http: reqwest::Client,
    // The last to go: the emulator has files in it.
    place: TempDir,
}

impl Local {
    /// One with the defaults.
    pub async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    /// One whose disks are at `https://md-….blob.storage.azure.net`, with a proxy through which
    /// Azure's own names lead to it.
    pub async fn start_at_azures_names() -> Self {
        Self::start_with(|builder| builder.blob_host("blob.storage.azure.net").proxy_port(0)).await
    }

    /// One with other settings. Its directory is given.
    pub async fn start_with(settings: impl FnOnce(EmulatorBuilder) -> EmulatorBuilder) -> Self {
        let place = tempfile::tempdir().unwrap();
        let builder = Emulator::builder()
            .state_dir(place.path().join("azure"))
            .lock_patience(Duration::from_secs(5));
        let emulator = settings(builder).start().await.unwrap();
        let azure = connect(&emulator).await;
        Self {
            http: http(&emulator),
            azure,
            emulator,
            place,
        }
    }

    /// A directory for whatever a test needs.
    #[must_use]
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// A connection with a secret: its tokens are fetched from the local login service, cached, and
    /// renewed. Nothing of the machine that the test runs on has a part in it.
    pub async fn log_in(&self) -> Azure {
        let transport = transport(&self.emulator);
        let variables = BTreeMap::from([
            ("AZURE_TENANT_ID", self.emulator.tenant_id()),
            ("AZURE_CLIENT_ID", self.emulator.client_id()),
            ("AZURE_CLIENT_SECRET", self.emulator.client_secret()),
            ("AZURE_SUBSCRIPTION_ID", self.emulator.subscription_id()),
        ]);
        Azure::builder()
            .cloud(
                Cloud::custom(self.emulator.arm_url(), &transport)
                    .await
                    .unwrap(),
            )
            .transport(transport)
            .environment(move |name| variables.get(name).cloned())
            .az_config_dir(self.place().join("no-az"))
            .login_with(LoginMethod::Environment)
            .build()
            .await
            .unwrap()
    }

    /// What there is. Rules that make requests fail must be gone.
    pub async fn state(&self) -> State {
        let mut state = State::new();
        let groups = self.list("/resourcegroups", "2022-09-01").await;
        for group in &groups {
            state.insert(id(group), group.to_string());
            let path = format!(
                "/resourceGroups/{}/resources",
                group["name"].as_str().unwrap()
            );
            for resource in self.list(&path, "2022-09-01").await {
                let own = self.get(resource["id"].as_str().unwrap()).await;
                state.insert(id(&resource), own.to_string());
            }
        }
        let roles = "/providers/Microsoft.Authorization/roleAssignments";
        for role in self.list(roles, "2022-04-01").await {
            state.insert(id(&role), role.to_string());
        }
        for kind in ["disks", "images"] {
            files(&self.emulator.state_dir().join(kind), &mut state);
        }
        state
    }

    /// The ids of what there is, without their common beginning, and the paths of the files.
    pub async fn names(&self) -> Vec<String> {
        let strip = format!("/subscriptions/{}", self.emulator.subscription_id());
        let state = self.state().await;
        state.keys().map(|key| key.replace(&strip, "")).collect()
    }

    /// A resource as the service describes it.
    ///
    /// # Panics
    /// When it does not exist.
    pub async fn get(&self, id: &str) -> Value {
        let version = if id.to_ascii_lowercase().contains("/microsoft.network/") {
            "2024-01-01"
        } else if id.to_ascii_lowercase().contains("/disks/") {
            "2023-04-02"
        } else if id.to_ascii_lowercase().contains("/galleries/") {
            "2023-07-03"
        } else if id
            .to_ascii_lowercase()
            .contains("/microsoft.managedidentity/")
        {
            "2023-01-31"
        } else {
            "2024-07-01"
        };
        let (status, body) = self.request("GET", id, version, None).await;
        assert_eq!(status, 200, "GET {id}: {body}");
        body
    }

    /// Any request: the status and the body of its answer.
    pub async fn request(
        &self,
        method: &str,
        id: &str,
        version: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let url = format!("{}{id}?api-version={version}", self.emulator.arm_url());
        let answer = self.exchange(method, &url, body).await;
        (answer.status, answer.response_body.unwrap_or_default())
    }

    /// Any request to a whole URL, and all of its answer.
    pub async fn exchange(&self, method: &str, url: &str, body: Option<&Value>) -> Exchange {
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .bearer_auth(self.emulator.access_token());
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                // What is no document is sent as it is.
                .body(
                    body.as_str()
                        .map_or_else(|| body.to_string(), ToOwned::to_owned),
                );
        } else if method != "GET" && method != "HEAD" {
            request = request.header("content-length", "0");
        }
        let answer = request.send().await.unwrap();
        let path_and_query = url
            .strip_prefix(self.emulator.arm_url())
            .unwrap_or(url)
            .to_owned();
        let version = path_and_query
            .split(['?', '&'])
            .find_map(|part| part.strip_prefix("api-version="));
        Exchange {
            method: method.to_owned(),
            api_version: version.map(ToOwned::to_owned),
            body: body.cloned(),
            status: answer.status().as_u16(),
            response_headers: answer
                .headers()
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.as_str().to_owned(), value)
                })
                .collect(),
            response_body: serde_json::from_str(&answer.text().await.unwrap()).ok(),
            path_and_query,
        }
    }

    async fn list(&self, path: &str, version: &str) -> Vec<Value> {
        let path = format!("/subscriptions/{}{path}", self.emulator.subscription_id());
        let (status, body) = self.request("GET", &path, version, None).await;
        assert_eq!(status, 200, "GET {path}: {body}");
        body["value"].as_array().unwrap().clone()
    }
}

fn id(resource: &Value) -> String {
    resource["id"].as_str().unwrap().to_ascii_lowercase()
}

/// Files by their paths, with what tells that they changed.
fn files(directory: &Path, into: &mut State) {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, into);
        } else {
            let metadata = std::fs::metadata(&path).unwrap();
            let seen = format!("{} bytes, {:?}", metadata.len(), metadata.modified());
            into.insert(path.display().to_string(), seen);
        }
    }
}

/// A transport that trusts this local Azure.
fn transport(emulator: &Emulator) -> Transport {
    Transport::builder()
        .ca_certificates(emulator.ca_pem().as_bytes())
        .unwrap()
        .build()
        .unwrap()
}

async fn connect(emulator: &Emulator) -> Azure {
    let transport = transport(emulator);
    Azure::builder()
        .cloud(Cloud::custom(emulator.arm_url(), &transport).await.unwrap())
        .transport(transport)
        .environment(|_| None)
        .access_token(emulator.access_token())
        .subscription(emulator.subscription_id())
        .build()
        .await
        .unwrap()
}

fn http(emulator: &Emulator) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(emulator.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .unwrap()
}
