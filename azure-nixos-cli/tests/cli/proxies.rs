//! Uploads through a proxy, which the environment names.

use rustix::process::Signal;

use crate::azure::{Azure, write_access};
use crate::compare::assert_holds;
use crate::disks::{self, Table};
use crate::place::{Place, Running};

/// Names that lead nowhere, except through the proxy of the local Azure.
const HOST: &str = "disks.invalid";

fn disk(place: &Place) {
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn page_blobs_are_reached_through_the_proxy_unless_their_host_is_excepted() {
    let place = Place::new();
    disk(&place);
    let settings =
        |builder: azure_nixos_emulator::EmulatorBuilder| builder.blob_host(HOST).proxy_port(0);
    let azure = Azure::start_with(&place, settings).await;
    let proxy = azure.emulator.proxy_url().unwrap();
    let upload = |sas: &str, environment: &[(&str, &str)]| {
        let arguments = ["-vv", "upload-vhd", "disk.raw", "--sas", sas];
        let mut command = azure.command(&place, &arguments);
        command.envs(environment.iter().copied());
        Running::start(command)
    };
    for (name, environment) in [
        (
            "upper",
            [("HTTPS_PROXY", proxy), ("NO_PROXY", "example.com")],
        ),
        (
            "lower",
            [("https_proxy", proxy), ("no_proxy", "example.com")],
        ),
        ("all", [("ALL_PROXY", proxy), ("NO_PROXY", "disks.example")]),
    ] {
        let sas = write_access(&azure, name, 24 << 20).await;
        assert!(
            sas.starts_with("https://md-") && sas.contains(HOST),
            "{sas}"
        );
        let done = upload(&sas, &environment).finish();
        assert_eq!(done.code(), Some(0), "{name}: {done:#?}");
        assert_holds(
            &azure.emulator.disk_file("g", name),
            &place.path("disk.raw"),
        );
    }
    // Excepted, the host is asked for directly, and nobody is there.
    let sas = write_access(&azure, "excepted", 24 << 20).await;
    for environment in [
        [("HTTPS_PROXY", proxy), ("NO_PROXY", HOST)],
        [("https_proxy", proxy), ("no_proxy", "*")],
    ] {
        let mut running = upload(&sas, &environment);
        running.until_it_says("how=Connect");
        running.signal(Signal::KILL);
        let done = running.finish();
        assert!(!done.status.success(), "{done:#?}");
    }
    let nothing = std::fs::read(azure.emulator.disk_file("g", "excepted")).unwrap();
    assert!(nothing.iter().all(|byte| *byte == 0));
}

/// A proxy cannot reach this machine for us, and is not asked to.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_this_machine_is_reached_without_a_proxy() {
    let place = Place::new();
    disk(&place);
    let azure = Azure::start_with(&place, |builder| builder.blob_https(true)).await;
    let sas = write_access(&azure, "disk", 24 << 20).await;
    let mut command = azure.command(&place, &["upload-vhd", "disk.raw", "--sas", &sas]);
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"] {
        // Nobody listens there.
        command.env(name, "http://127.0.0.1:1");
    }
    let done = Running::start(command).finish();
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_holds(
        &azure.emulator.disk_file("g", "disk"),
        &place.path("disk.raw"),
    );
}
