use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Catalog, validate_create, validate_update};

/// The rows of a definition whose versions have these schemas.
fn rows_of(schemas: &[Value]) -> Vec<Arc<Kind>> {
    let versions: Vec<Value> = schemas
        .iter()
        .enumerate()
        .map(|(index, schema)| {
            json!({
                "name": format!("v{}", index + 1), "served": true, "storage": index == 0,
                "schema": {"openAPIV3Schema": schema},
            })
        })
        .collect();
    let names = json!({"plural": "tabs", "singular": "tab", "kind": "Tab", "listKind": "TabList"});
    let definition = json!({
        "metadata": {"name": "tabs.x.io", "uid": "u", "generation": 1},
        "spec": {"group": "x.io", "scope": "Namespaced", "names": names, "versions": versions},
        "status": {
            "acceptedNames": names, "conditions": [{"type": "Established", "status": "True"}], "storedVersions": ["v1"],
        },
    });
    let source = Bytes::from(definition.to_string());
    rows(&Definition::read(&source).unwrap(), &source, &[])
}

fn kind(schema: Value) -> Arc<Kind> {
    rows_of(&[schema]).remove(0)
}

fn object(spec: Value) -> Value {
    json!({
        "apiVersion": "x.io/v1", "kind": "Tab",
        "metadata": {"name": "a", "namespace": "default", "uid": "1", "resourceVersion": "1"}, "spec": spec,
    })
}

fn spec(schema: Value) -> Value {
    json!({"type": "object", "properties": {"spec": schema}})
}

fn texts(faults: Vec<FieldError>) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// What is wrong with a spec.
#[track_caller]
fn check(schema: Value, value: Value, expected: &[&str]) {
    let kind = kind(spec(schema));
    assert_eq!(texts(validate_create(&kind, &object(value))), expected);
}

#[test]
fn each_keyword_is_refused_in_kube_openapis_words() {
    let string = |more: Value| {
        let mut schema = json!({"type": "string"});
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema
    };
    check(string(json!({"maxLength": 2})), json!("abc"), &["spec: Too long: may not be more than 2 bytes"]);
    check(
        string(json!({"minLength": 4})),
        json!("abc"),
        &["spec: Invalid value: \"abc\": spec in body should be at least 4 chars long"],
    );
    check(
        string(json!({"format": "ipv4"})),
        json!("abc"),
        &["spec: Invalid value: \"abc\": spec in body must be of type ipv4: \"abc\""],
    );
    check(string(json!({"format": "phone"})), json!("abc"), &[]);
    let number = |more: Value| {
        let mut schema = json!({"type": "number"});
        schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        schema
    };
    check(
        number(json!({"minimum": 1.5, "exclusiveMinimum": true})),
        json!(1.5),
        &["spec: Invalid value: 1.5: spec in body should be greater than 1.5"],
    );
    check(
        number(json!({"maximum": 1_000_000})),
        json!(2e6),
        &["spec: Invalid value: 2e+06: spec in body should be less than or equal to 1e+06"],
    );
    check(number(json!({"multipleOf": 0.1})), json!(0.3), &[]);
    check(
        number(json!({"multipleOf": 2})),
        json!(3),
        &["spec: Invalid value: 3: spec in body should be a multiple of 2"],
    );
    check(json!({"type": "integer"}), json!(1.0), &[]);
    check(
        json!({"type": "integer"}),
        json!(1.5),
        &[
            "spec: Invalid value: \"number\": spec in body must be of type integer: \"number\"",
            "<nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec",
        ],
    );
    check(
        json!({"type": "integer", "format": "int32"}),
        json!(3_000_000_000_i64),
        &["<nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec"],
    );
    let list = json!({"type": "array", "minItems": 2, "maxItems": 3, "items": {"type": "string"}});
    check(list.clone(), json!(["a"]), &["spec: Invalid value: 1: spec in body should have at least 2 items"]);
    check(
        list,
        json!(["a", "b", "c", 1]),
        &[
            "spec[3]: Invalid value: \"integer\": spec[3] in body must be of type string: \"integer\"",
            "spec: Too many: 4: must have at most 3 items",
        ],
    );
    let map = json!({"type": "object", "maxProperties": 1, "additionalProperties": {"type": "integer"}});
    check(
        map,
        json!({"a": 1, "b": "c"}),
        &[
            "spec: Too many: 2: must have at most 1 item",
            "spec.b: Invalid value: \"string\": spec.b in body must be of type integer: \"string\"",
        ],
    );
    check(
        json!({"type": "object", "nullable": true, "enum": [{}]}),
        json!(null),
        &["spec: Unsupported value: null: supported values: \"{}\""],
    );
}

