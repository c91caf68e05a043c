//! TLS towards backends: BackendTLSPolicy (GEP-1897).
//!
//! A policy for one port of a service comes before one for all of it; of two that target the same the older wins, and the other
//! is conflicted. A policy that cannot be obeyed closes its backends: nobody may fall back to the clear.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::Key;

use super::grants::{From, Grants};
use super::kinds::{Ancestor, BackendTlsPolicy, GROUP, ObjectRef, ParentRef};
use super::references::{self, AuthorityReasons, Refusal};
use super::verdict::Verdict;
use super::world::{World, by_age, key};
use crate::certificates;
use crate::model::UpstreamTls;

/// More ancestors than this the API does not take.
const MOST_ANCESTORS: usize = 16;

/// All policies, and what each means.
#[derive(Debug)]
pub(crate) struct Policies<'a> {
    all: Vec<Policy<'a>>,
    /// By service and port name (none for all ports): who decides.
    winners: BTreeMap<(Key, Option<String>), usize>,
}

#[derive(Debug)]
struct Policy<'a> {
    object: &'a BackendTlsPolicy,
    means: Result<UpstreamTls, Refusal>,
    unresolved: Option<Refusal>,
    /// An older policy for the same target.
    rival: Option<Key>,
    wins: bool,
}

/// What a backend is asked for.
pub(crate) enum Wanted<'a> {
    /// No policy speaks of it.
    Nothing,
    Tls(&'a UpstreamTls),
    /// The policy cannot be obeyed.
    Refused(&'a Refusal),
}

impl<'a> Policies<'a> {
    pub(crate) fn new(world: &World<'a>, grants: &Grants<'_>) -> Self {
        let mut sorted: Vec<&BackendTlsPolicy> = world.policies.iter().map(|policy| &**policy).collect();
        sorted.sort_by(|one, other| by_age(&one.metadata, &other.metadata));
        let mut policies = Self { all: Vec::new(), winners: BTreeMap::new() };
        for object in sorted {
            let (means, unresolved) = means(world, grants, object);
            let mut policy = Policy { object, means, unresolved, rival: None, wins: false };
            for target in targets(object) {
                match policies.winners.get(&target) {
                    None => {
                        policies.winners.insert(target, policies.all.len());
                        policy.wins = true;
                    }
                    Some(winner) => {
                        policy.rival = policies.all.get(*winner).map(|winner| key(&winner.object.metadata));
                    }
                }
            }
            policies.all.push(policy);
        }
        policies
    }

    /// What is asked of the port called `port` of `service`.
    pub(crate) fn of(&self, service: &Key, port: Option<&str>) -> Wanted<'_> {
        let named = port.and_then(|port| self.winners.get(&(service.clone(), Some(port.to_owned()))));
        let Some(policy) =
            named.or_else(|| self.winners.get(&(service.clone(), None))).and_then(|at| self.all.get(*at))
        else {
            return Wanted::Nothing;
        };
        match &policy.means {
            Ok(tls) => Wanted::Tls(tls),
            Err(refusal) => Wanted::Refused(refusal),
        }
    }

    /// What is told of each policy; `used` says which Gateways lead to a service.
    pub(crate) fn verdicts(
        &self,
        used: &BTreeMap<Key, BTreeSet<Key>>,
    ) -> BTreeMap<Key, Vec<(ParentRef, Vec<Verdict>)>> {
        let told = self.all.iter().map(|policy| {
            let gateways: BTreeSet<&Key> =
                targets(policy.object).filter_map(|(service, _)| used.get(&service)).flatten().collect();
            let verdicts = policy.verdicts();
            let ancestors =
                gateways.into_iter().take(MOST_ANCESTORS).map(|gateway| (ancestor(gateway), verdicts.clone()));
            (key(&policy.object.metadata), ancestors.collect())
        });
        told.collect()
    }
}

