//! Uploads that are killed, and gone on with by the same command.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use azure_nixos_emulator::fault::FaultId;
use rustix::process::Signal;

use crate::azure::{Azure, write_access, writes};
use crate::compare::assert_holds;
use crate::disks::{self, Table};
use crate::formats::pack;
use crate::place::Place;
use crate::tools::have;

/// Name of the result, tool and options.
const PACKED: [(&str, &str, &[&str]); 3] = [
    ("disk.raw.gz", "gzip", &["-1", "-c"]),
    ("disk.raw.xz", "xz", &["-0", "-c"]),
    ("disk.raw.zst", "zstd", &["-q", "-1", "-c"]),
];

/// 96 MiB of disk with 48 MiB of data.
fn disk(place: &Place) {
    disks::make(&place.path("disk.raw"), Table::Mbr, 96, 2);
}

fn slow_writes(azure: &Azure, millis: u64) -> FaultId {
    let slow = writes().delay(Duration::from_millis(millis));
    azure.emulator.faults().add(slow)
}

/// The process is killed while it connects, asks, sends, and waits. What goes to the service twice is
/// what was on its way at the kills: two requests of one run of data each.
#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_at_random_moments_lose_nothing() {
    const KILLS: u64 = 20;
    const AT_ONCE: u64 = 2;
    const RUN: u64 = 1 << 20;
    const PAGE: u64 = 512;
    let place = Place::new();
    // 64 runs of one MiB.
    disks::make(&place.path("disk.raw"), Table::Mbr, 128, 2);
    let azure = Azure::start(&place).await;
    let sas = write_access(&azure, "disk", 128 << 20).await;
    let slow = slow_writes(&azure, 60);
    let faults = azure.emulator.faults();
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos() as u64
        | 1;
    eprintln!("seed {seed}");
    let mut random = seed;
    let arguments = [
        "upload-vhd",
        "disk.raw",
        "--sas",
        &sas,
        "--concurrency",
        "2",
        "-o",
        "json",
    ];
    for kill in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let met = faults.hits(slow);
        let running = azure.begin(&place, &arguments);
        // A seventh of them before it has sent anything.
        azure.until_hit(slow, met + random % 7);
        std::thread::sleep(Duration::from_millis(random / 7 % 70));
        running.signal(Signal::KILL);
        let done = running.finish();
        let signal = done.status.signal();
        assert_eq!(signal, Some(9), "seed {seed}, kill {kill}: {done:#?}");
    }
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(0), "seed {seed}: {done:#?}");
    let report = done.json();
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(
        count("bytes_sent") + count("bytes_resumed") + count("bytes_skipped"),
        (128 << 20) + PAGE,
        "seed {seed}"
    );
    assert!(count("bytes_resumed") > 0, "seed {seed}: {report}");
    assert_holds(
        &azure.emulator.disk_file("g", "disk"),
        &place.path("disk.raw"),
    );
    let once = count("bytes_sent") + count("bytes_resumed");
    // Every run but the first makes sure that there is no footer.
    let twice = faults.bytes(slow) - once;
    eprintln!("{} MiB of {} MiB went twice", twice >> 20, once >> 20);
    assert!(
        twice <= KILLS * (AT_ONCE * RUN + PAGE),
        "seed {seed}: {twice} bytes went twice"
    );
}

