//! The cgroup tree of a cluster: quality-of-service levels, pods, containers; limits, use, kill.
//!
//! Invariant: everything lives under one root named for the cluster (`/knarr-NAME`), so removing
//! that tree removes the cluster's cgroups and nothing else.
//! Why not libcgroups: it creates parents without removing them, fails on statistics of
//! controllers that are off, and knows only one container at a time. This layer is file formats.

mod devices;
mod layout;
mod tree;
mod v1;
mod v2;

use serde::{Deserialize, Serialize};

pub use devices::DeviceRule;
pub use layout::Layout;
pub use tree::{Group, Tree};

/// Quality of service of a pod: which branch of the tree it lives in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Qos {
    Guaranteed,
    Burstable,
    #[default]
    BestEffort,
}

/// Limits of one cgroup; `None` leaves the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Relative weight, in the v1 scale (1024 = one CPU requested).
    pub cpu_shares: Option<u64>,
    /// CPU time per period, in microseconds; the period is 100 ms.
    pub cpu_quota: Option<u64>,
    /// Bytes.
    pub memory: Option<u64>,
    pub pids: Option<u64>,
}

impl Qos {
    /// The directory of this level in the tree.
    #[must_use]
    pub fn directory(self) -> &'static str {
        match self {
            Self::Guaranteed => "guaranteed",
            Self::Burstable => "burstable",
            Self::BestEffort => "besteffort",
        }
    }
}

/// What a cgroup uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// CPU time since the start, in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// All memory charged, page cache included.
    pub memory_bytes: u64,
    /// Memory minus the inactive page cache: what upstream reports and evicts by.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    pub pids: u64,
    pub swap_bytes: u64,
    /// The most memory it may have, if that is limited.
    pub memory_limit: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot {what} cgroup file {path}")]
    File { what: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("no cgroup file system below /sys/fs/cgroup; mount cgroup2 there")]
    NoCgroups,
    #[error("cgroup {0} still has processes after they were killed")]
    Busy(std::path::PathBuf),
}

/// One value for one interface file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The v1 hierarchy the file is in; v2 has only one.
    controller: &'static str,
    file: &'static str,
    value: String,
    /// The kernel may be built without this file.
    optional: bool,
}

/// The number after `key` in a file of `key number` lines.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// How many processes of a cgroup the kernel killed for lack of memory; reads the file named by
/// [`Tree::oom_file`]. The line is the same in v1 (`memory.oom_control`) and v2 (`memory.events`).
#[must_use]
pub fn oom_kills(file: &std::path::Path) -> u64 {
    std::fs::read_to_string(file).ok().and_then(|text| field(&text, "oom_kill")).unwrap_or(0)
}
