//! What is known of a pod when its worker starts: the runtime's containers and the API's status.
//!
//! Invariant: a container the runtime has wins over what the API last heard; a container the API
//! saw running and the runtime does not know has ended unseen (a reboot) and counts as a restart.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};

use super::Found;
use super::observed::{Container, Exit, Observed, Run, Stage, State, Verdict};
use super::plan::{Role, Unit};
use super::resources::Amounts;
use super::{desired, is_over};
use crate::runtime;
use crate::status::RUNTIME;

pub(crate) struct Adopted {
    pub observed: Observed,
    pub ips: Vec<IpAddr>,
    /// Name, id and start of each container that runs.
    pub running: Vec<(String, String, Timestamp)>,
    pub image_signals: BTreeMap<String, String>,
}

/// Puts the two together.
pub(crate) fn adopt(pod: &Pod, status: &PodStatus, found: &Found, now: Timestamp) -> Adopted {
    let units = pod.spec.as_ref().map(desired::units).unwrap_or_default();
    let ips: Vec<IpAddr> = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
    let mut observed = Observed::default();
    let (mut running, mut image_signals) = (Vec::new(), BTreeMap::new());
    let statuses = || {
        let regular = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        regular.chain(status.ephemeral_container_statuses.iter().flatten())
    };
    for unit in &units {
        let reported = statuses().find(|status| status.name == unit.name);
        let mut container = reported.map(|status| from_status(status, now)).unwrap_or_default();
        let latest = found.containers.iter().filter(|found| found.spec.name == unit.name);
        if let Some(latest) = latest.max_by_key(|found| found.spec.attempt) {
            take_over(&mut container, latest, reported);
            if let (State::Running { since }, Some(run)) = (&container.state, &container.run) {
                running.push((unit.name.clone(), run.id.clone(), *since));
            }
            if let Some(signal) = &latest.spec.image.config.stop_signal {
                image_signals.insert(unit.name.clone(), signal.clone());
            }
        }
        observed.containers.insert(unit.name.clone(), container);
    }
    if found.sandbox && !ips.is_empty() {
        observed.sandbox = Stage::Ready;
        observed.initialized = holds(status, "Initialized") && main_has_run(&units, &observed);
    } else {
        rewind(&units, &mut observed);
    }
    if is_over(status) {
        observed.history = true;
        observed.initialized = true;
        observed.verdict = Some(if status.phase.as_deref() == Some("Succeeded") {
            Verdict::Succeeded
        } else {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            Verdict::Failed { reason: text(&status.reason), message: text(&status.message) }
        });
    }
    Adopted { observed, ips, running, image_signals }
}

/// Without its sandbox the pod starts over: init containers run again.
fn rewind(units: &[Unit], observed: &mut Observed) {
    observed.lost_sandbox();
    for unit in units.iter().filter(|unit| unit.role.is_early()) {
        let container = observed.container(&unit.name);
        if let State::Exited { exit, .. } = &container.state {
            container.last = Some(exit.clone());
            container.state = State::Waiting { reason: String::new(), message: String::new(), retry: None };
        }
    }
}

fn main_has_run(units: &[Unit], observed: &Observed) -> bool {
    let mut mains = units.iter().filter(|unit| unit.role == Role::Main);
    let early = units.iter().any(|unit| unit.role.is_early());
    !early || mains.any(|unit| observed.containers.get(&unit.name).is_some_and(|container| container.run.is_some()))
}

