//! What is taken out of the cache, and what may no longer be put in because of it.
//!
//! Invariant: a response that was asked for before a purge ended, and that the purge is about, is never stored after
//! it. That is what [`Log`] is for: whoever stores shows the moment at which it began.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::object::Label;
use crate::key;

/// Purges remembered. Who began before the oldest of them stores nothing.
const REMEMBERED: usize = 4096;

/// A wish to purge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Purge {
    /// What is purged.
    pub what: What,
    /// Objects are kept, but stale: they are validated before they are served again, or served while that happens as
    /// far as their staleness is permitted.
    pub soft: bool,
}

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// All variants of one URL.
    Url(String),
    /// All URLs that begin so.
    Prefix(String),
    /// All that carry this tag.
    Tag(String),
    /// Everything.
    All,
}

/// A purge as it is written: exactly one of the first four.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    soft: bool,
}

impl TryFrom<Written> for Purge {
    type Error = BadPurge;

    fn try_from(written: Written) -> Result<Self, BadPurge> {
        let what = match written {
            Written { url: Some(url), prefix: None, tag: None, all: false, .. } => What::Url(url),
            Written { url: None, prefix: Some(prefix), tag: None, all: false, .. } => What::Prefix(prefix),
            Written { url: None, prefix: None, tag: Some(tag), all: false, .. } => What::Tag(tag),
            Written { url: None, prefix: None, tag: None, all: true, .. } => What::All,
            _ => return Err(BadPurge::NotOne),
        };
        Ok(Self { what, soft: written.soft })
    }
}

impl From<Purge> for Written {
    fn from(Purge { what, soft }: Purge) -> Self {
        let empty = Self { soft, ..Self::default() };
        match what {
            What::Url(url) => Self { url: Some(url), ..empty },
            What::Prefix(prefix) => Self { prefix: Some(prefix), ..empty },
            What::Tag(tag) => Self { tag: Some(tag), ..empty },
            What::All => Self { all: true, ..empty },
        }
    }
}

/// Why a purge cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPurge {
    /// Not a URL of http or https.
    #[error("{0:?} is no URL; write it whole, such as https://example.com/path")]
    Url(String),
    /// The tag is empty or has a space or a comma.
    #[error("{0:?} is no tag")]
    Tag(String),
    /// None or several are given.
    #[error("a purge has exactly one of url, prefix, tag and all: true")]
    NotOne,
}

/// What a purge is about, in the store's spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Urls(Vec<String>),
    Prefix(String),
    Tag(String),
    All,
}

impl Scope {
    pub(crate) fn of(what: &What) -> Result<Self, BadPurge> {
        match what {
            What::Url(url) => key::spellings(url).map(Self::Urls).ok_or_else(|| BadPurge::Url(url.clone())),
            What::Prefix(prefix) => key::prefix(prefix).map(Self::Prefix).ok_or_else(|| BadPurge::Url(prefix.clone())),
            What::Tag(tag) if tag.is_empty() || tag.contains([' ', ',']) => Err(BadPurge::Tag(tag.clone())),
            What::Tag(tag) => Ok(Self::Tag(tag.clone())),
            What::All => Ok(Self::All),
        }
    }

    pub(crate) fn is_about(&self, label: &Label) -> bool {
        match self {
            Self::Urls(urls) => urls.iter().any(|url| **url == *label.url),
            Self::Prefix(prefix) => label.url.starts_with(prefix.as_str()),
            Self::Tag(tag) => label.tags.iter().any(|known| **known == **tag),
            Self::All => true,
        }
    }
}

/// A moment in the order of purges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Before all purges of this process.
    pub(crate) const START: Self = Self(0);
}

/// The purges of late.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Goes up when a purge begins and when it ends.
    clock: AtomicU64,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// Each with when it began.
    under_way: Vec<(u64, Scope)>,
    /// Each with when it ended, in that order.
    ended: VecDeque<(u64, Scope)>,
    /// Purges that are forgotten ended by then.
    floor: u64,
}

