//! Which of a Job's indexes are meant, in the compressed form of its status: `1,3-5,7`.
//!
//! Invariant: spans are in order and do not touch, so every set has one form and the cost of a set is its spans, not its
//! indexes: a Job may have millions. What cannot be read of a text is left out, as upstream.

use std::fmt;

/// A set of indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads the indexes below `completions` of a text.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let spans = text.split(',').filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
            (0 <= first && first <= last && first < completions).then_some((first, last.min(completions - 1)))
        });
        Self::of(spans.collect())
    }

    fn of(mut spans: Vec<(i32, i32)>) -> Self {
        spans.sort_unstable();
        let mut joined: Vec<(i32, i32)> = Vec::with_capacity(spans.len());
        for (first, last) in spans {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// These and those.
    pub(super) fn and(&self, others: &Self) -> Self {
        Self::of([self.0.as_slice(), others.0.as_slice()].concat())
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let place = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(place).is_some_and(|(first, _)| *first <= index)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many are in both sets.
    pub(super) fn shared_with(&self, others: &Self) -> i32 {
        let overlap = |(a, b): &(i32, i32), (c, d): &(i32, i32)| (b.min(d) - a.max(c) + 1).max(0);
        let (mut total, mut i, mut j) = (0, 0, 0);
        while let (Some(ours), Some(theirs)) = (self.0.get(i), others.0.get(j)) {
            total += overlap(ours, theirs);
            if ours.1 <= theirs.1 { i += 1 } else { j += 1 }
        }
        total
    }

    /// The first `count` indexes below `completions` that are not in the set.
    pub(super) fn missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut missing = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            missing.extend((next..first.min(completions)).take(count - missing.len()));
            next = last.saturating_add(1);
        }
        missing
    }
}

impl FromIterator<i32> for Indexes {
    fn from_iter<T: IntoIterator<Item = i32>>(indexes: T) -> Self {
        Self::of(indexes.into_iter().map(|index| (index, index)).collect())
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_has_one_form_and_what_is_unreadable_or_too_large_is_left_out() {
        let form = |text: &str| Indexes::parse(text, 10).to_string();
        assert_eq!(form(""), "");
        assert_eq!(form("0,1,2,4,6,7"), "0-2,4,6,7");
        assert_eq!(form("1-3,4"), "1-4");
        assert_eq!(form("7-20"), "7-9");
        assert_eq!(form("3-1,x,2,-1,5-y,12"), "2");
    }

    fn indexes() -> impl Strategy<Value = BTreeSet<i32>> {
        prop::collection::btree_set(0..40_i32, 0..20)
    }

    proptest! {
        #[test]
        fn it_is_a_set(ours in indexes(), theirs in indexes(), count in 0..10_usize) {
            let (a, b): (Indexes, Indexes) = (ours.iter().copied().collect(), theirs.iter().copied().collect());
            prop_assert_eq!(&Indexes::parse(&a.to_string(), 40), &a);
            prop_assert_eq!(a.and(&b), ours.union(&theirs).copied().collect::<Indexes>());
            prop_assert_eq!(a.total(), i32::try_from(ours.len()).expect("small"));
            prop_assert_eq!(a.shared_with(&b), i32::try_from(ours.intersection(&theirs).count()).expect("small"));
            prop_assert!((0..40).all(|index| a.has(index) == ours.contains(&index)));
            let missing: Vec<i32> = (0..30).filter(|index| !ours.contains(index)).take(count).collect();
            prop_assert_eq!(a.missing(count, 30), missing);
        }
    }
}
