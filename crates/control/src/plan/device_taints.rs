//! Taints of devices and their tolerations, as the scheduler and the device taint eviction read them.

use k8s_openapi::api::resource::v1::{DeviceTaint, DeviceToleration};

/// Whether the toleration covers the taint: effect and key when given, then the value by operator.
pub fn covers(toleration: &DeviceToleration, taint: &DeviceTaint) -> bool {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if given(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || given(&toleration.key).is_some_and(|key| key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("") {
        "" | "Equal" => toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
        "Exists" => true,
        _ => false,
    }
}

/// Whether one of the taints keeps claims with these tolerations away. Effects that are not known keep nobody away.
pub fn keeps_away(taints: &[DeviceTaint], tolerations: &[DeviceToleration]) -> bool {
    let hard = taints.iter().filter(|taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.into_iter().any(|taint| !tolerations.iter().any(|toleration| covers(toleration, taint)))
}
