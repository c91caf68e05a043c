//! The same server over TLS: certificates, protocols, shutdown.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pki::{Authority, Usage};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use crate::support::{MAPS, Server, issue, server};

struct Network {
    server: Server,
    address: std::net::SocketAddr,
}

async fn network() -> Network {
    let server = server().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (api, context) = (server.api.clone(), server.context.clone());
    server.context.children.try_spawn("server", async move { api.run(listener, context).await });
    Network { server, address }
}

impl Network {
    /// One request over a new connection, as the owner of a certificate of `authority` if any.
    async fn send(
        &self,
        identity: Option<(&Authority, &str, Option<&str>)>,
        alpn: &str,
        request: Request<Full<Bytes>>,
    ) -> Response<Incoming> {
        let mut roots = RootCertStore::empty();
        roots.add(self.server.cluster_ca.cert_der().clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((authority, name, group)) => {
                let pair = issue(authority, name, group, Usage::Client);
                let der = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).expect("a certificate");
                let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![der], key).expect("an identity")
            }
        };
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let stream = tokio::net::TcpStream::connect(self.address).await.expect("a connection");
        let name = ServerName::try_from("localhost").expect("a name");
        let stream =
            tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(alpn.as_bytes()));
        let io = TokioIo::new(stream);
        let children = &self.server.context.children;
        if alpn == "h2" {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("h2");
            children.spawn("client", async move { drop(connection.await) });
            sender.send_request(request).await.expect("an answer")
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("http/1.1");
            children.spawn("client", async move { drop(connection.await) });
            sender.send_request(request).await.expect("an answer")
        }
    }

    async fn get(
        &self,
        identity: Option<(&Authority, &str, Option<&str>)>,
        alpn: &str,
        path: &str,
        token: &str,
    ) -> (u16, String) {
        let uri = if alpn == "h2" { format!("https://localhost{path}") } else { path.to_owned() };
        let mut request = Request::get(uri);
        if alpn != "h2" {
            request = request.header("host", "localhost");
        }
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.send(identity, alpn, request.body(Full::default()).expect("a request")).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (code, String::from_utf8_lossy(&body).into_owned())
    }
}

#[tokio::test]
async fn who_may_do_what_depends_on_the_certificate() {
    let network = network().await;
    let ours = &network.server.client_ca;
    let stranger = Authority::generate("client-ca").expect("an authority");
    for alpn in ["h2", "http/1.1"] {
        let admin = Some((ours, "kubernetes-admin", Some("system:masters")));
        assert_eq!(network.get(admin, alpn, MAPS, "").await.0, 200);
        let (code, text) = network.get(Some((ours, "ann", None)), alpn, MAPS, "").await;
        assert_eq!(code, 403);
        assert!(text.contains("configmaps is forbidden: User \\\"ann\\\" cannot list resource \\\"configmaps\\\" in API group \\\"\\\" in the namespace \\\"default\\\""), "{text}");
        let (code, text) = network.get(None, alpn, MAPS, "").await;
        assert_eq!(code, 403);
        assert!(text.contains("system:anonymous"), "{text}");
        for path in ["/livez", "/readyz", "/version"] {
            assert_eq!(network.get(None, alpn, path, "").await.0, 200, "{path}");
        }
        assert_eq!(
            network.get(Some((&stranger, "kubernetes-admin", Some("system:masters"))), alpn, MAPS, "").await.0,
            401
        );
        assert_eq!(network.get(None, alpn, MAPS, "nonsense").await.0, 401);
    }
}

#[tokio::test]
async fn a_service_account_token_opens_the_door_it_should() {
    let network = network().await;
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = serde_json::json!({ "spec": { "expirationSeconds": 600 } });
    let token = network.server.post(path, request).await.expect(201).at("/status/token").to_owned();
    assert_eq!(network.get(None, "h2", "/api", &token).await.0, 200);
    let (code, text) = network.get(None, "h2", MAPS, &token).await;
    assert_eq!(code, 403);
    assert!(text.contains("system:serviceaccount:default:default"), "{text}");
}

#[tokio::test]
async fn a_stop_ends_watches_and_closes_the_port() {
    let network = network().await;
    let uri = format!("https://localhost{MAPS}?watch=true");
    let admin = Some((&network.server.client_ca, "kubernetes-admin", Some("system:masters")));
    let watch = Request::get(uri).body(Full::default()).expect("a request");
    let response = network.send(admin, "h2", watch).await;
    assert_eq!(response.status(), 200);
    network.server.context.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), response.into_body().collect()).await;
    assert!(ended.expect("within five seconds").expect("a clean end").to_bytes().is_empty());
    let closed = tokio::time::timeout(Duration::from_secs(5), async {
        while tokio::net::TcpStream::connect(network.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    closed.await.expect("the port closes");
}
