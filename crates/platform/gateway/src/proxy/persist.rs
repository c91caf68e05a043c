//! How a client stays with one endpoint: a token that names it, in a cookie or a header (GEP-1619).
//!
//! The token is a hash of the endpoint's address and the second it was given at, so that a client
//! learns no address and every gateway reads it alike; whoever guesses one chooses a pod, no more.

use std::net::SocketAddr;
use std::time::Duration;

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};

use crate::model::{PersistBy, Persistence, Split, Target, cookie};

/// The endpoint a request's token names, and the share it is of; none when there is none, it is too old, or its endpoint
/// is gone. `now` is in seconds of the epoch.
pub(super) fn find(rule: &Persistence, split: &Split, headers: &HeaderMap, now: u64) -> Option<(usize, SocketAddr)> {
    let token = match &rule.by {
        PersistBy::Cookie(name) => cookie(headers, name)?,
        PersistBy::Header(name) => headers.get(name)?.to_str().ok()?,
    };
    let (name, given) = token.split_once('.')?;
    let given = u64::from_str_radix(given, 16).ok()?;
    let old = |limit: Option<Duration>| limit.is_some_and(|limit| now.saturating_sub(given) >= limit.as_secs());
    if given > now || old(rule.absolute) {
        return None;
    }
    split.shares().iter().enumerate().find_map(|(at, share)| {
        let Target::Backend(backend) = &share.target else { return None };
        let all = backend.endpoints.all();
        all.iter().find(|address| hash(**address) == name).map(|address| (at, *address))
    })
}

/// The header that gives a client the token of `endpoint`.
pub(super) fn give(rule: &Persistence, endpoint: SocketAddr, now: u64) -> Option<(HeaderName, HeaderValue)> {
    let token = format!("{}.{now:x}", hash(endpoint));
    match &rule.by {
        PersistBy::Header(name) => Some((name.clone(), HeaderValue::from_str(&token).ok()?)),
        PersistBy::Cookie(name) => {
            let mut cookie = format!("{name}={token}; Path={}; HttpOnly", rule.path);
            if let Some(age) = rule.absolute.filter(|_| rule.permanent) {
                cookie.push_str(&format!("; Max-Age={}", age.as_secs()));
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
        let (name, value) = give(&rule, addresses[1], 1000).unwrap();
        let text = value.to_str().unwrap();
        assert_eq!(name, header::SET_COOKIE);
        assert!(text.ends_with("; Path=/; HttpOnly; Max-Age=60; SameSite=Lax; Secure"), "{text}");
        assert!(!text.contains("10.0.0.2"), "no address is told");

        let cookie = HeaderValue::from_str(text.split(';').next().unwrap()).unwrap();
        let headers: HeaderMap = [(header::COOKIE, cookie)].into_iter().collect();
        assert_eq!(find(&rule, &split, &headers, 1059), Some((0, addresses[1])));
        assert_eq!(find(&rule, &split, &headers, 1060), None);
        assert_eq!(find(&rule, &split, &headers, 999), None, "a token of the future is no token");
        endpoints.set(vec![addresses[0]]);
        assert_eq!(find(&rule, &split, &headers, 1001), None);
    }
}
