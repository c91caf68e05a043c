//! How the remaining kinds of the core group print: nodes, namespaces, configuration, events, quotas.

use super::read::{self, NONE, UNKNOWN, at, count, flag, items, number, text, text_or};
use super::{AGE, NAME, Printer, Spec};
use base::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeSet;

const EVENT: &str = "api.core.v1.Event";
const NODE_INFO: &str = "api.core.v1.NodeSystemInfo";
const NODE_STATUS: &str = "api.core.v1.NodeStatus";

const EVENT_COLUMNS: &[Spec] = &[
    Spec::field("Last Seen", EVENT, "lastTimestamp"),
    Spec::field("Type", EVENT, "type"),
    Spec::field("Reason", EVENT, "reason"),
    Spec::field("Object", EVENT, "involvedObject"),
    Spec::field("Subobject", "api.core.v1.ObjectReference", "fieldPath").wide(),
    Spec::field("Source", EVENT, "source").wide(),
    Spec::field("Message", EVENT, "message"),
    Spec::field("First Seen", EVENT, "firstTimestamp").wide(),
    Spec::field("Count", EVENT, "count").wide(),
    NAME.wide(),
];

pub(super) static PRINTERS: [Printer; 9] = [
    Printer::new(
        "",
        "Node",
        &[
            NAME,
            Spec::text("Status", "The status of the node"),
            Spec::text("Roles", "The roles of the node"),
            AGE,
            Spec::field("Version", NODE_INFO, "kubeletVersion"),
            Spec::field("Internal-IP", NODE_STATUS, "addresses").wide(),
            Spec::field("External-IP", NODE_STATUS, "addresses").wide(),
            Spec::field("OS-Image", NODE_INFO, "osImage").wide(),
            Spec::field("Kernel-Version", NODE_INFO, "kernelVersion").wide(),
            Spec::field("Container-Runtime", NODE_INFO, "containerRuntimeVersion").wide(),
        ],
        node,
    ),
    Printer::new("", "Namespace", &[NAME, Spec::text("Status", "The status of the namespace"), AGE], |object, now| {
        vec![read::name(object), text(object, "status.phase").into(), read::age(object, now)]
    }),
    Printer::new("", "Event", EVENT_COLUMNS, event),
    Printer::new("events.k8s.io", "Event", EVENT_COLUMNS, event),
    Printer::new(
        "",
        "Secret",
        &[
            NAME,
            Spec::field("Type", "api.core.v1.Secret", "type"),
            Spec::field("Data", "api.core.v1.Secret", "data"),
            AGE,
        ],
        |object, now| {
            vec![read::name(object), text(object, "type").into(), count(object, "data").into(), read::age(object, now)]
        },
    ),
    Printer::new("", "ConfigMap", &[NAME, Spec::field("Data", "api.core.v1.ConfigMap", "data"), AGE], |object, now| {
        let entries = count(object, "data") + count(object, "binaryData");
        vec![read::name(object), entries.into(), read::age(object, now)]
    }),
    Printer::new(
        "",
        "ServiceAccount",
        &[NAME, Spec::field("Secrets", "api.core.v1.ServiceAccount", "secrets"), AGE],
        |object, now| vec![read::name(object), count(object, "secrets").into(), read::age(object, now)],
    ),
    Printer::new(
        "",
        "ResourceQuota",
        &[
            NAME,
            Spec::text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
            Spec::text(
                "Limit",
                "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
            ),
            AGE,
        ],
        resource_quota,
    ),
    Printer::new(
        "",
        "ComponentStatus",
        &[
            NAME,
            Spec::text("Status", "Status of the component conditions"),
            Spec::text("Message", "Message of the component conditions"),
            Spec::text("Error", "Error of the component conditions"),
        ],
        component_status,
    ),
];

