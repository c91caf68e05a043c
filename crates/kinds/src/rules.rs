//! What is special about a kind: one row of function pointers for the few kinds that need them.
//!
//! Invariant: a kind without a row behaves by its schema alone; the pipeline never asks for a kind by name.

use base::name::{self, Verdict};
use serde_json::Value;

use crate::default::{self, Rule};
use crate::json::Members;
use crate::strategy;
use crate::validate::{
    Change, Check, apps, autoscaling, batch, core, definition, extension, network, pod, policy, rbac, service, storage,
};

/// The hooks of a kind.
#[derive(Debug)]
pub(crate) struct Rules {
    pub group: &'static str,
    pub kind: &'static str,
    /// The rule for names.
    pub name: fn(&str) -> Verdict,
    /// Conditional defaults.
    pub default: Option<Rule>,
    /// Server-set members of a new object.
    pub create: Option<Rule>,
    /// What an update keeps of the old object.
    pub update: Option<fn(&mut Members, &Value)>,
    pub check: Option<Check>,
    /// Rules that only a new object must obey.
    pub new: Option<Check>,
    /// All rules for an object whose status changes, where they are others than those for any change.
    pub status: Option<Check>,
    pub change: Option<Change>,
}

static PLAIN: Rules = Rules::row("", "");

impl Rules {
    const fn row(group: &'static str, kind: &'static str) -> Self {
        let name = name::dns_subdomain;
        Self {
            group,
            kind,
            name,
            default: None,
            create: None,
            update: None,
            check: None,
            new: None,
            status: None,
            change: None,
        }
    }
}

