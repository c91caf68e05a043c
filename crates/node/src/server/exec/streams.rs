//! A command's streams over SPDY: what clients use that cannot do WebSockets.
//!
//! Invariant: the command starts when every stream it was asked for is there, and its result is told on the error stream
//! after all output. When the client goes the session is dropped, which ends an exec's command.

use std::collections::HashMap;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::{LINGER, Outcome, Purpose, Resize};
use crate::runtime::{ExecError, ExecSpec, Reader, Session, Size, Writer};
use crate::server::spdy::{Fault, Input, Output, Reset, Stream, Streams};

/// How long a client may take to open its streams.
const PATIENCE: Duration = Duration::from_secs(30);
const CHUNK: usize = 32 << 10;
/// As much of a terminal size as is looked at.
const SIZE: usize = 4 << 10;

/// What differs between the versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// The result is a Status; older ones get its message, and only of a failure.
    status: bool,
    /// Terminals can be resized.
    resize: bool,
}

impl Dialect {
    pub(super) fn of(protocol: &str) -> Self {
        Self { status: protocol.starts_with("v4"), resize: protocol.starts_with("v4") || protocol.starts_with("v3") }
    }
}

/// The streams that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    pub(super) fn of(spec: &ExecSpec) -> Self {
        Self { stdin: spec.stdin, stdout: spec.stdout, stderr: spec.stderr && !spec.tty, tty: spec.tty }
    }

    fn names(self, dialect: Dialect) -> Vec<&'static str> {
        let all = [
            ("error", true),
            ("stdin", self.stdin),
            ("stdout", self.stdout),
            ("stderr", self.stderr),
            ("resize", self.tty && dialect.resize),
        ];
        all.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect()
    }
}

/// Until the command has ended and all is told, or the client is gone.
pub(super) async fn carry(
    opened: Streams,
    driver: impl Future<Output = Result<(), Fault>>,
    dialect: Dialect,
    wanted: Wanted,
    purpose: Purpose,
    open: impl Future<Output = Result<Session, ExecError>>,
) {
    let mut driver = std::pin::pin!(driver);
    let result = tokio::select! {
        result = &mut driver => result,
        () = serve(opened, dialect, wanted, purpose, open) => driver.await,
    };
    if let Err(error) = result {
        tracing::debug!("a session's connection ended: {}", base::error::chain(&error));
    }
}

async fn serve(
    mut opened: Streams,
    dialect: Dialect,
    wanted: Wanted,
    purpose: Purpose,
    open: impl Future<Output = Result<Session, ExecError>>,
) {
    let names = wanted.names(dialect);
    let Ok(Some(mut streams)) = tokio::time::timeout(PATIENCE, gather(&mut opened, &names)).await else {
        return tracing::debug!("timed out waiting for client to create streams");
    };
    let mut take = |name: &str| streams.remove(name);
    let (stdin, stdout, stderr, resize) = (take("stdin"), take("stdout"), take("stderr"), take("resize"));
    let Some(error) = take("error") else { return };
    let ended = match open.await {
        Ok(session) => converse(session, stdin, stdout.as_ref(), stderr.as_ref(), resize).await,
        Err(fault) => Err(fault),
    };
    let outcome = Outcome::of(&ended, purpose);
    let told = if dialect.status { Some(outcome.status().to_string()) } else { outcome.complaint() };
    for stream in [stdout, stderr].into_iter().flatten() {
        finish(&stream.output).await;
    }
    if let Some(told) = told
        && error.output.send(told.as_bytes()).await.is_err()
    {
        tracing::debug!("a session's caller is gone");
    }
    finish(&error.output).await;
}

