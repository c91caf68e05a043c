//! Stopping one container: `preStop`, the stop signal, and the kill when the time is up.
//!
//! Invariant: everything fits into the time until `by`; a program always gets at least two seconds
//! between the signal and the kill, as upstream, unless its stop is being hurried.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::LifecycleHandler;

use super::node::Node;
use super::signal;
use crate::agent::events::Subject;
use crate::probe::run::Target;

const LEAST: Duration = Duration::from_secs(2);

/// What a stop needs; owned, so that it runs beside the worker.
pub(crate) struct Order {
    pub node: Arc<Node>,
    pub subject: Arc<Subject>,
    pub field_path: String,
    pub target: Target,
    pub by: Timestamp,
    pub image_signal: Option<String>,
    /// An earlier stop was under way already: no second `preStop`.
    pub hurried: bool,
}

impl Order {
    pub(crate) async fn run(self) {
        let hooks = self.target.container.lifecycle.as_ref();
        if let Some(hook) = hooks.and_then(|hooks| hooks.pre_stop.as_ref()).filter(|_| !self.hurried) {
            let outcome = tokio::time::timeout(until(self.by), handle(&self.target, hook)).await;
            let complaint = match outcome {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some(why),
                Err(_) => Some("PreStop hook did not finish within the grace period".to_owned()),
            };
            if let Some(complaint) = complaint {
                let message = format!("PreStopHook failed: {complaint}");
                let path = Some(self.field_path.clone());
                self.node.events.warning(&self.subject, path, "FailedPreStopHook", message);
            }
        }
        let named = hooks.and_then(|hooks| hooks.stop_signal.clone()).or_else(|| self.image_signal.clone());
        let signal = named.as_deref().and_then(signal::number).unwrap_or(libc::SIGTERM);
        let grace = if self.hurried { until(self.by) } else { until(self.by).max(LEAST) };
        let id = &self.target.container_id;
        if let Err(error) = self.node.engine.stop(id, signal, grace).await {
            tracing::warn!("stopping container {id}: {}", base::error::chain(&error));
        }
    }
}

/// Carries out a lifecycle handler.
pub(crate) async fn handle(target: &Target, hook: &LifecycleHandler) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        return match target.exec(command.clone()).await? {
            (0, _) => Ok(()),
            (code, output) => Err(format!("command {:?} exited with {code}, message: {output:?}", command.join(" "))),
        };
    }
    if let Some(action) = &hook.http_get {
        let answer = target.get(action)?.send("kube-lifecycle/1.36").await?;
        return if answer.status < 400 { Ok(()) } else { Err(format!("HTTP status {}", answer.status)) };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("the hook names no handler this node supports".into())
}

fn until(by: Timestamp) -> Duration {
    Duration::try_from(by.duration_since(base::time::now())).unwrap_or(Duration::ZERO)
}
