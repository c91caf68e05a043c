//! The shells around the plans: read shared caches, plan, act, write status once.
//!
//! Invariant: a wake-up carries a key and nothing else; what is done is decided from the caches and our own writes that
//! they do not show yet (`overlay`). Every write goes out under the identity of its controller.

pub(crate) mod account_token;
pub(crate) mod attach;
pub(crate) mod autoscaler;
pub(crate) mod bootstrap;
pub(crate) mod certificate;
pub(crate) mod clock;
pub(crate) mod cronjob;
pub(crate) mod daemonset;
pub(crate) mod deployment;
pub(crate) mod device_taint_eviction;
pub(crate) mod discovery;
pub(crate) mod disruption;
pub(crate) mod endpoints;
pub(crate) mod endpointslice;
pub(crate) mod endpointslice_mirroring;
pub(crate) mod garbage;
pub(crate) mod job;
pub(crate) mod legacy_token;
pub(crate) mod namespace;
pub(crate) mod node_lifecycle;
pub(crate) mod node_ttl;
pub(crate) mod overlay;
pub(crate) mod pod_gc;
pub(crate) mod pods;
pub(crate) mod policy_status;
pub(crate) mod quota;
pub(crate) mod replicaset;
pub(crate) mod replication;
pub(crate) mod resource_claim;
pub(crate) mod revision;
pub(crate) mod root_ca;
pub(crate) mod service;
pub(crate) mod service_account;
pub(crate) mod service_cidr;
pub(crate) mod statefulset;
pub(crate) mod ttl;
pub(crate) mod volume;
pub(crate) mod wake;
pub(crate) mod write;
