//! Rules of the volumes of a pod.

use base::{Quantity, name};
use serde_json::Value;

use super::{Faults, container};
use crate::json::{at, has, int, list, text};
use crate::path::Path;

/// The names of a pod's volumes.
pub(crate) struct Volumes<'v>(Vec<&'v str>);

impl<'v> Volumes<'v> {
    pub(crate) fn of(spec: &'v Value) -> Self {
        Self(list(spec, "volumes").iter().map(|volume| text(volume, "name")).collect())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
}

pub(crate) fn check<'v>(spec: &'v Value, path: &Path<'_>, faults: &mut Faults) -> Volumes<'v> {
    let above = path.field("volumes");
    let mut names: Vec<&str> = Vec::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = above.index(index);
        let name = text(volume, "name");
        faults.required_name(&path.field("name"), name, name::dns_label);
        if !name.is_empty() && names.contains(&name) {
            faults.duplicate(&path.field("name"), name);
        }
        names.push(name);
        source(volume, &path, faults);
    }
    Volumes(names)
}

fn source(volume: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut given =
        volume.as_object().into_iter().flatten().filter(|(name, value)| *name != "name" && !value.is_null());
    let Some((kind, value)) = given.next() else {
        faults.required(path, "must specify a volume type");
        return;
    };
    one_source(kind, value, &path.field(kind), faults);
    for (kind, _) in given {
        faults.forbidden(&path.field(kind), "may not specify more than 1 volume type");
    }
}

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

fn one_source(kind: &str, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match kind {
        "emptyDir" => {
            let limit = text(value, "sizeLimit").parse::<Quantity>().ok();
            if limit.is_some_and(|limit| limit.sign() < 0) {
                faults.forbidden(&path.field("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => host_path(value, path, faults),
        "configMap" => {
            faults.required_text(value, "name", path);
            files(value, path, faults);
        }
        "secret" => {
            faults.required_text(value, "secretName", path);
            files(value, path, faults);
        }
        "downwardAPI" => downward(value, path, faults),
        "projected" => projected(value, path, faults),
        "persistentVolumeClaim" => faults.required_text(value, "claimName", path),
        "nfs" => {
            faults.required_text(value, "server", path);
            let place = text(value, "path");
            if place.is_empty() {
                faults.required(&path.field("path"), "");
            } else if !place.starts_with('/') {
                faults.invalid(&path.field("path"), place, "must be an absolute path");
            }
        }
        "csi" => faults.required_text(value, "driver", path),
        "ephemeral" => {
            let template = path.field("volumeClaimTemplate");
            if at(value, "volumeClaimTemplate").is_null() {
                faults.required(&template, "");
            } else {
                let spec = at(at(value, "volumeClaimTemplate"), "spec");
                super::storage::claim_spec(spec, &template.field("spec"), faults);
            }
        }
        _ => {}
    }
}

fn host_path(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let place = text(value, "path");
    if place.is_empty() {
        faults.required(&path.field("path"), "");
    } else if place.split('/').any(|part| part == "..") {
        faults.invalid(&path.field("path"), place, "must not contain '..'");
    }
    let kind = text(value, "type");
    if !HOST_PATH_TYPES.contains(&kind) {
        faults.not_supported(&path.field("type"), kind, HOST_PATH_TYPES);
    }
}

fn mode(value: &Value, name: &str, path: &Path<'_>, faults: &mut Faults) {
    if let Some(mode) = int(value, name).filter(|mode| !(0..=0o777).contains(mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        faults.invalid(&path.field(name), mode, detail);
    }
}

/// Keys of a ConfigMap or Secret as files.
fn files(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    mode(value, "defaultMode", path, faults);
    let above = path.field("items");
    for (index, item) in list(value, "items").iter().enumerate() {
        let path = above.index(index);
        faults.required_text(item, "key", &path);
        file_path(item, &path, faults);
        mode(item, "mode", &path, faults);
    }
}

fn file_path(item: &Value, path: &Path<'_>, faults: &mut Faults) {
    let place = text(item, "path");
    if place.is_empty() {
        faults.required(&path.field("path"), "");
        return;
    }
    container::inner_path(place, &path.field("path"), faults);
    if place.starts_with("..") && !place.split('/').any(|part| part == "..") {
        faults.invalid(&path.field("path"), place, "must not start with '..'");
    }
}

const DOWNWARD_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

fn downward(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    mode(value, "defaultMode", path, faults);
    let above = path.field("items");
    for (index, item) in list(value, "items").iter().enumerate() {
        let path = above.index(index);
        file_path(item, &path, faults);
        mode(item, "mode", &path, faults);
        match (has(item, "fieldRef"), has(item, "resourceFieldRef")) {
            (true, true) => {
                faults.invalid(&path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
            (true, false) => {
                container::pod_field(at(item, "fieldRef"), DOWNWARD_FIELDS, &path.field("fieldRef"), faults);
            }
            (false, true) => {
                let path = path.field("resourceFieldRef");
                faults.required_text(at(item, "resourceFieldRef"), "containerName", &path);
                faults.required_text(at(item, "resourceFieldRef"), "resource", &path);
            }
            (false, false) => {
                faults.required(&path.field("fieldRef"), "one of fieldRef and resourceFieldRef is required")
            }
        }
    }
}

fn projected(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    mode(value, "defaultMode", path, faults);
    let above = path.field("sources");
    for (index, source) in list(value, "sources").iter().enumerate() {
        let path = above.index(index);
        let given: Vec<(&String, &Value)> =
            source.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).collect();
        if given.len() > 1 {
            faults.forbidden(&path, "may not specify more than 1 volume type");
        }
        let Some((kind, value)) = given.first() else {
            faults.required(&path, "must specify a volume type");
            continue;
        };
        let path = path.field(kind);
        match kind.as_str() {
            "configMap" | "secret" => {
                faults.required_text(value, "name", &path);
                files(value, &path, faults);
            }
            "downwardAPI" => downward(value, &path, faults),
            "serviceAccountToken" => {
                file_path(value, &path, faults);
                if let Some(seconds) = int(value, "expirationSeconds") {
                    if seconds < 600 {
                        let detail = "may not specify a duration less than 10 minutes";
                        faults.invalid(&path.field("expirationSeconds"), seconds, detail);
                    } else if seconds > 1 << 32 {
                        let detail = "may not specify a duration larger than 2^32 seconds";
                        faults.invalid(&path.field("expirationSeconds"), seconds, detail);
                    }
                }
            }
            _ => {}
        }
    }
}
