//! Faults as the client sees them.

use super::*;

#[tokio::test]
async fn a_reset_breaks_the_connection_without_an_answer() {
    let local = Local::start().await;
    let rule = || FaultRule::new(Plane::Blob).times(1);
    let page = "y".repeat(512);
    let put = local.raw_put(&format!("content-length: 512\r\n\r\n{page}"));
    // Nothing at all may come back; the system decides whether it is a reset or an end.
    let nothing = |outcome: std::io::Result<Vec<u8>>| match outcome {
        Ok(bytes) => assert_eq!(String::from_utf8_lossy(&bytes), ""),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    };
    local.faults.add(rule().reset_before());
    nothing(local.raw(&put).await);
    assert_eq!(local.ranges().await, []);

    local.faults.add(rule().reset_after());
    nothing(local.raw(&put).await);
    assert_eq!(local.ranges().await, [0..512]);
    assert_eq!(
        &std::fs::read(local.file()).unwrap()[..512],
        page.as_bytes()
    );

    let head = format!(
        "HEAD {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        local.path
    );
    local.faults.add(rule().reset_before());
    nothing(local.raw(&head).await);
    let answer = String::from_utf8(local.raw(&head).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    local.faults.add(rule().stall(Duration::from_millis(300)));
    let start = Instant::now();
    nothing(local.raw(&put).await);
    assert!(start.elapsed() >= Duration::from_millis(300));

    local.faults.add(rule().reset_after());
    let error = local.put(0, vec![1; 512]).send().await.unwrap_err();
    assert!(!error.is_timeout() && !error.is_status(), "{error:?}");
}

/// Without [`deliver`], the failing body alone breaks the connection of all but HEAD.
#[tokio::test]
async fn a_reset_works_with_a_plain_axum_server() {
    let local = Local::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = local.blobs.router();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    local.faults.add(FaultRule::new(Plane::Blob).reset_before());
    let local = Local { address, ..local };
    let get = format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", local.path);
    assert_eq!(local.raw(&get).await.unwrap(), b"");
}

#[tokio::test]
async fn faults_by_rule_are_what_the_service_would_answer() {
    let local = Local::start().await;
    let busy = local.faults.add(
        FaultRule::new(Plane::Blob)
            .method("PUT")
            .path_contains("comp=page")
            .times(2)
            .respond(503, "ServerBusy")
            .header("Retry-After", "1"),
    );
    for _ in 0..2 {
        // A body of full size: the refusal must arrive although it was not asked for.
        let response = local
            .put(0, vec![1; 4 * MIB as usize])
            .send()
            .await
            .unwrap();
        assert_eq!(response.headers()["retry-after"], "1");
        refused("busy", response, 503, "ServerBusy").await;
    }
    local.write(0, vec![1; 512]).await;
    assert_eq!(local.faults.hits(busy), 2);

    local
        .faults
        .add_text("[[rule]]\nplane = 'blob'\nmethod = 'HEAD'\ntimes = 1\ndelay = '200ms'\n")
        .unwrap();
    let start = Instant::now();
    let head = local.request(Method::HEAD, "").send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(200));

    local.faults.limit_requests(Some(3));
    let mut refusals = 0;
    for _ in 0..10 {
        let head = local.request(Method::HEAD, "").send().await.unwrap();
        refusals += u32::from(head.status() == 503);
    }
    assert!((5..=7).contains(&refusals), "{refusals}");
    local.faults.clear();

    local.faults.limit_bandwidth(Some(1));
    local.write(0, vec![1; 4 * MIB as usize]).await;
    let over = local
        .put(0, vec![1; 4 * MIB as usize])
        .send()
        .await
        .unwrap();
    refused("bandwidth", over, 503, "ServerBusy").await;
    local.faults.clear();

    local.faults.add(
        FaultRule::new(Plane::Blob)
            .after(1)
            .times(1)
            .expire_access(),
    );
    local.write(0, vec![1; 512]).await;
    for _ in 0..2 {
        let response = local.put(0, vec![1; 512]).send().await.unwrap();
        refused("expired", response, 403, "AuthenticationFailed").await;
    }
    let ends = local.clock.now() + Duration::from_secs(60);
    let path = local.blobs.grant(local.id, Access::Write, ends).unwrap();
    Local { path, ..local }.write(0, vec![1; 512]).await;
}

