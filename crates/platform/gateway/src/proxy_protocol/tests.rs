use super::*;
use proptest::prelude::*;

fn proxied(source: &str, destination: &str) -> Said {
    Said::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

#[test]
fn lines_of_version_1_are_read_exactly() {
    let v4 = proxied("192.0.2.1:56324", "198.51.100.2:443");
    let v6 = proxied("[2001:db8::1]:1", "[2001:db8::2]:65535");
    type Row<'a> = (&'a [u8], Result<Option<Said>, Fault>);
    let table: [Row<'_>; 19] = [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Ok(Some(v4))),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", Ok(Some(v6))),
        (b"PROXY UNKNOWN\r\n", Ok(Some(Said::Nothing))),
        (b"PROXY UNKNOWN ffff::1 whatever\r\n", Ok(Some(Said::Nothing))),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r", Ok(None)),
        (b"PRO", Ok(None)),
        (b"", Ok(None)),
        (b"GET / HTTP/1.1\r\n", Err(Fault::Missing)),
        (b"PROXY\r\n", Err(Fault::Missing)),
        (b"PROXY UNKNOWNX\r\n", Err(Fault::Line)),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n", Err(Fault::Line)),
        (b"PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n", Err(Fault::Line)),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", Err(Fault::Line)),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 056324 443\r\n", Err(Fault::Line)),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 +56 443\r\n", Err(Fault::Line)),
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 65536\r\n", Err(Fault::Line)),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", Err(Fault::Line)),
        (b"PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n", Err(Fault::Unknown)),
        (&[b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat(), Err(Fault::Long)),
    ];
    for (bytes, expected) in table {
        let read = parse(bytes).map(|read| {
            read.map(|(said, length)| {
                assert_eq!(length, bytes.len());
                said
            })
        });
        assert_eq!(read, expected, "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn headers_of_version_2_are_read_with_their_checksum() {
    let (source, destination) = ("192.0.2.1:1000".parse().unwrap(), "198.51.100.2:443".parse().unwrap());
    let plain = write_v2(source, destination, false);
    let said = Said::Proxied { source, destination };
    assert_eq!(parse(&plain), Ok(Some((said, 28))));
    let with = |attributes: &[u8]| {
        let mut bytes = [&plain[..], attributes].concat();
        bytes[15] += u8::try_from(attributes.len()).unwrap();
        bytes
    };
    assert_eq!(parse(&with(&[1, 0, 2, b'h', b'2'])), Ok(Some((said, 33))));
    assert_eq!(parse(&with(&[1, 0, 3, b'h', b'2'])), Err(Fault::Attributes));
    let unsigned = with(&[CRC32C, 0, 4, 0, 0, 0, 0]);
    let mut signed = unsigned.clone();
    signed[31..].copy_from_slice(&crc32c(&unsigned).to_be_bytes());
    assert_eq!(parse(&signed), Ok(Some((said, 35))));
    signed[20] ^= 1;
    assert_eq!(parse(&signed), Err(Fault::Checksum));
    assert_eq!(crc32c(b"123456789"), 0xe306_9283, "RFC 3720, B.4, and everybody's check value");

    let change = |at: usize, value: u8| {
        let mut bytes = plain.clone();
        bytes[at] = value;
        parse(&bytes)
    };
    assert_eq!(change(12, 0x11), Err(Fault::Unknown));
    assert_eq!(change(12, 0x22), Err(Fault::Unknown));
    assert_eq!(change(12, 0x20), Ok(Some((Said::Nothing, 28))), "a connection of the sender's own");
    assert_eq!(change(13, 0x41), Err(Fault::Unknown));
    assert_eq!(change(13, 0x21), Err(Fault::Length));
    assert_eq!(change(14, 0xff), Err(Fault::Length));
    assert_eq!(change(15, 11), Err(Fault::Length));
    assert_eq!(change(15, 13), Ok(None));
}

#[tokio::test]
async fn a_connection_keeps_what_follows_the_header() {
    let (source, destination): (SocketAddr, SocketAddr) =
        ("[2001:db8::1]:7".parse().unwrap(), "198.51.100.2:443".parse().unwrap());
    let mapped = proxied("[2001:db8::1]:7", "[::ffff:198.51.100.2]:443");
    for header in [write_v1(source, destination), write_v2(source, destination, false)] {
        let bytes = [&header[..], b"GET /"].concat();
        let mut stream = &bytes[..];
        assert_eq!(read(&mut stream).await.unwrap(), mapped);
        assert_eq!(stream, b"GET /");
        let mut cut = &header[..header.len() - 1];
        assert_eq!(read(&mut cut).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
    let mut none = &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..];
    assert_eq!(read(&mut none).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(|(address, port)| SocketAddr::new(address, port))
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(source in address(), destination in address(), datagram: bool, tail in "[a-z]{0,8}") {
        let (from, to) = alike(source, destination);
        for header in [write_v1(source, destination), write_v2(source, destination, datagram)] {
            let bytes = [&header[..], tail.as_bytes()].concat();
            prop_assert_eq!(parse(&bytes), Ok(Some((Said::Proxied { source: from, destination: to }, header.len()))));
            for cut in 0..header.len() {
                prop_assert_eq!(parse(&header[..cut]), Ok(None), "a part of a header is no fault");
            }
        }
    }

    #[test]
    fn nothing_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300), start in 0..3_usize) {
        let begin: &[u8] = [&b""[..], b"PROXY TCP4 ", SIGNATURE][start];
        let bytes = [begin, &bytes].concat();
        if let Ok(Some((_, length))) = parse(&bytes) {
            prop_assert!(length <= bytes.len() && length >= SHORTEST);
        }
    }
}
