//! Every served row does the same things the same way.

use std::sync::Arc;

use kinds::Kind;
use serde_json::{Value, json};

use crate::form::{Form, Frames, Speaker};
use crate::support::{Reply, server, server_with};

/// The least that is valid for a kind, under the name `row.example.com` unless it must have another.
pub(crate) fn least(kind: &Kind) -> Value {
    let table: Value = serde_json::from_str(include_str!("least.json")).expect("a table");
    let (group, plural) = (&kind.group, &kind.plural);
    let names = [format!("{plural}.{}.{group}", kind.version), format!("{plural}.{group}"), plural.clone()];
    let mut object = names.iter().find_map(|name| table.get(name)).cloned().unwrap_or_else(|| json!({}));
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = json!("row.example.com");
    }
    object
}

pub(crate) fn collection(kind: &Kind) -> String {
    let root = match kind.group.as_str() {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    let scope = if kind.namespaced { "/namespaces/default" } else { "" };
    format!("{root}{scope}/{}", kind.plural)
}

/// The life of one object in one form; an error names the step that went wrong.
async fn live(api: &Speaker<'_>, kind: &Kind) -> Result<(), String> {
    let (collection, mut object) = (collection(kind), least(kind));
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let path = format!("{collection}/{name}");
    let step = |what: &str, reply: &Reply, code: u16| expect(what, &path, reply, code);
    let mut events = api.watch(&format!("{collection}?watch=true&fieldSelector=metadata.name={name}")).await;
    let made = api.post(&collection, &object).await;
    step("create", &made, 201)?;
    let again = api.post(&collection, &object).await;
    step("create again", &again, 409)?;
    let mut got = api.get(&path).await;
    let awaited = told_by_the_server(kind);
    let settles = awaited.is_some();
    while awaited.is_some_and(|condition| got.body.pointer(condition).is_none()) {
        step("get", &got, 200)?;
        got = api.get(&path).await;
    }
    step("get", &got, 200)?;
    if (got.body != made.body && !settles)
        || got.at("/kind") != kind.kind
        || got.at("/apiVersion") != kind.api_version()
    {
        return Err(format!("get {path}: {} is not what was created: {}", got.text, made.text));
    }
    let listed = api.get(&collection).await;
    step("list", &listed, 200)?;
    if listed.at("/kind") != kind.list_kind() || !shows(&listed, &got) {
        return Err(format!("list {collection}: {}", listed.text));
    }
    change(api, kind, &path, &got).await?;
    end(api, kind, &path).await?;
    told(&mut events, &name).await.map_err(|why| format!("{path}: {why}"))
}

/// Where the status stands that the server itself gives to an object of this kind after it was made.
pub(crate) fn told_by_the_server(kind: &Kind) -> Option<&'static str> {
    match kind.kind.as_str() {
        "CustomResourceDefinition" => Some("/status/conditions/1"),
        "APIService" => Some("/status/conditions/0"),
        _ => None,
    }
}

/// Items of a list in protobuf do not say their kind.
fn shows(list: &Reply, object: &Reply) -> bool {
    let mut nameless = object.body.clone();
    if let Some(fields) = nameless.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    list.body["items"].as_array().is_some_and(|items| items.contains(&object.body) || items.contains(&nameless))
}

/// Every way to change it.
async fn change(api: &Speaker<'_>, kind: &Kind, path: &str, got: &Reply) -> Result<(), String> {
    let step = |what: &str, reply: &Reply, code: u16| expect(what, path, reply, code);
    // an update that changes nothing writes nothing
    let same = api.put(path, &got.body).await;
    step("update", &same, 200)?;
    if same.version() != got.version() {
        return Err(format!("update {path} without a change: {} became {}", got.text, same.text));
    }
    let mut changed = got.body.clone();
    changed["metadata"]["labels"]["by"] = json!("update");
    let updated = api.put(path, &changed).await;
    step("update", &updated, 200)?;
    let stale = api.put(path, &got.body).await;
    step("stale update", &stale, 409)?;
    apply(api, kind, path).await?;
    let labels = |by: &str| json!({ "metadata": { "labels": { "by": by } } });
    for (dialect, patch) in [
        ("json-patch+json", json!([{ "op": "replace", "path": "/metadata/labels/by", "value": "json" }])),
        ("merge-patch+json", labels("merge")),
        ("strategic-merge-patch+json", labels("strategic")),
    ] {
        let patched = api.patch(path, dialect, &patch).await;
        step(dialect, &patched, 200)?;
        if !dialect.starts_with(patched.at("/metadata/labels/by")) {
            return Err(format!("{dialect} {path}: {}", patched.text));
        }
    }
    Ok(())
}

/// What another manager wrote is a conflict, unless it is forced; the same again writes nothing.
async fn apply(api: &Speaker<'_>, kind: &Kind, path: &str) -> Result<(), String> {
    const APPLY: &str = "apply-patch+yaml";
    let mut wanted = json!({ "apiVersion": kind.api_version(), "kind": kind.kind });
    wanted["metadata"] = json!({ "labels": { "by": "apply" } });
    let unforced = format!("{path}?fieldManager=rows");
    let conflict = api.patch(&unforced, APPLY, &wanted).await;
    expect("apply", path, &conflict, 409)?;
    if conflict.at("/details/causes/0/field") != ".metadata.labels.by" {
        return Err(format!("apply {path}: {}", conflict.text));
    }
    let forced = api.patch(&format!("{unforced}&force=true"), APPLY, &wanted).await;
    expect("forced apply", path, &forced, 200)?;
    let managers = forced.body.pointer("/metadata/managedFields").and_then(Value::as_array);
    let owned = managers.into_iter().flatten().find(|entry| entry["manager"] == "rows");
    let owned = owned.map(|entry| (&entry["operation"], &entry["fieldsV1"]));
    let expected = json!({ "f:metadata": { "f:labels": { "f:by": {} } } });
    if forced.at("/metadata/labels/by") != "apply" || owned != Some((&json!("Apply"), &expected)) {
        return Err(format!("forced apply {path}: {}", forced.text));
    }
    let again = api.patch(&unforced, APPLY, &wanted).await;
    expect("apply again", path, &again, 200)?;
    if again.version() == forced.version() {
        return Ok(());
    }
    Err(format!("apply again {path}: {} became {}", forced.text, again.text))
}

