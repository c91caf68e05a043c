//! The proxy over real sockets on the loopback address, with a table built by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::Key;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_gateway::backend::{Registry, members};
use knarr_gateway::certificates;
use knarr_gateway::ingress::{self, Certificate, World};
use knarr_gateway::model::{Model, Transport};
use knarr_gateway::seen::Seen;
use knarr_gateway::serve::Doors;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Everything below must happen within this.
const PATIENCE: Duration = Duration::from_secs(30);

struct Gateway {
    ctx: tasks::Context,
    stop: tasks::CancellationToken,
    doors: Arc<Doors>,
    model: Model,
    http: SocketAddr,
    https: SocketAddr,
    authority: pki::Authority,
    _dead: TcpSocket,
    /// Requests the pods have answered.
    answered: Arc<AtomicUsize>,
}

impl Gateway {
    /// A gateway that serves `plain.test`, and with TLS `tls.test` and `*.star.test`, from two pods;
    /// `empty.test` from none, `dead.test` from an address nobody listens on, `half.test` from one
    /// pod and that address.
    async fn start() -> Self {
        let (ctx, _) = tasks::context_for_tests();
        let answered = Arc::new(AtomicUsize::new(0));
        let mut live = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            live.push(listener.local_addr().expect("bound"));
            let (children, count) = (ctx.children.clone(), Arc::clone(&answered));
            ctx.children.spawn("pod", async move {
                while let Ok((stream, _)) = listener.accept().await {
                    children.spawn("pod connection", pod(stream, Arc::clone(&count)));
                }
            });
        }
        let authority = pki::Authority::generate("test authority").expect("an authority");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let dead = TcpSocket::new_v4().expect("a socket");
        dead.bind(any).expect("a free port"); // held, so that nobody else listens there
        let free = || std::net::TcpListener::bind(any).expect("a free port").local_addr().expect("bound");
        let (http, https) = (free(), free());
        let model = model(&authority, &live, dead.local_addr().expect("bound"), (http.port(), https.port()));
        let (inner, _) = tasks::context_for_tests();
        let stop = inner.stop.clone();
        let doors = Doors::new(any.ip(), Arc::new(Seen::default()), &inner).expect("TLS is set up");
        assert!(doors.open(&model).is_empty(), "free ports");
        let doors = Arc::new(doors);
        let served = Arc::clone(&doors);
        ctx.children.spawn("gateway", async move {
            inner.stop.cancelled().await;
            served.close().await;
        });
        Self { ctx, stop, doors, model, http, https, authority, _dead: dead, answered }
    }

    async fn plain(&self) -> TcpStream {
        TcpStream::connect(self.http).await.expect("the gateway listens")
    }

    async fn tls(&self, name: &str, alpn: &[u8]) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.cert_pem().as_bytes()).expect("PEM");
        roots.add(root).expect("a root");
        let mut config =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.https).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn model(authority: &pki::Authority, live: &[SocketAddr], dead: SocketAddr, ports: (u16, u16)) -> Model {
    let slice = |address: &SocketAddr| -> Arc<EndpointSlice> {
        let value = json!({ "addressType": "IPv4", "metadata": {}, "ports": [{ "port": address.port() }],
            "endpoints": [{ "addresses": [address.ip()], "conditions": { "ready": true } }] });
        Arc::new(serde_json::from_value(value).expect("a slice"))
    };
    let slices = |service: &Key| match service.name.as_str() {
        "empty" => Vec::new(),
        "half" => vec![slice(&live[0]), slice(&dead)],
        "dead" => vec![slice(&dead)],
        _ => live.iter().map(slice).collect(),
    };
    let rule = |host: &str, service: &str| {
        let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
        json!({ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } })
    };
    let rules = [
        rule("plain.test", "web"),
        rule("tls.test", "web"),
        rule("*.star.test", "web"),
        rule("empty.test", "empty"),
        rule("half.test", "half"),
        rule("dead.test", "dead"),
    ];
    let tls = json!([{ "hosts": ["tls.test", "*.star.test"], "secretName": "good" }]);
    let ingress = json!({ "metadata": { "name": "web", "namespace": "default" },
        "spec": { "ingressClassName": "knarr", "rules": rules, "tls": tls } });
    let class = json!({ "metadata": { "name": "knarr" }, "spec": { "controller": ingress::CONTROLLER } });
    let service: Arc<Service> =
        Arc::new(serde_json::from_value(json!({ "spec": { "ports": [{ "port": 80 }] } })).expect("a service"));
    let pair = authority
        .issue(&pki::Request {
            common_name: "tls.test".to_owned(),
            organization: None,
            names: vec!["tls.test".to_owned(), "*.star.test".to_owned()],
            usage: pki::Usage::Server,
            lifetime: Duration::from_secs(3600),
        })
        .expect("a certificate");
    let certificate = Certificate::after(
        None,
        certificates::parse(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes()).map_err(|error| error.to_string()),
    );
    let registry = Registry::default();
    let mut model = Model::default();
    ingress::translate(
        &World {
            ingresses: &[Arc::new(serde_json::from_value(ingress).expect("an Ingress"))],
            classes: &[Arc::new(serde_json::from_value(class).expect("a class"))],
            class: "knarr",
            ports,
            service: &|_| Some(Arc::clone(&service)),
            endpoints: &|key, port| {
                registry
                    .of(key, port, Transport::Tcp, || members(Some(&service), port, Transport::Tcp, &slices(key), ""))
            },
            certificate: &|key| (*key == Key::new("default", "good")).then(|| certificate.clone()),
            secret: &|_, _| None,
            guard: &|_, _| Err("there is no guard".to_owned()),
        },
        &mut model,
    );
    model
}

