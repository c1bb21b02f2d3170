//! Every example runs to its end and says what it should.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Runs an example and returns what it printed.
fn run(program: &str) -> String {
    let output = Command::new(program).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    assert_eq!(errors, "", "{program}");
    String::from_utf8(output.stdout).unwrap()
}

fn has_line(text: &str, end: &str) {
    assert!(
        text.lines().any(|line| line.ends_with(end)),
        "no {end:?} in: {text}"
    );
}

#[test]
fn upload_image() {
    let text = run(env!("CARGO_BIN_EXE_upload_image"));
    has_line(
        &text,
        "/resourceGroups/images-rg/providers/Microsoft.Compute/images/nixos-web",
    );
    has_line(&text, "generation V1, in westus2");
}

#[test]
fn boot_vm() {
    let text = run(env!("CARGO_BIN_EXE_boot_vm"));
    has_line(
        &text,
        "/resourceGroups/vms-rg/providers/Microsoft.Compute/virtualMachines/web-1",
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("ssh ") && line.contains("nixos@")),
        "{text}"
    );
}

/// Whether programs can be had. One that cannot fails the test, unless `AZURE_NIXOS_MISSING_TOOLS` names
/// it: `tests/run` installs them, or says which are missing.
fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let places: Vec<PathBuf> = std::env::split_paths(&path).chain(sbin).collect();
    let missing = std::env::var("AZURE_NIXOS_MISSING_TOOLS").unwrap_or_default();
    programs.iter().all(|program| {
        let there = places.iter().any(|place| place.join(program).is_file());
        let excused = missing.split_whitespace().any(|one| one == *program);
        assert!(
            there || excused,
            "{program} is not installed: `tests/run` installs it, or skips this test"
        );
        if !there {
            eprintln!("SKIPPED for want of {program}: this test shows nothing");
        }
        there
    })
}

#[test]
fn deploy_with_nix() {
    if !have(&["sshd", "ssh-keygen", "nix-build"]) {
        return;
    }
    let text = run(env!("CARGO_BIN_EXE_deploy_with_nix"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    // The server's side of the connection is loopback: the way there leads through the machine's address.
    assert!(lines[0].starts_with("logged in: 127.0.0.1 "), "{text}");
    assert_eq!(
        lines[1..],
        [
            "switch to hello",
            "switch to hello again",
            "the machine says: hello again",
        ]
    );
}

#[test]
fn custom_source() {
    let text = run(env!("CARGO_BIN_EXE_custom_source"));
    has_line(
        &text,
        "/resourceGroups/images-rg/providers/Microsoft.Compute/disks/data",
    );
    has_line(&text, "the disk has the content of the files: true");
}

#[test]
fn inspect() {
    let text = run(env!("CARGO_BIN_EXE_inspect"));
    has_line(&text, "boots as generation V1");
    has_line(&text, "16 MiB of data, 240 MiB of holes");
}

#[test]
fn follow_progress_to_the_end() {
    let text = run(env!("CARGO_BIN_EXE_follow_progress"));
    assert!(text.contains("uploading: "), "{text}");
    has_line(
        &text,
        "/resourceGroups/images-rg/providers/Microsoft.Compute/images/nixos-web",
    );
}

#[test]
fn follow_progress_until_it_is_interrupted() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_follow_progress"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("uploading: ") {
        line.clear();
        assert_ne!(
            output.read_line(&mut line).unwrap(),
            0,
            "it ended before it uploaded"
        );
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
    has_line(&rest, "cancelled, and a disk is left behind: false");
}
