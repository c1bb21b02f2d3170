//! Raw images and fixed VHDs that are compressed with gzip, xz or zstd.
//!
//! A compressed stream has no random access. It is unpacked once to find out what is in it
//! ([`survey`]), and once more by whoever reads it, from the front to the back. Neither needs a file
//! or memory of the size of the disk.

mod decode;
mod map;
mod survey;
#[cfg(test)]
#[cfg(all(feature = "gzip", feature = "xz", feature = "zstd"))]
mod tests;

use std::fmt;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::decode::{Position, Unpacked};
use self::survey::Survey;
use super::fault::{Fault, ONLY_FIXED};
use super::file::ImageFile;
use super::finding::{Finding, FindingKind, Severity};
use super::format::Format;
use super::limits::{MAX_DISK, SECTOR, padded_size};
use super::options::OpenOptions;
use super::source::{DiskSource, check_range};
use super::vhd::{DiskType, Footer, FooterDefect};
use super::watch::Watch;
use crate::{Error, ErrorKind, Result};

/// Bytes that are unpacked at a time to get past them.
const SKIP: u64 = 256 << 10;

/// What is in a compressed file.
#[derive(Debug)]
pub(super) struct Layout {
    /// How it is compressed.
    format: Format,
    /// Raw or a fixed VHD.
    pub(super) inside: Format,
    /// Bytes of the disk.
    pub(super) size: u64,
    /// The footer that is right for the content, if it has one.
    pub(super) footer: Option<Footer>,
    survey: Survey,
    /// What there is to say that does not stand in the way.
    pub(super) notes: Vec<Finding>,
}

impl Layout {
    /// Bytes of the disk in pages that are not zero.
    pub(super) fn nonzero(&self) -> u64 {
        self.survey.nonzero
    }
}

/// Whether this program was built to read images that are compressed like this.
pub(super) fn is_built_in(format: Format) -> bool {
    decode::is_built_in(format)
}

/// Unpacks a file to see what is in it.
pub(super) fn read(
    file: &ImageFile,
    format: Format,
    options: &OpenOptions,
    watch: &Watch,
) -> Result<Layout, Fault> {
    let most = options
        .virtual_size
        .map_or(MAX_DISK, crate::ByteSize::as_u64);
    let survey = survey::survey(file, format, most, options.identity, watch)?;
    let mut layout = Layout {
        format,
        inside: Format::Raw,
        size: survey.disk,
        footer: None,
        survey,
        notes: Vec::new(),
    };
    if let Some(refusal) = layout.judge(file, options) {
        return Err(refusal.into());
    }
    if options.virtual_size.is_none() && !says_its_size(file, format)? {
        layout.notes.push(Finding::new(
            Severity::Note,
            FindingKind::UnknownSize,
            format!(
                "{} does not say how much it holds, and was unpacked to find out",
                file.path().display()
            ),
            "nothing to do; one that holds more than it should is refused when its size is said: --virtual-size",
        ));
    }
    Ok(layout)
}

/// How a disk image is had of what cannot be read compressed.
fn unpacking(outer: Format, inner: Format, path: &Path) -> String {
    if matches!(inner, Format::Tar | Format::Ova) {
        // tar unpacks what is compressed by itself.
        return inner.remedy(path);
    }
    let unpack = format!("unpack it ({})", outer.conversion(path));
    if inner.is_read() || is_built_in(inner) {
        return format!("{unpack} and use the result");
    }
    format!("{unpack}, and then {}", inner.remedy(Path::new("disk.img")))
}

/// Whether it says in its headers how much it holds. An xz file does at its end; that of gzip is the
/// rest of a division by 4 GiB.
fn says_its_size(file: &ImageFile, format: Format) -> Result<bool> {
    let mut head = [0; 5];
    if format == Format::Zstd && file.length() > head.len() as u64 {
        file.read_exact_at(&mut head, 0)?;
        // The two highest bits say how long the size is, 0 that it is left out, unless the third
        // says that the frame is one segment.
        return Ok(head[4] & 0b1110_0000 != 0);
    }
    Ok(format == Format::Xz)
}

impl Layout {
    /// Finds out what the content is. What it cannot be is refused.
    fn judge(&mut self, file: &ImageFile, options: &OpenOptions) -> Option<Finding> {
        let name = file.path().display();
        let wrong = |kind, what: String, remedy: String| {
            Some(Finding::problem(kind, what, remedy).azure(ONLY_FIXED))
        };
        let length = self.survey.length;
        let inner = if self.survey.head.starts_with(&Footer::COOKIE) {
            Some(Format::DynamicVhd)
        } else {
            Format::by_magic(&self.survey.head)
        };
        if let Some(inner) = inner {
            return wrong(
                FindingKind::UnsupportedFormat,
                if inner.is_compressed() {
                    format!(
                        "{name} is compressed twice: with {}, and what comes out with {inner}",
                        self.format
                    )
                } else {
                    format!(
                        "{name} is {}, compressed with {}: it would have to be read in another order than \
                         it is packed",
                        inner.noun(),
                        self.format
                    )
                },
                unpacking(self.format, inner, file.path()),
            );
        }
        if length == 0 || !length.is_multiple_of(SECTOR) {
            return wrong(
                FindingKind::UnalignedSize,
                format!(
                    "{name} holds {length} bytes, which is no whole number of 512-byte sectors: it \
                     is not a disk image"
                ),
                "look whether this is the right file".to_owned(),
            );
        }
        let bytes = self.survey.footer()?;
        self.inside = Format::FixedVhd;
        let footer = Footer::parse(bytes).and_then(|footer| {
            footer.check_fixed(self.size)?;
            Ok(footer)
        });
        match footer {
            Ok(footer) => self.footer = Some(footer),
            Err(defect) => {
                let unchecked = Footer::unchecked(bytes);
                let whole = matches!(defect, FooterDefect::Checksum { .. })
                    && unchecked.disk_type() == DiskType::Fixed
                    && unchecked.current_size() == self.size;
                let what = format!("the VHD footer in {name} {defect}");
                if !(whole && options.repair) {
                    let remedy = if whole {
                        "build or fetch the image again; or let the footer be made anew: --repair"
                    } else {
                        "build or fetch the image again"
                    };
                    return wrong(FindingKind::DamagedFooter, what, remedy.to_owned());
                }
                self.notes.push(Finding::warning(
                    FindingKind::DamagedFooter,
                    what,
                    "repaired on the way: the bytes before it are the disk, and get a new footer",
                ));
            }
        }
        if self.size == 0 {
            return wrong(
                FindingKind::Truncated,
                format!("{name} holds a VHD footer and nothing else"),
                "build or fetch the image again".to_owned(),
            );
        }
        None
    }
}

