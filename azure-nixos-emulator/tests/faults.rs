//! What goes wrong on demand, as a client of Resource Manager sees it; the page blobs have their
//! own tests of it.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

mod common;

use std::time::{Duration, Instant};

use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_emulator::{Clock, Operation};
use common::{
    COMPUTE, Client, DISKS, NETWORK, RESOURCES, SMALLEST, builder, disk, group, image, resource,
    upload, vm,
};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::tempdir;

fn on(operation: &str) -> FaultRule {
    FaultRule::on(operation.parse().unwrap())
}

#[tokio::test]
async fn a_rule_of_the_builder_names_an_operation_and_acts_from_the_start() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path())
        .fault(
            on("disks.createOrUpdate")
                .times(1)
                .respond(409, "Conflict")
                .message("Not today.")
                .header("Retry-After", "3"),
        )
        .fault(on("resourceGroups.delete").respond(403, "AuthorizationFailed"))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let body = upload(SMALLEST);
    // The id of a disk in a spelling of its own is the same operation.
    let odd = "/resourcegroups/rg/providers/MICROSOFT.compute/Disks/d";
    let refused = client.put(odd, DISKS, body.clone()).await;
    assert_eq!(refused.error(), (409, "Conflict"));
    assert_eq!(refused.body["error"]["message"], "Not today.");
    assert_eq!(refused.header("retry-after"), Some("3"));
    let made = client.put(&disk("rg", "d"), DISKS, body).await;
    client.succeed(made).await;
    let kept = client.delete(&group("rg"), RESOURCES).await;
    assert_eq!(kept.error(), (403, "AuthorizationFailed"));
    let names: Vec<_> = emulator
        .requests()
        .iter()
        .map(|request| (request.operation.map(|o| o.to_string()), request.status))
        .collect();
    let create = Some("disks.createOrUpdate".to_owned());
    assert_eq!(names[1], (create.clone(), 409));
    assert_eq!(names[2], (create, 202));
    assert_eq!(names[3].0.as_deref(), Some("operations.get"));
}

#[tokio::test]
async fn a_rule_acts_in_its_time_by_the_clock() {
    let dir = tempdir().unwrap();
    let clock = Clock::new();
    let minute = Duration::from_secs(60);
    let emulator = builder(dir.path())
        .clock(clock.clone())
        .fault(
            on("resourceGroups.list")
                .from(minute * 5)
                .lasting(minute * 2)
                .respond(500, "InternalServerError"),
        )
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    for (advance, status) in [(0, 200), (6, 500), (2, 200)] {
        clock.advance(minute * advance);
        let answer = client.get("/resourceGroups", RESOURCES).await;
        assert_eq!(answer.status, status, "{advance} minutes later");
    }
}

