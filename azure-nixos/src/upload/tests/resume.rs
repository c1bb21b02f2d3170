//! Uploads that end early and are gone on with.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;

/// One upload with a journal, dropped as soon as the server saw so many writes.
async fn cut_off_after(server: &TestServer, journal: &Path, writes: usize) {
    let upload = uploader(server)
        .concurrency(Concurrency::Fixed(2))
        .journal(journal)
        .into_future();
    let seen = async {
        while server.count(Seen::is_put) < writes {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        // It may be faster than the looking.
        _ = upload => {}
        () = seen => {}
    }
    // What is on its way when the uploader is gone may still arrive.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn slowly(server: &TestServer) {
    server.script(|seen| match seen {
        _ if seen.is_put() => Act::Slow(Duration::from_millis(15)),
        _ => Act::Serve,
    });
}

fn journals(directory: &Path) -> usize {
    std::fs::read_dir(directory).unwrap().count()
}

#[tokio::test]
async fn only_what_was_in_flight_is_sent_again() {
    let place = tempfile::tempdir().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    slowly(&server);
    let mut rounds = 0;
    for _ in 0..3 {
        rounds += 1;
        let so_far = server.count(Seen::is_put);
        cut_off_after(&server, place.path(), so_far + 5).await;
    }
    let report = uploader(&server).journal(place.path()).await.unwrap();
    assert_whole(&server, &source());
    assert!(report.bytes_resumed > 4 * MIB, "{report:?}");
    assert_eq!(
        report.bytes_sent + report.bytes_resumed + report.bytes_skipped,
        TARGET
    );
    assert!(rounds > 1);
    assert_eq!(
        journals(place.path()),
        0,
        "the journal of a whole upload goes"
    );
    // A range went again only if it was in flight when an upload ended: at most once for every cut.
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for seen in server.log().iter().filter(|seen| seen.is_put()) {
        let start = seen.range.as_ref().unwrap().start;
        if start < DISK {
            *times.entry(start).or_default() += 1;
        }
    }
    let again: usize = times.values().map(|times| times - 1).sum();
    assert!(
        again <= rounds * server.most_in_flight(),
        "{again} ranges went again in {rounds} rounds"
    );
}

#[tokio::test]
async fn a_journal_is_found_by_another_access_to_the_same_target() {
    let place = tempfile::tempdir().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    slowly(&server);
    cut_off_after(&server, place.path(), 4).await;
    let report = VhdUploader::new(source(), server.sas_signed("another"))
        .journal(place.path())
        .await
        .unwrap();
    assert!(report.bytes_resumed > 0);
    assert_whole(&server, &source());
}

#[tokio::test]
async fn another_source_is_refused_until_it_is_said_to_begin_afresh() {
    let place = tempfile::tempdir().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    slowly(&server);
    cut_off_after(&server, place.path(), 4).await;
    let changed = source();
    changed.change();
    let writes = server.count(Seen::is_put);
    let error = VhdUploader::new(changed.clone(), server.sas())
        .journal(place.path())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("another disk image"), "{error}");
    assert_eq!(server.count(Seen::is_put), writes, "nothing is written");
    let report = VhdUploader::new(changed, server.sas())
        .journal(place.path())
        .afresh(true)
        .await
        .unwrap();
    assert_eq!(report.bytes_resumed, 0);
    assert_whole(&server, &source());
}

#[tokio::test]
async fn a_target_that_was_made_anew_gets_everything() {
    let place = tempfile::tempdir().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    slowly(&server);
    cut_off_after(&server, place.path(), 5).await;
    server.forget_everything();
    let report = uploader(&server).journal(place.path()).await.unwrap();
    assert_eq!(report.bytes_resumed, 0);
    assert_whole(&server, &source());
}

#[tokio::test]
async fn a_page_that_the_target_lost_is_sent_again() {
    let place = tempfile::tempdir().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    slowly(&server);
    cut_off_after(&server, place.path(), 6).await;
    let lost = server
        .log()
        .iter()
        .filter(|seen| seen.is_put())
        .find_map(|seen| {
            seen.range
                .clone()
                .filter(|range| server.has_page(range.start))
        })
        .unwrap();
    server.forget(lost.start);
    let report = uploader(&server).journal(place.path()).await.unwrap();
    assert_whole(&server, &source());
    assert!(report.bytes_sent > 0);
}

#[tokio::test]
async fn a_journal_is_believed_by_a_target_that_lists_nothing() {
    let place = tempfile::tempdir().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    let slow_and_silent = |seen: &Seen| match seen {
        _ if seen.is_put() => Act::Slow(Duration::from_millis(15)),
        _ if seen.is_list() => Act::Refuse(403, "AuthorizationPermissionMismatch"),
        _ => Act::Serve,
    };
    server.script(slow_and_silent);
    cut_off_after(&server, place.path(), 6).await;
    let report = uploader(&server).journal(place.path()).await.unwrap();
    assert!(report.bytes_resumed > 0);
    assert!(matches!(report.verified, Verification::NotVerified(_)));
    assert_whole(&server, &source());
}

#[tokio::test]
async fn a_second_upload_to_the_same_target_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.is_put() && seen.nth > 1 => Act::Stall,
        _ => Act::Serve,
    });
    let first = uploader(&server).journal(place.path()).start();
    while server.count(Seen::is_put) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = uploader(&server).journal(place.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("under way"), "{error}");
    first.cancel();
    assert!(first.join().await.unwrap_err().is_cancelled());
    server.script(|_| Act::Serve);
    uploader(&server).journal(place.path()).await.unwrap();
    assert_whole(&server, &source());
}

#[tokio::test]
async fn a_failed_upload_says_where_it_can_be_gone_on_from() {
    let place = tempfile::tempdir().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    server.script(|seen| match seen {
        _ if seen.is_put() && seen.nth > 3 => Act::Refuse(409, "OperationNotAllowed"),
        _ => Act::Serve,
    });
    let error = uploader(&server)
        .concurrency(Concurrency::Fixed(1))
        .journal(place.path())
        .await
        .unwrap_err();
    let place_text = place.path().display().to_string();
    assert!(
        error
            .context()
            .any(|(_, value)| value.starts_with(&place_text)),
        "{error:?}"
    );
    assert_eq!(journals(place.path()), 1);
}

#[tokio::test]
async fn a_journal_that_cannot_be_begun_is_an_error_before_anything_is_written() {
    let place = tempfile::NamedTempFile::new().unwrap();
    let server = TestServer::new(Some(TARGET)).await;
    let error = uploader(&server).journal(place.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert_eq!(server.count(Seen::is_put), 0);
}
