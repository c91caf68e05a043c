//! The objects an API server cannot be without, brought into the store before the first request is served.
//!
//! Everything missing is written as one commit, so that an empty store costs one fsync and a crash leaves either nothing
//! or all of it. What exists is changed only where it must follow us: RBAC objects regain lost rules, the `kubernetes`
//! endpoints follow our address, the published client authority follows our key. Admission is not asked: it would want
//! namespaces and roles that are only being made.

use std::net::IpAddr;

use kinds::Kind;
use serde_json::{Value, json};
use store::{CommitError, Expect, Write};

use crate::{
    admission::service,
    aggregate::follow,
    allocate::Number,
    authn::usage,
    config::{Config, FrontProxy},
    core::{self, Core, text},
    encode,
    error::ApiError,
    names, policy,
};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];
const RBAC: &str = "rbac.authorization.k8s.io/v1";

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("bootstrap object {kind} {name} has no kind this server serves; check its apiVersion {version:?}")]
    UnknownKind { kind: String, name: String, version: String },
    #[error("bootstrap object {kind} {name} is not valid")]
    Invalid {
        kind: String,
        name: String,
        #[source]
        source: ApiError,
    },
    #[error("cannot read the stored services")]
    Services(#[from] store::RangeError),
    #[error("cannot write the bootstrap objects")]
    Commit(#[from] CommitError),
}

/// How an object that exists already is treated.
#[derive(Clone, Copy, Debug)]
enum Existing {
    /// It belongs to the user from now on.
    Keep,
    /// It regains rules, subjects and labels it lost.
    Reconcile,
    /// These fields are ours.
    Follow(&'static [&'static str]),
    /// This entry of its data is ours as long as it does not make sense.
    Mend(&'static str, fn(&str) -> bool),
}

/// Makes sure that everything is there.
pub(crate) async fn apply(core: &Core) -> Result<(), Error> {
    core.access.services.load()?; // services may get an address here, and must not get one that is taken
    let ours = objects(&core.config).into_iter();
    // Objects of the configuration are checked like a user's; ours are held to the same rules by a test.
    let extra = core.config.bootstrap.iter().map(|object| (object.clone(), existing_extra(object), true));
    let all = ours.map(|(object, existing)| (object, existing, false)).chain(extra);
    let (mut writes, mut taken): (Vec<Write>, Vec<Number>) = (Vec::new(), Vec::new());
    for (object, existing, check) in all {
        match write(core, object, existing, check, &mut taken) {
            Ok(write) => writes.extend(write),
            Err(error) => {
                core.access.services.settle(&taken, false);
                return Err(error);
            }
        }
    }
    let written: Vec<String> = writes.iter().map(|write| write.key().to_owned()).collect();
    writes.extend(
        core.access.services.repairs()?.into_iter().filter(|write| !written.iter().any(|key| key == write.key())),
    );
    if writes.is_empty() {
        return Ok(());
    }
    let count = writes.len();
    let committed = core.store.commit(writes).await;
    core.access.services.settle(&taken, committed.is_ok());
    committed?;
    tracing::debug!(count, "bootstrap objects written");
    Ok(())
}

/// Where a service of ours leads may have moved since the last start; everything else is the user's.
fn existing_extra(object: &Value) -> Existing {
    match text(object, "/kind") {
        "EndpointSlice" => Existing::Follow(&["endpoints", "ports"]),
        "Endpoints" => Existing::Follow(&["subsets"]),
        _ => Existing::Keep,
    }
}

fn write(
    core: &Core,
    object: Value,
    existing: Existing,
    check: bool,
    taken: &mut Vec<Number>,
) -> Result<Vec<Write>, Error> {
    let (kind_name, name) = (text(&object, "/kind").to_owned(), text(&object, "/metadata/name").to_owned());
    let version = text(&object, "/apiVersion").to_owned();
    let (group, number) = version.split_once('/').unwrap_or(("", &version));
    let catalog = core.catalog();
    let Some(kind) = catalog.by_kind(group, number, &kind_name) else {
        return Err(Error::UnknownKind { kind: kind_name, name, version });
    };
    let namespace = text(&object, "/metadata/namespace").to_owned();
    let key = core::key(kind, &namespace, &name);
    let existing = if version == RBAC { Existing::Reconcile } else { existing };
    let (object, expect) = match core.store.get(&key) {
        None => {
            let mut object = born(kind, object);
            let filled = if kind.group.is_empty() && kind.plural == "services" {
                service::complete(core, kind, &key, &mut object, taken)
            } else {
                Ok(())
            };
            let valid = filled.and_then(|()| {
                let faults = if check { kinds::validate_create(kind, &object) } else { Vec::new() };
                if faults.is_empty() { Ok(()) } else { Err(ApiError::invalid(kind, &name, &faults)) }
            });
            if let Err(source) = valid {
                return Err(Error::Invalid { kind: kind_name, name, source });
            }
            (object, Expect::Absent)
        }
        Some(record) => {
            let held = core.decode(kind, &record);
            let Some(merged) = merge(&held, &object, existing) else { return Ok(Vec::new()) };
            (merged, Expect::Revision(record.revision))
        }
    };
    let beside = match expect {
        Expect::Absent => core.access.services.beside(&key, None, Some(&object)),
        _ => Vec::new(),
    };
    let value = encode::stored(&core.to_storage(kind, &object));
    let mut writes = vec![Write::Put { key, value, expect }];
    writes.extend(beside);
    Ok(writes)
}

fn born(kind: &Kind, mut object: Value) -> Value {
    kinds::default(kind, &mut object);
    let status = object.get("status").cloned();
    kinds::strategy::prepare_create(kind, &mut object);
    if let Some(status) = status {
        object["status"] = status; // ours to set: there is no controller yet that would
    }
    follow::born(kind, &mut object);
    names::birth(&mut object);
    object
}

fn merge(held: &Value, wanted: &Value, existing: Existing) -> Option<Value> {
    match existing {
        Existing::Keep => None,
        Existing::Reconcile => policy::reconcile(held, wanted),
        Existing::Follow(fields) => {
            let mut merged = held.clone();
            for field in fields {
                merged[*field] = wanted[*field].clone();
            }
            (merged != *held).then_some(merged)
        }
        Existing::Mend(entry, makes_sense) => {
            let sensible = held["data"][entry].as_str().is_some_and(makes_sense);
            let mut merged = held.clone();
            merged["data"][entry] = wanted["data"][entry].clone();
            (!sensible).then_some(merged)
        }
    }
}

/// Everything but the configuration's own objects.
fn objects(config: &Config) -> Vec<(Value, Existing)> {
    let mut objects: Vec<(Value, Existing)> = Vec::new();
    objects.extend(NAMESPACES.iter().map(|name| (namespace(name), Existing::Keep)));
    objects.extend(policy::objects().into_iter().map(|object| (object, Existing::Reconcile)));
    objects.extend(priority_classes().map(|object| (object, Existing::Keep)));
    objects.push((client_authority(config), Existing::Follow(&["data"])));
    objects.push((token_tracking(), Existing::Mend("since", |since| since.parse::<jiff::civil::Date>().is_ok())));
    objects.push((crate::allocate::default_range(&config.service_cidr), Existing::Keep));
    if let Some(service) = kubernetes_service(config) {
        objects.push((service, Existing::Keep));
    }
    objects.push((kubernetes_endpoints(config), Existing::Follow(&["subsets"])));
    objects.push((kubernetes_slice(config), Existing::Follow(&["endpoints", "ports"])));
    objects
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

fn priority_classes() -> impl Iterator<Item = Value> {
    let rows = [
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
    ];
    rows.into_iter().map(|(name, value, description)| {
        json!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": description,
            "preemptionPolicy": "PreemptLowerPriority",
        })
    })
}

