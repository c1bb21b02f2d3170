//! Azure's own names: through the proxy, with certificates that fit, in the URLs that are given out.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use azure_nixos_emulator::SasShape;
use common::{Client, DISKS, SMALLEST, SUBSCRIPTIONS, builder, disk, proxied};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use url::Url;

/// Writes one page and reads it back.
async fn page_goes_and_comes(http: &reqwest::Client, sas: &str) {
    let sent = vec![0x5a; 512];
    let put = http
        .put(format!("{sas}&comp=page"))
        .header("x-ms-version", "2021-12-02")
        .header("x-ms-page-write", "update")
        .header("x-ms-range", "bytes=1024-1535")
        .body(sent.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 201);
    let got = http
        .get(sas)
        .header("x-ms-range", "bytes=1024-1535")
        .send()
        .await
        .unwrap();
    assert_eq!(got.status(), 206);
    assert_eq!(got.bytes().await.unwrap(), sent);
}

#[tokio::test]
async fn clients_with_azures_endpoints_reach_it_through_the_proxy() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path())
        .proxy_port(0)
        .blob_host("blob.storage.azure.net")
        .start()
        .await
        .unwrap();
    let http = proxied(&emulator);

    // Entra names itself in what it answers.
    let login = format!("https://login.microsoftonline.com/{}", emulator.tenant_id());
    let found: Value = http
        .get(format!("{login}/v2.0/.well-known/openid-configuration"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .map(|text| serde_json::from_str(&text).unwrap())
        .unwrap();
    let endpoint = found["token_endpoint"].as_str().unwrap();
    assert_eq!(endpoint, format!("{login}/oauth2/v2.0/token"));
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &emulator.client_id())
        .append_pair("client_secret", &emulator.client_secret())
        .append_pair("scope", "https://management.azure.com/.default")
        .finish();
    let token: Value = http
        .post(endpoint)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .map(|text| serde_json::from_str(&text).unwrap())
        .unwrap();

    // Resource Manager does too, in the URLs of its operations.
    let client = Client {
        http: http.clone(),
        base: "https://management.azure.com".to_owned(),
        token: Some(token["access_token"].as_str().unwrap().to_owned()),
        subscription: emulator.subscription_id(),
    };
    assert_eq!(client.get("", SUBSCRIPTIONS).await.status, 200);
    client.make_group("rg").await;
    let made = client
        .put(&disk("rg", "d"), DISKS, common::upload(SMALLEST))
        .await;
    for name in ["location", "azure-asyncoperation"] {
        let url = made.header(name).unwrap();
        assert!(url.starts_with("https://management.azure.com/"), "{url}");
    }
    client.succeed(made).await;

    // The host says what it is to clients that look at it; no port, as the proxy has 443.
    let sas = Url::parse(&client.grant("rg", "d", "Write").await).unwrap();
    let host = sas.host_str().unwrap();
    assert!(host.starts_with("md-impexp-"), "{host}");
    assert!(host.ends_with(".blob.storage.azure.net"), "{host}");
    assert_eq!((sas.scheme(), sas.port()), ("https", None));
    page_goes_and_comes(&http, sas.as_str()).await;
    common::write_image(&emulator.disk_file("rg", "d"));
    let ended = client.revoke("rg", "d").await;
    assert_eq!(ended.body["status"], "Succeeded", "{}", ended.body);
    let read = client.grant("rg", "d", "Read").await;
    assert!(read.starts_with("https://md-hdd-"), "{read}");

    // Loopback goes through it as well: some clients send everything there.
    let loopback = Client::new(&emulator);
    let through = Client { http, ..loopback };
    assert_eq!(through.get("", SUBSCRIPTIONS).await.status, 200);
    emulator.stop().await;
}

#[tokio::test]
async fn the_proxy_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).proxy_port(0).start().await.unwrap();
    let address = emulator
        .proxy_url()
        .unwrap()
        .strip_prefix("http://")
        .unwrap()
        .to_owned();
    for request in [
        "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n",
        "CONNECT localhost:22 HTTP/1.1\r\nhost: localhost:22\r\n\r\n",
        "CONNECT management.azure.com:22 HTTP/1.1\r\nhost: management.azure.com:22\r\n\r\n",
        "GET http://example.com/ HTTP/1.1\r\nhost: example.com\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{request}: {answer}");
        assert!(answer.contains("leads only to the local Azure"), "{answer}");
    }
    emulator.stop().await;
    assert!(TcpStream::connect(&address).await.is_err());
    // Without being asked for, there is none.
    let emulator = builder(dir.path()).start().await.unwrap();
    assert_eq!(emulator.proxy_url(), None);
}

