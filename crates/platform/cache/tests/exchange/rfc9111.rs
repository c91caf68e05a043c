//! RFC 9111 and its neighbours as a table: what the origin says, who asks what, and who answers.

use knarr_cache::{Purge, What};

use crate::house::{Act, Heard, House, says};

/// One request of a row: method and fields, then the status, `X-Cache` and the body that are expected.
type Step = (&'static str, Fields, u16, &'static str, &'static str);

type Fields = &'static [(&'static str, &'static str)];

struct Row {
    name: &'static str,
    policy: &'static str,
    /// What the origin says to the first request, to the second, and so on; the last repeats.
    origin: &'static [(u16, Fields, &'static str)],
    steps: &'static [Step],
    /// How often the origin is asked.
    asked: usize,
}

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");
const STALE: (&str, &str) = ("Age", "100");
const TAG: (&str, &str) = ("ETag", "\"a\"");
const NONE: &[(&str, &str)] = &[];
const HIT: Step = ("GET", NONE, 200, "HIT", "one");
const MISS: Step = ("GET", NONE, 200, "MISS", "one");

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row { name: "fresh", policy: "{}", origin: &[(200, &[FRESH], "one")], steps: &[MISS, HIT, HIT], asked: 1 },
    Row { name: "s-maxage before max-age", policy: "{}", origin: &[(200, &[("Cache-Control", "s-maxage=60, max-age=0")], "one")], steps: &[MISS, HIT], asked: 1 },
    Row { name: "Expires", policy: "{}", origin: &[(200, &[("Expires", "Fri, 31 Dec 2100 00:00:00 GMT")], "one")], steps: &[MISS, HIT], asked: 1 },
    Row { name: "CDN-Cache-Control", policy: "{}", origin: &[(200, &[("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60")], "one")], steps: &[MISS, HIT], asked: 1 },
    Row { name: "nothing said", policy: "{}", origin: &[(200, NONE, "one")], steps: &[MISS, ("GET", NONE, 200, "BYPASS", "one")], asked: 2 },
    Row { name: "no-store", policy: "{}", origin: &[(200, &[("Cache-Control", "no-store")], "one")], steps: &[MISS, ("GET", NONE, 200, "BYPASS", "one")], asked: 2 },
    Row { name: "uncacheable becomes cacheable", policy: "{}", origin: &[(200, &[("Cache-Control", "no-store")], "x"), (200, &[FRESH], "one")], steps: &[("GET", NONE, 200, "MISS", "x"), ("GET", NONE, 200, "MISS", "one"), HIT], asked: 2 },
    Row { name: "private", policy: "{}", origin: &[(200, &[("Cache-Control", "private, max-age=60")], "one")], steps: &[MISS, ("GET", NONE, 200, "BYPASS", "one")], asked: 2 },
    Row { name: "cookie", policy: "{}", origin: &[(200, &[FRESH, ("Set-Cookie", "a=b")], "one")], steps: &[MISS, ("GET", NONE, 200, "BYPASS", "one")], asked: 2 },
    Row { name: "no-cache is validated each time", policy: "{}", origin: &[(200, &[("Cache-Control", "no-cache"), TAG], "one"), (304, &[TAG], "")],
        steps: &[MISS, ("GET", NONE, 200, "REVALIDATED", "one"), ("GET", NONE, 200, "REVALIDATED", "one")], asked: 3 },
    Row { name: "a 304 makes it fresh again", policy: "{}", origin: &[(200, &[FRESH, STALE, TAG], "one"), (304, &[FRESH, TAG], "")],
        steps: &[MISS, ("GET", NONE, 200, "REVALIDATED", "one"), HIT], asked: 2 },
    Row { name: "a new response in place of a stale one", policy: "{}", origin: &[(200, &[FRESH, STALE, TAG], "one"), (200, &[FRESH], "two")],
        steps: &[MISS, ("GET", NONE, 200, "MISS", "two"), ("GET", NONE, 200, "HIT", "two")], asked: 2 },
    Row { name: "no-cache of the request", policy: "{}", origin: &[(200, &[FRESH, TAG], "one"), (200, &[FRESH, TAG], "two")],
        steps: &[MISS, ("GET", &[("Cache-Control", "no-cache")], 200, "MISS", "two"), ("GET", NONE, 200, "HIT", "two")], asked: 2 },
    Row { name: "no-cache of the request, ignored", policy: r#"{"requestDirectives":"Ignore"}"#, origin: &[(200, &[FRESH], "one")],
        steps: &[MISS, ("GET", &[("Cache-Control", "no-cache")], 200, "HIT", "one")], asked: 1 },
    Row { name: "max-age of the request", policy: "{}", origin: &[(200, &[("Cache-Control", "max-age=600"), STALE], "one"), (200, &[FRESH], "two")],
        steps: &[MISS, ("GET", &[("Cache-Control", "max-age=200")], 200, "HIT", "one"), ("GET", &[("Cache-Control", "max-age=50")], 200, "MISS", "two")], asked: 2 },
    Row { name: "min-fresh", policy: "{}", origin: &[(200, &[FRESH], "one"), (200, &[FRESH], "two")],
        steps: &[MISS, ("GET", &[("Cache-Control", "min-fresh=30")], 200, "HIT", "one"), ("GET", &[("Cache-Control", "min-fresh=90")], 200, "MISS", "two")], asked: 2 },
    Row { name: "max-stale", policy: "{}", origin: &[(200, &[FRESH, STALE, TAG], "one"), (200, &[FRESH], "two")],
        steps: &[MISS, ("GET", &[("Cache-Control", "max-stale")], 200, "STALE", "one"), ("GET", &[("Cache-Control", "max-stale=10")], 200, "MISS", "two")], asked: 2 },
    Row { name: "max-stale against must-revalidate", policy: "{}", origin: &[(200, &[("Cache-Control", "max-age=60, must-revalidate"), STALE, TAG], "one"), (200, &[FRESH], "two")],
        steps: &[MISS, ("GET", &[("Cache-Control", "max-stale")], 200, "MISS", "two")], asked: 2 },
    Row { name: "only-if-cached", policy: "{}", origin: &[(200, &[FRESH], "one")],
        steps: &[("GET", &[("Cache-Control", "only-if-cached")], 504, "MISS", ""), MISS, ("GET", &[("Cache-Control", "only-if-cached")], 200, "HIT", "one")], asked: 1 },
    Row { name: "no-store of the request", policy: "{}", origin: &[(200, &[FRESH], "one")],
        steps: &[("GET", &[("Cache-Control", "no-store")], 200, "BYPASS", "one"), MISS], asked: 2 },
    Row { name: "Authorization", policy: "{}", origin: &[(200, &[FRESH], "one")],
        steps: &[("GET", &[("Authorization", "x")], 200, "MISS", "one"), MISS, HIT], asked: 2 },
    Row { name: "Authorization, but public", policy: "{}", origin: &[(200, &[("Cache-Control", "public, max-age=60")], "one")],
        steps: &[("GET", &[("Authorization", "x")], 200, "MISS", "one"), HIT], asked: 1 },
    Row { name: "HEAD from a GET", policy: "{}", origin: &[(200, &[FRESH], "one")], steps: &[MISS, ("HEAD", NONE, 200, "HIT", "")], asked: 1 },
    Row { name: "GET from a HEAD", policy: "{}", origin: &[(200, &[FRESH], "one")], steps: &[("HEAD", NONE, 200, "MISS", ""), HIT], asked: 1 },
    Row { name: "If-None-Match from the cache", policy: "{}", origin: &[(200, &[FRESH, TAG], "one")],
        steps: &[MISS, ("GET", &[("If-None-Match", "\"b\", W/\"a\"")], 304, "HIT", ""), ("GET", &[("If-None-Match", "\"b\"")], 200, "HIT", "one")], asked: 1 },
    Row { name: "If-Modified-Since from the cache", policy: "{}", origin: &[(200, &[FRESH, ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")], "one")],
        steps: &[MISS, ("GET", &[("If-Modified-Since", "Mon, 07 Nov 1994 08:49:37 GMT")], 304, "HIT", "")], asked: 1 },
    Row { name: "the first request is conditional", policy: "{}", origin: &[(200, &[FRESH, TAG], "one")],
        steps: &[("GET", &[("If-None-Match", "\"a\"")], 304, "MISS", ""), HIT], asked: 1 },
    Row { name: "If-Match is the origin's", policy: "{}", origin: &[(200, &[FRESH, TAG], "one")], steps: &[MISS, ("GET", &[("If-Match", "\"a\"")], 200, "BYPASS", "one")], asked: 2 },
    Row { name: "ranges of what is stored", policy: "{}", origin: &[(200, &[FRESH, TAG], "0123456789")],
        steps: &[("GET", NONE, 200, "MISS", "0123456789"), ("GET", &[("Range", "bytes=2-4")], 206, "HIT", "234"), ("GET", &[("Range", "bytes=-2")], 206, "HIT", "89"),
            ("GET", &[("Range", "bytes=20-")], 416, "HIT", ""), ("GET", &[("Range", "bytes=2-4"), ("If-Range", "\"a\"")], 206, "HIT", "234"),
            ("GET", &[("Range", "bytes=2-4"), ("If-Range", "\"b\"")], 200, "HIT", "0123456789"), ("GET", &[("Range", "lines=1-2")], 200, "HIT", "0123456789")], asked: 1 },
    Row { name: "a range fetches all", policy: "{}", origin: &[(200, &[FRESH], "0123456789")],
        steps: &[("GET", &[("Range", "bytes=2-4")], 206, "MISS", "234"), ("GET", NONE, 200, "HIT", "0123456789")], asked: 1 },
    Row { name: "a part is not stored", policy: "{}", origin: &[(206, &[FRESH, ("Content-Range", "bytes 0-2/9")], "one")], steps: &[("GET", NONE, 206, "MISS", "one"), ("GET", NONE, 206, "BYPASS", "one")], asked: 2 },
    Row { name: "not found", policy: r#"{"defaultTtl":[{"statuses":["404"],"ttl":"1m"}]}"#, origin: &[(404, NONE, "one")], steps: &[("GET", NONE, 404, "MISS", "one"), ("GET", NONE, 404, "HIT", "one")], asked: 1 },
    Row { name: "stale if the origin fails", policy: "{}", origin: &[(200, &[("Cache-Control", "max-age=60, stale-if-error=600"), STALE], "one"), (503, NONE, "sorry")],
        steps: &[MISS, ("GET", NONE, 200, "STALE", "one"), ("GET", NONE, 200, "STALE", "one")], asked: 3 },
    Row { name: "a failure that is no excuse", policy: "{}", origin: &[(200, &[("Cache-Control", "max-age=60, stale-if-error=600"), STALE], "one"), (501, NONE, "sorry")],
        steps: &[MISS, ("GET", NONE, 501, "MISS", "sorry")], asked: 2 },
    Row { name: "not stale when it must not be", policy: r#"{"staleIfError":"1h"}"#, origin: &[(200, &[("Cache-Control", "max-age=60, must-revalidate"), STALE, TAG], "one"), (503, NONE, "sorry")],
        steps: &[MISS, ("GET", NONE, 503, "MISS", "sorry")], asked: 2 },
    Row { name: "POST forgets", policy: "{}", origin: &[(200, &[FRESH], "one"), (200, NONE, "done"), (200, &[FRESH], "two")],
        steps: &[MISS, HIT, ("POST", NONE, 200, "BYPASS", "done"), ("GET", NONE, 200, "MISS", "two")], asked: 3 },
    Row { name: "a POST that fails forgets nothing", policy: "{}", origin: &[(200, &[FRESH], "one"), (403, NONE, "no")],
        steps: &[MISS, ("POST", NONE, 403, "BYPASS", "no"), HIT], asked: 2 },
    Row { name: "bypass by cookie", policy: r#"{"bypass":{"cookies":["session"]}}"#, origin: &[(200, &[FRESH], "one")],
        steps: &[MISS, ("GET", &[("Cookie", "a=1; session=2")], 200, "BYPASS", "one"), HIT], asked: 2 },
    Row { name: "min uses", policy: r#"{"minUses":2}"#, origin: &[(200, &[FRESH], "one")], steps: &[MISS, MISS, HIT], asked: 2 },
    Row { name: "too large", policy: r#"{"maxObjectSize":"2"}"#, origin: &[(200, &[FRESH], "one")], steps: &[MISS, ("GET", NONE, 200, "BYPASS", "one")], asked: 2 },
    Row { name: "a header in the key", policy: r#"{"key":{"headers":["X-Lang"]}}"#, origin: &[(200, &[FRESH], "one"), (200, &[FRESH], "two")],
        steps: &[MISS, ("GET", &[("X-Lang", "de")], 200, "MISS", "two"), HIT, ("GET", &[("X-Lang", "de")], 200, "HIT", "two")], asked: 2 },
    Row { name: "Vary", policy: "{}", origin: &[(200, &[FRESH, ("Vary", "X-Lang")], "one"), (200, &[FRESH, ("Vary", "X-Lang")], "two")],
        steps: &[MISS, ("GET", &[("X-Lang", "de")], 200, "MISS", "two"), HIT, ("GET", &[("X-Lang", "de")], 200, "HIT", "two")], asked: 2 },
    Row { name: "Vary: *", policy: "{}", origin: &[(200, &[FRESH, ("Vary", "*")], "one")], steps: &[MISS, ("GET", NONE, 200, "BYPASS", "one")], asked: 2 },
    Row { name: "the cache may be hidden", policy: r#"{"show":"Nothing"}"#, origin: &[(200, &[FRESH], "one")], steps: &[("GET", NONE, 200, "none", "one"), ("GET", NONE, 200, "none", "one")], asked: 1 },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let house = House::new(serde_json::from_str(row.policy).expect("as in this test")).await;
        house.script(|_, count| {
            let (status, fields, body) = row.origin[(count - 1).min(row.origin.len() - 1)];
            says(status, fields, body)
        });
        for (at, (method, fields, status, cache, body)) in row.steps.iter().enumerate() {
            let answer = house.ask(method, "/a?b=1", fields).await;
            if (answer.status, answer.cache(), answer.text()) != (*status, *cache, *body) || !answer.whole {
                wrong.push(format!("{}, step {at}: {} {:?}", row.name, answer.head, answer.text()));
            }
            if method != &"HEAD" && *status == 200 && answer.field("age").is_none() && *cache == "HIT" {
                wrong.push(format!("{}, step {at}: no Age", row.name));
            }
        }
        if house.asked() != row.asked {
            wrong.push(format!("{}: the origin was asked {} times, not {}", row.name, house.asked(), row.asked));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn validation_carries_the_validators_and_the_304_its_fields() {
    let house = House::new(serde_json::json!({})).await;
    house.script(|heard, count| match count {
        1 => says(
            200,
            &[FRESH, STALE, TAG, ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"), ("X-Number", "1")],
            "one",
        ),
        _ => {
            assert_eq!(heard.field("if-none-match"), Some("\"a\""));
            assert_eq!(heard.field("if-modified-since"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
            says(304, &[FRESH, TAG, ("X-Number", "2"), ("Age", "7")], "")
        }
    });
    house.get("/", &[]).await;
    let answer = house.get("/", &[("If-None-Match", "\"mine\"")]).await;
    assert_eq!((answer.status, answer.text(), answer.field("x-number")), (200, "one", Some("2")));
    assert_eq!(answer.field("age"), Some("7"));
    assert!(
        answer.field("cache-status").expect("as in this test").starts_with("knarr; fwd=stale; fwd-status=304"),
        "{}",
        answer.head
    );
    let answer = house.get("/", &[]).await;
    assert_eq!((answer.cache(), answer.field("x-number")), ("HIT", Some("2")));
    assert!(answer.field("cache-status").expect("as in this test").starts_with("knarr; hit; ttl=5"), "{}", answer.head);
    assert_eq!(house.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_while_revalidate_answers_at_once_and_fetches_behind() {
    let house = House::new(serde_json::json!({})).await;
    house.script(|_, count| match count {
        1 => says(200, &[("Cache-Control", "max-age=60, stale-while-revalidate=600"), STALE], "one"),
        _ => says(200, &[FRESH], "two"),
    });
    assert_eq!(house.get("/", &[]).await.cache(), "MISS");
    let answer = house.get("/", &[("Cache-Control", "max-stale=0")]).await;
    assert_eq!((answer.cache(), answer.text()), ("STALE", "one"));
    house.heard(2).await;
    house.until(|stats| stats.background == 1 && stats.stored == 2).await;
    let answer = house.get("/", &[]).await;
    assert_eq!((answer.cache(), answer.text(), house.asked()), ("HIT", "two", 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_in_the_key_does_not_reach_the_origin() {
    let house = House::new(serde_json::json!({ "key": { "query": { "include": ["page"] } } })).await;
    house.script(|heard, _| says(200, &[FRESH], &heard.line));
    let poison = [
        ("X-Forwarded-Host", "evil.test"),
        ("X-Original-URL", "/admin"),
        ("X-Forwarded-Scheme", "http"),
        ("Forwarded", "host=evil.test"),
    ];
    let answer = house.get("/list?utm=x&page=2", &poison).await;
    assert_eq!(answer.text(), "GET /list?page=2 HTTP/1.1");
    let heard = house.last();
    for (name, _) in poison {
        assert_eq!(heard.field(name), None, "{}", heard.head);
    }
    assert_eq!(house.get("/list?page=2&utm=y", &[]).await.cache(), "HIT");
    assert_eq!(house.get("/list?page=2", &[("Host", "SITE.test:80")]).await.cache(), "HIT");
    assert_eq!(house.get("/list?page=2", &[("Host", "other.test")]).await.cache(), "MISS");
    assert_eq!(house.get("/LIST?page=2", &[]).await.cache(), "MISS");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn purges_by_url_prefix_and_tag_hard_and_soft() {
    let house = House::new(serde_json::json!({ "staleWhileRevalidate": "1h" })).await;
    house.script(|heard, _| {
        let tags = if heard.line.contains("/a") { "letters a" } else { "letters,b" };
        says(200, &[FRESH, ("Cache-Tag", tags), TAG], "x")
    });
    let fill = || async {
        for path in ["/a/1", "/a/2?q", "/b/1"] {
            let answer = house.get(path, &[]).await;
            assert_eq!(answer.field("cache-tag"), None, "tags are not for clients");
        }
    };
    let cached =
        |path: &'static str| async { house.get(path, &[("Cache-Control", "only-if-cached")]).await.status == 200 };
    let purge = |what: What| async { house.cache.purge(&Purge { what, soft: false }).await.expect("as in this test") };
    fill().await;
    assert_eq!(purge(What::Url("http://SITE.test/a/2?q".to_owned())).await, 1);
    assert!(cached("/a/1").await && !cached("/a/2?q").await);
    fill().await;
    assert_eq!(purge(What::Prefix("http://site.test/a/".to_owned())).await, 2);
    assert!(!cached("/a/1").await && cached("/b/1").await);
    fill().await;
    assert_eq!(purge(What::Tag("a".to_owned())).await, 2);
    assert_eq!(purge(What::Tag("letters".to_owned())).await, 1);
    fill().await;
    assert_eq!(purge(What::All).await, 3);
    fill().await;
    let soft = Purge { what: What::Tag("letters".to_owned()), soft: true };
    assert_eq!(house.cache.purge(&soft).await.expect("as in this test"), 3);
    assert_eq!(house.get("/b/1", &[]).await.cache(), "STALE");
    assert_eq!(house.cache.stats().purged, 1 + 2 + 2 + 1 + 3 + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_ask_the_origin_once() {
    let house = std::sync::Arc::new(House::new(serde_json::json!({})).await);
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let wait = std::sync::Arc::clone(&go);
    house.script(move |_: &Heard, _| {
        let mut acts = vec![Act::Wait(std::sync::Arc::clone(&wait))];
        acts.extend(says(200, &[FRESH], "one"));
        acts
    });
    let asking = futures::future::join_all((0..100).map(|_| house.get("/", &[])));
    let releasing = async {
        house.heard(1).await;
        go.notify_one();
    };
    let (answers, ()) = futures::join!(asking, releasing);
    assert!(answers.iter().all(|answer| answer.whole && answer.text() == "one"));
    assert_eq!(house.asked(), 1);
    let waited = answers
        .iter()
        .filter(|answer| answer.field("cache-status").expect("as in this test").contains("collapsed"))
        .count() as u64;
    assert_eq!(house.cache.stats().lock_waits, waited);
    assert_eq!(house.cache.stats().hits, 99);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_asks_the_origin_itself() {
    let house = House::new(serde_json::json!({ "lockTimeout": "50ms" })).await;
    let go = std::sync::Arc::new(tokio::sync::Notify::new());
    let wait = std::sync::Arc::clone(&go);
    house.script(move |_, count| {
        let mut acts = if count == 1 { vec![Act::Wait(std::sync::Arc::clone(&wait))] } else { Vec::new() };
        acts.extend(says(200, &[FRESH], "one"));
        acts
    });
    let first = house.get("/", &[]);
    let second = async {
        house.heard(1).await;
        let answer = house.get("/", &[]).await;
        go.notify_one();
        answer
    };
    let (first, second) = futures::join!(first, second);
    assert_eq!((first.text(), second.text(), house.asked()), ("one", "one", 2));
}
