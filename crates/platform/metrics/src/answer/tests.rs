use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::Full;
use kube::Client;
use kube::client::Body;

use super::*;

/// A client of somebody who answers with what `answer` makes of path and query.
fn client(answer: impl Fn(&str, &str) -> (u16, String) + Clone + Send + Sync + 'static) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (code, text) = answer(request.uri().path(), request.uri().query().unwrap_or_default());
        let response = Response::builder().status(code).body(Full::new(Bytes::from(text))).expect("a response");
        async move { Ok::<_, Infallible>(response) }
    });
    Client::new(service, "default")
}

fn object(kind: &str, name: &str, namespace: Option<&str>, app: &str) -> Value {
    json!({ "kind": kind, "apiVersion": "v1", "metadata": { "name": name, "namespace": namespace, "labels": { "app": app } },
        "status": { "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }] } })
}

/// An API server with a node and two pods, of which it selects one by its label.
fn cluster(path: &str, query: &str) -> (u16, String) {
    let list = |items: Vec<Value>| {
        (200, json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }).to_string())
    };
    let web = object("Pod", "web", Some("shop"), "web");
    match path {
        "/api/v1/nodes" => list(vec![object("Node", "n1", None, "")]),
        "/api/v1/nodes/n1" => (200, object("Node", "n1", None, "").to_string()),
        "/api/v1/namespaces/shop/pods/web" => (200, web.to_string()),
        "/api/v1/namespaces/shop/pods/new" => (200, object("Pod", "new", Some("shop"), "new").to_string()),
        "/api/v1/pods" | "/api/v1/namespaces/shop/pods" if query.contains("app%3Dweb") => list(vec![web]),
        "/api/v1/pods" | "/api/v1/namespaces/shop/pods" => list(vec![web, object("Pod", "new", Some("shop"), "new")]),
        _ => {
            let status = json!({ "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": format!("{path} not found") });
            (404, status.to_string())
        }
    }
}

/// A metrics server whose kubelet counts half a core for the node and a quarter for `web`, with how often it was asked.
fn server() -> (Metrics, Arc<AtomicU64>) {
    let asked = Arc::new(AtomicU64::new(0));
    let (counter, start) = (Arc::clone(&asked), time::now().as_millisecond());
    let connect = move |address: &str| {
        assert_eq!(address, "10.0.0.1:10250");
        let counter = Arc::clone(&counter);
        Ok(client(move |path, _| {
            assert_eq!(path, "/metrics/resource");
            let look = counter.fetch_add(1, Ordering::SeqCst);
            let millis = start + i64::try_from(look).expect("small") * 2000;
            let labels = r#"{container="c",namespace="shop",pod="web"}"#;
            let text = format!(
                "node_cpu_usage_seconds_total {} {millis}\nnode_memory_working_set_bytes 2097152 {millis}\n\
                 container_cpu_usage_seconds_total{labels} {} {millis}\n\
                 container_memory_working_set_bytes{labels} 1048576 {millis}\n\
                 container_start_time_seconds{labels} 1600000000\n",
                1000 + look,
                10.0 + look as f64 / 2.0,
            );
            (200, text)
        }))
    };
    (Metrics::with(client(cluster), Box::new(connect)), asked)
}

async fn ask(metrics: &Metrics, path: &str, accept: &str) -> (u16, Value) {
    let mut request = Request::get(path);
    if !accept.is_empty() {
        request = request.header(header::ACCEPT, accept);
    }
    let response = metrics.answer(request.body(Bytes::new()).expect("a request")).await;
    let code = response.status().as_u16();
    (code, serde_json::from_slice(response.body()).unwrap_or(Value::Null))
}

#[tokio::test(start_paused = true)]
async fn the_first_question_looks_twice_and_the_next_ones_only_when_that_is_old() {
    let (metrics, asked) = server();
    let (code, list) = ask(&metrics, "/apis/metrics.k8s.io/v1beta1/nodes", "").await;
    assert_eq!((code, asked.load(Ordering::SeqCst)), (200, 2));
    assert_eq!((&list["kind"], &list["items"][0]["kind"]), (&json!("NodeMetricsList"), &json!("NodeMetrics")));
    let node = &list["items"][0];
    assert_eq!(node["usage"], json!({ "cpu": "500m", "memory": "2Mi" }));
    assert_eq!((&node["window"], &node["metadata"]["name"]), (&json!("2s"), &json!("n1")));
    ask(&metrics, "/apis/metrics.k8s.io/v1beta1/pods", "").await;
    assert_eq!(asked.load(Ordering::SeqCst), 2, "what is new enough is not asked for again");
}

#[tokio::test(start_paused = true)]
async fn pods_are_those_that_the_api_server_selects_and_that_have_figures() {
    let (metrics, _) = server();
    let base = "/apis/metrics.k8s.io/v1beta1";
    let (_, list) = ask(&metrics, &format!("{base}/namespaces/shop/pods?labelSelector=app%3Dweb"), "").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let (_, list) = ask(&metrics, &format!("{base}/pods"), "").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "the new pod has none yet");
    let (code, pod) = ask(&metrics, &format!("{base}/namespaces/shop/pods/web"), "").await;
    assert_eq!((code, &pod["metadata"]["labels"]), (200, &json!({ "app": "web" })));
    assert_eq!(pod["containers"], json!([{ "name": "c", "usage": { "cpu": "250m", "memory": "1Mi" } }]));
    let (code, refused) = ask(&metrics, &format!("{base}/namespaces/shop/pods/new"), "").await;
    assert_eq!((code, &refused["message"]), (404, &json!(r#"podmetrics.metrics.k8s.io "shop/new" not found"#)));
    let (code, refused) = ask(&metrics, &format!("{base}/namespaces/shop/pods/none"), "").await;
    assert_eq!((code, &refused["message"]), (404, &json!(r#"pods "shop/none" not found"#)));
}

#[tokio::test(start_paused = true)]
async fn people_get_a_table() {
    let (metrics, _) = server();
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (_, table) = ask(&metrics, "/apis/metrics.k8s.io/v1beta1/pods", accept).await;
    let names: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["Name", "cpu", "memory", "Window"]);
    assert_eq!(table["rows"][0]["cells"], json!(["web", "250m", "1Mi", "2s"]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
}

#[tokio::test]
async fn the_api_describes_itself_and_refuses_the_rest() {
    let (metrics, asked) = server();
    let (_, list) = ask(&metrics, "/apis/metrics.k8s.io/v1beta1", "").await;
    assert_eq!(list["resources"].as_array().map(Vec::len), Some(2));
    let (_, index) = ask(&metrics, "/openapi/v3", "").await;
    let address = index["paths"]["apis/metrics.k8s.io/v1beta1"]["serverRelativeURL"].as_str().expect("an address");
    let (code, document) = ask(&metrics, address, "").await;
    assert_eq!((code, &document["openapi"]), (200, &json!("3.0.0")));
    for (path, accept, code) in [
        ("/apis/metrics.k8s.io/v1beta1/nodes?watch=true", "", 405),
        ("/apis/metrics.k8s.io/v1/nodes", "", 404),
        ("/apis/metrics.k8s.io/v1beta1/nodes", "application/vnd.kubernetes.protobuf", 406),
    ] {
        assert_eq!(ask(&metrics, path, accept).await.0, code, "{path}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[test]
fn windows_are_written_as_go_writes_them() {
    let at = jiff::Timestamp::UNIX_EPOCH;
    for (millis, text) in [(15_053, "15.053s"), (1000, "1s"), (61_500, "1m1.5s"), (120_000, "2m0s"), (10, "0.01s")] {
        let used = Use { at, window: jiff::SignedDuration::from_millis(millis), cpu: 0, memory: 0 };
        assert_eq!(window(used), text);
    }
}
