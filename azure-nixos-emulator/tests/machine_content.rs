//! What machines have in them without being booted: content, templates, diagnostics.

#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod common;

use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use azure_nixos_emulator::{Clock, Emulator};
use common::*;
use reqwest::Method;
use serde_json::{Value, json};

/// A group with an image `image` of an uploaded disk, and the interfaces `names`.
async fn prepared(azure: &Emulator, names: &[&str]) -> Client {
    let client = Client::new(azure);
    client.make_group("rg").await;
    client.make_uploaded(azure, "rg", "disk").await;
    client.make_image("rg", "image", "disk").await;
    for name in names {
        client.make_network("rg", name).await;
    }
    client
}

/// The machine `name` of an image, with what `change` makes of its body: its OS disk's name.
async fn made(client: &Client, name: &str, image: &str, change: impl Fn(Value) -> Value) -> String {
    let body = change(client.vm("rg", name, image));
    let begun = client.put(&vm("rg", name), COMPUTE, body).await;
    client.succeed(begun).await;
    let shown = client.get(&vm("rg", name), COMPUTE).await.body;
    let disk = &shown["properties"]["storageProfile"]["osDisk"]["name"];
    disk.as_str().unwrap().to_owned()
}

async fn act(client: &Client, name: &str, action: &str) {
    let begun = client
        .post(&format!("{}/{action}", vm("rg", name)), COMPUTE, None)
        .await;
    client.succeed(begun).await;
}

/// Everything that a read access to a disk gives, and its page list.
async fn read(client: &Client, name: &str) -> (Vec<u8>, String) {
    let sas = client.grant("rg", name, "Read").await;
    let get = |url: String| client.http.get(url).send();
    let content = get(sas.clone()).await.unwrap();
    assert_eq!(content.status(), 200);
    let content = content.bytes().await.unwrap().to_vec();
    let list = get(format!("{sas}&comp=pagelist")).await.unwrap();
    assert_eq!(list.status(), 200);
    let list = list.text().await.unwrap();
    let ended = client.revoke("rg", name).await;
    assert_eq!(ended.body["status"], "Succeeded", "{}", ended.body);
    (content, list)
}

#[tokio::test]
async fn an_os_disk_has_its_images_content() {
    let dir = tempfile::tempdir().unwrap();
    let azure = builder(dir.path()).start().await.unwrap();
    let client = prepared(&azure, &["web", "large"]).await;
    let image_file = azure.image_file("rg", "image");
    let expected = std::fs::read(&image_file).unwrap();
    let node = |file| std::fs::metadata(file).unwrap().ino();

    let disk = made(&client, "web", "image", |body| body).await;
    // Nothing was copied, and the image may go.
    assert_eq!(node(azure.disk_file("rg", &disk)), node(image_file));
    let gone = client.delete(&image("rg", "image"), COMPUTE).await;
    client.succeed(gone).await;
    act(&client, "web", "deallocate").await;
    let (content, pages) = read(&client, &disk).await;
    assert!(content == expected, "the content is another");
    assert!(pages.contains("<PageRange>"), "{pages}");

    // Snapshots of it work as those of any disk.
    let body = json!({ "location": "westus2", "properties": { "creationData": {
        "createOption": "Copy",
        "sourceResourceId": client.id("rg", "Microsoft.Compute/disks", &disk),
    }}});
    let begun = client.put(&common::disk("rg", "copy"), DISKS, body).await;
    client.succeed(begun).await;
    assert!(
        read(&client, "copy").await.0 == expected,
        "the copy differs"
    );
    azure.stop().await;
}

