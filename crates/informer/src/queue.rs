//! A work queue of keys: each at most once, never with two workers, with delays and back-off.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// First and longest wait before an item that failed is tried again (client-go's default limiter).
const FIRST_RETRY: Duration = Duration::from_millis(5);
const LAST_RETRY: Duration = Duration::from_secs(1000);

/// A queue of keys to look at. Cheap to clone; clones share the items.
pub struct Queue<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    /// Wanted: in `ready`, or to be put there when its worker is done with it.
    dirty: HashSet<T>,
    working: HashSet<T>,
    /// When each delayed item is due; `timers` may hold stale entries, this map decides.
    due: HashMap<T, Instant>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    timed: HashMap<u64, T>,
    next_timer: u64,
    failures: HashMap<T, u32>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.inner.state.lock();
        f.debug_struct("Queue").field("ready", &state.ready.len()).field("working", &state.working.len()).finish()
    }
}

impl<T: Hash + Eq + Clone> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Hash + Eq + Clone> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            due: HashMap::new(),
            timers: BinaryHeap::new(),
            timed: HashMap::new(),
            next_timer: 0,
            failures: HashMap::new(),
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), wake: Notify::new() }) }
    }

    /// Wants `item` looked at now; nothing when it already waits. While a worker has it, it is
    /// handed out again after that worker is done.
    pub fn add(&self, item: T) {
        if self.inner.state.lock().add(item) {
            self.inner.wake.notify_one();
        }
    }

    /// Wants `item` looked at after `delay`; of several delays the earliest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let at = Instant::now() + delay;
        let mut state = self.inner.state.lock();
        if state.due.get(&item).is_some_and(|known| *known <= at) {
            return;
        }
        let id = state.next_timer;
        state.next_timer += 1;
        state.due.insert(item.clone(), at);
        state.timed.insert(id, item);
        state.timers.push(Reverse((at, id)));
        drop(state);
        self.inner.wake.notify_one();
    }

    /// Wants `item` looked at again after a wait that doubles with each failure in a row.
    pub fn retry(&self, item: T) {
        let failures = {
            let mut state = self.inner.state.lock();
            let count = state.failures.entry(item.clone()).or_insert(0);
            *count += 1;
            *count
        };
        let delay = FIRST_RETRY.saturating_mul(1_u32.checked_shl(failures - 1).unwrap_or(u32::MAX)).min(LAST_RETRY);
        self.add_after(item, delay);
    }

    /// Forgets the failures of `item`.
    pub fn forget(&self, item: &T) {
        self.inner.state.lock().failures.remove(item);
    }

    /// The worker that got `item` from [`Queue::next`] is finished with it.
    pub fn done(&self, item: &T) {
        let mut state = self.inner.state.lock();
        state.working.remove(item);
        if state.dirty.contains(item) {
            state.ready.push_back(item.clone());
            drop(state);
            self.inner.wake.notify_one();
        }
    }

    /// Waits for the next item. The caller must call [`Queue::done`] when finished with it.
    pub async fn next(&self) -> T {
        loop {
            let (item, more, wait) = {
                let mut state = self.inner.state.lock();
                state.release_due(Instant::now());
                (state.take(), !state.ready.is_empty(), state.timers.peek().map(|Reverse((at, _))| *at))
            };
            if let Some(item) = item {
                if more {
                    self.inner.wake.notify_one(); // several adds may have left a single permit
                }
                return item;
            }
            let woken = self.inner.wake.notified();
            match wait {
                None => woken.await,
                Some(at) => if let Ok(()) = tokio::time::timeout_at(at, woken).await {},
            }
        }
    }

    /// How many items wait to be handed out now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.state.lock().ready.len()
    }

    /// True when nothing waits to be handed out now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Hash + Eq + Clone> State<T> {
    /// True when the item became ready.
    fn add(&mut self, item: T) -> bool {
        if !self.dirty.insert(item.clone()) || self.working.contains(&item) {
            return false;
        }
        self.ready.push_back(item);
        true
    }

    fn take(&mut self) -> Option<T> {
        let item = self.ready.pop_front()?;
        self.dirty.remove(&item);
        self.working.insert(item.clone());
        Some(item)
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(Reverse((at, id))) = self.timers.peek().copied() {
            let stale = self.timed.get(&id).is_none_or(|item| self.due.get(item) != Some(&at));
            if !stale && at > now {
                return;
            }
            self.timers.pop();
            if let Some(item) = self.timed.remove(&id)
                && !stale
            {
                self.due.remove(&item);
                self.add(item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test(start_paused = true)]
    async fn an_item_is_handed_out_once_however_often_it_is_added() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_item_added_while_worked_on_comes_again_after_that() {
        let queue = Queue::new();
        queue.add("a");
        let item = queue.next().await;
        queue.add("a");
        assert!(queue.is_empty());
        queue.done(&item);
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_of_several_delays_counts() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_secs(5));
        queue.add_after("a", Duration::from_secs(30));
        let item = queue.next().await;
        assert_eq!(start.elapsed().as_secs(), 5);
        queue.done(&item);
        let again = tokio::time::timeout(Duration::from_secs(600), queue.next()).await;
        assert!(again.is_err(), "the later delays were replaced by the earlier one");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_until_forgotten() {
        let queue = Queue::new();
        let mut waits = Vec::new();
        for round in 0..5 {
            if round == 4 {
                queue.forget(&"a");
            }
            let start = Instant::now();
            queue.retry("a");
            let item = queue.next().await;
            waits.push(start.elapsed().as_millis());
            queue.done(&item);
        }
        assert_eq!(waits, [5, 10, 20, 40, 5]);
    }

    proptest! {
        #[test]
        fn every_added_item_is_handed_out_and_never_twice_at_once(steps in prop::collection::vec((0_u8..3, 0_u8..4), 0..60)) {
            let mut state = Queue::<u8>::new();
            let inner = Arc::get_mut(&mut state.inner).expect("only owner").state.get_mut();
            let mut wanted = HashSet::new();
            for (step, item) in steps {
                match step {
                    0 => { inner.add(item); wanted.insert(item); }
                    1 => if let Some(got) = inner.take() {
                        prop_assert!(wanted.remove(&got));
                        prop_assert_eq!(inner.ready.iter().filter(|ready| inner.working.contains(ready)).count(), 0);
                    },
                    _ => if inner.working.remove(&item) && inner.dirty.contains(&item) { inner.ready.push_back(item); },
                }
            }
            for item in inner.working.drain().collect::<Vec<_>>() {
                if inner.dirty.contains(&item) { inner.ready.push_back(item); }
            }
            while let Some(got) = inner.take() { prop_assert!(wanted.remove(&got)); }
            prop_assert!(wanted.is_empty());
        }
    }
}
