//! Whole logins: environment, tools, services and files are all made up here.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use azure_core::http::Request;
use serde_json::json;
use tempfile::TempDir;

use super::child;
use super::get::fake::Service;
use super::login::tests::jwt;
use super::loopback::Loopback;
use super::profile::tests::az_dir;
use super::*;
use crate::ErrorKind;

const SUBSCRIPTION: &str = "aaaaaaaa-0000-0000-0000-00000000000a";
const TENANT: &str = "bbbbbbbb-0000-0000-0000-00000000000b";
const PRINCIPAL: [(&str, &str); 3] = [
    ("AZURE_TENANT_ID", TENANT),
    ("AZURE_CLIENT_ID", "app-1"),
    ("AZURE_CLIENT_SECRET", "S3CRET-client"),
];

/// A machine: its variables, its tools, its files.
struct Machine {
    dir: TempDir,
    variables: HashMap<String, String>,
    service: Arc<Service>,
}

impl Machine {
    fn new(answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let variables = HashMap::from([
            ("PATH".to_owned(), bin.display().to_string()),
            ("HOME".to_owned(), dir.path().display().to_string()),
        ]);
        Self {
            dir,
            variables,
            service: Service::new(answer),
        }
    }

    /// Nothing answers.
    fn offline() -> Self {
        Self::new(|request| panic!("asked {}", request.url()))
    }

    fn set<'a>(mut self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (name, value) in variables {
            self.variables.insert(name.to_owned(), value.to_owned());
        }
        self
    }

    /// A program that notes its arguments in `<name>.log` and runs this shell text. The text has
    /// to do with what the shell brings: there is nothing else on this machine.
    fn tool(self, name: &str, script: &str) -> Self {
        let path = self.dir.path().join("bin").join(name);
        let log = self.dir.path().join(format!("{name}.log"));
        let text = format!(
            "#!/bin/sh\necho \"$* [$AZURE_CONFIG_DIR]\" >> '{}'\n{script}\n",
            log.display()
        );
        // Written by another process: a file that this one has open for writing may be inherited
        // by a child of another test, and then cannot be started ("text file busy").
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "cat > \"$1\" && chmod 755 \"$1\"", "sh"])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = writer.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        drop(stdin);
        assert!(writer.wait().unwrap().success());
        self
    }

    /// An `az` that is logged in, as somebody of this tenant.
    fn az(self) -> Self {
        let token = az_token();
        self.tool(
            "az",
            &format!(
                r#"echo '{{"accessToken":"{token}","expiresOn":"x","expires_on":4102444800,"tenant":"{TENANT}","tokenType":"Bearer"}}'"#
            ),
        )
    }

    fn az_log(&self, name: &str) -> Vec<String> {
        let path = self.dir.path().join(format!("{name}.log"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn builder(&self) -> AzureBuilder {
        let variables = self.variables.clone();
        Azure::builder()
            .environment(move |name| variables.get(name).cloned())
            .transport(self.service.transport())
            .asset_tag(self.dir.path().join("chassis_asset_tag"))
    }

    fn in_azure(self) -> Self {
        let path = self.dir.path().join("chassis_asset_tag");
        std::fs::write(path, "7783-7084-3265-9085-8269-3286-77\n").unwrap();
        self
    }

    fn with_profile(self) -> Self {
        let profile = az_dir();
        let home = self.dir.path().join(".azure");
        std::fs::create_dir(&home).unwrap();
        copy(profile.path(), &home, "azureProfile.json");
        self
    }
}

fn copy(from: &Path, to: &Path, name: &str) {
    std::fs::copy(from.join(name), to.join(name)).unwrap();
}

fn az_token() -> String {
    jwt(&json!({"upn": "ann@example.com", "tid": TENANT}))
}

fn entra_token(number: usize) -> String {
    jwt(&json!({"appid": "app-1", "tid": TENANT, "number": number}))
}

/// The login service of Entra and Resource Manager with one subscription.
fn entra() -> impl Fn(&Request) -> (u16, String) + Send + Sync + 'static {
    let given = Mutex::new(0);
    move |request| {
        let url = request.url();
        if url.path().ends_with("/oauth2/v2.0/token") {
            let mut given = given.lock().unwrap();
            *given += 1;
            let token = entra_token(*given);
            return (
                200,
                json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token})
                    .to_string(),
            );
        }
        (200, subscriptions())
    }
}

