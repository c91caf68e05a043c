//! The engines of traffic at their places: through sockets, with policies as they are written.

use super::*;
use serde_json::{Value, json};

use crate::policy::TrafficPolicySpec;
use crate::policy::compile::{Compiled, ServiceSettings, Settle, compile};

fn compiled(kind: &str, mut spec: Value) -> Compiled {
    spec["targetRefs"] = json!([{ "kind": kind, "name": "web" }]);
    let spec: TrafficPolicySpec = serde_json::from_value(spec).expect("a policy");
    compile(&spec, &|set| Err(format!("no set {}", set.name))).expect("no fault")
}

/// A rule under a policy.
fn under(spec: Value, mut rule: Rule) -> Rule {
    let settings = compiled("HTTPRoute", spec).route.expect("for requests");
    rule.traffic = Settle::new(vec![settings]);
    rule
}

/// Endpoints under a policy.
fn used(spec: Value, addresses: Vec<SocketAddr>) -> (Arc<Endpoints>, Target) {
    let settings: Arc<ServiceSettings> = compiled("Service", spec).service.expect("for services");
    let endpoints = Endpoints::new(Key::new("default", "web"), Port::Number(80), Transport::Tcp, addresses);
    endpoints.configure(&settings);
    let endpoints = Arc::new(endpoints);
    let backend = Backend { endpoints: Arc::clone(&endpoints), protocol: Protocol::Http };
    (endpoints, Target::Backend(Arc::new(backend)))
}

fn body(answer: &str) -> &str {
    answer.rsplit("\r\n").next().unwrap_or_default()
}

fn has(answer: &str, header: &str) -> bool {
    answer.to_ascii_lowercase().contains(&format!("\r\n{header}\r\n"))
}

#[tokio::test]
async fn rules_refuse_whatever_the_spelling_of_a_path_is() {
    let house = House::new();
    let backing = house.backing().await;
    let rules = json!({ "rules": { "sizes": { "bodyBytes": 4 }, "rules": [
        { "name": "admin", "action": "Deny", "status": 451, "paths": [{ "value": "/admin" }] },
        { "name": "bots", "action": "Deny", "mode": "Report", "userAgents": ["Bot"] },
    ] } });
    house.serve(vec![under(rules, rule("", to(backing.address, Protocol::Http)))]);
    for path in ["/admin", "/admin/x", "/%61dmin", "/a/../admin", "/admin%2Fx", "//admin"] {
        assert_eq!(status(&house.get(path, "").await), "451", "{path}");
    }
    assert_eq!(backing.count(), 0);
    for path in ["/a%00", "/../x", "/a%5cb", "/%c0%ae", "/x%zz"] {
        assert_eq!(status(&house.get(path, "").await), "400", "{path}");
    }
    assert_eq!(status(&house.get("/x/%2e%2e/y?q=%2e", "User-Agent: Bot\r\n").await), "200");
    assert_eq!(backing.last().target, "/y?q=%2e", "a path has one reading, a query is as it was");
    let large = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\n12345";
    assert_eq!(status(&house.send(large).await), "413");
    let figures = house.seen.render();
    assert!(figures.contains("rule=\"admin\",mode=\"enforce\"} 6"), "{figures}");
    assert!(figures.contains("rule=\"bots\",mode=\"report\"} 1"), "{figures}");
    assert!(figures.contains("knarr_gateway_refused_total{reason=\"path_climbs\"} 1"), "{figures}");
}

#[tokio::test]
async fn limits_refuse_with_the_time_to_wait() {
    let house = House::new();
    let backing = house.backing().await;
    let limits = json!({ "rateLimits": [
        { "name": "all", "requests": 3, "per": "1h", "headers": true },
        { "name": "user", "requests": 1, "per": "1h", "by": "Header", "header": "x-user" },
    ] });
    house.serve(vec![under(limits, rule("", to(backing.address, Protocol::Http)))]);
    let first = house.get("/", "X-User: a\r\n").await;
    assert_eq!(status(&first), "200");
    assert!(
        has(&first, "ratelimit: \"all\";r=2;t=1200") && has(&first, "ratelimit-policy: \"all\";q=3;w=3600"),
        "{first}"
    );
    let same = house.get("/", "X-User: a\r\n").await;
    assert_eq!(status(&same), "429");
    assert!(has(&same, "ratelimit: \"user\";r=0;t=3600") && has(&same, "retry-after: 3600"), "{same}");
    assert_eq!(status(&house.get("/", "X-User: b\r\n").await), "200");
    assert_eq!(status(&house.get("/", "X-User: c\r\n").await), "429", "all three are used up");
    assert_eq!(backing.count(), 2);
    assert!(house.seen.render().contains("knarr_gateway_refused_total{reason=\"rate_limit\"} 2"));
}

