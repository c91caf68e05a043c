//! What upstream is known to record and answer, scene by scene.

use serde_json::{Value, json};

use super::*;
use crate::{Catalog, default};

const NOW: &str = "2026-01-02T03:04:05Z";
const LATER: &str = "2026-01-02T04:00:00Z";

/// One object and what managers do to it, defaults included.
struct Scene {
    kind: Arc<Kind>,
    object: Value,
    now: &'static str,
}

impl Scene {
    fn of(api_version: &str, kind: &str) -> Self {
        let kind = Catalog::builtin().by_api_version(api_version, kind).unwrap().clone();
        Self { kind, object: Value::Null, now: NOW }
    }

    fn deployment() -> Self {
        Self::of("apps/v1", "Deployment")
    }

    /// A write of the whole object, or of the part below a subresource.
    fn write(&mut self, manager: &str, subresource: &str, mut object: Value) {
        let version = self.kind.api_version();
        object["apiVersion"] = json!(version);
        object["kind"] = json!(self.kind.kind);
        let given = detach(&mut object);
        default(&self.kind, &mut object);
        let scope = Scope::new(Catalog::builtin(), &self.kind, &version, subresource);
        update(&scope, &self.object, &mut object, given, manager, self.now);
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!("1");
        }
        forget_times(&mut object, &self.object);
        self.object = object;
    }

    fn change(&mut self, manager: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.object.clone();
        change(&mut object);
        self.write(manager, "", object);
    }

    fn apply(&mut self, manager: &str, config: Value) -> Result<(), String> {
        self.apply_with(manager, config, false)
    }

    fn apply_with(&mut self, manager: &str, mut config: Value, force: bool) -> Result<(), String> {
        let version = self.kind.api_version();
        for (name, value) in [("apiVersion", &version), ("kind", &self.kind.kind)] {
            if config.get(name).is_none() {
                config[name] = json!(value);
            }
        }
        if self.object.is_null() {
            self.object = json!({"apiVersion": version, "kind": self.kind.kind});
        }
        let scope = Scope::new(Catalog::builtin(), &self.kind, &version, "");
        let application = Application { config: &config, manager, force, now: self.now };
        let mut new = super::apply(&scope, &self.object, &application).map_err(|error| error.to_string())?;
        default(&self.kind, &mut new);
        if new["metadata"]["uid"].is_null() {
            new["metadata"]["uid"] = json!("1");
        }
        forget_times(&mut new, &self.object);
        self.object = new;
        Ok(())
    }

    /// `manager operation version subresource: fields`, one line for each entry.
    fn owners(&self) -> Vec<String> {
        let entries = held(&self.object).as_array().cloned().unwrap_or_default();
        let show = |entry: &Value| {
            let word = |name: &str| text(entry, name).to_owned();
            let subresource =
                if word("subresource").is_empty() { String::new() } else { format!("/{}", word("subresource")) };
            format!(
                "{} {}{subresource} {}: {}",
                word("manager"),
                word("operation"),
                word("apiVersion"),
                entry["fieldsV1"]
            )
        };
        entries.iter().map(show).collect()
    }
}

fn nginx() -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:1", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

#[test]
fn a_created_deployment_is_owned_as_upstream_records_it() {
    let mut scene = Scene::deployment();
    scene.write("kubectl-create", "", nginx());
    let fields = r#"{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:progressDeadlineSeconds":{},"f:replicas":{},"f:revisionHistoryLimit":{},"f:selector":{},"f:strategy":{"f:rollingUpdate":{".":{},"f:maxSurge":{},"f:maxUnavailable":{}},"f:type":{}},"f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"nginx\"}":{".":{},"f:image":{},"f:imagePullPolicy":{},"f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},"f:resources":{},"f:terminationMessagePath":{},"f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"f:terminationGracePeriodSeconds":{}}}}}"#;
    assert_eq!(scene.owners(), [format!("kubectl-create Update apps/v1: {fields}")]);
    let entry = &held(&scene.object)[0];
    assert_eq!((text(entry, "time"), text(entry, "fieldsType")), (NOW, "FieldsV1"));
}

