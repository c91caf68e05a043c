//! Sources of storage, which pods and persistent volumes share.
//!
//! Invariant: the sources are tried in upstream's order and only the first one is looked into; where upstream's path for
//! a source is not its name, the row says so. What differs in persistent volumes is told by `Place`.

use std::sync::OnceLock;

use base::name::{self, range_message};
use regex::Regex;
use serde_json::Value;

use super::Faults;
use crate::json::{at, flag, has, int, list, members, text};
use crate::path::Path;

/// Where a source stands.
#[derive(Clone, Copy)]
pub(crate) struct Place<'v> {
    /// In a persistent volume.
    pub persistent: bool,
    /// The name of the volume.
    pub name: &'v str,
}

/// One kind of source.
pub(crate) struct Row {
    pub field: &'static str,
    /// Its name in the path of a complaint that there is more than one.
    pub extra: &'static str,
    /// Its name in the paths of all other complaints.
    pub own: &'static str,
}

const fn row(field: &'static str) -> Row {
    Row { field, extra: field, own: field }
}

/// The sources of a pod's volumes but `emptyDir`, which is first.
pub(crate) static OF_POD: &[Row] = &[
    row("emptyDir"),
    row("hostPath"),
    row("gitRepo"),
    Row { field: "gcePersistentDisk", extra: "gcePersistentDisk", own: "persistentDisk" },
    row("awsElasticBlockStore"),
    row("secret"),
    row("nfs"),
    row("iscsi"),
    row("glusterfs"),
    row("flocker"),
    row("persistentVolumeClaim"),
    row("rbd"),
    row("cinder"),
    Row { field: "cephfs", extra: "cephFS", own: "cephfs" },
    row("quobyte"),
    Row { field: "downwardAPI", extra: "downwarAPI", own: "downwardAPI" },
    row("fc"),
    row("flexVolume"),
    row("configMap"),
    row("azureFile"),
    row("vsphereVolume"),
    row("photonPersistentDisk"),
    row("portworxVolume"),
    row("azureDisk"),
    row("storageos"),
    row("projected"),
    row("scaleIO"),
    row("csi"),
    row("ephemeral"),
    row("image"),
];

/// The sources of a persistent volume.
pub(crate) static OF_VOLUME: &[Row] = &[
    row("hostPath"),
    Row { field: "gcePersistentDisk", extra: "gcePersistentDisk", own: "persistentDisk" },
    row("awsElasticBlockStore"),
    row("glusterfs"),
    row("flocker"),
    row("nfs"),
    row("rbd"),
    row("quobyte"),
    Row { field: "cephfs", extra: "cephFS", own: "cephfs" },
    row("iscsi"),
    row("cinder"),
    row("fc"),
    row("flexVolume"),
    row("azureFile"),
    row("vsphereVolume"),
    row("photonPersistentDisk"),
    row("portworxVolume"),
    row("azureDisk"),
    row("scaleIO"),
    row("local"),
    row("storageos"),
    row("csi"),
];

