//! Starting a container: prepare files, mounts and the cgroup, then hand over to a shim.
//!
//! Invariant: whatever fails, nothing is left behind; the error says what a user can act on.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::net::UnixStream;

use super::oci::{self, DeviceNode, Facts};
use super::spec::{ContainerSpec, Mount, Propagation, Sandbox, Seccomp};
use super::status::{Container, StartError, State};
use super::{Inner, Places, rootfs, user};
use crate::capability::Set;
use crate::cgroup::{DeviceRule, Group};
use crate::sandbox;
use crate::shim::process::Identity;
use crate::shim::wire::{self, Cause, Failure, Plan, Report, Started};

/// The container's own copy of its spec.
pub(super) const SPEC: &str = "spec.json";
pub(super) const CONFIG: &str = "config.json";
pub(super) const TERMINATION: &str = "termination-log";

/// A shim that was started and has not answered yet.
pub(super) struct Spawned {
    pub(super) control: UnixStream,
    pub(super) process: OwnedFd,
}

/// Everything up to the shim's start. Blocking.
pub(super) fn prepare(inner: &Inner, spec: &ContainerSpec, sandbox: &Sandbox) -> Result<Spawned, StartError> {
    let places = inner.places(&spec.id);
    let group = sandbox::group(&inner.tree, &sandbox.spec).child(&spec.id);
    let prepared = write_bundle(inner, spec, sandbox, &places, &group)
        .and_then(|()| spawn(&inner.config.shim, "run", &places.state).map_err(failed("start the shim")));
    if prepared.is_err() {
        discard(inner, &places, &group);
    }
    prepared
}

/// Removes what a failed start left; a failure here is only worth a log line.
pub(super) fn discard(inner: &Inner, places: &Places, group: &Group) {
    if let Err(error) = inner.tree.remove(group) {
        tracing::warn!(error = base::error::chain(&error), "cgroup of a failed container is left");
    }
    if let Err(error) = places.remove() {
        tracing::warn!(%error, "files of a failed container are left");
    }
}

