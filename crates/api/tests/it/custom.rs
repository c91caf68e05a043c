//! Custom resources as a client sees them: defined, served, held to their schema, changed, and gone with their definition.

use serde_json::{Value, json};

use std::sync::Arc;

use crate::support::{Reply, Server, server, server_on};

pub(crate) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const TABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

pub(crate) fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["cronSpec"], "properties": {
            "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
            "image": {"type": "string", "default": "busybox"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10},
            "policy": {"type": "string", "enum": ["Allow", "Forbid"]},
            "hosts": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "port": {"x-kubernetes-int-or-string": true},
        }},
        "status": {"type": "object", "properties": {
            "replicas": {"type": "integer"}, "labelSelector": {"type": "string"}, "phase": {"type": "string"},
        }},
    }})
}

pub(crate) fn crontabs() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema()},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.labelSelector",
                }},
                "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "description": "The cron spec", "jsonPath": ".spec.cronSpec"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.policy"}],
            }],
        },
    })
}

pub(crate) fn tab(name: &str) -> Value {
    json!({
        "apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name},
        "spec": {"cronSpec": "* * * * */5", "replicas": 2},
    })
}

/// Waits until a definition has a condition with that status.
pub(crate) async fn wait_for(server: &Server, name: &str, condition: &str, status: &str) -> Value {
    let mut watch = server.watch(&format!("{CRDS}?watch=true&fieldSelector=metadata.name={name}")).await;
    loop {
        let event = watch.next().await.expect("the watch goes on");
        let conditions = event["object"]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|held| held["type"] == condition && held["status"] == status) {
            return event["object"].clone();
        }
    }
}

pub(crate) async fn define(server: &Server, definition: Value) -> Value {
    let name = definition["metadata"]["name"].as_str().expect("a name").to_owned();
    server.post(CRDS, definition).await.expect(201);
    wait_for(server, &name, "Established", "True").await
}

