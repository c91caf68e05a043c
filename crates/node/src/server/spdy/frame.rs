//! Frames, from bytes and to bytes.
//!
//! Invariant: data is handed on in the pieces it arrives in and never gathered; what is gathered (a control frame) is
//! bounded by [`CONTROL`]. A piece that is not the last of its frame never carries the end of the stream.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Fault;
use super::headers::{Deflate, Headers, Inflate};

const VERSION: u16 = 3;
const HEAD: usize = 8;
/// The longest control frame that is read.
const CONTROL: usize = 64 << 10;
const FIN: u8 = 1;
const ID: u32 = 0x7fff_ffff;

mod kind {
    pub(super) const SYN_STREAM: u16 = 1;
    pub(super) const SYN_REPLY: u16 = 2;
    pub(super) const RST_STREAM: u16 = 3;
    pub(super) const PING: u16 = 6;
    pub(super) const GOAWAY: u16 = 7;
    pub(super) const HEADERS: u16 = 8;
}

/// Why a stream was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    Protocol = 1,
    Refused = 3,
}

/// What a peer says that means something here; settings and window sizes do not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Open { id: u32, headers: Headers, fin: bool },
    Data { id: u32, data: Bytes, fin: bool },
    Reset { id: u32 },
    Ping { id: u32 },
    GoAway,
}

/// Data still to come of the frame that began.
struct Pending {
    id: u32,
    left: usize,
    fin: bool,
}

pub(super) struct Decoder {
    inflate: Inflate,
    pending: Option<Pending>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { inflate: Inflate::new(), pending: None }
    }

    /// The next frame in `buffer`; none until more bytes came.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Fault> {
        loop {
            if let Some(pending) = &mut self.pending {
                if buffer.is_empty() && pending.left > 0 {
                    return Ok(None);
                }
                let data = buffer.split_to(pending.left.min(buffer.len())).freeze();
                pending.left -= data.len();
                let (id, last) = (pending.id, pending.left == 0);
                let fin = last && pending.fin;
                if last {
                    self.pending = None;
                }
                return Ok(Some(Frame::Data { id, data, fin }));
            }
            let Some(head) = buffer.get(..HEAD) else { return Ok(None) };
            let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let flags = head[4];
            let length = usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]);
            if first & !ID == 0 {
                buffer.advance(HEAD);
                self.pending = Some(Pending { id: first, left: length, fin: flags & FIN != 0 });
                continue;
            }
            let (version, kind) = ((first >> 16) as u16 & 0x7fff, (first & 0xffff) as u16);
            if version != VERSION {
                return Err(Fault::Version(version));
            }
            if length > CONTROL {
                return Err(Fault::TooLong(length));
            }
            if buffer.len() < HEAD + length {
                return Ok(None);
            }
            buffer.advance(HEAD);
            let body = buffer.split_to(length).freeze();
            if let Some(frame) = self.control(kind, flags, body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn control(&mut self, kind: u16, flags: u8, mut body: Bytes) -> Result<Option<Frame>, Fault> {
        let number = |body: &mut Bytes| body.try_get_u32().map_err(|_| Fault::Cut(kind));
        Ok(match kind {
            kind::SYN_STREAM => {
                let id = number(&mut body)? & ID;
                number(&mut body)?; // the stream it belongs to
                body.try_get_u16().map_err(|_| Fault::Cut(kind))?; // priority
                let headers = self.inflate.read(&body)?;
                Some(Frame::Open { id, headers, fin: flags & FIN != 0 })
            }
            kind::SYN_REPLY | kind::HEADERS => {
                number(&mut body)?;
                self.inflate.read(&body)?; // for the state of the compression
                None
            }
            kind::RST_STREAM => Some(Frame::Reset { id: number(&mut body)? & ID }),
            kind::PING => Some(Frame::Ping { id: number(&mut body)? }),
            kind::GOAWAY => Some(Frame::GoAway),
            _ => None,
        })
    }
}

pub(super) struct Encoder {
    deflate: Deflate,
}

impl Encoder {
    pub(super) fn new() -> Result<Self, Fault> {
        Ok(Self { deflate: Deflate::new()? })
    }

    pub(super) fn reply(&mut self, id: u32) -> Result<Bytes, Fault> {
        let block = self.deflate.write(&Headers::default())?;
        let mut body = id.to_be_bytes().to_vec();
        body.extend_from_slice(&block);
        Ok(control(kind::SYN_REPLY, 0, &body))
    }

