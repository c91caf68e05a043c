//! A session that grows old is renewed at the provider (RFC 6749 6), and its cookie when it is used.
//!
//! Providers take a refresh token once, and browsers ask for ten things at once with the same one: the first renews, the
//! others wait for it and share what it got, also those that come a moment later with the old cookie.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::Response;
use http::header::HeaderValue;
use parking_lot::Mutex;

use super::Oidc;
use super::provider::ProviderError;
use super::session::Session;
use crate::asked::Asked;
use crate::memory::Memory;

/// How long what a refresh token was exchanged for is remembered, in seconds.
const REMEMBER: i64 = 60;
const REMEMBERED: usize = 4096;

/// What became of refresh tokens, by their digests.
pub(super) struct Refreshes {
    done: Memory<[u8; 32], Option<Session>>,
    flights: Mutex<HashMap<[u8; 32], Weak<tokio::sync::Mutex<()>>>>,
}

impl Refreshes {
    pub(super) fn new() -> Self {
        Self { done: Memory::new(REMEMBERED), flights: Mutex::default() }
    }

    fn flight(&self, key: [u8; 32]) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock();
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(&key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::default();
        flights.insert(key, Arc::downgrade(&flight));
        flight
    }
}

impl Oidc {
    /// The session as it is now, and the cookies that tell the browser if it changed; none if the provider ended it.
    pub(super) async fn renewed(
        &self,
        asked: &Asked<'_>,
        session: Session,
    ) -> Result<Option<(Session, Vec<HeaderValue>)>, Response<Bytes>> {
        let now = self.means.now();
        let due = session.fresh.is_some_and(|fresh| now >= fresh);
        if let Some(refresh) = session.refresh.clone().filter(|_| due) {
            return match self.refresh(&refresh, &session).await {
                Ok(Some(renewed)) => {
                    let cookies = self.cookies(asked, &renewed).unwrap_or_default();
                    Ok(Some((renewed, cookies)))
                }
                Ok(None) => Ok(None),
                Err(error) => Err(self.failed(&error)),
            };
        }
        // Not with each request: a cookie that is a little old is as good.
        if now.saturating_sub(session.seen) >= (self.idle / 8).max(1) {
            let used = Session { seen: now, ..session };
            let cookies = self.cookies(asked, &used).unwrap_or_default();
            return Ok(Some((used, cookies)));
        }
        Ok(Some((session, Vec::new())))
    }

    async fn refresh(&self, refresh: &str, session: &Session) -> Result<Option<Session>, ProviderError> {
        let mut key = [0; 32];
        key.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, refresh.as_bytes()).as_ref());
        let now = self.means.now();
        if let Some(done) = self.refreshes.done.get(&key, now) {
            return Ok(done);
        }
        let flight = self.refreshes.flight(key);
        let _alone = flight.lock().await;
        if let Some(done) = self.refreshes.done.get(&key, now) {
            return Ok(done);
        }
        let renewed = match self.exchange_refresh(refresh, session).await {
            Ok(renewed) => Some(renewed),
            Err(error) if error.is_invalid_grant() => None,
            Err(error) => return Err(error),
        };
        self.refreshes.done.put(key, renewed.clone(), now + REMEMBER);
        Ok(renewed)
    }

    async fn exchange_refresh(&self, refresh: &str, session: &Session) -> Result<Session, ProviderError> {
        let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        let mut tokens = self.provider.tokens(&self.client, &grant, &self.means).await?;
        let claims = match &tokens.id_token {
            Some(id_token) => {
                let mut claims = self.provider.claims(&self.client, id_token, None, &self.means).await?;
                if claims.get("sub") != session.claims.get("sub") {
                    return Err(ProviderError::IdToken("the refresh token became somebody else's (sub)"));
                }
                self.complete(&mut claims, &tokens).await?;
                claims
            }
            None => session.claims.clone(),
        };
        tokens.refresh_token = tokens.refresh_token.or_else(|| Some(refresh.to_owned()));
        tokens.id_token = tokens.id_token.or_else(|| session.id_token.clone());
        let keeps_id_token = session.id_token.is_some();
        Ok(self.made(tokens, claims, session.begun, keeps_id_token))
    }
}
