//! get and list: selectors, pages, revisions, forms and shapes.

use serde_json::{Value, json};

use crate::support::{MAPS, Reply, Server, config_map, server};

fn names(list: &Reply) -> Vec<&str> {
    let items = list.body["items"].as_array().expect("items");
    items.iter().filter_map(|item| item.pointer("/metadata/name").and_then(Value::as_str)).collect()
}

async fn maps(server: &Server, count: usize) {
    for index in 0..count {
        let mut map = config_map(&format!("m{index}"));
        map["metadata"]["labels"] = json!({ "parity": if index % 2 == 0 { "even" } else { "odd" } });
        server.post(MAPS, map).await.expect(201);
    }
}

#[tokio::test]
async fn selectors_narrow_a_list() {
    let server = server().await;
    maps(&server, 5).await;
    let check = async |query: &str, expected: &[&str]| {
        let list = server.get(&format!("{MAPS}?{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query}");
    };
    check("labelSelector=parity%3Deven", &["m0", "m2", "m4"]).await;
    check("labelSelector=parity%20notin%20(even),parity", &["m1", "m3"]).await;
    check("fieldSelector=metadata.name%3Dm3", &["m3"]).await;
    check("fieldSelector=metadata.name!%3Dm3&labelSelector=parity%3Dodd", &["m1"]).await;
    check("fieldSelector=metadata.name%3Dnone", &[]).await;
    let all = server.get("/api/v1/configmaps?fieldSelector=metadata.namespace%3Ddefault").await.expect(200);
    assert_eq!(names(&all).len(), 5);
    let pods = server.get("/api/v1/pods?fieldSelector=spec.nodeName%3Da,status.phase%3DRunning").await.expect(200);
    assert!(names(&pods).is_empty());
    let wrong = server.get(&format!("{MAPS}?fieldSelector=data.a%3D1")).await.expect(400);
    let known = "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!(wrong.at("/message"), known);
    let refused = async |path: &str, code: u16, message: &str| {
        assert_eq!(server.get(path).await.expect(code).at("/message"), message, "{path}");
    };
    let operators = "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt";
    refused(&format!("{MAPS}?labelSelector=a%20b%20c"), 400, operators).await;
    refused("/api/v1/pods?fieldSelector=spec.x%3D1", 400, "field label not supported: spec.x").await;
    refused("/api/v1/pods?fieldSelector=a", 400, "invalid selector: 'a'; can't understand 'a'").await;
    let other = "/api/v1/watch/namespaces/default/configmaps/m1?fieldSelector=metadata.namespace%3Ddefault";
    refused(other, 400, "fieldSelector metadata.name doesn't match requested name").await;
}

#[tokio::test]
async fn pages_show_one_state_and_say_what_remains() {
    let server = server().await;
    maps(&server, 7).await;
    let first = server.get(&format!("{MAPS}?limit=3")).await.expect(200);
    assert_eq!(names(&first), ["m0", "m1", "m2"]);
    assert_eq!(first.body.pointer("/metadata/remainingItemCount"), Some(&json!(4)));
    server.delete(&format!("{MAPS}/m4"), Value::Null).await.expect(200);
    server.post(MAPS, config_map("m35")).await.expect(201);
    let token = first.at("/metadata/continue").to_owned();
    let second = server.get(&format!("{MAPS}?limit=3&continue={token}")).await.expect(200);
    assert_eq!(names(&second), ["m3", "m4", "m5"], "the state of the first page");
    assert_eq!(second.body.pointer("/metadata/remainingItemCount"), Some(&json!(1)));
    assert_eq!(second.version(), first.version());
    let token = second.at("/metadata/continue").to_owned();
    let third = server.get(&format!("{MAPS}?limit=3&continue={token}")).await.expect(200);
    assert_eq!(names(&third), ["m6"]);
    assert_eq!(third.at("/metadata/continue"), "");
    let odd = server.get(&format!("{MAPS}?limit=1&labelSelector=parity%3Dodd")).await.expect(200);
    assert_eq!(names(&odd), ["m1"]);
    assert!(odd.body.pointer("/metadata/remainingItemCount").is_none());
    let token = odd.at("/metadata/continue").to_owned();
    let odd = server.get(&format!("{MAPS}?limit=9&labelSelector=parity%3Dodd&continue={token}")).await.expect(200);
    assert_eq!(names(&odd), ["m3", "m5"]);
    server.get(&format!("{MAPS}?continue=garbage")).await.expect(400);
    server.get(&format!("{MAPS}?continue={token}&resourceVersion=5")).await.expect(400);
}

#[tokio::test]
async fn an_expired_page_offers_another_way_to_go_on() {
    let server = server().await;
    maps(&server, 4).await;
    let first = server.get(&format!("{MAPS}?limit=2")).await.expect(200);
    let old: u64 = first.version().parse().expect("a revision");
    let new = server.post(MAPS, config_map("z")).await.expect(201);
    server.api.core().store.compact(new.version().parse().expect("a revision")).await.expect("compacted");
    let expired = server.get(&format!("{MAPS}?limit=2&continue={}", first.at("/metadata/continue"))).await.expect(410);
    assert_eq!(expired.at("/reason"), "Expired");
    assert!(expired.at("/message").starts_with("The provided continue parameter is too old"));
    let token = expired.at("/metadata/continue");
    let rest = server.get(&format!("{MAPS}?continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["m2", "m3", "z"], "the newest state from there on");
    let exact = server.get(&format!("{MAPS}?resourceVersion={old}&resourceVersionMatch=Exact")).await.expect(410);
    assert_eq!(exact.at("/message"), "The resourceVersion for the provided list is too old.");
}

#[tokio::test]
async fn a_list_may_ask_for_a_revision() {
    let server = server().await;
    let one = server.post(MAPS, config_map("one")).await.expect(201);
    let then = one.version();
    server.post(MAPS, config_map("two")).await.expect(201);
    let check = async |query: String, expected: &[&str]| {
        let list = server.get(&format!("{MAPS}?{query}")).await.expect(200);
        assert_eq!(names(&list), expected, "{query}");
    };
    check(format!("resourceVersion={then}&resourceVersionMatch=Exact"), &["one"]).await;
    check(format!("resourceVersion={then}&resourceVersionMatch=NotOlderThan"), &["one", "two"]).await;
    check(format!("resourceVersion={then}"), &["one", "two"]).await;
    check(format!("resourceVersion={then}&limit=5"), &["one"]).await;
    check("resourceVersion=0".to_owned(), &["one", "two"]).await;
    let none = server.get(&format!("{MAPS}?resourceVersion=abc")).await.expect(400);
    let why = "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
    assert_eq!(none.at("/message"), format!("invalid resource version: {why}"));
    assert_eq!(server.get(&format!("{MAPS}/one?resourceVersion=abc")).await.expect(500).at("/message"), why);
    server.get(&format!("{MAPS}?resourceVersionMatch=Exact")).await.expect(422);
}

#[tokio::test]
async fn a_read_waits_for_a_revision_that_is_not_there_yet() {
    let server = server().await;
    server.post(MAPS, config_map("m0")).await.expect(201);
    let queries = ["/m0?resourceVersion=", "?resourceVersion=", "?limit=9&resourceVersion="];
    for (index, query) in queries.into_iter().enumerate() {
        let next = server.api.core().store.revision() + 1;
        let path = format!("{MAPS}{query}{next}");
        let written = server.post(MAPS, config_map(&format!("n{index}")));
        let (read, written) = tokio::join!(server.get(&path), written);
        written.expect(201);
        read.expect(200);
    }
    tokio::time::pause();
    let refused = async |path: &str, seconds: u64| {
        let (asked, newest) = (tokio::time::Instant::now(), server.api.core().store.revision());
        let reply = server.get(&path.replace("AHEAD", &(newest + 9).to_string())).await.expect(504);
        assert_eq!(asked.elapsed().as_secs(), seconds, "{path}");
        let message = format!("Timeout: Too large resource version: {}, current: {newest}", newest + 9);
        assert_eq!((reply.at("/reason"), reply.at("/message")), ("Timeout", message.as_str()));
        let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
        assert_eq!(reply.body.pointer("/details/causes"), Some(&json!([cause])));
        let again = (seconds > 0).then(|| json!(1));
        assert_eq!(reply.body.pointer("/details/retryAfterSeconds"), again.as_ref(), "{path}");
    };
    refused(&format!("{MAPS}/m0?resourceVersion=AHEAD"), 3).await;
    refused(&format!("{MAPS}?resourceVersion=AHEAD&resourceVersionMatch=NotOlderThan"), 3).await;
    refused(&format!("{MAPS}?resourceVersion=AHEAD&resourceVersionMatch=Exact"), 3).await;
    // there is no cache of events that could lag behind
    refused("/api/v1/events?resourceVersion=AHEAD", 0).await;
}

#[tokio::test]
async fn answers_come_in_the_form_and_shape_that_was_asked() {
    let server = server().await;
    maps(&server, 2).await;
    let accept = async |path: &str, accept: &str| server.call(&format!("GET {path}"), &[("accept", accept)], "").await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let list = accept(MAPS, table).await.expect(200);
    assert_eq!((list.at("/kind"), list.at("/apiVersion")), ("Table", "meta.k8s.io/v1"));
    assert_eq!(list.at("/columnDefinitions/0/name"), "Name");
    assert_eq!(list.at("/rows/1/cells/0"), "m1");
    assert_eq!(list.at("/rows/1/object/kind"), "PartialObjectMetadata");
    assert!(!list.version().is_empty());
    let one = accept(&format!("{MAPS}/m0"), table).await.expect(200);
    assert_eq!(one.body["rows"].as_array().map(Vec::len), Some(1));
    let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = accept(MAPS, metadata).await.expect(200);
    assert_eq!(list.at("/kind"), "PartialObjectMetadataList");
    assert_eq!(list.at("/items/0/metadata/name"), "m0");
    assert!(list.body.pointer("/items/0/data").is_none());
    let yaml = accept(&format!("{MAPS}/m0"), "application/yaml").await.expect(200);
    assert!(yaml.text.contains("kind: ConfigMap\n"), "{}", yaml.text);
    let rows = async |include: &str| accept(&format!("{MAPS}?includeObject={include}"), table).await;
    assert_eq!(rows("None").await.expect(200).body.pointer("/rows/0/object"), Some(&Value::Null));
    assert_eq!(rows("Metadata").await.expect(200).at("/rows/0/object/kind"), "PartialObjectMetadata");
    assert_eq!(rows("Object").await.expect(200).at("/rows/0/object/kind"), "ConfigMap");
    let wrong = "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', \
                 'Object', 'None', or empty";
    assert_eq!(rows("All").await.expect(400).at("/message"), wrong);
    let watch = accept(&format!("{MAPS}?watch=true&includeObject=All"), table).await.expect(400);
    assert_eq!(watch.at("/message"), wrong);
    server.get(&format!("{MAPS}?includeObject=All")).await.expect(200);
    let of_one = accept(&format!("{MAPS}/m0"), metadata).await.expect(406);
    let why = "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)";
    assert_eq!((of_one.at("/reason"), of_one.at("/message")), ("NotAcceptable", why));
    let of_list = accept(MAPS, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").await.expect(406);
    let why = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
    assert_eq!(of_list.at("/message"), why);
    let html = accept(MAPS, "text/html").await.expect(406);
    assert_eq!(html.at("/reason"), "NotAcceptable");
    accept(MAPS, "text/html,application/json").await.expect(200);
    let pretty = server.get(&format!("{MAPS}/m0?pretty=true")).await.expect(200);
    assert!(pretty.text.contains("\n  \"data\""), "{}", pretty.text);
}

#[tokio::test]
async fn a_large_list_streams_whole() {
    let server = server().await;
    let mut map = config_map("big");
    map["data"]["a"] = json!("x".repeat(20_000));
    for index in 0..12 {
        map["metadata"]["name"] = json!(format!("big{index:02}"));
        server.post(MAPS, map.clone()).await.expect(201);
    }
    let list = server.get(MAPS).await.expect(200);
    assert_eq!(names(&list).len(), 12);
    assert!(list.text.len() > 240_000);
}

#[tokio::test]
async fn what_is_not_there_is_said_as_upstream_says_it() {
    let server = server().await;
    let check = async |request: &str, code: u16, message: &str| {
        let reply = server.call(request, &[], "").await.expect(code);
        assert_eq!(reply.at("/message"), message, "{request}");
        assert_eq!(reply.body["code"], code);
    };
    check(&format!("GET {MAPS}/nope"), 404, "configmaps \"nope\" not found").await;
    let deployment = "/apis/apps/v1/namespaces/default/deployments/nope";
    check(&format!("GET {deployment}"), 404, "deployments.apps \"nope\" not found").await;
    check(&format!("GET {deployment}/scale"), 404, "deployments.apps \"nope\" not found").await;
    let scopes = [
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces/default/namespaces/kube-system",
        "/api/v1/pods/default%2Fp",
    ];
    for path in scopes {
        check(&format!("GET {path}"), 404, "the server could not find the requested resource").await;
    }
    for path in ["/api/v1/nopes", "/apis/apps/v1beta1/deployments", "/nope", "/apis/nope", &format!("{MAPS}/a/status")]
    {
        check(&format!("GET {path}"), 404, "the server could not find the requested resource").await;
    }
    check("DELETE /api/v1/namespaces", 405, "deletecollection is not supported on resources of kind \"namespaces\"")
        .await;
    check(&format!("POST {MAPS}/a"), 405, "the server does not allow this method on the requested resource").await;
    let details = server.get(&format!("{MAPS}/nope")).await;
    assert_eq!((details.at("/details/kind"), details.at("/details/name")), ("configmaps", "nope"));
}
