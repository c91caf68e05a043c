//! Rules of PodCertificateRequest.

use base::name;
use pki::inspect::{self, Key};
use serde_json::{Value, json};

use super::super::{Case, Faults, IMMUTABLE, condition, golang, meta, signer};
use super::bytes;
use crate::error::{Cause, FieldError};
use crate::json::{at, has, int, is_empty, list, same, text};
use crate::path::Path;

const LONGEST_UID: usize = 128;
const LARGEST_KEY: usize = 10 * 1024;
const LARGEST_CHAIN: usize = 100 * 1024;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

pub(crate) fn request(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    if let Some(old) = case.old {
        if !same(spec, at(old, "spec")) {
            faults.shown(&path, &golang::print("PodCertificateRequestSpec", spec), IMMUTABLE);
        }
        return;
    }
    let name = text(spec, "signerName");
    signer::check(name, &path.field("signerName"), faults);
    let annotations = "unverifiedUserAnnotations";
    meta::user_annotations(at(spec, annotations), &path.field(annotations), faults);
    for (name, uid) in [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")] {
        faults.named(&path.field(name), text(spec, name), name::dns_subdomain);
        if text(spec, uid).is_empty() {
            faults.invalid(&path.field(uid), "", "must not be empty");
        }
        if text(spec, uid).len() > LONGEST_UID {
            faults.too_long(&path.field(uid), LONGEST_UID);
        }
    }
    let on_seconds = path.field("maxExpirationSeconds");
    let Some(seconds) = int(spec, "maxExpirationSeconds") else {
        faults.required(&on_seconds, "must be set");
        return;
    };
    let longest = if signer::is_kubernetes(name) { DAY } else { 91 * DAY };
    if !(HOUR..=longest).contains(&seconds) {
        faults.invalid(&on_seconds, seconds, format!("must be in the range [{HOUR}, {longest}]"));
    }
    key(spec, &path, faults);
}

fn omitted(path: &Path<'_>, detail: &str, faults: &mut Faults) {
    faults.push(FieldError::new(Cause::Invalid, path, detail, None));
}

fn key(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let there = |name: &str| !text(spec, name).is_empty();
    let stub = "stubPKCS10Request";
    match (there(stub), there("pkixPublicKey"), there("proofOfPossession")) {
        (true, false, false) => stub_request(&bytes(spec, stub), &path.field(stub), faults),
        (false, true, true) => own_key(spec, path, faults),
        _ => {
            let detail = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
            omitted(path, detail, faults);
        }
    }
}

/// A bare key, and a signature over the uid of the pod as proof that the node has its private half.
fn own_key(spec: &Value, above: &Path<'_>, faults: &mut Faults) {
    let (der, proof) = (bytes(spec, "pkixPublicKey"), bytes(spec, "proofOfPossession"));
    let (on_key, on_proof) = (above.field("pkixPublicKey"), above.field("proofOfPossession"));
    for (bytes, path) in [(&der, &on_key), (&proof, &on_proof)] {
        if bytes.len() > LARGEST_KEY {
            faults.too_long(path, LARGEST_KEY);
            return;
        }
    }
    let shown = text(spec, "pkixPublicKey");
    match inspect::public_key(&der) {
        None => faults.invalid(&on_key, shown, "must be a valid PKIX-serialized public key"),
        Some(Key::Other) => faults.invalid(&on_key, shown, UNKNOWN_KEY),
        Some(kind) => {
            let before = faults.list.len();
            strength(&kind, "P256 or P384", &on_key, faults);
            if faults.list.len() == before && !pki::proves(&der, text(spec, "podUID").as_bytes(), &proof) {
                omitted(&on_proof, "could not verify proof-of-possession signature", faults);
            }
        }
    }
}

const UNKNOWN_KEY: &str = "unknown public key type; supported types are Ed25519, ECDSA, and RSA";

fn stub_request(der: &[u8], path: &Path<'_>, faults: &mut Faults) {
    if der.len() > LARGEST_KEY {
        faults.too_long(path, LARGEST_KEY);
        return;
    }
    let Some(request) = inspect::signing_request(der) else {
        omitted(path, "must be a valid PKCS#10 CSR", faults);
        return;
    };
    let before = faults.list.len();
    strength(&request.kind, "P256, P384, or P521", path, faults);
    if faults.list.len() == before && !request.signed {
        omitted(path, "invalid signature", faults);
    }
}

