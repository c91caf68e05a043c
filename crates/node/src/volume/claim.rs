//! Volumes that a pod has by a claim: what the API says of claim and volume, and where on this host the data lies.
//!
//! Invariant: nothing is mounted that is not bound both ways to this very claim. The place is remembered as a link in the
//! pod's own directory, so taking the pod away removes a link and never the data behind it.
//! Only volumes that are directories of this node can be had: `local` and `hostPath`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::{Api, Client};

use super::{MountError, Places, host, local};

/// Where links to the places of claims are, in the pod's run directory.
const LINKS: &str = "..claims";

/// Where the data of a claim lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A directory that this node made for it, or makes now.
    Ours(PathBuf),
    /// A directory that somebody made.
    Local(PathBuf),
    HostPath {
        path: PathBuf,
        kind: String,
    },
}

/// By the name of the pod's volume.
pub(crate) type Claims = BTreeMap<String, Source>;

/// What this node knows of itself.
#[derive(Debug, Clone)]
pub(crate) struct Me {
    /// As the label `kubernetes.io/hostname` says.
    pub hostname: String,
    /// Who provisions volumes that this node makes itself.
    pub provisioner: String,
    pub place: local::Place,
}

/// The claim that the volume means; none for other volumes.
pub(crate) fn name(pod: &Pod, volume: &Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name)),
        (None, None) => None,
    }
}

/// The claims and volumes that the pod's volumes mean, asked of the API.
pub(crate) async fn resolve(
    client: &Client,
    me: &Me,
    places: &Places,
    pod: &Pod,
    others: &[std::sync::Arc<Pod>],
) -> Result<Claims, MountError> {
    let mut claims = Claims::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let Some(claim) = name(pod, volume) else { continue };
        let source = one(client, me, places, pod, others, volume, &claim).await;
        let source = source.map_err(|message| MountError { volume: volume.name.clone(), message })?;
        claims.insert(volume.name.clone(), source);
    }
    Ok(claims)
}

async fn one(
    client: &Client,
    me: &Me,
    places: &Places,
    pod: &Pod,
    others: &[std::sync::Arc<Pod>],
    volume: &Volume,
    name: &str,
) -> Result<Source, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let blame = |why: String| format!("error processing PVC {namespace}/{name}: {why}");
    let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    let claim = api.get(name).await.map_err(|error| blame(format!("failed to fetch PVC from API server: {error}")))?;
    let known = fs::symlink_metadata(link(places, &volume.name)).is_ok();
    let of = volume_of(pod, volume, &claim, known).map_err(blame)?;
    if used_by_another(pod, name, &claim, others) {
        return Err("volume uses the ReadWriteOncePod access mode and is already in use by another pod".into());
    }
    let api = Api::<PersistentVolume>::all(client.clone());
    let found = api.get(of).await;
    let found = found.map_err(|error| blame(format!("failed to fetch PV {of} from API server: {error}")))?;
    source(me, &claim, &found).map_err(blame)
}

/// The name of the claim's volume, if a pod may start with it. `known`: the pod has had it before.
fn volume_of<'a>(pod: &Pod, volume: &Volume, claim: &'a PersistentVolumeClaim, known: bool) -> Result<&'a str, String> {
    let meta = &claim.metadata;
    if volume.ephemeral.is_some() {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        let ours =
            owners.iter().any(|owner| owner.controller == Some(true) && Some(&owner.uid) == pod.metadata.uid.as_ref());
        if !ours {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            let (namespace, name, of) = (part(&meta.namespace), part(&meta.name), part(&pod.metadata.name));
            return Err(format!("PVC {namespace}/{name} was not created for pod {namespace}/{of} (pod is not owner)"));
        }
    }
    if meta.deletion_timestamp.is_some() && !known {
        return Err("PVC is being deleted".into());
    }
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound") {
        return Err("PVC is not bound".into());
    }
    let spec = claim.spec.as_ref();
    if spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        return Err("volumeMode Block is not supported by this node".into());
    }
    let name = spec.and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty());
    name.ok_or_else(|| "PVC has empty pvc.Spec.VolumeName".into())
}

/// Whether an older pod of this node has a claim that only one pod may have.
fn used_by_another(pod: &Pod, name: &str, claim: &PersistentVolumeClaim, others: &[std::sync::Arc<Pod>]) -> bool {
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    if !modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        return false;
    }
    let age = |pod: &Pod| (pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.metadata.uid.clone());
    others.iter().any(|other| {
        let phase = other.status.as_ref().and_then(|status| status.phase.as_deref());
        let volumes = other.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        other.metadata.uid != pod.metadata.uid
            && other.metadata.namespace == pod.metadata.namespace
            && !matches!(phase, Some("Succeeded" | "Failed"))
            && age(other) < age(pod)
            && volumes.into_iter().any(|volume| self::name(other, volume).as_deref() == Some(name))
    })
}

