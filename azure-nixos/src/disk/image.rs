//! The front door: a file in, a [`DiskSource`] out, or the reason why not.

use std::ops::Range;
use std::path::Path;

use super::detect::{Detection, Layout, detect};
use super::file::ImageFile;
use super::finding::Finding;
use super::format::Format;
use super::raw::RawImage;
use super::source::DiskSource;
use super::vhd::{DynamicVhd, FixedVhd};
use super::vhdx::Vhdx;
use crate::{Error, ErrorKind, Result};

/// A disk image file of any format that is read here.
///
/// ```no_run
/// use azure_nixos::disk::{DiskImage, DiskSource};
///
/// let image = DiskImage::open("result/nixos.vhd")?;
/// println!("{} of {} bytes", image.format(), image.virtual_size());
/// # Ok::<(), azure_nixos::Error>(())
/// ```
#[derive(Debug)]
pub struct DiskImage {
    format: Format,
    content: Content,
    notes: Vec<Finding>,
}

#[derive(Debug)]
enum Content {
    Raw(RawImage),
    FixedVhd(Box<FixedVhd>),
    DynamicVhd(DynamicVhd),
    Vhdx(Box<Vhdx>),
}

impl Content {
    /// The disk in a file in which nothing wrong was found.
    fn new(file: ImageFile, found: &mut Detection) -> Result<Self> {
        Ok(match (found.layout.take(), found.format, found.footer) {
            (Some(layout), ..) => Self::with_layout(file, layout),
            (None, Format::Raw, _) => Self::Raw(RawImage::new(file)),
            (None, Format::FixedVhd, Some((size, footer))) => {
                Self::FixedVhd(Box::new(FixedVhd::new(file, size, footer)))
            }
            (None, format, _) => {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!(
                        "{} was found to be {format} and no reason not to read it",
                        file.path().display()
                    ),
                ));
            }
        })
    }

    fn with_layout(file: ImageFile, layout: Layout) -> Self {
        match layout {
            Layout::DynamicVhd(layout) => Self::DynamicVhd(DynamicVhd::new(file, layout)),
            Layout::Vhdx(layout) => Self::Vhdx(Box::new(Vhdx::new(file, *layout))),
        }
    }
}

/// The disk in a file of a format with a block table.
pub(super) fn with_layout(file: ImageFile, layout: Layout) -> Box<dyn DiskSource> {
    match Content::with_layout(file, layout) {
        Content::Raw(image) => Box::new(image),
        Content::FixedVhd(image) => image,
        Content::DynamicVhd(image) => Box::new(image),
        Content::Vhdx(image) => image,
    }
}

impl DiskImage {
    /// Opens a disk image. What it is, is told by its content, never by its name.
    ///
    /// # Errors
    /// As [`ImageFile::open`], and [`ErrorKind::InvalidImage`] when the file is of a format that
    /// is not read, or damaged; the hint says what to do about it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = ImageFile::open(path)?;
        let mut found = detect(&file)?;
        let (problems, notes): (Vec<_>, Vec<_>) = std::mem::take(&mut found.findings)
            .into_iter()
            .partition(Finding::is_problem);
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem.into());
        }
        let content = Content::new(file, &mut found)?;
        Ok(Self {
            format: found.format,
            content,
            notes,
        })
    }

    /// What the file is.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The file below.
    #[must_use]
    pub fn file(&self) -> &ImageFile {
        match &self.content {
            Content::Raw(image) => image.file(),
            Content::FixedVhd(image) => image.file(),
            Content::DynamicVhd(image) => image.file(),
            Content::Vhdx(image) => image.file(),
        }
    }

    /// What there is to say about the file that does not stand in the way.
    #[must_use]
    pub fn notes(&self) -> &[Finding] {
        &self.notes
    }

    fn source(&self) -> &dyn DiskSource {
        match &self.content {
            Content::Raw(image) => image,
            Content::FixedVhd(image) => image.as_ref(),
            Content::DynamicVhd(image) => image,
            Content::Vhdx(image) => image.as_ref(),
        }
    }
}

impl DiskSource for DiskImage {
    fn virtual_size(&self) -> u64 {
        self.source().virtual_size()
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        self.source().next_extent(from)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.source().read_exact_at(buffer, offset)
    }

    fn identity(&self) -> Result<String> {
        self.source().identity()
    }

    fn footer(&self) -> Result<Option<[u8; 512]>> {
        self.source().footer()
    }

    fn fingerprint(&self) -> Result<String> {
        self.source().fingerprint()
    }
}
