//! Moves pods away from devices that are taken out of use (KEP-5055).
//!
//! Invariant: a pod leaves only for a device that a claim reserved for it was given. What counts is the newest generation of
//! a pool, as it is told now; a claim's tolerations are those it had when it got the device. A toleration that names no
//! effect covers all of them here too, as the API says; upstream's controller asks for `NoExecute` by name.
//! Taints by rules are not looked at: they are off by default in 1.36.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{DeviceTaint, DeviceToleration, ResourceClaim, ResourceSlice};

use super::{claim, device_taints, pod, resource_claim};

/// Driver, pool and device.
type Id = (String, String, String);

/// The taints of devices that pods have to leave.
#[derive(Debug, Default)]
pub struct Tainted(HashMap<Id, Vec<DeviceTaint>>);

impl Tainted {
    /// Reads them from all slices there are.
    pub fn of(slices: &[Arc<ResourceSlice>]) -> Self {
        let mut newest: HashMap<(&str, &str), i64> = HashMap::new();
        for spec in slices.iter().map(|slice| &slice.spec) {
            let known = newest.entry((&spec.driver, &spec.pool.name)).or_insert(spec.pool.generation);
            *known = (*known).max(spec.pool.generation);
        }
        let mut tainted = HashMap::new();
        for spec in slices.iter().map(|slice| &slice.spec) {
            if newest.get(&(spec.driver.as_str(), spec.pool.name.as_str())) != Some(&spec.pool.generation) {
                continue;
            }
            for device in spec.devices.iter().flatten() {
                let taints = device.taints.iter().flatten().filter(|taint| taint.effect == "NoExecute");
                let taints: Vec<DeviceTaint> = taints.cloned().collect();
                if !taints.is_empty() {
                    tainted.insert((spec.driver.clone(), spec.pool.name.clone(), device.name.clone()), taints);
                }
            }
        }
        Self(tainted)
    }

    /// When the pods that use the claim have to go, if they have to.
    fn leave(&self, claim: &ResourceClaim) -> Option<Timestamp> {
        let allocation = claim.status.as_ref()?.allocation.as_ref()?;
        let results = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
        let times = results.flat_map(|given| {
            let id = (given.driver.clone(), given.pool.clone(), given.device.clone());
            let taints = self.0.get(&id).into_iter().flatten();
            taints.filter_map(|taint| until(taint, given.tolerations.as_deref().unwrap_or_default()))
        });
        times.min()
    }
}

/// Until when the taint is tolerated; none if for ever.
fn until(taint: &DeviceTaint, tolerations: &[DeviceToleration]) -> Option<Timestamp> {
    let since = taint.time_added.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let mut patience: Option<i64> = None;
    for toleration in tolerations.iter().filter(|one| device_taints::covers(one, taint)) {
        let seconds = toleration.toleration_seconds?.max(0);
        patience = Some(patience.map_or(seconds, |known| known.min(seconds)));
    }
    Some(since.saturating_add(SignedDuration::from_secs(patience.unwrap_or(0))).unwrap_or(Timestamp::MAX))
}

/// What to do about a pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// It must go when this is over.
    Leaves(Duration),
    Goes,
}

