//! Rules for names, labels and keys, with the texts users know from upstream (apimachinery `util/validation`).
//!
//! Invariant: a rule answers with every reason and never panics on any UTF-8 text; a text that obeys costs no allocation.
//! Why hand-written matchers: the rules are tiny and run on every write; a regex engine would weigh more than the crate.

use std::fmt;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const LABEL_1035_FORMAT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const QUALIFIED_TEXT: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// Why a text is refused: every reason, in upstream's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reasons(Vec<String>);

impl Reasons {
    pub fn iter(&self) -> std::slice::Iter<'_, String> {
        self.0.iter()
    }
}

impl From<String> for Reasons {
    fn from(reason: String) -> Self {
        Self(vec![reason])
    }
}

impl From<&str> for Reasons {
    fn from(reason: &str) -> Self {
        Self(vec![reason.to_owned()])
    }
}

impl From<Reasons> for String {
    fn from(reasons: Reasons) -> Self {
        reasons.to_string()
    }
}

impl FromIterator<String> for Reasons {
    fn from_iter<I: IntoIterator<Item = String>>(reasons: I) -> Self {
        Self(reasons.into_iter().collect())
    }
}

impl IntoIterator for Reasons {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, reason) in self.0.iter().enumerate() {
            write!(f, "{}{reason}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Whether a text obeys a rule.
pub type Verdict = Result<(), Reasons>;

/// One check of a rule: whether it holds, and what is said if not.
type Check<'a> = (bool, &'a dyn Fn() -> String);

/// All checks of a rule; nothing is allocated for a text that obeys.
fn all(checks: &[Check<'_>]) -> Verdict {
    let reasons: Vec<String> = checks.iter().filter(|(ok, _)| !ok).map(|(_, reason)| reason()).collect();
    if reasons.is_empty() { Ok(()) } else { Err(Reasons(reasons)) }
}

fn check(ok: bool, reason: impl Fn() -> String) -> Verdict {
    all(&[(ok, &reason)])
}

/// The standard sentence for a text that misses a pattern, with examples.
pub fn regex_message(message: &str, format: &str, examples: &[&str]) -> String {
    let mut text = message.to_owned();
    if examples.is_empty() {
        text.push_str(" (");
    } else {
        text.push_str(" (e.g. ");
        for (index, example) in examples.iter().enumerate() {
            if index > 0 {
                text.push_str(" or ");
            }
            text.push_str(&format!("'{example}', "));
        }
    }
    text.push_str(&format!("regex used for validation is '{format}')"));
    text
}

pub fn max_length_message(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

/// As upstream's newer rules count.
pub fn max_bytes_message(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

pub fn range_message(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn lower_alnum(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// First and last characters are `edge`, those between are `edge` or `inner`.
fn framed(text: &[u8], edge: impl Fn(u8) -> bool, inner: impl Fn(u8) -> bool) -> bool {
    match text {
        [] => false,
        [only] => edge(*only),
        [first, middle @ .., last] => edge(*first) && edge(*last) && middle.iter().all(|b| edge(*b) || inner(*b)),
    }
}

fn is_label(text: &str) -> bool {
    framed(text.as_bytes(), lower_alnum, |b| b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn label_reason(text: &str) -> String {
    if is_subdomain(text) {
        return "must not contain dots".to_owned();
    }
    regex_message(
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
        LABEL_FORMAT,
        &["my-name", "123-abc"],
    )
}

fn subdomain_reason() -> String {
    regex_message(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
        SUBDOMAIN_FORMAT,
        &["example.com"],
    )
}

/// RFC 1123 label, at most 63 characters.
pub fn dns_label(text: &str) -> Verdict {
    all(&[(text.len() <= 63, &|| max_length_message(63)), (is_label(text), &|| label_reason(text))])
}

/// RFC 1123 subdomain, at most 253 characters.
pub fn dns_subdomain(text: &str) -> Verdict {
    all(&[(text.len() <= 253, &|| max_length_message(253)), (is_subdomain(text), &subdomain_reason)])
}

/// As `dns_subdomain`, for kinds whose rules upstream declares: the limit is told in bytes.
pub fn long_name(text: &str) -> Verdict {
    all(&[(text.len() <= 253, &|| max_bytes_message(253)), (is_subdomain(text), &subdomain_reason)])
}

/// RFC 1123 subdomain whose labels may have underscores (search paths of DNS).
pub fn dns_subdomain_with_underscore(text: &str) -> Verdict {
    let part = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        framed(label.as_bytes(), lower_alnum, |b| matches!(b, b'-' | b'_'))
    };
    all(&[
        (text.len() <= 253, &|| max_length_message(253)),
        (text.split('.').all(part), &|| {
            let label = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
            regex_message(
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
                &format!("{label}(\\.{label})*"),
                &["example.com"],
            )
        }),
    ])
}

/// RFC 1035 label: as `dns_label` but starting with a letter.
pub fn dns1035_label(text: &str) -> Verdict {
    let right = is_label(text) && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    all(&[
        (text.len() <= 63, &|| max_length_message(63)),
        (right, &|| {
            regex_message(
                "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
                LABEL_1035_FORMAT,
                &["my-name", "abc-123"],
            )
        }),
    ])
}

/// `*.` and a subdomain (hosts of Ingress rules).
pub fn wildcard_dns_subdomain(text: &str) -> Verdict {
    all(&[
        (text.len() <= 253, &|| max_length_message(253)),
        (text.strip_prefix("*.").is_some_and(is_subdomain), &|| {
            regex_message(
                "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
                &format!("\\*\\.{SUBDOMAIN_FORMAT}"),
                &["*.example.com"],
            )
        }),
    ])
}

fn is_qualified_part(text: &str) -> bool {
    framed(text.as_bytes(), |b| b.is_ascii_alphanumeric(), |b| matches!(b, b'-' | b'_' | b'.'))
}

/// A label key: a name with an optional DNS prefix and `/`.
pub fn qualified_name(text: &str) -> Verdict {
    let examples = ["MyName", "my.name", "123-abc"];
    let mut parts = text.split('/');
    let (prefix, name) = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => (None, name),
        (Some(prefix), Some(name), None) => (Some(prefix), name),
        _ => {
            return Err(Reasons::from(format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                regex_message(QUALIFIED_TEXT, QUALIFIED_FORMAT, &examples)
            )));
        }
    };
    let prefix_ok = prefix.is_none_or(|prefix| prefix.len() <= 253 && is_subdomain(prefix));
    if prefix_ok && name.len() <= 63 && is_qualified_part(name) {
        return Ok(());
    }
    let mut reasons = Vec::new();
    match prefix {
        Some("") => reasons.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => {
            let told = long_name(prefix).err().into_iter().flatten();
            reasons.extend(told.map(|reason| format!("prefix part {reason}")));
        }
        None => {}
    }
    if name.is_empty() {
        reasons.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        reasons.push(format!("name part {}", max_bytes_message(63)));
    }
    if !is_qualified_part(name) {
        reasons.push(format!("name part {}", regex_message(QUALIFIED_TEXT, QUALIFIED_FORMAT, &examples)));
    }
    Err(Reasons(reasons))
}

/// A label value: empty or at most 63 characters.
pub fn label_value(text: &str) -> Verdict {
    all(&[
        (text.len() <= 63, &|| max_bytes_message(63)),
        (text.is_empty() || is_qualified_part(text), &|| {
            regex_message(
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
                &format!("({QUALIFIED_FORMAT})?"),
                &["MyValue", "my_value", "12345"],
            )
        }),
    ])
}

/// Names that need only be fit for a path of a URL (RBAC).
pub fn path_segment(text: &str) -> Verdict {
    check(text != "." && text != "..", || format!("may not be '{text}'"))?;
    all(&[
        (!text.contains('/'), &|| "may not contain '/'".to_owned()),
        (!text.contains('%'), &|| "may not contain '%'".to_owned()),
    ])
}

/// A name of a port: at most 15 characters, at least one letter.
pub fn port_name(text: &str) -> Verdict {
    let bytes = text.as_bytes();
    let legal = !text.is_empty() && bytes.iter().all(|b| lower_alnum(*b) || *b == b'-');
    all(&[
        (text.len() <= 15, &|| max_length_message(15)),
        (legal, &|| "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned()),
        (bytes.iter().any(u8::is_ascii_lowercase), &|| "must contain at least one letter (a-z)".to_owned()),
        (!text.contains("--"), &|| "must not contain consecutive hyphens".to_owned()),
        (!text.starts_with('-') && !text.ends_with('-'), &|| "must not begin or end with a hyphen".to_owned()),
    ])
}

pub fn port_number(port: i64) -> Verdict {
    check((1..=65535).contains(&port), || range_message(1, 65535))
}

/// A key of a ConfigMap or Secret, which becomes a file name.
pub fn config_key(text: &str) -> Verdict {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    all(&[
        (text.len() <= 253, &|| max_length_message(253)),
        (!text.is_empty() && text.as_bytes().iter().all(legal), &|| {
            regex_message(
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                "[-._a-zA-Z0-9]+",
                &["key.name", "KEY_NAME", "key-name"],
            )
        }),
        (!text.starts_with("..") && text != ".", &|| match text {
            "." | ".." => format!("must not be '{text}'"),
            _ => "must not start with '..'".to_owned(),
        }),
    ])
}

/// A name of an environment variable: printable ASCII without `=` (the relaxed rule, on since v1.34).
pub fn env_name(text: &str) -> Verdict {
    all(&[
        (!text.is_empty(), &|| "environment variable name must be non-empty".to_owned()),
        (text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'='), &|| {
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned()
        }),
    ])
}

/// A name in the language C.
pub fn c_identifier(text: &str) -> Verdict {
    let first = |b: &u8| b.is_ascii_alphabetic() || *b == b'_';
    let legal = text.as_bytes().first().is_some_and(first) && text.bytes().all(|b| first(&b) || b.is_ascii_digit());
    check(legal, || {
        regex_message(
            "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
            "[A-Za-z_][A-Za-z0-9_]*",
            &["my_name", "MY_NAME", "MyName"],
        )
    })
}

pub fn http_header_name(text: &str) -> Verdict {
    let legal = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-';
    check(!text.is_empty() && text.as_bytes().iter().all(legal), || {
        regex_message(
            "a valid HTTP header must consist of alphanumeric characters or '-'",
            "[-A-Za-z0-9]+",
            &["X-Header-Name"],
        )
    })
}

pub fn percent(text: &str) -> Verdict {
    let digits = text.strip_suffix('%').unwrap_or("");
    check(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()), || {
        regex_message(
            "a valid percent string must be a numeric string followed by an ending '%'",
            "[0-9]+%",
            &["1%", "93%"],
        )
    })
}

/// An IPv4 or IPv6 address.
pub fn ip(text: &str) -> Verdict {
    check(text.parse::<std::net::IpAddr>().is_ok(), || {
        "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()
    })
}

/// An address block in CIDR notation.
pub fn cidr(text: &str) -> Verdict {
    let valid = text.split_once('/').is_some_and(|(address, bits)| {
        let limit = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        !bits.starts_with('+') && bits.parse::<u8>().is_ok_and(|bits| bits <= limit)
    });
    check(valid, || "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Rule = fn(&str) -> Verdict;

    const RULES: &[Rule] = &[
        dns_label,
        dns_subdomain,
        dns1035_label,
        dns_subdomain_with_underscore,
        long_name,
        c_identifier,
        wildcard_dns_subdomain,
        qualified_name,
        label_value,
        path_segment,
        port_name,
        config_key,
        env_name,
        http_header_name,
        percent,
        ip,
        cidr,
    ];

    #[track_caller]
    fn accepts(rule: Rule, texts: &[&str]) {
        for text in texts {
            assert_eq!(rule(text), Ok(()), "{text:?}");
        }
    }

    #[track_caller]
    fn refuses(rule: Rule, texts: &[&str]) {
        for text in texts {
            assert!(rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn labels_and_subdomains_follow_rfc_1123() {
        accepts(dns_label, &["a", "a-1", "0", "123-abc"]);
        refuses(dns_label, &["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)]);
        accepts(dns_subdomain, &["a.b", "example.com", "a"]);
        refuses(dns_subdomain, &["", ".", "a..b", "a.", "A.b", &"a".repeat(254)]);
        accepts(dns1035_label, &["a", "web-1"]);
        refuses(dns1035_label, &["1a", "", "a-"]);
        accepts(wildcard_dns_subdomain, &["*.example.com"]);
        refuses(wildcard_dns_subdomain, &["*", "*bar.com", "*.*.com", "example.com"]);
    }

    #[test]
    fn label_keys_and_values_follow_upstream() {
        accepts(qualified_name, &["app", "a.b/C_d", "kubernetes.io/metadata.name", "1"]);
        refuses(qualified_name, &["", "/a", "a/", "a/b/c", "_a", "A/b", &"a".repeat(64)]);
        accepts(label_value, &["", "v1", "a_b.c"]);
        refuses(label_value, &["-", "a b", &"a".repeat(64)]);
    }

    #[test]
    fn addresses_are_read_strictly() {
        accepts(ip, &["10.0.0.1", "::1"]);
        refuses(ip, &["10.0.0", "010.0.0.1", "x"]);
        accepts(cidr, &["10.0.0.0/8", "fd00::/64"]);
        refuses(cidr, &["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "/8"]);
    }

    #[test]
    fn every_reason_is_told() {
        let told = |verdict: Verdict| verdict.unwrap_err().into_iter().collect::<Vec<_>>();
        assert_eq!(told(port_name("--1")).len(), 3);
        assert_eq!(told(config_key("..$")).len(), 2);
        assert_eq!(told(dns_label(&"A".repeat(64)))[0], "must be no more than 63 characters");
        assert_eq!(told(qualified_name("A/")).len(), 3);
    }

    #[test]
    fn messages_are_those_of_upstream() {
        assert_eq!(dns_label("a.b").unwrap_err().to_string(), "must not contain dots");
        assert_eq!(
            dns_subdomain("My_Name").unwrap_err().to_string(),
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        );
        assert_eq!(
            label_value("a b").unwrap_err().to_string(),
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_a_rule_panic(text in "\\PC{0,80}") {
            for rule in RULES {
                // Only the absence of a panic matters here.
                drop(rule(&text));
            }
        }
    }
}
