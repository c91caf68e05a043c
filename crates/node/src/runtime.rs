//! Sandboxes and containers of this node, seen from the agent.
//!
//! Invariant: all state is in files under the run directory and in the kernel; the agent's memory
//! is a cache of it, rebuilt by [`Runtime::adopt`] after a restart.
//! Invariant: libcontainer is never called here. Each container has a [`crate::shim`] process of
//! its own, which outlives the agent.

pub mod session;
pub mod spec;
pub mod status;

mod adopt;
mod attach;
mod exec;
mod oci;
mod purge;
pub(crate) mod rootfs;
mod start;
mod user;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

pub use purge::purge;
pub use session::{Control, Reader, Session, Writer};
pub use spec::{
    ContainerSpec, Device, ExecSpec, Mount, PodRef, Propagation, Sandbox, SandboxSpec, Seccomp, Security, Size,
};
pub use status::{Adopted, Container, Error, ExecError, Exit, StartError, StartReason, State};

use crate::capability::Set;
use crate::cgroup::{Group, Limits, Stats, Tree};
use crate::sandbox;
use crate::shim::process::Identity;
use crate::shim::wire::{self, Report};

/// Where a cluster's runtime keeps its things.
#[derive(Clone, Debug)]
pub struct Config {
    pub cluster: String,
    pub run_dir: PathBuf,
    pub data_dir: PathBuf,
    /// Executable and first arguments that reach [`crate::shim::main`], usually `[our exe, "shim"]`.
    pub shim: Vec<std::ffi::OsString>,
}

/// The runtime of one cluster on this node. Cloning shares it.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    tree: Tree,
    children: tasks::Children,
    /// Capabilities this machine can give.
    bounding: Set,
    /// Lower scores are refused by the kernel.
    lowest_oom_score: i32,
    filters: Mutex<HashMap<Set, Arc<Vec<u8>>>>,
    sandboxes: Mutex<HashMap<String, Sandbox>>,
    containers: Mutex<HashMap<String, Entry>>,
}

#[derive(Clone)]
struct Entry {
    container: Container,
    process: Identity,
    exit: watch::Receiver<Option<Exit>>,
}

/// The directories of one container.
struct Places {
    /// Files of the shim; gone after a reboot.
    state: PathBuf,
    /// Its own layer.
    data: PathBuf,
}

