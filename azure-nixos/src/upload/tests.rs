//! Whole uploads against a page blob on loopback. What is compared is always the content.

mod random;
mod resume;

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;

use super::read::Pool;
use super::test_server::{Act, Seen, TestServer};
use super::test_source::MemorySource;
use super::*;
use crate::handle::Work;
use crate::progress::Phase;
use crate::{Error, ErrorKind, SasUrl};

const MIB: u64 = 1 << 20;
/// 25 MiB of disk, of which about 11 are data in a dozen ranges.
const SIZE: u64 = 25 * MIB - 512 * 3;
const DISK: u64 = 25 * MIB;
const TARGET: u64 = DISK + 512;

fn source() -> MemorySource {
    let mut source = MemorySource::new(SIZE);
    source.fill(0, 512);
    source.fill(MIB, 9 * MIB as usize);
    for i in 0..8 {
        source.fill((12 + i) * MIB + 4096 * i, 40_000);
    }
    source.fill(SIZE - 512, 512);
    source.extents([0..4096, MIB..20 * MIB, 24 * MIB..SIZE]);
    source
}

fn uploader(server: &TestServer) -> VhdUploader {
    VhdUploader::new(source(), server.sas())
}

/// The target is the source, zeros, and a footer for the padded size.
fn assert_whole(server: &TestServer, source: &MemorySource) {
    let content = server.content();
    let expected = source.content();
    assert_eq!(content.len() as u64, TARGET);
    assert!(content[..expected.len()] == expected, "content differs");
    assert!(
        content[expected.len()..DISK as usize]
            .iter()
            .all(|b| *b == 0)
    );
    let (disk, footer) = content.split_at(DISK as usize);
    let expected = crate::disk::vhd::Footer::fixed(DISK, crate::disk::crc64(disk));
    assert_eq!(
        footer,
        expected.bytes(),
        "the footer is not of this content"
    );
}

fn assert_no_footer(server: &TestServer) {
    assert!(!server.has_page(DISK), "the footer was written");
}

fn is_footer(seen: &Seen) -> bool {
    seen.is_put() && seen.range.as_ref().is_some_and(|r| r.start == DISK)
}

#[tokio::test]
async fn what_arrives_is_the_source_and_the_footer_is_last_and_alone() {
    let server = TestServer::new(Some(TARGET)).await;
    let report = uploader(&server).await.unwrap();
    assert_whole(&server, &source());
    assert_eq!(report.bytes_logical, TARGET);
    assert_eq!(report.bytes_sent + report.bytes_skipped, TARGET);
    assert!(report.bytes_sent < 12 * MIB, "{}", report.bytes_sent);
    assert_eq!(report.integrity, Integrity::Crc64);
    assert_eq!(report.verified, Verification::Ranges);
    assert_eq!((report.retries, report.bytes_cleared), (0, 0));
    let log = server.log();
    let puts: Vec<_> = log.iter().filter(|seen| seen.is_put()).collect();
    assert_eq!(puts.len() as u64, report.requests);
    assert!(is_footer(log.last().unwrap()), "the very last request");
    assert_eq!(puts.iter().filter(|seen| is_footer(seen)).count(), 1);
    // The list is asked for between the last range and the footer.
    assert!(log[log.len() - 2].is_list());
    for put in puts {
        assert_eq!(put.headers["x-ms-version"], "2020-10-02");
        assert!(put.headers.contains_key("x-ms-content-crc64"));
    }
    // A managed disk understands nothing else.
    assert!(log.iter().all(|s| s.is_put() || s.is_list() || s.is_head()));
}

#[tokio::test]
async fn a_source_is_read_once_and_once_more_to_compare_contents() {
    let data = 4096 + 19 * MIB + (SIZE - 24 * MIB);
    for (verify, times) in [(Verify::Ranges, 1), (Verify::Contents, 2)] {
        let server = TestServer::new(Some(TARGET)).await;
        let disk = source();
        VhdUploader::new(disk.clone(), server.sas())
            .verify(verify)
            .await
            .unwrap();
        // The footer is for the content all the same, and counts nothing twice.
        assert_whole(&server, &disk);
        assert_eq!(disk.bytes_read(), times * data, "{verify:?}");
    }
}

#[tokio::test]
async fn a_footer_that_is_wrong_for_its_disk_is_refused_before_anything_is_sent() {
    let server = TestServer::new(Some(TARGET)).await;
    let mut source = source();
    source.set_footer(*crate::disk::vhd::Footer::fixed(DISK + MIB, 7).bytes());
    let error = VhdUploader::new(source, server.sas()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidImage);
    assert_eq!(server.log().len(), 0);
}

