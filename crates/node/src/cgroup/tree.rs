//! The tree on disk: make, limit, measure, kill, remove.
//!
//! Invariant: a [`Group`] is a path relative to the hierarchies and always below the cluster's root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

use super::{DeviceRule, Error, Layout, Limits, Qos, Setting, Stats, devices, v1, v2};

/// How long killed processes may take to leave, and emptied groups to become removable.
const PATIENCE: Duration = Duration::from_secs(10);

/// One cgroup of the cluster, in all hierarchies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group(PathBuf);

impl Group {
    /// As the OCI configuration's `cgroupsPath`.
    #[must_use]
    pub fn oci_path(&self) -> PathBuf {
        Path::new("/").join(&self.0)
    }

    /// A cgroup below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self(self.0.join(name))
    }
}

#[derive(Clone, Debug)]
pub struct Tree {
    layout: Layout,
    root: PathBuf,
}

impl Tree {
    /// The tree of `cluster` on this machine; makes nothing yet.
    pub fn detect(cluster: &str) -> Result<Self, Error> {
        Ok(Self::new(Layout::detect()?, cluster))
    }

    fn new(layout: Layout, cluster: &str) -> Self {
        Self { layout, root: PathBuf::from(format!("knarr-{cluster}")) }
    }

    /// Everything of the cluster.
    #[must_use]
    pub fn root(&self) -> Group {
        Group(self.root.clone())
    }

    #[must_use]
    pub fn pod(&self, qos: Qos, uid: &str) -> Group {
        Group(self.root.join("kubepods").join(qos.directory()).join(format!("pod{uid}")))
    }

