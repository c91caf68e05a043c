//! Services that decide, by HTTP and by gRPC.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use knarr_identity::{Body, Cache, ErrorPage, External, Guard, Protocol, Settings, Source};

use crate::browser::{Browser, Seen, World, sources};

mod wire;

/// A service that notes what it is asked and answers as it is told.
struct Service {
    world: World,
    address: String,
    asked: Arc<Mutex<Vec<Request<Bytes>>>>,
}

type Answered = Response<BoxBody<Bytes, Infallible>>;

#[derive(Clone)]
struct Own(tasks::Children);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Own {
    fn execute(&self, future: F) {
        self.0.spawn("h2", future);
    }
}

impl Service {
    async fn new(
        h2: bool,
        answer: impl Fn(&Request<Bytes>) -> BoxFuture<'static, Answered> + Send + Sync + 'static,
    ) -> Self {
        let world = World::new();
        let (listener, address) = world.listen().await;
        let asked: Arc<Mutex<Vec<Request<Bytes>>>> = Arc::default();
        let (noted, answer, children) = (Arc::clone(&asked), Arc::new(answer), world.context.children.clone());
        world.context.children.spawn("service", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.expect("a body").to_bytes();
                        let request = Request::from_parts(parts, body);
                        let answered = answer(&request);
                        noted.lock().expect("no panic").push(request);
                        Ok::<_, Infallible>(answered.await)
                    }
                });
                let io = TokioIo::new(stream);
                let own = Own(children.clone());
                children.spawn("connection", async move {
                    let ended = if h2 {
                        hyper::server::conn::http2::Builder::new(own).serve_connection(io, service).await
                    } else {
                        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                    };
                    drop(ended); // a client that goes away is no matter
                });
            }
        });
        Self { world, address, asked }
    }

    async fn http(answer: impl Fn(&Request<Bytes>) -> Response<&'static str> + Send + Sync + 'static) -> Self {
        Self::new(false, move |request| {
            let answered = answer(request).map(|text| Full::new(Bytes::from_static(text.as_bytes())).boxed());
            Box::pin(async move { answered })
        })
        .await
    }

    async fn grpc(status: &'static str, message: Vec<u8>) -> Self {
        Self::new(true, move |_| {
            let message = message.clone();
            Box::pin(async move { wire::answer(status, &message) })
        })
        .await
    }

    fn guard(&self, change: impl FnOnce(&mut External)) -> Guard {
        let mut external = External { url: format!("http://{}/check", self.address), ..External::default() };
        change(&mut external);
        guard(&self.world, external)
    }

    fn asked(&self) -> Vec<Request<Bytes>> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn guard(world: &World, external: External) -> Guard {
    let settings = Settings { external: Some(external), ..Settings::default() };
    Guard::new("shop/check", &settings, &sources(&[]), &world.means).expect("a good policy")
}

fn respond(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<&'static str> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).expect("a response")
}

const PAGE: &str = "https://app.example/page?x=1";

#[tokio::test]
async fn a_2xx_passes_with_the_headers_that_are_wanted() {
    let service = Service::http(|_| {
        respond(
            204,
            &[("x-user", "alice"), ("x-other", "1"), ("set-cookie", "s=1; Path=/; HttpOnly; SameSite=Lax; Secure")],
            "",
        )
    })
    .await;
    let guard = service.guard(|external| external.response_headers = vec!["X-User".to_owned(), "X-Team".to_owned()]);
    let mut browser = Browser::new()
        .with("x-user", "admin")
        .with("x-team", "root")
        .with("x_team", "root")
        .with("authorization", "Bearer t")
        .with("transfer-encoding", "chunked")
        .with("x-forwarded-for", "10.0.0.1")
        .with("x_forwarded_for", "10.0.0.1")
        .with("x-original-url", "https://evil.example/")
        .with("if-none-match", "*")
        .with("connection", "close, x-hop")
        .with("x-hop", "1");
    let seen = browser.visit(&guard, PAGE).await;
    assert_eq!(
        (seen.header("x-user"), seen.header("x-team"), seen.header("x_team"), seen.header("x-other")),
        ("alice", "", "", "")
    );
    assert!(browser.cookies.is_empty(), "cookies only when the policy says so");
    let asked = &service.asked()[0];
    assert_eq!((asked.method(), asked.uri().path()), (&Method::GET, "/check"));
    let told = |name: &str| asked.headers().get(name).map(|value| value.to_str().expect("text")).unwrap_or_default();
    assert_eq!(told("x-original-url"), PAGE);
    assert_eq!(
        (told("x-original-method"), told("x-forwarded-for"), told("x-auth-request-redirect")),
        ("GET", "192.0.2.9", "/page?x=1")
    );
    assert_eq!((told("authorization"), told("transfer-encoding"), told("content-length")), ("Bearer t", "", ""));
    assert_eq!((told("x_forwarded_for"), told("if-none-match"), told("x-hop")), ("", "", ""));
}

