//! An origin that says what it is told to, a proxy with the cache before it, and a client that reads bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_cache::{Cache, Exchange, Policy, Rules, Settings, Site};
use parking_lot::Mutex;
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheKey, CacheMeta, ForcedFreshness, HitHandler, NoCacheReason, RespCacheable};
use pingora_core::apps::HttpServerApp as _;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{HttpProxy, ProxyHttp, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// Everything must happen within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A request as the origin saw it.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) line: String,
    pub(crate) head: String,
}

impl Heard {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What the origin does.
pub(crate) enum Act {
    Send(Vec<u8>),
    /// Until it is told to go on.
    Wait(Arc<Notify>),
}

type Script = Box<dyn Fn(&Heard, usize) -> Vec<Act> + Send>;

pub(crate) struct House {
    pub(crate) cache: &'static Cache,
    pub(crate) address: SocketAddr,
    pub(crate) heard: Arc<Mutex<Vec<Heard>>>,
    told: Arc<Notify>,
    script: Arc<Mutex<Script>>,
    ctx: tasks::Context,
    _status: tasks::Status,
}

/// An answer as a client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// All of the body came.
    pub(crate) whole: bool,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn cache(&self) -> &str {
        self.field("x-cache").unwrap_or("none")
    }
}

/// A response of the origin, whole.
pub(crate) fn says(status: u16, fields: &[(&str, &str)], body: &str) -> Vec<Act> {
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\n");
    if status != 304 {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    vec![Act::Send(format!("{head}\r\n{}", if status == 304 { "" } else { body }).into_bytes())]
}

impl House {
    pub(crate) async fn new(policy: serde_json::Value) -> Self {
        let cache = Cache::open(&Settings { memory: 8 << 20, disk: None }).unwrap();
        Self::with(cache, policy).await
    }

    pub(crate) async fn with(cache: &'static Cache, policy: serde_json::Value) -> Self {
        pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
        let (ctx, status) = tasks::context_for_tests();
        let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let policy: Policy = serde_json::from_value(policy).unwrap();
        let proxy =
            Proxy { cache, rules: Arc::new(Rules::new(&policy).unwrap()), origin: origin.local_addr().unwrap() };
        let house = Self {
            cache,
            address: door.local_addr().unwrap(),
            heard: Arc::default(),
            told: Arc::default(),
            script: Arc::new(Mutex::new(Box::new(|_, _| says(500, &[], "no script")))),
            ctx,
            _status: status,
        };
        house.run_origin(origin);
        house.run_proxy(door, proxy);
        let stop = house.ctx.stop.clone();
        house.ctx.children.spawn("cache directory", async move { cache.recollect(stop).await });
        house
    }

    fn run_origin(&self, origin: TcpListener) {
        let (heard, told, script) = (Arc::clone(&self.heard), Arc::clone(&self.told), Arc::clone(&self.script));
        let children = self.ctx.children.clone();
        self.ctx.children.spawn("origin", async move {
            while let Ok((mut stream, _)) = origin.accept().await {
                let (heard, told, script) = (Arc::clone(&heard), Arc::clone(&told), Arc::clone(&script));
                children.spawn("origin connection", async move {
                    let Some(head) = read_head(&mut stream).await else { return };
                    let it = Heard { line: head.lines().next().unwrap().to_owned(), head };
                    let acts = {
                        let mut heard = heard.lock();
                        heard.push(it.clone());
                        (script.lock())(&it, heard.len())
                    };
                    told.notify_waiters();
                    for act in acts {
                        match act {
                            Act::Send(bytes) => {
                                if stream.write_all(&bytes).await.is_err() {
                                    return;
                                }
                            }
                            Act::Wait(go) => go.notified().await,
                        }
                    }
                });
            }
        });
    }

    fn run_proxy(&self, door: TcpListener, proxy: Proxy) {
        let settings = ServerConf { ca_file: Some("/dev/null".to_owned()), ..ServerConf::default() };
        let mut proxy = HttpProxy::new(proxy, Arc::new(settings));
        proxy.handle_init_modules();
        let proxy = Arc::new(proxy);
        let children = self.ctx.children.clone();
        self.ctx.children.spawn("door", async move {
            while let Ok((stream, _)) = door.accept().await {
                let proxy = Arc::clone(&proxy);
                children.spawn("connection", async move {
                    let (_keep, stop) = watch::channel(false);
                    let session =
                        ServerSession::new_http1(Box::new(pingora_core::protocols::l4::stream::Stream::from(stream)));
                    drop(proxy.process_new_http(session, &stop).await);
                });
            }
        });
    }

    /// What the origin says from now on, by the request and how many there were.
    pub(crate) fn script(&self, script: impl Fn(&Heard, usize) -> Vec<Act> + Send + 'static) {
        *self.script.lock() = Box::new(script);
    }

    pub(crate) fn asked(&self) -> usize {
        self.heard.lock().len()
    }

    pub(crate) fn last(&self) -> Heard {
        self.heard.lock().last().cloned().expect("the origin was asked")
    }

    /// Waits until the origin was asked so often.
    pub(crate) async fn heard(&self, count: usize) {
        let waiting = async {
            loop {
                let told = self.told.notified();
                if self.asked() >= count {
                    return;
                }
                told.await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the origin is asked");
    }

    /// Waits until the figures are as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&knarr_cache::Stats) -> bool) {
        let waiting = async {
            while !wanted(&self.cache.stats()) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{:#?}", self.cache.stats()));
    }

    pub(crate) async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask("GET", path, fields).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        ask(self.address, method, path, fields).await
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.ctx.stop.cancel();
    }
}

pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request += "Host: site.test\r\n";
    }
    for (name, value) in fields {
        request += &format!("{name}: {value}\r\n");
    }
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let ended = stream.read_to_end(&mut bytes).await;
        answer(&bytes, method == "HEAD", ended.is_ok())
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("an answer")
}

fn answer(bytes: &[u8], no_body: bool, ended: bool) -> Answer {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| panic!("no head in {bytes:?}"));
    let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = Answer { status, head, body: bytes[at + 4..].to_vec(), whole: ended };
    if no_body || status == 304 {
        assert!(answer.body.is_empty(), "a body where none may be: {answer:?}");
    } else if answer.field("transfer-encoding").is_some() {
        (answer.body, answer.whole) = dechunked(&answer.body);
    } else if let Some(length) = answer.field("content-length") {
        answer.whole = length.parse::<usize>().unwrap() == answer.body.len();
    }
    answer
}

