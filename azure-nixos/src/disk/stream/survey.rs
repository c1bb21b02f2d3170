//! The first pass over a compressed image: how much it holds, where it is not zero, what its content
//! is named by if somebody asks, and whether it is whole.
//!
//! Nothing of it can be known without unpacking all. So it is done once, before anything is made on
//! Azure, and a stream that is damaged or cut off is refused by then. One thread unpacks while another
//! hashes; some pieces of 4 MiB lie between them.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::decode::{self, Position};
use super::map::Map;
use crate::disk::fault::{Fault, ONLY_FIXED};
use crate::disk::file::ImageFile;
use crate::disk::finding::{Finding, FindingKind};
use crate::disk::format::Format;
use crate::disk::identity::{ContentName, PieceDigest};
use crate::disk::limits::{FOOTER, SECTOR};
use crate::disk::pieces::PIECE;
use crate::disk::vhd::Footer;
use crate::disk::watch::Watch;
use crate::disk::zero::is_zero;
use crate::{ByteSize, Error, ErrorKind};

/// Bytes of both ends of the content that are kept: partition tables lie there.
const ENDS: usize = 1 << 20;
/// Digests of pieces that are kept until the size is known: 256 GiB of data, 3 MiB of memory. Of more,
/// the name is found by another pass, if it is asked for.
const MOST_DIGESTS: usize = 64 << 10;
/// Pieces between the two threads.
const AHEAD: usize = 2;

/// What is known of the content of a compressed file.
#[derive(Debug)]
pub(super) struct Survey {
    /// Bytes in all, a footer among them.
    pub(super) length: u64,
    /// Bytes of the disk: without the footer, where the content ends with one.
    pub(super) disk: u64,
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
    pub(super) map: Map,
    /// Bytes of the disk in pages that are not zero.
    pub(super) nonzero: u64,
    /// `None` when it was not asked for, or is too long to be known.
    pub(super) identity: Option<String>,
}

impl Survey {
    /// The last sector of the content, when it begins like a footer.
    pub(super) fn footer(&self) -> Option<&[u8; 512]> {
        footer_of(&self.tail, self.length)
    }
}

fn footer_of(tail: &[u8], length: u64) -> Option<&[u8; 512]> {
    let last = tail.last_chunk::<512>()?;
    (length.is_multiple_of(SECTOR) && last.starts_with(&Footer::COOKIE)).then_some(last)
}

/// Unpacks all of a file. It may hold `most` bytes and a footer. The content is named where that is
/// wanted.
pub(super) fn survey(
    file: &ImageFile,
    format: Format,
    most: u64,
    identity: bool,
    watch: &Watch,
) -> Result<Survey, Fault> {
    watch.begin(file.length());
    let (full, pieces) = sync_channel::<(u64, Vec<u8>)>(AHEAD);
    let (back, empty) = sync_channel::<Vec<u8>>(AHEAD + 2);
    thread::scope(|scope| {
        let hashing = scope.spawn(move || Hashed::of(identity, &pieces, &back));
        let read = read(file, format, most, watch, &full, &empty);
        drop(full);
        let hashed = hashing.join().map_err(|_| {
            Error::new(
                ErrorKind::Internal,
                "the hashing of an image stopped by a defect",
            )
        })?;
        let Content {
            length,
            disk,
            head,
            tail,
        } = read?;
        Ok(Survey {
            identity: hashed.name(disk),
            map: hashed.map,
            nonzero: hashed.nonzero,
            length,
            disk,
            head,
            tail,
        })
    })
}

/// What the thread that unpacks finds.
struct Content {
    length: u64,
    disk: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
}

fn read(
    file: &ImageFile,
    format: Format,
    most: u64,
    watch: &Watch,
    full: &SyncSender<(u64, Vec<u8>)>,
    empty: &Receiver<Vec<u8>>,
) -> Result<Content, Fault> {
    let position = Position::default();
    let mut source = decode::unpack(file, format, &position, watch);
    let limit = most.saturating_add(FOOTER);
    let mut length = 0;
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    // The last piece that was read waits here: only at the end it is known whether it has a footer.
    let mut held: Option<Vec<u8>> = None;
    let mut number = 0;
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let filled = fill(&mut *source, &mut piece);
        // Before an error: that may be the cancellation, as a decoder tells it.
        watch.reached(position.at())?;
        let filled = filled.map_err(|error| broken(file, format, &position, length, error))?;
        piece.truncate(filled);
        length += filled as u64;
        if length > limit {
            return Err(too_long(file, format, most).into());
        }
        if head.len() < ENDS {
            head.extend_from_slice(&piece[..filled.min(ENDS - head.len())]);
        }
        keep_last(&mut tail, &piece);
        if filled == 0 {
            break;
        }
        if let Some(before) = held.replace(piece) {
            pass(full, number, before)?;
            number += 1;
        }
        if filled < PIECE {
            break;
        }
    }
    let is_footed = footer_of(&tail, length).is_some();
    let disk = if is_footed { length - FOOTER } else { length };
    if let Some(mut last) = held {
        // A footer lies in the last piece, which begins at a multiple of what a footer is.
        let begin = number * PIECE as u64;
        last.truncate(disk.saturating_sub(begin) as usize);
        pass(full, number, last)?;
    }
    Ok(Content {
        length,
        disk,
        head,
        tail,
    })
}

