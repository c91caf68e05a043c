//! The volumes of a pod: made before its containers start, kept current, taken away after them.
//!
//! Invariant: set-up is idempotent (an adopted pod goes through it again), and tearing down removes
//! only what set-up made: paths below the pod's own two directories.
//! Content (config maps, secrets, tokens) lives under the run directory, which is memory, so that
//! no secret reaches a disk; emptyDir lives under the data directory. What a claim stands for lies elsewhere (`claim`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

use crate::env::expand;
use crate::runtime::{Mount, Propagation};

pub(crate) mod atomic;
pub(crate) mod claim;
pub(crate) mod content;
pub(crate) mod host;
pub(crate) mod local;
pub(crate) mod owner;
pub(crate) mod subpath;
pub(crate) mod tokens;

/// Where a pod's volumes are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// On disk: emptyDir.
    pub data: PathBuf,
    /// In memory: content, and bind mounts of sub-paths.
    pub run: PathBuf,
}

/// A volume that cannot be made now; set-up is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
pub(crate) struct MountError {
    pub volume: String,
    pub message: String,
}

/// Makes every volume of the pod. Blocking.
pub(crate) fn set_up(places: &Places, inputs: &content::Inputs<'_>, now: Timestamp) -> Result<(), MountError> {
    let Some(spec) = &inputs.pod.spec else { return Ok(()) };
    for volume in spec.volumes.iter().flatten() {
        set_up_one(places, spec, inputs, volume, now)
            .map_err(|message| MountError { volume: volume.name.clone(), message })?;
    }
    Ok(())
}

/// Brings content volumes up to date; true if any file changed. Blocking.
pub(crate) fn refresh(places: &Places, inputs: &content::Inputs<'_>, now: Timestamp) -> Result<bool, MountError> {
    let mut changed = false;
    let volumes = inputs.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    for volume in volumes.filter(|volume| content::is_content(volume)) {
        changed |= set_content(places, inputs, volume, now)
            .map_err(|message| MountError { volume: volume.name.clone(), message })?;
    }
    Ok(changed)
}

/// Removes the pod's volumes with all mounts in them. Blocking.
pub(crate) fn tear_down(places: &Places) -> io::Result<()> {
    for dir in [&places.run, &places.data] {
        host::unmount_below(dir)?;
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn set_up_one(
    places: &Places,
    spec: &PodSpec,
    inputs: &content::Inputs<'_>,
    volume: &Volume,
    now: Timestamp,
) -> Result<(), String> {
    if content::is_content(volume) {
        return set_content(places, inputs, volume, now).map(drop);
    }
    if let Some(source) = &volume.host_path {
        return host::host_path(&source.path, source.type_.as_deref().unwrap_or_default());
    }
    let policy = spec.security_context.as_ref().and_then(|context| context.fs_group_change_policy.as_deref());
    let group = inputs.group.map(|group| (group, policy == Some("OnRootMismatch")));
    if let Some(source) = inputs.claims.get(&volume.name) {
        let group = group.filter(|_| !is_read_only(volume));
        return claim::set_up(places, inputs.place, &volume.name, source, group);
    }
    let dir = places.data.join(&volume.name);
    if let Some(source) = &volume.empty_dir {
        host::empty_dir(&dir, source)?;
        if let Some((group, on_root_mismatch)) = group {
            owner::give(&dir, group, on_root_mismatch)
                .map_err(|error| format!("cannot give the volume to group {group}: {error}"))?;
        }
        return Ok(());
    }
    Err("this node does not support the volume's type".into())
}

fn set_content(places: &Places, inputs: &content::Inputs<'_>, volume: &Volume, now: Timestamp) -> Result<bool, String> {
    let payload = content::payload(inputs, volume)?;
    atomic::project(&places.run.join(&volume.name), &payload, inputs.group, now).map_err(|error| error.to_string())
}

/// The mounts of one container. Blocking (sub-paths are bound here).
pub(crate) fn mounts(
    places: &Places,
    spec: &PodSpec,
    container: &Container,
    env: &BTreeMap<String, String>,
) -> Result<Vec<Mount>, String> {
    if container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()) {
        return Err("volumeDevices are not supported by this node".into());
    }
    let mut mounts = Vec::new();
    for (index, wanted) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = spec.volumes.iter().flatten().find(|volume| volume.name == wanted.name);
        let volume = volume.ok_or_else(|| {
            format!("cannot find volume \"{}\" to mount into container \"{}\"", wanted.name, container.name)
        })?;
        let root = directory(places, volume)?;
        let target = places.run.join("..subpaths").join(&container.name).join(index.to_string());
        let host = match sub_path(wanted, env)? {
            Some(sub) => subpath::bind(&root, &sub, &target)?,
            None => root,
        };
        mounts.push(Mount {
            host,
            target: absolute(&wanted.mount_path),
            read_only: wanted.read_only.unwrap_or(false) || content::is_content(volume) || is_read_only(volume),
            propagation: match wanted.mount_propagation.as_deref() {
                Some("HostToContainer") => Propagation::HostToContainer,
                Some("Bidirectional") => Propagation::Bidirectional,
                _ => Propagation::Private,
            },
        });
    }
    Ok(mounts)
}

