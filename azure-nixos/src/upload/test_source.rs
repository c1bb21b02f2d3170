//! A disk in memory for the tests of the uploader: as large as one likes, sparse, and strict about
//! holes being read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::disk::DiskSource;
use crate::{Error, ErrorKind, Result};

const BLOCK: u64 = 64 << 10;

#[derive(Debug, Default)]
struct Shared {
    read_a_hole: AtomicBool,
    changes: AtomicU64,
    fail_reads: AtomicBool,
    bytes_read: AtomicU64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySource {
    size: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
    extents: Vec<Range<u64>>,
    lies: bool,
    footer: Option<[u8; 512]>,
    shared: Arc<Shared>,
}

impl MemorySource {
    pub(crate) fn new(size: u64) -> Self {
        Self {
            size,
            ..Self::default()
        }
    }

    /// Writes bytes that are never zero and differ from place to place.
    pub(crate) fn fill(&mut self, offset: u64, len: usize) {
        let end = (offset + len as u64).min(self.size);
        let mut at = offset;
        while at < end {
            let (index, within) = (at / BLOCK, (at % BLOCK) as usize);
            let stop = end.min((index + 1) * BLOCK);
            let block = self
                .blocks
                .entry(index)
                .or_insert_with(|| vec![0; BLOCK as usize]);
            let part = &mut block[within..within + (stop - at) as usize];
            // One number for every 8 bytes; each of its bytes is odd.
            for (i, chunk) in part.chunks_mut(8).enumerate() {
                let word = (at + i as u64 * 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    | 0x0101_0101_0101_0101;
                chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
            }
            at = stop;
        }
    }

    /// Sets where data may be; the ranges may overlap and need no order.
    pub(crate) fn extents(&mut self, extents: impl IntoIterator<Item = Range<u64>>) {
        let mut list: Vec<_> = extents
            .into_iter()
            .map(|e| e.start..e.end.min(self.size))
            .filter(|e| !e.is_empty())
            .collect();
        list.sort_by_key(|e| e.start);
        self.extents.clear();
        for extent in list {
            match self.extents.last_mut() {
                // Touching ones stay apart: the contract allows it.
                Some(last) if extent.start < last.end => last.end = last.end.max(extent.end),
                _ => self.extents.push(extent),
            }
        }
    }

    pub(crate) fn lie_about_extents(&mut self) {
        self.lies = true;
    }

    pub(crate) fn set_footer(&mut self, footer: [u8; 512]) {
        self.footer = Some(footer);
    }

    /// Makes the fingerprint another one.
    pub(crate) fn change(&self) {
        self.shared.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that were asked for.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.shared.bytes_read.load(Ordering::Relaxed)
    }

    pub(crate) fn fail_reads(&self) {
        self.shared.fail_reads.store(true, Ordering::Relaxed);
    }

    pub(crate) fn read_a_hole(&self) -> bool {
        self.shared.read_a_hole.load(Ordering::Relaxed)
    }

    /// The content as a machine would see it.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut content = vec![0; self.size as usize];
        for extent in &self.extents {
            self.copy(
                &mut content[extent.start as usize..extent.end as usize],
                extent.start,
            );
        }
        content
    }

    fn copy(&self, buffer: &mut [u8], offset: u64) {
        let end = offset + buffer.len() as u64;
        let mut at = offset;
        while at < end {
            let (index, within) = (at / BLOCK, (at % BLOCK) as usize);
            let stop = end.min((index + 1) * BLOCK);
            let part = &mut buffer[(at - offset) as usize..(stop - offset) as usize];
            match self.blocks.get(&index) {
                Some(block) => part.copy_from_slice(&block[within..within + part.len()]),
                None => part.fill(0),
            }
            at = stop;
        }
    }
}

impl DiskSource for MemorySource {
    fn virtual_size(&self) -> u64 {
        self.size
    }

    fn next_extent(&self, from: u64) -> Result<Option<Range<u64>>> {
        if self.lies {
            return Ok(self.extents.first().map(|e| e.start..from.min(e.end)));
        }
        let index = self.extents.partition_point(|e| e.end <= from);
        Ok(self.extents.get(index).map(|e| e.start.max(from)..e.end))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        if self.shared.fail_reads.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Io, "the disk is gone"));
        }
        let end = offset + buffer.len() as u64;
        if !self
            .extents
            .iter()
            .any(|e| e.start <= offset && end <= e.end)
        {
            self.shared.read_a_hole.store(true, Ordering::Relaxed);
        }
        let read = buffer.len() as u64;
        self.shared.bytes_read.fetch_add(read, Ordering::Relaxed);
        self.copy(buffer, offset);
        Ok(())
    }

    fn identity(&self) -> Result<String> {
        Err(Error::new(
            ErrorKind::Internal,
            "an upload needs no name for the content",
        ))
    }

    fn footer(&self) -> Result<Option<[u8; 512]>> {
        Ok(self.footer)
    }

    fn fingerprint(&self) -> Result<String> {
        Ok(self.shared.changes.load(Ordering::Relaxed).to_string())
    }
}
