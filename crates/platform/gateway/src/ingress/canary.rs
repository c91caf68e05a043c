//! Canaries: an Ingress that takes a part of what another serves.

use k8s_openapi::api::networking::v1::Ingress;

use super::annotations::{Canary, PREFIX};
use super::{Place, Translator};
use crate::model::{Rank, Share, SteerBy, TextMatch};

/// True when `ingress` is a canary.
pub(super) fn is(ingress: &Ingress) -> bool {
    let all = ingress.metadata.annotations.as_ref();
    all.and_then(|all| all.get(&format!("{PREFIX}canary"))).is_some_and(|value| value.trim() == "true")
}

impl Canary {
    /// How requests are steered, in the order of ingress-nginx: header, cookie; weight comes after both.
    fn steers(&self) -> Vec<SteerBy> {
        let mut steers = Vec::new();
        if let Some(header) = &self.header {
            steers.push(match (&self.value, &self.pattern) {
                (Some(value), _) => SteerBy::HeaderValue(header.clone(), TextMatch::Exact(value.clone())),
                (None, Some(pattern)) => SteerBy::HeaderValue(header.clone(), pattern.clone()),
                (None, None) => SteerBy::Header(header.clone()),
            });
        }
        steers.extend(self.cookie.clone().map(SteerBy::Cookie));
        steers
    }
}

impl Translator<'_> {
    /// Adds what a canary takes to the rules it is a canary of.
    pub(super) fn canary(&mut self, rank: &Rank, ingress: &Ingress) {
        self.outcome.served.insert(rank.key.clone());
        let wishes = self.wishes(&rank.key, ingress).0;
        let total = wishes.canary.total.unwrap_or(100).max(1);
        for rule in ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten()) {
            for path in rule.http.iter().flat_map(|http| &http.paths) {
                let Some(target) = self.target(&rank.key, &path.backend, &wishes) else { continue };
                let place = Place::of(rule.host.as_deref().unwrap_or_default(), path, wishes.patterns);
                let Some(served) = self.places.get_mut(&place) else {
                    let message = format!(
                        "it is a canary, and no other Ingress serves path {:?} of host {}",
                        path.path.as_deref().unwrap_or_default(),
                        place.host
                    );
                    self.fault(&rank.key, "NoMain", message);
                    continue;
                };
                if served.rank.key.namespace != rank.key.namespace {
                    let message =
                        format!("it would take requests of Ingress {}, which is in another namespace", served.rank.key);
                    self.fault(&rank.key, "Conflict", message);
                    continue;
                }
                for rule in &mut served.rule {
                    let share = Share { weight: wishes.canary.weight, target: target.clone(), filters: Vec::new() };
                    rule.split.divert(share, total, wishes.canary.steers());
                }
            }
        }
    }
}
