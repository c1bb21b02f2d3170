//! A local Azure with an image, and a group for machines that exists before them.

use std::time::Duration;

use azure_nixos::image::{ImageSource, UploadedImage};
use azure_nixos::vm::{BootedVm, ImageReference, Machine, Machines, SshKey};
use azure_nixos::{ImageBuilder, VmBuilder};
use azure_nixos_emulator::EmulatorBuilder;
use azure_nixos_emulator::fault::{FaultId, FaultRule, Plane};
use azure_nixos_tests::disks::{self, Table};
use azure_nixos_tests::{Local, within};
use serde_json::{Value, json};

pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGUqdLRIdiRnBxixMagfvt/lac4QLqUZ9J1klobF86na me@here";

pub(crate) const COMPUTE: &str = "2024-07-01";
pub(crate) const NETWORK: &str = "2024-01-01";
const ROLES: &str = "2022-04-01";

pub(crate) struct Place {
    pub(crate) local: Local,
    image: UploadedImage,
}

impl Place {
    pub(crate) async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    pub(crate) async fn with(settings: impl FnOnce(EmulatorBuilder) -> EmulatorBuilder) -> Self {
        let local = Local::start_with(settings).await;
        let file = local.place().join("disk.raw");
        disks::raw(&file, 21 << 20, Table::Efi, 1);
        let image = ImageBuilder::new(&local.azure, "images", "base")
            .source(ImageSource::file(&file))
            .await
            .unwrap();
        let place = Self { local, image };
        for group in ["vms", "more"] {
            let id = place.id(&format!("/resourceGroups/{group}"));
            let body = json!({ "location": "westus2" });
            let (status, _) = place
                .local
                .request("PUT", &id, "2022-09-01", Some(&body))
                .await;
            assert_eq!(status, 201);
        }
        place
    }

    pub(crate) fn id(&self, rest: &str) -> String {
        format!(
            "/subscriptions/{}{rest}",
            self.local.emulator.subscription_id()
        )
    }

    /// The id of something in the group of the machines.
    pub(crate) fn part(&self, kind: &str, name: &str) -> String {
        self.id(&format!("/resourceGroups/vms/providers/{kind}/{name}"))
    }

    pub(crate) async fn boot(&self, group: &str, name: &str) -> BootedVm {
        VmBuilder::new(
            &self.local.azure,
            group,
            name,
            ImageReference::from(&self.image),
        )
        .admin_username("nixos")
        // To be turned on by those that need it.
        .boot_diagnostics(false)
        .ssh_key(SshKey::text(KEY))
        .await
        .unwrap()
    }

    pub(crate) fn machines(&self) -> Machines {
        Machines::new(&self.local.azure)
    }

    pub(crate) fn machine(&self, name: &str) -> Machine {
        self.machines().machine("vms", name)
    }

    /// A request by hand that must be carried out.
    pub(crate) async fn ask(&self, method: &str, id: &str, version: &str, body: Value) -> Value {
        let (status, answer) = self.local.request(method, id, version, Some(&body)).await;
        assert!((200..300).contains(&status), "{method} {id}: {answer}");
        answer
    }

    pub(crate) async fn read(&self, id: &str, version: &str) -> Value {
        let (status, body) = self.local.request("GET", id, version, None).await;
        assert_eq!(status, 200, "GET {id}: {body}");
        body
    }

    /// Who has which role, in the whole subscription.
    pub(crate) async fn assignments(&self) -> Vec<Value> {
        let id = self.id("/providers/Microsoft.Authorization/roleAssignments");
        let all = self.read(&id, ROLES).await;
        all["value"].as_array().unwrap().clone()
    }

    /// The requests that were answered since there were so many.
    pub(crate) fn since(&self, before: usize) -> Vec<String> {
        let requests = self.local.emulator.requests();
        requests[before..]
            .iter()
            .map(|request| {
                let path = request.path_and_query.split_once("api-version").unwrap().0;
                format!("{} {path}", request.method)
            })
            .collect()
    }

    pub(crate) fn requests(&self) -> usize {
        self.local.emulator.requests().len()
    }

    pub(crate) fn fault(&self, rule: FaultRule) -> FaultId {
        self.local.emulator.faults().add(rule)
    }

    /// Waits until a rule has met so many requests.
    pub(crate) async fn until_hit(&self, fault: FaultId, times: u64) {
        within(60, "a request that a rule waits for", async {
            while self.local.emulator.faults().hits(fault) < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

pub(crate) fn arm(method: &str, path: &str) -> FaultRule {
    FaultRule::new(Plane::Arm)
        .method(method)
        .path_contains(path)
}
