//! Searches for devices as tables: a world in text, and what the claims of a pod get on node `n1`.

mod property;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use super::*;
use crate::scheduler::seen::{SeenResourceClaim, SeenSlice};

/// The devices of a text, and the claims that want some.
pub(super) struct World {
    pub(super) devices: Devices,
    pub(super) wants: Vec<Result<Want, String>>,
    pub(super) node: NodeFacts,
}

fn set<'t>(words: &[&'t str], name: &str) -> Option<&'t str> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

fn value(text: &str) -> Value {
    match (text.parse::<i64>(), text.parse::<bool>()) {
        (Ok(number), _) => json!({ "int": number }),
        (_, Ok(truth)) => json!({ "bool": truth }),
        _ if text.matches('.').count() == 2 => json!({ "version": text }),
        _ => json!({ "string": text }),
    }
}

/// `a:b:c` triples as `{a: {b: {value: c}}}`.
fn sets<'t>(words: &[&'t str], name: &str) -> Vec<(&'t str, Value)> {
    let own = words.iter().filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let triple = |text: &'t str| {
        let parts: Vec<&str> = text.splitn(3, ':').collect();
        (parts[0], json!({ parts[1]: { "value": parts[2] } }))
    };
    own.map(triple).collect()
}

fn place(words: &[&str]) -> Value {
    let mut place = json!({});
    if let Some(node) = set(words, "node") {
        place["nodeName"] = json!(node);
    }
    if let Some(zone) = set(words, "zone") {
        let expression = json!({ "key": "zone", "operator": "In", "values": [zone] });
        place["nodeSelector"] = json!({ "nodeSelectorTerms": [{ "matchExpressions": [expression] }] });
    }
    if words.contains(&"everywhere") {
        place["allNodes"] = json!(true);
    }
    place
}

fn slice(words: &[&str]) -> Value {
    let mut spec = place(words);
    let number = |name: &str| set(words, name).map_or(1, |text| text.parse::<i64>().expect("a number"));
    spec["driver"] = json!(set(words, "driver").unwrap_or("d"));
    spec["pool"] = json!({ "name": set(words, "pool").unwrap_or("p"), "generation": number("gen"),
        "resourceSliceCount": number("of") });
    spec["perDeviceNodeSelection"] = json!(words.contains(&"each"));
    let counters = sets(words, "counters").into_iter();
    spec["sharedCounters"] = counters.map(|(name, counters)| json!({ "name": name, "counters": counters })).collect();
    spec["devices"] = json!([]);
    json!({ "metadata": { "name": words[1] }, "spec": spec })
}

fn device(words: &[&str]) -> Value {
    let mut device = place(words);
    device["name"] = json!(words[1]);
    device["allowMultipleAllocations"] = json!(words.contains(&"multiple"));
    device["bindsToNode"] = json!(words.contains(&"binds"));
    for (kind, field) in [("attr", "attributes"), ("cap", "capacity")] {
        let pairs = words.iter().filter_map(|word| word.strip_prefix(kind)?.strip_prefix('=')?.split_once(':'));
        for (name, text) in pairs {
            device[field][name] = if kind == "attr" { value(text) } else { json!({ "value": text }) };
        }
    }
    let consumes = sets(words, "uses").into_iter();
    device["consumesCounters"] =
        consumes.map(|(set, counters)| json!({ "counterSet": set, "counters": counters })).collect();
    if let Some((key, effect)) = set(words, "taint").and_then(|taint| taint.split_once(':')) {
        device["taints"] = json!([{ "key": key, "effect": effect }]);
    }
    if let Some(condition) = set(words, "needs") {
        device["bindingConditions"] = json!([condition]);
    }
    device
}

fn request(words: &[&str], line: &str) -> Value {
    let mut request =
        json!({ "deviceClassName": set(words, "class").unwrap_or("any"), "allocationMode": "ExactCount" });
    request["count"] = json!(set(words, "count").map_or(1, |text| text.parse::<i64>().expect("a number")));
    if words.contains(&"all") {
        request["allocationMode"] = json!("All");
    }
    if words.contains(&"admin") {
        request["adminAccess"] = json!(true);
    }
    if let Some(key) = set(words, "tolerate") {
        request["tolerations"] = json!([{ "key": key, "operator": "Exists" }]);
    }
    if let Some((name, amount)) = set(words, "cap").and_then(|cap| cap.split_once(':')) {
        request["capacity"] = json!({ "requests": { name: amount } });
    }
    if let Some((_, expression)) = line.split_once(" where ") {
        request["selectors"] = json!([{ "cel": { "expression": expression } }]);
    }
    request
}

