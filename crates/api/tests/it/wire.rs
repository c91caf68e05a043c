//! Forms on the wire: the same objects in protobuf as in JSON, in and out, one by one, as lists and as watches.

use std::io::Read as _;

use kinds::protobuf;
use serde_json::{Value, json};

use crate::support::{Events, MAPS, Reply, Server, config_map, server};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

impl Reply {
    /// The object in an answer in protobuf.
    #[track_caller]
    fn message(&self) -> Value {
        assert_eq!(self.header("content-type"), PROTOBUF, "{}", self.text);
        protobuf::decode(&self.bytes).expect("an envelope")
    }
}

impl Server {
    async fn read(&self, path: &str, accept: &str) -> Reply {
        self.call(&format!("GET {path}"), &[("accept", accept)], "").await
    }

    async fn send_message(&self, request: &str, object: &Value) -> Reply {
        let body = protobuf::encode(object).expect("a built-in type");
        self.call(request, &[("content-type", PROTOBUF), ("accept", PROTOBUF)], body).await
    }
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {"text": "quotes \" and \n lines \u{1f600}"}},
        "spec": {
            "containers": [{
                "name": "c", "image": "nginx", "resources": {"limits": {"cpu": "100m"}},
                "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": "http", "path": "/"}, "initialDelaySeconds": 3},
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    })
}

/// As JSON shows it, without what Go's zero values add in protobuf.
fn without_zeros(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().map(|(name, value)| (name.clone(), without_zeros(value)));
            kept.filter(|(_, value)| !is_zero(value)).collect()
        }
        Value::Array(items) => items.iter().map(without_zeros).collect(),
        other => other.clone(),
    }
}

fn is_zero(value: &Value) -> bool {
    *value == json!({}) || *value == json!("") || *value == json!(0) || *value == json!(false) || value.is_null()
}

#[tokio::test]
async fn an_object_is_the_same_in_protobuf_as_in_json() {
    let server = server().await;
    let pods = "/api/v1/namespaces/default/pods";
    let created = server.send_message(&format!("POST {pods}"), &pod("a")).await.expect(201).message();
    assert_eq!(created["kind"], "Pod");
    let json = server.get(&format!("{pods}/a")).await.expect(200).body;
    assert_eq!(without_zeros(&created), without_zeros(&json));
    let mut changed = server.read(&format!("{pods}/a"), PROTOBUF).await.expect(200).message();
    changed["metadata"]["labels"]["more"] = json!("yes");
    let updated = server.send_message(&format!("PUT {pods}/a"), &changed).await.expect(200).message();
    assert_eq!(updated["metadata"]["labels"]["more"], "yes");
    let other = server.read("/apis/autoscaling/v1/horizontalpodautoscalers", PROTOBUF).await.expect(200).message();
    assert_eq!(
        (&other["kind"], &other["apiVersion"]),
        (&json!("HorizontalPodAutoscalerList"), &json!("autoscaling/v1"))
    );
}

