//! Whether a build can come to its end, before hours go into it.
//!
//! Nix finds out when the derivation comes up that nothing can build, and that of a disk image comes up
//! last. What a dry run says would be built is held against what this machine and its builders can do,
//! by the rules that Nix has itself; what would be fetched, against the room in the store.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::command;
use super::derivation::Derivation;
use super::evaluation::{Evaluation, Step};
use super::event::{MessageLevel, NixEvent};
use super::host::{KVM, LEAST, MAKE_ROOM, NixHost, StoreAccess, is_here};
use super::plan::BuildPlan;
use super::process::Finished;
use super::run::Run;
use crate::blocking::blocking;
use crate::{Error, ErrorKind, Result};

/// Systems whose derivations are built by Nix itself.
const BUILTIN: &str = "builtin";

impl Run<'_> {
    /// Refuses a build that cannot come to its end.
    ///
    /// # Errors
    /// [`ErrorKind::Build`]. What cannot be found out is left to Nix to judge.
    pub(super) async fn preflight(&self, evaluation: &Evaluation) -> Result<()> {
        let plan = match &evaluation.step {
            Step::Derivation { target, .. } => self.dry_run(target).await?,
            Step::Flake { .. } => evaluation.plan.clone(),
            Step::StorePath { .. } => None,
        };
        let Some(plan) = plan.filter(|plan| !plan.is_empty()) else {
            return Ok(());
        };
        let host = match self.nix.host().await {
            Ok(host) => host,
            Err(error) => {
                tracing::debug!("whether this machine can build is not known: {error}");
                return Ok(());
            }
        };
        let image = evaluation.derivation.clone();
        let warnings = blocking(move || judge(&host, &plan, image.as_deref())).await?;
        for text in warnings {
            tracing::warn!("{text}");
            (self.events)(NixEvent::Message {
                level: MessageLevel::Warning,
                text,
            });
        }
        Ok(())
    }

    /// Refuses a Nix that is known to be too old: what it says instead is about options.
    pub(super) async fn refuse_old_nix(&self) -> Result<()> {
        match self.nix.version().await {
            Ok(version) => version.check(),
            // Without it the next command says what is wrong.
            Err(_) => Ok(()),
        }
    }

    /// Runs a command and reads what it says would be done.
    pub(super) async fn run_dry(
        &self,
        command: &command::Command,
    ) -> Result<(Finished, BuildPlan)> {
        let plan = Mutex::new(BuildPlan::default());
        let listen = |event: NixEvent| {
            plan.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .listen(&event);
            (self.events)(event);
        };
        let launcher = &self.nix.launcher;
        let finished = launcher.run(command, &listen, self.cancel).await?;
        let plan = plan.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((finished, plan))
    }

    /// What building a derivation would have to do; nothing when Nix does not say.
    async fn dry_run(&self, target: &Path) -> Result<Option<BuildPlan>> {
        let command = command::realise_dry(target, &self.nix.options);
        let (finished, plan) = self.run_dry(&command).await?;
        Ok(finished.status.success().then_some(plan))
    }
}

/// Holds what is to be done against the machine. What it returns should be known, and stops nothing.
/// Reads the derivations: it blocks.
fn judge(host: &NixHost, plan: &BuildPlan, image: Option<&Path>) -> Result<Vec<String>> {
    // What is built on another machine's store is that machine's business.
    if !matches!(&host.store, StoreAccess::Open { url } if is_here(url)) {
        return Ok(Vec::new());
    }
    let mut warnings = room(host, plan)?;
    for path in &plan.builds {
        let Some(needs) = Derivation::read(path) else {
            continue;
        };
        let is_image = Some(path.as_path()) == image;
        if let Some(warning) = able(host, path, &needs, is_image)? {
            warnings.push(warning);
        }
    }
    Ok(warnings)
}

/// Whether there is somebody to build a derivation.
fn able(host: &NixHost, path: &Path, needs: &Derivation, is_image: bool) -> Result<Option<String>> {
    let system = needs.system.as_str();
    // Small steps are built here even where nothing else is.
    if system == BUILTIN || (host.max_jobs == Some(0) && !is_image) {
        return Ok(None);
    }
    let lack = host.lacks_system(system).or_else(|| {
        let features = needs.features.iter();
        features
            .filter_map(|feature| host.lacks_feature(system, feature))
            .next()
    });
    if let Some(lack) = lack {
        return Err(Error::new(
            ErrorKind::Build,
            format!("{} cannot be built: {}", name(path), lack.found),
        )
        .with_hint(lack.to_do));
    }
    let needs_kvm = needs.features.iter().any(|feature| feature == KVM);
    let slow = host.emulates(system).filter(|_| needs_kvm);
    Ok(slow.map(|slow| format!("{}; {}", slow.found, slow.to_do)))
}

/// `HASH-NAME.drv` without what only Nix reads.
fn name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = file.strip_suffix(".drv").unwrap_or(&file);
    name.split_once('-')
        .map_or(name, |(_, name)| name)
        .to_owned()
}

