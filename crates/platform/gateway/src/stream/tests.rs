//! Streams over sockets of the loopback address.

use super::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::balance::{Circuit, Member, Name, Policy, Pool};
use crate::clock::Clock;
use crate::proxy_protocol;
use relay::{Announce, Ends, Relay, Settings};

const PATIENCE: Duration = Duration::from_secs(30);

fn pool(policy: Policy, addresses: &[SocketAddr], clock: Clock) -> Arc<Pool> {
    let members: Vec<Member> = addresses.iter().copied().map(Member::new).collect();
    let name = Name { service: base::Key::new("shop", "db"), port: "sql".to_owned() };
    Arc::new(Pool::new(name, policy, &members, clock.now()))
}

/// A relay before endpoints.
struct Door {
    ctx: tasks::Context,
    relay: Relay,
    pool: Arc<Pool>,
    settings: Settings,
    _dead: Vec<TcpSocket>,
}

impl Door {
    /// Endpoints that do `what` with a connection, and `dead` that nobody listens on.
    async fn start<F>(settings: Settings, dead: usize, what: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (ctx, _) = tasks::context_for_tests();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut addresses = vec![listener.local_addr().unwrap()];
        let children = ctx.children.clone();
        ctx.children.spawn("endpoint", async move {
            while let Ok((stream, _)) = listener.accept().await {
                children.spawn("endpoint connection", what(stream));
            }
        });
        let held: Vec<TcpSocket> = (0..dead).map(|_| nobody()).collect();
        addresses.splice(0..0, held.iter().map(|socket| socket.local_addr().unwrap()));
        let clock = Clock;
        let relay = Relay { clock, figures: Arc::default() };
        Self { ctx, relay, pool: pool(Policy::default(), &addresses, clock), settings, _dead: held }
    }

    /// A client's connection, and how it will have ended.
    async fn connect(&self) -> (TcpStream, tokio::sync::oneshot::Receiver<End>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let ends = Ends { client: address, local: stream.local_addr().unwrap() };
        let (relay, pool, settings) = (self.relay.clone(), Arc::clone(&self.pool), self.settings);
        let (tell, told) = tokio::sync::oneshot::channel();
        self.ctx.children.spawn("stream", async move {
            let end = relay.run(stream, b"", ends, &pool, &settings).await;
            tell.send(end).expect("somebody listens");
        });
        (client, told)
    }
}

/// A port that is taken and not listened on.
fn nobody() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    socket
}

async fn ended(told: tokio::sync::oneshot::Receiver<End>) -> End {
    tokio::time::timeout(PATIENCE, told).await.expect("it ends").expect("it is told")
}

/// Answers with what it got, when all of it is there.
async fn whole(mut stream: TcpStream) {
    let mut got = Vec::new();
    stream.read_to_end(&mut got).await.unwrap();
    stream.write_all(&got).await.unwrap();
}

#[tokio::test]
async fn a_client_that_has_said_all_still_hears_the_answer() {
    let door = Door::start(Settings::default(), 0, whole).await;
    let (mut client, told) = door.connect().await;
    let much = vec![7; 3 << 20];
    client.write_all(&much).await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer == much, "{} bytes", answer.len());
    assert_eq!(ended(told).await, End::Closed);
    let figures = &door.relay.figures;
    let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
    assert_eq!((read(&figures.open), read(&figures.up), read(&figures.down)), (0, 3 << 20, 3 << 20));
    let mut text = String::new();
    figures.render(&mut text).unwrap();
    assert!(text.contains("knarr_gateway_streams_ended_total{reason=\"closed\"} 1\n"), "{text}");
    assert_eq!(door.pool.counts().connections, 0);
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_the_endpoint_from_writing() {
    let door =
        Door::start(Settings { idle: Duration::from_millis(200), ..Settings::default() }, 0, |mut stream| async move {
            while stream.write_all(&[7; 4096]).await.is_ok() {}
        })
        .await;
    let (client, told) = door.connect().await;
    assert_eq!(ended(told).await, End::Idle, "nothing moves any more");
    drop(client);
    assert!(door.relay.figures.down.load(Ordering::Relaxed) < 64 << 20, "not more than sockets buffer");
}