fn node(node: &Value, now: Timestamp) -> Vec<Value> {
    let mut status = match read::condition(node, "Ready") {
        None => "Unknown",
        Some(condition) if text(condition, "status") == "True" => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if flag(node, "spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let roles = read::join(roles(node), ",");
    let address = |kind| {
        let addresses = items(node, "status.addresses");
        addresses.iter().find(|address| text(address, "type") == kind).map_or(NONE, |address| text(address, "address"))
    };
    vec![
        read::name(node),
        status.into(),
        if roles.is_empty() { NONE } else { &roles }.into(),
        read::age(node, now),
        text(node, "status.nodeInfo.kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        text_or(node, "status.nodeInfo.osImage", UNKNOWN).into(),
        text_or(node, "status.nodeInfo.kernelVersion", UNKNOWN).into(),
        text_or(node, "status.nodeInfo.containerRuntimeVersion", UNKNOWN).into(),
    ]
}

/// The roles of a node, from `node-role.kubernetes.io/<role>` and `kubernetes.io/role` labels.
fn roles(node: &Value) -> BTreeSet<&str> {
    let labels = read::fields(node, "metadata.labels").into_iter().flatten();
    labels
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect()
}

/// An event of either group: `events.k8s.io` renamed half of the fields.
fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let time = |old, new| read::timestamp(event, old).or_else(|| read::timestamp(event, new));
    let either = |old, new| text_or(event, old, text(event, new));
    let first = time("firstTimestamp", "deprecatedFirstTimestamp").or_else(|| read::timestamp(event, "eventTime"));
    let mut last = time("lastTimestamp", "deprecatedLastTimestamp").or(first);
    let mut occurrences = number(event, "count").max(number(event, "deprecatedCount")).max(1);
    if at(event, "series").is_some() {
        last = read::timestamp(event, "series.lastObservedTime");
        occurrences = number(event, "series.count");
    }
    let mut object = either("involvedObject.kind", "regarding.kind").to_lowercase();
    let name = either("involvedObject.name", "regarding.name");
    if !name.is_empty() {
        object = format!("{object}/{name}");
    }
    let component = either("source.component", "deprecatedSource.component");
    let host = either("source.host", "deprecatedSource.host");
    let mut source =
        if component.is_empty() { either("reportingComponent", "reportingController") } else { component }.to_owned();
    let instance = if host.is_empty() { text(event, "reportingInstance") } else { host };
    if !instance.is_empty() {
        source = format!("{source}, {instance}");
    }
    vec![
        read::elapsed(last, now).into(),
        text(event, "type").into(),
        text(event, "reason").into(),
        object.into(),
        either("involvedObject.fieldPath", "regarding.fieldPath").into(),
        source.into(),
        either("message", "note").trim().into(),
        read::elapsed(first, now).into(),
        occurrences.into(),
        read::name(event),
    ]
}

fn resource_quota(quota: &Value, now: Timestamp) -> Vec<Value> {
    let mut requests = Vec::new();
    let mut limits = Vec::new();
    let hard = read::fields(quota, "status.hard").into_iter().flatten();
    let used = read::fields(quota, "status.used");
    let mut resources: Vec<_> = hard.collect();
    resources.sort_by_key(|(name, _)| name.as_str());
    for (name, hard) in resources {
        let used = read::quantity(used.and_then(|used| used.get(name)));
        let shown = format!("{name}: {used}/{}", read::quantity(Some(hard)));
        if name.starts_with("limits.") { limits.push(shown) } else { requests.push(shown) }
    }
    vec![read::name(quota), requests.join(", ").into(), limits.join(", ").into(), read::age(quota, now)]
}

fn component_status(object: &Value, _: Timestamp) -> Vec<Value> {
    let healthy = items(object, "conditions").iter().find(|condition| text(condition, "type") == "Healthy");
    let status = match healthy.map(|condition| text(condition, "status")) {
        None => "Unknown",
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
    };
    let field = |name| healthy.map_or("", |condition| text(condition, name));
    vec![read::name(object), status.into(), field("message").into(), field("error").into()]
}
