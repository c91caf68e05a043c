//! What is special about a kind: one row of function pointers for the few kinds that need them.
//!
//! Invariant: a kind without a row behaves by its schema alone; the pipeline never asks for a kind by name.

use base::name::{self, Verdict};
use serde_json::Value;

use crate::default::{self, Rule};
use crate::json::Members;
use crate::strategy;
use crate::validate::{Change, Check};

/// The hooks of a kind.
#[derive(Debug)]
pub(crate) struct Rules {
    pub group: &'static str,
    pub kind: &'static str,
    /// The rule for names.
    pub name: fn(&str) -> Verdict,
    /// Conditional defaults.
    pub default: Option<Rule>,
    /// Server-set members of a new object.
    pub create: Option<Rule>,
    /// What an update keeps of the old object.
    pub update: Option<fn(&mut Members, &Value)>,
    pub check: Option<Check>,
    pub change: Option<Change>,
}

static PLAIN: Rules = Rules::row("", "");

impl Rules {
    const fn row(group: &'static str, kind: &'static str) -> Self {
        let name = name::dns_subdomain;
        Self { group, kind, name, default: None, create: None, update: None, check: None, change: None }
    }
}

static TABLE: &[Rules] = &[
    Rules { default: Some(default::pod), create: Some(strategy::create_pod), ..Rules::row("", "Pod") },
    Rules {
        name: name::dns_label,
        default: Some(default::namespace),
        create: Some(strategy::create_namespace),
        update: Some(strategy::update_namespace),
        ..Rules::row("", "Namespace")
    },
    Rules {
        name: name::dns1035_label,
        default: Some(default::service_status),
        update: Some(strategy::keep_allocations),
        ..Rules::row("", "Service")
    },
    Rules { default: Some(default::secret), ..Rules::row("", "Secret") },
    Rules { default: Some(default::replication_controller), ..Rules::row("", "ReplicationController") },
    Rules { default: Some(default::job), create: Some(strategy::create_job), ..Rules::row("batch", "Job") },
    Rules {
        default: Some(default::custom_resource_definition),
        ..Rules::row("apiextensions.k8s.io", "CustomResourceDefinition")
    },
];

pub(crate) fn of(group: &str, kind: &str) -> &'static Rules {
    TABLE.iter().find(|rules| rules.kind == kind && rules.group == group).unwrap_or(&PLAIN)
}
