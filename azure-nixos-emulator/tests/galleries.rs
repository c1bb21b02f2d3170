//! Galleries, image definitions and image versions, and the machines and disks made of them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use azure_nixos_emulator::{Clock, Emulator, Timing};
use reqwest::Method;
use serde_json::{Value, json};

use common::{Answer, COMPUTE, Client, DISKS, RESOURCES, builder, disk, group, image, vm, with};

const GALLERIES: &str = "2023-07-03";

fn gallery(name: &str) -> String {
    format!("/resourceGroups/rg/providers/Microsoft.Compute/galleries/{name}")
}

fn definition(name: &str) -> String {
    format!("{}/images/{name}", gallery("images"))
}

fn version(definition: &str, name: &str) -> String {
    format!("{}/versions/{name}", self::definition(definition))
}

/// A definition that fits the disks of these tests.
fn generalized(sku: &str) -> Value {
    json!({ "location": "westus2", "properties": {
        "osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2",
        "identifier": { "publisher": "nixos", "offer": "nixos", "sku": sku },
    }})
}

struct House {
    _dir: tempfile::TempDir,
    emulator: Emulator,
    client: Client,
}

impl House {
    /// A group with a disk, an image of it, a gallery and a definition.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let emulator = builder(dir.path()).start().await.unwrap();
        let client = Client::new(&emulator);
        client.make_group("rg").await;
        client.make_uploaded(&emulator, "rg", "os").await;
        client.make_image("rg", "nixos", "os").await;
        let house = Self {
            _dir: dir,
            emulator,
            client,
        };
        house
            .make(&gallery("images"), json!({ "location": "westus2" }))
            .await;
        house.make(&definition("nixos"), generalized("24.05")).await;
        house
    }

    fn id(&self, path: &str) -> String {
        format!("/subscriptions/{}{path}", self.client.subscription)
    }

    async fn put(&self, path: &str, body: Value) -> Answer {
        self.client.put(path, GALLERIES, body).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.client.get(path, GALLERIES).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// PUT of something new, to its end: what a GET shows then.
    async fn make(&self, path: &str, body: Value) -> Value {
        let made = self.put(path, body).await;
        assert_eq!(made.status, 201, "{path}: {}", made.body);
        self.client.succeed(made).await;
        self.get(path).await
    }

    /// A version of the image.
    fn version_of_image(&self) -> Value {
        json!({ "location": "westus2", "properties": {
            "publishingProfile": { "targetRegions": [{ "name": "westus2" }] },
            "storageProfile": { "source": { "id": self.id(&image("rg", "nixos")) } },
        }})
    }

    async fn delete(&self, path: &str) {
        let begun = self.client.delete(path, GALLERIES).await;
        assert_eq!((begun.status, &begun.body), (202, &Value::Null), "{path}");
        assert!(begun.header("location").unwrap().contains("monitor=true"));
        self.client.succeed(begun).await;
        assert_eq!(self.client.get(path, GALLERIES).await.status, 404);
    }

    fn bytes_of(&self, definition: &str, name: &str) -> Vec<u8> {
        std::fs::read(
            self.emulator
                .image_version_file("rg", "images", definition, name),
        )
        .unwrap()
    }

    fn original(&self) -> Vec<u8> {
        std::fs::read(self.emulator.disk_file("rg", "os")).unwrap()
    }
}

