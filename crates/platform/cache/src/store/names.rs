//! Which objects are called what: by URL, by prefix of a URL, by tag. One per tier, and always what the tier holds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::object::{Key, Label};
use super::purge::Scope;

/// The names of the objects of a tier.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_key: HashMap<Key, Arc<Label>>,
    by_url: BTreeMap<Arc<str>, Vec<Key>>,
    by_tag: HashMap<Arc<str>, HashSet<Key>>,
}

impl Names {
    /// Gives an object its names, in place of those it had.
    pub(crate) fn add(&mut self, key: Key, label: &Arc<Label>) {
        self.remove(&key);
        self.by_key.insert(key, Arc::clone(label));
        self.by_url.entry(Arc::clone(&label.url)).or_default().push(key);
        for tag in label.tags.iter() {
            self.by_tag.entry(Arc::clone(tag)).or_default().insert(key);
        }
    }

    /// Forgets an object.
    pub(crate) fn remove(&mut self, key: &Key) {
        let Some(label) = self.by_key.remove(key) else { return };
        if let Some(keys) = self.by_url.get_mut(&label.url) {
            keys.retain(|known| known != key);
            if keys.is_empty() {
                self.by_url.remove(&label.url);
            }
        }
        for tag in label.tags.iter() {
            if let Some(keys) = self.by_tag.get_mut(tag) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_tag.remove(tag);
                }
            }
        }
    }

    /// The objects a purge is about.
    pub(crate) fn find(&self, scope: &Scope) -> Vec<Key> {
        match scope {
            Scope::Urls(urls) => {
                urls.iter().filter_map(|url| self.by_url.get(url.as_str())).flatten().copied().collect()
            }
            Scope::Prefix(prefix) => self
                .by_url
                .range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
                .take_while(|(url, _)| url.starts_with(prefix.as_str()))
                .flat_map(|(_, keys)| keys.iter().copied())
                .collect(),
            Scope::Tag(tag) => self.by_tag.get(tag.as_str()).into_iter().flatten().copied().collect(),
            Scope::All => self.by_key.keys().copied().collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> HashSet<Key> {
        self.by_key.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(url: &str, tags: &[&str]) -> Arc<Label> {
        Arc::new(Label { url: url.into(), tags: tags.iter().map(|tag| Arc::from(*tag)).collect() })
    }

    #[test]
    fn objects_are_found_by_what_they_are_called_and_forgotten_wholly() {
        let mut names = Names::default();
        names.add([1; 16], &label("https://a/x", &["t", "u"]));
        names.add([2; 16], &label("https://a/x", &["t"]));
        names.add([3; 16], &label("https://a/y", &[]));
        names.add([4; 16], &label("https://b/", &["u"]));
        let found = |names: &Names, scope| {
            let mut found: Vec<u8> = names.find(&scope).iter().map(|key| key[0]).collect();
            found.sort_unstable();
            found
        };
        assert_eq!(found(&names, Scope::Urls(vec!["https://a/x".to_owned()])), [1, 2]);
        assert_eq!(found(&names, Scope::Prefix("https://a/".to_owned())), [1, 2, 3]);
        assert_eq!(found(&names, Scope::Tag("u".to_owned())), [1, 4]);
        assert_eq!(found(&names, Scope::All), [1, 2, 3, 4]);
        names.add([1; 16], &label("https://a/y", &[]));
        assert_eq!(found(&names, Scope::Tag("u".to_owned())), [4]);
        (1..=4).for_each(|key| names.remove(&[key; 16]));
        assert!(names.by_key.is_empty() && names.by_url.is_empty() && names.by_tag.is_empty());
    }
}
