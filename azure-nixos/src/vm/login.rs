//! [`Login`]: how a machine that exists is logged into.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::future::IntoFuture;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

use super::info::{MachineInfo, SSH};
use super::keys::{default_directory, home};
use super::machines::{Machine, Machines};
use super::owner::USER_TAG;
use crate::Result;
use crate::arm::ResourceId;
use crate::blocking::blocking;

/// The longest file that is taken for a public key: the longest that `sshd` reads as one line.
const LARGEST_KEY_FILE: u64 = 64 << 10;

/// How to log into a machine.
///
/// What is here follows from what Azure knows of the machine and from the files of whoever asks; whether
/// anybody answers is not looked at.
///
/// ```no_run
/// use azure_nixos::Azure;
/// use azure_nixos::vm::Machines;
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let azure = Azure::from_environment().await?;
/// for login in Machines::new(&azure).logins(Some("vms-rg")).await? {
///     let host = login.host.map_or("no address".to_owned(), |host| host.to_string());
///     println!("{} {} {host}", login.machine.name, login.user.unwrap_or_default());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Login {
    /// The machine: its name, group, tags, state.
    pub machine: MachineInfo,
    /// Where it is: its public address, else the one in its network, which needs a route. `None` when
    /// it has neither, or this login may not look.
    pub host: Option<IpAddr>,
    /// Whether that is a public address.
    pub is_public: bool,
    /// The port of ssh: 22, except for a machine of a local Azure that has it elsewhere.
    pub port: u16,
    /// As whom: what the tag `azure-nixos-user` says, else the user that was made with the machine.
    /// `None` where neither is known; `ssh` then takes the caller's own name.
    pub user: Option<String>,
    /// The private key that belongs to a key that was given to the machine, where there is such a file
    /// in the directory for keys or in `~/.ssh`. `None` leaves it to what `ssh` tries by itself: its
    /// agent and its usual files.
    pub private_key: Option<PathBuf>,
    /// The file of the host keys of machines, `known_hosts` in the directory for keys. It need not
    /// exist yet.
    pub known_hosts: PathBuf,
    /// The name that the machine's keys have in there. Azure gives addresses to one machine after the
    /// other; this is of no other machine, not even of a later one of the same name.
    pub host_key_alias: String,
}

/// How to log into a machine, to be awaited: see [`Machine::login`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct LoginBuilder {
    machine: Machine,
    key_directory: Option<PathBuf>,
}

/// How to log into machines, to be awaited: see [`Machines::logins`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until it is awaited"]
pub struct LoginsBuilder {
    machines: Machines,
    group: Option<String>,
    key_directory: Option<PathBuf>,
}

impl LoginBuilder {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            key_directory: None,
        }
    }

    /// Where keys are looked for before `~/.ssh`, and where host keys are kept: the directory that
    /// [`VmBuilder::key_directory`](crate::VmBuilder::key_directory) put them in. The default is
    /// `~/.ssh/azure-nixos`.
    pub fn key_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.key_directory = Some(directory.into());
        self
    }

    async fn run(self) -> Result<Login> {
        let places = Places::new(self.key_directory)?;
        let machine = self.machine.info().await?;
        let keys = places.keys_of(std::slice::from_ref(&machine)).await?;
        Ok(Login::new(machine, &places, &keys))
    }
}

impl LoginsBuilder {
    pub(super) fn new(machines: Machines, group: Option<String>) -> Self {
        Self {
            machines,
            group,
            key_directory: None,
        }
    }

    /// As [`LoginBuilder::key_directory`].
    pub fn key_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.key_directory = Some(directory.into());
        self
    }

    async fn run(self) -> Result<Vec<Login>> {
        let places = Places::new(self.key_directory)?;
        let machines = self.machines.list(self.group.as_deref()).await?;
        let keys = places.keys_of(&machines).await?;
        Ok(machines
            .into_iter()
            .map(|machine| Login::new(machine, &places, &keys))
            .collect())
    }
}