async fn started() -> Server {
    let server = server().await;
    define(&server, crontabs()).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_completed_and_established() {
    let server = server().await;
    let made = server.post(CRDS, crontabs()).await.expect(201);
    let nothing = json!({"kind": "", "plural": ""});
    assert_eq!(
        made.body["status"],
        json!({"acceptedNames": nothing, "conditions": null, "storedVersions": ["v1"]}),
        "a status that nobody has written yet"
    );
    let names = json!({
        "plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList",
        "shortNames": ["ct"], "categories": ["all"],
    });
    assert_eq!(made.body["spec"]["names"], names);
    assert_eq!(made.body["spec"]["conversion"], json!({"strategy": "None"}));
    let settled = wait_for(&server, "crontabs.stable.example.com", "Established", "True").await;
    assert_eq!(settled["status"]["acceptedNames"], names);
    let told: Vec<String> = settled["status"]["conditions"]
        .as_array()
        .expect("conditions")
        .iter()
        .map(|held| format!("{} {} {} {}", held["type"], held["status"], held["reason"], held["message"]))
        .collect();
    let expected = [
        r#""NamesAccepted" "True" "NoConflicts" "no conflicts found""#,
        r#""Established" "True" "InitialNamesAccepted" "the initial names have been accepted""#,
    ];
    assert_eq!(told, expected);
    let found = server.get("/apis/stable.example.com/v1").await.expect(200);
    let resources: Vec<&str> =
        found.body["resources"].as_array().expect("resources").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(resources, ["crontabs", "crontabs/scale", "crontabs/status"]);
    assert_eq!(server.get("/apis/stable.example.com").await.expect(200).at("/preferredVersion/version"), "v1");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_pruned_defaulted_and_kept() {
    let server = started().await;
    let mut object = tab("a");
    object["spec"]["unknown"] = json!(1);
    object["spec"]["free"] = json!({"any": {"thing": [1]}});
    object["status"] = json!({"phase": "no"});
    object["metadata"]["generation"] = json!(7);
    let made = server.post(TABS, object).await.expect(201);
    assert_eq!(made.warnings(), ["299 - \"unknown field \\\"spec.unknown\\\"\""]);
    let spec = json!({
        "cronSpec": "* * * * */5", "replicas": 2, "image": "busybox", "free": {"any": {"thing": [1]}},
    });
    assert_eq!(made.body["spec"], spec);
    assert_eq!(made.body["metadata"]["generation"], 1);
    assert!(made.body.get("status").is_none(), "{}", made.text);
    let read = server.get(&format!("{TABS}/a")).await.expect(200);
    assert_eq!(read.body, made.body);
    let path = format!("{TABS}?fieldValidation=Strict");
    let strict = server.post(
        &path,
        json!({
            "apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "b", "nope": 1},
            "spec": {"cronSpec": "* * * * */5", "unknown": 1},
        }),
    );
    let strict = strict.await.expect(400);
    assert!(
        strict
            .at("/message")
            .ends_with("strict decoding error: unknown field \"metadata.nope\", unknown field \"spec.unknown\""),
        "{}",
        strict.text
    );
}

fn causes(reply: &Reply) -> Vec<String> {
    let causes = reply.body["details"]["causes"].as_array().cloned().unwrap_or_default();
    let text = |cause: &Value, name: &str| cause[name].as_str().unwrap_or_default().to_owned();
    causes.iter().map(|cause| format!("{}: {}", text(cause, "field"), text(cause, "message"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_are_refused_in_upstreams_words() {
    let server = started().await;
    for (path, value, expected) in [
        (
            "replicas",
            json!("3"),
            r#"spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#,
        ),
        (
            "replicas",
            json!(0),
            "spec.replicas: Invalid value: 0: spec.replicas in body should be greater than or equal to 1",
        ),
        (
            "replicas",
            json!(11),
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        ),
        ("policy", json!("Maybe"), r#"spec.policy: Unsupported value: "Maybe": supported values: "Allow", "Forbid""#),
        ("hosts", json!(["a", "b", "a"]), r#"spec.hosts[2]: Duplicate value: "a""#),
        (
            "port",
            json!(true),
            r#"spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#,
        ),
        (
            "cronSpec",
            json!("now"),
            r#"spec.cronSpec: Invalid value: "now": spec.cronSpec in body should match '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'"#,
        ),
    ] {
        let mut object = tab("a");
        object["spec"][path] = value;
        let reply = server.post(TABS, object).await.expect(422);
        assert_eq!(causes(&reply)[0], expected);
    }
    let mut object = tab("a");
    object["spec"].as_object_mut().expect("a spec").remove("cronSpec");
    let reply = server.post(TABS, object).await.expect(422);
    assert_eq!(reply.at("/message"), "CronTab.stable.example.com \"a\" is invalid: spec.cronSpec: Required value");
    // what was wrong before the schema said so may stay as it is
    let mut object = tab("old");
    object["spec"]["hosts"] = json!(["a"]);
    server.post(TABS, object).await.expect(201);
    let mut strict = crontabs();
    strict["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["hosts"]["maxItems"] =
        json!(0);
    let held = server.get(&format!("{CRDS}/crontabs.stable.example.com")).await.expect(200);
    strict["metadata"]["resourceVersion"] = json!(held.version());
    server.put(&format!("{CRDS}/crontabs.stable.example.com"), strict).await.expect(200);
    let path = format!("{TABS}/old");
    crate::support::eventually(async || server.merge(&path, json!({"spec": {"hosts": ["a", "b"]}})).await.code == 422)
        .await;
    server.merge(&path, json!({"spec": {"replicas": 5}})).await.expect(200);
    let refused = server.merge(&path, json!({"spec": {"hosts": ["b"]}})).await.expect(422);
    assert_eq!(causes(&refused), ["spec.hosts: Too many: 1: must have at most 0 items"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_are_written_apart_from_the_rest() {
    let server = started().await;
    server.post(TABS, tab("a")).await.expect(201);
    let path = format!("{TABS}/a");
    let main = server.merge(&path, json!({"spec": {"replicas": 3}, "status": {"phase": "x"}})).await.expect(200);
    assert_eq!((main.body["metadata"]["generation"].clone(), main.body.get("status")), (json!(2), None));
    let patch = json!({"spec": {"replicas": 9}, "status": {"replicas": 2, "labelSelector": "a=b"}, "metadata": {"labels": {"x": "y"}}});
    let status = server.merge(&format!("{path}/status"), patch).await.expect(200);
    assert_eq!(status.body["spec"]["replicas"], 3);
    assert_eq!(status.body["metadata"]["generation"], 2);
    assert!(status.body["metadata"].get("labels").is_none());
    let scale = server.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!(scale.body["spec"], json!({"replicas": 3}));
    assert_eq!(scale.body["status"], json!({"replicas": 2, "selector": "a=b"}));
    let scaled = server.merge(&format!("{path}/scale"), json!({"spec": {"replicas": 4}})).await.expect(200);
    assert_eq!((scaled.at("/kind"), scaled.body["spec"]["replicas"].clone()), ("Scale", json!(4)));
    assert_eq!(server.get(&path).await.body["spec"]["replicas"], 4);
    let bad = server.merge(&format!("{path}/status"), json!({"status": {"replicas": "x"}})).await.expect(422);
    assert!(bad.at("/message").contains(": replicas in body must be of type integer"), "{}", bad.text);
    server.patch(&path, "strategic-merge-patch+json", json!({})).await.expect(415);
    let patch = json!([{"op": "replace", "path": "/spec/image", "value": "x"}]);
    assert_eq!(server.patch(&path, "json-patch+json", patch).await.expect(200).body["spec"]["image"], "x");
    let mut whole = tab("a");
    whole["spec"]["image"] = json!("y");
    let blind = server.put(&path, whole).await.expect(422);
    assert_eq!(causes(&blind), ["metadata.resourceVersion: Invalid value: 0: must be specified for an update"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_listed_watched_selected_and_printed() {
    let server = started().await;
    let mut watch = server.watch(&format!("{TABS}?watch=true")).await;
    for (name, policy) in [("a", "Allow"), ("b", "Forbid")] {
        let mut object = tab(name);
        object["spec"]["policy"] = json!(policy);
        server.post(TABS, object).await.expect(201);
    }
    assert_eq!(watch.names(2).await, ["ADDED a", "ADDED b"]);
    let list = server.get("/apis/stable.example.com/v1/crontabs").await.expect(200);
    assert_eq!((list.at("/kind"), list.body["items"].as_array().map(Vec::len)), ("CronTabList", Some(2)));
    let picked = server.get(&format!("{TABS}?fieldSelector=spec.policy=Forbid")).await.expect(200);
    assert_eq!(picked.at("/items/0/metadata/name"), "b");
    let refused = server.get(&format!("{TABS}?fieldSelector=spec.image=x")).await.expect(400);
    assert!(refused.at("/message").contains("field label not supported: spec.image"), "{}", refused.text);
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = server.call(&format!("GET {TABS}/a"), &accept, "").await.expect(200);
    let columns: Vec<&str> = table.body["columnDefinitions"]
        .as_array()
        .expect("columns")
        .iter()
        .filter_map(|column| column["name"].as_str())
        .collect();
    assert_eq!(columns, ["Name", "Spec", "Replicas", "Age"]);
    assert_eq!(
        table.body["rows"][0]["cells"].as_array().map(|cells| cells[..3].to_vec()),
        Some(vec![json!("a"), json!("* * * * */5"), json!(2)])
    );
    server.delete(TABS, Value::Null).await.expect(200);
    assert_eq!(watch.names(2).await, ["DELETED a", "DELETED b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_when_its_objects_are_gone() {
    let server = started().await;
    let mut held = tab("held");
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    server.post(TABS, held).await.expect(201);
    server.post(TABS, tab("free")).await.expect(201);
    let mut watch = server.watch(&format!("{TABS}?watch=true")).await;
    watch.names(2).await;
    let marked = server.delete(&format!("{CRDS}/crontabs.stable.example.com"), Value::Null).await.expect(200);
    assert_eq!(marked.body["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let told = watch.names(2).await;
    assert!(told.contains(&"DELETED free".to_owned()) && told.contains(&"MODIFIED held".to_owned()), "{told:?}");
    let refused = server.post(TABS, tab("late")).await.expect(403);
    assert_eq!(
        refused.at("/message"),
        "crontabs.stable.example.com \"late\" is forbidden: create not allowed while custom resource definition is terminating"
    );
    let mut definitions = server.watch(&format!("{CRDS}?watch=true")).await;
    server.merge(&format!("{TABS}/held"), json!({"metadata": {"finalizers": null}})).await.expect(200);
    let last = loop {
        let event = definitions.next().await.expect("an event");
        if event["type"] == "DELETED" {
            break event["object"].clone();
        }
    };
    let conditions = last["status"]["conditions"].as_array().expect("conditions");
    let ended = conditions.iter().find(|held| held["type"] == "Terminating").expect("a condition");
    assert_eq!(ended["reason"], "InstanceDeletionCompleted");
    while watch.next().await.is_some() {}
    crate::support::eventually(async || server.get(TABS).await.code == 404).await;
    assert_eq!(server.get("/apis/stable.example.com").await.code, 404);
    // the same names are free again
    define(&server, crontabs()).await;
    assert_eq!(server.get(TABS).await.expect(200).body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_are_refused_until_they_are_free() {
    let server = started().await;
    let mut second = crontabs();
    second["metadata"]["name"] = json!("others.stable.example.com");
    second["spec"]["names"] = json!({"plural": "others", "kind": "Other", "shortNames": ["ct"]});
    server.post(CRDS, second).await.expect(201);
    let refused = wait_for(&server, "others.stable.example.com", "NamesAccepted", "False").await;
    assert_eq!(refused["status"]["conditions"][0]["message"], "\"ct\" is already in use");
    assert_eq!(server.get("/apis/stable.example.com/v1/namespaces/default/others").await.code, 404);
    server.delete(&format!("{CRDS}/crontabs.stable.example.com"), Value::Null).await.expect(200);
    wait_for(&server, "others.stable.example.com", "Established", "True").await;
    server.get("/apis/stable.example.com/v1/namespaces/default/others").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_become_one_another_and_what_is_stored_follows() {
    let server = server().await;
    let mut definition = crontabs();
    let mut second = definition["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["extra"] =
        json!({"type": "string", "default": "new"});
    definition["spec"]["versions"].as_array_mut().expect("versions").push(second);
    let made = define(&server, definition.clone()).await;
    server.post(TABS, tab("a")).await.expect(201);
    let second = TABS.replace("/v1/", "/v2/");
    let read = server.get(&format!("{second}/a")).await.expect(200);
    assert_eq!(read.at("/apiVersion"), "stable.example.com/v2");
    assert!(read.body["spec"].get("extra").is_none(), "conversion adds no defaults of the target: {}", read.text);
    let patched = server.merge(&format!("{second}/a"), json!({"spec": {"extra": "x"}})).await.expect(200);
    assert_eq!(patched.at("/spec/extra"), "", "v1 is stored, and knows no such field");
    // from now on v2 is stored, and v1 is remembered
    let mut next = made;
    next["spec"]["versions"][0]["storage"] = json!(false);
    next["spec"]["versions"][1]["storage"] = json!(true);
    let path = format!("{CRDS}/crontabs.stable.example.com");
    let changed = server.put(&path, next.clone()).await.expect(200);
    assert_eq!(changed.body["status"]["storedVersions"], json!(["v1", "v2"]));
    crate::support::eventually(async || {
        server.merge(&format!("{second}/a"), json!({"spec": {"extra": "y"}})).await.at("/spec/extra") == "y"
            && server.get(&format!("{second}/a")).await.at("/spec/extra") == "y"
    })
    .await;
    let mut watch = server.watch(&format!("{TABS}?watch=true")).await;
    assert_eq!(watch.next().await.expect("an event")["object"]["apiVersion"], "stable.example.com/v1");
    let version = server.get(&path).await.version().to_owned();
    let mut without = next;
    without["metadata"]["resourceVersion"] = json!(version);
    without["spec"]["versions"].as_array_mut().expect("versions").remove(0);
    let refused = server.put(&path, without).await.expect(422);
    assert!(refused.at("/message").contains("missing from spec.versions; v1 was previously a storage version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deprecated_version_warns() {
    let server = server().await;
    let mut definition = crontabs();
    definition["spec"]["versions"][0]["deprecated"] = json!(true);
    define(&server, definition).await;
    let list = server.get(TABS).await.expect(200);
    assert_eq!(list.warnings(), ["299 - \"stable.example.com/v1 CronTab is deprecated\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_are_wrong_are_refused_in_upstreams_words() {
    let server = server().await;
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 9] = [
        (
            |it| it["metadata"]["name"] = json!("x.stable.example.com"),
            r#"metadata.name: Invalid value: "x.stable.example.com": must be spec.names.plural+"."+spec.group"#,
        ),
        (
            |it| it["spec"]["scope"] = json!("Everywhere"),
            r#"spec.scope: Unsupported value: "Everywhere": supported values: "Cluster", "Namespaced""#,
        ),
        (
            |it| it["spec"]["versions"][0]["storage"] = json!(false),
            "must have exactly one version marked as storage version",
        ),
        (
            |it| drop(it["spec"]["versions"][0].as_object_mut().map(|version| version.remove("schema"))),
            "spec.versions[0].schema.openAPIV3Schema: Required value",
        ),
        (
            |it| {
                it["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["x"] =
                    json!({})
            },
            "spec.validation.openAPIV3Schema.properties[spec].properties[x].type: Required value: must not be empty for specified object fields",
        ),
        (
            |it| {
                it["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["replicas"]
                    ["default"] = json!("x")
            },
            r#"spec.validation.openAPIV3Schema.properties[spec].properties[replicas].default: Invalid value: "string":  in body must be of type integer: "string""#,
        ),
        (
            |it| {
                it["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["hosts"]["items"]
                    ["pattern"] = json!("(")
            },
            "must be a valid regular expression, but isn't: error parsing regexp: missing closing ): `(`",
        ),
        (
            |it| it["spec"]["versions"][0]["additionalPrinterColumns"][0]["type"] = json!("text"),
            r#"spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,number,string"#,
        ),
        (
            |it| it["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".spec.nope"}]),
            r#"spec.selectableFields[0].jsonPath: Invalid value: ".spec.nope": is an invalid path: does not refer to a valid field"#,
        ),
    ];
    for (change, expected) in cases {
        let mut definition = crontabs();
        change(&mut definition);
        let reply = server.post(CRDS, definition).await.expect(422);
        assert!(reply.at("/message").contains(expected), "{expected}\n{}", reply.at("/message"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_knows_its_kinds_before_it_is_ready() {
    let store: Arc<dyn store::Store> =
        Arc::new(store::in_memory(store::Options::new(api::stamp)).expect("a store in memory"));
    let first = server_on(store.clone()).await;
    define(&first, crontabs()).await;
    first.post(TABS, tab("a")).await.expect(201);
    drop(first);
    let second = server_on(store).await;
    let read = second.get(&format!("{TABS}/a")).await.expect(200);
    assert_eq!(read.at("/spec/image"), "busybox");
    second.merge(&format!("{TABS}/a"), json!({"spec": {"replicas": 7}})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_follow_a_changed_schema_without_being_written() {
    let server = started().await;
    let mut object = tab("a");
    object["spec"]["free"] = json!({"x": 1});
    server.post(TABS, object).await.expect(201);
    let path = format!("{CRDS}/crontabs.stable.example.com");
    let mut next = server.get(&path).await.expect(200).body;
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let properties = next.pointer_mut(properties).and_then(Value::as_object_mut).expect("properties");
    properties.insert("extra".to_owned(), json!({"type": "string", "default": "new"}));
    properties.remove("free");
    let mut watch = server.watch(&format!("{TABS}?watch=true")).await;
    watch.names(1).await;
    server.put(&path, next).await.expect(200);
    assert!(watch.next().await.is_none(), "whoever watches is told to look again");
    crate::support::eventually(async || server.get(&format!("{TABS}/a")).await.at("/spec/extra") == "new").await;
    let read = server.get(&format!("{TABS}/a")).await;
    assert!(read.body["spec"].get("free").is_none(), "{}", read.text);
    let list = server.get(TABS).await;
    assert_eq!((list.at("/items/0/spec/extra"), list.at("/items/0/metadata/resourceVersion")), ("new", read.version()));
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_merges_lists_by_the_keys_of_the_schema() {
    let server = server().await;
    let mut definition = crontabs();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["jobs"] = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "command": {"type": "string"},
        }},
    });
    define(&server, definition).await;
    let path = format!("{TABS}/a");
    let mine = |jobs: Value| {
        let mut object = tab("a");
        object["spec"]["jobs"] = jobs;
        object
    };
    server.apply(&path, "one", mine(json!([{"name": "x", "command": "1"}]))).await.expect(201);
    let mut theirs = mine(json!([{"name": "y", "command": "2"}]));
    theirs["spec"].as_object_mut().expect("a spec").remove("replicas");
    let both = server.apply(&path, "two", theirs).await.expect(200);
    assert_eq!(both.body["spec"]["jobs"], json!([{"name": "x", "command": "1"}, {"name": "y", "command": "2"}]));
    let clash = server.apply(&path, "two", mine(json!([{"name": "x", "command": "3"}]))).await.expect(409);
    assert!(clash.at("/message").contains(".spec.jobs[name=\"x\"].command"), "{}", clash.text);
    let gone = server.apply(&path, "one", mine(json!([]))).await.expect(200);
    assert_eq!(gone.body["spec"]["jobs"], json!([{"name": "y", "command": "2"}]));
    let unknown = server.apply(&path, "one", {
        let mut object = tab("a");
        object["spec"]["nope"] = json!(1);
        object
    });
    let unknown = unknown.await;
    assert!(unknown.at("/message").contains(".spec.nope: field not declared in schema"), "{}", unknown.text);
}
