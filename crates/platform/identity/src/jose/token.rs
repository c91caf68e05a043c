//! One token: its parts, its signature, and whether it is for us and for now.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key::{ALGORITHMS, Algorithm, KeySet};

/// Longer texts are no tokens.
const MOST_BYTES: usize = 16 * 1024;

/// A token that has been read but not verified: nothing of it may be believed.
#[derive(Debug)]
pub struct Token<'a> {
    header: Header,
    message: &'a str,
    signature: Vec<u8>,
    payload: Vec<u8>,
}

// A struct, not a map: members that stand there twice are refused (RFC 7515 4).
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
}

/// What a token must say to be believed.
#[derive(Debug)]
pub(crate) struct Checks<'a> {
    pub(crate) issuer: &'a str,
    /// One of these.
    pub(crate) audiences: &'a [String],
    pub(crate) algorithms: &'a [Algorithm],
    /// Seconds since 1970.
    pub(crate) now: i64,
    pub(crate) leeway: Duration,
}

/// Why a token is not believed. The texts reach clients: they say nothing of keys.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TokenError {
    #[error("the token is malformed")]
    Malformed,
    #[error("the token's algorithm is not accepted")]
    Algorithm,
    #[error("the token names a key that its issuer does not have")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("the token says no time of expiry")]
    NoExpiry,
    #[error("the token is not valid yet")]
    NotYet,
}

impl<'a> Token<'a> {
    /// Reads the compact form (RFC 7515 7.1).
    ///
    /// # Errors
    /// When the text is no token, or one with extensions that must be understood (`crit`, RFC 7515 4.1.11).
    pub fn parse(text: &'a str) -> Result<Self, String> {
        Self::read(text).map_err(|error| error.to_string())
    }

    pub(crate) fn read(text: &'a str) -> Result<Self, TokenError> {
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed);
        let (message, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if text.len() > MOST_BYTES || payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(TokenError::Malformed);
        }
        Ok(Self { header, message, signature: decode(signature)?, payload: decode(payload)? })
    }

    /// The name of the key that is said to have signed it.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// The algorithm, if it is one of those.
    pub(crate) fn algorithm(&self, among: &[Algorithm]) -> Result<Algorithm, TokenError> {
        among.iter().find(|algorithm| algorithm.name == self.header.alg).copied().ok_or(TokenError::Algorithm)
    }

    /// The claims, once everything has been checked: signature first, then issuer, audience and time.
    pub(crate) fn verify(&self, keys: &KeySet, checks: &Checks<'_>) -> Result<Map<String, Value>, TokenError> {
        let algorithm = self.algorithm(checks.algorithms)?;
        if !keys.knows(self.key_id()) {
            return Err(TokenError::UnknownKey);
        }
        if !keys.verify(self.key_id(), algorithm, self.message.as_bytes(), &self.signature) {
            return Err(TokenError::Signature);
        }
        let claims: Map<String, Value> = serde_json::from_slice(&self.payload).map_err(|_| TokenError::Malformed)?;
        checks.hold(&claims)?;
        Ok(claims)
    }
}

impl Checks<'_> {
    fn hold(&self, claims: &Map<String, Value>) -> Result<(), TokenError> {
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer) {
            return Err(TokenError::Issuer);
        }
        let ours = |audience: &Value| {
            audience.as_str().is_some_and(|audience| self.audiences.iter().any(|own| own == audience))
        };
        let for_us = match claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(ours),
            Some(audience) => ours(audience),
            None => false,
        };
        if !for_us {
            return Err(TokenError::Audience);
        }
        #[allow(clippy::cast_precision_loss, reason = "seconds of our time are exact in a double")]
        let (now, leeway) = (self.now as f64, self.leeway.as_secs_f64());
        // NumericDate may have a fraction (RFC 7519 2); what is no number is refused rather than ignored.
        let time = |claim: &str| claims.get(claim).map(|at| at.as_f64().ok_or(TokenError::Malformed)).transpose();
        if now >= time("exp")?.ok_or(TokenError::NoExpiry)? + leeway {
            return Err(TokenError::Expired);
        }
        if time("nbf")?.is_some_and(|from| now + leeway < from) || time("iat")?.is_some_and(|at| now + leeway < at) {
            return Err(TokenError::NotYet);
        }
        Ok(())
    }
}

/// The algorithms of these names.
///
/// # Errors
/// The names of which there is none, with the remedy.
pub(crate) fn algorithms(names: &[String]) -> Result<Vec<Algorithm>, String> {
    if names.is_empty() {
        return Ok(ALGORITHMS.to_vec());
    }
    let find = |name: &String| {
        let known = ALGORITHMS.iter().find(|algorithm| algorithm.name == name).copied();
        known.ok_or_else(|| {
            format!("{name:?} is not accepted; use some of {}", ALGORITHMS.map(|known| known.name).join(", "))
        })
    };
    names.iter().map(find).collect()
}
