//! Certificates for Ingresses and Gateways that ask for them by annotation.
//!
//! Invariant: a Certificate that the Ingress or Gateway does not control is never changed. What others changed in a field
//! that no annotation speaks of stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Note;
use crate::api::{Certificate, CertificateSpec, IssuerRef, PrivateKey, Subject, document};

/// An Ingress or a Gateway, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "named as in objects")]
pub struct Front {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub annotations: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Whether it is going away.
    pub deleted: bool,
    /// Secrets and the hosts they are for, in order.
    pub wants: Vec<(String, Vec<String>)>,
    /// Every Secret it mentions: the Certificates of these stay.
    pub mentions: Vec<String>,
    /// What is wrong with parts of it; those are left out of `wants`.
    pub faults: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the Certificate.
    Create(Value),
    /// Change the Certificate by a merge patch.
    Update(String, Value),
    /// Delete the Certificate.
    Delete(String),
}

/// What annotations mean when they name no issuer, or ours.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// The ClusterIssuer of the cluster's own authority: `kubernetes.io/tls-acme` means it, and keys for it are ECDSA
    /// unless an annotation says otherwise.
    pub own_issuer: String,
}

const PREFIX: &str = "cert-manager.io/";
/// Fields of a Certificate's spec that the shim sets.
const MANAGED: &[&str] = &[
    "secretName",
    "issuerRef",
    "commonName",
    "subject",
    "dnsNames",
    "ipAddresses",
    "emailAddresses",
    "duration",
    "renewBefore",
    "renewBeforePercentage",
    "usages",
    "privateKey",
    "revisionHistoryLimit",
    "secretTemplate",
];

/// Decides what is next, and what to tell of it. `existing` are all Certificates of the namespace.
#[must_use]
pub fn plan(front: &Front, existing: &[Arc<Certificate>], defaults: &Defaults) -> (Vec<Action>, Vec<Note>) {
    let (mut actions, mut notes) = (Vec::new(), Vec::new());
    let owned = |one: &Certificate| crate::api::controller(one).is_some_and(|owner| owner.uid == front.uid);
    if front.deleted {
        return (actions, notes);
    }
    let issuer = match issuer(front, defaults) {
        Ok(issuer) => issuer,
        Err(fault) => {
            notes.push(Note::warning("BadConfig", fault));
            return (actions, notes);
        }
    };
    let Some(issuer) = issuer else { return (actions, notes) };
    notes.extend(front.faults.iter().map(|fault| Note::warning("BadConfig", fault.clone())));
    for (secret, hosts) in &front.wants {
        let spec = match spec(front, secret, hosts, &issuer, defaults) {
            Ok(spec) => spec,
            Err(fault) => {
                notes.push(Note::warning("BadConfig", fault));
                return (actions, notes);
            }
        };
        let known = existing.iter().find(|one| one.metadata.name.as_deref() == Some(secret));
        match known {
            None => {
                notes.push(Note::normal("CreateCertificate", format!("Successfully created Certificate {secret:?}")));
                actions.push(Action::Create(certificate(front, secret, &spec)));
            }
            Some(known) if !owned(known) => {
                let message = format!(
                    "certificate resource {secret:?} is not owned by this {}; refusing to update it. Name another secretName, or delete the Certificate",
                    front.kind
                );
                notes.push(Note::warning("BadConfig", message));
            }
            Some(known) => {
                if let Some(patch) = difference(front, known, &spec) {
                    notes.push(Note::normal(
                        "UpdateCertificate",
                        format!("Successfully updated Certificate {secret:?}"),
                    ));
                    actions.push(Action::Update(secret.clone(), patch));
                }
            }
        }
    }
    for one in existing.iter().filter(|one| owned(one)) {
        if !front.mentions.contains(&one.spec.secret_name) {
            let name = one.metadata.name.clone().unwrap_or_default();
            notes.push(Note::normal(
                "DeleteCertificate",
                format!("Successfully deleted unrequired Certificate {name:?}"),
            ));
            actions.push(Action::Delete(name));
        }
    }
    (actions, notes)
}

fn certificate(front: &Front, secret: &str, spec: &CertificateSpec) -> Value {
    let metadata = json!({
        "name": secret, "namespace": front.namespace, "labels": front.labels,
        "ownerReferences": [{
            "apiVersion": front.api_version, "kind": front.kind, "name": front.name, "uid": front.uid,
            "controller": true, "blockOwnerDeletion": true,
        }],
    });
    document::<Certificate>(metadata, spec)
}

