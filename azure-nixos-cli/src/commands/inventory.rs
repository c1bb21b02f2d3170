//! `inventory`.

use std::path::Path;

use azure_nixos::vm::{InventoryFormat, InventoryMachine, Machines};
use serde::Serialize;

use super::show_vm::Shown;
use crate::args::{self, Format, Global};
use crate::connect::Connection;
use crate::output;
use crate::run::Failure;

#[derive(Debug, Serialize)]
struct List<'a> {
    machines: Vec<Entry<'a>>,
}

/// A machine as one JSON object: what `show-vm` prints, and how to log in.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    machine: Shown<'a>,
    inventory_name: &'a str,
    aliases: &'a [String],
    host: Option<String>,
    is_public: bool,
    port: u16,
    user: Option<&'a str>,
    private_key: Option<&'a Path>,
    known_hosts: &'a Path,
    host_key_alias: &'a str,
    left_out: Option<String>,
}

impl<'a> Entry<'a> {
    fn new(machine: &'a InventoryMachine) -> Self {
        let login = &machine.login;
        Self {
            machine: Shown::new(&login.machine),
            inventory_name: &machine.name,
            aliases: &machine.aliases,
            host: login.host.map(|host| host.to_string()),
            is_public: login.is_public,
            port: login.port,
            user: login.user.as_deref(),
            private_key: login.private_key.as_deref(),
            known_hosts: &login.known_hosts,
            host_key_alias: &login.host_key_alias,
            left_out: machine.left_out.as_ref().map(ToString::to_string),
        }
    }
}

pub(crate) async fn inventory(global: &Global, args: args::Inventory) -> Result<u8, Failure> {
    let format = format(global, &args)?;
    let connection = Connection::open(global).await?;
    let mut wanted = Machines::new(&connection.azure)
        .inventory()
        .names(args.names)
        .stopped(args.all)
        .files(!args.no_files);
    if let Some(group) = args.resource_group {
        wanted = wanted.group(group);
    }
    let result = wanted.await;
    connection.close().await;
    let inventory = result?;
    let Some(format) = format else {
        output::json(&List {
            machines: inventory.machines.iter().map(Entry::new).collect(),
        })?;
        return Ok(0);
    };
    let text = inventory.render(format)?;
    for warning in &text.warnings {
        output::warning(warning);
    }
    if inventory.machines.is_empty() {
        output::note("there are no machines");
    }
    match args.write {
        Some(file) => {
            let what = if text.replace(&file).await? {
                "wrote"
            } else {
                "nothing is new in"
            };
            output::note(&format!("{what} {}", file.display()));
        }
        None => output::result(text.text.trim_end())?,
    }
    Ok(0)
}

/// The library's format, or `None` for JSON.
fn format(global: &Global, args: &args::Inventory) -> Result<Option<InventoryFormat>, Failure> {
    use args::InventoryFormat as Asked;
    let asked = match (args.format, global.output) {
        (None | Some(Asked::Json), Format::Json) | (Some(Asked::Json), Format::Text) => None,
        (Some(_), Format::Json) => {
            let message = "-o json and another --format contradict each other";
            return Err(Failure::Usage(message.to_owned()));
        }
        (None | Some(Asked::SshConfig), Format::Text) => Some(InventoryFormat::SshConfig),
        (Some(Asked::Colmena), Format::Text) => Some(InventoryFormat::Colmena),
        (Some(Asked::DeployRs), Format::Text) => Some(InventoryFormat::DeployRs),
        (Some(Asked::Nixops), Format::Text) => Some(InventoryFormat::NixOps),
    };
    if asked.is_none() && args.write.is_some() {
        let message = "--write is for the other formats; JSON goes to standard output";
        return Err(Failure::Usage(message.to_owned()));
    }
    Ok(asked)
}
