//! What was acknowledged, on disk, so that an upload that ended early goes on where it was.
//!
//! One file for each target. Its first line says which process has it, for people; the second of what
//! source and to what target it is. After them come records of [`RECORD`] bytes, appended in the order
//! of the acknowledgements and never changed. Nothing is ever true in it before it is true on the
//! target, so that losing its end, in whatever way, only means that some ranges are sent twice. A
//! record that is torn or damaged ends the reading, and the file is cut off there.
//!
//! The file is locked for as long as the upload lasts, whether it can be written or not: two uploads to
//! one target would each count on pages of the other's. The records are written by a thread of their
//! own, which is never more than an acknowledgement behind and lets nobody wait for the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use crc_fast::{CrcAlgorithm, checksum};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::acknowledged::Ranges;
use crate::{Error, ErrorKind, Result};

/// The first byte in units of 512, the length in units of 512, a CRC-32 over both; little-endian.
const RECORD: usize = 16;
const PAGE: u64 = 512;
/// Records that are written together, at most.
const MOST_AT_ONCE: usize = 4096;
/// What one record can say: its length is a number of 32 bits.
const LONGEST_RECORD: u64 = 1 << 40;
/// The first line, around the number of a process in so many digits: the line is overwritten in its
/// place by the next upload.
const OWNER: (&str, &str) = ("azure-nixos upload journal, process ", "\n");
const DIGITS: usize = 10;
/// The longest line that is read: two names and a length are far less.
const LONGEST_HEADER: u64 = 64 << 10;
const VERSION: u32 = 2;
/// An upload that was dropped lets go of its file a moment later.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an upload is of and to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) version: u32,
    /// The target, without any signature.
    pub(super) target: String,
    /// What the source was: its content's name, or the state of the file.
    pub(super) source: String,
    /// The length of the target.
    pub(super) length: u64,
}

impl Header {
    pub(super) fn new(target: String, source: String, length: u64) -> Self {
        Self {
            version: VERSION,
            target,
            source,
            length,
        }
    }
}

/// What the writer is told.
enum Note {
    Acknowledged(Range<u64>),
    /// What was noted so far does not hold.
    Forget,
}

/// The journal of an upload that is under way. Dropped, it stays for the next one.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// Keeps the lock, also when the writer has given up.
    file: Arc<File>,
    records: Sender<Note>,
    writer: std::thread::JoinHandle<io::Result<()>>,
}

impl Journal {
    /// Opens the journal of a target in this directory, or begins one, and returns what an earlier
    /// upload was acknowledged. `afresh` throws that away. Blocks.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when another upload has it, or when it is of another source.
    pub(super) fn open(directory: &Path, header: &Header, afresh: bool) -> Result<(Self, Ranges)> {
        let path = directory.join(file_name(&header.target));
        let failed = |doing: &'static str| {
            let path = path.clone();
            move |error| {
                Error::io(doing, &path, error).with_hint(
                    "keep the journal in another directory, where there is room and this user may \
                     write",
                )
            }
        };
        fs::create_dir_all(directory).map_err(failed("create the directory of"))?;
        let mut file = loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(failed("open"))?;
            lock(&file, &path, &header.target)?;
            // The upload that had it may have come to its end meanwhile and deleted it; a lock on
            // what has no name keeps nobody out.
            if is_at(&file, &path).map_err(failed("read"))? {
                break file;
            }
        };
        let mut done = Ranges::default();
        let mut end = 0;
        if !afresh {
            let read = read(&file, header).map_err(failed("read"))?;
            match read {
                Read::Nothing => {}
                Read::Other(other) => return Err(changed(&other, header, &path)),
                Read::Same(ranges, until) => (done, end) = (ranges, until),
            }
            if done.overflowed() {
                tracing::warn!(
                    "the journal is too fragmented to be used; everything is sent again"
                );
                (done, end) = (Ranges::default(), 0);
            }
        }
        file.set_len(end).map_err(failed("shorten"))?;
        let mut first = owner(std::process::id()).into_bytes();
        file.rewind().map_err(failed("write"))?;
        file.write_all(&first).map_err(failed("write"))?;
        let mut line = serde_json::to_vec(header).map_err(|error| {
            Error::new(ErrorKind::Internal, "the journal cannot be begun").with_source(error)
        })?;
        line.push(b'\n');
        if end == 0 {
            file.write_all(&line).map_err(failed("write"))?;
        } else {
            file.seek(SeekFrom::Start(end)).map_err(failed("write"))?;
        }
        first.append(&mut line);
        let first = first.len() as u64;
        let file = Arc::new(file);
        let written = Arc::clone(&file);
        let (records, received) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || write(&written, first, &received))
            .map_err(failed("write"))?;
        Ok((
            Self {
                path,
                file,
                records,
                writer,
            },
            done,
        ))
    }

    /// Notes a range that was acknowledged. Returns at once.
    pub(super) fn acknowledged(&self, range: &Range<u64>) {
        // The writer ends early when the disk is full, and has said so.
        let _ = self.records.send(Note::Acknowledged(range.clone()));
    }

    /// Notes that of what was acknowledged earlier only this is there.
    pub(super) fn only(&self, ranges: &Ranges) {
        let _ = self.records.send(Note::Forget);
        for range in ranges.iter() {
            let mut at = range.start;
            while at < range.end {
                let end = range.end.min(at + LONGEST_RECORD);
                self.acknowledged(&(at..end));
                at = end;
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes the journal of an upload that is whole. Blocks.
    pub(super) fn finish(self) {
        drop(self.records);
        let _ = self.writer.join();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a journal that is done with stays");
        }
        // Only now may another upload have the target.
        drop(self.file);
    }
}

/// Names may be long and contain anything; what is in the file says which it is of.
fn file_name(target: &str) -> String {
    let digest = Sha256::digest(target.as_bytes());
    let hex: String = digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{hex}.journal")
}

/// Whether the path leads to this file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let here = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((here.dev(), here.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn owner(process: u32) -> String {
    format!("{}{process:0DIGITS$}{}", OWNER.0, OWNER.1)
}

