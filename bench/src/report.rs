//! What was measured, and how it is printed.

use std::fmt;
use std::time::Duration;

use crate::budget::Budget;

/// Rows in the order they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    budget: Budget,
    rows: Vec<Row>,
    silent: bool,
}

#[derive(Debug)]
enum Row {
    /// Has a target: key in the budget, what it is, measured value in the target's unit.
    Target(&'static str, String, f64),
    /// Has none.
    Fact(String, String),
}

impl Report {
    pub(crate) fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// One that nobody reads.
    pub(crate) fn silent() -> Self {
        Self { silent: true, ..Self::default() }
    }

    /// A value in the unit of the target `key`.
    pub(crate) fn value(&mut self, key: &'static str, what: impl Into<String>, value: f64) {
        let row = Row::Target(key, what.into(), value);
        self.tell(row);
    }

    /// A time, for a target in s or ms.
    pub(crate) fn time(&mut self, key: &'static str, what: impl Into<String>, time: Duration) {
        let seconds = self.budget.get(key).is_some_and(|target| target.unit == "s");
        self.value(key, what, time.as_secs_f64() * if seconds { 1.0 } else { 1000.0 });
    }

    /// Something worth knowing that has no target.
    pub(crate) fn fact(&mut self, what: impl Into<String>, value: impl Into<String>) {
        let row = Row::Fact(what.into(), value.into());
        self.tell(row);
    }

    fn tell(&mut self, row: Row) {
        if !self.silent {
            eprintln!("  {}", self.line(&row));
        }
        self.rows.push(row);
    }

    fn line(&self, row: &Row) -> String {
        match row {
            Row::Fact(what, value) => format!("    {what:<54} {value:>12}"),
            Row::Target(key, what, value) => match self.budget.get(*key) {
                None => format!("? {what:<56} {value:>12.2} {:>12} {:>7}", "no target", ""),
                Some(target) => {
                    let met = if target.more_is_better() { *value >= target.value } else { *value <= target.value };
                    let mark = if met { "✓" } else { "✗" };
                    let measured = with_unit(*value, &target.unit);
                    let wanted = with_unit(target.value, &target.unit);
                    format!("{mark} {what:<56} {measured:>12} {wanted:>12} {:>7.2}", value / target.value)
                }
            },
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<56} {:>12} {:>12} {:>7}", "what", "measured", "target", "ratio")?;
        for row in &self.rows {
            writeln!(f, "{}", self.line(row))?;
        }
        Ok(())
    }
}

fn with_unit(value: f64, unit: &str) -> String {
    let digits = if value >= 100.0 { 0 } else { 2 };
    format!("{value:.digits$} {unit}")
}

/// The middle one.
pub(crate) fn median<T: Ord + Copy>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

/// `12.3 ms`.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_met_from_above_and_a_time_from_below() {
        let mut report = Report::new(crate::budget::read().expect("well formed"));
        report.value("objects.create", "creates", 1.0);
        report.time("start.ready", "up", Duration::from_millis(750));
        let lines: Vec<String> = report.to_string().lines().map(str::to_owned).collect();
        assert!(lines[1].starts_with("✗ creates"), "{}", lines[1]);
        assert!(
            lines[2].starts_with("✓ up") && lines[2].contains("0.75 s") && lines[2].ends_with("0.50"),
            "{}",
            lines[2]
        );
    }
}
