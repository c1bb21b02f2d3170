//! A client of the local Azure that shares nothing with it but HTTP.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its part, and a helper that fails is a test that fails"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use azure_nixos_emulator::{Emulator, EmulatorBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use sha2::Sha256;

/// Api-versions: disks, the rest of compute, network, resources, subscriptions.
pub(crate) const DISKS: &str = "2023-04-02";
pub(crate) const COMPUTE: &str = "2024-07-01";
pub(crate) const NETWORK: &str = "2024-01-01";
pub(crate) const RESOURCES: &str = "2022-09-01";
pub(crate) const SUBSCRIPTIONS: &str = "2022-12-01";

/// The smallest upload: 20 MiB and the footer.
pub(crate) const SMALLEST: u64 = 20_972_032;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The status and the code of an error.
    pub(crate) fn error(&self) -> (u16, &str) {
        (
            self.status,
            self.body["error"]["code"].as_str().unwrap_or("no code"),
        )
    }
}

/// A local Azure with what a machine is made of, in the group `rg`: the image `nixos` and the network `web`.
pub(crate) async fn prepared(builder: EmulatorBuilder) -> (Emulator, Client) {
    let emulator = builder.start().await.unwrap();
    let client = Client::new(&emulator);
    client.make_group("rg").await;
    client.make_uploaded(&emulator, "rg", "os").await;
    client.make_image("rg", "nixos", "os").await;
    client.make_network("rg", "web").await;
    (emulator, client)
}

pub(crate) struct Client {
    pub(crate) http: reqwest::Client,
    pub(crate) base: String,
    pub(crate) token: Option<String>,
    pub(crate) subscription: String,
}

pub(crate) fn http(emulator: &Emulator) -> reqwest::Client {
    trusting(emulator).no_proxy().build().unwrap()
}

/// A client that sends https through the proxy.
pub(crate) fn proxied(emulator: &Emulator) -> reqwest::Client {
    let proxy = reqwest::Proxy::https(emulator.proxy_url().unwrap()).unwrap();
    trusting(emulator).proxy(proxy).build().unwrap()
}

fn trusting(emulator: &Emulator) -> reqwest::ClientBuilder {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(emulator.ca_pem().as_bytes()).unwrap())
        .unwrap();
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls)
}

pub(crate) fn builder(state_dir: &Path) -> EmulatorBuilder {
    Emulator::builder()
        .state_dir(state_dir)
        .lock_patience(Duration::from_secs(5))
}

impl Client {
    pub(crate) fn new(emulator: &Emulator) -> Self {
        Self {
            http: http(emulator),
            base: emulator.arm_url().to_owned(),
            token: Some(emulator.access_token()),
            subscription: emulator.subscription_id(),
        }
    }

    /// Any URL, as it is.
    pub(crate) async fn send(&self, method: Method, url: &str, body: Option<Value>) -> Answer {
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        Answer {
            status,
            headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
        }
    }

