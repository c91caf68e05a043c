//! Certificates from a real ACME server.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use knarr_certs::x509::read;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::cluster::{CERT, Cluster, said};
use super::name_server::{NameServer, key};
use super::own::base64;
use super::pebble::{EXTERNAL, Pebble};

const ACME: &str = "acme.cert-manager.io/v1";

/// A cluster that looks for answers where the server will, and an ACME server that is not started yet.
async fn world(external: bool) -> (Arc<Cluster>, Pebble, NameServer) {
    let (context, _) = tasks::context_for_tests();
    let names = NameServer::start(&context).await;
    let pebble = Pebble::new(names.address, external);
    let (port, name_server) = (pebble.http_port, names.address);
    let cluster = Cluster::start(|config| {
        config.http01_port = port;
        config.name_servers = vec![name_server];
        let here = |host: &str| (host.to_owned(), ([127, 0, 0, 1], port).into());
        config.resolve = ["shop.example.com", "www.example.com", "late.example.com"].map(here).to_vec();
    })
    .await;
    (Arc::new(cluster), pebble, names)
}

/// What the gateway does: answers for the host and token of every Challenge that is presented, and for nothing else.
async fn gateway(cluster: &Arc<Cluster>, port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let (client, children) = (cluster.client.clone(), cluster.context.children.clone());
    let resource = kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk(
        "acme.cert-manager.io",
        "v1",
        "Challenge",
    ));
    let all = kube::Api::<kube::core::DynamicObject>::all_with(client, &resource);
    cluster.context.children.spawn("gateway", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let all = all.clone();
            let serve = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let all = all.clone();
                async move {
                    let host = request.headers()["host"].to_str().unwrap().split(':').next().unwrap().to_owned();
                    let token = request.uri().path().trim_start_matches("/.well-known/acme-challenge/").to_owned();
                    let found = all.list(&ListParams::default()).await.unwrap().items.into_iter().find(|one| {
                        let (spec, status) = (&one.data["spec"], &one.data["status"]);
                        spec["dnsName"] == host
                            && spec["token"] == token
                            && spec["type"] == "HTTP-01"
                            && status["presented"] == true
                    });
                    let mut response = hyper::Response::new(Full::new(Bytes::new()));
                    match found {
                        Some(one) => {
                            *response.body_mut() =
                                Full::new(one.data["spec"]["key"].as_str().unwrap().to_owned().into())
                        }
                        None => *response.status_mut() = hyper::StatusCode::NOT_FOUND,
                    }
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            children.spawn("connection", async move {
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await);
            });
        }
    });
}