/// Whether what is fetched has room in the store.
fn room(host: &NixHost, plan: &BuildPlan) -> Result<Vec<String>> {
    let Some(space) = &host.store_space else {
        return Ok(Vec::new());
    };
    let (free, store) = (space.available, host.store_dir.display());
    if let Some(unpacked) = plan.unpacked.filter(|unpacked| *unpacked > free) {
        return Err(Error::new(
            ErrorKind::Build,
            format!("the store {store} has {free} free, and what has to be fetched takes {unpacked} there"),
        )
        .with_hint(MAKE_ROOM));
    }
    if space.inodes == Some(0) {
        return Err(Error::new(
            ErrorKind::Build,
            format!("no more files can be made on the file system of the store {store}"),
        )
        .with_hint(MAKE_ROOM));
    }
    let is_little = !plan.builds.is_empty() && free < LEAST;
    Ok(is_little
        .then(|| {
            format!("the store {store} has only {free} free, and an image may not fit; {MAKE_ROOM}")
        })
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ByteSize;
    use crate::nix::host::tests::host;
    use crate::nix::{DiskSpace, KvmDevice};

    const IMAGE: &str = "/nix/store/0000-azure-image.drv";

    fn needs(system: &str, features: &[&str]) -> Derivation {
        Derivation {
            system: system.to_owned(),
            features: features.iter().map(ToString::to_string).collect(),
            ..Derivation::default()
        }
    }

    fn able_on(host: &NixHost, needs: &Derivation) -> Result<Option<String>> {
        able(host, Path::new(IMAGE), needs, true)
    }

    fn fetching(bytes: u64) -> BuildPlan {
        BuildPlan {
            unpacked: Some(ByteSize::bytes(bytes)),
            ..BuildPlan::default()
        }
    }

    #[test]
    fn what_nothing_can_build_is_refused() {
        let able = able_on;
        assert_eq!(
            able(&host(), &needs("x86_64-linux", &["kvm"])).unwrap(),
            None
        );
        assert_eq!(able(&host(), &needs("builtin", &[])).unwrap(), None);
        let error = able(&host(), &needs("aarch64-linux", &[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "azure-image cannot be built: this machine is x86_64-linux, and nothing builds for aarch64-linux"
        );
        assert!(error.hint().unwrap().contains("binfmt"));
        let error = able(&host(), &needs("x86_64-linux", &["gccarch-znver4"])).unwrap_err();
        assert!(
            error.to_string().contains("the feature gccarch-znver4"),
            "{error}"
        );
        let mut without = host();
        without.kvm = None;
        without.system_features.retain(|feature| feature != "kvm");
        let error = able(&without, &needs("x86_64-linux", &["kvm"])).unwrap_err();
        assert!(error.hint().unwrap().contains("virtualisation"));
    }

    #[test]
    fn a_build_that_will_be_slow_is_told() {
        let mut slow = host();
        slow.kvm = Some(KvmDevice::with(0o640, "kvm", false));
        let warning = able_on(&slow, &needs("x86_64-linux", &["kvm"])).unwrap();
        assert!(warning.unwrap().contains("many times slower"));
        assert_eq!(able_on(&slow, &needs("x86_64-linux", &[])).unwrap(), None);
    }

    #[test]
    fn where_nothing_is_built_small_steps_still_are() {
        let mut none = host();
        none.max_jobs = Some(0);
        let system = needs("x86_64-linux", &[]);
        let step = able(&none, Path::new("/nix/store/0-etc.drv"), &system, false);
        assert_eq!(step.unwrap(), None);
        let error = able_on(&none, &system).unwrap_err();
        assert!(error.to_string().contains("max-jobs is 0"), "{error}");
    }

    #[test]
    fn what_is_fetched_must_have_room() {
        let with = |bytes: u64, inodes: Option<u64>| {
            let mut host = host();
            host.store_space = Some(DiskSpace::with("/nix/store", bytes, inodes, 1));
            host
        };
        assert!(
            room(&with(5 << 30, None), &fetching(4 << 30))
                .unwrap()
                .is_empty()
        );
        let error = room(&with(3 << 30, None), &fetching(4 << 30)).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("has 3 GiB free, and what has to be fetched takes 4 GiB there"),
            "{error}"
        );
        room(&with(3 << 30, Some(0)), &fetching(0)).unwrap_err();
        let building = BuildPlan {
            builds: vec![PathBuf::from(IMAGE)],
            ..BuildPlan::default()
        };
        assert_eq!(room(&with(1 << 20, None), &building).unwrap().len(), 1);
    }

    #[test]
    fn the_store_of_another_machine_is_its_own_business() {
        let mut away = host();
        away.store = StoreAccess::Open {
            url: "ssh-ng://other".to_owned(),
        };
        assert!(judge(&away, &fetching(u64::MAX), None).unwrap().is_empty());
        judge(&host(), &fetching(u64::MAX), None).unwrap_err();
    }

    #[test]
    fn a_derivation_has_a_name() {
        assert_eq!(name(Path::new(IMAGE)), "azure-image");
        assert_eq!(name(Path::new("odd")), "odd");
    }
}