/// Decides for a pod; `find` gives the claim of a name in its namespace.
pub fn fate(one: &Pod, find: impl Fn(&str) -> Option<Arc<ResourceClaim>>, tainted: &Tainted, now: Timestamp) -> Fate {
    if pod::node_name(one).is_empty() || pod::is_terminal(one) || one.metadata.deletion_timestamp.is_some() {
        return Fate::Stays;
    }
    let uid = one.metadata.uid.as_deref().unwrap_or("");
    let claims = resource_claim::of_spec(one).into_iter().filter_map(|(name, made)| {
        let found = find(&name)?;
        let own = !made || claim::controller(&*found).is_some_and(|owner| owner.uid == uid);
        let reserved = resource_claim::consumers(&found).any(|consumer| consumer.uid == uid);
        (own && reserved).then_some(found)
    });
    match claims.filter_map(|claim| tainted.leave(&claim)).min() {
        None => Fate::Stays,
        Some(at) if at <= now => Fate::Goes,
        Some(at) => Fate::Leaves(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::world;

    const SINCE: i64 = 30;

    fn slice(generation: i64, taints: &Value) -> Arc<ResourceSlice> {
        let spec = json!({ "driver": "d", "nodeName": "n1",
            "pool": { "name": "n1", "generation": generation, "resourceSliceCount": 1 },
            "devices": [{ "name": "one", "taints": taints }, { "name": "two" }] });
        let name = format!("s{generation}");
        Arc::new(serde_json::from_value(json!({ "metadata": { "name": name }, "spec": spec })).expect("a slice"))
    }

    /// What becomes of a pod that has device `one`, tainted half a minute ago.
    fn check(slices: &[Arc<ResourceSlice>], tolerations: &Value, change: impl FnOnce(&mut Value, &mut Value)) -> Fate {
        let mut pod = json!({ "metadata": { "name": "p", "namespace": "shop", "uid": "u" },
            "spec": { "nodeName": "n1", "containers": [], "resourceClaims": [{ "name": "gpu", "resourceClaimName": "c" }] } });
        let result =
            json!({ "request": "r", "driver": "d", "pool": "n1", "device": "one", "tolerations": tolerations });
        let mut claim = json!({ "metadata": { "name": "c", "namespace": "shop" }, "spec": {}, "status": {
            "allocation": { "devices": { "results": [result] } },
            "reservedFor": [{ "resource": "pods", "name": "p", "uid": "u" }] } });
        change(&mut pod, &mut claim);
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let claim: Arc<ResourceClaim> = Arc::new(serde_json::from_value(claim).expect("a claim"));
        let find = |name: &str| (name == "c").then(|| claim.clone());
        fate(&pod, find, &Tainted::of(slices), world::NOW)
    }

    fn taint(effect: &str) -> Value {
        let since = base::time::rfc3339(world::NOW - SignedDuration::from_secs(SINCE));
        json!([{ "key": "broken", "value": "yes", "effect": effect, "timeAdded": since }])
    }

    #[test]
    fn a_pod_leaves_a_device_whose_taint_it_does_not_tolerate() {
        let none = |_: &mut Value, _: &mut Value| {};
        assert_eq!(check(&[slice(1, &taint("NoExecute"))], &json!([]), none), Fate::Goes);
        assert_eq!(check(&[slice(1, &taint("NoSchedule"))], &json!([]), none), Fate::Stays);
        assert_eq!(check(&[slice(1, &json!([]))], &json!([]), none), Fate::Stays);
        let all = json!([{ "operator": "Exists" }]);
        assert_eq!(check(&[slice(1, &taint("NoExecute"))], &all, none), Fate::Stays);
        let other = json!([{ "key": "broken", "value": "no", "effect": "NoExecute" }]);
        assert_eq!(check(&[slice(1, &taint("NoExecute"))], &other, none), Fate::Goes);
    }

    #[test]
    fn the_shortest_patience_counts_from_when_the_taint_was_set() {
        let none = |_: &mut Value, _: &mut Value| {};
        let patient = |seconds: &[i64]| {
            let each = seconds.iter().map(|seconds| json!({ "operator": "Exists", "tolerationSeconds": seconds }));
            check(&[slice(1, &taint("NoExecute"))], &json!(each.collect::<Vec<_>>()), none)
        };
        assert_eq!(patient(&[90, 40]), Fate::Leaves(Duration::from_secs(10)));
        assert_eq!(patient(&[20]), Fate::Goes);
        assert_eq!(patient(&[-5]), Fate::Goes);
    }

    #[test]
    fn only_the_newest_generation_counts() {
        let none = |_: &mut Value, _: &mut Value| {};
        let slices = [slice(1, &taint("NoExecute")), slice(2, &json!([]))];
        assert_eq!(check(&slices, &json!([]), none), Fate::Stays);
        let slices = [slice(2, &taint("NoExecute")), slice(1, &json!([]))];
        assert_eq!(check(&slices, &json!([]), none), Fate::Goes);
    }

    #[test]
    fn who_does_not_use_the_device_stays() {
        let slices = [slice(1, &taint("NoExecute"))];
        let changed = |change: fn(&mut Value, &mut Value)| check(&slices, &json!([]), change);
        assert_eq!(changed(|pod, _| pod["spec"]["nodeName"] = json!("")), Fate::Stays);
        assert_eq!(changed(|pod, _| pod["status"] = json!({ "phase": "Succeeded" })), Fate::Stays);
        assert_eq!(changed(|_, claim| claim["status"]["reservedFor"] = json!([])), Fate::Stays);
        assert_eq!(
            changed(|_, claim| claim["status"]["allocation"]["devices"]["results"][0]["device"] = json!("two")),
            Fate::Stays
        );
        let made = |pod: &mut Value, _: &mut Value| {
            pod["spec"]["resourceClaims"] = json!([{ "name": "gpu", "resourceClaimTemplateName": "t" }]);
            pod["status"] = json!({ "resourceClaimStatuses": [{ "name": "gpu", "resourceClaimName": "c" }] });
        };
        assert_eq!(changed(made), Fate::Stays, "a claim that was made for somebody else");
    }
}
