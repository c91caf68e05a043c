//! What happens to an object around a write: what a client may set, what it keeps, how it goes.
//!
//! Invariant: pure functions of the object and its predecessor; the pipeline calls them in the same order for every kind.
//! What differs per kind is a hook in `rules` or a line in a table here.

mod claim;
mod gates;
mod pod;
mod profiles;
mod qos;
mod scale;
mod service;
mod taints;

use serde_json::{Value, json};

use crate::catalog::Kind;
use crate::default::complete_status;
use crate::json::{Members, at, dig, fill, int, list, object, object_mut, same, text};

pub(crate) use claim::{create_claim, normalize, update_claim};
pub(crate) use pod::create_pod;
pub use profiles::profiles_of_annotations;
pub(crate) use service::keep_allocations;
pub use taints::stamp_taints;

/// Kinds whose `metadata.generation` counts changes of the spec.
const COUNTED: &[(&str, &str)] = &[
    ("", "Pod"),
    ("", "PodTemplate"),
    ("", "ReplicationController"),
    ("apps", "DaemonSet"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("apps", "StatefulSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
    ("networking.k8s.io", "Ingress"),
    ("networking.k8s.io", "IngressClass"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
    ("scheduling.k8s.io", "PriorityClass"),
    ("storage.k8s.io", "CSIDriver"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"),
    ("discovery.k8s.io", "EndpointSlice"),
    ("resource.k8s.io", "DeviceClass"),
    ("resource.k8s.io", "DeviceTaintRule"),
    ("resource.k8s.io", "ResourceSlice"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
];

/// Kinds that bring their status along when they are created.
const STATUS_ON_CREATE: &[(&str, &str)] = &[("", "Node"), ("certificates.k8s.io", "ClusterTrustBundle")];

fn listed(list: &[(&str, &str)], kind: &Kind) -> bool {
    list.iter().any(|(group, name)| *name == kind.kind && *group == kind.group)
}

/// Drops what a client may not set on a new object and sets what the server sets.
pub fn prepare_create(kind: &Kind, value: &mut Value) {
    gates::drop_spec(kind, value, &Value::Null);
    let Some(members) = value.as_object_mut() else { return };
    if kind.has_subresource("status") && !listed(STATUS_ON_CREATE, kind) {
        members.remove("status");
    }
    let meta = object(members, "metadata");
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        meta.remove(name);
    }
    if listed(COUNTED, kind) || kind.custom.is_some() {
        meta.insert("generation".to_owned(), json!(1));
    }
    if let Some(hook) = kind.rules.create {
        hook(members);
    }
    complete_status(kind, members);
}

/// Keeps what an ordinary update may not touch (status, system metadata) and counts changes of the spec.
pub fn prepare_update(kind: &Kind, new: &mut Value, old: &Value) {
    gates::drop_spec(kind, new, old);
    keep_system_metadata(new, old);
    let Some(members) = new.as_object_mut() else { return };
    if kind.has_subresource("status") {
        put_back(members, old, "status");
    }
    if let Some(hook) = kind.rules.update {
        hook(members, old);
    }
    count(kind, members, old);
}

/// Keeps everything but the status.
pub fn prepare_status_update(kind: &Kind, new: &mut Value, old: &Value) {
    gates::drop_status(kind, new, old);
    keep_system_metadata(new, old);
    let Some(members) = new.as_object_mut() else { return };
    keep_all_but(members, old, &["status", "metadata"]);
    if kind.is("", "Pod") {
        pod::keep_status(object(members, "status"), at(old, "status"));
    }
    if kind.custom.is_some() {
        // a status brings its field managers along, and nothing else of metadata
        let meta = object(members, "metadata");
        let managers = meta.get("managedFields").cloned();
        *meta = at(old, "metadata").as_object().cloned().unwrap_or_default();
        meta.remove("managedFields");
        meta.extend(managers.map(|managers| ("managedFields".to_owned(), managers)));
        return;
    }
    // The kubelet patches labels and annotations of nodes and pods together with their status, and the deployment
    // controller writes the revision annotation so, for an update of the object would count as a new generation.
    let by_kubelet = kind.is("", "Pod") || kind.is("", "Node");
    let kept = [("labels", by_kubelet), ("annotations", by_kubelet || kind.is("apps", "Deployment"))];
    for (name, _) in kept.iter().filter(|(_, writable)| !writable) {
        put_back(object(members, "metadata"), at(old, "metadata"), name);
    }
    let meta = object(members, "metadata");
    put_back(meta, at(old, "metadata"), "ownerReferences");
}

/// Keeps everything but what the `finalize` subresource of namespaces may change.
pub fn prepare_finalize(_: &Kind, new: &mut Value, old: &Value) {
    keep_system_metadata(new, old);
    let finalizers = dig(new, &["spec", "finalizers"]).clone();
    let Some(members) = new.as_object_mut() else { return };
    keep_all_but(members, old, &["spec", "metadata"]);
    let spec = if finalizers.is_null() { json!({}) } else { json!({"finalizers": finalizers}) };
    members.insert("spec".to_owned(), spec);
}

/// Keeps everything but the conditions of a certificate signing request.
pub fn prepare_approval(_: &Kind, new: &mut Value, old: &Value) {
    keep_system_metadata(new, old);
    let conditions = dig(new, &["status", "conditions"]).clone();
    let Some(members) = new.as_object_mut() else { return };
    keep_all_but(members, old, &["metadata"]);
    object(members, "status").insert("conditions".to_owned(), conditions);
}

/// Keeps everything but the ephemeral containers of a pod.
pub fn prepare_ephemeral_containers(kind: &Kind, new: &mut Value, old: &Value) {
    gates::drop_spec(kind, new, old);
    let containers = dig(new, &["spec", "ephemeralContainers"]).clone();
    keep_metadata(new, old);
    let Some(members) = new.as_object_mut() else { return };
    keep_all_but(members, old, &["metadata"]);
    if !containers.is_null() {
        object(members, "spec").insert("ephemeralContainers".to_owned(), containers);
    }
    count(kind, members, old);
}

/// Keeps everything but the resources and resize policies of a pod's containers, and its own resources. Containers that
/// are not the old ones in their order are left as they are, for the validation to refuse.
pub fn prepare_resize(kind: &Kind, new: &mut Value, old: &Value) {
    let resources = dig(new, &["spec", "resources"]).clone();
    let lists = ["containers", "initContainers"];
    let wanted = lists.map(|list| dig(new, &["spec", list]).clone());
    let before = lists.map(|list| dig(old, &["spec", list]).clone());
    if wanted.iter().zip(&before).any(|(new, old)| items(new).len() != items(old).len()) {
        return;
    }
    keep_metadata(new, old);
    let Some(members) = new.as_object_mut() else { return };
    keep_all_but(members, old, &["metadata"]);
    let spec = object(members, "spec");
    put_back(spec, &json!({ "resources": resources }), "resources");
    for ((list, wanted), before) in lists.into_iter().zip(wanted).zip(before) {
        if !items(&wanted).is_empty() {
            spec.insert(list.to_owned(), resized(&wanted, &before));
        }
    }
    count(kind, members, old);
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The old containers with the new resources; the new ones if they are others.
fn resized(wanted: &Value, before: &Value) -> Value {
    let mut merged = items(before).to_vec();
    for (old, new) in merged.iter_mut().zip(items(wanted)) {
        if at(old, "name") != at(new, "name") {
            return wanted.clone();
        }
        let Some(old) = old.as_object_mut() else { return wanted.clone() };
        for field in ["resources", "resizePolicy"] {
            put_back(old, new, field);
        }
    }
    Value::Array(merged)
}

/// Keeps all metadata but what tells of ownership of fields.
fn keep_metadata(new: &mut Value, old: &Value) {
    keep_system_metadata(new, old);
    let Some(members) = new.as_object_mut() else { return };
    let meta = object(members, "metadata");
    for name in ["labels", "annotations", "finalizers", "ownerReferences"] {
        put_back(meta, at(old, "metadata"), name);
    }
}

/// A changed spec is a new generation.
fn count(kind: &Kind, members: &mut Members, old: &Value) {
    if (listed(COUNTED, kind) || kind.custom.is_some()) && changed(kind, members, old) {
        let generation = int(at(old, "metadata"), "generation").unwrap_or(0);
        object(members, "metadata").insert("generation".to_owned(), json!(generation + 1));
    }
}

/// The seconds that an object lives on after its deletion was asked for: none for kinds without grace, 0 where there is
/// nothing to wait for.
pub fn deletion_grace(kind: &Kind, value: &Value) -> Option<i64> {
    if !kind.is("", "Pod") {
        return None;
    }
    let (spec, phase) = (at(value, "spec"), text(at(value, "status"), "phase"));
    if text(spec, "nodeName").is_empty() || matches!(phase, "Succeeded" | "Failed") {
        return Some(0);
    }
    // Zero was dropped as an unset number would be; negative means at once but not without the kubelet.
    Some(match int(spec, "terminationGracePeriodSeconds").unwrap_or(30) {
        seconds if seconds < 0 => 1,
        seconds => seconds,
    })
}

/// What happens to dependents if the client does not say.
pub fn default_propagation(kind: &Kind) -> &'static str {
    // Kept by upstream for clients that are older than garbage collection.
    if kind.is("", "ReplicationController") || kind.is("batch", "Job") { "Orphan" } else { "Background" }
}

/// The autoscaling/v1 Scale of an object; none for kinds without replicas.
pub fn scale_get(kind: &Kind, value: &Value) -> Option<Value> {
    kind.has_subresource("scale").then(|| scale::get(kind, value))
}

/// Why an object has no Scale although its kind has one.
pub fn scale_fault(kind: &Kind, value: &Value) -> Option<String> {
    let scale = kind.custom.as_ref()?.scale()?;
    let path = scale.spec_path();
    scale.wanted(value).is_none().then(|| format!("the spec replicas field {path:?} does not exist"))
}

/// Sets the number of replicas.
pub fn scale_set(kind: &Kind, value: &mut Value, replicas: i64) {
    if let Some(custom) = &kind.custom {
        if let Some(scale) = custom.scale() {
            scale.set(value, replicas);
        }
        return;
    }
    if let Some(members) = value.as_object_mut().filter(|_| kind.has_subresource("scale")) {
        object(members, "spec").insert("replicas".to_owned(), json!(replicas));
    }
}

/// Removes owners that are listed twice, word for word; the uids of those.
pub fn single_owners(value: &mut Value) -> Vec<String> {
    let owners = value.pointer_mut("/metadata/ownerReferences").and_then(Value::as_array_mut);
    let Some(owners) = owners.filter(|owners| owners.len() > 1) else { return Vec::new() };
    let mut seen = std::collections::HashSet::new();
    let mut repeated = Vec::new();
    owners.retain(|owner| {
        let fresh = seen.insert(owner.clone());
        if !fresh {
            repeated.push(text(owner, "uid").to_owned());
        }
        fresh
    });
    repeated
}

/// System metadata is the server's: what a client leaves out or changes is put back.
fn keep_system_metadata(new: &mut Value, old: &Value) {
    let old = at(old, "metadata");
    let Some(members) = new.as_object_mut() else { return };
    let meta = object(members, "metadata");
    for name in ["generation", "creationTimestamp"] {
        put_back(meta, old, name);
    }
    for name in ["uid", "deletionGracePeriodSeconds"] {
        if !at(old, name).is_null() && meta.get(name).is_none_or(|value| value.is_null() || value == "") {
            put_back(meta, old, name);
        }
    }
    if !at(old, "deletionTimestamp").is_null() {
        put_back(meta, old, "deletionTimestamp");
    }
    meta.remove("selfLink");
}

fn put_back(members: &mut Members, old: &Value, name: &str) {
    match at(old, name) {
        Value::Null => drop(members.remove(name)),
        value => drop(members.insert(name.to_owned(), value.clone())),
    }
}

fn keep_all_but(members: &mut Members, old: &Value, except: &[&str]) {
    members.retain(|name, _| except.contains(&&**name));
    for (name, value) in old.as_object().into_iter().flatten() {
        if !except.contains(&&**name) {
            members.insert(name.clone(), value.clone());
        }
    }
}

/// Whether anything but metadata and status differs.
fn changed(kind: &Kind, new: &Members, old: &Value) -> bool {
    let differs = |name: &str| !same(new.get(name).unwrap_or(&Value::Null), at(old, name));
    // The status of a custom resource without a status subresource is a part of it like any other.
    let status = kind.custom.is_some() && !kind.has_subresource("status");
    let counts =
        |name: &str| status && name == "status" || !matches!(name, "metadata" | "status" | "apiVersion" | "kind");
    let names = new.keys().chain(old.as_object().into_iter().flatten().map(|(name, _)| name));
    let contents = names.filter(|name| counts(name)).any(|name| differs(name));
    // A Deployment's annotations are copied to its replica sets, so they count too.
    let annotations = || {
        let new = new.get("metadata").map_or(&Value::Null, |meta| at(meta, "annotations"));
        !same(new, dig(old, &["metadata", "annotations"]))
    };
    contents || (kind.is("apps", "Deployment") && annotations())
}

/// `Guaranteed`, `Burstable` or `BestEffort`
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    qos::class(spec)
}

/// A new namespace is active and held by the namespace controller.
pub(crate) fn create_namespace(namespace: &mut Members) {
    let finalizers = object(namespace, "spec").entry("finalizers").or_insert_with(|| json!([]));
    if let Value::Array(items) = finalizers
        && !items.iter().any(|item| item == "kubernetes")
    {
        items.push(json!("kubernetes"));
    }
    namespace.insert("status".to_owned(), json!({"phase": "Active"}));
}

/// Only the `finalize` subresource changes the finalizers of a namespace.
pub(crate) fn update_namespace(namespace: &mut Members, old: &Value) {
    put_back(namespace, old, "spec");
}

/// A new definition has no status but the version that its objects will be stored in.
pub(crate) fn create_definition(definition: &mut Members) {
    definition.insert("status".to_owned(), json!({"storedVersions": []}));
    remember_storage(definition);
}

/// A version that objects were ever stored in is remembered until somebody says that no such object is left.
pub(crate) fn update_definition(definition: &mut Members, _: &Value) {
    remember_storage(definition);
}

fn remember_storage(definition: &mut Members) {
    let versions = definition.get("spec").map_or(&[][..], |spec| list(spec, "versions"));
    let storage = versions.iter().find(|version| crate::json::flag(version, "storage"));
    let Some(name) = storage.map(|version| text(version, "name").to_owned()) else { return };
    let stored = object(definition, "status").entry("storedVersions").or_insert_with(|| json!([]));
    if let Value::Array(stored) = stored
        && !stored.iter().any(|one| *one == name)
    {
        stored.push(name.into());
    }
}

/// The first delete of a definition, which marks it in a way of its own: it is held until its objects are gone, whatever
/// the client asked for, and that is no change of its spec. False for all other deletes.
pub fn mark_definition(kind: &Kind, value: &mut Value, now: &str) -> bool {
    let marked = !at(at(value, "metadata"), "deletionTimestamp").is_null();
    if marked || !kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        return false;
    }
    let Some(definition) = value.as_object_mut() else { return false };
    let meta = object(definition, "metadata");
    meta.insert("deletionTimestamp".to_owned(), now.into());
    let finalizers = meta.entry("finalizers").or_insert_with(|| json!([]));
    if let Value::Array(held) = finalizers
        && !held.iter().any(|one| one == CLEANUP)
    {
        held.push(CLEANUP.into());
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    let condition = ("Terminating", "True", "InstanceDeletionPending", message);
    set_condition(object(definition, "status"), condition, now);
    true
}

/// Holds a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Sets a condition (type, status, reason, message) of a definition's status; true if anything changed.
pub fn set_condition(status: &mut Members, condition: (&str, &str, &str, &str), now: &str) -> bool {
    let (kind, state, reason, message) = condition;
    let made = |since: &Value| json!({"type": kind, "status": state, "reason": reason, "message": message, "lastTransitionTime": since});
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Value::Array(conditions) = conditions else { return false };
    match conditions.iter_mut().find(|held| text(held, "type") == kind) {
        None => conditions.push(made(&now.into())),
        Some(held) => {
            let same_state = text(held, "status") == state && !at(held, "lastTransitionTime").is_null();
            let since = if same_state { at(held, "lastTransitionTime").clone() } else { now.into() };
            let next = made(&since);
            if *held == next {
                return false;
            }
            *held = next;
        }
    }
    true
}

/// What is asked for when a certificate is requested stays so.
pub(crate) fn keep_spec(request: &mut Members, old: &Value) {
    put_back(request, old, "spec");
}

/// The topology of endpoints has fields of its own in v1.
pub(crate) fn create_slice(slice: &mut Members) {
    let endpoints = slice.get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
        endpoint.remove("deprecatedTopology");
    }
}

/// Volumes wait to be bound.
pub(crate) fn create_volume(volume: &mut Members) {
    fill(object(volume, "status"), "phase", "Pending");
}

/// A job gets the selector and labels by which its pods are known, unless the user manages them.
pub(crate) fn create_job(job: &mut Members) {
    let meta = job.get("metadata").cloned().unwrap_or_default();
    let (uid, name) = (text(&meta, "uid").to_owned(), text(&meta, "name").to_owned());
    let Some(spec) = object_mut(job, "spec") else { return };
    if uid.is_empty() || spec.get("manualSelector").and_then(Value::as_bool).unwrap_or(false) {
        return;
    }
    let labels = object(object(object(spec, "template"), "metadata"), "labels");
    for (label, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels.insert(label.to_owned(), json!(value));
    }
    let selector = object(object(spec, "selector"), "matchLabels");
    fill(selector, "batch.kubernetes.io/controller-uid", uid);
}

#[cfg(test)]
mod tests;
