//! Where tokens stand, and what becomes of them.

use super::*;
use crate::tests::{Request, ask};

fn places(header: Option<(&str, Option<&str>)>, cookie: Option<&str>, query: Option<&str>) -> Places {
    let written = TokenSource {
        header: header.map(|(name, _)| name.to_owned()),
        prefix: header.and_then(|(_, prefix)| prefix.map(str::to_owned)),
        cookie: cookie.map(str::to_owned),
        query: query.map(str::to_owned),
    };
    let mut faults = Faults::default();
    let places = Places::new("spec.jwt.from", &written, &mut faults);
    assert_eq!(faults, Faults::default());
    places
}

#[test]
fn the_first_place_that_has_one_counts() {
    let bearer = places(Some(("Authorization", Some("Bearer"))), Some("token"), Some("access_token"));
    let find = |url: &str, headers: &[(&str, &str)]| bearer.find(&ask("GET", url, headers).asked());
    let url = "https://a.example/?access_token=q%2B";
    assert_eq!(find(url, &[("authorization", "bearer  h "), ("cookie", "token=c")]).as_deref(), Some("h"));
    assert_eq!(find(url, &[("authorization", "Basic h"), ("cookie", "a=b; token=c")]).as_deref(), Some("c"));
    assert_eq!(find(url, &[]).as_deref(), Some("q+"));
    assert_eq!(find("https://a.example/", &[("authorization", "Bearer")]), None);
    assert_eq!(
        find("https://a.example/", &[("authorization", "Bearer a"), ("authorization", "Bearer b")]),
        None,
        "which one?"
    );
    let bare = places(Some(("X-API-Key", None)), None, None);
    assert_eq!(bare.find(&ask("GET", url, &[("x-api-key", "k 1")]).asked()).as_deref(), Some("k 1"));
}

#[test]
fn a_token_that_is_not_forwarded_leaves_nothing_behind() {
    let request: Request = ask(
        "GET",
        "https://a.example/p?x=1&access%5Ftoken=s&y=2&access_token=t",
        &[("authorization", "Bearer s"), ("cookie", "a=b; token=s"), ("cookie", "token=s2")],
    );
    let asked = request.asked();
    let mut pass = Pass::default();
    places(Some(("Authorization", Some("Bearer"))), Some("token"), Some("access_token"))
        .forward(&asked, false, &mut pass);
    pass.hide(&asked);
    let applied = pass.applied(&request.headers);
    assert_eq!(applied.get("cookie").map(|value| value.as_bytes()), Some(b"a=b".as_slice()));
    assert!(!applied.contains_key("authorization"));
    assert_eq!(pass.target.as_deref(), Some("/p?x=1&y=2"));
}

#[test]
fn a_source_that_makes_no_sense_is_told() {
    let mut faults = Faults::default();
    Places::new("spec.jwt.from", &TokenSource { prefix: Some("x".to_owned()), ..TokenSource::default() }, &mut faults);
    assert_eq!(
        faults.to_string(),
        "spec.jwt.from: says neither header, cookie nor query; spec.jwt.from.prefix: is for a header, and there is none"
    );
}