#[tokio::test]
async fn a_larger_os_disk_is_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let azure = builder(dir.path()).start().await.unwrap();
    let client = prepared(&azure, &["large"]).await;
    let expected = std::fs::read(azure.image_file("rg", "image")).unwrap();
    let disk = made(&client, "large", "image", |body| {
        let body = with(
            body,
            "/properties/storageProfile/osDisk/diskSizeGB",
            json!(2),
        );
        with(
            body,
            "/properties/storageProfile/dataDisks",
            json!([{ "lun": 3, "createOption": "Empty", "diskSizeGB": 1, "name": "data" }]),
        )
    })
    .await;
    let shown = client.get(&common::disk("rg", &disk), DISKS).await.body;
    assert_eq!(shown["properties"]["diskSizeBytes"], 2_u64 << 30, "{shown}");
    act(&client, "large", "deallocate").await;

    // Everything that the file has data in: what the image has, and the footer at the new end.
    let file = azure.disk_file("rg", &disk);
    let opened = std::fs::File::open(&file).unwrap();
    assert_eq!(opened.metadata().unwrap().len(), (2 << 30) + 512);
    assert!(
        opened.metadata().unwrap().blocks() < 8 << 11,
        "it is sparse"
    );
    let size = SMALLEST as usize - 512;
    let mut begins = vec![0; size + (64 << 20)];
    opened.read_exact_at(&mut begins, 0).unwrap();
    assert!(begins[..size] == expected[..size], "the content is another");
    let zeros = vec![0; 64 << 20];
    assert!(begins[size..] == zeros, "the image's footer stays");
    let mut footer = [0; 512];
    opened.read_exact_at(&mut footer, 2 << 30).unwrap();
    assert_eq!(&footer[..8], b"conectix");
    assert_eq!(footer[48..56], (2_u64 << 30).to_be_bytes());

    // A data disk that came with it is an empty VHD.
    let sas = client.grant("rg", "data", "Read").await;
    let end = client
        .http
        .get(sas)
        .header("x-ms-range", format!("bytes={}-", (1 << 30) - 512))
        .send()
        .await
        .unwrap();
    assert_eq!(end.status(), 206);
    let end = end.bytes().await.unwrap();
    assert!(end[..512].iter().all(|byte| *byte == 0));
    assert_eq!(&end[512..520], b"conectix");
    azure.stop().await;
}

#[tokio::test]
async fn a_template_becomes_an_image_and_never_starts() {
    let dir = tempfile::tempdir().unwrap();
    let azure = builder(dir.path()).start().await.unwrap();
    let client = prepared(&azure, &["web", "next"]).await;
    let expected = std::fs::read(azure.image_file("rg", "image")).unwrap();
    made(&client, "web", "image", |body| body).await;
    let generalize = format!("{}/generalize", vm("rg", "web"));
    let from_machine = json!({ "location": "westus2", "properties": {
        "hyperVGeneration": "V2",
        "sourceVirtualMachine": { "id": client.id("rg", "Microsoft.Compute/virtualMachines", "web") },
    }});

    let refused = client.post(&generalize, COMPUTE, None).await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));
    act(&client, "web", "powerOff").await;
    let refused = client
        .put(&image("rg", "second"), COMPUTE, from_machine.clone())
        .await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));
    let done = client.post(&generalize, COMPUTE, None).await;
    assert_eq!((done.status, &done.body), (200, &Value::Null));
    let view = client
        .get(&format!("{}/instanceView", vm("rg", "web")), COMPUTE)
        .await
        .body;
    let codes: Vec<_> = view["statuses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|status| status["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "ProvisioningState/succeeded",
            "PowerState/stopped",
            "OSState/generalized"
        ]
    );
    let refused = client
        .post(&format!("{}/start", vm("rg", "web")), COMPUTE, None)
        .await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));

    // Made of the machine that is only stopped, as its template cannot change any more.
    let begun = client
        .put(&image("rg", "second"), COMPUTE, from_machine)
        .await;
    assert_eq!(begun.status, 201, "{}", begun.body);
    client.succeed(begun).await;
    let shown = client.get(&image("rg", "second"), COMPUTE).await.body;
    let profile = &shown["properties"]["storageProfile"];
    assert_eq!(profile["osDisk"]["osState"], "Generalized");
    assert_eq!(profile["osDisk"]["osType"], "Linux");
    assert_eq!(profile["osDisk"]["diskSizeGB"], 1);
    assert!(profile["osDisk"]["managedDisk"]["id"].is_string());
    let second = std::fs::read(azure.image_file("rg", "second")).unwrap();
    assert!(second == expected, "the image's content is another");
    made(&client, "next", "second", |body| body).await;
    azure.stop().await;
}

