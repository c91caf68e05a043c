//! Revisions: numbering, annotations, and forgetting old ones.
//!
//! Invariant: the set of the current template has the highest revision, and the Deployment carries the same number;
//! `kubectl rollout history` and `undo` read nothing else.

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;

use super::{Action, Set, Work, size, template};
use crate::plan::labels::Labels;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];
/// A revision history annotation longer than this loses its oldest entries.
const HISTORY_CHARS: usize = 2000;

/// The revision of a set, zero if it has none yet.
pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Work<'_> {
    /// Brings revision, copied annotations and minReadySeconds of the current set up to date, if there is one.
    pub(super) fn adopt_revision(&mut self) {
        let next = self.old.iter().map(|set| revision(&set.rs)).max().unwrap_or(0) + 1;
        let copied = self.copied_annotations();
        let min_ready = self.spec.min_ready_seconds.unwrap_or(0);
        let Some(new) = &mut self.new else { return };
        new.annotations.extend(copied);
        let current = revision(&new.rs);
        if current < next {
            if let Some(history) = history(&new.rs, current) {
                new.annotations.insert(REVISION_HISTORY.into(), history);
            }
            new.annotations.insert(REVISION.into(), next.to_string());
        }
        let has = new.rs.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        if has != min_ready {
            new.min_ready_seconds = Some(min_ready);
        }
        let name = new.rs.name_any();
        let number = current.max(next);
        self.announce_revision(number);
        self.note_found(&name);
    }

    /// Plans the set for the current template if it does not exist yet.
    pub(super) fn ensure_current(&mut self) {
        self.adopt_revision();
        if self.new.is_some() {
            return;
        }
        let mut set = template::replica_set(self.deployment);
        let replicas = self.size_for_new(0);
        let number = self.old.iter().map(|set| revision(&set.rs)).max().unwrap_or(0) + 1;
        let mut annotations = self.copied_annotations();
        annotations.extend(self.size_annotations());
        annotations.insert(REVISION.into(), number.to_string());
        set.metadata.annotations = Some(annotations);
        if let Some(spec) = &mut set.spec {
            spec.replicas = Some(replicas);
        }
        self.note_created(&set.name_any());
        self.announce_revision(number);
        self.creation = Some(Box::new(set));
    }

    fn announce_revision(&mut self, number: i64) {
        let text = number.to_string();
        if self.deployment.annotations().get(REVISION) != Some(&text) {
            self.actions.push(Action::Revision(text));
        }
    }

    fn copied_annotations(&self) -> Labels {
        let pairs = self.deployment.annotations().iter().filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()));
        pairs.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// What a set remembers about the size of its Deployment, for proportional scaling.
    pub(super) fn size_annotations(&self) -> Labels {
        let maximum = self.desired().saturating_add(self.max_surge());
        Labels::from([(DESIRED.into(), self.desired().to_string()), (MAXIMUM.into(), maximum.to_string())])
    }

    /// Removes the oldest empty sets beyond the history limit.
    pub(super) fn forget_history(&mut self) {
        let Some(limit) = self.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return };
        let mut alive: Vec<&Set> = self.old.iter().filter(|set| set.rs.metadata.deletion_timestamp.is_none()).collect();
        let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        alive.sort_by_key(|set| revision(&set.rs));
        let removable = alive.into_iter().take(surplus).filter(|set| {
            let status = set.rs.status.as_ref();
            let pods = status.map_or(0, |status| status.replicas);
            let observed = status.and_then(|status| status.observed_generation).unwrap_or(0);
            let settled = set.rs.metadata.generation.unwrap_or(0) <= observed;
            pods == 0 && size(&set.rs) == 0 && set.planned == 0 && settled
        });
        let removals: Vec<Action> = removable.map(|set| Action::Remove(set.rs.clone())).collect();
        self.actions.extend(removals);
    }
}

/// The revisions a set had before, the latest appended.
fn history(set: &ReplicaSet, current: i64) -> Option<String> {
    if current == 0 {
        return None;
    }
    let before = set.annotations().get(REVISION_HISTORY);
    let mut parts: Vec<String> = before.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect();
    parts.push(current.to_string());
    while parts.len() > 1 && parts.iter().map(|part| part.len() + 1).sum::<usize>() > HISTORY_CHARS {
        parts.remove(0);
    }
    Some(parts.join(","))
}
