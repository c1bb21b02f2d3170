//! What may be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::boot_args::BootVm;
use crate::nix_opts::{NixOptions, Source};
use crate::run::Failure;
use crate::transfer::{Transfer, size};
use azure_nixos::ByteSize;
use azure_nixos::disk::OpenOptions;
use azure_nixos::image::ImageSource;
use azure_nixos::vm::LARGEST_SCALE_SET;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// NixOS images and machines on Azure.
#[derive(Debug, Parser)]
#[command(
    name = "azure-nixos",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Subscription, by id or name [default: AZURE_SUBSCRIPTION_ID, else the one of `az`, else the
    /// only one there is]
    #[arg(long, global = true, value_name = "ID")]
    pub(crate) subscription: Option<String>,
    /// Cloud: AzureCloud, AzureUSGovernment, AzureChinaCloud, or the URL of a Resource Manager
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) cloud: Option<String>,
    /// Use a local Azure that lives in a directory of yours ($AZURE_NIXOS_LOCAL_DIR)
    #[cfg(feature = "local")]
    #[arg(long, global = true, conflicts_with_all = ["subscription", "cloud"])]
    pub(crate) local: bool,
    /// What goes to standard output
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) output: Format,
    /// Say more; -vv and -vvv say still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// How progress is shown on standard error
    #[arg(long, global = true, value_name = "HOW", default_value = "auto")]
    pub(crate) progress: ProgressMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The bare result
    Text,
    /// One object
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// A bar on a terminal, lines elsewhere
    Auto,
    /// Lines
    Plain,
    /// One JSON object a line
    Json,
    /// Nothing
    None,
}

const UPLOAD_IMAGE_JSON: &str = "\
With -o json, one object: image_id, disk_id (when it was kept), location, generation, reused, bytes_logical, \
bytes_sent, bytes_resumed, bytes_skipped, requests, retries, integrity, verified, seconds, warnings, and with -b the machine as vm.";

const BOOT_VM_JSON: &str = "\
With -o json, one object: vm_id, name, location, zone, size, security_type, public_ip, public_ipv6, private_ip, \
admin_username, ssh_private_key (when it was made), ssh_command, principal_id, ready (created, running, ssh), \
host_key_fingerprints and known_hosts (of the serial log), notes, warnings. With --count, one object: \
machines, a list of those, and warnings. With --scale-set, one object: scale_set_id, name, location, size, \
security_type, admin_username, ssh_private_key, principal_id, machines, warnings.";

const SSH_STATUS: &str = "\
The exit status is that of ssh: that of the command, or 255 when ssh itself failed. Host keys are checked against what \
the serial log of the machine shows, and kept in ~/.ssh/azure-nixos/known_hosts; where it shows none, the key that \
answers first is taken for the machine's, and that is said. What else ~/.ssh/config sets counts.";

const UPLOAD_VHD_JSON: &str = "\
With -o json, one object: disk_id or target, reused, bytes_logical, bytes_sent, bytes_resumed, bytes_skipped, \
requests, retries, integrity, verified, seconds.";

const CONVERT_JSON: &str = "\
The file is what upload-vhd would write, byte for byte; zeros become holes, and a file beside the image shares its blocks \
where the file system can (Btrfs, XFS, ZFS). It has its name when it is whole, and is not there otherwise. With -o json, \
one object: file, bytes_logical, bytes_written, bytes_shared, bytes_skipped, seconds.";

const CHECK_JSON: &str = "\
Nothing is changed anywhere. The exit status is 1 when something would stop an upload; warnings and what could \
not be found out do not count. With -o json, one object: would_stop, and items of topic, outcome (passed, warning, \
failed, not-checked), found and to_do.";

const LIST_VMS_JSON: &str = "\
On a terminal a table; elsewhere the same columns with tabs between them and no heading: name, group, location, \
size, state, address, scale set. With -o json, one object: machines, a list of what show-vm prints.";

