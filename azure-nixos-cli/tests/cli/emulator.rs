//! `emulator`.

use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::azure::client_of;
use crate::disks::{self, Table};
use crate::place::{Place, Running};

fn serve(place: &Place, more: &[&str]) -> (Running, Value) {
    let mut arguments = vec!["emulator", "-o", "json"];
    arguments.extend(more);
    let mut running = place.start(&arguments);
    let said = serde_json::from_str(&running.first_line()).unwrap();
    (running, said)
}

async fn ask(said: &Value) -> Value {
    let http = client_of(Path::new(said["ca"].as_str().unwrap()));
    let url = format!(
        "{}/metadata/endpoints?api-version=2023-01-01",
        said["arm"].as_str().unwrap()
    );
    let answer = http.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

#[tokio::test]
async fn it_says_where_it_listens_and_keeps_its_state() {
    let place = Place::new();
    let mut before = Value::Null;
    for signal in [Signal::TERM, Signal::INT] {
        let (running, said) = serve(&place, &[]);
        let mut keys: Vec<_> = said.as_object().unwrap().keys().collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "arm",
                "blob",
                "ca",
                "client_id",
                "client_secret",
                "subscription",
                "tenant"
            ]
        );
        assert!(
            said["arm"]
                .as_str()
                .unwrap()
                .starts_with("https://localhost:")
        );
        assert!(
            said["blob"]
                .as_str()
                .unwrap()
                .starts_with("http://127.0.0.1:")
        );
        let login = ask(&said).await["authentication"]["loginEndpoint"].clone();
        assert!(
            login
                .as_str()
                .unwrap()
                .starts_with(said["arm"].as_str().unwrap()),
            "{login}"
        );
        if before.is_object() {
            for same in ["ca", "subscription", "tenant", "client_id", "client_secret"] {
                assert_eq!(said[same], before[same], "{same}");
            }
        }
        before = said;
        running.signal(signal);
        let done = running.finish();
        assert_eq!(done.code(), Some(0), "{done:#?}");
        assert_eq!(done.stdout.lines().count(), 1);
        assert!(done.stderr.contains("until Ctrl-C"), "{}", done.stderr);
    }
}

#[test]
fn in_text_it_says_the_same() {
    let place = Place::new();
    let state = place.path("else where");
    let mut running = place.start(&["emulator", "--state-dir", state.to_str().unwrap()]);
    running.until_it_says("until Ctrl-C");
    running.signal(Signal::TERM);
    let done = running.finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    for word in [
        "https://localhost:",
        "http://127.0.0.1:",
        "subscription",
        "tenant",
        "secret",
    ] {
        assert!(done.stdout.contains(word), "{word} in {}", done.stdout);
    }
    assert!(
        done.stdout.contains(state.to_str().unwrap()),
        "the certificate"
    );
    assert!(state.join("state.json").exists() && !place.path("azure").exists());
}

#[test]
fn a_second_one_says_who_holds_the_directory() {
    let place = Place::new();
    let (first, _) = serve(&place, &[]);
    let done = place.run(&["emulator"]);
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(1), ""),
        "{done:#?}"
    );
    let holder = format!("is in use by process {}", first.id());
    assert!(done.stderr.contains(&holder), "{}", done.stderr);
    assert!(done.stderr.contains(place.path("azure").to_str().unwrap()));

    // A command waits for its turn, and says for whom.
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    let mut waiting = place.start(&["upload-vhd", "--local", "disk.raw", "-g", "g", "-n", "disk"]);
    waiting.until_it_says(&format!("waiting for process {}", first.id()));
    first.signal(Signal::TERM);
    assert_eq!(first.finish().code(), Some(0));
    let done = waiting.finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert!(done.stdout.trim().ends_with("/disks/disk"));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let place = Place::new();
    for (option, whose) in [
        ("--port", "Resource Manager"),
        ("--blob-port", "page blobs"),
    ] {
        let done = place.run(&["emulator", option, &port]);
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (Some(1), ""),
            "{done:#?}"
        );
        assert!(
            done.stderr
                .contains(&format!("127.0.0.1:{port} for {whose}")),
            "{}",
            done.stderr
        );
        assert!(done.stderr.contains("another program listens there"));
    }
}
