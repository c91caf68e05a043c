//! A small world of Secrets, requests and a status, in which plans are carried out, also halfway.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use proptest::prelude::*;

use super::*;
use crate::api::{RequestSpec, RequestStatus};
use crate::plan::held::KEY;
use crate::plan::policy::CERTIFICATE_NAME;
use crate::x509::der;
use crate::x509::key::{Encoding, Key};
use crate::x509::sign::{Terms, sign};
use crate::x509::usage::Usages;

/// What there is; requests are answered by an authority that signs itself whatever it is asked.
struct World {
    certificate: Certificate,
    secrets: BTreeMap<String, Secret>,
    requests: Vec<Arc<CertificateRequest>>,
    now: Timestamp,
    /// Every request that was ever made.
    made: usize,
    notes: Vec<String>,
}

fn secret(data: &[(&str, Vec<u8>)]) -> Secret {
    let data = data.iter().map(|(name, value)| ((*name).to_owned(), ByteString(value.clone()))).collect();
    Secret { data: Some(data), ..Secret::default() }
}

impl World {
    fn new(spec: &str) -> Self {
        let mut certificate = Certificate::default();
        certificate.metadata.name = Some("web".to_owned());
        certificate.metadata.uid = Some("u".to_owned());
        certificate.spec = serde_json::from_str(spec).unwrap();
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self { certificate, secrets: BTreeMap::new(), requests: Vec::new(), now, made: 0, notes: Vec::new() }
    }

    fn plan(&self) -> Plan {
        let held = self.secrets.get(&self.certificate.spec.secret_name).map(Held::read);
        let next = self.secrets.get(&next_key_name(&self.certificate)).map(Held::read);
        plan(&Input {
            certificate: &self.certificate,
            secret: held.as_ref(),
            next_key: next.as_ref(),
            requests: &self.requests,
            now: self.now,
        })
    }

    fn act(&mut self, action: &Action) {
        let wanted = meaning(&self.certificate).unwrap();
        match action {
            Action::MakeKey { name, reuse } => {
                let present = self.secrets.get(&self.certificate.spec.secret_name).map(Held::read);
                let pem = match present.as_ref().and_then(Held::usable_key).filter(|_| *reuse) {
                    Some(key) => key.to_pem(Encoding::Pkcs8),
                    None => Key::generate(wanted.key).unwrap().to_pem(Encoding::Pkcs8),
                };
                let known = self.secrets.insert(name.clone(), secret(&[(KEY, pem.into_bytes())]));
                assert!(known.is_none(), "a key is never overwritten");
            }
            Action::DropKey { name } => drop(self.secrets.remove(name)),
            Action::Request { name, revision } => {
                let held = Held::read(&self.secrets[&next_key_name(&self.certificate)]);
                let spec = RequestSpec {
                    duration: self.certificate.spec.duration.clone(),
                    issuer_ref: self.certificate.spec.issuer_ref.clone(),
                    request: der::pem("CERTIFICATE REQUEST", &wanted.request(held.usable_key().unwrap()).unwrap())
                        .into_bytes(),
                    is_ca: false,
                    usages: self.certificate.spec.usages.clone(),
                };
                let mut request = CertificateRequest { spec, ..CertificateRequest::default() };
                request.metadata.name = Some(name.clone());
                request.metadata.annotations = Some([(REVISION.to_owned(), revision.to_string())].into());
                assert!(
                    !self.requests.iter().any(|one| one.metadata.name == request.metadata.name),
                    "names are taken once"
                );
                self.requests.push(Arc::new(request));
                self.made += 1;
            }
            Action::DropRequest { name } => self.requests.retain(|one| one.metadata.name.as_ref() != Some(name)),
            Action::Store(desired) => {
                let data: Vec<(&str, Vec<u8>)> =
                    desired.data.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
                let mut secret = secret(&data);
                secret.metadata.annotations = Some(desired.annotations.clone());
                secret.metadata.labels = Some(desired.labels.clone());
                self.secrets.insert(desired.name.clone(), secret);
            }
        }
    }

