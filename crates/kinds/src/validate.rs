//! Whether an object may be stored: its metadata and the rules of its kind.
//!
//! Invariant: pure and total; every fault is reported once, in upstream's order, words and paths. Rules of a change come
//! together with those of the object, because upstream tolerates what was wrong before (ratcheting): a rule sees the
//! old object beside the new one. The object must have passed `coerce` and `default`; if it did not, wrong shapes read
//! as absent. Why hand-written rules and not the schema's enums: upstream's paths and values differ from the schema's.

pub(crate) mod admission;
pub(crate) mod apps;
pub(crate) mod authority;
pub(crate) mod autoscaling;
pub(crate) mod batch;
pub(crate) mod certificates;
pub(crate) mod claims;
pub(crate) mod condition;
pub(crate) mod config;
pub(crate) mod container;
pub(crate) mod coordination;
pub(crate) mod definition;
pub(crate) mod difference;
pub(crate) mod endpoints;
pub(crate) mod environment;
pub(crate) mod event;
pub(crate) mod expression;
pub(crate) mod flowcontrol;
pub(crate) mod golang;
pub(crate) mod ingress;
pub(crate) mod ip;
pub(crate) mod meta;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod persistent;
pub(crate) mod pod;
pub(crate) mod policy;
pub(crate) mod probe;
pub(crate) mod quota;
pub(crate) mod rbac;
pub(crate) mod resources;
pub(crate) mod runtime;
pub(crate) mod scheduling;
pub(crate) mod security;
pub(crate) mod service;
pub(crate) mod signer;
pub(crate) mod slices;
pub(crate) mod source;
pub(crate) mod spread;
pub(crate) mod storage;
pub(crate) mod volume;

use base::name::Verdict;
use serde_json::Value;

use crate::catalog::{Catalog, Kind};
use crate::convert;
use crate::error::{Cause, FieldError};
use crate::json::{self, at};
use crate::path::Path;

/// What a rule looks at.
#[derive(Clone, Copy)]
pub(crate) struct Case<'v> {
    pub kind: &'v Kind,
    /// The object as it will be stored.
    pub new: &'v Value,
    /// The object as it was; none for a new one.
    pub old: Option<&'v Value>,
}

impl<'v> Case<'v> {
    pub(crate) fn spec(&self) -> &'v Value {
        at(self.new, "spec")
    }

    /// Null for a new object.
    pub(crate) fn old(&self) -> &'v Value {
        self.old.unwrap_or(&Value::Null)
    }

    pub(crate) fn name(&self) -> &'v str {
        json::text(at(self.new, "metadata"), "name")
    }

    pub(crate) fn annotations(&self) -> &'v Value {
        at(at(self.new, "metadata"), "annotations")
    }
}

/// Rules of a kind for an object that is about to be stored.
pub(crate) type Check = fn(&Case<'_>, &mut Faults);

pub(crate) const IMMUTABLE: &str = "field is immutable";
pub(crate) const NEGATIVE: &str = "must be greater than or equal to 0";
pub(crate) const NOT_POSITIVE: &str = "must be greater than zero";

/// Checks an object that is about to be created.
pub fn validate_create(kind: &Kind, value: &Value) -> Vec<FieldError> {
    if let Some((kind, [value, _])) = as_stored(kind, [value, &Value::Null]) {
        return validate_create(kind, &value);
    }
    let case = Case { kind, new: value, old: None };
    let mut faults = Faults::default();
    if let Some(custom) = &kind.custom {
        meta::object(&case, &mut faults);
        custom.validate_create(value, &mut faults);
    } else if kind.rules.meta == meta::Style::Late {
        run(kind.rules.check, &case, &mut faults);
        if faults.list.is_empty() {
            meta::object(&case, &mut faults);
        }
    } else {
        meta::object(&case, &mut faults);
        run(kind.rules.check, &case, &mut faults);
    }
    faults.told()
}

/// Checks an object that is about to replace an older one.
pub fn validate_update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    match &kind.custom {
        Some(custom) => changed_custom(kind, new, old, |faults| custom.validate_update(new, old, faults)),
        None => changed(kind, new, old, kind.rules.check),
    }
}

/// Checks an object whose status is about to change.
pub fn validate_status(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    match &kind.custom {
        Some(custom) => changed_custom(kind, new, old, |faults| custom.validate_status(new, old, faults)),
        None => changed(kind, new, old, kind.rules.status),
    }
}

/// Checks a pod whose ephemeral containers are about to change (see `strategy::prepare_ephemeral_containers`).
pub fn validate_ephemeral_containers(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    changed(kind, new, old, Some(pod::ephemeral))
}

/// Checks a pod whose resources are about to change by the subresource `resize`.
pub fn validate_resize(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    changed(kind, new, old, Some(pod::resize))
}

/// Checks a certificate signing request that is about to be approved or denied.
pub fn validate_approval(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    changed(kind, new, old, Some(certificates::approval))
}

/// Checks a namespace whose finalizers are about to change.
pub fn validate_finalize(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    changed(kind, new, old, Some(config::finalize))
}

fn changed(kind: &Kind, new: &Value, old: &Value, check: Option<Check>) -> Vec<FieldError> {
    if let Some((kind, [new, old])) = as_stored(kind, [new, old]) {
        return changed(kind, &new, &old, check);
    }
    let case = Case { kind, new, old: Some(old) };
    let mut faults = Faults::default();
    meta::object(&case, &mut faults);
    meta::change(&case, &mut faults);
    run(check, &case, &mut faults);
    faults.told()
}

