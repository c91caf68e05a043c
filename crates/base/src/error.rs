//! One printer for error chains, so that no error repeats its source in its own message.
//!
//! Invariant: causes appear outermost first, joined by ": "; a cause that its parent already quotes is not said twice.

use std::error::Error;

/// The message of `error` and of all its sources.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !message.is_empty() && !text.ends_with(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Sample {
        #[error("disk is full")]
        Disk,
        #[error("cannot write the record")]
        Write(#[source] Box<Sample>),
        #[error("commit failed: disk is full")]
        Quoting(#[source] Box<Sample>),
    }

    #[test]
    fn causes_follow_their_effects() {
        let error = Sample::Write(Box::new(Sample::Disk));
        assert_eq!(chain(&error), "cannot write the record: disk is full");
    }

    #[test]
    fn a_cause_that_is_already_quoted_is_not_repeated() {
        let error = Sample::Quoting(Box::new(Sample::Disk));
        assert_eq!(chain(&error), "commit failed: disk is full");
    }
}