/// The process that has the journal, where its first line says so.
fn owner_of(file: &File) -> Option<u32> {
    let mut line = [0; OWNER.0.len() + DIGITS];
    file.read_exact_at(&mut line, 0).ok()?;
    let text = std::str::from_utf8(&line).ok()?;
    text.strip_prefix(OWNER.0)?.parse().ok()
}

fn lock(file: &File, path: &Path, target: &str) -> Result<()> {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", path, error)),
            Err(TryLockError::WouldBlock) if std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let error = Error::new(
                    ErrorKind::Conflict,
                    format!("another upload to {target} is under way"),
                )
                .with_operation("upload")
                .with_context("its journal", path.display());
                let error = match owner_of(file) {
                    Some(process) => error.with_context("its process", process),
                    None => error,
                };
                return Err(error.with_hint("wait for it, or end it: two uploads to one disk would destroy each other's work"));
            }
        }
    }
}

enum Read {
    /// The file is empty, or what is in it is no journal.
    Nothing,
    Other(Header),
    /// What was acknowledged, and where the good records end.
    Same(Ranges, u64),
}

fn read(file: &File, wanted: &Header) -> io::Result<Read> {
    let mut reader = BufReader::new(file);
    let mut next_line = || {
        let mut line = Vec::new();
        let mut bounded = reader.by_ref().take(LONGEST_HEADER);
        bounded.read_until(b'\n', &mut line).map(|_| line)
    };
    let first = next_line()?;
    if !first.starts_with(OWNER.0.as_bytes()) || first.len() != owner(0).len() {
        return Ok(Read::Nothing);
    }
    let line = next_line()?;
    if line.last() != Some(&b'\n') {
        return Ok(Read::Nothing);
    }
    let Ok(header) = serde_json::from_slice::<Header>(&line) else {
        return Ok(Read::Nothing);
    };
    if header.version != VERSION {
        return Ok(Read::Nothing);
    }
    if header != *wanted {
        return Ok(Read::Other(header));
    }
    let mut ranges = Ranges::default();
    let mut end = (first.len() + line.len()) as u64;
    let mut record = [0; RECORD];
    loop {
        match reader.read_exact(&mut record) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error),
        }
        let Some(range) = decode(record).filter(|range| range.end <= wanted.length) else {
            break;
        };
        ranges.insert(range);
        end += RECORD as u64;
    }
    Ok(Read::Same(ranges, end))
}

