//! TLS, HTTP/2, WebSocket, sessions.

use std::process::Command;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, run};

use crate::{ask, ingress, until};

pub(crate) fn tls(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.apply(
        r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: tls, namespace: door, annotations: {cert-manager.io/cluster-issuer: knarr-ca}}
spec:
  tls: [{hosts: [tls.localhost], secretName: tls-localhost}]
  rules:
  - host: tls.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: main, port: {number: 80}}}}]}
"#,
    )?;
    let port = cluster.setting("gateway.httpsPort")?;
    let url = format!("https://tls.localhost:{port}/x");
    eventually("the certificate is there", || cluster.curl([url.as_str()]))?;
    let versions =
        |flag: &str| cluster.curl([flag, "--output", "/dev/null", "--write-out", "%{http_version}", url.as_str()]);
    ensure!(versions("--http2")? == "2" && versions("--http1.1")? == "1.1");
    let heard: serde_json::Value = serde_json::from_str(&cluster.curl(["--http2", url.as_str()])?)?;
    ensure!(
        heard["headers"]["x-forwarded-proto"] == "https" && heard["headers"]["host"] == format!("tls.localhost:{port}"),
        "{heard}"
    );

    let answer = until(cluster, "tls.localhost", "/y?z", &[], 308)?;
    ensure!(answer.header("location") == Some(&*format!("https://tls.localhost:{port}/y?z")), "{:?}", answer.headers);

    // A name without a certificate is greeted with one that no client trusts, an old version with an alert.
    ensure!(cluster.curl([format!("https://unknown.localhost:{port}/")]).is_err());
    let greet = |flag: &str| -> Command {
        let mut command = cluster.command("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-servername", "tls.localhost", flag]);
        command.stdin(std::process::Stdio::null());
        command
    };
    run(&mut greet("-tls1_2")).context("TLS 1.2 is spoken")?;
    run(&mut greet("-tls1_3")).context("TLS 1.3 is spoken")?;
    ensure!(run(&mut greet("-tls1_1")).is_err(), "TLS 1.1 is not");
    let nameless = cluster
        .command("openssl")
        .args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-noservername"])
        .stdin(std::process::Stdio::null())
        .output()?;
    ensure!(String::from_utf8_lossy(&nameless.stdout).contains("BEGIN CERTIFICATE"), "who names nobody is greeted too");
    Ok(())
}

pub(crate) fn websocket(cluster: &Cluster) -> anyhow::Result<()> {
    ingress(cluster, "socket", "socket.localhost", "main", &[])?;
    until(cluster, "socket.localhost", "/", &[], 200)?;
    let mut client = cluster.command("python3");
    client.args(["-c", include_str!("websocket.py"), "socket.localhost", &cluster.setting("gateway.httpPort")?]);
    let said = run(&mut client)?;
    ensure!(said == "hello\nagain\n", "{said:?}");
    Ok(())
}

pub(crate) fn sessions(cluster: &Cluster) -> anyhow::Result<()> {
    let host = "sticky.localhost";
    let affinity = [("affinity", "cookie"), ("session-cookie-name", "route"), ("session-cookie-max-age", "60")];
    ingress(cluster, "sticky", host, "main", &affinity)?;
    let first = until(cluster, host, "/", &[], 200)?;
    let cookie = first.header("set-cookie").context("a cookie is given")?;
    ensure!(cookie.starts_with("route=") && cookie.contains("Max-Age=60") && cookie.contains("HttpOnly"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
    let pod = first.heard()?["pod"].clone();
    for _ in 0..10 {
        let again = ask(cluster, host, "/", &["--cookie", &cookie])?;
        ensure!(again.heard()?["pod"] == pod && again.header("set-cookie").is_none(), "{}", again.body);
    }
    Ok(())
}
