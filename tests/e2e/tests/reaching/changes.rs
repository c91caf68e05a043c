//! What changes in a pod that runs: containers added to look into it, other resources.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, input, run};

use super::{IMAGE, serving};

pub(super) fn debugging(cluster: &Cluster) -> anyhow::Result<()> {
    serving(cluster, "debugging")?;
    let debug = |rest: &[&str]| {
        let mut command = cluster.command("timeout");
        command.args(["60", "kubectl", "-n", "debugging", "debug", "web", "--image", IMAGE, "-q"]).args(rest);
        command
    };
    // into the processes of the container: its command line is seen and its root is reached
    let told = input(
        &mut debug(&["-i", "-c", "one", "--target=web", "--", "sh"]),
        "ls /proc/1/root/etc/passwd; tr '\\0' ' ' </proc/1/cmdline; echo; hostname; exit 3\n",
    )
    .or_else(|error| Ok::<_, anyhow::Error>(format!("{error:#}")))?;
    ensure!(told.contains("/proc/1/root/etc/passwd") && told.contains("web"), "{told}");
    let shown = cluster.get(["-n", "debugging", "pod", "web"])?;
    let status = &shown["status"]["ephemeralContainerStatuses"][0];
    ensure!(status["name"] == "one", "{status}");
    eventually("its end is told", || {
        let shown = cluster.get(["-n", "debugging", "pod", "web"])?;
        let state = &shown["status"]["ephemeralContainerStatuses"][0]["state"];
        ensure!(state["terminated"]["exitCode"] == 3, "{state}");
        ensure!(shown["status"]["containerStatuses"][0]["restartCount"] == 0);
        Ok(())
    })?;
    // in the pod's network: what listens on localhost there is reached
    run(&mut debug(&[
        "-c",
        "two",
        "--attach=false",
        "--",
        "sh",
        "-c",
        "wget -qO- http://127.0.0.1:8080/group; sleep 1000",
    ]))?;
    eventually("the second one says what it saw", || {
        ensure!(cluster.kubectl(["-n", "debugging", "logs", "web", "-c", "two"])?.contains("root:"));
        Ok(())
    })?;
    let line = "kubectl -n debugging exec -it web -c two -- sh -c 'tty'";
    let said = run(cluster.command("script").args(["-qec", line, "/dev/null"]))?;
    ensure!(said.contains("/dev/pts/"), "exec into an ephemeral container: {said}");
    let removed = cluster.kubectl([
        "-n",
        "debugging",
        "patch",
        "pod",
        "web",
        "--subresource=ephemeralcontainers",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/spec/ephemeralContainers/0"}]"#,
    ]);
    let told = format!("{:#}", removed.err().context("an ephemeral container stays")?);
    ensure!(told.contains("existing ephemeral containers \"one\" may not be removed"), "{told}");
    Ok(())
}

pub(super) fn resizing(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", "resizing"])?;
    eventually("the namespace has its service account", || {
        cluster.kubectl(["-n", "resizing", "get", "serviceaccount", "default"])
    })?;
    cluster.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: grows, namespace: resizing}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: {IMAGE}
    command: [sleep, "1000"]
    resources: {{requests: {{cpu: 20m, memory: 32Mi}}, limits: {{cpu: 100m, memory: 64Mi}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: beside, namespace: resizing}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: c, image: {IMAGE}, command: [sleep, "1000"], resources: {{requests: {{cpu: 50m}}}}}}]
"#
    ))?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "resizing"].iter().chain(args));
    kubectl(&["wait", "--for=condition=Ready", "pod/grows", "pod/beside", "--timeout=60s"])?;
    let resize = |patch: &str| kubectl(&["patch", "pod", "grows", "--subresource=resize", "-p", patch]);
    let limits = || {
        let files = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max 2>/dev/null || \
             cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/cpu/cpu.cfs_quota_us";
        kubectl(&["exec", "grows", "--", "sh", "-c", files])
    };
    ensure!(limits()?.contains("67108864"), "{}", limits()?);
    resize(r#"{"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"200m","memory":"96Mi"}}}]}}"#)?;
    eventually("the container has its new limits", || {
        let now = limits()?;
        ensure!(now.contains("100663296") && now.contains("20000"), "{now}");
        let shown = cluster.get(["-n", "resizing", "pod", "grows"])?;
        let status = &shown["status"]["containerStatuses"][0];
        ensure!(status["resources"]["limits"]["memory"] == "96Mi" && status["restartCount"] == 0, "{status}");
        ensure!(status["allocatedResources"]["cpu"] == "20m", "{status}");
        ensure!(shown["status"]["observedGeneration"] == shown["metadata"]["generation"]);
        Ok(())
    })?;
    let asks = |cpu: &str| {
        let amounts = format!(r#"{{"requests":{{"cpu":"{cpu}"}},"limits":{{"cpu":"{cpu}"}}}}"#);
        resize(&format!(r#"{{"spec":{{"containers":[{{"name":"c","resources":{amounts}}}]}}}}"#))
    };
    let told = format!("{:#}", asks("1000").err().context("what the node will never have is refused")?);
    ensure!(told.contains("node didn't have enough allocatable resources: cpu, requested: 1000000"), "{told}");
    // the pod beside it asks for some of what there is
    let all = cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}"])?;
    asks(&all)?;
    eventually("what the node has not now is told", || {
        let told =
            kubectl(&["get", "pod", "grows", "-o", r#"jsonpath={.status.conditions[?(@.type=="PodResizePending")]}"#])?;
        ensure!(told.contains("Deferred") && told.contains("Node didn't have enough resource: cpu"), "{told}");
        Ok(())
    })?;
    resize(r#"{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"20m"},"limits":{"cpu":"200m"}}}]}}"#)?;
    eventually("and taken back", || {
        let told = kubectl(&["get", "pod", "grows", "-o", "jsonpath={.status.conditions[*].type}"])?;
        ensure!(!told.contains("PodResize"), "{told}");
        Ok(())
    })?;
    let image = resize(r#"{"spec":{"containers":[{"name":"c","image":"other"}]}}"#);
    ensure!(cluster.get(["-n", "resizing", "pod", "grows"])?["spec"]["containers"][0]["image"] == IMAGE, "{image:?}");
    Ok(())
}
