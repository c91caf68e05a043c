//! A runtime of its own for each test, an image made of busybox, and words to ask for containers.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use knarr_node::image::Image;
use knarr_node::runtime::{
    Config, Container, ContainerSpec, ExecSpec, Exit, PodRef, Runtime, Sandbox, SandboxSpec, container_id, purge,
};
use tokio::io::AsyncReadExt as _;

pub(crate) struct World {
    pub(crate) dir: Directory,
    pub(crate) cluster: String,
    pub(crate) runtime: Runtime,
    pub(crate) sandbox: Sandbox,
    children: tasks::Context,
}

pub(crate) enum Directory {
    Own(tempfile::TempDir),
    /// Made, and removed, by another process.
    Borrowed(PathBuf),
}

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(dir) => dir.path(),
            Self::Borrowed(dir) => dir,
        }
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_sandbox(|_| {}).await
    }

    pub(crate) async fn with_sandbox(change: impl FnOnce(&mut SandboxSpec)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let cluster = format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        make_layer(&dir.path().join("layer"));
        fs::write(dir.path().join("cluster"), &cluster).unwrap();
        Self::build(Directory::Own(dir), cluster, change).await
    }

    /// The world another process made in `dir`, with its sandbox.
    pub(crate) async fn again(dir: &Path) -> Self {
        let cluster = fs::read_to_string(dir.join("cluster")).unwrap();
        Self::build(Directory::Borrowed(dir.to_owned()), cluster, |_| {}).await
    }

    async fn build(dir: Directory, cluster: String, change: impl FnOnce(&mut SandboxSpec)) -> Self {
        let (children, _) = tasks::context_for_tests();
        let runtime = open(dir.path(), &cluster, &children);
        runtime.adopt().await.unwrap();
        let mut spec = SandboxSpec { pod: pod(), hostname: "testhost".into(), ..SandboxSpec::default() };
        change(&mut spec);
        let sandbox = runtime.create_sandbox(spec).await.unwrap();
        Self { dir, cluster, runtime, sandbox, children }
    }

    /// The same directories seen by another agent, as after a restart.
    pub(crate) fn reopened(&self) -> Runtime {
        open(self.dir.path(), &self.cluster, &self.children)
    }

    pub(crate) fn image(&self) -> Image {
        let mut image = Image { layers: vec![self.dir.path().join("layer")], ..Image::default() };
        image.config.env = vec!["PATH=/bin".into(), "FROM_IMAGE=yes".into()];
        image
    }

    pub(crate) fn shell(&self, script: &str) -> ContainerSpec {
        let mut spec = ContainerSpec {
            id: container_id(),
            pod: pod(),
            name: "c".into(),
            image: self.image(),
            command: vec!["sh".into(), "-c".into(), script.into()],
            ..ContainerSpec::default()
        };
        spec.security.allow_privilege_escalation = true;
        spec.log_path = self.dir.path().join("logs").join(format!("{}.log", spec.id));
        spec
    }

    /// Runs a container to its end; how it ended and what it printed.
    pub(crate) async fn run(&self, spec: ContainerSpec) -> (Exit, String) {
        let (id, log) = (spec.id.clone(), spec.log_path.clone());
        self.runtime.start(spec).await.unwrap();
        let exit = self.runtime.wait(&id).await.unwrap();
        self.runtime.remove(&id).await.unwrap();
        (exit, output(&log))
    }

    /// What a script prints in a container with `change`.
    pub(crate) async fn print(&self, script: &str, change: impl FnOnce(&mut ContainerSpec)) -> String {
        let mut spec = self.shell(script);
        change(&mut spec);
        self.run(spec).await.1
    }

    /// A container that waits to be stopped.
    pub(crate) async fn sleeper(&self) -> Container {
        let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let container = self.runtime.start(self.shell(script)).await.unwrap();
        until(|| output(&container.spec.log_path).contains("ready")).await;
        container
    }

    pub(crate) async fn exec(&self, id: &str, args: &[&str]) -> (i32, String, String) {
        let spec = ExecSpec {
            args: args.iter().map(ToString::to_string).collect(),
            stdout: true,
            stderr: true,
            ..ExecSpec::default()
        };
        let mut session = self.runtime.exec(id, spec).await.unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        session.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
        (session.control.wait().await.unwrap(), out, err)
    }

    /// Mounts, cgroups and processes of this world that exist.
    pub(crate) fn remains(&self) -> Vec<String> {
        let dir = self.dir.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut found: Vec<String> =
            mounts.lines().filter(|line| line.contains(dir)).map(|line| format!("mount {line}")).collect();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let path = hierarchy.path().join(format!("knarr-{}", self.cluster));
            if path.exists() {
                found.push(format!("cgroup {}", path.display()));
            }
        }
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&line).contains(dir) {
                found.push(format!("process {}", String::from_utf8_lossy(&line).replace('\0', " ")));
            }
        }
        found
    }

    pub(crate) fn purge(&self) {
        purge(&self.dir.path().join("run"), &self.dir.path().join("data"), &self.cluster).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let (run, data) = (self.dir.path().join("run"), self.dir.path().join("data"));
        if let Err(error) = purge(&run, &data, &self.cluster) {
            eprintln!("cleaning up: {error}");
        }
    }
}

fn open(dir: &Path, cluster: &str, context: &tasks::Context) -> Runtime {
    let config = Config {
        cluster: cluster.to_owned(),
        run_dir: dir.join("run"),
        data_dir: dir.join("data"),
        shim: vec![env!("CARGO_BIN_EXE_knarr-shim").into()],
    };
    Runtime::open(config, context.children.clone()).unwrap()
}

pub(crate) fn pod() -> PodRef {
    PodRef { uid: "pod-uid".into(), namespace: "ns".into(), name: "pod".into() }
}

fn make_layer(layer: &Path) {
    let busybox = PathBuf::from("/bin/busybox");
    assert!(busybox.exists(), "the tests need a static busybox: apt-get install busybox-static");
    for dir in ["bin", "etc", "tmp", "srv"] {
        fs::create_dir_all(layer.join(dir)).unwrap();
    }
    fs::copy(busybox, layer.join("bin/busybox")).unwrap();
    for name in [
        "sh", "sleep", "cat", "id", "echo", "stty", "env", "hostname", "ls", "dd", "head", "touch", "yes", "grep",
        "ps", "readlink", "su", "tail", "mount", "pwd", "tty", "kill", "mknod",
    ] {
        symlink("busybox", layer.join("bin").join(name)).unwrap();
    }
    fs::write(layer.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:44:web:/srv:/bin/sh\n").unwrap();
    fs::write(layer.join("etc/group"), "root:x:0:\nweb:x:44:\nlogs:x:50:web\n").unwrap();
    fs::write(layer.join("bin/forbidden"), "#!/bin/sh\n").unwrap();
    fs::write(layer.join("bin/wrong"), "not a program").unwrap();
    fs::set_permissions(layer.join("bin/wrong"), fs::Permissions::from_mode(0o755)).unwrap();
}

/// The log without its timestamps and tags.
pub(crate) fn output(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let strip = |line: &str| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
    text.lines().map(strip).collect::<Vec<_>>().join("\n")
}

/// Waits until `condition` holds; a minute is enough for anything here.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("the condition never held");
}
