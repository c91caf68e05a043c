//! Claims get directories of the node: what is written there outlives pods and the process, and goes with the claim.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually};

/// A class like the default one, but bound at once.
const CLASS: &str = r"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: now }
provisioner: knarr.dev/local
allowVolumeExpansion: true
";

const DATABASE: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: db }
spec:
  serviceName: db
  selector: { matchLabels: { app: db } }
  template:
    metadata: { labels: { app: db } }
    spec:
      terminationGracePeriodSeconds: 1
      securityContext: { runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000 }
      containers:
      - name: main
        image: "knarr.local/busybox:bookworm"
        command: [sh, -c, "echo started >> /data/log; sleep 3600"]
        volumeMounts: [{ name: data, mountPath: /data }]
  volumeClaimTemplates:
  - metadata: { name: data }
    spec: { accessModes: [ReadWriteOnce], storageClassName: now, resources: { requests: { storage: 1Gi } } }
"#;

const READER: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: reader }
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{ name: data, persistentVolumeClaim: { claimName: data-db-0, readOnly: true } }]
  containers:
  - name: main
    image: "knarr.local/busybox:bookworm"
    command: [sleep, "3600"]
    volumeMounts:
    - { name: data, mountPath: /whole }
    - { name: data, mountPath: /part, subPath: sub }
"#;

fn volumes(cluster: &Cluster) -> anyhow::Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(cluster.data().join("local")) else { return Ok(Vec::new()) };
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn sh(cluster: &Cluster, pod: &str, script: &str) -> anyhow::Result<String> {
    Ok(cluster.kubectl(["exec", pod, "--", "sh", "-c", script])?.trim().to_owned())
}

fn field(cluster: &Cluster, kind: &str, name: &str, path: &str) -> anyhow::Result<String> {
    cluster.kubectl(["get", kind, name, "-o", &format!("jsonpath={{{path}}}")])
}

fn gone(cluster: &Cluster, kind: &str) -> anyhow::Result<()> {
    let left = cluster.kubectl(["get", kind, "-o", "name"])?;
    ensure!(left.is_empty(), "still there: {left}");
    Ok(())
}

#[test]
fn data_outlives_pods_and_the_process_and_goes_with_its_claim() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-volumes", &["busybox"])?;
    cluster.apply(CLASS)?;
    cluster.apply(DATABASE)?;
    cluster.rolled_out("default", "statefulset/db")?;
    sh(&cluster, "db-0", "mkdir /data/sub && echo precious > /data/sub/file && sync")?;
    let (here, uid) = (volumes(&cluster)?, field(&cluster, "pvc", "data-db-0", ".metadata.uid")?);
    ensure!(here.len() == 1 && here[0].ends_with(format!("pvc-{uid}")), "{here:?}");
    let place = std::fs::metadata(cluster.data().join("local"))?.permissions().mode() & 0o777;
    ensure!(place == 0o700, "the place of all volumes is root's alone: {place:o}");
    ensure!(sh(&cluster, "db-0", "stat -c %g /data/sub/file")? == "2000", "files are the group's");

    cluster.kubectl(["delete", "pod", "db-0", "--wait=true"])?;
    cluster.rolled_out("default", "statefulset/db")?;
    ensure!(sh(&cluster, "db-0", "cat /data/sub/file")? == "precious", "a new pod finds it");
    cluster.kill()?;
    cluster.up()?;
    ensure!(sh(&cluster, "db-0", "cat /data/sub/file")? == "precious", "the old pod still has it");
    cluster.kubectl(["delete", "pod", "db-0", "--wait=true"])?;
    cluster.rolled_out("default", "statefulset/db")?;
    ensure!(sh(&cluster, "db-0", "cat /data/sub/file; wc -l < /data/log")? == "precious\n3", "and so has the next");

    grows(&cluster)?;
    is_shared_and_protected(&cluster)
}

fn grows(cluster: &Cluster) -> anyhow::Result<()> {
    let more = r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#;
    cluster.kubectl(["patch", "pvc", "data-db-0", "-p", more])?;
    eventually("the claim has grown", || {
        let size = field(cluster, "pvc", "data-db-0", ".status.capacity.storage")?;
        ensure!(size == "2Gi", "{size}");
        Ok(())
    })
}

