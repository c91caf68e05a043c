//! Where an issuer's keys come from: fetched once for all who wait, kept, and fetched again behind their backs.
//!
//! A token that names an unknown key makes the keys be fetched, for keys rotate; but not more often than every
//! [`RETRY`], for anybody can name a key. Keys that cannot be fetched again count for [`STALE`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;

use super::key::KeySet;
use crate::means::Means;
use crate::outgoing::{Outgoing, OutgoingError};

/// Keys older than this are fetched again beside the request that finds them so.
const FRESH: i64 = 300;
/// Keys older than this no longer count.
const STALE: i64 = 24 * 3600;
/// How long a failure, or a key that nobody knows, is not asked about again.
const RETRY: i64 = 10;
const TIMEOUT: Duration = Duration::from_secs(5);
/// A larger document is none.
pub(crate) const DOCUMENT: usize = 512 * 1024;

/// How keys are found.
#[derive(Clone, Debug)]
enum Place {
    Fixed,
    Url(String),
    /// By the discovery document of this issuer.
    Discovery(String),
}

/// The keys of one issuer.
pub(crate) struct Issuer {
    place: Place,
    client: Option<Outgoing>,
    known: Mutex<Known>,
    flight: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Option<Arc<KeySet>>,
    fetched: i64,
    tried: Option<i64>,
}

/// Why there are no keys to verify with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("cannot fetch {url}")]
    Fetch { url: String, source: OutgoingError },
    #[error("{url} answered with status {status}")]
    Status { url: String, status: http::StatusCode },
    #[error("what {url} answered is wrong: {why}")]
    Document { url: String, why: String },
    #[error("the keys could not be fetched a moment ago")]
    Recently,
}

impl Issuer {
    /// Keys that never change.
    pub(crate) fn fixed(keys: KeySet) -> Self {
        let known = Known { keys: Some(Arc::new(keys)), fetched: i64::MAX, tried: None };
        Self { place: Place::Fixed, client: None, known: Mutex::new(known), flight: tokio::sync::Mutex::default() }
    }

    /// Keys at `url`.
    pub(crate) fn at(url: String, client: Outgoing) -> Self {
        Self::with(Place::Url(url), client)
    }

    /// Keys where the discovery document of `issuer` says.
    pub(crate) fn discovered(issuer: String, client: Outgoing) -> Self {
        Self::with(Place::Discovery(issuer), client)
    }

    fn with(place: Place, client: Outgoing) -> Self {
        Self { place, client: Some(client), known: Mutex::default(), flight: tokio::sync::Mutex::default() }
    }

    /// The keys to verify a token with that names the key `id`.
    pub(crate) async fn keys(self: &Arc<Self>, id: Option<&str>, means: &Means) -> Result<Arc<KeySet>, KeysError> {
        let now = means.now();
        if let Some(keys) = self.usable(now, id) {
            if self.is_old(now) {
                let (issuer, again) = (Arc::clone(self), means.clone());
                means.children.spawn("keys of an issuer", async move { issuer.refresh(&again).await });
            }
            return Ok(keys);
        }
        let _alone = self.flight.lock().await;
        if let Some(keys) = self.usable(now, id) {
            return Ok(keys);
        }
        self.try_fetch(now).await?;
        self.known.lock().keys.clone().ok_or(KeysError::Recently)
    }

    async fn refresh(&self, means: &Means) {
        let _alone = self.flight.lock().await;
        let now = means.now();
        if self.is_old(now)
            && let Err(error) = self.try_fetch(now).await
        {
            tracing::warn!("keys are not refreshed: {}", base::error::chain(&error));
        }
    }

    /// Keys that count now and have the one that is asked for; also when they have not, if it is too early to ask again.
    fn usable(&self, now: i64, id: Option<&str>) -> Option<Arc<KeySet>> {
        let known = self.known.lock();
        let keys = known.keys.as_ref().filter(|_| matches!(self.place, Place::Fixed) || now - known.fetched < STALE)?;
        let asked = recently(known.tried, now) || matches!(self.place, Place::Fixed);
        (keys.knows(id) || asked).then(|| Arc::clone(keys))
    }

    fn is_old(&self, now: i64) -> bool {
        let known = self.known.lock();
        !matches!(self.place, Place::Fixed) && now - known.fetched >= FRESH && !recently(known.tried, now)
    }

    async fn try_fetch(&self, now: i64) -> Result<(), KeysError> {
        {
            let mut known = self.known.lock();
            if recently(known.tried, now) {
                return Err(KeysError::Recently);
            }
            known.tried = Some(now);
        }
        let keys = self.fetch().await?;
        let mut known = self.known.lock();
        known.keys = Some(Arc::new(keys));
        known.fetched = now;
        Ok(())
    }

    async fn fetch(&self) -> Result<KeySet, KeysError> {
        let Some(client) = &self.client else { return Err(KeysError::Recently) };
        let url = match &self.place {
            Place::Url(url) => url.clone(),
            Place::Discovery(issuer) => discover(client, issuer).await?.jwks_uri,
            Place::Fixed => return Err(KeysError::Recently),
        };
        let document = get(client, &url).await?;
        KeySet::parse(&document).map_err(|why| KeysError::Document { url, why })
    }
}

fn recently(tried: Option<i64>, now: i64) -> bool {
    tried.is_some_and(|tried| (0..RETRY).contains(&(now - tried)))
}

/// What a provider says of itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) issuer: String,
    pub(crate) jwks_uri: String,
    #[serde(default)]
    pub(crate) authorization_endpoint: Option<String>,
    #[serde(default)]
    pub(crate) token_endpoint: Option<String>,
    #[serde(default)]
    pub(crate) userinfo_endpoint: Option<String>,
    #[serde(default)]
    pub(crate) end_session_endpoint: Option<String>,
    #[serde(default)]
    pub(crate) revocation_endpoint: Option<String>,
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
}

/// Fetches a provider's discovery document, which must be of that very issuer.
pub(crate) async fn discover(client: &Outgoing, issuer: &str) -> Result<Metadata, KeysError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let document = get(client, &url).await?;
    let refuse = |why: String| KeysError::Document { url: url.clone(), why };
    let metadata: Metadata = serde_json::from_slice(&document).map_err(|error| refuse(error.to_string()))?;
    if metadata.issuer != issuer {
        return Err(refuse(format!("it is of the issuer {:?}, not {issuer:?}", metadata.issuer)));
    }
    let secure = issuer.starts_with("https:");
    let endpoints = [
        Some(&metadata.jwks_uri),
        metadata.authorization_endpoint.as_ref(),
        metadata.token_endpoint.as_ref(),
        metadata.userinfo_endpoint.as_ref(),
        metadata.end_session_endpoint.as_ref(),
        metadata.revocation_endpoint.as_ref(),
    ];
    for endpoint in endpoints.into_iter().flatten() {
        if !(endpoint.starts_with("https://") || !secure && endpoint.starts_with("http://")) {
            return Err(refuse(format!("the endpoint {endpoint:?} is not https")));
        }
    }
    Ok(metadata)
}

async fn get(client: &Outgoing, url: &str) -> Result<bytes::Bytes, KeysError> {
    let answer = client.get(url, TIMEOUT, DOCUMENT).await;
    let answer = answer.map_err(|source| KeysError::Fetch { url: url.to_owned(), source })?;
    match answer.status {
        http::StatusCode::OK => Ok(answer.body),
        status => Err(KeysError::Status { url: url.to_owned(), status }),
    }
}
