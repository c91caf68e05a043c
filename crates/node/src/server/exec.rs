//! Exec and attach: the query's options, the upgrade, and the session behind it.
//!
//! Invariant: the connection's own task carries the session, so it ends with the connection.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::websocket::{self, Dialect, Purpose};
use super::{Body, Refusal, Server};
use crate::runtime::{Container, ExecError, ExecSpec, Session};

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
    begin(server, request, Purpose::Exec, async move { runtime.exec(&id, spec).await })
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
    begin(server, request, Purpose::Attach, async move {
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
    open: impl Future<Output = Result<Session, ExecError>> + Send + 'static,
) -> Result<Response<Body>, Refusal> {
    let (dialect, response) = websocket::accept(&request)?;
    let upgrade = hyper::upgrade::on(&mut request);
    server.children.spawn("session", run(upgrade, dialect, purpose, open));
    Ok(response)
}

async fn run(
    upgrade: hyper::upgrade::OnUpgrade,
    dialect: Dialect,
    purpose: Purpose,
    open: impl Future<Output = Result<Session, ExecError>> + Send,
) {
    let socket = match upgrade.await {
        Ok(socket) => TokioIo::new(socket),
        Err(error) => return tracing::debug!("a session's connection did not come about: {error}"),
    };
    let socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
    websocket::carry(socket, dialect, purpose, open.await).await;
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
