//! Certificate authorities, the certificates they issue, and kubeconfig files.
//!
//! Knows X.509, not Kubernetes. All keys that are made here are ECDSA P-256. A key file is 0600 from its first byte
//! and replaced by rename, so that a crash leaves either the old pair or the new one.

mod anyone;
mod authority;
mod der;
mod files;
pub mod inspect;
mod kubeconfig;
pub mod pair;
mod proof;
mod sign;
mod verify;

pub use anyone::Anyone;
pub use authority::{Authority, Error, Pair, Request, Usage, expires, generate_key_pem};
pub use files::{read_or_create, write_private};
pub use kubeconfig::kubeconfig;
pub use proof::proves;
pub use sign::SignError;
