//! Azurite: Microsoft's own emulator of storage, and access to it signed by hand.
//!
//! It is a second opinion on requests, not an oracle: it takes pages beyond the end of a blob, checks
//! no expiry of the kind that managed disks have, and knows no managed disks at all.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use azure_nixos::SasUrl;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tempfile::TempDir;

use crate::tools;

const ACCOUNT: &str = "devstoreaccount1";

/// The well-known key of the one account; it is in Azurite's documentation and protects nothing.
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Time to start in, on a machine that does much else.
const START: Duration = Duration::from_secs(60);

/// A running Azurite with its data in a temporary directory. It ends when this is dropped.
#[derive(Debug)]
pub struct Azurite {
    server: Child,
    url: String,
    _place: TempDir,
}

impl Azurite {
    /// Starts it on a free port, or says loudly that it is not installed.
    ///
    /// # Panics
    /// When it does not start, or is absent and the test command did not say so.
    #[must_use]
    pub fn start() -> Option<Self> {
        let program = program()?;
        let place = tempfile::tempdir().unwrap();
        let mut server = Command::new(program)
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--location"])
            .arg(place.path())
            // It would ask for the newest version, and tell where it runs, over the network.
            .args(["--skipApiVersionCheck", "--silent", "--disableTelemetry"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(server.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        // It reads to the end: what is said later has to go somewhere, or the server stops at a full
        // pipe.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        // From here on a panic ends the server.
        let mut azurite = Self {
            server,
            url: String::new(),
            _place: place,
        };
        let mut said = Vec::new();
        while azurite.url.is_empty() {
            let Ok(line) = lines.recv_timeout(START) else {
                panic!("Azurite does not say where it listens, only {said:?}");
            };
            // "successfully listens on http://127.0.0.1:12345"
            if let Some((_, address)) = line.split_once("http://") {
                azurite.url = format!("http://{}", address.trim());
            }
            said.push(line);
        }
        Some(azurite)
    }

    /// The URL of a container or a blob with an account SAS of these rights (`sp`).
    ///
    /// # Panics
    /// When it is no URL.
    #[must_use]
    pub fn sas(&self, path: &str, rights: &str) -> SasUrl {
        let (version, end) = ("2020-10-02", "2099-01-01T00:00:00Z");
        // Account, permissions, services, resource types, start, end, addresses, protocols, version.
        let text = [
            ACCOUNT,
            rights,
            "b",
            "co",
            "",
            end,
            "",
            "https,http",
            version,
            "",
        ]
        .join("\n");
        let key = STANDARD.decode(KEY).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let signature = signature
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D");
        let end = end.replace(':', "%3A");
        format!(
            "{}/{ACCOUNT}/{path}?sv={version}&ss=b&srt=co&sp={rights}&se={end}&spr=https,http&sig={signature}",
            self.url
        )
        .parse()
        .unwrap()
    }

    /// Makes a container.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create_container(&self, name: &str) {
        let url = format!("{}&restype=container", self.sas(name, "c").expose());
        let answer = client()
            .put(url)
            .header("x-ms-version", "2020-10-02")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 201);
    }

    /// The whole content of a blob.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn download(&self, path: &str) -> Vec<u8> {
        let answer = client()
            .get(self.sas(path, "r").expose())
            .header("x-ms-version", "2020-10-02")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        answer.bytes().await.unwrap().to_vec()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn client() -> reqwest::Client {
    // Without a provider of cryptography a client cannot be built, though it speaks plain HTTP here.
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .build()
        .unwrap()
}

/// `AZURITE_BIN`, else where it is found as any other program.
fn program() -> Option<PathBuf> {
    std::env::var_os("AZURITE_BIN")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .filter(|program| program.is_file())
        .or_else(|| tools::find("azurite-blob"))
}
