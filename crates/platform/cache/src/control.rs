//! The words of `Cache-Control` (RFC 9111 section 5.2) and of its targeted form (RFC 9213).
//!
//! Whatever is unclear is read the careful way: a number that is none counts as zero, of two numbers the smaller counts.

use http::HeaderName;
use http::header::GetAll;
use http::header::HeaderValue;

/// More seconds than that mean "as long as you like" (RFC 9111 section 1.2.2).
const ENDLESS: u64 = 1 << 31;

/// What a directive that may name fields applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// The directive is not there.
    #[default]
    Nothing,
    /// Only these fields of the response.
    Fields(Vec<HeaderName>),
    /// The whole response.
    All,
}

/// The directives of one message. Times are seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, perhaps for some fields.
    pub no_cache: Reach,
    /// `private`, perhaps for some fields.
    pub private: Reach,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `max-age`.
    pub max_age: Option<u64>,
    /// `s-maxage`.
    pub s_maxage: Option<u64>,
    /// `stale-while-revalidate` (RFC 5861).
    pub stale_while_revalidate: Option<u64>,
    /// `stale-if-error` (RFC 5861).
    pub stale_if_error: Option<u64>,
    /// `max-stale` of a request; without a number any staleness is accepted.
    pub max_stale: Option<u64>,
    /// `min-fresh` of a request.
    pub min_fresh: Option<u64>,
    /// `only-if-cached` of a request.
    pub only_if_cached: bool,
}

impl Directives {
    /// Reads every line of a `Cache-Control` field. Unknown directives are passed over.
    #[must_use]
    pub fn read(lines: GetAll<'_, HeaderValue>) -> Self {
        let mut read = Self::default();
        for line in lines {
            let Ok(text) = line.to_str() else {
                read.no_store |= line.as_bytes().to_ascii_lowercase().windows(8).any(|part| part == b"no-store");
                continue;
            };
            for member in members(text) {
                let (name, value) = member.split_once('=').map_or((member, None), |(name, value)| (name, Some(value)));
                let value = value.map(|value| unquoted(value.trim()));
                read.take(&name.trim().to_ascii_lowercase(), value.as_deref(), number);
            }
        }
        read
    }

    /// Reads a targeted field such as `CDN-Cache-Control`: nothing when it is absent, empty or not a structured
    /// dictionary, for then it is as if it were not there (RFC 9213 section 2.1).
    #[must_use]
    pub fn targeted(lines: GetAll<'_, HeaderValue>) -> Option<Self> {
        let mut read = Self::default();
        let mut any = false;
        for line in lines {
            let text = line.to_str().ok()?;
            if text.trim().is_empty() {
                continue;
            }
            for member in members(text) {
                let (name, value) = structured(member.trim())?;
                any = true;
                match value {
                    Some("?0") => {}
                    Some("?1") | None => read.take(name, None, integer),
                    Some(value) => read.take(name, Some(value), integer),
                }
            }
        }
        any.then_some(read)
    }

    fn take(&mut self, name: &str, value: Option<&str>, number: fn(&str) -> Option<u64>) {
        let seconds = |slot: &mut Option<u64>| {
            if let Some(read) = number(value.unwrap_or_default()) {
                *slot = Some(slot.map_or(read, |before| before.min(read)));
            }
        };
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache.widen(value),
            "private" => self.private.widen(value),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => seconds(&mut self.max_age),
            "s-maxage" => seconds(&mut self.s_maxage),
            "stale-while-revalidate" => seconds(&mut self.stale_while_revalidate),
            "stale-if-error" => seconds(&mut self.stale_if_error),
            "min-fresh" => seconds(&mut self.min_fresh),
            "max-stale" if value.is_none() => self.max_stale = Some(ENDLESS),
            "max-stale" => seconds(&mut self.max_stale),
            _ => {}
        }
    }
}

impl Reach {
    fn widen(&mut self, value: Option<&str>) {
        let named = value.map(|value| value.split(',').map(|name| HeaderName::try_from(name.trim())));
        let named: Option<Vec<HeaderName>> = named.and_then(|names| names.collect::<Result<_, _>>().ok());
        *self = match (std::mem::take(self), named) {
            (Self::All, _) | (_, None) => Self::All,
            (Self::Nothing, Some(names)) => Self::Fields(names),
            (Self::Fields(mut before), Some(names)) => {
                before.extend(names);
                Self::Fields(before)
            }
        };
    }
}

