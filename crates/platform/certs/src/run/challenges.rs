//! Challenges: presented, looked for, shown to the server, taken back.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use informer::Next;
use jiff::SignedDuration;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Shared, certificates, issuers};
use crate::acme::{Account, Error, detail};
use crate::api::{Challenge, ChallengeStatus, Rfc2136, State};
use crate::dns;
use crate::plan::Note;
use crate::plan::challenge::{self, FINALIZER, Step, Way};

/// Until something that failed on the way is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// A look from here takes no longer.
const LOOK: Duration = Duration::from_secs(10);
/// Nothing that answers a look is longer.
const LONGEST: usize = 4096;

/// Begins with as many challenges as may be worked on.
pub(super) async fn turns(shared: &Arc<Shared>, _: &base::Key) -> anyhow::Result<Next> {
    for one in challenge::begin(&shared.challenges.list()) {
        let api = Api::<Challenge>::namespaced(shared.client.clone(), &one.namespace().unwrap_or_default());
        let status = ChallengeStatus { processing: true, ..one.status.clone() };
        shared.write_status(&api, &*one, &one.status, &status).await?;
        shared.tell(&*one, &Note::normal("Started", "Challenge scheduled for processing")).await;
    }
    Ok(Next::Done)
}

pub(super) async fn reconcile(shared: &Arc<Shared>, key: &base::Key) -> anyhow::Result<Next> {
    let api = Api::<Challenge>::namespaced(shared.client.clone(), &key.namespace);
    let Some(challenge) = api.get_opt(&key.name).await?.filter(|one| one.spec.issuer_ref.is_ours()) else {
        return Ok(Next::Done);
    };
    let mut status = challenge.status.clone();
    let next = match challenge::step(&challenge) {
        Step::Nothing => return Ok(Next::Done),
        Step::Leave => {
            if let Some(wait) = take_back(shared, &challenge).await {
                return Ok(Next::After(wait));
            }
            let kept: Vec<&String> =
                challenge.metadata.finalizers.iter().flatten().filter(|one| *one != FINALIZER).collect();
            let patch = json!({ "metadata": { "resourceVersion": challenge.resource_version(), "finalizers": kept } });
            api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            return Ok(Next::Done);
        }
        Step::TakeBack => match take_back(shared, &challenge).await {
            Some(wait) => return Ok(Next::After(wait)),
            None => {
                (status.presented, status.processing) = (false, false);
                Next::Done
            }
        },
        Step::Present => present(shared, &challenge, &mut status).await?,
        Step::Show(Some(at)) if at > shared.now() => return Ok(Next::After(certificates::until(at, shared.now()))),
        Step::Show(_) => show(shared, &challenge, &mut status).await?,
    };
    if status != challenge.status {
        shared.write_status(&api, &challenge, &challenge.status, &status).await?;
        if status.state.is_failure() {
            shared.tell(&challenge, &Note::warning("Failed", status.reason.clone())).await;
        }
        if status.presented && !challenge.status.presented {
            let message = format!("Presented challenge using {} challenge mechanism", challenge.spec.kind);
            shared.tell(&challenge, &Note::normal("Presented", message)).await;
        }
    }
    Ok(next)
}

/// Undoes what was presented; how long to wait, if that cannot be done now.
async fn take_back(shared: &Shared, challenge: &Challenge) -> Option<Duration> {
    if !challenge.status.presented {
        return None;
    }
    let Ok(Way::Update(settings)) = challenge::way(&challenge.spec.solver, &shared.config.class) else { return None };
    match update(shared, challenge, &settings, false).await {
        Ok(Ok(())) => None,
        Ok(Err(fault)) => {
            tracing::warn!(challenge = %challenge.name_any(), "cannot take back the TXT record: {fault}; trying again");
            // a server that is gone must not keep the object for ever
            let gone = challenge
                .metadata
                .deletion_timestamp
                .as_ref()
                .is_some_and(|at| shared.now().duration_since(at.0) > SignedDuration::from_mins(10));
            (!gone).then_some(AGAIN)
        }
        Err(error) => {
            tracing::warn!(challenge = %challenge.name_any(), "cannot take back the TXT record: {error:#}; trying again");
            Some(AGAIN)
        }
    }
}

async fn present(shared: &Shared, challenge: &Challenge, status: &mut ChallengeStatus) -> anyhow::Result<Next> {
    match challenge::way(&challenge.spec.solver, &shared.config.class) {
        Err(fault) => {
            status.state = State::Errored;
            status.reason = fault;
            return Ok(Next::Done);
        }
        // whoever answers reads it in the object, as soon as that says that it is presented
        Ok(Way::Gateway | Way::ClusterDns) => {}
        Ok(Way::Update(settings)) => {
            if let Err(fault) = update(shared, challenge, &settings, true).await? {
                status.reason = format!("Error presenting challenge: {fault}");
                return Ok(Next::After(AGAIN));
            }
        }
    }
    status.presented = true;
    status.presented_at = Some(base::time::rfc3339(shared.now()));
    status.reason = String::new();
    Ok(Next::Done)
}

