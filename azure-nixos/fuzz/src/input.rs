//! From the bytes of an input to an image: pieces over zeros, since a VHDX has 3 MiB at least and
//! says something in a few hundred bytes of them.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | flags: what the target does beside reading |
//! | 5 | where a piece lies in the image, little-endian |
//! | 3 | its length, little-endian; 0 only makes the image reach up to there |
//! | as said, or as there are | its bytes; then comes the next piece |
//!
//! Of pieces that overlap the later one counts. The image ends with the piece that reaches farthest.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use azure_nixos::disk::{DiskSource, ReadAt};
use azure_nixos::{Error, ErrorKind, Result};
use tempfile::NamedTempFile;

/// Bytes of an image that are kept together; what file systems keep together, too.
const PAGE: u64 = 4096;
/// Bytes before those of a piece.
const HEAD: usize = 8;
/// Pieces begin before this: 1 TiB, more than a file system gives a file that anybody has.
const FARTHEST: u64 = 1 << 40;

/// Leaves the checksums as they are.
pub const UNSEALED: u8 = 1;
/// Names the file `.vhd`.
pub const NAMED_VHD: u8 = 2;

/// The parts of an input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    pub flags: u8,
    pub pieces: Vec<(u64, Vec<u8>)>,
}

impl Input {
    /// Every sequence of bytes is an input.
    pub fn parse(bytes: &[u8]) -> Self {
        let Some((flags, mut rest)) = bytes.split_first() else {
            return Self::default();
        };
        let mut pieces = Vec::new();
        while let Some((head, after)) = rest.split_first_chunk::<HEAD>() {
            let [a, b, c, d, e, length @ ..] = *head;
            let at = u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]);
            let [a, b, c] = length;
            let length = u32::from_le_bytes([a, b, c, 0]) as usize;
            let (piece, after) = after.split_at(length.min(after.len()));
            pieces.push((at, piece.to_vec()));
            rest = after;
        }
        Self {
            flags: *flags,
            pieces,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.flags];
        for (at, piece) in &self.pieces {
            bytes.extend_from_slice(&at.to_le_bytes()[..5]);
            bytes.extend_from_slice(&(piece.len() as u32).to_le_bytes()[..3]);
            bytes.extend_from_slice(piece);
        }
        bytes
    }

    /// The pieces of an image: runs of bytes with fewer than 16 zeros between them.
    pub fn of_file(path: &Path, flags: u8) -> io::Result<Self> {
        let bytes = std::fs::read(path)?;
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
        for (at, byte) in (0u64..).zip(&bytes).filter(|(_, byte)| **byte != 0) {
            match pieces.last_mut() {
                Some((start, piece)) if at - (*start + piece.len() as u64) < 16 => {
                    piece.resize((at - *start) as usize, 0);
                    piece.push(*byte);
                }
                _ => pieces.push((at, vec![*byte])),
            }
        }
        pieces.push((bytes.len() as u64, Vec::new()));
        Ok(Self { flags, pieces })
    }

    pub fn image(&self) -> Image {
        let mut image = Image::default();
        for (at, piece) in &self.pieces {
            image.length = image.length.max(at % FARTHEST + piece.len() as u64);
            image.write(at % FARTHEST, piece);
        }
        image
    }
}

/// Names that differ in nothing but digits. Whoever looks at a name character by character would take other
/// branches for another name, and the fuzzer would take that for something new in the image.
fn named_alike(suffix: &str, dir: &Path) -> io::Result<NamedTempFile> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("azure-nixos-fuzz-{:010}-{number:010}", std::process::id());
    tempfile::Builder::new()
        .prefix(&name)
        .rand_bytes(0)
        .suffix(suffix)
        .tempfile_in(dir)
}

/// An image in memory that takes no more than its pieces; pages of which there is nothing are holes.
#[derive(Clone, Default)]
pub struct Image {
    length: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE as usize]>>,
}

impl Image {
    pub fn length(&self) -> u64 {
        self.length
    }

