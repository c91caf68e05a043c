//! Rules of the mounts and devices of a container.

use serde_json::Value;

use super::volume::Volumes;
use super::{Faults, source};
use crate::json::{at, flag, has, list, text};
use crate::path::Path;

/// Name and place, of which the last of several with one name counts.
type Places<'v> = Vec<(&'v str, &'v str)>;

fn places<'v>(container: &'v Value, list_name: &str, place: &str) -> Places<'v> {
    let mut places: Places<'v> = Vec::new();
    for item in list(container, list_name) {
        let (name, place) = (text(item, "name"), text(item, place));
        places.retain(|(other, _)| *other != name);
        places.push((name, place));
    }
    places
}

pub(crate) fn check(container: &Value, volumes: &Volumes<'_>, path: &Path<'_>, faults: &mut Faults) {
    let mounts = list(container, "volumeMounts");
    let devices = list(container, "volumeDevices");
    if !mounts.is_empty() {
        let others = places(container, "volumeDevices", "devicePath");
        self::mounts(container, mounts, &others, volumes, &path.field("volumeMounts"), faults);
    }
    if !devices.is_empty() {
        let others = places(container, "volumeMounts", "mountPath");
        self::devices(devices, &others, volumes, &path.field("volumeDevices"), faults);
    }
}

fn mounts(
    container: &Value,
    mounts: &[Value],
    devices: &Places<'_>,
    volumes: &Volumes<'_>,
    above: &Path<'_>,
    faults: &mut Faults,
) {
    let mut taken = Vec::new();
    for (index, mount) in mounts.iter().enumerate() {
        let path = above.index(index);
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            faults.required(&path.field("name"), "");
        }
        if !volumes.has(name) {
            faults.not_found(&path.field("name"), name);
        }
        if place.is_empty() {
            faults.required(&path.field("mountPath"), "");
        }
        if taken.contains(&place) {
            faults.invalid(&path.field("mountPath"), place, "must be unique");
        }
        taken.push(place);
        if devices.iter().any(|(device, _)| *device == name) {
            faults.invalid(&path.field("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|(_, device)| *device == place) {
            let detail = "must not already exist as a path in volumeDevices";
            faults.invalid(&path.field("mountPath"), place, detail);
        }
        // Upstream tells the faults of what follows at the list, not at the mount.
        let (inner, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        if !inner.is_empty() {
            source::descending(inner, &above.field("subPath"), faults);
        }
        if !expression.is_empty() {
            if !inner.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                faults.invalid(&path.field("subPathExpr"), expression, detail);
            }
            source::descending(expression, &above.field("subPathExpr"), faults);
        }
        propagation(container, mount, above, faults);
        read_only(mount, &above.field("recursiveReadOnly"), faults);
    }
}

fn propagation(container: &Value, mount: &Value, above: &Path<'_>, faults: &mut Faults) {
    faults.any_of(mount, "mountPropagation", above, &["Bidirectional", "HostToContainer", "None"]);
    let privileged = flag(at(container, "securityContext"), "privileged");
    if text(mount, "mountPropagation") == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        faults.forbidden(&above.field("mountPropagation"), detail);
    }
}

fn read_only(mount: &Value, path: &Path<'_>, faults: &mut Faults) {
    match at(mount, "recursiveReadOnly").as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !flag(mount, "readOnly") {
                faults.forbidden(path, "may only be specified when readOnly is true");
            }
            if has(mount, "mountPropagation") && text(mount, "mountPropagation") != "None" {
                faults.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => faults.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn devices(devices: &[Value], mounts: &Places<'_>, volumes: &Volumes<'_>, above: &Path<'_>, faults: &mut Faults) {
    let (mut names, mut taken): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for (index, device) in devices.iter().enumerate() {
        let path = above.index(index);
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        if name.is_empty() {
            faults.required(&path.field("name"), "");
        }
        if names.contains(&name) {
            faults.invalid(&path.field("name"), name, "must be unique");
        }
        match volumes.get(name) {
            None => faults.not_found(&path.field("name"), name),
            Some(volume) if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                faults.invalid(&path.field("name"), name, detail);
            }
            Some(_) => {}
        }
        if place.is_empty() {
            faults.required(&path.field("devicePath"), "");
        }
        if taken.contains(&place) {
            faults.invalid(&path.field("devicePath"), place, "must be unique");
        }
        if source::has_backsteps(place) {
            faults.invalid(&path.field("devicePath"), place, "can not contain backsteps ('..')");
        } else {
            taken.push(place);
        }
        if mounts.iter().any(|(mount, _)| *mount == name) {
            faults.invalid(&path.field("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|(_, mount)| *mount == place) {
            let detail = "must not already exist as a path in volumeMounts";
            faults.invalid(&path.field("devicePath"), place, detail);
        }
        if !name.is_empty() {
            names.push(name);
        }
    }
}
