//! How a client stays with one endpoint: a token that names it, in a cookie or a header (GEP-1619).
//!
//! The token is a hash of the endpoint's address, the second its session began at and, where sessions
//! may be idle for too long, the second it was last shown at, so that a client learns no address and
//! every gateway reads it alike; whoever guesses one chooses a pod, no more.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::model::{PersistBy, Persistence, Split, Target, cookie};

/// A session that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// Position of the share in the split.
    pub(super) share: usize,
    pub(super) endpoint: SocketAddr,
    /// When it began, in seconds of the epoch.
    pub(super) begun: u64,
}

/// The session a request's token names; none when there is none, it is too old or was idle for too long, or its endpoint is
/// gone. `now` is in seconds of the epoch.
pub(super) fn find(rule: &Persistence, split: &Split, headers: &HeaderMap, now: u64) -> Option<Session> {
    let token = match &rule.by {
        PersistBy::Cookie(name) => cookie(headers, name)?,
        PersistBy::Header(name) => headers.get(name)?.to_str().ok()?,
    };
    let mut parts = token.split('.');
    let name = parts.next()?;
    let mut second = || u64::from_str_radix(parts.next()?, 16).ok();
    let begun = second()?;
    let shown = second().unwrap_or(begun);
    let over =
        |limit: Option<Duration>, since: u64| limit.is_some_and(|limit| now.saturating_sub(since) >= limit.as_secs());
    if begun > now || shown > now || over(rule.absolute, begun) || over(rule.idle, shown) {
        return None;
    }
    split.shares().iter().enumerate().find_map(|(share, part)| {
        let Target::Backend(backend) = &part.target else { return None };
        let endpoint = backend.endpoints.all().into_iter().find(|address| hash(*address) == name)?;
        Some(Session { share, endpoint, begun })
    })
}

/// The header that gives a client the token of `endpoint` in a session that began at `begun`.
pub(super) fn give(
    rule: &Persistence,
    endpoint: SocketAddr,
    begun: u64,
    now: u64,
) -> Option<(HeaderName, HeaderValue)> {
    let shown = if rule.idle.is_some() { format!(".{now:x}") } else { String::new() };
    let token = format!("{}.{begun:x}{shown}", hash(endpoint));
    match &rule.by {
        PersistBy::Header(name) => Some((name.clone(), HeaderValue::from_str(&token).ok()?)),
        PersistBy::Cookie(name) => {
            let mut cookie = format!("{name}={token}; Path={}; HttpOnly", rule.path);
            if let Some(age) = rule.absolute.filter(|_| rule.permanent) {
                let left = age.as_secs().saturating_sub(now.saturating_sub(begun));
                cookie.push_str(&format!("; Max-Age={left}"));
            }
            if let Some(same_site) = rule.same_site {
                cookie.push_str(&format!("; SameSite={same_site}"));
            }
            if rule.secure {
                cookie.push_str("; Secure");
            }
            Some((header::SET_COOKIE, HeaderValue::from_str(&cookie).ok()?))
        }
    }
}

fn hash(address: SocketAddr) -> String {
    hex::encode(&Sha256::digest(address.to_string().as_bytes())[..12])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use base::Key;

    use crate::model::{Backend, Endpoints, Port, Protocol, Transport};

    #[test]
    fn a_token_leads_back_to_its_endpoint_until_it_is_too_old_or_the_endpoint_is_gone() {
        let addresses: Vec<SocketAddr> = vec!["10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap()];
        let key = Key::new("default", "web");
        let endpoints = Arc::new(Endpoints::new(key, Port::Number(80), Transport::Tcp, addresses.clone()));
        let protocol = Protocol::Http;
        let split = Split::all(Target::Backend(Arc::new(Backend { endpoints: Arc::clone(&endpoints), protocol })));
        let rule = Persistence {
            by: PersistBy::Cookie("s".to_owned()),
            absolute: Some(Duration::from_secs(60)),
            idle: None,
            permanent: true,
            path: "/".to_owned(),
            same_site: Some("Lax"),
            secure: true,
        };
        let (name, value) = give(&rule, addresses[1], 1000, 1000).unwrap();
        let text = value.to_str().unwrap();
        assert_eq!(name, header::SET_COOKIE);
        assert!(text.ends_with("; Path=/; HttpOnly; Max-Age=60; SameSite=Lax; Secure"), "{text}");
        assert!(!text.contains("10.0.0.2"), "no address is told");

        let cookie = HeaderValue::from_str(text.split(';').next().unwrap()).unwrap();
        let headers: HeaderMap = [(header::COOKIE, cookie)].into_iter().collect();
        let session = Some(Session { share: 0, endpoint: addresses[1], begun: 1000 });
        assert_eq!(find(&rule, &split, &headers, 1059), session);
        assert_eq!(find(&rule, &split, &headers, 1060), None);
        assert_eq!(find(&rule, &split, &headers, 999), None, "a token of the future is no token");
        let idle = Persistence { idle: Some(Duration::from_secs(10)), ..rule.clone() };
        assert_eq!(find(&idle, &split, &headers, 1010), None, "it was not shown for too long");
        let (_, value) = give(&idle, addresses[1], 1000, 1030).unwrap();
        assert!(value.to_str().unwrap().contains("Max-Age=30"), "{value:?}");
        let cookie = HeaderValue::from_str(value.to_str().unwrap().split(';').next().unwrap()).unwrap();
        let shown: HeaderMap = [(header::COOKIE, cookie)].into_iter().collect();
        assert_eq!(find(&idle, &split, &shown, 1039), session, "each answer tells that it was");
        assert_eq!(find(&idle, &split, &shown, 1040), None);
        endpoints.set(vec![addresses[0]]);
        assert_eq!(find(&rule, &split, &headers, 1001), None);
    }
}