/// Reads a world; `used` lines are devices that somebody has.
pub(super) fn world(text: &str) -> World {
    let (mut slices, mut claims): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    let mut devices = Devices::default();
    let class = |expressions: Vec<Value>, config: Value| {
        serde_json::from_value(json!({ "selectors": expressions, "config": config })).expect("a class")
    };
    devices.put_class("any", Some((class(Vec::new(), json!(null)), None)));
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let claim = || json!({ "metadata": { "name": words[1], "namespace": "shop" } });
        match words[0] {
            "slice" => slices.push(slice(&words)),
            "device" => {
                let into = slices.last_mut().expect("a slice")["spec"]["devices"].as_array_mut();
                into.expect("devices").push(device(&words));
            }
            "class" => {
                let (_, expression) = line.split_once(" where ").expect("an expression");
                let opaque = json!([{ "opaque": { "driver": "d", "parameters": { "of": words[1] } } }]);
                let class = class(vec![json!({ "cel": { "expression": expression } })], opaque);
                devices.put_class(words[1], Some((class, None)));
            }
            "claim" => claims.push(claim()),
            "request" | "or" => {
                let spec = &mut claims.last_mut().expect("a claim")["spec"]["devices"];
                if spec["requests"].is_null() {
                    spec["requests"] = json!([]);
                }
                let requests = spec["requests"].as_array_mut().expect("requests");
                let mut asked = request(&words, line);
                match words[1].split_once('/') {
                    None => requests.push(json!({ "name": words[1], "exactly": asked })),
                    Some((parent, name)) => {
                        asked["name"] = json!(name);
                        if words[0] == "request" {
                            requests.push(json!({ "name": parent, "firstAvailable": [] }));
                        }
                        let last = requests.last_mut().expect("a request");
                        last["firstAvailable"].as_array_mut().expect("alternatives").push(asked);
                    }
                }
            }
            "match" | "distinct" => {
                let spec = &mut claims.last_mut().expect("a claim")["spec"]["devices"];
                let mut constraint = json!({ format!("{}Attribute", words[0]): words[1], "requests": &words[2..] });
                if words.len() == 2 {
                    constraint.as_object_mut().expect("an object").remove("requests");
                }
                match spec["constraints"].as_array_mut() {
                    Some(all) => all.push(constraint),
                    None => spec["constraints"] = json!([constraint]),
                }
            }
            "config" => {
                let spec = &mut claims.last_mut().expect("a claim")["spec"]["devices"];
                let opaque = json!({ "driver": "d", "parameters": { "of": "claim" } });
                spec["config"] = json!([{ "opaque": opaque, "requests": &words[1..] }]);
            }
            "used" => {
                let parts: Vec<&str> = words[1].split('/').collect();
                let mut result = json!({ "request": "r", "driver": parts[0], "pool": parts[1], "device": parts[2] });
                if let Some((name, amount)) = set(&words, "cap").and_then(|cap| cap.split_once(':')) {
                    result["shareID"] = json!("share");
                    result["consumedCapacity"] = json!({ name: amount });
                }
                result["adminAccess"] = json!(words.contains(&"admin"));
                let name = format!("{}-{}", words[1], devices.claims.len());
                let claim = json!({ "metadata": { "name": name, "namespace": "other", "uid": name },
                    "spec": {}, "status": { "allocation": { "devices": { "results": [result] } } } });
                devices.put_claim(serde_json::from_value::<SeenResourceClaim>(claim).expect("a claim").kept());
            }
            other => panic!("what is {other}?"),
        }
    }
    for slice in slices {
        devices.put_slice(serde_json::from_value::<SeenSlice>(slice).expect("a slice").kept());
    }
    let claims =
        claims.into_iter().map(|claim| serde_json::from_value::<SeenResourceClaim>(claim).expect("a claim").kept());
    let wants = claims.map(|claim| devices.want(&claim, &claim.spec)).collect();
    let node: Node =
        serde_json::from_value(json!({ "metadata": { "name": "n1", "labels": { "zone": "a" } } })).expect("a node");
    World { wants, node: NodeFacts::read(&node), devices }
}

