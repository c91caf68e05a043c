//! Server-side apply and managedFields through the API: who owns what after which request, and what is refused.

use kinds::Kind;
use serde_json::{Value, json};

use crate::custom::{TABS, crontabs, define, tab};
use crate::support::{MAPS, Reply, Server, config_map, server};

pub(crate) const WEB: &str = "/apis/apps/v1/namespaces/default/deployments/web";

impl Server {
    pub(crate) async fn apply(&self, path: &str, manager: &str, config: Value) -> Reply {
        self.apply_text(&format!("{path}?fieldManager={manager}"), &config.to_string()).await
    }

    async fn apply_text(&self, target: &str, config: &str) -> Reply {
        let headers = [("content-type", "application/apply-patch+yaml")];
        self.call(&format!("PATCH {target}"), &headers, config.to_owned()).await
    }
}

/// `manager Operation/subresource`, one for each entry.
pub(crate) fn managers(object: &Value) -> Vec<String> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let name = |entry: &Value| {
        let subresource = text(entry, "subresource");
        let slash = if subresource.is_empty() { "" } else { "/" };
        format!("{} {}{slash}{subresource}", text(entry, "manager"), text(entry, "operation"))
    };
    entries.iter().map(name).collect()
}

fn fields<'o>(object: &'o Value, manager: &str) -> &'o Value {
    let entries = object["metadata"]["managedFields"].as_array();
    let own = entries.and_then(|entries| entries.iter().find(|entry| entry["manager"] == manager));
    own.map_or(&Value::Null, |entry| &entry["fieldsV1"])
}

pub(crate) fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1", "env": [{"name": "A", "value": "1"}]}]},
            },
        },
    })
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[tokio::test]
async fn an_apply_makes_the_object_and_again_writes_nothing() {
    let server = server().await;
    let made = server.apply(WEB, "app", deployment(2)).await.expect(201);
    assert_eq!(managers(&made.body), ["app Apply"]);
    assert_eq!(made.body["spec"]["strategy"]["type"], "RollingUpdate", "defaults are filled in");
    assert!(fields(&made.body, "app")["f:spec"].get("f:strategy").is_none(), "and belong to nobody");
    let again = server.apply(WEB, "app", deployment(2)).await.expect(200);
    assert_eq!(again.body, made.body);
    let yaml = serde_json::to_string_pretty(&deployment(3)).expect("JSON is YAML");
    let changed = server.apply_text(&format!("{WEB}?fieldManager=app"), &yaml).await.expect(200);
    assert_eq!(changed.body["metadata"]["generation"], 2);
    let mut cbor = Vec::new();
    kinds::cbor::encode(&deployment(4), &mut cbor);
    let headers = [("content-type", "application/apply-patch+cbor")];
    let changed = server.call(&format!("PATCH {WEB}?fieldManager=app"), &headers, cbor).await.expect(200);
    assert_eq!(changed.body["spec"]["replicas"], 4);
    let dry = server.apply_text(&format!("{WEB}?fieldManager=app&dryRun=All"), &deployment(9).to_string()).await;
    assert_eq!(dry.expect(200).body["spec"]["replicas"], 9);
    assert_eq!(server.get(WEB).await.version(), changed.version());
}

#[tokio::test]
async fn conflicts_name_the_owner_and_force_takes_the_field() {
    let server = server().await;
    server.apply(WEB, "app", deployment(2)).await.expect(201);
    let headers = [("content-type", "application/merge-patch+json"), ("user-agent", "kubectl/v1.36.0 (linux/amd64)")];
    let patched = server.call(&format!("PATCH {WEB}"), &headers, r#"{"spec":{"replicas":5}}"#).await.expect(200);
    assert_eq!(managers(&patched.body), ["app Apply", "kubectl Update"]);
    let refused = server.apply(WEB, "app", deployment(2)).await.expect(409);
    let message = "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas";
    assert_eq!((refused.at("/message"), refused.at("/reason")), (message, "Conflict"));
    let cause = json!({"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.replicas"});
    assert_eq!(refused.body["details"], json!({"causes": [cause]}));
    let forced = server.apply_text(&format!("{WEB}?fieldManager=app&force=true"), &deployment(2).to_string()).await;
    let forced = forced.expect(200);
    assert_eq!((managers(&forced.body), &forced.body["spec"]["replicas"]), (vec!["app Apply".to_owned()], &json!(2)));
}

#[tokio::test]
async fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let server = server().await;
    let path = format!("{MAPS}/a");
    server.apply(&path, "one", map(json!({"a": "1", "b": "1"}))).await.expect(201);
    server.apply(&path, "two", map(json!({"b": "1", "c": "1"}))).await.expect(200);
    let left = server.apply(&path, "one", map(json!({}))).await.expect(200);
    assert_eq!(left.body["data"], json!({"b": "1", "c": "1"}));
    let left = server.apply(&path, "two", json!({"apiVersion": "v1", "kind": "ConfigMap"})).await.expect(200);
    assert!(left.body.get("data").is_none(), "{}", left.text);
    let mut less = deployment(2);
    server.apply(WEB, "app", deployment(2)).await.expect(201);
    less["spec"]["template"]["spec"]["containers"][0].as_object_mut().expect("a container").remove("env");
    let left = server.apply(WEB, "app", less).await.expect(200);
    assert!(left.body.pointer("/spec/template/spec/containers/0/env").is_none(), "{}", left.text);
}

