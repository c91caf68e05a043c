//! What is served, from which object, with which certificate, and what fails: `knarr gateway routes`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{
    Filter, Host, Listener, Match, Model, PathMatch, Rule, Serves, Share, Socket, Target, TextMatch, Tls,
};

/// Everything a gateway serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What is served, in the order of sockets and hosts.
    pub routes: Vec<Row>,
    /// What was asked for and cannot be given.
    pub troubles: BTreeSet<Trouble>,
}

/// One rule of one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Where it is listened on.
    pub listen: String,
    /// The host; `*` is any.
    pub host: String,
    /// Path, and what else a request must have.
    #[serde(rename = "match")]
    pub wanted: String,
    /// The object and its rule.
    pub route: String,
    /// Who answers, and with which part.
    pub to: Vec<String>,
    /// What is done on the way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<String>,
    /// The certificate that is shown: its end, or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

/// Something that was asked for and cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Trouble {
    /// The object.
    pub object: String,
    /// One word for machines; a condition's reason where there is one.
    pub reason: String,
    /// What and why.
    pub message: String,
}

impl Trouble {
    /// Something about `object`.
    pub(crate) fn new(object: impl ToString, reason: &str, message: impl Into<String>) -> Self {
        Self { object: object.to_string(), reason: reason.to_owned(), message: message.into() }
    }
}

/// Tells of everything in `model`.
#[must_use]
pub fn report(model: &Model, troubles: BTreeSet<Trouble>) -> Report {
    let mut routes = Vec::new();
    for (socket, listeners) in &model.doors {
        for listener in listeners {
            of_listener(*socket, listener, &mut routes);
        }
    }
    Report { routes, troubles }
}

fn of_listener(socket: Socket, listener: &Listener, rows: &mut Vec<Row>) {
    let listen = match &listener.tls {
        Tls::None => socket.to_string(),
        Tls::Terminate(_) => format!("{socket} tls"),
        Tls::Passthrough => format!("{socket} passthrough"),
    };
    match &listener.serves {
        Serves::Http(routes) => {
            for route in routes {
                for (host, wanted) in route.hosts.iter().flat_map(|host| route.matches.iter().map(move |m| (host, m))) {
                    rows.push(Row {
                        listen: listen.clone(),
                        host: host.to_string(),
                        wanted: text(wanted),
                        route: route.rule.source.to_string(),
                        to: targets(&route.rule),
                        filters: route.rule.filters.iter().map(filter).collect(),
                        certificate: certificate(listener, host),
                    });
                }
            }
        }
        Serves::Streams(routes) => {
            for route in routes {
                for host in &route.hosts {
                    rows.push(Row {
                        listen: listen.clone(),
                        host: host.to_string(),
                        wanted: "every connection".to_owned(),
                        route: route.source.to_string(),
                        to: shares(route.split.shares()),
                        filters: Vec::new(),
                        certificate: certificate(listener, host),
                    });
                }
            }
        }
    }
}

fn targets(rule: &Rule) -> Vec<String> {
    let redirects = rule.filters.iter().any(|filter| matches!(filter, Filter::Redirect(_) | Filter::Answer(..)));
    if redirects { Vec::new() } else { shares(rule.split.shares()) }
}

fn shares(shares: &[Share]) -> Vec<String> {
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    let one = |share: &Share| {
        let name = match &share.target {
            Target::Backend(backend) => {
                format!("{} ({} endpoints)", backend.name(), backend.endpoints.all().len())
            }
            Target::Nobody(status, why) => format!("{} {}", status.as_u16(), why.trim()),
        };
        let percent = u64::from(share.weight) * 100 / total.max(1);
        if shares.len() > 1 { format!("{percent}% {name}") } else { name }
    };
    shares.iter().map(one).collect()
}

fn text(wanted: &Match) -> String {
    let mut text = match &wanted.path {
        PathMatch::Exact(path) => format!("= {path}"),
        PathMatch::Prefix(path) if path.is_empty() => "/".to_owned(),
        PathMatch::Prefix(path) => path.clone(),
        PathMatch::Pattern(pattern) => format!("~ {pattern}"),
    };
    if let Some(method) = &wanted.method {
        text = format!("{method} {text}");
    }
    let value = |value: &TextMatch| match value {
        TextMatch::Exact(exact) => format!("={exact}"),
        TextMatch::Pattern(pattern) => format!("~{pattern}"),
    };
    for field in &wanted.headers {
        text.push_str(&format!(" {}{}", field.name, value(&field.value)));
    }
    for field in &wanted.queries {
        text.push_str(&format!(" ?{}{}", field.name, value(&field.value)));
    }
    text
}

fn filter(filter: &Filter) -> String {
    match filter {
        Filter::Request(_) => "request headers".to_owned(),
        Filter::Response(_) => "response headers".to_owned(),
        Filter::Redirect(to) => {
            let place = [to.scheme.map(str::to_owned), to.host.clone()].into_iter().flatten().collect::<Vec<_>>();
            format!("redirect {} {}", to.status.as_u16(), place.join(" ")).trim_end().to_owned()
        }
        Filter::Rewrite(_) => "rewrite".to_owned(),
        Filter::Mirror(mirror) => format!("mirror to {}", mirror.backend.name()),
        Filter::Cors(_) => "cors".to_owned(),
        Filter::Guard(_) => "guard".to_owned(),
        Filter::Answer(status, why) => format!("answers {}: {}", status.as_u16(), why.trim()),
    }
}

/// The end of the certificate that a client of `host` is shown.
fn certificate(listener: &Listener, host: &Host) -> Option<String> {
    let Tls::Terminate(offer) = &listener.tls else { return None };
    let name = match host {
        Host::Any => "",
        Host::Exact(name) => name,
        Host::Wildcard { suffix, .. } => &format!("x.{suffix}"),
    };
    let Some(found) = offer.certificates.find(name) else { return Some("none yet: one of no authority".to_owned()) };
    let read = found.cert.first().and_then(|leaf| pki::inspect::certificate(leaf));
    let end = read.and_then(|read| jiff::Timestamp::try_from(read.not_after).ok());
    Some(end.map_or("unreadable".to_owned(), |end| format!("until {end}")))
}