/// The line break in it is what the real service sends.
fn refusal() -> String {
    json!({"error": "invalid_client", "error_codes": [7000215], "error_description":
        "AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"})
    .to_string()
}

fn subscriptions() -> String {
    json!({"value": [{"subscriptionId": SUBSCRIPTION, "displayName": "Web", "state": "Enabled"}]})
        .to_string()
}

#[tokio::test]
async fn nobody_logged_in_is_one_line_that_says_what_was_tried() {
    let error = Machine::offline().builder().build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(
        error.to_string(),
        "not logged in to Azure (environment secret: AZURE_TENANT_ID, AZURE_CLIENT_ID and \
         AZURE_CLIENT_SECRET are not set; federated token: AZURE_FEDERATED_TOKEN_FILE is not set; \
         managed identity: this machine is not in Azure; az: not on the PATH; \
         azd: not on the PATH)"
    );
    assert!(error.hint().unwrap().starts_with("run `az login`"));
}

#[tokio::test]
async fn half_a_login_is_told_as_such() {
    let machine = Machine::offline().set([PRINCIPAL[0], PRINCIPAL[1]]).tool(
        "az",
        "echo 'ERROR: Please run az login to setup account.' >&2; exit 1",
    );
    let error = machine.builder().build().await.unwrap_err();
    let text = error.to_string();
    for part in [
        "environment secret: AZURE_CLIENT_SECRET is not set, though AZURE_TENANT_ID and \
         AZURE_CLIENT_ID are set;",
        "az: Please run az login to setup account.;",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains('\n'), "{text}");
    let machine = Machine::offline().set([("AZURE_FEDERATED_TOKEN_FILE", "/token")]);
    let text = machine.builder().build().await.unwrap_err().to_string();
    let part = "federated token: AZURE_TENANT_ID and AZURE_CLIENT_ID are not set;";
    assert!(text.contains(part), "{text}");
}

#[tokio::test]
async fn a_service_principal_logs_in_once_and_finds_the_only_subscription() {
    let machine = Machine::new(entra()).set(PRINCIPAL).az();
    let azure = machine.builder().build().await.unwrap();
    assert_eq!(azure.subscription_id(), SUBSCRIPTION);
    assert_eq!(
        azure.to_string(),
        format!("service principal app-1, subscription Web ({SUBSCRIPTION})")
    );
    assert_eq!(azure.login().tenant(), Some(TENANT));
    for _ in 0..10 {
        assert_eq!(azure.token().await.unwrap().secret(), entra_token(1));
    }
    assert_eq!(
        machine.service.urls(),
        [
            format!("https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/token"),
            "https://management.azure.com/subscriptions?api-version=2022-12-01".to_owned(),
        ]
    );
    {
        let seen = machine.service.seen.lock().unwrap();
        assert!(
            seen[0]
                .body
                .contains("scope=https%3A%2F%2Fmanagement.azure.com%2F.default")
        );
    }
    let first = azure.token().await.unwrap();
    azure.forget_token(&first);
    assert_eq!(azure.token().await.unwrap().secret(), entra_token(2));
    assert!(machine.az_log("az").is_empty());
}

#[tokio::test]
async fn a_refused_service_principal_is_final() {
    let machine = Machine::new(|_| (401, refusal())).set(PRINCIPAL).az();
    let error = machine.builder().build().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the service principal app-1 is refused: AADSTS7000215: Invalid client secret provided. \
         Trace ID: 1"
    );
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    let shown = format!("{error:?} {}", error.report());
    assert!(!shown.contains("S3CRET"), "{shown}");
    assert!(machine.az_log("az").is_empty());
}

#[tokio::test]
async fn a_federated_token_file_is_read_for_every_login() {
    let machine = Machine::new(entra());
    let file = machine.dir.path().join("token");
    std::fs::write(&file, "assertion-1\n").unwrap();
    let name = file.display().to_string();
    let machine = machine
        .set([PRINCIPAL[0], PRINCIPAL[1]])
        .set([("AZURE_FEDERATED_TOKEN_FILE", name.as_str())]);
    let azure = machine
        .builder()
        .subscription(SUBSCRIPTION)
        .build()
        .await
        .unwrap();
    assert_eq!(azure.login().method(), Some(&LoginMethod::WorkloadIdentity));
    std::fs::write(&file, "assertion-2\n").unwrap();
    azure.forget_token(&azure.token().await.unwrap());
    azure.token().await.unwrap();
    let seen = machine.service.seen.lock().unwrap().clone();
    assert!(
        seen[0].body.contains("client_assertion=assertion-1&"),
        "{}",
        seen[0].body
    );
    assert!(
        seen[1].body.contains("client_assertion=assertion-2&"),
        "{}",
        seen[1].body
    );
    std::fs::remove_file(&file).unwrap();
    azure.forget_token(&azure.token().await.unwrap());
    let text = azure.token().await.unwrap_err().to_string();
    let part = format!("cannot read the federated token {name}");
    assert!(text.contains(&part), "{text}");
}

