//! Extended resources that stand for devices (KEP-5004).
//!
//! Invariant: an init container that ends before the others start uses what they will have, and only what it needs beyond
//! that is asked for, once for all such containers. A request is named for the place of its container and resource, so
//! that the node finds it again (upstream `createRequestsAndMappings`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ContainerExtendedResourceRequest;
use k8s_openapi::api::resource::v1::{DeviceClaim, DeviceRequest, ExactDeviceRequest};

use super::Claim;
use crate::scheduler::pod::PodInfo;

/// The name of a claim that is not written yet (upstream `specialClaimInMemName`).
const UNWRITTEN: &str = "<extended-resources>";

/// All containers of a pod that asks for extended resources, init containers first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::scheduler) struct Extended {
    pub(in crate::scheduler) containers: Vec<Asking>,
}

/// What a container asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::scheduler) struct Asking {
    pub(in crate::scheduler) name: String,
    /// Whether it ends before the others start.
    pub(in crate::scheduler) short: bool,
    /// By resource: the amount, and the place among all requests of the container by name.
    pub(in crate::scheduler) amounts: BTreeMap<String, (i64, usize)>,
}

/// Devices for containers: the name of a request and how many.
#[derive(Clone, Debug)]
struct Part {
    name: String,
    count: i64,
}

type Mapping = ContainerExtendedResourceRequest;

impl Asking {
    /// What the container at `index` needs of a resource beyond `reusable`, and where it finds all of it.
    fn of(&self, index: usize, resource: &str, reusable: &[Option<Part>]) -> (Option<Part>, Vec<Mapping>) {
        let Some((amount, place)) = self.amounts.get(resource).filter(|(amount, _)| *amount > 0) else {
            return (None, Vec::new());
        };
        let mapping = |request: &str| Mapping {
            container_name: self.name.clone(),
            resource_name: resource.to_owned(),
            request_name: request.to_owned(),
        };
        let (mut found, mut mappings) = (0, Vec::new());
        for part in reusable.iter().flatten() {
            found += part.count;
            mappings.push(mapping(&part.name));
            if found >= *amount {
                return (None, mappings);
            }
        }
        let part = Part { name: format!("container-{index}-request-{place}"), count: amount - found };
        mappings.push(mapping(&part.name));
        (Some(part), mappings)
    }
}

impl Extended {
    /// The requests that stand for these resources (each with its class), and who uses which.
    pub(in crate::scheduler) fn requests(&self, resources: &BTreeMap<&str, &str>) -> (DeviceClaim, Vec<Mapping>) {
        let (mut requests, mut mappings) = (Vec::new(), Vec::new());
        for (resource, class) in resources {
            let (parts, used) = self.parts(resource);
            requests.extend(parts.into_iter().map(|part| DeviceRequest {
                name: part.name,
                exactly: Some(ExactDeviceRequest {
                    device_class_name: (*class).to_owned(),
                    allocation_mode: Some("ExactCount".into()),
                    count: Some(part.count),
                    ..ExactDeviceRequest::default()
                }),
                first_available: None,
            }));
            mappings.extend(used);
        }
        requests.sort_by(|one, other| one.name.cmp(&other.name));
        (DeviceClaim { requests: Some(requests), ..DeviceClaim::default() }, mappings)
    }

    fn parts(&self, resource: &str) -> (Vec<Part>, Vec<Mapping>) {
        let containers = &self.containers;
        let mut long: Vec<Option<Part>> = vec![None; containers.len()];
        let (mut mappings, mut of_short) = (Vec::new(), Vec::new());
        for (index, container) in containers.iter().enumerate().filter(|(_, one)| !one.short) {
            let (part, used) = container.of(index, resource, &[]);
            long[index] = part;
            mappings.extend(used);
        }
        let mut short: Vec<Part> = Vec::new();
        for (index, container) in containers.iter().enumerate().filter(|(_, one)| one.short) {
            let (part, used) = container.of(index, resource, &long[index..]);
            short.extend(part);
            of_short.extend(used);
        }
        // short ones come one after the other: the largest serves all
        let most = short.iter().rev().max_by_key(|part| part.count).cloned();
        if let Some(most) = &most {
            for mapping in of_short.iter_mut().filter(|one| short.iter().any(|part| part.name == one.request_name)) {
                mapping.request_name.clone_from(&most.name);
            }
        }
        mappings.extend(of_short);
        (most.into_iter().chain(long.into_iter().flatten()).collect(), mappings)
    }
}

impl Claim {
    /// The claim for a pod's extended resources as long as it is not written.
    pub(in crate::scheduler) fn unwritten(pod: &PodInfo) -> Self {
        Self {
            namespace: pod.key.namespace.clone(),
            name: UNWRITTEN.to_owned(),
            controller: Some(pod.uid.to_string()),
            extended: true,
            ..Self::default()
        }
    }

    /// The same with what it asks for.
    pub(in crate::scheduler) fn asking(&self, spec: DeviceClaim) -> Self {
        Self { spec: Arc::new(spec), ..self.clone() }
    }

    pub(in crate::scheduler) fn is_unwritten(&self) -> bool {
        self.name == UNWRITTEN
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    /// Containers as `name=amount`; those with a `!` end early.
    fn check(containers: &str, expected: Expect) {
        let asking = |text: &str| {
            let (name, amount) = text.split_once('=').expect("an amount");
            let amounts = BTreeMap::from([("gpu".to_owned(), (amount.parse().expect("a number"), 1))]);
            Asking { name: name.trim_end_matches('!').to_owned(), short: name.ends_with('!'), amounts }
        };
        let extended = Extended { containers: containers.split(' ').map(asking).collect() };
        let (claim, mappings) = extended.requests(&BTreeMap::from([("gpu", "fast")]));
        let request = |one: &DeviceRequest| {
            let exactly = one.exactly.as_ref().expect("an exact request");
            format!("{} {}*{}", one.name, exactly.device_class_name, exactly.count.unwrap_or(0))
        };
        let requests = claim.requests.iter().flatten().map(request);
        let mappings = mappings.iter().map(|one| format!("{}: {}", one.container_name, one.request_name));
        expected.assert_eq(&requests.chain(mappings).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn init_containers_use_what_others_will_have() {
        check(
            "setup!=3 check!=4 side=1 main=2",
            expect![[r#"
                container-1-request-1 fast*1
                container-2-request-1 fast*1
                container-3-request-1 fast*2
                side: container-2-request-1
                main: container-3-request-1
                setup: container-2-request-1
                setup: container-3-request-1
                check: container-2-request-1
                check: container-3-request-1
                check: container-1-request-1"#]],
        );
        check(
            "setup!=2 check!=1",
            expect![[r#"
                container-0-request-1 fast*2
                setup: container-0-request-1
                check: container-0-request-1"#]],
        );
    }
}
