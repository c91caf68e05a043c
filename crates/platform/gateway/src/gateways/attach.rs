//! Which listeners a route attaches to, and why not to others.
//!
//! A parent reference names a Gateway or a ListenerSet, perhaps one listener or port of it. Of these listeners those count that
//! take the kind and the namespace of the route, and have a host in common with it. Whether a listener works does not matter.

use std::collections::HashMap;

use base::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::hostnames;
use super::kinds::{GROUP, ParentRef, ParentStatus};
use super::listeners::{Front, Heard, RouteKind, selects};
use super::references::Refusal;
use super::world::{World, key};

/// What all kinds of routes have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) kind: RouteKind,
    pub(crate) metadata: &'a ObjectMeta,
    pub(crate) parents: &'a [ParentRef],
    pub(crate) hostnames: &'a [String],
    pub(crate) told: &'a [ParentStatus],
}

/// A listener, by where it stands among the fronts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) front: usize,
    pub(crate) source: usize,
    pub(crate) listener: usize,
}

/// What became of a route's parents.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    /// Those that are ours, in the order of the route.
    pub(crate) parents: Vec<(ParentRef, Result<(), Refusal>)>,
    /// Each listener once, with the hosts in common (any when empty).
    pub(crate) at: Vec<(At, Vec<String>)>,
}

/// What routes may name as parents.
#[derive(Debug)]
pub(crate) struct Parents {
    /// By whether it is a ListenerSet, then by name: where its listeners are.
    known: HashMap<(bool, Key), (usize, usize)>,
    /// Listener sets that a Gateway of ours refused.
    refused: HashMap<Key, Refusal>,
}

impl Parents {
    pub(crate) fn of(fronts: &[Front<'_>]) -> Self {
        let (mut known, mut refused) = (HashMap::new(), HashMap::new());
        for (at, front) in fronts.iter().enumerate() {
            for (index, source) in front.sources.iter().enumerate() {
                known.insert((source.set.is_some(), source.key.clone()), (at, index));
            }
            refused.extend(front.refused_sets.iter().map(|(set, why)| (key(&set.metadata), why.clone())));
        }
        Self { known, refused }
    }

    /// Attaches a route.
    pub(crate) fn attach(&self, world: &World<'_>, fronts: &[Front<'_>], route: View<'_>) -> Attached {
        let mut attached = Attached::default();
        let own = route.metadata.namespace.as_deref().unwrap_or_default();
        for parent in route.parents {
            let set = match (parent.group.as_deref().unwrap_or(GROUP), parent.kind.as_deref().unwrap_or("Gateway")) {
                (GROUP, "Gateway") => false,
                (GROUP, "ListenerSet") => true,
                _ => continue,
            };
            let namespace = parent.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(own);
            let name = Key::new(namespace, parent.name.as_str());
            if set && let Some(why) = self.refused.get(&name) {
                let refusal = Refusal::new("NoMatchingParent", why.message.clone());
                attached.parents.push((parent.clone(), Err(refusal)));
                continue;
            }
            let Some((front, source)) = self.known.get(&(set, name)) else { continue };
            let listeners = &fronts[*front].sources[*source].listeners;
            match fitting(world, listeners, route, parent) {
                Err(refusal) => attached.parents.push((parent.clone(), Err(refusal))),
                Ok(found) => {
                    attached.parents.push((parent.clone(), Ok(())));
                    for (listener, hosts) in found {
                        let at = At { front: *front, source: *source, listener };
                        if !attached.at.iter().any(|(known, _)| *known == at) {
                            attached.at.push((at, hosts));
                        }
                    }
                }
            }
        }
        attached
    }
}

/// The listeners among `listeners` that take `route` by `parent`, or why none does.
fn fitting(
    world: &World<'_>,
    listeners: &[Heard<'_>],
    route: View<'_>,
    parent: &ParentRef,
) -> Result<Vec<(usize, Vec<String>)>, Refusal> {
    let section = parent.section_name.as_deref().filter(|name| !name.is_empty());
    let named = listeners.iter().enumerate().filter(|(_, heard)| {
        section.is_none_or(|name| name == heard.listener.name)
            && parent.port.is_none_or(|port| port == 0 || port == heard.listener.port)
    });
    let named: Vec<(usize, &Heard<'_>)> = named.collect();
    if named.is_empty() {
        let section = section.map(|name| format!(" called {name}")).unwrap_or_default();
        let port = parent.port.map(|port| format!(" for port {port}")).unwrap_or_default();
        return Err(Refusal::new("NoMatchingParent", format!("{} has no listener{section}{port}", parent.name)));
    }
    let own = route.metadata.namespace.as_deref().unwrap_or_default();
    let allowed = named.into_iter().filter(|(_, heard)| {
        let namespaces = heard.listener.allowed_routes.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        heard.kinds.contains(&route.kind) && selects(world, namespaces, "Same", heard.namespace, own)
    });
    let allowed: Vec<(usize, &Heard<'_>)> = allowed.collect();
    if allowed.is_empty() {
        let kind = route.kind.name();
        let message =
            format!("no listener of {} takes a {kind} of namespace {own}; see its allowedRoutes", parent.name);
        return Err(Refusal::new("NotAllowedByListeners", message));
    }
    let found: Vec<(usize, Vec<String>)> = allowed
        .into_iter()
        .filter_map(|(index, heard)| {
            Some((index, hostnames::intersection(heard.listener.hostname.as_deref(), route.hostnames)?))
        })
        .collect();
    if found.is_empty() {
        let message =
            format!("no listener of {} has a host in common with {}", parent.name, route.hostnames.join(", "));
        return Err(Refusal::new("NoMatchingListenerHostname", message));
    }
    Ok(found)
}