    /// A path below the subscription.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        version: &str,
        body: Option<Value>,
    ) -> Answer {
        let query = if path.contains('?') { '&' } else { '?' };
        let url = format!(
            "{}/subscriptions/{}{path}{query}api-version={version}",
            self.base, self.subscription
        );
        self.send(method.parse().unwrap(), &url, body).await
    }

    pub(crate) async fn put(&self, path: &str, version: &str, body: Value) -> Answer {
        self.call("PUT", path, version, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str, version: &str) -> Answer {
        self.call("GET", path, version, None).await
    }

    pub(crate) async fn delete(&self, path: &str, version: &str) -> Answer {
        self.call("DELETE", path, version, None).await
    }

    pub(crate) async fn post(&self, path: &str, version: &str, body: Option<Value>) -> Answer {
        self.call("POST", path, version, body).await
    }

    /// Follows `Azure-AsyncOperation`, or `Location` without it, to the end: the last answer.
    pub(crate) async fn follow(&self, begun: &Answer) -> Answer {
        assert!(
            matches!(begun.status, 200..=202),
            "{}: {}",
            begun.status,
            begun.body
        );
        let by_name = begun.header("azure-asyncoperation");
        let url = by_name.or(begun.header("location")).unwrap().to_owned();
        for _ in 0..500 {
            let answer = self.send(Method::GET, &url, None).await;
            let running = match by_name {
                Some(_) => answer.body["status"] == "InProgress",
                None => answer.status == 202,
            };
            if !running {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the operation does not end: {url}");
    }

    /// The same, and it has to have succeeded.
    pub(crate) async fn succeed(&self, begun: Answer) -> Value {
        let ended = self.follow(&begun).await;
        if begun.header("azure-asyncoperation").is_some() {
            assert_eq!(ended.body["status"], "Succeeded", "{}", ended.body);
        } else {
            assert_eq!(ended.status, 200);
        }
        ended.body
    }

    pub(crate) fn id(&self, group: &str, kind: &str, name: &str) -> String {
        format!(
            "/subscriptions/{}{}",
            self.subscription,
            resource(group, kind, name)
        )
    }

    pub(crate) async fn make_group(&self, name: &str) {
        let made = self
            .put(&group(name), RESOURCES, json!({ "location": "West US 2" }))
            .await;
        assert_eq!(made.status, 201, "{}", made.body);
    }

    /// A disk to upload to.
    pub(crate) async fn make_disk(&self, group: &str, name: &str) {
        let body = upload(SMALLEST);
        let made = self.put(&disk(group, name), DISKS, body).await;
        self.succeed(made).await;
    }

    pub(crate) async fn grant(&self, group: &str, name: &str, access: &str) -> String {
        let path = format!("{}/beginGetAccess", disk(group, name));
        let body = json!({ "access": access, "durationInSeconds": 3600 });
        let begun = self.post(&path, DISKS, Some(body)).await;
        let ended = self.succeed(begun).await;
        ended["properties"]["output"]["accessSAS"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) async fn revoke(&self, group: &str, name: &str) -> Answer {
        let path = format!("{}/endGetAccess", disk(group, name));
        let begun = self.post(&path, DISKS, None).await;
        assert_eq!(begun.status, 202, "{}", begun.body);
        self.follow(&begun).await
    }

    /// A disk that was uploaded: content, footer and all.
    pub(crate) async fn make_uploaded(&self, emulator: &Emulator, group: &str, name: &str) {
        self.make_disk(group, name).await;
        self.grant(group, name, "Write").await;
        write_image(&emulator.disk_file(group, name));
        let ended = self.revoke(group, name).await;
        assert_eq!(ended.body["status"], "Succeeded", "{}", ended.body);
    }

    pub(crate) async fn make_image(&self, group: &str, name: &str, disk: &str) {
        let made = self
            .put(
                &image(group, name),
                COMPUTE,
                image_of(&self.id(group, "Microsoft.Compute/disks", disk)),
            )
            .await;
        assert_eq!(made.status, 201, "{}", made.body);
        self.succeed(made).await;
    }

    /// A network with a subnet, a security group, a public address and an interface, all `name`.
    pub(crate) async fn make_network(&self, group: &str, name: &str) {
        let at = "westus2";
        for (kind, body) in [
            (
                "virtualNetworks",
                json!({ "location": at, "properties": {
                    "addressSpace": { "addressPrefixes": ["10.0.0.0/16"] },
                    "subnets": [{ "name": "default", "properties": { "addressPrefix": "10.0.0.0/24" } }],
                }}),
            ),
            (
                "networkSecurityGroups",
                json!({ "location": at, "properties": { "securityRules": [{ "name": "ssh", "properties": {
                    "protocol": "Tcp", "access": "Allow", "direction": "Inbound", "priority": 1000,
                    "sourceAddressPrefix": "*", "sourcePortRange": "*",
                    "destinationAddressPrefix": "*", "destinationPortRange": "22",
                }}]}}),
            ),
            (
                "publicIPAddresses",
                json!({ "location": at, "sku": { "name": "Standard" },
                    "properties": { "publicIPAllocationMethod": "Static" } }),
            ),
            ("networkInterfaces", self.nic(group, name)),
        ] {
            let kind = format!("Microsoft.Network/{kind}");
            let made = self.put(&resource(group, &kind, name), NETWORK, body).await;
            assert_eq!(made.status, 201, "{kind}: {}", made.body);
            self.succeed(made).await;
        }
    }

    /// The interface of such a network.
    pub(crate) fn nic(&self, group: &str, name: &str) -> Value {
        let id = |kind: &str| self.id(group, &format!("Microsoft.Network/{kind}"), name);
        json!({ "location": "westus2", "properties": {
            "networkSecurityGroup": { "id": id("networkSecurityGroups") },
            "ipConfigurations": [{ "name": "ipconfig", "properties": {
                "subnet": { "id": format!("{}/subnets/default", id("virtualNetworks")) },
                "publicIPAddress": { "id": id("publicIPAddresses") },
            }}],
        }})
    }

    /// A machine from an image, with the interface of the same name.
    pub(crate) fn vm(&self, group: &str, name: &str, image: &str) -> Value {
        json!({ "location": "westus2", "properties": {
            "hardwareProfile": { "vmSize": "Standard_D2s_v5" },
            "storageProfile": {
                "imageReference": { "id": self.id(group, "Microsoft.Compute/images", image) },
                "osDisk": { "createOption": "FromImage", "caching": "ReadWrite" },
            },
            "osProfile": {
                "computerName": name,
                "adminUsername": "nixos",
                "customData": "aGVsbG8=",
                "linuxConfiguration": { "disablePasswordAuthentication": true, "ssh": { "publicKeys": [{
                    "path": "/home/nixos/.ssh/authorized_keys",
                    "keyData": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na",
                }]}},
            },
            "networkProfile": { "networkInterfaces": [{
                "id": self.id(group, "Microsoft.Network/networkInterfaces", name),
            }]},
        }})
    }
}

/// A signature of the account with everything in it.
pub(crate) fn account_sas(account: &str, key: &str) -> String {
    let (version, end) = ("2021-12-02", "2999-01-01T00:00:00Z");
    let signed = format!("{account}\nrwdlac\nb\nsco\n\n{end}\n\n\n{version}\n\n");
    let mut mac = Hmac::<Sha256>::new_from_slice(&STANDARD.decode(key).unwrap()).unwrap();
    mac.update(signed.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("sv", version)
        .append_pair("ss", "b")
        .append_pair("srt", "sco")
        .append_pair("sp", "rwdlac")
        .append_pair("se", end)
        .append_pair("sig", &signature)
        .finish()
}

pub(crate) fn group(name: &str) -> String {
    format!("/resourceGroups/{name}")
}

pub(crate) fn resource(group: &str, kind: &str, name: &str) -> String {
    format!("/resourceGroups/{group}/providers/{kind}/{name}")
}

pub(crate) fn disk(group: &str, name: &str) -> String {
    resource(group, "Microsoft.Compute/disks", name)
}

pub(crate) fn image(group: &str, name: &str) -> String {
    resource(group, "Microsoft.Compute/images", name)
}

pub(crate) fn vm(group: &str, name: &str) -> String {
    resource(group, "Microsoft.Compute/virtualMachines", name)
}

pub(crate) fn upload(bytes: u64) -> Value {
    json!({ "location": "westus2", "sku": { "name": "Standard_LRS" }, "properties": {
        "osType": "Linux", "hyperVGeneration": "V2",
        "creationData": { "createOption": "Upload", "uploadSizeBytes": bytes },
    }})
}

pub(crate) fn image_of(disk: &str) -> Value {
    json!({ "location": "westus2", "properties": { "hyperVGeneration": "V2", "storageProfile": {
        "osDisk": { "osType": "Linux", "osState": "Generalized", "managedDisk": { "id": disk } },
    }}})
}

/// Some content, and the footer of a fixed VHD after 20 MiB, into the disk's file.
pub(crate) fn write_image(file: &Path) {
    use std::os::unix::fs::FileExt as _;
    let size = SMALLEST - 512;
    let mut footer = [0_u8; 512];
    footer[0..8].copy_from_slice(b"conectix");
    footer[8..12].copy_from_slice(&2_u32.to_be_bytes());
    footer[12..16].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
    footer[16..24].fill(0xff);
    footer[40..48].copy_from_slice(&size.to_be_bytes());
    footer[48..56].copy_from_slice(&size.to_be_bytes());
    footer[56..60].copy_from_slice(&[0x02, 0x5a, 4, 17]);
    footer[60..64].copy_from_slice(&2_u32.to_be_bytes());
    footer[68..84].copy_from_slice(&[7; 16]);
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.write_all_at(&[0xa5; 8192], 5 << 20).unwrap();
    file.write_all_at(&footer, size).unwrap();
}

/// `body` with another value at a JSON pointer.
pub(crate) fn with(mut body: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[name] = value;
    body
}
