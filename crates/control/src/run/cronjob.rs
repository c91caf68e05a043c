//! The CronJob controller's shell.

use std::collections::HashSet;
use std::sync::Arc;

use base::Key;
use base::zone::Zone;
use informer::{Change, Next, Queue};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt};

use super::overlay::Overlay;
use super::replicaset::key;
use super::{clock, write};
use crate::events::Recorder;
use crate::plan::claim;
use crate::plan::cronjob::{self as plan, Observed, Start};
use crate::{Launch, Shared, time};

const NAME: &str = "cronjob-controller";

struct Shell {
    client: Client,
    events: Recorder,
    crons: Overlay<CronJob>,
    jobs: Overlay<Job>,
    here: Zone,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let cron_cache = shared.informers.of::<CronJob>();
    let job_cache = shared.informers.of::<Job>();
    let queue: Queue<Key> = Queue::new();
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder(NAME),
        crons: Overlay::new(cron_cache.clone()),
        jobs: Overlay::new(job_cache.clone()),
        here: shared.time_zone,
    });
    let wake = queue.clone();
    cron_cache.on_change(move |change: Change<'_, CronJob>| wake.add(key(&**change.latest())));
    let wake = queue.clone();
    job_cache.on_change(move |change: Change<'_, Job>| wake_for_job(&wake, change));
    let shared = shared.clone();
    Box::new(move || {
        let keys = move || cron_cache.list().iter().map(|cron| key(&**cron)).collect();
        shared.resync(&queue, keys.clone());
        clock::on_jump(&shared, &queue, keys);
        informer::work(&queue, 4, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

fn wake_for_job(queue: &Queue<Key>, change: Change<'_, Job>) {
    for job in change.old.into_iter().chain(change.new) {
        if let Some(owner) = claim::controller(&**job).filter(|owner| owner.kind == "CronJob") {
            queue.add(Key::new(job.namespace().unwrap_or_default(), owner.name.clone()));
        }
    }
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(cron) = self.crons.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let jobs = self.jobs.in_namespace(&key.namespace);
        let gone = self.gone(&cron, &jobs).await?;
        let now = time::now();
        let plan = plan::plan(&cron, &Observed { jobs: &jobs, gone: &gone, here: self.here, now });
        for note in plan.notes {
            if note.warning {
                self.events.warning(&*cron, note.reason, note.message);
            } else {
                self.events.normal(&*cron, note.reason, note.message);
            }
        }
        for job in &plan.forget {
            self.delete(&cron, job).await?;
        }
        let mut status = plan.status;
        let started = match &plan.start {
            Some(start) => self.start(&cron, start).await,
            None => Ok(None),
        };
        if let (Ok(Some(job)), Some(start)) = (&started, &plan.start) {
            status = plan::started(status, &start.replaces, job, start.at);
        }
        self.write_status(&cron, status).await?;
        started?;
        Ok(plan.recheck.map_or(Next::Done, Next::After))
    }

    /// Which of the listed Jobs that the cache does not show are really gone.
    async fn gone(&self, cron: &CronJob, jobs: &[Arc<Job>]) -> anyhow::Result<HashSet<String>> {
        let mut gone = HashSet::new();
        for listed in plan::absent(cron, jobs) {
            let (Some(name), Some(uid)) = (&listed.name, &listed.uid) else { continue };
            if self.ask(cron, name).await?.is_none_or(|job| job.metadata.uid.as_ref() != Some(uid)) {
                gone.insert(uid.clone());
            }
        }
        Ok(gone)
    }

    async fn ask(&self, cron: &CronJob, name: &str) -> anyhow::Result<Option<Job>> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), cron.namespace().as_deref().unwrap_or(""));
        api.get_opt(name).await.map_err(|error| write::failed(&error, format_args!("cannot read job {name}")))
    }

    async fn delete(&self, cron: &CronJob, job: &Arc<Job>) -> anyhow::Result<()> {
        match write::delete(&self.client, &**job, DeleteParams::background()).await {
            Ok(left) => {
                match left {
                    Some(left) => drop(self.jobs.wrote(left)),
                    None => self.jobs.deleted(job),
                }
                self.events.normal(cron, "SuccessfulDelete", format!("Deleted job {}", job.name_any()));
                Ok(())
            }
            Err(error) => {
                let text = format!("Deleted job: {}", write::message(&error));
                self.events.warning(cron, "FailedDelete", text);
                Err(write::failed(&error, format_args!("cannot delete job {}", key(&**job))))
            }
        }
    }

    /// The Job that runs for the time, started now or found to have been started before.
    async fn start(&self, cron: &CronJob, start: &Start) -> anyhow::Result<Option<Job>> {
        for replaced in &start.replaces {
            self.replace(cron, replaced).await?;
        }
        let name = start.job.name_any();
        match write::create(&self.client, &*start.job).await {
            Ok(job) => {
                self.jobs.wrote(job.clone());
                self.events.normal(cron, "SuccessfulCreate", format!("Created job {name}"));
                Ok(Some(job))
            }
            Err(error) if write::namespace_is_leaving(&error) => Ok(None),
            Err(error) if write::already_exists(&error) => {
                let found = self.ask(cron, &name).await?;
                Ok(found.filter(|job| claim::is_controlled_by(job, cron.metadata.uid.as_deref().unwrap_or(""))))
            }
            Err(error) => {
                let text = format!("Error creating job: {}", write::message(&error));
                self.events.warning(cron, "FailedCreate", text);
                Err(write::failed(&error, format_args!("cannot create job {name}")))
            }
        }
    }

    async fn replace(&self, cron: &CronJob, replaced: &ObjectReference) -> anyhow::Result<()> {
        let name = replaced.name.as_deref().unwrap_or("");
        let found = match self.ask(cron, name).await {
            Ok(found) => found.filter(|job| job.metadata.uid == replaced.uid),
            Err(error) => {
                self.events.warning(cron, "FailedGet", format!("Get job: {error:#}"));
                return Err(error);
            }
        };
        match found {
            Some(job) => self.delete(cron, &Arc::new(job)).await,
            None => Ok(()), // what is gone need not go
        }
    }

    async fn write_status(&self, cron: &Arc<CronJob>, status: CronJobStatus) -> anyhow::Result<()> {
        if cron.status.as_ref().is_some_and(|old| *old == status)
            || (cron.status.is_none() && status == CronJobStatus::default())
        {
            return Ok(());
        }
        let mut next = (**cron).clone();
        next.status = Some(status);
        match write::replace_status(&self.client, &next).await {
            Ok(written) => {
                self.crons.wrote(written);
                Ok(())
            }
            Err(error) if write::is_not_found(&error) => Ok(()),
            Err(error) => {
                Err(write::failed(&error, format_args!("cannot write the status of cronjob {}", key(&**cron))))
            }
        }
    }
}
