//! May a response be stored, and how long is it fresh: RFC 9111 sections 3 and 4.2, with a policy beside it.
//!
//! Pure: the time of the exchange is given.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE, TRANSFER_ENCODING,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use crate::control::{Directives, Reach};
use crate::policy::Rules;
use crate::vary;

const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// A guessed lifetime is a tenth of the age of the content, but never more than this.
const MOST_GUESSED: Duration = Duration::from_secs(24 * 3600);
/// No response is fresh longer than a year, whatever is said.
const MOST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a response is not stored. The text is the detail shown in `Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its status can never be stored, or only with a lifetime it does not have.
    Status,
    /// `no-store`.
    NoStore,
    /// `private`.
    Private,
    /// The request had `Authorization` (or the door knows who asks), and the response is not said to be for all.
    Authorization,
    /// `Set-Cookie`.
    SetCookie,
    /// `Vary: *`, or more than can be told apart.
    Vary,
    /// Nothing says how long it is fresh, and nothing lets it be validated.
    NoLifetime,
    /// Its end cannot be told from a broken connection.
    Unbounded,
    /// Its media type does not fit the extension of its path.
    Disguised,
}

impl Refusal {
    /// One word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::NoLifetime => "no-lifetime",
            Self::Unbounded => "unbounded",
            Self::Disguised => "disguised",
        }
    }

    /// True when another client's request for the same may well be answered with something that can be stored.
    #[must_use]
    pub fn is_of_request(word: &str) -> bool {
        word == Self::Authorization.as_str()
    }
}

/// What is known of the request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks is known: `Authorization`, or a login at the door.
    pub authorized: bool,
    /// The path, without the query.
    pub path: &'a str,
    /// When the request was sent to the origin.
    pub sent: SystemTime,
    /// When the header of the response came.
    pub received: SystemTime,
}

/// The head of a response.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its version.
    pub version: Version,
    /// Its fields.
    pub headers: &'a HeaderMap,
}

/// How long a stored response lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Until then it is fresh.
    pub fresh_until: SystemTime,
    /// Since then it ages: when the origin made or validated it, as far as can be told.
    pub born: SystemTime,
    /// Seconds it may be served stale while it is fetched anew.
    pub stale_while_revalidate: u32,
    /// Seconds it may be served stale because the origin fails.
    pub stale_if_error: u32,
    /// Fields that must not be stored.
    pub dropped: Vec<HeaderName>,
}

/// Whether and how long the response is stored.
///
/// # Errors
/// Why it is not.
pub fn judge(rules: &Rules, asked: &Asked<'_>, head: &Head<'_>) -> Result<Life, Refusal> {
    let (said, targeted) = directives(rules, head.headers);
    let lifetime = lifetime(rules, head, &said, targeted, asked.received);
    storable(rules, asked, head, &said)?;
    let dropped = dropped(rules, head.headers, &said)?;
    let age = age(head.headers, asked);
    let lifetime = match lifetime {
        Some(lifetime) => lifetime.min(MOST),
        None if said.no_cache == Reach::All => Duration::ZERO,
        None => return Err(if lasts_by_itself(head.status) { Refusal::NoLifetime } else { Refusal::Status }),
    };
    let lifetime = if said.no_cache == Reach::All && rules.obey_origin { Duration::ZERO } else { lifetime };
    let life = Life {
        fresh_until: moment(asked.received, lifetime, age),
        born: asked.received.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
        stale_while_revalidate: stale(&said, said.stale_while_revalidate, rules.stale_while_revalidate),
        stale_if_error: stale(&said, said.stale_if_error, rules.stale_if_error),
        dropped,
    };
    let useless = life.fresh_until < asked.received
        && life.stale_while_revalidate == 0
        && life.stale_if_error == 0
        && !head.headers.contains_key(ETAG)
        && !head.headers.contains_key(LAST_MODIFIED);
    if useless { Err(Refusal::NoLifetime) } else { Ok(life) }
}

/// What the origin says; the targeted field alone when there is one (RFC 9213).
fn directives(rules: &Rules, headers: &HeaderMap) -> (Directives, bool) {
    if !rules.obey_origin {
        return (Directives::default(), false);
    }
    match Directives::targeted(headers.get_all(CDN_CACHE_CONTROL)) {
        Some(said) => (said, true),
        None => (Directives::read(headers.get_all(CACHE_CONTROL)), false),
    }
}

fn storable(rules: &Rules, asked: &Asked<'_>, head: &Head<'_>, said: &Directives) -> Result<(), Refusal> {
    let status = head.status;
    if status.is_informational()
        || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::RANGE_NOT_SATISFIABLE)
        || head.headers.contains_key(CONTENT_RANGE)
        || (said.must_understand && !understood(status))
    {
        return Err(Refusal::Status);
    }
    if said.no_store && !said.must_understand {
        return Err(Refusal::NoStore);
    }
    if said.private == Reach::All {
        return Err(Refusal::Private);
    }
    let for_all = said.public || said.s_maxage.is_some() || said.must_revalidate;
    if asked.authorized && !(rules.authorized && for_all) {
        return Err(Refusal::Authorization);
    }
    if !vary::can_be_told_apart(head.headers.get_all(VARY)) {
        return Err(Refusal::Vary);
    }
    let framed = head.version == Version::HTTP_2
        || head.headers.contains_key(http::header::CONTENT_LENGTH)
        || head.headers.contains_key(TRANSFER_ENCODING)
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    if !framed {
        return Err(Refusal::Unbounded);
    }
    if rules.types_must_fit && !fits(asked.path, head.headers.get(CONTENT_TYPE)) {
        return Err(Refusal::Disguised);
    }
    Ok(())
}

fn dropped(rules: &Rules, headers: &HeaderMap, said: &Directives) -> Result<Vec<HeaderName>, Refusal> {
    let mut dropped = Vec::new();
    for reach in [&said.private, &said.no_cache] {
        if let Reach::Fields(names) = reach {
            dropped.extend(names.iter().cloned());
        }
    }
    if headers.contains_key(SET_COOKIE) && !dropped.contains(&SET_COOKIE) {
        if !rules.strip_cookies {
            return Err(Refusal::SetCookie);
        }
        dropped.push(SET_COOKIE);
    }
    Ok(dropped)
}

/// The freshness lifetime (RFC 9111 section 4.2.1).
fn lifetime(
    rules: &Rules,
    head: &Head<'_>,
    said: &Directives,
    targeted: bool,
    received: SystemTime,
) -> Option<Duration> {
    if let Some(lifetime) = rules.override_ttl {
        return Some(lifetime);
    }
    if let Some(seconds) = said.s_maxage.or(said.max_age) {
        return Some(Duration::from_secs(seconds));
    }
    if rules.obey_origin && !targeted && head.headers.contains_key(EXPIRES) {
        let date = date(head.headers, DATE).unwrap_or(received);
        let expires = date_of_one(head.headers, EXPIRES).unwrap_or(SystemTime::UNIX_EPOCH);
        return Some(expires.duration_since(date).unwrap_or(Duration::ZERO));
    }
    if let Some(lifetime) = rules.default_ttl(head.status) {
        return (!lifetime.is_zero()).then_some(lifetime);
    }
    let guessed = rules.heuristic && (lasts_by_itself(head.status) || said.public);
    let modified = date(head.headers, LAST_MODIFIED).filter(|_| guessed)?;
    let age = date(head.headers, DATE).unwrap_or(received).duration_since(modified).ok()?;
    Some((age / 10).min(MOST_GUESSED))
}

/// How old the response was when it came (RFC 9111 section 4.2.3).
fn age(headers: &HeaderMap, asked: &Asked<'_>) -> Duration {
    let said =
        headers.get(AGE).and_then(|value| value.to_str().ok()).map(|value| value.split(',').next().unwrap_or_default());
    let said = said.and_then(|value| value.trim().parse::<u32>().ok()).unwrap_or(0);
    let on_its_way = asked.received.duration_since(asked.sent).unwrap_or_default();
    let corrected = if said == 0 { Duration::ZERO } else { Duration::from_secs(u64::from(said)) + on_its_way };
    let apparent = date(headers, DATE).and_then(|date| asked.received.duration_since(date).ok()).unwrap_or_default();
    corrected.max(Duration::from_secs(apparent.as_secs())) // dates are whole seconds
}

fn moment(received: SystemTime, lifetime: Duration, age: Duration) -> SystemTime {
    match lifetime.checked_sub(age).filter(|left| !left.is_zero()) {
        Some(left) => received.checked_add(left).unwrap_or(received),
        None => {
            let past = age.saturating_sub(lifetime).max(Duration::from_secs(1));
            received.checked_sub(past).unwrap_or(SystemTime::UNIX_EPOCH)
        }
    }
}

/// Seconds of permitted staleness. `must-revalidate` and `no-cache` forbid it; `s-maxage` and `proxy-revalidate` forbid
/// what only the policy permits, as the origin may mean to be asked (RFC 9111 sections 4.2.4 and 5.2.2, RFC 5861).
fn stale(said: &Directives, by_origin: Option<u64>, by_policy: Duration) -> u32 {
    if said.must_revalidate || said.proxy_revalidate || said.no_cache == Reach::All {
        return 0;
    }
    let seconds = match by_origin {
        Some(seconds) => seconds,
        None if said.s_maxage.is_some() => 0,
        None => by_policy.as_secs(),
    };
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

/// Statuses that may be stored without a lifetime of their own (RFC 9110 section 15.1).
pub(crate) fn lasts_by_itself(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Statuses whose caching rules this cache follows, for `must-understand`.
fn understood(status: StatusCode) -> bool {
    lasts_by_itself(status) || matches!(status.as_u16(), 302 | 303 | 307 | 400..=451 | 500..=504)
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    headers.get(name)?.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok())
}

fn date_of_one(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    lines.next().is_none().then(|| line.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok()))?
}

/// Whether `kind` is what a path with this extension promises. Only extensions of static files promise anything.
fn fits(path: &str, kind: Option<&HeaderValue>) -> bool {
    const PROMISES: &[(&[&str], &[&str])] = &[
        (&["css"], &["text/css"]),
        (&["js", "mjs"], &["application/javascript", "text/javascript", "application/x-javascript"]),
        (&["json", "map"], &["application/json", "text/json", "application/octet-stream"]),
        (&["png", "jpg", "jpeg", "gif", "webp", "avif", "ico", "svg", "bmp", "tif", "tiff"], &["image/"]),
        (
            &["woff", "woff2", "ttf", "otf", "eot"],
            &[
                "font/",
                "application/font",
                "application/x-font",
                "application/vnd.ms-fontobject",
                "application/octet-stream",
            ],
        ),
        (&["mp4", "webm", "m4v", "mov"], &["video/", "application/mp4"]),
        (&["mp3", "ogg", "wav", "flac", "aac", "m4a"], &["audio/", "application/ogg", "video/ogg"]),
        (&["pdf"], &["application/pdf"]),
        (
            &["zip", "gz", "tgz", "bz2", "xz", "zst", "7z", "rar", "tar", "jar", "iso", "dmg", "exe", "msi", "apk"],
            &["application/", "binary/"],
        ),
        (&["txt", "csv"], &["text/plain", "text/csv"]),
    ];
    let file = path.rsplit('/').next().unwrap_or_default();
    let Some((_, extension)) = file.rsplit_once('.') else { return true };
    let extension = extension.to_ascii_lowercase();
    let Some((_, kinds)) = PROMISES.iter().find(|(extensions, _)| extensions.contains(&extension.as_str())) else {
        return true;
    };
    let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_ascii_lowercase);
    kind.is_some_and(|kind| kinds.iter().any(|promised| kind.starts_with(promised)))
}

#[cfg(test)]
mod tests;