#[tokio::test]
async fn a_lost_page_is_acknowledged_and_not_there() {
    let local = Local::start().await;
    local.write(0, vec![1; 1024]).await;
    let lost = local
        .faults
        .add(FaultRule::new(Plane::Blob).times(2).lose_update());
    let before = local.request(Method::HEAD, "").send().await.unwrap();
    let put = local.put(512, vec![2; 1024]).send().await.unwrap();
    assert_eq!(put.status(), 201);
    for name in [
        "etag",
        "last-modified",
        "x-ms-content-crc64",
        "x-ms-request-server-encrypted",
        "x-ms-blob-sequence-number",
    ] {
        assert!(put.headers().contains_key(name), "{name}");
    }
    let cleared = local.clear(0..512).send().await.unwrap();
    assert_eq!(cleared.status(), 201);
    assert_eq!(local.faults.hits(lost), 2);
    assert_eq!(local.ranges().await, [0..1024]);
    let mut expected = vec![0; LENGTH as usize];
    expected[..1024].fill(1);
    assert_eq!(std::fs::read(local.file()).unwrap(), expected);
    // The version has moved on, as in the answer.
    let after = local.request(Method::HEAD, "").send().await.unwrap();
    assert_ne!(before.headers()["etag"], after.headers()["etag"]);
    assert_eq!(cleared.headers()["etag"], after.headers()["etag"]);
    // One that is refused is refused as ever.
    local.faults.add(FaultRule::new(Plane::Blob).lose_update());
    let put = local
        .put(0, vec![2; 512])
        .header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==");
    refused("md5", put.send().await.unwrap(), 400, "Md5Mismatch").await;
}

#[tokio::test]
async fn corrupted_bytes_differ_by_one_bit() {
    let local = Local::start().await;
    let mut random = Random::new();
    let data: Vec<u8> = (0..MIB + 512).map(|_| random.next() as u8).collect();
    let ones = |a: &[u8], b: &[u8]| -> u32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
    };
    let sum = crate::blob::checksum::encode(&crate::blob::checksum::md5_of(&[data.clone().into()]));
    let seed = random.next();
    println!("rule seed {seed}");
    local.faults.add(
        FaultRule::new(Plane::Blob)
            .times(1)
            .seed(seed)
            .corrupt_stored(),
    );
    // One that clears writes no byte that could be wrong, and does not count.
    assert_eq!(local.clear(0..512).send().await.unwrap().status(), 201);
    let put = local.put(512, data.clone()).header("content-md5", &sum);
    let put = put.send().await.unwrap();
    assert_eq!(put.status(), 201);
    assert_eq!(put.headers()["content-md5"], sum.as_str());
    let stored = std::fs::read(local.file()).unwrap();
    let stored = &stored[512..512 + data.len()];
    assert_eq!(ones(stored, &data), 1);

    let reads = local.faults.add(
        FaultRule::new(Plane::Blob)
            .times(2)
            .seed(seed)
            .corrupt_read(),
    );
    let range = format!("bytes=512-{}", 511 + data.len());
    let get = || local.request(Method::GET, "").header("x-ms-range", &range);
    let answer = get().header("x-ms-range-get-content-md5", "true");
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 206);
    // The checksum is that of what is stored: who compares it finds out.
    let told = answer.headers()["content-md5"].to_str().unwrap().to_owned();
    let body = answer.bytes().await.unwrap();
    assert_eq!(ones(&body, stored), 1);
    let found = crate::blob::checksum::md5_of(std::slice::from_ref(&body));
    assert_ne!(told, crate::blob::checksum::encode(&found));
    let again = get().send().await.unwrap().bytes().await.unwrap();
    assert_eq!(ones(&again, stored), 1);
    let good = get().send().await.unwrap().bytes().await.unwrap();
    assert_eq!(ones(&good, stored), 0);
    assert_eq!(local.faults.hits(reads), 2);
}

