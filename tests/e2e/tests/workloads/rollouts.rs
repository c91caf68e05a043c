//! How workloads are rolled out, over several nodes: what kubectl prints is compared with what it prints of upstream.
//!
//! The nodes are hollow, so a pod runs as soon as it has a node; a pod that must not run asks for a node there is not.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails};
use serde_json::{Value, json};

use super::namespace;

/// Runs kubectl in a namespace.
struct Within<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
}

impl Within<'_> {
    fn new<'a>(cluster: &'a Cluster, name: &'a str) -> anyhow::Result<Within<'a>> {
        namespace(cluster, name)?;
        Ok(Within { cluster, namespace: name })
    }

    fn kubectl(&self, args: &[&str]) -> anyhow::Result<String> {
        self.cluster.kubectl(["-n", self.namespace].iter().chain(args))
    }

    /// What kubectl says, and that is all.
    fn says(&self, args: &[&str], wanted: &str) -> anyhow::Result<()> {
        let said = self.kubectl(args)?;
        ensure!(said.trim_end() == wanted.trim_end(), "kubectl {args:?} says:\n{said}\nnot:\n{wanted}");
        Ok(())
    }

    /// What kubectl says when it refuses.
    fn refuses(&self, args: &[&str], wanted: &str) -> anyhow::Result<()> {
        let mut command = self.cluster.command("kubectl");
        let said = fails(command.args(["-n", self.namespace]).args(args), 1)?;
        ensure!(said.contains(wanted), "kubectl {args:?} says:\n{said}\nnot:\n{wanted}");
        Ok(())
    }

    fn set(&self, object: &Value) -> anyhow::Result<()> {
        self.cluster.apply(&object.to_string())?;
        Ok(())
    }

    fn image(&self, what: &str, image: &str) -> anyhow::Result<()> {
        self.says(&["set", "image", what, &format!("c={image}")], &format!("{} image updated", full(what)))
    }

    /// Waits until the rollout is complete, and returns all that was told on the way.
    fn rolled_out(&self, what: &str) -> anyhow::Result<Vec<String>> {
        let said = self.kubectl(&["rollout", "status", what, "--timeout=60s"])?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    /// The image of each pod, by name.
    fn images(&self) -> anyhow::Result<Vec<(String, String)>> {
        let pods = self.cluster.get(["-n", self.namespace, "pods"])?;
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let items = pods["items"].as_array().context("pods")?.iter();
        Ok(items
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["containers"][0]["image"])))
            .collect())
    }
}

/// `deployment/web` as kubectl calls it when it has done something.
fn full(what: &str) -> String {
    match what.split_once('/') {
        Some((kind, name)) => format!("{kind}.apps/{name}"),
        None => what.to_owned(),
    }
}

/// Gives the hollow nodes with these numbers to a part of the test; their names.
pub(super) fn take(cluster: &Cluster, numbers: &[u32], part: &str) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = numbers.iter().map(|number| format!("hollow-{number:05}")).collect();
    for name in &names {
        cluster.kubectl(["label", "node", name, &format!("e2e.knarr.local/part={part}")])?;
    }
    Ok(names)
}

/// An object that keeps pods on the nodes of `part`; `spec` is all but selector and template.
pub(super) fn keeper(kind: &str, namespace: &str, name: &str, part: &str, spec: &Value) -> Value {
    let pod = json!({ "nodeSelector": { "e2e.knarr.local/part": part }, "terminationGracePeriodSeconds": 0,
        "containers": [{ "name": "c", "image": "nowhere.example/c:1" }] });
    let mut object = json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": { "name": name, "namespace": namespace },
        "spec": { "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": pod } } });
    for (field, value) in spec.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

/// A patch after which the next pods have no node to run on.
const NOWHERE: &str = r#"{"spec":{"template":{"spec":{"nodeSelector":{"e2e.knarr.local/part":"none"}}}}}"#;