    /// Carries out one plan; `steps` of its writes (the status is the last), all when none. Whether there was one.
    fn step(&mut self, steps: Option<usize>) -> bool {
        let plan = self.plan();
        for action in plan.actions.iter().take(steps.unwrap_or(usize::MAX)) {
            self.act(action);
        }
        if steps.is_none_or(|steps| steps > plan.actions.len()) {
            if let Some(status) = plan.status.clone() {
                self.certificate.status = status;
            }
            self.notes.extend(plan.notes.iter().map(|note| format!("{}: {}", note.reason, note.message)));
        }
        !plan.actions.is_empty() || plan.status.is_some()
    }

    fn settle(&mut self) {
        for _ in 0..50 {
            if !self.step(None) {
                return;
            }
        }
        panic!("no end: {:?}", self.plan());
    }

    /// Answers every open request.
    fn answer(&mut self) {
        let now = self.now;
        for request in &mut self.requests {
            if request.status.conditions.is_empty() {
                let said = read::request_pem(&request.spec.request).unwrap();
                let wanted = meaning(&self.certificate).unwrap();
                let terms =
                    Terms { duration: wanted.duration, usages: Usages::named(&[], false).unwrap(), ..Terms::default() };
                let authority = Key::generate(crate::x509::key::Kind::P256).unwrap();
                let der = sign(&said, None, &authority, &terms, now).unwrap();
                let pem = der::pem("CERTIFICATE", &der).into_bytes();
                let mut answered = (**request).clone();
                answered.status = RequestStatus { certificate: pem.clone(), ca: pem, ..RequestStatus::default() };
                answered.status.conditions.push(fact("Ready", true, "Issued", "", now));
                *request = Arc::new(answered);
            }
        }
    }

    fn fail(&mut self, reason: &str) {
        let now = self.now;
        let last = self.requests.last_mut().unwrap();
        let mut failed = (**last).clone();
        failed.status.failure_time = Some(rfc3339(now));
        failed.status.conditions.push(fact("Ready", false, reason, "no", now));
        *last = Arc::new(failed);
    }

    fn pass(&mut self, hours: i64) {
        self.now = self.now.checked_add(SignedDuration::from_hours(hours)).unwrap();
    }

    fn says(&self, kind: &str) -> String {
        let one = condition(&self.certificate.status.conditions, kind);
        one.map_or("-".to_owned(), |one| format!("{} {}", one.status, one.reason))
    }

    fn key(&self) -> Vec<u8> {
        Held::read(&self.secrets["tls"]).usable_key().unwrap().public()
    }
}

const WEB: &str = r#"{"secretName": "tls", "issuerRef": {"name": "i"}, "dnsNames": ["a.example"], "duration": "90h",
    "privateKey": {"algorithm": "ECDSA"}}"#;

fn issued(spec: &str) -> World {
    let mut world = World::new(spec);
    world.settle();
    world.answer();
    world.settle();
    world
}

#[test]
fn a_certificate_is_issued_and_then_nothing_is_left_to_do() {
    let mut world = World::new(WEB);
    world.settle();
    assert_eq!(
        (world.says("Ready"), world.says("Issuing")),
        ("False DoesNotExist".to_owned(), "True DoesNotExist".to_owned())
    );
    let key = world.certificate.status.next_private_key_secret_name.clone().unwrap();
    assert!(world.secrets.contains_key(&key) && world.made == 1);
    world.answer();
    world.settle();
    assert_eq!((world.says("Ready"), world.says("Issuing")), ("True Ready".to_owned(), "False Issued".to_owned()));
    let status = &world.certificate.status;
    assert_eq!((status.revision, status.next_private_key_secret_name.clone()), (Some(1), None));
    assert_eq!(status.renewal_time.as_deref(), Some("2026-01-03T12:00:00Z"), "a third of its life before its end");
    assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["tls"], "the key of the issuance is not left about");
    assert_eq!(world.plan().look_again, Some("2026-01-03T12:00:00Z".parse().unwrap()));
    let annotations = world.secrets["tls"].metadata.annotations.clone().unwrap();
    assert_eq!(annotations[CERTIFICATE_NAME], "web");
    assert_eq!(annotations["cert-manager.io/alt-names"], "a.example");
    assert_eq!(
        world.notes,
        [
            "Issuing: Issuing certificate as Secret does not exist",
            "Issuing: The certificate has been successfully issued"
        ]
    );
}