#[tokio::test]
async fn a_read_breaks_in_the_middle() {
    let local = Local::start().await;
    let data: Vec<u8> = (0..3 * MIB).map(|n| (n % 251) as u8).collect();
    local.write(0, data.clone()).await;
    let wait = Duration::from_millis(200);
    for (rule, least) in [
        (FaultRule::new(Plane::Blob).half_body(), Duration::ZERO),
        (FaultRule::new(Plane::Blob).stall_body(wait), wait),
    ] {
        local.faults.add(rule.times(1));
        let start = Instant::now();
        let get = local.request(Method::GET, "");
        let range = format!("bytes=0-{}", data.len() - 1);
        let mut answer = get.header("range", range).send().await.unwrap();
        assert_eq!(answer.content_length(), Some(data.len() as u64));
        let mut came = Vec::new();
        while let Ok(chunk) = answer.chunk().await {
            came.extend_from_slice(&chunk.expect("the body is whole"));
        }
        assert!(came == data[..data.len() / 2], "{} bytes came", came.len());
        assert!(start.elapsed() >= least);
    }
}

#[tokio::test]
async fn limits_by_rule_are_for_what_the_rule_names() {
    let local = Local::start().await;
    let document = "[[rule]]\noperation = 'blob.putPage'\nlimit = { mib-per-second = 1 }\n\
                    [[rule]]\noperation = 'blob.getProperties'\nlimit = { requests-per-second = 2 }\n";
    assert_eq!(local.faults.add_text(document), Ok(2));
    local.write(0, vec![1; 4 * MIB as usize]).await;
    let over = local.put(0, vec![1; MIB as usize]).send().await.unwrap();
    refused("bandwidth", over, 503, "ServerBusy").await;
    assert_eq!(local.ranges().await, [0..4 * MIB]);
    let mut refusals = 0;
    for _ in 0..10 {
        let head = local.request(Method::HEAD, "").send().await.unwrap();
        refusals += u32::from(head.status() == 503);
    }
    assert!((6..=8).contains(&refusals), "{refusals}");
}

#[tokio::test]
async fn a_rule_may_ask_for_a_header_and_counts_the_bytes_that_it_met() {
    let local = Local::start().await;
    let rule = FaultRule::new(Plane::Blob).with_header("X-Ms-Content-Crc64");
    let fault = local.faults.add(rule.respond(400, "InvalidHeaderValue"));
    local.write(0, vec![1; 1024]).await;
    assert_eq!(
        (local.faults.hits(fault), local.faults.bytes(fault)),
        (0, 0)
    );
    let put = local.put(0, vec![2; 1024]);
    let response = put
        .header("x-ms-content-crc64", "AAAAAAAAAAA=")
        .send()
        .await;
    refused("header", response.unwrap(), 400, "InvalidHeaderValue").await;
    assert_eq!(
        (local.faults.hits(fault), local.faults.bytes(fault)),
        (1, 1024)
    );
    assert_eq!(std::fs::read(local.file()).unwrap()[..1024], [1; 1024]);
}

#[tokio::test]
async fn an_answer_by_rule_may_be_late() {
    let local = Local::start().await;
    let wait = Duration::from_millis(200);
    let rule = FaultRule::new(Plane::Blob)
        .times(1)
        .respond(500, "OperationTimedOut");
    local.faults.add(rule.late(wait));
    let start = Instant::now();
    let response = local.put(0, vec![1; 512]).send().await.unwrap();
    refused("late", response, 500, "OperationTimedOut").await;
    assert!(start.elapsed() >= wait);
    assert_eq!(local.ranges().await, []);
}

#[tokio::test]
async fn a_connection_breaks_in_the_middle_of_what_is_sent() {
    let local = Local::start().await;
    local
        .faults
        .add(FaultRule::new(Plane::Blob).times(1).reset_during());
    let mut stream = TcpStream::connect(local.address).await.unwrap();
    let head = local.raw_put("content-length: 4096\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[1; 2000]).await.unwrap();
    // It waits for half of the body before it breaks.
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    stream.write_all(&[1; 100]).await.unwrap();
    match stream.read(&mut byte).await {
        Ok(bytes) => assert_eq!(bytes, 0),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert_eq!(local.ranges().await, []);
}

#[tokio::test]
async fn an_endless_body_comes_after_the_work_and_has_no_end() {
    let local = Local::start().await;
    local
        .faults
        .add(FaultRule::new(Plane::Blob).times(2).endless_body());
    let mut response = local.put(0, vec![1; 512]).send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.content_length(), None);
    let mut bytes = 0;
    while bytes < 4 * MIB {
        bytes += response.chunk().await.unwrap().unwrap().len() as u64;
    }
    drop(response);
    // No body, so no end that could be missing.
    assert_eq!(
        local
            .request(Method::HEAD, "")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(local.ranges().await, [0..512]);
}
