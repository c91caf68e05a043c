//! What a pod can ask of its node, seen from inside the pod and through the API.
//!
//! Parts run at once: most of their time is a back-off or a grace period.

mod autoscaling;
mod hollow;
mod jobs;
mod lifecycle;
mod moving;
mod rollouts;
mod sets;
mod surroundings;

use anyhow::ensure;
use knarr_e2e::{Cluster, eventually, together};
use serde_json::Value;

const IMAGE: &str = "knarr.local/busybox:bookworm";

#[test]
fn pods_get_what_they_ask_for() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-workloads", &["busybox"])?;
    together(
        &cluster,
        &[
            ("a rolling update loses no request", lifecycle::rolling_update),
            ("init containers and restart policies", lifecycle::running_to_the_end),
            ("environment", surroundings::environment),
            ("probes", lifecycle::probes),
            ("back-offs", lifecycle::back_offs),
            ("limits", surroundings::limits),
            ("security context", surroundings::security),
            ("graceful termination", lifecycle::termination),
            ("volumes", surroundings::volumes),
            ("changing volumes", surroundings::changing_volumes),
        ],
    )
}

/// A namespace called `name`, with what its pods need to start.
fn namespace(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", name])?;
    eventually("the namespace has its service account", || {
        cluster.kubectl(["-n", name, "get", "serviceaccount", "default"])
    })?;
    Ok(())
}

/// Applies a pod made of `spec`, whose `IMAGE` stands for the image.
fn pod(cluster: &Cluster, namespace: &str, name: &str, spec: &str) -> anyhow::Result<()> {
    let spec: String = spec.replace("IMAGE", IMAGE).lines().map(|line| format!("  {line}\n")).collect();
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}, annotations: {{note: written}}}}\nspec:\n{spec}"
    ))?;
    Ok(())
}

/// Waits until the pod fulfils `check`; its state is told if it does not.
fn until(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    what: &str,
    check: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    eventually(what, || {
        let pod = cluster.get(["-n", namespace, "pod", name])?;
        ensure!(check(&pod["status"]), "pod {name}: {}", pod["status"]);
        Ok(pod)
    })
}

fn ended(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Value> {
    until(cluster, namespace, name, "the pod ends", |status| {
        status["phase"] == "Succeeded" || status["phase"] == "Failed"
    })
}

fn ready(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<()> {
    cluster.kubectl(["-n", namespace, "wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"])?;
    Ok(())
}

fn logs(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<String> {
    cluster.kubectl(["-n", namespace, "logs", name])
}
