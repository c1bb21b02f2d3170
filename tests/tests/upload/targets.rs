//! Targets that refuse a checksum, or do not say what they hold. One of the wrong length is in
//! `disk_access.rs`.

use azure_nixos::ErrorKind;
use azure_nixos::upload::{Integrity, Verification, Verify};

use crate::haste::in_haste;
use crate::place::{Place, on};

const CRC64: &str = "x-ms-content-crc64";
const MD5: &str = "content-md5";

#[tokio::test]
async fn a_checksum_that_is_refused_is_replaced_and_the_report_says_by_what() {
    let place = Place::new().await;
    in_haste(async {
        for (name, status, code) in [
            ("value", 400, "InvalidHeaderValue"),
            ("header", 400, "UnsupportedHeader"),
            ("unknown", 501, "NotImplemented"),
        ] {
            for (refused, used) in [
                (&[CRC64][..], Integrity::Md5),
                (&[CRC64, MD5], Integrity::None),
            ] {
                let name = format!("{name}-{used}");
                let access = place.disk(&name).await;
                let count = |header: &str| {
                    let rule = on("blob.putPage").with_header(header);
                    place.faults().add(rule)
                };
                let (crcs, md5s) = (count(CRC64), count(MD5));
                for header in refused {
                    let rule = on("blob.putPage").with_header(header);
                    place.faults().add(rule.respond(status, code));
                }
                let report = place.upload(access).await.unwrap();
                assert_eq!(report.integrity, used, "{name}");
                let (crcs, md5s) = (place.faults().hits(crcs), place.faults().hits(md5s));
                // What was on its way when the first refusal came; then the other for all of it.
                assert!((1..=8).contains(&crcs), "{name}: {crcs}");
                if used == Integrity::Md5 {
                    assert!(md5s >= 6, "{name}: {md5s}");
                }
                place.assert_whole(&name).await;
            }
        }
        // A range that was damaged on its way is no refusal: it is sent again as it was.
        let access = place.disk("damaged").await;
        let rule = on("blob.putPage").respond(400, "Crc64Mismatch");
        place.faults().add(rule.every(3).times(3));
        let report = place.upload(access).await.unwrap();
        assert_eq!((report.integrity, report.retries), (Integrity::Crc64, 3));
        place.assert_whole("damaged").await;
    })
    .await;
}

#[tokio::test]
async fn page_ranges_that_are_refused_are_not_compared_and_the_report_says_so() {
    let place = Place::new().await;
    in_haste(async {
        for (status, code) in [
            (403, "AuthorizationPermissionMismatch"),
            (409, "OperationNotAllowed"),
            (501, "NotImplemented"),
        ] {
            let name = format!("refused-{status}");
            let access = place.disk(&name).await;
            let rule = on("blob.getPageRanges").respond(status, code);
            let fault = place.faults().add(rule);
            let report = place.upload(access).await.unwrap();
            assert!(place.faults().hits(fault) > 0);
            let Verification::NotVerified(reason) = &report.verified else {
                panic!("{name}: {report:?}");
            };
            assert!(reason.contains(&status.to_string()), "{reason}");
            assert!(reason.contains(code), "{reason}");
            place.assert_whole(&name).await;
        }
        // Reading back is another way, where that is allowed.
        let access = place.disk("read-back").await;
        let rule = on("blob.getPageRanges").respond(403, "AuthorizationPermissionMismatch");
        place.faults().add(rule);
        let report = place.upload(access).verify(Verify::Contents).await.unwrap();
        assert_eq!(report.verified, Verification::Contents);
        place.assert_whole("read-back").await;
    })
    .await;
}

/// Without a list, what an interrupted upload left is believed from its journal.
#[tokio::test]
async fn an_upload_goes_on_although_page_ranges_are_refused() {
    let place = Place::new().await;
    let journals = place.local.place().join("journals");
    in_haste(async {
        let access = place.disk("d").await;
        let refused = || on("blob.getPageRanges").respond(403, "AuthorizationPermissionMismatch");
        place.faults().add(refused());
        let ended = on("blob.putPage").after(6).respond(400, "InvalidInput");
        place.faults().add(ended);
        let upload = place.upload(access.clone()).journal(&journals);
        let error = upload.await.unwrap_err();
        assert_eq!(error.code(), Some("InvalidInput"), "{}", error.report());
        place.assert_not_done("d");
        place.faults().clear();
        place.faults().add(refused());
        let report = place.upload(access).journal(&journals).await.unwrap();
        assert!(report.bytes_resumed > 0, "{report:?}");
        assert!(matches!(report.verified, Verification::NotVerified(_)));
        place.assert_whole("d").await;
    })
    .await;
}

/// The target becomes another while it is written to: refused for good, and at once.
#[tokio::test]
async fn a_target_that_is_gone_or_too_short_in_the_middle() {
    let place = Place::new().await;
    for (status, code, kind) in [
        (404, "BlobNotFound", ErrorKind::NotFound),
        (416, "InvalidPageRange", ErrorKind::Conflict),
    ] {
        let name = format!("d{status}");
        let access = place.disk(&name).await;
        let rule = on("blob.putPage").after(5).respond(status, code);
        let fault = place.faults().add(rule);
        let error = place.upload(access).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{}", error.report());
        assert!(error.hint().is_some());
        // What was on its way with it, and no second try.
        assert!(place.faults().hits(fault) <= 8);
        place.faults().clear();
        place.assert_not_done(&name);
    }
}
