//! A real cluster for a test: the `knarr` binary in a network namespace of its own, driven by the
//! programs people use (kubectl, curl, dig).
//!
//! Nothing here uses our crates: what a test shows, it shows from outside. Every cluster has its
//! own name, data directory and network namespace, and is purged when the test ends, however it
//! ends. The binary comes from `KNARR`, image archives from `IMAGES`; `make test` sets both.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How long a condition may take to come true before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A network namespace, deleted on drop.
#[derive(Debug)]
pub struct Namespace(String);

impl Namespace {
    /// A namespace called `name`, with its loopback up.
    ///
    /// # Errors
    /// When it cannot be made; tests need root.
    pub fn make(name: &str) -> anyhow::Result<Self> {
        run(Command::new("ip").args(["netns", "add", name]))?;
        let namespace = Self(name.to_owned());
        run(namespace.command("ip").args(["link", "set", "lo", "up"]))?;
        Ok(namespace)
    }

    /// A command that will run inside. Only the network changes: mounts and processes are shared.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0)).arg("--").arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("ip").args(["netns", "delete", &self.0])) {
            eprintln!("cannot delete network namespace {}: {error:#}", self.0);
        }
    }
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    data: TempDir,
    namespace: Option<std::sync::Arc<Namespace>>,
    flags: Vec<String>,
}

impl Cluster {
    /// A cluster called `name` in a network namespace of the same name, started and loaded with
    /// `images` (`busybox`, `python3`, ...).
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(name: &str, images: &[&str]) -> anyhow::Result<Self> {
        let namespace = std::sync::Arc::new(Namespace::make(name)?);
        Self::start_in(namespace, name, images)
    }

    /// As [`Cluster::start`], in a namespace that others use too.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_in(namespace: std::sync::Arc<Namespace>, name: &str, images: &[&str]) -> anyhow::Result<Self> {
        Self::begin(namespace, name, images, &[])
    }

    /// As [`Cluster::start`], with these flags of `knarr up`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(name: &str, images: &[&str], flags: &[&str]) -> anyhow::Result<Self> {
        Self::begin(std::sync::Arc::new(Namespace::make(name)?), name, images, flags)
    }

    fn begin(
        namespace: std::sync::Arc<Namespace>,
        name: &str,
        images: &[&str],
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new().prefix("knarr-e2e-").tempdir()?;
        let flags = flags.iter().map(ToString::to_string).collect();
        let cluster = Self { name: name.to_owned(), data, namespace: Some(namespace), flags };
        cluster.up()?;
        for image in images {
            let archive =
                PathBuf::from(std::env::var_os("IMAGES").context("IMAGES must name the folder of image archives")?)
                    .join(format!("{image}.tar"));
            run(cluster.knarr(["image", "load"]).arg(&archive))?;
        }
        Ok(cluster)
    }

    /// `knarr up --detach`, again or for the first time.
    ///
    /// # Errors
    /// When it does not become ready; the log's last lines are told.
    pub fn up(&self) -> anyhow::Result<()> {
        let mut command = self.knarr(["up", "--detach"]);
        command.args(&self.flags);
        run(&mut command).map(drop).with_context(|| format!("the log ends with:\n{}", self.log_tail()))
    }

    fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.data().join("knarr.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.data.path().join("data")
    }

    /// The run directory.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        PathBuf::from(format!("/run/knarr-{}", self.name))
    }

    /// The certificate that signs what the cluster serves.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.data().join("pki/cluster-ca.crt")
    }

    /// The admin's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.data().join("kubeconfig")
    }

    /// The network namespace it runs in.
    ///
    /// # Panics
    /// Never: it is only taken on drop.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        self.namespace.as_deref().expect("invariant: taken only on drop")
    }

    /// A command in the cluster's network.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.namespace().command(program);
        // clusters of several tests have the same address, and kubectl remembers by address what is served
        command.env("KUBECONFIG", self.kubeconfig()).env("KUBECACHEDIR", self.data.path().join("cache"));
        command
    }

    /// `knarr ARGS --name --data-dir`.
    #[must_use]
    pub fn knarr<const N: usize>(&self, args: [&str; N]) -> Command {
        let binary = std::env::var_os("KNARR").expect("KNARR must name the binary; make test sets it");
        let mut command = self.command(binary);
        command.args(args).args(["--name", &self.name]).arg("--data-dir").arg(self.data());
        command
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// When it fails; with what it said.
    pub fn kubectl<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> anyhow::Result<String> {
        run(self.command("kubectl").args(args))
    }

    /// `kubectl apply -f -` of `manifest`.
    ///
    /// # Errors
    /// When it fails.
    pub fn apply(&self, manifest: &str) -> anyhow::Result<String> {
        input(self.command("kubectl").args(["apply", "-f", "-"]), manifest)
    }

    /// The object kubectl gets with `args`, as JSON.
    ///
    /// # Errors
    /// When there is none.
    pub fn get<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> anyhow::Result<Value> {
        let mut command = self.command("kubectl");
        command.arg("get").args(args).args(["-o", "json"]);
        Ok(serde_json::from_str(&run(&mut command)?)?)
    }

    /// Waits until `kubectl rollout status` says that `what` in `namespace` is complete.
    ///
    /// # Errors
    /// When that takes too long; with the state of the pods.
    pub fn rolled_out(&self, namespace: &str, what: &str) -> anyhow::Result<()> {
        let waited = self.kubectl(["-n", namespace, "rollout", "status", what, "--timeout=90s"]);
        waited.map(drop).with_context(|| {
            let pods = self.kubectl(["-n", namespace, "describe", "pods"]).unwrap_or_default();
            format!("pods:\n{pods}\nlog:\n{}", self.log_tail())
        })
    }

    /// curl with the cluster's CA; fails on an HTTP error. `args` as for curl.
    ///
    /// # Errors
    /// When it fails.
    pub fn curl<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> anyhow::Result<String> {
        let mut command = self.command("curl");
        command
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "10", "--cacert"])
            .arg(self.ca())
            .args(args);
        run(&mut command)
    }

    /// The setting `key` in force.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn setting(&self, key: &str) -> anyhow::Result<String> {
        let settings: Value = serde_json::from_str(&run(&mut self.knarr(["config", "-o", "json"]))?)?;
        let value =
            settings.pointer(&format!("/{}", key.replace('.', "/"))).with_context(|| format!("no setting {key}"))?;
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// The process that runs the cluster.
    ///
    /// # Errors
    /// When none does.
    pub fn pid(&self) -> anyhow::Result<String> {
        let text = std::fs::read_to_string(self.data().join("knarr.lock"))?;
        ensure!(Path::new("/proc").join(text.trim()).exists(), "no process runs the cluster");
        Ok(text.trim().to_owned())
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill(&self) -> anyhow::Result<()> {
        let pid = self.pid()?;
        run(Command::new("kill").args(["-9", &pid]))?;
        eventually("the killed process is gone", || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // its first thread may be dead while others still hold its files
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
            ensure!(state.is_empty() || (state.contains(") Z ") && threads <= 1), "still there");
            Ok(())
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of cluster {} ---\n{}", self.name, self.log_tail());
        }
        if let Err(error) = run(&mut self.knarr(["down", "--purge"])) {
            eprintln!("cannot purge cluster {}: {error:#}", self.name);
        }
    }
}

