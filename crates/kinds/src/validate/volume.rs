//! Rules of the volumes of a pod.

use base::name;
use serde_json::Value;

use super::pod::Context;
use super::source::{self, Place};
use super::{Faults, environment, meta, persistent, resources, signer};
use crate::json::{at, has, int, list, text};
use crate::path::Path;

/// The volumes of a pod that have no faults of their own: only they can be mounted.
#[derive(Default)]
pub(crate) struct Volumes<'v>(Vec<(&'v str, &'v Value)>);

impl<'v> Volumes<'v> {
    pub(crate) fn get(&self, name: &str) -> Option<&'v Value> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, volume)| *volume)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A volume that comes from somewhere else (claim templates of a StatefulSet).
    pub(crate) fn add(&mut self, name: &'v str, volume: &'v Value) {
        self.0.push((name, volume));
    }
}

pub(crate) fn check<'v>(context: &Context<'v>, path: &Path<'_>, faults: &mut Faults) -> Volumes<'v> {
    let above = path.field("volumes");
    let mut good = Volumes::default();
    let pod = context.meta.map_or("", |meta| text(meta, "name"));
    let volumes = context.volumes();
    for (index, volume) in volumes.iter().copied().enumerate() {
        let path = above.index(index);
        let name = text(volume, "name");
        let before = faults.list.len();
        sources(context, volume, pod, &path, faults);
        faults.required_name(&path.field("name"), name, name::dns_label);
        if good.has(name) {
            faults.duplicate(&path.field("name"), name);
        }
        if faults.list.len() == before {
            good.add(name, volume);
        }
        let claim = text(at(volume, "persistentVolumeClaim"), "claimName");
        let made = |other: &&Value| has(other, "ephemeral") && claim == format!("{pod}-{}", text(other, "name"));
        if !claim.is_empty() && !pod.is_empty() && volumes.iter().any(made) {
            let on_claim = path.field("persistentVolumeClaim");
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            faults.invalid(&on_claim.field("claimName"), claim, detail);
        }
    }
    good
}

fn sources(context: &Context<'_>, volume: &Value, pod: &str, path: &Path<'_>, faults: &mut Faults) {
    let place = Place { persistent: false, name: text(volume, "name") };
    let mut found = false;
    for row in source::OF_POD.iter().filter(|row| has(volume, row.field)) {
        let value = at(volume, row.field);
        if found {
            faults.forbidden(&path.field(row.extra), "may not specify more than 1 volume type");
        } else {
            own(context, row.field, value, &path.field(row.own), faults);
            source::check(row.field, value, place, &path.field(row.own), faults);
            if row.field == "ephemeral" && !pod.is_empty() && !place.name.is_empty() {
                let claim = format!("{pod}-{}", place.name);
                for reason in name::dns_subdomain(&claim).err().into_iter().flatten() {
                    let detail = format!("PVC name {}: {reason}", crate::error::quote(&claim));
                    faults.invalid(&path.field("name"), place.name, detail);
                }
            }
        }
        if row.field == "iscsi" {
            source::crowded_portal(volume, path, faults);
        }
        found = true;
    }
    if !found {
        faults.required(path, "must specify a volume type");
    }
}

/// Sources that only pods have.
fn own(context: &Context<'_>, kind: &str, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match kind {
        "emptyDir" if resources::quantity(at(value, "sizeLimit")).is_some_and(|limit| limit.sign() < 0) => {
            faults.forbidden(&path.field("sizeLimit"), "SizeLimit field must be a valid resource quantity");
        }
        "configMap" => {
            faults.required_text(value, "name", path);
            mode(value, "defaultMode", path, faults);
            items(value, &path.field("items"), faults);
        }
        "secret" => {
            faults.required_text(value, "secretName", path);
            mode(value, "defaultMode", path, faults);
            items(value, &path.field("items"), faults);
        }
        "downwardAPI" => {
            mode(value, "defaultMode", path, faults);
            for file in list(value, "items") {
                downward_file(file, path, faults);
            }
        }
        "projected" => {
            mode(value, "defaultMode", path, faults);
            projected(context, value, path, faults);
        }
        "ephemeral" => {
            let (template, path) = (at(value, "volumeClaimTemplate"), path.field("volumeClaimTemplate"));
            if template.is_null() {
                faults.required(&path, "");
            } else {
                meta::template(at(template, "metadata"), &path.field("metadata"), faults);
                persistent::claim_spec(
                    at(template, "spec"),
                    persistent::Lenience::default(),
                    &path.field("spec"),
                    faults,
                );
            }
        }
        "image" => {
            if context.pod {
                faults.required_text(value, "reference", path);
            }
            faults.one_of(value, "pullPolicy", path, super::container::PULL_POLICIES);
        }
        _ => {}
    }
}

