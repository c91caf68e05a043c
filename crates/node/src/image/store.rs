//! The store on disk: an index, layers, configurations; changed under a lock, read without.
//!
//! Invariant: the order of a change is layers, then index; of a removal, index, then layers.
//! Whoever adds images holds `adding` shared until the index names them, so that the garbage
//! collector, which holds it alone, never takes a layer that is about to be named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::layer::{self, Unpacked};
use super::reference::{Reference, is_digest};
use super::{Config, ConfigFile, Error, Image, archive};
use crate::shim::wire::write_whole;

/// The image store below `<data dir>/images`. Cloning shares it.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    dir: PathBuf,
    /// The index as last read, with what the file looked like then.
    cached: Mutex<Option<(Stamp, Arc<Index>)>>,
    /// Unpacking saturates a disk; two at once are enough.
    pub(super) unpacking: tokio::sync::Semaphore,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

/// What the store holds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Index {
    /// By image id.
    images: BTreeMap<String, Record>,
    /// Full reference, by tag or by digest, to image id.
    references: BTreeMap<String, String>,
    /// Bytes in each layer.
    layers: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    digest: String,
    diff_ids: Vec<String>,
    config: Config,
    /// Some registry gave it.
    #[serde(default)]
    pulled: bool,
}

impl Index {
    fn size_of(&self, diff_ids: &[String]) -> u64 {
        diff_ids.iter().filter_map(|diff_id| self.layers.get(diff_id)).sum()
    }
}

/// An image about to be added: everything but its layers, which are unpacked already.
pub(super) struct Addition {
    /// The configuration file, byte for byte.
    pub(super) config: Vec<u8>,
    /// `sha256:...` of the manifest, if it came with one.
    pub(super) digest: Option<String>,
    /// Full references.
    pub(super) references: Vec<String>,
    pub(super) pulled: bool,
}

/// Layers unpacked aside, which become part of the store together.
pub(super) struct Batch {
    inner: Arc<Inner>,
    _adding: File,
    aside: PathBuf,
    done: BTreeMap<String, u64>,
}

impl Store {
    /// Opens or makes the store. Cheap; several processes may have it open.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        for name in ["layers", "blobs/sha256", "aside"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(Error::io(format!("make {}", path.display())))?;
        }
        let inner = Inner { dir: dir.to_owned(), cached: Mutex::new(None), unpacking: tokio::sync::Semaphore::new(2) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The image a reference (or an image id) names, if it is on this node.
    pub fn resolve(&self, reference: &str) -> Result<Option<Image>, Error> {
        let index = self.inner.index()?;
        let id = match reference {
            id if is_digest(id) => Some(id.to_owned()),
            reference => index.references.get(&reference.parse::<Reference>()?.key()).cloned(),
        };
        Ok(id.and_then(|id| self.inner.image(&index, &id)))
    }

    /// Every image, also those without a reference.
    pub fn list(&self) -> Result<Vec<Image>, Error> {
        let index = self.inner.index()?;
        Ok(index.images.keys().filter_map(|id| self.inner.image(&index, id)).collect())
    }

    /// Loads every image of an OCI layout or docker archive (plain, gzip or zstd). Blocking.
    pub fn load_archive(&self, path: &Path) -> Result<Vec<Image>, Error> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(Error::io(format!("open {name}")))?;
        archive::load(&self.inner, &name, file)
    }

    /// As [`Store::load_archive`], from a stream. Blocking.
    pub fn load_reader(&self, name: &str, reader: impl Read) -> Result<Vec<Image>, Error> {
        archive::load_stream(&self.inner, name, reader)
    }

    /// Forgets a reference, or with an image id all its references. False when there was none.
    pub fn remove(&self, reference: &str) -> Result<bool, Error> {
        let key = if is_digest(reference) { reference.to_owned() } else { reference.parse::<Reference>()?.key() };
        self.inner.change(|index| {
            let before = index.references.len();
            index.references.retain(|name, id| *name != key && *id != key);
            before != index.references.len()
        })
    }

    /// Deletes images without references (except `in_use`, by id) and layers without images;
    /// returns the bytes freed. Nothing happens while images are being added.
    pub fn collect_garbage(&self, in_use: &BTreeSet<String>) -> Result<u64, Error> {
        let Some(_alone) = self.inner.lock("adding", FlockOperation::NonBlockingLockExclusive)? else { return Ok(0) };
        let (before, after) = self.inner.change(|index| {
            let before = index.clone();
            let named: BTreeSet<String> = index.references.values().cloned().collect();
            index.images.retain(|id, _| named.contains(id) || in_use.contains(id));
            let used: BTreeSet<String> = index.images.values().flat_map(|image| image.diff_ids.clone()).collect();
            index.layers.retain(|diff_id, _| used.contains(diff_id));
            (before, index.clone())
        })?;
        let layers: BTreeSet<String> = after.layers.keys().map(|diff_id| hex_of(diff_id)).collect();
        let blobs: BTreeSet<String> = after.images.keys().map(|id| hex_of(id)).collect();
        self.inner.keep_only("layers", &layers)?;
        self.inner.keep_only("blobs/sha256", &blobs)?;
        self.inner.keep_only("aside", &BTreeSet::new())?;
        let total = |index: &Index| index.layers.values().sum::<u64>();
        Ok(total(&before) - total(&after))
    }
}

