//! A login at the door: a person with a browser's cookies, a strict OpenID provider, an AccessPolicy on an Ingress.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, run};
use serde_json::json;

#[path = "../../../crates/platform/identity/tests/it/provider.rs"]
#[allow(dead_code, reason = "what other tests switch")]
mod provider;

const ISSUER: &str = "http://198.51.100.7:9000";

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: knarr.local/busybox:bookworm
        command: [sh, -c, "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\nprintf \"Content-Type: text/plain\\\\r\\\\n\\\\r\\\\n\"; env | grep ^HTTP_ | sort\\n' >/www/cgi-bin/page; chmod 755 /www/cgi-bin/page; exec httpd -f -p 8080 -h /www"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {client: s3cret, session: 0123456789abcdef0123456789abcdef}
---
apiVersion: gateway.knarr.dev/v1alpha1
kind: AccessPolicy
metadata: {name: login}
spec:
  targetRefs: [{group: networking.k8s.io, kind: Ingress, name: login}]
  oidc:
    issuer: http://198.51.100.7:9000
    plainHttp: true
    clientId: web
    clientSecret: {name: login, key: client}
    session: {secret: {name: login, key: session}}
    allow: {groups: [dev]}
    headers: [{claim: email, header: X-User}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: login, annotations: {cert-manager.io/cluster-issuer: knarr-ca}}
spec:
  tls: [{hosts: [login.localhost], secretName: login-tls}]
  rules:
  - host: login.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}
"#;

/// Runs the provider in the cluster's network until the test process ends.
fn provide(cluster: &Cluster, origin: &str) -> anyhow::Result<std::sync::Arc<provider::Provider>> {
    run(cluster.command("ip").args(["addr", "add", "198.51.100.7/32", "dev", "lo"]))?;
    let client = provider::Client {
        id: "web".to_owned(),
        secret: Some("s3cret".to_owned()),
        redirect_uris: vec![format!("{origin}/.knarr/callback")],
        after_logout: vec![format!("{origin}/")],
    };
    let alice = json!({"email": "alice@example.com", "email_verified": true, "groups": ["dev"]});
    let mallory = json!({"email": "mallory@example.com", "email_verified": true, "groups": []});
    let now = || {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or_default()
    };
    let made = provider::Provider::new(ISSUER, client, &[("alice", alice), ("mallory", mallory)], now);
    made.switches().user = Some("alice".to_owned());
    let (serving, namespace) = (made.clone(), std::fs::File::open(format!("/run/netns/{}", cluster.name))?);
    let (ready, listening) = std::sync::mpsc::channel();
    std::thread::spawn(move || -> anyhow::Result<()> {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(rustix::thread::LinkNameSpaceType::Network))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("198.51.100.7:9000").await?;
            ready.send(())?;
            serving.serve(listener).await;
            Ok(())
        })
    });
    listening.recv().context("the provider does not listen")?;
    Ok(made)
}

/// A person's browser: cookies in a file, redirects followed when asked to.
struct Browser<'a> {
    cluster: &'a Cluster,
    jar: std::path::PathBuf,
}

impl Browser<'_> {
    /// Status, how many redirects were followed, and text.
    fn visit(&self, url: &str, args: &[&str]) -> anyhow::Result<(u16, u32, String)> {
        let mut curl = self.cluster.command("curl");
        curl.args(["-sS", "--noproxy", "*", "--max-time", "10", "-w", "\n%{http_code} %{num_redirects}", "--cacert"]);
        curl.arg(self.cluster.ca()).arg("-b").arg(&self.jar).arg("-c").arg(&self.jar);
        let said = run(curl.args(args).arg(url))?;
        let (text, last) = said.trim_end_matches('\n').rsplit_once('\n').context("a last line")?;
        let (status, redirects) = last.split_once(' ').context("two numbers")?;
        Ok((status.parse()?, redirects.parse()?, text.to_owned()))
    }
}

const PERSON: &[&str] = &["-L", "-H", "Accept: text/html"];

#[test]
fn a_person_logs_in_and_out_and_a_stranger_does_not_pass() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-login", &["busybox"])?;
    let origin = format!("https://login.localhost:{}", cluster.setting("gateway.httpsPort")?);
    let page = format!("{origin}/cgi-bin/page?x=1");
    let provider = provide(&cluster, &origin)?;
    eventually("the kind is there", || cluster.kubectl(["get", "accesspolicies"]))?;
    cluster.apply(MANIFEST)?;
    cluster.rolled_out("default", "deployment/web")?;
    let browser = |name: &str| Browser { cluster: &cluster, jar: cluster.data().join(format!("{name}.cookies")) };

    let program = browser("program");
    eventually("a program is told to log in", || {
        let (status, _, text) = program.visit(&page, &[])?;
        ensure!(status == 401, "{status}: {text}");
        Ok(())
    })?;
    let alice = browser("alice");
    let (status, redirects, text) =
        alice.visit(&page, &[PERSON, &["-H", "X-User: admin", "-H", "X_User: admin"]].concat())?;
    ensure!(
        (status, redirects) == (200, 3),
        "to the provider, to the callback, to the page: {status} {redirects} {text}"
    );
    ensure!(
        text.contains("HTTP_X_USER=alice@example.com") && !text.contains("admin") && !text.contains("knarr-"),
        "{text}"
    );
    let (status, redirects, _) = alice.visit(&page, PERSON)?;
    ensure!((status, redirects) == (200, 0), "the session is kept: {status} {redirects}");
    ensure!(provider.faults().is_empty(), "{:?}", provider.faults());

    provider.switches().user = Some("mallory".to_owned());
    let (status, _, text) = browser("mallory").visit(&page, PERSON)?;
    ensure!(status == 403 && text.contains("none of the groups"), "{status} {text}");

    // a session outlives the gateway, for nothing of it is kept there
    cluster.kill()?;
    cluster.up()?;
    eventually("alice is still known", || {
        let (status, redirects, text) = alice.visit(&page, PERSON)?;
        ensure!((status, redirects) == (200, 0), "{status} {redirects} {text}");
        Ok(())
    })?;
    let logout = format!("{origin}/.knarr/logout");
    let (status, _, text) = alice.visit(&logout, &["-H", "Accept: text/html", "-H", "Sec-Fetch-Site: cross-site"])?;
    ensure!(status == 200 && text.contains("<form method=\"post\""), "another site only asks: {status} {text}");
    let (status, _, text) = alice.visit(&logout, &["-H", "Sec-Fetch-Site: same-origin"])?;
    ensure!(status == 302, "{status} {text}");
    let (status, _, _) = alice.visit(&page, &[])?;
    ensure!(status == 401, "logged out: {status}");

    // without what a session is made with nobody passes
    cluster.kubectl(["delete", "secret", "login"])?;
    eventually("the route is closed", || {
        let (status, _, text) = program.visit(&page, &[])?;
        ensure!(status == 503, "{status}: {text}");
        Ok(())
    })
}
