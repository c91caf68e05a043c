//! get in every format, explain on every kind, wait in every way, events.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails, run};
use serde_json::Value;

use super::{IMAGE, Lines, lines, namespace};

/// Three ConfigMaps and a pod that never starts.
fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "showing")?;
    let mut objects = String::new();
    for (name, size) in [("b", "30"), ("a", "200"), ("c", "1")] {
        objects += &format!(
            "---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: showing, labels: {{tier: t-{name}, kept: 'yes'}}}}, data: {{size: '{size}'}}}}\n"
        );
    }
    objects += &format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: idle, namespace: showing}}, spec: {{nodeSelector: {{a: b}}, containers: [{{name: one, image: '{IMAGE}'}}, {{name: two, image: '{IMAGE}'}}]}}}}\n"
    );
    cluster.apply(&objects).map(drop)
}

pub(super) fn formats(cluster: &Cluster) -> anyhow::Result<()> {
    prepare(cluster)?;
    let get = |args: &[&str]| cluster.kubectl(["-n", "showing", "get"].iter().chain(args));
    let kept = &["configmaps", "-l", "kept=yes"][..];
    let all = |args: &[&str]| get(&[kept, args].concat());
    let json: Value = serde_json::from_str(&all(&["-o", "json"])?)?;
    ensure!(json["kind"] == "List" && json["items"][0]["kind"] == "ConfigMap", "{json}");
    ensure!(all(&["-o", "yaml"])?.matches("kind: ConfigMap").count() == 3);
    ensure!(!get(&["configmap", "a", "-o", "yaml"])?.contains("managedFields"));
    ensure!(
        get(&["configmap", "a", "-o", "yaml", "--show-managed-fields"])?.contains("manager: kubectl-client-side-apply")
    );
    ensure!(all(&["-o", "name"])? == "configmap/a\nconfigmap/b\nconfigmap/c\n");
    ensure!(
        all(&["-o", "jsonpath={range .items[*]}{.metadata.name}={.data.size}{\"\\n\"}{end}"])? == "a=200\nb=30\nc=1\n"
    );
    ensure!(all(&["-o", "jsonpath={.items[?(@.data.size==\"30\")].metadata.name}"])? == "b");
    ensure!(
        serde_json::from_str::<Value>(&all(&["-o", "jsonpath-as-json={.items[*].metadata.name}"])?)?
            == serde_json::json!(["a", "b", "c"])
    );
    ensure!(all(&["-o", "go-template={{range .items}}{{.metadata.name}} {{end}}"])? == "a b c ");
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).map(|()| path.display().to_string())
    };
    let template = format!("go-template-file={}", write("t", "{{len .items}}")?);
    ensure!(all(&["-o", &template])? == "3");
    let path = format!("jsonpath-file={}", write("p", "{.items[1].metadata.name}")?);
    ensure!(all(&["-o", &path])? == "b");
    let columns = format!("custom-columns-file={}", write("c", "WHO SIZE\n.metadata.name .data.size\n")?);
    let table = all(&["-o", &columns, "--sort-by=.metadata.name"])?;
    ensure!(lines(&table)[1].split_whitespace().eq(["a", "200"]), "{table}");
    let none = get(&["configmap", "a", "-o", "custom-columns=N:.metadata.name,X:.no.such", "--no-headers"])?;
    ensure!(none.split_whitespace().eq(["a", "<none>"]), "{none}");

    let labelled = all(&["-L", "tier,absent"])?;
    ensure!(lines(&labelled)[0].split_whitespace().eq(["NAME", "DATA", "AGE", "TIER", "ABSENT"]), "{labelled}");
    ensure!(lines(&labelled)[1].contains("t-a"), "{labelled}");
    ensure!(all(&["--show-labels"])?.contains("kept=yes,tier=t-b"));
    ensure!(all(&["--show-kind"])?.contains("configmap/a"));
    let sorted = all(&["--sort-by=.data.size", "-o", "name"])?;
    ensure!(sorted == "configmap/c\nconfigmap/b\nconfigmap/a\n", "{sorted}");
    ensure!(all(&["--sort-by={.metadata.creationTimestamp}", "--no-headers"])?.lines().count() == 3);
    ensure!(all(&["--field-selector", "metadata.name!=a", "-o", "name"])?.lines().count() == 2);
    let told = get(&["configmaps", "--field-selector", "data.size=1"]);
    ensure!(
        format!("{:#}", told.err().context("no such field")?).contains(r#""data.size" is not a known field selector"#)
    );
    ensure!(all(&["--chunk-size=2", "-o", "name"])?.lines().count() == 3);
    ensure!(get(&["configmap", "absent", "--ignore-not-found"])?.is_empty());
    ensure!(get(&["configmap/a", "pod/idle", "-o", "name"])? == "configmap/a\npod/idle\n");
    ensure!(get(&["cm,po", "-l", "!kept", "-o", "name"])?.contains("pod/idle"));
    let wide = get(&["pods", "-o", "wide"])?;
    ensure!(lines(&wide)[0].contains("NOMINATED NODE") && lines(&wide)[1].contains("Pending"), "{wide}");
    ensure!(lines(&get(&["pods", "--server-print=false"])?)[0].split_whitespace().eq(["NAME", "AGE"]));
    let raw = cluster.kubectl(["get", "--raw", "/api/v1/namespaces/showing/configmaps?limit=1"])?;
    ensure!(serde_json::from_str::<Value>(&raw)?["metadata"]["continue"].is_string(), "{raw}");
    let mut watch =
        Lines::of(cluster, &["-n", "showing", "get", "cm", "-l", "kept=yes", "--watch-only", "-o", "name"])?;
    // what happens before the watch is open is not told, so it happens again until it is
    let mut number = 0;
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| watch.until("configmap/b"));
        while !seen.is_finished() {
            number += 1;
            cluster.kubectl(["-n", "showing", "annotate", "--overwrite", "cm", "b", &format!("n={number}")])?;
        }
        seen.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?
    })?;
    Ok(())
}

