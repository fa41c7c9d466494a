//! [`PageSet`]: which pages of a file exist, as ranges.

use std::collections::BTreeMap;
use std::ops::Range;

/// A set of page numbers. Ranges neither overlap nor touch.
#[derive(Debug, Default)]
pub(super) struct PageSet {
    /// First page to the page behind the last.
    ranges: BTreeMap<u64, u64>,
    count: u64,
}

impl PageSet {
    /// Number of pages.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The range that holds `page`.
    fn holding(&self, page: u64) -> Option<Range<u64>> {
        let (&start, &end) = self.ranges.range(..=page).next_back()?;
        (page < end).then_some(start..end)
    }

    /// How many of `pages` are not in the set.
    pub(super) fn missing(&self, pages: &Range<u64>) -> u64 {
        if self.holding(pages.start).is_some_and(|r| r.end >= pages.end) {
            return 0;
        }
        let mut missing = 0;
        let mut at = pages.start;
        while at < pages.end {
            match self.holding(at) {
                Some(r) => at = r.end,
                None => {
                    let next = self.ranges.range(at..pages.end).next().map_or(pages.end, |r| *r.0);
                    missing += next - at;
                    at = next;
                }
            }
        }
        missing
    }

    /// Adds pages; returns how many are new.
    pub(super) fn insert(&mut self, pages: Range<u64>) -> u64 {
        if pages.is_empty() || self.holding(pages.start).is_some_and(|r| r.end >= pages.end) {
            return 0;
        }
        let new = self.missing(&pages);
        let (mut start, mut end) = (pages.start, pages.end);
        // Swallow what overlaps or touches.
        while let Some((&s, &e)) = self.ranges.range(..=end).next_back() {
            if e < start {
                break;
            }
            start = start.min(s);
            end = end.max(e);
            self.ranges.remove(&s);
        }
        self.ranges.insert(start, end);
        self.count += new;
        new
    }

    /// Removes pages; returns how many were there.
    pub(super) fn remove(&mut self, pages: Range<u64>) -> u64 {
        if pages.is_empty() {
            return 0;
        }
        let mut removed = 0;
        while let Some((&s, &e)) = self.ranges.range(..pages.end).next_back() {
            if e <= pages.start {
                break;
            }
            self.ranges.remove(&s);
            removed += e.min(pages.end) - s.max(pages.start);
            if s < pages.start {
                self.ranges.insert(s, pages.start);
            }
            if e > pages.end {
                self.ranges.insert(pages.end, e);
            }
        }
        self.count -= removed;
        removed
    }

    /// First page in the set at or after `page`.
    pub(super) fn next_in(&self, page: u64) -> Option<u64> {
        if self.holding(page).is_some() {
            return Some(page);
        }
        self.ranges.range(page..).next().map(|r| *r.0)
    }

    /// First page not in the set at or after `page`.
    pub(super) fn next_out(&self, page: u64) -> u64 {
        self.holding(page).map_or(page, |r| r.end)
    }
}

#[cfg(test)]
mod tests {
    use super::PageSet;

    #[test]
    fn agrees_with_a_plain_set() {
        let mut set = PageSet::default();
        let mut model = std::collections::BTreeSet::new();
        let mut seed = 12345_u64;
        for _ in 0..4000 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let start = (seed >> 33) % 60;
            let end = start + (seed >> 50) % 12;
            if seed & (1 << 20) == 0 {
                let new = (start..end).filter(|p| model.insert(*p)).count() as u64;
                assert_eq!(set.missing(&(start..end)), new);
                assert_eq!(set.insert(start..end), new);
            } else {
                let gone = (start..end).filter(|p| model.remove(p)).count() as u64;
                assert_eq!(set.remove(start..end), gone);
            }
            assert_eq!(set.count(), model.len() as u64);
            assert_eq!(set.next_in(start), model.range(start..).next().copied());
            assert_eq!(set.next_out(start), (start..).find(|p| !model.contains(p)).unwrap());
        }
    }
}
