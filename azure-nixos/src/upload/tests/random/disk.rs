//! The disk that a case uploads: any size, few data, and known at every byte without being stored.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use crate::disk::limits::padded_size;
use crate::disk::vhd::Footer;
use crate::disk::{DiskChecksum, DiskSource};
use crate::upload::plan::PAGE;
use crate::{Error, ErrorKind, Result};

/// Pages of zeros that end a range: what a request costs, 1/500 s at 60 MiB/s, in whole pages.
const GAP: u64 = 246;
/// Pages in the longest range, 4 MiB.
const MOST: u64 = 8192;
/// No range crosses a multiple of so many pages, 64 MiB.
const LOT: u64 = 131_072;

/// Bytes that are never zero. A page is cut out of it at a place of its own.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    let mut word = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x | 0x0101_0101_0101_0101).to_le_bytes()
    };
    (0..1024).flat_map(|_| word()).collect()
});

/// What is where.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) size: u64,
    /// Where the source says data may be: in order, disjoint.
    extents: Vec<Range<u64>>,
    /// Bytes that are not zero: in order, disjoint.
    data: Vec<Range<u64>>,
    brings_footer: bool,
}

impl Layout {
    /// `data` and `extents` in order and disjoint; data outside the extents reads as zeros.
    pub(super) fn new(
        size: u64,
        data: &[Range<u64>],
        extents: Vec<Range<u64>>,
        brings_footer: bool,
    ) -> Self {
        let mut seen: Vec<Range<u64>> = Vec::new();
        for extent in &extents {
            for run in data {
                let both = run.start.max(extent.start)..run.end.min(extent.end);
                if both.is_empty() {
                    continue;
                }
                match seen.last_mut() {
                    Some(last) if last.end == both.start => last.end = both.end,
                    _ => seen.push(both),
                }
            }
        }
        Self {
            size,
            extents,
            data: seen,
            brings_footer,
        }
    }

    /// The size of the disk on Azure, which is where its footer is.
    pub(super) fn disk(&self) -> u64 {
        padded_size(self.size)
    }

    /// The content at `offset`, in one of its versions.
    pub(super) fn copy(&self, version: u64, buffer: &mut [u8], offset: u64) {
        buffer.fill(0);
        let end = offset + buffer.len() as u64;
        let first = self.data.partition_point(|run| run.end <= offset);
        for run in self.data[first..].iter().take_while(|run| run.start < end) {
            let mut at = run.start.max(offset);
            let until = run.end.min(end);
            while at < until {
                let page = at / PAGE;
                let stop = until.min((page + 1) * PAGE);
                let within = (at % PAGE) as usize;
                let part = &mut buffer[(at - offset) as usize..(stop - offset) as usize];
                let shift = (page.wrapping_mul(0x9e37_79b9) % 7000) as usize;
                part.copy_from_slice(&PATTERN[shift + within..][..part.len()]);
                // Every page differs from every other, and from itself in another version.
                let stamp = (page ^ version << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    | 0x0101_0101_0101_0101;
                if let Some(rest) = stamp.to_le_bytes().get(within..) {
                    let len = rest.len().min(part.len());
                    part[..len].copy_from_slice(&rest[..len]);
                }
                at = stop;
            }
        }
    }

    /// What is to be sent, worked out from the whole picture instead of on the way: from a page that
    /// is not zero on, up to 4 MiB, until there is a long gap.
    pub(super) fn plan(&self) -> Vec<Range<u64>> {
        let mut pages: Vec<Range<u64>> = Vec::new();
        for run in &self.data {
            let (start, end) = (run.start / PAGE, run.end.div_ceil(PAGE));
            match pages.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => pages.push(start..end),
            }
        }
        let mut plan = Vec::new();
        let mut open: Option<Range<u64>> = None;
        for run in pages {
            let mut at = run.start;
            while at < run.end {
                let joined = open
                    .take_if(|range| {
                        at - range.end < GAP
                            && at < range.start + MOST
                            && at / LOT == range.start / LOT
                    })
                    .map(|range| range.start);
                plan.extend(open.take());
                let start = joined.unwrap_or(at);
                let limit = (start + MOST).min((start / LOT + 1) * LOT);
                at = run.end.min(limit);
                open = Some(start..at);
            }
        }
        plan.extend(open);
        plan.iter()
            .map(|range| range.start * PAGE..range.end * PAGE)
            .collect()
    }

    pub(super) fn footer(&self, version: u64) -> [u8; 512] {
        if self.brings_footer {
            return *Footer::fixed(self.disk(), 7).bytes();
        }
        let mut sum = DiskChecksum::new(self.disk());
        let mut bytes = vec![0; 1 << 20];
        for run in &self.data {
            for at in run.clone().step_by(bytes.len()) {
                let part = &mut bytes[..(run.end - at).min(1 << 20) as usize];
                self.copy(version, part, at);
                sum.add(at, part);
            }
        }
        *Footer::fixed(self.disk(), sum.finish()).bytes()
    }
}

/// A source for one upload, which may fail or change while it is read.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) layout: Arc<Layout>,
    version: AtomicU64,
    reads: AtomicU64,
    /// The read that fails, counted from 0.
    fails_at: Option<u64>,
    /// The read before which the content becomes another one.
    changes_at: Option<u64>,
    pub(super) failed: AtomicBool,
    pub(super) changed: AtomicBool,
    pub(super) read_a_hole: AtomicBool,
}

impl Disk {
    pub(super) fn new(
        layout: &Arc<Layout>,
        version: u64,
        fails_at: Option<u64>,
        changes_at: Option<u64>,
    ) -> Self {
        Self {
            layout: Arc::clone(layout),
            version: AtomicU64::new(version),
            reads: AtomicU64::new(0),
            fails_at,
            changes_at,
            failed: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            read_a_hole: AtomicBool::new(false),
        }
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }
}

impl DiskSource for Disk {
    fn virtual_size(&self) -> u64 {
        self.layout.size
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        let extents = &self.layout.extents;
        let index = extents.partition_point(|extent| extent.end <= from);
        Ok(extents
            .get(index)
            .map(|extent| extent.start.max(from)..extent.end))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let nth = self.reads.fetch_add(1, Ordering::Relaxed);
        if self.fails_at == Some(nth) {
            self.failed.store(true, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Io, "the disk is gone"));
        }
        if self.changes_at == Some(nth) {
            self.changed.store(true, Ordering::Relaxed);
            self.version.fetch_add(1, Ordering::Relaxed);
        }
        let extents = &self.layout.extents;
        let index = extents.partition_point(|extent| extent.end <= offset);
        let end = offset + buffer.len() as u64;
        if !extents
            .get(index)
            .is_some_and(|extent| extent.start <= offset && end <= extent.end)
        {
            self.read_a_hole.store(true, Ordering::Relaxed);
        }
        self.layout.copy(self.version(), buffer, offset);
        Ok(())
    }

    fn footer(&self) -> Result<Option<[u8; 512]>> {
        let brings = self.layout.brings_footer;
        Ok(brings.then(|| self.layout.footer(self.version())))
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(self.version().to_string())
    }
}
