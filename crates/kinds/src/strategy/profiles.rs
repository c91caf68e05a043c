//! AppArmor profiles that annotations name become fields (KEP-24, version skew).

use serde_json::{Value, json};

use crate::catalog::Kind;
use crate::json::{at, text};
use crate::validate::pod::APP_ARMOR;

/// Longest path without its end.
const LONGEST: usize = 4095;

/// Gives containers of a new pod the profile that its annotations name, where they and the pod name none of the kind
/// themselves; returns what its creator is told about annotations that still had a meaning, or never had one.
pub fn profiles_of_annotations(kind: &Kind, pod: &mut Value) -> Vec<String> {
    let mut told = Vec::new();
    if (kind.group.as_str(), kind.kind.as_str()) != ("", "Pod") || text(at(at(pod, "spec"), "os"), "name") == "windows"
    {
        return told;
    }
    let Some(annotations) = at(at(pod, "metadata"), "annotations").as_object() else { return told };
    let named: Vec<(String, Option<Value>)> = annotations
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(APP_ARMOR)?.to_owned(), profile(value.as_str()?))))
        .collect();
    if named.is_empty() {
        return told;
    }
    let of_pod = at(at(at(pod, "spec"), "securityContext"), "appArmorProfile").clone();
    for kind in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = pod["spec"].get_mut(kind).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let Some((name, profile)) = named.iter().find(|(name, _)| name == text(container, "name")) else {
                continue;
            };
            if !at(at(container, "securityContext"), "appArmorProfile").is_null() {
                continue;
            }
            match profile {
                Some(profile) if *profile == of_pod => continue,
                Some(profile) => container["securityContext"]["appArmorProfile"] = profile.clone(),
                None => {}
            }
            told.push(format!(
                "metadata.annotations[{APP_ARMOR}{name}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    }
    told
}

/// None for what is no profile; validation of the annotation tells of it.
fn profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({ "type": "Unconfined" })),
        "runtime/default" => Some(json!({ "type": "RuntimeDefault" })),
        other => {
            let file = other.strip_prefix("localhost/")?;
            let fits = !file.is_empty() && file.trim() == file && file.len() <= LONGEST;
            fits.then(|| json!({ "type": "Localhost", "localhostProfile": file }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pod: &mut Value) -> Vec<String> {
        let kind = crate::Catalog::builtin().resource("", "v1", "pods").expect("a row");
        profiles_of_annotations(kind, pod)
    }

    #[test]
    fn an_annotation_becomes_the_field_that_says_nothing_yet() {
        let pod = |annotation: &str, of_pod: Value, own: Value| {
            let key = format!("{APP_ARMOR}c");
            json!({ "metadata": { "annotations": { key: annotation } }, "spec": {
                "securityContext": { "appArmorProfile": of_pod },
                "containers": [{ "name": "c", "securityContext": { "appArmorProfile": own } }, { "name": "d" }],
            } })
        };
        let default = json!({ "type": "RuntimeDefault" });
        let table = [
            ("runtime/default", Value::Null, Value::Null, default.clone(), 1),
            ("unconfined", default.clone(), Value::Null, json!({ "type": "Unconfined" }), 1),
            ("localhost/a/b", Value::Null, Value::Null, json!({ "type": "Localhost", "localhostProfile": "a/b" }), 1),
            ("runtime/default", default.clone(), Value::Null, Value::Null, 0),
            ("unconfined", Value::Null, default.clone(), default, 0),
            ("localhost/", Value::Null, Value::Null, Value::Null, 1),
            ("localhost/ a", Value::Null, Value::Null, Value::Null, 1),
            ("other", Value::Null, Value::Null, Value::Null, 1),
        ];
        for (annotation, of_pod, own, expected, warnings) in table {
            let mut one = pod(annotation, of_pod, own);
            let told = told(&mut one);
            assert_eq!(one["spec"]["containers"][0]["securityContext"]["appArmorProfile"], expected, "{annotation}");
            assert_eq!(told.len(), warnings, "{annotation}: {told:?}");
            assert_eq!(one["spec"]["containers"][1], json!({ "name": "d" }));
        }
        let mut windows = pod("unconfined", Value::Null, Value::Null);
        windows["spec"]["os"] = json!({ "name": "windows" });
        assert_eq!(told(&mut windows), Vec::<String>::new());
    }
}
