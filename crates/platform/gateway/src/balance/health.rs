//! Active health checks: asking every endpoint of a pool from time to time, when its policy says so.
//!
//! Readiness is the cluster's own check, made at the node; this one is made from here, over the
//! network that requests take. An endpoint is taken for well until enough checks fail. One task per
//! pool, which ends with the pool or with the check; it asks the endpoints side by side, at most
//! [`BESIDE`] at once, and begins each round at a moment of its own.

mod probe;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;

use super::pool::Pool;
use crate::clock::Clock;

/// Endpoints asked at once.
const BESIDE: usize = 16;

/// What is asked, and what follows from the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked.
    pub probe: Probe,
    /// From the end of one round to the next.
    pub interval: Duration,
    /// An answer must be there by then.
    pub timeout: Duration,
    /// Good answers in a row that make an endpoint well again.
    pub healthy: u32,
    /// Bad answers in a row that make it not well.
    pub unhealthy: u32,
    /// Asked at this port instead of the endpoint's own.
    pub port: Option<u16>,
}

/// A question to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A connection can be made.
    Tcp,
    /// `GET path` is answered with a status of `expect`, in plain HTTP/1.1.
    Http {
        /// The Host header; the endpoint's address when none.
        host: Option<String>,
        /// Path and query.
        path: String,
        /// Good statuses.
        expect: Vec<RangeInclusive<u16>>,
    },
    /// `grpc.health.v1.Health/Check` says SERVING, in HTTP/2 without TLS.
    Grpc {
        /// The service asked about; empty for the server as a whole.
        service: String,
    },
}

/// Answers of one endpoint so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Streak {
    good: u32,
    bad: u32,
}

impl Streak {
    /// Counts an answer; tells when the endpoint is (again) well or not.
    fn step(&mut self, good: bool, check: &Check) -> Option<bool> {
        *self = match good {
            true => Self { good: self.good.saturating_add(1), bad: 0 },
            false => Self { good: 0, bad: self.bad.saturating_add(1) },
        };
        match good {
            true => (self.good >= check.healthy).then_some(true),
            false => (self.bad >= check.unhealthy).then_some(false),
        }
    }
}

/// Who runs the checks.
#[derive(Clone, Debug)]
pub struct Checker {
    children: tasks::Children,
}

impl Checker {
    /// Checks are tasks of `children`.
    #[must_use]
    pub fn new(children: tasks::Children) -> Self {
        Self { children }
    }

    /// Checks `pool` for as long as it is there and its policy says so.
    pub fn watch(&self, pool: &Arc<Pool>, clock: Clock) {
        if pool.policy().health.is_some() && !pool.checked.swap(true, Ordering::AcqRel) {
            let (weak, children) = (Arc::downgrade(pool), self.children.clone());
            self.children.spawn("health checks", rounds(weak, clock, children));
        }
    }
}

async fn rounds(pool: Weak<Pool>, clock: Clock, children: tasks::Children) {
    let mut streaks = HashMap::new();
    loop {
        let Some(held) = pool.upgrade() else { return };
        let Some(check) = held.policy().health.clone() else {
            held.checked.store(false, Ordering::Release);
            // A policy that came meanwhile did not start another task: it saw this one.
            if held.policy().health.is_none() || held.checked.swap(true, Ordering::AcqRel) {
                return;
            }
            continue;
        };
        round(&held, &check, clock, &children, &mut streaks).await;
        drop(held);
        let jitter = f64::from(fastrand::u16(..)) / f64::from(u16::MAX) * 0.1;
        tokio::time::sleep(check.interval.mul_f64(1.0 + jitter)).await;
    }
}

async fn round(
    pool: &Pool,
    check: &Check,
    clock: Clock,
    children: &tasks::Children,
    streaks: &mut HashMap<SocketAddr, Streak>,
) {
    let endpoints = pool.endpoints();
    streaks.retain(|address, _| endpoints.iter().any(|one| one.address == *address));
    let asked = futures::stream::iter(endpoints).map(|endpoint| async move {
        let mut address = endpoint.address;
        address.set_port(check.port.unwrap_or(address.port()));
        let answer = tokio::time::timeout(check.timeout, probe::ask(address, &check.probe, children)).await;
        let good = match answer {
            Ok(Ok(())) => true,
            Ok(Err(why)) => {
                tracing::debug!(backend = %pool.name, endpoint = %address, "health check: {why:#}");
                false
            }
            Err(_) => {
                tracing::debug!(backend = %pool.name, endpoint = %address, "health check: no answer in {:?}", check.timeout);
                false
            }
        };
        (endpoint, good)
    });
    let mut asked = asked.buffer_unordered(BESIDE);
    while let Some((endpoint, good)) = asked.next().await {
        let streak: &mut Streak = streaks.entry(endpoint.address).or_default();
        if let Some(healthy) = streak.step(good, check) {
            pool.checked(&endpoint, healthy, clock.now());
        }
    }
}

#[cfg(test)]
mod tests;
