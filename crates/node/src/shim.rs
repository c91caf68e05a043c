//! The process beside each container: it starts it, keeps its log, reports its end.
//!
//! Invariant: one thread, always. libcontainer clones the process and runs ordinary code in the
//! copy, where a lock that another thread held stays locked for ever; so it is called only here,
//! and only after the thread count has been checked.
//! Invariant: a shim outlives the agent. It has its own session, keeps everything it knows in
//! files (`pid`, `exit`, the log) and holds `lock` for as long as it lives.
//! Why not one shim per pod: a container's end is then its shim's end, which the kernel announces.

mod console;
mod container;
mod exec;
mod executor;
mod log;
mod monitor;
mod pause;
pub(crate) mod process;
mod run;
pub(crate) mod wire;

use std::ffi::OsString;
use std::path::PathBuf;

/// Entry point of `knarr shim ...`: call it before any thread exists. `args` come after `shim`.
pub fn main(args: Vec<OsString>) -> ! {
    if process::threads() != 1 {
        eprintln!("knarr shim: more than one thread; the shim must be entered first thing in main");
        std::process::exit(2);
    }
    let directory = args.get(1).map(PathBuf::from);
    let ended = match (args.first().and_then(|verb| verb.to_str()), directory) {
        (Some("run"), Some(directory)) => run::run(&directory),
        (Some("exec"), Some(directory)) => exec::run(&directory),
        (Some("pause"), None) => pause::run(),
        _ => {
            eprintln!("usage: shim run DIRECTORY | shim exec DIRECTORY | shim pause");
            std::process::exit(2);
        }
    };
    match ended {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("knarr shim: {error}");
            std::process::exit(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    fn users_of_libcontainer(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                users_of_libcontainer(&path, found);
            } else if std::fs::read_to_string(&path).unwrap().lines().any(|line| line.starts_with("use libcontainer")) {
                found.push(path.file_name().unwrap().to_string_lossy().into_owned());
            }
        }
    }

    #[test]
    fn libcontainer_is_called_in_the_shim_only() {
        let mut found = Vec::new();
        users_of_libcontainer(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        found.sort();
        assert_eq!(found, ["container.rs", "executor.rs"], "only these two private modules of the shim may");
    }
}
