//! Addresses and address blocks: read as leniently as upstream once did, judged as strictly as it does now.
//!
//! Invariant: what stood in the old object is tolerated (`existing`); warnings tell of forms that are read differently by
//! different programs.

use std::net::IpAddr;

use serde_json::Value;

use super::Faults;
use crate::error::quote;
use crate::path::Path;

/// An address, with leading zeros in its parts if need be.
pub(crate) fn sloppy(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))?;
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| IpAddr::from(octets))
}

/// As Go prints it: a mapped address is shown as what it maps.
pub(crate) fn canonical(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some())
}

pub(crate) fn is_v6(text: &str) -> bool {
    sloppy(text).is_some_and(|address| address.to_canonical().is_ipv6())
}

/// An address in a field that is older than the strict rules.
pub(crate) fn legacy(text: &str, existing: &[&str], path: &Path<'_>, faults: &mut Faults) -> bool {
    existing.contains(&text) || parsed(text, path, faults).is_some()
}

fn parsed(text: &str, path: &Path<'_>, faults: &mut Faults) -> Option<IpAddr> {
    let Some(address) = sloppy(text) else {
        faults.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        return None;
    };
    if text.parse::<IpAddr>().is_err() {
        faults.invalid(path, text, "must not have leading 0s");
        return None;
    }
    if is_mapped(address) {
        faults.invalid(path, text, "must not be an IPv4-mapped IPv6 address");
        return None;
    }
    Some(address)
}

/// An address in its one right form.
pub(crate) fn strict(text: &str, path: &Path<'_>, faults: &mut Faults) -> bool {
    let Some(address) = parsed(text, path, faults) else { return false };
    let right = canonical(address);
    if right != text {
        faults.invalid(path, text, format!("must be in canonical form ({})", quote(&right)));
        return false;
    }
    true
}

