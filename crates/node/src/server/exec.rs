//! Exec and attach: the query's options, the upgrade, and the session behind it.
//!
//! Invariant: the connection's own task carries the session, so it ends with the connection.

mod streams;

use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::upgrade::{self, Agreed, Spoken};
use super::websocket::{self, Dialect};
use super::{Body, Refusal, Server, spdy};
use crate::runtime::{Container, ExecError, ExecSpec, Session, Size};

const SPOKEN: Spoken = Spoken {
    websocket: Dialect::NAMES,
    unnamed: true,
    spdy: &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"],
};

/// How long output may keep coming after the command has ended (a child may hold the pipe).
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// A terminal's size, as callers send it.
#[derive(Deserialize)]
pub(super) struct Resize {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

impl From<Resize> for Size {
    fn from(size: Resize) -> Self {
        Self { columns: size.width, rows: size.height }
    }
}

/// What the end of the process means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The exit code is the answer.
    Exec,
    /// Only the watching has ended; the container's status tells how.
    Attach,
}

/// How a session ended, as callers are told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    Exited(i32),
    Failed(String),
}

impl Outcome {
    pub(super) fn of(ended: &Result<i32, ExecError>, purpose: Purpose) -> Self {
        match ended {
            Ok(code) if *code == 0 || purpose == Purpose::Attach => Self::Success,
            Ok(code) => Self::Exited(*code),
            Err(error) => Self::Failed(base::error::chain(error)),
        }
    }

    /// The Status that callers since v4 get.
    pub(super) fn status(&self) -> Value {
        match self {
            Self::Success => json!({"metadata": {}, "status": "Success"}),
            Self::Exited(code) => json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
            Self::Failed(why) => json!({
                "metadata": {}, "status": "Failure", "code": 500, "reason": "InternalError",
                "message": format!("Internal error occurred: error executing command in container: {why}"),
                "details": {"causes": [{"message": format!("error executing command in container: {why}")}]},
            }),
        }
    }

    /// What older callers are told, of failures only.
    pub(super) fn complaint(&self) -> Option<String> {
        let status = self.status();
        (*self != Self::Success).then(|| status["message"].as_str().unwrap_or_default().to_owned())
    }
}

/// Runs a command in the container.
pub(super) fn exec(
    server: &Server,
    id: &str,
    query: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let spec = parse(query);
    if spec.args.is_empty() {
        return Err(Refusal::bad("you must specify at least 1 of command"));
    }
    check(&spec)?;
    let (runtime, id) = (server.runtime.clone(), id.to_owned());
    let wanted = streams::Wanted::of(&spec);
    begin(server, request, Purpose::Exec, wanted, async move { runtime.exec(&id, spec).await })
}

/// Joins the container's own process.
pub(super) fn attach(
    server: &Server,
    container: &Container,
    query: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let wanted = parse(query);
    check(&wanted)?;
    if wanted.tty && !container.spec.tty {
        let message = format!("Unable to use a TTY - container {} did not allocate one", container.spec.name);
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    let (runtime, id) = (server.runtime.clone(), container.spec.id.clone());
    begin(server, request, Purpose::Attach, streams::Wanted::of(&wanted), async move {
        let mut session = runtime.attach(&id).await?;
        if !wanted.stdin {
            session.stdin = None;
        }
        if !wanted.stdout {
            session.stdout = None;
        }
        if !wanted.stderr {
            session.stderr = None;
        }
        Ok(session)
    })
}

fn begin(
    server: &Server,
    mut request: Request<Incoming>,
    purpose: Purpose,
    wanted: streams::Wanted,
    open: impl Future<Output = Result<Session, ExecError>> + Send + 'static,
) -> Result<Response<Body>, Refusal> {
    let agreed = upgrade::negotiate(request.headers(), &SPOKEN)?;
    let response = upgrade::switching(&agreed)?;
    let upgrade = hyper::upgrade::on(&mut request);
    server.children.spawn("session", async move {
        let Some(socket) = upgrade::upgraded(upgrade).await else { return };
        match agreed {
            Agreed::WebSocket(protocol, _) => {
                let socket = upgrade::websocket(socket).await;
                websocket::carry(socket, Dialect::of(protocol), purpose, open.await).await;
            }
            Agreed::Spdy(protocol) => {
                let (reader, writer) = upgrade::chunks(socket);
                let (opened, driver) = spdy::connect(reader, writer);
                let dialect = streams::Dialect::of(protocol);
                streams::carry(opened, driver, dialect, wanted, purpose, open).await;
            }
        }
    });
    Ok(response)
}

/// At least one stream, and no error stream beside a terminal.
fn check(spec: &ExecSpec) -> Result<(), Refusal> {
    if !spec.stdin && !spec.stdout && !spec.stderr {
        return Err(Refusal::bad("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(())
}

/// Both spellings are known: the API's (`stdout=true`) and the kubelet's own (`output=1`).
fn parse(query: &str) -> ExecSpec {
    let mut spec = ExecSpec::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let flag = matches!(&*value, "1" | "true");
        match &*key {
            "command" => spec.args.push(value.into_owned()),
            "stdin" | "input" => spec.stdin = flag,
            "stdout" | "output" => spec.stdout = flag,
            "stderr" | "error" => spec.stderr = flag,
            "tty" => spec.tty = flag,
            _ => {}
        }
    }
    if spec.tty {
        spec.stderr = false; // a terminal has one output
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_both_spellings() {
        let spec = parse("command=sh&command=-c&command=echo%20hi&output=1&stdin=true");
        assert_eq!(spec.args, ["sh", "-c", "echo hi"]);
        assert!(spec.stdin && spec.stdout && !spec.stderr && !spec.tty);
    }

    #[test]
    fn a_terminal_has_no_error_stream() {
        assert!(!parse("tty=1&stdout=1&stderr=1").stderr);
        assert!(check(&parse("command=x")).is_err());
    }
}
