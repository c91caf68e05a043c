//! Sets of networks, as large as the list of a country's: sorted ranges, so a question is a search.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks in a set at most.
const MOST: usize = 1_000_000;

/// A line that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetFault {
    /// Neither an address nor a network.
    #[error("line {line}: {text:?} is no network; write one like 192.0.2.0/24 or 2001:db8::/32 per line")]
    Line {
        /// From 1.
        line: usize,
        /// What it says.
        text: String,
    },
    /// Too many.
    #[error("there are more than {MOST} networks")]
    Many,
}

/// A set of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nets {
    /// First and last address, sorted, apart from each other.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Nets {
    /// The set of all of them.
    #[must_use]
    pub fn new(nets: impl IntoIterator<Item = IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match net {
                IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        Self { v4: merged(v4, |last| last.checked_add(1)), v6: merged(v6, |last| last.checked_add(1)) }
    }

    /// Reads a list: a network or an address per line (or apart by commas), `#` begins a comment.
    ///
    /// # Errors
    /// At the first line that is none.
    pub fn parse(text: &str) -> Result<Self, NetFault> {
        let mut nets = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            for word in
                line.split(|letter: char| letter == ',' || letter.is_whitespace()).filter(|word| !word.is_empty())
            {
                nets.push(
                    net(word)
                        .ok_or_else(|| NetFault::Line { line: number + 1, text: word.chars().take(64).collect() })?,
                );
            }
            if nets.len() > MOST {
                return Err(NetFault::Many);
            }
        }
        Ok(Self::new(nets))
    }

    /// The set of what is in any of `sets`.
    #[must_use]
    pub fn union<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for set in sets {
            v4.extend_from_slice(&set.v4);
            v6.extend_from_slice(&set.v6);
        }
        Self { v4: merged(v4, |last| last.checked_add(1)), v6: merged(v6, |last| last.checked_add(1)) }
    }

    /// True when `address` is of one of them. An IPv4 address inside IPv6 is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }

    /// True when there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// A network, or an address as the network of itself alone.
#[must_use]
pub fn net(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn within<N: Ord + Copy>(ranges: &[(N, N)], address: N) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| address <= *last)
}

fn merged<N: Ord + Copy>(mut ranges: Vec<(N, N)>, next: impl Fn(N) -> Option<N>) -> Box<[(N, N)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, known)) if next(*known).is_none_or(|next| first <= next) => *known = last.max(*known),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_as_people_write_them() {
        let nets = Nets::parse("# two\n192.0.2.0/24, 198.51.100.7\n\n2001:db8::/32 # and one\n").unwrap();
        let contains = |text: &str| nets.contains(text.parse().unwrap());
        assert!(contains("192.0.2.255") && contains("198.51.100.7") && contains("2001:db8:ffff::1"));
        assert!(contains("::ffff:192.0.2.1"), "inside IPv6 too");
        assert!(!contains("192.0.3.0") && !contains("198.51.100.8") && !contains("2001:db9::"));
        let fault = Nets::parse("10.0.0.0/8\nten/8").unwrap_err();
        assert_eq!(fault, NetFault::Line { line: 2, text: "ten/8".to_owned() });
        assert!(Nets::parse("0.0.0.0/0\n::/0").unwrap().contains("255.255.255.255".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn an_address_is_in_the_set_when_it_is_in_a_network(
            nets in proptest::collection::vec((0..64_u32, 26..=32_u8), 0..12), address in 0..64_u32,
        ) {
            let nets: Vec<IpNet> = nets.into_iter()
                .map(|(low, bits)| IpNet::new(IpAddr::from((0x0a00_0000 + low).to_be_bytes()), bits).unwrap())
                .collect();
            let address = IpAddr::from((0x0a00_0000 + address).to_be_bytes());
            let set = Nets::new(nets.iter().copied());
            prop_assert_eq!(set.contains(address), nets.iter().any(|net| net.contains(&address)));
            prop_assert!(set.v4.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "apart");
        }
    }
}