/// An address that traffic may be sent to.
pub(crate) fn endpoint(text: &str, path: &Path<'_>, faults: &mut Faults) {
    let Some(address) = sloppy(text).map(|address| address.to_canonical()) else {
        faults.invalid(path, text, "must be a valid IP address");
        return;
    };
    if address.is_unspecified() {
        faults.invalid(path, text, format!("may not be unspecified ({text})"));
    }
    if address.is_loopback() {
        faults.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (unicast, multicast) = match address {
        IpAddr::V4(four) => (four.is_link_local(), four.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(six) => (six.segments()[0] & 0xffc0 == 0xfe80, six.segments()[0] & 0xff0f == 0xff02),
    };
    if unicast {
        faults.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        faults.invalid(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// An address block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub address: IpAddr,
    pub bits: u8,
}

impl Block {
    pub(crate) fn sloppy(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let address = sloppy(address)?;
        if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let bits: u8 = bits.trim_start_matches('0').parse().or_else(|_| bits.parse()).ok()?;
        let limit = if address.is_ipv4() { 32 } else { 128 };
        (bits <= limit).then_some(Self { address, bits })
    }

    fn number(address: IpAddr) -> (u128, u8) {
        match address {
            IpAddr::V4(four) => (u128::from(u32::from(four)), 32),
            IpAddr::V6(six) => (u128::from(six), 128),
        }
    }

    /// The first address of the block.
    pub(crate) fn base(&self) -> IpAddr {
        let (number, width) = Self::number(self.address);
        let host = width - self.bits;
        let masked = if host >= 128 { 0 } else { number >> host << host };
        match self.address {
            IpAddr::V4(_) => IpAddr::from(u32::try_from(masked).unwrap_or_default().to_be_bytes()),
            IpAddr::V6(_) => IpAddr::from(masked.to_be_bytes()),
        }
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Self { address, bits: self.bits }.base() == self.base()
    }

    pub(crate) fn text(&self) -> String {
        format!("{}/{}", canonical(self.base()), self.bits)
    }
}

/// A block in a field that is older than the strict rules.
pub(crate) fn legacy_block(text: &str, existing: &[&str], path: &Path<'_>, faults: &mut Faults) -> bool {
    existing.contains(&text) || parsed_block(text, path, faults).is_some()
}

fn parsed_block(text: &str, path: &Path<'_>, faults: &mut Faults) -> Option<Block> {
    let Some(block) = Block::sloppy(text) else {
        faults.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return None;
    };
    let exact = text
        .split_once('/')
        .is_some_and(|(address, bits)| address.parse::<IpAddr>().is_ok() && (bits == "0" || !bits.starts_with('0')));
    let detail = if !exact {
        "must not have leading 0s in IP or prefix length"
    } else if is_mapped(block.address) {
        "must not have an IPv4-mapped IPv6 address"
    } else if block.base() != block.address {
        "must not have bits set beyond the prefix length"
    } else {
        return Some(block);
    };
    faults.invalid(path, text, detail);
    None
}

/// A block in its one right form.
pub(crate) fn strict_block(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if let Some(block) = parsed_block(text, path, faults)
        && block.text() != text
    {
        faults.invalid(path, text, format!("must be in canonical form ({})", quote(&block.text())));
    }
}

/// An address of an interface with the size of its network.
pub(crate) fn interface(text: &str, path: &Path<'_>, faults: &mut Faults) {
    let Some(block) = Block::sloppy(text) else {
        let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
        faults.invalid(path, text, detail);
        return;
    };
    let right = format!("{}/{}", canonical(block.address), block.bits);
    if right != text {
        faults.invalid(path, text, format!("must be in canonical form ({})", quote(&right)));
    }
}

/// Whether these are one address or block of each family and no more.
pub(crate) fn is_dual<'v>(texts: impl Iterator<Item = &'v str>) -> bool {
    let (mut four, mut six) = (false, false);
    for text in texts {
        if is_v6(text.split('/').next().unwrap_or("")) { six = true } else { four = true }
    }
    four && six
}

/// The texts of a list.
pub(crate) fn texts(values: &[Value]) -> Vec<&str> {
    values.iter().map(|value| value.as_str().unwrap_or("")).collect()
}

/// What is told of an address that is right but odd.
pub(crate) fn warn(text: &str, path: &Path<'_>, warnings: &mut Vec<String>) {
    let Some(address) = sloppy(text) else { return };
    if text.parse::<IpAddr>().is_err() || is_mapped(address) {
        let right = quote(&canonical(address));
        warnings.push(format!("{path}: non-standard IP address {} is invalid: use {right}", quote(text)));
    } else if address.is_ipv6() && address.to_string() != text {
        let right = quote(&address.to_string());
        warnings.push(format!("{path}: IPv6 address {} should be in RFC 5952 canonical format ({right})", quote(text)));
    }
}

/// What is told of a block that is right but odd.
pub(crate) fn warn_block(text: &str, path: &Path<'_>, warnings: &mut Vec<String>) {
    let Some(block) = Block::sloppy(text) else { return };
    let before = warnings.len();
    if block.base() != block.address {
        let single = format!("{}/{}", canonical(block.address), if block.address.is_ipv4() { 32 } else { 128 });
        warnings.push(format!(
            "{path}: CIDR value {} is ambiguous in this context (should be {} or {}?)",
            quote(text),
            quote(&block.text()),
            quote(&single)
        ));
    }
    let exact = text
        .split_once('/')
        .is_some_and(|(address, bits)| address.parse::<IpAddr>().is_ok() && (bits == "0" || !bits.starts_with('0')));
    if !exact || is_mapped(block.address) {
        let right = quote(&block.text());
        warnings.push(format!("{path}: non-standard CIDR value {} is invalid: use {right}", quote(text)));
    }
    let plain = format!("{}/{}", block.address, block.bits);
    if warnings.len() == before && block.address.is_ipv6() && plain != text {
        let right = quote(&plain);
        warnings
            .push(format!("{path}: IPv6 CIDR value {} should be in RFC 5952 canonical format ({right})", quote(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_know_what_they_contain() {
        let block = Block::sloppy("10.1.2.3/24").unwrap();
        assert_eq!(block.text(), "10.1.2.0/24");
        assert!(block.contains("10.1.2.255".parse().unwrap()) && !block.contains("10.1.3.0".parse().unwrap()));
        assert!(Block::sloppy("::/0").unwrap().contains("fd00::1".parse().unwrap()));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "/8", "10.0.0/8", "10.0.0.0/", "::/129"] {
            assert_eq!(Block::sloppy(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn old_forms_are_read_and_refused() {
        assert_eq!(sloppy("010.0.0.1"), sloppy("10.0.0.1"));
        for (text, detail) in [
            ("010.0.0.1", "must not have leading 0s"),
            ("::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address"),
            ("1.2.3", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
        ] {
            let mut faults = Faults::default();
            assert!(!legacy(text, &[], &Path::Root, &mut faults));
            assert_eq!(faults.list[0].detail, detail);
            assert!(legacy(text, &[text], &Path::Root, &mut faults));
        }
    }
}
