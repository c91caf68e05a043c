//! Against a server of the tests' own, which answers requests in order and writes them down.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use futures::StreamExt as _;
use http::{Request, Response};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// What the server says to one request: a status, and the frames of the body; without any, the body never ends.
type Answer = (u16, Vec<Bytes>);

struct Server {
    asked: Arc<Mutex<Vec<String>>>,
    client: Client,
}

impl Server {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            heard.lock().push(request.uri().to_string());
            let answer = answers.lock().pop_front();
            async move {
                let Some((status, frames)) = answer else { return std::future::pending().await };
                let silent = frames.is_empty();
                let frames = frames.into_iter().map(|frame| Ok::<_, Infallible>(http_body::Frame::data(frame)));
                let frames = futures::stream::iter(frames);
                let body = http_body_util::StreamBody::new(if silent {
                    futures::stream::pending().right_stream()
                } else {
                    frames.left_stream()
                });
                Ok::<_, Infallible>(Response::builder().status(status).body(body).expect("a response"))
            }
        });
        Self { asked, client: Client::new(service, "default") }
    }

    fn follow(&self) -> Follow<ConfigMap> {
        let config = Config::default().labels("app=web");
        Follow::of(kube::Api::namespaced(self.client.clone(), "one"), config)
    }

    fn asked(&self) -> Vec<String> {
        let short = |uri: &String| uri.replace("/api/v1/namespaces/one/configmaps?&labelSelector=app%3Dweb", "");
        self.asked.lock().iter().map(short).collect()
    }
}

fn object(name: &str, version: u32) -> Value {
    json!({ "metadata": { "name": name, "namespace": "one", "resourceVersion": version.to_string() } })
}

fn list(version: u32, token: &str, items: &[Value]) -> Answer {
    let metadata = json!({ "resourceVersion": version.to_string(), "continue": token });
    let list = json!({ "apiVersion": "v1", "kind": "ConfigMapList", "metadata": metadata, "items": items });
    (200, vec![list.to_string().into()])
}

fn line(change: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": change, "object": object }))
}

fn gone() -> Value {
    json!({ "kind": "Status", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410 })
}

/// The next `count` events, told shortly.
async fn told(follow: &mut Follow<ConfigMap>, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..count {
        let of = |word: &str, object: &ConfigMap| {
            format!("{word} {}@{}", object.name_any(), object.resource_version().unwrap_or_default())
        };
        told.push(match follow.next().await {
            Event::Init => "init".to_owned(),
            Event::InitApply(object) => of("has", &object),
            Event::InitDone => "done".to_owned(),
            Event::Apply(object) => of("put", &object),
            Event::Delete(object) => of("del", &object),
        });
    }
    told
}