/// Where the data is, if the volume is bound to the claim and can be had on this node.
fn source(me: &Me, claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Result<Source, String> {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    let spec = volume.spec.as_ref();
    let Some(held) = spec.and_then(|spec| spec.claim_ref.as_ref()) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    if held.uid != claim.metadata.uid {
        let uid = |uid: &Option<String>| uid.clone().unwrap_or_default();
        let (of, wanted) = (uid(&held.uid), uid(&claim.metadata.uid));
        return Err(format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {of} does not point to claim.UID {wanted}"
        ));
    }
    if !may_be_here(volume, &me.hostname) {
        return Err(format!("volume {name} is on another node: no matching NodeSelectorTerms"));
    }
    if let Some(local) = spec.and_then(|spec| spec.local.as_ref()) {
        let path = PathBuf::from(&local.path);
        let by = volume.metadata.annotations.as_ref().and_then(|all| all.get("pv.kubernetes.io/provisioned-by"));
        let ours = by == Some(&me.provisioner) && me.place.is_a_volume(&path);
        return Ok(if ours { Source::Ours(path) } else { Source::Local(path) });
    }
    if let Some(host) = spec.and_then(|spec| spec.host_path.as_ref()) {
        let kind = host.type_.clone().unwrap_or_default();
        return Ok(Source::HostPath { path: PathBuf::from(&host.path), kind });
    }
    Err(format!("volume {name} is of a type that this node does not support"))
}

/// Whether the volume's affinity lets it be on a host of this name. What else it asks of nodes the scheduler has checked.
fn may_be_here(volume: &PersistentVolume, hostname: &str) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let Some(required) = affinity else { return true };
    required.node_selector_terms.iter().any(|term| {
        let asks = term.match_expressions.iter().flatten().filter(|one| one.key == "kubernetes.io/hostname");
        asks.into_iter().all(|one| {
            let listed = one.values.iter().flatten().any(|value| value == hostname);
            match one.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => true,
                _ => false,
            }
        })
    })
}

fn link(places: &Places, volume: &str) -> PathBuf {
    places.run.join(LINKS).join(volume)
}

/// Makes sure that the data can be reached, and remembers where. Blocking.
pub(crate) fn set_up(
    places: &Places,
    me: &local::Place,
    volume: &str,
    source: &Source,
    group: Option<(u32, bool)>,
) -> Result<(), String> {
    let path = match source {
        Source::Ours(path) => {
            me.make(path).map_err(|error| format!("cannot make {}: {error}", path.display()))?;
            path
        }
        Source::Local(path) if !path.is_dir() => return Err(format!("path {:?} does not exist", path.display())),
        Source::Local(path) => path,
        Source::HostPath { path, kind } => {
            host::host_path(&path.to_string_lossy(), kind)?;
            path
        }
    };
    if let (Some((group, on_root_mismatch)), Source::Ours(_) | Source::Local(_)) = (group, source) {
        super::owner::give(path, group, on_root_mismatch)
            .map_err(|error| format!("cannot give the volume to group {group}: {error}"))?;
    }
    remember(&link(places, volume), path).map_err(|error| format!("cannot remember where the volume is: {error}"))
}