/// A merge patch that makes `known` what is wanted.
fn difference(front: &Front, known: &Certificate, spec: &CertificateSpec) -> Option<Value> {
    let (wanted, has) = (serde_json::to_value(spec).ok()?, serde_json::to_value(&known.spec).ok()?);
    let mut changed = Map::new();
    for field in MANAGED {
        let (wanted, has) = (wanted.get(field), has.get(field));
        if wanted != has {
            // a merge patch goes into objects: what is no longer wanted in there must be named
            let mut value = wanted.cloned().unwrap_or(Value::Null);
            if let (Value::Object(new), Some(Value::Object(old))) = (&mut value, has) {
                for gone in old.keys().filter(|key| !new.contains_key(*key)).cloned().collect::<Vec<_>>() {
                    new.insert(gone, Value::Null);
                }
            }
            changed.insert((*field).to_owned(), value);
        }
    }
    let labels = known.metadata.labels.clone().unwrap_or_default() != front.labels;
    if changed.is_empty() && !labels {
        return None;
    }
    let mut patch = json!({ "spec": changed });
    if labels {
        let old = known.metadata.labels.iter().flatten().map(|(name, _)| (name.clone(), Value::Null));
        let mut all: Map<String, Value> = old.collect();
        all.extend(front.labels.iter().map(|(name, value)| (name.clone(), json!(value))));
        patch["metadata"] = json!({ "labels": all });
    }
    Some(patch)
}

fn issuer(front: &Front, defaults: &Defaults) -> Result<Option<IssuerRef>, String> {
    let get = |name: &str| front.annotations.get(&format!("{PREFIX}{name}")).filter(|value| !value.is_empty());
    let group = get("issuer-group").cloned().unwrap_or_default();
    match (get("issuer"), get("cluster-issuer")) {
        (Some(_), Some(_)) => {
            Err("both cert-manager.io/issuer and cert-manager.io/cluster-issuer are set; remove one".to_owned())
        }
        (Some(_), None) if get("issuer-kind").is_some_and(|kind| kind == "ClusterIssuer") => {
            Err("cert-manager.io/issuer-kind: use cert-manager.io/cluster-issuer for a ClusterIssuer".to_owned())
        }
        (Some(name), None) => {
            let kind = get("issuer-kind").cloned().unwrap_or_else(|| "Issuer".to_owned());
            Ok(Some(IssuerRef { name: name.clone(), kind, group: or_ours(group) }))
        }
        (None, Some(name)) => {
            Ok(Some(IssuerRef { name: name.clone(), kind: "ClusterIssuer".to_owned(), group: or_ours(group) }))
        }
        (None, None) => {
            let asked = front.annotations.get("kubernetes.io/tls-acme").is_some_and(|value| value == "true");
            let own = IssuerRef {
                name: defaults.own_issuer.clone(),
                kind: "ClusterIssuer".to_owned(),
                group: or_ours(String::new()),
            };
            Ok(asked.then_some(own))
        }
    }
}

fn or_ours(group: String) -> String {
    if group.is_empty() { crate::api::GROUP.to_owned() } else { group }
}

fn spec(
    front: &Front,
    secret: &str,
    hosts: &[String],
    issuer: &IssuerRef,
    defaults: &Defaults,
) -> Result<CertificateSpec, String> {
    let (ips, names): (Vec<String>, Vec<String>) =
        hosts.iter().cloned().partition(|host| host.parse::<std::net::IpAddr>().is_ok());
    let mut spec = CertificateSpec {
        secret_name: secret.to_owned(),
        issuer_ref: issuer.clone(),
        dns_names: names,
        ip_addresses: ips,
        usages: crate::x509::usage::DEFAULT.map(str::to_owned).to_vec(),
        ..CertificateSpec::default()
    };
    let own = issuer.kind == "ClusterIssuer" && issuer.name == defaults.own_issuer && issuer.is_ours();
    let mut key = PrivateKey::default();
    if own {
        (key.algorithm, key.size) = ("ECDSA".to_owned(), Some(256));
    }
    let mut subject = Subject::default();
    for (name, value) in &front.annotations {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        let list =
            || value.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect::<Vec<_>>();
        let bad = |why: &dyn std::fmt::Display| format!("failed to parse annotation {PREFIX}{name} ({value:?}): {why}");
        let span = || base::time::duration(value).map(|_| Some(value.clone())).map_err(|fault| bad(&fault));
        match name {
            "common-name" => spec.common_name.clone_from(value),
            "email-sans" => spec.email_addresses = list(),
            "duration" => spec.duration = span()?,
            "renew-before" => spec.renew_before = span()?,
            "renew-before-percentage" => {
                spec.renew_before_percentage = Some(value.parse().map_err(|fault| bad(&fault))?)
            }
            "usages" => spec.usages = list(),
            "revision-history-limit" => {
                let limit: i32 = value.parse().map_err(|fault| bad(&fault))?;
                spec.revision_history_limit =
                    Some(if limit > 0 { limit } else { return Err(bad(&"must be 1 or more")) });
            }
            "secret-template" => spec.secret_template = Some(serde_json::from_str(value).map_err(|fault| bad(&fault))?),
            "private-key-algorithm" => {
                key.algorithm.clone_from(value);
                key.size = key.size.filter(|_| value == "ECDSA");
            }
            "private-key-encoding" => key.encoding.clone_from(value),
            "private-key-size" => key.size = Some(value.parse().map_err(|fault| bad(&fault))?),
            "private-key-rotation-policy" => key.rotation_policy.clone_from(value),
            "subject-organizations" => subject.organizations = list(),
            "subject-organizationalunits" => subject.organizational_units = list(),
            "subject-countries" => subject.countries = list(),
            "subject-provinces" => subject.provinces = list(),
            "subject-localities" => subject.localities = list(),
            "subject-streetaddresses" => subject.street_addresses = list(),
            "subject-postalcodes" => subject.postal_codes = list(),
            "subject-serialnumber" => subject.serial_number.clone_from(value),
            _ => {}
        }
    }
    spec.private_key = (key != PrivateKey::default()).then_some(key);
    spec.subject = (subject != Subject::default()).then_some(subject);
    crate::x509::request::Wanted::of(&spec)
        .map_err(|fault| format!("annotations of {} {:?}: {fault}", front.kind, front.name))?;
    Ok(spec)
}

