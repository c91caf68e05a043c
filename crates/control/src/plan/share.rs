//! A number of pods, or a share of them.
//!
//! Invariant: a share that is no percentage is nothing; rounding is said by who asks, away from danger.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Where half a pod goes.
#[derive(Clone, Copy, Debug)]
pub enum Round {
    Up,
    Down,
}

/// So many pods of `whole`.
pub fn of(value: &IntOrString, whole: i32, round: Round) -> i32 {
    let percent: i64 = match value {
        IntOrString::Int(count) => return (*count).max(0),
        IntOrString::String(text) => text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0),
    };
    let product = percent.max(0).saturating_mul(i64::from(whole));
    let share = match round {
        Round::Up => product.saturating_add(99) / 100,
        Round::Down => product / 100,
    };
    i32::try_from(share).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let percent = IntOrString::String("25%".into());
        assert_eq!(of(&percent, 10, Round::Up), 3);
        assert_eq!(of(&percent, 10, Round::Down), 2);
        assert_eq!(of(&IntOrString::Int(2), 3, Round::Up), 2);
        assert_eq!(of(&IntOrString::String("many".into()), 3, Round::Up), 0);
    }
}
