//! The bytes of one page blob: a sparse file and the list of its written pages.
//!
//! Everything here blocks and runs on blocking threads: even a write into the page cache waits
//! for the disk once too much of the cache is dirty. Requests for disjoint ranges run in parallel
//! except for the copy into the file itself, where Linux lets in one writer per file anyway. The
//! lock of the page list is held for one small append, never while data is written.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::page_log::{Change, PageLog};
use super::page_set::PageSet;

/// Bytes in a page, the unit of everything a page blob does.
pub(super) const PAGE: u64 = 512;

/// The range that every write overlaps with, whatever the length is meanwhile.
const EVERYTHING: Range<u64> = 0..u64::MAX;

/// Locks a mutex. A thread that panicked left the data as it was before or after its change.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(super) struct Store {
    file: File,
    length: AtomicU64,
    busy: Busy,
    /// Held while data goes into the file. A buffered write takes the inode's lock exclusively,
    /// and the kernel spins for it: without this the other core burns in that spin (measured: 8 %
    /// of all CPU) when it could receive the next page.
    copying: Mutex<()>,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    set: PageSet,
    log: PageLog,
    version: u64,
}

/// What a write does to its range.
pub(super) enum Write<'a> {
    Update(&'a [Bytes]),
    Clear,
    /// Nothing but the version, as a store does that loses what it acknowledged.
    Lost,
}

impl Store {
    /// Makes the files of an empty blob: a hole of `length` bytes and an empty list.
    pub(super) fn create(file: &Path, log: &Path, length: u64, version: u64) -> io::Result<()> {
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(file)?
            .set_len(length)?;
        PageLog::create(log, version)
    }

    /// Makes an empty list for a file that is there.
    pub(super) fn list(log: &Path, version: u64) -> io::Result<()> {
        PageLog::create(log, version)
    }

