//! Leases over HTTP: the headers, and what they stand against.

use std::time::Duration;

use super::*;

const A: &str = "aaaaaaaa-0000-0000-0000-000000000000";
const B: &str = "bbbbbbbb-0000-0000-0000-000000000000";

fn lease(account: &Account, path: &str, headers: &[(&'static str, &str)]) -> RequestBuilder {
    let more = if path == "/vhds" {
        "restype=container&comp=lease"
    } else {
        "comp=lease"
    };
    let mut request = account
        .request(Method::PUT, path, more)
        .header("content-length", 0);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
}

fn acquire(account: &Account, path: &str, seconds: &str) -> RequestBuilder {
    let headers = [
        ("x-ms-lease-action", "acquire"),
        ("x-ms-lease-duration", seconds),
        ("x-ms-proposed-lease-id", A),
    ];
    lease(account, path, &headers)
}

#[tokio::test]
async fn a_leased_blob_is_its_holders_to_write() {
    let account = Account::start().await;
    let made = account.done(account.create("/vhds/b", 1024), 201).await;
    let taken = account.done(acquire(&account, "/vhds/b", "15"), 201).await;
    assert_eq!(header(&taken, "x-ms-lease-id"), A);
    // Nothing that the version counts has changed.
    assert_eq!(header(&taken, "etag"), header(&made, "etag"));
    let writes = |id: Option<&'static str>| {
        let requests = [
            account.put_page("/vhds/b", 0, vec![1; 512]),
            account
                .request(Method::PUT, "/vhds/b", "comp=metadata")
                .header("content-length", 0),
            account
                .request(Method::PUT, "/vhds/b", "comp=properties")
                .header("content-length", 0)
                .header("x-ms-blob-content-length", "2048"),
            account.create("/vhds/b", 1024),
            account.request(Method::DELETE, "/vhds/b", ""),
        ];
        requests.map(|request| match id {
            Some(id) => request.header("x-ms-lease-id", id),
            None => request,
        })
    };
    for (id, code) in [
        (None, "LeaseIdMissing"),
        (Some(B), "LeaseIdMismatchWithBlobOperation"),
    ] {
        for request in writes(id) {
            account.refused(code, request, 412, code).await;
        }
    }
    assert_eq!(account.content("/vhds/b").await, [0; 1024]);
    let [page, metadata, properties, create, delete] = writes(Some(A));
    account.done(page, 201).await;
    account.done(metadata, 200).await;
    account.done(properties, 200).await;
    account.done(create, 201).await;
    // The lease outlives the blob that was in its place.
    let head = account
        .done(account.request(Method::HEAD, "/vhds/b", ""), 200)
        .await;
    assert_eq!(header(&head, "x-ms-lease-state"), "leased");
    assert_eq!(header(&head, "x-ms-lease-status"), "locked");
    assert_eq!(header(&head, "x-ms-lease-duration"), "fixed");
    let read = account
        .request(Method::GET, "/vhds/b", "")
        .header("x-ms-lease-id", B);
    account
        .refused("read", read, 412, "LeaseIdMismatchWithBlobOperation")
        .await;

    // It ends by the clock.
    account.local.clock.advance(Duration::from_secs(15));
    let head = account
        .done(account.request(Method::HEAD, "/vhds/b", ""), 200)
        .await;
    assert_eq!(header(&head, "x-ms-lease-state"), "expired");
    let late = account
        .put_page("/vhds/b", 0, vec![1; 512])
        .header("x-ms-lease-id", A);
    account.refused("late", late, 412, "LeaseLost").await;
    account
        .done(account.put_page("/vhds/b", 0, vec![2; 512]), 201)
        .await;
    account.refused("delete", delete, 412, "LeaseLost").await;
}

#[tokio::test]
async fn a_lease_is_renewed_changed_broken_and_released() {
    let account = Account::start().await;
    account.done(account.create("/vhds/b", 512), 201).await;
    let act = |headers: &[(&'static str, &str)]| lease(&account, "/vhds/b", headers);
    account.done(acquire(&account, "/vhds/b", "-1"), 201).await;
    let (action, id) = ("x-ms-lease-action", "x-ms-lease-id");
    account.done(act(&[(action, "renew"), (id, A)]), 200).await;
    let other = act(&[(action, "renew"), (id, B)]);
    account
        .refused("renew", other, 409, "LeaseIdMismatchWithLeaseOperation")
        .await;
    let changed = act(&[(action, "change"), (id, A), ("x-ms-proposed-lease-id", B)]);
    let changed = account.done(changed, 200).await;
    assert_eq!(header(&changed, id), B);
    let broken = act(&[(action, "break"), ("x-ms-lease-break-period", "10")]);
    let broken = account.done(broken, 202).await;
    assert_eq!(header(&broken, "x-ms-lease-time"), "10");
    let head = account
        .done(account.request(Method::HEAD, "/vhds/b", ""), 200)
        .await;
    assert_eq!(header(&head, "x-ms-lease-state"), "breaking");
    account
        .done(act(&[(action, "release"), (id, B)]), 200)
        .await;
    let none = act(&[(action, "break")]);
    account
        .refused("none", none, 409, "LeaseNotPresentWithLeaseOperation")
        .await;
    for (what, headers, code) in [
        ("action", vec![(action, "steal")], "InvalidHeaderValue"),
        ("no action", vec![], "MissingRequiredHeader"),
        ("no id", vec![(action, "renew")], "MissingRequiredHeader"),
        (
            "id",
            vec![(action, "renew"), (id, "x")],
            "InvalidHeaderValue",
        ),
        (
            "short",
            vec![(action, "acquire"), ("x-ms-lease-duration", "14")],
            "InvalidHeaderValue",
        ),
        (
            "no duration",
            vec![(action, "acquire")],
            "MissingRequiredHeader",
        ),
        (
            "period",
            vec![(action, "break"), ("x-ms-lease-break-period", "61")],
            "InvalidHeaderValue",
        ),
    ] {
        account.refused(what, act(&headers), 400, code).await;
    }
}

#[tokio::test]
async fn a_leased_container_is_its_holders_to_delete() {
    let account = Account::start().await;
    account.done(acquire(&account, "/vhds", "-1"), 201).await;
    // Its blobs are not.
    account.done(account.create("/vhds/b", 512), 201).await;
    let found = account
        .done(account.container(Method::GET, "vhds", ""), 200)
        .await;
    assert_eq!(header(&found, "x-ms-lease-state"), "leased");
    assert_eq!(header(&found, "x-ms-lease-duration"), "infinite");
    let delete = account.container(Method::DELETE, "vhds", "");
    account.refused("none", delete, 412, "LeaseIdMissing").await;
    let delete = |id| {
        account
            .container(Method::DELETE, "vhds", "")
            .header("x-ms-lease-id", id)
    };
    account
        .refused(
            "other",
            delete(B),
            412,
            "LeaseIdMismatchWithContainerOperation",
        )
        .await;
    account.done(delete(A), 202).await;
}
