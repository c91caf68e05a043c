//! Projects a set of files into a directory so that readers see all old or all new content.
//!
//! Invariant: the layout upstream programs know: real files in a timestamped directory, `..data` a
//! symlink to it replaced by rename, and one symlink per top-level name through `..data`.
//! Unchanged content is not written again, so that watchers of the files stay quiet.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

/// A file to project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    /// The owner, where it is not root.
    pub owner: Option<u32>,
}

/// Relative path -> file.
pub(crate) type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `dir` show exactly `payload`; true if anything changed. `group` owns the files if given.
pub(crate) fn project(dir: &Path, payload: &Payload, group: Option<u32>, now: Timestamp) -> io::Result<bool> {
    for path in payload.keys() {
        check(path)?;
    }
    fs::create_dir_all(dir)?;
    let old = fs::read_link(dir.join(DATA)).ok();
    let link_names = tops(payload);
    if let Some(old) = &old
        && same(&dir.join(old), payload)?
    {
        link(dir, &link_names)?;
        return Ok(false);
    }
    let fresh = fresh_dir(dir, now)?;
    write(&dir.join(&fresh), payload, group)?;
    let temporary = dir.join(DATA_NEW);
    remove_if_there(fs::remove_file(&temporary))?;
    symlink(&fresh, &temporary)?;
    fs::rename(&temporary, dir.join(DATA))?;
    link(dir, &link_names)?;
    unlink_stale(dir, &link_names)?;
    if let Some(old) = old {
        remove_if_there(fs::remove_dir_all(dir.join(old)))?;
    }
    Ok(true)
}

/// Only relative paths below the directory, and no component that could be taken for ours.
fn check(path: &str) -> io::Result<()> {
    let bad = path.is_empty()
        || path.starts_with('/')
        || path.starts_with("..")
        || path.split('/').any(|part| part.is_empty() || part == "." || part == "..");
    if bad {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("path {path:?} must stay inside the volume")));
    }
    Ok(())
}

fn tops(payload: &Payload) -> BTreeSet<String> {
    payload.keys().filter_map(|path| path.split('/').next()).map(str::to_owned).collect()
}

fn same(dir: &Path, payload: &Payload) -> io::Result<bool> {
    let mut seen = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        let entries = match fs::read_dir(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(dir).map_err(io::Error::other)?.to_string_lossy().into_owned();
            let Some(file) = payload.get(&name) else { return Ok(false) };
            let mode = entry.metadata()?.permissions().mode() & 0o777;
            if mode != file.mode & 0o777 || fs::read(&path)? != file.data {
                return Ok(false);
            }
            seen += 1;
        }
    }
    Ok(seen == payload.len())
}

/// `..2026_01_02_03_04_05.000000006`, made 0755 so that containers of any user can enter.
fn fresh_dir(dir: &Path, now: Timestamp) -> io::Result<PathBuf> {
    for attempt in 0..100_i64 {
        let stamp = now.strftime("%Y_%m_%d_%H_%M_%S");
        let nanos = i64::from(now.subsec_nanosecond()) + attempt;
        let name = PathBuf::from(format!("..{stamp}.{nanos:09}"));
        match fs::create_dir(dir.join(&name)) {
            Ok(()) => {
                fs::set_permissions(dir.join(&name), fs::Permissions::from_mode(0o755))?;
                return Ok(name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no free name for a new version of the volume"))
}

fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    for (path, file) in payload {
        let target = dir.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let mode = if group.is_some() { file.mode | 0o440 } else { file.mode };
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        out.write_all(&file.data)?;
        if group.is_some() || file.owner.is_some() {
            chown(&target, file.owner, group)?;
        }
        fs::set_permissions(&target, fs::Permissions::from_mode(mode & 0o777))?;
    }
    Ok(())
}

fn link(dir: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    for name in names {
        let target = Path::new(DATA).join(name);
        let path = dir.join(name);
        if fs::read_link(&path).is_ok_and(|current| current == target) {
            continue;
        }
        remove_if_there(fs::remove_file(&path))?;
        symlink(&target, &path)?;
    }
    Ok(())
}

fn unlink_stale(dir: &Path, names: &BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) && entry.file_type()?.is_symlink() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn remove_if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |data: &str| File { data: data.as_bytes().to_vec(), mode: 0o644, owner: None };
        files.iter().map(|(path, data)| ((*path).to_owned(), file(data))).collect()
    }

    fn now() -> Timestamp {
        Timestamp::new(1_767_323_045, 6).unwrap()
    }

    #[test]
    fn files_appear_through_the_data_link() {
        let dir = tempfile::tempdir().unwrap();
        assert!(project(dir.path(), &payload(&[("a", "1"), ("sub/b", "2")]), None, now()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("sub/b")).unwrap(), "2");
        assert_eq!(fs::read_link(dir.path().join("a")).unwrap(), Path::new("..data/a"));
        let data = fs::read_link(dir.path().join("..data")).unwrap();
        assert_eq!(data, Path::new("..2026_01_02_03_04_05.000000006"));
    }

    #[test]
    fn the_same_content_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        assert!(project(dir.path(), &payload(&[("a", "1")]), None, now()).unwrap());
        let before = fs::read_link(dir.path().join("..data")).unwrap();
        assert!(!project(dir.path(), &payload(&[("a", "1")]), None, Timestamp::MAX).unwrap());
        assert_eq!(fs::read_link(dir.path().join("..data")).unwrap(), before);
    }

    #[test]
    fn a_change_replaces_everything_and_leaves_no_old_version() {
        let dir = tempfile::tempdir().unwrap();
        project(dir.path(), &payload(&[("a", "1"), ("gone", "x")]), None, now()).unwrap();
        assert!(project(dir.path(), &payload(&[("a", "2")]), None, now()).unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("a")).unwrap(), "2");
        assert!(!dir.path().join("gone").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "..data, its target and a");
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["/etc/passwd", "../x", "a/../../x", "..data", "a//b", ""] {
            assert!(project(dir.path(), &payload(&[(path, "x")]), None, now()).is_err(), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_was_there_before_the_volume_shows_exactly_the_last_payload(
            versions in proptest::collection::vec(
                proptest::collection::btree_map("[a-d](/[e-g])?", "[a-z]{0,3}", 0..5), 1..5),
        ) {
            let dir = tempfile::tempdir().unwrap();
            for version in versions {
                let tops: BTreeSet<&str> = version.keys().filter(|path| path.contains('/')).map(|path| &path[..1]).collect();
                let files: Vec<(&str, &str)> = version.iter().map(|(path, data)| (path.as_str(), data.as_str()))
                    .filter(|(path, _)| path.contains('/') || !tops.contains(path)).collect();
                project(dir.path(), &payload(&files), None, now()).unwrap();
                for (path, data) in &files {
                    prop_assert_eq!(&fs::read_to_string(dir.path().join(path)).unwrap(), data);
                }
                let shown = fs::read_dir(dir.path()).unwrap().filter(|entry| {
                    !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("..")
                }).count();
                prop_assert_eq!(shown, tops_of(&files));
            }
        }
    }

    fn tops_of(files: &[(&str, &str)]) -> usize {
        files.iter().map(|(path, _)| &path[..1]).collect::<BTreeSet<_>>().len()
    }
}
