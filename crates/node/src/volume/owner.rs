//! `fsGroup`: the volume's files belong to the pod's group.
//!
//! Invariant: as upstream's `SetVolumeOwnership`: group changed, group may read and write what the
//! owner may, directories are setgid so that new files follow. Symlinks are not followed.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

/// Gives everything below `dir` to `group`; with `on_root_mismatch` only if the top is not right already.
pub(crate) fn give(dir: &Path, group: u32, on_root_mismatch: bool) -> io::Result<()> {
    if on_root_mismatch {
        let top = fs::symlink_metadata(dir)?;
        if top.gid() == group && top.mode() & 0o2060 == 0o2060 {
            return Ok(());
        }
    }
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let found = fs::symlink_metadata(&path)?;
        lchown(&path, None, Some(group))?;
        if found.is_symlink() {
            continue;
        }
        let add = if found.is_dir() { 0o2770 } else { 0o660 };
        fs::set_permissions(&path, fs::Permissions::from_mode((found.mode() & 0o7777) | add))?;
        if found.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_gets_the_tree_but_not_what_links_point_to() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join("sub/file"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        give(dir.path(), 4321, false).unwrap();
        let file = fs::metadata(dir.path().join("sub/file")).unwrap();
        assert_eq!((file.gid(), file.mode() & 0o660), (4321, 0o660));
        assert_eq!(fs::metadata(dir.path().join("sub")).unwrap().mode() & 0o2000, 0o2000);
        assert_eq!(fs::metadata(outside.path()).unwrap().gid(), 0);
    }
}
