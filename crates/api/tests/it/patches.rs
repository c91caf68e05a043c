//! Patches: what is refused and how, and that every part of an object takes every patch.

use serde_json::json;

use crate::apply::{WEB, deployment, managers};
use crate::support::{MAPS, config_map, server};

/// Dialect, query, patch, and the code and message of its refusal.
const REFUSALS: [(&str, &str, &str, u16, &str); 13] = [
    (
        "json-patch+json",
        "",
        "{}",
        400,
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
    ),
    (
        "json-patch+json",
        "",
        "[1]",
        400,
        "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
    ),
    (
        "json-patch+json",
        "?fieldValidation=Ignore",
        "{}",
        400,
        "json: cannot unmarshal object into Go value of type jsonpatch.Patch",
    ),
    ("json-patch+json", "", "[{", 400, "error decoding patch: unexpected end of JSON input"),
    (
        "merge-patch+json",
        "",
        "[]",
        400,
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    (
        "strategic-merge-patch+json",
        "",
        "[]",
        400,
        "json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    (
        "strategic-merge-patch+json",
        "",
        r#"{"spec":{"template":{"spec":{"containers":[{"image":"x"}]}}}}"#,
        500,
        "map: map[image:x] does not contain declared merge key: name",
    ),
    (
        "strategic-merge-patch+json",
        "",
        r#"{"spec":{"$patch":"eat"}}"#,
        500,
        "unknown patch type: eat in map: map[$patch:eat]",
    ),
    (
        "strategic-merge-patch+json",
        "",
        r#"{"spec":{"strategy":{"$retainKeys":["type"],"rollingUpdate":{"maxSurge":1}}}}"#,
        400,
        "invalid patch format of retainKeys",
    ),
    (
        "strategic-merge-patch+json",
        "",
        r#"{"spec":{"replicas":"x"}}"#,
        422,
        " \"\" is invalid: patch: Invalid value: \"map[spec:map[replicas:x]]\": unrecognized type: int32",
    ),
    (
        "strategic-merge-patch+json",
        "?fieldValidation=Strict",
        r#"{"spec":{"foo":1}}"#,
        422,
        " \"\" is invalid: patch: Invalid value: \"map[spec:map[foo:1]]\": strict decoding error: unknown field \"spec.foo\"",
    ),
    (
        "json-patch+json",
        "",
        r#"[{"op":"test","path":"/spec/replicas","value":7}]"#,
        422,
        "the server rejected our request due to an error in our request",
    ),
    (
        "yaml",
        "",
        "{}",
        415,
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
    ),
];

#[tokio::test]
async fn an_owner_counts_once() {
    let server = server().await;
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"});
    let mut object = config_map("m");
    object["metadata"]["ownerReferences"] = json!([owner, owner]);
    let made = server.post(MAPS, object).await.expect(201);
    assert_eq!(made.body["metadata"]["ownerReferences"], json!([owner]));
    assert!(made.warnings()[0].ends_with("duplicate UID(s) observed: [u]\""), "{:?}", made.warnings());
    let patch = json!({"metadata": {"ownerReferences": [owner, owner]}});
    let patched = server.merge(&format!("{MAPS}/m"), patch).await.expect(200);
    assert!(patched.warnings()[0].contains("duplicate entries after mutating admission happens;"));
    assert_eq!(patched.version(), made.version());
}

#[tokio::test]
async fn patches_are_refused_in_upstreams_words() {
    let server = server().await;
    server.apply(WEB, "app", deployment(2)).await.expect(201);
    let before = server.get(WEB).await;
    let told = async |dialect: &str, query: &str, patch: &str, code: u16| {
        let content_type = format!("application/{dialect}");
        let headers = [("content-type", content_type.as_str())];
        server.call(&format!("PATCH {WEB}{query}"), &headers, patch.to_owned()).await.expect(code)
    };
    for (dialect, query, patch, code, message) in REFUSALS {
        let refused = told(dialect, query, patch, code).await;
        assert_eq!(refused.at("/message"), message, "{dialect} {patch}");
        assert!(code != 500 || refused.body.get("reason").is_none(), "{}", refused.text);
    }
    let made = told("merge-patch+json", "", r#"{"spec":{"replicas":"x"}}"#, 422).await;
    let message = made.at("/message");
    assert!(
        message.starts_with(" \"\" is invalid: patch: Invalid value: \"{\\\"apiVersion\\\":\\\"apps/v1\\\""),
        "{message}"
    );
    assert!(
        message
            .ends_with("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        "{message}"
    );
    assert_eq!(server.get(WEB).await.body, before.body);
    let odd =
        told("json-patch+json", "", r#"[{"op":"test","op":"test","path":"/kind","value":"Deployment","why":1}]"#, 200)
            .await;
    let warnings = odd.warnings();
    assert_eq!(
        warnings,
        [r#"299 - "json patch duplicate field \"[0].op\"""#, r#"299 - "json patch unknown field \"[0].why\"""#]
    );
    assert_eq!(odd.version(), before.version(), "a patch that changes nothing writes nothing");
}

#[tokio::test]
async fn every_part_of_an_object_takes_every_patch() {
    let server = server().await;
    server.apply(WEB, "app", deployment(2)).await.expect(201);
    for (index, (part, pointer, field)) in
        [("/status", "/status/replicas", "status"), ("/scale", "/spec/replicas", "spec")].into_iter().enumerate()
    {
        let merge = |count: u32| json!({field: {"replicas": count}});
        for (step, (dialect, patch)) in [
            ("json-patch+json", json!([{"op": "add", "path": format!("/{field}"), "value": {"replicas": 11}}])),
            ("merge-patch+json", merge(12)),
            ("strategic-merge-patch+json", merge(13)),
        ]
        .into_iter()
        .enumerate()
        {
            let patched = server.patch(&format!("{WEB}{part}"), dialect, patch).await.expect(200);
            assert_eq!(patched.body.pointer(pointer), Some(&json!(11 + step)), "{index} {dialect} {}", patched.text);
        }
        let bad = server.patch(&format!("{WEB}{part}"), "merge-patch+json", json!({field: {"replicas": "x"}})).await;
        bad.expect(422);
    }
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.post(pods, pod).await.expect(201);
    let debug = json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "x"}]}});
    let path = format!("{pods}/p/ephemeralcontainers?fieldManager=kubectl-debug");
    let patched = server.patch(&path, "strategic-merge-patch+json", debug).await.expect(200);
    assert!(
        managers(&patched.body).contains(&"kubectl-debug Update/ephemeralcontainers".to_owned()),
        "{}",
        patched.text
    );
}
