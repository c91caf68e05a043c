//! Orders at ACME servers: one step, one question, one write.

use std::sync::Arc;
use std::time::Duration;

use base::time::rfc3339;
use informer::Next;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Shared, issuers, requests, write};
use crate::acme::{Account, Error, NewOrder, detail, key_authorization, key_hash};
use crate::api::{
    AcmeIssuer, Authorization, Challenge, ChallengeOffer, Order, OrderStatus, State, document, is_owned_by, owned_by,
};
use crate::plan::Note;
use crate::plan::challenge::FINALIZER;
use crate::plan::order::{self, Ask};
use crate::x509::read;

/// Between two looks at an order that the server works on, when it does not say.
const LOOK: Duration = Duration::from_secs(2);
/// Until a server that failed is asked again, when neither it nor its gate says.
const AGAIN: Duration = Duration::from_secs(5);

pub(super) async fn reconcile(shared: &Arc<Shared>, key: &base::Key) -> anyhow::Result<Next> {
    let api = Api::<Order>::namespaced(shared.client.clone(), &key.namespace);
    let Some(order) = api.get_opt(&key.name).await?.filter(|order| order.spec.issuer_ref.is_ours()) else {
        return Ok(Next::Done);
    };
    let all = shared.challenges.in_namespace(&key.namespace);
    let challenges: Vec<Arc<Challenge>> = all.into_iter().filter(|one| is_owned_by(&**one, &order)).collect();
    let known = issuers::account(shared, &order.spec.issuer_ref, &key.namespace).await?;
    let solvers = known.as_ref().map(|(_, acme)| acme.solvers.clone()).unwrap_or_default();
    if known.is_err() && !order.status.state.is_final() {
        let why = known.err().unwrap_or_default();
        say(shared, &api, &order, OrderStatus { reason: why, ..order.status.clone() }).await?;
        return Ok(Next::After(AGAIN)); // its arrival wakes the order sooner
    }
    let plan = order::plan(&order, &challenges, &solvers);
    let own = Api::<Challenge>::namespaced(shared.client.clone(), &key.namespace);
    for name in &plan.delete {
        write::delete(&own, name).await?;
    }
    let Ok((account, acme)) = known else { return Ok(Next::Done) };
    for (name, authorization, offer, solver) in &plan.create {
        let authorized = key_authorization(&offer.token, &account.key);
        let shown = if offer.kind == "dns-01" { key_hash(&authorized) } else { authorized };
        let spec = order::challenge(&order, authorization, offer, solver, shown);
        let metadata = json!({
            "name": name, "namespace": key.namespace, "ownerReferences": owned_by(&order), "finalizers": [FINALIZER],
        });
        shared.create::<Challenge>(&key.namespace, &document::<Challenge>(metadata, &spec)).await?;
        let message = format!("Created Challenge resource {name:?} for domain {:?}", authorization.identifier);
        shared.tell(&order, &Note::normal("Created", message)).await;
    }
    ask(shared, &api, &order, plan.ask, &account, &acme).await
}

async fn ask(
    shared: &Shared,
    api: &Api<Order>,
    order: &Order,
    ask: Ask,
    account: &Account,
    acme: &AcmeIssuer,
) -> anyhow::Result<Next> {
    let mut status = order.status.clone();
    let answer = match &ask {
        Ask::Nothing => return Ok(Next::Done),
        Ask::GiveUp(why) => {
            status.state = State::Errored;
            status.reason.clone_from(why);
            status.failure_time = Some(rfc3339(shared.now()));
            Ok(Next::Done)
        }
        Ask::Create => create(shared, order, account, acme, &mut status).await,
        Ask::Authorizations => authorizations(account, &mut status).await,
        Ask::Refresh => refresh(shared, account, &mut status).await,
        Ask::Finalize => finalize(shared, order, account, &mut status).await,
        Ask::Fetch => fetch(account, acme, &mut status).await,
    };
    let next = match answer {
        Ok(next) => next,
        Err(error) if error.is_transient() => {
            status = order.status.clone();
            status.reason = base::error::chain(&error);
            Next::After(error.wait().unwrap_or(AGAIN))
        }
        Err(error) => {
            status.state = State::Errored;
            status.reason = format!("Failed to {}: {}", verb(&ask), base::error::chain(&error));
            status.failure_time = Some(rfc3339(shared.now()));
            Next::Done
        }
    };
    say(shared, api, order, status).await?;
    Ok(next)
}