#[tokio::test]
async fn connections_break_where_they_are_told_to() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let url = format!(
        "{}/subscriptions/{}{}?api-version={RESOURCES}",
        client.base,
        client.subscription,
        group("rg")
    );
    let get = || {
        client
            .http
            .get(&url)
            .bearer_auth(client.token.as_ref().unwrap())
    };
    let whole = get().send().await.unwrap().text().await.unwrap();
    let wait = Duration::from_millis(300);
    for (rule, least) in [
        (on("resourceGroups.get").half_body(), Duration::ZERO),
        (on("resourceGroups.get").stall_body(wait), wait),
    ] {
        let fault = emulator.faults().add(rule.times(1));
        let started = Instant::now();
        let mut answer = get().send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.content_length(), Some(whole.len() as u64));
        let mut came = Vec::new();
        let error = loop {
            match answer.chunk().await {
                Ok(Some(chunk)) => came.extend_from_slice(&chunk),
                Ok(None) => panic!("the body is whole: {}", String::from_utf8_lossy(&came)),
                Err(error) => break error,
            }
        };
        assert!(error.is_body() || error.is_decode(), "{error:?}");
        assert_eq!(came, whole.as_bytes()[..whole.len() / 2]);
        assert!(started.elapsed() >= least, "{:?}", started.elapsed());
        assert_eq!(emulator.faults().hits(fault), 1);
    }
    // An answer without a body breaks as a whole, before and after the work.
    for (method, rule, is_there) in [
        (
            Method::HEAD,
            on("resourceGroups.checkExistence").half_body(),
            true,
        ),
        (
            Method::DELETE,
            on("resourceGroups.delete").reset_before(),
            true,
        ),
        (
            Method::DELETE,
            on("resourceGroups.delete").stall(wait),
            true,
        ),
        (
            Method::DELETE,
            on("resourceGroups.delete").reset_after(),
            false,
        ),
    ] {
        let fault = emulator.faults().add(rule.clone().times(1));
        let request = client.http.request(method, &url);
        let token = client.token.as_ref().unwrap();
        let error = request.bearer_auth(token).send().await.unwrap_err();
        assert!(error.is_request(), "{error:?}");
        assert_eq!(emulator.faults().hits(fault), 1);
        let status = get().send().await.unwrap().status();
        assert_eq!(status == 200, is_there, "{rule:?}");
    }
}

#[tokio::test]
async fn requests_are_late_or_throttled() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    let (least, most) = (Duration::from_millis(100), Duration::from_millis(200));
    let late = on("resourceGroups.list").delay_between(least, most).seed(7);
    let fault = emulator.faults().add(late.times(3));
    let mut took = Vec::new();
    for _ in 0..3 {
        let started = Instant::now();
        assert_eq!(client.get("/resourceGroups", RESOURCES).await.status, 200);
        assert!(started.elapsed() >= least);
        took.push(started.elapsed());
    }
    assert!(
        took[0].abs_diff(took[1]) > Duration::from_millis(1),
        "{took:?}"
    );
    assert_eq!(emulator.faults().hits(fault), 3);

    emulator.faults().clear();
    let limit = emulator
        .faults()
        .add(FaultRule::new(Plane::Arm).limit_requests(2));
    let mut refused = 0;
    for _ in 0..10 {
        let answer = client.get("/resourceGroups", RESOURCES).await;
        if answer.status == 429 {
            assert_eq!(answer.error().1, "SubscriptionRequestsThrottled");
            assert_eq!(answer.header("retry-after"), Some("1"));
            refused += 1;
        }
    }
    assert!((4..=8).contains(&refused), "{refused} of 10 refused");
    assert_eq!(emulator.faults().hits(limit), refused);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(client.get("/resourceGroups", RESOURCES).await.status, 200);
}

#[tokio::test]
async fn a_token_that_is_let_expire_stays_expired_and_a_new_one_is_good() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let mut client = Client::new(&emulator);
    let rule = on("resourceGroups.createOrUpdate").times(1).expire_token();
    emulator.faults().add(rule);
    assert_eq!(client.get("/resourceGroups", RESOURCES).await.status, 200);
    for _ in 0..2 {
        let body = json!({ "location": "westus2" });
        let refused = client.put(&group("rg"), RESOURCES, body).await;
        assert_eq!(refused.error(), (401, "ExpiredAuthenticationToken"));
        assert!(
            refused
                .header("www-authenticate")
                .unwrap()
                .contains("invalid_token")
        );
    }
    client.token = Some(emulator.access_token());
    client.make_group("rg").await;
}

