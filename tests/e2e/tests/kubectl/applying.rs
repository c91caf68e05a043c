//! Server-side apply: owners, conflicts, the way from client-side apply, and what kubectl does with the last applied
//! configuration.

use anyhow::ensure;
use knarr_e2e::{Cluster, input, run};

use super::{deployment, lines, namespace};

const SPACE: &str = "applying";

pub(super) fn applying(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, SPACE)?;
    let apply = |args: &[&str], manifest: &str| {
        input(cluster.command("kubectl").arg("apply").args(args).args(["-f", "-"]), manifest)
    };
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", SPACE].iter().chain(args));
    let owners = |name: &str| {
        let path = "jsonpath={range .metadata.managedFields[*]}{.manager} {.operation}{\"\\n\"}{end}";
        kubectl(&["get", "deployment", name, "--show-managed-fields", "-o", path])
    };
    let field = |path: &str| kubectl(&["get", "deployment", "web", "-o", &format!("jsonpath={path}")]);

    let web = deployment(SPACE, "web", 0).replacen("labels: {app: web}", "labels: {app: web, tier: front}", 1);
    let made = apply(&["--server-side"], &web)?;
    ensure!(made.contains("deployment.apps/web serverside-applied"), "{made}");
    let version = field("{.metadata.resourceVersion}")?;
    apply(&["--server-side"], &web)?;
    ensure!(lines(&owners("web")?).contains(&"kubectl Apply"), "{}", owners("web")?);
    let dry = apply(&["--server-side", "--dry-run=server"], &web.replace("front", "back"))?;
    ensure!(dry.contains("(server dry run)") && field("{.metadata.labels.tier}")? == "front", "{dry}");

    // another manager, another opinion
    let other = web.replace("front", "back");
    let refused = apply(&["--server-side", "--field-manager=other"], &other);
    let told = format!("{:#}", refused.err().unwrap_or_else(|| anyhow::anyhow!("it was applied")));
    ensure!(told.contains("conflict with \"kubectl\": .metadata.labels.tier"), "{told}");
    apply(&["--server-side", "--field-manager=other", "--force-conflicts"], &other)?;
    ensure!(field("{.metadata.labels.tier}")? == "back");
    // what its only owner no longer applies is gone, what is shared stays
    apply(&["--server-side", "--field-manager=other"], &other.replace(", tier: back", ""))?;
    ensure!(field("{.metadata.labels}")? == r#"{"app":"web"}"#, "{}", field("{.metadata.labels}")?);
    ensure!(version != field("{.metadata.resourceVersion}")?);

    let diff = |manifest: &str| input(cluster.command("kubectl").args(["diff", "--server-side", "-f", "-"]), manifest);
    diff(&web.replace(", tier: front", ""))?;
    ensure!(
        diff(&web.replace("replicas: 0", "replicas: 1").replace(", tier: front", "")).is_err(),
        "it tells a difference"
    );
    kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    migrating(cluster)
}

/// Client-side apply first, server-side apply from then on, and back.
fn migrating(cluster: &Cluster) -> anyhow::Result<()> {
    let apply = |args: &[&str], manifest: &str| {
        input(cluster.command("kubectl").arg("apply").args(args).args(["-f", "-"]), manifest)
    };
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", SPACE].iter().chain(args));
    let data = || kubectl(&["get", "configmap", "moved", "-o", "jsonpath={.data}"]);
    let owners = || {
        let path = "jsonpath={.metadata.managedFields[*].manager}";
        kubectl(&["get", "configmap", "moved", "--show-managed-fields", "-o", path])
    };
    let map = |data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: moved, namespace: {SPACE}}}\ndata: {{{data}}}\n")
    };
    apply(&[], &map("a: '1', b: '1'"))?;
    ensure!(owners()? == "kubectl-client-side-apply", "{}", owners()?);
    apply(&["--server-side"], &map("a: '2'"))?;
    ensure!(data()? == r#"{"a":"2"}"#, "what client-side apply owned is kubectl's to remove: {}", data()?);
    // the annotation has a manager of its own by now
    ensure!(owners()? == "kubectl-last-applied kubectl", "{}", owners()?);
    let seen = kubectl(&["apply", "view-last-applied", "configmap", "moved", "-o", "json"])?;
    ensure!(seen.contains(r#""a": "2""#), "the annotation follows: {seen}");
    apply(&[], &map("a: '3', c: '1'"))?;
    ensure!(data()? == r#"{"a":"3","c":"1"}"#, "{}", data()?);

    let mut edit = cluster.command("kubectl");
    edit.env("KUBE_EDITOR", "sed -i 's/a: \"3\"/a: \"4\"/'");
    run(edit.args(["-n", SPACE, "apply", "edit-last-applied", "configmap", "moved"]))?;
    let seen = kubectl(&["apply", "view-last-applied", "configmap", "moved", "-o", "json"])?;
    ensure!(seen.contains(r#""a": "4""#) && data()? == r#"{"a":"3","c":"1"}"#, "{seen}");
    let last = map("a: '3'");
    let mut set = cluster.command("kubectl");
    input(set.args(["apply", "set-last-applied", "-f", "-"]), &last)?;
    apply(&[], &map("a: '3'"))?;
    ensure!(data()? == r#"{"a":"3","c":"1"}"#, "what was not applied last is nobody's to remove: {}", data()?);
    Ok(())
}
