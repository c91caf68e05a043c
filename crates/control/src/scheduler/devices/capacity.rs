//! Parts of a device's capacity (KEP-5075).
//!
//! Invariant: what a request gets is at least what it asked for, in a size that the device allows, and all that share a
//! device never get more than it has.

use base::quantity::{Format, Quantity};

use super::slice::{Amounts, Capacity, Device, Policy, Range};

/// What a request gets of each capacity of the device.
pub(super) fn consumed(asked: &Amounts, device: &Device) -> Amounts {
    let each = device.capacity.iter();
    each.map(|(name, capacity)| (name.clone(), portion(asked.get(name), capacity))).collect()
}

/// Whether the device has what is asked for beside what others were given of it.
pub(super) fn fits<'a>(asked: &Amounts, device: &Device, others: impl Iterator<Item = &'a Amounts> + Clone) -> bool {
    if asked.keys().any(|name| !device.capacity.contains_key(name)) {
        return false;
    }
    device.capacity.iter().all(|(name, capacity)| {
        let portion = portion(asked.get(name), capacity);
        if capacity.policy.as_ref().is_some_and(|policy| violates(&portion, policy)) {
            return false;
        }
        let mut given = others.clone().filter_map(|amounts| amounts.get(name));
        let sum = given.try_fold(portion, |sum, amount| sum.checked_add(amount));
        sum.is_some_and(|sum| sum <= capacity.value)
    })
}

/// All of it, the default, or what was asked for, rounded up to a size that is allowed.
fn portion(asked: Option<&Quantity>, capacity: &Capacity) -> Quantity {
    match (asked, &capacity.policy) {
        (None, policy) => policy.as_ref().and_then(|policy| policy.default).unwrap_or(capacity.value),
        (Some(asked), None) => *asked,
        (Some(asked), Some(Policy { range: Some(range), .. })) => rounded(asked, range),
        (Some(asked), Some(policy)) => policy.valid.iter().find(|valid| asked <= *valid).copied().unwrap_or(*asked),
    }
}

fn rounded(asked: &Quantity, range: &Range) -> Quantity {
    if *asked < range.min {
        return range.min;
    }
    let Some(step) = range.step.map(|step| step.value()).filter(|step| *step > 0) else { return *asked };
    let (asked, min) = (asked.value(), range.min.value());
    let steps = asked.saturating_sub(min).saturating_add(step - 1) / step;
    Quantity::from_value(min.saturating_add(steps.saturating_mul(step)), Format::BinarySi)
}

fn violates(portion: &Quantity, policy: &Policy) -> bool {
    if policy.default.as_ref() == Some(portion) {
        return false;
    }
    match &policy.range {
        Some(range) => {
            let step = range.step.map(|step| step.value()).filter(|step| *step > 0);
            range.max.is_some_and(|max| *portion > max)
                || step.is_some_and(|step| portion.value().saturating_sub(range.min.value()) % step != 0)
        }
        None => !policy.valid.is_empty() && !policy.valid.contains(portion),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().expect("a quantity")
    }

    fn policy(default: &str, valid: &[&str], range: Option<(&str, &str, &str)>) -> Capacity {
        let range = range.map(|(min, max, step)| Range {
            min: quantity(min),
            max: Some(quantity(max)),
            step: Some(quantity(step)),
        });
        let valid = valid.iter().map(|text| quantity(text)).collect();
        let policy = Policy { default: Some(quantity(default)), valid, range };
        Capacity { value: quantity("10Gi"), policy: Some(policy) }
    }

    #[test]
    fn a_portion_is_rounded_up_to_a_size_that_is_allowed() {
        let plain = Capacity { value: quantity("10Gi"), policy: None };
        let listed = policy("1Gi", &["1Gi", "4Gi"], None);
        let ranged = policy("2Gi", &[], Some(("1Gi", "8Gi", "2Gi")));
        for (capacity, asked, got) in [
            (&plain, None, "10Gi"),
            (&plain, Some("3Gi"), "3Gi"),
            (&listed, None, "1Gi"),
            (&listed, Some("2Gi"), "4Gi"),
            (&listed, Some("5Gi"), "5Gi"),
            (&ranged, Some("1"), "1Gi"),
            (&ranged, Some("2Gi"), "3Gi"),
        ] {
            assert_eq!(portion(asked.map(quantity).as_ref(), capacity), quantity(got), "{asked:?}");
        }
        let violates = |capacity: &Capacity, text: &str| {
            capacity.policy.as_ref().is_some_and(|policy| violates(&quantity(text), policy))
        };
        assert!(violates(&listed, "5Gi") && !violates(&listed, "4Gi"));
        assert!(violates(&ranged, "9Gi") && violates(&ranged, "4Gi") && !violates(&ranged, "2Gi"));
    }
}
