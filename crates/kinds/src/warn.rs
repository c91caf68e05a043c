//! What a client is told of an object that is right but unwise: members that are ignored, deprecated or ambiguous.
//!
//! Invariant: pure; never a reason to refuse. Why a table of its own beside the rules: a warning looks at no more than
//! the new object and is told only once the object is accepted.

mod pod;
mod version;

use serde_json::Value;

use crate::catalog::Kind;
use crate::error::quote;
use crate::json::{at, dig, has, int, is_empty, list, members, same, text};
use crate::path::Path;
use crate::validate::{Case, ip, node};

pub use version::deprecation;

type Warn = fn(&Case<'_>, &mut Vec<String>);

/// Whether there may be anything to tell of a change of an object, or of the part of it that a subresource is.
pub fn warns(kind: &Kind, part: &str) -> bool {
    if kind.custom.is_some() {
        return matches!(part, "" | "status");
    }
    let here = |(group, name): (&str, &str)| kind.is(group, name);
    match part {
        "" => {
            TABLE.iter().any(|(group, name, _)| here((group, name)))
                || kind.group == "admissionregistration.k8s.io"
                || kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
        }
        "status" => ADDRESSES.iter().any(|(group, name, ..)| here((group, name))),
        _ => false,
    }
}

/// What is told to the client that changes an object, or a part of it.
pub fn warnings_of_change(kind: &Kind, part: &str, new: &Value, old: &Value) -> Vec<String> {
    let excused = kind.custom.as_ref().map(|custom| custom.excused(new, old)).unwrap_or_default();
    let mut told: Vec<String> = excused.iter().map(ToString::to_string).collect();
    match part {
        "" => {
            told.extend(crate::structural::warnings(kind, new, Some(old)));
            told.extend(warnings(kind, new, Some(old)));
        }
        "status" => addresses(kind, new, &mut told),
        _ => {}
    }
    told
}

/// Group, kind, the list of a status that holds addresses, and where in its items they are told to be.
static ADDRESSES: &[(&str, &str, &[&str], &str)] = &[
    ("", "Pod", &["podIPs"], "ip"),
    ("", "Pod", &["hostIPs"], "ip"),
    ("", "Service", &["loadBalancer", "ingress"], ""),
    ("networking.k8s.io", "Ingress", &["loadBalancer", "ingress"], ""),
];

fn addresses(kind: &Kind, new: &Value, warnings: &mut Vec<String>) {
    for (_, _, place, shown) in ADDRESSES.iter().filter(|(group, name, ..)| kind.is(group, name)) {
        let above = format!("status.{}", place.join("."));
        for (index, item) in dig(at(new, "status"), place).as_array().into_iter().flatten().enumerate() {
            let (root, address) = (Path::Root, text(item, "ip"));
            let above = root.field(&above);
            let item = above.index(index);
            if address.is_empty() {
                continue;
            }
            if shown.is_empty() {
                ip::warn(address, &item, warnings);
            } else {
                ip::warn(address, &item.field(shown), warnings);
            }
        }
    }
}

/// Group, kind and what to look for.
static TABLE: &[(&str, &str, Warn)] = &[
    ("", "Pod", new_pod),
    ("", "PodTemplate", |case, warnings| {
        if is_changed(case) {
            template(case.new, &["template"], warnings);
        }
    }),
    ("", "ReplicationController", replication_controller),
    ("", "Secret", secret),
    ("", "Service", service),
    ("", "Node", node::warn),
    ("", "Endpoints", endpoints),
    ("", "PersistentVolume", volume),
    ("", "PersistentVolumeClaim", bound_claim),
    ("", "ResourceQuota", quota),
    ("", "ServiceAccount", service_account),
    ("apps", "Deployment", controller),
    ("apps", "ReplicaSet", controller),
    ("apps", "DaemonSet", daemon_set),
    ("apps", "StatefulSet", stateful_set),
    ("batch", "Job", |case, warnings| {
        if is_changed(case) {
            job(case.spec(), &["spec"], case, warnings);
        }
    }),
    ("batch", "CronJob", cron_job),
    ("discovery.k8s.io", "EndpointSlice", slice),
    ("networking.k8s.io", "Ingress", ingress),
    ("networking.k8s.io", "NetworkPolicy", policy),
    ("node.k8s.io", "RuntimeClass", runtime_class),
    ("resource.k8s.io", "ResourceSlice", device_slice),
    ("storage.k8s.io", "CSIDriver", driver),
    ("storage.k8s.io", "CSIStorageCapacity", capacity),
    ("storage.k8s.io", "StorageClass", storage_class),
];

/// Kinds whose names become those of hosts.
const HOSTS: &[(&str, &str, &str)] = &[
    ("", "Pod", "the Pod's hostname"),
    ("", "ReplicationController", "Pod names and hostnames"),
    ("apps", "Deployment", "Pod names and hostnames"),
    ("apps", "ReplicaSet", "Pod names and hostnames"),
    ("batch", "CronJob", "Pod names and hostnames"),
    ("batch", "Job", "Pod names and hostnames"),
];

const STATIC: &str = ".static.k8s.io";

/// What is told to the client that creates an object or changes it.
pub fn warnings(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<String> {
    let case = Case { kind, new, old };
    let mut warnings = Vec::new();
    if kind.group == "admissionregistration.k8s.io" && case.name().ends_with(STATIC) {
        warnings.push(format!(
            "metadata.name: names ending with \"{STATIC}\" are reserved for static manifest-based configurations and cannot be managed via the API"
        ));
    }
    if let Some(what) =
        HOSTS.iter().find(|(_, name, _)| *name == kind.kind).filter(|(group, _, _)| *group == kind.group)
        && old.is_none()
        && let Err(reasons) = base::name::dns_label(case.name())
    {
        let reasons: Vec<String> = reasons.into_iter().collect();
        warnings.push(format!(
            "metadata.name: this is used in {}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            what.2,
            reasons.join(" ")
        ));
    }
    let row = TABLE.iter().find(|(group, name, _)| *group == kind.group && *name == kind.kind);
    if let Some((_, _, warn)) = row.filter(|_| kind.custom.is_none()) {
        warn(&case, &mut warnings);
    }
    warnings
}

/// What is told of a template at a place in an object.
fn template(object: &Value, place: &[&str], warnings: &mut Vec<String>) {
    let Some((first, rest)) = place.split_first() else { return };
    fn below(value: &Value, path: &Path<'_>, rest: &[&str], warnings: &mut Vec<String>) {
        match rest.split_first() {
            Some((name, rest)) => below(at(value, name), &path.field(name), rest, warnings),
            None => pod::all(value, false, path, warnings),
        }
    }
    below(at(object, first), &Path::Root.field(first), rest, warnings);
}

/// A new object, or one with a new generation.
fn is_changed(case: &Case<'_>) -> bool {
    let generation = |object| at(at(object, "metadata"), "generation");
    case.old.is_none_or(|old| generation(old) != generation(case.new))
}

/// People do not change pods.
fn new_pod(case: &Case<'_>, warnings: &mut Vec<String>) {
    if case.old.is_none() {
        pod::all(case.new, true, &Path::Root, warnings);
    }
}

const TEMPLATE: &[&str] = &["spec", "template"];

/// What makes pods is told of them when it is new and when it changes.
fn controller(case: &Case<'_>, warnings: &mut Vec<String>) {
    if is_changed(case) {
        template(case.new, TEMPLATE, warnings);
    }
}

/// Upstream tells of what was there before the change.
fn replication_controller(case: &Case<'_>, warnings: &mut Vec<String>) {
    if is_changed(case) {
        template(case.old.unwrap_or(case.new), TEMPLATE, warnings);
    }
}

/// The template has a generation of its own.
fn daemon_set(case: &Case<'_>, warnings: &mut Vec<String>) {
    if case.old.is_none_or(|old| !same(at(at(old, "spec"), "template"), at(case.spec(), "template"))) {
        template(case.new, TEMPLATE, warnings);
    }
}

/// A pair that is none.
fn secret(case: &Case<'_>, warnings: &mut Vec<String>) {
    if text(case.new, "type") == "kubernetes.io/tls" {
        let data = at(case.new, "data");
        warnings.extend(pki::pair::mismatch(&bytes(data, "tls.crt"), &bytes(data, "tls.key")));
    }
}

/// What base64 stands for.
fn bytes(of: &Value, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    crate::base64::decode_into(text(of, name).as_bytes(), &mut out);
    out
}

fn stateful_set(case: &Case<'_>, warnings: &mut Vec<String>) {
    let root = Path::Root;
    controller(case, warnings);
    let spec = root.field("spec");
    let above = spec.field("volumeClaimTemplates");
    for (index, template) in list(case.spec(), "volumeClaimTemplates").iter().enumerate() {
        let path = above.index(index);
        // upstream names the place so, and only when it changes
        let place = if case.old.is_some() { path.field("Spec") } else { above.index(index) };
        claim(at(template, "spec"), &place, warnings);
    }
    if int(case.spec(), "revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        let what = "a negative value retains all historical revisions; a value >= 0 is recommended";
        warnings.push(format!("{}: {what}", spec.field("revisionHistoryLimit")));
    }
}

const MANY: i64 = 100_000;
const MANY_AT_ONCE: i64 = 10_000;

fn job(spec: &Value, place: &[&str], case: &Case<'_>, warnings: &mut Vec<String>) {
    let number = |name| int(spec, name).unwrap_or(0);
    if text(spec, "completionMode") == "Indexed" && number("completions") > MANY && number("parallelism") > MANY_AT_ONCE
    {
        warnings.push(format!(
            "{}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail",
            place.join(".")
        ));
    }
    let place: Vec<&str> = place.iter().copied().chain(["template"]).collect();
    template(case.new, &place, warnings);
}

fn cron_job(case: &Case<'_>, warnings: &mut Vec<String>) {
    let spec = at(at(case.spec(), "jobTemplate"), "spec");
    let schedule = text(case.spec(), "schedule");
    if is_changed(case) {
        job(spec, &["spec", "jobTemplate", "spec"], case, warnings);
    }
    if schedule.contains("TZ") && case.old.is_some() {
        warnings.push(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .to_owned(),
        );
    }
}

fn service(case: &Case<'_>, warnings: &mut Vec<String>) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let hints = "service.kubernetes.io/topology-aware-hints";
    if has(case.annotations(), hints) {
        warnings
            .push(format!("annotation {hints} is deprecated, please use service.kubernetes.io/topology-mode instead"));
    }
    let (kind, cluster) = (text(spec, "type"), text(spec, "clusterIP"));
    let headless = kind == "ClusterIP" && cluster == "None";
    let external = ip::texts(list(spec, "externalIPs"));
    if !matches!(cluster, "" | "None") {
        let above = path.field("clusterIPs");
        for (index, address) in ip::texts(list(spec, "clusterIPs")).into_iter().enumerate() {
            ip::warn(address, &above.index(index), warnings);
        }
    }
    let balancer = text(spec, "loadBalancerIP");
    if headless {
        if !balancer.is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !external.is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if text(spec, "sessionAffinity") != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    let above = path.field("externalIPs");
    for (index, address) in external.iter().enumerate() {
        ip::warn(address, &above.index(index), warnings);
    }
    if !external.is_empty() && !headless && kind != "ExternalName" {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if !balancer.is_empty() {
        ip::warn(balancer, &path.field("loadBalancerIP"), warnings);
    }
    let above = path.field("loadBalancerSourceRanges");
    for (index, block) in ip::texts(list(spec, "loadBalancerSourceRanges")).into_iter().enumerate() {
        ip::warn_block(block, &above.index(index), warnings);
    }
    if kind == "ExternalName" && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if kind != "ExternalName" && !text(spec, "externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
}

fn endpoints(case: &Case<'_>, warnings: &mut Vec<String>) {
    let root = Path::Root;
    let above = root.field("subsets");
    for (index, subset) in list(case.new, "subsets").iter().enumerate() {
        let path = above.index(index);
        for name in ["addresses", "notReadyAddresses"] {
            let above = path.field(name);
            for (index, address) in list(subset, name).iter().enumerate() {
                ip::warn(text(address, "ip"), &above.index(index).field("ip"), warnings);
            }
        }
    }
}

fn slice(case: &Case<'_>, warnings: &mut Vec<String>) {
    let root = Path::Root;
    if text(case.new, "addressType") == "FQDN" && case.old.is_none() {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    let manager = text(at(at(case.new, "metadata"), "labels"), "endpointslice.kubernetes.io/managed-by");
    if matches!(manager, "endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io") {
        return;
    }
    let above = root.field("endpoints");
    for (index, endpoint) in list(case.new, "endpoints").iter().enumerate() {
        let path = above.index(index);
        let above = path.field("addresses");
        for (index, address) in ip::texts(list(endpoint, "addresses")).into_iter().enumerate() {
            ip::warn(address, &above.index(index), warnings);
        }
    }
}

fn ingress(case: &Case<'_>, warnings: &mut Vec<String>) {
    let annotation = "kubernetes.io/ingress.class";
    if has(case.annotations(), annotation) && case.old.is_none() && !has(case.spec(), "ingressClassName") {
        warnings.push(format!(
            "annotation {} is deprecated, please use 'spec.ingressClassName' instead",
            quote(annotation)
        ));
    }
}

fn policy(case: &Case<'_>, warnings: &mut Vec<String>) {
    let root = Path::Root;
    let spec = root.field("spec");
    for (way, peers) in [("ingress", "from"), ("egress", "to")] {
        let above = spec.field(way);
        for (index, rule) in list(case.spec(), way).iter().enumerate() {
            let path = above.index(index);
            let above = path.field(peers);
            for (index, peer) in list(rule, peers).iter().enumerate().filter(|(_, peer)| has(peer, "ipBlock")) {
                let (block, path) = (at(peer, "ipBlock"), above.index(index));
                let path = path.field("ipBlock");
                ip::warn_block(text(block, "cidr"), &path.field("cidr"), warnings);
                let above = path.field("except");
                for (index, except) in ip::texts(list(block, "except")).into_iter().enumerate() {
                    ip::warn_block(except, &above.index(index), warnings);
                }
            }
        }
    }
}

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

fn volume(case: &Case<'_>, warnings: &mut Vec<String>) {
    let root = Path::Root;
    let meta = root.field("metadata");
    let annotations = meta.field("annotations");
    if has(case.annotations(), CLASS) {
        let path = annotations.key(CLASS);
        warnings.push(format!("{path}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
    if has(case.annotations(), OPTIONS) {
        let path = annotations.key(OPTIONS);
        warnings.push(format!("{path}: deprecated since v1.31; use \"mountOptions\" attribute instead"));
    }
    let (spec, path) = (case.spec(), root.field("spec"));
    if text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        let on_policy = path.field("persistentVolumeReclaimPolicy");
        warnings.push(format!("{on_policy}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."));
    }
    let affinity = path.field("nodeAffinity");
    let required = affinity.field("required");
    let terms = list(at(at(spec, "nodeAffinity"), "required"), "nodeSelectorTerms");
    let above = required.field("nodeSelectorTerms");
    for (index, term) in terms.iter().enumerate() {
        pod::node_term(term, false, &above.index(index), warnings);
    }
    const GONE: &[&str] = &["cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"];
    for name in GONE.iter().filter(|name| has(spec, name)) {
        // Upstream writes this one with another name than that of the field.
        let shown = if *name == "storageos" { "storageOS" } else { name };
        let when = pod::GONE_VOLUMES.iter().find(|(known, _)| known == name).map_or("", |(_, when)| when);
        warnings.push(format!("{}: {when}", path.field(shown)));
    }
}

/// An amount of bytes that is no whole number.
fn whole_bytes(of: &Value, name: &str, path: &Path<'_>, warnings: &mut Vec<String>) {
    let amount = crate::validate::resources::quantity(at(of, name));
    if let Some(amount) = amount.filter(|amount| amount.milli() % 1000 != 0) {
        let shown = quote(&amount.to_string());
        warnings.push(format!("{}: fractional byte value {shown} is invalid, must be an integer", path.key(name)));
    }
}

fn claim(spec: &Value, path: &Path<'_>, warnings: &mut Vec<String>) {
    let (resources, path) = (at(spec, "resources"), path.field("resources"));
    for name in ["requests", "limits"] {
        whole_bytes(at(resources, name), "storage", &path.field(name), warnings);
    }
}

fn device_slice(case: &Case<'_>, warnings: &mut Vec<String>) {
    let driver = text(case.spec(), "driver");
    if driver != driver.to_lowercase() {
        warnings.push(format!(
            "spec.driver: driver names should be lowercase; {} contains uppercase characters",
            quote(driver)
        ));
    }
}

fn driver(case: &Case<'_>, warnings: &mut Vec<String>) {
    let spec = case.spec();
    let requests = at(spec, "tokenRequests");
    let changed = case.old.is_none_or(|old| !same(at(at(old, "spec"), "tokenRequests"), requests));
    if changed && !is_empty(requests) && !has(spec, "serviceAccountTokenInSecrets") {
        warnings.push(
            "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"
                .to_owned(),
        );
    }
}

fn bound_claim(case: &Case<'_>, warnings: &mut Vec<String>) {
    if has(case.annotations(), CLASS) {
        warnings.push(format!(
            "metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    claim(case.spec(), &Path::Root.field("spec"), warnings);
}

fn quota(case: &Case<'_>, warnings: &mut Vec<String>) {
    if case.old.is_some() {
        return;
    }
    let hard = at(case.spec(), "hard");
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let (requests, limits) = (format!("requests.{resource}"), format!("limits.{resource}"));
        let bare = !has(hard, &requests) && matches!(resource, "cpu" | "memory");
        let requests = if bare { resource.to_owned() } else { requests };
        let amount = |name: &str| crate::validate::resources::quantity(at(hard, name));
        if let (Some(request), Some(limit)) = (amount(&requests), amount(&limits))
            && request > limit
        {
            warnings.push(format!("ResourceQuota {requests} ({request}) should be less than {limits} ({limit})"));
        }
    }
}

fn service_account(case: &Case<'_>, warnings: &mut Vec<String>) {
    let annotation = "kubernetes.io/enforce-mountable-secrets";
    let before = has(at(at(case.old(), "metadata"), "annotations"), annotation);
    if has(case.annotations(), annotation) && !before {
        warnings.push(format!(
            "metadata.annotations[{annotation}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ));
    }
}

fn runtime_class(case: &Case<'_>, warnings: &mut Vec<String>) {
    for (label, _) in members(at(case.new, "scheduling"), "nodeSelector") {
        if let Some(message) = pod::deprecated_label(label) {
            warnings.push(format!("scheduling.nodeSelector: {message}"));
        }
    }
}

fn capacity(case: &Case<'_>, warnings: &mut Vec<String>) {
    let root = Path::Root;
    let (topology, path) = (at(case.new, "nodeTopology"), root.field("nodeTopology"));
    pod::node_term(topology, false, &path, warnings);
    let above = path.field("matchLabels");
    for (label, _) in members(topology, "matchLabels") {
        if let Some(message) = pod::deprecated_label(label) {
            warnings.push(format!("{}: {message}", above.field(label)));
        }
    }
}

fn storage_class(case: &Case<'_>, warnings: &mut Vec<String>) {
    let root = Path::Root;
    let above = root.field("allowedTopologies");
    for (index, term) in list(case.new, "allowedTopologies").iter().enumerate() {
        let path = above.index(index);
        let above = path.field("matchLabelExpressions");
        for (index, expression) in list(term, "matchLabelExpressions").iter().enumerate() {
            let key = text(expression, "key");
            if let Some(message) = pod::deprecated_label(key) {
                warnings.push(format!("{}: {message}", above.index(index).field("key")));
            }
        }
    }
}
