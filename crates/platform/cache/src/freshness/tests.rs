use proptest::prelude::*;

use super::*;
use crate::policy::Policy;

const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn rules(policy: serde_json::Value) -> Rules {
    Rules::new(&serde_json::from_value::<Policy>(policy).unwrap()).unwrap()
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("content-length", HeaderValue::from_static("3"));
    for (name, value) in lines {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    headers
}

fn judged(policy: serde_json::Value, status: u16, lines: &[(&str, &str)], authorized: bool) -> Result<Life, Refusal> {
    let headers = headers(lines);
    let head = Head { status: StatusCode::from_u16(status).unwrap(), version: Version::HTTP_11, headers: &headers };
    judge(&rules(policy), &Asked { authorized, path: "/a.css", sent: now(), received: now() }, &head)
}

/// Seconds of freshness left when it comes, negative when it is stale; none when it is not stored.
fn left(status: u16, lines: &[(&str, &str)]) -> Option<i64> {
    seconds_left(&judged(serde_json::json!({}), status, lines, false).ok()?)
}

fn seconds_left(life: &Life) -> Option<i64> {
    Some(match life.fresh_until.duration_since(now()) {
        Ok(left) => i64::try_from(left.as_secs()).ok()?,
        Err(past) => -i64::try_from(past.duration().as_secs()).ok()?,
    })
}

fn http(seconds_from_now: i64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.strict_add_signed(seconds_from_now)))
}

#[test]
fn the_lifetime_is_what_the_origin_says_in_the_order_of_the_rfc() {
    let cc = "cache-control";
    assert_eq!(left(200, &[(cc, "max-age=60")]), Some(60));
    assert_eq!(left(200, &[(cc, "max-age=60, s-maxage=10")]), Some(10));
    assert_eq!(left(200, &[(cc, "max-age=60"), ("expires", &http(5))]), Some(60));
    assert_eq!(left(200, &[("expires", &http(5))]), Some(5));
    assert_eq!(
        left(200, &[("date", &http(-100)), ("expires", &http(-40)), ("etag", "\"a\"")]),
        Some(-40),
        "60 s from its date, 100 s old"
    );
    assert_eq!(left(200, &[("expires", "0"), ("etag", "\"a\"")]), Some(-1));
    assert_eq!(left(200, &[("expires", "0")]), None, "stale and never to be validated");
    assert_eq!(left(200, &[(cc, "max-age=60"), ("age", "50")]), Some(10));
    assert_eq!(left(200, &[(cc, "max-age=60"), ("date", &http(-20))]), Some(40));
    assert_eq!(left(200, &[(cc, "max-age=60"), ("date", &http(-20)), ("age", "30")]), Some(30), "the older counts");
    assert_eq!(left(200, &[(cc, "max-age=60"), ("age", "much")]), Some(60));
    assert_eq!(left(200, &[(cc, "max-age=60"), ("cdn-cache-control", "max-age=5")]), Some(5));
    assert_eq!(left(200, &[(cc, "no-store"), ("cdn-cache-control", "max-age=5")]), Some(5));
    assert_eq!(left(200, &[(cc, "max-age=60"), ("cdn-cache-control", "Max-Age=5")]), Some(60), "not well formed");
    assert_eq!(left(200, &[(cc, "max-age=60"), ("cdn-cache-control", "no-store")]), None);
    assert_eq!(left(200, &[("cdn-cache-control", "public"), ("expires", &http(5)), ("etag", "\"a\"")]), None);
}

