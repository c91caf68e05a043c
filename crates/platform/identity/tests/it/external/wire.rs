//! Protobuf and gRPC by hand, so that the field numbers are checked against another writer's.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};

fn varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    to.push(u8::try_from(value).expect("seven bits"));
}

/// A message of fields with bytes (messages and texts).
pub(crate) fn message(fields: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut to = Vec::new();
    for (number, bytes) in fields {
        varint(number << 3 | 2, &mut to);
        varint(bytes.len() as u64, &mut to);
        to.extend(bytes);
    }
    to
}

/// A message of one number.
pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    let mut to = Vec::new();
    varint(field << 3, &mut to);
    varint(value, &mut to);
    to
}

/// `HeaderValueOption`
pub(crate) fn option(name: &str, value: &str, append: Option<bool>) -> Vec<u8> {
    let header = message(&[(1, name.as_bytes().to_vec()), (2, value.as_bytes().to_vec())]);
    let mut fields = vec![(1, header)];
    fields.extend(append.map(|append| (2, number(1, u64::from(append)))));
    message(&fields)
}

/// A unary answer of gRPC.
pub(crate) fn answer(status: &'static str, message: &[u8]) -> Response<BoxBody<Bytes, Infallible>> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    frame.extend(message);
    let trailers: HeaderMap =
        [(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))].into_iter().collect();
    let body = Full::new(Bytes::from(frame)).with_trailers(async move { Some(Ok(trailers)) }).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
}

/// The message in a frame of gRPC.
pub(crate) fn question(body: &Bytes) -> Vec<u8> {
    let size = u32::from_be_bytes(body[1..5].try_into().expect("four bytes"));
    assert_eq!((body[0], size as usize), (0, body.len() - 5));
    body[5..].to_vec()
}

fn read_varint(from: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = from[0];
        *from = &from[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a message that hold bytes.
fn fields(mut from: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut read = Vec::new();
    while !from.is_empty() {
        let tag = read_varint(&mut from);
        match tag & 7 {
            0 => {
                read_varint(&mut from);
            }
            2 => {
                let size = usize::try_from(read_varint(&mut from)).expect("short");
                read.push((tag >> 3, from[..size].to_vec()));
                from = &from[size..];
            }
            other => panic!("wire type {other}"),
        }
    }
    read
}

/// All fields at a path of field numbers.
pub(crate) fn find(from: &[u8], path: &[u64]) -> Vec<Vec<u8>> {
    let [number, rest @ ..] = path else { return vec![from.to_vec()] };
    fields(from).into_iter().filter(|(field, _)| field == number).flat_map(|(_, bytes)| find(&bytes, rest)).collect()
}

/// A text field of a message.
pub(crate) fn text(from: &[u8], number: u64) -> String {
    find(from, &[number]).into_iter().map(|bytes| String::from_utf8(bytes).expect("text")).collect()
}
