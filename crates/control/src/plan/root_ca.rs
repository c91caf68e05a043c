//! Every living namespace has a ConfigMap `kube-root-ca.crt` with the cluster's certificate authority.
//!
//! Invariant: the map holds exactly our bundle; a change by someone else is undone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::service_account::is_active;

pub const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
                    such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
                    distributions of Kubernetes clusters.";

/// One thing to do.
#[derive(Debug, PartialEq)]
pub enum Action {
    Create(Box<ConfigMap>),
    Update(Box<ConfigMap>),
}

/// Decides whether the map must be written.
pub fn plan(namespace: Option<&Namespace>, existing: Option<&ConfigMap>, bundle: &str) -> Option<Action> {
    let namespace = namespace.filter(|namespace| is_active(namespace))?;
    let data = BTreeMap::from([("ca.crt".to_owned(), bundle.to_owned())]);
    let described = BTreeMap::from([(DESCRIPTION.to_owned(), TEXT.to_owned())]);
    let Some(existing) = existing else {
        return Some(Action::Create(Box::new(ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.into()),
                namespace: Some(namespace.name_any()),
                annotations: Some(described),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        })));
    };
    if existing.data.as_ref() == Some(&data) && existing.annotations().contains_key(DESCRIPTION) {
        return None;
    }
    let mut updated = existing.clone();
    updated.data = Some(data);
    updated.metadata.annotations.get_or_insert_default().extend(described);
    Some(Action::Update(Box::new(updated)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_is_published_and_kept() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("a".into());
        let Some(Action::Create(mut map)) = plan(Some(&namespace), None, "PEM") else { panic!("must create") };
        assert_eq!(plan(Some(&namespace), Some(&map), "PEM"), None);
        map.data = None;
        let Some(Action::Update(healed)) = plan(Some(&namespace), Some(&map), "PEM") else { panic!("must update") };
        assert_eq!(plan(Some(&namespace), Some(&healed), "PEM"), None);
    }
}
