//! Page blobs: made, written, listed, resized, described, deleted.

use super::*;
use crate::blob::tests::parse_ranges;

#[tokio::test]
async fn a_page_blob_holds_what_was_written_to_it() {
    let account = Account::start().await;
    let path = "/vhds/disks/%C3%A4%20b%2B%25.vhd";
    let made = account
        .create(path, 8 * MIB)
        .header("x-ms-meta-owner", "me")
        .header("x-ms-blob-content-type", "application/x-vhd")
        .header("x-ms-blob-sequence-number", 7);
    let made = account.done(made, 201).await;
    let first = header(&made, "etag").to_owned();
    let mut random = Random::new();
    let mut expected = vec![0; 8 << 20];
    for _ in 0..40 {
        let at = random.below(8 * MIB / 512 - 64) * 512;
        let pages = 1 + random.below(64);
        let data = random.bytes(pages * 512);
        expected[at as usize..at as usize + data.len()].copy_from_slice(&data);
        let put = account.put_page(path, at, data);
        account.done(put, 201).await;
    }
    assert!(account.content(path).await == expected);
    let range = account
        .request(Method::GET, path, "")
        .header("range", "bytes=1000-2999");
    let range = account.done(range, 206).await;
    assert_eq!(header(&range, "content-range"), "bytes 1000-2999/8388608");
    assert!(range.bytes().await.unwrap() == expected[1000..3000]);
    let clear = account
        .request(Method::PUT, path, "comp=page")
        .header("x-ms-page-write", "clear")
        .header("x-ms-range", "bytes=0-8388607")
        .header("content-length", 0);
    account.done(clear, 201).await;
    assert!(account.content(path).await.iter().all(|byte| *byte == 0));

    let head = account
        .done(account.request(Method::HEAD, path, ""), 200)
        .await;
    assert_ne!(header(&head, "etag"), first);
    for (name, value) in [
        ("content-length", "8388608"),
        ("content-type", "application/x-vhd"),
        ("x-ms-blob-type", "PageBlob"),
        ("x-ms-blob-sequence-number", "7"),
        ("x-ms-meta-owner", "me"),
        ("x-ms-lease-state", "available"),
    ] {
        assert_eq!(header(&head, name), value, "{name}");
    }
    account
        .done(account.request(Method::DELETE, path, ""), 202)
        .await;
    let gone = account.request(Method::GET, path, "");
    account.refused("gone", gone, 404, "BlobNotFound").await;
}

#[tokio::test]
async fn a_blob_grows_and_shrinks() {
    let account = Account::start().await;
    account.done(account.create("/vhds/b", 2048), 201).await;
    let put = account.put_page("/vhds/b", 0, vec![5; 2048]);
    account.done(put, 201).await;
    let set = |name: &'static str, value: &str| {
        account
            .request(Method::PUT, "/vhds/b", "comp=properties")
            .header("content-length", 0)
            .header(name, value)
    };
    let length = "x-ms-blob-content-length";
    account.done(set(length, "1024"), 200).await;
    assert_eq!(account.content("/vhds/b").await, [5; 1024]);
    account.done(set(length, "4096"), 200).await;
    // What was cut off does not come back.
    let mut expected = vec![5; 1024];
    expected.resize(4096, 0);
    assert_eq!(account.content("/vhds/b").await, expected);
    let listed = account.request(Method::GET, "/vhds/b", "comp=pagelist");
    let listed = account.done(listed, 200).await.text().await.unwrap();
    assert_eq!(parse_ranges(&listed).0, [0..1024]);
    let over = account.put_page("/vhds/b", 4096, vec![1; 512]);
    account.refused("over", over, 416, "InvalidPageRange").await;
    account
        .refused("odd", set(length, "1000"), 400, "InvalidHeaderValue")
        .await;

    let number = |action: &'static str, number: Option<&'static str>| {
        let request = set("x-ms-sequence-number-action", action);
        match number {
            Some(number) => request.header("x-ms-blob-sequence-number", number),
            None => request,
        }
    };
    for (action, given, expected) in [
        ("update", Some("5"), "5"),
        ("max", Some("3"), "5"),
        ("max", Some("8"), "8"),
        ("increment", None, "9"),
    ] {
        let answer = account.done(number(action, given), 200).await;
        assert_eq!(header(&answer, "x-ms-blob-sequence-number"), expected);
    }
    account
        .refused("none", number("update", None), 400, "MissingRequiredHeader")
        .await;
    let stale = account
        .put_page("/vhds/b", 0, vec![1; 512])
        .header("x-ms-if-sequence-number-lt", "9");
    account
        .refused("stale", stale, 412, "SequenceNumberConditionNotMet")
        .await;
    let good = account
        .put_page("/vhds/b", 0, vec![1; 512])
        .header("x-ms-if-sequence-number-le", "9");
    account.done(good, 201).await;
}

