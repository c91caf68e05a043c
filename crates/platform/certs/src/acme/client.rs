//! Asking an ACME server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL64;
use jiff::Timestamp;
use parking_lot::Mutex;
use reqwest::header::{CONTENT_TYPE, HeaderMap, LINK, LOCATION, RETRY_AFTER};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::jws::{External, Signer};
use super::{Error, Gate};
use crate::x509::key::Key;
use crate::x509::{chain, name, read};

/// No request takes longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer is longer.
const LONGEST: usize = 1 << 20;
/// Nonces that are kept.
const NONCES: usize = 16;
/// Alternate chains that are looked at.
const CHAINS: usize = 8;

/// Whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trust {
    /// Beside the system's roots, PEM.
    pub bundle: Vec<u8>,
    /// Anybody: for tests only.
    pub anybody: bool,
}

/// An ACME server. One for all who use it, so that all leave it alone when one was refused.
#[derive(Debug)]
pub struct Server {
    url: String,
    http: reqwest::Client,
    directory: Mutex<Option<Arc<Directory>>>,
    nonces: Mutex<Vec<String>>,
    gate: Mutex<Gate>,
    clock: crate::Clock,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    new_nonce: String,
    new_account: String,
    new_order: String,
    renewal_info: Option<String>,
    #[serde(default)]
    meta: Meta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    external_account_required: bool,
    profiles: serde_json::Map<String, Value>,
}

/// A name or an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct Identifier {
    /// `dns` or `ip`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Itself.
    pub value: String,
}

/// What to order.
#[derive(Clone, Debug, Default)]
pub struct NewOrder {
    /// For these.
    pub identifiers: Vec<Identifier>,
    /// Until then, if the server lets one choose.
    pub not_after: Option<Timestamp>,
    /// The server's profile.
    pub profile: String,
    /// The certificate it is in place of.
    pub replaces: String,
}

/// An order, as the server tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OrderBody {
    /// How far it is.
    pub status: crate::api::State,
    /// Where its authorizations are.
    pub authorizations: Vec<String>,
    /// Where the request goes in the end.
    pub finalize: String,
    /// Where the certificate is.
    pub certificate: Option<String>,
    /// What went wrong.
    pub error: Option<Value>,
    /// When the server wants to be asked again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// An authorization, as the server tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationBody {
    /// What for.
    pub identifier: Identifier,
    /// How far it is.
    pub status: crate::api::State,
    /// Whether all names below it are meant.
    pub wildcard: bool,
    /// The ways to show it.
    pub challenges: Vec<Challenge>,
    /// When the server wants to be asked again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// A challenge, as the server tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Challenge {
    /// `http-01`, `dns-01`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Itself.
    pub url: String,
    /// What makes it unlike others.
    pub token: String,
    /// How far it is.
    pub status: crate::api::State,
    /// What the server found instead.
    pub error: Option<Value>,
}

/// A certificate with those that lead to its root, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(pub Vec<u8>);

/// When the server suggests to renew (RFC 9773).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// From then on.
    pub start: Timestamp,
    /// Until then.
    pub end: Timestamp,
    /// Why.
    pub explanation_url: String,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
}

struct Answer {
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Server {
    /// A server by the URL of its directory. `resolve` names addresses of hosts that DNS does not know.
    ///
    /// # Errors
    /// When the bundle has no certificate.
    pub fn new(url: &str, trust: &Trust, resolve: &[(String, SocketAddr)], clock: crate::Clock) -> Result<Self, Error> {
        let refused = |what: String| Error::Request(what);
        let mut http = crate::http::builder(PATIENCE);
        if !trust.bundle.is_empty() {
            let roots = reqwest::Certificate::from_pem_bundle(&trust.bundle)
                .map_err(|error| refused(format!("caBundle: {error}")))?;
            http = http.tls_certs_merge(roots);
        }
        if trust.anybody {
            http = http.tls_danger_accept_invalid_certs(true);
        }
        for (host, address) in resolve {
            http = http.resolve(host, *address);
        }
        let http = http.build().map_err(|error| refused(base::error::chain(&error)))?;
        let (directory, nonces, gate) = (Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { url: url.to_owned(), http, directory, nonces, gate, clock })
    }

    /// Whether one may ask now.
    fn pass(&self) -> Result<(), Error> {
        match self.gate.lock().closed(self.clock.now()) {
            None => Ok(()),
            Some((wait, why)) => Err(Error::Closed { wait, why }),
        }
    }

    /// Opens or closes the gate by how a request went.
    fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        match &result {
            Err(error) if error.is_transient() && error.kind() != Some("badNonce") => {
                self.gate.lock().close(error.wait(), &base::error::chain(error), self.clock.now());
            }
            _ => self.gate.lock().open(),
        }
        result
    }

