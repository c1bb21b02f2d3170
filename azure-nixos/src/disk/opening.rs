//! Opening a disk image in the background: with progress, and to be cancelled.
//!
//! Most formats are open after some sectors. A compressed image is unpacked once for that, and a whole
//! look reads all data: both take as long as the file is large.

use std::future::{Future, IntoFuture};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::image::DiskImage;
use super::inspect::{InspectOptions, Inspection, examine};
use super::options::OpenOptions;
use super::watch::Watch;
use crate::blocking::blocking;
use crate::handle::{Handle, Work};
use crate::progress::Phase;
use crate::{Error, ErrorKind, Result};

/// Progress is told this often.
const TICK: Duration = Duration::from_millis(100);

/// Opens a disk image of any format, and says what there is to say about it.
///
/// What [`DiskImage::open`] and [`inspect`](super::inspect()) do on this thread, on one of its own. Await
/// it, or [`start`](Self::start) it for progress and cancellation.
///
/// ```no_run
/// use azure_nixos::disk::Opening;
///
/// # async fn example() -> azure_nixos::Result<()> {
/// let opened = Opening::new("web.raw.xz").await?;
/// println!("{}", opened.inspection().generations);
/// let image = opened.image()?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancellation
/// Cancelling, and dropping the handle or the future, stops the thread that reads within some 4 MiB.
#[derive(Clone, Debug)]
#[must_use = "nothing is opened until it is awaited or started"]
pub struct Opening {
    path: PathBuf,
    options: OpenOptions,
    look: InspectOptions,
}

/// A disk image that was looked at, and is open unless something is wrong with it. Clones share the
/// open file.
#[derive(Clone, Debug)]
pub struct OpenedImage {
    inspection: Inspection,
    image: Option<Arc<DiskImage>>,
}

impl OpenedImage {
    /// What is known about it.
    #[must_use]
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// The image, to be read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidImage`] when something is wrong with it: the first problem of the
    /// [`inspection`](Self::inspection), with what to do as its hint.
    pub fn image(&self) -> Result<Arc<DiskImage>> {
        self.inspection.check()?;
        self.image.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                "a disk image that is right was not opened",
            )
        })
    }
}

impl Opening {
    /// Opens this file. What it is, is told by its content.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            options: OpenOptions::new(),
            look: InspectOptions::quick(),
        }
    }

    /// How it is opened; by default without backing files.
    pub fn options(mut self, options: OpenOptions) -> Self {
        self.options = options;
        self
    }

    /// How closely to look; by default no more than it takes to open it.
    pub fn look(mut self, look: InspectOptions) -> Self {
        self.look = look;
        self
    }

    /// Starts it on the current tokio runtime. The handle's result is an error when the file cannot be
    /// read; what is wrong with what is in it is told by [`OpenedImage::image`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Handle<OpenedImage> {
        Handle::spawn(|work| async move {
            let detail = self.path.display().to_string();
            self.run(&work, Phase::Inspecting, &detail).await
        })
    }

    /// The same as a part of other work, which is told of when it takes a while.
    pub(crate) async fn run(self, work: &Work, phase: Phase, detail: &str) -> Result<OpenedImage> {
        follow(work, phase, detail, move |watch| {
            let (inspection, image) = examine(&self.path, self.look, &self.options, watch)?;
            Ok(OpenedImage {
                inspection,
                image: image.map(Arc::new),
            })
        })
        .await
    }
}

impl IntoFuture for Opening {
    type Output = Result<OpenedImage>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.start().join().await })
    }
}

/// Waits for a look on a thread of its own, and tells how far it is. A cancelled one is waited for too: it
/// ends soon, and then nothing goes on unseen.
pub(crate) async fn follow<T: Send + 'static>(
    work: &Work,
    phase: Phase,
    detail: &str,
    look: impl FnOnce(&Watch) -> Result<T> + Send + 'static,
) -> Result<T> {
    let watch = Watch::new(work.cancel.clone());
    let theirs = watch.clone();
    let mut looking = Box::pin(blocking(move || look(&theirs)));
    let mut tick = tokio::time::interval(TICK);
    // The first is due at once: what is quick needs no progress.
    tick.tick().await;
    let mut is_told = false;
    loop {
        tokio::select! {
            biased;
            result = &mut looking => return result,
            _ = tick.tick() => {
                if let Some(reading) = watch.reading() {
                    if !is_told {
                        work.progress.phase(phase, detail);
                        is_told = true;
                    }
                    work.progress.reading(reading);
                }
            }
        }
    }
}
