//! Rules of `certificates.k8s.io`.

use serde_json::Value;

use super::{Case, Faults, IMMUTABLE, difference, signer};
use crate::json::{at, int, list, same, text};
use crate::path::Path;

pub(crate) mod pod;

const LEGACY: &str = "kubernetes.io/legacy-unknown";
/// Conditions that are never withdrawn.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn bytes(value: &Value, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::base64::decode_into(text(value, name).as_bytes(), &mut bytes);
    bytes
}

pub(crate) fn request(case: &Case<'_>, faults: &mut Faults) {
    common(case, faults);
    if case.old.is_some() {
        conditions_kept(case, faults);
        certificate_kept(case, false, faults);
    }
}

pub(crate) fn request_status(case: &Case<'_>, faults: &mut Faults) {
    common(case, faults);
    conditions_kept(case, faults);
    certificate_kept(case, true, faults);
}

pub(crate) fn approval(case: &Case<'_>, faults: &mut Faults) {
    common(case, faults);
    none_removed(case, faults);
    certificate_kept(case, false, faults);
}

fn common(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, old, path) = (case.spec(), at(case.old(), "spec"), root.field("spec"));
    if let Some(why) = request_fault(&bytes(spec, "request")) {
        faults.invalid(&path.field("request"), text(spec, "request"), why);
    }
    let (usages, above) = (list(spec, "usages"), path.field("usages"));
    if usages.is_empty() {
        faults.required(&above, "");
    }
    let unknown = |usage: &Value| !usage.as_str().is_some_and(|usage| USAGES.contains(&usage));
    let again = |usages: &[Value], index: usize| usages[..index].contains(&usages[index]);
    let before = list(old, "usages");
    if !before.iter().any(unknown) {
        for (index, usage) in usages.iter().enumerate().filter(|(_, usage)| unknown(usage)) {
            faults.not_supported(&above.index(index), usage.clone(), USAGES);
        }
    }
    if !(0..before.len()).any(|index| again(before, index)) {
        for index in (0..usages.len()).filter(|index| again(usages, *index)) {
            faults.duplicate(&above.index(index), usages[index].clone());
        }
    }
    let name = text(spec, "signerName");
    if name == LEGACY && text(old, "signerName") != LEGACY {
        let detail = "the legacy signerName is not allowed via this API version";
        faults.invalid(&path.field("signerName"), name, detail);
    } else {
        signer::check(name, &path.field("signerName"), faults);
    }
    if let Some(seconds) = int(spec, "expirationSeconds").filter(|seconds| *seconds < 600) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        faults.invalid(&path.field("expirationSeconds"), seconds, detail);
    }
    conditions(case, faults);
    let (now, before) = (bytes(at(case.new, "status"), "certificate"), bytes(at(case.old(), "status"), "certificate"));
    let tolerated = case.old.is_some() && (now == before || certificate_fault(&before).is_some());
    if let Some(why) = certificate_fault(&now).filter(|_| !tolerated) {
        faults.invalid(&root.field("status").field("certificate"), "<certificate data>", why);
    }
}

