//! `boot-vm`.

use azure_nixos::VmBuilder;
use azure_nixos::vm::{BootedVm, ImageReference, SshKey};
use serde::Serialize;

use crate::args::{BootVm, Format, Global};
use crate::connect::Connection;
use crate::output;
use crate::progress::Console;
use crate::run::{Failure, follow};

#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    vm_id: String,
    location: String,
    public_ip: Option<String>,
    admin_username: Option<String>,
    ssh_private_key: Option<String>,
    ssh_command: Option<String>,
    warnings: Vec<String>,
}

impl Shown {
    pub(crate) fn new(vm: &BootedVm) -> Self {
        Self {
            vm_id: vm.id.to_string(),
            location: vm.location.to_string(),
            public_ip: vm.public_ip.clone(),
            admin_username: vm.admin_username.clone(),
            ssh_private_key: vm
                .ssh_private_key
                .as_ref()
                .map(|path| path.display().to_string()),
            ssh_command: vm.ssh_command.clone(),
            warnings: vm.warnings.clone(),
        }
    }
}

pub(crate) async fn boot_vm(
    global: &Global,
    args: BootVm,
    console: &Console,
) -> Result<u8, Failure> {
    let image = ImageReference::parse(&args.image)?;
    let connection = Connection::open(global).await?;
    let result = follow(builder(args, image, &connection).start(), console).await;
    connection.close().await;
    let vm = result?;
    announce(&vm);
    match global.output {
        Format::Text => output::result(vm.id.as_str())?,
        Format::Json => output::json(&Shown::new(&vm))?,
    }
    Ok(0)
}

/// The machine that the options describe.
pub(crate) fn builder(
    args: BootVm,
    image: impl Into<ImageReference>,
    connection: &Connection,
) -> VmBuilder {
    let mut builder = VmBuilder::new(&connection.azure, args.resource_group, args.name, image)
        .size(args.vm_size)
        .allow_ssh_from(args.allow_ssh_from);
    if let Some(gb) = args.os_disk_size_gb {
        builder = builder.os_disk_size_gb(gb);
    }
    if let Some(location) = args.location {
        builder = builder.location(location);
    }
    if let Some(user) = args.admin_username {
        builder = builder.admin_username(user);
    }
    for key in args.ssh_key {
        builder = builder.ssh_key(SshKey::file(key));
    }
    builder
}

/// Says on standard error how to get in.
pub(crate) fn announce(vm: &BootedVm) {
    for warning in &vm.warnings {
        output::warning(warning);
    }
    if let Some(key) = &vm.ssh_private_key {
        output::note(&format!("private key: {}", key.display()));
    }
    if let Some(command) = &vm.ssh_command {
        output::note(&format!("log in: {command}"));
    }
}