    async fn send(&self, request: reqwest::RequestBuilder, url: &str) -> Result<Answer, Error> {
        let unreachable = |source| Error::Unreachable { url: url.to_owned(), source };
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST {
                return Err(Error::Protocol { url: url.to_owned(), what: "more than a MiB".to_owned() });
            }
        }
        if let Some(nonce) = headers.get("replay-nonce").and_then(|nonce| nonce.to_str().ok()) {
            let mut nonces = self.nonces.lock();
            nonces.push(nonce.to_owned());
            let surplus = nonces.len().saturating_sub(NONCES);
            nonces.drain(..surplus);
        }
        if (200..300).contains(&status) {
            return Ok(Answer { headers, body });
        }
        Err(problem(status, &headers, &body))
    }

    async fn directory(&self) -> Result<Arc<Directory>, Error> {
        if let Some(known) = self.directory.lock().clone() {
            return Ok(known);
        }
        let answer = self.send(self.http.get(&self.url), &self.url).await?;
        let directory = Arc::new(parse::<Directory>(&self.url, &answer.body)?);
        *self.directory.lock() = Some(Arc::clone(&directory));
        Ok(directory)
    }

    async fn nonce(&self) -> Result<String, Error> {
        if let Some(nonce) = self.nonces.lock().pop() {
            return Ok(nonce);
        }
        let url = self.directory().await?.new_nonce.clone();
        self.send(self.http.head(&url), &url).await?;
        let nonce = self.nonces.lock().pop();
        nonce.ok_or_else(|| Error::Protocol { url, what: "no Replay-Nonce".to_owned() })
    }

    /// A signed request. A nonce that was used up is not the asker's fault: it is tried again, as RFC 8555, 6.5 says.
    async fn post(&self, signer: Signer<'_>, url: &str, payload: Option<&Value>) -> Result<Answer, Error> {
        self.pass()?;
        let attempt = async {
            let mut tries = 0;
            loop {
                let nonce = self.nonce().await?;
                let body = signer.request(url, &nonce, payload).map_err(|error| Error::Request(error.to_string()))?;
                let request = self.http.post(url).header(CONTENT_TYPE, "application/jose+json").body(body.to_string());
                match self.send(request, url).await {
                    Err(error) if error.kind() == Some("badNonce") && tries < 5 => tries += 1,
                    result => return result,
                }
            }
        };
        let result = attempt.await;
        self.note(result)
    }

    /// Registers the key, or finds the account it has; its URL.
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn register(&self, key: &Key, email: &str, external: Option<&External>) -> Result<String, Error> {
        self.pass()?;
        let directory = self.directory().await;
        let directory = self.note(directory)?;
        if directory.meta.external_account_required && external.is_none() {
            return Err(Error::Request(
                "the server wants an external account: set spec.acme.externalAccountBinding".to_owned(),
            ));
        }
        let signer = Signer { key, account: None };
        let mut payload = json!({ "termsOfServiceAgreed": true });
        if !email.is_empty() {
            payload["contact"] = json!([format!("mailto:{email}")]);
        }
        if let Some(external) = external {
            payload["externalAccountBinding"] = signer.bind(external, &directory.new_account);
        }
        let answer = self.post(signer, &directory.new_account, Some(&payload)).await?;
        location(&directory.new_account, &answer)
    }

    /// When the server suggests to renew a certificate; none when it does not tell (RFC 9773, 4.1).
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn renewal_info(&self, certificate: &read::Facts) -> Result<Option<RenewalInfo>, Error> {
        self.pass()?;
        let directory = self.directory().await;
        let directory = self.note(directory)?;
        let (Some(base), Some(id)) = (&directory.renewal_info, certificate_id(certificate)) else { return Ok(None) };
        let url = format!("{}/{id}", base.trim_end_matches('/'));
        let answer = self.send(self.http.get(&url), &url).await;
        let answer = self.note(answer)?;
        let body: Value = parse(&url, &answer.body)?;
        let at = |field: &str| body["suggestedWindow"][field].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let (Some(start), Some(end)) = (at("start"), at("end")) else {
            return Err(Error::Protocol { url, what: "no suggestedWindow".to_owned() });
        };
        let explanation_url = body["explanationURL"].as_str().unwrap_or_default().to_owned();
        Ok(Some(RenewalInfo { start, end, explanation_url, retry_after: retry_after(&answer.headers) }))
    }
}

/// The name of a certificate in RFC 9773, 4.1.
#[must_use]
pub fn certificate_id(certificate: &read::Facts) -> Option<String> {
    let key = certificate.authority_key.as_ref()?;
    Some(format!("{}.{}", URL64.encode(key), URL64.encode(&certificate.serial)))
}

/// An account at a server.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where.
    pub server: Arc<Server>,
    /// Its key.
    pub key: Arc<Key>,
    /// Its URL.
    pub url: String,
}

impl Account {
    async fn post(&self, url: &str, payload: Option<&Value>) -> Result<Answer, Error> {
        let signer = Signer { key: &self.key, account: Some(&self.url) };
        self.server.post(signer, url, payload).await
    }

