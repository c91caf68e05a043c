//! What objects are told, and the patches that tell it.
//!
//! A patch is made against the object as last seen and carries its resourceVersion: lists in a status are written whole, so a
//! write that crossed another's must not happen. Invariant: the patch for an object that was told already is none.

use std::collections::{BTreeMap, BTreeSet};

use base::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::kinds::{
    Ancestor, BackendTlsPolicy, GROUP, Gateway, GatewayAddress, GatewayClass, GroupKind, ListenerSet, ListenerStatus,
    ParentRef, ParentStatus, RouteStatus,
};
use super::listeners::{Front, Heard, RouteKind, Source, is_insecure};
use super::plan::{CONTROLLER, features, others};
use super::policies;
use super::references::Refusal;
use super::verdict::{Verdict, conditions, is_newer};
use crate::report::Trouble;

/// What all objects are to be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statuses {
    /// By name.
    pub classes: BTreeMap<String, Vec<Verdict>>,
    /// Gateways of our classes.
    pub gateways: BTreeMap<Key, GatewayWanted>,
    /// Listener sets of our Gateways.
    pub sets: BTreeMap<Key, SetWanted>,
    /// Routes with parents of ours, now or before.
    pub routes: BTreeMap<(RouteKind, Key), Told>,
    /// All policies; those that matter to none of our Gateways have no ancestors.
    pub policies: BTreeMap<Key, Told>,
}

impl Statuses {
    /// The conditions that fail.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let mut add = |object: String, verdicts: &[Verdict]| {
            let failing = verdicts.iter().filter(|verdict| verdict.fails());
            troubles.extend(failing.map(|verdict| Trouble::new(&object, verdict.reason, verdict.message.clone())));
        };
        for (name, verdicts) in &self.classes {
            add(format!("GatewayClass {name}"), verdicts);
        }
        let gateways = self.gateways.iter().map(|(key, told)| ("Gateway", key, &told.verdicts, &told.listeners));
        let sets = self.sets.iter().map(|(key, told)| ("ListenerSet", key, &told.verdicts, &told.listeners));
        for (kind, key, verdicts, listeners) in gateways.chain(sets) {
            add(format!("{kind} {key}"), verdicts);
            for listener in listeners {
                add(format!("{kind} {key} ({})", listener.name), &listener.verdicts);
            }
        }
        let routes = self.routes.iter().map(|((kind, key), told)| (kind.name(), key, told));
        let policies = self.policies.iter().map(|(key, told)| ("BackendTLSPolicy", key, told));
        for (kind, key, told) in routes.chain(policies) {
            for (parent, verdicts) in told {
                add(format!("{kind} {key} at {}", parent.name), verdicts);
            }
        }
        troubles
    }
}

/// What an object is told about each of its parents.
pub type Told = Vec<(ParentRef, Vec<Verdict>)>;

/// What a Gateway is told.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayWanted {
    verdicts: Vec<Verdict>,
    addresses: Vec<GatewayAddress>,
    listeners: Vec<ListenerWanted>,
    sets: i32,
}

/// What a ListenerSet is told.
#[derive(Clone, Debug, PartialEq)]
pub struct SetWanted {
    verdicts: Vec<Verdict>,
    listeners: Vec<ListenerWanted>,
}

/// What is told of a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerWanted {
    name: String,
    kinds: Vec<RouteKind>,
    attached: i32,
    verdicts: Vec<Verdict>,
}

impl Source<'_> {
    /// True when something of it can be served.
    pub(crate) fn is_accepted(&self) -> bool {
        self.listeners.iter().any(Heard::is_usable)
    }
}