    pub(super) fn open(file: &Path, log: &Path, length: u64) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot open the page blob {}: {error}", file.display()),
            )
        };
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .open(file)
            .map_err(named)?;
        let found = opened.metadata()?.len();
        if found != length {
            return Err(named(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it has {found} bytes and should have {length}"),
            )));
        }
        let loaded = PageLog::load(log)?;
        Ok(Self {
            file: opened,
            length: AtomicU64::new(length),
            busy: Busy::default(),
            copying: Mutex::new(()),
            pages: Mutex::new(Pages {
                set: loaded.pages,
                log: loaded.log,
                version: loaded.version,
            }),
        })
    }

    /// The length in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// The version of the blob: ticks of 100 ns, strictly growing with every write.
    pub(super) fn version(&self) -> u64 {
        lock(&self.pages).version
    }

    /// The written ranges in a window of bytes, at most `limit`.
    pub(super) fn written(&self, window: Range<u64>, limit: usize) -> Vec<Range<u64>> {
        lock(&self.pages)
            .set
            .within(window.start / PAGE..window.end.div_ceil(PAGE))
            .take(limit)
            .map(|pages| pages.start * PAGE..pages.end * PAGE)
            .collect()
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    /// Writes or clears a range and returns the new version.
    ///
    /// `allowed` is asked with the range held: after what it says, no other write and no
    /// [`settle`](Self::settle) comes in between. With `alone` no other write of the whole blob
    /// does, as a condition on the version needs it.
    pub(super) fn write<E: From<io::Error>>(
        &self,
        range: Range<u64>,
        write: Write<'_>,
        now: u64,
        alone: bool,
        allowed: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        let held = if alone { EVERYTHING } else { range.clone() };
        let _held = self.busy.hold(held);
        allowed(self.version())?;
        let change = match write {
            Write::Lost => {
                let mut pages = lock(&self.pages);
                pages.version = now.max(pages.version + 1);
                return Ok(pages.version);
            }
            Write::Update(chunks) => {
                let _copying = lock(&self.copying);
                let mut at = range.start;
                for chunk in chunks {
                    self.file.write_all_at(chunk, at)?;
                    at += chunk.len() as u64;
                }
                Change::Written
            }
            Write::Clear => {
                punch(&self.file, range.clone())?;
                Change::Cleared
            }
        };
        let touched = range.start / PAGE..range.end / PAGE;
        let mut pages = lock(&self.pages);
        let pages = &mut *pages;
        let version = now.max(pages.version + 1);
        pages.log.append(change, touched.clone(), version)?;
        pages.version = version;
        match change {
            Change::Written => pages.set.insert(touched),
            Change::Cleared => pages.set.remove(touched),
        }
        if pages.log.is_mostly_history(&pages.set) {
            pages.log.rewrite(&pages.set, version, false)?;
        }
        Ok(version)
    }

    /// Gives the blob a new version although its bytes stay, as a change of its properties does.
    ///
    /// `allowed` is asked with no write under way.
    pub(super) fn touch<E: From<io::Error>>(
        &self,
        now: u64,
        allowed: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<u64, E> {
        let _held = self.busy.hold(EVERYTHING);
        let mut pages = lock(&self.pages);
        let pages = &mut *pages;
        allowed(pages.version)?;
        let version = now.max(pages.version + 1);
        pages.log.append(Change::Cleared, 0..0, version)?;
        pages.version = version;
        Ok(version)
    }

    /// Makes the blob longer, with zeros, or shorter. The caller records the length.
    pub(super) fn resize(&self, length: u64) -> io::Result<()> {
        let _held = self.busy.hold(EVERYTHING);
        let mut pages = lock(&self.pages);
        let pages = &mut *pages;
        let cut = length.min(self.length())..self.length();
        if !cut.is_empty() {
            let cut = cut.start / PAGE..cut.end.div_ceil(PAGE);
            pages
                .log
                .append(Change::Cleared, cut.clone(), pages.version)?;
            pages.set.remove(cut);
        }
        self.file.set_len(length)?;
        self.length.store(length, Ordering::Release);
        Ok(())
    }

    /// Takes the pages of what the file holds, after another program wrote it or for a file that
    /// comes from elsewhere: its extents of data, rounded to pages. Memory is what the list takes.
    pub(super) fn rescan(&self, now: u64) -> io::Result<()> {
        let _held = self.busy.hold(EVERYTHING);
        let found = extents(&self.file, self.length())?;
        let mut pages = lock(&self.pages);
        let pages = &mut *pages;
        let version = now.max(pages.version + 1);
        pages.log.rewrite(&found, version, false)?;
        pages.set = found;
        pages.version = version;
        Ok(())
    }

    /// Waits until no write is under way. Whoever wants none to follow forbids them first.
    pub(super) fn settle(&self) {
        drop(self.busy.hold(EVERYTHING));
    }

    /// Shortens the list on disk and, if `durable`, waits until data and list are on the disk.
    pub(super) fn flush(&self, durable: bool) -> io::Result<()> {
        if durable {
            self.file.sync_all()?;
        }
        let mut pages = lock(&self.pages);
        let pages = &mut *pages;
        pages.log.rewrite(&pages.set, pages.version, durable)?;
        if durable { pages.log.sync() } else { Ok(()) }
    }
}

/// Byte ranges that are being written. Two that overlap wait for each other, so that data and
/// list always agree on which of two writes came last.
#[derive(Debug, Default)]
struct Busy {
    held: Mutex<Vec<Range<u64>>>,
    freed: Condvar,
}

struct Held<'a> {
    busy: &'a Busy,
    range: Range<u64>,
}

impl Busy {
    fn hold(&self, range: Range<u64>) -> Held<'_> {
        let mut held = lock(&self.held);
        while held
            .iter()
            .any(|other| other.start < range.end && range.start < other.end)
        {
            held = self
                .freed
                .wait(held)
                .unwrap_or_else(PoisonError::into_inner);
        }
        held.push(range.clone());
        Held { busy: self, range }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.busy.held);
        if let Some(at) = held.iter().position(|range| *range == self.range) {
            held.swap_remove(at);
        }
        self.busy.freed.notify_all();
    }
}

/// The pages that a file has data in. A file system that knows no holes says: all of them.
fn extents(file: &File, length: u64) -> io::Result<PageSet> {
    use rustix::fs::{SeekFrom, seek};

    let mut pages = PageSet::default();
    let mut position = 0;
    while position < length {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = seek(file, SeekFrom::Hole(start))?.min(length);
        pages.insert(start / PAGE..end.div_ceil(PAGE));
        position = end.max(start + 1);
    }
    Ok(pages)
}

