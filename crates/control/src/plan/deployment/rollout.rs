//! One step of a rolling update or of Recreate.
//!
//! Invariant: the new set only grows into room that is free, the old ones only shrink by what is available beyond the
//! minimum or unhealthy anyway (upstream `rolling.go`, `recreate.go`).

use super::{Set, Which, Work, created};
use crate::plan::claim;
use crate::plan::pod;

impl Work<'_> {
    /// One step of a rolling update.
    pub(super) fn roll(&mut self) {
        self.ensure_current();
        if self.creation.is_some() || self.grow_new() || self.shrink_old() {
            return;
        }
        if self.is_complete() {
            self.forget_history();
        }
    }

    /// One step of Recreate: everything old goes away before anything new starts.
    pub(super) fn recreate(&mut self) {
        self.adopt_revision();
        let shrinking: Vec<usize> = (0..self.old.len()).filter(|index| self.old[*index].planned > 0).collect();
        if !shrinking.is_empty() {
            shrinking.into_iter().for_each(|index| self.resize(Which::Old(index), 0));
            return;
        }
        if self.old_pods_running() {
            return;
        }
        self.ensure_current();
        if self.creation.is_none() && !self.grow_new() && self.is_complete() {
            self.forget_history();
        }
    }

    fn old_pods_running(&self) -> bool {
        if self.old.iter().any(|set| set.rs.status.as_ref().is_some_and(|status| status.replicas > 0)) {
            return true;
        }
        let uids: Vec<&str> = self.old.iter().filter_map(|set| set.rs.metadata.uid.as_deref()).collect();
        self.pods.iter().any(|pod| {
            let controlled = claim::controller(&**pod).is_some_and(|owner| uids.contains(&owner.uid.as_str()));
            controlled && !pod::is_terminal(pod)
        })
    }

    /// The size the current set may have now, given it has `current`.
    pub(super) fn size_for_new(&self, current: i32) -> i32 {
        if self.strategy() != "RollingUpdate" {
            return self.desired();
        }
        let allowed = self.desired().saturating_add(self.max_surge());
        let total: i32 = self.all().map(|set| set.planned).sum();
        if total >= allowed {
            return current;
        }
        current + (allowed - total).min(self.desired() - current)
    }

    fn grow_new(&mut self) -> bool {
        let Some(current) = self.new.as_ref().map(|set| set.planned) else { return false };
        let desired = self.desired();
        let to = if current > desired { desired } else { self.size_for_new(current) };
        if to == current {
            return false;
        }
        self.resize(Which::New, to);
        true
    }

    fn shrink_old(&mut self) -> bool {
        if self.old.iter().all(|set| set.planned == 0) {
            return false;
        }
        let minimum = self.desired() - self.max_unavailable();
        let total: i32 = self.all().map(|set| set.planned).sum();
        let new_unavailable = self.new.as_ref().map_or(0, |set| set.planned - set.available());
        let most = total - minimum - new_unavailable;
        if most <= 0 {
            return false;
        }
        let unhealthy = self.shed(most, |set| set.planned - set.available());
        let available: i32 = self.all().map(Set::available).sum();
        let healthy = if available > minimum { self.shed(available - minimum, |set| set.planned) } else { 0 };
        unhealthy + healthy > 0
    }

    /// Takes up to `most` pods from the old sets, oldest first, from each no more than `limit` says.
    fn shed(&mut self, most: i32, limit: impl Fn(&Set) -> i32) -> i32 {
        let mut order: Vec<usize> = (0..self.old.len()).collect();
        order.sort_by_key(|index| created(&self.old[*index].rs));
        let mut taken = 0;
        for index in order {
            let set = &self.old[index];
            let count = limit(set).min(set.planned).min(most - taken);
            if count > 0 {
                let to = set.planned - count;
                self.resize(Which::Old(index), to);
                taken += count;
            }
        }
        taken
    }
}
