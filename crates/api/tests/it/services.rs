//! Services and the objects around them: addresses, ranges, ports.

use serde_json::{Value, json};

use crate::support::{Reply, Server, server, server_on};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";

async fn service(server: &Server, name: &str, spec: Value) -> Reply {
    let mut whole = json!({ "type": "ClusterIP", "selector": { "a": "b" }, "ports": [{ "port": 80 }] });
    for (key, value) in spec.as_object().expect("a spec") {
        whole[key] = value.clone();
    }
    server.post(SERVICES, json!({ "metadata": { "name": name }, "spec": whole })).await
}

/// Waits for what a follower of the store does.
async fn until<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let reached = async {
        while !check().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), reached).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test]
async fn every_cluster_address_is_an_object_of_its_service() {
    let server = server().await;
    let first = server.get(&format!("{ADDRESSES}/10.43.0.1")).await.expect(200);
    let parent = json!({ "resource": "services", "namespace": "default", "name": "kubernetes" });
    assert_eq!(first.body.pointer("/spec/parentRef"), Some(&parent));
    let made = service(&server, "web", json!({})).await.expect(201);
    let path = format!("{ADDRESSES}/{}", made.at("/spec/clusterIP"));
    let address = server.get(&path).await.expect(200);
    assert_eq!(address.at("/spec/parentRef/name"), "web");
    assert_eq!(address.at("/metadata/labels/ipaddress.kubernetes.io~1ip-family"), "IPv4");
    assert_eq!(address.at("/metadata/labels/ipaddress.kubernetes.io~1managed-by"), "ipallocator.k8s.io");
    assert_eq!(address.version(), made.version(), "one commit wrote both");
    let web = format!("{SERVICES}/web");
    let external = json!({ "spec": { "type": "ExternalName", "externalName": "example.com", "clusterIP": null, "clusterIPs": null } });
    server.merge(&web, external).await.expect(200);
    server.get(&path).await.expect(404);
    let back = server.merge(&web, json!({ "spec": { "type": "ClusterIP", "externalName": null } })).await.expect(200);
    let path = format!("{ADDRESSES}/{}", back.at("/spec/clusterIP"));
    server.get(&path).await.expect(200);
    server.delete(&web, Value::Null).await.expect(200);
    server.get(&path).await.expect(404);
    let rehearsed = server
        .post(
            &format!("{SERVICES}?dryRun=All"),
            json!({ "metadata": { "name": "r" }, "spec": { "ports": [{ "port": 80 }] } }),
        )
        .await
        .expect(201);
    server.get(&format!("{ADDRESSES}/{}", rehearsed.at("/spec/clusterIP"))).await.expect(404);
}

#[tokio::test]
async fn an_address_somebody_else_has_is_not_given() {
    let server = server().await;
    let gateway =
        json!({ "group": "gateway.networking.k8s.io", "resource": "gateways", "namespace": "default", "name": "g" });
    for name in ["10.43.0.77", "10.43.1.1"] {
        let object = json!({ "metadata": { "name": name }, "spec": { "parentRef": gateway } });
        server.post(ADDRESSES, object).await.expect(201);
    }
    let refused = service(&server, "a", json!({ "clusterIP": "10.43.0.77" })).await.expect(422);
    assert!(refused.at("/message").contains("failed to allocate IP 10.43.0.77: provided IP is already allocated"));
    let made = service(&server, "b", json!({})).await.expect(201);
    assert_eq!(made.at("/spec/clusterIP"), "10.43.1.2", "the next one after the gateway's");
}

#[tokio::test]
async fn a_deleted_address_of_a_living_service_comes_back() {
    let server = server().await;
    let made = service(&server, "web", json!({})).await.expect(201);
    let path = format!("{ADDRESSES}/{}", made.at("/spec/clusterIP"));
    let first = server.get(&path).await.expect(200);
    server.delete(&path, Value::Null).await.expect(200);
    until("back", || async {
        let again = server.get(&path).await;
        again.code == 200 && again.at("/metadata/uid") != first.at("/metadata/uid")
    })
    .await;
}

#[tokio::test]
async fn ranges_come_and_go_as_objects() {
    let server = server().await;
    let default = server.get(&format!("{RANGES}/kubernetes")).await.expect(200);
    assert_eq!(default.body.pointer("/spec/cidrs"), Some(&json!(["10.43.0.0/16"])));
    assert_eq!(default.at("/status/conditions/0/status"), "True");
    assert_eq!(default.at("/metadata/finalizers/0"), "networking.k8s.io/service-cidr-finalizer");
    let outside = || service(&server, "far", json!({ "clusterIP": "10.99.0.9" }));
    let refused = outside().await.expect(422);
    assert!(
        refused.at("/message").ends_with("the provided network does not match the current range"),
        "{}",
        refused.text
    );
    server
        .post(RANGES, json!({ "metadata": { "name": "more" }, "spec": { "cidrs": ["10.99.0.0/24"] } }))
        .await
        .expect(201);
    outside().await.expect(422);
    let now = base::time::rfc3339(base::time::now());
    let ready = json!({ "type": "Ready", "status": "True", "reason": "", "message": "", "lastTransitionTime": now });
    server.merge(&format!("{RANGES}/more/status"), json!({ "status": { "conditions": [ready] } })).await.expect(200);
    until("usable", || async { outside().await.code != 422 }).await;
    server.get(&format!("{ADDRESSES}/10.99.0.9")).await.expect(200);
    server.delete(&format!("{RANGES}/kubernetes"), Value::Null).await.expect(200);
    let leaving = server.get(&format!("{RANGES}/kubernetes")).await.expect(200);
    assert!(!leaving.at("/metadata/deletionTimestamp").is_empty(), "the finalizer holds it");
    until("out of use", || async {
        let made = service(&server, "other", json!({})).await.expect(201);
        server.delete(&format!("{SERVICES}/other"), Value::Null).await.expect(200);
        made.at("/spec/clusterIP").starts_with("10.99.0.")
    })
    .await;
    server.merge(&format!("{RANGES}/kubernetes"), json!({ "metadata": { "finalizers": null } })).await.expect(200);
    until("made again", || async { server.get(&format!("{RANGES}/kubernetes")).await.code == 200 }).await;
}

#[tokio::test]
async fn a_start_repairs_what_other_hands_did() {
    let store: std::sync::Arc<dyn store::Store> =
        std::sync::Arc::new(store::in_memory(store::Options::new(api::stamp)).expect("a store in memory"));
    let first = server_on(store.clone()).await;
    let made = service(&first, "web", json!({ "clusterIP": "10.43.0.50" })).await.expect(201);
    let stray = json!({
        "metadata": { "name": "10.43.0.60", "labels": { "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io" } },
        "spec": { "parentRef": { "resource": "services", "namespace": "default", "name": "gone" } },
    });
    first.post(ADDRESSES, stray).await.expect(201);
    first.context.stop.cancel();
    let key = "/networking.k8s.io/ipaddresses/10.43.0.50";
    let gone = store::Write::Delete { key: key.into(), expect: store::Expect::Any, last: "{}".into() };
    store.commit(vec![gone]).await.expect("written");
    let second = api::Api::build(first.api.core().config.clone(), store.clone()).expect("a server");
    let (context, _) = tasks::context_for_tests();
    second.start(&context).await.expect("started");
    assert!(store.get(key).is_some(), "{} has its object again", made.at("/spec/clusterIP"));
    assert!(store.get("/networking.k8s.io/ipaddresses/10.43.0.60").is_none());
    context.stop.cancel();
}
