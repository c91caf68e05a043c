//! Empties a definition that is being deleted: its objects go as if somebody deleted them, then the definition goes.
//!
//! One task per definition, started when the deletion is seen and ended by the definition's end. It waits for objects that
//! finalizers hold by following them, however long that takes; the condition `Terminating` tells how far it is.

use std::{sync::Arc, time::Duration};

use kinds::{Catalog, Kind, strategy, structural::Definition};
use serde_json::Value;
use store::{CommitError, Range, WatchError};

use super::life;
use crate::{
    core::{self, Core},
    error::ApiError,
    identity::{MASTERS, User},
    options::DeleteOptions,
    select,
    verbs::{delete, write::Target},
};

/// After this the definition says that it waits; upstream gives up then and begins again.
const PATIENCE: Duration = Duration::from_secs(60);
/// Before a store that fails is asked again.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot write the definition")]
    Commit(#[from] CommitError),
    #[error("cannot follow the objects of the definition")]
    Watch(#[from] WatchError),
    #[error("cannot read the objects of the definition")]
    Range(#[from] store::RangeError),
}

/// Starts emptying a definition, unless that runs already or nothing waits for it.
pub(super) fn start(core: &Arc<Core>, definition: &Definition) {
    if !definition.metadata.finalizers.iter().any(|held| held == strategy::CLEANUP) {
        return;
    }
    let Some(children) = core.customs.children() else { return };
    let uid = definition.metadata.uid.clone();
    if !core.customs.ending.lock().insert(uid.clone()) {
        return;
    }
    let (core, definition) = (core.clone(), definition.clone());
    children.spawn(format!("end of {}", definition.metadata.name), async move {
        loop {
            match empty(&core, &definition).await {
                Ok(()) | Err(Error::Watch(WatchError::Closed) | Error::Commit(CommitError::Closed)) => break,
                Err(error) => {
                    let name = &definition.metadata.name;
                    tracing::warn!(error = &error as &dyn std::error::Error, name, "a definition cannot end yet");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        core.customs.ending.lock().remove(&uid);
    });
}

/// Status, reason and message of the condition `Terminating`.
type Told<'t> = (&'t str, &'t str, &'t str);

async fn tell(core: &Core, definition: &Definition, told: Told<'_>, finish: bool) -> Result<(), CommitError> {
    let (state, reason, message) = told;
    let uid = definition.metadata.uid.as_str();
    life::change(core, &definition.metadata.name, |object| {
        if object["metadata"]["uid"] != uid {
            return false;
        }
        if !object["status"].is_object() {
            object["status"] = Value::Object(serde_json::Map::new());
        }
        let Some(status) = object["status"].as_object_mut() else { return false };
        let now = base::time::rfc3339(base::time::now());
        let mut changed = strategy::set_condition(status, ("Terminating", state, reason, message), &now);
        if finish && let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
            let before = finalizers.len();
            finalizers.retain(|held| held != strategy::CLEANUP);
            changed |= finalizers.len() < before;
        }
        changed
    })
    .await
    .map(drop)
}

async fn empty(core: &Arc<Core>, definition: &Definition) -> Result<(), Error> {
    let going = ("True", "InstanceDeletionInProgress", "CustomResource deletion is in progress");
    tell(core, definition, going, false).await?;
    let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
    if Catalog::builtin().resources(group, plural).next().is_some() {
        let message = "instances overlap with built-in resources in storage";
        tell(core, definition, ("False", "OverlappingBuiltInResource", message), true).await?;
        return Ok(());
    }
    let catalog = core.catalog();
    let stored = |kind: &&Arc<Kind>| kind.custom.as_ref().is_some_and(|custom| custom.storage_version == kind.version);
    let row = catalog.resources(group, plural).find(stored).cloned();
    let Some(row) = row.filter(|_| definition.is("Established")) else {
        tell(core, definition, ("False", "NeverEstablished", "resource was never established"), true).await?;
        return Ok(());
    };
    instances(core, definition, &row).await?;
    tell(core, definition, ("False", "InstanceDeletionCompleted", "removed all instances"), true).await?;
    Ok(())
}

/// Deletes every object and waits until none is left.
async fn instances(core: &Arc<Core>, definition: &Definition, row: &Arc<Kind>) -> Result<(), Error> {
    let prefix = core::prefix(row, "");
    loop {
        let page = core.store.range(Range { prefix: &prefix, after: None, limit: 0, at: None })?;
        if page.records.is_empty() {
            return Ok(());
        }
        let mut refused: Vec<String> = Vec::new();
        for record in &page.records {
            if let Err(error) = remove(core, row, &record.key).await
                && !refused.contains(&error.message)
            {
                refused.push(error.message);
            }
        }
        if !refused.is_empty() {
            let message = format!("could not issue all deletes: {}", refused.join(", "));
            tell(core, definition, ("True", "InstanceDeletionFailed", &message), false).await?;
        }
        let mut watch = core.store.watch(&prefix, page.revision)?;
        let emptied = async {
            loop {
                let range = Range { prefix: &prefix, after: None, limit: 1, at: None };
                if core.store.range(range)?.records.is_empty() {
                    return Ok::<(), Error>(());
                }
                watch.next().await?;
            }
        };
        match tokio::time::timeout(PATIENCE, emptied).await {
            Ok(emptied) => return emptied,
            Err(_) => {
                let message = "could not confirm zero CustomResources remaining: timed out waiting for the condition";
                tell(core, definition, ("True", "InstanceDeletionCheck", message), false).await?;
            }
        }
    }
}

async fn remove(core: &Core, row: &Arc<Kind>, key: &str) -> Result<(), ApiError> {
    let user = User::component("system:apiserver", &[MASTERS]);
    let (namespace, name) = select::place(row, key);
    let target =
        Target { user: &user, kind: row, subresource: "", namespace, name, dry_run: false, manager: None, call: None };
    match delete::remove(core, target, &DeleteOptions::default()).await {
        Err(error) if !error.is("NotFound") => Err(error),
        _ => Ok(()),
    }
}