/// A disk that is unpacked while it is read.
pub(super) struct StreamImage {
    file: Arc<ImageFile>,
    layout: Layout,
    /// Where the last read left off.
    cursor: Mutex<Option<Cursor>>,
}

struct Cursor {
    source: Unpacked<'static>,
    position: Position,
    /// Bytes of the content that were passed.
    at: u64,
}

impl StreamImage {
    pub(super) fn new(file: ImageFile, layout: Layout) -> Self {
        Self {
            file: Arc::new(file),
            layout,
            cursor: Mutex::default(),
        }
    }

    pub(super) fn file(&self) -> &ImageFile {
        &self.file
    }

    fn begin(&self) -> Cursor {
        let position = Position::default();
        Cursor {
            // A reader that is dropped is not read on.
            source: decode::unpack(
                Arc::clone(&self.file),
                self.layout.format,
                &position,
                &Watch::default(),
            ),
            position,
            at: 0,
        }
    }

    /// What both ends hold needs no unpacking.
    fn kept(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let survey = &self.layout.survey;
        let within = |begin: u64, bytes: &[u8]| -> Option<Range<usize>> {
            let start = usize::try_from(offset.checked_sub(begin)?).ok()?;
            let end = start.checked_add(length)?;
            (end <= bytes.len()).then_some(start..end)
        };
        if let Some(range) = within(0, &survey.head) {
            return survey.head.get(range);
        }
        let begin = survey.length - survey.tail.len() as u64;
        within(begin, &survey.tail).and_then(|range| survey.tail.get(range))
    }

    fn advance(&self, cursor: &mut Cursor, buffer: &mut [u8], offset: u64) -> Result<()> {
        let broken = |cursor: &Cursor, error| {
            survey::broken(
                &self.file,
                self.layout.format,
                &cursor.position,
                cursor.at,
                error,
            )
        };
        let mut skipped = Vec::new();
        while cursor.at < offset {
            skipped.resize((offset - cursor.at).min(SKIP) as usize, 0);
            let count = cursor.source.read(&mut skipped);
            match count.map_err(|error| broken(cursor, error))? {
                0 => return Err(self.shorter(cursor.at)),
                count => cursor.at += count as u64,
            }
        }
        let filled = survey::fill(&mut *cursor.source, buffer);
        let filled = filled.map_err(|error| broken(cursor, error))?;
        cursor.at += filled as u64;
        if filled < buffer.len() {
            return Err(self.shorter(cursor.at));
        }
        Ok(())
    }

    fn shorter(&self, end: u64) -> Error {
        Error::new(
            ErrorKind::Io,
            format!(
                "{} changed while it was being read: it held {} bytes and now holds {end}",
                self.file.path().display(),
                self.layout.survey.length
            ),
        )
        .with_hint("let nothing write to the image meanwhile, and start again")
    }
}

impl DiskSource for StreamImage {
    fn virtual_size(&self) -> u64 {
        self.layout.size
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        let found = self.layout.survey.map.next(from);
        let clipped = found.map(|range| range.start..range.end.min(self.layout.size));
        Ok(clipped.filter(|range| !range.is_empty()))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        check_range(self.layout.size, buffer.len(), offset)?;
        if let Some(kept) = self.kept(offset, buffer.len()) {
            buffer.copy_from_slice(kept);
            return Ok(());
        }
        let mut held = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        // Only what lies ahead can be reached from where it is.
        let mut cursor = match held.take() {
            Some(cursor) if cursor.at <= offset => cursor,
            _ => self.begin(),
        };
        // One that failed is not kept.
        self.advance(&mut cursor, buffer, offset)?;
        *held = Some(cursor);
        Ok(())
    }

    fn is_sequential(&self) -> bool {
        true
    }

    fn known_identity(&self) -> Option<String> {
        self.layout.survey.identity.clone()
    }

    fn footer(&self) -> Result<Option<[u8; 512]>> {
        let footer = self.layout.footer.as_ref();
        let footer = footer.filter(|_| padded_size(self.layout.size) == self.layout.size);
        Ok(footer.map(|footer| *footer.bytes()))
    }

    fn fingerprint(&self) -> Result<String> {
        self.file.fingerprint()
    }
}

impl fmt::Debug for StreamImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamImage")
            .field("file", &self.file)
            .field("format", &self.layout.format)
            .field("size", &self.layout.size)
            .finish_non_exhaustive()
    }
}
