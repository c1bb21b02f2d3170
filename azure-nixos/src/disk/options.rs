//! What a caller says beside the path of an image.

use std::path::PathBuf;

/// How to open an image.
///
/// ```no_run
/// use azure_nixos::disk::{DiskImage, OpenOptions};
///
/// let options = OpenOptions::new().backing_file("base.qcow2");
/// let image = DiskImage::open_with("web.qcow2", &options)?;
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The images below one that holds only differences, the nearest first. What the image itself
    /// says of where they are is never followed. Default: none.
    pub backing_files: Vec<PathBuf>,
}

impl OpenOptions {
    /// No backing files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the image below, or the one below the last that was added. It must be what the image
    /// above was made on; nothing can check that.
    #[must_use]
    pub fn backing_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.backing_files.push(path.into());
        self
    }
}