#[tokio::test]
async fn the_same_image_is_the_same_bytes() {
    let (a, b) = (
        TestServer::new(Some(TARGET)).await,
        TestServer::new(Some(TARGET)).await,
    );
    uploader(&a).await.unwrap();
    uploader(&b)
        .concurrency(Concurrency::Fixed(1))
        .await
        .unwrap();
    assert!(a.content() == b.content());
    assert_eq!(b.most_in_flight(), 1);
}

#[tokio::test]
async fn the_footer_of_the_source_is_used_when_it_fits() {
    let server = TestServer::new(Some(TARGET)).await;
    let footer = *crate::disk::vhd::Footer::fixed(DISK, 7).bytes();
    let mut source = source();
    source.set_footer(footer);
    VhdUploader::new(source, server.sas()).await.unwrap();
    assert_eq!(server.content()[DISK as usize..], footer);
}

#[tokio::test]
async fn an_empty_disk_is_a_footer() {
    let server = TestServer::new(Some(20 * MIB + 512)).await;
    let report = VhdUploader::new(MemorySource::new(MIB), server.sas())
        .await
        .unwrap();
    assert_eq!(report.bytes_sent, 512);
    assert_eq!(server.count(Seen::is_put), 1);
}

#[tokio::test]
async fn transient_failures_are_outlived() {
    let acts = [
        Act::Refuse(503, "ServerBusy"),
        Act::Refuse(500, "OperationTimedOut"),
        Act::Refuse(500, "InternalError"),
        Act::Refuse(429, "TooManyRequests"),
        Act::Refuse(408, "RequestTimeout"),
        Act::Refuse(502, "BadGateway"),
        Act::Later(503, 0),
        Act::ResetBefore,
        Act::ResetAfter,
        Act::Damage,
    ];
    // All at once: most of their time is waiting.
    futures::future::join_all(acts.map(|act| async move {
        let server = TestServer::new(Some(TARGET)).await;
        // Every third page write, and the footer's first.
        let mut footer_failed = false;
        server.script(move |seen| {
            let fails = seen.is_put() && seen.nth % 3 == 0
                || is_footer(seen) && !std::mem::replace(&mut footer_failed, true);
            if fails { act } else { Act::Serve }
        });
        let report = uploader(&server).await.unwrap();
        assert_whole(&server, &source());
        assert!(report.retries >= 4, "{act:?}: {}", report.retries);
        assert_eq!(report.integrity, Integrity::Crc64, "{act:?}");
        assert!(is_footer(server.log().last().unwrap()), "{act:?}");
    }))
    .await;
}

#[tokio::test]
async fn the_first_questions_are_repeated_too() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.is_head() && seen.nth < 2 => Act::ResetBefore,
        _ if seen.is_list() && seen.nth < 1 => Act::Refuse(500, "OperationTimedOut"),
        _ => Act::Serve,
    });
    uploader(&server).await.unwrap();
    assert_whole(&server, &source());
}

#[tokio::test]
async fn permanent_failures_end_it_after_one_round_trip() {
    for (status, code, kind, hint) in [
        (
            403,
            "AuthorizationFailure",
            ErrorKind::Forbidden,
            "private endpoint",
        ),
        (404, "BlobNotFound", ErrorKind::NotFound, "revoked"),
        (409, "BlobBeingRehydrated", ErrorKind::Conflict, "state"),
        (412, "LeaseIdMissing", ErrorKind::Conflict, "leased"),
        (413, "RequestBodyTooLarge", ErrorKind::Service, "proxy"),
        (416, "InvalidPageRange", ErrorKind::Conflict, "smaller"),
    ] {
        let server = TestServer::new(Some(TARGET)).await;
        server.script(move |seen| match seen {
            _ if seen.is_put() => Act::Refuse(status, code),
            _ => Act::Serve,
        });
        let began = Instant::now();
        let error = uploader(&server).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.code(), Some(code));
        assert!(error.hint().unwrap().contains(hint), "{status}");
        assert!(began.elapsed() < Duration::from_secs(5));
        // At most what was on its way when the first answer came.
        assert!(server.count(Seen::is_put) <= 4, "{status}");
        assert_no_footer(&server);
    }
}