fn holds(status: &PodStatus, kind: &str) -> bool {
    let all = status.conditions.as_deref().unwrap_or_default();
    all.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn from_status(status: &ContainerStatus, now: Timestamp) -> Container {
    let attempt = u32::try_from(status.restart_count).unwrap_or(0);
    let run = status.container_id.as_deref().map(|id| Run {
        id: plain_id(id),
        attempt,
        image: status.image.clone(),
        image_id: status.image_id.clone(),
    });
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let last = last.map(|terminated| past(terminated, run.clone().unwrap_or_default(), now));
    let state = status.state.clone().unwrap_or_default();
    let mut container = Container { restarts: attempt, last, run: run.clone(), ..Container::default() };
    if let Some(terminated) = &state.terminated {
        let exit = past(terminated, run.unwrap_or_default(), now);
        container.state = State::Exited { exit, backing_off: false };
    } else if let Some(running) = &state.running {
        let exit = Exit {
            code: 255,
            signal: None,
            reason: "Unknown".into(),
            message: String::new(),
            started: running.started_at.as_ref().map(|time| time.0),
            finished: now,
            run: run.unwrap_or_default(),
        };
        container.state = State::Exited { exit, backing_off: false };
    } else if let (Some(exit), Some(_)) = (container.last.clone(), &run) {
        container.state = State::Exited { exit, backing_off: false };
    }
    container
}

fn take_over(container: &mut Container, found: &runtime::Container, reported: Option<&ContainerStatus>) {
    let spec = &found.spec;
    let same = reported.and_then(|status| status.container_id.as_deref()).map(plain_id).as_ref() == Some(&spec.id);
    let run = Run {
        id: spec.id.clone(),
        attempt: spec.attempt,
        image: reported
            .filter(|_| same)
            .map_or_else(|| spec.image.repo_tags.first().cloned().unwrap_or_default(), |status| status.image.clone()),
        image_id: spec.image.repo_digests.first().cloned().unwrap_or_else(|| spec.image.id.clone()),
    };
    if !same && let State::Exited { exit, .. } = &container.state {
        container.last = Some(exit.clone());
    }
    container.restarts = container.restarts.max(spec.attempt);
    container.run = Some(run.clone());
    match &found.state {
        runtime::State::Running => {
            container.state = State::Running { since: found.started };
            container.started = same && reported.and_then(|status| status.started).unwrap_or(false);
            container.ready = same && reported.is_some_and(|status| status.ready);
            let given = reported.filter(|_| same).and_then(|status| status.resources.as_ref());
            container.given = given.map(Amounts::from_requirements);
        }
        runtime::State::Exited(ended) => {
            let already = container.exit().filter(|_| same).cloned();
            let exit = already.filter(|exit| exit.reason != "Unknown").unwrap_or_else(|| Exit {
                code: ended.code,
                signal: None,
                reason: ended.reason().to_owned(),
                message: String::new(),
                started: Some(found.started),
                finished: ended.finished,
                run,
            });
            container.state = State::Exited { exit, backing_off: false };
        }
    }
}

fn past(terminated: &ContainerStateTerminated, run: Run, now: Timestamp) -> Exit {
    let id = terminated.container_id.as_deref().map(plain_id).unwrap_or_default();
    Exit {
        code: terminated.exit_code,
        signal: terminated.signal,
        reason: terminated.reason.clone().unwrap_or_default(),
        message: terminated.message.clone().unwrap_or_default(),
        started: terminated.started_at.as_ref().map(|time| time.0),
        finished: terminated.finished_at.as_ref().map_or(now, |time| time.0),
        run: Run { id, ..run },
    }
}

fn plain_id(id: &str) -> String {
    id.strip_prefix(RUNTIME).and_then(|rest| rest.strip_prefix("://")).unwrap_or(id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ContainerSpec;
    use serde_json::json;
    use std::sync::Arc;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u"},
            "spec": {"initContainers": [{"name": "setup"}], "containers": [{"name": "c"}]},
            "status": {
                "phase": "Running", "podIPs": [{"ip": "10.42.0.7"}],
                "conditions": [{"type": "Initialized", "status": "True"}],
                "initContainerStatuses": [{"name": "setup", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                    "containerID": "knarr://init", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}],
                "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "started": true,
                    "restartCount": 2, "containerID": "knarr://abc", "state": {"running": {"startedAt": "2026-01-02T03:04:05Z"}}}]},
        }))
        .unwrap()
    }

    fn adopted(found: &Found) -> Adopted {
        let pod = pod();
        let status = pod.status.clone().unwrap();
        adopt(&pod, &status, found, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_running_container_goes_on_as_ready_as_it_was() {
        let spec = ContainerSpec { id: "abc".into(), name: "c".into(), attempt: 2, ..ContainerSpec::default() };
        let container = runtime::Container {
            spec: Arc::new(spec),
            pid: 7,
            started: Timestamp::UNIX_EPOCH,
            state: runtime::State::Running,
            uid: 0,
            termination_log: "/x".into(),
        };
        let adopted = adopted(&Found { sandbox: true, containers: vec![container] });
        let container = &adopted.observed.containers["c"];
        assert!(container.ready && container.started && container.restarts == 2);
        assert_eq!((adopted.running.len(), adopted.observed.initialized), (1, true));
        assert_eq!(adopted.observed.sandbox, Stage::Ready);
    }

    #[test]
    fn after_a_reboot_everything_starts_over_and_counts_as_a_restart() {
        let adopted = adopted(&Found::default());
        let container = &adopted.observed.containers["c"];
        assert_eq!(container.exit().unwrap().code, 255);
        assert_eq!(container.next_attempt(), 3);
        assert!(!adopted.observed.initialized);
        assert!(matches!(adopted.observed.containers["setup"].state, State::Waiting { .. }));
        assert_eq!(adopted.observed.containers["setup"].next_attempt(), 1);
    }

    #[test]
    fn a_pod_that_had_ended_stays_as_it_is() {
        let mut pod = pod();
        let mut status = pod.status.take().unwrap();
        status.phase = Some("Succeeded".into());
        let adopted = adopt(&pod, &status, &Found::default(), Timestamp::UNIX_EPOCH);
        assert!(adopted.observed.history && adopted.observed.verdict == Some(Verdict::Succeeded));
    }
}
