//! How pods print: the STATUS column is a summary of phase, reason, and the states of all containers.
//!
//! Invariant: the order in which those are consulted is upstream's `printPod`; users know the words by heart.

use super::read::{self, NONE, at, flag, items, number, text, text_or};
use super::{AGE, CONTAINERS, IMAGES, NAME, Printer, Spec};
use crate::Kind;
use base::time::Timestamp;
use serde_json::{Value, json};

const SPEC: &str = "api.core.v1.PodSpec";
const STATUS: &str = "api.core.v1.PodStatus";

pub(super) static PRINTERS: [Printer; 2] = [
    Printer::new(
        "",
        "Pod",
        &[
            NAME,
            Spec::text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
            Spec::text("Status", "The aggregate status of the containers in this pod."),
            Spec::text(
                "Restarts",
                "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted.",
            ),
            AGE,
            Spec::field("IP", STATUS, "podIP").wide(),
            Spec::field("Node", SPEC, "nodeName").wide(),
            Spec::field("Nominated Node", STATUS, "nominatedNodeName").wide(),
            Spec::field("Readiness Gates", SPEC, "readinessGates").wide(),
        ],
        pod,
    ),
    Printer::new(
        "",
        "PodTemplate",
        &[NAME, CONTAINERS, IMAGES, Spec::text("Pod Labels", "The labels for the pod template.")],
        |object, _| {
            let [names, images] = read::containers(object, "template.spec.containers");
            vec![read::name(object), names, images, read::labels(object, "template.metadata.labels").into()]
        },
    ),
];

/// What a table row says about a pod that will not run again.
pub(super) fn row_conditions(kind: &Kind, object: &Value) -> Option<Value> {
    if kind.kind != "Pod" || !kind.group.is_empty() {
        return None;
    }
    let phase = text(object, "status.phase");
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]))
}

fn pod(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = Summary::of(pod);
    let restarts = match summary.last_restart {
        Some(_) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, read::elapsed(summary.last_restart, now))
        }
        _ => summary.restarts.to_string(),
    };
    let ip = items(pod, "status.podIPs").first().map_or("", |ip| text(ip, "ip"));
    vec![
        read::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        read::age(pod, now),
        if ip.is_empty() { NONE } else { ip }.into(),
        text_or(pod, "spec.nodeName", NONE).into(),
        text_or(pod, "status.nominatedNodeName", NONE).into(),
        readiness_gates(pod).into(),
    ]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = items(pod, "spec.readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let open = gates.iter().filter(|gate| read::condition_is_true(pod, text(gate, "conditionType"))).count();
    format!("{open}/{}", gates.len())
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

impl Summary {
    fn of(pod: &Value) -> Summary {
        let phase = text(pod, "status.phase");
        let mut summary = Summary {
            reason: text_or(pod, "status.reason", phase).to_owned(),
            total: items(pod, "spec.containers").len()
                + items(pod, "spec.initContainers").iter().filter(|container| is_sidecar(container)).count(),
            ..Summary::default()
        };
        let gated = |condition: &Value| {
            text(condition, "type") == "PodScheduled" && text(condition, "reason") == "SchedulingGated"
        };
        if items(pod, "status.conditions").iter().any(gated) {
            summary.reason = "SchedulingGated".to_owned();
        }
        let initializing = summary.add_init_containers(pod);
        if !initializing || read::condition_is_true(pod, "Initialized") {
            summary.add_containers(pod);
        }
        if read::is_deleted(pod) {
            if text(pod, "status.reason") == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if phase != "Succeeded" && phase != "Failed" {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += number(status, "restartCount");
        self.last_restart = self.last_restart.max(read::timestamp(status, "lastState.terminated.finishedAt"));
    }

    /// Goes through the init containers up to the first that is not done; true if there is one.
    fn add_init_containers(&mut self, pod: &Value) -> bool {
        let specs = items(pod, "spec.initContainers");
        let mut sidecars = Summary::default();
        let mut initializing = false;
        for (at_index, status) in items(pod, "status.initContainerStatuses").iter().enumerate() {
            self.count_restarts(status);
            let sidecar = specs.iter().any(|spec| text(spec, "name") == text(status, "name") && is_sidecar(spec));
            if sidecar {
                sidecars.count_restarts(status);
            }
            let terminated = at(status, "state.terminated");
            if terminated.is_some_and(|state| number(state, "exitCode") == 0) {
                continue;
            }
            if sidecar && flag(status, "started") {
                self.ready += usize::from(flag(status, "ready"));
                continue;
            }
            let waiting = text(status, "state.waiting.reason");
            let why = match terminated {
                Some(state) => exit_reason(state),
                None if !waiting.is_empty() && waiting != "PodInitializing" => waiting.to_owned(),
                None => format!("{at_index}/{}", specs.len()),
            };
            self.reason = format!("Init:{why}");
            initializing = true;
            break;
        }
        if !initializing || read::condition_is_true(pod, "Initialized") {
            // Once initialization is over, only sidecars' restarts count on.
            (self.restarts, self.last_restart) = (sidecars.restarts, sidecars.last_restart);
        }
        initializing
    }

    fn add_containers(&mut self, pod: &Value) {
        let mut running = false;
        for status in items(pod, "status.containerStatuses").iter().rev() {
            self.count_restarts(status);
            let waiting = text(status, "state.waiting.reason");
            if !waiting.is_empty() {
                self.reason = waiting.to_owned();
            } else if let Some(state) = at(status, "state.terminated") {
                self.reason = exit_reason(state);
            } else if flag(status, "ready") && at(status, "state.running").is_some() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" && running {
            let ready = read::condition_is_true(pod, "Ready");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }
}

/// Why a terminated container ended: its reason, else its signal, else its exit code.
fn exit_reason(state: &Value) -> String {
    match (text(state, "reason"), number(state, "signal")) {
        ("", 0) => format!("ExitCode:{}", number(state, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "restartPolicy") == "Always"
}
