//! The process beside each container; the only place that calls libcontainer.

/// Entry point of `knarr shim ...`: call it before any thread exists. `args` come after `shim`.
pub fn main(args: impl Iterator<Item = std::ffi::OsString>) -> ! {
    drop(args);
    std::process::exit(2)
}
