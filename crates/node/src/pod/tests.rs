//! Pod workers against a scripted API and a machine that runs nothing, from creation to removal.

mod world;

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use serde_json::json;
use world::World;

fn state(pod: &Pod) -> ContainerState {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default();
    statuses.into_iter().next().and_then(|status| status.state).unwrap_or_default()
}

fn waiting(pod: &Pod) -> String {
    state(pod).waiting.and_then(|waiting| waiting.reason).unwrap_or_default()
}

fn holds(pod: &Pod, kind: &str) -> bool {
    let all = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    all.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn phase(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default()
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.and_then(|all| all.first()).map_or(0, |status| status.restart_count)
}

#[tokio::test]
async fn a_pod_becomes_ready_and_is_removed_when_it_was_deleted() {
    let world = World::new(json!({"containers": [{"name": "c", "image": "here"}]})).await;
    let pod = world.until("ready", |pod| holds(pod, "Ready")).await;
    assert_eq!(phase(&pod), "Running");
    assert_eq!(pod.status.as_ref().unwrap().pod_ip.as_deref(), Some("127.0.0.1"));
    assert!(state(&pod).running.is_some());
    world.delete(30).await;
    world.until_gone().await;
    assert_eq!(world.events().await, ["Pulled", "Created", "Started", "Killing"]);
    assert!(!world.has_directories(), "nothing of the pod is left on the node");
}

#[tokio::test]
async fn init_containers_run_first_and_their_failure_is_retried() {
    let world = World::new(json!({
        "initContainers": [{"name": "setup", "image": "here"}], "containers": [{"name": "c", "image": "here"}],
    }))
    .await;
    world.exit("setup", 1).await;
    world.exit("setup", 0).await;
    let pod = world.until("ready", |pod| holds(pod, "Ready")).await;
    let init = &pod.status.as_ref().unwrap().init_container_statuses.as_ref().unwrap()[0];
    assert_eq!((init.restart_count, init.ready), (1, true));
}

#[tokio::test]
async fn a_crashing_container_is_restarted_once_and_then_backs_off() {
    let world = World::new(json!({"containers": [{"name": "c", "image": "here"}]})).await;
    world.exit("c", 7).await;
    world.exit("c", 7).await;
    let pod = world.until("backing off", |pod| waiting(pod) == "CrashLoopBackOff").await;
    assert_eq!((restarts(&pod), phase(&pod).as_str()), (1, "Running"));
    let message = state(&pod).waiting.unwrap().message.unwrap();
    assert_eq!(message, "back-off 10s restarting failed container=c pod=web_shop(u-1)");
}

#[tokio::test]
async fn a_pod_that_may_not_restart_succeeds_with_its_container() {
    let world = World::new(json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "here"}]})).await;
    world.exit("c", 0).await;
    let pod = world.until("over", |pod| phase(pod) == "Succeeded").await;
    assert_eq!(state(&pod).terminated.unwrap().reason.as_deref(), Some("Completed"));
    world.delete(30).await;
    world.until_gone().await;
}

#[tokio::test]
async fn a_missing_image_is_named_and_then_waited_for() {
    let world = World::new(json!({"containers": [{"name": "c", "image": "nowhere"}]})).await;
    let pod = world.until("told", |pod| waiting(pod) == "ErrImagePull").await;
    assert!(state(&pod).waiting.unwrap().message.unwrap().contains("not found"));
    let pod = world.until("backing off", |pod| waiting(pod) == "ImagePullBackOff").await;
    assert!(state(&pod).waiting.unwrap().message.unwrap().starts_with("Back-off pulling image \"nowhere\""));
    world.delete(0).await;
    world.until_gone().await;
}

#[tokio::test]
async fn a_config_map_that_comes_late_lets_the_container_start() {
    let world = World::new(json!({"containers": [{"name": "c", "image": "here",
        "envFrom": [{"configMapRef": {"name": "settings"}}]}]}))
    .await;
    let pod = world.until("told", |pod| waiting(pod) == "CreateContainerConfigError").await;
    assert_eq!(state(&pod).waiting.unwrap().message.as_deref(), Some("configmap \"settings\" not found"));
    world.config_map("settings", json!({"MODE": "fast"})).await;
    world.until("running", |pod| state(pod).running.is_some()).await;
    assert!(world.spec("c").env.contains(&("MODE".to_owned(), "fast".to_owned())));
}

#[tokio::test]
async fn readiness_follows_the_probe_and_liveness_restarts() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let probe = json!({"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 1});
    let world = World::new(json!({"terminationGracePeriodSeconds": 1, "containers": [
        {"name": "c", "image": "here", "readinessProbe": probe, "startupProbe": {"tcpSocket": {"port": port}}, "livenessProbe": probe}]}))
    .await;
    let pod = world.until("running", |pod| state(pod).running.is_some()).await;
    assert!(!holds(&pod, "Ready"));
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    world.until("ready", |pod| holds(pod, "Ready")).await;
    drop(listener);
    world.until("restarted", |pod| restarts(pod) == 1).await;
    assert!(world.events().await.contains(&"Unhealthy".to_owned()));
}

#[tokio::test]
async fn a_pod_forgotten_by_the_api_is_ended() {
    let world = World::new(json!({"containers": [{"name": "c", "image": "here"}]})).await;
    world.until("ready", |pod| holds(pod, "Ready")).await;
    world.forget();
    world.until_gone().await;
    assert!(!world.has_directories());
}
