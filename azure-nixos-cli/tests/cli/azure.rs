//! A local Azure inside of the test, whose faults the test sets, and the program logged into it as
//! into Azure: by a service principal in the environment.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_nixos_emulator::fault::{FaultId, FaultRule, Plane};
use azure_nixos_emulator::{Emulator, EmulatorBuilder};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::place::{Done, Place, Running};

pub(crate) struct Azure {
    pub(crate) emulator: Emulator,
    pub(crate) http: reqwest::Client,
}

impl Azure {
    /// Keeps its state where `--local` would in this place.
    pub(crate) async fn start(place: &Place) -> Self {
        Self::start_with(place, |builder| builder).await
    }

    /// The same with other settings.
    pub(crate) async fn start_with(
        place: &Place,
        settings: impl FnOnce(EmulatorBuilder) -> EmulatorBuilder,
    ) -> Self {
        let builder = Emulator::builder().state_dir(place.path("azure"));
        let emulator = settings(builder).start().await.unwrap();
        let http = client(emulator.ca_pem());
        Self { emulator, http }
    }

    pub(crate) fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let mut command = place.command(&["--cloud", self.emulator.arm_url()]);
        command
            .args(arguments)
            .env("SSL_CERT_FILE", self.emulator.ca_path())
            .env("AZURE_TENANT_ID", self.emulator.tenant_id())
            .env("AZURE_CLIENT_ID", self.emulator.client_id())
            .env("AZURE_CLIENT_SECRET", self.emulator.client_secret());
        command
    }

    pub(crate) fn begin(&self, place: &Place, arguments: &[&str]) -> Running {
        Running::start(self.command(place, arguments))
    }

    pub(crate) fn run(&self, place: &Place, arguments: &[&str]) -> Done {
        self.begin(place, arguments).finish()
    }

    /// Waits until a fault has met so many requests.
    pub(crate) fn until_hit(&self, fault: FaultId, times: u64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.emulator.faults().hits(fault) < times {
            assert!(Instant::now() < deadline, "the requests do not come");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A request to Resource Manager, below the subscription.
    pub(crate) async fn arm(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let url = format!(
            "{}/subscriptions/{}{path}",
            self.emulator.arm_url(),
            self.emulator.subscription_id()
        );
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .bearer_auth(self.emulator.access_token());
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let (status, location) = (answer.status(), answer.headers().get("location").cloned());
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        match location {
            // The result of a long operation is where it points to; here it is there at once.
            Some(location) => {
                let request = self
                    .http
                    .get(location.to_str().unwrap())
                    .bearer_auth(self.emulator.access_token());
                let text = request.send().await.unwrap().text().await.unwrap();
                serde_json::from_str(&text).unwrap()
            }
            None => serde_json::from_str(&text).unwrap_or(Value::Null),
        }
    }
}

/// A client that trusts this CA alone.
pub(crate) fn client(ca_pem: &str) -> reqwest::Client {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap())
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

/// The same, for a certificate in a file.
pub(crate) fn client_of(ca: &Path) -> reqwest::Client {
    client(&std::fs::read_to_string(ca).unwrap())
}

/// A disk of this size in the group `g` that waits for an upload, and write access to it.
pub(crate) async fn write_access(azure: &Azure, name: &str, size: u64) -> String {
    let group = "/resourcegroups/g?api-version=2022-09-01";
    azure
        .arm("PUT", group, Some(json!({ "location": "westus2" })))
        .await;
    let disk = format!("/resourceGroups/g/providers/Microsoft.Compute/disks/{name}");
    let body = json!({
        "location": "westus2",
        "sku": { "name": "Standard_LRS" },
        "properties": {
            "creationData": { "createOption": "Upload", "uploadSizeBytes": size + 512 },
        },
    });
    azure
        .arm("PUT", &format!("{disk}?api-version=2023-04-02"), Some(body))
        .await;
    another_access(azure, name).await
}

/// Every write of pages, for a rule.
pub(crate) fn writes() -> FaultRule {
    FaultRule::new(Plane::Blob)
        .method("PUT")
        .path_contains("comp=page")
}

/// The next access to a disk in the group `g`; it ends the one before.
pub(crate) async fn another_access(azure: &Azure, name: &str) -> String {
    let disk = format!("/resourceGroups/g/providers/Microsoft.Compute/disks/{name}");
    let body = json!({ "access": "Write", "durationInSeconds": 3600 });
    let path = format!("{disk}/beginGetAccess?api-version=2023-04-02");
    let granted: Value = azure.arm("POST", &path, Some(body)).await;
    let sas = granted["accessSAS"]
        .as_str()
        .or_else(|| granted["properties"]["output"]["accessSAS"].as_str());
    sas.unwrap_or_else(|| panic!("{granted}")).to_owned()
}
