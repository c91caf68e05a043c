//! Work that ends: Jobs by number and by index, Jobs at times, and what protects pods from being taken away.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails, run, together};
use serde_json::{Value, json};

use super::{IMAGE, logs, namespace, ready};

#[test]
fn work_ends_as_it_should_and_what_is_guarded_stays() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-jobs", &["busybox"])?;
    together(
        &cluster,
        &[
            ("jobs by number and by index", counting),
            ("a job whose first index is enough", enough),
            ("jobs at times", at_times),
            ("jobs at times of elsewhere, or not at all", elsewhere),
            ("ended jobs go after a time", time_to_live),
            ("budgets keep pods", budgets),
        ],
    )
}

/// A Job's manifest; `spec` is everything but the template, `script` what its container runs.
fn job(namespace: &str, name: &str, spec: &str, script: &str) -> String {
    format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: {namespace}}}
spec:
{spec}
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers:
      - name: c
        image: {IMAGE}
        command: [sh, -c, {}]
"#,
        json!(script)
    )
}

fn until_ended(cluster: &Cluster, namespace: &str, name: &str, kind: &str) -> anyhow::Result<Value> {
    eventually("the job ends", || {
        let job = cluster.get(["-n", namespace, "job", name])?;
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        ensure!(
            conditions.iter().any(|one| one["type"] == kind && one["status"] == "True"),
            "job {name}: {}",
            job["status"]
        );
        Ok(job["status"].clone())
    })
}

fn counting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "counting")?;
    // Each index says who it is, index 2 breaks what is not to be broken again, and index 1 fails once.
    let script = "echo $JOB_COMPLETION_INDEX on $(hostname); [ $JOB_COMPLETION_INDEX = 2 ] && exit 42; \
                  [ $JOB_COMPLETION_INDEX = 1 ] && mkdir /shared/once 2>/dev/null && exit 3; exit 0";
    let folder = tempfile::tempdir()?;
    let spec = "  completions: 4
  parallelism: 2
  completionMode: Indexed
  backoffLimitPerIndex: 1
  podFailurePolicy: {rules: [{action: FailIndex, onExitCodes: {operator: In, values: [42]}}]}";
    let volume = format!(
        "        volumeMounts: [{{name: shared, mountPath: /shared}}]\n      volumes: [{{name: shared, hostPath: {{path: {}}}}}]\n",
        folder.path().display()
    );
    cluster.apply(&(job("counting", "numbers", spec, script) + &volume))?;
    let status = until_ended(cluster, "counting", "numbers", "Failed")?;
    ensure!(status["completedIndexes"] == "0,1,3" && status["failedIndexes"] == "2", "{status}");
    ensure!(status["succeeded"] == 3 && status["failed"] == 2, "{status}");
    ensure!(status["conditions"].to_string().contains("FailedIndexes"), "{status}");
    let pods = cluster.get(["-n", "counting", "pods", "-l", "job-name=numbers"])?;
    let pods = pods["items"].as_array().context("pods")?;
    ensure!(pods.len() == 5, "one pod for each try: {}", pods.len());
    for pod in pods {
        let (meta, name) = (&pod["metadata"], pod["metadata"]["name"].as_str().context("a name")?);
        let index = meta["labels"]["batch.kubernetes.io/job-completion-index"].as_str().context("an index")?;
        ensure!(meta["finalizers"].is_null(), "{name} is let go: {meta}");
        ensure!(name.starts_with(&format!("numbers-{index}-")), "{name}");
        let said = logs(cluster, "counting", name)?;
        ensure!(said == format!("{index} on numbers-{index}\n"), "{said}");
    }
    cluster.apply(&job("counting", "fatal", "  completions: 2\n  podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: NotIn, values: [1]}}]}", "exit 7"))?;
    let status = until_ended(cluster, "counting", "fatal", "Failed")?;
    let told = status["conditions"].to_string();
    ensure!(
        told.contains("PodFailurePolicy") && told.contains("failed with exit code 7 matching FailJob rule at index 0"),
        "{told}"
    );
    let described = cluster.kubectl(["-n", "counting", "describe", "job", "fatal"])?;
    ensure!(described.contains("SuccessfulCreate") && described.contains("PodFailurePolicy"), "{described}");
    pausing(cluster)
}