/// A purge that is under way. It ends when this is dropped.
pub(crate) struct UnderWay<'a> {
    log: &'a Log,
    began: u64,
}

impl Log {
    /// Now.
    pub(crate) fn now(&self) -> Moment {
        Moment(self.clock.load(Ordering::SeqCst))
    }

    /// A purge begins.
    pub(crate) fn begin(&self, scope: Scope) -> UnderWay<'_> {
        let mut entries = self.entries.lock();
        let began = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        entries.under_way.push((began, scope));
        UnderWay { log: self, began }
    }

    /// Whether what began at `since` may still store an object with these names.
    pub(crate) fn admits(&self, since: Moment, label: &Label) -> bool {
        let entries = self.entries.lock();
        since.0 >= entries.floor
            && !entries.under_way.iter().any(|(_, scope)| scope.is_about(label))
            && !entries
                .ended
                .iter()
                .rev()
                .take_while(|(ended, _)| *ended > since.0)
                .any(|(_, scope)| scope.is_about(label))
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut entries = self.log.entries.lock();
        let ended = self.log.clock.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(at) = entries.under_way.iter().position(|(began, _)| *began == self.began) {
            let (_, scope) = entries.under_way.swap_remove(at);
            entries.ended.push_back((ended, scope));
        }
        if entries.ended.len() > REMEMBERED
            && let Some((forgotten, _)) = entries.ended.pop_front()
        {
            entries.floor = forgotten;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn label(url: &str) -> Label {
        Label { url: url.into(), tags: Arc::from([Arc::from("t")]) }
    }

    #[test]
    fn what_began_before_a_purge_ended_is_not_stored() {
        let log = Log::default();
        let (a, b) = (label("http://a/"), label("http://b/"));
        let before = log.now();
        assert!(log.admits(before, &a));
        let purge = log.begin(Scope::Urls(vec!["http://a/".to_owned()]));
        let during = log.now();
        assert!(!log.admits(before, &a) && !log.admits(during, &a));
        assert!(log.admits(before, &b) && log.admits(during, &b));
        drop(purge);
        assert!(!log.admits(before, &a) && !log.admits(during, &a) && log.admits(log.now(), &a));
        let slow = log.begin(Scope::Tag("t".to_owned()));
        drop(log.begin(Scope::Prefix("http://c/".to_owned())));
        assert!(!log.admits(log.now(), &b), "the earlier one is still under way");
        drop(slow);
        assert!(log.admits(log.now(), &b));
    }

    #[test]
    fn who_began_before_all_that_is_remembered_stores_nothing() {
        let log = Log::default();
        let before = log.now();
        for _ in 0..=REMEMBERED {
            drop(log.begin(Scope::Urls(vec!["http://x/".to_owned()])));
        }
        assert!(!log.admits(before, &label("http://a/")));
        assert!(log.admits(log.now(), &label("http://a/")));
    }

    #[test]
    fn a_wish_is_written_in_one_way() {
        let read = |text: &str| serde_json::from_str::<Purge>(text).map(|purge| (Scope::of(&purge.what), purge.soft));
        assert_eq!(
            read(r#"{"url":"https://A/x","soft":true}"#).unwrap(),
            (Ok(Scope::Urls(vec!["https://a/x".to_owned()])), true)
        );
        assert_eq!(read(r#"{"all":true}"#).unwrap(), (Ok(Scope::All), false));
        assert!(read(r#"{"url":"/x"}"#).unwrap().0.is_err() && read(r#"{"tag":"a b"}"#).unwrap().0.is_err());
        for wrong in ["{}", r#"{"all":false}"#, r#"{"tag":"a","all":true}"#, r#"{"tag":"a","sofft":true}"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let purge = Purge { what: What::Tag("a".to_owned()), soft: true };
        let text = serde_json::to_string(&purge).unwrap();
        assert_eq!(serde_json::from_str::<Purge>(&text).unwrap(), purge);
    }
}