fn mode(value: &Value, name: &str, path: &Path<'_>, faults: &mut Faults) {
    if let Some(mode) = int(value, name).filter(|mode| !(0..=0o777).contains(mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        faults.invalid(&path.field(name), mode, detail);
    }
}

/// Keys of a ConfigMap or Secret as files.
fn items(value: &Value, above: &Path<'_>, faults: &mut Faults) {
    for (index, item) in list(value, "items").iter().enumerate() {
        let path = above.index(index);
        faults.required_text(item, "key", &path);
        faults.required_text(item, "path", &path);
        source::not_reserved(text(item, "path"), &path.field("path"), faults);
        mode(item, "mode", &path, faults);
    }
}

const DOWNWARD_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

fn downward_file(file: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(file, "path", path);
    source::not_reserved(text(file, "path"), &path.field("path"), faults);
    match (at(file, "fieldRef"), at(file, "resourceFieldRef")) {
        (Value::Null, Value::Null) => faults.required(path, "one of fieldRef and resourceFieldRef is required"),
        (Value::Null, of_resource) => {
            environment::resource_field(of_resource, true, &path.field("resourceFieldRef"), faults);
        }
        (of_pod, of_resource) => {
            environment::pod_field(of_pod, DOWNWARD_FIELDS, &path.field("fieldRef"), faults);
            if !of_resource.is_null() {
                faults.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        }
    }
    mode(file, "mode", path, faults);
}

/// The files of a projected volume, no two of which may have one path.
struct Files<'v>(Vec<&'v str>);

impl<'v> Files<'v> {
    fn add(&mut self, file: &'v str, shown: &str, path: &Path<'_>, faults: &mut Faults) {
        if self.0.contains(&file) {
            faults.invalid(path, shown, "conflicting duplicate paths");
        } else {
            self.0.push(file);
        }
    }
}

fn projected(context: &Context<'_>, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("sources");
    let mut files = Files(Vec::new());
    for (index, source) in list(value, "sources").iter().enumerate() {
        let place = above.index(index);
        let mut count = 0;
        for kind in
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"]
        {
            let value = at(source, kind);
            if value.is_null() {
                continue;
            }
            count += 1;
            let own = place.field(kind);
            match kind {
                "secret" | "configMap" => {
                    faults.required_text(value, "name", &own);
                    items(value, &own.field("items"), faults);
                    for file in list(value, "items").iter().map(|item| text(item, "path")).filter(|p| !p.is_empty()) {
                        files.add(file, text(value, "name"), path, faults);
                    }
                }
                "downwardAPI" => {
                    for item in list(value, "items") {
                        downward_file(item, &own, faults);
                        let file = text(item, "path");
                        if !file.is_empty() {
                            files.add(file, file, path, faults);
                        }
                    }
                }
                "serviceAccountToken" => account_token(context, value, &own, path, faults),
                "clusterTrustBundle" => {
                    trust_bundle(value, &own, faults);
                    files.add(text(value, "path"), text(value, "path"), path, faults);
                }
                _ => certificate(value, &own, path, &mut files, faults),
            }
        }
        if count > 1 {
            faults.forbidden(&place, "may not specify more than 1 volume type per source");
        }
    }
}

fn account_token(context: &Context<'_>, value: &Value, own: &Path<'_>, path: &Path<'_>, faults: &mut Faults) {
    let seconds = int(value, "expirationSeconds").unwrap_or(0);
    let on_seconds = own.field("expirationSeconds");
    if seconds < 600 {
        faults.invalid(&on_seconds, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        faults.invalid(&on_seconds, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    // Upstream names the path of the volume here.
    match text(value, "path") {
        "" => faults.required(&path.field("path"), ""),
        file if !context.lenient.token_path => source::not_reserved(file, &path.field("path"), faults),
        _ => {}
    }
}

/// Whether a token's path leads out of its volume.
pub(crate) fn has_odd_token_path(spec: &Value) -> bool {
    list(spec, "volumes")
        .iter()
        .flat_map(|volume| list(at(volume, "projected"), "sources"))
        .map(|source| text(at(source, "serviceAccountToken"), "path"))
        .any(|file| source::has_backsteps(file) || file.starts_with('/') || file.starts_with(".."))
}

fn trust_bundle(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match (at(value, "name").as_str(), at(value, "signerName").as_str()) {
        (Some(_), Some(_)) => {
            let shown = super::go(&[
                ("Name", at(value, "name").clone()),
                ("SignerName", at(value, "signerName").clone()),
                ("LabelSelector", at(value, "labelSelector").clone()),
                ("Optional", at(value, "optional").clone()),
                ("Path", text(value, "path").into()),
            ]);
            faults.shown(path, &shown, "only one of name and signerName may be used");
        }
        (Some(bundle), None) => {
            if bundle.is_empty() {
                faults.required(&path.field("name"), "must be a valid object name");
            }
            for reason in signer::bundle_name(&signer::of_bundle(bundle), bundle).err().into_iter().flatten() {
                faults.invalid(&path.field("name"), bundle, format!("not a valid clustertrustbundlename: {reason}"));
            }
            if has(value, "labelSelector") {
                let detail = "labelSelector must be unset if name is specified";
                faults.invalid(&path.field("labelSelector"), at(value, "labelSelector").clone(), detail);
            }
        }
        (None, Some(own)) => {
            if own.is_empty() {
                faults.required(&path.field("signerName"), "must be a valid signer name");
            }
            signer::check(own, &path.field("signerName"), faults);
            meta::selector(at(value, "labelSelector"), &path.field("labelSelector"), faults);
        }
        (None, None) => faults.required(path, "either name or signerName must be specified"),
    }
    faults.required_text(value, "path", path);
    source::not_reserved(text(value, "path"), &path.field("path"), faults);
}

const KEY_TYPES: &[&str] = &["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];

fn certificate<'v>(value: &'v Value, own: &Path<'_>, path: &Path<'_>, files: &mut Files<'v>, faults: &mut Faults) {
    let signed_by = text(value, "signerName");
    signer::check(signed_by, &own.field("signerName"), faults);
    meta::user_annotations(at(value, "userAnnotations"), &own.field("userAnnotations"), faults);
    let key = text(value, "keyType");
    if !KEY_TYPES.contains(&key) {
        faults.not_supported(&own.field("keyType"), key, KEY_TYPES);
    }
    if let Some(seconds) = int(value, "maxExpirationSeconds") {
        let path = own.field("maxExpirationSeconds");
        let most = if signer::is_kubernetes(signed_by) { 86_400 } else { 91 * 86_400 };
        if seconds < 3600 {
            faults.invalid(&path, seconds, "if provided, maxExpirationSeconds must be >= 3600");
        }
        if seconds > most {
            faults.invalid(&path, seconds, format!("if provided, maxExpirationSeconds must be <= {most}"));
        }
    }
    let mut count = 0;
    for name in ["credentialBundlePath", "keyPath", "certificateChainPath"] {
        let file = text(value, name);
        if !file.is_empty() {
            count += 1;
            source::not_reserved(file, &own.field(name), faults);
            files.add(file, file, path, faults);
        }
    }
    if count == 0 {
        faults.required(own, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
    }
}
