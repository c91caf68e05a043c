use std::io::Read as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalog::Catalog;
use crate::schema::{Type, schema};
use crate::testing::{Dice, sample};

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::bytes(&mut out, number, bytes);
    out
}

fn object(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    envelope(&mut out, api_version, kind, |out| out.extend_from_slice(raw));
    out
}

#[test]
fn a_config_map_is_read_by_the_numbers_of_the_schema() {
    let metadata = field(1, &field(1, b"a"));
    let entry = field(2, &[field(1, b"k"), field(2, b"v")].concat());
    let read = decode(&object("v1", "ConfigMap", &[metadata, entry].concat())).expect("a config map");
    let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    assert_eq!(read, expected);
}

#[test]
fn a_pointer_keeps_its_zero_and_an_inlined_struct_is_flat() {
    // Deployment.spec.replicas = 0; template.spec.volumes[0].hostPath through VolumeSource
    let volume = [field(1, b"v"), field(2, &field(1, &field(1, b"/x")))].concat();
    let template = field(2, &field(1, &volume));
    let spec = [vec![1 << 3, 0], field(3, &template)].concat();
    let read = decode(&object("apps/v1", "Deployment", &field(2, &spec))).expect("a deployment");
    assert_eq!(read.pointer("/spec/replicas"), Some(&json!(0)));
    let path = read.pointer("/spec/template/spec/volumes/0");
    assert_eq!(path, Some(&json!({"name": "v", "hostPath": {"path": "/x"}})), "{read}");
}

#[test]
fn bodies_that_are_no_rows_have_a_type_too() {
    for (version, kind) in [
        ("v1", "DeleteOptions"),
        ("apps/v1", "DeleteOptions"),
        ("meta.k8s.io/v1", "DeleteOptions"),
        ("v1", "Status"),
        ("v1", "PodList"),
        ("v1", "APIResourceList"),
        ("policy/v1", "Eviction"),
        ("autoscaling/v1", "Scale"),
        ("authentication.k8s.io/v1", "TokenRequest"),
        ("v1", "Binding"),
        ("meta.k8s.io/v1", "PartialObjectMetadata"),
        ("meta.k8s.io/v1beta1", "PartialObjectMetadataList"),
        ("apidiscovery.k8s.io/v2", "APIGroupDiscoveryList"),
    ] {
        assert!(type_of(version, kind).is_some(), "{version} {kind}");
    }
}

#[test]
fn what_is_no_protobuf_is_refused() {
    for (bytes, message) in [
        (b"".to_vec(), "empty data"),
        (b"{}".to_vec(), "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"),
        (b"k8s\0".to_vec(), "empty body"),
        (b"k8s\0\x0a\xff".to_vec(), "unexpected EOF"),
        (object("v1", "Nope", b""), "no kind \"Nope\" is registered for version \"v1\""),
        (object("v1", "Pod", b"\x08\x01"), "proto: wrong wireType = 0 for field Metadata"),
        (object("v1", "Pod", b"\x0b"), "proto: illegal wireType 3"),
    ] {
        assert_eq!(decode(&bytes).map_err(|error| error.to_string()), Err(message.to_owned()));
    }
}

#[test]
fn few_bytes_cannot_make_many_values() {
    // each empty container of two bytes would become an object of two members
    let containers: Vec<u8> = std::iter::repeat_n([0x12, 0], 300_000).flatten().collect();
    let error = decode(&object("v1", "Pod", &field(2, &containers))).map(drop).expect_err("too many");
    assert_eq!(error.to_string(), "proto: too many values for so few bytes");
    // a schema in a schema in a schema
    let mut schema = Vec::new();
    for _ in 0..500 {
        schema = field(27, &schema);
    }
    let crd = field(2, &field(7, &field(4, &field(1, &schema))));
    let error =
        decode(&object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &crd)).map(drop).expect_err("too deep");
    assert_eq!(error.to_string(), "proto: nested too deep");
}

