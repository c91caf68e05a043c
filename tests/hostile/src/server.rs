//! An API server in memory that takes one request at a time: for what has no function of its own.
//!
//! It lives as long as the process. Requests that would change it are dry runs, so that an input means the same
//! whatever came before it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use api::{Api, Config, User};
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::client::Body;
use pki::{Authority, Usage};
use serde_json::{Value, json};

/// No request takes longer; upstream gives one a minute.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Of a stream, no more is read than this.
const READ: Duration = Duration::from_millis(5);

/// The server and the runtime it lives in.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    client: kube::Client,
}

/// What came back: the status, and the body if it is JSON.
pub struct Reply {
    pub code: u16,
    pub body: Value,
    pub text: String,
}

/// The one server of this process.
///
/// # Panics
/// When it does not start.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(Server::start)
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let client = runtime.block_on(async {
            let store = store::in_memory(store::Options::new(api::stamp)).expect("a store in memory");
            let api = Api::build(config(), Arc::new(store)).expect("a server");
            let (context, _) = tasks::context_for_tests();
            api.start(&context).await.expect("the bootstrap objects");
            let client = api.client(User::component("kubernetes-admin", &["system:masters"]));
            // the tasks live as long as the process
            std::mem::forget(context);
            client
        });
        let server = Self { runtime, client };
        for number in 0..5 {
            let map = json!({"metadata": {"name": format!("map-{number}"), "labels": {"a": "b"}}, "data": {"a": "1"}});
            server.post("/api/v1/namespaces/default/configmaps", &map);
        }
        let account = json!({"metadata": {"name": "default"}});
        server.post("/api/v1/namespaces/default/serviceaccounts", &account);
        let labels = json!({"app": "web"});
        let containers = json!([{"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}]);
        let deployment = json!({"metadata": {"name": "web", "labels": labels}, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        }});
        server.post("/apis/apps/v1/namespaces/default/deployments", &deployment);
        let pod = json!({"metadata": {"name": "web", "labels": labels}, "spec": {"containers": containers}});
        server.post("/api/v1/namespaces/default/pods", &pod);
        let service = json!({"metadata": {"name": "web"}, "spec": {"selector": labels, "ports": [{"port": 80}]}});
        server.post("/api/v1/namespaces/default/services", &service);
        server
    }

    /// Creates an object that must be fine.
    ///
    /// # Panics
    /// When it is not.
    pub fn post(&self, path: &str, object: &Value) {
        let reply = self.ask(&Method::POST, path, &[("content-type", "application/json")], object.to_string().into());
        let reply = reply.expect("a request");
        assert_eq!(reply.code, 201, "{}", reply.text);
    }

    /// The answer to a request; none if such a request cannot be sent at all.
    ///
    /// # Panics
    /// When the server takes too long or breaks off.
    pub fn ask(&self, method: &Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Option<Reply> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).ok()?;
        let watched = path.contains("watch") || path.contains("follow");
        let answer = async {
            let response = self.client.clone().send(request).await.expect("an answer");
            let (parts, mut body) = response.into_parts();
            let mut bytes = Vec::new();
            let read = async {
                while let Some(frame) = body.frame().await {
                    if let Ok(data) = frame.expect("an unbroken body").into_data() {
                        bytes.extend_from_slice(&data);
                    }
                }
            };
            let read = tokio::time::timeout(if watched { READ } else { PATIENCE }, read).await;
            assert!(watched || read.is_ok(), "the answer to {path} does not end");
            (parts.status.as_u16(), bytes)
        };
        let answered = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await });
        let (code, bytes) = answered.unwrap_or_else(|_| panic!("{method} {path} takes too long"));
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Some(Reply { code, body, text: String::from_utf8_lossy(&bytes).into_owned() })
    }
}

fn config() -> Config {
    let cluster_ca = Authority::generate("cluster-ca").expect("an authority");
    let client_ca = Authority::generate("client-ca").expect("an authority");
    let issue = |authority: &Authority, name: &str, organization: Option<&str>, usage| {
        let request = pki::Request {
            common_name: name.to_owned(),
            organization: organization.map(str::to_owned),
            names: vec!["127.0.0.1".to_owned()],
            usage,
            lifetime: Duration::from_secs(3600 * 24),
        };
        authority.issue(&request).expect("a certificate")
    };
    Config {
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
        front_proxy: api::FrontProxy {
            ca_pem: client_ca.cert_pem().to_owned(),
            client: issue(&client_ca, api::FrontProxy::NAME, None, Usage::Client),
        },
        bootstrap: vec![],
        runtime_config: vec![],
    }
}