impl World {
    fn allocate(self) -> Result<Option<Vec<Arc<AllocationResult>>>, Stop> {
        let wants: Result<Vec<Want>, String> = self.wants.into_iter().collect();
        self.devices.allocate(&wants.map_err(Stop::Broken)?, &self.node, &|| false)
    }
}

fn results(allocation: &AllocationResult) -> Vec<String> {
    let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    let shown = results.map(|one| {
        let consumed = one.consumed_capacity.iter().flatten().map(|(name, amount)| format!(" {name}={}", amount.0));
        let admin = if one.admin_access == Some(true) { " admin" } else { "" };
        format!("{}={}/{}/{}{admin}{}", one.request, one.driver, one.pool, one.device, consumed.collect::<String>())
    });
    shown.collect()
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&match world(text).allocate() {
        Ok(Some(allocations)) => {
            let each = allocations.iter().map(|allocation| results(allocation).join(", "));
            each.collect::<Vec<_>>().join("; ")
        }
        Ok(None) => "none".to_owned(),
        Err(stop) => format!("{stop:?}"),
    });
}

const TWO: &str = "slice s node=n1\ndevice a attr=model:x attr=numa:0\ndevice b attr=model:y attr=numa:1\n";

#[test]
fn the_first_device_that_suits_is_given() {
    check(&format!("{TWO}claim c\nrequest r"), expect!["r=d/p/a"]);
    check(&format!("{TWO}claim c\nrequest r where device.attributes[\"d\"].model == \"y\""), expect!["r=d/p/b"]);
    check(&format!("{TWO}used d/p/a\nclaim c\nrequest r"), expect!["r=d/p/b"]);
    check(&format!("{TWO}used d/p/a admin\nclaim c\nrequest r"), expect!["r=d/p/a"]);
    check(&format!("{TWO}claim c\nrequest r count=2\nclaim d\nrequest r"), expect!["none"]);
    check(&format!("{TWO}claim c\nrequest r\nclaim d\nrequest r"), expect!["r=d/p/a; r=d/p/b"]);
    check("slice s node=n2\ndevice a\nclaim c\nrequest r", expect!["none"]);
}

#[test]
fn earlier_requests_give_way_to_later_ones() {
    check(
        &format!("{TWO}claim c\nrequest any\nrequest picky where device.attributes[\"d\"].model == \"x\""),
        expect!["any=d/p/b, picky=d/p/a"],
    );
    check(
        &format!("{TWO}claim c\nrequest r\nclaim d\nrequest s where device.attributes[\"d\"].numa == 0"),
        expect!["r=d/p/b; s=d/p/a"],
    );
}

