//! What is refused, and what each version of the service does.

use super::*;
use crate::blob::checksum;

#[tokio::test]
async fn wrong_writes_are_refused_and_write_nothing() {
    let local = Local::start().await;
    local.write(0, vec![7; 1024]).await;
    let before = std::fs::read(local.file()).unwrap();
    let raw = |headers: &[(&'static str, &str)], body: Vec<u8>| {
        let mut request = local
            .client
            .put(local.url("&comp=page"))
            .header("content-length", body.len())
            .body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request
    };
    let page = || vec![1; 512];
    let update = ("x-ms-page-write", "update");
    let first = ("x-ms-range", "bytes=0-511");
    let end = format!("bytes={LENGTH}-{}", LENGTH + 511);
    let over = format!("bytes={SIZE}-{}", LENGTH + 511);
    let bad = "InvalidHeaderValue";
    let cases: Vec<(&str, RequestBuilder, u16, &str)> = vec![
        (
            "no page-write",
            raw(&[first], page()),
            400,
            "MissingRequiredHeader",
        ),
        (
            "no range",
            raw(&[update], page()),
            400,
            "MissingRequiredHeader",
        ),
        (
            "page-write",
            raw(&[("x-ms-page-write", "erase"), first], page()),
            400,
            bad,
        ),
        (
            "start",
            raw(&[update, ("x-ms-range", "bytes=1-512")], page()),
            400,
            bad,
        ),
        (
            "end",
            raw(&[update, ("Range", "bytes=0-510")], vec![1; 511]),
            400,
            bad,
        ),
        (
            "open end",
            raw(&[update, ("x-ms-range", "bytes=0-")], page()),
            400,
            bad,
        ),
        (
            "short body",
            raw(&[update, ("x-ms-range", "bytes=0-1023")], page()),
            400,
            bad,
        ),
        ("long body", raw(&[update, first], vec![1; 1024]), 400, bad),
        (
            "too large",
            local.put(0, vec![1; 4 * MIB as usize + 512]),
            413,
            "RequestBodyTooLarge",
        ),
        (
            "past the end",
            raw(&[update, ("x-ms-range", &end)], page()),
            416,
            "InvalidPageRange",
        ),
        (
            "over the end",
            raw(&[update, ("x-ms-range", &over)], vec![1; 1024]),
            416,
            "InvalidPageRange",
        ),
        (
            "clear over the end",
            local.clear(SIZE..LENGTH + 512),
            416,
            "InvalidPageRange",
        ),
        ("clear unaligned", local.clear(0..700), 400, bad),
        (
            "clear with a body",
            raw(&[("x-ms-page-write", "clear"), first], page()),
            400,
            bad,
        ),
        (
            "version",
            raw(&[update, first, ("x-ms-version", "2021-12-03")], page()),
            400,
            bad,
        ),
        (
            "md5 is none",
            local.put(0, page()).header("content-md5", "abc"),
            400,
            "InvalidMd5",
        ),
        (
            "crc is none",
            local.put(0, page()).header("x-ms-content-crc64", "abc"),
            400,
            bad,
        ),
        (
            "both sums",
            local
                .put(0, page())
                .header("x-ms-content-crc64", "AAAAAAAAAAA=")
                .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            400,
            bad,
        ),
        (
            "md5",
            local
                .put(0, page())
                .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
            400,
            "Md5Mismatch",
        ),
        (
            "crc",
            local
                .put(0, page())
                .header("x-ms-content-crc64", "AAAAAAAAAAA="),
            400,
            "Crc64Mismatch",
        ),
        (
            "etag",
            local.put(0, page()).header("if-match", "\"0x1\""),
            412,
            "ConditionNotMet",
        ),
        (
            "lease",
            local.put(0, page()).header("x-ms-lease-id", "1"),
            412,
            "LeaseNotPresentWithBlobOperation",
        ),
        (
            "sequence number",
            local
                .put(0, page())
                .header("x-ms-if-sequence-number-eq", "3"),
            412,
            "SequenceNumberConditionNotMet",
        ),
        (
            "from a URL, with a body",
            local.put(0, page()).header("x-ms-copy-source", "http://x/"),
            400,
            "InvalidHeaderValue",
        ),
    ];
    for (what, request, status, code) in cases {
        refused(what, request.send().await.unwrap(), status, code).await;
    }
    let mismatch = local
        .put(0, page())
        .header("x-ms-content-crc64", "AAAAAAAAAAA=");
    let body = refused("crc", mismatch.send().await.unwrap(), 400, "Crc64Mismatch").await;
    assert!(body.contains("<UserSpecifiedChecksum>AAAAAAAAAAA=</UserSpecifiedChecksum>"));

    let chunked = local.raw_put("transfer-encoding: chunked\r\n\r\n0\r\n\r\n");
    let answer = String::from_utf8(local.raw(&chunked).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 411 "), "{answer}");
    assert!(answer.contains("MissingContentLengthHeader"), "{answer}");
    // The sender gives up half way through its page.
    let mut stream = TcpStream::connect(local.address).await.unwrap();
    let half = local.raw_put(&format!("content-length: 512\r\n\r\n{}", "x".repeat(300)));
    stream.write_all(half.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();

    assert!(std::fs::read(local.file()).unwrap() == before);
    assert_eq!(local.ranges().await, [0..1024]);
}

#[tokio::test]
async fn operations_that_a_disk_does_not_have_are_refused() {
    let local = Local::start().await;
    local.write(0, vec![7; 512]).await;
    let denied = "AuthorizationPermissionMismatch";
    for (method, more, status, code) in [
        (Method::PUT, "", 403, denied),
        (Method::DELETE, "", 403, denied),
        (Method::PUT, "&comp=metadata", 403, denied),
        (Method::PUT, "&comp=properties", 403, denied),
        (Method::PUT, "&comp=tier", 403, denied),
        (Method::PUT, "&comp=lease", 403, denied),
        (Method::PUT, "&comp=snapshot", 403, denied),
        (Method::PUT, "&comp=incrementalcopy", 403, denied),
        (Method::GET, "&comp=tags", 403, denied),
        (Method::GET, "&restype=container&comp=list", 403, denied),
        (
            Method::PUT,
            "&comp=block&blockid=AA",
            409,
            "InvalidBlobType",
        ),
        (Method::PUT, "&comp=appendblock", 409, "InvalidBlobType"),
        (Method::GET, "&comp=blocklist", 409, "InvalidBlobType"),
        (
            Method::PUT,
            "&comp=everything",
            400,
            "InvalidQueryParameterValue",
        ),
        (Method::GET, "&comp=page", 400, "InvalidQueryParameterValue"),
        (
            Method::GET,
            "&snapshot=2020-01-01T00:00:00.0000000Z",
            404,
            "BlobNotFound",
        ),
        (Method::POST, "", 405, "UnsupportedHttpVerb"),
        (Method::PATCH, "&comp=page", 405, "UnsupportedHttpVerb"),
    ] {
        let what = format!("{method} {more}");
        let response = local
            .request(method, more)
            .header("x-ms-blob-type", "PageBlob")
            .header("x-ms-blob-content-length", "512")
            .header("content-length", 0)
            .send()
            .await
            .unwrap();
        refused(&what, response, status, code).await;
    }
    assert_eq!(std::fs::metadata(local.file()).unwrap().len(), LENGTH);
    assert_eq!(local.ranges().await, [0..512]);
}

#[tokio::test]
async fn a_version_decides_on_checksums_and_markers() {
    let local = Local::start().await;
    local.write(0, vec![1; 512]).await;
    local.write(1024, vec![1; 512]).await;
    let sums = |response: &Response| {
        ["x-ms-content-crc64", "content-md5"].map(|name| response.headers().contains_key(name))
    };
    let put = |version: Option<&str>| {
        let request = local
            .client
            .put(local.url("&comp=page"))
            .header("x-ms-page-write", "Update")
            .header("range", "bytes=0-511")
            .body(vec![1; 512]);
        match version {
            Some(version) => request.header("x-ms-version", version),
            None => request,
        }
    };
    // Without the header, the version of the signature counts: 2018-03-28.
    for (version, expected) in [
        (None, [false, true]),
        (Some("2018-11-09"), [false, true]),
        (Some("2019-02-02"), [true, false]),
        (Some("2026-04-06"), [true, false]),
    ] {
        // Versions before CRC-64 do not look at its header.
        let mut request = put(version);
        if expected[1] {
            request = request.header("x-ms-content-crc64", "AAAAAAAAAAA=");
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 201, "{version:?}");
        assert_eq!(sums(&response), expected, "{version:?}");
    }
    let md5 = checksum::encode(&checksum::md5_of(&[vec![1; 512].into()]));
    let response = put(Some(VERSION))
        .header("content-md5", &md5)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["content-md5"], md5.as_str());

    let url = local.url("&comp=pagelist&maxresults=1");
    let old = local
        .client
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(!old.contains("NextMarker"), "{old}");
    assert_eq!(parse_ranges(&old).0, [0..512, 1024..1536]);
}
