//! Compression of large answers, at the level that costs least.
//!
//! Invariant: every chunk that goes in comes out whole, so the first bytes of a long list are not held back.

use std::io::Write as _;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt as _};

use crate::body::BoxError;

/// What is not larger is not worth it. Upstream's limit.
pub(super) const LARGE: usize = 128 * 1024;

fn encoder() -> GzEncoder<Vec<u8>> {
    GzEncoder::new(Vec::new(), Compression::fast())
}

pub(super) fn whole(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = encoder();
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("invariant: writing into memory does not fail")
}

pub(super) fn stream(
    chunks: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    let state = (Box::pin(chunks), Some(encoder()));
    futures::stream::unfold(state, |(mut chunks, encoder)| async move {
        let mut encoder = encoder?;
        let out = match chunks.next().await {
            Some(Ok(chunk)) => {
                let written = encoder.write_all(&chunk).and_then(|()| encoder.flush());
                let out = written.map(|()| Bytes::from(std::mem::take(encoder.get_mut())));
                (out.map_err(BoxError::from), (chunks, Some(encoder)))
            }
            Some(Err(error)) => (Err(error), (chunks, None)),
            None => (encoder.finish().map(Bytes::from).map_err(BoxError::from), (chunks, None)),
        };
        Some(out)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_was_compressed_whole_or_in_chunks_reads_back() {
        let text = "pods ".repeat(100_000);
        let chunks: Vec<Bytes> = text.as_bytes().chunks(70_000).map(Bytes::copy_from_slice).collect();
        let count = chunks.len();
        let packed =
            futures::executor::block_on(stream(futures::stream::iter(chunks.into_iter().map(Ok))).collect::<Vec<_>>());
        assert_eq!(packed.len(), count + 1, "a chunk for a chunk and the end");
        let packed: Vec<u8> = packed.into_iter().flat_map(|chunk| chunk.expect("a chunk").to_vec()).collect();
        for bytes in [packed, whole(text.as_bytes())] {
            let mut read = String::new();
            flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut read).expect("gzip");
            assert!(read == text && bytes.len() < text.len() / 20);
        }
    }
}
