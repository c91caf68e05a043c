//! One request through the cache: what pingora's proxy asks at each of its stages.
//!
//! The proxy keeps an [`Exchange`] with a request and calls it from the callback of the same name; all that is decided
//! is decided in [`crate::request`], [`crate::freshness`], [`crate::key`] and [`crate::vary`].

mod answer;

use std::sync::Arc;
use std::time::SystemTime;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, HOST, PROXY_AUTHENTICATE, TE,
    TRAILER, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, StatusCode, Uri, Version};
use pingora_cache::key::{HashBinary, hash_key};
use pingora_cache::{
    CacheKey, CacheMeta, CacheOptionOverrides, CachePhase, ForcedFreshness, NoCacheReason, RespCacheable,
};
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::Cache;
use crate::counters::count;
use crate::freshness::{self, Refusal};
use crate::key::{self, Site, Target};
use crate::policy::Rules;
use crate::request::{self, Bypass, Demand, Forced, Stored};
use crate::store::purge::Moment;
use crate::store::{Note, Tags};
use crate::uses::Least;
use crate::vary;

/// Tags that are kept of a response, and the longest kept.
const MOST_TAGS: usize = 128;
const LONGEST_TAG: usize = 256;

/// A request on its way through the cache.
pub struct Exchange {
    cache: &'static Cache,
    rules: Arc<Rules>,
    target: Target,
    authorized: bool,
    /// Fetched anew behind an answer that was stale: not a client's request.
    background: bool,
    demand: Demand,
    bypass: Option<Bypass>,
    since: Moment,
    sent: Option<SystemTime>,
    validated: Option<HeaderMap>,
    refusal: Option<Refusal>,
    forced: Option<Forced>,
    stored: bool,
    fetched: Option<StatusCode>,
    answered: bool,
    /// The request bears another version than it came with.
    disguised: bool,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("url", &self.target.url).field("bypass", &self.bypass).finish_non_exhaustive()
    }
}

impl Exchange {
    /// Call from `request_cache_filter`: switches the cache on for the request, or not.
    #[must_use]
    pub fn begin(cache: &'static Cache, rules: &Arc<Rules>, site: &Site<'_>, session: &mut Session) -> Self {
        let background = session.subrequest_ctx.is_some();
        let request = session.req_header();
        let (path, query) = (request.uri.path(), request.uri.query());
        let decided = request::decide(rules, &request.method, &request.headers, path);
        let target = key::target(rules, site, &request.headers, path, query);
        let authorized = site.known || request.headers.contains_key(AUTHORIZATION);
        let (demand, bypass) = match decided {
            Ok(_) if background => (Demand::default(), None),
            Ok(demand) => (demand, None),
            Err(bypass) => (Demand::default(), Some(bypass)),
        };
        if bypass.is_none() {
            cache.enable(rules, session);
            let request = session.req_header_mut();
            key::unkeyed().iter().for_each(|name| drop(request.remove_header(name)));
        }
        Self {
            cache,
            rules: Arc::clone(rules),
            target,
            authorized,
            background,
            demand,
            bypass,
            since: cache.store.now(),
            sent: None,
            validated: None,
            refusal: None,
            forced: None,
            stored: false,
            fetched: None,
            answered: false,
            disguised: false,
        }
    }

    /// Call from `cache_key_callback`.
    #[must_use]
    pub fn key(&self) -> CacheKey {
        let mut key = CacheKey::new(self.target.key.clone(), "");
        key.set_primary_bin_override(hash_key(&self.target.key));
        key.extensions.insert(Note { since: self.since, url: Arc::clone(&self.target.url) });
        if self.rules.min_uses > 1 {
            key.extensions.insert(Least(self.rules.min_uses));
        }
        key
    }