fn is_shared_and_protected(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.apply(READER)?;
    cluster.kubectl(["wait", "--for=condition=Ready", "--timeout=60s", "pod/reader"])?;
    ensure!(sh(cluster, "reader", "cat /part/file")? == "precious", "a part of it is a volume too");
    ensure!(sh(cluster, "reader", "touch /whole/x").is_err(), "what is read only is not written");
    cluster.kubectl(["delete", "statefulset", "db"])?;
    cluster.kubectl(["wait", "--for=delete", "pod/db-0", "--timeout=60s"])?;
    cluster.kubectl(["delete", "pvc", "data-db-0", "--wait=false"])?;
    let kept = field(cluster, "pvc", "data-db-0", ".metadata.finalizers[0]")?;
    ensure!(kept == "kubernetes.io/pvc-protection", "{kept}");
    ensure!(sh(cluster, "reader", "cat /part/file")? == "precious", "who uses it keeps it");
    cluster.kubectl(["delete", "pod", "reader"])?;
    eventually("the claim, its volume and the directory are gone", || {
        gone(cluster, "pvc")?;
        gone(cluster, "pv")?;
        let left = volumes(cluster)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

const EPHEMERAL: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: scratch }
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - name: tmp
    ephemeral: { volumeClaimTemplate: { spec: {
      accessModes: [ReadWriteOncePod], storageClassName: now, resources: { requests: { storage: 1Gi } } } } }
  containers:
  - name: main
    image: "knarr.local/busybox:bookworm"
    command: [sh, -c, "echo x > /tmp/x; sleep 3600"]
    volumeMounts: [{ name: tmp, mountPath: /tmp }]
"#;

const STATIC: &str = r#"
apiVersion: v1
kind: PersistentVolume
metadata: { name: shelf }
spec:
  capacity: { storage: 5Gi }
  accessModes: [ReadWriteMany]
  storageClassName: ""
  hostPath: { path: PLACE, type: DirectoryOrCreate }
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: books }
spec: { accessModes: [ReadWriteMany], storageClassName: "", resources: { requests: { storage: 1Gi } } }
---
apiVersion: v1
kind: Pod
metadata: { name: librarian }
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{ name: books, persistentVolumeClaim: { claimName: books } }]
  containers:
  - name: main
    image: "knarr.local/busybox:bookworm"
    command: [sh, -c, "echo read > /books/one; sleep 3600"]
    volumeMounts: [{ name: books, mountPath: /books }]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: { name: idle }
spec: { accessModes: [ReadWriteOnce], resources: { requests: { storage: 1Gi } } }
"#;

const LATE: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: first }
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{ name: data, persistentVolumeClaim: { claimName: idle } }]
  containers:
  - name: main
    image: "knarr.local/busybox:bookworm"
    command: [sh, -c, "echo written > /data/x; sleep 3600"]
    volumeMounts: [{ name: data, mountPath: /data }]
"#;

const QUOTA: &str = r"
apiVersion: v1
kind: ResourceQuota
metadata: { name: small }
spec: { hard: { persistentvolumeclaims: 1, count/configmaps: 3 } }
";

#[test]
fn claims_of_pods_of_people_and_of_nobody() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-claims", &["busybox"])?;
    cluster.apply(CLASS)?;
    cluster.apply(EPHEMERAL)?;
    let shelf = tempfile::tempdir()?;
    let place = shelf.path().join("shelf");
    cluster.apply(&STATIC.replace("PLACE", &place.display().to_string()))?;
    for pod in ["scratch", "librarian"] {
        cluster.kubectl(["wait", "--for=condition=Ready", "--timeout=60s", &format!("pod/{pod}")])?;
    }
    let owner = field(&cluster, "pvc", "scratch-tmp", ".metadata.ownerReferences[0].name")?;
    ensure!(owner == "scratch", "{owner}");
    cluster.kubectl(["delete", "pod", "scratch"])?;
    eventually("the claim of a pod goes with it", || {
        let left = volumes(&cluster)?;
        ensure!(left.is_empty(), "{left:?}");
        ensure!(cluster.kubectl(["get", "pvc", "scratch-tmp"]).is_err(), "the claim is still there");
        Ok(())
    })?;
    eventually("what a pod wrote is where the volume is", || Ok(std::fs::read_to_string(place.join("one"))?))?;
    cluster.kubectl(["delete", "pod", "librarian"])?;
    cluster.kubectl(["delete", "pvc", "books"])?;
    eventually("a volume that is kept is released", || {
        let phase = field(&cluster, "pv", "shelf", ".status.phase")?;
        ensure!(phase == "Released", "{phase}");
        Ok(())
    })?;
    ensure!(place.join("one").exists(), "its data stays");

    let class = field(&cluster, "pvc", "idle", ".spec.storageClassName")?;
    ensure!(class == "local", "who chooses no class gets the default one: {class}");
    eventually("a claim that nobody uses says that it waits", || {
        let told = cluster.kubectl(["describe", "pvc", "idle"])?;
        ensure!(told.contains("waiting for first consumer to be created before binding"), "{told}");
        Ok(())
    })?;
    late(&cluster)?;
    counted(&cluster)
}

