//! The errors that were recorded of Azure: each is provoked here, where the local Azure has what it is
//! about, and has to be the same.

use azure_nixos_emulator::Clock;
use azure_nixos_tests::golden::{Replayed, assert_listed, recorded_errors, replay};
use azure_nixos_tests::{Local, within};

use super::listed::{ERRORS, NOT_PROVOKED};
use super::setup;

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_error_is_the_same() {
    let mut differences = Vec::new();
    let mut unprovoked = Vec::new();
    let recordings = recorded_errors();
    for recording in &recordings {
        let listed = NOT_PROVOKED
            .iter()
            .any(|(pattern, _)| fits(pattern, &recording.name));
        let clock = Clock::new();
        let local = Local::start_with(|builder| setup::settings(recording, &clock, builder)).await;
        let mut recording = recording.at(&local);
        let name = recording.name.clone();
        within(60, &name, async {
            if let Err(why) = setup::provoke(&local, &clock, &mut recording).await {
                unprovoked.push((name.clone(), why));
                return;
            }
            match replay(&local, &clock, &recording).await {
                Replayed::Compared(found) => {
                    if listed && !found.is_empty() {
                        unprovoked.push((name.clone(), "another answer".to_owned()));
                    } else {
                        differences.extend(found);
                    }
                }
                Replayed::NotThere(why) => unprovoked.push((name.clone(), why)),
            }
        })
        .await;
    }
    if recordings.is_empty() {
        return;
    }
    let mut text = String::new();
    for (name, why) in &unprovoked {
        if !NOT_PROVOKED.iter().any(|(pattern, _)| fits(pattern, name)) {
            text += &format!("  {name} is not provoked: {why}\n");
        }
    }
    for (pattern, why) in NOT_PROVOKED {
        if !unprovoked.iter().any(|(name, _)| fits(pattern, name)) {
            text += &format!("  {pattern} can be provoked now, though: {why}\n");
        }
    }
    assert!(text.is_empty(), "{text}");
    assert_listed(&differences, ERRORS);
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => name.contains(end),
        None => name == pattern,
    }
}
