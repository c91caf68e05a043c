//! Changing: apply, diff, edit, patch, label, annotate, scale, rollout.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, input, run};

use super::{IMAGE, deployment, lines, namespace};

pub(super) fn changing(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "changing")?;
    let manifest = deployment("changing", "web", 1)
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: changing}\nspec: {selector: {app: web}, ports: [{port: 80, targetPort: http}]}\n";
    cluster.apply(&manifest)?;
    cluster.rolled_out("changing", "deployment/web")?;
    let versions = || {
        cluster.kubectl([
            "-n",
            "changing",
            "get",
            "deployment/web",
            "service/web",
            "-o",
            "jsonpath={.items[*].metadata.resourceVersion}",
        ])
    };
    let before = versions()?;
    let again = cluster.apply(&manifest)?;
    ensure!(again.matches("unchanged").count() == 2, "{again}");
    ensure!(versions()? == before, "applying the same again writes nothing");
    input(cluster.command("kubectl").args(["diff", "-f", "-"]), &manifest).context("there is no difference")?;
    let other = manifest.replace("replicas: 1", "replicas: 2");
    ensure!(input(cluster.command("kubectl").args(["diff", "-f", "-"]), &other).is_err(), "diff tells a difference");
    let dry = input(cluster.command("kubectl").args(["apply", "--dry-run=server", "-f", "-"]), &other)?;
    ensure!(dry.contains("deployment.apps/web configured (server dry run)"), "{dry}");
    ensure!(versions()? == before, "a dry run writes nothing");

    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "changing"].iter().chain(args));
    let field = |path: &str| kubectl(&["get", "deployment", "web", "-o", &format!("jsonpath={path}")]);
    let mut edit = cluster.command("kubectl");
    edit.env("KUBE_EDITOR", "sed -i s/progressDeadlineSeconds:.600/progressDeadlineSeconds:\\ 500/");
    run(edit.args(["-n", "changing", "edit", "deployment", "web"]))?;
    ensure!(field("{.spec.progressDeadlineSeconds}")? == "500");
    kubectl(&[
        "patch",
        "deployment",
        "web",
        "-p",
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}"#,
    ])?;
    ensure!(
        field("{.spec.template.spec.containers[*].image} {.spec.template.spec.containers[0].env[0].name}")?
            == format!("{IMAGE} A"),
        "a strategic patch merges containers by name"
    );
    kubectl(&[
        "patch",
        "deployment",
        "web",
        "--type=merge",
        "-p",
        r#"{"metadata":{"labels":{"tier":"front","app":null}}}"#,
    ])?;
    ensure!(field("{.metadata.labels}")? == r#"{"tier":"front"}"#);
    kubectl(&[
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"test","path":"/spec/revisionHistoryLimit","value":10},{"op":"replace","path":"/spec/revisionHistoryLimit","value":3}]"#,
    ])?;
    ensure!(field("{.spec.revisionHistoryLimit}")? == "3");
    kubectl(&["label", "deployment", "web", "color=blue"])?;
    ensure!(kubectl(&["label", "deployment", "web", "color=red"]).is_err(), "a label is not overwritten unasked");
    kubectl(&["label", "deployment", "web", "color=red", "--overwrite"])?;
    kubectl(&["annotate", "deployment", "web", "note=kept"])?;
    ensure!(field("{.metadata.labels.color} {.metadata.annotations.note}")? == "red kept");
    kubectl(&["label", "deployment", "web", "color-"])?;
    ensure!(field("{.metadata.labels.color}")?.is_empty());
    let applied = cluster.apply(&manifest.replace("revisionHistoryLimit", "x"))?;
    ensure!(applied.contains("service/web unchanged"), "{applied}");
    ensure!(field("{.metadata.annotations.note}")? == "kept", "apply leaves what it does not own");
    let replaced = input(cluster.command("kubectl").args(["replace", "-f", "-"]), &manifest)?;
    ensure!(replaced.contains("deployment.apps/web replaced"), "{replaced}");
    Ok(())
}

pub(super) fn rolling(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "rolling")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "rolling"].iter().chain(args));
    cluster.apply(&deployment("rolling", "web", 1))?;
    cluster.rolled_out("rolling", "deployment/web")?;
    kubectl(&["scale", "deployment/web", "--replicas=3"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    ensure!(kubectl(&["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"])? == "3");
    ensure!(
        kubectl(&["scale", "deployment/web", "--current-replicas=7", "--replicas=1"]).is_err(),
        "a precondition holds"
    );
    kubectl(&["scale", "deployment/web", "--replicas=1"])?;

    kubectl(&["set", "env", "deployment/web", "STEP=two"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    kubectl(&["set", "image", "deployment/web", "web=knarr.local/absent:1"])?;
    let history = kubectl(&["rollout", "history", "deployment/web"])?;
    eventually("the third revision is in the history", || {
        let history = kubectl(&["rollout", "history", "deployment/web"])?;
        ensure!(lines(&history).len() == 5, "{history}");
        Ok(())
    })
    .context(history)?;
    ensure!(kubectl(&["rollout", "history", "deployment/web", "--revision=2"])?.contains("STEP:\ttwo"));
    ensure!(
        kubectl(&["rollout", "status", "deployment/web", "--timeout=1s"]).is_err(),
        "an image that is not there holds the rollout"
    );
    ensure!(
        kubectl(&["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"])? == "1",
        "the old pod serves on"
    );
    kubectl(&["rollout", "undo", "deployment/web"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    ensure!(
        kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])? == IMAGE
    );
    kubectl(&["rollout", "undo", "deployment/web", "--to-revision=1"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    ensure!(
        kubectl(&["get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}"])?.is_empty()
    );

    let pod = |args: &[&str]| {
        kubectl(
            &["get", "pods", "-l", "app=web", "--field-selector=status.phase=Running", "-o", "name"]
                .iter()
                .chain(args)
                .copied()
                .collect::<Vec<_>>(),
        )
    };
    let before = pod(&[])?;
    kubectl(&["rollout", "pause", "deployment/web"])?;
    kubectl(&["rollout", "resume", "deployment/web"])?;
    kubectl(&["rollout", "restart", "deployment/web"])?;
    cluster.rolled_out("rolling", "deployment/web")?;
    eventually("only new pods run", || {
        let after = pod(&[])?;
        ensure!(lines(&after).len() == 1 && after != before, "{before} {after}");
        Ok(())
    })
}