/// Every kind that is served, and every field of each.
pub(super) fn explaining(cluster: &Cluster) -> anyhow::Result<()> {
    let resources = cluster.kubectl(["api-resources", "--no-headers"])?;
    let mut failures = Vec::new();
    for line in lines(&resources) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, version, kind) = (words[0], words[words.len() - 3], words[words.len() - 1]);
        let told = cluster.kubectl(["explain", name, "--api-version", version, "--recursive"]);
        let fields = ["KIND:", kind, "FIELDS:", "apiVersion\t<string>", "kind\t<string>"];
        match told {
            Ok(told) if fields.iter().all(|words| told.contains(words)) => {}
            Ok(told) => failures.push(format!("{name} {version}: {told}")),
            Err(error) => failures.push(format!("{name} {version}: {error:#}")),
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    ensure!(lines(&resources).len() > 60, "{resources}");
    for (field, words) in [
        ("pod.spec.containers.livenessProbe.httpGet.port", "<IntOrString>"),
        ("deployment.spec.strategy.rollingUpdate.maxSurge", "<IntOrString>"),
        ("pod.spec.containers.resources.limits", "<map[string]Quantity>"),
        ("hpa.spec.metrics.resource.target.averageUtilization", "<integer>"),
        ("crd.spec.versions.schema.openAPIV3Schema.properties", "<map[string]JSONSchemaProps>"),
        ("secret.data", "<map[string]string>"),
        ("pod.spec.restartPolicy", "ENUM:"),
        ("pod.metadata.ownerReferences", "uid\t<string> -required-"),
    ] {
        let told = cluster.kubectl(["explain", field])?;
        ensure!(told.contains(words) && told.contains("DESCRIPTION:"), "{field}: {told}");
    }
    let wrong = cluster.kubectl(["explain", "pod.spec.nothing"]);
    ensure!(format!("{:#}", wrong.err().context("no such field")?).contains("field \"nothing\" does not exist"));
    ensure!(cluster.kubectl(["explain", "pod", "--output=plaintext-openapiv2"])?.contains("FIELDS:"));
    Ok(())
}

