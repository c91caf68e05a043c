//! What a certificate may be used for: the names of the API, and how X.509 writes them.

use super::der;

/// How a use is written: a bit of the key's use, or a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Bit of KeyUsage (RFC 5280, 4.2.1.3).
    Bit(u16),
    /// Last numbers of an extended use; the arc before them depends.
    Purpose(&'static [u8]),
}

const PKIX: [[u8; 8]; 10] = {
    let mut all = [[0x2B, 6, 1, 5, 5, 7, 3, 0]; 10];
    let mut index = 0;
    while index < all.len() {
        all[index][7] = index as u8;
        index += 1;
    }
    all
};

/// The names of the API.
static NAMES: &[(&str, Use)] = &[
    ("digital signature", Use::Bit(0)),
    ("signing", Use::Bit(0)),
    ("content commitment", Use::Bit(1)),
    ("key encipherment", Use::Bit(2)),
    ("data encipherment", Use::Bit(3)),
    ("key agreement", Use::Bit(4)),
    ("cert sign", Use::Bit(5)),
    ("crl sign", Use::Bit(6)),
    ("encipher only", Use::Bit(7)),
    ("decipher only", Use::Bit(8)),
    ("any", Use::Purpose(&[0x55, 0x1D, 0x25, 0])),
    ("server auth", Use::Purpose(&PKIX[1])),
    ("client auth", Use::Purpose(&PKIX[2])),
    ("code signing", Use::Purpose(&PKIX[3])),
    ("email protection", Use::Purpose(&PKIX[4])),
    ("s/mime", Use::Purpose(&PKIX[4])),
    ("ipsec end system", Use::Purpose(&PKIX[5])),
    ("ipsec tunnel", Use::Purpose(&PKIX[6])),
    ("ipsec user", Use::Purpose(&PKIX[7])),
    ("timestamping", Use::Purpose(&PKIX[8])),
    ("ocsp signing", Use::Purpose(&PKIX[9])),
    ("microsoft sgc", Use::Purpose(&[0x2B, 6, 1, 4, 1, 0x82, 0x37, 10, 3, 3])),
    ("netscape sgc", Use::Purpose(&[0x60, 0x86, 0x48, 1, 0x86, 0xF8, 0x42, 4, 1])),
];

/// What is meant when nothing is said.
pub const DEFAULT: [&str; 2] = ["digital signature", "key encipherment"];

/// Uses, sorted out: the bits of KeyUsage (the first is the highest), and purposes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usages {
    /// As the bit string is written.
    pub bits: u16,
    /// Object identifiers, sorted.
    pub purposes: Vec<Vec<u8>>,
}

impl Usages {
    /// From the names of the API; a CA may sign certificates too.
    ///
    /// # Errors
    /// The first name that is none.
    pub fn named(names: &[String], is_ca: bool) -> Result<Self, String> {
        let mut usages = Self::default();
        let default = DEFAULT.map(str::to_owned);
        for name in if names.is_empty() { &default[..] } else { names } {
            let known = NAMES.iter().find(|(known, _)| known == name).map(|(_, known)| *known);
            match known.ok_or_else(|| format!("unknown usage {name:?}"))? {
                Use::Bit(bit) => usages.bits |= 0x8000 >> bit,
                Use::Purpose(id) => usages.purposes.push(id.to_vec()),
            }
        }
        if is_ca {
            usages.bits |= 0x8000 >> 5;
        }
        usages.purposes.sort();
        usages.purposes.dedup();
        Ok(usages)
    }

    /// As extensions: KeyUsage (critical), ExtKeyUsage.
    pub(crate) fn extensions(&self) -> Vec<Vec<u8>> {
        let mut extensions = Vec::new();
        if self.bits != 0 {
            let unused = self.bits.trailing_zeros();
            let bytes = self.bits.to_be_bytes();
            let kept = if unused >= 8 { &bytes[..1] } else { &bytes[..] };
            let value = der::bits(kept, u8::try_from(unused % 8).unwrap_or(0));
            extensions.push(extension(&[0x55, 0x1D, 0x0F], true, &value));
        }
        if !self.purposes.is_empty() {
            let ids: Vec<Vec<u8>> = self.purposes.iter().map(|id| der::tagged(der::OID, id)).collect();
            extensions.push(extension(&[0x55, 0x1D, 0x25], false, &der::sequence(&ids)));
        }
        extensions
    }
}

/// One extension.
pub(crate) fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut items = vec![der::tagged(der::OID, id)];
    if critical {
        items.push(der::tagged(1, &[0xFF]));
    }
    items.push(der::tagged(der::OCTETS, value));
    der::sequence(&items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_means_signing_and_encipherment() {
        assert_eq!(Usages::named(&[], false).unwrap().bits, 0xA000);
        assert_eq!(Usages::named(&[], true).unwrap().bits, 0xA400);
        let named = |name: &str| Usages::named(&[name.to_owned()], false);
        assert_eq!(named("s/mime"), named("email protection"));
        assert_eq!(named("flying"), Err("unknown usage \"flying\"".to_owned()));
    }
}
