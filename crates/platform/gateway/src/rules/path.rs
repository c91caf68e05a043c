//! The one reading of a path, before routes, rules and backends see it.
//!
//! What RFC 3986 (6.2.2) calls equal becomes the same text: escapes of letters, digits and `-._~`
//! are written plainly, other escapes in capitals, dot segments are resolved. What only an attack
//! needs is refused: NUL and other controls, `\` (a slash to some), escapes that are none, letters
//! in longer UTF-8 than they need (an old way to write `/` and `.`), paths that climb above the
//! root, and dot segments between escaped slashes. `%2F` itself stays as it is: it is data inside a
//! segment (`@scope%2Fname`), and rules also look at what it would be ([`strict`]).

use std::borrow::Cow;

use http::StatusCode;

/// Bytes of a path at most.
const LONGEST: usize = 16 * 1024;

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trick {
    /// Too long.
    #[error("the path is too long")]
    Long,
    /// NUL, or another control.
    #[error("the path has a control character")]
    Control,
    /// A backslash.
    #[error("the path has a backslash")]
    Backslash,
    /// `%` without two hexadecimal digits.
    #[error("the path has a % that begins no escape")]
    Escape,
    /// UTF-8 that is longer than it needs to be.
    #[error("the path has overlong UTF-8")]
    Overlong,
    /// Above the root.
    #[error("the path climbs above the root")]
    Climbs,
    /// `..%2F`.
    #[error("the path has dot segments between escaped slashes")]
    HiddenDots,
}

impl Trick {
    /// The status that tells it.
    #[must_use]
    pub fn status(self) -> StatusCode {
        if self == Self::Long { StatusCode::URI_TOO_LONG } else { StatusCode::BAD_REQUEST }
    }

    /// One word for metrics and logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Long => "path_long",
            Self::Control => "path_control",
            Self::Backslash => "path_backslash",
            Self::Escape => "path_escape",
            Self::Overlong => "path_overlong",
            Self::Climbs => "path_climbs",
            Self::HiddenDots => "path_hidden_dots",
        }
    }
}

/// Reads `path` (without query). Most need no change and are given back as they are.
///
/// # Errors
/// When only an attack would write it so.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, Trick> {
    if path.len() > LONGEST {
        return Err(Trick::Long);
    }
    if let Some(bad) = path.bytes().find(|byte| byte.is_ascii_control() || *byte == b'\\') {
        return Err(if bad == b'\\' { Trick::Backslash } else { Trick::Control });
    }
    let plain = if path.contains('%') { escapes(path)? } else { Cow::Borrowed(path) };
    if !plain.split('/').any(is_dots) {
        return Ok(plain);
    }
    Ok(Cow::Owned(resolve(&plain)?))
}

/// What a backend may make of a normalised path that decodes it once and takes several slashes for
/// one: the text that rules are held against.
#[must_use]
pub fn strict(path: &str) -> Cow<'_, str> {
    if !path.contains('%') && !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, escape(rest)) {
            (b'%', Some(byte)) => (byte, &rest[3..]),
            _ => (*first, after),
        };
        if byte != b'/' || bytes.last() != Some(&b'/') {
            bytes.push(byte);
        }
        rest = after;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// The byte of the escape that `text` begins with.
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Writes escapes the one way.
fn escapes(path: &str) -> Result<Cow<'_, str>, Trick> {
    let mut text = String::with_capacity(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(found) = rest.find('%') {
        let (before, escaped) = rest.split_at(found);
        text.push_str(before);
        decoded.extend(before.bytes());
        let byte = escape(escaped.as_bytes()).ok_or(Trick::Escape)?;
        decoded.push(byte);
        match byte {
            b'\\' => return Err(Trick::Backslash),
            _ if byte.is_ascii_control() => return Err(Trick::Control),
            b'-' | b'.' | b'_' | b'~' => text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            _ => text.extend(escaped[..3].chars().map(|letter| letter.to_ascii_uppercase())),
        }
        rest = &escaped[3..];
    }
    text.push_str(rest);
    decoded.extend(rest.bytes());
    if is_overlong(&decoded) {
        return Err(Trick::Overlong);
    }
    let hidden = |segment: &str| segment.contains("%2F") && segment.split("%2F").any(is_dots);
    if text.split('/').any(hidden) {
        return Err(Trick::HiddenDots);
    }
    Ok(if text == path { Cow::Borrowed(path) } else { Cow::Owned(text) })
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..") || segment.strip_prefix("..;").is_some() || segment.strip_prefix(".;").is_some()
}

