//! Who may pass: the annotations of ingress-nginx about identity, with services that decide inside the cluster.

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, run};

/// A page that tells what headers it got, and a service that lets pass whom a cookie names.
const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: pages}
data:
  page: |
    #!/bin/sh
    printf 'Content-Type: text/plain\r\n\r\n'
    env | grep -E '^(HTTP_|REMOTE_USER)' | sort
  check: |
    #!/bin/sh
    case "$HTTP_COOKIE" in
      *session=alice*) printf 'Status: 200 OK\r\nX-Auth-User: alice\r\nX-Forwarded-User: alice\r\nX-Auth-Page: %s\r\n\r\n' "$HTTP_X_ORIGINAL_URL" ;;
      *session=mallory*) printf 'Status: 403 Forbidden\r\n\r\nnot you\n' ;;
      *) printf 'Status: 401 Unauthorized\r\n\r\nwho are you\n' ;;
    esac
---
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
        command: [sh, -c, "mkdir -p /www/cgi-bin; for f in page check; do cp /pages/$f /www/cgi-bin/; chmod 755 /www/cgi-bin/$f; done; exec httpd -f -p 8080 -h /www"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: pages, mountPath: /pages}]
      volumes: [{name: pages, configMap: {name: pages}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
# ann's password is "secret"
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {auth: "ann:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/\n"}
"#;

/// An Ingress for a host of its own with these annotations.
fn ingress(name: &str, annotations: &[(&str, &str)]) -> String {
    let rows = annotations.iter().map(|(key, value)| format!("    nginx.ingress.kubernetes.io/{key}: '{value}'\n"));
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  annotations:\n{}spec:\n  \
         rules:\n  - host: {name}.localhost\n    http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: \
         {{name: web, port: {{number: 80}}}}}}}}]}}\n",
        rows.collect::<String>()
    )
}

/// Status, where it leads, and the text of an answer, to a request with these arguments of curl.
fn ask(cluster: &Cluster, host: &str, args: &[&str]) -> anyhow::Result<(u16, String, String)> {
    let url = format!("http://{host}.localhost:{}/cgi-bin/page?x=1", cluster.setting("gateway.httpPort")?);
    let mut curl = cluster.command("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "10",
        "-w",
        "\n%{http_code} %{redirect_url}",
    ]);
    let said = run(curl.args(args).arg(url))?;
    let (text, last) = said.trim_end_matches('\n').rsplit_once('\n').context("a last line")?;
    let (status, to) = last.split_once(' ').unwrap_or((last, ""));
    Ok((status.parse()?, to.to_owned(), text.to_owned()))
}

/// Waits until a request is answered with this status.
fn answers(cluster: &Cluster, host: &str, args: &[&str], status: u16) -> anyhow::Result<(String, String)> {
    eventually(&format!("{host} {args:?} answers {status}"), || {
        let (got, to, text) = ask(cluster, host, args)?;
        ensure!(got == status, "{got}: {text}");
        Ok((to, text))
    })
}

fn passwords(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.apply(&ingress("basic", &[("auth-type", "basic"), ("auth-secret", "users"), ("auth-realm", "staff")]))?;
    answers(cluster, "basic", &[], 401)?;
    answers(cluster, "basic", &["-u", "ann:Secret"], 401)?;
    let (_, text) = answers(cluster, "basic", &["-u", "ann:secret"], 200)?;
    ensure!(text.contains("HTTP_HOST"), "the page answers: {text}");
    // another user in the Secret counts without anything being restarted
    let users = r#"{"stringData":{"auth":"bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"}}"#;
    cluster.kubectl(["patch", "secret", "users", "--type=merge", "-p", users])?;
    answers(cluster, "basic", &["-u", "bob:secret"], 200)?;
    answers(cluster, "basic", &["-u", "ann:secret"], 401)?;
    // without its Secret nobody passes
    cluster.kubectl(["delete", "secret", "users"])?;
    answers(cluster, "basic", &["-u", "bob:secret"], 503).map(drop)
}

fn service(cluster: &Cluster) -> anyhow::Result<()> {
    let annotations = [
        ("auth-url", "http://web.default.svc.cluster.local/cgi-bin/check"),
        ("auth-signin", "https://login.example/start"),
        ("auth-response-headers", "X-Auth-User, X-Auth-Page, X-Forwarded-User"),
    ];
    cluster.apply(&ingress("asked", &annotations))?;
    let (to, _) = answers(cluster, "asked", &[], 302)?;
    ensure!(to.starts_with("https://login.example/start?rd=http%3A%2F%2Fasked.localhost"), "{to}");
    answers(cluster, "asked", &["-b", "session=mallory"], 403)?;
    let spoofed = [
        "-b",
        "session=alice",
        "-H",
        "X-Auth-User: admin",
        "-H",
        "X_Auth_User: admin",
        "-H",
        "X-Forwarded-User: admin",
    ];
    let (_, text) = answers(cluster, "asked", &spoofed, 200)?;
    ensure!(text.contains("HTTP_X_AUTH_USER=alice") && !text.contains("admin"), "{text}");
    ensure!(text.contains("HTTP_X_FORWARDED_USER=alice"), "what the service says is no claim of the client: {text}");
    ensure!(text.contains("/cgi-bin/page?x=1"), "the service sees what was asked for: {text}");
    // a service that is not there lets nobody in
    cluster.apply(&ingress("nobody", &[("auth-url", "http://none.default.svc/check")]))?;
    answers(cluster, "nobody", &["-b", "session=alice"], 503).map(drop)
}

fn addresses(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.apply(&ingress("within", &[("whitelist-source-range", "127.0.0.0/8,::1")]))?;
    answers(cluster, "within", &[], 200)?;
    cluster.apply(&ingress("without", &[("whitelist-source-range", "192.0.2.0/24")]))?;
    answers(cluster, "without", &[], 403)?;
    // what keeps somebody out and cannot be honoured closes the route
    cluster.apply(&ingress("snippet", &[("auth-snippet", "allow all;")]))?;
    answers(cluster, "snippet", &[], 503).map(drop)
}

#[test]
fn only_those_pass_whom_the_ingress_lets_in() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-identity", &["busybox"])?;
    cluster.apply(MANIFEST)?;
    cluster.rolled_out("default", "deployment/web")?;
    knarr_e2e::together(&cluster, &[("passwords", passwords), ("service", service), ("addresses", addresses)])
}
