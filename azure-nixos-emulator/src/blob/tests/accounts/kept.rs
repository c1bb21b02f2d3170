//! What a restart, a new key and a deletion leave.

use super::*;
use crate::blob::tests::serve;

#[tokio::test]
async fn everything_survives_a_restart() {
    let mut account = Account::start().await;
    let data = Random::new().bytes(4096);
    let made = account
        .create("/vhds/a/b", MIB)
        .header("x-ms-meta-a", "1")
        .header("x-ms-blob-sequence-number", 4);
    account.done(made, 201).await;
    account
        .done(account.put_page("/vhds/a/b", 8192, data.clone()), 201)
        .await;
    let lease = account
        .request(Method::PUT, "/vhds/a/b", "comp=lease")
        .header("x-ms-lease-action", "acquire")
        .header("x-ms-lease-duration", "-1")
        .header("content-length", 0);
    account.done(lease, 201).await;
    let block = account
        .request(Method::PUT, "/vhds/c", "comp=block&blockid=YQ==")
        .body(vec![1; 100]);
    account.done(block, 201).await;
    let before = account
        .done(account.request(Method::HEAD, "/vhds/a/b", ""), 200)
        .await;

    account.local.address = serve(&account.local.reopen()).await;
    let after = account
        .done(account.request(Method::HEAD, "/vhds/a/b", ""), 200)
        .await;
    for name in [
        "etag",
        "x-ms-meta-a",
        "x-ms-blob-sequence-number",
        "x-ms-lease-state",
        "content-length",
        "x-ms-creation-time",
    ] {
        assert_eq!(header(&after, name), header(&before, name), "{name}");
    }
    let mut expected = vec![0; 1 << 20];
    expected[8192..8192 + 4096].copy_from_slice(&data);
    assert!(account.content("/vhds/a/b").await == expected);
    let commit = account
        .request(Method::PUT, "/vhds/c", "comp=blocklist")
        .body("<BlockList><Latest>YQ==</Latest></BlockList>");
    account.done(commit, 201).await;
    assert_eq!(account.content("/vhds/c").await, [1; 100]);
}

#[tokio::test]
async fn what_was_never_answered_is_taken_away() {
    let mut account = Account::start().await;
    account.done(account.create("/vhds/b", 512), 201).await;
    account
        .done(account.put_page("/vhds/b", 0, vec![3; 512]), 201)
        .await;
    // Bytes that no record names, a container without one, an account without one.
    let accounts = account.local.dir.path().join("accounts");
    let orphan = accounts.join(format!("web1/vhds/{}.bytes", uuid::Uuid::new_v4()));
    std::fs::write(&orphan, b"x").unwrap();
    for half in ["web1/half", "half"] {
        std::fs::create_dir(accounts.join(half)).unwrap();
    }
    // A record of the blob that an interrupted request replaced.
    let records = || {
        std::fs::read_dir(accounts.join("web1/vhds"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "json")
                    && path.file_stem().is_some_and(|stem| stem != "container")
            })
            .collect::<Vec<_>>()
    };
    let own = records().pop().unwrap();
    let older = own.with_file_name(format!("{}.json", uuid::Uuid::new_v4()));
    let text = std::fs::read_to_string(&own).unwrap();
    let old = serde_json::from_str::<serde_json::Value>(&text)
        .map(|mut record| {
            record["created"]["secs_since_epoch"] = 1.into();
            record["file"] = "accounts/web1/vhds/none.bytes".into();
            record.to_string()
        })
        .unwrap();
    std::fs::write(&older, old).unwrap();

    account.local.address = serve(&account.local.reopen()).await;
    assert_eq!(account.content("/vhds/b").await, [3; 512]);
    assert_eq!(records(), [own]);
    assert!(!orphan.exists());
    assert!(!accounts.join("half").exists() && !accounts.join("web1/half").exists());
}

#[tokio::test]
async fn an_account_goes_with_all_that_is_in_it() {
    let account = Account::start().await;
    account.done(account.create("/vhds/b", 512), 201).await;
    // Whoever asks again gets the same keys.
    assert_eq!(
        account.local.blobs.create_account(ACCOUNT).unwrap(),
        account.keys
    );
    account.local.blobs.delete_account(ACCOUNT).unwrap();
    account.local.blobs.delete_account(ACCOUNT).unwrap();
    assert!(!account.local.dir.path().join("accounts/web1").exists());
    let gone = account.request(Method::GET, "/vhds/b", "");
    let status = gone.send().await.unwrap().status();
    assert!(status.is_client_error(), "{status}");
    let new = account.local.blobs.create_account(ACCOUNT).unwrap();
    assert_ne!(new, account.keys);
}