/// What the `spec.tls` of an Ingress wants.
pub fn ingress_wants(front: &mut Front, tls: &[(String, Vec<String>)]) {
    for (index, (secret, hosts)) in tls.iter().enumerate() {
        if secret.is_empty() {
            front.faults.push(format!("Skipped a TLS block: spec.tls[{index}].secretName: Required value"));
        } else if hosts.is_empty() {
            front.faults.push(format!("Skipped a TLS block: spec.tls[{index}].hosts: Required value"));
            front.mentions.push(secret.clone());
        } else if front.wants.iter().any(|(known, _)| known == secret) {
            let fault = format!(
                "Secret name {secret:?} in invalid as it is used multiple times: spec.tls[{index}].secretName: Invalid value; name another"
            );
            front.faults.push(fault);
        } else {
            front.mentions.push(secret.clone());
            front.wants.push((secret.clone(), hosts.clone()));
        }
    }
}

/// What the `spec.listeners` of a Gateway want.
pub fn gateway_wants(front: &mut Front, spec: &Value) {
    let empty = Vec::new();
    for (index, listener) in spec["listeners"].as_array().unwrap_or(&empty).iter().enumerate() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let protocol = text(&listener["protocol"]);
        if !matches!(protocol.as_str(), "HTTPS" | "TLS") {
            continue;
        }
        let skipped =
            |field: &str, why: &str| format!("Skipped a listener block: spec.listeners[{index}].{field}: {why}");
        let host = text(&listener["hostname"]);
        let references = listener["tls"]["certificateRefs"].as_array().unwrap_or(&empty);
        match listener["tls"]["mode"].as_str() {
            None | Some("Terminate") => {}
            Some(_) => {
                front
                    .faults
                    .push(skipped("tls.mode", "Unsupported value: \"Passthrough\": supported values: \"Terminate\""));
                continue;
            }
        }
        if host.is_empty() {
            front.faults.push(skipped("hostname", "Required value: the hostname cannot be empty"));
            continue;
        }
        if references.is_empty() {
            front.faults.push(skipped("tls.certificateRef", "Required value: listener has no certificateRefs"));
        }
        for reference in references {
            let group = text(&reference["group"]);
            let (kind, namespace) = (text(&reference["kind"]), text(&reference["namespace"]));
            let elsewhere = !namespace.is_empty() && namespace != front.namespace;
            if !matches!(group.as_str(), "" | "core") || !matches!(kind.as_str(), "" | "Secret") || elsewhere {
                let fault = skipped("tls.certificateRef", "Invalid value: only Secrets of the Gateway's own namespace");
                front.faults.push(fault);
                continue;
            }
            let secret = text(&reference["name"]);
            front.mentions.push(secret.clone());
            match front.wants.iter_mut().find(|(known, _)| *known == secret) {
                Some((_, hosts)) if !hosts.contains(&host) => hosts.push(host.clone()),
                Some(_) => {}
                None => front.wants.push((secret, vec![host.clone()])),
            }
        }
    }
}

#[cfg(test)]
mod tests;
