//! One endpoint and what is known of it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use super::policy::Outlier;
use crate::clock::Time;

/// An endpoint as the cluster tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share beside the others'; 0 gets nothing.
    pub weight: u32,
    /// Its EndpointSlice hints at it for our zone.
    pub local: bool,
}

impl Member {
    /// An endpoint like any other.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, weight: 1, local: false }
    }
}

impl From<SocketAddr> for Member {
    fn from(address: SocketAddr) -> Self {
        Self::new(address)
    }
}

/// How a try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with this status.
    Answered(u16),
    /// It could not be connected to.
    ConnectFailed,
    /// It was connected to and did not answer: it closed, reset, or took too long.
    Failed,
}

/// What became of the streaks after an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Well,
    /// One streak is as long as the policy allows.
    Eject,
}

/// One endpoint of a pool.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// When it appeared.
    pub(super) since: Time,
    pub(super) weight: AtomicU32,
    pub(super) local: AtomicBool,
    pub(super) active: AtomicU32,
    server_errors: AtomicU32,
    gateway_errors: AtomicU32,
    connect_failures: AtomicU32,
    /// Ejected until then; [`Time::default`] when it never was.
    ejected_until: AtomicU64,
    /// How many doublings the next ejection has.
    ejections: AtomicU32,
    /// An active check says so.
    pub(super) unhealthy: AtomicBool,
}

impl Endpoint {
    pub(super) fn new(member: &Member, since: Time) -> Self {
        Self {
            address: member.address,
            since,
            weight: AtomicU32::new(member.weight),
            local: AtomicBool::new(member.local),
            active: AtomicU32::new(0),
            server_errors: AtomicU32::new(0),
            gateway_errors: AtomicU32::new(0),
            connect_failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            unhealthy: AtomicBool::new(false),
        }
    }

    /// Requests and connections under way.
    #[must_use]
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Until when it is left alone.
    #[must_use]
    pub fn ejected_until(&self) -> Time {
        Time(self.ejected_until.load(Ordering::Relaxed))
    }

    /// False while an active check fails.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        !self.unhealthy.load(Ordering::Relaxed)
    }

    pub(super) fn is_available(&self, now: Time) -> bool {
        self.is_healthy() && self.ejected_until() <= now
    }

    /// Counts an outcome into the streaks.
    pub(super) fn count(&self, outcome: Outcome, policy: &Outlier) -> Mark {
        let reached = |streak: &AtomicU32, bad: bool, allowed: u32| {
            if !bad {
                if streak.load(Ordering::Relaxed) != 0 {
                    streak.store(0, Ordering::Relaxed);
                }
                return false;
            }
            let length = streak.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            allowed != 0 && length >= allowed
        };
        let status = match outcome {
            Outcome::Answered(status) => status,
            Outcome::ConnectFailed | Outcome::Failed => 502,
        };
        let server = reached(&self.server_errors, (500..600).contains(&status), policy.server_errors);
        let gateway = reached(&self.gateway_errors, (502..=504).contains(&status), policy.gateway_errors);
        let refused = outcome == Outcome::ConnectFailed;
        let connect = reached(&self.connect_failures, refused, policy.connect_failures);
        if server || gateway || connect { Mark::Eject } else { Mark::Well }
    }

    /// Leaves it alone, longer than the last time.
    pub(super) fn eject(&self, policy: &Outlier, now: Time) {
        let well_since = now.since(self.ejected_until());
        let forgiven = well_since.as_nanos() / policy.longest.as_nanos().max(1);
        let before = self.ejections.load(Ordering::Relaxed);
        let doublings = before.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX)).min(30);
        let span = policy.base.saturating_mul(1 << doublings).min(policy.longest.max(policy.base));
        self.ejected_until.store((now + span).0, Ordering::Relaxed);
        self.ejections.store(doublings + 1, Ordering::Relaxed);
        self.forget_streaks();
    }

    /// Takes it back before its time.
    pub(super) fn pardon(&self, now: Time) {
        self.ejected_until.fetch_min(now.0, Ordering::Relaxed);
        self.forget_streaks();
    }

    fn forget_streaks(&self) {
        for streak in [&self.server_errors, &self.gateway_errors, &self.connect_failures] {
            streak.store(0, Ordering::Relaxed);
        }
    }
}
