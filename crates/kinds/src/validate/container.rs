//! Rules of containers: names, images, ports, environment, mounts, resources, security.

use base::{Quantity, name};
use serde_json::Value;

use super::Faults;
use super::probe;
use super::volume::Volumes;
use crate::json::{at, flag, has, int, is_empty, list, members, text};
use crate::path::Path;

/// What a container may have depends on where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Main,
    Init,
    /// An init container that keeps running.
    Sidecar,
    Ephemeral,
}

pub(crate) fn check(spec: &Value, volumes: &Volumes<'_>, path: &Path<'_>, faults: &mut Faults) {
    let mut names = Vec::new();
    let mut host_ports = Vec::new();
    let host_network = flag(spec, "hostNetwork");
    let containers = path.field("containers");
    if list(spec, "containers").is_empty() {
        faults.required(&containers, "");
    }
    let restarts = |container: &Value| text(container, "restartPolicy") == "Always";
    for (field, is_init) in [("containers", false), ("initContainers", true)] {
        let above = path.field(field);
        let mut ports_here = Vec::new();
        for (index, container) in list(spec, field).iter().enumerate() {
            let place = match (is_init, restarts(container)) {
                (false, _) => Place::Main,
                (true, true) => Place::Sidecar,
                (true, false) => Place::Init,
            };
            let path = above.index(index);
            common(container, place, volumes, &path, faults);
            unique_name(container, &mut names, &path, faults);
            // Init containers that end may share host ports with each other.
            let taken = if place == Place::Init { &mut ports_here } else { &mut host_ports };
            used_host_ports(container, host_network, taken, &path, faults);
        }
    }
}

/// Ephemeral containers, which only a running pod has.
pub(crate) fn ephemeral(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("ephemeralContainers");
    let others = || list(spec, "containers").iter().chain(list(spec, "initContainers"));
    let mut names: Vec<&str> = others().map(|container| text(container, "name")).collect();
    for (index, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        let path = above.index(index);
        common(container, Place::Ephemeral, &Volumes::of(spec), &path, faults);
        unique_name(container, &mut names, &path, faults);
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others().any(|container| text(container, "name") == target) {
            faults.push(crate::FieldError::not_found(path.field("targetContainerName"), target));
        }
        for name in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources"] {
            if !is_empty(at(container, name)) {
                faults.forbidden(&path.field(name), "cannot be set for an Ephemeral Container");
            }
        }
    }
}

fn unique_name<'v>(container: &'v Value, names: &mut Vec<&'v str>, path: &Path<'_>, faults: &mut Faults) {
    let name = text(container, "name");
    if !name.is_empty() && names.contains(&name) {
        faults.duplicate(&path.field("name"), name);
    }
    names.push(name);
}

fn common(container: &Value, place: Place, volumes: &Volumes<'_>, path: &Path<'_>, faults: &mut Faults) {
    faults.required_name(&path.field("name"), text(container, "name"), name::dns_label);
    match text(container, "image") {
        "" => faults.required(&path.field("image"), ""),
        image if image.trim() != image => {
            faults.invalid(&path.field("image"), image, "must not have leading or trailing whitespace");
        }
        _ => {}
    }
    for field in ["imagePullPolicy", "terminationMessagePolicy"] {
        let supported: &[&str] = match field {
            "imagePullPolicy" => &["Always", "IfNotPresent", "Never"],
            _ => &["FallbackToLogsOnError", "File"],
        };
        faults.one_of(container, field, path, supported);
    }
    ports(container, path, faults);
    environment(container, path, faults);
    mounts(container, volumes, path, faults);
    resources(at(container, "resources"), &path.field("resources"), faults);
    security(at(container, "securityContext"), &path.field("securityContext"), faults);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let value = at(container, name);
        if place == Place::Init && !value.is_null() {
            faults.forbidden(&path.field(name), "may not be set for init containers without restartPolicy=Always");
        } else if place != Place::Ephemeral {
            probe::check(name, value, &path.field(name), faults);
        }
    }
    let lifecycle = at(container, "lifecycle");
    if place == Place::Init && !lifecycle.is_null() {
        faults.forbidden(&path.field("lifecycle"), "may not be set for init containers without restartPolicy=Always");
    } else if place != Place::Ephemeral {
        probe::lifecycle(lifecycle, &path.field("lifecycle"), faults);
    }
}

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

fn ports(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("ports");
    let mut names = Vec::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = above.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            match name::port_name(name) {
                Err(reason) => faults.invalid(&path.field("name"), name, reason),
                Ok(()) if names.contains(&name) => faults.duplicate(&path.field("name"), name),
                Ok(()) => names.push(name),
            }
        }
        match int(port, "containerPort").unwrap_or(0) {
            0 => faults.required(&path.field("containerPort"), ""),
            number => port_number(number, &path.field("containerPort"), faults),
        }
        if let Some(number) = int(port, "hostPort").filter(|number| *number != 0) {
            port_number(number, &path.field("hostPort"), faults);
        }
        let host = text(port, "hostIP");
        if !host.is_empty() {
            faults.named(&path.field("hostIP"), host, name::ip);
        }
        faults.one_of(port, "protocol", &path, PROTOCOLS);
    }
}