#[test]
fn of_several_branches_the_one_that_fits_best_is_blamed() {
    let schema = json!({
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
    });
    check(schema.clone(), json!({"a": "x"}), &[]);
    check(
        schema.clone(),
        json!({"a": "x", "b": 1}),
        &[
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ],
    );
    check(
        schema,
        json!({}),
        &[
            "<nil>: Invalid value: \"\": \"spec\" must validate one and only one schema (oneOf). Found none valid",
            "spec.a: Required value",
        ],
    );
    let either = json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]});
    check(either.clone(), json!("a"), &[]);
    check(
        either,
        json!([]),
        &[
            "spec: Invalid value: \"array\": spec in body must be of type integer,string: \"array\"",
            "<nil>: Invalid value: \"\": \"spec\" must validate at least one schema (anyOf)",
            "spec: Invalid value: \"array\": spec in body must be of type integer: \"array\"",
        ],
    );
    let all = json!({"type": "string", "allOf": [{"minLength": 1}, {"pattern": "^a"}], "not": {"enum": ["ab"]}});
    check(all.clone(), json!("ac"), &[]);
    check(all.clone(), json!("ab"), &["<nil>: Invalid value: \"\": \"spec\" must not validate the schema (not)"]);
    check(
        all,
        json!("b"),
        &[
            "spec: Invalid value: \"b\": spec in body should match '^a'",
            "<nil>: Invalid value: \"\": \"spec\" must validate all the schemas (allOf)",
        ],
    );
}

#[test]
fn keys_and_members_of_lists_are_unique() {
    let schema = json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"],
        "items": {"type": "object", "required": ["name", "port"], "properties": {
            "name": {"type": "string"}, "port": {"type": "integer"},
        }},
    });
    let item = |name: &str, port: i64| json!({"name": name, "port": port});
    check(schema.clone(), json!([item("a", 1), item("a", 2)]), &[]);
    check(
        schema,
        json!([item("a", 1), item("b", 1), item("a", 1), item("a", 1)]),
        &["spec[2]: Duplicate value: {\"name\":\"a\",\"port\":1}"],
    );
}

#[test]
fn embedded_objects_are_objects_with_sound_metadata() {
    let schema = json!({
        "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
    });
    check(schema.clone(), json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}}), &[]);
    check(
        schema.clone(),
        json!({"kind": "", "metadata": {"labels": {"a b": "c"}}}),
        &[
            "spec.apiVersion: Required value",
            "spec.kind: Invalid value: \"\": must not be empty",
            "spec.metadata.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
    let kind = kind(spec(schema));
    let wrong = object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": 1}}));
    let told = crate::coerce(&kind, &wrong).unwrap_err().to_string();
    assert!(
        told.starts_with("Tab in version \"v1\" cannot be handled as a Tab: spec.metadata: Invalid value:"),
        "{told}"
    );
    let mut odd = object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "odd": 1}, "any": 1}));
    let unknown: Vec<String> = crate::prune(&kind, &mut odd).into_iter().map(|unknown| unknown.path).collect();
    assert_eq!(unknown, ["spec.metadata.odd"]);
    assert_eq!(odd["spec"]["any"], 1);
}

#[test]
fn unknown_fields_go_unless_they_are_to_be_kept() {
    let schema = json!({"type": "object", "properties": {
        "known": {"type": "object", "properties": {"a": {"type": "string"}}},
        "kept": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
            "strict": {"type": "object", "properties": {"a": {"type": "string"}}},
        }},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
    }});
    let kind = kind(spec(schema));
    let mut value = object(json!({
        "known": {"a": "x", "b": 1}, "kept": {"b": {"c": 1}, "strict": {"a": "x", "b": 1}},
        "map": {"k": {"a": "x", "b": 1}}, "list": [{"a": "x", "b": 1}], "any": [{"b": 1}], "more": 1,
    }));
    value["metadata"]["odd"] = json!(1);
    value["extra"] = json!({});
    let unknown: Vec<String> = crate::prune(&kind, &mut value).into_iter().map(|unknown| unknown.path).collect();
    assert_eq!(
        unknown,
        ["metadata.odd", "extra", "spec.kept.strict.b", "spec.known.b", "spec.list[0].b", "spec.map.k.b", "spec.more",]
    );
    assert_eq!(
        value["spec"],
        json!({
            "known": {"a": "x"}, "kept": {"b": {"c": 1}, "strict": {"a": "x"}}, "map": {"k": {"a": "x"}},
            "list": [{"a": "x"}], "any": [{"b": 1}],
        })
    );
    assert_eq!(crate::prune(&kind, &mut value), []);
}

