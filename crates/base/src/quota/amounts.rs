//! Amounts of named resources, and the sums that quotas do with them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::quantity::{Format, Quantity};

/// An amount of each resource, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<String, Quantity>);

impl FromIterator<(String, Quantity)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (String, Quantity)>>(amounts: I) -> Self {
        Self(amounts.into_iter().collect())
    }
}

impl Amounts {
    /// One of something.
    pub(super) fn one() -> Quantity {
        Self::number(1)
    }

    pub(super) fn number(number: usize) -> Quantity {
        Quantity::from_value(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi)
    }

    /// A resource list; what cannot be read is left out.
    pub fn read(list: &Value) -> Self {
        let amounts = list.as_object().into_iter().flatten();
        amounts.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
    }

    /// As a resource list.
    pub fn to_json(&self) -> Value {
        let amounts = self.0.iter().map(|(name, amount)| (name.clone(), Value::String(amount.to_string())));
        Value::Object(amounts.collect::<Map<String, Value>>())
    }

    pub fn get(&self, name: &str) -> Option<Quantity> {
        self.0.get(name).copied()
    }

    pub fn set(&mut self, name: &str, amount: Quantity) {
        self.0.insert(name.to_owned(), amount);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only what `keep` says.
    #[must_use]
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        self.0.iter().filter(|(name, _)| keep(name)).map(|(name, amount)| (name.clone(), *amount)).collect()
    }

    /// Only what there is something of.
    #[must_use]
    pub fn without_zeros(&self) -> Self {
        self.0.iter().filter(|(_, amount)| !amount.is_zero()).map(|(name, amount)| (name.clone(), *amount)).collect()
    }

    /// Both together. Upstream's sums never leave the range of what is written; ours stop at its end.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        for (name, amount) in &other.0 {
            let own = sum.0.entry(name.clone()).or_insert(Quantity::ZERO);
            *own = own.checked_add(amount).unwrap_or(Quantity::from_value(i64::MAX, amount.format()));
        }
        sum
    }

    /// What is more than in `other`: never less than nothing.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let more = |name: &String, amount: &Quantity| match other.0.get(name) {
            Some(other) => amount.checked_sub(other).filter(|more| more.sign() > 0).unwrap_or(Quantity::ZERO),
            None => *amount,
        };
        self.0.iter().map(|(name, amount)| (name.clone(), more(name, amount))).collect()
    }

    /// The larger of both, by name.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        let mut most = self.clone();
        for (name, amount) in &other.0 {
            let own = most.0.entry(name.clone()).or_insert(*amount);
            *own = (*own).max(*amount);
        }
        most
    }

    /// The names of which there is more than in `limit`, where that says anything.
    pub fn exceeding<'a>(&'a self, limit: &'a Self) -> impl Iterator<Item = &'a str> {
        let over = |name: &String, amount: &Quantity| limit.0.get(name).is_some_and(|limit| amount > limit);
        self.0.iter().filter(move |(name, amount)| over(name, amount)).map(|(name, _)| name.as_str())
    }

    /// `a=1,b=2`, as refusals print it.
    pub fn print(&self) -> String {
        let parts: Vec<String> = self.0.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
        parts.join(",")
    }
}

/// A quantity as JSON has it: text, or a number.
pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
