//! Two uploads to one target.

use std::time::Duration;

use azure_nixos::ErrorKind;
use azure_nixos_tests::within;

use crate::place::{Place, image, on};

#[tokio::test(flavor = "multi_thread")]
async fn the_second_is_refused_while_the_first_runs_and_goes_on_after_it() {
    let place = Place::new().await;
    let journals = place.local.place().join("journals");
    within(60, "three uploads", async {
        let access = place.disk("d").await;
        // Some have arrived, and the others are under way for as long as it takes.
        let slow = on("blob.putPage").after(5).delay(Duration::from_secs(60));
        let slow = place.faults().add(slow);
        let upload = || place.upload(access.clone()).journal(&journals);
        let first = upload().start();
        while place.faults().hits(slow) < 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let error = upload().await.unwrap_err();
        let report = error.report();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{report}");
        assert!(report.contains("under way"), "{report}");
        let process = format!("process: {}", std::process::id());
        assert!(report.contains(&process), "{report}");
        assert!(error.hint().is_some(), "{report}");
        first.cancel();
        assert!(first.join().await.unwrap_err().is_cancelled());
        place.assert_not_done("d");

        place.faults().clear();
        let report = upload().await.unwrap();
        assert!(report.bytes_resumed > 0, "{report:?}");
        place.assert_whole("d").await;
    })
    .await;
}

/// The first comes to its end meanwhile: the second has the target then, and is the last to write.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_may_have_the_target_when_the_first_is_done() {
    let place = Place::new().await;
    let journals = place.local.place().join("journals");
    within(60, "two uploads", async {
        let access = place.disk("d").await;
        let first = place.upload(access.clone()).journal(&journals);
        first.await.unwrap();
        let other = image(2);
        let second = azure_nixos::VhdUploader::new(other.clone(), access).journal(&journals);
        let report = second.await.unwrap();
        assert_eq!(report.bytes_resumed, 0);
        assert!(report.bytes_cleared > 0);
        place.assert_holds("d", &other).await;
    })
    .await;
}
