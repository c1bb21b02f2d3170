//! Whether Nix on this machine can build an image.

use std::time::Duration;

use super::Topic;
use super::report::{CheckItem, Outcome};
use crate::nix::host::{KVM, LEAST, MAKE_ROOM};
use crate::nix::{DiskSpace, NixHost, StoreAccess};
use crate::{ByteSize, Result};

/// Room for an image unless the caller says how large it is: the disk of a small server is 2 to 4 GiB.
pub(super) const IMAGE: ByteSize = ByteSize::gib(4);

/// The closure of a NixOS that has to be fetched is about a hundred thousand files.
const FILES: u64 = 200_000;
const LEAST_FILES: u64 = 20_000;

/// A builder of images copies for minutes and writes nothing meanwhile.
const SILENT: Duration = Duration::from_secs(600);

/// What an image has to be built with.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The system that somebody named, else the Linux of this machine.
    pub(super) system: Option<String>,
    /// The size of the image that somebody named.
    pub(super) image: Option<ByteSize>,
}

/// Every item on Nix.
pub(super) fn check(wanted: &Wanted, host: &Result<NixHost>) -> Vec<CheckItem> {
    let host = match host {
        Ok(host) => host,
        Err(error) => {
            let mut items = vec![CheckItem::from_error(Topic::Nix, Outcome::Failed, error)];
            let rest = Topic::ALL.into_iter().filter(|topic| *topic > Topic::Nix);
            items.extend(rest.map(|topic| CheckItem::not_checked(topic, "Nix could not be asked")));
            return items;
        }
    };
    let system = wanted.system_on(host);
    let mut items = vec![
        CheckItem::passed(Topic::Nix, host.version.to_string()),
        flakes(host),
        store(host),
        becomes_an_image(builds(host, &system), &system),
        kvm(host, &system),
    ];
    items.extend(wanted.space(host, &system));
    items.push(silence(host));
    items
}

impl Wanted {
    /// Images are Linux, whatever builds them.
    fn system_on(&self, host: &NixHost) -> String {
        self.system.clone().unwrap_or_else(|| {
            let kind = host.system.split('-').next().unwrap_or_default();
            format!("{kind}-linux")
        })
    }

    /// The room in the store and where builds run.
    fn space(&self, host: &NixHost, system: &str) -> Vec<CheckItem> {
        let image = self.image.unwrap_or(IMAGE).as_u64();
        // The image is made in the build directory, and the closure and the image lie in the store.
        let (in_store, in_build) = (image.saturating_mul(2), image);
        let shared = match (&host.store_space, &host.build_space) {
            (Some(store), Some(build)) => host.builds_for(system) && store.is_shared_with(build),
            _ => false,
        };
        let all = if shared {
            in_store.saturating_add(in_build)
        } else {
            in_store
        };
        let what = if shared {
            format!(
                "the file system of the store {} and the build directory {}",
                host.store_dir.display(),
                host.build_dir.display()
            )
        } else {
            format!("the store {}", host.store_dir.display())
        };
        let mut items = vec![match &host.store_space {
            Some(space) => self.room(Topic::StoreSpace, space, all, FILES, &what),
            None => CheckItem::not_checked(
                Topic::StoreSpace,
                format!(
                    "the room in {what} is not known: it is not on this machine, or the system does not say"
                ),
            ),
        }];
        let what = format!("the build directory {}", host.build_dir.display());
        let topic = Topic::BuildSpace;
        items.push(match &host.build_space {
            _ if !host.builds_for(system) => CheckItem::not_checked(
                topic,
                format!("builds for {system} do not run on this machine"),
            ),
            Some(space) => self.room(topic, space, in_build, 0, &what),
            None => CheckItem::not_checked(topic, format!("the room in {what} is not known")),
        });
        items
    }

