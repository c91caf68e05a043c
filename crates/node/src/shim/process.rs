//! Facts about processes that survive the reuse of process ids.

use serde::{Deserialize, Serialize};

/// A process, told apart from a later one with the same id by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub(crate) start: u64,
}

impl Identity {
    /// The process that has this id now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // the command name is in parentheses and may hold anything, parentheses too
        let after_name = stat.rsplit_once(')')?.1;
        let start = after_name.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, start })
    }

    /// A handle on this very process, if it still exists.
    pub(crate) fn open(self) -> Option<std::os::fd::OwnedFd> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        (Self::of(self.pid) == Some(self)).then_some(handle)
    }
}

/// How many threads this process has.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_not_another() {
        let own = Identity::of(std::process::id()).unwrap();
        assert!(own.open().is_some());
        assert!(Identity { start: own.start + 1, ..own }.open().is_none());
    }
}