    /// What begins in a page that is no hole, at a multiple of 512 bytes.
    pub fn sectors(&self) -> Vec<u64> {
        let starts = self.pages.keys().flat_map(|page| {
            let start = page * PAGE;
            (start..start + PAGE).step_by(512)
        });
        starts.filter(|at| *at < self.length).collect()
    }

    /// Writes what lies before the end.
    pub fn write(&mut self, at: u64, bytes: &[u8]) {
        let mut at = at;
        let mut rest = &bytes[..bytes.len().min(self.length.saturating_sub(at) as usize)];
        while !rest.is_empty() {
            let within = at % PAGE;
            let (part, after) = rest.split_at(rest.len().min((PAGE - within) as usize));
            let page = self.pages.entry(at / PAGE);
            let page = page.or_insert_with(|| Box::new([0; PAGE as usize]));
            page[within as usize..within as usize + part.len()].copy_from_slice(part);
            at += part.len() as u64;
            rest = after;
        }
    }

    /// So many bytes, zeros beyond the end.
    pub fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, at);
        bytes
    }

    fn fill(&self, buffer: &mut [u8], at: u64) {
        buffer.fill(0);
        let end = at + buffer.len() as u64;
        let pages = self.pages.range(at / PAGE..end.div_ceil(PAGE));
        for (number, page) in pages {
            let start = number * PAGE;
            let (from, to) = (start.max(at), (start + PAGE).min(end));
            buffer[(from - at) as usize..(to - at) as usize]
                .copy_from_slice(&page[(from - start) as usize..(to - start) as usize]);
        }
    }

    /// A file with this content that is gone when it is dropped.
    pub fn store(&self, suffix: &str) -> NamedTempFile {
        let file = self.write_file(suffix);
        file.unwrap_or_else(|error| panic!("the image could not be stored: {error}"))
    }

    fn write_file(&self, suffix: &str) -> io::Result<NamedTempFile> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let file = loop {
            match named_alike(suffix, &dir) {
                // Left by a process of this number that was killed.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => break made?,
            }
        };
        file.as_file().set_len(self.length)?;
        for (number, page) in &self.pages {
            let start = number * PAGE;
            let length = PAGE.min(self.length - start) as usize;
            file.as_file().write_all_at(&page[..length], start)?;
        }
        Ok(file)
    }

    fn next_page(&self, from: u64, end: u64) -> Option<Range<u64>> {
        let end = end.min(self.length);
        let (number, _) = self.pages.range(from / PAGE..).next()?;
        let mut stop = number + 1;
        while stop * PAGE < end && self.pages.contains_key(&stop) {
            stop += 1;
        }
        let range = (number * PAGE).max(from)..(stop * PAGE).min(end);
        (!range.is_empty()).then_some(range)
    }

    fn check(&self, length: usize, at: u64) -> Result<()> {
        if at
            .checked_add(length as u64)
            .is_some_and(|end| end <= self.length)
        {
            return Ok(());
        }
        let what = format!("cannot read {length} bytes at byte {at}");
        Err(Error::new(ErrorKind::InvalidInput, what))
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pages, {} bytes", self.pages.len(), self.length)
    }
}

impl ReadAt for Image {
    fn name(&self) -> String {
        "the image".to_owned()
    }

    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.check(buffer.len(), offset)?;
        self.fill(buffer, offset);
        Ok(())
    }

    fn next_data(&self, from: u64, end: u64) -> Result<Option<Range<u64>>> {
        Ok(self.next_page(from, end))
    }

    fn fingerprint(&self) -> Result<String> {
        Ok("memory".to_owned())
    }
}

/// The image as a raw disk.
#[derive(Debug)]
pub struct Raw(pub Image);

impl DiskSource for Raw {
    fn virtual_size(&self) -> u64 {
        self.0.length
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        Ok(self.0.next_page(from, self.0.length))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.0.check(buffer.len(), offset)?;
        self.0.fill(buffer, offset);
        Ok(())
    }

    fn fingerprint(&self) -> Result<String> {
        Ok("memory".to_owned())
    }
}
