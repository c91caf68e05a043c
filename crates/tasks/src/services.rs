//! The services of a process: started in order, stopped in reverse order, one end stops all.

use std::borrow::Cow;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use futures::FutureExt as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::children::{Children, panic_text};

/// What a service is doing, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not ready yet; the text says what it waits for ("image docker.io/x: 41 of 180 MB").
    Starting(String),
    /// Serving.
    Ready,
    /// It ended, well or with the error told here.
    Ended(Option<String>),
}

/// What others see of a service.
#[derive(Clone, Debug)]
pub struct Status {
    name: Cow<'static, str>,
    state: watch::Receiver<State>,
}

impl Status {
    /// The service's name, as given to [`Services::start`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits for the next change and returns the new state.
    pub async fn changed(&mut self) -> State {
        if self.state.changed().await.is_err() {
            return State::Ended(None);
        }
        self.state.borrow_and_update().clone()
    }

    /// Waits until the service is ready.
    ///
    /// # Errors
    /// When it ends before that; the message names it and tells why.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        let name = self.name.clone();
        let reached = self
            .state
            .wait_for(|state| !matches!(state, State::Starting(_)))
            .await
            .map_err(|_| anyhow!("service {name} ended before it was ready"))?;
        match &*reached {
            State::Ended(Some(why)) => Err(anyhow!("service {name} ended before it was ready: {why}")),
            State::Ended(None) => Err(anyhow!("service {name} ended before it was ready")),
            _ => Ok(()),
        }
    }
}

/// How a service tells the others that it serves.
#[derive(Clone, Debug)]
pub struct Ready {
    state: watch::Sender<State>,
}

impl Ready {
    /// The service now serves.
    pub fn set(&self) {
        self.state.send_if_modified(|state| {
            let starting = matches!(state, State::Starting(_));
            if starting {
                *state = State::Ready;
            }
            starting
        });
    }

    /// Says what the service waits for while it starts; shown to people after 300 ms.
    pub fn waiting_for(&self, what: impl Into<String>) {
        let what = what.into();
        self.state.send_if_modified(|state| match state {
            State::Starting(now) if *now != what => {
                *now = what;
                true
            }
            _ => false,
        });
    }
}

/// What every service is given when it starts.
#[derive(Clone, Debug)]
pub struct Context {
    /// Cancelled when the service should finish and return.
    pub stop: CancellationToken,
    /// Where the service says that it serves.
    pub ready: Ready,
    /// Where it starts tasks of its own; they end with it.
    pub children: Children,
}

struct Running {
    name: Cow<'static, str>,
    stop: CancellationToken,
    status: watch::Receiver<State>,
}

