//! The record of an object on disk: everything but a large body, with a checksum over all of it.
//!
//! ```text
//! magic 8 | length of head 4 | checksum of head 4 | head | body when it is small
//! ```
//!
//! Numbers are little-endian. A record that is cut short or changed does not decode; nothing in it is trusted before
//! its checksum was right, and lengths not even then.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};
use pingora_http::ResponseHeader;

use super::object::{Head, Key, Label, Life};

const MAGIC: &[u8; 8] = b"KNARRC01";
/// Bytes before the head.
pub(crate) const PRELUDE: usize = 16;
/// No head is longer: fields are limited when a response is read.
pub(crate) const MOST_HEAD: usize = 8 << 20;
/// The part of a large body that has a checksum of its own.
pub(crate) const BLOCK: u64 = 64 << 10;
const LONGEST_BODY: u64 = 1 << 40;

/// Where the body of a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// After the head.
    Here { length: u64, sum: u32 },
    /// In a file of its own.
    Beside { generation: u64, length: u64, sums: Arc<[u32]> },
}

/// A record without a small body.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) head: Head,
    pub(crate) place: Place,
}

/// The bytes of a record; `body` when it is kept in it.
pub(crate) fn encode(record: &Record, body: &[u8]) -> Vec<u8> {
    let Head { key, label, life, header } = &record.head;
    let mut out = Writer(vec![0; PRELUDE]);
    out.0.extend_from_slice(key);
    for time in [life.fresh_until, life.born, life.provenance] {
        out.u64(
            time.duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
        );
    }
    out.u32(life.stale_while_revalidate);
    out.u32(life.stale_if_error);
    out.bytes(life.variance.as_ref().map_or(&[][..], |variance| &variance[..]));
    out.bytes(label.url.as_bytes());
    out.count(label.tags.len());
    for tag in label.tags.iter() {
        out.bytes(tag.as_bytes());
    }
    out.u32(u32::from(header.status.as_u16()));
    out.count(header.headers.len());
    for (name, value) in &header.headers {
        out.bytes(name.as_str().as_bytes());
        out.bytes(value.as_bytes());
    }
    match &record.place {
        Place::Here { length, sum } => {
            out.u32(0);
            out.u64(*length);
            out.u32(*sum);
        }
        Place::Beside { generation, length, sums } => {
            out.u32(1);
            out.u64(*length);
            out.u64(*generation);
            out.count(sums.len());
            sums.iter().for_each(|sum| out.u32(*sum));
        }
    }
    let mut bytes = out.0;
    let length = u32::try_from(bytes.len() - PRELUDE).unwrap_or(u32::MAX);
    let sum = crc32fast::hash(&bytes[PRELUDE..]);
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// The length of the head that begins with this prelude; nothing when it is none of ours.
pub(crate) fn head_length(prelude: &[u8]) -> Option<usize> {
    if prelude.get(..8)? != MAGIC {
        return None;
    }
    let length = u32::from_le_bytes(prelude.get(8..12)?.try_into().ok()?) as usize;
    (length <= MOST_HEAD).then_some(length)
}

/// A record from its first bytes, with what follows the head; nothing when anything about it is not as it was written.
pub(crate) fn decode(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let length = head_length(bytes)?;
    let sum = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?);
    let (head, rest) = (bytes.get(PRELUDE..PRELUDE + length)?, &bytes[PRELUDE + length..]);
    if crc32fast::hash(head) != sum {
        return None;
    }
    let mut from = Reader(head);
    let key: Key = from.take(16)?.try_into().ok()?;
    let (fresh_until, born, provenance) = (from.time()?, from.time()?, from.time()?);
    let (stale_while_revalidate, stale_if_error) = (from.u32()?, from.u32()?);
    let variance = from.bytes()?;
    let variance = if variance.is_empty() { None } else { Some(variance.try_into().ok()?) };
    let url: Arc<str> = from.text()?.into();
    let count = from.count()?;
    let tags: Option<Vec<Arc<str>>> = (0..count).map(|_| from.text().map(Arc::from)).collect();
    let status = u16::try_from(from.u32()?).ok()?;
    let count = from.count()?;
    let mut header = ResponseHeader::build(status, Some(count.min(64))).ok()?;
    for _ in 0..count {
        let name = HeaderName::from_bytes(from.bytes()?).ok()?;
        let value = HeaderValue::from_bytes(from.bytes()?).ok()?;
        header.append_header(name, value).ok()?;
    }
    let place = place(&mut from)?;
    let life = Life { fresh_until, born, provenance, stale_while_revalidate, stale_if_error, variance };
    let label = Arc::new(Label { url, tags: tags?.into() });
    from.0.is_empty().then_some((Record { head: Head { key, label, life, header }, place }, rest))
}

