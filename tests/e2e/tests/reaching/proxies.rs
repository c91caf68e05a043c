//! Proxies of the API server, and every option of logs.

use anyhow::ensure;
use knarr_e2e::{Cluster, eventually, run};

use super::{IMAGE, serving};

pub(super) fn proxying(cluster: &Cluster) -> anyhow::Result<()> {
    serving(cluster, "proxying")?;
    let namespaced = "/api/v1/namespaces/proxying";
    cluster.kubectl(["-n", "proxying", "expose", "pod", "web", "--port=80", "--target-port=http", "--name=web"])?;
    let raw = |path: &str| cluster.kubectl(["get", "--raw", path]);
    for path in ["pods/web/proxy/passwd", "pods/web:8080/proxy/passwd", "pods/http:web:8080/proxy/passwd"] {
        ensure!(raw(&format!("{namespaced}/{path}"))?.contains("root:"), "{path}");
    }
    let page = "echo '<a href=\"/passwd\">x</a>' >/etc/page.html";
    cluster.kubectl(["-n", "proxying", "exec", "web", "--", "sh", "-c", page])?;
    let shown = raw(&format!("{namespaced}/pods/web/proxy/page.html"))?;
    ensure!(shown.trim() == format!("<a href=\"{namespaced}/pods/web/proxy/passwd\">x</a>"), "{shown}");
    eventually("the service has endpoints", || raw(&format!("{namespaced}/services/web:80/proxy/passwd")))?;
    ensure!(raw(&format!("{namespaced}/services/http:web:80/proxy/group?limit=none&dryRun=x"))?.contains("root:"));
    ensure!(raw(&format!("{namespaced}/services/web:81/proxy/")).is_err());
    let node = cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    ensure!(raw(&format!("/api/v1/nodes/{node}/proxy/healthz"))?.trim() == "ok");
    ensure!(raw(&format!("/api/v1/nodes/{node}/proxy/pods"))?.contains("\"name\":\"web\""));

    // other methods, and headers, with a token of a service account
    cluster.kubectl([
        "create",
        "clusterrolebinding",
        "proxying",
        "--clusterrole=cluster-admin",
        "--serviceaccount=proxying:default",
    ])?;
    let token = cluster.kubectl(["-n", "proxying", "create", "token", "default"])?;
    let server = cluster.kubectl(["config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
    let bearer = format!("Authorization: Bearer {}", token.trim());
    let code = |method: &str, path: &str| {
        let mut curl = cluster.command("curl");
        curl.args([
            "-sk",
            "--noproxy",
            "*",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{redirect_url}",
            "-X",
            method,
            "-H",
        ]);
        run(curl.arg(&bearer).arg(format!("{server}{path}")))
    };
    ensure!(code("GET", &format!("{namespaced}/pods/web/proxy/passwd"))?.starts_with("200"));
    let there = code("GET", &format!("{namespaced}/pods/web/proxy"))?;
    ensure!(there.starts_with("301") && there.trim().ends_with("/pods/web/proxy/"), "{there}");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        // busybox serves files and knows no other methods: its own refusal comes back
        let answer = code(method, &format!("{namespaced}/pods/web/proxy/passwd"))?;
        ensure!(answer.starts_with("501") || answer.starts_with("404"), "{method}: {answer}");
    }
    Ok(())
}

pub(super) fn logging(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", "logging"])?;
    eventually("the namespace has its service account", || {
        cluster.kubectl(["-n", "logging", "get", "serviceaccount", "default"])
    })?;
    cluster.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: talks, namespace: logging}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: {IMAGE}
    command: [sh, -c, "for i in 1 2 3 4; do echo out $i; echo err $i >&2; done; exec sleep 1000"]
"#
    ))?;
    cluster.kubectl(["-n", "logging", "wait", "--for=condition=Ready", "pod/talks", "--timeout=60s"])?;
    let raw =
        |query: &str| cluster.kubectl(["get", "--raw", &format!("/api/v1/namespaces/logging/pods/talks/log?{query}")]);
    eventually("everything is said", || {
        ensure!(raw("")?.lines().count() == 8);
        Ok(())
    })?;
    ensure!(raw("tailLines=2")?.lines().count() == 2);
    ensure!(raw("limitBytes=5")? == "out 1" || raw("limitBytes=5")? == "err 1");
    ensure!(raw("stream=Stdout")? == "out 1\nout 2\nout 3\nout 4\n");
    ensure!(raw("stream=Stderr")?.lines().all(|line| line.starts_with("err")));
    ensure!(raw("sinceSeconds=3600&timestamps=true")?.lines().all(|line| line.contains("T") && line.contains("Z ")));
    ensure!(raw("sinceTime=2100-01-01T00:00:00Z")?.is_empty());
    for (query, told) in [
        ("sinceSeconds=0", "must be greater than 0"),
        ("tailLines=-1", "must be greater than or equal to 0"),
        ("sinceSeconds=5&sinceTime=2026-01-01T00:00:00Z", "at most one of"),
        ("container=none", "container none is not valid for pod talks"),
        ("previous=true", "previous terminated container \"c\" in pod \"talks\" not found"),
    ] {
        let said = format!("{:#}", raw(query).err().ok_or_else(|| anyhow::anyhow!("{query} is accepted"))?);
        ensure!(said.contains(told), "{query}: {said}");
    }
    Ok(())
}

/// Empties the node, which asks the budget of `web` first.
pub(super) fn draining(cluster: &Cluster) -> anyhow::Result<()> {
    serving(cluster, "draining")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "draining"].iter().chain(args));
    kubectl(&["create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=1"])?;
    let counted = |what: &str| {
        kubectl(&["wait", &format!("--for=jsonpath={{.status.{what}"), "--timeout=30s", "poddisruptionbudget/web"])
    };
    counted("currentHealthy}=1")?;
    let nodes = cluster.kubectl(["get", "nodes", "-o", "name"])?;
    let node = nodes.trim().trim_start_matches("node/");
    let attempt = |timeout: &str| {
        let mut command = cluster.command("kubectl");
        command.args([
            "drain",
            node,
            "--force",
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--pod-selector=app=web",
        ]);
        run(command.arg(timeout))
    };
    let refused =
        format!("{:#}", attempt("--timeout=7s").err().ok_or_else(|| anyhow::anyhow!("the budget was not asked"))?);
    ensure!(refused.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{refused}");
    ensure!(kubectl(&["get", "pod", "web", "-o", "jsonpath={.metadata.deletionTimestamp}"])?.is_empty());
    kubectl(&["patch", "poddisruptionbudget", "web", "--type=merge", "-p", r#"{"spec":{"minAvailable":0}}"#])?;
    counted("disruptionsAllowed}=1")?;
    attempt("--timeout=60s")?;
    ensure!(kubectl(&["get", "pod", "web"]).is_err(), "the pod was evicted");
    counted("disruptionsAllowed}=0")?;
    cluster.kubectl(["uncordon", node])?;
    Ok(())
}
