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
        .add_text("plane=blob,method=HEAD,times=1,delay=200ms")
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