/// A service's name and how it ended.
type Ended = (Cow<'static, str>, anyhow::Result<()>);

/// The owner of all services of a process.
pub struct Services {
    running: Vec<Running>,
    ended: (mpsc::Sender<Ended>, mpsc::Receiver<Ended>),
}

impl Default for Services {
    fn default() -> Self {
        Self { running: Vec::new(), ended: mpsc::channel(64) }
    }
}

impl Services {
    /// No services yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts `service` at once under `name`. Later services are stopped before earlier ones, so
    /// start what others need first.
    pub fn start<F, S>(&mut self, name: impl Into<Cow<'static, str>>, service: S) -> Status
    where
        S: FnOnce(Context) -> F,
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let name = name.into();
        let stop = CancellationToken::new();
        let (context, failure, status) = context(name.clone(), stop.clone());
        let (children, ready) = (context.children.clone(), context.ready.clone());
        let run = service(context);
        let (label, ended) = (name.clone(), self.ended.0.clone());
        let owned = async move {
            let result = tokio::select! {
                outcome = AssertUnwindSafe(run).catch_unwind() => outcome
                    .unwrap_or_else(|panic| Err(anyhow!("it panicked: {}", panic_text(&*panic)))),
                Ok(error) = failure => Err(error),
            };
            children.end().await;
            ready.state.send_replace(State::Ended(result.as_ref().err().map(|error| format!("{error:#}"))));
            if ended.send((label, result)).await.is_err() {
                tracing::debug!("a service ended after its owner");
            }
        };
        #[allow(clippy::disallowed_methods, reason = "this crate is the owner of tasks")]
        drop(tokio::spawn(owned));
        self.running.push(Running { name: name.clone(), stop, status: status.clone() });
        Status { name, state: status }
    }

    /// Runs until `signal` or until the first service ends, then stops all in reverse start order,
    /// giving each `grace`.
    ///
    /// # Errors
    /// When a service ended on its own (with its error), or one did not stop within `grace`.
    pub async fn run(mut self, signal: impl Future<Output = ()>, grace: Duration) -> anyhow::Result<()> {
        let first = tokio::select! {
            () = signal => None,
            ended = self.ended.1.recv() => ended,
        };
        let stopped = self.stop(grace).await;
        match first {
            None => stopped,
            Some((name, Ok(()))) => Err(anyhow!("service {name} ended while the process was running")),
            Some((name, Err(error))) => Err(error).with_context(|| format!("service {name} failed")),
        }
    }

    /// Stops all services in reverse start order.
    ///
    /// # Errors
    /// When one did not stop within `grace`; the others are still stopped.
    pub async fn stop(&mut self, grace: Duration) -> anyhow::Result<()> {
        let mut late = Vec::new();
        for mut service in self.running.drain(..).rev() {
            service.stop.cancel();
            let ended = service.status.wait_for(|state| matches!(state, State::Ended(_)));
            if tokio::time::timeout(grace, ended).await.is_err() {
                late.push(service.name.to_string());
            }
        }
        if late.is_empty() {
            return Ok(());
        }
        Err(anyhow!("still running {grace:?} after the stop signal: {}", late.join(", ")))
    }
}

fn context(
    name: Cow<'static, str>,
    stop: CancellationToken,
) -> (Context, tokio::sync::oneshot::Receiver<anyhow::Error>, watch::Receiver<State>) {
    let (state, status) = watch::channel(State::Starting(String::new()));
    let (children, failure) = Children::new(name);
    (Context { stop, ready: Ready { state }, children }, failure, status)
}

/// A context outside of [`Services`], for tests: cancel `stop` and drop it to end its children.
#[must_use]
pub fn context_for_tests() -> (Context, Status) {
    let (context, _, state) = context("test".into(), CancellationToken::new());
    (context, Status { name: "test".into(), state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::sync::Arc;

    fn until_stopped(
        order: &Arc<Mutex<Vec<&'static str>>>,
        name: &'static str,
    ) -> impl FnOnce(Context) -> futures::future::BoxFuture<'static, anyhow::Result<()>> {
        let order = Arc::clone(order);
        move |ctx| {
            Box::pin(async move {
                ctx.ready.set();
                ctx.stop.cancelled().await;
                order.lock().push(name);
                Ok(())
            })
        }
    }

    #[tokio::test]
    async fn services_stop_in_reverse_order_of_their_start() {
        let order = Arc::default();
        let mut services = Services::new();
        services.start("api", until_stopped(&order, "api"));
        services.start("node", until_stopped(&order, "node")).ready().await.expect("ready");
        services.run(async {}, Duration::from_secs(5)).await.expect("a clean stop");
        assert_eq!(*order.lock(), ["node", "api"]);
    }

    #[tokio::test]
    async fn the_end_of_one_service_stops_all_and_is_told() {
        let order = Arc::default();
        let mut services = Services::new();
        services.start("api", until_stopped(&order, "api"));
        services.start("node", |_| async { Err(anyhow!("disk is gone")) });
        let why = services.run(std::future::pending(), Duration::from_secs(5)).await.expect_err("it failed");
        assert_eq!(format!("{why:#}"), "service node failed: disk is gone");
        assert_eq!(*order.lock(), ["api"]);
    }

    #[tokio::test]
    async fn a_panic_is_an_end_like_any_other() {
        let mut services = Services::new();
        let mut status = services.start("node", |_| async { panic!("no cgroup") });
        let why = status.ready().await.expect_err("it panicked");
        assert_eq!(why.to_string(), "service node ended before it was ready: it panicked: no cgroup");
    }

    #[tokio::test]
    async fn a_failing_child_that_matters_ends_its_service() {
        let mut services = Services::new();
        services.start("api", |ctx| async move {
            ctx.children.try_spawn("watch cache", async { Err(anyhow!("lagged")) });
            std::future::pending().await
        });
        let why = services.run(std::future::pending(), Duration::from_secs(5)).await.expect_err("it failed");
        assert_eq!(format!("{why:#}"), "service api failed: task watch cache of api failed: lagged");
    }

    #[tokio::test]
    async fn children_end_with_their_service() {
        struct Gone(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Gone {
            fn drop(&mut self) {
                self.0.take().map(|tell| tell.send(()));
            }
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut services = Services::new();
        services.start("api", |ctx| async move {
            let gone = Gone(Some(tell));
            ctx.children.spawn("connection", async move {
                let _keep = gone;
                std::future::pending().await
            });
            ctx.stop.cancelled().await;
            Ok(())
        });
        services.run(async {}, Duration::from_secs(5)).await.expect("a clean stop");
        told.await.expect("the child was dropped");
    }
}
