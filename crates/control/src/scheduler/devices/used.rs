//! Which devices are given away, and how much of those that are shared.
//!
//! Invariant: what was added is what is removed. A device that two claims seem to have for a moment, because one of them is
//! seen late, stays used until both are gone. Access for administrators uses nothing.

use std::collections::{BTreeMap, HashMap};

use base::quantity::Quantity;
use k8s_openapi::api::resource::v1::AllocationResult;

use super::slice::{Amounts, Id, amount};

/// All of it.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Used {
    whole: HashMap<Id, u32>,
    shared: HashMap<Id, Shares>,
}

#[derive(Debug, Default)]
struct Shares {
    count: u32,
    amounts: Amounts,
}

/// Adds (or takes away) amounts by name.
pub(super) fn book(into: &mut Amounts, amounts: &Amounts, add: bool) {
    for (name, amount) in amounts {
        let own = into.entry(name.clone()).or_insert(Quantity::ZERO);
        let next = if add { own.checked_add(amount) } else { own.checked_sub(amount) };
        *own = next.unwrap_or(*own);
    }
}

impl Used {
    /// Somebody has these devices now.
    pub(super) fn add(&mut self, allocation: &AllocationResult) {
        each(allocation, |id, share| match share {
            None => *self.whole.entry(id).or_insert(0) += 1,
            Some(amounts) => {
                let shares = self.shared.entry(id).or_default();
                shares.count += 1;
                book(&mut shares.amounts, &amounts, true);
            }
        });
    }

    /// Nobody has them any more.
    pub(super) fn remove(&mut self, allocation: &AllocationResult) {
        each(allocation, |id, share| match share {
            None => {
                if let Some(count) = self.whole.get_mut(&id) {
                    *count -= 1;
                    if *count == 0 {
                        self.whole.remove(&id);
                    }
                }
            }
            Some(amounts) => {
                if let Some(shares) = self.shared.get_mut(&id) {
                    shares.count -= 1;
                    book(&mut shares.amounts, &amounts, false);
                    if shares.count == 0 {
                        self.shared.remove(&id);
                    }
                }
            }
        });
    }

    /// Whether somebody has the device for himself.
    pub(super) fn has_whole(&self, id: &Id) -> bool {
        self.whole.contains_key(id)
    }

    /// What is given of a device that is shared, if anybody shares it.
    pub(super) fn shares(&self, id: &Id) -> Option<&Amounts> {
        self.shared.get(id).map(|shares| &shares.amounts)
    }
}

fn each(allocation: &AllocationResult, mut tell: impl FnMut(Id, Option<Amounts>)) {
    let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    for one in results.filter(|one| one.admin_access != Some(true)) {
        let id = Id {
            driver: one.driver.as_str().into(),
            pool: one.pool.as_str().into(),
            device: one.device.as_str().into(),
        };
        let amounts = |consumed: &BTreeMap<String, _>| {
            consumed.iter().map(|(name, text)| (name.clone(), amount(text))).collect::<Amounts>()
        };
        tell(id, one.share_id.as_ref().map(|_| one.consumed_capacity.as_ref().map(amounts).unwrap_or_default()));
    }
}
