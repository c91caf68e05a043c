//! Values as Go prints them in faults: upstream's internal types have no JSON names, so their members show with the names
//! and in the order of Go, all of them.
//!
//! Invariant: only types that appear as a whole in some fault are listed; others are shown as the API writes them.

use serde_json::Value;

use crate::json::at;

/// What a member looks like when it is absent, and what is inside.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Number,
    /// A pointer, list or map: null when absent.
    Any,
    /// A struct of the table, which is always there.
    Struct(&'static str),
    /// A pointer to a struct of the table.
    Pointer(&'static str),
    /// A list of structs of the table.
    List(&'static str),
}

use Shape::{Any, List, Number, Pointer, Struct, Text};

type Members = &'static [(&'static str, &'static str, Shape)];

/// Type; then name in Go, name in JSON and shape of its members.
static TYPES: &[(&str, Members)] = &[
    (
        "SecurityContext",
        &[
            ("Capabilities", "capabilities", Pointer("Capabilities")),
            ("Privileged", "privileged", Any),
            ("SELinuxOptions", "seLinuxOptions", Pointer("SELinuxOptions")),
            ("WindowsOptions", "windowsOptions", Pointer("WindowsSecurityContextOptions")),
            ("RunAsUser", "runAsUser", Any),
            ("RunAsGroup", "runAsGroup", Any),
            ("RunAsNonRoot", "runAsNonRoot", Any),
            ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem", Any),
            ("AllowPrivilegeEscalation", "allowPrivilegeEscalation", Any),
            ("ProcMount", "procMount", Any),
            ("SeccompProfile", "seccompProfile", Pointer("SeccompProfile")),
            ("AppArmorProfile", "appArmorProfile", Pointer("SeccompProfile")),
        ],
    ),
    ("SeccompProfile", &[("Type", "type", Text), ("LocalhostProfile", "localhostProfile", Any)]),
    ("Capabilities", &[("Add", "add", Any), ("Drop", "drop", Any)]),
    (
        "SELinuxOptions",
        &[("User", "user", Text), ("Role", "role", Text), ("Type", "type", Text), ("Level", "level", Text)],
    ),
    (
        "WindowsSecurityContextOptions",
        &[
            ("GMSACredentialSpecName", "gmsaCredentialSpecName", Any),
            ("GMSACredentialSpec", "gmsaCredentialSpec", Any),
            ("RunAsUserName", "runAsUserName", Any),
            ("HostProcess", "hostProcess", Any),
        ],
    ),
    (
        "PodResourceClaim",
        &[
            ("Name", "name", Text),
            ("ResourceClaimName", "resourceClaimName", Any),
            ("ResourceClaimTemplateName", "resourceClaimTemplateName", Any),
        ],
    ),
    ("DeploymentStrategy", &[("Type", "type", Text), ("RollingUpdate", "rollingUpdate", Pointer("RollingUpdate"))]),
    ("RollingUpdate", &[("MaxUnavailable", "maxUnavailable", Number), ("MaxSurge", "maxSurge", Number)]),
    (
        "StatefulSetUpdateStrategy",
        &[("Type", "type", Text), ("RollingUpdate", "rollingUpdate", Pointer("RollingUpdateStatefulSet"))],
    ),
    ("RollingUpdateStatefulSet", &[("Partition", "partition", Number), ("MaxUnavailable", "maxUnavailable", Any)]),
    ("SuccessPolicy", &[("Rules", "rules", List("SuccessPolicyRule"))]),
    ("SuccessPolicyRule", &[("SucceededIndexes", "succeededIndexes", Any), ("SucceededCount", "succeededCount", Any)]),
    ("PodFailurePolicy", &[("Rules", "rules", List("PodFailurePolicyRule"))]),
    (
        "PodFailurePolicyRule",
        &[
            ("Action", "action", Text),
            ("OnExitCodes", "onExitCodes", Pointer("OnExitCodes")),
            ("OnPodConditions", "onPodConditions", List("OnPodConditions")),
        ],
    ),
    (
        "OnExitCodes",
        &[("ContainerName", "containerName", Any), ("Operator", "operator", Text), ("Values", "values", Any)],
    ),
    ("OnPodConditions", &[("Type", "type", Text), ("Status", "status", Text)]),
    ("UncountedTerminatedPods", &[("Succeeded", "succeeded", Any), ("Failed", "failed", Any)]),
    (
        "PodDisruptionBudgetSpec",
        &[
            ("MinAvailable", "minAvailable", Any),
            ("Selector", "selector", Any),
            ("MaxUnavailable", "maxUnavailable", Any),
            ("UnhealthyPodEvictionPolicy", "unhealthyPodEvictionPolicy", Any),
        ],
    ),
    ("RoleRef", &[("APIGroup", "apiGroup", Text), ("Kind", "kind", Text), ("Name", "name", Text)]),
    ("ServiceCIDRSpec", &[("CIDRs", "cidrs", Any)]),
    (
        "ParentReference",
        &[
            ("Group", "group", Text),
            ("Resource", "resource", Text),
            ("Namespace", "namespace", Text),
            ("Name", "name", Text),
        ],
    ),
    (
        "PriorityLevelConfigurationSpec",
        &[
            ("Type", "type", Text),
            ("Limited", "limited", Pointer("LimitedLevel")),
            ("Exempt", "exempt", Pointer("ExemptLevel")),
        ],
    ),
    (
        "ExemptLevel",
        &[("NominalConcurrencyShares", "nominalConcurrencyShares", Any), ("LendablePercent", "lendablePercent", Any)],
    ),
    (
        "LimitedLevel",
        &[
            ("NominalConcurrencyShares", "nominalConcurrencyShares", Number),
            ("LimitResponse", "limitResponse", Struct("LimitResponse")),
            ("LendablePercent", "lendablePercent", Any),
            ("BorrowingLimitPercent", "borrowingLimitPercent", Any),
        ],
    ),
    ("LimitResponse", &[("Type", "type", Text), ("Queuing", "queuing", Pointer("QueuingConfiguration"))]),
    (
        "QueuingConfiguration",
        &[
            ("Queues", "queues", Number),
            ("HandSize", "handSize", Number),
            ("QueueLengthLimit", "queueLengthLimit", Number),
        ],
    ),
    (
        "PodCertificateRequestSpec",
        &[
            ("SignerName", "signerName", Text),
            ("PodName", "podName", Text),
            ("PodUID", "podUID", Text),
            ("ServiceAccountName", "serviceAccountName", Text),
            ("ServiceAccountUID", "serviceAccountUID", Text),
            ("NodeName", "nodeName", Text),
            ("NodeUID", "nodeUID", Text),
            ("MaxExpirationSeconds", "maxExpirationSeconds", Any),
            ("PKIXPublicKey", "pkixPublicKey", Any),
            ("ProofOfPossession", "proofOfPossession", Any),
            ("StubPKCS10Request", "stubPKCS10Request", Any),
            ("UnverifiedUserAnnotations", "unverifiedUserAnnotations", Any),
        ],
    ),
    ("FlowDistinguisherMethod", &[("Type", "type", Text)]),
    (
        "VolumeAttachmentSpec",
        &[
            ("Attacher", "attacher", Text),
            ("Source", "source", Struct("VolumeAttachmentSource")),
            ("NodeName", "nodeName", Text),
        ],
    ),
    (
        "VolumeAttachmentSource",
        &[("PersistentVolumeName", "persistentVolumeName", Any), ("InlineVolumeSpec", "inlineVolumeSpec", Any)],
    ),
    (
        "CSINodeDriver",
        &[
            ("Name", "name", Text),
            ("NodeID", "nodeID", Text),
            ("TopologyKeys", "topologyKeys", Any),
            ("Allocatable", "allocatable", Pointer("VolumeNodeResources")),
        ],
    ),
    ("VolumeNodeResources", &[("Count", "count", Any)]),
    (
        "DeviceAttribute",
        &[
            ("IntValue", "int", Any),
            ("BoolValue", "bool", Any),
            ("StringValue", "string", Any),
            ("VersionValue", "version", Any),
            ("IntValues", "ints", Any),
            ("BoolValues", "bools", Any),
            ("StringValues", "strings", Any),
            ("VersionValues", "versions", Any),
        ],
    ),
    (
        "NodeSelectorTerm",
        &[
            ("MatchExpressions", "matchExpressions", List("NodeSelectorRequirement")),
            ("MatchFields", "matchFields", List("NodeSelectorRequirement")),
        ],
    ),
    ("NodeSelectorRequirement", &[("Key", "key", Text), ("Operator", "operator", Text), ("Values", "values", Any)]),
    ("AuditAnnotation", &[("Key", "key", Text), ("ValueExpression", "valueExpression", Text)]),
    ("IP", &[("IP", "ip", Text)]),
    (
        "Toleration",
        &[
            ("Key", "key", Text),
            ("Operator", "operator", Text),
            ("Value", "value", Text),
            ("Effect", "effect", Text),
            ("TolerationSeconds", "tolerationSeconds", Any),
        ],
    ),
    (
        "ServicePort",
        &[
            ("Name", "name", Text),
            ("Protocol", "protocol", Text),
            ("AppProtocol", "appProtocol", Any),
            ("Port", "port", Number),
            ("TargetPort", "targetPort", Number),
            ("NodePort", "nodePort", Number),
        ],
    ),
];

/// A value of a type of the table; values of others as they are.
pub(crate) fn print(name: &str, value: &Value) -> String {
    let Some((_, members)) = TYPES.iter().find(|(known, _)| *known == name) else { return value.to_string() };
    let inner: Vec<String> =
        members.iter().map(|(go, json, shape)| format!("\"{go}\":{}", member(*shape, at(value, json)))).collect();
    format!("{{{}}}", inner.join(","))
}

/// A list of values of a type of the table.
pub(crate) fn print_list(name: &str, values: &[Value]) -> String {
    let items: Vec<String> = values.iter().map(|item| print(name, item)).collect();
    format!("[{}]", items.join(","))
}

fn member(shape: Shape, value: &Value) -> String {
    match (shape, value) {
        (Text, Value::Null) => "\"\"".to_owned(),
        (Number, Value::Null) => "0".to_owned(),
        (Struct(name), value) => print(name, value),
        (Pointer(name), Value::Object(_)) => print(name, value),
        (List(name), Value::Array(items)) => print_list(name, items),
        (_, value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_struct_inside_is_a_type_of_the_table() {
        for (_, members) in TYPES {
            for (_, _, shape) in *members {
                if let Struct(name) | Pointer(name) | List(name) = shape {
                    assert!(TYPES.iter().any(|(known, _)| known == name), "{name}");
                }
            }
        }
    }

    #[test]
    fn members_that_are_absent_show_as_go_has_them() {
        let shown = print("PodFailurePolicy", &json!({"rules": [{"action": "Count", "onExitCodes": {"values": [1]}}]}));
        let inner = r#"{"Action":"Count","OnExitCodes":{"ContainerName":null,"Operator":"","Values":[1]},"OnPodConditions":null}"#;
        assert_eq!(shown, format!("{{\"Rules\":[{inner}]}}"));
    }
}