#[tokio::test]
async fn a_job_of_git_hub_logs_in_without_a_secret() {
    let entra = entra();
    let machine = Machine::new(move |request| {
        if request.url().host_str() == Some("actions.test") {
            return (200, json!({"value": "assertion-g", "count": 1}).to_string());
        }
        entra(request)
    });
    let machine = machine.set([PRINCIPAL[0], PRINCIPAL[1]]).set([
        (
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            "https://actions.test/token?api-version=2.0",
        ),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "S3CRET-job"),
        ("AZURE_CLOUD", "usgov"),
    ]);
    let azure = machine.builder().build().await.unwrap();
    assert_eq!(
        azure.to_string(),
        format!("federated identity app-1, subscription Web ({SUBSCRIPTION}) in AzureUSGovernment")
    );
    let seen = machine.service.seen.lock().unwrap();
    assert_eq!(
        seen[0].url,
        "https://actions.test/token?api-version=2.0&audience=api%3A%2F%2FAzureADTokenExchangeUSGov"
    );
    assert_eq!(seen[0].headers["authorization"], "Bearer S3CRET-job");
    assert!(seen[1].url.starts_with("https://login.microsoftonline.us/"));
    assert!(seen[1].body.contains("client_assertion=assertion-g&"));
}

/// The metadata service of a machine, with an identity or without.
fn metadata(has_identity: bool) -> impl Fn(&Request) -> (u16, String) + Send + Sync + 'static {
    move |request| {
        if request.url().host_str() != Some("169.254.169.254") {
            return (200, subscriptions());
        }
        if !has_identity {
            let body = json!({"error": "invalid_request", "error_description": "not found"});
            return (400, body.to_string());
        }
        let token = jwt(&json!({"appid": "mi-1"}));
        let body = json!({"access_token": token, "expires_on": "4102444800",
            "resource": "r", "token_type": "Bearer"});
        (200, body.to_string())
    }
}

#[tokio::test]
async fn a_machine_in_azure_uses_its_identity() {
    let machine = Machine::new(metadata(true)).in_azure().az();
    let azure = machine.builder().build().await.unwrap();
    assert_eq!(azure.login().to_string(), "managed identity mi-1");
    assert!(machine.az_log("az").is_empty());
    let machine = Machine::new(metadata(true)).set([
        ("AZURE_NIXOS_USE_MANAGED_IDENTITY", "1"),
        ("AZURE_CLIENT_ID", "user-assigned"),
    ]);
    machine.builder().build().await.unwrap();
    let url = machine.service.urls().remove(0);
    assert!(url.contains("client_id=user-assigned"), "{url}");
}

#[tokio::test]
async fn a_machine_in_azure_without_an_identity_goes_on_unless_it_was_asked_for() {
    let machine = Machine::new(metadata(false)).in_azure().az();
    let azure = machine.builder().build().await.unwrap();
    assert_eq!(azure.login().to_string(), "az login as ann@example.com");
    let machine = machine.set([("AZURE_NIXOS_USE_MANAGED_IDENTITY", "true")]);
    let error = machine.builder().build().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the managed identity is refused: The requested identity has not been assigned to this \
         resource"
    );
}

#[tokio::test]
async fn az_is_started_once_for_many_tokens() {
    let machine = Machine::offline().with_profile().az();
    let azure = machine.builder().build().await.unwrap();
    assert_eq!(
        azure.to_string(),
        "az login as ann@example.com, subscription Second (aaaaaaaa-0000-0000-0000-000000000002)"
    );
    for _ in 0..50 {
        assert_eq!(azure.token().await.unwrap().secret(), az_token());
    }
    let log = machine.az_log("az");
    assert_eq!(log.len(), 1, "{log:?}");
    let home = machine.dir.path().join(".azure");
    assert_eq!(
        log[0],
        format!(
            "account get-access-token -o json --scope https://management.azure.com/.default [{}]",
            home.display()
        )
    );
}

