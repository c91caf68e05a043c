//! Controllers with the identities and roles they have in a cluster of our own, against our API server: what one of them may
//! not do, it does not do here either.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::wait::await_condition;
use pki::{Authority, Usage};
use serde_json::{Value, json};

use super::*;

struct Cluster {
    client: Client,
    context: tasks::Context,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.context.stop.cancel();
    }
}

async fn cluster() -> Cluster {
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
        bootstrap: vec![],
        runtime_config: vec![],
    };
    let store = Arc::new(store::in_memory(store::Options::new(api::stamp)).unwrap());
    let api = api::Api::build(config, store).unwrap();
    let (context, _) = tasks::context_for_tests();
    api.start(&context).await.unwrap();
    let control = control::Config {
        clients: controller_clients(api.clone()),
        cluster_ca_pem: cluster_ca.cert_pem().to_owned(),
        time_zone: base::zone::Zone::UTC,
        sign: None,
        sign_token: Some(token_signer(api.clone())),
    };
    context.children.try_spawn("controllers", control::run(control, context.clone()));
    let client = api.client(api::User::component("kubernetes-admin", &["system:masters"]));
    let cluster = Cluster { client, context };
    cluster.until("v1", "ServiceAccount", "default", "default", Value::is_object).await;
    cluster
}

impl Cluster {
    fn api(&self, version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match namespace {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        }
    }

    async fn create(&self, object: Value) -> Value {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let api = self.api(&text("/apiVersion"), &text("/kind"), &text("/metadata/namespace"));
        let made = api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        serde_json::to_value(made).unwrap()
    }

    async fn patch_status(&self, version: &str, kind: &str, namespace: &str, name: &str, status: Value) {
        let patch = Patch::Merge(json!({ "status": status }));
        self.api(version, kind, namespace).patch_status(name, &PatchParams::default(), &patch).await.unwrap();
    }

    async fn delete(&self, version: &str, kind: &str, namespace: &str, name: &str) {
        let now = DeleteParams::default().grace_period(0);
        self.api(version, kind, namespace).delete(name, &now).await.unwrap();
    }

    async fn get(&self, version: &str, kind: &str, namespace: &str, name: &str) -> Value {
        let object = self.api(version, kind, namespace).get_opt(name).await.unwrap();
        object.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
    }

