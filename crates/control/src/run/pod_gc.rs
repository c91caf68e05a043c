//! The pod garbage collector's shell.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::node_lifecycle::patch_pod_status;
use super::write;
use crate::plan::pod;
use crate::plan::pod_gc::{self as plan, Lost, QUARANTINE, TERMINATED_KEPT};
use crate::{Launch, Shared, time};

const NAME: &str = "pod-garbage-collector";
/// Counting finished pods can wait: one pass for many that finish.
const LEISURE: Duration = Duration::from_secs(20);

struct Shell {
    client: Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    missing: Mutex<HashMap<String, Instant>>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let all = Key::cluster("pods");
    let nodes = shared.informers.of::<Node>();
    let pods = shared.informers.of::<Pod>();
    let (wake, key) = (queue.clone(), all.clone());
    nodes.on_change(move |change: Change<'_, Node>| {
        if change.new.is_none_or(|node| plan::is_out_of_service(node)) {
            wake.add(key.clone());
        }
    });
    let (wake, key, known) = (queue.clone(), all.clone(), nodes.clone());
    pods.on_change(move |change: Change<'_, Pod>| {
        let Some(new) = change.new else { return };
        let name = pod::node_name(new);
        let leaving = new.metadata.deletion_timestamp.is_some();
        if leaving && (name.is_empty() || known.get("", name).is_some_and(|node| plan::is_out_of_service(&node))) {
            wake.add(key.clone());
        } else if pod::is_terminal(new) && change.old.is_none_or(|old| !pod::is_terminal(old)) {
            wake.add_after(key.clone(), LEISURE);
        }
    });
    let shell = Arc::new(Shell { client: shared.client(NAME), nodes, pods, missing: Mutex::default() });
    let shared = shared.clone();
    Box::new(move || {
        queue.add(all);
        informer::work(&queue, 1, &shared.context, NAME, move |_: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync().await) }
        });
    })
}

impl Shell {
    async fn sync(&self) -> anyhow::Result<Next> {
        let pods = self.pods.list();
        let (gone, next) = self.gone(&pods).await?;
        let out = self.nodes.list().into_iter().filter(|node| plan::is_out_of_service(node));
        let lost = Lost { gone, out_of_service: out.map(|node| node.name_any()).collect() };
        for removal in plan::plan(&pods, &lost, TERMINATED_KEPT, time::now()) {
            if removal.fails {
                let mut status = json!({ "phase": "Failed" });
                if let Some(condition) = removal.condition {
                    status["conditions"] = json!([condition]);
                }
                patch_pod_status(&self.client, &removal.pod, status).await?;
            }
            let params = DeleteParams::default().grace_period(0);
            write::delete(&self.client, &*removal.pod, params).await.map_err(|error| {
                let key = super::replicaset::key(&*removal.pod);
                write::failed(&error, format_args!("cannot remove pod {key}"))
            })?;
            tracing::info!(pod = %super::replicaset::key(&*removal.pod), why = ?removal.why, "pod removed");
        }
        Ok(next.map_or(Next::Done, Next::After))
    }

    /// The nodes that are certainly gone, and when the next suspect is due.
    async fn gone(&self, pods: &[Arc<Pod>]) -> anyhow::Result<(HashSet<String>, Option<Duration>)> {
        let absent: HashSet<&str> = pods
            .iter()
            .map(|pod| pod::node_name(pod))
            .filter(|name| !name.is_empty() && self.nodes.get("", name).is_none())
            .collect();
        let (due, next) = {
            let mut missing = self.missing.lock();
            missing.retain(|name, _| absent.contains(name.as_str()));
            let (mut due, mut next) = (Vec::new(), None::<Duration>);
            for name in absent {
                let since = *missing.entry(name.to_owned()).or_insert_with(Instant::now);
                match QUARANTINE.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
                    None => due.push(name.to_owned()),
                    Some(left) => next = Some(next.map_or(left, |next| next.min(left))),
                }
            }
            (due, next)
        };
        let api: Api<Node> = Api::all(self.client.clone());
        let mut gone = HashSet::new();
        for name in due {
            let found = api.get_metadata_opt(&name).await;
            if found.map_err(|error| write::failed(&error, format_args!("cannot check node {name}")))?.is_none() {
                gone.insert(name);
            }
        }
        Ok((gone, next))
    }
}
