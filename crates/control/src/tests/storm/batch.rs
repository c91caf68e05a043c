//! Work that ends.

use super::*;

fn job(name: &str, spec: Value) -> Value {
    let labels = json!({ "batch.kubernetes.io/job-name": name });
    let mut full = json!({
        "completions": 6, "parallelism": 3, "backoffLimit": 6, "completionMode": "NonIndexed",
        "podReplacementPolicy": "TerminatingOrFailed", "selector": { "matchLabels": labels },
        "template": { "metadata": { "labels": labels, "annotations": { "fails": "1,3" } },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "v1" }] } },
    });
    for (field, value) in spec.as_object().expect("fields") {
        full[field] = value.clone();
    }
    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": full })
}

fn has(job: &Value, condition: &str) -> bool {
    let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|one| one["type"] == condition && one["status"] == "True")
}

/// Whether all pods are counted and free.
fn all_free(fake: &Fake) -> bool {
    fake.list("pods").iter().all(|pod| is_ended(pod) && is_none(&pod["metadata"]["finalizers"]))
}

fn uncounted(job: &Value) -> usize {
    let lists = &job["status"]["uncountedTerminatedPods"];
    ["succeeded", "failed"].iter().map(|list| lists[*list].as_array().map_or(0, Vec::len)).sum()
}

#[test]
fn a_job_counts_each_pod_once_in_storms() {
    in_storms(2, |fake| async move {
        fake.edit(|objects| objects.create_object("jobs", job("plain", json!({}))));
        fake.until("the end", |fake| has(&the(fake, "jobs", "plain"), "Complete") && all_free(fake)).await;
        fake.rests(REST).await;
        let job = the(&fake, "jobs", "plain");
        assert_eq!((&job["status"]["succeeded"], uncounted(&job)), (&json!(6), 0));
        assert_eq!((made(&fake, "pods"), fake.list("pods").len()), (6, 6));
        assert!(most(&fake, "pods") <= 6 && all_free(&fake));
        replay(&fake, "pods", |pods| assert!(pods.values().filter(|pod| !is_ended(pod)).count() <= 3));
    });
}

#[test]
fn an_indexed_job_runs_each_index_as_often_as_it_must_in_storms() {
    in_storms(2, |fake| async move {
        let spec = json!({ "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": i32::MAX });
        fake.edit(|objects| objects.create_object("jobs", job("indexed", spec)));
        fake.until("the end", |fake| has(&the(fake, "jobs", "indexed"), "Complete") && all_free(fake)).await;
        fake.rests(REST).await;
        let job = the(&fake, "jobs", "indexed");
        assert_eq!(job["status"]["completedIndexes"], "0-5");
        assert_eq!((&job["status"]["succeeded"], &job["status"]["failed"], uncounted(&job)), (&json!(6), &json!(2), 0));
        let mut runs: Vec<(String, String)> = fake
            .list("pods")
            .iter()
            .map(|pod| {
                let index = text(&pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]);
                (index, text(&pod["status"]["phase"]))
            })
            .collect();
        runs.sort();
        let once = ["0", "1", "2", "3", "4", "5"].map(|index| (index.to_owned(), "Succeeded".to_owned()));
        let failed = ["1", "3"].map(|index| (index.to_owned(), "Failed".to_owned()));
        let mut wanted = [once.as_slice(), failed.as_slice()].concat();
        wanted.sort();
        assert_eq!((runs, made(&fake, "pods")), (wanted, 8));
    });
}

#[test]
fn a_job_that_is_stopped_lets_its_pods_go_in_storms() {
    in_storms(2, |fake| async move {
        let mut object = job("stopped", json!({ "completions": 4, "parallelism": 4, "activeDeadlineSeconds": 300 }));
        // there is no such node, so they never run
        object["spec"]["template"]["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": "none" });
        fake.edit(|objects| objects.create_object("jobs", object));
        fake.until("the end", |fake| has(&the(fake, "jobs", "stopped"), "Failed") && fake.list("pods").is_empty())
            .await;
        fake.rests(REST).await;
        let job = the(&fake, "jobs", "stopped");
        assert_eq!((&job["status"]["failed"], uncounted(&job), made(&fake, "pods")), (&json!(4), 0, 4));
    });
}

#[test]
fn a_cronjob_starts_one_job_for_each_time_in_storms() {
    in_storms(2, |fake| async move {
        fake.edit(|objects| {
            let template = json!({ "spec": job("x", json!({ "completions": 1, "parallelism": 1 }))["spec"] });
            let mut template = template;
            // the server names the pods of a Job by its uid; here its name must do, and the Job has none yet
            template["spec"]["selector"] = json!({ "matchLabels": { "app": "report" } });
            template["spec"]["template"]["metadata"]["labels"] = json!({ "app": "report" });
            let spec = json!({ "schedule": "*/10 * * * *", "concurrencyPolicy": "Forbid", "jobTemplate": template,
                "successfulJobsHistoryLimit": 2, "failedJobsHistoryLimit": 1 });
            objects.create_object(
                "cronjobs",
                json!({ "metadata": { "name": "report", "namespace": "shop" }, "spec": spec }),
            );
        });
        let last = base::time::rfc3339(morning() + SignedDuration::from_secs(3600 - 30));
        fake.until("the sixth job is over", |fake| {
            let status = the(fake, "cronjobs", "report")["status"].clone();
            status["lastScheduleTime"] == json!(last) && is_none(&status["active"]) && fake.list("jobs").len() == 2
        })
        .await;
        let names: Vec<String> = fake
            .edit(|objects| objects.history("jobs"))
            .iter()
            .filter(|(kind, _)| *kind == "ADDED")
            .map(|(_, job)| text(&job["metadata"]["name"]))
            .collect();
        let first = morning().as_second() / 60 + 10;
        let wanted: Vec<String> = (0..6).map(|time| format!("report-{}", first + 10 * time)).collect();
        assert_eq!(names, wanted);
        assert_eq!(made(&fake, "pods"), 6);
    });
}
