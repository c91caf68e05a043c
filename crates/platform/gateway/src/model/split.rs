//! Which of several backends gets a request.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, StatusCode};

use super::{Backend, Filter, TextMatch};

/// Backends with weights, and requests that are steered past the weights.
#[derive(Clone, Debug, Default)]
pub struct Split {
    shares: Vec<Share>,
    /// Asked in order before the weights are.
    steers: Vec<Steer>,
    total: u32,
}

/// One backend and how much it gets.
#[derive(Clone, Debug)]
pub struct Share {
    /// Of the sum of all weights.
    pub weight: u32,
    /// Who.
    pub target: Target,
    /// Changes for this one alone, after those of the rule.
    pub filters: Vec<Filter>,
}

/// Who gets a request.
#[derive(Clone, Debug)]
pub enum Target {
    /// This backend.
    Backend(Arc<Backend>),
    /// Nobody: the reference leads nowhere. The answer has this status and text.
    Nobody(StatusCode, Arc<str>),
}

/// Requests that go to one share whatever the weights are (canary of ingress-nginx).
#[derive(Clone, Debug)]
pub struct Steer {
    /// How they are known.
    pub by: SteerBy,
    /// Position of the share that gets them; none when they keep away from `not`.
    pub to: usize,
}

/// How requests that are steered are known.
#[derive(Clone, Debug)]
pub enum SteerBy {
    /// The header is `always`: there; `never`: not there.
    Header(HeaderName),
    /// The header has such a value.
    HeaderValue(HeaderName, TextMatch),
    /// The cookie is `always`: there; `never`: not there.
    Cookie(String),
}

impl Split {
    /// A split of `shares`.
    #[must_use]
    pub fn new(shares: Vec<Share>) -> Self {
        let total = shares.iter().map(|share| share.weight).fold(0, u32::saturating_add);
        Self { shares, steers: Vec::new(), total }
    }

    /// Everything to one.
    #[must_use]
    pub fn all(target: Target) -> Self {
        Self::new(vec![Share { weight: 1, target, filters: Vec::new() }])
    }

    /// Adds a share that gets `weight` of `total`, the others keep their proportion, and requests steered to it.
    pub fn divert(&mut self, share: Share, of: u32, steers: Vec<SteerBy>) {
        // Weights as products, so that "3 of 100" is so whatever the sum of the others is.
        let others = u64::from(of.saturating_sub(share.weight));
        let sum = u64::from(self.total.max(1));
        let scaled = |weight: u64| u32::try_from(weight).unwrap_or(u32::MAX);
        let mine = scaled(u64::from(share.weight.min(of)) * sum);
        for other in &mut self.shares {
            other.weight = scaled(u64::from(other.weight) * others);
        }
        let to = self.shares.len();
        self.shares.push(Share { weight: mine, ..share });
        self.total = self.shares.iter().map(|share| share.weight).fold(0, u32::saturating_add);
        self.steers.extend(steers.into_iter().map(|by| Steer { by, to }));
    }

    /// All shares.
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// The share that gets a request with `headers`, and its position; `random` is any number. None when all weights are
    /// zero.
    #[must_use]
    pub fn pick(&self, headers: &HeaderMap, random: u32) -> Option<(usize, &Share)> {
        if self.shares.len() == 1 && self.total > 0 {
            return self.at(0);
        }
        let mut shunned = None;
        for steer in &self.steers {
            match steer.by.asks(headers) {
                Some(true) => return self.at(steer.to),
                Some(false) => shunned = Some(steer.to),
                None => {}
            }
        }
        let away = shunned.and_then(|at| self.shares.get(at)).map_or(0, |share| share.weight);
        let total = self.total.checked_sub(away).filter(|total| *total > 0)?;
        // Multiply and shift: a share of the range without the bias and the cost of a division.
        let mut at = u32::try_from((u64::from(random) * u64::from(total)) >> 32).unwrap_or_default();
        for (position, share) in self.shares.iter().enumerate().filter(|(position, _)| Some(*position) != shunned) {
            match at.checked_sub(share.weight) {
                Some(rest) => at = rest,
                None => return self.at(position),
            }
        }
        None
    }
}

