//! The fields that a kind can be selected by, besides its labels.
//!
//! Invariant: the list of names depends on the kind only; a field that is absent in the object has an empty text.

use serde_json::Value;

use crate::catalog::Kind;
use crate::json::{dig, text};

/// A field's name and where it stands.
type Row = (&'static str, &'static [&'static str]);

/// Fields beyond name and namespace, per group and kind (upstream `ToSelectableFields`).
static FIELDS: &[(&str, &str, &[Row])] = &[
    (
        "",
        "Pod",
        &[
            ("spec.nodeName", &["spec", "nodeName"]),
            ("spec.restartPolicy", &["spec", "restartPolicy"]),
            ("spec.schedulerName", &["spec", "schedulerName"]),
            ("spec.serviceAccountName", &["spec", "serviceAccountName"]),
            ("spec.hostNetwork", &["spec", "hostNetwork"]),
            ("status.phase", &["status", "phase"]),
            ("status.podIP", &["status", "podIP"]),
            ("status.nominatedNodeName", &["status", "nominatedNodeName"]),
        ],
    ),
    (
        "",
        "Event",
        &[
            ("involvedObject.kind", &["involvedObject", "kind"]),
            ("involvedObject.namespace", &["involvedObject", "namespace"]),
            ("involvedObject.name", &["involvedObject", "name"]),
            ("involvedObject.uid", &["involvedObject", "uid"]),
            ("involvedObject.apiVersion", &["involvedObject", "apiVersion"]),
            ("involvedObject.resourceVersion", &["involvedObject", "resourceVersion"]),
            ("involvedObject.fieldPath", &["involvedObject", "fieldPath"]),
            ("reason", &["reason"]),
            ("reportingComponent", &["reportingComponent"]),
            ("source", &["source", "component"]),
            ("type", &["type"]),
        ],
    ),
    (
        "events.k8s.io",
        "Event",
        &[
            ("regarding.kind", &["regarding", "kind"]),
            ("regarding.namespace", &["regarding", "namespace"]),
            ("regarding.name", &["regarding", "name"]),
            ("regarding.uid", &["regarding", "uid"]),
            ("regarding.apiVersion", &["regarding", "apiVersion"]),
            ("regarding.resourceVersion", &["regarding", "resourceVersion"]),
            ("regarding.fieldPath", &["regarding", "fieldPath"]),
            ("reason", &["reason"]),
            ("reportingController", &["reportingController"]),
            ("type", &["type"]),
        ],
    ),
    ("", "Secret", &[("type", &["type"])]),
    ("", "Namespace", &[("status.phase", &["status", "phase"])]),
    ("", "Node", &[("spec.unschedulable", &["spec", "unschedulable"])]),
    ("", "ReplicationController", &[("status.replicas", &["status", "replicas"])]),
    ("", "Service", &[("spec.clusterIP", &["spec", "clusterIP"]), ("spec.type", &["spec", "type"])]),
    ("apps", "ReplicaSet", &[("status.replicas", &["status", "replicas"])]),
    ("batch", "Job", &[("status.successful", &["status", "succeeded"])]),
    ("certificates.k8s.io", "CertificateSigningRequest", &[("spec.signerName", &["spec", "signerName"])]),
    ("certificates.k8s.io", "ClusterTrustBundle", &[("spec.signerName", &["spec", "signerName"])]),
    (
        "resource.k8s.io",
        "ResourceSlice",
        &[("spec.nodeName", &["spec", "nodeName"]), ("spec.driver", &["spec", "driver"])],
    ),
];

/// Numbers and flags, whose zero value Go would print.
fn zero(name: &str) -> &'static str {
    match name {
        "status.replicas" | "status.successful" => "0",
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        _ => "",
    }
}

/// Names and values of all fields that the object can be selected by.
pub fn selectable_fields(kind: &Kind, value: &Value) -> Vec<(&'static str, String)> {
    let meta = dig(value, &["metadata"]);
    let mut fields = vec![("metadata.name", text(meta, "name").to_owned())];
    if kind.namespaced {
        fields.push(("metadata.namespace", text(meta, "namespace").to_owned()));
    }
    let row = FIELDS.iter().find(|(group, name, _)| *name == kind.kind && *group == kind.group);
    for (name, path) in row.map_or(&[][..], |(_, _, rows)| rows) {
        let text = match dig(value, path) {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => zero(name).to_owned(),
        };
        fields.push((*name, text));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;
    use serde_json::json;

    #[test]
    fn pods_are_selected_by_node_and_phase() {
        let kind = Catalog::builtin().resource("", "v1", "pods").unwrap();
        let pod = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": {"nodeName": "n"}});
        let fields = selectable_fields(kind, &pod);
        let value = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str());
        assert_eq!(value("metadata.namespace"), Some("b"));
        assert_eq!(value("spec.nodeName"), Some("n"));
        assert_eq!(value("status.phase"), Some(""));
        assert_eq!(value("spec.hostNetwork"), Some("false"));
        assert_eq!(value("spec.nope"), None);
    }

    #[test]
    fn every_row_is_a_kind_and_its_paths_exist() {
        for (group, name, rows) in FIELDS {
            let kinds: Vec<_> = Catalog::builtin().kinds().iter().filter(|kind| kind.is(group, name)).collect();
            assert!(!kinds.is_empty(), "{group} {name}");
            for (_, path) in *rows {
                assert!(kinds.iter().any(|kind| crate::schema::schema().walk(kind.schema, path).is_some()), "{path:?}");
            }
        }
    }
}
