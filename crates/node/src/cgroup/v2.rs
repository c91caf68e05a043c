//! The file formats of cgroup v2: one directory for everything.

use super::{Limits, Setting, Stats, field};

/// Controllers handed down the tree, when the kernel has them.
pub(super) const CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "io", "cpuset"];

/// The v2 files for `limits`; `leaf` is a container, as opposed to a pod.
pub(super) fn settings(limits: &Limits, leaf: bool) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |file, value: String, optional| {
        settings.push(Setting { controller: "", file, value, optional });
    };
    if let Some(shares) = limits.cpu_shares {
        set("cpu.weight", weight(shares).to_string(), false);
    }
    if let Some(quota) = limits.cpu_quota {
        set("cpu.max", format!("{} 100000", quota.max(1000)), false);
    }
    if let Some(memory) = limits.memory {
        set("memory.max", memory.to_string(), false);
        set("memory.swap.max", "0".into(), true);
    }
    if leaf {
        set("memory.oom.group", "1".into(), true);
    }
    if let Some(pids) = limits.pids {
        set("pids.max", pids.to_string(), false);
    }
    settings
}

/// The v2 weight (1..=10000) of v1 shares (2..=262144), as the OCI runtimes convert it.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// `read(file)` gives the text of an interface file, empty when there is none.
pub(super) fn stats(read: impl Fn(&str) -> String) -> Stats {
    let number = |file| read(file).trim().parse().unwrap_or(0);
    let memory = read("memory.stat");
    let memory_field = |key| field(&memory, key).unwrap_or(0);
    let used: u64 = number("memory.current");
    Stats {
        cpu_nanoseconds: field(&read("cpu.stat"), "usage_usec").unwrap_or(0) * 1000,
        memory_bytes: used,
        working_set_bytes: used.saturating_sub(memory_field("inactive_file")),
        rss_bytes: memory_field("anon"),
        page_faults: memory_field("pgfault"),
        major_page_faults: memory_field("pgmajfault"),
        pids: number("pids.current"),
        swap_bytes: number("memory.swap.current"),
        memory_limit: read("memory.max").trim().parse().ok(), // or "max"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_at_both_ends_of_the_scale() {
        assert_eq!((weight(0), weight(2), weight(1024), weight(262_144)), (1, 1, 39, 10_000));
    }

    #[test]
    fn a_limit_is_a_number_and_none_is_max() {
        let limit = |text: &'static str| stats(|file| if file == "memory.max" { text.into() } else { String::new() });
        assert_eq!(limit("1048576\n").memory_limit, Some(1 << 20));
        assert_eq!(limit("max\n").memory_limit, None);
    }

    #[test]
    fn a_memory_limit_forbids_swap_too() {
        let limits = Limits { memory: Some(1 << 20), cpu_quota: Some(10), ..Limits::default() };
        let written: Vec<String> = settings(&limits, true).iter().map(|s| format!("{}={}", s.file, s.value)).collect();
        assert_eq!(written, ["cpu.max=1000 100000", "memory.max=1048576", "memory.swap.max=0", "memory.oom.group=1"]);
    }
}