/// Resolves dot segments (RFC 3986, 5.2.4). A dot segment with parameters (`..;x`), which some
/// servers take for one, counts as one.
fn resolve(path: &str) -> Result<String, Trick> {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if !is_dots(segment) {
            kept.push(segment);
            continue;
        }
        if segment.starts_with("..") && kept.pop().is_none() {
            return Err(Trick::Climbs);
        }
        if last {
            kept.push("");
        }
    }
    Ok(format!("/{}", kept.join("/")))
}

/// The forms of UTF-8 that say what fewer bytes could (RFC 3629, 3 and 10).
fn is_overlong(bytes: &[u8]) -> bool {
    let follows = |at: usize| bytes.get(at + 1).copied().filter(|next| (0x80..0xc0).contains(next));
    bytes.iter().enumerate().any(|(at, byte)| match byte {
        0xc0 | 0xc1 => true,
        0xe0 => follows(at).is_some_and(|next| next < 0xa0),
        0xf0 => follows(at).is_some_and(|next| next < 0x90),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_paths_become_the_same_and_tricks_are_refused() {
        let table: [(&str, Result<&str, Trick>); 27] = [
            ("/", Ok("/")),
            ("/a/b", Ok("/a/b")),
            ("/a//b", Ok("/a//b")),
            ("/%61%2Db%7e", Ok("/a-b~")),
            ("/caf%c3%a9", Ok("/caf%C3%A9")),
            ("/@scope%2fname", Ok("/@scope%2Fname")),
            ("/a/./b", Ok("/a/b")),
            ("/a/../b", Ok("/b")),
            ("/a/b/..", Ok("/a/")),
            ("/a/.", Ok("/a/")),
            ("/a/%2e%2e/b", Ok("/b")),
            ("/a/..;x=1/b", Ok("/b")),
            ("/a/...", Ok("/a/...")),
            ("/a/..b", Ok("/a/..b")),
            ("/a/%zz", Err(Trick::Escape)),
            ("/a/%4", Err(Trick::Escape)),
            ("/a%00", Err(Trick::Control)),
            ("/a%0d%0aX: y", Err(Trick::Control)),
            ("/a\\b", Err(Trick::Backslash)),
            ("/a%5c..%5cb", Err(Trick::Backslash)),
            ("/..", Err(Trick::Climbs)),
            ("/a/../../b", Err(Trick::Climbs)),
            ("/..%2fetc", Err(Trick::HiddenDots)),
            ("/a%2f%2e%2E%2fb", Err(Trick::HiddenDots)),
            ("/%c0%af", Err(Trick::Overlong)),
            ("/%e0%80%ae", Err(Trick::Overlong)),
            ("/%f0%80%80%af", Err(Trick::Overlong)),
        ];
        for (path, expected) in table {
            assert_eq!(normalise(path).as_deref(), expected.as_ref().map(|path| *path), "{path}");
        }
        assert_eq!(normalise(&"/a".repeat(LONGEST)), Err(Trick::Long));
        assert_eq!(strict("/a%2Fb//c%C3%A9"), "/a/b/cé");
    }

    proptest! {
        #[test]
        fn what_was_normalised_is_normal(path in "/([a-c./;%\\\\]|%2[eEfF]|%5c|%c0|%00|é){0,24}") {
            if let Ok(once) = normalise(&path) {
                prop_assert_eq!(normalise(&once), Ok(Cow::Borrowed(&*once)));
                prop_assert!(once.starts_with('/') && !once.split('/').any(|segment| matches!(segment, "." | "..")));
                prop_assert!(!strict(&once).split('/').any(|segment| matches!(segment, "." | "..")), "nor when it is decoded");
            }
        }
    }
}
