//! A session, as its cookie holds it.

use http::header::HeaderValue;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Oidc;
use crate::asked::Asked;
use crate::claims::Claims;

/// Who it is, and until when. Times are seconds since 1970.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub(super) struct Session {
    /// Those that rules and headers need.
    #[serde(rename = "c")]
    pub(super) claims: Claims,
    /// When the user logged in.
    #[serde(rename = "b")]
    pub(super) begun: i64,
    /// When the cookie was written.
    #[serde(rename = "s")]
    pub(super) seen: i64,
    /// When the provider is to be asked again, with `refresh`.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) fresh: Option<i64>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh: Option<String>,
    /// For the provider to know whom to log out.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(super) id_token: Option<String>,
    /// For the backend.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(super) access: Option<String>,
}

impl Session {
    pub(super) fn subject(&self) -> Option<&str> {
        let text = |name: &str| self.claims.get(name).and_then(Value::as_str);
        text("email").or_else(|| text("sub"))
    }

    /// Whether it still counts at `now`, with these limits in seconds. A session from the future is none.
    pub(super) fn is_alive(&self, now: i64, idle: i64, lifetime: i64) -> bool {
        const SKEW: i64 = 60; // several machines may serve one host
        let age = |since: i64| now.saturating_sub(since);
        age(self.begun) >= -SKEW && age(self.begun) < lifetime && age(self.seen) >= -SKEW && age(self.seen) < idle
    }
}

impl Oidc {
    /// The session of a request; none if there is none, or none of ours, or it is over.
    pub(super) fn session(&self, asked: &Asked<'_>) -> Option<Session> {
        let opened = self.sealer.open(&bound("session", asked), &self.jar(asked).read(asked.headers)?)?;
        let session: Session = serde_json::from_slice(&opened).ok()?;
        session.is_alive(self.means.now(), self.idle, self.lifetime).then_some(session)
    }

    /// The cookies of a session. What is too large for cookies goes without the token that only logout needs; none if that
    /// does not help.
    pub(super) fn cookies(&self, asked: &Asked<'_>, session: &Session) -> Option<Vec<HeaderValue>> {
        let write = |session: &Session| {
            let plain = serde_json::to_vec(session).ok()?;
            let sealed = self.sealer.seal(&self.means, &bound("session", asked), &plain).ok()?;
            let left = session.begun.saturating_add(self.lifetime) - self.means.now();
            self.jar(asked).write(asked.headers, &sealed, left.clamp(1, self.idle))
        };
        write(session).or_else(|| write(&Session { id_token: None, ..session.clone() }))
    }
}

/// What a sealed value is bound to: its purpose and the host it was made for.
pub(super) fn bound(purpose: &str, asked: &Asked<'_>) -> String {
    format!("{purpose}\0{}\0{}", asked.scheme, asked.host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
        let session = |begun, seen| Session {
            claims: Claims::new(),
            begun,
            seen,
            fresh: None,
            refresh: None,
            id_token: None,
            access: None,
        };
        let alive = |begun, seen| session(begun, seen).is_alive(10_000, 600, 3600);
        assert!(alive(10_000, 10_000) && alive(6_401, 9_401) && alive(10_030, 10_030));
        assert!(!alive(6_400, 10_000), "too old");
        assert!(!alive(9_000, 9_400), "too idle");
        assert!(!alive(11_000, 11_000) && !alive(9_999, i64::MAX), "from the future");
    }
}
