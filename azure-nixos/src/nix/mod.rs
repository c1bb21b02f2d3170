//! Drive Nix: build what a user names, and find the disk image in the output.
//!
//! ```no_run
//! use azure_nixos::nix::{Installable, Nix};
//!
//! # async fn example() -> azure_nixos::Result<()> {
//! let image = Nix::new()
//!     .start(Installable::flake(".#web"), |event| println!("{event:?}"))
//!     .join()
//!     .await?;
//! println!("{} is in {}", image.image.display(), image.store_path.display());
//! # Ok(())
//! # }
//! ```
//!
//! Here live the command lines ([`Installable`] and what becomes of it), Nix's event log
//! ([`NixEvent`]), its failures in words, and the garbage collector root that holds the output while
//! it is uploaded ([`BuiltImage`]). What a disk image *is* lives in `disk`; this module only says
//! which file it is. Nothing here knows Azure.
//!
//! First something is evaluated ([`Evaluation`]), then it is built: the store path, the system and the
//! features that a build needs are known before hours go into it. Nothing is evaluated that is not on
//! the way to the image: whether a system offers `system.build.images.azure` or
//! `system.build.azureImage` is found by the names of attributes, so that another variant that does
//! not evaluate is no obstacle.

mod build;
mod command;
mod derivation;
mod evaluate;
mod evaluation;
mod event;
mod failure;
mod flake;
mod hint;
pub(crate) mod host;
mod installable;
mod log;
mod output;
mod plan;
mod preflight;
mod process;
pub(crate) mod quote;
mod root;
mod run;
mod show;
mod version;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::blocking::blocking;
use crate::handle::Work;
use crate::progress::Phase;
use crate::{Error, ErrorKind, Handle, Result};

pub use evaluation::Evaluation;
pub use event::{MessageLevel, NixEvent};
pub use host::{DiskSpace, KvmDevice, NixBuilder, NixHost, StoreAccess};
pub use installable::{Installable, InstallableSource};
pub use show::show_progress;
pub use version::{NixFlavour, NixVersion};

use command::Options;
use process::Launcher;
use root::OutLink;
use run::Run;

/// How Nix is run. It needs Nix 2.8 or newer; flakes do not have to be enabled.
///
/// The environment is inherited, and so is the configuration of Nix. Nix gets a process group of
/// its own and no terminal to ask on: an ssh key with a passphrase must be in an agent.
#[derive(Clone, Debug)]
#[must_use]
pub struct Nix {
    launcher: Launcher,
    options: Options,
    out_link: Option<PathBuf>,
}

impl Nix {
    /// The Nix on `PATH`, with no options.
    pub fn new() -> Self {
        Self {
            launcher: Launcher {
                programs: None,
                directory: None,
                environment: Vec::new(),
                // Nix tells remote builders and its daemon before it goes.
                grace: Duration::from_secs(10),
            },
            options: Options::default(),
            out_link: None,
        }
    }

    /// Takes `nix`, `nix-store` and `nix-instantiate` from this directory instead of
    /// looking for them on `PATH`.
    pub fn programs(mut self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        // Nix may be started elsewhere, and must be the same Nix there.
        self.launcher.programs = Some(std::path::absolute(&directory).unwrap_or(directory));
        self
    }

