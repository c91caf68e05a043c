//! The OCI configuration of a container: a function of its spec and what was found out.
//!
//! Invariant: the process is complete (user, capabilities, environment, no-new-privileges); the
//! capabilities written here exceed the wanted ones by what loading the seccomp filter needs, and
//! the shim gives the excess up.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::spec::{ContainerSpec, Mount, Propagation, Sandbox};
use super::user::User;
use crate::capability::Set;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Everything the configuration depends on.
pub(super) struct Facts<'a> {
    pub(super) spec: &'a ContainerSpec,
    pub(super) sandbox: &'a Sandbox,
    pub(super) user: &'a User,
    /// What the program may keep.
    pub(super) capabilities: Set,
    /// What this machine can give at all.
    pub(super) bounding: Set,
    /// A filter lies beside the configuration.
    pub(super) filtered: bool,
    pub(super) rootfs: PathBuf,
    pub(super) cgroup: PathBuf,
    /// The parts of a v1 cgroup the container is shown; with v2 it is shown the whole.
    pub(super) cgroup_views: Option<Vec<(&'static str, PathBuf)>>,
    /// Files that exist and are mounted at well-known places.
    pub(super) files: Vec<Mount>,
    pub(super) oom_score_adj: i32,
    /// The process whose process namespace is joined.
    pub(super) joined: Option<u32>,
    /// Device nodes for a privileged container or asked for: path, `c` or `b`, major, minor, mode.
    pub(super) devices: Vec<DeviceNode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    pub(super) kind: char,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) mode: u32,
}

