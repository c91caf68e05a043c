//! Which Challenges are worked on, and what one of them needs next.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::api::{Challenge, Solver, State};

/// As many are worked on at once, as upstream.
pub const MOST_AT_ONCE: usize = 60;
/// Keeps a Challenge until what was presented is gone.
pub const FINALIZER: &str = "acme.cert-manager.io/finalizer";
/// Whose DNS solver we serve, and its name.
pub const OWN_DNS: (&str, &str) = ("knarr.dev", "cluster-dns");

/// How a challenge is solved here.
#[derive(Clone, Debug, PartialEq)]
pub enum Way {
    /// The gateway answers, which reads it in the Challenge.
    Gateway,
    /// The cluster's DNS answers, which reads it in the Challenge.
    ClusterDns,
    /// A name server is told.
    Update(crate::api::Rfc2136),
}

/// How a solver solves here.
///
/// # Errors
/// Why it does not, by its field. `class` is the class of our gateway.
pub fn way(solver: &Solver, class: &str) -> Result<Way, String> {
    if let Some(http) = &solver.http01 {
        if http.gateway_http_route.is_some() {
            return Err("solvers[].http01.gatewayHTTPRoute: HTTPRoutes for solvers are not made; with our gateway use http01.ingress, which needs no route".to_owned());
        }
        let ingress = http.ingress.clone().unwrap_or_default();
        return match ingress.ingress_class_name.or(ingress.class) {
            Some(named) if named != class => Err(format!(
                "solvers[].http01.ingress: the class {named:?} belongs to another gateway, where we cannot answer; leave the class out, or write {class:?}, and point the name at our gateway"
            )),
            _ => Ok(Way::Gateway),
        };
    }
    let Some(dns) = &solver.dns01 else { return Err("solvers[]: neither http01 nor dns01".to_owned()) };
    if let Some(update) = &dns.rfc2136 {
        return Ok(Way::Update(update.clone()));
    }
    match &dns.webhook {
        Some(hook) if (hook.group_name.as_str(), hook.solver_name.as_str()) == OWN_DNS => Ok(Way::ClusterDns),
        Some(hook) => Err(format!(
            "solvers[].dns01.webhook: webhooks of others ({}/{}) are not called; use rfc2136, or groupName {} with solverName {}",
            hook.group_name, hook.solver_name, OWN_DNS.0, OWN_DNS.1
        )),
        None => {
            let named: Vec<&str> = dns.rest.keys().map(String::as_str).collect();
            Err(format!("solvers[].dns01: {} is not served; use rfc2136 or webhook", named.join(", ")))
        }
    }
}

/// Which Challenges to begin with: the oldest first, no two that would be presented at the same place.
#[must_use]
pub fn begin(all: &[Arc<Challenge>]) -> Vec<Arc<Challenge>> {
    let place = |one: &Challenge| (one.spec.dns_name.clone(), one.spec.kind.clone());
    let working: Vec<&Arc<Challenge>> = all.iter().filter(|one| one.status.processing).collect();
    let mut taken: BTreeSet<_> = working.iter().map(|one| place(one)).collect();
    let mut waiting: Vec<&Arc<Challenge>> = all
        .iter()
        .filter(|one| {
            !one.status.processing && !one.status.state.is_final() && one.metadata.deletion_timestamp.is_none()
        })
        .collect();
    waiting.sort_by_key(|one| {
        (
            one.metadata.creation_timestamp.clone().map(|at| at.0),
            one.metadata.namespace.clone(),
            one.metadata.name.clone(),
        )
    });
    let free = MOST_AT_ONCE.saturating_sub(working.len());
    waiting.into_iter().filter(|one| taken.insert(place(one))).take(free).cloned().collect()
}

/// What one Challenge needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its turn has not come, or all is done.
    Nothing,
    /// Make it go: take back what was presented, then let go of the object.
    Leave,
    /// It is over: take back what was presented.
    TakeBack,
    /// Present it.
    Present,
    /// Look whether it can be found, and tell the server; but not before then.
    Show(Option<Timestamp>),
}

