//! Login at an OpenID provider, as an identity-aware proxy: authorization code flow with PKCE (OpenID Connect Core 1.0,
//! RFC 7636, RFC 9700), sessions in sealed cookies, logout at the provider too.
//!
//! Nothing is kept here between requests but what the provider says of itself: any process with the same Secret serves any
//! session, and a restart ends none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::answer::{self, Outcome};
use crate::asked::{Asked, Pass};
use crate::basic::data_of;
use crate::bearer::{client, safe_url};
use crate::claims::ToHeaders;
use crate::cookies::Jar;
use crate::fault::Faults;
use crate::guard::Sources;
use crate::means::Means;
use crate::outgoing::Speech;
use crate::seal::{LEAST_SECRET, Sealer};
use crate::settings::{self, ClientAuthentication, Paths, Source};

mod allow;
mod login;
mod logout;
mod provider;
mod refresh;
mod session;

pub(crate) use provider::Provider;
use provider::{Client, ProviderError};
use session::Session;

const IDLE: Duration = Duration::from_secs(3600);
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Browsers keep no cookie longer.
const MOST_LIFETIME: Duration = Duration::from_secs(400 * 24 * 3600);

/// One policy's login.
pub(crate) struct Oidc {
    provider: Arc<Provider>,
    client: Client,
    scope: String,
    parameters: Vec<(String, String)>,
    paths: Paths,
    sealer: Sealer,
    /// Of the cookies; tells the sessions of policies on the same host apart.
    tag: String,
    idle: i64,
    lifetime: i64,
    allow: allow::Rules,
    headers: ToHeaders,
    forward_access_token: bool,
    bearer: Option<HeaderName>,
    refreshes: refresh::Refreshes,
    means: Means,
}

impl Oidc {
    pub(crate) fn new(
        name: &str,
        written: &settings::Oidc,
        sources: &dyn Sources,
        means: &Means,
        faults: &mut Faults,
    ) -> Option<Self> {
        faults.take("spec.oidc.issuer", safe_url(&written.issuer, written.plain_http));
        if written.client_id.is_empty() {
            faults.add("spec.oidc.clientId", "is empty");
        }
        let secret = written.client_secret.as_ref().map(|secret| {
            let value = faults.take("spec.oidc.clientSecret", value_of(sources, secret))?;
            faults.take("spec.oidc.clientSecret", String::from_utf8(value).map_err(|_| "is no text"))
        });
        if secret.is_none() && written.client_authentication != ClientAuthentication::Basic {
            faults.add("spec.oidc.clientAuthentication", "needs a clientSecret");
        }
        let session = faults.take("spec.oidc.session.secret", value_of(sources, &written.session.secret));
        if session.as_ref().is_some_and(|secret| secret.trim_ascii().len() < LEAST_SECRET) {
            faults.add(
                "spec.oidc.session.secret",
                format_args!("has fewer than {LEAST_SECRET} bytes: make one with openssl rand -base64 32"),
            );
        }
        let idle = faults.duration("spec.oidc.session.idle", &written.session.idle, IDLE, MOST_LIFETIME);
        let lifetime =
            faults.duration("spec.oidc.session.lifetime", &written.session.lifetime, LIFETIME, MOST_LIFETIME);
        if idle > lifetime && !written.session.idle.is_empty() && written.session.idle != "1h" {
            faults.add("spec.oidc.session.idle", "is longer than lifetime");
        }
        if lifetime.is_zero() || idle.is_zero() {
            faults.add("spec.oidc.session", "would end at once: say an idle and a lifetime above 0s");
        }
        check_paths(&written.paths, faults);
        check_parameters(written, faults);
        let headers = ToHeaders::new("spec.oidc.headers", &written.headers, faults);
        let (outgoing, trust) =
            client(written.authorities.as_ref(), "spec.oidc.authorities", Speech::Http1, sources, means, faults)?;
        let provider =
            means.provider(format!("{trust}|{}", written.issuer), || Provider::new(written.issuer.clone(), outgoing));
        let context = format!("{name}\0{}\0{}", written.issuer, written.client_id);
        let digest = ring::digest::digest(&ring::digest::SHA256, context.as_bytes());
        let mut scopes = vec!["openid"];
        scopes.extend(written.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid"));
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Some(Self {
            provider,
            client: Client {
                id: written.client_id.clone(),
                secret: match secret {
                    Some(secret) => Some(secret?.trim().to_owned()),
                    None => None,
                },
                authentication: written.client_authentication,
            },
            scope: scopes.join(" "),
            parameters: written.parameters.clone().into_iter().collect(),
            paths: written.paths.clone(),
            sealer: Sealer::new(session?, &context),
            tag: hex::encode(&digest.as_ref()[..4]),
            idle: seconds(idle.min(lifetime)),
            lifetime: seconds(lifetime),
            allow: allow::Rules::new(&written.allow),
            headers,
            forward_access_token: written.forward_access_token,
            bearer: written.forward_access_token.then_some(header::AUTHORIZATION),
            refreshes: refresh::Refreshes::new(),
            means: means.clone(),
        })
    }

    /// Headers that only we set.
    pub(crate) fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.names().chain(&self.bearer)
    }

    /// Whether a path is ours to answer.
    pub(crate) fn owns(&self, path: &str) -> bool {
        [&self.paths.callback, &self.paths.login, &self.paths.logout].iter().any(|own| own.as_str() == path)
    }

