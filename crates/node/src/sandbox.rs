//! The shared namespaces of a pod, held by bind mounts instead of a process.
//!
//! Invariant: `sandbox.json` is written last, so a sandbox that has it is complete; one without is
//! thrown away and made again.
//! Why a thread of its own: `unshare` changes the calling thread for good, so the thread that
//! makes the namespaces ends right after.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::thread::UnshareFlags;

use crate::cgroup::{Group, Limits, Tree};
use crate::runtime::rootfs::unmount;
use crate::runtime::{Error, Sandbox, SandboxSpec};
use crate::shim::process::Identity;
use crate::shim::wire::write_whole;

const DESCRIPTION: &str = "sandbox.json";
const PAUSE: &str = "pause.json";

/// Where sandboxes are kept.
pub(crate) fn directory(run_dir: &Path, uid: &str) -> PathBuf {
    run_dir.join("pods").join(uid)
}

pub(crate) fn group(tree: &Tree, spec: &SandboxSpec) -> Group {
    tree.pod(spec.qos, &spec.pod.uid)
}

/// The sandbox in `dir`, if it is complete.
pub(crate) fn load(dir: &Path) -> Option<Sandbox> {
    let text = fs::read(dir.join(DESCRIPTION)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Makes the sandbox. Blocking.
pub(crate) fn create(run_dir: &Path, tree: &Tree, shim: &[OsString], spec: SandboxSpec) -> Result<Sandbox, Error> {
    let dir = directory(run_dir, &spec.pod.uid);
    if let Some(existing) = load(&dir) {
        return Ok(existing);
    }
    let sandbox = Sandbox { spec, dir };
    let pod = format!("{}/{}", sandbox.spec.pod.namespace, sandbox.spec.pod.name);
    let failed = |error: io::Error| Error::Sandbox { pod: pod.clone(), message: error.to_string() };
    clear(&sandbox.dir).map_err(failed)?; // what an agent left that died here
    tree.create_pod(&group(tree, &sandbox.spec), &sandbox.spec.limits)?;
    populate(&sandbox).map_err(failed)?;
    if sandbox.spec.share_process_namespace && !sandbox.spec.host_pid {
        start_pause(&sandbox, tree, shim)?;
    }
    let text = serde_json::to_vec(&sandbox).map_err(|error| failed(error.into()))?;
    write_whole(&sandbox.dir.join(DESCRIPTION), &text).map_err(failed)?;
    Ok(sandbox)
}

fn populate(sandbox: &Sandbox) -> io::Result<()> {
    fs::create_dir_all(sandbox.dir.join("ns"))?;
    fs::write(sandbox.dir.join("hostname"), format!("{}\n", sandbox.spec.hostname))?;
    if !sandbox.spec.host_ipc {
        let shm = sandbox.dir.join("shm");
        fs::create_dir_all(&shm)?;
        let flags = MountFlags::NOEXEC | MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("shm", &shm, "tmpfs", flags, Some(c"mode=1777,size=65536k"))?;
    }
    std::thread::scope(|scope| {
        let made = scope.spawn(|| make_namespaces(sandbox)).join();
        made.unwrap_or_else(|_| Err(io::Error::other("the thread that makes the namespaces failed")))
    })
}

/// On a thread that ends afterwards.
fn make_namespaces(sandbox: &Sandbox) -> io::Result<()> {
    let spec = &sandbox.spec;
    let mut flags = UnshareFlags::empty();
    let mut names = Vec::new();
    if !spec.host_network {
        flags |= UnshareFlags::NEWNET | UnshareFlags::NEWUTS;
        names.extend(["net", "uts"]);
    }
    if !spec.host_ipc {
        flags |= UnshareFlags::NEWIPC;
        names.push("ipc");
    }
    // SAFETY: no descriptor table is unshared, and this thread does nothing else afterwards
    unsafe { rustix::thread::unshare_unsafe(flags)? };
    if !spec.host_network {
        rustix::system::sethostname(spec.hostname.as_bytes())?;
        raise_loopback()?;
        set_sysctl("net.ipv4.ip_unprivileged_port_start", "0")?;
        set_sysctl("net.ipv4.ping_group_range", "0 2147483647")?;
    }
    for (name, value) in &spec.sysctls {
        set_sysctl(name, value).map_err(|error| io::Error::new(error.kind(), format!("sysctl {name}: {error}")))?;
    }
    for name in names {
        pin(&PathBuf::from(format!("/proc/thread-self/ns/{name}")), &sandbox.dir.join("ns").join(name))?;
    }
    Ok(())
}

/// Keeps a namespace alive by a bind mount.
fn pin(namespace: &Path, at: &Path) -> io::Result<()> {
    File::create(at)?;
    Ok(rustix::mount::mount_bind(namespace, at)?)
}

/// Sysctls are per namespace of the thread that writes them. Both `a.b/c` and `a/b.c` are in use;
/// the first separator says which is meant.
fn set_sysctl(name: &str, value: &str) -> io::Result<()> {
    let dots = name.find('.').unwrap_or(usize::MAX) < name.find('/').unwrap_or(usize::MAX);
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let path: String = if dots { name.chars().map(swap).collect() } else { name.to_owned() };
    fs::write(Path::new("/proc/sys").join(path), value)
}

fn raise_loopback() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: an all-zero ifreq is valid; the kernel reads the name and the flags from it
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
        let socket = std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd());
        if libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The pod's own first process, in a process namespace that is then pinned.
fn start_pause(sandbox: &Sandbox, tree: &Tree, shim: &[OsString]) -> Result<(), Error> {
    let (program, args) = shim.split_first().ok_or_else(|| Error::Sandbox {
        pod: sandbox.spec.pod.name.clone(),
        message: "no shim program was configured".into(),
    })?;
    let failed = Error::io("start the pod's first process");
    let spawn = || -> io::Result<Identity> {
        // SAFETY: only children of this thread get the new process namespace
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWPID)? };
        let mut command = Command::new(program);
        command.args(args).arg("pause").env_clear();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let identity = Identity::of(child.id()).ok_or_else(|| io::Error::other("it ended at once"))?;
        pin(&PathBuf::from(format!("/proc/{}/ns/pid", child.id())), &sandbox.dir.join("ns/pid"))?;
        Ok(identity)
    };
    let spawned = std::thread::scope(|scope| scope.spawn(spawn).join());
    let identity = spawned.unwrap_or_else(|_| Err(io::Error::other("its thread failed"))).map_err(failed)?;
    let text =
        serde_json::to_vec(&identity).map_err(|error| Error::io("note the pod's first process")(error.into()))?;
    write_whole(&sandbox.dir.join(PAUSE), &text).map_err(Error::io("note the pod's first process"))?;
    let group = group(tree, &sandbox.spec).child("pause");
    tree.create_container(&group, &Limits::default())?;
    Ok(tree.add(&group, identity.pid)?)
}

