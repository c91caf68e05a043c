//! Reaching what runs, by every protocol kubectl has: streams, forwarded ports, proxies, logs, and changes in place.
//!
//! Parts run at once in namespaces of their own; the one that empties the node comes last.

mod changes;
mod proxies;
mod ranges;
mod streams;

use anyhow::Context as _;
use knarr_e2e::{Cluster, eventually, together};

const IMAGE: &str = "knarr.local/busybox:bookworm";

#[test]
fn what_runs_is_reached_by_every_protocol() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-reaching", &["busybox"])?;
    together(
        &cluster,
        &[
            ("port-forward", streams::forwarding),
            ("exec, attach, cp without WebSockets", streams::without_websockets),
            ("debug", changes::debugging),
            ("resize", changes::resizing),
            ("proxy", proxies::proxying),
            ("logs", proxies::logging),
            ("ranges of services", ranges::ranges),
        ],
    )?;
    // empties the node of pods labelled as everybody's are
    proxies::draining(&cluster)
}

/// A namespace with a pod `web` that serves its own `/etc` at port 8080 and reads lines at its input.
fn serving(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", namespace])?;
    eventually("the namespace has its service account", || {
        cluster.kubectl(["-n", namespace, "get", "serviceaccount", "default"])
    })?;
    cluster.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: web, namespace: {namespace}, labels: {{app: web}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: {IMAGE}
    stdin: true
    command: [sh, -c, "httpd -p 8080 -h /etc; echo ready; while read line; do echo \"heard $line\"; done; exec sleep 1000"]
    ports: [{{containerPort: 8080, name: http}}]
    readinessProbe: {{httpGet: {{path: /passwd, port: http}}, periodSeconds: 1}}
"#
    ))?;
    cluster.kubectl(["-n", namespace, "wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]).context("web")?;
    Ok(())
}
