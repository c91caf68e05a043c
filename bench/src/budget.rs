//! The targets, read from `bench/budget.toml`, which is compiled in.
//!
//! Only what the file uses of TOML is read: sections and strings of a number and a unit. Anything
//! else is an error, so a typing mistake cannot hide a target.

use std::collections::BTreeMap;

use anyhow::Context as _;

/// A target: in which unit, and how much of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) value: f64,
    pub(crate) unit: String,
}

impl Target {
    /// True when more is better than less: rates, and ratios of rates.
    pub(crate) fn more_is_better(&self) -> bool {
        self.unit == "/s" || self.unit == "fold"
    }
}

/// Targets by `section.key`.
pub(crate) type Budget = BTreeMap<String, Target>;

pub(crate) fn read() -> anyhow::Result<Budget> {
    parse(include_str!("../budget.toml"))
}

fn parse(text: &str) -> anyhow::Result<Budget> {
    let mut section = String::new();
    let mut budget = Budget::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let (key, target) = entry(line).with_context(|| format!("budget.toml:{}: not a target", number + 1))?;
        budget.insert(format!("{section}.{key}"), target);
    }
    Ok(budget)
}

fn entry(line: &str) -> Option<(&str, Target)> {
    let (key, value) = line.split_once('=')?;
    let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    let (value, unit) = value.split_once(' ')?;
    Some((key.trim(), Target { value: value.parse().ok()?, unit: unit.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_can_be_read() {
        let budget = read().expect("well formed");
        assert_eq!(budget.get("start.ready"), Some(&Target { value: 1.5, unit: "s".to_owned() }));
    }

    #[test]
    fn what_is_no_target_is_an_error_with_its_line() {
        let error = parse("[a]\nb = 3\n").expect_err("no unit");
        assert_eq!(error.to_string(), "budget.toml:2: not a target");
    }
}
