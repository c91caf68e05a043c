//! Requests through real sockets: what backends see, and what clients get.

mod hostile;
mod traffic;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base::Key;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::model::*;
use crate::seen::Seen;
use crate::serve::Doors;

/// A request as a backend saw it.
#[derive(Clone, Debug)]
struct Heard {
    method: Method,
    target: String,
    host: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
    version: http::Version,
}

/// A backend that writes down what it hears and answers `status` with its name.
#[derive(Clone)]
struct Backing {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    told: Arc<Notify>,
    /// Statuses to answer with before all is well.
    moods: Arc<Mutex<Vec<StatusCode>>>,
}

impl Backing {
    fn count(&self) -> usize {
        self.heard.lock().len()
    }

    fn last(&self) -> Heard {
        self.heard.lock().last().cloned().expect("the backend heard something")
    }

    async fn heard(&self, count: usize) {
        while self.count() < count {
            self.told.notified().await;
        }
    }
}

/// A gateway on a free port, and the tasks it lives by.
struct House {
    doors: Doors,
    address: SocketAddr,
    ctx: tasks::Context,
    _status: tasks::Status,
    seen: Arc<Seen>,
}

impl House {
    fn new() -> Self {
        let (ctx, status) = tasks::context_for_tests();
        let seen = Arc::new(Seen::default());
        let doors = Doors::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Arc::clone(&seen), &ctx).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self { doors, address: free, ctx, _status: status, seen }
    }

    fn serve(&self, rules: Vec<Rule>) {
        let route = |(at, rule): (usize, Rule)| Route {
            hosts: vec![Host::Any],
            matches: vec![Match::path(PathMatch::Prefix(format!("/{}", rule.source.section)))],
            rank: Rank { created: None, key: Key::new("default", "r"), rule: at },
            rule: Arc::new(rule),
        };
        let mut model = Model::default();
        let listener = Listener {
            source: Arc::new(Source::new("Gateway", Key::new("default", "gw"), "http")),
            host: Host::Any,
            isolated: true,
            tls: Tls::None,
            serves: Serves::Http(rules.into_iter().enumerate().map(route).collect()),
        };
        model.add(Socket { address: None, port: self.address.port(), transport: Transport::Tcp }, listener);
        assert_eq!(self.doors.open(&model).into_values().collect::<Vec<_>>(), Vec::<String>::new());
    }

    async fn backing(&self) -> Backing {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backing = Backing {
            address: listener.local_addr().unwrap(),
            heard: Arc::default(),
            told: Arc::default(),
            moods: Arc::default(),
        };
        let (it, children) = (backing.clone(), self.ctx.children.clone());
        self.ctx.children.spawn("backing", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let it = it.clone();
                children.spawn("backing connection", async move {
                    let answer = service_fn(move |request| answer(it.clone(), request));
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    drop(server.serve_connection(TokioIo::new(stream), answer).await);
                });
            }
        });
        backing
    }

    /// One request on a connection of its own, and all of the answer.
    async fn send(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, target: &str, headers: &str) -> String {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\n{headers}\r\n")).await
    }
}

async fn answer(it: Backing, request: http::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|all| all.to_bytes().to_vec()).unwrap_or_default();
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let host = parts.uri.authority().map(ToString::to_string).or(parts.headers.get("host").map(text));
    it.heard.lock().push(Heard {
        method: parts.method,
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        host: host.unwrap_or_default(),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body,
        version: parts.version,
    });
    it.told.notify_one();
    let mood = { it.moods.lock().pop() };
    let silent = mood == Some(StatusCode::CONTINUE);
    if silent {
        std::future::pending::<()>().await;
    }
    let mut response = Response::new(Full::new(Bytes::from(it.address.port().to_string())));
    *response.status_mut() = mood.unwrap_or(StatusCode::OK);
    response.headers_mut().insert("x-backend", HeaderValue::from_static("yes"));
    Ok(response)
}

fn to(address: SocketAddr, protocol: Protocol) -> Target {
    let key = Key::new("default", format!("s{}", address.port()));
    let endpoints = Arc::new(Endpoints::new(key, Port::Number(80), Transport::Tcp, vec![address]));
    Target::Backend(Arc::new(Backend { endpoints, protocol }))
}

