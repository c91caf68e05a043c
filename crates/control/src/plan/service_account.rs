//! Every living namespace has a ServiceAccount called `default`.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

pub const NAME: &str = "default";

/// Whether namespaced content may still be created.
pub fn is_active(namespace: &Namespace) -> bool {
    let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
    namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
}

/// The account to create, if it is missing.
pub fn plan(namespace: Option<&Namespace>, exists: bool) -> Option<ServiceAccount> {
    let namespace = namespace.filter(|namespace| is_active(namespace))?;
    if exists {
        return None;
    }
    Some(ServiceAccount {
        metadata: ObjectMeta {
            name: Some(NAME.into()),
            namespace: Some(namespace.name_any()),
            ..ObjectMeta::default()
        },
        ..ServiceAccount::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world;

    #[test]
    fn only_a_living_namespace_gets_its_account_and_only_once() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("a".into());
        assert!(plan(Some(&namespace), false).is_some_and(|account| account.name_any() == NAME));
        assert!(plan(Some(&namespace), true).is_none());
        namespace.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world::NOW));
        assert!(plan(Some(&namespace), false).is_none());
        assert!(plan(None, false).is_none());
    }
}
