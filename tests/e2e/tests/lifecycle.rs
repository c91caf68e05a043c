//! Clusters come, live side by side, and go without a trace.

use std::process::Command;
use std::sync::Arc;

use anyhow::ensure;
use knarr_e2e::{Cluster, Namespace, eventually, run};

const SLEEPER: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: sleeper }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - { name: main, image: "knarr.local/busybox:bookworm", command: [sleep, "3600"] }
"#;

fn running(cluster: &Cluster, pod: &str) -> anyhow::Result<()> {
    cluster.kubectl(["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{pod}")]).map(drop)
}

/// What a cluster may leave on a machine: processes, mounts, links, tables, cgroups, directories.
fn traces(namespace: &Namespace, name: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut note = |what: &str, text: &str| {
        found.extend(text.lines().filter(|line| line.contains(name)).map(|line| format!("{what}: {line}")));
    };
    note("process", &run(Command::new("ps").args(["-eo", "pid,args"]))?.replace("cargo", ""));
    note(
        "mount",
        &std::fs::read_to_string("/proc/self/mountinfo")?
            .lines()
            .filter(|line| !line.contains("/run/netns/"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    note("link", &run(namespace.command("ip").args(["-o", "link"]))?);
    note("cgroup", &run(Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", &format!("*{name}*")]))?);
    note(
        "directory",
        &run(Command::new("find").args([
            "/run",
            "/var/lib",
            "/var/log",
            "-maxdepth",
            "1",
            "-name",
            &format!("*{name}*"),
        ]))?,
    );
    let links = run(namespace.command("ip").args(["-o", "link"]))?;
    found.extend(
        links.lines().filter(|line| line.contains("veth") || line.contains(" kn")).map(|line| format!("link: {line}")),
    );
    Ok(found)
}

#[test]
fn two_clusters_run_side_by_side_and_leave_nothing_behind() -> anyhow::Result<()> {
    let network = Arc::new(Namespace::make("e2e-pair")?);
    let blue = Cluster::start_in(Arc::clone(&network), "e2e-blue", &["busybox"])?;
    let green = Cluster::start_in(Arc::clone(&network), "e2e-green", &["busybox"])?;
    for key in ["api.port", "network.podCIDR", "gateway.httpsPort", "node.port"] {
        ensure!(blue.setting(key)? != green.setting(key)?, "{key} differs");
    }
    for cluster in [&blue, &green] {
        cluster.apply(SLEEPER)?;
        running(cluster, "sleeper")?;
    }
    let again =
        run(&mut blue.knarr(["up", "--detach"])).expect_err("a second Knarr on the same data is refused").to_string();
    ensure!(again.contains("runs already as process"), "{again}");

    run(&mut blue.knarr(["down", "--purge"]))?;
    ensure!(!blue.data().exists(), "the data is gone");
    let left = traces(&network, "e2e-blue")?
        .into_iter()
        .filter(|line| !line.contains("e2e-green") && !line.starts_with("link"))
        .collect::<Vec<_>>();
    ensure!(left.is_empty(), "blue left {left:#?}");
    running(&green, "sleeper")?;
    ensure!(
        green
            .kubectl(["exec", "sleeper", "--", "nslookup", "kubernetes.default.svc.cluster.local"])?
            .contains("Address"),
        "green still resolves"
    );

    run(&mut green.knarr(["down", "--purge"]))?;
    let left = traces(&network, "e2e-green")?;
    ensure!(left.is_empty(), "green left {left:#?}");
    let tables = run(network.command("ip").args(["-o", "route"]))?;
    ensure!(!tables.contains("kn-"), "routes are gone: {tables}");
    run(&mut green.knarr(["down", "--purge"]))?; // once more is fine
    Ok(())
}

#[test]
fn kill_at_any_time_loses_no_acknowledged_write_and_a_pod_deleted_meanwhile_goes() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-kill", &["busybox"])?;
    cluster.apply(SLEEPER)?;
    running(&cluster, "sleeper")?;
    for round in 0..3 {
        let name = format!("round-{round}");
        cluster.kubectl(["create", "configmap", &name, "--from-literal=a=b"])?;
        cluster.kill()?;
        cluster.up()?;
        cluster.get(["configmap", &name])?;
        running(&cluster, "sleeper")?;
    }
    ensure!(cluster.get(["pod", "sleeper"])?["status"]["containerStatuses"][0]["restartCount"] == 0, "never restarted");

    cluster.kubectl(["delete", "pod", "sleeper", "--wait=false"])?;
    cluster.kill()?;
    cluster.up()?;
    eventually("the deleted pod is gone", || {
        ensure!(cluster.get(["pods"])?["items"].as_array().is_some_and(Vec::is_empty), "still there");
        Ok(())
    })?;
    let answer = run(&mut cluster.knarr(["status", "-o", "json"]))?;
    ensure!(answer.contains("\"healthy\": true"), "{answer}");
    Ok(())
}
