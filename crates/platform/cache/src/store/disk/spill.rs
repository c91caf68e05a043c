//! A body on its way to a file of its own.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Disk, FileBody, create, remove, rename};
use crate::store::record::BLOCK;

/// A body that is being written under another name. It vanishes unless it is kept.
pub(crate) struct Spill {
    path: PathBuf,
    file: Arc<File>,
    generation: u64,
    length: u64,
    sums: Vec<u32>,
    block: crc32fast::Hasher,
    kept: bool,
}

impl Spill {
    pub(super) fn new(disk: &Disk, generation: u64) -> io::Result<Self> {
        let path = disk.root.join("new").join(format!("{generation:016x}.b"));
        let file = Arc::new(create(&path)?);
        Ok(Self { path, file, generation, length: 0, sums: Vec::new(), block: crc32fast::Hasher::new(), kept: false })
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Appends.
    ///
    /// # Errors
    /// When the disk has no room or fails.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        (&*self.file).write_all(bytes)?;
        while !bytes.is_empty() {
            let left = usize::try_from(BLOCK - self.length % BLOCK).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at(left);
            self.block.update(part);
            self.length += part.len() as u64;
            if self.length.is_multiple_of(BLOCK) {
                self.sums.push(std::mem::take(&mut self.block).finalize());
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Gives the body its name.
    pub(super) fn keep(mut self, path: &Path) -> io::Result<FileBody> {
        if !self.length.is_multiple_of(BLOCK) {
            self.sums.push(std::mem::take(&mut self.block).finalize());
        }
        rename(&self.path, path)?;
        self.kept = true;
        let sums = std::mem::take(&mut self.sums).into();
        Ok(FileBody { file: Arc::clone(&self.file), generation: self.generation, length: self.length, sums })
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if !self.kept {
            remove(&self.path);
        }
    }
}

/// Room on disk for what is being written, given back when it is dropped.
pub(crate) struct Room {
    disk: &'static Disk,
    bytes: u64,
}

impl Room {
    pub(crate) fn none(disk: &'static Disk) -> Self {
        Self { disk, bytes: 0 }
    }

    /// Takes more; false when there is no more to take.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let before = self.disk.being_written.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= self.disk.most_being_written
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.disk.being_written.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
