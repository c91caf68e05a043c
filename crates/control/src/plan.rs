//! What each controller decides next, as pure functions.
//!
//! Invariant: no async, no clock, no client, no randomness in here; `now` is an argument. If a decision needs another
//! fact, the fact belongs in what was observed.
//! Boundary: plans and actions are all that leaves; `run` is their only reader.
//! Why not decide inside the reconcile loop: the hard half could then only be tested with a cluster.

pub mod account_token;
pub mod attach;
pub mod autoscaler;
pub mod bootstrap;
pub mod certificate;
pub mod claim;
pub mod cronjob;
pub mod daemonset;
pub mod deployment;
pub mod device_taint_eviction;
pub mod device_taints;
pub mod disruption;
pub mod endpoints;
pub mod endpointslice;
pub mod endpointslice_mirroring;
pub mod garbage;
pub mod job;
pub mod labels;
pub mod legacy_token;
pub mod namespace;
pub mod node_lifecycle;
pub mod node_selector;
pub mod node_ttl;
pub mod pod;
pub mod pod_gc;
pub mod policy_status;
pub mod quota;
pub mod replicaset;
pub mod replication;
pub mod resource_claim;
pub mod revision;
pub mod root_ca;
pub mod service;
pub mod service_account;
pub mod service_cidr;
pub mod share;
pub mod statefulset;
pub mod taints;
pub(crate) mod template;
pub mod ttl;
pub mod volume;
