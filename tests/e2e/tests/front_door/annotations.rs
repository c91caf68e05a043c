//! The annotations of ingress-nginx.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually};
use serde_json::json;

use crate::{ask, ingress, routed, until};

pub(crate) fn rewrites(cluster: &Cluster) -> anyhow::Result<()> {
    let host = "rewrite.localhost";
    let path = ("/api(/|$)(.*)", "ImplementationSpecific", "main");
    routed(cluster, "rewrite", host, path, &[("rewrite-target", "/$2"), ("use-regex", "true")])?;
    let heard = until(cluster, host, "/api/v1/things?page=2", &[], 200)?.heard()?;
    ensure!(heard["path"] == "/v1/things?page=2", "{heard}");
    ensure!(
        heard["headers"]["x-forwarded-for"] == "127.0.0.1" && heard["headers"]["x-forwarded-proto"] == "http",
        "{heard}"
    );
    ensure!(ask(cluster, host, "/other", &[])?.status == 404);

    ingress(cluster, "app-root", "root.localhost", "main", &[("app-root", "/start")])?;
    let answer = until(cluster, "root.localhost", "/", &[], 302)?;
    ensure!(answer.header("location").is_some_and(|to| to.ends_with("/start")), "{:?}", answer.headers);
    ensure!(ask(cluster, "root.localhost", "/start", &[])?.status == 200);

    ingress(cluster, "moved", "moved.localhost", "main", &[("permanent-redirect", "https://example.com/new")])?;
    let answer = until(cluster, "moved.localhost", "/old?x", &[], 301)?;
    ensure!(answer.header("location") == Some("https://example.com/new"), "{:?}", answer.headers);

    let vhost = [("upstream-vhost", "inner.local"), ("x-forwarded-prefix", "/outer"), ("proxy-body-size", "1k")];
    ingress(cluster, "vhost", "vhost.localhost", "main", &vhost)?;
    let heard = until(cluster, "vhost.localhost", "/", &[], 200)?.heard()?;
    ensure!(heard["headers"]["host"] == "inner.local" && heard["headers"]["x-forwarded-prefix"] == "/outer", "{heard}");
    let large = "x".repeat(2000);
    ensure!(ask(cluster, "vhost.localhost", "/", &["--data", &large])?.status == 413);

    let cors = [("enable-cors", "true"), ("cors-allow-origin", "https://*.example.com")];
    ingress(cluster, "cors", "cors.localhost", "main", &cors)?;
    let preflight =
        ["-X", "OPTIONS", "-H", "Origin: https://app.example.com", "-H", "Access-Control-Request-Method: PUT"];
    let answer = until(cluster, "cors.localhost", "/", &preflight, 204)?;
    ensure!(answer.header("access-control-allow-origin") == Some("https://app.example.com"), "{:?}", answer.headers);
    let answer = ask(cluster, "cors.localhost", "/", &["-H", "Origin: https://evil.test"])?;
    ensure!(answer.status == 200 && answer.header("access-control-allow-origin").is_none(), "{:?}", answer.headers);
    Ok(())
}

pub(crate) fn passing(cluster: &Cluster) -> anyhow::Result<()> {
    ingress(cluster, "closed-in", "inside.localhost", "main", &[("whitelist-source-range", "10.99.0.0/16")])?;
    until(cluster, "inside.localhost", "/", &[], 403)?;
    ingress(
        cluster,
        "closed-in",
        "inside.localhost",
        "main",
        &[("whitelist-source-range", "10.99.0.0/16,127.0.0.0/8")],
    )?;
    until(cluster, "inside.localhost", "/", &[], 200)?;

    // A service of the cluster is asked; it is the echo, which lets everybody in, and its answer's headers go on.
    let url = "http://other.door.svc.cluster.local/check";
    ingress(
        cluster,
        "asked",
        "asked.localhost",
        "main",
        &[("auth-url", url), ("auth-response-headers", "Content-Type")],
    )?;
    let heard = until(cluster, "asked.localhost", "/x", &["-H", "X-Forwarded-User: admin"], 200)?.heard()?;
    ensure!(heard["headers"]["content-type"] == "application/json", "{heard}");
    let nobody = "http://nobody.door.svc.cluster.local/check";
    ingress(cluster, "unasked", "unasked.localhost", "main", &[("auth-url", nobody)])?;
    let answer = until(cluster, "unasked.localhost", "/", &[], 503)?;
    ensure!(!answer.body.contains("pod"), "who cannot be asked lets nobody in: {}", answer.body);
    Ok(())
}

