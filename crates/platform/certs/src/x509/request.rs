//! Signing requests (PKCS #10, RFC 2986), and what a Certificate's spec means.

use std::net::IpAddr;

use base::time::SignedDuration;

use super::key::{Encoding, Key, KeyError, Kind};
use super::name::{self, Rdn};
use super::usage::{Usages, extension};
use super::{der, read};
use crate::api::{CertificateSpec, PrivateKey, RequestSpec};

/// How long a certificate lives when nothing is said: 90 days.
pub const DEFAULT_DURATION: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Shorter lives are refused, as upstream does.
pub const SHORTEST: SignedDuration = SignedDuration::from_hours(1);
/// More names make certificates that TLS stacks refuse.
const MOST_NAMES: usize = 1000;

/// The names in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as X.509 names them")]
pub struct Names {
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
    pub uris: Vec<String>,
    pub emails: Vec<String>,
}

impl Names {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ips.is_empty() && self.uris.is_empty() && self.emails.is_empty()
    }

    /// SubjectAltName's value (RFC 5280, 4.2.1.6).
    fn encode(&self) -> Vec<u8> {
        let text = |tag: u8, values: &[String]| -> Vec<Vec<u8>> {
            values.iter().map(|value| der::tagged(tag, value.as_bytes())).collect()
        };
        let address = |ip: &IpAddr| match ip {
            IpAddr::V4(ip) => der::tagged(0x87, &ip.octets()),
            IpAddr::V6(ip) => der::tagged(0x87, &ip.octets()),
        };
        let mut all = text(0x82, &self.dns);
        all.extend(text(0x81, &self.emails));
        all.extend(self.ips.iter().map(address));
        all.extend(text(0x86, &self.uris));
        der::sequence(&all)
    }
}

/// What a Certificate's spec means, every text of it read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The subject, the most general part first.
    pub subject: Vec<Rdn>,
    /// The names.
    pub names: Names,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// What it may be used for.
    pub usages: Usages,
    /// Whether the request says so.
    pub encode_usages: bool,
    /// How long it is to live.
    pub duration: SignedDuration,
    /// Its key.
    pub key: Kind,
    /// How the key is written.
    pub encoding: Encoding,
    /// Whether every issuance has a key of its own.
    pub rotate: bool,
}

impl Wanted {
    /// Reads a spec.
    ///
    /// # Errors
    /// The field that is wrong, and why.
    pub fn of(spec: &CertificateSpec) -> Result<Self, String> {
        let names = names(spec)?;
        let subject = subject(spec)?;
        if names.is_empty() && subject.is_empty() {
            return Err("spec: at least one of commonName (from the subject or literal), dnsNames, ipAddresses, uris or emailAddresses must be set".to_owned());
        }
        let private = spec.private_key.clone().unwrap_or_default();
        let key = key_kind(&private)?;
        let encoding = match private.encoding.as_str() {
            "" | "PKCS1" => Encoding::Pkcs1,
            "PKCS8" => Encoding::Pkcs8,
            other => return Err(format!("spec.privateKey.encoding: {other:?} is neither PKCS1 nor PKCS8")),
        };
        Ok(Self {
            subject,
            names,
            is_ca: spec.is_ca,
            usages: Usages::named(&spec.usages, spec.is_ca).map_err(|fault| format!("spec.usages: {fault}"))?,
            encode_usages: spec.encode_usages_in_request != Some(false),
            duration: duration(spec.duration.as_deref(), "spec.duration")?,
            key,
            encoding,
            rotate: private.rotation_policy != "Never",
        })
    }

