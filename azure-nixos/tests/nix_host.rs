//! What the library says about the Nix of a machine: the real one in a store of its own, and programs
//! that stand in for others.
//!
//! Without Nix the tests that need it say so on standard error and pass.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this file is a test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use azure_nixos::ErrorKind;
use azure_nixos::check::{Checkup, Outcome, Topic};
use azure_nixos::nix::{Nix, NixFlavour, NixHost, StoreAccess};
use tempfile::TempDir;

use nix_store::Relocated;

mod nix_store;

/// The real Nix in a directory, set up by this nix.conf. It builds in a directory beside the others.
fn real(directory: &Path, settings: &str) -> Option<(Relocated, Nix)> {
    if !nix_store::have_nix() {
        return None;
    }
    let relocated = Relocated::new(directory, settings);
    let builds = directory.join("tmp");
    fs::create_dir_all(&builds).unwrap();
    let nix = relocated.nix().env("TMPDIR", builds);
    Some((relocated, nix))
}

/// A directory with a program `nix` in it: a shell script.
fn fake(script: &str) -> (TempDir, Nix) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("nix");
    fs::write(&program, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let nix = Nix::new().programs(directory.path());
    (directory, nix)
}

/// A Nix that answers to these words as its `version` does.
fn answering(version: &str, config: &str, store: &str) -> (TempDir, Nix) {
    let settings = r#"{"system":{"value":"x86_64-linux"},"system-features":{"value":["kvm"],"defaultValue":["kvm"]},"build-users-group":{"value":""},"experimental-features":{"value":["nix-command","flakes"]}}"#;
    fake(&format!(
        r#"case "$*" in
  --version) echo "{version}" ;;
  *" {config} --json "*) echo '{settings}' ;;
  *" {store} "*) echo '@nix {{"action":"msg","level":2,"msg":"Store URL: daemon"}}' >&2 ;;
  *) echo "@nix {{\"action\":\"msg\",\"level\":0,\"msg\":\"error: '$3' is not a recognised command\",\"raw_msg\":\"'$3' is not a recognised command\"}}" >&2; exit 1 ;;
esac
"#
    ))
}

#[tokio::test]
async fn the_real_nix_in_a_store_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let machines = at("machines");
    fs::write(
        &machines,
        "ssh-ng://b@arm aarch64-linux - 4 1 kvm,big-parallel\n",
    )
    .unwrap();
    let settings = format!(
        "build-users-group =\nmax-silent-time = 60\nextra-platforms = riscv64-linux\nmax-jobs = 3\nsystem-features = big-parallel own-feature\nbuilders = @{}\nsandbox = false\n",
        machines.display()
    );
    let Some((_relocated, nix)) = real(directory.path(), &settings) else {
        return;
    };
    let host = nix.host().await.unwrap();
    assert!(host.version.is_supported());
    assert_eq!(host.system, format!("{}-linux", std::env::consts::ARCH));
    assert!(!host.flakes_enabled());
    assert!(host.extra_platforms.contains(&"riscv64-linux".to_owned()));
    assert!(host.builds_for(&host.system) && host.builds_for("riscv64-linux"));
    assert_eq!(host.system_features, ["big-parallel", "own-feature"]);
    assert!(host.system_features_set && !host.offers("kvm") && host.offers("own-feature"));
    let builder = host.builder_for("aarch64-linux", &["kvm"]).unwrap();
    assert_eq!(builder.host, "ssh-ng://b@arm");
    assert_eq!(host.max_jobs, Some(3));
    assert_eq!(host.max_silent_time.unwrap().as_secs(), 60);
    assert_eq!(host.build_users_group, None);
    assert!(
        matches!(&host.store, StoreAccess::Open { url } if url == "local"),
        "{host:?}"
    );
    assert!(!host.has_daemon());
    assert_eq!(host.store_dir, at("store"));
    assert_eq!(host.store_space.unwrap().path, at("store"));
    // From 2.30 on builds run below the state.
    assert!(
        [at("tmp"), at("var/nix/builds")].contains(&host.build_dir),
        "{:?}",
        host.build_dir
    );
    assert!(host.build_space.is_some());

    // A user who has enabled flakes.
    let settings = "experimental-features = nix-command flakes\nbuild-users-group =\n";
    let (_relocated, nix) = real(directory.path(), settings).unwrap();
    let host = nix.host().await.unwrap();
    assert!(host.flakes_enabled(), "{:?}", host.features);
    assert_eq!(host.max_silent_time, None);
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_a_fact() {
    let directory = tempfile::tempdir().unwrap();
    let Some((_relocated, nix)) = real(directory.path(), "build-users-group =\n") else {
        return;
    };
    let nix = nix
        .env("NIX_REMOTE", "daemon")
        .env("NIX_DAEMON_SOCKET_PATH", directory.path().join("socket"));
    let host = nix.host().await.unwrap();
    let StoreAccess::Unreachable { reason } = &host.store else {
        panic!("{host:?}");
    };
    assert!(
        reason.contains("socket") && !reason.contains('\n'),
        "{reason}"
    );
    let report = Checkup::new().without_azure().nix(nix).await.unwrap();
    let item = report.item(Topic::NixStore).unwrap();
    assert_eq!(item.outcome, Outcome::Failed);
    assert!(report.would_stop());
    // It keeps nothing else from being looked at.
    assert_eq!(report.item(Topic::System).unwrap().outcome, Outcome::Passed);
}