impl ListenerWanted {
    /// `failed` says why its socket could not be had.
    pub(crate) fn of(heard: &Heard<'_>, front: &Front<'_>, failed: Option<String>) -> Self {
        let failed = failed.map(|message| Refusal::new("PortUnavailable", message));
        let refused = heard.conflict.as_ref().or(heard.refused.as_ref()).or(failed.as_ref());
        let accepted = match refused {
            None => Verdict::yes("Accepted", "Accepted"),
            Some(refusal) => Verdict::no("Accepted", refusal.reason, refusal.message.clone()),
        };
        let programmed = match (refused, &heard.unresolved) {
            (Some(refusal), _) if heard.conflict.is_some() => {
                Verdict::no("Programmed", refusal.reason, refusal.message.clone())
            }
            (Some(refusal), _) => Verdict::no("Programmed", "Invalid", refusal.message.clone()),
            (None, Some(refusal)) if !heard.is_usable() => {
                Verdict::no("Programmed", "Invalid", refusal.message.clone())
            }
            _ if !front.is_accepted() => Verdict::no("Programmed", "Invalid", "the Gateway is not accepted"),
            _ if front.given.places.is_empty() => Verdict::no("Programmed", "Pending", "the Gateway has no address"),
            _ => Verdict::yes("Programmed", "Programmed"),
        };
        let resolved = match &heard.unresolved {
            None => Verdict::yes("ResolvedRefs", "ResolvedRefs"),
            Some(refusal) => Verdict::no("ResolvedRefs", refusal.reason, refusal.message.clone()),
        };
        let conflicted = match &heard.conflict {
            None => Verdict::no("Conflicted", "NoConflicts", ""),
            Some(refusal) => Verdict::told("Conflicted", refusal.reason, refusal.message.clone()),
        };
        let overlaps = heard.overlaps.as_ref();
        let overlaps = overlaps.map(|why| Verdict::told("OverlappingTLSConfig", "OverlappingHostnames", why.clone()));
        Self {
            name: heard.listener.name.clone(),
            kinds: heard.kinds.clone(),
            attached: heard.attached,
            verdicts: [accepted, programmed, resolved, conflicted].into_iter().chain(overlaps).collect(),
        }
    }

    fn is(&self, condition: &str) -> bool {
        self.verdicts.iter().any(|verdict| verdict.condition == condition && verdict.status)
    }

    fn status(&self, old: &[ListenerStatus], generation: Option<i64>, now: Timestamp) -> ListenerStatus {
        let known = old.iter().find(|known| known.name == self.name);
        let known = known.map(|known| known.conditions.as_slice()).unwrap_or_default();
        let kind = |kind: &RouteKind| GroupKind { group: Some(GROUP.to_owned()), kind: kind.name().to_owned() };
        ListenerStatus {
            name: self.name.clone(),
            supported_kinds: self.kinds.iter().map(kind).collect(),
            attached_routes: self.attached,
            conditions: conditions(known, &self.verdicts, generation, now),
        }
    }
}

/// The names of listeners that are not accepted, if there are any.
fn invalid(listeners: &[ListenerWanted]) -> Option<String> {
    let names: Vec<&str> =
        listeners.iter().filter(|listener| !listener.is("Accepted")).map(|listener| listener.name.as_str()).collect();
    (!names.is_empty()).then(|| format!("listeners that cannot be served: {}", names.join(", ")))
}

impl GatewayWanted {
    /// Where it is served.
    pub(crate) fn addresses(&self) -> &[GatewayAddress] {
        &self.addresses
    }