#[test]
fn what_must_not_be_stored_is_refused_for_its_reason() {
    let refused = |status, lines: &[(&str, &str)]| judged(serde_json::json!({}), status, lines, false).err();
    let fresh = ("cache-control", "max-age=60");
    assert_eq!(refused(200, &[("cache-control", "no-store, max-age=60")]), Some(Refusal::NoStore));
    assert_eq!(refused(200, &[("cache-control", "private, max-age=60")]), Some(Refusal::Private));
    assert_eq!(refused(200, &[fresh, ("set-cookie", "a=b")]), Some(Refusal::SetCookie));
    assert_eq!(refused(200, &[fresh, ("vary", "accept, *")]), Some(Refusal::Vary));
    assert_eq!(refused(206, &[fresh]), Some(Refusal::Status));
    assert_eq!(refused(304, &[fresh]), Some(Refusal::Status));
    assert_eq!(refused(200, &[]), Some(Refusal::NoLifetime));
    assert_eq!(refused(500, &[]), Some(Refusal::Status));
    assert_eq!(refused(299, &[("cache-control", "max-age=60, must-understand")]), Some(Refusal::Status));
    assert_eq!(left(200, &[("cache-control", "max-age=60, must-understand, no-store")]), Some(60));
    assert_eq!(left(500, &[fresh]), Some(60), "with a lifetime any status may be");
    assert_eq!(
        left(200, &[("cache-control", "no-cache"), ("etag", "\"a\"")]),
        Some(-1),
        "stored, and validated each time"
    );
    let mut endless = headers(&[fresh]);
    endless.remove("content-length");
    let head = Head { status: StatusCode::OK, version: Version::HTTP_11, headers: &endless };
    let asked = Asked { authorized: false, path: "/", sent: now(), received: now() };
    assert_eq!(judge(&rules(serde_json::json!({})), &asked, &head).err(), Some(Refusal::Unbounded));
}

#[test]
fn with_authorization_the_origin_must_allow_it() {
    let kept = |cc: &str| judged(serde_json::json!({}), 200, &[("cache-control", cc)], true);
    assert_eq!(kept("max-age=60").err(), Some(Refusal::Authorization));
    for allowed in ["max-age=60, public", "s-maxage=60", "max-age=60, must-revalidate"] {
        assert!(kept(allowed).is_ok(), "{allowed}");
    }
    let never = judged(serde_json::json!({ "authorization": "Never" }), 200, &[("cache-control", "s-maxage=9")], true);
    assert_eq!(never.err(), Some(Refusal::Authorization));
}

#[test]
fn named_fields_are_dropped_instead() {
    let lines = [("cache-control", "max-age=60, private=\"set-cookie\", no-cache=\"x-me\""), ("set-cookie", "a=b")];
    let life = judged(serde_json::json!({}), 200, &lines, false).unwrap();
    assert_eq!(life.dropped, [SET_COOKIE, HeaderName::from_static("x-me")]);
    let life =
        judged(serde_json::json!({ "setCookie": "Strip" }), 200, &[("cache-control", "max-age=60"), lines[1]], false);
    assert_eq!(life.unwrap().dropped, [SET_COOKIE]);
}

#[test]
fn a_policy_gives_lifetimes_where_the_origin_gives_none_or_whatever_it_gives() {
    let of =
        |policy, lines: &[(&str, &str)]| judged(policy, 200, lines, false).map(|life| seconds_left(&life).unwrap());
    let default = serde_json::json!({ "defaultTtl": [{ "ttl": "10s" }] });
    assert_eq!(of(default.clone(), &[]), Ok(10));
    assert_eq!(of(default.clone(), &[("cache-control", "max-age=3")]), Ok(3));
    assert_eq!(of(default, &[("cache-control", "private")]), Err(Refusal::Private));
    let fixed = serde_json::json!({ "overrideTtl": "20s" });
    assert_eq!(of(fixed.clone(), &[("cache-control", "max-age=3")]), Ok(20));
    assert_eq!(of(fixed, &[("cache-control", "no-store")]), Err(Refusal::NoStore));
    let deaf = serde_json::json!({ "overrideTtl": "20s", "originDirectives": "Ignore" });
    assert_eq!(of(deaf.clone(), &[("cache-control", "no-store")]), Ok(20));
    assert_eq!(of(deaf, &[("set-cookie", "a=b")]), Err(Refusal::SetCookie));
    let none = serde_json::json!({ "defaultTtl": [{ "ttl": "0s" }], "heuristic": true });
    assert_eq!(of(none, &[("last-modified", &http(-1000))]), Err(Refusal::NoLifetime));
}

