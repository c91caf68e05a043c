//! Whether a request is answered from the cache, and what it demands of a stored response: RFC 9111 sections 4 and 5.2.1.

use std::time::{Duration, SystemTime};

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, COOKIE, IF_MATCH, IF_UNMODIFIED_SINCE, PRAGMA, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, Method};

use crate::control::{Directives, Reach};
use crate::policy::Rules;

/// Why a request passes by the cache. The text is the detail shown in `Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The policy switched the cache off.
    Disabled,
    /// Its method is not one that is answered from the cache.
    Method,
    /// It has a body, which would change the answer for everybody (a "fat GET").
    Body,
    /// It changes the protocol.
    Upgrade,
    /// It says `no-store`.
    NoStore,
    /// It has a precondition that only the origin can judge (`If-Match`, `If-Unmodified-Since`).
    Precondition,
    /// It has `Authorization`, and the policy says that such requests pass by.
    Authorization,
    /// A rule of the policy.
    Rule,
    /// The last response for this could not be stored.
    Predicted,
}

impl Bypass {
    /// One word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Method => "method",
            Self::Body => "body",
            Self::Upgrade => "upgrade",
            Self::NoStore => "no-store",
            Self::Precondition => "precondition",
            Self::Authorization => "authorization",
            Self::Rule => "rule",
            Self::Predicted => "predicted",
        }
    }
}

/// What a request demands of a stored response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    no_cache: bool,
    max_age: Option<u64>,
    min_fresh: Option<u64>,
    max_stale: Option<u64>,
    /// The origin must not be asked: 504 when the cache has no answer.
    pub only_if_cached: bool,
}

/// A stored response, as far as demands go.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its age.
    pub age: Duration,
    /// Until then it is fresh.
    pub fresh_until: SystemTime,
    /// Its fields.
    pub headers: &'a HeaderMap,
}

/// What to do with a stored response, other than what its freshness alone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// Ask the origin whether it still holds, and do not serve it before.
    Validate,
    /// Serve it though it is stale: the client said so.
    Serve,
}

/// Whether a request is answered from the cache.
///
/// # Errors
/// Why it passes by.
pub fn decide(rules: &Rules, method: &Method, headers: &HeaderMap, path: &str) -> Result<Demand, Bypass> {
    if !rules.enabled {
        return Err(Bypass::Disabled);
    }
    let is_ours = (*method == Method::GET && rules.get) || (*method == Method::HEAD && rules.head);
    if !is_ours {
        return Err(Bypass::Method);
    }
    if headers.contains_key(UPGRADE) {
        return Err(Bypass::Upgrade);
    }
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    if has_body {
        return Err(Bypass::Body);
    }
    if headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE) {
        return Err(Bypass::Precondition);
    }
    if headers.contains_key(AUTHORIZATION) && !rules.authorized {
        return Err(Bypass::Authorization);
    }
    if is_ruled_out(rules, headers, path) {
        return Err(Bypass::Rule);
    }
    if !rules.obey_request {
        return Ok(Demand::default());
    }
    let said = Directives::read(headers.get_all(CACHE_CONTROL));
    if said.no_store {
        return Err(Bypass::NoStore);
    }
    let pragma = || headers.get_all(PRAGMA).iter().any(|line| line.as_bytes().eq_ignore_ascii_case(b"no-cache"));
    Ok(Demand {
        no_cache: said.no_cache != Reach::Nothing || (!headers.contains_key(CACHE_CONTROL) && pragma()),
        max_age: said.max_age,
        min_fresh: said.min_fresh,
        max_stale: said.max_stale,
        only_if_cached: said.only_if_cached,
    })
}

