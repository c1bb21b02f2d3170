//! AzCopy, which writes and reads managed disks by the page and knows them by their host names.

use std::path::PathBuf;

use azure_nixos_tests::content::{assert_uploaded, vhd_length};
use azure_nixos_tests::{Local, tools};

use crate::az::Az;
use crate::judged::assert_by_the_documents;
use crate::made::{MIB, raw, text, vhd};
use crate::program::Program;

/// AzCopy behind the proxy of a local Azure that gives out Azure's own host names.
pub(crate) struct AzCopy {
    program: Program,
    logs: PathBuf,
}

impl AzCopy {
    pub(crate) fn new(local: &Local) -> Option<Self> {
        let emulator = &local.emulator;
        let place = local.place().join("azcopy");
        let program = Program::new(tools::find("azcopy")?, local)
            .variable("SSL_CERT_FILE", emulator.ca_path().display())
            .variable("HTTPS_PROXY", emulator.proxy_url().unwrap())
            .variable("AZCOPY_LOG_LOCATION", place.display())
            .variable("AZCOPY_JOB_PLAN_LOCATION", place.display())
            // It takes what the machine has, half of it by default.
            .variable("AZCOPY_BUFFER_GB", "0.25");
        Some(Self {
            program,
            logs: place,
        })
    }

    pub(crate) async fn copy(&self, from: &str, to: &str, more: &[&str]) {
        let words = ["copy", from, to, "--skip-version-check"];
        let ended = self.program.run(words.iter().chain(more)).await;
        assert!(
            ended.succeeded() && ended.stdout.contains("Final Job Status: Completed"),
            "azcopy copy {from} {to}\n{ended}\n{}",
            self.complaints()
        );
    }

    /// What is wrong stands in its logs only.
    fn complaints(&self) -> String {
        let logs = std::fs::read_dir(&self.logs).into_iter().flatten();
        let texts = logs.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
        let text: String = texts.collect();
        let lines: Vec<&str> = text.lines().collect();
        let around = |at: usize| lines[at..(at + 12).min(lines.len())].join("\n");
        let first = ["ERR", "FAILED", "RESPONSE 4", "RESPONSE 5"]
            .into_iter()
            .filter_map(|word| lines.iter().position(|line| line.contains(word)));
        first.map(around).collect::<Vec<_>>().join("\n…\n")
    }
}

/// The road that Microsoft documents for uploads: `az` makes the disk and the access, AzCopy writes.
#[tokio::test(flavor = "multi_thread")]
async fn azcopy_uploads_a_disk_and_reads_it_back() {
    let local = Local::start_at_azures_names().await;
    let (Some(az), Some(azcopy)) = (Az::log_in(&local).await, AzCopy::new(&local)) else {
        return;
    };
    let size = 70 * MIB;
    let source = raw(&local, "disk.raw", size, 13);
    let disk = vhd(&source, size);
    az.ok("group create -n images -l westus2").await;
    az.ok(&format!(
        "disk create -g images -n web --upload-type Upload --upload-size-bytes {} \
         --os-type Linux --hyper-v-generation V2 --sku Premium_LRS",
        vhd_length(size)
    ))
    .await;
    let access = async |level: &str| {
        let access = az
            .ok(&format!(
                "disk grant-access -g images -n web --access-level {level} --duration-in-seconds 3600"
            ))
            .await;
        access["accessSAS"].as_str().unwrap().to_owned()
    };

    let write = access("Write").await;
    assert!(write.starts_with("https://md-impexp-"), "{write}");
    azcopy
        .copy(text(&disk), &write, &["--blob-type", "PageBlob"])
        .await;
    az.ok("disk revoke-access -g images -n web").await;
    let state = "disk show -g images -n web --query diskState";
    assert_eq!(az.ok(state).await, "Unattached");
    assert_uploaded(&source, size, &local.emulator.disk_file("images", "web"));

    let read = access("Read").await;
    assert!(read.starts_with("https://md-"), "{read}");
    assert_eq!(az.ok(state).await, "ActiveSAS");
    let back = local.place().join("back.vhd");
    azcopy.copy(&read, text(&back), &[]).await;
    assert_uploaded(&source, size, &back);
    az.ok("disk revoke-access -g images -n web").await;
    az.ok("disk delete -g images -n web --yes").await;
    assert!(!local.emulator.disk_file("images", "web").exists());
    assert_by_the_documents(&local, &[]);
}
