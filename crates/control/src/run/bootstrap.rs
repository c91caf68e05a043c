//! The shells around bootstrap tokens: one signs `cluster-info` with them, one deletes those that have ended.
//!
//! Why both run though upstream has them switched off: without a token, or without the map, they do nothing but watch one
//! name each; and whoever makes a token expects what `kubeadm` makes of it.

use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::DeleteParams;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};

use super::replicaset::key;
use super::{clock, write};
use crate::plan::bootstrap::{self as plan, Expiry};
use crate::time;
use crate::{Launch, Shared};

const SIGNER: &str = "bootstrap-signer";
const CLEANER: &str = "token-cleaner";

fn tokens(shared: &Shared) -> Informer<Secret> {
    let typed = watcher::Config::default().fields(&format!("type={}", plan::TYPE));
    shared.informers.with(Api::namespaced(shared.client(""), plan::NAMESPACE), typed)
}

/// Signs.
pub(crate) fn signer(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let (namespace, name) = plan::CLUSTER_INFO;
    let named = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let maps = shared.informers.with::<ConfigMap>(Api::namespaced(shared.client(""), namespace), named);
    let tokens = tokens(shared);
    let only = Key::new(namespace.to_owned(), name.to_owned());
    let (wake, item) = (queue.clone(), only.clone());
    maps.on_change(move |_| wake.add(item.clone()));
    let (wake, item) = (queue.clone(), only.clone());
    tokens.on_change(move |_| wake.add(item.clone()));
    let client = shared.client(SIGNER);
    let shared = shared.clone();
    Box::new(move || {
        clock::on_jump(&shared, &queue, move || vec![only.clone()]);
        informer::work(&queue, 1, &shared.context, SIGNER, move |key: Key| {
            let (now, tokens) = (time::now(), tokens.list());
            let map = maps.get(&key.namespace, &key.name);
            let changed = map.and_then(|map| plan::plan(&map, tokens.iter().map(|token| &**token), now));
            let next = tokens.iter().filter_map(|token| left(token, now)).min().map_or(Next::Done, Next::After);
            let client = client.clone();
            async move {
                let Some(map) = changed else { return Ok(next) };
                match write::replace(&client, &map).await {
                    Ok(_) => Ok(next),
                    Err(error) if write::is_not_found(&error) => Ok(next),
                    Err(error) => {
                        write::settle(Err(write::failed(&error, format_args!("cannot sign config map {key}"))))
                    }
                }
            }
        });
    })
}

fn left(token: &Secret, now: jiff::Timestamp) -> Option<Duration> {
    match plan::expiry(token, now) {
        Expiry::In(left) => Some(left),
        Expiry::Never | Expiry::Now => None,
    }
}

/// Deletes.
pub(crate) fn cleaner(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let tokens = tokens(shared);
    let wake = queue.clone();
    tokens.on_change(move |change: Change<'_, Secret>| {
        if let Some(token) = change.new {
            wake.add(key(&**token));
        }
    });
    let client = shared.client(CLEANER);
    let shared = shared.clone();
    Box::new(move || {
        let known = tokens.clone();
        clock::on_jump(&shared, &queue, move || known.list().iter().map(|token| key(&**token)).collect());
        informer::work(&queue, 1, &shared.context, CLEANER, move |key: Key| {
            let (client, token) = (client.clone(), tokens.get(&key.namespace, &key.name));
            async move {
                let Some(token) = token else { return Ok(Next::Done) };
                match plan::expiry(&token, time::now()) {
                    Expiry::Never => return Ok(Next::Done),
                    Expiry::In(left) => return Ok(Next::After(left)),
                    Expiry::Now => {}
                }
                let deleted = write::delete(&client, &*token, DeleteParams::default()).await;
                deleted
                    .map_err(|error| write::failed(&error, format_args!("cannot delete token {key}, which ended")))?;
                tracing::info!(token = token.name_any(), "a bootstrap token ended");
                Ok(Next::Done)
            }
        });
    })
}
