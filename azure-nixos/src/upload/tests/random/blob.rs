//! The pages of a blob that were written, as runs of bytes: a disk of TiB with few data is small.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

#[derive(Debug, Default)]
pub(super) struct Blob {
    /// Offset to bytes: disjoint, not empty.
    runs: BTreeMap<u64, Bytes>,
}

impl Blob {
    pub(super) fn write(&mut self, offset: u64, bytes: Bytes) {
        self.clear(&(offset..offset + bytes.len() as u64));
        self.runs.insert(offset, bytes);
    }

    pub(super) fn clear(&mut self, range: &Range<u64>) {
        while let Some((&start, run)) = self.runs.range(..range.end).next_back() {
            let end = start + run.len() as u64;
            if end <= range.start {
                break;
            }
            let run = run.clone();
            self.runs.remove(&start);
            if start < range.start {
                let keep = (range.start - start) as usize;
                self.runs.insert(start, run.slice(..keep));
            }
            if end > range.end {
                let gone = (range.end - start) as usize;
                self.runs.insert(range.end, run.slice(gone..));
            }
        }
    }

    /// What was written in a range, in order, cut off at its ends.
    pub(super) fn within(&self, range: Range<u64>) -> impl Iterator<Item = (u64, Bytes)> + '_ {
        let before = self.runs.range(..range.start).next_back();
        before
            .into_iter()
            .chain(self.runs.range(range.clone()))
            .filter_map(move |(&start, run)| {
                let from = range.start.max(start);
                let until = range.end.min(start + run.len() as u64);
                (from < until).then(|| {
                    let run = run.slice((from - start) as usize..(until - start) as usize);
                    (from, run)
                })
            })
    }

    pub(super) fn read(&self, range: Range<u64>) -> Vec<u8> {
        let mut buffer = vec![0; (range.end - range.start) as usize];
        for (at, run) in self.within(range.clone()) {
            buffer[(at - range.start) as usize..][..run.len()].copy_from_slice(&run);
        }
        buffer
    }

    /// The page list of a range, exact to `unit` bytes.
    pub(super) fn list(&self, range: Range<u64>, unit: u64) -> Vec<Range<u64>> {
        let mut list: Vec<Range<u64>> = Vec::new();
        for (start, run) in self.within(range.clone()) {
            let end = (start + run.len() as u64).next_multiple_of(unit);
            let start = (start / unit * unit).max(range.start);
            let end = end.min(range.end);
            match list.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => list.push(start..end),
            }
        }
        list
    }
}