async fn pod(stream: TcpStream, answered: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await {
        answered.fetch_add(1, Ordering::Relaxed);
        if head.contains("Upgrade: websocket") || head.contains("upgrade: websocket") {
            let hello = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(hello).await.expect("the gateway reads");
            let (mut from, mut to) = tokio::io::split(stream);
            drop(tokio::io::copy(&mut from, &mut to).await);
            return;
        }
        let length = header(&head, "content-length").map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("the announced body");
        let answer = format!("{head}{}", String::from_utf8_lossy(&body));
        let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads up to the empty line; none at the end of the connection.
async fn read_head(stream: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = head.lines().filter_map(|line| line.split_once(": "));
    pairs.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Sends one request and reads one answer: its header and its body.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>, request: &str) -> (String, String) {
    let asked = async {
        stream.write_all(request.as_bytes()).await.expect("the gateway reads");
        let head = read_head(stream).await.expect("an answer");
        let length = header(&head, "content-length").map_or(0, |length| length.parse().expect("a number"));
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("the announced body");
        (head, String::from_utf8(body).expect("text"))
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("an answer in time")
}

fn get(host: &str, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("a status line")
}

#[tokio::test]
async fn plain_http_reaches_a_pod_with_our_forwarding_headers_on_a_kept_connection() {
    let gateway = Gateway::start().await;
    let mut client = BufReader::new(gateway.plain().await);
    for round in 0..3 {
        let request = format!("GET /a?b={round} HTTP/1.1\r\nHost: plain.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
        let (head, seen) = ask(&mut client, &request).await;
        assert_eq!(status(&head), "200", "{head}");
        assert!(seen.starts_with(&format!("GET /a?b={round} HTTP/1.1\r\n")), "{seen}");
        assert_eq!(header(&seen, "host"), Some("plain.test"));
        assert_eq!(header(&seen, "x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(header(&seen, "x-forwarded-proto"), Some("http"));
        assert_eq!(header(&seen, "x-forwarded-port"), Some(gateway.http.port().to_string().as_str()));
        assert!(!seen.contains("6.6.6.6"), "{seen}");
    }
}

#[tokio::test]
async fn a_request_body_reaches_the_pod_whole() {
    let gateway = Gateway::start().await;
    let mut client = BufReader::new(gateway.plain().await);
    let body = "x".repeat(1_000_000);
    let request = format!("POST /a HTTP/1.1\r\nHost: plain.test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (head, seen) = ask(&mut client, &request).await;
    assert_eq!(status(&head), "200", "{head}");
    assert!(seen.ends_with(&body));
}

#[tokio::test]
async fn a_host_with_tls_is_redirected_to_the_https_port() {
    let gateway = Gateway::start().await;
    let mut client = BufReader::new(gateway.plain().await);
    let (head, _) = ask(&mut client, &get("tls.test", "/a?b=c")).await;
    assert_eq!(status(&head), "308", "{head}");
    let expected = format!("https://tls.test:{}/a?b=c", gateway.https.port());
    assert_eq!(header(&head, "location"), Some(expected.as_str()));
}

#[tokio::test]
async fn the_certificate_follows_the_name_asked_for() {
    let gateway = Gateway::start().await;
    for name in ["tls.test", "x.star.test"] {
        let mut client = BufReader::new(gateway.tls(name, b"http/1.1").await.expect("a trusted certificate"));
        let (head, seen) = ask(&mut client, &get(name, "/")).await;
        assert_eq!(status(&head), "200", "{head}");
        assert_eq!(header(&seen, "x-forwarded-proto"), Some("https"));
    }
    let refused = gateway.tls("unknown.test", b"http/1.1").await.expect_err("no certificate for that name");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData, "{refused}");
}

#[tokio::test]
async fn http2_clients_are_served_many_requests_at_once() {
    let gateway = Gateway::start().await;
    let stream = gateway.tls("tls.test", b"h2").await.expect("a trusted certificate");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("h2");
    gateway.ctx.children.spawn("h2 client", async move { drop(connection.await) });
    let requests = (0..50).map(|round| {
        let mut sender = sender.clone();
        async move {
            let uri = format!("https://tls.test/r{round}");
            let request = http::Request::get(uri).body(Empty::<bytes::Bytes>::new()).expect("a request");
            let response = sender.send_request(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
            let seen = response.into_body().collect().await.expect("a body").to_bytes();
            let seen = String::from_utf8(seen.to_vec()).expect("text");
            assert!(seen.starts_with(&format!("GET /r{round} HTTP/1.1\r\n")), "{seen}");
            assert_eq!(header(&seen, "host"), Some("tls.test"));
        }
    });
    tokio::time::timeout(PATIENCE, futures::future::join_all(requests)).await.expect("answers in time");
}

#[tokio::test]
async fn without_a_route_or_without_pods_the_gateway_answers_itself() {
    let gateway = Gateway::start().await;
    let mut client = BufReader::new(gateway.plain().await);
    let (head, body) = ask(&mut client, &get("nobody.test", "/")).await;
    assert_eq!((status(&head), body.as_str()), ("404", "no Ingress or route has a rule for this host and path\n"));
    let (head, body) = ask(&mut client, &get("empty.test", "/")).await;
    assert_eq!((status(&head), body.as_str()), ("503", "no pod is ready to serve this\n"));
    let (head, _) = ask(&mut client, &get("dead.test", "/")).await;
    assert_eq!(status(&head), "502", "{head}");
}

#[tokio::test]
async fn a_dead_pod_costs_no_request() {
    let gateway = Gateway::start().await;
    for round in 0..20 {
        let mut client = BufReader::new(gateway.plain().await);
        let body = "hello";
        let request =
            format!("POST /{round} HTTP/1.1\r\nHost: half.test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let (head, seen) = ask(&mut client, &request).await;
        assert_eq!(status(&head), "200", "{head}");
        assert!(seen.ends_with(body));
    }
    assert_eq!(gateway.answered.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn a_websocket_passes_both_ways() {
    let gateway = Gateway::start().await;
    let mut client = BufReader::new(gateway.tls("tls.test", b"http/1.1").await.expect("a trusted certificate"));
    let request = "GET /ws HTTP/1.1\r\nHost: tls.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    client.write_all(request.as_bytes()).await.expect("the gateway reads");
    let head = read_head(&mut client).await.expect("an answer");
    assert_eq!(status(&head), "101", "{head}");
    for word in ["one", "two", "three"] {
        client.write_all(word.as_bytes()).await.expect("the gateway reads");
        client.flush().await.expect("the gateway reads");
        let mut echo = vec![0; word.len()];
        let echoed = tokio::time::timeout(PATIENCE, client.read_exact(&mut echo)).await;
        echoed.expect("an echo in time").expect("an echo");
        assert_eq!(echo, word.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_are_all_served_while_the_table_is_swapped() {
    let gateway = Gateway::start().await;
    let clients = (0..100).map(|client| {
        let gateway = &gateway;
        async move {
            let mut stream = BufReader::new(gateway.plain().await);
            for round in 0..10 {
                let (head, seen) = ask(&mut stream, &get("plain.test", &format!("/{client}/{round}"))).await;
                assert_eq!(status(&head), "200", "{head}");
                assert!(seen.starts_with(&format!("GET /{client}/{round} ")), "{seen}");
                gateway.doors.open(&gateway.model);
            }
        }
    });
    futures::future::join_all(clients).await;
    assert_eq!(gateway.answered.load(Ordering::Relaxed), 1000);
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let gateway = Gateway::start().await;
    let mut client = BufReader::new(gateway.plain().await);
    let request = format!("GET / HTTP/1.1\r\nHost: plain.test\r\nX-Big: {}\r\n\r\n", "x".repeat(70_000));
    let (head, _) = ask(&mut client, &request).await;
    assert_eq!(status(&head), "431", "{head}");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_frees_the_ports() {
    let gateway = Gateway::start().await;
    let mut client = BufReader::new(gateway.plain().await);
    let (head, _) = ask(&mut client, &get("plain.test", "/")).await;
    assert_eq!(status(&head), "200", "{head}");
    gateway.stop.cancel();
    let ended = tokio::time::timeout(PATIENCE, client.read_u8()).await.expect("an end in time");
    assert_eq!(ended.expect_err("no more bytes").kind(), std::io::ErrorKind::UnexpectedEof);
    let refused = TcpStream::connect(gateway.http).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}