pub(super) fn deployments(cluster: &Cluster) -> anyhow::Result<()> {
    let at = Within::new(cluster, "rollouts")?;
    take(cluster, &[9, 10, 11], "rollouts")?;
    let web = "deployment/web";
    at.refuses(&["rollout", "history", web], "deployments.apps \"web\" not found")?;
    at.set(&keeper("Deployment", "rollouts", "web", "rollouts", &json!({ "replicas": 3 })))?;
    let told = at.rolled_out(web)?;
    ensure!(told.last().is_some_and(|line| line == "deployment \"web\" successfully rolled out"), "{told:?}");
    at.kubectl(&["annotate", web, "kubernetes.io/change-cause=the first"])?;
    eventually("its cause is in the history", || {
        at.says(&["rollout", "history", web], "deployment.apps/web \nREVISION  CHANGE-CAUSE\n1         the first\n")
    })?;
    at.image(web, "nowhere.example/c:2")?;
    let told = at.rolled_out(web)?;
    let (last, before) = told.split_last().context("lines")?;
    ensure!(last == "deployment \"web\" successfully rolled out", "{told:?}");
    let known =
        ["Waiting for deployment spec update to be observed...", "Waiting for deployment \"web\" rollout to finish: "];
    ensure!(before.iter().all(|line| known.iter().any(|start| line.starts_with(start))), "{told:?}");
    at.kubectl(&["annotate", web, "kubernetes.io/change-cause=the second", "--overwrite"])?;
    eventually("both causes are in the history", || {
        at.says(
            &["rollout", "history", web],
            "deployment.apps/web \nREVISION  CHANGE-CAUSE\n1         the first\n2         the second\n",
        )
    })?;
    let second = at.kubectl(&["rollout", "history", web, "--revision=2"])?;
    ensure!(
        second.starts_with("deployment.apps/web with revision #2\nPod Template:\n  Labels:\tapp=web\n"),
        "{second}"
    );
    ensure!(second.contains("\tpod-template-hash=") && second.contains("Image:\tnowhere.example/c:2"), "{second}");

    at.says(&["rollout", "pause", web], "deployment.apps/web paused")?;
    at.refuses(&["rollout", "pause", web], "deployments.apps \"web\" is already paused")?;
    at.refuses(
        &["rollout", "undo", web],
        "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume'",
    )?;
    at.refuses(&["rollout", "restart", web], "can't restart paused deployment (run rollout resume first)")?;
    at.image(web, "nowhere.example/c:3")?;
    eventually("what is paused is told to be so", || {
        let web = cluster.get(["-n", "rollouts", "deployment", "web"])?;
        let conditions = web["status"]["conditions"].to_string();
        ensure!(web["status"]["observedGeneration"] == web["metadata"]["generation"], "{}", web["status"]);
        ensure!(conditions.contains("DeploymentPaused"), "{conditions}");
        Ok(())
    })?;
    ensure!(at.images()?.iter().all(|(_, image)| image == "nowhere.example/c:2"), "{:?}", at.images()?);
    at.says(&["rollout", "resume", web], "deployment.apps/web resumed")?;
    at.refuses(&["rollout", "resume", web], "deployments.apps \"web\" is not paused")?;
    at.rolled_out(web)?;
    all_have(&at, 3, "nowhere.example/c:3")?;

    at.refuses(&["rollout", "undo", web, "--to-revision=9"], "error: unable to find specified revision 9 in history")?;
    at.says(&["rollout", "undo", web, "--to-revision=1"], "deployment.apps/web rolled back")?;
    at.rolled_out(web)?;
    all_have(&at, 3, "nowhere.example/c:1")?;
    let history = at.kubectl(&["rollout", "history", web])?;
    ensure!(numbers(&history) == ["2", "3", "4"], "what is rolled back to is the newest: {history}");
    let skipped = at.kubectl(&["rollout", "undo", web, "--to-revision=4"])?;
    ensure!(skipped.contains("skipped rollback (current template already matches revision 4)"), "{skipped}");
    let before = at.images()?;
    at.says(&["rollout", "restart", web], "deployment.apps/web restarted")?;
    at.rolled_out(web)?;
    eventually("all pods are new", || {
        let after = at.images()?;
        ensure!(after.len() == 3 && !after.iter().any(|pod| before.contains(pod)), "{before:?} {after:?}");
        Ok(())
    })
}

fn all_have(at: &Within<'_>, count: usize, image: &str) -> anyhow::Result<()> {
    eventually("only the new pods are there", || {
        let images = at.images()?;
        ensure!(images.len() == count && images.iter().all(|(_, one)| one == image), "{images:?}");
        Ok(())
    })
}