/// Removes the sandbox with its processes and its cgroup. Blocking.
pub(crate) fn remove(sandbox: &Sandbox, tree: &Tree) -> Result<(), Error> {
    let pause: Option<Identity> =
        fs::read(sandbox.dir.join(PAUSE)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    tree.remove(&group(tree, &sandbox.spec))?;
    if let Some(process) = pause.and_then(Identity::open) {
        reap(&process);
    }
    clear(&sandbox.dir).map_err(Error::io(format!("remove {}", sandbox.dir.display())))
}

/// Takes the exit status of an ended process if it is our child, so that it does not linger.
pub(crate) fn reap(process: &impl std::os::fd::AsFd) {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match waitid(WaitId::PidFd(process.as_fd()), options) {
        Ok(_) | Err(rustix::io::Errno::CHILD) => {} // adopted: somebody else's child
        Err(error) => tracing::debug!(%error, "cannot reap an ended process"),
    }
}

/// Unmounts what is pinned and deletes the directory.
pub(crate) fn clear(dir: &Path) -> io::Result<()> {
    for name in ["ns/net", "ns/uts", "ns/ipc", "ns/pid", "shm"] {
        unmount(&dir.join(name))?;
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes `dir` a mount of its own whose mounts do not appear in other mount namespaces.
pub(crate) fn make_private(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let inside =
        rustix::fs::statx(rustix::fs::CWD, dir, rustix::fs::AtFlags::empty(), rustix::fs::StatxFlags::BASIC_STATS)?;
    if !inside.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT) {
        rustix::mount::mount_bind(dir, dir)?;
    }
    Ok(rustix::mount::mount_change(dir, MountPropagationFlags::PRIVATE)?)
}
