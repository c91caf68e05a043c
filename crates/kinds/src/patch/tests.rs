use super::*;
use crate::schema;
use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

pub(super) fn pod() -> TypeId {
    schema::find("api.core.v1.Pod").expect("pods have a type")
}

fn check_json(document: Value, patch: Value, expected: Expect) {
    let shown = match json(&document, &patch) {
        Ok(value) => value.to_string(),
        Err(error) => format!("{}: {error}", error.code()),
    };
    expected.assert_eq(&shown);
}

#[test]
fn operations_work_on_objects() {
    let document = || json!({"a": {"b": 1}, "c": "x"});
    check_json(
        document(),
        json!([{"op": "add", "path": "/a/d", "value": [1]}]),
        expect![[r#"{"a":{"b":1,"d":[1]},"c":"x"}"#]],
    );
    check_json(document(), json!([{"op": "add", "path": "/a", "value": null}]), expect![[r#"{"a":null,"c":"x"}"#]]);
    check_json(document(), json!([{"op": "remove", "path": "/a/b"}]), expect![[r#"{"a":{},"c":"x"}"#]]);
    check_json(document(), json!([{"op": "replace", "path": "/c", "value": 2}]), expect![[r#"{"a":{"b":1},"c":2}"#]]);
    check_json(document(), json!([{"op": "move", "from": "/a/b", "path": "/c"}]), expect![[r#"{"a":{},"c":1}"#]]);
    check_json(
        document(),
        json!([{"op": "copy", "from": "/a", "path": "/d"}]),
        expect![[r#"{"a":{"b":1},"c":"x","d":{"b":1}}"#]],
    );
    check_json(document(), json!([{"op": "replace", "path": "", "value": {"n": 1}}]), expect![[r#"{"n":1}"#]]);
    check_json(document(), json!([]), expect![[r#"{"a":{"b":1},"c":"x"}"#]]);
}

#[test]
fn operations_work_on_arrays() {
    let document = || json!({"l": [1, 2, 3]});
    check_json(document(), json!([{"op": "add", "path": "/l/-", "value": 4}]), expect![[r#"{"l":[1,2,3,4]}"#]]);
    check_json(document(), json!([{"op": "add", "path": "/l/1", "value": 9}]), expect![[r#"{"l":[1,9,2,3]}"#]]);
    check_json(document(), json!([{"op": "add", "path": "/l/3", "value": 9}]), expect![[r#"{"l":[1,2,3,9]}"#]]);
    check_json(document(), json!([{"op": "remove", "path": "/l/0"}]), expect![[r#"{"l":[2,3]}"#]]);
    check_json(document(), json!([{"op": "remove", "path": "/l/-1"}]), expect![[r#"{"l":[1,2]}"#]]);
    check_json(document(), json!([{"op": "replace", "path": "/l/2", "value": 0}]), expect![[r#"{"l":[1,2,0]}"#]]);
    check_json(document(), json!([{"op": "move", "from": "/l/0", "path": "/l/2"}]), expect![[r#"{"l":[2,3,1]}"#]]);
    check_json(
        document(),
        json!([{"op": "add", "path": "/l/5", "value": 9}]),
        expect!["422: error in add for path: '/l/5': Unable to access invalid index: 5: invalid index referenced"],
    );
    check_json(
        document(),
        json!([{"op": "remove", "path": "/l/x"}]),
        expect![[r#"422: error in remove for path: '/l/x': strconv.Atoi: parsing "x": invalid syntax"#]],
    );
}

#[test]
fn pointers_unescape_tilde_and_slash() {
    let document = json!({"a/b": {"~1": 1}});
    check_json(document, json!([{"op": "remove", "path": "/a~1b/~01"}]), expect![[r#"{"a/b":{}}"#]]);
}

#[test]
fn what_does_not_apply_says_why_in_upstreams_words() {
    let document = || json!({"a": {"b": 1}});
    let one = |operation: Value| json!([operation]);
    check_json(
        document(),
        one(json!({"op": "remove", "path": "/a/x"})),
        expect!["422: error in remove for path: '/a/x': Unable to remove nonexistent key: x: missing value"],
    );
    check_json(
        document(),
        one(json!({"op": "replace", "path": "/a/x", "value": 1})),
        expect!["422: replace operation does not apply: doc is missing key: /a/x: missing value"],
    );
    check_json(
        document(),
        one(json!({"op": "add", "path": "/x/y", "value": 1})),
        expect![[r#"422: add operation does not apply: doc is missing path: "/x/y": missing value"#]],
    );
    check_json(
        document(),
        one(json!({"op": "test", "path": "/a/b", "value": 2})),
        expect!["422: testing value /a/b failed: test failed"],
    );
    check_json(document(), one(json!({"op": "test", "path": "/a/c", "value": null})), expect![[r#"{"a":{"b":1}}"#]]);
    check_json(document(), one(json!({"op": "frobnicate", "path": "/a"})), expect!["422: Unexpected kind: frobnicate"]);
    check_json(
        document(),
        one(json!({"op": "add"})),
        expect!["422: add operation failed to decode path: missing value"],
    );
    check_json(
        document(),
        json!({"a": 1}),
        expect!["400: json: cannot unmarshal object into Go value of type jsonpatch.Patch"],
    );
    let many: Value = (0..=MAX_OPERATIONS).map(|_| json!({"op": "test", "path": "", "value": 1})).collect();
    check_json(document(), many, expect!["413: The allowed maximum operations in a JSON patch is 10000, got 10001"]);
}

#[test]
fn a_failed_operation_undoes_the_ones_before_it() {
    let document = json!({"a": 1});
    let patch = json!([{"op": "remove", "path": "/a"}, {"op": "test", "path": "/b", "value": 1}]);
    assert!(json(&document, &patch).is_err());
    assert_eq!(document, json!({"a": 1}));
}

#[test]
fn copies_cannot_blow_a_document_up() {
    let document = json!({"a": "x".repeat(1000)});
    let patch: Value = (0..40)
        .map(|i| json!({"op": "copy", "from": "", "path": format!("/c{i}")}))
        .chain((0..5000).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a{i}")})))
        .skip(40)
        .collect();
    let error = json(&document, &patch).unwrap_err();
    assert!(error.to_string().starts_with("Unable to complete the copy"), "{error}");
}

#[test]
fn moves_cannot_nest_a_document_without_end() {
    let document: Value = (0..1000).map(|i| (format!("x{i}"), json!({}))).collect::<Map<_, _>>().into();
    let patch: Value =
        (0..999).map(|i| json!({"op": "move", "from": format!("/x{i}"), "path": format!("/x{}/x", i + 1)})).collect();
    let error = json(&document, &patch).unwrap_err();
    assert!(error.to_string().contains("nest deeper"), "{error}");
}

#[test]
fn a_merge_patch_follows_its_rfc() {
    // The examples of RFC 7386, appendix A.
    for (document, patch, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
        (json!({"a": "b"}), json!(["c"]), json!(["c"])),
        (json!({"a": "foo"}), json!(null), json!(null)),
        (json!({"a": "foo"}), json!("bar"), json!("bar")),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(merge(&document, &patch), result, "{document} + {patch}");
    }
}

/// Checks what a strategic patch makes of the spec of a pod.
fn check_spec(spec: Value, patch: Value, expected: Expect) {
    let shown = match strategic(pod(), &json!({"spec": spec}), &json!({"spec": patch})) {
        Ok(value) => value["spec"].to_string(),
        Err(error) => format!("{}: {error}", error.code()),
    };
    expected.assert_eq(&shown);
}

#[test]
fn lists_with_a_merge_key_merge_item_by_item() {
    check_spec(
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1", "tty": true}]}),
        json!({"containers": [{"name": "b", "image": "2"}]}),
        expect![[r#"{"containers":[{"image":"1","name":"a"},{"image":"2","name":"b","tty":true}]}"#]],
    );
    check_spec(
        json!({"containers": [{"name": "a"}]}),
        json!({"containers": [{"name": "b", "image": null}]}),
        expect![[r#"{"containers":[{"name":"b"},{"name":"a"}]}"#]],
    );
}

#[test]
fn items_are_deleted_by_directive() {
    check_spec(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"name": "a", "$patch": "delete"}, {"name": "c"}]}),
        expect![[r#"{"containers":[{"name":"c"},{"name":"b"}]}"#]],
    );
    check_spec(
        json!({"containers": [{"name": "a"}]}),
        json!({"containers": [{"name": "gone", "$patch": "delete"}]}),
        expect![[r#"{"containers":[{"name":"a"}]}"#]],
    );
    check_spec(
        json!({}),
        json!({"containers": [{"name": "gone", "$patch": "delete"}]}),
        expect![[r#"{"containers":[]}"#]],
    );
}

#[test]
fn a_list_is_replaced_by_directive() {
    check_spec(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"containers": [{"$patch": "replace"}, {"name": "c"}]}),
        expect![[r#"{"containers":[{"name":"c"}]}"#]],
    );
}

#[test]
fn a_map_is_replaced_or_emptied_by_directive() {
    check_spec(
        json!({"nodeSelector": {"a": "1"}, "securityContext": {"runAsUser": 1, "runAsGroup": 2}}),
        json!({"nodeSelector": {"$patch": "delete"}, "securityContext": {"$patch": "replace", "runAsUser": 3}}),
        expect![[r#"{"nodeSelector":{},"securityContext":{"runAsUser":3}}"#]],
    );
}

#[test]
fn retained_keys_drop_the_others() {
    let live = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
    check_spec(
        live.clone(),
        json!({"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}),
        expect![[r#"{"volumes":[{"hostPath":{"path":"/x"},"name":"v"}]}"#]],
    );
    check_spec(
        live,
        json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {"path": "/x"}}]}),
        expect!["400: invalid patch format of retainKeys"],
    );
}

#[test]
fn the_order_list_decides() {
    check_spec(
        json!({"containers": [{"name": "a"}, {"name": "live"}, {"name": "b"}]}),
        json!({
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "c"}],
            "containers": [{"name": "a", "image": "2"}, {"name": "c"}],
        }),
        expect![[r#"{"containers":[{"name":"live"},{"name":"b"},{"image":"2","name":"a"},{"name":"c"}]}"#]],
    );
    check_spec(
        json!({"containers": [{"name": "a"}, {"name": "b"}]}),
        json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}),
        expect![[r#"{"containers":[{"name":"b"},{"name":"a"}]}"#]],
    );
    check_spec(
        json!({}),
        json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "tty": null}]}),
        expect![[r#"{"containers":[{"name":"a"}]}"#]],
    );
}

#[test]
fn a_patch_out_of_its_own_order_is_refused() {
    check_spec(
        json!({"containers": [{"name": "a"}]}),
        json!({"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "b"}, {"name": "a"}]}),
        expect![[r"
            500: The order in patch list:
            [map[name:b] map[name:a]]
             doesn't match $setElementOrder list:
            [map[name:a] map[name:b]]
        "]],
    );
}

fn check_finalizers(live: Value, patch: Value, expected: Expect) {
    let shown = match strategic(pod(), &json!({"metadata": {"finalizers": live}}), &json!({"metadata": patch})) {
        Ok(value) => value["metadata"]["finalizers"].to_string(),
        Err(error) => format!("{}: {error}", error.code()),
    };
    expected.assert_eq(&shown);
}

#[test]
fn lists_of_scalars_merge_as_sets() {
    check_finalizers(json!(["a", "b"]), json!({"finalizers": ["c", "a"]}), expect![[r#"["c","a","b"]"#]]);
    check_finalizers(
        json!(["a", "b", "c"]),
        json!({"$deleteFromPrimitiveList/finalizers": ["b", "x"]}),
        expect![[r#"["a","c"]"#]],
    );
    check_finalizers(
        json!(["a", "b", "c"]),
        json!({"$setElementOrder/finalizers": ["c", "a"], "$deleteFromPrimitiveList/finalizers": ["b"]}),
        expect![[r#"["c","a"]"#]],
    );
    check_finalizers(
        json!(["a"]),
        json!({"finalizers": [1]}),
        expect!["500: list element types are not identical: [[a] [1]]"],
    );
}

#[test]
fn lists_without_strategy_are_replaced() {
    check_spec(
        json!({"containers": [{"name": "a", "args": ["x", "y"]}]}),
        json!({"containers": [{"name": "a", "args": ["z"]}]}),
        expect![[r#"{"containers":[{"args":["z"],"name":"a"}]}"#]],
    );
}

#[test]
fn bad_patches_are_refused_in_upstreams_words() {
    let live = || json!({"containers": [{"name": "a"}], "nodeSelector": {"a": "b"}});
    check_spec(
        live(),
        json!({"containers": [{"image": "x"}]}),
        expect!["500: map: map[image:x] does not contain declared merge key: name"],
    );
    check_spec(
        live(),
        json!({"containers": [{"$patch": "eat", "name": "a"}]}),
        expect!["500: unknown patch type: eat in map: map[$patch:eat name:a]"],
    );
    check_spec(
        live(),
        json!({"containers": [{"$patch": "merge", "name": "a"}]}),
        expect!["500: merging lists cannot yet be specified in the patch"],
    );
    check_spec(
        live(),
        json!({"$setElementOrder/containers": "a"}),
        expect!["500: expected a []interface {}, but received a string"],
    );
    check_spec(
        live(),
        json!({"$deleteFromPrimitiveList": ["a"]}),
        expect!["400: invalid patch format of primitive list"],
    );
    check_spec(
        json!({"nope": {"a": 1}}),
        json!({"nope": {"a": 2}}),
        expect![[r#"500: unable to find api field in struct PodSpec for the json field "nope""#]],
    );
    check_spec(
        json!({"nodeSelector": {"a": {"b": 1}}}),
        json!({"nodeSelector": {"a": {"b": 2}}}),
        expect!["500: merging an object in json but data type is not struct, instead is: map"],
    );
    let error = strategic(pod(), &json!({}), &json!([])).unwrap_err();
    expect!["invalid JSON document"].assert_eq(&error.to_string());
}

#[test]
fn wrong_types_simply_replace_and_nulls_delete() {
    check_spec(
        json!({"containers": [{"name": "a"}], "nodeName": "n"}),
        json!({"containers": "x", "nodeName": null, "new": {"a": null, "b": 1, "$retainKeys": ["b"]}}),
        expect![[r#"{"containers":"x","new":{"b":1}}"#]],
    );
}

/// The patch is one that `kubectl apply` sent: the live object has defaults, a sidecar and a volume of its own.
#[test]
fn a_patch_from_kubectl_apply_gives_what_the_manifest_says() {
    let live = json!({
        "metadata": {"finalizers": ["a/b", "c/d"]},
        "spec": {"replicas": 2, "template": {"spec": {
            "containers": [
                {"name": "a", "image": "x", "imagePullPolicy": "Always", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                {"name": "sidecar", "image": "s"},
                {"name": "b", "image": "y", "imagePullPolicy": "Always"},
            ],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "injected", "emptyDir": {}}, {"name": "w", "emptyDir": {}}],
        }}},
    });
    let patch = json!({
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a/b"], "$setElementOrder/finalizers": ["c/d"]},
        "spec": {"replicas": 3, "template": {"spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}],
            "$setElementOrder/volumes": [{"name": "v"}],
            "containers": [
                {"image": "z", "name": "b"},
                {"image": "new", "name": "c"},
                {
                    "$setElementOrder/ports": [{"containerPort": 81}],
                    "name": "a",
                    "ports": [{"containerPort": 81}, {"$patch": "delete", "containerPort": 80}],
                },
            ],
            "volumes": [
                {"$retainKeys": ["hostPath", "name"], "emptyDir": null, "hostPath": {"path": "/x"}, "name": "v"},
                {"$patch": "delete", "name": "w"},
            ],
        }}},
    });
    let deployment = schema::find("api.apps.v1.Deployment").expect("deployments have a type");
    let result = strategic(deployment, &live, &patch).expect("the patch applies");
    assert_eq!(
        result,
        json!({
            "metadata": {"finalizers": ["c/d"]},
            "spec": {"replicas": 3, "template": {"spec": {
                "containers": [
                    {"name": "sidecar", "image": "s"},
                    {"name": "b", "image": "z", "imagePullPolicy": "Always"},
                    {"name": "c", "image": "new"},
                    {"name": "a", "image": "x", "imagePullPolicy": "Always", "ports": [{"containerPort": 81}]},
                ],
                "volumes": [{"name": "v", "hostPath": {"path": "/x"}}, {"name": "injected", "emptyDir": {}}],
            }}},
        })
    );
}

/// Any JSON with words that mean something to the patch engines.
pub(super) fn any_json() -> impl Strategy<Value = Value> {
    let words = || {
        prop::sample::select(vec![
            "metadata",
            "spec",
            "status",
            "containers",
            "volumes",
            "name",
            "image",
            "ports",
            "containerPort",
            "finalizers",
            "nodeSelector",
            "ownerReferences",
            "uid",
            "$patch",
            "$retainKeys",
            "$setElementOrder/containers",
            "$setElementOrder/finalizers",
            "$deleteFromPrimitiveList/finalizers",
            "delete",
            "replace",
            "merge",
            "op",
            "path",
            "from",
            "value",
            "/spec",
            "/spec/containers/0",
            "add",
            "test",
        ])
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0i64..4).prop_map(Value::from),
        words().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((words(), inner), 0..5)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

/// That the engine comes back at all is the point; refusing is fine.
fn survives(result: Result<Value, PatchError>) -> bool {
    match result {
        Ok(_) => true,
        Err(error) => !error.to_string().is_empty(),
    }
}

proptest! {
    #[test]
    fn no_patch_makes_the_engines_panic(document in any_json(), patch in any_json()) {
        prop_assert!(survives(json(&document, &patch)));
        prop_assert!(survives(json(&document, &Value::Array(vec![patch.clone()]))));
        prop_assert!(survives(strategic(pod(), &document, &patch)));
        let merged = merge(&document, &patch);
        prop_assert_eq!(merge(&merged, &patch), merged);
    }

    #[test]
    fn an_empty_patch_changes_nothing(document in any_json()) {
        prop_assume!(document.is_object());
        prop_assert_eq!(strategic(pod(), &document, &json!({})).unwrap(), document.clone());
        prop_assert_eq!(merge(&document, &json!({})), document.clone());
        prop_assert_eq!(json(&document, &json!([])).unwrap(), document);
    }
}