/// Decides what is next.
#[must_use]
pub fn step(challenge: &Challenge) -> Step {
    let status = &challenge.status;
    if challenge.metadata.deletion_timestamp.is_some() {
        let held = challenge.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER);
        return if held { Step::Leave } else { Step::Nothing };
    }
    match (status.state.is_final(), status.presented, status.processing) {
        (true, _, true) | (true, true, _) => Step::TakeBack,
        (true, false, false) | (false, _, false) => Step::Nothing,
        (false, false, true) => Step::Present,
        (false, true, true) => {
            let wait = challenge.spec.solver.wait_instead_of_self_check.as_deref();
            let wait = wait.and_then(|text| base::time::duration(text).ok());
            let since = status.presented_at.as_deref().and_then(|at| base::time::parse(at).ok());
            Step::Show(wait.zip(since).and_then(|(wait, since)| since.checked_add(wait).ok()))
        }
    }
}

/// How long until the next look at a challenge that was presented so long ago: often at first, then seldom.
#[must_use]
pub fn patience(presented_for: SignedDuration) -> SignedDuration {
    let share = presented_for.checked_div(5).unwrap_or_default();
    share.clamp(SignedDuration::from_millis(500), SignedDuration::from_secs(60))
}

/// Whether it is up to the server now.
#[must_use]
pub fn is_at_server(challenge: &Challenge) -> bool {
    challenge.status.state == State::Processing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(name: &str, dns_name: &str, processing: bool, state: State) -> Arc<Challenge> {
        let mut challenge = Challenge::default();
        challenge.metadata.name = Some(name.to_owned());
        challenge.spec.dns_name = dns_name.to_owned();
        challenge.status.processing = processing;
        challenge.status.state = state;
        Arc::new(challenge)
    }

    #[test]
    fn no_two_at_one_place_and_no_more_than_allowed() {
        let names = |all: &[Arc<Challenge>]| -> Vec<String> {
            begin(all).iter().filter_map(|one| one.metadata.name.clone()).collect()
        };
        let some = [
            challenge("a", "x", true, State::Pending),
            challenge("b", "x", false, State::Pending),
            challenge("c", "y", false, State::Valid),
            challenge("d", "z", false, State::Unknown),
            challenge("e", "z", false, State::Unknown),
        ];
        assert_eq!(names(&some), ["d"]);
        let many: Vec<_> =
            (0..100).map(|one| challenge(&format!("{one:03}"), &one.to_string(), one < 50, State::Pending)).collect();
        assert_eq!(names(&many).len(), MOST_AT_ONCE - 50);
    }

    #[test]
    fn a_challenge_is_presented_shown_and_taken_back() {
        let mut one = (*challenge("a", "x", false, State::Unknown)).clone();
        assert_eq!(step(&one), Step::Nothing);
        one.status.processing = true;
        assert_eq!(step(&one), Step::Present);
        one.status.presented = true;
        assert_eq!(step(&one), Step::Show(None));
        one.status.state = State::Valid;
        assert_eq!(step(&one), Step::TakeBack);
        (one.status.presented, one.status.processing) = (false, false);
        assert_eq!(step(&one), Step::Nothing);
        one.metadata.deletion_timestamp = Some(serde_json::from_str("\"2026-01-01T00:00:00Z\"").unwrap());
        assert_eq!(step(&one), Step::Nothing);
        one.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        assert_eq!(step(&one), Step::Leave);
    }

    #[test]
    fn what_is_not_served_is_told_with_a_way_out() {
        let way = |text: &str| way(&serde_json::from_str(text).unwrap(), "knarr");
        assert_eq!(way(r#"{"http01": {"ingress": {}}}"#), Ok(Way::Gateway));
        assert_eq!(way(r#"{"http01": {"ingress": {"ingressClassName": "knarr"}}}"#), Ok(Way::Gateway));
        assert_eq!(
            way(r#"{"dns01": {"webhook": {"groupName": "knarr.dev", "solverName": "cluster-dns"}}}"#),
            Ok(Way::ClusterDns)
        );
        assert!(matches!(way(r#"{"dns01": {"rfc2136": {"nameserver": "1.2.3.4"}}}"#), Ok(Way::Update(_))));
        for (text, told) in [
            (r#"{"http01": {"ingress": {"class": "nginx"}}}"#, "\"nginx\" belongs to another gateway"),
            (r#"{"http01": {"gatewayHTTPRoute": {}}}"#, "gatewayHTTPRoute"),
            (r#"{"dns01": {"route53": {"region": "x"}}}"#, "route53 is not served"),
            (r#"{"dns01": {"webhook": {"groupName": "a", "solverName": "b"}}}"#, "(a/b) are not called"),
            ("{}", "neither http01 nor dns01"),
        ] {
            let fault = way(text).unwrap_err();
            assert!(fault.contains(told), "{fault}");
        }
    }
}
