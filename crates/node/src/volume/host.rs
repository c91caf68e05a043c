//! Directories of the host as volumes: hostPath with its type checks, and emptyDir.
//!
//! Invariant: a hostPath is never created unless its type says so, and never deleted.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Checks (and where asked for creates) the path of a hostPath volume.
pub(crate) fn host_path(path: &str, kind: &str) -> Result<(), String> {
    let refuse = |what: &str| Err(format!("hostPath type check failed: {path} is not {what}"));
    let found = fs::metadata(path).ok();
    let file_type = found.as_ref().map(fs::Metadata::file_type);
    match kind {
        "" => Ok(()),
        "DirectoryOrCreate" if found.is_none() => {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
            made.map_err(|error| format!("cannot create directory {path}: {error}"))
        }
        "DirectoryOrCreate" | "Directory" => match file_type {
            Some(found) if found.is_dir() => Ok(()),
            _ => refuse("a directory"),
        },
        "FileOrCreate" if found.is_none() => {
            let made = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(path);
            made.map(drop).map_err(|error| format!("cannot create file {path}: {error}"))
        }
        "FileOrCreate" | "File" => match file_type {
            Some(found) if found.is_file() => Ok(()),
            _ => refuse("a file"),
        },
        "Socket" if file_type.is_some_and(|found| found.is_socket()) => Ok(()),
        "Socket" => refuse("a socket file"),
        "CharDevice" if file_type.is_some_and(|found| found.is_char_device()) => Ok(()),
        "CharDevice" => refuse("a character device"),
        "BlockDevice" if file_type.is_some_and(|found| found.is_block_device()) => Ok(()),
        "BlockDevice" => refuse("a block device"),
        other => Err(format!("hostPath type {other:?} is not known")),
    }
}

/// Makes the directory of an emptyDir, with a tmpfs on it for `medium: Memory`.
pub(crate) fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource) -> Result<(), String> {
    let told = |what: &str, error: &dyn std::fmt::Display| format!("cannot {what} {}: {error}", dir.display());
    let new = !dir.exists();
    fs::create_dir_all(dir).map_err(|error| told("create", &error))?;
    match source.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" if is_mount_point(dir).map_err(|error| told("inspect", &error))? => return Ok(()),
        "Memory" => {
            let size = match &source.size_limit {
                None => None,
                Some(limit) => Some(limit.0.parse::<Quantity>().map_err(|_| format!("sizeLimit {:?}", limit.0))?),
            };
            let options = size
                .filter(|size| size.value() > 0)
                .map_or("mode=1777".to_owned(), |size| format!("mode=1777,size={}", size.value()));
            let options = std::ffi::CString::new(options).map_err(|error| told("mount tmpfs at", &error))?;
            mount("tmpfs", dir, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, Some(options.as_c_str()))
                .map_err(|error| told("mount tmpfs at", &error))?;
        }
        other => return Err(format!("emptyDir medium {other:?} is not supported by this node")),
    }
    if new {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).map_err(|error| told("open up", &error))?;
    }
    Ok(())
}

/// Makes `dir` a directory in memory: what is written there never reaches a disk.
pub(crate) fn keep_in_memory(dir: &Path) -> io::Result<()> {
    const TMPFS: u64 = 0x0102_1994;
    fs::create_dir_all(dir)?;
    let found = rustix::fs::statfs(dir)?;
    if u64::try_from(found.f_type).is_ok_and(|kind| kind == TMPFS) {
        return Ok(());
    }
    mount("tmpfs", dir, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID, Some(c"mode=0755")).map_err(Into::into)
}

/// Something is mounted exactly there.
pub(crate) fn is_mount_point(dir: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let here = fs::symlink_metadata(dir)?;
    match dir.parent() {
        Some(parent) => Ok(fs::symlink_metadata(parent)?.dev() != here.dev()),
        None => Ok(true),
    }
}

/// Something is mounted exactly there, even from the same file system (a bind mount).
pub(crate) fn is_bound(path: &Path) -> io::Result<bool> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().filter_map(|line| line.split(' ').nth(4)).any(|target| Path::new(&unescape(target)) == path))
}

/// Detaches every mount at or below `dir`, deepest first.
pub(crate) fn unmount_below(dir: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut targets: Vec<String> = targets.filter(|target| Path::new(target).starts_with(dir)).collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.len()));
    for target in targets {
        match unmount(&target, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Octal escapes of mountinfo (`\040` for a space).
fn unescape(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_path_must_be_what_it_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        assert!(host_path(&path("no"), "").is_ok());
        assert!(host_path(&path("no"), "Directory").unwrap_err().ends_with("is not a directory"));
        host_path(&path("made/deep"), "DirectoryOrCreate").unwrap();
        host_path(&path("made/deep"), "Directory").unwrap();
        host_path(&path("file"), "FileOrCreate").unwrap();
        assert!(host_path(&path("file"), "DirectoryOrCreate").is_err());
        assert!(host_path(&path("file"), "Socket").is_err());
        assert!(host_path("/dev/null", "CharDevice").is_ok());
    }

    #[test]
    fn a_directory_in_memory_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("volumes");
        keep_in_memory(&place).unwrap();
        keep_in_memory(&place).unwrap();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let here = |line: &&str| line.contains(&*place.to_string_lossy());
        assert!(table.lines().filter(here).count() <= 1);
        unmount_below(&place).unwrap();
    }

    #[test]
    fn mount_points_are_read_back_as_they_were_written() {
        assert_eq!(unescape("/a\\040b\\134c"), "/a b\\c");
        assert_eq!(unescape("/plain\\"), "/plain\\");
    }
}