#[test]
fn defaults_come_where_nothing_is_said_and_where_null_says_nothing() {
    let schema = json!({"type": "object", "default": {}, "properties": {
        "a": {"type": "string", "default": "x"},
        "b": {"type": "string", "default": "y", "nullable": true},
        "c": {"type": "string"},
        "d": {"type": "string", "nullable": true},
        "deep": {"type": "object", "properties": {"e": {"type": "integer", "default": 1}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"e": {"type": "integer", "default": 2}}}},
    }});
    let kind = kind(spec(schema));
    let full = |spec: Value| {
        let mut value = object(spec);
        crate::prune(&kind, &mut value);
        crate::default(&kind, &mut value);
        value["spec"].clone()
    };
    assert_eq!(full(json!(null)), json!({"a": "x", "b": "y"}));
    assert_eq!(
        full(json!({"a": null, "b": null, "c": null, "d": null, "deep": {}, "list": [{}]})),
        json!({"a": "x", "b": null, "d": null, "deep": {"e": 1}, "list": [{"e": 2}]})
    );
}

#[test]
fn what_was_wrong_may_stay_but_not_become_wrong() {
    let schema = json!({"type": "object", "properties": {
        "mode": {"type": "string", "enum": ["A"]},
        "other": {"type": "string", "maxLength": 1},
        "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": {
            "type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "size": {"type": "integer", "maximum": 1}},
        }},
    }});
    let kind = kind(spec(schema));
    let changed = |old: Value, new: Value| texts(validate_update(&kind, &object(new), &object(old)));
    assert_eq!(changed(json!({"mode": "B"}), json!({"mode": "B", "other": "x"})), [""; 0]);
    assert_eq!(
        changed(json!({"mode": "B"}), json!({"mode": "C"})),
        ["spec.mode: Unsupported value: \"C\": supported values: \"A\"",]
    );
    let items = |sizes: [i64; 2]| json!({"items": [{"name": "a", "size": sizes[0]}, {"name": "b", "size": sizes[1]}]});
    assert_eq!(changed(items([5, 1]), items([5, 0])), [""; 0]);
    assert_eq!(
        changed(items([5, 1]), items([6, 1])),
        ["spec.items[0].size: Invalid value: 6: spec.items[0].size in body should be less than or equal to 1",]
    );
}

#[test]
fn the_work_for_one_object_is_bounded() {
    let schema =
        json!({"type": "array", "items": {"type": "string"}, "allOf": vec![json!({"items": {"minLength": 1}}); 100]});
    let node = compile(&schema);
    let value = Value::from(vec![json!("a"); 100]);
    assert_eq!(value::bounded(&node, &value, None, "", 20_000), []);
    let told = value::bounded(&node, &value, None, "", 5_000);
    assert!(told.iter().any(|fault| fault.detail.contains("too complex")), "{told:?}");
}

#[test]
fn rows_are_the_versions_of_a_definition() {
    let rows = rows_of(&[json!({"type": "object"}), json!({"type": "object"})]);
    let mut catalog = Catalog::builtin().with("x.io", "tabs", rows);
    let first = catalog.resource("x.io", "v1", "tabs").unwrap();
    assert_eq!((first.list_kind(), first.namespaced), ("TabList".to_owned(), true));
    assert_ne!(
        first.custom.as_ref().unwrap().id,
        catalog.by_kind("x.io", "v2", "Tab").unwrap().custom.as_ref().unwrap().id
    );
    let groups: Vec<&str> = catalog.groups().iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups.last(), Some(&"x.io"));
    catalog = catalog.with("x.io", "tabs", Vec::new());
    assert!(catalog.group("x.io").is_none());
}

