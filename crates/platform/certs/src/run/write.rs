//! Writing: statuses as patches of what changed, events, and deletions that do not mind being late.

use std::fmt::Debug;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::Shared;
use crate::plan::Note;

/// What turns `old` into `new` by a merge patch (RFC 7386): what is gone is named.
pub(super) fn merge(old: &Value, new: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return new.clone() };
    let mut patch = Map::new();
    for (name, value) in new {
        match old.get(name) {
            Some(known) if known == value => {}
            Some(known) => drop(patch.insert(name.clone(), merge(known, value))),
            None => drop(patch.insert(name.clone(), value.clone())),
        }
    }
    for gone in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(gone.clone(), Value::Null);
    }
    Value::Object(patch)
}

impl Shared {
    /// Writes the status of `object`, unless somebody else wrote the object since it was read.
    pub(super) async fn write_status<K, S>(&self, api: &Api<K>, object: &K, old: &S, new: &S) -> anyhow::Result<()>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
        S: Serialize,
    {
        let patch = json!({
            "metadata": { "resourceVersion": object.resource_version() },
            "status": merge(&serde_json::to_value(old)?, &serde_json::to_value(new)?),
        });
        api.patch_status(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        Ok(())
    }

    /// Creates an object of kind `K` from its document. Where one of that name is there, the error says so.
    pub(super) async fn create<K>(&self, namespace: &str, document: &Value) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = ()>,
    {
        let object: DynamicObject = serde_json::from_value(document.clone()).map_err(kube::Error::SerdeError)?;
        let api = Api::<DynamicObject>::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<K>(&()));
        api.create(&PostParams::default(), &object).await.map(drop)
    }

    /// The same of a kind without namespaces.
    pub(super) async fn create_for_all<K>(&self, document: &Value) -> Result<(), kube::Error>
    where
        K: Resource<DynamicType = ()>,
    {
        let object: DynamicObject = serde_json::from_value(document.clone()).map_err(kube::Error::SerdeError)?;
        let api = Api::<DynamicObject>::all_with(self.client.clone(), &ApiResource::erase::<K>(&()));
        api.create(&PostParams::default(), &object).await.map(drop)
    }

    /// Tells about an object.
    pub(super) async fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, note: &Note) {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.clone(),
            note: Some(note.message.chars().take(1000).collect()),
            action: "Issuing".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::debug!("cannot record an event: {error}");
        }
    }
}

/// Deletes; what is gone is gone.
pub(super) async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    match api.delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_changed_and_what_is_gone() {
        let (old, new) =
            (json!({ "a": 1, "b": { "c": 1, "d": 2 }, "e": [1] }), json!({ "a": 1, "b": { "c": 3 }, "f": 1 }));
        assert_eq!(merge(&old, &new), json!({ "b": { "c": 3, "d": null }, "e": null, "f": 1 }));
        assert_eq!(merge(&new, &new), json!({}));
    }
}