#[tokio::test(start_paused = true)]
async fn pages_are_read_then_changes_from_the_version_of_the_list() {
    let events = line("ADDED", &object("c", 8)) + &line("DELETED", &object("a", 9));
    let server = Server::new([
        list(7, "more", &[object("a", 3), object("b", 4)]),
        list(7, "", &[object("bb", 5)]),
        (200, vec![events.into()]),
    ]);
    let events = told(&mut server.follow(), 7).await;
    assert_eq!(events, ["init", "has a@3", "has b@4", "has bb@5", "done", "put c@8", "del a@9"]);
    let asked = server.asked();
    assert_eq!(asked[0], "&limit=500");
    assert_eq!(asked[1], "&limit=500&continue=more");
    assert!(asked[2].contains("watch=true") && asked[2].contains("resourceVersion=7"), "{}", asked[2]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_goes_on_where_it_was_and_a_cut_line_is_told_again() {
    let (first, second) = (line("ADDED", &object("a", 8)), line("MODIFIED", &object("a", 9)));
    let bookmark = json!({ "kind": "ConfigMap", "apiVersion": "v1", "metadata": { "resourceVersion": "12" } });
    let server = Server::new([
        list(7, "", &[]),
        (200, vec![first.into(), second[..20].to_owned().into()]),
        (200, vec![second.into(), line("BOOKMARK", &bookmark).into()]),
    ]);
    let mut follow = server.follow();
    assert_eq!(told(&mut follow, 4).await, ["init", "done", "put a@8", "put a@9"]);
    assert!(tokio::time::timeout(Duration::from_secs(1), follow.next()).await.is_err(), "no more is told");
    let from: Vec<_> = server.asked()[1..].iter().map(|uri| uri.rsplit('=').next().unwrap_or("").to_owned()).collect();
    assert_eq!(from, ["7", "8", "12"]);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_lists_again() {
    for answer in [(200, vec![line("ERROR", &gone()).into()]), (410, vec![gone().to_string().into()])] {
        let server = Server::new([list(7, "", &[]), answer, list(30, "", &[object("z", 20)])]);
        assert_eq!(told(&mut server.follow(), 5).await, ["init", "done", "init", "has z@20", "done"]);
    }
}

#[tokio::test(start_paused = true)]
async fn faults_wait_and_keep_what_is_known() {
    let busy = json!({ "kind": "Status", "message": "busy", "code": 503 }).to_string();
    let begun = Instant::now();
    let server = Server::new([
        (503, vec![busy.clone().into()]),
        list(7, "", &[object("a", 3)]),
        (503, vec![busy.into()]),
        (200, vec![line("ADDED", &object("b", 8)).into()]),
    ]);
    assert_eq!(told(&mut server.follow(), 5).await, ["init", "init", "has a@3", "done", "put b@8"]);
    assert!(begun.elapsed() >= 2 * FIRST_WAIT);
    let asked = server.asked();
    assert!(asked[3].ends_with("resourceVersion=7"), "{}", asked[3]);
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_is_noticed() {
    let server = Server::new([list(7, "", &[]), (200, vec![]), (200, vec![line("ADDED", &object("a", 8)).into()])]);
    let begun = Instant::now();
    assert_eq!(told(&mut server.follow(), 3).await, ["init", "done", "put a@8"]);
    assert!(begun.elapsed() >= Duration::from_secs(LASTS.into()) + GRACE);
}

#[tokio::test(start_paused = true)]
async fn metadata_is_asked_for_as_such() {
    let metadata = json!({ "metadata": { "resourceVersion": "7" }, "items": [object("a", 3)] });
    let server = Server::new([(200, vec![metadata.to_string().into()])]);
    type Partial = kube::core::PartialObjectMeta<ConfigMap>;
    let mut follow =
        Follow::<Partial>::new(server.client.clone(), "/api/v1/configmaps", Config::default(), Form::Metadata);
    assert!(matches!(follow.next().await, Event::Init));
    assert!(matches!(follow.next().await, Event::InitApply(object) if object.name_any() == "a"));
}

proptest! {
    #[test]
    fn lines_are_the_same_however_they_are_cut(
        texts in proptest::collection::vec("[a-z]{0,9}", 0..6),
        cuts in proptest::collection::vec(0_usize..60, 0..6),
    ) {
        let whole: String = texts.iter().map(|text| format!("{text}\n")).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(whole.len())).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        let frames = cuts.windows(2).map(|cut| whole[cut[0]..cut[1]].to_owned()).collect::<Vec<_>>();
        let frames = frames.into_iter().map(|frame| Ok::<_, Infallible>(http_body::Frame::data(Bytes::from(frame))));
        let body = http_body_util::StreamBody::new(futures::stream::iter(frames));
        let mut lines = Lines::new(body);
        let mut read = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            while let Some(line) = lines.next().await.expect("no fault") {
                read.push(String::from_utf8(line.to_vec()).expect("text"));
            }
        });
        let expected: Vec<String> = texts.iter().map(|text| format!("{text}\n")).collect();
        prop_assert_eq!(read, expected);
    }
}
