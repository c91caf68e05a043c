//! The log in memory: for tests of any layer, and for clusters meant to be forgotten.
//!
//! Invariant: it keeps the same rows as the file would, so a store opened again over the same `Ram` finds the same
//! state. Told to, it fails at a later append or trim and is finished from then on, as a disk would be.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Copy, Log, LogError, Row, disk};
use crate::record::Revision;
use crate::store::SnapshotError;

#[derive(Clone)]
pub(crate) struct Ram(Arc<Mutex<Rows>>);

struct Rows {
    floor: Revision,
    rows: BTreeMap<(Revision, String), Vec<u8>>,
    /// How many more changes succeed.
    left: Option<u32>,
}

impl Ram {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Rows { floor: 1, rows: BTreeMap::new(), left: None })))
    }

    /// Lets `left` more changes succeed and then none, or ends such a limit.
    #[cfg(test)]
    pub(crate) fn fail_after(&self, left: Option<u32>) {
        self.0.lock().left = left;
    }
}

impl Rows {
    fn spend(&mut self) -> Result<(), LogError> {
        match &mut self.left {
            Some(0) => Err(LogError::Io("no space left on the device".into())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn scan(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<(), LogError>) -> Result<(), LogError> {
        self.rows.iter().try_for_each(|((revision, key), row)| visit(Row::decode(*revision, key, row)?))
    }
}

impl Log for Ram {
    fn floor(&self) -> Revision {
        self.0.lock().floor
    }

    fn scan(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<(), LogError>) -> Result<(), LogError> {
        self.0.lock().scan(visit)
    }

    fn append(&mut self, rows: &[Row<'_>]) -> Result<(), LogError> {
        let mut kept = self.0.lock();
        kept.spend()?;
        kept.rows.extend(rows.iter().map(|row| ((row.revision, row.key.to_owned()), row.encode())));
        Ok(())
    }

    fn trim(&mut self, floor: Revision, dead: &[(Revision, &str)]) -> Result<(), LogError> {
        let mut kept = self.0.lock();
        kept.spend()?;
        kept.floor = floor;
        for (revision, key) in dead {
            kept.rows.remove(&(*revision, (*key).to_owned()));
        }
        Ok(())
    }

    fn copy(&self, to: PathBuf) -> Result<Copy, SnapshotError> {
        let kept = self.0.lock();
        let pinned = Rows { floor: kept.floor, rows: kept.rows.clone(), left: None };
        Ok(Box::new(move || disk::write_copy(&to, pinned.floor, &mut |visit| pinned.scan(visit))))
    }
}