#[test]
fn a_status_write_owns_status_and_what_may_go_with_it() {
    let mut scene = Scene::deployment();
    scene.write("kubectl-create", "", nginx());
    let before = scene.owners();
    let mut object = scene.object.clone();
    object["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "1"});
    object["metadata"]["labels"]["app"] = json!("other");
    object["spec"]["replicas"] = json!(9);
    object["status"] = json!({"replicas": 3, "conditions": [{"type": "Available", "status": "True", "reason": "a"}]});
    scene.write("kube-controller-manager", "status", object);
    let fields = r#"{"f:metadata":{"f:annotations":{".":{},"f:deployment.kubernetes.io/revision":{}}},"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Available\"}":{".":{},"f:lastTransitionTime":{},"f:lastUpdateTime":{},"f:reason":{},"f:status":{},"f:type":{}}},"f:replicas":{}}}"#;
    let status = format!("kube-controller-manager Update/status apps/v1: {fields}");
    assert_eq!(scene.owners(), [status, before[0].clone()]);
}

#[test]
fn owner_references_are_owned_one_by_one() {
    let mut scene = Scene::of("v1", "Pod");
    scene.write("kube-controller-manager", "", json!({
        "metadata": {"generateName": "web-", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u"}]},
        "spec": {"containers": [{"name": "a", "image": "b"}]},
    }));
    let owners = scene.owners().remove(0);
    assert!(
        owners.contains(r#""f:metadata":{"f:generateName":{},"f:ownerReferences":{".":{},"k:{\"uid\":\"u\"}":{}}}"#),
        "{owners}"
    );
}

#[test]
fn an_update_takes_what_it_changes_and_nothing_else() {
    let mut scene = Scene::deployment();
    scene.write("one", "", nginx());
    scene.now = LATER;
    scene.change("two", |object| object["spec"]["replicas"] = json!(5));
    let owners = scene.owners();
    assert_eq!(owners[1], r#"two Update apps/v1: {"f:spec":{"f:replicas":{}}}"#);
    assert!(owners[0].starts_with("one ") && !owners[0].contains("f:replicas"), "{owners:?}");
    assert_eq!([text(&held(&scene.object)[0], "time"), text(&held(&scene.object)[1], "time")], [NOW, LATER]);
    // who owns nothing any more is forgotten; nothing changes by writing the same again
    scene.change("three", |object| object["spec"]["replicas"] = json!(6));
    scene.change("four", |_| {});
    assert_eq!(scene.owners()[1], r#"three Update apps/v1: {"f:spec":{"f:replicas":{}}}"#);
    assert_eq!(scene.owners().len(), 2);
}

#[test]
fn apply_tells_conflicts_in_upstreams_words() {
    let mut scene = Scene::deployment();
    scene.apply("app", nginx()).unwrap();
    scene.change("kubectl", |object| object["spec"]["replicas"] = json!(5));
    let told = scene.apply("app", nginx()).unwrap_err();
    assert_eq!(told, "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas");
    scene.change("ed", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("nginx:2");
    });
    let told = scene.apply("app", nginx()).unwrap_err();
    assert_eq!(
        told,
        "Apply failed with 2 conflicts: conflicts with \"ed\" using apps/v1:\n\
         - .spec.template.spec.containers[name=\"nginx\"].image\n\
         conflicts with \"kubectl\" using apps/v1:\n\
         - .spec.replicas"
    );
    let told = scene.apply("other", json!({"metadata": {"name": "web", "labels": {"app": "mine"}}})).unwrap_err();
    assert_eq!(told, "Apply failed with 1 conflict: conflict with \"app\": .metadata.labels.app");
    scene.apply_with("app", nginx(), true).unwrap();
    assert_eq!(scene.object["spec"]["replicas"], 3);
    assert!(scene.owners().iter().all(|owner| owner.starts_with("app Apply")), "{:?}", scene.owners());
}

#[test]
fn what_is_applied_alike_is_shared_and_goes_with_its_last_owner() {
    let mut scene = Scene::of("v1", "ConfigMap");
    let map = |data: Value| json!({"metadata": {"name": "a"}, "data": data});
    scene.apply("one", map(json!({"a": "1", "b": "1"}))).unwrap();
    scene.apply("two", map(json!({"b": "1", "c": "1"}))).unwrap();
    scene.apply("one", map(json!({"a": "1"}))).unwrap();
    assert_eq!(scene.object["data"], json!({"a": "1", "b": "1", "c": "1"}));
    scene.apply("two", map(json!({"c": "1"}))).unwrap();
    assert_eq!(scene.object["data"], json!({"a": "1", "c": "1"}));
    // what an update set stays when the applier lets go of it
    scene.change("three", |object| object["data"]["c"] = json!("2"));
    scene.apply("two", map(json!({}))).unwrap();
    assert_eq!(scene.object["data"], json!({"a": "1", "c": "2"}));
    assert_eq!(
        scene.owners(),
        [
            r#"two Apply v1: {"f:data":{}}"#,
            r#"one Apply v1: {"f:data":{"f:a":{}}}"#,
            r#"three Update v1: {"f:data":{"f:c":{}}}"#
        ]
    );
}

#[test]
fn an_apply_that_changes_nothing_keeps_times_and_gives_a_new_owner_none() {
    let mut scene = Scene::deployment();
    scene.apply("app", nginx()).unwrap();
    let before = scene.object.clone();
    scene.now = LATER;
    scene.apply("app", nginx()).unwrap();
    assert_eq!(scene.object, before);
    scene.apply("second", nginx()).unwrap();
    assert_eq!(held(&scene.object)[0], {
        let mut entry = held(&before)[0].clone();
        entry["manager"] = json!("second");
        entry.as_object_mut().unwrap().remove("time");
        entry
    });
}

#[test]
fn what_was_there_before_the_first_apply_has_an_owner() {
    let mut scene = Scene::of("v1", "ConfigMap");
    scene.object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "1"}, "data": {"a": "1"}});
    scene.change("anybody", |object| object["data"]["b"] = json!("1"));
    assert!(held(&scene.object).is_null(), "an object that nobody manages stays so");
    let told = scene.apply("app", json!({"metadata": {"name": "a"}, "data": {"a": "2"}})).unwrap_err();
    assert_eq!(told, "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a");
    scene.apply_with("app", json!({"metadata": {"name": "a"}, "data": {"a": "2"}}), true).unwrap();
    assert_eq!(
        scene.owners(),
        [r#"app Apply v1: {"f:data":{"f:a":{}}}"#, r#"before-first-apply Update v1: {"f:data":{".":{},"f:b":{}}}"#]
    );
}

#[test]
fn an_empty_list_or_entry_resets_and_a_malformed_one_is_ignored() {
    for reset in [json!([]), json!([{}])] {
        let mut scene = Scene::of("v1", "ConfigMap");
        scene.apply("app", json!({"metadata": {"name": "a"}, "data": {"a": "1"}})).unwrap();
        scene.change("x", |object| object["metadata"]["managedFields"] = reset);
        assert!(held(&scene.object).is_null());
    }
    for bad in [
        json!([{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2", "fieldsV1": {}}]),
        json!([{"manager": "x", "operation": "Take", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {}}]),
        json!([{"manager": "x", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {}}]),
        json!([{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"k:{": {}}}]),
        json!([{"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"f:a": 1}}]),
    ] {
        let mut scene = Scene::of("v1", "ConfigMap");
        scene.apply("app", json!({"metadata": {"name": "a"}, "data": {"a": "1"}})).unwrap();
        let before = scene.owners();
        scene.change("x", |object| object["metadata"]["managedFields"] = bad);
        assert_eq!(scene.owners(), before);
    }
}

#[test]
fn a_client_may_edit_the_list_itself_but_not_through_a_subresource() {
    let mut scene = Scene::deployment();
    scene.apply("app", nginx()).unwrap();
    let mut edited = held(&scene.object).clone();
    edited[0]["manager"] = json!("renamed");
    let before = scene.owners();
    let mut object = scene.object.clone();
    object["metadata"]["managedFields"] = edited.clone();
    scene.write("x", "status", object);
    assert_eq!(scene.owners(), before);
    scene.change("x", |object| object["metadata"]["managedFields"] = edited);
    assert!(scene.owners()[0].starts_with("renamed Apply"), "{:?}", scene.owners());
}

#[test]
fn old_updates_are_merged_when_there_are_too_many() {
    let mut scene = Scene::of("v1", "ConfigMap");
    scene.write("m0", "", json!({"metadata": {"name": "a"}, "data": {"k0": "1"}}));
    for index in 1..12 {
        scene.change(&format!("m{index:02}"), |object| object["data"][format!("k{index}")] = json!("1"));
    }
    let owners = scene.owners();
    assert_eq!(owners.len(), 10, "{owners:?}");
    let ancient = owners.iter().find(|owner| owner.starts_with("ancient-changes")).expect("a bucket");
    assert_eq!(ancient, r#"ancient-changes Update v1: {"f:data":{".":{},"f:k0":{},"f:k1":{},"f:k2":{}}}"#);
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_as_upstream_says_it() {
    let mut scene = Scene::deployment();
    let mut told = |config: Value| scene.apply("app", config).unwrap_err();
    let what = "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): ";
    let with = |path: &str, value: Value| {
        let mut config = nginx();
        *config.pointer_mut(path).unwrap() = value;
        config
    };
    assert_eq!(
        told(with("/spec/replicas", json!("3"))),
        format!("{what}.spec.replicas: expected numeric (int or float), got string")
    );
    assert_eq!(
        told(with("/metadata/labels/app", json!(1))),
        format!("{what}.metadata.labels.app: expected string, got &value.valueUnstructured{{Value:1}}")
    );
    assert_eq!(told(with("/spec/template", json!([]))), format!("{what}.spec.template: expected map, got &{{[]}}"));
    let mut config = nginx();
    config["spec"]["foo"] = json!(1);
    config["metadata"]["bar"] = json!(1);
    assert_eq!(
        told(config),
        format!(
            "{what}errors:\n  .metadata.bar: field not declared in schema\n  .spec.foo: field not declared in schema"
        )
    );
    let two = json!([{"name": "a", "image": "1"}, {"name": "a", "image": "2"}]);
    assert_eq!(
        told(with("/spec/template/spec/containers", two)),
        format!("{what}.spec.template.spec.containers: duplicate entries for key [name=\"a\"]")
    );
    assert_eq!(
        told(with("/spec/template/spec/containers", json!([null]))),
        format!(
            "{what}.spec.template.spec.containers: element 0: associative list with keys may not have a null element"
        )
    );
    assert_eq!(told(json!({"apiVersion": "v1", "kind": "Pod"})), "invalid object type: /v1, Kind=Pod");
    let mut config = nginx();
    config["metadata"]["managedFields"] = json!([]);
    assert_eq!(told(config), "metadata.managedFields must be nil");
}

#[test]
fn key_fields_that_are_left_out_have_their_defaults() {
    let mut scene = Scene::of("v1", "Service");
    let service = |ports: Value| json!({"metadata": {"name": "a"}, "spec": {"ports": ports}});
    scene.apply("app", service(json!([{"port": 80, "name": "http"}]))).unwrap();
    assert!(
        scene.owners()[0].contains(r#""k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}"#),
        "{:?}",
        scene.owners()
    );
    scene.apply("app", service(json!([{"port": 80, "protocol": "TCP", "name": "web"}]))).unwrap();
    assert_eq!(scene.object["spec"]["ports"].as_array().map(Vec::len), Some(1));
    assert_eq!(scene.object["spec"]["ports"][0]["name"], "web");
}

#[test]
fn lists_keep_their_order_unless_the_configuration_changes_it() {
    for (live, config, merged) in [
        ("abc", "ca", "bca"),
        ("abc", "b", "abc"),
        ("abc", "d", "abcd"),
        ("abcd", "db", "acdb"),
        ("ab", "xay", "xaby"),
        ("", "ab", "ab"),
        ("acbd", "abx", "acbdx"),
    ] {
        let finalizers = |text: &str| Value::Array(text.chars().map(|name| json!(format!("x/{name}"))).collect());
        let mut object = json!({"metadata": {"finalizers": finalizers(live)}});
        let config = json!({"metadata": {"finalizers": finalizers(config)}});
        let kind = Catalog::builtin().by_api_version("v1", "ConfigMap").unwrap();
        merge::merge(Shape::of(kind), &mut object, &config).unwrap();
        assert_eq!(object["metadata"]["finalizers"], finalizers(merged), "{live} + {config}");
    }
}

#[test]
fn client_side_apply_becomes_server_side_apply_without_conflicts() {
    let annotated = |config: &Value, extra: &str| {
        let mut object = config.clone();
        object["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/last-applied-configuration": format!("{config}{extra}")});
        object
    };
    let mut config = nginx();
    config["apiVersion"] = json!("apps/v1");
    config["kind"] = json!("Deployment");
    let mut scene = Scene::deployment();
    scene.write("kubectl-client-side-apply", "", annotated(&config, "\n"));
    let mut changed = config.clone();
    changed["spec"]["replicas"] = json!(4);
    assert!(scene.apply("other", changed.clone()).is_err());
    scene.apply("kubectl", changed.clone()).unwrap();
    assert_eq!(scene.object["spec"]["replicas"], 4);
    assert_eq!(
        scene.object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"],
        json!(format!("{changed}\n")),
        "client-side apply can go on"
    );
    // what somebody else has changed since is still a conflict
    let mut scene = Scene::deployment();
    scene.write("kubectl-client-side-apply", "", annotated(&config, "\n"));
    scene.change("hpa", |object| object["spec"]["replicas"] = json!(7));
    assert_eq!(
        scene.apply("kubectl", changed).unwrap_err(),
        "Apply failed with 1 conflict: conflict with \"hpa\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn owners_of_another_version_lose_what_changes_in_this_one() {
    let mut scene = Scene::of("autoscaling/v2", "HorizontalPodAutoscaler");
    let metric = |percent: u32| json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}]);
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let spec = |percent: u32| json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target, "metrics": metric(percent)}});
    scene.apply("two", spec(50)).unwrap();
    // the same object, seen in version 1
    let older = Catalog::builtin().by_api_version("autoscaling/v1", "HorizontalPodAutoscaler").unwrap().clone();
    let newer = std::mem::replace(&mut scene.kind, older);
    crate::convert(&mut scene.object, &newer, &scene.kind);
    scene.change("one", |object| object["spec"]["targetCPUUtilizationPercentage"] = json!(80));
    let owners = scene.owners();
    assert_eq!(owners[1], r#"one Update autoscaling/v1: {"f:spec":{"f:targetCPUUtilizationPercentage":{}}}"#);
    assert!(owners[0].starts_with("two Apply autoscaling/v2") && !owners[0].contains("f:metrics"), "{owners:?}");
    let older = std::mem::replace(&mut scene.kind, newer);
    crate::convert(&mut scene.object, &older, &scene.kind);
    let told = scene.apply("two", spec(50)).unwrap_err();
    assert!(
        told.contains("conflict with \"one\" using autoscaling/v1: .spec.targetCPUUtilizationPercentage"),
        "{told}"
    );
}

#[test]
fn owners_of_versions_that_are_gone_are_forgotten() {
    let mut scene = Scene::deployment();
    scene.apply("app", nginx()).unwrap();
    let mut entry = held(&scene.object)[0].clone();
    entry["apiVersion"] = json!("apps/v1beta1");
    entry["manager"] = json!("old");
    scene.object["metadata"]["managedFields"].as_array_mut().unwrap().push(entry);
    scene.change("x", |object| object["spec"]["replicas"] = json!(5));
    assert!(!scene.owners().iter().any(|owner| owner.starts_with("old")), "{:?}", scene.owners());
}

#[test]
fn ephemeral_containers_and_resizes_own_only_what_they_may_change() {
    let mut scene = Scene::of("v1", "Pod");
    scene.write(
        "kubectl",
        "",
        json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "b"}]}}),
    );
    let mut object = scene.object.clone();
    object["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "x"}]);
    object["metadata"]["labels"] = json!({"a": "b"});
    scene.write("kubectl-debug", "ephemeralcontainers", object);
    let owners = scene.owners();
    let debug = owners.iter().find(|owner| owner.starts_with("kubectl-debug")).unwrap();
    assert!(debug.contains("f:ephemeralContainers") && !debug.contains("f:metadata"), "{debug}");
    let mut object = scene.object.clone();
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
    object["spec"]["containers"][0]["image"] = json!("other");
    scene.write("vpa", "resize", object);
    let owners = scene.owners();
    let resized = owners.iter().find(|owner| owner.starts_with("vpa")).unwrap();
    assert!(resized.contains("f:limits") && !resized.contains("f:image"), "{resized}");
}

#[test]
fn the_scale_of_an_object_shares_its_owners() {
    let kind = Catalog::builtin().by_api_version("apps/v1", "Deployment").unwrap();
    let owners = Scale::new(Catalog::builtin(), kind);
    let mut scene = Scene::deployment();
    scene.apply("app", nginx()).unwrap();
    let mut scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web", "uid": "1"}, "spec": {"replicas": 3}});
    owners.to_scale(&scene.object, &mut scale);
    assert_eq!(scale["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}));
    let config =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}});
    let application = Application { config: &config, manager: "hpa", force: false, now: LATER };
    let told = super::apply(&Scope::scale(), &scale, &application).unwrap_err().to_string();
    assert_eq!(told, "Apply failed with 1 conflict: conflict with \"app\": .spec.replicas");
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(5);
    let given = detach(&mut wanted);
    update(&Scope::scale(), &scale, &mut wanted, given, "hpa", LATER);
    scene.object["spec"]["replicas"] = json!(5);
    owners.to_object(&mut scene.object, &wanted);
    let seen = scene.owners();
    assert_eq!(seen[1], r#"hpa Update/scale apps/v1: {"f:spec":{"f:replicas":{}}}"#);
    assert!(!seen[0].contains("f:replicas"), "{seen:?}");
    // again, by the same: one entry, a new time
    let mut scale = wanted.clone();
    owners.to_scale(&scene.object, &mut scale);
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(6);
    let given = detach(&mut wanted);
    update(&Scope::scale(), &scale, &mut wanted, given, "hpa", LATER);
    owners.to_object(&mut scene.object, &wanted);
    assert_eq!(scene.owners(), seen);
}