const INVENTORY_JSON: &str = "\
Prints the machines that run as what others read: blocks of Host for `ssh -F FILE` or Include, with which \
NIX_SSHOPTS=\"-F FILE\" lets nixos-rebuild --target-host and nix copy in; modules for Colmena and for NixOps 2; \
nodes for deploy-rs; or, as with -o json, one object: machines, a list of all of them, each what show-vm prints and \
inventory_name, aliases, host, is_public, port, user, private_key, known_hosts, host_key_alias and left_out, the reason \
for which the other formats do not have it. A name that two groups have becomes NAME.GROUP. Windows and machines without \
an address are left out, and standard error says so; a machine that was named and cannot be in it is an error.";

const MACHINE_JSON: &str = "\
With -o json, one object: vm_id, name, resource_group, location, zone, size, provisioning_state, power_state, \
public_ips, private_ips, admin_username, image_id, disks, tags, made_here, scale_set_id, boot_diagnostics.";

const CHANGED_JSON: &str = "\
Prints the id of the machine. With -o json, one object: what show-vm prints, as it is afterwards, and notes.";

const DELETE_VM_JSON: &str = "\
Says first what goes and what stays, and asks. What others use by now stays, and so does the resource group. \
It can be run again when it was interrupted. The name of a scale set stands for it and its machines. \
What was noted of the host keys of a machine goes as well; its private key stays. Prints the ids of what was deleted. \
With -o json, one object: name, resource_group, deleted, stays (id, reason), warnings.";

const SERIAL_LOG_JSON: &str = "\
Control characters are made visible on a terminal and left alone elsewhere; colours are kept. With -o json, one \
object a line: text, or restarted when the log was cut or began anew and follows from its beginning.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build or take a disk image and register it as an image on Azure
    #[command(after_help = UPLOAD_IMAGE_JSON)]
    UploadImage(Box<UploadImage>),
    /// Make and start a machine from an image
    #[command(after_help = BOOT_VM_JSON)]
    BootVm(Box<BootVm>),
    /// Log into a machine with ssh, or run a command on it
    #[command(after_help = SSH_STATUS)]
    Ssh(Ssh),
    /// List machines, whoever made them
    #[command(after_help = LIST_VMS_JSON)]
    ListVms(ListVms),
    /// Print how to log into machines, for ssh, nixos-rebuild, Colmena, deploy-rs or NixOps
    #[command(after_help = INVENTORY_JSON)]
    Inventory(Inventory),
    /// Show a machine
    #[command(after_help = MACHINE_JSON)]
    ShowVm(ShowVm),
    /// Start a machine
    #[command(after_help = CHANGED_JSON)]
    Start(Start),
    /// Stop a machine and deallocate it, so that only its disks and a static address cost
    #[command(after_help = CHANGED_JSON)]
    Stop(Stop),
    /// Restart a machine
    #[command(after_help = CHANGED_JSON)]
    Restart(Restart),
    /// Give a machine another size; it is restarted, and deallocated if Azure needs that
    #[command(after_help = CHANGED_JSON)]
    Resize(Resize),
    /// Delete a machine and what was made for it, and nothing else
    #[command(after_help = DELETE_VM_JSON)]
    DeleteVm(DeleteVm),
    /// Print what the serial console of a machine has said
    #[command(after_help = SERIAL_LOG_JSON)]
    SerialLog(SerialLog),
    /// Upload a disk image to a managed disk, or to wherever an access URL leads
    #[command(after_help = UPLOAD_VHD_JSON)]
    UploadVhd(Box<UploadVhd>),
    /// Say what is in a disk image file, and what Azure would say of it
    Inspect(Inspect),
    /// Write a disk image of any format as the fixed VHD that Azure takes
    #[command(after_help = CONVERT_JSON)]
    Convert(Convert),
    /// Say whether an upload would work, and what to do where it would not
    #[command(after_help = CHECK_JSON)]
    Check(Box<Check>),
    /// Serve a local Azure for other clients until Ctrl-C
    #[cfg(feature = "local")]
    Emulator(Emulator),
    /// Show the whole way on a local Azure: an image, its upload, a machine
    #[cfg(feature = "local")]
    Demo(Demo),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UploadImage {
    /// Resource group of the image; made when it does not exist
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub(crate) resource_group: String,
    /// Name of the image
    #[arg(
        short = 'n',
        long = "image-name",
        visible_alias = "name",
        value_name = "NAME"
    )]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) source: Source,
    /// Region [default: that of the group, westus2 for a new one]
    #[arg(short, long)]
    pub(crate) location: Option<String>,
    #[command(flatten)]
    pub(crate) open: Open,
    /// Boot a machine from the image: options of boot-vm as "vm-name=web;resource-group=vms"
    #[arg(short = 'b', long, value_name = "OPTS")]
    pub(crate) boot_sh_opts: Option<String>,
    /// Hyper-V generation: v1 (BIOS) or v2 (UEFI) [default: what the partition table says]
    #[arg(long, value_name = "GEN", value_parser = generation)]
    pub(crate) generation: Option<azure_nixos::Generation>,
    /// Keep the managed disk that the image is made from
    #[arg(long)]
    pub(crate) keep_disk: bool,
    #[command(flatten)]
    pub(crate) nix: NixOptions,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

