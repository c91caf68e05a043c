//! What a claim is filled from is told twice, in an old field and in a new one that can say more (KEP 1495).

use serde_json::Value;

use crate::json::{Members, at, fill, object, object_mut, text};

/// A new claim waits to be bound.
pub(crate) fn create_claim(claim: &mut Members) {
    fill(object(claim, "status"), "phase", "Pending");
    settle_sources(claim, &Value::Null);
}

pub(crate) fn update_claim(claim: &mut Members, old: &Value) {
    settle_sources(claim, old);
}

fn settle_sources(claim: &mut Members, old: &Value) {
    let Some(spec) = object_mut(claim, "spec") else { return };
    let before = at(old, "spec");
    let had = |name: &str| !at(before, name).is_null();
    // sources in other namespaces are a feature that is off
    let elsewhere = spec.get("dataSourceRef").is_some_and(|source| !text(source, "namespace").is_empty());
    if elsewhere && !had("dataSourceRef") {
        spec.remove("dataSourceRef");
    }
    // clients from before the new field expect that a source of another kind is ignored
    let told = spec.get("dataSourceRef").is_some_and(|source| !source.is_null());
    if !told && !had("dataSource") && !had("dataSourceRef") && !spec.get("dataSource").is_some_and(is_classic) {
        spec.remove("dataSource");
    }
    normalize(spec);
}

/// A claim or a snapshot, which are all that the old field could name.
fn is_classic(source: &Value) -> bool {
    matches!(
        (text(source, "apiGroup"), text(source, "kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// Fills the field that is absent from the one that is there. A source in another namespace has no place in the old one.
pub(crate) fn normalize(spec: &mut Members) {
    let of = |name: &str| spec.get(name).filter(|source| source.is_object());
    let (target, source) = match (of("dataSource"), of("dataSourceRef")) {
        (Some(source), None) => ("dataSourceRef", source),
        (None, Some(source)) if text(source, "namespace").is_empty() => ("dataSource", source),
        _ => return,
    };
    let members = ["apiGroup", "kind", "name"].into_iter();
    let copied: Members = members
        .filter_map(|name| Some((name.to_owned(), source.get(name).filter(|v| !v.is_null())?.clone())))
        .collect();
    spec.insert(target.to_owned(), Value::Object(copied));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(new: Value, old: &Value, expected: &Value) {
        let mut claim = Members::from_iter([("spec".to_owned(), new)]);
        let old = if old.is_null() { Value::Null } else { json!({ "spec": old }) };
        settle_sources(&mut claim, &old);
        assert_eq!(&claim["spec"], expected);
    }

    #[test]
    fn a_source_is_told_in_both_fields() {
        let volume = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        let both = json!({"dataSource": volume, "dataSourceRef": volume});
        check(json!({"dataSource": volume}), &Value::Null, &both);
        check(json!({"dataSourceRef": volume}), &Value::Null, &both);
        check(both.clone(), &Value::Null, &both);
        let snapshot = json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"});
        check(json!({"dataSource": snapshot}), &both, &json!({"dataSource": snapshot, "dataSourceRef": snapshot}));
        check(json!({}), &Value::Null, &json!({}));
    }

    #[test]
    fn the_old_field_ignores_what_it_never_knew() {
        let other = json!({"apiGroup": "example.com", "kind": "Backup", "name": "b"});
        let both = json!({"dataSource": other, "dataSourceRef": other});
        check(json!({"dataSource": other}), &Value::Null, &json!({}));
        check(json!({"dataSource": other}), &json!({}), &json!({}));
        check(json!({"dataSource": other}), &both, &both);
        check(json!({"dataSourceRef": other}), &Value::Null, &both);
    }

    #[test]
    fn a_source_in_another_namespace_is_dropped_unless_it_was_there() {
        let far = json!({"kind": "PersistentVolumeClaim", "name": "a", "namespace": "n"});
        check(json!({"dataSourceRef": far}), &Value::Null, &json!({}));
        check(json!({"dataSourceRef": far}), &json!({"dataSourceRef": far}), &json!({"dataSourceRef": far}));
        let near = json!({"kind": "PersistentVolumeClaim", "name": "a", "namespace": ""});
        let plain = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        check(json!({"dataSourceRef": near}), &Value::Null, &json!({"dataSourceRef": near, "dataSource": plain}));
    }
}
