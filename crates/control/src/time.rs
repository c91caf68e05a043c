//! `base::time`, with a present that tests can set.
//!
//! Invariant: everything in this crate that asks for the present asks here.

pub(crate) use base::time::*;

#[cfg(test)]
pub(crate) use crate::fake::clock::now;
