//! The rows of custom resources: a map that is never changed, only replaced by one that shares nearly all of it.
//!
//! Invariant: a change copies one bucket out of many and nothing else, so that installing the thousandth definition costs
//! what the first one did, while readers keep the map they hold. Why no crate: two lookups and one change are all it does.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::Kind;

const BUCKETS: usize = 256;

/// The rows of one resource, in all its versions.
type Rows = Arc<[Arc<Kind>]>;

#[derive(Clone, Debug)]
pub(super) struct Layer {
    by_resource: Buckets,
    by_kind: Buckets,
}

#[derive(Clone, Debug)]
struct Buckets(Box<[Option<Arc<[Rows]>>]>);

/// How a row is found in one of the maps.
type Name = fn(&Kind) -> &str;

const PLURAL: Name = |kind| &kind.plural;
const KIND: Name = |kind| &kind.kind;

impl Default for Layer {
    fn default() -> Self {
        let empty = || Buckets(vec![None; BUCKETS].into());
        Self { by_resource: empty(), by_kind: empty() }
    }
}

impl Layer {
    pub(super) fn with(&self, group: &str, plural: &str, rows: Vec<Arc<Kind>>) -> Self {
        let mut next = self.clone();
        // what the resource was called before may be another kind than now
        if let Some(old) = self.by_resource.get(group, plural, PLURAL).and_then(|rows| rows.first()) {
            next.by_kind.put(group, &old.kind, KIND, None);
        }
        let rows: Option<Rows> = (!rows.is_empty()).then(|| rows.into());
        if let Some(first) = rows.as_ref().and_then(|rows| rows.first()) {
            next.by_kind.put(group, &first.kind, KIND, rows.clone());
        }
        next.by_resource.put(group, plural, PLURAL, rows);
        next
    }

    pub(super) fn resource(&self, group: &str, plural: &str) -> impl Iterator<Item = &Arc<Kind>> + use<'_> {
        self.by_resource.get(group, plural, PLURAL).into_iter().flat_map(|rows| rows.iter())
    }

    pub(super) fn kind(&self, group: &str, kind: &str) -> impl Iterator<Item = &Arc<Kind>> + use<'_> {
        self.by_kind.get(group, kind, KIND).into_iter().flat_map(|rows| rows.iter())
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.by_resource.0.iter().flatten().flat_map(|bucket| bucket.iter()).flat_map(|rows| rows.iter())
    }
}

impl Buckets {
    fn get(&self, group: &str, name: &str, of: Name) -> Option<&Rows> {
        self.0[place(group, name)].as_ref()?.iter().find(|rows| is(rows, group, name, of))
    }

    fn put(&mut self, group: &str, name: &str, of: Name, rows: Option<Rows>) {
        let bucket = &mut self.0[place(group, name)];
        let others = bucket.iter().flat_map(|bucket| bucket.iter()).filter(|held| !is(held, group, name, of));
        let all: Vec<Rows> = others.cloned().chain(rows).collect();
        *bucket = (!all.is_empty()).then(|| all.into());
    }
}

fn is(rows: &Rows, group: &str, name: &str, of: Name) -> bool {
    rows.first().is_some_and(|kind| kind.group == group && of(kind) == name)
}

fn place(group: &str, name: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    (group, name).hash(&mut hasher);
    usize::try_from(hasher.finish() % BUCKETS as u64).expect("invariant: a bucket's number is small")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    fn rows(group: &str, plural: &str, kind: &str) -> Vec<Arc<Kind>> {
        let pod = Catalog::builtin().resource("", "v1", "pods").unwrap();
        vec![Arc::new(Kind {
            group: group.to_owned(),
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            ..Kind::clone(pod)
        })]
    }

    #[test]
    fn a_changed_catalog_has_the_new_rows_and_the_old_one_does_not() {
        let empty = Catalog::builtin();
        let first = empty.with("x.io", "as", rows("x.io", "as", "A"));
        let second = first.with("x.io", "as", rows("x.io", "as", "B"));
        let third = second.with("x.io", "as", Vec::new());
        assert!(empty.resource("x.io", "v1", "as").is_none() && third.resource("x.io", "v1", "as").is_none());
        assert!(first.by_kind("x.io", "v1", "A").is_some() && second.by_kind("x.io", "v1", "A").is_none());
        assert!(second.by_kind("x.io", "v1", "B").is_some() && third.by_kind("x.io", "v1", "B").is_none());
        assert!(third.resource("", "v1", "pods").is_some() && third.group("x.io").is_none());
        assert_eq!(second.group("x.io").unwrap().versions[0].kinds.len(), 1);
    }

    #[test]
    fn thousands_of_resources_are_found_again() {
        let mut catalog = Catalog::builtin().with("x.io", "as", rows("x.io", "as", "A"));
        for number in 0..3000 {
            let (plural, kind) = (format!("p{number}"), format!("K{number}"));
            catalog = catalog.with("x.io", &plural, rows("x.io", &plural, &kind));
        }
        assert_eq!(catalog.customs().count(), 3001);
        assert!(catalog.by_kind("x.io", "v1", "K2999").is_some() && catalog.resource("x.io", "v1", "p0").is_some());
    }
}
