//! RBAC objects grant no more than their writer holds; see [`escalation`].

use async_trait::async_trait;

use super::{Admission, Admit, Operation};
use crate::{
    authz::escalation::{self, Refusal},
    core::Core,
    error::ApiError,
};

pub(super) struct RbacEscalation;

#[async_trait]
impl Admission for RbacEscalation {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        let write = matches!(admit.operation, Operation::Create | Operation::Update);
        let Some(object) = admit.object.as_deref().filter(|_| write) else { return Ok(()) };
        if admit.kind.group != "rbac.authorization.k8s.io" {
            return Ok(());
        }
        let access = &core.access;
        let policy = access.rbac.policy();
        let authorizer = access.authorizer.as_ref();
        match escalation::refusal(authorizer, &policy, admit.user, admit.namespace, object, admit.old) {
            None => Ok(()),
            Some(Refusal::Denied(why)) => Err(ApiError::denied(admit.kind, admit.name, &why)),
            Some(missing @ Refusal::NoSuchRole { .. }) => Err(ApiError::new(404, "NotFound", missing.to_string())),
        }
    }
}
