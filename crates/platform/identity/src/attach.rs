//! Which policy counts where, and what its status says (GEP-713, GEP-2648). Pure.

use crate::settings::{AccessPolicy, Ancestor, AncestorRef, Condition, Status, Target};

/// What became of a policy at one of its targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts there.
    Accepted,
    /// Another, older one counts there: its name.
    Conflicted(String),
    /// There is no such object, or no such section, that this controller serves.
    TargetNotFound,
    /// It is wrong, as told. Requests there are answered with 503.
    Invalid(String),
}

/// The most entries that a status has for one controller.
const MOST_ANCESTORS: usize = 16;

/// The policy that counts for a section (a listener, a named rule) of an object of the policies' namespace: of those that
/// name the section the oldest, else of those that name the whole object. Requests are to be asked about by the policy of
/// their Gateway first and then by that of their route: one does not replace the other, for they have different owners.
#[must_use]
pub fn effective<'a>(
    policies: impl IntoIterator<Item = &'a AccessPolicy>,
    object: &Target,
    section: Option<&str>,
) -> Option<&'a AccessPolicy> {
    let names = |policy: &AccessPolicy, section: Option<&str>| {
        let is = |target: &Target| is_of(target, object) && target.section_name.as_deref() == section;
        policy.spec.target_refs.iter().any(is)
    };
    let fitting = policies.into_iter().filter_map(|policy| {
        let of_section = section.is_some() && names(policy, section);
        (of_section || names(policy, None)).then_some((!of_section, age(policy), policy))
    });
    fitting.min_by(|left, right| (&left.0, &left.1).cmp(&(&right.0, &right.1))).map(|(_, _, policy)| policy)
}

/// What became of a policy at one of its targets. `exists` tells whether the target does, `fault` what is wrong with the
/// policy; `policies` are all of its namespace.
#[must_use]
pub fn standing<'a>(
    policy: &AccessPolicy,
    target: &Target,
    policies: impl IntoIterator<Item = &'a AccessPolicy>,
    exists: bool,
    fault: Option<&str>,
) -> Standing {
    if !exists {
        return Standing::TargetNotFound;
    }
    if let Some(fault) = fault {
        return Standing::Invalid(fault.to_owned());
    }
    let same = policies.into_iter().filter(|other| other.spec.target_refs.contains(target));
    let oldest = same.min_by_key(|other| age(other)).filter(|oldest| age(oldest) < age(policy));
    match oldest.and_then(|oldest| oldest.metadata.name.clone()) {
        Some(name) => Standing::Conflicted(name),
        None => Standing::Accepted,
    }
}

/// The status of a policy. What other controllers wrote stays; the time of a condition changes with its status alone, so
/// that a status that says nothing new equals the old.
#[must_use]
pub fn status(policy: &AccessPolicy, controller: &str, standings: &[(Target, Standing)], now: &str) -> Status {
    let old = policy.status.clone().unwrap_or_default();
    let (ours, mut ancestors): (Vec<Ancestor>, Vec<Ancestor>) =
        old.ancestors.into_iter().partition(|ancestor| ancestor.controller_name == controller);
    for (target, standing) in standings.iter().take(MOST_ANCESTORS) {
        let ancestor_ref = AncestorRef {
            group: Some(target.group.clone()),
            kind: Some(target.kind.clone()),
            namespace: policy.metadata.namespace.clone(),
            name: target.name.clone(),
            section_name: target.section_name.clone(),
        };
        let known = ours.iter().find(|ancestor| ancestor.ancestor_ref == ancestor_ref);
        let before = known.and_then(|known| known.conditions.iter().find(|condition| condition.type_ == "Accepted"));
        let (status, reason, message) = told(standing);
        let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
        let accepted = Condition {
            type_: "Accepted".to_owned(),
            status: status.to_owned(),
            observed_generation: policy.metadata.generation,
            last_transition_time: since.unwrap_or_else(|| now.to_owned()),
            reason: reason.to_owned(),
            message,
        };
        ancestors.push(Ancestor { ancestor_ref, controller_name: controller.to_owned(), conditions: vec![accepted] });
    }
    Status { ancestors }
}

fn told(standing: &Standing) -> (&'static str, &'static str, String) {
    match standing {
        Standing::Accepted => ("True", "Accepted", "requests are asked about".to_owned()),
        Standing::Conflicted(other) => {
            ("False", "Conflicted", format!("the older policy {other} counts here: delete one of the two"))
        }
        Standing::TargetNotFound => ("False", "TargetNotFound", "there is no such object or section here".to_owned()),
        Standing::Invalid(why) => {
            ("False", "Invalid", format!("{why}; requests are answered with 503 until that is right"))
        }
    }
}

fn is_of(target: &Target, object: &Target) -> bool {
    (&target.group, &target.kind, &target.name) == (&object.group, &object.kind, &object.name)
}

