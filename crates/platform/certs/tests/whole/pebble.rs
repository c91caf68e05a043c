//! Pebble, Let's Encrypt's ACME server for tests: strict, forgetful of nonces, with authorities that are new each time.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use pki::{Authority, Usage};
use serde_json::json;
use tempfile::TempDir;

/// What external accounts prove themselves with: name, and key (base64url).
pub(crate) const EXTERNAL: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

pub(crate) struct Pebble {
    child: Option<Child>,
    folder: TempDir,
    name_server: SocketAddr,
    pub(crate) port: u16,
    /// Where it asks for `http-01`.
    pub(crate) http_port: u16,
    /// Who signed what it shows.
    pub(crate) ca_pem: String,
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Pebble {
    /// A server that resolves names at `name_server`; not started yet.
    pub(crate) fn new(name_server: SocketAddr, external: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::generate("pebble").unwrap();
        let pair = authority
            .issue(&pki::Request {
                common_name: "localhost".to_owned(),
                organization: None,
                names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
                usage: Usage::Server,
                lifetime: Duration::from_secs(3600),
            })
            .unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("cert.pem"), pair.cert_pem).unwrap();
        std::fs::write(path("key.pem"), pair.key_pem).unwrap();
        let (port, http_port) = (free_port(), free_port());
        let mut settings = json!({
            "listenAddress": format!("127.0.0.1:{port}"), "managementListenAddress": format!("127.0.0.1:{}", free_port()),
            "certificate": path("cert.pem"), "privateKey": path("key.pem"), "httpPort": http_port, "tlsPort": free_port(),
            "externalAccountBindingRequired": external, "retryAfter": { "authz": 1, "order": 1 }, "keyAlgorithm": "ecdsa",
            "domainBlocklist": ["blocked.example"],
            "profiles": { "default": { "description": "usual", "validityPeriod": 7_776_000 }, "short": { "description": "short", "validityPeriod": 86_400 } },
        });
        if external {
            settings["externalAccountMACKeys"] = json!({ EXTERNAL.0: EXTERNAL.1 });
        }
        std::fs::write(path("config.json"), json!({ "pebble": settings }).to_string()).unwrap();
        Self { child: None, folder, name_server, port, http_port, ca_pem: authority.cert_pem().to_owned() }
    }

    /// Starts it, and waits until it listens.
    pub(crate) async fn start(&mut self) {
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..");
        let binary = std::env::var_os("PEBBLE").map_or_else(|| root.join("target/clients/pebble"), PathBuf::from);
        let child = Command::new(&binary)
            .arg("-config")
            .arg(self.folder.path().join("config.json"))
            .args(["-strict", "-dnsserver", &self.name_server.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", "30")
            .env("PEBBLE_AUTHZREUSE", "0")
            .stdout(std::fs::File::create(self.folder.path().join("log")).unwrap())
            .stderr(std::fs::File::create(self.folder.path().join("errors")).unwrap())
            .spawn();
        self.child =
            Some(child.unwrap_or_else(|error| {
                panic!("cannot start {}: {error}; `make clients` installs it", binary.display())
            }));
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "Pebble does not listen: {}", self.log());
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).unwrap();
        }
    }

    pub(crate) fn log(&self) -> String {
        let file = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        file("log") + &file("errors")
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The `acme` of an issuer that uses it.
    pub(crate) fn issuer(&self, solvers: serde_json::Value) -> serde_json::Value {
        json!({ "acme": {
            "server": self.directory(), "email": "who@example.com", "privateKeySecretRef": { "name": "account" },
            "caBundle": super::own::base64(self.ca_pem.as_bytes()), "solvers": solvers,
        } })
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("Pebble said at last:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
    }
}
