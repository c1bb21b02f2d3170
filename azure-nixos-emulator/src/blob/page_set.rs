//! Which pages of a blob hold written data.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of page numbers, kept as the fewest ranges: touching ones are one.
///
/// Memory is about 16 bytes a range plus the tree, whatever the size of the blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PageSet(BTreeMap<u64, u64>);

impl PageSet {
    /// Adds the pages of `range`.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        // Ranges that overlap or touch become part of the new one. Searching from the right
        // leaves the tree once nothing reaches `start` any more.
        while let Some((&first, &last)) = self.0.range(..=end).next_back() {
            if last < start {
                break;
            }
            self.0.remove(&first);
            start = start.min(first);
            end = end.max(last);
        }
        self.0.insert(start, end);
    }

    /// Takes the pages of `range` out.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { start, end } = range;
        while let Some((&first, &last)) = self.0.range(..end).next_back() {
            if last <= start {
                break;
            }
            self.0.remove(&first);
            if last > end {
                self.0.insert(end, last);
            }
            if first < start {
                self.0.insert(first, start);
                break;
            }
        }
    }

    /// The ranges inside `window`, cut to it, in order.
    pub(super) fn within(&self, window: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        // The range that begins before the window may reach into it.
        let from = self
            .0
            .range(..=window.start)
            .next_back()
            .map_or(window.start, |(&first, _)| first);
        self.0
            .range(from..window.end.max(from))
            .map(move |(&first, &last)| first.max(window.start)..last.min(window.end))
            .filter(|range| !range.is_empty())
    }

    /// All ranges, in order.
    pub(super) fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(&first, &last)| first..last)
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGES: u64 = 64;

    fn model_ranges(model: &[bool], window: Range<u64>) -> Vec<Range<u64>> {
        let mut found: Vec<Range<u64>> = Vec::new();
        for page in window.filter(|page| model[*page as usize]) {
            match found.last_mut() {
                Some(last) if last.end == page => last.end += 1,
                _ => found.push(page..page + 1),
            }
        }
        found
    }

    proptest! {
        #[test]
        fn it_is_a_set_of_pages(
            steps in prop::collection::vec((any::<bool>(), 0..=PAGES, 0..=PAGES), 0..60),
            a in 0..=PAGES,
            b in 0..=PAGES,
        ) {
            let mut set = PageSet::default();
            let mut model = vec![false; PAGES as usize];
            for (insert, a, b) in steps {
                let range = a.min(b)..a.max(b);
                for page in range.clone() {
                    model[page as usize] = insert;
                }
                if insert {
                    set.insert(range);
                } else {
                    set.remove(range);
                }
                let all: Vec<_> = set.ranges().collect();
                prop_assert_eq!(&all, &model_ranges(&model, 0..PAGES));
                prop_assert_eq!(set.len(), all.len());
            }
            let window = a.min(b)..a.max(b);
            prop_assert_eq!(
                set.within(window.clone()).collect::<Vec<_>>(),
                model_ranges(&model, window)
            );
        }
    }
}
