//! A strict OpenID provider for tests: what the protocol lets it check it checks, and it notes every fault of its client.
//!
//! It checks the registered redirect URI, PKCE (S256 only), state and nonce being there, client authentication, that codes
//! and refresh tokens are used once, by their client, with the same redirect URI, and in time. Keys can be rotated, answers
//! spoiled, the whole provider be down. It spawns nothing: whoever runs [`Provider::serve`] owns all of it.
//!
//! `cargo run -p knarr-identity --example provider -- --help` runs it by itself. Other tests take it with
//! `#[path = ".../tests/it/provider.rs"] mod provider;`.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

const CODE_LIFE: i64 = 60;
pub(crate) const TOKEN_LIFE: i64 = 300;

/// The one client there is.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    /// None for a public client.
    pub(crate) secret: Option<String>,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) after_logout: Vec<String>,
}

/// What a test may change while the provider runs.
#[derive(Default)]
pub(crate) struct Switches {
    /// Who is logged in without a question; none: a form asks.
    pub(crate) user: Option<String>,
    /// Every answer is 503.
    pub(crate) down: bool,
    /// Members of ID tokens that replace the right ones.
    pub(crate) spoil: Map<String, Value>,
    /// ID tokens say so of their signature, and have none.
    pub(crate) unsigned: bool,
    /// Groups are told by the userinfo endpoint only.
    pub(crate) groups_by_userinfo: bool,
    /// Refresh tokens are refused.
    pub(crate) revoked: bool,
}

/// The provider.
pub(crate) struct Provider {
    issuer: String,
    client: Client,
    users: BTreeMap<String, Map<String, Value>>,
    clock: Box<dyn Fn() -> i64 + Send + Sync>,
    random: SystemRandom,
    state: Mutex<State>,
    pub(crate) switches: Mutex<Switches>,
}

struct Signer {
    id: String,
    pair: EcdsaKeyPair,
}

struct State {
    signer: Signer,
    codes: HashMap<String, Grant>,
    refreshes: HashMap<String, Grant>,
    access: HashMap<String, Grant>,
    /// What the client did wrong, and how often each path was asked for.
    faults: Vec<String>,
    hits: BTreeMap<String, usize>,
}

#[derive(Clone)]
struct Grant {
    user: String,
    redirect_uri: String,
    nonce: String,
    challenge: String,
    at: i64,
    used: bool,
}

type Form = HashMap<String, String>;