pub(super) fn waiting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "waiting")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "waiting"].iter().chain(args));
    std::thread::scope(|scope| {
        let wait = |what: &'static [&'static str]| {
            scope.spawn(move || cluster.kubectl(["-n", "waiting", "wait", "--timeout=60s"].iter().chain(what)))
        };
        let created = wait(&["--for=create", "configmap/late"]);
        kubectl(&["create", "configmap", "late", "--from-literal=a=1"])?;
        created.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        let changed = wait(&["--for=jsonpath={.data.a}=2", "configmap/late"]);
        kubectl(&["patch", "configmap", "late", "-p", r#"{"data":{"a":"2"}}"#])?;
        changed.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        let there = wait(&["--for=jsonpath={.data.b}", "configmap/late"]);
        kubectl(&["patch", "configmap", "late", "-p", r#"{"data":{"b":"2"}}"#])?;
        there.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        let deleted = wait(&["--for=delete", "configmap/late"]);
        kubectl(&["delete", "configmap", "late"])?;
        deleted.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        kubectl(&["run", "one", "--image", IMAGE, "--restart=Never", "--", "sleep", "1000"])?;
        kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"])?;
        kubectl(&["wait", "--for=condition=Ready=true", "pod/one", "--timeout=60s"])
    })?;
    let never = fails(
        cluster.command("kubectl").args(["-n", "waiting", "wait", "--for=condition=Absent", "pod/one", "--timeout=1s"]),
        1,
    )?;
    ensure!(never.contains("timed out waiting for the condition on pods/one"), "{never}");
    kubectl(&["delete", "pod", "one", "--now"])?;
    Ok(())
}

pub(super) fn telling(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "telling")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "telling"].iter().chain(args));
    kubectl(&["run", "never", "--image", "knarr.local/absent:1"])?;
    eventually("the event is told", || {
        let told = kubectl(&["events", "--for=pod/never", "--types=Warning"])?;
        ensure!(told.contains("Failed") && told.contains("Pod/never"), "{told}");
        Ok(())
    })?;
    ensure!(kubectl(&["events", "--types=Normal", "--no-headers"])?.contains("Scheduled"));
    ensure!(
        kubectl(&[
            "get",
            "events",
            "--sort-by=.metadata.creationTimestamp",
            "--field-selector",
            "involvedObject.name=never,type=Warning",
            "-o",
            "name"
        ])?
        .contains("event/never")
    );
    ensure!(kubectl(&["describe", "pod", "never"])?.contains("Events:"));
    let top = cluster.kubectl(["top", "nodes"])?;
    ensure!(top.starts_with("NAME") && top.contains("CPU(cores)"), "{top}");
    ensure!(
        cluster
            .kubectl(["api-resources", "--verbs=list,watch", "--namespaced=true", "-o", "name"])?
            .contains("deployments.apps")
    );
    ensure!(cluster.kubectl(["api-resources", "--categories=all", "-o", "name"])?.contains("pods"));
    ensure!(
        cluster
            .kubectl(["api-resources", "-o", "wide"])?
            .contains("create,delete,deletecollection,get,list,patch,update,watch")
    );
    ensure!(cluster.kubectl(["api-versions"])?.lines().any(|line| line == "apiextensions.k8s.io/v1"));
    ensure!(cluster.kubectl(["cluster-info", "dump", "--namespaces", "telling"])?.contains("\"never\""));
    kubectl(&["delete", "pod", "never", "--now"])?;
    let shown = run(cluster.command("kubectl").args(["config", "view", "--minify"]))?;
    ensure!(shown.contains("DATA+OMITTED"), "{shown}");
    Ok(())
}
