//! Subjects: from the fields of a spec or from RFC 4514 text, written as X.501 names, read back.

use super::der;

/// A relative distinguished name: identifiers of types with values.
pub type Rdn = Vec<(Vec<u8>, String)>;

/// Type, its RFC 4514 name, its identifier.
static TYPES: &[(&str, &[u8])] = &[
    ("C", &[0x55, 4, 6]),
    ("O", &[0x55, 4, 10]),
    ("OU", &[0x55, 4, 11]),
    ("L", &[0x55, 4, 7]),
    ("ST", &[0x55, 4, 8]),
    ("STREET", &[0x55, 4, 9]),
    ("POSTALCODE", &[0x55, 4, 17]),
    ("CN", &[0x55, 4, 3]),
    ("SERIALNUMBER", &[0x55, 4, 5]),
    ("DC", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 25]),
    ("UID", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 1]),
];

/// The identifier of a type by its short name.
#[must_use]
pub fn id(name: &str) -> Option<&'static [u8]> {
    TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, id)| *id)
}

/// The RDN of all values of one type, as Go puts them; none when there are none.
#[must_use]
pub fn rdn(name: &str, values: &[String]) -> Option<Rdn> {
    let id = id(name)?;
    let values: Rdn =
        values.iter().filter(|value| !value.is_empty()).map(|value| (id.to_vec(), value.clone())).collect();
    (!values.is_empty()).then_some(values)
}

/// A name, DER.
#[must_use]
pub fn encode(rdns: &[Rdn]) -> Vec<u8> {
    let one = |(id, value): &(Vec<u8>, String)| {
        let printable = |byte: u8| byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte);
        // a domain component is IA5 (RFC 4519, 2.4); the rest is as Go writes it
        let tag = match id.as_slice() {
            [0x09, 0x92, .., 25] => der::IA5,
            _ if value.bytes().all(printable) => der::PRINTABLE,
            _ => der::UTF8,
        };
        der::sequence(&[der::tagged(der::OID, id), der::tagged(tag, value.as_bytes())])
    };
    der::sequence(&rdns.iter().map(|rdn| der::set(rdn.iter().map(one).collect())).collect::<Vec<_>>())
}

/// The attributes of a name (DER), without what is no text; sorted.
#[must_use]
pub fn attributes(name: &[u8]) -> Rdn {
    let mut found = Rdn::new();
    let mut sets = der::take(name, der::SEQUENCE).map(|(sets, _)| sets).unwrap_or_default();
    while let Some((mut set, after)) = der::take(sets, der::SET) {
        while let Some((attribute, next)) = der::take(set, der::SEQUENCE) {
            if let Some((id, value)) = der::take(attribute, der::OID)
                && let Some(((_, value, _), _)) = der::any(value)
                && let Ok(text) = std::str::from_utf8(value)
            {
                found.push((id.to_vec(), text.to_owned()));
            }
            set = next;
        }
        sets = after;
    }
    found.sort();
    found
}

/// The value of one type in a name (DER).
#[must_use]
pub fn value(name: &[u8], of: &str) -> Option<String> {
    let id = id(of)?;
    attributes(name).into_iter().find(|(found, _)| found == id).map(|(_, value)| value)
}

/// Reads RFC 4514: `CN=web,O=Example\, Inc`, most specific first, `+` within an RDN.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Vec<Rdn>, String> {
    let mut rdns = vec![Rdn::new()];
    let mut characters = text.chars().peekable();
    loop {
        let mut kind = String::new();
        loop {
            match characters.next() {
                Some('=') => break,
                Some(character) if character.is_ascii_alphanumeric() || character == '.' => kind.push(character),
                Some(' ') if kind.is_empty() => {}
                other => return Err(format!("cannot read {text:?}: {other:?} in the name of an attribute type")),
            }
        }
        let mut bytes: Vec<u8> = Vec::new();
        let mut kept = 0; // up to here blanks were escaped
        let end = loop {
            match characters.next() {
                None => break None,
                Some(end @ (',' | '+' | ';')) => break Some(end),
                Some('\\') => {
                    let escaped =
                        characters.next().ok_or_else(|| format!("{text:?} ends in the middle of an escape"))?;
                    match (escaped.to_digit(16), characters.peek().and_then(|next| next.to_digit(16))) {
                        (Some(high), Some(low)) => {
                            bytes.push(u8::try_from(high * 16 + low).unwrap_or(0));
                            characters.next();
                        }
                        _ => bytes.extend(escaped.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                    kept = bytes.len();
                }
                Some('"') => return Err(format!("{text:?}: quotation marks must be escaped with a backslash")),
                Some(' ') if bytes.is_empty() => {}
                Some(character) => bytes.extend(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        };
        while bytes.len() > kept && bytes.last() == Some(&b' ') {
            bytes.pop();
        }
        let value = String::from_utf8(bytes).map_err(|_| format!("{text:?} has a value that is not UTF-8"))?;
        let id = id(&kind).map(<[u8]>::to_vec).or_else(|| dotted(&kind));
        let id = id.ok_or_else(|| format!("{text:?} has an unknown attribute type {kind:?}"))?;
        if let Some(last) = rdns.last_mut() {
            last.push((id, value));
        }
        match end {
            None => break,
            Some('+') => {}
            Some(_) => rdns.push(Rdn::new()),
        }
    }
    rdns.reverse();
    Ok(rdns)
}

/// An object identifier written with dots.
fn dotted(text: &str) -> Option<Vec<u8>> {
    let numbers: Vec<u64> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [first, second, rest @ ..] = numbers.as_slice() else { return None };
    if *first > 2 || (*first < 2 && *second > 39) {
        return None;
    }
    let mut bytes = Vec::new();
    for number in std::iter::once(first.checked_mul(40)?.checked_add(*second)?).chain(rest.iter().copied()) {
        let groups = (64 - number.leading_zeros()).div_ceil(7).max(1);
        for group in (0..groups).rev() {
            let low = u8::try_from(number >> (7 * group) & 0x7F).unwrap_or(0);
            bytes.push(if group > 0 { low | 0x80 } else { low });
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let rdns = parse(text)?;
        let name = |id: &[u8]| TYPES.iter().find(|(_, known)| *known == id).map_or("?", |(name, _)| *name);
        Ok(rdns.iter().flatten().map(|(id, value)| format!("{}={value}", name(id))).collect())
    }

    #[test]
    fn a_literal_subject_is_read_from_its_end() {
        assert_eq!(
            shown(r"CN=web, O=Example\, Inc + OU=a ,C=DE").unwrap(),
            ["C=DE", "O=Example, Inc", "OU=a", "CN=web"]
        );
        assert_eq!(shown(r"CN=L\C3\BCbeck\ ").unwrap(), ["CN=Lübeck "]);
        assert_eq!(parse("2.5.4.3=x").unwrap(), parse("CN=x").unwrap());
        for wrong in ["", "CN", "XX=1", "CN=a\\", "CN=\"a\"", "CN=\\ff", "3.1=x"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let rdns = parse("CN=web,OU=b+OU=a,O=Ä").unwrap();
        let mut all: Rdn = rdns.iter().flatten().cloned().collect();
        all.sort();
        assert_eq!(attributes(&encode(&rdns)), all);
        assert_eq!(value(&encode(&rdns), "CN").as_deref(), Some("web"));
    }
}
