//! Which listeners cannot be told apart.
//!
//! Within one object nobody may choose, so both are refused; between two objects the one that comes later is. Gateways that
//! share addresses share ports by age, and there equal HTTP listeners are one.

use super::addresses::Place;
use super::hostnames;
use super::listeners::{Front, Heard, Protocol, SharedPorts, Source};
use super::references::Refusal;

/// Why two listeners of one port cannot be told apart; none when they can.
fn conflict(one: &Heard<'_>, other: &Heard<'_>) -> Option<&'static str> {
    let (first, second) = (one.protocol?, other.protocol?);
    if (first == Protocol::Udp) != (second == Protocol::Udp) {
        return None; // ports of different transports
    }
    let by_host =
        (first == Protocol::Http && second == Protocol::Http) || (first.by_server_name() && second.by_server_name());
    match by_host {
        true => same_host(one, other).then_some("HostnameConflict"),
        false => Some("ProtocolConflict"),
    }
}

fn same_host(one: &Heard<'_>, other: &Heard<'_>) -> bool {
    host(one).eq_ignore_ascii_case(host(other))
}

fn host<'a>(heard: &Heard<'a>) -> &'a str {
    heard.listener.hostname.as_deref().unwrap_or_default()
}

/// Marks the listeners of `front` that others of it do not leave room for, and those that share hosts inside TLS.
pub(super) fn within(front: &mut Front<'_>, ports: SharedPorts) {
    let place = front.given.places.first().copied().unwrap_or(Place::Shared);
    let port = |heard: &Heard<'_>| u16::try_from(heard.listener.port).map(|port| ports.bound(place, port)).unwrap_or(0);
    let mut earlier: Vec<(usize, usize)> = Vec::new();
    for at in 0..front.sources.len() {
        let count = front.sources[at].listeners.len();
        // What came before is decided; what stands beside is only asked of those that are left.
        for beside in [false, true] {
            let listeners = &front.sources[at].listeners;
            let mut found: Vec<(usize, Refusal)> = Vec::new();
            for (index, heard) in listeners.iter().enumerate().filter(|(_, heard)| heard.is_accepted()) {
                let rivals: Vec<(usize, usize)> = if beside {
                    (0..count).filter(|other| *other != index).map(|other| (at, other)).collect()
                } else {
                    earlier.clone()
                };
                let rivals = rivals.iter().map(|(source, rival)| &front.sources[*source].listeners[*rival]);
                let mut rivals = rivals.filter(|rival| rival.is_accepted() && port(rival) == port(heard));
                let clash = rivals.find_map(|rival| Some((conflict(rival, heard)?, &rival.listener.name)));
                if let Some((reason, name)) = clash {
                    let whose = if beside { "" } else { " of an earlier object" };
                    let message =
                        format!("listener {name}{whose} has the same port, and requests could not be told apart");
                    found.push((index, Refusal::new(reason, message)));
                }
            }
            for (index, refusal) in found {
                front.sources[at].listeners[index].conflict = Some(refusal);
            }
        }
        let accepted = front.sources[at].listeners.iter().enumerate().filter(|(_, heard)| heard.is_accepted());
        earlier.extend(accepted.map(|(index, _)| (at, index)));
    }
    overlaps(front, &earlier, port);
}

/// Marks listeners with TLS that have hosts in common with others of their port (GEP-3567).
fn overlaps(front: &mut Front<'_>, all: &[(usize, usize)], port: impl Fn(&Heard<'_>) -> u16) {
    let tls = |heard: &Heard<'_>| heard.protocol.is_some_and(Protocol::needs_certificate);
    let mut found = Vec::new();
    for (source, index) in all {
        let heard = &front.sources[*source].listeners[*index];
        let others = all.iter().filter(|other| *other != &(*source, *index));
        let mut others = others.map(|(source, index)| &front.sources[*source].listeners[*index]);
        let with = others.find(|other| {
            let names = (heard.listener.hostname.as_deref(), other.listener.hostname.as_deref());
            tls(heard) && tls(other) && port(heard) == port(other) && hostnames::overlap(names.0, names.1)
        });
        if let Some(with) = with {
            let message = format!("listener {} of the same port serves some of the hosts too", with.listener.name);
            found.push((*source, *index, message));
        }
    }
    for (source, index, message) in found {
        front.sources[source].listeners[index].overlaps = Some(message);
    }
}

/// Refuses listeners whose port at the shared addresses belongs to an older Gateway, or to Ingresses.
pub(super) fn between(fronts: &mut [Front<'_>], ports: SharedPorts) {
    let mut claimed: Vec<(usize, usize, usize)> = Vec::new();
    for at in 0..fronts.len() {
        if !fronts[at].given.places.contains(&Place::Shared) {
            continue;
        }
        let mut claims = Vec::new();
        let mut found = Vec::new();
        for (source, index) in positions(&fronts[at]) {
            let heard = &fronts[at].sources[source].listeners[index];
            if !heard.is_accepted() {
                continue;
            }
            let port =
                |heard: &Heard<'_>| u16::try_from(heard.listener.port).map(|port| ports.bound(Place::Shared, port));
            let rival = claimed.iter().map(|(front, source, index)| {
                let rival = &fronts[*front].sources[*source].listeners[*index];
                (rival, format!("listener {} of Gateway {}", rival.listener.name, fronts[*front].key))
            });
            let clash = rival.filter(|(rival, _)| port(rival) == port(heard)).find(|(rival, _)| {
                let merges = rival.protocol == Some(Protocol::Http) && heard.protocol == Some(Protocol::Http);
                !merges && conflict(rival, heard).is_some()
            });
            let whose = clash.map(|(_, whose)| whose).or_else(|| {
                let bound = port(heard).ok()?;
                let plain =
                    bound == ports.http && heard.protocol.is_some_and(|is| is != Protocol::Http && is != Protocol::Udp);
                let tls = bound == ports.https
                    && heard.protocol.is_some_and(|is| !is.by_server_name() && is != Protocol::Udp);
                (plain || tls).then(|| "the gateway's Ingresses".to_owned())
            });
            match whose {
                None => claims.push((at, source, index)),
                Some(whose) => {
                    let message = format!(
                        "port {} of the shared address belongs to {whose}; give Gateways addresses of their own with the setting gateway.addresses",
                        heard.listener.port
                    );
                    found.push((source, index, Refusal::new("PortUnavailable", message)));
                }
            }
        }
        claimed.extend(claims);
        for (source, index, refusal) in found {
            fronts[at].sources[source].listeners[index].refused = Some(refusal);
        }
    }
}

fn positions(front: &Front<'_>) -> Vec<(usize, usize)> {
    let of = |(at, source): (usize, &Source<'_>)| (0..source.listeners.len()).map(move |index| (at, index));
    front.sources.iter().enumerate().flat_map(of).collect()
}
