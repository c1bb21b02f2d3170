//! The running local Azure, as the program that started it sees it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arm::Arm;
use crate::builder::EmulatorBuilder;
use crate::fault::Faults;
use crate::operation::Operation;

/// A request that Resource Manager answered; logins are not among them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// `GET`, `PUT` …
    pub method: String,
    /// What it asked for; `None` where that has no name.
    pub operation: Option<Operation>,
    /// As sent, with all query parameters.
    pub path_and_query: String,
    /// The `api-version` of the query, where there was one.
    pub api_version: Option<String>,
    /// The body, where it was JSON.
    pub body: Option<Value>,
    /// How many bytes of body there were, JSON or not.
    pub body_length: usize,
    /// The status it was answered with; 0 when the connection was closed instead.
    pub status: u16,
    /// The headers of the answer, names in lower case.
    pub response_headers: Vec<(String, String)>,
    /// The document of the answer, where it had one.
    pub response_body: Option<Value>,
}

/// A local Azure that is up; see the [crate's documentation](crate) for an example.
///
/// It stops when it is dropped; [`Emulator::stop`] also waits for what is under way.
pub struct Emulator {
    pub(crate) arm: Arc<Arm>,
    pub(crate) blob_url: String,
    pub(crate) proxy_url: Option<String>,
    pub(crate) ca_pem: String,
    pub(crate) ca_path: PathBuf,
    pub(crate) faults: Faults,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator")
            .field("arm_url", &self.arm_url())
            .field("blob_url", &self.blob_url)
            .field("state_dir", &self.state_dir())
            .finish_non_exhaustive()
    }
}

impl Emulator {
    /// The settings of a new one.
    #[must_use]
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::new()
    }

    /// The base URL of Resource Manager and of login: `https://localhost:PORT`.
    #[must_use]
    pub fn arm_url(&self) -> &str {
        &self.arm.settings().arm_url
    }

    /// The base URL of the page blobs: `http://127.0.0.1:PORT`, or `https://localhost:PORT` with
    /// [`blob_https`](EmulatorBuilder::blob_https).
    #[must_use]
    pub fn blob_url(&self) -> &str {
        &self.blob_url
    }

    /// The URL of the proxy, `http://127.0.0.1:PORT`, where
    /// [one was asked for](EmulatorBuilder::proxy_port). It is what `HTTPS_PROXY` has to be.
    #[must_use]
    pub fn proxy_url(&self) -> Option<&str> {
        self.proxy_url.as_deref()
    }

    /// The certificate that clients have to trust, as PEM. It stays the same for a state directory.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Where that certificate is kept.
    #[must_use]
    pub fn ca_path(&self) -> &Path {
        &self.ca_path
    }

    /// Where the state is kept.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.arm.settings().state_dir
    }

    /// The one subscription.
    #[must_use]
    pub fn subscription_id(&self) -> String {
        self.arm.identity().subscription_id.to_string()
    }

    /// The tenant it belongs to.
    #[must_use]
    pub fn tenant_id(&self) -> String {
        self.arm.identity().tenant_id.to_string()
    }

    /// A service principal that may log in and do everything.
    #[must_use]
    pub fn client_id(&self) -> String {
        self.arm.identity().client_id.to_string()
    }

    /// Its secret.
    #[must_use]
    pub fn client_secret(&self) -> String {
        self.arm.identity().client_secret.clone()
    }

    /// A bearer token for Resource Manager that is good for an hour, for clients in this process.
    #[must_use]
    pub fn access_token(&self) -> String {
        self.arm.access_token()
    }

    /// The file with the content of a disk, footer included. Whether it exists is up to the disk.
    #[must_use]
    pub fn disk_file(&self, group: &str, name: &str) -> PathBuf {
        self.arm.settings().disk_file(group, name)
    }

    /// The file with the content of an image's OS disk, footer included.
    #[must_use]
    pub fn image_file(&self, group: &str, name: &str) -> PathBuf {
        self.arm.settings().image_file(group, name)
    }

    /// The file with the content of the OS disk of an image version in a Compute Gallery, footer
    /// included.
    #[must_use]
    pub fn image_version_file(
        &self,
        group: &str,
        gallery: &str,
        definition: &str,
        version: &str,
    ) -> PathBuf {
        self.arm
            .settings()
            .version_file(group, &format!("{gallery}/{definition}/{version}"))
    }

    /// The requests that Resource Manager answered since the start, oldest first; the last
    /// 10,000, or fewer where their bodies are more than 64 MiB together.
    #[must_use]
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.arm.requests()
    }

    /// The rules by which requests fail; change them at any time.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Stops it: no new connections, answers under way are finished (5 s at most), machines that
    /// boot are shut down, copies of disks are completed. Afterwards the state directory is free for another one.
    ///
    /// # Cancellation
    /// A dropped future leaves it stopping, as a drop does.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        // Each connection has its own limit.
        self.tasks.wait().await;
        if let Some(machines) = &self.arm.settings().machines {
            machines.shut_down().await;
        }
        self.arm.finish_copies().await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        if let Some(machines) = &self.arm.settings().machines {
            machines.kill();
        }
    }
}
