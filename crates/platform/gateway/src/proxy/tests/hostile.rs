//! Requests that mean two things, or nothing: what one server reads as a body another could read as a request
//! (RFC 9112, 11.2). Whatever the answer is, the backend must hear nothing that a careful reader would not.

use super::*;

/// What must not be heard.
const SECOND: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// A request, and the statuses it may be answered with; an empty one is a connection that is closed without an answer.
struct Case(&'static str, String, &'static [&'static str]);

fn post(name: &'static str, headers: &str, body: &str, statuses: &'static [&'static str]) -> Case {
    Case(name, format!("POST /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}"), statuses)
}

fn line(name: &'static str, start: &str, statuses: &'static [&'static str]) -> Case {
    Case(name, format!("{start}\r\nHost: a\r\nConnection: close\r\n\r\n"), statuses)
}

fn framing() -> Vec<Case> {
    let chunked_end = format!("0\r\n\r\n{SECOND}");
    const BAD: &[&str] = &["400", ""];
    const EITHER: &[&str] = &["400", "200", "501", ""];
    vec![
        post("two lengths", "Content-Length: 0\r\nContent-Length: 40\r\n", SECOND, BAD),
        post("a list of lengths", "Content-Length: 0, 40\r\n", SECOND, BAD),
        post("a length with a sign", "Content-Length: +0\r\n", SECOND, BAD),
        post("a negative length", "Content-Length: -1\r\n", SECOND, BAD),
        post("a length in base 16", "Content-Length: 0x0\r\n", SECOND, BAD),
        post("a length too large for anything", "Content-Length: 99999999999999999999999\r\n", SECOND, BAD),
        post("no length that is one", "Content-Length: \r\n", SECOND, BAD),
        post("a coding that is none", "Transfer-Encoding: xchunked\r\n", &chunked_end, BAD),
        post("chunked and then more", "Transfer-Encoding: chunked, identity\r\n", &chunked_end, BAD),
        post("a space before the colon", "Transfer-Encoding : chunked\r\n", &chunked_end, BAD),
        post("a tab before the colon", "Transfer-Encoding\t: chunked\r\n", &chunked_end, BAD),
        post("a folded header", "X-A: b\r\n Transfer-Encoding: chunked\r\n", "", EITHER),
        post("NUL in a header", "X-A: b\0c\r\nContent-Length: 0\r\n", "", BAD),
        post("a bare carriage return", "X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n", "", BAD),
        post("no name of a header", ": chunked\r\nContent-Length: 0\r\n", "", BAD),
        post("a size that is none", "Transfer-Encoding: chunked\r\n", &format!("zz\r\n\r\n{SECOND}"), EITHER),
        post("a size with a sign", "Transfer-Encoding: chunked\r\n", &format!("-1\r\n\r\n{SECOND}"), EITHER),
        post("a size too large", "Transfer-Encoding: chunked\r\n", "fffffffffffffffffff\r\nx", EITHER),
        post(
            "a chunk without its end",
            "Transfer-Encoding: chunked\r\n",
            "1\r\nxGET /smuggled HTTP/1.1\r\n\r\n",
            EITHER,
        ),
        line("HTTP/0.9", "GET /x", BAD),
        line("two spaces", "GET  /x HTTP/1.1", EITHER),
        line("a version of the future in the old form", "GET /x HTTP/2.0", BAD),
        line("no method", " /x HTTP/1.1", BAD),
        line("a method that is none", "G\"T /x HTTP/1.1", BAD),
        line("a tunnel", "CONNECT a:80 HTTP/1.1", &["400", "404", "405", ""]),
        Case("two hosts", "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n".to_owned(), BAD),
        Case("a host with a user", "GET /x HTTP/1.1\r\nHost: a@b\r\nConnection: close\r\n\r\n".to_owned(), EITHER),
        Case("a host with a path", "GET /x HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n".to_owned(), BAD),
        Case("a host with a space", "GET /x HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n".to_owned(), BAD),
    ]
}

#[tokio::test]
async fn a_backend_hears_nothing_that_was_hidden_in_a_request() {
    let house = House::new();
    let backing = house.backing().await;
    house.serve(vec![rule("", to(backing.address, Protocol::Http))]);
    for Case(name, request, statuses) in framing() {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "{name}: no answer and no end");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let told = status(&answer).to_owned();
        assert!(statuses.contains(&told.as_str()), "{name}: {told:?} of {answer:?}");
        let heard = backing.heard.lock();
        let hidden = heard.iter().find(|heard| heard.target.contains("smuggled"));
        assert!(hidden.is_none(), "{name}: {hidden:?}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing() {
    let house = House::new();
    let backing = house.backing().await;
    house.serve(vec![rule("", to(backing.address, Protocol::Http))]);
    let both = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG";
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(both.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let heard: Vec<Heard> = backing.heard.lock().clone();
    // Either it is refused, or it has no body and no length for the backend, and the connection ends (RFC 9112, 6.1).
    for one in &heard {
        assert!(one.body.is_empty() && one.headers.get("content-length").is_none_or(|length| length == "0"), "{one:?}");
    }
    assert!(heard.len() <= 1, "{heard:?}");
}

#[tokio::test]
async fn what_only_the_next_hop_may_read_is_not_passed_on() {
    let house = House::new();
    let backing = house.backing().await;
    house.serve(vec![rule("", to(backing.address, Protocol::Http))]);
    let headers = "Connection: close, x-secret\r\nX-Secret: 1\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    let answer = house.send(&format!("GET /x HTTP/1.1\r\nHost: a\r\n{headers}\r\n")).await;
    assert_eq!(status(&answer), "200");
    let heard = backing.last();
    for name in ["x-secret", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!heard.headers.contains_key(name), "{name} was passed on: {heard:?}");
    }
    let takeover = house.send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, X-Forwarded-For\r\n\r\n").await;
    assert!(matches!(status(&takeover), "400" | "200"));
    assert!(backing.heard.lock().iter().all(|heard| heard.headers.contains_key("x-forwarded-for")));
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// GET / of http://a, without Huffman and without the table.
const HEAD: &[u8] = &[0x82, 0x86, 0x84, 0x01, 0x01, b'a'];

async fn h2(house: &House) -> TcpStream {
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

/// Writes until the other side has enough, then reads until it says so: true when the connection ended.
async fn flood(stream: TcpStream, mut next: impl FnMut(u32) -> Option<Vec<u8>> + Send + 'static) -> bool {
    let (mut read, mut write) = stream.into_split();
    let writing = async move {
        let mut turn = 0;
        while let Some(bytes) = next(turn) {
            turn += 1;
            if write.write_all(&bytes).await.is_err() {
                break;
            }
        }
        write
    };
    let reading = async move {
        let mut sink = vec![0; 64 << 10];
        while let Ok(count) = read.read(&mut sink).await {
            if count == 0 {
                break;
            }
        }
    };
    let both = async {
        tokio::pin!(reading);
        tokio::select! {
            () = &mut reading => {}
            write = writing => {
                reading.await;
                drop(write);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), both).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_are_reset_as_fast_as_they_are_made_end_their_connection() {
    let house = House::new();
    let backing = house.backing().await;
    house.serve(vec![rule("", to(backing.address, Protocol::Http))]);
    let stream = h2(&house).await;
    let ended = flood(stream, |turn| {
        let id = 2 * turn + 1;
        let mut both = frame(1, 0x5, id, HEAD);
        both.extend(frame(3, 0, id, &8u32.to_be_bytes()));
        (turn < 200_000).then_some(both)
    });
    assert!(ended.await, "the connection was still open after 200,000 resets");
    assert_eq!(status(&house.get("/after", "").await), "200");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_goes_on_for_ever_ends_its_connection() {
    let house = House::new();
    let backing = house.backing().await;
    house.serve(vec![rule("", to(backing.address, Protocol::Http))]);
    let stream = h2(&house).await;
    let mut piece = vec![0x00, 0x03, b'x', b'-', b'a', 0x7f, 0xe1, 0x1e];
    piece.extend(vec![b'b'; 4000]);
    let ended = flood(stream, move |turn| {
        let bytes = if turn == 0 { frame(1, 0x1, 1, HEAD) } else { frame(9, 0, 1, &piece) };
        (turn < 100_000).then_some(bytes)
    });
    assert!(ended.await, "the connection was still open after 400 MB of header");
    assert_eq!(status(&house.get("/after", "").await), "200");
}

#[tokio::test]
async fn a_header_over_its_bound_is_refused() {
    let house = House::new();
    let backing = house.backing().await;
    house.serve(vec![rule("", to(backing.address, Protocol::Http))]);
    let large = format!("X-A: {}\r\n", "b".repeat(70 << 10));
    let answer = house.get("/", &large).await;
    assert!(matches!(status(&answer), "431" | "400" | ""), "{}", status(&answer));
    let many: String = (0..2000).map(|at| format!("X-{at}: b\r\n")).collect();
    let answer = house.get("/", &many).await;
    assert!(matches!(status(&answer), "431" | "400" | ""), "{}", status(&answer));
    assert_eq!(backing.count(), 0);
}

#[tokio::test]
async fn a_backend_that_lies_about_its_length_spoils_no_other_answer() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    house.ctx.children.spawn("liar", async move {
        let lies: [&[u8]; 4] = [
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\nok",
            b"nonsense\r\n\r\n",
        ];
        for lie in lies.iter().cycle() {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = vec![0; 4096];
            drop(stream.read(&mut request).await);
            drop(stream.write_all(lie).await);
            drop(stream.shutdown().await);
        }
    });
    house.serve(vec![rule("", to(address, Protocol::Http))]);
    let first = house.get("/", "").await;
    assert!(status(&first) == "200" && first.ends_with("\r\n\r\nok"), "{first}");
    let second = house.get("/", "").await;
    assert!(
        !second.contains("evil") && !second.ends_with("\r\n0\r\n\r\n"),
        "what was cut short must not look whole: {second}"
    );
    for _ in 0..2 {
        let other = house.get("/", "").await;
        assert!(matches!(status(&other), "502"), "{other}");
    }
}
