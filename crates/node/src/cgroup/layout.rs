//! Which cgroup hierarchies this machine has, from the mount table.
//!
//! Invariant: `/sys/fs/cgroup` decides. A cgroup2 file system there means v2; v1 hierarchies below
//! it mean v1, also when a cgroup2 is mounted beside them (hybrid): the controllers are in v1 then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Error;

const ROOT: &str = "/sys/fs/cgroup";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Controller name to mount point; co-mounted controllers share one.
    V1(BTreeMap<String, PathBuf>),
    V2(PathBuf),
}

impl Layout {
    pub(super) fn detect() -> Result<Self, Error> {
        let path = Path::new("/proc/self/mountinfo");
        let text = std::fs::read_to_string(path).map_err(|source| Error::File {
            what: "read",
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).ok_or(Error::NoCgroups)
    }

    /// Reads the text of `/proc/self/mountinfo`.
    fn parse(mountinfo: &str) -> Option<Self> {
        let mut v1 = BTreeMap::new();
        for line in mountinfo.lines() {
            let (mount, file_system) = line.split_once(" - ")?;
            let point = mount.split(' ').nth(4)?;
            let mut file_system = file_system.split(' ');
            let (kind, options) = (file_system.next()?, file_system.nth(1).unwrap_or_default());
            match kind {
                "cgroup2" if point == ROOT => return Some(Self::V2(PathBuf::from(point))),
                "cgroup" if Path::new(point).starts_with(ROOT) => {
                    let names = options.split(',').filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children"));
                    v1.extend(names.map(|name| (name.to_owned(), PathBuf::from(point))));
                }
                _ => {}
            }
        }
        (!v1.is_empty()).then_some(Self::V1(v1))
    }

    /// Every mount point, each once.
    pub(super) fn mounts(&self) -> BTreeSet<&Path> {
        match self {
            Self::V1(controllers) => controllers.values().map(PathBuf::as_path).collect(),
            Self::V2(mount) => BTreeSet::from([mount.as_path()]),
        }
    }

    /// The mount point of one controller.
    pub(super) fn mount_of(&self, controller: &str) -> Option<&Path> {
        match self {
            Self::V1(controllers) => controllers.get(controller).map(PathBuf::as_path),
            Self::V2(mount) => Some(mount),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_counts_as_v1() {
        let text = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                    31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                    32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let layout = Layout::parse(text).unwrap();
        assert_eq!(layout.mount_of("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(layout.mount_of("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(layout.mount_of("pids"), None);
        assert_eq!(layout.mounts().len(), 2);
    }

    #[test]
    fn cgroup2_at_the_root_counts_as_v2() {
        let text = "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Layout::parse(text), Some(Layout::V2(PathBuf::from("/sys/fs/cgroup"))));
    }

    #[test]
    fn a_machine_without_cgroups_has_no_layout() {
        assert_eq!(Layout::parse("24 1 8:1 / / rw - ext4 /dev/sda rw\n"), None);
    }
}
