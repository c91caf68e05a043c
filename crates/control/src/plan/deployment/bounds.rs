//! How many pods may exist and how many must work during a rollout.
//!
//! Invariant: surge rounds up, unavailable rounds down, and both are never zero together, else nothing could move
//! (upstream `ResolveFenceposts`).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Work;
use crate::plan::share::{self, Round};

impl Work<'_> {
    /// Pods allowed beyond the desired number.
    pub(super) fn max_surge(&self) -> i32 {
        if self.strategy() == "RollingUpdate" { self.fence_posts().0 } else { 0 }
    }

    /// Pods that may be missing from the desired number.
    pub(super) fn max_unavailable(&self) -> i32 {
        if self.strategy() != "RollingUpdate" || self.desired() == 0 {
            return 0;
        }
        self.fence_posts().1.min(self.desired())
    }

    fn fence_posts(&self) -> (i32, i32) {
        let rolling = self.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = share(rolling.and_then(|one| one.max_surge.as_ref()), self.desired(), Round::Up);
        let unavailable = share(rolling.and_then(|one| one.max_unavailable.as_ref()), self.desired(), Round::Down);
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }
}

/// The default of both values is 25 %.
fn share(value: Option<&IntOrString>, of: i32, round: Round) -> i32 {
    value.map_or_else(|| share::of(&IntOrString::String("25%".into()), of, round), |value| share::of(value, of, round))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_is_the_default() {
        assert_eq!(share(None, 3, Round::Up), 1);
        assert_eq!(share(None, 3, Round::Down), 0);
        assert_eq!(share(Some(&IntOrString::Int(2)), 3, Round::Up), 2);
    }
}
