//! Streams and introductions through the doors of a gateway.

use super::*;
use std::time::Duration;

use base::Key;
use http::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::model::{self, *};

struct Gateway {
    doors: Doors,
    ctx: tasks::Context,
    seen: Arc<Seen>,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn free(transport: Transport) -> Socket {
    let port = match transport {
        Transport::Tcp => std::net::TcpListener::bind(local(0)).unwrap().local_addr().unwrap().port(),
        Transport::Udp => std::net::UdpSocket::bind(local(0)).unwrap().local_addr().unwrap().port(),
    };
    Socket { address: None, port, transport }
}

impl Gateway {
    fn new() -> Self {
        let (ctx, _) = tasks::context_for_tests();
        let seen = Arc::new(Seen::default());
        let doors = Doors::new(local(0).ip(), Arc::clone(&seen), &ctx).unwrap();
        Self { doors, ctx, seen }
    }

    /// An endpoint that answers what it got after `name`, to whatever protocol.
    async fn endpoint(&self, name: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(local(0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let children = self.ctx.children.clone();
        self.ctx.children.spawn("endpoint", async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                children.spawn("endpoint connection", async move {
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).await.unwrap();
                    stream.write_all(&[name.as_bytes(), &got].concat()).await.unwrap();
                });
            }
        });
        address
    }

    fn open(&self, listeners: Vec<(Socket, Host, Tls, Vec<StreamRoute>)>) {
        let mut model = Model::default();
        for (socket, host, tls, routes) in listeners {
            let source = Arc::new(Source::new("Gateway", Key::new("default", "gw"), host.to_string()));
            model.add(socket, Listener { source, host, isolated: true, tls, serves: Serves::Streams(routes) });
        }
        assert_eq!(self.doors.open(&model), BTreeMap::new());
    }
}

fn route(host: Host, transport: Transport, target: Option<SocketAddr>) -> StreamRoute {
    let target = match target {
        Some(address) => {
            let endpoints = Endpoints::new(Key::new("default", "db"), Port::Number(1), transport, vec![address]);
            Target::Backend(Arc::new(Backend { endpoints: Arc::new(endpoints), protocol: model::Protocol::Http }))
        }
        None => Target::Nobody(StatusCode::BAD_GATEWAY, "nowhere\n".into()),
    };
    let key = Key::new("default", "route");
    let source = Arc::new(Source::new("TCPRoute", key.clone(), ""));
    StreamRoute { hosts: vec![host], split: Split::all(target), rank: Rank { created: None, key, rule: 0 }, source }
}

/// Says `what` and all, and hears all.
async fn say(port: u16, what: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(local(port)).await.unwrap();
    stream.write_all(what).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    drop(tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut heard)).await.expect("an end"));
    heard
}

#[tokio::test]
async fn bytes_go_to_the_route_of_their_socket() {
    let gateway = Gateway::new();
    let (socket, nowhere) = (free(Transport::Tcp), free(Transport::Tcp));
    let endpoint = gateway.endpoint("one:").await;
    let to = |target| vec![route(Host::Any, Transport::Tcp, target)];
    gateway.open(vec![(socket, Host::Any, Tls::None, to(Some(endpoint))), (nowhere, Host::Any, Tls::None, to(None))]);
    assert_eq!(say(socket.port, b"PRI * HTTP/2.0").await, b"one:PRI * HTTP/2.0");
    assert_eq!(say(nowhere.port, b"x").await, b"");
    assert!(gateway.seen.render().contains("knarr_gateway_streams_ended_total{reason=\"no_route\"} 1"));
    let other = gateway.endpoint("two:").await;
    gateway.open(vec![(socket, Host::Any, Tls::None, to(Some(other)))]);
    assert_eq!(say(socket.port, b"x").await, b"two:x", "a new connection goes where the route now leads");
}

