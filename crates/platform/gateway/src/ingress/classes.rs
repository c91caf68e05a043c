//! Which Ingresses are ours.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What an IngressClass of ours names as its controller.
pub const CONTROLLER: &str = "knarr.dev/gateway";
/// How an Ingress named its class before there were classes.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";

/// True when `ingress` asks for a class that is ours, or for none while ours is the default.
#[must_use]
pub fn is_ours(ingress: &Ingress, classes: &[Arc<IngressClass>], class: &str) -> bool {
    let ours = |candidate: &IngressClass| {
        candidate.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(CONTROLLER)
    };
    let named = |name: &str| classes.iter().find(|class| class.metadata.name.as_deref() == Some(name));
    if let Some(name) = annotation(&ingress.metadata, CLASS_ANNOTATION) {
        return named(name).map_or(name == class, |class| ours(class));
    }
    if let Some(name) = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref()) {
        return named(name).is_some_and(|class| ours(class));
    }
    classes.iter().any(|class| ours(class) && annotation(&class.metadata, DEFAULT_CLASS) == Some("true"))
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}
