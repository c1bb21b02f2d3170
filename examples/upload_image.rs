//! Makes an image for machines from a disk image file:
//!
//! ```sh
//! cargo run -p azure-nixos-examples --bin upload_image [FILE]
//! ```
//!
//! `ImageSource::flake(".#web")` instead of a file builds the disk image with Nix first.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::env;
use std::path::PathBuf;

use azure_nixos::image::ImageSource;
use azure_nixos::{ByteSize, ImageBuilder};
use azure_nixos_examples::{LocalAzure, Result, disk_image};

#[tokio::main]
async fn main() -> Result<()> {
    let local = LocalAzure::start().await?;
    let file = match env::args_os().nth(1) {
        Some(file) => PathBuf::from(file),
        None => disk_image(local.directory(), 16)?,
    };

    // On Azure: let azure = azure_nixos::Azure::from_environment().await?;
    let azure = &local.azure;
    let image = ImageBuilder::new(azure, "images-rg", "nixos-web")
        .location("westus2")
        .source(ImageSource::file(file))
        .await?;

    println!("{}", image.id);
    println!("generation {}, in {}", image.generation, image.location);
    if let Some(upload) = &image.upload {
        println!(
            "{} of {} were sent, in {} requests",
            ByteSize::bytes(upload.bytes_sent),
            ByteSize::bytes(upload.bytes_logical),
            upload.requests
        );
    }
    local.stop().await;
    Ok(())
}
