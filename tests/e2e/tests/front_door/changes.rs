//! Changes while requests are under way.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually};
use serde_json::{Value, json};

use crate::ingress;

const HOST: &str = "storm.localhost";
/// How often each kind of change is made.
const TURNS: usize = 4;

/// Changes of routes, rollouts of the pods behind them, and new certificates: no request fails, over kept connections
/// and new ones.
pub(crate) fn storm(cluster: &Cluster) -> anyhow::Result<()> {
    leading_to(cluster, "main", 1)?;
    let port = cluster.setting("gateway.httpsPort")?;
    let url = format!("https://{HOST}:{port}/");
    eventually("the certificate is there", || cluster.curl([url.as_str()]))?;
    let mut client = cluster.command("python3");
    client.args(["-c", include_str!("storm.py"), HOST, &port]).arg(cluster.ca());
    let mut asking = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    for turn in 0..TURNS {
        let before = revision(cluster)?;
        renewed(cluster)?;
        cluster.kubectl(["-n", "door", "rollout", "restart", "deployment/main"])?;
        for change in 0..10 {
            leading_to(cluster, if change % 2 == 0 { "other" } else { "main" }, change + 2)?;
            let beside = format!("beside-{turn}-{change}");
            ingress(cluster, &beside, &format!("{beside}.localhost"), "main", &[])?;
        }
        cluster.rolled_out("door", "deployment/main")?;
        eventually("the certificate is renewed", || {
            let after = revision(cluster)?;
            ensure!(after > before, "revision {after}");
            Ok(())
        })?;
    }
    drop(asking.stdin.take().context("an input")?); // its end is the sign to stop
    let said = String::from_utf8(asking.wait_with_output()?.stdout)?;
    let said: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    ensure!(said["failed"].as_array().is_some_and(Vec::is_empty), "{said}");
    ensure!(said["kept"].as_u64() > Some(100) && said["new"].as_u64() > Some(100), "{said}");
    ensure!(said["certificates"].as_u64() > Some(TURNS as u64), "every one of them was shown: {said}");
    Ok(())
}

/// The host leads to `service`, with a certificate of our own authority and bodies of some megabytes.
fn leading_to(cluster: &Cluster, service: &str, megabytes: usize) -> anyhow::Result<()> {
    cluster.apply(&format!(
        r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: storm
  namespace: door
  annotations:
    cert-manager.io/cluster-issuer: knarr-ca
    nginx.ingress.kubernetes.io/proxy-body-size: {megabytes}m
spec:
  tls: [{{hosts: [{HOST}], secretName: storm-tls}}]
  rules:
  - host: {HOST}
    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}
"#
    ))?;
    Ok(())
}

fn revision(cluster: &Cluster) -> anyhow::Result<u64> {
    let certificate = cluster.get(["-n", "door", "certificate", "storm-tls"])?;
    certificate["status"]["revision"].as_u64().context("a revision")
}

/// Asks for a new certificate as `cmctl renew` does.
fn renewed(cluster: &Cluster) -> anyhow::Result<()> {
    let certificate = cluster.get(["-n", "door", "certificate", "storm-tls"])?;
    let mut conditions = certificate["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|condition| condition["type"] != "Issuing");
    conditions.push(json!({
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered",
        "message": "Certificate re-issuance manually triggered",
        "lastTransitionTime": certificate["status"]["notBefore"],
    }));
    let patch = json!({ "status": { "conditions": conditions } }).to_string();
    let args =
        ["-n", "door", "patch", "certificate", "storm-tls", "--subresource=status", "--type=merge", "-p", &patch];
    cluster.kubectl(args)?;
    Ok(())
}
