//! One policy, compiled: asked about each request.
//!
//! Order: addresses that are denied; then, with `All`, every part in a fixed order (those that cost nothing first), with
//! `Any` until one is content. An external service is asked last and sees the request as the backend would.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{HeaderName, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use crate::addresses::Lists;
use crate::answer::{self, Outcome};
use crate::api_key::ApiKeys;
use crate::asked::{Asked, Pass, Verdict, plain_name};
use crate::basic::Basic;
use crate::bearer::Bearer;
use crate::certificate::Certificates;
use crate::external::External;
use crate::fault::Faults;
use crate::means::Means;
use crate::oidc::Oidc;
use crate::settings::{Satisfy, Settings, Source};

/// What a Secret or a ConfigMap holds.
pub type Data = BTreeMap<String, Vec<u8>>;

/// Where a policy's Secrets and ConfigMaps are found: those of its own namespace.
pub trait Sources {
    /// The data of an object; none if there is no such object.
    fn data(&self, source: &Source) -> Option<Data>;
}

impl<F: Fn(&Source) -> Option<Data>> Sources for F {
    fn data(&self, source: &Source) -> Option<Data> {
        self(source)
    }
}

/// A policy, ready to be asked. Cheap to share; made anew when the policy or one of its
/// [`sources`](Settings::sources) changes.
pub struct Guard {
    satisfy: Satisfy,
    addresses: Option<Lists>,
    parts: Vec<Part>,
    external: Option<External>,
    /// Headers that only we set, with dashes for underscores.
    owned: Vec<String>,
    /// Headers that only the external service sets; it may see what the client says there, backends may not.
    answered: Vec<String>,
    body_limit: Option<usize>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Guard").field("owned", &self.owned).finish_non_exhaustive()
    }
}

enum Part {
    Certificates(Box<Certificates>),
    ApiKeys(Box<ApiKeys>),
    Bearer(Box<Bearer>),
    Basic(Box<Basic>),
    Oidc(Box<Oidc>),
}

impl Part {
    async fn ask(&self, asked: &Asked<'_>) -> Outcome {
        match self {
            Self::Certificates(part) => part.ask(asked),
            Self::ApiKeys(part) => part.ask(asked),
            Self::Bearer(part) => part.ask(asked).await,
            Self::Basic(part) => part.ask(asked).await,
            Self::Oidc(part) => part.ask(asked).await,
        }
    }

    fn owned(&self) -> Vec<HeaderName> {
        match self {
            Self::Certificates(_) => Certificates::owned().collect(),
            Self::ApiKeys(part) => part.owned().cloned().collect(),
            Self::Bearer(part) => part.owned().cloned().collect(),
            Self::Basic(part) => part.owned().cloned().collect(),
            Self::Oidc(part) => part.owned().cloned().collect(),
        }
    }
}