#[test]
fn it_is_renewed_in_time_with_a_new_key_and_old_requests_go() {
    let mut world = issued(WEB);
    for revision in 2..5 {
        let key = world.key();
        world.pass(59);
        assert!(!world.step(None), "not yet");
        world.pass(1);
        world.settle();
        assert_eq!((world.says("Issuing"), world.says("Ready")), ("True Renewing".to_owned(), "True Ready".to_owned()));
        world.answer();
        world.settle();
        assert_eq!(world.certificate.status.revision, Some(revision));
        assert!(world.key() != key && world.requests.len() == 1);
    }
}

#[test]
fn what_is_due_as_soon_as_it_is_issued_is_not_issued_again_and_again() {
    let mut world = World::new(WEB);
    world.settle();
    world.answer();
    world.pass(61); // the signer's clock is behind
    world.settle();
    assert_eq!((world.says("Issuing"), world.made), ("False Issued".to_owned(), 1));
    assert_eq!(world.plan().look_again.unwrap().duration_since(world.now), SignedDuration::from_hours(1));
    world.pass(1);
    world.settle();
    assert_eq!((world.says("Issuing"), world.made), ("True Renewing".to_owned(), 2));
}

#[test]
fn a_key_that_is_not_rotated_is_kept_and_one_that_may_not_be_made_is_told() {
    let never = WEB.replace(r#""ECDSA""#, r#""ECDSA", "rotationPolicy": "Never""#);
    let mut world = issued(&never);
    let key = world.key();
    world.pass(60);
    world.settle();
    world.answer();
    world.settle();
    assert_eq!((world.key(), world.certificate.status.revision), (key, Some(2)));
    world.certificate.spec.private_key.as_mut().unwrap().size = Some(384);
    world.settle();
    let plan = world.plan();
    assert!(plan.actions.is_empty() && plan.notes[0].reason == "CannotRegenerateKey", "{plan:?}");
}

#[test]
fn failures_wait_twice_as_long_each_time_and_a_changed_spec_does_not_wait() {
    let mut world = World::new(WEB);
    world.settle();
    for (attempt, hours) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 32)] {
        world.fail("Failed");
        world.settle();
        assert_eq!(world.certificate.status.failed_issuance_attempts, Some(attempt));
        assert_eq!(world.says("Issuing"), "False Failed");
        let wait = world.plan().look_again.unwrap().duration_since(world.now);
        assert_eq!(wait, SignedDuration::from_hours(hours));
        world.pass(hours);
        world.settle();
        assert_eq!(world.says("Issuing"), "True DoesNotExist");
        assert_eq!(world.requests.len(), 1);
    }
    world.fail("Failed");
    world.settle();
    world.certificate.spec.dns_names.push("b.example".to_owned());
    world.settle();
    assert_eq!(world.says("Issuing"), "True DoesNotExist");
    world.answer();
    world.settle();
    assert_eq!(
        (world.says("Ready"), world.certificate.status.failed_issuance_attempts),
        ("True Ready".to_owned(), None)
    );
}

