//! Origins that hang up, lie and come too late: nothing partial is ever served as whole.

use std::sync::Arc;

use knarr_cache::{Purge, What};
use tokio::sync::Notify;

use crate::house::{Act, House, says};

const FRESH: (&str, &str) = ("Cache-Control", "max-age=60");

/// What the origin sends before it hangs up.
async fn broken(sent: &'static str) -> House {
    let house = House::new(serde_json::json!({})).await;
    house.script(
        move |_, count| {
            if count == 1 { vec![Act::Send(sent.as_bytes().to_vec())] } else { says(200, &[FRESH], "whole") }
        },
    );
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_that_breaks_off_is_not_stored() {
    for sent in [
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 100\r\n\r\npartial",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\nff\r\npartial",
    ] {
        let house = broken(sent).await;
        let first = house.get("/", &[]).await;
        assert!(!first.whole, "{sent:?} was passed on as whole: {first:?}");
        let second = house.get("/", &[]).await;
        assert_eq!((second.cache(), second.text(), second.whole), ("MISS", "whole", true), "{sent:?}");
        assert_eq!(house.get("/", &[]).await.cache(), "HIT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_whose_end_cannot_be_told_is_passed_on_and_not_stored() {
    let house = broken("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\nwho knows").await;
    assert_eq!(house.get("/", &[]).await.text(), "who knows");
    assert_eq!(house.get("/", &[]).await.text(), "whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_was_said_is_not_stored() {
    let house = broken(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 3\r\nConnection: close\r\n\r\none and more",
    )
    .await;
    assert_eq!(house.get("/", &[]).await.text(), "one");
    let second = house.get("/", &[]).await;
    assert!(matches!((second.cache(), second.text()), ("HIT", "one") | ("MISS", "whole")), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_response_is_stored_with_its_length() {
    let house = broken("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\n two\r\n0\r\n\r\n").await;
    assert_eq!(house.get("/", &[]).await.text(), "one two");
    let second = house.get("/", &[]).await;
    assert_eq!((second.cache(), second.text(), second.field("content-length")), ("HIT", "one two", Some("7")));
    let part = house.get("/", &[("Range", "bytes=4-")]).await;
    assert_eq!((part.status, part.text()), (206, "two"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_much_without_a_length_reaches_the_client_and_is_not_stored() {
    let house = House::new(serde_json::json!({ "maxObjectSize": "10" })).await;
    house.script(|_, _| {
        let mut body = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        (0..100).for_each(|_| body.extend_from_slice(b"8\r\n12345678\r\n"));
        body.extend_from_slice(b"0\r\n\r\n");
        vec![Act::Send(body)]
    });
    for _ in 0..3 {
        let answer = house.get("/", &[]).await;
        assert!(answer.whole && answer.body.len() == 800, "{answer:?}");
        assert_ne!(answer.cache(), "HIT");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_from_before_a_purge_is_not_stored_after_it() {
    let house = House::new(serde_json::json!({})).await;
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    house.script(move |_, count| {
        let mut acts = says(200, &[FRESH], if count == 1 { "old" } else { "new" });
        if count == 1 {
            acts.insert(0, Act::Wait(Arc::clone(&wait)));
        }
        acts
    });
    let first = house.get("/", &[]);
    let purging = async {
        house.heard(1).await;
        let what = What::Url("http://site.test/".to_owned());
        assert_eq!(house.cache.purge(&Purge { what, soft: false }).await, Ok(0));
        go.notify_one();
    };
    let (first, ()) = futures::join!(first, purging);
    assert_eq!(first.text(), "old");
    let second = house.get("/", &[]).await;
    assert_eq!((second.cache(), second.text()), ("MISS", "new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_is_not_left_behind_by_a_fetch_that_fails() {
    let house = Arc::new(House::new(serde_json::json!({})).await);
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    house.script(move |_, count| match count {
        1 => vec![
            Act::Wait(Arc::clone(&wait)),
            Act::Send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\n\r\nbro".to_vec()),
        ],
        _ => says(200, &[FRESH], "whole"),
    });
    let asking = futures::future::join_all((0..10).map(|_| house.get("/", &[])));
    let releasing = async {
        house.heard(1).await;
        go.notify_one();
    };
    let (answers, ()) = futures::join!(asking, releasing);
    let whole = answers.iter().filter(|answer| answer.whole && answer.text() == "whole").count();
    assert_eq!(whole, 9, "{answers:#?}");
}
