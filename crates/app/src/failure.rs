//! How a failure is told: what could not be done, because of what, and what to try.

use std::process::ExitCode;

/// Exit codes, stable for scripts.
pub(crate) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(crate) const USAGE: u8 = 2;
/// The cluster answers, but not all is well.
pub(crate) const UNHEALTHY: u8 = 4;

/// Wrong use: told without a cause chain, exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) Vec<String>);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("\n       "))
    }
}
impl std::error::Error for Usage {}

/// A command that would help, attached to an error as its outermost context.
#[derive(Debug)]
pub(crate) struct Try(pub(crate) String);

impl std::fmt::Display for Try {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "try: {}", self.0)
    }
}

/// The lines for a person, without escape codes.
pub(crate) fn lines(error: &anyhow::Error) -> Vec<String> {
    let mut lines = Vec::new();
    let mut causes = Vec::new();
    let mut remedy = None;
    for cause in error.chain().map(ToString::to_string) {
        if let Some(command) = cause.strip_prefix("try: ") {
            remedy = Some(format!("try: {command}"));
        } else if !causes.iter().any(|known: &String| known.contains(&cause)) {
            causes.push(cause);
        }
    }
    let mut causes = causes.into_iter();
    lines.push(format!("error: {}", causes.next().unwrap_or_else(|| "unknown".to_owned())));
    lines.extend(causes.map(|cause| format!("because: {cause}")));
    lines.extend(remedy);
    lines
}

/// Prints the failure and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    for line in lines(error) {
        eprintln!("{line}");
    }
    ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILED })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{Context as _, anyhow};

    #[test]
    fn a_cause_is_said_once_and_the_remedy_comes_last() {
        let error = Err::<(), _>(anyhow!("address in use"))
            .context("cannot listen on 0.0.0.0:80")
            .context(Try("knarr up --http-port 8080".to_owned()))
            .expect_err("an error");
        assert_eq!(
            lines(&error),
            ["error: cannot listen on 0.0.0.0:80", "because: address in use", "try: knarr up --http-port 8080"]
        );
    }
}
