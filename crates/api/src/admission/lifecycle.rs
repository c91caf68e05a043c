//! NamespaceLifecycle: nothing is written into a namespace that does not exist, nothing new into one that ends, and the
//! namespaces the cluster lives on cannot be deleted.

use async_trait::async_trait;

use super::{Admission, Admit, Operation};
use crate::{
    core::{Core, text},
    error::ApiError,
};

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        if admit.kind.group.is_empty() && admit.kind.plural == "namespaces" {
            if admit.operation == Operation::Delete && IMMORTAL.contains(&admit.name) {
                return Err(ApiError::denied(admit.kind, admit.name, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        // Whether a namespace exists must not be learned by asking what one may do in it.
        let review = admit.kind.plural == "localsubjectaccessreviews";
        let write = matches!(admit.operation, Operation::Create | Operation::Update);
        if admit.namespace.is_empty() || review || !write {
            return Ok(());
        }
        let kind = core.kind("", "namespaces").ok_or_else(ApiError::no_such_path)?;
        let namespace = core.kept(kind, "", admit.namespace);
        let namespace = namespace.ok_or_else(|| ApiError::not_found(kind, admit.namespace))?;
        if admit.operation == Operation::Create && text(&namespace, "/status/phase") == "Terminating" {
            let name = admit.namespace;
            let why = format!("unable to create new content in namespace {name} because it is being terminated");
            let cause = format!("namespace {name} is being terminated");
            let refusal = ApiError::denied(admit.kind, admit.name, &why);
            return Err(refusal.with_cause("NamespaceTerminating", cause, "metadata.namespace"));
        }
        Ok(())
    }
}
