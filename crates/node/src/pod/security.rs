//! The security context of a container: its own settings over the pod's over the node's defaults.
//!
//! Invariant: a setting this host cannot enforce is refused with its name, never dropped silently;
//! the exception is AppArmor's `RuntimeDefault`, which upstream also ignores where AppArmor is off.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, PodSpec, SeccompProfile};

use crate::runtime::{Seccomp, Security};

/// What the node decides where a pod is silent.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    /// `SeccompDefault`: containers that say nothing get the runtime's profile.
    pub seccomp: bool,
    /// Where `Localhost` profiles are found.
    pub seccomp_dir: PathBuf,
}

/// The merged context, or why it cannot be honoured (a `CreateContainerConfigError`).
pub(crate) fn merge(spec: &PodSpec, container: &Container, defaults: &Defaults) -> Result<Security, String> {
    let pod = spec.security_context.as_ref();
    let own = container.security_context.as_ref();
    if own.and_then(|own| own.se_linux_options.as_ref()).is_some()
        || pod.and_then(|pod| pod.se_linux_options.as_ref()).is_some()
    {
        return Err("seLinuxOptions are not supported: SELinux is not enabled on this node".into());
    }
    let apparmor = own.and_then(|own| own.app_armor_profile.as_ref());
    check_apparmor(apparmor.or_else(|| pod.and_then(|pod| pod.app_armor_profile.as_ref())))?;
    let privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    let profile = own.and_then(|own| own.seccomp_profile.as_ref());
    let profile = profile.or_else(|| pod.and_then(|pod| pod.seccomp_profile.as_ref()));
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let mut groups = pod.and_then(|pod| pod.supplemental_groups.clone()).unwrap_or_default();
    groups.extend(pod.and_then(|pod| pod.fs_group));
    groups.sort_unstable();
    groups.dedup();
    Ok(Security {
        privileged,
        run_as_user: own.and_then(|own| own.run_as_user).or_else(|| pod.and_then(|pod| pod.run_as_user)),
        run_as_group: own.and_then(|own| own.run_as_group).or_else(|| pod.and_then(|pod| pod.run_as_group)),
        run_as_non_root: own
            .and_then(|own| own.run_as_non_root)
            .or_else(|| pod.and_then(|pod| pod.run_as_non_root))
            .unwrap_or(false),
        supplemental_groups: groups,
        add_capabilities: capabilities.and_then(|all| all.add.clone()).unwrap_or_default(),
        drop_capabilities: capabilities.and_then(|all| all.drop.clone()).unwrap_or_default(),
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        allow_privilege_escalation: privileged || own.and_then(|own| own.allow_privilege_escalation).unwrap_or(true),
        seccomp: if privileged { Seccomp::Unconfined } else { seccomp(profile, defaults)? },
        unmasked_proc: own.and_then(|own| own.proc_mount.as_deref()) == Some("Unmasked"),
    })
}

fn seccomp(profile: Option<&SeccompProfile>, defaults: &Defaults) -> Result<Seccomp, String> {
    let Some(profile) = profile else {
        return Ok(if defaults.seccomp { Seccomp::RuntimeDefault } else { Seccomp::Unconfined });
    };
    match profile.type_.as_str() {
        "Unconfined" => Ok(Seccomp::Unconfined),
        "RuntimeDefault" => Ok(Seccomp::RuntimeDefault),
        "Localhost" => {
            let name = profile.localhost_profile.as_deref().unwrap_or_default();
            let safe = !name.is_empty() && !name.starts_with('/') && !name.split('/').any(|part| part == "..");
            if !safe {
                return Err(format!("seccomp profile {name:?} must be a path below the node's seccomp directory"));
            }
            Ok(Seccomp::Localhost(defaults.seccomp_dir.join(name)))
        }
        other => Err(format!("seccomp profile type {other:?} is not known")),
    }
}

fn check_apparmor(profile: Option<&AppArmorProfile>) -> Result<(), String> {
    match profile.map(|profile| profile.type_.as_str()) {
        Some("Localhost") => Err("AppArmor profile of type Localhost: AppArmor is not enabled on this node".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(pod: serde_json::Value, own: serde_json::Value) -> Result<Security, String> {
        let spec: PodSpec = serde_json::from_value(
            json!({"securityContext": pod, "containers": [{"name": "c", "securityContext": own}]}),
        )
        .unwrap();
        let defaults = Defaults { seccomp: true, seccomp_dir: "/profiles".into() };
        merge(&spec, &spec.containers[0], &defaults)
    }

    #[test]
    fn the_container_wins_over_the_pod() {
        let security = merged(
            json!({"runAsUser": 1000, "runAsGroup": 7, "fsGroup": 20, "supplementalGroups": [30, 20]}),
            json!({"runAsUser": 2000, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}),
        )
        .unwrap();
        assert_eq!((security.run_as_user, security.run_as_group), (Some(2000), Some(7)));
        assert_eq!(security.supplemental_groups, [20, 30]);
        assert_eq!(security.drop_capabilities, ["ALL"]);
        assert_eq!(security.seccomp, Seccomp::RuntimeDefault);
    }

    #[test]
    fn privileged_means_unconfined_and_may_escalate() {
        let own = json!({"privileged": true, "seccompProfile": {"type": "RuntimeDefault"}});
        let security = merged(json!({}), own).unwrap();
        assert!(security.allow_privilege_escalation && security.seccomp == Seccomp::Unconfined);
    }

    #[test]
    fn what_the_host_cannot_enforce_is_refused_by_name() {
        let refused = merged(json!({}), json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}}));
        assert!(refused.unwrap_err().contains("AppArmor"));
        assert!(merged(json!({}), json!({"appArmorProfile": {"type": "RuntimeDefault"}})).is_ok());
        let climbing = json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "../../etc/passwd"}});
        assert!(merged(json!({}), climbing).is_err());
    }
}
