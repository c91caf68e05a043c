//! What an Order needs next, and which solver a challenge gets.
//!
//! Invariant: one order at the server per Order, one Challenge per authorization that is not valid yet; an Order that has
//! come to its end asks nobody anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{hash, shortened};
use crate::api::{Authorization, Challenge, ChallengeOffer, ChallengeSpec, Order, Solver, State};

/// What to ask the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Nothing; something else must happen first, or all is done.
    Nothing,
    /// For an order.
    Create,
    /// What its authorizations are.
    Authorizations,
    /// How far the order is.
    Refresh,
    /// To sign the request.
    Finalize,
    /// For the certificate.
    Fetch,
    /// Nothing: it has failed, for this reason.
    GiveUp(String),
}

/// What is next.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What to ask the server.
    pub ask: Ask,
    /// Challenges to make: name, authorization, offer, solver.
    pub create: Vec<(String, Authorization, ChallengeOffer, Solver)>,
    /// Challenges to delete.
    pub delete: Vec<String>,
}

/// Decides what is next. `challenges` are those that the Order controls.
#[must_use]
pub fn plan(order: &Order, challenges: &[Arc<Challenge>], solvers: &[Solver]) -> Plan {
    let mut plan = Plan { ask: Ask::Nothing, create: Vec::new(), delete: Vec::new() };
    let status = &order.status;
    if order.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    match status.state {
        State::Valid if status.certificate.is_empty() => plan.ask = Ask::Fetch,
        state if state.is_final() => plan.delete = challenges.iter().map(|one| name(&**one)).collect(),
        _ if status.url.is_empty() => plan.ask = Ask::Create,
        State::Ready => plan.ask = Ask::Finalize,
        State::Pending if status.authorizations.iter().any(|one| one.identifier.is_empty()) => {
            plan.ask = Ask::Authorizations
        }
        State::Processing => plan.ask = Ask::Refresh,
        _ => prove(order, challenges, solvers, &mut plan),
    }
    plan
}

fn prove(order: &Order, challenges: &[Arc<Challenge>], solvers: &[Solver], plan: &mut Plan) {
    if let Some(failed) = challenges.iter().find(|one| one.status.state == State::Errored) {
        plan.ask = Ask::GiveUp(format!(
            "Challenge {} for {}: {}",
            name(&**failed),
            failed.spec.dns_name,
            failed.status.reason
        ));
        return;
    }
    let mut open = 0;
    let labels = order.metadata.labels.clone().unwrap_or_default();
    for authorization in order.status.authorizations.iter().filter(|one| one.initial_state != State::Valid) {
        let wanted = challenge_name(&name(order), authorization);
        match challenges.iter().find(|one| name(&***one) == wanted) {
            Some(known) if known.status.state == State::Valid => {}
            Some(known) if known.status.state.is_failure() => {
                plan.ask = Ask::Refresh;
                return;
            }
            Some(_) => open += 1,
            None => match choose(authorization, solvers, &labels) {
                Ok((offer, solver)) => plan.create.push((wanted, authorization.clone(), offer.clone(), solver.clone())),
                Err(fault) => {
                    plan.ask = Ask::GiveUp(fault);
                    plan.create.clear();
                    return;
                }
            },
        }
    }
    if open == 0 && plan.create.is_empty() {
        plan.ask = Ask::Refresh;
    }
}

fn name(object: &impl kube::Resource) -> String {
    object.meta().name.clone().unwrap_or_default()
}

/// The name of the Challenge for an authorization.
#[must_use]
pub fn challenge_name(order: &str, authorization: &Authorization) -> String {
    let wildcard = if authorization.wildcard { "*" } else { "" };
    format!("{}-{}", shortened(order, 230), hash(&[&authorization.url, &authorization.identifier, wildcard], 10))
}

