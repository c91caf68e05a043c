//! Linux capabilities as a bit set: names, the default set, and what a pod asks for.
//!
//! Invariant: a set never holds what this machine's bounding set does not; asking a process for
//! more than its host may give would make every such container fail.

use std::fmt;

/// Names by number, without the `CAP_` prefix.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What containers get unless they say otherwise, as with other runtimes.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Set(pub(crate) u64);

#[derive(Debug, thiserror::Error)]
#[error("unknown capability {0:?}")]
pub(crate) struct Unknown(String);

impl Set {
    pub(crate) const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// `CAP_NET_ADMIN`, `NET_ADMIN`, in any case.
    pub(crate) fn named(name: &str) -> Result<Self, Unknown> {
        let upper = name.to_ascii_uppercase();
        let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let number = NAMES.iter().position(|known| *known == short).ok_or_else(|| Unknown(name.to_owned()))?;
        Ok(Self(1 << number))
    }

    fn from_names(names: &[&str]) -> Self {
        names.iter().fold(Self(0), |set, name| set.with(Self::named(name).unwrap_or_default()))
    }

    pub(crate) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) fn has(self, name: &str) -> bool {
        Self::named(name).is_ok_and(|one| self.0 & one.0 != 0)
    }

    /// What `add` and `drop` make of the default set: additions win, except that `drop: ALL`
    /// starts from nothing.
    pub(crate) fn requested(add: &[String], drop: &[String]) -> Result<Self, Unknown> {
        let is_all = |name: &String| name.eq_ignore_ascii_case("ALL");
        let mut set = Self::from_names(&DEFAULT);
        if add.iter().any(is_all) {
            set = Self::ALL;
        }
        if drop.iter().any(is_all) {
            set = Self::default();
        }
        for name in drop.iter().filter(|name| !is_all(name)) {
            set = set.without(Self::named(name)?);
        }
        for name in add.iter().filter(|name| !is_all(name)) {
            set = set.with(Self::named(name)?);
        }
        Ok(set)
    }

    /// The bounding set of this process, from `/proc/self/status`.
    pub(crate) fn bounding() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bits = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
        Self(bits.unwrap_or(0)).within(Self::ALL)
    }

    /// As an OCI configuration lists them.
    pub(crate) fn names(self) -> Vec<String> {
        let held = |number: &usize| self.0 & (1 << number) != 0;
        (0..NAMES.len()).filter(held).map(|number| format!("CAP_{}", NAMES[number])).collect()
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_set_is_the_one_other_runtimes_give() {
        assert_eq!(Set::requested(&[], &[]).unwrap().to_string(), "00000000a80425fb");
    }

    #[test]
    fn dropping_all_and_adding_one_leaves_one() {
        let set = Set::requested(&names(&["net_bind_service"]), &names(&["ALL"])).unwrap();
        assert_eq!(set.names(), ["CAP_NET_BIND_SERVICE"]);
    }

    #[test]
    fn adding_all_and_dropping_one_leaves_the_rest() {
        let set = Set::requested(&names(&["ALL"]), &names(&["CAP_SYS_ADMIN"])).unwrap();
        assert!(!set.has("SYS_ADMIN") && set.has("NET_ADMIN") && set.names().len() == NAMES.len() - 1);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error = Set::requested(&names(&["CAP_FLY"]), &[]).unwrap_err();
        assert_eq!(error.to_string(), "unknown capability \"CAP_FLY\"");
    }
}
