//! Authentication: from the credentials of a request to a [`User`].
//!
//! Credentials are tried in upstream's order, client certificate then bearer token, and the first that holds names the
//! user. A credential that is offered and does not hold is a 401, never a fall-back to anonymous; no credential at all is
//! `system:anonymous`, whom RBAC gives only health and version. In-process callers never come through here: their identity
//! is vouched for by the code that made the client.
//!
//! - [`x509`]: client certificates, verified against the client authority.
//! - [`jwt`]: signing and checking ES256 tokens.
//! - [`account`]: what a service account token claims, checked against live objects.
//! - [`usage`]: on which day tokens without an end were last used.
//! - [`impersonation`]: acting as somebody else, where RBAC permits it.

pub(crate) mod account;
pub(crate) mod impersonation;
pub(crate) mod jwt;
pub(crate) mod usage;
pub(crate) mod x509;

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, header, request::Parts};

use crate::{error::ApiError, identity::User};
use account::Accounts;
use x509::Certificates;

/// A WebSocket client in a browser cannot set headers; it hides its token in the list of subprotocols.
pub(crate) const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

pub(crate) struct Authenticator {
    certificates: Certificates,
    accounts: Arc<Accounts>,
}

impl Authenticator {
    pub(crate) fn new(certificates: Certificates, accounts: Arc<Accounts>) -> Self {
        Self { certificates, accounts }
    }

    /// Who sends this request. `certificate` is the leaf the peer proved to own in the TLS handshake.
    pub(crate) fn authenticate(&self, parts: &Parts, certificate: Option<&[u8]>) -> Result<Arc<User>, ApiError> {
        let mut refused = None;
        if let Some(der) = certificate {
            match self.certificates.user(der) {
                Ok(user) => return Ok(user),
                Err(error) => refused = Some(base::error::chain(&error)),
            }
        }
        if let Some(token) = bearer(&parts.headers) {
            match self.accounts.user(&token, &[]) {
                Ok((user, _)) => return Ok(Arc::new(user)),
                Err(error) => refused = Some(base::error::chain(&error)),
            }
        }
        match refused {
            None => Ok(Arc::new(User::anonymous())),
            Some(why) => {
                tracing::debug!(%why, path = parts.uri.path(), "unable to authenticate the request");
                Err(ApiError::unauthorized())
            }
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut protocols = offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let encoded = protocols.find_map(|protocol| protocol.trim().strip_prefix(WEBSOCKET_BEARER))?;
    let token = BASE64_URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    String::from_utf8(token).ok().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (header::HeaderName::from_bytes(name.as_bytes()).unwrap(), header::HeaderValue::from_str(value).unwrap())
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn a_token_is_found_in_the_header_or_among_websocket_protocols() {
        let table = [
            (vec![("authorization", "Bearer abc")], Some("abc")),
            (vec![("authorization", "bearer  abc")], Some("abc")),
            (vec![("authorization", "Basic abc")], None),
            (vec![("authorization", "Bearer ")], None),
            (vec![], None),
            (
                vec![("sec-websocket-protocol", "v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj")],
                Some("abc"),
            ),
        ];
        for (list, token) in table {
            assert_eq!(bearer(&headers(&list)).as_deref(), token, "{list:?}");
        }
    }
}
