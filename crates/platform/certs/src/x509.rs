//! Keys, signing requests and certificates, as Certificates ask for them.
//!
//! Knows X.509, not Kubernetes. Invariant: pure but for the randomness of new keys and serial numbers, and no bytes make
//! anything here panic. Why not `pki`: that makes the cluster's own certificates, always ECDSA; users want RSA, subjects
//! with several values of a kind, and keys in Go's forms.

pub mod chain;
pub(crate) mod der;
pub mod key;
pub mod keystore;
pub mod name;
pub mod read;
pub mod request;
pub mod sign;
pub mod usage;
