//! The writing side of an h2 connection: many frames, one write.
//!
//! h2 hands over each frame by itself, and with a crowd of watches on a connection that is a TLS record, a system call and
//! a wake-up of the client for every event. Frames are gathered here until h2 has no more of them, and a first flush lets
//! the other tasks that are ready go first: the streams of the same connection, most of the time, which then have their
//! frames in the same write. Invariant: nothing is held without a flush under way, and an idle connection holds no room.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is gathered before it is written whether or not a flush is asked for; four TLS records.
const MOST: usize = 64 * 1024;

pub(super) struct Gather<S> {
    inner: S,
    held: Vec<u8>,
    /// How much of `held` is written.
    written: usize,
    /// Whether this flush has let others go first.
    waited: bool,
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, held: Vec::new(), written: 0, waited: false }
    }

    fn write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        (self.held, self.written, self.waited) = (Vec::new(), 0, false);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() >= MOST {
            ready!(self.write_out(cx))?;
        }
        slices.iter().for_each(|slice| self.held.extend_from_slice(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty() && !self.waited && self.held.len() < MOST {
            self.waited = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_out(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Counts the writes that reach it.
    struct Counted<S>(S, usize);

    impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn what_comes_before_the_flush_is_over_goes_in_one_write() {
        let (near, mut far) = tokio::io::duplex(1024);
        let mut gather = Gather::new(Counted(near, 0));
        gather.write_all(b"one ").await.expect("a write");
        let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut gather).poll_flush(cx))).await;
        assert!(first.is_pending() && gather.inner.1 == 0, "others go first");
        gather.write_all(b"two").await.expect("a write");
        gather.flush().await.expect("a flush");
        assert_eq!((gather.inner.1, gather.held.capacity()), (1, 0));
        let mut read = [0; 7];
        far.read_exact(&mut read).await.expect("what was written");
        assert_eq!(&read, b"one two");
    }

    #[tokio::test]
    async fn a_slow_peer_bounds_what_is_held() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut gather = Gather::new(Counted(near, 0));
        let piece = vec![7; MOST];
        gather.write_all(&piece).await.expect("room for a first piece");
        let next = poll_fn(|cx| Poll::Ready(Pin::new(&mut gather).poll_write(cx, b"more"))).await;
        assert!(next.is_pending(), "the peer has not read yet");
        let read = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.expect("all that was written");
            all
        };
        let write = async {
            gather.write_all(b"more").await.expect("room again");
            gather.shutdown().await.expect("an end");
        };
        let (all, ()) = tokio::join!(read, write);
        assert_eq!(all.len(), MOST + 4);
    }
}
