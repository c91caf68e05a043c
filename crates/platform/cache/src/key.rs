//! What an object is called: the URL people purge by, and the key that tells it from all others.
//!
//! Invariant: whatever reaches the origin and may change its answer is part of the key, part of `Vary`, or not sent.
//! Of the query the parameters that do not count are not sent; of the fields those by which origins are known to be
//! talked into another answer ([`UNKEYED`]). The path counts byte by byte: an origin may tell apart what a standard says
//! is equal.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName};

use crate::policy::Rules;
use crate::policy::rules::Query;
use crate::request::cookie;

/// Fields that change the answer of many frameworks though no cache counts them. They never reach an origin on behalf
/// of the cache; what the door says itself (`X-Forwarded-*`) it sets after they are gone.
pub const UNKEYED: &[&str] = &[
    "forwarded",
    "x-forwarded-host",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-prefix",
    "x-forwarded-path",
    "x-original-url",
    "x-original-host",
    "x-rewrite-url",
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Whom the client asked.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// `https`, or else `http`.
    pub tls: bool,
    /// The host, perhaps with a port, as the client wrote it.
    pub host: &'a str,
    /// What serves it: a name of the route, so that two routes that share a URL share no object.
    pub route: &'a str,
    /// Who asks is known to the door: treated as a request with `Authorization`.
    pub known: bool,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URL, in one spelling.
    pub url: Arc<str>,
    /// What tells objects apart, each part with its length before it.
    pub key: Vec<u8>,
    /// The query to send to the origin, when it is not the client's.
    pub query: Option<String>,
}

/// What a request for `path` and `query` asks for.
pub(crate) fn target(rules: &Rules, site: &Site<'_>, headers: &HeaderMap, path: &str, query: Option<&str>) -> Target {
    let counted = query.map(|query| counted(rules, query));
    let mut url = origin(site.tls, site.host);
    url.push_str(path);
    if let Some(query) = counted.as_deref().filter(|query| !query.is_empty() || rules.query == Query::All) {
        url.push('?');
        url.push_str(query);
    }
    let mut key = Vec::with_capacity(url.len() + site.route.len() + 24);
    part(&mut key, Some(site.route.as_bytes()));
    part(&mut key, Some(url.as_bytes()));
    for name in &rules.key_headers {
        key.extend_from_slice(&u32::try_from(headers.get_all(name).iter().count()).unwrap_or(u32::MAX).to_be_bytes());
        for line in headers.get_all(name) {
            part(&mut key, Some(line.as_bytes()));
        }
    }
    for name in &rules.key_cookies {
        part(&mut key, cookie(headers, name));
    }
    if rules.device {
        let agent = headers.get(USER_AGENT).map(|agent| agent.as_bytes().to_ascii_lowercase()).unwrap_or_default();
        part(&mut key, Some(device(&agent).as_bytes()));
    }
    let sent = match counted {
        Some(Cow::Owned(query)) => Some(query),
        _ => None,
    };
    Target { url: url.into(), key, query: sent }
}

fn part(key: &mut Vec<u8>, bytes: Option<&[u8]>) {
    let length = bytes.map_or(u32::MAX, |bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1));
    key.extend_from_slice(&length.to_be_bytes());
    key.extend_from_slice(bytes.unwrap_or_default());
}

/// Scheme and host in one spelling: lower case, no dot at the end, no port that goes without saying.
fn origin(tls: bool, host: &str) -> String {
    let (scheme, default) = if tls { ("https://", ":443") } else { ("http://", ":80") };
    let host = host.strip_suffix(default).unwrap_or(host);
    let (name, port) = match host.rfind(':').filter(|at| !host[*at..].contains(']')) {
        Some(at) => host.split_at(at),
        None => (host, ""),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut origin = String::with_capacity(scheme.len() + host.len() + 64);
    origin.push_str(scheme);
    origin.extend(name.chars().map(|letter| letter.to_ascii_lowercase()));
    origin.push_str(port);
    origin
}

/// The parameters of a query that count, in the order that counts.
fn counted<'a>(rules: &Rules, query: &'a str) -> Cow<'a, str> {
    if rules.query == Query::All && !rules.sort_query {
        return Cow::Borrowed(query);
    }
    let named = |pair: &str, names: &[String]| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = form_urlencoded::parse(name.as_bytes()).next().map(|(name, _)| name);
        names.iter().any(|wanted| name.as_deref().unwrap_or_default() == wanted)
    };
    let mut kept: Vec<&str> = query
        .split('&')
        .filter(|pair| match &rules.query {
            Query::All => true,
            Query::Only(names) => named(pair, names),
            Query::Without(names) => !named(pair, names),
        })
        .collect();
    if rules.sort_query {
        // Stable, and by name alone: the order of values of one name may mean something.
        kept.sort_by_key(|pair| pair.split('=').next().unwrap_or_default());
    }
    let kept = kept.join("&");
    if kept == query { Cow::Borrowed(query) } else { Cow::Owned(kept) }
}

/// The kind of device that calls itself so.
fn device(agent: &[u8]) -> &'static str {
    let has = |word: &str| agent.windows(word.len()).any(|part| part == word.as_bytes());
    if has("ipad") || has("tablet") || (has("android") && !has("mobile")) {
        "tablet"
    } else if has("mobi") || has("iphone") || has("android") {
        "phone"
    } else {
        "other"
    }
}

