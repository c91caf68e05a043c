//! Certificate authorities, the certificates they issue, and kubeconfig files.
//!
//! Knows X.509, not Kubernetes. All keys are ECDSA P-256. A key file is 0600 from its first byte
//! and replaced by rename, so that a crash leaves either the old pair or the new one.

mod authority;
mod files;
pub mod inspect;
mod kubeconfig;
mod sign;

pub use authority::{Authority, Error, Pair, Request, Usage, expires, generate_key_pem};
pub use files::{read_or_create, write_private};
pub use kubeconfig::kubeconfig;
pub use sign::SignError;
