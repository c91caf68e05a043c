//! What an older pod or template had that is refused in new ones: it may stay as it is.
//!
//! Invariant: all false for a new object.

use serde_json::Value;

use super::annotations;
use crate::json::{at, flag, has, list, text};
use crate::validate::{resources, scheduling, security, spread, volume};

#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a separate permission of upstream's")]
pub(crate) struct Lenience {
    /// Amounts of huge pages that are no multiple of the page.
    pub odd_pages: bool,
    pub affinity: scheduling::Lenience,
    pub spread: spread::Lenience,
    /// Paths of tokens that lead out of their volume.
    pub token_path: bool,
    pub host_sysctls: bool,
    pub deletion_cost: bool,
    /// Init containers that end but are restarted when resized.
    pub init_restart: bool,
    pub user_namespace_devices: bool,
    pub user_namespace_network: bool,
    /// Any policy for SELinux labels.
    pub selinux: bool,
    /// Tolerations that compare numbers.
    pub comparing: bool,
}

impl Lenience {
    pub(crate) fn of_pod(old: &Value) -> Self {
        Self::of(at(old, "spec"), at(old, "metadata"))
    }

    pub(crate) fn of_template(old: &Value) -> Self {
        Self::of_pod(old)
    }

    fn of(spec: &Value, meta: &Value) -> Self {
        let containers = || security::all_containers(spec).map(|(_, _, container)| container);
        let own_users = at(spec, "hostUsers") == &Value::Bool(false);
        let restarted = |container: &&Value| {
            text(container, "restartPolicy") != "Always"
                && list(container, "resizePolicy")
                    .iter()
                    .any(|policy| text(policy, "restartPolicy") == "RestartContainer")
        };
        Self {
            odd_pages: containers().any(|container| resources::has_odd_pages(at(container, "resources"))),
            affinity: scheduling::Lenience::of(at(spec, "affinity")),
            spread: spread::Lenience::of(spec),
            token_path: volume::has_odd_token_path(spec),
            host_sysctls: security::sets_host_sysctls(spec),
            deletion_cost: annotations::has_odd_cost(at(meta, "annotations")),
            init_restart: list(spec, "initContainers").iter().any(|container| restarted(&container)),
            user_namespace_devices: own_users && containers().any(|c| !list(c, "volumeDevices").is_empty()),
            user_namespace_network: own_users && flag(spec, "hostNetwork"),
            selinux: has(at(spec, "securityContext"), "seLinuxChangePolicy"),
            comparing: list(spec, "tolerations").iter().any(|t| matches!(text(t, "operator"), "Lt" | "Gt")),
        }
    }
}