fn strength(kind: &Key, curves: &str, path: &Path<'_>, faults: &mut Faults) {
    match kind {
        Key::Ed25519 | Key::Ecdsa("P-256" | "P-384" | "P-521") | Key::Rsa(3072 | 4096) => {}
        Key::Ecdsa(curve) => {
            let detail = format!("elliptic public keys must use curve {curves}");
            faults.invalid(path, format!("curve {curve}"), detail);
        }
        Key::Rsa(bits) => {
            let detail = "RSA keys must have modulus size 3072 or 4096";
            faults.invalid(path, format!("{bits}-bit modulus"), detail);
        }
        Key::Other => omitted(path, UNKNOWN_KEY, faults),
    }
}

const DECISIONS: [&str; 3] = ["Issued", "Denied", "Failed"];

fn decided(object: &Value, by: &[&str]) -> bool {
    by.iter().any(|kind| condition::is_true(at(object, "status"), kind))
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    if !faults.list.is_empty() {
        return;
    }
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    let above = path.field("conditions");
    let mut known = 0;
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        // Upstream writes the index as a field of its own.
        let number = format!("[{index}]");
        let path = above.field(&number);
        let kind = text(condition, "type");
        if !DECISIONS.contains(&kind) {
            faults.not_supported(&path.field("type"), kind, &DECISIONS);
            continue;
        }
        known += 1;
        if known > 1 {
            let detail = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            faults.invalid(&path.field("type"), kind, detail);
        }
        if text(condition, "status") != "True" {
            faults.not_supported(&path.field("status"), text(condition, "status"), &["True"]);
        }
    }
    condition::list_of(status, &path, faults);
    if !faults.list.is_empty() {
        return;
    }
    let unchanged = same(status, at(case.old(), "status"));
    if decided(case.old(), &DECISIONS) {
        if !unchanged {
            let detail = "immutable after PodCertificateRequest is issued, denied, or failed";
            omitted(&path, detail, faults);
        }
    } else if decided(case.new, &DECISIONS[1..]) {
        if !same(status, &json!({"conditions": at(status, "conditions")})) {
            let detail = "non-condition status fields must be empty when denying or failing the PodCertificateRequest";
            omitted(&path, detail, faults);
        }
    } else if decided(case.new, &DECISIONS[..1]) {
        issued(case, status, &path, faults);
    } else if !unchanged {
        let detail = "status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"";
        omitted(&path, detail, faults);
    }
}

fn issued(case: &Case<'_>, status: &Value, path: &Path<'_>, faults: &mut Faults) {
    let chain = text(status, "certificateChain");
    let on_chain = path.field("certificateChain");
    if chain.len() > LARGEST_CHAIN {
        faults.too_long(&on_chain, LARGEST_CHAIN);
        return;
    }
    let blocks = inspect::pem_blocks(chain.as_bytes());
    let leaf = blocks.first().and_then(|block| inspect::certificate(&block.der));
    let wrong = match (blocks.first(), &leaf) {
        (None, _) => Some("issued certificate chain must contain at least one certificate"),
        (Some(block), _) if block.label != "CERTIFICATE" => {
            Some("issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
        }
        (Some(_), None) => Some("leaf certificate does not parse as valid X.509"),
        (Some(_), Some(leaf)) => {
            let spec = at(case.old(), "spec");
            let stub = inspect::signing_request(&bytes(spec, "stubPKCS10Request")).map(|request| request.key);
            let key = stub.unwrap_or_else(|| bytes(spec, "pkixPublicKey"));
            (key != leaf.key).then_some("leaf certificate was not issued to the requested public key")
        }
    };
    if let Some(wrong) = wrong {
        faults.invalid(&on_chain, chain, wrong);
        return;
    }
    let certificate = "must be present and consistent with the issued certificate";
    let range = "must be present and in the range [notbefore+10min, notafter-10min]";
    for (name, detail) in [("notBefore", certificate), ("notAfter", certificate), ("beginRefreshAt", range)] {
        if !has(status, name) || is_empty(at(status, name)) {
            faults.required(&path.field(name), detail);
        }
    }
}
