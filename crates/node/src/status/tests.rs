//! Statuses of a pod through its life.

use serde_json::json;

use super::*;
use crate::pod::observed::Run;
use crate::pod::plan::Restart;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn pod(gates: &[&str]) -> Pod {
    let gates: Vec<_> = gates.iter().map(|gate| json!({ "conditionType": gate })).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "generation": 3},
        "spec": {"initContainers": [{"name": "setup", "image": "i"}], "containers": [{"name": "c", "image": "nginx"}],
                 "readinessGates": gates},
    }))
    .unwrap()
}

fn compute(pod: &Pod, observed: &Observed, previous: &PodStatus, now: Timestamp) -> PodStatus {
    let units = [
        Unit { name: "setup".into(), role: Role::Init, restart: Restart::OnFailure, amounts: Amounts::default() },
        Unit { name: "c".into(), role: Role::Main, restart: Restart::Always, amounts: Amounts::default() },
    ];
    let ip = ["10.42.0.7".parse().unwrap()];
    status(&Inputs {
        pod,
        units: &units,
        observed,
        ending: false,
        room: &Room::Enough,
        previous,
        host_ips: &ip,
        pod_ips: &ip,
        started: at(0),
        now,
    })
}

fn running(name: &str, observed: &mut Observed) {
    let run = Run { id: "abc".into(), attempt: 0, image: "nginx:1".into(), image_id: "sha256:1".into() };
    observed.running(name, run, at(1), true);
    observed.container(name).ready = true;
}

fn exit(code: i32) -> Exit {
    let run = Run { id: "abc".into(), attempt: 1, ..Run::default() };
    Exit { code, signal: None, reason: "Error".into(), message: String::new(), started: None, finished: at(2), run }
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> &'a PodCondition {
    status.conditions.as_ref().unwrap().iter().find(|condition| condition.type_ == kind).unwrap()
}

fn reason(status: &PodStatus) -> String {
    let state = status.container_statuses.as_ref().unwrap()[0].state.clone().unwrap();
    state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default()
}

#[test]
fn a_new_pod_is_pending_and_says_what_it_waits_for() {
    let status = compute(&pod(&[]), &Observed::default(), &PodStatus::default(), at(0));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(reason(&status), "PodInitializing");
    let initialized = condition(&status, "Initialized");
    assert_eq!(initialized.message.as_deref(), Some("containers with incomplete status: [setup]"));
    assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("ContainersNotReady"));
}

#[test]
fn a_running_ready_pod_has_all_its_conditions() {
    let mut observed = Observed { initialized: true, sandbox: Stage::Ready, ..Observed::default() };
    running("c", &mut observed);
    let status = compute(&pod(&[]), &observed, &PodStatus::default(), at(1));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(status.conditions.as_ref().unwrap().iter().all(|condition| condition.status == "True"));
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.container_id.as_deref(), Some("knarr://abc"));
    assert!(container.ready && container.started == Some(true));
}

#[test]
fn a_transition_time_changes_only_with_the_condition() {
    let mut observed = Observed { initialized: true, sandbox: Stage::Ready, ..Observed::default() };
    running("c", &mut observed);
    let first = compute(&pod(&[]), &observed, &PodStatus::default(), at(1));
    let second = compute(&pod(&[]), &observed, &first, at(9));
    assert_eq!(first, second);
    observed.container("c").ready = false;
    let third = compute(&pod(&[]), &observed, &second, at(10));
    assert_eq!(condition(&third, "Ready").last_transition_time, Some(Time(at(10))));
    assert_eq!(condition(&third, "Initialized").last_transition_time, Some(Time(at(1))));
}

#[test]
fn a_crash_loop_names_its_back_off_and_keeps_the_last_exit() {
    let mut observed = Observed { initialized: true, sandbox: Stage::Ready, ..Observed::default() };
    observed.exited("c", exit(3));
    observed.container("c").crashes.advance(at(2));
    observed.backing_off("c");
    let status = compute(&pod(&[]), &observed, &PodStatus::default(), at(3));
    let container = &status.container_statuses.as_ref().unwrap()[0];
    let waiting = container.state.as_ref().unwrap().waiting.as_ref().unwrap();
    assert_eq!(waiting.message.as_deref(), Some("back-off 10s restarting failed container=c pod=web_shop(u-1)"));
    assert_eq!(container.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 3);
    assert_eq!((container.restart_count, status.phase.as_deref()), (1, Some("Running")));
}

#[test]
fn a_readiness_gate_holds_the_pod_back() {
    let mut observed = Observed { initialized: true, sandbox: Stage::Ready, ..Observed::default() };
    running("c", &mut observed);
    let mut pod = pod(&["example.com/go"]);
    let status = compute(&pod, &observed, &PodStatus::default(), at(1));
    assert_eq!(condition(&status, "ContainersReady").status, "True");
    assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("ReadinessGatesNotReady"));
    let gate = PodCondition { type_: "example.com/go".into(), status: "True".into(), ..PodCondition::default() };
    pod.status = Some(PodStatus { conditions: Some(vec![gate]), ..PodStatus::default() });
    let status = compute(&pod, &observed, &PodStatus::default(), at(1));
    assert_eq!(condition(&status, "Ready").status, "True");
}

#[test]
fn the_terminal_phase_waits_until_nothing_runs() {
    let mut observed = Observed { initialized: true, verdict: Some(Verdict::Succeeded), ..Observed::default() };
    running("c", &mut observed);
    assert_eq!(compute(&pod(&[]), &observed, &PodStatus::default(), at(1)).phase.as_deref(), Some("Running"));
    observed.exited("c", exit(0));
    let status = compute(&pod(&[]), &observed, &PodStatus::default(), at(1));
    assert_eq!(status.phase.as_deref(), Some("Succeeded"));
    assert_eq!(condition(&status, "Ready").reason.as_deref(), Some("PodCompleted"));
}

#[test]
fn the_patch_holds_only_what_changed() {
    let pod = pod(&[]);
    let before = PodStatus {
        phase: Some("Running".into()),
        message: Some("old".into()),
        pod_ips: Some(vec![PodIP { ip: "10.42.0.6".into() }]),
        ..PodStatus::default()
    };
    let after = PodStatus {
        phase: Some("Running".into()),
        pod_ips: Some(vec![PodIP { ip: "10.42.0.7".into() }]),
        ..PodStatus::default()
    };
    assert_eq!(
        patch::body(&pod, &before, &after),
        json!({"metadata": {"uid": "u-1"},
               "status": {"message": null, "podIPs": [{"$patch": "replace"}, {"ip": "10.42.0.7"}]}})
    );
}