#[cfg(target_os = "linux")]
fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};

    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, range.start, range.end - range.start) {
        Ok(()) => Ok(()),
        // A file system without holes: zeros read the same.
        Err(rustix::io::Errno::OPNOTSUPP) => zero(file, range),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    zero(file, range)
}

fn zero(file: &File, range: Range<u64>) -> io::Result<()> {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    let mut at = range.start;
    while at < range.end {
        let count = (range.end - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..count as usize], at)?;
        at += count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    fn fresh(length: u64) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let (file, log) = (dir.path().join("b.vhd"), dir.path().join("b.pages"));
        Store::create(&file, &log, length, 1).unwrap();
        let store = Store::open(&file, &log, length).unwrap();
        (dir, store)
    }

    #[test]
    fn clearing_frees_the_blocks_and_reads_as_zero() {
        use std::os::unix::fs::MetadataExt;
        let (_dir, store) = fresh(8 << 20);
        let data = Bytes::from(vec![9; 4 << 20]);
        let ok = |_| Ok::<_, io::Error>(());
        store
            .write(0..4 << 20, Write::Update(&[data]), 7, false, ok)
            .unwrap();
        let full = store.file.metadata().unwrap().blocks();
        store
            .write(1 << 20..3 << 20, Write::Clear, 7, false, ok)
            .unwrap();
        assert!(store.file.metadata().unwrap().blocks() < full);
        let mut read = vec![1; 4 << 20];
        store.read_at(&mut read, 0).unwrap();
        assert!(read[..1 << 20].iter().all(|b| *b == 9));
        assert!(read[1 << 20..3 << 20].iter().all(|b| *b == 0));
        assert!(read[3 << 20..].iter().all(|b| *b == 9));
        assert_eq!(store.version(), 8);
        assert_eq!(store.written(0..8 << 20, 9), [0..1 << 20, 3 << 20..4 << 20]);
    }

    #[test]
    fn a_rescan_finds_what_another_program_wrote() {
        let (dir, store) = fresh((8 << 20) + 512);
        let ok = |_| Ok::<_, io::Error>(());
        let page = Bytes::from(vec![9; 4096]);
        store
            .write(0..4096, Write::Update(&[page]), 7, false, ok)
            .unwrap();
        let other = OpenOptions::new()
            .write(true)
            .open(dir.path().join("b.vhd"))
            .unwrap();
        punch(&other, 0..4096).unwrap();
        other.write_all_at(&[1; 10_000], 1 << 20).unwrap();
        other.write_all_at(&[2; 512], 8 << 20).unwrap();
        store.rescan(7).unwrap();
        // As fine as the blocks of the file system, 4 KiB where this was written.
        let found = store.written(0..store.length(), 9);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].start, 1 << 20);
        assert!((10_000 + (1 << 20)..=(1 << 20) + 65_536).contains(&found[0].end));
        assert_eq!(found[1], 8 << 20..(8 << 20) + 512);
        assert_eq!(store.version(), 8);
        // It is the list on disk too.
        let again = Store::open(
            &dir.path().join("b.vhd"),
            &dir.path().join("b.pages"),
            store.length(),
        )
        .unwrap();
        assert_eq!(again.written(0..store.length(), 9), found);
        assert_eq!(again.version(), 8);
    }

    #[test]
    fn zeros_do_what_a_hole_does() {
        let (_dir, store) = fresh(1 << 20);
        store.file.write_all_at(&[5; 200_000], 0).unwrap();
        zero(&store.file, 512..199_168).unwrap();
        let mut read = vec![1; 200_000];
        store.read_at(&mut read, 0).unwrap();
        assert!(read[..512].iter().all(|b| *b == 5));
        assert!(read[512..199_168].iter().all(|b| *b == 0));
        assert!(read[199_168..].iter().all(|b| *b == 5));
    }

    #[test]
    fn only_ranges_that_overlap_wait() {
        let busy = Busy::default();
        let inside = AtomicUsize::new(0);
        let first = busy.hold(0..1024);
        let disjoint = busy.hold(1024..2048);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _second = busy.hold(512..2000);
                inside.store(1, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(inside.load(Ordering::SeqCst), 0);
            drop(first);
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(inside.load(Ordering::SeqCst), 0);
            drop(disjoint);
        });
        assert_eq!(inside.load(Ordering::SeqCst), 1);
    }
}
