//! Starting one container: image, environment, mounts, and then the runtime.
//!
//! Invariant: everything that can be wrong with a pod's definition is found before the runtime is
//! asked, and each failure carries the waiting reason that upstream shows for it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio_util::sync::CancellationToken;

use super::node::Node;
use super::observed::Run;
use super::resources::Amounts;
use super::{credentials, resources, security};
use crate::agent::events::Subject;
use crate::agent::objects::{self, Subscription};
use crate::env::fields::Facts;
use crate::env::{self, Reference, expand};
use crate::image::{Auth, Image, PullOptions};
use crate::runtime::{ContainerSpec, PodRef, StartReason, container_id};
use crate::volume;

/// What a start needs; owned, so that it runs beside the worker.
pub(crate) struct Order {
    pub node: Arc<Node>,
    pub pod: Arc<Pod>,
    pub subject: Arc<Subject>,
    pub container: Container,
    pub field_path: String,
    pub attempt: u32,
    /// The run before, to be cleared away.
    pub previous: Option<String>,
    /// The running container to join, or why there is none.
    pub joins: Result<Option<String>, String>,
    pub facts: Facts,
    pub subscriptions: Vec<Subscription>,
    pub cancel: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct Started {
    pub run: Run,
    pub since: Timestamp,
    pub stop_signal: Option<String>,
    pub amounts: Amounts,
}

#[derive(Debug)]
pub(crate) enum Failure {
    Cancelled,
    /// The image is not there; `back_off` is whether waiting is announced as `ImagePullBackOff`.
    Image {
        reason: &'static str,
        message: String,
        back_off: bool,
    },
    /// The definition cannot be carried out now.
    Config {
        reason: &'static str,
        message: String,
    },
    /// The program could not be run: counts as an exit with 128.
    Program {
        run: Run,
        message: String,
    },
}

impl Order {
    /// Runs the order; when it is cancelled before the runtime was asked, nothing was started.
    pub(crate) async fn run(self) -> Result<Started, Failure> {
        let cancel = self.cancel.clone();
        let spec = tokio::select! {
            () = cancel.cancelled() => return Err(Failure::Cancelled),
            spec = self.prepare() => spec?,
        };
        let run = Run {
            id: spec.id.clone(),
            attempt: self.attempt,
            image: shown_image(&spec.image, self.container.image.as_deref().unwrap_or_default()),
            image_id: image_id(&spec.image),
        };
        let stop_signal = spec.image.config.stop_signal.clone();
        let amounts = Amounts::of(&self.container);
        match self.node.engine.start(spec).await {
            Ok(container) => {
                self.tell("Created", "Container created".to_owned());
                self.tell("Started", "Container started".to_owned());
                Ok(Started { run, since: container.started, stop_signal, amounts })
            }
            Err(error) => {
                self.warn("Failed", format!("Error: {}", error.message));
                Err(match error.reason {
                    StartReason::CreateContainerConfigError => {
                        Failure::Config { reason: "CreateContainerConfigError", message: error.message }
                    }
                    StartReason::CreateContainerError => {
                        Failure::Config { reason: "CreateContainerError", message: error.message }
                    }
                    StartReason::StartError => Failure::Program { run, message: error.message },
                })
            }
        }
    }

    async fn prepare(&self) -> Result<ContainerSpec, Failure> {
        let image = self.image().await?;
        self.configure(image).await.map_err(|message| {
            self.warn("Failed", format!("Error: {message}"));
            Failure::Config { reason: "CreateContainerConfigError", message }
        })
    }

    async fn configure(&self, image: Image) -> Result<ContainerSpec, String> {
        let (node, container) = (&self.node, &self.container);
        let spec = self.pod.spec.as_ref().ok_or("the pod has no spec")?;
        let joins = self.joins.clone()?;
        let wanted = env::references(container);
        let mut mine: Vec<Subscription> = self
            .subscriptions
            .iter()
            .filter(|subscription| wanted.contains(subscription.reference()))
            .map(Subscription::again)
            .collect();
        let found = objects::load(&mut mine).await.map_err(|error| error.to_string())?;
        node.services.synced().await;
        let services = node.services.list();
        let services = env::service_variables(&self.pod, services.iter().map(AsRef::as_ref));
        let inputs =
            env::Inputs { pod: &self.pod, container, facts: &self.facts, objects: &found, services: &services };
        let env = env::evaluate(&inputs).map_err(|error| error.to_string())?;
        let security = security::merge(spec, container, &node.security)?;
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        let mounts = {
            let (places, spec, container, env) = (node.places(&uid), spec.clone(), container.clone(), env.clone());
            let bound = tokio::task::spawn_blocking(move || volume::mounts(&places, &spec, &container, &env)).await;
            bound.map_err(|error| format!("mounting volumes: {error}"))??
        };
        self.clear_previous(&uid).await;
        let expanded = |list: &Option<Vec<String>>| {
            let words = list.iter().flatten();
            words.map(|word| expand::expand(word, |name| env.get(name).cloned())).collect::<Vec<_>>()
        };
        let logs = node.logs(&self.pod).join(&container.name).join(format!("{}.log", self.attempt));
        Ok(ContainerSpec {
            id: container_id(),
            pod: pod_ref(&self.pod),
            name: container.name.clone(),
            attempt: self.attempt,
            image,
            command: expanded(&container.command),
            args: expanded(&container.args),
            env: env.clone().into_iter().collect(),
            working_dir: container.working_dir.clone().filter(|dir| !dir.is_empty()),
            mounts,
            devices: Vec::new(),
            limits: resources::container_limits(container),
            security,
            joins,
            oom_score_adj: resources::oom_score_adj(&self.pod, container, node.memory_capacity),
            tty: container.tty.unwrap_or(false),
            stdin: container.stdin.unwrap_or(false),
            stdin_once: container.stdin_once.unwrap_or(false),
            log_path: logs,
            termination_path: container.termination_message_path.clone().unwrap_or_default(),
            annotations: self.pod.metadata.annotations.clone().unwrap_or_default(),
        })
    }

