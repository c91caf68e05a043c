//! A Vault that takes what Vault takes and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use knarr_certs::x509::key::{Key, Kind};
use knarr_certs::x509::read::{self, Facts};
use knarr_certs::x509::request::Wanted;
use knarr_certs::x509::sign::{Terms, sign};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::cluster::{CERT, Cluster};
use super::own::base64;

struct Vault {
    root: Facts,
    key: Key,
    /// Tokens that were given out or are known, with what they are for.
    tokens: Mutex<BTreeMap<String, &'static str>>,
    asked: Mutex<Vec<String>>,
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----", base64(der))
}

impl Vault {
    fn new() -> Self {
        let key = Key::generate(Kind::P256).unwrap();
        let spec = serde_json::from_value(json!({ "commonName": "vault", "isCA": true })).unwrap();
        let asked = read::request(&Wanted::of(&spec).unwrap().request(&key).unwrap()).unwrap();
        let terms = Terms { duration: SignedDuration::from_hours(9000), is_ca: true, ..Terms::default() };
        let root = read::certificate(&sign(&asked, None, &key, &terms, Timestamp::now()).unwrap()).unwrap();
        Self { root, key, tokens: Mutex::new([("root-token".to_owned(), "token")].into()), asked: Mutex::default() }
    }

    fn answer(&self, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
        let refuse = |status: u16, why: &str| (status, json!({ "errors": [why] }));
        let login = |method: &'static str| {
            let token = format!("{method}-{}", self.tokens.lock().len());
            self.tokens.lock().insert(token.clone(), method);
            (200, json!({ "auth": { "client_token": token, "lease_duration": 60 } }))
        };
        match path {
            "/v1/sys/health" => (200, json!({ "initialized": true, "sealed": false })),
            "/v1/auth/approle/login" if body["role_id"] == "r" && body["secret_id"] == "s" => login("approle"),
            "/v1/auth/kubernetes/login"
                if body["role"] == "web" && body["jwt"].as_str().is_some_and(|jwt| jwt.split('.').count() == 3) =>
            {
                login("kubernetes")
            }
            "/v1/auth/approle/login" | "/v1/auth/kubernetes/login" => refuse(400, "invalid role or secret ID"),
            "/v1/pki/sign/web" => {
                let Some(method) = token.and_then(|token| self.tokens.lock().get(token).copied()) else {
                    return refuse(403, "permission denied");
                };
                self.asked.lock().push(method.to_owned());
                let Some(said) = read::request_pem(body["csr"].as_str().unwrap_or_default().as_bytes()) else {
                    return refuse(400, "no csr");
                };
                if !said.names.dns.iter().all(|name| name.ends_with(".example")) {
                    return refuse(400, "common name not allowed by this role");
                }
                assert_eq!(body["alt_names"], said.names.dns.join(","));
                assert_eq!(body["ttl"], "7200s");
                let terms = Terms { duration: SignedDuration::from_hours(2), ..Terms::default() };
                let der = sign(&said, Some(&self.root), &self.key, &terms, Timestamp::now()).unwrap();
                let root = pem("CERTIFICATE", &self.root.der);
                (
                    200,
                    json!({ "data": { "certificate": pem("CERTIFICATE", &der), "issuing_ca": root, "ca_chain": [root] } }),
                )
            }
            _ => refuse(404, "no handler for route"),
        }
    }
}

async fn serve(vault: Arc<Vault>, context: &tasks::Context) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let children = context.children.clone();
    context.children.spawn("vault", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let vault = Arc::clone(&vault);
            let serve = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let vault = Arc::clone(&vault);
                async move {
                    let (head, body) = request.into_parts();
                    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
                    assert_eq!((header("x-vault-request"), header("x-vault-namespace")), (Some("true"), Some("team")));
                    let body = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or(Value::Null);
                    let (status, answer) = vault.answer(head.uri.path(), header("x-vault-token"), &body);
                    let mut response = hyper::Response::new(Full::new(Bytes::from(answer.to_string())));
                    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap();
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            children.spawn("connection", async move {
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await);
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vault_signs_for_who_has_a_token_a_role_or_a_service_account() {
    let cluster = Cluster::start(|_| {}).await;
    let vault = Arc::new(Vault::new());
    let server = serve(Arc::clone(&vault), &cluster.context).await;
    cluster.secret("default", "vault", json!({ "token": "root-token", "secretId": "s", "wrong": "x" })).await;
    let account =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "web", "namespace": "default" } });
    cluster.create(account).await;
    let auths = [
        ("token", json!({ "tokenSecretRef": { "name": "vault", "key": "token" } })),
        (
            "approle",
            json!({ "appRole": { "path": "approle", "roleId": "r", "secretRef": { "name": "vault", "key": "secretId" } } }),
        ),
        (
            "kubernetes",
            json!({ "kubernetes": { "mountPath": "/v1/auth/kubernetes", "role": "web", "serviceAccountRef": { "name": "web" } } }),
        ),
    ];
    for (name, auth) in auths {
        let spec = json!({ "vault": { "server": server, "path": "pki/sign/web", "namespace": "team", "auth": auth } });
        cluster.cert_manager("Issuer", name, spec).await;
        cluster.says("Issuer", name, "Ready", "True", "VaultVerified: Vault verified").await;
        let certificate = |host: &str| {
            json!({
                "secretName": format!("{name}-tls"), "dnsNames": [host], "duration": "2h", "renewBefore": "10m",
                "issuerRef": { "name": name }, "privateKey": { "algorithm": "ECDSA" },
            })
        };
        cluster.cert_manager("Certificate", name, certificate("a.example")).await;
        cluster.ready(name, 1).await;
        let chain = read::certificates_pem(&cluster.entry(&format!("{name}-tls"), "tls.crt").await).unwrap();
        let root = read::certificates_pem(&cluster.entry(&format!("{name}-tls"), "ca.crt").await).unwrap();
        assert!(chain.len() == 1 && read::is_signed_by(&chain[0], &root[0]));
        assert_eq!(vault.asked.lock().last().map(String::as_str), Some(name));
    }
    let refused = json!({ "secretName": "no", "dnsNames": ["a.org"], "issuerRef": { "name": "token" }, "duration": "2h", "renewBefore": "10m" });
    cluster.cert_manager("Certificate", "refused", refused).await;
    cluster.says("Certificate", "refused", "Issuing", "False", "common name not allowed by this role").await;
    let wrong =
        json!({ "appRole": { "path": "approle", "roleId": "r", "secretRef": { "name": "vault", "key": "wrong" } } });
    let spec = json!({ "vault": { "server": server, "path": "pki/sign/web", "namespace": "team", "auth": wrong } });
    cluster.cert_manager("Issuer", "wrong", spec).await;
    cluster
        .says("Issuer", "wrong", "Ready", "False", "VaultError: Failed to initialize Vault client: Vault refused")
        .await;
    assert!(cluster.get(CERT, "Issuer", "default", "wrong").await.is_object());
}