#[tokio::test]
async fn tls_is_passed_on_by_the_name_in_it() {
    let gateway = Gateway::new();
    let socket = free(Transport::Tcp);
    let host = |text: &str| Host::parse(text, true);
    let (exact, wild) = (gateway.endpoint("exact:").await, gateway.endpoint("wild:").await);
    let routes = vec![
        route(host("a.test"), Transport::Tcp, Some(exact)),
        route(host("*.star.test"), Transport::Tcp, Some(wild)),
    ];
    gateway.open(vec![(socket, Host::Any, Tls::Passthrough, routes)]);
    for (name, expected) in [("a.test", "exact:"), ("b.star.test", "wild:")] {
        let hello = crate::stream::hello::tests::real(name);
        assert_eq!(say(socket.port, &hello).await, [expected.as_bytes(), &hello].concat(), "{name}");
    }
    assert_eq!(say(socket.port, &crate::stream::hello::tests::real("other.test")).await, b"");
    assert_eq!(say(socket.port, b"GET / HTTP/1.1\r\n\r\n").await, b"", "no TLS");
    let figures = gateway.seen.render();
    for (reason, count) in [("closed", 2), ("no_route", 1), ("bad_start", 1)] {
        assert!(
            figures.contains(&format!("knarr_gateway_streams_ended_total{{reason=\"{reason}\"}} {count}\n")),
            "{figures}"
        );
    }
}

#[tokio::test]
async fn tls_may_end_at_the_gateway_and_plain_bytes_go_on() {
    let gateway = Gateway::new();
    let socket = free(Transport::Tcp);
    let authority = pki::Authority::generate("test authority").unwrap();
    let pair = authority
        .issue(&pki::Request {
            common_name: "a.test".to_owned(),
            organization: None,
            names: vec!["a.test".to_owned()],
            usage: pki::Usage::Server,
            lifetime: Duration::from_secs(3600),
        })
        .unwrap();
    let certificate = crate::certificates::parse(pair.cert_pem.as_bytes(), pair.key_pem.as_bytes()).unwrap();
    let mut offer = Offer::default();
    offer.certificates.offer(&Host::Any, Some(certificate));
    let endpoint = gateway.endpoint("one:").await;
    let to = vec![route(Host::Any, Transport::Tcp, Some(endpoint))];
    gateway.open(vec![(socket, Host::Any, Tls::Terminate(Arc::new(offer)), to)]);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.cert_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(local(socket.port)).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(ServerName::try_from("a.test").unwrap(), stream).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut heard)).await.expect("an end").unwrap();
    assert_eq!(heard, b"one:hello");
}

#[tokio::test]
async fn datagrams_go_to_the_route_of_their_socket_until_it_is_closed() {
    let gateway = Gateway::new();
    let socket = free(Transport::Udp);
    let echo = UdpSocket::bind(local(0)).await.unwrap();
    let endpoint = echo.local_addr().unwrap();
    gateway.ctx.children.spawn("endpoint", async move {
        let mut buffer = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut buffer).await {
            echo.send_to(&buffer[..length], from).await.unwrap();
        }
    });
    gateway.open(vec![(socket, Host::Any, Tls::None, vec![route(Host::Any, Transport::Udp, Some(endpoint))])]);
    let client = UdpSocket::bind(local(0)).await.unwrap();
    client.connect(local(socket.port)).await.unwrap();
    let mut heard = [0; 64];
    let asked = async {
        loop {
            client.send(b"hello").await.unwrap();
            let answer = tokio::time::timeout(Duration::from_millis(500), client.recv(&mut heard)).await;
            if let Ok(Ok(length)) = answer {
                return length;
            }
        }
    };
    let length = tokio::time::timeout(Duration::from_secs(30), asked).await.expect("an answer");
    assert_eq!(&heard[..length], b"hello");
    gateway.open(Vec::new());
    let freed = async {
        while UdpSocket::bind(local(socket.port)).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), freed).await.expect("the port is free again");
}

#[tokio::test]
async fn who_may_introduce_clients_must_and_others_may_not() {
    let mut gateway = Gateway::new();
    gateway.doors = gateway.doors.introduced_by(["127.0.0.0/8".parse().unwrap()]);
    let socket = free(Transport::Tcp);
    let endpoint = gateway.endpoint("one:").await;
    gateway.open(vec![(socket, Host::Any, Tls::None, vec![route(Host::Any, Transport::Tcp, Some(endpoint))])]);
    let header =
        crate::proxy_protocol::write_v2("192.0.2.1:7".parse().unwrap(), "192.0.2.2:80".parse().unwrap(), false);
    assert_eq!(say(socket.port, &[&header[..], b"x"].concat()).await, b"one:x");
    assert_eq!(say(socket.port, b"x and no header at all").await, b"");

    let others = Gateway::new();
    let socket = free(Transport::Tcp);
    let endpoint = others.endpoint("one:").await;
    others.open(vec![(socket, Host::Any, Tls::None, vec![route(Host::Any, Transport::Tcp, Some(endpoint))])]);
    assert_eq!(say(socket.port, &header).await, [b"one:", &header[..]].concat(), "just bytes");
}
