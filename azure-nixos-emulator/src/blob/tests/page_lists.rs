//! The page list against a model.

use super::*;
use crate::blob::page_set::PageSet;

#[tokio::test]
async fn page_lists_agree_with_a_model() {
    let local = Local::start_with(MIB).await;
    let mut random = Random::new();
    let mut model = PageSet::default();
    let mut content = vec![0; MIB as usize];
    for step in 0..400 {
        let start = random.below(2040);
        let pages = start..start + 1 + random.below(8);
        let bytes = pages.start * 512..pages.end * 512;
        let place = bytes.start as usize..bytes.end as usize;
        if step % 3 == 2 {
            let response = local.clear(bytes).send().await.unwrap();
            assert_eq!(response.status(), 201);
            content[place].fill(0);
            model.remove(pages);
        } else {
            let data = random.bytes(bytes.end - bytes.start);
            local.write(bytes.start, data.clone()).await;
            content[place].copy_from_slice(&data);
            model.insert(pages);
        }
    }
    let expected: Vec<_> = model.ranges().map(|r| r.start * 512..r.end * 512).collect();
    assert!(expected.len() > 20, "the data is too simple");
    assert_eq!(local.ranges().await, expected);
    assert!(std::fs::read(local.file()).unwrap() == content);

    for page_size in [1, 7, expected.len(), 20_000] {
        let mut found = Vec::new();
        let mut marker = String::new();
        loop {
            let more = format!("&comp=pagelist&maxresults={page_size}&marker={marker}");
            let response = local.request(Method::GET, &more).send().await.unwrap();
            let (ranges, next) = parse_ranges(&response.text().await.unwrap());
            assert!(ranges.len() <= page_size);
            found.extend(ranges);
            match next {
                Some(next) => marker = next,
                None => break,
            }
        }
        assert_eq!(found, expected, "{page_size} at a time");
    }
    for _ in 0..50 {
        let start = random.below(2048);
        let end = start + 1 + random.below(2048 - start);
        let response = local
            .request(Method::GET, "&comp=pagelist")
            .header(
                "x-ms-range",
                format!("bytes={}-{}", start * 512, end * 512 - 1),
            )
            .send()
            .await
            .unwrap();
        let window: Vec<_> = model
            .within(start..end)
            .map(|r| r.start * 512..r.end * 512)
            .collect();
        assert_eq!(parse_ranges(&response.text().await.unwrap()).0, window);
    }
    // After a restart the list is the same, from the log and from its shortened form.
    for _ in 0..2 {
        let next = local.reopen();
        let blob = next.get(local.id).unwrap();
        assert_eq!(blob.store().unwrap().written(0..MIB, usize::MAX), expected);
        next.revoke(local.id).unwrap();
    }
    for (more, status, code) in [
        ("&marker=512", 400, "InvalidQueryParameterValue"),
        (
            "&marker=2!ffffffffffffffff",
            400,
            "InvalidQueryParameterValue",
        ),
        ("&maxresults=x", 400, "InvalidQueryParameterValue"),
        ("&maxresults=0", 400, "OutOfRangeQueryParameterValue"),
        ("&prevsnapshot=x", 409, "PreviousSnapshotNotFound"),
    ] {
        let request = local.request(Method::GET, &format!("&comp=pagelist{more}"));
        refused(more, request.send().await.unwrap(), status, code).await;
    }
    for range in ["bytes=1-512", "bytes=0-512", "bytes=1048576-"] {
        let request = local
            .request(Method::GET, "&comp=pagelist")
            .header("x-ms-range", range);
        refused(
            range,
            request.send().await.unwrap(),
            416,
            "InvalidPageRange",
        )
        .await;
    }
}

#[tokio::test]
async fn more_ranges_than_one_answer_holds_are_listed_with_a_marker() {
    let local = Local::start().await;
    let store = local.blobs.get(local.id).unwrap().store().unwrap();
    for page in 0..10_001 {
        let at = page * 1024;
        let data = [bytes::Bytes::from(vec![1; 512])];
        let write = crate::blob::store::Write::Update(&data);
        store
            .write(at..at + 512, write, 0, false, |_| {
                Ok::<_, std::io::Error>(())
            })
            .unwrap();
    }
    let first = local
        .request(Method::GET, "&comp=pagelist&maxresults=50000")
        .send()
        .await
        .unwrap();
    let (ranges, marker) = parse_ranges(&first.text().await.unwrap());
    assert_eq!(ranges.len(), 10_000);
    let more = format!("&comp=pagelist&marker={}", marker.unwrap());
    let second = local.request(Method::GET, &more).send().await.unwrap();
    let last = 10_000 * 1024;
    assert_eq!(
        parse_ranges(&second.text().await.unwrap()),
        (vec![last..last + 512], None)
    );
}
