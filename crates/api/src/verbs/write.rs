//! The one way into the store: admit, prepare, validate, commit, settle.
//!
//! [`Attempt`] is one try at one write. It owns the object while plugins change it, and it settles with every plugin that
//! took part however the try ends, also when the request is abandoned half-way. [`change`] is the read-modify-write loop
//! under update, patch, scale, binding and the other subresources: it starts over when another write came first.

use std::sync::Arc;

use kinds::{FieldError, Kind, managed};
use serde_json::Value;
use store::{CommitError, Expect, Record, Write};

use crate::{
    admission::{Admit, Operation, Rounds},
    allocate::Number,
    call::Call,
    core::{self, Core, text},
    custom::reading,
    error::ApiError,
    identity::User,
    verbs::delete,
};

/// Tries before a change without a resourceVersion of its own gives up. Upstream never does; a bound keeps a broken
/// admission plugin from spinning.
const TRIES: usize = 32;

pub(crate) struct Attempt<'a> {
    pub(crate) core: &'a Core,
    pub(crate) user: &'a User,
    pub(crate) operation: Operation,
    pub(crate) kind: &'a Kind,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: String,
    pub(crate) object: Option<Value>,
    pub(crate) old: Option<&'a Value>,
    pub(crate) dry_run: bool,
    pub(crate) call: Option<&'a Call>,
    taken: Vec<Number>,
    rounds: Rounds,
    /// Plugins that have acted and wait to hear the outcome.
    acted: usize,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(core: &'a Core, target: &Target<'a>, operation: Operation) -> Self {
        Self {
            core,
            user: target.user,
            operation,
            kind: target.kind,
            subresource: target.subresource,
            namespace: target.namespace,
            name: target.name.to_owned(),
            object: None,
            old: None,
            dry_run: target.dry_run,
            call: target.call,
            taken: Vec::new(),
            rounds: Rounds::default(),
            acted: 0,
        }
    }

    fn admit(&mut self) -> Admit<'_> {
        Admit {
            user: self.user,
            operation: self.operation,
            kind: self.kind,
            subresource: self.subresource,
            namespace: self.namespace,
            name: &self.name,
            object: self.object.as_mut(),
            old: self.old,
            dry_run: self.dry_run,
            taken: &mut self.taken,
            call: self.call,
            rounds: &mut self.rounds,
        }
    }

    pub(crate) async fn mutate(&mut self) -> Result<(), ApiError> {
        let core = self.core;
        for plugin in &core.admission {
            self.acted += 1;
            plugin.mutate(core, &mut self.admit()).await?;
        }
        if self.rounds.wanted {
            self.rounds.again = true;
            for plugin in core.admission.iter().filter(|plugin| plugin.looks_again()) {
                plugin.mutate(core, &mut self.admit()).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn validate(&mut self) -> Result<(), ApiError> {
        let core = self.core;
        let admit = self.admit();
        for plugin in &core.admission {
            plugin.validate(core, &admit).await?;
        }
        Ok(())
    }

    pub(crate) fn object(&mut self) -> &mut Value {
        self.object.as_mut().expect("invariant: creates and updates carry an object")
    }

    pub(crate) fn settle(&mut self, committed: bool) {
        let core = self.core;
        let acted = std::mem::take(&mut self.acted);
        let admit = self.admit();
        for plugin in &core.admission[..acted] {
            plugin.settle(core, &admit, committed);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.acted > 0 {
            self.settle(false);
        }
    }
}

/// An owner counts once. `when` says when the repetition was seen, as upstream's warning does.
pub(crate) fn single_owners(call: &Call, object: &mut Value, when: &str) {
    let repeated = kinds::strategy::single_owners(object);
    if !repeated.is_empty() {
        call.warn(format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and \
             may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: [{}]",
            repeated.join(" ")
        ));
    }
}

/// Fills in what a client leaves out, the time included.
pub(crate) fn complete(kind: &Kind, object: &mut Value) {
    kinds::default(kind, object);
    kinds::strategy::stamp_taints(kind, object, &Value::Null, now);
}

fn now() -> String {
    base::time::rfc3339(base::time::now())
}

/// What a write is aimed at.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) user: &'a User,
    pub(crate) kind: &'a Arc<Kind>,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) dry_run: bool,
    /// Whose the changed fields become; none if the object already says so, or the server itself writes.
    pub(crate) manager: Option<&'a str>,
    /// Who is told what is unwise about a change; none if the server itself writes.
    pub(crate) call: Option<&'a Call>,
}

impl Target<'_> {
    pub(crate) fn key(&self) -> String {
        core::key(self.kind, self.namespace, self.name)
    }

    /// The managedFields that the client sent, if this write settles them.
    pub(crate) fn detach(&self, object: &mut Value) -> Option<managed::Given> {
        self.manager.map(|_| managed::detach(object))
    }

    /// Records who owns what of `new` after this write over `old` (null for a create).
    pub(crate) fn own(&self, core: &Core, old: &Value, new: &mut Value, given: Option<managed::Given>) {
        let (Some(manager), Some(given)) = (self.manager, given) else { return };
        let (catalog, version) = (core.catalog(), self.kind.api_version());
        let scope = managed::Scope::new(&catalog, self.kind, &version, self.subresource);
        managed::update(&scope, old, new, given, manager, &now());
    }

    /// Warns of a change that obeys all rules.
    fn warn(&self, new: &Value, old: &Value) {
        if let Some(call) = self.call.filter(|_| kinds::warns(self.kind, self.subresource)) {
            let told = kinds::warnings_of_change(self.kind, self.subresource, new, old);
            told.into_iter().for_each(|text| call.warn(text));
        }
    }
}