    /// The request for it, signed with `key`, DER.
    ///
    /// # Errors
    /// When `key` cannot sign.
    pub fn request(&self, key: &Key) -> Result<Vec<u8>, KeyError> {
        let mut extensions = Vec::new();
        if !self.names.is_empty() {
            extensions.push(extension(&[0x55, 0x1D, 0x11], self.subject.is_empty(), &self.names.encode()));
        }
        if self.encode_usages {
            extensions.extend(self.usages.extensions());
        }
        if self.is_ca {
            extensions.push(extension(&[0x55, 0x1D, 0x13], true, &der::sequence(&[der::tagged(1, &[0xFF])])));
        }
        let extensions = (!extensions.is_empty()).then(|| {
            let id = der::tagged(der::OID, &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 14]);
            der::sequence(&[id, der::set(vec![der::sequence(&extensions)])])
        });
        let body = der::sequence(&[
            der::integer(&[0]),
            name::encode(&self.subject),
            key.public(),
            der::tagged(0xA0, &extensions.unwrap_or_default()),
        ]);
        key.seal(body)
    }

    /// Which fields of the spec `request` does not say; empty when it is the request for this.
    #[must_use]
    pub fn differs(&self, spec: &CertificateSpec, request: &RequestSpec) -> Vec<&'static str> {
        let Some(said) = read::request_pem(&request.request) else { return vec!["spec.request"] };
        let mut fields = self.differs_in_names(&said);
        let mut differs = |differs: bool, field| differs.then(|| fields.push(field));
        let same_duration = duration(request.duration.as_deref(), "").is_ok_and(|said| said == self.duration);
        differs(self.is_ca != request.is_ca, "spec.isCA");
        differs(Usages::named(&request.usages, request.is_ca).as_ref() != Ok(&self.usages), "spec.usages");
        differs(!same_duration, "spec.duration");
        differs(!spec.issuer_ref.same(&request.issuer_ref), "spec.issuerRef");
        fields
    }

    /// The same, of what stands in a request or certificate itself.
    #[must_use]
    pub fn differs_in_names(&self, said: &read::Facts) -> Vec<&'static str> {
        let mut fields = Vec::new();
        let mut subject: Rdn = self.subject.iter().flatten().cloned().collect();
        subject.sort();
        if said.subject_attributes() != subject {
            let common = |rdn: &Rdn| rdn.iter().find(|(id, _)| Some(id.as_slice()) == name::id("CN")).cloned();
            let same_name = common(&said.subject_attributes()) == common(&subject);
            fields.push(if same_name { "spec.subject" } else { "spec.commonName" });
        }
        let differ = |one: &[String], other: &[String]| sorted(one) != sorted(other);
        if differ(&self.names.dns, &said.names.dns) {
            fields.push("spec.dnsNames");
        }
        if sorted(&self.names.ips) != sorted(&said.names.ips) {
            fields.push("spec.ipAddresses");
        }
        if differ(&self.names.uris, &said.names.uris) {
            fields.push("spec.uris");
        }
        if differ(&self.names.emails, &said.names.emails) {
            fields.push("spec.emailAddresses");
        }
        fields
    }

    /// Which fields of the spec a key is not as.
    #[must_use]
    pub fn key_differs(&self, key: Kind) -> Vec<&'static str> {
        let curve = |kind| matches!(kind, Kind::P256 | Kind::P384);
        match (self.key, key) {
            (wanted, found) if wanted == found => vec![],
            (Kind::Rsa(_), Kind::Rsa(_)) => vec!["spec.privateKey.size"],
            (wanted, found) if curve(wanted) && curve(found) => vec!["spec.privateKey.size"],
            _ => vec!["spec.privateKey.algorithm"],
        }
    }
}

fn sorted<T: Ord + Clone>(values: &[T]) -> Vec<T> {
    let mut values = values.to_vec();
    values.sort();
    values.dedup();
    values
}

/// A duration of at least an hour, or the default.
///
/// # Errors
/// When `text`, the value of `field`, is none.
pub fn duration(text: Option<&str>, field: &str) -> Result<SignedDuration, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(DEFAULT_DURATION) };
    let duration = base::time::duration(text).map_err(|fault| format!("{field}: {fault}"))?;
    if duration < SHORTEST {
        return Err(format!("{field}: Invalid value: {text:?}: certificate duration must be greater than 1h0m0s"));
    }
    Ok(duration)
}