impl Places {
    /// Unmounts the root file system and deletes both.
    fn remove(&self) -> io::Result<()> {
        rootfs::unmount(&self.state.join("rootfs"))?;
        for dir in [&self.data, &self.state] {
            match std::fs::remove_dir_all(dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Inner {
    fn places(&self, id: &str) -> Places {
        Places {
            state: self.config.run_dir.join("containers").join(id),
            data: self.config.data_dir.join("containers").join(id),
        }
    }

    fn entry(&self, id: &str) -> Result<Entry, Error> {
        self.containers.lock().get(id).cloned().ok_or_else(|| Error::NoContainer(id.to_owned()))
    }

    fn group(&self, container: &Container) -> Group {
        let sandbox = self.sandboxes.lock().get(&container.spec.pod.uid).cloned();
        let qos = sandbox.map(|sandbox| sandbox.spec.qos).unwrap_or_default();
        self.tree.pod(qos, &container.spec.pod.uid).child(&container.spec.id)
    }

    /// The compiled RuntimeDefault profile for a set of capabilities.
    fn default_filter(&self, capabilities: Set) -> Result<Arc<Vec<u8>>, seccompiler::BackendError> {
        if let Some(filter) = self.filters.lock().get(&capabilities) {
            return Ok(Arc::clone(filter));
        }
        let filter = Arc::new(crate::seccomp::runtime_default(capabilities)?);
        self.filters.lock().insert(capabilities, Arc::clone(&filter));
        Ok(filter)
    }
}

impl Runtime {
    /// Prepares the directories and finds out what the kernel offers.
    pub fn open(config: Config, children: tasks::Children) -> Result<Self, Error> {
        sandbox::make_private(&config.run_dir).map_err(Error::io(format!("prepare {}", config.run_dir.display())))?;
        for dir in [config.run_dir.join("pods"), config.run_dir.join("containers"), config.data_dir.join("containers")]
        {
            std::fs::create_dir_all(&dir).map_err(Error::io(format!("make {}", dir.display())))?;
        }
        let tree = Tree::detect(&config.cluster)?;
        let bounding = Set::bounding();
        let lowest_oom_score = if bounding.has("SYS_RESOURCE") { -1000 } else { own_oom_score() };
        let inner = Inner {
            config,
            tree,
            children,
            bounding,
            lowest_oom_score,
            filters: Mutex::default(),
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What this machine does not let the runtime do, in sentences for the node's conditions.
    #[must_use]
    pub fn restrictions(&self) -> Vec<String> {
        let mut list = Vec::new();
        if self.inner.lowest_oom_score > -1000 {
            list.push(format!(
                "oom scores below {} are refused (no CAP_SYS_RESOURCE): guaranteed pods are not protected",
                self.inner.lowest_oom_score
            ));
        }
        list
    }

    /// Finds what an earlier agent left: call once, before anything else.
    pub async fn adopt(&self) -> Result<Adopted, Error> {
        adopt::adopt(&self.inner).await
    }

    /// Makes the pod's namespaces and cgroup; a sandbox that exists is returned as it is.
    pub async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, Error> {
        let inner = Arc::clone(&self.inner);
        let sandbox =
            blocking(move || sandbox::create(&inner.config.run_dir, &inner.tree, &inner.config.shim, spec)).await?;
        self.inner.sandboxes.lock().insert(sandbox.spec.pod.uid.clone(), sandbox.clone());
        Ok(sandbox)
    }

    #[must_use]
    pub fn sandbox(&self, uid: &str) -> Option<Sandbox> {
        self.inner.sandboxes.lock().get(uid).cloned()
    }

    /// Kills and removes whatever is left in the sandbox, then the sandbox. Fine when absent.
    pub async fn remove_sandbox(&self, uid: &str) -> Result<(), Error> {
        let of_pod = |container: &Container| container.spec.pod.uid == uid;
        for container in self.containers().into_iter().filter(of_pod) {
            self.remove(&container.spec.id).await?;
        }
        let Some(sandbox) = self.sandbox(uid) else { return Ok(()) };
        let inner = Arc::clone(&self.inner);
        blocking(move || sandbox::remove(&sandbox, &inner.tree)).await?;
        self.inner.sandboxes.lock().remove(uid);
        Ok(())
    }

    /// Starts a container; its process runs when this returns. A caller that stops waiting does not
    /// stop the start: the container then shows up among [`Runtime::containers`].
    pub async fn start(&self, spec: ContainerSpec) -> Result<Container, StartError> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let runtime = self.clone();
        self.inner.children.spawn(format!("start of container {}", spec.name), async move {
            if let Err(Ok(container)) = tell.send(runtime.start_to_end(spec).await) {
                tracing::debug!(container = container.spec.id, "nobody waited for the start");
            }
        });
        told.await.unwrap_or_else(|_| Err(StartError::create("the node is stopping")))
    }

    async fn start_to_end(&self, spec: ContainerSpec) -> Result<Container, StartError> {
        let sandbox = self.sandbox(&spec.pod.uid).ok_or_else(|| {
            StartError::create(format!("pod {}/{} has no sandbox", spec.pod.namespace, spec.pod.name))
        })?;
        let (inner, prepared_spec, prepared_sandbox) = (Arc::clone(&self.inner), spec.clone(), sandbox.clone());
        let prepare = move || start::prepare(&inner, &prepared_spec, &prepared_sandbox);
        let spawned = tokio::task::spawn_blocking(prepare)
            .await
            .unwrap_or_else(|error| Err(StartError::create(format!("the container was not prepared: {error}"))))?;
        let failure = match start::next_report(&spawned.control).await {
            Ok((Report::Started(process), _)) => {
                let places = self.inner.places(&spec.id);
                match start::started(&places, spec.clone()) {
                    Ok((container, _)) => return Ok(self.keep(container, process, spawned.process)),
                    Err(error) => StartError::create(format!("cannot read what the shim noted: {error}")),
                }
            }
            Ok((Report::Failed(failure), _)) => start::start_error(failure),
            Ok((other, _)) => StartError::create(format!("unexpected answer of the shim: {other:?}")),
            Err(error) => StartError::create(format!("cannot start the container: {error}")),
        };
        self.inner.children.spawn("failed shim", ended(spawned.process));
        let inner = Arc::clone(&self.inner);
        let discard = move || {
            let group = sandbox::group(&inner.tree, &sandbox.spec).child(&spec.id);
            start::discard(&inner, &inner.places(&spec.id), &group);
        };
        if let Err(error) = tokio::task::spawn_blocking(discard).await {
            tracing::error!(%error, "cleaning up after a failed start");
        }
        Err(failure)
    }

    /// Registers a running container and watches its shim.
    fn keep(&self, container: Container, process: Identity, shim: OwnedFd) -> Container {
        let (tell, exit) = watch::channel(None);
        let id = container.spec.id.clone();
        let entry = Entry { container: container.clone(), process, exit };
        self.inner.containers.lock().insert(id.clone(), entry);
        let watcher = watch_container(Arc::clone(&self.inner), id, shim, tell);
        self.inner.children.spawn(format!("container {}", container.spec.name), watcher);
        container
    }

    /// Every container that has not been removed, running or not.
    #[must_use]
    pub fn containers(&self) -> Vec<Container> {
        self.inner.containers.lock().values().map(|entry| entry.container.clone()).collect()
    }

    #[must_use]
    pub fn container(&self, id: &str) -> Option<Container> {
        self.inner.containers.lock().get(id).map(|entry| entry.container.clone())
    }

    /// Waits for the container's end (pushed by the kernel, not polled).
    pub async fn wait(&self, id: &str) -> Result<Exit, Error> {
        let mut exit = self.inner.entry(id)?.exit;
        let ended = exit.wait_for(Option::is_some).await.map(|exit| exit.clone());
        ended.ok().flatten().ok_or_else(|| Error::NoContainer(id.to_owned()))
    }

    /// Sends a signal to the container's first process; fine when it has ended.
    pub fn signal(&self, id: &str, signal: i32) -> Result<(), Error> {
        let entry = self.inner.entry(id)?;
        let Some(process) = entry.process.open() else { return Ok(()) };
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: plain system call on a descriptor we hold; rustix has no real-time signals
        let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, none, 0) };
        match io::Error::last_os_error() {
            error if result != 0 && error.raw_os_error() != Some(libc::ESRCH) => {
                Err(Error::io(format!("send signal {signal} to container {id}"))(error))
            }
            _ => Ok(()),
        }
    }

    /// Sends `signal`, and kills everything in the container after `grace`; returns how it ended.
    pub async fn stop(&self, id: &str, signal: i32, grace: Duration) -> Result<Exit, Error> {
        self.signal(id, signal)?;
        if let Ok(ended) = tokio::time::timeout(grace, self.wait(id)).await {
            return ended;
        }
        self.kill(id).await?;
        self.wait(id).await
    }

    async fn kill(&self, id: &str) -> Result<(), Error> {
        let group = self.inner.group(&self.inner.entry(id)?.container);
        let inner = Arc::clone(&self.inner);
        blocking(move || Ok(inner.tree.kill(&group)?)).await
    }

    /// Kills the container if it lives, unmounts and deletes everything but its log. Fine when
    /// absent.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        let Some(container) = self.container(id) else { return Ok(()) };
        if container.state == State::Running {
            self.kill(id).await?;
            self.wait(id).await?;
        }
        let group = self.inner.group(&container);
        let (inner, places) = (Arc::clone(&self.inner), self.inner.places(id));
        blocking(move || {
            inner.tree.remove(&group)?;
            places.remove().map_err(Error::io(format!("remove {}", places.state.display())))
        })
        .await?;
        self.inner.containers.lock().remove(id);
        Ok(())
    }

    /// Changes the limits of a running container in place.
    pub async fn limit(&self, id: &str, limits: Limits) -> Result<(), Error> {
        let group = self.inner.group(&self.inner.entry(id)?.container);
        self.limit_group(format!("container {id:?}"), group, limits).await
    }

    /// Changes the limits of a pod as a whole in place.
    pub async fn limit_pod(&self, uid: &str, limits: Limits) -> Result<(), Error> {
        let sandbox = self.sandbox(uid).ok_or_else(|| Error::NoContainer(uid.to_owned()))?;
        let group = sandbox::group(&self.inner.tree, &sandbox.spec);
        self.limit_group("pod".to_owned(), group, limits).await
    }

    async fn limit_group(&self, what: String, group: Group, limits: Limits) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let used = inner.tree.stats(&group).working_set_bytes;
            match limits.memory.filter(|limit| *limit < used) {
                Some(limit) => Err(Error::TooSmall { what, limit, used }),
                None => Ok(inner.tree.limit(&group, &limits)?),
            }
        })
        .await
    }

    /// Runs a command in the container.
    pub async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Session, ExecError> {
        exec::exec(&self.inner, id, spec).await
    }

    /// Joins the output (and input, if it has one) of the container's own process.
    pub async fn attach(&self, id: &str) -> Result<Session, ExecError> {
        attach::attach(self, id).await
    }

    /// Sets the size of the container's own terminal.
    pub async fn resize(&self, id: &str, size: Size) -> Result<(), Error> {
        let mut data = size.columns.to_le_bytes().to_vec();
        data.extend(size.rows.to_le_bytes());
        attach::request(&self.inner, id, wire::frame::RESIZE, &data).await
    }

    /// After the log file was renamed: continue in a new one.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        attach::request(&self.inner, id, wire::frame::REOPEN_LOG, &[]).await
    }

    pub fn stats(&self, id: &str) -> Result<Stats, Error> {
        let entry = self.inner.entry(id)?;
        Ok(self.inner.tree.stats(&self.inner.group(&entry.container)))
    }

    pub fn pod_stats(&self, uid: &str) -> Result<Stats, Error> {
        let sandbox = self.sandbox(uid).ok_or_else(|| Error::NoContainer(uid.to_owned()))?;
        Ok(self.inner.tree.stats(&sandbox::group(&self.inner.tree, &sandbox.spec)))
    }

    /// What the container wrote to its termination message path, at most 4096 bytes.
    #[must_use]
    pub fn termination_message(&self, id: &str) -> String {
        use std::io::Read as _;
        let mut text = Vec::new();
        let path = self.inner.places(id).state.join(start::TERMINATION);
        match std::fs::File::open(path).and_then(|file| file.take(4096).read_to_end(&mut text)) {
            Ok(_) => String::from_utf8_lossy(&text).into_owned(),
            Err(_) => String::new(),
        }
    }
}