fn place(from: &mut Reader<'_>) -> Option<Place> {
    let beside = from.u32()?;
    let length = from.u64()?;
    match beside {
        0 => Some(Place::Here { length, sum: from.u32()? }),
        1 => {
            let generation = from.u64()?;
            let count = from.count()?;
            let sums: Option<Vec<u32>> = (0..count).map(|_| from.u32()).collect();
            let sums: Arc<[u32]> = sums?.into();
            (length <= LONGEST_BODY && length.div_ceil(BLOCK) == sums.len() as u64).then_some(Place::Beside {
                generation,
                length,
                sums,
            })
        }
        _ => None,
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn time(&mut self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(self.u64()?))
    }

    /// A number of things of which each takes at least four bytes.
    fn count(&mut self) -> Option<usize> {
        let count = self.u32()? as usize;
        (count <= self.0.len() / 4).then_some(count)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn head(key: Key, url: &str, tags: &[&str]) -> Head {
        let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_800_000_000_123_456_789);
        let mut header = ResponseHeader::build(200, None).unwrap();
        header.append_header("content-type", "text/plain").unwrap();
        header.append_header("x-bytes", &b"\xff\x80"[..]).unwrap();
        header.append_header("link", "a").unwrap();
        header.append_header("link", "b").unwrap();
        Head {
            key,
            label: Arc::new(Label { url: url.into(), tags: tags.iter().map(|tag| Arc::from(*tag)).collect() }),
            life: Life {
                fresh_until: now,
                born: now,
                provenance: now,
                stale_while_revalidate: 3,
                stale_if_error: 4,
                variance: Some([7; 16]),
            },
            header,
        }
    }

    fn records() -> Vec<(Record, Vec<u8>)> {
        let here = Record { head: head([1; 16], "https://a/", &["x", "y"]), place: Place::Here { length: 5, sum: 9 } };
        let sums = Arc::from([1_u32, 2]);
        let beside = Record {
            head: head([2; 16], "http://b/", &[]),
            place: Place::Beside { generation: 8, length: BLOCK + 1, sums },
        };
        vec![(here, b"hello".to_vec()), (beside, Vec::new())]
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for (record, body) in records() {
            let bytes = encode(&record, &body);
            let (read, rest) = decode(&bytes).unwrap();
            assert_eq!(rest, body);
            assert_eq!(
                (read.head.key, &read.head.label, read.head.life),
                (record.head.key, &record.head.label, record.head.life)
            );
            assert_eq!(read.head.header.headers, record.head.header.headers);
            assert_eq!((read.place, read.head.header.status), (record.place, record.head.header.status));
        }
    }

    proptest! {
        #[test]
        fn a_record_that_was_cut_or_changed_is_none(which in 0_usize..2, at in any::<prop::sample::Index>(), bit in 0_u8..8, cut: bool) {
            let (record, _) = records().swap_remove(which);
            let mut bytes = encode(&record, &[]);
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            prop_assert!(decode(&bytes).is_none());
        }

        #[test]
        fn no_bytes_whatever_do_harm(junk in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = vec![0; PRELUDE];
            bytes[..8].copy_from_slice(MAGIC);
            bytes[8..12].copy_from_slice(&u32::try_from(junk.len()).unwrap().to_le_bytes());
            bytes[12..16].copy_from_slice(&crc32fast::hash(&junk).to_le_bytes());
            bytes.extend_from_slice(&junk);
            prop_assert!(decode(&bytes).is_none_or(|(record, _)| record.head.header.status.as_u16() > 0));
        }
    }
}