/// Pairs of JSON and protobuf, each with every field set, as upstream's own round-trip test has them.
fn fixtures() -> Vec<(String, Value, Vec<u8>)> {
    let packed = include_bytes!("../../tests/golden/protobuf.zst");
    let mut bytes = Vec::new();
    zstd::Decoder::new(&packed[..]).expect("a zstd frame").read_to_end(&mut bytes).expect("golden files");
    let mut rest = &bytes[..];
    let mut take = || {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let (part, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
        rest = tail;
        Some(part.to_vec())
    };
    let mut found = Vec::new();
    while let (Some(name), Some(json), Some(protobuf)) = (take(), take(), take()) {
        let name = String::from_utf8(name).expect("a name");
        found.push((name, serde_json::from_slice(&json).expect("golden JSON"), protobuf));
    }
    found
}

#[test]
fn upstreams_fixtures_are_read_and_written_byte_for_byte() {
    let fixtures = fixtures();
    for (name, json, protobuf) in &fixtures {
        let written = encode(json).unwrap_or_else(|| panic!("no type for {name}"));
        if written != *protobuf {
            let at = written.iter().zip(protobuf).take_while(|(a, b)| a == b).count();
            let around = |bytes: &[u8]| {
                String::from_utf8_lossy(&bytes[at.saturating_sub(40)..bytes.len().min(at + 40)]).into_owned()
            };
            panic!("{name} differs at {at}: wrote {:?}, expected {:?}", around(&written), around(protobuf));
        }
        assert_eq!(decode(protobuf).as_ref(), Ok(json), "{name}");
    }
    let served = Catalog::builtin().kinds().iter().filter(|kind| kind.served && !kind.group.contains("apie"));
    for kind in served.filter(|kind| kind.group != "apiregistration.k8s.io") {
        let group = if kind.group.is_empty() { "core" } else { &kind.group };
        let name = format!("{group}.{}.{}", kind.version, kind.kind);
        assert!(fixtures.iter().any(|(held, ..)| *held == name), "no fixture of {name}");
    }
}

#[test]
fn every_field_on_the_wire_has_a_codec() {
    let schema = schema();
    for definition in schema.definitions() {
        for field in definition.fields.iter().filter(|field| field.numbers[0] > 0) {
            let inner = match schema.ty(field.ty) {
                Type::List(item) | Type::Map(item) => schema.ty(item),
                other => other,
            };
            match inner {
                Type::Map(_) => panic!("{}.{}: a map in a map or list", definition.name, field.name),
                Type::List(text) => assert_eq!(schema.ty(text), Type::String, "{}.{}", definition.name, field.name),
                _ => {}
            }
        }
    }
}

#[test]
fn what_go_always_writes_is_written() {
    let pod = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
    let written = encode(&pod).expect("a namespace");
    let metadata = b"\x0a\x01a\x12\0\x1a\0\x22\0\x2a\0\x32\0\x38\0\x42\0";
    let raw = [field(1, metadata), field(2, b""), field(3, &field(1, b""))].concat();
    assert_eq!(written, object("v1", "Namespace", &raw));
    assert_eq!(
        decode(&written),
        Ok(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "spec": {}, "status": {}}))
    );
}

#[test]
fn a_null_in_a_map_is_an_empty_message() {
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "status": {"disruptedPods": {"a": null}}});
    let read = decode(&encode(&budget).expect("a budget")).expect("reads back");
    assert_eq!(read["status"]["disruptedPods"], json!({"a": null}));
}

