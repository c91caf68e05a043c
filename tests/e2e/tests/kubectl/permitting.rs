//! Who may do what, and what nobody may.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, input, run};

use super::namespace;

pub(super) fn permitting(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "permitting")?;
    let kubectl = |args: &[&str]| cluster.kubectl(["-n", "permitting"].iter().chain(args));
    kubectl(&["create", "secret", "generic", "door", "--from-literal=key=open"])?;
    let secret = cluster.get(["-n", "permitting", "secret", "door"])?;
    ensure!(secret["data"]["key"] == "b3Blbg==" && secret["type"] == "Opaque", "{secret}");
    kubectl(&["create", "configmap", "files", "--from-file=/etc/hostname", "--from-literal=a=b"])?;
    kubectl(&["create", "serviceaccount", "robot"])?;
    kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=secrets"])?;
    let who = "system:serviceaccount:permitting:robot";
    ensure!(kubectl(&["auth", "can-i", "get", "secrets", "--as", who]).is_err(), "no is exit code 1");
    kubectl(&["create", "rolebinding", "robot", "--role=reader", "--serviceaccount=permitting:robot"])?;
    ensure!(kubectl(&["auth", "can-i", "get", "secrets", "--as", who])?.trim() == "yes");
    ensure!(kubectl(&["auth", "can-i", "get", "secrets", "--as", who, "-n", "default"]).is_err());
    ensure!(kubectl(&["auth", "can-i", "--list", "--as", who])?.contains("secrets"));
    ensure!(cluster.kubectl(["auth", "whoami"])?.contains("kubernetes-admin"));
    let token = kubectl(&["create", "token", "robot", "--duration=10m"])?;
    let as_robot = |args: &[&str]| {
        let server = cluster.kubectl(["config", "view", "-o", "jsonpath={.clusters[0].cluster.server}"])?;
        let ca = cluster.ca();
        let mut command = cluster.command("kubectl");
        command
            .env("KUBECONFIG", "/dev/null")
            .args(["--server", &server, "--token", token.trim(), "--certificate-authority"])
            .arg(ca);
        run(command.args(["-n", "permitting"]).args(args))
    };
    ensure!(as_robot(&["get", "secret", "door", "-o", "name"])?.trim() == "secret/door");
    let refused = format!("{:#}", as_robot(&["delete", "secret", "door"]).err().context("the robot may not delete")?);
    ensure!(
        refused.contains(r#"User "system:serviceaccount:permitting:robot" cannot delete resource "secrets""#),
        "{refused}"
    );
    Ok(())
}

pub(super) fn refused(cluster: &Cluster) -> anyhow::Result<()> {
    let kubectl = |args: &[&str]| cluster.kubectl(args.iter());
    let wrong = |manifest: &str| {
        input(cluster.command("kubectl").args(["apply", "-f", "-"]), manifest)
            .err()
            .map(|error| format!("{error:#}"))
            .context("it is refused")
    };
    let told = wrong("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Wrong_Name}\n")?;
    ensure!(told.contains("metadata.name: Invalid value: \"Wrong_Name\""), "{told}");
    let told = wrong("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatum: {}\n")?;
    ensure!(told.contains("unknown field \"datum\""), "{told}");
    // it looks for the kind in OpenAPI first, then in discovery
    let told = wrong("apiVersion: v9\nkind: Wonder\nmetadata: {name: a}\n")?;
    ensure!(told.contains("no matches for kind \"Wonder\""), "{told}");
    let told = wrong("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n")?;
    ensure!(told.contains("spec.containers: Required value"), "{told}");
    let told = wrong("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: absent}\n")?;
    ensure!(told.contains("namespaces \"absent\" not found"), "{told}");
    for args in [
        &["get", "wonders"][..],
        &["get", "pod", "absent"],
        &["delete", "namespace", "kube-system"],
        &["logs", "absent"],
        &["exec", "absent", "--", "true"],
    ] {
        ensure!(kubectl(args).is_err(), "{args:?} fails");
    }
    Ok(())
}
