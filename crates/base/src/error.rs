//! How errors are told: one printer for error chains, so that no error repeats its source in its own message, and Go's
//! way to quote a text, for messages that clients know.
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

/// A text in double quotes with Go's escapes.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
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
