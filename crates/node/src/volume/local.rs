//! Directories of this node that are volumes: made when a pod first needs one, removed when the volume is.
//!
//! Invariant: only names directly below the place are ours. A directory is removed under another name, so what is found
//! under its own name is whole; whoever is killed in between finds the other name and goes on.
//! The place itself is root's alone; the directories in it are open, as an emptyDir is, to whatever user a pod has.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Before the name of a directory that is being removed.
const GOING: &str = "..removed-";

/// The directory below which they are.
#[derive(Debug, Clone)]
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Whether the path can be one of our volumes.
    pub(crate) fn is_a_volume(&self, path: &Path) -> bool {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        path.parent() == Some(&self.0)
            && path.components().count() == self.0.components().count() + 1
            && name.is_some_and(|name| !name.starts_with('.'))
    }

    /// Makes the directory of a volume if it is not there. Blocking.
    pub(crate) fn make(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        if path.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        // opened up under another name: a directory of the right name is a directory that is ready
        let new = self.0.join(format!("..new-{}", path.file_name().unwrap_or_default().to_string_lossy()));
        match fs::create_dir(&new) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::set_permissions(&new, fs::Permissions::from_mode(0o777))?;
        fs::rename(&new, path)?;
        fs::File::open(&self.0)?.sync_all()
    }

    /// Removes the directory of a volume with everything in it. Blocking.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        self.check(path)?;
        let going = self.0.join(format!("{GOING}{}", path.file_name().unwrap_or_default().to_string_lossy()));
        remove_all(&going)?; // an earlier try
        match fs::rename(path, &going) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => done?,
        }
        fs::File::open(&self.0)?.sync_all()?;
        remove_all(&going)
    }

    fn check(&self, path: &Path) -> io::Result<()> {
        if self.is_a_volume(path) {
            return Ok(());
        }
        let why = format!("{} is not a local volume of this node", path.display());
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_made_once_kept_and_removed_whole() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path().join("local"));
        let path = dir.path().join("local/pvc-1");
        place.make(&path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
        place.make(&path).unwrap();
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "x");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir.path().join("local")), mode(&path)), (0o700, 0o777));
        place.remove(&path).unwrap();
        place.remove(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("local")).unwrap().count(), 0);
    }

    #[test]
    fn whoever_was_killed_between_two_steps_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path().join("local"));
        let path = dir.path().join("local/pvc-1");
        fs::create_dir_all(dir.path().join("local/..new-pvc-1")).unwrap();
        place.make(&path).unwrap();
        fs::create_dir_all(dir.path().join("local/..removed-pvc-1/deep")).unwrap();
        place.remove(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("local")).unwrap().count(), 0);
    }

    #[test]
    fn nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path().join("local"));
        fs::create_dir_all(dir.path().join("other")).unwrap();
        for path in ["other", "local/../other", "local", "local/a/b", "local/..", "local/..removed-x"] {
            assert!(place.remove(&dir.path().join(path)).is_err(), "{path}");
            assert!(place.make(&dir.path().join(path)).is_err(), "{path}");
        }
        assert!(dir.path().join("other").exists());
    }
}