fn changed(old: &Header, new: &Header, path: &Path) -> Error {
    let what = if old.length == new.length {
        format!("it was {} and is {} now", old.source, new.source)
    } else {
        format!(
            "it made {} bytes of disk and makes {} now",
            old.length, new.length
        )
    };
    Error::new(
        ErrorKind::Conflict,
        format!(
            "an upload to {} was begun with another disk image: {what}",
            new.target
        ),
    )
    .with_operation("upload")
    .with_context("journal", path.display())
    .with_hint("upload the same image to go on, or say that everything is to be sent again")
}

/// Writes what comes until the upload ends; records begin at `first`. A disk that is full ends the
/// journal and not the upload.
fn write(file: &File, first: u64, notes: &Receiver<Note>) -> io::Result<()> {
    let result = write_all(file, first, notes);
    if let Err(error) = &result {
        tracing::warn!(%error, "the journal cannot be written: the upload goes on, but could not be gone on with after an interruption");
    }
    result
}

fn write_all(mut file: &File, first: u64, notes: &Receiver<Note>) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Ok(note) = notes.recv() {
        for note in std::iter::once(note).chain(notes.try_iter().take(MOST_AT_ONCE)) {
            match note {
                Note::Acknowledged(range) => buffer.extend(encode(&range)),
                Note::Forget => {
                    buffer.clear();
                    file.set_len(first)?;
                    file.seek(SeekFrom::Start(first))?;
                }
            }
        }
        file.write_all(&buffer)?;
        buffer.clear();
    }
    Ok(())
}

fn encode(range: &Range<u64>) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&(range.start / PAGE).to_le_bytes());
    // No record is longer than LONGEST_RECORD.
    let pages = u32::try_from((range.end - range.start) / PAGE).unwrap_or(0);
    record[8..12].copy_from_slice(&pages.to_le_bytes());
    let crc = crc32(&record[..12]);
    record[12..].copy_from_slice(&crc.to_le_bytes());
    record
}

fn decode(record: [u8; RECORD]) -> Option<Range<u64>> {
    let [start @ .., _, _, _, _, _, _, _, _] = record;
    let pages = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
    let crc = u32::from_le_bytes([record[12], record[13], record[14], record[15]]);
    if crc != crc32(&record[..12]) || pages == 0 {
        return None;
    }
    let start = u64::from_le_bytes(start).checked_mul(PAGE)?;
    Some(start..start.checked_add(u64::from(pages) * PAGE)?)
}

