//! `boot-vm`.

use std::path::Path;

use azure_nixos::VmBuilder;
use azure_nixos::vm::{
    BootedFleet, BootedSet, BootedVm, Identity, ImageReference, LARGEST_FLEET, Readiness, Spot,
    SshKey,
};
use serde::Serialize;

use crate::args::{Format, Global};
use crate::boot_args::{BootVm, DataArgs, IdentityArgs, LoginArgs, MachineArgs, NetworkArgs};
use crate::connect::Connection;
use crate::output;
use crate::progress::Console;
use crate::run::{Failure, follow};

#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    vm_id: String,
    name: String,
    location: String,
    zone: Option<String>,
    size: String,
    security_type: &'static str,
    public_ip: Option<String>,
    public_ipv6: Option<String>,
    private_ip: Option<String>,
    admin_username: Option<String>,
    ssh_private_key: Option<String>,
    ssh_command: Option<String>,
    principal_id: Option<String>,
    ready: &'static str,
    host_key_fingerprints: Vec<String>,
    known_hosts: Vec<String>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Shown {
    pub(crate) fn new(vm: &BootedVm) -> Self {
        Self {
            vm_id: vm.id.to_string(),
            name: vm.name.clone(),
            location: vm.location.to_string(),
            zone: vm.zone.clone(),
            size: vm.size.clone(),
            security_type: vm.security_type.as_str(),
            public_ip: vm.public_ip.clone(),
            public_ipv6: vm.public_ipv6.clone(),
            private_ip: vm.private_ip.clone(),
            admin_username: vm.admin_username.clone(),
            ssh_private_key: vm
                .ssh_private_key
                .as_ref()
                .map(|path| path.display().to_string()),
            ssh_command: vm.ssh_command.clone(),
            principal_id: vm.principal_id.clone(),
            ready: vm.ready.as_str(),
            host_key_fingerprints: vm.host_key_fingerprints.clone(),
            known_hosts: vm.known_hosts.clone(),
            notes: vm.notes.clone(),
            warnings: vm.warnings.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct ShownFleet {
    machines: Vec<Shown>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ShownSet {
    scale_set_id: String,
    name: String,
    location: String,
    size: String,
    security_type: &'static str,
    admin_username: Option<String>,
    ssh_private_key: Option<String>,
    principal_id: Option<String>,
    machines: Vec<Shown>,
    warnings: Vec<String>,
}

impl ShownSet {
    fn new(set: &BootedSet) -> Self {
        let key = set.ssh_private_key.as_ref();
        Self {
            scale_set_id: set.id.to_string(),
            name: set.name.clone(),
            location: set.location.to_string(),
            size: set.size.clone(),
            security_type: set.security_type.as_str(),
            admin_username: set.admin_username.clone(),
            ssh_private_key: key.map(|path| path.display().to_string()),
            principal_id: set.principal_id.clone(),
            machines: set.machines.iter().map(Shown::new).collect(),
            warnings: set.warnings.clone(),
        }
    }
}

/// What was booted, to be shown as one object.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum ShownBoot {
    One(Box<Shown>),
    Several(ShownFleet),
    Set(Box<ShownSet>),
}

/// What was booted.
#[derive(Debug)]
pub(crate) enum Booted {
    One(Box<BootedVm>),
    Several(BootedFleet),
    Set(Box<BootedSet>),
}

impl Booted {
    pub(crate) fn shown(&self) -> ShownBoot {
        match self {
            Self::One(vm) => ShownBoot::One(Box::new(Shown::new(vm))),
            Self::Several(fleet) => ShownBoot::Several(ShownFleet {
                machines: fleet.machines.iter().map(Shown::new).collect(),
                warnings: fleet.warnings.clone(),
            }),
            Self::Set(set) => ShownBoot::Set(Box::new(ShownSet::new(set))),
        }
    }

    /// One id a line.
    pub(crate) fn ids(&self) -> Vec<&str> {
        match self {
            Self::One(vm) => vec![vm.id.as_str()],
            Self::Several(fleet) => fleet.machines.iter().map(|vm| vm.id.as_str()).collect(),
            Self::Set(set) => vec![set.id.as_str()],
        }
    }

    /// Says on standard error how to get in.
    pub(crate) fn announce(&self) {
        match self {
            Self::One(vm) => announce(vm, &[]),
            Self::Several(fleet) => {
                for warning in &fleet.warnings {
                    output::warning(warning);
                }
                let said = announce_common(&fleet.machines);
                for vm in &fleet.machines {
                    output::note(&format!("{}:", vm.name));
                    announce(vm, &said);
                }
            }
            Self::Set(set) => announce_set(set),
        }
    }
}

pub(crate) async fn boot_vm(
    global: &Global,
    args: BootVm,
    console: &Console,
) -> Result<u8, Failure> {
    let image = ImageReference::parse(&args.image)?;
    let boot = Boot::new(args)?;
    boot.validate(image.clone()).await?;
    let connection = Connection::open(global).await?;
    let result = boot.run(image, &connection, console).await;
    connection.close().await;
    let booted = result?;
    booted.announce();
    match global.output {
        Format::Text => {
            for id in booted.ids() {
                output::result(id)?;
            }
        }
        Format::Json => output::json(&booted.shown())?,
    }
    Ok(0)
}

/// Refuses what only a scale set can be.
pub(super) fn fits(count: u32, scale_set: bool) -> Result<(), Failure> {
    if scale_set || (1..=LARGEST_FLEET).contains(&count) {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "--count {count} is for a scale set only (--scale-set); otherwise it is 1 to {LARGEST_FLEET}"
    )))
}

/// Machines that are described by options. Standard input is read by now, once.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    args: BootVm,
    keys: Vec<SshKey>,
    identity: Option<Identity>,
    roles: Vec<(String, String)>,
    variables: Vec<(String, String)>,
}