/// Objects in the version that the rules speak of, where that is another one.
fn as_stored(kind: &Kind, values: [&Value; 2]) -> Option<(&'static Kind, [Value; 2])> {
    let stored = Catalog::builtin().stored(kind).filter(|stored| convert::differ(kind, stored))?;
    let values = values.map(|value| {
        let mut value = value.clone();
        convert::convert(&mut value, kind, stored);
        value
    });
    Some((stored, values))
}

fn changed_custom(kind: &Kind, new: &Value, old: &Value, check: impl FnOnce(&mut Faults)) -> Vec<FieldError> {
    let case = Case { kind, new, old: Some(old) };
    let mut faults = Faults::default();
    meta::object(&case, &mut faults);
    meta::change(&case, &mut faults);
    check(&mut faults);
    faults.told()
}

fn run(check: Option<Check>, case: &Case<'_>, faults: &mut Faults) {
    if let Some(check) = check {
        check(case, faults);
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub list: Vec<FieldError>,
}

impl Faults {
    /// All faults, each once, however often upstream comes to it.
    fn told(self) -> Vec<FieldError> {
        let mut told: Vec<FieldError> = Vec::with_capacity(self.list.len());
        for fault in self.list {
            if !told.contains(&fault) {
                told.push(fault);
            }
        }
        told
    }

    pub(crate) fn push(&mut self, fault: FieldError) {
        self.list.push(fault);
    }

    pub(crate) fn required(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldError::required(path, detail));
    }

    pub(crate) fn invalid(&mut self, path: &Path<'_>, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(FieldError::invalid(path, value, detail));
    }

    /// A fault whose value is shown as it stands here, or not at all if it is empty.
    pub(crate) fn shown(&mut self, path: &Path<'_>, shown: &str, detail: &str) {
        let detail = if shown.is_empty() { detail.to_owned() } else { format!("{shown}: {detail}") };
        self.push(FieldError::new(Cause::Invalid, path, detail, None));
    }

    pub(crate) fn forbidden(&mut self, path: &Path<'_>, detail: impl Into<String>) {
        self.push(FieldError::forbidden(path, detail));
    }

    pub(crate) fn duplicate(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::duplicate(path, value));
    }

    pub(crate) fn not_found(&mut self, path: &Path<'_>, value: impl Into<Value>) {
        self.push(FieldError::not_found(path, value));
    }

    pub(crate) fn too_long(&mut self, path: &Path<'_>, limit: usize) {
        self.push(FieldError::too_long(path, limit));
    }

    pub(crate) fn too_many(&mut self, path: &Path<'_>, count: usize, limit: usize) {
        self.push(FieldError::too_many(path, count, limit));
    }

    /// The values are told in the order given, which is upstream's.
    pub(crate) fn not_supported(&mut self, path: &Path<'_>, value: impl Into<Value>, supported: &[&str]) {
        self.push(FieldError::not_supported(path, value, supported));
    }

    /// A text that must obey a naming rule.
    pub(crate) fn named(&mut self, path: &Path<'_>, text: &str, rule: fn(&str) -> Verdict) {
        self.verdict(path, text, rule(text));
    }

    /// What a rule said about a text, one fault for each reason.
    pub(crate) fn verdict(&mut self, path: &Path<'_>, text: &str, verdict: Verdict) {
        for reason in verdict.err().into_iter().flatten() {
            self.invalid(path, text, reason);
        }
    }

    /// A text that must be there and obey a naming rule.
    pub(crate) fn required_name(&mut self, path: &Path<'_>, text: &str, rule: fn(&str) -> Verdict) {
        if text.is_empty() { self.required(path, "") } else { self.named(path, text, rule) }
    }

    /// A text that may be left out.
    pub(crate) fn optional_name(&mut self, path: &Path<'_>, text: &str, rule: fn(&str) -> Verdict) {
        if !text.is_empty() {
            self.named(path, text, rule);
        }
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
            self.invalid(&above.field(name), number, NEGATIVE);
        }
    }

    /// A member that may not change.
    pub(crate) fn unchanged(&mut self, new: &Value, old: &Value, name: &str, above: &Path<'_>) {
        if !json::same(at(new, name), at(old, name)) {
            self.invalid(&above.field(name), at(new, name).clone(), IMMUTABLE);
        }
    }

    /// A text that may not change.
    pub(crate) fn same_text(&mut self, new: &Value, old: &Value, name: &str, above: &Path<'_>) {
        if json::text(new, name) != json::text(old, name) {
            self.invalid(&above.field(name), json::text(new, name), IMMUTABLE);
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

    /// One of a closed set of texts, if it is there at all.
    pub(crate) fn any_of(&mut self, value: &Value, name: &str, above: &Path<'_>, supported: &[&str]) {
        if let Some(text) = at(value, name).as_str().filter(|text| !supported.contains(text)) {
            self.not_supported(&above.field(name), text, supported);
        }
    }
}

/// A Go struct without JSON names, as Go prints it in a fault.
pub(crate) fn go(members: &[(&str, Value)]) -> String {
    let inner: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", inner.join(","))
}

#[cfg(test)]
mod tests;
