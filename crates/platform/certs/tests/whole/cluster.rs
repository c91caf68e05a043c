//! An API server, the service, and a clock that tests set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use knarr_certs::{Clock, Config};
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use pki::{Authority, Usage};
use serde_json::{Value, json};

pub(crate) const CERT: &str = "cert-manager.io/v1";
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) context: tasks::Context,
    /// Seconds the clock is ahead.
    ahead: Arc<AtomicI64>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.context.stop.cancel();
    }
}

async fn server(context: &tasks::Context) -> Client {
    let (cluster_ca, client_ca) =
        (Authority::generate("cluster-ca").unwrap(), Authority::generate("client-ca").unwrap());
    let front_proxy_ca = Authority::generate("front-proxy-ca").unwrap();
    let issue = |authority: &Authority, name: &str, usage| {
        let request = pki::Request {
            common_name: name.to_owned(),
            organization: None,
            names: vec!["127.0.0.1".to_owned()],
            usage,
            lifetime: Duration::from_secs(3600),
        };
        authority.issue(&request).unwrap()
    };
    let own = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": "knarr-ca", "namespace": "knarr-system" },
        "stringData": { "tls.crt": cluster_ca.cert_pem(), "tls.key": cluster_ca.key_pem() },
    });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "knarr-system" } });
    let config = api::Config {
        bind: ([127, 0, 0, 1], 0).into(),
        advertise: [127, 0, 0, 1].into(),
        port: 6443,
        service_cidr: "10.43.0.0/16".to_owned(),
        node_ports: 30000..=32767,
        cluster_domain: "cluster.local".to_owned(),
        serving: issue(&cluster_ca, "kube-apiserver", Usage::Server),
        cluster_ca_pem: cluster_ca.cert_pem().to_owned(),
        client_ca_pem: client_ca.cert_pem().to_owned(),
        token_key_pem: pki::generate_key_pem().unwrap(),
        token_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
        kubelet_client: issue(&client_ca, "kube-apiserver-kubelet-client", Usage::Client),
        front_proxy: api::FrontProxy {
            ca_pem: front_proxy_ca.cert_pem().to_owned(),
            client: issue(&front_proxy_ca, api::FrontProxy::NAME, Usage::Client),
        },
        bootstrap: vec![namespace, own],
        runtime_config: vec![],
    };
    let store = Arc::new(store::in_memory(store::Options::new(api::stamp)).unwrap());
    let api = api::Api::build(config, store).unwrap();
    api.start(context).await.unwrap();
    api.client(api::User::component("kubernetes-admin", &["system:masters"]))
}

impl Cluster {
    /// A cluster whose service has the settings that `set` leaves.
    pub(crate) async fn start(set: impl FnOnce(&mut Config)) -> Self {
        let (context, mut status) = tasks::context_for_tests();
        let client = server(&context).await;
        let ahead = Arc::new(AtomicI64::new(0));
        let mut config = Config::new("knarr-system", "knarr-ca", "knarr");
        let clock = Arc::clone(&ahead);
        config.clock = Clock::new(move || {
            Timestamp::from_second(Timestamp::now().as_second() + clock.load(Ordering::SeqCst)).unwrap()
        });
        set(&mut config);
        context.children.try_spawn("certs", knarr_certs::run(client.clone(), config, context.clone()));
        tokio::time::timeout(PATIENCE, status.ready()).await.expect("ready in time").expect("ready");
        Self { client, context, ahead }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(Timestamp::now().as_second() + self.ahead.load(Ordering::SeqCst)).unwrap()
    }

    /// Sets the clock ahead. What waits by the clock looks at it when its object is touched.
    pub(crate) fn pass(&self, hours: i64) {
        self.ahead.fetch_add(hours * 3600, Ordering::SeqCst);
    }

