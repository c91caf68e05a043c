//! Bytes from one side to the other and back.
//!
//! Each direction reads, writes all of it, and only then reads on: a slow reader slows the writer
//! down, and memory is two buffers. The end of one direction is passed on as the end of writing
//! (half-close); the other goes on. Nothing in both directions for the idle time ends both.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::End;
use crate::clock::{Clock, Time};

/// Bytes on their way, per direction.
const BUFFER: usize = 16 * 1024;

/// What went through.
#[derive(Debug, Default)]
pub struct Bytes {
    /// From the client.
    pub up: AtomicU64,
    /// To the client.
    pub down: AtomicU64,
}

/// Which side broke.
struct Broken(End);

/// Copies until both directions have ended, one breaks, or nothing is said for `idle`.
pub async fn both(
    client: impl AsyncRead + AsyncWrite,
    backend: impl AsyncRead + AsyncWrite,
    idle: Duration,
    clock: Clock,
    bytes: &Bytes,
) -> End {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_backend, mut to_backend) = tokio::io::split(backend);
    let heard = AtomicU64::new(clock.now().0);
    let hear = || heard.store(clock.now().0, Ordering::Relaxed);
    let up = one(&mut from_client, &mut to_backend, &bytes.up, &hear, (End::ClientGone, End::BackendGone));
    let down = one(&mut from_backend, &mut to_client, &bytes.down, &hear, (End::BackendGone, End::ClientGone));
    let copying = async { tokio::try_join!(up, down) };
    tokio::select! {
        ended = copying => match ended {
            Ok(_) => End::Closed,
            Err(Broken(end)) => end,
        },
        () = silence(&heard, idle, clock) => End::Idle,
    }
}

/// Ends when nothing was heard for `idle`.
async fn silence(heard: &AtomicU64, idle: Duration, clock: Clock) {
    loop {
        let quiet = clock.now().since(Time(heard.load(Ordering::Relaxed)));
        match idle.checked_sub(quiet) {
            Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
            _ => return,
        }
    }
}

/// Copies one direction to its end.
async fn one(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: &AtomicU64,
    hear: &impl Fn(),
    (reading, writing): (End, End),
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken(reading))?;
        hear();
        if read == 0 {
            return match to.shutdown().await {
                // The other side has closed all of it meanwhile.
                Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(Broken(writing)),
                _ => Ok(()),
            };
        }
        to.write_all(&buffer[..read]).await.map_err(|_| Broken(writing))?;
        to.flush().await.map_err(|_| Broken(writing))?;
        count.fetch_add(read as u64, Ordering::Relaxed);
        hear();
    }
}