fn remember(link: &Path, path: &Path) -> io::Result<()> {
    if fs::read_link(link).is_ok_and(|known| known == path) {
        return Ok(());
    }
    let dir = link.parent().unwrap_or(link);
    fs::create_dir_all(dir)?;
    let mut new = link.as_os_str().to_owned();
    new.push("..new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::os::unix::fs::symlink(path, &new)?;
    fs::rename(&new, link)
}

/// Where the data of a volume that was set up lies.
pub(crate) fn place(places: &Places, volume: &str) -> Result<PathBuf, String> {
    fs::read_link(link(places, volume)).map_err(|error| format!("volume \"{volume}\" is not set up: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn me() -> Me {
        let place = local::Place::new("/data/local".into());
        Me { hostname: "n1".into(), provisioner: "knarr.dev/local".into(), place }
    }

    fn claim(spec: Value, metadata: Value) -> PersistentVolumeClaim {
        let mut object = json!({ "metadata": { "name": "data", "namespace": "shop", "uid": "u1" },
            "spec": { "volumeName": "v" }, "status": { "phase": "Bound" } });
        for (into, from) in [("spec", spec), ("metadata", metadata)] {
            for (key, value) in from.as_object().unwrap() {
                object[into][key] = value.clone();
            }
        }
        serde_json::from_value(object).unwrap()
    }

    fn volume(spec: Value) -> PersistentVolume {
        let mut whole = json!({ "claimRef": { "uid": "u1" } });
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let annotations = json!({ "pv.kubernetes.io/provisioned-by": "knarr.dev/local" });
        serde_json::from_value(json!({ "metadata": { "name": "v", "annotations": annotations }, "spec": whole }))
            .unwrap()
    }

    fn pod(uid: &str, age: i64) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": format!("pod-{uid}"), "namespace": "shop", "uid": uid,
                "creationTimestamp": format!("2026-01-01T00:00:0{age}Z") },
            "spec": { "containers": [], "volumes": [{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } }] },
        }))
        .unwrap()
    }

    #[test]
    fn a_claim_must_be_bound_and_stay() {
        let (pod, by) = (pod("a", 1), serde_json::from_value::<Volume>(json!({ "name": "d" })).unwrap());
        let check = |claim: &PersistentVolumeClaim, known| volume_of(&pod, &by, claim, known).map(str::to_owned);
        assert_eq!(check(&claim(json!({}), json!({})), false), Ok("v".into()));
        let leaving = claim(json!({}), json!({ "deletionTimestamp": "2026-01-01T00:00:00Z" }));
        assert_eq!(check(&leaving, false), Err("PVC is being deleted".into()));
        assert_eq!(check(&leaving, true), Ok("v".into()), "a pod that has it keeps it");
        assert_eq!(
            check(&claim(json!({ "volumeName": "" }), json!({})), false),
            Err("PVC has empty pvc.Spec.VolumeName".into())
        );
        let mut waiting = claim(json!({}), json!({}));
        waiting.status = None;
        assert_eq!(check(&waiting, false), Err("PVC is not bound".into()));
        let own: Volume = serde_json::from_value(json!({ "name": "d", "ephemeral": {} })).unwrap();
        let foreign = volume_of(&pod, &own, &waiting, false).unwrap_err();
        assert_eq!(foreign, "PVC shop/data was not created for pod shop/pod-a (pod is not owner)");
    }

    #[test]
    fn a_volume_must_be_the_claims_and_on_this_node() {
        let claim = claim(json!({}), json!({}));
        let check = |spec: Value| source(&me(), &claim, &volume(spec));
        let at = |host: &str| {
            json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": [host] }] }] } })
        };
        let local = |path: &str| json!({ "local": { "path": path }, "nodeAffinity": at("n1") });
        assert_eq!(check(local("/data/local/pvc-1")), Ok(Source::Ours("/data/local/pvc-1".into())));
        assert_eq!(check(local("/data/local/../etc")), Ok(Source::Local("/data/local/../etc".into())));
        assert_eq!(check(local("/mnt/disk")), Ok(Source::Local("/mnt/disk".into())));
        let host = Source::HostPath { path: "/srv".into(), kind: "Directory".into() };
        assert_eq!(check(json!({ "hostPath": { "path": "/srv", "type": "Directory" } })), Ok(host));
        let elsewhere = check(json!({ "local": { "path": "/x" }, "nodeAffinity": at("n2") })).unwrap_err();
        assert_eq!(elsewhere, "volume v is on another node: no matching NodeSelectorTerms");
        assert!(check(json!({ "nfs": { "path": "/", "server": "s" } })).is_err());
        let other = check(json!({ "claimRef": { "uid": "u2" }, "hostPath": { "path": "/srv" } })).unwrap_err();
        assert_eq!(other, "found PV object v but its pv.Spec.ClaimRef.UID u2 does not point to claim.UID u1");
    }

    #[test]
    fn a_claim_for_one_pod_goes_to_the_older() {
        let (old, new) = (Arc::new(pod("a", 1)), Arc::new(pod("b", 2)));
        let both = [old.clone(), new.clone()];
        let only = claim(json!({ "accessModes": ["ReadWriteOncePod"] }), json!({}));
        assert!(!used_by_another(&old, "data", &only, &both));
        assert!(used_by_another(&new, "data", &only, &both));
        let shared = claim(json!({ "accessModes": ["ReadWriteOnce"] }), json!({}));
        assert!(!used_by_another(&new, "data", &shared, &both));
        let mut ended = pod("a", 1);
        ended.status.get_or_insert_default().phase = Some("Succeeded".into());
        assert!(!used_by_another(&new, "data", &only, &[Arc::new(ended), new.clone()]));
    }

    #[test]
    fn taking_a_pod_away_leaves_the_data() {
        let dir = tempfile::tempdir().unwrap();
        let place = local::Place::new(dir.path().join("local"));
        let places = Places { data: dir.path().join("data"), run: dir.path().join("run") };
        let source = Source::Ours(dir.path().join("local/pvc-1"));
        for _ in 0..2 {
            set_up(&places, &place, "d", &source, None).unwrap();
        }
        let path = super::place(&places, "d").unwrap();
        fs::write(path.join("file"), "kept").unwrap();
        super::super::tear_down(&places).unwrap();
        assert!(super::place(&places, "d").is_err());
        assert_eq!(fs::read_to_string(dir.path().join("local/pvc-1/file")).unwrap(), "kept");
        let missing = Source::Local(dir.path().join("none"));
        assert!(set_up(&places, &place, "d", &missing, None).unwrap_err().ends_with("does not exist"));
    }
}