async fn end(api: &Speaker<'_>, kind: &Kind, path: &str) -> Result<(), String> {
    let deleted = api.delete(path).await;
    expect("delete", path, &deleted, 200)?;
    // the server itself lets go of a definition
    let held = "customresourcecleanup.apiextensions.k8s.io";
    while deleted.body.pointer("/metadata/finalizers/0").is_some_and(|one| one == held) {
        if api.get(path).await.code == 404 {
            return Ok(());
        }
    }
    let lets_go = deleted.body.pointer("/metadata/finalizers").is_some() || kind.plural == "namespaces";
    if lets_go {
        let finalize = if kind.plural == "namespaces" { "/finalize" } else { "" };
        let mut held = api.get(path).await.body;
        held["metadata"].as_object_mut().expect("metadata").remove("finalizers");
        held["spec"]["finalizers"] = json!([]);
        let freed = api.put(&format!("{path}{finalize}"), &held).await;
        expect("finalize", path, &freed, 200)?;
    }
    expect("get after delete", path, &api.get(path).await, 404)
}

/// A watcher saw it come, change and go, and nothing else.
async fn told(events: &mut Frames, name: &str) -> Result<(), String> {
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("DELETED") {
        let (what, object) = events.next().await.ok_or("the watch ended early")?;
        seen.push(what);
        if object.pointer("/metadata/name").and_then(Value::as_str) != Some(name) {
            return Err(format!("a foreign event: {object}"));
        }
    }
    seen.dedup();
    if seen == ["ADDED", "MODIFIED", "DELETED"] { Ok(()) } else { Err(format!("watched {seen:?}")) }
}

fn expect(what: &str, path: &str, reply: &Reply, code: u16) -> Result<(), String> {
    if reply.code == code { Ok(()) } else { Err(format!("{what} {path}: {} {}", reply.code, reply.text)) }
}

/// Every row that is served lives; with everything switched on these are all that are stored.
async fn all_live(form: Form, runtime_config: &[&str]) -> usize {
    let store = store::in_memory(store::Options::new(api::stamp)).expect("a store in memory");
    let runtime_config = runtime_config.iter().map(|&entry| entry.to_owned()).collect();
    let server = server_with(Arc::new(store), runtime_config).await;
    let speaker = Speaker { server: &server, form };
    let core = server.api.core();
    let (mut lived, mut failures) = (0, Vec::new());
    for kind in core.catalog().kinds().iter().filter(|kind| kind.persisted && core.serves(kind)) {
        match live(&speaker, kind).await {
            Ok(()) => lived += 1,
            Err(why) => failures.push(why),
        }
    }
    let (count, told) = (failures.len(), failures.join("\n"));
    assert!(failures.is_empty(), "{lived} kinds live as {form:?}, {count} do not:\n{told}");
    lived
}

#[tokio::test]
async fn every_served_kind_lives_from_create_to_delete_in_json() {
    assert!(all_live(Form::Json, &[]).await >= 60);
}

#[tokio::test]
async fn every_served_kind_lives_from_create_to_delete_in_protobuf() {
    assert!(all_live(Form::Protobuf, &[]).await >= 60);
}

#[tokio::test]
async fn every_kind_that_can_be_switched_on_lives_in_both() {
    let persisted = kinds::Catalog::builtin().kinds().iter().filter(|kind| kind.persisted).count();
    for form in [Form::Json, Form::Protobuf] {
        assert_eq!(all_live(form, &["api/all=true"]).await, persisted);
    }
}

#[tokio::test]
async fn a_kind_is_one_object_in_all_its_versions() {
    let server = server().await;
    let row = kinds::Catalog::builtin().resource("autoscaling", "v1", "horizontalpodautoscalers").expect("a row");
    let mut autoscaler = least(row);
    autoscaler["metadata"]["name"] = json!("a");
    autoscaler["spec"]["targetCPUUtilizationPercentage"] = json!(70);
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = server.post(v1, autoscaler).await.expect(201);
    let seen = server.get(&format!("{v2}/a")).await.expect(200);
    assert_eq!(
        seen.body.pointer("/spec/metrics/0/resource/target/averageUtilization"),
        Some(&json!(70)),
        "{}",
        seen.text
    );
    assert_eq!(seen.version(), made.version());
    let listed = server.get(v1).await.expect(200);
    assert_eq!(listed.body.pointer("/items/0/spec/targetCPUUtilizationPercentage"), Some(&json!(70)));
    server.merge(&format!("{v2}/a"), json!({ "spec": { "maxReplicas": 9 } })).await.expect(200);
    let back = server.get(&format!("{v1}/a")).await.expect(200);
    assert_eq!(back.body.pointer("/spec/maxReplicas"), Some(&json!(9)));
}