/// Where servers that extend us learn whose client certificates to believe.
fn client_authority(config: &Config) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": config.client_ca_pem,
            "requestheader-client-ca-file": config.front_proxy.ca_pem,
            "requestheader-allowed-names": json!([FrontProxy::NAME]).to_string(),
            "requestheader-username-headers": json!(["X-Remote-User"]).to_string(),
            "requestheader-uid-headers": json!(["X-Remote-Uid"]).to_string(),
            "requestheader-group-headers": json!(["X-Remote-Group"]).to_string(),
            "requestheader-extra-headers-prefix": json!(["X-Remote-Extra-"]).to_string(),
        },
    })
}

/// Since when it is noted which tokens in Secrets are used.
fn token_tracking() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": usage::TRACKING, "namespace": "kube-system"},
        "data": {"since": usage::day(base::time::now(), 0)},
    })
}

fn kubernetes_service(config: &Config) -> Option<Value> {
    let cidrs = crate::allocate::parse_cidrs(&config.service_cidr).ok()?;
    let first = cidrs.first()?;
    let address = first.address(0).to_string();
    Some(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": config.port}],
        },
        "status": {"loadBalancer": {}},
    }))
}

fn kubernetes_endpoints(config: &Config) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": config.advertise.to_string()}],
            "ports": [{"name": "https", "port": config.port, "protocol": "TCP"}],
        }],
    })
}

