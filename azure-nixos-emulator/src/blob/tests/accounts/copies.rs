//! Copies: of whole blobs, of pages, of blocks; from accounts and from disks.

use std::time::Duration;

use super::*;
use crate::blob::Access;
use crate::blob::tests::parse_ranges;

async fn page_list(account: &Account, path: &str) -> Vec<std::ops::Range<u64>> {
    let listed = account.request(Method::GET, path, "comp=pagelist");
    parse_ranges(&account.done(listed, 200).await.text().await.unwrap()).0
}

fn copy(account: &Account, to: &str, from: &str) -> RequestBuilder {
    account
        .request(Method::PUT, to, "")
        .header("x-ms-copy-source", from)
        .header("content-length", 0)
}

#[tokio::test]
async fn a_copy_has_the_content_the_pages_and_the_properties() {
    let account = Account::start().await;
    let made = account
        .create("/vhds/from", 16 * MIB)
        .header("x-ms-meta-a", "1")
        .header("x-ms-blob-content-type", "text/x");
    account.done(made, 201).await;
    let data = Random::new().bytes(5 * 512);
    for at in [0, 4 * MIB, 16 * MIB - 5 * 512] {
        account
            .done(account.put_page("/vhds/from", at, data.clone()), 201)
            .await;
    }
    let from = account.url("/vhds/from", &account.sas);
    let done = account.done(copy(&account, "/vhds/to", &from), 202).await;
    assert_eq!(header(&done, "x-ms-copy-status"), "success");
    assert!(account.content("/vhds/to").await == account.content("/vhds/from").await);
    assert_eq!(
        page_list(&account, "/vhds/to").await,
        page_list(&account, "/vhds/from").await
    );
    let head = account
        .done(account.request(Method::HEAD, "/vhds/to", ""), 200)
        .await;
    assert_eq!(header(&head, "x-ms-meta-a"), "1");
    assert_eq!(header(&head, "content-type"), "text/x");
    assert_eq!(header(&head, "x-ms-copy-id"), header(&done, "x-ms-copy-id"));
    // Nobody is told the signature of the source.
    assert_eq!(
        header(&head, "x-ms-copy-source"),
        from.split('?').next().unwrap()
    );
    let own = copy(&account, "/vhds/to", &from).header("x-ms-meta-b", "2");
    account.done(own, 202).await;
    let head = account
        .done(account.request(Method::HEAD, "/vhds/to", ""), 200)
        .await;
    assert_eq!(
        (header(&head, "x-ms-meta-a"), header(&head, "x-ms-meta-b")),
        ("", "2")
    );
}

/// As AzCopy copies one disk, or the blob of an account, to another disk.
#[tokio::test]
async fn pages_go_to_a_disk() {
    let account = Account::start().await;
    account.done(account.create("/vhds/from", MIB), 201).await;
    let data = Random::new().bytes(2048);
    account
        .done(account.put_page("/vhds/from", 1024, data.clone()), 201)
        .await;
    let local = &account.local;
    let put = |source: &str, to: &str| {
        local
            .request(Method::PUT, "&comp=page")
            .header("x-ms-page-write", "update")
            .header("x-ms-copy-source", source)
            .header("x-ms-source-range", "bytes=1024-3071")
            .header("x-ms-range", to)
            .header("content-length", 0)
    };
    let from = account.url("/vhds/from", &account.sas);
    let done = put(&from, "bytes=4096-6143").send().await.unwrap();
    assert_eq!(done.status(), 201);
    assert_eq!(local.ranges().await, [4096..6144]);
    let stored = local.request(Method::GET, "").send().await.unwrap();
    let stored = stored.bytes().await.unwrap();
    assert!(stored[4096..6144] == data[..]);

    // The right to write to the disk is none to read the account.
    let unsigned = from.split('?').next().unwrap();
    for (source, to, status, code) in [
        (unsigned, "bytes=0-2047", 401, "CannotVerifyCopySource"),
        (&from, "bytes=0-1023", 400, "InvalidHeaderValue"),
        (&from, "bytes=1-2048", 400, "InvalidHeaderValue"),
        (
            &from,
            "bytes=1099511627776-1099511629823",
            416,
            "InvalidPageRange",
        ),
    ] {
        let refused = put(source, to).send().await.unwrap();
        assert_eq!(refused.status(), status);
        assert_eq!(header(&refused, "x-ms-error-code"), code);
    }
    assert_eq!(local.ranges().await, [4096..6144]);
}

