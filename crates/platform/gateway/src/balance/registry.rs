//! All pools, by name: what is known of endpoints survives every new table of routes.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use base::Key;
use parking_lot::Mutex;

use super::endpoint::Member;
use super::health;
use super::policy::Policy;
use super::pool::Pool;
use crate::clock::Clock;

/// Which pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The service.
    pub service: Key,
    /// Its port, as whoever names it does.
    pub port: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// The pools in use. A pool ends with the last who holds it.
#[derive(Debug)]
pub struct Registry {
    clock: Clock,
    pools: Mutex<HashMap<Name, Weak<Pool>>>,
    checker: Option<health::Checker>,
}

impl Registry {
    /// No pools yet. Active checks run as tasks of `checker`; without one they do not.
    #[must_use]
    pub fn new(clock: Clock, checker: Option<health::Checker>) -> Self {
        Self { clock, pools: Mutex::default(), checker }
    }

    /// The clock that all pools go by.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The pool of that name: the one there is, brought up to date, or a new one.
    #[must_use]
    pub fn pool(&self, name: &Name, policy: &Policy, members: &[Member]) -> Arc<Pool> {
        let now = self.clock.now();
        let mut pools = self.pools.lock();
        let pool = match pools.get(name).and_then(Weak::upgrade) {
            Some(pool) => {
                pool.configure(policy.clone(), now);
                pool.update(members, now);
                pool
            }
            None => {
                if pools.len() == pools.capacity() {
                    pools.retain(|_, pool| pool.strong_count() > 0); // before it grows
                }
                let pool = Arc::new(Pool::new(name.clone(), policy.clone(), members, now));
                pools.insert(name.clone(), Arc::downgrade(&pool));
                pool
            }
        };
        drop(pools);
        if let Some(checker) = self.checker.as_ref().filter(|_| policy.health.is_some()) {
            checker.watch(&pool, self.clock);
        }
        pool
    }

    /// Those in use, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pool>> {
        let mut all: Vec<Arc<Pool>> = self.pools.lock().values().filter_map(Weak::upgrade).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }
}
