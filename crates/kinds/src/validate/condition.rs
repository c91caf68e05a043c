//! Rules of `metav1.Condition` lists in a status.

use base::name;
use serde_json::Value;

use super::Faults;
use crate::json::{has, int, list, text};
use crate::path::Path;

const REASON_LIMIT: usize = 1024;
const MESSAGE_LIMIT: usize = 32 * 1024;

pub(crate) fn list_of(status: &Value, above: &Path<'_>, faults: &mut Faults) {
    let mut types: Vec<&str> = Vec::new();
    let conditions = above.field("conditions");
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let path = conditions.index(index);
        let kind = text(condition, "type");
        if types.contains(&kind) {
            faults.duplicate(&path.field("type"), kind);
        }
        types.push(kind);
        one(condition, &path, faults);
    }
}

fn one(condition: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.named(&path.field("type"), text(condition, "type"), name::qualified_name);
    let status = text(condition, "status");
    if !matches!(status, "True" | "False" | "Unknown") {
        faults.not_supported(&path.field("status"), status, &["False", "True", "Unknown"]);
    }
    if let Some(generation) = int(condition, "observedGeneration").filter(|generation| *generation < 0) {
        faults.invalid(&path.field("observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if !has(condition, "lastTransitionTime") {
        faults.required(&path.field("lastTransitionTime"), "");
    }
    let reason = text(condition, "reason");
    if reason.is_empty() {
        faults.required(&path.field("reason"), "");
    } else {
        if !is_reason(reason) {
            let detail = name::regex_message(
                "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
                "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
                &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
            );
            faults.invalid(&path.field("reason"), reason, detail);
        }
        if reason.len() > REASON_LIMIT {
            faults.too_long(&path.field("reason"), REASON_LIMIT);
        }
    }
    if text(condition, "message").len() > MESSAGE_LIMIT {
        faults.too_long(&path.field("message"), MESSAGE_LIMIT);
    }
}

fn is_reason(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match text.as_bytes() {
        [first] => first.is_ascii_alphabetic(),
        [first, middle @ .., last] => {
            first.is_ascii_alphabetic() && word(*last) && middle.iter().all(|b| word(*b) || matches!(b, b',' | b':'))
        }
        [] => false,
    }
}

/// Whether a condition of this type is True.
pub(crate) fn is_true(status: &Value, kind: &str) -> bool {
    list(status, "conditions")
        .iter()
        .any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
}
