//! Rules of security contexts of pods and containers, and of the operating systems they are for.

use std::sync::OnceLock;

use base::name::{self, range_message};
use regex::Regex;
use serde_json::Value;

use super::Faults;
use super::golang;
use super::pod::Context;
use super::source::descending;
use crate::json::{at, flag, has, int, list, text};
use crate::path::Path;

/// A user or group number.
fn identity(context: &Value, name: &str, path: &Path<'_>, faults: &mut Faults) {
    if let Some(number) = int(context, name) {
        group_number(number, &path.field(name), faults);
    }
}

pub(crate) fn group_number(number: i64, path: &Path<'_>, faults: &mut Faults) {
    if !(0..=i64::from(i32::MAX)).contains(&number) {
        faults.invalid(path, number, range_message(0, i64::from(i32::MAX)));
    }
}

/// The security context of a container.
pub(crate) fn container(context: &Value, host_users: bool, path: &Path<'_>, faults: &mut Faults) {
    if context.is_null() {
        return;
    }
    identity(context, "runAsUser", path, faults);
    identity(context, "runAsGroup", path, faults);
    faults.any_of(context, "procMount", path, &["Default", "Unmasked"]);
    if host_users && text(context, "procMount") == "Unmasked" {
        faults.invalid(&path.field("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    seccomp(at(context, "seccompProfile"), &path.field("seccompProfile"), faults);
    if at(context, "allowPrivilegeEscalation") == &Value::Bool(false) {
        if flag(context, "privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            faults.shown(path, &golang::print("SecurityContext", context), detail);
        }
        let added = list(at(context, "capabilities"), "add");
        for _ in added.iter().filter(|capability| *capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            faults.shown(path, &golang::print("SecurityContext", context), detail);
        }
    }
    windows_options(at(context, "windowsOptions"), &path.field("windowsOptions"), faults);
    app_armor(at(context, "appArmorProfile"), &path.field("appArmorProfile"), faults);
}

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn seccomp(profile: &Value, path: &Path<'_>, faults: &mut Faults) {
    if profile.is_null() {
        return;
    }
    match text(profile, "type") {
        "" => faults.required(&path.field("type"), "type is required when seccompProfile is set"),
        kind if !PROFILES.contains(&kind) => faults.not_supported(&path.field("type"), kind, PROFILES),
        _ => {}
    }
    let on_local = path.field("localhostProfile");
    match (text(profile, "type"), at(profile, "localhostProfile").as_str()) {
        ("Localhost", None) => faults.required(&on_local, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(local)) => descending(local, &on_local, faults),
        (_, Some(_)) => {
            let shown = golang::print("SeccompProfile", profile);
            faults.shown(&on_local, &shown, "can only be set when seccomp type is Localhost");
        }
        (_, None) => {}
    }
}

const LONGEST_PROFILE: usize = 4095;

fn app_armor(profile: &Value, path: &Path<'_>, faults: &mut Faults) {
    if profile.is_null() {
        return;
    }
    let on_local = path.field("localhostProfile");
    let local = at(profile, "localhostProfile").as_str();
    match (text(profile, "type"), local) {
        ("Localhost", None) => faults.required(&on_local, "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(local)) => {
            if local.trim() != local {
                faults.invalid(&on_local, local, "must not be padded with whitespace");
            } else if local.is_empty() {
                faults.required(&on_local, "must be set when AppArmor type is Localhost");
            }
            if local.len() > LONGEST_PROFILE {
                faults.too_long(&on_local, LONGEST_PROFILE);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(local)) => {
            faults.invalid(&on_local, local, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => faults.required(&path.field("type"), "type is required when appArmorProfile is set"),
        (other, _) => faults.not_supported(&path.field("type"), other, PROFILES),
    }
}

/// The security context of a pod.
pub(crate) fn pod(context: &Context<'_>, path: &Path<'_>, faults: &mut Faults) {
    let spec = context.spec;
    let security = at(spec, "securityContext");
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        identity(security, name, path, faults);
    }
    let groups = path.field("supplementalGroups");
    for (index, group) in list(security, "supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
        group_number(group, &groups.index(index), faults);
    }
    if flag(spec, "shareProcessNamespace") && flag(spec, "hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        faults.invalid(&path.field("shareProcessNamespace"), true, detail);
    }
    sysctls(context, security, &path.field("sysctls"), faults);
    faults.any_of(security, "fsGroupChangePolicy", path, &["Always", "OnRootMismatch"]);
    seccomp(at(security, "seccompProfile"), &path.field("seccompProfile"), faults);
    windows_options(at(security, "windowsOptions"), &path.field("windowsOptions"), faults);
    app_armor(at(security, "appArmorProfile"), &path.field("appArmorProfile"), faults);
    faults.any_of(security, "supplementalGroupsPolicy", path, &["Merge", "Strict"]);
    let policies: &[&str] = if context.lenient.selinux { &["MountOption", "Recursive"] } else { &["Recursive"] };
    faults.any_of(security, "seLinuxChangePolicy", path, policies);
}

const SYSCTL: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

fn is_sysctl(name: &str) -> bool {
    let segment = |part: &str| {
        let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = part.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(segment)
}

/// The namespace of a kernel setting that is not the host's alone.
fn shared_with_host(sysctl: &str, spec: &Value) -> Option<&'static str> {
    // Both dots and slashes separate; which comes first decides.
    let slashed = sysctl.find(['.', '/']).is_some_and(|place| sysctl.as_bytes()[place] == b'/');
    let normal = if slashed {
        sysctl
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    } else {
        sysctl.to_owned()
    };
    let plain = normal.split('*').next().unwrap_or("");
    let ipc = [
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.shm",
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.msg",
    ];
    if plain.starts_with("net.") && flag(spec, "hostNetwork") {
        Some("hostNetwork")
    } else if (ipc.contains(&plain) || plain.starts_with("fs.mqueue.")) && flag(spec, "hostIPC") {
        Some("hostIPC")
    } else {
        None
    }
}

/// Whether a pod sets what belongs to its host.
pub(crate) fn sets_host_sysctls(spec: &Value) -> bool {
    list(at(spec, "securityContext"), "sysctls")
        .iter()
        .any(|sysctl| shared_with_host(text(sysctl, "name"), spec).is_some())
}

fn sysctls(context: &Context<'_>, security: &Value, above: &Path<'_>, faults: &mut Faults) {
    let mut seen = Vec::new();
    for (index, sysctl) in list(security, "sysctls").iter().enumerate() {
        let path = above.index(index);
        let (name, path) = (text(sysctl, "name"), path.field("name"));
        if name.is_empty() {
            faults.required(&path, "");
        } else if !is_sysctl(name) {
            faults.invalid(&path, name, format!("must have at most 253 characters and match regex {SYSCTL}"));
        } else if seen.contains(&name) {
            faults.duplicate(&path, name);
        }
        if let Some(which) = shared_with_host(name, context.spec).filter(|_| !context.lenient.host_sysctls) {
            faults.invalid(&path, name, format!("may not be specified when '{which}' is true"));
        }
        seen.push(name);
    }
}

const LONGEST_SPEC: usize = 64 * 1024;
const LONGEST_DOMAIN: usize = 256;
const LONGEST_USER: usize = 104;

fn windows_options(options: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(name) = at(options, "gmsaCredentialSpecName").as_str() {
        faults.named(&path.field("gmsaCredentialSpecName"), name, name::dns_subdomain);
    }
    if let Some(spec) = at(options, "gmsaCredentialSpec").as_str() {
        let path = path.field("gmsaCredentialSpec");
        if spec.is_empty() {
            faults.invalid(&path, spec, "gmsaCredentialSpec cannot be an empty string");
        } else if spec.len() > LONGEST_SPEC {
            faults.invalid(&path, spec, "gmsaCredentialSpec size must be under 64 KiB");
        }
    }
    if let Some(user) = at(options, "runAsUserName").as_str() {
        windows_user(user, &path.field("runAsUserName"), faults);
    }
}

fn windows_user(text: &str, path: &Path<'_>, faults: &mut Faults) {
    let mut say = |detail: &str| faults.invalid(path, text, format!("runAsUserName{detail}"));
    if text.is_empty() {
        return say(" cannot be an empty string");
    }
    if text.chars().any(|c| c.is_ascii_control()) {
        return say(" cannot contain control characters");
    }
    let (domain, user) = match text.split_once('\\') {
        None => (None, text),
        Some((_, rest)) if rest.contains('\\') => return say(" cannot contain more than one backslash"),
        Some((domain, user)) => (Some(domain), user),
    };
    if let Some(domain) = domain {
        if domain.len() >= LONGEST_DOMAIN {
            say("'s Domain length must be under 256 characters");
        }
        if !is_windows_domain(domain) {
            say("'s Domain doesn't match the NetBios nor the DNS format");
        }
    }
    if user.is_empty() {
        say("'s User cannot be empty");
    } else if user.len() > LONGEST_USER {
        say("'s User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        say("'s User cannot contain only periods or spaces");
    }
    if user.contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']']) {
        say("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]");
    }
}

fn is_windows_domain(domain: &str) -> bool {
    static NET_BIOS: OnceLock<Regex> = OnceLock::new();
    static DNS: OnceLock<Regex> = OnceLock::new();
    let make = |text: &str| Regex::new(text).expect("invariant: the pattern is right");
    let label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
    let net_bios = NET_BIOS.get_or_init(|| make(r#"^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$"#));
    let dns = DNS.get_or_init(|| make(&format!(r"^{label}(?:\.{label})*$")));
    net_bios.is_match(domain) || dns.is_match(domain)
}

/// All containers of a pod with the list they stand in, in the order upstream visits them.
pub(crate) fn all_containers(spec: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |kind| list(spec, kind).iter().enumerate().map(move |(index, value)| (kind, index, value)))
}

/// Containers that run on a Windows host itself: all or none.
pub(crate) fn host_processes(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let of = |owner: &Value| at(at(at(owner, "securityContext"), "windowsOptions"), "hostProcess").as_bool();
    let own = of(spec);
    let (mut count, mut on_host) = (0, 0);
    for (kind, index, container) in all_containers(spec) {
        count += 1;
        let this = of(container);
        if let (Some(own), Some(this)) = (own, this)
            && own != this
        {
            let list = path.field(kind);
            let place = list.index(index);
            let context = place.field("securityContext");
            let detail = format!("pod hostProcess value must be identical if both are specified, was {own}");
            faults.invalid(&context.field("windowsOptions").field("hostProcess"), this, detail);
        }
        on_host += usize::from(this.or(own) == Some(true));
    }
    if on_host == 0 {
        return;
    }
    if on_host != count {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        faults.invalid(path, "", detail);
    }
    if !flag(spec, "hostNetwork") {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        faults.invalid(&path.field("hostNetwork"), false, detail);
    }
}

/// A user namespace of the pod's own goes with no other namespace of the host.
pub(crate) fn host_users(context: &Context<'_>, path: &Path<'_>, faults: &mut Faults) {
    let spec = context.spec;
    if context.host_users {
        return;
    }
    let detail = "when `hostUsers` is false";
    if flag(spec, "hostNetwork") && !context.lenient.user_namespace_network {
        faults.forbidden(&path.field("hostNetwork"), detail);
    }
    if flag(spec, "hostPID") {
        faults.forbidden(&path.field("HostPID"), detail);
    }
    if flag(spec, "hostIPC") {
        faults.forbidden(&path.field("HostIPC"), detail);
    }
    if !context.lenient.user_namespace_devices {
        for (kind, index, _) in all_containers(spec).filter(|(_, _, c)| !list(c, "volumeDevices").is_empty()) {
            faults.forbidden(&path.field(kind).index(index).field("volumeDevices"), detail);
        }
    }
}

/// Members of a pod's security context that Windows does not know, in upstream's order, and whether they stand beside
/// it in the spec.
const NOT_FOR_WINDOWS: &[(&str, bool)] = &[
    ("appArmorProfile", false),
    ("seLinuxOptions", false),
    ("hostUsers", true),
    ("hostPID", true),
    ("hostIPC", true),
    ("seccompProfile", false),
    ("fsGroup", false),
    ("fsGroupChangePolicy", false),
    ("sysctls", false),
    ("shareProcessNamespace", true),
    ("runAsUser", false),
    ("runAsGroup", false),
    ("supplementalGroups", false),
    ("supplementalGroupsPolicy", false),
    ("seLinuxChangePolicy", false),
];

const CONTAINER_NOT_FOR_WINDOWS: &[&str] = &[
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// What the named operating system cannot have.
pub(crate) fn operating_system(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let security = path.field("securityContext");
    match text(at(spec, "os"), "name") {
        "" => faults.required(&path.field("os").field("name"), ""),
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            if has(at(spec, "securityContext"), "windowsOptions") {
                faults.forbidden(&security.field("windowsOptions"), detail);
            }
            for (kind, index, container) in all_containers(spec) {
                if has(at(container, "securityContext"), "windowsOptions") {
                    let (list, context) = (path.field(kind), "securityContext");
                    faults.forbidden(&list.index(index).field(context).field("windowsOptions"), detail);
                }
            }
        }
        "windows" => {
            let detail = "cannot be set for a windows pod";
            for (name, beside) in NOT_FOR_WINDOWS {
                let value = if *beside { at(spec, name) } else { at(at(spec, "securityContext"), name) };
                let set = match *name {
                    "hostPID" | "hostIPC" => value == &Value::Bool(true),
                    "sysctls" => value.as_array().is_some_and(|list| !list.is_empty()),
                    _ => !value.is_null(),
                };
                if set {
                    let above = if *beside { path } else { &security };
                    faults.forbidden(&above.field(name), detail);
                }
            }
            for (kind, index, container) in all_containers(spec) {
                let list = path.field(kind);
                let place = list.index(index);
                for name in CONTAINER_NOT_FOR_WINDOWS {
                    if has(at(container, "securityContext"), name) {
                        faults.forbidden(&place.field("securityContext").field(name), detail);
                    }
                }
            }
        }
        other => faults.not_supported(&path.field("os"), other, &["linux", "windows"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kernel_settings_follow_their_pattern() {
        let pattern = Regex::new(SYSCTL).unwrap();
        for name in ["a", "net.core.somaxconn", "net/ipv4/conf", "a-b.c_d", "a.", ".a", "A", "a..b", "-a", "a_", ""] {
            assert_eq!(is_sysctl(name), pattern.is_match(name), "{name}");
        }
    }
}
