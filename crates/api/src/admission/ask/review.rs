//! The conversation with one webhook: an `AdmissionReview` there and back.
//!
//! Invariant: an answer that is not about the question, or says nothing clear, is no answer. The words are upstream's, for
//! they are what the author of a webhook reads.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use kinds::Kind;
use serde_json::{Value, json};

use super::asked::Asked;
use crate::{core::text, custom::webhook, error::ApiError};

const USUAL_PATIENCE: u64 = 10;
const GROUP: &str = "admission.k8s.io";

/// What a webhook said.
#[derive(Debug, PartialEq)]
pub(super) struct Verdict {
    /// Why not; a `Status`, or null without an explanation.
    pub(super) denied: Option<Value>,
    /// A JSON patch.
    pub(super) patch: Option<Value>,
    pub(super) warnings: Vec<String>,
}

/// Asks one webhook about the object and the one before it.
pub(super) async fn ask(
    asked: &Asked<'_>,
    hook: &Value,
    kind: &Kind,
    new: Value,
    old: Value,
) -> Result<Verdict, String> {
    let mut versions = hook["admissionReviewVersions"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let version = versions.find(|version| matches!(*version, "v1" | "v1beta1"));
    let version = version.ok_or("webhook does not accept known AdmissionReview versions (v1, v1beta1)")?;
    let uid = uuid::Uuid::new_v4().to_string();
    let mut request = asked.request(kind);
    request["uid"] = json!(uid);
    (request["object"], request["oldObject"]) = (new, old);
    let api_version = format!("{GROUP}/{version}");
    let question = json!({ "kind": "AdmissionReview", "apiVersion": api_version, "request": request });
    let patience = Duration::from_secs(hook["timeoutSeconds"].as_u64().unwrap_or(USUAL_PATIENCE));
    let answer = webhook::post(asked.core, &hook["clientConfig"], &question, patience).await;
    let answer = answer.map_err(|why| format!("failed to call webhook: {why}"))?;
    read(&answer, version, &uid)
}

fn read(answer: &Value, version: &str, uid: &str) -> Result<Verdict, String> {
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    if version == "v1" {
        let (kind, held) = (text(answer, "/kind"), text(answer, "/apiVersion"));
        let wanted = format!("{GROUP}/{version}");
        if kind != "AdmissionReview" || held != wanted {
            return Err(format!(
                "expected webhook response of {wanted}, Kind=AdmissionReview, got {held}, Kind={kind}"
            ));
        }
        let given = text(response, "/uid");
        if given != uid {
            return Err(format!("expected response.uid={uid:?}, got {given:?}"));
        }
    }
    let (patch, dialect) = (text(response, "/patch"), text(response, "/patchType"));
    match (patch.is_empty(), dialect) {
        (true, "") | (false, "JSONPatch") => {}
        (false, "") if version != "v1" => {}
        (false, "") => return Err("webhook returned response.patch but not response.patchType".to_owned()),
        (true, _) => return Err("webhook returned response.patchType but not response.patch".to_owned()),
        (false, other) => return Err(format!("webhook returned invalid response.patchType of {other:?}")),
    }
    let allowed = response["allowed"].as_bool().unwrap_or(false);
    let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(Verdict {
        denied: (!allowed).then(|| response["status"].clone()),
        patch: if patch.is_empty() { None } else { Some(unpack(patch)?) },
        warnings: warnings.map(str::to_owned).collect(),
    })
}

fn unpack(patch: &str) -> Result<Value, String> {
    let bytes = STANDARD.decode(patch).map_err(|error| format!("webhook returned an unreadable patch: {error}"))?;
    let read = kinds::decode::json(&bytes, kinds::decode::MAX_DEPTH);
    read.map(|(value, _)| value).map_err(|error| format!("webhook returned an unreadable patch: {error}"))
}

/// What the client is told when a webhook refused.
pub(super) fn refusal(name: &str, status: &Value) -> ApiError {
    let denied_by = format!("admission webhook {name:?} denied the request");
    let (message, reason) = (text(status, "/message"), text(status, "/reason"));
    let told = match (message, reason) {
        ("", "") => format!("{denied_by} without explanation"),
        ("", reason) => format!("{denied_by}: {reason}"),
        (message, _) => format!("{denied_by}: {message}"),
    };
    let code =
        status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    let mut error = ApiError::new(code.unwrap_or(400), reason.to_owned(), told);
    let details = &status["details"];
    for (field, place) in [("name", &mut error.details.name), ("group", &mut error.details.group)] {
        text(details, &format!("/{field}")).clone_into(place);
    }
    text(details, "/kind").clone_into(&mut error.details.kind);
    for cause in details["causes"].as_array().into_iter().flatten() {
        error = error.with_cause(text(cause, "/reason"), text(cause, "/message"), text(cause, "/field"));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(response: Value) -> Result<Verdict, String> {
        read(
            &json!({ "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response }),
            "v1",
            "1",
        )
    }

    #[test]
    fn an_answer_must_be_about_the_question_and_clear() {
        let patch = STANDARD.encode(r#"[{"op": "remove", "path": "/a"}]"#);
        let table = [
            (json!(null), "webhook response was absent"),
            (json!({ "uid": "2", "allowed": true }), "expected response.uid=\"1\", got \"2\""),
            (
                json!({ "uid": "1", "allowed": true, "patch": patch }),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                json!({ "uid": "1", "allowed": true, "patchType": "JSONPatch" }),
                "webhook returned response.patchType but not response.patch",
            ),
            (
                json!({ "uid": "1", "allowed": true, "patch": patch, "patchType": "Merge" }),
                "webhook returned invalid response.patchType of \"Merge\"",
            ),
        ];
        for (response, why) in table {
            assert_eq!(told(response).unwrap_err(), why);
        }
        let verdict =
            told(json!({ "uid": "1", "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["w"] }));
        let patch = Some(json!([{ "op": "remove", "path": "/a" }]));
        assert_eq!(verdict, Ok(Verdict { denied: None, patch, warnings: vec!["w".to_owned()] }));
        let verdict = told(json!({ "uid": "1" })).unwrap();
        assert_eq!(verdict.denied, Some(Value::Null), "silence is no leave");
    }

    #[test]
    fn a_refusal_says_who_refused_and_keeps_what_he_said() {
        let table = [
            (Value::Null, (400, "", "admission webhook \"h\" denied the request without explanation")),
            (
                json!({ "reason": "Forbidden", "code": 403 }),
                (403, "Forbidden", "admission webhook \"h\" denied the request: Forbidden"),
            ),
            (json!({ "message": "no", "code": 200 }), (400, "", "admission webhook \"h\" denied the request: no")),
        ];
        for (status, (code, reason, message)) in table {
            let error = refusal("h", &status);
            assert_eq!((error.code, &*error.reason, error.message.as_str()), (code, reason, message));
        }
    }
}
