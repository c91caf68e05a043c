//! Jobs, CronJobs and budgets against a server in memory, by controllers that are killed after any of their writes.

use serde_json::{Value, json};

use super::*;
use crate::fake::Life;

const UNDER_TEST: &[&str] =
    &["job-controller", "cronjob-controller", "ttl-after-finished-controller", "disruption-controller"];

/// Runs the controllers until `reached`; each time they have made `writes` writes they are killed and started anew.
async fn until_killed_often(fake: &Fake, writes: usize, what: &str, reached: impl Fn(&Fake) -> bool) {
    for _ in 0..200 {
        let (ctx, _) = tasks::context_for_tests();
        let life = Life::new(writes);
        let (clients, lives) = (fake.clone(), life.clone());
        let config = config_for(Arc::new(move |_: &str| clients.mortal(&lives)));
        let some = CONTROLLERS.iter().filter(|controller| UNDER_TEST.contains(&controller.name));
        ctx.children.try_spawn("controllers", run_some(some, config, ctx.clone()));
        let killed = tokio::select! {
            () = fake.until(what, &reached) => false,
            () = life.over() => true,
        };
        ctx.stop.cancel();
        if !killed {
            return;
        }
    }
    panic!("killed 200 times and never reached: {what}");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

/// Ends pods as their Job's name says, long ago so that nobody has to wait; those being deleted end and go.
async fn job_kubelet(fake: Fake) {
    let mut changes = fake.changes();
    let mut first = None;
    loop {
        let pods = fake.list("pods");
        for pod in &pods {
            let name = text(&pod["metadata"]["name"]);
            let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            if pod["metadata"]["deletionTimestamp"].is_string() {
                if !ended {
                    end(&fake, &name, 137);
                } else if pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
                    fake.edit(|objects| objects.remove("pods", "shop", &name));
                }
                continue;
            }
            if ended {
                continue;
            }
            let annotation =
                |key: &str| text(&pod["metadata"]["annotations"][format!("batch.kubernetes.io/job-{key}")]);
            match pod["metadata"]["ownerReferences"][0]["name"].as_str() {
                Some("plain") => {
                    let is_first = *first.get_or_insert_with(|| name.clone()) == name;
                    end(&fake, &name, i64::from(is_first));
                }
                Some("indexed") => {
                    let fails = annotation("completion-index") == "1" && annotation("index-failure-count") == "0";
                    end(&fake, &name, i64::from(fails));
                }
                Some("fatal") if annotation("completion-index") == "1" && pods.len() == 3 => end(&fake, &name, 42),
                _ => {}
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn end(fake: &Fake, name: &str, code: i64) {
    let long_ago = base::time::rfc3339(base::time::now() - base::time::SignedDuration::from_hours(1));
    let state = json!({ "terminated": { "exitCode": code, "finishedAt": long_ago } });
    let container =
        json!({ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let status = json!({ "phase": phase, "containerStatuses": [container] });
    fake.edit(|objects| objects.change("pods", "shop", name, |pod| pod["status"] = status));
}

fn job(name: &str, spec: Value) -> Value {
    let labels = json!({ "batch.kubernetes.io/job-name": name });
    let mut full = json!({
        "completions": 3, "parallelism": 2, "backoffLimit": 6, "completionMode": "NonIndexed",
        "podReplacementPolicy": "TerminatingOrFailed", "selector": { "matchLabels": labels },
        "template": { "metadata": { "labels": labels },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "v1" }] } },
    });
    for (field, value) in spec.as_object().expect("fields") {
        full[field] = value.clone();
    }
    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": full })
}

fn the(fake: &Fake, plural: &str) -> Value {
    fake.list(plural).into_iter().next().unwrap_or_default()
}

fn has(job: &Value, condition: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|one| one["type"] == condition && one["status"] == "True")
}

/// Runs a Job to its end; its status and the number of pods that were ever made.
async fn outcome(object: Value, writes: usize) -> (Value, usize) {
    let fake = Fake::new();
    let (ctx, _) = tasks::context_for_tests();
    ctx.children.spawn("kubelet", job_kubelet(fake.clone()));
    fake.edit(|objects| objects.create_object("jobs", object));
    until_killed_often(&fake, writes, "the job ends and its pods are free", |fake| {
        let ended = has(&the(fake, "jobs"), "Complete") || has(&the(fake, "jobs"), "Failed");
        let free = |pod: &Value| pod["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        ended && fake.list("pods").iter().all(free)
    })
    .await;
    let mut status = the(&fake, "jobs")["status"].clone();
    for field in ["startTime", "completionTime", "uncountedTerminatedPods"] {
        status.as_object_mut().expect("a status").remove(field);
    }
    let reasons = status["conditions"].as_array().expect("conditions").iter();
    status["conditions"] =
        reasons.map(|one| json!(format!("{}:{}", text(&one["type"]), text(&one["reason"])))).collect();
    (status, fake.edit(|objects| objects.created("pods")))
}

const LIVES: &[usize] = &[1, 2, 3, 5, usize::MAX];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_counts_each_pod_once_wherever_its_controller_is_killed() {
    for writes in LIVES {
        let (status, pods) = outcome(job("plain", json!({})), *writes).await;
        assert_eq!(
            status,
            json!({ "succeeded": 3, "failed": 1, "ready": 0, "terminating": 0,
                "conditions": ["SuccessCriteriaMet:CompletionsReached", "Complete:CompletionsReached"] }),
            "killed after {writes} writes"
        );
        assert_eq!(pods, 4, "killed after {writes} writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexed_job_runs_each_index_as_often_as_it_must_wherever_its_controller_is_killed() {
    for writes in LIVES {
        let spec = json!({ "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX });
        let (status, pods) = outcome(job("indexed", spec), *writes).await;
        assert_eq!(
            status,
            json!({ "succeeded": 3, "failed": 1, "ready": 0, "terminating": 0, "completedIndexes": "0-2",
                "failedIndexes": "",
                "conditions": ["SuccessCriteriaMet:CompletionsReached", "Complete:CompletionsReached"] }),
            "killed after {writes} writes"
        );
        assert_eq!(pods, 4, "killed after {writes} writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_a_rule_ends_stops_its_other_pods_and_counts_them_wherever_its_controller_is_killed() {
    for writes in LIVES {
        let rule = json!({ "action": "FailJob", "onExitCodes": { "operator": "In", "values": [42] } });
        let spec = json!({ "completionMode": "Indexed", "parallelism": 3, "podReplacementPolicy": "Failed",
            "podFailurePolicy": { "rules": [rule] } });
        let (status, pods) = outcome(job("fatal", spec), *writes).await;
        assert_eq!(
            status,
            json!({ "failed": 3, "ready": 0, "terminating": 0,
                "conditions": ["FailureTarget:PodFailurePolicy", "Failed:PodFailurePolicy"] }),
            "killed after {writes} writes"
        );
        assert_eq!(pods, 3, "killed after {writes} writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orphan_is_adopted_and_a_stray_finalizer_taken_away() {
    let fake = Fake::new();
    let labels = json!({ "batch.kubernetes.io/job-name": "adopts" });
    let containers = json!([{ "name": "c", "image": "v1" }]);
    let pod = |name: &str, labels: Value| {
        json!({ "metadata": { "name": name, "namespace": "shop", "labels": labels,
            "finalizers": ["example.com/other"] }, "spec": { "containers": containers } })
    };
    fake.edit(|objects| {
        objects.create_object("jobs", job("adopts", json!({ "parallelism": 1 })));
        objects.create_object("pods", pod("orphan", labels));
        let mut stray = pod("stray", json!({}));
        stray["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking", "example.com/other"]);
        objects.create_object("pods", stray);
    });
    until_killed_often(&fake, 1, "one is adopted, one is free", |fake| {
        let pods = fake.list("pods");
        let [orphan, stray] = pods.as_slice() else { return false };
        orphan["metadata"]["ownerReferences"][0]["name"] == "adopts"
            && orphan["metadata"]["finalizers"] == json!(["example.com/other", "batch.kubernetes.io/job-tracking"])
            && stray["metadata"]["finalizers"] == json!(["example.com/other"])
            && the(fake, "jobs")["status"]["active"] == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cronjob_starts_one_job_for_a_time_wherever_its_controller_is_killed() {
    for writes in LIVES {
        let fake = Fake::new();
        let now = base::time::now();
        let minutes = |count: i64| base::time::SignedDuration::from_mins(count);
        // a minute of this day, which comes again next year
        let schedule = (now - minutes(1)).strftime("%M %H %d %m *").to_string();
        let template = json!({ "spec": job("x", json!({ "parallelism": 0 }))["spec"] });
        fake.edit(|objects| {
            let spec = json!({ "schedule": schedule, "concurrencyPolicy": "Forbid", "jobTemplate": template,
                "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1 });
            let cron = json!({ "metadata": { "name": "report", "namespace": "shop" }, "spec": spec });
            objects.create_object("cronjobs", cron);
            objects.change("cronjobs", "shop", "report", |cron| {
                cron["metadata"]["creationTimestamp"] = json!(base::time::rfc3339(now - minutes(10)));
            });
        });
        until_killed_often(&fake, *writes, "the job is listed", |fake| {
            let active = the(fake, "cronjobs")["status"]["active"].as_array().map_or(0, Vec::len);
            active == 1 && fake.list("jobs").len() == 1
        })
        .await;
        let started = the(&fake, "jobs");
        let time = text(&the(&fake, "cronjobs")["status"]["lastScheduleTime"]);
        let minute = base::time::parse(&time).expect("a time").as_second() / 60;
        assert_eq!(started["metadata"]["name"], json!(format!("report-{minute}")));
        let status = json!({ "startTime": time, "completionTime": time,
            "conditions": [{ "type": "Complete", "status": "True", "lastTransitionTime": time }] });
        fake.edit(|objects| objects.change("jobs", "shop", &format!("report-{minute}"), |job| job["status"] = status));
        until_killed_often(&fake, *writes, "its end is taken over", |fake| {
            let status = the(fake, "cronjobs")["status"].clone();
            status["active"].as_array().is_none_or(Vec::is_empty) && status["lastSuccessfulTime"] == json!(time)
        })
        .await;
        assert_eq!(fake.edit(|objects| objects.created("jobs")), 1, "killed after {writes} writes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ended_job_is_deleted_with_its_pods_when_its_time_is_over() {
    let fake = Fake::new();
    fake.edit(|objects| {
        for (name, ttl) in [("gone", json!(0)), ("kept", json!(3600)), ("kept-for-ever", Value::Null)] {
            objects.create_object("jobs", job(name, json!({ "parallelism": 0, "ttlSecondsAfterFinished": ttl })));
            let now = base::time::rfc3339(base::time::now());
            let end = json!({ "type": "Failed", "status": "True", "lastTransitionTime": now });
            objects.change("jobs", "shop", name, |job| job["status"] = json!({ "conditions": [end] }));
        }
    });
    until_killed_often(&fake, 1, "the job is being deleted", |fake| {
        let deleted = |job: &Value| job["metadata"]["deletionTimestamp"].is_string();
        fake.list("jobs").iter().any(|job| deleted(job) && job["metadata"]["name"] == "gone")
    })
    .await;
    let jobs = fake.list("jobs");
    let leaving: Vec<&Value> = jobs.iter().filter(|job| job["metadata"]["deletionTimestamp"].is_string()).collect();
    assert_eq!(leaving.len(), 1);
    assert_eq!(leaving[0]["metadata"]["finalizers"], json!(["foregroundDeletion"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_follows_its_pods_and_the_scale_of_their_controllers() {
    let fake = Fake::new();
    let selector = json!({ "matchLabels": { "app": "web" } });
    fake.edit(|objects| {
        let budget = json!({ "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "maxUnavailable": "40%", "selector": selector } });
        objects.create_object("poddisruptionbudgets", budget);
        let gadget = json!({ "metadata": { "name": "g", "namespace": "shop" }, "spec": { "replicas": 5 } });
        let uid = objects.create_object("gadgets", gadget)["metadata"]["uid"].clone();
        for index in 0..4 {
            let owner = json!([{ "apiVersion": "example.com/v1", "kind": "Gadget", "name": "g", "uid": uid, "controller": true }]);
            let ready = json!([{ "type": "Ready", "status": "True" }]);
            let pod = json!({ "metadata": { "name": format!("p{index}"), "namespace": "shop", "labels": { "app": "web" },
                "ownerReferences": owner }, "spec": { "containers": [] }, "status": { "phase": "Running", "conditions": ready } });
            objects.create_object("pods", pod);
        }
    });
    let allowed = |fake: &Fake| {
        let status = the(fake, "poddisruptionbudgets")["status"].clone();
        ["currentHealthy", "desiredHealthy", "expectedPods", "disruptionsAllowed"].map(|field| status[field].as_i64())
    };
    until_killed_often(&fake, 1, "four of five are there", |fake| allowed(fake) == [4, 3, 5, 1].map(Some)).await;
    fake.edit(|objects| objects.remove("pods", "shop", "p0"));
    until_killed_often(&fake, 1, "no more may go", |fake| allowed(fake) == [3, 3, 5, 0].map(Some)).await;
    let reason = |fake: &Fake| the(fake, "poddisruptionbudgets")["status"]["conditions"][0]["reason"].clone();
    assert_eq!(reason(&fake), json!("InsufficientPods"));
    fake.edit(|objects| {
        objects.change("pods", "shop", "p1", |pod| {
            pod["metadata"]["ownerReferences"][0]["kind"] = json!("Gizmo");
            pod["metadata"]["ownerReferences"][0]["uid"] = json!("other");
        });
    });
    until_killed_often(&fake, 1, "a pod of an unknown kind", |fake| reason(fake) == json!("SyncFailed")).await;
    let message = the(&fake, "poddisruptionbudgets")["status"]["conditions"][0]["message"].clone();
    assert_eq!(message, json!("no matches for kind \"Gizmo\" in version \"example.com/v1\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_of_disruption_that_nobody_followed_is_taken_back() {
    let fake = Fake::new();
    let long_ago = base::time::rfc3339(base::time::now() - base::time::SignedDuration::from_hours(1));
    fake.edit(|objects| {
        let mark = json!([{ "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "x", "lastTransitionTime": long_ago }]);
        objects.create_object(
            "pods",
            json!({ "metadata": { "name": "p", "namespace": "shop" },
            "spec": { "containers": [] }, "status": { "phase": "Running", "conditions": mark } }),
        );
    });
    until_killed_often(&fake, 1, "the mark is false", |fake| {
        let mark = &the(fake, "pods")["status"]["conditions"][0];
        mark["status"] == "False" && mark["reason"].is_null() && mark["lastTransitionTime"] != json!(long_ago)
    })
    .await;
}
