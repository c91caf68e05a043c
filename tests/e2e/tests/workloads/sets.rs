//! Sets that give their pods names, places, or only a number: StatefulSets, DaemonSets, ReplicationControllers.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, together};

use super::{IMAGE, namespace};

#[test]
fn sets_keep_their_pods_and_roll_back_and_forth() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-sets", &["busybox"])?;
    together(
        &cluster,
        &[
            ("a statefulset is updated in part, in whole, and back", stateful_set),
            ("pods of a statefulset come and go in order", order),
            ("a daemonset with a surge loses no request", surge),
            ("daemons follow the labels of nodes", placement),
            ("a replicationcontroller keeps its number", replication),
        ],
    )
}

/// A pod template whose container says `version` in its environment, and ends at once.
fn template(app: &str, version: &str) -> String {
    format!(
        r#"{{metadata: {{labels: {{app: {app}}}}}, spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: "{IMAGE}", command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"], env: [{{name: VERSION, value: {version}}}]}}]}}}}"#
    )
}

fn stateful_set(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "stateful")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "stateful"].iter().chain(args));
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: stateful}}\nspec: {{clusterIP: None, selector: {{app: web}}}}\n---\n\
         apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: web, namespace: stateful, annotations: {{kubernetes.io/change-cause: first}}}}\n\
         spec: {{replicas: 3, serviceName: web, selector: {{matchLabels: {{app: web}}}}, template: {}}}\n",
        template("web", "one")
    ))?;
    cluster.rolled_out("stateful", "statefulset/web")?;
    let versions = || {
        kubectl(&[
            "get",
            "pods",
            "-l",
            "app=web",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name}={.spec.containers[0].env[0].value} {end}",
        ])
    };
    ensure!(versions()? == "web-0=one web-1=one web-2=one ");
    ensure!(kubectl(&["exec", "web-1", "--", "hostname"])?.trim() == "web-1");
    let found = kubectl(&["exec", "web-2", "--", "nslookup", "-type=a", "web-0.web.stateful.svc.cluster.local"])?;
    let address = kubectl(&["get", "pod", "web-0", "-o", "jsonpath={.status.podIP}"])?;
    ensure!(found.contains(&address), "{address} in:\n{found}");
    let set = cluster.get(["-n", "stateful", "statefulset", "web"])?;
    let labels = cluster.get(["-n", "stateful", "pod", "web-2"])?["metadata"]["labels"].clone();
    ensure!(
        labels["statefulset.kubernetes.io/pod-name"] == "web-2"
            && labels["apps.kubernetes.io/pod-index"] == "2"
            && labels["controller-revision-hash"] == set["status"]["currentRevision"],
        "{labels}"
    );

    let update = r#"{"metadata":{"annotations":{"kubernetes.io/change-cause":"second"}},"spec":{"updateStrategy":{"rollingUpdate":{"partition":2}},"template":{"spec":{"containers":[{"name":"c","env":[{"name":"VERSION","value":"two"}]}]}}}}"#;
    kubectl(&["patch", "statefulset", "web", "-p", update])?;
    let said = kubectl(&["rollout", "status", "statefulset/web", "--timeout=60s"])?;
    ensure!(said.contains("partitioned roll out complete: 1 new pods have been updated"), "{said}");
    ensure!(versions()? == "web-0=one web-1=one web-2=two ", "only the pods from the partition on are updated");
    kubectl(&["delete", "pod", "web-0"])?;
    eventually("a pod below the partition comes back as it was", || {
        ensure!(versions()? == "web-0=one web-1=one web-2=two ", "{}", versions()?);
        kubectl(&["wait", "--for=condition=Ready", "pod/web-0", "--timeout=30s"])
    })?;
    kubectl(&[
        "patch",
        "statefulset",
        "web",
        "-p",
        r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":0}}}}"#,
    ])?;
    cluster.rolled_out("stateful", "statefulset/web")?;
    ensure!(versions()? == "web-0=two web-1=two web-2=two ");

    let history = kubectl(&["rollout", "history", "statefulset/web"])?;
    ensure!(rows(&history) == ["1 first", "2 second"], "{history}");
    let first = kubectl(&["rollout", "history", "statefulset/web", "--revision=1"])?;
    ensure!(first.contains("VERSION:") && first.contains("one"), "{first}");
    kubectl(&["rollout", "undo", "statefulset/web"])?;
    cluster.rolled_out("stateful", "statefulset/web")?;
    ensure!(versions()? == "web-0=one web-1=one web-2=one ");
    let history = kubectl(&["rollout", "history", "statefulset/web"])?;
    ensure!(rows(&history) == ["2 second", "3 first"], "the old revision has a new number: {history}");
    let set = cluster.get(["-n", "stateful", "statefulset", "web"])?;
    ensure!(set["status"]["currentRevision"] == set["status"]["updateRevision"], "{}", set["status"]);
    kubectl(&["delete", "statefulset", "web"])?;
    eventually("the pods and revisions go with the set", || {
        let left = kubectl(&["get", "pods,controllerrevisions", "-o", "name"])?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// The rows of `kubectl rollout history`, without its heads.
fn rows(history: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    history.lines().map(words).filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).collect()
}

fn order(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "order")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "order"].iter().chain(args));
    cluster.apply(&format!(
        "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{name: db, namespace: order}}\n\
         spec: {{replicas: 3, ordinals: {{start: 5}}, selector: {{matchLabels: {{app: db}}}}, template: {}}}\n",
        template("db", "one")
    ))?;
    cluster.rolled_out("order", "statefulset/db")?;
    let names = || kubectl(&["get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
    ensure!(names()? == "db-5 db-6 db-7", "{}", names()?);
    for (before, after) in [("db-5", "db-6"), ("db-6", "db-7")] {
        let ready = kubectl(&[
            "get",
            "pod",
            before,
            "-o",
            "jsonpath={.status.conditions[?(@.type==\"Ready\")].lastTransitionTime}",
        ])?;
        let made = kubectl(&["get", "pod", after, "-o", "jsonpath={.metadata.creationTimestamp}"])?;
        ensure!(!ready.is_empty() && ready <= made, "{before} was ready at {ready}, {after} made at {made}");
    }
    kubectl(&["scale", "statefulset", "db", "--replicas=1"])?;
    eventually("the highest ordinals go", || {
        ensure!(names()? == "db-5", "{}", names()?);
        let shown = kubectl(&["get", "statefulset", "db", "--no-headers"])?;
        ensure!(shown.contains("1/1"), "{shown}");
        Ok(())
    })?;
    let events = kubectl(&["get", "events", "--field-selector", "involvedObject.kind=StatefulSet"])?;
    for words in ["Create Pod db-5 in StatefulSet db successful", "Delete Pod db-7 in StatefulSet db successful"] {
        ensure!(events.contains(words), "{words} in:\n{events}");
    }
    Ok(())
}

fn surge(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "surge")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "surge"].iter().chain(args));
    let manifest = |version: &str| {
        format!(
            r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web, namespace: surge}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  updateStrategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 10
      containers:
      - name: web
        image: {IMAGE}
        command: [sh, -c, "echo {version} >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
        lifecycle: {{preStop: {{sleep: {{seconds: 4}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: surge}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
"#
        )
    };
    cluster.apply(&manifest("one"))?;
    cluster.rolled_out("surge", "daemonset/web")?;
    let address = kubectl(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])?;
    let url = format!("http://{address}/");
    ensure!(eventually("the service answers", || cluster.curl([&url]))?.trim() == "one");
    cluster.apply(&manifest("two"))?;
    let (mut old, mut new) = (0, 0);
    while new < 40 {
        match cluster.curl([&url]).context("a request while the pod is replaced")?.trim() {
            "one" => old += 1,
            _ => new += 1,
        }
        ensure!(old < 20_000, "the old pod never went");
    }
    cluster.rolled_out("surge", "daemonset/web")?;
    ensure!(rows(&kubectl(&["rollout", "history", "daemonset/web"])?) == ["1 <none>", "2 <none>"]);
    kubectl(&["rollout", "undo", "daemonset/web"])?;
    cluster.rolled_out("surge", "daemonset/web")?;
    eventually("only the first version answers", || {
        ensure!(cluster.curl([&url])?.trim() == "one");
        let pods = cluster.get(["-n", "surge", "pods"])?;
        ensure!(pods["items"].as_array().is_some_and(|items| items.len() == 1), "{pods}");
        Ok(())
    })?;
    let history = kubectl(&["rollout", "history", "daemonset/web"])?;
    ensure!(rows(&history) == ["2 <none>", "3 <none>"], "{history}");
    let pod = &cluster.get(["-n", "surge", "pods"])?["items"][0];
    let terms =
        &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    ensure!(terms[0]["matchFields"][0]["values"][0] == pod["spec"]["nodeName"], "{}", pod["spec"]);
    Ok(())
}

fn placement(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "placement")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "placement"].iter().chain(args));
    let template =
        template("agent", "one").replace("spec: {", "spec: {nodeSelector: {e2e.knarr.local/agent: \"yes\"}, ");
    cluster.apply(&format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: agent, namespace: placement}}\n\
         spec: {{selector: {{matchLabels: {{app: agent}}}}, template: {template}}}\n"
    ))?;
    let node = kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let counts = |desired: i64, ready: i64| {
        eventually("the daemonset tells how many", || {
            let status = cluster.get(["-n", "placement", "daemonset", "agent"])?["status"].clone();
            ensure!(
                status["observedGeneration"] == 1
                    && status["desiredNumberScheduled"] == desired
                    && status["numberReady"] == ready
                    && status["numberMisscheduled"] == 0,
                "{status}"
            );
            let pods = kubectl(&["get", "pods", "-o", "name"])?;
            ensure!(pods.lines().count() as i64 == desired, "{pods}");
            Ok(())
        })
    };
    counts(0, 0)?;
    kubectl(&["label", "node", &node, "e2e.knarr.local/agent=yes"])?;
    counts(1, 1)?;
    let ended = kubectl(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"])?;
    kubectl(&["delete", "pod", &ended])?;
    counts(1, 1)?;
    kubectl(&["label", "node", &node, "e2e.knarr.local/agent-"])?;
    counts(0, 0)
}

