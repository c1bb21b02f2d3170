//! Who owns which part of a file: finds two owners of one place, in bounded memory.
//!
//! A bitmap of the whole file would grow with it. So the file is looked at in windows: all owners
//! are asked once per window that somebody owns a part of, and the bitmap is that of one window.

use std::ops::Range;

use super::fault::Fault;

/// Words of the bitmap, 8 MiB. Pages of it that nobody writes to cost no memory.
const WORDS: usize = 1 << 20;
/// Units in a window.
const WINDOW: u64 = WORDS as u64 * 64;

/// The owners within one window.
#[derive(Debug)]
pub(super) struct Claims {
    /// Bytes that one bit stands for.
    unit: u64,
    bits: Vec<u64>,
    /// The first unit of the window.
    start: u64,
    /// The first claimed unit behind the window.
    next: Option<u64>,
}

impl Claims {
    /// Calls `pass` once for each window, with a fresh bitmap. It must make the same claims every
    /// time. The unit is in bytes and not 0.
    pub(super) fn check(
        unit: u64,
        mut pass: impl FnMut(&mut Self) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut claims = Self {
            unit: unit.max(1),
            bits: vec![0; WORDS],
            start: 0,
            next: None,
        };
        loop {
            pass(&mut claims)?;
            let Some(next) = claims.next.take() else {
                return Ok(());
            };
            claims.start = next;
            // Anew, not filled: what nobody writes to costs nothing.
            claims.bits = vec![0; WORDS];
        }
    }

    /// Claims a range of bytes. When a part of it has an owner, says where that part begins.
    #[must_use = "somebody else may own it"]
    pub(super) fn claim(&mut self, range: &Range<u64>) -> Option<u64> {
        self.each_word(range, |word, mask| {
            let taken = *word & mask;
            *word |= mask;
            taken
        })
    }

    /// Where in the range something begins that has an owner in this window.
    #[cfg_attr(
        not(feature = "qcow2"),
        expect(dead_code, reason = "only qcow2 has that")
    )]
    pub(super) fn owned(&mut self, range: &Range<u64>) -> Option<u64> {
        self.each_word(range, |word, mask| *word & mask)
    }

    /// Calls `look` with each word and the bits of it that belong to the range; stops at the first
    /// that answers with a bit, and says which byte of the file that is.
    fn each_word(
        &mut self,
        range: &Range<u64>,
        mut look: impl FnMut(&mut u64, u64) -> u64,
    ) -> Option<u64> {
        let end_of_window = self.start.saturating_add(WINDOW);
        let first = (range.start / self.unit).max(self.start);
        let end = range.end.div_ceil(self.unit);
        if end > end_of_window {
            let behind = first.max(end_of_window);
            self.next = Some(self.next.map_or(behind, |next| next.min(behind)));
        }
        let mut at = first;
        let end = end.min(end_of_window);
        while at < end {
            let bit = at - self.start;
            let count = (64 - bit % 64).min(end - at);
            let mask = (u64::MAX >> (64 - count)) << (bit % 64);
            // Within the window, which has WORDS words.
            let word = self.bits.get_mut((bit / 64) as usize)?;
            let found = look(word, mask);
            if found != 0 {
                let unit = self.start + bit / 64 * 64 + u64::from(found.trailing_zeros());
                return Some((unit * self.unit).max(range.start));
            }
            at += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn overlap(unit: u64, ranges: &[Range<u64>]) -> Option<u64> {
        let mut found = None;
        Claims::check(unit, |claims| {
            for range in ranges {
                found = found.or(claims.claim(range));
            }
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn neighbours_are_no_overlap_and_far_windows_are_looked_at() {
        assert_eq!(overlap(512, &[0..512, 512..1024, 1024..4096]), None);
        assert_eq!(overlap(512, &[0..512, 1024..2048, 511..512]), Some(511));
        let far = 1 << 50;
        assert_eq!(overlap(512, &[far..far + 512, 0..512]), None);
        assert_eq!(
            overlap(512, &[0..9, far..far + 9, far + 5..far + 9]),
            Some(far + 5)
        );
        // Across the end of the first window.
        let end = WINDOW * 512;
        assert_eq!(
            overlap(512, &[end - 512..end + 512, end..end + 512]),
            Some(end)
        );
        assert_eq!(overlap(512, &[u64::MAX - 9..u64::MAX, 3..9]), None);
    }

    proptest! {
        #[test]
        fn it_finds_what_a_comparison_of_all_pairs_finds(
            ranges in prop::collection::vec((0u64..2000, 1u64..300), 1..20),
        ) {
            let ranges: Vec<_> = ranges.iter().map(|(start, length)| *start..start + length).collect();
            let pairs = ranges.iter().enumerate().any(|(index, a)| {
                ranges[..index].iter().any(|b| a.start < b.end && b.start < a.end)
            });
            prop_assert_eq!(overlap(1, &ranges).is_some(), pairs);
        }
    }
}
