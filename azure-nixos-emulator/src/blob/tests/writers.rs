//! Many writers at once, and how fast they are.

use super::*;
use reqwest::StatusCode;

use crate::blob::checksum;
use crate::blob::page_set::PageSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_do_not_disturb_each_other() {
    let length = 64 * MIB;
    let local = Arc::new(Local::start_with(length).await);
    let mut random = Random::new();
    // Disjoint ranges of random size in random order, with gaps between some of them.
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < length {
        let end = length.min(at + 512 * (1 + random.below(600)));
        if random.below(3) > 0 {
            ranges.push(at..end);
        }
        at = end;
    }
    for index in (1..ranges.len()).rev() {
        ranges.swap(index, random.below(index as u64 + 1) as usize);
    }
    let mut expected = vec![0; length as usize];
    let mut set = PageSet::default();
    let mut writers = Vec::new();
    for writer in 0..64 {
        let mut jobs = Vec::new();
        for range in ranges.iter().skip(writer).step_by(64) {
            let data = random.bytes(range.end - range.start);
            expected[range.start as usize..range.end as usize].copy_from_slice(&data);
            set.insert(range.start / 512..range.end / 512);
            jobs.push((range.start, data));
        }
        let local = Arc::clone(&local);
        writers.push(tokio::spawn(async move {
            for (at, data) in jobs {
                local.write(at, data).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(std::fs::read(local.file()).unwrap() == expected);
    let listed: Vec<_> = set.ranges().map(|r| r.start * 512..r.end * 512).collect();
    assert_eq!(local.ranges().await, listed);
    let again = local.reopen();
    let blob = again.get(local.id).unwrap();
    assert_eq!(blob.store().unwrap().written(0..length, usize::MAX), listed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_writers_with_one_etag_one_wins() {
    let local = Arc::new(Local::start().await);
    let head = local.request(Method::HEAD, "").send().await.unwrap();
    let etag = head.headers()["etag"].to_str().unwrap().to_owned();
    let mut tries = Vec::new();
    for n in 0..16u8 {
        let request = local
            .put(u64::from(n) * MIB, vec![n; MIB as usize])
            .header("if-match", &etag);
        tries.push(tokio::spawn(async move {
            request.send().await.unwrap().status()
        }));
    }
    let mut won = 0;
    for attempt in tries {
        match attempt.await.unwrap() {
            StatusCode::CREATED => won += 1,
            status => assert_eq!(status, 412),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(local.ranges().await.len(), 1);
}

/// Put Pages of 4 MiB over several connections, client and server in one process. Prints MiB/s;
/// run it alone, optimised, with the number of MiB and of connections if the defaults do not fit:
/// `PUT_PAGE_MIB=4096 PUT_PAGE_CONNECTIONS=8 cargo test --release -- --ignored --nocapture put_page_speed`
#[test]
#[ignore = "a measurement"]
fn put_page_speed() {
    let number =
        |name, default| std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap());
    let total = number("PUT_PAGE_MIB", 2048) * MIB;
    let connections = number("PUT_PAGE_CONNECTIONS", 8);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let local = Local::start_with(total).await;
        let data = Random::new().bytes(4 * MIB);
        let sum = checksum::encode(&checksum::crc64(&data).to_le_bytes());
        for round in ["holes", "overwrite"] {
            let start = Instant::now();
            let mut senders = Vec::new();
            for connection in 0..connections {
                let (path, data, sum) = (local.path.clone(), data.clone(), sum.clone());
                let address = local.address;
                senders.push(tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    let mut answer = vec![0; 4096];
                    let pages = (connection..total / (4 * MIB)).step_by(connections as usize);
                    for page in pages {
                        let at = page * 4 * MIB;
                        let head = format!(
                            "PUT {path}&comp=page HTTP/1.1\r\nhost: x\r\nx-ms-version: {VERSION}\r\n\
                             x-ms-page-write: update\r\nx-ms-range: bytes={at}-{}\r\n\
                             x-ms-content-crc64: {sum}\r\ncontent-length: {}\r\n\r\n",
                            at + 4 * MIB - 1,
                            4 * MIB
                        );
                        stream.write_all(head.as_bytes()).await.unwrap();
                        stream.write_all(&data).await.unwrap();
                        let got = stream.read(&mut answer).await.unwrap();
                        assert!(answer[..got].starts_with(b"HTTP/1.1 201 "));
                        // The answer has no body and fits one segment.
                        assert!(answer[..got].ends_with(b"\r\n\r\n"));
                    }
                }));
            }
            for sender in senders {
                sender.await.unwrap();
            }
            let seconds = start.elapsed().as_secs_f64();
            println!("{round}: {:.0} MiB/s", (total / MIB) as f64 / seconds);
        }
        assert_eq!(local.ranges().await, [0..total]);
    });
}