fn kubernetes_slice(config: &Config) -> Value {
    let family = match config.advertise {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": family,
        "endpoints": [{"addresses": [config.advertise.to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": config.port, "protocol": "TCP"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn every_bootstrap_object_is_valid_and_known() {
        let core = testing::core();
        for (object, _) in objects(&core.config) {
            let name = text(&object, "/metadata/name").to_owned();
            let kind = text(&object, "/kind").to_owned();
            let written = write(&core, object, Existing::Keep, true, &mut Vec::new());
            assert!(written.as_ref().is_ok_and(|writes| !writes.is_empty()), "{kind} {name}: {written:?}");
        }
    }

    #[tokio::test]
    async fn an_empty_store_is_filled_at_once_and_starting_again_changes_nothing() {
        let core = testing::core();
        let before = core.store.revision();
        apply(&core).await.unwrap();
        assert_eq!(core.store.revision(), before + 1, "one commit");
        apply(&core).await.unwrap();
        assert_eq!(core.store.revision(), before + 1);
        let service = testing::get(&core, "", "services", "default", "kubernetes");
        assert_eq!(service["spec"]["clusterIP"], "10.43.0.1");
        let namespace = testing::get(&core, "", "namespaces", "", "kube-node-lease");
        assert_eq!(namespace["status"]["phase"], "Active");
        assert!(namespace["metadata"]["uid"].is_string());
    }

    #[tokio::test]
    async fn services_of_the_configuration_get_what_admission_would_give_them() {
        let mut core = testing::core();
        let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec});
        let ports = json!([{"port": 53}]);
        core.config.bootstrap = vec![
            service("dns", json!({"clusterIP": "10.43.0.10", "ports": ports})),
            service("any", json!({"ports": ports})),
        ];
        apply(&core).await.unwrap();
        let dns = testing::get(&core, "", "services", "default", "dns");
        assert_eq!(dns["spec"]["clusterIPs"], json!(["10.43.0.10"]));
        assert_eq!((&dns["spec"]["ipFamilies"], &dns["spec"]["type"]), (&json!(["IPv4"]), &json!("ClusterIP")));
        assert!(testing::get(&core, "", "services", "default", "any")["spec"]["clusterIP"].is_string());
        assert_eq!(core.access.services.taken(), 3);
        core.config.bootstrap = vec![service("late", json!({"clusterIP": "10.43.0.10", "ports": ports}))];
        let refused = apply(&core).await.unwrap_err();
        assert!(base::error::chain(&refused).contains("provided IP is already allocated"), "{refused:?}");
    }

    #[tokio::test]
    async fn what_must_follow_us_follows_and_the_rest_stays() {
        let mut core = testing::core();
        apply(&core).await.unwrap();
        let kind = core.kind("", "namespaces").unwrap().clone();
        let mut namespace = testing::get(&core, "", "namespaces", "", "default");
        namespace["metadata"]["labels"]["mine"] = json!("yes");
        core.replace(&kind, namespace).await.unwrap();
        let maps = core.kind("", "configmaps").unwrap().clone();
        let since =
            |core: &Core| testing::get(core, "", "configmaps", "kube-system", usage::TRACKING)["data"]["since"].clone();
        let today = since(&core);
        for (said, expected) in [(json!("2020-02-02"), json!("2020-02-02")), (json!("lately"), today.clone())] {
            let mut map = testing::get(&core, "", "configmaps", "kube-system", usage::TRACKING);
            map["data"]["since"] = said;
            core.replace(&maps, map).await.unwrap();
            apply(&core).await.unwrap();
            assert_eq!(since(&core), expected);
        }
        core.config.advertise = "192.168.7.7".parse().unwrap();
        apply(&core).await.unwrap();
        let endpoints = testing::get(&core, "", "endpoints", "default", "kubernetes");
        assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "192.168.7.7");
        let slice = testing::get(&core, "discovery.k8s.io", "endpointslices", "default", "kubernetes");
        assert_eq!(slice["endpoints"][0]["addresses"][0], "192.168.7.7");
        assert_eq!(testing::get(&core, "", "namespaces", "", "default")["metadata"]["labels"]["mine"], "yes");
    }
}
