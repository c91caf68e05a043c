//! What objects count as, for the ResourceQuota that admission spends and a controller counts again.
//!
//! Invariant: both sides ask the same functions, so what was admitted is what is counted later. Objects are JSON in their
//! newest stable version; a quantity that cannot be read counts as nothing, for validation has let none pass.
//! Why here: the API server and the controllers may not know each other, and neither may own the other's arithmetic.
//! Not counted, unlike upstream: the devices of a claim under the name of the extended resource that its class stands for.

mod amounts;
mod claim;
mod pod;
mod scope;
mod service;

use serde_json::Value;

use crate::time::Timestamp;

pub use amounts::Amounts;

/// How the objects of one kind are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Pod,
    Service,
    Claim,
    DeviceClaim,
    /// One each, under one more name that is older than the general one.
    Count(Option<&'static str>),
}

/// What a kind of object counts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// `count/PLURAL.GROUP`
    name: String,
    measure: Measure,
}

/// What is done to an object, as far as quotas care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act<'a> {
    Create,
    /// With the object as it was.
    Update(&'a Value),
}

/// Kinds that no quota counts: they are not stored, or never have been counted.
const IGNORED: &[(&str, &str)] = &[
    ("", "bindings"),
    ("", "componentstatuses"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
];

/// The kinds that are counted as more than one each or under a second name: group and plural.
pub const KNOWN: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "services"),
    ("", "persistentvolumeclaims"),
    ("", "configmaps"),
    ("", "replicationcontrollers"),
    ("", "resourcequotas"),
    ("", "secrets"),
    ("resource.k8s.io", "resourceclaims"),
];

impl Counter {
    /// How objects of the kind are counted; none if no quota does.
    pub fn of(group: &str, plural: &str) -> Option<Self> {
        if IGNORED.contains(&(group, plural)) {
            return None;
        }
        let measure = match (group, plural) {
            ("", "pods") => Measure::Pod,
            ("", "services") => Measure::Service,
            ("", "persistentvolumeclaims") => Measure::Claim,
            ("resource.k8s.io", "resourceclaims") => Measure::DeviceClaim,
            ("", "configmaps") => Measure::Count(Some("configmaps")),
            ("", "replicationcontrollers") => Measure::Count(Some("replicationcontrollers")),
            ("", "resourcequotas") => Measure::Count(Some("resourcequotas")),
            ("", "secrets") => Measure::Count(Some("secrets")),
            _ => Measure::Count(None),
        };
        let name = if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") };
        Some(Self { name, measure })
    }

    /// The group and plural of what `count/PLURAL.GROUP` counts.
    pub fn counted(resource: &str) -> Option<(&str, &str)> {
        let counted = resource.strip_prefix("count/")?;
        Some(counted.split_once('.').map_or(("", counted), |(plural, group)| (group, plural)))
    }

    /// Whether the objects count under this name of a resource.
    pub fn covers(&self, resource: &str) -> bool {
        resource == self.name
            || match self.measure {
                Measure::Pod => pod::covers(resource),
                Measure::Service => service::RESOURCES.contains(&resource),
                Measure::Claim => claim::covers(resource),
                Measure::DeviceClaim => claim::covers_devices(resource),
                Measure::Count(alias) => alias == Some(resource),
            }
    }

    /// What the object counts as.
    pub fn usage(&self, object: &Value, now: Timestamp) -> Amounts {
        let mut usage = match self.measure {
            Measure::Pod => pod::usage(object, now),
            Measure::Service => service::usage(object),
            Measure::Claim => claim::usage(object),
            Measure::DeviceClaim => claim::devices(object),
            Measure::Count(alias) => alias.into_iter().map(|alias| (alias.to_owned(), Amounts::one())).collect(),
        };
        usage.set(&self.name, Amounts::one());
        usage
    }

    /// Whether the object may count against the quota: all its scopes hold.
    pub fn is_in_scope(&self, quota: &Value, object: &Value) -> bool {
        scope::selectors(quota).iter().all(|selector| match self.measure {
            Measure::Pod => scope::holds_for_pod(selector, object),
            Measure::Claim => scope::holds_for_claim(selector, object),
            _ => false,
        })
    }

    /// Whether such a write can use more of anything.
    pub fn handles(&self, act: Act<'_>, subresource: &str, new: &Value) -> bool {
        match (self.measure, subresource, act) {
            (_, "", Act::Create) => true,
            (Measure::Pod, "", Act::Update(old)) => scope::is_terminating(old) != scope::is_terminating(new),
            (Measure::Pod, "resize", Act::Update(_))
            | (Measure::Service | Measure::Claim | Measure::DeviceClaim, "", Act::Update(_)) => true,
            (Measure::Claim, "status", Act::Update(old)) => claim::may_use_more(old, new),
            _ => false,
        }
    }

    /// What the object must say for the sake of the resources that a quota limits.
    ///
    /// # Errors
    /// Which of them it does not say.
    pub fn check(&self, limited: &[&str], object: &Value) -> Result<(), String> {
        if self.measure == Measure::Pod { pod::check(limited, object) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
