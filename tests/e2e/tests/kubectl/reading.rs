//! Looking: get in all its forms, describe, events, explain, api-resources.

use anyhow::ensure;
use knarr_e2e::Cluster;

use super::{IMAGE, Lines, deployment, lines, namespace};

pub(super) fn reading(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "reading")?;
    cluster.apply(&deployment("reading", "web", 2))?;
    cluster.rolled_out("reading", "deployment/web")?;
    let get = |args: &[&str]| cluster.kubectl(["-n", "reading", "get"].iter().chain(args));

    let wide = get(&["deployment", "web", "-o", "wide"])?;
    ensure!(
        lines(&wide)[0].split_whitespace().eq([
            "NAME",
            "READY",
            "UP-TO-DATE",
            "AVAILABLE",
            "AGE",
            "CONTAINERS",
            "IMAGES",
            "SELECTOR"
        ]),
        "{wide}"
    );
    ensure!(wide.contains("2/2") && wide.contains(IMAGE), "{wide}");
    let pods = get(&["pods"])?;
    ensure!(lines(&pods)[0].split_whitespace().eq(["NAME", "READY", "STATUS", "RESTARTS", "AGE"]), "{pods}");
    ensure!(pods.matches("Running").count() == 2 && pods.matches("1/1").count() == 2, "{pods}");
    ensure!(get(&["deployment", "web", "-o", "yaml"])?.contains("progressDeadlineSeconds: 600"));
    ensure!(get(&["deployment/web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])? == IMAGE);
    ensure!(get(&["deployment", "web", "-o", "name"])?.trim() == "deployment.apps/web");
    let columns = get(&["pods", "-o", "custom-columns=NAME:.metadata.name,PHASE:.status.phase", "--no-headers"])?;
    ensure!(lines(&columns).len() == 2 && columns.matches("Running").count() == 2, "{columns}");
    let template = get(&["pods", "-o", "go-template={{len .items}}"])?;
    ensure!(template == "2", "{template}");

    ensure!(lines(&get(&["pods", "-l", "app=web", "-o", "name"])?).len() == 2);
    ensure!(get(&["pods", "-l", "app in (other),!gone", "-o", "name"])?.is_empty());
    ensure!(lines(&get(&["pods", "--field-selector", "status.phase=Running", "-o", "name"])?).len() == 2);
    ensure!(get(&["pods", "--field-selector", "spec.nodeName=elsewhere", "-o", "name"])?.is_empty());
    ensure!(get(&["pods", "-A", "--sort-by=.metadata.name", "-o", "name"])?.contains("pod/web-"));
    ensure!(lines(&get(&["pods", "--chunk-size=1", "-o", "name"])?).len() == 2, "a list in chunks is whole");
    let all = get(&["all", "--show-labels"])?;
    ensure!(
        all.contains("deployment.apps/web") && all.contains("replicaset.apps/web-") && all.contains("app=web"),
        "{all}"
    );

    let described = cluster.kubectl(["-n", "reading", "describe", "deployment/web"])?;
    ensure!(
        described.contains("2 desired | 2 updated | 2 total | 2 available") && described.contains("ScalingReplicaSet"),
        "{described}"
    );
    let described = cluster.kubectl(["-n", "reading", "describe", "pods", "-l", "app=web"])?;
    ensure!(described.contains("Successfully assigned reading/web-") && described.contains("Started"), "{described}");
    let described = cluster.kubectl(["describe", "nodes"])?;
    ensure!(described.contains("reading") && described.contains("KubeletReady"), "{described}");
    let events = get(&["events", "--field-selector", "reason=Scheduled"])?;
    ensure!(events.matches("default-scheduler").count() + events.matches("Scheduled").count() >= 2, "{events}");
    ensure!(cluster.kubectl(["-n", "reading", "events", "--for", "deployment/web"])?.contains("ScalingReplicaSet"));
    Ok(())
}

pub(super) fn watching(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "watching")?;
    let mut seen = Lines::of(cluster, &["-n", "watching", "get", "configmaps", "-w", "--output-watch-events"])?;
    seen.until("kube-root-ca.crt")?;
    let configmap =
        |verb: &str, rest: &[&str]| cluster.kubectl(["-n", "watching", verb, "configmap", "seen"].iter().chain(rest));
    configmap("create", &["--from-literal=a=1"])?;
    ensure!(seen.until("seen")?.starts_with("ADDED"));
    configmap("patch", &["-p", r#"{"data":{"b":"2"}}"#])?;
    let line = seen.until("seen")?;
    ensure!(line.starts_with("MODIFIED") && line.split_whitespace().nth(2) == Some("2"), "{line}");
    configmap("delete", &[])?;
    ensure!(seen.until("seen")?.starts_with("DELETED"));
    Ok(())
}

pub(super) fn asking(cluster: &Cluster) -> anyhow::Result<()> {
    let explained = cluster.kubectl(["explain", "deployment.spec.strategy.rollingUpdate"])?;
    ensure!(explained.contains("maxSurge") && explained.contains("RollingUpdateDeployment"), "{explained}");
    // the older document, which kubectl reads in protobuf only
    let explained = cluster.kubectl(["explain", "deployment.spec.strategy", "--output=plaintext-openapiv2"])?;
    ensure!(explained.contains("rollingUpdate\t<Object>"), "{explained}");
    let recursive = cluster.kubectl(["explain", "pod.spec", "--recursive"])?;
    ensure!(
        recursive.contains("terminationGracePeriodSeconds\t<integer>") && recursive.contains("readinessProbe"),
        "{recursive}"
    );
    ensure!(cluster.kubectl(["explain", "ingress", "--api-version=networking.k8s.io/v1"])?.contains("VERSION:    v1"));
    let resources = cluster.kubectl(["api-resources"])?;
    for line in ["pods", "deployments", "ingresses", "roles", "leases"] {
        ensure!(resources.lines().any(|row| row.starts_with(&format!("{line} "))), "{line} is listed: {resources}");
    }
    ensure!(lines(&cluster.kubectl(["api-resources", "--namespaced=false", "-o", "name"])?).contains(&"nodes"));
    ensure!(lines(&cluster.kubectl(["api-versions"])?).contains(&"apps/v1"));
    ensure!(cluster.kubectl(["get", "--raw", "/readyz?verbose"])?.contains("readyz check passed"));
    ensure!(cluster.kubectl(["version"])?.contains("Server Version: v1.36"));
    ensure!(cluster.kubectl(["cluster-info"])?.contains("control plane"));
    Ok(())
}
