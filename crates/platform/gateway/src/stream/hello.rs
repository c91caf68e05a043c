//! The first message of a TLS client, read without answering it: which name it asks for.
//!
//! Records may cut the message anywhere (RFC 8446, 5.1), so it is put together first, within
//! bounds. Extensions nobody knows (GREASE, RFC 8701, among them) are passed over. With Encrypted
//! Client Hello the outer name is what there is to route by; the inner one is the backend's.

/// Bytes of records at most: a hello with post-quantum keys has about 2 KiB.
pub const LONGEST: usize = 24 * 1024;
/// A record's payload at most (RFC 8446, 5.1).
const RECORD: usize = 16_384;

/// What a client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name it asks for, in small letters; none when it names none.
    pub name: Option<String>,
    /// The protocols it offers (RFC 7301), in its order.
    pub protocols: Vec<Vec<u8>>,
    /// There is an encrypted hello inside.
    pub encrypted: bool,
}

/// What is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Something else.
    #[error("the client does not speak TLS")]
    NotTls,
    /// The message is too long.
    #[error("the TLS client's first message is too long")]
    Long,
    /// It contradicts itself.
    #[error("the TLS client's first message is not as it must be")]
    Broken,
    /// The name is no host name.
    #[error("the TLS client asks for a name that is none")]
    Name,
}

/// Reads the hello that `bytes` begin with. None while it is not whole.
///
/// # Errors
/// When it is no hello, as soon as that is certain.
pub fn parse(bytes: &[u8]) -> Result<Option<Hello>, Fault> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        let length = match message.get(..4) {
            Some(&[1, 0, high, low]) => 4 + usize::from(u16::from_be_bytes([high, low])),
            Some(&[1, ..]) => return Err(Fault::Long),
            Some(_) => return Err(Fault::NotTls),
            None if message.first().is_some_and(|kind| *kind != 1) => return Err(Fault::NotTls),
            None => 4,
        };
        if length > LONGEST {
            return Err(Fault::Long);
        }
        if message.len() >= length && length > 4 {
            return read(&message[4..length]).map(Some);
        }
        if message.len() == 4 && length == 4 {
            return Err(Fault::Broken); // a hello of no bytes
        }
        let head = [rest.first(), rest.get(1)];
        if head[0].is_some_and(|kind| *kind != 22) || head[1].is_some_and(|version| *version != 3) {
            return Err(Fault::NotTls);
        }
        let Some((&[_, _, _, high, low], after)) = rest.split_first_chunk::<5>() else {
            return if bytes.len() > LONGEST { Err(Fault::Long) } else { Ok(None) };
        };
        let size = usize::from(u16::from_be_bytes([high, low]));
        if size == 0 || size > RECORD {
            return Err(Fault::NotTls);
        }
        message.extend_from_slice(&after[..size.min(after.len())]);
        if after.len() < size {
            // The rest of the record is still to come; what is here may be enough to refuse.
            let foreign = message.first().is_some_and(|kind| *kind != 1);
            let long = bytes.len() > LONGEST || message.get(1).is_some_and(|byte| *byte != 0);
            return match (foreign, long) {
                (true, _) => Err(Fault::NotTls),
                (_, true) => Err(Fault::Long),
                _ => Ok(None),
            };
        }
        rest = &after[size..];
    }
}

/// Takes parts off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Fault::Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A list with a length of one byte before it.
    fn short(&mut self) -> Result<Self, Fault> {
        let length = self.u8()?;
        self.take(usize::from(length)).map(Self)
    }

    /// A list with a length of two bytes before it.
    fn long(&mut self) -> Result<Self, Fault> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Self)
    }
}

/// RFC 8446, 4.1.2.
fn read(message: &[u8]) -> Result<Hello, Fault> {
    let mut reader = Reader(message);
    reader.take(2 + 32)?; // version and random
    if reader.short()?.0.len() > 32 {
        return Err(Fault::Broken);
    }
    let suites = reader.long()?.0.len();
    if suites < 2 || !suites.is_multiple_of(2) || reader.short()?.0.is_empty() {
        return Err(Fault::Broken);
    }
    let mut hello = Hello::default();
    if reader.0.is_empty() {
        return Ok(hello); // TLS 1.2 without extensions
    }
    let mut extensions = reader.long()?;
    if !reader.0.is_empty() {
        return Err(Fault::Broken);
    }
    let mut seen = [false; 3];
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut body = extensions.long()?;
        let slot = match kind {
            0 => 0,
            16 => 1,
            0xfe0d => 2,
            _ => continue,
        };
        if std::mem::replace(&mut seen[slot], true) {
            return Err(Fault::Broken);
        }
        match slot {
            0 => hello.name = name(&mut body)?,
            1 => hello.protocols = protocols(&mut body)?,
            _ => hello.encrypted = true,
        }
    }
    Ok(hello)
}

