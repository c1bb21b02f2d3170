//! From the source of an image to a disk image that is open: evaluated, built, looked at, and held
//! until it has arrived.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blocking::blocking;
use crate::disk::{
    Architecture, DiskImage, DiskSource as _, Generations, OpenOptions, OpenedImage, Opening,
    Severity, limits,
};
use crate::handle::Work;
use crate::nix::{self, BuiltImage, Evaluation, Installable, Nix};
use crate::progress::Phase;
use crate::quote::path_for_shell;
use crate::{Error, ErrorKind, Result};

/// What Nix calls the system of Arm64 machines.
const ARM64_LINUX: &str = "aarch64-linux";

/// Below the directory of journals: links that hold images whose upload can be gone on with.
const HELD: &str = "held";

/// Finds what Nix would build.
pub(super) async fn evaluate(nix: &Nix, what: &Installable, work: &Work) -> Result<Evaluation> {
    let show = nix::show_progress(work.progress.clone());
    nix.evaluate_step(what, show, &work.cancel).await
}

/// A disk image that Azure would take.
pub(super) struct Opened {
    pub(super) file: PathBuf,
    pub(super) image: Arc<DiskImage>,
    pub(super) generations: Generations,
    pub(super) architecture: Option<Architecture>,
    /// What its content is named by, where that need not be computed.
    pub(super) known_identity: Option<String>,
    pub(super) warnings: Vec<String>,
    pub(super) built: Option<BuiltImage>,
}

impl Opened {
    /// Builds what was evaluated, and opens it.
    pub(super) async fn built(
        nix: &Nix,
        evaluation: Evaluation,
        open: OpenOptions,
        work: &Work,
    ) -> Result<Self> {
        let show = nix::show_progress(work.progress.clone());
        let built = nix.realise_step(evaluation, show, &work.cancel).await?;
        let opening = Opening::new(built.image.clone()).options(open);
        let detail = built.image.display().to_string();
        let image = opening.run(work, Phase::Inspecting, &detail).await?;
        let mut opened = Self::of(&image)?;
        opened.known_identity = Some(built.store_path.display().to_string());
        opened.built = Some(built);
        Ok(opened)
    }

    /// A disk image that was looked at, unless Azure would refuse an image of it.
    pub(super) fn of(opened: &OpenedImage) -> Result<Self> {
        // Says everything that is wrong in the same words as `inspect` does.
        let image = opened.image()?;
        let inspection = opened.inspection();
        limits::check_os_disk_size(image.virtual_size())?;
        check_architecture(&inspection.path, inspection.architecture)?;
        let warnings = inspection
            .findings
            .iter()
            .filter(|finding| finding.severity == Severity::Warning)
            .map(|finding| format!("{}: {}", finding.what, finding.remedy))
            .collect();
        Ok(Self {
            file: inspection.path.clone(),
            generations: inspection.generations,
            architecture: inspection.architecture,
            image,
            known_identity: None,
            warnings,
            built: None,
        })
    }
}

/// Refuses what Azure has no managed images of. It would say so itself when all was uploaded.
fn check_architecture(path: &Path, architecture: Option<Architecture>) -> Result<()> {
    if architecture != Some(Architecture::Arm64) {
        return Ok(());
    }
    Err(no_managed_image(
        format!("{} is for Arm64", path.display()),
        format!(
            "upload it as a managed disk (`azure-nixos upload-vhd {} -g GROUP -n DISK`)",
            path_for_shell(path)
        ),
    ))
}

/// The same for what Nix would build, before hours go into it.
pub(super) fn check_platform(what: &Installable, evaluation: &Evaluation) -> Result<()> {
    let platform = evaluation.platform.as_deref();
    let Some(platform) = platform.filter(|platform| *platform == ARM64_LINUX) else {
        return Ok(());
    };
    Err(no_managed_image(
        format!("{what} is for Arm64 (its hostPlatform is {platform})"),
        "build it with Nix, upload the disk image as a managed disk (`azure-nixos upload-vhd FILE -g GROUP -n DISK`)"
            .to_owned(),
    ))
}

fn no_managed_image(what: String, how: String) -> Error {
    Error::new(
        ErrorKind::InvalidImage,
        format!("{what}, and Azure has managed images for x64 only"),
    )
    .with_context(
        "Azure would say",
        "OperationNotAllowed, after the whole upload",
    )
    .with_hint(format!(
        "{how} and boot that (`azure-nixos boot-vm -i ID-OF-THE-DISK -s Standard_D2ps_v5`), or make a version of a \
         gallery's image definition for Arm64 from the disk"
    ))
}

/// An image of Nix's that the garbage collector has to leave alone until it has arrived.
pub(super) struct Held {
    built: Option<BuiltImage>,
    nix: Nix,
    /// What holds it from one run to the next, where there is a place for that.
    link: Option<PathBuf>,
}

impl Held {
    pub(super) fn new(built: Option<BuiltImage>, nix: &Nix, journals: Option<&Path>) -> Self {
        let name = built
            .as_ref()
            .and_then(|built| built.store_path.file_name());
        let link = journals
            .zip(name)
            .map(|(journals, name)| journals.join(HELD).join(name));
        Self {
            link,
            built,
            nix: nix.clone(),
        }
    }

    /// Lets the garbage collector have the image again.
    pub(super) async fn let_go(self) {
        let (built, link) = (self.built, self.link);
        // A link that cannot be removed holds disk space and nothing else.
        let _ = blocking(move || {
            drop(built);
            match link.map(std::fs::remove_file) {
                Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::debug!("an image stays in the store longer than it has to: {error}");
                }
                _ => {}
            }
            Ok::<_, Error>(())
        })
        .await;
    }

    /// Holds the image for a later run, which then need not build it again.
    pub(super) async fn for_later(self) {
        if let (Some(built), Some(link)) = (&self.built, &self.link)
            && built.out_link().is_some()
            && let Err(error) = self.nix.hold(built, link).await
        {
            tracing::warn!(
                "{} may be collected as garbage before its upload is gone on with: {error}",
                built.store_path.display()
            );
        }
        // The link of this run goes, that one stays.
        let this_run = Self { link: None, ..self };
        this_run.let_go().await;
    }
}