/// # Errors
/// As [`Machines::get`]; [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput) when there is
/// neither a home directory nor a directory for keys.
///
/// # Cancellation
/// Safe to drop: nothing is changed.
impl IntoFuture for LoginBuilder {
    type Output = Result<Login>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// # Errors
/// As [`Machines::list`], and as those of [`LoginBuilder`].
///
/// # Cancellation
/// Safe to drop: nothing is changed.
impl IntoFuture for LoginsBuilder {
    type Output = Result<Vec<Login>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Login {
    fn new(machine: MachineInfo, places: &Places, keys: &Keys) -> Self {
        let address = |all: &[String]| all.iter().find_map(|one| one.parse::<IpAddr>().ok());
        let public = address(&machine.public_ips);
        Self {
            host: public.or_else(|| address(&machine.private_ips)),
            is_public: public.is_some(),
            port: machine.ssh_port.unwrap_or(SSH),
            user: user(&machine),
            private_key: machine
                .ssh_public_keys
                .iter()
                .find_map(|line| keys.get(&key_of(line)?).cloned()),
            known_hosts: places.known_hosts.clone(),
            host_key_alias: alias(&machine),
            machine,
        }
    }
}

#[cfg(test)]
impl Login {
    /// One of a machine that runs.
    pub(super) fn sample() -> Self {
        let machine = serde_json::from_value(serde_json::json!({
            "id": "/subscriptions/s/resourceGroups/my(group)/providers/Microsoft.Compute/virtualMachines/web",
            "location": "westus2",
            "properties": {
                "vmId": "7",
                "osProfile": { "adminUsername": "ada" },
                "instanceView": { "statuses": [{ "code": "PowerState/running" }] },
            },
        }));
        let mut machine =
            MachineInfo::new(&machine.unwrap(), &super::addresses::Addresses::default()).unwrap();
        machine.public_ips = vec!["20.1.2.3".to_owned()];
        let places = Places {
            directories: Vec::new(),
            known_hosts: "/home/ada/.ssh/azure-nixos/known_hosts".into(),
        };
        Self::new(machine, &places, &Keys::new())
    }
}

/// As whom to log in. Who may tag a machine must not thereby give options to `ssh`.
fn user(machine: &MachineInfo) -> Option<String> {
    let mut tags = machine.tags.iter();
    let tagged = tags.find(|(tag, _)| tag.eq_ignore_ascii_case(USER_TAG));
    let tagged = tagged.map(|(_, user)| user.as_str());
    if let Some(user) = tagged.filter(|user| !is_user(user)) {
        tracing::warn!(machine = %machine.id, "the tag {USER_TAG} is no name of a user: {user:?}");
    }
    tagged
        .filter(|user| is_user(user))
        .or(machine.admin_username.as_deref())
        .map(str::to_owned)
}

fn is_user(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(good)
}

/// A name for host keys.
fn alias(machine: &MachineInfo) -> String {
    alias_of(machine.vm_id.as_deref(), &machine.id)
}

/// The name for the host keys of a machine with these ids. `ssh` gives commas, blanks and stars in it a
/// meaning.
pub(super) fn alias_of(vm_id: Option<&str>, id: &ResourceId) -> String {
    let id = vm_id.unwrap_or_else(|| id.as_str());
    let id: String = id
        .to_ascii_lowercase()
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() => c,
            '-' | '.' | '_' => c,
            _ => '_',
        })
        .collect();
    format!("azure-nixos-{}", id.trim_start_matches('_'))
}

/// The kind and the number of a key, without its comment: what tells one key from another.
fn key_of(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    Some(format!("{} {}", words.next()?, words.next()?))
}

/// Private keys by their public ones.
type Keys = HashMap<String, PathBuf>;

/// Where keys are looked for, and host keys are kept.
#[derive(Clone, Debug)]
struct Places {
    directories: Vec<PathBuf>,
    known_hosts: PathBuf,
}

/// The file of the host keys of machines.
pub(super) fn known_hosts_in(directory: &Path) -> PathBuf {
    directory.join("known_hosts")
}

impl Places {
    fn new(directory: Option<PathBuf>) -> Result<Self> {
        let first = directory.map_or_else(default_directory, Ok)?;
        let known_hosts = known_hosts_in(&first);
        let usual = home().map(|home| home.join(".ssh"));
        Ok(Self {
            directories: std::iter::once(first).chain(usual).collect(),
            known_hosts,
        })
    }

    /// The private keys of these machines.
    async fn keys_of(&self, machines: &[MachineInfo]) -> Result<Keys> {
        let lines = machines.iter().flat_map(|machine| &machine.ssh_public_keys);
        let wanted: HashSet<String> = lines.filter_map(|line| key_of(line)).collect();
        let directories = self.directories.clone();
        blocking(move || Ok(find(&directories, &wanted))).await
    }
}

/// Looks for pairs. A file that cannot be read is none.
fn find(directories: &[PathBuf], wanted: &HashSet<String>) -> Keys {
    let mut found = Keys::new();
    for directory in directories {
        if found.len() == wanted.len() {
            break;
        }
        let files = fs::read_dir(directory).into_iter().flatten().flatten();
        // In the same order every time.
        let files: BTreeSet<PathBuf> = files
            .map(|file| file.path())
            .filter(|path| path.extension().is_some_and(|end| end == "pub"))
            .collect();
        for public in files {
            let private = public.with_extension("");
            let Some(line) = read(&public) else { continue };
            let Some(key) = key_of(&line).filter(|key| wanted.contains(key)) else {
                continue;
            };
            if private.is_file() {
                found.entry(key).or_insert(private);
            }
        }
    }
    found
}