/// The first column of a history.
fn numbers(history: &str) -> Vec<&str> {
    let firsts = history.lines().filter_map(|line| line.split_whitespace().next());
    firsts.filter(|first| first.starts_with(|one: char| one.is_ascii_digit())).collect()
}

/// Desired, current and ready of each set, the largest first.
fn sets(at: &Within<'_>) -> anyhow::Result<Vec<String>> {
    let shown = at.kubectl(&["get", "replicasets", "--no-headers"])?;
    let mut rows: Vec<Vec<&str>> =
        shown.lines().map(|line| line.split_whitespace().skip(1).take(3).collect()).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.first().and_then(|one| one.parse::<u32>().ok())));
    Ok(rows.into_iter().map(|row| row.join(" ")).collect())
}

/// The numbers are those of upstream's documentation of proportional scaling; there, too, the new pods cannot run.
pub(super) fn stuck(cluster: &Cluster) -> anyhow::Result<()> {
    let at = Within::new(cluster, "stuck")?;
    take(cluster, &[12, 13, 14], "stuck")?;
    let strategy = json!({ "rollingUpdate": { "maxSurge": 3, "maxUnavailable": 2 } });
    let spec = json!({ "replicas": 10, "progressDeadlineSeconds": 3, "strategy": strategy });
    at.set(&keeper("Deployment", "stuck", "web", "stuck", &spec))?;
    at.rolled_out("deployment/web")?;
    at.says(&["patch", "deployment", "web", "-p", NOWHERE], "deployment.apps/web patched")?;
    let sized = |wanted: [&str; 2]| {
        eventually("the sets have their sizes", || {
            let sets = sets(&at)?;
            ensure!(sets == wanted, "{sets:?}");
            Ok(())
        })
    };
    sized(["8 8 8", "5 5 0"])?;
    at.says(&["scale", "deployment", "web", "--replicas=15"], "deployment.apps/web scaled")?;
    sized(["11 11 11", "7 7 0"])?;
    at.refuses(&["rollout", "status", "deployment/web"], "error: deployment \"web\" exceeded its progress deadline")?;
    let web = cluster.get(["-n", "stuck", "deployment", "web"])?;
    let conditions = web["status"]["conditions"].as_array().context("conditions")?;
    let progressing = conditions.iter().find(|one| one["type"] == "Progressing").context("a condition")?;
    let message = progressing["message"].as_str().unwrap_or("");
    ensure!(progressing["status"] == "False" && progressing["reason"] == "ProgressDeadlineExceeded", "{progressing}");
    ensure!(
        message.starts_with("ReplicaSet \"web-") && message.ends_with("\" has timed out progressing."),
        "{message}"
    );
    at.says(&["rollout", "undo", "deployment/web"], "deployment.apps/web rolled back")?;
    at.rolled_out("deployment/web")?;
    sized(["15 15 15", "0 0 0"])
}

