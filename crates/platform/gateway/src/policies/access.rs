//! AccessPolicies put in force: the rules of what they name get guards.
//!
//! The policy of a Gateway and that of a route both count, the Gateway's first: who may manage a route must not be able to
//! open what the Gateway's owner closed. Invariant: a policy that cannot be made a guard of closes what it names.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use base::Key;
use http::StatusCode;
use identity::{AccessPolicy, Guard, Settings};
use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::watched::{Policy, key};
use crate::attach::{Candidate, Index, Subject, Target};
use crate::model::{ClientCheck, Filter, Host, Listener, Model, Offer, Route, Rule, Serves, Source, Tls};

impl Policy for AccessPolicy {
    fn definition() -> Result<Value, serde_json::Error> {
        serde_json::to_value(Self::crd())
    }

    fn targets(&self) -> Vec<Target> {
        let target = |target: &identity::Target| Target {
            group: target.group.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
            section: target.section_name.clone(),
        };
        self.spec.target_refs.iter().map(target).collect()
    }

    fn same(&self, other: &Self) -> bool {
        self.spec == other.spec
    }

    fn ancestors(&self) -> Value {
        self.status.as_ref().map_or(Value::Null, |status| json!(status.ancestors))
    }
}

/// A policy as it is in force: a guard, or why there is none; and whether clients are asked for a certificate.
#[derive(Debug)]
pub(crate) struct InForce {
    guard: Result<Arc<Guard>, String>,
    certificates: bool,
}

/// Decides about all policies: which are in force where, and what is wrong with some. `make` makes a guard of settings.
pub(crate) fn index(
    policies: &[Arc<AccessPolicy>],
    make: &dyn Fn(&Key, &Settings) -> Result<Arc<Guard>, String>,
    exists: &dyn Fn(&str, &Target) -> bool,
) -> (Index<InForce>, HashMap<Key, String>) {
    let (mut wrong, mut candidates) = (HashMap::new(), Vec::new());
    for policy in policies {
        let name = key(&**policy);
        let guard = make(&name, &policy.spec);
        if let Err(why) = &guard {
            wrong.insert(name.clone(), why.clone());
        }
        candidates.push(Candidate {
            key: name,
            created: policy.metadata.creation_timestamp.as_ref().map(|time| time.0),
            targets: policy.targets(),
            policy: Some(Arc::new(InForce { guard, certificates: policy.spec.client_certificate.is_some() })),
        });
    }
    (Index::new(candidates, exists), wrong)
}

/// Puts the guards in their places.
pub(crate) fn apply(index: &Index<InForce>, model: &mut Model) {
    for listeners in model.doors.values_mut() {
        let mut asked = BTreeSet::new();
        for listener in listeners.iter_mut() {
            let Serves::Http(routes) = &mut listener.serves else { continue };
            let of_gateway = [subject(&listener.source)];
            let of_gateway = index.along(&of_gateway).next();
            let mut certificates = false;
            for route in routes {
                let source = Arc::clone(&route.rule.source);
                let of_route = [subject(&source)];
                let of_route = index.along(&of_route).next();
                let mut in_force: Vec<(&Key, &Arc<InForce>)> = of_gateway.into_iter().chain(of_route).collect();
                in_force.dedup_by_key(|(name, _)| *name); // one that names both is asked once
                if in_force.is_empty() {
                    continue;
                }
                guard(route, &in_force);
                if in_force.iter().any(|(_, policy)| policy.certificates) {
                    certificates = true;
                    asked.extend(route.hosts.iter().filter(|_| !listener.isolated).cloned());
                }
            }
            if certificates && listener.isolated {
                ask_for_certificates(listener);
            }
        }
        let own: Vec<Listener> = asked.into_iter().filter_map(|host| apart(listeners, &host)).collect();
        listeners.extend(own);
    }
}

/// Gives the rule of a route the guards of the policies in force for it.
fn guard(route: &mut Route, in_force: &[(&Key, &Arc<InForce>)]) {
    let mut filters = Vec::new();
    for (name, policy) in in_force {
        filters.push(match &policy.guard {
            Ok(guard) => Filter::Guard(Arc::clone(guard)),
            Err(_) => {
                let text = format!("AccessPolicy {name} is in force here and cannot be obeyed; its status says why\n");
                Filter::Answer(StatusCode::SERVICE_UNAVAILABLE, text.into())
            }
        });
    }
    filters.extend(route.rule.filters.iter().cloned());
    route.rule = Arc::new(Rule { filters, ..Rule::clone(&route.rule) });
}

/// Clients of a listener are asked for a certificate, which a guard looks at.
fn ask_for_certificates(listener: &mut Listener) {
    if let Tls::Terminate(offer) = &listener.tls
        && offer.clients.is_none()
    {
        let clients = Some(ClientCheck::anyone());
        listener.tls = Tls::Terminate(Arc::new(Offer { clients, ..Offer::clone(offer) }));
    }
}

/// A listener for one host of those that share one, so that clients of the others are not asked for certificates.
fn apart(listeners: &[Listener], host: &Host) -> Option<Listener> {
    let shared = listeners.iter().find(|listener| !listener.isolated && matches!(listener.tls, Tls::Terminate(_)))?;
    if listeners.iter().any(|listener| listener.isolated && listener.host == *host) {
        return None; // it is asked there already
    }
    let Serves::Http(routes) = &shared.serves else { return None };
    let own = routes.iter().filter(|route| route.hosts.contains(host)).cloned().collect();
    let mut listener =
        Listener { host: host.clone(), isolated: true, serves: Serves::Http(own), ..Listener::clone(shared) };
    ask_for_certificates(&mut listener);
    Some(listener)
}

fn subject(source: &Source) -> Subject<'_> {
    Subject {
        kind: source.kind,
        key: &source.key,
        section: Some(source.section.as_str()).filter(|section| !section.is_empty()),
    }
}
