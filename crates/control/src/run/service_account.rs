//! The ServiceAccount controller's shell.

use base::Key;
use informer::{Change, Next, Queue};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;

use super::write;
use crate::plan::service_account as plan;
use crate::slim::Account;
use crate::{Launch, Shared};

const NAME: &str = "service-account-controller";

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let namespaces = shared.informers.of::<Namespace>();
    let accounts = shared.informers.of::<Account>();
    let wake = queue.clone();
    namespaces.on_change(move |change: Change<'_, Namespace>| wake.add(Key::cluster(change.latest().name_any())));
    let wake = queue.clone();
    accounts.on_change(move |change: Change<'_, Account>| {
        if change.new.is_none() && change.latest().name_any() == plan::NAME {
            wake.add(Key::cluster(change.latest().namespace().unwrap_or_default()));
        }
    });
    let client = shared.client(NAME);
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 1, &shared.context, NAME, move |key: Key| {
            let namespace = namespaces.get("", &key.name);
            let missing = plan::plan(namespace.as_deref(), accounts.get(&key.name, plan::NAME).is_some());
            let client = client.clone();
            async move {
                let Some(account) = missing else { return Ok(Next::Done) };
                match write::create(&client, &account).await {
                    Ok(_) => Ok(Next::Done),
                    Err(error) if write::already_exists(&error) || write::namespace_is_leaving(&error) => {
                        Ok(Next::Done)
                    }
                    Err(error) => {
                        Err(write::failed(&error, format_args!("cannot create the default service account in {key}")))
                    }
                }
            }
        });
    })
}
