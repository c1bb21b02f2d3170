//! Tests of the client and of [`Operation`](super::Operation) against conversations: small ones
//! written here, one for each dialect, and recordings of real traffic where those are at hand.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::Secret;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::client::{Client, Tokens};
use super::operation::{Finish, Operation};
use crate::azure::Transport;
use crate::{Error, ErrorKind, Result};

const HOST: &str = "https://management.azure.com";
const DISK: &str = "https://management.azure.com/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d?api-version=2023-10-02";

/// One request and its answer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Interaction {
    method: String,
    url: String,
    #[serde(default)]
    request: Option<Value>,
    status: u16,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
}

impl Interaction {
    pub(crate) fn new(
        method: &str,
        url: &str,
        status: u16,
        headers: &[(&str, &str)],
        body: Value,
    ) -> Self {
        Self {
            method: method.to_owned(),
            url: url.to_owned(),
            request: None,
            status,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: (!body.is_null()).then_some(body),
        }
    }

    fn answers(&self, method: Method, url: &Url) -> bool {
        self.method.eq_ignore_ascii_case(method.as_str())
            && Url::parse(&self.url)
                .is_ok_and(|own| own.as_str().eq_ignore_ascii_case(url.as_str()))
    }

    fn response(&self) -> AsyncRawResponse {
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            headers.insert(name.to_ascii_lowercase(), value.clone());
        }
        let body = match &self.body {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(json) => json.to_string(),
        };
        AsyncRawResponse::from_bytes(self.status.into(), headers, body)
    }
}

/// Answers requests in the recorded order; the last answer to a request is given again.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    left: Mutex<VecDeque<Interaction>>,
    used: Mutex<Vec<Interaction>>,
    tokens: Mutex<u32>,
    unexpected: Mutex<Vec<String>>,
}

#[async_trait]
impl HttpClient for Replay {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        assert!(
            request.headers().iter().any(|(name, value)| {
                name.as_str() == "authorization" && value.as_str().starts_with("Bearer token-")
            }),
            "a request without a token"
        );
        let mut left = self.left.lock().unwrap();
        let mut used = self.used.lock().unwrap();
        let (method, url) = (request.method(), request.url());
        if let Some(at) = left.iter().position(|own| own.answers(method, url)) {
            let own = left.remove(at).unwrap();
            if let (Some(expected), Body::Bytes(sent)) = (&own.request, request.body()) {
                let sent: Value = serde_json::from_slice(sent).unwrap();
                assert_eq!(&sent, expected, "another body than the recorded one");
            }
            let response = own.response();
            used.push(own);
            return Ok(response);
        }
        if let Some(own) = used.iter().rev().find(|own| own.answers(method, url)) {
            return Ok(own.response());
        }
        self.unexpected
            .lock()
            .unwrap()
            .push(format!("{} {}", method.as_str(), url));
        Ok(AsyncRawResponse::from_bytes(
            410.into(),
            Headers::new(),
            "not in the recording",
        ))
    }
}

#[derive(Debug)]
struct Counted(Arc<Replay>);

#[async_trait]
impl Tokens for Counted {
    async fn token(&self) -> Result<Secret> {
        let mut count = self.0.tokens.lock().unwrap();
        *count += 1;
        Ok(Secret::new(format!("token-{count}")))
    }

    fn forget(&self, refused: &Secret) {
        let count = self.0.tokens.lock().unwrap();
        assert_eq!(refused.secret(), format!("token-{count}"));
    }
}

impl Replay {
    /// The requests that were answered, as method and path.
    pub(crate) fn asked(&self) -> Vec<String> {
        let used = self.used.lock().unwrap();
        used.iter()
            .map(|own| {
                let url = Url::parse(&own.url).unwrap();
                format!("{} {}", own.method, url.path())
            })
            .collect()
    }
}

/// A client that is answered by a conversation; anything else is told 410.
pub(crate) fn client(interactions: Vec<Interaction>) -> (Client, Arc<Replay>) {
    let replay = Arc::new(Replay {
        left: Mutex::new(interactions.into()),
        ..Replay::default()
    });
    let transport = Transport::from_client(Arc::clone(&replay) as Arc<dyn HttpClient>);
    let tokens = Arc::new(Counted(Arc::clone(&replay)));
    let client = Client::from_parts(HOST, "s", tokens, &transport).unwrap();
    (client, replay)
}

