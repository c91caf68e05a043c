//! Whose certificate passes, and what a backend is told.

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair, SanType};

use super::*;
use crate::tests::{START, ask, means_and_clock, sources};

/// An authority and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn sign(&self, change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Example, Inc");
        params.distinguished_name.push(DnType::CommonName, "alice");
        params.subject_alt_names = vec![
            SanType::DnsName("alice.example.com".try_into().expect("a name")),
            SanType::URI("spiffe://example/ns/a".try_into().expect("a URI")),
            SanType::IpAddress("192.0.2.7".parse().expect("an address")),
        ];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        vec![params.signed_by(&key, &self.issuer).expect("a certificate").der().clone()]
    }
}

fn certificates(
    authority: &Authority,
    change: impl FnOnce(&mut settings::Certificate),
) -> (Certificates, crate::tests::Hand) {
    let (means, clock) = means_and_clock();
    let mut written = settings::Certificate {
        authorities: Some(Bundle { name: "clients".to_owned(), key: "ca.crt".to_owned(), ..Bundle::default() }),
        ..settings::Certificate::default()
    };
    change(&mut written);
    let mut faults = Faults::default();
    let held = sources(&[("configmap clients", &[("ca.crt", &authority.pem)])]);
    let made = Certificates::new(&written, &held, &means, &mut faults);
    (faults.or(made).expect("good settings"), clock)
}

fn outcome(certificates: &Certificates, shown: Option<Vec<CertificateDer<'static>>>) -> Result<Pass, (u16, String)> {
    let mut request = ask("GET", "https://a.example/", &[]);
    request.certificate = shown;
    match certificates.ask(&request.asked()) {
        Outcome::Pass(pass) => Ok(pass),
        Outcome::Refuse(answer) => {
            Err((answer.status().as_u16(), String::from_utf8_lossy(answer.body()).trim().to_owned()))
        }
    }
}

#[test]
fn a_certificate_must_be_there_and_of_the_authority() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("ours"));
    let (required, _) = certificates(&ours, |_| {});
    assert!(outcome(&required, Some(ours.sign(|_| {}))).is_ok());
    for shown in [None, Some(vec![])] {
        assert_eq!(outcome(&required, shown).expect_err("none").1, "a client certificate is needed");
    }
    let foreign = outcome(&required, Some(theirs.sign(|_| {}))).expect_err("foreign");
    assert_eq!(foreign, (403, "the client certificate is not of an accepted authority, or not valid now".to_owned()));
    let (optional, _) = certificates(&ours, |written| written.presence = Presence::Optional);
    assert!(outcome(&optional, None).is_ok());
    assert!(outcome(&optional, Some(theirs.sign(|_| {}))).is_err(), "one that is there must be right");
    assert!(outcome(&required, Some(vec![CertificateDer::from(vec![0x30, 0x80])])).is_err());
}

#[test]
fn a_certificate_counts_in_its_time() {
    let ours = Authority::new("ours");
    let (required, clock) = certificates(&ours, |_| {});
    let from = rcgen::date_time_ymd(2026, 1, 1);
    let until = rcgen::date_time_ymd(2027, 2, 1); // START is 2027-01-15
    let shown = ours.sign(|params| (params.not_before, params.not_after) = (from, until));
    assert!(outcome(&required, Some(shown.clone())).is_ok());
    clock.pass(30 * 24 * 3600);
    assert!(clock.now() > START && outcome(&required, Some(shown)).is_err());
}

#[test]
fn names_and_subjects_are_whole() {
    let ours = Authority::new("ours");
    let shown = || Some(ours.sign(|_| {}));
    for (name, expected) in [
        ("alice.example.com", true),
        ("ALICE.example.com", true),
        ("*.example.com", true),
        ("*.com", false),
        ("example.com", false),
        ("spiffe://example/ns/a", true),
        ("spiffe://example/ns", false),
        ("192.0.2.7", true),
        ("alice", false),
    ] {
        let (named, _) = certificates(&ours, |written| written.names = vec!["other".to_owned(), name.to_owned()]);
        assert_eq!(outcome(&named, shown()).is_ok(), expected, "{name}");
    }
    for (subject, expected) in [
        (r"CN=alice,O=Example\\, Inc", true),
        ("CN=(alice|bob),.*", true),
        ("CN=ali", false),
        ("CN=alice", false),
        ("O=Example", false),
    ] {
        let (matched, _) = certificates(&ours, |written| written.subjects = vec![subject.to_owned()]);
        assert_eq!(outcome(&matched, shown()).is_ok(), expected, "{subject}");
    }
}

#[test]
fn a_value_cannot_be_taken_for_another_part_of_the_name() {
    let ours = Authority::new("ours");
    let shown = ours.sign(|params| {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, DnValue::Utf8String("x,CN=admin\r\n".to_owned()));
    });
    let (told, _) = certificates(&ours, |written| written.headers = Headers::Summary);
    let pass = outcome(&told, Some(shown)).expect("passed");
    assert_eq!(pass.who.as_deref(), Some(r"CN=x\,CN\=admin\0D\0A"));
}

#[test]
fn the_backend_is_told_as_much_as_the_policy_says() {
    let ours = Authority::new("ours");
    let shown = ours.sign(|_| {});
    let told = |headers: Headers, shown: Option<Vec<CertificateDer<'static>>>| {
        let (made, _) =
            certificates(&ours, |written| (written.headers, written.presence) = (headers, Presence::Optional));
        let pass = outcome(&made, shown).expect("passed");
        pass.set
            .into_iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
            .collect::<Vec<_>>()
    };
    let names = |rows: &[(String, String)]| rows.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(told(Headers::None, Some(shown.clone())), []);
    assert_eq!(told(Headers::Nginx, None), [("ssl-client-verify".to_owned(), "NONE".to_owned())]);
    let nginx = told(Headers::NginxFull, Some(shown.clone()));
    assert_eq!(
        names(&nginx),
        ["ssl-client-verify", "ssl-client-subject-dn", "ssl-client-issuer-dn", "ssl-client-cert"]
    );
    assert_eq!(
        (nginx[0].1.as_str(), nginx[1].1.as_str(), nginx[2].1.as_str()),
        ("SUCCESS", r"CN=alice,O=Example\, Inc", "CN=ours")
    );
    assert!(nginx[3].1.starts_with("-----BEGIN%20CERTIFICATE-----%0A"), "{}", nginx[3].1);
    let full = told(Headers::Full, Some(shown.clone()));
    let expected = [
        "x-client-cert-verify",
        "x-client-cert-subject",
        "x-client-cert-issuer",
        "x-client-cert-serial",
        "x-client-cert-fingerprint",
        "x-client-cert-names",
        "client-cert",
    ];
    assert_eq!(names(&full), expected);
    assert_eq!(full[5].1, "alice.example.com,spiffe://example/ns/a,192.0.2.7");
    assert_eq!(full[6].1, format!(":{}:", STANDARD.encode(&shown[0])));
}

#[test]
fn a_bundle_that_is_none_is_told() {
    for (data, expected) in [
        (&[][..], "clients has no key ca.crt"),
        (&[("ca.crt", "hello")], "has no certificate in PEM form"),
        (
            &[("ca.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")],
            "a certificate in ca.crt is none",
        ),
    ] {
        let bundle = Bundle { name: "clients".to_owned(), key: "ca.crt".to_owned(), ..Bundle::default() };
        let told = authorities(&bundle, &sources(&[("configmap clients", data)])).expect_err("refused");
        assert!(told.contains(expected), "{told}");
    }
}
