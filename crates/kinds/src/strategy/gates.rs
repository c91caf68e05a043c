//! Fields of features that are off in a stable server: a client may name them, and they are dropped, unless the object
//! has used them before.
//!
//! Invariant: one table says which fields those are; whoever switches a feature on removes its rows. What gates do to
//! rules rather than to fields stands with the rules. Source: `pkg/features/kube_features.go` of v1.36 and the
//! `dropDisabled…` functions of the strategies.

use serde_json::Value;

use crate::catalog::Kind;
use crate::json::{Members, at, dig};

/// Fields that go together: if one of them is used, all may be.
struct Row {
    #[cfg_attr(not(test), expect(dead_code, reason = "tells the reader which feature it is"))]
    gate: &'static str,
    /// Group and kind; none for whatever makes pods, where paths begin at the spec of a pod.
    of: Option<(&'static str, &'static str)>,
    /// A list (a member of a member) whose items are judged one by one, each beside the old one in its place.
    each: Option<(&'static str, &'static str)>,
    /// Members joined by dots; `[]` are the items of a list, `*` those of a map.
    fields: &'static [&'static str],
    /// What says that the feature is used, if it is not the fields themselves.
    used: &'static [&'static str],
}

impl Row {
    const fn pod(gate: &'static str, fields: &'static [&'static str]) -> Self {
        Self { gate, of: None, each: None, fields, used: &[] }
    }

    const fn kind(
        gate: &'static str,
        group: &'static str,
        kind: &'static str,
        fields: &'static [&'static str],
    ) -> Self {
        Self { gate, of: Some((group, kind)), each: None, fields, used: &[] }
    }

    const fn group(gate: &'static str, field: &'static [&'static str]) -> Self {
        Self::kind(gate, "scheduling.k8s.io", "PodGroup", field)
    }

    const fn template(gate: &'static str, field: &'static [&'static str]) -> Self {
        Self { each: Some(("spec", "podGroupTemplates")), ..Self::kind(gate, "scheduling.k8s.io", "Workload", field) }
    }

    const fn used(self, used: &'static [&'static str]) -> Self {
        Self { used, ..self }
    }
}

const RESOURCE: &str = "resource.k8s.io";
const TOPOLOGY: &str = "TopologyAwareWorkloadScheduling";
const PREEMPTION: &str = "WorkloadAwarePreemption";
const CLAIMS: &str = "DRAWorkloadResourceClaims";
const LEADERS: &str = "CoordinatedLeaderElection";

/// What a spec says, by itself or through a template.
static SPEC: &[Row] = &[
    Row::pod("ClusterTrustBundleProjection", &["volumes.[].projected.sources.[].clusterTrustBundle"]),
    Row::pod("PodCertificateRequest", &["volumes.[].projected.sources.[].podCertificate"]),
    Row::pod("GenericWorkload", &["schedulingGroup"]),
    Row::pod(
        "ContainerStopSignals",
        &[
            "containers.[].lifecycle.stopSignal",
            "initContainers.[].lifecycle.stopSignal",
            "ephemeralContainers.[].lifecycle.stopSignal",
        ],
    ),
    Row::kind(
        "MaxUnavailableStatefulSet",
        "apps",
        "StatefulSet",
        &["spec.updateStrategy.rollingUpdate.maxUnavailable"],
    ),
    Row::kind("VolumeLimitScaling", "storage.k8s.io", "CSIDriver", &["spec.preventPodSchedulingIfMissing"]),
    Row::kind(LEADERS, "coordination.k8s.io", "Lease", &["spec.strategy"]),
    Row::kind(LEADERS, "coordination.k8s.io", "Lease", &["spec.preferredHolder"]),
    Row::kind(
        "DRANodeAllocatableResources",
        RESOURCE,
        "ResourceSlice",
        &["spec.devices.[].nodeAllocatableResourceMappings", "spec.devices.[].basic.nodeAllocatableResourceMappings"],
    ),
    Row::kind(
        "DRAListTypeAttributes",
        RESOURCE,
        "ResourceSlice",
        &[
            "spec.devices.[].attributes.*.bools",
            "spec.devices.[].attributes.*.ints",
            "spec.devices.[].attributes.*.strings",
            "spec.devices.[].attributes.*.versions",
            "spec.devices.[].basic.attributes.*.bools",
            "spec.devices.[].basic.attributes.*.ints",
            "spec.devices.[].basic.attributes.*.strings",
            "spec.devices.[].basic.attributes.*.versions",
        ],
    ),
    Row::group(TOPOLOGY, &["spec.schedulingConstraints"]),
    Row::group(CLAIMS, &["spec.resourceClaims"]),
    Row::group(PREEMPTION, &["spec.disruptionMode"]),
    Row::group(PREEMPTION, &["spec.priorityClassName"]),
    Row::group(PREEMPTION, &["spec.priority"]),
    Row::template(TOPOLOGY, &["schedulingConstraints"]),
    Row::template(CLAIMS, &["resourceClaims"]),
    Row::template(PREEMPTION, &["disruptionMode"]),
    Row::template(PREEMPTION, &["priorityClassName"]),
    Row::template(PREEMPTION, &["priority"]),
];

/// What a status says.
static STATUS: &[Row] = &[
    Row::kind(
        "ImageVolumeWithDigest",
        "",
        "Pod",
        &[
            "status.containerStatuses.[].volumeMounts.[].volumeStatus",
            "status.initContainerStatuses.[].volumeMounts.[].volumeStatus",
            "status.ephemeralContainerStatuses.[].volumeMounts.[].volumeStatus",
        ],
    ),
    Row::kind("DRANodeAllocatableResources", "", "Pod", &["status.nodeAllocatableResourceClaimStatuses"]),
    Row::group(CLAIMS, &["status.resourceClaimStatuses"]).used(&["spec.resourceClaims"]),
];

/// Structs that go when nothing is left in them, as they were made for the dropped field.
const EMPTIED: &[&str] = &["lifecycle"];

/// Where the spec of a pod is in what makes pods.
pub(super) fn pod_spec(kind: &Kind) -> Option<&'static [&'static str]> {
    Some(match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => &["spec"],
        ("", "PodTemplate") => &["template", "spec"],
        ("", "ReplicationController") | ("batch", "Job") => &["spec", "template", "spec"],
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet") => &["spec", "template", "spec"],
        ("batch", "CronJob") => &["spec", "jobTemplate", "spec", "template", "spec"],
        _ => return None,
    })
}