#[tokio::test]
async fn az_is_told_of_a_subscription_that_is_not_its_default() {
    let first = "aaaaaaaa-0000-0000-0000-000000000001";
    for wanted in [first, "first"] {
        let machine = Machine::offline().with_profile().az();
        let machine = machine.set([("AZURE_SUBSCRIPTION_ID", wanted)]);
        let azure = machine.builder().build().await.unwrap();
        assert_eq!(azure.subscription_id(), first);
        let log = machine.az_log("az").remove(0);
        assert!(log.contains(&format!("--subscription {first}")), "{log}");
    }
}

#[tokio::test]
async fn azd_comes_after_az() {
    let token = jwt(&json!({"upn": "dev@example.com"}));
    let machine = Machine::new(|_| (200, subscriptions()))
        .tool("az", "echo 'Please run az login' >&2; exit 1")
        .tool(
            "azd",
            &format!(r#"echo '{{"token":"{token}","expiresOn":"2099-01-01T00:00:00Z"}}'"#),
        );
    let azure = machine.builder().build().await.unwrap();
    assert_eq!(azure.login().to_string(), "azd login as dev@example.com");
    let error = machine
        .builder()
        .login_with(LoginMethod::AzureCli)
        .build()
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the az login is refused: Please run az login"
    );
    assert_eq!(error.hint(), Some("run `az login`"));
}

#[tokio::test]
async fn the_sdks_variable_narrows_the_chain() {
    let machine = Machine::new(entra()).set(PRINCIPAL).az();
    let machine = machine.set([("AZURE_TOKEN_CREDENTIALS", "dev")]);
    let azure = machine.builder().build().await.unwrap();
    assert_eq!(azure.login().method(), Some(&LoginMethod::AzureCli));
    let machine = machine.set([("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")]);
    let azure = machine.builder().build().await.unwrap();
    assert_eq!(azure.login().method(), Some(&LoginMethod::Environment));
    let machine = machine.set([("AZURE_TOKEN_CREDENTIALS", "magic")]);
    assert!(
        machine
            .builder()
            .build()
            .await
            .unwrap_err()
            .is_invalid_input()
    );
}