    fn room(
        &self,
        topic: Topic,
        space: &DiskSpace,
        needed: u64,
        files: u64,
        what: &str,
    ) -> CheckItem {
        let needed = ByteSize::bytes(needed);
        let free = space.available;
        let to_do = if topic == Topic::StoreSpace {
            MAKE_ROOM
        } else {
            "make room there, or name another directory: `build-dir` in nix.conf, or TMPDIR of the nix-daemon"
        };
        let has = format!("{what} has {free} free");
        if free < needed {
            // The default is an estimate; what the caller says is not.
            let stops = self.image.is_some() || free < LEAST;
            return CheckItem::stops(
                topic,
                stops,
                format!("{has}; an image takes about {needed} there"),
            )
            .with_advice(to_do);
        }
        if let Some(inodes) = space.inodes.filter(|inodes| *inodes < files) {
            return CheckItem::stops(
                topic,
                inodes < LEAST_FILES,
                format!(
                    "{has}, but only {inodes} files can still be made; a system is about {FILES}"
                ),
            )
            .with_advice(to_do);
        }
        CheckItem::passed(topic, has)
    }
}

fn flakes(host: &NixHost) -> CheckItem {
    CheckItem::passed(
        Topic::Flakes,
        if host.flakes_enabled() {
            "flakes are enabled in the settings of Nix"
        } else {
            "flakes are not enabled in the settings of Nix; they are enabled for each run by this program"
        },
    )
}

fn store(host: &NixHost) -> CheckItem {
    match &host.store {
        StoreAccess::Open { .. } if host.has_daemon() => CheckItem::passed(
            Topic::NixStore,
            format!("the daemon of the store {} answers", host.store_dir.display()),
        ),
        // Without a daemon these are the settings that count.
        StoreAccess::Open { url }
            if url == "local"
                && host.build_users_group.is_some()
                && host.build_users.is_empty() =>
        {
            let group = host.build_users_group.as_deref().unwrap_or_default();
            CheckItem::failed(
                Topic::NixStore,
                format!("builds are to run as the users of the group {group} (build-users-group), and there are none in /etc/group"),
            )
            .with_advice("make them, as the installer of Nix does, or set `build-users-group =` in nix.conf")
        }
        StoreAccess::Open { url } => {
            CheckItem::passed(Topic::NixStore, format!("the store ({url}) can be opened"))
        }
        StoreAccess::Unreachable { reason } => CheckItem::failed(
            Topic::NixStore,
            format!("the store cannot be opened: {reason}"),
        )
        .with_advice("start the daemon (`systemctl start nix-daemon`), or become a user who may write to the store"),
    }
}

fn builds(host: &NixHost, system: &str) -> CheckItem {
    let topic = Topic::System;
    if let Some(lack) = host.lacks_system(system) {
        return CheckItem::failed(topic, lack.found).with_advice(lack.to_do);
    }
    if !host.builds_for(system) {
        let builder = host.builder_for(system, &[]);
        let name = builder.map_or("another machine", |builder| &builder.host);
        return CheckItem::passed(topic, format!("{name} builds for {system}"));
    }
    let same = |a: &str, b: &str| a.split('-').next() == b.split('-').next();
    if host.system != system && !same(&host.system, system) {
        return CheckItem::warning(
            topic,
            format!("this machine is {} and emulates {system}", host.system),
        )
        .with_advice("an image takes many times longer to build by emulation; a builder of that system is faster (`builders` in nix.conf)");
    }
    CheckItem::passed(topic, format!("this machine builds for {system}"))
}

/// What can be built, and is for processors that Azure has no managed images for.
fn becomes_an_image(item: CheckItem, system: &str) -> CheckItem {
    if system != "aarch64-linux" || item.outcome == Outcome::Failed {
        return item;
    }
    let advice = "upload the disk image as a managed disk (upload-vhd) and boot that, or make a version of a gallery's image \
                  definition for Arm64 from the disk; upload-image refuses it";
    let advice = match item.to_do {
        Some(first) => format!("{first}; {advice}"),
        None => advice.to_owned(),
    };
    CheckItem::warning(
        item.topic,
        format!("{}, and Azure has managed images for x64 only", item.found),
    )
    .with_advice(advice)
}

