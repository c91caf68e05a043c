//! A browser as far as logins go: cookies per host, links, and a clock that tests set.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base::time::Timestamp;
use bytes::Bytes;
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use http::{Method, Response, StatusCode, Uri};
use knarr_identity::{Asked, Data, Guard, Means, Pass, Source, SystemResolver, Verdict};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A clock that is set by hand.
#[derive(Clone)]
pub(crate) struct Hand(Arc<AtomicI64>);

impl Hand {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000)))
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// What a test runs in: tasks that end with it, a clock, means that reach loopback.
pub(crate) struct World {
    pub(crate) context: tasks::Context,
    pub(crate) clock: Hand,
    pub(crate) means: Means,
}

impl World {
    pub(crate) fn new() -> Self {
        let (context, _) = tasks::context_for_tests();
        let clock = Hand::new();
        let read = clock.clone();
        let means = Means::new(context.children.clone())
            .with_clock(Arc::new(move || Timestamp::from_second(read.now()).expect("a time")))
            .with_resolver(Arc::new(SystemResolver { loopback: true }));
        Self { context, clock, means }
    }

    /// A free port of loopback.
    pub(crate) async fn listen(&self) -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        (listener, address)
    }
}

/// Objects by kind and name.
pub(crate) fn sources(objects: &[(Source, &[(&str, &str)])]) -> impl Fn(&Source) -> Option<Data> + use<> {
    let row = |(source, data): &(Source, &[(&str, &str)])| {
        let data: Data = data.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        (source.clone(), data)
    };
    let held: BTreeMap<Source, Data> = objects.iter().map(row).collect();
    move |source| held.get(source).cloned()
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The backend got it, with these headers and this target.
    Backend {
        headers: HeaderMap,
        pass: Pass,
    },
    Answer(Response<Bytes>),
}

impl Seen {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Backend { .. } => StatusCode::OK,
            Self::Answer(answer) => answer.status(),
        }
    }

    pub(crate) fn location(&self) -> &str {
        let Self::Answer(answer) = self else { panic!("the backend answered") };
        answer.headers()["location"].to_str().expect("text")
    }

    /// A header that the backend got; empty if none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let Self::Backend { headers, .. } = self else { panic!("not passed: {self:?}") };
        headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        let Self::Answer(answer) = self else { panic!("the backend answered") };
        String::from_utf8_lossy(answer.body()).into_owned()
    }
}

/// A browser in front of one guard.
pub(crate) struct Browser {
    /// By host, then by name.
    pub(crate) cookies: BTreeMap<String, BTreeMap<String, String>>,
    /// What every request says.
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) method: Method,
    pub(crate) client: IpAddr,
    pub(crate) body: Option<Bytes>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        Self {
            cookies: BTreeMap::new(),
            headers: vec![("accept", "text/html".to_owned()), ("sec-fetch-mode", "navigate".to_owned())],
            method: Method::GET,
            client: "192.0.2.9".parse().expect("an address"),
            body: None,
        }
    }

    /// The same request as a program makes.
    pub(crate) fn program() -> Self {
        Self { headers: vec![("accept", "application/json".to_owned())], ..Self::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub(crate) async fn visit(&mut self, guard: &Guard, url: &str) -> Seen {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (host, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"));
        }
        for (name, value) in self.cookies.get(host).into_iter().flatten() {
            // One header each, as HTTP/2 has it.
            headers.append(COOKIE, HeaderValue::from_str(&format!("{name}={value}")).expect("a value"));
        }
        let asked = Asked {
            method: &self.method,
            scheme,
            host,
            target,
            headers: &headers,
            client: self.client,
            certificate: None,
            body: self.body.as_ref(),
        };
        match guard.ask(&asked).await {
            Verdict::Pass(pass) => {
                pass.respond
                    .iter()
                    .filter(|(name, _)| *name == SET_COOKIE)
                    .for_each(|(_, value)| self.keep(scheme, host, value));
                for name in &pass.remove {
                    headers.remove(name);
                }
                for (name, value) in &pass.set {
                    headers.insert(name.clone(), value.clone());
                }
                Seen::Backend { headers, pass }
            }
            Verdict::Answer(answer) => {
                answer.headers().get_all(SET_COOKIE).iter().for_each(|value| self.keep(scheme, host, value));
                Seen::Answer(answer)
            }
        }
    }

    fn keep(&mut self, scheme: &str, host: &str, line: &HeaderValue) {
        let line = line.to_str().expect("text");
        let mut parts = line.split("; ");
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a pair");
        let attributes: Vec<&str> = parts.collect();
        for wanted in ["Path=/", "HttpOnly", "SameSite=Lax"] {
            assert!(attributes.contains(&wanted), "{wanted} is missing in {line}");
        }
        assert!(!line.contains("Domain="), "{line}");
        if scheme == "https" {
            assert!(name.starts_with("__Host-") && attributes.contains(&"Secure"), "{line}");
        }
        let held = self.cookies.entry(host.to_owned()).or_default();
        if attributes.contains(&"Max-Age=0") {
            held.remove(name);
        } else {
            held.insert(name.to_owned(), value.to_owned());
        }
    }

    /// From a page to the provider and back to the callback; tells what the callback answered.
    pub(crate) async fn log_in(&mut self, guard: &Guard, url: &str) -> Seen {
        let sent = self.visit(guard, url).await;
        assert_eq!(sent.status(), StatusCode::FOUND, "{sent:?}");
        let (status, back) = fetch(sent.location()).await;
        assert_eq!(status, 302, "the provider: {back}");
        self.visit(guard, &back).await
    }
}

/// Status and location (or text) of what a URL of loopback answers.
pub(crate) async fn fetch(url: &str) -> (u16, String) {
    let uri: Uri = url.parse().expect("a URL");
    let authority = uri.authority().expect("a host").as_str();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let mut stream = TcpStream::connect(authority).await.expect("it listens");
    let request = format!("GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let location = answer.lines().find_map(|line| line.strip_prefix("location: "));
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status, location.unwrap_or(body).to_owned())
}