/// A claim of the class `local` is bound when a pod that uses it has a node, and its volume is that node's.
fn late(cluster: &Cluster) -> anyhow::Result<()> {
    ensure!(field(cluster, "pvc", "idle", ".status.phase")? == "Pending");
    let mode = field(cluster, "storageclass", "local", ".volumeBindingMode")?;
    ensure!(mode == "WaitForFirstConsumer", "{mode}");
    cluster.apply(LATE)?;
    cluster.kubectl(["wait", "--for=condition=Ready", "--timeout=60s", "pod/first"])?;
    let node = field(cluster, "pod", "first", ".spec.nodeName")?;
    let chosen = field(cluster, "pvc", "idle", r".metadata.annotations.volume\.kubernetes\.io/selected-node")?;
    ensure!(chosen == node, "the scheduler chose {chosen}, the pod is on {node}");
    let volume = field(cluster, "pvc", "idle", ".spec.volumeName")?;
    let terms = field(cluster, "pv", &volume, ".spec.nodeAffinity.required.nodeSelectorTerms")?;
    ensure!(terms.contains(&node), "{terms}");
    let shown = cluster.kubectl(["get", "pvc", "idle", "--no-headers"])?;
    let columns: Vec<&str> = shown.split_whitespace().take(6).collect();
    ensure!(columns == ["idle", "Bound", &volume, "1Gi", "RWO", "local"], "{shown}");
    ensure!(sh(cluster, "first", "cat /data/x")? == "written", "it can be used");
    cluster.kubectl(["delete", "pod", "first"])?;
    Ok(())
}

/// What a quota limits is counted and refused.
fn counted(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.apply(QUOTA)?;
    eventually("what there is has been counted", || {
        let used = cluster.get(["resourcequota", "small"])?["status"]["used"].clone();
        ensure!(used["persistentvolumeclaims"] == "1" && used["count/configmaps"] == "1", "{used}");
        Ok(())
    })?;
    let claim = STATIC.split("---").nth(1).context("a claim")?;
    let Err(refused) = cluster.apply(claim) else { anyhow::bail!("a second claim fits") };
    let refused = format!("{refused:#}");
    let words = "exceeded quota: small, requested: persistentvolumeclaims=1, used: persistentvolumeclaims=1, limited: persistentvolumeclaims=1";
    ensure!(refused.contains(words), "{refused}");
    cluster.kubectl(["create", "configmap", "a"])?;
    cluster.kubectl(["create", "configmap", "b"])?;
    ensure!(cluster.kubectl(["create", "configmap", "c"]).is_err(), "three are counted");
    cluster.kubectl(["delete", "configmap", "a"])?;
    eventually("what goes is given back", || cluster.kubectl(["create", "configmap", "c"]).map(drop))
}

const POSTGRES: &str = r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: postgres }
spec:
  serviceName: postgres
  selector: { matchLabels: { app: postgres } }
  template:
    metadata: { labels: { app: postgres } }
    spec:
      containers:
      - name: main
        image: "knarr.local/postgres:bookworm"
        volumeMounts: [{ name: data, mountPath: /data }]
        readinessProbe: { exec: { command: [psql, -h, /tmp, -U, postgres, -c, "select 1"] }, periodSeconds: 1 }
  volumeClaimTemplates:
  - metadata: { name: data }
    spec: { accessModes: [ReadWriteOnce], storageClassName: now, resources: { requests: { storage: 1Gi } } }
"#;

#[test]
fn a_database_keeps_what_was_committed() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-postgres", &["postgres"])?;
    cluster.apply(CLASS)?;
    cluster.apply(POSTGRES)?;
    cluster.rolled_out("default", "statefulset/postgres")?;
    let sql = |text: &str| -> anyhow::Result<String> {
        let command = ["exec", "postgres-0", "--", "psql", "-h", "/tmp", "-U", "postgres", "-Atc", text];
        Ok(cluster.kubectl(command)?.trim().to_owned())
    };
    sql("create table sagas (name text)")?;
    sql("insert into sagas values ('Egil')")?;
    cluster.kubectl(["delete", "pod", "postgres-0", "--grace-period=0", "--force"])?;
    cluster.rolled_out("default", "statefulset/postgres")?;
    sql("insert into sagas values ('Njal')")?;
    cluster.kill()?;
    cluster.up()?;
    cluster.kubectl(["delete", "pod", "postgres-0"])?;
    cluster.rolled_out("default", "statefulset/postgres")?;
    ensure!(sql("select string_agg(name, ',' order by name) from sagas")? == "Egil,Njal");
    Ok(())
}
