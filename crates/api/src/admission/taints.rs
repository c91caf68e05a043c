//! DefaultTolerationSeconds and TaintNodesByCondition: a new node gets no pods before it says it is ready, and pods stay
//! five minutes on a node that stopped saying so.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Admit, Operation, push};
use crate::{core::Core, error::ApiError};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const SECONDS: u64 = 300;

pub(super) struct TaintNodesByCondition;

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    async fn mutate(&self, _core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        let node = admit.kind.group.is_empty() && admit.kind.plural == "nodes" && admit.subresource.is_empty();
        if !node || admit.operation != Operation::Create {
            return Ok(());
        }
        let Some(node) = admit.object.as_deref_mut() else { return Ok(()) };
        let taints = node["spec"]["taints"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !taints.iter().any(|taint| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule") {
            push(&mut node["spec"]["taints"], json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }
}

pub(super) struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    async fn mutate(&self, _core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        let write = matches!(admit.operation, Operation::Create | Operation::Update);
        if !super::is_pod(admit) || !write {
            return Ok(());
        }
        let Some(pod) = admit.object.as_deref_mut() else { return Ok(()) };
        for key in [NOT_READY, UNREACHABLE] {
            let held = pod["spec"]["tolerations"].as_array().map(Vec::as_slice).unwrap_or_default();
            if !held.iter().any(|toleration| tolerates(toleration, key)) {
                let toleration =
                    json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
                push(&mut pod["spec"]["tolerations"], toleration);
            }
        }
        Ok(())
    }
}

fn tolerates(toleration: &Value, taint: &str) -> bool {
    let is = |field: &str, wanted: &str| {
        let value = toleration[field].as_str().unwrap_or_default();
        value.is_empty() || value == wanted
    };
    is("key", taint) && is("effect", "NoExecute")
}