#[tokio::test]
async fn diagnostics_are_given_out_where_they_are_on() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let azure = builder(dir.path())
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let client = prepared(&azure, &["web"]).await;
    made(&client, "web", "image", |body| body).await;
    let retrieve = |query: &str| format!("{}/retrieveBootDiagnosticsData{query}", vm("rg", "web"));
    let view = |body: &Value| body["properties"]["instanceView"]["bootDiagnostics"].clone();
    let expanded = format!("{}?$expand=instanceView", vm("rg", "web"));

    let refused = client.post(&retrieve(""), COMPUTE, None).await;
    assert_eq!(refused.error(), (409, "OperationNotAllowed"));
    assert_eq!(
        view(&client.get(&expanded, COMPUTE).await.body),
        Value::Null
    );
    let on = json!({ "properties": { "diagnosticsProfile": { "bootDiagnostics": { "enabled": true } } } });
    let begun = client
        .call("PATCH", &vm("rg", "web"), COMPUTE, Some(on))
        .await;
    client.succeed(begun).await;
    assert_eq!(view(&client.get(&expanded, COMPUTE).await.body), json!({}));
    for query in ["0", "1441", "x"] {
        let query = format!("?sasUriExpirationTimeInMinutes={query}");
        let refused = client.post(&retrieve(&query), COMPUTE, None).await;
        assert_eq!(refused.error(), (400, "InvalidParameter"));
    }

    let given = client
        .post(&retrieve("?sasUriExpirationTimeInMinutes=5"), COMPUTE, None)
        .await;
    assert_eq!(given.status, 200, "{}", given.body);
    let log = given.body["serialConsoleLogBlobUri"].as_str().unwrap();
    let screen = given.body["consoleScreenshotBlobUri"].as_str().unwrap();
    assert!(
        log.contains(".serialconsole.log?sv=2018-03-28&sr=b&sig="),
        "{log}"
    );
    assert!(log.ends_with("&sp=r") && screen.contains(".screenshot.bmp?"));
    let get = async |url: &str| {
        let answer = client.http.get(url).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for url in [log, screen] {
        let (status, body) = get(url).await;
        assert_eq!(status, 404);
        assert!(body.starts_with('\u{feff}') && body.contains("<Code>BlobNotFound</Code>"));
    }

    // What the machine would have written.
    let shown = client.get(&vm("rg", "web"), COMPUTE).await.body;
    let id = shown["properties"]["vmId"].as_str().unwrap();
    let directory = dir.path().join("machines").join(id);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(
        directory.join("serialconsole.log"),
        b"Linux version 6\nlogin: ",
    )
    .unwrap();
    assert_eq!(get(log).await, (200, "Linux version 6\nlogin: ".to_owned()));
    let part = client
        .http
        .get(log)
        .header("x-ms-range", "bytes=6-12")
        .send()
        .await
        .unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 6-12/23");
    assert_eq!(part.text().await.unwrap(), "version");
    let beyond = client.http.get(log).header("range", "bytes=23-");
    assert_eq!(beyond.send().await.unwrap().status(), 416);

    // The signature is for this blob, reading, and a time.
    for bad in [
        log.replace("sp=r", "sp=rw"),
        log.replace("sig=", "sig=A"),
        log.replace("serialconsole.log", "screenshot.bmp"),
        log.replace("&se=2", "&se=3"),
        log.split_once('?').unwrap().0.to_owned(),
    ] {
        assert_eq!(get(&bad).await.0, 403, "{bad}");
    }
    let put = client.http.request(Method::PUT, log).body("x");
    assert_eq!(put.send().await.unwrap().status(), 403);
    clock.advance(Duration::from_secs(301));
    assert_eq!(get(log).await.0, 403);

    let gone = client.delete(&vm("rg", "web"), COMPUTE).await;
    client.succeed(gone).await;
    assert!(!directory.exists(), "the files of the machine stay");
    azure.stop().await;
}
