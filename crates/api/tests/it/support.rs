//! A server in memory and the words that tests speak to it.

use std::sync::Arc;

use api::{Api, Config, FrontProxy, User};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use kube::client::Body;
use pki::{Authority, Pair, Usage};
use serde_json::Value;
use store::Store;

pub(crate) struct Server {
    pub(crate) api: Api,
    pub(crate) client: kube::Client,
    pub(crate) context: tasks::Context,
    pub(crate) cluster_ca: Authority,
    pub(crate) client_ca: Authority,
    pub(crate) front_proxy_ca: Authority,
}

pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
    pub(crate) bytes: Bytes,
}

impl Reply {
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Self {
        assert_eq!(self.code, code, "{}", self.text);
        self
    }

    pub(crate) fn at(&self, pointer: &str) -> &str {
        self.body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn version(&self) -> &str {
        self.at("/metadata/resourceVersion")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect()
    }
}

pub(crate) fn issue(authority: &Authority, common_name: &str, organization: Option<&str>, usage: Usage) -> Pair {
    authority
        .issue(&pki::Request {
            common_name: common_name.to_owned(),
            organization: organization.map(str::to_owned),
            names: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
            usage,
            lifetime: std::time::Duration::from_secs(3600),
        })
        .expect("a certificate")
}

pub(crate) async fn server() -> Server {
    let store = store::in_memory(store::Options::new(api::stamp)).expect("a store in memory");
    server_on(Arc::new(store)).await
}

pub(crate) async fn server_on(store: Arc<dyn Store>) -> Server {
    server_with(store, vec![]).await
}

/// With groups and versions switched on or off, as `--runtime-config` does.
pub(crate) async fn server_with(store: Arc<dyn Store>, runtime_config: Vec<String>) -> Server {
    let cluster_ca = Authority::generate("cluster-ca").expect("an authority");
    let client_ca = Authority::generate("client-ca").expect("an authority");
    let front_proxy_ca = Authority::generate("front-proxy-ca").expect("an authority");
    let config = Config {
        bind: ([127, 0, 0, 1], 0).into(),
        advertise: [127, 0, 0, 1].into(),
        port: 6443,
        service_cidr: "10.43.0.0/16".to_owned(),
        node_ports: 30000..=32767,
        cluster_domain: "cluster.local".to_owned(),
        serving: issue(&cluster_ca, "kube-apiserver", None, Usage::Server),
        cluster_ca_pem: cluster_ca.cert_pem().to_owned(),
        client_ca_pem: client_ca.cert_pem().to_owned(),
        token_key_pem: pki::generate_key_pem().expect("a key"),
        token_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
        kubelet_client: issue(&client_ca, "kube-apiserver-kubelet-client", Some("system:masters"), Usage::Client),
        front_proxy: FrontProxy {
            ca_pem: front_proxy_ca.cert_pem().to_owned(),
            client: issue(&front_proxy_ca, FrontProxy::NAME, None, Usage::Client),
        },
        bootstrap: vec![],
        runtime_config,
    };
    let api = Api::build(config, store).expect("a server");
    let (context, _) = tasks::context_for_tests();
    api.start(&context).await.expect("the bootstrap objects");
    let client = api.client(admin());
    let server = Server { api, client, context, cluster_ca, client_ca, front_proxy_ca };
    // what the service account controller would have made
    let account = serde_json::json!({ "metadata": { "name": "default" } });
    let made = server.post("/api/v1/namespaces/default/serviceaccounts", account).await;
    assert!(matches!(made.code, 201 | 409), "{}", made.text); // there already, on a store that is opened again
    server
}

impl Drop for Server {
    fn drop(&mut self) {
        self.context.stop.cancel();
    }
}

pub(crate) fn admin() -> User {
    User::component("kubernetes-admin", &["system:masters"])
}

impl Server {
    pub(crate) async fn send(&self, client: &kube::Client, request: Request<Body>) -> Reply {
        let response = client.clone().send(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Reply { code: parts.status.as_u16(), headers: parts.headers, body, text, bytes }
    }

    /// `METHOD path`, with headers and a raw body.
    pub(crate) async fn call(&self, request: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        self.send(&self.client, build(request, headers, body.into())).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(&format!("GET {path}"), &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(&format!("POST {path}"), &[], body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Reply {
        self.call(&format!("PUT {path}"), &[], body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str, options: Value) -> Reply {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.call(&format!("DELETE {path}"), &[], body).await
    }

    pub(crate) async fn merge(&self, path: &str, patch: Value) -> Reply {
        self.patch(path, "merge-patch+json", patch).await
    }

    pub(crate) async fn patch(&self, path: &str, dialect: &str, patch: Value) -> Reply {
        let content_type = format!("application/{dialect}");
        self.call(&format!("PATCH {path}"), &[("content-type", &content_type)], patch.to_string()).await
    }

    /// The lines of a watch, as they come.
    pub(crate) async fn watch(&self, path: &str) -> Events {
        self.watch_as(path, &[]).await
    }

    pub(crate) async fn watch_as(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let request = build(&format!("GET {path}"), headers, Bytes::new());
        let response = self.client.clone().send(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), held: Vec::new() }
    }
}

pub(crate) fn build(request: &str, headers: &[(&str, &str)], body: Bytes) -> Request<Body> {
    let (method, path) = request.split_once(' ').expect("METHOD path");
    let method: Method = method.parse().expect("a method");
    let mut built = Request::builder().method(&method).uri(path);
    if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
        built = built.header("content-type", "application/json");
    }
    for (name, value) in headers {
        built = built.header(*name, *value);
    }
    built.body(Body::from(body.to_vec())).expect("a request")
}

pub(crate) struct Events {
    body: Body,
    held: Vec<u8>,
}

impl Events {
    /// At least this many bytes of what comes.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.held.len() < count {
            let frame = tokio::time::timeout(std::time::Duration::from_secs(10), self.body.frame());
            let frame = frame.await.expect("bytes within ten seconds").expect("the stream goes on");
            if let Ok(data) = frame.expect("an unbroken stream").into_data() {
                self.held.extend_from_slice(&data);
            }
        }
        self.held.drain(..count).collect()
    }

    /// The next event; none when the server ended the watch.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event is a line of JSON"));
            }
            let frame = tokio::time::timeout(std::time::Duration::from_secs(10), self.body.frame());
            let frame = frame.await.expect("an event within ten seconds")?;
            if let Ok(data) = frame.expect("an unbroken stream").into_data() {
                self.held.extend_from_slice(&data);
            }
        }
    }

    /// The next events as `TYPE name`.
    pub(crate) async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            let event = self.next().await.expect("an event");
            let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned();
            names.push(format!("{} {}", text("/type"), text("/object/metadata/name")));
        }
        names
    }
}

/// A ConfigMap with one entry.
pub(crate) fn config_map(name: &str) -> Value {
    serde_json::json!({ "metadata": { "name": name }, "data": { "a": "1" } })
}

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Waits for what follows a write with a delay: asks until it is so, for ten seconds at most.
pub(crate) async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while !is_so().await {
        assert!(tokio::time::Instant::now() < deadline, "it never became so");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
