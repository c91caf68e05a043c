//! Inputs that are too much: too deep, too long, too many, of no encoding. Each gets a clear error, soon and cheaply.

use std::time::{Duration, Instant};

use http::Method;
use knarr_hostile::server::{Reply, server};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// None takes longer, on a machine that does other things too and in a build that is not optimised.
const LONGEST: Duration = Duration::from_secs(10);
/// The most memory that all of this may ever have needed.
const MOST: u64 = 700 << 20;

const MAPS: &str = "/api/v1/namespaces/default/configmaps?dryRun=All";
const MAP: &str = "/api/v1/namespaces/default/configmaps/map-0?dryRun=All";
const PODS: &str = "/api/v1/namespaces/default/pods?dryRun=All";
const JSON: &str = "application/json";

/// What is sent: method, path, content type, body.
type Request = (Method, String, &'static str, Vec<u8>);

fn post(path: &str, content_type: &'static str, body: impl Into<Vec<u8>>) -> Request {
    (Method::POST, path.to_owned(), content_type, body.into())
}

fn patch(path: &str, content_type: &'static str, body: impl Into<Vec<u8>>) -> Request {
    (Method::PATCH, path.to_owned(), content_type, body.into())
}

fn list(query: &str) -> Request {
    (Method::GET, format!("/api/v1/namespaces/default/configmaps?{query}"), "", Vec::new())
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

/// Sends each, and checks the code of the answer, a part of what it says, and the time it took.
fn check(monsters: Vec<(&str, Request, &[u16], &str)>) {
    let mut failures = Vec::new();
    for (name, (method, path, content_type, body), codes, words) in monsters {
        let begun = Instant::now();
        let reply = server().ask(&method, &path, &[("content-type", content_type)], body);
        let took = begun.elapsed();
        let Reply { code, text, .. } = reply.unwrap_or_else(|| panic!("{name}: no request"));
        let start: String = text.chars().take(700).collect();
        if !codes.contains(&code) || !text.contains(words) {
            failures.push(format!("{name}: {code} {start}"));
        } else if took > LONGEST {
            failures.push(format!("{name}: took {took:?}"));
        }
    }
    assert!(failures.is_empty(), "{} are not refused well:\n{}", failures.len(), failures.join("\n"));
    let peak = peak();
    assert!(peak < MOST, "all this needed {} MB", peak >> 20);
}

/// The most memory this process has had.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[test]
fn bodies_that_are_too_much_are_refused() {
    let deep = |times| format!(r#"{{"metadata":{{"name":"a"}},"x":{}}}"#, nested("[", "1", "]", times));
    let long = |count: usize| format!(r#"{{"metadata":{{"name":"a"}},"x":[{}1]}}"#, "1,".repeat(count));
    let members: String = (0..100_000).map(|number| format!("\"k{number}\":\"v\",")).collect();
    let replicas = |number: &str| {
        format!(
            r#"{{"metadata":{{"name":"a"}},"spec":{{"replicas":{number},"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{}}}}}}"#
        )
    };
    let deployments = "/apis/apps/v1/namespaces/default/deployments?dryRun=All";
    check(vec![
        ("deep JSON", post(MAPS, JSON, deep(100_000)), &[400], "max depth"),
        ("deep JSON of objects", post(MAPS, JSON, nested("{\"a\":", "1", "}", 100_000)), &[400], "max depth"),
        ("a long list", post(MAPS, JSON, long(1_000_000)), &[201], ""),
        ("more than the limit", post(MAPS, JSON, long(2_000_000)), &[413], "limit is 3145728"),
        (
            "many members",
            post(MAPS, JSON, format!("{{\"data\":{{{members}\"a\":\"b\"}},\"metadata\":{{\"name\":\"a\"}}}}")),
            &[201, 422],
            "",
        ),
        ("no UTF-8", post(MAPS, JSON, b"{\"metadata\":{\"name\":\"a\xff\"}}".to_vec()), &[400, 422], ""),
        ("a lone surrogate", post(MAPS, JSON, r#"{"metadata":{"name":"a\ud800"}}"#), &[400, 422], ""),
        ("a number that is too large", post(deployments, JSON, replicas("1e400")), &[400], ""),
        ("a number for another type", post(deployments, JSON, replicas("99999999999")), &[400], "99999999999"),
        ("a fraction", post(deployments, JSON, replicas("1.5")), &[400], "1.5"),
        (
            "repeated members",
            post(&format!("{MAPS}&fieldValidation=Strict"), JSON, r#"{"metadata":{"name":"a","name":"b"}}"#),
            &[400],
            r#"duplicate field \"metadata.name\""#,
        ),
        ("deep YAML", post(MAPS, "application/yaml", format!("a: {}", nested("[", "1", "]", 50_000))), &[400], ""),
        (
            "YAML that multiplies",
            post(MAPS, "application/yaml", {
                let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
                for level in 1..12 {
                    let before = format!("*a{},", level - 1).repeat(10);
                    text += &format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(','));
                }
                text
            }),
            &[400],
            "",
        ),
        (
            "protobuf that is cut",
            post(MAPS, "application/vnd.kubernetes.protobuf", b"k8s\0\x0a\xff\xff\xff\xff\x0f".to_vec()),
            &[400],
            "",
        ),
        (
            "deep protobuf",
            post(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All",
                "application/vnd.kubernetes.protobuf",
                deep_protobuf(3000),
            ),
            &[400, 422],
            "",
        ),
        ("a wrong gzip", (Method::POST, MAPS.to_owned(), "application/gzip", vec![0x1f, 0x8b, 8, 0]), &[415], ""),
        (
            "a long name",
            post(MAPS, JSON, json!({"metadata": {"name": "a".repeat(1_000_000)}}).to_string()),
            &[422],
            "metadata.name",
        ),
        (
            "much metadata",
            post(
                MAPS,
                JSON,
                json!({"metadata": {"name": "a", "annotations": {"a": "x".repeat(1_000_000)}}}).to_string(),
            ),
            &[422],
            "metadata.annotations: Too long",
        ),
        ("many containers", post(PODS, JSON, many_containers(4000)), &[201, 422], ""),
    ]);
}

/// A schema in a schema, so many times.
fn deep_protobuf(times: usize) -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = bytes.len();
        while length > 127 {
            out.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
            length >>= 7;
        }
        out.push(u8::try_from(length).expect("seven bits"));
        out.extend_from_slice(bytes);
        out
    }
    let mut schema = Vec::new();
    for _ in 0..times {
        schema = [vec![0xea, 0x01], field(0, &schema)[1..].to_vec()].concat(); // not, number 29
    }
    let version = field(7, &field(4, &field(1, &schema)));
    let meta = [field(1, b"apiextensions.k8s.io/v1"), field(2, b"CustomResourceDefinition")].concat();
    [b"k8s\0".to_vec(), field(1, &meta), field(2, &field(2, &version))].concat()
}

fn many_containers(count: usize) -> String {
    let containers: Vec<Value> = (0..count).map(|number| json!({"name": format!("c{number}"), "image": "i"})).collect();
    json!({"metadata": {"name": "a"}, "spec": {"containers": containers}}).to_string()
}

#[test]
fn patches_that_are_too_much_are_refused() {
    let (json_patch, merge) = ("application/json-patch+json", "application/merge-patch+json");
    let strategic = "application/strategic-merge-patch+json";
    let operations = |operation: Value, count| Value::Array(vec![operation; count]).to_string();
    let add = json!({"op": "add", "path": "/data/a", "value": "b"});
    let mut growth = vec![json!({"op": "add", "path": "/data/x", "value": {"a": "0123456789"}})];
    growth.extend((0..60).map(|number| json!({"op": "copy", "from": "/data", "path": format!("/data/c{number}")})));
    let containers: Vec<Value> = (0..3000).map(|number| json!({"name": format!("c{number}"), "image": "i"})).collect();
    let order: Vec<Value> = (0..3000).map(|number| json!({"name": format!("c{number}")})).collect();
    let pod = "/api/v1/namespaces/default/pods/web?dryRun=All";
    check(vec![
        ("many operations", patch(MAP, json_patch, operations(add.clone(), 10_001)), &[413], "10000"),
        ("as many as may be", patch(MAP, json_patch, operations(add, 10_000)), &[200], ""),
        ("copies of copies", patch(MAP, json_patch, Value::Array(growth).to_string()), &[413, 422], ""),
        (
            "a deep JSON patch",
            patch(
                MAP,
                json_patch,
                format!(r#"[{{"op":"add","path":"/data","value":{}}}]"#, nested("[", "1", "]", 50_000)),
            ),
            &[400],
            "",
        ),
        (
            "a deep pointer",
            patch(MAP, json_patch, json!([{"op": "add", "path": "/a".repeat(100_000), "value": 1}]).to_string()),
            &[422],
            "",
        ),
        ("a deep merge patch", patch(MAP, merge, nested("{\"a\":", "1", "}", 50_000)), &[400], ""),
        ("a deep strategic patch", patch(MAP, strategic, nested("{\"a\":", "1", "}", 50_000)), &[400], ""),
        ("a merge patch that is no object", patch(MAP, merge, "[1,2]"), &[400, 422], ""),
        (
            "a long strategic list with its order",
            patch(
                pod,
                strategic,
                json!({"spec": {"containers": containers, "$setElementOrder/containers": order}}).to_string(),
            ),
            &[422],
            "",
        ),
    ]);
}

#[test]
fn applied_configurations_that_are_too_much_are_refused() {
    let apply = "application/apply-patch+yaml";
    let path =
        |name: &str| format!("/api/v1/namespaces/default/configmaps/{name}?dryRun=All&fieldManager=f&force=true");
    let head = r#""apiVersion":"v1","kind":"ConfigMap""#;
    let owned = nested(r#"{"f:a":"#, "{}", "}", 5000);
    let ports: Vec<Value> = (1..4000).map(|port| json!({"containerPort": port})).collect();
    let ports = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "new"}, "spec": {"containers": [{"name": "web", "image": "i", "ports": ports}]}});
    check(vec![
        (
            "deep",
            patch(&path("map-0"), apply, format!("{{{head},\"data\":{}}}", nested("{\"a\":", "1", "}", 50_000))),
            &[400],
            "",
        ),
        (
            "deep ownership",
            patch(
                &path("map-0"),
                apply,
                format!(
                    r#"{{{head},"metadata":{{"managedFields":[{{"manager":"m","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{owned}}}]}}}}"#
                ),
            ),
            &[400, 422],
            "",
        ),
        ("no manager", patch(MAP, apply, format!("{{{head}}}")), &[422, 400], "fieldManager"),
        (
            "a long list with keys",
            patch("/api/v1/namespaces/default/pods/new?dryRun=All&fieldManager=f", apply, ports.to_string()),
            &[201, 422],
            "",
        ),
    ]);
}

#[test]
fn queries_that_are_too_much_are_refused() {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let words = "a in (b),".repeat(900);
    check(vec![
        ("many labels", list(&format!("labelSelector={}", encoded(words.trim_end_matches(',')))), &[200], ""),
        (
            "many values",
            list(&format!("labelSelector={}", encoded(&format!("a in ({}b)", "b,".repeat(9000))))),
            &[200],
            "",
        ),
        ("open parentheses", list(&format!("labelSelector={}", encoded(&"a in (".repeat(3000)))), &[400], ""),
        ("bangs", list(&format!("labelSelector={}", encoded(&"!".repeat(15_000)))), &[400], ""),
        ("many fields", list(&format!("fieldSelector={}", encoded(&"metadata.name!=x,".repeat(900)))), &[200], ""),
        (
            "escapes",
            list(&format!("fieldSelector={}", encoded(&format!("metadata.name={}", "\\\\".repeat(9000))))),
            &[200, 400],
            "",
        ),
        ("a long token", list(&format!("limit=1&continue={}", "A".repeat(50_000))), &[400], "continue"),
        ("a limit that is too large", list("limit=99999999999999999999"), &[400], ""),
        ("a negative limit", list("limit=-1"), &[200, 400], ""),
        ("a version that is none", list("resourceVersion=-1"), &[400], ""),
        ("a version to come", list("resourceVersion=9999999999"), &[504], "Too large resource version"),
    ]);
}

/// A definition with this schema of `spec`.
fn definition(name: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"{name}s.monsters.example.com"}},
        "spec":{{"group":"monsters.example.com","scope":"Namespaced","names":{{"plural":"{name}s","kind":"{name}"}},"versions":[{{"name":"v1","served":true,"storage":true,
        "schema":{{"openAPIV3Schema":{{"type":"object","properties":{{"spec":{spec}}}}}}}}}]}}}}"#
    )
    .replacen("\"kind\":\"", "\"kind\":\"K", 2)
    .replacen("KCustomResourceDefinition", "CustomResourceDefinition", 1)
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

