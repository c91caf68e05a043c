use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

/// The texts of one zone, by name.
type Texts = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

fn key() -> TsigKey {
    TsigKey { name: "update-key".to_owned(), algorithm: Algorithm::Sha256, secret: b"0123456789abcdef".to_vec() }
}

fn name_at(message: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..at + 1 + length].to_vec()).unwrap());
        at += 1 + length;
    }
    (labels.join("."), at + 1)
}

fn number(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([message[at], message[at + 1]])
}

/// Answers as a primary server of `example.com` does, which takes only updates that are signed with the key.
fn answer(message: &[u8], texts: &Texts) -> Vec<u8> {
    let id = number(message, 0);
    let (name, end) = name_at(message, 12);
    let kind = number(message, end);
    if message[2] >> 3 & 0xF == 5 {
        assert_eq!((name.as_str(), kind), ("example.com", SOA), "the zone section names the zone");
        let (record, at) = name_at(message, end + 4);
        let (class, length) = (number(message, at + 2), usize::from(number(message, at + 8)));
        let text = String::from_utf8(message[at + 11..at + 10 + length].to_vec()).unwrap();
        let signature = at + 10 + length;
        if !is_signed(message, signature) {
            return header(id, 0x8000 | 5 << 11 | 9, [0; 4]); // NOTAUTH
        }
        let mut texts = texts.lock();
        let all = texts.entry(record).or_default();
        match class {
            IN => all.push(text),
            NONE => all.retain(|one| *one != text),
            other => panic!("class {other}"),
        }
        return header(id, 0x8000 | 5 << 11, [0; 4]);
    }
    let found = texts.lock().get(&name).cloned().unwrap_or_default();
    let (count, authorities) = match kind {
        TXT => (found.len(), 0),
        _ => (0, usize::from(name.ends_with("example.com"))),
    };
    let small = |count: usize| u16::try_from(count).unwrap();
    let mut out = header(id, 0x8400, [1, small(count), small(authorities), 0]);
    out.extend(&message[12..end + 4]);
    for text in found.iter().take(count) {
        out.extend(encode(&name).unwrap());
        out.extend([TXT, IN, 0, 60, small(text.len() + 1)].into_iter().flat_map(u16::to_be_bytes));
        out.push(u8::try_from(text.len()).unwrap());
        out.extend(text.as_bytes());
    }
    if authorities == 1 {
        let data = [encode("ns.example.com").unwrap(), encode("admin.example.com").unwrap(), vec![0; 20]].concat();
        out.extend(encode("example.com").unwrap());
        out.extend([SOA, IN, 0, 60, small(data.len())].into_iter().flat_map(u16::to_be_bytes));
        out.extend(data);
    }
    out
}

/// Checks the TSIG record at `at` (RFC 8945, 5.2).
fn is_signed(message: &[u8], at: usize) -> bool {
    if at >= message.len() {
        return false;
    }
    let key = key();
    let (name, next) = name_at(message, at);
    assert_eq!((name.as_str(), number(message, next), number(message, next + 2)), ("update-key", TSIG, ANY));
    let (algorithm, data) = name_at(message, next + 10);
    assert_eq!(algorithm, "hmac-sha256");
    let mac = &message[data + 10..data + 10 + usize::from(number(message, data + 8))];
    let mut bare = message[..at].to_vec();
    bare[11] -= 1;
    bare.extend(encode("update-key").unwrap());
    bare.extend([0, 255, 0, 0, 0, 0]);
    bare.extend(encode("hmac-sha256").unwrap());
    bare.extend(&message[data..data + 8]);
    bare.extend([0; 4]);
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key.secret), &bare, mac).is_ok()
}

async fn server(texts: Texts, context: &tasks::Context) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    context.children.spawn("name server", async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            socket.send_to(&answer(&buffer[..length], &texts), from).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn a_record_is_added_found_and_deleted_by_signed_updates() {
    let (context, _) = tasks::context_for_tests();
    let texts_there = Texts::default();
    let address = server(Arc::clone(&texts_there), &context).await;
    let (at, name) = (address.to_string(), "_acme-challenge.www.Example.com");
    let seconds = 1_800_000_000;
    update(&at, Some(&key()), name, "one", true, seconds).await.unwrap();
    update(&at, Some(&key()), name, "two", true, seconds).await.unwrap();
    assert_eq!(texts(&[address], name).await.unwrap(), ["one", "two"]);
    update(&at, Some(&key()), name, "one", false, seconds).await.unwrap();
    assert_eq!(texts(&[address], name).await.unwrap(), ["two"]);
    context.stop.cancel();
}

#[tokio::test]
async fn who_does_not_sign_or_asks_for_another_zone_is_told() {
    let (context, _) = tasks::context_for_tests();
    let address = server(Texts::default(), &context).await;
    let at = address.to_string();
    let unsigned = update(&at, None, "_acme-challenge.example.com", "x", true, 1).await.unwrap_err();
    assert!(matches!(unsigned, Error::Refused { code: ResponseCode::NotAuth, .. }), "{unsigned}");
    let wrong = TsigKey { secret: b"other".to_vec(), ..key() };
    assert!(update(&at, Some(&wrong), "_acme-challenge.example.com", "x", true, 1).await.is_err());
    let elsewhere = update(&at, Some(&key()), "_acme-challenge.example.org", "x", true, 1).await.unwrap_err();
    assert!(matches!(elsewhere, Error::NoZone(_)), "{elsewhere}");
    assert!(matches!(encode("a..b"), Err(Error::Name(_))));
    assert!(matches!(encode(&"a.".repeat(200)), Err(Error::Name(_))));
    context.stop.cancel();
}