    /// What relative paths are relative to, for this library and for Nix. Default: the current
    /// directory of the process.
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.launcher.directory = Some(directory.into());
        self
    }

    /// Sets an environment variable for Nix, on top of what is inherited.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.launcher.environment.push((name.into(), value.into()));
        self
    }

    /// Puts the link to the output here and leaves it, as `nix-build --out-link` does. Default: a
    /// link in a private temporary directory, which goes with the [`BuiltImage`].
    pub fn out_link(mut self, path: impl Into<PathBuf>) -> Self {
        self.out_link = Some(path.into());
        self
    }

    /// Stops a build that writes nothing for this long, in whole seconds and at least one.
    /// Default: what nix.conf says, which is never unless it says so.
    pub fn max_silent_time(mut self, time: Duration) -> Self {
        self.options.max_silent_time = Some(time);
        self
    }

    /// Stops a build that takes longer than this, in whole seconds and at least one. Default: what
    /// nix.conf says.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.options.timeout = Some(time);
        self
    }

    /// A setting of nix.conf for these commands, as `--option NAME VALUE`.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.settings.push((name.into(), value.into()));
        self
    }

    /// How long Nix may take to stop after it was asked to, before it is killed. Default: 10
    /// seconds.
    pub fn kill_after(mut self, grace: Duration) -> Self {
        self.launcher.grace = grace;
        self
    }

    /// Builds in the background. `events` is called for everything Nix says, on the task that
    /// reads it: it must not block.
    ///
    /// The handle's progress says what is being evaluated and built, too.
    ///
    /// # Errors
    /// From [`Handle::join`]:
    /// - [`ErrorKind::InvalidInput`] and [`ErrorKind::Ambiguous`] for something that names no image,
    ///   or more than one; nothing is built then;
    /// - [`ErrorKind::NotFound`] for a file, an attribute, a host or a store path that does not
    ///   exist, and for an output without an image;
    /// - [`ErrorKind::Build`] when Nix is missing, refuses the expression, or the build fails. The
    ///   builder's last 25 lines are in the error's context.
    ///
    /// # Cancellation
    /// Nix gets SIGINT, stops its builders and is waited for; the temporary link is removed. What
    /// was built completely stays in the store.
    pub fn start(
        &self,
        what: Installable,
        events: impl Fn(NixEvent) + Send + Sync + 'static,
    ) -> Handle<BuiltImage> {
        let nix = self.clone();
        Handle::spawn(move |work| async move {
            work.progress.phase(Phase::Building, what.to_string());
            let both = with_progress(&work, events);
            let evaluation = nix.evaluate_step(&what, &both, &work.cancel).await?;
            nix.realise_step(evaluation, &both, &work.cancel).await
        })
    }

    /// Finds in the background what [`start`](Self::start) would build, and builds nothing.
    ///
    /// ```no_run
    /// use azure_nixos::nix::{Installable, Nix};
    ///
    /// # async fn example() -> azure_nixos::Result<()> {
    /// let nix = Nix::new();
    /// let evaluation = nix.evaluate(Installable::flake(".#web"), |_| {}).join().await?;
    /// if let Some(path) = evaluation.store_path() {
    ///     println!("it will be {}", path.display());
    /// }
    /// let image = nix.realise(evaluation, |_| {}).join().await?;
    /// println!("{}", image.image.display());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// From [`Handle::join`], as for [`start`](Self::start), but for what only a build shows.
    ///
    /// # Cancellation
    /// As for [`start`](Self::start).
    pub fn evaluate(
        &self,
        what: Installable,
        events: impl Fn(NixEvent) + Send + Sync + 'static,
    ) -> Handle<Evaluation> {
        let nix = self.clone();
        Handle::spawn(move |work| async move {
            work.progress.phase(Phase::Building, what.to_string());
            let both = with_progress(&work, events);
            nix.evaluate_step(&what, both, &work.cancel).await
        })
    }

    /// Builds in the background what was evaluated.
    ///
    /// # Errors
    /// From [`Handle::join`], as for [`start`](Self::start).
    ///
    /// # Cancellation
    /// As for [`start`](Self::start).
    pub fn realise(
        &self,
        evaluation: Evaluation,
        events: impl Fn(NixEvent) + Send + Sync + 'static,
    ) -> Handle<BuiltImage> {
        let nix = self.clone();
        Handle::spawn(move |work| async move {
            work.progress
                .phase(Phase::Building, evaluation.what.to_string());
            let both = with_progress(&work, events);
            nix.realise_step(evaluation, both, &work.cancel).await
        })
    }

    /// Evaluates as a step of a larger operation; see [`evaluate`](Self::evaluate) for the errors.
    ///
    /// # Cancellation
    /// When `cancel` is cancelled Nix gets SIGINT and is waited for. When the future is dropped it
    /// gets SIGINT and nobody waits.
    pub(crate) async fn evaluate_step(
        &self,
        what: &Installable,
        events: impl Fn(NixEvent) + Send + Sync,
        cancel: &CancellationToken,
    ) -> Result<Evaluation> {
        let run = Run::new(self, what, &events, cancel)?;
        // The state is large for a future that is moved around.
        Box::pin(run.evaluate())
            .await
            .map_err(|error| error.with_operation("nix build"))
    }

    /// Builds as a step of a larger operation; see [`start`](Self::start) for the errors.
    ///
    /// # Cancellation
    /// As for [`evaluate_step`](Self::evaluate_step).
    pub(crate) async fn realise_step(
        &self,
        evaluation: Evaluation,
        events: impl Fn(NixEvent) + Send + Sync,
        cancel: &CancellationToken,
    ) -> Result<BuiltImage> {
        let what = evaluation.what.clone();
        let run = Run::new(self, &what, &events, cancel)?;
        Box::pin(run.realise(evaluation))
            .await
            .map_err(|error| error.with_operation("nix build"))
    }

    /// Keeps an image from being collected as garbage for as long as this link is there, even when the
    /// [`BuiltImage`] is dropped. The directory of the link is made when it does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::Build`] when Nix refuses, [`ErrorKind::InvalidInput`] when something that is no link
    /// is in the way.
    ///
    /// # Cancellation
    /// The link may be there or not when the future is dropped.
    pub async fn hold(&self, image: &BuiltImage, link: &Path) -> Result<()> {
        let what = Installable::store_path(&image.store_path);
        let never = CancellationToken::new();
        let run = Run::new(self, &what, &|_| {}, &never)?;
        let parent = run.base.join(link);
        blocking(move || match parent.parent() {
            Some(parent) => std::fs::create_dir_all(parent)
                .map_err(|error| Error::io("make the directory", parent, error)),
            None => Ok(()),
        })
        .await?;
        let link = run.link(Some(link.to_owned())).await?;
        let command = command::realise(&image.store_path, &self.options, link.path());
        run.succeed(&command).await.map(drop)
    }

    /// Which Nix this is.
    ///
    /// # Errors
    /// [`ErrorKind::Build`] when there is none, or it does not say.
    pub async fn version(&self) -> Result<NixVersion> {
        let finished = self
            .launcher
            .run(&command::version(), &|_| {}, &CancellationToken::new())
            .await?;
        let text = String::from_utf8_lossy(&finished.stdout);
        NixVersion::parse(&text).ok_or_else(|| {
            Error::new(
                ErrorKind::Build,
                format!("nix does not say which version it is: {}", text.trim()),
            )
        })
    }
}