#[tokio::test]
async fn every_way_to_write_has_an_owner() {
    let server = server().await;
    let agent = |name: &'static str| ("user-agent", name);
    let json_type = ("content-type", "application/json");
    let made =
        server.call(&format!("POST {MAPS}"), &[json_type, agent("a/1")], config_map("m").to_string()).await.expect(201);
    assert_eq!(managers(&made.body), ["a Update"]);
    assert_eq!(*fields(&made.body, "a"), json!({"f:data": {".": {}, "f:a": {}}}));
    let path = format!("{MAPS}/m");
    let mut changed = made.body.clone();
    changed["data"]["b"] = json!("1");
    let put = server.call(&format!("PUT {path}?fieldManager=b"), &[json_type], changed.to_string()).await.expect(200);
    assert_eq!(managers(&put.body), ["a Update", "b Update"]);
    for (index, (dialect, patch)) in [
        ("json-patch+json", json!([{"op": "add", "path": "/data/c0", "value": "1"}])),
        ("merge-patch+json", json!({"data": {"c1": "1"}})),
        ("strategic-merge-patch+json", json!({"data": {"c2": "1"}})),
    ]
    .into_iter()
    .enumerate()
    {
        let content_type = format!("application/{dialect}");
        let manager = format!("p{index}");
        let headers = [("content-type", content_type.as_str())];
        let patched =
            server.call(&format!("PATCH {path}?fieldManager={manager}"), &headers, patch.to_string()).await.expect(200);
        assert_eq!(*fields(&patched.body, &manager), json!({"f:data": {format!("f:c{index}"): {}}}));
    }
    // a write that changes nothing changes no owner
    let before = server.get(&path).await;
    let same =
        server.call(&format!("PUT {path}?fieldManager=z"), &[json_type], before.body.to_string()).await.expect(200);
    assert_eq!(same.body, before.body);
    let unnamed = server.post(MAPS, config_map("n")).await.expect(201);
    assert_eq!(managers(&unnamed.body), ["kubernetes-admin Update"]);
}

#[tokio::test]
async fn subresources_own_their_part_and_a_binding_owns_nothing() {
    let server = server().await;
    server.apply(WEB, "app", deployment(2)).await.expect(201);
    let scaled = server
        .patch(&format!("{WEB}/scale?fieldManager=hpa"), "merge-patch+json", json!({"spec": {"replicas": 4}}))
        .await;
    assert!(scaled.expect(200).body["metadata"].get("managedFields").is_none());
    let seen = server.get(WEB).await.expect(200).body;
    assert_eq!(managers(&seen), ["app Apply", "hpa Update/scale"]);
    assert_eq!(*fields(&seen, "hpa"), json!({"f:spec": {"f:replicas": {}}}));
    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 6}});
    let refused = server.apply(&format!("{WEB}/scale"), "me", scale.clone()).await.expect(409);
    assert_eq!(
        refused.at("/message"),
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using autoscaling/v1: .spec.replicas"
    );
    server.apply_text(&format!("{WEB}/scale?fieldManager=me&force=true"), &scale.to_string()).await.expect(200);
    let seen = server.get(WEB).await.expect(200).body;
    assert_eq!(
        (managers(&seen), &seen["spec"]["replicas"]),
        (vec!["app Apply".into(), "me Apply/scale".into()], &json!(6))
    );
    let status =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "status": {"replicas": 6}});
    server.apply(&format!("{WEB}/status"), "control", status).await.expect(200);
    let seen = server.get(WEB).await.expect(200).body;
    assert_eq!(managers(&seen), ["app Apply", "control Apply/status", "me Apply/scale"]);
    assert_eq!(*fields(&seen, "control"), json!({"f:status": {"f:replicas": {}}}));
    let missing = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "gone"}, "status": {}});
    server.apply(&WEB.replace("web", "gone/status"), "control", missing).await.expect(404);

    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = server.post(pods, pod).await.expect(201);
    let owned = fields(&made.body, "kubernetes-admin").to_string();
    assert!(!owned.contains("f:volumes") && !owned.contains("f:tolerations"), "admission adds for nobody: {owned}");
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    server.post(&format!("{pods}/p/binding?fieldManager=scheduler"), binding).await.expect(201);
    assert_eq!(managers(&server.get(&format!("{pods}/p")).await.body), ["kubernetes-admin Update"]);
}