/// A Job that is suspended has no pods, and goes on where it was.
fn pausing(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.apply(&job("counting", "pausing", "  suspend: true\n  completions: 1", "exit 0"))?;
    let suspended = "--for=condition=Suspended";
    cluster.kubectl(["-n", "counting", "wait", suspended, "job/pausing", "--timeout=60s"])?;
    let pods = cluster.get(["-n", "counting", "pods", "-l", "job-name=pausing"])?;
    ensure!(pods["items"] == json!([]), "{pods}");
    cluster.kubectl(["-n", "counting", "patch", "job", "pausing", "-p", r#"{"spec":{"suspend":false}}"#])?;
    cluster.kubectl(["-n", "counting", "wait", "--for=condition=Complete", "job/pausing", "--timeout=60s"])?;
    // With the Job go its pods.
    cluster.kubectl(["-n", "counting", "delete", "job", "pausing", "--cascade=foreground", "--timeout=60s"])?;
    let pods = cluster.get(["-n", "counting", "pods", "-l", "job-name=pausing"])?;
    ensure!(pods["items"] == json!([]), "{pods}");
    Ok(())
}

/// A Job with a rule for its success ends when that is fulfilled, and takes away what still runs.
fn enough(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "enough")?;
    let spec = "  completions: 2
  parallelism: 2
  completionMode: Indexed
  successPolicy: {rules: [{succeededIndexes: \"0\"}]}";
    cluster.apply(&job("enough", "leader", spec, "[ $JOB_COMPLETION_INDEX = 0 ] || exec sleep 1000"))?;
    let status = until_ended(cluster, "enough", "leader", "Complete")?;
    ensure!(status["completedIndexes"] == "0" && status["succeeded"] == 1, "{status}");
    let told = status["conditions"].to_string();
    ensure!(told.contains("SuccessCriteriaMet") && told.contains("SuccessPolicy"), "{told}");
    ensure!(told.contains("Matched rules at index 0"), "{told}");
    let shown = cluster.kubectl(["-n", "enough", "get", "job", "leader", "--no-headers"])?;
    let columns: Vec<&str> = shown.split_whitespace().take(3).collect();
    ensure!(columns == ["leader", "Complete", "1/2"], "{shown}");
    eventually("who is not needed any more is gone", || {
        let pods = cluster.kubectl(["-n", "enough", "get", "pods", "-o", "name"])?;
        ensure!(pods.lines().count() == 1 && pods.starts_with("pod/leader-0-"), "{pods}");
        Ok(())
    })
}

/// The minute that begins `minutes` from now and its hour, as clocks in Kolkata show them, half an hour off from all others.
fn in_kolkata(minutes: u32) -> anyhow::Result<(String, String)> {
    let mut command = Command::new("date");
    let shown = run(command.env("TZ", "IST-5:30").args(["-d", &format!("{minutes} minutes"), "+%-M %-H"]))?;
    let (minute, hour) = shown.trim().split_once(' ').context("two numbers")?;
    Ok((minute.to_owned(), hour.to_owned()))
}

fn elsewhere(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "elsewhere")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "elsewhere"].iter().chain(args));
    let (next, second) = (in_kolkata(1)?, in_kolkata(2)?);
    let schedule = format!("{},{} {},{} * * *", next.0, second.0, next.1, second.1);
    let image = format!("--image={IMAGE}");
    for name in ["there", "held", "here"] {
        let said = kubectl(&["create", "cronjob", name, &image, &format!("--schedule={schedule}"), "--", "true"])?;
        ensure!(said.trim() == format!("cronjob.batch/{name} created"), "{said}");
    }
    kubectl(&["patch", "cronjob", "held", "-p", r#"{"spec":{"timeZone":"Asia/Kolkata","suspend":true}}"#])?;
    kubectl(&["patch", "cronjob", "there", "-p", r#"{"spec":{"timeZone":"Asia/Kolkata"}}"#])?;
    let columns = |name: &str| {
        let shown = kubectl(&["get", "cronjob", name, "--no-headers"])?;
        let rest = shown.split_once("* * *").context("a schedule")?.1.to_owned();
        Ok::<_, anyhow::Error>(rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    ensure!(columns("held")?[..4] == ["Asia/Kolkata", "True", "0", "<none>"], "{:?}", columns("held")?);
    ensure!(columns("here")?[..4] == ["<none>", "False", "0", "<none>"], "{:?}", columns("here")?);
    eventually("the one that is due there has run", || {
        let jobs = cluster.get(["-n", "elsewhere", "jobs"])?;
        let owners: Vec<&str> = jobs["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|job| job["metadata"]["ownerReferences"][0]["name"].as_str())
            .collect();
        ensure!(owners.contains(&"there"), "{owners:?}");
        ensure!(owners.iter().all(|owner| *owner == "there"), "the others are not due, or held: {owners:?}");
        Ok(())
    })?;
    kubectl(&["delete", "cronjob", "there", "held", "here"])?;
    Ok(())
}

fn at_times(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "at-times")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "at-times"].iter().chain(args));
    let image = format!("--image={IMAGE}");
    let schedule = "--schedule=0 0 1 1 *";
    kubectl(&["create", "cronjob", "yearly", &image, schedule, "--", "echo", "a year is over"])?;
    kubectl(&["patch", "cronjob", "yearly", "-p", r#"{"spec":{"timeZone":"Asia/Kolkata"}}"#])?;
    kubectl(&["create", "job", "now", "--from=cronjob/yearly"])?;
    kubectl(&["wait", "--for=condition=Complete", "job/now", "--timeout=60s"])?;
    ensure!(kubectl(&["logs", "job/now"])? == "a year is over\n");
    let made = cluster.get(["-n", "at-times", "job", "now"])?;
    ensure!(made["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual", "{}", made["metadata"]);
    eventually("the cronjob has seen the success", || {
        let status = &cluster.get(["-n", "at-times", "cronjob", "yearly"])?["status"];
        ensure!(status["lastSuccessfulTime"] == made["status"]["completionTime"], "{status}");
        ensure!(status["lastScheduleTime"].is_null(), "nothing was due: {status}");
        Ok(())
    })?;
    // Every minute: the next one is waited for.
    kubectl(&["create", "cronjob", "often", &image, "--schedule=* * * * *", "--", "true"])?;
    let job = eventually("a job of the minute ends", || {
        let jobs = cluster.get(["-n", "at-times", "jobs"])?;
        let of =
            |job: &&Value| job["metadata"]["ownerReferences"][0]["name"] == "often" && job["status"]["succeeded"] == 1;
        jobs["items"].as_array().and_then(|jobs| jobs.iter().find(of).cloned()).context("none yet")
    })?;
    let scheduled = job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"].clone();
    ensure!(scheduled.as_str().is_some_and(|time| time.ends_with(":00Z")), "{scheduled}");
    let cron = cluster.get(["-n", "at-times", "cronjob", "often"])?;
    ensure!(cron["status"]["lastScheduleTime"] == scheduled, "{} for {scheduled}", cron["status"]);
    kubectl(&["delete", "cronjob", "often", "yearly"])?;
    eventually("the jobs went with their cronjobs", || {
        ensure!(cluster.get(["-n", "at-times", "jobs"])?["items"] == json!([]));
        Ok(())
    })
}

fn time_to_live(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "expiring")?;
    cluster.apply(&job("expiring", "brief", "  ttlSecondsAfterFinished: 2", "exit 0"))?;
    cluster.apply(&job("expiring", "kept", "  ttlSecondsAfterFinished: 3600", "exit 0"))?;
    until_ended(cluster, "expiring", "kept", "Complete")?;
    eventually("the job is gone, with its pods", || {
        let jobs = cluster.get(["-n", "expiring", "jobs,pods"])?;
        let names: Vec<&str> =
            jobs["items"].as_array().into_iter().flatten().filter_map(|one| one["metadata"]["name"].as_str()).collect();
        ensure!(names.len() == 2 && names.iter().all(|name| name.starts_with("kept")), "{names:?}");
        Ok(())
    })
}

fn budgets(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "budgets")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "budgets"].iter().chain(args));
    // A pod becomes ready when the gate is open, and stays so.
    let gate = tempfile::tempdir()?;
    std::fs::write(gate.path().join("open"), "")?;
    cluster.apply(&format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: budgets}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: guarded}}}}
  template:
    metadata: {{labels: {{app: guarded}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: {IMAGE}
        command: [sh, -c, "until [ -e /gate/open ]; do sleep 0.1; done; touch /tmp/ready; exec sleep 1000"]
        readinessProbe: {{exec: {{command: [test, -e, /tmp/ready]}}, periodSeconds: 1}}
        volumeMounts: [{{name: gate, mountPath: /gate}}]
      volumes: [{{name: gate, hostPath: {{path: {}}}}}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: web, namespace: budgets}}
spec: {{maxUnavailable: 34%, selector: {{matchLabels: {{app: guarded}}}}}}
"#,
        gate.path().display()
    ))?;
    cluster.rolled_out("budgets", "deployment/web")?;
    let counted = |wanted: [i64; 4]| {
        eventually("the budget has counted", || {
            let status = cluster.get(["-n", "budgets", "pdb", "web"])?["status"].clone();
            let names = ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"];
            ensure!(names.map(|name| status[name].as_i64()) == wanted.map(Some), "{status}");
            Ok(status)
        })
    };
    let open = counted([3, 1, 3, 2])?;
    ensure!(open["conditions"][0]["reason"] == "SufficientPods", "{open}");
    kubectl(&["patch", "pdb", "web", "--type=merge", "-p", r#"{"spec":{"maxUnavailable":1}}"#])?;
    counted([3, 2, 3, 1])?;
    // The first eviction is allowed; as long as its successor is not ready, no other is.
    std::fs::remove_file(gate.path().join("open"))?;
    let pods = cluster.get(["-n", "budgets", "pods", "-l", "app=guarded"])?;
    let names: Vec<&str> =
        pods["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
    run(&mut eviction(cluster, names[0], gate.path())?)?;
    let closed = counted([2, 2, 3, 0])?;
    ensure!(closed["conditions"][0]["reason"] == "InsufficientPods", "{closed}");
    let refused = fails(&mut eviction(cluster, names[1], gate.path())?, 1)?;
    ensure!(refused.contains("Cannot evict pod as it would violate the pod's disruption budget."), "{refused}");
    let node = cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let drain = |timeout: &str| {
        let mut command = cluster.command("kubectl");
        command.args(["drain", &node, "--pod-selector=app=guarded", &format!("--timeout={timeout}")]);
        command
    };
    let refused = fails(&mut drain("3s"), 1)?;
    ensure!(refused.contains("violate the pod's disruption budget"), "{refused}");
    std::fs::write(gate.path().join("open"), "")?;
    cluster.kubectl(["uncordon", &node])?;
    counted([3, 2, 3, 1])?;
    ready(cluster, "budgets", names[1])?;
    // Without the budget nothing keeps the pods.
    kubectl(&["delete", "pdb", "web"])?;
    run(&mut drain("60s"))?;
    cluster.kubectl(["uncordon", &node])?;
    cluster.rolled_out("budgets", "deployment/web")
}

/// The command that asks for the eviction of a pod, with the body in a file of `folder`.
fn eviction(cluster: &Cluster, pod: &str, folder: &Path) -> anyhow::Result<Command> {
    let (file, path) = (folder.join(pod), format!("/api/v1/namespaces/budgets/pods/{pod}/eviction"));
    let metadata = json!({ "name": pod, "namespace": "budgets" });
    std::fs::write(&file, json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata }).to_string())?;
    let mut command = cluster.command("kubectl");
    command.args(["create", "--raw", &path, "-f"]).arg(file);
    Ok(command)
}
