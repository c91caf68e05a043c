//! Header blocks: one zlib stream per direction for the whole connection, flushed after each block.
//!
//! Invariant: a block is at most [`LIMIT`] bytes when inflated, so a few bytes cannot become a large allocation.

use bytes::{Buf as _, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Fault;
use super::dictionary::dictionary;

const LIMIT: usize = 64 << 10;
const STEP: usize = 4 << 10;

/// Names (in lower case) and values, in the order they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The first value of a header; `name` is in lower case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }

    #[cfg(test)]
    pub(crate) fn from_pairs(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    fn decode(mut block: Bytes) -> Result<Self, Fault> {
        let count = take_u32(&mut block)?;
        let mut headers = Vec::new();
        for _ in 0..count {
            let name = take_text(&mut block)?;
            headers.push((name.to_ascii_lowercase(), take_text(&mut block)?));
        }
        Ok(Self(headers))
    }

    fn encode(&self) -> Vec<u8> {
        let mut block = Vec::new();
        let number = |block: &mut Vec<u8>, count: usize| {
            block.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
        };
        number(&mut block, self.0.len());
        for (name, value) in &self.0 {
            for text in [name, value] {
                number(&mut block, text.len());
                block.extend_from_slice(text.as_bytes());
            }
        }
        block
    }
}

fn take_u32(block: &mut Bytes) -> Result<u32, Fault> {
    block.try_get_u32().map_err(|_| Fault::Headers("the block is cut off"))
}

fn take_text(block: &mut Bytes) -> Result<String, Fault> {
    let length = take_u32(block)? as usize;
    if length > block.len() {
        return Err(Fault::Headers("the block is cut off"));
    }
    let text = block.split_to(length);
    String::from_utf8(text.to_vec()).map_err(|_| Fault::Headers("a header is not UTF-8"))
}

/// The reading end of the compression.
pub(super) struct Inflate {
    stream: Decompress,
}

impl Inflate {
    pub(super) fn new() -> Self {
        Self { stream: Decompress::new(true) }
    }

    /// Every block must pass through here in order, also those nobody asks for.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Result<Headers, Fault> {
        let mut out: Vec<u8> = Vec::with_capacity(STEP);
        loop {
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let step = self.stream.decompress_vec(block, &mut out, FlushDecompress::Sync);
            let read = usize::try_from(self.stream.total_in() - before_in).unwrap_or(usize::MAX);
            block = block.get(read..).unwrap_or_default();
            match step {
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.stream.set_dictionary(&dictionary());
                    set.map_err(|_| Fault::Headers("the compression uses another dictionary"))?;
                    continue;
                }
                Err(_) => return Err(Fault::Headers("the compression is broken")),
                Ok(Status::StreamEnd) => break,
                Ok(Status::Ok | Status::BufError) => {}
            }
            let stuck = read == 0 && self.stream.total_out() == before_out;
            if out.len() == out.capacity() {
                if out.len() >= LIMIT {
                    return Err(Fault::Headers("the block is too large"));
                }
                out.reserve(STEP);
            } else if block.is_empty() || stuck {
                break;
            }
        }
        Headers::decode(out.into())
    }
}

/// The writing end of the compression.
pub(super) struct Deflate {
    stream: Compress,
}

impl Deflate {
    pub(super) fn new() -> Result<Self, Fault> {
        let mut stream = Compress::new(Compression::fast(), true);
        stream.set_dictionary(&dictionary()).map_err(|_| Fault::Headers("the dictionary is refused"))?;
        Ok(Self { stream })
    }

    pub(super) fn write(&mut self, headers: &Headers) -> Result<Vec<u8>, Fault> {
        let block = headers.encode();
        let mut rest = block.as_slice();
        let mut out = Vec::with_capacity(block.len() + 64);
        loop {
            let before = self.stream.total_in();
            let step = self.stream.compress_vec(rest, &mut out, FlushCompress::Sync);
            step.map_err(|_| Fault::Headers("the compression failed"))?;
            let read = usize::try_from(self.stream.total_in() - before).unwrap_or(usize::MAX);
            rest = rest.get(read..).unwrap_or_default();
            if rest.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
            out.reserve(STEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_one_connection_read_back_in_order() {
        let (mut deflate, mut inflate) = (Deflate::new().unwrap(), Inflate::new());
        for index in 0..40 {
            let number = index.to_string();
            let long = "x".repeat(index * 300);
            let headers = Headers::from_pairs(&[("streamtype", "data"), ("port", &number), ("long", &long)]);
            assert_eq!(inflate.read(&deflate.write(&headers).unwrap()).unwrap(), headers);
        }
        let none = Headers::default();
        assert_eq!(inflate.read(&deflate.write(&none).unwrap()).unwrap(), none);
    }

    #[test]
    fn a_block_that_inflates_too_far_is_refused() {
        let bomb = Headers::from_pairs(&[("x", &"y".repeat(1 << 20))]);
        let block = Deflate::new().unwrap().write(&bomb).unwrap();
        assert!(block.len() < 32 << 10);
        assert!(matches!(Inflate::new().read(&block), Err(Fault::Headers("the block is too large"))));
    }
}