    pub(crate) fn of(front: &Front<'_>, listeners: Vec<ListenerWanted>, sets: usize) -> Self {
        let accepted = if let Some(message) = &front.bad_parameters {
            Verdict::no("Accepted", "InvalidParameters", message.clone())
        } else if let Some(message) = &front.given.unsupported {
            Verdict::no("Accepted", "UnsupportedAddress", message.clone())
        } else {
            match invalid(&listeners) {
                None => Verdict::yes("Accepted", "Accepted"),
                Some(message) if front.is_accepted() => Verdict::told("Accepted", "ListenersNotValid", message),
                Some(message) => Verdict::no("Accepted", "ListenersNotValid", message),
            }
        };
        let given = &front.given;
        let programmed = if !accepted.status {
            Verdict::no("Programmed", "Invalid", accepted.message.clone())
        } else if let Some(message) = &given.unusable {
            Verdict::no("Programmed", "AddressNotUsable", message.clone())
        } else if given.exhausted {
            Verdict::no("Programmed", "AddressNotAssigned", "no address of the setting gateway.addresses is free")
        } else if listeners.iter().any(|listener| listener.is("Programmed")) || sets > 0 {
            Verdict::yes("Programmed", "Programmed")
        } else {
            Verdict::no("Programmed", "Invalid", "no listener can be served")
        };
        let resolved = front.client_certificate.as_ref().map(|certificate| match certificate {
            Ok(_) => Verdict::yes("ResolvedRefs", "ResolvedRefs"),
            Err(refusal) => Verdict::no("ResolvedRefs", refusal.reason, refusal.message.clone()),
        });
        let insecure = front.gateway.spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref()).is_some_and(|frontend| {
            let ports = frontend.per_port.iter().filter_map(|port| port.tls.validation.as_ref());
            ports.chain(&frontend.default.validation).any(is_insecure)
        });
        let insecure = insecure.then(|| {
            let message = "clients without a valid certificate are let in";
            Verdict::told("InsecureFrontendValidationMode", "ConfigurationChanged", message)
        });
        let verdicts = [accepted, programmed].into_iter().chain(resolved).chain(insecure).collect();
        let sets = i32::try_from(sets).unwrap_or(i32::MAX);
        Self { verdicts, addresses: given.told.clone(), listeners, sets }
    }

    /// The patch that tells `gateway`; none when it knows.
    #[must_use]
    pub fn patch(&self, gateway: &Gateway, now: Timestamp) -> Option<Value> {
        let (old, generation) = (&gateway.status, gateway.metadata.generation);
        if is_newer(&old.conditions, generation) {
            return None;
        }
        let listeners: Vec<ListenerStatus> =
            self.listeners.iter().map(|listener| listener.status(&old.listeners, generation, now)).collect();
        let wanted = json!({
            "addresses": self.addresses,
            "conditions": conditions(&old.conditions, &self.verdicts, generation, now),
            "listeners": listeners,
            "attachedListenerSets": self.sets,
        });
        let told = json!({
            "addresses": old.addresses,
            "conditions": old.conditions,
            "listeners": old.listeners,
            "attachedListenerSets": old.attached_listener_sets,
        });
        patch(&gateway.metadata, told, wanted)
    }
}

impl SetWanted {
    pub(crate) fn of(front: &Front<'_>, source: &Source<'_>, listeners: Vec<ListenerWanted>) -> Self {
        let unusable = source.listeners.iter().filter(|heard| !heard.is_usable());
        let names: Vec<&str> = unusable.map(|heard| heard.listener.name.as_str()).collect();
        let message = format!("listeners that cannot be served: {}", names.join(", "));
        let accepted = if !front.is_accepted() {
            let message = format!("Gateway {} is not accepted", front.key);
            Verdict::no("Accepted", "ParentNotAccepted", message)
        } else if !source.is_accepted() {
            Verdict::no("Accepted", "ListenersNotValid", message)
        } else if names.is_empty() {
            Verdict::yes("Accepted", "Accepted")
        } else {
            Verdict::told("Accepted", "ListenersNotValid", message)
        };
        let programmed = if !accepted.status {
            Verdict::no("Programmed", accepted.reason, accepted.message.clone())
        } else if listeners.iter().any(|listener| listener.is("Programmed")) {
            Verdict::yes("Programmed", "Programmed")
        } else {
            Verdict::no("Programmed", "Invalid", "no listener can be served")
        };
        Self { verdicts: vec![accepted, programmed], listeners }
    }

    pub(crate) fn refused(refusal: &Refusal) -> Self {
        let no = |condition| Verdict::no(condition, refusal.reason, refusal.message.clone());
        Self { verdicts: vec![no("Accepted"), no("Programmed")], listeners: Vec::new() }
    }