/// Reads a generation; Clap shows one sentence, so the hint goes into it.
fn generation(text: &str) -> Result<azure_nixos::Generation, String> {
    text.parse().map_err(|error: azure_nixos::Error| {
        let hint = error.hint().unwrap_or_default();
        format!("{error}; {hint}")
    })
}

/// How a disk image is opened.
#[derive(Clone, Debug, Args)]
pub(crate) struct Open {
    /// Image that a qcow2 image holds only the differences from; again for the one below that. What
    /// the image itself says of it is never opened
    #[arg(long, value_name = "FILE")]
    pub(crate) backing_file: Vec<PathBuf>,
    /// Mend what is wrong with the footer of a VHD and leaves the disk whole, while it is read; the
    /// file stays as it is
    #[arg(long)]
    pub(crate) repair: bool,
    /// Size that the disk must have, as "30 GiB"; one that is compressed and says no size of its own is
    /// unpacked no further than that
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) virtual_size: Option<ByteSize>,
}

impl Open {
    pub(crate) fn options(&self) -> OpenOptions {
        let files = self.backing_file.iter();
        files
            .fold(OpenOptions::new(), OpenOptions::backing_file)
            .repair(self.repair)
            .virtual_size(self.virtual_size)
    }

    /// What an image comes from is known only after its name was looked at.
    pub(crate) fn check(&self, source: &ImageSource) -> Result<(), Failure> {
        match source {
            ImageSource::Nix(_) if !self.backing_file.is_empty() => Err(Failure::Usage(
                "--backing-file is for a disk image file, and the image comes from Nix".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ListVms {
    /// Resource group [default: all of the subscription]
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub(crate) resource_group: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Inventory {
    /// Machines: NAME, or NAME.GROUP where two groups have the name [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Resource group [default: all of the subscription]
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub(crate) resource_group: Option<String>,
    /// For whom [default: ssh-config, or json with -o json]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<InventoryFormat>,
    /// Also machines that do not run, as long as they have an address
    #[arg(long)]
    pub(crate) all: bool,
    /// Name no private key and no file of known hosts of yours: for a file that others use too
    #[arg(long)]
    pub(crate) no_files: bool,
    /// Write it to a file, in one step, and leave the file alone when nothing is new; a command that
    /// fails leaves the old content, which a redirection would not
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InventoryFormat {
    /// OpenSSH: ssh, nixos-rebuild, nix copy
    SshConfig,
    /// Modules with deployment.targetHost and more
    Colmena,
    /// nodes, without their profiles
    DeployRs,
    /// A network for NixOps 2
    Nixops,
    /// One object
    Json,
}

/// Which machine is meant: by its name alone, or by its group and name.
#[derive(Clone, Debug, Args)]
pub(crate) struct WhichVm {
    /// Machine: NAME, or NAME.GROUP where two groups have the name
    #[arg(
        value_name = "VM",
        required_unless_present = "name",
        conflicts_with = "name"
    )]
    pub(crate) vm: Option<String>,
    /// Resource group of the machine [default: the one that has a machine of this name]
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub(crate) resource_group: Option<String>,
    /// Name of the machine
    #[arg(
        short = 'n',
        long = "vm-name",
        visible_alias = "name",
        value_name = "NAME"
    )]
    pub(crate) name: Option<String>,
}

/// Which machine is to go: nothing is guessed.
#[derive(Clone, Debug, Args)]
pub(crate) struct ThisVm {
    /// Resource group of the machine
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub(crate) resource_group: String,
    /// Name of the machine
    #[arg(
        short = 'n',
        long = "vm-name",
        visible_alias = "name",
        value_name = "NAME"
    )]
    pub(crate) name: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Ssh {
    #[command(flatten)]
    pub(crate) vm: WhichVm,
    /// As whom [default: the user that the machine was made with]
    #[arg(short = 'u', long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Private key [default: that of the machine, from ~/.ssh/azure-nixos or ~/.ssh, else what ssh finds]
    #[arg(short = 'i', long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Port [default: 22, or where a local Azure has it]
    #[arg(short = 'p', long)]
    pub(crate) port: Option<u16>,
    /// Command to run in place of a shell, handed over as ssh does: the words are joined with blanks
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ShowVm {
    #[command(flatten)]
    pub(crate) vm: WhichVm,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Start {
    #[command(flatten)]
    pub(crate) vm: WhichVm,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) vm: WhichVm,
    /// Power it off only: it starts again for certain, and costs as if it ran
    #[arg(long)]
    pub(crate) keep_allocated: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    pub(crate) vm: WhichVm,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Resize {
    #[command(flatten)]
    pub(crate) vm: WhichVm,
    /// Size that it is to have
    #[arg(short = 's', long, value_name = "SIZE")]
    pub(crate) vm_size: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteVm {
    #[command(flatten)]
    pub(crate) vm: ThisVm,
    /// Do not ask; without a terminal nobody can be asked
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SerialLog {
    #[command(flatten)]
    pub(crate) vm: WhichVm,
    /// Go on with what it says, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Begin so many lines before the end
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<u64>,
    /// Turn the boot diagnostics of the machine on first, which keep the log
    #[arg(long)]
    pub(crate) enable: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UploadVhd {
    /// Disk image file: raw, VHD, VHDX or qcow2; raw and fixed VHD also compressed with gzip, xz or zstd
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) open: Open,
    /// Write access URL of a managed disk that is ready for upload
    #[arg(long, value_name = "URL", env = "AZURE_NIXOS_SAS", hide_env_values = true, conflicts_with_all = ["resource_group", "name", "location"])]
    pub(crate) sas: Option<String>,
    /// The URL is that of a page blob in a storage account, which is made when it does not exist
    #[arg(long, requires = "sas")]
    pub(crate) page_blob: bool,
    /// Resource group of the disk; made when it does not exist
    #[arg(short = 'g', long, value_name = "GROUP", requires = "name")]
    pub(crate) resource_group: Option<String>,
    /// Name of the disk
    #[arg(
        short = 'n',
        long = "disk-name",
        visible_alias = "name",
        value_name = "DISK",
        requires = "resource_group"
    )]
    pub(crate) name: Option<String>,
    /// Region [default: that of the group, westus2 for a new one]
    #[arg(short, long, requires = "name")]
    pub(crate) location: Option<String>,
    /// Hyper-V generation of the machines that boot from the disk: v1 (BIOS) or v2 (UEFI) [default: what the partition table says]
    #[arg(long, value_name = "GEN", value_parser = generation, requires = "name")]
    pub(crate) generation: Option<azure_nixos::Generation>,
    #[command(flatten)]
    pub(crate) transfer: Transfer,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Inspect {
    /// Disk image file
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) open: Open,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Convert {
    /// Disk image file: raw, VHD, VHDX or qcow2; raw and fixed VHD also compressed with gzip, xz or zstd
    pub(crate) file: PathBuf,
    /// The VHD to write
    #[arg(value_name = "OUT.vhd")]
    pub(crate) out: PathBuf,
    /// Replace the file of that name
    #[arg(short, long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) open: Open,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Check {
    /// Resource group that the image is to go into
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub(crate) resource_group: Option<String>,
    /// Name that the image is to have
    #[arg(
        short = 'n',
        long = "image-name",
        visible_alias = "name",
        value_name = "NAME"
    )]
    pub(crate) name: Option<String>,
    /// Region [default: that of the group, westus2 for a new one]
    #[arg(short, long)]
    pub(crate) location: Option<String>,
    /// Size of the machines that are to be made of it [default: that of boot-vm; what is wrong with it
    /// is then a warning]
    #[arg(short = 's', long, value_name = "SIZE")]
    pub(crate) vm_size: Option<String>,
    /// How many machines, as boot-vm takes it
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(LARGEST_SCALE_SET))
    )]
    pub(crate) count: u32,
    /// They are to be a scale set, which takes other rights
    #[arg(long)]
    pub(crate) scale_set: bool,
    /// Name of a gallery, to see whether it can be one
    #[arg(long, value_name = "NAME")]
    pub(crate) gallery: Option<String>,
    /// Name of an image definition, to see whether it can be one
    #[arg(long, value_name = "NAME")]
    pub(crate) image_definition: Option<String>,
    /// System that the image is for, as aarch64-linux [default: the Linux of this machine]
    #[arg(long, value_name = "SYSTEM")]
    pub(crate) system: Option<String>,
    /// Size of the disk of the image, as "30 GiB" [default: 4 GiB, of which less room is a warning]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) image_size: Option<ByteSize>,
    /// Leave Azure out
    #[arg(long, conflicts_with_all = [
        "no_nix", "resource_group", "name", "location", "vm_size", "scale_set", "gallery", "image_definition",
    ])]
    pub(crate) no_azure: bool,
    /// Leave Nix out: a finished disk image needs none
    #[arg(long, conflicts_with = "image_size")]
    pub(crate) no_nix: bool,
}