fn kvm(host: &NixHost, system: &str) -> CheckItem {
    let topic = Topic::Kvm;
    if let Some(lack) = host.lacks_feature(system, KVM) {
        return CheckItem::failed(topic, lack.found).with_advice(lack.to_do);
    }
    if let Some(slow) = host.emulates(system) {
        return CheckItem::warning(topic, slow.found).with_advice(slow.to_do);
    }
    let here = host
        .kvm
        .as_ref()
        .filter(|_| host.builds_for(system) && host.offers(KVM));
    if let Some(device) = here {
        return CheckItem::passed(topic, format!("builds may use /dev/kvm ({device})"));
    }
    let builder = host.builder_for(system, &[KVM]);
    let name = builder.map_or("another machine", |builder| &builder.host);
    CheckItem::passed(topic, format!("{name} offers kvm for {system}"))
}

fn silence(host: &NixHost) -> CheckItem {
    let topic = Topic::SilentBuilds;
    match host.max_silent_time {
        Some(time) if time < SILENT => CheckItem::warning(
            topic,
            format!(
                "max-silent-time stops builds that write nothing for {} seconds; those of disk images are silent for minutes",
                time.as_secs()
            ),
        )
        .with_advice("set max-silent-time to 0 or to an hour in nix.conf"),
        Some(time) => CheckItem::passed(
            topic,
            format!("builds may be silent for {} seconds", time.as_secs()),
        ),
        None => CheckItem::passed(topic, "builds may be silent as long as they like"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nix::host::tests::host;
    use crate::nix::{KvmDevice, NixBuilder};
    use crate::{Error, ErrorKind};

    fn wanted(system: Option<&str>) -> Wanted {
        Wanted {
            system: system.map(str::to_owned),
            image: None,
        }
    }

    fn item(host: NixHost, wanted: &Wanted, topic: Topic) -> CheckItem {
        let items = check(wanted, &Ok(host));
        items.into_iter().find(|item| item.topic == topic).unwrap()
    }

    fn builder(system: &str, features: &[&str]) -> NixBuilder {
        NixBuilder {
            host: "ssh://other".to_owned(),
            systems: vec![system.to_owned()],
            features: features.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_good_machine_passes_everything_on_nix() {
        let items = check(&wanted(None), &Ok(host()));
        let topics: Vec<_> = items.iter().map(|item| item.topic).collect();
        assert_eq!(topics, Topic::ALL[13..]);
        for item in items {
            assert_eq!(item.outcome, Outcome::Passed, "{item:?}");
            assert_eq!(item.to_do, None);
        }
    }

    #[test]
    fn without_nix_nothing_about_it_is_known() {
        let error = Error::new(ErrorKind::Build, "nix is not installed").with_hint("install it");
        let items = check(&wanted(None), &Err(error));
        assert_eq!(items[0].outcome, Outcome::Failed);
        assert_eq!(items[0].to_do.as_deref(), Some("install it"));
        let topics: Vec<_> = items.iter().map(|item| item.topic).collect();
        assert_eq!(topics, Topic::ALL[13..]);
        assert!(
            items[1..]
                .iter()
                .all(|item| item.outcome == Outcome::NotChecked)
        );
    }

    #[test]
    fn a_foreign_system_needs_a_builder_or_emulation() {
        let arm = wanted(Some("aarch64-linux"));
        let none = item(host(), &arm, Topic::System);
        assert_eq!(none.outcome, Outcome::Failed);
        assert!(none.to_do.unwrap().contains("aarch64-linux"));
        let mut emulating = host();
        emulating.extra_platforms.push("aarch64-linux".to_owned());
        let found = item(emulating, &arm, Topic::System);
        assert_eq!(found.outcome, Outcome::Warning);
        let advice = found.to_do.unwrap();
        assert!(
            advice.contains("emulation") && advice.contains("upload-vhd"),
            "{advice}"
        );
        let mut with_builder = host();
        with_builder.builders.push(builder("aarch64-linux", &[]));
        let found = item(with_builder.clone(), &arm, Topic::System);
        // That can be built, and is not all.
        assert_eq!(found.outcome, Outcome::Warning);
        assert_eq!(
            found.found,
            "ssh://other builds for aarch64-linux, and Azure has managed images for x64 only"
        );
        assert!(found.to_do.unwrap().contains("upload-vhd"));
        // Its images are built there, not here.
        assert_eq!(
            item(with_builder, &arm, Topic::BuildSpace).outcome,
            Outcome::NotChecked
        );
        let mut idle = host();
        idle.max_jobs = Some(0);
        let found = item(idle, &wanted(None), Topic::System);
        assert_eq!(found.outcome, Outcome::Failed);
        assert!(found.found.contains("max-jobs"));
        let mut mac = host();
        mac.system = "aarch64-darwin".to_owned();
        let found = item(mac, &wanted(None), Topic::System);
        assert!(
            found.found.ends_with("nothing builds for aarch64-linux"),
            "{}",
            found.found
        );
    }

    #[test]
    fn kvm_must_be_offered_and_usable() {
        let check = |change: &dyn Fn(&mut NixHost)| {
            let mut host = host();
            change(&mut host);
            item(host, &wanted(None), Topic::Kvm)
        };
        let read_only = check(&|host| host.kvm = Some(KvmDevice::with(0o640, "kvm", false)));
        assert_eq!(read_only.outcome, Outcome::Warning);
        assert!(read_only.found.contains("rw-r----- of the group kvm"));
        assert!(read_only.found.contains("group nixbld"));
        assert!(!read_only.to_do.unwrap().contains("member"));
        let by_group = check(&|host| host.kvm = Some(KvmDevice::with(0o660, "kvm", false)));
        assert!(by_group.to_do.unwrap().contains("members of the group kvm"));
        let alone = check(&|host| {
            host.kvm = Some(KvmDevice::with(0o660, "kvm", false));
            host.build_users_group = None;
        });
        assert!(alone.found.contains("this user"), "{}", alone.found);
        let missing = check(&|host| host.kvm = None);
        assert_eq!(missing.outcome, Outcome::Warning, "{missing:?}");
        let not_offered = check(&|host| {
            host.kvm = None;
            host.system_features.retain(|feature| feature != "kvm");
        });
        assert_eq!(not_offered.outcome, Outcome::Failed);
        assert!(not_offered.to_do.unwrap().contains("extra-system-features"));
        let set = check(&|host| {
            host.system_features = vec!["big-parallel".to_owned()];
            host.system_features_set = true;
        });
        assert_eq!(set.outcome, Outcome::Failed);
        let elsewhere = check(&|host| {
            host.kvm = None;
            host.system_features.clear();
            host.builders.push(builder("x86_64-linux", &["kvm"]));
        });
        assert_eq!(elsewhere.outcome, Outcome::Passed);
    }

    #[test]
    fn a_store_that_cannot_be_opened_stops_an_upload() {
        let mut host = host();
        host.store = StoreAccess::Unreachable {
            reason: "cannot connect to socket".to_owned(),
        };
        let found = item(host, &wanted(None), Topic::NixStore);
        assert_eq!(found.outcome, Outcome::Failed);
        assert!(found.found.ends_with("cannot connect to socket"));
        assert!(found.to_do.unwrap().contains("nix-daemon"));
    }

    #[test]
    fn build_users_that_are_not_there_stop_an_upload() {
        let mut host = host();
        host.build_users.clear();
        // A daemon has settings of its own.
        let found = item(host.clone(), &wanted(None), Topic::NixStore);
        assert_eq!(found.outcome, Outcome::Passed);
        host.store = StoreAccess::Open {
            url: "local".to_owned(),
        };
        let found = item(host.clone(), &wanted(None), Topic::NixStore);
        assert_eq!(found.outcome, Outcome::Failed);
        assert!(found.found.contains("group nixbld"), "{}", found.found);
        // What runs elsewhere does not run as users of this machine.
        host.store = StoreAccess::Open {
            url: "ssh-ng://other".to_owned(),
        };
        let found = item(host.clone(), &wanted(None), Topic::NixStore);
        assert_eq!(found.outcome, Outcome::Passed);
        host.store = StoreAccess::Open {
            url: "local".to_owned(),
        };
        host.build_users_group = None;
        let found = item(host, &wanted(None), Topic::NixStore);
        assert_eq!(found.outcome, Outcome::Passed);
    }

    #[test]
    fn room_is_estimated_or_known() {
        let store = |bytes: u64, files: Option<u64>, image: Option<ByteSize>| {
            let mut host = host();
            host.store_space = Some(DiskSpace::with("/nix/store", bytes, files, 1));
            let wanted = Wanted {
                system: None,
                image,
            };
            item(host, &wanted, Topic::StoreSpace)
        };
        const MANY: Option<u64> = Some(1_000_000);
        for (gib, files, image, outcome) in [
            (9, MANY, None, Outcome::Passed),
            (9, None, None, Outcome::Passed),
            (7, MANY, None, Outcome::Warning),
            (0, MANY, None, Outcome::Failed),
            (50, MANY, Some(ByteSize::gib(30)), Outcome::Failed),
            (70, MANY, Some(ByteSize::gib(30)), Outcome::Passed),
            (50, Some(150_000), None, Outcome::Warning),
            (50, Some(15_000), None, Outcome::Failed),
        ] {
            let found = store(gib << 30, files, image);
            assert_eq!(
                found.outcome, outcome,
                "{gib} {files:?} {image:?}: {found:?}"
            );
        }
    }

    #[test]
    fn room_that_is_shared_is_counted_once() {
        let mut host = host();
        host.build_space = Some(DiskSpace::with("/tmp", 10 << 30, None, 1));
        host.store_space = Some(DiskSpace::with("/nix/store", 10 << 30, None, 1));
        let store = item(host.clone(), &wanted(None), Topic::StoreSpace);
        assert_eq!(store.outcome, Outcome::Warning);
        assert!(
            store.found.contains("12 GiB") && store.found.contains("/tmp"),
            "{}",
            store.found
        );
        // A builder elsewhere has its own room to build in.
        let mut elsewhere = host.clone();
        elsewhere.builders.push(builder("aarch64-linux", &["kvm"]));
        let arm = wanted(Some("aarch64-linux"));
        let store = item(elsewhere, &arm, Topic::StoreSpace);
        assert_eq!(store.outcome, Outcome::Passed, "{store:?}");
        host.build_space = Some(DiskSpace::with("/tmp", 3 << 30, None, 2));
        let build = item(host.clone(), &wanted(None), Topic::BuildSpace);
        assert_eq!(build.outcome, Outcome::Warning);
        assert!(build.to_do.unwrap().contains("TMPDIR"));
        host.store_space = None;
        assert_eq!(
            item(host, &wanted(None), Topic::StoreSpace).outcome,
            Outcome::NotChecked
        );
    }

    #[test]
    fn a_short_silence_is_told() {
        for (seconds, outcome) in [(60, Outcome::Warning), (3600, Outcome::Passed)] {
            let mut host = host();
            host.max_silent_time = Some(Duration::from_secs(seconds));
            let found = item(host, &wanted(None), Topic::SilentBuilds);
            assert_eq!(found.outcome, outcome);
            assert!(found.found.contains(&seconds.to_string()));
        }
    }

    #[test]
    fn flakes_need_not_be_enabled() {
        let mut host = host();
        host.features.clear();
        let found = item(host, &wanted(None), Topic::Flakes);
        assert_eq!(found.outcome, Outcome::Passed);
        assert!(found.found.contains("not enabled"));
    }
}
