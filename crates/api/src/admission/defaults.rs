//! DefaultIngressClass and DefaultStorageClass: who does not choose gets the class that is marked as default.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Admit, Operation};
use crate::{
    core::{Core, text},
    error::ApiError,
};

/// The newest class with the annotation, then the first by name, as upstream breaks ties.
fn marked(core: &Core, group: &str, plural: &str, annotation: &str) -> Option<Arc<Value>> {
    let kind = core.kind(group, plural)?;
    let mut classes = core.list(kind, "");
    classes.retain(|class| class["metadata"]["annotations"][annotation] == "true");
    classes.sort_by(|a, b| {
        let born = |class: &Arc<Value>| text(class, "/metadata/creationTimestamp").to_owned();
        let name = |class: &Arc<Value>| text(class, "/metadata/name").to_owned();
        born(b).cmp(&born(a)).then_with(|| name(a).cmp(&name(b)))
    });
    classes.into_iter().next()
}

pub(super) struct DefaultIngressClass;

#[async_trait]
impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        let ingress = admit.kind.group == "networking.k8s.io" && admit.kind.plural == "ingresses";
        if !ingress || admit.operation != Operation::Create || !admit.subresource.is_empty() {
            return Ok(());
        }
        let Some(object) = admit.object.as_deref_mut() else { return Ok(()) };
        let chosen = object["spec"]["ingressClassName"].is_string()
            || object["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_string();
        if chosen {
            return Ok(());
        }
        let annotation = "ingressclass.kubernetes.io/is-default-class";
        if let Some(class) = marked(core, "networking.k8s.io", "ingressclasses", annotation) {
            object["spec"]["ingressClassName"] = json!(text(&class, "/metadata/name"));
        }
        Ok(())
    }
}

pub(super) struct DefaultStorageClass;

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        let claim = admit.kind.group.is_empty() && admit.kind.plural == "persistentvolumeclaims";
        if !claim || admit.operation != Operation::Create || !admit.subresource.is_empty() {
            return Ok(());
        }
        let Some(object) = admit.object.as_deref_mut() else { return Ok(()) };
        let chosen = object["spec"]["storageClassName"].is_string()
            || object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].is_string();
        if chosen {
            return Ok(());
        }
        let annotation = "storageclass.kubernetes.io/is-default-class";
        if let Some(class) = marked(core, "storage.k8s.io", "storageclasses", annotation) {
            object["spec"]["storageClassName"] = json!(text(&class, "/metadata/name"));
        }
        Ok(())
    }
}
