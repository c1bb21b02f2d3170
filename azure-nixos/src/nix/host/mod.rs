//! What the Nix of this machine is like: which one, how it is set up, and the room it has.
//!
//! Three questions to Nix (its version, its settings, its store) and a few to the file system, well
//! below a second together; nothing is evaluated or built. Here live the facts; what they mean for an
//! image is said by whoever asks, such as [`check`](crate::check).

mod able;
mod builders;
mod groups;
mod kvm;
mod settings;
mod space;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::geteuid;
use tokio_util::sync::CancellationToken;

use super::command;
use super::event::NixEvent;
use super::process::Finished;
use super::{Nix, NixFlavour, NixVersion};
use crate::blocking::blocking;
use crate::{Error, ErrorKind, Result};

pub use builders::NixBuilder;
pub use kvm::KvmDevice;
pub use space::DiskSpace;
pub(crate) use space::{LEAST, MAKE_ROOM};

use groups::Groups;
use settings::Settings;

/// The feature that a machine must have to run the builders of disk images, which start a virtual
/// machine.
pub(crate) const KVM: &str = "kvm";

/// The group of the build users, where the daemon is the one to know.
const BUILD_USERS: &str = "nixbld";

/// The Nix of this machine. Made by [`Nix::host`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NixHost {
    /// Which Nix it is.
    pub version: NixVersion,
    /// The experimental features that are enabled in its settings. Some Nix does not call them
    /// experimental any more; see [`flakes_enabled`](Self::flakes_enabled).
    pub features: Vec<String>,
    /// The system that it builds for: `x86_64-linux`.
    pub system: String,
    /// Systems that it builds for in addition, by emulation if need be.
    pub extra_platforms: Vec<String>,
    /// What this machine offers to builds: `kvm`, `big-parallel`.
    pub system_features: Vec<String>,
    /// Whether somebody has set [`system_features`](Self::system_features). Else they are what Nix
    /// found out as this user, which a daemon finds out for itself.
    pub system_features_set: bool,
    /// Other machines that build.
    pub builders: Vec<NixBuilder>,
    /// How many builds run at once on this machine; 0 leaves all of them to the builders.
    pub max_jobs: Option<u64>,
    /// How long a build may be silent before it is stopped; nothing for any time.
    pub max_silent_time: Option<Duration>,
    /// The Unix group whose users run the builds; nothing where they run as the user of Nix.
    pub build_users_group: Option<String>,
    /// The users of that group, as `/etc/group` has them.
    pub build_users: Vec<String>,
    /// Whether the store can be used, and through what.
    pub store: StoreAccess,
    /// The directory of the store on this machine: `/nix/store`.
    pub store_dir: PathBuf,
    /// The room in the store; nothing where it is on another machine or cannot be measured.
    pub store_space: Option<DiskSpace>,
    /// The directory in which builds run. A daemon without a setting for it has an environment of its
    /// own, which cannot be seen: then it is what this process would take.
    pub build_dir: PathBuf,
    /// The room in that directory.
    pub build_space: Option<DiskSpace>,
    /// The device of hardware virtualisation, if there is one.
    pub kvm: Option<KvmDevice>,
}

/// Whether the store can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreAccess {
    /// It can.
    Open {
        /// How: `daemon`, `local`, or the URL of a store.
        url: String,
    },
    /// It cannot, for a reason in Nix's words.
    Unreachable {
        /// Why.
        reason: String,
    },
}

impl NixHost {
    /// Whether the user has enabled flakes. This library enables them for its own runs, so that an
    /// image can be built from a flake either way.
    #[must_use]
    pub fn flakes_enabled(&self) -> bool {
        // This maker calls them stable.
        self.version.flavour == NixFlavour::Determinate
            || self.features.iter().any(|feature| feature == "flakes")
    }

    /// Whether builds are run by a daemon and not by whoever starts Nix.
    #[must_use]
    pub fn has_daemon(&self) -> bool {
        matches!(&self.store, StoreAccess::Open { url } if is_daemon(url))
    }

    /// Whether builds for a system run on this machine.
    #[must_use]
    pub fn builds_for(&self, system: &str) -> bool {
        self.max_jobs != Some(0)
            && (self.system == system || self.extra_platforms.iter().any(|other| other == system))
    }

