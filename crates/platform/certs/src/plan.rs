//! What to issue, and when to look again. No I/O, no clock.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;

/// Names our issuer on an Ingress, as cert-manager does.
pub const ISSUER_ANNOTATION: &str = "cert-manager.io/cluster-issuer";
/// On a Secret: who issued it.
pub const ISSUED_BY: &str = "cert-manager.io/issuer-name";
/// On a Secret: the names in its certificate, comma separated and sorted.
pub const NAMES: &str = "cert-manager.io/alt-names";

/// How long a certificate is good.
pub const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
/// A certificate is renewed when it has less than this left (a third of its life, as cert-manager).
pub const MARGIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Issue a certificate for `hosts` into Secret `secret`.
    Issue {
        /// Name of the Secret, in the Ingress's namespace.
        secret: String,
        /// Host names, sorted.
        hosts: Vec<String>,
        /// True when the Secret is there and is to be replaced.
        replace: bool,
    },
    /// Tell the owner of the Ingress that something stands in the way.
    Refuse {
        /// Name of the Secret.
        secret: String,
        /// Why nothing is issued.
        why: String,
    },
}

/// A plan: what to do now, and when time alone will ask for more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps to take now.
    pub actions: Vec<Action>,
    /// When the next certificate is due for renewal.
    pub look_again: Option<Timestamp>,
}

/// The state of an existing Secret as the plan needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Issuer named by its annotation.
    pub issued_by: Option<String>,
    /// Names in its certificate.
    pub hosts: Vec<String>,
    /// When its certificate expires; none when it holds no readable certificate.
    pub expires: Option<Timestamp>,
    /// True when its chain ends at the authority in force.
    pub current_authority: bool,
}

impl Held {
    /// Reads a Secret; `authority_pem` is the certificate of the authority in force.
    #[must_use]
    pub fn read(secret: &Secret, authority_pem: &str) -> Self {
        let annotation = |name: &str| secret.metadata.annotations.as_ref().and_then(|all| all.get(name)).cloned();
        let data = |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map(|bytes| bytes.0.clone());
        let cert = data("tls.crt").and_then(|bytes| String::from_utf8(bytes).ok());
        let expires =
            cert.as_deref().and_then(|pem| pki::expires(pem).ok()).and_then(|at| Timestamp::try_from(at).ok());
        let names = annotation(NAMES).unwrap_or_default();
        Self {
            issued_by: annotation(ISSUED_BY),
            hosts: names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            expires: expires.filter(|_| data("tls.key").is_some()),
            current_authority: data("ca.crt").is_some_and(|ca| ca == authority_pem.as_bytes()),
        }
    }
}

/// Decides what `ingress` needs from issuer `issuer`. `held` finds the Secrets of its namespace.
pub fn plan(ingress: &Ingress, issuer: &str, held: impl Fn(&str) -> Option<Held>, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let asked = ingress.metadata.annotations.as_ref().and_then(|all| all.get(ISSUER_ANNOTATION));
    if asked.map(String::as_str) != Some(issuer) || ingress.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let entries = ingress.spec.as_ref().and_then(|spec| spec.tls.as_ref()).into_iter().flatten();
    for entry in entries {
        let Some(secret) = entry.secret_name.clone().filter(|name| !name.is_empty()) else { continue };
        let hosts: Vec<String> = entry.hosts.iter().flatten().cloned().collect::<BTreeSet<_>>().into_iter().collect();
        if hosts.is_empty() {
            plan.actions
                .push(Action::Refuse { secret, why: "spec.tls has no hosts to put into a certificate".to_owned() });
            continue;
        }
        match held(&secret) {
            None => plan.actions.push(Action::Issue { secret, hosts, replace: false }),
            Some(known) if known.issued_by.as_deref() != Some(issuer) => {
                let why = format!(
                    "Secret {secret} exists and was not issued by {issuer}; delete it or name another secretName"
                );
                plan.actions.push(Action::Refuse { secret, why });
            }
            Some(known) => {
                let due = known.expires.and_then(|at| at.checked_sub(MARGIN).ok());
                match due {
                    Some(due) if due > now && known.hosts == hosts && known.current_authority => {
                        plan.look_again = Some(plan.look_again.map_or(due, |at| at.min(due)));
                    }
                    _ => plan.actions.push(Action::Issue { secret, hosts, replace: true }),
                }
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::networking::v1::{IngressSpec, IngressTLS};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn ingress(issuer: &str, tls: &[(&str, &[&str])]) -> Ingress {
        let mut ingress = Ingress::default();
        ingress.metadata.annotations = Some([(ISSUER_ANNOTATION.to_owned(), issuer.to_owned())].into());
        let entry = |(secret, hosts): &(&str, &[&str])| IngressTLS {
            hosts: Some(hosts.iter().map(ToString::to_string).collect()),
            secret_name: Some((*secret).to_owned()),
        };
        ingress.spec = Some(IngressSpec { tls: Some(tls.iter().map(entry).collect()), ..IngressSpec::default() });
        ingress
    }

    fn held(issuer: &str, hosts: &[&str], days: i64) -> Held {
        Held {
            issued_by: Some(issuer.to_owned()),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            expires: Some(NOW + jiff::SignedDuration::from_hours(24 * days)),
            current_authority: true,
        }
    }

    fn check(ingress: &Ingress, known: Option<Held>, expected: &[&str]) {
        let plan = plan(ingress, "knarr-ca", |_| known.clone(), NOW);
        let told: Vec<String> = plan
            .actions
            .iter()
            .map(|action| match action {
                Action::Issue { secret, hosts, replace } => {
                    format!("{} {secret} for {}", if *replace { "replace" } else { "issue" }, hosts.join(","))
                }
                Action::Refuse { secret, .. } => format!("refuse {secret}"),
            })
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn a_host_that_asks_gets_a_certificate() {
        check(
            &ingress("knarr-ca", &[("web", &["b.localhost", "a.localhost"])]),
            None,
            &["issue web for a.localhost,b.localhost"],
        );
    }

    #[test]
    fn another_issuers_ingress_is_left_alone() {
        check(&ingress("letsencrypt", &[("web", &["a.localhost"])]), None, &[]);
    }

    #[test]
    fn a_good_certificate_is_kept_until_a_third_of_its_life_is_left() {
        let asked = ingress("knarr-ca", &[("web", &["a.localhost"])]);
        check(&asked, Some(held("knarr-ca", &["a.localhost"], 31)), &[]);
        check(&asked, Some(held("knarr-ca", &["a.localhost"], 29)), &["replace web for a.localhost"]);
        let plan = plan(&asked, "knarr-ca", |_| Some(held("knarr-ca", &["a.localhost"], 31)), NOW);
        assert_eq!(plan.look_again, Some(NOW + jiff::SignedDuration::from_hours(24)));
    }

    #[test]
    fn a_new_host_or_a_new_authority_asks_for_a_new_certificate() {
        let asked = ingress("knarr-ca", &[("web", &["a.localhost", "b.localhost"])]);
        check(&asked, Some(held("knarr-ca", &["a.localhost"], 80)), &["replace web for a.localhost,b.localhost"]);
        let old = Held { current_authority: false, ..held("knarr-ca", &["a.localhost", "b.localhost"], 80) };
        check(&asked, Some(old), &["replace web for a.localhost,b.localhost"]);
    }

    #[test]
    fn somebody_elses_secret_is_never_overwritten() {
        check(
            &ingress("knarr-ca", &[("web", &["a.localhost"])]),
            Some(held("other", &["a.localhost"], 80)),
            &["refuse web"],
        );
    }
}