#[tokio::test]
async fn what_is_said_of_a_blob_is_told_and_gives_it_a_version() {
    let account = Account::start().await;
    let made = account.done(account.create("/vhds/b", 512), 201).await;
    let metadata = account
        .request(Method::PUT, "/vhds/b", "comp=metadata")
        .header("content-length", 0)
        .header("x-ms-meta-a", "1");
    let changed = account.done(metadata, 200).await;
    assert_ne!(header(&changed, "etag"), header(&made, "etag"));
    let content = account
        .request(Method::PUT, "/vhds/b", "comp=properties")
        .header("content-length", 0)
        .header("x-ms-blob-cache-control", "no-store")
        .header("x-ms-blob-content-md5", "AAAAAAAAAAAAAAAAAAAAAA==");
    account.done(content, 200).await;
    let head = account
        .done(account.request(Method::HEAD, "/vhds/b", ""), 200)
        .await;
    assert_eq!(header(&head, "x-ms-meta-a"), "1");
    assert_eq!(header(&head, "cache-control"), "no-store");
    assert_eq!(header(&head, "content-md5"), "AAAAAAAAAAAAAAAAAAAAAA==");
    let range = account
        .request(Method::GET, "/vhds/b", "")
        .header("range", "bytes=0-9");
    let range = account.done(range, 206).await;
    assert_eq!(header(&range, "content-md5"), "");
    assert_eq!(
        header(&range, "x-ms-blob-content-md5"),
        "AAAAAAAAAAAAAAAAAAAAAA=="
    );

    // Of two writers with one ETag, the second is refused, whatever the first changed.
    let etag = header(&made, "etag").to_owned();
    for more in ["comp=metadata", "comp=properties"] {
        let stale = account
            .request(Method::PUT, "/vhds/b", more)
            .header("content-length", 0)
            .header("if-match", &etag);
        account.refused(more, stale, 412, "ConditionNotMet").await;
    }
    let stale = account
        .request(Method::DELETE, "/vhds/b", "")
        .header("if-match", &etag);
    account
        .refused("delete", stale, 412, "ConditionNotMet")
        .await;
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let account = Account::start().await;
    account.done(account.create("/vhds/b", 1024), 201).await;
    let put = |headers: &[(&'static str, &str)]| {
        let mut request = account.request(Method::PUT, "/vhds/n", "");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    };
    let page = ("x-ms-blob-type", "PageBlob");
    let empty = ("content-length", "0");
    let long = "x".repeat(1025);
    let cases = vec![
        ("no type", put(&[empty]), 400, "MissingRequiredHeader"),
        (
            "no length",
            put(&[page, empty]),
            400,
            "MissingRequiredHeader",
        ),
        (
            "type",
            put(&[("x-ms-blob-type", "Disk"), empty]),
            400,
            "InvalidHeaderValue",
        ),
        (
            "append",
            put(&[("x-ms-blob-type", "AppendBlob"), empty]),
            501,
            "NotImplemented",
        ),
        (
            "odd",
            put(&[page, empty, ("x-ms-blob-content-length", "1000")]),
            400,
            "InvalidHeaderValue",
        ),
        (
            "large",
            put(&[page, empty, ("x-ms-blob-content-length", "8796093022720")]),
            400,
            "InvalidHeaderValue",
        ),
        (
            "metadata",
            account.create("/vhds/n", 512).header("x-ms-meta-1a", "x"),
            400,
            "InvalidMetadata",
        ),
        (
            "there",
            account.create("/vhds/b", 512).header("if-none-match", "*"),
            409,
            "BlobAlreadyExists",
        ),
        (
            "not there",
            account.create("/vhds/n", 512).header("if-match", "\"0x1\""),
            412,
            "ConditionNotMet",
        ),
        (
            "container",
            account.create("/other2/b", 512),
            404,
            "ContainerNotFound",
        ),
        (
            "name",
            account.create(&format!("/vhds/{long}"), 512),
            400,
            "InvalidResourceName",
        ),
        (
            "unaligned",
            account.put_page("/vhds/b", 1, vec![1; 512]),
            400,
            "InvalidHeaderValue",
        ),
        (
            "md5",
            account
                .put_page("/vhds/b", 0, vec![1; 512])
                .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            400,
            "Md5Mismatch",
        ),
        (
            "crc64",
            account
                .put_page("/vhds/b", 0, vec![1; 512])
                .header("x-ms-content-crc64", "AAAAAAAAAAA="),
            400,
            "Crc64Mismatch",
        ),
        (
            "block",
            account
                .request(Method::PUT, "/vhds/b", "comp=block&blockid=AAAA")
                .body(vec![1; 10]),
            409,
            "InvalidBlobType",
        ),
        (
            "snapshot",
            account
                .request(Method::PUT, "/vhds/b", "comp=snapshot")
                .header("content-length", 0),
            501,
            "NotImplemented",
        ),
        (
            "of a snapshot",
            account.request(Method::GET, "/vhds/b", "snapshot=2020-01-01"),
            501,
            "NotImplemented",
        ),
        (
            "abort",
            account
                .request(Method::PUT, "/vhds/b", "comp=copy&copyid=1")
                .header("content-length", 0),
            409,
            "NoPendingCopyOperation",
        ),
        (
            "previous",
            account.request(
                Method::GET,
                "/vhds/b",
                "comp=pagelist&prevsnapshot=2020-01-01",
            ),
            409,
            "PreviousSnapshotNotFound",
        ),
    ];
    for (what, request, status, code) in cases {
        account.refused(what, request, status, code).await;
    }
    assert_eq!(account.content("/vhds/b").await, [0; 1024]);
    let none = account.request(Method::GET, "/vhds/n", "");
    account.refused("none", none, 404, "BlobNotFound").await;
}