    /// The first of the other machines that builds for a system and offers these features.
    #[must_use]
    pub fn builder_for(&self, system: &str, features: &[&str]) -> Option<&NixBuilder> {
        self.builders.iter().find(|builder| {
            let systems = &builder.systems;
            let builds = systems.iter().any(|own| own == system)
                || (systems.is_empty() && self.system == system);
            builds && features.iter().all(|feature| builder.offers(feature))
        })
    }

    /// Whether builds on this machine are offered a feature.
    #[must_use]
    pub fn offers(&self, feature: &str) -> bool {
        if self.system_features.iter().any(|own| own == feature) {
            return true;
        }
        // A user who may not open the device is told that there is none; the daemon may.
        feature == KVM && !self.system_features_set && self.has_daemon() && self.kvm.is_some()
    }
}

fn is_daemon(url: &str) -> bool {
    url == "daemon" || url.starts_with("unix:")
}

/// Whether a store is in the directory of the store of this machine.
pub(super) fn is_here(url: &str) -> bool {
    is_daemon(url) || matches!(url, "local" | "auto" | "") || url.starts_with("local?")
}

impl Nix {
    /// What the Nix of this machine is like, without building anything. A store that cannot be used is
    /// no error but [one of the facts](StoreAccess::Unreachable).
    ///
    /// ```no_run
    /// # async fn example() -> azure_nixos::Result<()> {
    /// let host = azure_nixos::nix::Nix::new().host().await?;
    /// if !host.builds_for("aarch64-linux") && host.builder_for("aarch64-linux", &[]).is_none() {
    ///     println!("{} cannot build for aarch64-linux", host.version);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Build`] when there is no Nix, it is older than 2.8, or it does not say how it is
    /// set up; the hint says what to do.
    ///
    /// # Cancellation
    /// Safe: nothing is changed anywhere.
    pub async fn host(&self) -> Result<NixHost> {
        // The state of three running programs is large for a future that is moved around.
        Box::pin(self.ask_host())
            .await
            .map_err(|error| error.with_operation("ask nix how it is set up"))
    }

    async fn ask_host(&self) -> Result<NixHost> {
        let version = self.version().await?;
        version.check()?;
        let (settings, store) = tokio::join!(self.settings(&version), self.store_access());
        let (settings, store) = (settings?, store?);
        let places = Places {
            store: self.variable("NIX_STORE_DIR"),
            state: self.variable("NIX_STATE_DIR"),
            temporary: self.variable("TMPDIR"),
        };
        blocking(move || Ok(settings.host(version, store, &places))).await
    }

