//! Cookies: those of a request, and large sealed values that are spread over several (RFC 6265).

use http::HeaderMap;
use http::header::{self, HeaderValue};

/// A cookie with its name and attributes stays below what browsers keep (4096 bytes).
const PART: usize = 3600;
/// More parts than this do not fit in the headers that servers take.
const MOST_PARTS: usize = 8;

/// The cookies of a request, in order; what has no `=` is none.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim(), value.trim()))
    })
}

/// The value of the first cookie of this name.
pub(crate) fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    pairs(headers).find(|(other, _)| *other == name).map(|(_, value)| value)
}

/// The `Cookie` header without those that are `hidden` by their names; none if nothing is left.
pub(crate) fn except(headers: &HeaderMap, hidden: impl Fn(&str) -> bool) -> Option<HeaderValue> {
    let kept: Vec<String> =
        pairs(headers).filter(|(name, _)| !hidden(name)).map(|(name, value)| format!("{name}={value}")).collect();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join("; ")).ok() }
}

/// A name and what browsers are told of it.
#[derive(Clone, Debug)]
pub(crate) struct Jar {
    name: String,
    secure: bool,
}

impl Jar {
    /// Cookies called `name` that are for this host alone: with TLS they have the prefix `__Host-`, which browsers let
    /// nobody set from another host or without TLS.
    pub(crate) fn new(name: &str, secure: bool) -> Self {
        let prefix = if secure { "__Host-" } else { "" };
        Self { name: format!("{prefix}{name}"), secure }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A `Set-Cookie` that lasts `seconds`, or removes the cookie with 0.
    fn line(&self, name: &str, value: &str, seconds: i64) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let line = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&line).ok()
    }

    /// The value, from all of its parts.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Option<String> {
        let first = get(headers, &self.name)?;
        let (count, start) = first.split_once('.')?;
        let count: usize = count.parse().ok().filter(|count| (1..=MOST_PARTS).contains(count))?;
        let mut whole = start.to_owned();
        for part in 1..count {
            whole.push_str(get(headers, &format!("{}.{part}", self.name))?);
        }
        Some(whole)
    }

    /// Sets the value; parts of a longer one that the request still has are removed. None if it is too long.
    pub(crate) fn write(&self, headers: &HeaderMap, value: &str, seconds: i64) -> Option<Vec<HeaderValue>> {
        let parts: Vec<&[u8]> = value.as_bytes().chunks(PART).collect();
        if parts.len() > MOST_PARTS || parts.is_empty() {
            return None;
        }
        let mut lines = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let part = std::str::from_utf8(part).ok()?;
            lines.push(match index {
                0 => self.line(&self.name, &format!("{}.{part}", parts.len()), seconds)?,
                _ => self.line(&format!("{}.{index}", self.name), part, seconds)?,
            });
        }
        lines.extend(self.remove_from(headers, parts.len()));
        Some(lines)
    }

    /// Removes the cookies that the request has.
    pub(crate) fn remove(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        let first = get(headers, &self.name).and_then(|_| self.line(&self.name, "", 0));
        first.into_iter().chain(self.remove_from(headers, 1)).collect()
    }

    fn remove_from(&self, headers: &HeaderMap, first: usize) -> Vec<HeaderValue> {
        let names = (first..MOST_PARTS).map(|part| format!("{}.{part}", self.name));
        names.filter(|name| get(headers, name).is_some()).filter_map(|name| self.line(&name, "", 0)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(cookies: &[&str]) -> HeaderMap {
        let lines = cookies.iter().map(|line| (header::COOKIE, HeaderValue::from_str(line).expect("a header")));
        lines.collect()
    }

    /// What a browser sends after these lines.
    fn browser(before: &HeaderMap, lines: &[HeaderValue]) -> HeaderMap {
        let mut held: Vec<(String, String)> = pairs(before).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        for line in lines {
            let text = line.to_str().expect("text");
            assert!(text.len() < 4096, "too long for a browser");
            let (pair, attributes) = text.split_once(';').expect("attributes");
            let (name, value) = pair.split_once('=').expect("a pair");
            held.retain(|(other, _)| other != name);
            if !attributes.contains("Max-Age=0") {
                held.push((name.to_owned(), value.to_owned()));
            }
        }
        request(
            &held
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_cookie_is_for_its_host_alone() {
        let lines = Jar::new("knarr", true).write(&HeaderMap::new(), "v", 60).expect("short");
        assert_eq!(lines, ["__Host-knarr=1.v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"]);
        let lines = Jar::new("knarr", false).write(&HeaderMap::new(), "v", 60).expect("short");
        assert_eq!(lines, ["knarr=1.v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"]);
    }

    #[test]
    fn a_shorter_value_leaves_nothing_of_a_longer_one() {
        let jar = Jar::new("knarr", true);
        let long = browser(&HeaderMap::new(), &jar.write(&HeaderMap::new(), &"x".repeat(9000), 60).expect("fits"));
        assert_eq!(pairs(&long).count(), 3);
        let short = browser(&long, &jar.write(&long, "y", 60).expect("fits"));
        assert_eq!((pairs(&short).count(), jar.read(&short).as_deref()), (1, Some("y")));
        assert_eq!(pairs(&browser(&long, &jar.remove(&long))).count(), 0);
        assert_eq!(jar.write(&long, &"x".repeat(PART * MOST_PARTS + 1), 60), None);
    }

    #[test]
    fn our_cookies_do_not_reach_backends() {
        let headers = request(&["a=1; __Host-knarr=secret", "__Host-knarr.1=more; b=2;c"]);
        assert_eq!(except(&headers, |name| name.starts_with("__Host-knarr")).expect("some are left"), "a=1; b=2");
        assert_eq!(except(&request(&["__Host-knarr=x"]), |name| name == "__Host-knarr"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in "[A-Za-z0-9_-]{1,20000}", before in "[a-z0-9]{1,12000}") {
            let jar = Jar::new("knarr", true);
            let old = browser(&HeaderMap::new(), &jar.write(&HeaderMap::new(), &before, 60).expect("fits"));
            let now = browser(&old, &jar.write(&old, &value, 60).expect("fits"));
            prop_assert_eq!(jar.read(&now), Some(value));
        }

        #[test]
        fn no_cookie_header_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(line) = HeaderValue::from_bytes(&bytes) {
                let headers: HeaderMap = [(header::COOKIE, line)].into_iter().collect();
                pairs(&headers).for_each(drop);
                Jar::new("knarr", true).read(&headers);
                except(&headers, |name| name == "a");
            }
        }
    }
}