#[tokio::test]
async fn pages_come_from_an_account_and_from_a_disk() {
    let account = Account::start().await;
    account.done(account.create("/vhds/from", MIB), 201).await;
    let data = Random::new().bytes(2048);
    account
        .done(account.put_page("/vhds/from", 1024, data.clone()), 201)
        .await;
    account.done(account.create("/vhds/to", MIB), 201).await;
    account.local.write(512, data.clone()).await;
    let ends = account.local.clock.now() + Duration::from_secs(60);
    let disk = account
        .local
        .blobs
        .grant(account.local.id, Access::Read, ends)
        .unwrap();
    let disk = format!("http://{}{disk}", account.local.address);
    let own = account.url("/vhds/from", &account.sas);
    let put = |source: &str, from: &str, to: &str| {
        account
            .request(Method::PUT, "/vhds/to", "comp=page")
            .header("x-ms-page-write", "update")
            .header("x-ms-copy-source", source)
            .header("x-ms-source-range", from)
            .header("x-ms-range", to)
            .header("content-length", 0)
    };
    account
        .done(put(&own, "bytes=1024-2047", "bytes=0-1023"), 201)
        .await;
    account
        .done(put(&disk, "bytes=512-2559", "bytes=4096-6143"), 201)
        .await;
    let found = account.content("/vhds/to").await;
    assert!(found[..1024] == data[..1024] && found[4096..6144] == data[..]);
    assert_eq!(page_list(&account, "/vhds/to").await, [0..1024, 4096..6144]);

    let other = format!("{}/vhds/from", account.url("", "").trim_end_matches('?'));
    let port = account.local.address.port().to_string();
    let elsewhere = own.replace(&port, "1");
    let page = "bytes=0-511";
    for (what, request, status, code) in [
        (
            "no signature",
            put(&other, page, page),
            401,
            "CannotVerifyCopySource",
        ),
        (
            "another port",
            put(&elsewhere, page, page),
            400,
            "CannotVerifyCopySource",
        ),
        (
            "outside",
            put("https://example.com/a/b", page, page),
            400,
            "CannotVerifyCopySource",
        ),
        ("no url", put("from", page, page), 400, "InvalidHeaderValue"),
        (
            "not there",
            put(&own.replace("/from", "/none"), page, page),
            404,
            "CannotVerifyCopySource",
        ),
        (
            "bad signature",
            put(&own.replace("sig=", "sig=A"), page, page),
            403,
            "CannotVerifyCopySource",
        ),
        (
            "bad disk",
            put(&disk.replace("sig=", "sig=A"), page, page),
            403,
            "CannotVerifyCopySource",
        ),
        (
            "lengths",
            put(&own, "bytes=0-1023", page),
            400,
            "InvalidHeaderValue",
        ),
        (
            "past the source",
            put(&own, "bytes=1048576-1049087", page),
            416,
            "InvalidRange",
        ),
        (
            "past the end",
            put(&own, page, "bytes=1048576-1049087"),
            416,
            "InvalidPageRange",
        ),
        (
            "source condition",
            put(&own, page, page).header("x-ms-source-if-match", "\"0x1\""),
            412,
            "SourceConditionNotMet",
        ),
        (
            "md5",
            put(&own, page, page).header("x-ms-source-content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            400,
            "Md5Mismatch",
        ),
    ] {
        let body = account.refused(what, request, status, code).await;
        assert!(!body.contains("sig="), "{what}: {body}");
    }
    assert!(account.content("/vhds/to").await == found);
    // A disk takes nothing from anywhere.
    let to_disk = account
        .local
        .request(Method::PUT, "&comp=page")
        .header("x-ms-page-write", "update")
        .header("x-ms-range", page)
        .header("x-ms-copy-source", &own)
        .header("content-length", 0);
    account
        .refused("disk", to_disk, 403, "AuthenticationFailed")
        .await;
}

#[tokio::test]
async fn blocks_and_block_blobs_come_from_a_url() {
    let account = Account::start().await;
    let data = Random::new().bytes(100_000);
    let made = account
        .request(Method::PUT, "/vhds/from", "")
        .header("x-ms-blob-type", "BlockBlob")
        .body(data.clone());
    account.done(made, 201).await;
    let from = account.url("/vhds/from", &account.sas);
    let whole = copy(&account, "/vhds/to", &from).header("x-ms-blob-type", "BlockBlob");
    account.done(whole, 201).await;
    assert!(account.content("/vhds/to").await == data);
    let block = account
        .request(Method::PUT, "/vhds/part", "comp=block&blockid=YQ==")
        .header("x-ms-copy-source", &from)
        .header("x-ms-source-range", "bytes=10-99")
        .header("content-length", 0);
    account.done(block, 201).await;
    let commit = account
        .request(Method::PUT, "/vhds/part", "comp=blocklist")
        .body("<BlockList><Latest>YQ==</Latest></BlockList>");
    account.done(commit, 201).await;
    assert!(account.content("/vhds/part").await == data[10..100]);
    let same = account.request(Method::PUT, "/vhds/copied", "");
    let same = same
        .header("x-ms-copy-source", &from)
        .header("content-length", 0);
    account.done(same, 202).await;
    assert!(account.content("/vhds/copied").await == data);
}
