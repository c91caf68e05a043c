//! How the parts of a policy go together.

use proptest::prelude::*;

use super::*;
use crate::settings::{Addresses, ApiKey, Basic as WrittenBasic, Certificate, ClaimHeader, Jwt, TokenSource};
use crate::tests::{Request, ask, means, sources};

const ANN: &str = "Basic YW5uOnNlY3JldA==";
const KEY: &str = "0123456789abcdef";

fn guard(change: impl FnOnce(&mut Settings)) -> Guard {
    let held = sources(&[
        ("secret users", &[("auth", "ann:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")]),
        ("secret keys", &[("robot", KEY), ("other", "fedcba9876543210\n")]),
    ]);
    let mut settings = Settings::default();
    change(&mut settings);
    Guard::new("shop/door", &settings, &held, &means()).expect("a good policy")
}

fn basic() -> Option<WrittenBasic> {
    Some(WrittenBasic {
        secret: "users".to_owned(),
        user_header: Some("X-User".to_owned()),
        realm: "shop".to_owned(),
        ..WrittenBasic::default()
    })
}

fn keys() -> Option<ApiKey> {
    Some(ApiKey { secret: "keys".to_owned(), client_header: Some("X-Client".to_owned()), ..ApiKey::default() })
}

fn addresses(allow: &[&str], deny: &[&str]) -> Option<Addresses> {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    Some(Addresses { allow: texts(allow), deny: texts(deny) })
}

async fn status(guard: &Guard, request: &Request) -> u16 {
    match guard.ask(&request.asked()).await {
        Verdict::Pass(_) => 200,
        Verdict::Answer(answer) => answer.status().as_u16(),
    }
}

async fn passed(guard: &Guard, request: &Request) -> http::HeaderMap {
    match guard.ask(&request.asked()).await {
        Verdict::Pass(pass) => pass.applied(&request.headers),
        Verdict::Answer(answer) => panic!("{answer:?}"),
    }
}

fn request(headers: &[(&str, &str)]) -> Request {
    ask("GET", "https://a.example/", headers)
}

#[tokio::test]
async fn with_all_each_part_must_be_content() {
    let guard = guard(|settings| {
        (settings.basic, settings.api_key, settings.addresses) =
            (basic(), keys(), addresses(&["192.0.2.0/24"], &["192.0.2.66"]));
    });
    let both = request(&[("authorization", ANN), ("x-api-key", KEY)]);
    assert_eq!(status(&guard, &both).await, 200);
    assert_eq!(status(&guard, &request(&[("authorization", ANN)])).await, 401);
    assert_eq!(status(&guard, &request(&[("x-api-key", KEY)])).await, 401);
    assert_eq!(status(&guard, &both.clone().from("198.51.100.1")).await, 403);
    assert_eq!(status(&guard, &both.clone().from("192.0.2.66")).await, 403);
    assert_eq!(status(&guard, &both.clone().from("::ffff:192.0.2.1")).await, 200);
}

#[tokio::test]
async fn with_any_one_is_enough_but_a_denied_address_never_passes() {
    let guard = guard(|settings| {
        (settings.basic, settings.api_key, settings.addresses) =
            (basic(), keys(), addresses(&["192.0.2.0/24"], &["192.0.2.66"]));
        settings.satisfy = Satisfy::Any;
    });
    let outside = |headers: &[(&str, &str)]| request(headers).from("198.51.100.1");
    assert_eq!(status(&guard, &request(&[])).await, 200, "from within");
    assert_eq!(status(&guard, &outside(&[("authorization", ANN)])).await, 200);
    assert_eq!(status(&guard, &outside(&[("x-api-key", KEY)])).await, 200);
    assert_eq!(status(&guard, &request(&[("x-api-key", KEY)]).from("192.0.2.66")).await, 403);
    let Verdict::Answer(answer) = guard.ask(&outside(&[]).asked()).await else { panic!("passed") };
    let challenges: Vec<&[u8]> =
        answer.headers().get_all(WWW_AUTHENTICATE).iter().map(|told| told.as_bytes()).collect();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(challenges, [b"ApiKey".as_slice(), b"Basic realm=\"shop\", charset=\"UTF-8\""]);
}

#[tokio::test]
async fn headers_of_every_part_are_ours_whichever_part_passes() {
    let guard = guard(|settings| {
        (settings.basic, settings.api_key, settings.satisfy) = (basic(), keys(), Satisfy::Any);
        settings.client_certificate = Some(Certificate { names: vec!["nobody".to_owned()], ..Certificate::default() });
        settings.jwt = Some(Jwt {
            issuer: "https://idp.example".to_owned(),
            audiences: vec!["x".to_owned()],
            headers: vec![ClaimHeader { claim: "sub".to_owned(), header: "X-Team".to_owned() }],
            ..Jwt::default()
        });
    });
    let spoofs = [
        ("x-user", "admin"),
        ("x_user", "admin"),
        ("x-client", "admin"),
        ("x-team", "admin"),
        ("x_team", "admin"),
        ("ssl-client-verify", "SUCCESS"),
        ("ssl-client-subject-dn", "CN=admin"),
        ("x-client-cert-subject", "CN=admin"),
        ("client-cert", ":x:"),
        ("x-api-key", KEY),
        ("x-plain", "kept"),
    ];
    let got = passed(&guard, &request(&spoofs)).await;
    let told: Vec<(&str, &str)> =
        got.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
    assert_eq!(told, [("x-plain", "kept"), ("x-client", "robot")]);
}

