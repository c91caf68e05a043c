//! Tokens that a request brings along (RFC 6750), verified with their issuer's keys.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;

use crate::answer::{self, Outcome};
use crate::asked::{Asked, Pass};
use crate::claims::{self, ToHeaders};
use crate::cookies;
use crate::fault::Faults;
use crate::guard::Sources;
use crate::jose::{self, Algorithm, Checks, Issuer, KeySet, Token, TokenError};
use crate::means::Means;
use crate::outgoing::{Outgoing, Speech};
use crate::settings::{self, ClaimRule, TokenSource};

const LEEWAY: Duration = Duration::from_secs(30);
const MOST_LEEWAY: Duration = Duration::from_secs(300);

/// Verifies the tokens of one issuer.
pub(crate) struct Bearer {
    issuer: String,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    leeway: Duration,
    keys: Arc<Issuer>,
    places: Places,
    rules: Vec<ClaimRule>,
    headers: ToHeaders,
    forward: bool,
    means: Means,
}

impl Bearer {
    pub(crate) fn new(
        written: &settings::Jwt,
        sources: &dyn Sources,
        means: &Means,
        faults: &mut Faults,
    ) -> Option<Self> {
        if written.issuer.is_empty() {
            faults.add("spec.jwt.issuer", "is empty: say the exact iss of tokens");
        }
        if written.audiences.is_empty() {
            faults
                .add("spec.jwt.audiences", "is empty: say whom tokens must be for, else tokens for others would pass");
        }
        let algorithms = faults.take("spec.jwt.algorithms", jose::algorithms(&written.algorithms));
        let leeway = faults.duration("spec.jwt.leeway", &written.leeway, LEEWAY, MOST_LEEWAY);
        let standard = TokenSource {
            header: Some("Authorization".to_owned()),
            prefix: Some("Bearer".to_owned()),
            ..TokenSource::default()
        };
        let places = Places::new("spec.jwt.from", written.from.as_ref().unwrap_or(&standard), faults);
        let headers = ToHeaders::new("spec.jwt.headers", &written.headers, faults);
        let keys = keys(written, sources, means, faults);
        Some(Self {
            issuer: written.issuer.clone(),
            audiences: written.audiences.clone(),
            algorithms: algorithms?,
            leeway,
            keys: keys?,
            places,
            rules: written.claims.clone(),
            headers,
            forward: written.forward,
            means: means.clone(),
        })
    }

    pub(crate) fn owned(&self) -> impl Iterator<Item = &HeaderName> {
        self.headers.names()
    }

    pub(crate) async fn ask(&self, asked: &Asked<'_>) -> Outcome {
        let Some(text) = self.places.find(asked) else {
            return Outcome::Refuse(answer::unauthorized("Bearer", "a token is needed"));
        };
        let invalid = |error: TokenError| {
            let challenge = format!("Bearer error=\"invalid_token\", error_description=\"{error}\"");
            Outcome::Refuse(answer::unauthorized(&challenge, &error.to_string()))
        };
        let token = match Token::read(&text).and_then(|token| token.algorithm(&self.algorithms).map(|_| token)) {
            Ok(token) => token,
            Err(error) => return invalid(error),
        };
        let keys = match self.keys.keys(token.key_id(), &self.means).await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(issuer = self.issuer, "tokens cannot be verified: {}", base::error::chain(&error));
                return Outcome::Refuse(answer::unavailable("the keys of the token's issuer cannot be fetched"));
            }
        };
        let checks = Checks {
            issuer: &self.issuer,
            audiences: &self.audiences,
            algorithms: &self.algorithms,
            now: self.means.now(),
            leeway: self.leeway,
        };
        let claims = match token.verify(&keys, &checks) {
            Ok(claims) => claims,
            Err(error) => return invalid(error),
        };
        if let Some(rule) = self.rules.iter().find(|rule| !claims::obey(&claims, rule)) {
            return Outcome::Refuse(answer::forbidden(&format!(
                "the token's claim {} does not allow this",
                rule.claim
            )));
        }
        let who = claims.get("sub").and_then(serde_json::Value::as_str).map(str::to_owned);
        let mut pass = Pass { set: self.headers.of(&claims), who, ..Pass::default() };
        self.places.forward(asked, self.forward, &mut pass);
        Outcome::Pass(pass)
    }
}