#[test]
fn openapi_has_the_members_of_every_object_and_loses_for_version_two() {
    let schema = json!({"type": "object", "description": "A tab.", "properties": {
        "spec": {"type": "object", "required": ["a", "n"], "properties": {
            "a": {"type": "string", "default": "x", "description": "The a."},
            "n": {"type": "string", "nullable": true},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }},
    }});
    let catalog = Catalog::builtin().with("x.io", "tabs", rows_of(&[schema]));
    let document = crate::openapi::v3_of(&catalog, &|kind| kind.served, "x.io", "v1").unwrap();
    let document: Value = serde_json::from_slice(&document.bytes).unwrap();
    let model = &document["components"]["schemas"]["io.x.v1.Tab"];
    assert_eq!(model["description"], "A tab.");
    assert_eq!(model["x-kubernetes-group-version-kind"], json!([{"group": "x.io", "kind": "Tab", "version": "v1"}]));
    assert_eq!(
        model["properties"]["metadata"]["allOf"],
        json!([{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}])
    );
    assert_eq!(
        model["properties"]["spec"]["properties"]["port"]["anyOf"],
        json!([{"type": "integer"}, {"type": "string"}])
    );
    let list = &document["components"]["schemas"]["io.x.v1.TabList"];
    assert_eq!(list["properties"]["items"]["items"], json!({"$ref": "#/components/schemas/io.x.v1.Tab"}));
    let patch = &document["paths"]["/apis/x.io/v1/namespaces/{namespace}/tabs/{name}"]["patch"];
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_none());
    let document = crate::openapi::v2_of(&catalog, &|kind| kind.served, &[]);
    let document: Value = serde_json::from_slice(&document.bytes).unwrap();
    let spec = &document["definitions"]["io.x.v1.Tab"]["properties"]["spec"];
    assert_eq!(spec["required"], json!(["a"]));
    assert_eq!(
        spec["properties"],
        json!({
            "a": {"type": "string", "description": "The a."},
            "n": {},
            "port": {"x-kubernetes-int-or-string": true},
            "free": {"x-kubernetes-preserve-unknown-fields": true},
        })
    );
}

/// A schema that is mostly sensible.
fn schemas() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(json!({"type": "string", "maxLength": 3, "pattern": "^a*$", "default": "a"})),
        Just(json!({"type": "integer", "minimum": 0, "default": 1})),
        Just(json!({"type": "number", "multipleOf": 0.5})),
        Just(json!({"type": "boolean", "nullable": true, "default": true})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"type": "string", "enum": ["a", "b"], "format": "date-time"})),
        Just(
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true})
        ),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| json!({"type": "array", "x-kubernetes-list-type": "set", "items": item})),
            inner.clone().prop_map(|other| json!({"type": "object", "additionalProperties": other})),
            (inner.clone(), inner).prop_map(|(a, b)| json!({
                "type": "object", "required": ["a"], "properties": {"a": a, "b": b},
                "anyOf": [{"required": ["b"]}, {"minProperties": 1}], "not": {"required": ["c"]},
            })),
        ]
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(-1)),
        Just(json!(1.5)),
        Just(json!("a")),
        Just(json!("zz")),
        Just(json!(u64::MAX)),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]|metadata|kind", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_is_pruned_defaulted_and_judged_without_a_panic(schema in schemas(), value in values()) {
        let kind = kind(spec(schema));
        let mut object = object(value.clone());
        drop(crate::coerce(&kind, &object));
        crate::prune(&kind, &mut object);
        crate::default(&kind, &mut object);
        let once = object.clone();
        prop_assert!(crate::prune(&kind, &mut object).is_empty(), "pruning again finds nothing");
        crate::default(&kind, &mut object);
        prop_assert_eq!(&once, &object, "defaulting again changes nothing");
        validate_create(&kind, &object);
        let lists = |faults: &[FieldError]| faults.iter().any(|fault| fault.kind == crate::Cause::Duplicate);
        let faults = validate_update(&kind, &object, &object);
        let embedded = faults.iter().all(|fault| fault.path.contains("apiVersion")
            || fault.path.contains("kind") || fault.path.contains("metadata"));
        prop_assert!(!lists(&faults) && embedded, "an unchanged object stays acceptable: {:?}", faults);
        crate::table::table(&kind, [&object], base::time::now(), crate::table::Include::Object, json!({}), true);
        crate::selectable_fields(&kind, &object);
    }

    #[test]
    fn any_json_is_judged_as_a_schema_without_a_panic(schema in values(), more in schemas()) {
        let crd = Catalog::builtin().resource("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap();
        for schema in [schema.clone(), json!({"type": "object", "properties": schema}), more] {
            let mut definition = json!({
                "metadata": {"name": "tabs.x.io"},
                "spec": {"group": "x.io", "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]},
            });
            validate_create(crd, &definition);
            if crate::coerce(crd, &definition).is_ok() {
                crate::prune(crd, &mut definition);
                crate::default(crd, &mut definition);
                validate_create(crd, &definition);
                validate_update(crd, &definition, &definition);
            }
            non_structural(&definition);
        }
    }
}