fn replication(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "replication")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "replication"].iter().chain(args));
    cluster.apply(&format!(
        "apiVersion: v1\nkind: ReplicationController\nmetadata: {{name: old, namespace: replication}}\n\
         spec: {{replicas: 2, template: {}}}\n",
        template("old", "one")
    ))?;
    let keeps = |count: i64| {
        eventually("the controller keeps its number", || {
            let status = cluster.get(["-n", "replication", "replicationcontroller", "old"])?["status"].clone();
            ensure!(status["replicas"] == count && status["availableReplicas"] == count, "{status}");
            let pods = kubectl(&["get", "pods", "-l", "app=old", "-o", "name"])?;
            ensure!(pods.lines().count() as i64 == count, "{pods}");
            Ok(())
        })
    };
    keeps(2)?;
    kubectl(&["scale", "replicationcontroller", "old", "--replicas=3"])?;
    keeps(3)?;
    let one = kubectl(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"])?;
    kubectl(&["delete", "pod", &one, "--wait=false"])?;
    keeps(3)?;
    kubectl(&["scale", "replicationcontroller", "old", "--replicas=1"])?;
    keeps(1)?;
    kubectl(&["delete", "replicationcontroller", "old", "--cascade=orphan"])?;
    ensure!(kubectl(&["get", "pods", "-l", "app=old", "-o", "name"])?.lines().count() == 1, "the pod outlives it");
    Ok(())
}
