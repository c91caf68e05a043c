//! Admission: the one place where a write may be changed or refused for reasons that are not about its shape.
//!
//! Order matters and is written once, in [`chain`]: every plugin's `mutate` runs in that order, then the object is
//! validated, then every plugin's `validate` runs. Whatever happened, [`Admission::settle`] is called once for each plugin
//! whose `mutate` ran, so that something taken in `mutate` (an address, a port) is either kept or given back.

use std::sync::Arc;

use async_trait::async_trait;
use kinds::Kind;
use serde_json::Value;

use crate::{core::Core, error::ApiError, identity::User};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// One write on its way to the store.
pub struct Admit<'a> {
    pub user: &'a User,
    pub operation: Operation,
    pub kind: &'a Kind,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty while a create still waits for its generated name.
    pub name: &'a str,
    /// The new object, in the version the client spoke; none for a delete.
    pub object: Option<&'a mut Value>,
    /// The stored object; none for a create.
    pub old: Option<&'a Value>,
    pub dry_run: bool,
}

#[async_trait]
pub trait Admission: Send + Sync {
    fn name(&self) -> &'static str;

    async fn mutate(&self, _core: &Core, _admit: &mut Admit<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    async fn validate(&self, _core: &Core, _admit: &Admit<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// The write is over. `committed` is false for dry runs, refusals and lost races (a retry admits anew).
    fn settle(&self, _core: &Core, _admit: &Admit<'_>, _committed: bool) {}
}

/// The plugins, in the order they act.
pub(crate) fn chain() -> Vec<Arc<dyn Admission>> {
    vec![]
}
