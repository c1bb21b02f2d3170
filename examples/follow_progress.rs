//! Follows an upload, and cancels it on Ctrl-C:
//!
//! ```sh
//! cargo run -p azure-nixos-examples --bin follow_progress [FILE]
//! ```
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use std::env;
use std::path::PathBuf;

use azure_nixos::ImageBuilder;
use azure_nixos::image::ImageSource;
use azure_nixos_examples::{LocalAzure, Result, disk_image};

#[tokio::main]
async fn main() -> Result<()> {
    let local = LocalAzure::start().await?;
    // In MiB/s. Without it a local Azure is done before anybody could follow.
    local.emulator.faults().limit_bandwidth(Some(20));
    let file = match env::args_os().nth(1) {
        Some(file) => PathBuf::from(file),
        None => disk_image(local.directory(), 60)?,
    };

    // On Azure: let azure = azure_nixos::Azure::from_environment().await?;
    let azure = &local.azure;
    let mut upload = ImageBuilder::new(azure, "images-rg", "nixos-web")
        .source(ImageSource::file(file))
        .start();

    let cancel = upload.cancellation_token();
    let interrupt = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancel.cancel();
        }
    });
    // The stream ends with the work, cancelled or not. It holds the newest state only, so a slow
    // reader delays nothing.
    while let Some(progress) = upload.progress().changed().await {
        match progress.transfer {
            Some(transfer) => println!(
                "{}: {:.0} %, {:.0} MiB/s",
                progress.phase.as_str(),
                transfer.fraction() * 100.0,
                transfer.rate / f64::from(1 << 20)
            ),
            None => println!("{}", progress.phase.as_str()),
        }
    }
    interrupt.abort();
    // Until here nothing is final: a cancelled upload has taken away what it made when this returns.
    match upload.join().await {
        Ok(image) => println!("{}", image.id),
        Err(error) if error.is_cancelled() => {
            let left = local.emulator.disk_file("images-rg", "nixos-web").exists();
            println!("cancelled, and a disk is left behind: {left}");
        }
        Err(error) => return Err(error.into()),
    }
    local.stop().await;
    Ok(())
}