impl Provider {
    /// A provider at `issuer` with its users and their claims.
    pub(crate) fn new(
        issuer: &str,
        client: Client,
        users: &[(&str, Value)],
        clock: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Arc<Self> {
        let random = SystemRandom::new();
        let state = State {
            signer: Signer::new(&random),
            codes: HashMap::new(),
            refreshes: HashMap::new(),
            access: HashMap::new(),
            faults: Vec::new(),
            hits: BTreeMap::new(),
        };
        let row =
            |(name, claims): &(&str, Value)| ((*name).to_owned(), claims.as_object().cloned().unwrap_or_default());
        Arc::new(Self {
            issuer: issuer.to_owned(),
            client,
            users: users.iter().map(row).collect(),
            clock: Box::new(clock),
            random,
            state: Mutex::new(state),
            switches: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics with the lock")
    }

    pub(crate) fn switches(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().expect("no test panics with the lock")
    }

    /// What the client has done wrong so far.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.state().faults.clone()
    }

    /// How often a path was asked for.
    pub(crate) fn hits(&self, path: &str) -> usize {
        self.state().hits.get(path).copied().unwrap_or_default()
    }

    /// Signs with a new key from now on; the old one is forgotten.
    pub(crate) fn rotate(&self) {
        self.state().signer = Signer::new(&self.random);
    }

    /// A token signed by this provider, for tests of tokens alone.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.state().signer.sign(claims, &self.random)
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { return };
                    let provider = Arc::clone(&self);
                    let service = service_fn(move |request| {
                        let provider = Arc::clone(&provider);
                        async move { Ok::<_, Infallible>(provider.answer(request).await) }
                    });
                    connections.push(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
                Some(_) = connections.next(), if !connections.is_empty() => {}
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        *self.state().hits.entry(path.clone()).or_default() += 1;
        if self.switches().down {
            return text(StatusCode::SERVICE_UNAVAILABLE, "down");
        }
        let query = form(request.uri().query().unwrap_or_default().as_bytes());
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, 64 * 1024).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let authorization =
            parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        match (parts.method, path.as_str()) {
            (Method::GET, "/.well-known/openid-configuration") => self.metadata(),
            (Method::GET, "/keys") => json_answer(StatusCode::OK, &json!({"keys": [self.state().signer.jwk()]})),
            (Method::GET, "/authorize") => self.authorize(&query, None),
            (Method::POST, "/authorize") => {
                let told = form(&body);
                self.authorize(&query, told.get("user").cloned())
            }
            (Method::POST, "/token") => self.token(&form(&body), authorization),
            (Method::POST, "/revoke") => self.revoke(&form(&body), authorization),
            (Method::GET, "/userinfo") => self.userinfo(authorization),
            (Method::GET, "/logout") => self.logout(&query),
            _ => text(StatusCode::NOT_FOUND, "nothing is here"),
        }
    }

    fn fault(&self, what: impl Into<String>) -> Response<Full<Bytes>> {
        let what = what.into();
        self.state().faults.push(what.clone());
        text(StatusCode::BAD_REQUEST, &what)
    }

    /// An error of the token endpoint (RFC 6749 5.2).
    fn refuse(&self, error: &str, why: &str) -> Response<Full<Bytes>> {
        self.state().faults.push(why.to_owned());
        let status = if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        json_answer(status, &json!({"error": error, "error_description": why}))
    }

    fn metadata(&self) -> Response<Full<Bytes>> {
        let at = |path: &str| format!("{}{path}", self.issuer);
        let metadata = json!({
            "issuer": self.issuer, "jwks_uri": at("/keys"), "authorization_endpoint": at("/authorize"),
            "token_endpoint": at("/token"), "userinfo_endpoint": at("/userinfo"), "revocation_endpoint": at("/revoke"),
            "end_session_endpoint": at("/logout"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true
        });
        json_answer(StatusCode::OK, &metadata)
    }

    fn authorize(&self, query: &Form, told: Option<String>) -> Response<Full<Bytes>> {
        let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        if get("client_id") != self.client.id {
            return self.fault("authorize: another client_id");
        }
        if !self.client.redirect_uris.iter().any(|uri| uri == get("redirect_uri")) {
            return self.fault(format!("authorize: redirect_uri {} is not registered", get("redirect_uri")));
        }
        for (name, expected) in [("response_type", "code"), ("code_challenge_method", "S256")] {
            if get(name) != expected {
                return self.fault(format!("authorize: {name} is not {expected}"));
            }
        }
        for (name, least) in [("state", 16), ("nonce", 16), ("code_challenge", 43)] {
            if get(name).len() < least {
                return self.fault(format!("authorize: {name} is missing or too short"));
            }
        }
        if !get("scope").split(' ').any(|scope| scope == "openid") {
            return self.fault("authorize: the scope is without openid");
        }
        let user = told.or_else(|| self.switches().user.clone());
        let Some(user) = user else {
            let form = "<!doctype html><title>Log in</title><form method=\"post\"><input name=\"user\"><button>Log in</button></form>";
            return html(form);
        };
        let mut back = form_urlencoded::Serializer::new(format!("{}?", get("redirect_uri")));
        if self.users.contains_key(&user) {
            let grant = Grant {
                user,
                redirect_uri: get("redirect_uri").to_owned(),
                nonce: get("nonce").to_owned(),
                challenge: get("code_challenge").to_owned(),
                at: (self.clock)(),
                used: false,
            };
            let code = self.secret();
            self.state().codes.insert(code.clone(), grant);
            back.append_pair("code", &code);
        } else {
            back.append_pair("error", "access_denied");
        }
        back.append_pair("state", get("state")).append_pair("iss", &self.issuer);
        redirect(&back.finish().replacen("?&", "?", 1))
    }

    /// Whether a request comes from the client; says in which way it does not.
    fn is_client(&self, form: &Form, authorization: &str) -> Result<(), &'static str> {
        let (id, secret) = match authorization.strip_prefix("Basic ") {
            Some(encoded) => {
                let bytes = STANDARD.decode(encoded).map_err(|_| "the client's credentials are not base64")?;
                let pair = String::from_utf8(bytes).map_err(|_| "the client's credentials are no text")?;
                let (id, secret) = pair.split_once(':').ok_or("the client's credentials have no colon")?;
                if form.contains_key("client_secret") {
                    return Err("the client authenticates twice");
                }
                let decoded = |text: &str| self::form(format!("x={text}").as_bytes()).remove("x").unwrap_or_default();
                (decoded(id), Some(decoded(secret)))
            }
            None => (form.get("client_id").cloned().unwrap_or_default(), form.get("client_secret").cloned()),
        };
        if id == self.client.id && secret == self.client.secret {
            Ok(())
        } else {
            Err("the client is another, or its secret is wrong")
        }
    }

    fn token(&self, form: &Form, authorization: &str) -> Response<Full<Bytes>> {
        if let Err(why) = self.is_client(form, authorization) {
            return self.refuse("invalid_client", why);
        }
        let get = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        match get("grant_type") {
            "authorization_code" => {
                let now = (self.clock)();
                let grant = {
                    let mut state = self.state();
                    let held = state.codes.get_mut(get("code"));
                    held.map(|grant| (std::mem::replace(&mut grant.used, true), grant.clone()))
                };
                let Some((used, grant)) = grant else { return self.refuse("invalid_grant", "token: unknown code") };
                let challenge = URL_SAFE_NO_PAD
                    .encode(ring::digest::digest(&ring::digest::SHA256, get("code_verifier").as_bytes()));
                let faults = [
                    (used, "token: the code was used before"),
                    (now - grant.at > CODE_LIFE, "token: the code is too old"),
                    (grant.redirect_uri != get("redirect_uri"), "token: another redirect_uri"),
                    (!(43..=128).contains(&get("code_verifier").len()), "token: the code_verifier has a wrong length"),
                    (grant.challenge != challenge, "token: the code_verifier does not match"),
                ];
                match faults.iter().find(|(wrong, _)| *wrong) {
                    Some((_, why)) => self.refuse("invalid_grant", why),
                    None => self.tokens(&grant),
                }
            }
            "refresh_token" => {
                let grant = self.state().refreshes.remove(get("refresh_token"));
                let revoked = self.switches().revoked;
                match grant {
                    Some(_) if revoked => json_answer(StatusCode::BAD_REQUEST, &json!({"error": "invalid_grant"})),
                    Some(grant) => self.tokens(&grant),
                    None => self.refuse("invalid_grant", "token: the refresh token is unknown or was used before"),
                }
            }
            _ => self.refuse("unsupported_grant_type", "token: unknown grant_type"),
        }
    }

    fn tokens(&self, grant: &Grant) -> Response<Full<Bytes>> {
        let now = (self.clock)();
        let (access, refresh) = (self.secret(), self.secret());
        let hash = ring::digest::digest(&ring::digest::SHA256, access.as_bytes());
        let mut claims = self.users.get(&grant.user).cloned().unwrap_or_default();
        if self.switches().groups_by_userinfo {
            claims.remove("groups");
        }
        let own = json!({
            "iss": self.issuer, "aud": self.client.id, "sub": grant.user, "nonce": grant.nonce, "iat": now,
            "exp": now + TOKEN_LIFE, "at_hash": URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
        });
        claims.extend(own.as_object().cloned().unwrap_or_default());
        claims.extend(self.switches().spoil.clone());
        claims.retain(|_, value| !value.is_null());
        let id_token =
            if self.switches().unsigned { unsigned(&Value::Object(claims)) } else { self.sign(&Value::Object(claims)) };
        let mut state = self.state();
        state.access.insert(access.clone(), grant.clone());
        state.refreshes.insert(refresh.clone(), grant.clone());
        let answer = json!({"token_type": "Bearer", "expires_in": TOKEN_LIFE, "id_token": id_token, "access_token": access, "refresh_token": refresh});
        json_answer(StatusCode::OK, &answer)
    }

    fn userinfo(&self, authorization: &str) -> Response<Full<Bytes>> {
        let grant = authorization.strip_prefix("Bearer ").and_then(|token| self.state().access.get(token).cloned());
        let Some(grant) = grant else { return self.fault("userinfo: unknown access token") };
        let mut claims = self.users.get(&grant.user).cloned().unwrap_or_default();
        claims.insert("sub".to_owned(), json!(grant.user));
        json_answer(StatusCode::OK, &Value::Object(claims))
    }

    fn revoke(&self, form: &Form, authorization: &str) -> Response<Full<Bytes>> {
        if let Err(why) = self.is_client(form, authorization) {
            return self.refuse("invalid_client", why);
        }
        self.state().refreshes.remove(form.get("token").map(String::as_str).unwrap_or_default());
        text(StatusCode::OK, "")
    }

    fn logout(&self, query: &Form) -> Response<Full<Bytes>> {
        let get = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let to = get("post_logout_redirect_uri");
        if !self.client.after_logout.iter().any(|known| known == to) {
            return self.fault(format!("logout: {to} is not registered"));
        }
        if get("id_token_hint").split('.').count() != 3 && get("client_id") != self.client.id {
            return self.fault("logout: neither id_token_hint nor client_id");
        }
        redirect(to)
    }

    fn secret(&self) -> String {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes).expect("randomness");
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl Signer {
    fn new(random: &SystemRandom) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random).expect("a key");
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), random).expect("a key");
        let digest = ring::digest::digest(&ring::digest::SHA256, pair.public_key().as_ref());
        Self { id: URL_SAFE_NO_PAD.encode(&digest.as_ref()[..8]), pair }
    }

    fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)})
    }

    fn sign(&self, claims: &Value, random: &SystemRandom) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&json!({"alg": "ES256", "typ": "JWT", "kid": self.id})), part(claims));
        let signature = self.pair.sign(random, message.as_bytes()).expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none"})), part(claims))
}

fn form(text: &[u8]) -> Form {
    form_urlencoded::parse(text).into_owned().collect()
}

fn response(status: StatusCode, name: &str, value: &str, body: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(name, value)
        .header("cache-control", "no-store")
        .body(Full::new(body.into()))
        .expect("a response")
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    response(status, "content-type", "text/plain", body.to_owned())
}

fn html(body: &str) -> Response<Full<Bytes>> {
    response(StatusCode::OK, "content-type", "text/html; charset=utf-8", body.to_owned())
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    response(status, "content-type", "application/json", body.to_string())
}

fn redirect(to: &str) -> Response<Full<Bytes>> {
    response(StatusCode::FOUND, "location", to, String::new())
}