    pub(crate) async fn ask(&self, asked: &Asked<'_>) -> Outcome {
        let Some(origin) = asked.origin() else {
            return Outcome::Refuse(answer::text(StatusCode::BAD_REQUEST, "the request's host is none"));
        };
        let path = asked.path();
        if path == self.paths.callback {
            return Outcome::Refuse(self.callback(asked, &origin).await);
        }
        if path == self.paths.logout {
            return Outcome::Refuse(self.logout(asked, &origin).await);
        }
        if path == self.paths.login {
            return Outcome::Refuse(self.login(asked, &origin).await);
        }
        let Some(session) = self.session(asked) else {
            return Outcome::Refuse(self.stranger(asked, &origin).await);
        };
        match self.renewed(asked, session).await {
            Ok(Some((session, cookies))) => self.known(asked, &session, cookies),
            Ok(None) => Outcome::Refuse(self.stranger(asked, &origin).await),
            Err(answer) => Outcome::Refuse(answer),
        }
    }

    /// Answers one who has no session: a person is sent to the provider, a program is told.
    async fn stranger(&self, asked: &Asked<'_>, origin: &str) -> Response<Bytes> {
        if !asked.is_navigation() {
            let challenge = format!("OpenIDConnect realm={}", answer::quoted(&self.provider.issuer));
            return answer::unauthorized(&challenge, "a login is needed");
        }
        self.begin(asked, origin, asked.target).await
    }

    /// Decides about one who has a session.
    fn known(&self, asked: &Asked<'_>, session: &Session, cookies: Vec<HeaderValue>) -> Outcome {
        let who = session.subject().map(str::to_owned);
        if let Err(why) = self.allow.check(&session.claims) {
            tracing::debug!(who, "a user is not allowed: {why}");
            let text = format!("<p>{why}.</p><p><a href=\"{}\">Sign in as somebody else</a></p>", self.paths.logout);
            let mut page =
                if asked.is_navigation() { answer::page("Access denied", &text) } else { answer::forbidden(why) };
            *page.status_mut() = StatusCode::FORBIDDEN;
            return Outcome::Refuse(page);
        }
        let mut pass = Pass { set: self.headers.of(&session.claims), who, ..Pass::default() };
        if self.forward_access_token
            && let Some(token) = &session.access
            && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            pass.set.push((header::AUTHORIZATION, value));
        }
        pass.respond.extend(cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
        pass.hidden_cookies.push(self.jar(asked).name().to_owned());
        pass.hidden_cookies.push(self.login_jar(asked, "").name().trim_end_matches('.').to_owned());
        Outcome::Pass(pass)
    }

    /// The cookies of sessions.
    fn jar(&self, asked: &Asked<'_>) -> Jar {
        Jar::new(&format!("knarr-{}", self.tag), asked.scheme == "https")
    }

    /// The cookie of one login that has begun.
    fn login_jar(&self, asked: &Asked<'_>, state: &str) -> Jar {
        Jar::new(&format!("knarr-login-{}.{state}", self.tag), asked.scheme == "https")
    }

    /// The claims of a user that must be in a session.
    fn needed(&self) -> impl Iterator<Item = &str> {
        ["sub", "email"].into_iter().chain(self.allow.claims()).chain(self.headers.claims())
    }

    /// What tells a client that the provider could not do its part.
    fn failed(&self, error: &ProviderError) -> Response<Bytes> {
        tracing::warn!(issuer = self.provider.issuer, "a login fails: {}", base::error::chain(error));
        if error.is_temporary() {
            answer::unavailable("the identity provider does not answer")
        } else {
            answer::text(StatusCode::BAD_GATEWAY, "the identity provider's answer is wrong")
        }
    }
}

fn value_of(sources: &dyn Sources, written: &settings::SecretKey) -> Result<Vec<u8>, String> {
    let data = data_of(sources, &Source::Secret(written.name.clone()))?;
    let value = data.get(&written.key).filter(|value| !value.trim_ascii().is_empty());
    value.cloned().ok_or_else(|| format!("Secret {} has no value for the key {}", written.name, written.key))
}

fn check_paths(paths: &Paths, faults: &mut Faults) {
    let rows = [
        ("callback", &paths.callback),
        ("login", &paths.login),
        ("logout", &paths.logout),
        ("afterLogout", &paths.after_logout),
    ];
    for (index, (name, path)) in rows.iter().enumerate() {
        if !path.starts_with('/') || path.starts_with("//") || path.contains(['?', '#', '\\', '"', '<', '&']) {
            faults.add(format!("spec.oidc.paths.{name}"), format_args!("{path:?} is no path of this host"));
        }
        if index < 3 && rows[..index].iter().any(|(_, other)| other == path) {
            faults.add(format!("spec.oidc.paths.{name}"), "is the same as another");
        }
    }
}

/// Parameters of a request to log in that the protocol needs.
const OURS: [&str; 9] = [
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

fn check_parameters(written: &settings::Oidc, faults: &mut Faults) {
    for name in written.parameters.keys().filter(|name| OURS.contains(&name.as_str()) || name.as_str() == "request") {
        faults.add(format!("spec.oidc.parameters[{name}]"), "is the protocol's own: leave it out");
    }
    for (index, scope) in written.scopes.iter().enumerate() {
        let valid =
            !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if !valid {
            faults.add(format!("spec.oidc.scopes[{index}]"), format_args!("{scope:?} is no scope"));
        }
    }
}

/// Whether a request changes nothing by itself (RFC 9110 9.2.1), for paths that a link may lead to.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
