//! Removes the directories of volumes that are being deleted, where they lie: on this node.
//!
//! Invariant: the finalizer goes only after the directory, and the directory only if the volume is bound to nobody and its
//! policy says so; a volume that is kept keeps its data though its object goes.

use std::path::PathBuf;
use std::time::Duration;

use base::Key;
use informer::{Change, Informers, Next, Queue};
use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use super::LocalVolumes;
use crate::volume::local::Place;

/// What to do about a volume.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It stays, or is not ours.
    Nothing,
    /// The object may go; `Some` is the directory that goes before it.
    Go(Option<PathBuf>),
}

fn judge(volume: &PersistentVolume, hostname: &str, rules: &LocalVolumes, place: &Place) -> Fate {
    let spec = volume.spec.as_ref();
    let path = spec.and_then(|spec| spec.local.as_ref()).map(|local| PathBuf::from(&local.path));
    let terms = spec.and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let here = terms.into_iter().flat_map(|required| &required.node_selector_terms).any(|term| {
        let mut asks = term.match_expressions.iter().flatten().filter(|one| one.key == "kubernetes.io/hostname");
        asks.any(|one| one.operator == "In" && one.values.iter().flatten().any(|value| value == hostname))
    });
    let bound = volume.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    let held = volume.finalizers().contains(&rules.finalizer);
    let Some(path) = path.filter(|path| here && held && !bound && place.is_a_volume(path)) else {
        return Fate::Nothing;
    };
    if volume.metadata.deletion_timestamp.is_none() {
        return Fate::Nothing;
    }
    let policy = spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    Fate::Go((policy == Some("Delete")).then_some(path))
}

/// Starts watching.
pub(super) fn start(rules: LocalVolumes, hostname: String, place: Place, ctx: &tasks::Context) {
    let informers = Informers::new(rules.client.clone(), ctx);
    let volumes = informers.of::<PersistentVolume>();
    let queue: Queue<Key> = Queue::new();
    let wake = queue.clone();
    volumes.on_change(move |change: Change<'_, PersistentVolume>| {
        if change.new.is_some_and(|volume| volume.metadata.deletion_timestamp.is_some()) {
            wake.add(Key::cluster(change.latest().name_any()));
        }
    });
    informer::work(&queue, 1, ctx, "reclaim local volumes", move |key: Key| {
        let (rules, place) = (rules.clone(), place.clone());
        let fate = volumes.get("", &key.name).map(|volume| (judge(&volume, &hostname, &rules, &place), volume));
        async move {
            match fate {
                Some((Fate::Go(path), volume)) => reclaim(&rules.client, &rules.finalizer, place, path, &volume).await,
                _ => Ok(Next::Done),
            }
        }
    });
}

async fn reclaim(
    client: &Client,
    finalizer: &str,
    place: Place,
    path: Option<PathBuf>,
    volume: &PersistentVolume,
) -> anyhow::Result<Next> {
    let name = volume.name_any();
    if let Some(path) = path {
        let shown = path.display().to_string();
        let removed = tokio::task::spawn_blocking(move || place.remove(&path)).await?;
        if let Err(error) = removed {
            anyhow::bail!("cannot remove {shown} of volume {name}: {error}");
        }
        tracing::info!(volume = name, "removed {shown}");
    }
    let mut next = volume.clone();
    next.finalizers_mut().retain(|one| one != finalizer);
    let api: Api<PersistentVolume> = Api::all(client.clone());
    match api.replace(&name, &PostParams::default(), &next).await {
        Ok(_) => Ok(Next::Done),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Next::Done),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Next::After(Duration::from_millis(100))),
        Err(error) => Err(anyhow::Error::new(error).context(format!("cannot let volume {name} go"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(phase: &str, policy: &str, host: &str, path: &str, leaving: bool) -> Fate {
        let volume: PersistentVolume = serde_json::from_value(json!({
            "metadata": { "name": "v", "finalizers": ["kubernetes.io/pv-protection", "f"],
                "deletionTimestamp": leaving.then_some("2026-01-01T00:00:00Z") },
            "spec": { "local": { "path": path }, "persistentVolumeReclaimPolicy": policy, "nodeAffinity": { "required": {
                "nodeSelectorTerms": [{ "matchExpressions": [
                    { "key": "kubernetes.io/hostname", "operator": "In", "values": [host] }] }] } } },
            "status": { "phase": phase },
        }))
        .unwrap();
        let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(kube::client::Body::empty()))
        });
        let rules = LocalVolumes {
            client: Client::new(service, "default"),
            annotation: "a".into(),
            finalizer: "f".into(),
            provisioner: "p".into(),
        };
        judge(&volume, "n1", &rules, &Place::new("/data/local".into()))
    }

    #[tokio::test]
    async fn only_what_is_deleted_released_and_here_goes() {
        let path = "/data/local/pvc-1";
        assert_eq!(check("Released", "Delete", "n1", path, true), Fate::Go(Some(path.into())));
        assert_eq!(check("Released", "Retain", "n1", path, true), Fate::Go(None), "the object goes, the data stays");
        assert_eq!(check("Released", "Delete", "n1", path, false), Fate::Nothing);
        assert_eq!(check("Bound", "Delete", "n1", path, true), Fate::Nothing);
        assert_eq!(check("Released", "Delete", "n2", path, true), Fate::Nothing);
        assert_eq!(check("Released", "Delete", "n1", "/etc", true), Fate::Nothing);
        assert_eq!(check("Released", "Delete", "n1", "/data/local/../x", true), Fate::Nothing);
    }
}