#[tokio::test]
async fn one_bad_range_fails_the_upload_whatever_the_others_did() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match &seen.range {
        Some(range) if seen.is_put() && range.start == MIB => Act::Refuse(400, "InvalidInput"),
        _ => Act::Serve,
    });
    let error = uploader(&server).await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidInput"));
    assert_no_footer(&server);
}

/// Hands out `gen-0`, `gen-1`, …
#[derive(Debug)]
struct Renewable {
    urls: Vec<SasUrl>,
    asked: Arc<AtomicUsize>,
    lasts: Duration,
}

#[async_trait]
impl SasSource for Renewable {
    async fn access(&self) -> Result<SasAccess> {
        let n = self.asked.fetch_add(1, Ordering::Relaxed);
        let url = self.urls[n.min(self.urls.len() - 1)].clone();
        Ok(SasAccess::new(url, Some(SystemTime::now() + self.lasts)))
    }
}

fn renewable(server: &TestServer, lasts: Duration) -> (Renewable, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let source = Renewable {
        urls: (0..9)
            .map(|n| server.sas_signed(&format!("gen-{n}")))
            .collect(),
        asked: Arc::clone(&asked),
        lasts,
    };
    (source, asked)
}

#[tokio::test]
async fn a_refused_access_is_renewed_once_for_all() {
    let server = TestServer::new(Some(TARGET)).await;
    let mut puts = 0;
    server.script(move |seen| {
        puts += usize::from(seen.is_put());
        if puts > 3 && seen.sig == "gen-0" {
            Act::Refuse(403, "AuthenticationFailed")
        } else {
            Act::Serve
        }
    });
    let (access, asked) = renewable(&server, Duration::from_secs(3600));
    VhdUploader::new(source(), access).await.unwrap();
    assert_whole(&server, &source());
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_access_that_stays_refused_is_not_renewed_for_ever() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.is_put() => Act::Refuse(403, "AuthorizationFailure"),
        _ => Act::Serve,
    });
    let (access, asked) = renewable(&server, Duration::from_secs(3600));
    let error = VhdUploader::new(source(), access).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(asked.load(Ordering::Relaxed) <= 3);
    assert_no_footer(&server);
}

#[tokio::test]
async fn an_access_is_renewed_before_it_ends() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|_| Act::Slow(Duration::from_millis(60)));
    let (access, asked) = renewable(&server, Duration::from_millis(300));
    let report = VhdUploader::new(source(), access)
        .concurrency(Concurrency::Fixed(1))
        .await
        .unwrap();
    assert_whole(&server, &source());
    assert_eq!(report.retries, 0);
    assert!(asked.load(Ordering::Relaxed) > 1);
    assert_eq!(server.log()[0].sig, "gen-0");
    assert_ne!(server.log().last().unwrap().sig, "gen-0");
}

#[tokio::test(start_paused = true)]
async fn an_access_does_not_end_in_the_queue() {
    // Three minutes of sending, with accesses of one minute: whatever waits longer than that for its
    // turn has a new one then.
    let server = TestServer::new(Some(TARGET)).await;
    let (access, asked) = renewable(&server, Duration::from_secs(60));
    let newest = Arc::clone(&asked);
    server.script(move |seen| {
        let newest = newest.load(Ordering::Relaxed) - 1;
        if seen.sig == format!("gen-{newest}") {
            Act::Serve
        } else {
            Act::Refuse(403, "AuthenticationFailed")
        }
    });
    let (transport, _) = server.link(10e6, Duration::from_millis(20));
    let report = VhdUploader::new(source(), access)
        .transport(transport)
        .concurrency(Concurrency::Fixed(1))
        .max_bandwidth(Some(ByteSize::bytes(64 << 10)))
        .await
        .unwrap();
    assert_whole(&server, &source());
    assert!(asked.load(Ordering::Relaxed) > 2);
    assert_eq!(report.retries, 0);
}

#[tokio::test]
async fn a_refused_checksum_is_replaced_and_reported() {
    for (md5_too, expected) in [(false, Integrity::Md5), (true, Integrity::None)] {
        let server = TestServer::new(Some(TARGET)).await;
        server.script(move |seen| match seen {
            _ if seen.headers.contains_key("x-ms-content-crc64") => {
                Act::Refuse(400, "InvalidHeaderValue")
            }
            _ if md5_too && seen.headers.contains_key("content-md5") => {
                Act::Refuse(400, "UnsupportedHeader")
            }
            _ => Act::Serve,
        });
        let report = uploader(&server).await.unwrap();
        assert_whole(&server, &source());
        assert_eq!(report.integrity, expected);
        let with = |name| move |seen: &Seen| seen.headers.contains_key(name);
        assert!(server.count(with("x-ms-content-crc64")) <= 4);
        if !md5_too {
            assert!(server.count(with("content-md5")) > 8);
        }
    }
}

