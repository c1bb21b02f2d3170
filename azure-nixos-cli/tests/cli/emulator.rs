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

#[tokio::test]
async fn it_fails_by_the_rules_of_a_file() {
    let place = Place::new();
    for (text, part) in [
        (
            "[[rule]]\noperation = 'disks.grant'\nreset = 'after'\n",
            "grantAccess",
        ),
        (
            "[[rule]]\nplane = 'arm'\ndelay = 5\n",
            "rule 1: `delay` is a span such as",
        ),
        ("[[rule\n", "no TOML"),
    ] {
        place.write("rules.toml", text);
        let done = place.run(&["emulator", "--faults", "rules.toml"]);
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (Some(1), ""),
            "{done:#?}"
        );
        let stderr = &done.stderr;
        assert!(
            stderr.contains("rules.toml: ") && stderr.contains(part),
            "{stderr}"
        );
    }
    let done = place.run(&["emulator", "--faults", "nowhere.toml"]);
    assert!(
        done.stderr.contains("cannot read nowhere.toml"),
        "{done:#?}"
    );

    let rules = "[[rule]]\noperation = 'login.endpoints'\ntimes = 1\n\
                 respond = { status = 503, code = 'ServerBusy' }\n";
    place.write("rules.toml", rules);
    let (running, said) = serve(&place, &["--faults", "rules.toml"]);
    let http = client_of(Path::new(said["ca"].as_str().unwrap()));
    let url = format!("{}/metadata/endpoints", said["arm"].as_str().unwrap());
    for status in [503, 200] {
        assert_eq!(http.get(&url).send().await.unwrap().status(), status);
    }
    let control = format!("{}/local/faults", said["arm"].as_str().unwrap());
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    let asked = http
        .get(control)
        .basic_auth(text("client_id"), Some(text("client_secret")));
    let shown: Value =
        serde_json::from_str(&asked.send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(shown["rules"][0]["matched"], 2);
    assert_eq!(shown["rules"][0]["hits"], 1);
    drop(running);
}

#[tokio::test]
async fn a_provider_can_begin_unregistered() {
    let place = Place::new();
    let done = place.run(&["emulator", "--unregistered", "Microsoft.Fruit"]);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert!(done.stderr.contains("Microsoft.Fruit") && done.stderr.contains("Microsoft.Compute"));
    let (running, said) = serve(&place, &["--unregistered", "microsoft.compute"]);
    assert!(said["arm"].is_string());
    drop(running);
    assert_eq!(
        place.state()["providers"]["microsoft.compute"],
        "NotRegistered"
    );
}

/// What one start has of its own.
fn same_every_time(text: &str, said: &Value, place: &Place) -> String {
    let mut text = text.replace(place.root().to_str().unwrap(), "[PLACE]");
    for name in [
        "arm",
        "client_secret",
        "client_id",
        "tenant",
        "subscription",
    ] {
        let value = said[name].as_str().unwrap();
        text = text.replace(value, &format!("[{}]", name.to_uppercase()));
    }
    text
}

#[test]
fn the_environment_of_one_that_runs() {
    let place = Place::new();
    let none = place.run(&["emulator", "env"]);
    assert_eq!(
        (none.code(), none.stdout.as_str()),
        (Some(1), ""),
        "{none:#?}"
    );
    assert!(
        none.stderr.contains("no local Azure runs in"),
        "{}",
        none.stderr
    );
    assert!(none.stderr.contains(place.path("azure").to_str().unwrap()));

    let state = place.path("it's my azure");
    let state = state.to_str().unwrap();
    let (running, said) = serve(&place, &["--state-dir", state]);
    let env = |more: &[&str]| {
        let mut arguments = vec!["emulator", "env", "--state-dir", state];
        arguments.extend(more);
        same_every_time(&place.good(&arguments).stdout, &said, &place)
    };
    insta::assert_snapshot!("env_bash", env(&[]));
    insta::assert_snapshot!("env_bash_setup", env(&["--setup"]));
    insta::assert_snapshot!("env_fish", env(&["--shell", "fish"]));
    insta::assert_snapshot!("env_json", env(&["--shell", "json"]));
    assert_eq!(env(&["-o", "json"]), env(&["--shell", "json"]));
    for wrong in [
        &["--shell", "bash", "-o", "json"][..],
        &["--setup", "-o", "json"],
    ] {
        let mut arguments = vec!["emulator", "env", "--state-dir", state];
        arguments.extend(wrong);
        assert_eq!(place.run(&arguments).code(), Some(2), "{wrong:?}");
    }
    running.signal(Signal::TERM);
    assert_eq!(running.finish().code(), Some(0));
    assert_eq!(
        place.run(&["emulator", "env", "--state-dir", state]).code(),
        Some(1)
    );
}

/// In a shell that took the environment over, the program itself finds the local Azure as it would
/// find Azure, by Azure's own host names and whatever is in the names of directories.
#[test]
fn a_shell_takes_the_environment_over() {
    let place = Place::new();
    let state = place.path("it's $HOME \\ \"quoted\"");
    let state = state.to_str().unwrap();
    let names = ["--proxy-port", "0", "--blob-host", "blob.storage.azure.net"];
    let (running, said) = serve(&place, &[&["--state-dir", state][..], &names].concat());
    let proxy = said["proxy"].as_str().unwrap();
    assert!(proxy.starts_with("http://127.0.0.1:"), "{proxy}");
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    let script = r#"
        eval "$("$1" emulator env --state-dir "$2")" || exit 1
        printf '%s\n' "$AZURE_CONFIG_DIR" "$SSL_CERT_FILE" "$NO_PROXY" "$HTTPS_PROXY"
        "$1" upload-vhd disk.raw -g g -n disk
    "#;
    let mut command = place.command(&[]);
    let program = command.get_program().to_owned();
    let environment: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command = std::process::Command::new("bash");
    command
        .args(["-c", script, "bash"])
        .arg(program)
        .arg(state)
        .env_clear()
        .envs(environment)
        .env("NO_PROXY", "example.com")
        .current_dir(place.root());
    let done = Running::start(command).finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let lines: Vec<_> = done.stdout.lines().collect();
    assert_eq!(lines[0], format!("{state}/az"));
    assert_eq!(lines[1], said["ca"].as_str().unwrap());
    assert_eq!(lines[2], "localhost,127.0.0.1,example.com");
    assert_eq!(lines[3], proxy);
    assert!(lines[4].ends_with("/disks/disk"), "{lines:?}");
    let uploaded = std::fs::read(Path::new(state).join("disks/g/disk.vhd")).unwrap();
    let content = std::fs::read(place.path("disk.raw")).unwrap();
    assert!(uploaded[..content.len()] == content[..]);
    drop(running);
}
