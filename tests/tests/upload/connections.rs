//! Connections that break, wherever they are.

use azure_nixos::ErrorKind;
use azure_nixos::upload::Concurrency;
use azure_nixos_emulator::fault::{FaultRule, Plane};

use azure_nixos_tests::disks::Noise;

use crate::haste::in_haste;
use crate::place::{MIB, Place, on, seed};

#[tokio::test]
async fn a_reset_in_the_middle_of_a_request_or_an_answer() {
    let place = Place::new().await;
    in_haste(async {
        let put = || on("blob.putPage").every(3).times(5);
        let list = || on("blob.getPageRanges").times(2);
        for (name, rule) in [
            ("before", put().reset_before()),
            ("during", put().reset_during()),
            ("after", put().reset_after()),
            ("head", on("blob.getProperties").times(2).reset_before()),
            ("list", list().half_body()),
            ("list-after", list().reset_after()),
        ] {
            let access = place.disk(name).await;
            let fault = place.faults().add(rule);
            let report = place.upload(access).await;
            let report = report.unwrap_or_else(|error| panic!("{name}: {}", error.report()));
            let hits = place.faults().hits(fault);
            assert!(hits >= 2 && report.retries >= hits, "{name}: {report:?}");
            place.assert_whole(name).await;
        }
    })
    .await;
}

/// The blob endpoint over https. A connection ends without the end of TLS: in its handshake, in its
/// records, in the middle of a request or of an answer.
#[tokio::test]
async fn tls_that_is_cut_off_anywhere() {
    let place = Place::with(|builder| builder.blob_https(true)).await;
    let seed = seed();
    let mut random = Noise::new(seed);
    in_haste(async {
        let mut lengths = vec![0, 1, 200, 1000, 2000, 3000, 5000, MIB / 2];
        // Anywhere within the first requests.
        lengths.extend((0..4).map(|_| random.below(4 * MIB)));
        for after in lengths {
            let name = format!("after-{after}");
            let access = place.disk(&name).await;
            assert!(place.sas(&name).await.expose().starts_with("https://"));
            let rule = FaultRule::new(Plane::Blob).times(3).cut_connection(after);
            let fault = place.faults().add(rule);
            // All of it over one connection, so that it comes so far.
            let upload = place.upload(access).concurrency(Concurrency::Fixed(1));
            let report = upload.await;
            let report =
                report.unwrap_or_else(|error| panic!("seed {seed}, {name}: {}", error.report()));
            assert!(place.faults().hits(fault) >= 1, "{name}");
            assert!(report.retries >= 1, "seed {seed}, {name}: {report:?}");
            place.assert_whole(&name).await;
        }
    })
    .await;
}

/// As from a box between here and Azure that breaks everything that is long.
#[tokio::test]
async fn connections_that_all_break() {
    let place = Place::with(|builder| builder.blob_https(true)).await;
    in_haste(async {
        let access = place.disk("d").await;
        let cut = || FaultRule::new(Plane::Blob).cut_connection(700 << 10);
        place.faults().add(cut());
        place.upload(access).await.unwrap();
        place.assert_whole("d").await;

        // Too short for any request: it is given up, with the network as the reason.
        let access = place.disk("e").await;
        place
            .faults()
            .add(FaultRule::new(Plane::Blob).cut_connection(9000));
        let error = place.upload(access).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{}", error.report());
        assert!(error.hint().is_some());
        place.assert_not_done("e");
    })
    .await;
}
