//! `emulator`.

use std::path::Path;
use std::time::Duration;

use azure_nixos_emulator::fault::FaultRule;
use azure_nixos_emulator::{Boot, Emulator, Timing};
use serde::Serialize;

use super::emulator_env::env;
use crate::args::{BootHow, Emulator as Args, EmulatorCommand, Format, Global, Speed};
use crate::connect::local;
use crate::interrupt::Signals;
use crate::output;
use crate::run::Failure;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    proxy: Option<&'a str>,
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
    if let Some(port) = args.proxy_port {
        builder = builder.proxy_port(port);
    }
    if let Some(suffix) = args.blob_host {
        builder = builder.blob_host(suffix);
    }
    let emulator = builder
        .blob_https(args.blob_https)
        .state_dir(&directory)
        .unregistered(args.unregistered)
        .arm_port(args.port)
        .blob_port(args.blob_port)
        .boot(match args.boot {
            BootHow::Record => Boot::Record,
            BootHow::Qemu => Boot::Qemu,
        })
        .timing(match args.speed {
            Speed::Instant => Timing::default(),
            Speed::LikeAzure => Timing::LikeAzure,
        })
        .lock_patience(PATIENCE)
        .start()
        .await
        .map_err(|error| Failure::Other(format!("cannot start the local Azure: {error}")))?;
    // Whoever reads what follows may end it at once.
    let mut signals = Signals::listen();
    let shown = Shown {
        arm: emulator.arm_url(),
        blob: emulator.blob_url(),
        ca: emulator.ca_path().display().to_string(),
        subscription: emulator.subscription_id(),
        tenant: emulator.tenant_id(),
        client_id: emulator.client_id(),
        client_secret: emulator.client_secret(),
        proxy: emulator.proxy_url(),
    };
    match global.output {
        Format::Json => output::json(&shown)?,
        Format::Text => {
            let proxy = shown.proxy.map(|url| format!("proxy             {url}\n"));
            output::result(&format!(
                "Resource Manager  {}\npage blobs        {}\n{}CA certificate    {}\nsubscription      {}\ntenant            {}\nservice principal {} (secret: {})",
                shown.arm,
                shown.blob,
                proxy.unwrap_or_default(),
                shown.ca,
                shown.subscription,
                shown.tenant,
                shown.client_id,
                shown.client_secret
            ))?;
        }
    }
    output::note(&format!("serving {} until Ctrl-C", directory.display()));
    signals.next().await;
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