#[tokio::test]
async fn lost_updates_are_answered_and_change_nothing() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_uploaded(&emulator, "rg", "os").await;
    client.make_image("rg", "one", "os").await;
    let content = std::fs::read(emulator.disk_file("rg", "os")).unwrap();
    client.make_network("rg", "vm").await;
    // Everything that it remembers, but for operations.
    let state = || -> Value {
        let bytes = std::fs::read(dir.path().join("state.json")).unwrap();
        let state: Value = serde_json::from_slice(&bytes).unwrap();
        json!([state["groups"], state["resources"]])
    };
    client.get("/resources", RESOURCES).await;
    let before = state();

    let lost = emulator
        .faults()
        .add(FaultRule::new(Plane::Arm).lose_update());
    // Put: a disk to upload to, a copy with content, an image, a network, a group.
    let made = client
        .put(&disk("rg", "new"), DISKS, upload(SMALLEST))
        .await;
    assert_eq!((made.status, &made.body["name"]), (202, &json!("new")));
    let output = client.succeed(made).await["properties"]["output"].clone();
    assert_eq!(output["properties"]["provisioningState"], "Succeeded");
    let copy = json!({ "location": "westus2", "properties": { "creationData": {
        "createOption": "Copy",
        "sourceResourceId": client.id("rg", "Microsoft.Compute/disks", "os"),
    }}});
    let made = client.put(&disk("rg", "copy"), DISKS, copy).await;
    client.succeed(made).await;
    client.make_image("rg", "two", "os").await;
    let network = resource("rg", "Microsoft.Network/virtualNetworks", "net");
    let body = json!({ "location": "westus2", "properties": {
        "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
    }});
    let made = client.put(&network, NETWORK, body).await;
    client.succeed(made).await;
    let machine = client.vm("rg", "vm", "one");
    let made = client.put(&vm("rg", "vm"), COMPUTE, machine).await;
    assert_eq!(made.status, 201, "{}", made.body);
    client.succeed(made).await;
    client.make_group("other").await;
    // Patch and delete.
    let tags = json!({ "tags": { "a": "b" } });
    let path = disk("rg", "os");
    let patched = client.call("PATCH", &path, DISKS, Some(tags)).await;
    assert_eq!(patched.body["tags"]["a"], "b");
    client.succeed(patched).await;
    for (path, version) in [
        (disk("rg", "os"), DISKS),
        (image("rg", "one"), COMPUTE),
        (group("rg"), RESOURCES),
    ] {
        let deleted = client.delete(&path, version).await;
        assert_eq!(deleted.status, 202, "{path}");
        client.follow(&deleted).await;
    }
    assert_eq!(emulator.faults().hits(lost), 10);

    // What cannot be is refused as ever.
    let bad = client.put(&disk("rg", "bad"), DISKS, upload(1)).await;
    assert_eq!(bad.error(), (400, "InvalidParameter"));

    emulator.faults().clear();
    assert_eq!(client.get(&vm("rg", "vm"), COMPUTE).await.status, 404);
    assert_eq!(state(), before);
    assert_eq!(client.get(&disk("rg", "new"), DISKS).await.status, 404);
    let groups = client.get("/resourceGroups", RESOURCES).await.body;
    assert_eq!(groups["value"].as_array().unwrap().len(), 1);
    assert_eq!(
        groups["value"][0]["properties"]["provisioningState"],
        "Succeeded"
    );
    for (kind, names) in [("disks", &["os.vhd"][..]), ("images", &["one.vhd"])] {
        let mut files: Vec<_> = std::fs::read_dir(dir.path().join(kind).join("rg"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        files.sort();
        assert_eq!(files, names);
    }
    assert_eq!(
        std::fs::read(emulator.disk_file("rg", "os")).unwrap(),
        content
    );
    // And the same requests again, which now are carried out.
    client.make_disk("rg", "new").await;
    client.make_image("rg", "two", "os").await;
    assert_eq!(
        std::fs::read(emulator.image_file("rg", "two")).unwrap(),
        content
    );
}

/// A storage account is there at once, and gone at once: nothing of it waits for an operation.
#[tokio::test]
async fn a_storage_account_is_neither_made_nor_deleted_when_that_is_lost() {
    const STORAGE: &str = "2023-01-01";
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    let path = |name| resource("rg", "Microsoft.Storage/storageAccounts", name);
    let put = async |name| {
        let body = json!({
            "location": "westus2",
            "sku": { "name": "Standard_LRS" },
            "kind": "StorageV2",
        });
        let made = client.put(&path(name), STORAGE, body).await;
        assert_eq!(made.status, 202, "{}", made.body);
        client.succeed(made).await;
    };
    put("kept").await;
    let listed = format!("{}/listKeys", path("kept"));
    let keys = client.post(&listed, STORAGE, None).await.body;
    emulator
        .faults()
        .add(on("storageAccounts.createOrUpdate").lose_update());
    emulator
        .faults()
        .add(on("storageAccounts.delete").lose_update());
    put("never").await;
    assert_eq!(client.delete(&path("kept"), STORAGE).await.status, 200);
    emulator.faults().clear();
    assert_eq!(client.get(&path("never"), STORAGE).await.status, 404);
    let still = client.post(&listed, STORAGE, None).await;
    assert_eq!((still.status, still.body), (200, keys));
    put("never").await;
    assert_eq!(client.delete(&path("kept"), STORAGE).await.status, 200);
    assert_eq!(client.get(&path("kept"), STORAGE).await.status, 404);
}

#[tokio::test]
async fn a_login_fails_in_the_words_of_the_login_service() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let rule = on("login.token").times(1);
    let rule = rule
        .respond(503, "temporarily_unavailable")
        .header("Retry-After", "1");
    emulator.faults().add(rule);
    let url = format!(
        "{}/{}/oauth2/v2.0/token",
        emulator.arm_url(),
        emulator.tenant_id()
    );
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default",
        emulator.client_id(),
        emulator.client_secret().replace('~', "%7E")
    );
    let http = common::http(&emulator);
    let ask = || http.post(&url).body(form.clone()).send();
    let refused = ask().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!(body["error"], "temporarily_unavailable");
    assert!(
        body["error_description"]
            .as_str()
            .unwrap()
            .starts_with("AADSTS90033: ")
    );
    assert_eq!(ask().await.unwrap().status(), 200);
}