/// Drops from the spec of an object what it may not say; `old` is null for a new one.
pub(super) fn drop_spec(kind: &Kind, new: &mut Value, old: &Value) {
    drop_rows(SPEC, kind, new, old);
}

/// As [`drop_spec`], from the status.
pub(super) fn drop_status(kind: &Kind, new: &mut Value, old: &Value) {
    drop_rows(STATUS, kind, new, old);
}

fn drop_rows(rows: &[Row], kind: &Kind, new: &mut Value, old: &Value) {
    if kind.custom.is_some() {
        return;
    }
    for row in rows {
        let base = match row.of {
            Some((group, name)) if kind.is(group, name) => &[][..],
            None => match pod_spec(kind) {
                Some(spec) => spec,
                None => continue,
            },
            Some(_) => continue,
        };
        let Some(new) = base.iter().try_fold(&mut *new, |value, name| value.get_mut(*name)) else { continue };
        row.judge(new, dig(old, base));
    }
}

impl Row {
    fn judge(&self, new: &mut Value, old: &Value) {
        let Some((list, field)) = self.each else { return self.drop(new, old) };
        let items = new.get_mut(list).and_then(|list| list.get_mut(field)).and_then(Value::as_array_mut);
        for (index, item) in items.into_iter().flatten().enumerate() {
            self.drop(item, dig(old, &[list, field]).get(index).unwrap_or(&Value::Null));
        }
    }

    fn drop(&self, new: &mut Value, old: &Value) {
        let marks = if self.used.is_empty() { self.fields } else { self.used };
        if !marks.iter().any(|path| is_used(old, path)) {
            self.fields.iter().for_each(|path| remove(new, path));
        }
    }
}

fn is_used(value: &Value, path: &str) -> bool {
    let Some((first, rest)) = path.split_once('.') else {
        return match at(value, path) {
            Value::Null => false,
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        };
    };
    match first {
        "[]" => value.as_array().into_iter().flatten().any(|item| is_used(item, rest)),
        "*" => value.as_object().into_iter().flatten().any(|(_, item)| is_used(item, rest)),
        name => is_used(at(value, name), rest),
    }
}

