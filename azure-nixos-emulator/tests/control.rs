//! The control interface, as a test in another language uses it.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

mod common;

use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_emulator::{Emulator, Running};
use common::{Client, DISKS, RESOURCES, SMALLEST, builder, disk, group, upload};
use serde_json::{Value, json};
use tempfile::tempdir;

struct Control<'a> {
    emulator: &'a Emulator,
    http: reqwest::Client,
}

impl<'a> Control<'a> {
    fn new(emulator: &'a Emulator) -> Self {
        let http = common::http(emulator);
        Self { emulator, http }
    }

    async fn ask(&self, method: &str, what: &str, kind: &str, body: &str) -> (u16, String) {
        let url = format!("{}/local/{what}", self.emulator.arm_url());
        let (id, secret) = (self.emulator.client_id(), self.emulator.client_secret());
        let mut request = self
            .http
            .request(method.parse().unwrap(), url)
            .basic_auth(id, Some(secret))
            .body(body.to_owned());
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn json(&self, method: &str, what: &str, kind: &str, body: &str) -> Value {
        let (status, text) = self.ask(method, what, kind, body).await;
        assert_eq!(status, 200, "{method} {what}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

#[tokio::test]
async fn faults_are_set_counted_and_taken_away() {
    let dir = tempdir().unwrap();
    let started_with = FaultRule::new(Plane::Arm).method("PATCH").reset_before();
    let emulator = builder(dir.path())
        .fault(started_with)
        .start()
        .await
        .unwrap();
    let (control, client) = (Control::new(&emulator), Client::new(&emulator));
    let rule = json!({ "plane": "arm", "method": "PATCH", "reset": "before" });
    assert_eq!(
        control.json("GET", "faults", "", "").await,
        json!({ "rules": [{ "id": 0, "matched": 0, "hits": 0, "bytes": 0, "rule": rule }] })
    );

    let text = "[[rule]]\noperation = 'resourceGroups.createOrUpdate'\ntimes = 1\n\
                respond = { status = 429, code = 'TooManyRequests' }\n\
                # It acts on everything, but not on what sets it.\n\
                [[rule]]\nplane = 'arm'\npath = '/local/'\nreset = 'before'\n";
    for (kind, id) in [
        ("application/toml", 1),
        ("", 3),
        ("application/x-www-form-urlencoded", 5),
    ] {
        let set = control.json("PUT", "faults", kind, text).await;
        assert_eq!(set["rules"].as_array().unwrap().len(), 2);
        assert_eq!(set["rules"][0]["id"], id);
    }
    let body = json!({ "location": "westus2" });
    let refused = client.put(&group("rg"), RESOURCES, body).await;
    assert_eq!(refused.error(), (429, "TooManyRequests"));
    client.make_group("rg").await;
    let now = control.json("GET", "faults", "", "").await;
    let counts = |n: usize| [&now["rules"][n]["matched"], &now["rules"][n]["hits"]];
    assert_eq!(
        (counts(0), counts(1)),
        ([&json!(2), &json!(1)], [&json!(0), &json!(0)])
    );

    let document =
        json!({ "rule": [{ "operation": "disks.createOrUpdate", "lose-update": true }] });
    for kind in ["application/json; charset=utf-8", ""] {
        let set = control
            .json("PUT", "faults", kind, &document.to_string())
            .await;
        assert_eq!(set["rules"][0]["rule"], document["rule"][0]);
    }
    client.make_disk("rg", "d").await;
    assert_eq!(client.get(&disk("rg", "d"), DISKS).await.status, 404);

    // What is wrong changes nothing.
    for (kind, body, status, part) in [
        (
            "",
            "[[rule]]\nplane = 'arm'\nreset = 'later'\n",
            400,
            "rule 1: `reset` is",
        ),
        ("application/json", "{", 400, "no JSON"),
        (
            "application/xml",
            "<rule/>",
            415,
            "application/toml, not application/xml",
        ),
    ] {
        let (found, text) = control.ask("PUT", "faults", kind, body).await;
        assert_eq!(found, status, "{text}");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert!(
            error["error"]["message"].as_str().unwrap().contains(part),
            "{text}"
        );
        let now = control.json("GET", "faults", "", "").await;
        assert_eq!(now["rules"][0]["hits"], 1);
    }
    assert_eq!(
        control.json("DELETE", "faults", "", "").await,
        json!({ "rules": [] })
    );
    client.make_disk("rg", "d").await;
    assert_eq!(client.get(&disk("rg", "d"), DISKS).await.status, 200);
}

#[tokio::test]
async fn the_clock_goes_forward_on_demand() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let (control, client) = (Control::new(&emulator), Client::new(&emulator));
    let now = control.json("GET", "clock", "", "").await;
    assert_eq!(now["ahead"], "0s");
    assert_eq!(client.get("/resourceGroups", RESOURCES).await.status, 200);
    let later = control
        .json("POST", "clock", "", r#"{"advance":"7m"}"#)
        .await;
    assert_eq!(later["ahead"], "7m");
    assert!(later["now"].as_str() > now["now"].as_str(), "{now} {later}");
    let later = control
        .json("POST", "clock", "", r#"{"advance":"1h"}"#)
        .await;
    assert_eq!(later["ahead"], "67m");
    let refused = client.get("/resourceGroups", RESOURCES).await;
    assert_eq!(refused.error(), (401, "ExpiredAuthenticationToken"));
    for bad in [
        "",
        "7m",
        r#"{"advance":7}"#,
        r#"{"advance":"-1s"}"#,
        r#"{"advance":"36501d"}"#,
    ] {
        let (status, text) = control.ask("POST", "clock", "", bad).await;
        assert_eq!(status, 400, "{bad}: {text}");
    }
    assert_eq!(control.json("GET", "clock", "", "").await["ahead"], "67m");
}

#[tokio::test]
async fn the_log_names_what_was_asked_for() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let (control, client) = (Control::new(&emulator), Client::new(&emulator));
    assert_eq!(
        control.ask("GET", "requests", "", "").await,
        (200, String::new())
    );
    client.make_group("rg").await;
    let body = upload(SMALLEST);
    client.put(&disk("rg", "d"), DISKS, body.clone()).await;
    let (_, text) = control.ask("GET", "requests", "", "").await;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    let path = format!(
        "/subscriptions/{}{}?api-version={DISKS}",
        client.subscription,
        disk("rg", "d")
    );
    let (mut line, answer) = (lines[1].clone(), &lines[1]["responseBody"]);
    assert_eq!(answer["name"], "d");
    let headers = &lines[1]["responseHeaders"];
    assert!(headers["azure-asyncoperation"].is_string(), "{headers}");
    for part in ["responseHeaders", "responseBody"] {
        line.as_object_mut().unwrap().remove(part);
    }
    assert_eq!(
        line,
        json!({
            "method": "PUT",
            "operation": "disks.createOrUpdate",
            "path": path,
            "apiVersion": DISKS,
            "status": 202,
            "body": body,
        })
    );
}

#[tokio::test]
async fn only_who_knows_the_secret_is_answered() {
    let dir = tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let control = Control::new(&emulator);
    let http = common::http(&emulator);
    for path in ["faults", "clock", "requests", "nothing"] {
        let url = format!("{}/local/{path}", emulator.arm_url());
        for request in [
            http.get(&url),
            http.get(&url).bearer_auth(emulator.access_token()),
            http.get(&url)
                .basic_auth(emulator.client_id(), Some("wrong")),
            http.get(&url).header("authorization", "Basic !"),
        ] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 401, "{path}");
            let wanted = answer.headers()["www-authenticate"].to_str().unwrap();
            assert!(wanted.starts_with("Basic "), "{wanted}");
        }
    }
    assert_eq!(control.ask("GET", "nothing", "", "").await.0, 404);
    assert_eq!(control.ask("POST", "requests", "", "").await.0, 405);
    assert!(emulator.requests().is_empty());
}

#[tokio::test]
async fn one_that_runs_is_found_by_its_directory() {
    let dir = tempdir().unwrap();
    let find = || Running::find(dir.path()).unwrap();
    assert_eq!(find(), None);
    assert_eq!(Running::find(&dir.path().join("nowhere")).unwrap(), None);
    let emulator = builder(dir.path()).start().await.unwrap();
    let found = find().unwrap();
    assert_eq!(found.process, std::process::id());
    assert_eq!(
        [&found.arm_url, &found.blob_url],
        [emulator.arm_url(), emulator.blob_url()]
    );
    assert_eq!(
        (found.ca_path.as_path(), found.state_dir.as_path()),
        (emulator.ca_path(), emulator.state_dir())
    );
    assert_eq!(
        [
            &found.subscription_id,
            &found.tenant_id,
            &found.client_id,
            &found.client_secret
        ],
        [
            &emulator.subscription_id(),
            &emulator.tenant_id(),
            &emulator.client_id(),
            &emulator.client_secret()
        ]
    );
    assert!(!format!("{found:?}").contains(&found.client_secret));
    emulator.stop().await;
    assert_eq!(find(), None);
    let file = dir.path().join("running.json");
    assert!(!file.exists());
    // What a killed one leaves means nothing.
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(find(), None);
    let emulator = builder(dir.path()).start().await.unwrap();
    assert_eq!(find().unwrap().arm_url, emulator.arm_url());
}
