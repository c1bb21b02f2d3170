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
