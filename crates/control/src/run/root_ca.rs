//! The shell that publishes the cluster's certificate authority.

use std::sync::Arc;

use base::Key;
use informer::{Change, Next, Queue};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};

use super::overlay::Overlay;
use super::write;
use crate::plan::root_ca::{self as plan, Action};
use crate::{Launch, Shared};

const NAME: &str = "root-ca-cert-publisher";

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let namespaces = shared.informers.of::<Namespace>();
    let api: Api<ConfigMap> = Api::all(shared.client(""));
    let named = watcher::Config::default().fields(&format!("metadata.name={}", plan::NAME));
    let maps = shared.informers.with::<ConfigMap>(api, named);
    let wake = queue.clone();
    namespaces.on_change(move |change: Change<'_, Namespace>| wake.add(Key::cluster(change.latest().name_any())));
    let wake = queue.clone();
    maps.on_change(move |change: Change<'_, ConfigMap>| {
        wake.add(Key::cluster(change.latest().namespace().unwrap_or_default()));
    });
    let maps = Overlay::new(maps);
    let client = shared.client(NAME);
    let bundle: Arc<str> = shared.cluster_ca_pem.as_str().into();
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 1, &shared.context, NAME, move |key: Key| {
            let namespace = namespaces.get("", &key.name);
            let action = plan::plan(namespace.as_deref(), maps.get(&key.name, plan::NAME).as_deref(), &bundle);
            let (client, maps) = (client.clone(), maps.clone());
            async move {
                let written = match action {
                    None => return Ok(Next::Done),
                    Some(Action::Create(map)) => write::create(&client, &*map).await,
                    Some(Action::Update(map)) => write::replace(&client, &*map).await,
                };
                match written {
                    Ok(map) => {
                        maps.wrote(map);
                        Ok(Next::Done)
                    }
                    Err(error) if write::namespace_is_leaving(&error) || write::already_exists(&error) => {
                        Ok(Next::Done)
                    }
                    Err(error) => Err(write::failed(&error, format_args!("cannot publish {} in {key}", plan::NAME))),
                }
            }
        });
    })
}
