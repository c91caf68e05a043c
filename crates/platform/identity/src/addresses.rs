//! Where requests may come from.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::fault::Faults;
use crate::settings::Addresses;

/// Networks that pass and networks that do not.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    allow: Networks,
    deny: Networks,
}

/// Networks as sorted ranges without overlaps, so that long lists are searched in few steps.
#[derive(Debug, Default, PartialEq, Eq)]
struct Networks {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Lists {
    pub(crate) fn new(written: &Addresses, faults: &mut Faults) -> Self {
        let mut read = |list: &[String], name: &str| {
            let networks = list
                .iter()
                .enumerate()
                .filter_map(|(index, text)| faults.take(&format!("spec.addresses.{name}[{index}]"), network(text)));
            Networks::new(networks.collect())
        };
        let lists = Self { allow: read(&written.allow, "allow"), deny: read(&written.deny, "deny") };
        if written.allow.is_empty() && written.deny.is_empty() {
            faults.add("spec.addresses", "neither allow nor deny has a network: say some, or leave addresses out");
        }
        lists
    }

    pub(crate) fn denies(&self, client: IpAddr) -> bool {
        self.deny.has(client)
    }

    /// Whether an address must be on the list of those that pass, and is; none if there is no such list.
    pub(crate) fn allows(&self, client: IpAddr) -> Option<bool> {
        (self.allow != Networks::default()).then(|| self.allow.has(client))
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let read = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    read.map_err(|_| format!("{text:?} is neither a network such as 10.0.0.0/8 nor an address"))
}

impl Networks {
    fn new(networks: Vec<IpNet>) -> Self {
        let mut sorted = Self::default();
        for network in networks {
            match network {
                IpNet::V4(net) => sorted.v4.push((net.network().to_bits(), net.broadcast().to_bits())),
                IpNet::V6(net) => sorted.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
            }
        }
        joined(&mut sorted.v4);
        joined(&mut sorted.v6);
        sorted
    }

    fn has(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => within(&self.v4, address.to_bits()),
            IpAddr::V6(address) => within(&self.v6, address.to_bits()),
        }
    }
}

fn joined<T: Ord + Copy>(ranges: &mut Vec<(T, T)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let overlap = next.0 <= kept.1;
        if overlap {
            kept.1 = kept.1.max(next.1);
        }
        overlap
    });
}

fn within<T: Ord>(ranges: &[(T, T)], at: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= at);
    after.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|(_, last)| at <= *last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lists(allow: &[&str], deny: &[&str]) -> (Lists, Faults) {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let mut faults = Faults::default();
        let lists = Lists::new(&Addresses { allow: texts(allow), deny: texts(deny) }, &mut faults);
        (lists, faults)
    }

    #[test]
    fn an_address_is_found_in_the_network_it_is_in() {
        let (lists, faults) = lists(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32"], &["10.9.0.0/16"]);
        assert_eq!(faults, Faults::default());
        for (address, expected) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("::ffff:10.0.0.1", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
        ] {
            assert_eq!(lists.allows(address.parse().expect("an address")), Some(expected), "{address}");
        }
        assert!(lists.denies("10.9.1.1".parse().expect("an address")));
    }

    #[test]
    fn what_is_no_network_is_told_with_its_place() {
        let (_, faults) = lists(&["10.0.0.0/8", "10.0.0.0/33"], &["example.com"]);
        assert_eq!(
            faults.to_string(),
            "spec.addresses.allow[1]: \"10.0.0.0/33\" is neither a network such as 10.0.0.0/8 nor an address; \
             spec.addresses.deny[0]: \"example.com\" is neither a network such as 10.0.0.0/8 nor an address"
        );
    }

    proptest! {
        #[test]
        fn the_search_agrees_with_looking_at_each(nets in prop::collection::vec((any::<u32>(), 0u8..=32), 0..40), at in any::<u32>()) {
            let nets: Vec<IpNet> = nets.into_iter().map(|(bits, length)| IpNet::new(IpAddr::V4(bits.into()), length).expect("a network").trunc()).collect();
            let address = IpAddr::V4(at.into());
            let expected = nets.iter().any(|net| net.contains(&address));
            prop_assert_eq!(Networks::new(nets).has(address), expected);
        }
    }
}
