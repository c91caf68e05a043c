//! The gateway's data plane beside nginx: processor time per request, in front of the same backend, in turns.
//!
//! The data plane is `knarr run edge`, which is the gateway's own without a cluster. Only when nginx, wrk and h2load are on
//! the path. Ratios of medians: turns of one run see the same machine.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::client::LIMIT;
use crate::cluster::run;
use crate::process;
use crate::report::{Report, median};

const ROUNDS: usize = 3;
const POLL: Duration = Duration::from_millis(20);
const BACKEND: u16 = 9101;
/// nginx without TLS, with it, and with a cache.
const NGINX: [u16; 3] = [9301, 9302, 9303];
const KNARR: [u16; 3] = [9201, 9202, 9203];

/// What is compared: a key of the budget, what it is, which of the three, and who asks.
const KINDS: [(&str, &str, usize, Tool); 4] = [
    ("front.plain", "a proxied request over nginx's, processor time", 0, Tool::Wrk("http", "/")),
    ("front.tls", "with TLS", 1, Tool::Wrk("https", "/")),
    ("front.h2", "over HTTP/2 with TLS", 1, Tool::H2load),
    ("front.cached", "10 KB out of the cache, over nginx's", 2, Tool::Wrk("http", "/large")),
];

#[derive(Clone, Copy)]
enum Tool {
    Wrk(&'static str, &'static str),
    H2load,
}

/// Servers that end with the measurement.
struct Servers {
    dir: tempfile::TempDir,
    children: Vec<Child>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
                eprintln!("cannot stop a server: {error}");
            }
        }
    }
}

pub(crate) fn measure(binary: &Path, report: &mut Report) -> anyhow::Result<()> {
    let there = |program: &str| Command::new(program).arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if ["nginx", "wrk", "h2load"].iter().any(|program| there(program).is_err()) {
        report.fact("gateway beside nginx", "not measured: it takes nginx, wrk and h2load");
        return Ok(());
    }
    let mut servers = Servers { dir: tempfile::tempdir()?, children: Vec::new() };
    let nginx = servers.nginx()?;
    let knarr = servers.knarr(binary)?;
    for (key, what, at, tool) in KINDS {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(round(nginx, NGINX[at], tool)?);
            ours.push(round(knarr[at], KNARR[at], tool)?);
        }
        let (ours, theirs) = (median(&ours).context("rounds")?, median(&theirs).context("rounds")?);
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = ours as f64 / theirs.max(1) as f64;
        report.value(key, format!("{what} ({:.1} and {:.1} µs)", micros(ours), micros(theirs)), ratio);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1000.0
}

/// Nanoseconds on a processor for each request.
fn round(pid: u32, port: u16, tool: Tool) -> anyhow::Result<u64> {
    let before = process::work(pid)?.nanos;
    let count = match tool {
        Tool::Wrk(scheme, path) => {
            let url = format!("{scheme}://127.0.0.1:{port}{path}");
            let said = run(Command::new("wrk").args(["-t1", "-c32", "-d3s", &url]))?;
            ensure!(!said.contains("Non-2xx"), "{url}: {said}");
            let line = said.lines().find(|line| line.contains("requests in")).context("wrk counts requests")?;
            line.split_whitespace().next().and_then(|count| count.parse().ok()).context("a count")?
        }
        Tool::H2load => {
            let url = format!("https://127.0.0.1:{port}/");
            let said = run(Command::new("h2load").args(["-c8", "-m8", "-n40000", &url]))?;
            ensure!(said.contains("40000 succeeded"), "{url}: {said}");
            40_000
        }
    };
    Ok((process::work(pid)?.nanos - before) / u64::max(count, 1))
}

impl Servers {
    fn start(&mut self, command: &mut Command, port: u16) -> anyhow::Result<u32> {
        let log = std::fs::File::create(self.dir.path().join(format!("{port}.log")))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let pid = child.id();
        self.children.push(child);
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = || std::fs::read_to_string(self.dir.path().join(format!("{port}.log"))).unwrap_or_default();
            ensure!(begun.elapsed() < LIMIT, "nobody listens on {port}: {}", said());
            thread::sleep(POLL);
        }
        Ok(pid)
    }

    /// A backend, and nginx in front of it: the process that is measured, which has one worker, itself.
    fn nginx(&mut self) -> anyhow::Result<u32> {
        let dir = self.dir.path().to_owned();
        run(Command::new("openssl").current_dir(&dir).args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "key",
            "-out",
            "cert",
            "-days",
            "30",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ]))?;
        let common = "daemon off; master_process off; error_log stderr crit;\nevents { worker_connections 8192; }\n";
        let http = "access_log off; keepalive_requests 100000000; keepalive_timeout 600;";
        let large = "x".repeat(10_240);
        let backend = format!(
            "pid backend.pid;\n{common}http {{ {http}\n server {{ listen 127.0.0.1:{BACKEND} backlog=4096;\n \
            location / {{ return 200 \"{}\"; }}\n location /large {{ add_header Cache-Control max-age=3600; return 200 \
            \"{large}\"; }} }} }}\n",
            "hello world ".repeat(8)
        );
        let [plain, tls, cached] = NGINX;
        let pass = "proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host \
            $host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;";
        let front = format!(
            "pid front.pid;\n{common}http {{ {http}\n proxy_cache_path {0}/cache keys_zone=c:8m;\n upstream b {{ server \
            127.0.0.1:{BACKEND}; keepalive 256; keepalive_requests 100000000; }}\n server {{ listen 127.0.0.1:{plain}; \
            listen 127.0.0.1:{tls} ssl http2; ssl_certificate {0}/cert; ssl_certificate_key {0}/key; location / {{ {pass} \
            }} }}\n server {{ listen 127.0.0.1:{cached}; location / {{ {pass} proxy_cache c; }} }} }}\n",
            dir.display()
        );
        let mut pid = 0;
        for (name, text, port) in [("backend", backend, BACKEND), ("front", front, plain)] {
            let path = dir.join(name);
            std::fs::File::create(&path)?.write_all(text.as_bytes())?;
            pid = self.start(Command::new("nginx").arg("-p").arg(&dir).arg("-c").arg(&path), port)?;
        }
        Ok(pid)
    }

    /// The data plane three times: without TLS, with it, and with a cache.
    fn knarr(&mut self, binary: &Path) -> anyhow::Result<[u32; 3]> {
        let dir = self.dir.path().to_owned();
        let (off, on) = (dir.join("off.yaml"), dir.join("on.yaml"));
        std::fs::write(&off, "enabled: false\n")?;
        std::fs::write(&on, "enabled: true\n")?;
        let mut pids = [0; 3];
        for (at, port) in KNARR.into_iter().enumerate() {
            let mut command = Command::new(binary);
            let (origin, listen) = (format!("http://127.0.0.1:{BACKEND}"), format!("127.0.0.1:{port}"));
            command.args([
                "run",
                "edge",
                "--origin",
                &origin,
                "--listen",
                &listen,
                "--log-filter",
                "error",
                "--socket",
            ]);
            command.arg(dir.join(format!("{port}.sock"))).arg("--cache-policy").arg(if at == 2 { &on } else { &off });
            if at == 1 {
                command.arg("--tls-cert").arg(dir.join("cert")).arg("--tls-key").arg(dir.join("key"));
            }
            pids[at] = self.start(&mut command, port)?;
        }
        Ok(pids)
    }
}
