//! Removing everything a cluster's runtime made, with or without a running agent.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Signal;

use super::rootfs::unmount;
use super::status::Error;
use crate::cgroup::Tree;
use crate::shim::process::Identity;
use crate::shim::wire;

/// How long programs may take to end by themselves. A program that ignores SIGTERM as process 1
/// (a shell, say) costs this much.
const GRACE: Duration = Duration::from_secs(5);

/// Removes everything of a cluster's runtime: processes, mounts, cgroups, files under `run_dir`
/// and the containers under `data_dir` (the images stay). Works without a running agent. Blocking.
pub fn purge(run_dir: &Path, data_dir: &Path, cluster: &str) -> Result<(), Error> {
    let tree = Tree::detect(cluster)?;
    let containers = run_dir.join("containers");
    ask_to_end(&containers);
    tree.kill(&tree.root())?; // their shims see it and end
    end_shims(|directory| directory.starts_with(&containers));
    tree.purge()?;
    for dir in [run_dir, data_dir] {
        unmount_below(dir)?;
    }
    let boot = run_dir.join("boot-id");
    for path in [containers, run_dir.join("pods"), data_dir.join("containers"), boot] {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {}", path.display()))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Sends SIGTERM to the program of every container and waits for their end, for a while: what is
/// killed at once cannot write down what it knows.
fn ask_to_end(containers: &Path) {
    let Ok(entries) = fs::read_dir(containers) else { return };
    let started = entries.flatten().filter_map(|entry| {
        let text = fs::read(entry.path().join(wire::STARTED)).ok()?;
        serde_json::from_slice::<wire::Started>(&text).ok()?.container.open()
    });
    let asked: Vec<_> =
        started.filter(|program| rustix::process::pidfd_send_signal(program, Signal::TERM).is_ok()).collect();
    let deadline = std::time::Instant::now() + GRACE;
    for program in &asked {
        ended(program, deadline.saturating_duration_since(std::time::Instant::now()));
    }
}

/// Waits a little for the shims whose directory `chosen` picks, then kills them.
pub(super) fn end_shims(chosen: impl Fn(&Path) -> bool) {
    let Ok(entries) = fs::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(identity) = Identity::of(pid) else { continue };
        if shim_directory(&entry.path()).is_some_and(|directory| chosen(&directory))
            && let Some(process) = identity.open()
        {
            if !ended(&process, Duration::from_secs(2))
                && let Err(error) = rustix::process::pidfd_send_signal(&process, Signal::KILL)
            {
                tracing::debug!(%error, pid, "a shim ended by itself");
            }
            ended(&process, Duration::from_secs(2));
            crate::sandbox::reap(&process);
        }
    }
}

/// The directory a process works for, if its command line is a shim's: `... run DIR`, `... exec DIR`.
fn shim_directory(process: &Path) -> Option<PathBuf> {
    let line = fs::read(process.join("cmdline")).ok()?;
    let mut args = line.split(|byte| *byte == 0).rev().skip_while(|arg| arg.is_empty());
    let directory = args.next()?;
    matches!(args.next()?, b"run" | b"exec").then(|| PathBuf::from(OsStr::from_bytes(directory)))
}

fn ended(process: impl std::os::fd::AsFd, patience: Duration) -> bool {
    let mut events = [PollFd::new(&process, PollFlags::IN)];
    let timeout = Timespec::try_from(patience).unwrap_or_default();
    rustix::event::poll(&mut events, Some(&timeout)).is_ok_and(|count| count > 0)
}

/// Unmounts everything at and below `dir`, the last mounted first.
fn unmount_below(dir: &Path) -> Result<(), Error> {
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(Error::io("read the mount table"))?;
    let points: Vec<PathBuf> = table.lines().filter_map(mount_point).collect();
    for point in points.iter().rev().filter(|point| point.starts_with(dir)) {
        unmount(point).map_err(Error::io(format!("unmount {}", point.display())))?;
    }
    Ok(())
}

/// The fifth field; blanks and backslashes are written as octal escapes.
fn mount_point(line: &str) -> Option<PathBuf> {
    let mut field = line.split(' ').nth(4)?.as_bytes();
    let mut path = Vec::new();
    while let Some((first, rest)) = field.split_first() {
        let octal = if *first == b'\\' { rest.get(..3) } else { None };
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                field = &rest[3..];
            }
            None => {
                path.push(*first);
                field = rest;
            }
        }
    }
    Some(PathBuf::from(OsStr::from_bytes(&path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_are_read() {
        let line = r"36 35 98:0 / /mnt/a\040b\134c rw,noatime - ext4 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from(r"/mnt/a b\c")));
    }
}