fn key_kind(private: &PrivateKey) -> Result<Kind, String> {
    let refused = |size: i64, known: &str| {
        let algorithm = if private.algorithm.is_empty() { "RSA" } else { &private.algorithm };
        format!("spec.privateKey.size: {size} is not supported for {algorithm}; use {known}")
    };
    match (private.algorithm.as_str(), private.size.filter(|size| *size != 0)) {
        ("" | "RSA", size) => {
            let size = size.unwrap_or(2048);
            let bits = usize::try_from(size).ok().filter(|bits| (2048..=4096).contains(bits) && bits % 8 == 0);
            bits.map(Kind::Rsa).ok_or_else(|| refused(size, "2048 to 4096"))
        }
        ("ECDSA", None | Some(256)) => Ok(Kind::P256),
        ("ECDSA", Some(384)) => Ok(Kind::P384),
        ("ECDSA", Some(size)) => Err(refused(size, "256 or 384")),
        ("Ed25519", _) => Ok(Kind::Ed25519),
        (other, _) => Err(format!("spec.privateKey.algorithm: {other:?} is none of RSA, ECDSA, Ed25519")),
    }
}

fn names(spec: &CertificateSpec) -> Result<Names, String> {
    let count = spec.dns_names.len() + spec.ip_addresses.len() + spec.uris.len() + spec.email_addresses.len();
    if count > MOST_NAMES {
        return Err(format!("spec: {count} names are too many for one certificate; at most {MOST_NAMES}"));
    }
    let ascii = |field: &str, values: &[String]| -> Result<Vec<String>, String> {
        let mut kept = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            if value.is_empty() || value.bytes().any(|byte| !byte.is_ascii_graphic()) {
                return Err(format!(
                    "spec.{field}[{index}]: Invalid value: {value:?}: must be ASCII without blanks; write names in other letters as punycode (xn--)"
                ));
            }
            if !kept.contains(value) {
                kept.push(value.clone());
            }
        }
        Ok(kept)
    };
    let mut ips = Vec::with_capacity(spec.ip_addresses.len());
    for (index, text) in spec.ip_addresses.iter().enumerate() {
        let ip = text
            .parse()
            .map_err(|_| format!("spec.ipAddresses[{index}]: Invalid value: {text:?}: invalid IP address"))?;
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    let names = Names {
        dns: ascii("dnsNames", &spec.dns_names)?,
        ips,
        uris: ascii("uris", &spec.uris)?,
        emails: ascii("emailAddresses", &spec.email_addresses)?,
    };
    if let Some(wrong) = names.uris.iter().find(|uri| !uri.contains(':')) {
        return Err(format!("spec.uris: Invalid value: {wrong:?}: a URI has a scheme"));
    }
    if let Some(wrong) = names.emails.iter().find(|email| !email.contains('@')) {
        return Err(format!("spec.emailAddresses: Invalid value: {wrong:?}: an address has an @"));
    }
    Ok(names)
}