    pub(crate) fn api(&self, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    pub(crate) async fn create(&self, object: Value) -> Value {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let api = self.api(&text("/apiVersion"), &text("/kind"), &text("/metadata/namespace"));
        let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        serde_json::to_value(made).unwrap()
    }

    /// An object of cert-manager.io in the namespace `default`; a ClusterIssuer in none.
    pub(crate) async fn cert_manager(&self, kind: &str, name: &str, spec: Value) -> Value {
        let namespace = if kind == "ClusterIssuer" { Value::Null } else { json!("default") };
        let metadata = json!({ "name": name, "namespace": namespace });
        self.create(json!({ "apiVersion": CERT, "kind": kind, "metadata": metadata, "spec": spec })).await
    }

    pub(crate) async fn secret(&self, namespace: &str, name: &str, data: Value) {
        let metadata = json!({ "name": name, "namespace": namespace });
        self.create(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data })).await;
    }

    pub(crate) async fn patch(&self, version: &str, kind: &str, name: &str, patch: Value) {
        self.api(version, kind, "default").patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn patch_status(&self, kind: &str, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api(CERT, kind, "default").patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub(crate) async fn delete(&self, version: &str, kind: &str, name: &str) {
        self.api(version, kind, "default").delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub(crate) async fn get(&self, version: &str, kind: &str, namespace: &str, name: &str) -> Value {
        let object = self.api(version, kind, namespace).get_opt(name).await.unwrap();
        object.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
    }

    pub(crate) async fn list(&self, version: &str, kind: &str) -> Vec<Value> {
        let all = self.api(version, kind, "default").list(&ListParams::default()).await.unwrap();
        all.items.into_iter().map(|one| serde_json::to_value(one).unwrap()).collect()
    }

    /// Waits until the object is as it should be; null while it is not there.
    pub(crate) async fn until(
        &self,
        version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        reached: impl Fn(&Value) -> bool,
    ) -> Value {
        let shown = |object: Option<&DynamicObject>| object.map_or(Value::Null, |object| json!(object));
        let condition = |object: Option<&DynamicObject>| reached(&shown(object));
        let waiting = await_condition(self.api(version, kind, namespace), name, condition);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(object) => shown(object.unwrap().as_ref()),
            Err(_) => {
                let mut told =
                    format!("{kind} {name} never got there: {:#}\n", self.get(version, kind, namespace, name).await);
                for (version, kind) in [
                    (CERT, "CertificateRequest"),
                    ("acme.cert-manager.io/v1", "Order"),
                    ("acme.cert-manager.io/v1", "Challenge"),
                ] {
                    for one in self.list(version, kind).await {
                        told += &format!("{kind} {}: {}\n", one["metadata"]["name"], one["status"]);
                    }
                }
                panic!("{told}");
            }
        }
    }

    /// Waits until a condition of an object of cert-manager.io says so; the object.
    pub(crate) async fn says(&self, kind: &str, name: &str, condition: &str, status: &str, words: &str) -> Value {
        let namespace = if kind == "ClusterIssuer" { "" } else { "default" };
        self.until(CERT, kind, namespace, name, |object| {
            said(object, condition).is_some_and(|(said, text)| said == status && text.contains(words))
        })
        .await
    }

    /// Waits until a Certificate is ready and nothing of it is under way; its status.
    pub(crate) async fn ready(&self, name: &str, revision: i64) -> Value {
        let done = |object: &Value| {
            let ready = said(object, "Ready").is_some_and(|(status, _)| status == "True");
            let issuing = said(object, "Issuing").is_some_and(|(status, _)| status == "True");
            ready
                && !issuing
                && object["status"]["revision"] == revision
                && object["status"]["nextPrivateKeySecretName"].is_null()
        };
        self.until(CERT, "Certificate", "default", name, done).await["status"].clone()
    }

    /// What `cmctl renew` does.
    pub(crate) async fn renew(&self, name: &str) {
        let certificate = self.get(CERT, "Certificate", "default", name).await;
        let mut conditions = certificate["status"]["conditions"].as_array().unwrap().clone();
        conditions.retain(|one| one["type"] != "Issuing");
        conditions.push(json!({
            "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
            "message": "Certificate re-issuance manually triggered",
            "lastTransitionTime": base::time::rfc3339(self.now()), "observedGeneration": 1,
        }));
        self.patch_status("Certificate", name, json!({ "conditions": conditions })).await;
    }

    /// An entry of a Secret of the namespace `default`.
    pub(crate) async fn entry(&self, secret: &str, name: &str) -> Vec<u8> {
        let secret = Api::<k8s_openapi::api::core::v1::Secret>::namespaced(self.client.clone(), "default")
            .get(secret)
            .await
            .unwrap();
        secret.data.unwrap().remove(name).unwrap_or_else(|| panic!("no entry {name}")).0
    }
}

/// Status and "reason: message" of a condition.
pub(crate) fn said(object: &Value, kind: &str) -> Option<(String, String)> {
    let all = object["status"]["conditions"].as_array()?;
    let one = all.iter().find(|one| one["type"] == kind)?;
    let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
    Some((text("status"), format!("{}: {}", text("reason"), text("message"))))
}
