//! The certificate that the client showed: who signed it, whom it is of, and what a backend is told of it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderName, HeaderValue};
use percent_encoding::utf8_percent_encode;
use regex::Regex;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};

use crate::answer::{self, Outcome};
use crate::asked::{Asked, Pass};
use crate::basic::data_of;
use crate::fault::Faults;
use crate::guard::Sources;
use crate::means::Means;
use crate::settings::{self, Bundle, Headers, Presence};
use crate::variables::QUERY;

const SUMMARY: [&str; 6] = [
    "x-client-cert-verify",
    "x-client-cert-subject",
    "x-client-cert-issuer",
    "x-client-cert-serial",
    "x-client-cert-fingerprint",
    "x-client-cert-names",
];
const NGINX: [&str; 4] = ["ssl-client-verify", "ssl-client-subject-dn", "ssl-client-issuer-dn", "ssl-client-cert"];
/// RFC 9440.
const CLIENT_CERT: [&str; 2] = ["client-cert", "client-cert-chain"];

/// Rules for certificates of clients.
pub(crate) struct Certificates {
    presence: Presence,
    verifier: Option<std::sync::Arc<dyn ClientCertVerifier>>,
    names: Vec<String>,
    subjects: Vec<Regex>,
    headers: Headers,
    means: Means,
}

/// What a certificate says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Facts {
    subject: String,
    issuer: String,
    serial: String,
    names: Vec<String>,
}

impl Certificates {
    pub(crate) fn new(
        written: &settings::Certificate,
        sources: &dyn Sources,
        means: &Means,
        faults: &mut Faults,
    ) -> Option<Self> {
        let verifier = written.authorities.as_ref().and_then(|bundle| {
            let roots = faults.take("spec.clientCertificate.authorities", authorities(bundle, sources))?.0;
            let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
            let made = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            faults.take("spec.clientCertificate.authorities", made)
        });
        let subject = |(index, text): (usize, &String)| {
            let whole = Regex::new(&format!("^(?:{text})$"));
            faults.take(&format!("spec.clientCertificate.subjects[{index}]"), whole)
        };
        let subjects: Vec<Regex> = written.subjects.iter().enumerate().filter_map(subject).collect();
        let names = written.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        Some(Self {
            presence: written.presence,
            verifier,
            names,
            subjects,
            headers: written.headers,
            means: means.clone(),
        })
    }

    /// All headers that could tell of a certificate, whether they are used or not.
    pub(crate) fn owned() -> impl Iterator<Item = HeaderName> {
        SUMMARY.into_iter().chain(NGINX).chain(CLIENT_CERT).map(HeaderName::from_static)
    }

    pub(crate) fn ask(&self, asked: &Asked<'_>) -> Outcome {
        let Some([shown, between @ ..]) = asked.certificate else {
            return match self.presence {
                Presence::Optional => Outcome::Pass(self.pass(None)),
                Presence::Required => Outcome::Refuse(answer::forbidden("a client certificate is needed")),
            };
        };
        if let Some(verifier) = &self.verifier {
            let now =
                UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(self.means.now()).unwrap_or_default()));
            if let Err(error) = verifier.verify_client_cert(shown, between, now) {
                tracing::debug!("a client certificate is refused: {error}");
                return Outcome::Refuse(answer::forbidden(
                    "the client certificate is not of an accepted authority, or not valid now",
                ));
            }
        }
        let Some(facts) = Facts::read(shown) else {
            return Outcome::Refuse(answer::forbidden("the client certificate cannot be read"));
        };
        if !self.names.is_empty() && !facts.names.iter().any(|name| self.names.iter().any(|rule| is_named(rule, name)))
        {
            return Outcome::Refuse(answer::forbidden("the client certificate has none of the accepted names"));
        }
        if !self.subjects.is_empty() && !self.subjects.iter().any(|subject| subject.is_match(&facts.subject)) {
            return Outcome::Refuse(answer::forbidden("the client certificate's subject is not accepted"));
        }
        Outcome::Pass(self.pass(Some((shown, facts))))
    }

    fn pass(&self, shown: Option<(&CertificateDer<'_>, Facts)>) -> Pass {
        let mut pass = Pass::default();
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                pass.set.push((HeaderName::from_static(name), value));
            }
        };
        let verdict = if shown.is_some() { "SUCCESS" } else { "NONE" };
        match self.headers {
            Headers::None => {}
            Headers::Summary | Headers::Full => set(SUMMARY[0], verdict),
            Headers::Nginx | Headers::NginxFull => set(NGINX[0], verdict),
        }
        let Some((certificate, facts)) = shown else { return pass };
        match self.headers {
            Headers::None => {}
            Headers::Summary | Headers::Full => {
                let fingerprint = hex::encode(ring::digest::digest(&ring::digest::SHA256, certificate));
                let values = [&facts.subject, &facts.issuer, &facts.serial, &fingerprint, &facts.names.join(",")];
                SUMMARY.into_iter().skip(1).zip(values).for_each(|(name, value)| set(name, value));
                if self.headers == Headers::Full {
                    set(CLIENT_CERT[0], &format!(":{}:", STANDARD.encode(certificate)));
                }
            }
            Headers::Nginx | Headers::NginxFull => {
                set(NGINX[1], &facts.subject);
                set(NGINX[2], &facts.issuer);
                if self.headers == Headers::NginxFull {
                    set(NGINX[3], &percent_pem(certificate));
                }
            }
        }
        pass.who = Some(facts.subject);
        pass
    }
}

