//! The log in a redb file. The only module that knows redb.
//!
//! Invariant: every change is one redb transaction, fsynced when it returns, so a crash leaves all of it or nothing.
//! A new file is made under another name and renamed when it is complete, so a file under the right name is always a
//! whole store. The cache is small because reads never come here after the load.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::{Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Copy, FORMAT, Log, LogError, Row};
use crate::open::OpenError;
use crate::record::Revision;
use crate::store::SnapshotError;

const ROWS: TableDefinition<'_, (u64, &str), &[u8]> = TableDefinition::new("rows");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
/// Covers the first page, where the engine keeps its layout and flags.
const HEAD: u64 = 4096;
const CACHE: usize = 8 << 20;
/// Rows per transaction of a snapshot, and the bytes after which one ends early.
const COPY_ROWS: usize = 4096;
const COPY_BYTES: usize = 8 << 20;

pub(crate) struct Disk {
    database: Database,
    floor: Revision,
    /// Held as long as the database is, and released after it.
    _lock: Option<Lock>,
}

/// A locked file.
pub(crate) struct Lock(pub(crate) File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Not left to the closing of the file: a process being started just now may still share it for a moment.
        if let Err(error) = self.0.unlock() {
            tracing::warn!(%error, "cannot unlock the data directory");
        }
    }
}