fn dechunked(mut bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = bytes.windows(2).position(|two| two == b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..at]).unwrap(), 16).unwrap();
        bytes = &bytes[at + 2..];
        if size == 0 {
            return (body, bytes == b"\r\n");
        }
        if bytes.len() < size + 2 {
            body.extend_from_slice(&bytes[..size.min(bytes.len())]);
            return (body, false);
        }
        body.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// The least proxy that uses the cache.
struct Proxy {
    cache: &'static Cache,
    rules: Arc<Rules>,
    origin: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Option<Exchange>;

    fn new_ctx(&self) -> Self::CTX {
        None
    }

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<()> {
        let host =
            session.req_header().headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
        let site = Site { tls: false, host: &host, route: "test", known: false };
        *ctx = Some(Exchange::begin(self.cache, &self.rules, &site, session));
        Ok(())
    }

    fn cache_key_callback(&self, _: &Session, ctx: &mut Self::CTX) -> Result<CacheKey> {
        Ok(ctx.as_ref().unwrap().key())
    }

    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        _: &mut HitHandler,
        _: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<ForcedFreshness>> {
        ctx.as_mut().unwrap().hit(session, meta)
    }

    fn cache_vary_filter(&self, meta: &CacheMeta, _: &mut Self::CTX, request: &RequestHeader) -> Option<HashBinary> {
        Exchange::vary(meta, request)
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        ctx.as_mut().unwrap().may_ask_origin(session).await
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.origin, false, String::new());
        peer.options.read_timeout = Some(PATIENCE);
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        ctx.as_mut().unwrap().ask(session, request)
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        ctx.as_mut().unwrap().came(session, response);
        Ok(())
    }

    fn response_cache_filter(
        &self,
        _: &Session,
        response: &ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<RespCacheable> {
        Ok(ctx
            .as_mut()
            .map_or(RespCacheable::Uncacheable(NoCacheReason::NeverEnabled), |exchange| exchange.store(response)))
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        ctx.as_mut().unwrap().answer(session, response)
    }

    fn should_serve_stale(&self, _: &mut Session, _: &mut Self::CTX, error: Option<&Error>) -> bool {
        Exchange::may_be_stale(error)
    }
}