/// The first process of a running container.
fn running(inner: &Inner, id: &str) -> Result<u32, StartError> {
    let found = inner.entry(id).ok().map(|entry| entry.container);
    let found = found.filter(|container| container.state == super::State::Running);
    found.map(|container| container.pid).ok_or_else(|| StartError::create(format!("container {id} is not running")))
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> StartError {
    let what = what.to_owned();
    move |error| StartError::create(format!("cannot {what}: {error}"))
}

fn write_bundle(
    inner: &Inner,
    spec: &ContainerSpec,
    sandbox: &Sandbox,
    places: &Places,
    group: &Group,
) -> Result<(), StartError> {
    fs::create_dir_all(&places.state).map_err(failed("make the container's directory"))?;
    write_json(&places.state.join(SPEC), spec)?;
    if spec.image.layers.is_empty() {
        return Err(StartError::create("the image has no layers"));
    }
    for mount in &spec.mounts {
        if !mount.host.exists() {
            return Err(StartError::create(format!("stat {}: no such file or directory", mount.host.display())));
        }
    }
    let arguments = oci::arguments(spec);
    if arguments.is_empty() {
        return Err(StartError::create("no command specified"));
    }
    let root = places.state.join("rootfs");
    rootfs::mount(&spec.image.layers, &places.data, &root).map_err(failed("mount the root file system"))?;
    let passwd = rootfs::read_within(&root, "/etc/passwd");
    let user = user::resolve(spec, &passwd, &rootfs::read_within(&root, "/etc/group"))?;
    rootfs::make_dir_within(&root, &oci::working_directory(spec)).map_err(failed("make the working directory"))?;

    let security = &spec.security;
    let bounding = inner.bounding;
    let wanted = if security.privileged {
        bounding
    } else {
        Set::requested(&security.add_capabilities, &security.drop_capabilities)
            .map_err(|error| StartError::config(error.to_string()))?
            .within(bounding)
    };
    let filter = seccomp_filter(inner, spec, wanted)?;
    if let Some(filter) = &filter {
        fs::write(places.state.join(wire::FILTER), filter.as_slice()).map_err(failed("write the seccomp filter"))?;
    }
    let devices = devices(spec)?;
    make_group(inner, spec, group, &devices)?;
    let joined = match &spec.joins {
        None => None,
        Some(id) => Some(running(inner, id)?),
    };
    let config = oci::config(&Facts {
        spec,
        sandbox,
        user: &user,
        capabilities: wanted,
        bounding,
        filtered: filter.is_some(),
        rootfs: root,
        cgroup: group.oci_path(),
        cgroup_views: inner.tree.views(group),
        files: well_known_files(spec, sandbox, places).map_err(failed("make the container's files"))?,
        oom_score_adj: spec.oom_score_adj.max(inner.lowest_oom_score),
        joined,
        devices,
    });
    write_json(&places.state.join(CONFIG), &config)?;
    if let Some(dir) = spec.log_path.parent() {
        fs::create_dir_all(dir).map_err(failed("make the log directory"))?;
    }
    write_json(
        &places.state.join(wire::PLAN),
        &Plan {
            log: spec.log_path.clone(),
            tty: spec.tty,
            stdin: spec.stdin,
            stdin_once: spec.stdin_once,
            capabilities: wanted.0,
            oom_file: inner.tree.oom_file(group),
            uid: user.uid,
        },
    )
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), StartError> {
    let what = format!("write {}", path.display());
    let text = serde_json::to_vec(value).map_err(|error| failed(&what)(error.into()))?;
    wire::write_whole(path, &text).map_err(failed(&what))
}

fn seccomp_filter(
    inner: &Inner,
    spec: &ContainerSpec,
    wanted: Set,
) -> Result<Option<std::sync::Arc<Vec<u8>>>, StartError> {
    if spec.security.privileged {
        return Ok(None);
    }
    match &spec.security.seccomp {
        Seccomp::Unconfined => Ok(None),
        Seccomp::RuntimeDefault => inner
            .default_filter(wanted)
            .map(Some)
            .map_err(|error| StartError::create(format!("cannot compile the seccomp profile: {error}"))),
        Seccomp::Localhost(profile) => Err(StartError::config(format!(
            "seccomp profile {} cannot be used: this node knows RuntimeDefault and Unconfined",
            profile.display()
        ))),
    }
}

fn make_group(inner: &Inner, spec: &ContainerSpec, group: &Group, devices: &[DeviceNode]) -> Result<(), StartError> {
    let failed = |error: crate::cgroup::Error| StartError::create(base::error::chain(&error));
    inner.tree.create_container(group, &spec.limits).map_err(failed)?;
    if spec.security.privileged {
        return Ok(()); // a new group inherits: everything allowed
    }
    // making any node is allowed (the capability decides), using only these
    let mut rules = vec![DeviceRule::new('c', None, None, "m"), DeviceRule::new('b', None, None, "m")];
    let usual = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)];
    rules.extend(usual.map(|(major, minor)| DeviceRule::new('c', Some(major), Some(minor), "rwm")));
    rules.push(DeviceRule::new('c', Some(136), None, "rwm")); // terminals
    for node in devices {
        let access = spec.devices.iter().find(|device| device.target == node.path).map_or("rwm", |d| &d.access);
        rules.push(DeviceRule::new(node.kind, Some(node.major), Some(node.minor), access));
    }
    inner.tree.allow_devices(group, &rules).map_err(failed)
}

/// Files the runtime itself puts into a container.
fn well_known_files(spec: &ContainerSpec, sandbox: &Sandbox, places: &Places) -> io::Result<Vec<Mount>> {
    let termination = places.state.join(TERMINATION);
    fs::write(&termination, "")?;
    fs::set_permissions(&termination, fs::Permissions::from_mode(0o666))?;
    let termination_target = match spec.termination_path.as_str() {
        "" => "/dev/termination-log",
        path => path,
    };
    let shm = if sandbox.spec.host_ipc { PathBuf::from("/dev/shm") } else { sandbox.dir.join("shm") };
    let mount = |host: PathBuf, target: &str| Mount {
        host,
        target: target.to_owned(),
        read_only: false,
        propagation: Propagation::Private,
    };
    let mut files = vec![mount(termination, termination_target), mount(shm, "/dev/shm")];
    let etc = [
        (sandbox.hosts(), "/etc/hosts"),
        (sandbox.resolv_conf(), "/etc/resolv.conf"),
        (sandbox.dir.join("hostname"), "/etc/hostname"),
    ];
    files.extend(
        etc.into_iter()
            .filter(|(host, _)| host.exists())
            .map(|(host, target)| Mount { read_only: spec.security.read_only_root, ..mount(host, target) }),
    );
    Ok(files)
}

