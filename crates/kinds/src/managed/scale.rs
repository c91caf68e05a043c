//! Ownership of the replica count, seen through the scale subresource.
//!
//! Invariant: a Scale has one field of interest. Whoever owns the replicas of the object owns them in its Scale; whoever
//! takes them through the Scale takes them from the owners in the object and keeps nothing else.

use std::borrow::Cow;

use serde_json::Value;

use super::element::Element;
use super::entries::{Entry, Id, Managers, Source, assemble};
use super::set::Set;
use super::{held, put};
use crate::catalog::Kind;

const REPLICAS: [Element<'static>; 2] = [Element::Field("spec"), Element::Field("replicas")];

/// How the replicas of a kind map to those of its Scale.
pub struct Scale<'a> {
    /// In the versions that are known: where the replicas are.
    pub path: &'a [&'a str],
    pub kind: &'a Kind,
    pub versions: &'a [String],
}

impl Scale<'_> {
    fn elements(&self) -> Vec<Element<'_>> {
        self.path.iter().map(|name| Element::Field(name)).collect()
    }

    fn knows(&self, version: &str) -> bool {
        self.versions.iter().any(|known| known == version)
    }

    /// Gives the Scale of an object its owners.
    pub fn to_scale(&self, object: &Value, scale: &mut Value) {
        let path = self.elements();
        let managers = Managers::decode(held(object)).unwrap_or_default();
        let mut owners = Managers::default();
        for entry in managers.0.into_iter().filter(|entry| self.knows(&entry.api_version) && entry.set.has(&path)) {
            let mut set = Set::default();
            set.insert(&REPLICAS);
            owners.0.push(Entry { api_version: Cow::Borrowed("autoscaling/v1"), set, source: None, ..entry });
        }
        put(scale, assemble(owners.plan(), Source::Borrowed(&Value::Null)));
    }

    /// Gives the object the owners that its Scale has after a write.
    pub fn to_object(&self, object: &mut Value, scale: &Value) {
        let path = self.elements();
        let before = super::take(object);
        let version = self.kind.api_version();
        let slots = {
            let parents = Managers::decode(&before).unwrap_or_default();
            let mut scales = Managers::decode(held(scale)).unwrap_or_default();
            let mut replicas = Set::default();
            replicas.insert(&path);
            let mut result = Managers::default();
            for mut entry in parents.0.into_iter().filter(|entry| self.knows(&entry.api_version)) {
                if entry.set.has(&path) {
                    match scales.0.iter().position(|scale| is_one(&scale.id, &entry.id)) {
                        Some(index) => {
                            let time = scales.0.remove(index).time;
                            entry.source = entry.source.filter(|_| time == entry.time);
                            entry.time = time.map(|time| Cow::Owned(time.into_owned()));
                        }
                        None => {
                            entry.set.subtract(&replicas);
                            entry.source = None;
                        }
                    }
                }
                if !entry.set.is_empty() {
                    result.0.push(entry);
                }
            }
            for mut entry in scales.0.into_iter().filter(|entry| entry.set.has(&REPLICAS)) {
                if !entry.id.applied() {
                    entry.id.version = Cow::Borrowed(&version);
                }
                let set = match result.get(&entry.id) {
                    Some(held) => held.set.clone().union(replicas.clone()),
                    None => replicas.clone(),
                };
                result.put(Entry { api_version: Cow::Borrowed(&version), set, source: None, ..entry });
            }
            result.plan()
        };
        put(object, assemble(slots, Source::Owned(before)));
    }
}

/// One manager, whatever version it speaks: the versions of a Scale and of its object are not those of each other.
fn is_one(a: &Id<'_>, b: &Id<'_>) -> bool {
    (&a.manager, a.operation, &a.subresource) == (&b.manager, b.operation, &b.subresource)
}
