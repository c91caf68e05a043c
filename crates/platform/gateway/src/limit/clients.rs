//! A bucket per client, in bounded memory.
//!
//! A bucket that is full says nothing and may be forgotten; that is the only way a bucket goes. So
//! an attacker with many addresses cannot push anybody's bucket out to make it full again. When
//! all places are taken by buckets in use, newcomers share buckets by the network they come from
//! ([`SHARED`] of them for every part of the memory), each with the rate of one client: a flood
//! from some networks then slows newcomers down that share with those, never those who were there.
//! Memory is [`PARTS`] times the places of a part, and taken as it is needed.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;

use super::gcra::{Cell, Left, Rate, Wait};
use crate::clock::Time;

/// Parts with a lock each.
const PARTS: usize = 16;
/// Buckets that newcomers of a full part share.
const SHARED: usize = 64;
/// Between two looks through a full part for buckets that may go: what looking costs is bounded by
/// it, whatever is sent.
const SWEEP: Duration = Duration::from_millis(100);

/// The buckets of the clients of one limit.
#[derive(Debug)]
pub struct Clients {
    rate: Rate,
    /// Buckets of a part at most.
    places: usize,
    /// Keyed by a number nobody outside can know.
    secret: RandomState,
    parts: Box<[Mutex<Part>]>,
}

#[derive(Debug)]
struct Part {
    buckets: HashMap<u64, Cell>,
    shared: Box<[Cell]>,
    /// No look for full buckets before then.
    sweep_at: Time,
}

impl Clients {
    /// Buckets of `rate` for at most about `most` clients at once.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        let part = || Part {
            buckets: HashMap::new(),
            shared: (0..SHARED).map(|_| Cell::default()).collect(),
            sweep_at: Time::default(),
        };
        Self {
            rate,
            places: most.div_ceil(PARTS).max(1),
            secret: RandomState::new(),
            parts: (0..PARTS).map(|_| Mutex::new(part())).collect(),
        }
    }

    /// The rate of each client.
    #[must_use]
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Takes one request out of the bucket of `client`. `network` is what it shares with its
    /// neighbours ([`client_key`]).
    ///
    /// # Errors
    /// When it is empty; tells how long.
    pub fn take(&self, client: &[u8], network: &[u8], now: Time) -> Result<Left, Wait> {
        let hash = self.secret.hash_one(client);
        let mut part = self.parts[hash as usize % PARTS].lock();
        if let Some(cell) = part.buckets.get(&hash) {
            return cell.take(&self.rate, now);
        }
        if part.buckets.len() >= self.places {
            part.make_room(now, &self.rate);
        }
        if part.buckets.len() < self.places {
            return part.buckets.entry(hash).or_default().take(&self.rate, now);
        }
        let shared = self.secret.hash_one(network) as usize % SHARED;
        part.shared[shared].take(&self.rate, now)
    }

    /// Buckets in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.lock().buckets.len()).sum()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Part {
    /// Forgets full buckets, unless that was done a moment ago.
    fn make_room(&mut self, now: Time, rate: &Rate) {
        if now < self.sweep_at {
            return;
        }
        self.buckets.retain(|_, cell| !cell.is_full(now));
        self.sweep_at = now + SWEEP.max(rate.per / rate.requests.max(1));
    }
}

/// What a client is told apart by, and what its neighbours share with it: for IPv4 the address and
/// its /16, for IPv6 the /64, which is one customer's, and its /40.
#[must_use]
pub fn client_key(client: IpAddr) -> ([u8; 8], [u8; 5]) {
    let (mut own, mut network) = ([0; 8], [0; 5]);
    match client.to_canonical() {
        IpAddr::V4(address) => {
            own[..4].copy_from_slice(&address.octets());
            own[4] = 4; // no /64 of IPv6 looks like it: those begin with a global prefix
            network[..2].copy_from_slice(&address.octets()[..2]);
            network[2] = 4;
        }
        IpAddr::V6(address) => {
            own.copy_from_slice(&address.octets()[..8]);
            network.copy_from_slice(&address.octets()[..5]);
        }
    }
    (own, network)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Time = Time(1_000_000_000);

    fn rate() -> Rate {
        Rate { requests: 1, per: Duration::from_secs(10), burst: 2 }
    }

    fn take(clients: &Clients, client: [u8; 4], now: Time) -> Result<Left, Wait> {
        let (own, network) = client_key(IpAddr::from(client));
        clients.take(&own, &network, now)
    }

    #[test]
    fn each_client_has_a_bucket_of_its_own() {
        let clients = Clients::new(rate(), 1000);
        for client in [[10, 0, 0, 1], [10, 0, 0, 2]] {
            assert!(take(&clients, client, START).is_ok());
            assert!(take(&clients, client, START).is_ok());
            assert!(take(&clients, client, START).is_err());
        }
        let of = |text: &str| client_key(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"), "a customer has a whole /64");
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }

    #[test]
    fn a_flood_of_addresses_neither_frees_who_was_refused_nor_takes_much_memory() {
        let clients = Clients::new(rate(), 160);
        let (quiet, greedy) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let passed = (0..3).filter(|_| take(&clients, greedy, START).is_ok()).count();
        assert_eq!(passed, 2);
        assert!(take(&clients, quiet, START).is_ok());
        let mut passed = 0;
        for number in 0..50_000_u32 {
            let [_, one, two, three] = number.to_be_bytes();
            passed += usize::from(take(&clients, [10, one, two, three], START).is_ok());
        }
        assert!(take(&clients, greedy, START).is_err(), "its bucket is still empty");
        assert!(take(&clients, quiet, START).is_ok(), "its bucket is still there");
        assert!(clients.len() <= 160);
        assert!(passed <= 160 + 2 * PARTS * SHARED, "{passed} of the flood passed");
        let later = START + Duration::from_secs(30);
        assert!(take(&clients, [10, 9, 9, 9], later).is_ok(), "when the flood is over there is room again");
        assert!(clients.len() < 160);
    }

    proptest! {
        #[test]
        fn there_are_never_more_buckets_than_places(
            most in 1..200_usize, steps in proptest::collection::vec((any::<u16>(), 0..3000_u64), 1..500),
        ) {
            let clients = Clients::new(rate(), most);
            let mut now = START;
            for (client, after) in steps {
                now = now + Duration::from_millis(after);
                let taken = clients.take(&client.to_be_bytes(), b"net", now);
                prop_assert!(taken.is_ok_and(|left| left.requests < 2) || taken.is_err());
                prop_assert!(clients.len() <= most.div_ceil(PARTS) * PARTS);
            }
        }
    }
}