    /// Call from `cache_hit_filter`.
    ///
    /// # Errors
    /// Never, in practice: a host that was one is put in a field.
    pub fn hit(&mut self, session: &mut Session, meta: &CacheMeta) -> Result<Option<ForcedFreshness>> {
        let now = SystemTime::now();
        let stored = Stored { age: meta.age(), fresh_until: meta.fresh_until(), headers: meta.headers() };
        self.forced = self.demand.of(&stored, now);
        if self.forced.is_none() && !meta.is_fresh(now) && meta.serve_stale_while_revalidate(now) {
            self.prepare_background(session)?;
        }
        Ok(self.forced.map(|forced| match forced {
            Forced::Validate => ForcedFreshness::ForceExpired,
            Forced::Serve => ForcedFreshness::ForceFresh,
        }))
    }

    /// pingora writes the request of a background fetch as HTTP/1.1 text and reads it again, which it cannot with the
    /// version of HTTP/2, nor without a `Host`. The answer to this request comes from the cache whatever they are.
    fn prepare_background(&mut self, session: &mut Session) -> Result<()> {
        let request = session.req_header_mut();
        if request.version != Version::HTTP_2 {
            return Ok(());
        }
        let authority = request.uri.authority().map(|authority| authority.as_str().to_owned());
        if let Some(authority) = authority.filter(|_| !request.headers.contains_key(HOST)) {
            request.insert_header(HOST, authority)?;
        }
        request.set_version(Version::HTTP_11);
        self.disguised = true;
        Ok(())
    }

    /// Call from `cache_vary_filter`.
    #[must_use]
    pub fn vary(meta: &CacheMeta, request: &RequestHeader) -> Option<HashBinary> {
        vary::variance(meta.headers(), &request.headers)
    }