/// The streams of these names; none if the client opens no more before they are all there.
async fn gather(opened: &mut Streams, names: &[&'static str]) -> Option<HashMap<&'static str, Stream>> {
    let mut found = HashMap::new();
    while found.len() < names.len() {
        let stream = opened.next().await?;
        let asked = stream.headers.get("streamtype");
        match names.iter().find(|name| asked == Some(**name) && !found.contains_key(*name)) {
            Some(name) => {
                if stream.output.accept().await.is_err() {
                    return None;
                }
                found.insert(*name, stream);
            }
            None => {
                if stream.output.reset(Reset::Refused).await.is_err() {
                    return None;
                }
            }
        }
    }
    Some(found)
}

async fn finish(output: &Output) {
    if output.finish().await.is_err() {
        tracing::debug!("a session's caller is gone");
    }
}

async fn converse(
    mut session: Session,
    stdin: Option<Stream>,
    stdout: Option<&Stream>,
    stderr: Option<&Stream>,
    resize: Option<Stream>,
) -> Result<i32, ExecError> {
    let (sizes, mut asked) = watch::channel(None::<Size>);
    let output = async {
        tokio::join!(
            pump(session.stdout.take(), stdout.map(|stream| &stream.output)),
            pump(session.stderr.take(), stderr.map(|stream| &stream.output)),
        )
    };
    let mut output = std::pin::pin!(output);
    let input = async {
        tokio::join!(
            feed(session.stdin.take(), stdin.map(|stream| stream.input)),
            listen(resize.map(|stream| stream.input), &sizes),
        );
        std::future::pending::<()>().await;
    };
    let mut input = std::pin::pin!(input);
    let mut control = session.control;
    let mut drained = false;
    let code = loop {
        tokio::select! {
            code = control.wait() => break code,
            _ = &mut output, if !drained => drained = true,
            () = &mut input => {}
            Ok(()) = asked.changed() => {
                let size = *asked.borrow_and_update();
                if let Some(size) = size
                    && let Err(error) = control.resize(size).await
                {
                    tracing::debug!("resizing a terminal: {error}");
                }
            }
        }
    };
    if !drained && tokio::time::timeout(LINGER, &mut output).await.is_err() {
        tracing::debug!("a command's output was still open {LINGER:?} after its end");
    }
    code
}

async fn pump(source: Option<Reader>, output: Option<&Output>) {
    let (Some(mut source), Some(output)) = (source, output) else { return };
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.clear();
        match source.read_buf(&mut buffer).await {
            Ok(0) => return,
            Ok(_) if output.send(&buffer).await.is_ok() => {}
            Ok(_) => return,
            Err(error) => return tracing::debug!("reading a command's output: {error}"), // EIO: a terminal's end
        }
    }
}

async fn feed(target: Option<Writer>, input: Option<Input>) {
    let (Some(mut target), Some(mut input)) = (target, input) else { return };
    while let Some(piece) = input.next().await {
        let written = async {
            target.write_all(&piece).await?;
            target.flush().await
        };
        if let Err(error) = written.await {
            return tracing::debug!("a command takes no more input: {error}");
        }
    }
    if let Err(error) = target.shutdown().await {
        tracing::debug!("closing a command's input: {error}");
    }
}

/// Terminal sizes: JSON objects, one after the other.
async fn listen(input: Option<Input>, sizes: &watch::Sender<Option<Size>>) {
    let Some(mut input) = input else { return };
    let mut held = BytesMut::new();
    while let Some(piece) = input.next().await {
        held.extend_from_slice(&piece);
        let mut objects = serde_json::Deserializer::from_slice(&held).into_iter::<Resize>();
        let mut read = 0;
        while let Some(Ok(size)) = objects.next() {
            read = objects.byte_offset();
            sizes.send_replace(Some(size.into()));
        }
        bytes::Buf::advance(&mut held, read);
        if held.len() > SIZE {
            return tracing::debug!("a terminal size that is none");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::spdy::{
        self,
        tests::{Client, halves},
    };

    async fn check(protocol: &str, client: impl AsyncFnOnce(Client)) {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (reader, writer) = halves(near);
        let (opened, driver) = spdy::connect(reader, writer);
        let wanted = Wanted { stdin: false, stdout: true, stderr: false, tty: false };
        let failing = async { Err(ExecError::NotFound("exec: \"nope\": not found".into())) };
        let carry = carry(opened, driver, Dialect::of(protocol), wanted, Purpose::Exec, failing);
        let mut opened = Client::new(far);
        opened.open(1, &[("streamType", "error")], true).await;
        opened.open(3, &[("streamType", "stdout")], false).await;
        tokio::join!(carry, client(opened));
    }

    #[tokio::test]
    async fn a_command_that_cannot_run_is_told_on_the_error_stream_in_each_version() {
        check("v4.channel.k8s.io", async |mut client| {
            let status: serde_json::Value = serde_json::from_str(&client.all(1).await).unwrap();
            assert_eq!(status["status"], "Failure");
        })
        .await;
        check("v2.channel.k8s.io", async |mut client| {
            let told = client.all(1).await;
            assert!(told.starts_with("Internal error occurred: error executing command in container: "), "{told}");
        })
        .await;
    }

    #[test]
    fn the_streams_follow_from_what_was_asked() {
        let spec = ExecSpec { stdin: true, stdout: true, stderr: true, tty: true, ..ExecSpec::default() };
        assert_eq!(Wanted::of(&spec).names(Dialect::of("v4.channel.k8s.io")), ["error", "stdin", "stdout", "resize"]);
        assert_eq!(Wanted::of(&spec).names(Dialect::of("channel.k8s.io")), ["error", "stdin", "stdout"]);
    }
}
