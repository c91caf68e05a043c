//! Taints and tolerations, as the scheduler, the node controller and the DaemonSet controller read them.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

/// Whether one of the pod's tolerations covers the taint.
pub fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    any_covers(tolerations(pod), taint)
}

/// Whether one of the tolerations covers the taint.
pub fn any_covers<'a>(tolerations: impl IntoIterator<Item = &'a Toleration>, taint: &Taint) -> bool {
    tolerations.into_iter().any(|toleration| covers(toleration, taint))
}

fn tolerations(pod: &Pod) -> impl Iterator<Item = &Toleration> {
    pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten())
}

/// Whether the toleration covers the taint: effect and key when given, then the value by operator.
pub fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect) {
        return false;
    }
    if given(&toleration.key).is_some_and(|key| key != taint.key) {
        return false;
    }
    let value = taint.value.as_deref().unwrap_or("");
    let wanted = toleration.value.as_deref().unwrap_or("");
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => wanted == value,
        "Exists" => true,
        "Lt" => compare(value, wanted).is_some_and(std::cmp::Ordering::is_lt),
        "Gt" => compare(value, wanted).is_some_and(std::cmp::Ordering::is_gt),
        _ => false,
    }
}

fn compare(taint: &str, toleration: &str) -> Option<std::cmp::Ordering> {
    Some(taint.parse::<i64>().ok()?.cmp(&toleration.parse::<i64>().ok()?))
}

/// How long a pod may stay on a node with these NoExecute taints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    Forever,
    /// This long after the taints appeared; zero when one of them is not tolerated at all.
    For(Duration),
}

/// How long the pod may stay.
pub fn stay<'a>(pod: &Pod, taints: impl IntoIterator<Item = &'a Taint>) -> Stay {
    let mut limit: Option<Duration> = None;
    for taint in taints {
        let mut covering = tolerations(pod).filter(|toleration| covers(toleration, taint)).peekable();
        if covering.peek().is_none() {
            return Stay::For(Duration::ZERO);
        }
        for toleration in covering {
            if let Some(seconds) = toleration.toleration_seconds {
                let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
                limit = Some(limit.map_or(allowed, |limit| limit.min(allowed)));
            }
        }
    }
    limit.map_or(Stay::Forever, Stay::For)
}
