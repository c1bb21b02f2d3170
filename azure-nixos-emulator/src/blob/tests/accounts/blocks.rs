//! Block blobs: in one piece, and of blocks.

use super::*;
use crate::blob::checksum;

fn put(account: &Account, path: &str, data: Vec<u8>) -> RequestBuilder {
    account
        .request(Method::PUT, path, "")
        .header("x-ms-blob-type", "BlockBlob")
        .body(data)
}

fn block(account: &Account, id: &str, data: Vec<u8>) -> RequestBuilder {
    let id = query(&[("comp", "block"), ("blockid", id)]);
    account.request(Method::PUT, "/vhds/b", &id).body(data)
}

fn commit(account: &Account, list: &str) -> RequestBuilder {
    account
        .request(Method::PUT, "/vhds/b", "comp=blocklist")
        .body(format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{list}</BlockList>"
        ))
}

#[tokio::test]
async fn one_piece_comes_back_with_its_md5() {
    let account = Account::start().await;
    let mut random = Random::new();
    for length in [0, 1, 1000, 9 * MIB + 7] {
        let data = random.bytes(length);
        let md5 = checksum::encode(&checksum::md5_of(&[data.clone().into()]));
        let made = put(&account, "/vhds/b", data.clone())
            .header("content-type", "text/plain")
            .header("content-length", length);
        let made = account.done(made, 201).await;
        assert_eq!(header(&made, "content-md5"), md5);
        let got = account
            .done(account.request(Method::GET, "/vhds/b", ""), 200)
            .await;
        assert_eq!(header(&got, "content-md5"), md5);
        assert_eq!(header(&got, "content-type"), "text/plain");
        assert_eq!(header(&got, "x-ms-blob-type"), "BlockBlob");
        assert_eq!(header(&got, "x-ms-access-tier"), "Hot");
        assert!(got.bytes().await.unwrap() == data);
    }
    let wrong = "AAAAAAAAAAAAAAAAAAAAAA==";
    for name in ["content-md5", "x-ms-blob-content-md5"] {
        let bad = put(&account, "/vhds/n", vec![1; 100]).header(name, wrong);
        account.refused(name, bad, 400, "Md5Mismatch").await;
    }
    let none = account.request(Method::GET, "/vhds/n", "");
    account.refused("none", none, 404, "BlobNotFound").await;
    // What was refused left nothing behind.
    let files = std::fs::read_dir(account.local.dir.path().join("accounts/web1/vhds")).unwrap();
    let bytes = files
        .filter(|file| {
            let path = file.as_ref().unwrap().path();
            path.extension()
                .is_some_and(|extension| extension == "bytes")
        })
        .count();
    assert_eq!(bytes, 1);
    let pages = account.request(Method::GET, "/vhds/b", "comp=pagelist");
    account
        .refused("pages", pages, 409, "InvalidBlobType")
        .await;
    let page = account.put_page("/vhds/b", 0, vec![1; 512]);
    account.refused("page", page, 409, "InvalidBlobType").await;

    let tier = account
        .request(Method::PUT, "/vhds/b", "comp=tier")
        .header("content-length", 0);
    let cool = tier.try_clone().unwrap().header("x-ms-access-tier", "Cool");
    account.done(cool, 200).await;
    let head = account
        .done(account.request(Method::HEAD, "/vhds/b", ""), 200)
        .await;
    assert_eq!(header(&head, "x-ms-access-tier"), "Cool");
    let archive = tier.header("x-ms-access-tier", "Archive");
    account
        .refused("archive", archive, 501, "NotImplemented")
        .await;
}

#[tokio::test]
async fn blocks_become_a_blob_in_the_order_of_the_list() {
    let account = Account::start().await;
    let (a, b, c) = ("YWFh", "YmJi", "Y2Nj");
    for (id, byte) in [(a, 1), (b, 2), (c, 3)] {
        account
            .done(block(&account, id, vec![byte; 1000]), 201)
            .await;
    }
    // A block that comes twice is the second one.
    account.done(block(&account, b, vec![4; 500]), 201).await;
    let missing = account.request(Method::GET, "/vhds/b", "");
    account.refused("early", missing, 404, "BlobNotFound").await;
    let list = |kind: &str| {
        let more = format!("comp=blocklist&blocklisttype={kind}");
        account.request(Method::GET, "/vhds/b", &more)
    };
    let listed = account.done(list("all"), 200).await.text().await.unwrap();
    // By their names, which are base64.
    assert_eq!(texts(&listed, "Name"), [c, a, b]);
    assert_eq!(texts(&listed, "Size"), ["1000", "1000", "500"]);

    let bad = commit(&account, "<Latest>ZGRk</Latest>");
    account
        .refused("unknown", bad, 400, "InvalidBlockList")
        .await;
    let bad = commit(&account, &format!("<Committed>{a}</Committed>"));
    account
        .refused("not yet", bad, 400, "InvalidBlockList")
        .await;
    let bad = commit(&account, "<Latest>");
    account.refused("xml", bad, 400, "InvalidXmlDocument").await;
    let good = commit(
        &account,
        &format!("<Latest>{c}</Latest><Uncommitted>{b}</Uncommitted><Latest>{c}</Latest>"),
    )
    .header("x-ms-blob-content-type", "text/x");
    account.done(good, 201).await;
    let expected = [vec![3; 1000], vec![4; 500], vec![3; 1000]].concat();
    assert_eq!(account.content("/vhds/b").await, expected);
    let listed = account.done(list("all"), 200).await.text().await.unwrap();
    assert_eq!(texts(&listed, "Name"), [c, b, c]);
    assert!(
        listed.ends_with("<UncommittedBlocks></UncommittedBlocks></BlockList>"),
        "{listed}"
    );

    // Of what is there, parts are taken over without being sent again.
    account.done(block(&account, a, vec![9; 10]), 201).await;
    let good = commit(
        &account,
        &format!("<Committed>{b}</Committed><Latest>{a}</Latest><Committed>{c}</Committed>"),
    );
    account.done(good, 201).await;
    let expected = [vec![4; 500], vec![9; 10], vec![3; 1000]].concat();
    assert_eq!(account.content("/vhds/b").await, expected);
    account.done(commit(&account, ""), 201).await;
    assert!(account.content("/vhds/b").await.is_empty());

    let odd = block(&account, "YQ==", vec![1; 10]);
    account.done(odd, 201).await;
    let other = block(&account, "YWFhYWFh", vec![1; 10]);
    account
        .refused("length of id", other, 400, "InvalidBlobOrBlock")
        .await;
    let bad = block(&account, "***", vec![1; 10]);
    account
        .refused("id", bad, 400, "InvalidQueryParameterValue")
        .await;
    let sum = block(&account, "YQ==", vec![1; 10]).header("x-ms-content-crc64", "AAAAAAAAAAA=");
    account.refused("sum", sum, 400, "Crc64Mismatch").await;
}
