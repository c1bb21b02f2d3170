//! `emulator`.

use std::path::Path;
use std::time::Duration;

use azure_nixos_emulator::Emulator;
use azure_nixos_emulator::fault::FaultRule;
use serde::Serialize;

use super::emulator_env::env;
use crate::args::{Emulator as Args, EmulatorCommand, Format, Global};
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
    if let Some(EmulatorCommand::Env(args)) = args.command {
        return env(global, args, &directory).await;
    }
    let mut builder = Emulator::builder();
    if let Some(file) = &args.faults {
        for rule in rules(file).await? {
            builder = builder.fault(rule);
        }
    }
    let emulator = builder
        .state_dir(&directory)
        .unregistered(args.unregistered)
        .arm_port(args.port)
        .blob_port(args.blob_port)
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

async fn rules(file: &Path) -> Result<Vec<FaultRule>, Failure> {
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|error| Failure::Other(format!("cannot read {}: {error}", file.display())))?;
    FaultRule::from_toml(&text)
        .map_err(|error| Failure::Other(format!("{}: {error}", file.display())))
}
