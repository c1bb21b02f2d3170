//! Containers and what is listed of them.

use super::*;

#[tokio::test]
async fn a_container_lives_and_dies() {
    let account = Account::start().await;
    let made = account
        .container(Method::PUT, "other2", "")
        .header("x-ms-meta-a", "1");
    let made = account.done(made, 201).await;
    let again = account.container(Method::PUT, "other2", "");
    account
        .refused("again", again, 409, "ContainerAlreadyExists")
        .await;
    for bad in ["C2", "ab", "a--b"] {
        let bad = account.container(Method::PUT, bad, "");
        account
            .refused("name", bad, 400, "InvalidResourceName")
            .await;
    }
    let public = account
        .container(Method::PUT, "other3", "")
        .header("x-ms-blob-public-access", "blob");
    account
        .refused("public", public, 409, "PublicAccessNotPermitted")
        .await;
    let found = account
        .done(account.container(Method::GET, "other2", ""), 200)
        .await;
    assert_eq!(header(&found, "etag"), header(&made, "etag"));
    assert_eq!(header(&found, "x-ms-meta-a"), "1");
    let set = account
        .container(Method::PUT, "other2", "comp=metadata")
        .header("x-ms-meta-b", "2");
    account.done(set, 200).await;
    let found = account
        .done(
            account.container(Method::HEAD, "other2", "comp=metadata"),
            200,
        )
        .await;
    assert_eq!(header(&found, "x-ms-meta-a"), "");
    assert_eq!(header(&found, "x-ms-meta-b"), "2");
    let stale = account
        .container(Method::DELETE, "other2", "")
        .header("if-match", header(&made, "etag"));
    account
        .refused("stale", stale, 412, "ConditionNotMet")
        .await;
    account.done(account.create("/other2/b", 512), 201).await;
    account
        .done(account.container(Method::DELETE, "other2", ""), 202)
        .await;
    for (what, request) in [
        ("container", account.container(Method::GET, "other2", "")),
        ("blob", account.create("/other2/b", 512)),
        (
            "list",
            account.container(Method::GET, "other2", "comp=list"),
        ),
    ] {
        account
            .refused(what, request, 404, "ContainerNotFound")
            .await;
    }
    assert!(
        !account
            .local
            .dir
            .path()
            .join("accounts/web1/other2")
            .exists()
    );
}

#[tokio::test]
async fn blobs_are_listed_by_prefix_delimiter_and_page() {
    let account = Account::start().await;
    let names = ["a/1", "a/2", "a/b/3", "b", "c&<d>", "d/1"];
    for name in names {
        let path = format!("/vhds/{}", name.replace('<', "%3C").replace('>', "%3E"));
        let made = account.create(&path, 512).header("x-ms-meta-n", "v");
        account.done(made, 201).await;
    }
    let listed = async |more: &str| {
        let more = format!("comp=list&{more}");
        let listed = account.container(Method::GET, "vhds", &more);
        account.done(listed, 200).await.text().await.unwrap()
    };
    let unescaped = |found: Vec<String>| {
        found
            .iter()
            .map(|name| {
                name.replace("&lt;", "<")
                    .replace("&gt;", ">")
                    .replace("&amp;", "&")
            })
            .collect::<Vec<_>>()
    };
    let all = listed("").await;
    assert_eq!(unescaped(texts(&all, "Name")), names);
    assert!(all.contains("<BlobType>PageBlob</BlobType>"), "{all}");
    assert!(
        all.contains("<Content-Length>512</Content-Length>"),
        "{all}"
    );
    assert!(!all.contains("<Metadata>"), "{all}");
    assert!(
        all.ends_with("<NextMarker /></EnumerationResults>"),
        "{all}"
    );
    assert!(
        listed("include=metadata,copy")
            .await
            .contains("<Metadata><n>v</n></Metadata>")
    );

    let found = listed("prefix=a/").await;
    assert_eq!(texts(&found, "Name"), ["a/1", "a/2", "a/b/3"]);
    let found = listed("delimiter=/").await;
    assert_eq!(unescaped(texts(&found, "Name")), ["a/", "b", "c&<d>", "d/"]);
    assert_eq!(texts(&found, "BlobPrefix").len(), 2);
    let found = listed("prefix=a/&delimiter=/").await;
    assert_eq!(texts(&found, "Name"), ["a/1", "a/2", "a/b/"]);

    for more in ["", "&delimiter=/"] {
        let (mut marker, mut found) = (String::new(), Vec::new());
        loop {
            let page = listed(&format!("maxresults=1&marker={marker}{more}")).await;
            let names = unescaped(texts(&page, "Name"));
            assert!(names.len() <= 1, "{page}");
            found.extend(names);
            match texts(&page, "NextMarker").pop() {
                Some(next) => marker = next,
                None => break,
            }
        }
        let whole = if more.is_empty() {
            names.to_vec()
        } else {
            vec!["a/", "b", "c&<d>", "d/"]
        };
        assert_eq!(found, whole, "{more}");
    }
    for (more, code) in [
        ("maxresults=0", "OutOfRangeQueryParameterValue"),
        ("maxresults=x", "InvalidQueryParameterValue"),
        ("marker=x", "InvalidQueryParameterValue"),
    ] {
        let bad = account.container(Method::GET, "vhds", &format!("comp=list&{more}"));
        account.refused(more, bad, 400, code).await;
    }
}

#[tokio::test]
async fn containers_are_listed() {
    let account = Account::start().await;
    for name in ["a1a", "b1b", "b2b"] {
        account
            .done(account.container(Method::PUT, name, ""), 201)
            .await;
    }
    let listed = async |more: &str| {
        let listed = account.request(Method::GET, "/", &format!("comp=list{more}"));
        let listed = account.done(listed, 200).await.text().await.unwrap();
        (texts(&listed, "Name"), texts(&listed, "NextMarker").pop())
    };
    assert_eq!(listed("").await.0, ["a1a", "b1b", "b2b", "vhds"]);
    assert_eq!(listed("&prefix=b").await.0, ["b1b", "b2b"]);
    let (first, marker) = listed("&prefix=b&maxresults=1").await;
    assert_eq!(first, ["b1b"]);
    let (rest, end) = listed(&format!("&prefix=b&marker={}", marker.unwrap())).await;
    assert_eq!((rest, end), (vec!["b2b".to_owned()], None));
    let what = account.request(Method::HEAD, "/", "restype=account&comp=properties");
    let what = account.done(what, 200).await;
    assert_eq!(header(&what, "x-ms-account-kind"), "StorageV2");
}
