use super::*;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, AtomicU32};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::balance::{Member, Name, Policy};

fn check_of(probe: Probe) -> Check {
    let (interval, timeout) = (Duration::from_millis(5), Duration::from_secs(5));
    Check { probe, interval, timeout, healthy: 2, unhealthy: 3, port: None }
}

#[test]
fn an_endpoint_changes_only_after_enough_answers_in_a_row() {
    let check = check_of(Probe::Tcp);
    let mut streak = Streak::default();
    let told: Vec<Option<bool>> = "--+---++".chars().map(|sign| streak.step(sign == '+', &check)).collect();
    let (none, bad, good) = (None, Some(false), Some(true));
    assert_eq!(told, [none, none, none, none, none, bad, none, good]);
}

/// A server whose HTTP status, or gRPC health status, is what `says` holds.
async fn server(ctx: &tasks::Context, says: Arc<AtomicU16>, grpc: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let children = ctx.children.clone();
    ctx.children.spawn("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let says = Arc::clone(&says);
            let serve = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let now = says.load(Ordering::Relaxed);
                async move {
                    if !grpc {
                        assert_eq!(
                            (request.uri().path(), &request.headers()["host"]),
                            ("/healthz", &"web.test".parse().unwrap())
                        );
                        let body =
                            StreamBody::new(futures::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::new()))]));
                        return Ok(http::Response::builder()
                            .status(now)
                            .body(http_body_util::Either::Left(body))
                            .unwrap());
                    }
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let trailers = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                    let frames = [
                        Ok::<_, Infallible>(Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 0x08, now as u8]))),
                        Ok(Frame::trailers(trailers)),
                    ];
                    let body = StreamBody::new(futures::stream::iter(frames));
                    Ok::<_, Infallible>(http::Response::new(http_body_util::Either::Right(body)))
                }
            });
            children.spawn("connection", async move {
                let io = TokioIo::new(stream);
                let served = match grpc {
                    true => {
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, serve).await
                    }
                    false => hyper::server::conn::http1::Builder::new().serve_connection(io, serve).await,
                };
                drop(served);
            });
        }
    });
    address
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn who_fails_the_check_is_not_chosen_until_it_passes_again() {
    let http = Probe::Http { host: Some("web.test".to_owned()), path: "/healthz".to_owned(), expect: vec![200..=299] };
    for (probe, well, ill) in [(http, 204, 500), (Probe::Grpc { service: "web".to_owned() }, 1, 2)] {
        let grpc = matches!(probe, Probe::Grpc { .. });
        let (ctx, _) = tasks::context_for_tests();
        let (one, other) = (Arc::new(AtomicU16::new(well)), Arc::new(AtomicU16::new(well)));
        let addresses = [server(&ctx, Arc::clone(&one), grpc).await, server(&ctx, Arc::clone(&other), grpc).await];
        let members = addresses.map(Member::new);
        let checker = Checker::new(ctx.children.clone());
        let name = Name { service: base::Key::new("shop", "web"), port: "http".to_owned() };
        let policy = Policy { health: Some(check_of(probe)), ..Policy::default() };
        let pool = Arc::new(Pool::new(name, policy, &members, Clock.now()));
        checker.watch(&pool, Clock);

        one.store(ill, Ordering::Relaxed);
        until("the ill one is left out", || pool.counts().available == 1).await;
        let picked = pool.pick(&crate::balance::Ask { now: Clock.now(), ..Default::default() }).unwrap();
        assert_eq!(picked.address(), addresses[1]);
        drop(picked);
        one.store(well, Ordering::Relaxed);
        until("it comes back", || pool.counts().available == 2).await;

        one.store(ill, Ordering::Relaxed);
        until("the ill one is left out", || pool.counts().available == 1).await;
        pool.configure(Policy::default(), Clock.now());
        assert_eq!(pool.counts().available, 2, "without a check everybody is well");
        until("the task ends", || !pool.checked.load(Ordering::Relaxed)).await;
    }
}

#[tokio::test]
async fn a_connection_is_enough_for_a_tcp_check_and_the_task_ends_with_the_pool() {
    let (ctx, _) = tasks::context_for_tests();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let seen = Arc::new(AtomicU32::new(0));
    let (address, counted) = (listener.local_addr().unwrap(), Arc::clone(&seen));
    ctx.children.spawn("server", async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let checker = Checker::new(ctx.children.clone());
    let name = Name { service: base::Key::new("shop", "web"), port: "http".to_owned() };
    let policy = Policy { health: Some(check_of(Probe::Tcp)), ..Policy::default() };
    let pool = Arc::new(Pool::new(name, policy, &[Member::new(address)], Clock.now()));
    checker.watch(&pool, Clock);
    until("it is asked again and again", || seen.load(Ordering::Relaxed) > 2).await;
    let weak = Arc::downgrade(&pool);
    drop(pool);
    until("the pool is gone", || weak.strong_count() == 0).await;
}
