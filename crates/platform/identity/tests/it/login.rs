//! Logins, sessions and logouts, and the ways to cheat at them.

use std::sync::Arc;

use futures::future::join_all;
use http::{Method, StatusCode};
use knarr_identity::{
    Allow, ClaimHeader, ClientAuthentication, Guard, Jwt, Oidc, Satisfy, SecretKey, Session, Settings, Source,
};
use serde_json::{Value, json};

use crate::browser::{Browser, Seen, World, fetch, sources};
use crate::provider::{Client, Provider, TOKEN_LIFE};

const HOME: &str = "https://app.example/";
const SECRET: &str = "s3cret:with/odd+characters%";

/// A provider, a guard that logs in there, and what they run in.
struct Site {
    world: World,
    provider: Arc<Provider>,
    settings: Settings,
    guard: Guard,
}

impl Site {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A site whose policy is changed first.
    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let world = World::new();
        let (listener, address) = world.listen().await;
        let issuer = format!("http://{address}");
        let client = Client {
            id: "web".to_owned(),
            secret: Some(SECRET.to_owned()),
            redirect_uris: vec![format!("{HOME}.knarr/callback"), "https://other.example/.knarr/callback".to_owned()],
            after_logout: vec![HOME.to_owned()],
        };
        let users = [
            (
                "alice",
                json!({"email": "alice@example.com", "email_verified": true, "groups": ["dev", "a,admin"], "name": "Alice"}),
            ),
            ("mallory", json!({"email": "mallory@evil.example", "email_verified": true, "groups": ["guests"]})),
        ];
        let clock = world.clock.clone();
        let provider = Provider::new(&issuer, client, &users, move || clock.now());
        provider.switches().user = Some("alice".to_owned());
        world.context.children.spawn("provider", Arc::clone(&provider).serve(listener));
        let header = |claim: &str, header: &str| ClaimHeader { claim: claim.to_owned(), header: header.to_owned() };
        let mut settings = Settings {
            oidc: Some(Oidc {
                issuer,
                plain_http: true,
                client_id: "web".to_owned(),
                client_secret: Some(SecretKey { name: "oidc".to_owned(), key: "client".to_owned() }),
                scopes: vec!["email".to_owned(), "groups".to_owned()],
                session: Session {
                    secret: SecretKey { name: "oidc".to_owned(), key: "session".to_owned() },
                    ..Session::default()
                },
                headers: vec![header("email", "X-User"), header("groups", "X-Groups")],
                ..Oidc::default()
            }),
            ..Settings::default()
        };
        change(&mut settings);
        let guard = guard(&world, &settings);
        Self { world, provider, settings, guard }
    }

    async fn alice(&self) -> Browser {
        let mut browser = Browser::new();
        let back = browser.log_in(&self.guard, HOME).await;
        assert_eq!((back.status(), back.location()), (StatusCode::FOUND, HOME), "{back:?}");
        browser
    }
}

fn guard(world: &World, settings: &Settings) -> Guard {
    let secrets = sources(&[(
        Source::Secret("oidc".to_owned()),
        &[("client", SECRET), ("session", "0123456789abcdef0123456789abcdef"), ("short", "x")],
    )]);
    Guard::new("shop/login", settings, &secrets, &world.means).expect("a good policy")
}

fn oidc(settings: &mut Settings) -> &mut Oidc {
    settings.oidc.as_mut().expect("a login")
}