#[tokio::test]
async fn a_long_list_has_the_same_items_in_every_form() {
    let server = server().await;
    for index in 0..40 {
        let mut map = config_map(&format!("m{index:02}"));
        map["data"]["a"] = json!("x".repeat(5000));
        server.post(MAPS, map).await.expect(201);
    }
    let json = server.get(MAPS).await.expect(200);
    let expected = json.body["items"].as_array().expect("items");
    for round in 0..2 {
        let list = server.read(MAPS, PROTOBUF).await.expect(200).message();
        assert_eq!(list["kind"], "ConfigMapList");
        assert_eq!(list["metadata"]["resourceVersion"].as_str(), Some(json.version()));
        let items = list["items"].as_array().expect("items");
        assert_eq!(items.len(), expected.len());
        for (item, expected) in items.iter().zip(expected) {
            let mut expected = expected.clone();
            expected.as_object_mut().expect("an object").retain(|name, _| name != "apiVersion" && name != "kind");
            assert_eq!(without_zeros(item), without_zeros(&expected), "round {round}");
        }
    }
    let page = server.read(&format!("{MAPS}?limit=3"), PROTOBUF).await.expect(200).message();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(page["metadata"]["remainingItemCount"], 37);
    let partial = server.read(MAPS, METADATA).await.expect(200).message();
    assert_eq!(
        (&partial["kind"], &partial["apiVersion"]),
        (&json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!(partial["items"].as_array().map(Vec::len), Some(40));
    assert_eq!(partial["items"][7]["metadata"]["name"], "m07");
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let table = server.read(MAPS, table).await.expect(200);
    assert_eq!(table.body["rows"].as_array().map(Vec::len), Some(40));
    assert_eq!(table.at("/rows/39/cells/0"), "m39");
    assert_eq!(table.at("/columnDefinitions/0/name"), "Name");
    assert_eq!(table.version(), json.version());
}

#[tokio::test]
async fn a_shape_that_does_not_fit_is_not_acceptable() {
    let server = server().await;
    server.post(MAPS, config_map("a")).await.expect(201);
    let partial = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let list = server.read(MAPS, partial).await.expect(406);
    assert_eq!(
        list.at("/message"),
        "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"
    );
    let one = server.read(&format!("{MAPS}/a"), METADATA).await.expect(406);
    assert!(protobuf::decode(&one.bytes).is_err(), "an error whose form was not asked for is JSON");
    let nothing = server.read(MAPS, "text/html").await.expect(406);
    assert_eq!(
        nothing.at("/message"),
        "only the following media types are accepted: application/json, application/yaml, \
         application/vnd.kubernetes.protobuf"
    );
    let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json";
    assert_eq!(server.read(MAPS, table).await.expect(200).at("/kind"), "ConfigMapList");
    let yaml = server.read(&format!("{MAPS}?watch=1"), "application/yaml").await.expect(406);
    let streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    assert!(yaml.text.replace("\n  ", " ").contains(streams), "{}", yaml.text);
}

#[tokio::test]
async fn an_error_comes_in_the_form_of_the_answer() {
    let server = server().await;
    let missing = server.read(&format!("{MAPS}/none"), PROTOBUF).await.expect(404).message();
    assert_eq!((&missing["kind"], &missing["reason"]), (&json!("Status"), &json!("NotFound")));
    assert_eq!(missing["details"]["name"], "none");
    let yaml = server.read(&format!("{MAPS}/none"), "application/yaml").await.expect(404);
    assert!(yaml.text.contains("reason: NotFound"), "{}", yaml.text);
    let headers = [("content-type", PROTOBUF)];
    let check = async |body: Vec<u8>, message: &str| {
        let refused = server.call(&format!("POST {MAPS}"), &headers, body).await.expect(400);
        assert_eq!(refused.at("/message"), message);
    };
    check(
        b"{}".to_vec(),
        "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a \
         protobuf message, expected prefix [107 56 115 0] ({})",
    )
    .await;
    let mut cut =
        protobuf::encode(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}})).expect("a map");
    let start = cut.windows(2).position(|pair| pair == [1, b'b']).expect("the entry");
    cut[start] = 99;
    check(cut, "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: unexpected EOF").await;
    let unknown = server.call(&format!("POST {MAPS}"), &[("content-type", "text/plain")], "a").await.expect(415);
    assert_eq!(
        unknown.at("/message"),
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf"
    );
}

