//! What becomes of what was made, when something after it fails, or somebody stops it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use azure_nixos_emulator::fault::{FaultRule, Plane};
use rustix::process::Signal;

use crate::azure::{Azure, writes};
use crate::compare::assert_holds;
use crate::disks::{self, Table};
use crate::place::Place;

/// A size that is well formed and not to be had.
const NO_SIZE: &str = "Standard_X9_v9";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_cannot_be_had_leaves_nothing() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    let upload = [
        "upload-image",
        "-g",
        "images",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    let azure = Azure::start(&place).await;
    assert_eq!(azure.run(&place, &upload).code(), Some(0));
    let before = place.traces();
    let boot = ["boot-vm", "-g", "vms", "-i", "web", "-n", "web-1"];
    // What there is not is refused before anything is made.
    let done = azure.run(&place, &[&boot[..], &["-s", NO_SIZE]].concat());
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert!(done.stderr.contains("these would do: "), "{}", done.stderr);
    assert!(!done.stderr.contains("taken away"), "{}", done.stderr);

    let full = FaultRule::new(Plane::Arm)
        .method("PUT")
        .path_contains("/virtualMachines/")
        .respond(409, "SkuNotAvailable");
    azure.emulator.faults().add(full);
    let done = azure.run(&place, &boot);
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(1), ""),
        "{done:#?}"
    );
    assert_eq!(place.traces(), before, "{}", done.stderr);
    assert!(done.stderr.contains("(SkuNotAvailable)"), "{}", done.stderr);
    let taken = done
        .stderr
        .lines()
        .find_map(|line| line.trim().strip_prefix("taken away again: "))
        .unwrap();
    // What Azure refused to make was not made, so it cannot be taken away either.
    assert!(!taken.contains("the machine"), "{taken}");
    for what in [
        "the key ",
        "the network interface web-1-nic",
        "the public address web-1-ip",
        "the network security group web-1-nsg",
        "the virtual network web-1-vnet",
        "the resource group vms",
    ] {
        assert!(taken.contains(what), "{what} in {taken}");
    }

    // A group that was there stays, and so does the image when only the machine fails.
    let mut arguments = upload.to_vec();
    arguments.extend(["-b", "vm-name=web-1"]);
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert_eq!(place.traces(), before, "{}", done.stderr);
    assert!(
        !done.stderr.contains("the resource group"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("images/web stays"), "{}", done.stderr);
    // The image is a result, and was there before the machine failed.
    assert!(
        done.stdout.trim().ends_with("/images/web"),
        "{}",
        done.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_at_any_step_of_an_upload_leaves_nothing() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 32, 4);
    let azure = Azure::start(&place).await;
    let upload = [
        "upload-image",
        "-g",
        "new",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    for (plane, method, path, code) in [
        (
            Plane::Arm,
            "PUT",
            "/resourceGroups/new?",
            "AuthorizationFailed",
        ),
        (Plane::Arm, "PUT", "/disks/", "AuthorizationFailed"),
        (Plane::Arm, "POST", "/beginGetAccess", "AuthorizationFailed"),
        (Plane::Blob, "PUT", "comp=page", "AuthorizationFailure"),
        (Plane::Arm, "PUT", "/images/", "AuthorizationFailed"),
    ] {
        let rule = FaultRule::new(plane).method(method).path_contains(path);
        let fault = azure.emulator.faults().add(rule.respond(403, code));
        let done = azure.run(&place, &upload);
        assert!(azure.emulator.faults().hits(fault) > 0, "{path}: {done:#?}");
        azure.emulator.faults().clear();
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (Some(1), ""),
            "{path}: {done:#?}"
        );
        assert!(done.stderr.contains(code), "{path}: {}", done.stderr);
        assert!(place.traces().is_empty(), "{path}: {:?}", place.traces());
        assert!(
            path.contains("resourceGroups") || done.stderr.contains("the resource group new"),
            "{path}: {}",
            done.stderr
        );
    }
    let done = azure.run(&place, &upload);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_holds(&place.image("new", "web"), &place.path("disk.raw"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_away_is_named() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 24, 4);
    let azure = Azure::start(&place).await;
    let deny = |method: &str, path: &str| {
        let rule = FaultRule::new(Plane::Arm)
            .method(method)
            .path_contains(path);
        azure
            .emulator
            .faults()
            .add(rule.respond(403, "AuthorizationFailed"));
    };
    deny("PUT", "/images/");
    deny("DELETE", "/disks/");
    let done = azure.run(
        &place,
        &[
            "upload-image",
            "-g",
            "new",
            "-n",
            "web",
            "--image-file",
            "disk.raw",
        ],
    );
    assert_eq!(done.code(), Some(1), "{done:#?}");
    let left = done
        .stderr
        .lines()
        .find(|line| line.starts_with("  left behind: "))
        .unwrap();
    assert!(
        left.contains("the disk web") && left.contains("the resource group new"),
        "{left}"
    );
    assert!(
        place
            .traces()
            .keys()
            .any(|name| name.ends_with("/disks/web"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_in_an_upload_takes_everything_away() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 128, 1);
    let azure = Azure::start(&place).await;
    let upload = [
        "upload-image",
        "-g",
        "new",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    for signal in [Signal::INT, Signal::TERM] {
        let faults = azure.emulator.faults();
        let pages = writes();
        // Some arrive, the others are under way and will be for long.
        let slow = faults.add(pages.after(3).delay(Duration::from_secs(120)));
        let running = azure.begin(&place, &upload);
        azure.until_hit(slow, 1);
        let stopped = Instant::now();
        running.signal(signal);
        let done = running.finish();
        assert!(
            stopped.elapsed() < Duration::from_secs(20),
            "{:?}",
            stopped.elapsed()
        );
        assert_eq!(
            (done.code(), done.stdout.as_str()),
            (Some(130), ""),
            "{done:#?}"
        );
        assert!(done.stderr.contains("cancelling"), "{}", done.stderr);
        assert!(
            done.stderr
                .contains("taken away again: the disk web, the resource group new"),
            "{}",
            done.stderr
        );
        assert!(place.traces().is_empty(), "{:?}", place.traces());
        // There is nothing to go on with, and nothing that says so.
        assert!(!done.stderr.contains("to go on from"), "{}", done.stderr);
        assert_eq!(place.journals(), [] as [PathBuf; 0]);
        faults.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_ctrl_c_ends_at_once_and_the_next_run_finishes() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 128, 1);
    let azure = Azure::start(&place).await;
    let faults = azure.emulator.faults();
    let upload = [
        "upload-image",
        "-g",
        "new",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    let pages = writes();
    let slow = faults.add(pages.after(3).delay(Duration::from_secs(120)));
    let rule = FaultRule::new(Plane::Arm)
        .method("DELETE")
        .path_contains("/disks/web");
    let stuck = faults.add(rule.stall(Duration::from_secs(120)));
    let mut running = azure.begin(&place, &upload);
    azure.until_hit(slow, 1);
    running.signal(Signal::INT);
    running.until_it_says("Ctrl-C again ends at once");
    azure.until_hit(stuck, 1);
    let stopped = Instant::now();
    running.signal(Signal::INT);
    let done = running.finish();
    assert!(
        stopped.elapsed() < Duration::from_secs(5),
        "{:?}",
        stopped.elapsed()
    );
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(130), ""),
        "{done:#?}"
    );
    assert!(
        done.stderr.contains("something may be left behind"),
        "{}",
        done.stderr
    );
    assert!(!place.traces().is_empty());
    faults.clear();

    let done = azure.run(&place, &upload);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_holds(&place.image("new", "web"), &place.path("disk.raw"));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_same_command_completes() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 128, 1);
    let azure = Azure::start(&place).await;
    let faults = azure.emulator.faults();
    let upload = [
        "-o",
        "json",
        "upload-image",
        "-g",
        "new",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    let pages = writes();
    let slow = faults.add(pages.after(3).delay(Duration::from_secs(120)));
    let running = azure.begin(&place, &upload);
    azure.until_hit(slow, 1);
    running.signal(Signal::KILL);
    assert_eq!(running.finish().status.signal(), Some(9));
    faults.clear();
    assert!(
        place
            .traces()
            .keys()
            .any(|name| name.ends_with("/disks/web"))
    );

    let done = azure.run(&place, &upload);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_eq!(done.json()["reused"], false);
    assert_holds(&place.image("new", "web"), &place.path("disk.raw"));

    // The disk was there before, but only as a leftover of the same upload.
    let state = place.state();
    let left = state["resources"].as_object().unwrap().keys();
    assert_eq!(left.filter(|id| id.contains("/disks/")).count(), 0);
}

#[test]
fn both_with_the_local_azure_in_the_same_process() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 384, 1);
    let upload = [
        "upload-image",
        "--local",
        "-g",
        "new",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
    ];
    let mut running = place.start(&upload);
    running.until_it_says("uploading");
    running.signal(Signal::INT);
    let done = running.finish();
    assert_eq!(
        (done.code(), done.stdout.as_str()),
        (Some(130), ""),
        "{done:#?}"
    );
    assert!(place.traces().is_empty(), "{:?}", place.traces());

    let mut running = place.start(&upload);
    running.until_it_says("uploading");
    running.signal(Signal::KILL);
    assert_eq!(
        running.finish().status.signal(),
        Some(9),
        "it was done before it was killed"
    );
    assert!(!place.image("new", "web").exists());
    let done = place.good(&upload);
    assert!(done.stdout.trim().ends_with("/images/web"));
    assert_holds(&place.image("new", "web"), &place.path("disk.raw"));
    assert!(fs::read_dir(place.path("azure/disks/new")).map_or(0, Iterator::count) == 0);
}
