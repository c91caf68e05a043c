//! The endpoints of one port of one service, with what is known of them and what is under way.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use base::Key;
use parking_lot::Mutex;

use super::choice::{Choice, enough};
use super::circuit::{self, Gauges, Kind, Refusal};
use super::endpoint::{Endpoint, Mark, Member, Outcome};
use super::policy::{Algorithm, Policy};
use crate::clock::Time;

/// Points of a ring that are looked at before a choice is made without it.
const AROUND: usize = 1024;

/// Who asks for an endpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The time.
    pub now: Time,
    /// Random bits.
    pub dice: u64,
    /// The key of a consistent choice ([`super::Source::key`]).
    pub key: Option<u64>,
    /// Where a session has been before: chosen when it may be.
    pub stay: Option<SocketAddr>,
    /// Endpoints that have been tried; chosen only when there is nobody else.
    pub tried: &'a [SocketAddr],
    /// What for.
    pub kind: Kind,
}

/// What has happened since the pool was made, and what is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Endpoints there are.
    pub endpoints: u64,
    /// Endpoints that may be chosen.
    pub available: u64,
    /// True while so few are well that all are used.
    pub panic: bool,
    /// Requests in flight.
    pub requests: u64,
    /// Connections of streams.
    pub connections: u64,
    /// Ejections so far.
    pub ejections: u64,
    /// Refusals by bounds so far.
    pub refusals: u64,
    /// Failures to connect so far.
    pub connect_failures: u64,
    /// Failed answers (none, or 5xx) so far.
    pub failures: u64,
}

#[derive(Debug, Default)]
struct Counters {
    ejections: AtomicU64,
    refusals: AtomicU64,
    connect_failures: AtomicU64,
    failures: AtomicU64,
}

/// Which pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// The service.
    pub service: Key,
    /// Its port, as whoever names it does.
    pub port: String,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

/// One port of one service.
#[derive(Debug)]
pub struct Pool {
    /// Which.
    pub name: Name,
    /// Everybody, and the policy; locked only by what changes them.
    all: Mutex<All>,
    choice: ArcSwap<Choice>,
    turn: AtomicU64,
    gauges: Gauges,
    counters: Counters,
    /// Active checks are running; see [`super::health`].
    pub(super) checked: AtomicBool,
}

#[derive(Debug, Default)]
struct All {
    policy: Arc<Policy>,
    endpoints: Vec<Arc<Endpoint>>,
}

impl Pool {
    /// A pool of `members` under `policy`.
    #[must_use]
    pub fn new(name: Name, policy: Policy, members: &[Member], now: Time) -> Self {
        let endpoints = members.iter().map(|member| Arc::new(Endpoint::new(member, now))).collect();
        let all = All { policy: Arc::new(policy), endpoints };
        Self {
            name,
            choice: ArcSwap::from_pointee(Choice::new(&all.policy, &all.endpoints, now)),
            all: Mutex::new(all),
            turn: AtomicU64::new(0),
            gauges: Gauges::default(),
            counters: Counters::default(),
            checked: AtomicBool::new(false),
        }
    }

    /// The endpoints are these from now on. Those that stay keep what is known of them.
    pub fn update(&self, members: &[Member], now: Time) {
        let mut all = self.all.lock();
        let same = all.endpoints.len() == members.len()
            && all.endpoints.iter().zip(members).all(|(one, member)| {
                one.address == member.address
                    && one.weight.load(Ordering::Relaxed) == member.weight
                    && one.local.load(Ordering::Relaxed) == member.local
            });
        if same {
            return;
        }
        let known: std::collections::HashMap<SocketAddr, Arc<Endpoint>> =
            all.endpoints.drain(..).map(|one| (one.address, one)).collect();
        all.endpoints = members
            .iter()
            .map(|member| match known.get(&member.address) {
                Some(one) => {
                    one.weight.store(member.weight, Ordering::Relaxed);
                    one.local.store(member.local, Ordering::Relaxed);
                    Arc::clone(one)
                }
                None => Arc::new(Endpoint::new(member, now)),
            })
            .collect();
        self.choose(&all, now);
    }