#[tokio::test]
async fn bodies_of_subresources_and_options_come_in_every_form() {
    let server = server().await;
    let pods = "/api/v1/namespaces/default/pods";
    server.post(pods, pod("a")).await.expect(201);
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}});
    server.send_message(&format!("POST {pods}/a/binding"), &binding).await.expect(201);
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": "other"}});
    let conflict = server.send_message(&format!("DELETE {pods}/a"), &options).await.expect(409).message();
    assert_eq!(conflict["reason"], "Conflict");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}, "deleteOptions": {"gracePeriodSeconds": 0}});
    let evicted = server.send_message(&format!("POST {pods}/a/eviction"), &eviction).await.expect(201).message();
    assert_eq!(evicted["status"], "Success");
    let token =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let issued = server.send_message(&format!("POST {path}"), &token).await.expect(201).message();
    assert!(issued["status"]["token"].as_str().is_some_and(|token| token.len() > 100));
    let wrong = server.post(path, json!({"spec": {"expirationSeconds": "600"}})).await.expect(400);
    assert_eq!(
        wrong.at("/message"),
        "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: json: cannot unmarshal string into Go \
         struct field TokenRequestSpec.spec.expirationSeconds of type int64"
    );
    let strict = server.post(&format!("{path}?fieldValidation=Strict"), json!({"spec": {"nope": 1}})).await.expect(400);
    assert!(strict.at("/message").ends_with("strict decoding error: unknown field \"spec.nope\""), "{}", strict.text);
    let replicas = "/apis/apps/v1/namespaces/default/replicasets";
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let set =
        json!({"metadata": {"name": "r"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    server.post(replicas, set).await.expect(201);
    let mut scale = server.read(&format!("{replicas}/r/scale"), PROTOBUF).await.expect(200).message();
    scale["spec"]["replicas"] = json!(3);
    let scaled = server.send_message(&format!("PUT {replicas}/r/scale"), &scale).await.expect(200).message();
    assert_eq!(scaled["spec"]["replicas"], 3);
}

/// The next event of a watch in protobuf: what changed and the object.
async fn event(events: &mut Events) -> (String, Value) {
    let length: [u8; 4] = events.take(4).await.try_into().expect("four bytes");
    let frame = events.take(u32::from_be_bytes(length) as usize).await;
    // field 1 is the type; field 2 a message whose field 1 is the object's envelope
    assert_eq!(frame[0], 1 << 3 | 2);
    let change = String::from_utf8(frame[2..2 + usize::from(frame[1])].to_vec()).expect("a type");
    let start = frame.windows(4).position(|window| window == protobuf::MAGIC).expect("an envelope");
    (change, protobuf::decode(&frame[start..]).expect("an object"))
}

#[tokio::test]
async fn a_watch_in_protobuf_tells_every_change() {
    let server = server().await;
    server.post(MAPS, config_map("one")).await.expect(201);
    let path =
        format!("{MAPS}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan");
    let accept = [("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    let mut first = server.watch_as(&path, &accept).await;
    let mut second = server.watch_as(&path, &accept).await;
    let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let mut third = server.watch_as(&path, &[("accept", metadata)]).await;
    server.merge(&format!("{MAPS}/one"), json!({"data": {"b": "2"}})).await.expect(200);
    server.delete(&format!("{MAPS}/one"), Value::Null).await.expect(200);
    for events in [&mut first, &mut second] {
        let (change, added) = event(events).await;
        assert_eq!(
            (change.as_str(), &added["kind"], &added["metadata"]["name"]),
            ("ADDED", &json!("ConfigMap"), &json!("one"))
        );
        let (change, mark) = event(events).await;
        assert_eq!(
            (change.as_str(), &mark["metadata"]["annotations"]["k8s.io/initial-events-end"]),
            ("BOOKMARK", &json!("true"))
        );
        let (change, modified) = event(events).await;
        assert_eq!((change.as_str(), &modified["data"]), ("MODIFIED", &json!({"a": "1", "b": "2"})));
        assert_eq!(event(events).await.0, "DELETED");
    }
    for expected in ["ADDED", "BOOKMARK", "MODIFIED", "DELETED"] {
        let (change, object) = event(&mut third).await;
        assert_eq!((change.as_str(), &object["kind"]), (expected, &json!("PartialObjectMetadata")));
        assert!(object.get("data").is_none());
    }
}

#[tokio::test]
async fn a_watch_in_protobuf_ends_with_a_status() {
    let server = server().await;
    let old = server.post(MAPS, config_map("one")).await.expect(201);
    let new = server.post(MAPS, config_map("two")).await.expect(201);
    server.api.core().store.compact(new.version().parse().expect("a revision")).await.expect("compacted");
    let path = format!("{MAPS}?watch=1&resourceVersion={}", old.version());
    let mut events = server.watch_as(&path, &[("accept", PROTOBUF)]).await;
    let (change, status) = event(&mut events).await;
    assert_eq!((change.as_str(), &status["kind"], &status["code"]), ("ERROR", &json!("Status"), &json!(410)));
}

#[tokio::test]
async fn large_answers_are_compressed_for_who_asks() {
    let server = server().await;
    for index in 0..30 {
        let mut map = config_map(&format!("m{index:02}"));
        map["data"]["a"] = json!("text ".repeat(2000));
        server.post(MAPS, map).await.expect(201);
    }
    let unpack = |reply: &Reply| {
        assert_eq!((reply.header("content-encoding"), reply.header("vary")), ("gzip", "Accept-Encoding"));
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&reply.bytes[..]).read_to_end(&mut bytes).expect("gzip");
        bytes
    };
    let whole = server.get(MAPS).await.expect(200);
    let packed = server.call(&format!("GET {MAPS}"), &[("accept-encoding", "deflate, gzip")], "").await.expect(200);
    assert!(packed.bytes.len() < whole.bytes.len() / 5);
    assert_eq!(unpack(&packed), whole.bytes);
    let headers = [("accept-encoding", "gzip"), ("accept", PROTOBUF)];
    let packed = server.call(&format!("GET {MAPS}"), &headers, "").await.expect(200);
    let list = protobuf::decode(&unpack(&packed)).expect("a list");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(30));
    let small = server.call(&format!("GET {MAPS}/m00"), &[("accept-encoding", "gzip")], "").await.expect(200);
    assert_eq!(small.header("content-encoding"), "");
}

#[tokio::test]
async fn discovery_comes_in_protobuf() {
    let server = server().await;
    let groups = server.read("/apis", PROTOBUF).await.expect(200).message();
    assert_eq!(groups["kind"], "APIGroupList");
    let resources = server.read("/apis/apps/v1", PROTOBUF).await.expect(200).message();
    let deployments = resources["resources"].as_array().and_then(|all| all.iter().find(|r| r["name"] == "deployments"));
    assert_eq!(deployments.map(|found| found["verbs"].as_array().map(|verbs| verbs.len() > 5)), Some(Some(true)));
    let aggregated = "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let reply = server.read("/apis", aggregated).await.expect(200);
    assert_eq!(reply.header("content-type"), aggregated);
    let found = protobuf::decode(&reply.bytes).expect("an envelope");
    assert_eq!(found["kind"], "APIGroupDiscoveryList");
    let apps = found["items"].as_array().and_then(|all| all.iter().find(|group| group["metadata"]["name"] == "apps"));
    let names: Vec<&Value> = apps
        .and_then(|apps| apps["versions"][0]["resources"].as_array())
        .expect("resources")
        .iter()
        .map(|resource| &resource["responseKind"]["kind"])
        .collect();
    assert!(names.contains(&&json!("Deployment")), "{names:?}");
}

#[tokio::test]
async fn openapi_comes_in_two_forms_with_one_tag() {
    let server = server().await;
    let forms = ["application/json", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"];
    let [json, message] = forms.map(|form| (form, server.read("/openapi/v2", form)));
    let (json, message) = (json.1.await.expect(200), message.1.await.expect(200));
    assert_eq!(json.at("/swagger"), "2.0");
    assert_eq!(message.header("content-type"), "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert!(message.bytes.starts_with(b"\x4a") && message.bytes.len() > 1_000_000, "{}", message.bytes.len());
    assert!(!json.header("etag").is_empty());
    assert_eq!(json.header("etag"), message.header("etag"));
    let again = [("if-none-match", json.header("etag"))];
    server.call("GET /openapi/v2", &again, "").await.expect(304);
    server.read("/openapi/v2", "text/html").await.expect(406);

    let index = server.get("/openapi/v3").await.expect(200);
    let again = [("if-none-match", index.header("etag"))];
    server.call("GET /openapi/v3", &again, "").await.expect(304);
    let place = index.at("/paths/apis~1apps~1v1/serverRelativeURL").to_owned();
    let json = server.get(&place).await.expect(200);
    assert_eq!(json.header("cache-control"), "public, immutable");
    assert!(json.header("expires").ends_with(" UTC"));
    let message = server.read(&place, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf").await.expect(200);
    assert_eq!(message.header("content-type"), "application/com.github.proto-openapi.spec.v3.v1.0+protobuf");
    assert_eq!(json.header("etag"), message.header("etag"));
    let old = server.get("/openapi/v3/apis/apps/v1?hash=OLD").await.expect(301);
    assert_eq!(old.header("location"), place);
    let unhashed = server.get("/openapi/v3/apis/apps/v1").await.expect(200);
    assert_eq!(unhashed.header("cache-control"), "no-cache, private");
}

#[tokio::test]
async fn cbor_is_served_to_who_asks_for_it() {
    const CBOR: &str = "application/cbor";
    let server = server().await;
    let read = |bytes: &[u8]| kinds::cbor::decode(bytes).expect("CBOR");
    let mut body = Vec::new();
    kinds::cbor::encode(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}),
        &mut body,
    );
    let headers = [("content-type", CBOR), ("accept", CBOR)];
    let created = server.call(&format!("POST {MAPS}"), &headers, body).await.expect(201);
    assert_eq!((created.header("content-type"), &read(&created.bytes)["data"]["k"]), (CBOR, &json!("v")));
    let json = server.get(MAPS).await.expect(200).body;
    let list = read(&server.read(MAPS, CBOR).await.expect(200).bytes);
    assert_eq!(list["items"], json["items"]);
    assert_eq!(list["metadata"], json["metadata"]);
    let missing = server.read(&format!("{MAPS}/none"), CBOR).await.expect(404);
    assert_eq!(read(&missing.bytes)["reason"], "NotFound");
    let broken = server.call(&format!("POST {MAPS}"), &[("content-type", CBOR)], "\u{1}\u{1}").await.expect(400);
    assert!(broken.at("/message").contains("cbor: 1 bytes of extraneous data"), "{}", broken.text);
    let mut events = server.watch_as(&format!("{MAPS}?watch=1"), &[("accept", CBOR)]).await;
    let mut expected = kinds::cbor::SELF_DESCRIBED.to_vec();
    expected.extend_from_slice(b"\xa2\x44type\x45ADDED\x46object\xd9\xd9\xf7\xa4");
    assert_eq!(events.take(expected.len()).await, expected);
}