#[tokio::test]
async fn a_refusal_reaches_the_client_and_a_browser_may_be_sent_to_sign_in() {
    let service = Service::http(|request| match request.headers().get("x-case").and_then(|case| case.to_str().ok()) {
        Some("forbidden") => respond(403, &[("x-why", "policy"), ("connection", "close")], "not you"),
        _ => respond(401, &[("www-authenticate", "Bearer realm=\"x\"")], "who are you"),
    })
    .await;
    let plain = service.guard(|_| {});
    let seen = Browser::new().visit(&plain, PAGE).await;
    assert_eq!((seen.status(), seen.text().as_str()), (StatusCode::UNAUTHORIZED, "who are you"));
    let seen = Browser::new().with("x-case", "forbidden").visit(&plain, PAGE).await;
    let Seen::Answer(answer) = &seen else { unreachable!() };
    assert_eq!((answer.status(), answer.headers().contains_key("connection")), (StatusCode::FORBIDDEN, false));
    let sign_in = service.guard(|external| {
        external.sign_in =
            Some(ErrorPage { url: "https://login.example/start".to_owned(), parameter: "rd".to_owned() });
    });
    let seen = Browser::new().visit(&sign_in, PAGE).await;
    assert_eq!(seen.location(), "https://login.example/start?rd=https%3A%2F%2Fapp.example%2Fpage%3Fx%3D1");
    assert_eq!(Browser::new().with("x-case", "forbidden").visit(&sign_in, PAGE).await.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_cannot_be_asked_does_not_pass_unless_the_policy_says_so() {
    let broken =
        Service::http(|request| respond(if request.uri().path() == "/big" { 200 } else { 500 }, &[], "x")).await;
    let hanging = Service::new(false, |_| Box::pin(std::future::pending())).await;
    let (listener, nobody) = broken.world.listen().await;
    drop(listener);
    let cases = [
        ("a 500", broken.guard(|_| {})),
        ("nobody listens", guard(&broken.world, External { url: format!("http://{nobody}/"), ..External::default() })),
        ("no name", guard(&broken.world, External { url: "http://name.invalid/".to_owned(), ..External::default() })),
        ("no answer", hanging.guard(|external| external.timeout = "50ms".to_owned())),
    ];
    for (case, guard) in &cases {
        let seen = Browser::new().visit(guard, PAGE).await;
        assert_eq!(seen.status(), StatusCode::SERVICE_UNAVAILABLE, "{case}");
        let Seen::Answer(answer) = &seen else { unreachable!() };
        assert_eq!(answer.headers()["retry-after"], "5", "{case}");
    }
    let open = broken.guard(|external| {
        (external.fail_open, external.response_headers) = (true, vec!["X-User".to_owned()]);
    });
    let seen = Browser::new().with("x-user", "admin").visit(&open, PAGE).await;
    assert_eq!((seen.status(), seen.header("x-user")), (StatusCode::OK, ""), "still nobody says who they are");
}

#[tokio::test]
async fn the_gateway_api_asks_with_path_method_and_body() {
    let service = Service::http(|_| respond(200, &[], "")).await;
    let guard = service.guard(|external| {
        external.url = external.url.replace("/check", "/auth/");
        external.append_path = Some(true);
        external.request_headers = Some(vec!["X-Case".to_owned()]);
        external.body = Some(Body { max_size: 8 });
    });
    assert_eq!(guard.body_limit(), Some(8));
    let mut browser = Browser { method: Method::PUT, body: Some(Bytes::from_static(b"12345678")), ..Browser::new() };
    browser =
        browser.with("x-case", "1").with("x-secret", "2").with("authorization", "Bearer t").with("content-length", "8");
    assert_eq!(browser.visit(&guard, PAGE).await.status(), StatusCode::OK);
    let asked = &service.asked()[0];
    assert_eq!(
        (asked.method(), asked.uri().path_and_query().expect("a path").as_str()),
        (&Method::PUT, "/auth/page?x=1")
    );
    assert_eq!(
        (asked.body().as_ref(), asked.headers()["content-length"].to_str().expect("text")),
        (b"12345678".as_slice(), "8")
    );
    assert_eq!(
        (asked.headers()["host"].to_str().expect("text"), asked.headers().contains_key("x-secret")),
        ("app.example", false)
    );
    assert!(asked.headers().contains_key("x-case") && asked.headers().contains_key("authorization"));
    browser.body = Some(Bytes::from_static(b"123456789"));
    assert_eq!(browser.visit(&guard, PAGE).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn answers_are_remembered_by_their_key_and_for_their_time() {
    let service =
        Service::http(|request| respond(if request.headers().contains_key("x-bad") { 403 } else { 200 }, &[], ""))
            .await;
    let guard = service.guard(|external| {
        external.cache = Some(Cache { key: "$http_authorization".to_owned(), duration: "1m".to_owned() })
    });
    let (mut alice, mut mallory) =
        (Browser::new().with("authorization", "a"), Browser::new().with("authorization", "m").with("x-bad", "1"));
    for _ in 0..3 {
        assert_eq!(alice.visit(&guard, PAGE).await.status(), StatusCode::OK);
        assert_eq!(mallory.visit(&guard, PAGE).await.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(service.asked().len(), 2);
    for _ in 0..2 {
        Browser::new().visit(&guard, PAGE).await; // without a key nothing is remembered
    }
    assert_eq!(service.asked().len(), 4);
    service.world.clock.pass(60);
    alice.visit(&guard, PAGE).await;
    assert_eq!(service.asked().len(), 5);
    let settings = Settings {
        external: Some(External {
            url: "http://x.example/".to_owned(),
            cache: Some(Cache { key: "all".to_owned(), duration: "1m".to_owned() }),
            ..External::default()
        }),
        ..Settings::default()
    };
    let told = Guard::new("a/b", &settings, &sources(&[(Source::Secret("x".to_owned()), &[])]), &service.world.means);
    assert!(told.expect_err("refused").to_string().contains("everybody would get the first one's answer"));
}

fn grpc(service: &Service, change: impl FnOnce(&mut External)) -> Guard {
    service.guard(|external| {
        external.protocol = Protocol::Grpc;
        change(external);
    })
}

#[tokio::test]
async fn ext_authz_sees_the_request_and_changes_it() {
    let ok = wire::message(&[
        (2, wire::option("x-user", "alice", None)),
        (2, wire::option("x-groups", "dev", Some(true))),
        (2, wire::option("host", "evil.example", None)),
        (5, b"x-secret".to_vec()),
        (6, wire::option("x-policy", "p1", None)),
        (7, wire::message(&[(1, b"who".to_vec()), (2, b"a&b".to_vec())])),
        (8, b"x".to_vec()),
    ]);
    let service = Service::grpc("0", wire::message(&[(1, wire::message(&[])), (3, ok)])).await;
    let guard = grpc(&service, |external| {
        external.context.insert("route".to_owned(), "shop".to_owned());
        external.body = Some(Body { max_size: 16 });
    });
    let mut browser = Browser::new()
        .with("x-user", "admin")
        .with("x-groups", "a")
        .with("x-secret", "1")
        .with("x-case", "one")
        .with("x-case", "two");
    browser.body = Some(Bytes::from_static(b"hello"));
    let seen = browser.visit(&guard, PAGE).await;
    assert_eq!(
        (seen.header("x-user"), seen.header("x-groups"), seen.header("x-secret"), seen.header("host")),
        ("alice", "a,dev", "", "")
    );
    let Seen::Backend { pass, .. } = &seen else { unreachable!() };
    assert_eq!((pass.respond[0].0.as_str(), pass.target.as_deref()), ("x-policy", Some("/page?who=a%26b")));
    let asked = &service.asked()[0];
    assert_eq!(asked.uri().path(), "/envoy.service.auth.v3.Authorization/Check");
    assert_eq!(
        (asked.headers()["content-type"].as_bytes(), asked.headers()["te"].as_bytes()),
        (b"application/grpc".as_slice(), b"trailers".as_slice())
    );
    let question = wire::question(asked.body());
    let text = |path: &[u64]| {
        wire::find(&question, path).into_iter().map(|bytes| String::from_utf8(bytes).expect("text")).collect::<Vec<_>>()
    };
    // attributes(1).request(4).http(2): method 2, path 4, host 5, scheme 6, body 11; source(1).address(1).socket(1).address(2)
    assert_eq!(
        [text(&[1, 4, 2, 2]), text(&[1, 4, 2, 4]), text(&[1, 4, 2, 5]), text(&[1, 4, 2, 6]), text(&[1, 4, 2, 11])]
            .concat(),
        ["GET", "/page?x=1", "app.example", "https", "hello"]
    );
    assert_eq!(text(&[1, 1, 1, 1, 2]), ["192.0.2.9"]);
    let pairs = |path: &[u64]| {
        wire::find(&question, path).iter().map(|entry| (wire::text(entry, 1), wire::text(entry, 2))).collect::<Vec<_>>()
    };
    assert!(pairs(&[1, 4, 2, 3]).contains(&("x-case".to_owned(), "one,two".to_owned())));
    assert_eq!(pairs(&[1, 10]), [("route".to_owned(), "shop".to_owned())]);
}

#[tokio::test]
async fn ext_authz_refuses_as_it_likes_and_fails_closed() {
    let denied = wire::message(&[
        (1, wire::number(1, 302)),
        (2, wire::option("location", "https://login.example/", None)),
        (2, wire::option("transfer-encoding", "chunked", None)),
        (3, b"go there".to_vec()),
    ]);
    let refused = |code: u64| (1u64, wire::number(1, code));
    let ok = wire::message(&[(2, wire::option("x-user", "alice", None))]);
    let cases: Vec<(&str, &'static str, Vec<u8>, u16)> = vec![
        ("a redirect", "0", wire::message(&[refused(16), (2, denied.clone())]), 302),
        ("denied without more", "0", wire::message(&[refused(7)]), 403),
        ("unauthenticated", "0", wire::message(&[refused(16)]), 401),
        ("denied without a status code", "0", wire::message(&[refused(7), (2, wire::message(&[]))]), 403),
        ("an ok answer that is denied all the same", "0", wire::message(&[refused(7), (3, ok.clone())]), 403),
        ("no status at all", "0", wire::message(&[(3, ok)]), 403),
        ("an inner failure", "0", wire::message(&[refused(14)]), 503),
        ("a gRPC failure", "14", Vec::new(), 503),
        ("what is no message", "0", vec![0xff, 0xff], 503),
        (
            "a denial that passes for success",
            "0",
            wire::message(&[refused(7), (2, wire::message(&[(1, wire::number(1, 200))]))]),
            503,
        ),
    ];
    for (case, status, message, expected) in cases {
        let service = Service::grpc(status, message).await;
        let seen = Browser::new().visit(&grpc(&service, |_| {}), PAGE).await;
        assert_eq!(seen.status().as_u16(), expected, "{case}");
        if expected == 302 {
            let Seen::Answer(answer) = &seen else { unreachable!() };
            assert_eq!((seen.location(), seen.text().as_str()), ("https://login.example/", "go there"));
            assert!(!answer.headers().contains_key("transfer-encoding"));
        }
    }
}

#[tokio::test]
async fn ext_authz_that_passes_with_nothing_to_say() {
    let service = Service::grpc("0", wire::message(&[(1, wire::message(&[]))])).await;
    assert_eq!(Browser::new().visit(&grpc(&service, |_| {}), PAGE).await.status(), StatusCode::OK);
}