/// How a change is made fit: what of it counts, and which rules it must obey.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) prepare: fn(&Kind, &mut Value, &Value),
    pub(crate) validate: fn(&Kind, &Value, &Value) -> Vec<FieldError>,
}

impl Rules {
    pub(crate) const OBJECT: Self = Self { prepare: kinds::strategy::prepare_update, validate: kinds::validate_update };
    pub(crate) const STATUS: Self =
        Self { prepare: kinds::strategy::prepare_status_update, validate: kinds::validate_status };
}

/// The outcome of a write.
pub(crate) enum Written {
    Record(Arc<Record>),
    /// A dry run's would-be object.
    Dry(Value),
}

/// Applies `make` to the newest version until the result is stored.
pub(crate) async fn change(
    core: &Core,
    target: Target<'_>,
    rules: Rules,
    mut make: impl FnMut(&Value) -> Result<Value, ApiError> + Send,
) -> Result<Written, ApiError> {
    let key = target.key();
    for _ in 0..TRIES {
        let record = core.store.get(&key).ok_or_else(|| ApiError::not_found(target.kind, target.name))?;
        let old = core.decode(target.kind, &*core.read(target.kind, record.clone()).await?);
        let new = make(&old)?;
        if let Some(written) = try_change(core, target, rules, &record, &old, new).await? {
            return Ok(written);
        }
    }
    Err(ApiError::modified(target.kind, target.name))
}