/// The rule for everything below `/section`.
fn rule(section: &str, target: Target) -> Rule {
    let source = Source::new("HTTPRoute", Key::new("default", "r"), section);
    Rule::new(Arc::new(source), Split::all(target))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("")
}

#[tokio::test]
async fn a_backend_sees_the_request_and_nothing_the_client_says_of_itself() {
    let house = House::new();
    let backing = house.backing().await;
    house.serve(vec![rule("", to(backing.address, Protocol::Http))]);
    let answer = house.get("/x?q=1", "X-Forwarded-For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nX-A: b\r\n").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.ends_with(&backing.address.port().to_string()), "{answer}");
    let heard = backing.last();
    assert_eq!((heard.method, heard.target.as_str(), heard.host.as_str()), (Method::GET, "/x?q=1", "a.com"));
    assert_eq!(heard.headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(heard.headers["x-real-ip"], "127.0.0.1");
    assert_eq!(heard.headers["x-forwarded-proto"], "http");
    assert_eq!(heard.headers["x-a"], "b");
    assert!(house.seen.render().contains("kind=\"HTTPRoute\",namespace=\"default\",name=\"r\""));
}

#[tokio::test]
async fn filters_change_the_request_and_the_answer_in_the_order_of_the_rule() {
    let house = House::new();
    let backing = house.backing().await;
    let mut changed = rule("a", to(backing.address, Protocol::Http));
    let name = HeaderName::from_static;
    let value = HeaderValue::from_static;
    changed.filters = vec![
        Filter::Request(HeaderEdit {
            set: vec![(name("x-set"), value("new"))],
            add: vec![(name("x-add"), value("two"))],
            remove: vec![name("x-gone")],
        }),
        Filter::Rewrite(Rewrite { host: Some(value("inner.local")), path: Some(PathEdit::Prefix("/z".to_owned())) }),
        Filter::Response(HeaderEdit {
            set: vec![(name("x-backend"), value("hidden"))],
            add: vec![(name("x-more"), value("1"))],
            remove: vec![],
        }),
    ];
    house.serve(vec![changed]);
    let answer = house.get("/a/b?q=1", "X-Set: old\r\nX-Add: one\r\nX-Gone: 1\r\n").await;
    let heard = backing.last();
    assert_eq!((heard.target.as_str(), heard.host.as_str()), ("/z/b?q=1", "inner.local"));
    assert_eq!(heard.headers["x-set"], "new");
    assert!(!heard.headers.contains_key("x-gone"));
    assert_eq!(heard.headers["x-forwarded-host"], "a.com");
    let lower = answer.to_ascii_lowercase();
    assert!(lower.contains("x-backend: hidden") && lower.contains("x-more: 1"), "{answer}");
}

#[tokio::test]
async fn http_2_without_tls_is_taken_and_spoken() {
    let house = House::new();
    let backing = house.backing().await;
    house.serve(vec![rule("h2", to(backing.address, Protocol::H2c)), rule("h1", to(backing.address, Protocol::Http))]);
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    for (path, version) in [("h2", http::Version::HTTP_2), ("h1", http::Version::HTTP_11)] {
        let uri = format!("http://{}/{path}", house.address);
        let request = http::Request::post(uri).body(Full::new(Bytes::from_static(b"body"))).unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, http::Version::HTTP_2));
        let heard = backing.last();
        assert_eq!((heard.version, heard.body.as_slice()), (version, &b"body"[..]));
        assert_eq!(heard.host, house.address.to_string());
    }
    assert_eq!(status(&house.get("/h2", "").await), "200", "and HTTP/1.1 on the same socket");
}