#[cfg(feature = "local")]
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Emulator {
    #[command(subcommand)]
    pub(crate) command: Option<EmulatorCommand>,
    /// Where it keeps its state [default: $AZURE_NIXOS_LOCAL_DIR, else ~/.local/state/azure-nixos/local]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Port of Resource Manager (https) on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Port of the page blobs on 127.0.0.1; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) blob_port: u16,
    /// Boot virtual machines under qemu, or only write down that they run
    #[arg(long, value_name = "HOW", default_value = "record")]
    pub(crate) boot: BootHow,
    /// How long operations take: no time, or as long as Azure's did in recordings (an image version
    /// seven minutes)
    #[arg(long, value_name = "PACE", default_value = "instant")]
    pub(crate) speed: Speed,
    /// Port of a proxy that leads Azure's own host names here; 0 takes a free one [default: no proxy]
    #[arg(long, value_name = "PORT")]
    pub(crate) proxy_port: Option<u16>,
    /// Give out accesses to disks with Azure's host names, which end in this: Azure's own is
    /// blob.storage.azure.net
    #[arg(long, value_name = "SUFFIX")]
    pub(crate) blob_host: Option<String>,
    /// Give out accesses to disks as https URLs; the port takes both
    #[arg(long)]
    pub(crate) blob_https: bool,
    /// Rules by which requests fail: a TOML file of [[rule]] tables
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
    /// Resource provider that a new state directory has not registered yet; may be repeated
    #[arg(long, value_name = "NAMESPACE")]
    pub(crate) unregistered: Vec<String>,
}