/// Makes (or takes back) the TXT record at a name server.
async fn update(
    shared: &Shared,
    challenge: &Challenge,
    settings: &Rfc2136,
    add: bool,
) -> anyhow::Result<Result<(), String>> {
    let namespace = challenge.namespace().unwrap_or_default();
    let secrets = shared.secrets_of(&challenge.spec.issuer_ref, &namespace);
    let key = match &settings.tsig_secret {
        None => None,
        Some(of) => match shared.value(secrets, of, "tsig").await? {
            Err(fault) => return Ok(Err(format!("tsigSecretSecretRef: {fault}"))),
            Ok(text) => {
                match (BASE64_STANDARD.decode(text.trim_ascii()), dns::Algorithm::named(&settings.tsig_algorithm)) {
                    (Ok(secret), Some(algorithm)) => {
                        Some(dns::TsigKey { name: settings.tsig_key_name.clone(), algorithm, secret })
                    }
                    (Err(_), _) => return Ok(Err("tsigSecretSecretRef: the key is not base64".to_owned())),
                    (_, None) => {
                        return Ok(Err(format!(
                            "tsigAlgorithm: {:?} is none of HMACSHA256, HMACSHA384, HMACSHA512, HMACSHA1",
                            settings.tsig_algorithm
                        )));
                    }
                }
            }
        },
    };
    let name = record(challenge);
    let seconds = u64::try_from(base::time::now().as_second()).unwrap_or(0);
    let result = dns::update(&settings.nameserver, key.as_ref(), &name, &challenge.spec.key, add, seconds).await;
    Ok(result.map_err(|error| base::error::chain(&error)))
}

/// Where the TXT record belongs (RFC 8555, 8.4).
fn record(challenge: &Challenge) -> String {
    format!("_acme-challenge.{}", challenge.spec.dns_name.trim_end_matches('.'))
}

async fn show(shared: &Shared, challenge: &Challenge, status: &mut ChallengeStatus) -> anyhow::Result<Next> {
    let since = challenge.status.presented_at.as_deref().and_then(|at| base::time::parse(at).ok());
    let presented_for = since.map(|since| shared.now().duration_since(since)).unwrap_or_default();
    let patience = Duration::try_from(challenge::patience(presented_for)).unwrap_or(AGAIN);
    let namespace = challenge.namespace().unwrap_or_default();
    let account = match issuers::account(shared, &challenge.spec.issuer_ref, &namespace).await? {
        Ok((account, _)) => account,
        Err(why) => {
            status.reason = why;
            return Ok(Next::After(AGAIN));
        }
    };
    if !challenge::is_at_server(challenge)
        && challenge.spec.solver.wait_instead_of_self_check.is_none()
        && let Err(fault) = look(shared, challenge).await
    {
        status.state = State::Pending;
        status.reason = format!("Waiting for {} challenge propagation: {fault}", challenge.spec.kind);
        return Ok(Next::After(patience));
    }
    match ask(&account, challenge, status).await {
        Ok(wait) => Ok(wait.map_or(Next::Done, |wait| Next::After(wait.unwrap_or(patience)))),
        Err(error) if error.is_transient() => {
            status.reason = base::error::chain(&error);
            Ok(Next::After(error.wait().unwrap_or(AGAIN)))
        }
        Err(error) => {
            status.state = State::Errored;
            status.reason = format!("Error accepting challenge: {}", base::error::chain(&error));
            Ok(Next::Done)
        }
    }
}

/// Tells the server to look, and how far it is; none when it has decided, else how long it wants to be left alone.
async fn ask(
    account: &Account,
    challenge: &Challenge,
    status: &mut ChallengeStatus,
) -> Result<Option<Option<Duration>>, Error> {
    if !challenge::is_at_server(challenge) {
        account.accept(&challenge.spec.url).await?;
        status.state = State::Processing;
        status.reason = String::new();
    }
    let body = account.authorization(&challenge.spec.authorization_url).await?;
    if body.status == State::Pending || body.status == State::Unknown {
        return Ok(Some(body.retry_after));
    }
    status.state = body.status;
    status.reason =
        if body.status == State::Valid { "Successfully authorized domain".to_owned() } else { String::new() };
    if body.status.is_failure() {
        let error = body.challenges.iter().find_map(|one| one.error.as_ref()).map(detail);
        status.reason =
            format!("Error accepting authorization: {}", error.unwrap_or_else(|| body.status.name().to_owned()));
    }
    Ok(None)
}

/// Looks for what was presented where the server will look for it.
async fn look(shared: &Shared, challenge: &Challenge) -> Result<(), String> {
    if challenge.spec.kind == "DNS-01" {
        let servers = &shared.config.name_servers;
        let found = dns::texts(servers, &record(challenge)).await.map_err(|error| base::error::chain(&error))?;
        return if found.contains(&challenge.spec.key) {
            Ok(())
        } else {
            Err(format!("{} has no TXT record with the key ({} others)", record(challenge), found.len()))
        };
    }
    let (host, port) = (&challenge.spec.dns_name, shared.config.http01_port);
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let port = if port == 80 { String::new() } else { format!(":{port}") };
    let url = format!("http://{bracketed}{port}/.well-known/acme-challenge/{}", challenge.spec.token);
    let mut client = crate::http::builder(LOOK).redirect(reqwest::redirect::Policy::limited(10)).no_proxy();
    // a server follows a redirect to HTTPS without looking at the certificate; what counts is the key (RFC 8555, 8.3)
    client = client.tls_danger_accept_invalid_certs(true);
    for (host, address) in &shared.config.resolve {
        client = client.resolve(host, *address);
    }
    let client = client.build().map_err(|error| error.to_string())?;
    let failed = |error: reqwest::Error| {
        format!("failed to perform self check GET request '{url}': {}", base::error::chain(&error))
    };
    let mut response = client.get(&url).send().await.map_err(failed)?;
    if response.status() != 200 {
        return Err(format!("wrong status code '{}' from '{url}', expected '200'", response.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST {
            break;
        }
    }
    let same = body.trim_ascii_end() == challenge.spec.key.as_bytes();
    if same { Ok(()) } else { Err(format!("did not get expected response when querying endpoint '{url}'")) }
}
