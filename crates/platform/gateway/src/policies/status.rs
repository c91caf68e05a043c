//! What a TrafficPolicy is told of itself.

use serde_json::{Value, json};

use crate::attach::{Target, Verdict};
use crate::policy::compile::Fault;
use crate::policy::{Ancestor, AncestorRef, Condition, TrafficPolicy};

/// Ancestors of a status at most (GEP-713).
const ANCESTORS: usize = 16;

/// The patch of the status; none when it says all this already. What other controllers wrote stays.
pub(super) fn plan(
    policy: &TrafficPolicy,
    verdicts: &[(Target, Verdict)],
    faults: &[Fault],
    now: jiff::Timestamp,
) -> Option<Value> {
    let written = policy.status.as_ref().map(|status| status.ancestors.as_slice()).unwrap_or_default();
    let (ours, theirs): (Vec<&Ancestor>, Vec<&Ancestor>) =
        written.iter().partition(|ancestor| ancestor.controller_name == crate::gateways::CONTROLLER);
    let mut ancestors: Vec<Ancestor> = theirs.into_iter().cloned().collect();
    for (target, verdict) in verdicts {
        let ancestor_ref = reference(policy, target);
        let before = ours.iter().find(|ancestor| ancestor.ancestor_ref == ancestor_ref);
        let before =
            before.and_then(|ancestor| ancestor.conditions.iter().find(|condition| condition.type_ == "Accepted"));
        let status = if *verdict == Verdict::Accepted { "True" } else { "False" };
        let since = before.filter(|before| before.status == status).map(|before| before.last_transition_time.clone());
        let condition = Condition {
            type_: "Accepted".to_owned(),
            status: status.to_owned(),
            observed_generation: policy.metadata.generation,
            // to the second, as Kubernetes writes times
            last_transition_time: since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            reason: verdict.reason().to_owned(),
            message: message(verdict, faults),
        };
        let controller_name = crate::gateways::CONTROLLER.to_owned();
        ancestors.push(Ancestor { ancestor_ref, controller_name, conditions: vec![condition] });
    }
    ancestors.truncate(ANCESTORS);
    (ancestors != written).then(|| json!({ "status": { "ancestors": ancestors } }))
}

fn reference(policy: &TrafficPolicy, target: &Target) -> AncestorRef {
    AncestorRef {
        group: Some(target.group.clone()),
        kind: Some(target.kind.clone()),
        namespace: policy.metadata.namespace.clone(),
        name: target.name.clone(),
        section_name: target.section.clone(),
    }
}

fn message(verdict: &Verdict, faults: &[Fault]) -> String {
    match verdict {
        Verdict::Accepted => "the policy is in force".to_owned(),
        Verdict::Conflicted(other) => format!("the older TrafficPolicy {other} is in force there"),
        Verdict::TargetNotFound => "there is no such object, or it has no such section".to_owned(),
        Verdict::Invalid => {
            let all: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let mut text = all.join("; ");
            if text.len() > 4096 {
                let end = (0..=4096).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
                text.truncate(end);
            }
            text
        }
    }
}
