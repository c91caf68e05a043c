//! How a pod starts, serves, fails and ends.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually};

use super::{IMAGE, ended, logs, namespace, pod, ready, until};

pub(super) fn rolling_update(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "rolling")?;
    let manifest = |version: &str| {
        format!(
            r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: rolling}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxUnavailable: 0, maxSurge: 1}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: {IMAGE}
        command: [sh, -c, "echo {version} >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
        lifecycle: {{preStop: {{sleep: {{seconds: 2}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: rolling}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
"#
        )
    };
    cluster.apply(&manifest("one"))?;
    cluster.rolled_out("rolling", "deployment/web")?;
    let address = cluster.kubectl(["-n", "rolling", "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"])?;
    let url = format!("http://{address}/");
    ensure!(eventually("the service answers", || cluster.curl([&url]))?.trim() == "one");
    cluster.apply(&manifest("two"))?;
    let (mut old, mut new) = (0, 0);
    while new < 40 {
        match cluster.curl([&url]).context("a request while the pods are replaced")?.trim() {
            "one" => old += 1,
            _ => new += 1,
        }
        ensure!(old < 20_000, "the old pods never went");
    }
    cluster.rolled_out("rolling", "deployment/web")?;
    eventually("only the new version answers", || {
        let pods = cluster.get(["-n", "rolling", "pods"])?;
        ensure!(pods["items"].as_array().is_some_and(|items| items.len() == 2), "{pods}");
        ensure!(cluster.curl([&url])?.trim() == "two");
        Ok(())
    })
}

pub(super) fn running_to_the_end(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "ending")?;
    pod(
        cluster,
        "ending",
        "again",
        r#"
restartPolicy: OnFailure
initContainers:
- {name: first, image: IMAGE, command: [sh, -c, "echo first >>/d/order"], volumeMounts: [{name: d, mountPath: /d}]}
- {name: second, image: IMAGE, command: [sh, -c, "echo second >>/d/order"], volumeMounts: [{name: d, mountPath: /d}]}
containers:
- name: c
  image: IMAGE
  command: [sh, -c, "cat /d/order; [ -e /d/failed ] && exit 0; touch /d/failed; exit 3"]
  volumeMounts: [{name: d, mountPath: /d}]
volumes: [{name: d, emptyDir: {}}]
"#,
    )?;
    let never = "restartPolicy: Never\ncontainers:\n- {name: c, image: IMAGE, command: [sh, -c, \"echo why >/dev/termination-log; exit 5\"]}\n";
    pod(cluster, "ending", "never", never)?;
    let said = never
        .replace("echo why >/dev/termination-log", "echo only said")
        .replace("name: c,", "name: c, terminationMessagePolicy: FallbackToLogsOnError,");
    pod(cluster, "ending", "said", &said)?;

    let again = ended(cluster, "ending", "again")?;
    ensure!(
        again["status"]["phase"] == "Succeeded" && again["status"]["containerStatuses"][0]["restartCount"] == 1,
        "{}",
        again["status"]
    );
    ensure!(again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 3, "{}", again["status"]);
    ensure!(logs(cluster, "ending", "again")? == "first\nsecond\n", "init containers ran in order");
    let never = ended(cluster, "ending", "never")?;
    let state = &never["status"]["containerStatuses"][0]["state"]["terminated"];
    ensure!(
        never["status"]["phase"] == "Failed" && state["exitCode"] == 5 && state["reason"] == "Error",
        "{}",
        never["status"]
    );
    ensure!(state["message"] == "why\n", "{state}");
    let said = ended(cluster, "ending", "said")?;
    ensure!(
        said["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == "only said\n",
        "{}",
        said["status"]
    );
    Ok(())
}

pub(super) fn probes(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "probes")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "probes"].iter().chain(args));
    pod(
        cluster,
        "probes",
        "gated",
        r#"
terminationGracePeriodSeconds: 0
containers:
- name: web
  image: IMAGE
  command: [httpd, -f, -p, "8080", -h, /etc]
  startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
  readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}
  livenessProbe: {httpGet: {path: /passwd, port: 8080}, periodSeconds: 1}