pub(super) fn stateful_sets(cluster: &Cluster) -> anyhow::Result<()> {
    let at = Within::new(cluster, "ordinals")?;
    let names = || Ok::<_, anyhow::Error>(at.images()?.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    let nowhere = |name: &str, policy: &str| {
        let spec = json!({ "replicas": 3, "serviceName": name, "podManagementPolicy": policy });
        keeper("StatefulSet", "ordinals", name, "late", &spec)
    };
    at.set(&nowhere("one", "OrderedReady"))?;
    at.set(&nowhere("all", "Parallel"))?;
    eventually("one waits for its first pod, the other makes all", || {
        ensure!(names()? == ["all-0", "all-1", "all-2", "one-0"], "{:?}", names()?);
        Ok(())
    })?;
    take(cluster, &[19], "late")?;
    let told = at.rolled_out("statefulset/all")?;
    // a set that names no partition has one, at zero
    let complete = |count: u32| format!("partitioned roll out complete: {count} new pods have been updated...");
    ensure!(told.last() == Some(&complete(3)), "{told:?}");
    at.rolled_out("statefulset/one")?;
    ensure!(names()?.len() == 6, "{:?}", names()?);

    let partition = r#"{"spec":{"updateStrategy":{"rollingUpdate":{"partition":1}}}}"#;
    at.says(&["patch", "statefulset", "one", "-p", partition], "statefulset.apps/one patched")?;
    at.image("statefulset/one", "nowhere.example/c:2")?;
    let told = at.rolled_out("statefulset/one")?;
    ensure!(told.last() == Some(&complete(2)), "{told:?}");
    let images: Vec<String> =
        at.images()?.into_iter().filter(|(name, _)| name.starts_with("one-")).map(|(_, image)| image).collect();
    ensure!(images == ["nowhere.example/c:1", "nowhere.example/c:2", "nowhere.example/c:2"], "{images:?}");
    at.says(&["rollout", "undo", "statefulset/one"], "statefulset.apps/one rolled back")?;
    at.rolled_out("statefulset/one")?;
    eventually("the pods are as they were", || {
        let images = at.images()?;
        ensure!(images.iter().all(|(_, image)| image == "nowhere.example/c:1"), "{images:?}");
        Ok(())
    })?;
    at.kubectl(&["scale", "statefulset/all", "--replicas=0"])?;
    at.kubectl(&["scale", "statefulset/one", "--replicas=1"])?;
    eventually("the rest is gone", || {
        ensure!(names()? == ["one-0"], "{:?}", names()?);
        Ok(())
    })
}

pub(super) fn daemon_sets(cluster: &Cluster) -> anyhow::Result<()> {
    let at = Within::new(cluster, "daemons")?;
    take(cluster, &[1, 2, 3, 4], "daemons")?;
    let rolling = json!({ "updateStrategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } } });
    at.set(&keeper("DaemonSet", "daemons", "surging", "daemons", &rolling))?;
    let told = at.rolled_out("daemonset/surging")?;
    ensure!(told.last().is_some_and(|line| line == "daemon set \"surging\" successfully rolled out"), "{told:?}");
    all_have(&at, 4, "nowhere.example/c:1")?;
    at.image("daemonset/surging", "nowhere.example/c:2")?;
    at.rolled_out("daemonset/surging")?;
    all_have(&at, 4, "nowhere.example/c:2")?;
    at.says(
        &["rollout", "history", "daemonset/surging"],
        "daemonset.apps/surging \nREVISION  CHANGE-CAUSE\n1         <none>\n2         <none>\n",
    )?;
    at.says(&["rollout", "undo", "daemonset/surging", "--to-revision=1"], "daemonset.apps/surging rolled back")?;
    at.rolled_out("daemonset/surging")?;
    all_have(&at, 4, "nowhere.example/c:1")?;
    // Pods that cannot run hold the surge where it is: one pod more than there are nodes, and none of the old is gone.
    let huge =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1000"}}}]}}}}"#;
    at.kubectl(&["patch", "daemonset", "surging", "-p", huge])?;
    eventually("one surges", || {
        let status = cluster.get(["-n", "daemons", "daemonset", "surging"])?["status"].clone();
        ensure!(status["updatedNumberScheduled"].is_null() && status["numberAvailable"] == 4, "{status}");
        ensure!(at.images()?.len() == 5, "{:?}", at.images()?);
        Ok(())
    })?;
    at.kubectl(&["delete", "daemonset", "surging"])?;

    let by_hand = json!({ "updateStrategy": { "type": "OnDelete" } });
    at.set(&keeper("DaemonSet", "daemons", "by-hand", "daemons", &by_hand))?;
    all_have(&at, 4, "nowhere.example/c:1")?;
    at.refuses(
        &["rollout", "status", "daemonset/by-hand"],
        "error: rollout status is only available for RollingUpdate strategy type",
    )?;
    at.image("daemonset/by-hand", "nowhere.example/c:2")?;
    eventually("the controller knows", || {
        let set = cluster.get(["-n", "daemons", "daemonset", "by-hand"])?;
        ensure!(
            set["status"]["observedGeneration"] == 2 && set["status"]["updatedNumberScheduled"].is_null(),
            "{}",
            set["status"]
        );
        Ok(())
    })?;
    let (first, _) = at.images()?.into_iter().next().context("a pod")?;
    let said = at.kubectl(&["delete", "pod", &first])?;
    ensure!(said.starts_with(&format!("pod \"{first}\" deleted")), "{said}");
    eventually("only what was deleted is new", || {
        let images = at.images()?;
        let new = images.iter().filter(|(_, image)| image == "nowhere.example/c:2").count();
        ensure!((images.len(), new) == (4, 1), "{images:?}");
        Ok(())
    })
}
