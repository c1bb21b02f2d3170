//! Microsoft's SDKs for Python. What they are asked to do stands in `sdk.py`.

use std::path::Path;

use azure_nixos_tests::content::assert_uploaded;
use azure_nixos_tests::{Local, tools};

use crate::made::{KEY, MIB, raw, vhd};
use crate::program::Program;

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdks_upload_boot_and_read_back() {
    let local = Local::start().await;
    let Some(python) = tools::find("azure-python") else {
        return;
    };
    let emulator = &local.emulator;
    let python = Program::new(python, &local)
        .variable("ARM", emulator.arm_url())
        .variable("REQUESTS_CA_BUNDLE", emulator.ca_path().display())
        .variable("AZURE_TENANT_ID", emulator.tenant_id())
        .variable("AZURE_CLIENT_ID", emulator.client_id())
        .variable("AZURE_CLIENT_SECRET", emulator.client_secret())
        .variable("AZURE_SUBSCRIPTION_ID", emulator.subscription_id());
    let size = 33 * MIB;
    let source = raw(&local, "disk.raw", size, 11);
    let disk = vhd(&source, size);
    let read_back = local.place().join("read-back.vhd");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/sdk.py");
    let ended = python
        .run([
            script.as_os_str(),
            disk.as_os_str(),
            read_back.as_os_str(),
            KEY.as_ref(),
        ])
        .await;
    assert!(ended.succeeded(), "{ended}");
    assert_eq!(ended.stdout.trim(), "all of it");
    assert_uploaded(&source, size, &read_back);
    assert_uploaded(&source, size, &emulator.image_file("sdk", "web"));
}
