//! One Knarr per data directory: a lock that dies with the process and names its holder.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// Held while this process uses the data directory.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock `path`.
pub(crate) fn take(path: &Path) -> anyhow::Result<Lock> {
    let mut file = open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let holder = read_pid(&mut file).map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        bail!(
            "{} is in use by {holder}; stop it with knarr down, or choose another --data-dir and --name",
            path.parent().unwrap_or(path).display()
        );
    }
    file.set_len(0)
        .and_then(|()| write!(file, "{}", std::process::id()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Lock { _file: file })
}

/// The process that holds the lock, if one does.
pub(crate) fn holder(path: &Path) -> Option<i32> {
    let mut file = File::open(path).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    read_pid(&mut file)
}

fn open(path: &Path) -> anyhow::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the data directory {}", dir.display()))?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_user_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("knarr.lock");
        let first = take(&path).expect("free");
        let why = take(&path).expect_err("in use").to_string();
        assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
        assert_eq!(holder(&path), i32::try_from(std::process::id()).ok());
        drop(first);
        assert_eq!(holder(&path), None);
        take(&path).expect("free again");
    }
}