#[tokio::test]
async fn a_target_of_the_wrong_length_is_refused_before_a_byte_is_sent() {
    for length in [TARGET - 512, TARGET + 512, DISK, 512] {
        let server = TestServer::new(Some(length)).await;
        let error = uploader(&server).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains(&length.to_string()), "{text}");
        assert!(text.contains(&TARGET.to_string()), "{text}");
        assert_eq!(server.count(|seen| !seen.is_head()), 0);
    }
    let server = TestServer::new(Some(TARGET)).await;
    server.set_type("BlockBlob");
    let error = uploader(&server).await.unwrap_err();
    assert!(error.to_string().contains("BlockBlob"), "{error}");
    assert_eq!(server.count(|seen| !seen.is_head()), 0);
}

#[tokio::test]
async fn a_disk_is_never_created_and_a_page_blob_only_when_asked() {
    for target in [
        UploadTarget::ManagedDisk,
        UploadTarget::PageBlob { create: false },
    ] {
        let server = TestServer::new(None).await;
        let error = uploader(&server).target(target).await.unwrap_err();
        assert!(error.is_not_found());
        assert_eq!(server.count(|seen| seen.method == "PUT"), 0);
    }
    for lost in [false, true] {
        let server = TestServer::new(None).await;
        server.script(move |seen| match seen {
            _ if lost && seen.method == "PUT" && seen.comp.is_empty() && seen.nth == 0 => {
                Act::ResetAfter
            }
            _ => Act::Serve,
        });
        let create = UploadTarget::PageBlob { create: true };
        uploader(&server).target(create).await.unwrap();
        assert_whole(&server, &source());
    }
}

#[tokio::test]
async fn old_data_is_cleared_and_the_old_footer_does_not_survive_a_failure() {
    for clears in [true, false] {
        let server = TestServer::new(Some(TARGET)).await;
        for offset in [512 * 9, MIB, 11 * MIB, 11 * MIB + 512, 22 * MIB, DISK] {
            server.write(offset, [0xee; 512]);
        }
        server.script(move |seen| match seen {
            _ if seen.is_clear() && !clears => Act::Refuse(403, "AuthorizationPermissionMismatch"),
            _ => Act::Serve,
        });
        let report = uploader(&server).await.unwrap();
        assert_whole(&server, &source());
        assert_eq!(report.bytes_cleared, 4 * 512);
        assert_eq!(report.verified, Verification::Ranges);
        assert_eq!(server.has_page(22 * MIB), !clears);
    }
    let server = TestServer::new(Some(TARGET)).await;
    server.write(DISK, [0xee; 512]);
    server.script(|seen| match &seen.range {
        Some(range) if seen.is_put() && range.start == MIB => Act::Refuse(400, "InvalidInput"),
        _ => Act::Serve,
    });
    uploader(&server).await.unwrap_err();
    assert_eq!(server.content()[DISK as usize..], [0; 512]);
}

#[tokio::test]
async fn a_list_that_is_refused_is_reported_and_no_failure() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.is_list() => Act::Refuse(403, "AuthorizationPermissionMismatch"),
        _ => Act::Serve,
    });
    let report = uploader(&server).await.unwrap();
    assert_whole(&server, &source());
    let Verification::NotVerified(reason) = report.verified else {
        panic!("{:?}", report.verified)
    };
    assert!(reason.contains("403"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_busy_at_first_and_lists_nothing_later_is_no_failure() {
    for (target, fails) in [
        (UploadTarget::ManagedDisk, false),
        (UploadTarget::PageBlob { create: false }, true),
    ] {
        let server = TestServer::new(Some(TARGET)).await;
        server.script(|seen| match seen {
            _ if seen.is_list() && seen.nth < 3 => Act::Refuse(503, "ServerBusy"),
            _ if seen.is_list() => Act::Refuse(403, "AuthorizationPermissionMismatch"),
            _ => Act::Serve,
        });
        let (transport, _) = server.link(10e6, Duration::from_millis(20));
        let result = uploader(&server).target(target).transport(transport).await;
        assert_eq!(server.count(Seen::is_list), 4);
        if fails {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Conflict);
            assert_eq!(server.content()[DISK as usize..], [0; 512]);
        } else {
            let report = result.unwrap();
            assert!(matches!(report.verified, Verification::NotVerified(_)));
            assert_whole(&server, &source());
        }
    }
}

#[tokio::test]
async fn old_data_that_cannot_be_found_is_no_success() {
    // The first question is answered, so there is old data; the list at the end is refused.
    let server = TestServer::new(Some(TARGET)).await;
    for offset in [22 * MIB, DISK] {
        server.write(offset, [0xee; 512]);
    }
    server.script(|seen| match seen {
        _ if seen.is_list() && seen.nth > 0 => Act::Refuse(403, "AuthorizationPermissionMismatch"),
        _ => Act::Serve,
    });
    let error = uploader(&server).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("403"), "{error}");
    assert_eq!(server.content()[DISK as usize..], [0; 512]);

    // A blob that was there before and never says what it holds.
    let server = TestServer::new(Some(TARGET)).await;
    server.write(22 * MIB, [0xee; 512]);
    server.script(|seen| match seen {
        _ if seen.is_list() => Act::Refuse(501, "NotImplemented"),
        _ => Act::Serve,
    });
    for create in [true, false] {
        let target = UploadTarget::PageBlob { create };
        let error = uploader(&server).target(target).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(server.count(Seen::is_put), 0);
    }
}

