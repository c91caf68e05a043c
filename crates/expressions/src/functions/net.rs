//! IP addresses and networks.
//!
//! Invariant: addresses have neither zones nor the form of an IPv4 address inside of an IPv6 one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::value::{Failure, Outcome, Special, Value};

pub(super) const ROWS: &[Row] = &[
    ("ip", Price::Ip, ip, &["(string) -> ip", "cidr.() -> ip"]),
    ("isIP", Price::Traverse { keeps: false }, is_ip, &["(string) -> bool"]),
    ("ip.isCanonical", Price::Twice, is_canonical, &["(string) -> bool"]),
    ("family", Price::One, family, &["ip.() -> int"]),
    ("isUnspecified", Price::One, is_unspecified, &["ip.() -> bool"]),
    ("isLoopback", Price::One, is_loopback, &["ip.() -> bool"]),
    ("isLinkLocalMulticast", Price::One, is_link_local_multicast, &["ip.() -> bool"]),
    ("isLinkLocalUnicast", Price::One, is_link_local_unicast, &["ip.() -> bool"]),
    ("isGlobalUnicast", Price::One, is_global_unicast, &["ip.() -> bool"]),
    ("cidr", Price::Traverse { keeps: false }, cidr, &["(string) -> cidr"]),
    ("isCIDR", Price::Traverse { keeps: false }, is_cidr, &["(string) -> bool"]),
    ("containsIP", Price::ContainsIp, contains_ip, &["cidr.(string) -> bool", "cidr.(ip) -> bool"]),
    ("containsCIDR", Price::ContainsCidr, contains_cidr, &["cidr.(string) -> bool", "cidr.(cidr) -> bool"]),
    ("prefixLength", Price::One, prefix_length, &["cidr.() -> int"]),
    ("masked", Price::One, masked, &["cidr.() -> cidr"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip(IpAddr);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Ip {
    /// In bytes.
    pub(crate) fn size(self) -> u64 {
        u64::from(width(self.0)) / 8
    }
}

impl Cidr {
    /// Of its prefix, in bytes.
    pub(crate) fn size(self) -> u64 {
        u64::from(self.bits).div_ceil(8)
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & high_bits(self.bits + 96) as u32).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & high_bits(self.bits)).into()),
        };
        Self { address, bits: self.bits }
    }

    fn contains(self, address: IpAddr) -> bool {
        width(self.address) == width(address) && Self { address, bits: self.bits }.masked() == self.masked()
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn high_bits(count: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(count)).unwrap_or(0)
}

fn is_mapped(v6: Ipv6Addr) -> bool {
    v6.to_ipv4_mapped().is_some()
}

fn parse_ip(text: &str) -> Result<Ip, String> {
    let refused = |reason: &str| format!("IP Address {text:?} parse error during conversion from string: {reason}");
    if let Some((address, zone)) = text.split_once('%')
        && !zone.is_empty()
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(format!("IP address {text:?} with zone value is not allowed"));
    }
    match text.parse() {
        Ok(IpAddr::V6(v6)) if is_mapped(v6) => Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed")),
        Ok(address) => Ok(Ip(address)),
        Err(_) => Err(refused(&format!("ParseAddr({text:?}): unable to parse IP"))),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let refused = |reason: &str| {
        format!("network address parse error during conversion from string: netip.ParsePrefix({text:?}): {reason}")
    };
    let (address, length) = text.rsplit_once('/').ok_or_else(|| refused("no '/'"))?;
    let parsed: IpAddr =
        address.parse().map_err(|_| refused(&format!("ParseAddr({address:?}): unable to parse IP")))?;
    let plain = !length.is_empty()
        && length.bytes().all(|b| b.is_ascii_digit())
        && (length.len() == 1 || !length.starts_with('0'));
    let bits = length.parse::<u8>().ok().filter(|_| plain);
    let bits = bits.ok_or_else(|| refused(&format!("bad bits after slash: {length:?}")))?;
    if bits > width(parsed) {
        return Err(refused("prefix length out of range"));
    }
    match parsed {
        IpAddr::V6(v6) if is_mapped(v6) => Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed")),
        address => Ok(Cidr { address, bits }),
    }
}

fn read_cidr(text: &str) -> Result<Cidr, Failure> {
    parse_cidr(text)
        .map_err(|reason| Failure::new(format!("network address parse error during conversion from string: {reason}")))
}

fn want_ip(value: &Value<'_>) -> Result<IpAddr, Failure> {
    match value {
        Value::Opaque(special) => match special.as_ref() {
            Special::Ip(ip) => Ok(ip.0),
            _ => Err(Failure::no_overload()),
        },
        other => parse_ip(other.want_str()?).map(|ip| ip.0).map_err(Failure::new),
    }
}

fn want_cidr(value: &Value<'_>) -> Result<Cidr, Failure> {
    match value {
        Value::Opaque(special) => match special.as_ref() {
            Special::Cidr(cidr) => Ok(*cidr),
            _ => Err(Failure::no_overload()),
        },
        other => read_cidr(other.want_str()?),
    }
}

fn ip<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let address = match (&args[0], args[0].as_str()) {
        (_, Some(text)) => parse_ip(text).map_err(Failure::new)?,
        (cidr, None) => Ip(want_cidr(cidr)?.address),
    };
    Ok(Value::special(Special::Ip(address)))
}

fn is_ip<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(parse_ip(args[0].want_str()?).is_ok()))
}

fn is_canonical<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = args[0].want_str()?;
    Ok(Value::Bool(parse_ip(text).map_err(Failure::new)?.to_string() == text))
}

fn family<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(if want_ip(&args[0])?.is_ipv4() { 4 } else { 6 }))
}

fn is_unspecified<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(want_ip(&args[0])?.is_unspecified()))
}

fn is_loopback<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(want_ip(&args[0])?.is_loopback()))
}

fn is_link_local_multicast<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(match want_ip(&args[0])? {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.octets()[0] == 0xff && v6.octets()[1] & 0x0f == 0x02,
    }))
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_link_local_unicast<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(link_local(want_ip(&args[0])?)))
}

fn is_global_unicast<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let address = want_ip(&args[0])?;
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    Ok(Value::Bool(!(broadcast || special || link_local(address))))
}

fn cidr<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::special(Special::Cidr(read_cidr(args[0].want_str()?)?)))
}

fn is_cidr<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(parse_cidr(args[0].want_str()?).is_ok()))
}

fn contains_ip<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(want_cidr(&args[0])?.contains(want_ip(&args[1])?)))
}

fn contains_cidr<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (outer, inner) = (want_cidr(&args[0])?, want_cidr(&args[1])?);
    Ok(Value::Bool(outer.bits <= inner.bits && outer.contains(inner.address)))
}

fn prefix_length<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(i64::from(want_cidr(&args[0])?.bits)))
}

fn masked<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::special(Special::Cidr(want_cidr(&args[0])?.masked())))
}
