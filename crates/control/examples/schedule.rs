//! How fast decisions are: `cargo run --release -p knarr-control --example schedule -- NODES PODS [SHAPE]`.
//!
//! Drives `decide` over nodes and pods in memory, with nothing written anywhere. SHAPE: `plain`, `service` (spread because
//! of a service), `spread` (a hard constraint over zones), `affinity` (far from its own kind on the same host).

use std::time::Instant;

use k8s_openapi::api::core::v1::Node;
use knarr_control::scheduler::{Decision, Profile, Turn, World, decide};
use serde_json::{Value, json};

fn node(index: usize) -> Node {
    let name = format!("node-{index:05}");
    let labels =
        json!({ "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", index % 3) });
    let value = json!({
        "metadata": { "name": name, "labels": labels },
        "status": { "allocatable": { "cpu": "32", "memory": "256Gi", "pods": "256" },
            "images": [{ "names": ["registry.example.com/app:v1"], "sizeBytes": 100_000_000 }] },
    });
    serde_json::from_value(value).expect("a node")
}

fn pod(index: usize, shape: &str) -> String {
    let container = json!({ "name": "app", "image": "registry.example.com/app:v1",
        "resources": { "requests": { "cpu": "100m", "memory": "200Mi" } } });
    let group = if shape == "affinity" { format!("group-{}", index / 50) } else { format!("app-{}", index % 20) };
    let mut pod = json!({
        "metadata": { "name": format!("pod-{index:06}"), "namespace": "default", "uid": format!("00000000-0000-4000-8000-{index:012}"),
            "labels": { "app": group, "tier": "web" } },
        "spec": { "containers": [container], "schedulerName": "default-scheduler",
            "tolerations": [{ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }] },
        "status": { "phase": "Pending" },
    });
    let selector = json!({ "matchLabels": { "app": group } });
    match shape {
        "spread" => {
            pod["spec"]["topologySpreadConstraints"] = json!([{ "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector }]);
        }
        "affinity" => {
            pod["spec"]["affinity"] = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution":
                [{ "topologyKey": "kubernetes.io/hostname", "labelSelector": selector }] } });
        }
        _ => {}
    }
    pod.to_string()
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[expect(clippy::cast_precision_loss, reason = "numbers for people")]
fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number =
        |index: usize, otherwise: usize| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (nodes, pods) = (number(1, 150), number(2, 14_000));
    let shape = arguments.get(3).map_or("plain", String::as_str);
    let mut world = World::new([Profile::default()]);
    (0..nodes).for_each(|index| world.put_node(&node(index)));
    if shape == "service" {
        let selector: Value = json!({ "tier": "web" });
        world.put_service("default", "web", serde_json::from_value(selector).expect("a selector"));
    }
    let texts: Vec<String> = (0..pods).map(|index| pod(index, shape)).collect();
    let before = resident();
    let start = Instant::now();
    let waiting: Vec<_> = texts.iter().map(|text| world.read_pod(text).expect("a pod")).collect();
    let read = start.elapsed();
    let start = Instant::now();
    let mut turn = Turn::new(1);
    let mut bound = 0;
    for pod in &waiting {
        if let Decision::Bind { node, .. } = decide(&mut world, pod, &mut turn) {
            world.assume(pod, &node);
            bound += 1;
        }
    }
    let decided = start.elapsed();
    let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / pods as f64;
    println!("{nodes} nodes, {pods} pods, {shape}: {bound} bound");
    println!("  read    {:8.1} us a pod", each(read));
    println!("  decide  {:8.1} us a pod, {:.0} pods/s", each(decided), pods as f64 / decided.as_secs_f64());
    println!("  memory  {:8} bytes a pod", resident().saturating_sub(before) / pods.max(1) as u64);
}