    /// Every pod group there is, with the pod's uid.
    #[must_use]
    pub fn pods(&self) -> Vec<(Group, String)> {
        let mut pods = std::collections::BTreeMap::new();
        for mount in self.layout.mounts() {
            for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
                let level = mount.join(&self.root).join("kubepods").join(qos.directory());
                for path in directories(&level) {
                    let uid = path.file_name().and_then(|name| name.to_str()?.strip_prefix("pod")).map(str::to_owned);
                    if let Some(uid) = uid {
                        pods.insert((qos.directory(), uid.clone()), (self.pod(qos, &uid), uid));
                    }
                }
            }
        }
        pods.into_values().collect()
    }

    /// Makes a pod's group (and its parents) and limits it.
    pub fn create_pod(&self, pod: &Group, limits: &Limits) -> Result<(), Error> {
        self.create(pod, limits, false)
    }

    /// Makes a container's group and limits it.
    pub fn create_container(&self, container: &Group, limits: &Limits) -> Result<(), Error> {
        self.create(container, limits, true)
    }

    fn create(&self, group: &Group, limits: &Limits, leaf: bool) -> Result<(), Error> {
        for mount in self.layout.mounts() {
            let path = mount.join(&group.0);
            match &self.layout {
                Layout::V1(_) => fs::create_dir_all(&path).map_err(failed("make", &path))?,
                Layout::V2(_) => make_v2(mount, &group.0, leaf)?,
            }
        }
        let settings = match &self.layout {
            Layout::V1(_) => v1::settings(limits),
            Layout::V2(_) => v2::settings(limits, leaf),
        };
        settings.iter().try_for_each(|setting| self.set(group, setting))
    }

    /// Changes the limits of a group that exists.
    pub fn limit(&self, group: &Group, limits: &Limits) -> Result<(), Error> {
        let settings = match &self.layout {
            Layout::V1(_) => v1::settings(limits),
            Layout::V2(_) => v2::settings(limits, false),
        };
        // v1 refuses a memory limit above that of memory with swap: a larger one goes first there
        for setting in settings.iter().filter(|setting| setting.optional) {
            self.set(group, setting)?;
        }
        settings.iter().try_for_each(|setting| self.set(group, setting))
    }

    fn set(&self, group: &Group, setting: &Setting) -> Result<(), Error> {
        let Some(mount) = self.layout.mount_of(setting.controller) else { return Ok(()) };
        let path = mount.join(&group.0).join(setting.file);
        match fs::write(&path, &setting.value) {
            Err(_) if setting.optional => Ok(()),
            other => other.map_err(failed("write", &path)),
        }
    }

    /// Gives a container its device rules: everything is denied but `allowed`.
    pub fn allow_devices(&self, group: &Group, allowed: &[DeviceRule]) -> Result<(), Error> {
        if let Layout::V2(mount) = &self.layout {
            let path = mount.join(&group.0);
            return devices::attach(&path, allowed).map_err(failed("attach device rules to", &path));
        }
        let write =
            |file, value: String| self.set(group, &Setting { controller: "devices", file, value, optional: false });
        write("devices.deny", "a".to_owned())?;
        allowed.iter().try_for_each(|rule| write("devices.allow", rule.to_string()))
    }

    /// What a container sees of its own group below `/sys/fs/cgroup`, by controller; `None` with
    /// v2, where one mount of the whole shows just that.
    #[must_use]
    pub fn views(&self, group: &Group) -> Option<Vec<(&'static str, PathBuf)>> {
        let Layout::V1(_) = &self.layout else { return None };
        let shown = ["cpu", "cpuacct", "cpuset", "memory", "pids"];
        Some(shown.iter().filter_map(|name| Some((*name, self.layout.mount_of(name)?.join(&group.0)))).collect())
    }

    /// Moves a process into the group.
    pub fn add(&self, group: &Group, pid: u32) -> Result<(), Error> {
        for mount in self.layout.mounts() {
            let path = mount.join(&group.0).join("cgroup.procs");
            match fs::write(&path, pid.to_string()) {
                // an unset cpuset refuses processes; nothing is limited there
                Err(error) if matches!(self.layout, Layout::V1(_)) && error.raw_os_error() == Some(libc::ENOSPC) => {}
                other => other.map_err(failed("write", &path))?,
            }
        }
        Ok(())
    }

    #[must_use]
    pub fn stats(&self, group: &Group) -> Stats {
        let read = |controller: &str, file: &str| {
            let mount = self.layout.mount_of(controller)?;
            fs::read_to_string(mount.join(&group.0).join(file)).ok()
        };
        match &self.layout {
            Layout::V1(_) => v1::stats(|controller, file| read(controller, file).unwrap_or_default()),
            Layout::V2(_) => v2::stats(|file| read("", file).unwrap_or_default()),
        }
    }

    /// The file [`super::oom_kills`] reads.
    #[must_use]
    pub fn oom_file(&self, group: &Group) -> Option<PathBuf> {
        let (controller, file) = match &self.layout {
            Layout::V1(_) => ("memory", "memory.oom_control"),
            Layout::V2(_) => ("", "memory.events"),
        };
        Some(self.layout.mount_of(controller)?.join(&group.0).join(file))
    }

    /// Kills every process in the group and below, and waits until they are gone. Blocking.
    pub fn kill(&self, group: &Group) -> Result<(), Error> {
        let paths: Vec<PathBuf> = self.layout.mounts().iter().map(|mount| mount.join(&group.0)).collect();
        if let Layout::V2(_) = &self.layout {
            for path in &paths {
                match fs::write(path.join("cgroup.kill"), "1") {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("write", path)(error)),
                    _ => {}
                }
            }
        }
        // a fork bomb cannot outrun us when it may not fork
        let no_forks = Setting { controller: "pids", file: "pids.max", value: "0".into(), optional: true };
        let deadline = Deadline::after(PATIENCE);
        loop {
            let pids: Vec<Pid> = paths.iter().flat_map(|path| processes(path)).collect();
            if pids.is_empty() {
                return Ok(());
            }
            if deadline.passed() {
                return Err(Error::Busy(group.oci_path()));
            }
            self.set(group, &no_forks)?;
            kill_and_wait(&pids, deadline.left());
        }
    }

    /// Removes the group and everything below it, killing what still lives. Blocking.
    pub fn remove(&self, group: &Group) -> Result<(), Error> {
        self.kill(group)?;
        self.layout.mounts().iter().try_for_each(|mount| remove_tree(&mount.join(&group.0)))
    }

    /// Removes everything of the cluster. Blocking.
    pub fn purge(&self) -> Result<(), Error> {
        self.remove(&self.root())
    }
}

/// Every parent hands its controllers down; a leaf must not, or it could hold no process.
fn make_v2(mount: &Path, group: &Path, leaf: bool) -> Result<(), Error> {
    let available = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    let enabled: Vec<&str> = available.split_whitespace().filter(|name| v2::CONTROLLERS.contains(name)).collect();
    let hand_down = |path: &Path| {
        for name in &enabled {
            // best effort: a controller that cannot be had is noticed when a limit needs it
            if let Err(error) = fs::write(path.join("cgroup.subtree_control"), format!("+{name}")) {
                tracing::debug!(%error, controller = name, path = %path.display(), "cgroup controller not enabled");
            }
        }
    };
    let mut path = mount.to_owned();
    hand_down(&path);
    let mut components = group.components().peekable();
    while let Some(component) = components.next() {
        path.push(component);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make", &path)(error)),
            _ => {}
        }
        if !leaf || components.peek().is_some() {
            hand_down(&path);
        }
    }
    Ok(())
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

/// The processes in a cgroup directory and all below it.
fn processes(path: &Path) -> Vec<Pid> {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<Pid> = own.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect();
    for child in directories(path) {
        pids.extend(processes(&child));
    }
    pids
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.flatten().filter(is_dir).map(|entry| entry.path()).collect()
}

