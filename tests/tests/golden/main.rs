//! Recordings of the real Azure as the judge of the local one: the same requests, and then the same
//! statuses, headers and documents, save what is listed here with its reason.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "everything in this file is a test"
)]

mod errors;
mod listed;
mod maker;
mod setup;

use azure_nixos_emulator::Clock;
use azure_nixos_tests::golden::{Replayed, assert_listed, recordings, replay};
use azure_nixos_tests::openapi::{self, Side};
use azure_nixos_tests::{Local, within};

use self::listed::{DOCUMENTS, LISTED, NOT_THERE};

#[tokio::test(flavor = "multi_thread")]
async fn every_recording_is_answered_as_it_was() {
    let mut differences = Vec::new();
    let mut absent = Vec::new();
    let mut findings = Vec::new();
    let judge = openapi::Judge::find();
    let recordings = recordings();
    for recording in &recordings {
        let clock = Clock::new();
        let local = Local::start_with(|builder| setup::settings(recording, &clock, builder)).await;
        let mut recording = recording.at(&local);
        let name = recording.name.clone();
        within(60, &name, async {
            let prepared = setup::prepare(&local, &clock, &mut recording).await;
            if let Err(why) = prepared {
                eprintln!("{}: before it: {why}", recording.name);
                absent.push(recording.name.clone());
                return;
            }
            match replay(&local, &clock, &recording).await {
                Replayed::Compared(found) => differences.extend(found),
                Replayed::NotThere(why) => {
                    eprintln!("{}: {why}", recording.name);
                    absent.push(recording.name.clone());
                }
            }
        })
        .await;
        // What was asked was Microsoft's own clients' or is setting up; what was answered is ours.
        findings.extend(
            judge
                .iter()
                .flat_map(|judge| judge.judge(&local.emulator.requests()))
                .filter(|finding| finding.side == Side::Response),
        );
    }
    if recordings.is_empty() {
        return;
    }
    assert_listed(&differences, LISTED);
    openapi::assert_explained(&findings, DOCUMENTS);
    let expected: Vec<&str> = NOT_THERE.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        absent, expected,
        "what cannot be played is another list now"
    );
}