    /// The patch that tells `set`; none when it knows.
    #[must_use]
    pub fn patch(&self, set: &ListenerSet, now: Timestamp) -> Option<Value> {
        let (old, generation) = (&set.status, set.metadata.generation);
        if is_newer(&old.conditions, generation) {
            return None;
        }
        let listeners: Vec<ListenerStatus> =
            self.listeners.iter().map(|listener| listener.status(&old.listeners, generation, now)).collect();
        let conditions = conditions(&old.conditions, &self.verdicts, generation, now);
        let told = json!({ "conditions": old.conditions, "listeners": old.listeners });
        patch(&set.metadata, told, json!({ "conditions": conditions, "listeners": listeners }))
    }
}

/// The patch that tells a class `verdicts` and our features; none when it knows.
#[must_use]
pub fn class_patch(class: &GatewayClass, verdicts: &[Verdict], now: Timestamp) -> Option<Value> {
    let (old, generation) = (&class.status, class.metadata.generation);
    if is_newer(&old.conditions, generation) {
        return None;
    }
    let supported: Vec<Value> = features().map(|name| json!({ "name": name })).collect();
    let conditions = conditions(&old.conditions, verdicts, generation, now);
    let told = json!({ "conditions": old.conditions, "supportedFeatures": old.supported_features });
    patch(&class.metadata, told, json!({ "conditions": conditions, "supportedFeatures": supported }))
}

/// The patch that tells a route `wanted`; none when it knows. What other controllers tell stays, and comes first.
#[must_use]
pub fn route_patch(
    metadata: &ObjectMeta,
    status: &RouteStatus,
    wanted: &[(ParentRef, Vec<Verdict>)],
    now: Timestamp,
) -> Option<Value> {
    let generation = metadata.generation;
    let ours = |parent: &ParentRef| {
        status.parents.iter().find(|told| told.controller_name == CONTROLLER && told.parent_ref == *parent)
    };
    let mut seen = BTreeSet::new();
    let mut parents: Vec<ParentStatus> = others(status).cloned().collect();
    for (parent, verdicts) in wanted.iter().filter(|(parent, _)| seen.insert(parent.clone())) {
        let known = ours(parent).map(|told| told.conditions.as_slice()).unwrap_or_default();
        if is_newer(known, generation) {
            return None;
        }
        parents.push(ParentStatus {
            parent_ref: parent.clone(),
            controller_name: CONTROLLER.to_owned(),
            conditions: conditions(known, verdicts, generation, now),
        });
    }
    patch(metadata, json!({ "parents": status.parents }), json!({ "parents": parents }))
}

/// The patch that tells a policy `wanted`; none when it knows.
#[must_use]
pub fn policy_patch(policy: &BackendTlsPolicy, wanted: &[(ParentRef, Vec<Verdict>)], now: Timestamp) -> Option<Value> {
    let (old, generation) = (&policy.status.ancestors, policy.metadata.generation);
    let mut ancestors: Vec<Ancestor> = policies::others(old, CONTROLLER).cloned().collect();
    for (ancestor, verdicts) in wanted {
        let ours = old.iter().find(|told| told.controller_name == CONTROLLER && told.ancestor_ref == *ancestor);
        let known = ours.map(|told| told.conditions.as_slice()).unwrap_or_default();
        if is_newer(known, generation) {
            return None;
        }
        ancestors.push(Ancestor {
            ancestor_ref: ancestor.clone(),
            controller_name: CONTROLLER.to_owned(),
            conditions: conditions(known, verdicts, generation, now),
        });
    }
    patch(&policy.metadata, json!({ "ancestors": old }), json!({ "ancestors": ancestors }))
}

fn patch(metadata: &ObjectMeta, told: Value, wanted: Value) -> Option<Value> {
    let differs = told != wanted;
    differs.then(|| json!({ "metadata": { "resourceVersion": metadata.resource_version }, "status": wanted }))
}
