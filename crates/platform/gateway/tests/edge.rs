//! An edge node over sockets: the gateway's proxy with the cache before an origin, and the socket that purges it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache::{Purge, Settings, What, admin};
use knarr_gateway::edge::{Config, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Everything below must happen within this.
const PATIENCE: Duration = Duration::from_secs(30);

/// An origin that answers with the head of the request.
async fn origin(ctx: &tasks::Context, asked: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let children = ctx.children.clone();
    ctx.children.spawn("origin", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            children.spawn("origin connection", async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { return };
                    head.push(byte);
                }
                let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
                let stale = first && head.starts_with(b"GET /stale ");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nCache-Control: max-age=60, stale-while-revalidate=600\r\nCache-Tag: all\r\n\
                     Age: {}\r\nContent-Length: {}\r\n\r\n",
                    if stale { 100 } else { 0 },
                    head.len()
                );
                drop(stream.write_all(&[answer.as_bytes(), &head].concat()).await);
            });
        }
    });
    address
}

async fn get(address: SocketAddr, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the edge listens");
    let request = format!("GET /a?b HTTP/1.1\r\nHost: www.test\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.to_ascii_lowercase()
}

fn config(listen: SocketAddr, origin: SocketAddr, socket: &Path) -> Config {
    Config {
        listen,
        tls: None,
        origins: vec![format!("www.test=http://{origin}").parse().expect("an origin")],
        authorities: Vec::new(),
        host_header: Some("behind.test".to_owned()),
        policy: cache::Policy::default(),
        cache: Settings { memory: 1 << 20, disk: None },
        socket: Some(socket.to_path_buf()),
        access_log: String::new(),
    }
}

/// One request over HTTP/2 without TLS: what the cache did.
async fn get_h2(address: SocketAddr, ctx: &tasks::Context) -> String {
    let stream = TcpStream::connect(address).await.expect("the edge listens");
    let io = hyper_util::rt::TokioIo::new(stream);
    let handshake = hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await;
    let (mut sender, connection) = handshake.expect("HTTP/2 is spoken");
    ctx.children.spawn("client", async move { drop(connection.await) });
    let request = http::Request::get("http://www.test/stale").body(http_body_util::Empty::<bytes::Bytes>::new());
    let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
    answer.headers().get("x-cache").and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stale_is_fetched_behind_the_answer_over_http2_too() {
    let (outer, _outer) = tasks::context_for_tests();
    let (inner, mut status) = tasks::context_for_tests();
    let stop = inner.stop.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = origin(&outer, Arc::clone(&asked)).await;
    let listen = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(listen, origin, &dir.path().join("cache.sock"));
    outer.children.spawn("edge", async move { run(config, inner).await.expect("it runs") });
    let going = async {
        status.ready().await.expect("it is ready");
        while get_h2(listen, &outer).await != "MISS" {}
        assert_eq!(get_h2(listen, &outer).await, "STALE");
        while asked.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        while get_h2(listen, &outer).await != "HIT" {} // the new one is stored a moment later
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    };
    tokio::time::timeout(PATIENCE, going).await.expect("in time");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_answers_from_the_cache_until_it_is_purged() {
    let (outer, _outer) = tasks::context_for_tests();
    let (inner, mut status) = tasks::context_for_tests();
    let stop = inner.stop.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = origin(&outer, Arc::clone(&asked)).await;
    let listen = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("cache.sock");
    let config = config(listen, origin, &socket);
    outer.children.spawn("edge", async move { run(config, inner).await.expect("it runs") });
    let going = async {
        status.ready().await.expect("it is ready");
        let client = admin::Client::new(&socket);
        // The address of the origin is looked up beside the serving.
        let first = loop {
            let answer = get(listen, "X-Forwarded-Host: evil.test\r\n").await;
            if !answer.starts_with("http/1.1 503") {
                break answer;
            }
        };
        assert!(first.starts_with("http/1.1 200") && first.contains("x-cache: miss"), "{first}");
        assert!(first.contains("host: behind.test") && first.contains("x-forwarded-host: www.test"), "{first}");
        assert!(!first.contains("evil") && !first.contains("cache-tag"), "{first}");
        let second = get(listen, "").await;
        assert!(second.contains("x-cache: hit") && second.contains("age: 0"), "{second}");
        assert_eq!(asked.load(Ordering::SeqCst), 1);

        let stats = loop {
            match client.stats().await {
                Ok(stats) => break stats,
                Err(_) => tokio::task::yield_now().await, // the socket comes after the door
            }
        };
        assert_eq!((stats.hits, stats.memory_objects), (1, 1));
        let purge = Purge { what: What::Tag("all".to_owned()), soft: false };
        assert_eq!(client.purge(&purge).await.expect("purged"), 1);
        let bad = client.purge(&Purge { what: What::Url("/a".to_owned()), soft: false }).await;
        assert!(bad.expect_err("refused").to_string().contains("write it whole"));
        assert!(get(listen, "").await.contains("x-cache: miss"));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    };
    tokio::time::timeout(PATIENCE, going).await.expect("in time");
    stop.cancel();
    tokio::time::timeout(PATIENCE, async {
        while socket.exists() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("no socket is left behind");
}