impl Guard {
    /// Compiles a policy. Nothing is fetched yet. `name` tells the policy from all others (`namespace/name`): sessions of
    /// one are nothing to another.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its field and the remedy.
    pub fn new(name: &str, settings: &Settings, sources: &dyn Sources, means: &Means) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let addresses = settings.addresses.as_ref().map(|written| Lists::new(written, &mut faults));
        let certificates = settings
            .client_certificate
            .as_ref()
            .and_then(|written| Certificates::new(written, sources, means, &mut faults));
        let api_keys = settings.api_key.as_ref().and_then(|written| ApiKeys::new(written, sources, means, &mut faults));
        let bearer = settings.jwt.as_ref().and_then(|written| Bearer::new(written, sources, means, &mut faults));
        let basic = settings.basic.as_ref().and_then(|written| Basic::new(written, sources, means, &mut faults));
        let oidc = settings.oidc.as_ref().and_then(|written| Oidc::new(name, written, sources, means, &mut faults));
        let external =
            settings.external.as_ref().and_then(|written| External::new(written, sources, means, &mut faults));
        let parts: Vec<Part> = [
            certificates.map(Box::new).map(Part::Certificates),
            api_keys.map(Box::new).map(Part::ApiKeys),
            bearer.map(Box::new).map(Part::Bearer),
            basic.map(Box::new).map(Part::Basic),
            oidc.map(Box::new).map(Part::Oidc),
        ]
        .into_iter()
        .flatten()
        .collect();
        if faults.0.is_empty() && addresses.is_none() && parts.is_empty() && external.is_none() {
            faults.add(
                "spec",
                "says nobody: say at least one of addresses, clientCertificate, basic, apiKey, jwt, oidc, external",
            );
        }
        let owned: Vec<String> = parts.iter().flat_map(Part::owned).map(|name| plain_name(name.as_str())).collect();
        let answered = external.iter().flat_map(External::owned).map(|name| plain_name(name.as_str())).collect();
        let body_limit = external.as_ref().and_then(External::body_limit);
        faults.or(Some(Self { satisfy: settings.satisfy, addresses, parts, external, owned, answered, body_limit }))
    }

    /// How much of a request's body must be given to [`ask`](Self::ask); none if none of it. A longer body is to be
    /// answered with 413 and not asked about.
    #[must_use]
    pub fn body_limit(&self) -> Option<usize> {
        self.body_limit
    }

    /// Decides about a request.
    pub async fn ask(&self, asked: &Asked<'_>) -> Verdict {
        if self.addresses.as_ref().is_some_and(|lists| lists.denies(asked.client)) {
            return Verdict::Answer(answer::forbidden("requests from this address are not accepted"));
        }
        let clean = Pass { remove: spoofed(asked, &self.owned), ..Pass::default() };
        let decided = match self.satisfy {
            Satisfy::All => self.all(asked, clean).await,
            Satisfy::Any => self.any(asked, clean).await,
        };
        match decided {
            Ok(mut pass) => {
                pass.remove.extend(spoofed(asked, &self.answered));
                pass.hide(asked);
                Verdict::Pass(pass)
            }
            Err(answer) => Verdict::Answer(answer),
        }
    }

    async fn all(&self, asked: &Asked<'_>, mut pass: Pass) -> Result<Pass, Response<Bytes>> {
        if self.listed(asked) == Some(false) {
            return Err(answer::forbidden("requests from this address are not accepted"));
        }
        for part in &self.parts {
            match part.ask(asked).await {
                Outcome::Pass(more) => pass.merge(more),
                Outcome::Refuse(answer) => return Err(answer),
            }
        }
        if let Some(external) = &self.external {
            match external.ask(asked, &pass).await {
                Outcome::Pass(more) => pass.merge(more),
                Outcome::Refuse(answer) => return Err(answer),
            }
        }
        Ok(pass)
    }

    async fn any(&self, asked: &Asked<'_>, mut pass: Pass) -> Result<Pass, Response<Bytes>> {
        let mut refusals = Vec::new();
        let own = self.parts.iter().find(|part| matches!(part, Part::Oidc(oidc) if oidc.owns(asked.path())));
        if let Some(own) = own
            && let Outcome::Refuse(answer) = own.ask(asked).await
        {
            return Err(answer);
        }
        match self.listed(asked) {
            Some(true) => return Ok(pass),
            Some(false) => refusals.push(answer::forbidden("requests from this address are not accepted")),
            None => {}
        }
        for part in &self.parts {
            match part.ask(asked).await {
                Outcome::Pass(more) => {
                    pass.merge(more);
                    return Ok(pass);
                }
                Outcome::Refuse(answer) => refusals.push(answer),
            }
        }
        if let Some(external) = &self.external {
            match external.ask(asked, &pass).await {
                Outcome::Pass(more) => {
                    pass.merge(more);
                    return Ok(pass);
                }
                Outcome::Refuse(answer) => refusals.push(answer),
            }
        }
        Err(best(refusals))
    }

    fn listed(&self, asked: &Asked<'_>) -> Option<bool> {
        self.addresses.as_ref().and_then(|lists| lists.allows(asked.client))
    }
}

/// The headers of a request that it may not have.
fn spoofed(asked: &Asked<'_>, owned: &[String]) -> Vec<HeaderName> {
    asked.headers.keys().filter(|name| is_owned(name.as_str(), owned)).cloned().collect()
}

/// Header names are in lower case already; only those with underscores need a second look.
fn is_owned(name: &str, owned: &[String]) -> bool {
    owned.iter().any(|own| own == name) || (name.contains('_') && owned.contains(&plain_name(name)))
}

/// Of several refusals the one that helps most: what leads to a login, else a 401 with every challenge, else that
/// something could not be asked, else the first.
fn best(mut refusals: Vec<Response<Bytes>>) -> Response<Bytes> {
    let rank = |answer: &Response<Bytes>| match answer.status() {
        status if status.is_redirection() => 0,
        StatusCode::UNAUTHORIZED => 1,
        StatusCode::SERVICE_UNAVAILABLE => 2,
        _ => 3,
    };
    let challenges: Vec<_> = refusals
        .iter()
        .filter(|answer| answer.status() == StatusCode::UNAUTHORIZED)
        .flat_map(|answer| answer.headers().get_all(WWW_AUTHENTICATE).iter().cloned())
        .collect();
    refusals.sort_by_key(rank);
    let mut best = refusals.into_iter().next().unwrap_or_else(|| answer::forbidden("the request is not accepted"));
    if best.status() == StatusCode::UNAUTHORIZED {
        best.headers_mut().remove(WWW_AUTHENTICATE);
        for challenge in challenges {
            best.headers_mut().append(WWW_AUTHENTICATE, challenge);
        }
    }
    best
}

#[cfg(test)]
mod tests;
