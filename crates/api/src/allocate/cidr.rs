//! Ranges of addresses, and their families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// `IPv4` or `IPv6`, as `spec.ipFamilies` spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::V4, Self::V6].into_iter().find(|family| family.name() == name)
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the service range {0:?} is not one CIDR such as 10.43.0.0/16, or an IPv4 and an IPv6 one separated by a comma"
)]
pub struct RangeFault(String);

/// The addresses of one CIDR, without its network address and (IPv4) broadcast address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    pub(super) text: String,
    pub(super) family: Family,
    /// The first usable address.
    first: u128,
    pub(super) size: u64,
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.trim().split_once('/')?;
        let (address, length): (IpAddr, u32) = (address.parse().ok()?, length.parse().ok()?);
        let (bits, value) = match address {
            IpAddr::V4(v4) => (32, u128::from(u32::from(v4))),
            IpAddr::V6(v6) => (128, u128::from(v6)),
        };
        let host = bits - u32::min(length, bits);
        if length > bits || host < 2 || (bits == 128 && host > 64) {
            return None;
        }
        let base = value >> host << host;
        let all = 1u128 << host;
        let usable = if address.is_ipv4() { all - 2 } else { all - 1 };
        let size = u64::try_from(usable).unwrap_or(u64::MAX);
        Some(Self { text: text.trim().to_owned(), family: Family::of(address), first: base + 1, size })
    }

    /// The n-th usable address; 0 is the one of the `kubernetes` service.
    pub(crate) fn address(&self, number: u64) -> IpAddr {
        let value = self.first + u128::from(number);
        match self.family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(value).unwrap_or(u32::MAX))),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(value)),
        }
    }

    /// Whether the address lies in the range, the ones it keeps for itself included.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let value = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let base = self.first - 1;
        let own = if self.family == Family::V4 { 2 } else { 1 };
        Family::of(address) == self.family && value >= base && value - base < u128::from(self.size) + own
    }

    pub(super) fn number(&self, address: IpAddr) -> Option<u64> {
        let value = match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let number = u64::try_from(value.checked_sub(self.first)?).ok()?;
        (Family::of(address) == self.family && number < self.size).then_some(number)
    }
}

/// Reads the service range: one CIDR, or one of each family with the default family first.
pub(crate) fn parse_cidrs(text: &str) -> Result<Vec<Cidr>, RangeFault> {
    let cidrs: Option<Vec<Cidr>> = text.split(',').map(Cidr::parse).collect();
    match cidrs {
        Some(cidrs) if cidrs.len() == 1 || (cidrs.len() == 2 && cidrs[0].family != cidrs[1].family) => Ok(cidrs),
        _ => Err(RangeFault(text.to_owned())),
    }
}
