//! What an answer says of a limit: `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10), and `Retry-After` (RFC 9110, 10.2.3) with a refusal.

use std::time::Duration;

use http::HeaderValue;

use super::gcra::{Left, Rate, Wait};

/// The headers of an answer, by name.
pub const POLICY: &str = "ratelimit-policy";
/// What is left.
pub const LIMIT: &str = "ratelimit";

/// `"name";q=100;w=60`: the quota of a window. A name has letters, digits and dashes only.
#[must_use]
pub fn policy(name: &str, rate: &Rate) -> HeaderValue {
    value(format!("\"{}\";q={};w={}", plain(name), rate.requests, seconds(rate.per).max(1)))
}

/// `"name";r=50;t=30`: what is left, and when all is there again.
#[must_use]
pub fn left(name: &str, left: &Left) -> HeaderValue {
    value(format!("\"{}\";r={};t={}", plain(name), left.requests, seconds(left.full_in)))
}

/// `"name";r=0;t=30`: nothing is left for so long.
#[must_use]
pub fn refused(name: &str, wait: Wait) -> HeaderValue {
    value(format!("\"{}\";r=0;t={}", plain(name), seconds(wait.0)))
}

/// The value of `Retry-After`: at least a second.
#[must_use]
pub fn retry_after(wait: Wait) -> HeaderValue {
    HeaderValue::from(seconds(wait.0).max(1))
}

fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("invariant: letters, digits and signs of ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_are_structured_fields() {
        let rate = Rate { requests: 100, per: Duration::from_secs(60), burst: 5 };
        assert_eq!(policy("per-client", &rate), "\"per-client\";q=100;w=60");
        let some = Left { requests: 3, full_in: Duration::from_millis(1200) };
        assert_eq!(left("a\"b\n", &some), "\"ab\";r=3;t=2");
        assert_eq!(refused("a", Wait(Duration::from_millis(600))), "\"a\";r=0;t=1");
        assert_eq!(retry_after(Wait(Duration::ZERO)), "1");
        assert_eq!(retry_after(Wait(Duration::from_millis(2001))), "3");
    }
}
