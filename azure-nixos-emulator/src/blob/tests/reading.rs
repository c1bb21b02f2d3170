//! A disk is written, read back, found again and left alone.

use super::*;
use crate::blob::checksum;

#[tokio::test]
async fn a_disk_is_written_read_and_found_again() {
    let local = Local::start().await;
    let mut random = Random::new();
    let mut expected = vec![0; LENGTH as usize];
    let footer = fixed_footer(SIZE).to_vec();
    for (at, data) in [
        (0, random.bytes(4 * MIB)),
        (4 * MIB, random.bytes(512)),
        (9 * MIB + 512, random.bytes(MIB)),
        (SIZE, footer),
    ] {
        let sum = checksum::encode(&checksum::crc64(&data).to_le_bytes());
        let response = local
            .put(at, data.clone())
            .header("x-ms-client-request-id", "mine")
            .header("x-ms-content-crc64", &sum)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 201);
        let headers = response.headers();
        assert_eq!(headers["x-ms-content-crc64"], sum.as_str());
        assert_eq!(headers["x-ms-client-request-id"], "mine");
        assert_eq!(headers["x-ms-version"], VERSION);
        assert_eq!(headers["x-ms-blob-sequence-number"], "0");
        assert!(headers.contains_key("etag") && headers.contains_key("last-modified"));
        assert!(headers.contains_key("date") && headers.contains_key("x-ms-request-id"));
        expected[at as usize..][..data.len()].copy_from_slice(&data);
    }
    let response = local.clear(512..1024).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert!(!response.headers().contains_key("x-ms-content-crc64"));
    expected[512..1024].fill(0);
    let ranges = [
        0..512,
        1024..4 * MIB + 512,
        9 * MIB + 512..10 * MIB + 512,
        SIZE..LENGTH,
    ];
    assert_eq!(local.ranges().await, ranges);

    let whole = local.request(Method::GET, "").send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()["x-ms-blob-type"], "PageBlob");
    let etag = whole.headers()["etag"].clone();
    assert!(whole.bytes().await.unwrap() == expected);
    assert!(std::fs::read(local.file()).unwrap() == expected);

    // The next process finds everything, without this one having closed anything.
    let next = local.reopen();
    assert_eq!(next.footer_problem(local.id).unwrap(), None);
    let local = Local {
        address: serve(&next).await,
        blobs: next,
        ..local
    };
    assert_eq!(local.ranges().await, ranges);
    let head = local.request(Method::HEAD, "").send().await.unwrap();
    assert_eq!(head.headers()["etag"], etag);
    local.blobs.revoke(local.id).unwrap();
    let last = local.reopen();
    let path = last
        .grant(
            local.id,
            Access::Read,
            local.clock.now() + Duration::from_secs(9),
        )
        .unwrap();
    let local = Local {
        address: serve(&last).await,
        path,
        ..local
    };
    assert_eq!(local.ranges().await, ranges);
    let read = local.request(Method::GET, "").send().await.unwrap();
    assert!(read.bytes().await.unwrap() == expected);
}

#[tokio::test]
async fn properties_say_what_the_blob_is() {
    let local = Local::start().await;
    let before = local.request(Method::HEAD, "").send().await.unwrap();
    assert_eq!(before.status(), 200);
    let headers = before.headers();
    assert_eq!(headers["content-length"], LENGTH.to_string().as_str());
    assert_eq!(headers["x-ms-blob-type"], "PageBlob");
    assert_eq!(headers["accept-ranges"], "bytes");
    assert_eq!(headers["x-ms-blob-sequence-number"], "0");
    local.write(0, vec![1; 512]).await;
    let after = local.request(Method::HEAD, "").send().await.unwrap();
    assert_ne!(after.headers()["etag"], headers["etag"]);
    let list = local
        .request(Method::GET, "&comp=pagelist")
        .send()
        .await
        .unwrap();
    assert_eq!(
        list.headers()["x-ms-blob-content-length"],
        LENGTH.to_string().as_str()
    );
}

