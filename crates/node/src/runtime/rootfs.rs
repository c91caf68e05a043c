//! A container's root file system: the image's layers under a layer of its own.
//!
//! Invariant: paths inside an image are never followed from the host's root; files are opened
//! with the image's root as the root of every symbolic link.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags};

/// Longest option string mount(2) takes, with room for the other options.
const OPTIONS: usize = 3500;

/// Mounts `layers` (lowest first) at `target`, writable in `own`.
pub(super) fn mount(layers: &[PathBuf], own: &Path, target: &Path) -> io::Result<()> {
    let (upper, work) = (own.join("upper"), own.join("work"));
    for dir in [&upper, &work, &target.to_owned()] {
        fs::create_dir_all(dir)?;
    }
    let highest_first: Vec<String> = layers.iter().rev().map(|layer| layer.display().to_string()).collect();
    if highest_first.is_empty() {
        return Err(io::Error::other("the image has no layers"));
    }
    let lower = highest_first.join(":");
    if lower.len() > OPTIONS {
        return mount_by_pieces(&highest_first, &upper, &work, target);
    }
    let options = format!("lowerdir={lower},upperdir={},workdir={}", upper.display(), work.display());
    // the layer does not survive a crash of the machine anyway: `volatile` spares its syncs
    let with = |options: String| -> io::Result<()> {
        let options = CString::new(options)?;
        Ok(rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), Some(options.as_c_str()))?)
    };
    match with(format!("{options},volatile")) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => with(options),
        other => other,
    }
}

/// For images with many layers; needs Linux 6.5.
fn mount_by_pieces(layers: &[String], upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in layers {
        rustix::mount::fsconfig_set_string(&context, "lowerdir+", layer.as_str()).map_err(|error| {
            io::Error::other(format!("{error}: the image has {} layers, too many for this kernel", layers.len()))
        })?;
    }
    rustix::mount::fsconfig_set_string(&context, "upperdir", upper)?;
    rustix::mount::fsconfig_set_string(&context, "workdir", work)?;
    rustix::mount::fsconfig_create(&context)?;
    let made = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    Ok(rustix::mount::move_mount(&made, "", rustix::fs::CWD, target, flags)?)
}

/// Unmounts everything at `target`; fine when nothing is mounted there.
pub(crate) fn unmount(target: &Path) -> io::Result<()> {
    loop {
        match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens `path` with `root` as the root directory.
fn open_within(root: &Path, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = flags | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?)
}

/// The text of a file in the image; empty when it is missing, odd or large.
pub(super) fn read_within(root: &Path, path: &str) -> String {
    const LARGEST: u64 = 4 * 1024 * 1024;
    let mut text = Vec::new();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = open_within(root, path, flags) else { return String::new() };
    let file = File::from(file);
    if !file.metadata().is_ok_and(|found| found.is_file()) || file.take(LARGEST).read_to_end(&mut text).is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Makes a directory (and its parents) in the image, for the working directory.
pub(super) fn make_dir_within(root: &Path, path: &str) -> io::Result<()> {
    let mut made = String::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let parent = open_within(root, if made.is_empty() { "." } else { &made }, OFlags::PATH | OFlags::DIRECTORY)?;
        match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        made = format!("{made}/{part}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_stacked_and_the_own_layer_takes_the_writes() {
        for many in [false, true] {
            let dir = tempfile::tempdir_in("/var/tmp").unwrap();
            let mut layers = Vec::new();
            for (index, text) in ["low", "high"].into_iter().enumerate() {
                let layer = dir.path().join(index.to_string());
                fs::create_dir_all(layer.join("etc")).unwrap();
                fs::write(layer.join("etc/passwd"), text).unwrap();
                layers.push(layer);
            }
            for extra in 0..if many { 80 } else { 0 } {
                let layer = dir.path().join(format!("{}{extra}", "long".repeat(15)));
                fs::create_dir_all(&layer).unwrap();
                layers.push(layer);
            }
            let root = dir.path().join("root");
            mount(&layers, &dir.path().join("own"), &root).unwrap();
            assert_eq!(read_within(&root, "/etc/passwd"), "high");
            std::os::unix::fs::symlink("/etc/passwd", root.join("link")).unwrap();
            assert_eq!(read_within(&root, "link"), "high");
            make_dir_within(&root, "/srv/deep/../deeper").unwrap();
            assert!(dir.path().join("own/upper/srv/deeper").is_dir());
            unmount(&root).unwrap();
            unmount(&root).unwrap();
            assert!(!root.join("etc").exists());
        }
    }
}
