//! watch: from where it begins, what it tells, how it ends.

use serde_json::{Value, json};

use crate::support::{MAPS, config_map, server};

#[tokio::test]
async fn a_watch_begins_with_what_exists_or_after_a_revision() {
    let server = server().await;
    let one = server.post(MAPS, config_map("one")).await.expect(201);
    server.post(MAPS, config_map("two")).await.expect(201);
    for query in ["watch=true", "watch=1&resourceVersion=0"] {
        let mut events = server.watch(&format!("{MAPS}?{query}")).await;
        assert_eq!(events.names(2).await, ["ADDED one", "ADDED two"], "{query}");
    }
    let mut after = server.watch(&format!("{MAPS}?watch=true&resourceVersion={}", one.version())).await;
    assert_eq!(after.names(1).await, ["ADDED two"]);
    server.merge(&format!("{MAPS}/one"), json!({ "data": { "b": "2" } })).await.expect(200);
    let gone = server.delete(&format!("{MAPS}/two"), Value::Null).await.expect(200);
    assert_eq!(gone.at("/status"), "Success");
    assert_eq!(after.names(2).await, ["MODIFIED one", "DELETED two"]);
    let mut legacy = server.watch("/api/v1/watch/namespaces/default/configmaps/one").await;
    assert_eq!(legacy.names(1).await, ["ADDED one"]);
    server.post(MAPS, config_map("three")).await.expect(201);
    let path = "/api/v1/watch/namespaces/default/configmaps/three";
    assert_eq!(server.watch(path).await.names(1).await, ["ADDED three"], "the name in the path holds");
    let mut everywhere = server.watch("/api/v1/configmaps?watch=true&fieldSelector=metadata.namespace%3Ddefault").await;
    assert_eq!(everywhere.names(2).await, ["ADDED one", "ADDED three"]);
}

#[tokio::test]
async fn an_object_enters_and_leaves_a_selection() {
    let server = server().await;
    let mut events = server.watch(&format!("{MAPS}?watch=true&labelSelector=show%3Dyes")).await;
    server.post(MAPS, config_map("a")).await.expect(201);
    let show = |value: Value| json!({ "metadata": { "labels": { "show": value } } });
    let path = format!("{MAPS}/a");
    server.merge(&path, show(json!("yes"))).await.expect(200);
    server.merge(&path, json!({ "data": { "a": "2" } })).await.expect(200);
    let left = server.merge(&path, show(Value::Null)).await.expect(200);
    server.delete(&path, Value::Null).await.expect(200);
    assert_eq!(events.names(2).await, ["ADDED a", "MODIFIED a"]);
    let event = events.next().await.expect("an event");
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event.pointer("/object/metadata/labels/show"), Some(&json!("yes")), "the last state it was shown in");
    assert_eq!(event.pointer("/object/metadata/resourceVersion"), Some(&json!(left.version())));
    server.post(MAPS, config_map("b")).await.expect(201);
    server.merge(&format!("{MAPS}/b"), show(json!("yes"))).await.expect(200);
    assert_eq!(events.names(1).await, ["ADDED b"], "nothing of what was not selected");
}

#[tokio::test]
async fn a_streaming_list_says_where_it_ends() {
    let server = server().await;
    server.post(MAPS, config_map("a")).await.expect(201);
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = server.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(events.names(1).await, ["ADDED a"]);
    let end = events.next().await.expect("a bookmark");
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end.pointer("/object/kind"), Some(&json!("ConfigMap")));
    assert_eq!(end.pointer("/object/metadata/annotations"), Some(&json!({ "k8s.io/initial-events-end": "true" })));
    server.get(&format!("{MAPS}?watch=true&sendInitialEvents=true")).await.expect(422);
    // a watch from nowhere is one too, and tells its end to those who take bookmarks
    for query in ["watch=true&allowWatchBookmarks=true", "watch=true&allowWatchBookmarks=true&resourceVersion=0"] {
        let mut events = server.watch(&format!("{MAPS}?{query}")).await;
        assert_eq!(events.names(1).await, ["ADDED a"]);
        let end = events.next().await.expect("a bookmark");
        assert_eq!(end.pointer("/object/metadata/annotations/k8s.io~1initial-events-end"), Some(&json!("true")));
    }
    // without initial events there is no end to tell: the next thing is a change
    let query = "watch=true&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut events = server.watch(&format!("{MAPS}?{query}")).await;
    server.post(MAPS, config_map("b")).await.expect(201);
    assert_eq!(events.names(1).await, ["ADDED b"]);
}

