//! Which worker works on which pod: one per uid, from the first word of a pod to its last.
//!
//! Invariant: a worker is told the latest object, never a change; a pod of the same name with
//! another uid is another pod, even if the watch never showed the gap between them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use informer::{Change, Informer};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::housekeeping;
use crate::pod::node::Node;
use crate::pod::{Found, Worker, sandbox};
use crate::runtime::{Adopted, State};

pub(super) struct Pods {
    node: Arc<Node>,
    children: tasks::Children,
    workers: Mutex<HashMap<String, watch::Sender<Option<Arc<Pod>>>>>,
    /// What the runtime had when the agent started, until a worker takes it.
    found: Mutex<HashMap<String, Found>>,
}

impl Pods {
    /// Starts working on every pod the informer shows.
    pub(super) fn start(node: Arc<Node>, pods: Informer<Pod>, adopted: Adopted, children: tasks::Children) {
        let mut found: HashMap<String, Found> = HashMap::new();
        for sandbox in &adopted.sandboxes {
            found.entry(sandbox.spec.pod.uid.clone()).or_default().sandbox = true;
        }
        for container in adopted.containers {
            found.entry(container.spec.pod.uid.clone()).or_default().containers.push(container);
        }
        let this =
            Arc::new(Self { node, children: children.clone(), workers: Mutex::default(), found: Mutex::new(found) });
        let told = Arc::clone(&this);
        pods.on_change(move |change| told.changed(change));
        children.spawn("orphans", async move {
            pods.synced().await;
            this.clean_up().await;
        });
    }

    fn changed(self: &Arc<Self>, change: Change<'_, Pod>) {
        let uid = |pod: &Arc<Pod>| pod.metadata.uid.clone().unwrap_or_default();
        if let Some(old) = change.old
            && change.new.is_none_or(|new| uid(new) != uid(old))
            && let Some(worker) = self.workers.lock().get(&uid(old))
        {
            worker.send_replace(None);
        }
        let Some(new) = change.new else { return };
        let mut workers = self.workers.lock();
        if let Some(worker) = workers.get(&uid(new)) {
            worker.send_replace(Some(Arc::clone(new)));
            return;
        }
        let uid = uid(new);
        let (updates, heard) = watch::channel(Some(Arc::clone(new)));
        workers.insert(uid.clone(), updates);
        drop(workers);
        let found = self.found.lock().remove(&uid).unwrap_or_default();
        let meta = &new.metadata;
        let name = format!(
            "pod {}/{}",
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default()
        );
        let worker = Worker::new(Arc::clone(&self.node), Arc::clone(new), heard, &found, base::time::now());
        let this = Arc::clone(self);
        self.children.spawn(name, async move {
            worker.run().await;
            this.workers.lock().remove(&uid);
        });
    }

    /// Ends pods the API has forgotten while the agent was away.
    async fn clean_up(self: Arc<Self>) {
        let orphans: Vec<(String, Found)> = self.found.lock().drain().collect();
        for (uid, found) in orphans {
            tracing::info!("pod {uid} is no longer in the API: ending it");
            let node = Arc::clone(&self.node);
            self.children.spawn(format!("orphan {uid}"), async move {
                end(&node, &found).await;
                forget(&node, &uid).await;
            });
        }
        for uid in housekeeping::known_pods(&self.node.data_dir, &self.node.run_dir) {
            if !self.workers.lock().contains_key(&uid) {
                forget(&self.node, &uid).await;
            }
        }
    }
}

async fn end(node: &Node, found: &Found) {
    const GRACE: Duration = Duration::from_secs(10);
    let running = found.containers.iter().filter(|container| container.state == State::Running);
    let stops = running.map(|container| async move {
        let id = &container.spec.id;
        if let Err(error) = node.engine.stop(id, libc::SIGTERM, GRACE).await {
            tracing::warn!("stopping container {id}: {}", base::error::chain(&error));
        }
    });
    futures::future::join_all(stops).await;
}

async fn forget(node: &Arc<Node>, uid: &str) {
    if let Err(why) = sandbox::tear_down(Arc::clone(node), uid.to_owned()).await {
        tracing::warn!("removing what is left of pod {uid}: {why}");
    }
    housekeeping::remove_logs(&node.log_dir, uid);
}
