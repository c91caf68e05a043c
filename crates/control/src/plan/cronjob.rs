//! Starts Jobs at the times of a schedule.
//!
//! Invariant: the Job of a time is called after the time, so that it cannot be started twice whatever is forgotten, and a
//! Job that bears such a name is ours even if the status does not list it: a controller that stopped between the two
//! writes finds its Job again.
//! Why only the last missed time is made up for: after a night's silence nobody wants eighty reports at once.

mod due;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base::cron::Schedule;
use base::time;
use base::zone::Zone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::ResourceExt;

use super::{claim, job};
use due::{Due, Missed};
pub use job::Note;

/// When the Job should have been started, in the zone of its CronJob.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Looking too early by a hair would mean looking again at once.
const LEEWAY: SignedDuration = SignedDuration::from_millis(100);

/// What was seen in the namespace of the CronJob.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Every Job of the namespace, own writes included.
    pub jobs: &'a [Arc<Job>],
    /// Which of the [`absent`] Jobs the server does not have either.
    pub gone: &'a HashSet<String>,
    /// The zone of schedules that name none.
    pub here: Zone,
    pub now: Timestamp,
}

/// What to do, in this order.
#[derive(Debug, Default)]
pub struct Plan {
    /// Ended Jobs beyond those that are kept.
    pub forget: Vec<Arc<Job>>,
    pub start: Option<Start>,
    /// The status without the Job that is to be started.
    pub status: CronJobStatus,
    pub notes: Vec<Note>,
    pub recheck: Option<Duration>,
}

/// A Job to start.
#[derive(Debug)]
pub struct Start {
    /// Jobs that must go first.
    pub replaces: Vec<ObjectReference>,
    pub job: Box<Job>,
    pub at: Timestamp,
}

/// The active Jobs of the status that were not seen: the server has to be asked about them.
pub fn absent<'a>(cron: &'a CronJob, jobs: &[Arc<Job>]) -> Vec<&'a ObjectReference> {
    let seen: HashSet<Option<&str>> = jobs.iter().map(|job| job.metadata.uid.as_deref()).collect();
    let active = cron.status.iter().flat_map(|status| status.active.iter().flatten());
    active.filter(|one| !seen.contains(&one.uid.as_deref())).collect()
}

/// Decides what to start, what to forget and what the status says.
pub fn plan(cron: &CronJob, observed: &Observed<'_>) -> Plan {
    let mut work = Work {
        cron,
        spec: &cron.spec,
        jobs: children(cron, observed.jobs),
        status: cron.status.clone().unwrap_or_default(),
        notes: Vec::new(),
    };
    let forget = work.beyond_history();
    work.follow(observed);
    let (start, recheck) = if cron.metadata.deletion_timestamp.is_some() { (None, None) } else { work.due(observed) };
    let Work { mut status, notes, .. } = work;
    status.active = status.active.filter(|active| !active.is_empty());
    Plan { forget, start, status, notes, recheck }
}

/// The status with a Job that was started.
pub fn started(mut status: CronJobStatus, replaced: &[ObjectReference], job: &Job, at: Timestamp) -> CronJobStatus {
    let active = status.active.get_or_insert_default();
    active.retain(|one| !replaced.iter().any(|replaced| replaced.uid == one.uid));
    active.push(reference(job));
    status.last_schedule_time = Some(Time(at));
    status
}

/// The Job that a time's start is called.
fn job_name(cron: &CronJob, at: Timestamp) -> String {
    format!("{}-{}", cron.name_any(), at.as_second() / 60)
}

fn children(cron: &CronJob, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let uid = cron.metadata.uid.as_deref().unwrap_or("");
    jobs.iter().filter(|job| claim::is_controlled_by(&***job, uid)).cloned().collect()
}

fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        api_version: Some("batch/v1".into()),
        kind: Some("Job".into()),
        namespace: job.metadata.namespace.clone(),
        name: job.metadata.name.clone(),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        field_path: None,
    }
}

struct Work<'a> {
    cron: &'a CronJob,
    spec: &'a CronJobSpec,
    jobs: Vec<Arc<Job>>,
    status: CronJobStatus,
    notes: Vec<Note>,
}

