//! The written pages of one blob on disk: a log of changes that is rewritten when it grows.
//!
//! Every Put Page appends one entry after its data is written and before it is answered. An
//! append is one `write` into the page cache: the list survives the end of the process in any
//! way, `kill -9` included. It survives a crash of the machine as far as it was flushed, and that
//! is when access ends, if the store is durable.
//!
//! The file is a sequence of entries of 32 bytes, little-endian: first page, number of pages with
//! the kind in the top two bits, version of the blob after the change, CRC-64 of these 24 bytes.
//! The first entry is the header. Reading stops at the first entry that is not whole, so a torn
//! end costs the entry that was never answered.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::page_set::PageSet;

const ENTRY: usize = 32;
const KIND_SHIFT: u32 = 62;
const COUNT_MASK: u64 = (1 << KIND_SHIFT) - 1;
/// Number in the header that tells this format from later ones.
const FORMAT: u64 = 1;
/// A log is rewritten when it has this many entries more than four times its ranges.
const SLACK: u64 = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Written,
    Cleared,
}

/// What a log says.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) log: PageLog,
    pub(super) pages: PageSet,
    /// Version of the blob after its last change.
    pub(super) version: u64,
}

/// The open log. Not shared: whoever appends holds the lock of the pages too.
#[derive(Debug)]
pub(super) struct PageLog {
    path: PathBuf,
    file: File,
    entries: u64,
}

impl PageLog {
    /// Starts an empty log, in place of one that may be there.
    pub(super) fn create(path: &Path, version: u64) -> io::Result<()> {
        write_whole(path, &PageSet::default(), version, false).map(drop)
    }

    /// Reads a log.
    pub(super) fn load(path: &Path) -> io::Result<Loaded> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut reader = io::BufReader::with_capacity(64 * 1024, &file);
        let mut entry = [0; ENTRY];
        let header = read_entry(&mut reader, &mut entry)?
            .filter(|header| header.kind == KIND_HEADER && header.start == FORMAT);
        let Some(header) = header else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is no page list of a blob", path.display()),
            ));
        };
        let mut version = header.version;
        let mut pages = PageSet::default();
        let mut entries = 1;
        while let Some(change) = read_entry(&mut reader, &mut entry)? {
            let range = change.start..change.start.saturating_add(change.count);
            match change.kind {
                KIND_WRITTEN => pages.insert(range),
                KIND_CLEARED => pages.remove(range),
                _ => break,
            }
            version = version.max(change.version);
            entries += 1;
        }
        drop(reader);
        let whole = entries * ENTRY as u64;
        let length = file.metadata()?.len();
        if length != whole {
            tracing::warn!(
                log = %path.display(),
                bytes = length.saturating_sub(whole),
                "the end of a page list is torn and was cut off"
            );
            file.set_len(whole)?;
        }
        Ok(Loaded {
            log: Self {
                path: path.to_owned(),
                file,
                entries,
            },
            pages,
            version,
        })
    }

    /// Adds a change. After an error the log is as it was: the next append writes over what this
    /// one left.
    pub(super) fn append(
        &mut self,
        change: Change,
        range: Range<u64>,
        version: u64,
    ) -> io::Result<()> {
        let kind = match change {
            Change::Written => KIND_WRITTEN,
            Change::Cleared => KIND_CLEARED,
        };
        let entry = encode(kind, range.start, range.end - range.start, version);
        self.file
            .write_all_at(&entry, self.entries * ENTRY as u64)?;
        self.entries += 1;
        Ok(())
    }

    /// Whether most of the log is history.
    pub(super) fn is_mostly_history(&self, pages: &PageSet) -> bool {
        self.entries > pages.len() as u64 * 4 + SLACK
    }

    /// Replaces the log by one that says the same with one entry a range.
    pub(super) fn rewrite(
        &mut self,
        pages: &PageSet,
        version: u64,
        durable: bool,
    ) -> io::Result<()> {
        self.file = write_whole(&self.path, pages, version, durable)?;
        self.entries = pages.len() as u64 + 1;
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

const KIND_HEADER: u64 = 0;
const KIND_WRITTEN: u64 = 1;
const KIND_CLEARED: u64 = 2;

struct Entry {
    kind: u64,
    start: u64,
    count: u64,
    version: u64,
}

fn encode(kind: u64, start: u64, count: u64, version: u64) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..8].copy_from_slice(&start.to_le_bytes());
    entry[8..16].copy_from_slice(&(kind << KIND_SHIFT | (count & COUNT_MASK)).to_le_bytes());
    entry[16..24].copy_from_slice(&version.to_le_bytes());
    let crc = super::checksum::crc64(&entry[..24]);
    entry[24..].copy_from_slice(&crc.to_le_bytes());
    entry
}