/// A client with a token of its own, which is answered by nobody.
pub(crate) fn client_with_token(token: &str) -> Client {
    #[derive(Debug)]
    struct Fixed(String);

    #[async_trait]
    impl Tokens for Fixed {
        async fn token(&self) -> Result<Secret> {
            Ok(Secret::new(self.0.clone()))
        }

        fn forget(&self, _refused: &Secret) {}
    }

    let transport = Transport::from_client(Arc::new(Replay::default()) as Arc<dyn HttpClient>);
    Client::from_parts(HOST, "s", Arc::new(Fixed(token.to_owned())), &transport).unwrap()
}

/// Sends the first request of a conversation and waits for the end of it.
async fn run(client: &Client, first: &Interaction, finish: Finish) -> Result<Value> {
    let url = Url::parse(&first.url).unwrap();
    let method = match first.method.as_str() {
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        _ => Method::Get,
    };
    let body = first
        .request
        .as_ref()
        .map(|body| bytes::Bytes::from(body.to_string()));
    let reply = client.send(method, &url, body, "do it").await?;
    Operation::<Value>::new(client.clone(), "do it".to_owned(), url, finish, reply)
        .deadline(Duration::from_secs(1800))
        .wait()
        .await
}

async fn converse(interactions: Vec<Interaction>, finish: Finish) -> (Result<Value>, Arc<Replay>) {
    let first = interactions[0].clone();
    let (client, replay) = client(interactions);
    let result = run(&client, &first, finish).await;
    assert_eq!(*replay.unexpected.lock().unwrap(), Vec::<String>::new());
    (result, replay)
}

fn poll(path: &str) -> String {
    format!(
        "{HOST}/subscriptions/s/providers/Microsoft.Compute/locations/westus/{path}&t=1&c=%3Csigned%3E"
    )
}

#[tokio::test(start_paused = true)]
async fn a_put_is_polled_as_asked_and_its_resource_read() {
    let status = poll("DiskOperations/1?p=x");
    let started = Instant::now();
    let (result, replay) = converse(
        vec![
            Interaction::new(
                "PUT",
                DISK,
                202,
                &[("azure-asyncoperation", &status), ("retry-after", "2")],
                json!({"properties": {"provisioningState": "Updating"}}),
            ),
            Interaction::new(
                "GET",
                &status,
                200,
                &[("retry-after", "7")],
                json!({"status": "InProgress"}),
            ),
            Interaction::new(
                "GET",
                &status,
                200,
                &[],
                json!({"status": "Succeeded", "properties": {"output": {"name": "stale"}}}),
            ),
            Interaction::new(
                "GET",
                DISK,
                200,
                &[],
                json!({"name": "d", "properties": {"provisioningState": "Succeeded"}}),
            ),
        ],
        Finish::Resource,
    )
    .await;
    assert_eq!(result.unwrap()["name"], "d");
    assert_eq!(started.elapsed().as_secs(), 9);
    assert_eq!(
        *replay.tokens.lock().unwrap(),
        4,
        "a fresh token for every call"
    );
}