/// The first line of a public key's file that is none of a comment.
fn read(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let mut text = String::new();
    let mut file = fs::File::open(path).ok()?.take(LARGEST_KEY_FILE);
    file.read_to_string(&mut text).ok()?;
    let mut lines = text.lines().map(str::trim);
    lines
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::addresses::Addresses;
    use super::super::keys::generate;
    use super::*;

    fn machine(tags: serde_json::Value, keys: &[&str]) -> MachineInfo {
        let keys: Vec<_> = keys.iter().map(|key| json!({ "keyData": key })).collect();
        let machine = serde_json::from_value(json!({
            "id": "/subscriptions/s/resourceGroups/My(group)/providers/Microsoft.Compute/virtualMachines/web",
            "location": "westus2",
            "tags": tags,
            "properties": {
                "osProfile": {
                    "adminUsername": "isti",
                    "linuxConfiguration": { "ssh": { "publicKeys": keys } },
                },
            },
        }));
        MachineInfo::new(&machine.unwrap(), &Addresses::default()).unwrap()
    }

    fn login(machine: MachineInfo, directories: &[&Path]) -> Login {
        let places = Places {
            directories: directories.iter().map(|path| path.to_path_buf()).collect(),
            known_hosts: "/k/known_hosts".into(),
        };
        let lines = machine.ssh_public_keys.iter();
        let wanted = lines.filter_map(|line| key_of(line)).collect();
        let keys = find(&places.directories, &wanted);
        Login::new(machine, &places, &keys)
    }

    #[test]
    fn the_key_is_the_one_that_the_machine_was_given() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = (one.path(), two.path());
        generate(one, "other", "me").unwrap();
        let mine = generate(two, "mine", "me").unwrap();
        let public = mine.public.replace(" me", " another comment");
        let found = |directories: &[&Path]| login(machine(json!({}), &[&public]), directories);
        assert_eq!(found(&[one, two]).private_key, Some(two.join("mine")));
        assert_eq!(found(&[one, Path::new("/nowhere")]).private_key, None);

        // In both places: the first one counts.
        for end in ["", ".pub"] {
            let (from, to) = (format!("mine{end}"), format!("copy{end}"));
            fs::copy(two.join(from), one.join(to)).unwrap();
        }
        assert_eq!(found(&[one, two]).private_key, Some(one.join("copy")));

        // Half a pair opens nothing.
        fs::remove_file(one.join("copy")).unwrap();
        assert_eq!(found(&[one, two]).private_key, Some(two.join("mine")));

        // What only looks like a public key.
        fs::rename(two.join("mine"), two.join("x.pub")).unwrap();
        fs::create_dir(two.join("y.pub")).unwrap();
        fs::write(two.join("z.pub"), [0xff; 100]).unwrap();
        assert_eq!(found(&[two]).private_key, None);
    }

    #[test]
    fn the_user_is_who_the_tag_says() {
        let user = |tags| login(machine(tags, &[]), &[]).user.unwrap();
        assert_eq!(user(json!({})), "isti");
        assert_eq!(user(json!({ "Azure-NixOS-user": "root" })), "root");
        for bad in ["", "-oProxyCommand=x", "a b", "a\nb", "$(x)"] {
            assert_eq!(user(json!({ USER_TAG: bad })), "isti", "{bad}");
        }
    }

    #[test]
    fn a_machine_is_known_by_what_no_other_has() {
        let mut one = machine(json!({}), &[]);
        assert_eq!(
            alias(&one),
            "azure-nixos-subscriptions_s_resourcegroups_my_group__providers_microsoft.compute_virtualmachines_web"
        );
        one.vm_id = Some("4F2A7E3C-0000-4000-8000-00000000000A".to_owned());
        assert_eq!(
            alias(&one),
            "azure-nixos-4f2a7e3c-0000-4000-8000-00000000000a"
        );
    }

    #[test]
    fn the_public_address_comes_first() {
        let mut one = machine(json!({}), &[]);
        assert_eq!(login(one.clone(), &[]).host, None);
        one.private_ips = vec!["10.0.0.4".to_owned()];
        let inside = login(one.clone(), &[]);
        assert_eq!(
            (inside.host, inside.is_public),
            (Some([10, 0, 0, 4].into()), false)
        );
        one.public_ips = vec!["20.1.2.3".to_owned()];
        one.ssh_port = Some(40022);
        let outside = login(one, &[]);
        assert_eq!(
            (outside.host, outside.is_public),
            (Some([20, 1, 2, 3].into()), true)
        );
        assert_eq!(outside.port, 40022);
    }

    #[test]
    fn a_key_is_the_same_whatever_its_comment() {
        let key = key_of("ssh-ed25519 AAAA");
        assert!(key.is_some());
        assert_eq!(key_of(" ssh-ed25519   AAAA me@here"), key);
        assert_ne!(key_of("ssh-ed25519 AAAB"), key);
        assert_eq!(key_of("ssh-ed25519"), None);
    }
}