#[tokio::test]
async fn a_footer_on_a_target_that_tells_nothing_does_not_survive_a_failure() {
    let server = TestServer::new(Some(TARGET)).await;
    server.write(DISK, [0xee; 512]);
    server.script(|seen| match &seen.range {
        _ if seen.is_list() => Act::Refuse(403, "AuthorizationPermissionMismatch"),
        Some(range) if seen.is_put() && range.start == MIB => Act::Refuse(400, "InvalidInput"),
        _ => Act::Serve,
    });
    uploader(&server).await.unwrap_err();
    assert_eq!(server.content()[DISK as usize..], [0; 512]);
}

#[tokio::test]
async fn a_write_that_was_acknowledged_and_lost_is_found() {
    let server = TestServer::new(Some(TARGET)).await;
    let state = Arc::new(server);
    let weak = Arc::downgrade(&state);
    // The service forgets a page, after it has acknowledged it and before it is asked.
    let steal = tokio::spawn(async move {
        while let Some(server) = weak.upgrade() {
            if server.has_page(2 * MIB) {
                server.forget(2 * MIB);
            }
            drop(server);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    state.script(|seen| match seen {
        _ if seen.is_list() && seen.nth > 0 => Act::Slow(Duration::from_millis(100)),
        _ => Act::Serve,
    });
    let error = uploader(&state).await.unwrap_err();
    steal.abort();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert!(
        error.to_string().contains(&(2 * MIB).to_string()),
        "{error}"
    );
    assert_no_footer(&state);
}

#[tokio::test]
async fn contents_are_read_back() {
    let server = TestServer::new(Some(TARGET)).await;
    let report = uploader(&server).verify(Verify::Contents).await.unwrap();
    assert_eq!(report.verified, Verification::Contents);
    assert!(server.count(|s| s.method == "GET" && s.comp.is_empty()) > 8);
    assert!(is_footer(server.log().last().unwrap()));

    // Damage after the checksum was compared.
    let server = Arc::new(TestServer::new(Some(TARGET)).await);
    let other = Arc::downgrade(&server);
    server.script(move |seen| {
        if seen.is_list() && seen.nth == 1 {
            let other = other.clone();
            std::thread::spawn(move || other.upgrade().unwrap().write(3 * MIB, [1; 512]));
            return Act::Slow(Duration::from_millis(100));
        }
        Act::Serve
    });
    let error = uploader(&server)
        .verify(Verify::Contents)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Integrity);
    assert_no_footer(&server);

    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.method == "GET" && seen.comp.is_empty() => Act::Refuse(403, "No"),
        _ => Act::Serve,
    });
    let report = uploader(&server).verify(Verify::Contents).await.unwrap();
    assert!(matches!(report.verified, Verification::NotVerified(_)));
}

#[tokio::test]
async fn cancelling_stops_soon_and_leaves_no_footer() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.is_put() && seen.nth > 2 => Act::Stall,
        _ => Act::Serve,
    });
    let mut operation = uploader(&server).start();
    while let Some(progress) = operation.progress().changed().await {
        if progress.transfer.is_some_and(|t| t.sent > 0) {
            break;
        }
    }
    let began = Instant::now();
    operation.cancel();
    let error = operation.join().await.unwrap_err();
    assert!(error.is_cancelled());
    assert!(began.elapsed() < Duration::from_secs(1));
    let puts = server.count(Seen::is_put);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.count(Seen::is_put), puts, "nothing goes on");
    assert_no_footer(&server);
}

