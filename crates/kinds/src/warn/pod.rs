//! What is told of pods and of templates for them.

use serde_json::Value;

use crate::error::quote;
use crate::json::{at, has, int, list, members, text};
use crate::path::Path;
use crate::validate::pod::APP_ARMOR;
use crate::validate::{ip, resources};

/// Labels of nodes that have other names now.
const LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

pub(super) fn deprecated_label(label: &str) -> Option<&'static str> {
    LABELS.iter().find(|(known, _)| *known == label).map(|(_, message)| *message)
}

/// Annotations that do nothing any more.
const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

/// Volumes that are not made any more.
pub(super) const GONE_VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_OF: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// A pod, or a template for pods.
pub(super) fn all(pod: &Value, is_pod: bool, above: &Path<'_>, warnings: &mut Vec<String>) {
    let (spec, path) = (at(pod, "spec"), above.field("spec"));
    let meta = above.field("metadata");
    let (annotations, on_annotations) = (at(at(pod, "metadata"), "annotations"), meta.field("annotations"));
    placement(spec, &path, warnings);
    for (name, message) in ANNOTATIONS.iter().filter(|(name, _)| has(annotations, name)) {
        warnings.push(format!("{}: {message}", on_annotations.key(name)));
    }
    volumes(spec, &path, warnings);
    lists(spec, &path, warnings);
    whole(at(spec, "overhead"), &path.field("overhead"), warnings);
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    if !has(at(spec, "securityContext"), "seccompProfile") && has(annotations, SECCOMP) {
        warnings.push(format!("{}: {seccomp}", on_annotations.key(SECCOMP)));
    }
    for (kind, index, container) in containers(spec) {
        let (name, security) = (text(container, "name"), at(container, "securityContext"));
        let key = format!("{SECCOMP_OF}{name}");
        if !has(security, "seccompProfile") && has(annotations, &key) {
            warnings.push(format!("{}: {seccomp}", on_annotations.key(&key)));
        }
        let key = format!("{APP_ARMOR}{name}");
        let profile = has(security, "appArmorProfile") || has(at(spec, "securityContext"), "appArmorProfile");
        if !is_pod && !profile && has(annotations, &key) {
            let message = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            warnings.push(format!("{}: {message}", on_annotations.key(&key)));
        }
        let list = path.field(kind);
        let path = list.index(index);
        let (amounts, on_resources) = (at(container, "resources"), path.field("resources"));
        for resource in ["memory", "ephemeral-storage"] {
            for list in ["limits", "requests"] {
                fraction(at(amounts, list), resource, &on_resources.field(list), warnings);
            }
        }
        environment(container, &path, warnings);
    }
    ports(spec, &path, warnings);
    affinity(spec, &path, warnings);
    addresses(spec, &path, warnings);
}

/// Containers of all kinds, with the name of their list and their place in it.
fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |kind| list(spec, kind).iter().enumerate().map(move |(index, value)| (kind, index, value)))
}

fn whole(amounts: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    for resource in ["memory", "ephemeral-storage"] {
        fraction(amounts, resource, path, warnings);
    }
}

fn fraction(amounts: &Value, resource: &str, path: &Path<'_>, warnings: &mut Vec<String>) {
    let amount = resources::quantity(at(amounts, resource));
    if let Some(amount) = amount.filter(|amount| amount.milli() % 1000 != 0) {
        let shown = quote(&amount.to_string());
        warnings.push(format!("{}: fractional byte value {shown} is invalid, must be an integer", path.key(resource)));
    }
}

fn placement(spec: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    let above = path.field("nodeSelector");
    for (label, _) in members(spec, "nodeSelector") {
        if let Some(message) = deprecated_label(label) {
            warnings.push(format!("{}: {message}", above.key(label)));
        }
    }
    let node = at(at(spec, "affinity"), "nodeAffinity");
    let on_affinity = path.field("affinity");
    let on_node = on_affinity.field("nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let on_required = on_node.field(required);
    let above = on_required.field("nodeSelectorTerms");
    for (index, term) in list(at(node, required), "nodeSelectorTerms").iter().enumerate() {
        node_term(term, false, &above.index(index), warnings);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let above = on_node.field(preferred);
    for (index, term) in list(node, preferred).iter().enumerate() {
        node_term(at(term, "preference"), true, &above.index(index).field("preference"), warnings);
    }
    let above = path.field("topologySpreadConstraints");
    for (index, constraint) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        let path = above.index(index);
        let key = text(constraint, "topologyKey");
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {key} is {message}", path.field("topologyKey")));
        }
        null_selector(constraint, &path, warnings);
    }
}