fn certificate(names: &[&str]) -> Value {
    json!({ "secretName": "web-tls", "dnsNames": names, "issuerRef": { "name": "pebble" }, "privateKey": { "algorithm": "ECDSA" } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_shown_over_http_and_the_certificate_is_advised_on() {
    let (cluster, mut pebble, _names) = world(false).await;
    pebble.start().await;
    gateway(&cluster, pebble.http_port).await;
    cluster.cert_manager("Issuer", "pebble", pebble.issuer(json!([{ "http01": { "ingress": {} } }]))).await;
    let issuer = cluster.says("Issuer", "pebble", "Ready", "True", "ACMEAccountRegistered").await;
    assert!(issuer["status"]["acme"]["uri"].as_str().unwrap().starts_with("https://localhost:"));
    cluster.cert_manager("Certificate", "web", certificate(&["shop.example.com", "www.example.com"])).await;
    cluster.ready("web", 1).await;
    let chain = read::certificates_pem(&cluster.entry("web-tls", "tls.crt").await).unwrap();
    assert!(chain.len() > 1 && read::is_signed_by(&chain[0], &chain[1]), "the server's whole chain is stored");
    assert_eq!(chain[0].names.dns.len(), 2);
    let advised = cluster
        .until(CERT, "Certificate", "default", "web", |one| one["status"]["acme"]["ari"]["nextCheck"].is_string())
        .await;
    let ari = &advised["status"]["acme"]["ari"];
    assert!(ari["suggestedWindow"]["start"].is_string() && ari["lastError"].is_null(), "{ari}");
    let (start, end) =
        (ari["suggestedWindow"]["start"].as_str().unwrap(), ari["suggestedWindow"]["end"].as_str().unwrap());
    let within = cluster.until(CERT, "Certificate", "default", "web", |one| {
        one["status"]["renewalTime"].as_str().is_some_and(|at| at >= start && at <= end)
    });
    within.await;
    let orders = cluster.list(ACME, "Order").await;
    assert_eq!((orders.len(), &orders[0]["status"]["state"]), (1, &json!("valid")), "one order for one request");
    cluster.until(ACME, "Order", "default", orders[0]["metadata"]["name"].as_str().unwrap(), |_| true).await;
    for challenge in cluster.list(ACME, "Challenge").await {
        let name = challenge["metadata"]["name"].as_str().unwrap().to_owned();
        cluster.until(ACME, "Challenge", "default", &name, Value::is_null).await;
    }
    // another is ordered in place of the one before (RFC 9773, 5)
    cluster.renew("web").await;
    cluster.ready("web", 2).await;
    let renewed = read::certificates_pem(&cluster.entry("web-tls", "tls.crt").await).unwrap();
    assert_ne!(renewed[0].serial, chain[0].serial);
    let orders = cluster.list(ACME, "Order").await;
    assert!(orders.iter().any(|order| order["spec"]["replaces"].is_string()), "{}", pebble.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wildcard_is_shown_by_a_signed_update_of_dns_for_an_external_account() {
    let (cluster, mut pebble, names) = world(true).await;
    pebble.start().await;
    let update = key();
    cluster.secret("default", "tsig", json!({ "key": base64(&update.secret) })).await;
    let solver = json!({ "dns01": { "rfc2136": {
        "nameserver": names.address.to_string(), "tsigKeyName": update.name, "tsigAlgorithm": "HMACSHA256",
        "tsigSecretSecretRef": { "name": "tsig", "key": "key" },
    } } });
    let mut spec = pebble.issuer(json!([solver]));
    cluster.cert_manager("Issuer", "unbound", spec.clone()).await;
    cluster.says("Issuer", "unbound", "Ready", "False", "set spec.acme.externalAccountBinding").await;
    cluster.delete(CERT, "Issuer", "unbound").await;
    spec["acme"]["externalAccountBinding"] =
        json!({ "keyID": EXTERNAL.0, "keySecretRef": { "name": "eab", "key": "secret" } });
    cluster.cert_manager("Issuer", "pebble", spec).await;
    cluster.says("Issuer", "pebble", "Ready", "False", "secret \"default/eab\" not found").await;
    cluster.secret("default", "eab", json!({ "secret": EXTERNAL.1 })).await;
    cluster.says("Issuer", "pebble", "Ready", "True", "ACMEAccountRegistered").await;
    cluster.cert_manager("Certificate", "web", certificate(&["example.com", "*.example.com"])).await;
    cluster.ready("web", 1).await;
    let chain = read::certificates_pem(&cluster.entry("web-tls", "tls.crt").await).unwrap();
    assert_eq!(chain[0].names.dns.iter().filter(|name| name.starts_with("*.")).count(), 1);
    for challenge in cluster.list(ACME, "Challenge").await {
        let name = challenge["metadata"]["name"].as_str().unwrap().to_owned();
        cluster.until(ACME, "Challenge", "default", &name, Value::is_null).await;
    }
    assert!(names.texts.lock().values().all(Vec::is_empty), "nothing is left in the zone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_asks_seldom_and_ends_by_itself() {
    let (cluster, mut pebble, _names) = world(false).await;
    cluster.cert_manager("Issuer", "pebble", pebble.issuer(json!([{ "http01": { "ingress": {} } }]))).await;
    cluster
        .says(
            "Issuer",
            "pebble",
            "Ready",
            "False",
            "ErrRegisterACMEAccount: Failed to register ACME account: cannot reach https://localhost",
        )
        .await;
    cluster.cert_manager("Certificate", "web", certificate(&["shop.example.com"])).await;
    cluster
        .says(
            "CertificateRequest",
            "web-1",
            "Ready",
            "False",
            "Referenced issuer does not have a Ready status condition",
        )
        .await;
    gateway(&cluster, pebble.http_port).await;
    pebble.start().await;
    cluster.says("Issuer", "pebble", "Ready", "True", "ACMEAccountRegistered").await;
    cluster.ready("web", 1).await;
    pebble.stop();
    let mut late = certificate(&["late.example.com"]);
    late["secretName"] = json!("late-tls");
    cluster.cert_manager("Certificate", "late", late).await;
    let told = cluster.says("CertificateRequest", "late-1", "Ready", "False", "cannot reach https://localhost").await;
    assert!(said(&told, "Ready").unwrap().1.starts_with("Pending"), "an outage is no failure");
    let certificate = cluster.get(CERT, "Certificate", "default", "late").await;
    assert!(certificate["status"]["failedIssuanceAttempts"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_told_once_and_waits() {
    let (cluster, mut pebble, _names) = world(false).await;
    pebble.start().await;
    cluster
        .cert_manager("Issuer", "pebble", pebble.issuer(json!([{ "http01": { "ingress": { "class": "nginx" } } }])))
        .await;
    cluster.says("Issuer", "pebble", "Ready", "True", "ACMEAccountRegistered").await;
    cluster.cert_manager("Certificate", "web", certificate(&["blocked.example"])).await;
    let failed = cluster
        .says(
            "Certificate",
            "web",
            "Issuing",
            "False",
            "Failed: The certificate request has failed to complete and will be retried",
        )
        .await;
    assert!(said(&failed, "Issuing").unwrap().1.contains("rejectedIdentifier"), "{failed}");
    assert_eq!(failed["status"]["failedIssuanceAttempts"], 1);
    let mut foreign = certificate(&["shop.example.com"]);
    foreign["secretName"] = json!("foreign-tls");
    cluster.cert_manager("Certificate", "foreign", foreign).await;
    let failed = cluster.says("Certificate", "foreign", "Issuing", "False", "belongs to another gateway").await;
    assert_eq!(failed["status"]["failedIssuanceAttempts"], 1);
    let mut mail = certificate(&[]);
    mail["emailAddresses"] = json!(["a@example.com"]);
    mail["secretName"] = json!("mail-tls");
    cluster.cert_manager("Certificate", "mail", mail).await;
    cluster.says("Certificate", "mail", "Issuing", "False", "certify DNS names and IP addresses only").await;
    assert!(cluster.list(ACME, "Order").await.len() == 2, "what no server would take is not asked");
}
