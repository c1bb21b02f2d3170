//! The front door: a file in, a [`DiskSource`] out, or the reason why not.

use std::ops::Range;
use std::path::Path;

use super::detect::{Detection, Layout, detect};
use super::file::ImageFile;
use super::finding::Finding;
use super::format::Format;
use super::mend::Mended;
use super::options::OpenOptions;
#[cfg(feature = "qcow2")]
use super::qcow2::{self, Qcow2};
use super::raw::RawImage;
use super::source::{DiskSource, Stored};
use super::stream::StreamImage;
use super::vhd::{DynamicVhd, FixedVhd};
use super::vhdx::Vhdx;
use super::watch::Watch;
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
    Mended(Mended),
    Stream(Box<StreamImage>),
    FixedVhd(Box<FixedVhd>),
    DynamicVhd(DynamicVhd),
    Vhdx(Box<Vhdx>),
    #[cfg(feature = "qcow2")]
    Qcow2(Box<Qcow2>),
}

impl Content {
    /// The disk in a file in which nothing wrong was found.
    fn new(file: ImageFile, found: &mut Detection, options: &OpenOptions) -> Result<Self> {
        if let Some(layout) = found.layout.take() {
            return Self::with_layout(file, layout, options);
        }
        no_backing(&file, options)?;
        Ok(match (found.format, found.footer) {
            (Format::Raw, _) => Self::Raw(RawImage::new(file)),
            (Format::FixedVhd, Some((size, footer))) => {
                Self::FixedVhd(Box::new(FixedVhd::new(file, size, footer)))
            }
            (format, _) => {
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

    fn with_layout(file: ImageFile, layout: Layout, options: &OpenOptions) -> Result<Self> {
        if !layout.can_have_backing() {
            no_backing(&file, options)?;
        }
        Ok(match layout {
            Layout::Mended(layout) => Self::Mended(Mended::new(file, layout)),
            Layout::Stream(layout) => Self::Stream(Box::new(StreamImage::new(file, *layout))),
            Layout::DynamicVhd(layout) => Self::DynamicVhd(DynamicVhd::new(file, layout)),
            Layout::Vhdx(layout) => Self::Vhdx(Box::new(Vhdx::new(file, *layout))),
            #[cfg(feature = "qcow2")]
            Layout::Qcow2(layout) => {
                let below = below(&file, &layout, options)?;
                Self::Qcow2(Box::new(Qcow2::new(file, *layout, below)))
            }
        })
    }
}

/// Fails when a backing file is named for an image that has none.
fn no_backing(file: &ImageFile, options: &OpenOptions) -> Result<()> {
    match options.backing_files.first() {
        None => Ok(()),
        Some(path) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{} has no backing file, but {} is named as one",
                file.path().display(),
                path.display()
            ),
        )
        .with_hint("name as many backing files as there are images below, the nearest first")),
    }
}

/// The disk below a qcow2 image: the first of the files that the caller names, over the others.
#[cfg(feature = "qcow2")]
fn below(
    file: &ImageFile,
    layout: &qcow2::Layout,
    options: &OpenOptions,
) -> Result<Option<Box<dyn DiskSource>>> {
    if !layout.has_backing() {
        no_backing(file, options)?;
        return Ok(None);
    }
    let Some((path, rest)) = options.backing_files.split_first() else {
        return Ok(None);
    };
    let mut rest_of = OpenOptions::new();
    rest_of.backing_files = rest.to_vec();
    // What a guest wrote to a raw image can look like any format.
    if layout.backing_format() == Some("raw") {
        let image = RawImage::open(path)?;
        no_backing(image.file(), &rest_of)?;
        return Ok(Some(Box::new(image)));
    }
    let image = DiskImage::open_with(path, &rest_of)?;
    if layout.backing_format() == Some("qcow2") && image.format() != Format::Qcow2 {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!(
                "{} was made on a qcow2 image, but {} is a {} image",
                file.path().display(),
                path.display(),
                image.format()
            ),
        )
        .with_hint("name the backing file that it was made on"));
    }
    Ok(Some(Box::new(image)))
}

/// The disk in a file of a format with a block table.
pub(super) fn with_layout(
    file: ImageFile,
    layout: Layout,
    options: &OpenOptions,
) -> Result<Box<dyn DiskSource>> {
    Ok(match Content::with_layout(file, layout, options)? {
        Content::Raw(image) => Box::new(image),
        Content::Mended(image) => Box::new(image),
        Content::Stream(image) => image,
        Content::FixedVhd(image) => image,
        Content::DynamicVhd(image) => Box::new(image),
        Content::Vhdx(image) => image,
        #[cfg(feature = "qcow2")]
        Content::Qcow2(image) => image,
    })
}

impl DiskImage {
    /// Opens a disk image. What it is, is told by its content, never by its name.
    ///
    /// # Errors
    /// As [`ImageFile::open`], and [`ErrorKind::InvalidImage`] when the file is of a format that
    /// is not read, or damaged; the hint says what to do about it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &OpenOptions::new())
    }

    /// The same, over the backing files that the caller names.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ErrorKind::InvalidInput`] when the image, or one of those
    /// below it, has no backing file and one is named for it.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let file = ImageFile::open(path)?;
        let mut found = detect(&file, options, &Watch::default())?;
        let (problems, notes): (Vec<_>, Vec<_>) = std::mem::take(&mut found.findings)
            .into_iter()
            .partition(Finding::is_problem);
        if let Some(problem) = problems.into_iter().next() {
            return Err(problem.into());
        }
        Self::of(file, found, notes, options)
    }

    /// The disk in a file in which nothing wrong was found, and what was found all the same.
    pub(super) fn of(
        file: ImageFile,
        mut found: Detection,
        notes: Vec<Finding>,
        options: &OpenOptions,
    ) -> Result<Self> {
        let content = Content::new(file, &mut found, options)?;
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
            Content::Mended(image) => image.file(),
            Content::Stream(image) => image.file(),
            Content::FixedVhd(image) => image.file(),
            Content::DynamicVhd(image) => image.file(),
            Content::Vhdx(image) => image.file(),
            #[cfg(feature = "qcow2")]
            Content::Qcow2(image) => image.file(),
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
            Content::Mended(image) => image,
            Content::Stream(image) => image.as_ref(),
            Content::FixedVhd(image) => image.as_ref(),
            Content::DynamicVhd(image) => image,
            Content::Vhdx(image) => image.as_ref(),
            #[cfg(feature = "qcow2")]
            Content::Qcow2(image) => image.as_ref(),
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

    fn stored_at(&self, offset: u64) -> Result<Option<Stored<'_>>> {
        self.source().stored_at(offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.source().read_exact_at(buffer, offset)
    }

    fn is_sequential(&self) -> bool {
        self.source().is_sequential()
    }

    fn known_identity(&self) -> Option<String> {
        self.source().known_identity()
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
