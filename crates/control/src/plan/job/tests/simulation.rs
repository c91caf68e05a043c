//! A Job, its pods and a kubelet in miniature, and a controller that may be killed after any write.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;

/// The controller was killed.
struct Killed;

/// A world that changes by single writes.
struct Simulation {
    job: Job,
    pods: Vec<Arc<Pod>>,
    now: Timestamp,
    serial: usize,
    backoff: Backoff,
    /// Writes until the controller is killed.
    life: usize,
    /// Every pod that a status has ever named, and as what.
    named: BTreeMap<String, &'static str>,
    /// Pods that ended by themselves while they carried the finalizer.
    ended: BTreeSet<String>,
    notes: Vec<String>,
}

impl Simulation {
    fn new(text: &str, life: usize) -> Self {
        let mut job = (*World::parse(text).jobs[0]).clone();
        job.metadata.resource_version = Some("1".into());
        Self {
            job,
            pods: Vec::new(),
            now: world::NOW,
            serial: 0,
            backoff: Backoff::default(),
            life,
            named: BTreeMap::new(),
            ended: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// A write has been made.
    fn spend(&mut self) -> Result<(), Killed> {
        self.life = self.life.saturating_sub(1);
        if self.life == 0 { Err(Killed) } else { Ok(()) }
    }

    fn edit(&mut self, uid: &str, edit: impl FnOnce(&mut Pod)) {
        if let Some(pod) = self.pods.iter_mut().find(|pod| pod.metadata.uid.as_deref() == Some(uid)) {
            edit(Arc::make_mut(pod));
        }
        self.pods
            .retain(|pod| pod.metadata.deletion_timestamp.is_none() || pods::is_tracked(pod) || !pod::is_terminal(pod));
    }

    fn let_go(&mut self, pod: &Pod) -> Result<(), Killed> {
        self.edit(pod.metadata.uid.as_deref().expect("a uid"), |pod| pod.finalizers_mut().clear());
        self.spend()
    }

    fn delete(&mut self, pod: &Pod) -> Result<(), Killed> {
        let now = self.now;
        self.edit(pod.metadata.uid.as_deref().expect("a uid"), |pod| {
            pod.metadata.deletion_timestamp.get_or_insert(Time(now));
        });
        self.spend()
    }

    /// What the shell does in one look; whether there was anything to do.
    fn pass(&mut self) -> Result<bool, Killed> {
        let (pods, job) = (self.pods.clone(), self.job.clone());
        self.backoff.observe(&job, &pods);
        let plan = plan(&job, &Observed { pods: &pods, backoff: &self.backoff.clone(), now: self.now });
        let mut moved = !plan.actions.is_empty();
        for action in plan.actions {
            match action {
                Action::Create(pod) => self.create(*pod)?,
                Action::Drop(pod) => {
                    if pods::is_tracked(&pod) {
                        self.let_go(&pod)?;
                    }
                    self.delete(&pod)?;
                }
                Action::Stop(pod) => self.delete(&pod)?,
                Action::Adopt(_) | Action::Release(_) => unreachable!("nothing to adopt here"),
            }
        }
        let pods = self.pods.clone();
        self.backoff.observe(&job, &pods);
        let books = books(&job, &Observed { pods: &pods, backoff: &self.backoff.clone(), now: self.now });
        moved |= books.status.is_some() || !books.let_go.is_empty();
        if let Some(status) = books.status {
            self.write_status(status)?;
        }
        self.notes.extend(books.notes.iter().map(|note| note.reason.clone()));
        for pod in books.let_go {
            self.let_go(&pod)?;
        }
        // what time alone brings about
        self.now += plan.recheck.map_or(SignedDuration::ZERO, |wait| SignedDuration::try_from(wait).expect("short"));
        Ok(moved || plan.recheck.is_some())
    }

    fn create(&mut self, mut pod: Pod) -> Result<(), Killed> {
        self.serial += 1;
        let name = format!("{}{}", pod.metadata.generate_name.as_deref().unwrap_or(""), self.serial);
        pod.metadata.uid = Some(format!("uid-{name}"));
        pod.metadata.name = Some(name);
        pod.metadata.creation_timestamp = Some(Time(self.now));
        let spec = self.job.spec.as_ref().expect("a spec");
        self.pods.push(Arc::new(pod));
        let active: Vec<&Arc<Pod>> = self.pods.iter().filter(|pod| pod::is_active(pod)).collect();
        assert!(active.len() <= usize::try_from(spec.parallelism.unwrap_or(1)).expect("positive"), "a pod too many");
        let indexes: BTreeSet<Option<i32>> = active.iter().map(|pod| pods::index(pod)).collect();
        assert!(!pods::is_indexed(spec) || indexes.len() == active.len(), "two pods of one index");
        self.spend()
    }

    fn write_status(&mut self, status: JobStatus) -> Result<(), Killed> {
        let old = self.job.clone();
        let before: BTreeSet<String> = uncounted(&old).into_iter().map(|(uid, _)| uid).collect();
        self.job.status = Some(status);
        for (uid, kind) in uncounted(&self.job) {
            if !before.contains(&uid) {
                assert!(self.named.insert(uid.clone(), kind).is_none(), "{uid} is counted twice");
            }
        }
        let json = |job: &Job| serde_json::to_value(job).expect("a job");
        let kind = kinds::Catalog::builtin().by_kind("batch", "v1", "Job").expect("a kind");
        let faults = kinds::validate_status(kind, &json(&self.job), &json(&old));
        assert!(faults.is_empty(), "the server refuses the status: {faults:?}\n{:#?}", self.job.status);
        self.spend()
    }

    /// One pod at a time starts, ends or goes, as `chance` says.
    fn kubelet(&mut self, chance: u8) -> bool {
        let living: Vec<Arc<Pod>> = self.pods.iter().filter(|pod| !pod::is_terminal(pod)).cloned().collect();
        let Some(pod) = living.get(usize::from(chance) % living.len().max(1)) else { return false };
        let uid = pod.metadata.uid.clone().expect("a uid");
        let (now, leaving) = (Time(self.now), pod.metadata.deletion_timestamp.is_some());
        let phase = match (pod::phase(pod), chance / 32) {
            _ if leaving => "Failed",
            ("Running", 0..4) => "Succeeded",
            ("Running", 4..6) => "Failed",
            ("Running", 6) => {
                let tracked = pods::is_tracked(pod);
                self.edit(&uid, |pod| pod.metadata.deletion_timestamp = Some(now));
                return tracked;
            }
            _ => "Running",
        };
        if phase != "Running" && pods::is_tracked(pod) && !leaving {
            self.ended.insert(uid.clone());
        }
        let ready = if phase == "Running" { "True" } else { "False" };
        let code = i32::from(phase == "Failed") * (1 + i32::from(chance) % 3);
        let state = json!({ "terminated": { "exitCode": code, "finishedAt": now } });
        let container = json!({ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": if phase == "Running" { json!({}) } else { state } });
        let status = json!({ "phase": phase, "containerStatuses": [container],
            "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": now }] });
        self.edit(&uid, |pod| pod.status = Some(serde_json::from_value(status).expect("a status")));
        true
    }

    /// Starts the controller anew: it remembers nothing.
    fn restart(&mut self, life: usize) {
        self.backoff = Backoff::default();
        self.life = life;
    }

    fn is_over(&self) -> bool {
        ended(&self.job).is_some()
    }

    /// Lets everybody work until the Job has ended.
    fn run(&mut self, chances: &[u8], life: usize) {
        for round in 0..2000 {
            if let Err(Killed) = self.pass() {
                self.restart(life);
            }
            if self.is_over() {
                return;
            }
            self.kubelet(
                chances[round % chances.len()].wrapping_add(u8::try_from(round / chances.len() % 256).expect("small")),
            );
        }
        panic!("the job never ends: {:#?}", self.job.status);
    }
}

fn uncounted(job: &Job) -> Vec<(String, &'static str)> {
    let lists = job.status.clone().and_then(|status| status.uncounted_terminated_pods).unwrap_or_default();
    let list = |list: Option<Vec<String>>, kind| list.unwrap_or_default().into_iter().map(move |uid| (uid, kind));
    list(lists.succeeded, "succeeded").chain(list(lists.failed, "failed")).collect()
}

/// Whatever happened, the counters are what was named, everything that ended was named, and nothing is left to do.
fn check_end(sim: &mut Simulation) {
    let status = sim.job.status.clone().expect("a status");
    let spec = sim.job.spec.clone().expect("a spec");
    let count = |kind: &str| number(sim.named.values().filter(|one| **one == kind).count());
    assert_eq!(status.failed.unwrap_or(0), count("failed"));
    if pods::is_indexed(&spec) {
        let done = Indexes::parse(status.completed_indexes.as_deref().unwrap_or(""), i32::MAX);
        assert_eq!(status.succeeded.unwrap_or(0), done.total());
    } else {
        assert_eq!(status.succeeded.unwrap_or(0), count("succeeded"));
        let policy = spec.pod_failure_policy.is_some();
        assert!(policy || sim.ended.iter().all(|uid| sim.named.contains_key(uid)), "a pod was not counted");
    }
    if ended(&sim.job).is_some_and(|end| end.type_ == "Complete") && spec.success_policy.is_none() {
        assert_eq!(status.succeeded, spec.completions.or(status.succeeded), "complete with all it asked for");
    }
    assert!(sim.pods.iter().all(|pod| pod::is_terminal(pod) && !pods::is_tracked(pod)), "pods are left");
    assert!(sim.notes.iter().filter(|note| *note != "Suspended" && *note != "Resumed").count() <= 1, "{:?}", sim.notes);
    sim.restart(usize::MAX);
    assert!(matches!(sim.pass(), Ok(false)), "planning after the end must yield nothing");
}

const JOBS: &[&str] = &[
    "job work completions=4 parallelism=2",
    "job work completions=3 parallelism=3 limit=2",
    "job work completions=3 parallelism=2 limit=1 replace=Failed",
    "job work worklist parallelism=3 limit=9",
    "job work completions=4 parallelism=3 limit=9 rule=Ignore:2 rule=FailJob:3",
    "job work indexed completions=4 parallelism=3 limit=9",
    "job work indexed completions=4 parallelism=4 perindex=1",
    "job work indexed completions=4 parallelism=2 perindex=2 maxfailed=1",
    "job work indexed completions=4 parallelism=2 perindex=1 rule=FailIndex:2 rule=Ignore:3",
    "job work indexed completions=5 parallelism=3 perindex=1 enough=0-2:2 enough=4",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_with_each_pod_counted_once_however_often_its_controller_is_killed(
        which in 0..JOBS.len(),
        life in 1..9_usize,
        chances in prop::collection::vec(any::<u8>(), 40),
    ) {
        let mut sim = Simulation::new(JOBS[which], life);
        sim.run(&chances, life);
        check_end(&mut sim);
    }

    #[test]
    fn a_world_that_was_acted_on_asks_for_nothing_more(
        which in 0..JOBS.len(),
        chances in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let mut sim = Simulation::new(JOBS[which], usize::MAX);
        for chance in chances {
            let mut passes = 0;
            while !sim.is_over() && matches!(sim.pass(), Ok(true)) {
                passes += 1;
                prop_assert!(passes < 20, "it never settles: {:#?}", sim.job.status);
            }
            sim.kubelet(chance);
        }
    }

    /// Pods come and go with the suspension; the Job still ends, and each pod that ended by itself was counted.
    #[test]
    fn a_job_that_is_suspended_and_resumed_and_resized_ends_as_well(
        life in 1..9_usize,
        changes in prop::collection::vec((any::<bool>(), 1..4_i32), 1..8),
        chances in prop::collection::vec(any::<u8>(), 40),
    ) {
        let mut sim = Simulation::new("job work completions=4 parallelism=3 limit=9", life);
        for (suspend, parallelism) in changes {
            let spec = sim.job.spec.as_mut().expect("a spec");
            if pod_count(&sim.pods) <= usize::try_from(parallelism).expect("positive") {
                spec.parallelism = Some(parallelism);
            }
            spec.suspend = Some(suspend);
            for chance in &chances[..6] {
                if let Err(Killed) = sim.pass() {
                    sim.restart(life);
                }
                sim.kubelet(*chance);
            }
        }
        sim.job.spec.as_mut().expect("a spec").suspend = Some(false);
        if !sim.is_over() {
            sim.run(&chances, life);
        }
        check_end(&mut sim);
    }
}

fn pod_count(pods: &[Arc<Pod>]) -> usize {
    pods.iter().filter(|pod| pod::is_active(pod)).count()
}
