//! From a stranger to a session: to the provider and back.
//!
//! What a login needs to be finished (state, nonce, verifier, where to return) is sealed in a cookie of its own, so that
//! only the browser that began it can finish it, and only once: the cookie is removed, and the provider takes a code once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::provider::{self, ProviderError, Tokens};
use super::session::{Session, bound};
use super::{Oidc, is_safe};
use crate::answer;
use crate::asked::Asked;
use crate::basic::equal;
use crate::claims::{self, Claims};
use crate::cookies;

/// How long a user may take to log in, in seconds.
const TIME_TO_LOG_IN: i64 = 900;
/// Logins that a browser may have begun at once, in several windows.
const BEGUN: usize = 5;
/// Longer targets are not returned to.
const MOST_TARGET: usize = 2048;

/// A login that has begun.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    state: String,
    nonce: String,
    verifier: String,
    /// Path and query of this host.
    back: String,
    at: i64,
}

impl Oidc {
    /// Answers the path that begins a login on purpose.
    pub(super) async fn login(&self, asked: &Asked<'_>, origin: &str) -> Response<Bytes> {
        if !is_safe(asked.method) {
            return answer::text(StatusCode::METHOD_NOT_ALLOWED, "a login begins with GET");
        }
        let wanted = asked.parameter("rd").unwrap_or_default();
        self.begin(asked, origin, local(&wanted).unwrap_or("/")).await
    }

    /// Sends a browser to the provider; it will return to `back`.
    pub(super) async fn begin(&self, asked: &Asked<'_>, origin: &str, back: &str) -> Response<Bytes> {
        match self.try_begin(asked, origin, back).await {
            Ok(answer) => answer,
            Err(error) => self.failed(&error),
        }
    }