#[tokio::test]
async fn only_so_many_requests_are_under_way_at_once() {
    let house = House::new();
    let backing = house.backing().await;
    backing.moods.lock().push(StatusCode::CONTINUE); // the first is never answered
    house.serve(vec![under(
        json!({ "limits": { "requestsPerClient": 1 } }),
        rule("", to(backing.address, Protocol::Http)),
    )]);
    let mut first = TcpStream::connect(house.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    backing.heard(1).await;
    let refused = house.get("/", "").await;
    assert_eq!(status(&refused), "503");
    assert!(has(&refused, "retry-after: 1"), "{refused}");
    drop(first);
    while status(&house.get("/", "").await) != "200" {} // its place comes back
}

#[tokio::test]
async fn answers_are_asked_for_again_while_the_budget_lasts() {
    let house = House::new();
    let backing = house.backing().await;
    let retry = json!({ "retry": { "attempts": 1, "statuses": [503], "backoff": "0s" } });
    let two = json!({ "retryBudget": { "percent": 0, "interval": "1h", "leastPerSecond": 0 } });
    let (_, target) = used(two, vec![backing.address]);
    house.serve(vec![
        under(retry.clone(), rule("", to(backing.address, Protocol::Http))),
        under(retry, rule("none", target)),
    ]);
    backing.moods.lock().push(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&house.get("/", "").await), "200");
    assert_eq!(backing.count(), 2);
    backing.moods.lock().push(StatusCode::SERVICE_UNAVAILABLE);
    let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(status(&house.send(post).await), "503", "a POST may have done something");
    backing.moods.lock().push(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&house.get("/none", "").await), "503", "no budget");
    assert_eq!(backing.count(), 4);
}

#[tokio::test]
async fn requests_with_the_same_key_go_to_the_same_endpoint() {
    let house = House::new();
    let mut backings = Vec::new();
    for _ in 0..4 {
        backings.push(house.backing().await);
    }
    let policy = json!({ "balance": { "algorithm": "RingHash", "hashOn": { "source": "Header", "name": "x-user" } } });
    let (_, target) = used(policy, backings.iter().map(|one| one.address).collect());
    house.serve(vec![rule("", target)]);
    let mut seen = std::collections::BTreeSet::new();
    for user in 0..16 {
        let header = format!("X-User: {user}\r\n");
        let first = body(&house.get("/", &header).await).to_owned();
        assert_eq!(body(&house.get("/", &header).await), first);
        seen.insert(first);
    }
    assert!(seen.len() > 1, "different keys go to different endpoints");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_and_bounds_are_kept() {
    let house = House::new();
    let (good, bad) = (house.backing().await, house.backing().await);
    bad.moods.lock().extend([StatusCode::INTERNAL_SERVER_ERROR; 8]);
    let (endpoints, target) = used(json!({ "outlier": { "serverErrors": 2 } }), vec![good.address, bad.address]);
    let (_, full) = used(json!({ "circuit": { "requests": 0 } }), vec![good.address]);
    house.serve(vec![rule("", target), rule("full", full)]);
    let mut failed = 0;
    for _ in 0..12 {
        failed += usize::from(status(&house.get("/", "").await) == "500");
    }
    assert_eq!((failed, bad.count()), (2, 2));
    assert_eq!(endpoints.pool().counts().available, 1);
    let refused = house.get("/full", "").await;
    assert_eq!(status(&refused), "503");
    assert!(refused.contains("as much to do as its policy allows"), "{refused}");
    assert!(house.seen.render().contains("knarr_gateway_refused_total{reason=\"circuit_requests\"} 1"));
    assert_eq!(endpoints.pool().counts().requests, 0, "every place came back");
}

#[tokio::test]
async fn answers_are_compressed_for_those_who_can_read_it() {
    let house = House::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    house.ctx.children.spawn("texts", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let count = stream.read(&mut asked).await.unwrap();
            let text = "the same again ".repeat(100);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: ";
            assert!(count > 0);
            stream.write_all(format!("{head}{}\r\n\r\n{text}", text.len()).as_bytes()).await.unwrap();
        }
    });
    let policy = json!({ "compression": { "codings": ["gzip"] } });
    house.serve(vec![under(policy, rule("", to(address, Protocol::Http))), rule("plain", to(address, Protocol::Http))]);
    let fetch = async |path: &str, accept: &str| {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        (String::from_utf8_lossy(&answer).into_owned(), answer.len())
    };
    let (answer, length) = fetch("/", "gzip").await;
    assert!(has(&answer, "content-encoding: gzip") && length < 800, "{length}: {answer}");
    assert!(!has(&fetch("/", "br").await.0, "content-encoding: br"), "only what the policy names");
    assert!(!has(&fetch("/plain", "gzip").await.0, "content-encoding: gzip"), "only where a policy is in force");
}
