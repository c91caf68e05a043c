//! What a client is told of the cache: `X-Cache`, `Cache-Status` (RFC 9211) and `Age`.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use http::StatusCode;
use http::header::AGE;
use pingora_cache::CachePhase;
use pingora_core::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::counters::Counters;
use crate::freshness::Refusal;
use crate::request::{Bypass, Forced};

/// What the cache did for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Hit,
    /// Nothing was stored.
    Miss,
    /// What was stored is stale, and the origin had something newer.
    Expired,
    Stale,
    Revalidated,
    Bypass,
}

impl Outcome {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss | Self::Expired => "MISS",
            Self::Stale => "STALE",
            Self::Revalidated => "REVALIDATED",
            Self::Bypass => "BYPASS",
        }
    }

    pub(super) fn counter(self, counters: &Counters) -> &AtomicU64 {
        match self {
            Self::Hit => &counters.hits,
            Self::Miss | Self::Expired => &counters.misses,
            Self::Stale => &counters.stale,
            Self::Revalidated => &counters.revalidated,
            Self::Bypass => &counters.bypassed,
        }
    }
}

/// What the cache did, from the state of pingora's when the answer goes out.
pub(super) fn outcome(phase: CachePhase, bypass: Option<Bypass>, forced: Option<Forced>) -> Outcome {
    match phase {
        _ if bypass.is_some() => Outcome::Bypass,
        CachePhase::Hit if forced == Some(Forced::Serve) => Outcome::Stale,
        CachePhase::Hit => Outcome::Hit,
        CachePhase::Stale | CachePhase::StaleUpdating => Outcome::Stale,
        CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => Outcome::Revalidated,
        CachePhase::Expired => Outcome::Expired,
        CachePhase::Bypass => Outcome::Bypass,
        CachePhase::Miss | CachePhase::Disabled(_) | CachePhase::Uninit | CachePhase::CacheKey => Outcome::Miss,
    }
}

/// What is told in `Cache-Status`.
pub(super) struct Told {
    pub(super) outcome: Outcome,
    pub(super) bypass: Option<Bypass>,
    pub(super) refusal: Option<Refusal>,
    pub(super) stored: bool,
    pub(super) fetched: Option<StatusCode>,
    pub(super) waited: bool,
    /// Seconds of freshness left; negative when it is stale.
    pub(super) left: Option<i64>,
    /// The client wanted no answer of the origin's.
    pub(super) unasked: bool,
}

impl Told {
    pub(super) fn line(&self) -> String {
        let mut line = "knarr".to_owned();
        let mut put = |what: std::fmt::Arguments<'_>| {
            line.write_fmt(what).expect("invariant: a string takes all that is written");
        };
        match self.outcome {
            Outcome::Hit | Outcome::Stale => put(format_args!("; hit")),
            Outcome::Revalidated | Outcome::Expired => put(format_args!("; fwd=stale")),
            Outcome::Bypass if self.bypass == Some(Bypass::Method) => put(format_args!("; fwd=method")),
            Outcome::Bypass => put(format_args!("; fwd=bypass")),
            Outcome::Miss if self.unasked => {}
            Outcome::Miss => put(format_args!("; fwd=uri-miss")),
        }
        if let Some(status) = self.fetched.filter(|_| !matches!(self.outcome, Outcome::Hit)) {
            put(format_args!("; fwd-status={}", status.as_u16()));
        }
        if self.stored && matches!(self.outcome, Outcome::Miss | Outcome::Expired) {
            put(format_args!("; stored"));
        }
        if self.waited {
            put(format_args!("; collapsed"));
        }
        if let Some(left) = self.left {
            put(format_args!("; ttl={left}"));
        }
        let why = self.bypass.map(Bypass::as_str).or(self.refusal.map(Refusal::as_str));
        let why = why.or(self.unasked.then_some("only-if-cached"));
        if let Some(why) = why.or((self.outcome == Outcome::Bypass).then_some(Bypass::Predicted.as_str())) {
            put(format_args!("; detail={why}"));
        }
        line
    }
}

/// Seconds of freshness that the stored response has left, when it is what is sent.
pub(super) fn seconds_left(session: &Session) -> Option<i64> {
    use CachePhase::{Hit, Revalidated, Stale, StaleUpdating};
    let meta = session
        .cache
        .maybe_cache_meta()
        .filter(|_| matches!(session.cache.phase(), Hit | Revalidated | Stale | StaleUpdating))?;
    match meta.fresh_until().duration_since(SystemTime::now()) {
        Ok(left) => i64::try_from(left.as_secs()).ok(),
        Err(past) => i64::try_from(past.duration().as_secs()).ok().map(|past| -past),
    }
}

/// The age of what was validated just now; pingora tells it of what was not.
pub(super) fn age(session: &Session, response: &mut ResponseHeader) -> Result<()> {
    if session.cache.phase() == CachePhase::Revalidated
        && let Some(meta) = session.cache.maybe_cache_meta()
    {
        response.insert_header(AGE, meta.age().as_secs())?;
    }
    Ok(())
}
