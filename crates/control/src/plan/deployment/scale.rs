//! Scaling a Deployment, also in the middle of a rollout: each set gets its share.
//!
//! Invariant: the shares add up to the change; sizes before the change come from the annotations on the sets, so a
//! half-done scaling goes on where it stopped (upstream `sync.go` scale, `GetReplicaSetProportion`).

use std::cmp::Reverse;

use kube::ResourceExt;

use super::history::{DESIRED, MAXIMUM};
use super::{Set, Which, Work, available, created};

impl Work<'_> {
    /// Whether a set still remembers another desired size than the Deployment has now.
    pub(super) fn is_scaling(&self) -> bool {
        let desired = self.desired();
        self.all().filter(|set| set.planned > 0).any(|set| number(set, DESIRED).is_some_and(|known| known != desired))
    }

    /// Brings the sets to the Deployment's size without moving pods from one template to another.
    pub(super) fn scale(&mut self) {
        let desired = self.desired();
        if let Some(only) = self.active_or_latest() {
            self.resize(only, desired);
            return;
        }
        if self.is_saturated() {
            for index in 0..self.old.len() {
                if self.old[index].planned > 0 {
                    self.resize(Which::Old(index), 0);
                }
            }
            return;
        }
        if self.strategy() == "RollingUpdate" {
            self.scale_by_share();
        }
    }

    fn get(&self, which: Which) -> Option<&Set> {
        match which {
            Which::New => self.new.as_ref(),
            Which::Old(index) => self.old.get(index),
        }
    }

    fn names(&self) -> Vec<Which> {
        let new = self.new.is_some().then_some(Which::New);
        (0..self.old.len()).map(Which::Old).chain(new).collect()
    }

    fn active(&self) -> Vec<Which> {
        let active = |which: &Which| self.get(*which).is_some_and(|set| set.planned > 0);
        self.names().into_iter().filter(active).collect()
    }

    /// The only active set, or without any the one to grow; none when several are active.
    fn active_or_latest(&self) -> Option<Which> {
        match self.active().as_slice() {
            [] if self.new.is_some() => Some(Which::New),
            [] => (0..self.old.len()).max_by_key(|index| created(&self.old[*index].rs)).map(Which::Old),
            [only] => Some(*only),
            _ => None,
        }
    }

    fn is_saturated(&self) -> bool {
        let desired = self.desired();
        self.new.as_ref().is_some_and(|set| {
            set.planned == desired && number(set, DESIRED) == Some(desired) && available(&set.rs) == desired
        })
    }

    fn scale_by_share(&mut self) {
        let mut active = self.active();
        let total: i32 = active.iter().filter_map(|which| self.get(*which)).map(|set| set.planned).sum();
        let allowed = if self.desired() > 0 { self.desired().saturating_add(self.max_surge()) } else { 0 };
        let change = allowed - total;
        let key = |which: &Which| {
            let set = self.get(*which);
            (set.map_or(0, |set| set.planned), set.and_then(|set| created(&set.rs)))
        };
        if change > 0 {
            active.sort_by_key(|which| Reverse(key(which))); // the largest, then the newest, grows first
        } else {
            active.sort_by_key(|which| (Reverse(key(which).0), key(which).1)); // the largest, then the oldest, shrinks first
        }
        let mut done = 0;
        let mut sizes: Vec<(Which, i32)> = Vec::new();
        for which in active {
            let Some(set) = self.get(which) else { continue };
            let share = if change == 0 { 0 } else { self.share(set, change, done) };
            done += share;
            sizes.push((which, set.planned + share));
        }
        if let Some((_, size)) = sizes.first_mut() {
            *size = (*size + change - done).max(0);
        }
        sizes.into_iter().for_each(|(which, size)| self.resize(which, size));
    }

    fn share(&self, set: &Set, change: i32, done: i32) -> i32 {
        let fraction = self.fraction(set);
        if change > 0 { fraction.min(change - done) } else { fraction.max(change - done) }
    }

    /// How much this set would change if it kept its part of the whole.
    fn fraction(&self, set: &Set) -> i32 {
        if self.desired() == 0 {
            return -set.planned;
        }
        let maximum = f64::from(self.desired()) + f64::from(self.max_surge());
        let before = number(set, MAXIMUM).filter(|count| *count > 0).or(self.status.replicas).unwrap_or(0);
        if before == 0 {
            return 0;
        }
        let size = f64::from(set.planned) * maximum / f64::from(before);
        #[expect(clippy::cast_possible_truncation, reason = "sizes are i32, a float cast saturates")]
        let size = size.round() as i32;
        size - set.planned
    }
}

fn number(set: &Set, annotation: &str) -> Option<i32> {
    set.rs.annotations().get(annotation)?.parse().ok()
}