static TABLE: &[Rules] = &[
    Rules {
        default: Some(default::pod),
        create: Some(strategy::create_pod),
        check: Some(pod::check),
        change: Some(pod::change),
        ..Rules::row("", "Pod")
    },
    Rules {
        name: name::dns_label,
        default: Some(default::namespace),
        create: Some(strategy::create_namespace),
        update: Some(strategy::update_namespace),
        check: Some(core::namespace),
        ..Rules::row("", "Namespace")
    },
    Rules {
        name: name::dns1035_label,
        default: Some(default::service_status),
        update: Some(strategy::keep_allocations),
        check: Some(service::check),
        change: Some(service::change),
        ..Rules::row("", "Service")
    },
    Rules { check: Some(core::config_map), change: Some(core::config_map_change), ..Rules::row("", "ConfigMap") },
    Rules {
        default: Some(default::secret),
        check: Some(core::secret),
        change: Some(core::secret_change),
        ..Rules::row("", "Secret")
    },
    Rules { check: Some(core::service_account), ..Rules::row("", "ServiceAccount") },
    Rules { check: Some(core::node), change: Some(core::node_change), ..Rules::row("", "Node") },
    Rules { check: Some(core::pod_template), ..Rules::row("", "PodTemplate") },
    Rules { check: Some(core::event), ..Rules::row("", "Event") },
    Rules { check: Some(core::endpoints), ..Rules::row("", "Endpoints") },
    Rules { check: Some(core::resource_quota), ..Rules::row("", "ResourceQuota") },
    Rules { check: Some(core::limit_range), ..Rules::row("", "LimitRange") },
    Rules {
        default: Some(default::replication_controller),
        check: Some(core::replication_controller),
        ..Rules::row("", "ReplicationController")
    },
    Rules {
        create: Some(strategy::create_volume),
        check: Some(storage::volume),
        change: Some(storage::volume_change),
        ..Rules::row("", "PersistentVolume")
    },
    Rules {
        create: Some(strategy::create_volume),
        check: Some(storage::claim),
        change: Some(storage::claim_change),
        ..Rules::row("", "PersistentVolumeClaim")
    },
    Rules { check: Some(apps::deployment), change: Some(apps::selector_change), ..Rules::row("apps", "Deployment") },
    Rules { check: Some(apps::replica_set), change: Some(apps::selector_change), ..Rules::row("apps", "ReplicaSet") },
    Rules { check: Some(apps::daemon_set), change: Some(apps::selector_change), ..Rules::row("apps", "DaemonSet") },
    Rules {
        name: name::dns_label,
        check: Some(apps::stateful_set),
        change: Some(apps::stateful_set_change),
        ..Rules::row("apps", "StatefulSet")
    },
    Rules {
        check: Some(apps::controller_revision),
        change: Some(apps::controller_revision_change),
        ..Rules::row("apps", "ControllerRevision")
    },
    Rules {
        default: Some(default::job),
        create: Some(strategy::create_job),
        check: Some(batch::job),
        change: Some(batch::job_change),
        ..Rules::row("batch", "Job")
    },
    Rules { name: batch::cron_job_name, check: Some(batch::cron_job), ..Rules::row("batch", "CronJob") },
    Rules { check: Some(autoscaling::autoscaler), ..Rules::row("autoscaling", "HorizontalPodAutoscaler") },
    Rules { check: Some(network::ingress), ..Rules::row("networking.k8s.io", "Ingress") },
    Rules {
        check: Some(network::ingress_class),
        change: Some(network::ingress_class_change),
        ..Rules::row("networking.k8s.io", "IngressClass")
    },
    Rules { check: Some(network::network_policy), ..Rules::row("networking.k8s.io", "NetworkPolicy") },
    Rules { name: network::ip_address_name, ..Rules::row("networking.k8s.io", "IPAddress") },
    Rules {
        check: Some(network::endpoint_slice),
        change: Some(network::endpoint_slice_change),
        ..Rules::row("discovery.k8s.io", "EndpointSlice")
    },
    Rules { check: Some(core::event), ..Rules::row("events.k8s.io", "Event") },
    Rules { name: name::path_segment, check: Some(rbac::role), ..Rules::row("rbac.authorization.k8s.io", "Role") },
    Rules {
        name: name::path_segment,
        check: Some(rbac::cluster_role),
        ..Rules::row("rbac.authorization.k8s.io", "ClusterRole")
    },
    Rules {
        name: name::path_segment,
        check: Some(rbac::role_binding),
        change: Some(rbac::binding_change),
        ..Rules::row("rbac.authorization.k8s.io", "RoleBinding")
    },
    Rules {
        name: name::path_segment,
        check: Some(rbac::cluster_role_binding),
        change: Some(rbac::binding_change),
        ..Rules::row("rbac.authorization.k8s.io", "ClusterRoleBinding")
    },
    Rules { check: Some(policy::disruption_budget), ..Rules::row("policy", "PodDisruptionBudget") },
    Rules {
        check: Some(policy::priority_class),
        change: Some(policy::priority_class_change),
        ..Rules::row("scheduling.k8s.io", "PriorityClass")
    },
    Rules { check: Some(policy::lease), ..Rules::row("coordination.k8s.io", "Lease") },
    Rules { change: Some(policy::runtime_class_change), ..Rules::row("node.k8s.io", "RuntimeClass") },
    Rules {
        check: Some(storage::storage_class),
        change: Some(storage::storage_class_change),
        ..Rules::row("storage.k8s.io", "StorageClass")
    },
    Rules {
        default: Some(default::custom_resource_definition),
        create: Some(strategy::create_definition),
        update: Some(strategy::update_definition),
        new: Some(definition::create),
        status: Some(definition::status),
        change: Some(definition::change),
        ..Rules::row("apiextensions.k8s.io", "CustomResourceDefinition")
    },
    Rules {
        check: Some(extension::webhooks),
        ..Rules::row("admissionregistration.k8s.io", "ValidatingWebhookConfiguration")
    },
    Rules {
        check: Some(extension::webhooks),
        ..Rules::row("admissionregistration.k8s.io", "MutatingWebhookConfiguration")
    },
    Rules { name: name::path_segment, ..Rules::row("apiregistration.k8s.io", "APIService") },
    Rules { name: name::path_segment, ..Rules::row("certificates.k8s.io", "ClusterTrustBundle") },
];

/// The rules of a kind that has none of its own.
pub(crate) fn plain() -> &'static Rules {
    &PLAIN
}

pub(crate) fn of(group: &str, kind: &str) -> &'static Rules {
    TABLE.iter().find(|rules| rules.kind == kind && rules.group == group).unwrap_or(&PLAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_kind_and_no_kind_has_two() {
        for (index, rules) in TABLE.iter().enumerate() {
            let kinds = crate::Catalog::builtin().kinds();
            assert!(kinds.iter().any(|kind| kind.is(rules.group, rules.kind)), "{} {}", rules.group, rules.kind);
            let again = TABLE[..index].iter().any(|other| (other.group, other.kind) == (rules.group, rules.kind));
            assert!(!again, "{} {}", rules.group, rules.kind);
        }
    }
}