pub(crate) fn passwords(cluster: &Cluster) -> anyhow::Result<()> {
    // anna / secret, as `htpasswd -s` writes it
    let file = "anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    let literal = format!("--from-literal=auth={file}");
    cluster.kubectl(["-n", "door", "create", "secret", "generic", "people", literal.as_str()])?;
    let annotations = [("auth-type", "basic"), ("auth-secret", "people"), ("auth-realm", "the door")];
    ingress(cluster, "basic", "basic.localhost", "main", &annotations)?;
    let answer = until(cluster, "basic.localhost", "/", &[], 401)?;
    ensure!(answer.header("www-authenticate").is_some_and(|asks| asks.contains("the door")), "{:?}", answer.headers);
    until(cluster, "basic.localhost", "/", &["--user", "anna:secret"], 200)?;
    ensure!(ask(cluster, "basic.localhost", "/", &["--user", "anna:wrong"])?.status == 401);
    // Another password is in force as soon as the Secret says so.
    let patch = json!({ "stringData": { "auth": "anna:{SHA}qvTGHdzF6KLavt4PO0gs2a6pQ00=" } }).to_string();
    cluster.kubectl(["-n", "door", "patch", "secret", "people", "--type=merge", "-p", patch.as_str()])?;
    until(cluster, "basic.localhost", "/", &["--user", "anna:hello"], 200)?;
    ensure!(ask(cluster, "basic.localhost", "/", &["--user", "anna:secret"])?.status == 401);
    Ok(())
}

pub(crate) fn canaries(cluster: &Cluster) -> anyhow::Result<()> {
    let host = "canary.localhost";
    ingress(cluster, "canary-main", host, "main", &[])?;
    until(cluster, host, "/", &[], 200)?;
    let canary =
        [("canary", "true"), ("canary-by-header", "X-Canary"), ("canary-by-cookie", "canary"), ("canary-weight", "0")];
    ingress(cluster, "canary-new", host, "other", &canary)?;
    let pod = |args: &[&str]| -> anyhow::Result<String> {
        let heard = ask(cluster, host, "/", args)?.heard()?;
        Ok(heard["pod"].as_str().context("a pod")?.split('-').next().unwrap_or_default().to_owned())
    };
    eventually("the canary is there", || {
        let seen = pod(&["-H", "X-Canary: always"])?;
        ensure!(seen == "other", "{seen}");
        Ok(())
    })?;
    ensure!(pod(&["-H", "Cookie: canary=always"])? == "other");
    for _ in 0..10 {
        ensure!(pod(&[])? == "main");
    }
    let half = [("canary", "true"), ("canary-weight", "50")];
    ingress(cluster, "canary-new", host, "other", &half)?;
    eventually("both are seen", || {
        let seen: Vec<String> = (0..10).map(|_| pod(&[])).collect::<Result<_, _>>()?;
        ensure!(seen.iter().any(|pod| pod == "main") && seen.iter().any(|pod| pod == "other"), "{seen:?}");
        Ok(())
    })
}

pub(crate) fn refusals(cluster: &Cluster) -> anyhow::Result<()> {
    ingress(cluster, "snippet", "snippet.localhost", "main", &[("configuration-snippet", "deny all;")])?;
    let answer = until(cluster, "snippet.localhost", "/", &[], 503)?;
    ensure!(answer.body.contains("configuration-snippet cannot be had"), "{}", answer.body);
    eventually("the Ingress is told", || {
        let events =
            cluster.kubectl(["-n", "door", "get", "events", "--field-selector", "involvedObject.name=snippet"])?;
        ensure!(events.contains("Closed") && events.contains("configuration-snippet"), "{events}");
        Ok(())
    })
}
