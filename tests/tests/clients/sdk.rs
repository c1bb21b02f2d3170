//! Microsoft's SDKs for Python. What they are asked to do stands in `sdk.py`.

use std::path::{Path, PathBuf};

use azure_nixos_tests::content::assert_uploaded;
use azure_nixos_tests::{Local, tools};

use crate::judged::assert_by_the_documents;
use crate::made::{KEY, MIB, raw, vhd};
use crate::program::Program;

/// Runs the script against a local Azure whose disks have Azure's own host names, and compares what
/// was written and read. `arm` is where the SDKs are told that Resource Manager and login are.
async fn run(local: &Local, python: PathBuf, arm: Option<&str>) {
    let emulator = &local.emulator;
    let mut python = Program::new(python, local)
        .variable("REQUESTS_CA_BUNDLE", emulator.ca_path().display())
        .variable("HTTPS_PROXY", emulator.proxy_url().unwrap())
        .variable("AZURE_TENANT_ID", emulator.tenant_id())
        .variable("AZURE_CLIENT_ID", emulator.client_id())
        .variable("AZURE_CLIENT_SECRET", emulator.client_secret())
        .variable("AZURE_SUBSCRIPTION_ID", emulator.subscription_id());
    if let Some(arm) = arm {
        python = python.variable("ARM", arm);
    }
    let size = 33 * MIB;
    let source = raw(local, "disk.raw", size, 11);
    let disk = vhd(&source, size);
    let read_back = local.place().join("read-back.vhd");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/sdk.py");
    let ended = python
        .run([
            script.as_os_str(),
            disk.as_os_str(),
            read_back.as_os_str(),
            KEY.as_ref(),
            "sdk".as_ref(),
        ])
        .await;
    assert!(ended.succeeded(), "{ended}");
    assert_eq!(ended.stdout.trim(), "all of it");
    assert_uploaded(&source, size, &read_back);
    assert_uploaded(&source, size, &emulator.image_file("sdk", "web"));
    assert_by_the_documents(local, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdks_upload_boot_and_read_back() {
    let local = Local::start_at_azures_names().await;
    if let Some(python) = tools::find("azure-python") {
        let arm = local.emulator.arm_url().to_owned();
        run(&local, python, Some(&arm)).await;
    }
}

/// Nothing is set but the proxy and the certificate: this is a program as it goes to Azure itself.
#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdks_take_it_for_azure() {
    let local = Local::start_at_azures_names().await;
    if let Some(python) = tools::find("azure-python") {
        run(&local, python, None).await;
        assert!(!local.emulator.requests().is_empty());
    }
}