fn pass(full: &SyncSender<(u64, Vec<u8>)>, number: u64, piece: Vec<u8>) -> Result<(), Error> {
    full.send((number, piece)).map_err(|_| {
        Error::new(
            ErrorKind::Internal,
            "the hashing of an image ended before its reading",
        )
    })
}

fn keep_last(tail: &mut Vec<u8>, piece: &[u8]) {
    let new = &piece[piece.len().saturating_sub(ENDS)..];
    let over = (tail.len() + new.len()).saturating_sub(ENDS);
    tail.drain(..over.min(tail.len()));
    tail.extend_from_slice(new);
}

/// Reads until the buffer is full or the stream ends.
pub(super) fn fill(source: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What is said of a stream that cannot be unpacked.
pub(super) fn broken(
    file: &ImageFile,
    format: Format,
    position: &Position,
    unpacked: u64,
    error: io::Error,
) -> Fault {
    let error = match decode::failed(error) {
        Ok(ours) => return ours.into(),
        Err(error) => error,
    };
    let name = file.path().display();
    let at = position.at();
    if position.ran_out() || error.kind() == io::ErrorKind::UnexpectedEof {
        return Finding::problem(
            FindingKind::Truncated,
            format!(
                "{name} is cut off: it ends at byte {at} in the middle of what {format} compressed, \
                 after {unpacked} bytes of the content"
            ),
            "build or fetch the image again",
        )
        .azure(ONLY_FIXED)
        .into();
    }
    Finding::problem(
        FindingKind::DamagedStream,
        format!(
            "{name} cannot be unpacked with {format}: at byte {at}, after {unpacked} bytes of the \
             content: {error}"
        ),
        format!(
            "build or fetch the image again; to see what the tool itself says: {}",
            format.conversion(file.path())
        ),
    )
    .azure(ONLY_FIXED)
    .into()
}

fn too_long(file: &ImageFile, format: Format, most: u64) -> Finding {
    Finding::problem(
        FindingKind::TooLarge,
        format!(
            "{} holds more than {} ({most} bytes) when it is unpacked with {format}, and was not read on",
            file.path().display(),
            ByteSize::bytes(most)
        ),
        "see what it is; a larger disk is read when its size is said (--virtual-size), up to Azure's largest",
    )
    .azure(ONLY_FIXED)
}

/// What the thread that hashes finds.
struct Hashed {
    map: Map,
    nonzero: u64,
    /// `None` when nobody wants them, or there were too many to keep.
    digests: Option<Vec<(u64, PieceDigest)>>,
}

impl Hashed {
    fn of(identity: bool, pieces: &Receiver<(u64, Vec<u8>)>, back: &SyncSender<Vec<u8>>) -> Self {
        let mut all = Self {
            map: Map::new(),
            nonzero: 0,
            digests: identity.then(Vec::new),
        };
        while let Ok((number, piece)) = pieces.recv() {
            all.add(number, &piece);
            // Nobody needs it any more at the end.
            let _ = back.try_send(piece);
        }
        all
    }

    fn add(&mut self, number: u64, piece: &[u8]) {
        if is_zero(piece) {
            return;
        }
        if let Some(digests) = &mut self.digests {
            digests.push((number, ContentName::digest(piece)));
            if digests.len() > MOST_DIGESTS {
                self.digests = None;
            }
        }
        let begin = number * PIECE as u64;
        for (part, bytes) in piece.chunks(Map::FINEST as usize).enumerate() {
            let pages = bytes.chunks(SECTOR as usize).filter(|page| !is_zero(page));
            let nonzero: u64 = pages.map(|page| page.len() as u64).sum();
            if nonzero > 0 {
                let start = begin + part as u64 * Map::FINEST;
                self.map.mark(start..start + bytes.len() as u64);
                self.nonzero += nonzero;
            }
        }
    }

    /// The name of the content, for a disk of this size.
    fn name(&self, size: u64) -> Option<String> {
        let digests = self.digests.as_ref()?;
        let mut name = ContentName::new(size);
        for (number, digest) in digests {
            name.add(*number, *digest);
        }
        Some(name.finish())
    }
}
