//! What may be typed for `boot-vm`.

use std::path::PathBuf;
use std::time::Duration;

use azure_nixos::vm::{
    DEFAULT_OS_DISK_GB, DEFAULT_SIZE, EvictionPolicy, LARGEST_FLEET, LARGEST_OS_DISK_GB,
    LARGEST_SCALE_SET, Readiness, SecurityType,
};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser};

/// The options of boot-vm alone, without a program or a command before them.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
pub(crate) struct BootOptions {
    #[command(flatten)]
    pub(crate) boot: BootVm,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BootVm {
    /// Resource group of the machine; made when it does not exist
    #[arg(short = 'g', long, value_name = "GROUP")]
    pub(crate) resource_group: String,
    /// Image, by a name that is unique in the subscription, or the id of an image, of a gallery's
    /// image or version of it, or of a managed disk, which is copied
    #[arg(short = 'i', long, value_name = "IMAGE")]
    pub(crate) image: String,
    /// Name of the machine
    #[arg(
        short = 'n',
        long = "vm-name",
        visible_alias = "name",
        value_name = "NAME"
    )]
    pub(crate) name: String,
    #[arg(
        long,
        value_name = "N",
        help = format!("So many of them, named NAME-1, NAME-2, ..., in one network; 1 to {LARGEST_FLEET}, or 0 to {LARGEST_SCALE_SET} of a scale set"),
        value_parser = clap::value_parser!(u32).range(0..=i64::from(LARGEST_SCALE_SET))
    )]
    pub(crate) count: Option<u32>,
    /// As a scale set (mode Flexible): Azure makes and names them, and can make more of them later
    #[arg(long, requires = "count")]
    pub(crate) scale_set: bool,
    /// Region [default: that of the image]
    #[arg(short, long)]
    pub(crate) location: Option<String>,
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    #[command(flatten)]
    pub(crate) login: LoginArgs,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    #[command(flatten)]
    pub(crate) identity: IdentityArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

