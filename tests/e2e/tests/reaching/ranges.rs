//! Ranges of service addresses as objects: one is added, used, and goes when nobody needs it.

use anyhow::ensure;
use knarr_e2e::{Cluster, eventually};

pub(super) fn ranges(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", "ranges"])?;
    ensure!(cluster.kubectl(["get", "servicecidrs"])?.contains("kubernetes"));
    cluster.apply(
        "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: more}\nspec: {cidrs: [10.143.7.0/24]}\n",
    )?;
    cluster.kubectl(["wait", "--for=condition=Ready", "servicecidr/more", "--timeout=30s"])?;
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: far, namespace: ranges}\n\
         spec: {clusterIP: 10.143.7.9, ports: [{port: 80}]}\n";
    eventually("the range is in use", || cluster.apply(service))?;
    let parent = cluster.get(["ipaddress", "10.143.7.9"])?;
    ensure!(parent["spec"]["parentRef"]["name"] == "far", "{parent}");
    cluster.kubectl(["delete", "servicecidr", "more", "--wait=false"])?;
    eventually("it says what it waits for", || {
        let told = cluster.kubectl(["get", "servicecidr", "more", "-o", "jsonpath={.status.conditions[0]}"])?;
        ensure!(
            told.contains("Terminating") && told.contains("There are still IPAddresses referencing the ServiceCIDR"),
            "{told}"
        );
        Ok(())
    })?;
    cluster.kubectl(["-n", "ranges", "delete", "service", "far"])?;
    ensure!(cluster.kubectl(["get", "ipaddress", "10.143.7.9"]).is_err());
    cluster.kubectl(["wait", "--for=delete", "servicecidr/more", "--timeout=60s"])?;
    Ok(())
}