    /// Removes the previous run's remains; its log stays for `logs --previous`, older ones go.
    async fn clear_previous(&self, uid: &str) {
        let Some(id) = &self.previous else { return };
        if let Err(error) = self.node.engine.remove(id).await {
            tracing::debug!("removing container {id}: {}", base::error::chain(&error));
        }
        let places = self.node.places(uid);
        if let Err(error) = volume::unbind(&places, &self.container.name) {
            tracing::warn!("releasing the sub-paths of {}: {error}", self.container.name);
        }
        if let Some(old) = self.attempt.checked_sub(2) {
            let log = self.node.logs(&self.pod).join(&self.container.name).join(format!("{old}.log"));
            remove_log(&log);
        }
    }

    async fn image(&self) -> Result<Image, Failure> {
        let reference = self.container.image.as_deref().unwrap_or_default().trim();
        let policy = self.container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        let store = |error: crate::image::Error| self.image_error(reference, &error);
        if policy != "Always"
            && let Some(image) = self.node.engine.resolve(reference).map_err(store)?
        {
            self.tell(
                "Pulled",
                format!("Container image \"{reference}\" already present on machine and can be accessed by the pod"),
            );
            return Ok(image);
        }
        if policy == "Never" {
            let message = format!("Container image \"{reference}\" is not present with pull policy of Never");
            self.warn("ErrImageNeverPull", message.clone());
            return Err(Failure::Image { reason: "ErrImageNeverPull", message, back_off: false });
        }
        let lock = self.node.pulls.lock(reference);
        let _one = lock.lock().await;
        if policy != "Always"
            && let Some(image) = self.node.engine.resolve(reference).map_err(store)?
        {
            return Ok(image);
        }
        self.tell("Pulling", format!("Pulling image \"{reference}\""));
        let begun = std::time::Instant::now();
        let options =
            PullOptions { auth: self.credentials(reference).await, insecure: self.node.insecure_registries.clone() };
        match self.node.engine.pull(reference, &options).await {
            Ok(image) => {
                let took = begun.elapsed().as_millis();
                let message =
                    format!("Successfully pulled image \"{reference}\" in {took}ms. Image size: {} bytes.", image.size);
                self.tell("Pulled", message);
                Ok(image)
            }
            Err(crate::image::PullError::Store(error)) => Err(self.image_error(reference, &error)),
            Err(error) => {
                let message = base::error::chain(&error);
                self.warn("Failed", format!("Failed to pull image \"{reference}\": {message}"));
                self.warn("Failed", "Error: ErrImagePull".to_owned());
                Err(Failure::Image { reason: "ErrImagePull", message, back_off: true })
            }
        }
    }

    fn image_error(&self, reference: &str, error: &crate::image::Error) -> Failure {
        let message = base::error::chain(error);
        if matches!(error, crate::image::Error::Reference(..)) {
            let message = format!("Failed to apply default image tag \"{reference}\": {message}");
            self.warn("InspectFailed", message.clone());
            return Failure::Image { reason: "InvalidImageName", message, back_off: false };
        }
        self.warn("Failed", format!("Failed to inspect image \"{reference}\": {message}"));
        Failure::Image { reason: "ImageInspectError", message, back_off: false }
    }

    async fn credentials(&self, reference: &str) -> Auth {
        let spec = self.pod.spec.as_ref();
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        for secret in spec.into_iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten()) {
            let mut subscription = self.node.hub.subscribe(namespace, &Reference::Secret(secret.name.clone()));
            match subscription.load().await {
                Ok(Some(data)) => {
                    if let Some(auth) = credentials::find(reference, &data) {
                        return auth;
                    }
                }
                Ok(None) => tracing::warn!("image pull secret {namespace}/{} does not exist", secret.name),
                Err(error) => tracing::warn!("image pull secret {namespace}/{}: {error}", secret.name),
            }
        }
        Auth::Anonymous
    }

    fn tell(&self, reason: &'static str, message: String) {
        self.node.events.normal(&self.subject, Some(self.field_path.clone()), reason, message);
    }

    fn warn(&self, reason: &'static str, message: String) {
        self.node.events.warning(&self.subject, Some(self.field_path.clone()), reason, message);
    }
}

pub(crate) fn pod_ref(pod: &Pod) -> PodRef {
    let meta = &pod.metadata;
    PodRef {
        uid: meta.uid.clone().unwrap_or_default(),
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// The tag the pod named if the image has it, else the image's first.
fn shown_image(image: &Image, wanted: &str) -> String {
    let named = image.repo_tags.iter().find(|tag| tag.as_str() == wanted || tag.ends_with(&format!("/{wanted}")));
    named.or(image.repo_tags.first()).cloned().unwrap_or_else(|| wanted.to_owned())
}

fn image_id(image: &Image) -> String {
    image.repo_digests.first().cloned().unwrap_or_else(|| image.id.clone())
}

fn remove_log(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("removing old log {}: {error}", path.display());
        }
        _ => {}
    }
}
