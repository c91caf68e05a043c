//! Numbers 0..size handed out at most once each: what cluster addresses and node ports have in common.
//!
//! Each taken number has an owner (the service's store key) and is *pending* until the write it was taken for is over.
//! The lower band is kept for people who ask for a number themselves; automatic ones come from above it while there are
//! any (upstream's static and dynamic band). Automatic numbers go round, so a number just given back is not the next to
//! be given out: clients and connection tracking may still remember it. Not a bitmap: services are few, ranges are large.

use std::{collections::HashMap, sync::Arc};

/// Who has a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) owner: Arc<str>,
    /// The write it was taken for is not over yet.
    pub(crate) pending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Taken,
    Full,
    OutOfRange,
}

#[derive(Debug)]
pub(crate) struct Pool {
    size: u64,
    /// Where the automatic band starts.
    band: u64,
    next: u64,
    taken: HashMap<u64, Entry>,
}

impl Pool {
    pub(crate) fn new(size: u64, band: u64) -> Self {
        Self { size, band: band.min(size), next: band.min(size), taken: HashMap::new() }
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Entry> {
        self.taken.get(&number)
    }

    /// Takes this very number, pending.
    pub(crate) fn take(&mut self, number: u64, owner: &Arc<str>) -> Result<(), Refusal> {
        if number >= self.size {
            return Err(Refusal::OutOfRange);
        }
        if self.taken.contains_key(&number) {
            return Err(Refusal::Taken);
        }
        self.taken.insert(number, Entry { owner: Arc::clone(owner), pending: true });
        Ok(())
    }

    /// Takes any number, pending.
    pub(crate) fn take_any(&mut self, owner: &Arc<str>) -> Result<u64, Refusal> {
        let number = self.free(self.next..self.size).or_else(|| self.free(self.band..self.next));
        let number = number.or_else(|| self.free(0..self.band)).ok_or(Refusal::Full)?;
        if number >= self.band {
            self.next = number + 1;
        }
        self.take(number, owner)?;
        Ok(number)
    }

    fn free(&self, mut range: std::ops::Range<u64>) -> Option<u64> {
        // At most as many steps as numbers are taken, however large the range.
        range.find(|number| !self.taken.contains_key(number))
    }

    /// The write is over: the number is its owner's until the owner no longer shows it.
    pub(crate) fn settle(&mut self, number: u64) {
        if let Some(entry) = self.taken.get_mut(&number) {
            entry.pending = false;
        }
    }

    pub(crate) fn release(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    /// For objects read at start.
    pub(crate) fn hold(&mut self, number: u64, owner: &Arc<str>) {
        if number < self.size {
            self.taken.entry(number).or_insert_with(|| Entry { owner: Arc::clone(owner), pending: false });
        }
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.taken.keys().copied()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Any,
        Take(u64),
        Release(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![Just(Step::Any), (0..40u64).prop_map(Step::Take), (0..40u64).prop_map(Step::Release)]
    }

    proptest! {
        #[test]
        fn no_number_is_given_twice_and_a_released_one_is_free(steps in proptest::collection::vec(step(), 0..200)) {
            let owner: Arc<str> = "a".into();
            let mut pool = Pool::new(32, 8);
            let mut model: HashSet<u64> = HashSet::new();
            for step in steps {
                match step {
                    Step::Any => match pool.take_any(&owner) {
                        Ok(number) => {
                            prop_assert!(number < 32 && model.insert(number), "{number} was taken");
                            let upper_left = (8..32).any(|number| !model.contains(&number));
                            prop_assert!(number >= 8 || !upper_left, "{number} is in the static band");
                        }
                        Err(refusal) => prop_assert!(refusal == Refusal::Full && model.len() == 32),
                    },
                    Step::Take(number) => {
                        let expected = match number {
                            32.. => Err(Refusal::OutOfRange),
                            number if model.contains(&number) => Err(Refusal::Taken),
                            _ => Ok(()),
                        };
                        prop_assert_eq!(pool.take(number, &owner), expected);
                        if expected.is_ok() {
                            model.insert(number);
                        }
                    }
                    Step::Release(number) => {
                        pool.release(number);
                        model.remove(&number);
                    }
                }
                prop_assert_eq!(pool.len(), model.len());
            }
        }
    }

    #[test]
    fn a_number_just_given_back_is_not_the_next_one() {
        let owner: Arc<str> = "a".into();
        let mut pool = Pool::new(16, 4);
        let first = pool.take_any(&owner).unwrap();
        pool.release(first);
        assert_ne!(pool.take_any(&owner).unwrap(), first);
    }
}