fn keys(written: &settings::Jwt, sources: &dyn Sources, means: &Means, faults: &mut Faults) -> Option<Arc<Issuer>> {
    if let Some(keys) = &written.keys {
        if written.keys_url.is_some() {
            faults.add("spec.jwt", "has both keys and keysUrl: say one of them");
        }
        let set = faults.take("spec.jwt.keys", KeySet::parse(keys.as_bytes()))?;
        return Some(Arc::new(Issuer::fixed(set)));
    }
    let (client, trust) =
        client(written.authorities.as_ref(), "spec.jwt.authorities", Speech::Http1, sources, means, faults)?;
    let url = written.keys_url.clone();
    match &url {
        Some(url) => faults.take("spec.jwt.keysUrl", safe_url(url, written.plain_http)),
        None if !written.issuer.contains("://") => {
            faults.add("spec.jwt.issuer", "is no URL, so its keys cannot be discovered: say keysUrl or keys");
            None
        }
        None => faults.take("spec.jwt.issuer", safe_url(&written.issuer, written.plain_http)),
    };
    let key = format!("{trust}|{}|{}", url.as_deref().unwrap_or_default(), written.issuer);
    Some(means.issuer(key, || match url {
        Some(url) => Issuer::at(url, client),
        None => Issuer::discovered(written.issuer.clone(), client),
    }))
}

/// Whether a URL is one that may be trusted with who somebody is.
pub(crate) fn safe_url(url: &str, plain_http: bool) -> Result<(), String> {
    let host = |rest: &str| rest.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    if !host(url) || url.contains(['#', '@']) {
        return Err(format!("{url:?} is no URL of https"));
    }
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("https") => Ok(()),
        Some("http") if plain_http => Ok(()),
        Some("http") => Err(format!(
            "{url:?} is not https: anybody on the way could be anybody; say plainHttp if the way is yours alone"
        )),
        _ => Err(format!("{url:?} is no URL of https")),
    }
}

/// A client that trusts the authorities of a policy, and a text that stands for whom it trusts.
pub(crate) fn client(
    bundle: Option<&settings::Bundle>,
    field: &str,
    speech: Speech,
    sources: &dyn Sources,
    means: &Means,
    faults: &mut Faults,
) -> Option<(Outgoing, String)> {
    let Some(bundle) = bundle else {
        let key = format!("{speech:?}");
        return Some((means.client(key.clone(), || Outgoing::new(means, None, speech)), key));
    };
    let (roots, digest) = faults.take(field, crate::certificate::authorities(bundle, sources))?;
    let key = format!("{speech:?} {digest}");
    Some((means.client(key.clone(), || Outgoing::new(means, Some(Arc::new(roots)), speech)), key))
}

/// Where a token may stand in a request.
#[derive(Debug)]
pub(crate) struct Places {
    header: Option<(HeaderName, String)>,
    cookie: Option<String>,
    query: Option<String>,
}

impl Places {
    pub(crate) fn new(field: &str, written: &TokenSource, faults: &mut Faults) -> Self {
        let name =
            written.header.as_ref().and_then(|name| faults.take(&format!("{field}.header"), claims::header(name)));
        if written.header.is_none() && written.cookie.is_none() && written.query.is_none() {
            faults.add(field, "says neither header, cookie nor query");
        }
        if written.prefix.is_some() && written.header.is_none() {
            faults.add(format!("{field}.prefix"), "is for a header, and there is none");
        }
        let header = name.map(|name| (name, written.prefix.clone().unwrap_or_default()));
        Self { header, cookie: written.cookie.clone(), query: written.query.clone() }
    }

    /// The token of a request, from the first place that has one.
    pub(crate) fn find(&self, asked: &Asked<'_>) -> Option<String> {
        let header = || {
            let (name, prefix) = self.header.as_ref()?;
            // Two headers could mean one thing here and another at the backend.
            let mut values = asked.headers.get_all(name).iter();
            let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?.trim();
            if prefix.is_empty() {
                return Some(value.to_owned());
            }
            let (before, token) = value.split_once(' ')?;
            before.eq_ignore_ascii_case(prefix.trim()).then(|| token.trim().to_owned())
        };
        let cookie = || cookies::get(asked.headers, self.cookie.as_deref()?).map(str::to_owned);
        let found = header().or_else(cookie).or_else(|| asked.parameter(self.query.as_deref()?));
        found.filter(|token| !token.is_empty())
    }

    /// Lets the backend have the token, or takes it out of what the backend gets.
    pub(crate) fn forward(&self, asked: &Asked<'_>, forward: bool, pass: &mut Pass) {
        if forward {
            let value = |name: &HeaderName| asked.headers.get(name).map(|value| (name.clone(), value.clone()));
            pass.set.extend(self.header.iter().filter_map(|(name, _)| value(name)));
            return;
        }
        pass.remove.extend(self.header.iter().map(|(name, _)| name.clone()));
        pass.hidden_cookies.extend(self.cookie.clone());
        pass.hidden_parameters.extend(self.query.clone());
    }
}

#[cfg(test)]
mod tests;