#[tokio::test]
async fn a_person_logs_in_and_the_backend_learns_who_it_is() {
    let site = Site::new().await;
    let mut browser = Browser::new().with("x-user", "admin@example.com").with("x_user", "spoof");
    browser.cookies.entry("app.example".to_owned()).or_default().insert("theme".to_owned(), "dark".to_owned());
    let back = browser.log_in(&site.guard, "https://app.example/deep/page?x=1&y=%2F").await;
    assert_eq!(back.location(), "https://app.example/deep/page?x=1&y=%2F");
    let seen = browser.visit(&site.guard, "https://app.example/deep/page").await;
    assert_eq!(seen.header("x-user"), "alice@example.com");
    assert_eq!(seen.header("x_user"), "", "an underscore is a dash to many servers");
    assert_eq!(seen.header("x-groups"), "dev,a%2Cadmin");
    assert_eq!(seen.header("cookie"), "theme=dark", "our cookies are ours");
    let Seen::Backend { pass, .. } = &seen else { unreachable!() };
    assert_eq!(pass.who.as_deref(), Some("alice@example.com"));
    assert_eq!(site.provider.faults(), Vec::<String>::new());
    assert_eq!(browser.cookies["app.example"].len(), 2, "theme and the session; the login's own cookie is gone");
}

#[tokio::test]
async fn both_ways_of_client_authentication_and_public_clients() {
    let site = Site::with(|settings| oidc(settings).client_authentication = ClientAuthentication::Post).await;
    site.alice().await;
    assert_eq!(site.provider.faults(), Vec::<String>::new());
    let site = Site::with(|settings| oidc(settings).client_secret = None).await;
    let back = Browser::new().log_in(&site.guard, HOME).await;
    assert_eq!(back.status(), StatusCode::BAD_GATEWAY, "this client has a secret");
    assert_eq!(site.provider.faults(), ["the client is another, or its secret is wrong"]);
}

#[tokio::test]
async fn programs_get_a_401_and_no_redirect() {
    let site = Site::new().await;
    for mut browser in [
        Browser::program(),
        Browser::new().with("x-requested-with", "XMLHttpRequest"),
        Browser { method: Method::POST, ..Browser::new() },
    ] {
        let seen = browser.visit(&site.guard, HOME).await;
        assert_eq!(seen.status(), StatusCode::UNAUTHORIZED);
        let Seen::Answer(answer) = &seen else { unreachable!() };
        assert!(answer.headers().contains_key("www-authenticate") && browser.cookies.is_empty());
    }
}

#[tokio::test]
async fn nobody_is_sent_to_another_host() {
    let site = Site::new().await;
    // The target itself: a server may be asked for //evil.example.
    for target in ["//evil.example", "/\\evil.example", "//evil.example/..", "/%2F/evil.example"] {
        let back = Browser::new().log_in(&site.guard, &format!("https://app.example{target}")).await;
        assert_eq!(back.location(), format!("https://app.example{target}"), "absolute, so it stays on this host");
    }
    for rd in [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "%2F%2Fevil.example",
        "/%09/evil.example",
        "javascript:x",
        "",
    ] {
        let back = Browser::new().log_in(&site.guard, &format!("https://app.example/.knarr/login?rd={rd}")).await;
        assert_eq!(back.location(), "https://app.example/", "{rd}");
    }
    let back = Browser::new().log_in(&site.guard, "https://app.example/.knarr/login?rd=%2Finside%3Fa%3Db").await;
    assert_eq!(back.location(), "https://app.example/inside?a=b");
    for host in ["app.example@evil.example", "app.example\\.evil.example", ""] {
        let seen = Browser::new().visit(&site.guard, &format!("https://{host}/")).await;
        assert_eq!(seen.status(), StatusCode::BAD_REQUEST, "{host}");
    }
}

