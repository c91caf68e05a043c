//! Whether an object may be stored: its metadata, the enums and required fields of its schema, and the rules of its kind.
//!
//! Invariant: pure and total; every fault is reported, in upstream's words and with upstream's paths, and a field that a
//! rule of the kind already complained about is not complained about again by the schema. The object must have passed
//! `coerce` and `default`; if it did not, wrong shapes read as absent.

pub(crate) mod apps;
pub(crate) mod autoscaling;
pub(crate) mod batch;
pub(crate) mod container;
pub(crate) mod core;
pub(crate) mod definition;
pub(crate) mod extension;
pub(crate) mod meta;
pub(crate) mod network;
pub(crate) mod pod;
pub(crate) mod policy;
pub(crate) mod probe;
pub(crate) mod rbac;
pub(crate) mod scheduling;
pub(crate) mod service;
pub(crate) mod storage;
pub(crate) mod structure;
pub(crate) mod volume;

use base::name::Verdict;
use serde_json::Value;

use crate::catalog::Kind;
use crate::error::FieldError;
use crate::json::{self, at};
use crate::path::Path;

/// Rules of a kind for an object as it will be stored.
pub(crate) type Check = fn(&Value, &mut Faults);
/// Rules of a kind for a change: new, old.
pub(crate) type Change = fn(&Value, &Value, &mut Faults);

pub(crate) const IMMUTABLE: &str = "field is immutable";

/// Checks an object that is about to be created.
pub fn validate_create(kind: &Kind, value: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    meta::object(kind, value, &mut faults);
    match &kind.custom {
        Some(custom) => custom.validate_create(value, &mut faults),
        None => {
            if let Some(rule) = kind.rules.new {
                rule(value, &mut faults);
            }
            contents(kind, value, &mut faults);
        }
    }
    faults.list
}

/// Checks an object that is about to replace an older one.
pub fn validate_update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    meta::change(new, old, &mut faults);
    if let Some(custom) = &kind.custom {
        custom.validate_update(new, old, &mut faults);
        return faults.list;
    }
    if let Some(rule) = kind.rules.change {
        rule(new, old, &mut faults);
    }
    contents(kind, new, &mut faults);
    faults.list
}

/// Checks a pod whose ephemeral containers are about to change (see `strategy::prepare_ephemeral_containers`).
pub fn validate_ephemeral_containers(_: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    meta::change(new, old, &mut faults);
    pod::ephemeral_change(new, old, &mut faults);
    faults.list
}

/// Checks an object whose status is about to change.
pub fn validate_status(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut faults = Faults::default();
    match (&kind.custom, kind.rules.status) {
        (Some(custom), _) => {
            meta::change(new, old, &mut faults);
            custom.validate_status(new, old, &mut faults);
        }
        (None, Some(rule)) => {
            meta::change(new, old, &mut faults);
            rule(new, &mut faults);
        }
        (None, None) => return validate_update(kind, new, old),
    }
    faults.list
}

fn contents(kind: &Kind, value: &Value, faults: &mut Faults) {
    if let Some(rule) = kind.rules.check {
        rule(value, faults);
    }
    // the rules of definitions cover their schema, under paths of their own
    if kind.rules.new.is_none() {
        structure::check(kind, value, faults);
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub list: Vec<FieldError>,
}

impl Faults {
    pub(crate) fn push(&mut self, fault: FieldError) {
        self.list.push(fault);
    }

    pub(crate) fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push(FieldError::required(path, detail));
    }

    pub(crate) fn invalid(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(FieldError::invalid(path, value, detail));
    }

    pub(crate) fn forbidden(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldError::forbidden(path, detail));
    }

    pub(crate) fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::duplicate(path, value));
    }

    pub(crate) fn not_supported<T: AsRef<str>>(&mut self, path: &Path<'_>, value: &str, supported: &[T]) {
        self.push(FieldError::not_supported(path, value, supported));
    }

    /// A text that must obey a naming rule.
    pub(crate) fn named(&mut self, path: &Path<'_>, text: &str, rule: fn(&str) -> Verdict) {
        if let Err(reason) = rule(text) {
            self.invalid(path, text, reason);
        }
    }

    /// A text that must be there and obey a naming rule.
    pub(crate) fn required_name(&mut self, path: &Path<'_>, text: &str, rule: fn(&str) -> Verdict) {
        if text.is_empty() { self.required(path, "") } else { self.named(path, text, rule) }
    }

    /// A text member that must be there.
    pub(crate) fn required_text(&mut self, value: &Value, name: &str, above: &Path<'_>) {
        if json::text(value, name).is_empty() {
            self.required(&above.field(name), "");
        }
    }

    /// A number member that must not be negative.
    pub(crate) fn not_negative(&mut self, value: &Value, name: &str, above: &Path<'_>) {
        if let Some(number) = json::int(value, name).filter(|number| *number < 0) {
            self.invalid(&above.field(name), number, "must be greater than or equal to 0");
        }
    }

    /// A member that may not change.
    pub(crate) fn unchanged(&mut self, new: &Value, old: &Value, name: &str, above: &Path<'_>) {
        if !json::same(at(new, name), at(old, name)) {
            self.invalid(&above.field(name), at(new, name).clone(), IMMUTABLE);
        }
    }

    /// One of a closed set of texts, which must be there.
    pub(crate) fn one_of(&mut self, value: &Value, name: &str, above: &Path<'_>, supported: &[&str]) {
        match json::text(value, name) {
            "" => self.required(&above.field(name), ""),
            text if !supported.contains(&text) => self.not_supported(&above.field(name), text, supported),
            _ => {}
        }
    }

    /// True if some fault is at the path or below it.
    fn mentions(&self, path: &str) -> bool {
        self.list.iter().any(|fault| {
            fault.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }
}

#[cfg(test)]
mod tests;