/// Kills each process and waits for its end. The pidfd is opened first: it cannot come to mean
/// another process.
fn kill_and_wait(pids: &[Pid], patience: Duration) {
    let deadline = Deadline::after(patience.min(Duration::from_millis(500)));
    for pid in pids {
        let Ok(process) = rustix::process::pidfd_open(*pid, PidfdFlags::empty()) else { continue };
        if rustix::process::pidfd_send_signal(&process, Signal::KILL).is_err() {
            continue; // gone meanwhile
        }
        let mut poll = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        let timeout = rustix::event::Timespec::try_from(deadline.left()).unwrap_or_default();
        if let Err(error) = rustix::event::poll(&mut poll, Some(&timeout)) {
            tracing::debug!(%error, "waiting for a killed process was interrupted");
        }
    }
}

/// Depth first. An emptied v1 group stays busy for a moment after its last process has gone, and
/// the kernel offers nothing to wait on: hence the short retries.
fn remove_tree(path: &Path) -> Result<(), Error> {
    for child in directories(path) {
        remove_tree(&child)?;
    }
    let deadline = Deadline::after(PATIENCE);
    let mut pause = Duration::from_micros(200);
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && !deadline.passed() => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(error) => return Err(failed("remove", path)(error)),
        }
    }
}

struct Deadline(std::time::Instant);

impl Deadline {
    fn after(patience: Duration) -> Self {
        Self(std::time::Instant::now() + patience)
    }

    fn passed(&self) -> bool {
        self.left().is_zero()
    }

    fn left(&self) -> Duration {
        self.0.saturating_duration_since(std::time::Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2_fixture(dir: &Path) -> Tree {
        fs::write(dir.join("cgroup.controllers"), "cpuset cpu io memory hugetlb pids\n").unwrap();
        Tree::new(Layout::V2(dir.to_owned()), "t")
    }

    #[test]
    fn v2_limits_go_to_the_container_and_controllers_to_its_parents() {
        let dir = tempfile::tempdir().unwrap();
        let tree = v2_fixture(dir.path());
        let pod = tree.pod(Qos::Burstable, "u1");
        tree.create_pod(&pod, &Limits::default()).unwrap();
        let limits = Limits { memory: Some(4096), pids: Some(9), ..Limits::default() };
        tree.create_container(&pod.child("c1"), &limits).unwrap();
        let at = dir.path().join("knarr-t/kubepods/burstable/podu1");
        assert!(at.join("cgroup.subtree_control").exists());
        assert!(!at.join("c1/cgroup.subtree_control").exists());
        assert_eq!(fs::read_to_string(at.join("c1/memory.max")).unwrap(), "4096");
        assert_eq!(fs::read_to_string(at.join("c1/pids.max")).unwrap(), "9");
        assert_eq!(tree.oom_file(&pod.child("c1")), Some(at.join("c1/memory.events")));
    }

    #[test]
    fn v2_statistics_come_from_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let tree = v2_fixture(dir.path());
        let pod = tree.pod(Qos::Guaranteed, "u2");
        tree.create_pod(&pod, &Limits::default()).unwrap();
        let at = dir.path().join("knarr-t/kubepods/guaranteed/podu2");
        fs::write(at.join("memory.current"), "5000\n").unwrap();
        fs::write(at.join("memory.stat"), "anon 70\ninactive_file 1000\npgfault 3\n").unwrap();
        fs::write(at.join("cpu.stat"), "usage_usec 12\nuser_usec 1\n").unwrap();
        fs::write(at.join("memory.events"), "low 0\noom 1\noom_kill 2\n").unwrap();
        let stats = tree.stats(&pod);
        assert_eq!((stats.working_set_bytes, stats.cpu_nanoseconds, stats.rss_bytes), (4000, 12_000, 70));
        assert_eq!(super::super::oom_kills(&tree.oom_file(&pod).unwrap()), 2);
    }

    #[test]
    fn killing_a_group_ends_its_processes_and_removing_it_leaves_nothing() {
        let cluster = format!("cgtest{}", std::process::id());
        let tree = Tree::detect(&cluster).unwrap();
        let pod = tree.pod(Qos::BestEffort, "u3");
        let limits = Limits { memory: Some(64 << 20), cpu_shares: Some(2), pids: Some(50), ..Limits::default() };
        tree.create_pod(&pod, &limits).unwrap();
        let leaf = pod.child("c");
        tree.create_container(&leaf, &limits).unwrap();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        tree.add(&leaf, child.id()).unwrap();
        assert!(tree.stats(&pod).pids >= 1);
        tree.purge().unwrap();
        assert!(!child.wait().unwrap().success());
        for mount in tree.layout.mounts() {
            assert!(!mount.join(&tree.root).exists(), "{}", mount.display());
        }
    }
}
