use std::time::Instant;

use base::Key;
use http::{HeaderMap, HeaderName, Method, StatusCode};

use super::*;
use crate::model::{Field, Host, Match, PathMatch, Rank, Route, Split, Target, TextMatch, whole};

/// A route that answers with its name.
fn route(name: &str, hosts: &[&str], matches: Vec<Match>) -> Route {
    let source = Arc::new(Source::new("HTTPRoute", Key::new("default", name), ""));
    let split = Split::all(Target::Nobody(StatusCode::OK, name.into()));
    Route {
        hosts: hosts.iter().map(|host| Host::parse(host, true)).collect(),
        matches,
        rank: Rank { created: None, key: Key::new("default", name), rule: 0 },
        rule: Arc::new(Rule::new(source, split)),
    }
}

fn listener(host: &str, isolated: bool, routes: Vec<Route>) -> Listener {
    Listener {
        source: Arc::new(Source::new("Gateway", Key::new("default", "gw"), host)),
        host: Host::parse(host, true),
        isolated,
        tls: Tls::None,
        serves: Serves::Http(routes),
    }
}

fn prefix(path: &str) -> Match {
    Match::path(PathMatch::Prefix(path.to_owned()))
}

fn with(mut wanted: Match, change: impl FnOnce(&mut Match)) -> Match {
    change(&mut wanted);
    wanted
}

struct Request(&'static str, &'static str, Method, HeaderMap);

fn get(host: &'static str, target: &'static str) -> Request {
    Request(host, target, Method::GET, HeaderMap::new())
}

fn ask(door: &Door, request: &Request, greeted: Option<&str>) -> Result<String, Miss> {
    let (path, query) = request.1.split_once('?').unwrap_or((request.1, ""));
    let asked = Asked { path, query, method: &request.2, headers: &request.3 };
    let found = door.find(request.0, greeted, &asked)?;
    Ok(found.rule.source.key.name.clone())
}

#[test]
fn a_listener_keeps_its_host_to_itself_even_without_a_route() {
    let door = Door::build(&[
        listener("*", true, vec![route("any", &["*"], vec![prefix("/")])]),
        listener("a.com", true, vec![route("a", &["a.com"], vec![prefix("/a")])]),
        listener("*.b.com", true, vec![route("b", &["*.b.com"], vec![prefix("/")])]),
    ]);
    assert_eq!(ask(&door, &get("x.com", "/"), None), Ok("any".to_owned()));
    assert_eq!(ask(&door, &get("a.com", "/a/b"), None), Ok("a".to_owned()));
    assert_eq!(ask(&door, &get("a.com", "/"), None), Err(Miss::Path));
    assert_eq!(ask(&door, &get("y.x.b.com", "/"), None), Ok("b".to_owned()));
    assert_eq!(ask(&door, &get("b.com", "/"), None), Ok("any".to_owned()));
}

#[test]
fn a_request_for_another_listener_than_its_handshake_is_misdirected() {
    let door = Door::build(&[
        listener("a.com", true, vec![route("a", &["a.com"], vec![prefix("/")])]),
        listener("*.b.com", true, vec![route("b", &["*.b.com"], vec![prefix("/")])]),
    ]);
    assert_eq!(ask(&door, &get("a.com", "/"), Some("a.com")), Ok("a".to_owned()));
    assert_eq!(ask(&door, &get("x.b.com", "/"), Some("a.com")), Err(Miss::Misdirected));
    assert_eq!(ask(&door, &get("x.b.com", "/"), Some("y.b.com")), Ok("b".to_owned()));
    assert_eq!(ask(&door, &get("c.com", "/"), Some("a.com")), Err(Miss::Misdirected));
}

#[test]
fn ingress_is_asked_when_no_listener_has_the_host() {
    let door = Door::build(&[
        listener("*", false, vec![route("ingress", &["*"], vec![prefix("/")])]),
        listener("a.com", true, vec![route("a", &["a.com"], vec![prefix("/a")])]),
    ]);
    assert_eq!(ask(&door, &get("x.com", "/"), None), Ok("ingress".to_owned()));
    assert_eq!(ask(&door, &get("a.com", "/"), None), Err(Miss::Path));
}

#[test]
fn of_several_matches_the_most_specific_wins_in_the_order_of_the_api() {
    let header = |name: &'static str, value: &str| Field {
        name: HeaderName::from_static(name),
        value: TextMatch::Exact(value.to_owned()),
    };
    let query = |name: &str| Field { name: name.to_owned(), value: TextMatch::whole("[0-9]+").unwrap() };
    let door = Door::build(&[listener(
        "*",
        true,
        vec![
            route("b-root", &["*"], vec![prefix("/")]),
            route("a-root", &["*"], vec![prefix("/")]),
            route("long", &["*"], vec![prefix("/long/er")]),
            route("pattern", &["*"], vec![Match::path(PathMatch::Pattern(whole("/long/.*x").unwrap()))]),
            route("exact", &["*"], vec![Match::path(PathMatch::Exact("/long/exact".to_owned()))]),
            route("post", &["*"], vec![with(prefix("/"), |m| m.method = Some(Method::POST))]),
            route("one", &["*"], vec![with(prefix("/"), |m| m.headers = vec![header("x-a", "1")])]),
            route("two", &["*"], vec![with(prefix("/"), |m| m.headers = vec![header("x-a", "1"), header("x-b", "2")])]),
            route("query", &["*"], vec![with(prefix("/"), |m| m.queries = vec![query("page")])]),
            route("host", &["a.com"], vec![prefix("/")]),
        ],
    )]);
    let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), http::HeaderValue::from_static(v))).collect()
    };
    let told = |request: Request| ask(&door, &request, None).unwrap();
    assert_eq!(told(get("x.com", "/")), "a-root", "the same specificity: by name");
    assert_eq!(told(get("x.com", "/long/er/y")), "long");
    assert_eq!(told(get("x.com", "/long/er/x")), "pattern");
    assert_eq!(told(get("x.com", "/long/exact")), "exact");
    assert_eq!(told(Request("x.com", "/", Method::POST, headers(&[("x-a", "1"), ("x-b", "2")]))), "post");
    assert_eq!(told(Request("x.com", "/", Method::GET, headers(&[("x-a", "1"), ("x-b", "2")]))), "two");
    assert_eq!(told(Request("x.com", "/?page=7", Method::GET, headers(&[("x-a", "1")]))), "one");
    assert_eq!(told(get("x.com", "/?a=b&page=12")), "query");
    assert_eq!(told(get("x.com", "/?page=x&page=1")), "a-root", "the first parameter of a name counts");
    assert_eq!(told(get("a.com", "/long/exact")), "host", "the host comes before the path");
}

#[test]
fn ten_thousand_routes_are_found_as_fast_as_one() {
    let many: Vec<Route> = (0..10_000)
        .map(|at| route(&format!("r{at}"), &[&format!("h{at}.example.com")], vec![prefix(&format!("/p{at}"))]))
        .collect();
    let door = Door::build(&[listener("*", true, many)]);
    let before = Instant::now();
    for _ in 0..1000 {
        assert_eq!(ask(&door, &get("h5000.example.com", "/p5000/x/y/z"), None), Ok("r5000".to_owned()));
    }
    // No figure is asserted: `make bench` measures. A lookup that walks all routes would take minutes here.
    assert!(before.elapsed().as_secs() < 60);
}