#[tokio::test]
async fn endpoints_that_are_dead_are_passed_over() {
    let door = Door::start(Settings::default(), 2, whole).await;
    for _ in 0..3 {
        let (mut client, told) = door.connect().await;
        client.write_all(b"x").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"x");
        assert_eq!(ended(told).await, End::Closed);
    }
    assert_eq!(door.pool.counts().available, 1, "and left alone from then on");
}

#[tokio::test]
async fn what_goes_wrong_has_a_name() {
    let idle = Settings { idle: Duration::from_millis(50), ..Settings::default() };
    let hangs = Door::start(idle, 0, |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let (client, told) = hangs.connect().await;
    assert_eq!(ended(told).await, End::Idle);
    drop(client);

    let resets = Door::start(Settings::default(), 0, |stream| async move {
        stream.set_zero_linger().unwrap();
    })
    .await;
    let (mut client, told) = resets.connect().await;
    drop(client.write_all(b"x").await);
    assert_eq!(ended(told).await, End::BackendGone);
    assert_eq!(resets.pool.counts().failures, 1);

    let (client, told) = hangs.connect().await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(ended(told).await, End::ClientGone);

    let clock = Clock;
    let held = nobody();
    let mut none = Door::start(Settings::default(), 0, whole).await;
    none.pool = pool(Policy::default(), &[held.local_addr().unwrap()], clock);
    let (_client, told) = none.connect().await;
    assert_eq!(ended(told).await, End::ConnectFailed);
    let circuit = Circuit { connections: 0, ..Circuit::default() };
    none.pool = pool(Policy { circuit, ..Policy::default() }, &[held.local_addr().unwrap()], clock);
    let (_client, told) = none.connect().await;
    assert_eq!(ended(told).await, End::Refused);
}

#[tokio::test]
async fn the_endpoint_is_told_the_client_when_that_is_asked_for() {
    for announce in [Announce::V1, Announce::V2] {
        let settings = Settings { announce: Some(announce), ..Settings::default() };
        let door = Door::start(settings, 0, |mut stream| async move {
            let said = proxy_protocol::read(&mut stream).await.unwrap();
            let proxy_protocol::Said::Proxied { source, .. } = said else { panic!("{said:?}") };
            stream.write_all(source.to_string().as_bytes()).await.unwrap();
        })
        .await;
        let (mut client, told) = door.connect().await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, client.local_addr().unwrap().to_string());
        drop(client);
        assert_eq!(ended(told).await, End::Closed);
    }
}

/// The two ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, far)
}