#[test]
fn classes_choose_too_and_what_cannot_be_told_is_an_error() {
    let classes = "class fast where device.attributes[\"d\"].model == \"y\"\nclass odd where device.attributes[\"d\"].size > 1\nclass bad where 1\n";
    check(&format!("{classes}{TWO}claim c\nrequest r class=fast"), expect!["r=d/p/b"]);
    check(
        &format!("{classes}{TWO}claim c\nrequest r class=odd"),
        expect![[r#"Broken("class odd: selector #0: CEL runtime error: no such key: size")"#]],
    );
    check(
        &format!("{classes}{TWO}claim c\nrequest r class=bad"),
        expect![[
            r#"Broken("class bad: selector #0: CEL compile error: must evaluate to bool or the unknown type, not int")"#
        ]],
    );
    check(
        &format!("{TWO}claim c\nrequest r class=none"),
        expect![[
            r#"Broken("claim shop/c, request r: could not retrieve device class none: deviceclass.resource.k8s.io \"none\" not found")"#
        ]],
    );
    check(
        &format!("{TWO}claim c\nrequest r where device.attributes[\"d\"].model"),
        expect![[
            r#"Broken("claim shop/c: selector #0: CEL runtime error: CEL result of type x could not be converted to bool")"#
        ]],
    );
    check(
        "slice s node=n1\ndevice a attr=v:1.x.y\nclaim c\nrequest r where true",
        expect![[
            r#"Broken("claim shop/c: selector #0: CEL runtime error: attribute v: parse semantic version: unexpected character 'x' while parsing minor version number")"#
        ]],
    );
}

#[test]
fn all_means_every_device_that_suits_or_none() {
    check(&format!("{TWO}claim c\nrequest r all"), expect!["r=d/p/a, r=d/p/b"]);
    check(&format!("{TWO}used d/p/b\nclaim c\nrequest r all"), expect!["none"]);
    check(&format!("{TWO}claim c\nrequest r all where false"), expect!["none"]);
    check(
        "slice s node=n1 of=2\ndevice a\nclaim c\nrequest r all",
        expect![[
            r#"Broken("claim shop/c, request r: asks for all devices, but resource pool d/p is currently being updated")"#
        ]],
    );
    check(
        &format!("{TWO}claim c\nrequest r all\nmatch d/numa"),
        expect![[
            r#"Broken("claim shop/c, request r: cannot add device d/p/b because a claim constraint would not be satisfied")"#
        ]],
    );
    let many: String = (0..33).map(|index| format!("device x{index}\n")).collect();
    check(
        &format!("slice s node=n1\n{many}claim c\nrequest r all"),
        expect![[r#"Broken("claim shop/c: number of requested devices 33 exceeds the claim limit of 32")"#]],
    );
}

#[test]
fn constraints_hold_over_the_devices_they_are_about() {
    let devices = "slice s node=n1\ndevice a attr=numa:0\ndevice b attr=numa:1\ndevice c attr=numa:1\ndevice e\n";
    check(&format!("{devices}claim c\nrequest r count=2\nmatch d/numa"), expect!["r=d/p/b, r=d/p/c"]);
    check(&format!("{devices}claim c\nrequest r count=2\ndistinct d/numa"), expect!["r=d/p/a, r=d/p/b"]);
    check(&format!("{devices}claim c\nrequest r count=3\ndistinct d/numa"), expect!["none"]);
    check(&format!("{devices}claim c\nrequest r\nrequest s\nmatch d/numa s"), expect!["r=d/p/a, s=d/p/b"]);
    check(&format!("{devices}claim c\nrequest r count=2\nmatch other/numa"), expect!["none"]);
}

#[test]
fn of_alternatives_the_first_that_works_is_taken() {
    let asked = "claim c\nrequest r/big count=3\nor r/small count=2\nrequest s";
    check(&format!("{TWO}device c\n{asked}"), expect!["r/small=d/p/a, r/small=d/p/b, s=d/p/c"]);
    check(&format!("{TWO}{asked}"), expect!["none"]);
    check(
        &format!(
            "{TWO}claim c\nrequest r/x where device.attributes[\"d\"].model == \"x\"\nor r/y\nrequest s/x where device.attributes[\"d\"].model == \"x\""
        ),
        expect!["r/y=d/p/b, s/x=d/p/a"],
    );
    // too many for one claim: a smaller alternative before it makes room
    let many: String = (0..34).map(|index| format!("device x{index:02}\n")).collect();
    let text = format!("slice s node=n1\n{many}claim c\nrequest r/big count=8\nor r/small count=2\nrequest s count=30");
    let allocations = world(&text).allocate().expect("an answer").expect("devices");
    assert_eq!(results(&allocations[0]).iter().filter(|one| one.starts_with("r/small=")).count(), 2);
}

#[test]
fn administrators_see_devices_that_others_have() {
    check(&format!("{TWO}used d/p/a\nclaim c\nrequest r admin"), expect!["r=d/p/a admin"]);
    check(
        &format!("{TWO}used d/p/a\nused d/p/b\nclaim c\nrequest r admin count=2"),
        expect!["r=d/p/a admin, r=d/p/b admin"],
    );
    check(&format!("{TWO}claim c\nrequest r admin count=2\nrequest s admin"), expect!["none"]);
}

#[test]
fn only_the_newest_and_whole_generation_of_a_pool_counts() {
    check("slice s1 node=n1 gen=1\ndevice a\nslice s2 node=n1 gen=2\ndevice b\nclaim c\nrequest r", expect!["r=d/p/b"]);
    check("slice s1 node=n1 gen=1\ndevice a\nslice s2 node=n2 gen=2\ndevice b\nclaim c\nrequest r", expect!["none"]);
    check("slice s1 node=n1 of=2\ndevice a\nclaim c\nrequest r", expect!["none"]);
    check("slice s1 node=n1 of=2\ndevice a\nslice s2 node=n2 of=2\ndevice b\nclaim c\nrequest r", expect!["r=d/p/a"]);
    check("slice s1 node=n1 of=2\ndevice a\nslice s2 node=n1 of=2\ndevice a\nclaim c\nrequest r", expect!["Invalid"]);
    check(
        "slice s1 pool=q node=n1 of=2\ndevice a\nslice s2 pool=r node=n1\ndevice b\nclaim c\nrequest r",
        expect!["r=d/r/b"],
    );
}

#[test]
fn a_device_is_given_where_it_can_be_reached() {
    let nodes = |text: &str| {
        let allocations = world(text).allocate().expect("an answer").expect("devices");
        serde_json::to_value(&allocations[0].node_selector).expect("json").to_string()
    };
    assert_eq!(nodes("slice s everywhere\ndevice a\nclaim c\nrequest r"), "null");
    let here = r#"{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}]}"#;
    assert_eq!(nodes("slice s node=n1\ndevice a\nclaim c\nrequest r"), here);
    assert_eq!(nodes("slice s everywhere\ndevice a binds\nclaim c\nrequest r"), here);
    let zone = r#"{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}]}"#;
    assert_eq!(nodes("slice s zone=a\ndevice a\nclaim c\nrequest r"), zone);
    assert_eq!(nodes("slice s each\ndevice a node=n2\ndevice b zone=a\nclaim c\nrequest r"), zone);
    check("slice s zone=b\ndevice a\nclaim c\nrequest r", expect!["none"]);
    check("slice s each\ndevice a node=n2\ndevice b node=n1\nclaim c\nrequest r all", expect!["r=d/p/b"]);
}

#[test]
fn partitions_share_the_counters_of_their_device() {
    let gpu = "slice counters node=n1 of=2 counters=gpu:memory:10Gi\nslice devices node=n1 of=2
        device whole uses=gpu:memory:10Gi\ndevice half1 uses=gpu:memory:5Gi\ndevice half2 uses=gpu:memory:5Gi\n";
    check(&format!("{gpu}claim c\nrequest r"), expect!["r=d/p/whole"]);
    check(&format!("{gpu}claim c\nrequest r count=2"), expect!["r=d/p/half1, r=d/p/half2"]);
    check(&format!("{gpu}used d/p/half2\nclaim c\nrequest r"), expect!["r=d/p/half1"]);
    check(&format!("{gpu}used d/p/whole\nclaim c\nrequest r"), expect!["none"]);
    check(&format!("{gpu}used d/p/whole\nclaim c\nrequest r admin"), expect!["r=d/p/whole admin"]);
    check("slice s node=n1\ndevice a uses=gpu:memory:1\nclaim c\nrequest r", expect!["Invalid"]);
}

#[test]
fn a_device_that_is_shared_is_given_in_parts() {
    let nic = "slice s node=n1\ndevice nic multiple cap=bandwidth:10\n";
    check(
        &format!("{nic}claim c\nrequest r cap=bandwidth:4\nrequest s cap=bandwidth:6"),
        expect!["r=d/p/nic bandwidth=4, s=d/p/nic bandwidth=6"],
    );
    check(&format!("{nic}claim c\nrequest r cap=bandwidth:4\nrequest s cap=bandwidth:7"), expect!["none"]);
    check(&format!("{nic}used d/p/nic cap=bandwidth:7\nclaim c\nrequest r cap=bandwidth:4"), expect!["none"]);
    check(
        &format!("{nic}used d/p/nic cap=bandwidth:6\nclaim c\nrequest r cap=bandwidth:4"),
        expect!["r=d/p/nic bandwidth=4"],
    );
    check(&format!("{nic}claim c\nrequest r cap=memory:1"), expect!["none"]);
    check(&format!("{nic}claim c\nrequest r"), expect!["r=d/p/nic bandwidth=10"]);
    check(
        "slice s node=n1\ndevice a cap=memory:8Gi\ndevice b cap=memory:16Gi\nclaim c\nrequest r cap=memory:10Gi",
        expect!["r=d/p/b"],
    );
}

#[test]
fn taints_keep_away_who_does_not_tolerate_them() {
    let devices =
        "slice s node=n1\ndevice a taint=broken:NoExecute\ndevice b taint=old:NoSchedule\ndevice c taint=odd:None\n";
    check(&format!("{devices}claim c\nrequest r count=1"), expect!["r=d/p/c"]);
    check(&format!("{devices}claim c\nrequest r count=2 tolerate=old"), expect!["r=d/p/b, r=d/p/c"]);
    check(&format!("{devices}claim c\nrequest r count=3 tolerate=broken"), expect!["none"]);
}

#[test]
fn devices_that_have_to_be_made_ready_are_taken_last() {
    check(
        "slice s1 pool=a node=n1\ndevice slow needs=Ready\nslice s2 pool=b node=n1\ndevice quick\nclaim c\nrequest r",
        expect!["r=d/b/quick"],
    );
}

#[test]
fn configuration_comes_from_the_classes_that_were_chosen_and_from_the_claim() {
    let text = format!(
        "class one where true\nclass two where true\n{TWO}device e\nclaim c\nrequest r class=one\nrequest s/big class=two count=9\nor s/small class=one\nrequest t class=two\nconfig s/small r"
    );
    let allocations = world(&text).allocate().expect("an answer").expect("devices");
    let config = allocations[0].devices.iter().flat_map(|devices| devices.config.iter().flatten());
    let shown = config.map(|one| {
        let of = one.opaque.as_ref().map(|opaque| opaque.parameters.0["of"].clone()).unwrap_or_default();
        format!("{} {of} {:?}", one.source, one.requests.clone().unwrap_or_default())
    });
    expect![[r#"
        FromClass "one" ["r", "s/small"]
        FromClass "two" ["t"]
        FromClaim "claim" ["s/small", "r"]
        FromClaim "claim" ["s/small", "r"]"#]]
    .assert_eq(&shown.collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_search_that_takes_too_long_is_given_up() {
    let devices: String = (0..30).map(|index| format!("device x{index}\n")).collect();
    let text = format!(
        "slice s node=n1\n{devices}device y attr=odd:1\nclaim c\nrequest r count=15\nrequest s count=15\nrequest t count=2"
    );
    let World { devices, wants, node } = world(&text);
    let wants: Vec<Want> = wants.into_iter().map(|want| want.expect("a want")).collect();
    let steps = std::cell::Cell::new(0);
    let late = || {
        steps.set(steps.get() + 1);
        steps.get() > 10
    };
    assert_eq!(devices.allocate(&wants, &node, &late), Err(Stop::Late));
}

#[test]
fn what_was_given_away_is_used_until_it_is_shown_or_taken_back() {
    let World { mut devices, node, .. } = world(&format!("{TWO}claim c\nrequest r count=2"));
    let claim = |version: u32, allocation: Option<&AllocationResult>| {
        let claim = json!({ "metadata": { "name": "c", "namespace": "shop", "uid": "u", "resourceVersion": version.to_string() },
            "spec": { "devices": { "requests": [{ "name": "r", "exactly": { "deviceClassName": "any", "count": 2 } }] } },
            "status": { "allocation": allocation } });
        serde_json::from_value::<SeenResourceClaim>(claim).expect("a claim").kept()
    };
    let seen = claim(1, None);
    devices.put_claim(seen.clone());
    let find = |devices: &Devices| {
        let want = devices.want(&seen, &seen.spec).expect("a want");
        devices.allocate(&[want], &node, &|| false).expect("an answer")
    };
    let found = find(&devices).expect("devices");
    let plan = Plan { claims: vec![(Arc::new(seen.clone()), Some(found[0].clone()))], ..Plan::default() };
    devices.assume(&plan);
    assert!(devices.is_pending("u") && find(&devices).is_none());
    assert!(devices.release("u") && find(&devices).is_some(), "taken back");
    devices.assume(&plan);
    devices.written("u", &seen.key(), "u", 5);
    devices.put_claim(claim(3, None));
    assert!(find(&devices).is_none(), "the write is not shown yet");
    devices.put_claim(claim(5, Some(&found[0])));
    assert!(!devices.is_pending("u") && find(&devices).is_none(), "shown");
    devices.put_claim(claim(6, None));
    assert!(find(&devices).is_some(), "freed");
    devices.assume(&plan);
    devices.written("u", &seen.key(), "u", 8);
    devices.put_claim(claim(9, None));
    assert!(find(&devices).is_some(), "freed before it was ever seen");
}