#[tokio::test]
async fn both_names_of_the_commands_are_known() {
    for (version, config, store) in [
        ("nix (Nix) 2.18.1", "show-config", "store ping"),
        ("nix (Nix) 2.24.10", "config show", "store ping"),
        // An old one that was renamed early, and new ones that forgot the old names or never had the new.
        ("nix (Nix) 2.19.9", "config show", "store info"),
        ("nix (Nix) 2.34.0", "config show", "store info"),
        ("nix (Lix, like Nix) 2.91.1", "show-config", "store ping"),
    ] {
        let (_directory, nix) = answering(version, config, store);
        let host: NixHost = nix.host().await.unwrap();
        assert_eq!(host.version.text, version);
        assert!(host.flakes_enabled() && host.has_daemon(), "{host:?}");
        // Where there is a daemon it is the one to know who builds.
        assert_eq!(host.build_users_group.as_deref(), Some("nixbld"));
        assert_eq!(
            host.version.flavour == NixFlavour::Lix,
            version.contains("Lix")
        );
    }
}

#[tokio::test]
async fn what_cannot_be_driven_says_why() {
    let nowhere = tempfile::tempdir().unwrap();
    let nothing = Nix::new().programs(nowhere.path());
    let (_old, old) = answering("nix (Nix) 2.3.16", "show-config", "ping-store");
    let (_odd, odd) = fake("echo GNU bash\n");
    let (_broken, broken) = fake(
        r#"case "$*" in
  --version) echo "nix (Nix) 2.24.10" ;;
  *) echo '@nix {"action":"msg","level":0,"msg":"error: syntax error in nix.conf","raw_msg":"syntax error in nix.conf"}' >&2; exit 1 ;;
esac
"#,
    );
    let (_strange, strange) = fake(
        r#"case "$*" in
  --version) echo "nix (Nix) 2.24.10" ;;
  *) echo '["ghp_secret"]' ;;
esac
"#,
    );
    for (nix, said) in [
        (nothing, "nix is not installed"),
        (old, "nix (Nix) 2.3.16 is too old"),
        (odd, "does not say which version it is"),
        (broken, "syntax error in nix.conf"),
        (strange, "in a form that is not known"),
    ] {
        let error = nix.host().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Build);
        assert!(error.to_string().contains(said), "{error}");
        assert!(!error.report().contains("secret"), "{}", error.report());
        let report = Checkup::new().without_azure().nix(nix).await.unwrap();
        assert!(report.would_stop());
        assert_eq!(report.failed().count(), 1);
        let item = report.item(Topic::Nix).unwrap();
        assert!(item.found.contains(said), "{}", item.found);
    }
}
