//! Claims of devices: they are given and freed, and no pod is started without what it was promised.

use anyhow::ensure;
use knarr_e2e::{Cluster, eventually};

const WORLD: &str = r#"
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: { name: gpus }
spec: { selectors: [{ cel: { expression: 'device.driver == "gpu.example.com"' } }] }
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: { name: fast }
spec:
  spec:
    devices:
      requests:
      - name: gpu
        exactly:
          deviceClassName: gpus
          selectors: [{ cel: { expression: 'device.attributes["gpu.example.com"].cores > 4' } }]
---
apiVersion: v1
kind: Pod
metadata: { name: p }
spec:
  terminationGracePeriodSeconds: 1
  resourceClaims: [{ name: gpu, resourceClaimTemplateName: fast }]
  containers: [{ name: main, image: "knarr.local/busybox:bookworm", command: [sleep, "3600"] }]
"#;

const EXTENDED: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: q }
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: "knarr.local/busybox:bookworm"
    command: [sleep, "3600"]
    resources: { limits: { example.com/gpu: 1 } }
"#;

/// The devices of the only node.
fn slice(node: &str) -> String {
    format!(
        r"
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {{ name: here }}
spec:
  driver: gpu.example.com
  nodeName: {node}
  pool: {{ name: here, generation: 1, resourceSliceCount: 1 }}
  devices:
  - {{ name: small, attributes: {{ cores: {{ int: 2 }} }} }}
  - {{ name: large, attributes: {{ cores: {{ int: 8 }} }} }}
"
    )
}

fn claim(cluster: &Cluster, path: &str) -> anyhow::Result<String> {
    cluster.kubectl(["get", "resourceclaims", "-o", &format!("jsonpath={{{path}}}")])
}

fn says(cluster: &Cluster, what: &str) -> anyhow::Result<()> {
    let told = cluster.kubectl(["get", "events", "-o", "jsonpath={.items[*].message}"])?;
    ensure!(told.contains(what), "not told {what:?}: {told}");
    Ok(())
}

#[test]
fn a_pod_gets_its_devices_and_is_not_started_without_their_driver() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-devices", &[])?;
    cluster.apply(WORLD)?;
    eventually("the pod is told what is missing", || {
        says(&cluster, "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable")
    })?;
    let node = cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    cluster.apply(&slice(&node))?;
    let missing = "DRA driver gpu.example.com is not registered";
    eventually("the node says why it does not start the pod", || says(&cluster, missing))?;
    let given = claim(&cluster, ".items[0].status.allocation.devices.results[0].device")?;
    ensure!(given == "large", "{given}");
    let uid = cluster.kubectl(["get", "pod", "p", "-o", "jsonpath={.metadata.uid}"])?;
    ensure!(claim(&cluster, ".items[0].status.reservedFor[0].uid")? == uid, "it is reserved for the pod");
    let state = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
    ensure!(cluster.kubectl(["get", "pod", "p", "-o", state])? == "ContainerCreating", "it waits");

    let taint = r#"[{"op":"add","path":"/spec/devices/1/taints","value":[{"key":"hot","effect":"NoExecute"}]}]"#;
    cluster.kubectl(["patch", "resourceslice", "here", "--type=json", "-p", taint])?;
    cluster.kubectl(["wait", "--for=delete", "pod/p", "--timeout=60s"])?;
    eventually("the claim is gone with its pod", || {
        let left = claim(&cluster, ".items[*].metadata.name")?;
        ensure!(left.is_empty(), "still there: {left}");
        Ok(())
    })?;
    stands_for_an_extended_resource(&cluster)
}

fn stands_for_an_extended_resource(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.apply(EXTENDED)?;
    eventually("the pod is told what is missing", || {
        says(cluster, "0/1 nodes are available: 1 Insufficient example.com/gpu.")
    })?;
    let named = r#"{"spec":{"extendedResourceName":"example.com/gpu"}}"#;
    cluster.kubectl(["patch", "deviceclass", "gpus", "--type=merge", "-p", named])?;
    let status = "jsonpath={.status.extendedResourceClaimStatus.resourceClaimName}";
    eventually("the pod names its claim", || {
        let name = cluster.kubectl(["get", "pod", "q", "-o", status])?;
        ensure!(name.starts_with("q-extended-resources-"), "{name:?}");
        Ok(())
    })?;
    let given = claim(cluster, ".items[0].status.allocation.devices.results[0].device")?;
    ensure!(given == "small", "the other has a taint: {given}");
    eventually("it is bound", || {
        let node = cluster.kubectl(["get", "pod", "q", "-o", "jsonpath={.spec.nodeName}"])?;
        ensure!(!node.is_empty(), "it has no node");
        Ok(())
    })?;
    cluster.kubectl(["delete", "pod", "q", "--wait=true"])?;
    eventually("the claim is gone with its pod", || {
        let left = claim(cluster, ".items[*].metadata.name")?;
        ensure!(left.is_empty(), "still there: {left}");
        Ok(())
    })
}