/// A stream is unpacked from its front again, and of what it holds only what had not arrived is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_disk_that_was_killed_is_gone_on_with() {
    const AT_ONCE: u64 = 2;
    const RUN: u64 = 1 << 20;
    const PAGE: u64 = 512;
    const SIZE: u64 = 40 << 20;
    if !["gzip", "xz", "zstd"].into_iter().all(have) {
        return;
    }
    let place = Place::new();
    let raw = place.path("disk.raw");
    // 13 runs of one MiB.
    disks::make(&raw, Table::Mbr, SIZE >> 20, 3);
    let azure = Azure::start(&place).await;
    let faults = azure.emulator.faults();
    for (file, tool, options) in PACKED {
        pack(&place, "disk.raw", file, tool, options);
        // A disk for each, named as its file, but for periods.
        let disk = file.replace('.', "-");
        let sas = write_access(&azure, &disk, SIZE).await;
        let slow = slow_writes(&azure, 60);
        let arguments = [
            "upload-vhd",
            file,
            "--sas",
            &sas,
            "--concurrency",
            "2",
            "-o",
            "json",
        ];
        let running = azure.begin(&place, &arguments);
        azure.until_hit(slow, 7);
        running.signal(Signal::KILL);
        let done = running.finish();
        assert_eq!(done.status.signal(), Some(9), "{file}: {done:#?}");
        assert_eq!(place.journals().len(), 1, "{file}");

        let done = azure.run(&place, &arguments);
        assert_eq!(done.code(), Some(0), "{file}: {done:#?}");
        let report = done.json();
        let count = |name: &str| report[name].as_u64().unwrap();
        // Seven had come in, of which two may not have been answered.
        assert!(count("bytes_resumed") >= 4 * RUN, "{file}: {report}");
        assert!(count("bytes_sent") >= 3 * RUN, "{file}: {report}");
        let once = count("bytes_sent") + count("bytes_resumed");
        assert_eq!(once + count("bytes_skipped"), SIZE + PAGE, "{file}");
        // The second run makes sure that there is no footer.
        let twice = faults.bytes(slow) - once;
        assert!(twice <= AT_ONCE * RUN + PAGE, "{file}: {twice} went twice");
        assert_holds(&azure.emulator.disk_file("g", &disk), &raw);
        assert_eq!(place.journals(), [] as [PathBuf; 0], "{file}");
        faults.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_is_undone_and_its_journal_goes_with_its_disk() {
    let place = Place::new();
    disk(&place);
    let azure = Azure::start(&place).await;
    let gone = writes().after(6).respond(400, "InvalidInput");
    let fault = azure.emulator.faults().add(gone);
    let arguments = [
        "upload-vhd",
        "disk.raw",
        "-g",
        "g",
        "-n",
        "disk",
        "-o",
        "json",
    ];
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    // A refusal does not pass by waiting, so there is nothing to keep the disk for.
    assert!(
        done.stderr.contains("taken away again: "),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains("to go on from"), "{}", done.stderr);
    assert_eq!(place.journals(), [] as [PathBuf; 0]);
    azure.emulator.faults().remove(fault);
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_eq!(done.json()["bytes_resumed"], 0);
    assert_holds(
        &azure.emulator.disk_file("g", "disk"),
        &place.path("disk.raw"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_disk_and_image_the_same_command_goes_on() {
    let place = Place::new();
    disk(&place);
    let azure = Azure::start(&place).await;
    let slow = slow_writes(&azure, 40);
    let arguments = [
        "upload-image",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
        "-o",
        "json",
    ];
    let running = azure.begin(&place, &arguments);
    azure.until_hit(slow, 35);
    running.signal(Signal::KILL);
    assert!(!running.finish().status.success());
    assert_eq!(place.journals().len(), 1);
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert!(
        done.json()["bytes_resumed"].as_u64().unwrap() > 0,
        "a new access to the same disk goes on: {}",
        done.stdout
    );
    assert_holds(&place.image("g", "web"), &place.path("disk.raw"));
    assert_eq!(place.journals().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_refused_until_restart_is_said() {
    let place = Place::new();
    disk(&place);
    let azure = Azure::start(&place).await;
    let sas = write_access(&azure, "disk", 96 << 20).await;
    let slow = slow_writes(&azure, 40);
    let mut arguments = vec!["upload-vhd", "disk.raw", "--sas", &sas];
    let running = azure.begin(&place, &arguments);
    azure.until_hit(slow, 35);
    running.signal(Signal::KILL);
    running.finish();
    std::fs::remove_file(place.path("disk.raw")).unwrap();
    disks::make(&place.path("disk.raw"), Table::Mbr, 96, 3);
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert!(
        done.stderr.contains("another disk image"),
        "{}",
        done.stderr
    );
    arguments.push("--restart");
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    assert_holds(
        &azure.emulator.disk_file("g", "disk"),
        &place.path("disk.raw"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_can_be_read_by_a_program() {
    let place = Place::new();
    disk(&place);
    let azure = Azure::start(&place).await;
    let arguments = [
        "upload-image",
        "-g",
        "g",
        "-n",
        "web",
        "--image-file",
        "disk.raw",
        "--progress",
        "json",
    ];
    let done = azure.run(&place, &arguments);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let events: Vec<serde_json::Value> = done
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect();
    let last = &events[events.len() - 1];
    assert_eq!(last["phase"], "done", "{last}");
    let transfer = &last["transfer"];
    assert_eq!(
        transfer["sent"].as_u64().unwrap() + transfer["skipped"].as_u64().unwrap(),
        transfer["total"].as_u64().unwrap()
    );
}