#[test]
fn schemas_of_custom_resources_keep_their_odd_forms() {
    let schema = json!({
        "type": "object",
        "default": {"a": [1, null]},
        "enum": ["a", 1],
        "items": {"type": "string"},
        "additionalProperties": true,
        "dependencies": {"a": ["b"], "c": {"type": "string"}},
        "properties": {"x": {"additionalProperties": {"type": "integer", "maximum": 1.5}, "items": [{"type": "a"}]}},
        "x-kubernetes-validations": [{"rule": "self.a"}],
    });
    let versions = json!([{"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema}}]);
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "spec": {"versions": versions}});
    let read = decode(&encode(&crd).expect("a definition")).expect("reads back");
    assert_eq!(read["spec"]["versions"], versions);
}

#[test]
fn a_list_is_the_sum_of_its_items() {
    let pods: Vec<Value> = (0..3).map(|n| json!({"metadata": {"name": format!("p{n}")}, "spec": {}})).collect();
    let metadata = json!({"resourceVersion": "7", "continue": "x", "remainingItemCount": 4});
    let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": metadata, "items": pods});
    let ty = type_of("v1", "Pod").expect("a type");
    let items: Vec<Vec<u8>> = pods
        .iter()
        .map(|pod| {
            let mut out = Vec::new();
            message(ty, pod, &mut out);
            out
        })
        .collect();
    let total = items.iter().map(|item| item_size(item.len())).sum();
    let mut written = list_head("v1", "PodList", &metadata, total);
    for item in &items {
        item_head(&mut written, item.len());
        written.extend_from_slice(item);
    }
    written.extend_from_slice(ENVELOPE_TAIL);
    assert_eq!(Some(written), encode(&list));
}

#[test]
fn an_empty_text_where_a_number_may_stand_stays_a_text() {
    let ports = json!([{ "port": 80, "targetPort": "" }]);
    let service = json!({ "apiVersion": "v1", "kind": "Service", "spec": { "ports": ports } });
    let read = decode(&encode(&service).expect("a built-in kind")).expect("readable");
    assert_eq!(read["spec"]["ports"][0]["targetPort"], "");
}

fn kinds_with_samples() -> impl Strategy<Value = (usize, u64)> {
    (0..Catalog::builtin().kinds().len(), any::<u64>())
}

fn sample_of(index: usize, seed: u64, wild: usize) -> Value {
    let kind = &Catalog::builtin().kinds()[index];
    let mut object = sample(kind.schema, &mut Dice(seed), wild);
    if object.is_object() {
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
    }
    object
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_was_written_reads_back_and_is_written_the_same((index, seed) in kinds_with_samples()) {
        let object = sample_of(index, seed, 0);
        let once = encode(&object).expect("a built-in kind");
        let read = decode(&once).expect("what was written is readable");
        prop_assert_eq!(encode(&read).expect("a built-in kind"), once);
        // what is set and no zero comes back as it was
        prop_assert!(contains(&read, &object), "{read} lacks something of {object}");
    }

    #[test]
    fn the_short_way_writes_what_the_long_way_writes((index, seed) in kinds_with_samples(), wild in 0_usize..20) {
        let object = sample_of(index, seed, wild);
        let ty = Catalog::builtin().kinds()[index].schema;
        let (mut long, mut short) = (Vec::new(), Vec::new());
        message(ty, &object, &mut long);
        if Transcoder::default().object(ty, object.to_string().as_bytes(), &mut short) {
            prop_assert_eq!(&short, &long, "{}", object);
        } else {
            prop_assert!(short.is_empty());
            let odd = object.to_string();
            prop_assert!(wild > 0 || odd.contains("\"openAPIV3Schema\""), "refused {odd}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..100)) {
        for (version, kind) in [("v1", "Pod"), ("v1", "DeleteOptions"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")] {
            drop(decode(&object(version, kind, &raw)));
        }
        drop(decode(&[MAGIC, &raw].concat()));
        let ty = type_of("v1", "Pod").expect("a type");
        let mut out = Vec::new();
        prop_assert!(Transcoder::default().object(ty, &raw, &mut out) || out.is_empty());
    }

    #[test]
    fn no_text_makes_the_short_way_panic(text in "(\\{|\\}|\\[|\\]|\"metadata\"|\"spec\"|\"name\"|\"labels\"|:|,|\\\\u12|\"|1|null|true){0,20}") {
        let ty = type_of("v1", "Pod").expect("a type");
        let mut out = Vec::new();
        prop_assert!(Transcoder::default().object(ty, text.as_bytes(), &mut out) || out.is_empty());
    }
}

/// Whether everything in `part` that is no zero, null or empty stands in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part.iter().all(|(name, value)| match whole.get(name) {
            Some(held) => contains(held, value),
            // an object inside another one does not say what it is
            None => is_nothing(value) || name == "apiVersion" || name == "kind",
        }),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(a, b)| contains(a, b))
        }
        // numbers become texts where a quantity stands, and times lose what their type has no room for
        (Value::String(text), Value::Number(number)) => *text == number.to_string(),
        (Value::String(a), Value::String(b)) => a == b || (b.starts_with("2026-") && a.starts_with("2026-")),
        (a, b) => a == b || is_nothing(b),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().all(is_nothing),
        Value::Array(items) => items.is_empty(),
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
    }
}

