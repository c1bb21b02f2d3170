//! The progress of a whole run, as a program sees it that reads every state.

#![allow(clippy::unwrap_used, reason = "everything in this file is a test")]

use std::time::Duration;

use azure_nixos::image::ImageSource;
use azure_nixos::progress::{Phase, Progress, ProgressReceiver};
use azure_nixos::vm::{ImageReference, SshKey};
use azure_nixos::{ImageBuilder, VmBuilder};
use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_tests::content::vhd_length;
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::{Local, within};

const SIZE: u64 = 200 << 20;
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na me@here";

/// All states that a reader sees, the first included.
async fn states(mut progress: ProgressReceiver) -> Vec<Progress> {
    let mut states = vec![progress.current()];
    while let Some(state) = progress.changed().await {
        states.push(state);
    }
    states
}

/// The phases in the order of their first appearance, without the repetitions.
fn phases(states: &[Progress]) -> Vec<Phase> {
    let mut phases: Vec<Phase> = states.iter().map(|state| state.phase).collect();
    phases.dedup();
    phases
}

/// Slows requests down so that a reader of a `watch` channel misses no phase.
async fn slow() -> Local {
    let local = Local::start().await;
    for plane in [Plane::Arm, Plane::Blob] {
        let rule = FaultRule::new(plane).delay(Duration::from_millis(30));
        local.emulator.faults().add(rule);
    }
    local
}

fn assert_counts_rise(states: &[Progress]) {
    let counts: Vec<_> = states.iter().filter_map(|state| state.transfer).collect();
    assert!(counts.len() > 3, "only {} counts", counts.len());
    for pair in counts.windows(2) {
        let (a, b) = (pair[0], pair[1]);
        assert_eq!((a.total, b.total), (vhd_length(SIZE), vhd_length(SIZE)));
        assert!(b.sent >= a.sent, "{a:?} {b:?}");
        assert!(b.skipped >= a.skipped, "{a:?} {b:?}");
        assert!(b.read >= a.read, "{a:?} {b:?}");
        assert!(b.requests >= a.requests, "{a:?} {b:?}");
        assert!(b.elapsed >= a.elapsed, "{a:?} {b:?}");
        assert!(b.sent + b.skipped <= b.total, "{b:?}");
        assert!(b.in_flight <= b.total, "{b:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_through_its_phases_in_order() {
    let local = slow().await;
    let file = local.place().join("disk.raw");
    disks::raw(&file, SIZE, Table::Efi, 1);
    let mut handle = ImageBuilder::new(&local.azure, "images", "web")
        .source(ImageSource::file(&file))
        .start();
    let seen = tokio::spawn(states(handle.progress().clone()));
    let (image, seen) = within(60, "an image", async {
        (handle.join().await.unwrap(), seen.await.unwrap())
    })
    .await;
    let order = [
        Phase::Checking,
        Phase::Inspecting,
        Phase::CreatingDisk,
        Phase::Uploading,
        Phase::Verifying,
        Phase::Committing,
        Phase::CreatingImage,
        Phase::Done,
    ];
    let mut phases = phases(&seen);
    phases.retain(|phase| *phase != Phase::Starting);
    assert_eq!(phases, order);
    assert_counts_rise(&seen);
    let end = seen.last().unwrap();
    assert_eq!(end.phase, Phase::Done);
    let (transfer, report) = (end.transfer.unwrap(), image.upload.unwrap());
    assert_eq!(transfer.sent + transfer.skipped, transfer.total);
    assert_eq!(transfer.in_flight, 0);
    assert!((transfer.fraction() - 1.0).abs() < f64::EPSILON);
    assert_eq!(
        (transfer.sent, transfer.skipped, transfer.total),
        (
            report.bytes_sent,
            report.bytes_skipped,
            report.bytes_logical
        )
    );
    assert_eq!(
        (transfer.requests, transfer.retries),
        (report.requests, report.retries)
    );
    // Only what is not zero: about one MiB in eight, in runs of half a MiB on average.
    assert!(report.bytes_sent < SIZE / 8, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_and_a_failure_go_through_their_phases() {
    let local = slow().await;
    let file = local.place().join("disk.raw");
    disks::raw(&file, SIZE, Table::Efi, 1);
    ImageBuilder::new(&local.azure, "images", "web")
        .source(ImageSource::file(&file))
        .await
        .unwrap();
    let machine = |name: &str| {
        VmBuilder::new(
            &local.azure,
            "machines",
            name,
            ImageReference::parse("web").unwrap(),
        )
        .admin_username("nixos")
        .ssh_key(SshKey::text(KEY))
        .start()
    };
    let mut handle = machine("a");
    let seen = tokio::spawn(states(handle.progress().clone()));
    let seen = within(60, "a machine", async {
        handle.join().await.unwrap();
        seen.await.unwrap()
    })
    .await;
    let mut good = phases(&seen);
    good.retain(|phase| *phase != Phase::Starting);
    assert_eq!(
        good,
        [
            Phase::Checking,
            Phase::CreatingNetwork,
            Phase::CreatingVm,
            Phase::Done
        ]
    );

    local.emulator.faults().clear();
    local.emulator.faults().add(
        FaultRule::new(Plane::Arm)
            .method("PUT")
            .path_contains("/virtualMachines/")
            .respond(400, "InvalidParameter"),
    );
    let rule = FaultRule::new(Plane::Arm).delay(Duration::from_millis(30));
    local.emulator.faults().add(rule);
    let mut handle = machine("b");
    let seen = tokio::spawn(states(handle.progress().clone()));
    let seen = within(60, "a machine", async {
        handle.join().await.unwrap_err();
        seen.await.unwrap()
    })
    .await;
    let mut bad = phases(&seen);
    bad.retain(|phase| *phase != Phase::Starting);
    assert_eq!(
        bad,
        [
            Phase::Checking,
            Phase::CreatingNetwork,
            Phase::CreatingVm,
            Phase::Undoing,
            Phase::Done
        ]
    );
    // Every thing that is taken away is named; the machine was refused, so there is none.
    let undone: Vec<&str> = seen
        .iter()
        .filter(|state| state.phase == Phase::Undoing)
        .map(|state| state.detail.as_str())
        .collect();
    for what in ["b-nic", "b-ip", "b-nsg", "b-vnet"] {
        assert!(undone.iter().any(|one| one.contains(what)), "{undone:?}");
    }
}

/// Failures in the middle of the pages: the counts still only rise.
#[tokio::test(flavor = "multi_thread")]
async fn counts_rise_over_retries() {
    let local = slow().await;
    local.emulator.faults().clear();
    for (every, status) in [(5, 503), (7, 500)] {
        local.emulator.faults().add(
            FaultRule::new(Plane::Blob)
                .method("PUT")
                .every(every)
                .respond(status, "ServerBusy")
                .header("Retry-After", "0"),
        );
    }
    let file = local.place().join("disk.raw");
    disks::raw(&file, SIZE, Table::Efi, 1);
    let mut handle = ImageBuilder::new(&local.azure, "images", "web")
        .source(ImageSource::file(&file))
        .start();
    let seen = tokio::spawn(states(handle.progress().clone()));
    let (image, seen) = within(60, "an image", async {
        (handle.join().await.unwrap(), seen.await.unwrap())
    })
    .await;
    assert_counts_rise(&seen);
    let transfer = seen.last().unwrap().transfer.unwrap();
    assert_eq!(transfer.sent + transfer.skipped, transfer.total);
    assert!(image.upload.unwrap().retries > 3);
}