#[tokio::test]
async fn dropping_the_future_stops_it() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.is_put() => Act::Slow(Duration::from_millis(50)),
        _ => Act::Serve,
    });
    let upload = uploader(&server).concurrency(Concurrency::Fixed(1));
    let waited = tokio::time::timeout(Duration::from_millis(200), upload.into_future()).await;
    assert!(waited.is_err());
    let puts = server.count(Seen::is_put);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(server.count(Seen::is_put) <= puts + 1);
    assert_no_footer(&server);
}

#[tokio::test]
async fn a_source_that_fails_or_changes_leaves_no_footer() {
    let server = TestServer::new(Some(TARGET)).await;
    let source = source();
    source.fail_reads();
    let error = VhdUploader::new(source, server.sas()).await.unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone");
    assert_no_footer(&server);

    let server = TestServer::new(Some(TARGET)).await;
    let source = self::source();
    let changing = source.clone();
    server.script(move |seen| {
        if seen.is_put() {
            changing.change();
        }
        Act::Serve
    });
    let error = VhdUploader::new(source, server.sas()).await.unwrap_err();
    assert!(error.to_string().contains("changed"), "{error}");
    assert_no_footer(&server);
}

#[tokio::test]
async fn progress_is_told_while_nothing_moves_and_ends_whole() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if is_footer(seen) => Act::Slow(Duration::from_millis(600)),
        _ => Act::Serve,
    });
    let mut operation = uploader(&server).start();
    let mut told = 0;
    let mut phases = Vec::new();
    let mut last = None;
    while let Some(progress) = operation.progress().changed().await {
        told += 1;
        if phases.last() != Some(&progress.phase) {
            phases.push(progress.phase);
        }
        last = progress.transfer.or(last);
    }
    assert!(told >= 5, "{told}");
    assert!(phases.contains(&Phase::Verifying), "{phases:?}");
    let last = last.unwrap();
    assert_eq!(last.sent + last.skipped, last.total);
    assert_eq!(last.total, TARGET);
    assert_eq!(last.in_flight, 0);
    assert!(last.read >= 19 * MIB && last.read <= SIZE);
    operation.join().await.unwrap();
}

#[tokio::test]
async fn memory_stays_within_its_limit() {
    let mut source = MemorySource::new(64 * MIB);
    source.fill(0, 64 * MIB as usize);
    source.extents(std::iter::once(0..64 * MIB));
    let server = TestServer::new(Some(64 * MIB + 512)).await;
    server.script(|_| Act::Slow(Duration::from_millis(5)));
    let pool = Arc::new(Pool::new(12 * MIB));
    let uploader = VhdUploader::new(source.clone(), server.sas())
        .memory_limit(ByteSize::mib(12))
        .concurrency(Concurrency::Fixed(16));
    Box::pin(engine::upload(
        uploader,
        &Work::default(),
        Arc::clone(&pool),
    ))
    .await
    .unwrap();
    assert!(server.content()[..64 * MIB as usize] == source.content());
    assert!(
        pool.peak() <= 12 * MIB && pool.peak() >= 8 * MIB,
        "{}",
        pool.peak()
    );
}

#[tokio::test]
async fn bandwidth_is_kept() {
    let server = TestServer::new(Some(TARGET)).await;
    let began = Instant::now();
    let report = uploader(&server)
        .max_bandwidth(Some(ByteSize::mib(10)))
        .await
        .unwrap();
    let least = (report.bytes_sent - 4 * MIB) as f64 / (10 * MIB) as f64;
    assert!(began.elapsed().as_secs_f64() > 0.9 * least);
}

