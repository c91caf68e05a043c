//! Tokens verified with keys that are fetched: once for many, again behind their backs, and what strangers cannot cause.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use http::StatusCode;
use knarr_identity::{ClaimHeader, ClaimRule, Guard, Jwt, Settings};
use serde_json::{Value, json};

use crate::browser::{Browser, Seen, World, sources};
use crate::provider::{Client, Provider};

const PAGE: &str = "https://app.example/";

struct Site {
    world: World,
    provider: Arc<Provider>,
    issuer: String,
    guard: Guard,
}

impl Site {
    async fn new(change: impl FnOnce(&mut Jwt)) -> Self {
        let world = World::new();
        let (listener, address) = world.listen().await;
        let issuer = format!("http://{address}");
        let client = Client { id: "web".to_owned(), secret: None, redirect_uris: vec![], after_logout: vec![] };
        let clock = world.clock.clone();
        let provider = Provider::new(&issuer, client, &[], move || clock.now());
        world.context.children.spawn("provider", Arc::clone(&provider).serve(listener));
        let mut jwt = Jwt {
            issuer: issuer.clone(),
            plain_http: true,
            audiences: vec!["api".to_owned()],
            headers: vec![ClaimHeader { claim: "sub".to_owned(), header: "X-User".to_owned() }],
            ..Jwt::default()
        };
        change(&mut jwt);
        let settings = Settings { jwt: Some(jwt), ..Settings::default() };
        let guard = Guard::new("shop/api", &settings, &sources(&[]), &world.means).expect("a good policy");
        Self { world, provider, issuer, guard }
    }

    fn token(&self, more: &Value) -> String {
        let mut claims = json!({"iss": self.issuer, "aud": "api", "sub": "robot", "exp": self.world.clock.now() + 60});
        claims.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("an object"));
        self.provider.sign(&claims)
    }

    async fn ask(&self, token: &str) -> Seen {
        Browser::program()
            .with("authorization", &format!("Bearer {token}"))
            .with("x-user", "admin")
            .visit(&self.guard, PAGE)
            .await
    }

    async fn status(&self, token: &str) -> u16 {
        self.ask(token).await.status().as_u16()
    }
}

#[tokio::test]
async fn many_at_once_fetch_the_keys_once() {
    let site = Site::new(|_| {}).await;
    let token = site.token(&json!({}));
    let seen = join_all((0..50).map(|_| site.ask(&token))).await;
    assert!(seen.iter().all(|seen| seen.header("x-user") == "robot"));
    assert_eq!((site.provider.hits("/keys"), site.provider.hits("/.well-known/openid-configuration")), (1, 1));
    // A policy that changed does not fetch them again.
    let jwt =
        Jwt { issuer: site.issuer.clone(), plain_http: true, audiences: vec!["api".to_owned()], ..Jwt::default() };
    let settings = Settings { jwt: Some(jwt), ..Settings::default() };
    let anew = Guard::new("shop/api", &settings, &sources(&[]), &site.world.means).expect("a good policy");
    let seen = Browser::program().with("authorization", &format!("Bearer {token}")).visit(&anew, PAGE).await;
    assert_eq!((seen.status(), site.provider.hits("/keys")), (StatusCode::OK, 1));
}

#[tokio::test]
async fn strangers_cannot_make_us_ask_an_issuer_again_and_again() {
    let site = Site::new(|_| {}).await;
    assert_eq!(site.status(&site.token(&json!({}))).await, 200);
    let unknown = |index: usize| {
        let header = json!({"alg": "ES256", "kid": format!("k{index}")}).to_string();
        let part = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text);
        format!("{}.{}.{}", part(&header), part("{}"), part("x"))
    };
    for index in 0..100 {
        assert_eq!(site.status(&unknown(index)).await, 401);
    }
    assert_eq!(site.provider.hits("/keys"), 1, "just now");
    site.world.clock.pass(10);
    for index in 0..100 {
        assert_eq!(site.status(&unknown(index)).await, 401);
    }
    assert_eq!(site.provider.hits("/keys"), 2);
    assert_eq!(site.status("no.token").await, 401);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_left_alone_for_a_while() {
    let site = Site::new(|_| {}).await;
    site.provider.switches().down = true;
    for _ in 0..20 {
        assert_eq!(site.status(&site.token(&json!({}))).await, 503);
    }
    assert_eq!(site.provider.hits("/.well-known/openid-configuration"), 1);
    site.provider.switches().down = false;
    assert_eq!(site.status(&site.token(&json!({}))).await, 503);
    site.world.clock.pass(10);
    assert_eq!(site.status(&site.token(&json!({}))).await, 200);
}

#[tokio::test]
async fn old_keys_serve_while_new_ones_are_fetched_and_for_a_day_without_their_issuer() {
    let site = Site::new(|_| {}).await;
    assert_eq!(site.status(&site.token(&json!({}))).await, 200);
    site.world.clock.pass(300);
    assert_eq!(site.status(&site.token(&json!({}))).await, 200);
    let fetched = async {
        while site.provider.hits("/keys") < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), fetched).await.expect("fetched behind the request's back");
    site.provider.switches().down = true;
    site.world.clock.pass(23 * 3600);
    assert_eq!(site.status(&site.token(&json!({}))).await, 200);
    site.world.clock.pass(2 * 3600);
    assert_eq!(site.status(&site.token(&json!({}))).await, 503, "a key that was withdrawn must not serve for ever");
    site.provider.switches().down = false;
    site.world.clock.pass(10);
    assert_eq!(site.status(&site.token(&json!({}))).await, 200);
}

#[tokio::test]
async fn rules_about_claims_decide_between_401_and_403() {
    let rule = ClaimRule { claim: "scope".to_owned(), any_of: vec!["write".to_owned()] };
    let site = Site::new(|jwt| jwt.claims = vec![rule]).await;
    assert_eq!(site.status(&site.token(&json!({"scope": "read write"}))).await, 200);
    assert_eq!(site.status(&site.token(&json!({"scope": "read"}))).await, 403);
    let seen = site.ask(&site.token(&json!({"aud": "other"}))).await;
    let Seen::Answer(answer) = &seen else { panic!("passed") };
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let challenge = answer.headers()["www-authenticate"].to_str().expect("text");
    assert_eq!(challenge, "Bearer error=\"invalid_token\", error_description=\"the token is for another audience\"");
}

#[tokio::test]
async fn keys_in_the_policy_need_nobody() {
    let other = Site::new(|_| {}).await;
    let (_, keys) = crate::browser::fetch(&format!("{}/keys", other.issuer)).await;
    let issuer = other.issuer.clone();
    let site = Site::new(|jwt| (jwt.keys, jwt.issuer) = (Some(keys), issuer)).await;
    assert_eq!(site.status(&other.token(&json!({}))).await, 200);
    assert_eq!(site.status(&site.token(&json!({}))).await, 401);
    assert_eq!(site.provider.hits("/keys"), 0);
}
