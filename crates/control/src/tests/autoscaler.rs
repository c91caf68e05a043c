//! The autoscaler among the other controllers.

use super::*;

/// A deployment whose pods run, each with so much memory in use.
async fn loaded(fake: &Fake, replicas: u64, memory: &str) {
    deploy(fake, u32::try_from(replicas).expect("a small number"));
    fake.until("the pods are available", |fake| available(fake) == replicas).await;
    for pod in fake.list("pods") {
        let metrics = json!({
            "metadata": { "name": pod["metadata"]["name"], "namespace": "shop", "labels": { "app": "web" } },
            "timestamp": base::time::rfc3339(base::time::now()), "window": "15s",
            "containers": [{ "name": "c", "usage": { "cpu": "1m", "memory": memory } }],
        });
        fake.edit(|objects| objects.create_object("podmetrics", metrics));
    }
}

fn autoscale(fake: &Fake, name: &str, target: Value) {
    fake.edit(|objects| {
        objects.create_object(
            "horizontalpodautoscalers",
            json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": {
                "scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3,
                "metrics": [{ "type": "Resource", "resource": { "name": "memory",
                    "target": { "type": "AverageValue", "averageValue": "100Mi" } } }],
            } }),
        );
    });
}

fn web() -> Value {
    json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" })
}

/// The reason of each condition, by its type.
fn reasons(fake: &Fake, name: &str) -> Vec<(String, String)> {
    let all = fake.list("horizontalpodautoscalers");
    let found = all.iter().find(|one| one["metadata"]["name"] == name);
    let conditions = found.and_then(|one| one["status"]["conditions"].as_array().cloned()).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    conditions.iter().map(|one| (text(&one["type"]), text(&one["reason"]))).collect()
}

fn has(fake: &Fake, name: &str, kind: &str, reason: &str) -> bool {
    reasons(fake, name).contains(&(kind.to_owned(), reason.to_owned()))
}

fn told(fake: &Fake, reason: &str) -> bool {
    fake.list("events").iter().any(|event| event["reason"] == reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_deployment_grows_to_its_bound() {
    let (fake, _ctx) = cluster();
    loaded(&fake, 2, "200Mi").await;
    autoscale(&fake, "web", web());
    fake.until("three replicas", |fake| fake.list("deployments")[0]["spec"]["replicas"] == 3).await;
    fake.until("three pods", |fake| available(fake) == 3).await;
    fake.until("it is told", |fake| told(fake, "SuccessfulRescale")).await;
    fake.until("the status says so", |fake| {
        has(fake, "web", "AbleToScale", "SucceededRescale") && has(fake, "web", "ScalingLimited", "TooManyReplicas")
    })
    .await;
    let status = fake.list("horizontalpodautoscalers")[0]["status"].clone();
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(2), &json!(3)));
    assert_eq!(status["currentMetrics"][0]["resource"]["current"]["averageValue"], json!("200Mi"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_in_the_way_is_told() {
    let (fake, _ctx) = cluster();
    autoscale(&fake, "lost", json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "none" }));
    fake.until("no target", |fake| has(fake, "lost", "AbleToScale", "FailedGetScale")).await;
    autoscale(&fake, "strange", json!({ "apiVersion": "example.com/v1", "kind": "Widget", "name": "none" }));
    fake.until("no kind", |fake| has(fake, "strange", "AbleToScale", "FailedGetScale")).await;
    deploy(&fake, 1);
    fake.until("the pod is available", |fake| available(fake) == 1).await;
    autoscale(&fake, "web", web());
    fake.until("no metrics", |fake| has(fake, "web", "ScalingActive", "FailedGetResourceMetric")).await;
    fake.until("events", |fake| {
        ["FailedGetScale", "FailedGetResourceMetric", "FailedComputeMetricsReplicas"].iter().all(|one| told(fake, one))
    })
    .await;
    autoscale(&fake, "second", web());
    fake.until("two for the same pods", |fake| has(fake, "second", "ScalingActive", "AmbiguousSelector")).await;
    assert_eq!(fake.list("deployments")[0]["spec"]["replicas"], json!(1));
}
