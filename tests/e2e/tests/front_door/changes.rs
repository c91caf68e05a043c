//! Changes while requests are under way.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use knarr_e2e::Cluster;
use serde_json::Value;

use crate::{ingress, until};

/// Changes of routes, a rollout of the pods behind them, and a new certificate: no request fails.
pub(crate) fn storm(cluster: &Cluster) -> anyhow::Result<()> {
    let host = "storm.localhost";
    ingress(cluster, "storm", host, "main", &[])?;
    until(cluster, host, "/", &[], 200)?;
    let mut client = cluster.command("python3");
    client.args(["-c", include_str!("storm.py"), host, &cluster.setting("gateway.httpPort")?]);
    let mut asking = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    for turn in 0..30 {
        let size = format!("{}m", turn + 1);
        let service = if turn % 2 == 0 { "other" } else { "main" };
        ingress(cluster, "storm", host, service, &[("proxy-body-size", &size)])?;
        ingress(cluster, &format!("beside-{turn}"), &format!("beside-{turn}.localhost"), "main", &[])?;
    }
    asking.stdin.take().context("an input")?.flush()?; // dropped here: its end is the sign to stop
    let said = String::from_utf8(asking.wait_with_output()?.stdout)?;
    let said: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    ensure!(said["failed"].as_array().is_some_and(Vec::is_empty), "{said}");
    ensure!(said["kept"].as_u64() > Some(100) && said["new"].as_u64() > Some(100), "{said}");
    Ok(())
}
