//! The interface on a Unix socket of mode 0600.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixListener;

use super::answer;
use crate::Cache;

/// Connections at once; more wait.
const CONNECTIONS: usize = 16;
const HEADER_TIME: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the interface at `path` until `stop`; a socket that is there is replaced, and none is left behind.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(cache: &'static Cache, path: &Path, ctx: &tasks::Context) -> io::Result<()> {
    let listener = bind(path)?;
    let slots = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    let taking = async {
        loop {
            let slot = std::sync::Arc::clone(&slots).acquire_owned().await.expect("invariant: never closed");
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("cannot take a connection to the cache's socket: {error}");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            ctx.children.spawn("cache socket", async move {
                let service = service_fn(move |request| async move {
                    Ok::<_, std::convert::Infallible>(answer(cache, None, request).await)
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME);
                if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                    tracing::debug!("a connection to the cache's socket failed: {error}");
                }
                drop(slot);
            });
        }
    };
    tokio::select! {
        () = taking => {}
        () = ctx.stop.cancelled() => {}
    }
    fs::remove_file(path)
}

/// The socket has its mode before it has its name.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(new)?;
    fs::set_permissions(new, fs::Permissions::from_mode(0o600))?;
    fs::rename(new, path)?;
    Ok(listener)
}