fn hex_of(digest: &str) -> String {
    digest.strip_prefix("sha256:").unwrap_or(digest).to_owned()
}

impl Inner {
    pub(super) fn aside(&self) -> PathBuf {
        self.dir.join("aside").join(uuid::Uuid::new_v4().simple().to_string())
    }

    fn layer(&self, diff_id: &str) -> PathBuf {
        self.dir.join("layers").join(hex_of(diff_id))
    }

    pub(super) fn has_layer(&self, diff_id: &str) -> bool {
        self.layer(diff_id).is_dir()
    }

    /// `None` when a non-blocking lock is not to be had.
    fn lock(&self, name: &str, operation: FlockOperation) -> Result<Option<File>, Error> {
        let path = self.dir.join(name).with_extension("lock");
        let failed = || Error::io(format!("lock {}", path.display()));
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed())?;
        match rustix::fs::flock(&file, operation) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed()(error.into())),
        }
    }

    /// The index as it is now; read again only when the file is another one.
    fn index(&self) -> Result<Arc<Index>, Error> {
        let path = self.dir.join("index.json");
        let failed = |what: &str| Error::io(format!("{what} {}", path.display()));
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
            other => other.map_err(failed("open"))?,
        };
        let found = file.metadata().map_err(failed("read"))?;
        let stamp = Stamp { inode: found.ino(), seconds: found.mtime(), nanoseconds: found.mtime_nsec() };
        if let Some((known, index)) = &*self.cached.lock()
            && *known == stamp
        {
            return Ok(Arc::clone(index));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed("read"))?;
        let index: Index = serde_json::from_slice(&text).map_err(|error| failed("understand")(error.into()))?;
        let index = Arc::new(index);
        *self.cached.lock() = Some((stamp, Arc::clone(&index)));
        Ok(index)
    }

    /// Changes the index under its lock; the new one is on disk when this returns.
    fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T, Error> {
        let _lock = self.lock("index", FlockOperation::LockExclusive)?;
        let mut index = Index::clone(&*self.index()?);
        let result = change(&mut index);
        let path = self.dir.join("index.json");
        let write = || -> io::Result<()> {
            let aside = path.with_extension("json.new");
            let mut file = File::create(&aside)?;
            file.write_all(&serde_json::to_vec(&index)?)?;
            file.sync_all()?;
            fs::rename(&aside, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(Error::io(format!("write {}", path.display())))?;
        Ok(result)
    }

    fn image(&self, index: &Index, id: &str) -> Option<Image> {
        let record = index.images.get(id)?;
        let named = || index.references.iter().filter(|(_, named)| *named == id).map(|(name, _)| name.clone());
        Some(Image {
            id: id.to_owned(),
            digest: record.digest.clone(),
            repo_tags: named().filter(|name| !name.contains('@')).collect(),
            repo_digests: named().filter(|name| name.contains('@')).collect(),
            pulled: record.pulled,
            size: index.size_of(&record.diff_ids),
            config: record.config.clone(),
            layers: record.diff_ids.iter().map(|diff_id| self.layer(diff_id)).collect(),
        })
    }

    fn keep_only(&self, directory: &str, kept: &BTreeSet<String>) -> Result<(), Error> {
        let directory = self.dir.join(directory);
        let failed = || Error::io(format!("clean {}", directory.display()));
        for entry in fs::read_dir(&directory).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            if !kept.contains(&*entry.file_name().to_string_lossy()) {
                let path = entry.path();
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(failed())?;
            }
        }
        Ok(())
    }

    /// Starts adding images.
    pub(super) fn batch(self: &Arc<Self>) -> Result<Batch, Error> {
        let adding = self.lock("adding", FlockOperation::LockShared)?;
        let adding = adding.expect("invariant: a blocking lock is always had");
        let aside = self.aside();
        fs::create_dir_all(&aside).map_err(Error::io(format!("make {}", aside.display())))?;
        Ok(Batch { inner: Arc::clone(self), _adding: adding, aside, done: BTreeMap::new() })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.aside) {
            tracing::warn!(%error, directory = %self.aside.display(), "unfinished layers are left");
        }
    }
}