    /// Waits until the object is as it should be; null while it is not there.
    async fn until(
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
        match tokio::time::timeout(Duration::from_secs(30), waiting).await {
            Ok(object) => shown(object.unwrap().as_ref()),
            Err(_) => panic!("{kind} {name} never got there: {}", self.get(version, kind, namespace, name).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_a_secret_lets_its_account_in_until_the_account_is_gone() {
    let cluster = cluster().await;
    cluster.create(json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "web", "namespace": "default" } })).await;
    let annotations = json!({ "kubernetes.io/service-account.name": "web" });
    cluster
        .create(json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
            "metadata": { "name": "t", "namespace": "default", "annotations": annotations } }))
        .await;
    cluster.until("v1", "Secret", "default", "t", |secret| secret["data"]["token"].is_string()).await;
    let secret = Api::<Secret>::namespaced(cluster.client.clone(), "default").get("t").await.unwrap();
    let data = secret.data.unwrap();
    assert!(data["ca.crt"].0.starts_with(b"-----BEGIN CERTIFICATE-----") && data["namespace"].0 == b"default");
    let token = String::from_utf8(data["token"].0.clone()).unwrap();
    let ask = async || {
        let spec = TokenReviewSpec { token: token.clone(), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let api = Api::<TokenReview>::all(cluster.client.clone());
        let status = api.create(&PostParams::default(), &review).await.unwrap().status.unwrap();
        status.user.and_then(|user| user.username).unwrap_or_default()
    };
    assert_eq!(ask().await, "system:serviceaccount:default:web");
    let label = "/metadata/labels/kubernetes.io~1legacy-token-last-used";
    cluster.until("v1", "Secret", "default", "t", |secret| secret.pointer(label).is_some_and(Value::is_string)).await;
    assert_eq!(ask().await, "system:serviceaccount:default:web");
    cluster.delete("v1", "ServiceAccount", "default", "web").await;
    cluster.until("v1", "Secret", "default", "t", Value::is_null).await;
    assert_eq!(ask().await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_disk_is_attached_reported_and_detached() {
    let cluster = cluster().await;
    let managed = json!({ "volumes.kubernetes.io/controller-managed-attach-detach": "true" });
    cluster
        .create(json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1", "annotations": managed } }))
        .await;
    cluster
        .until("v1", "Node", "", "n1", |node| node["metadata"]["annotations"]["node.alpha.kubernetes.io/ttl"] == "0")
        .await;
    let size = json!({ "storage": "1Gi" });
    cluster
        .create(json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "pv" }, "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": size, "storageClassName": "",
            "csi": { "driver": "d.example.com", "volumeHandle": "disk" } } }))
        .await;
    cluster
        .create(json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": "data", "namespace": "default" }, "spec": { "accessModes": ["ReadWriteOnce"],
                "storageClassName": "", "volumeName": "pv", "resources": { "requests": size } } }))
        .await;
    cluster
        .create(
            json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "namespace": "default" }, "spec": {
            "nodeName": "n1", "containers": [{ "name": "c", "image": "i" }],
            "volumes": [{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } }] } }),
        )
        .await;
    // SHA-256 of the handle, the driver and the node
    let name = "csi-6ec8467e7a0e02d4590a5d841b423f358999e8b5c4e14829d7f37d11e10c47fe";
    let (version, kind) = ("storage.k8s.io/v1", "VolumeAttachment");
    let made = cluster.until(version, kind, "", name, Value::is_object).await;
    assert_eq!(
        made["spec"],
        json!({ "attacher": "d.example.com", "nodeName": "n1", "source": { "persistentVolumeName": "pv" } })
    );
    cluster.patch_status(version, kind, "", name, json!({ "attached": true })).await;
    let attached = json!([{ "name": "kubernetes.io/csi/d.example.com^disk", "devicePath": "" }]);
    cluster.until("v1", "Node", "", "n1", |node| node["status"]["volumesAttached"] == attached).await;
    cluster.delete("v1", "Pod", "default", "p").await;
    cluster.until(version, kind, "", name, Value::is_null).await;
    let node = cluster.get("v1", "Node", "", "n1").await;
    assert!(node["status"]["volumesAttached"].as_array().is_none_or(Vec::is_empty), "{node}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_hears_what_its_expressions_have_wrong() {
    let cluster = cluster().await;
    let rules =
        json!([{ "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"], "operations": ["*"] }]);
    let validations =
        json!([{ "expression": "object.spec.replicas <= 5" }, { "expression": "object.spec.replicaz <= 5" }]);
    let (version, kind) = ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    cluster
        .create(json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "p.example.com" },
            "spec": { "matchConstraints": { "resourceRules": rules }, "validations": validations } }))
        .await;
    let told = |policy: &Value| policy["status"]["observedGeneration"] == policy["metadata"]["generation"];
    let policy = cluster.until(version, kind, "", "p.example.com", |policy| policy.is_object() && told(policy)).await;
    let warning = "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replicaz'\n | object.spec.replicaz <= 5\n \
                   | ...........^\n";
    let expected = json!([{ "fieldRef": "spec.validations[1].expression", "warning": warning }]);
    assert_eq!(policy["status"]["typeChecking"]["expressionWarnings"], expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_info_is_signed_and_an_ended_token_removed() {
    let cluster = cluster().await;
    cluster
        .create(json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "cluster-info", "namespace": "kube-public" }, "data": { "kubeconfig": "c" } }))
        .await;
    let token = |id: &str, end: &str| {
        json!({ "apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": { "name": format!("bootstrap-token-{id}"), "namespace": "kube-system" },
            "stringData": { "token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true",
                "expiration": end } })
    };
    cluster.create(token("abcdef", "2999-01-01T00:00:00Z")).await;
    cluster.create(token("012345", "2020-01-01T00:00:00Z")).await;
    let signed = |map: &Value, id: &str| map["data"][format!("jws-kubeconfig-{id}")].is_string();
    cluster
        .until("v1", "ConfigMap", "kube-public", "cluster-info", |map| signed(map, "abcdef") && !signed(map, "012345"))
        .await;
    cluster.until("v1", "Secret", "kube-system", "bootstrap-token-012345", Value::is_null).await;
}
