//! exec, attach, cp and port-forward, over WebSockets and over SPDY.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, fails, input, run};

use super::serving;

/// A kubectl that forwards; ended with the test.
struct Forward {
    child: Child,
    port: String,
    /// Kept open: kubectl tells of every connection and would end when nobody can hear it.
    _output: BufReader<std::process::ChildStdout>,
}

impl Forward {
    fn start(cluster: &Cluster, variable: &str, namespace: &str, what: &str, port: &str) -> anyhow::Result<Self> {
        let mut command = cluster.command("kubectl");
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", variable).stdout(Stdio::piped());
        let mut child = command.args(["-n", namespace, "port-forward", what, &format!(":{port}")]).spawn()?;
        let mut said = String::new();
        let mut output = BufReader::new(child.stdout.take().context("its output")?);
        output.read_line(&mut said)?;
        let port = said.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).unwrap_or_default();
        let port = port.to_owned();
        let forward = Self { child, port, _output: output };
        ensure!(!forward.port.is_empty(), "kubectl said {said:?}");
        Ok(forward)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("cannot end kubectl port-forward: {error}");
        }
    }
}

pub(super) fn forwarding(cluster: &Cluster) -> anyhow::Result<()> {
    serving(cluster, "forwarding")?;
    cluster.kubectl(["-n", "forwarding", "expose", "pod", "web", "--port=80", "--target-port=http"])?;
    for websockets in ["true", "false"] {
        let forward = Forward::start(cluster, websockets, "forwarding", "pod/web", "8080")?;
        let fetch = || cluster.curl([format!("http://127.0.0.1:{}/passwd", forward.port)]);
        for _ in 0..20 {
            ensure!(fetch()?.contains("root:"), "a page comes through, again and again");
        }
        let pages: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..8).map(|_| scope.spawn(fetch)).collect();
            running.into_iter().map(|one| one.join().expect("a fetch")).collect()
        });
        ensure!(pages.iter().all(Result::is_ok), "several at once: {pages:?}");
        let service = Forward::start(cluster, websockets, "forwarding", "service/web", "80")?;
        ensure!(cluster.curl([format!("http://127.0.0.1:{}/group", service.port)])?.contains("root:"));
        // a port nobody listens on fails the connection and tells why
        let mut closed = cluster.command("timeout");
        closed.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut closed = closed.args(["20", "kubectl", "-n", "forwarding", "port-forward", "web", ":81"]).spawn()?;
        let mut said = BufReader::new(closed.stdout.take().context("its output")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).context("a port")?;
        ensure!(cluster.curl([format!("http://127.0.0.1:{port}/")]).is_err());
        let told = closed.wait_with_output()?;
        let told = String::from_utf8_lossy(&told.stderr).into_owned();
        ensure!(told.contains("error forwarding port 81 to pod") && told.contains("connection refused"), "{told}");
    }
    Ok(())
}

pub(super) fn without_websockets(cluster: &Cluster) -> anyhow::Result<()> {
    serving(cluster, "spdy")?;
    let kubectl = |args: &[&str]| {
        let mut command = cluster.command("kubectl");
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").args(["-n", "spdy"]).args(args);
        command
    };
    ensure!(run(&mut kubectl(&["exec", "web", "--", "echo", "a b"]))? == "a b\n");
    let said = fails(&mut kubectl(&["exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 42"]), 42)?;
    ensure!(said.contains("out") && said.contains("err"), "{said}");
    let count = input(&mut kubectl(&["exec", "-i", "web", "--", "wc", "-c"]), &"x".repeat(2_000_000))?;
    ensure!(count.trim() == "2000000", "input arrives whole and ends: {count}");
    let large = run(&mut kubectl(&["exec", "web", "--", "head", "-c", "3000000", "/dev/zero"]))?;
    ensure!(large.len() == 3_000_000, "{}", large.len());
    // the end of much output arrives by the newer protocol too, with the status after it
    let newer = cluster.kubectl(["-n", "spdy", "exec", "web", "--", "head", "-c", "60000000", "/dev/zero"])?;
    ensure!(newer.len() == 60_000_000, "{}", newer.len());
    let line = "kubectl -n spdy exec -it web -- sh -c 'tty; exit 9'";
    let mut terminal = cluster.command("script");
    terminal.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").args(["-qec", line, "/dev/null"]);
    let said = fails(&mut terminal, 9)?;
    ensure!(said.contains("/dev/pts/"), "{said}");

    let folder = tempfile::tempdir()?;
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    std::fs::write(&there, "copied\n")?;
    let (there, back) = (there.to_str().context("utf-8")?, back.to_str().context("utf-8")?);
    run(&mut kubectl(&["cp", there, "web:/tmp/file"]))?;
    run(&mut kubectl(&["cp", "web:/tmp/file", back]))?;
    ensure!(std::fs::read_to_string(back)? == "copied\n");

    let mut attach = cluster.command("timeout");
    attach.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut attach = attach.args(["30", "kubectl", "-n", "spdy", "attach", "-i", "web"]).spawn()?;
    let mut typed = attach.stdin.take().context("its input")?;
    std::io::Write::write_all(&mut typed, b"hello\n")?;
    eventually("what was typed was heard", || {
        ensure!(cluster.kubectl(["-n", "spdy", "logs", "web"])?.contains("heard hello"));
        Ok(())
    })?;
    drop(typed);
    attach.kill()?;
    attach.wait()?;
    Ok(())
}