#[test]
fn definitions_that_are_too_much_are_refused() {
    let dry = format!("{DEFINITIONS}?dryRun=All");
    let check_one = |spec: String| post(&dry, JSON, definition("dry", &spec));
    let rule = |rule: &str| {
        let text = serde_json::to_string(rule).expect("JSON");
        let deep = r#"{"type":"array","items":{"type":"array","items":{"type":"array","items":{"type":"string"}}}}"#;
        check_one(format!(
            r#"{{"type":"object","properties":{{"a":{{"type":"integer"}},"deep":{deep}}},"x-kubernetes-validations":[{{"rule":{text}}}]}}"#
        ))
    };
    let text = |pattern: &str| {
        let pattern = serde_json::to_string(pattern).expect("JSON");
        check_one(format!(r#"{{"type":"string","pattern":{pattern}}}"#))
    };
    let level = r#"{"type":"object","properties":{"a":"#;
    let values: String = (0..50_000).map(|number| format!("\"v{number}\",")).collect();
    check(vec![
        ("a reference", check_one(r##"{"type":"object","$ref":"#/definitions/a"}"##.to_owned()), &[422], "$ref"),
        (
            "a reference to itself",
            check_one(
                r##"{"type":"object","definitions":{"a":{"$ref":"#/definitions/a"}},"$ref":"#/definitions/a"}"##
                    .to_owned(),
            ),
            &[422],
            "$ref",
        ),
        ("a schema of some depth", check_one(nested(level, r#"{"type":"string"}"#, "}}", 45)), &[201], ""),
        ("a deep schema", check_one(nested(level, r#"{"type":"string"}"#, "}}", 30_000)), &[400], "max depth"),
        ("many values", check_one(format!(r#"{{"type":"string","enum":[{values}"v"]}}"#)), &[201, 422], ""),
        ("a pattern that is none", text("(a"), &[422], "pattern"),
        ("a pattern that looks ahead", text("(?=a)a"), &[422], "pattern"),
        ("a pattern that grows", text("(((a{1,1000}){1,1000}){1,1000}){1,1000}"), &[422], "pattern"),
        ("a long pattern", text(&"(a|b)*".repeat(100_000)), &[201, 422], ""),
        ("a rule that is none", rule("self.a <"), &[422], "compilation failed"),
        ("a rule of unknown names", rule("self.b == 1"), &[422], "undefined field 'b'"),
        ("a rule of a wrong type", rule("self.a"), &[422], "must evaluate to a bool"),
        ("deep parentheses", rule(&nested("(", "true", ")", 20_000)), &[422], ""),
        ("deep lists", rule(&format!("{} == []", nested("[", "", "]", 20_000))), &[422], ""),
        ("a long chain", rule(&format!("true{}", " && true".repeat(50_000))), &[422, 201], ""),
        ("many negations", rule(&format!("{}true", "!".repeat(50_000))), &[422, 201], ""),
        (
            "a rule that costs too much",
            rule("self.deep.all(x, x.all(y, y.all(z, self.deep.all(v, v.all(w, w.all(u, u == z))))))"),
            &[422],
            "exceeds budget",
        ),
    ]);
}

#[test]
fn custom_resources_that_are_too_much_are_refused() {
    let spec = r#"{"type":"object","properties":{"text":{"type":"string","pattern":"^(a+)+$"},
        "list":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
        "map":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","required":["k"],"properties":{"k":{"type":"string"}}}},
        "any":{"x-kubernetes-preserve-unknown-fields":true},
        "rule":{"type":"array","maxItems":1000,"items":{"type":"string","maxLength":100},"x-kubernetes-validations":[{"rule":"self.all(x, x.matches('^(b+)+$'))"}]}}}"#;
    let object: Value = serde_json::from_str(&definition("live", spec)).expect("JSON");
    server().post(DEFINITIONS, &object);
    let path = "/apis/monsters.example.com/v1/namespaces/default/lives?dryRun=All".to_owned();
    let begun = Instant::now();
    while server().ask(&Method::GET, &path, &[], Vec::new()).expect("a request").code != 200 {
        assert!(begun.elapsed() < LONGEST, "it is not served");
    }
    let custom = |spec: String| {
        let head = r#"{"apiVersion":"monsters.example.com/v1","kind":"Klive","metadata":{"name":"a"},"spec":"#;
        post(&path, JSON, format!("{head}{spec}}}"))
    };
    let numbers = |count: usize| (0..count).map(|number| format!("\"{number}\"")).collect::<Vec<_>>().join(",");
    let keys = (0..50_000).map(|number| format!("{{\"k\":\"{number}\"}}")).collect::<Vec<_>>().join(",");
    check(vec![
        (
            "a pattern that backtracks",
            custom(format!(r#"{{"text":"{}!"}}"#, "a".repeat(500_000))),
            &[422],
            "should match",
        ),
        ("a long set", custom(format!(r#"{{"list":[{}]}}"#, numbers(100_000))), &[201], ""),
        (
            "a long set with one twice",
            custom(format!(r#"{{"list":[{},"7"]}}"#, numbers(100_000))),
            &[422],
            "Duplicate value",
        ),
        ("a long list of keys", custom(format!(r#"{{"map":[{keys},{{"k":"7"}}]}}"#)), &[422], "Duplicate value"),
        (
            "anything that is deep",
            custom(format!(r#"{{"any":{}}}"#, nested("[", "1", "]", 50_000))),
            &[400],
            "max depth",
        ),
        ("too many for a rule", custom(format!(r#"{{"rule":[{}]}}"#, numbers(2000))), &[422], "Too many"),
        (
            "a rule of many",
            custom(format!(r#"{{"rule":[{}]}}"#, vec!["\"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb!\""; 1000].join(","))),
            &[422],
            "spec.rule",
        ),
    ]);
}
