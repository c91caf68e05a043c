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

fn memory(pod: &Pod) -> String {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.clone()).unwrap_or_default();
    let resources = statuses.into_iter().next().and_then(|status| status.resources);
    resources.and_then(|resources| resources.limits?.get("memory").cloned()).unwrap_or_default().0
}

fn message(pod: &Pod, kind: &str) -> String {
    let all = pod.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let found = all.into_iter().find(|condition| condition.type_ == kind);
    found.and_then(|condition| condition.message).unwrap_or_default()
}

#[tokio::test]
async fn an_ephemeral_container_starts_beside_the_others_and_only_once() {
    let world = World::new(json!({"containers": [{"name": "c", "image": "here"}]})).await;
    world.until("ready", |pod| holds(pod, "Ready")).await;
    let debug = json!([{"name": "debug", "image": "here", "tty": true, "targetContainerName": "c"}]);
    world.respec(|spec| spec["ephemeralContainers"] = debug);
    let ephemeral = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.ephemeral_container_statuses.clone());
        statuses.unwrap_or_default().into_iter().next().and_then(|status| status.state).unwrap_or_default()
    };
    world.until("debugged", |pod| ephemeral(pod).running.is_some()).await;
    let spec = world.spec("debug");
    assert!(spec.tty && spec.joins == Some(world.spec("c").id));
    world.exit("debug", 3).await;
    let pod = world.until("left alone", |pod| ephemeral(pod).terminated.is_some()).await;
    assert_eq!(ephemeral(&pod).terminated.unwrap().exit_code, 3);
    assert!(holds(&pod, "Ready") && phase(&pod) == "Running");
    world.delete(1).await;
    world.until_gone().await;
}

#[tokio::test]
async fn new_limits_are_given_in_place_or_told_why_not() {
    let resources = |memory: &str| json!({"limits": {"memory": memory}, "requests": {"memory": memory}});
    let world =
        World::new(json!({"containers": [{"name": "c", "image": "here", "resources": resources("64Mi")}]})).await;
    let pod = world.until("ready", |pod| holds(pod, "Ready")).await;
    assert_eq!(memory(&pod), "64Mi");
    world.respec(|spec| spec["containers"][0]["resources"] = resources("96Mi"));
    let pod = world.until("larger", |pod| memory(pod) == "96Mi").await;
    assert_eq!(world.memory_limits(), [Some(96 << 20)]);
    assert_eq!((restarts(&pod), holds(&pod, "PodResizeInProgress")), (0, false));
    world.respec(|spec| spec["containers"][0]["resources"] = resources("4Ki"));
    let pod = world.until("refused", |pod| !message(pod, "PodResizeInProgress").is_empty()).await;
    assert!(message(&pod, "PodResizeInProgress").contains("below current usage"), "{pod:?}");
    assert_eq!(memory(&pod), "96Mi", "what it has is what is shown");
}

#[tokio::test]
async fn a_container_that_wants_it_is_restarted_for_new_limits() {
    let resources = |memory: &str| json!({"limits": {"memory": memory}, "requests": {"memory": memory}});
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let world = World::new(json!({"containers": [
        {"name": "c", "image": "here", "resources": resources("64Mi"), "resizePolicy": policy},
    ]}))
    .await;
    world.until("ready", |pod| holds(pod, "Ready")).await;
    world.respec(|spec| spec["containers"][0]["resources"] = resources("96Mi"));
    let pod = world.until("restarted", |pod| memory(pod) == "96Mi" && restarts(pod) == 1).await;
    assert!(state(&pod).running.is_some() && world.memory_limits().is_empty());
    assert_eq!(world.spec("c").limits.memory, Some(96 << 20));
}

#[tokio::test]
async fn a_pod_is_not_started_without_the_devices_of_its_claims() {
    let spec = json!({"containers": [{"name": "c", "image": "here"}],
        "resourceClaims": [{"name": "one", "resourceClaimName": "gpu"}]});
    let world = World::new(spec).await;
    let told = world.told("FailedPrepareDynamicResources").await;
    let why = "Failed to prepare dynamic resources: ResourceClaim gpu: DRA driver gpu.example.com is not registered";
    assert_eq!(told, format!("FailedPrepareDynamicResources: {why}"));
    let pod = world.until("waiting", |pod| !waiting(pod).is_empty()).await;
    assert_eq!((waiting(&pod), phase(&pod)), ("ContainerCreating".to_owned(), "Pending".to_owned()));
    world.delete(1).await;
    world.until_gone().await;
}