    #[cfg(test)]
    pub(super) fn open(&mut self, id: u32, headers: &Headers, fin: bool) -> Bytes {
        let mut body = [id.to_be_bytes(), [0; 4]].concat();
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&self.deflate.write(headers).expect("a block"));
        control(kind::SYN_STREAM, u8::from(fin), &body)
    }
}

pub(super) fn reset(id: u32, why: Reset) -> Bytes {
    control(kind::RST_STREAM, 0, &[id.to_be_bytes(), (why as u32).to_be_bytes()].concat())
}

pub(super) fn ping(id: u32) -> Bytes {
    control(kind::PING, 0, &id.to_be_bytes())
}

pub(super) fn go_away(last: u32) -> Bytes {
    control(kind::GOAWAY, 0, &[last.to_be_bytes(), [0; 4]].concat())
}

/// `data` is shorter than 16 MiB.
pub(super) fn data(id: u32, data: &[u8], fin: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + data.len());
    frame.put_u32(id & ID);
    put_length(&mut frame, u8::from(fin), data.len());
    frame.put_slice(data);
    frame.freeze()
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD + body.len());
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    put_length(&mut frame, flags, body.len());
    frame.put_slice(body);
    frame.freeze()
}

fn put_length(frame: &mut BytesMut, flags: u8, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX) & 0x00ff_ffff;
    frame.put_u32(u32::from(flags) << 24 | length);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8], cuts: &[usize]) -> Result<Vec<Frame>, Fault> {
        let (mut decoder, mut buffer, mut frames) = (Decoder::new(), BytesMut::new(), Vec::new());
        let mut at = 0;
        let ends = cuts.iter().copied().chain([bytes.len()]);
        for end in ends.map(|end| end.min(bytes.len())) {
            buffer.put_slice(bytes.get(at..end).unwrap_or_default());
            at = at.max(end);
            while let Some(frame) = decoder.next(&mut buffer)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    /// Pieces of data joined again, so that cuts do not show.
    fn joined(frames: Vec<Frame>) -> Vec<Frame> {
        let mut joined: Vec<Frame> = Vec::new();
        for frame in frames {
            match (joined.last_mut(), frame) {
                (Some(Frame::Data { id, data, fin }), Frame::Data { id: same, data: more, fin: end })
                    if *id == same && !*fin =>
                {
                    *data = [&data[..], &more[..]].concat().into();
                    *fin = end;
                }
                (_, frame) => joined.push(frame),
            }
        }
        joined
    }

    fn conversation() -> Vec<u8> {
        let mut encoder = Encoder::new().unwrap();
        let headers = Headers::from_pairs(&[("streamtype", "error"), ("port", "80"), ("requestid", "0")]);
        let settings = control(4, 0, &[0, 0, 0, 0]);
        [
            encoder.open(1, &headers, true),
            settings,
            encoder.open(3, &headers, false),
            data(3, b"hello", false),
            ping(7),
            data(3, b"", true),
            reset(3, Reset::Protocol),
            go_away(0),
        ]
        .concat()
    }

    #[test]
    fn frames_are_read_in_order() {
        let headers = Headers::from_pairs(&[("streamtype", "error"), ("port", "80"), ("requestid", "0")]);
        let expected = vec![
            Frame::Open { id: 1, headers: headers.clone(), fin: true },
            Frame::Open { id: 3, headers, fin: false },
            Frame::Data { id: 3, data: Bytes::from_static(b"hello"), fin: false },
            Frame::Ping { id: 7 },
            Frame::Data { id: 3, data: Bytes::new(), fin: true },
            Frame::Reset { id: 3 },
            Frame::GoAway,
        ];
        assert_eq!(all(&conversation(), &[]).unwrap(), expected);
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(all(&[0x80, 2, 0, 1, 0, 0, 0, 0], &[]), Err(Fault::Version(2)));
        assert_eq!(all(&[0x80, 3, 0, 1, 0, 0xff, 0, 0], &[]), Err(Fault::TooLong(0xff_0000)));
        assert_eq!(all(&[0x80, 3, 0, 3, 0, 0, 0, 1, 0], &[]), Err(Fault::Cut(3)));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(cuts in proptest::collection::vec(0_usize..400, 0..12)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let bytes = conversation();
            prop_assert_eq!(joined(all(&bytes, &cuts).unwrap()), joined(all(&bytes, &[]).unwrap()));
        }

        #[test]
        fn no_bytes_make_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..600), flips in proptest::collection::vec((0_usize..400, any::<u8>()), 0..6),
        ) {
            drop(all(&bytes, &[]));
            let mut spoiled = conversation();
            for (at, value) in flips {
                let length = spoiled.len();
                spoiled[at % length] = value;
            }
            drop(all(&spoiled, &[7, 30, 100]));
        }
    }
}