    /// Call from `proxy_upstream_filter` and return what it returns: false when the answer has been given because the
    /// client wants none of the origin's.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn may_ask_origin(&mut self, session: &mut Session) -> Result<bool> {
        if !self.demand.only_if_cached {
            return Ok(true);
        }
        let mut response = ResponseHeader::build(StatusCode::GATEWAY_TIMEOUT, Some(4))?;
        response.insert_header(CONTENT_LENGTH, 0)?;
        self.answer(session, &mut response)?;
        session.write_response_header(Box::new(response), true).await?;
        Ok(false)
    }

    /// Call from `upstream_request_filter`, when the request has its final form.
    ///
    /// # Errors
    /// Never, in practice: the query was part of a URL before.
    pub fn ask(&mut self, session: &Session, request: &mut RequestHeader) -> Result<()> {
        self.sent = Some(SystemTime::now());
        let Some(query) = self.target.query.as_deref().filter(|_| session.cache.enabled()) else { return Ok(()) };
        let mut path = request.uri.path().to_owned();
        if !query.is_empty() {
            path.push('?');
            path.push_str(query);
        }
        let mut parts = request.uri.clone().into_parts();
        let fault = || Error::explain(ErrorType::InternalError, "a query without some of its parameters is none");
        parts.path_and_query = Some(path.parse().map_err(|_| fault())?);
        request.set_uri(Uri::from_parts(parts).map_err(|_| fault())?);
        Ok(())
    }

    /// Call from `upstream_response_filter`.
    pub fn came(&mut self, session: &Session, response: &ResponseHeader) {
        if response.status.is_informational() {
            return;
        }
        self.fetched = Some(response.status);
        let validates = response.status == StatusCode::NOT_MODIFIED && session.cache.maybe_cache_meta().is_some();
        self.validated = validates.then(|| response.headers.clone());
    }

    /// Call from `response_cache_filter`.
    pub fn store(&mut self, response: &ResponseHeader) -> RespCacheable {
        let mut header = response.clone();
        if let Some(newer) = self.validated.take() {
            renew(&mut header, &newer);
        }
        let received = SystemTime::now();
        let sent = self.sent.unwrap_or(received);
        let path = self.target.url.split('?').next().unwrap_or_default();
        let asked = freshness::Asked { authorized: self.authorized, path, sent, received };
        let head = freshness::Head { status: header.status, version: header.version, headers: &header.headers };
        let life = match freshness::judge(&self.rules, &asked, &head) {
            Ok(life) => life,
            Err(refusal) => {
                self.refusal = Some(refusal);
                count(&self.cache.counters.refused);
                return RespCacheable::Uncacheable(NoCacheReason::Custom(refusal.as_str()));
            }
        };
        self.stored = true;
        let tags = self.tags(&header.headers);
        for name in life.dropped.iter().chain(&hop_by_hop(&header.headers)).chain(&self.rules.tag_headers) {
            header.remove_header(name);
        }
        if !header.headers.contains_key(DATE)
            && let Err(error) = header.insert_header(DATE, httpdate::fmt_http_date(received))
        {
            tracing::debug!("a response stays without a date: {error}");
        }
        let (while_revalidate, if_error) = (life.stale_while_revalidate, life.stale_if_error);
        let mut meta = CacheMeta::new(life.fresh_until, received, while_revalidate, if_error, header);
        meta.set_epoch_override(life.born);
        meta.extensions_mut().insert(Tags(tags));
        RespCacheable::Cacheable(meta)
    }

    /// Call from `should_serve_stale`.
    #[must_use]
    pub fn may_be_stale(error: Option<&Error>) -> bool {
        match error.map(|error| (error.esource(), error.etype())) {
            None => true,
            // RFC 5861 section 4
            Some((_, ErrorType::HTTPStatus(code))) => matches!(code, 500 | 502 | 503 | 504),
            Some((source, _)) => *source == ErrorSource::Upstream,
        }
    }

    /// Call from `response_filter`: counts, tells the client, and forgets what an unsafe request may have changed.
    ///
    /// # Errors
    /// Never, in practice: what is added are field values.
    pub fn answer(&mut self, session: &mut Session, response: &mut ResponseHeader) -> Result<()> {
        if std::mem::replace(&mut self.answered, !response.status.is_informational())
            || response.status.is_informational()
        {
            return Ok(());
        }
        if std::mem::take(&mut self.disguised) {
            session.req_header_mut().set_version(Version::HTTP_2);
        }
        for name in &self.rules.tag_headers {
            response.remove_header(name);
        }
        self.forget(session, response);
        let phase = session.cache.phase();
        if matches!(phase, CachePhase::Disabled(_))
            && self.bypass.is_none()
            && session.cache.predicted_uncacheable_reason().is_some()
        {
            self.bypass = Some(Bypass::Predicted);
        }
        let outcome = answer::outcome(phase, self.bypass, self.forced);
        if session.cache.lock_duration().is_some() {
            count(&self.cache.counters.lock_waits);
        }
        let counters = &self.cache.counters;
        count(if self.background { &counters.background } else { outcome.counter(counters) });
        answer::age(session, response)?;
        if self.rules.show {
            let told = answer::Told {
                outcome,
                bypass: self.bypass,
                refusal: self.refusal,
                stored: self.stored && session.cache.enabled(),
                fetched: self.fetched,
                waited: session.cache.lock_duration().is_some(),
                left: answer::seconds_left(session),
                unasked: self.demand.only_if_cached && self.fetched.is_none(),
            };
            response.insert_header("x-cache", outcome.as_str())?;
            response.append_header("cache-status", told.line())?;
        }
        Ok(())
    }

    /// RFC 9111 section 4.4: a request that is not safe, and succeeded, has changed its target and what it names.
    fn forget(&self, session: &Session, response: &ResponseHeader) {
        let request = session.req_header();
        let succeeded = response.status.is_success() || response.status.is_redirection();
        if request.method.is_safe() || !succeeded {
            return;
        }
        let mut urls = vec![self.target.url.to_string()];
        for name in [http::header::LOCATION, http::header::CONTENT_LOCATION] {
            let named = response.headers.get(name).and_then(|value| value.to_str().ok());
            urls.extend(named.and_then(|named| same_site(&self.target.url, named)));
        }
        self.cache.store.invalidate(urls);
    }

    fn tags(&self, headers: &HeaderMap) -> Arc<[Arc<str>]> {
        let lines = self.rules.tag_headers.iter().flat_map(|name| headers.get_all(name));
        let words = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split([',', ' ', '\t']));
        let mut tags: Vec<Arc<str>> =
            words.filter(|word| !word.is_empty() && word.len() <= LONGEST_TAG).take(MOST_TAGS).map(Arc::from).collect();
        tags.sort_unstable();
        tags.dedup();
        tags.into()
    }
}

