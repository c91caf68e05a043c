//! Which event a note belongs to: a new one, one told before, or a summary of many alike.
//!
//! Invariant: bounded memory, and no object can make more than a burst of events plus one per refill interval.

use std::collections::{HashMap, VecDeque};

use jiff::{SignedDuration, Timestamp};

use super::Note;

/// Remembered notes and sources, oldest forgotten first.
const REMEMBERED: usize = 4096;
/// So many different messages with one reason become a summary within `WINDOW`.
const ALIKE: usize = 10;
const WINDOW: SignedDuration = SignedDuration::from_secs(600);
/// Events per object: a burst, then one in five minutes.
const BURST: u32 = 25;
const REFILL: SignedDuration = SignedDuration::from_secs(300);

/// An Event object as it should be now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) message: String,
    pub(super) count: i32,
    pub(super) first: Timestamp,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    New(Entry),
    Again(Entry),
    /// The object was too talkative.
    Drop,
}

#[derive(Debug, Default)]
pub(super) struct Correlator {
    entries: Bounded<Entry>,
    alike: Bounded<(Vec<String>, Timestamp)>,
    spam: Bounded<(u32, Timestamp)>,
    serial: u32,
}

impl Correlator {
    pub(super) fn observe(&mut self, note: &Note, now: Timestamp) -> Outcome {
        let about = &note.about;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let object =
            format!("{}/{}/{}/{}", text(&about.kind), text(&about.namespace), text(&about.name), text(&about.uid));
        if !self.may_speak(&object, now) {
            return Outcome::Drop;
        }
        let group = format!("{object}/{}/{}", note.warning, note.reason);
        let (key, message) = if self.is_alike(&group, &note.message, now) {
            (group, format!("(combined from similar events): {}", note.message))
        } else {
            (format!("{group}/{}", note.message), note.message.clone())
        };
        if let Some(entry) = self.entries.get(&key) {
            entry.count += 1;
            entry.message = message;
            return Outcome::Again(entry.clone());
        }
        self.serial = self.serial.wrapping_add(1);
        // Upstream names events by object and time; the serial keeps two in one nanosecond apart.
        let stamp = now.as_nanosecond().wrapping_add(i128::from(self.serial));
        let name = format!("{}.{stamp:x}", text(&about.name));
        let entry = Entry { name, message, count: 1, first: now };
        self.entries.insert(key, entry.clone());
        Outcome::New(entry)
    }

    fn may_speak(&mut self, object: &str, now: Timestamp) -> bool {
        let Some((left, since)) = self.spam.get(object) else {
            self.spam.insert(object.to_owned(), (BURST - 1, now));
            return true;
        };
        let refills = now.duration_since(*since).as_secs() / REFILL.as_secs();
        if refills > 0 {
            *left = left.saturating_add(u32::try_from(refills).unwrap_or(BURST)).min(BURST);
            *since = now;
        }
        if *left == 0 {
            return false;
        }
        *left -= 1;
        true
    }

    fn is_alike(&mut self, group: &str, message: &str, now: Timestamp) -> bool {
        let Some((messages, since)) = self.alike.get(group) else {
            self.alike.insert(group.to_owned(), (vec![message.to_owned()], now));
            return false;
        };
        if now.duration_since(*since) > WINDOW {
            messages.clear();
        }
        *since = now;
        if !messages.iter().any(|one| one == message) {
            if messages.len() + 1 >= ALIKE {
                return true;
            }
            messages.push(message.to_owned());
        }
        false
    }
}

/// A map that forgets the oldest entries.
#[derive(Debug)]
struct Bounded<T> {
    map: HashMap<String, T>,
    order: VecDeque<String>,
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { map: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Bounded<T> {
    fn get(&mut self, key: &str) -> Option<&mut T> {
        self.map.get_mut(key)
    }

    fn insert(&mut self, key: String, value: T) {
        if self.map.insert(key.clone(), value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.map.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;

    use super::*;
    use crate::world::NOW;

    fn note(message: &str) -> Note {
        let about = ObjectReference { name: Some("web".into()), uid: Some("u".into()), ..ObjectReference::default() };
        Note { about, warning: true, reason: "Failed".into(), message: message.into() }
    }

    #[test]
    fn the_same_words_again_only_count() {
        let mut correlator = Correlator::default();
        let Outcome::New(first) = correlator.observe(&note("a"), NOW) else { panic!("must be new") };
        let Outcome::Again(second) = correlator.observe(&note("a"), NOW) else { panic!("must be known") };
        assert_eq!((second.name, second.count), (first.name, 2));
        assert!(matches!(correlator.observe(&note("b"), NOW), Outcome::New(_)));
    }

    #[test]
    fn many_different_words_become_a_summary() {
        let mut correlator = Correlator::default();
        let outcomes: Vec<Outcome> = (0..12).map(|index| correlator.observe(&note(&index.to_string()), NOW)).collect();
        let new = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::New(_))).count();
        assert_eq!(new, 10);
        let Some(Outcome::Again(last)) = outcomes.last() else { panic!("must be a summary") };
        assert_eq!((last.message.as_str(), last.count), ("(combined from similar events): 11", 3));
    }

    #[test]
    fn a_talkative_object_is_cut_off_and_heard_again_later() {
        let mut correlator = Correlator::default();
        let heard = (0..100).filter(|_| correlator.observe(&note("a"), NOW) != Outcome::Drop).count();
        assert_eq!(heard, usize::try_from(BURST).expect("small"));
        assert!(correlator.observe(&note("a"), NOW + REFILL) != Outcome::Drop);
    }
}
