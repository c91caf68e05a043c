//! What the node knows about one pod: the sandbox, the volumes and each container's history.
//!
//! Invariant: every change is a method named for the fact that was learnt, and none of them does
//! I/O or reads a clock. The plan reads this; the status is computed from this; nothing else is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::backoff::BackOff;
use super::resources::Amounts;

/// How far a part of the pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    #[default]
    Absent,
    Busy,
    Ready,
}

/// How the pod ended, decided once and never taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Succeeded,
    Failed { reason: String, message: String },
}

/// One run of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Run {
    pub id: String,
    pub attempt: u32,
    pub image: String,
    pub image_id: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exit {
    pub code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: String,
    pub started: Option<Timestamp>,
    pub finished: Timestamp,
    pub run: Run,
}

/// When a failed preparation is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Retry {
    pub at: Timestamp,
    /// When the waiting reason turns into the back-off's (`ErrImagePull` -> `ImagePullBackOff`).
    pub announce: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    Waiting {
        reason: String,
        message: String,
        retry: Option<Retry>,
    },
    /// Being prepared: image, configuration, creation. `shown` is what an earlier attempt failed with.
    Starting {
        cancelled: bool,
        shown: Option<(String, String)>,
    },
    Running {
        since: Timestamp,
    },
    Stopping {
        since: Timestamp,
        by: Timestamp,
    },
    Exited {
        exit: Exit,
        backing_off: bool,
    },
}

/// Why a running container must be stopped and started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kill {
    pub message: String,
    pub grace: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub state: State,
    /// The run that is on, or the latest one.
    pub run: Option<Run>,
    pub last: Option<Exit>,
    pub restarts: u32,
    /// The startup probe has passed (or there is none) and `postStart` has returned.
    pub started: bool,
    pub ready: bool,
    pub kill: Option<Kill>,
    /// The resources of the run that is on; none if nobody remembers.
    pub given: Option<Amounts>,
    pub crashes: BackOff,
    pub pulls: BackOff,
}

impl Default for Container {
    fn default() -> Self {
        Self {
            state: State::Waiting { reason: String::new(), message: String::new(), retry: None },
            run: None,
            last: None,
            restarts: 0,
            started: false,
            ready: false,
            kill: None,
            given: None,
            crashes: BackOff::default(),
            pulls: BackOff::default(),
        }
    }
}

impl Container {
    /// Something of it runs or is about to.
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.state, State::Starting { .. } | State::Running { .. } | State::Stopping { .. })
    }

    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.state {
            State::Exited { exit, .. } => Some(exit),
            _ => None,
        }
    }

    /// The attempt the next run gets: 0 for the first.
    pub(crate) fn next_attempt(&self) -> u32 {
        self.run.as_ref().map_or(0, |run| run.attempt + 1)
    }
}

/// A change of resources of running containers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Resizing {
    #[default]
    Idle,
    Busy,
    Failed {
        message: String,
        again: Timestamp,
    },
}

/// Everything known about the pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    pub sandbox: Stage,
    pub volumes: Stage,
    /// Set while a failed set-up waits to be tried again.
    pub sandbox_after: Option<Timestamp>,
    pub volumes_after: Option<Timestamp>,
    /// All init containers have done their part in this sandbox.
    pub initialized: bool,
    pub verdict: Option<Verdict>,
    /// The pod had ended before this worker saw it: its status is not ours to write any more.
    pub history: bool,
    pub containers: BTreeMap<String, Container>,
    pub resizing: Resizing,
    /// Everything the pod had on this node, except its logs, is gone.
    pub torn_down: bool,
    pub tearing_down: bool,
    /// The API has the present status.
    pub reported: bool,
    pub deleting: bool,
}

impl Observed {
    pub(crate) fn container(&mut self, name: &str) -> &mut Container {
        self.containers.entry(name.to_owned()).or_default()
    }

    pub(crate) fn any_alive(&self) -> bool {
        self.containers.values().any(Container::is_alive)
    }

    /// A start of `name` was begun; an earlier exit becomes the last state and advances the back-off.
    pub(crate) fn starting(&mut self, name: &str, now: Timestamp) {
        let container = self.container(name);
        let shown = match &container.state {
            State::Exited { exit, .. } => {
                container.last = Some(exit.clone());
                container.crashes.advance(now);
                None
            }
            State::Waiting { reason, message, .. } if !reason.is_empty() => Some((reason.clone(), message.clone())),
            _ => None,
        };
        container.state = State::Starting { cancelled: false, shown };
        container.started = false;
        container.ready = false;
        container.kill = None;
    }

    /// The program runs. `simple` says that neither a startup probe nor `postStart` holds it back.
    pub(crate) fn running(&mut self, name: &str, run: Run, since: Timestamp, simple: bool) {
        let container = self.container(name);
        container.restarts = container.restarts.max(run.attempt);
        container.run = Some(run);
        container.started = simple;
        container.pulls = BackOff::default();
        container.state = State::Running { since };
    }

    /// A running container has these resources now.
    pub(crate) fn given(&mut self, name: &str, amounts: Amounts) {
        self.container(name).given = Some(amounts);
    }

    /// The start failed before the program ran; it is tried again at `retry.at`.
    pub(crate) fn not_started(&mut self, name: &str, reason: &str, message: String, retry: Option<Retry>) {
        self.container(name).state = State::Waiting { reason: reason.to_owned(), message, retry };
    }

    /// The preparation was told to give up; if it is past that point the container runs first.
    pub(crate) fn cancelled(&mut self, name: &str) {
        if let State::Starting { cancelled, .. } = &mut self.container(name).state {
            *cancelled = true;
        }
    }

    pub(crate) fn stopping(&mut self, name: &str, by: Timestamp) {
        let container = self.container(name);
        let since = match container.state {
            State::Running { since } | State::Stopping { since, .. } => since,
            _ => return,
        };
        container.state = State::Stopping { since, by };
    }

    pub(crate) fn exited(&mut self, name: &str, exit: Exit) {
        let container = self.container(name);
        container.started = false;
        container.ready = false;
        container.kill = None;
        container.restarts = container.restarts.max(exit.run.attempt);
        container.run = Some(exit.run.clone());
        container.state = State::Exited { exit, backing_off: false };
    }

    /// The sandbox is gone with everything in it: init containers run again in the next one.
    pub(crate) fn lost_sandbox(&mut self) {
        self.sandbox = Stage::Absent;
        self.initialized = false;
    }

    /// The waiting container's reason becomes that of its back-off.
    pub(crate) fn backing_off(&mut self, name: &str) {
        match &mut self.container(name).state {
            State::Waiting { retry: Some(retry), .. } => retry.announce = None,
            State::Exited { backing_off, .. } => *backing_off = true,
            _ => {}
        }
    }
}