#[tokio::test]
async fn a_given_token_needs_no_network_when_the_subscription_is_given() {
    let machine = Machine::offline().set(PRINCIPAL);
    for token in ["opaque-S3CRET".to_owned(), az_token()] {
        let builder = machine.builder().access_token(&*token);
        let azure = builder.subscription(SUBSCRIPTION).build().await.unwrap();
        assert_eq!(azure.token().await.unwrap().secret(), token);
        assert!(!format!("{azure:?} {azure}").contains(&token));
    }
    let old = jwt(&json!({"exp": 1_000_000_000}));
    for (token, part) in [
        (old.as_str(), "has expired"),
        ("", "is not a token"),
        ("a b", "is not a token"),
    ] {
        let error = machine
            .builder()
            .access_token(token)
            .build()
            .await
            .unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_given_credential_is_asked_when_the_subscription_must_be_found() {
    let given = given::with_token("opaque".into()).unwrap().tokens;
    let machine = Machine::new(|_| (200, subscriptions())).set(PRINCIPAL);
    let azure = machine.builder().credential(given).build().await.unwrap();
    assert_eq!(azure.login().to_string(), "given credential");
    assert_eq!(machine.service.urls().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_refused_while_looking_for_the_subscription_is_fetched_again() {
    let entra = entra();
    let machine = Machine::new(move |request| {
        let header = azure_core::http::headers::AUTHORIZATION;
        let authorization = request.headers().get_optional_string(&header);
        let first = format!("Bearer {}", entra_token(1));
        if authorization.is_some_and(|authorization| authorization == first) {
            let body = json!({"error": {"code": "ExpiredAuthenticationToken", "message": "old"}});
            return (401, body.to_string());
        }
        entra(request)
    });
    let azure = machine.set(PRINCIPAL).builder().build().await.unwrap();
    assert_eq!(azure.token().await.unwrap().secret(), entra_token(2));
}

#[tokio::test]
async fn the_cloud_comes_from_the_option_the_variable_or_az() {
    let machine = Machine::offline();
    let build = async |builder: AzureBuilder| {
        let builder = builder.access_token("x").subscription(SUBSCRIPTION);
        builder.build().await.map(|azure| azure.cloud().clone())
    };
    assert_eq!(build(machine.builder()).await.unwrap(), Cloud::public());
    let home = machine.dir.path().join(".azure");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("config"), "[cloud]\nname = AzureChinaCloud\n").unwrap();
    assert_eq!(build(machine.builder()).await.unwrap(), Cloud::china());
    let machine = machine.set([("AZURE_CLOUD", "AzureUSGovernment")]);
    assert_eq!(
        build(machine.builder()).await.unwrap(),
        Cloud::us_government()
    );
    let machine = machine.set([("AZURE_AUTHORITY_HOST", "https://login.other.test/")]);
    let cloud = build(machine.builder()).await.unwrap();
    assert_eq!(cloud.authority_host(), "https://login.other.test");
    let given = machine.builder().cloud(Cloud::public());
    assert_eq!(build(given).await.unwrap(), Cloud::public());
    let named = build(machine.builder().cloud_named("nowhere")).await;
    assert!(named.unwrap_err().is_invalid_input());
}

#[tokio::test]
async fn a_registered_cloud_is_asked_for_its_endpoints() {
    let machine = Machine::new(|_| {
        let body = json!({"name": "Local", "resourceManager": "https://arm.test/",
            "authentication": {"loginEndpoint": "https://login.test/", "audiences": ["https://arm.test"]}});
        (200, body.to_string())
    });
    let home = machine.dir.path().join(".azure");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("config"), "[cloud]\nname = probe\n").unwrap();
    let text = "[probe]\nendpoint_resource_manager = https://arm.test/\n";
    std::fs::write(home.join("clouds.config"), text).unwrap();
    let builder = machine
        .builder()
        .access_token("x")
        .subscription(SUBSCRIPTION);
    let azure = builder.build().await.unwrap();
    assert_eq!(azure.cloud().name(), "probe");
    assert_eq!(azure.cloud().scope(), "https://arm.test/.default");
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_secret_is_in_the_log_of_a_login() {
    child::run("tests::logging_in_with_everything_logged", &[]);
}

/// Real TLS, real HTTP, and everything that any library below says about it.
#[tokio::test]
#[ignore = "run by no_secret_is_in_the_log_of_a_login"]
async fn logging_in_with_everything_logged() {
    if !child::is_child() {
        return;
    }
    let captured = Captured::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer({
            let captured = captured.clone();
            move || captured.clone()
        })
        .with_ansi(false)
        .init();
    let server = Loopback::start(|port, request| {
        let base = format!("https://127.0.0.1:{port}");
        if request.starts_with("GET /metadata/endpoints") {
            let body = json!({"name": "Local", "resourceManager": base, "authentication":
                {"loginEndpoint": base, "audiences": [base]}});
            return (200, body.to_string());
        }
        if request.starts_with("POST /refusing/") {
            return (401, refusal());
        }
        if request.contains("/oauth2/v2.0/token") {
            let body = json!({"token_type": "Bearer", "expires_in": 3599,
                "access_token": entra_token(1)});
            return (200, body.to_string());
        }
        (200, subscriptions())
    })
    .await;
    let mut machine = Machine::offline().set(PRINCIPAL);
    let address = format!("https://127.0.0.1:{}", server.port);
    machine.variables.insert("AZURE_CLOUD".into(), address);
    let trusting = Transport::builder().ca_certificates(server.ca.as_bytes());
    let transport = trusting.unwrap().build().unwrap();
    let azure = machine
        .builder()
        .transport(transport)
        .build()
        .await
        .unwrap();
    assert_eq!(azure.subscription_id(), SUBSCRIPTION);
    let seen = server.seen.lock().unwrap().clone();
    assert!(seen[1].contains("client_secret=S3CRET-client"));
    assert!(seen[1].contains("user-agent: azure-nixos/"), "{}", seen[1]);
    assert!(seen[2].contains(&entra_token(1)));

    let machine = machine.set([("AZURE_TENANT_ID", "refusing")]);
    let trusting = Transport::builder().ca_certificates(server.ca.as_bytes());
    let transport = trusting.unwrap().build().unwrap();
    let error = machine
        .builder()
        .transport(transport)
        .build()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("AADSTS7000215: Invalid"),
        "{error}"
    );
    tracing::info!(?error, "{}", error.report());

    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    // Ours, the SDK's, and what reaches us from the `log` crate.
    for expected in [
        "connected: service principal app-1",
        "oauth2",
        "starting new connection",
    ] {
        assert!(log.contains(expected), "{expected} is not in {log}");
    }
    let token = entra_token(1);
    let middle = token.split('.').nth(1).unwrap();
    for secret in ["S3CRET", token.as_str(), middle] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}
