//! What claims say, what they must say, and claims as headers.

use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::fault::Faults;
use crate::settings::{ClaimHeader, ClaimRule};

/// Claims of a verified token.
pub(crate) type Claims = Map<String, Value>;

/// Claims whose text is a list of words (RFC 8693 4.2).
const WORDS: [&str; 2] = ["scope", "scp"];

/// The value of a claim: of the whole name first, then of the path that dots make of it.
pub(crate) fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

/// Each single value of a claim as text.
pub(crate) fn values(claims: &Claims, name: &str) -> Vec<String> {
    match find(claims, name) {
        Some(Value::String(text)) if WORDS.contains(&name) => {
            text.split_ascii_whitespace().map(str::to_owned).collect()
        }
        Some(Value::Array(values)) => values.iter().filter_map(text).collect(),
        Some(value) => text(value).into_iter().collect(),
        None => Vec::new(),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// Whether the claims say what the rule wants.
pub(crate) fn obey(claims: &Claims, rule: &ClaimRule) -> bool {
    let said = values(claims, &rule.claim);
    if rule.any_of.is_empty() { !said.is_empty() } else { said.iter().any(|value| rule.any_of.contains(value)) }
}

/// Claims that become headers.
#[derive(Clone, Debug, Default)]
pub(crate) struct ToHeaders(Vec<(String, HeaderName)>);

impl ToHeaders {
    pub(crate) fn new(field: &str, written: &[ClaimHeader], faults: &mut Faults) -> Self {
        let read = written.iter().enumerate().filter_map(|(index, row)| {
            let name = header(&row.header).map(|name| (row.claim.clone(), name));
            faults.take(&format!("{field}[{index}].header"), name)
        });
        Self(read.collect())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(_, name)| name)
    }

    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(claim, _)| claim.as_str())
    }

    /// The headers; a claim that is not there, or fits in no header, is none.
    pub(crate) fn of(&self, claims: &Claims) -> Vec<(HeaderName, HeaderValue)> {
        let row = |(claim, name): &(String, HeaderName)| {
            let said = values(claims, claim);
            // A comma within a value must not make two of it: a group called `a,admin` is no member of `admin`.
            let joined = match said.as_slice() {
                [] => return None,
                [one] if !matches!(find(claims, claim), Some(Value::Array(_))) => one.clone(),
                many => {
                    many.iter().map(|value| value.replace('%', "%25").replace(',', "%2C")).collect::<Vec<_>>().join(",")
                }
            };
            Some((name.clone(), HeaderValue::from_bytes(joined.as_bytes()).ok()?))
        };
        self.0.iter().filter_map(row).collect()
    }
}

/// Headers that say how a message travels, and to whom: nobody may set them by a policy.
const RESERVED: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
    "cookie",
    "expect",
];

/// A header that a policy may set.
pub(crate) fn header(name: &str) -> Result<HeaderName, String> {
    let read = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no header name"))?;
    let reserved = RESERVED.contains(&read.as_str());
    if reserved {
        Err(format!("{name:?} says how a request travels and cannot be set; choose another"))
    } else {
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Claims {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn rules_look_at_names_paths_lists_and_words() {
        let said = claims(json!({
            "https://x.example/roles": ["a", "b"], "realm_access": {"roles": ["admin", 7]}, "scope": "read write",
            "email_verified": true, "one": "read write", "none": null
        }));
        let cases: &[(&str, &[&str], bool)] = &[
            ("https://x.example/roles", &["b"], true),
            ("https://x.example/roles", &["c"], false),
            ("realm_access.roles", &["x", "admin"], true),
            ("realm_access.roles", &["7"], true),
            ("realm_access.roles.x", &[], false),
            ("scope", &["write"], true),
            ("scope", &["read write"], false),
            ("one", &["write"], false),
            ("email_verified", &["true"], true),
            ("none", &[], false),
            ("missing", &[], false),
            ("one", &[], true),
        ];
        for (claim, any_of, expected) in cases {
            let rule =
                ClaimRule { claim: (*claim).to_owned(), any_of: any_of.iter().map(ToString::to_string).collect() };
            assert_eq!(obey(&said, &rule), *expected, "{rule:?}");
        }
    }

    #[test]
    fn a_claim_cannot_make_two_values_or_two_headers() {
        let said =
            claims(json!({"groups": ["a,admin", "b%2C"], "name": "x\r\nX-Admin: yes", "sub": "u,1", "city": "Köln"}));
        let row = |claim: &str, header: &str| ClaimHeader { claim: claim.to_owned(), header: header.to_owned() };
        let rows = [row("groups", "X-Groups"), row("name", "X-Name"), row("sub", "X-User"), row("city", "x-city")];
        let mut faults = Faults::default();
        let made = ToHeaders::new("spec.headers", &rows, &mut faults).of(&said);
        let told: Vec<(&str, &[u8])> = made.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 3] =
            [("x-groups", b"a%2Cadmin,b%252C"), ("x-user", b"u,1"), ("x-city", "Köln".as_bytes())];
        assert_eq!(told, expected);
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn headers_that_carry_the_message_cannot_be_set() {
        for wrong in ["Host", "transfer-encoding", "Cookie", "a b", "", "x:y"] {
            assert!(header(wrong).is_err(), "{wrong}");
        }
        assert!(header("Authorization").is_ok());
    }
}