/// The parts of a list between commas that are not in quotes.
pub(crate) fn members(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let plain = !std::mem::take(&mut escaped);
            match byte {
                b'\\' if quoted && plain => escaped = true,
                b'"' if plain => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        let (member, after) = end.map_or((text, None), |end| (&text[..end], Some(&text[end + 1..])));
        rest = after;
        Some(member)
    })
    .filter(|member| !member.trim().is_empty())
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').map(|inner| inner.strip_suffix('"').unwrap_or(inner)) {
        Some(inner) => inner.replace('\\', ""),
        None => value.to_owned(),
    }
}

/// A number of seconds; what is none counts as zero, which makes a response stale.
#[allow(clippy::unnecessary_wraps, reason = "the other reader of numbers may pass over one")]
fn number(text: &str) -> Option<u64> {
    Some(integer(text).unwrap_or(0))
}

fn integer(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().map_or(ENDLESS, |read: u64| read.min(ENDLESS)))
}

/// One member of a structured dictionary without its parameters (RFC 8941 section 3.2).
fn structured(member: &str) -> Option<(&str, Option<&str>)> {
    let bare = member.split(';').next().unwrap_or(member).trim();
    let (name, value) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)));
    let mut letters = name.bytes();
    let first = letters.next()?;
    let right = (first.is_ascii_lowercase() || first == b'*')
        && letters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte));
    let token = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphanumeric() || "*-?".contains(first))
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",;=\\".contains(&byte))
    };
    let fits = value.is_none_or(|value| {
        let string = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
        string || token(value)
    });
    (right && fits).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    fn read(lines: &[&str]) -> Directives {
        Directives::read(field(lines).get_all("cache-control"))
    }

    fn field(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("cache-control", HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn directives_are_read_whatever_their_form() {
        let read_ages = |line: &str| read(&[line]).max_age;
        assert_eq!(read_ages("max-age=60"), Some(60));
        assert_eq!(read_ages("MAX-AGE=\"60\""), Some(60));
        assert_eq!(read_ages(" , max-age = 60 ,,"), Some(60));
        assert_eq!(read_ages("extension=\"a, max-age=1, \\\"b\", max-age=60"), Some(60), "quotes hide commas");
        assert_eq!(read_ages("max-age=99999999999999999999"), Some(ENDLESS));
        for wrong in ["max-age=-1", "max-age=1.5", "max-age=abc", "max-age", "max-age=\"\""] {
            assert_eq!(read_ages(wrong), Some(0), "{wrong}");
        }
        assert_eq!(read(&["max-age=60", "max-age=30"]).max_age, Some(30), "of two the smaller");
        assert_eq!(read_ages("min-age=3"), None);
    }

    #[test]
    fn directives_may_name_fields() {
        assert_eq!(read(&["private"]).private, Reach::All);
        let named = read(&["private=\"set-cookie, X-Me\""]).private;
        assert_eq!(named, Reach::Fields(vec![HeaderName::from_static("set-cookie"), HeaderName::from_static("x-me")]));
        assert_eq!(read(&["private=\"x-me\", private"]).private, Reach::All);
        assert_eq!(read(&["private=\"not a field\""]).private, Reach::All, "what cannot be understood is everything");
    }

    #[test]
    fn a_targeted_field_must_be_well_formed() {
        let targeted = |line: &str| Directives::targeted(field(&[line]).get_all("cache-control"));
        assert_eq!(
            targeted("max-age=60;x=1, no-store=?0").map(|read| (read.max_age, read.no_store)),
            Some((Some(60), false))
        );
        assert_eq!(targeted("").map(|read| read.max_age), None);
        assert_eq!(targeted("Max-Age=60").map(|read| read.max_age), None);
        assert_eq!(targeted("max-age=60, ?").map(|read| read.max_age), None);
        assert_eq!(targeted("max-age=abc").map(|read| read.max_age), Some(None), "a wrong type is passed over");
    }
}