impl Policy<'_> {
    fn verdicts(&self) -> Vec<Verdict> {
        let accepted = match (&self.means, &self.rival) {
            (_, Some(rival)) if !self.wins => {
                let message = format!("BackendTLSPolicy {rival} is older and targets the same");
                Verdict::no("Accepted", "Conflicted", message)
            }
            (Err(refusal), _) => Verdict::no("Accepted", refusal.reason, refusal.message.clone()),
            (Ok(_), Some(rival)) => Verdict::told(
                "Accepted",
                "Accepted",
                format!("some targets are those of the older BackendTLSPolicy {rival}"),
            ),
            (Ok(_), None) => Verdict::yes("Accepted", "Accepted"),
        };
        let resolved = match &self.unresolved {
            Some(refusal) => Verdict::no("ResolvedRefs", refusal.reason, refusal.message.clone()),
            None => Verdict::yes("ResolvedRefs", "ResolvedRefs"),
        };
        vec![accepted, resolved]
    }
}

/// The services a policy targets; other kinds have no TLS of ours.
fn targets(policy: &BackendTlsPolicy) -> impl Iterator<Item = (Key, Option<String>)> {
    let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
    let services = policy.spec.target_refs.iter().filter(|target| target.group.is_empty() && target.kind == "Service");
    services.map(move |target| {
        let section = target.section_name.clone().filter(|name| !name.is_empty());
        (Key::new(namespace, target.name.as_str()), section)
    })
}

fn ancestor(gateway: &Key) -> ParentRef {
    ParentRef {
        group: Some(GROUP.to_owned()),
        kind: Some("Gateway".to_owned()),
        namespace: Some(gateway.namespace.clone()),
        name: gateway.name.clone(),
        ..ParentRef::default()
    }
}

fn means(
    world: &World<'_>,
    grants: &Grants<'_>,
    policy: &BackendTlsPolicy,
) -> (Result<UpstreamTls, Refusal>, Option<Refusal>) {
    const REASONS: AuthorityReasons = AuthorityReasons { kind: "InvalidKind", invalid: "InvalidCACertificateRef" };
    let asked = &policy.spec.validation;
    let namespace = policy.metadata.namespace.as_deref().unwrap_or_default();
    let from = From { kind: "BackendTLSPolicy", namespace };
    let mut tls = UpstreamTls { name: asked.hostname.clone(), ..UpstreamTls::default() };
    let names = asked.subject_alt_names.iter().map(|name| match name.type_.as_str() {
        "URI" => name.uri.clone(),
        _ => name.hostname.clone(),
    });
    tls.names = names.collect();
    if asked.ca_certificate_refs.is_empty() {
        return match asked.well_known_ca_certificates.as_deref() {
            Some("System") if !world.system.is_empty() => {
                tls.authorities = Some(Arc::clone(world.system));
                (Ok(tls), None)
            }
            Some("System") => {
                let why = Refusal::new("NoValidCACertificate", "this machine has no certificate authorities installed");
                (Err(why), None)
            }
            other => {
                let message =
                    format!("wellKnownCACertificates {:?} is not known; only System is", other.unwrap_or_default());
                (Err(Refusal::new("Invalid", message)), None)
            }
        };
    }
    let (mut found, mut unresolved) = (Vec::new(), None);
    for named in &asked.ca_certificate_refs {
        let named = ObjectRef {
            group: named.group.clone(),
            kind: named.kind.clone(),
            name: named.name.clone(),
            namespace: None,
        };
        let read = references::authorities(world, grants, from, &named, REASONS).and_then(|pem| {
            certificates::authorities(pem.as_bytes()).map_err(|why| Refusal::new(REASONS.invalid, why.to_string()))
        });
        match read {
            Ok(authorities) => found.extend(authorities),
            Err(refusal) => unresolved = Some(refusal),
        }
    }
    if found.is_empty() {
        let why =
            Refusal::new("NoValidCACertificate", "none of the authorities for the backends' certificates can be used");
        return (Err(why), unresolved);
    }
    tls.authorities = Some(found.into());
    (Ok(tls), unresolved)
}

/// The ancestors of a policy after our part of them is `verdicts`; those of other controllers stay.
pub(crate) fn others<'a>(told: &'a [Ancestor], controller: &str) -> impl Iterator<Item = &'a Ancestor> {
    told.iter().filter(move |ancestor| ancestor.controller_name != controller)
}