#[cfg(feature = "local")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootHow {
    Record,
    Qemu,
}

#[cfg(feature = "local")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Speed {
    Instant,
    LikeAzure,
}

#[cfg(feature = "local")]
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum EmulatorCommand {
    /// Print the environment in which az, AzCopy and the Azure SDKs use the one that runs
    #[command(after_help = ENV_USE)]
    Env(EmulatorEnv),
}

#[cfg(feature = "local")]
const ENV_USE: &str = "\
For a shell: eval \"$(azure-nixos emulator env)\", in fish: azure-nixos emulator env --shell fish | source";

#[cfg(feature = "local")]
#[derive(Clone, Debug, Args)]
pub(crate) struct EmulatorEnv {
    /// For which shell [default: bash, or json with -o json]
    #[arg(long)]
    pub(crate) shell: Option<Shell>,
    /// Print the commands that log az in to be run, not as comments
    #[arg(long)]
    pub(crate) setup: bool,
}

#[cfg(feature = "local")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// Any POSIX shell
    Bash,
    /// The friendly interactive shell
    Fish,
    /// One object of names and values
    Json,
}

#[cfg(feature = "local")]
#[derive(Clone, Debug, Args)]
pub(crate) struct Demo {
    /// Disk image to take instead of making one
    #[arg(long, value_name = "FILE")]
    pub(crate) image_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_old_scripts_options_are_taken() {
        let cli = Cli::try_parse_from([
            "azure-nixos",
            "upload-image",
            "--resource-group",
            "g",
            "--image-name",
            "n",
            "--image-nix",
            "image.nix",
            "-l",
            "westus2",
            "--boot-sh-opts",
            "vm-name=x",
        ])
        .unwrap();
        let Command::UploadImage(upload) = cli.command else {
            panic!()
        };
        assert_eq!(
            upload.source.image_nix.as_deref(),
            Some("image.nix".as_ref())
        );
        let cli = Cli::try_parse_from([
            "azure-nixos",
            "boot-vm",
            "-g",
            "g",
            "-i",
            "i",
            "-n",
            "n",
            "-s",
            "Standard_B1s",
            "--os-size",
            "64",
            "--local",
            "-o",
            "json",
        ])
        .unwrap();
        let Command::BootVm(boot) = cli.command else {
            panic!()
        };
        // The scripts swapped these two.
        assert_eq!(
            (boot.machine.vm_size.as_str(), boot.machine.os_disk_size_gb),
            ("Standard_B1s", Some(64))
        );
        assert!(cli.global.local);
    }

