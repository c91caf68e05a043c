//! Asking others: admission webhooks and admission policies.
//!
//! Invariant: who decides about writes is itself written without being decided about, so that whoever locks himself out
//! can unlock. Where nobody wants to be asked a write costs one look at an empty range of keys. Writes of the server's own
//! (what follows from a definition, from an eviction) ask nobody.
//! Upstream: `apiserver/pkg/admission/plugin/webhook` and `plugin/policy`.

mod asked;
mod condition;
mod mutating;
mod policy;
mod review;
mod webhook;

pub(super) use mutating::MutatingAdmissionPolicy;
pub(super) use policy::ValidatingAdmissionPolicy;
pub(crate) use webhook::Rounds;
pub(super) use webhook::{MutatingAdmissionWebhook, ValidatingAdmissionWebhook};