/// Waits until `check` succeeds.
///
/// # Errors
/// When it does not within [`PATIENCE`]; with its last answer.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("not within {PATIENCE:?}: {what}"));
            }
            Err(_) => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// A part of a test, with its name.
pub type Part<'a> = (&'a str, fn(&Cluster) -> anyhow::Result<()>);

/// Runs parts that share nothing but the cluster, all at once.
///
/// # Errors
/// When one fails; every failure is told.
pub fn together(cluster: &Cluster, parts: &[Part<'_>]) -> anyhow::Result<()> {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = parts.iter().map(|(name, part)| (name, scope.spawn(move || part(cluster)))).collect();
        let ended = running.into_iter().map(|(name, part)| (name, part.join()));
        ended
            .filter_map(|(name, outcome)| match outcome {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("--- {name}: {error:?}")),
                Err(_) => Some(format!("--- {name}: panicked")),
            })
            .collect()
    });
    ensure!(failures.is_empty(), "{} of {} parts failed:\n{}", failures.len(), parts.len(), failures.join("\n"));
    Ok(())
}

/// Runs a command that must fail with `code` and returns what it said.
///
/// # Errors
/// When it succeeds or fails otherwise.
pub fn fails(command: &mut Command, code: i32) -> anyhow::Result<String> {
    let output = command_output(command)?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.code() == Some(code), "{command:?} ended with {}, not {code}:\n{said}", output.status);
    Ok(said)
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or fails; with what it said.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command_output(command)?;
    finish(command, output)
}

/// As [`run`], with `text` as its input.
///
/// # Errors
/// As [`run`].
pub fn input(command: &mut Command, text: &str) -> anyhow::Result<String> {
    use std::io::Write as _;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    child.stdin.take().context("no input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output()?;
    finish(command, output)
}

fn command_output(command: &mut Command) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))
}

fn finish(command: &Command, output: Output) -> anyhow::Result<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?} failed ({}):\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}
