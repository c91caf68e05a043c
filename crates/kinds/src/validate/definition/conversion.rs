//! The conversion of a definition: who turns one version into another.

use base::name;
use serde_json::Value;

use crate::error::FieldError;
use crate::json::{at, flag, has, int, list, text};
use crate::path::Path;
use crate::validate::Faults;
use crate::validate::admission::hook;

const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

pub(super) fn check(spec: &Value, path: &Path<'_>, old: Option<&Value>, faults: &mut Faults) {
    let conversion = at(spec, "conversion");
    if conversion.is_null() {
        return;
    }
    let strategy = text(conversion, "strategy");
    if strategy != "None" && flag(spec, "preserveUnknownFields") {
        let detail = "must be None if spec.preserveUnknownFields is true";
        faults.invalid(&path.field("strategy"), strategy, detail);
    }
    faults.one_of(conversion, "strategy", path, &["None", "Webhook"]);
    let webhook = at(conversion, "webhook");
    let (client, reviews) = (path.field("webhookClientConfig"), path.field("conversionReviewVersions"));
    if strategy == "Webhook" {
        client_config(at(webhook, "clientConfig"), &client, faults);
        authority(at(webhook, "clientConfig"), &client, old, faults);
        review_versions(webhook, &reviews, old, faults);
        return;
    }
    let detail = "should not be set when strategy is not set to Webhook";
    if has(webhook, "clientConfig") {
        faults.forbidden(&client, detail);
    }
    if !list(webhook, "conversionReviewVersions").is_empty() {
        faults.forbidden(&reviews, detail);
    }
}

fn client_config(config: &Value, path: &Path<'_>, faults: &mut Faults) {
    if config.is_null() {
        faults.required(path, "required when strategy is set to Webhook");
        return;
    }
    match (at(config, "url").as_str(), at(config, "service")) {
        (None, Value::Null) => faults.required(path, "exactly one of url or service is required"),
        (Some(address), Value::Null) => hook::address(address, &path.field("url"), faults),
        (None, held) => service(held, &path.field("service"), faults),
        (Some(_), _) => faults.required(path, "exactly one of url or service is required"),
    }
}

/// The authority of an established definition stays one that can be used.
fn authority(config: &Value, path: &Path<'_>, old: Option<&Value>, faults: &mut Faults) {
    let before = |old| text(crate::json::dig(old, &["spec", "conversion", "webhook", "clientConfig"]), "caBundle");
    let strict = old.is_some_and(|old| super::condition(old, "Established") && is_pem(before(old)));
    let bundle = text(config, "caBundle");
    if strict && !is_pem(bundle) {
        let detail = "unable to load root certificates: unable to parse bytes as PEM block";
        faults.invalid(&path.field("caBundle"), bundle, detail);
    }
}

/// Certificates in PEM behind base64, or nothing.
fn is_pem(bundle: &str) -> bool {
    let mut bytes = Vec::new();
    if crate::base64::fault(bundle).is_none() {
        crate::base64::decode_into(bundle.as_bytes(), &mut bytes);
    }
    let pem = String::from_utf8_lossy(&bytes);
    bundle.is_empty() || (pem.contains("-----BEGIN CERTIFICATE-----") && pem.contains("-----END CERTIFICATE-----"))
}

fn service(service: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(service, "name", path);
    faults.required_text(service, "namespace", path);
    let port = int(service, "port").unwrap_or(443);
    if let Err(reason) = name::port_number(port) {
        faults.invalid(&path.field("port"), port, format!("port is not valid: {reason}"));
    }
    hook::place(text(service, "path"), &path.field("path"), faults);
}

fn review_versions(webhook: &Value, path: &Path<'_>, old: Option<&Value>, faults: &mut Faults) {
    let versions = list(webhook, "conversionReviewVersions");
    if versions.is_empty() {
        faults.required(path, "");
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if versions[..index].contains(version) {
            faults.invalid(&path.index(index), name, "duplicate version");
        } else {
            faults.named(&path.index(index), name, name::dns1035_label);
        }
    }
    let known = |versions: &[Value]| versions.iter().any(|one| REVIEWS.iter().any(|known| one == known));
    let before = old.map(|old| at(at(at(old, "spec"), "conversion"), "webhook"));
    let before = before.map_or(&[][..], |webhook| list(webhook, "conversionReviewVersions"));
    if !known(versions) && (before.is_empty() || known(before)) {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        faults.push(FieldError::invalid(path, versions.to_vec(), detail));
    }
}