impl Batch {
    /// Where a layer may be put before it is unpacked.
    pub(super) fn aside(&self) -> &Path {
        &self.aside
    }

    pub(super) fn needs(&self, diff_id: &str) -> bool {
        !self.inner.has_layer(diff_id) && !self.done.contains_key(diff_id)
    }

    /// Unpacks a layer, which must be the one called `diff_id`. Blocking.
    pub(super) fn unpack(&mut self, image: &str, diff_id: &str, layer: impl Read) -> Result<(), Error> {
        let size = unpack_aside(&self.aside, image, diff_id, layer)?;
        self.note(diff_id, size);
        Ok(())
    }

    /// A layer was unpacked by [`unpack_aside`].
    pub(super) fn note(&mut self, diff_id: &str, size: u64) {
        self.done.insert(diff_id.to_owned(), size);
    }

    /// Makes the layers and the images part of the store, durably.
    pub(super) fn finish(self, additions: Vec<Addition>) -> Result<Vec<Image>, Error> {
        let inner = &self.inner;
        let io = || -> io::Result<()> {
            // contents before names: a crash must not leave a layer of empty files
            rustix::fs::syncfs(File::open(&self.aside)?)?;
            for diff_id in self.done.keys() {
                let (from, to) = (self.aside.join(hex_of(diff_id)), inner.layer(diff_id));
                match fs::rename(&from, &to) {
                    Err(_) if to.is_dir() => {} // another process was faster
                    other => other?,
                }
            }
            File::open(inner.dir.join("layers"))?.sync_all()
        };
        io().map_err(Error::io("store the layers"))?;
        let mut ids = Vec::new();
        let mut records = Vec::new();
        for addition in additions {
            let (id, record) = inner.record(&addition)?;
            ids.push(id.clone());
            records.push((id, record, addition.references));
        }
        inner.change(|index| {
            index.layers.extend(self.done.clone());
            for (id, record, references) in records {
                // a docker archive knows no digest: keep the one a pull brought
                let known = index.images.get(&id);
                let digest = known.map(|known| known.digest.clone()).filter(|_| record.digest.is_empty());
                let pulled = record.pulled || known.is_some_and(|known| known.pulled);
                let record = Record { digest: digest.unwrap_or_else(|| record.digest.clone()), pulled, ..record };
                index.images.insert(id.clone(), record);
                index.references.extend(references.into_iter().map(|reference| (reference, id.clone())));
            }
        })?;
        let index = inner.index()?;
        Ok(ids.iter().filter_map(|id| inner.image(&index, id)).collect())
    }
}

/// Unpacks a layer into `aside` and checks that it is the one called `diff_id`; its size.
pub(super) fn unpack_aside(aside: &Path, image: &str, diff_id: &str, layer: impl Read) -> Result<u64, Error> {
    let into = aside.join(hex_of(diff_id));
    fs::create_dir_all(&into).map_err(Error::io(format!("make {}", into.display())))?;
    let Unpacked { diff_id: found, size } =
        layer::unpack(layer, &into).map_err(Error::io(format!("unpack layer {diff_id} of image {image}")))?;
    if found != diff_id {
        return Err(Error::Damaged(image.to_owned(), format!("layer {diff_id} has digest {found}")));
    }
    Ok(size)
}

/// `sha256:...` of `data`.
pub(super) fn digest_of(data: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(data)))
}

impl Inner {
    fn record(&self, addition: &Addition) -> Result<(String, Record), Error> {
        let id = digest_of(&addition.config);
        let parsed: ConfigFile = serde_json::from_slice(&addition.config)
            .map_err(|error| Error::Damaged(id.clone(), format!("its configuration cannot be read: {error}")))?;
        let path = self.dir.join("blobs/sha256").join(hex_of(&id));
        write_whole(&path, &addition.config).map_err(Error::io(format!("write {}", path.display())))?;
        let digest = addition.digest.clone().unwrap_or_default();
        let config = parsed.config.map(Config::from).unwrap_or_default();
        Ok((id, Record { digest, diff_ids: parsed.rootfs.diff_ids, config, pulled: addition.pulled }))
    }
}