/// All of the host's devices for a privileged container, otherwise those asked for.
fn devices(spec: &ContainerSpec) -> Result<Vec<DeviceNode>, StartError> {
    let mut nodes = Vec::new();
    if spec.security.privileged {
        host_devices(Path::new("/dev"), &mut nodes);
    }
    for device in &spec.devices {
        let node = node(&device.host, &device.target)
            .ok_or_else(|| StartError::create(format!("{} is not a device of this node", device.host.display())))?;
        nodes.retain(|known| known.path != node.path);
        nodes.push(node);
    }
    Ok(nodes)
}

fn host_devices(dir: &Path, nodes: &mut Vec<DeviceNode>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = ["pts", "shm", "fd", "mqueue", "console", "ptmx", "tty"];
        if skipped.iter().any(|skipped| name == *skipped) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => host_devices(&path, nodes),
            Ok(_) => nodes.extend(path.to_str().and_then(|target| node(&path, target))),
            Err(_) => {}
        }
    }
}

fn node(host: &Path, target: &str) -> Option<DeviceNode> {
    let found = fs::symlink_metadata(host).ok()?;
    let kind = match found.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return None,
    };
    let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
    Some(DeviceNode { path: target.to_owned(), kind, major, minor, mode: found.mode() & 0o7777 })
}

/// Starts a shim with a control socket as its standard input.
pub(super) fn spawn(shim: &[std::ffi::OsString], verb: &str, directory: &Path) -> io::Result<Spawned> {
    let (program, args) = shim.split_first().ok_or_else(|| io::Error::other("no shim program was configured"))?;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let errors = fs::File::options().create(true).append(true).open(directory.join("shim.log"))?;
    let mut command = Command::new(program);
    command.args(args).arg(verb).arg(directory).env_clear();
    let child = command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).stderr(Stdio::from(errors)).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the shim has no process id"))?;
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    let control = std::os::unix::net::UnixStream::from(ours);
    control.set_nonblocking(true)?;
    Ok(Spawned { control: UnixStream::from_std(control)?, process })
}

/// The next message of a shim; an error when it died without one.
pub(super) async fn next_report(control: &UnixStream) -> io::Result<(Report, Vec<OwnedFd>)> {
    let mut buffer = vec![0; wire::PACKET];
    let (length, descriptors) =
        control.async_io(tokio::io::Interest::READABLE, || wire::receive(control, &mut buffer)).await?;
    if length == 0 {
        return Err(io::Error::other("the shim ended without an answer"));
    }
    Ok((serde_json::from_slice(&buffer[..length])?, descriptors))
}

/// The error a user sees for a failed start.
pub(super) fn start_error(failure: Failure) -> StartError {
    match failure.kind {
        Cause::NotFound | Cause::PermissionDenied | Cause::Exec => {
            StartError::start(format!("failed to start container: {}", failure.message))
        }
        Cause::Create => StartError::create(format!("failed to create container: {}", failure.message)),
    }
}

/// What the shim wrote about a container that runs or ran.
pub(super) fn started(places: &Places, spec: ContainerSpec) -> io::Result<(Container, Identity)> {
    let started: Started = serde_json::from_slice(&fs::read(places.state.join(wire::STARTED))?)?;
    let plan: Plan = serde_json::from_slice(&fs::read(places.state.join(wire::PLAN))?)?;
    let container = Container {
        spec: std::sync::Arc::new(spec),
        pid: started.container.pid,
        started: started.at,
        state: State::Running,
        uid: plan.uid,
        termination_log: places.state.join(TERMINATION),
    };
    Ok((container, started.shim))
}
