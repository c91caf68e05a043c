//! Child tasks of one service: named, ended with their owner, failures noticed.
//!
//! Why not a bare `JoinSet`: connections and workers come and go by the thousand, so finished
//! tasks must not be kept, and a handle must be cloneable into the tasks themselves.

use std::borrow::Cow;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A handle to spawn tasks that end when their service ends. Cloning shares the same owner.
#[derive(Clone, Debug)]
pub struct Children {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: Cow<'static, str>,
    tracker: TaskTracker,
    ended: CancellationToken,
    failure: Mutex<Option<oneshot::Sender<anyhow::Error>>>,
}

/// A running child. Dropping it leaves the task running; [`Task::abort`] ends it.
#[derive(Clone, Debug)]
pub struct Task {
    abort: tokio::task::AbortHandle,
}

impl Task {
    /// Ends the task at its next await point.
    pub fn abort(&self) {
        self.abort.abort();
    }

    /// True once the task has ended, for whatever reason.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }
}

impl Children {
    pub(crate) fn new(service: Cow<'static, str>) -> (Self, oneshot::Receiver<anyhow::Error>) {
        let (failed, failure) = oneshot::channel();
        let inner = Inner {
            service,
            tracker: TaskTracker::new(),
            ended: CancellationToken::new(),
            failure: Mutex::new(Some(failed)),
        };
        (Self { inner: Arc::new(inner) }, failure)
    }

    /// Runs `future` as a child called `name`. It is dropped when the service ends.
    pub fn spawn<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (name, inner) = (name.into(), Arc::clone(&self.inner));
        let guarded = async move {
            let run = AssertUnwindSafe(future).catch_unwind();
            tokio::select! {
                outcome = run => if let Err(panic) = outcome {
                    tracing::error!(service = %inner.service, task = %name, "task panicked: {}", panic_text(&*panic));
                },
                () = inner.ended.cancelled() => {}
            }
        };
        #[allow(clippy::disallowed_methods, reason = "this crate is the owner of tasks")]
        let handle = self.inner.tracker.spawn(guarded);
        Task { abort: handle.abort_handle() }
    }

    /// Runs `future` as a child the service cannot live without: an error or a panic ends the
    /// service with that error. Returning `Ok` is a normal end.
    pub fn try_spawn<F>(&self, name: impl Into<Cow<'static, str>>, future: F) -> Task
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (name, inner) = (name.into(), Arc::clone(&self.inner));
        let label = name.clone();
        self.spawn(label, async move {
            let failure = match AssertUnwindSafe(future).catch_unwind().await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.context(format!("task {name} of {} failed", inner.service)),
                Err(panic) => {
                    anyhow::anyhow!("task {name} of {} panicked: {}", inner.service, panic_text(&*panic))
                }
            };
            if let Some(failed) = inner.failure.lock().take()
                && let Err(unheard) = failed.send(failure)
            {
                tracing::error!("{unheard:#}");
            }
        })
    }

    /// Drops every child and waits until they are gone.
    pub(crate) async fn end(&self) {
        self.inner.ended.cancel();
        self.inner.tracker.close();
        self.inner.tracker.wait().await;
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no message)".to_owned())
}
