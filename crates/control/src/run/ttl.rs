//! The shell of the controller that deletes Jobs some time after they ended.

use std::sync::Arc;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::batch::v1::Job;
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt};

use super::replicaset::key;
use super::{clock, write};
use crate::plan::job;
use crate::plan::ttl::{self as plan, Expiry};
use crate::{Launch, Shared, time};

const NAME: &str = "ttl-after-finished-controller";

struct Shell {
    client: Client,
    jobs: Informer<Job>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let jobs = shared.informers.of::<Job>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    jobs.on_change(move |change: Change<'_, Job>| {
        if change.new.is_some_and(|job| job::ended(job).is_some()) {
            wake.add(key(&**change.latest()));
        }
    });
    let shell = Arc::new(Shell { client: shared.client(NAME), jobs: jobs.clone() });
    let shared = shared.clone();
    Box::new(move || {
        let keys = move || jobs.list().iter().map(|job| key(&**job)).collect();
        shared.resync(&queue, keys.clone());
        clock::on_jump(&shared, &queue, keys);
        informer::work(&queue, 4, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(job) = self.jobs.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        if let Some(wait) = wait(&job)? {
            return Ok(wait);
        }
        // The cache may be old and the time may have been changed; what is deleted is gone.
        let api: Api<Job> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = api.get_opt(&key.name).await;
        let live =
            live.map_err(|error| write::failed(&error, format_args!("cannot read job {key} before deleting it")))?;
        let Some(live) = live else { return Ok(Next::Done) };
        if let Some(wait) = wait(&live)? {
            return Ok(wait);
        }
        let deleted = write::delete(&self.client, &live, DeleteParams::foreground()).await;
        deleted.map_err(|error| write::failed(&error, format_args!("cannot delete job {key} whose time is over")))?;
        tracing::info!(job = %key, uid = live.uid(), "an ended job was deleted, its time was over");
        Ok(Next::Done)
    }
}

/// What to do instead of deleting.
fn wait(job: &Job) -> anyhow::Result<Option<Next>> {
    match plan::expiry(job, time::now()).map_err(anyhow::Error::msg)? {
        None => Ok(Some(Next::Done)),
        Some(Expiry::In(left)) => Ok(Some(Next::After(left))),
        Some(Expiry::Now) => Ok(None),
    }
}
