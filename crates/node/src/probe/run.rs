//! Carries out one probe or lifecycle handler against a running container.
//!
//! Invariant: bounded by its timeout, whatever the program does; the outcome's text is what upstream prints.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::AsyncReadExt as _;

use super::Outcome;
use super::http::{Get, dial};
use crate::pod::engine::Engine;
use crate::runtime::ExecSpec;

const OUTPUT_LIMIT: u64 = 10 << 10;
const USER_AGENT: &str = "kube-probe/1.36";

/// Whom a probe or a hook addresses.
#[derive(Clone)]
pub(crate) struct Target {
    pub engine: Engine,
    pub container_id: String,
    pub container: Container,
    pub ip: Option<IpAddr>,
}

impl Target {
    /// Runs the probe once.
    pub(crate) async fn probe(&self, probe: &Probe) -> Outcome {
        let seconds = probe.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(1).max(1);
        let timeout = Duration::from_secs(seconds);
        if let Some(exec) = &probe.exec {
            let command = exec.command.clone().unwrap_or_default();
            return match tokio::time::timeout(timeout, self.exec(command.clone())).await {
                Ok(Ok((0, _))) => Outcome::Success,
                Ok(Ok((_, output))) => Outcome::Failure(output),
                Ok(Err(why)) => Outcome::Errored(why),
                Err(_) => {
                    Outcome::Failure(format!("command timed out: {:?} timed out after {seconds}s", command.join(" ")))
                }
            };
        }
        if let Some(action) = &probe.http_get {
            return self.http_probe(action, timeout).await;
        }
        if let Some(action) = &probe.tcp_socket {
            return self.tcp_probe(action, timeout).await;
        }
        if probe.grpc.is_some() {
            return Outcome::Errored("gRPC probes are not supported by this node yet".into());
        }
        Outcome::Errored("the probe names no handler".into())
    }

    async fn http_probe(&self, action: &HTTPGetAction, timeout: Duration) -> Outcome {
        let get = match self.get(action) {
            Ok(get) => get,
            Err(why) => return Outcome::Errored(why),
        };
        match tokio::time::timeout(timeout, get.send(USER_AGENT)).await {
            Ok(Ok(answer)) if (200..400).contains(&answer.status) => Outcome::Success,
            Ok(Ok(answer)) => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status)),
            Ok(Err(why)) => Outcome::Failure(why),
            Err(_) => Outcome::Failure(format!(
                "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                get.url()
            )),
        }
    }

    async fn tcp_probe(&self, action: &TCPSocketAction, timeout: Duration) -> Outcome {
        let port = match port(&action.port, &self.container) {
            Ok(port) => port,
            Err(why) => return Outcome::Errored(why),
        };
        let own = action.host.clone().filter(|host| !host.is_empty());
        let host = own.or_else(|| self.ip.map(|ip| ip.to_string())).unwrap_or_else(|| "127.0.0.1".into());
        match tokio::time::timeout(timeout, dial(&host, port)).await {
            Ok(Ok(_)) => Outcome::Success,
            Ok(Err(why)) => Outcome::Failure(why),
            Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
        }
    }

    pub(crate) fn get(&self, action: &HTTPGetAction) -> Result<Get, String> {
        Ok(Get::new(action, self.ip, port(&action.port, &self.container)?))
    }

    /// Runs a command in the container: exit code and the head of its output, or why it did not run.
    pub(crate) async fn exec(&self, command: Vec<String>) -> Result<(i32, String), String> {
        let spec = ExecSpec { args: command, stdout: true, stderr: true, ..ExecSpec::default() };
        let mut session =
            self.engine.exec(&self.container_id, spec).await.map_err(|error| base::error::chain(&error))?;
        drop(session.stdin.take());
        let read = |stream: Option<crate::runtime::Reader>| async move {
            let mut text = Vec::new();
            if let Some(mut stream) = stream {
                if let Err(error) = (&mut stream).take(OUTPUT_LIMIT).read_to_end(&mut text).await {
                    tracing::debug!("reading a probe's output: {error}");
                }
                drain(stream).await;
            }
            text
        };
        let (out, err, code) =
            tokio::join!(read(session.stdout.take()), read(session.stderr.take()), session.control.wait());
        let code = code.map_err(|error| base::error::chain(&error))?;
        let mut text = out;
        text.extend(err);
        Ok((code, String::from_utf8_lossy(&text).into_owned()))
    }
}

/// A program that writes more than we keep must not block on a full pipe.
async fn drain(mut stream: crate::runtime::Reader) {
    if let Err(error) = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await {
        tracing::debug!("draining a probe's output: {error}");
    }
}

/// A port by number or by the name it has in the container.
pub(crate) fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|candidate| candidate.name.as_deref() == Some(name))
            .map(|found| found.container_port)
            .or_else(|| name.parse().ok()),
    };
    let valid = number.and_then(|number| u16::try_from(number).ok()).filter(|number| *number > 0);
    valid.ok_or_else(|| match port {
        IntOrString::Int(number) => format!("invalid port number: {number}"),
        IntOrString::String(name) => format!("couldn't find port: {name:?} in container {:?}", container.name),
    })
}