#[test]
fn a_lifetime_is_guessed_only_when_allowed() {
    let of =
        |policy, lines: &[(&str, &str)]| judged(policy, 200, lines, false).ok().and_then(|life| seconds_left(&life));
    assert_eq!(of(serde_json::json!({}), &[("last-modified", &http(-1000))]), None);
    let guess = serde_json::json!({ "heuristic": true });
    assert_eq!(of(guess.clone(), &[("last-modified", &http(-1000))]), Some(100));
    assert_eq!(of(guess.clone(), &[("last-modified", &http(-100_000_000))]), Some(24 * 3600));
    assert_eq!(judged(guess, 500, &[("last-modified", &http(-1000))], false).err(), Some(Refusal::Status));
}

#[test]
fn staleness_is_permitted_by_the_origin_then_by_the_policy_and_forbidden_by_must_revalidate() {
    let policy = serde_json::json!({ "staleWhileRevalidate": "7s", "staleIfError": "9s" });
    let of = |cc: &str| {
        let life = judged(policy.clone(), 200, &[("cache-control", cc), ("etag", "\"a\"")], false).unwrap();
        (life.stale_while_revalidate, life.stale_if_error)
    };
    assert_eq!(of("max-age=1"), (7, 9));
    assert_eq!(of("max-age=1, stale-while-revalidate=3, stale-if-error=4"), (3, 4));
    assert_eq!(of("s-maxage=1"), (0, 0));
    assert_eq!(of("s-maxage=1, stale-if-error=4"), (0, 4));
    for strict in ["must-revalidate", "proxy-revalidate", "no-cache"] {
        assert_eq!(of(&format!("max-age=1, stale-if-error=4, {strict}")), (0, 0), "{strict}");
    }
}

#[test]
fn a_disguised_response_is_refused_when_types_must_fit() {
    let strict = serde_json::json!({ "extensions": "MustFit" });
    let of =
        |kind: &str| judged(strict.clone(), 200, &[("cache-control", "max-age=60"), ("content-type", kind)], false);
    assert!(of("text/css; charset=utf-8").is_ok());
    assert_eq!(of("text/html").err(), Some(Refusal::Disguised));
    assert!(fits("/account", None) && fits("/a.b/account", None) && fits("/page.html", None));
    assert!(!fits("/account/x.PNG", Some(&HeaderValue::from_static("text/html"))) && !fits("/x.js", None));
}

proptest! {
    #[test]
    fn what_is_kept_was_allowed_and_lives_as_long_as_said(
        max_age in proptest::option::of(0_u64..5_000_000_000), s_maxage in proptest::option::of(0_u64..100_000),
        age in proptest::option::of(0_u32..200_000), date in proptest::option::of(-200_000_i64..200_000), junk in "[ -~]{0,30}",
        status in 100_u16..600, no_store: bool, private: bool, authorized: bool,
    ) {
        let mut said = vec![junk.replace("no-store", "x").replace("private", "x")];
        said.extend(max_age.map(|seconds| format!("max-age={seconds}")));
        said.extend(s_maxage.map(|seconds| format!("s-maxage={seconds}")));
        said.extend(no_store.then(|| "no-store".to_owned()));
        said.extend(private.then(|| "private".to_owned()));
        said.reverse(); // an unclosed quote hides what comes after it
        let said = said.join(", ");
        let mut lines = vec![("cache-control", said.as_str())];
        let (age_text, date_text) = (age.map(|age| age.to_string()), date.map(http));
        lines.extend(age_text.as_deref().map(|age| ("age", age)));
        lines.extend(date_text.as_deref().map(|date| ("date", date)));
        match judged(serde_json::json!({}), status, &lines, authorized) {
            Err(_) => {}
            Ok(life) => {
                prop_assert!(!no_store && !private && status >= 200 && status != 206 && status != 304);
                prop_assert!(!authorized || s_maxage.is_some() || said.contains("public") || said.contains("must-revalidate"));
                prop_assert!(life.born <= now());
                let born = now().duration_since(life.born).unwrap();
                prop_assert!(born >= Duration::from_secs(u64::from(age.unwrap_or(0))));
                if let Some(lifetime) = s_maxage.or(max_age) {
                    let most = Duration::from_secs(lifetime);
                    prop_assert!(life.fresh_until <= now() + most, "never longer than said");
                    prop_assert!(life.fresh_until < now() || life.fresh_until <= life.born + most);
                }
            }
        }
    }
}