/// A listener that shows what Nix does in the progress of the work, too.
fn with_progress(
    work: &Work,
    events: impl Fn(NixEvent) + Send + Sync + 'static,
) -> impl Fn(NixEvent) + Send + Sync + 'static {
    let show = show_progress(work.progress.clone());
    move |event: NixEvent| {
        show(event.clone());
        events(event);
    }
}

impl Default for Nix {
    fn default() -> Self {
        Self::new()
    }
}

/// A disk image in the Nix store.
///
/// As long as this value lives the garbage collector leaves the image alone. Dropping it removes
/// the temporary link that says so; [`keep`](Self::keep) and [`Nix::out_link`] leave it.
#[derive(Debug)]
#[must_use = "the garbage collector may take the image once this is dropped"]
#[non_exhaustive]
pub struct BuiltImage {
    /// The output of the build. It names the content: the same path is the same image.
    pub store_path: PathBuf,
    /// The image: a file in the output, or the output itself.
    pub image: PathBuf,
    root: Option<OutLink>,
}

impl BuiltImage {
    /// The link that keeps the output, or `None` when there is no Nix to respect it.
    #[must_use]
    pub fn out_link(&self) -> Option<&Path> {
        self.root.as_ref().map(OutLink::path)
    }

    /// Leaves the link when this value is dropped, for a later run to find the output still there.
    pub fn keep(&mut self) {
        if let Some(root) = &mut self.root {
            root.keep();
        }
    }
}
