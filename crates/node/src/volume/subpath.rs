//! A part of a volume as a mount: `subPath`, resolved so that no symlink leads out of the volume.
//!
//! Invariant: the path is opened beneath the volume by the kernel (`RESOLVE_BENEATH`) and the open
//! file is what gets mounted, so a container that swaps a symlink meanwhile gains nothing.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Binds `sub` of `volume` to `target` and returns it. A missing directory is made, as upstream.
pub(crate) fn bind(volume: &Path, sub: &str, target: &Path) -> Result<PathBuf, String> {
    let told = |error: io::Error| format!("failed to prepare subPath {sub:?} of volume: {error}");
    let opened = open_beneath(volume, sub).map_err(told)?;
    let status = rustix::fs::fstat(&opened).map_err(|error| told(error.into()))?;
    let is_dir = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
    if super::host::is_bound(target).map_err(told)? {
        return Ok(target.to_owned()); // an earlier agent's work for a container that still runs
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent).map_err(told)?;
    }
    if is_dir {
        fs::create_dir_all(target).map_err(told)?;
    } else {
        fs::OpenOptions::new().create(true).append(true).open(target).map_err(told)?;
    }
    let source = format!("/proc/self/fd/{}", opened.as_raw_fd());
    rustix::mount::mount_bind_recursive(source.as_str(), target).map_err(|error| told(error.into()))?;
    Ok(target.to_owned())
}

fn open_beneath(volume: &Path, sub: &str) -> io::Result<OwnedFd> {
    let wanted = Path::new(sub);
    if wanted.is_absolute() || wanted.components().any(|part| part == Component::ParentDir) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it must be relative and must not contain '..'"));
    }
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match open_at(&root, wanted) {
        Err(Errno::NOENT) => make_dirs(&root, wanted),
        other => Ok(other?),
    }
}

fn open_at(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

fn make_dirs(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut done = PathBuf::new();
    let mut here = open_at(root, Path::new("."))?;
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        done.push(name);
        here = match open_at(root, &done) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o750))?;
                open_at(root, &done)?
            }
            other => other?,
        };
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_out_of_the_volume_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("evil")).unwrap();
        std::os::unix::fs::symlink("../..", dir.path().join("up")).unwrap();
        for sub in ["evil", "evil/passwd", "up", "../x", "/etc", "a/../../b"] {
            assert!(open_beneath(dir.path(), sub).is_err(), "{sub}");
        }
    }

    #[test]
    fn links_inside_the_volume_are_followed_and_missing_directories_made() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        open_beneath(dir.path(), "link/deep/er").unwrap();
        assert!(dir.path().join("real/deep/er").is_dir());
    }
}
