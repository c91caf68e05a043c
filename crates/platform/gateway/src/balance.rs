//! Which endpoint of a backend gets a request.
//!
//! A [`Pool`] is one port of one service: its endpoints, what is known of them, and the policy. It
//! outlives the table of routes that names it ([`crate::backend::Registry`]), so that counts, ejections and ages
//! survive every change of a route. [`Pool::pick`] gives a [`Lease`] on an endpoint; the lease
//! counts as a request in flight until it is dropped, and [`Lease::report`] tells how it went.
//!
//! Invariant: a pick takes no lock and allocates nothing. Whatever is slow to decide (weights,
//! rings, who is ejected, whose zone) is decided when it changes, into a [`Choice`] that is swapped
//! whole. What changes by the clock alone (the end of an ejection, the steps of a slow start) is
//! noticed by the first pick after its time. Invariant: no clock and no randomness in here; both
//! are in the [`Ask`].

mod choice;
mod circuit;
mod endpoint;
pub mod health;
mod policy;
mod pool;
#[cfg(test)]
mod tests;

pub use choice::Choice;
pub use circuit::{Circuit, Kind, Refusal};
pub use endpoint::{Endpoint, Member, Outcome};
pub use policy::{Algorithm, Outlier, Policy, SlowStart, Source};
pub use pool::{Ask, Counts, Lease, Name, Pool};

/// A number for `bytes` that is the same in every gateway and release: keys and endpoints meet on a
/// ring by it. FNV-1a, its bits mixed at the end as in MurmurHash3.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    mix(fnv)
}

/// Spreads a change of any bit over all of them.
fn mix(mut bits: u64) -> u64 {
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits ^= bits >> 33;
    bits = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}
