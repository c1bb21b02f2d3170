//! From the source of an image to a disk image that is open: evaluated, built, looked at, and held
//! until it has arrived.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blocking::blocking;
use crate::disk::{
    self, Architecture, DiskImage, DiskSource as _, Generations, InspectOptions, OpenOptions,
    Severity, limits,
};
use crate::handle::Work;
use crate::nix::{self, BuiltImage, Evaluation, Installable, Nix};
use crate::quote::path_for_shell;
use crate::{Error, ErrorKind, Result};

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
        let mut opened = Self::file(built.image.clone(), open).await?;
        opened.known_identity = Some(built.store_path.display().to_string());
        opened.built = Some(built);
        Ok(opened)
    }

    /// Opens a disk image and refuses what Azure would refuse.
    pub(super) async fn file(path: PathBuf, options: OpenOptions) -> Result<Self> {
        blocking(move || {
            // Says everything that is wrong in the same words as `inspect` does.
            let (inspection, image) = disk::examine(&path, InspectOptions::quick(), &options)?;
            inspection.check()?;
            let image = image.ok_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    "a disk image that is right was not opened",
                )
            })?;
            limits::check_os_disk_size(image.virtual_size())?;
            check_architecture(&path, inspection.architecture)?;
            let warnings = inspection
                .findings
                .iter()
                .filter(|finding| finding.severity == Severity::Warning)
                .map(|finding| format!("{}: {}", finding.what, finding.remedy))
                .collect();
            Ok(Self {
                file: path,
                generations: inspection.generations,
                architecture: inspection.architecture,
                image: Arc::new(image),
                known_identity: None,
                warnings,
                built: None,
            })
        })
        .await
    }
}

/// Refuses what Azure has no managed images of. It would say so itself when all was uploaded.
fn check_architecture(path: &Path, architecture: Option<Architecture>) -> Result<()> {
    if architecture != Some(Architecture::Arm64) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidImage,
        format!(
            "{} is for Arm64, and Azure has managed images for x64 only",
            path.display()
        ),
    )
    .with_context(
        "Azure would say",
        "OperationNotAllowed, after the whole upload",
    )
    .with_hint(format!(
        "upload it as a managed disk (`azure-nixos upload-vhd {} -g GROUP -n DISK`) and boot that (`azure-nixos \
         boot-vm -i ID-OF-THE-DISK -s Standard_D2ps_v5`), or make a version of a gallery's image definition \
         for Arm64 from the disk",
        path_for_shell(path)
    )))
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
