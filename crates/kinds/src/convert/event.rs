//! core/v1 Event and events.k8s.io/v1 Event: the same record with other names.

use crate::json::Members;

/// Name in core/v1 and in events.k8s.io/v1.
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn to_core(event: &mut Members) {
    rename(event, NAMES.iter().map(|(core, events)| (*events, *core)));
}

pub(super) fn from_core(event: &mut Members) {
    rename(event, NAMES.iter().copied());
}

fn rename<'n>(event: &mut Members, names: impl Iterator<Item = (&'n str, &'n str)>) {
    for (from, to) in names {
        if let Some(value) = event.remove(from) {
            event.insert(to.to_owned(), value);
        }
    }
}