#[tokio::test]
async fn an_unwanted_answer_is_asked_for_again_as_often_as_the_rule_says() {
    let house = House::new();
    let backing = house.backing().await;
    let retry = |any_method| Retry { codes: vec![503], attempts: 2, backoff: Duration::from_millis(1), any_method };
    let mut safe = rule("safe", to(backing.address, Protocol::Http));
    safe.retry = Some(retry(false));
    let mut all = rule("all", to(backing.address, Protocol::Http));
    all.retry = Some(retry(true));
    house.serve(vec![safe, all, rule("none", to(backing.address, Protocol::Http))]);
    let bad = StatusCode::SERVICE_UNAVAILABLE;
    let post =
        |path| format!("POST {path} HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody");
    for (request, moods, expected, asked) in [
        ("GET /safe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), vec![bad; 2], "200", 3),
        ("GET /safe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), vec![bad; 3], "503", 3),
        ("GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), vec![bad; 1], "503", 1),
        (post("/safe"), vec![bad; 1], "503", 1),
        (post("/all"), vec![bad; 1], "200", 2),
    ] {
        backing.heard.lock().clear();
        *backing.moods.lock() = moods;
        assert_eq!(status(&house.send(&request).await), expected, "{request}");
        assert_eq!(backing.count(), asked, "{request}");
        backing.moods.lock().clear();
    }
    assert_eq!(backing.last().body, b"body");
}

#[tokio::test]
async fn a_backend_that_says_nothing_is_given_up_in_time() {
    let house = House::new();
    let backing = house.backing().await;
    let mut whole = rule("whole", to(backing.address, Protocol::Http));
    whole.timeouts.request = Some(Duration::from_millis(100));
    let mut each = rule("each", to(backing.address, Protocol::Http));
    each.timeouts.backend = Some(Duration::from_millis(50));
    house.serve(vec![whole, each]);
    for path in ["/whole", "/each"] {
        *backing.moods.lock() = vec![StatusCode::CONTINUE];
        let answer = tokio::time::timeout(Duration::from_secs(20), house.get(path, "")).await.unwrap();
        assert_eq!(status(&answer), "504", "{path}");
    }
}

#[tokio::test]
async fn a_body_over_its_bound_is_refused_whether_its_length_is_told_or_not() {
    let house = House::new();
    let backing = house.backing().await;
    let mut small = rule("", to(backing.address, Protocol::Http));
    small.limits.body = Some(8);
    house.serve(vec![small]);
    let told = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\n123456789";
    assert_eq!(status(&house.send(told).await), "413");
    assert_eq!(backing.count(), 0);
    let untold = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n";
    assert_eq!(status(&house.send(untold).await), "413");
    let fits = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 8\r\n\r\n12345678";
    assert_eq!(status(&house.send(fits).await), "200");
    assert!(house.seen.render().contains("knarr_gateway_refused_total{reason=\"body_size\"} 2"));
}

#[tokio::test]
async fn a_mirror_gets_a_copy_and_its_answer_goes_nowhere() {
    let house = House::new();
    let (main, mirror) = (house.backing().await, house.backing().await);
    let mut mirrored = rule("", to(main.address, Protocol::Http));
    let Target::Backend(backend) = to(mirror.address, Protocol::Http) else { unreachable!() };
    mirrored.filters = vec![Filter::Mirror(Mirror { backend, share: 1, out_of: 1 })];
    house.serve(vec![mirrored]);
    *mirror.moods.lock() = vec![StatusCode::INTERNAL_SERVER_ERROR];
    let request = "PUT /x?y HTTP/1.1\r\nHost: a.com\r\nConnection: close\r\nContent-Length: 4\r\nX-A: b\r\n\r\nbody";
    assert_eq!(status(&house.send(request).await), "200");
    tokio::time::timeout(Duration::from_secs(20), mirror.heard(1)).await.unwrap();
    let copy = mirror.last();
    assert_eq!((copy.method, copy.target.as_str(), copy.host.as_str()), (Method::PUT, "/x?y", "a.com"));
    assert_eq!((copy.body.as_slice(), copy.headers["x-a"].as_str()), (&b"body"[..], "b"));
}

#[tokio::test]
async fn a_session_stays_with_its_endpoint() {
    let house = House::new();
    let (one, two) = (house.backing().await, house.backing().await);
    let endpoints = vec![one.address, two.address];
    let key = Key::new("default", "both");
    let endpoints = Arc::new(Endpoints::new(key, Port::Number(80), Transport::Tcp, endpoints));
    let mut sticky = rule("", Target::Backend(Arc::new(Backend { endpoints, protocol: Protocol::Http })));
    sticky.persistence = Some(Persistence {
        by: PersistBy::Cookie("s".to_owned()),
        absolute: None,
        idle: None,
        permanent: false,
        path: "/".to_owned(),
        same_site: None,
        secure: false,
    });
    house.serve(vec![sticky]);
    let first = house.get("/", "").await;
    let cookie =
        first.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("set-cookie: ").map(str::to_owned));
    let cookie = cookie.unwrap().split(';').next().unwrap().to_owned();
    let body = |answer: &str| answer.rsplit("\r\n").next().unwrap().to_owned();
    for _ in 0..6 {
        let again = house.get("/", &format!("Cookie: {cookie}\r\n")).await;
        assert_eq!(body(&again), body(&first));
        assert!(!again.to_ascii_lowercase().contains("set-cookie"), "{again}");
    }
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let house = House::new();
    let backing = house.backing().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let key = Key::new("default", "both");
    let endpoints = Endpoints::new(key, Port::Number(80), Transport::Tcp, vec![gone, backing.address]);
    let backend = Backend { endpoints: Arc::new(endpoints), protocol: Protocol::Http };
    house.serve(vec![rule("", Target::Backend(Arc::new(backend))), rule("gone", to(gone, Protocol::Http))]);
    for _ in 0..4 {
        assert_eq!(status(&house.get("/", "").await), "200");
    }
    assert_eq!(status(&house.get("/gone", "").await), "502");
}

#[tokio::test]
async fn a_change_of_routes_ends_no_connection_and_fails_no_request() {
    let house = House::new();
    let (one, two) = (house.backing().await, house.backing().await);
    house.serve(vec![rule("", to(one.address, Protocol::Http))]);
    let mut kept = TcpStream::connect(house.address).await.unwrap();
    let failed = AtomicUsize::new(0);
    for turn in 0..100 {
        let target = if turn % 2 == 0 { &one } else { &two };
        house.serve(vec![rule("", to(target.address, Protocol::Http))]);
        kept.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        let count = kept.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        if status(&answer) != "200" || !answer.ends_with(&target.address.port().to_string()) {
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }
    assert_eq!(failed.into_inner(), 0);
}

#[tokio::test]
async fn figures_go_on_over_a_change_of_routes_and_end_with_their_rule() {
    let house = House::new();
    let backing = house.backing().await;
    let routes = |section| Route {
        hosts: vec![Host::Any],
        matches: vec![Match::path(PathMatch::Prefix(String::new()))],
        rank: Rank { created: None, key: Key::new("default", "r"), rule: 0 },
        rule: Arc::new(rule(section, to(backing.address, Protocol::Http))),
    };
    let model = |section| {
        let mut model = Model::default();
        let listener = Listener {
            source: Arc::new(Source::new("Gateway", Key::new("default", "gw"), "http")),
            host: Host::Any,
            isolated: true,
            tls: Tls::None,
            serves: Serves::Http(vec![routes(section)]),
        };
        model.add(Socket { address: None, port: house.address.port(), transport: Transport::Tcp }, listener);
        model
    };
    let serve = |section| {
        let model = model(section);
        house.seen.adopt(&model);
        house.doors.open(&model);
        drop(model);
        house.seen.tidy();
    };
    let told = |count: u32| house.seen.render().contains(&format!("rule=\"a\"}} {count}"));
    serve("a");
    house.get("/", "").await;
    serve("a");
    serve("a");
    house.get("/", "").await;
    assert!(told(2), "{}", house.seen.render());
    serve("b");
    assert!(!house.seen.render().contains("rule=\"a\""), "{}", house.seen.render());
}

#[tokio::test]
async fn a_reference_that_leads_nowhere_is_a_server_error() {
    let house = House::new();
    let nobody = Target::Nobody(StatusCode::INTERNAL_SERVER_ERROR, "there is no such Service\n".into());
    house.serve(vec![rule("", nobody), rule("none", to("127.0.0.1:9".parse().unwrap(), Protocol::Http))]);
    let answer = house.get("/", "").await;
    assert_eq!(status(&answer), "500");
    assert!(answer.ends_with("there is no such Service\n"));
    assert_eq!(status(&house.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await), "400");
}
