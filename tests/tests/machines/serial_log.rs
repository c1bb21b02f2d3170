//! What the serial console has said, read from where the local Azure keeps it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use azure_nixos::ErrorKind;
use azure_nixos::vm::{Machines, SerialLog, SerialPart};
use azure_nixos_emulator::Clock;
use azure_nixos_emulator::fault::{FaultRule, Plane};
use azure_nixos_tests::within;

use crate::place::{Place, arm};

/// A machine whose log is kept, and the file that its console writes to.
async fn with_log(place: &Place) -> PathBuf {
    place.boot("vms", "web-1").await;
    let on = place
        .machine("web-1")
        .enable_boot_diagnostics()
        .await
        .unwrap();
    assert!(on.machine.boot_diagnostics);
    let id = on.machine.vm_id.unwrap();
    let directory = place.local.emulator.state_dir().join("machines").join(id);
    fs::create_dir_all(&directory).unwrap();
    directory.join("serialconsole.log")
}

async fn open(place: &Place, follow: bool) -> SerialLog {
    place
        .machine("web-1")
        .serial_log()
        .follow(follow)
        .interval(Duration::from_millis(20))
        .await
        .unwrap()
}

async fn next(log: &mut SerialLog) -> Option<SerialPart> {
    within(30, "the next part of a log", log.next())
        .await
        .unwrap()
}

fn text(text: &str) -> Option<SerialPart> {
    Some(SerialPart::Bytes(text.to_owned().into()))
}

fn say(file: &PathBuf, text: &str) {
    let mut log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .unwrap();
    log.write_all(text.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_kept_says_how_to_keep_it() {
    let place = Place::new().await;
    place.boot("vms", "web-1").await;
    let error = place.machine("WEB-1").serial_log().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("web-1 is not kept"), "{error}");
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("azure-nixos serial-log --enable -g vms -n web-1"),
        "{hint}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_once_and_followed() {
    let place = Place::new().await;
    let file = with_log(&place).await;
    assert_eq!(next(&mut open(&place, false).await).await, None);
    let mut log = open(&place, true).await;
    let waiting = tokio::time::timeout(Duration::from_millis(300), log.next()).await;
    assert!(waiting.is_err(), "{waiting:?}");
    say(&file, "one\ntwo\n");
    assert_eq!(next(&mut log).await, text("one\ntwo\n"));
    say(&file, "three\n");
    assert_eq!(next(&mut log).await, text("three\n"));

    let mut tail = place.machine("web-1").serial_log().tail(2).await.unwrap();
    assert_eq!(next(&mut tail).await, text("two\nthree\n"));
    assert_eq!(next(&mut tail).await, None);

    fs::write(&file, "anew\n").unwrap();
    assert_eq!(next(&mut log).await, Some(SerialPart::StartedAgain));
    assert_eq!(next(&mut log).await, text("anew\n"));
    assert!(!format!("{log:?}").contains("sig"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_that_runs_out_is_renewed_and_a_broken_answer_repeated() {
    let clock = Clock::new();
    let settings = clock.clone();
    let place = Place::with(|builder| builder.clock(settings)).await;
    let file = with_log(&place).await;
    // With a secret, so that the token is renewed too.
    let azure = place.local.log_in().await;
    let log = Machines::new(&azure).machine("vms", "web-1").serial_log();
    let log = log.follow(true).interval(Duration::from_millis(20));
    let mut log = log.await.unwrap();
    let granted = place.fault(arm("POST", "retrieveBootDiagnosticsData"));
    say(&file, "one\n");
    assert_eq!(next(&mut log).await, text("one\n"));
    clock.advance(Duration::from_secs(3 * 3600));
    say(&file, "two\n");
    assert_eq!(next(&mut log).await, text("two\n"));
    // Twice, as the token of the first was over too.
    assert_eq!(place.local.emulator.faults().hits(granted), 2);

    let blob = || {
        FaultRule::new(Plane::Blob)
            .path_contains("serialconsole.log")
            .times(1)
    };
    for rule in [
        blob().reset_before(),
        blob().respond(503, "ServerBusy"),
        blob().half_body(),
    ] {
        place.fault(rule);
        say(&file, "more\n");
        assert_eq!(next(&mut log).await, text("more\n"));
    }
    place.fault(blob().times(9).respond(403, "AuthorizationFailure"));
    say(&file, "never\n");
    let error = within(30, "the refusal", log.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let said = format!("{error:?} {}", error.report());
    assert!(
        !said.contains("sig=") && said.contains("AuthorizationFailure"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_log_comes_in_parts() {
    let place = Place::new().await;
    let file = with_log(&place).await;
    let large: String = (0..400_000).map(|n| format!("line {n}\n")).collect();
    fs::write(&file, &large).unwrap();
    let mut log = open(&place, false).await;
    let mut read = Vec::new();
    while let Some(SerialPart::Bytes(part)) = next(&mut log).await {
        assert!(part.len() <= 1 << 20);
        read.extend_from_slice(&part);
    }
    assert!(
        read == large.as_bytes(),
        "{} of {}",
        read.len(),
        large.len()
    );
}
