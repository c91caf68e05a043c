//! ResourceQuota: a write that would use more than a namespace may is refused, and what it uses is booked before it happens.
//!
//! Invariant: bookings of a namespace happen one after the other and name the version of the quota they were decided on, so
//! two writes never share what is left. A write that is refused after its booking leaves it until the quota controller
//! counts again, as upstream. Upstream's limits on what no quota covers (`LimitedResources`) are settings we do not have.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use base::quota::{Act, Amounts, Counter};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{Admission, Admit, Operation};
use crate::{
    core::{Core, text},
    error::ApiError,
};

/// Namespaces share so many locks.
const STRIPES: usize = 64;
/// Tries when the controller writes a quota at the same time.
const TRIES: usize = 4;

pub(super) struct ResourceQuota {
    booking: Vec<Mutex<()>>,
}

impl Default for ResourceQuota {
    fn default() -> Self {
        Self { booking: (0..STRIPES).map(|_| Mutex::default()).collect() }
    }
}

#[async_trait]
impl Admission for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        let Some(ask) = Ask::of(admit) else { return Ok(()) };
        let quotas =
            || core.kind("", "resourcequotas").map(|kind| core.list(kind, admit.namespace)).unwrap_or_default();
        if quotas().is_empty() {
            return Ok(());
        }
        let mut hasher = DefaultHasher::new();
        admit.namespace.hash(&mut hasher);
        let stripe = usize::try_from(hasher.finish() % STRIPES as u64).unwrap_or(0);
        let _booking = self.booking[stripe].lock().await;
        let mut open = quotas();
        for tried in 1.. {
            let booked = ask.book(&open).map_err(|why| ApiError::denied(admit.kind, admit.name, &why))?;
            if admit.dry_run {
                return Ok(());
            }
            let failed = write(core, booked).await;
            let Some((_, error)) = failed.first() else { return Ok(()) };
            if tried == TRIES || !error.is("Conflict") {
                return failed.into_iter().next().map_or(Ok(()), |(_, error)| Err(error));
            }
            // what is booked stays booked; only the quotas that have changed are asked again
            open = quotas();
            open.retain(|quota| failed.iter().any(|(name, _)| name == text(quota, "/metadata/name")));
        }
        Ok(())
    }
}

/// Writes the quotas; those that could not be written, and why.
async fn write(core: &Core, booked: Vec<Value>) -> Vec<(String, ApiError)> {
    let mut failed = Vec::new();
    let Some(kind) = core.kind("", "resourcequotas") else { return failed };
    for quota in booked {
        let name = text(&quota, "/metadata/name").to_owned();
        match core.replace(kind, quota).await {
            Err(error) if !error.is("NotFound") => failed.push((name, error)),
            _ => {}
        }
    }
    failed
}

/// What a write asks of the quotas.
struct Ask<'a> {
    counter: Counter,
    new: &'a Value,
    old: Option<&'a Value>,
    now: base::time::Timestamp,
    /// Booked, but never refused: the status tells what has happened already.
    told: bool,
}

impl<'a> Ask<'a> {
    /// None if the write cannot use anything that quotas know.
    fn of(admit: &'a Admit<'_>) -> Option<Self> {
        let act = match (admit.operation, admit.old) {
            (Operation::Create, _) => Act::Create,
            (Operation::Update, Some(old)) => Act::Update(old),
            _ => return None,
        };
        let new = admit.object.as_deref().filter(|_| !admit.namespace.is_empty() && admit.kind.namespaced)?;
        let counter = Counter::of(&admit.kind.group, &admit.kind.plural)?;
        let told = admit.subresource == "status";
        counter.handles(act, admit.subresource, new).then_some(Self {
            counter,
            new,
            old: admit.old,
            now: base::time::now(),
            told,
        })
    }

    /// The quotas as they are when the write is booked; only those that change.
    fn book(&self, quotas: &[Arc<Value>]) -> Result<Vec<Value>, String> {
        let usage = self.counter.usage(self.new, self.now);
        let negative: Vec<&str> = usage.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name).collect();
        let mut asked = Vec::new();
        for quota in quotas {
            let hard = Amounts::read(&quota["status"]["hard"]);
            let limited: Vec<&str> = hard.names().filter(|name| self.counter.covers(name)).collect();
            if limited.is_empty() || !self.counter.is_in_scope(quota, self.new) {
                continue;
            }
            let (name, used) = (text(quota, "/metadata/name"), Amounts::read(&quota["status"]["used"]));
            self.counter.check(&limited, self.new).map_err(|why| format!("failed quota: {name}: {why}"))?;
            if limited.iter().any(|name| used.get(name).is_none()) {
                return Err(format!("status unknown for quota: {name}, resources: {}", limited.join(",")));
            }
            asked.push((quota, hard, used));
        }
        if !negative.is_empty() {
            return Err(format!("quota usage is negative for resource(s): {}", negative.join(",")));
        }
        let mut booked = Vec::new();
        for (quota, hard, used) in asked {
            let known = self.old.filter(|old| self.counter.is_in_scope(quota, old));
            let more = known.map_or_else(|| usage.clone(), |old| usage.beyond(&self.counter.usage(old, self.now)));
            let requested = more.without_zeros().only(|name| hard.get(name).is_some());
            let next = used.plus(&requested);
            let exceeded: Vec<&str> =
                next.exceeding(&hard).filter(|name| !self.told && requested.get(name).is_some()).collect();
            if !exceeded.is_empty() {
                let print = |amounts: &Amounts| amounts.only(|name| exceeded.contains(&name)).print();
                return Err(format!(
                    "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                    text(quota, "/metadata/name"),
                    print(&requested),
                    print(&used),
                    print(&hard)
                ));
            }
            if !requested.is_empty() {
                let mut next_quota = Value::clone(quota);
                next_quota["status"]["used"] = next.to_json();
                booked.push(next_quota);
            }
        }
        Ok(booked)
    }
}

#[cfg(test)]
mod tests;
