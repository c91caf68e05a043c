//! `metadata.managedFields`: who owns what, as the object carries it.
//!
//! Invariant: an entry is told apart by manager, operation, subresource and, for updates, version; a later entry of the
//! same name replaces an earlier one. Entries that a request does not touch are not written anew.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::fields;
use super::set::Set;

/// More update entries than this are merged, the oldest first.
const MOST_UPDATES: usize = 10;
const ANCIENT: &str = "ancient-changes";
/// Who wrote what was there before the first apply.
pub(super) const BEFORE_APPLY: &str = "before-first-apply";

/// What tells entries apart; in the order of upstream's identifiers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id<'a> {
    pub manager: Cow<'a, str>,
    /// `Apply` or `Update`
    pub operation: &'static str,
    /// Empty for appliers, who stay the same whatever version they speak.
    pub version: Cow<'a, str>,
    pub subresource: Cow<'a, str>,
}

pub(super) const APPLY: &str = "Apply";
pub(super) const UPDATE: &str = "Update";

impl<'a> Id<'a> {
    pub(super) fn applier(manager: &'a str, subresource: &'a str) -> Self {
        let (manager, subresource) = (Cow::Borrowed(manager), Cow::Borrowed(subresource));
        Self { manager, operation: APPLY, version: Cow::Borrowed(""), subresource }
    }

    pub(super) fn updater(manager: &'a str, version: &'a str, subresource: &'a str) -> Self {
        let manager = Cow::Borrowed(if manager.is_empty() { "unknown" } else { manager });
        Self { manager, operation: UPDATE, version: Cow::Borrowed(version), subresource: Cow::Borrowed(subresource) }
    }

    pub(super) fn applied(&self) -> bool {
        self.operation == APPLY
    }
}

/// One manager's fields.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub id: Id<'a>,
    pub api_version: Cow<'a, str>,
    pub set: Set<'a>,
    pub time: Option<Cow<'a, str>>,
    /// The place in the list it was read from, while it is what stands there.
    pub source: Option<usize>,
}

impl Entry<'_> {
    fn seconds(&self) -> i64 {
        self.time.as_deref().and_then(|time| base::time::parse(time).ok()).map_or(0, |time| time.as_second())
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managers<'a>(pub Vec<Entry<'a>>);

impl<'a> Managers<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `managedFields`; anything malformed spoils it all.
    pub(super) fn decode(entries: &'a Value) -> Result<Self, String> {
        let entries = match entries {
            Value::Null => return Ok(Self::default()),
            Value::Array(entries) => entries,
            _ => return Err("managedFields is no list".to_owned()),
        };
        let mut managers = Self(Vec::with_capacity(entries.len()));
        for (index, entry) in entries.iter().enumerate() {
            let entry = decode(index, entry)?;
            managers.put(entry);
        }
        Ok(managers)
    }

    pub(super) fn get(&self, id: &Id<'_>) -> Option<&Entry<'a>> {
        self.0.iter().find(|entry| entry.id == *id)
    }

    /// Adds an entry in place of the one of the same name.
    pub(super) fn put(&mut self, entry: Entry<'a>) {
        match self.0.iter_mut().find(|held| held.id == entry.id) {
            Some(held) => *held = entry,
            None => self.0.push(entry),
        }
    }

    /// Removes fields from whoever owns them, except one; managers without fields go.
    pub(super) fn take(&mut self, except: Option<&Id<'_>>, mut from: impl FnMut(&mut Entry<'a>) -> bool) {
        self.0.retain_mut(|entry| {
            if except != Some(&entry.id) && from(entry) {
                entry.source = None;
            }
            !entry.set.is_empty()
        });
    }

    /// Merges the oldest update entries of a version until few enough are left.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<Id<'a>> = {
            let mut entries: Vec<&Entry<'a>> = self.0.iter().filter(|entry| !entry.id.applied()).collect();
            if entries.len() <= MOST_UPDATES {
                return;
            }
            entries.sort_by(|a, b| a.seconds().cmp(&b.seconds()).then_with(|| a.id.cmp(&b.id)));
            entries.into_iter().map(|entry| entry.id.clone()).collect()
        };
        let mut length = updaters.len();
        let mut first_of: Vec<(Cow<'a, str>, Id<'a>)> = Vec::new();
        for id in updaters.drain(..) {
            if length <= MOST_UPDATES {
                break;
            }
            let Some(version) = self.get(&id).map(|entry| entry.api_version.clone()) else { continue };
            let Some((_, first)) = first_of.iter().find(|(held, _)| *held == version) else {
                first_of.push((version, id));
                continue;
            };
            let bucket = Id {
                manager: Cow::Borrowed(ANCIENT),
                operation: UPDATE,
                version: version.clone(),
                subresource: Cow::Borrowed(""),
            };
            if self.get(&bucket).is_none()
                && let Some(mut entry) = self.remove(&first.clone())
            {
                entry.id = bucket.clone();
                self.0.push(entry);
            }
            let Some(merged) = self.remove(&id) else { continue };
            if let Some(entry) = self.0.iter_mut().find(|entry| entry.id == bucket) {
                entry.set = std::mem::take(&mut entry.set).union(merged.set);
                entry.time = merged.time;
                entry.source = None;
            }
            length -= 1;
        }
    }

    fn remove(&mut self, id: &Id<'_>) -> Option<Entry<'a>> {
        let index = self.0.iter().position(|entry| entry.id == *id)?;
        Some(self.0.remove(index))
    }

    /// What becomes of the list: entries that stay as they are, by their place in it, and new ones.
    pub(super) fn plan(mut self) -> Vec<Slot> {
        self.0.sort_by(order);
        self.0
            .into_iter()
            .map(|entry| match entry.source {
                Some(index) => Slot::Kept(index),
                None => Slot::Made(encode(&entry)),
            })
            .collect()
    }
}

