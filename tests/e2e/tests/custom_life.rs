//! The life of a custom resource with kubectl: defined, made, owned, scaled, kept over a restart, and gone with its owner,
//! its namespace or its definition.

use anyhow::ensure;
use knarr_e2e::{Cluster, eventually, run};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, kind: CronTab, shortNames: [ct]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What is to be done, and when.
            required: [cronSpec]
            properties:
              cronSpec: {type: string, description: As in a crontab.}
              image: {type: string, default: busybox}
              replicas: {type: integer, minimum: 0}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"#;

fn tab(namespace: &str, name: &str, metadata: &str) -> String {
    format!(
        "apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {{name: {name}, namespace: {namespace}{metadata}}}\nspec: {{cronSpec: '* * * * *', replicas: 1}}\n"
    )
}

#[test]
fn custom_resources_live_and_end_as_upstream_has_it() -> anyhow::Result<()> {
    let mut cluster = Cluster::start("e2e-life", &[])?;
    // what waits for the condition finds the paths at once
    cluster.apply(DEFINITION)?;
    cluster.kubectl(["wait", "--for=condition=Established", "--timeout=10s", "crd/crontabs.stable.example.com"])?;
    cluster.apply(&tab("default", "kept", ""))?;
    let wide = cluster.kubectl(["get", "ct", "-o", "wide"])?;
    let shown: Vec<Vec<&str>> = wide.lines().map(|line| line.split_whitespace().collect()).collect();
    ensure!(shown[0] == ["NAME", "SPEC", "REPLICAS"] && shown[1].last() == Some(&"1"), "{wide}");
    ensure!(cluster.kubectl(["explain", "crontab.spec"])?.contains("What is to be done, and when."));
    let fields = cluster.kubectl(["explain", "crontab", "--recursive"])?;
    ensure!(fields.contains("cronSpec\t<string> -required-") && fields.contains("finalizers"), "{fields}");
    let unknown = cluster.apply(&tab("default", "odd", "").replace("replicas", "replica"));
    let told = format!("{:#}", unknown.err().map_or_else(String::new, |error| format!("{error:#}")));
    ensure!(told.contains("unknown field \"spec.replica\""), "{told}");
    cluster.kubectl(["scale", "ct/kept", "--replicas=3"])?;
    ensure!(cluster.kubectl(["get", "ct", "kept", "-o", "jsonpath={.spec.replicas} {.spec.image}"])? == "3 busybox");

    owned(&cluster)?;
    restarted(&mut cluster)?;
    removed(&cluster)
}

/// Dependents go with their owner, and everything with its namespace.
fn owned(cluster: &Cluster) -> anyhow::Result<()> {
    let uid = cluster.kubectl(["get", "ct", "kept", "-o", "jsonpath={.metadata.uid}"])?;
    let owner =
        format!(", ownerReferences: [{{apiVersion: stable.example.com/v1, kind: CronTab, name: kept, uid: {uid}}}]");
    cluster
        .apply(&format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: child, namespace: default{owner}}}\n"))?;
    let lost = ", ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: gone, uid: 0-0}]";
    cluster.apply(&tab("default", "orphan", lost))?;
    eventually("an object whose owner is gone goes", || {
        ensure!(cluster.kubectl(["get", "ct", "orphan"]).is_err());
        Ok(())
    })?;
    ensure!(cluster.kubectl(["get", "configmap", "child"]).is_ok(), "its owner lives");
    cluster.kubectl(["create", "namespace", "short"])?;
    cluster.apply(&tab("short", "inside", ""))?;
    cluster.kubectl(["delete", "namespace", "short", "--timeout=60s"])?;
    ensure!(cluster.kubectl(["get", "ct", "-A", "-o", "name"])?.trim() == "crontab.stable.example.com/kept");
    Ok(())
}

fn restarted(cluster: &mut Cluster) -> anyhow::Result<()> {
    run(&mut cluster.knarr(["down"]))?;
    cluster.up()?;
    // the server is ready, so the kind is there
    ensure!(cluster.kubectl(["get", "ct", "kept", "-o", "jsonpath={.spec.replicas}"])? == "3");
    cluster.kubectl(["patch", "ct", "kept", "--type=merge", "-p", r#"{"spec":{"replicas":4}}"#])?;
    Ok(())
}

fn removed(cluster: &Cluster) -> anyhow::Result<()> {
    let hold = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    cluster.kubectl(["patch", "ct", "kept", "--type=merge", "-p", hold])?;
    cluster.kubectl(["delete", "crd", "crontabs.stable.example.com", "--wait=false"])?;
    eventually("the object is marked", || {
        let marked = cluster.kubectl(["get", "ct", "kept", "-o", "jsonpath={.metadata.deletionTimestamp}"])?;
        ensure!(!marked.is_empty());
        Ok(())
    })?;
    ensure!(cluster.apply(&tab("default", "late", "")).is_err(), "nothing new is taken");
    ensure!(cluster.kubectl(["get", "crd", "crontabs.stable.example.com"]).is_ok(), "the object holds it");
    cluster.kubectl(["patch", "ct", "kept", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#])?;
    cluster.kubectl(["wait", "--for=delete", "crd/crontabs.stable.example.com", "--timeout=30s"])?;
    eventually("the child goes with its owner", || {
        ensure!(cluster.kubectl(["get", "configmap", "child"]).is_err());
        Ok(())
    })?;
    ensure!(!cluster.kubectl(["api-resources"])?.contains("crontabs"));
    Ok(())
}