/// Texts that must be there, for sources without further rules.
const REQUIRED: &[(&str, &[&str])] = &[
    ("awsElasticBlockStore", &["volumeID"]),
    ("gcePersistentDisk", &["pdName"]),
    ("glusterfs", &["endpoints", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("cinder", &["volumeID"]),
    ("azureFile", &["secretName", "shareName"]),
    ("flexVolume", &["driver"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("gitRepo", &["repository"]),
    ("local", &["path"]),
    ("hostPath", &["path"]),
];

/// One source that both pods and volumes may have.
pub(crate) fn check(kind: &str, value: &Value, place: Place<'_>, path: &Path<'_>, faults: &mut Faults) {
    if let Some((_, names)) = REQUIRED.iter().find(|(name, _)| *name == kind) {
        for name in *names {
            faults.required_text(value, name, path);
        }
    }
    match kind {
        "hostPath" => host_path(value, path, faults),
        "local" => no_backsteps(text(value, "path"), &path.field("path"), faults),
        "gitRepo" => descending(text(value, "directory"), &path.field("directory"), faults),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            let partition = int(value, "partition").unwrap_or(0);
            if !(0..=255).contains(&partition) {
                faults.invalid(&path.field("partition"), partition, range_message(1, 255));
            }
        }
        "nfs" => nfs(value, path, faults),
        "iscsi" => iscsi(value, place, path, faults),
        "flocker" => flocker(value, path, faults),
        "quobyte" => quobyte(value, path, faults),
        "fc" => fibre_channel(value, path, faults),
        "flexVolume" => flex(value, path, faults),
        "azureDisk" => azure_disk(value, path, faults),
        "glusterfs" if has(value, "endpointsNamespace") => {
            let namespace = text(value, "endpointsNamespace");
            let path = path.field("endpointsNamespace");
            if namespace.is_empty() {
                faults.invalid(&path, "", "if the endpointnamespace is set, it must be a valid namespace name");
            } else {
                faults.named(&path, namespace, name::dns_label);
            }
        }
        "azureFile" if at(value, "secretNamespace").as_str() == Some("") => {
            faults.required(&path.field("secretNamespace"), "");
        }
        "rbd" => {
            monitors(value, path, faults);
            faults.required_text(value, "image", path);
        }
        "cephfs" => monitors(value, path, faults),
        "cinder" => secret(value, place.persistent, path, faults),
        "storageos" => {
            faults.required_name(&path.field("volumeName"), text(value, "volumeName"), name::dns_label);
            faults.optional_name(&path.field("volumeNamespace"), text(value, "volumeNamespace"), name::dns_label);
            secret(value, place.persistent, path, faults);
        }
        "csi" if place.persistent => csi_volume(value, path, faults),
        "csi" => csi(value, path, faults),
        _ => {}
    }
}

fn monitors(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    if list(value, "monitors").is_empty() {
        faults.required(&path.field("monitors"), "");
    }
}

fn secret(value: &Value, with_namespace: bool, path: &Path<'_>, faults: &mut Faults) {
    let reference = at(value, "secretRef");
    if reference.is_null() {
        return;
    }
    let path = path.field("secretRef");
    faults.required_text(reference, "name", &path);
    if with_namespace {
        faults.required_text(reference, "namespace", &path);
    }
}

const HOST_PATH_TYPES: &[&str] =
    &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

fn host_path(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    no_backsteps(text(value, "path"), &path.field("path"), faults);
    faults.any_of(value, "type", path, HOST_PATH_TYPES);
}

fn nfs(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(value, "server", path);
    faults.required_text(value, "path", path);
    let place = text(value, "path");
    if !place.starts_with('/') {
        faults.invalid(&path.field("path"), place, "must be an absolute path");
    }
}

/// A relative path without a way up.
pub(crate) fn descending(value: &str, path: &Path<'_>, faults: &mut Faults) {
    if value.starts_with('/') {
        faults.invalid(path, value, "must be a relative path");
    }
    no_backsteps(value, path, faults);
}

pub(crate) fn has_backsteps(value: &str) -> bool {
    value.split('/').any(|part| part == "..")
}

pub(crate) fn no_backsteps(value: &str, path: &Path<'_>, faults: &mut Faults) {
    if has_backsteps(value) {
        faults.invalid(path, value, "must not contain '..'");
    }
}

/// As `descending`; names that begin with two dots are kept for the way files are replaced.
pub(crate) fn not_reserved(value: &str, path: &Path<'_>, faults: &mut Faults) {
    descending(value, path, faults);
    if value.starts_with("..") && !value.starts_with("../") {
        faults.invalid(path, value, "must not start with '..'");
    }
}

fn pattern(cell: &'static OnceLock<Regex>, text: &str) -> &'static Regex {
    cell.get_or_init(|| Regex::new(text).expect("invariant: the pattern is right"))
}

/// Whether a name of an initiator or target has the form that its prefix asks for; none without such a prefix.
fn is_qualified(name: &str) -> Option<bool> {
    static IQN: OnceLock<Regex> = OnceLock::new();
    let alnum = |rest: &str, length: usize| rest.len() == length && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    // Any one character stands after the prefix, as in upstream's patterns.
    let after = |name: &str| name.chars().nth(3).map(|dot| name[3 + dot.len_utf8()..].to_owned()).unwrap_or_default();
    if name.starts_with("iqn") {
        let iqn = r"iqn\.\d{4}-\d{2}\.([[:alnum:].-]+)(:[^,;*&$|\s]+)$";
        Some(pattern(&IQN, iqn).is_match(name))
    } else if name.starts_with("eui") {
        Some(alnum(&after(name), 16))
    } else if name.starts_with("naa") {
        Some(alnum(&after(name), 32))
    } else {
        None
    }
}

const TOO_LONG_PORTAL: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

fn iscsi(value: &Value, place: Place<'_>, path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(value, "targetPortal", path);
    let portal = text(value, "targetPortal");
    let crowded = has(value, "initiatorName") && place.name.len() + 1 + portal.len() > 64;
    if place.persistent && crowded {
        faults.invalid(&path.field("targetportal"), portal, TOO_LONG_PORTAL);
    }
    let unknown =
        if place.persistent { "must be valid format" } else { "must be valid format starting with iqn, eui, or naa" };
    let target = text(value, "iqn");
    match (target, is_qualified(target)) {
        ("", _) => faults.required(&path.field("iqn"), ""),
        (_, None) => faults.invalid(&path.field("iqn"), target, unknown),
        (_, Some(false)) => faults.invalid(&path.field("iqn"), target, "must be valid format"),
        (_, Some(true)) => {}
    }
    let lun = int(value, "lun").unwrap_or(0);
    if !(0..=255).contains(&lun) {
        faults.invalid(&path.field("lun"), lun, range_message(0, 255));
    }
    if (flag(value, "chapAuthDiscovery") || flag(value, "chapAuthSession")) && !has(value, "secretRef") {
        faults.required(&path.field("secretRef"), "");
    }
    if place.persistent {
        let reference = at(value, "secretRef");
        if !reference.is_null() {
            faults.required_text(reference, "name", &path.field("secretRef"));
        }
    }
    if let Some(initiator) = at(value, "initiatorName").as_str() {
        let path = path.field("initiatorname");
        match is_qualified(initiator) {
            None => faults.invalid(&path, initiator, unknown),
            Some(false) => faults.invalid(&path, initiator, "must be valid format"),
            Some(true) => {}
        }
    }
}

/// In pods the length is told at the volume's name, also when another source counts.
pub(crate) fn crowded_portal(volume: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (iscsi, name) = (at(volume, "iscsi"), text(volume, "name"));
    if has(iscsi, "initiatorName") && name.len() + 1 + text(iscsi, "targetPortal").len() > 64 {
        faults.invalid(&path.field("name"), name, TOO_LONG_PORTAL);
    }
}

fn flocker(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (dataset, id) = (text(value, "datasetName"), text(value, "datasetUUID"));
    if dataset.is_empty() && id.is_empty() {
        faults.required(path, "one of datasetName and datasetUUID is required");
    }
    if !dataset.is_empty() && !id.is_empty() {
        faults.invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if dataset.contains('/') {
        faults.invalid(&path.field("datasetName"), dataset, "must not contain '/'");
    }
}

/// Whether a text is a host and a port.
fn is_host_and_port(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest
            .split_once(']')
            .is_some_and(|(_, port)| port.strip_prefix(':').is_some_and(|port| !port.contains([':', '[', ']']))),
        None => text.split_once(':').is_some_and(|(_, port)| !port.contains(':')) && !text.contains(['[', ']']),
    }
}

fn quobyte(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    const PAIR: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(value, "registry");
    if registry.is_empty() {
        faults.required(&path.field("registry"), PAIR);
    } else if text(value, "tenant").len() >= 65 {
        faults.required(&path.field("tenant"), "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            faults.invalid(&path.field("registry"), registry, PAIR);
        }
    }
    faults.required_text(value, "volume", path);
}

fn fibre_channel(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (names, ids) = (list(value, "targetWWNs"), list(value, "wwids"));
    if names.is_empty() && ids.is_empty() {
        faults.required(&path.field("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        faults.invalid(&path.field("targetWWNs"), names.to_vec(), detail);
    }
    if !names.is_empty() {
        match int(value, "lun") {
            None => faults.required(&path.field("lun"), "lun is required if targetWWNs is specified"),
            Some(lun) if !(0..=255).contains(&lun) => {
                faults.invalid(&path.field("lun"), lun, range_message(0, 255));
            }
            Some(_) => {}
        }
    }
}

fn flex(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let options = path.field("options");
    for (key, _) in members(value, "options") {
        let namespace = key.split('/').next().unwrap_or("").to_lowercase();
        let reserved = |domain: &str| namespace == domain || namespace.ends_with(&format!(".{domain}"));
        if reserved("kubernetes.io") || reserved("k8s.io") {
            faults.invalid(&options.key(key), key.as_str(), "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn azure_disk(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.any_of(value, "cachingMode", path, &["None", "ReadOnly", "ReadWrite"]);
    faults.any_of(value, "kind", path, &["Dedicated", "Managed", "Shared"]);
    let uri = text(value, "diskURI");
    let managed = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    let blob = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    match at(value, "kind").as_str() {
        Some("Managed") if !uri.starts_with("/subscriptions/") => {
            faults.not_supported(&path.field("diskURI"), uri, &[managed]);
        }
        Some(kind) if kind != "Managed" && !uri.starts_with("https://") => {
            faults.not_supported(&path.field("diskURI"), uri, &[blob]);
        }
        _ => {}
    }
}

/// The name of a storage driver.
pub(crate) fn driver(name: &str, path: &Path<'_>, faults: &mut Faults) {
    if name.is_empty() {
        faults.required(path, "");
        return;
    }
    if name.len() > 63 {
        faults.too_long(path, 63);
    }
    faults.verdict(path, name, name::dns_subdomain(&name.to_lowercase()));
}

fn csi(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    driver(text(value, "driver"), &path.field("driver"), faults);
    let reference = at(value, "nodePublishSecretRef");
    if reference.is_null() {
        return;
    }
    let name = text(reference, "name");
    let on_secret = path.field("nodePublishSecretRef");
    if name.is_empty() {
        faults.required(&on_secret.field("name"), "");
    } else {
        faults.named(&path.field("name"), name, name::dns_subdomain);
    }
}

fn csi_volume(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    driver(text(value, "driver"), &path.field("driver"), faults);
    faults.required_text(value, "volumeHandle", path);
    for name in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let reference = at(value, name);
        if !reference.is_null() {
            let path = path.field(name);
            faults.required_name(&path.field("name"), text(reference, "name"), name::dns_subdomain);
            faults.required_name(&path.field("namespace"), text(reference, "namespace"), name::dns_label);
        }
    }
}