// The help below says the number in words.
const _: () = assert!(DEFAULT_OS_DISK_GB == 42);

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Machine")]
pub(crate) struct MachineArgs {
    /// Size of the machine
    #[arg(short = 's', long, value_name = "SIZE", default_value = DEFAULT_SIZE)]
    pub(crate) vm_size: String,
    /// Size of the disk that it boots from, in GB [default: 42, or that of the image if larger]
    #[arg(short = 'd', long, alias = "os-size", value_name = "GB", value_parser = clap::value_parser!(u64).range(1..=LARGEST_OS_DISK_GB))]
    pub(crate) os_disk_size_gb: Option<u64>,
    /// Kind of its disks [default: Premium_LRS, or StandardSSD_LRS where the size cannot have it]
    #[arg(long, value_name = "SKU")]
    pub(crate) os_disk_sku: Option<String>,
    /// An empty disk of so many GB beside; may be repeated
    #[arg(long, value_name = "GB", value_parser = clap::value_parser!(u64).range(1..=32767))]
    pub(crate) data_disk: Vec<u64>,
    /// Availability zone: 1, 2 or 3 [default: Azure chooses]
    #[arg(long, value_name = "ZONE")]
    pub(crate) zone: Option<String>,
    /// A spot machine: it costs less, and Azure takes it away when it needs the room
    #[arg(long)]
    pub(crate) spot: bool,
    /// What becomes of it then: deallocate or delete [default: deallocate]
    #[arg(long, value_name = "POLICY", requires = "spot", value_parser = from_str::<EvictionPolicy>)]
    pub(crate) eviction_policy: Option<EvictionPolicy>,
    /// What it may cost, in dollars an hour [default: as much as a regular one]
    #[arg(long, value_name = "DOLLARS", requires = "spot")]
    pub(crate) max_price: Option<f64>,
    /// standard or trusted-launch [default: trusted-launch where image and size can]
    #[arg(long, value_name = "TYPE", value_parser = from_str::<SecurityType>)]
    pub(crate) security_type: Option<SecurityType>,
    /// Start only a boot loader that is signed, which takes trusted launch
    #[arg(long)]
    pub(crate) secure_boot: bool,
    /// Do not record the serial console
    #[arg(long)]
    pub(crate) no_boot_diagnostics: bool,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Login")]
pub(crate) struct LoginArgs {
    /// User that may log in [default: $USER]
    #[arg(short = 'u', long, value_name = "USER")]
    pub(crate) admin_username: Option<String>,
    /// Public key of that user: a file, - for standard input, agent for those of the SSH agent; may be
    /// repeated. none for an image with users of its own [default: a new pair in ~/.ssh/azure-nixos]
    #[arg(long, value_name = "KEY")]
    pub(crate) ssh_key: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Who may reach port 22: any, none, an address, a range, or me for the address that you logged in
    /// from [default: any, with a warning]
    #[arg(long, value_name = "FROM")]
    pub(crate) allow_ssh_from: Option<String>,
    /// Subnet to join, by its id [default: a new network]
    #[arg(long, value_name = "ID")]
    pub(crate) subnet: Option<String>,
    /// none for no public address
    #[arg(long, value_name = "WHICH", default_value = "new", value_parser = PossibleValuesParser::new(["new", "none"]))]
    pub(crate) public_ip: String,
    /// Addresses of IPv6 beside those of IPv4
    #[arg(long)]
    pub(crate) ipv6: bool,
    /// Packets go past the host's switch; not every size can
    #[arg(long)]
    pub(crate) accelerated_networking: bool,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct IdentityArgs {
    /// Who it is to other services: system for an identity of its own, or the name or id of one that
    /// there is [default: nobody]
    #[arg(long, value_name = "WHO")]
    pub(crate) identity: Option<String>,
    /// Role of that identity, as Reader; may be repeated. There is none by default
    #[arg(long, value_name = "ROLE", requires_all = ["identity", "scope"])]
    pub(crate) role: Vec<String>,
    /// Where it has the role: the id of a resource, a group or a subscription, the smallest that is
    /// enough; one for all roles, or one for each
    #[arg(long, value_name = "ID", requires = "role")]
    pub(crate) scope: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataArgs {
    /// File that it reads at its first boot, as cloud-init does: at most 65535 bytes
    #[arg(long, value_name = "FILE", conflicts_with = "shell_var")]
    pub(crate) custom_data: Option<PathBuf>,
    /// The same as variables of a shell, which NixOS images without cloud-init read, as
    /// ssh_root_auth_key=...; NAME=@FILE takes the value from a file; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) shell_var: Vec<String>,
    /// File that it can read as long as it lives: at most 65535 bytes
    #[arg(long, value_name = "FILE")]
    pub(crate) user_data: Option<PathBuf>,
    /// There is no agent in it that Azure hears from
    #[arg(long)]
    pub(crate) no_agent: bool,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Readiness")]
pub(crate) struct WaitArgs {
    /// When it is ready: created (Azure has made it), running, or ssh (an ssh server answers) [default:
    /// ssh where port 22 can be reached from here, else running]
    #[arg(long, value_name = "WHEN", value_parser = from_str::<Readiness>)]
    pub(crate) wait: Option<Readiness>,
    /// How long that may take, in seconds, or as 90s, 10m, 1h; a machine that is late is kept, and the
    /// end of its serial console shown [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) wait_timeout: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is no time; pass seconds, or a number with s, m or h behind it");
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, &text[number.len()..]),
        None => (text, "s"),
    };
    let seconds: u64 = match unit {
        "h" => 3600,
        "m" => 60,
        _ => 1,
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

/// Reads a word of the library's; Clap shows one sentence, so the hint goes into it.
fn from_str<T: std::str::FromStr<Err = azure_nixos::Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: azure_nixos::Error| {
        let hint = error.hint().unwrap_or_default();
        format!("{error}; {hint}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("1h", 3600),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "m", "-1", "1d", "1.5m", "10 m", "99999999999"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
