//! Since when a device is tainted.

use serde_json::Value;

use crate::catalog::Kind;
use crate::json::{at, dig, has, text};

/// Sets the time of device taints that have none, and of a rule whose effect became another one without a new time.
/// `old` is null if there is none, or if the old object is not to be looked at yet.
pub fn stamp_taints(kind: &Kind, new: &mut Value, old: &Value, now: impl Fn() -> String) {
    if kind.group != "resource.k8s.io" {
        return;
    }
    match kind.kind.as_str() {
        "DeviceTaintRule" => {
            let Some(taint) = new.pointer_mut("/spec/taint") else { return };
            let before = dig(old, &["spec", "taint"]);
            let turned = before.is_object()
                && text(taint, "effect") != text(before, "effect")
                && at(taint, "timeAdded") == at(before, "timeAdded");
            stamp(taint, turned, &now);
        }
        "ResourceSlice" => {
            let devices = new.pointer_mut("/spec/devices").and_then(Value::as_array_mut);
            for device in devices.into_iter().flatten() {
                for place in ["/taints", "/basic/taints"] {
                    let taints = device.pointer_mut(place).and_then(Value::as_array_mut);
                    taints.into_iter().flatten().for_each(|taint| stamp(taint, false, &now));
                }
            }
        }
        _ => {}
    }
}

fn stamp(taint: &mut Value, anew: bool, now: &impl Fn() -> String) {
    let absent = !has(taint, "timeAdded");
    if let Some(members) = taint.as_object_mut().filter(|_| absent || anew) {
        members.insert("timeAdded".to_owned(), Value::String(now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;
    use serde_json::json;

    #[track_caller]
    fn check(name: &str, mut new: Value, old: &Value, expected: &Value) {
        let kind = Catalog::builtin().kinds().iter().find(|kind| kind.is("resource.k8s.io", name)).unwrap();
        stamp_taints(kind, &mut new, old, || "now".to_owned());
        assert_eq!(&new, expected);
    }

    #[test]
    fn a_taint_without_a_time_gets_one() {
        let rule = |taint: Value| json!({"spec": {"taint": taint}});
        let (bare, timed) =
            (rule(json!({"effect": "NoExecute"})), rule(json!({"effect": "None", "timeAdded": "then"})));
        check("DeviceTaintRule", bare, &Value::Null, &rule(json!({"effect": "NoExecute", "timeAdded": "now"})));
        check("DeviceTaintRule", timed.clone(), &Value::Null, &timed);
        let slice = |taints: Value| json!({"spec": {"devices": [{"name": "a", "taints": taints}, {"name": "b"}]}});
        let told = json!({"effect": "NoSchedule", "timeAdded": "then"});
        let new = slice(json!([told, {"effect": "NoSchedule"}]));
        check("ResourceSlice", new, &Value::Null, &slice(json!([told, {"effect": "NoSchedule", "timeAdded": "now"}])));
        check("ResourceSlice", json!({"spec": {"devices": 1}}), &Value::Null, &json!({"spec": {"devices": 1}}));
    }

    #[test]
    fn a_rule_that_turns_begins_anew() {
        let rule = |effect: &str, time: &str| json!({"spec": {"taint": {"effect": effect, "timeAdded": time}}});
        let old = rule("NoSchedule", "then");
        check("DeviceTaintRule", rule("NoExecute", "then"), &old, &rule("NoExecute", "now"));
        check("DeviceTaintRule", rule("NoExecute", "given"), &old, &rule("NoExecute", "given"));
        check("DeviceTaintRule", rule("NoSchedule", "then"), &old, &old);
    }
}
