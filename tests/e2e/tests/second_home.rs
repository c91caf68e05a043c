//! Each role's second home: `knarr run ROLE --kubeconfig F` against a cluster it was not started with.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails, run};

const MANIFEST: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: home}
spec:
  selector: {matchLabels: {app: home}}
  template:
    metadata: {labels: {app: home}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: knarr.local/busybox:bookworm
        command: [sh, -c, "mkdir -p /tmp/a; echo home >/tmp/index.html; echo deep >/tmp/a/index.html; exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: home}
spec: {selector: {app: home}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: home, annotations: {cert-manager.io/cluster-issuer: knarr-ca}}
spec:
  tls: [{hosts: [home.localhost], secretName: home-tls}]
  rules:
  - host: home.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: home, port: {number: 80}}}}]}
"#;

/// A role in a process of its own, killed if the test ends before it does.
struct Role {
    name: &'static str,
    child: Child,
}

impl Role {
    /// Starts the role and waits until it says that it is ready.
    fn start(cluster: &Cluster, name: &'static str, flags: &[&str], log: &Path) -> anyhow::Result<Self> {
        let binary = std::env::var_os("KNARR").context("KNARR names the binary")?;
        let mut command = cluster.command(binary);
        command.args(["run", name, "--kubeconfig"]).arg(cluster.kubeconfig()).args(flags);
        let output = std::fs::File::create(log)?;
        let mut role =
            Self { name, child: command.stdout(output.try_clone()?).stderr(output).stdin(Stdio::null()).spawn()? };
        eventually("the role is ready", || {
            let said = std::fs::read_to_string(log)?;
            ensure!(role.child.try_wait()?.is_some() || said.contains(&format!("✓ {name} ready")), "{said}");
            Ok(())
        })?;
        ensure!(role.child.try_wait()?.is_none(), "{name} ended: {}", std::fs::read_to_string(log)?);
        Ok(role)
    }

    /// SIGTERM; it must end by itself, content.
    fn stop(mut self) -> anyhow::Result<()> {
        run(Command::new("kill").arg(self.child.id().to_string()))?;
        let status = eventually("the role has ended", || self.child.try_wait()?.context("still running"))?;
        ensure!(status.success(), "{} stops cleanly: {status}", self.name);
        Ok(())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None))
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop))
        {
            eprintln!("cannot end {}: {error}", self.name);
        }
    }
}

#[test]
fn every_role_has_a_second_home() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-second-home", &["busybox"])?;
    let folder = tempfile::tempdir()?;
    cluster.apply(MANIFEST)?;
    cluster.rolled_out("default", "deployment/home")?;
    let ports = [cluster.setting("gateway.httpPort")?, cluster.setting("gateway.httpsPort")?];
    let ask = |ports: &[&str; 2], path: &str| cluster.curl([format!("https://home.localhost:{}{path}", ports[1])]);
    let own = [ports[0].as_str(), ports[1].as_str()];
    ensure!(eventually("the gateway of the cluster answers", || ask(&own, "/"))? == "home\n");

    let second = ["18080", "18443"];
    let flags = ["--http-port", second[0], "--https-port", second[1]];
    let gateway = Role::start(&cluster, "gateway", &flags, &folder.path().join("gateway"))?;
    for path in ["/", "/a/"] {
        ensure!(ask(&second, path)? == ask(&own, path)?, "the same answer at {path} as soon as it is ready");
    }
    ensure!(certificate(&cluster, second[1])? == certificate(&cluster, own[1])?, "with the same certificate");
    ensure!(
        ask(&second, "/absent").is_err() && cluster.curl([format!("https://other.localhost:{}/", second[1])]).is_err()
    );
    cluster.kubectl(["delete", "ingress", "home"])?;
    for ports in [&second, &own] {
        eventually("what is deleted is not served", || {
            ensure!(ask(ports, "/").is_err());
            Ok(())
        })?;
    }
    cluster.apply(MANIFEST)?;
    for ports in [&second, &own] {
        eventually("what is there again is served again", || ask(ports, "/"))?;
    }
    gateway.stop()?;
    ensure!(ask(&own, "/")? == "home\n", "the cluster's own gateway serves on");
    ensure!(ask(&second, "/").is_err(), "the other does not");

    let dns = Role::start(&cluster, "dns", &["--dns-listen", "127.0.0.1:1053"], &folder.path().join("dns"))?;
    let dig = |server: &[&str]| {
        run(cluster
            .command("dig")
            .args(["+short", "+tries=1", "+time=2"])
            .args(server)
            .arg("home.default.svc.cluster.local"))
    };
    ensure!(dig(&["@127.0.0.1", "-p", "1053"])? == dig(&["@10.43.0.10"])?);
    dns.stop()?;
    for role in ["certs", "scheduler"] {
        Role::start(&cluster, role, &[], &folder.path().join(role))?.stop()?;
    }
    wrong(&cluster)
}

/// The certificate that is shown at `port`.
fn certificate(cluster: &Cluster, port: &str) -> anyhow::Result<String> {
    let mut command = cluster.command("sh");
    let line = format!(
        "openssl s_client -connect 127.0.0.1:{port} -servername home.localhost </dev/null 2>/dev/null | openssl x509 -noout -fingerprint"
    );
    run(command.args(["-c", &line]))
}

/// What a role says when it cannot run.
fn wrong(cluster: &Cluster) -> anyhow::Result<()> {
    let binary = std::env::var_os("KNARR").context("KNARR names the binary")?;
    let attempt =
        |flags: &[&str], code: i32| fails(cluster.command(&binary).args(["run", "gateway"]).args(flags), code);
    let kubeconfig = cluster.kubeconfig();
    let kubeconfig = kubeconfig.to_str().context("utf-8")?;
    ensure!(attempt(&["--kubeconfig", "/absent"], 1)?.contains("cannot read /absent"));
    let said = attempt(&["--kubeconfig", kubeconfig, "--http-port", "many"], 2)?;
    ensure!(said.contains("--http-port") && said.contains("many"), "{said}");
    let taken = cluster.setting("gateway.httpPort")?;
    let said = attempt(&["--kubeconfig", kubeconfig, "--http-port", &taken, "--https-port", "18443"], 1)?;
    ensure!(said.contains(&taken) && said.contains("in use"), "{said}");
    Ok(())
}
