//! The file formats of cgroup v1: one directory per hierarchy.

use super::{Limits, Setting, Stats, field};

/// The kernel writes "no limit" as the largest number of whole pages; nobody has half of that.
const UNLIMITED: u64 = 1 << 62;

/// The v1 files for `limits`, in the order they must be written.
pub(super) fn settings(limits: &Limits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, file, value: u64, optional| {
        settings.push(Setting { controller, file, value: value.to_string(), optional });
    };
    if let Some(shares) = limits.cpu_shares {
        set("cpu", "cpu.shares", shares.clamp(2, 262_144), false);
    }
    if let Some(quota) = limits.cpu_quota {
        set("cpu", "cpu.cfs_period_us", 100_000, false);
        set("cpu", "cpu.cfs_quota_us", quota.max(1000), false);
    }
    if let Some(memory) = limits.memory {
        set("memory", "memory.limit_in_bytes", memory, false);
        set("memory", "memory.memsw.limit_in_bytes", memory, true);
    }
    if let Some(pids) = limits.pids {
        set("pids", "pids.max", pids, false);
    }
    settings
}

/// `read(controller, file)` gives the text of an interface file, empty when there is none.
pub(super) fn stats(read: impl Fn(&str, &str) -> String) -> Stats {
    let number = |controller, file| read(controller, file).trim().parse().unwrap_or(0);
    let memory = read("memory", "memory.stat");
    let memory_field = |key| field(&memory, key).unwrap_or(0);
    let used: u64 = number("memory", "memory.usage_in_bytes");
    Stats {
        cpu_nanoseconds: number("cpuacct", "cpuacct.usage"),
        memory_bytes: used,
        working_set_bytes: used.saturating_sub(memory_field("total_inactive_file")),
        rss_bytes: memory_field("total_rss"),
        page_faults: memory_field("total_pgfault"),
        major_page_faults: memory_field("total_pgmajfault"),
        pids: number("pids", "pids.current"),
        swap_bytes: memory_field("total_swap"),
        memory_limit: read("memory", "memory.limit_in_bytes").trim().parse().ok().filter(|limit| *limit < UNLIMITED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_written_after_its_period() {
        let limits = Limits { cpu_quota: Some(50_000), cpu_shares: Some(0), ..Limits::default() };
        let written: Vec<String> = settings(&limits).iter().map(|s| format!("{}={}", s.file, s.value)).collect();
        assert_eq!(written, ["cpu.shares=2", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000"]);
    }

    #[test]
    fn the_working_set_leaves_out_the_inactive_page_cache() {
        let stats = stats(|_, file| match file {
            "memory.usage_in_bytes" => "1000\n".into(),
            "memory.stat" => "cache 5\ninactive_file 7\ntotal_inactive_file 300\ntotal_rss 20\n".into(),
            "cpuacct.usage" => "42\n".into(),
            "memory.limit_in_bytes" => "9223372036854771712\n".into(),
            _ => String::new(),
        });
        assert_eq!((stats.working_set_bytes, stats.rss_bytes, stats.cpu_nanoseconds, stats.pids), (700, 20, 42, 0));
        assert_eq!(stats.memory_limit, None);
    }
}
