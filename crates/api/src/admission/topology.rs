//! PodTopologyLabels: a pod that is created on a node carries the node's zone and region; one that is bound gets them with
//! its binding (`verbs::binding`).

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Admission, Admit, Operation, is_pod};
use crate::{
    core::{Core, text},
    error::ApiError,
    verbs::binding,
};

pub(super) struct PodTopologyLabels;

#[async_trait]
impl Admission for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        if admit.operation != Operation::Create || !is_pod(admit) {
            return Ok(());
        }
        let Some(pod) = admit.object.as_deref_mut() else { return Ok(()) };
        let node = text(pod, "/spec/nodeName").to_owned();
        if node.is_empty() {
            return Ok(());
        }
        for (label, value) in binding::topology(core, &node) {
            if !pod["metadata"]["labels"].is_object() {
                pod["metadata"]["labels"] = Value::Object(Map::new());
            }
            pod["metadata"]["labels"][label] = value;
        }
        Ok(())
    }
}