    /// The policy is this from now on.
    pub fn configure(&self, policy: Policy, now: Time) {
        let mut all = self.all.lock();
        if *all.policy == policy {
            return;
        }
        if policy.health.is_none() {
            all.endpoints.iter().for_each(|one| one.unhealthy.store(false, Ordering::Relaxed));
        }
        all.policy = Arc::new(policy);
        self.choose(&all, now);
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.choice.load().policy)
    }

    /// The policy in force, for a moment.
    #[must_use]
    pub fn policy_in_force(&self) -> impl std::ops::Deref<Target = Policy> {
        InForce(self.choice.load())
    }

    /// Everybody, well or not.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.all.lock().endpoints.clone()
    }

    /// True when nobody is there to serve.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.choice.load().members.is_empty()
    }

    /// Chooses an endpoint.
    ///
    /// # Errors
    /// When nobody is there, or as much is under way as the policy allows.
    pub fn pick(self: &Arc<Self>, ask: &Ask<'_>) -> Result<Lease, Refusal> {
        let mut choice = self.choice.load();
        if choice.until <= ask.now
            && let Some(all) = self.all.try_lock()
        {
            self.choose(&all, ask.now);
            drop(all);
            choice = self.choice.load();
        }
        let bounds = &choice.policy.circuit;
        let refused = |refusal| {
            self.counters.refusals.fetch_add(1, Ordering::Relaxed);
            Err(refusal)
        };
        let Some(wanted) = self.wanted(&choice, ask) else { return Err(Refusal::Empty) };
        if let Err(refusal) = self.gauges.enter(ask.kind, bounds) {
            return refused(refusal);
        }
        let free = |one: &&Arc<Endpoint>| circuit::take(&one.active, bounds.per_endpoint);
        let found = Some(wanted).filter(free).or_else(|| choice.members.iter().find(free));
        let Some(endpoint) = found.map(Arc::clone) else {
            self.gauges.connected();
            self.gauges.leave(ask.kind);
            return refused(Refusal::Endpoints);
        };
        Ok(Lease { pool: Arc::clone(self), endpoint, kind: ask.kind, waiting: true })
    }

    /// The endpoint the policy chooses, whatever it has to do.
    fn wanted<'a>(&self, choice: &'a Choice, ask: &Ask<'_>) -> Option<&'a Arc<Endpoint>> {
        let fresh = |one: &&Arc<Endpoint>| !ask.tried.contains(&one.address);
        if let Some(kept) = ask.stay.and_then(|address| choice.at(address)).filter(fresh) {
            return Some(kept);
        }
        let wanted = match (&choice.policy.algorithm, ask.key) {
            (Algorithm::RingHash(_), Some(key)) => {
                return choice.around(key).take(AROUND).find(fresh).or_else(|| choice.around(key).next());
            }
            (Algorithm::RoundRobin, _) => choice.in_turn(self.turn.fetch_add(1, Ordering::Relaxed)),
            (Algorithm::Random | Algorithm::RingHash(_), _) => choice.in_turn(ask.dice),
            (Algorithm::LeastRequests, _) => choice.two(ask.dice).map(|(one, other)| less_loaded(one, other)),
        }?;
        if fresh(&wanted) {
            return Some(wanted);
        }
        Some(choice.members.iter().find(fresh).unwrap_or(wanted))
    }

    /// An active check has found `endpoint` well or not.
    pub(super) fn checked(&self, endpoint: &Endpoint, healthy: bool, now: Time) {
        let all = self.all.lock();
        if endpoint.unhealthy.swap(!healthy, Ordering::Relaxed) == healthy {
            let state = if healthy { "well again" } else { "not well" };
            tracing::info!(backend = %self.name, endpoint = %endpoint.address, "a health check finds the endpoint {state}");
            self.choose(&all, now);
        }
    }

    /// What has happened and what is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let choice = self.choice.load();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            endpoints: self.all.lock().endpoints.len() as u64,
            available: choice.members.len() as u64,
            panic: choice.panic,
            requests: u64::from(self.gauges.requests.load(Ordering::Relaxed)),
            connections: u64::from(self.gauges.connections.load(Ordering::Relaxed)),
            ejections: read(&self.counters.ejections),
            refusals: read(&self.counters.refusals),
            connect_failures: read(&self.counters.connect_failures),
            failures: read(&self.counters.failures),
        }
    }

    fn choose(&self, all: &All, now: Time) {
        self.choice.store(Arc::new(Choice::new(&all.policy, &all.endpoints, now)));
    }

    fn report(&self, endpoint: &Endpoint, outcome: Outcome, now: Time) {
        match outcome {
            Outcome::Answered(status) if status < 500 => {}
            Outcome::ConnectFailed => {
                self.counters.connect_failures.fetch_add(1, Ordering::Relaxed);
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Answered(_) | Outcome::Failed => {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mark = endpoint.count(outcome, &self.choice.load().policy.outlier);
        if mark == Mark::Eject {
            self.eject(endpoint, now);
        }
    }

    /// Leaves `endpoint` alone for a while, if enough others are left. When it would be the last,
    /// those left alone before are no worse than it, so all come back.
    fn eject(&self, endpoint: &Endpoint, now: Time) {
        let all = self.all.lock();
        if !endpoint.is_available(now) || !all.endpoints.iter().any(|one| std::ptr::eq(&raw const **one, endpoint)) {
            return;
        }
        let weighty = || all.endpoints.iter().filter(|one| one.weight.load(Ordering::Relaxed) > 0);
        let count = weighty().count();
        let ejected = weighty().filter(|one| one.ejected_until() > now).count();
        let left = weighty().filter(|one| one.is_available(now)).count().saturating_sub(1);
        let outlier = &all.policy.outlier;
        if left == 0 {
            all.endpoints.iter().for_each(|one| one.pardon(now));
            self.choose(&all, now);
        } else if enough(&all.policy, left, count) && (ejected + 1) * 100 <= count * usize::from(outlier.most_percent) {
            endpoint.eject(outlier, now);
            self.counters.ejections.fetch_add(1, Ordering::Relaxed);
            let span = endpoint.ejected_until().since(now);
            tracing::info!(backend = %self.name, endpoint = %endpoint.address, "the endpoint fails and is left alone for {span:?}");
            self.choose(&all, now);
        }
    }
}

struct InForce(arc_swap::Guard<Arc<Choice>>);

impl std::ops::Deref for InForce {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.0.policy
    }
}

/// Of two the one with less to do for its weight, the first when they are equal.
fn less_loaded<'a>(one: &'a Arc<Endpoint>, other: &'a Arc<Endpoint>) -> &'a Arc<Endpoint> {
    let load = |of: &Endpoint, beside: &Endpoint| {
        u64::from(of.active()) * u64::from(beside.weight.load(Ordering::Relaxed).max(1))
    };
    if load(other, one) < load(one, other) { other } else { one }
}

/// A place at an endpoint, in flight until it is dropped.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<Pool>,
    endpoint: Arc<Endpoint>,
    kind: Kind,
    /// Not connected yet.
    waiting: bool,
}

impl Lease {
    /// Where to go.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// The pool it is of.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The connection is made (or was there): it waits no longer.
    pub fn connected(&mut self) {
        if std::mem::take(&mut self.waiting) {
            self.pool.gauges.connected();
        }
    }

    /// Tells how it went.
    pub fn report(&self, outcome: Outcome, now: Time) {
        self.pool.report(&self.endpoint, outcome, now);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connected();
        circuit::give(&self.endpoint.active);
        self.pool.gauges.leave(self.kind);
    }
}