fn request_fault(text: &[u8]) -> Option<String> {
    let blocks = pki::inspect::pem_blocks(text);
    let Some(block) = blocks.first().filter(|block| block.label == "CERTIFICATE REQUEST") else {
        return Some("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    match pki::inspect::signing_request(&block.der) {
        None => Some("x509: malformed certificate request".to_owned()),
        Some(request) if !request.signed => Some("x509: signature of the request cannot be verified".to_owned()),
        Some(_) => None,
    }
}

fn certificate_fault(text: &[u8]) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let blocks = pki::inspect::pem_blocks(text);
    for block in &blocks {
        if block.label != "CERTIFICATE" {
            let label = crate::error::quote(&block.label);
            return Some(format!("only CERTIFICATE PEM blocks are allowed, found {label}"));
        }
        if block.headers {
            return Some("no PEM block headers are permitted".to_owned());
        }
        if block.der.is_empty() {
            return Some("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        if pki::inspect::certificate(&block.der).is_none() {
            return Some("x509: malformed certificate".to_owned());
        }
    }
    blocks.is_empty().then(|| "must contain at least one CERTIFICATE PEM block".to_owned())
}

fn conditions(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    let above = status.field("conditions");
    let of = |object| list(at(object, "status"), "conditions");
    let (now, before) = (of(case.new), of(case.old()));
    let kind = |condition: &Value| text(condition, "type").to_owned();
    let had = |wanted: &str| before.iter().any(|condition| text(condition, "type") == wanted);
    let empty_before = had("");
    let twice_before = (0..before.len()).any(|i| before[..i].iter().any(|other| kind(other) == kind(&before[i])));
    let both_before = had("Approved") && had("Denied");
    for (index, condition) in now.iter().enumerate() {
        let path = above.index(index);
        let this = text(condition, "type");
        if this.is_empty() && !empty_before {
            faults.required(&path.field("type"), "");
        }
        let allowed: &[&str] = if FINAL.contains(&this) { &["True"] } else { &["False", "True", "Unknown"] };
        faults.one_of(condition, "status", &path, allowed);
        let earlier = |wanted: &str| now[..index].iter().any(|other| text(other, "type") == wanted);
        let clash = (this == "Approved" && earlier("Denied")) || (this == "Denied" && earlier("Approved"));
        if clash && !both_before {
            faults.invalid(&above, this, "Approved and Denied conditions are mutually exclusive");
        }
        if earlier(this) && !twice_before {
            faults.duplicate(&path.field("type"), this);
        }
    }
}

fn of_type(object: &Value, wanted: &str) -> Vec<Value> {
    let conditions = list(at(object, "status"), "conditions").iter();
    conditions.filter(|condition| text(condition, "type") == wanted).cloned().collect()
}

fn none_removed(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    for kind in FINAL {
        if of_type(case.new, kind).len() < of_type(case.old(), kind).len() {
            let detail = format!("updates may not remove a condition of type \"{kind}\"");
            faults.forbidden(&status.field("conditions"), detail);
        }
    }
}

/// Only the subresource `approval` approves or denies.
fn conditions_kept(case: &Case<'_>, faults: &mut Faults) {
    none_removed(case, faults);
    let root = Path::Root;
    let status = root.field("status");
    for kind in &FINAL[..2] {
        let (old, new) = (of_type(case.old(), kind), of_type(case.new, kind));
        let detail = match new.len().cmp(&old.len()) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Greater => format!("updates may not add a condition of type \"{kind}\""),
            std::cmp::Ordering::Equal if same(&Value::from(old.clone()), &Value::from(new.clone())) => continue,
            std::cmp::Ordering::Equal => {
                let shown = difference::of(&Value::from(old), &Value::from(new));
                format!("updates may not modify a condition of type \"{kind}\"\n{shown}")
            }
        };
        faults.forbidden(&status.field("conditions"), detail);
    }
}

fn certificate_kept(case: &Case<'_>, may_set: bool, faults: &mut Faults) {
    let of = |object| text(at(object, "status"), "certificate");
    let (now, before) = (of(case.new), of(case.old()));
    if now == before {
        return;
    }
    let root = Path::Root;
    let status = root.field("status");
    if !may_set {
        faults.forbidden(&status.field("certificate"), "updates may not set certificate content");
    } else if !before.is_empty() {
        faults.forbidden(&status.field("certificate"), "updates may not modify existing certificate content");
    }
}

const LARGEST_BUNDLE: usize = 1024 * 1024;

pub(crate) fn trust_bundle(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, old, path) = (case.spec(), at(case.old(), "spec"), root.field("spec"));
    let name = text(spec, "signerName");
    if !name.is_empty() {
        signer::check(name, &path.field("signerName"), faults);
    }
    let bundle = text(spec, "trustBundle");
    if case.old.is_none() || text(old, "trustBundle") != bundle {
        roots(bundle, &path.field("trustBundle"), faults);
    }
    if case.old.is_some() && text(old, "signerName") != name {
        faults.invalid(&path.field("signerName"), name, IMMUTABLE);
    }
}

fn roots(bundle: &str, path: &Path<'_>, faults: &mut Faults) {
    const OMITTED: &str = "<value omitted>";
    if bundle.len() > LARGEST_BUNDLE {
        faults.too_long(path, LARGEST_BUNDLE);
        return;
    }
    let before = faults.list.len();
    let mut seen: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    for (index, block) in pki::inspect::pem_blocks(bundle.as_bytes()).into_iter().enumerate() {
        let certificate = pki::inspect::certificate(&block.der);
        let why = match &certificate {
            _ if block.label != "CERTIFICATE" => format!("has bad block type: {}", block.label),
            _ if block.headers => "has PEM block headers".to_owned(),
            None => "does not parse as X.509".to_owned(),
            Some(certificate) if !certificate.is_ca => "does not have the CA bit set".to_owned(),
            Some(certificate) if !certificate.constrained => "has invalid basic constraints".to_owned(),
            Some(_) => {
                match seen.iter_mut().find(|(der, _)| *der == block.der) {
                    Some((_, places)) => places.push(index),
                    None => seen.push((block.der, vec![index])),
                }
                continue;
            }
        };
        faults.invalid(path, OMITTED, format!("entry {index} {why}"));
    }
    if faults.list.len() > before {
        return;
    }
    if seen.is_empty() {
        faults.invalid(path, OMITTED, "at least one trust anchor must be provided");
    }
    for (_, places) in seen.iter().filter(|(_, places)| places.len() > 1) {
        let places: Vec<String> = places.iter().map(usize::to_string).collect();
        faults.invalid(path, OMITTED, format!("duplicate trust anchor (indices [{}])", places.join(" ")));
    }
}