/// The older comes first; of the same age the one whose name does.
fn age(policy: &AccessPolicy) -> (Option<String>, Option<&str>) {
    let metadata = &policy.metadata;
    let created = metadata.creation_timestamp.as_ref().map(|at| base::time::rfc3339(at.0));
    (created, metadata.name.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn policy(name: &str, created: &str, targets: &[(&str, Option<&str>)]) -> AccessPolicy {
        let target = |(name, section): &(&str, Option<&str>)| json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name, "sectionName": section});
        let targets: Vec<_> = targets.iter().map(target).collect();
        serde_json::from_value(json!({
            "apiVersion": "gateway.knarr.dev/v1alpha1", "kind": "AccessPolicy",
            "metadata": {"namespace": "shop", "name": name, "creationTimestamp": created, "generation": 3},
            "spec": {"targetRefs": targets, "basic": {"secret": "users"}}
        }))
        .expect("a policy")
    }

    fn route(name: &str, section: Option<&str>) -> Target {
        Target {
            group: "gateway.networking.k8s.io".to_owned(),
            kind: "HTTPRoute".to_owned(),
            name: name.to_owned(),
            section_name: section.map(str::to_owned),
        }
    }

    const EARLY: &str = "2026-01-01T00:00:00Z";
    const LATE: &str = "2026-01-02T00:00:00Z";

    #[test]
    fn the_section_counts_more_than_the_object_and_the_older_more_than_the_younger() {
        let policies = [
            policy("z-whole", EARLY, &[("web", None)]),
            policy("rule", LATE, &[("web", Some("admin"))]),
            policy("younger", LATE, &[("web", None), ("web", Some("admin"))]),
            policy("other", EARLY, &[("shop", None)]),
        ];
        let name = |object: &str, section: Option<&str>| {
            effective(&policies, &route(object, None), section).and_then(|policy| policy.metadata.name.clone())
        };
        assert_eq!(name("web", None).as_deref(), Some("z-whole"));
        assert_eq!(name("web", Some("public")).as_deref(), Some("z-whole"));
        assert_eq!(name("web", Some("admin")).as_deref(), Some("rule"), "of the same age by name");
        assert_eq!(name("none", None), None);
        let standing = |index: usize, target: Target| standing(&policies[index], &target, &policies, true, None);
        assert_eq!(standing(0, route("web", None)), Standing::Accepted);
        assert_eq!(standing(2, route("web", None)), Standing::Conflicted("z-whole".to_owned()));
        assert_eq!(standing(2, route("web", Some("admin"))), Standing::Conflicted("rule".to_owned()));
        assert_eq!(
            super::standing(&policies[0], &route("web", None), &policies, false, None),
            Standing::TargetNotFound
        );
    }

    #[test]
    fn a_status_keeps_what_others_wrote_and_the_time_of_what_stays() {
        let mut policy = policy("a", EARLY, &[("web", None)]);
        let other =
            json!({"ancestorRef": {"name": "web"}, "controllerName": "other.example/gateway", "conditions": []});
        policy.status = serde_json::from_value(json!({"ancestors": [other]})).expect("a status");
        let wrong = [(route("web", None), Standing::Invalid("spec.basic.secret: there is no Secret users".to_owned()))];
        let first = status(&policy, "knarr.dev/gateway", &wrong, "T1");
        assert_eq!((first.ancestors.len(), first.ancestors[0].controller_name.as_str()), (2, "other.example/gateway"));
        let accepted = &first.ancestors[1].conditions[0];
        assert_eq!(
            (accepted.status.as_str(), accepted.reason.as_str(), accepted.observed_generation),
            ("False", "Invalid", Some(3))
        );
        policy.status = Some(first.clone());
        assert_eq!(status(&policy, "knarr.dev/gateway", &wrong, "T2"), first, "nothing new");
        let right = status(&policy, "knarr.dev/gateway", &[(route("web", None), Standing::Accepted)], "T3");
        assert_eq!(right.ancestors[1].conditions[0].last_transition_time, "T3");
        assert_eq!(
            status(&policy, "knarr.dev/gateway", &[], "T4").ancestors.len(),
            1,
            "a target that is gone is not told of"
        );
    }

    proptest! {
        #[test]
        fn exactly_one_policy_counts_for_a_target(ages in prop::collection::vec(0u8..3, 1..8)) {
            let policies: Vec<AccessPolicy> = ages.iter().enumerate().map(|(index, age)| {
                policy(&format!("p{index}"), &format!("2026-01-0{}T00:00:00Z", age + 1), &[("web", None)])
            }).collect();
            let target = route("web", None);
            let accepted: Vec<&AccessPolicy> = policies.iter().filter(|policy| standing(policy, &target, &policies, true, None) == Standing::Accepted).collect();
            prop_assert_eq!(accepted.len(), 1);
            prop_assert_eq!(effective(&policies, &target, None), Some(accepted[0]));
        }
    }
}
