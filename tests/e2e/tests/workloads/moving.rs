//! Nodes that are emptied, closed and tainted, and where their pods go. The nodes are hollow.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails, run};
use serde_json::{Value, json};

use super::namespace;
use super::rollouts::{keeper, take};

/// The node of each pod that is there to stay.
fn places(cluster: &Cluster, namespace: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let pods = cluster.get(["-n", namespace, "pods"])?;
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let items = pods["items"].as_array().context("pods")?.iter();
    let staying = items.filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
    Ok(staying.map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"]))).collect())
}

fn on(places: &BTreeMap<String, String>, node: &str) -> Vec<String> {
    places.iter().filter(|(_, place)| *place == node).map(|(name, _)| name.clone()).collect()
}

/// As a node is emptied in the book: it is closed, what a budget keeps is waited for, what is nobody's needs force.
pub(super) fn draining(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "drained")?;
    let nodes = take(cluster, &[5, 6], "drained")?;
    let (node, other) = (nodes[0].as_str(), nodes[1].as_str());
    let says = |args: &[&str], wanted: &str| {
        let said = cluster.kubectl(args)?;
        ensure!(said.trim_end() == wanted, "kubectl {args:?} says:\n{said}");
        Ok(())
    };
    says(&["cordon", other], &format!("node/{other} cordoned"))?;
    says(&["cordon", other], &format!("node/{other} already cordoned"))?;
    cluster.apply(&keeper("Deployment", "drained", "web", "drained", &json!({ "replicas": 2 })).to_string())?;
    cluster.apply(&keeper("DaemonSet", "drained", "agent", "drained", &json!({})).to_string())?;
    let budget = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": { "name": "web", "namespace": "drained" },
        "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "web" } } } });
    cluster.apply(&budget.to_string())?;
    cluster.rolled_out("drained", "deployment/web")?;
    cluster.rolled_out("drained", "daemonset/agent")?;
    let web = |node: &str| {
        let mut there = on(&places(cluster, "drained")?, node);
        there.retain(|name| name.starts_with("web-"));
        Ok::<_, anyhow::Error>(there)
    };
    ensure!(web(node)?.len() == 2, "the other node is closed");
    says(&["uncordon", other], &format!("node/{other} uncordoned"))?;
    eventually("the budget has counted", || {
        let shown = cluster.kubectl(["-n", "drained", "get", "pdb", "web", "--no-headers"])?;
        let columns: Vec<&str> = shown.split_whitespace().take(4).collect();
        ensure!(columns == ["web", "2", "N/A", "0"], "{shown}");
        Ok(())
    })?;

    let drain = |more: &[&str]| {
        let mut command = cluster.command("kubectl");
        command.args(["drain", node]).args(more);
        command
    };
    let agents = on(&places(cluster, "drained")?, node)
        .into_iter()
        .find(|name| name.starts_with("agent-"))
        .context("an agent")?;
    let refused = fails(&mut drain(&[]), 1)?;
    let why = format!("cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): drained/{agents}");
    ensure!(refused.contains(&format!("node/{node} cordoned")) && refused.contains(&why), "{refused}");
    let kept = web(node)?;
    let refused = fails(&mut drain(&["--ignore-daemonsets", "--timeout=2s"]), 1)?;
    ensure!(refused.contains(&format!("Warning: ignoring DaemonSet-managed Pods: drained/{agents}")), "{refused}");
    for name in &kept {
        let line = format!(
            "error when evicting pods/\"{name}\" -n \"drained\" (will retry after 5s): Cannot evict pod as it would violate the pod's disruption budget."
        );
        ensure!(refused.contains(&format!("evicting pod drained/{name}")) && refused.contains(&line), "{refused}");
    }
    ensure!(web(node)? == kept, "the budget keeps both");

    let one = r#"{"spec":{"minAvailable":1}}"#;
    cluster.kubectl(["-n", "drained", "patch", "pdb", "web", "--type=merge", "-p", one])?;
    let said = run(&mut drain(&["--ignore-daemonsets", "--timeout=60s"]))?;
    for name in &kept {
        ensure!(said.contains(&format!("pod/{name} evicted")), "{said}");
    }
    ensure!(said.trim_end().ends_with(&format!("node/{node} drained")), "{said}");
    cluster.rolled_out("drained", "deployment/web")?;
    ensure!((web(node)?.len(), web(other)?.len()) == (0, 2), "all went to the other node");
    says(&["uncordon", node], &format!("node/{node} uncordoned"))?;
    ensure!(cluster.kubectl(["get", "node", node, "--no-headers"])?.contains(" Ready "), "it is open again");
    Ok(())
}