#[tokio::test]
async fn a_login_is_finished_by_the_browser_that_began_it_once_and_in_time() {
    let site = Site::new().await;
    let mut browser = Browser::new();
    let sent = browser.visit(&site.guard, HOME).await;
    let (_, back) = fetch(sent.location()).await;
    // Mallory sends her callback to somebody else (login CSRF), or a state that nobody began.
    let foreign = Browser::new().visit(&site.guard, &back).await;
    assert_eq!(foreign.status(), StatusCode::BAD_REQUEST);
    let guessed =
        browser.visit(&site.guard, "https://app.example/.knarr/callback?code=x&state=AAAAAAAAAAAAAAAAAAAAAA").await;
    assert_eq!(guessed.status(), StatusCode::BAD_REQUEST);
    // The cookie of a login on one host is nothing on another.
    let stolen = browser.cookies["app.example"].clone();
    browser.cookies.insert("other.example".to_owned(), stolen.clone());
    let other = browser.visit(&site.guard, &back.replace("app.example", "other.example")).await;
    assert_eq!(other.status(), StatusCode::BAD_REQUEST);
    let finished = browser.visit(&site.guard, &back).await;
    assert_eq!(finished.status(), StatusCode::FOUND);
    // The same callback again: the browser has no cookie for it, and with the cookie the provider has no code for it.
    assert_eq!(browser.visit(&site.guard, &back).await.status(), StatusCode::BAD_REQUEST);
    let mut thief = Browser::new();
    thief.cookies.insert("app.example".to_owned(), stolen);
    let again = thief.visit(&site.guard, &back).await;
    assert_eq!(again.status(), StatusCode::BAD_REQUEST, "{again:?}");
    assert_eq!(site.provider.faults(), ["token: the code was used before"]);
    let mut slow = Browser::new();
    let sent = slow.visit(&site.guard, HOME).await;
    let (_, back) = fetch(sent.location()).await;
    site.world.clock.pass(901);
    let asked = site.provider.hits("/token");
    assert_eq!(slow.visit(&site.guard, &back).await.status(), StatusCode::BAD_REQUEST, "too late");
    assert_eq!(site.provider.hits("/token"), asked, "no code was sent for it");
}

#[tokio::test]
async fn an_answer_of_another_provider_is_refused() {
    let site = Site::new().await;
    let mut browser = Browser::new();
    let sent = browser.visit(&site.guard, HOME).await;
    let (_, back) = fetch(sent.location()).await;
    let (before, _) = back.split_once("&iss=").expect("the provider tells itself");
    for mixed in [format!("{before}&iss=https%3A%2F%2Fevil.example"), before.to_owned()] {
        let mut browser = Browser { cookies: browser.cookies.clone(), ..Browser::new() };
        assert_eq!(browser.visit(&site.guard, &mixed).await.status(), StatusCode::BAD_GATEWAY, "{mixed}");
    }
    assert_eq!(site.provider.hits("/token"), 0, "no code went anywhere");
}

#[tokio::test]
async fn an_id_token_that_is_not_of_this_login_makes_no_session() {
    let spoils: &[(&str, Value)] = &[
        ("nonce", json!("another")),
        ("nonce", Value::Null),
        ("iss", json!("https://evil.example")),
        ("aud", json!("another-client")),
        ("aud", json!(["web", "another"])),
        ("azp", json!("another")),
        ("exp", json!(1)),
        ("exp", Value::Null),
        ("iat", json!(9_999_999_999_i64)),
        ("nbf", json!(9_999_999_999_i64)),
        ("sub", Value::Null),
        ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
    ];
    let site = Site::new().await;
    for (name, value) in spoils {
        site.provider.switches().spoil = json!({*name: value}).as_object().cloned().unwrap_or_default();
        let mut browser = Browser::new();
        let back = browser.log_in(&site.guard, HOME).await;
        assert_eq!(back.status(), StatusCode::BAD_GATEWAY, "{name}: {value}");
        assert!(browser.cookies["app.example"].is_empty(), "{name}: {value}");
    }
    site.provider.switches().spoil.clear();
    site.provider.switches().unsigned = true;
    assert_eq!(Browser::new().log_in(&site.guard, HOME).await.status(), StatusCode::BAD_GATEWAY, "alg none");
}

