//! Authorization: may this user do that?
//!
//! Invariant: nothing is allowed that no authorizer allowed. There is no veto: no authorizer of ours needs one.
//! The chain is the one upstream starts with (`--authorization-mode=Node,RBAC`), behind the rule that `system:masters` may
//! do everything, so that a broken RBAC object can always be repaired.
//!
//! - [`rule`]: one policy rule, what it allows and what it covers.
//! - [`rbac`]: roles and bindings in compiled form, indexed by subject.
//! - [`follow`]: keeps that form equal to the store, and aggregated roles equal to their parts.
//! - [`node`]: what a kubelet may do, which depends on the pods bound to it.
//! - [`escalation`]: nobody grants what they do not hold.

pub(crate) mod escalation;
pub(crate) mod follow;
pub(crate) mod node;
pub(crate) mod rbac;
pub(crate) mod rule;

use std::sync::Arc;

use crate::{
    attributes::Attributes,
    identity::{MASTERS, User},
};
use rule::Rule;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Allow,
    /// Not allowed here, but another authorizer may; the text says why not.
    NoOpinion(String),
}

impl Decision {
    pub(crate) fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow)
    }
}

/// What somebody may do in a namespace, for `kubectl auth can-i --list`.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    pub(crate) rules: Vec<Arc<Rule>>,
    /// True when the list is known to miss something, with the reasons.
    pub(crate) incomplete: Vec<String>,
}

pub(crate) trait Authorizer: Send + Sync {
    fn authorize(&self, attributes: &Attributes) -> Decision;

    /// The rules that hold for `user` in `namespace` (and everywhere, when it is empty).
    fn rules_for(&self, user: &User, namespace: &str) -> Granted;
}

/// The authorizers in the order they are asked.
pub(crate) struct Chain {
    links: Vec<Arc<dyn Authorizer>>,
}

impl Chain {
    pub(crate) fn new(links: Vec<Arc<dyn Authorizer>>) -> Self {
        Self { links }
    }
}

impl Authorizer for Chain {
    fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.user.is_in(MASTERS) {
            return Decision::Allow;
        }
        let mut reasons = Vec::new();
        for link in &self.links {
            match link.authorize(attributes) {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                Decision::Allow => return Decision::Allow,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn rules_for(&self, user: &User, namespace: &str) -> Granted {
        let mut granted = Granted::default();
        if user.is_in(MASTERS) {
            granted.rules.extend(Rule::everything());
        }
        for link in &self.links {
            let more = link.rules_for(user, namespace);
            granted.rules.extend(more.rules);
            granted.incomplete.extend(more.incomplete);
        }
        granted
    }
}
