//! Words for where pods may go: affinities, spreading, priorities.
//!
//! Invariant: topology keys are written short (`zone`, `host`); a selector is one `key=value`.

use serde_json::{Value, json};

use super::{Line, at, pairs};

fn topology_key(short: &str) -> &str {
    match short {
        "zone" => "topology.kubernetes.io/zone",
        "host" => "kubernetes.io/hostname",
        other => other,
    }
}

/// `key=value`; nothing selects everything.
fn selector(text: &str) -> Value {
    if text.is_empty() { json!({}) } else { json!({ "matchLabels": pairs(text) }) }
}

/// `zone:app=db[@namespace | @* | @label=value]`
fn term(text: &str) -> Value {
    let (key, rest) = text.split_once(':').expect("topology:selector");
    let (labels, namespace) = rest.split_once('@').map_or((rest, None), |(labels, rest)| (labels, Some(rest)));
    let mut term = json!({ "topologyKey": topology_key(key), "labelSelector": selector(labels) });
    match namespace {
        None => {}
        Some("*") => term["namespaceSelector"] = json!({}),
        Some(labels) if labels.contains('=') => term["namespaceSelector"] = selector(labels),
        Some(name) => term["namespaces"] = json!([name]),
    }
    term
}

/// `weight:term`
fn weighted(text: &str) -> Value {
    let (weight, rest) = text.split_once(':').expect("weight:term");
    json!({ "weight": weight.parse::<i32>().expect("a weight"), "podAffinityTerm": term(rest) })
}

fn node_term(text: &str) -> Value {
    let (key, value) = text.split_once('=').expect("key=value");
    json!({ "matchExpressions": [{ "key": key, "operator": "In", "values": value.split('+').collect::<Vec<_>>() }] })
}

/// `zone:skew[:option...]`, options: `soft`, `min2`, `taints` (honoured), `anywhere` (affinity ignored), `by-LABEL`.
fn spread(text: &str, app: &Value) -> Value {
    let mut parts = text.split(':');
    let key = topology_key(parts.next().unwrap_or(""));
    let skew: i32 = parts.next().and_then(|skew| skew.parse().ok()).expect("a skew");
    let mut one = json!({
        "topologyKey": key, "maxSkew": skew, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": app } },
    });
    for option in parts {
        match option {
            "soft" => one["whenUnsatisfiable"] = json!("ScheduleAnyway"),
            "taints" => one["nodeTaintsPolicy"] = json!("Honor"),
            "anywhere" => one["nodeAffinityPolicy"] = json!("Ignore"),
            other => match (other.strip_prefix("min"), other.strip_prefix("by-")) {
                (Some(count), _) => one["minDomains"] = json!(count.parse::<i32>().expect("a number")),
                (_, Some(label)) => one["matchLabelKeys"] = json!([label]),
                _ => panic!("unknown option {other}"),
            },
        }
    }
    one
}

/// What a pod says about where it wants to be.
pub(super) fn dress(pod: &mut Value, line: &Line<'_>) {
    if let Some(namespace) = line.get("ns") {
        pod["metadata"]["namespace"] = json!(namespace);
    }
    let app = pod["metadata"]["labels"]["app"].clone();
    let list = |word: &str, read: fn(&str) -> Value| line.all(word).into_iter().map(read).collect::<Vec<Value>>();
    let spec = &mut pod["spec"];
    let spreads: Vec<Value> = line.all("spread").into_iter().map(|text| spread(text, &app)).collect();
    if !spreads.is_empty() {
        spec["topologySpreadConstraints"] = json!(spreads);
    }
    let (near, far) = (list("near", term), list("far", term));
    let (prefer_near, prefer_far) = (list("prefernear", weighted), list("preferfar", weighted));
    for (name, required, preferred) in [("podAffinity", near, prefer_near), ("podAntiAffinity", far, prefer_far)] {
        if !required.is_empty() || !preferred.is_empty() {
            spec["affinity"][name] = json!({
                "requiredDuringSchedulingIgnoredDuringExecution": required,
                "preferredDuringSchedulingIgnoredDuringExecution": preferred,
            });
        }
    }
    let preferred: Vec<Value> = line
        .all("want")
        .into_iter()
        .map(|text| {
            let (weight, rest) = text.split_once(':').expect("weight:key=value");
            json!({ "weight": weight.parse::<i32>().expect("a weight"), "preference": node_term(rest) })
        })
        .collect();
    if !preferred.is_empty() {
        spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = json!(preferred);
    }
    let required = list("need", node_term);
    if !required.is_empty() {
        spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] =
            json!({ "nodeSelectorTerms": required });
    }
    let volumes = line.all("ephemeral").into_iter().map(|name| json!({ "name": name, "ephemeral": {} }));
    let disks =
        line.all("disk").into_iter().map(|name| json!({ "name": name, "gcePersistentDisk": { "pdName": name } }));
    for volume in volumes.chain(disks) {
        spec["volumes"].as_array_mut().expect("a list").push(volume);
    }
    if line.has("never") {
        spec["preemptionPolicy"] = json!("Never");
    }
    if let Some(name) = line.get("scheduler") {
        spec["schedulerName"] = json!(name);
    }
    if let Some(node) = line.get("nominated") {
        pod["status"]["nominatedNodeName"] = json!(node);
    }
    if let Some(age) = line.get("started") {
        pod["status"]["startTime"] = at(age);
    }
}
