//! What people are shown.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails, input, run};
use serde_json::Value;

use crate::{ingress, until};

pub(crate) fn routes(cluster: &Cluster) -> anyhow::Result<()> {
    ingress(cluster, "shown", "shown.localhost", "main", &[("proxy-body-size", "huge")])?;
    until(cluster, "shown.localhost", "/", &[], 200)?;
    let report: Value = serde_json::from_str(&run(&mut cluster.knarr(["gateway", "routes", "-o", "json"]))?)?;
    let rows = report["routes"].as_array().context("routes")?;
    let row = rows.iter().find(|row| row["host"] == "shown.localhost").context("the host is listed")?;
    ensure!(row["route"] == "Ingress door/shown (0/0)" && row["match"] == "/", "{row}");
    ensure!(row["to"][0].as_str().is_some_and(|to| to.contains("door/main:80") && to.contains("2 endpoints")), "{row}");
    let troubles = report["troubles"].to_string();
    ensure!(troubles.contains("proxy-body-size") && troubles.contains("BadAnnotation"), "{troubles}");
    let table = run(&mut cluster.knarr(["gateway", "routes"]))?;
    ensure!(table.starts_with("LISTEN") && table.contains("✗ Ingress door/shown"), "{table}");
    let figures = run(&mut cluster.knarr(["gateway", "metrics"]))?;
    let counted = "knarr_gateway_requests_total{kind=\"Ingress\",namespace=\"door\",name=\"shown\",rule=\"0/0\",\
        backend=\"door/main:80\",method=\"GET\",code=\"200\"}";
    ensure!(figures.contains(counted), "{figures}");
    Ok(())
}

pub(crate) fn check(cluster: &Cluster) -> anyhow::Result<()> {
    ingress(cluster, "checked", "checked.localhost", "main", &[("server-snippet", "x"), ("rewrite-target", "/")])?;
    eventually("the Ingress is there", || cluster.get(["-n", "door", "ingress", "checked"]))?;
    let manifest = cluster.kubectl(["-n", "door", "get", "ingress", "checked", "-o", "yaml"])?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &manifest)?;
    let path = file.path().to_str().context("a path")?;
    let said = fails(&mut cluster.knarr(["gateway", "check", path]), 1)?;
    ensure!(said.contains("server-snippet") && said.contains("closed") && said.contains("rewrite-target"), "{said}");
    let clean = manifest.replace("server-snippet", "proxy-buffering");
    let said = input(&mut cluster.knarr(["gateway", "check", "-"]), &clean)?;
    ensure!(said.contains("0 refused") && said.contains("ignored"), "{said}");
    Ok(())
}