impl Boot {
    pub(crate) fn new(args: BootVm) -> Result<Self, Failure> {
        if let Some(count) = args.count {
            fits(count, args.scale_set)?;
        }
        Ok(Self {
            keys: keys(&args.login)?,
            identity: args
                .identity
                .identity
                .as_deref()
                .map(Identity::parse)
                .transpose()?,
            roles: roles(&args.identity)?,
            variables: variables(&args.data)?,
            args,
        })
    }

    pub(crate) async fn run(
        &self,
        image: impl Into<ImageReference>,
        connection: &Connection,
        console: &Console,
    ) -> Result<Booted, Failure> {
        let builder = self.builder(image).connect(&connection.azure);
        Ok(match self.args.count {
            None => Booted::One(Box::new(follow(builder.start(), console).await?)),
            Some(count) if self.args.scale_set => {
                let set = follow(builder.scale_set(count).start(), console).await?;
                Booted::Set(Box::new(set))
            }
            Some(count) => Booted::Several(follow(builder.fleet(count).start(), console).await?),
        })
    }

    /// Checks what can be checked without Azure.
    pub(crate) async fn validate(&self, image: impl Into<ImageReference>) -> Result<(), Failure> {
        let builder = self.builder(image);
        match self.args.count {
            None => builder.validate().await?,
            Some(count) if self.args.scale_set => builder.scale_set(count).validate().await?,
            Some(count) => builder.fleet(count).validate().await?,
        }
        Ok(())
    }

    fn builder(&self, image: impl Into<ImageReference>) -> VmBuilder {
        let args = &self.args;
        let mut builder = VmBuilder::unconnected(&args.resource_group, &args.name, image);
        if let Some(location) = &args.location {
            builder = builder.location(location);
        }
        builder = machine(builder, &args.machine);
        builder = network(builder, &args.network);
        builder = data(builder, &args.data, &self.variables);
        builder = builder.wait(args.wait.wait.unwrap_or(Readiness::Auto));
        if let Some(limit) = args.wait.wait_timeout {
            builder = builder.wait_timeout(limit);
        }
        if let Some(user) = &args.login.admin_username {
            builder = builder.admin_username(user);
        }
        for key in &self.keys {
            builder = builder.ssh_key(key.clone());
        }
        if no_key(&args.login) {
            builder = builder.without_ssh_key();
        }
        if let Some(identity) = &self.identity {
            builder = builder.identity(identity.clone());
        }
        for (role, scope) in &self.roles {
            builder = builder.role(role, scope);
        }
        builder
    }
}

fn machine(mut builder: VmBuilder, args: &MachineArgs) -> VmBuilder {
    builder = builder
        .size(&args.vm_size)
        .boot_diagnostics(!args.no_boot_diagnostics)
        .secure_boot(args.secure_boot);
    if let Some(gb) = args.os_disk_size_gb {
        builder = builder.os_disk_size_gb(gb);
    }
    if let Some(sku) = &args.os_disk_sku {
        builder = builder.os_disk_sku(sku);
    }
    for gb in &args.data_disk {
        builder = builder.data_disk_gb(*gb);
    }
    if let Some(zone) = &args.zone {
        builder = builder.zone(zone);
    }
    if args.spot {
        let spot = Spot::new(args.eviction_policy.unwrap_or_default());
        builder = builder.spot(match args.max_price {
            Some(dollars) => spot.up_to(dollars),
            None => spot,
        });
    }
    if let Some(security) = args.security_type {
        builder = builder.security_type(security);
    }
    builder
}

fn network(mut builder: VmBuilder, args: &NetworkArgs) -> VmBuilder {
    builder = builder
        .public_ip(args.public_ip != "none")
        .ipv6(args.ipv6)
        .accelerated_networking(args.accelerated_networking);
    if let Some(from) = &args.allow_ssh_from {
        builder = builder.allow_ssh_from(from);
    }
    if let Some(subnet) = &args.subnet {
        builder = builder.subnet(subnet);
    }
    builder
}