/// The URLs under which an object that people call `url` may be kept: as written, and with its parameters sorted.
pub(crate) fn spellings(url: &str) -> Option<Vec<String>> {
    let uri: http::Uri = url.parse().ok()?;
    let tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let mut base = origin(tls, uri.authority()?.as_str());
    base.push_str(uri.path());
    let Some(query) = uri.query() else { return Some(vec![base]) };
    let mut sorted: Vec<&str> = query.split('&').collect();
    sorted.sort_by_key(|pair| pair.split('=').next().unwrap_or_default());
    let mut spellings = vec![format!("{base}?{query}"), format!("{base}?{}", sorted.join("&"))];
    spellings.dedup();
    Some(spellings)
}

/// A prefix of URLs in our spelling; the host must be whole.
pub(crate) fn prefix(written: &str) -> Option<String> {
    let (scheme, rest) = written.split_once("://")?;
    let tls = match scheme {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    (!host.is_empty() && !path.contains('#')).then(|| origin(tls, host) + path)
}

/// The fields of [`UNKEYED`].
pub(crate) fn unkeyed() -> &'static [HeaderName] {
    static NAMES: LazyLock<Vec<HeaderName>> =
        LazyLock::new(|| UNKEYED.iter().map(|name| HeaderName::from_static(name)).collect());
    &NAMES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;
    use http::HeaderValue;

    fn of(
        policy: serde_json::Value,
        host: &str,
        path: &str,
        query: Option<&str>,
        lines: &[(&'static str, &'static str)],
    ) -> Target {
        let rules = Rules::new(&serde_json::from_value::<Policy>(policy).unwrap()).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        target(&rules, &Site { tls: true, host, route: "r", known: false }, &headers, path, query)
    }

    #[test]
    fn a_url_has_one_spelling() {
        let url = |host, query| of(serde_json::json!({}), host, "/A", query, &[]).url.to_string();
        assert_eq!(url("Example.COM.:443", Some("b=1&a=2")), "https://example.com/A?b=1&a=2");
        assert_eq!(url("example.com:8443", None), "https://example.com:8443/A");
        assert_eq!(url("[::1]:443", Some("")), "https://[::1]/A?");
        assert_eq!(url("[::1]", None), "https://[::1]/A");
        assert_eq!(
            spellings("HTTPS://EXAMPLE.com:443/A?b=1&a=2").unwrap(),
            ["https://example.com/A?b=1&a=2", "https://example.com/A?a=2&b=1"]
        );
        assert_eq!(prefix("https://Example.com/A").as_deref(), Some("https://example.com/A"));
        assert_eq!(prefix("https://Example.com").as_deref(), Some("https://example.com/"), "not example.community");
        assert_eq!((prefix("/a"), spellings("/a"), prefix("ftp://a/")), (None, None, None));
    }

    #[test]
    fn parameters_that_do_not_count_are_not_sent() {
        let query = |policy, query| {
            let target = of(policy, "a", "/", Some(query), &[]);
            (target.url.trim_start_matches("https://a/").to_owned(), target.query)
        };
        let only = serde_json::json!({ "key": { "query": { "include": ["a", "c d"] } } });
        assert_eq!(
            query(only.clone(), "b=1&a=2&c+d=3&c%20d=4"),
            ("?a=2&c+d=3&c%20d=4".to_owned(), Some("a=2&c+d=3&c%20d=4".to_owned()))
        );
        assert_eq!(query(only, "b=1"), (String::new(), Some(String::new())));
        let without = serde_json::json!({ "key": { "query": { "exclude": ["utm_source"], "sort": true } } });
        assert_eq!(
            query(without.clone(), "b=1&utm_source=x&a=2&b=0"),
            ("?a=2&b=1&b=0".to_owned(), Some("a=2&b=1&b=0".to_owned()))
        );
        assert_eq!(query(without, "a=1"), ("?a=1".to_owned(), None));
    }

    #[test]
    fn what_the_policy_names_tells_objects_apart() {
        let policy = serde_json::json!({ "key": { "headers": ["x-a", "x-b"], "cookies": ["c"], "device": true } });
        let key = |lines: &[(&'static str, &'static str)]| of(policy.clone(), "a", "/", None, lines).key;
        assert_eq!(key(&[("x-z", "1")]), key(&[]));
        assert_ne!(key(&[("x-a", "1")]), key(&[("x-b", "1")]));
        assert_ne!(key(&[("x-a", "1"), ("x-a", "2")]), key(&[("x-a", "12")]));
        assert_ne!(key(&[("cookie", "c=1")]), key(&[("cookie", "c=2")]));
        assert_ne!(key(&[("cookie", "c=")]), key(&[]));
        assert_eq!(key(&[("cookie", "b=1; c=1")]), key(&[("cookie", "c=1; b=2")]));
        assert_ne!(key(&[("user-agent", "X (iPhone) Mobile")]), key(&[("user-agent", "X (X11; Linux)")]));
        assert_eq!(device(b"android mobile"), "phone");
        assert_eq!(device(b"android"), "tablet");
    }
}
