//! Uploads in trouble, as whoever typed the command sees them: what is said, and what is to be done.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::azure::{Azure, another_access, write_access, writes};
use crate::compare::assert_holds;
use crate::disks::{self, Table};
use crate::place::{Done, Place, Running};

fn assert_no_footer(azure: &Azure) {
    let disk = File::open(azure.emulator.disk_file("g", "disk")).unwrap();
    let end = disk.metadata().unwrap().len();
    let mut footer = [1; 512];
    disk.read_exact_at(&mut footer, end - 512).unwrap();
    assert_eq!(footer, [0; 512]);
}

/// Runs an upload again that had not ended: it is whole then, and this much of it had been there.
fn goes_on(azure: &Azure, place: &Place, upload: &[&str]) -> u64 {
    let done = azure.run(place, upload);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let report = done.json();
    let resumed = report["bytes_resumed"].as_u64().unwrap();
    assert!(resumed > 0, "{report}");
    assert_holds(
        &azure.emulator.disk_file("g", "disk"),
        &place.path("disk.raw"),
    );
    resumed
}

/// Runs the program where no file may become longer than so many blocks of 512 bytes (1024 in some
/// shells): as on a disk that is full, and without being root.
fn with_small_files(azure: &Azure, place: &Place, blocks: u32, arguments: &[&str]) -> Done {
    let plain = azure.command(place, arguments);
    let script = format!(r#"trap "" XFSZ; ulimit -f {blocks}; exec "$0" "$@""#);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &script])
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(place.root())
        .env_clear();
    for (name, value) in plain.get_envs() {
        if let Some(value) = value {
            limited.env(name, value);
        }
    }
    Running::start(limited).finish()
}

/// 400 MiB with a page in every other one: 200 records, which are more than a small file holds.
fn scattered(place: &Place) {
    let file = File::create_new(place.path("disk.raw")).unwrap();
    file.set_len(400 << 20).unwrap();
    let mut page = [0; 4096];
    for n in 0..200 {
        disks::noise(n, &mut page);
        file.write_all_at(&page, n * (2 << 20)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_on_a_full_disk_is_a_warning_and_the_upload_succeeds() {
    let place = Place::new();
    scattered(&place);
    let azure = Azure::start(&place).await;
    let sas = write_access(&azure, "disk", 400 << 20).await;
    let upload = ["upload-vhd", "disk.raw", "--sas", &sas, "-o", "json"];

    // No room for its beginning: said before anything is sent, with what can be done.
    let counted = azure.emulator.faults().add(writes());
    let done = with_small_files(&azure, &place, 0, &upload);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    for part in [".journal", "in another directory"] {
        assert!(done.stderr.contains(part), "{}", done.stderr);
    }
    assert_eq!(azure.emulator.faults().hits(counted), 0);

    // Room for a part of it.
    let done = with_small_files(&azure, &place, 2, &upload);
    assert_eq!(done.code(), Some(0), "{done:#?}");
    let warning = "the journal cannot be written: the upload goes on";
    assert!(done.stderr.contains(warning), "{}", done.stderr);
    assert_eq!(done.json()["bytes_resumed"], 0);
    assert_holds(
        &azure.emulator.disk_file("g", "disk"),
        &place.path("disk.raw"),
    );
    assert!(place.journals().is_empty());
}

/// What could be written before the disk was full still counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_from_a_journal_that_ended_early() {
    let place = Place::new();
    scattered(&place);
    let azure = Azure::start(&place).await;
    let sas = write_access(&azure, "disk", 400 << 20).await;
    let upload = ["upload-vhd", "disk.raw", "--sas", &sas, "-o", "json"];
    let fault = writes().after(180).respond(409, "OperationNotAllowed");
    let fault = azure.emulator.faults().add(fault);
    let done = with_small_files(&azure, &place, 2, &upload);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert!(
        done.stderr.contains("the journal cannot be written"),
        "{}",
        done.stderr
    );
    assert_no_footer(&azure);
    azure.emulator.faults().remove(fault);
    let resumed = goes_on(&azure, &place, &upload);
    assert!(resumed < 180 * 4096, "{resumed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_that_ends_says_what_to_do_and_the_next_one_goes_on() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 48, 2);
    let azure = Azure::start(&place).await;
    let sas = write_access(&azure, "disk", 48 << 20).await;
    let fault = writes().after(12).times(1).expire_access();
    let fault = azure.emulator.faults().add(fault);
    let done = azure.run(&place, &["upload-vhd", "disk.raw", "--sas", &sas]);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    assert_eq!(done.stdout, "");
    assert_eq!(azure.emulator.faults().hits(fault), 1);
    let journal = &place.journals()[0].display().to_string();
    for part in [
        "403 AuthenticationFailed",
        "the access has expired",
        "get a new write access",
        "for the same upload again to go on from",
        journal,
    ] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    let signature = sas.rsplit_once("sig=").unwrap().1;
    assert!(!done.stderr.contains(signature), "{}", done.stderr);
    assert_no_footer(&azure);

    let sas = another_access(&azure, "disk").await;
    let upload = ["upload-vhd", "disk.raw", "--sas", &sas, "-o", "json"];
    goes_on(&azure, &place, &upload);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_of_the_first_and_may_go_on_after_it() {
    let place = Place::new();
    disks::make(&place.path("disk.raw"), Table::Mbr, 48, 2);
    let azure = Azure::start(&place).await;
    let sas = write_access(&azure, "disk", 48 << 20).await;
    let slow = writes().after(8).delay(Duration::from_secs(120));
    let slow = azure.emulator.faults().add(slow);
    let upload = ["upload-vhd", "disk.raw", "--sas", &sas, "-o", "json"];
    // One request at a time, so that nothing else is on its way once that one hangs.
    let mut alone = upload.to_vec();
    alone.extend(["--concurrency", "1"]);
    let first = azure.begin(&place, &alone);
    azure.until_hit(slow, 1);
    let all = azure.emulator.faults().add(writes());
    let done = azure.run(&place, &upload);
    assert_eq!(done.code(), Some(1), "{done:#?}");
    let process = format!("its process: {}", first.id());
    for part in ["is under way", &process, "wait for it, or end it"] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
    assert_eq!(
        azure.emulator.faults().hits(all),
        0,
        "it wrote all the same"
    );
    first.signal(Signal::KILL);
    first.finish();
    assert_no_footer(&azure);

    azure.emulator.faults().clear();
    goes_on(&azure, &place, &upload);
}