#[tokio::test]
async fn a_gallery_has_a_unique_name_and_goes_last() {
    let house = House::new().await;
    let client = &house.client;
    let made = house
        .put(&gallery("second"), json!({ "location": "West US 2" }))
        .await;
    let id = house.id(&gallery("second"));
    let unique = format!("{}-SECOND", client.subscription);
    let expected = |state: &str| {
        json!({
            "name": "second", "id": id, "type": "Microsoft.Compute/galleries", "location": "westus2",
            "properties": { "identifier": { "uniqueName": unique }, "provisioningState": state },
        })
    };
    assert_eq!((made.status, &made.body), (201, &expected("Creating")));
    assert!(made.header("location").is_none());
    let url = made.header("azure-asyncoperation").unwrap();
    assert!(
        url.contains("/locations/westus2/capsOperations/") && !url.contains("?p="),
        "{url}"
    );
    let ended = client.succeed(made).await;
    assert!(ended.get("properties").is_none());
    assert_eq!(house.get(&gallery("second")).await, expected("Succeeded"));

    let changed = client
        .call(
            "PATCH",
            &gallery("second"),
            GALLERIES,
            Some(json!({ "properties": { "description": "ours" }, "tags": { "a": "b" } })),
        )
        .await;
    assert_eq!(changed.status, 200);
    assert_eq!(changed.body["properties"]["provisioningState"], "Succeeded");
    client.succeed(changed).await;
    let shown = house.get(&gallery("SECOND")).await;
    assert_eq!(
        (&shown["properties"]["description"], &shown["tags"]["a"]),
        (&json!("ours"), &json!("b"))
    );
    for path in [
        "/resourceGroups/rg/providers/Microsoft.Compute/galleries",
        "/providers/Microsoft.Compute/galleries",
    ] {
        let listed = house.get(path).await;
        let names: Vec<_> = listed["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|g| &g["name"])
            .collect();
        assert_eq!(names, ["images", "second"]);
    }
    // One of a name in the subscription.
    client.make_group("other").await;
    let taken = gallery("second").replace("/rg/", "/other/");
    assert_eq!(
        house
            .put(&taken, json!({ "location": "westus2" }))
            .await
            .error(),
        (409, "Conflict")
    );
    house.delete(&gallery("second")).await;

    // What has something in it stays.
    house
        .make(&version("nixos", "1.0.0"), house.version_of_image())
        .await;
    for path in [gallery("images"), definition("nixos")] {
        let refused = client.delete(&path, GALLERIES).await;
        assert_eq!(refused.error(), (409, "CannotDeleteResource"), "{path}");
    }
    let file = house
        .emulator
        .image_version_file("rg", "images", "nixos", "1.0.0");
    assert!(file.exists());
    house.delete(&version("nixos", "1.0.0")).await;
    assert!(!file.exists());
    house.delete(&definition("nixos")).await;
    house.delete(&gallery("images")).await;
    assert_eq!(
        client.delete(&gallery("images"), GALLERIES).await.status,
        204
    );
    house.emulator.stop().await;
}

#[tokio::test]
async fn a_definition_is_fixed_once_it_is_made() {
    let house = House::new().await;
    let client = &house.client;
    let path = definition("image1");
    // What `az` sends.
    let body = json!({ "location": "westus2", "tags": {}, "properties": {
        "disallowed": {}, "hyperVGeneration": "V1", "osState": "Generalized", "osType": "Linux",
        "identifier": { "offer": "offer1", "publisher": "publisher1", "sku": "sku1" },
    }});
    let made = house.put(&path, body.clone()).await;
    let expected = |state: &str| {
        json!({
            "name": "image1", "id": house.id(&path), "type": "Microsoft.Compute/galleries/images",
            "location": "westus2", "tags": {},
            "properties": {
                "hyperVGeneration": "V1", "architecture": "x64", "osType": "Linux",
                "osState": "Generalized",
                "identifier": { "publisher": "publisher1", "offer": "offer1", "sku": "sku1" },
                "provisioningState": state,
            },
        })
    };
    assert_eq!((made.status, &made.body), (201, &expected("Creating")));
    client.succeed(made).await;
    assert_eq!(house.get(&path).await, expected("Succeeded"));
    // The same again is an update.
    let again = house.put(&path, body.clone()).await;
    assert_eq!((again.status, &again.body), (200, &expected("Updating")));
    client.succeed(again).await;

    for (pointer, value, target) in [
        ("/properties/osType", json!("Windows"), "osType"),
        ("/properties/osState", json!("Specialized"), "osState"),
        (
            "/properties/hyperVGeneration",
            json!("V2"),
            "hyperVGeneration",
        ),
        ("/properties/architecture", json!("Arm64"), "architecture"),
        (
            "/properties/identifier/sku",
            json!("sku2"),
            "identifier.sku",
        ),
        (
            "/properties/features",
            json!([{ "name": "SecurityType", "value": "TrustedLaunch" }]),
            "features",
        ),
    ] {
        let refused = house.put(&path, with(body.clone(), pointer, value)).await;
        assert_eq!(
            refused.error(),
            (409, "PropertyChangeNotAllowed"),
            "{pointer}"
        );
        assert_eq!(
            refused.body["error"]["target"],
            format!("galleryImage.properties.{target}")
        );
    }
    let patched = client
        .call(
            "PATCH",
            &path,
            GALLERIES,
            Some(
                json!({ "properties": { "endOfLifeDate": "2030-01-01T00:00:00+00:00",
                "recommended": { "vCPUs": { "min": 1, "max": 8 } } } }),
            ),
        )
        .await;
    assert_eq!(patched.status, 200, "{}", patched.body);
    client.succeed(patched).await;
    let shown = house.get(&path).await;
    assert_eq!(shown["properties"]["recommended"]["vCPUs"]["max"], 8);
    assert_eq!(shown["properties"]["identifier"]["sku"], "sku1");

    // The three parts of the identifier name one definition; a body needs all of them.
    let same = house.put(&definition("image2"), body.clone()).await;
    assert_eq!(same.error(), (409, "Conflict"));
    for missing in ["osType", "osState", "identifier"] {
        let mut without = body.clone();
        without["properties"]
            .as_object_mut()
            .unwrap()
            .remove(missing);
        let refused = house.put(&definition("image3"), without).await;
        assert_eq!(refused.error(), (400, "InvalidParameter"), "{missing}");
    }
    let orphan = definition("image1").replace("/images/images/", "/none/images/");
    let orphan = orphan.replace("/galleries/images/", "/galleries/none/");
    assert_eq!(
        house.put(&orphan, body).await.error(),
        (404, "ResourceNotFound")
    );
    let listed = house.get(&format!("{}/images", gallery("images"))).await;
    assert_eq!(listed["value"].as_array().unwrap().len(), 2);
    house.emulator.stop().await;
}

#[tokio::test]
async fn a_version_has_the_bytes_of_its_image() {
    let house = House::new().await;
    let path = version("nixos", "1.0.0");
    let body = json!({ "location": "westus2", "tags": {}, "properties": {
        "publishingProfile": {
            "replicaCount": 2,
            "targetRegions": [{ "name": "East US 2", "regionalReplicaCount": 1 }, { "name": "westus2" }],
        },
        "storageProfile": { "source": { "id": house.id(&image("rg", "nixos")) } },
    }});
    let made = house.put(&path, body).await;
    let published = made.body["properties"]["publishingProfile"]["publishedDate"].clone();
    assert!(published.is_string());
    let expected = json!({
        "name": "1.0.0", "id": house.id(&path), "type": "Microsoft.Compute/galleries/images/versions",
        "location": "westus2", "tags": {},
        "properties": {
            "publishingProfile": {
                "targetRegions": [
                    { "name": "East US 2", "regionalReplicaCount": 1, "storageAccountType": "Standard_LRS" },
                    { "name": "West US 2", "regionalReplicaCount": 2, "storageAccountType": "Standard_LRS" },
                ],
                "replicaCount": 2, "excludeFromLatest": false, "publishedDate": published,
                "storageAccountType": "Standard_LRS",
            },
            "storageProfile": { "source": { "id": house.id(&image("rg", "nixos")) } },
            "safetyProfile": {
                "reportedForPolicyViolation": false, "allowDeletionOfReplicatedLocations": false,
            },
            "provisioningState": "Creating",
        },
    });
    assert_eq!((made.status, &made.body), (201, &expected));
    house.client.succeed(made).await;
    let mut finished = expected;
    finished["properties"]["provisioningState"] = json!("Succeeded");
    finished["properties"]["storageProfile"]["osDiskImage"] =
        json!({ "sizeInGB": 1, "hostCaching": "None", "source": {} });
    assert_eq!(house.get(&path).await, finished);
    assert_eq!(house.bytes_of("nixos", "1.0.0"), house.original());

    // A version of a version, and the first one's content outlives its image.
    let body = json!({ "location": "eastus2", "properties": {
        "publishingProfile": { "targetRegions": [{ "name": "eastus2" }] },
        "storageProfile": { "source": { "id": house.id(&path) } },
    }});
    house.make(&version("nixos", "1.0.1"), body.clone()).await;
    let elsewhere = house
        .put(
            &version("nixos", "1.0.2"),
            with(
                with(body, "/location", json!("eastus")),
                "/properties/publishingProfile/targetRegions",
                json!([{ "name": "eastus" }]),
            ),
        )
        .await;
    assert_eq!(elsewhere.error(), (400, "InvalidParameter"));
    let gone = house.client.delete(&image("rg", "nixos"), COMPUTE).await;
    house.client.succeed(gone).await;
    house.delete(&path).await;
    assert_eq!(house.bytes_of("nixos", "1.0.1"), house.original());
    house.emulator.stop().await;
}

#[tokio::test]
async fn machines_are_made_of_a_version_or_of_the_latest() {
    let house = House::new().await;
    let client = &house.client;
    house
        .make(&version("nixos", "1.9.0"), house.version_of_image())
        .await;
    house
        .make(&version("nixos", "1.10.0"), house.version_of_image())
        .await;
    // Newer, but not to be the latest; and newer, but elsewhere.
    house
        .make(
            &version("nixos", "2.0.0"),
            with(
                house.version_of_image(),
                "/properties/publishingProfile/excludeFromLatest",
                json!(true),
            ),
        )
        .await;
    let mut excluded = house.version_of_image();
    excluded["properties"]["publishingProfile"]["targetRegions"] =
        json!([{ "name": "westus2", "excludeFromLatest": true }]);
    house.make(&version("nixos", "3.0.0"), excluded).await;
    for (name, reference, exact) in [
        ("web-a", definition("nixos"), "1.10.0"),
        ("web-b", version("nixos", "latest"), "1.10.0"),
        ("web-c", version("nixos", "1.9.0"), "1.9.0"),
        ("web-d", version("nixos", "3.0.0"), "3.0.0"),
    ] {
        client.make_network("rg", name).await;
        let mut body = client.vm("rg", name, "nixos");
        body["properties"]["storageProfile"]["imageReference"]["id"] = json!(house.id(&reference));
        let made = client.put(&vm("rg", name), COMPUTE, body.clone()).await;
        assert_eq!(made.status, 201, "{}", made.body);
        client.succeed(made).await;
        let machine = client.get(&vm("rg", name), COMPUTE).await.body;
        let profile = &machine["properties"]["storageProfile"];
        assert_eq!(
            profile["imageReference"],
            json!({ "id": house.id(&reference), "exactVersion": exact })
        );
        assert_eq!(profile["osDisk"]["diskSizeGB"], 1);
        assert_eq!(
            profile["osDisk"]["managedDisk"]["storageAccountType"],
            "Premium_LRS"
        );
        let made_disk = profile["osDisk"]["name"].as_str().unwrap();
        let made_disk = client.get(&disk("rg", made_disk), DISKS).await.body;
        assert_eq!(
            made_disk["properties"]["creationData"],
            json!({ "createOption": "FromImage",
                "galleryImageReference": { "id": house.id(&version("nixos", exact)) } })
        );
        assert_eq!(made_disk["properties"]["hyperVGeneration"], "V2");
        // As it was read, it can be written.
        let again = client.put(&vm("rg", name), COMPUTE, body).await;
        assert_eq!(again.status, 200, "{}", again.body);
    }
    // A version that a machine was made of may go.
    house.delete(&version("nixos", "1.9.0")).await;

    for (reference, location) in [
        (version("nixos", "9.0.0"), "westus2"),
        (definition("none"), "westus2"),
        (version("nixos", "1.10.0"), "eastus"),
    ] {
        let mut body = client.vm("rg", "web-e", "nixos");
        body["location"] = json!(location);
        body["properties"]["storageProfile"]["imageReference"]["id"] = json!(house.id(&reference));
        let refused = client.put(&vm("rg", "web-e"), COMPUTE, body).await;
        assert_eq!(
            refused.error(),
            (404, "GalleryImageNotFound"),
            "{reference}"
        );
        assert_eq!(refused.body["error"]["target"], "imageReference");
        assert!(
            refused.body["error"]["message"]
                .as_str()
                .unwrap()
                .contains(&format!("is not available in {location} region")),
        );
    }
    house.emulator.stop().await;
}

#[tokio::test]
async fn the_security_type_of_a_machine_is_one_of_its_image() {
    let house = House::new().await;
    let client = &house.client;
    client.make_network("rg", "web").await;
    for (name, feature, machine, fits) in [
        ("must", "TrustedLaunch", None, false),
        ("must2", "TrustedLaunch", Some("TrustedLaunch"), true),
        ("may", "TrustedLaunchSupported", None, true),
        (
            "may2",
            "TrustedLaunchSupported",
            Some("TrustedLaunch"),
            true,
        ),
        (
            "may3",
            "TrustedLaunchSupported",
            Some("ConfidentialVM"),
            false,
        ),
        ("not", "Standard", Some("TrustedLaunch"), false),
    ] {
        let body = with(
            generalized(name),
            "/properties/features",
            json!([{ "name": "SecurityType", "value": feature }]),
        );
        house.make(&definition(name), body).await;
        house
            .make(&version(name, "1.0.0"), house.version_of_image())
            .await;
        let mut body = client.vm("rg", "web", "nixos");
        body["properties"]["storageProfile"]["imageReference"]["id"] =
            json!(house.id(&definition(name)));
        if let Some(machine) = machine {
            body["properties"]["securityProfile"] = json!({ "securityType": machine });
        }
        let answer = client.put(&vm("rg", "web"), COMPUTE, body).await;
        if fits {
            assert_eq!(answer.status, 201, "{name}: {}", answer.body);
            client.succeed(answer).await;
            let gone = client.delete(&vm("rg", "web"), COMPUTE).await;
            client.succeed(gone).await;
        } else {
            assert_eq!(answer.error(), (400, "BadRequest"), "{name}");
        }
    }
    house.emulator.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_its_definition_fails_at_the_end() {
    let house = House::new().await;
    for (name, pointer, value, code, words) in [
        (
            "first",
            "/properties/hyperVGeneration",
            json!("V1"),
            "Conflict",
            "has a different Hypervisor generation ['V2'] than the parent gallery image Hypervisor generation ['V1'].",
        ),
        (
            "special",
            "/properties/osState",
            json!("Specialized"),
            "BadRequest",
            "OS state ['Generalized']",
        ),
        (
            "windows",
            "/properties/osType",
            json!("Windows"),
            "BadRequest",
            "OS type ['Linux']",
        ),
        (
            "arm",
            "/properties/architecture",
            json!("Arm64"),
            "BadRequest",
            "architecture ['x64']",
        ),
    ] {
        house
            .make(&definition(name), with(generalized(name), pointer, value))
            .await;
        let begun = house
            .put(&version(name, "1.0.0"), house.version_of_image())
            .await;
        assert_eq!(begun.status, 201, "{}", begun.body);
        let ended = house.client.follow(&begun).await;
        assert_eq!(
            (ended.status, &ended.body["status"]),
            (200, &json!("Failed"))
        );
        assert_eq!(ended.body["error"]["code"], code);
        let message = ended.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        let shown = house.get(&version(name, "1.0.0")).await;
        assert_eq!(shown["properties"]["provisioningState"], "Failed");
        house.delete(&version(name, "1.0.0")).await;
    }
    house.emulator.stop().await;
}

#[tokio::test]
async fn bad_versions_are_refused_at_once() {
    let house = House::new().await;
    let good = house.version_of_image();
    for (pointer, value, status, code) in [
        (
            "/properties/publishingProfile/targetRegions",
            json!([{ "name": "eastus" }]),
            400,
            "InvalidParameter",
        ),
        (
            "/properties/publishingProfile/targetRegions",
            json!([{ "name": "westus2" }, { "name": "West US 2" }]),
            400,
            "InvalidParameter",
        ),
        (
            "/properties/publishingProfile/targetRegions",
            json!([{ "name": "nowhere" }]),
            400,
            "InvalidParameter",
        ),
        (
            "/properties/publishingProfile/replicaCount",
            json!(0),
            400,
            "InvalidParameter",
        ),
        (
            "/properties/storageProfile",
            json!({}),
            400,
            "InvalidParameter",
        ),
        (
            "/properties/storageProfile/osDiskImage",
            json!({ "source": { "id": house.id(&disk("rg", "os")) } }),
            400,
            "InvalidParameter",
        ),
        (
            "/properties/storageProfile/source",
            json!({ "id": house.id(&image("rg", "none")) }),
            404,
            "NotFound",
        ),
        (
            "/properties/storageProfile",
            json!({ "osDiskImage": { "source": {
            "uri": "https://a.blob.core.windows.net/c/b.vhd", "storageAccountId": "/x" } } }),
            404,
            "NotFound",
        ),
        ("/location", json!("eastus"), 400, "InvalidParameter"),
    ] {
        let refused = house
            .put(
                &version("nixos", "1.0.0"),
                with(good.clone(), pointer, value),
            )
            .await;
        assert_eq!(
            refused.error(),
            (status, code),
            "{pointer}: {}",
            refused.body
        );
    }
    let name = house.put(&version("nixos", "1.0"), good.clone()).await;
    assert_eq!(name.error(), (400, "InvalidParameter"));
    let applications = format!("{}/applications/a", gallery("images"));
    assert_eq!(
        house.client.get(&applications, GALLERIES).await.error(),
        (501, "NotImplemented")
    );
    let orphan = house.put(&version("none", "1.0.0"), good).await;
    assert_eq!(orphan.error(), (404, "ResourceNotFound"));
    house.emulator.stop().await;
}

#[tokio::test]
async fn replication_takes_seven_minutes_by_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new();
    let emulator = builder(dir.path())
        .clock(clock.clone())
        .timing(Timing::LikeAzure)
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    // Less than an hour in all, as the token is good for one.
    let finish = async |begun: Answer| {
        while client
            .send(
                Method::GET,
                begun
                    .header("azure-asyncoperation")
                    .or(begun.header("location"))
                    .unwrap(),
                None,
            )
            .await
            .body["status"]
            == "InProgress"
        {
            clock.advance(Duration::from_secs(10));
        }
        clock.advance(Duration::from_secs(60));
        client.succeed(begun).await;
    };
    client.make_group("rg").await;
    finish(
        client
            .put(&disk("rg", "os"), DISKS, common::upload(common::SMALLEST))
            .await,
    )
    .await;
    let access = json!({ "access": "Write", "durationInSeconds": 86_400 });
    finish(
        client
            .post(
                &format!("{}/beginGetAccess", disk("rg", "os")),
                DISKS,
                Some(access),
            )
            .await,
    )
    .await;
    common::write_image(&emulator.disk_file("rg", "os"));
    finish(
        client
            .post(&format!("{}/endGetAccess", disk("rg", "os")), DISKS, None)
            .await,
    )
    .await;
    let body = common::image_of(&client.id("rg", "Microsoft.Compute/disks", "os"));
    finish(client.put(&image("rg", "nixos"), COMPUTE, body).await).await;
    finish(
        client
            .put(
                &gallery("images"),
                GALLERIES,
                json!({ "location": "westus2" }),
            )
            .await,
    )
    .await;
    finish(
        client
            .put(&definition("nixos"), GALLERIES, generalized("a"))
            .await,
    )
    .await;

    let path = version("nixos", "1.0.0");
    let body = json!({ "location": "westus2", "properties": {
        "publishingProfile": { "targetRegions": [{ "name": "westus2" }, { "name": "eastus2" }] },
        "storageProfile": { "source": { "id": client.id("rg", "Microsoft.Compute/images", "nixos") } },
    }});
    let begun = client.put(&path, GALLERIES, body.clone()).await;
    assert_eq!(
        (begun.status, begun.header("retry-after")),
        (201, Some("60"))
    );
    let expanded = format!("{path}?$expand=ReplicationStatus");
    let status = async || {
        client.get(&expanded, GALLERIES).await.body["properties"]["replicationStatus"].clone()
    };
    clock.advance(Duration::from_secs(210));
    let url = begun.header("azure-asyncoperation").unwrap();
    let polled = client.send(Method::GET, url, None).await;
    assert_eq!(polled.body["status"], "InProgress");
    assert_eq!(polled.header("retry-after"), Some("60"));
    assert_eq!(
        status().await,
        json!({ "aggregatedState": "InProgress", "summary": [
            { "region": "westus2", "state": "Replicating", "progress": 50 },
            { "region": "eastus2", "state": "Replicating", "progress": 50 },
        ]})
    );
    assert!(
        client.get(&path, GALLERIES).await.body["properties"]
            .get("replicationStatus")
            .is_none()
    );
    clock.advance(Duration::from_secs(211));
    client.succeed(begun).await;
    assert_eq!(status().await["aggregatedState"], "Completed");

    // A further region waits; those that are there do not.
    let more = with(
        body.clone(),
        "/properties/publishingProfile/targetRegions",
        json!([{ "name": "westus2" }, { "name": "eastus2" }, { "name": "northeurope" }]),
    );
    let begun = client.put(&path, GALLERIES, more).await;
    assert_eq!(
        (begun.status, begun.header("retry-after")),
        (200, Some("60"))
    );
    assert_eq!(begun.body["properties"]["provisioningState"], "Updating");
    let now = status().await;
    assert_eq!(now["aggregatedState"], "InProgress");
    assert_eq!(now["summary"][0]["state"], "Completed");
    assert_eq!(
        now["summary"][2],
        json!({ "region": "northeurope", "state": "Replicating", "progress": 0 })
    );
    finish(begun).await;
    assert_eq!(status().await["aggregatedState"], "Completed");

    // Taking one away has to be allowed, and is refused at the end of the operation.
    let begun = client.put(&path, GALLERIES, body.clone()).await;
    assert_eq!(begun.status, 200);
    clock.advance(Duration::from_secs(60));
    let ended = client.follow(&begun).await;
    assert_eq!(ended.body["error"]["code"], "BadRequest", "{}", ended.body);
    assert_eq!(status().await["summary"].as_array().unwrap().len(), 3);
    let allowed = with(
        body.clone(),
        "/properties/safetyProfile",
        json!({ "allowDeletionOfReplicatedLocations": true }),
    );
    finish(client.put(&path, GALLERIES, allowed).await).await;
    assert_eq!(status().await["summary"].as_array().unwrap().len(), 2);
    // Another source is refused the same way; none at all is an update.
    let other = with(
        body,
        "/properties/storageProfile/source/id",
        json!(client.id("rg", "Microsoft.Compute/images", "other")),
    );
    let begun = client.put(&path, GALLERIES, other).await;
    let ended = client.follow(&begun).await;
    assert_eq!(ended.body["error"]["code"], "PropertyChangeNotAllowed");
    let patch = json!({ "properties": {
        "publishingProfile": { "excludeFromLatest": true }, "storageProfile": {},
    }});
    finish(client.call("PATCH", &path, GALLERIES, Some(patch)).await).await;
    let shown = client.get(&path, GALLERIES).await.body;
    assert_eq!(
        shown["properties"]["publishingProfile"]["excludeFromLatest"],
        true
    );
    assert_eq!(shown["properties"]["provisioningState"], "Succeeded");

    let begun = client.delete(&path, GALLERIES).await;
    assert_eq!(
        (begun.status, begun.header("retry-after")),
        (202, Some("60"))
    );
    finish(begun).await;
    // The definition does not know yet that the version is gone.
    let begun = client.put(&path, GALLERIES, json!({ "location": "westus2", "properties": {
        "storageProfile": { "source": { "id": client.id("rg", "Microsoft.Compute/images", "nixos") } },
    }})).await;
    finish(begun).await;
    let begun = client.delete(&path, GALLERIES).await;
    clock.advance(Duration::from_secs(91));
    client.succeed(begun).await;
    assert_eq!(client.get(&path, GALLERIES).await.status, 404);
    clock.advance(Duration::from_secs(15));
    let refused = client.delete(&definition("nixos"), GALLERIES).await;
    assert_eq!(refused.error(), (409, "CannotDeleteResource"));
    clock.advance(Duration::from_secs(6));
    finish(client.delete(&definition("nixos"), GALLERIES).await).await;
    finish(
        client
            .put(&definition("nixos"), GALLERIES, generalized("a"))
            .await,
    )
    .await;

    // A group takes all with it.
    finish(client.put(&path, GALLERIES, json!({ "location": "westus2", "properties": {
        "storageProfile": { "source": { "id": client.id("rg", "Microsoft.Compute/images", "nixos") } },
    }})).await).await;
    let file = emulator.image_version_file("RG", "Images", "NixOS", "1.0.0");
    assert!(file.exists());
    finish(client.delete(&group("rg"), RESOURCES).await).await;
    assert!(!file.exists());
    emulator.stop().await;
}

#[tokio::test]
async fn every_list_comes_in_pages_when_it_is_asked_to() {
    let dir = tempfile::tempdir().unwrap();
    let emulator = builder(dir.path())
        .page_size(std::num::NonZeroUsize::new(2).unwrap())
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    for name in ["rg", "rg2", "rg3"] {
        client.make_group(name).await;
    }
    for name in ["a", "b", "c", "d", "e"] {
        let made = client
            .put(&gallery(name), GALLERIES, json!({ "location": "westus2" }))
            .await;
        client.succeed(made).await;
    }
    let galleries = "/resourceGroups/rg/providers/Microsoft.Compute/galleries";
    for (path, version, count) in [
        (galleries, GALLERIES, 5),
        ("/providers/Microsoft.Compute/galleries", GALLERIES, 5),
        ("/resourceGroups/rg/resources", RESOURCES, 5),
        ("/resourcegroups", RESOURCES, 3),
        ("/locations", common::SUBSCRIPTIONS, 42),
    ] {
        let mut names = Vec::new();
        let mut page = client.get(path, version).await;
        loop {
            assert_eq!(page.status, 200, "{}", page.body);
            let items = page.body["value"].as_array().unwrap();
            assert!(items.len() <= 2);
            names.extend(items.iter().map(|item| item["name"].clone()));
            let Some(next) = page.body["nextLink"].as_str() else {
                break;
            };
            assert!(next.starts_with(emulator.arm_url()), "{next}");
            page = client.send(Method::GET, next, None).await;
        }
        let unique: std::collections::HashSet<_> = names.iter().collect();
        assert_eq!((names.len(), unique.len()), (count, count), "{path}");
    }
    emulator.stop().await;
}
