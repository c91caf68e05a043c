//! What `/proc` says about a process.

use std::fs;

use anyhow::Context as _;

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// All that is resident, the program's own pages included.
    pub(crate) resident: u64,
    /// What is resident and belongs to no file.
    pub(crate) anonymous: u64,
}

pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Memory { resident: kilobytes(&status, "VmRSS:")?, anonymous: kilobytes(&status, "RssAnon:")? })
}

/// Private dirty memory, in bytes: what the process costs beyond what it shares.
pub(crate) fn private_dirty(pid: u32) -> anyhow::Result<u64> {
    kilobytes(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?, "Private_Dirty:")
}

/// The most that was ever resident since [`forget_peak`], in bytes.
pub(crate) fn peak(pid: u32) -> anyhow::Result<u64> {
    kilobytes(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmHWM:")
}

pub(crate) fn forget_peak(pid: u32) -> anyhow::Result<()> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn kilobytes(text: &str, field: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse::<u64>().ok());
    number.map(|number| number * 1024).with_context(|| format!("no {field} in /proc"))
}

/// Work of a process so far, over its threads that still live.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    /// Time on a processor, in nanoseconds.
    pub(crate) nanos: u64,
    /// How often it was put on a processor.
    pub(crate) turns: u64,
    pub(crate) threads: u64,
}

pub(crate) fn work(pid: u32) -> anyhow::Result<Work> {
    let mut total = Work::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // a thread may end between the two reads
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let mut numbers = text.split_whitespace().map(|word| word.parse::<u64>().unwrap_or_default());
        total.nanos += numbers.next().unwrap_or_default();
        total.turns += numbers.nth(1).unwrap_or_default();
        total.threads += 1;
    }
    Ok(total)
}

/// Processes whose arguments satisfy `wanted`.
pub(crate) fn find(wanted: impl Fn(&[&str]) -> bool) -> anyhow::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line);
        let words: Vec<&str> = line.split('\0').collect();
        if wanted(&words) {
            found.push(pid);
        }
    }
    Ok(found)
}
