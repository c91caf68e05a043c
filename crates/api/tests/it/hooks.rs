//! Admission webhooks: who is asked about what, what their answers do, and what happens without an answer.

use std::sync::{Arc, Mutex};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::support::{Server, issue, server};

/// Answers questions over TLS until the server ends; where it listens.
pub(crate) async fn answering(server: &Server, answer: impl Fn(Value) -> Value + Send + Sync + 'static) -> String {
    let pair = issue(&server.cluster_ca, "webhook", None, pki::Usage::Server);
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pair.cert_pem.as_bytes()).map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a server");
    let (acceptor, listener) =
        (TlsAcceptor::from(Arc::new(config)), tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let (children, answer) = (server.context.children.clone(), Arc::new(answer));
    let spawner = children.clone();
    children.spawn("webhook", async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let body = request.into_body().collect().await.expect("a body").to_bytes();
                    let question: Value = serde_json::from_slice(&body).expect("a review");
                    let text = answer(question).to_string();
                    Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(text))))
                }
            });
            spawner.spawn("webhook connection", async move {
                let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                drop(served.await);
            });
        }
    });
    url
}

type Judge = fn(&Value) -> Value;

/// A webhook that answers as the test says and remembers what it was asked.
struct Hook {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    async fn new(server: &Server, judge: Judge) -> Self {
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let heard = asked.clone();
        let url = answering(server, move |review| {
            let request = review["request"].clone();
            let mut response = judge(&request);
            response["uid"] = request["uid"].clone();
            heard.lock().expect("requests").push(request);
            json!({ "kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response })
        })
        .await;
        Self { url, asked }
    }

    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.asked.lock().expect("requests"))
    }

    fn webhook(&self, server: &Server, name: &str, resources: &[&str]) -> Value {
        json!({
            "name": format!("{name}.example.com"),
            "clientConfig": { "url": self.url, "caBundle": STANDARD.encode(server.cluster_ca.cert_pem()) },
            "rules": [{ "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources }],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
        })
    }
}

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn register(server: &Server, path: &str, name: &str, webhooks: Vec<Value>) {
    let kind = if path == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": name }, "webhooks": webhooks,
    });
    server.post(path, object).await.expect(201);
}

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "start": "yes" } })
}

