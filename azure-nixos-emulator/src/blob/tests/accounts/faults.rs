//! Faults on what accounts are written.

use super::*;
use crate::fault::{FaultRule, Plane};

#[tokio::test]
async fn updates_are_lost_and_bytes_flipped_as_on_disks() {
    let account = Account::start().await;
    account.done(account.create("/vhds/b", 1024), 201).await;
    let faults = &account.local.faults;
    let page = || account.put_page("/vhds/b", 0, vec![0x10; 512]);
    let set = |rule: FaultRule| {
        faults.clear();
        faults.add(rule);
    };
    set(FaultRule::new(Plane::Blob).lose_update());
    account.done(page(), 201).await;
    assert_eq!(account.content("/vhds/b").await, [0; 1024]);
    let flipped = |found: Vec<u8>, sent: u8, length: usize| {
        assert_eq!(found.len(), length);
        let bits: u32 = found.iter().map(|byte| (byte ^ sent).count_ones()).sum();
        assert_eq!(bits, 1);
    };
    set(FaultRule::new(Plane::Blob).method("PUT").corrupt_stored());
    account.done(page(), 201).await;
    let found = account.content("/vhds/b").await;
    flipped(found[..512].to_vec(), 0x10, 512);
    faults.clear();
    account.done(page(), 201).await;
    assert_eq!(account.content("/vhds/b").await[..512], [0x10; 512]);

    // Pages that come from elsewhere are lost too.
    set(FaultRule::new(Plane::Blob).lose_update());
    let from = account.url("/vhds/b", &account.sas);
    let copy = account
        .request(Method::PUT, "/vhds/b", "comp=page")
        .header("x-ms-page-write", "update")
        .header("x-ms-copy-source", from)
        .header("x-ms-source-range", "bytes=512-1023")
        .header("x-ms-range", "bytes=0-511")
        .header("content-length", 0);
    account.done(copy, 201).await;
    assert_eq!(account.content("/vhds/b").await[..512], [0x10; 512]);
}
