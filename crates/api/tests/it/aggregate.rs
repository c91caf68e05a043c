//! API servers behind this one: who is carried there, what they add to discovery, and what is said when they are away.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::support::{Reply, Server, build, eventually, server};

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const GROUP: &str = "wardle.example.com";

/// What a server behind us says to a request: its documents, and otherwise what it was told of the sender.
fn say(path: &str, headers: &http::HeaderMap, body: &str) -> (u16, Value) {
    let all = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|value| value.to_str().expect("text").to_owned()).collect()
    };
    match path {
        "/apis/wardle.example.com/v1alpha1" => {
            let resource = json!({ "name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get", "list"] });
            (
                200,
                json!({ "kind": "APIResourceList", "groupVersion": "wardle.example.com/v1alpha1", "resources": [resource] }),
            )
        }
        "/openapi/v3" => {
            let address = "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=1";
            (200, json!({ "paths": { "apis/wardle.example.com/v1alpha1": { "serverRelativeURL": address } } }))
        }
        "/openapi/v2" => (
            200,
            json!({
                "paths": { "/apis/wardle.example.com/v1alpha1/flunders": { "get": { "schema": { "$ref": "#/definitions/com.example.Flunder" } } } },
                "definitions": { "com.example.Flunder": { "type": "object" } },
            }),
        ),
        "/openapi/v3/apis/wardle.example.com/v1alpha1" => (200, json!({ "openapi": "3.0.0" })),
        _ if path.ends_with("/teapot") => (418, json!({ "kind": "Status", "message": "short and stout" })),
        _ => (
            200,
            json!({
                "path": path, "user": all("x-remote-user"), "groups": all("x-remote-group"), "token": all("authorization"),
                "body": body,
            }),
        ),
    }
}

