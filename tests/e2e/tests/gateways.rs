//! The Gateway API as its users know it: kubectl writes Gateways and routes, curl sees what they do.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, run};
use serde_json::Value;

/// A server that answers with its own name.
fn server(namespace: &str, name: &str) -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: knarr.local/busybox:bookworm
        command: [sh, -c, "echo {name} >/tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
---"#
    )
}

const GATEWAY: &str = r#"
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: knarr
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, hostname: safe.example, tls: {certificateRefs: [{name: safe}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: front, sectionName: http}]
  hostnames: [shop.example]
  rules:
  - matches: [{headers: [{name: x-version, value: two}]}]
    backendRefs: [{name: two, port: 80}]
  - matches: [{path: {value: /both}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: one, port: 80, weight: 1}, {name: two, port: 80, weight: 1}]
  - matches: [{path: {value: /old}}]
    filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example, statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /new}}}]
  - matches: [{path: {value: /far}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: far, namespace: elsewhere, port: 80}]
  - backendRefs: [{name: one, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: safe}
spec:
  parentRefs: [{name: front, sectionName: https}]
  rules: [{backendRefs: [{name: two, port: 80}]}]
"#;

const GRANT: &str = r#"
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: shop, namespace: elsewhere}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service, name: far}]
"#;

/// The status and reason of a condition.
fn condition(conditions: &Value, name: &str) -> Option<(String, String)> {
    let found = conditions.as_array()?.iter().find(|condition| condition["type"] == name)?;
    Some((found["status"].as_str()?.to_owned(), found["reason"].as_str()?.to_owned()))
}

/// Waits until a condition of the first parent of route `name` is so.
fn route_is(cluster: &Cluster, name: &str, which: &str, expected: (&str, &str)) -> anyhow::Result<()> {
    eventually(&format!("{which} of {name} is {expected:?}"), || {
        let route = cluster.get(["httproute", name])?;
        let found = condition(&route["status"]["parents"][0]["conditions"], which).context("no condition")?;
        ensure!((found.0.as_str(), found.1.as_str()) == expected, "{found:?}");
        Ok(())
    })
}

/// What curl prints of `path` at the host of the shop.
fn shop(cluster: &Cluster, path: &str, more: &[&str]) -> anyhow::Result<String> {
    let url = format!("http://shop.example:{}{path}", cluster.setting("gateway.httpPort")?);
    cluster.curl(more.iter().copied().chain(["--connect-to", "::127.0.0.1:", url.as_str()]))
}

#[test]
fn routes_of_the_gateway_api_are_served() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-gateways", &["busybox"])?;
    eventually("the class is accepted", || {
        let class = cluster.get(["gatewayclass", "knarr"])?;
        let accepted = condition(&class["status"]["conditions"], "Accepted").context("no condition")?;
        ensure!(accepted.0 == "True", "{accepted:?}");
        Ok(())
    })?;
    cluster.kubectl(["create", "namespace", "elsewhere"])?;
    let servers = [server("default", "one"), server("default", "two"), server("elsewhere", "far")];
    cluster.apply(&servers.concat())?;
    certificate(&cluster)?;
    cluster.apply(GATEWAY)?;
    for (namespace, name) in [("default", "one"), ("default", "two"), ("elsewhere", "far")] {
        cluster.rolled_out(namespace, &format!("deployment/{name}"))?;
    }
    cluster.kubectl(["wait", "--for=condition=Programmed", "gateway/front", "--timeout=60s"])?;
    matched_split_and_redirected(&cluster)?;
    granted(&cluster)?;
    encrypted(&cluster)
}

fn matched_split_and_redirected(cluster: &Cluster) -> anyhow::Result<()> {
    eventually("the route serves", || {
        let answer = shop(cluster, "/", &[])?;
        ensure!(answer.trim() == "one", "{answer}");
        Ok(())
    })?;
    ensure!(shop(cluster, "/", &["-H", "x-version: two"])?.trim() == "two", "a header chooses the backend");
    let mut seen = BTreeSet::new();
    eventually("both backends get their share", || {
        seen.insert(shop(cluster, "/both", &[])?.trim().to_owned());
        ensure!(seen.len() == 2, "{seen:?}");
        Ok(())
    })?;
    let head = shop(cluster, "/old/x?a=b", &["-I"])?;
    let port = cluster.setting("gateway.httpPort")?;
    let location = format!("location: http://new.example:{port}/new?a=b");
    ensure!(head.starts_with("HTTP/1.1 301") && head.to_lowercase().contains(&location), "{head}");
    let gateway = cluster.get(["gateway", "front"])?;
    let listener = &gateway["status"]["listeners"][0];
    ensure!(listener["attachedRoutes"] == 1, "{listener}");
    Ok(())
}

fn granted(cluster: &Cluster) -> anyhow::Result<()> {
    route_is(cluster, "shop", "ResolvedRefs", ("False", "RefNotPermitted"))?;
    let refused = shop(cluster, "/far", &["-o", "/dev/null", "-w", "%{http_code}", "--no-fail"])?;
    ensure!(refused == "500", "{refused}");
    cluster.apply(GRANT)?;
    route_is(cluster, "shop", "ResolvedRefs", ("True", "ResolvedRefs"))?;
    let answer = eventually("the granted service answers", || shop(cluster, "/far", &[]))?;
    ensure!(answer.trim() == "far", "{answer}");
    cluster.kubectl(["delete", "referencegrant", "-n", "elsewhere", "shop"])?;
    route_is(cluster, "shop", "ResolvedRefs", ("False", "RefNotPermitted"))
}

fn certificate(cluster: &Cluster) -> anyhow::Result<()> {
    let (chain, key) = (cluster.data().join("safe.crt"), cluster.data().join("safe.key"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]);
    openssl.args(["-subj", "/CN=safe.example", "-addext", "subjectAltName=DNS:safe.example", "-keyout"]);
    run(openssl.arg(&key).arg("-out").arg(&chain))?;
    let (chain, key) = (format!("--cert={}", chain.display()), format!("--key={}", key.display()));
    cluster.kubectl(["create", "secret", "tls", "safe", chain.as_str(), key.as_str()]).map(drop)
}

fn encrypted(cluster: &Cluster) -> anyhow::Result<()> {
    let port = cluster.setting("gateway.httpsPort")?;
    let url = format!("https://safe.example:{port}/");
    let trusted = cluster.data().join("safe.crt").display().to_string();
    let safe = ["--cacert", trusted.as_str(), "--connect-to", "::127.0.0.1:", url.as_str()];
    let answer = eventually("the TLS listener serves with its certificate", || cluster.curl(safe))?;
    ensure!(answer.trim() == "two", "{answer}");
    let secret = cluster.get(["secret", "safe"])?;
    ensure!(secret["type"] == "kubernetes.io/tls", "{secret}");
    cluster.kubectl(["delete", "secret", "safe"])?;
    eventually("the listener tells that its certificate is gone", || {
        let gateway = cluster.get(["gateway", "front"])?;
        let found =
            condition(&gateway["status"]["listeners"][1]["conditions"], "ResolvedRefs").context("no condition")?;
        ensure!(found == ("False".to_owned(), "InvalidCertificateRef".to_owned()), "{found:?}");
        Ok(())
    })
}