#[tokio::test]
async fn the_blob_port_speaks_http_and_https() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).blob_https(true).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_disk("rg", "d").await;
    let sas = client.grant("rg", "d", "Write").await;
    assert!(emulator.blob_url().starts_with("https://localhost:"));
    assert!(
        sas.starts_with(&format!("{}/", emulator.blob_url())),
        "{sas}"
    );
    page_goes_and_comes(&client.http, &sas).await;
    let plain = sas.replace("https://localhost", "http://127.0.0.1");
    page_goes_and_comes(&client.http, &plain).await;
    // A connection that says nothing holds nothing up.
    let port = Url::parse(&sas).unwrap().port().unwrap();
    let silent = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let begun = std::time::Instant::now();
    emulator.stop().await;
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    drop(silent);
}

#[tokio::test]
async fn without_a_proxy_a_host_has_the_port() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path())
        .blob_host("blob.example.test")
        .sas_shape(SasShape::Explicit)
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_disk("rg", "d").await;
    let sas = Url::parse(&client.grant("rg", "d", "Write").await).unwrap();
    let own = Url::parse(emulator.blob_url()).unwrap();
    assert_eq!(sas.port(), own.port());
    let host = sas.host_str().unwrap();
    assert!(host.ends_with(".blob.example.test"), "{host}");
    let query: Vec<_> = sas.query_pairs().map(|(name, _)| name).collect();
    assert_eq!(query, ["sv", "sr", "sk", "sig", "st", "se", "sp"]);
    // The name is one that a resolver of the client's leads here.
    let resolved = format!(
        "{}{}?{}",
        emulator.blob_url(),
        sas.path(),
        sas.query().unwrap()
    );
    page_goes_and_comes(&client.http, &resolved).await;
    let error = builder(dir.path())
        .blob_host("Not a host")
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Not a host"), "{error}");
}

#[tokio::test]
async fn the_pages_of_a_copied_disk_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path()).start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_uploaded(&emulator, "rg", "from").await;
    let copy = json!({ "location": "westus2", "properties": { "creationData": {
        "createOption": "Copy",
        "sourceResourceId": client.id("rg", "Microsoft.Compute/disks", "from"),
    }}});
    let empty = json!({ "location": "westus2", "properties": {
        "diskSizeGB": 1, "creationData": { "createOption": "Empty" },
    }});
    for (name, body, expected) in [
        ("to", copy, vec![(5 << 20, 8192), (SMALLEST - 512, 512)]),
        ("empty", empty, vec![(1 << 30, 512)]),
    ] {
        let made = client.put(&disk("rg", name), DISKS, body).await;
        client.succeed(made).await;
        let sas = client.grant("rg", name, "Read").await;
        let listed = client
            .http
            .get(format!("{sas}&comp=pagelist"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        // What was written is within what is listed, and not much else is.
        let ranges = listed_ranges(&listed);
        assert_eq!(ranges.len(), expected.len(), "{listed}");
        for ((start, end), (at, length)) in ranges.iter().zip(expected) {
            assert!(*start <= at && at + length <= *end, "{name}: {listed}");
            assert!(end - start <= length + 2 * 65_536, "{name}: {listed}");
        }
        if name == "to" {
            let got = client.http.get(&sas).send().await.unwrap();
            let content = got.bytes().await.unwrap();
            assert!(content == std::fs::read(emulator.disk_file("rg", "from")).unwrap());
        }
    }
}

fn listed_ranges(xml: &str) -> Vec<(u64, u64)> {
    let number = |part: &str, open: &str| -> u64 {
        let from = part.find(open).unwrap() + open.len();
        let digits: String = part[from..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse().unwrap()
    };
    xml.split("<PageRange>")
        .skip(1)
        .map(|part| (number(part, "<Start>"), number(part, "<End>") + 1))
        .collect()
}
