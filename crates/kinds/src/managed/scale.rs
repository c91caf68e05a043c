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
use crate::catalog::{Catalog, Kind};

const REPLICAS: [Element<'static>; 2] = [Element::Field("spec"), Element::Field("replicas")];

/// Where the replicas of a kind are, in every version of it.
pub struct Scale {
    version: String,
    places: Vec<(String, Place)>,
}

/// Members from the root; none where a version has no scale.
type Place = Option<Vec<String>>;

impl Scale {
    pub fn new(catalog: &Catalog, kind: &Kind) -> Self {
        let rows = catalog.resources(&kind.group, &kind.plural);
        let places = rows.map(|row| (row.api_version(), place(row))).collect();
        Self { version: kind.api_version(), places }
    }

    fn place(&self, version: &str) -> Option<&Place> {
        self.places.iter().find(|(known, _)| known == version).map(|(_, place)| place)
    }

    /// The path to the replicas; none in versions that are not known and in those that have none.
    fn path(&self, version: &str) -> Option<Vec<Element<'_>>> {
        let place = self.place(version)?.as_ref()?;
        Some(place.iter().map(|name| Element::Field(name)).collect())
    }

    fn owns(&self, entry: &Entry<'_>) -> bool {
        self.path(&entry.api_version).is_some_and(|path| entry.set.has(&path))
    }

    /// Gives the Scale of an object its owners.
    pub fn to_scale(&self, object: &Value, scale: &mut Value) {
        let managers = Managers::decode(held(object)).unwrap_or_default();
        let mut owners = Managers::default();
        for entry in managers.0.into_iter().filter(|entry| self.owns(entry)) {
            let mut set = Set::default();
            set.insert(&REPLICAS);
            owners.0.push(Entry { api_version: Cow::Borrowed("autoscaling/v1"), set, source: None, ..entry });
        }
        put(scale, assemble(owners.plan(), Source::Borrowed(&Value::Null)));
    }

    /// Gives the object the owners that its Scale has after a write.
    pub fn to_object(&self, object: &mut Value, scale: &Value) {
        let before = super::take(object);
        let slots = {
            let parents = Managers::decode(&before).unwrap_or_default();
            let mut scales = Managers::decode(held(scale)).unwrap_or_default();
            let mut replicas = Set::default();
            replicas.insert(&self.path(&self.version).unwrap_or_default());
            let mut result = Managers::default();
            for mut entry in parents.0.into_iter().filter(|entry| self.place(&entry.api_version).is_some()) {
                if self.owns(&entry) {
                    match scales.0.iter().position(|scale| is_one(&scale.id, &entry.id)) {
                        Some(index) => {
                            let time = scales.0.remove(index).time;
                            entry.source = entry.source.filter(|_| time == entry.time);
                            entry.time = time.map(|time| Cow::Owned(time.into_owned()));
                        }
                        None => {
                            let mut taken = Set::default();
                            taken.insert(&self.path(&entry.api_version).unwrap_or_default());
                            entry.set.subtract(&taken);
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
                    entry.id.version = Cow::Borrowed(&self.version);
                }
                let set = match result.get(&entry.id) {
                    Some(held) => held.set.clone().union(replicas.clone()),
                    None => replicas.clone(),
                };
                result.put(Entry { api_version: Cow::Borrowed(&self.version), set, source: None, ..entry });
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

fn place(row: &Kind) -> Place {
    match &row.custom {
        Some(custom) => custom.scale().map(|scale| scale.spec_names().map(str::to_owned).collect()),
        None => Some(vec!["spec".to_owned(), "replicas".to_owned()]),
    }
}