#[test]
fn the_cost_of_a_pod_is_printed() {
    let (_, pod, _) = fixtures().into_iter().find(|(name, ..)| name == "core.v1.Pod").expect("a pod");
    let running = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"app": "web", "tier": "front"}, "name": "web-1",
            "namespace": "default", "resourceVersion": "123456", "uid": "0b6e5c2c-4a40-4f0e-8b3c-0c1f0d1d7b1a",
            "ownerReferences": [{"apiVersion": "apps/v1", "blockOwnerDeletion": true, "controller": true,
                "kind": "ReplicaSet", "name": "web", "uid": "0b6e5c2c-4a40-4f0e-8b3c-0c1f0d1d7b1b"}],
        },
        "spec": {
            "containers": [{
                "name": "c", "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "volumeMounts": [{"mountPath": "/var/run/secrets", "name": "token", "readOnly": true}],
            }],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "nodeName": "node-1", "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30,
            "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists",
                "tolerationSeconds": 300}],
            "volumes": [{"name": "token", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}}]}}],
        },
        "status": {
            "conditions": [
                {"lastTransitionTime": "2026-01-02T03:04:05Z", "status": "True", "type": "Ready"},
                {"lastTransitionTime": "2026-01-02T03:04:05Z", "status": "True", "type": "PodScheduled"},
            ],
            "hostIP": "10.0.0.1", "phase": "Running", "podIP": "10.42.0.7", "podIPs": [{"ip": "10.42.0.7"}],
            "qosClass": "Burstable", "startTime": "2026-01-02T03:04:05Z",
        },
    });
    let ty = type_of("v1", "Pod").expect("a type");
    for (name, pod) in [("with every field", pod), ("that runs", running)] {
        let json = pod.to_string();
        let mut transcoder = Transcoder::default();
        let (mut long, mut short) = (Vec::new(), Vec::new());
        let cost = |work: &mut dyn FnMut()| {
            let mut times: Vec<f64> = (0..500)
                .map(|_| {
                    let clock = std::time::Instant::now();
                    work();
                    clock.elapsed().as_secs_f64() * 1e6
                })
                .collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let direct = cost(&mut || {
            short.clear();
            assert!(transcoder.object(ty, json.as_bytes(), &mut short));
        });
        let value = cost(&mut || {
            long.clear();
            message(ty, &serde_json::from_str(&json).expect("JSON"), &mut long);
        });
        let envelope = encode(&pod).expect("a pod");
        let read = cost(&mut || assert!(decode(&envelope).is_ok()));
        assert_eq!(short, long);
        println!(
            "pod {name}: {} bytes of JSON, {} of protobuf: direct {direct:.1}, over a value {value:.1}, read {read:.1} us",
            json.len(),
            short.len(),
        );
    }
}