/// One try; none if another write came first and trying again makes sense.
async fn try_change(
    core: &Core,
    target: Target<'_>,
    rules: Rules,
    record: &Arc<Record>,
    old: &Value,
    mut new: Value,
) -> Result<Option<Written>, ApiError> {
    let kind = target.kind;
    // a client that named a version fails here on the second try, so a lost race is always worth another one
    let given = text(&new, "/metadata/resourceVersion");
    if !given.is_empty() && given != text(old, "/metadata/resourceVersion") {
        return Err(ApiError::modified(kind, target.name));
    }
    carry(target, &mut new, old)?;
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    let unchanged = target.manager.is_none() && is_unchanged(&mut new, old);
    if !unchanged {
        let given = target.detach(&mut new);
        complete(kind, &mut new);
        target.own(core, old, &mut new, given);
    }

    let mut attempt = Attempt::new(core, &target, Operation::Update);
    attempt.object = Some(new);
    attempt.old = Some(old);
    attempt.mutate().await?;
    let object = attempt.object();
    // what was stored obeyed the rules of its time, and may stay
    if !unchanged || object != old {
        complete(kind, object);
        (rules.prepare)(kind, object, old);
        kinds::strategy::stamp_taints(kind, object, old, now);
        let errors = (rules.validate)(kind, object, old);
        if !errors.is_empty() {
            return Err(ApiError::invalid(kind, target.name, &errors));
        }
    }
    target.warn(object, old);
    attempt.validate().await?;

    if target.dry_run {
        let object = attempt.object().clone();
        return Ok(Some(Written::Dry(object)));
    }
    managed::forget_times(attempt.object(), old);
    if attempt.object() == old && core.is_current(kind, record) {
        attempt.settle(true); // nothing to write is a success: what the object holds it keeps
        return Ok(Some(Written::Record(record.clone())));
    }
    let value = core.fitted(kind, attempt.object(), target.manager.is_none()).await?;
    let expect = Expect::Revision(record.revision);
    let key = target.key();
    let gone = delete::is_over(kind, attempt.object());
    let write = if gone { Write::Delete { key, expect, last: value } } else { Write::Put { key, value, expect } };
    let mut writes = vec![write];
    let new = attempt.object.as_ref().filter(|_| !gone);
    writes.extend(core.access.services.beside(&target.key(), Some(old), new));
    match core.commit(writes).await {
        Ok(records) => {
            if gone {
                attempt.operation = Operation::Delete;
            }
            attempt.settle(true);
            let record = only(records)?;
            reading::written(kind, &record);
            Ok(Some(Written::Record(record)))
        }
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}

/// Whether nothing but the time of an owner's last change differs, which then is forgotten.
fn is_unchanged(new: &mut Value, old: &Value) -> bool {
    managed::forget_times(new, old);
    new == old
}

/// The object is not the one that was meant; the words are those of upstream's storage.
pub(crate) fn other_uid(target: Target<'_>, wanted: &str, held: &str) -> ApiError {
    let Target { kind, namespace, name, .. } = target;
    let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{place}{name}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {held}",
        kind.plural
    );
    ApiError::conflict(kind, name, &why)
}

/// What the server owns of the metadata stays; an object that was deleted and created anew is another one.
fn carry(target: Target<'_>, new: &mut Value, old: &Value) -> Result<(), ApiError> {
    let uid = text(new, "/metadata/uid");
    let held = text(old, "/metadata/uid");
    if !uid.is_empty() && uid != held {
        return Err(other_uid(target, uid, held));
    }
    let Some(held) = old.get("metadata").and_then(Value::as_object) else { return Ok(()) };
    if !new["metadata"].is_object() {
        new["metadata"] = Value::Object(serde_json::Map::new());
    }
    let metadata = new["metadata"].as_object_mut().expect("invariant: made an object above");
    for field in ["uid", "creationTimestamp", "generateName", "namespace", "name"] {
        let absent = metadata.get(field).is_none_or(|value| value.is_null() || value == "");
        if let (true, Some(value)) = (absent, held.get(field)) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        match held.get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
    Ok(())
}

pub(crate) fn only(records: Vec<Arc<Record>>) -> Result<Arc<Record>, ApiError> {
    records.into_iter().next().ok_or_else(|| ApiError::internal("the store answered a write with nothing"))
}

/// A commit the store refused for reasons of its own.
pub(crate) fn refused(error: CommitError) -> ApiError {
    match error {
        CommitError::Closed => ApiError::unavailable("the server is stopping"),
        CommitError::Key { .. } => ApiError::bad_request(error.to_string()),
        other => {
            tracing::error!(error = %other, "cannot write to the store");
            ApiError::internal(other)
        }
    }
}