    async fn try_begin(&self, asked: &Asked<'_>, origin: &str, back: &str) -> Result<Response<Bytes>, ProviderError> {
        let metadata = self.provider.metadata(&self.means).await?;
        let endpoint =
            metadata.authorization_endpoint.as_ref().ok_or(ProviderError::Missing("authorization endpoint"))?;
        let back = if back.len() > MOST_TARGET || self.owns(asked.path()) && back == asked.target { "/" } else { back };
        let begun = Begun {
            state: provider::secret(&self.means)?,
            nonce: provider::secret(&self.means)?,
            verifier: provider::secret(&self.means)?,
            back: back.to_owned(),
            at: self.means.now(),
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.parameters);
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client.id),
            ("redirect_uri", &format!("{origin}{}", self.paths.callback)),
            ("scope", &self.scope),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
            ("code_challenge", &provider::challenge(&begun.verifier)),
            ("code_challenge_method", "S256"),
        ]);
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        let mut answer = answer::redirect(&format!("{endpoint}{separator}{}", query.finish()));
        let plain = serde_json::to_vec(&begun).map_err(|_| ProviderError::Malformed("login"))?;
        let sealed = self.sealer.seal(&self.means, &bound("login", asked), &plain)?;
        let jar = self.login_jar(asked, &short(&begun.state));
        let cookies = jar.write(asked.headers, &sealed, TIME_TO_LOG_IN).unwrap_or_default();
        for cookie in cookies.into_iter().chain(self.too_many(asked)) {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        Ok(answer)
    }

    /// Removes the cookies of logins that were begun, when they are too many to be in earnest.
    fn too_many(&self, asked: &Asked<'_>) -> Vec<HeaderValue> {
        let jar = self.login_jar(asked, "");
        let states: Vec<&str> =
            cookies::pairs(asked.headers).filter_map(|(name, _)| name.strip_prefix(jar.name())).collect();
        if states.len() < BEGUN {
            return Vec::new();
        }
        states.iter().flat_map(|state| self.login_jar(asked, state).remove(asked.headers)).collect()
    }

    /// Answers the path to which the provider sends users back.
    pub(super) async fn callback(&self, asked: &Asked<'_>, origin: &str) -> Response<Bytes> {
        if !is_safe(asked.method) {
            return answer::text(StatusCode::METHOD_NOT_ALLOWED, "a login returns with GET");
        }
        let Some(begun) = self.begun(asked) else {
            let text = format!(
                "<p>This login was begun in another browser, has ended already, or took too long.</p>\
                                <p><a href=\"{}\">Try again</a></p>",
                self.paths.login
            );
            let mut page = answer::page("Login expired", &text);
            *page.status_mut() = StatusCode::BAD_REQUEST;
            return page;
        };
        let mut answer = self.finish(asked, origin, &begun).await;
        for cookie in self.login_jar(asked, &short(&begun.state)).remove(asked.headers) {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        answer
    }

    /// The login that a callback belongs to: one that this browser began on this host, and not too long ago.
    fn begun(&self, asked: &Asked<'_>) -> Option<Begun> {
        let state = asked.parameter("state")?;
        let sealed = self.login_jar(asked, &short(&state)).read(asked.headers)?;
        let begun: Begun = serde_json::from_slice(&self.sealer.open(&bound("login", asked), &sealed)?).ok()?;
        let in_time = (-60..TIME_TO_LOG_IN).contains(&self.means.now().saturating_sub(begun.at));
        (equal(begun.state.as_bytes(), state.as_bytes()) && in_time).then_some(begun)
    }

    async fn finish(&self, asked: &Asked<'_>, origin: &str, begun: &Begun) -> Response<Bytes> {
        if let Some(error) = asked.parameter("error") {
            tracing::info!(issuer = self.provider.issuer, "the provider refused a login: {error:?}");
            let text = format!(
                "<p>The identity provider did not log you in.</p><p><a href=\"{}\">Try again</a></p>",
                self.paths.login
            );
            let mut page = answer::page("Login refused", &text);
            *page.status_mut() = StatusCode::FORBIDDEN;
            return page;
        }
        let session = match self.exchange(asked, origin, begun).await {
            Ok(session) => session,
            Err(error) if error.is_invalid_grant() => {
                tracing::info!(issuer = self.provider.issuer, "a code is not taken: {}", base::error::chain(&error));
                return answer::text(
                    StatusCode::BAD_REQUEST,
                    "the identity provider does not take this login: begin again",
                );
            }
            Err(error) => return self.failed(&error),
        };
        let Some(cookies) = self.cookies(asked, &session) else {
            return answer::text(
                StatusCode::BAD_GATEWAY,
                "what the identity provider says of you is too large for a session",
            );
        };
        // Absolute, with this host: a target such as //evil.example would be another host by itself.
        let mut answer = answer::redirect(&format!("{origin}{}", begun.back));
        for cookie in cookies {
            answer.headers_mut().append(header::SET_COOKIE, cookie);
        }
        answer
    }

    async fn exchange(&self, asked: &Asked<'_>, origin: &str, begun: &Begun) -> Result<Session, ProviderError> {
        let metadata = self.provider.metadata(&self.means).await?;
        let issuer = asked.parameter("iss");
        let mixed = issuer.as_ref().is_some_and(|issuer| *issuer != self.provider.issuer);
        if mixed || (issuer.is_none() && metadata.authorization_response_iss_parameter_supported) {
            return Err(ProviderError::IdToken("the answer is of another provider (iss, RFC 9207)"));
        }
        let code = asked.parameter("code").filter(|code| !code.is_empty());
        let code = code.ok_or(ProviderError::Malformed("authorization endpoint"))?;
        let redirect = format!("{origin}{}", self.paths.callback);
        let grant = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("redirect_uri", &redirect),
            ("code_verifier", &begun.verifier),
        ];
        let tokens = self.provider.tokens(&self.client, &grant, &self.means).await?;
        let id_token = tokens.id_token.as_deref().ok_or(ProviderError::IdToken("there is none"))?;
        let mut claims = self.provider.claims(&self.client, id_token, Some(&begun.nonce), &self.means).await?;
        if let (Some(said), Some(access)) = (claims.get("at_hash").and_then(|hash| hash.as_str()), &tokens.access_token)
            && !is_hash_of(said, access)
        {
            return Err(ProviderError::IdToken("it does not belong to the access token (at_hash)"));
        }
        self.complete(&mut claims, &tokens).await?;
        let now = self.means.now();
        Ok(self.made(tokens, claims, now, metadata.end_session_endpoint.is_some()))
    }

    /// Asks the userinfo endpoint when the ID token lacks what the policy needs.
    pub(super) async fn complete(&self, claims: &mut Claims, tokens: &Tokens) -> Result<(), ProviderError> {
        let lacking = self.needed().any(|name| claims::find(claims, name).is_none());
        match &tokens.access_token {
            Some(access) if lacking => self.provider.userinfo(access, claims, &self.means).await,
            _ => Ok(()),
        }
    }

    /// The session that tokens make, with the claims that are needed and no others.
    pub(super) fn made(&self, tokens: Tokens, claims: Claims, begun: i64, can_log_out: bool) -> Session {
        let now = self.means.now();
        let roots: Vec<&str> = self.needed().flat_map(|name| [name, name.split('.').next().unwrap_or(name)]).collect();
        let kept = claims.into_iter().filter(|(name, _)| roots.contains(&name.as_str())).collect();
        let expires = tokens.expires_in.filter(|seconds| *seconds > 0).unwrap_or(300);
        // A little before the time, so that a backend never gets a token that ends on its way.
        let fresh = now.saturating_add(if expires > 60 { expires - 30 } else { expires });
        Session {
            claims: kept,
            begun,
            seen: now,
            fresh: tokens.refresh_token.as_ref().map(|_| fresh),
            refresh: tokens.refresh_token,
            id_token: tokens.id_token.filter(|_| can_log_out),
            access: tokens.access_token.filter(|_| self.forward_access_token),
        }
    }
}