/// Serves as `name.namespace.svc` to whom the front proxy's authority has signed; the port and the authority.
async fn behind(server: &Server, name: &str) -> (u16, String) {
    let authority = pki::Authority::generate("wardle-ca").expect("an authority");
    let pair = authority
        .issue(&pki::Request {
            common_name: name.to_owned(),
            organization: None,
            names: vec![format!("{name}.default.svc")],
            usage: pki::Usage::Server,
            lifetime: std::time::Duration::from_secs(3600),
        })
        .expect("a certificate");
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pair.cert_pem.as_bytes()).map(|one| one.expect("a certificate")).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    let proxies = server.front_proxy_ca.cert_pem().as_bytes();
    roots.add(CertificateDer::from_pem_slice(proxies).expect("a certificate")).expect("an authority");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain, key)
        .expect("a server");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let spawner = server.context.children.clone();
    server.context.children.spawn("wardle", async move {
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let acceptor = acceptor.clone();
            spawner.spawn("wardle connection", async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(|request: Request<Incoming>| async move {
                    let (parts, body) = request.into_parts();
                    let body = body.collect().await.expect("a body").to_bytes();
                    let (code, said) = say(parts.uri.path(), &parts.headers, &String::from_utf8_lossy(&body));
                    let answer = Response::builder().status(code).header("content-type", "application/json");
                    answer.body(Full::new(Bytes::from(said.to_string())))
                });
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    (port, authority.cert_pem().to_owned())
}

async fn register(server: &Server, name: &str, port: u16, authority: &str) {
    let service =
        json!({ "metadata": { "name": name }, "spec": { "type": "ExternalName", "externalName": "localhost" } });
    server.post("/api/v1/namespaces/default/services", service).await.expect(201);
    use base64::Engine as _;
    let bundle = base64::engine::general_purpose::STANDARD.encode(authority);
    let object = json!({
        "metadata": { "name": format!("v1alpha1.{GROUP}") },
        "spec": { "group": GROUP, "version": "v1alpha1", "groupPriorityMinimum": 1000, "versionPriority": 15, "caBundle": bundle,
            "service": { "namespace": "default", "name": name, "port": port } },
    });
    server.post(SERVICES, object).await.expect(201);
}

async fn condition(server: &Server, name: &str) -> (String, String) {
    let object = server.get(&format!("{SERVICES}/{name}")).await.body;
    let found = object["status"]["conditions"].as_array().and_then(|all| all.first().cloned()).unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

async fn until(server: &Server, name: &str, status: &str, reason: &str) {
    eventually(async || condition(server, name).await == (status.to_owned(), reason.to_owned())).await;
}

fn has_group(reply: &Reply, list: &str, pointer: &str) -> bool {
    reply.body[list].as_array().is_some_and(|all| all.iter().any(|one| one.pointer(pointer) == Some(&json!(GROUP))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_carried_with_the_name_of_its_sender_and_nothing_it_claims() {
    let server = server().await;
    let (port, authority) = behind(&server, "wardle").await;
    register(&server, "wardle", port, &authority).await;
    until(&server, &format!("v1alpha1.{GROUP}"), "True", "Passed").await;
    let base = format!("/apis/{GROUP}/v1alpha1/namespaces/default/flunders");
    let headers = [("x-remote-user", "root"), ("authorization", "Bearer secret")];
    let reply = server.call(&format!("POST {base}?pretty=true"), &headers, r#"{"a":1}"#).await.expect(200);
    assert_eq!(reply.body["path"], json!(base));
    assert_eq!(reply.body["user"], json!(["kubernetes-admin"]));
    assert_eq!(reply.body["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!((&reply.body["token"], &reply.body["body"]), (&json!([]), &json!(r#"{"a":1}"#)));
    let refused = server.get(&format!("{base}/teapot")).await.expect(418);
    assert_eq!(refused.at("/message"), "short and stout");
    // who may not read there does not come there
    let stranger = server.api.client(api::User::component("ann", &[]));
    let reply = server.send(&stranger, build(&format!("GET {base}"), &[], Bytes::new())).await.expect(403);
    assert!(
        reply.at("/message").starts_with("flunders.wardle.example.com is forbidden: User \"ann\""),
        "{}",
        reply.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_behind_us_is_discovered_with_what_is_ours() {
    let server = server().await;
    let (port, authority) = behind(&server, "wardle").await;
    register(&server, "wardle", port, &authority).await;
    until(&server, &format!("v1alpha1.{GROUP}"), "True", "Passed").await;
    let groups = server.get("/apis").await.expect(200);
    assert!(has_group(&groups, "groups", "/name") && groups.text.contains("\"apps\""));
    let group = server.get(&format!("/apis/{GROUP}")).await.expect(200);
    assert_eq!((group.at("/kind"), group.at("/preferredVersion/version")), ("APIGroup", "v1alpha1"));
    let list = server.get(&format!("/apis/{GROUP}/v1alpha1")).await.expect(200);
    assert_eq!(list.at("/resources/0/kind"), "Flunder");
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let all = server.call("GET /apis", &accept, "").await.expect(200);
    let found = all.body["items"].as_array().expect("items").iter().find(|one| one["metadata"]["name"] == GROUP);
    let version = &found.expect("the group")["versions"][0];
    assert_eq!((&version["freshness"], &version["resources"][0]["resource"]), (&json!("Current"), &json!("flunders")));
    let index = server.get("/openapi/v3").await.expect(200);
    let address =
        index.body["paths"][format!("apis/{GROUP}/v1alpha1")]["serverRelativeURL"].as_str().expect("an address");
    assert_eq!(server.get(address).await.expect(200).at("/openapi"), "3.0.0");
    let whole = server.get("/openapi/v2").await.expect(200);
    assert!(whole.body["definitions"]["com.example.Flunder"].is_object());
    assert!(whole.body["paths"]["/apis/wardle.example.com/v1alpha1/flunders"].is_object());
    assert!(whole.body["paths"]["/apis/apps/v1/deployments"].is_object());
    server.delete(&format!("{SERVICES}/v1alpha1.{GROUP}"), Value::Null).await.expect(200);
    eventually(async || server.get(&format!("/apis/{GROUP}")).await.code == 404).await;
    assert!(!has_group(&server.get("/apis").await, "groups", "/name"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_told_of_and_takes_nothing_else_with_it() {
    let server = server().await;
    let (port, _) = behind(&server, "wardle").await;
    let other = pki::Authority::generate("other").expect("an authority");
    register(&server, "wardle", port, other.cert_pem()).await;
    let name = format!("v1alpha1.{GROUP}");
    until(&server, &name, "False", "FailedDiscoveryCheck").await;
    let reply = server.get(&format!("/apis/{GROUP}/v1alpha1/flunders")).await.expect(503);
    assert!(reply.at("/message").starts_with("error trying to reach service: tls: "), "{}", reply.text);
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let all = server.call("GET /apis", &accept, "").await.expect(200);
    assert!(all.text.contains("\"Stale\"") && all.text.contains("\"deployments\""));
    server.merge(&format!("{SERVICES}/{name}"), json!({ "spec": { "service": { "name": "none" } } })).await.expect(200);
    until(&server, &name, "False", "ServiceNotFound").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_this_process_serves_what_nobody_else_is_named_for() {
    let server = server().await;
    let offer = |request: Request<Bytes>| {
        async move {
            let (code, said) = say(request.uri().path(), request.headers(), "");
            let answer = Response::builder().status(code).header("content-type", "application/json");
            answer.body(Bytes::from(said.to_string())).expect("an answer")
        }
        .boxed()
    };
    server.api.offer(GROUP, "v1alpha1", Arc::new(offer));
    assert_eq!(server.get(&format!("/apis/{GROUP}/v1alpha1/flunders")).await.code, 404, "no object leads there");
    let spec = json!({ "group": GROUP, "version": "v1alpha1", "groupPriorityMinimum": 100, "versionPriority": 100 });
    let object = json!({ "metadata": { "name": format!("v1alpha1.{GROUP}") }, "spec": spec });
    server.post(SERVICES, object).await.expect(201);
    until(&server, &format!("v1alpha1.{GROUP}"), "True", "Local").await;
    let reply = server.get(&format!("/apis/{GROUP}/v1alpha1/flunders")).await.expect(200);
    assert_eq!(reply.at("/path"), "/apis/wardle.example.com/v1alpha1/flunders");
    assert!(has_group(&server.get("/apis").await, "groups", "/name"));
    // another server for it is named in the object, and from then on it is asked
    let elsewhere =
        json!({ "spec": { "service": { "namespace": "default", "name": "none" }, "insecureSkipTLSVerify": true } });
    server.merge(&format!("{SERVICES}/v1alpha1.{GROUP}"), elsewhere).await.expect(200);
    until(&server, &format!("v1alpha1.{GROUP}"), "False", "ServiceNotFound").await;
    server.get(&format!("/apis/{GROUP}/v1alpha1/flunders")).await.expect(503);
}