    #[test]
    fn what_contradicts_itself_is_a_usage_error() {
        for line in [
            "upload-image -g g -n n -i a.nix --flake .#x",
            "upload-image -g g -n n --flake .#x -A attr",
            "upload-vhd f --sas https://x/y?z -n d",
            "upload-vhd f -g g",
            "boot-vm -g g -i i",
            "boot-vm -g g -i i -n n -d 0",
            "boot-vm -g g -i i -n n --count 1001",
            "boot-vm -g g -i i -n n --scale-set",
            "boot-vm -g g -i i -n n --public-ip maybe",
            "boot-vm -g g -i i -n n --data-disk 0",
            "boot-vm -g g -i i -n n --eviction-policy delete",
            "boot-vm -g g -i i -n n --max-price 1",
            "boot-vm -g g -i i -n n --spot --max-price dear",
            "boot-vm -g g -i i -n n --security-type some",
            "boot-vm -g g -i i -n n --identity system --role Reader",
            "boot-vm -g g -i i -n n --role Reader --scope /subscriptions/s",
            "boot-vm -g g -i i -n n --custom-data a --shell-var a=b",
            "show-vm",
            "show-vm vm -n n",
            "delete-vm -n n",
            "inventory --format yaml",
            "resize -g g -n n",
            "serial-log -g g -n n --tail -1",
            "inspect f --local --subscription x",
            "check --no-azure --no-nix",
            "check --no-azure -g g",
            "check --no-nix --image-size 1G",
            "check --count 0",
            "check --count 1001 --scale-set",
            "check --image-size much",
            "emulator --port 1 env",
            "emulator env --shell tcsh",
        ] {
            let words = std::iter::once("azure-nixos").chain(line.split(' '));
            let error = Cli::try_parse_from(words).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
