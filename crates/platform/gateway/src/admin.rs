//! Answers the machine's owner: figures, and what is served.
//!
//! Invariant: nothing of it is open by default. The socket is a file that only its owner may open;
//! figures are on the network only where a setting says so.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// Connections that wait to be answered.
const BACKLOG: i32 = 64;

/// What can be asked for: a method, a path, and what answers.
pub(crate) type Answers = dyn Fn(&Method, &str) -> Option<(StatusCode, &'static str, String)> + Send + Sync;

/// Answers at `path` for as long as the service runs.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn socket(path: &Path, answers: Arc<Answers>, ctx: &tasks::Context) -> anyhow::Result<()> {
    let listener = listen(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let children = ctx.children.clone();
    ctx.children.try_spawn("admin", async move {
        loop {
            let (stream, _) = listener.accept().await?;
            children.spawn("admin connection", serve(stream, Arc::clone(&answers)));
        }
    });
    Ok(())
}

/// Tells figures at `address`, and nothing else.
///
/// # Errors
/// When it cannot be listened on.
pub(crate) async fn figures(address: SocketAddr, answers: Arc<Answers>, ctx: &tasks::Context) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("cannot listen on {address} for metrics"))?;
    let only: Arc<Answers> = Arc::new(move |method, path| answers(method, path).filter(|_| path == "/metrics"));
    let children = ctx.children.clone();
    ctx.children.try_spawn("metrics", async move {
        loop {
            let (stream, _) = listener.accept().await?;
            children.spawn("metrics connection", serve(stream, Arc::clone(&only)));
        }
    });
    Ok(())
}

/// A socket file that only its owner may open, from the moment that it takes connections.
fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if path.exists() {
        std::fs::remove_file(path)?; // of a process that was killed; a living one holds the data directory's lock
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(UnixListener::from_std(socket.into())?)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, answers: Arc<Answers>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let found = answers(request.method(), request.uri().path_and_query().map_or("/", |path| path.as_str()));
        async move {
            let (status, kind, text) =
                found.unwrap_or_else(|| (StatusCode::NOT_FOUND, "text/plain", "there is no such page\n".to_owned()));
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
            Ok::<_, Infallible>(response)
        }
    });
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
    {
        tracing::debug!("a question to the gateway was not answered: {error}");
    }
}
