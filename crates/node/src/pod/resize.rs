//! New resources for containers that run: in place where their policy allows it, by a restart where it does not.
//!
//! Invariant: a pod never has less than its containers were given: the pod's own limits grow before theirs and shrink
//! after. What there is no room for stays as it was, and the status says so.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::engine::Engine;
use super::observed::{Kill, Resizing, State};
use super::plan::{Role, Room, is_outgrown};
use super::resources::{self, Amounts};
use super::{Worker, desired};
use crate::cgroup::Limits;
use crate::pod::event::Event;

const AGAIN: Duration = Duration::from_secs(10);

/// A container that gets other limits.
struct Change {
    name: String,
    id: String,
    amounts: Amounts,
    limits: Limits,
}

/// Name, run and resources of each container that was changed; and why it went no further.
pub(crate) struct Outcome {
    changed: Vec<(String, String, Amounts)>,
    result: Result<(), String>,
}

struct Order {
    engine: Engine,
    uid: String,
    changes: Vec<Change>,
    /// The pod's limits while its containers change, and afterwards.
    during: Limits,
    after: Limits,
}

impl Order {
    async fn run(self) -> Outcome {
        let mut changed = Vec::new();
        let result = self.carry_out(&mut changed).await.map_err(|error| base::error::chain(&error));
        Outcome { changed, result }
    }

    async fn carry_out(&self, changed: &mut Vec<(String, String, Amounts)>) -> Result<(), crate::runtime::Error> {
        self.engine.limit_pod(&self.uid, self.during).await?;
        for change in &self.changes {
            self.engine.limit(&change.id, change.limits).await?;
            changed.push((change.name.clone(), change.id.clone(), change.amounts.clone()));
        }
        self.engine.limit_pod(&self.uid, self.after).await
    }
}

impl Worker {
    /// Whether the node has room for what the pod asks for; looked at only while that differs from what it has.
    pub(super) fn judge_room(&mut self) {
        let units = self.pod.spec.as_ref().map(desired::units).unwrap_or_default();
        let outgrown = units.iter().any(|unit| is_outgrown(unit, &self.observed));
        if !outgrown && self.room == Room::Enough {
            return;
        }
        let long = |unit: &&super::plan::Unit| matches!(unit.role, Role::Main | Role::Sidecar);
        let asked = resources::requested(units.iter().filter(long).map(|unit| &unit.amounts));
        let capacity = (amount(self.node.facts.allocatable_milli_cpu), amount(self.node.facts.allocatable_memory));
        let room = if outgrown { room(asked, self.used_by_others(), capacity) } else { Room::Enough };
        if room != self.room {
            match &room {
                Room::Enough => {}
                Room::Later(why) => self.node.events.warning(&self.subject, None, "ResizeDeferred", why.clone()),
                Room::Never(why) => self.node.events.warning(&self.subject, None, "ResizeInfeasible", why.clone()),
            }
            self.room = room;
        }
    }

    /// What the other pods of this node ask for: milli-cpu and bytes.
    fn used_by_others(&self) -> (u64, u64) {
        let pods = self.node.pods.list();
        let others = pods.iter().filter(|pod| pod.metadata.uid.as_deref() != Some(&self.uid));
        let others = others.filter(|pod| !pod.status.as_ref().is_some_and(super::is_over));
        let all: Vec<Amounts> = others
            .filter_map(|pod| pod.spec.as_ref())
            .flat_map(|spec| spec.containers.iter().map(Amounts::of).collect::<Vec<_>>())
            .collect();
        resources::requested(&all)
    }

    /// Begins to give every container what it now asks for.
    pub(super) fn begin_resize(&mut self) {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let mut before = spec.clone();
        let (mut changes, mut restarting) = (Vec::new(), false);
        let mut due = desired::units(&spec);
        due.retain(|unit| is_outgrown(unit, &self.observed));
        for unit in due {
            let Some(container) = desired::container(&self.pod, &unit.name) else { continue };
            let state = self.observed.container(&unit.name);
            if let Some(given) = &state.given {
                let lists = before.init_containers.iter_mut().flatten().chain(&mut before.containers);
                lists.filter(|held| held.name == unit.name).for_each(|held| given.give(held));
                if resources::must_restart(&container, given, &unit.amounts) {
                    let message = format!("Container {} resize requires restart", unit.name);
                    state.kill = Some(Kill { message, grace: None });
                    restarting = true;
                    continue;
                }
            }
            let Some(run) = state.run.clone().filter(|_| matches!(state.state, State::Running { .. })) else {
                continue;
            };
            let limits = resources::container_limits(&container);
            changes.push(Change { name: unit.name, id: run.id, amounts: unit.amounts, limits });
        }
        let after = resources::pod_limits(&spec);
        let during = resources::larger(&resources::pod_limits(&before), &after);
        let order = Order {
            engine: Arc::clone(&self.node.engine),
            uid: self.uid.clone(),
            changes,
            during,
            after: if restarting { during } else { after },
        };
        self.observed.resizing = Resizing::Busy;
        self.push(async move { Event::Resized(order.run().await) });
    }

    pub(super) fn resized(&mut self, outcome: Outcome, now: Timestamp) {
        let mut news = false;
        for (name, id, amounts) in outcome.changed {
            let container = self.observed.container(&name);
            if container.run.as_ref().is_some_and(|run| run.id == id) {
                news |= container.given.is_some();
                container.given = Some(amounts);
            }
        }
        match outcome.result {
            Ok(()) => {
                self.observed.resizing = Resizing::Idle;
                if news {
                    self.node.events.normal(&self.subject, None, "ResizeCompleted", "Pod resize completed".to_owned());
                }
            }
            Err(message) => {
                self.node.events.warning(&self.subject, None, "ResizeError", message.clone());
                let again = now.checked_add(AGAIN).unwrap_or(Timestamp::MAX);
                self.observed.resizing = Resizing::Failed { message, again };
            }
        }
    }
}

fn amount(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Amounts are milli-cpu and bytes; a capacity of zero is one nobody told.
fn room(asked: (u64, u64), others: (u64, u64), capacity: (u64, u64)) -> Room {
    let parts = [("memory", asked.1, others.1, capacity.1), ("cpu", asked.0, others.0, capacity.0)];
    let parts = parts.into_iter().filter(|(_, _, _, capacity)| *capacity > 0);
    for (name, asked, _, capacity) in parts.clone() {
        if asked > capacity {
            let part = format!("{name}, requested: {asked}, capacity: {capacity}");
            return Room::Never(format!("Node didn't have enough capacity: {part}"));
        }
    }
    for (name, asked, used, capacity) in parts {
        if asked.saturating_add(used) > capacity {
            let part = format!("{name}, requested: {asked}, used: {used}, capacity: {capacity}");
            return Room::Later(format!("Node didn't have enough resource: {part}"));
        }
    }
    Room::Enough
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_told_by_what_is_missing() {
        let capacity = (2000, 1 << 30);
        assert_eq!(room((500, 1 << 20), (500, 0), capacity), Room::Enough);
        let never = "Node didn't have enough capacity: cpu, requested: 4000, capacity: 2000";
        assert_eq!(room((4000, 0), (0, 0), capacity), Room::Never(never.into()));
        let later = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
        assert_eq!(room((1500, 0), (1000, 0), capacity), Room::Later(later.into()));
        assert_eq!(room((9, 9), (9, 9), (0, 0)), Room::Enough);
    }
}