impl Work<'_> {
    fn note(&mut self, warning: bool, reason: &str, message: String) {
        self.notes.push(Note { warning, reason: reason.into(), message });
    }

    fn active(&self) -> &[ObjectReference] {
        self.status.active.as_deref().unwrap_or_default()
    }

    fn lists(&self, job: &Job) -> bool {
        self.active().iter().any(|one| one.uid == job.metadata.uid)
    }

    fn unlist(&mut self, uid: Option<&str>) {
        self.status.active.get_or_insert_default().retain(|one| one.uid.as_deref() != uid);
    }

    /// The oldest ended Jobs beyond the limits; they are no longer listed either.
    fn beyond_history(&mut self) -> Vec<Arc<Job>> {
        let mut forget = Vec::new();
        let limits =
            [("Complete", self.spec.successful_jobs_history_limit), ("Failed", self.spec.failed_jobs_history_limit)];
        for (kind, limit) in limits {
            let Some(limit) = limit else { continue };
            let is = |one: &&Arc<Job>| {
                one.metadata.deletion_timestamp.is_none() && job::ended(one).is_some_and(|end| end.type_ == kind)
            };
            let mut ended: Vec<&Arc<Job>> = self.jobs.iter().filter(is).collect();
            ended.sort_by_key(|one| {
                let start = one.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
                (start.is_none(), start, one.metadata.name.clone())
            });
            let surplus = ended.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
            forget.extend(ended.into_iter().take(surplus).cloned());
        }
        for one in &forget {
            self.unlist(one.metadata.uid.as_deref());
        }
        forget
    }

    /// Takes over what became of the Jobs.
    fn follow(&mut self, observed: &Observed<'_>) {
        for one in self.jobs.clone() {
            let Some(end) = job::ended(&one) else {
                self.expect(&one);
                continue;
            };
            if self.lists(&one) {
                self.unlist(one.metadata.uid.as_deref());
                let text = format!("Saw completed job: {}, condition: {}", one.name_any(), end.type_);
                self.note(false, "SawCompletedJob", text);
            }
            self.remember_time(&one);
            let completed = one.status.as_ref().and_then(|status| status.completion_time.clone());
            let last = self.status.last_successful_time.as_ref();
            if end.type_ == "Complete"
                && let Some(completed) = completed
                && last.is_none_or(|last| last.0 < completed.0)
            {
                self.status.last_successful_time = Some(completed);
            }
        }
        for lost in absent(self.cron, observed.jobs) {
            if lost.uid.as_ref().is_some_and(|uid| observed.gone.contains(uid)) {
                let text = format!("Active job went missing: {}", lost.name.as_deref().unwrap_or(""));
                self.note(false, "MissingJob", text);
                self.unlist(lost.uid.as_deref());
            }
        }
    }

    /// A Job that runs is listed, or it is one that we started and forgot, or somebody else's.
    fn expect(&mut self, one: &Job) {
        if self.lists(one) || one.metadata.deletion_timestamp.is_some() {
            return;
        }
        if self.remember_time(one) {
            self.status.active.get_or_insert_default().push(reference(one));
        } else {
            let text = format!("Saw a job that the controller did not create or forgot: {}", one.name_any());
            self.note(true, "UnexpectedJob", text);
        }
    }

    /// Whether the Job is the one of a time; that time then was the last or lies before it.
    fn remember_time(&mut self, one: &Job) -> bool {
        let at = one.annotations().get(SCHEDULED).and_then(|text| time::parse(text).ok());
        let Some(at) = at.filter(|at| job_name(self.cron, *at) == one.name_any()) else { return false };
        if self.status.last_schedule_time.as_ref().is_none_or(|last| last.0 < at) {
            self.status.last_schedule_time = Some(Time(at));
        }
        true
    }

    /// What is to be started now, and when to look again.
    fn due(&mut self, observed: &Observed<'_>) -> (Option<Start>, Option<Duration>) {
        let zone = match self.spec.time_zone.as_deref().map(Zone::named).transpose() {
            Ok(zone) => zone,
            Err(fault) => {
                let name = base::error::quote(self.spec.time_zone.as_deref().unwrap_or(""));
                self.note(true, "UnknownTimeZone", format!("invalid timeZone: {name}: {fault}"));
                return (None, None);
            }
        };
        if self.spec.suspend == Some(true) {
            return (None, None);
        }
        let text = &self.spec.schedule;
        if text.contains("TZ") {
            let text = format!(
                "CRON_TZ or TZ used in schedule {} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
                base::error::quote(text)
            );
            self.note(true, "UnsupportedSchedule", text);
        }
        let schedule = match Schedule::parse(text) {
            Ok(schedule) => schedule,
            Err(fault) => {
                let text = format!("unparseable schedule: {} : {fault}", base::error::quote(text));
                self.note(true, "UnparseableSchedule", text);
                return (None, None);
            }
        };
        let due = Due { schedule: &schedule, here: zone.unwrap_or(observed.here), now: observed.now };
        match self.last_missed(&due) {
            Ok(Some(at)) => {
                let start = self.start(at, zone.unwrap_or(Zone::UTC), observed.now);
                let last = start.as_ref().map(|_| at).or(self.since());
                (start, last.map(|last| due.wait(last)))
            }
            Ok(None) => (None, self.since().map(|last| due.wait(last))),
            Err(fault) => {
                self.note(true, "InvalidSchedule", format!("invalid schedule: {text} : {fault}"));
                (None, None)
            }
        }
    }

    /// The time from which on nothing has been started.
    fn since(&self) -> Option<Timestamp> {
        let last = self.status.last_schedule_time.as_ref().or(self.cron.metadata.creation_timestamp.as_ref());
        last.map(|time| time.0)
    }

    /// The last time that was missed, if it is not too far back to count.
    fn last_missed(&mut self, due: &Due<'_>) -> Result<Option<Timestamp>, &'static str> {
        let Some(mut since) = self.since() else { return Ok(None) };
        if let Some(deadline) = self.deadline() {
            since = since.max(due.now.checked_sub(deadline).unwrap_or(Timestamp::MIN));
        }
        let (last, missed) = due.missed(since)?;
        if last.is_some() && missed == Missed::Many {
            let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.note(true, "TooManyMissedTimes", text.into());
        }
        Ok(last)
    }

    fn deadline(&self) -> Option<SignedDuration> {
        self.spec.starting_deadline_seconds.map(SignedDuration::from_secs)
    }

    /// The Job of a time, unless it is too late, has been started, or must not run beside another.
    fn start(&mut self, at: Timestamp, zone: Zone, now: Timestamp) -> Option<Start> {
        if self.deadline().is_some_and(|deadline| now.duration_since(at) > deadline) {
            let text = format!("Missed scheduled time to start a job: {}", at.strftime("%a, %d %b %Y %H:%M:%S +0000"));
            self.note(true, "MissSchedule", text);
            return None;
        }
        let name = job_name(self.cron, at);
        let listed = self.active().iter().any(|one| one.name.as_ref() == Some(&name));
        if listed || self.status.last_schedule_time.as_ref().is_some_and(|last| last.0 == at) {
            return None;
        }
        let busy = !self.active().is_empty();
        let policy = self.spec.concurrency_policy.as_deref();
        if policy == Some("Forbid") && busy {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            self.note(false, "JobAlreadyActive", text.into());
            return None;
        }
        let replaces = if policy == Some("Replace") { self.active().to_vec() } else { Vec::new() };
        Some(Start { replaces, job: Box::new(self.new_job(name, at, zone)), at })
    }

    fn new_job(&self, name: String, at: Timestamp, zone: Zone) -> Job {
        let template = self.spec.job_template.metadata.clone().unwrap_or_default();
        let mut annotations = template.annotations.unwrap_or_default();
        annotations.insert(SCHEDULED.into(), zone.rfc3339(at));
        Job {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: self.cron.metadata.namespace.clone(),
                labels: template.labels,
                annotations: Some(annotations),
                owner_references: Some(vec![claim::reference(self.cron)]),
                ..ObjectMeta::default()
            },
            spec: self.spec.job_template.spec.clone(),
            status: None,
        }
    }
}

#[cfg(test)]
mod tests;
