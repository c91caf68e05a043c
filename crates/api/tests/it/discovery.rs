//! What a client learns before it knows anything.

use serde_json::{Value, json};

use crate::support::server;

#[tokio::test]
async fn discovery_tells_the_served_rows_and_no_others() {
    let server = server().await;
    let versions = server.get("/api").await.expect(200);
    assert_eq!(versions.body["versions"], json!(["v1"]));
    let groups = server.get("/apis").await.expect(200);
    assert_eq!(groups.at("/kind"), "APIGroupList");
    let core = server.get("/api/v1").await.expect(200);
    let resources = core.body["resources"].as_array().expect("resources").clone();
    let find = |name: &str| resources.iter().find(|resource| resource["name"] == name).cloned().unwrap_or_default();
    assert_eq!(find("pods")["shortNames"], json!(["po"]));
    assert_eq!(find("pods")["categories"], json!(["all"]));
    assert_eq!(find("pods/eviction")["kind"], "Eviction");
    assert_eq!(find("pods/eviction")["group"], "policy");
    assert_eq!(find("namespaces")["namespaced"], false);
    let group = server.get("/apis/autoscaling").await.expect(200);
    assert_eq!(group.at("/preferredVersion/version"), "v2");
    server.get("/apis/autoscaling/v1").await.expect(200);
    server.get("/apis/resource.k8s.io/v1beta1").await.expect(404);
}

#[tokio::test]
async fn aggregated_discovery_is_one_document_per_root() {
    let server = server().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let all = server.call("GET /apis", &[("accept", accept)], "").await.expect(200);
    assert_eq!(all.headers["content-type"], "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
    assert_eq!(all.at("/apiVersion"), "apidiscovery.k8s.io/v2");
    let apps = all.body["items"]
        .as_array()
        .expect("items")
        .iter()
        .find(|group| group["metadata"]["name"] == "apps")
        .expect("apps");
    let resources = apps.pointer("/versions/0/resources").and_then(Value::as_array).expect("resources");
    let deployments = resources.iter().find(|resource| resource["resource"] == "deployments").expect("deployments");
    assert_eq!(deployments["scope"], "Namespaced");
    assert_eq!(deployments.pointer("/subresources/0/subresource"), Some(&json!("scale")));
    let tag = all.headers["etag"].to_str().expect("a tag").to_owned();
    let known = server.call("GET /apis", &[("accept", accept), ("if-none-match", &tag)], "").await.expect(304);
    assert!(known.text.is_empty());
    let legacy = server.call("GET /api", &[("accept", accept)], "").await.expect(200);
    assert_eq!(legacy.at("/items/0/versions/0/version"), "v1");
}

#[tokio::test]
async fn health_version_and_documents_answer() {
    let server = server().await;
    for path in ["/livez", "/readyz", "/healthz", "/livez/ping"] {
        assert_eq!(server.get(path).await.expect(200).text, "ok", "{path}");
    }
    let verbose = server.get("/readyz?verbose").await.expect(200);
    assert!(verbose.text.contains("[+]ping ok\n") && verbose.text.ends_with("readyz check passed\n"));
    server.get("/livez/nope").await.expect(404);
    let version = server.get("/version").await.expect(200);
    assert_eq!(version.at("/gitVersion"), "v1.36.0+knarr.0.1.0");
    assert_eq!((version.at("/major"), version.at("/minor")), ("1", "36"));
    let index = server.get("/openapi/v3").await.expect(200);
    let apps = index.body["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("apps/v1").to_owned();
    let document = server.get(&apps).await.expect(200);
    assert_eq!(document.headers["cache-control"], "public, immutable");
    assert!(document.body["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"].is_object());
    assert!(server.get("/openapi/v2").await.expect(200).body["definitions"].is_object());
    let paths = server.get("/").await.expect(200);
    assert!(paths.body["paths"].as_array().is_some_and(|paths| paths.contains(&json!("/apis/apps/v1"))));
    let metrics = server.get("/metrics").await.expect(200);
    assert!(metrics.text.contains("apiserver_request_total{verb=\"GET\""), "{}", metrics.text);
}