/// The solver for an authorization, and the way it solves: the most specific that fits, of equals the first.
fn choose<'a>(
    authorization: &'a Authorization,
    solvers: &'a [Solver],
    labels: &BTreeMap<String, String>,
) -> Result<(&'a ChallengeOffer, &'a Solver), String> {
    let domain = if authorization.wildcard {
        format!("*.{}", authorization.identifier)
    } else {
        authorization.identifier.clone()
    };
    let mut best: Option<(Score, &ChallengeOffer, &Solver)> = None;
    for solver in solvers {
        let wanted = match (&solver.http01, &solver.dns01) {
            (Some(_), _) => "http-01",
            (_, Some(_)) => "dns-01",
            _ => continue,
        };
        let Some(offer) = authorization.challenges.iter().find(|offer| offer.kind == wanted) else { continue };
        let Some(score) = score(solver, &domain, labels) else { continue };
        if best.as_ref().is_none_or(|(known, _, _)| score > *known) {
            best = Some((score, offer, solver));
        }
    }
    best.map(|(_, offer, solver)| (offer, solver)).ok_or_else(|| {
        let kinds: Vec<&str> = authorization.challenges.iter().map(|offer| offer.kind.as_str()).collect();
        format!(
            "no configured challenge solvers can be used for {domain:?}: the server offers {}; add such a solver to the issuer, or widen a selector{}",
            kinds.join(", "),
            if authorization.wildcard { " (a wildcard needs dns01)" } else { "" }
        )
    })
}

/// How specific: an exact name, labels of the zone, labels of the Certificate.
type Score = (bool, usize, usize);

fn score(solver: &Solver, domain: &str, labels: &BTreeMap<String, String>) -> Option<Score> {
    let Some(selector) = &solver.selector else { return Some((false, 0, 0)) };
    if !selector.match_labels.iter().all(|(name, value)| labels.get(name) == Some(value)) {
        return None;
    }
    let exact = selector.dns_names.iter().any(|one| one.eq_ignore_ascii_case(domain));
    let bare = domain.trim_start_matches("*.").to_ascii_lowercase();
    let zones = selector.dns_zones.iter().filter(|zone| {
        let zone = zone.trim_end_matches('.').to_ascii_lowercase();
        bare == zone || bare.strip_suffix(&zone).is_some_and(|rest| rest.ends_with('.'))
    });
    let zone = zones.map(|zone| zone.trim_end_matches('.').split('.').count()).max();
    if !exact && zone.is_none() && !(selector.dns_names.is_empty() && selector.dns_zones.is_empty()) {
        return None;
    }
    Some((exact, zone.unwrap_or(0), selector.match_labels.len()))
}