fn null_selector(of: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    if !has(of, "labelSelector") {
        warnings.push(format!("{}: a null labelSelector results in matching no pod", path.field("labelSelector")));
    }
}

pub(super) fn node_term(term: &Value, with_values: bool, path: &Path<'_>, warnings: &mut Vec<String>) {
    let above = path.field("matchExpressions");
    for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
        let path = above.index(index);
        let key = text(expression, "key");
        if let Some(message) = deprecated_label(key) {
            warnings.push(format!("{}: {key} is {message}", path.field("key")));
        }
        let above = path.field("values");
        let values = list(expression, "values").iter().filter_map(Value::as_str).enumerate();
        for (index, value) in values.filter(|_| with_values) {
            for reason in base::name::label_value(value).err().into_iter().flatten() {
                warnings.push(format!("{}: {value} is invalid, {reason}", above.index(index)));
            }
        }
    }
}

fn volumes(spec: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    let above = path.field("volumes");
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let path = above.index(index);
        for (name, when) in GONE_VOLUMES.iter().filter(|(name, _)| has(volume, name)) {
            let shown = if *name == "storageos" { "storageOS" } else { name };
            warnings.push(format!("{}: {when}", path.field(shown)));
        }
        let template = at(at(volume, "ephemeral"), "volumeClaimTemplate");
        let on_ephemeral = path.field("ephemeral");
        let on_template = on_ephemeral.field("volumeClaimTemplate");
        super::claim(at(template, "spec"), &on_template.field("spec"), warnings);
    }
    for volume in list(spec, "volumes") {
        overlaps(volume, warnings);
    }
}

/// Files of a volume that would lie over each other: a path, and what puts it there.
fn overlaps(volume: &Value, warnings: &mut Vec<String>) {
    let name = quote(text(volume, "name"));
    let plain = |value: &Value| -> Vec<(String, String)> {
        list(value, "items").iter().map(|item| (text(item, "path").to_owned(), String::new())).collect()
    };
    let mut tell = |what: &str, files: Vec<(String, String)>| {
        let mut seen: Vec<(String, String)> = Vec::new();
        for (path, source) in files {
            let path = path.trim_end_matches('/').to_owned();
            let hit = |other: &str| {
                let (a, b) = (format!("{other}/"), format!("{path}/"));
                !other.is_empty() && !path.is_empty() && (a.starts_with(&b) || b.starts_with(&a))
            };
            for (other, from) in seen.iter().filter(|(other, _)| hit(other)) {
                let (this, that) = (file(&path, &source), file(other, from));
                warnings.push(format!("volume {name} ({what}): overlapping paths: {this} with {that}"));
            }
            seen.push((path, source));
        }
    };
    for (kind, label, of) in [("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")] {
        let value = at(volume, kind);
        tell(&format!("{label} {}", quote(text(value, of))), plain(value));
    }
    tell("DownwardAPI", plain(at(volume, "downwardAPI")));
    let mut files = Vec::new();
    let mut empty = 0;
    for source in list(at(volume, "projected"), "sources") {
        let from = |label: String| move |(path, _): (String, String)| (path, label.clone());
        let named = |label: &str, value: &Value| format!("{label} {}", quote(text(value, "name")));
        let (map, secret) = (at(source, "configMap"), at(source, "secret"));
        files.extend(plain(map).into_iter().map(from(named("ConfigMap", map))));
        files.extend(plain(secret).into_iter().map(from(named("Secret", secret))));
        files.extend(plain(at(source, "downwardAPI")).into_iter().map(from("DownwardAPI".to_owned())));
        let token = at(source, "serviceAccountToken");
        if !token.is_null() {
            files.push((text(token, "path").to_owned(), "ServiceAccountToken".to_owned()));
        }
        empty += usize::from(source.as_object().is_none_or(serde_json::Map::is_empty));
    }
    tell("Projected", files);
    for _ in 0..empty {
        warnings.push(format!("volume {name} (Projected) has no sources provided"));
    }
}