    /// Orders; where the order is, and what it says.
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn order(&self, new: &NewOrder) -> Result<(String, OrderBody), Error> {
        let directory = self.server.directory().await?;
        if !new.profile.is_empty() && !directory.meta.profiles.contains_key(&new.profile) {
            let known: Vec<&str> = directory.meta.profiles.keys().map(String::as_str).collect();
            return Err(Error::Request(format!(
                "the server has no profile {:?}; it has: {}",
                new.profile,
                known.join(", ")
            )));
        }
        let mut payload = json!({ "identifiers": new.identifiers });
        if let Some(at) = new.not_after {
            payload["notAfter"] = json!(base::time::rfc3339(at));
        }
        if !new.profile.is_empty() {
            payload["profile"] = json!(new.profile);
        }
        if !new.replaces.is_empty() && directory.renewal_info.is_some() {
            payload["replaces"] = json!(new.replaces);
        }
        let url = directory.new_order.clone();
        let answer = match self.post(&url, Some(&payload)).await {
            // said of a certificate that was replaced already or is not known: order without (RFC 9773, 5)
            Err(error)
                if payload.get("replaces").is_some()
                    && !error.is_transient()
                    && error.kind() != Some("rejectedIdentifier") =>
            {
                payload["replaces"] = Value::Null;
                if let Value::Object(all) = &mut payload {
                    all.remove("replaces");
                }
                self.post(&url, Some(&payload)).await?
            }
            answer => answer?,
        };
        Ok((location(&url, &answer)?, order_body(&url, &answer)?))
    }

    /// How far an order is.
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn order_at(&self, url: &str) -> Result<OrderBody, Error> {
        order_body(url, &self.post(url, None).await?)
    }

    /// Sends the request to be signed (DER).
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn finalize(&self, url: &str, request: &[u8]) -> Result<OrderBody, Error> {
        order_body(url, &self.post(url, Some(&json!({ "csr": URL64.encode(request) }))).await?)
    }

    /// How far an authorization is.
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn authorization(&self, url: &str) -> Result<AuthorizationBody, Error> {
        let answer = self.post(url, None).await?;
        let mut body: AuthorizationBody = parse(url, &answer.body)?;
        body.retry_after = retry_after(&answer.headers);
        Ok(body)
    }

    /// Tells the server to look.
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn accept(&self, challenge: &str) -> Result<Challenge, Error> {
        parse(challenge, &self.post(challenge, Some(&json!({}))).await?.body)
    }

    /// The certificate, with the chain whose root is called `preferred` where there is one (RFC 8555, 7.4.2).
    ///
    /// # Errors
    /// When the server refuses or cannot be asked.
    pub async fn certificate(&self, url: &str, preferred: &str) -> Result<Certificate, Error> {
        let first = self.post(url, None).await?;
        if preferred.is_empty() || ends_at(&first.body, preferred) {
            return Ok(Certificate(first.body));
        }
        for alternate in alternates(url, &first.headers).into_iter().take(CHAINS) {
            let other = self.post(&alternate, None).await?;
            if ends_at(&other.body, preferred) {
                return Ok(Certificate(other.body));
            }
        }
        Ok(Certificate(first.body))
    }
}

/// Whether the last certificate of a chain was issued by `root`.
fn ends_at(pem: &[u8], root: &str) -> bool {
    let all = read::certificates_pem(pem).unwrap_or_default();
    let top = chain::parse(&all).and_then(|bundle| read::certificates_pem(bundle.ca.as_bytes()));
    let top = top.and_then(|all| all.into_iter().next());
    top.is_some_and(|top| name::value(&top.issuer, "CN").as_deref() == Some(root))
}

/// The URLs of `Link: <URL>;rel="alternate"`.
fn alternates(base: &str, headers: &HeaderMap) -> Vec<String> {
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok()).flat_map(|link| link.split(','));
    let found = links.filter_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let alternate = parameters.split(';').any(|one| one.trim().replace('"', "") == "rel=alternate");
        alternate.then(|| reqwest::Url::parse(base).ok()?.join(target).ok().map(String::from))?
    });
    found.collect()
}

fn location(url: &str, answer: &Answer) -> Result<String, Error> {
    let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    location.map(str::to_owned).ok_or_else(|| Error::Protocol { url: url.to_owned(), what: "no Location".to_owned() })
}

fn order_body(url: &str, answer: &Answer) -> Result<OrderBody, Error> {
    let mut body: OrderBody = parse(url, &answer.body)?;
    body.retry_after = retry_after(&answer.headers);
    Ok(body)
}

fn parse<T: DeserializeOwned>(url: &str, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| Error::Protocol { url: url.to_owned(), what: error.to_string() })
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
}

fn problem(status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let told: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let kind =
        told["type"].as_str().unwrap_or("about:blank").trim_start_matches("urn:ietf:params:acme:error:").to_owned();
    Error::Problem { status, kind, detail: detail(&told), retry_after: retry_after(headers) }
}

/// What a problem document says to people, with its parts.
#[must_use]
pub fn detail(problem: &Value) -> String {
    let mut text = problem["detail"].as_str().unwrap_or("no detail was given").chars().take(1000).collect::<String>();
    for part in problem["subproblems"].as_array().into_iter().flatten().take(10) {
        let (of, why) = (part["identifier"]["value"].as_str(), part["detail"].as_str());
        text += &format!("; {}: {}", of.unwrap_or("?"), why.unwrap_or("?"));
    }
    text
}
