//! Who may do what, and until when.

use super::*;

#[tokio::test]
async fn only_the_access_in_force_opens_the_disk() {
    let mut local = Local::start().await;
    let with = |local: &Local, path: &str| {
        local
            .client
            .put(format!("http://{}{path}&comp=page", local.address))
            .header("x-ms-page-write", "update")
            .header("x-ms-range", "bytes=0-511")
            .body(vec![3; 512])
    };
    let failed = "AuthenticationFailed";
    let path = local.path.clone();
    let other = Uuid::new_v4().to_string();
    let id = local.id.to_string();
    for (what, path, status, code) in [
        ("none", format!("/{id}/abcd?x=y"), 403, failed),
        (
            "no sig",
            path[..path.find("&sig").unwrap()].to_owned(),
            403,
            failed,
        ),
        ("garbled", path.replace("sig=", "sig=A"), 403, failed),
        ("sv", path.replace("2018-03-28", "2021-12-02"), 403, failed),
        ("policy", path.replace("si=", "si=0"), 403, failed),
        ("other blob", path.replace(&id, &other), 404, "BlobNotFound"),
        (
            "other name",
            path.replace("abcd", "abc"),
            404,
            "BlobNotFound",
        ),
        (
            "braces",
            path.replace(&id, &format!("%7B{id}%7D")),
            404,
            "BlobNotFound",
        ),
    ] {
        let body = refused(
            what,
            with(&local, &path).send().await.unwrap(),
            status,
            code,
        )
        .await;
        let secret = path.split("sig=").nth(1).unwrap_or("none");
        assert!(!body.contains(secret), "{what}");
    }
    assert_eq!(with(&local, &path).send().await.unwrap().status(), 201);

    // The time runs out.
    local.clock.advance(Duration::from_secs(3601));
    let late = with(&local, &path).send().await.unwrap();
    let body = refused("late", late, 403, failed).await;
    assert!(
        body.contains("Signature not valid in the specified time frame"),
        "{body}"
    );

    // A new one replaces it, for another process too.
    let ends = local.clock.now() + Duration::from_secs(60);
    local.path = local.blobs.grant(local.id, Access::Write, ends).unwrap();
    refused(
        "replaced",
        with(&local, &path).send().await.unwrap(),
        403,
        failed,
    )
    .await;
    assert_eq!(
        with(&local, &local.path).send().await.unwrap().status(),
        201
    );
    let address = serve(&local.reopen()).await;
    let here = std::mem::replace(&mut local.address, address);
    assert_eq!(
        with(&local, &local.path).send().await.unwrap().status(),
        201
    );
    local.address = here;

    // Read access reads.
    local.path = local.blobs.grant(local.id, Access::Read, ends).unwrap();
    let write = with(&local, &local.path).send().await.unwrap();
    refused("read", write, 403, "AuthorizationPermissionMismatch").await;
    let read = local
        .request(Method::GET, "")
        .header("range", "bytes=0-511");
    assert_eq!(
        read.send().await.unwrap().bytes().await.unwrap(),
        &[3; 512][..]
    );
    assert_eq!(local.ranges().await, [0..512]);

    local.blobs.revoke(local.id).unwrap();
    local.blobs.revoke(local.id).unwrap();
    refused(
        "revoked",
        with(&local, &local.path).send().await.unwrap(),
        403,
        failed,
    )
    .await;
    let head = local.request(Method::HEAD, "").send().await.unwrap();
    assert_eq!(head.status(), 403);
    assert_eq!(head.headers()["x-ms-error-code"], failed);

    local.blobs.remove(local.id).unwrap();
    refused(
        "removed",
        with(&local, &local.path).send().await.unwrap(),
        404,
        "BlobNotFound",
    )
    .await;
    assert!(!local.file().exists());
    let gone = local.blobs.remove(local.id).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::NotFound);
    assert!(local.reopen().revoke(local.id).is_err());
}

#[tokio::test]
async fn the_signature_is_nowhere_on_disk_or_in_debug() {
    let local = Local::start().await;
    let secret = url::Url::parse(&local.url(""))
        .unwrap()
        .query_pairs()
        .find(|(name, _)| name == "sig")
        .unwrap()
        .1
        .into_owned();
    for entry in std::fs::read_dir(local.dir.path().join("blobs")).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains(&secret));
    }
    assert!(!format!("{:?}", local.blobs).contains(&secret));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_written_after_access_was_revoked() {
    let local = Arc::new(Local::start().await);
    let mut writers = Vec::new();
    for n in 0..16u64 {
        let local = Arc::clone(&local);
        writers.push(tokio::spawn(async move {
            loop {
                let request = local.put(n * MIB, vec![n as u8 + 1; MIB as usize]);
                if request.send().await.unwrap().status() != 201 {
                    break;
                }
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (blobs, id) = (local.blobs.clone(), local.id);
    tokio::task::spawn_blocking(move || blobs.revoke(id))
        .await
        .unwrap()
        .unwrap();
    let store = local.blobs.get(local.id).unwrap().store().unwrap();
    let version = store.version();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.version(), version);
}

#[tokio::test]
async fn a_file_that_is_there_becomes_a_blob_with_its_pages() {
    use std::os::unix::fs::FileExt as _;
    let local = Local::start().await;
    let path = local.dir.path().join("copies/c.vhd");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = std::fs::File::create_new(&path).unwrap();
    file.set_len(LENGTH).unwrap();
    file.write_all_at(&[4; 512], SIZE).unwrap();
    let id = Uuid::new_v4();
    local.blobs.adopt(id, &path).unwrap();
    let ends = local.clock.now() + Duration::from_secs(60);
    let listed = |blobs: PageBlobs| {
        let (clock, client) = (local.clock.clone(), local.client.clone());
        async move {
            let sas = blobs.grant(id, Access::Read, ends).unwrap();
            let address = serve(&blobs).await;
            assert!(clock.now() < ends);
            let url = format!("http://{address}{sas}&comp=pagelist");
            let text = client.get(url).send().await.unwrap().text().await.unwrap();
            parse_ranges(&text).0
        }
    };
    assert_eq!(listed(local.blobs.clone()).await, [SIZE..LENGTH]);
    assert_eq!(listed(local.reopen()).await, [SIZE..LENGTH]);

    // Another program puts another file in its place; the blob knows when it is told.
    let other = path.with_extension("new");
    let file = std::fs::File::create_new(&other).unwrap();
    file.set_len(LENGTH).unwrap();
    file.write_all_at(&[5; 4096], MIB).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(listed(local.blobs.clone()).await, [SIZE..LENGTH]);
    local.blobs.rescan(id).unwrap();
    assert_eq!(listed(local.blobs.clone()).await, [MIB..MIB + 4096]);
    // To adopt the same again is to look again.
    file.write_all_at(&[5; 4096], 2 * MIB).unwrap();
    local.blobs.adopt(id, &path).unwrap();
    assert_eq!(
        listed(local.blobs.clone()).await,
        [MIB..MIB + 4096, 2 * MIB..2 * MIB + 4096]
    );

    file.set_len(LENGTH - 1).unwrap();
    let short = local.blobs.rescan(id).unwrap_err();
    assert!(
        short.to_string().contains("whole number of pages"),
        "{short}"
    );
    file.set_len(LENGTH - 512).unwrap();
    local.blobs.rescan(id).unwrap_err();
    local.blobs.adopt(Uuid::new_v4(), &path).unwrap_err();
    local.blobs.adopt(Uuid::new_v4(), &other).unwrap_err();
}