#[tokio::test]
async fn a_bad_apply_is_refused_as_upstream_does() {
    let server = server().await;
    let path = format!("{MAPS}/a");
    let refused = server.apply_text(&path, &map(json!({})).to_string()).await.expect(422);
    assert_eq!(
        refused.at("/message"),
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let forced = server.patch(&format!("{path}?force=true"), "merge-patch+json", json!({})).await.expect(422);
    assert!(forced.at("/message").contains("force: Forbidden: may not be specified for non-apply patch"));
    let told = async |config: Value, code: u16| {
        let refused = server.apply(&path, "m", config).await.expect(code);
        assert!(code != 500 || refused.body.get("reason").is_none(), "{}", refused.text);
        refused.at("/message").to_owned()
    };
    let mut config = map(json!({}));
    config["metadata"]["managedFields"] = json!([{}]);
    assert_eq!(told(config, 400).await, "metadata.managedFields must be nil");
    let mut config = map(json!({}));
    config["kind"] = json!("Secret");
    assert_eq!(told(config, 400).await, "invalid object type: /v1, Kind=Secret");
    let mut config = map(json!({}));
    config["metadata"]["uid"] = json!("u");
    let why = "uid mismatch: the provided object specified uid u, and no existing object was found";
    assert_eq!(told(config, 409).await, format!("Operation cannot be fulfilled on configmaps \"a\": {why}"));
    let mut config = map(json!({}));
    config["metadata"]["name"] = json!("b");
    told(config, 400).await;
    let mut config = map(json!({}));
    config["metadata"]["namespace"] = json!("other");
    told(config, 400).await;
    let what = "failed to create typed patch object (/a; /v1, Kind=ConfigMap): ";
    assert_eq!(
        told(map(json!({"a": 1})), 500).await,
        format!("{what}.data.a: expected string, got &value.valueUnstructured{{Value:1}}")
    );
    let mut config = map(json!({}));
    config["datum"] = json!({});
    assert_eq!(told(config, 500).await, format!("{what}.datum: field not declared in schema"));
    server.get(&path).await.expect(404);
    let bad = server.apply_text(&format!("{path}?fieldManager=m"), "a: [").await.expect(400);
    assert!(bad.at("/message").starts_with("error decoding YAML: "), "{}", bad.text);
    let list = server.apply_text(&format!("{path}?fieldManager=m"), "[]").await.expect(400);
    let why = "error decoding YAML: json: cannot unmarshal array into Go value of type map[string]interface {}";
    assert_eq!(list.at("/message"), why);
    let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: '1'\n  a: '2'\n";
    let strict = server.apply_text(&format!("{path}?fieldManager=m&fieldValidation=Strict"), twice).await.expect(400);
    assert!(strict.at("/message").contains("line 6: key \"a\" already set in map"), "{}", strict.text);
    let warned = server.apply_text(&format!("{path}?fieldManager=m"), twice).await.expect(201);
    assert_eq!(warned.warnings().len(), 1);
    assert_eq!(warned.body["data"]["a"], "2");
}

#[tokio::test]
async fn an_apply_may_name_the_version_it_is_meant_for() {
    let server = server().await;
    let path = format!("{MAPS}/a");
    let made = server.apply(&path, "m", map(json!({"a": "1"}))).await.expect(201);
    let mut config = map(json!({"a": "2"}));
    config["metadata"]["resourceVersion"] = json!(made.version());
    let changed = server.apply(&path, "m", config.clone()).await.expect(200);
    config["data"]["a"] = json!("3");
    let stale = server.apply(&path, "m", config.clone()).await.expect(409);
    assert!(stale.at("/message").contains("the object has been modified"), "{}", stale.text);
    config["metadata"] = json!({"name": "a", "uid": changed.at("/metadata/uid")});
    server.apply(&path, "m", config.clone()).await.expect(200);
    config["metadata"]["uid"] = json!("other");
    config["data"]["a"] = json!("4");
    server.apply(&path, "m", config).await.expect(409);
}

#[tokio::test]
async fn managed_fields_are_reset_by_an_empty_list() {
    let server = server().await;
    let path = format!("{MAPS}/a");
    for reset in [json!([]), json!([{}])] {
        server.apply(&path, "m", map(json!({"a": "1"}))).await;
        let cleared = server.merge(&path, json!({"metadata": {"managedFields": reset}})).await.expect(200);
        assert!(cleared.body["metadata"].get("managedFields").is_none(), "{}", cleared.text);
    }
    let told = server.apply(&path, "n", map(json!({"a": "2"}))).await.expect(409);
    assert!(told.at("/message").contains("\"before-first-apply\" using v1: .data.a"), "{}", told.text);
    let bad = json!([{"manager": "x", "operation": "Update"}]);
    let ignored = server.merge(&path, json!({"metadata": {"managedFields": bad}})).await.expect(200);
    assert!(ignored.body["metadata"].get("managedFields").is_none(), "{}", ignored.text);
}

/// An applied label of every kind: made, again, taken by another, given up.
async fn applied(server: &Server, kind: &Kind) -> Result<(), String> {
    let (collection, object) = (crate::rows::collection(kind), crate::rows::least(kind));
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let path = format!("{collection}/{name}");
    let labelled = |label: Option<&str>| {
        let mut config = object.clone();
        config["apiVersion"] = json!(kind.api_version());
        config["kind"] = json!(kind.kind);
        if let Some(label) = label {
            config["metadata"]["labels"]["by"] = json!(label);
        }
        config
    };
    let step = |what: &str, reply: Reply, code: u16| {
        if reply.code == code { Ok(reply) } else { Err(format!("{what} {path}: {} {}", reply.code, reply.text)) }
    };
    let mut made = step("apply", server.apply(&path, "one", labelled(Some("x"))).await, 201)?;
    let told = crate::rows::told_by_the_server(kind);
    while told.is_some_and(|condition| made.body.pointer(condition).is_none()) {
        made = step("get", server.get(&path).await, 200)?;
    }
    let again = step("apply again", server.apply(&path, "one", labelled(Some("x"))).await, 200)?;
    if again.version() != made.version() || again.body != made.body {
        return Err(format!("apply {path} again: {} became {}", made.text, again.text));
    }
    step("apply as another", server.apply(&path, "two", labelled(Some("y"))).await, 409)?;
    let target = format!("{path}?fieldManager=two&force=true");
    let forced = step("force", server.apply_text(&target, &labelled(Some("y")).to_string()).await, 200)?;
    if forced.body["metadata"]["labels"]["by"] != "y" {
        return Err(format!("force {path}: {}", forced.text));
    }
    let left = step("give up", server.apply(&path, "two", labelled(None)).await, 200)?;
    if left.body.pointer("/metadata/labels/by").is_some() {
        return Err(format!("give up {path}: {}", left.text));
    }
    // other versions of the kind use the same name
    step("delete", server.delete(&path, Value::Null).await, 200).map(drop)
}

#[tokio::test]
async fn every_served_kind_can_be_applied() {
    let server = server().await;
    let mut failures = Vec::new();
    let rows = kinds::Catalog::builtin().kinds();
    for kind in rows.iter().filter(|kind| kind.served && kind.persisted && kind.allows("patch")) {
        failures.extend(applied(&server, kind).await.err());
    }
    assert!(failures.is_empty(), "{} kinds cannot be applied:\n{}", failures.len(), failures.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scale_of_a_custom_resource_has_owners_where_its_replicas_are() {
    let server = server().await;
    let mut definition = crontabs();
    let version = &mut definition["spec"]["versions"][0];
    version["subresources"]["scale"]["specReplicasPath"] = json!(".spec.size.wanted");
    let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec["size"] = json!({"type": "object", "properties": {"wanted": {"type": "integer"}}});
    spec["bag"] = json!({"type": "object"});
    define(&server, definition).await;
    let path = format!("{TABS}/t");
    let mut config = tab("t");
    config["spec"] = json!({"cronSpec": "* * * * *", "size": {"wanted": 2}, "free": {"a": [1]}});
    let made = server.apply(&path, "app", config.clone()).await.expect(201);
    let owned = json!({"f:cronSpec": {}, "f:free": {"f:a": {}}, "f:size": {"f:wanted": {}}});
    assert_eq!(*fields(&made.body, "app"), json!({"f:spec": owned}));
    let scale = json!({"spec": {"replicas": 5}});
    server.patch(&format!("{path}/scale?fieldManager=hpa"), "merge-patch+json", scale).await.expect(200);
    let seen = server.get(&path).await.body;
    assert_eq!(*fields(&seen, "hpa"), json!({"f:spec": {"f:size": {"f:wanted": {}}}}));
    assert_eq!(*fields(&seen, "app"), json!({"f:spec": {"f:cronSpec": {}, "f:free": {"f:a": {}}}}));
    let told = server.apply(&path, "app", config).await.expect(409);
    let message = "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using stable.example.com/v1: .spec.size.wanted";
    assert_eq!(told.at("/message"), message);
}

#[tokio::test]
async fn an_apply_warns_as_any_write_does() {
    let server = server().await;
    let mut config = deployment(1);
    config["spec"]["template"]["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    let told = "299 - \"spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \
                \\\"kubernetes.io/os\\\" instead\"";
    assert_eq!(server.apply(WEB, "app", config.clone()).await.expect(201).warnings(), [told]);
    assert!(server.apply(WEB, "app", config.clone()).await.expect(200).warnings().is_empty(), "nothing changed");
    config["spec"]["replicas"] = json!(2);
    assert_eq!(server.apply(WEB, "app", config).await.expect(200).warnings(), [told]);
    let pair = json!({"tls.crt": "", "tls.key": ""});
    let secret = json!({"metadata": {"name": "s"}, "type": "kubernetes.io/tls", "data": pair});
    let made = server.post("/api/v1/namespaces/default/secrets", secret).await.expect(201);
    assert_eq!(made.warnings(), [r#"299 - "tls: failed to find any PEM data in certificate input""#]);
}

#[tokio::test]
async fn what_is_too_large_gives_up_the_record_of_its_owners_first() {
    let server = server().await;
    let path = format!("{MAPS}/large");
    let named = |count: u32| {
        let data = (0..count).map(|number| (format!("{number:a>99}"), json!("")));
        let mut config = map(data.collect::<serde_json::Map<_, _>>().into());
        config["metadata"]["name"] = json!("large");
        config
    };
    let made = server.post(MAPS, named(8_000)).await.expect(201);
    assert_eq!(made.body["data"].as_object().map(serde_json::Map::len), Some(8_000));
    assert_eq!(made.body["metadata"].get("managedFields"), None);
    server.delete(&path, Value::Null).await.expect(200);
    let refused = server.apply(&path, "app", named(8_000)).await.expect(500);
    assert_eq!((refused.at("/reason"), refused.at("/message")), ("", "etcdserver: request is too large"));
    let refused = server.post(MAPS, named(20_000)).await.expect(500);
    assert_eq!(refused.at("/message"), "etcdserver: request is too large");
    let small = server.apply(&path, "app", named(80)).await.expect(201);
    assert_eq!(managers(&small.body), ["app Apply"]);
}

#[tokio::test]
async fn keys_of_owned_items_go_by_the_size_of_their_numbers() {
    let server = server().await;
    let ports = json!([{"name": "a", "port": 443}, {"name": "b", "port": 80}, {"name": "c", "port": 8080}]);
    let config = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}});
    let path = "/api/v1/namespaces/default/services/s";
    server.apply(path, "app", config).await.expect(201);
    let text = server.get(path).await.expect(200).text;
    let place = |port: u32| text.find(&format!(r#""k:{{\"port\":{port},"#)).expect("an owned port");
    assert!(place(80) < place(443) && place(443) < place(8080), "{text}");
}
