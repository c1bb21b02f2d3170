//! Operations that take as long as Azure's, by a clock that is advanced.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use azure_nixos_emulator::{Clock, Emulator, Timing};
use reqwest::Method;
use serde_json::json;

use common::{Answer, Client, NETWORK, RESOURCES, builder, group, resource};

async fn like_azure(dir: &std::path::Path) -> (Emulator, Clock, Client) {
    let clock = Clock::new();
    let emulator = builder(dir)
        .clock(clock.clone())
        .timing(Timing::LikeAzure)
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    (emulator, clock, client)
}

/// The status and the `Retry-After` of a poll.
async fn poll(client: &Client, begun: &Answer) -> (String, Option<String>) {
    let url = begun.header("azure-asyncoperation").unwrap();
    let polled = client.send(Method::GET, url, None).await;
    (
        polled.body["status"].as_str().unwrap().to_owned(),
        polled.header("retry-after").map(ToOwned::to_owned),
    )
}

fn running(seconds: Option<&str>) -> (String, Option<String>) {
    ("InProgress".to_owned(), seconds.map(ToOwned::to_owned))
}

#[tokio::test]
async fn each_kind_of_operation_has_its_own_pace() {
    let dir = tempfile::tempdir().unwrap();
    let (emulator, clock, client) = like_azure(dir.path()).await;
    let begun = client
        .put(
            &resource("rg", "Microsoft.Network/virtualNetworks", "net"),
            NETWORK,
            json!({"location": "westus2", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}),
        )
        .await;
    assert_eq!(
        (begun.status, begun.header("retry-after")),
        (201, Some("3"))
    );
    assert_eq!(poll(&client, &begun).await, running(Some("10")));
    clock.advance(Duration::from_secs(6));
    assert_eq!(poll(&client, &begun).await, ("Succeeded".to_owned(), None));

    client.make_uploaded(&emulator, "rg", "os").await;
    let begun = client
        .put(
            &common::image("rg", "nixos"),
            common::COMPUTE,
            common::image_of(&client.id("rg", "Microsoft.Compute/disks", "os")),
        )
        .await;
    assert_eq!((begun.status, begun.header("retry-after")), (201, None));
    assert_eq!(poll(&client, &begun).await, running(None));
    clock.advance(Duration::from_secs(6));
    while poll(&client, &begun).await.0 == "InProgress" {
        // The copy of the content takes its own time, whatever the clock says.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let begun = client.delete(&group("rg"), RESOURCES).await;
    assert_eq!(
        (begun.status, begun.header("retry-after")),
        (202, Some("15"))
    );
    let url = begun.header("location").unwrap();
    let waiting = client.send(Method::GET, url, None).await;
    assert_eq!(
        (waiting.status, waiting.header("retry-after")),
        (202, Some("15"))
    );
    clock.advance(Duration::from_secs(31));
    assert_eq!(client.send(Method::GET, url, None).await.status, 200);
    emulator.stop().await;
}
