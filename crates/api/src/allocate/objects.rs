//! Addresses and ranges as objects: an IPAddress per cluster address, a ServiceCIDR per range.
//!
//! Invariant: a service and the IPAddress objects of its addresses are written in one commit, so there is nothing to
//! repair between them; what is repaired (at start, and when somebody deletes one) is the work of other hands.

use std::{net::IpAddr, sync::Arc};

use serde_json::{Value, json};
use store::{Expect, Record, Store, Write};

use super::cidr::{Cidr, Family};
use super::{Number, PREFIX, numbers};
use crate::{core::text, encode, names};

pub(super) const ADDRESSES: &str = "/networking.k8s.io/ipaddresses/";
pub(super) const RANGES: &str = "/networking.k8s.io/servicecidrs/";
pub(super) const DEFAULT: &str = "/networking.k8s.io/servicecidrs/kubernetes";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";

pub(super) fn key(address: IpAddr) -> String {
    format!("{ADDRESSES}{address}")
}

pub(super) fn parse(record: &Record) -> Value {
    serde_json::from_slice(&record.value).unwrap_or_default()
}

/// The store key of the service an IPAddress belongs to.
pub(super) fn owner(object: &Value) -> Option<String> {
    let parent = &object["spec"]["parentRef"];
    let service = text(parent, "/group").is_empty() && parent["resource"] == "services";
    service.then(|| format!("{PREFIX}{}/{}", text(parent, "/namespace"), text(parent, "/name")))
}

/// Whether we made this IPAddress, and may take it away.
fn is_ours(object: &Value) -> bool {
    object["metadata"]["labels"][MANAGED_BY] == MANAGER
}

fn born(address: IpAddr, service: &str) -> Value {
    let place = service.strip_prefix(PREFIX).unwrap_or(service);
    let (namespace, name) = place.split_once('/').unwrap_or_default();
    let mut object = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": { FAMILY: Family::of(address).name(), MANAGED_BY: MANAGER },
        },
        "spec": { "parentRef": { "resource": "services", "namespace": namespace, "name": name } },
    });
    names::birth(&mut object);
    object
}

fn addresses(service: Option<&Value>) -> Vec<IpAddr> {
    let numbers = service.map(numbers).unwrap_or_default();
    numbers
        .into_iter()
        .filter_map(|number| match number {
            Number::Address(address) => Some(address),
            Number::Port(_) => None,
        })
        .collect()
}

/// What is written beside a service that becomes `new` (none: it goes).
pub(super) fn beside(store: &dyn Store, service: &str, old: Option<&Value>, new: Option<&Value>) -> Vec<Write> {
    let (before, after) = (addresses(old), addresses(new));
    let mut writes = Vec::new();
    for address in after.iter().filter(|address| !before.contains(address)) {
        writes.extend(granted(store, *address, service));
    }
    for address in before.iter().filter(|address| !after.contains(address)) {
        writes.extend(returned(store, *address, service));
    }
    writes
}

/// The IPAddress of a service's address, unless it is there.
pub(super) fn granted(store: &dyn Store, address: IpAddr, service: &str) -> Option<Write> {
    let key = key(address);
    let expect = match store.get(&key) {
        None => Expect::Absent,
        Some(record) if owner(&parse(&record)).as_deref() == Some(service) => return None,
        Some(record) => Expect::Revision(record.revision),
    };
    Some(Write::Put { key, value: encode::stored(&born(address, service)), expect })
}

/// Takes away the IPAddress of an address that is no longer the service's.
pub(super) fn returned(store: &dyn Store, address: IpAddr, service: &str) -> Option<Write> {
    let record = store.get(&key(address))?;
    let object = parse(&record);
    (is_ours(&object) && owner(&object).as_deref() == Some(service)).then(|| removal(&record, &object))
}

fn removal(record: &Arc<Record>, object: &Value) -> Write {
    Write::Delete {
        key: record.key.to_string(),
        expect: Expect::Revision(record.revision),
        last: encode::stored(object),
    }
}

/// The IPAddress that belongs to no service any more, taken away.
pub(super) fn orphan(record: &Arc<Record>, is_shown: impl Fn(&str, IpAddr) -> bool) -> Option<Write> {
    let object = parse(record);
    let address: IpAddr = text(&object, "/metadata/name").parse().ok()?;
    let kept = owner(&object).is_some_and(|service| is_shown(&service, address));
    (is_ours(&object) && !kept).then(|| removal(record, &object))
}

/// The ServiceCIDR of the configured range.
pub(crate) fn default_range(range: &str) -> Value {
    let cidrs: Vec<&str> = range.split(',').map(str::trim).collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"] },
        "spec": { "cidrs": cidrs },
        "status": { "conditions": [{
            "type": "Ready",
            "status": "True",
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": base::time::rfc3339(base::time::now()),
        }] },
    })
}

/// The ServiceCIDR of the configured range, made anew.
pub(super) fn default_range_again(range: &str) -> Write {
    let mut object = default_range(range);
    names::birth(&mut object);
    Write::Put { key: DEFAULT.to_owned(), value: encode::stored(&object), expect: Expect::Absent }
}

/// The ranges of a ServiceCIDR, each with whether addresses may be taken from it.
pub(super) fn ranges(object: &Value) -> Vec<(Cidr, bool)> {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let stays = text(object, "/metadata/deletionTimestamp").is_empty();
    let cidrs = object["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    cidrs.filter_map(Cidr::parse).map(|cidr| (cidr, ready && stays)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_service_and_keys_are_those_of_the_rows() {
        let address = "10.43.0.7".parse().unwrap();
        let object = born(address, "/core/services/ns/web");
        assert_eq!(owner(&object).as_deref(), Some("/core/services/ns/web"));
        assert_eq!(object["metadata"]["labels"][FAMILY], "IPv4");
        let row = |plural: &str| {
            crate::core::prefix(kinds::Catalog::builtin().resource("networking.k8s.io", "v1", plural).unwrap(), "")
        };
        assert_eq!((row("ipaddresses").as_str(), row("servicecidrs").as_str()), (ADDRESSES, RANGES));
    }

    #[test]
    fn a_range_that_leaves_or_is_not_ready_gives_nothing() {
        let range = |leaving: bool, status: &str| {
            let mut object = json!({
                "metadata": {}, "spec": { "cidrs": ["10.1.0.0/16"] },
                "status": { "conditions": [{ "type": "Ready", "status": status }] },
            });
            if leaving {
                object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            ranges(&object)[0].1
        };
        assert!(range(false, "True") && !range(true, "True") && !range(false, "False"));
    }
}