#[tokio::test]
async fn keys_may_stand_in_the_query_and_go_no_further() {
    let guard = guard(|settings| {
        let mut written = keys().expect("keys");
        written.from = Some(TokenSource { query: Some("key".to_owned()), ..TokenSource::default() });
        settings.api_key = Some(written);
    });
    let Verdict::Pass(pass) = guard.ask(&ask("GET", "https://a.example/p?key=fedcba9876543210", &[]).asked()).await
    else {
        panic!("not passed")
    };
    assert_eq!((pass.target.as_deref(), pass.who.as_deref()), (Some("/p"), Some("other")));
    assert_eq!(status(&guard, &request(&[("x-api-key", KEY)])).await, 401, "only where the policy says");
}

#[tokio::test]
async fn what_is_forwarded_is_said_by_the_policy() {
    let forwarding = guard(|settings| {
        let mut written = basic().expect("users");
        written.forward = true;
        settings.basic = Some(written);
    });
    let asked = request(&[("authorization", ANN)]);
    assert_eq!(passed(&forwarding, &asked).await["authorization"], ANN);
    assert!(!passed(&guard(|settings| settings.basic = basic()), &asked).await.contains_key("authorization"));
}

#[tokio::test]
async fn a_policy_that_would_let_everybody_in_is_none() {
    let told = |settings: &Settings| {
        Guard::new("a/b", settings, &sources(&[("secret keys", &[("a", "short"), ("b", KEY), ("c", KEY)])]), &means())
            .expect_err("refused")
            .to_string()
    };
    assert!(told(&Settings::default()).starts_with("spec: says nobody"));
    assert!(
        told(&Settings { addresses: addresses(&[], &[]), ..Settings::default() })
            .starts_with("spec.addresses: neither")
    );
    let keys = told(&Settings { api_key: keys(), ..Settings::default() });
    assert!(
        keys.contains("the key of a in Secret keys has fewer than 16 bytes") && keys.contains("have the same key"),
        "{keys}"
    );
    let missing = told(&Settings { basic: basic(), ..Settings::default() });
    assert_eq!(missing, "spec.basic.secret: there is no Secret users in the policy's namespace: create it");
    let jwt = Jwt {
        issuer: "me".to_owned(),
        algorithms: vec!["HS256".to_owned()],
        leeway: "1h".to_owned(),
        ..Jwt::default()
    };
    let jwt = told(&Settings { jwt: Some(jwt), ..Settings::default() });
    for part in [
        "spec.jwt.audiences",
        "spec.jwt.algorithms: \"HS256\" is not accepted",
        "spec.jwt.leeway",
        "spec.jwt.issuer: is no URL",
    ] {
        assert!(jwt.contains(part), "{part} is not in {jwt}");
    }
}

#[test]
fn a_policy_tells_what_it_is_made_of() {
    let settings: Settings = serde_json::from_value(serde_json::json!({
        "targetRefs": [],
        "clientCertificate": {"authorities": {"name": "cas"}},
        "basic": {"secret": "users"},
        "oidc": {"issuer": "https://i", "clientId": "c", "clientSecret": {"name": "o", "key": "k"}, "session": {"secret": {"name": "s", "key": "k"}}},
        "external": {"url": "http://x/", "authorities": {"kind": "Secret", "name": "t"}}
    }))
    .expect("settings");
    let secret = |name: &str| Source::Secret(name.to_owned());
    let expected = [secret("o"), secret("s"), secret("t"), secret("users"), Source::ConfigMap("cas".to_owned())];
    assert_eq!(settings.sources().into_iter().collect::<Vec<_>>(), expected);
}

proptest! {
    #[test]
    fn no_request_makes_a_guard_panic_or_pass(
        target in "/[ -~]{0,60}",
        host in "[ -~]{0,30}",
        headers in prop::collection::vec(("(authorization|cookie|x-api-key|accept|host)", "[ -~]{0,80}"), 0..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let guard = guard(|settings| {
                settings.basic = basic();
                let mut written = keys().expect("keys");
                written.from = Some(TokenSource { header: Some("authorization".to_owned()), cookie: Some("k".to_owned()), query: Some("k".to_owned()), ..TokenSource::default() });
                (settings.api_key, settings.satisfy) = (Some(written), Satisfy::Any);
            });
            let mut asked = request(&[]);
            (asked.target, asked.host) = (target, host);
            for (name, value) in headers {
                asked.headers.append(http::HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"));
            }
            assert_eq!(status(&guard, &asked).await, 401);
        });
    }
}