/// The authorities of a bundle, and a digest of them.
pub(crate) fn authorities(bundle: &Bundle, sources: &dyn Sources) -> Result<(RootCertStore, String), String> {
    let data = data_of(sources, &bundle.source())?;
    let text = data.get(&bundle.key).ok_or_else(|| format!("{} has no key {}", bundle.name, bundle.key))?;
    let mut roots = RootCertStore::empty();
    for block in pki::inspect::pem_blocks(text).into_iter().filter(|block| block.label == "CERTIFICATE") {
        let added = roots.add(CertificateDer::from(block.der));
        added.map_err(|error| format!("a certificate in {} is none: {error}", bundle.key))?;
    }
    if roots.is_empty() {
        return Err(format!("{} in {} has no certificate in PEM form", bundle.key, bundle.name));
    }
    Ok((roots, hex::encode(ring::digest::digest(&ring::digest::SHA256, text))))
}

/// Whether an accepted name is this name: exactly, or with a whole first label for `*`.
fn is_named(rule: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    match rule.strip_prefix("*.") {
        Some(domain) => name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest == domain),
        None => rule == name,
    }
}

impl Facts {
    fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok()?;
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                Some((*name).to_owned())
            }
            GeneralName::IPAddress([a, b, c, d]) => Some(std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string()),
            GeneralName::IPAddress(bytes) => {
                <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())
            }
            _ => None,
        };
        Some(Self {
            subject: distinguished(certificate.subject()),
            issuer: distinguished(certificate.issuer()),
            serial: hex::encode(certificate.raw_serial()),
            names: names.map(|names| names.value.general_names.iter().filter_map(name).collect()).unwrap_or_default(),
        })
    }
}

/// A name in the form of RFC 4514: the most particular part first, with what could be taken for syntax escaped.
fn distinguished(name: &X509Name<'_>) -> String {
    let relative = name.iter_rdn().map(|relative| {
        let parts = relative.iter().map(|part| {
            let id = part.attr_type().to_id_string();
            let value = part.as_str().map_or_else(|_| format!("#{}", hex::encode(part.attr_value().data)), escaped);
            let short = SHORT.iter().find(|(known, _)| *known == id).map_or(id.as_str(), |(_, short)| short);
            format!("{short}={value}")
        });
        parts.collect::<Vec<_>>().join("+")
    });
    let mut parts: Vec<String> = relative.collect();
    parts.reverse();
    parts.join(",")
}

/// RFC 4514 3, and the address that old certificates have.
const SHORT: [(&str, &str); 10] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => text.extend(['\\', character]),
            ' ' if index == 0 || index == last => text.push_str("\\ "),
            '#' if index == 0 => text.push_str("\\#"),
            control if control.is_control() => text.push_str(&format!("\\{:02X}", u32::from(control))),
            other => text.push(other),
        }
    }
    text
}

/// A certificate in PEM form, percent-encoded, as nginx and Envoy hand it on.
pub(crate) fn percent_pem(der: &[u8]) -> String {
    utf8_percent_encode(&pem(der), QUERY).to_string()
}

fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests;