#[test]
fn a_changed_spec_or_secret_is_issued_anew_and_told_why() {
    let check = |change: &dyn Fn(&mut World), reason: &str| {
        let mut world = issued(WEB);
        change(&mut world);
        world.settle();
        assert_eq!((world.says("Ready"), world.says("Issuing")), (format!("False {reason}"), format!("True {reason}")));
        world.answer();
        world.settle();
        assert_eq!(world.says("Ready"), "True Ready", "{reason}");
        assert_eq!(world.certificate.status.revision, Some(2));
    };
    check(&|world| world.certificate.spec.dns_names.push("b.example".to_owned()), "RequestChanged");
    check(&|world| world.certificate.spec.usages = vec!["client auth".to_owned()], "RequestChanged");
    check(&|world| world.certificate.spec.private_key.as_mut().unwrap().size = Some(384), "SecretMismatch");
    check(&|world| world.certificate.spec.issuer_ref.name = "other".to_owned(), "IncorrectIssuer");
    check(&|world| drop(world.secrets.remove("tls")), "DoesNotExist");
    check(&|world| drop(world.secrets.get_mut("tls").unwrap().data.as_mut().unwrap().remove("tls.key")), "MissingData");
    check(
        &|world| {
            world.secrets.get_mut("tls").unwrap().data.as_mut().unwrap().get_mut("tls.crt").unwrap().0 = b"x".to_vec()
        },
        "InvalidCertificate",
    );
}

#[test]
fn who_was_away_for_too_long_says_so_and_renews() {
    let mut world = issued(WEB);
    world.pass(91);
    world.settle();
    assert_eq!((world.says("Ready"), world.says("Issuing")), ("False Expired".to_owned(), "True Renewing".to_owned()));
    world.answer();
    world.settle();
    assert_eq!(world.says("Ready"), "True Ready");
}

#[test]
fn a_wrong_spec_is_told_and_asks_nobody() {
    let mut world = World::new(&WEB.replace("a.example", "a b"));
    world.settle();
    assert_eq!((world.says("Ready"), world.says("Issuing")), ("False InvalidSpec".to_owned(), "-".to_owned()));
    assert!(world.secrets.is_empty() && world.made == 0);
    let mut jks =
        World::new(&WEB.replace(r#""privateKey""#, r#""keystores": {"jks": {"create": true}}, "privateKey""#));
    jks.settle();
    assert_eq!((jks.says("Ready"), jks.made), ("False InvalidSpec".to_owned(), 0));
}

#[test]
fn what_a_template_says_is_brought_into_the_secret_without_another_issuance() {
    let mut world = issued(WEB);
    world.certificate.spec.secret_template = serde_json::from_str(r#"{"labels": {"a": "b"}}"#).unwrap();
    world.certificate.spec.additional_output_formats = serde_json::from_str(r#"[{"type": "CombinedPEM"}]"#).unwrap();
    world.settle();
    let secret = &world.secrets["tls"];
    assert_eq!(secret.metadata.labels.as_ref().unwrap()["a"], "b");
    assert!(secret.data.as_ref().unwrap().contains_key("tls-combined.pem") && world.made == 1);
}

#[test]
fn who_asks_for_renewal_by_the_condition_gets_it() {
    let mut world = issued(WEB);
    let asked = fact("Issuing", true, "ManuallyTriggered", "Certificate re-issuance manually triggered", world.now);
    set_condition(&mut world.certificate.status.conditions, asked);
    world.settle();
    world.answer();
    world.settle();
    assert_eq!((world.certificate.status.revision, world.says("Issuing")), (Some(2), "False Issued".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Each plan may be cut off after any of its writes: in the end there was one request for each issuance, and one
    /// certificate, and nothing to do.
    #[test]
    fn who_is_killed_anywhere_asks_for_nothing_twice(cuts in prop::collection::vec(0_usize..4, 0..40), answers in prop::collection::vec(any::<bool>(), 40)) {
        let mut world = World::new(WEB);
        for (cut, answer) in cuts.iter().zip(&answers) {
            if *answer {
                world.answer();
            }
            world.step(Some(*cut));
        }
        world.settle();
        world.answer();
        world.settle();
        prop_assert_eq!(world.made, 1);
        prop_assert_eq!(world.says("Ready"), "True Ready");
        prop_assert_eq!(world.secrets.keys().collect::<Vec<_>>(), ["tls"]);
        prop_assert!(!world.step(None));
    }
}