#[tokio::test]
async fn a_watch_ends_at_its_time_with_a_bookmark() {
    let server = server().await;
    let made = server.post(MAPS, config_map("a")).await.expect(201);
    let query = format!("watch=true&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion={}", made.version());
    let mut events = server.watch(&format!("{MAPS}?{query}")).await;
    // another kind moves the revision on; the bookmark of this watch may say so
    let other = server.post("/api/v1/namespaces", json!({ "metadata": { "name": "n" } })).await.expect(201);
    let last = events.next().await.expect("a bookmark");
    assert_eq!(last["type"], "BOOKMARK");
    let told: u64 = last
        .pointer("/object/metadata/resourceVersion")
        .and_then(Value::as_str)
        .expect("a version")
        .parse()
        .expect("a number");
    assert!(told >= made.version().parse().expect("a number") && told <= other.version().parse().expect("a number"));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_revision_that_is_forgotten_or_not_yet_there_is_an_error_event() {
    let server = server().await;
    let old = server.post(MAPS, config_map("a")).await.expect(201);
    let new = server.post(MAPS, config_map("b")).await.expect(201);
    server.api.core().store.compact(new.version().parse().expect("a number")).await.expect("compacted");
    let mut events = server.watch(&format!("{MAPS}?watch=true&resourceVersion={}", old.version())).await;
    let event = events.next().await.expect("an event");
    assert_eq!((&event["type"], event.pointer("/object/code")), (&json!("ERROR"), Some(&json!(410))));
    assert_eq!(event.pointer("/object/reason"), Some(&json!("Expired")));
    assert!(
        event
            .pointer("/object/message")
            .and_then(Value::as_str)
            .is_some_and(|text| text.starts_with("too old resource version: "))
    );
    assert!(events.next().await.is_none());
    tokio::time::pause();
    let query = "watch=true&resourceVersion=99999&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut events = server.watch(&format!("{MAPS}?{query}")).await;
    let event = events.next().await.expect("an event");
    assert_eq!(event.pointer("/object/details/causes/0/reason"), Some(&json!("ResourceVersionTooLarge")));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_watch_from_ahead_is_silent_until_then() {
    let server = server().await;
    let ahead = server.api.core().store.revision() + 2;
    let mut events = server.watch(&format!("{MAPS}?watch=true&resourceVersion={ahead}")).await;
    let mut told = Vec::new();
    for name in ["a", "b", "c"] {
        let made = server.post(MAPS, config_map(name)).await.expect(201);
        if made.version().parse::<u64>().expect("a number") > ahead {
            told.push(format!("ADDED {name}"));
        }
    }
    assert!((1..3).contains(&told.len()), "{told:?}");
    assert_eq!(events.names(told.len()).await, told);
}

#[tokio::test]
async fn a_watch_speaks_tables_and_metadata_too() {
    let server = server().await;
    server.post(MAPS, config_map("a")).await.expect(201);
    server.post(MAPS, config_map("b")).await.expect(201);
    let path = format!("{MAPS}?watch=true");
    let mut tables = server.watch_as(&path, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")]).await;
    let first = tables.next().await.expect("an event");
    assert_eq!(first.pointer("/object/rows/0/cells/0"), Some(&json!("a")));
    assert_eq!(first.pointer("/object/columnDefinitions/0/name"), Some(&json!("Name")));
    let second = tables.next().await.expect("an event");
    assert_eq!(second.pointer("/object/columnDefinitions"), Some(&Value::Null), "columns are told once");
    let bookmarks = format!("{path}&allowWatchBookmarks=true&includeObject=None");
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let mut tables = server.watch_as(&bookmarks, &[("accept", accept)]).await;
    tables.next().await.expect("an event");
    let second = tables.next().await.expect("an event");
    assert_eq!(second.pointer("/object/rows/0/object"), Some(&Value::Null));
    let end = tables.next().await.expect("a bookmark");
    assert_eq!(end.pointer("/object/columnDefinitions"), Some(&Value::Null));
    let told = end.pointer("/object/rows/0/object").expect("what tells of the end is shown");
    assert_eq!(told["kind"], "PartialObjectMetadata");
    assert_eq!(told.pointer("/metadata/annotations/k8s.io~1initial-events-end"), Some(&json!("true")));
    // one object is no list: upstream cannot write the event and hangs up
    let accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    assert!(server.watch_as(&path, &[("accept", accept)]).await.next().await.is_none());
    let accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let mut metadata = server.watch_as(&path, &[("accept", accept)]).await;
    let event = metadata.next().await.expect("an event");
    assert_eq!(event.pointer("/object/kind"), Some(&json!("PartialObjectMetadata")));
    assert!(event.pointer("/object/data").is_none());
    server.call(&format!("GET {path}"), &[("accept", "application/yaml")], "").await.expect(406);
}

#[tokio::test]
async fn a_stopping_server_ends_its_watches() {
    let server = server().await;
    let mut events = server.watch(&format!("{MAPS}?watch=true")).await;
    server.context.stop.cancel();
    assert!(events.next().await.is_none());
}