impl Split {
    fn at(&self, position: usize) -> Option<(usize, &Share)> {
        self.shares.get(position).map(|share| (position, share))
    }
}

impl SteerBy {
    /// Whether the request is to go there; none when it does not care.
    fn asks(&self, headers: &HeaderMap) -> Option<bool> {
        let word = |value: &str| match value {
            "always" => Some(true),
            "never" => Some(false),
            _ => None,
        };
        match self {
            Self::Header(name) => headers.get(name).and_then(|value| word(value.to_str().ok()?)),
            Self::HeaderValue(name, value) => {
                let told = headers.get(name)?.to_str().ok()?;
                value.takes(told).then_some(true)
            }
            Self::Cookie(name) => cookie(headers, name).and_then(word),
        }
    }
}

/// The value of a cookie of a request.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(found, _)| *found == name).map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(weight: u32, name: &str) -> Share {
        Share { weight, target: Target::Nobody(StatusCode::OK, name.into()), filters: Vec::new() }
    }

    fn name(share: Option<(usize, &Share)>) -> String {
        match share.map(|(_, share)| &share.target) {
            Some(Target::Nobody(_, name)) => name.to_string(),
            _ => "-".to_owned(),
        }
    }

    #[test]
    fn a_canary_is_chosen_by_header_then_cookie_then_weight() {
        let mut split = Split::new(vec![share(1, "main")]);
        let steers = vec![
            SteerBy::HeaderValue(HeaderName::from_static("x-v"), TextMatch::Exact("two".to_owned())),
            SteerBy::Header(HeaderName::from_static("x-canary")),
            SteerBy::Cookie("canary".to_owned()),
        ];
        split.divert(share(0, "canary"), 100, steers);
        let told = |headers: &[(&'static str, &'static str)], random: u32| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)));
            name(split.pick(&headers.collect(), random))
        };
        assert_eq!(told(&[], u32::MAX), "main");
        assert_eq!(told(&[("x-canary", "always")], 0), "canary");
        assert_eq!(told(&[("x-v", "two")], 0), "canary");
        assert_eq!(told(&[("cookie", "a=b; canary=always")], 0), "canary");
        assert_eq!(told(&[("x-canary", "maybe")], 0), "main");
        split.divert(share(100, "late"), 100, Vec::new());
        assert_eq!(name(split.pick(&HeaderMap::new(), 7)), "late", "all of it may go to a canary");
    }

    #[test]
    fn who_says_never_keeps_away_from_the_canary() {
        let mut split = Split::new(vec![share(1, "main")]);
        split.divert(share(99, "canary"), 100, vec![SteerBy::Cookie("c".to_owned())]);
        let headers = [(http::header::COOKIE, http::HeaderValue::from_static("c=never"))].into_iter().collect();
        assert!((0..64).all(|step| name(split.pick(&headers, step << 26)) == "main"));
    }

    proptest! {
        #[test]
        fn each_share_gets_its_weight(weights in prop::collection::vec(0u32..50, 1..6)) {
            let split = Split::new(weights.iter().enumerate().map(|(at, weight)| share(*weight, &at.to_string())).collect());
            let total: u32 = weights.iter().sum();
            let steps = 10_000u32;
            let mut seen = vec![0u32; weights.len()];
            for step in 0..steps {
                match name(split.pick(&HeaderMap::new(), step * (u32::MAX / steps))).parse::<usize>() {
                    Ok(at) => seen[at] += 1,
                    Err(_) => prop_assert_eq!(total, 0),
                }
            }
            for (at, weight) in weights.iter().enumerate().filter(|_| total > 0) {
                let expected = f64::from(*weight) / f64::from(total) * f64::from(steps);
                prop_assert!((f64::from(seen[at]) - expected).abs() <= 3.0, "{:?} {:?}", weights, seen);
            }
        }
    }
}
