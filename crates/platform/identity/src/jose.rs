//! Signed tokens: reading (RFC 7515, RFC 7519), keys (RFC 7517) and where an issuer's keys come from.
//!
//! Invariant: which algorithm verifies is decided by the key and by what the policy allows, the token only names one of
//! them. There is no `none` and no HMAC, so a public key can never be taken for a shared secret (RFC 8725).

mod issuer;
mod key;
mod token;

pub(crate) use issuer::{Issuer, KeysError, Metadata, discover};
pub use key::KeySet;
pub(crate) use key::{ALGORITHMS, Algorithm};
pub use token::Token;
pub(crate) use token::{Checks, TokenError, algorithms};

#[cfg(test)]
mod tests;
