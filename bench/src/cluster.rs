//! A real cluster in a network namespace that is its own.
//!
//! The whole benchmark runs inside the namespace, so clients and programs it starts reach the
//! cluster at the usual ports whatever else runs on the machine. Mounts and processes are shared.
//! Names and places are fixed: a run that was killed is cleaned up by the next.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::client::Client;

/// The cluster's name, and that of the network namespace.
const NAME: &str = "bench";

/// The images that parts use.
const IMAGES: &[&str] = &["busybox", "python3", "redis"];

fn home() -> PathBuf {
    std::env::temp_dir().join("knarr-bench")
}

/// Runs this program again with `flag ARGUMENTS` in a network namespace of its own.
pub(crate) fn in_namespace(binary: &Path, flag: &str, arguments: &[String]) -> anyhow::Result<()> {
    std::fs::create_dir_all(home())?;
    let lock = File::create(home().join("lock"))?;
    lock.try_lock().context("another benchmark runs; two would measure each other")?;
    let namespace = PathBuf::from("/run/netns").join(NAME);
    if namespace.exists() {
        eprintln!("cleaning up after a run that was interrupted");
        drop(Cluster { binary: binary.to_owned() });
        run(Command::new("ip").args(["netns", "delete", NAME]))?;
    }
    run(Command::new("ip").args(["netns", "add", NAME])).context("cannot make a network namespace; run as root")?;
    run(Command::new("ip").args(["-n", NAME, "link", "set", "lo", "up"]))?;
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net={}", namespace.display())).arg("--").arg(std::env::current_exe()?);
    let status = inside.arg(flag).args(arguments).status().context("cannot run nsenter")?;
    run(Command::new("ip").args(["netns", "delete", NAME]))?;
    std::fs::remove_dir_all(home())?;
    ensure!(status.success(), "the benchmark did not finish");
    Ok(())
}

/// A cluster, purged on drop.
#[derive(Debug)]
pub(crate) struct Cluster {
    binary: PathBuf,
}

impl Cluster {
    /// A cluster that is not up yet.
    pub(crate) fn new(binary: &Path) -> Self {
        Self { binary: binary.to_owned() }
    }

    fn data() -> PathBuf {
        home().join("data")
    }

    fn kubeconfig() -> PathBuf {
        Self::data().join("kubeconfig")
    }

    /// `knarr ARGS` for this cluster.
    pub(crate) fn knarr(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).args(["--name", NAME]).arg("--data-dir").arg(Self::data());
        command
    }

    /// `knarr up --detach`, at the standard ports.
    pub(crate) fn up(&self) -> Command {
        let mut command = self.knarr(&["up", "--detach"]);
        command.args(["--api-port", "6443", "--http-port", "80", "--https-port", "443"]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// `knarr down`, which keeps the data.
    pub(crate) fn down(&self) -> Command {
        self.knarr(&["down"])
    }

    /// Loads the images that parts use.
    pub(crate) fn load_images(&self) -> anyhow::Result<()> {
        let folder = Path::new("target/images");
        let mut command = self.knarr(&["image", "load"]);
        for image in IMAGES {
            let archive = folder.join(image).with_extension("tar");
            ensure!(archive.exists(), "{} is missing; run make images", archive.display());
            command.arg(archive);
        }
        run(&mut command).map(drop)
    }

    /// kubectl as admin.
    pub(crate) fn kubectl<const N: usize>(args: [&str; N]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", Self::kubeconfig());
        command
    }

    /// A client as admin; there is none before the cluster has written its kubeconfig.
    pub(crate) fn client() -> anyhow::Result<Client> {
        Client::new(&Self::kubeconfig(), SocketAddr::from(([127, 0, 0, 1], 6443)))
    }

    /// The gateway's HTTP address.
    pub(crate) fn gateway() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 80))
    }

    /// Where it keeps what a reboot may take.
    pub(crate) fn run_dir() -> String {
        format!("/run/knarr-{NAME}")
    }

    /// The process that runs the cluster.
    pub(crate) fn pid() -> anyhow::Result<u32> {
        let text = std::fs::read_to_string(Self::data().join("knarr.lock"))?;
        text.trim().parse().context("the lock file holds no process id")
    }

    /// The last lines of its log.
    pub(crate) fn log_tail() -> String {
        let log = std::fs::read_to_string(Self::data().join("knarr.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("the log ends with:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = run(&mut self.knarr(&["down", "--purge"])) {
            eprintln!("cannot purge cluster {NAME}: {error:#}");
        }
    }
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
