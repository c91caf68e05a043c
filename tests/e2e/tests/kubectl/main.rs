//! Daily work with kubectl as people install it: each part does one kind of work in a namespace of its own.
//!
//! Parts run at once, as several people at one cluster would; the one that empties the node comes last.

mod applying;
mod changing;
mod ending;
mod inside;
mod making;
mod permitting;
mod reading;
mod showing;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::Context as _;
use knarr_e2e::{Cluster, eventually, run, together};

const IMAGE: &str = "knarr.local/busybox:bookworm";

#[test]
fn kubectl_does_its_daily_work() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-kubectl", &["busybox"])?;
    together(
        &cluster,
        &[
            ("get and its outputs", reading::reading),
            ("get -w", reading::watching),
            ("apply, diff, edit, patch, label, annotate", changing::changing),
            ("apply --server-side and its relatives", applying::applying),
            ("rollout, scale, set image", changing::rolling),
            ("logs, exec, cp", inside::inside),
            ("delete", ending::deleting),
            ("delete with cascade", ending::cascading),
            ("explain, api-resources, raw", reading::asking),
            ("create, auth can-i, tokens", permitting::permitting),
            ("run, expose, wait", inside::starting),
            ("what must not be done", permitting::refused),
            ("get in every format", showing::formats),
            ("explain on every kind", showing::explaining),
            ("wait in every way", showing::waiting),
            ("events, top, api-resources", showing::telling),
            ("create of everything", making::creating),
            ("set, autoscale, label, patch of subresources", making::setting),
            ("replace, edit, last-applied, kustomize", making::replacing),
            ("debug", making::debugging),
        ],
    )?;
    ending::draining(&cluster)
}

/// A namespace called `name`, with what its pods need to start.
fn namespace(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", name])?;
    eventually("the namespace has its service account", || {
        cluster.kubectl(["-n", name, "get", "serviceaccount", "default"])
    })?;
    Ok(())
}

/// A Deployment of pods that serve their own name at port 8080.
fn deployment(namespace: &str, name: &str, replicas: u32) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {IMAGE}
        command: [sh, -c, "echo started; hostname >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        ports: [{{containerPort: 8080, name: http}}]
        readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
"#
    )
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty()).collect()
}

/// A running kubectl whose lines can be waited for; killed in the end.
struct Lines {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Lines {
    fn of(cluster: &Cluster, args: &[&str]) -> anyhow::Result<Self> {
        let mut child = cluster.command("timeout").args(["60", "kubectl"]).args(args).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        Ok(Self { child, lines })
    }

    /// The next line that contains `text`.
    fn until(&mut self, text: &str) -> anyhow::Result<String> {
        for line in self.lines.by_ref() {
            let line = line?;
            if line.contains(text) {
                return Ok(line);
            }
        }
        anyhow::bail!("it ended before it told {text}")
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // a SIGTERM, which timeout hands on: SIGKILL would leave kubectl behind
        let stopped = run(std::process::Command::new("kill").arg(self.child.id().to_string()));
        if let (Err(error), Ok(None)) = (stopped, self.child.try_wait()) {
            eprintln!("cannot stop kubectl: {error:#}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("cannot wait for kubectl: {error:#}");
        }
    }
}