pub(super) fn tainting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "tainted")?;
    let nodes = take(cluster, &[7, 8], "tainted")?;
    let (node, other) = (nodes[0].as_str(), nodes[1].as_str());
    let pod = |name: &str, node: &str, tolerations: Value| {
        let spec = json!({ "nodeName": node, "terminationGracePeriodSeconds": 0, "tolerations": tolerations,
            "containers": [{ "name": "c", "image": "nowhere.example/c:1" }] });
        let metadata = json!({ "name": name, "namespace": "tainted" });
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec }).to_string()
    };
    cluster.apply(&keeper("Deployment", "tainted", "web", "tainted", &json!({ "replicas": 2 })).to_string())?;
    cluster.rolled_out("tainted", "deployment/web")?;
    let tolerates = |seconds: Value| json!([{ "key": "mine", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": seconds }]);
    cluster.apply(&pod("for-ever", node, tolerates(Value::Null)))?;
    cluster.apply(&pod("for-a-while", node, tolerates(json!(4))))?;
    cluster.apply(&pod("not-at-all", node, json!([])))?;
    cluster.kubectl(["-n", "tainted", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"])?;

    let said = cluster.kubectl(["taint", "nodes", node, "mine=yes:NoExecute"])?;
    ensure!(said.trim() == format!("node/{node} tainted"), "{said}");
    eventually("who does not tolerate it leaves at once", || {
        let there = on(&places(cluster, "tainted")?, node);
        ensure!(there == ["for-a-while", "for-ever"], "{there:?}");
        Ok(())
    })?;
    eventually("who tolerates it for a while leaves then", || {
        let there = on(&places(cluster, "tainted")?, node);
        ensure!(there == ["for-ever"], "{there:?}");
        Ok(())
    })?;
    cluster.rolled_out("tainted", "deployment/web")?;
    let moved = on(&places(cluster, "tainted")?, other);
    ensure!(moved.len() == 2, "{moved:?}");
    let told =
        cluster.kubectl(["-n", "tainted", "get", "events", "--field-selector", "reason=TaintManagerEviction"])?;
    ensure!(told.contains("Marking for deletion Pod tainted/not-at-all"), "{told}");

    let said = cluster.kubectl(["taint", "nodes", other, "mine=yes:NoSchedule"])?;
    ensure!(said.trim() == format!("node/{other} tainted"), "{said}");
    cluster.kubectl(["-n", "tainted", "scale", "deployment/web", "--replicas=3"])?;
    eventually("the third has no node, and is told why", || {
        let pods = cluster.get(["-n", "tainted", "pods", "-l", "app=web", "--field-selector=status.phase=Pending"])?;
        let message = pods["items"][0]["status"]["conditions"][0]["message"].as_str().context("a message")?.to_owned();
        ensure!(message.contains("2 node(s) had untolerated taint(s)"), "{message}");
        Ok(())
    })?;
    ensure!(on(&places(cluster, "tainted")?, other) == moved, "who is there stays");
    let said = cluster.kubectl(["taint", "nodes", other, "mine:NoSchedule-"])?;
    ensure!(said.trim() == format!("node/{other} untainted"), "{said}");
    cluster.rolled_out("tainted", "deployment/web")?;
    cluster.kubectl(["taint", "nodes", node, "mine-"])?;
    Ok(())
}