/// The spec of a Challenge.
#[must_use]
pub fn challenge(
    order: &Order,
    authorization: &Authorization,
    offer: &ChallengeOffer,
    solver: &Solver,
    key: String,
) -> ChallengeSpec {
    ChallengeSpec {
        url: offer.url.clone(),
        authorization_url: authorization.url.clone(),
        dns_name: authorization.identifier.clone(),
        wildcard: authorization.wildcard,
        kind: offer.kind.to_uppercase(),
        token: offer.token.clone(),
        key,
        solver: solver.clone(),
        issuer_ref: order.spec.issuer_ref.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authorization(identifier: &str, wildcard: bool, kinds: &[&str]) -> Authorization {
        let challenges = kinds.iter().map(|kind| ChallengeOffer {
            url: format!("https://acme/{identifier}/{kind}"),
            token: "t".to_owned(),
            kind: (*kind).to_owned(),
        });
        Authorization {
            url: format!("https://acme/{identifier}"),
            identifier: identifier.to_owned(),
            wildcard,
            initial_state: State::Pending,
            challenges: challenges.collect(),
        }
    }

    fn order(state: State, authorizations: &[Authorization]) -> Order {
        let mut order = Order::default();
        order.metadata.name = Some("o".to_owned());
        order.status.state = state;
        order.status.url = if state == State::Unknown { String::new() } else { "https://acme/o".to_owned() };
        order.status.authorizations = authorizations.to_vec();
        order
    }

    fn challenges(order: &Order, states: &[State]) -> Vec<Arc<Challenge>> {
        let made = order.status.authorizations.iter().zip(states).map(|(authorization, state)| {
            let mut challenge = Challenge::default();
            challenge.metadata.name = Some(challenge_name("o", authorization));
            challenge.status.state = *state;
            Arc::new(challenge)
        });
        made.collect()
    }

    fn solvers(text: &str) -> Vec<Solver> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_order_goes_its_way_and_then_asks_nothing() {
        let http = solvers(r#"[{"http01": {"ingress": {}}}]"#);
        let both = [authorization("a", false, &["http-01"]), authorization("b", false, &["dns-01", "http-01"])];
        let ask = |order: &Order, states: &[State]| plan(order, &challenges(order, states), &http);
        assert_eq!(ask(&order(State::Unknown, &[]), &[]).ask, Ask::Create);
        assert_eq!(ask(&order(State::Pending, &[authorization("", false, &[])]), &[]).ask, Ask::Authorizations);
        let pending = order(State::Pending, &both);
        let first = ask(&pending, &[]);
        assert_eq!((first.ask, first.create.len()), (Ask::Nothing, 2));
        let second = ask(&pending, &[State::Valid, State::Pending]);
        assert_eq!((second.ask, second.create.len()), (Ask::Nothing, 0));
        assert_eq!(ask(&pending, &[State::Valid, State::Valid]).ask, Ask::Refresh);
        assert_eq!(ask(&pending, &[State::Valid, State::Invalid]).ask, Ask::Refresh);
        assert!(matches!(ask(&pending, &[State::Errored, State::Valid]).ask, Ask::GiveUp(_)));
        assert_eq!(ask(&order(State::Ready, &both), &[]).ask, Ask::Finalize);
        assert_eq!(ask(&order(State::Processing, &both), &[]).ask, Ask::Refresh);
        assert_eq!(ask(&order(State::Valid, &both), &[]).ask, Ask::Fetch);
        let mut done = order(State::Valid, &both);
        done.status.certificate = b"chain".to_vec();
        let last = ask(&done, &[State::Valid, State::Valid]);
        assert_eq!((last.ask, last.delete.len()), (Ask::Nothing, 2));
    }

    #[test]
    fn names_that_are_known_to_be_ours_are_not_shown_again() {
        let mut known = authorization("a", false, &["http-01"]);
        known.initial_state = State::Valid;
        assert_eq!(plan(&order(State::Pending, &[known]), &[], &[]).ask, Ask::Refresh);
    }

    #[test]
    fn the_most_specific_solver_is_taken() {
        let all = solvers(
            r#"[{"http01": {}}, {"dns01": {"cnameStrategy": "zone"}, "selector": {"dnsZones": ["example.com"]}},
                {"dns01": {"cnameStrategy": "deep"}, "selector": {"dnsZones": ["deep.example.com"]}},
                {"http01": {"ingress": {"class": "exact"}}, "selector": {"dnsNames": ["x.deep.example.com"]}},
                {"dns01": {"cnameStrategy": "labels"}, "selector": {"matchLabels": {"a": "b"}}}]"#,
        );
        let chosen = |domain: &str, wildcard, labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let authorization =
                authorization(domain, wildcard, if wildcard { &["dns-01"] } else { &["http-01", "dns-01"] });
            let found = choose(&authorization, &all, &labels)
                .map(|(_, solver)| all.iter().position(|one| one == solver).unwrap());
            found.map_err(|fault| fault.contains("no configured challenge solvers"))
        };
        assert_eq!(chosen("other.org", false, &[]), Ok(0));
        assert_eq!(chosen("www.example.com", false, &[]), Ok(1));
        assert_eq!(chosen("notexample.com", false, &[]), Ok(0));
        assert_eq!(chosen("y.deep.example.com", true, &[]), Ok(2));
        assert_eq!(chosen("x.deep.example.com", false, &[]), Ok(3));
        assert_eq!(chosen("other.org", false, &[("a", "b")]), Ok(4));
        assert_eq!(chosen("other.org", true, &[]), Err(true));
    }
}
