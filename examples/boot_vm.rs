//! From a disk image to a machine that runs:
//!
//! ```sh
//! cargo run -p azure-nixos-examples --bin boot_vm
//! ```
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use azure_nixos::image::ImageSource;
use azure_nixos::{ImageBuilder, VmBuilder};
use azure_nixos_examples::{LocalAzure, Result, disk_image};

#[tokio::main]
async fn main() -> Result<()> {
    let local = LocalAzure::start().await?;
    let file = disk_image(local.directory(), 16)?;

    // On Azure: let azure = azure_nixos::Azure::from_environment().await?;
    let azure = &local.azure;
    let image = ImageBuilder::new(azure, "images-rg", "nixos-web")
        .source(ImageSource::file(file))
        .await?;

    // An image that is there already is named: ImageReference::parse("images-rg/nixos-web")?.
    let vm = VmBuilder::new(azure, "vms-rg", "web-1", &image)
        .size("Standard_DS1_v2")
        .admin_username("nixos")
        // Left out, the new key pair goes to ~/.ssh/azure-nixos. SshKey::file names one of yours.
        .key_directory(local.directory().join("keys"))
        .await?;

    println!("{}", vm.id);
    for warning in &vm.warnings {
        println!("warning: {warning}");
    }
    println!("{}", vm.ssh_command.as_deref().unwrap_or("no way in"));
    local.stop().await;
    Ok(())
}