fn file(path: &str, source: &str) -> String {
    if source.is_empty() { quote(path) } else { format!("{} ({source})", quote(path)) }
}

fn lists(spec: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    for (list_name, key) in [("hostAliases", "ip"), ("imagePullSecrets", "name")] {
        let (items, above) = (list(spec, list_name), path.field(list_name));
        for (index, item) in items.iter().enumerate() {
            let value = text(item, key);
            if items[..index].iter().any(|other| text(other, key) == value) {
                warnings.push(format!("{}: duplicate {key} {}", above.index(index).field(key), quote(value)));
            }
        }
    }
    let above = path.field("imagePullSecrets");
    for (index, secret) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(secret, "name").is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", above.index(index).field("name")));
        }
    }
}

fn environment(container: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    let (variables, above) = (list(container, "env"), path.field("env"));
    for (index, variable) in variables.iter().enumerate() {
        let name = text(variable, "name");
        if !variables[..index].iter().any(|other| text(other, "name") == name) {
            continue;
        }
        let (value, reference) = (text(variable, "value"), format!("$({name})"));
        if has(variable, "valueFrom") || value == reference || !value.contains(&reference) {
            warnings.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                above.index(index),
                quote(name)
            ));
        }
    }
}

fn ports(spec: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    let mut seen: Vec<(String, &Value)> = Vec::new();
    let mut names: Vec<(&str, String)> = Vec::new();
    let mut told = Vec::new();
    for (kind, index, container) in containers(spec) {
        let list_path = path.field(kind);
        let above = list_path.index(index);
        let above = above.field("ports");
        for (index, port) in list(container, "ports").iter().enumerate() {
            let place = above.index(index).to_string();
            let (address, host) = (text(port, "hostIP"), int(port, "hostPort").unwrap_or(0));
            let same = |other: &Value| {
                int(other, "containerPort") == int(port, "containerPort")
                    && text(other, "protocol") == text(port, "protocol")
            };
            for (other_place, other) in seen.iter().filter(|(_, other)| same(other)) {
                let (other_address, other_host) = (text(other, "hostIP"), int(other, "hostPort").unwrap_or(0));
                let how = if (address, host) == (other_address, other_host) {
                    "duplicate"
                } else if host == 0 || other_host == 0 {
                    "overlapping"
                } else if host == other_host && (address.is_empty() != other_address.is_empty()) {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                warnings.push(format!("{place}: {how} port definition with {other_place}"));
            }
            let name = text(port, "name");
            if !name.is_empty() {
                match names.iter().find(|(known, _)| *known == name) {
                    Some((_, other)) => told.push(format!(
                        "{place}: duplicate port name {} with {other}, services and probes that select ports by name will use {other}",
                        quote(name)
                    )),
                    None => names.push((name, place.clone())),
                }
            }
            seen.push((place, port));
        }
    }
    warnings.append(&mut told);
}

fn affinity(spec: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    let on_affinity = path.field("affinity");
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, path) = (at(at(spec, "affinity"), kind), on_affinity.field(kind));
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let above = path.field(required);
        for (index, term) in list(affinity, required).iter().enumerate() {
            null_selector(term, &above.index(index), warnings);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        let above = path.field(preferred);
        for (index, term) in list(affinity, preferred).iter().enumerate() {
            null_selector(at(term, "podAffinityTerm"), &above.index(index).field("podAffinityTerm"), warnings);
        }
    }
}

fn addresses(spec: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    let config = path.field("dnsConfig");
    let above = config.field("nameservers");
    for (index, server) in ip::texts(list(at(spec, "dnsConfig"), "nameservers")).into_iter().enumerate() {
        ip::warn(server, &above.index(index), warnings);
    }
    let above = path.field("hostAliases");
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        ip::warn(text(alias, "ip"), &above.index(index).field("ip"), warnings);
    }
}
