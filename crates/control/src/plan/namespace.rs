//! Emptying a namespace that is being deleted, and what its status says meanwhile.
//!
//! Invariant: pods go first and everything else only when no pod is left, so that nothing is taken from under a running
//! container; the `kubernetes` finalizer goes last, when nothing was found (upstream `namespaced_resources_deleter.go`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const FINALIZER: &str = "kubernetes";

/// What one pass over the namespace found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Groups whose resources could not be listed, with the reason.
    pub undiscovered: Vec<String>,
    /// Kinds whose objects could not be deleted, with the reason.
    pub failed: Vec<String>,
    /// How many objects of each `plural.group` are left.
    pub remaining: BTreeMap<String, usize>,
    /// How many of those wait for each finalizer.
    pub finalizers: BTreeMap<String, usize>,
}

/// What to do after a pass.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Not being deleted, or already let go.
    Nothing,
    /// Write this status if it changed, and come back.
    Wait(Option<NamespaceStatus>),
    /// Write this status if it changed, then remove our finalizer; the rest of them stays.
    Finalize(Option<NamespaceStatus>, Vec<String>),
}

/// Whether the namespace waits for us.
pub fn is_leaving(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    namespace.metadata.deletion_timestamp.is_some()
        && finalizers.is_some_and(|finalizers| finalizers.iter().any(|one| one == FINALIZER))
}

/// Decides what a pass means.
pub fn conclude(namespace: &Namespace, found: &Found, now: Timestamp) -> Next {
    if !is_leaving(namespace) {
        return Next::Nothing;
    }
    let old = namespace.status.clone().unwrap_or_default();
    let mut new = old.clone();
    new.phase = Some("Terminating".into());
    let mut conditions = old.conditions.clone().unwrap_or_default();
    for verdict in verdicts(found) {
        verdict.write(&mut conditions, now);
    }
    new.conditions = Some(conditions);
    let status = (new != old).then_some(new);
    let empty = found.undiscovered.is_empty() && found.failed.is_empty() && found.remaining.is_empty();
    if !empty {
        return Next::Wait(status);
    }
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    Next::Finalize(status, finalizers.into_iter().filter(|one| one != FINALIZER).collect())
}

struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn write(self, conditions: &mut Vec<NamespaceCondition>, now: Timestamp) {
        let status = if self.holds { "True" } else { "False" };
        let new = NamespaceCondition {
            type_: self.kind.into(),
            status: status.into(),
            reason: Some(self.reason.into()),
            message: Some(self.message),
            last_transition_time: Some(Time(now)),
        };
        match conditions.iter_mut().find(|one| one.type_ == self.kind) {
            Some(old) if old.status == new.status && old.message == new.message => {}
            Some(old) => *old = new,
            None => conditions.push(new),
        }
    }
}

fn verdicts(found: &Found) -> Vec<Verdict> {
    let verdict = |kind, holds, reasons: (&'static str, &'static str), bad: String, good: &str| Verdict {
        kind,
        holds,
        reason: if holds { reasons.0 } else { reasons.1 },
        message: if holds { bad } else { good.to_owned() },
    };
    let discovery = format!(
        "Discovery failed for some groups, {} failing: {}",
        found.undiscovered.len(),
        found.undiscovered.join(", ")
    );
    let failed =
        format!("Failed to delete all resource types, {} remaining: {}", found.failed.len(), found.failed.join(", "));
    let instances = |(name, count): (&String, &usize)| format!("{name} has {count} resource instances");
    let remaining = found.remaining.iter().map(instances).collect::<Vec<_>>().join(", ");
    let holders = |(name, count): (&String, &usize)| format!("{name} in {count} resource instances");
    let finalizers = found.finalizers.iter().map(holders).collect::<Vec<_>>().join(", ");
    vec![
        verdict(
            "NamespaceDeletionDiscoveryFailure",
            !found.undiscovered.is_empty(),
            ("DiscoveryFailed", "ResourcesDiscovered"),
            discovery,
            "All resources successfully discovered",
        ),
        verdict(
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            ("GroupVersionParsingFailed", "ParsedGroupVersions"),
            String::new(),
            "All legacy kube types successfully parsed",
        ),
        verdict(
            "NamespaceDeletionContentFailure",
            !found.failed.is_empty(),
            ("ContentDeletionFailed", "ContentDeleted"),
            failed,
            "All content successfully deleted, may be waiting on finalization",
        ),
        verdict(
            "NamespaceContentRemaining",
            !found.remaining.is_empty(),
            ("SomeResourcesRemain", "ContentRemoved"),
            format!("Some resources are remaining: {remaining}"),
            "All content successfully removed",
        ),
        verdict(
            "NamespaceFinalizersRemaining",
            !found.finalizers.is_empty(),
            ("SomeFinalizersRemain", "ContentHasNoFinalizers"),
            format!("Some content in the namespace has finalizers remaining: {finalizers}"),
            "All content-preserving finalizers finished",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use k8s_openapi::api::core::v1::NamespaceSpec;

    use super::*;
    use crate::world;

    fn leaving() -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata.deletion_timestamp = Some(Time(world::NOW));
        namespace.spec = Some(NamespaceSpec { finalizers: Some(vec!["kubernetes".into(), "mine".into()]) });
        namespace
    }

    fn check(found: &Found, expected: Expect) {
        let text = match conclude(&leaving(), found, world::NOW) {
            Next::Nothing => "nothing".to_owned(),
            Next::Wait(status) => format!("wait\n{}", describe(&status)),
            Next::Finalize(status, left) => format!("finalize, left {left:?}\n{}", describe(&status)),
        };
        expected.assert_eq(&text);
    }

    fn describe(status: &Option<NamespaceStatus>) -> String {
        let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        let lines = conditions.map(|one| {
            format!(
                "{}={} {}",
                one.type_.trim_start_matches("Namespace"),
                one.status,
                one.message.as_deref().unwrap_or("")
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn an_empty_namespace_is_let_go_and_foreign_finalizers_stay() {
        check(
            &Found::default(),
            expect![[r#"
                finalize, left ["mine"]
                DeletionDiscoveryFailure=False All resources successfully discovered
                DeletionGroupVersionParsingFailure=False All legacy kube types successfully parsed
                DeletionContentFailure=False All content successfully deleted, may be waiting on finalization
                ContentRemaining=False All content successfully removed
                FinalizersRemaining=False All content-preserving finalizers finished"#]],
        );
    }

    #[test]
    fn what_is_left_and_what_holds_it_is_told() {
        let found = Found {
            remaining: [("pods.".to_owned(), 2)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            ..Found::default()
        };
        check(
            &found,
            expect![[r#"
                wait
                DeletionDiscoveryFailure=False All resources successfully discovered
                DeletionGroupVersionParsingFailure=False All legacy kube types successfully parsed
                DeletionContentFailure=False All content successfully deleted, may be waiting on finalization
                ContentRemaining=True Some resources are remaining: pods. has 2 resource instances
                FinalizersRemaining=True Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"#]],
        );
    }

    #[test]
    fn the_same_finding_twice_writes_nothing() {
        let found = Found { failed: vec!["pods: 503".into()], ..Found::default() };
        let mut namespace = leaving();
        let Next::Wait(Some(status)) = conclude(&namespace, &found, world::NOW) else { panic!("must wait") };
        namespace.status = Some(status);
        assert_eq!(conclude(&namespace, &found, world::NOW), Next::Wait(None));
    }
}