/// Upstream's order of entries: applied before updated, then the older, then by name.
fn order(a: &Entry<'_>, b: &Entry<'_>) -> Ordering {
    let names = |entry: &Entry<'_>| (entry.id.manager.to_string(), entry.api_version.to_string());
    (a.id.operation.cmp(b.id.operation))
        .then_with(|| a.seconds().cmp(&b.seconds()))
        .then_with(|| names(a).cmp(&names(b)))
        .then_with(|| a.id.subresource.cmp(&b.id.subresource))
}

/// An entry of the list to be written.
pub(super) enum Slot {
    Kept(usize),
    Made(Value),
}

/// The list to be written, from the list that was read; none if nobody manages anything.
pub(super) fn assemble(slots: Vec<Slot>, source: Source<'_>) -> Option<Value> {
    let mut owned: Vec<Option<Value>> = match source {
        Source::Owned(Value::Array(entries)) => entries.into_iter().map(Some).collect(),
        Source::Owned(_) => Vec::new(),
        Source::Borrowed(entries) => {
            let kept = |index| entries.get(index).cloned();
            let made: Vec<Value> = slots
                .into_iter()
                .filter_map(|slot| match slot {
                    Slot::Kept(index) => kept(index),
                    Slot::Made(value) => Some(value),
                })
                .collect();
            return (!made.is_empty()).then_some(Value::Array(made));
        }
    };
    let made: Vec<Value> = slots
        .into_iter()
        .filter_map(|slot| match slot {
            Slot::Kept(index) => owned.get_mut(index).and_then(Option::take),
            Slot::Made(value) => Some(value),
        })
        .collect();
    (!made.is_empty()).then_some(Value::Array(made))
}

pub(super) enum Source<'v> {
    Owned(Value),
    Borrowed(&'v Value),
}

fn decode(index: usize, entry: &Value) -> Result<Entry<'_>, String> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        APPLY => APPLY,
        UPDATE => UPDATE,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    let version = text("apiVersion");
    if version.is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
        other => {
            return Err(format!("invalid fieldsType {} in managed fields entry {index}", crate::error::quote(other)));
        }
    }
    let held = entry.get("fieldsV1").unwrap_or(&Value::Null);
    let set = fields::decode(held)
        .map_err(|error| format!("error decoding versioned set from {entry}: error decoding set: {error}"))?;
    let id = Id {
        manager: Cow::Borrowed(text("manager")),
        operation,
        version: Cow::Borrowed(if operation == APPLY { "" } else { version }),
        subresource: Cow::Borrowed(text("subresource")),
    };
    let time = entry.get("time").and_then(Value::as_str).map(Cow::Borrowed);
    Ok(Entry { id, api_version: Cow::Borrowed(version), set, time, source: Some(index) })
}

fn encode(entry: &Entry<'_>) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
    put("apiVersion", Value::from(&*entry.api_version));
    put("fieldsType", Value::from("FieldsV1"));
    put("fieldsV1", fields::encode(&entry.set));
    if !entry.id.manager.is_empty() {
        put("manager", Value::from(&*entry.id.manager));
    }
    put("operation", Value::from(entry.id.operation));
    if !entry.id.subresource.is_empty() {
        put("subresource", Value::from(&*entry.id.subresource));
    }
    if let Some(time) = &entry.time {
        put("time", Value::from(&**time));
    }
    Value::Object(members)
}

/// An empty list, or a list of one empty entry: the way to say that nobody owns anything.
pub(super) fn is_reset(entries: &Value) -> bool {
    match entries.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(|entry| entry.values().all(crate::json::is_empty)),
        _ => false,
    }
}