/// Takes everything that is logged, at every level, from every crate.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_signature_in_any_log_or_error() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    // With a single subscriber, a callsite that another test's thread reaches first asks that
    // thread's subscriber, which is none, and stays silent for all. A second one prevents it.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    // The test runs on one thread: what happens in it is logged here.
    let guard = tracing::subscriber::set_default(subscriber);
    let mut texts = Vec::new();
    let mut note = |error: Error| texts.push(format!("{error:?}\n{}\n{error}", error.report()));
    for act in [
        Act::Refuse(403, "AuthenticationFailed"),
        Act::Refuse(500, "InternalError"),
        Act::ResetBefore,
        Act::ResetAfter,
        Act::Damage,
    ] {
        let server = TestServer::new(Some(TARGET)).await;
        server.script(move |seen| match seen {
            _ if seen.is_put() && seen.nth == 3 => act,
            _ if seen.is_put() && seen.nth == 9 => Act::Refuse(400, "InvalidInput"),
            _ => Act::Serve,
        });
        note(uploader(&server).await.unwrap_err());
        assert!(format!("{:?}", uploader(&server)).contains("<redacted>"));
    }
    // Nobody listens there.
    let nobody: SasUrl = "http://127.0.0.1:1/a/b?sig=S3CRET".parse().unwrap();
    tokio::time::pause();
    note(VhdUploader::new(source(), nobody).await.unwrap_err());
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("==> Request"), "the SDK's own log is in it");
    assert!(log.contains("hyper"), "and that of the HTTP client");
    let leak = log.lines().find(|line| line.contains("S3CRET"));
    assert_eq!(leak, None);
    for text in texts {
        assert!(!text.contains("S3CRET"), "{text}");
    }
}

#[tokio::test]
async fn many_random_failures_still_end_in_the_right_bytes() {
    // A seed of its own for every run, printed with a failure.
    let seed = getrandom::u64().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    let mut x = seed | 1;
    server.script(move |seen| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        if !seen.is_put() {
            return Act::Serve;
        }
        match x % 12 {
            0 => Act::Refuse(503, "ServerBusy"),
            1 => Act::Refuse(500, "OperationTimedOut"),
            2 => Act::ResetBefore,
            3 => Act::ResetAfter,
            4 => Act::Damage,
            5 => Act::Slow(Duration::from_millis(x % 50)),
            _ => Act::Serve,
        }
    });
    let result = uploader(&server).await;
    assert!(result.is_ok(), "seed {seed}: {result:?}");
    assert!(
        server.content()[..SIZE as usize] == source().content(),
        "seed {seed}"
    );
    assert!(is_footer(server.log().last().unwrap()), "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn a_very_slow_link_finishes_and_sends_nothing_twice() {
    // 16 KiB/s and half a second: a quarter of what is believed in at the start.
    for rate in [16.0 * 1024.0, 250_000.0] {
        let server = TestServer::new(Some(TARGET)).await;
        let (transport, sent) = server.link(rate, Duration::from_millis(500));
        let began = tokio::time::Instant::now();
        let report = uploader(&server).transport(transport).await.unwrap();
        assert_whole(&server, &source());
        let wire = sent.load(Ordering::Relaxed) as f64;
        // On the slowest link what goes first may miss its deadline.
        let most = if rate < 100_000.0 { 2.2 } else { 1.0 };
        assert!(
            wire <= most * report.bytes_sent as f64,
            "{rate}: {wire} {report:?}"
        );
        let least = wire / rate;
        assert!(
            began.elapsed().as_secs_f64() < 1.1 * least + 60.0,
            "{rate}: {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_fast_link_is_filled() {
    let mut source = MemorySource::new(256 * MIB);
    source.fill(0, 256 * MIB as usize);
    source.extents(std::iter::once(0..256 * MIB));
    let server = TestServer::new(Some(256 * MIB + 512)).await;
    let rate = 60.0 * MIB as f64;
    let (transport, _) = server.link(rate, Duration::from_millis(20));
    let began = tokio::time::Instant::now();
    VhdUploader::new(source, server.sas())
        .transport(transport)
        .await
        .unwrap();
    let ideal = 256.0 * MIB as f64 / rate;
    let took = began.elapsed().as_secs_f64();
    assert!(took < 1.1 * ideal, "{took} for {ideal}");
}

#[tokio::test(start_paused = true)]
async fn silence_is_given_up_and_sent_again() {
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.is_put() && seen.nth % 3 == 1 => Act::Stall,
        _ => Act::Serve,
    });
    let (transport, _) = server.link(10e6, Duration::from_millis(20));
    let report = uploader(&server).transport(transport).await.unwrap();
    assert_whole(&server, &source());
    assert!(report.retries >= 4);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_kept_and_an_outage_of_minutes_is_outlived() {
    let server = TestServer::new(Some(TARGET)).await;
    let began = tokio::time::Instant::now();
    server.script(move |seen| match seen {
        _ if seen.is_put() && began.elapsed() < Duration::from_secs(100) => Act::Later(503, 30),
        _ => Act::Serve,
    });
    let (transport, _) = server.link(10e6, Duration::from_millis(20));
    uploader(&server).transport(transport).await.unwrap();
    assert_whole(&server, &source());
    // Nobody asks more often than every 30 s: 2 at first, and the one that is left afterwards.
    let early = server.count(|seen| seen.is_put() && seen.headers.contains_key("range"));
    assert!(early < 40, "{early}");
    assert!(began.elapsed() < Duration::from_secs(200));

    let server = TestServer::new(Some(TARGET)).await;
    server.script(move |seen| match seen {
        _ if seen.is_put() => Act::Refuse(503, "ServerBusy"),
        _ => Act::Serve,
    });
    let (transport, _) = server.link(10e6, Duration::from_millis(20));
    let error = uploader(&server).transport(transport).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Throttled);
    assert!(
        error.report().contains("attempts: 24"),
        "{}",
        error.report()
    );
    assert_no_footer(&server);
}

