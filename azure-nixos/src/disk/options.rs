//! What a caller says beside the path of an image.

use std::path::PathBuf;

use crate::ByteSize;

/// How to open an image.
///
/// ```no_run
/// use azure_nixos::disk::{DiskImage, OpenOptions};
///
/// let options = OpenOptions::new().backing_file("base.qcow2");
/// let image = DiskImage::open_with("web.qcow2", &options)?;
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The images below one that holds only differences, the nearest first. What the image itself
    /// says of where they are is never followed. Default: none.
    pub backing_files: Vec<PathBuf>,
    /// Whether damage is mended that leaves the disk whole: a VHD footer that is missing, inside the
    /// file, or damaged itself. It is done while the image is read; the file stays as it is. What cannot
    /// be mended without guessing is refused all the same. Default: no.
    pub repair: bool,
    /// The size that the disk must have. An image of another is refused, and of a compressed one no more
    /// is unpacked than that, where it does not say itself how much it holds. Default: any that
    /// Azure has.
    pub virtual_size: Option<ByteSize>,
    /// Whether the pass that opens a compressed image names its content on the way, see
    /// [`known_identity`](super::DiskSource::known_identity). It hashes all data; who converts the
    /// image or writes it to a URL needs no name. Without, and for any other image, the name is found
    /// by a pass of its own when it is asked for. Default: yes.
    pub identity: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            backing_files: Vec::new(),
            repair: false,
            virtual_size: None,
            identity: true,
        }
    }
}

impl OpenOptions {
    /// No backing files, nothing repaired.
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

    /// Whether damage is mended that leaves the disk whole, see [`repair`](Self::repair).
    ///
    /// ```no_run
    /// use azure_nixos::disk::{DiskImage, OpenOptions};
    ///
    /// // Enlarged after it was converted: refused without.
    /// let image = DiskImage::open_with("nixos.vhd", &OpenOptions::new().repair(true))?;
    /// # Ok::<(), azure_nixos::Error>(())
    /// ```
    #[must_use]
    pub fn repair(mut self, repair: bool) -> Self {
        self.repair = repair;
        self
    }

    /// The size that the disk must have, see [`virtual_size`](Self::virtual_size).
    #[must_use]
    pub fn virtual_size(mut self, size: impl Into<Option<ByteSize>>) -> Self {
        self.virtual_size = size.into();
        self
    }

    /// Whether a compressed image's content is named while it is opened, see
    /// [`identity`](Self::identity).
    #[must_use]
    pub fn identity(mut self, identity: bool) -> Self {
        self.identity = identity;
        self
    }
}