pub(crate) fn port_number(number: i64, path: &Path<'_>, faults: &mut Faults) {
    if let Err(reason) = name::port_number(number) {
        faults.invalid(path, number, reason);
    }
}

fn used_host_ports(
    container: &Value,
    host_network: bool,
    taken: &mut Vec<String>,
    path: &Path<'_>,
    faults: &mut Faults,
) {
    let above = path.field("ports");
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = above.index(index);
        let host = int(port, "hostPort").unwrap_or(0);
        if host_network && host != 0 && Some(host) != int(port, "containerPort") {
            let number = int(port, "containerPort").unwrap_or(0);
            faults.invalid(&path.field("containerPort"), number, "must match `hostPort` when `hostNetwork` is true");
        }
        if host == 0 {
            continue;
        }
        let used = format!("{}/{}/{host}", text(port, "protocol"), text(port, "hostIP"));
        if taken.contains(&used) {
            faults.duplicate(&path.field("hostPort"), used);
        } else {
            taken.push(used);
        }
    }
}

const SOURCES: &[&str] = &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
const POD_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn environment(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("env");
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = above.index(index);
        faults.required_name(&path.field("name"), text(variable, "name"), name::env_name);
        let source = at(variable, "valueFrom");
        if source.is_null() {
            continue;
        }
        let path = path.field("valueFrom");
        let given: Vec<&str> = SOURCES.iter().copied().filter(|name| has(source, name)).collect();
        match given.len() {
            0 => faults.invalid(
                &path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            ),
            _ if !text(variable, "value").is_empty() => {
                faults.invalid(&path, "", "may not be specified when `value` is not empty");
            }
            1 => {}
            _ => faults.invalid(&path, "", "may not have more than one field specified at a time"),
        }
        for name in given {
            env_source(name, at(source, name), &path.field(name), faults);
        }
    }
    let above = path.field("envFrom");
    for (index, from) in list(container, "envFrom").iter().enumerate() {
        let path = above.index(index);
        let prefix = text(from, "prefix");
        if !prefix.is_empty() {
            faults.named(&path.field("prefix"), prefix, name::env_name);
        }
        let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|name| has(from, name)).collect();
        match given.as_slice() {
            [] => faults.invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`"),
            [name] => faults.required_text(at(from, name), "name", &path.field(name)),
            _ => faults.invalid(&path, "", "may not have more than one field specified at a time"),
        }
    }
}

fn env_source(name: &str, source: &Value, path: &Path<'_>, faults: &mut Faults) {
    match name {
        "fieldRef" => pod_field(source, POD_FIELDS, path, faults),
        "resourceFieldRef" => faults.required_text(source, "resource", path),
        "configMapKeyRef" | "secretKeyRef" => {
            faults.required_text(source, "name", path);
            faults.required_name(&path.field("key"), text(source, "key"), name::config_key);
        }
        _ => {}
    }
}

/// A reference to a field of the pod itself.
pub(crate) fn pod_field(source: &Value, supported: &[&str], path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(source, "apiVersion", path);
    let field = text(source, "fieldPath");
    let subscript = ["metadata.annotations['", "metadata.labels['"]
        .into_iter()
        .find_map(|start| field.strip_prefix(start)?.strip_suffix("']"));
    let path = path.field("fieldPath");
    match (field, subscript) {
        ("", _) => faults.required(&path, ""),
        (_, Some(key)) => faults.named(&path, &key.to_lowercase(), name::qualified_name),
        (field, None) if !supported.contains(&field) => faults.not_supported(&path, field, supported),
        _ => {}
    }
}

fn mounts(container: &Value, volumes: &Volumes<'_>, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("volumeMounts");
    let mut paths = Vec::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = above.index(index);
        let name = text(mount, "name");
        if name.is_empty() {
            faults.required(&path.field("name"), "");
        } else if !volumes.has(name) {
            faults.push(crate::FieldError::not_found(path.field("name"), name));
        }
        let place = text(mount, "mountPath");
        if place.is_empty() {
            faults.required(&path.field("mountPath"), "");
        } else if paths.contains(&place) {
            faults.invalid(&path.field("mountPath"), place, "must be unique");
        }
        paths.push(place);
        for name in ["subPath", "subPathExpr"] {
            let value = text(mount, name);
            if !value.is_empty() {
                inner_path(value, &path.field(name), faults);
            }
        }
        if has(mount, "subPath") && has(mount, "subPathExpr") {
            let detail = "subPathExpr and subPath are mutually exclusive";
            faults.invalid(&path.field("subPathExpr"), text(mount, "subPathExpr"), detail);
        }
        let privileged = flag(at(container, "securityContext"), "privileged");
        if text(mount, "mountPropagation") == "Bidirectional" && !privileged {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            faults.forbidden(&path.field("mountPropagation"), detail);
        }
    }
    let above = path.field("volumeDevices");
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = above.index(index);
        let name = text(device, "name");
        if name.is_empty() {
            faults.required(&path.field("name"), "");
        } else if !volumes.has(name) {
            faults.push(crate::FieldError::not_found(path.field("name"), name));
        }
        faults.required_text(device, "devicePath", &path);
    }
}

/// A relative path without a way up.
pub(crate) fn inner_path(value: &str, path: &Path<'_>, faults: &mut Faults) {
    if value.starts_with('/') {
        faults.invalid(path, value, "must be a relative path");
    }
    if value.split('/').any(|part| part == "..") {
        faults.invalid(path, value, "must not contain '..'");
    }
}

const STANDARD: &[&str] = &["cpu", "memory", "ephemeral-storage", "storage"];

/// Requests and limits of a container or pod.
pub(crate) fn resources(resources: &Value, path: &Path<'_>, faults: &mut Faults) {
    let limits_path = path.field("limits");
    for (name, value) in members(resources, "limits") {
        amount(name, value, &limits_path, faults);
    }
    let requests_path = path.field("requests");
    for (name, value) in members(resources, "requests") {
        amount(name, value, &requests_path, faults);
        let read = |value: &Value| value.as_str().and_then(|text| text.parse::<Quantity>().ok());
        let limit = at(at(resources, "limits"), name);
        let (Some(request), Some(limit)) = (read(value), read(limit)) else { continue };
        let whole = name.starts_with("hugepages-") || (name.contains('/') && !name.starts_with("kubernetes.io/"));
        if whole && request != limit {
            faults.invalid(&requests_path, request.to_string(), format!("must be equal to {name} limit of {limit}"));
        } else if request > limit {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            faults.invalid(&requests_path, request.to_string(), detail);
        }
    }
}

fn amount(name: &str, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let path = path.key(name);
    if let Err(reason) = name::qualified_name(name) {
        faults.invalid(&path, name, reason);
        return;
    }
    if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        faults.invalid(&path, name, "must be a standard resource for containers");
    }
    let Some(quantity) = value.as_str().and_then(|text| text.parse::<Quantity>().ok()) else { return };
    if quantity.sign() < 0 {
        faults.invalid(&path, quantity.to_string(), "must be greater than or equal to 0");
    }
    let whole = name.starts_with("hugepages-") || (name.contains('/') && !name.starts_with("kubernetes.io/"));
    if whole && quantity.milli() % 1000 != 0 {
        faults.invalid(&path, quantity.to_string(), "must be an integer");
    }
}

/// A user or group number.
pub(crate) fn identity(context: &Value, name: &str, path: &Path<'_>, faults: &mut Faults) {
    if let Some(number) = int(context, name).filter(|number| !(0..=i64::from(i32::MAX)).contains(number)) {
        faults.invalid(&path.field(name), number, name::range_message(0, i64::from(i32::MAX)));
    }
}

fn security(context: &Value, path: &Path<'_>, faults: &mut Faults) {
    identity(context, "runAsUser", path, faults);
    identity(context, "runAsGroup", path, faults);
    if at(context, "allowPrivilegeEscalation") == &Value::Bool(false) {
        if flag(context, "privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            faults.invalid(path, context.clone(), detail);
        }
        if list(at(context, "capabilities"), "add").iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            faults.invalid(path, context.clone(), detail);
        }
    }
    profile(at(context, "seccompProfile"), &path.field("seccompProfile"), faults);
    profile(at(context, "appArmorProfile"), &path.field("appArmorProfile"), faults);
}

/// A seccomp or AppArmor profile.
pub(crate) fn profile(profile: &Value, path: &Path<'_>, faults: &mut Faults) {
    if profile.is_null() {
        return;
    }
    faults.one_of(profile, "type", path, &["Localhost", "RuntimeDefault", "Unconfined"]);
    let local = text(profile, "localhostProfile");
    match (text(profile, "type"), local.is_empty()) {
        ("Localhost", true) => {
            faults.required(&path.field("localhostProfile"), "must be set when profile type is Localhost");
        }
        ("Localhost", false) => inner_path(local, &path.field("localhostProfile"), faults),
        (_, false) => {
            faults.invalid(&path.field("localhostProfile"), local, "can only be set when profile type is Localhost")
        }
        (_, true) => {}
    }
}
