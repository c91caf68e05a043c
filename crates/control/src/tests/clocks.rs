//! The wall's clock is set, by hours, while the controllers run: what has happened does not happen again, and what is alive
//! is not taken for dead.

use std::time::Duration;

use base::time::{SignedDuration, Timestamp};

use super::storm::{calm, in_virtual_time, morning};
use super::*;
use crate::fake::clock;

const MINUTE: Duration = Duration::from_secs(60);

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

/// Lets virtual time pass.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

/// The times for which Jobs were started, in hours and minutes.
fn started(fake: &Fake) -> Vec<String> {
    let history = fake.edit(|objects| objects.history("jobs"));
    let names = history.iter().filter(|(kind, _)| *kind == "ADDED").map(|(_, job)| job["metadata"]["name"].clone());
    names
        .map(|name| {
            let minute: i64 = name.as_str().and_then(|name| name.rsplit('-').next()?.parse().ok()).expect("a minute");
            Timestamp::from_second(minute * 60).expect("a time").strftime("%H:%M").to_string()
        })
        .collect()
}

#[test]
fn a_cronjob_runs_once_for_what_it_missed_and_never_again_for_what_it_did() {
    in_virtual_time(async {
        let (fake, _ctx) = calm(1);
        fake.edit(|objects| {
            let labels = json!({ "app": "report" });
            let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "v1" }] });
            let job = json!({ "completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed",
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod } });
            let spec = json!({ "schedule": "*/10 * * * *", "concurrencyPolicy": "Allow", "jobTemplate": { "spec": job },
                "successfulJobsHistoryLimit": 9, "failedJobsHistoryLimit": 9 });
            let metadata = json!({ "name": "report", "namespace": "shop" });
            objects.create_object("cronjobs", json!({ "metadata": metadata, "spec": spec }));
        });
        pass(10 * MINUTE).await;
        assert_eq!(started(&fake), ["10:10"], "it is {}", clock::now());
        clock::jump(hours(5));
        pass(MINUTE).await;
        assert_eq!(started(&fake), ["10:10", "15:10"], "of many missed times the last counts; it is {}", clock::now());
        pass(10 * MINUTE).await;
        assert_eq!(started(&fake), ["10:10", "15:10", "15:20"], "it is {}", clock::now());
        clock::jump(hours(-3));
        pass(30 * MINUTE).await;
        assert_eq!(started(&fake), ["10:10", "15:10", "15:20"], "these times come again; it is {}", clock::now());
        clock::jump(hours(3));
        pass(MINUTE).await;
        assert_eq!(started(&fake), ["10:10", "15:10", "15:20", "15:50"], "it is {}", clock::now());
        assert_eq!(fake.edit(|objects| objects.created("pods")), 4);
    });
}

#[test]
fn an_ended_job_stays_until_the_wall_says_that_its_time_is_over() {
    in_virtual_time(async {
        let (fake, _ctx) = calm(1);
        fake.edit(|objects| {
            let end = json!({ "type": "Complete", "status": "True",
                "lastTransitionTime": base::time::rfc3339(morning()) });
            let spec = json!({ "parallelism": 0, "ttlSecondsAfterFinished": 600, "template": { "spec": {} } });
            objects.create_object("jobs", json!({ "metadata": { "name": "done", "namespace": "shop" }, "spec": spec }));
            objects.change("jobs", "shop", "done", |job| job["status"] = json!({ "conditions": [end] }));
        });
        let stays = |fake: &Fake| fake.list("jobs").iter().any(|job| job["metadata"]["deletionTimestamp"].is_null());
        pass(MINUTE).await;
        clock::jump(SignedDuration::from_mins(5));
        pass(MINUTE).await;
        assert!(stays(&fake), "three minutes early");
        clock::jump(hours(-5));
        pass(20 * MINUTE).await;
        assert!(stays(&fake), "it ended in the future");
        clock::jump(SignedDuration::from_mins(280));
        fake.until("its time is over", |fake| !stays(fake)).await;
        let over = clock::now().duration_since(morning());
        assert!(over >= SignedDuration::from_mins(10) && over < SignedDuration::from_mins(11), "after {over}");
    });
}

fn is_tainted(fake: &Fake, name: &str) -> bool {
    let nodes = fake.list("nodes");
    let node = nodes.iter().find(|node| node["metadata"]["name"] == name).expect("a node");
    !node["spec"]["taints"].as_array().is_none_or(Vec::is_empty)
}

#[test]
fn a_node_is_not_dead_because_the_clock_was_set() {
    in_virtual_time(async {
        let (fake, _ctx) = calm(2);
        deploy(&fake, 4);
        fake.until("four pods", |fake| available(fake) == 4).await;
        for count in [3, -3, -9, 30] {
            clock::jump(hours(count));
            pass(10 * MINUTE).await;
        }
        assert_eq!(fake.edit(|objects| objects.created("pods")), 4, "none had to be replaced");
        let tainted = |node: &Value| !node["spec"]["taints"].as_array().is_none_or(Vec::is_empty);
        assert!(!fake.edit(|objects| objects.history("nodes")).iter().any(|(_, node)| tainted(node)));
    });
}

#[test]
fn a_dead_node_is_noticed_and_left_in_time_though_the_clock_is_set_back() {
    in_virtual_time(async {
        let (fake, _ctx) = calm(2);
        fake.edit(|objects| {
            let patient = json!([{ "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300 }]);
            let pod =
                json!({ "nodeName": "n2", "tolerations": patient, "containers": [{ "name": "c", "image": "v1" }] });
            objects.create_object("pods", json!({ "metadata": { "name": "p", "namespace": "shop" }, "spec": pod }));
        });
        pass(MINUTE).await;
        fake.edit(|objects| {
            objects.change("nodes", "", "n2", |node| node["metadata"]["annotations"] = json!({ "dead": "" }))
        });
        clock::jump(hours(-2));
        let died = tokio::time::Instant::now();
        fake.until("it is tainted", |fake| is_tainted(fake, "n2")).await;
        assert!((20..=60).contains(&died.elapsed().as_secs()), "after {:?}", died.elapsed());
        let tainted = tokio::time::Instant::now();
        pass(MINUTE).await;
        clock::jump(hours(-1));
        pass(MINUTE).await;
        clock::jump(hours(5));
        pass(MINUTE).await;
        assert_eq!(fake.list("pods").len(), 1, "it may stay for five minutes");
        fake.until("it has left", |fake| fake.list("pods").is_empty()).await;
        assert!((295..=310).contains(&tainted.elapsed().as_secs()), "after {:?}", tainted.elapsed());
        assert!(!is_tainted(&fake, "n1"));
    });
}
