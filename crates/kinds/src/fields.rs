//! The fields that a kind can be selected by, besides its labels.
//!
//! Invariant: the list of names depends on the kind only; a field that is absent in the object has an empty text.

use std::borrow::Cow;

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
            // accepted and always empty, as upstream
            ("status.podIPs", &["status", "podIPs"]),
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

/// Kinds that refuse `metadata.namespace`; others take it even where nothing has a namespace.
const WITHOUT_NAMESPACE: &[(&str, &str)] = &[
    ("", "Node"),
    ("", "Namespace"),
    ("certificates.k8s.io", "CertificateSigningRequest"),
    ("certificates.k8s.io", "ClusterTrustBundle"),
    ("resource.k8s.io", "ResourceSlice"),
];

/// The name under which a kind knows the field that a selector asks for, or why it does not know it, in the words
/// upstream's kinds use (`AddFieldLabelConversionFunc`).
pub fn field_label<'a>(kind: &Kind, label: &'a str) -> Result<&'a str, String> {
    if let Some(custom) = &kind.custom {
        let known = label == "metadata.name"
            || (label == "metadata.namespace" && kind.namespaced)
            || custom.selectable().iter().any(|(name, _)| name == label);
        return if known { Ok(label) } else { Err(format!("field label not supported: {label}")) };
    }
    let row = FIELDS.iter().find(|(group, name, _)| *name == kind.kind && *group == kind.group);
    let bare = WITHOUT_NAMESPACE.contains(&(kind.group.as_str(), kind.kind.as_str()));
    match (label, row) {
        ("metadata.name", _) => return Ok(label),
        ("metadata.namespace", _) if !bare => return Ok(label),
        // clients older than v1 send it
        ("spec.host", Some(("", "Pod", _))) => return Ok("spec.nodeName"),
        (_, Some((_, _, rows))) if rows.iter().any(|(name, _)| *name == label) => return Ok(label),
        _ => {}
    }
    Err(match row {
        None => format!("{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
        Some(("batch", "Job", _)) => format!("field label {label:?} not supported for Job"),
        Some(("resource.k8s.io", name, _)) => {
            format!("field label not supported for {}/{}, Kind={name}: {label}", kind.group, kind.version)
        }
        Some(_) => format!("field label not supported: {label}"),
    })
}

/// Where the selectable fields of a built-in kind stand, besides name and namespace; none for custom resources.
pub fn selectable_paths(kind: &Kind) -> Option<impl Iterator<Item = &'static [&'static str]>> {
    if kind.custom.is_some() {
        return None;
    }
    let row = FIELDS.iter().find(|(group, name, _)| *name == kind.kind && *group == kind.group);
    Some(row.into_iter().flat_map(|(_, _, rows)| rows.iter().map(|(_, path)| *path)))
}

/// Names and values of all fields that the object can be selected by.
pub fn selectable_fields(kind: &Kind, value: &Value) -> Vec<(Cow<'static, str>, String)> {
    let meta = dig(value, &["metadata"]);
    let mut fields = vec![(Cow::from("metadata.name"), text(meta, "name").to_owned())];
    if kind.namespaced {
        fields.push(("metadata.namespace".into(), text(meta, "namespace").to_owned()));
    }
    if let Some(custom) = &kind.custom {
        fields.extend(custom.selectable().iter().map(|(name, path)| {
            let held = path.iter().fold(value, |value, name| crate::json::at(value, name));
            (Cow::from(name.clone()), scalar(held).unwrap_or_default())
        }));
        return fields;
    }
    let row = FIELDS.iter().find(|(group, name, _)| *name == kind.kind && *group == kind.group);
    for (name, path) in row.map_or(&[][..], |(_, _, rows)| rows) {
        let held = dig(value, path);
        let text = match (*name, scalar(held)) {
            // an event without a source is known by who reported it
            ("source", held) => {
                held.filter(|held| !held.is_empty()).unwrap_or_else(|| text(value, "reportingComponent").to_owned())
            }
            (name, held) => held.unwrap_or_else(|| zero(name).to_owned()),
        };
        fields.push(((*name).into(), text));
    }
    fields
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
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
    fn unknown_fields_are_refused_in_each_kinds_words() {
        let told = |group: &str, version: &str, plural: &str, label: &str| {
            let kind = Catalog::builtin().resource(group, version, plural).unwrap();
            field_label(kind, label).unwrap_or_else(|error| panic!("{error}")).to_owned()
        };
        assert_eq!(told("", "v1", "pods", "spec.host"), "spec.nodeName");
        assert_eq!(told("", "v1", "persistentvolumes", "metadata.namespace"), "metadata.namespace");
        let refused = |group: &str, version: &str, plural: &str, label: &str| {
            field_label(Catalog::builtin().resource(group, version, plural).unwrap(), label).unwrap_err()
        };
        assert_eq!(refused("", "v1", "pods", "spec.x"), "field label not supported: spec.x");
        assert_eq!(refused("", "v1", "nodes", "metadata.namespace"), "field label not supported: metadata.namespace");
        assert_eq!(
            refused("apps", "v1", "replicasets", "status.replicas"),
            r#""status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace""#
        );
        assert_eq!(refused("batch", "v1", "jobs", "x"), r#"field label "x" not supported for Job"#);
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