"#,
    )?;
    pod(
        cluster,
        "probes",
        "sick",
        r#"
terminationGracePeriodSeconds: 0
containers:
- name: web
  image: IMAGE
  command: [httpd, -f, -p, "8080", -h, /etc]
  livenessProbe: {httpGet: {path: /absent, port: 8080}, periodSeconds: 1, failureThreshold: 2}
"#,
    )?;
    kubectl(&["expose", "pod", "gated", "--port=80", "--target-port=8080"])?;
    until(cluster, "probes", "gated", "it runs", |status| status["containerStatuses"][0]["started"] == true)?;
    let addresses = || kubectl(&["get", "endpoints", "gated", "-o", "jsonpath={.subsets[*].addresses[*].ip}"]);
    ensure!(addresses()?.is_empty(), "a pod that is not ready gets no traffic");
    kubectl(&["exec", "gated", "--", "touch", "/tmp/ready"])?;
    eventually("the ready pod is an endpoint", || {
        ensure!(!addresses()?.is_empty());
        Ok(())
    })?;
    let slice = kubectl(&[
        "get",
        "endpointslices",
        "-l",
        "kubernetes.io/service-name=gated",
        "-o",
        "jsonpath={.items[0].endpoints[0].conditions.ready}",
    ])?;
    ensure!(slice == "true", "{slice}");
    kubectl(&["exec", "gated", "--", "rm", "/tmp/ready"])?;
    eventually("the unready pod is no endpoint", || {
        ensure!(addresses()?.is_empty());
        Ok(())
    })?;
    let sick = until(cluster, "probes", "sick", "a sick container is started anew", |status| {
        status["containerStatuses"][0]["restartCount"].as_i64() > Some(0)
    })?;
    ensure!(sick["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137, "{}", sick["status"]);
    eventually("an event tells why", || {
        let events = kubectl(&["get", "events", "--field-selector", "involvedObject.name=sick"])?;
        ensure!(
            events.contains("Liveness probe failed: HTTP probe failed with statuscode: 404")
                && events.contains("Killing"),
            "{events}"
        );
        Ok(())
    })?;
    let gated = cluster.get(["-n", "probes", "pod", "gated"])?;
    ensure!(gated["status"]["containerStatuses"][0]["restartCount"] == 0, "readiness restarts nothing");
    Ok(())
}

pub(super) fn back_offs(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "back-offs")?;
    pod(cluster, "back-offs", "crash", "containers:\n- {name: c, image: IMAGE, command: [sh, -c, \"exit 7\"]}\n")?;
    pod(cluster, "back-offs", "absent", "containers:\n- {name: c, image: \"127.0.0.1:1/absent:1\"}\n")?;
    pod(
        cluster,
        "back-offs",
        "never-pulled",
        "containers:\n- {name: c, image: \"knarr.local/absent:1\", imagePullPolicy: Never}\n",
    )?;
    pod(cluster, "back-offs", "wrong-command", "containers:\n- {name: c, image: IMAGE, command: [/absent]}\n")?;
    let waiting = |name: &str, reasons: &[&str], says: &str| {
        until(cluster, "back-offs", name, "the pod tells what it waits for", |status| {
            let waiting = &status["containerStatuses"][0]["state"]["waiting"];
            reasons.iter().any(|reason| waiting["reason"] == *reason)
                && waiting["message"].as_str().is_some_and(|message| message.contains(says))
        })
    };
    let crash = waiting("crash", &["CrashLoopBackOff"], "back-off")?;
    ensure!(crash["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 7, "{}", crash["status"]);
    ensure!(cluster.kubectl(["-n", "back-offs", "get", "pod", "crash"])?.contains("CrashLoopBackOff"));
    waiting("absent", &["ImagePullBackOff"], "127.0.0.1:1/absent:1")?;
    waiting("absent", &["ImagePullBackOff", "ErrImagePull"], "refused").context("the reason is in the message")?;
    waiting("never-pulled", &["ErrImageNeverPull"], "knarr.local/absent:1")?;
    let wrong = until(cluster, "back-offs", "wrong-command", "the pod tells what is wrong", |status| {
        status.to_string().contains("/absent")
    })?;
    ensure!(wrong["status"]["phase"] != "Failed", "it is tried again: {}", wrong["status"]);
    Ok(())
}

pub(super) fn termination(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "termination")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().display();
    let spec = format!(
        r#"
terminationGracePeriodSeconds: 30
containers:
- name: c
  image: IMAGE
  command: [sh, -c, "trap 'echo term >>/out/order; exit 0' TERM; while :; do sleep 0.1; done"]
  lifecycle:
    postStart: {{exec: {{command: [sh, -c, "echo start >>/out/order"]}}}}
    preStop: {{exec: {{command: [sh, -c, "echo stop >>/out/order"]}}}}
  volumeMounts: [{{name: out, mountPath: /out}}]
volumes: [{{name: out, hostPath: {{path: {path}, type: Directory}}}}]
"#
    );
    pod(cluster, "termination", "polite", &spec)?;
    let deaf = "terminationGracePeriodSeconds: 1\ncontainers:\n- {name: c, image: IMAGE, command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"]}\n";
    pod(cluster, "termination", "deaf", deaf)?;
    ready(cluster, "termination", "polite")?;
    ready(cluster, "termination", "deaf")?;
    cluster
        .kubectl(["-n", "termination", "delete", "pod", "deaf", "--timeout=20s"])
        .context("SIGKILL ends who hears no SIGTERM")?;
    cluster
        .kubectl(["-n", "termination", "delete", "pod", "polite", "--timeout=20s"])
        .context("who heeds SIGTERM is not waited for")?;
    let order = std::fs::read_to_string(folder.path().join("order"))?;
    ensure!(order == "start\nstop\nterm\n", "{order}");
    Ok(())
}