#[tokio::test]
async fn a_session_cookie_that_was_touched_is_none() {
    let site = Site::new().await;
    let browser = site.alice().await;
    let (name, value) = browser.cookies["app.example"].first_key_value().expect("a session");
    let forged: Vec<String> = vec![
        value.replacen("1.", "2.", 1),
        value[..value.len() - 1].to_owned(),
        format!("{value}A"),
        format!("1.{}", "A".repeat(value.len())),
        "1.".to_owned(),
        "x".to_owned(),
    ];
    for forged in forged {
        let mut thief = Browser::new();
        thief.cookies.entry("app.example".to_owned()).or_default().insert(name.clone(), forged.clone());
        assert_eq!(thief.visit(&site.guard, HOME).await.status(), StatusCode::FOUND, "{forged}");
    }
    // Whole, but for another host, another policy, or without TLS.
    let mut thief = Browser::new();
    thief.cookies.insert("other.example".to_owned(), browser.cookies["app.example"].clone());
    assert_eq!(thief.visit(&site.guard, "https://other.example/").await.status(), StatusCode::FOUND);
    let mut settings = site.settings.clone();
    oidc(&mut settings).client_id = "other".to_owned();
    let other = guard(&site.world, &settings);
    let mut thief = Browser { cookies: browser.cookies.clone(), ..Browser::new() };
    assert_eq!(thief.visit(&other, HOME).await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn a_session_ends_when_idle_and_in_any_case_and_outlives_a_restart() {
    let site = Site::with(|settings| {
        let session = &mut oidc(settings).session;
        (session.idle, session.lifetime) = ("10m".to_owned(), "1h".to_owned());
    })
    .await;
    let mut browser = site.alice().await;
    let restarted = guard(&World { context: tasks::context_for_tests().0, ..World::new() }, &site.settings);
    // A guard of another process, whose clock says the same.
    assert_eq!(browser.visit(&restarted, HOME).await.status(), StatusCode::OK);
    for _ in 0..6 {
        site.world.clock.pass(595);
        assert_eq!(browser.visit(&site.guard, HOME).await.status(), StatusCode::OK, "in use");
    }
    site.world.clock.pass(31);
    assert_eq!(browser.visit(&site.guard, HOME).await.status(), StatusCode::FOUND, "an hour is over");
    let mut browser = site.alice().await;
    site.world.clock.pass(601);
    assert_eq!(browser.visit(&site.guard, HOME).await.status(), StatusCode::FOUND, "idle");
}

#[tokio::test]
async fn tokens_are_renewed_once_for_all_that_ask_at_once() {
    let site = Site::new().await;
    let browser = site.alice().await;
    site.world.clock.pass(TOKEN_LIFE);
    let visits = (0..20).map(|_| async {
        let mut copy = Browser { cookies: browser.cookies.clone(), ..Browser::new() };
        let status = copy.visit(&site.guard, HOME).await.status();
        (status, copy)
    });
    let seen = join_all(visits).await;
    assert!(seen.iter().all(|(status, _)| *status == StatusCode::OK));
    assert_eq!(
        (site.provider.hits("/token"), site.provider.faults()),
        (2, vec![]),
        "one for the login, one for all of these"
    );
    // The new cookie goes on; a reused refresh token would be a fault.
    let (_, mut copy) = seen.into_iter().next().expect("twenty");
    site.world.clock.pass(TOKEN_LIFE);
    assert_eq!(copy.visit(&site.guard, HOME).await.status(), StatusCode::OK);
    assert_eq!((site.provider.hits("/token"), site.provider.faults()), (3, vec![]));
    // The provider ends the session: a login is needed.
    site.provider.switches().revoked = true;
    site.world.clock.pass(TOKEN_LIFE);
    assert_eq!(copy.visit(&site.guard, HOME).await.status(), StatusCode::FOUND);
}

#[tokio::test]
async fn who_is_not_allowed_is_told_so_and_can_be_somebody_else() {
    let site =
        Site::with(|settings| oidc(settings).allow = Allow { groups: vec!["dev".to_owned()], ..Allow::default() })
            .await;
    let mut alice = site.alice().await;
    assert_eq!(alice.visit(&site.guard, HOME).await.status(), StatusCode::OK);
    site.provider.switches().user = Some("mallory".to_owned());
    let mut mallory = site.alice().await;
    let seen = mallory.visit(&site.guard, HOME).await;
    assert_eq!(seen.status(), StatusCode::FORBIDDEN);
    assert!(seen.text().contains("none of the groups") && seen.text().contains("/.knarr/logout"), "{}", seen.text());
    site.provider.switches().user = Some("nobody".to_owned());
    let back = Browser::new().log_in(&site.guard, HOME).await;
    assert_eq!(back.status(), StatusCode::FORBIDDEN, "the provider refused");
}

#[tokio::test]
async fn claims_that_the_id_token_lacks_come_from_userinfo() {
    let site =
        Site::with(|settings| oidc(settings).allow = Allow { groups: vec!["dev".to_owned()], ..Allow::default() })
            .await;
    site.provider.switches().groups_by_userinfo = true;
    let mut alice = site.alice().await;
    assert_eq!(alice.visit(&site.guard, HOME).await.header("x-groups"), "dev,a%2Cadmin");
    assert_eq!(site.provider.hits("/userinfo"), 1);
}

#[tokio::test]
async fn logout_ends_the_session_here_and_there_and_no_other_site_can_do_it() {
    let site = Site::new().await;
    let mut browser = site.alice().await;
    let logout = "https://app.example/.knarr/logout";
    let linked = browser.visit(&site.guard, logout).await;
    assert_eq!(linked.status(), StatusCode::OK);
    assert!(linked.text().contains("<form method=\"post\""), "a link alone asks first");
    browser.method = Method::POST;
    browser.headers.push(("origin", "https://evil.example".to_owned()));
    assert_eq!(browser.visit(&site.guard, logout).await.status(), StatusCode::FORBIDDEN);
    browser.headers.retain(|(name, _)| *name != "origin");
    browser.headers.push(("sec-fetch-site", "cross-site".to_owned()));
    assert_eq!(browser.visit(&site.guard, logout).await.status(), StatusCode::FORBIDDEN);
    browser.method = Method::GET;
    assert_eq!(browser.visit(&site.guard, HOME).await.status(), StatusCode::OK, "still logged in");
    browser.headers.retain(|(name, _)| *name != "sec-fetch-site");
    browser.headers.push(("sec-fetch-site", "same-origin".to_owned()));
    let gone = browser.visit(&site.guard, logout).await;
    assert!(browser.cookies["app.example"].is_empty());
    let (status, after) = fetch(gone.location()).await;
    assert_eq!((status, after.as_str(), site.provider.faults()), (302, HOME, vec![]));
    assert_eq!(site.provider.hits("/revoke"), 1);
}

#[tokio::test]
async fn keys_rotate_without_a_restart_and_an_outage_lets_nobody_in() {
    let site = Site::new().await;
    site.alice().await;
    assert_eq!(site.provider.hits("/keys"), 1);
    site.provider.rotate();
    site.world.clock.pass(11);
    site.alice().await;
    assert_eq!(site.provider.hits("/keys"), 2);
    let mut alice = site.alice().await;
    site.provider.switches().down = true;
    assert_eq!(alice.visit(&site.guard, HOME).await.status(), StatusCode::OK, "a session needs nobody");
    site.world.clock.pass(TOKEN_LIFE);
    let seen = alice.visit(&site.guard, HOME).await;
    assert_eq!(seen.status(), StatusCode::SERVICE_UNAVAILABLE, "what cannot be renewed does not pass");
    let Seen::Answer(answer) = &seen else { unreachable!() };
    assert_eq!(answer.headers()["retry-after"], "5");
    site.provider.switches().down = false;
    site.world.clock.pass(3);
    assert_eq!(alice.visit(&site.guard, HOME).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_provider_that_is_down_from_the_start_is_asked_again_later() {
    let site = Site::new().await;
    site.provider.switches().down = true;
    assert_eq!(Browser::new().visit(&site.guard, HOME).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(Browser::new().visit(&site.guard, HOME).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.provider.hits("/.well-known/openid-configuration"), 1, "not with every request");
    site.provider.switches().down = false;
    site.world.clock.pass(2);
    site.alice().await;
}

#[tokio::test]
async fn many_logins_begun_leave_few_cookies() {
    let site = Site::new().await;
    let mut browser = Browser::new();
    for page in 0..30 {
        let seen = browser.visit(&site.guard, &format!("https://app.example/{page}")).await;
        assert_eq!(seen.status(), StatusCode::FOUND);
        assert!(browser.cookies["app.example"].len() <= 6, "after {page}");
    }
}

#[tokio::test]
async fn a_program_brings_a_token_where_a_person_logs_in() {
    let site = Site::with(|settings| {
        let issuer = oidc(settings).issuer.clone();
        let header = ClaimHeader { claim: "sub".to_owned(), header: "X-User".to_owned() };
        settings.jwt = Some(Jwt {
            issuer,
            plain_http: true,
            audiences: vec!["api".to_owned()],
            headers: vec![header],
            forward: true,
            ..Jwt::default()
        });
        settings.satisfy = Satisfy::Any;
    })
    .await;
    let mut alice = site.alice().await;
    assert_eq!(alice.visit(&site.guard, HOME).await.header("x-user"), "alice@example.com");
    let now = site.world.clock.now();
    let token = site.provider.sign(
        &json!({"iss": oidc(&mut site.settings.clone()).issuer, "aud": ["api"], "sub": "robot", "exp": now + 60}),
    );
    let seen = Browser::program().with("authorization", &format!("Bearer {token}")).visit(&site.guard, HOME).await;
    assert_eq!(seen.header("x-user"), "robot");
    let seen = Browser::program().with("authorization", "Bearer x.y.z").visit(&site.guard, HOME).await;
    assert_eq!(seen.status(), StatusCode::UNAUTHORIZED);
    let Seen::Answer(answer) = &seen else { unreachable!() };
    assert_eq!(answer.headers().get_all("www-authenticate").iter().count(), 2, "both ways are told");
    assert_eq!(Browser::new().visit(&site.guard, HOME).await.status(), StatusCode::FOUND, "a person may log in");
}

#[tokio::test]
async fn the_access_token_reaches_the_backend_only_when_asked_for() {
    let site = Site::with(|settings| oidc(settings).forward_access_token = true).await;
    let mut alice = site.alice().await;
    alice.headers.push(("authorization", "Bearer of-the-client".to_owned()));
    let token = alice.visit(&site.guard, HOME).await.header("authorization").to_owned();
    assert!(token.starts_with("Bearer ") && token != "Bearer of-the-client", "{token}");
}

#[tokio::test]
async fn what_is_wrong_with_a_policy_is_told_all_at_once() {
    let site = Site::new().await;
    let mut settings = site.settings.clone();
    let login = oidc(&mut settings);
    login.session.secret.key = "short".to_owned();
    login.plain_http = false;
    login.session.lifetime = "10000h".to_owned();
    login.paths.logout = login.paths.callback.clone();
    login.parameters.insert("redirect_uri".to_owned(), "https://evil.example".to_owned());
    login.headers[0].header = "Host".to_owned();
    login.client_secret = Some(SecretKey { name: "none".to_owned(), key: "x".to_owned() });
    let secrets = sources(&[(Source::Secret("oidc".to_owned()), &[("short", "x")])]);
    let told = Guard::new("shop/login", &settings, &secrets, &site.world.means).expect_err("refused").to_string();
    for part in [
        "oidc.issuer: \"http://127.0.0.1",
        "say plainHttp",
        "clientSecret: there is no Secret none",
        "session.secret: has fewer than 32",
        "session.lifetime",
        "paths.logout",
        "parameters[redirect_uri]",
        "headers[0].header",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}
