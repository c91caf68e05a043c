//! Nodes that are none: a control plane is loaded with more of them than the machine could be, and shows what it does with
//! several.

use std::process::{Child, Command, Stdio};

use anyhow::ensure;
use knarr_e2e::{Cluster, eventually, fails, run, together};

use super::{moving, namespace, rollouts};

const ONLY: &str = "node.kubernetes.io/instance-type=hollow";

/// Ended by signal on drop, so that a failed test leaves nothing.
struct Hollow(Child);

impl Drop for Hollow {
    fn drop(&mut self) {
        let ended = self.0.kill().and_then(|()| self.0.wait());
        if let Err(error) = ended {
            eprintln!("cannot end the hollow nodes: {error}");
        }
    }
}

#[test]
fn hollow_nodes_take_pods_and_leave_nothing() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-hollow", &[])?;
    let told = fails(&mut cluster.knarr(["bench", "hollow", "--nodes", "0"]), 2)?;
    ensure!(told.contains("--nodes"), "the flag is named: {told}");

    let mut hollow = Hollow(cluster.knarr(["bench", "hollow", "--nodes", "20"]).stdout(Stdio::null()).spawn()?);
    eventually("twenty nodes are ready", || {
        let nodes = cluster.kubectl(["get", "nodes", "-l", ONLY, "--no-headers"])?;
        let ready = nodes.lines().filter(|line| line.split_whitespace().nth(1) == Some("Ready")).count();
        ensure!(ready == 20, "{nodes}");
        Ok(())
    })?;

    namespace(&cluster, "many")?;
    cluster.apply(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: many, namespace: many}
spec:
  replicas: 100
  selector: {matchLabels: {app: many}}
  template:
    metadata: {labels: {app: many}}
    spec:
      nodeSelector: {node.kubernetes.io/instance-type: hollow}
      containers: [{name: c, image: "nowhere.example/none:1"}]
"#,
    )?;
    cluster.kubectl(["-n", "many", "rollout", "status", "deployment/many", "--timeout=60s"])?;
    let places = cluster.kubectl(["-n", "many", "get", "pods", "-o", "jsonpath={.items[*].spec.nodeName}"])?;
    let used: std::collections::BTreeSet<&str> = places.split_whitespace().collect();
    ensure!(used.len() == 20, "all nodes are used: {used:?}");

    cluster.kubectl(["-n", "many", "scale", "deployment/many", "--replicas=0"])?;
    eventually("the pods are gone", || {
        let left = cluster.kubectl(["-n", "many", "get", "pods", "-o", "name"])?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })?;

    together(
        &cluster,
        &[
            ("deployments roll, pause and go back", rollouts::deployments),
            ("a deployment that is stuck is scaled in proportion and given up", rollouts::stuck),
            ("statefulsets in order, at once and in part", rollouts::stateful_sets),
            ("daemonsets with a surge and by hand", rollouts::daemon_sets),
            ("a node is drained as far as a budget allows", moving::draining),
            ("taints drive pods away and keep them off", moving::tainting),
        ],
    )?;

    run(Command::new("kill").arg(hollow.0.id().to_string()))?;
    ensure!(hollow.0.wait()?.success(), "it ends well");
    let left = cluster.kubectl(["get", "nodes", "-l", ONLY, "-o", "name"])?;
    ensure!(left.trim().is_empty(), "the nodes are gone: {left}");
    Ok(())
}
