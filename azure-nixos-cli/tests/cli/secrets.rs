//! No access signature, token, client secret or private key is in anything that is printed.

use azure_nixos_emulator::fault::{FaultRule, Plane};

use crate::azure::{Azure, write_access, writes};
use crate::disks::{self, Table};
use crate::place::{Done, Place};

/// What must not be printed by any of these commands.
struct Secrets(Vec<(&'static str, String)>);

impl Secrets {
    fn assert_kept(&self, done: &Done) {
        let text = format!("{}\n{}", done.stdout, done.stderr);
        // There is something to look through: the most is said.
        assert!(text.contains("TRACE") && text.len() > 2000, "{text}");
        for (what, secret) in &self.0 {
            assert!(secret.len() > 10 || what.contains("word"), "{what}");
            if let Some(at) = text.find(secret.as_str()) {
                panic!("{what} is printed: {}", around(&text, at));
            }
        }
        // Signatures that only the program has seen: whatever follows is cut out.
        for (at, _) in text.match_indices("sig=") {
            let after = &text[at + 4..];
            assert!(
                after.starts_with("REDACTED") || after.starts_with('…') || after.starts_with("***"),
                "a signature: {}",
                around(&text, at)
            );
        }
        if let Some(at) = token(&text) {
            panic!("a token: {}", around(&text, at));
        }
        if let Some(at) = text.find("sig%3D") {
            panic!("a signature: {}", around(&text, at));
        }
    }
}

/// Where a token begins: three parts in base64 with periods between them, the first being JSON.
fn token(text: &str) -> Option<usize> {
    text.match_indices("eyJ").map(|(at, _)| at).find(|&at| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let end = text[at..].find(|c| !is_part(c));
        let parts: Vec<_> = text[at..][..end.unwrap_or(text.len() - at)]
            .split('.')
            .collect();
        parts.len() >= 2 && parts[1].len() > 10
    })
}

fn around(text: &str, at: usize) -> String {
    let start = text.floor_char_boundary(at.saturating_sub(120));
    let end = text.ceil_char_boundary((at + 80).min(text.len()));
    text[start..end].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_road_at_its_loudest() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    let azure = Azure::start(&place).await;
    let identity = place.state()["identity"].clone();
    let mut secrets = Secrets(vec![
        ("the client secret", azure.emulator.client_secret()),
        (
            "a part of the client secret",
            azure.emulator.client_secret()[8..24].to_owned(),
        ),
        (
            "the signing key",
            identity["signing_key"].as_str().unwrap().to_owned(),
        ),
        ("the word before a token", "Bearer ey".to_owned()),
        ("the first word of a private key", "PRIVATE KEY".to_owned()),
    ]);
    assert_eq!(
        token(&format!("a {}", azure.emulator.access_token())),
        Some(2)
    );
    let run = |arguments: &[&str]| {
        let mut all = vec!["-vvv"];
        all.extend(arguments);
        azure.run(&place, &all)
    };
    let upload = [
        "upload-image",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];

    // A run that fails half way, one whose requests break, one that works.
    let denied = FaultRule::new(Plane::Arm)
        .method("PUT")
        .path_contains("/images/");
    azure
        .emulator
        .faults()
        .add(denied.respond(403, "AuthorizationFailed"));
    let broken = FaultRule::new(Plane::Blob).every(3).times(4);
    azure.emulator.faults().add(broken.reset_before());
    let expired = FaultRule::new(Plane::Blob).method("PUT").after(3).times(1);
    azure.emulator.faults().add(expired.expire_access());
    let done = run(&upload);
    assert_eq!(done.code(), Some(1), "{}", done.stderr);
    secrets.assert_kept(&done);
    azure.emulator.faults().clear();
    let refused = writes();
    azure
        .emulator
        .faults()
        .add(refused.respond(400, "InvalidHeaderValue"));
    let done = run(&upload);
    assert_eq!(done.code(), Some(1), "{}", done.stderr);
    secrets.assert_kept(&done);
    azure.emulator.faults().clear();
    let done = run(&upload);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    secrets.assert_kept(&done);

    let done = run(&["upload-vhd", "disk.raw", "-g", "g", "-n", "data"]);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    secrets.assert_kept(&done);

    let done = run(&[
        "-o", "json", "boot-vm", "-g", "vms", "-i", "web", "-n", "web-1",
    ]);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    let key = std::fs::read_to_string(place.path("home/.ssh/azure-nixos/web-1")).unwrap();
    let body: Vec<_> = key.lines().filter(|line| !line.starts_with('-')).collect();
    // The first lines hold the public half too; the last ones only the private one.
    secrets
        .0
        .push(("the private key", body[body.len() - 2].to_owned()));
    secrets.assert_kept(&done);
    let done = run(&[
        "boot-vm",
        "-g",
        "more",
        "-i",
        "web",
        "-n",
        "web-2",
        "-s",
        "Standard_X9",
    ]);
    assert_eq!(done.code(), Some(1), "{}", done.stderr);
    secrets.assert_kept(&done);

    // An access URL that this test has, given as an option and in the environment.
    for way in ["option", "environment", "refused"] {
        let sas = write_access(&azure, way, 24 << 20).await;
        let (_, signature) = sas.split_once("sig=").unwrap();
        let decoded = signature
            .replace("%2B", "+")
            .replace("%2F", "/")
            .replace("%3D", "=");
        let mut secrets = Secrets(secrets.0.clone());
        secrets.0.push(("the signature", signature.to_owned()));
        secrets.0.push((
            "the decoded signature",
            decoded.trim_end_matches('=').to_owned(),
        ));
        let given = match way {
            "refused" => sas.replace("sv=2018", "sv=2017"),
            _ => sas,
        };
        let mut arguments = vec!["-vvv", "upload-vhd", "disk.raw"];
        if way != "environment" {
            arguments.extend(["--sas", &given]);
        }
        let mut command = azure.command(&place, &arguments);
        if way == "environment" {
            command.env("AZURE_NIXOS_SAS", &given);
        }
        let done = crate::place::Running::start(command).finish();
        let status = if way == "refused" { 1 } else { 0 };
        assert_eq!(done.code(), Some(status), "{way}: {}", done.stderr);
        secrets.assert_kept(&done);
        if status == 0 {
            let target = done.stdout.trim();
            assert!(
                target.starts_with("http://127.0.0.1:") && !target.contains('?'),
                "{target}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_access_to_a_serial_log_at_its_loudest() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    let azure = Azure::start(&place).await;
    let upload = [
        "upload-image",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    assert_eq!(azure.run(&place, &upload).code(), Some(0));
    let boot = ["boot-vm", "-g", "g", "-i", "web", "-n", "web-1"];
    assert_eq!(azure.run(&place, &boot).code(), Some(0));
    let machine = "/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web-1";
    let secrets = Secrets(vec![
        ("the client secret", azure.emulator.client_secret()),
        ("the word before a token", "Bearer ey".to_owned()),
    ]);
    let log = ["-vvv", "serial-log", "--enable", "-g", "g", "-n", "web-1"];
    let done = azure.run(&place, &log);
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    secrets.assert_kept(&done);

    // An access of the same kind: its signature is another one, its beginning the same for all.
    let path = format!("{machine}/retrieveBootDiagnosticsData?api-version=2024-07-01");
    let granted = azure.arm("POST", &path, None).await;
    let url = granted["serialConsoleLogBlobUri"].as_str().unwrap();
    assert!(url.contains("sig="), "{url}");
    let directory = place
        .path("azure/machines")
        .join(url.split('/').nth(3).unwrap());
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("serialconsole.log"), "it boots\n").unwrap();
    for rule in [
        FaultRule::new(Plane::Blob).times(3).reset_before(),
        FaultRule::new(Plane::Blob).respond(403, "AuthorizationFailure"),
        FaultRule::new(Plane::Blob).respond(400, "InvalidHeaderValue"),
        FaultRule::new(Plane::Blob).times(1).half_body(),
    ] {
        azure.emulator.faults().add(rule);
        let done = azure.run(&place, &log);
        secrets.assert_kept(&done);
        azure.emulator.faults().clear();
    }
    let done = azure.run(
        &place,
        &["-vvv", "delete-vm", "--yes", "-g", "g", "-n", "web-1"],
    );
    assert_eq!(done.code(), Some(0), "{}", done.stderr);
    secrets.assert_kept(&done);
}
