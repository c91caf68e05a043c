//! Custom resources: rows that come and go while the server runs, and objects that are stored in other versions and by
//! older schemas than the one that is asked for.
//!
//! Invariant: everything else in this crate sees rows and records as always. [`life`] keeps the rows equal to the stored
//! definitions, [`reading`] makes a record of any version one that reads as if it had been written just now in the version
//! asked for. Reading order: `plan` decides what becomes of a definition, `life` does it, `cleanup` empties what ends.

pub(crate) mod cleanup;
pub(crate) mod life;
pub(crate) mod plan;
pub(crate) mod reading;
pub(crate) mod webhook;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, OnceLock},
};

use kinds::{Kind, structural::Custom};
use parking_lot::Mutex;
use tasks::Children;
use tokio_util::sync::CancellationToken;

/// Where definitions are stored.
pub(crate) const DEFINITIONS: &str = "/apiextensions.k8s.io/customresourcedefinitions/";

/// What lives as long as the rows of a definition do, and who runs the tasks of this module.
#[derive(Default)]
pub(crate) struct Customs {
    lives: Mutex<HashMap<String, Life>>,
    /// Definitions that are being emptied, by uid.
    ending: Mutex<HashSet<String>>,
    children: OnceLock<Children>,
    pub(crate) clients: webhook::Clients,
}

struct Life {
    /// Of the rows, one per version.
    ids: Vec<u64>,
    /// Cancelled when the rows are replaced by rows that read objects differently, or go.
    ended: CancellationToken,
}

impl Customs {
    /// Notes which rows a definition has now, and ends what was done by other ones.
    fn rows_changed(&self, definition: &str, rows: &[Arc<Kind>]) {
        let ids: Vec<u64> = rows.iter().filter_map(|kind| kind.custom.as_ref()).map(|custom| custom.id).collect();
        let mut lives = self.lives.lock();
        if lives.get(definition).is_some_and(|life| life.ids == ids) {
            return;
        }
        let next = Life { ids, ended: CancellationToken::new() };
        let old = if rows.is_empty() { lives.remove(definition) } else { lives.insert(definition.to_owned(), next) };
        if let Some(old) = old {
            old.ended.cancel();
        }
    }

    /// Who runs tasks for this server; none before it serves.
    pub(crate) fn children(&self) -> Option<&Children> {
        self.children.get()
    }

    /// Cancelled when the row is no longer how its objects are read.
    pub(crate) fn ended(&self, custom: &Custom) -> CancellationToken {
        let lives = self.lives.lock();
        match lives.get(&custom.definition).filter(|life| life.ids.contains(&custom.id)) {
            Some(life) => life.ended.clone(),
            None => {
                let ended = CancellationToken::new();
                ended.cancel();
                ended
            }
        }
    }
}
