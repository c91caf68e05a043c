//! What is special about a kind: one row of function pointers for the few kinds that need them.
//!
//! Invariant: a kind without a row behaves by its schema alone; the pipeline never asks for a kind by name.

use base::name::{self, Verdict};
use serde_json::Value;

use crate::default::{self, Rule};
use crate::json::Members;
use crate::strategy;
use crate::validate::meta::Style;
use crate::validate::{
    Check, admission, apps, authority, autoscaling, batch, certificates, claims, config, coordination, definition,
    endpoints, event, flowcontrol, ingress, network, node, persistent, pod, policy, quota, rbac, runtime, service,
    signer, slices, storage,
};

/// The hooks of a kind.
#[derive(Debug)]
pub(crate) struct Rules {
    pub group: &'static str,
    pub kind: &'static str,
    /// The rule for names.
    pub name: fn(&str) -> Verdict,
    /// The rule for names that the rest of the object decides about.
    pub own_name: Option<fn(&Value, &str) -> Verdict>,
    /// How metadata is looked at.
    pub meta: Style,
    /// Conditional defaults.
    pub default: Option<Rule>,
    /// Server-set members of a new object.
    pub create: Option<Rule>,
    /// What an update keeps of the old object.
    pub update: Option<fn(&mut Members, &Value)>,
    /// What must hold of an object that is created or updated.
    pub check: Option<Check>,
    /// What must hold of an object whose status is updated.
    pub status: Option<Check>,
}

static PLAIN: Rules = Rules::row("", "").meta(Style::Plain);

impl Rules {
    const fn row(group: &'static str, kind: &'static str) -> Self {
        Self {
            group,
            kind,
            name: name::dns_subdomain,
            own_name: None,
            meta: Style::Core,
            default: None,
            create: None,
            update: None,
            check: None,
            status: None,
        }
    }

    const fn name(self, name: fn(&str) -> Verdict) -> Self {
        Self { name, ..self }
    }

    const fn own_name(self, rule: fn(&Value, &str) -> Verdict) -> Self {
        Self { own_name: Some(rule), ..self }
    }

    const fn meta(self, meta: Style) -> Self {
        Self { meta, ..self }
    }

    const fn default(self, rule: Rule) -> Self {
        Self { default: Some(rule), ..self }
    }

    const fn create(self, rule: Rule) -> Self {
        Self { create: Some(rule), ..self }
    }

    const fn update(self, rule: fn(&mut Members, &Value)) -> Self {
        Self { update: Some(rule), ..self }
    }

    const fn check(self, check: Check) -> Self {
        Self { check: Some(check), ..self }
    }

    const fn status(self, status: Check) -> Self {
        Self { status: Some(status), ..self }
    }

    /// A kind of a group whose metadata upstream looks at without the extras of core kinds.
    const fn plain(group: &'static str, kind: &'static str) -> Self {
        Self::row(group, kind).meta(Style::Plain)
    }

    /// A kind of authorization: any name that fits into a path.
    const fn rbac(kind: &'static str) -> Self {
        Self::plain("rbac.authorization.k8s.io", kind).name(name::path_segment)
    }

    const fn admission(kind: &'static str) -> Self {
        Self::plain("admissionregistration.k8s.io", kind)
    }
}

