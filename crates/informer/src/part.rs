//! Objects of which only a part is kept.
//!
//! Why: a typed object takes many times the memory of the few fields a reader needs, and reading the others from the wire
//! costs more than everything done with them. A [`Part`] is read straight from the bytes of an event, and is an object
//! like any other to informers and watches. It must never be written back: what it does not know would be lost.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

/// What is kept of an object of some kind.
pub trait Kept: DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {
    /// The kind it is a part of.
    type Kind: Resource<DynamicType = ()>;

    /// Read with [`identity`], unless more of it is needed.
    fn metadata(&self) -> &ObjectMeta;

    /// The same, to change.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
}

/// The part `T` of an object.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent, bound = "T: Kept")]
pub struct Part<T>(pub T);

impl<T: Kept> Resource for Part<T> {
    type DynamicType = ();
    type Scope = <T::Kind as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        T::Kind::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        T::Kind::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        T::Kind::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        T::Kind::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.metadata()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.metadata_mut()
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Identity {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    labels: Option<std::collections::BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

/// Reads metadata without annotations, finalizers and who owns which field.
///
/// # Errors
/// When the metadata is no metadata.
pub fn identity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let identity = Identity::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: identity.name,
        namespace: identity.namespace,
        uid: identity.uid,
        resource_version: identity.resource_version,
        generation: identity.generation,
        labels: identity.labels,
        owner_references: identity.owner_references,
        creation_timestamp: identity.creation_timestamp,
        deletion_timestamp: identity.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    #[derive(Clone, Debug, Deserialize)]
    struct Keys {
        #[serde(deserialize_with = "identity")]
        metadata: ObjectMeta,
        #[serde(default)]
        immutable: bool,
    }

    impl Kept for Keys {
        type Kind = ConfigMap;

        fn metadata(&self) -> &ObjectMeta {
            &self.metadata
        }

        fn metadata_mut(&mut self) -> &mut ObjectMeta {
            &mut self.metadata
        }
    }

    #[test]
    fn a_part_is_an_object_of_its_kind_without_what_is_not_kept() {
        let text = r#"{"apiVersion":"v1","kind":"ConfigMap","immutable":true,"data":{"a":"b"},
            "metadata":{"name":"m","namespace":"n","annotations":{"a":"b"},"managedFields":[{"fieldsV1":{"f:data":{}}}]}}"#;
        let part: Part<Keys> = serde_json::from_str(text).expect("a part");
        assert_eq!(Part::<Keys>::url_path(&(), Some("n")), "/api/v1/namespaces/n/configmaps");
        assert_eq!((part.meta().name.as_deref(), part.0.immutable), (Some("m"), true));
        assert!(part.meta().annotations.is_none() && part.meta().managed_fields.is_none());
    }
}
