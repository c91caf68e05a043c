//! Ending things: delete with its cascades, namespaces, drain.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually};
use serde_json::Value;

use super::{IMAGE, deployment, namespace};

pub(super) fn deleting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "deleting")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "deleting"].iter().chain(args));
    cluster.apply(&deployment("deleting", "web", 2))?;
    kubectl(&["create", "configmap", "a", "--from-literal=x=y"])?;
    kubectl(&[
        "run",
        "slow",
        "--image",
        IMAGE,
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 1; done",
    ])?;
    kubectl(&["wait", "--for=condition=Ready", "pod/slow", "--timeout=60s"])?;
    kubectl(&["delete", "pod", "slow", "--force", "--grace-period=0"])?;
    ensure!(kubectl(&["get", "pod", "slow"]).is_err(), "a forced deletion is immediate");
    kubectl(&["delete", "configmap", "a"])?;
    ensure!(kubectl(&["delete", "configmap", "a"]).is_err());
    kubectl(&["delete", "configmap", "a", "--ignore-not-found"])?;

    kubectl(&["create", "configmap", "held", "--from-literal=x=y"])?;
    kubectl(&[
        "patch",
        "configmap",
        "held",
        "--type=merge",
        "-p",
        r#"{"metadata":{"finalizers":["example.com/hold"]}}"#,
    ])?;
    kubectl(&["delete", "configmap", "held", "--wait=false"])?;
    ensure!(!kubectl(&["get", "configmap", "held", "-o", "jsonpath={.metadata.deletionTimestamp}"])?.is_empty());
    cluster.kubectl(["delete", "namespace", "deleting", "--wait=false"])?;
    eventually("the namespace tells what it waits for", || {
        let namespace = cluster.get(["namespace", "deleting"])?;
        let conditions = namespace["status"]["conditions"].to_string();
        ensure!(conditions.contains("example.com/hold"), "{conditions}");
        Ok(())
    })?;
    ensure!(kubectl(&["create", "configmap", "late"]).is_err(), "nothing is made in a namespace that ends");
    kubectl(&["patch", "configmap", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])?;
    cluster.kubectl(["wait", "--for=delete", "namespace/deleting", "--timeout=60s"])?;
    Ok(())
}

pub(super) fn cascading(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "cascading")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "cascading"].iter().chain(args));
    for name in ["kept", "gone"] {
        cluster.apply(&deployment("cascading", name, 1))?;
        cluster.rolled_out("cascading", &format!("deployment/{name}"))?;
    }
    kubectl(&["delete", "deployment", "kept", "--cascade=orphan"])?;
    let owners =
        kubectl(&["get", "replicasets", "-l", "app=kept", "-o", "jsonpath={.items[*].metadata.ownerReferences}"])?;
    ensure!(owners.is_empty(), "an orphan has no owner: {owners}");
    ensure!(kubectl(&["get", "pods", "-l", "app=kept"])?.contains("Running"));
    kubectl(&["delete", "deployment", "gone", "--cascade=foreground"])?;
    ensure!(
        kubectl(&["get", "replicasets,pods", "-l", "app=gone", "-o", "name"])?.is_empty(),
        "in the foreground the owner goes last"
    );
    kubectl(&["delete", "replicasets", "-l", "app=kept"])?;
    kubectl(&["wait", "--for=delete", "pods", "-l", "app=kept", "--timeout=60s"])?;
    Ok(())
}

/// Last: an emptied node has no room for the others.
pub(super) fn draining(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "draining")?;
    cluster.apply(&deployment("draining", "web", 1))?;
    cluster.rolled_out("draining", "deployment/web")?;
    let node = cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    cluster.kubectl(["cordon", &node])?;
    ensure!(cluster.kubectl(["get", "nodes"])?.contains("Ready,SchedulingDisabled"));
    cluster.kubectl([
        "drain",
        &node,
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--pod-selector=app=web",
        "--timeout=60s",
    ])?;
    eventually("the new pod waits for a node", || {
        let pods = cluster.get(["-n", "draining", "pods"])?;
        let items = pods["items"].as_array().context("a list")?;
        let waits = |pod: &Value| {
            pod["status"]["phase"] == "Pending" && pod["status"]["conditions"].to_string().contains("unschedulable")
        };
        ensure!(items.len() == 1 && waits(&items[0]), "{pods}");
        Ok(())
    })?;
    cluster.kubectl(["uncordon", &node])?;
    cluster.rolled_out("draining", "deployment/web")
}