fn subject(spec: &CertificateSpec) -> Result<Vec<Rdn>, String> {
    if !spec.literal_subject.is_empty() {
        if !spec.common_name.is_empty() || spec.subject.is_some() {
            return Err(
                "spec.literalSubject: Invalid value: commonName and subject must not be set beside literalSubject"
                    .to_owned(),
            );
        }
        return name::parse(&spec.literal_subject).map_err(|fault| format!("spec.literalSubject: {fault}"));
    }
    if spec.common_name.chars().count() > 64 {
        return Err(format!(
            "spec.commonName: Too long: {:?}: may not be more than 64 bytes; put the name into dnsNames",
            spec.common_name
        ));
    }
    let subject = spec.subject.clone().unwrap_or_default();
    let common = std::slice::from_ref(&spec.common_name);
    let serial = std::slice::from_ref(&subject.serial_number);
    let all: [(&str, &[String]); 9] = [
        ("C", &subject.countries),
        ("O", &subject.organizations),
        ("OU", &subject.organizational_units),
        ("L", &subject.localities),
        ("ST", &subject.provinces),
        ("STREET", &subject.street_addresses),
        ("POSTALCODE", &subject.postal_codes),
        ("CN", common),
        ("SERIALNUMBER", serial),
    ];
    Ok(all.iter().filter_map(|(kind, values)| name::rdn(kind, values)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> CertificateSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_request_says_what_the_spec_says() {
        let spec = spec(
            r#"{"secretName": "s", "issuerRef": {"name": "i"}, "commonName": "web", "isCA": true,
                "subject": {"organizations": ["a", "b"], "countries": ["DE"]}, "usages": ["server auth", "cert sign"],
                "dnsNames": ["b.example", "a.example"], "ipAddresses": ["10.0.0.1", "::1"], "uris": ["spiffe://x/y"],
                "emailAddresses": ["a@b.example"], "duration": "2h", "privateKey": {"algorithm": "ECDSA"}}"#,
        );
        let wanted = Wanted::of(&spec).unwrap();
        let key = Key::generate(wanted.key).unwrap();
        let request = der::pem("CERTIFICATE REQUEST", &wanted.request(&key).unwrap());
        let mut sent = RequestSpec {
            duration: spec.duration.clone(),
            issuer_ref: spec.issuer_ref.clone(),
            request: request.into_bytes(),
            is_ca: true,
            usages: spec.usages.clone(),
        };
        assert_eq!(wanted.differs(&spec, &sent), Vec::<&str>::new());
        let said = read::request_pem(&sent.request).unwrap();
        assert_eq!((said.public.clone(), said.is_ca), (key.public(), true));
        sent.is_ca = false;
        sent.duration = None;
        assert_eq!(wanted.differs(&spec, &sent), ["spec.isCA", "spec.duration"]);
        let mut other = spec.clone();
        other.dns_names.reverse();
        assert_eq!(Wanted::of(&other).unwrap().differs_in_names(&said), Vec::<&str>::new());
        other.dns_names.pop();
        other.common_name = "else".to_owned();
        assert_eq!(Wanted::of(&other).unwrap().differs_in_names(&said), ["spec.commonName", "spec.dnsNames"]);
    }

    #[test]
    fn a_wrong_spec_is_told_by_its_field() {
        for (text, field) in [
            (r#"{}"#, "spec: at least one"),
            (r#"{"dnsNames": ["a b"]}"#, "spec.dnsNames[0]"),
            (r#"{"dnsNames": ["bücher.example"]}"#, "spec.dnsNames[0]"),
            (r#"{"ipAddresses": ["10.0.0"]}"#, "spec.ipAddresses[0]"),
            (r#"{"uris": ["x"]}"#, "spec.uris"),
            (r#"{"emailAddresses": ["x"]}"#, "spec.emailAddresses"),
            (r#"{"dnsNames": ["a"], "duration": "5m"}"#, "spec.duration"),
            (r#"{"dnsNames": ["a"], "duration": "1d"}"#, "spec.duration"),
            (r#"{"dnsNames": ["a"], "usages": ["flying"]}"#, "spec.usages"),
            (r#"{"dnsNames": ["a"], "privateKey": {"size": 1024}}"#, "spec.privateKey.size: 1024"),
            (r#"{"dnsNames": ["a"], "privateKey": {"size": 8192}}"#, "spec.privateKey.size: 8192"),
            (r#"{"dnsNames": ["a"], "privateKey": {"algorithm": "ECDSA", "size": 521}}"#, "spec.privateKey.size: 521"),
            (r#"{"dnsNames": ["a"], "commonName": "c", "literalSubject": "CN=x"}"#, "spec.literalSubject"),
        ] {
            let fault = Wanted::of(&spec(text)).unwrap_err();
            assert!(fault.starts_with(field), "{text}: {fault}");
        }
        let long = format!(r#"{{"commonName": "{}"}}"#, "x".repeat(65));
        assert!(Wanted::of(&spec(&long)).unwrap_err().starts_with("spec.commonName: Too long"));
    }
}
