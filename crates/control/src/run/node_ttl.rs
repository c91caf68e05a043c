//! The shell that writes on nodes how long they may believe what they know.

use std::sync::Arc;

use base::Key;
use informer::{Change, Next, Queue};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::write;
use crate::plan::node_ttl::{self as plan, Step};
use crate::{Launch, Shared};

const NAME: &str = "ttl-controller";

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let nodes = shared.informers.of::<Node>();
    let step = Arc::new(Mutex::new(Step::default()));
    let (wake, known, current) = (queue.clone(), nodes.clone(), Arc::clone(&step));
    nodes.on_change(move |change: Change<'_, Node>| {
        if let Some(node) = change.new {
            wake.add(Key::cluster(node.name_any()));
        }
        if change.old.is_some() && change.new.is_some() {
            return;
        }
        let mut step = current.lock();
        let next = step.at(known.len());
        if *step != next {
            *step = next;
            known.list().iter().for_each(|node| wake.add(Key::cluster(node.name_any())));
        }
    });
    let api: Api<Node> = Api::all(shared.client(NAME));
    let context = shared.context.clone();
    Box::new(move || {
        informer::work(&queue, 1, &context, NAME, move |key: Key| {
            let step = *step.lock();
            let wanted = nodes.get("", &key.name).and_then(|node| plan::plan(&node, step));
            let api = api.clone();
            async move {
                let Some(seconds) = wanted else { return Ok(Next::Done) };
                let patch = json!({ "metadata": { "annotations": { plan::ANNOTATION: seconds.to_string() } } });
                match api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                    Ok(_) => Ok(Next::Done),
                    Err(error) if write::is_not_found(&error) => Ok(Next::Done),
                    Err(error) => Err(write::failed(&error, format_args!("cannot annotate node {key}"))),
                }
            }
        });
    })
}