/// The next whole entry; `None` at the end and at whatever is no entry.
fn read_entry(reader: &mut impl Read, entry: &mut [u8; ENTRY]) -> io::Result<Option<Entry>> {
    match reader.read_exact(entry) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&entry[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    if word(24) != super::checksum::crc64(&entry[..24]) {
        return Ok(None);
    }
    Ok(Some(Entry {
        kind: word(8) >> KIND_SHIFT,
        start: word(0),
        count: word(8) & COUNT_MASK,
        version: word(16),
    }))
}

/// Writes a log beside `path` and moves it there, so that either the old or the new one is found.
fn write_whole(path: &Path, pages: &PageSet, version: u64, durable: bool) -> io::Result<File> {
    let beside = path.with_extension("pages.new");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&beside)?;
    let mut writer = BufWriter::with_capacity(64 * 1024, &file);
    writer.write_all(&encode(KIND_HEADER, FORMAT, 0, version))?;
    for range in pages.ranges() {
        let count = range.end - range.start;
        writer.write_all(&encode(KIND_WRITTEN, range.start, count, version))?;
    }
    writer.flush()?;
    drop(writer);
    if durable {
        file.sync_all()?;
    }
    std::fs::rename(&beside, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    // Lists of ranges are what is compared, and some have one.
    #![allow(clippy::single_range_in_vec_init)]

    use super::*;

    fn fresh() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.pages");
        PageLog::create(&path, 5).unwrap();
        (dir, path)
    }

    #[test]
    fn changes_come_back_in_order() {
        let (_dir, path) = fresh();
        let mut loaded = PageLog::load(&path).unwrap();
        assert_eq!((loaded.pages.len(), loaded.version), (0, 5));
        loaded.log.append(Change::Written, 0..100, 6).unwrap();
        loaded.log.append(Change::Cleared, 10..20, 7).unwrap();
        loaded.log.append(Change::Written, 12..13, 8).unwrap();
        let again = PageLog::load(&path).unwrap();
        let ranges: Vec<_> = again.pages.ranges().collect();
        assert_eq!(ranges, [0..10, 12..13, 20..100]);
        assert_eq!(again.version, 8);
    }

    #[test]
    fn rewriting_keeps_the_meaning_and_takes_more() {
        let (_dir, path) = fresh();
        let mut loaded = PageLog::load(&path).unwrap();
        for round in 0..2000 {
            loaded.pages.insert(round..round + 1);
            loaded
                .log
                .append(Change::Written, round..round + 1, round)
                .unwrap();
        }
        loaded.log.rewrite(&loaded.pages, 2000, true).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * ENTRY as u64);
        loaded.log.append(Change::Cleared, 0..1, 2001).unwrap();
        let again = PageLog::load(&path).unwrap();
        assert_eq!(again.pages.ranges().collect::<Vec<_>>(), [1..2000]);
        assert_eq!(again.version, 2001);
    }

    #[test]
    fn a_torn_or_damaged_end_is_cut_off() {
        for damage in [0, 1, 2] {
            let (_dir, path) = fresh();
            let mut loaded = PageLog::load(&path).unwrap();
            loaded.log.append(Change::Written, 0..1, 6).unwrap();
            loaded.log.append(Change::Written, 8..9, 7).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            match damage {
                0 => bytes.truncate(bytes.len() - 1),
                1 => *bytes.last_mut().unwrap() ^= 1,
                _ => {
                    let start = bytes.len() - ENTRY;
                    bytes[start..].fill(0);
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            let mut again = PageLog::load(&path).unwrap();
            assert_eq!(again.pages.ranges().collect::<Vec<_>>(), [0..1]);
            again.log.append(Change::Written, 4..5, 9).unwrap();
            let ranges: Vec<_> = PageLog::load(&path).unwrap().pages.ranges().collect();
            assert_eq!(ranges, [0..1, 4..5]);
        }
    }

    #[test]
    fn a_file_that_is_no_log_is_refused() {
        let (_dir, path) = fresh();
        for content in [&b""[..], b"hello", &[0; 64]] {
            std::fs::write(&path, content).unwrap();
            let error = PageLog::load(&path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