impl Cache {
    fn enable(&'static self, rules: &Rules, session: &mut Session) {
        let mut overrides = CacheOptionOverrides::default();
        overrides.wait_timeout = Some(rules.lock_time);
        session.cache.enable(self.store, None, Some(self.predictor), Some(self.lock), Some(overrides));
        let most = rules.max_object.min(self.store.largest());
        session.cache.set_max_file_size_bytes(usize::try_from(most).unwrap_or(usize::MAX));
        if rules.min_uses > 1 {
            session.cache.set_admission_policy(self.uses);
        }
    }
}

/// The stored head with the fields of the 304 that validated it (RFC 9111 section 3.2). What describes the body stays:
/// the body does. So does `Vary`, by which the object was found.
fn renew(stored: &mut ResponseHeader, newer: &HeaderMap) {
    let hop_by_hop = hop_by_hop(newer);
    for name in newer.keys() {
        let stays = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, VARY, http::header::CONTENT_TYPE].contains(name);
        if stays || hop_by_hop.contains(name) {
            continue;
        }
        stored.remove_header(name);
        for value in newer.get_all(name) {
            if let Err(error) = stored.append_header(name.clone(), value.clone()) {
                tracing::debug!("a validated response stays without a field: {error}");
            }
        }
    }
}

/// Fields that are about the connection (RFC 9110 section 7.6.1), which are not stored. How the body is delimited is
/// settled when it is whole.
fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = vec![
        CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("proxy-authentication-info"),
        PROXY_AUTHENTICATE,
        TE,
        TRAILER,
        UPGRADE,
    ];
    for line in headers.get_all(CONNECTION) {
        let words = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.extend(words.filter_map(|word| HeaderName::from_bytes(word).ok()));
    }
    names
}

/// The URL that `reference` names, when it is of the same origin as `base`.
fn same_site(base: &str, reference: &str) -> Option<String> {
    let origin = base.match_indices('/').nth(2).map(|(at, _)| &base[..at])?;
    if reference.starts_with("//") {
        return None;
    }
    if reference.starts_with('/') {
        return Some(format!("{origin}{}", reference.split('#').next().unwrap_or_default()));
    }
    if !reference.contains("://") {
        let path = base.split(['?', '#']).next()?;
        let dir = &path[..=path.rfind('/')?];
        return Some(format!("{dir}{}", reference.split('#').next().unwrap_or_default()));
    }
    let spelled = key::spellings(reference.split('#').next()?)?.swap_remove(0);
    (spelled.strip_prefix(origin)?.starts_with('/')).then_some(spelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_of_the_same_site_are_forgotten() {
        let of = |reference| same_site("https://a/x/y?q=1", reference);
        assert_eq!(of("/z#f").as_deref(), Some("https://a/z"));
        assert_eq!(of("z?b").as_deref(), Some("https://a/x/z?b"));
        assert_eq!(of("https://A:443/z").as_deref(), Some("https://a/z"));
        assert_eq!((of("https://a.evil/z"), of("//b/z"), of("http://a/z")), (None, None, None));
    }

    #[test]
    fn a_304_renews_what_is_not_about_the_body() {
        let mut stored = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [("etag", "\"1\""), ("content-length", "5"), ("x-a", "1"), ("x-b", "1")] {
            stored.insert_header(name, value).unwrap();
        }
        let newer = [("etag", "\"2\""), ("content-length", "0"), ("x-a", "2"), ("connection", "x-c"), ("x-c", "3")];
        let newer = newer.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        renew(&mut stored, &newer);
        let of = |name: &str| stored.headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(
            (of("etag"), of("content-length"), of("x-a"), of("x-b"), of("x-c")),
            (Some("\"2\""), Some("5"), Some("2"), Some("1"), None)
        );
    }
}
