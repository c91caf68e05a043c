//! What this host is and has, read from `/proc`, `/etc` and the file system.
//!
//! Invariant: reading never fails the agent: what the host does not tell is empty or zero.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cgroup::Stats;

/// Facts that do not change while the agent runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    pub cpus: u64,
    pub memory: u64,
    pub storage: u64,
    pub huge_pages: Vec<(String, u64)>,
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel: String,
    pub os_image: String,
    data_dir: PathBuf,
}

/// Upstream's default `evictionHard` for memory.
const MEMORY_KEPT: u64 = 100 << 20;

/// Free space below which a disk is in trouble, if that is less than a tenth of it: a tenth alone (upstream's
/// threshold) would call a large disk full that has room for thousands of images.
const TIGHT_DISK: u64 = 5 << 30;

impl Machine {
    pub(crate) fn read(data_dir: &Path) -> Self {
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as u64),
            memory: memory().total,
            storage: storage(data_dir).0,
            huge_pages: huge_pages(),
            machine_id: line("/etc/machine-id"),
            system_uuid: line("/sys/class/dmi/id/product_uuid"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: os_image(&fs::read_to_string("/etc/os-release").unwrap_or_default()),
            data_dir: data_dir.to_owned(),
        }
    }

    pub(crate) fn allocatable_memory(&self) -> u64 {
        self.memory.saturating_sub(MEMORY_KEPT)
    }

    pub(crate) fn allocatable_storage(&self) -> u64 {
        self.storage / 10 * 9
    }

    /// `2 CPUs, 23 GiB, Linux 6.1.0`
    pub(crate) fn summary(&self) -> String {
        let cpus = if self.cpus == 1 { "CPU" } else { "CPUs" };
        format!("{} {cpus}, {} GiB, Linux {}", self.cpus, (self.memory + (1 << 29)) >> 30, self.kernel)
    }

    /// What is short now.
    pub(crate) fn pressure(&self) -> Pressure {
        let (total, free) = storage(&self.data_dir);
        let memory = memory();
        let pids = line("/proc/loadavg").split('/').nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        let limit = line("/proc/sys/kernel/pid_max").parse::<u64>().unwrap_or(u64::MAX);
        Pressure {
            memory: memory.total > 0 && memory.available < MEMORY_KEPT,
            disk: total > 0 && free < (total / 10).min(TIGHT_DISK),
            pids: pids.is_some_and(|pids| pids > limit / 10 * 9),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub total: u64,
    pub free: u64,
    pub available: u64,
    /// Page cache that was not used lately.
    pub inactive_file: u64,
    pub anonymous: u64,
    pub swap_used: u64,
}

/// The host's memory, in bytes.
pub(crate) fn memory() -> Memory {
    parse_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
}

fn parse_memory(text: &str) -> Memory {
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    };
    Memory {
        total: field("MemTotal:"),
        free: field("MemFree:"),
        available: field("MemAvailable:"),
        inactive_file: field("Inactive(file):"),
        anonymous: field("AnonPages:"),
        swap_used: field("SwapTotal:").saturating_sub(field("SwapFree:")),
    }
}

/// What the whole machine uses: its memory without what the page cache would give up first, as upstream's root cgroup.
pub(crate) fn usage() -> Stats {
    let (memory, faults) = (memory(), fs::read_to_string("/proc/vmstat").unwrap_or_default());
    let used = memory.total.saturating_sub(memory.free);
    Stats {
        cpu_nanoseconds: cpu_nanoseconds(&fs::read_to_string("/proc/stat").unwrap_or_default()),
        memory_bytes: used,
        working_set_bytes: used.saturating_sub(memory.inactive_file),
        rss_bytes: memory.anonymous,
        page_faults: crate::cgroup::field(&faults, "pgfault").unwrap_or(0),
        major_page_faults: crate::cgroup::field(&faults, "pgmajfault").unwrap_or(0),
        swap_bytes: memory.swap_used,
        ..Stats::default()
    }
}

/// CPU time of all processors since boot, from the text of `/proc/stat`. Left out are idle time, and the time of guests,
/// which is part of that of users.
fn cpu_nanoseconds(text: &str) -> u64 {
    const TICK: u64 = 10_000_000; // USER_HZ is 100 on every Linux we run on
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    let busy: u64 =
        ticks.iter().enumerate().filter(|(at, _)| !matches!(at, 3 | 4 | 8 | 9)).map(|(_, ticks)| ticks).sum();
    busy * TICK
}

/// Size and free bytes of the file system `dir` is on.
pub(crate) fn storage(dir: &Path) -> (u64, u64) {
    match rustix::fs::statvfs(dir) {
        Ok(found) => (found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize),
        Err(error) => {
            tracing::debug!("cannot measure {}: {error}", dir.display());
            (0, 0)
        }
    }
}

fn huge_pages() -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<(String, u64)> = names
        .filter_map(|name| {
            let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            let count = line(&format!("/sys/kernel/mm/hugepages/{name}/nr_hugepages")).parse::<u64>().unwrap_or(0);
            let size =
                if kilobytes >= 1 << 20 { format!("{}Gi", kilobytes >> 20) } else { format!("{}Mi", kilobytes >> 10) };
            Some((format!("hugepages-{size}"), count * kilobytes * 1024))
        })
        .collect();
    found.sort();
    found
}

fn os_image(text: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_describes_itself() {
        let machine = Machine::read(Path::new("/"));
        assert!(machine.cpus > 0 && machine.memory > MEMORY_KEPT && machine.storage > 0);
        assert!(!machine.kernel.is_empty());
    }

    #[test]
    fn meminfo_is_in_kilobytes() {
        let text = "MemTotal:  2048 kB\nMemFree:   1024 kB\nMemAvailable: 1536 kB\nInactive(file): 3 kB\n\
                    AnonPages: 5 kB\nSwapTotal: 9 kB\nSwapFree: 2 kB\n";
        let expected = Memory {
            total: 2 << 20,
            free: 1 << 20,
            available: 1536 << 10,
            inactive_file: 3 << 10,
            anonymous: 5 << 10,
            swap_used: 7 << 10,
        };
        assert_eq!(parse_memory(text), expected);
    }

    #[test]
    fn the_time_of_the_processors_is_that_in_which_they_worked_counted_once() {
        // user nice system idle iowait irq softirq steal guest guest_nice
        assert_eq!(cpu_nanoseconds("cpu  10 1 4 900 50 2 3 5 7 1\ncpu0 1 1\n"), 25 * 10_000_000);
    }

    #[test]
    fn the_system_is_named_as_it_names_itself() {
        assert_eq!(
            os_image("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
    }
}