fn is_ruled_out(rules: &Rules, headers: &HeaderMap, path: &str) -> bool {
    let by_path = rules.bypass_paths.iter().any(|(rule, all)| if *all { path.starts_with(rule) } else { path == rule });
    by_path
        || rules.bypass_headers.iter().any(|name| headers.contains_key(name))
        || rules.bypass_cookies.iter().any(|name| cookie(headers, name).is_some())
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

impl Demand {
    /// What the request wants done with `stored`, other than what its freshness says.
    #[must_use]
    pub fn of(&self, stored: &Stored<'_>, now: SystemTime) -> Option<Forced> {
        if self.no_cache {
            return Some(Forced::Validate);
        }
        let left = stored.fresh_until.duration_since(now);
        let wanted = Duration::from_secs(self.min_fresh.unwrap_or(0));
        match left {
            Ok(left) => {
                let too_old = self.max_age.is_some_and(|most| stored.age > Duration::from_secs(most));
                (too_old || left < wanted).then_some(Forced::Validate)
            }
            Err(past) => {
                let accepted = self.max_stale.is_some_and(|most| past.duration() <= Duration::from_secs(most))
                    && self.max_age.is_none_or(|most| stored.age <= Duration::from_secs(most) + past.duration())
                    && self.min_fresh.is_none()
                    && may_be_stale(stored.headers);
                let refused = self.max_age.is_some() || self.min_fresh.is_some();
                if accepted { Some(Forced::Serve) } else { refused.then_some(Forced::Validate) }
            }
        }
    }
}

/// False when the origin wants to be asked once the response is stale (RFC 9111 section 4.2.4).
fn may_be_stale(headers: &HeaderMap) -> bool {
    let said = Directives::read(headers.get_all(CACHE_CONTROL));
    !(said.must_revalidate || said.proxy_revalidate || said.s_maxage.is_some() || said.no_cache == Reach::All)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use http::{HeaderName, HeaderValue};

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pairs = lines
            .iter()
            .map(|(name, value)| (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap()));
        pairs.collect()
    }

    fn decided(policy: serde_json::Value, method: &Method, lines: &[(&str, &str)]) -> Result<Demand, Bypass> {
        let rules = Rules::new(&serde_json::from_value::<Policy>(policy).unwrap()).unwrap();
        decide(&rules, method, &headers(lines), "/a/b")
    }

    #[test]
    fn requests_pass_by_for_a_reason() {
        let of = |method: Method, lines: &[(&str, &str)]| decided(serde_json::json!({}), &method, lines).err();
        assert_eq!(of(Method::GET, &[]), None);
        assert_eq!(of(Method::HEAD, &[("content-length", "0")]), None);
        assert_eq!(of(Method::POST, &[]), Some(Bypass::Method));
        assert_eq!(of(Method::GET, &[("content-length", "3")]), Some(Bypass::Body));
        assert_eq!(of(Method::GET, &[("transfer-encoding", "chunked")]), Some(Bypass::Body));
        assert_eq!(of(Method::GET, &[("upgrade", "websocket")]), Some(Bypass::Upgrade));
        assert_eq!(of(Method::GET, &[("if-match", "\"a\"")]), Some(Bypass::Precondition));
        assert_eq!(of(Method::GET, &[("cache-control", "no-store")]), Some(Bypass::NoStore));
        assert_eq!(of(Method::GET, &[("authorization", "x")]), None);
    }

    #[test]
    fn a_policy_lets_requests_pass_by() {
        let of = |policy, lines: &[(&str, &str)]| decided(policy, &Method::GET, lines).err();
        let cookies = serde_json::json!({ "bypass": { "cookies": ["session"] } });
        assert_eq!(of(cookies.clone(), &[("cookie", "a=1; session=2")]), Some(Bypass::Rule));
        assert_eq!(of(cookies, &[("cookie", "sessions=1; xsession=2")]), None);
        assert_eq!(of(serde_json::json!({ "bypass": { "paths": ["/a/*"] } }), &[]), Some(Bypass::Rule));
        assert_eq!(of(serde_json::json!({ "bypass": { "paths": ["/a"] } }), &[]), None);
        assert_eq!(of(serde_json::json!({ "bypass": { "headers": ["X-Me"] } }), &[("x-me", "")]), Some(Bypass::Rule));
        assert_eq!(
            of(serde_json::json!({ "authorization": "Never" }), &[("authorization", "x")]),
            Some(Bypass::Authorization)
        );
        assert_eq!(of(serde_json::json!({ "methods": ["HEAD"] }), &[]), Some(Bypass::Method));
        assert_eq!(of(serde_json::json!({ "enabled": false }), &[]), Some(Bypass::Disabled));
        let deaf = decided(
            serde_json::json!({ "requestDirectives": "Ignore" }),
            &Method::GET,
            &[("cache-control", "no-store, no-cache")],
        );
        assert_eq!(deaf, Ok(Demand::default()));
    }

    #[test]
    fn a_client_may_want_fresher_or_accept_staler() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let wanted = |asked: &str, age: u64, left: i64, said: &'static str| {
            let demand = decided(serde_json::json!({}), &Method::GET, &[("cache-control", asked)]).unwrap();
            let headers = headers(&[("cache-control", said)]);
            let fresh_until = SystemTime::UNIX_EPOCH + Duration::from_secs(1000_u64.strict_add_signed(left));
            demand.of(&Stored { age: Duration::from_secs(age), fresh_until, headers: &headers }, now)
        };
        assert_eq!(wanted("max-age=10", 5, 60, ""), None);
        assert_eq!(wanted("max-age=3", 5, 60, ""), Some(Forced::Validate));
        assert_eq!(wanted("min-fresh=70", 5, 60, ""), Some(Forced::Validate));
        assert_eq!(wanted("min-fresh=50", 5, 60, ""), None);
        assert_eq!(wanted("no-cache", 5, 60, ""), Some(Forced::Validate));
        assert_eq!(wanted("max-stale", 5, -60, "max-age=1"), Some(Forced::Serve));
        assert_eq!(wanted("max-stale=10", 5, -60, "max-age=1"), None);
        assert_eq!(wanted("max-stale=100", 5, -60, "max-age=1"), Some(Forced::Serve));
        assert_eq!(wanted("max-stale", 5, -60, "max-age=1, must-revalidate"), None);
        assert_eq!(wanted("max-stale", 5, -60, "s-maxage=1"), None);
        assert_eq!(wanted("max-age=0", 0, -1, ""), Some(Forced::Validate));
    }
}
