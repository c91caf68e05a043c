//! Rules of `coordination.k8s.io`.

use std::cmp::Ordering;

use base::name;

use super::{Case, Faults, IMMUTABLE, NEGATIVE};
use crate::json::{at, int, text};
use crate::path::Path;

const STRATEGIES: &[&str] = &["OldestEmulationVersion"];

pub(crate) fn lease(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        faults.invalid(&path.field("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    if let Some(transitions) = int(spec, "leaseTransitions").filter(|transitions| *transitions < 0) {
        faults.invalid(&path.field("leaseTransitions"), transitions, NEGATIVE);
    }
    if let Some(text) = at(spec, "strategy").as_str() {
        strategy(text, &path.field("strategy"), faults);
    }
    if !text(spec, "preferredHolder").is_empty() && text(spec, "strategy").is_empty() {
        faults.forbidden(&path.field("preferredHolder"), "may only be specified if `strategy` is defined");
    }
}

/// Upstream names the field twice.
fn strategy(strategy: &str, path: &Path<'_>, faults: &mut Faults) {
    let path = path.field("strategy");
    if strategy.contains('/') {
        faults.named(&path, strategy, name::qualified_name);
    } else if !STRATEGIES.contains(&strategy) {
        faults.not_supported(&path, strategy, STRATEGIES);
    }
}

pub(crate) fn candidate(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    faults.required_text(spec, "leaseName", &path);
    let wrong = "must be a valid semantic version";
    let (binary, emulated) = (text(spec, "binaryVersion"), text(spec, "emulationVersion"));
    let (on_binary, on_emulated) = (path.field("binaryVersion"), path.field("emulationVersion"));
    if !emulated.is_empty() && SemVer::parse(emulated).is_none() {
        faults.invalid(&on_emulated, emulated, wrong);
    }
    if binary.is_empty() {
        faults.required(&on_binary, "");
    } else if SemVer::parse(binary).is_none() {
        faults.invalid(&on_binary, binary, wrong);
    }
    let version = |text: &str| SemVer::parse(text).unwrap_or_default();
    if !binary.is_empty() && !emulated.is_empty() && version(binary).cmp(&version(emulated)) == Ordering::Less {
        faults.invalid(&on_binary, binary, "must be greater than or equal to `emulationVersion`");
    }
    match text(spec, "strategy") {
        "" => faults.required(&path.field("strategy"), ""),
        chosen => {
            if chosen == "OldestEmulationVersion" && version(emulated).is_zero() {
                faults.required(&on_emulated, "must be specified when `strategy` is 'OldestEmulationVersion'");
            }
            strategy(chosen, &path.field("strategy"), faults);
        }
    }
    if let Some(old) = case.old
        && text(at(old, "spec"), "leaseName") != text(spec, "leaseName")
    {
        faults.invalid(&path.field("leaseName"), text(spec, "leaseName"), IMMUTABLE);
    }
}

/// A semantic version; what follows a `+` does not count.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct SemVer {
    numbers: [u64; 3],
    before: Vec<String>,
}

impl SemVer {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
        let right =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            (plain && (part == "0" || !part.starts_with('0'))).then(|| part.parse::<u64>().ok()).flatten()
        };
        let mut parts = core.split('.');
        let numbers = [number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?];
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let before: Vec<String> = before.map(|text| text.split('.').map(str::to_owned).collect()).unwrap_or_default();
        let wrong = parts.next().is_some()
            || before.iter().any(|part| !right(part) || (digits(part) && number(part).is_none()))
            || build.is_some_and(|build| !build.split('.').all(right));
        (!wrong).then_some(Self { numbers, before })
    }

    fn is_zero(&self) -> bool {
        self.numbers == [0; 3] && self.before.is_empty()
    }
}

impl Ord for SemVer {
    fn cmp(&self, other: &Self) -> Ordering {
        let finished = |version: &Self| version.before.is_empty();
        self.numbers.cmp(&other.numbers).then(finished(self).cmp(&finished(other))).then_with(|| {
            let pairs = self.before.iter().zip(&other.before);
            let order = pairs.map(|(a, b)| match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            });
            order.fold(Ordering::Equal, Ordering::then).then(self.before.len().cmp(&other.before.len()))
        })
    }
}

impl PartialOrd for SemVer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_the_standard_says() {
        let versions = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10.0"];
        for pair in versions.windows(2) {
            assert!(SemVer::parse(pair[0]) < SemVer::parse(pair[1]), "{pair:?}");
        }
        for wrong in ["", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.-3"] {
            assert!(SemVer::parse(wrong).is_none(), "{wrong}");
        }
    }
}