#[tokio::test(start_paused = true)]
async fn the_output_of_an_action_is_found_in_both_places() {
    let (status, location) = (
        poll("DiskOperations/1?p=x"),
        poll("DiskOperations/1?p=x&monitor=true"),
    );
    let headers = [
        ("azure-asyncoperation", status.as_str()),
        ("location", location.as_str()),
    ];
    let grant = DISK.replace("/d?", "/d/beginGetAccess?");
    let first = Interaction::new("POST", &grant, 202, &headers, Value::Null);
    let sas = json!({"accessSAS": "https://x/y?sig=z"});

    let in_status = vec![
        first.clone(),
        Interaction::new(
            "GET",
            &status,
            200,
            &[],
            json!({"status": "Succeeded", "properties": {"output": sas}}),
        ),
    ];
    assert_eq!(converse(in_status, Finish::Output).await.0.unwrap(), sas);

    let in_location = vec![
        first.clone(),
        Interaction::new("GET", &status, 200, &[], json!({"status": "Succeeded"})),
        Interaction::new("GET", &location, 200, &[], sas.clone()),
    ];
    assert_eq!(converse(in_location, Finish::Output).await.0.unwrap(), sas);

    let at_once = vec![Interaction::new("POST", &grant, 200, &[], sas.clone())];
    assert_eq!(converse(at_once, Finish::Output).await.0.unwrap(), sas);

    let nowhere = vec![
        first,
        Interaction::new("GET", &status, 200, &[], json!({"status": "Succeeded"})),
        Interaction::new("GET", &location, 200, &[], Value::Null),
    ];
    let error = converse(nowhere, Finish::Output).await.0.unwrap_err();
    assert!(error.to_string().contains("gives no result"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_group_is_deleted_by_location_alone() {
    let location =
        format!("{HOST}/subscriptions/s/operationresults/eyJqb2JJZCI6?api-version=2022-09-01");
    let group = format!("{HOST}/subscriptions/s/resourcegroups/g?api-version=2022-09-01");
    let headers = [("location", location.as_str()), ("retry-after", "15")];
    let (result, replay) = converse(
        vec![
            Interaction::new("DELETE", &group, 202, &headers, Value::Null),
            Interaction::new("GET", &location, 202, &headers, Value::Null),
            Interaction::new("GET", &location, 200, &[], Value::Null),
        ],
        Finish::Nothing,
    )
    .await;
    assert_eq!(result.unwrap(), Value::Null);
    assert!(replay.left.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_relative_location_on_a_finished_answer_is_not_followed() {
    let identity = format!(
        "{HOST}/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i?api-version=2023-01-31"
    );
    let (result, _) = converse(
        vec![Interaction::new(
            "PUT",
            &identity,
            201,
            &[("location", "/subscriptions/s/resourcegroups/g/providers/x")],
            json!({"properties": {"principalId": "p"}}),
        )],
        Finish::Resource,
    )
    .await;
    assert_eq!(result.unwrap()["properties"]["principalId"], "p");
}

#[tokio::test(start_paused = true)]
async fn a_patch_without_headers_is_followed_by_its_state() {
    let (result, _) = converse(
        vec![
            Interaction::new(
                "PATCH",
                DISK,
                200,
                &[],
                json!({"properties": {"provisioningState": "Updating"}}),
            ),
            Interaction::new(
                "GET",
                DISK,
                200,
                &[],
                json!({"properties": {"provisioningState": "Updating"}}),
            ),
            Interaction::new(
                "GET",
                DISK,
                200,
                &[],
                json!({"name": "d", "properties": {"provisioningState": "Succeeded"}}),
            ),
        ],
        Finish::Resource,
    )
    .await;
    assert_eq!(result.unwrap()["name"], "d");
}

#[tokio::test(start_paused = true)]
async fn a_failure_behind_a_200_has_its_code() {
    let status = poll("operations/1?p=x");
    let first = Interaction::new(
        "PUT",
        DISK,
        201,
        &[("Azure-AsyncOperation", &status)],
        json!({"properties": {"provisioningState": "Creating"}}),
    );
    for (body, code, kind) in [
        (
            json!({"status": "Failed", "error": {"code": "InvalidVhd", "message": "The specified cookie value"}}),
            Some("InvalidVhd"),
            ErrorKind::InvalidImage,
        ),
        (json!({"status": "Canceled"}), None, ErrorKind::Service),
        (
            json!({"status": "Failed", "error": {"code": "OSProvisioningTimedOut", "message": "did not finish"}}),
            Some("OSProvisioningTimedOut"),
            ErrorKind::Timeout,
        ),
    ] {
        let talk = vec![
            first.clone(),
            Interaction::new("GET", &status, 200, &[], body),
        ];
        let error = converse(talk, Finish::Resource).await.0.unwrap_err();
        assert_eq!((error.code(), error.kind()), (code, kind), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_polled_for_ever() {
    let status = poll("operations/1?p=x");
    let talk = vec![
        Interaction::new(
            "PUT",
            DISK,
            201,
            &[("azure-asyncoperation", &status)],
            Value::Null,
        ),
        Interaction::new("GET", &status, 200, &[], json!({"status": "InProgress"})),
    ];
    let error = converse(talk, Finish::Resource).await.0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn the_token_goes_to_the_service_only() {
    for elsewhere in [
        "https://evil.example/x?t=1",
        "http://management.azure.com/x",
        "https://xmanagement.azure.com/x",
    ] {
        let talk = vec![Interaction::new(
            "PUT",
            DISK,
            202,
            &[("azure-asyncoperation", elsewhere)],
            Value::Null,
        )];
        let error = converse(talk, Finish::Resource).await.0.unwrap_err();
        assert!(error.to_string().contains("not its own"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn transient_refusals_are_tried_again_and_permanent_ones_are_not() {
    let busy = json!({"error": {"code": "TooManyRequests", "message": "slow down"}});
    let started = Instant::now();
    let (result, replay) = converse(
        vec![
            Interaction::new("PUT", DISK, 429, &[("retry-after", "40")], busy),
            Interaction::new("PUT", DISK, 503, &[], Value::Null),
            Interaction::new(
                "PUT",
                DISK,
                401,
                &[],
                json!({"error": {"code": "ExpiredAuthenticationToken", "message": "x"}}),
            ),
            Interaction::new("PUT", DISK, 200, &[], json!({"name": "d"})),
        ],
        Finish::Resource,
    )
    .await;
    assert_eq!(result.unwrap()["name"], "d");
    assert!(started.elapsed() >= Duration::from_secs(40));
    assert_eq!(replay.used.lock().unwrap().len(), 4);

    let refusal = json!({"error": {"code": "AuthorizationFailed", "message": "no"}});
    let (result, replay) = converse(
        vec![Interaction::new("PUT", DISK, 403, &[], refusal)],
        Finish::Resource,
    )
    .await;
    let error = result.unwrap_err();
    assert!(error.is_permission() && error.hint().is_some());
    assert_eq!(*replay.tokens.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unregistered_provider_is_registered_once() {
    let provider = format!("{HOST}/subscriptions/s/providers/Microsoft.Compute");
    let api = "?api-version=2022-09-01";
    let missing =
        json!({"error": {"code": "MissingSubscriptionRegistration", "message": "not registered"}});
    let (result, replay) = converse(
        vec![
            Interaction::new("PUT", DISK, 409, &[], missing),
            Interaction::new(
                "POST",
                &format!("{provider}/register{api}"),
                200,
                &[],
                json!({"registrationState": "Registering"}),
            ),
            Interaction::new(
                "GET",
                &format!("{provider}{api}"),
                200,
                &[],
                json!({"registrationState": "Registering"}),
            ),
            Interaction::new(
                "GET",
                &format!("{provider}{api}"),
                200,
                &[],
                json!({"registrationState": "Registered"}),
            ),
            Interaction::new("PUT", DISK, 200, &[], json!({"name": "d"})),
        ],
        Finish::Resource,
    )
    .await;
    assert_eq!(result.unwrap()["name"], "d");
    assert!(replay.left.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_registration_may_take_a_while_to_be_known_and_may_be_refused() {
    let missing =
        json!({"error": {"code": "MissingSubscriptionRegistration", "message": "not registered"}});
    let register = format!(
        "{HOST}/subscriptions/s/providers/Microsoft.Compute/register?api-version=2022-09-01"
    );
    let done = json!({"registrationState": "Registered"});
    let (result, replay) = converse(
        vec![
            Interaction::new("PUT", DISK, 409, &[], missing.clone()),
            Interaction::new("POST", &register, 200, &[], done),
            Interaction::new("PUT", DISK, 409, &[], missing.clone()),
            Interaction::new("PUT", DISK, 200, &[], json!({"name": "d"})),
        ],
        Finish::Resource,
    )
    .await;
    assert_eq!(result.unwrap()["name"], "d");
    assert!(replay.left.lock().unwrap().is_empty());

    let refusal = json!({"error": {"code": "AuthorizationFailed", "message": "no"}});
    let (result, _) = converse(
        vec![
            Interaction::new("PUT", DISK, 409, &[], missing),
            Interaction::new("POST", &register, 403, &[], refusal),
        ],
        Finish::Resource,
    )
    .await;
    let error = result.unwrap_err();
    assert!(error.is_permission());
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("az provider register -n Microsoft.Compute"),
        "{hint}"
    );
}

#[tokio::test(start_paused = true)]
async fn lists_are_read_to_the_end_and_not_elsewhere() {
    let first =
        format!("{HOST}/subscriptions/s/providers/Microsoft.Compute/images?api-version=2024-07-01");
    let second = format!("{first}&$skiptoken=2");
    let page = |name: &str, next: Value| json!({"value": [{"name": name, "location": "w"}], "nextLink": next});
    let (client, _) = client(vec![
        Interaction::new("GET", &first, 200, &[], page("a", second.as_str().into())),
        Interaction::new("GET", &second, 200, &[], page("b", Value::Null)),
    ]);
    let names: Vec<_> = client
        .images()
        .await
        .unwrap()
        .into_iter()
        .map(|image| image.name.unwrap())
        .collect();
    assert_eq!(names, ["a", "b"]);

    let (client, _) = self::client(vec![Interaction::new(
        "GET",
        &first,
        200,
        &[],
        page("a", "https://evil.example/".into()),
    )]);
    assert!(client.images().await.is_err());
}

// ---- recordings ------------------------------------------------------------------------------

/// Recordings of real traffic are not part of this repository; they are found beside it.
fn recordings() -> Option<PathBuf> {
    let place = std::env::var_os("AZURE_NIXOS_RECORDINGS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/arm"),
        PathBuf::from,
    );
    if place.join("golden").is_dir() {
        return Some(place);
    }
    eprintln!(
        "SKIPPED: there are no recordings in {} (AZURE_NIXOS_RECORDINGS names another place)",
        place.display()
    );
    None
}

#[derive(Deserialize)]
struct Recording {
    name: String,
    interactions: Vec<Interaction>,
}

/// What a recording ends with, where that is not a success.
const ENDINGS: &[(&str, &str)] = &[
    ("role_assignment_principal_not_found", "PrincipalNotFound"),
    ("role_assignment_exists", "RoleAssignmentExists"),
    ("role_assignment_forbidden", "AuthorizationFailed"),
    ("nic_in_use", "NicInUse"),
    ("nsg_in_use", "InUseNetworkSecurityGroupCannotBeDeleted"),
    ("public_ip_in_use", "PublicIPAddressCannotBeDeleted"),
    ("vnet_in_use", "InUseSubnetCannotBeDeleted"),
    ("vm_quota_exceeded", "OperationNotAllowed"),
    ("resource_group_not_found", "ResourceGroupNotFound"),
    ("vm_not_found", "ResourceNotFound"),
    ("subnet_not_found", "NotFound"),
];

/// Ends while the operation still runs: the recording was cut.
const CUT: &[&str] = &[
    "public_ip_delete",
    "gallery_image_version_create_from_managed_image",
];

#[tokio::test(start_paused = true)]
async fn every_recorded_operation_ends_as_it_did() {
    let Some(place) = recordings() else { return };
    let mut files: Vec<_> = std::fs::read_dir(place.join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .collect();
    files.sort();
    assert!(files.len() >= 50, "only {} recordings", files.len());
    for file in files {
        let recording: Recording = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let name = recording.name.as_str();
        let first = recording.interactions[0].clone();
        let last_state = recording
            .interactions
            .last()
            .and_then(|last| last.body.clone())
            .unwrap_or_default();
        let finish = match first.method.as_str() {
            "PUT" | "PATCH" | "GET" => Finish::Resource,
            "POST" if name.contains("begin_get_access") || name == "boot_diagnostics" => {
                Finish::Output
            }
            _ => Finish::Nothing,
        };
        let (result, replay) = converse(recording.interactions, finish).await;
        let cut = CUT.contains(&name) && last_state["status"] == "InProgress";
        if let Some((_, code)) = ENDINGS.iter().find(|(own, _)| *own == name) {
            assert_eq!(result.as_ref().unwrap_err().code(), Some(*code), "{name}");
        } else if cut {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Timeout, "{name}");
        } else {
            let value = result.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            match finish {
                Finish::Resource => assert!(
                    value["id"].is_string() || value["name"].is_string(),
                    "{name}: {value}"
                ),
                Finish::Output => assert!(
                    value["accessSAS"].is_string() || value["serialConsoleLogBlobUri"].is_string(),
                    "{name}: {value}"
                ),
                Finish::Nothing => assert_eq!(value, Value::Null, "{name}"),
            }
        }
        // Every status that was polled then is asked for now; only a look at the result may be spared.
        let unasked: Vec<_> = replay
            .left
            .lock()
            .unwrap()
            .iter()
            .filter(|left| {
                left.body
                    .as_ref()
                    .is_some_and(|body| body["status"] == "InProgress")
            })
            .map(|left| left.url.clone())
            .collect();
        assert_eq!(unasked, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn every_recorded_error_is_decoded() {
    let Some(place) = recordings() else { return };
    let text = std::fs::read_to_string(place.join("errors.jsonl")).unwrap();
    let mut count = 0;
    for line in text.lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        let status = u16::try_from(recorded["status"].as_u64().unwrap()).unwrap();
        let body = match &recorded["body"] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let decoded = super::ServiceError::decode(status, body.as_bytes());
        let inner = recorded["body"].get("error").unwrap_or(&recorded["body"]);
        if let Some(code) = inner.get("code").and_then(Value::as_str) {
            assert_eq!(decoded.code, code);
        }
        let error: Error = decoded.into_error("do it");
        assert!(error.to_string().len() > "cannot do it: ".len(), "{line}");
        assert!(!error.to_string().contains('<'), "{error}");
        count += 1;
    }
    assert!(count > 100, "only {count} errors");
}