/// A path of this host, if a text is one and cannot be taken for another host by any browser.
pub(super) fn local(target: &str) -> Option<&str> {
    let mut characters = target.chars();
    let rooted = characters.next() == Some('/');
    let elsewhere = matches!(characters.next(), Some('/' | '\\'));
    let odd = target.chars().any(|character| character.is_control() || character == '\\' || character.is_whitespace());
    (rooted && !elsewhere && !odd && target.len() <= MOST_TARGET).then_some(target)
}

/// The name of a login's cookie: states are long, and must not be in names that others may log.
fn short(state: &str) -> String {
    hex::encode(&ring::digest::digest(&ring::digest::SHA256, state.as_bytes()).as_ref()[..8])
}

/// Whether `said` is the left half of a digest of `access` (OpenID Connect Core 3.1.3.6). Which digest follows from the
/// token's algorithm; its length tells it.
fn is_hash_of(said: &str, access: &str) -> bool {
    [&ring::digest::SHA256, &ring::digest::SHA384, &ring::digest::SHA512].iter().any(|algorithm| {
        let digest = ring::digest::digest(algorithm, access.as_bytes());
        let half = &digest.as_ref()[..digest.as_ref().len() / 2];
        equal(URL_SAFE_NO_PAD.encode(half).as_bytes(), said.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_paths_of_this_host_are_returned_to() {
        for target in ["/", "/a?b=c#d", "/a//b", "/.", "/%2F%2Fevil.example", "/a?u=https://evil.example"] {
            assert_eq!(local(target), Some(target));
        }
        for target in [
            "",
            "a",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "javascript:alert(1)",
            " //evil.example",
            "/ /evil.example",
            "/a\\b",
            "/\u{a0}/evil",
        ] {
            assert_eq!(local(target), None, "{target:?}");
        }
    }

    proptest! {
        #[test]
        fn a_target_never_names_a_host(target in "[/\\\\a-z:@?.%\t]{0,12}") {
            if let Some(local) = local(&target) {
                let link: http::Uri = format!("https://own.example{local}").parse().unwrap_or_default();
                prop_assert!(link.host().is_none_or(|host| host == "own.example"));
                prop_assert!(!local.starts_with("//") && !local.contains('\\'));
            }
        }
    }
}