#[tokio::test]
async fn the_greeting_of_a_tls_client_is_read_in_parts_and_stays_where_it_is() {
    let bytes = hello::tests::real("web.test");
    let (mut near, mut far) = pair().await;
    far.set_nodelay(true).unwrap();
    let writing = async {
        for part in bytes.chunks(50) {
            far.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let (read, ()) = tokio::join!(relay::greeting(&near, PATIENCE), writing);
    assert_eq!(read.unwrap().name.as_deref(), Some("web.test"));
    let mut start = vec![0; bytes.len()];
    near.read_exact(&mut start).await.unwrap();
    assert_eq!(start, bytes);

    let (near, mut far) = pair().await;
    far.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(relay::greeting(&near, PATIENCE).await.unwrap_err(), "the client does not speak TLS");
    let (near, far) = pair().await;
    let late = relay::greeting(&near, Duration::from_millis(10)).await;
    assert_eq!(late.unwrap_err(), "the client did not greet in time");
    drop(far);
    assert_eq!(relay::greeting(&near, PATIENCE).await.unwrap_err(), "the client closed before it greeted");
}

/// An endpoint that answers each datagram with it and the number of its sender's port.
async fn echo(ctx: &tasks::Context) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    ctx.children.spawn("endpoint", async move {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = [&buffer[..length], format!(" {}", from.port()).as_bytes()].concat();
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    address
}

async fn datagrams(ctx: &tasks::Context, pool: &Arc<Pool>, settings: udp::Settings) -> (SocketAddr, Arc<Figures>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let figures = Arc::new(Figures::default());
    let (pool, counted, children) = (Arc::clone(pool), Arc::clone(&figures), ctx.children.clone());
    let close = ctx.stop.clone();
    ctx.children.spawn("datagrams", async move {
        udp::serve(socket, settings, counted, children, close, || Some(Arc::clone(&pool))).await;
    });
    (address, figures)
}

async fn client(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

/// Asks, again when a datagram is lost.
async fn ask(client: &UdpSocket, what: &str) -> String {
    let asking = async {
        let mut buffer = [0; 2048];
        loop {
            client.send(what.as_bytes()).await.unwrap();
            let answered = tokio::time::timeout(Duration::from_millis(500), client.recv(&mut buffer)).await;
            if let Ok(Ok(length)) = answered {
                return String::from_utf8_lossy(&buffer[..length]).into_owned();
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("an answer")
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn senders_of_datagrams_have_sessions_of_their_own() {
    let (ctx, _) = tasks::context_for_tests();
    let clock = Clock;
    let pool = pool(Policy::default(), &[echo(&ctx).await], clock);
    let settings = udp::Settings { idle: Duration::from_millis(300), ..udp::Settings::default() };
    let (address, figures) = datagrams(&ctx, &pool, settings).await;
    let (one, other) = (client(address).await, client(address).await);
    let (first, second) = (ask(&one, "a").await, ask(&other, "b").await);
    assert!(first.starts_with("a ") && second.starts_with("b "));
    assert_ne!(first[2..], second[2..], "each has a socket of its own");
    assert_eq!(pool.counts().connections, 2);
    until("idle sessions end", || figures.ended(End::Idle) == 2).await;
    until("and their places are free", || pool.counts().connections == 0).await;
    assert_eq!(figures.open.load(Ordering::Relaxed), 0);
    assert!(ask(&one, "c").await.starts_with("c "), "a new one begins");
    ctx.stop.cancel();
    until("all end with the socket", || pool.counts().connections == 0).await;
    UdpSocket::bind(address).await.expect("the port is free again");
}

#[tokio::test]
async fn new_senders_fall_when_there_are_as_many_sessions_as_may_be_and_known_ones_pass() {
    let (ctx, _) = tasks::context_for_tests();
    let clock = Clock;
    let pool = pool(Policy::default(), &[echo(&ctx).await], clock);
    let settings = udp::Settings { per_client: 1, ..udp::Settings::default() };
    let (address, figures) = datagrams(&ctx, &pool, settings).await;
    let (one, other) = (client(address).await, client(address).await);
    ask(&one, "a").await;
    other.send(b"b").await.unwrap();
    until("it falls", || figures.lost.load(Ordering::Relaxed) == 1).await;
    assert!(ask(&one, "c").await.starts_with("c "));
    assert_eq!(pool.counts().connections, 1);
}

#[tokio::test]
async fn an_endpoint_that_takes_no_datagrams_is_left_for_another() {
    let (ctx, _) = tasks::context_for_tests();
    let clock = Clock;
    let free = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let dead = free.local_addr().unwrap();
    drop(free);
    let pool = pool(Policy::default(), &[dead, echo(&ctx).await], clock);
    let (address, figures) = datagrams(&ctx, &pool, udp::Settings::default()).await;
    assert!(ask(&client(address).await, "a").await.starts_with("a "));
    assert_eq!(figures.ended(End::BackendGone), 1);
    assert_eq!(pool.counts().available, 1);
}