fn patch(operations: Value) -> Value {
    json!({ "allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string()) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_refuses_with_its_own_words_and_hears_all_there_is_to_know() {
    let server = server().await;
    let hook = Hook::new(&server, |request| {
        let bad = request["object"]["data"]["bad"] == "yes" || request["operation"] == "DELETE";
        json!({ "allowed": !bad, "warnings": ["look out"], "status": { "message": "it is bad", "code": 418, "reason": "Teapot" } })
    })
    .await;
    register(&server, VALIDATING, "judge", vec![hook.webhook(&server, "judge", &["configmaps"])]).await;
    let made = server.post(&format!("{MAPS}?fieldManager=ann"), map("good")).await.expect(201);
    assert!(made.warnings().iter().any(|warning| warning.contains("look out")), "{:?}", made.warnings());
    let asked = hook.take();
    let [request] = asked.as_slice() else { panic!("asked once: {asked:?}") };
    let gvr = json!({ "group": "", "version": "v1", "resource": "configmaps" });
    assert_eq!((&request["resource"], &request["requestResource"]), (&gvr, &gvr));
    assert_eq!(request["kind"], json!({ "group": "", "version": "v1", "kind": "ConfigMap" }));
    assert_eq!((request["operation"].as_str(), request["namespace"].as_str()), (Some("CREATE"), Some("default")));
    assert_eq!((&request["name"], &request["oldObject"]), (&json!("good"), &Value::Null));
    assert_eq!(request["userInfo"]["username"], "kubernetes-admin");
    assert_eq!(request["options"]["fieldManager"], "ann");
    assert_eq!(request["object"]["metadata"]["namespace"], "default");

    let one = format!("{MAPS}/good");
    let refused = server.merge(&one, json!({ "data": { "bad": "yes" } })).await.expect(418);
    assert_eq!(refused.at("/message"), "admission webhook \"judge.example.com\" denied the request: it is bad");
    assert_eq!(refused.at("/reason"), "Teapot");
    assert_eq!(hook.take()[0]["oldObject"]["data"], json!({ "start": "yes" }));
    server.delete(&one, Value::Null).await.expect(418);
    assert_eq!(hook.take()[0]["object"], Value::Null);
    assert_eq!(server.get(&one).await.expect(200).body["data"], json!({ "start": "yes" }), "nothing was written");
    // who decides is not decided about
    server.delete(&format!("{VALIDATING}/judge"), Value::Null).await.expect(200);
    server.delete(&one, Value::Null).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_change_objects_one_after_the_other_and_hear_of_each_other() {
    let server = server().await;
    let first = Hook::new(&server, |request| match request["object"]["data"]["second"].as_str() {
        Some(_) => patch(json!([{ "op": "add", "path": "/data/first-again", "value": "yes" }])),
        None => patch(json!([{ "op": "add", "path": "/data/first", "value": "yes" }])),
    })
    .await;
    let second = Hook::new(&server, |_| patch(json!([{ "op": "add", "path": "/data/second", "value": "yes" }]))).await;
    let mut hears = first.webhook(&server, "first", &["configmaps"]);
    hears["reinvocationPolicy"] = json!("IfNeeded");
    register(&server, MUTATING, "a", vec![hears]).await;
    register(&server, MUTATING, "b", vec![second.webhook(&server, "second", &["configmaps"])]).await;
    let made = server.post(MAPS, map("one")).await.expect(201);
    let all = json!({ "start": "yes", "first": "yes", "second": "yes", "first-again": "yes" });
    assert_eq!(made.body["data"], all);
    assert_eq!((first.take().len(), second.take().len()), (2, 1));
    // what a webhook makes must still be an object of its kind
    let wrong = Hook::new(&server, |_| patch(json!([{ "op": "add", "path": "/data", "value": 7 }]))).await;
    register(&server, MUTATING, "c", vec![wrong.webhook(&server, "wrong", &["configmaps"])]).await;
    let refused = server.post(MAPS, map("two")).await.expect(500);
    assert!(refused.at("/message").contains("failed calling webhook \"wrong.example.com\""), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_conditions_and_rules_say_what_a_webhook_hears_of() {
    let server = server().await;
    let hook = Hook::new(&server, |_| json!({ "allowed": true })).await;
    let mut picky = hook.webhook(&server, "picky", &["configmaps", "deployments/scale"]);
    picky["objectSelector"] = json!({ "matchLabels": { "ask": "yes" } });
    picky["namespaceSelector"] = json!({ "matchExpressions": [{ "key": "quiet", "operator": "DoesNotExist" }] });
    picky["matchConditions"] = json!([
        { "name": "user", "expression": "request.userInfo.username == 'kubernetes-admin'" },
        { "name": "object", "expression": "!has(object.data) || !('skip' in object.data)" },
    ]);
    register(&server, VALIDATING, "picky", vec![picky]).await;
    server
        .post("/api/v1/namespaces", json!({ "metadata": { "name": "calm", "labels": { "quiet": "" } } }))
        .await
        .expect(201);
    let make = async |path: &str, name: &str, labels: Value, data: Value| {
        let object = json!({ "metadata": { "name": name, "labels": labels }, "data": data });
        server.post(path, object).await.expect(201);
        hook.take().len()
    };
    let (ask, none) = (json!({ "ask": "yes" }), json!({}));
    assert_eq!(make(MAPS, "a", ask.clone(), none.clone()).await, 1);
    assert_eq!(make(MAPS, "b", none.clone(), none.clone()).await, 0, "the object is not picked");
    assert_eq!(make(MAPS, "c", ask.clone(), json!({ "skip": "" })).await, 0, "a condition does not hold");
    assert_eq!(make("/api/v1/namespaces/calm/configmaps", "d", ask.clone(), none).await, 0, "nor is the namespace");
    // an object is picked by what it was, too
    server.merge(&format!("{MAPS}/a"), json!({ "metadata": { "labels": { "ask": null } } })).await.expect(200);
    assert_eq!(hook.take().len(), 1);

    let labels = json!({ "app": "a" });
    let template =
        json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let deployment = json!({
        "metadata": { "name": "web", "labels": { "ask": "yes" } },
        "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": template },
    });
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    server.post(deployments, deployment).await.expect(201);
    assert_eq!(hook.take().len(), 0, "only the scale was asked for");
    server.merge(&format!("{deployments}/web/scale"), json!({ "spec": { "replicas": 3 } })).await.expect(200);
    let asked = hook.take();
    assert_eq!((&asked[0]["kind"]["kind"], &asked[0]["subResource"]), (&json!("Scale"), &json!("scale")));
    assert_eq!(
        (&asked[0]["object"]["spec"]["replicas"], &asked[0]["oldObject"]["spec"]["replicas"]),
        (&json!(3), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_a_resource_is_the_same_resource() {
    let server = server().await;
    let hook =
        Hook::new(&server, |_| patch(json!([{ "op": "add", "path": "/metadata/labels", "value": { "seen": "v1" } }])))
            .await;
    let mut older = hook.webhook(&server, "older", &["horizontalpodautoscalers"]);
    older["rules"][0]["apiVersions"] = json!(["v1"]);
    register(&server, MUTATING, "older", vec![older.clone()]).await;
    let scaler = |name: &str| {
        json!({
            "metadata": { "name": name },
            "spec": {
                "maxReplicas": 3, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } } }],
            },
        })
    };
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = server.post(path, scaler("a")).await.expect(201);
    assert_eq!((made.at("/metadata/labels/seen"), made.at("/apiVersion")), ("v1", "autoscaling/v2"));
    assert_eq!(made.body["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    let asked = hook.take();
    assert_eq!((&asked[0]["kind"]["version"], &asked[0]["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(asked[0]["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
    older["matchPolicy"] = json!("Exact");
    server.delete(&format!("{MUTATING}/older"), Value::Null).await.expect(200);
    register(&server, MUTATING, "exact", vec![older]).await;
    server.post(path, scaler("b")).await.expect(201);
    assert_eq!(hook.take().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_failure_policy_decides() {
    let server = server().await;
    let hook = Hook::new(&server, |_| json!({ "allowed": true })).await;
    let mut deaf = hook.webhook(&server, "deaf", &["configmaps"]);
    deaf["clientConfig"]["url"] = json!("https://127.0.0.1:1");
    deaf["timeoutSeconds"] = json!(3);
    register(&server, VALIDATING, "deaf", vec![deaf.clone()]).await;
    let refused = server.post(MAPS, map("a")).await.expect(500);
    let start = "Internal error occurred: failed calling webhook \"deaf.example.com\": failed to call webhook: Post \"https://127.0.0.1:1/?timeout=3s\": ";
    assert!(refused.at("/message").starts_with(start), "{}", refused.text);
    deaf["failurePolicy"] = json!("Ignore");
    server.delete(&format!("{VALIDATING}/deaf"), Value::Null).await.expect(200);
    register(&server, VALIDATING, "deaf", vec![deaf]).await;
    server.post(MAPS, map("a")).await.expect(201);
    // a dry run must not have effects elsewhere
    let mut loud = hook.webhook(&server, "loud", &["configmaps"]);
    loud["sideEffects"] = json!("NoneOnDryRun");
    register(&server, VALIDATING, "loud", vec![loud]).await;
    server.post(&format!("{MAPS}?dryRun=All"), map("b")).await.expect(201);
    let asked = hook.take();
    assert_eq!((&asked[0]["dryRun"], &asked[0]["options"]["dryRun"]), (&json!(true), &json!(["All"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_asked_about_too() {
    let server = server().await;
    let hook =
        Hook::new(&server, |_| json!({ "allowed": false, "status": { "message": "no shells", "code": 403 } })).await;
    register(&server, VALIDATING, "shells", vec![hook.webhook(&server, "shells", &["pods/exec", "pods/attach"])]).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    server.post(pods, pod).await.expect(201);
    let refused = server
        .post(&format!("{pods}/p/exec?command=sh&command=-c&stdin=true&container=c"), json!({}))
        .await
        .expect(403);
    assert_eq!(refused.at("/message"), "admission webhook \"shells.example.com\" denied the request: no shells");
    let asked = hook.take();
    let options = json!({ "kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh", "-c"], "stdin": true, "container": "c" });
    assert_eq!((&asked[0]["object"], asked[0]["operation"].as_str()), (&options, Some("CONNECT")));
    assert_eq!((&asked[0]["kind"]["kind"], &asked[0]["subResource"]), (&json!("PodExecOptions"), &json!("exec")));
    server.get(&format!("{pods}/p/log")).await.expect(204);
    assert_eq!(hook.take().len(), 0, "reading is no connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_to_an_object_is_asked_about_as_what_it_is() {
    let server = server().await;
    let hook = Hook::new(&server, |request| json!({ "allowed": request["kind"]["kind"] != "Eviction" })).await;
    let sent = ["pods/eviction", "pods/binding", "serviceaccounts/token"];
    register(&server, VALIDATING, "sent", vec![hook.webhook(&server, "sent", &sent)]).await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    server.post(pods, pod).await.expect(201);
    let binding = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    server.post(&format!("{pods}/p/binding"), binding).await.expect(201);
    let asked = hook.take();
    let request = &asked[0];
    assert_eq!((&request["kind"]["kind"], &request["object"]["target"]["name"]), (&json!("Binding"), &json!("n")));
    assert_eq!((&request["resource"]["resource"], &request["operation"]), (&json!("pods"), &json!("CREATE")));
    server.post(&format!("{pods}/p/eviction"), json!({ "metadata": { "name": "p" } })).await.expect(400);
    assert_eq!(hook.take()[0]["kind"], json!({ "group": "policy", "version": "v1", "kind": "Eviction" }));
    assert_eq!(server.get(&format!("{pods}/p")).await.expect(200).body["metadata"].get("deletionTimestamp"), None);
    let tokens = "/api/v1/namespaces/default/serviceaccounts/default/token";
    server.post(tokens, json!({ "spec": { "audiences": ["a"] } })).await.expect(201);
    assert_eq!(hook.take()[0]["object"]["spec"]["audiences"], json!(["a"]));
}
