//! What a pod worker needs from the machine: containers and images.
//!
//! Invariant: workers know this trait and nothing below it. Why a trait: the worker is tested
//! against a machine that answers as told, and a CRI runtime can take the built-in one's place.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::cgroup::Limits;
use crate::image::{self, Image, PullError, PullOptions};
use crate::runtime::{
    Container, ContainerSpec, Error, ExecError, ExecSpec, Exit, Runtime, Sandbox, SandboxSpec, Session, StartError,
};

pub(crate) type Engine = Arc<dyn Machine>;

#[async_trait]
pub(crate) trait Machine: Send + Sync {
    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, Error>;
    async fn remove_sandbox(&self, uid: &str) -> Result<(), Error>;
    async fn start(&self, spec: ContainerSpec) -> Result<Container, StartError>;
    async fn wait(&self, id: &str) -> Result<Exit, Error>;
    async fn stop(&self, id: &str, signal: i32, grace: Duration) -> Result<Exit, Error>;
    async fn remove(&self, id: &str) -> Result<(), Error>;
    /// Changes the limits of a running container.
    async fn limit(&self, id: &str, limits: Limits) -> Result<(), Error>;
    /// Changes the limits of a pod as a whole.
    async fn limit_pod(&self, uid: &str, limits: Limits) -> Result<(), Error>;
    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Session, ExecError>;
    fn termination_message(&self, id: &str) -> String;
    fn resolve(&self, reference: &str) -> Result<Option<Image>, image::Error>;
    async fn pull(&self, reference: &str, options: &PullOptions) -> Result<Image, PullError>;
}

/// The built-in runtime and image store.
pub(crate) struct BuiltIn {
    pub runtime: Runtime,
    pub images: image::Store,
}

#[async_trait]
impl Machine for BuiltIn {
    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, Error> {
        self.runtime.create_sandbox(spec).await
    }

    async fn remove_sandbox(&self, uid: &str) -> Result<(), Error> {
        self.runtime.remove_sandbox(uid).await
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Container, StartError> {
        self.runtime.start(spec).await
    }

    async fn wait(&self, id: &str) -> Result<Exit, Error> {
        self.runtime.wait(id).await
    }

    async fn stop(&self, id: &str, signal: i32, grace: Duration) -> Result<Exit, Error> {
        self.runtime.stop(id, signal, grace).await
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        self.runtime.remove(id).await
    }

    async fn limit(&self, id: &str, limits: Limits) -> Result<(), Error> {
        self.runtime.limit(id, limits).await
    }

    async fn limit_pod(&self, uid: &str, limits: Limits) -> Result<(), Error> {
        self.runtime.limit_pod(uid, limits).await
    }

    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Session, ExecError> {
        self.runtime.exec(id, spec).await
    }

    fn termination_message(&self, id: &str) -> String {
        self.runtime.termination_message(id)
    }

    fn resolve(&self, reference: &str) -> Result<Option<Image>, image::Error> {
        self.images.resolve(reference)
    }

    async fn pull(&self, reference: &str, options: &PullOptions) -> Result<Image, PullError> {
        self.images.pull(reference, options, |_| {}).await
    }
}
