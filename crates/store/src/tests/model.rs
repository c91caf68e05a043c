//! The store against a naive model: a copy of the whole map per revision.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{CommitError, History, Range, RangeError};

const KEYS: [&str; 6] =
    ["/core/pods/a/x", "/core/pods/a/y", "/core/pods/b/x", "/core/nodes/n", "/core/podtemplates/a/x", "/apps/sets/a/x"];
const PREFIXES: [&str; 7] =
    ["/core/pods/", "/core/pods/a/", "/core/nodes/", "/core/podtemplates/a/", "/apps/sets/", "/core/", "/"];

#[derive(Debug, Clone)]
enum Step {
    /// Writes: which key, delete or put, what to expect.
    Commit(Vec<(usize, bool, Guess)>),
    Range {
        prefix: usize,
        after: Option<usize>,
        limit: usize,
        back: Option<u64>,
    },
    Watch {
        prefix: usize,
        back: u64,
    },
    Drain,
    Compact {
        back: u64,
    },
    Reopen,
}

/// An expectation, relative to what the model knows.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Any,
    Absent,
    Present,
    Right,
    Stale,
}

fn step() -> impl Strategy<Value = Step> {
    let guess = prop_oneof![
        6 => Just(Guess::Any), 1 => Just(Guess::Absent), 1 => Just(Guess::Present),
        2 => Just(Guess::Right), 1 => Just(Guess::Stale)
    ];
    let write = (0..KEYS.len(), prop::bool::weighted(0.3), guess);
    let range = (0..PREFIXES.len(), prop::option::of(0..KEYS.len()), 0..4_usize, prop::option::of(0..12_u64));
    prop_oneof![
        12 => prop::collection::vec(write, 1..4).prop_map(Step::Commit),
        6 => range.prop_map(|(prefix, after, limit, back)| Step::Range { prefix, after, limit, back }),
        2 => (0..5_usize, 0..8_u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        4 => Just(Step::Drain),
        1 => (0..10_u64).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ]
}

type Map = BTreeMap<&'static str, String>;

struct Model {
    /// The shown state and the shown events of each revision; the index is the revision.
    states: Vec<Map>,
    events: Vec<Vec<(&'static str, String)>>,
    compacted: Revision,
    /// The history is so short that anything but the present may be refused.
    forgetful: bool,
    watches: Vec<(&'static str, Watch, Revision)>,
}

impl Model {
    fn revision(&self) -> Revision {
        self.states.len() as u64 - 1
    }

    fn now(&self) -> &Map {
        self.states.last().unwrap()
    }

    fn may_refuse(&self, at: Revision) -> bool {
        at < self.compacted || self.forgetful && at < self.revision()
    }

    fn commit(&mut self, store: &dyn Store, writes: &[(usize, bool, Guess)]) {
        let revision = self.revision() + 1;
        let (mut next, mut events, mut real, mut refused) = (self.now().clone(), Vec::new(), Vec::new(), None);
        for (index, &(key, is_delete, guess)) in writes.iter().enumerate() {
            let key = KEYS[key];
            let current = store.get(key);
            let at = current.as_ref().map_or(1, |record| record.revision);
            let (expect, holds) = match guess {
                Guess::Any => (Expect::Any, true),
                Guess::Absent => (Expect::Absent, current.is_none()),
                Guess::Present => (Expect::Present, current.is_some()),
                Guess::Right => (Expect::Revision(at), current.is_some()),
                Guess::Stale => (Expect::Revision(at - 1), false),
            };
            let value = format!("v{revision}.{index}");
            real.push(if is_delete { delete(key, &value, expect) } else { put(key, &value, expect) });
            let twice = writes[..index].iter().any(|&(before, ..)| KEYS[before] == key);
            refused = refused.or((twice || !holds || is_delete && current.is_none()).then_some((index, twice)));
            let created = current.as_ref().map_or(revision, |record| record.created);
            let shown = format!("{key}={value}@{revision} c{created} r{revision}");
            let verb = if is_delete { "delete" } else { "put" };
            let was = current.map(|record| format!(" was {}", String::from_utf8_lossy(&record.value)));
            events.push((key, format!("{verb} {shown}{}", was.unwrap_or_default())));
            if is_delete {
                next.remove(key)
            } else {
                next.insert(key, shown)
            };
        }
        match (wait(store.commit(real)), refused) {
            (Ok(_), None) => {
                self.states.push(next);
                self.events.push(events);
            }
            (Err(CommitError::Conflict { index, .. }), Some((at, false))) => assert_eq!(index, at),
            (Err(CommitError::Key { index, .. }), Some((at, true))) => assert_eq!(index, at),
            (outcome, refused) => panic!("{outcome:?}, but the model says {refused:?}"),
        }
        assert_eq!(store.revision(), self.revision());
    }

    fn range(&self, store: &dyn Store, prefix: &str, after: Option<&str>, limit: usize, at: Option<Revision>) {
        let page = match store.range(Range { prefix, after, limit, at }) {
            Ok(page) => page,
            Err(RangeError::Compacted { oldest }) => {
                assert!(self.may_refuse(at.unwrap()) && oldest > at.unwrap(), "{prefix} at {at:?}, oldest {oldest}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        assert!(at.is_none_or(|at| at >= self.compacted));
        let state = &self.states[at.unwrap_or(self.revision()) as usize];
        let all = state.iter().filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| **key > after));
        let all: Vec<_> = all.map(|(_, shown)| shown.as_str()).collect();
        let taken = if limit == 0 { all.len() } else { limit.min(all.len()) };
        assert_eq!(show_records(&page.records), all[..taken].join("\n"));
        assert_eq!(page.more, taken < all.len());
        assert!(page.remaining.is_none_or(|remaining| remaining == all.len() - taken));
        let counted = after.is_none() && at.is_none() && prefix.matches('/').count() > 2;
        assert!(page.remaining.is_some() || !counted, "{prefix}");
    }

    fn watch(&mut self, store: &dyn Store, prefix: &'static str, after: Revision) {
        match store.watch(prefix, after) {
            Ok(watch) => {
                assert!(after >= self.compacted);
                self.watches.push((prefix, watch, after));
            }
            Err(WatchError::Compacted { oldest }) => {
                assert!(self.may_refuse(after) && oldest > after, "{prefix} after {after}, oldest {oldest}");
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Every watch tells exactly what happened since it was last read, or that it is too slow.
    fn drain(&mut self) {
        let newest = self.revision();
        for (prefix, mut watch, seen) in std::mem::take(&mut self.watches) {
            match drain(&mut watch) {
                Ok(events) => {
                    let expected = self.events[seen as usize + 1..].iter().flatten();
                    let expected = expected.filter(|(key, _)| key.starts_with(prefix)).map(|(_, shown)| shown.as_str());
                    assert_eq!(show_events(&events), expected.collect::<Vec<_>>().join("\n"));
                    assert_eq!(watch.revision(), newest);
                    self.watches.push((prefix, watch, newest));
                }
                Err(WatchError::Compacted { .. }) => assert!(self.may_refuse(seen), "{prefix} from {seen}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

fn run(place: &Place, history: History, steps: &[Step]) {
    let options = Options { history, ..options() };
    let mut store = place.open(options.clone());
    let mut model = Model {
        states: vec![Map::new(); 2],
        events: vec![Vec::new(); 2],
        compacted: 1,
        forgetful: history.events < 10,
        watches: Vec::new(),
    };
    for step in steps {
        let newest = model.revision();
        match step {
            Step::Commit(writes) => model.commit(&store, writes),
            Step::Range { prefix, after, limit, back } => {
                let at = back.map(|back| newest.saturating_sub(back).max(1));
                model.range(&store, PREFIXES[*prefix], after.map(|key| KEYS[key]), *limit, at);
            }
            Step::Watch { prefix, back } => {
                model.watch(&store, PREFIXES[*prefix], newest.saturating_sub(*back).max(1));
            }
            Step::Drain => model.drain(),
            Step::Compact { back } => {
                let upto = newest.saturating_sub(*back);
                wait(store.compact(upto)).unwrap();
                model.compacted = model.compacted.max(upto);
            }
            Step::Reopen => {
                drop(store);
                store = place.open(options.clone());
                assert_eq!(store.revision(), newest);
                for (prefix, _, seen) in std::mem::take(&mut model.watches) {
                    model.watch(&store, prefix, seen);
                }
            }
        }
    }
    model.drain();
    for prefix in PREFIXES {
        model.range(&store, prefix, None, 0, None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_in_memory_behaves_like_the_model(steps in prop::collection::vec(step(), 1..60)) {
        run(&Place::ram(), History::default(), &steps);
    }

    #[test]
    fn a_forgetful_store_tells_the_truth_or_nothing(steps in prop::collection::vec(step(), 1..60)) {
        run(&Place::ram(), History { events: 3, ..History::default() }, &steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_disk_behaves_like_the_model(steps in prop::collection::vec(step(), 1..60)) {
        run(&Place::disk(), History::default(), &steps);
    }
}