    /// The directory that a variable of Nix's environment names; an empty one is none.
    fn variable(&self, name: &str) -> Option<PathBuf> {
        let value = self.launcher.variable(name);
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    /// The settings. The command has two names: one until 2.19, and one from 2.20 on.
    async fn settings(&self, version: &NixVersion) -> Result<Settings> {
        let (old, new) = (&["show-config"][..], &["config", "show"][..]);
        let names = if (version.major, version.minor) >= (2, 20) {
            [new, old]
        } else {
            [old, new]
        };
        let (finished, _) = self.first_known(names, &["--json"]).await?;
        if !finished.status.success() {
            return Err(Error::new(
                ErrorKind::Build,
                format!(
                    "{version} does not say how it is set up: {}",
                    said(&finished)
                ),
            )
            .with_hint(
                "`nix show-config` (from 2.20 on `nix config show`) fails too: look at nix.conf",
            ));
        }
        Settings::parse(&finished.stdout).map_err(|error| {
            Error::new(
                ErrorKind::Build,
                format!("{version} shows its settings in a form that is not known"),
            )
            .with_source(error)
        })
    }

    /// Opens the store and closes it again.
    async fn store_access(&self) -> Result<StoreAccess> {
        let names = [&["store", "ping"][..], &["store", "info"][..]];
        let (finished, texts) = self.first_known(names, &[]).await?;
        if !finished.status.success() {
            return Ok(StoreAccess::Unreachable {
                reason: said(&finished),
            });
        }
        let url = texts
            .iter()
            .flat_map(|text| text.lines())
            .find_map(|line| line.trim().strip_prefix("Store URL:"));
        let url = url.unwrap_or("auto").trim();
        // What follows may be the key of a host.
        let url = url.split_once('?').map_or(url, |(before, _)| before);
        Ok(StoreAccess::Open {
            url: url.to_owned(),
        })
    }

    /// Runs the first of two commands, and the second where Nix does not know the first. With what it
    /// said beside its answer.
    async fn first_known(
        &self,
        names: [&[&str]; 2],
        more: &[&str],
    ) -> Result<(Finished, Vec<String>)> {
        let [first, second] = names;
        let ran = self.run_command(first, more).await?;
        let unknown = |(finished, _): &(Finished, _)| {
            !finished.status.success() && said(finished).contains("is not a recognised command")
        };
        if unknown(&ran) {
            return self.run_command(second, more).await;
        }
        Ok(ran)
    }

    async fn run_command(&self, name: &[&str], more: &[&str]) -> Result<(Finished, Vec<String>)> {
        let command = command::host_fact(name, more, &self.options);
        let texts = Mutex::new(Vec::new());
        let listen = |event: NixEvent| {
            if let NixEvent::Message { text, .. } | NixEvent::Other { line: text } = event {
                let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
                texts.push(text);
            }
        };
        let never = CancellationToken::new();
        let finished = self.launcher.run(&command, &listen, &never).await?;
        Ok((
            finished,
            texts.into_inner().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// What Nix complained of, on one line.
fn said(finished: &Finished) -> String {
    let complaint = finished.parser.complaints.first();
    let text = complaint.map_or_else(
        || finished.parser.logs.others().collect::<Vec<_>>().join(" "),
        |complaint| complaint.message.clone(),
    );
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_start_matches("error: ");
    if line.is_empty() {
        format!("it ended with {}", finished.status)
    } else {
        line.to_owned()
    }
}

/// What the environment says about places.
#[derive(Clone, Debug, Default)]
struct Places {
    store: Option<PathBuf>,
    state: Option<PathBuf>,
    temporary: Option<PathBuf>,
}

impl Places {
    fn store_dir(&self) -> PathBuf {
        let standard = || PathBuf::from("/nix/store");
        self.store.clone().unwrap_or_else(standard)
    }

    fn state_dir(&self) -> PathBuf {
        let standard = || PathBuf::from("/nix/var/nix");
        self.state.clone().unwrap_or_else(standard)
    }

    /// Where builds run: what is set, else a directory of the state where this Nix has one (from 2.30
    /// on, and in repaired older ones), else the directory for temporary files.
    fn build_dir(&self, set: Option<&Path>) -> PathBuf {
        if let Some(set) = set {
            return set.to_owned();
        }
        let own = self.state_dir().join("builds");
        if own.is_dir() {
            return own;
        }
        let standard = || PathBuf::from("/tmp");
        self.temporary.clone().unwrap_or_else(standard)
    }
}

impl Settings {
    /// Puts the facts together. Looks at files: it blocks.
    fn host(self, version: NixVersion, store: StoreAccess, places: &Places) -> NixHost {
        let daemon = matches!(&store, StoreAccess::Open { url } if is_daemon(url));
        let here = matches!(&store, StoreAccess::Open { url } if is_here(url))
            || matches!(store, StoreAccess::Unreachable { .. });
        // Only root can become another user, and Nix knows: the setting is for it alone. Where there
        // is a daemon, what this user has set need not be what that one has.
        let group = self.build_users_group.clone();
        let group = group.filter(|_| daemon || geteuid().is_root());
        let build_users_group = group.or_else(|| daemon.then(|| BUILD_USERS.to_owned()));
        let store_dir = places.store_dir();
        let build_dir = places.build_dir(self.build_dir.as_deref());
        let groups = Groups::read();
        let group = build_users_group.as_deref();
        NixHost {
            builders: builders::read(&self.builders),
            kvm: KvmDevice::find(group, &groups),
            build_users: group.map(|group| groups.members(group)).unwrap_or_default(),
            store_space: here.then(|| DiskSpace::of(&store_dir)).flatten(),
            build_space: DiskSpace::of(&build_dir),
            version,
            features: self.features,
            system: self.system,
            extra_platforms: self.extra_platforms,
            system_features: self.system_features,
            system_features_set: self.system_features_set,
            max_jobs: self.max_jobs,
            max_silent_time: self.max_silent_time,
            build_users_group,
            store,
            store_dir,
            build_dir,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A machine as most are: Nix with a daemon, one system, kvm for everybody.
    pub(crate) fn host() -> NixHost {
        NixHost {
            version: NixVersion::parse("nix (Nix) 2.24.10").unwrap(),
            features: vec!["nix-command".to_owned(), "flakes".to_owned()],
            system: "x86_64-linux".to_owned(),
            extra_platforms: vec!["i686-linux".to_owned()],
            system_features: ["benchmark", "big-parallel", "kvm", "nixos-test"]
                .map(str::to_owned)
                .into(),
            system_features_set: false,
            builders: Vec::new(),
            max_jobs: Some(4),
            max_silent_time: None,
            build_users_group: Some("nixbld".to_owned()),
            build_users: vec!["nixbld1".to_owned(), "nixbld2".to_owned()],
            store: StoreAccess::Open {
                url: "daemon".to_owned(),
            },
            store_dir: PathBuf::from("/nix/store"),
            store_space: Some(DiskSpace::with("/nix/store", 200 << 30, Some(9_000_000), 1)),
            build_dir: PathBuf::from("/tmp"),
            build_space: Some(DiskSpace::with("/tmp", 100 << 30, Some(9_000_000), 2)),
            kvm: Some(KvmDevice::with(0o666, "kvm", true)),
        }
    }

    #[test]
    fn systems_are_built_here_or_elsewhere() {
        let mut host = host();
        assert!(host.builds_for("x86_64-linux") && host.builds_for("i686-linux"));
        assert!(!host.builds_for("aarch64-linux"));
        host.builders = builders::parse(
            "ssh://arm aarch64-linux - 1 1 kvm\nssh://any - - 1 1 big-parallel - -",
        );
        let builder = host.builder_for("aarch64-linux", &[KVM]).unwrap();
        assert_eq!(builder.host, "ssh://arm");
        assert!(
            host.builder_for("aarch64-linux", &["big-parallel"])
                .is_none()
        );
        // One that names no system has that of this machine.
        let builder = host.builder_for("x86_64-linux", &[]).unwrap();
        assert_eq!(builder.host, "ssh://any");
        host.max_jobs = Some(0);
        assert!(!host.builds_for("x86_64-linux"));
    }

    #[test]
    fn a_daemon_finds_out_about_kvm_for_itself() {
        let mut host = host();
        host.system_features = vec!["big-parallel".to_owned()];
        assert!(host.offers(KVM));
        assert!(!host.offers("benchmark"));
        host.system_features_set = true;
        assert!(!host.offers(KVM));
        host.system_features_set = false;
        host.kvm = None;
        assert!(!host.offers(KVM));
        host.kvm = Some(KvmDevice::with(0o600, "root", false));
        host.store = StoreAccess::Open {
            url: "local".to_owned(),
        };
        assert!(!host.offers(KVM));
    }

    #[test]
    fn flakes_are_enabled_by_name_or_by_the_maker() {
        let mut host = host();
        assert!(host.flakes_enabled());
        host.features = vec!["nix-command".to_owned()];
        assert!(!host.flakes_enabled());
        host.version = NixVersion::parse("nix (Determinate Nix 3.6.2) 2.29.0").unwrap();
        assert!(host.flakes_enabled());
    }

    #[test]
    fn builds_run_as_other_users_where_root_or_a_daemon_runs_them() {
        let users = |set: Option<&str>, url: &str| {
            let settings = Settings {
                system: "x86_64-linux".to_owned(),
                build_users_group: set.map(str::to_owned),
                ..Settings::default()
            };
            let store = StoreAccess::Open {
                url: url.to_owned(),
            };
            let host = settings.host(host().version, store, &Places::default());
            host.build_users_group
        };
        let root = geteuid().is_root();
        assert_eq!(users(Some("own"), "daemon").as_deref(), Some("own"));
        assert_eq!(users(None, "unix:///socket").as_deref(), Some("nixbld"));
        assert_eq!(
            users(Some("own"), "local").as_deref(),
            root.then_some("own")
        );
        assert_eq!(users(None, "local"), None);
    }

    #[test]
    fn builds_run_where_it_is_set_or_where_this_nix_runs_them() {
        let state = tempfile::tempdir().unwrap();
        let mut places = Places {
            state: Some(state.path().to_owned()),
            ..Places::default()
        };
        assert_eq!(places.build_dir(None), Path::new("/tmp"));
        places.temporary = Some(PathBuf::from("/var/tmp"));
        assert_eq!(places.build_dir(None), Path::new("/var/tmp"));
        std::fs::create_dir(state.path().join("builds")).unwrap();
        assert_eq!(places.build_dir(None), state.path().join("builds"));
        let set = Path::new("/big");
        assert_eq!(places.build_dir(Some(set)), set);
    }
}
