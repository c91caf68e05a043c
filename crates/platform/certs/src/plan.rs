//! What to do next, for each kind. No I/O, no clock, no randomness: the same input gives the same plan.

pub mod certificate;
pub mod challenge;
pub mod held;
pub mod issuer;
pub mod order;
pub mod policy;
pub mod request;
pub mod secret;
pub mod shim;

use crate::api::Condition;

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether somebody should look.
    pub warning: bool,
    /// In one word.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Note {
    /// Of something that went as it should.
    pub(crate) fn normal(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), message: message.into() }
    }

    /// Of something that did not.
    pub(crate) fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), message: message.into() }
    }
}

/// A condition as of `now`.
pub(crate) fn fact(
    kind: &str,
    status: bool,
    reason: &str,
    message: impl Into<String>,
    now: jiff::Timestamp,
) -> Condition {
    Condition {
        kind: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        last_transition_time: base::time::rfc3339(now),
        reason: reason.to_owned(),
        message: message.into(),
        observed_generation: None,
    }
}

/// `name`, cut to `most` bytes where it is longer, with a hash of the whole so that two long names stay apart.
#[must_use]
pub fn shortened(name: &str, most: usize) -> String {
    if name.len() <= most {
        return name.to_owned();
    }
    let kept: String = name.chars().take(most.saturating_sub(9)).collect();
    format!("{}-{}", kept.trim_end_matches(['-', '.']), hash(&[name], 8))
}

/// The first `digits` hexadecimal digits of the SHA-256 of the parts.
#[must_use]
pub fn hash(parts: &[&str], digits: usize) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&u64::try_from(part.len()).unwrap_or(0).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut text: String = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    text.truncate(digits);
    text
}