/// Lets go of the sub-paths bound for a container, so that its next run resolves them anew. Blocking.
pub(crate) fn unbind(places: &Places, container: &str) -> io::Result<()> {
    let dir = places.run.join("..subpaths").join(container);
    if dir.exists() { host::unmount_below(&dir) } else { Ok(()) }
}

fn directory(places: &Places, volume: &Volume) -> Result<PathBuf, String> {
    match &volume.host_path {
        Some(source) => Ok(PathBuf::from(&source.path)),
        None if content::is_content(volume) => Ok(places.run.join(&volume.name)),
        None if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() => {
            claim::place(places, &volume.name)
        }
        None => Ok(places.data.join(&volume.name)),
    }
}

/// The whole volume is only to be read.
fn is_read_only(volume: &Volume) -> bool {
    volume.persistent_volume_claim.as_ref().is_some_and(|source| source.read_only == Some(true))
}

fn sub_path(mount: &VolumeMount, env: &BTreeMap<String, String>) -> Result<Option<String>, String> {
    if let Some(expression) = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) {
        let path = expand::expand_strict(expression, |name| env.get(name).cloned())
            .map_err(|why| format!("cannot expand subPathExpr {expression:?}: {why}"))?;
        return Ok(Some(path));
    }
    Ok(mount.sub_path.clone().filter(|path| !path.is_empty()))
}

fn absolute(path: &str) -> String {
    if Path::new(path).is_absolute() { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Objects;
    use crate::env::fields::Facts;
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({"spec": {
            "volumes": [{"name": "cache", "emptyDir": {}}, {"name": "tz", "hostPath": {"path": "/usr/share/zoneinfo"}},
                        {"name": "info", "downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}],
            "containers": [{"name": "c", "volumeMounts": [
                {"name": "cache", "mountPath": "/cache", "mountPropagation": "HostToContainer"},
                {"name": "tz", "mountPath": "zone", "readOnly": true},
                {"name": "info", "mountPath": "/info"}]}],
        }, "metadata": {"name": "web"}}))
        .unwrap()
    }

    fn prepare(pod: &Pod, places: &Places, claims: &claim::Claims) -> Result<(), MountError> {
        let (facts, objects, tokens) = (Facts::default(), Objects::new(), BTreeMap::new());
        let place = local::Place::new(places.data.with_file_name("local"));
        let inputs = content::Inputs {
            pod,
            facts: &facts,
            objects: &objects,
            tokens: &tokens,
            claims,
            place: &place,
            user: None,
            group: None,
        };
        set_up(places, &inputs, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn mounts_point_at_what_was_set_up_and_content_is_read_only() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { data: dir.path().join("data"), run: dir.path().join("run") };
        let pod = pod();
        let none = claim::Claims::new();
        prepare(&pod, &places, &none).unwrap();
        prepare(&pod, &places, &none).unwrap();
        let spec = pod.spec.as_ref().unwrap();
        let mounts = mounts(&places, spec, &spec.containers[0], &BTreeMap::new()).unwrap();
        let seen: Vec<(&str, bool)> = mounts.iter().map(|mount| (mount.target.as_str(), mount.read_only)).collect();
        assert_eq!(seen, [("/cache", false), ("/zone", true), ("/info", true)]);
        assert_eq!(mounts[0].propagation, Propagation::HostToContainer);
        assert_eq!(fs::read_to_string(mounts[2].host.join("n")).unwrap(), "web");
        tear_down(&places).unwrap();
        assert!(!places.data.exists() && !places.run.exists());
    }

    #[test]
    fn a_claim_is_mounted_from_where_its_data_lies() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { data: dir.path().join("data"), run: dir.path().join("run") };
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "volumes": [{"name": "db", "persistentVolumeClaim": {"claimName": "disk", "readOnly": true}}],
            "containers": [{"name": "c", "volumeMounts": [{"name": "db", "mountPath": "/db"}]}]}}))
        .unwrap();
        let spec = pod.spec.as_ref().unwrap();
        let early = mounts(&places, spec, &spec.containers[0], &BTreeMap::new()).unwrap_err();
        assert!(early.starts_with("volume \"db\" is not set up"), "{early}");
        let path = dir.path().join("local/pvc-1");
        let claims = claim::Claims::from([("db".to_owned(), claim::Source::Ours(path.clone()))]);
        prepare(&pod, &places, &claims).unwrap();
        let mounts = mounts(&places, spec, &spec.containers[0], &BTreeMap::new()).unwrap();
        assert_eq!((mounts[0].host.clone(), mounts[0].read_only), (path, true));
    }
}
