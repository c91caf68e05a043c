//! What decisions need besides nodes and pods: namespaces, who selects which pods, and budgets.
//!
//! Invariant: only what plugins read is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::pod::{PodInfo, Shape};
use crate::plan::labels::{self, Labels};

/// A kind whose objects own pods and select them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum OwnerKind {
    ReplicationController,
    ReplicaSet,
    StatefulSet,
}

/// A PodDisruptionBudget as far as preemption reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Budget {
    pub(super) selector: Option<LabelSelector>,
    pub(super) allowed: i64,
    /// Pods whose eviction the budget has counted already.
    pub(super) disrupted: Vec<String>,
}

/// The side knowledge of decisions.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Labels by namespace.
    namespaces: HashMap<String, Labels>,
    /// Selectors of services, by namespace and name.
    services: HashMap<String, BTreeMap<String, Labels>>,
    owners: HashMap<(OwnerKind, String, String), LabelSelector>,
    budgets: BTreeMap<(String, String), Budget>,
    /// How often services and owners have changed.
    epoch: u64,
}

static NO_LABELS: Labels = Labels::new();

impl Facts {
    pub(super) fn put_namespace(&mut self, name: &str, labels: Option<Labels>) {
        match labels {
            Some(labels) => drop(self.namespaces.insert(name.to_owned(), labels)),
            None => drop(self.namespaces.remove(name)),
        }
    }

    /// The labels of a namespace; none while it is not known.
    pub(super) fn namespace(&self, name: &str) -> &Labels {
        self.namespaces.get(name).unwrap_or(&NO_LABELS)
    }

    /// A service without a selector is none for us.
    pub(super) fn put_service(&mut self, namespace: &str, name: &str, selector: Option<Labels>) {
        self.epoch += 1;
        let services = self.services.entry(namespace.to_owned()).or_default();
        match selector {
            Some(selector) => drop(services.insert(name.to_owned(), selector)),
            None => drop(services.remove(name)),
        }
        if services.is_empty() {
            self.services.remove(namespace);
        }
    }

    pub(super) fn put_owner(&mut self, kind: OwnerKind, namespace: &str, name: &str, selector: Option<LabelSelector>) {
        let key = (kind, namespace.to_owned(), name.to_owned());
        if self.owners.get(&key) == selector.as_ref() {
            return; // a change of how many there are
        }
        self.epoch += 1;
        match selector {
            Some(selector) => drop(self.owners.insert(key, selector)),
            None => drop(self.owners.remove(&key)),
        }
    }

    pub(super) fn put_budget(&mut self, namespace: &str, name: &str, budget: Option<Budget>) {
        let key = (namespace.to_owned(), name.to_owned());
        match budget {
            Some(budget) => drop(self.budgets.insert(key, budget)),
            None => drop(self.budgets.remove(&key)),
        }
    }

    /// All budgets with their namespaces.
    pub(super) fn budgets(&self) -> impl Iterator<Item = (&str, &Budget)> {
        self.budgets.iter().map(|((namespace, _), budget)| (namespace.as_str(), budget))
    }

    /// Which pods belong together with this one: those its services and its owner select (upstream `DefaultSelector`).
    pub(super) fn siblings(&self, shape: &Shape) -> Option<Arc<LabelSelector>> {
        shape.siblings.at(self.epoch, || self.find_siblings(shape))
    }

    fn find_siblings(&self, shape: &Shape) -> Option<LabelSelector> {
        let mut wanted = Labels::new();
        for selector in self.services.get(&shape.namespace).into_iter().flat_map(BTreeMap::values) {
            if labels::contains(&shape.labels, selector) {
                wanted.extend(selector.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
        }
        let mut all = LabelSelector { match_labels: Some(wanted), match_expressions: None };
        if let Some(own) = self.owner_of(shape) {
            let pairs = own.match_labels.iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
            all.match_labels.get_or_insert_default().extend(pairs);
            all.match_expressions = own.match_expressions.clone();
        }
        Some(all).filter(|selector| !labels::is_empty(selector))
    }

    fn owner_of(&self, shape: &Shape) -> Option<&LabelSelector> {
        let owner = shape.ask.owner.as_ref()?;
        let kind = match (owner.api_version.as_str(), owner.kind.as_str()) {
            ("v1", "ReplicationController") => OwnerKind::ReplicationController,
            ("apps/v1", "ReplicaSet") => OwnerKind::ReplicaSet,
            ("apps/v1", "StatefulSet") => OwnerKind::StatefulSet,
            _ => return None,
        };
        self.owners.get(&(kind, shape.namespace.clone(), owner.name.clone()))
    }

    /// Whether evicting these pods, the most important first, would break a budget: for each, yes or no.
    pub(super) fn violated<'a>(&self, pods: impl Iterator<Item = &'a PodInfo>) -> Vec<bool> {
        let mut left: Vec<(&str, &Budget, i64)> =
            self.budgets().map(|(namespace, budget)| (namespace, budget, budget.allowed)).collect();
        let mut violated = Vec::new();
        for pod in pods {
            let labels = &pod.shape.labels;
            let mut breaks = false;
            for (namespace, budget, allowed) in &mut left {
                let meant = *namespace == pod.key.namespace
                    && !labels.is_empty()
                    && budget
                        .selector
                        .as_ref()
                        .is_some_and(|one| !labels::is_empty(one) && labels::matches(one, labels))
                    && !budget.disrupted.contains(&pod.key.name);
                if meant {
                    *allowed -= 1;
                    breaks |= *allowed < 0;
                }
            }
            violated.push(breaks);
        }
        violated
    }
}
