//! Answers that say that the service is busy, that come late, never, or without end.

use std::time::Duration;

use azure_nixos::ErrorKind;
use azure_nixos::upload::Verification;
use azure_nixos_emulator::fault::FaultRule;
use azure_nixos_tests::within;
use tokio::time::Instant;

use crate::haste::in_haste;
use crate::place::{Place, on};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than anybody waits for an answer.
const EVER: Duration = Duration::from_secs(24 * 3600);

/// Uploads while a rule acts, and compares. Returns how long it took by the clock of the upload.
async fn survives(place: &Place, name: &str, rule: FaultRule, least_retries: u64) -> Duration {
    let access = place.disk(name).await;
    let fault = place.faults().add(rule);
    let began = Instant::now();
    let upload = place.upload(access).await;
    let took = began.elapsed();
    let report = upload.unwrap_or_else(|error| panic!("{name}: {}", error.report()));
    assert!(place.faults().hits(fault) > 0, "{name}: it never happened");
    assert!(report.retries >= least_retries, "{name}: {report:?}");
    assert_eq!(report.verified, Verification::Ranges, "{name}");
    place.assert_whole(name).await;
    took
}

#[tokio::test]
async fn a_service_that_is_busy() {
    let place = Place::new().await;
    in_haste(async {
        let busy = || on("blob.putPage").respond(503, "ServerBusy");
        survives(&place, "burst", busy().after(3).times(9), 9).await;
        survives(&place, "again-and-again", busy().every(2).times(6), 6).await;
        let late = on("blob.putPage").respond(500, "OperationTimedOut");
        let late = late.late(30 * SECOND).after(2).times(4);
        let took = survives(&place, "timed-out", late, 4).await;
        assert!(took >= 30 * SECOND, "{took:?}");
        let many = on("blob.putPage").respond(429, "TooManyRequests");
        survives(&place, "too-many", many.every(2).times(6), 6).await;
        for operation in ["blob.getProperties", "blob.getPageRanges"] {
            let rule = on(operation).respond(503, "ServerBusy").times(2);
            survives(&place, &operation.replace('.', "-"), rule, 2).await;
        }
    })
    .await;
}

/// What the service asks for is a minimum, for everything on its way.
#[tokio::test]
async fn a_service_that_says_how_long_it_will_be_busy() {
    let place = Place::new().await;
    in_haste(async {
        let busy = on("blob.putPage").respond(503, "ServerBusy").times(2);
        let rule = busy.header("Retry-After", "20");
        let took = survives(&place, "retry-after", rule, 1).await;
        assert!(took >= 20 * SECOND, "{took:?}");
        let busy = on("blob.putPage").respond(503, "ServerBusy").times(3);
        let rule = busy.header("Retry-After", "0");
        survives(&place, "at-once", rule, 3).await;
    })
    .await;
}

/// An outage that outlasts all patience: an error that says so, and no disk.
#[tokio::test]
async fn a_service_that_stays_busy() {
    let place = Place::new().await;
    in_haste(async {
        let access = place.disk("d").await;
        let busy = on("blob.putPage").respond(503, "ServerBusy").after(5);
        place.faults().add(busy);
        let error = place.upload(access.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Throttled, "{}", error.report());
        assert_eq!(error.code(), Some("ServerBusy"));
        assert!(error.hint().is_some());
        place.assert_not_done("d");
        place.faults().clear();
        place.upload(access).await.unwrap();
        place.assert_whole("d").await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_never_comes() {
    let place = Place::new().await;
    in_haste(async {
        for (operation, times) in [
            ("blob.putPage", 3),
            ("blob.getProperties", 1),
            ("blob.getPageRanges", 1),
        ] {
            let rule = on(operation).stall(EVER).times(times);
            let name = operation.replace('.', "-");
            let took = survives(&place, &name, rule, 1).await;
            assert!(took >= 60 * SECOND, "{operation}: {took:?}");
        }
        // It was done, and nobody ever says so.
        let rule = on("blob.putPage").delay(EVER).after(4).times(2);
        survives(&place, "late", rule, 1).await;
    })
    .await;
}

/// The head says it all: what was acknowledged is not sent again, and nobody waits for the rest.
#[tokio::test]
async fn an_acknowledgement_whose_body_never_ends() {
    let place = Place::new().await;
    within(30, "an upload without a retry", async {
        let rule = on("blob.putPage").endless_body();
        survives(&place, "every-one", rule, 0).await;
        let access = place.disk("count").await;
        place.faults().add(on("blob.putPage").endless_body());
        let report = place.upload(access).await.unwrap();
        assert_eq!(report.retries, 0);
        place.assert_whole("count").await;
    })
    .await;
    in_haste(async {
        // An error too says all in its head.
        let access = place.disk("refused").await;
        let refused = on("blob.putPage").respond(409, "OperationNotAllowed");
        place.faults().add(refused);
        let error = place.upload(access).await.unwrap_err();
        assert_eq!(error.code(), Some("OperationNotAllowed"));
        place.assert_not_done("refused");
        place.faults().clear();
        // A list without an end is none.
        let rule = on("blob.getPageRanges").endless_body().times(2);
        survives(&place, "list", rule, 1).await;
    })
    .await;
}