static TABLE: &[Rules] = &[
    Rules::row("", "Pod").default(default::pod).create(strategy::create_pod).check(pod::check).status(pod::status),
    Rules::row("", "Namespace")
        .name(name::dns_label)
        .default(default::namespace)
        .create(strategy::create_namespace)
        .update(strategy::update_namespace)
        .check(config::namespace)
        .status(config::namespace_status),
    Rules::row("", "Service")
        .name(name::dns_label)
        .default(default::service_status)
        .update(strategy::keep_allocations)
        .check(service::check)
        .status(service::balancer_addresses),
    Rules::row("", "ConfigMap").check(config::config_map),
    Rules::row("", "Secret").default(default::secret).check(config::secret),
    Rules::row("", "ServiceAccount"),
    Rules::row("", "Node").default(default::node).check(node::node).status(node::status),
    Rules::row("", "PodTemplate").check(apps::pod_template),
    Rules::row("", "Event").name(name::path_segment).meta(Style::Late).check(event::check),
    Rules::row("", "Endpoints").check(endpoints::endpoints),
    Rules::row("", "ResourceQuota").check(quota::quota).status(quota::status),
    Rules::row("", "LimitRange").check(quota::limit_range),
    Rules::row("", "ReplicationController")
        .name(name::long_name)
        .meta(Style::Declared)
        .default(default::replication_controller)
        .check(apps::replication_controller)
        .status(apps::controller_status),
    Rules::row("", "PersistentVolume").create(strategy::create_volume).check(persistent::volume),
    Rules::row("", "PersistentVolumeClaim")
        .create(strategy::create_claim)
        .update(strategy::update_claim)
        .check(persistent::claim)
        .status(persistent::claim_status),
    Rules::row("apps", "Deployment").check(apps::deployment).status(apps::deployment_status),
    Rules::row("apps", "ReplicaSet").check(apps::replica_set).status(apps::replica_set_status),
    Rules::row("apps", "DaemonSet").check(apps::daemon_set).status(apps::daemon_set_status),
    Rules::row("apps", "StatefulSet")
        .name(name::dns_label)
        .default(default::stateful_set)
        .check(apps::stateful_set)
        .status(apps::stateful_set_status),
    Rules::row("apps", "ControllerRevision").check(apps::controller_revision),
    Rules::row("batch", "Job")
        .default(default::job)
        .create(strategy::create_job)
        .check(batch::job)
        .status(batch::status),
    Rules::row("batch", "CronJob").check(batch::cron_job),
    Rules::row("autoscaling", "HorizontalPodAutoscaler").check(autoscaling::autoscaler).status(autoscaling::status),
    Rules::row("networking.k8s.io", "Ingress").check(ingress::ingress).status(ingress::status),
    Rules::row("networking.k8s.io", "IngressClass").check(ingress::class),
    Rules::row("networking.k8s.io", "NetworkPolicy").check(network::policy),
    Rules::row("networking.k8s.io", "IPAddress").name(network::address_name).check(network::address),
    Rules::row("networking.k8s.io", "ServiceCIDR").check(network::service_range),
    Rules::row("discovery.k8s.io", "EndpointSlice").create(strategy::create_slice).check(endpoints::slice),
    Rules::row("events.k8s.io", "Event").name(name::path_segment).meta(Style::Late).check(event::check),
    Rules::rbac("Role").check(rbac::role),
    Rules::rbac("ClusterRole").check(rbac::cluster_role),
    Rules::rbac("RoleBinding").check(rbac::role_binding),
    Rules::rbac("ClusterRoleBinding").check(rbac::cluster_role_binding),
    Rules::row("policy", "PodDisruptionBudget")
        .name(name::path_segment)
        .meta(Style::Late)
        .check(policy::disruption_budget)
        .status(policy::status),
    Rules::row("scheduling.k8s.io", "PriorityClass").check(runtime::priority_class),
    Rules::row("scheduling.k8s.io", "PodGroup").check(runtime::pod_group).status(runtime::pod_group_status),
    Rules::row("scheduling.k8s.io", "Workload").check(runtime::workload),
    Rules::plain("coordination.k8s.io", "Lease").check(coordination::lease),
    Rules::plain("coordination.k8s.io", "LeaseCandidate").name(name::config_key).check(coordination::candidate),
    Rules::row("node.k8s.io", "RuntimeClass").check(runtime::runtime_class),
    Rules::row("storage.k8s.io", "StorageClass").check(storage::storage_class),
    Rules::row("storage.k8s.io", "VolumeAttachment").check(storage::attachment).status(storage::attachment),
    Rules::row("storage.k8s.io", "CSINode").check(storage::csi_node),
    Rules::row("storage.k8s.io", "CSIDriver").check(storage::csi_driver),
    Rules::row("storage.k8s.io", "CSIStorageCapacity").check(storage::capacity),
    Rules::row("storage.k8s.io", "VolumeAttributesClass").check(storage::attributes_class),
    Rules::plain("apiextensions.k8s.io", "CustomResourceDefinition")
        .default(default::custom_resource_definition)
        .create(strategy::create_definition)
        .update(strategy::update_definition)
        .check(definition::create_or_change)
        .status(definition::changed_status),
    Rules::admission("ValidatingWebhookConfiguration").check(admission::webhooks),
    Rules::admission("MutatingWebhookConfiguration").check(admission::webhooks),
    Rules::admission("ValidatingAdmissionPolicy")
        .check(admission::policy::validating)
        .status(admission::policy::status),
    Rules::admission("ValidatingAdmissionPolicyBinding").check(admission::policy::validating_binding),
    Rules::admission("MutatingAdmissionPolicy").check(admission::policy::mutating),
    Rules::admission("MutatingAdmissionPolicyBinding").check(admission::policy::mutating_binding),
    Rules::plain("apiregistration.k8s.io", "APIService")
        .name(name::path_segment)
        .own_name(authority::own_service_name)
        .check(authority::api_service)
        .status(authority::api_service_status),
    Rules::row("internal.apiserver.k8s.io", "StorageVersion")
        .name(authority::storage_version_name)
        .check(authority::storage_version)
        .status(authority::storage_version_status),
    Rules::row("storagemigration.k8s.io", "StorageVersionMigration")
        .check(authority::migration)
        .status(authority::migration_status),
    Rules::row("certificates.k8s.io", "CertificateSigningRequest")
        .name(name::path_segment)
        .update(strategy::keep_spec)
        .check(certificates::request)
        .status(certificates::request_status),
    Rules::row("certificates.k8s.io", "ClusterTrustBundle")
        .name(name::path_segment)
        .own_name(signer::own_bundle_name)
        .check(certificates::trust_bundle),
    Rules::row("certificates.k8s.io", "PodCertificateRequest")
        .check(certificates::pod::request)
        .status(certificates::pod::status),
    Rules::row("flowcontrol.apiserver.k8s.io", "FlowSchema").check(flowcontrol::schema).status(flowcontrol::status),
    Rules::row("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration")
        .check(flowcontrol::level)
        .status(flowcontrol::status),
    Rules::row("resource.k8s.io", "ResourceClaim").check(claims::claim).status(claims::status),
    Rules::row("resource.k8s.io", "ResourceClaimTemplate").check(claims::template),
    Rules::row("resource.k8s.io", "DeviceClass").name(name::long_name).meta(Style::Declared).check(claims::class),
    Rules::row("resource.k8s.io", "ResourceSlice").check(slices::slice),
    Rules::row("resource.k8s.io", "DeviceTaintRule").check(slices::taint_rule).status(slices::taint_rule_status),
    Rules::row("resource.k8s.io", "ResourcePoolStatusRequest")
        .check(slices::pool_request)
        .status(slices::pool_request_status),
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