/// All zeros, as a file system leaves after a crash, is no record: the CRC-32 of zeros is not zero.
fn crc32(bytes: &[u8]) -> u32 {
    u32::try_from(checksum(CrcAlgorithm::Crc32IsoHdlc, bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(source: &str) -> Header {
        Header::new("https://x/a/b".into(), source.into(), 1 << 40)
    }

    fn written(directory: &Path, ranges: &[Range<u64>]) -> PathBuf {
        let (journal, done) = Journal::open(directory, &header("s"), true).unwrap();
        assert_eq!(done.bytes(), 0);
        for range in ranges {
            journal.acknowledged(range);
        }
        let path = journal.path().to_owned();
        close(journal);
        path
    }

    fn close(journal: Journal) {
        drop(journal.records);
        journal.writer.join().unwrap().unwrap();
    }

    fn reopened(directory: &Path) -> Vec<Range<u64>> {
        let (journal, done) = Journal::open(directory, &header("s"), false).unwrap();
        close(journal);
        done.iter().collect()
    }

    #[test]
    fn what_was_noted_is_known_again() {
        let place = tempfile::tempdir().unwrap();
        written(
            place.path(),
            &[0..512, 1 << 39..(1 << 39) + (4 << 20), 512..1024],
        );
        let expected = [0..1024, 1 << 39..(1 << 39) + (4 << 20)];
        assert_eq!(reopened(place.path()), expected);
        // It is added to, not begun again.
        let (journal, _) = Journal::open(place.path(), &header("s"), false).unwrap();
        journal.acknowledged(&(2048..4096));
        close(journal);
        assert_eq!(reopened(place.path())[1], 2048..4096);
        let (journal, _) = Journal::open(place.path(), &header("s"), false).unwrap();
        let path = journal.path().to_owned();
        journal.finish();
        assert!(!path.exists());
    }

    #[test]
    fn what_the_target_lost_is_forgotten() {
        let place = tempfile::tempdir().unwrap();
        let long = 1 << 38..(1 << 38) + (1 << 39);
        written(place.path(), &[0..8192, long.clone(), 16384..20480]);
        let (journal, mut done) = Journal::open(place.path(), &header("s"), false).unwrap();
        let mut there = Ranges::default();
        there.insert(0..4096);
        there.insert(long.clone());
        done.intersect(&there);
        journal.only(&done);
        journal.acknowledged(&(65536..66048));
        close(journal);
        assert_eq!(reopened(place.path()), [0..4096, 65536..66048, long]);
    }

    #[test]
    fn another_source_is_refused_with_what_changed() {
        let place = tempfile::tempdir().unwrap();
        let path = written(place.path(), std::slice::from_ref(&(0..512)));
        let before = fs::read(&path).unwrap();
        let error = Journal::open(place.path(), &header("other"), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(
            error.to_string().contains("it was s and is other now"),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), before, "the journal stays");
        let (_, done) = Journal::open(place.path(), &header("other"), true).unwrap();
        assert_eq!(done.bytes(), 0);
    }

    #[test]
    fn one_upload_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let (_first, _) = Journal::open(place.path(), &header("s"), false).unwrap();
        let error = Journal::open(place.path(), &header("s"), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("another upload"), "{error}");
        let process = std::process::id();
        assert!(
            error.report().contains(&format!("its process: {process}")),
            "{}",
            error.report()
        );
        let mut elsewhere = header("s");
        elsewhere.target = "https://x/a/c".into();
        Journal::open(place.path(), &elsewhere, false).unwrap();
    }

    #[test]
    fn a_journal_that_cannot_be_written_still_keeps_others_out() {
        let place = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(place.path(), &header("s"), false).unwrap();
        // As after a disk that was full: the writer has ended, and the upload has not.
        journal.records = mpsc::channel().0;
        while !journal.writer.is_finished() {
            std::thread::yield_now();
        }
        journal.acknowledged(&(0..512));
        let error = Journal::open(place.path(), &header("s"), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        drop(journal);
        Journal::open(place.path(), &header("s"), false).unwrap();
    }

    #[test]
    fn a_lock_on_a_journal_that_was_deleted_meanwhile_is_none() {
        let place = tempfile::tempdir().unwrap();
        let (first, _) = Journal::open(place.path(), &header("s"), false).unwrap();
        let path = first.path().to_owned();
        let directory = place.path().to_owned();
        // It has the file open before the first deletes it, and gets the lock after that.
        let second = std::thread::spawn(move || Journal::open(&directory, &header("s"), false));
        std::thread::sleep(Duration::from_millis(100));
        first.finish();
        let (second, _) = second.join().unwrap().unwrap();
        assert!(is_at(&second.file, &path).unwrap());
        let error = Journal::open(place.path(), &header("s"), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        close(second);
    }

    proptest! {
        /// Whatever is cut off or overwritten at the end, what is read was written.
        #[test]
        fn a_torn_end_is_forgotten(cut in 0usize..400, garbage in proptest::collection::vec(any::<u8>(), 0..40)) {
            let place = tempfile::tempdir().unwrap();
            let all: Vec<Range<u64>> = (0..20).map(|n| n * 8192..n * 8192 + 512).collect();
            let path = written(place.path(), &all);
            let mut bytes = fs::read(&path).unwrap();
            let kept = bytes.len() - cut.min(bytes.len());
            bytes.truncate(kept);
            bytes.extend(&garbage);
            fs::write(&path, &bytes).unwrap();
            let read = reopened(place.path());
            prop_assert_eq!(&read[..], &all[..read.len()]);
            prop_assert!(cut >= 320 || read.len() >= 20 - cut.div_ceil(RECORD));
            // And what was cut is gone: the next record follows the last good one.
            let again = reopened(place.path());
            prop_assert_eq!(again, read);
        }
    }

    #[test]
    fn a_full_disk_ends_the_journal_only() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let (sender, receiver) = mpsc::channel();
        sender.send(Note::Acknowledged(0..512)).unwrap();
        let error = write(&file, 0, &receiver).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn zeros_are_no_record() {
        assert_eq!(decode([0; RECORD]), None);
        let record = encode(&(512..1536));
        assert_eq!(decode(record), Some(512..1536));
        for bit in 0..RECORD * 8 {
            let mut damaged = record;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(damaged), None, "bit {bit}");
        }
    }
}