/// RFC 6066, 3: one name, of a host.
fn name(body: &mut Reader<'_>) -> Result<Option<String>, Fault> {
    let mut list = body.long()?;
    let kind = list.u8()?;
    let name = list.long()?.0;
    if kind != 0 || !list.0.is_empty() || !body.0.is_empty() {
        return Err(Fault::Broken);
    }
    let text = std::str::from_utf8(name).map_err(|_| Fault::Name)?;
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Ok(None); // not allowed, sent all the same, and no name
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    if text.len() > 253 || !text.split('.').all(label) {
        return Err(Fault::Name);
    }
    Ok(Some(text.to_ascii_lowercase()))
}

fn protocols(body: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, Fault> {
    let mut list = body.long()?;
    let mut protocols = Vec::new();
    while !list.0.is_empty() {
        let protocol = list.short()?.0;
        if protocol.is_empty() {
            return Err(Fault::Broken);
        }
        protocols.push(protocol.to_vec());
    }
    if protocols.is_empty() || !body.0.is_empty() { Err(Fault::Broken) } else { Ok(protocols) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn listed(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &listed(body)].concat()
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        extension(0, &listed(&[&[0][..], &listed(name)].concat()))
    }

    /// A hello with these extensions, in records of `size` bytes.
    fn records(extensions: &[Vec<u8>], size: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 4, 0x1a, 0x1a, 0x13, 0x01, 1, 0]);
        body.extend(listed(&extensions.concat()));
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let message = [&[1][..], &length[1..], &body].concat();
        message.chunks(size).flat_map(|part| [&[22, 3, 1][..], &listed(part)].concat()).collect()
    }

    /// What a real client sends for `name`.
    pub(crate) fn real(name: &str) -> Vec<u8> {
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    fn named(name: &str) -> Hello {
        Hello { name: Some(name.to_owned()), ..Hello::default() }
    }

    #[test]
    fn the_hello_of_a_real_client_is_read() {
        let protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let expected = Hello { name: Some("web.test".to_owned()), protocols: protocols.clone(), encrypted: false };
        assert_eq!(parse(&real("web.test")), Ok(Some(expected)));
        let without = Hello { name: None, protocols, encrypted: false };
        assert_eq!(parse(&real("192.0.2.1")), Ok(Some(without)), "an address is no name");
    }

    #[test]
    fn oddities_are_read_or_refused() {
        let grease = extension(0x5a5a, &[]);
        let ech = extension(0xfe0d, &[0; 40]);
        assert_eq!(
            parse(&records(&[grease, sni(b"WEB.Test."), ech], 16_000)),
            Ok(Some(Hello { encrypted: true, ..named("web.test") }))
        );
        assert_eq!(parse(&records(&[], 100)), Ok(Some(Hello::default())), "no name");
        let refused = |extensions: &[Vec<u8>]| parse(&records(extensions, 1000)).unwrap_err();
        assert_eq!(refused(&[sni(b"a"), sni(b"b")]), Fault::Broken);
        assert_eq!(refused(&[sni(b"a b")]), Fault::Name);
        assert_eq!(refused(&[sni(b"a..b")]), Fault::Name);
        assert_eq!(refused(&[sni(b"")]), Fault::Name);
        assert_eq!(refused(&[sni(b"a\0.test")]), Fault::Name);
        assert_eq!(refused(&[extension(0, &[0, 9, 0])]), Fault::Broken);
        assert_eq!(refused(&[extension(16, &[0, 0])]), Fault::Broken);
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(Fault::NotTls));
        assert_eq!(parse(&[22, 3, 1, 0, 0]), Err(Fault::NotTls), "an empty record");
        assert_eq!(parse(&[22, 3, 1, 0x40, 1]), Err(Fault::NotTls), "a record that is too long");
        assert_eq!(parse(&[22, 3, 1, 0, 9, 2]), Err(Fault::NotTls), "another message");
        assert_eq!(parse(&[22, 3, 1, 0, 9, 1, 1]), Err(Fault::Long), "64 KiB and more");
        let padding = extension(21, &vec![0; LONGEST]);
        assert_eq!(refused(&[padding]), Fault::Long);
    }

    proptest! {
        #[test]
        fn records_may_cut_the_message_anywhere_and_it_may_come_in_parts(size in 1..80_usize, cut in any::<prop::sample::Index>()) {
            let bytes = records(&[extension(0x0a0a, &[1]), sni(b"web.test")], size);
            prop_assert_eq!(parse(&bytes), Ok(Some(named("web.test"))));
            prop_assert_eq!(parse(&bytes[..cut.index(bytes.len())]), Ok(None));
        }

        #[test]
        fn nothing_breaks_the_reader(at in any::<prop::sample::Index>(), value: u8, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&bytes));
            let mut changed = records(&[sni(b"web.test"), extension(16, &[0, 3, 2, b'h', b'2'])], 40);
            let at = at.index(changed.len());
            changed[at] = value;
            drop(parse(&changed));
            changed.truncate(at);
            changed.extend(&bytes);
            drop(parse(&changed));
        }
    }
}
