//! Policies attached to routes: traffic, access, cache.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, run};

use crate::{ask, ingress, until};

/// A policy of `kind` for the Ingress `target`.
fn policy(cluster: &Cluster, kind: &str, name: &str, target: &str, spec: &str) -> anyhow::Result<()> {
    cluster.apply(&format!(
        "apiVersion: gateway.knarr.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: door}}\nspec:\n  \
        targetRefs: [{{group: networking.k8s.io, kind: Ingress, name: {target}}}]\n{spec}"
    ))?;
    Ok(())
}

/// The condition `Accepted` of a policy: its status, reason and message.
fn accepted(cluster: &Cluster, resource: &str, name: &str, reason: &str) -> anyhow::Result<String> {
    eventually(&format!("{resource} {name} is told {reason}"), || {
        let found = cluster.get(["-n", "door", resource, name])?;
        let condition = &found["status"]["ancestors"][0]["conditions"][0];
        ensure!(condition["reason"] == reason, "{}", found["status"]);
        Ok(condition["message"].as_str().unwrap_or_default().to_owned())
    })
}

pub(crate) fn traffic(cluster: &Cluster) -> anyhow::Result<()> {
    let host = "limited.localhost";
    ingress(cluster, "limited", host, "main", &[])?;
    until(cluster, host, "/", &[], 200)?;
    let rules = "  rules: {rules: [{name: admin, action: Deny, paths: [{value: /admin}]}]}\n";
    let limits = "  rateLimits: [{name: each, requests: 3, per: 1h, burst: 3, by: Client, headers: true}]\n";
    policy(cluster, "TrafficPolicy", "limited", "limited", &format!("{rules}{limits}"))?;
    accepted(cluster, "trafficpolicy", "limited", "Accepted")?;
    until(cluster, host, "/admin/x", &[], 403)?;
    ensure!(ask(cluster, host, "/x/../admin", &[])?.status == 403, "a path has one reading");
    ensure!(ask(cluster, host, "/%61dmin", &[])?.status == 403, "however it is written");
    let answer = until(cluster, host, "/", &[], 429)?;
    ensure!(answer.header("retry-after").is_some() && answer.header("ratelimit").is_some(), "{:?}", answer.headers);

    policy(cluster, "TrafficPolicy", "second", "limited", "  limits: {requests: 5}\n")?;
    let message = accepted(cluster, "trafficpolicy", "second", "Conflicted")?;
    ensure!(message.contains("door/limited"), "{message}");
    policy(cluster, "TrafficPolicy", "lost", "nobody", "  limits: {requests: 5}\n")?;
    accepted(cluster, "trafficpolicy", "lost", "TargetNotFound")?;
    cluster.kubectl(["-n", "door", "delete", "trafficpolicy", "limited", "second"])?;
    until(cluster, host, "/admin", &[], 200)?;
    Ok(())
}

pub(crate) fn access(cluster: &Cluster) -> anyhow::Result<()> {
    let host = "keyed.localhost";
    ingress(cluster, "keyed", host, "main", &[])?;
    until(cluster, host, "/", &[], 200)?;
    let spec = "  addresses: {deny: [127.0.0.0/8]}\n";
    policy(cluster, "AccessPolicy", "keyed", "keyed", spec)?;
    accepted(cluster, "accesspolicy", "keyed", "Accepted")?;
    until(cluster, host, "/", &[], 403)?;
    // What it needs is not there: nobody passes, and it says what is missing.
    policy(cluster, "AccessPolicy", "keyed", "keyed", "  basic: {secret: nowhere}\n")?;
    let message = accepted(cluster, "accesspolicy", "keyed", "Invalid")?;
    ensure!(message.contains("nowhere"), "{message}");
    until(cluster, host, "/", &[], 503)?;
    cluster.kubectl(["-n", "door", "delete", "accesspolicy", "keyed"])?;
    until(cluster, host, "/", &[], 200)?;
    Ok(())
}

pub(crate) fn cache(cluster: &Cluster) -> anyhow::Result<()> {
    let host = "cached.localhost";
    ingress(cluster, "cached", host, "main", &[])?;
    until(cluster, host, "/", &[], 200)?;
    policy(cluster, "CachePolicy", "cached", "cached", "  overrideTtl: 1h\n")?;
    accepted(cluster, "cachepolicy", "cached", "Accepted")?;
    let state = |path: &str| -> anyhow::Result<String> {
        Ok(ask(cluster, host, path, &[])?.header("x-cache").unwrap_or("none").to_owned())
    };
    eventually("an answer is kept", || {
        let seen = state("/kept")?;
        ensure!(seen == "HIT", "{seen}");
        Ok(())
    })?;
    let kept = ask(cluster, host, "/kept", &[])?;
    ensure!(kept.header("age").is_some(), "{:?}", kept.headers);
    ensure!(state("/other")? == "MISS" && state("/other")? == "HIT");
    ensure!(ask(cluster, host, "/kept", &["-X", "POST"])?.heard()?["method"] == "POST", "only what is safe is kept");

    let port = cluster.setting("gateway.httpPort")?;
    let url = format!("http://{host}:{port}/other");
    let said = run(&mut cluster.knarr(["cache", "purge", "--url", url.as_str()]))?;
    ensure!(said.contains('1'), "{said}");
    ensure!(state("/other")? == "MISS");
    let figures = run(&mut cluster.knarr(["cache", "stats", "-o", "json"]))?;
    let figures: serde_json::Value = serde_json::from_str(&figures).with_context(|| figures.clone())?;
    ensure!(figures.to_string().contains("hits"), "{figures}");
    Ok(())
}