fn verb(ask: &Ask) -> &'static str {
    match ask {
        Ask::Create => "create Order",
        Ask::Authorizations => "read the order's authorizations",
        Ask::Finalize => "finalize Order",
        Ask::Fetch => "retrieve the certificate",
        _ => "retrieve Order resource",
    }
}

async fn say(shared: &Shared, api: &Api<Order>, order: &Order, status: OrderStatus) -> anyhow::Result<()> {
    if status == order.status {
        return Ok(());
    }
    shared.write_status(api, order, &order.status, &status).await?;
    if status.state != order.status.state && status.state.is_final() {
        let message = if status.state == State::Valid {
            "Order completed successfully".to_owned()
        } else {
            status.reason.clone()
        };
        let note = if status.state == State::Valid {
            Note::normal("Complete", message)
        } else {
            Note::warning("Failed", message)
        };
        shared.tell(order, &note).await;
    }
    Ok(())
}

async fn create(
    shared: &Shared,
    order: &Order,
    account: &Account,
    acme: &AcmeIssuer,
    status: &mut OrderStatus,
) -> Result<Next, Error> {
    let lifetime = order.spec.duration.as_deref().and_then(|text| base::time::duration(text).ok());
    let new = NewOrder {
        identifiers: requests::identifiers(&order.spec),
        not_after: lifetime.and_then(|life| shared.now().checked_add(life).ok()),
        profile: if order.spec.profile.is_empty() { acme.profile.clone() } else { order.spec.profile.clone() },
        replaces: order.spec.replaces.clone(),
    };
    let (url, body) = account.order(&new).await?;
    tracing::info!(order = %order.name_any(), %url, "ordered");
    status.url = url;
    status.finalize_url = body.finalize;
    status.state = body.status;
    status.reason = String::new();
    let bare = |url: String| Authorization { url, ..Authorization::default() };
    status.authorizations = body.authorizations.into_iter().map(bare).collect();
    Ok(Next::Done)
}

async fn authorizations(account: &Account, status: &mut OrderStatus) -> Result<Next, Error> {
    for known in status.authorizations.iter_mut().filter(|known| known.identifier.is_empty()) {
        let body = account.authorization(&known.url).await?;
        known.identifier = body.identifier.value;
        known.wildcard = body.wildcard;
        known.initial_state = body.status;
        let offers =
            body.challenges.into_iter().map(|one| ChallengeOffer { url: one.url, token: one.token, kind: one.kind });
        known.challenges = offers.collect();
    }
    status.reason = String::new();
    Ok(Next::Done)
}

async fn refresh(shared: &Shared, account: &Account, status: &mut OrderStatus) -> Result<Next, Error> {
    let body = account.order_at(&status.url).await?;
    let wait = body.retry_after.unwrap_or(LOOK);
    status.state = body.status;
    status.reason = String::new();
    if body.status.is_failure() {
        status.reason =
            body.error.as_ref().map(detail).unwrap_or_else(|| format!("the order is {}", body.status.name()));
        status.failure_time = Some(rfc3339(shared.now()));
    }
    let waits = matches!(body.status, State::Pending | State::Processing);
    Ok(if waits { Next::After(wait) } else { Next::Done })
}

async fn finalize(shared: &Shared, order: &Order, account: &Account, status: &mut OrderStatus) -> Result<Next, Error> {
    let Some(said) = read::request_pem(&order.spec.request) else {
        return Err(Error::Request("spec.request: no signing request whose signature holds".to_owned()));
    };
    match account.finalize(&status.finalize_url, &said.der).await {
        Ok(body) => {
            status.state = body.status;
            status.reason = String::new();
            Ok(Next::After(body.retry_after.unwrap_or(LOOK)))
        }
        // who was killed after asking finds the order further than it knew
        Err(error) if error.kind() == Some("orderNotReady") => refresh(shared, account, status).await,
        Err(error) => Err(error),
    }
}

async fn fetch(account: &Account, acme: &AcmeIssuer, status: &mut OrderStatus) -> Result<Next, Error> {
    let body = account.order_at(&status.url).await?;
    let url = body
        .certificate
        .ok_or_else(|| Error::Protocol { url: status.url.clone(), what: "valid, but no certificate".to_owned() })?;
    let certificate = account.certificate(&url, &acme.preferred_chain).await?;
    if read::certificates_pem(&certificate.0).is_none() {
        return Err(Error::Protocol { url, what: "no certificates (PEM)".to_owned() });
    }
    status.certificate = certificate.0;
    status.reason = String::new();
    Ok(Next::Done)
}
