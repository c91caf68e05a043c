//! Reading the directory after a start: what was kept comes into the index, leftovers go.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Disk, Moment, Place, read_head, remove, room};
use crate::counters::count;
use crate::store::object::Key;
use crate::store::record::PRELUDE;

impl Disk {
    /// Reads the directory, until `stop` is set. What is not as it was written is removed, and what belongs to nothing.
    pub(crate) fn scan(&self, stop: &AtomicBool) {
        let objects = self.root.join("objects");
        let dirs = match fs::read_dir(&objects) {
            Ok(dirs) => dirs,
            Err(error) => return tracing::error!("cannot read {}: {error}", objects.display()),
        };
        for dir in dirs.flatten() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            if let Err(error) = self.scan_dir(&dir.path()) {
                tracing::warn!("cannot read {}: {error}", dir.path().display());
            }
        }
        self.known.send_replace(true);
    }

    fn scan_dir(&self, dir: &Path) -> io::Result<()> {
        let mut bodies: HashMap<(Key, u64), u64> = HashMap::new();
        let mut records = Vec::new();
        for file in fs::read_dir(dir)? {
            let file = file?;
            let name = file.file_name();
            match name.to_str().and_then(parse) {
                Some((key, None)) => records.push(key),
                Some((key, Some(generation))) if generation >> 32 != self.first_generation >> 32 => {
                    bodies.insert((key, generation), file.metadata()?.len());
                }
                Some(_) => {} // of this process: whoever writes it knows it
                None => tracing::debug!("{} is none of the cache's", file.path().display()),
            }
        }
        for key in records {
            self.scan_record(&key, &mut bodies);
        }
        for ((key, generation), _) in bodies {
            // A listing may miss what is renamed meanwhile.
            let _stripe = self.stripe(&key);
            if self.generation_of(&key) != Some(generation) {
                remove(&self.body_path(&key, generation));
            }
        }
        Ok(())
    }

    fn scan_record(&self, key: &Key, bodies: &mut HashMap<(Key, u64), u64>) {
        let stripe = self.stripe(key);
        let path = self.record_path(key);
        if let Some(entry) = self.tier.peek(key) {
            // Written since the start; an older body of it is a leftover, unless only the head is new.
            if let Some(generation) = entry.generation {
                bodies.remove(&(*key, generation));
            }
            return;
        }
        let whole =
            read_head(&path).ok().filter(|record| record.head.key == *key).filter(|record| match &record.place {
                Place::Here { .. } => true,
                Place::Beside { generation, length, .. } => bodies.get(&(*key, *generation)) == Some(length),
            });
        let Some(record) = whole else {
            if path.exists() {
                count(&self.counters.corrupt);
                remove(&path);
            }
            return;
        };
        if let Place::Beside { generation, .. } = record.place {
            bodies.remove(&(*key, generation));
        }
        let length = fs::metadata(&path).map_or(PRELUDE as u64, |known| known.len());
        let gone = self.index(&record, room(length, &record.place), Moment::START);
        drop(stripe);
        self.sweep(gone);
    }
}

/// The key of a file, and the generation when it is a body.
fn parse(name: &str) -> Option<(Key, Option<u64>)> {
    let key = |text: &str| {
        let mut key = Key::default();
        hex::decode_to_slice(text, &mut key).ok().map(|()| key)
    };
    if let Some(record) = name.strip_suffix(".o") {
        return Some((key(record)?, None));
    }
    let (of, generation) = name.strip_suffix(".b")?.split_once('-')?;
    Some((key(of)?, Some(u64::from_str_radix(generation, 16).ok()?)))
}
