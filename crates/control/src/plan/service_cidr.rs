//! ServiceCIDRs: ready while they serve, and held while addresses of services would be left without a range.
//!
//! Invariant: a range goes only when every address in it has another range, and only some time after its deletion was
//! asked for, so that no server still gives addresses from it.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use kube::ResourceExt;

pub const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
/// How long servers may go on giving addresses from a range that is being deleted.
const GRACE: Duration = Duration::from_secs(10);

/// The condition `Ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    pub status: &'static str,
    pub reason: &'static str,
    pub message: &'static str,
}

const SERVES: Ready = Ready { status: "True", reason: "", message: "Kubernetes Service CIDR is ready" };
const HELD: Ready = Ready {
    status: "False",
    reason: "Terminating",
    message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
};

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Hold,
    LetGo,
    Say(Ready),
    /// Nothing before this time has passed.
    Wait(Duration),
}

/// Decides the next steps for `range`, which is among `all`.
pub fn plan(range: &ServiceCIDR, all: &[ServiceCIDR], addresses: &[IPAddress], now: Timestamp) -> Vec<Action> {
    let held = range.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let Some(since) = &range.metadata.deletion_timestamp else {
        let hold = (!held).then_some(Action::Hold);
        let say = (!says(range, SERVES)).then_some(Action::Say(SERVES));
        return hold.into_iter().chain(say).collect();
    };
    if !is_dispensable(range, all, addresses) {
        return (!says(range, HELD)).then_some(Action::Say(HELD)).into_iter().collect();
    }
    let passed = Duration::try_from(now.duration_since(since.0)).unwrap_or_default();
    match GRACE.checked_sub(passed).filter(|left| !left.is_zero()) {
        Some(left) => vec![Action::Wait(left)],
        None if held => vec![Action::LetGo],
        None => Vec::new(),
    }
}

fn says(range: &ServiceCIDR, ready: Ready) -> bool {
    let conditions = range.status.as_ref().and_then(|status| status.conditions.as_ref());
    let found = conditions.into_iter().flatten().find(|condition| condition.type_ == "Ready");
    // who made the range may have said that it is ready in other words
    found.is_some_and(|found| {
        found.status == ready.status
            && (ready.status == "True" || (found.reason == ready.reason && found.message == ready.message))
    })
}

/// A network: its first address and how many bits of it are fixed.
#[derive(Debug, Clone, Copy)]
struct Net {
    address: IpAddr,
    length: u32,
}

impl Net {
    fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        Some(Self { address: address.parse().ok()?, length: length.parse().ok()? })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let ((own, width), (other, others)) = (bits(self.address), bits(address));
        let length = self.length.min(width);
        width == others && (length == 0 || own >> (128 - length) == other >> (128 - length))
    }

    fn covers(&self, other: &Self) -> bool {
        self.length <= other.length && self.contains(other.address)
    }
}

fn nets(range: &ServiceCIDR) -> impl Iterator<Item = Net> + '_ {
    range.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten()).filter_map(|cidr| Net::parse(cidr))
}

/// Whether no address would be left without a range.
fn is_dispensable(range: &ServiceCIDR, all: &[ServiceCIDR], addresses: &[IPAddress]) -> bool {
    let others = || all.iter().filter(|other| other.name_any() != range.name_any()).flat_map(nets);
    nets(range).all(|net| others().any(|other| other.covers(&net)))
        || addresses
            .iter()
            .filter(|address| address.labels().get(MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1))
            .all(|address| match address.name_any().parse::<IpAddr>() {
                Ok(address) => {
                    !nets(range).any(|net| net.contains(address)) || others().any(|other| other.contains(address))
                }
                Err(_) => true,
            })
}

/// Whether a change of this address may matter to the range.
pub fn concerns(range: &ServiceCIDR, address: &IPAddress) -> bool {
    address.name_any().parse::<IpAddr>().is_ok_and(|address| nets(range).any(|net| net.contains(address)))
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn range(name: &str, cidr: &str) -> ServiceCIDR {
        serde_json::from_value(json!({
            "metadata": { "name": name, "finalizers": [FINALIZER] }, "spec": { "cidrs": [cidr] },
            "status": { "conditions": [{
                "type": "Ready", "status": "True", "reason": "", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }] },
        }))
        .expect("a range")
    }

    fn leaving(mut range: ServiceCIDR, seconds: i64) -> ServiceCIDR {
        let since = NOW - jiff::SignedDuration::from_secs(seconds);
        range.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(since));
        range
    }

    fn address(name: &str, manager: &str) -> IPAddress {
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { MANAGED_BY.0: manager } },
            "spec": { "parentRef": { "resource": "services", "name": "a" } },
        }))
        .expect("an address")
    }

    #[test]
    fn a_new_range_is_held_and_said_to_be_ready_once() {
        let mut new = range("a", "10.1.0.0/16");
        assert_eq!(plan(&new, from_ref(&new), &[], NOW), []);
        new.metadata.finalizers = None;
        new.status = None;
        assert_eq!(plan(&new, from_ref(&new), &[], NOW), [Action::Hold, Action::Say(SERVES)]);
    }

    #[test]
    fn a_range_waits_for_its_addresses_and_then_for_the_servers() {
        let gone = leaving(range("a", "10.1.0.0/16"), 4);
        let (ours, foreign) = (address("10.1.0.9", MANAGED_BY.1), address("10.1.0.8", "somebody"));
        assert_eq!(plan(&gone, from_ref(&gone), from_ref(&ours), NOW), [Action::Say(HELD)]);
        assert_eq!(plan(&gone, from_ref(&gone), &[foreign], NOW), [Action::Wait(Duration::from_secs(6))]);
        let wider = [gone.clone(), range("b", "10.0.0.0/8")];
        assert_eq!(plan(&gone, &wider, from_ref(&ours), NOW), [Action::Wait(Duration::from_secs(6))]);
        let late = leaving(range("a", "10.1.0.0/16"), 11);
        assert_eq!(plan(&late, from_ref(&late), &[], NOW), [Action::LetGo]);
        let beside = [late.clone(), range("b", "10.1.0.0/24")];
        assert_eq!(plan(&late, &beside, &[ours], NOW), [Action::LetGo], "every address has another range");
        let mut said = late;
        said.status.as_mut().expect("a status").conditions.as_mut().expect("conditions")[0] =
            serde_json::from_value(json!({
                "type": "Ready", "status": HELD.status, "reason": HELD.reason, "message": HELD.message,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }))
            .expect("a condition");
        assert_eq!(plan(&said, from_ref(&said), &[address("10.1.0.9", MANAGED_BY.1)], NOW), [], "said once");
    }
}
