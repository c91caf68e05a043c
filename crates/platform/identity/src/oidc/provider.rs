//! The provider: what it says of itself, its tokens, and what it is told.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::Value;

use crate::claims::Claims;
use crate::jose::{ALGORITHMS, Checks, Issuer, KeysError, Metadata, Token, TokenError, discover};
use crate::means::{Means, NoRandomness};
use crate::outgoing::{Outgoing, OutgoingError, Received};
use crate::settings::ClientAuthentication;
use crate::variables::QUERY;

/// How long what a provider says of itself counts, in seconds.
const FRESH: i64 = 3600;
/// After a failure the provider is left alone for so long.
const RETRY: i64 = 2;
const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER: usize = 256 * 1024;
const LEEWAY: Duration = Duration::from_secs(60);

/// An OpenID provider, shared by all policies that name it.
pub(crate) struct Provider {
    pub(super) issuer: String,
    client: Outgoing,
    keys: Arc<Issuer>,
    known: Mutex<Known>,
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    metadata: Option<Arc<Metadata>>,
    fetched: i64,
    failed: Option<i64>,
}

/// Who we are at a provider.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    pub(super) authentication: ClientAuthentication,
}

/// Why a provider did not do its part.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("cannot learn what the provider offers")]
    Metadata(#[source] KeysError),
    #[error("the provider failed a moment ago")]
    Recently,
    #[error("the provider has no {0}")]
    Missing(&'static str),
    #[error("cannot ask the provider's {endpoint}")]
    Ask { endpoint: &'static str, source: OutgoingError },
    #[error("the provider's {endpoint} answered with status {status}: {error}")]
    Refused { endpoint: &'static str, status: StatusCode, error: String },
    #[error("the answer of the provider's {0} cannot be read")]
    Malformed(&'static str),
    #[error("the provider's keys are not known")]
    Keys(#[source] KeysError),
    #[error("the ID token is not believed")]
    Token(#[from] TokenError),
    #[error("the ID token is wrong: {0}")]
    IdToken(&'static str),
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

impl ProviderError {
    /// Whether it may be otherwise in a moment.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Metadata(_) | Self::Recently | Self::Ask { .. } | Self::Keys(_) | Self::Random(_) => true,
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Missing(_) | Self::Malformed(_) | Self::Token(_) | Self::IdToken(_) => false,
        }
    }

    /// Whether the provider says that a grant (a code, a refresh token) counts no more (RFC 6749 5.2).
    pub(super) fn is_invalid_grant(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error == "invalid_grant")
    }
}

/// What a token endpoint answers (RFC 6749 5.1).
#[derive(Debug, Deserialize)]
pub(super) struct Tokens {
    #[serde(default)]
    pub(super) id_token: Option<String>,
    #[serde(default)]
    pub(super) access_token: Option<String>,
    #[serde(default)]
    pub(super) refresh_token: Option<String>,
    #[serde(default)]
    pub(super) expires_in: Option<i64>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Provider {
    pub(crate) fn new(issuer: String, client: Outgoing) -> Self {
        let keys = Arc::new(Issuer::discovered(issuer.clone(), client.clone()));
        Self { issuer, client, keys, known: Mutex::default(), flight: tokio::sync::Mutex::default() }
    }

    /// What the provider says of itself; fetched once for all who wait.
    pub(super) async fn metadata(&self, means: &Means) -> Result<Arc<Metadata>, ProviderError> {
        if let Some(metadata) = self.fresh(means.now()) {
            return Ok(metadata);
        }
        let _alone = self.flight.lock().await;
        let now = means.now();
        if let Some(metadata) = self.fresh(now) {
            return Ok(metadata);
        }
        if self.known.lock().failed.is_some_and(|failed| (0..RETRY).contains(&(now - failed))) {
            return self.stale().ok_or(ProviderError::Recently);
        }
        match discover(&self.client, &self.issuer).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                *self.known.lock() = Known { metadata: Some(Arc::clone(&metadata)), fetched: now, failed: None };
                Ok(metadata)
            }
            Err(error) => {
                self.known.lock().failed = Some(now);
                self.stale().ok_or(ProviderError::Metadata(error))
            }
        }
    }

    fn fresh(&self, now: i64) -> Option<Arc<Metadata>> {
        let known = self.known.lock();
        known.metadata.as_ref().filter(|_| (0..FRESH).contains(&(now - known.fetched))).map(Arc::clone)
    }

    fn stale(&self) -> Option<Arc<Metadata>> {
        self.known.lock().metadata.clone()
    }

    /// Asks the token endpoint with a grant.
    pub(super) async fn tokens(
        &self,
        client: &Client,
        grant: &[(&str, &str)],
        means: &Means,
    ) -> Result<Tokens, ProviderError> {
        const ENDPOINT: &str = "token endpoint";
        let metadata = self.metadata(means).await?;
        let endpoint = metadata.token_endpoint.as_ref().ok_or(ProviderError::Missing(ENDPOINT))?;
        let answer = self.post(ENDPOINT, endpoint, client, grant).await?;
        serde_json::from_slice(&answer.body).map_err(|_| ProviderError::Malformed(ENDPOINT))
    }

    /// Tells the provider that a refresh token counts no more (RFC 7009); it need not know how.
    pub(super) async fn revoke(&self, client: &Client, refresh: &str, means: &Means) -> Result<(), ProviderError> {
        let metadata = self.metadata(means).await?;
        if let Some(endpoint) = &metadata.revocation_endpoint {
            let form = [("token", refresh), ("token_type_hint", "refresh_token")];
            self.post("revocation endpoint", endpoint, client, &form).await?;
        }
        Ok(())
    }

    async fn post(
        &self,
        endpoint: &'static str,
        url: &str,
        client: &Client,
        form: &[(&str, &str)],
    ) -> Result<Received, ProviderError> {
        let request = filled(endpoint, url, client, form)?;
        let answer = self.client.send(request, TIMEOUT, ANSWER).await;
        let answer = answer.map_err(|source| ProviderError::Ask { endpoint, source })?;
        if answer.status != StatusCode::OK {
            let error =
                serde_json::from_slice::<Refusal>(&answer.body).map(|refusal| refusal.error).unwrap_or_default();
            return Err(ProviderError::Refused { endpoint, status: answer.status, error });
        }
        Ok(answer)
    }

    /// The claims of an ID token (OpenID Connect Core 3.1.3.7): of this provider, for us alone, of this login.
    pub(super) async fn claims(
        &self,
        client: &Client,
        id_token: &str,
        nonce: Option<&str>,
        means: &Means,
    ) -> Result<Claims, ProviderError> {
        let token = Token::read(id_token)?;
        token.algorithm(&ALGORITHMS)?;
        let keys = self.keys.keys(token.key_id(), means).await.map_err(ProviderError::Keys)?;
        let checks = Checks {
            issuer: &self.issuer,
            audiences: std::slice::from_ref(&client.id),
            algorithms: &ALGORITHMS,
            now: means.now(),
            leeway: LEEWAY,
        };
        let claims = token.verify(&keys, &checks)?;
        let several = claims.get("aud").and_then(Value::as_array).is_some_and(|audiences| audiences.len() > 1);
        let party = claims.get("azp").and_then(Value::as_str);
        if party.is_some_and(|party| party != client.id) || (several && party.is_none()) {
            return Err(ProviderError::IdToken("it was made for another client (azp)"));
        }
        let said = claims.get("nonce").and_then(Value::as_str);
        if nonce.is_some_and(|nonce| said.is_none_or(|said| !crate::basic::equal(said.as_bytes(), nonce.as_bytes()))) {
            return Err(ProviderError::IdToken("it is of another login (nonce)"));
        }
        if claims.get("sub").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(ProviderError::IdToken("it names nobody (sub)"));
        }
        Ok(claims)
    }

    /// What the userinfo endpoint adds to the claims of an ID token, of the same subject (OpenID Connect Core 5.3).
    pub(super) async fn userinfo(&self, access: &str, claims: &mut Claims, means: &Means) -> Result<(), ProviderError> {
        const ENDPOINT: &str = "userinfo endpoint";
        let metadata = self.metadata(means).await?;
        let Some(url) = &metadata.userinfo_endpoint else { return Ok(()) };
        let request =
            Request::get(url).header("authorization", format!("Bearer {access}")).header("accept", "application/json");
        let request = request.body(Full::default()).map_err(|_| ProviderError::Malformed(ENDPOINT))?;
        let answer = self.client.send(request, TIMEOUT, ANSWER).await;
        let answer = answer.map_err(|source| ProviderError::Ask { endpoint: ENDPOINT, source })?;
        if answer.status != StatusCode::OK {
            return Err(ProviderError::Refused { endpoint: ENDPOINT, status: answer.status, error: String::new() });
        }
        let more: Claims = serde_json::from_slice(&answer.body).map_err(|_| ProviderError::Malformed(ENDPOINT))?;
        if more.get("sub") != claims.get("sub") {
            return Err(ProviderError::IdToken("the userinfo endpoint speaks of somebody else (sub)"));
        }
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }
}

/// A value nobody can guess, as text.
pub(super) fn secret(means: &Means) -> Result<String, NoRandomness> {
    Ok(URL_SAFE_NO_PAD.encode(means.random::<32>()?))
}

/// The challenge that a verifier answers (RFC 7636 4.2, S256).
pub(super) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes()))
}

/// A form for the provider, with what shows who we are. Apart, so that nothing of it is held while the answer is waited for.
fn filled(
    endpoint: &'static str,
    url: &str,
    client: &Client,
    form: &[(&str, &str)],
) -> Result<Request<Full<Bytes>>, ProviderError> {
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    let mut request = Request::post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json");
    match (&client.secret, client.authentication) {
        (Some(secret), ClientAuthentication::Basic) => {
            // Both are form-encoded first (RFC 6749 2.3.1).
            let encoded = |text: &str| utf8_percent_encode(text, QUERY).to_string();
            let pair = STANDARD.encode(format!("{}:{}", encoded(&client.id), encoded(secret)));
            request = request.header("authorization", format!("Basic {pair}"));
        }
        (Some(secret), ClientAuthentication::Post) => {
            body.append_pair("client_id", &client.id).append_pair("client_secret", secret);
        }
        (None, _) => {
            body.append_pair("client_id", &client.id);
        }
    }
    request.body(Full::new(Bytes::from(body.finish()))).map_err(|_| ProviderError::Malformed(endpoint))
}