#[test]
fn operations_are_named_in_a_stable_way() {
    // A name is an interface: rules in files use it.
    for name in [
        "disks.grantAccess",
        "images.createOrUpdate",
        "blob.putPage",
        "login.token",
    ] {
        assert_eq!(name.parse::<Operation>().unwrap().to_string(), name);
    }
}

/// From the first byte of the handshake to the middle of the answer; and then not any more.
#[tokio::test]
async fn a_connection_is_cut_after_any_number_of_bytes() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let faults = emulator.faults();
    let url = format!(
        "{}/subscriptions?api-version=2022-12-01",
        emulator.arm_url()
    );
    let asked = async || {
        // A client of its own has a connection of its own.
        let request = common::http(&emulator).get(&url);
        let answer = request.bearer_auth(emulator.access_token()).send().await?;
        answer.error_for_status()?.text().await
    };
    let mut after = 0;
    loop {
        let rule = FaultRule::new(Plane::Arm).times(1).cut_connection(after);
        let cut = faults.add(rule);
        let answered = asked().await;
        assert_eq!(faults.hits(cut), 1, "{after}");
        faults.clear();
        if answered.is_ok() {
            break;
        }
        after += 97;
    }
    // A handshake with a certificate, a request and a list.
    assert!(after > 1500, "{after}");

    // Every second connection; and no request, nor a connection to the other server.
    let every = faults.add(FaultRule::new(Plane::Arm).every(2).cut_connection(0));
    let other = faults.add(FaultRule::new(Plane::Blob).cut_connection(0));
    let named = FaultRule::new(Plane::Arm).method("GET").cut_connection(0);
    let named = faults.add(named);
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(asked().await.is_ok());
    }
    assert_eq!(answers, [true, false, true]);
    assert_eq!([every, other, named].map(|id| faults.hits(id)), [1, 0, 0]);
}