#[tokio::test]
async fn ranges_are_read_with_their_checksums() {
    let local = Local::start().await;
    let data = Random::new().bytes(8192);
    local.write(4096, data.clone()).await;
    let get = |range: &str| {
        local
            .request(Method::GET, "")
            .header("range", "bytes=0-3")
            .header("x-ms-range", range)
    };
    let response = get("bytes=5000-5099").send().await.unwrap();
    assert_eq!(response.status(), 206);
    let headers = response.headers().clone();
    assert_eq!(
        headers["content-range"],
        format!("bytes 5000-5099/{LENGTH}").as_str()
    );
    assert_eq!(headers["content-length"], "100");
    assert_eq!(response.bytes().await.unwrap(), &data[904..1004]);

    let last = get(&format!("bytes={SIZE}-")).send().await.unwrap();
    assert_eq!(last.bytes().await.unwrap(), &[0; 512][..]);
    let beyond = get(&format!("bytes={SIZE}-{}", LENGTH * 2))
        .send()
        .await
        .unwrap();
    assert_eq!(beyond.headers()["content-length"], "512");

    let md5 = get("bytes=4096-12287")
        .header("x-ms-range-get-content-md5", "true")
        .send()
        .await
        .unwrap();
    let pieces = [bytes::Bytes::from(data)];
    assert_eq!(
        md5.headers()["content-md5"],
        checksum::encode(&checksum::md5_of(&pieces)).as_str()
    );
    let crc = get("bytes=4096-12287")
        .header("x-ms-range-get-content-crc64", "true")
        .send()
        .await
        .unwrap();
    assert_eq!(
        crc.headers()["x-ms-content-crc64"],
        checksum::encode(&checksum::crc64_of(&pieces)).as_str()
    );
    let large = get("bytes=0-4194304").header("x-ms-range-get-content-md5", "true");
    refused(
        "md5 of too much",
        large.send().await.unwrap(),
        400,
        "OutOfRangeInput",
    )
    .await;
    let outside = get(&format!("bytes={LENGTH}-")).send().await.unwrap();
    refused("outside", outside, 416, "InvalidRange").await;
    let garbled = get("bytes=9-1").send().await.unwrap();
    refused("garbled", garbled, 400, "InvalidHeaderValue").await;
}

#[tokio::test]
async fn blobs_keep_out_of_each_others_way() {
    let local = Local::start().await;
    let other = local.dir.path().join("disks/rg/e.vhd");
    let create = |id, file: &PathBuf, length| local.blobs.create(id, file, length);
    use std::io::ErrorKind::{AlreadyExists, InvalidInput};
    for (id, file, length, kind) in [
        (local.id, &other, 1024, AlreadyExists),
        (Uuid::new_v4(), &local.file(), 1024, AlreadyExists),
        (Uuid::new_v4(), &other, 1000, InvalidInput),
        (Uuid::new_v4(), &other, 0, InvalidInput),
    ] {
        assert_eq!(create(id, file, length).unwrap_err().kind(), kind);
    }
    // A file that an earlier life left behind is replaced.
    std::fs::write(&other, b"old").unwrap();
    let id = Uuid::new_v4();
    create(id, &other, 1024).unwrap();
    assert_eq!(std::fs::read(&other).unwrap(), [0; 1024]);
    let problem = local.blobs.footer_problem(id).unwrap().unwrap();
    assert!(
        problem.contains(&format!("disk 'abcd' with blob /{id}/abcd is not")),
        "{problem}"
    );
    // A blob without its file stops only itself.
    std::fs::remove_file(&other).unwrap();
    let next = local.reopen();
    let error = next.footer_problem(id).unwrap_err();
    assert!(error.to_string().contains("e.vhd"), "{error}");
    assert!(next.footer_problem(local.id).unwrap().is_some());
    next.remove(id).unwrap();
    assert!(local.reopen().footer_problem(id).is_err());
}

#[tokio::test]
async fn a_state_directory_can_be_moved() {
    let local = Local::start().await;
    local.write(512, vec![5; 512]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let moved = elsewhere.path().join("state");
    std::fs::rename(local.dir.path(), &moved).unwrap();
    let next = PageBlobs::open(&moved, Clock::new(), Faults::new(), Options::default()).unwrap();
    let store = next.get(local.id).unwrap().store().unwrap();
    assert_eq!(store.written(0..LENGTH, 9), [512..1024]);
    let mut page = [0; 512];
    store.read_at(&mut page, 512).unwrap();
    assert_eq!(page, [5; 512]);
}