fn remove(value: &mut Value, path: &str) {
    let Some((first, rest)) = path.split_once('.') else {
        if let Some(members) = value.as_object_mut() {
            members.remove(path);
        }
        return;
    };
    match first {
        "[]" => value.as_array_mut().into_iter().flatten().for_each(|item| remove(item, rest)),
        "*" => value.as_object_mut().into_iter().flatten().for_each(|(_, item)| remove(item, rest)),
        name => {
            let Some(members) = value.as_object_mut() else { return };
            let Some(inner) = members.get_mut(name).filter(|inner| is_used(inner, rest)) else { return };
            remove(inner, rest);
            if EMPTIED.contains(&name) && inner.as_object().is_some_and(Members::is_empty) {
                members.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalog, schema};
    use serde_json::json;

    fn kind(group: &str, name: &str) -> &'static Kind {
        let kinds = Catalog::builtin().kinds().iter();
        kinds.rev().find(|kind| kind.is(group, name)).expect("a kind")
    }

    #[test]
    fn every_row_names_fields_of_its_kind() {
        for row in SPEC.iter().chain(STATUS) {
            let (group, name) = row.of.unwrap_or(("", "Pod"));
            let base = if row.of.is_none() { "spec.".to_owned() } else { String::new() };
            let base = row.each.map_or(base, |(list, field)| format!("{list}.{field}.[]."));
            for path in row.fields.iter().chain(row.used) {
                let path = format!("{base}{path}");
                let steps: Vec<&str> = path.split('.').collect();
                let mut versions = Catalog::builtin().kinds().iter().filter(|kind| kind.is(group, name));
                let found = versions.any(|kind| schema::schema().walk(kind.schema, &steps).is_some());
                assert!(found, "{}: {group} {name} {path}", row.gate);
            }
        }
    }

    #[test]
    fn what_makes_pods_has_their_spec_where_it_is_said() {
        let pod = schema::find("api.core.v1.PodSpec");
        for kind in Catalog::builtin().kinds() {
            if let Some(path) = pod_spec(kind) {
                assert_eq!(schema::schema().walk(kind.schema, path), pod, "{}", kind.kind);
            }
        }
    }

    #[track_caller]
    fn check(kind: &Kind, mut new: Value, old: &Value, expected: &Value) {
        drop_spec(kind, &mut new, old);
        assert_eq!(&new, expected);
    }

    #[test]
    fn a_new_object_loses_the_fields_and_one_that_has_them_keeps_them() {
        let pod = |lifecycle: Value| {
            json!({"spec": {
                "containers": [{"name": "a", "lifecycle": lifecycle}, {"name": "b"}],
                "volumes": [{"name": "v", "projected": {"sources": [{"podCertificate": {"signerName": "a/b"}}]}}],
            }})
        };
        let stripped = |containers: Value| {
            json!({"spec": {
                "containers": containers, "volumes": [{"name": "v", "projected": {"sources": [{}]}}],
            }})
        };
        let kept = json!({"preStop": {"sleep": {"seconds": 1}}});
        let mut both = kept.clone();
        both["stopSignal"] = json!("SIGINT");
        let pods = kind("", "Pod");
        let bare = stripped(json!([{"name": "a"}, {"name": "b"}]));
        check(pods, pod(json!({"stopSignal": "SIGINT"})), &Value::Null, &bare);
        let hooked = stripped(json!([{"name": "a", "lifecycle": kept}, {"name": "b"}]));
        check(pods, pod(both.clone()), &Value::Null, &hooked);
        check(pods, pod(json!({})), &Value::Null, &stripped(json!([{"name": "a", "lifecycle": {}}, {"name": "b"}])));
        check(pods, pod(both.clone()), &pod(both.clone()), &pod(both));
    }

    #[test]
    fn templates_are_judged_as_pods_are() {
        let set = |template: Value, rolling: Value| json!({"spec": {"template": {"spec": template}, "updateStrategy": {"rollingUpdate": rolling}}});
        let new = set(json!({"schedulingGroup": {}}), json!({"partition": 1, "maxUnavailable": 2}));
        let sets = kind("apps", "StatefulSet");
        check(sets, new.clone(), &Value::Null, &set(json!({}), json!({"partition": 1})));
        let old = set(json!({}), json!({"maxUnavailable": 1}));
        check(sets, new, &old, &set(json!({}), json!({"partition": 1, "maxUnavailable": 2})));
    }

    #[test]
    fn items_of_a_workload_are_judged_one_by_one() {
        let workload = |templates: Value| json!({"spec": {"podGroupTemplates": templates}});
        let new = workload(json!([{"priority": 0, "priorityClassName": "a"}, {"priority": 1}]));
        let old = workload(json!([{"priority": 5}]));
        check(kind("scheduling.k8s.io", "Workload"), new, &old, &workload(json!([{"priority": 0}, {}])));
    }

    #[test]
    fn a_status_is_judged_too() {
        let groups = kind("scheduling.k8s.io", "PodGroup");
        let told = json!({"spec": {}, "status": {"resourceClaimStatuses": [{"name": "a"}]}});
        let mut new = told.clone();
        drop_status(groups, &mut new, &json!({"spec": {"resourceClaims": [{"name": "a"}]}}));
        assert_eq!(new, told, "the claims of the spec say that they are used");
        drop_status(groups, &mut new, &told);
        assert_eq!(new, json!({"spec": {}, "status": {}}));
    }
}