/// Any redb error, as far as we tell them apart.
pub(crate) fn failed(error: impl Into<redb::Error>) -> LogError {
    match error.into() {
        redb::Error::Corrupted(detail) => LogError::Corrupt(detail),
        redb::Error::Io(error) if is_damage(&error) => LogError::Corrupt(error.to_string()),
        error @ (redb::Error::TableDoesNotExist(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableIsMultimap(_)) => LogError::Corrupt(error.to_string()),
        error => LogError::Io(error.to_string()),
    }
}

fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

impl Disk {
    /// Opens the file, making it if there is none. `lock` is what keeps other processes away.
    pub(crate) fn open(path: &Path, lock: Lock) -> Result<Self, OpenError> {
        if !path.exists() {
            create(path, FORMAT, 1, None).map_err(|error| OpenError::log(path, error))?;
        }
        check_before_writing(path)?;
        let database = builder().open(path).map_err(|error| OpenError::database(path, error))?;
        let mut disk = Self::over(database).map_err(|error| OpenError::log(path, error))?;
        disk._lock = Some(lock);
        Ok(disk)
    }

    /// The log in a database whose format has been checked.
    fn over(database: Database) -> Result<Self, LogError> {
        let floor = meta(&database.begin_read().map_err(failed)?, "floor")?;
        Ok(Self { database, floor, _lock: None })
    }

    /// The log in any storage; made there if it is empty.
    #[cfg(test)]
    pub(crate) fn on_backend(backend: impl redb::StorageBackend) -> Result<Self, LogError> {
        let database = builder().create_with_backend(backend).map_err(failed)?;
        let empty = database.begin_read().map_err(failed)?.list_tables().map_err(failed)?.next().is_none();
        if empty {
            initialise(&database, FORMAT, 1)?;
        }
        Self::over(database)
    }
}

impl Log for Disk {
    fn floor(&self) -> Revision {
        self.floor
    }

    fn scan(&self, visit: &mut dyn FnMut(Row<'_>) -> Result<(), LogError>) -> Result<(), LogError> {
        scan(&self.database.begin_read().map_err(failed)?, visit)
    }

    fn append(&mut self, rows: &[Row<'_>]) -> Result<(), LogError> {
        let change = self.database.begin_write().map_err(failed)?;
        {
            let mut table = change.open_table(ROWS).map_err(failed)?;
            for row in rows {
                table.insert((row.revision, row.key), row.encode().as_slice()).map_err(failed)?;
            }
        }
        change.commit().map_err(failed)
    }

    fn trim(&mut self, floor: Revision, dead: &[(Revision, &str)]) -> Result<(), LogError> {
        let change = self.database.begin_write().map_err(failed)?;
        change.open_table(META).map_err(failed)?.insert("floor", floor).map_err(failed)?;
        {
            let mut table = change.open_table(ROWS).map_err(failed)?;
            for (revision, key) in dead {
                table.remove((*revision, *key)).map_err(failed)?;
            }
        }
        change.commit().map_err(failed)?;
        self.floor = floor;
        Ok(())
    }

    fn copy(&self, to: PathBuf) -> Result<Copy, SnapshotError> {
        let state = self
            .database
            .begin_read()
            .map_err(|error| SnapshotError::Io { path: to.clone(), detail: error.to_string() })?;
        let floor = self.floor;
        Ok(Box::new(move || {
            write_copy(&to, floor, &mut |visit| scan(&state, visit))?;
            drop(state); // pinned pages would make the file grow
            Ok(())
        }))
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

fn meta(state: &ReadTransaction, name: &str) -> Result<u64, LogError> {
    let table = state.open_table(META).map_err(failed)?;
    let value = table.get(name).map_err(failed)?.map(|value| value.value());
    value.ok_or_else(|| LogError::Corrupt(format!("the entry {name:?} of its header is missing")))
}

fn scan(state: &ReadTransaction, visit: &mut dyn FnMut(Row<'_>) -> Result<(), LogError>) -> Result<(), LogError> {
    let table = state.open_table(ROWS).map_err(failed)?;
    for entry in table.iter().map_err(failed)? {
        let (place, row) = entry.map_err(failed)?;
        let (revision, key) = place.value();
        visit(Row::decode(revision, key, row.value())?)?;
    }
    Ok(())
}

/// Refuses files that are not ours or newer than we are, before anything could write to them.
fn check_before_writing(path: &Path) -> Result<(), OpenError> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|error| OpenError::io(path, &error))?;
    file.take(MAGIC.len() as u64).read_to_end(&mut start).map_err(|error| OpenError::io(path, &error))?;
    if start != MAGIC {
        return Err(OpenError::corrupt(path, "it does not begin like a store"));
    }
    let format = match builder().open_read_only(path) {
        Ok(database) => database.begin_read().map_err(failed).and_then(|state| meta(&state, "format")),
        // Not closed cleanly: only a writer may repair it, and it does so without touching the newest commit.
        Err(redb::DatabaseError::RepairAborted) => {
            let untouched = Untouched::keep(path).map_err(|error| OpenError::io(path, &error))?;
            let database = builder().open(path).map_err(|error| OpenError::database(path, error))?;
            untouched.forget();
            database.begin_read().map_err(failed).and_then(|state| meta(&state, "format"))
        }
        Err(error) => return Err(OpenError::database(path, error)),
    };
    match format.map_err(|error| OpenError::log(path, error))? {
        FORMAT => Ok(()),
        found => Err(OpenError::Newer { path: path.to_owned(), found, known: FORMAT }),
    }
}

/// The head and the length of a file, put back on drop: a repair that fails has already noted its idea of the layout
/// there. However it ends, by an error or by a panic, a damaged file stays as it was found.
struct Untouched {
    path: PathBuf,
    head: Vec<u8>,
    length: u64,
}

impl Untouched {
    fn keep(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut head = Vec::new();
        file.take(HEAD).read_to_end(&mut head)?;
        Ok(Self { path: path.to_owned(), head, length })
    }

    fn put_back(&self) -> std::io::Result<()> {
        let mut file = File::options().write(true).open(&self.path)?;
        file.write_all(&self.head)?;
        file.set_len(self.length)?;
        file.sync_all()
    }

    /// What was repaired shall stay so.
    fn forget(mut self) {
        self.head.clear();
    }
}

impl Drop for Untouched {
    fn drop(&mut self) {
        if !self.head.is_empty()
            && let Err(error) = self.put_back()
        {
            tracing::error!("cannot put back the head of {}: {error}", self.path.display());
        }
    }
}

fn initialise(database: &Database, format: u64, floor: Revision) -> Result<(), LogError> {
    let change = database.begin_write().map_err(failed)?;
    {
        let mut table = change.open_table(META).map_err(failed)?;
        table.insert("format", format).map_err(failed)?;
        table.insert("floor", floor).map_err(failed)?;
        change.open_table(ROWS).map_err(failed)?;
    }
    change.commit().map_err(failed)
}

/// Shows rows to whoever copies them.
type Source<'a> = dyn FnMut(&mut dyn FnMut(Row<'_>) -> Result<(), LogError>) -> Result<(), LogError> + 'a;

/// Makes a complete store file: built beside its place, then renamed into it.
pub(crate) fn create(path: &Path, format: u64, floor: Revision, rows: Option<&mut Source<'_>>) -> Result<(), LogError> {
    let disk = |error: io::Error| LogError::Io(error.to_string());
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft);
    let database = builder().create_file(file.map_err(disk)?).map_err(failed)?;
    let filled = initialise(&database, format, floor).and_then(|()| match rows {
        Some(rows) => fill(&database, rows),
        None => Ok(()),
    });
    drop(database);
    if let Err(error) = filled {
        std::fs::remove_file(&draft).map_err(disk)?;
        return Err(error);
    }
    File::open(&draft).and_then(|file| file.sync_all()).map_err(disk)?;
    std::fs::rename(&draft, path).map_err(disk)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(disk)
}

/// Copies rows in transactions of bounded size.
fn fill(database: &Database, rows: &mut Source<'_>) -> Result<(), LogError> {
    type Copied = (Revision, String, Vec<u8>);
    let flush = |batch: &mut Vec<Copied>| {
        let change = database.begin_write().map_err(failed)?;
        {
            let mut table = change.open_table(ROWS).map_err(failed)?;
            for (revision, key, row) in batch.drain(..) {
                table.insert((revision, key.as_str()), row.as_slice()).map_err(failed)?;
            }
        }
        change.commit().map_err(failed)
    };
    let mut batch = Vec::new();
    let mut bytes = 0;
    rows(&mut |row| {
        let encoded = row.encode();
        bytes += encoded.len();
        batch.push((row.revision, row.key.to_owned(), encoded));
        if batch.len() < COPY_ROWS && bytes < COPY_BYTES {
            return Ok(());
        }
        bytes = 0;
        flush(&mut batch)
    })?;
    flush(&mut batch)
}

/// Writes the file of a snapshot.
pub(crate) fn write_copy(to: &Path, floor: Revision, rows: &mut Source<'_>) -> Result<(), SnapshotError> {
    if to.exists() {
        return Err(SnapshotError::Exists { path: to.to_owned() });
    }
    create(to, FORMAT, floor, Some(rows))
        .map_err(|error| SnapshotError::Io { path: to.to_owned(), detail: error.to_string() })
}