#[tokio::test(start_paused = true)]
async fn a_page_list_that_times_out_is_asked_for_in_windows() {
    let size = 4 << 30;
    let mut source = MemorySource::new(size);
    for i in 0..20 {
        source.fill(i * 200 * MIB, 5000);
    }
    source.extents((0..20).map(|i| i * 200 * MIB..i * 200 * MIB + 8192));
    let server = TestServer::new(Some(size + 512)).await;
    server.script(move |seen| match &seen.range {
        Some(range) if seen.is_list() && range.end - range.start > 300 * MIB => {
            Act::Refuse(500, "OperationTimedOut")
        }
        _ => Act::Serve,
    });
    let (transport, _) = server.link(10e6, Duration::from_millis(20));
    let uploader = VhdUploader::new(source, server.sas()).transport(transport);
    let report = uploader.await.unwrap();
    assert_eq!(report.verified, Verification::Ranges);
    assert!(server.count(Seen::is_list) > 14);
}

/// User and system time of this process, in clock ticks of 10 ms.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split(' ').collect();
    let ticks = fields[12].parse::<f64>().unwrap() + fields[13].parse::<f64>().unwrap();
    ticks / 100.0
}

/// Takes every page and forgets it: as fast as a server can be.
async fn sink(stream: tokio::net::TcpStream, length: u64) -> Option<()> {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::io::BufReader::with_capacity(256 << 10, stream);
    loop {
        let (mut method, mut body) = (String::new(), 0u64);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if method.is_empty() {
                method = line.split(' ').next()?.to_owned();
            } else if let Some(value) = line.strip_prefix("content-length: ") {
                body = value.parse().ok()?;
            } else if line.is_empty() {
                break;
            }
        }
        let mut discard = tokio::io::sink();
        tokio::io::copy_buf(&mut (&mut stream).take(body), &mut discard)
            .await
            .ok()?;
        let answer = match method.as_str() {
            "head" => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"),
            "get" => "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for an optimised build: --ignored --nocapture"]
async fn throughput() {
    let size = 4 << 30;
    let mut block = MemorySource::new(64 * MIB);
    block.fill(0, 64 * MIB as usize);
    let dense = Repeated(block, size);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            all.spawn(sink(stream, size + 512));
        }
    });
    for concurrency in [
        Concurrency::Auto,
        Concurrency::Fixed(1),
        Concurrency::Fixed(8),
    ] {
        let sas: SasUrl = format!("http://127.0.0.1:{port}/a/b?sig=x")
            .parse()
            .unwrap();
        let cpu = cpu_seconds();
        let report = VhdUploader::new(dense.clone(), sas)
            .concurrency(concurrency)
            .await
            .unwrap();
        let mib = report.bytes_sent as f64 / MIB as f64;
        println!(
            "{concurrency:?}: {mib:.0} MiB in {:.2?} ({:.0} MiB/s), CPU with server {:.2} s, {} requests",
            report.elapsed,
            mib / report.elapsed.as_secs_f64(),
            cpu_seconds() - cpu,
            report.requests
        );
    }
    server.abort();
}

/// The same 64 MiB again and again.
#[derive(Clone, Debug)]
struct Repeated(MemorySource, u64);

impl DiskSource for Repeated {
    fn virtual_size(&self) -> u64 {
        self.1
    }

    fn next_extent(&self, from: u64) -> Result<Option<std::ops::Range<u64>>> {
        Ok((from < self.1).then_some(from..self.1))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        // No read of the planner crosses a multiple of 64 MiB.
        self.0.read_exact_at(buffer, offset % (64 * MIB))
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(String::new())
    }
}
