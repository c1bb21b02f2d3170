//! `emulator`.

use std::time::Duration;

use azure_nixos_emulator::{Boot, Emulator};
use serde::Serialize;

use crate::args::{Emulator as Args, Format, Global};
use crate::connect::local;
use crate::output;
use crate::run::{Failure, interrupted};

/// A server is started to stay: what holds its directory is no command that is over in a moment.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Shown<'a> {
    arm: &'a str,
    blob: &'a str,
    ca: String,
    subscription: String,
    tenant: String,
    client_id: String,
    client_secret: String,
}

pub(crate) async fn emulator(global: &Global, args: Args) -> Result<u8, Failure> {
    let directory = match args.state_dir {
        Some(directory) => directory,
        None => local::directory()?,
    };
    let emulator = Emulator::builder()
        .state_dir(&directory)
        .arm_port(args.port)
        .blob_port(args.blob_port)
        .boot(match args.boot.as_str() {
            "qemu" => Boot::Qemu,
            _ => Boot::Record,
        })
        .lock_patience(PATIENCE)
        .start()
        .await
        .map_err(|error| Failure::Other(format!("cannot start the local Azure: {error}")))?;
    let shown = Shown {
        arm: emulator.arm_url(),
        blob: emulator.blob_url(),
        ca: emulator.ca_path().display().to_string(),
        subscription: emulator.subscription_id(),
        tenant: emulator.tenant_id(),
        client_id: emulator.client_id(),
        client_secret: emulator.client_secret(),
    };
    match global.output {
        Format::Json => output::json(&shown)?,
        Format::Text => output::result(&format!(
            "Resource Manager  {}\npage blobs        {}\nCA certificate    {}\nsubscription      {}\ntenant            {}\nservice principal {} (secret: {})",
            shown.arm,
            shown.blob,
            shown.ca,
            shown.subscription,
            shown.tenant,
            shown.client_id,
            shown.client_secret
        ))?,
    }
    output::note(&format!("serving {} until Ctrl-C", directory.display()));
    interrupted().await;
    emulator.stop().await;
    Ok(0)
}
