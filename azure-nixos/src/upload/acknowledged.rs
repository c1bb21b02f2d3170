//! What the service has acknowledged, and whether that is all there was to send.
//!
//! Two accounts are kept. The [`Tally`] is exact and of constant size: a count, a sum of bytes and
//! a sum of hashes of `(offset, length)`; one is kept where ranges are cut and one where they are
//! acknowledged, and an upload is complete when both are equal. A sum does not depend on the order,
//! and with a well-mixed 64-bit hash a lost range and a doubled one do not cancel out. The
//! [`Ranges`] say *where*, for the comparison with the target's own list: touching ranges are
//! joined, so a dense disk is one entry and a fragmented one an entry per gap.

use std::collections::BTreeMap;
use std::ops::Range;

/// Entries that [`Ranges`] hold before they give up: about 24 MiB. Gaps shorter than the planner's
/// threshold do not split a range, so this is more than 100 GiB of maximally scattered data.
const MOST: usize = 1 << 20;

/// A checksum over a set of ranges, independent of their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) ranges: u64,
    pub(crate) bytes: u64,
    mixed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, range: &Range<u64>) {
        self.ranges += 1;
        self.bytes += range.end - range.start;
        self.mixed = self
            .mixed
            .wrapping_add(mix(mix(range.start) ^ range.end.rotate_left(32)));
    }
}

/// The finaliser of `SplitMix64`: every input bit reaches every output bit.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A set of bytes as disjoint ranges that do not touch, up to a bound in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    /// Start to end.
    map: BTreeMap<u64, u64>,
    overflowed: bool,
}

impl Ranges {
    /// Adds a range; overlapping what is there is allowed.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() || self.overflowed {
            return;
        }
        let Range { mut start, mut end } = range;
        if let Some((&before, &until)) = self.map.range(..=start).next_back()
            && until >= start
        {
            start = before;
            end = end.max(until);
            self.map.remove(&before);
        }
        while let Some((&next, &until)) = self.map.range(start..=end).next() {
            end = end.max(until);
            self.map.remove(&next);
        }
        self.map.insert(start, end);
        if self.map.len() > MOST {
            self.overflowed = true;
            self.map = BTreeMap::new();
        }
    }

    /// Whether the set became too fragmented to be kept. It is empty then and proves nothing.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.map.iter().map(|(start, end)| end - start).sum()
    }

    /// Takes out what is not in the other set.
    pub(crate) fn intersect(&mut self, other: &Self) {
        let gone: Vec<_> = self.minus(other).collect();
        for range in gone {
            self.remove(&range);
        }
    }

    fn remove(&mut self, range: &Range<u64>) {
        // What overlaps begins before the end; of those, all but the first begin inside.
        while let Some((&start, &end)) = self.map.range(..range.end).next_back()
            && end > range.start
        {
            self.map.remove(&start);
            if start < range.start {
                self.map.insert(start, range.start);
            }
            if end > range.end {
                self.map.insert(range.end, end);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.map.iter().map(|(start, end)| *start..*end)
    }

    /// The part of this set that is not in the other.
    pub(crate) fn minus<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Range<u64>> + 'a {
        self.iter().flat_map(move |range| other.gaps_in(range))
    }

    /// The parts of a range that are not in this set.
    pub(crate) fn gaps_in(&self, range: Range<u64>) -> Gaps<'_> {
        Gaps {
            set: self,
            at: range.start,
            end: range.end,
        }
    }
}

pub(crate) struct Gaps<'a> {
    set: &'a Ranges,
    at: u64,
    end: u64,
}

impl Iterator for Gaps<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        if let Some((_, &until)) = self.set.map.range(..=self.at).next_back()
            && until > self.at
        {
            self.at = until;
        }
        if self.at >= self.end {
            return None;
        }
        let next = self.set.map.range(self.at..).next();
        let stop = next.map_or(self.end, |(&start, _)| start.min(self.end));
        let gap = self.at..stop;
        self.at = stop;
        Some(gap)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pages(set: &Ranges) -> Vec<u64> {
        set.iter().flatten().collect()
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_bytes(
            a in proptest::collection::vec((0u64..200, 1u64..20), 0..40),
            b in proptest::collection::vec((0u64..200, 1u64..20), 0..40),
        ) {
            let build = |list: &[(u64, u64)]| {
                let mut set = Ranges::default();
                let mut model = std::collections::BTreeSet::new();
                for (start, len) in list {
                    set.insert(*start..start + len);
                    model.extend(*start..start + len);
                }
                (set, model)
            };
            let (a, model_a) = build(&a);
            let (b, model_b) = build(&b);
            prop_assert_eq!(pages(&a), model_a.iter().copied().collect::<Vec<_>>());
            let mut end = None;
            for range in a.iter() {
                prop_assert!(end.is_none_or(|end| range.start > end), "touching ranges are joined");
                end = Some(range.end);
            }
            let difference: Vec<u64> = a.minus(&b).flatten().collect();
            prop_assert_eq!(difference, model_a.difference(&model_b).copied().collect::<Vec<_>>());
            prop_assert_eq!(a.bytes(), model_a.len() as u64);
            for range in b.iter() {
                let covered = range.clone().all(|byte| model_a.contains(&byte));
                prop_assert_eq!(a.gaps_in(range.clone()).next().is_none(), covered);
            }
            let mut both = a.clone();
            both.intersect(&b);
            prop_assert_eq!(pages(&both), model_a.intersection(&model_b).copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_tally_knows_lost_doubled_and_moved_ranges_but_not_the_order() {
        let of = |ranges: &[Range<u64>]| {
            let mut tally = Tally::default();
            for range in ranges {
                tally.add(range);
            }
            tally
        };
        let plan = of(&[0..512, 1024..2048, 4096..4608]);
        assert_eq!(plan, of(&[4096..4608, 0..512, 1024..2048]));
        assert_ne!(plan, of(&[0..512, 1024..2048]));
        assert_ne!(plan, of(&[0..512, 1024..2048, 0..512]));
        assert_ne!(plan, of(&[0..1024, 1024..1536, 4096..4608]));
    }

    #[test]
    fn too_many_fragments_are_admitted() {
        let mut set = Ranges::default();
        for i in 0..=MOST as u64 {
            set.insert(i * 4..i * 4 + 1);
        }
        assert!(set.overflowed());
        assert!(set.is_empty());
    }
}