pub(super) fn config(facts: &Facts<'_>) -> Value {
    let security = &facts.spec.security;
    let open = security.privileged || security.unmasked_proc;
    let devices: Vec<Value> = facts.devices.iter().map(device).collect();
    let mut linux = json!({
        "cgroupsPath": facts.cgroup,
        "namespaces": namespaces(facts.sandbox, facts.joined),
        "devices": devices,
    });
    if !open {
        // each costs a dozen system calls at the start; the host's /proc has what the container's has
        let existing =
            |paths: &[&'static str]| paths.iter().copied().filter(|path| Path::new(path).exists()).collect::<Vec<_>>();
        linux["maskedPaths"] = json!(existing(&MASKED));
        linux["readonlyPaths"] = json!(existing(&READ_ONLY));
    }
    if facts.spec.mounts.iter().any(|mount| mount.propagation == Propagation::Bidirectional) {
        linux["rootfsPropagation"] = json!("shared");
    }
    json!({
        "ociVersion": "1.1.0",
        "root": { "path": facts.rootfs, "readonly": security.read_only_root },
        "process": process(facts),
        "mounts": mounts(facts),
        "linux": linux,
        "annotations": facts.spec.annotations,
    })
}

fn process(facts: &Facts<'_>) -> Value {
    let security = &facts.spec.security;
    let user = facts.user;
    let loader = if facts.filtered {
        [Set::named("SYS_ADMIN"), Set::named("SETPCAP")].into_iter().flatten().fold(Set::default(), Set::with)
    } else {
        Set::named("SETPCAP").unwrap_or_default()
    };
    let names = facts.capabilities.with(loader).within(facts.bounding).names();
    json!({
        "terminal": facts.spec.tty,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
        "args": arguments(facts.spec),
        "env": environment(facts.spec, facts.sandbox),
        "cwd": working_directory(facts.spec),
        "capabilities": { "bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": [] },
        "rlimits": [],
        "noNewPrivileges": !security.allow_privilege_escalation && !security.privileged,
        "oomScoreAdj": facts.oom_score_adj,
    })
}

/// Command and arguments: the pod's command takes the image's whole command line away.
pub(super) fn arguments(spec: &ContainerSpec) -> Vec<String> {
    let image = &spec.image.config;
    if !spec.command.is_empty() {
        return spec.command.iter().chain(&spec.args).cloned().collect();
    }
    let args = if spec.args.is_empty() { &image.cmd } else { &spec.args };
    image.entrypoint.iter().chain(args).cloned().collect()
}

pub(super) fn working_directory(spec: &ContainerSpec) -> String {
    let asked = spec.working_dir.clone().filter(|dir| !dir.is_empty());
    let dir = asked.unwrap_or_else(|| spec.image.config.working_dir.clone());
    if dir.starts_with('/') { dir } else { format!("/{dir}") }
}

/// The image's environment, then the host name, then the pod's; a later value replaces an earlier.
fn environment(spec: &ContainerSpec, sandbox: &Sandbox) -> Vec<String> {
    let mut env: Vec<(String, String)> = vec![("PATH".into(), DEFAULT_PATH.into())];
    let mut set = |name: &str, value: &str| match env.iter_mut().find(|(known, _)| known == name) {
        Some(entry) => value.clone_into(&mut entry.1),
        None => env.push((name.to_owned(), value.to_owned())),
    };
    if spec.tty {
        set("TERM", "xterm");
    }
    for entry in &spec.image.config.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(name, value);
    }
    set("HOSTNAME", &sandbox.spec.hostname);
    spec.env.iter().for_each(|(name, value)| set(name, value));
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn namespaces(sandbox: &Sandbox, joined: Option<u32>) -> Value {
    let spec = &sandbox.spec;
    let pinned = |name: &str| sandbox.dir.join("ns").join(name);
    let mut list = vec![json!({ "type": "mount" }), json!({ "type": "cgroup" })];
    if !spec.host_network {
        list.push(json!({ "type": "network", "path": pinned("net") }));
        list.push(json!({ "type": "uts", "path": pinned("uts") }));
    }
    if !spec.host_ipc {
        list.push(json!({ "type": "ipc", "path": pinned("ipc") }));
    }
    if spec.share_process_namespace && !spec.host_pid {
        list.push(json!({ "type": "pid", "path": pinned("pid") }));
    } else if let Some(pid) = joined.filter(|_| !spec.host_pid) {
        list.push(json!({ "type": "pid", "path": format!("/proc/{pid}/ns/pid") }));
    } else if !spec.host_pid {
        list.push(json!({ "type": "pid" }));
    }
    Value::Array(list)
}

fn mounts(facts: &Facts<'_>) -> Value {
    let privileged = facts.spec.security.privileged;
    let sys = if privileged { "rw" } else { "ro" };
    let special = |target: &str, kind: &str, options: &[&str]| json!({ "destination": target, "type": kind, "source": kind, "options": options });
    let mut list = vec![
        special("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        special("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        special("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        special("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        special("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys]),
    ];
    match &facts.cgroup_views {
        None => list.push(special("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", sys])),
        Some(views) => {
            list.push(special("/sys/fs/cgroup", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755", "size=64k"]));
            list.extend(views.iter().map(|(name, host)| {
                json!({
                    "destination": format!("/sys/fs/cgroup/{name}"), "type": "bind", "source": host,
                    "options": ["bind", "rprivate", "nosuid", "noexec", "nodev", sys],
                })
            }));
        }
    }
    // a pod's mount replaces one of ours at the same place
    let taken = |target: &str| facts.spec.mounts.iter().any(|mount| same_place(&mount.target, target));
    list.retain(|mount| !taken(mount["destination"].as_str().unwrap_or_default()));
    list.extend(facts.files.iter().filter(|file| !taken(&file.target)).map(bind));
    let mut asked: Vec<&Mount> = facts.spec.mounts.iter().collect();
    asked.sort_by_key(|mount| Path::new(&mount.target).components().count()); // parents first
    list.extend(asked.into_iter().map(bind));
    Value::Array(list)
}

fn same_place(one: &str, other: &str) -> bool {
    Path::new(one).components().eq(Path::new(other).components())
}

fn bind(mount: &Mount) -> Value {
    let propagation = match mount.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    let access = if mount.read_only { "ro" } else { "rw" };
    json!({
        "destination": mount.target, "type": "bind", "source": mount.host,
        "options": ["rbind", propagation, access],
    })
}

fn device(node: &DeviceNode) -> Value {
    json!({
        "path": node.path, "type": node.kind.to_string(), "major": node.major, "minor": node.minor,
        "fileMode": node.mode, "uid": 0, "gid": 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    fn spec() -> ContainerSpec {
        let mut image = Image::default();
        image.config.entrypoint = vec!["/entry".into()];
        image.config.cmd = vec!["default".into()];
        image.config.env = vec!["PATH=/bin".into(), "A=image".into()];
        ContainerSpec { image, ..ContainerSpec::default() }
    }

    fn sandbox() -> Sandbox {
        let mut sandbox = Sandbox { spec: super::super::SandboxSpec::default(), dir: "/run/p".into() };
        sandbox.spec.hostname = "host".into();
        sandbox
    }

    fn made(spec: &ContainerSpec, sandbox: &Sandbox) -> Value {
        config(&Facts {
            joined: None,
            spec,
            sandbox,
            user: &User::default(),
            capabilities: Set::named("KILL").unwrap(),
            bounding: Set::ALL,
            filtered: true,
            rootfs: "/r".into(),
            cgroup: "/c".into(),
            cgroup_views: None,
            files: vec![Mount {
                host: "/run/p/hosts".into(),
                target: "/etc/hosts".into(),
                read_only: false,
                propagation: Propagation::Private,
            }],
            oom_score_adj: 0,
            devices: Vec::new(),
        })
    }

    #[test]
    fn command_and_arguments_replace_the_images_as_upstream_has_it() {
        let with = |command: &[&str], args: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            arguments(&ContainerSpec { command: owned(command), args: owned(args), ..spec() }).join(" ")
        };
        assert_eq!(with(&[], &[]), "/entry default");
        assert_eq!(with(&[], &["x"]), "/entry x");
        assert_eq!(with(&["sh"], &[]), "sh");
        assert_eq!(with(&["sh"], &["-c"]), "sh -c");
    }

    #[test]
    fn the_pods_environment_wins_over_the_images() {
        let spec = ContainerSpec { env: vec![("A".into(), "pod".into()), ("B".into(), "2".into())], ..spec() };
        assert_eq!(environment(&spec, &sandbox()), ["PATH=/bin", "A=pod", "HOSTNAME=host", "B=2"]);
    }

    #[test]
    fn the_process_keeps_what_the_filter_needs_and_no_more() {
        let made = made(&spec(), &sandbox());
        assert_eq!(made["process"]["capabilities"]["bounding"], json!(["CAP_KILL", "CAP_SETPCAP", "CAP_SYS_ADMIN"]));
        assert_eq!(made["process"]["noNewPrivileges"], json!(true));
    }

    #[test]
    fn a_pods_mount_takes_the_place_of_ours() {
        let mount = Mount {
            host: "/mine".into(),
            target: "/etc/hosts/".into(),
            read_only: true,
            propagation: Propagation::Private,
        };
        let made = made(&ContainerSpec { mounts: vec![mount], ..spec() }, &sandbox());
        let hosts: Vec<&Value> = made["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|m| m["destination"].as_str().unwrap().starts_with("/etc/hosts"))
            .collect();
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0]["source"], "/mine");
        assert_eq!(hosts[0]["options"], json!(["rbind", "rprivate", "ro"]));
    }

    #[test]
    fn host_namespaces_are_joined_by_not_being_named() {
        let mut sandbox = sandbox();
        sandbox.spec.host_network = true;
        sandbox.spec.host_pid = true;
        sandbox.spec.host_ipc = true;
        assert_eq!(made(&spec(), &sandbox)["linux"]["namespaces"], json!([{"type": "mount"}, {"type": "cgroup"}]));
    }
}