fn data(mut builder: VmBuilder, args: &DataArgs, variables: &[(String, String)]) -> VmBuilder {
    builder = builder.agent(!args.no_agent);
    if let Some(path) = &args.custom_data {
        builder = builder.custom_data_file(path);
    }
    for (name, value) in variables {
        builder = match value.strip_prefix('@') {
            Some(path) => builder.shell_variable_file(name, path),
            None => builder.shell_variable(name, value),
        };
    }
    if let Some(path) = &args.user_data {
        builder = builder.user_data_file(path);
    }
    builder
}

fn is(key: &Path, word: &str) -> bool {
    key == Path::new(word)
}

fn no_key(args: &LoginArgs) -> bool {
    args.ssh_key.iter().any(|key| is(key, "none"))
}

fn keys(args: &LoginArgs) -> Result<Vec<SshKey>, Failure> {
    let mut keys = Vec::new();
    for key in &args.ssh_key {
        if is(key, "-") {
            if args.ssh_key.iter().filter(|key| is(key, "-")).count() > 1 {
                let message = "--ssh-key - is given twice; standard input can be read once";
                return Err(Failure::Usage(message.to_owned()));
            }
            keys.push(SshKey::from_reader(
                std::io::stdin().lock(),
                "standard input",
            )?);
        } else if is(key, "agent") {
            keys.push(SshKey::agent());
        } else if !is(key, "none") {
            keys.push(SshKey::file(key));
        }
    }
    Ok(keys)
}

/// Each role with its scope.
fn roles(args: &IdentityArgs) -> Result<Vec<(String, String)>, Failure> {
    let (roles, scopes) = (&args.role, &args.scope);
    if scopes.len() > 1 && scopes.len() != roles.len() {
        return Err(Failure::Usage(format!(
            "{} roles and {} scopes do not go together: pass one --scope for all, or one for each --role",
            roles.len(),
            scopes.len()
        )));
    }
    let scopes = scopes.iter().cycle();
    Ok(roles.iter().cloned().zip(scopes.cloned()).collect())
}

/// Names and values. What is wrong may be secret, so it is not repeated.
fn variables(args: &DataArgs) -> Result<Vec<(String, String)>, Failure> {
    args.shell_var
        .iter()
        .map(|text| {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::Usage(
                    "--shell-var has no value: write NAME=VALUE, or NAME=@FILE".to_owned(),
                )
            })?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The same of all machines of a set: what they have in common is said once.
fn announce_set(set: &BootedSet) {
    for warning in &set.warnings {
        output::warning(warning);
    }
    if let Some(key) = &set.ssh_private_key {
        output::note(&format!("private key: {}", key.display()));
    }
    if let Some(principal) = &set.principal_id {
        output::note(&format!("identity: {principal}"));
    }
    let said = announce_common(&set.machines);
    for vm in &set.machines {
        let way = vm
            .ssh_command
            .as_ref()
            .map(|command| format!("log in: {command}"));
        let address = vm.public_ip.as_ref().or(vm.private_ip.as_ref());
        let way = way.or_else(|| address.map(|address| format!("address: {address}")));
        output::note(&format!("{}: {}", vm.name, way.unwrap_or_default()));
        for note in vm.notes.iter().filter(|note| !said.contains(note)) {
            output::note(&format!("{}: {note}", vm.name));
        }
        announce_host_keys(vm);
    }
}

/// Says what is to be known of every one of several machines, and returns it.
fn announce_common(machines: &[BootedVm]) -> Vec<&String> {
    let [first, others @ ..] = machines else {
        return Vec::new();
    };
    let has = |note: &&String| others.iter().all(|vm| vm.notes.contains(note));
    let common: Vec<&String> = first.notes.iter().filter(has).collect();
    for note in &common {
        output::note(&format!("of each: {note}"));
    }
    common
}

/// Says on standard error how to get into a machine, without what was said already.
fn announce(vm: &BootedVm, said: &[&String]) {
    for warning in &vm.warnings {
        output::warning(warning);
    }
    for note in vm.notes.iter().filter(|note| !said.contains(note)) {
        output::note(note);
    }
    if let Some(key) = &vm.ssh_private_key {
        output::note(&format!("private key: {}", key.display()));
    }
    if vm.public_ip.is_none()
        && let Some(address) = &vm.private_ip
    {
        output::note(&format!("address in its network: {address}"));
    }
    if let Some(principal) = &vm.principal_id {
        output::note(&format!("identity: {principal}"));
    }
    announce_host_keys(vm);
    if let Some(command) = &vm.ssh_command {
        output::note(&format!("log in: {command}"));
    }
}

fn announce_host_keys(vm: &BootedVm) {
    for fingerprint in &vm.host_key_fingerprints {
        output::note(&format!("host key: {fingerprint}"));
    }
    for line in &vm.known_hosts {
        output::note(&format!("for known_hosts: {line}"));
    }
}
