//! The stages of the cache, for requests whose rule has one.
//!
//! Invariant: whoever may not have an answer never gets to the cache: a request is decided on, and its guards have let it
//! pass, before the cache is asked. Objects of one share of a rule are not served for another.

use cache::{Exchange, Rules, Site};
use pingora_cache::{CacheKey, ForcedFreshness, RespCacheable};
use pingora_cache::{CacheMeta, NoCacheReason};
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::{Request, arrival, headers};
use crate::model::Filter;

impl Request {
    /// Lets the cache see the request, when its rule has one.
    pub(super) fn enter_cache(&mut self, session: &mut Session) {
        let Some(rule) = self.rule.as_ref().filter(|rule| rule.cached.is_some()).cloned() else { return };
        let Some(cached) = &rule.cached else { return };
        let host = headers::host(session.req_header()).unwrap_or_default().to_owned();
        let site = Site {
            tls: arrival(session).is_some_and(|arrival| arrival.greeting.is_some()),
            host: &host,
            route: &format!("{}#{}", rule.source, self.share),
            known: self.filters().any(|filter| matches!(filter, Filter::Guard(_))),
        };
        self.exchange = Some(Exchange::begin(cached.cache, &cached.rules, &site, session));
    }

    pub(super) fn cache_key(&self) -> Result<CacheKey> {
        match &self.exchange {
            Some(exchange) => Ok(exchange.key()),
            None => Error::e_explain(ErrorType::InternalError, "the cache is on for a request that has none"),
        }
    }

    pub(super) fn cache_hit(&mut self, session: &mut Session, meta: &CacheMeta) -> Result<Option<ForcedFreshness>> {
        self.exchange.as_mut().map_or(Ok(None), |exchange| exchange.hit(session, meta))
    }

    pub(super) async fn may_ask_origin(&mut self, session: &mut Session) -> Result<bool> {
        match &mut self.exchange {
            Some(exchange) => exchange.may_ask_origin(session).await,
            None => Ok(true),
        }
    }

    pub(super) fn cache_asks(&mut self, session: &Session, request: &mut RequestHeader) -> Result<()> {
        self.exchange.as_mut().map_or(Ok(()), |exchange| exchange.ask(session, request))
    }

    pub(super) fn cache_hears(&mut self, session: &Session, response: &ResponseHeader) {
        if let Some(exchange) = &mut self.exchange {
            exchange.came(session, response);
        }
    }

    pub(super) fn cacheable(&mut self, response: &ResponseHeader) -> RespCacheable {
        let not_used = RespCacheable::Uncacheable(NoCacheReason::NeverEnabled);
        self.exchange.as_mut().map_or(not_used, |exchange| exchange.store(response))
    }

    pub(super) fn cache_answers(&mut self, session: &mut Session, response: &mut ResponseHeader) -> Result<()> {
        self.exchange.as_mut().map_or(Ok(()), |exchange| exchange.answer(session, response))
    }
}

/// A cache, and how responses of a rule are cached in it.
#[derive(Clone, Debug)]
pub struct Cached {
    /// The cache.
    pub cache: &'static cache::Cache,
    /// How.
    pub rules: std::sync::Arc<Rules>,
}