/// A new container id: 64 hexadecimal digits, as other runtimes make them.
#[must_use]
pub fn container_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// Waits for a process's end and reaps it if it is our child.
async fn ended(process: OwnedFd) {
    // SAFETY: the AsyncFd owns the only handle on this descriptor, which stays open inside it
    match unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) } {
        Ok(process) => {
            if let Err(error) = process.readable().await {
                tracing::error!(%error, "cannot wait for a process");
            }
            sandbox::reap(process.get_ref());
        }
        Err(error) => tracing::error!(%error, "cannot watch a process"),
    }
}

/// The shim's end is the container's end; its exit file says how.
async fn watch_container(inner: Arc<Inner>, id: String, shim: OwnedFd, tell: watch::Sender<Option<Exit>>) {
    ended(shim).await;
    let Ok(entry) = inner.entry(&id) else { return };
    let group = inner.group(&entry.container);
    let shared = inner
        .sandboxes
        .lock()
        .get(&entry.container.spec.pod.uid)
        .is_some_and(|sandbox| sandbox.spec.host_pid || sandbox.spec.share_process_namespace);
    let (for_exit, exit_id) = (Arc::clone(&inner), id.clone());
    let find_exit = move || {
        let places = for_exit.places(&exit_id);
        match adopt::read_exit(&places) {
            Some(exit) => {
                // in a process namespace of others, the first process's end does not end the rest
                let rest = if shared { for_exit.tree.kill(&group) } else { Ok(()) };
                (exit, rest)
            }
            None => adopt::give_up(&for_exit.tree, &group, &places),
        }
    };
    let exit = match tokio::task::spawn_blocking(find_exit).await {
        Ok((exit, Ok(()))) => exit,
        Ok((exit, Err(error))) => {
            tracing::error!(
                container = id,
                error = base::error::chain(&error),
                "processes of an ended container are left"
            );
            exit
        }
        Err(error) => {
            tracing::error!(container = id, %error, "cannot find out how the container ended");
            adopt::unknown_exit()
        }
    };
    if let Some(entry) = inner.containers.lock().get_mut(&id) {
        entry.container.state = State::Exited(exit.clone());
    }
    tell.send_replace(Some(exit));
}

/// Runs work that blocks (mounts, cgroups) outside of the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::io("finish a blocking step")(io::Error::other(error))))
}

fn own_oom_score() -> i32 {
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").ok();
    score.and_then(|score| score.trim().parse().ok()).unwrap_or(0)
}
