//! Where a disk is not zero, in bounded memory: a bit for so many bytes, and more of them as the disk
//! turns out to be larger.

use std::ops::Range;

/// Bytes of the finest unit: a shorter hole saves less than a request costs.
const FINEST: u64 = 64 << 10;
/// 2 MiB of memory; 32 TiB have a unit of 2 MiB.
const MOST_BITS: u64 = 16 << 20;

#[derive(Clone, Debug)]
pub(super) struct Map {
    unit: u64,
    words: Vec<u64>,
}

impl Map {
    pub(super) fn new() -> Self {
        Self {
            unit: FINEST,
            words: Vec::new(),
        }
    }

    /// Bytes of the unit that is marked at least.
    pub(super) const FINEST: u64 = FINEST;

    /// Notes that there is data in these bytes.
    pub(super) fn mark(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        while (range.end - 1) / self.unit >= MOST_BITS {
            self.coarsen();
        }
        for bit in range.start / self.unit..=(range.end - 1) / self.unit {
            // Fewer than MOST_BITS.
            let word = (bit / 64) as usize;
            if self.words.len() <= word {
                self.words.resize(word + 1, 0);
            }
            self.words[word] |= 1 << (bit % 64);
        }
    }

    /// Doubles the unit.
    fn coarsen(&mut self) {
        let mut words = vec![0; self.words.len().div_ceil(2)];
        for (number, word) in self.words.iter().enumerate() {
            let mut half = 0u64;
            for bit in 0..32 {
                half |= u64::from(word >> (2 * bit) & 3 != 0) << bit;
            }
            words[number / 2] |= half << (number % 2 * 32);
        }
        self.words = words;
        self.unit *= 2;
    }

    /// The first marked range at or after `from`, cut off below it. Its end may be beyond what was
    /// marked, by less than a unit.
    pub(super) fn next(&self, from: u64) -> Option<Range<u64>> {
        let start = self.find(from / self.unit, false)?;
        let end = self
            .find(start, true)
            .unwrap_or(self.words.len() as u64 * 64);
        Some(from.max(start * self.unit)..end * self.unit)
    }

    /// The first bit at or after `from` that is set, or that is not.
    fn find(&self, from: u64, not: bool) -> Option<u64> {
        let mut word = (from / 64) as usize;
        let mut mask = u64::MAX << (from % 64);
        while let Some(&bits) = self.words.get(word) {
            let bits = if not { !bits } else { bits } & mask;
            if bits != 0 {
                return Some(word as u64 * 64 + u64::from(bits.trailing_zeros()));
            }
            mask = u64::MAX;
            word += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(map: &Map) -> Vec<Range<u64>> {
        let mut at = 0;
        let mut all = Vec::new();
        while let Some(range) = map.next(at) {
            at = range.end;
            all.push(range);
        }
        all
    }

    proptest! {
        #[test]
        fn what_is_marked_is_found_and_little_else(
            marks in prop::collection::vec((0u64..40 << 40, 1u64..5 << 20), 0..20),
        ) {
            let mut map = Map::new();
            for (start, length) in &marks {
                map.mark(*start..start + length);
            }
            let found = all(&map);
            for (start, length) in &marks {
                let inside = found.iter().any(|one| one.start <= *start && one.end >= start + length);
                prop_assert!(inside, "{start} {length}: {found:?}");
            }
            for range in &found {
                let near = marks.iter().any(|(start, length)| {
                    range.start <= start + length && range.start + map.unit > *start
                });
                prop_assert!(near, "{range:?} for {marks:?}");
            }
            prop_assert!(map.words.len() as u64 * 64 <= MOST_BITS);
        }
    }

    #[test]
    fn neighbours_are_one_range_and_a_question_inside_is_cut_off() {
        let mut map = Map::new();
        map.mark(FINEST..2 * FINEST);
        map.mark(2 * FINEST..2 * FINEST + 1);
        map.mark(100 * FINEST + 5..100 * FINEST + 6);
        assert_eq!(all(&map), [FINEST..3 * FINEST, 100 * FINEST..101 * FINEST]);
        assert_eq!(map.next(2 * FINEST + 9), Some(2 * FINEST + 9..3 * FINEST));
        assert_eq!(map.next(101 * FINEST), None);
    }
}
